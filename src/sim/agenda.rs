//! What is going to happen, in order of true time, then of planning.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::host::{Caller, Life};
use crate::event::WriteId;
use crate::message::{CallError, RequestId};
use crate::types::{Term, Time};

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// The deadline of a node comes.
    Tick(usize, Life),
    /// The bytes of a request arrive.
    RequestArrives { to: usize, from: Caller, bytes: Vec<u8> },
    /// The bytes of a reply arrive.
    ReplyArrives { to: Caller, bytes: Vec<u8> },
    /// A call fails, unless it was answered.
    CallFails(Caller, CallError),
    /// A process tries to connect to another host.
    Connects { from: usize, life: Life, to: usize, first: bool },
    /// A process learns that its connection ended.
    ConnectionEnds { from: usize, life: Life, to: usize },
    /// A write ends.
    WriteEnds(usize, Life, WriteId),
    /// The user starts work.
    WorkStarts(usize, Life, Term),
    /// The user ends work.
    WorkEnds(usize, Life, Term),
    /// The user looks whether its lease is over.
    WorkWatched(usize, Life),
    /// A process goes on.
    Resumes(usize, Life),
    /// A process starts, unless one runs.
    Starts(usize),
}

impl Happening {
    /// The request that a failing call belongs to.
    pub(crate) fn timeout(host: usize, life: Life, id: RequestId) -> Happening {
        Happening::CallFails(Caller { host, life, id }, CallError::Timeout)
    }
}

#[derive(Debug)]
struct Planned {
    at: Time,
    sequence: u64,
    happening: Happening,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    queue: BinaryHeap<Planned>,
    sequence: u64,
}

impl Agenda {
    /// Plans something; what is planned for never is forgotten.
    pub(crate) fn plan(&mut self, at: Time, happening: Happening) {
        if at == Time::NEVER {
            return;
        }
        self.sequence += 1;
        self.queue.push(Planned { at, sequence: self.sequence, happening });
    }

    /// The next thing that happens at or before `limit`.
    pub(crate) fn next(&mut self, limit: Time) -> Option<(Time, Happening)> {
        if self.queue.peek()?.at > limit {
            return None;
        }
        self.queue.pop().map(|planned| (planned.at, planned.happening))
    }
}

// The heap gives its largest element first: the order is reversed.
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}
