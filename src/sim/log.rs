//! What has happened: hashed always, kept as text when somebody wants to read it.

use std::hash::{Hash, Hasher};

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
    hash: Words,
    lines: Vec<String>,
    events: Vec<Event>,
}

impl Log {
    pub(crate) fn new(detail: Detail) -> Log {
        Log { detail, hash: Words::new(), lines: Vec::new(), events: Vec::new() }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.hash.finish()
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
        (truth, event.sequence, event.term, event.role, &event.kind).hash(&mut self.hash);
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
        (truth, name, std::mem::discriminant(input)).hash(&mut self.hash);
        if self.detail == Detail::All {
            self.lines.push(format!("{truth}     > {name}  {input:?}"));
        }
    }

    /// Takes note of what a user does under a fence.
    pub(crate) fn deed(&mut self, truth: Time, at: usize, fence: u64, what: &str) {
        (truth, at, fence, what).hash(&mut self.hash);
        if self.detail == Detail::All {
            self.lines.push(format!("{truth}     * member {at} {what} {fence}"));
        }
    }

    /// Takes note of what happens to a machine.
    pub(crate) fn note(&mut self, truth: Time, name: &NodeId, what: &str) {
        (truth, name, what).hash(&mut self.hash);
        if self.detail == Detail::All {
            self.lines.push(format!("{truth}     ! {name} {what}"));
        }
    }
}

/// A hash of words, each mixed in with one multiplication. Formatting what happened would take longer than letting it
/// happen.
#[derive(Debug)]
struct Words(u64);

impl Words {
    /// Not 0, which zeros would leave as it is.
    fn new() -> Words {
        Words(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Words {
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_contents_and_order_apart() {
        let hash = |words: &[u64]| {
            let mut hash = Words::new();
            words.iter().for_each(|word| word.hash(&mut hash));
            hash.finish()
        };
        let all = [hash(&[]), hash(&[1]), hash(&[0, 1]), hash(&[1, 0]), hash(&[1, 1])];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{all:x?}");
        }
    }
}
