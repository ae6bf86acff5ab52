//! What is going to happen, in order of true time, then of planning.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::host::{Caller, Life};
use crate::event::WriteId;
use crate::message::{CallError, Reply, Request};
use crate::types::{Term, Time};

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// The deadline of a node comes.
    Tick(usize, Life),
    /// A request arrives.
    RequestArrives { to: usize, from: Caller, frame: Frame<Request> },
    /// A request arrives once more, long after.
    ReplayArrives { to: usize, from: Caller, frame: Frame<Request> },
    /// A reply arrives.
    ReplyArrives { to: Caller, frame: Frame<Reply> },
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

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) enum Frame<T> {
    /// As it was written: what the codec does to it is known.
    Message(T),
    /// As bytes, which are read when they arrive.
    Bytes(Vec<u8>),
}

/// The queue. What happens waits in a place of its own, so that only small numbers move when the order is kept.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// When, in which order of planning, and in which place.
    queue: BinaryHeap<Reverse<(Time, u64, usize)>>,
    places: Vec<Option<Happening>>,
    free: Vec<usize>,
    /// The deadlines of calls. All last equally long, so that they come in the order in which they were planned.
    deadlines: VecDeque<(Time, u64, Caller)>,
    sequence: u64,
}

impl Agenda {
    /// Plans something; what is planned for never is forgotten.
    pub(crate) fn plan(&mut self, at: Time, happening: Happening) {
        if at == Time::NEVER {
            return;
        }
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(happening);
        self.queue.push(Reverse((at, self.sequence, place)));
    }

    /// Plans the deadline of a call.
    pub(crate) fn plan_deadline(&mut self, at: Time, caller: Caller) {
        if self.deadlines.back().is_some_and(|(newest, _, _)| *newest > at) {
            return self.plan(at, Happening::CallFails(caller, CallError::Timeout));
        }
        self.sequence += 1;
        self.deadlines.push_back((at, self.sequence, caller));
    }

    /// The next thing that happens at or before `limit`.
    pub(crate) fn next(&mut self, limit: Time) -> Option<(Time, Happening)> {
        let planned = self.queue.peek().map(|Reverse((at, sequence, _))| (*at, *sequence));
        let deadline = self.deadlines.front().map(|(at, sequence, _)| (*at, *sequence));
        let (at, _) = [planned, deadline].into_iter().flatten().min().filter(|(at, _)| *at <= limit)?;
        if deadline.is_some_and(|deadline| planned.is_none_or(|planned| deadline < planned)) {
            let (_, _, caller) = self.deadlines.pop_front()?;
            return Some((at, Happening::CallFails(caller, CallError::Timeout)));
        }
        let Reverse((_, _, place)) = self.queue.pop()?;
        self.free.push(place);
        Some((at, self.places[place].take()?))
    }
}
