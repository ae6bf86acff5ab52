//! One machine: its clock, its disk, its user, and the process that runs on it.

use std::collections::BTreeMap;

use super::clock::Clock;
use super::disk::Disk;
use super::user::User;
use crate::config::Config;
use crate::event::CallId;
use crate::message::RequestId;
use crate::node::{Input, Node};
use crate::types::{NodeId, Time};

/// Numbers the processes of a run: what was sent to one is not for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life(pub(crate) u64);

/// Where an answer goes: a process and its number for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) host: usize,
    pub(crate) life: Life,
    pub(crate) id: RequestId,
}

/// Why nothing answers on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The process ended: the machine refuses connections, and peers are told.
    Killed,
    /// The machine is gone: silence.
    Vanished,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: NodeId,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) user: User,
    pub(crate) process: Option<Process>,
    /// How the last process ended.
    pub(crate) death: Death,
    /// The protocol version that its messages claim, if not the real one.
    pub(crate) version: Option<u16>,
    /// Whether a write has failed under the process.
    pub(crate) failed: bool,
    /// How many processes it has had.
    pub(crate) starts: u64,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) life: Life,
    pub(crate) node: Node,
    /// Inbound calls that are not answered yet.
    pub(crate) calls: BTreeMap<CallId, Caller>,
    pub(crate) next_call: u64,
    /// Outbound calls that are not answered yet, and who was asked.
    pub(crate) asked: BTreeMap<RequestId, usize>,
    /// When the next tick is planned, in true time.
    pub(crate) tick: Time,
    /// What came while the process stood still, and since when it does.
    pub(crate) paused: Option<Paused>,
}

/// A process that stands still.
#[derive(Debug)]
pub(crate) struct Paused {
    pub(crate) backlog: Vec<Input>,
    /// The deadline it had, on the local clock.
    pub(crate) deadline: Time,
}

impl Process {
    pub(crate) fn new(life: Life, node: Node) -> Process {
        Process {
            life,
            node,
            calls: BTreeMap::new(),
            next_call: 0,
            asked: BTreeMap::new(),
            tick: Time::NEVER,
            paused: None,
        }
    }

    /// Numbers an inbound call.
    pub(crate) fn receive_call(&mut self, from: Caller) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.calls.insert(call, from);
        call
    }
}

impl Host {
    /// Whether that process still runs.
    pub(crate) fn lives(&self, life: Life) -> bool {
        self.process.as_ref().is_some_and(|process| process.life == life)
    }

    /// The machine's clock.
    pub(crate) fn local(&self, truth: Time) -> Time {
        self.clock.read(truth)
    }
}
