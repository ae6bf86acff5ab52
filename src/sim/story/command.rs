//! The commands of a story, as data.

use std::time::Duration;

use crate::config::Timing;
use crate::event::Role;
use crate::message::{Reason, RequestBody};
use crate::node::Input;
use crate::record::RecordId;
use crate::sim::{Death, DiskManners, Faults, Link, Manners};
use crate::types::{NodeId, Term, Time};

/// What holds for the whole story.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) nodes: Vec<String>,
    /// How many of them, from the first, are members from the beginning; all, if it is not said.
    pub(crate) founders: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) timing: Timing,
    pub(crate) priorities: Vec<(usize, u8)>,
    pub(crate) trust_refused: bool,
    /// Whether the stores forget at a restart.
    pub(crate) volatile: bool,
    pub(crate) strays: Vec<Stray>,
}

/// A machine that is configured wrongly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stray {
    pub(crate) node: usize,
    /// The cluster it believes to belong to, if it is wrong about that.
    pub(crate) cluster: Option<String>,
    /// Its times, if they are not those of the others.
    pub(crate) timing: Option<Timing>,
}

impl Setting {
    /// A setting without nodes.
    pub(crate) fn new() -> Setting {
        Setting {
            nodes: Vec::new(),
            founders: None,
            seed: 1,
            timing: Timing::default(),
            priorities: Vec::new(),
            trust_refused: false,
            volatile: false,
            strays: Vec::new(),
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(String::as_str).collect()
    }

    /// How many machines are members from the beginning.
    pub(crate) fn founders(&self) -> usize {
        self.founders.unwrap_or(self.nodes.len()).min(self.nodes.len())
    }
}

/// One direction of a link.
pub(crate) type Way = (usize, usize);

/// One command.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Belongs to the setting.
    Set,
    Start(Vec<usize>),
    Kill(Vec<usize>, Death),
    Wipe(usize),
    /// The disk is lost, unless too many are lost already for the others to name it again (D2 and D4).
    Lose(usize),
    Retime(Timing),
    Pause(usize, Duration),
    Tell(usize, Input),
    Links(Vec<Way>, Change),
    Reset(Vec<Way>),
    /// A firewall refuses the reconnect: evidence against somebody who may live and be heard.
    Refuse(Vec<Way>),
    Disk(Vec<usize>, DiskChange),
    Clock(usize, i32),
    /// A machine that is down boots: its clock starts again, from that reading, with that rate.
    Boot(usize, Time, i32),
    Work(Vec<usize>, Manners),
    Faults(Faults),
    Version(usize, u16),
    /// Nothing new goes wrong from now on.
    Calm,
    Require(Require),
    Inject(Inject),
    Run(Duration),
    RunUntil(Expectation, Duration),
    Mark,
    Show(Show),
    Expect(Expectation),
}

/// What a link does from now on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Cut,
    /// As it was at the beginning of a story.
    Heal,
    /// Messages pass again; how they do is left as it is.
    Open,
    /// Connections stand, and nothing passes.
    Stall,
    /// Everything but whether messages pass.
    Manners(Link),
    Delay(Duration),
    Loss(f64),
    Duplicate(f64),
}

/// What a disk does from now on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DiskChange {
    Manners(DiskManners),
    Write(Duration),
    Fail,
    Heal,
}

/// A property of PROPERTIES.md that must hold now, or for a while. Where its premises are not met nothing is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Require {
    /// V1 and V11: an exclusive leader comes within this time.
    Settled(&'static str, Duration),
    /// V2, V3 and V8: whoever leads is not replaced, nor does its lease lapse, for this time.
    Kept(&'static str, Duration),
    /// V3: the leader is who it was at the mark.
    Unmoved,
    /// V4: terms do not grow for this time.
    Barren(Duration),
    /// V5: nobody leads.
    Silent,
    /// V6: whoever can reach somebody that knows the leader knows it.
    Known,
    /// V7: a transfer has been completed or called off within this time.
    HandedOver(Duration),
    /// V9: a leader whose disk fails leads no more within this time.
    Resigned(Duration),
    /// V10: what a node keeps is bounded.
    Bounded,
    /// V12: at most one change within this time.
    Steady(Duration),
    /// D2: every disk is named within this time.
    Named(Duration),
}

/// How much of the events is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    All,
    Brief,
    Nothing,
    /// Each node's role, once.
    Nodes,
}

/// A message made by hand, that one node seems to send.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inject {
    pub(crate) way: Way,
    pub(crate) body: RequestBody,
    pub(crate) term: Term,
    pub(crate) from: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) incarnation: Option<u64>,
    /// The newest record: held, committed, or brought with the heartbeat if it has `members`.
    pub(crate) last: Option<RecordId>,
    /// The members of the record that a heartbeat brings.
    pub(crate) members: Vec<NodeId>,
}

/// A condition, perhaps turned round, over all events or those since the mark.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expectation {
    pub(crate) not: bool,
    pub(crate) fact: Fact,
    pub(crate) since_mark: bool,
    /// As it was written.
    pub(crate) text: String,
}

/// What can be expected.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    Leader(Option<usize>),
    NoLeader,
    Exclusive(Option<usize>),
    Term(Option<usize>, Compare),
    Role(usize, Role),
    Follows(usize, usize),
    Hears(usize, usize),
    Voted(usize, usize),
    Amnesiac(usize),
    Members(usize, Vec<usize>),
    Working(usize),
    Holds(usize, String),
    Elections(Option<usize>, Compare),
    Changes(Compare),
    Refused(usize, Reason),
    Event(Told),
    /// The first event with the one text comes before the first with the other.
    Before(Told, Told),
}

/// A text in an event, perhaps of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) node: Option<usize>,
    pub(crate) text: String,
}

/// A comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compare {
    pub(crate) how: How,
    pub(crate) number: u64,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Equal,
    AtMost,
    AtLeast,
}

impl Compare {
    pub(crate) fn holds(self, seen: u64) -> bool {
        match self.how {
            How::Equal => seen == self.number,
            How::AtMost => seen <= self.number,
            How::AtLeast => seen >= self.number,
        }
    }
}
