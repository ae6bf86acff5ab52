//! From text to commands. A story that does not parse is refused with the place and what was expected there.

use std::time::Duration;

use bytes::Bytes;

use super::command::{Change, Command, Compare, DiskChange, Expectation, Fact, How, Setting, Show, Stray, Told, Way};
use super::{Line, OUTPUT, Story};
use crate::config::{Config, Timing};
use crate::event::Role;
use crate::message::Reason;
use crate::node::Input;
use crate::record::MEMBERS_MAX;
use crate::sim::{Death, Manners};
use crate::types::{ClusterId, NodeId, Time, nanos};

mod inject;
mod manners;
mod words;

use words::Words;

/// A story that cannot be read. Nothing was run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: expected {expected}, found {found}")]
pub struct ParseError {
    /// The file, as it was named by the caller.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What could have stood there.
    pub expected: String,
    /// What stood there.
    pub found: String,
}

type Parsed<T> = Result<T, ParseError>;

/// How long a story waits for a condition if it does not say.
const LIMIT: Duration = Duration::from_secs(10);

const SETTINGS: [&str; 8] = ["nodes", "founders", "seed", "timing", "priority", "trust", "volatile", "stray"];

const COMMANDS: &str = "a command (nodes, founders, seed, timing, priority, trust, volatile, stray, start, restart, crash, vanish, \
    wipe, lose, pause, shutdown, retime, cut, heal, open, stall, link, delay, loss, duplicate, reset, refuse, disk, fail, \
    clock, boot, campaign, resign, transfer, add, remove, proclaim, ask, work, idle, version, faults, calm, inject, run, mark, show, \
    expect, require)";

pub(super) fn story(file: &str, text: &str) -> Parsed<Story> {
    let mut parser = Parser { setting: Setting::new(), begun: false, marked: false };
    let mut lines = Vec::new();
    for (at, text) in text.lines().enumerate().filter(|(_, text)| !text.starts_with(OUTPUT)) {
        let mut words = Words::of(file, at + 1, text)?;
        let command = if words.is_over() { None } else { Some(parser.command(&mut words)?) };
        lines.push(Line { number: at + 1, text: text.trim_end().to_owned(), command });
    }
    Ok(Story { setting: parser.setting, lines })
}

#[derive(Debug)]
struct Parser {
    setting: Setting,
    /// Whether a command was read that is no setting.
    begun: bool,
    marked: bool,
}

impl Parser {
    fn command(&mut self, words: &mut Words<'_>) -> Parsed<Command> {
        if let Some(command) = self.setting(words)? {
            words.end()?;
            return Ok(command);
        }
        if self.setting.nodes.is_empty() {
            return Err(words.expected("nodes NAME..., before any other command but a setting"));
        }
        self.begun = true;
        let command = match self.process(words)? {
            Some(command) => command,
            None => match self.surroundings(words)? {
                Some(command) => command,
                None => self.passage(words)?,
            },
        };
        words.end()?;
        Ok(command)
    }

    fn setting(&mut self, words: &mut Words<'_>) -> Parsed<Option<Command>> {
        if self.begun && SETTINGS.iter().any(|word| words.is(word)) {
            return Err(words.expected("a command that is no setting: those come first"));
        }
        if words.take("nodes") {
            while !words.is_over() {
                let name = self.new_name(words)?;
                self.setting.nodes.push(name);
            }
            if self.setting.nodes.is_empty() {
                return Err(words.expected("the names of the nodes"));
            }
        } else if words.take("founders") {
            const FOUNDERS: &str = "the first of the nodes, in their order";
            let founders = self.nodes(words)?;
            if founders.iter().enumerate().any(|(at, node)| at != *node) {
                return Err(words.unread(FOUNDERS));
            }
            self.setting.founders = Some(founders.len());
        } else if words.take("seed") {
            self.setting.seed = words.number("a number")?;
        } else if words.take("timing") {
            self.setting.timing = timing(words, Timing::default())?;
        } else if words.take("priority") {
            let node = self.node(words)?;
            let priority = u8::try_from(words.number("a priority, 0 to 255")?);
            let priority = priority.map_err(|_| words.unread("a priority, 0 to 255"))?;
            self.setting.priorities.push((node, priority));
        } else if words.take("trust") {
            words.keyword("refused")?;
            self.setting.trust_refused = true;
        } else if words.take("volatile") {
            self.setting.volatile = true;
        } else if words.take("stray") {
            let stray = self.stray(words)?;
            self.setting.strays.push(stray);
        } else {
            return Ok(None);
        }
        Ok(Some(Command::Set))
    }

