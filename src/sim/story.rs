//! Stories: scripted, deterministic runs of a [`Cluster`](super::Cluster), with their output in the script.
//!
//! ```text
//! # 7. A node that was isolated returns. Nobody campaigns against a living leader.
//! nodes a b c
//! start a b c
//! run until exclusive a
//! mark
//! cut c
//! run 15s
//! heal
//! run 1s
//! expect elections = 0 since mark
//! ```
//!
//! One command a line; `#` begins a comment. What the nodes did follows each command, a line each after `|`, in the one
//! notation ([`crate::event::notation`]): [`Story::tell`] writes those lines, and whoever keeps them compares. The commands
//! are in [`Story::parse`]. Every property that the simulator knows is checked after every step.

pub(crate) mod command;
mod diff;
mod expect;
mod parse;
pub(crate) mod print;
mod require;
pub(crate) mod stage;
mod teller;

pub use self::parse::ParseError;

use self::command::{Command, Setting};
use super::Violation;

/// How the lines of output begin.
const OUTPUT: char = '|';

/// A script that has been read.
#[derive(Debug)]
pub struct Story {
    setting: Setting,
    lines: Vec<Line>,
}

/// A line of a script: its text, and what it orders.
#[derive(Debug)]
struct Line {
    number: usize,
    text: String,
    command: Option<Command>,
}

/// What came of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The script with the output below each command.
    pub text: String,
    /// Expectations that were not met, in order; a property that did not hold ends the story.
    pub failures: Vec<Failure>,
}

/// What a story came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The property that did not hold, if one did not.
    pub violation: Option<Violation>,
    /// A hash of everything that happened.
    pub fingerprint: u64,
}

/// Something that a story expected, and that was not so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct Failure {
    /// The line of the command.
    pub line: usize,
    /// What was expected and what was seen, or the property that did not hold.
    pub text: String,
}

impl Story {
    /// Reads a script; output that it already contains is dropped. `file` is named in errors.
    ///
    /// - Setting, before everything else: `nodes a b c`, `founders a b` (the others can be added), `seed 7`, `timing
    ///   heartbeat=50ms election=150ms..300ms promise=150ms promise_max=5s slot=15ms drift=10000ppm`, `priority a 200`, `trust
    ///   refused`, `volatile` (the stores forget at a restart), `stray c cluster=other heartbeat=100ms` (c is configured so).
    /// - Processes: `start a b`, `restart a`, `crash a` (its machine refuses connections from then on), `vanish a` (the
    ///   machine is gone: silence), `wipe a` (crash, and an empty disk), `lose a` (the same, unless too many disks are lost
    ///   already), `pause a 500ms`, `shutdown a`, `retime promise_max=1s` (for the next starts), `boot a 3s 9000ppm` (what
    ///   the clock of a machine shows on which nothing runs).
    /// - Links: `cut a -> b` (one way), `cut a - b`, `cut a b - c d e` (each with each), `cut a` (from all), `cut all`, `heal`
    ///   in the same forms or alone, `stall a - b` (connections stand, nothing passes), `open a - b` (neither cut nor
    ///   stalled), `delay a -> b 20ms`, `loss a -> b 0.3`, `duplicate a -> b 1`, `link all delay=1ms..5ms loss=0.1
    ///   duplicate=0.1 tail=0.1 tail_max=1s` (all of it), `reset a -> b` (the outbound connection of a breaks), `refuse a -> b`
    ///   (and a firewall refuses the next).
    /// - Disks and clocks: `disk a 1s` (a write takes that long), `disk a b write=0ms..5ms slow=0.1 slow_max=1s fail=0.1
    ///   full=0.1 rot=0.1`, `fail disk a`, `heal disk a`, `clock a 9000ppm`.
    /// - Users: `campaign a`, `resign a`, `transfer a b`, `add a d`, `remove a b` (ordered of a), `proclaim a "x"`, `ask a 5s`
    ///   (the promise), `work a hold 500ms` (from the next exclusive term on; it ends that long after it was cancelled),
    ///   `work a elected hold 0ms..1s after 0ms..50ms for 2s` (at the latest, begun so late, done by itself), `idle a`.
    /// - Other: `version a 2`, `faults crash=0.01 absence=0ms..1s stray=0.1 truncate=0.1 corrupt=0.1 replay=0.1
    ///   replay_max=1s` (in all processes and on all links), `calm` (no new faults: everything that is a member runs, links
    ///   and disks are quick, what was cut stays cut), `inject a -> b heartbeat term=9` (also `prevote`, `vote`, `resign`,
    ///   `timeout_now`; with `from=x`, `cluster=x`, `incarnation=3`, `last=1.4`).
    /// - `require PROPERTY`: a liveness property must hold, if its premises are met. `V1 within 1s` and `V11 within 1s` (an
    ///   exclusive leader comes), `V2 for 1s` and `V8 for 1s` (it stays), `V3 since mark` (it is the same), `V4 for 1s` (terms
    ///   do not grow), `V5` (nobody leads), `V6` (whoever can know the leader does), `V7 within 1s` (a transfer is over), `V9
    ///   within 1s` (a leader whose disk fails leads no more), `V10` (memory is bounded), `V12 for 1s`, `D2 within 1s` (disks are
    ///   named).
    /// - Time: `run 300ms`, `run until EXPECTATION [within 2s]`, `mark`.
    /// - `show all`, `show brief` (the default: without what is routine), `show nothing`, `show nodes`.
    /// - `expect [not] EXPECTATION [since mark]`: `leader a`, `leader` (any), `no leader`, `exclusive a`, `exclusive none`,
    ///   `term = 1` (the highest), `term a <= 3`, `role a follower`, `follows b a`, `hears b a` (of a, from others),
    ///   `voted a b`, `amnesiac a`, `members a a b c` (the voters of the committed record, as a knows it), `working a`, `holds a "x"` (committed), `elections [a] = 0` (campaigns), `changes = 1`
    ///   (leaders elected), `refused b leader_alive` (b refused somebody), `event [a] "text"`, `event [a] "text" before [b]
    ///   "text"` (the first of each).
    ///
    /// # Errors
    /// [`ParseError`]: where, what was expected and what was found there.
    pub fn parse(file: &str, text: &str) -> Result<Story, ParseError> {
        parse::story(file, text)
    }

    /// Runs it without telling it.
    #[must_use]
    pub fn run(&self) -> Outcome {
        teller::run(self)
    }

    /// Runs it, from the beginning.
    #[must_use]
    pub fn tell(&self) -> Told {
        teller::tell(self)
    }
}

#[cfg(test)]
mod tests;
