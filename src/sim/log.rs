//! What has happened: hashed always, kept as text when somebody wants to read it.

use std::fmt::{self, Write};

use crate::event::Event;
use crate::node::Input;
use crate::types::{NodeId, Time};

/// How much of a run is kept as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing: only the hash.
    Hash,
    /// The events of the nodes, in the one notation.
    Events,
    /// Events, and what each node was told.
    All,
}

/// The log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    detail: Detail,
    hash: Fnv,
    lines: Vec<String>,
    events: Vec<Event>,
}

impl Log {
    pub(crate) fn new(detail: Detail) -> Log {
        Log { detail, hash: Fnv(0xcbf2_9ce4_8422_2325), lines: Vec::new(), events: Vec::new() }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.hash.0
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// The events themselves, from the first, unless only the hash is kept.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Takes note of an event.
    pub(crate) fn event(&mut self, truth: Time, event: &Event) {
        let _ = write!(self.hash, "{} {} {:?}", truth.0, event.sequence, event.kind);
        if self.detail != Detail::Hash {
            self.events.push(event.clone());
        }
        match self.detail {
            Detail::Hash => {}
            Detail::Events => self.lines.push(event.to_string()),
            Detail::All => self.lines.push(format!("{truth} {event}")),
        }
    }

    /// Takes note of what a node is told.
    pub(crate) fn input(&mut self, truth: Time, name: &NodeId, input: &Input) {
        self.hash.word(truth.0);
        if self.detail == Detail::All {
            self.lines.push(format!("{truth}     > {name}  {input:?}"));
        }
    }

    /// Takes note of what happens to a machine.
    pub(crate) fn note(&mut self, truth: Time, name: &NodeId, what: &str) {
        let _ = write!(self.hash, "{} {name} {what}", truth.0);
        if self.detail == Detail::All {
            self.lines.push(format!("{truth}     ! {name} {what}"));
        }
    }
}

/// FNV-1a.
#[derive(Debug)]
struct Fnv(u64);

impl Fnv {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.word(u64::from(byte));
        }
        Ok(())
    }
}