    fn new_name(&self, words: &mut Words<'_>) -> Parsed<String> {
        let name = words.word("the name of a node")?;
        if NodeId::new(name).is_err() || self.setting.names().contains(&name) {
            return Err(words.unread("a name that is valid and new"));
        }
        if self.setting.names().len() == MEMBERS_MAX {
            return Err(words.unread(&format!("at most {MEMBERS_MAX} nodes")));
        }
        Ok(name.to_owned())
    }

    /// A machine that belongs to another cluster, or has other times.
    fn stray(&self, words: &mut Words<'_>) -> Parsed<Stray> {
        let mut stray = Stray { node: self.node(words)?, cluster: None, timing: None };
        if words.next_begins("cluster=") {
            const KEY: &str = "cluster= with a valid name";
            let (_, value) = words.pair(KEY)?;
            ClusterId::new(value).map_err(|_| words.unread(KEY))?;
            stray.cluster = Some(value.to_owned());
        }
        if !words.is_over() {
            stray.timing = Some(timing(words, self.setting.timing.clone())?);
        }
        Ok(stray)
    }

    // tidy: a table, one arm for each command
    fn process(&mut self, words: &mut Words<'_>) -> Parsed<Option<Command>> {
        Ok(Some(if words.take("start") || words.take("restart") {
            Command::Start(self.nodes(words)?)
        } else if words.take("crash") {
            Command::Kill(self.nodes(words)?, Death::Killed)
        } else if words.take("vanish") {
            Command::Kill(self.nodes(words)?, Death::Vanished)
        } else if words.take("wipe") {
            Command::Wipe(self.node(words)?)
        } else if words.take("lose") {
            Command::Lose(self.node(words)?)
        } else if words.take("boot") {
            let node = self.node(words)?;
            Command::Boot(node, Time(nanos(words.duration()?).max(1)), words.ppm()?)
        } else if words.take("retime") {
            Command::Retime(timing(words, self.setting.timing.clone())?)
        } else if words.take("pause") {
            Command::Pause(self.node(words)?, words.duration()?)
        } else if words.take("shutdown") {
            Command::Tell(self.node(words)?, Input::Shutdown)
        } else if words.take("campaign") {
            Command::Tell(self.node(words)?, Input::Campaign)
        } else if words.take("resign") {
            Command::Tell(self.node(words)?, Input::Resign)
        } else if words.take("transfer") {
            let from = self.node(words)?;
            let to = if words.is_over() { None } else { Some(self.node(words)?) };
            Command::Tell(from, Input::Transfer(to.map(|to| self.id(to))))
        } else if words.take("add") {
            let leader = self.node(words)?;
            Command::Tell(leader, Input::AddMember(self.node(words).map(|node| self.id(node))?))
        } else if words.take("remove") {
            let leader = self.node(words)?;
            Command::Tell(leader, Input::RemoveMember(self.node(words).map(|node| self.id(node))?))
        } else if words.take("proclaim") {
            let node = self.node(words)?;
            Command::Tell(node, Input::Proclaim(Bytes::from(words.quoted()?.to_owned())))
        } else if words.take("ask") {
            Command::Tell(self.node(words)?, Input::AskPromise(words.duration()?))
        } else if words.take("work") {
            Command::Work(self.nodes(words)?, manners::work(words)?)
        } else if words.take("idle") {
            Command::Work(self.nodes(words)?, Manners::idle())
        } else {
            return Ok(None);
        }))
    }

