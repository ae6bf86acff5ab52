//! The whole stack in virtual time: what users run, on one thread, from one seed.
//!
//! Not the machine alone as in [`swarm`](super::swarm), but the real [`Elector`](crate::elector::Elector) with its driver,
//! its writer, its guards and its handles, over the network in memory. Every node has a clock of its own; what is a thread
//! in reality is a lane here, which can be made to stand still; disks take their time, hang, fail and panic. Programs of
//! users run on top: work that watches its token, that ignores it, that waits for children, blocks, fails, panics, gives
//! up from inside, or keeps what it was given. They write down what they do, and that is what is judged:
//!
//! - E1 with work that still runs: acts and work that rely on being alone are alone, in true time over all members.
//! - E12: no leader without work for longer than two election timeouts (and the promises of former leaders) while
//!   somebody in contact contends.
//! - F1 and F2: fences rise; what a process was given is lost before it is given anew. S1 over all events.
//! - Every call returns within its bound; `shutdown` leaves no task, no lock and no listener behind; who stands still
//!   does not call itself healthy.
//!
//! The same seed gives the same run, to the last act ([`Report::fingerprint`]).

mod book;
mod disk;
mod judge;
mod machine;
mod mix;
mod play;
mod user;
mod world;

use self::play::Play;
use super::Detail;
use super::swarm::Report;

/// Runs a seed. With [`Detail::All`] the report holds everything that happened.
#[must_use]
pub fn run(seed: u64, detail: Detail) -> Report {
    let mut play = Play::new(seed, detail);
    play.play();
    let violation = play.book.violation();
    let fingerprint = play.book.fingerprint();
    let report = Report {
        seed,
        fingerprint,
        steps: play.world.polls(),
        violation,
        elections: play.book.elections(),
        exclusive: play.book.with(|pages| pages.exclusive),
        commits: 0,
        wipes: 0,
        settled: None,
        figures: super::Figures::default(),
        log: play.book.take_log(),
    };
    play.end();
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_run() {
        for seed in 0..20 {
            let first = run(seed, Detail::Hash);
            let second = run(seed, Detail::Hash);
            assert_eq!((first.fingerprint, first.steps), (second.fingerprint, second.steps), "seed {seed}");
        }
    }
}
