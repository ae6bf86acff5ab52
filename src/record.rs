//! What survives a restart: the hard state of a node, and the one record that the cluster replicates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::mutant::{self, Mutant};
use crate::types::{DiskId, Founding, Incarnation, NodeId, Term};

/// The largest value a leader may proclaim, in bytes.
pub const PROCLAIMED_LEN_MAX: usize = 64 * 1024;
/// The largest number of members.
pub const MEMBERS_MAX: usize = 64;

/// Names a record: Raft's `(lastLogTerm, lastLogIndex)`, ordered as §5.4.1 of the paper compares logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct RecordId {
    /// The term of the leader that created it; 0 for the first record, which no leader created.
    pub term: Term,
    /// Its position: one more than its parent's.
    pub index: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.term.0, self.index)
    }
}

/// A member of the cluster: a node on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// The disk on which it votes; [`DiskId::NONE`] for volatile stores.
    pub disk: DiskId,
    /// Whether it votes.
    pub voter: bool,
}

/// The whole replicated state, one record long: who the members are, and what the leader proclaimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: RecordId,
    /// The record that it replaced.
    pub parent: RecordId,
    /// The members, sorted by name.
    pub members: Vec<Member>,
    /// What the leader proclaimed, at most 64 KiB.
    pub proclaimed: Bytes,
}

impl Record {
    /// The first record of a cluster: term 0, index 0, the same whoever forms it (PROPERTIES D2).
    #[must_use]
    pub fn first(mut members: Vec<Member>) -> Record {
        members.sort_by(|a, b| a.node.cmp(&b.node));
        Record { id: RecordId::default(), parent: RecordId::default(), members, proclaimed: Bytes::new() }
    }

    /// The member with that name.
    #[must_use]
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.iter().find(|m| m.node == *node)
    }

    /// Whether the record names this disk for this node, as a voter.
    #[must_use]
    pub fn names(&self, node: &NodeId, disk: DiskId) -> bool {
        self.member(node).is_some_and(|m| m.voter && m.disk == disk)
    }

    /// Whether the record names this disk for this node, with a vote or without.
    #[must_use]
    pub fn lists(&self, node: &NodeId, disk: DiskId) -> bool {
        self.member(node).is_some_and(|m| m.disk == disk)
    }

    /// Whether both records have the same nodes with the same right to vote, on whatever disks.
    #[must_use]
    pub fn has_members_of(&self, other: &Record) -> bool {
        let same = |(a, b): (&Member, &Member)| a.node == b.node && a.voter == b.voter;
        self.members.len() == other.members.len() && self.members.iter().zip(&other.members).all(same)
    }

    /// How many members vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.members.iter().filter(|m| m.voter).count()
    }

    /// The successor in `term`: next index, same content.
    #[must_use]
    pub fn successor(&self, term: Term) -> Record {
        let id = RecordId { term, index: self.id.index.saturating_add(1) };
        Record { id, parent: self.id, members: self.members.clone(), proclaimed: self.proclaimed.clone() }
    }

    /// The hash of a first record's members and disks, never 0 nor [`Founding::WITHHELD`] (FNV-1a, 64 bit).
    #[must_use]
    pub fn founding(&self) -> Founding {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for member in &self.members {
            eat(member.node.as_str().as_bytes());
            eat(&[0, u8::from(member.voter)]);
            eat(&member.disk.0.to_be_bytes());
        }
        Founding(hash.clamp(1, Founding::WITHHELD.0 - 1))
    }
}

/// What a node must not forget: term, vote and record change in one atomic, checksummed write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The disk, minted with the file.
    pub disk: DiskId,
    /// How often the node has started on it; raised durably before the node starts.
    pub incarnation: Incarnation,
    /// Set once this disk may vote: the term above which it does (PROPERTIES D2). `None` is *amnesiac*.
    pub named: Option<Term>,
    /// The hash of the cluster's first record; 0 before there is one.
    pub founding: Founding,
    /// The current term.
    pub term: Term,
    /// Who got this node's vote in the current term.
    pub voted_for: Option<NodeId>,
    /// The longest promise that this node may give or may have given since its last start.
    pub promise_max: Duration,
    /// The newest record; `None` before the first.
    pub record: Option<Arc<Record>>,
}

impl HardState {
    /// The state of a new disk: nothing known, nobody voted for.
    ///
    /// `promise_max` must be the largest promise that the configuration permits, so that a wiped disk owes at least as
    /// much as the old one (PROPERTIES D2).
    #[must_use]
    pub fn new(disk: DiskId, promise_max: Duration) -> HardState {
        HardState {
            disk,
            incarnation: Incarnation(0),
            named: None,
            founding: Founding(0),
            term: Term(0),
            voted_for: None,
            promise_max: if mutant::on(Mutant::SmallPromiseMax) { promise_max / 4 } else { promise_max },
            record: None,
        }
    }

    /// The name of the newest record, or `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<RecordId> {
        self.record.as_ref().map(|record| record.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, disk: u128) -> Member {
        Member { node: NodeId::new(name).expect("a name"), disk: DiskId(disk), voter: true }
    }

    #[test]
    fn the_first_record_is_the_same_whoever_forms_it() {
        let ab = Record::first(vec![member("a", 1), member("b", 2)]);
        let ba = Record::first(vec![member("b", 2), member("a", 1)]);
        assert_eq!(ab, ba);
        assert_eq!(ab.founding(), ba.founding());
        assert_ne!(ab.founding(), Record::first(vec![member("a", 1), member("b", 3)]).founding());
    }

    /// §5.4.1: the later term is more up to date; in the same term, the longer log.
    #[test]
    fn records_compare_by_term_then_index() {
        let id = |term, index| RecordId { term: Term(term), index };
        assert!(id(2, 1) > id(1, 9));
        assert!(id(2, 2) > id(2, 1));
        assert!(Some(id(0, 0)) > None);
    }

    #[test]
    fn a_record_names_a_node_only_on_its_disk() {
        let record = Record::first(vec![member("a", 1)]);
        let a = NodeId::new("a").expect("a name");
        assert!(record.names(&a, DiskId(1)));
        assert!(!record.names(&a, DiskId(2)));
    }
}