    fn surroundings(&mut self, words: &mut Words<'_>) -> Parsed<Option<Command>> {
        Ok(Some(if words.take("fail") {
            words.keyword("disk")?;
            Command::Disk(self.nodes(words)?, DiskChange::Fail)
        } else if words.take("disk") {
            let nodes = self.nodes(words)?;
            let change = if words.next_contains("=") {
                DiskChange::Manners(manners::disk(words)?)
            } else {
                DiskChange::Write(words.duration()?)
            };
            Command::Disk(nodes, change)
        } else if words.take("cut") {
            Command::Links(self.ways(words)?, Change::Cut)
        } else if words.take("heal") {
            if words.take("disk") {
                return Ok(Some(Command::Disk(self.nodes(words)?, DiskChange::Heal)));
            }
            let ways = if words.is_over() { self.all_ways() } else { self.ways(words)? };
            Command::Links(ways, Change::Heal)
        } else if words.take("open") {
            let ways = if words.is_over() { self.all_ways() } else { self.ways(words)? };
            Command::Links(ways, Change::Open)
        } else if words.take("stall") {
            Command::Links(self.ways(words)?, Change::Stall)
        } else if words.take("link") {
            Command::Links(self.ways(words)?, Change::Manners(manners::link(words)?))
        } else if words.take("faults") {
            Command::Faults(manners::faults(words)?)
        } else if words.take("calm") {
            Command::Calm
        } else if words.take("refuse") {
            Command::Refuse(self.ways(words)?)
        } else if words.take("delay") {
            Command::Links(self.ways(words)?, Change::Delay(words.duration()?))
        } else if words.take("loss") {
            Command::Links(self.ways(words)?, Change::Loss(words.probability()?))
        } else if words.take("duplicate") {
            Command::Links(self.ways(words)?, Change::Duplicate(words.probability()?))
        } else if words.take("reset") {
            Command::Reset(self.ways(words)?)
        } else if words.take("clock") {
            Command::Clock(self.node(words)?, words.ppm()?)
        } else if words.take("version") {
            let node = self.node(words)?;
            let version = u16::try_from(words.number("a protocol version")?);
            Command::Version(node, version.map_err(|_| words.unread("a protocol version"))?)
        } else if words.take("inject") {
            Command::Inject(self.inject(words)?)
        } else {
            return Ok(None);
        }))
    }

    fn passage(&mut self, words: &mut Words<'_>) -> Parsed<Command> {
        if words.take("run") {
            if !words.take("until") {
                return Ok(Command::Run(words.duration()?));
            }
            let expectation = self.expectation(words)?;
            let limit = if words.take("within") { words.duration()? } else { LIMIT };
            return Ok(Command::RunUntil(expectation, limit));
        }
        if words.take("mark") {
            self.marked = true;
            return Ok(Command::Mark);
        }
        if words.take("show") {
            const SHOWN: &str = "all, brief, nothing or nodes";
            return Ok(Command::Show(match words.word(SHOWN)? {
                "all" => Show::All,
                "brief" => Show::Brief,
                "nothing" => Show::Nothing,
                "nodes" => Show::Nodes,
                _ => return Err(words.unread(SHOWN)),
            }));
        }
        if words.take("require") {
            return Ok(Command::Require(manners::require(words, self.marked)?));
        }
        if words.take("expect") {
            return Ok(Command::Expect(self.expectation(words)?));
        }
        Err(words.expected(COMMANDS))
    }
}

// ---- expectations ----
impl Parser {
    fn expectation(&self, words: &mut Words<'_>) -> Parsed<Expectation> {
        let from = words.position();
        let not = words.take("not");
        let fact = self.fact(words)?;
        let since_mark = words.take("since");
        if since_mark {
            words.keyword("mark")?;
            if !self.marked {
                return Err(words.unread("a mark that was set above"));
            }
        }
        Ok(Expectation { not, fact, since_mark, text: words.text_from(from) })
    }

    fn told(&self, words: &mut Words<'_>) -> Parsed<Told> {
        Ok(Told { node: self.maybe_node(words), text: words.quoted()?.to_owned() })
    }

    // tidy: a table, one arm for each fact
    fn fact(&self, words: &mut Words<'_>) -> Parsed<Fact> {
        const FACTS: &str = "an expectation (leader, no leader, exclusive, term, role, follows, hears, voted, amnesiac, \
            members, working, holds, elections, changes, refused, event)";
        Ok(match words.word(FACTS)? {
            "leader" => Fact::Leader(self.maybe_node(words)),
            "no" => {
                words.keyword("leader")?;
                Fact::NoLeader
            }
            "exclusive" if words.take("none") => Fact::Exclusive(None),
            "exclusive" => Fact::Exclusive(Some(self.node(words)?)),
            "term" => Fact::Term(self.maybe_node(words), compare(words)?),
            "role" => Fact::Role(self.node(words)?, role(words)?),
            "follows" => Fact::Follows(self.node(words)?, self.node(words)?),
            "hears" => Fact::Hears(self.node(words)?, self.node(words)?),
            "voted" => Fact::Voted(self.node(words)?, self.node(words)?),
            "amnesiac" => Fact::Amnesiac(self.node(words)?),
            "members" => Fact::Members(self.node(words)?, self.nodes(words)?),
            "working" => Fact::Working(self.node(words)?),
            "holds" => Fact::Holds(self.node(words)?, words.quoted()?.to_owned()),
            "elections" => Fact::Elections(self.maybe_node(words), compare(words)?),
            "changes" => Fact::Changes(compare(words)?),
            "refused" => Fact::Refused(self.node(words)?, reason(words)?),
            "event" => {
                let first = self.told(words)?;
                if words.take("before") { Fact::Before(first, self.told(words)?) } else { Fact::Event(first) }
            }
            _ => return Err(words.unread(FACTS)),
        })
    }
}

