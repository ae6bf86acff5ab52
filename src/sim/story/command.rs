//! The commands of a story, as data.

use std::time::Duration;

use crate::config::Timing;
use crate::event::Role;
use crate::message::{Reason, RequestBody};
use crate::node::Input;
use crate::record::RecordId;
use crate::sim::{Death, StartWhen};
use crate::types::Term;

/// What holds for the whole story.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) nodes: Vec<String>,
    /// How many of them, from the first, are members from the beginning; all, if it is not said.
    pub(super) founders: Option<usize>,
    pub(super) seed: u64,
    pub(super) timing: Timing,
    pub(super) priorities: Vec<(usize, u8)>,
    pub(super) trust_refused: bool,
}

/// One direction of a link.
pub(super) type Way = (usize, usize);

/// One command.
#[derive(Debug)]
pub(super) enum Command {
    /// Belongs to the setting.
    Set,
    Start(Vec<usize>),
    Kill(Vec<usize>, Death),
    Wipe(usize),
    Retime(Timing),
    Pause(usize, Duration),
    Tell(usize, Input),
    Links(Vec<Way>, Change),
    Reset(Vec<Way>),
    Disk(usize, DiskChange),
    Clock(usize, i32),
    Work(usize, Option<(StartWhen, Duration)>),
    Version(usize, u16),
    Inject(Inject),
    Run(Duration),
    RunUntil(Expectation, Duration),
    Mark,
    Show(Show),
    Expect(Expectation),
}

/// What a link does from now on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    Cut,
    Heal,
    Delay(Duration),
    Loss(f64),
    Duplicate(f64),
}

/// What a disk does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskChange {
    Write(Duration),
    Fail,
    Heal,
}

/// How much of the events is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    All,
    Brief,
    Nothing,
    /// Each node's role, once.
    Nodes,
}

/// A message made by hand, that one node seems to send.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inject {
    pub(super) way: Way,
    pub(super) body: RequestBody,
    pub(super) term: Term,
    pub(super) from: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) incarnation: Option<u64>,
    pub(super) last: Option<RecordId>,
}

/// A condition, perhaps turned round, over all events or those since the mark.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expectation {
    pub(super) not: bool,
    pub(super) fact: Fact,
    pub(super) since_mark: bool,
    /// As it was written.
    pub(super) text: String,
}

/// What can be expected.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
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
pub(super) struct Told {
    pub(super) node: Option<usize>,
    pub(super) text: String,
}

/// A comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compare {
    pub(super) how: How,
    pub(super) number: u64,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Equal,
    AtMost,
    AtLeast,
}

impl Compare {
    pub(super) fn holds(self, seen: u64) -> bool {
        match self.how {
            How::Equal => seen == self.number,
            How::AtMost => seen <= self.number,
            How::AtLeast => seen >= self.number,
        }
    }
}
