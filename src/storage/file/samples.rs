//! States for the tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::slot::Owner;
use crate::record::{HardState, MEMBERS_MAX, Member, PROCLAIMED_LEN_MAX, Record, RecordId};
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NAME_LEN_MAX, NodeId, Term};

pub(super) fn cluster() -> ClusterId {
    ClusterId::new("test").expect("a name")
}

pub(super) fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

pub(super) fn group(name: &str) -> GroupId {
    GroupId::new(name).expect("a name")
}

pub(super) fn owner() -> Owner {
    Owner { cluster: cluster(), group: group("main"), node: node("a") }
}

/// Every field is set, and all but the disk differ between terms.
pub(super) fn small(term: u64) -> HardState {
    let member = |name: &str, disk| Member { node: node(name), disk: DiskId(disk), voter: disk != 3 };
    HardState {
        disk: DiskId(0xd15c),
        incarnation: Incarnation(term / 3 + 1),
        named: (term % 2 == 1).then_some(Term(term / 2)),
        founding: Founding(0xf0),
        term: Term(term),
        voted_for: Some(node(if term.is_multiple_of(5) { "b" } else { "planner-0" })),
        promise_max: Duration::new(term, 999_999_999),
        record: Some(Arc::new(Record {
            id: RecordId { term: Term(term), index: term + 7 },
            parent: RecordId { term: Term(term / 2), index: term + 6 },
            members: vec![member("a", 1), member("b", 2), member("c", 3)],
            proclaimed: Bytes::from(format!("https://node-{term}:7300")),
        })),
    }
}

/// The largest state that the library permits.
pub(super) fn largest(term: u64) -> HardState {
    let name = |at: usize| node(&format!("{at:03}{}", "x".repeat(NAME_LEN_MAX - 3)));
    let member = |at| Member { node: name(at), disk: DiskId(at as u128 + 1), voter: true };
    let proclaimed = (0..PROCLAIMED_LEN_MAX).map(|at| (at as u64 * 31 + term) as u8).collect::<Vec<_>>();
    HardState {
        voted_for: Some(name(0)),
        record: Some(Arc::new(Record {
            id: RecordId { term: Term(term), index: term },
            parent: RecordId { term: Term(term), index: term - 1 },
            members: (0..MEMBERS_MAX).map(member).collect(),
            proclaimed: Bytes::from(proclaimed),
        })),
        ..small(term)
    }
}