// ---- nodes and links ----
impl Parser {
    fn id(&self, node: usize) -> NodeId {
        NodeId::new(self.setting.names()[node]).expect("checked when it was read")
    }

    fn node(&self, words: &mut Words<'_>) -> Parsed<usize> {
        self.maybe_node(words).ok_or_else(|| words.expected(&format!("a node of {}", self.setting.names().join(" "))))
    }

    fn maybe_node(&self, words: &mut Words<'_>) -> Option<usize> {
        self.setting.names().iter().position(|name| words.take(name))
    }

    /// Each is named once: `cut` would make a link of each pair.
    fn nodes(&self, words: &mut Words<'_>) -> Parsed<Vec<usize>> {
        let mut nodes = vec![self.node(words)?];
        while let Some(node) = self.maybe_node(words) {
            if nodes.contains(&node) {
                return Err(words.unread("a node that was not named yet"));
            }
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// `a -> b`, `a b - c d`, `a`: all links of one node, or `all`.
    fn ways(&self, words: &mut Words<'_>) -> Parsed<Vec<Way>> {
        if words.take("all") {
            return Ok(self.all_ways());
        }
        let from = self.nodes(words)?;
        let (to, both) = if words.take("->") {
            (self.nodes(words)?, false)
        } else if words.take("-") {
            (self.nodes(words)?, true)
        } else {
            ((0..self.setting.names().len()).filter(|node| !from.contains(node)).collect(), true)
        };
        let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
        Ok(pairs.flat_map(|(a, b)| [(a, b), (b, a)].into_iter().take(1 + usize::from(both))).collect())
    }

    fn all_ways(&self) -> Vec<Way> {
        let all = 0..self.setting.names().len();
        all.clone().flat_map(|a| all.clone().map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
    }
}

fn timing(words: &mut Words<'_>, mut timing: Timing) -> Parsed<Timing> {
    const KEYS: &str =
        "heartbeat=, election=MIN..MAX, promise=, promise_max=, round_trip_max= or slot= with a duration, or drift=PPM";
    while !words.is_over() {
        let (key, value) = words.pair(KEYS)?;
        let duration = words::duration(value);
        let known = match key {
            "heartbeat" => duration.map(|heartbeat| timing = Timing::of(heartbeat)),
            "election" => value.split_once("..").and_then(|(min, max)| {
                timing.election_timeout_min = words::duration(min)?;
                timing.election_timeout_max = words::duration(max)?;
                Some(())
            }),
            "promise" => duration.map(|promise| timing.promise = promise),
            "promise_max" => duration.map(|promise_max| timing.promise_max = promise_max),
            "round_trip_max" => duration.map(|round_trip| timing.round_trip_max = round_trip),
            "slot" => duration.map(|slot| timing.succession_slot = slot),
            "drift" => words::ppm(value).and_then(|ppm| u32::try_from(ppm).ok()).map(|ppm| timing.drift_ppm = ppm),
            _ => None,
        };
        known.ok_or_else(|| words.unread(KEYS))?;
    }
    let name = |text| NodeId::new(text).expect("a valid name");
    let mut config = Config::new(ClusterId::new("sim").expect("a valid name"), name("a"), vec![name("a")]);
    config.timing = timing;
    match config.validate() {
        Ok(()) => Ok(config.timing),
        Err(error) => Err(words.unread(&format!("times that go together ({error})"))),
    }
}

fn compare(words: &mut Words<'_>) -> Parsed<Compare> {
    const SIGNS: &str = "=, <= or >=";
    let how = match words.word(SIGNS)? {
        "=" => How::Equal,
        "<=" => How::AtMost,
        ">=" => How::AtLeast,
        _ => return Err(words.unread(SIGNS)),
    };
    Ok(Compare { how, number: words.number("a number")? })
}

fn role(words: &mut Words<'_>) -> Parsed<Role> {
    const ROLES: [Role; 5] = [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader, Role::Stopped];
    let expected = format!("a role ({})", ROLES.map(Role::code).join(", "));
    let code = words.word(&expected)?;
    ROLES.into_iter().find(|role| role.code() == code).ok_or_else(|| words.unread(&expected))
}

fn reason(words: &mut Words<'_>) -> Parsed<Reason> {
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let expected = format!("a reason ({})", codes.join(", "));
    let code = words.word(&expected)?;
    Reason::ALL.iter().copied().find(|reason| reason.code() == code).ok_or_else(|| words.unread(&expected))
}
