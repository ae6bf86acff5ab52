//! The names of spans, events, attributes and links: a small closed set, so that a viewer's tree can be read.

use std::time::Duration;

use opentelemetry::{KeyValue, Value};

use crate::message::RequestKind;
use crate::types::{ClusterId, GroupId, NodeId, Term};

/// Names of spans.
pub(super) mod span {
    pub(in crate::telemetry) const ELECTION: &str = "raft.election";
    pub(in crate::telemetry) const PRE_VOTE: &str = "raft.pre_vote";
    pub(in crate::telemetry) const VOTE: &str = "raft.vote";
    pub(in crate::telemetry) const ESTABLISH: &str = "raft.establish";
    pub(in crate::telemetry) const PERSIST: &str = "raft.hard_state.persist";
    pub(in crate::telemetry) const LEADERLESS: &str = "raft.leaderless";
    pub(in crate::telemetry) const DETECT: &str = "raft.detect";
    pub(in crate::telemetry) const LEADERSHIP: &str = "raft.leadership";
    pub(in crate::telemetry) const TRANSFER: &str = "raft.transfer";
    pub(in crate::telemetry) const TRANSITION: &str = "raft.transition";
    pub(in crate::telemetry) const HEARTBEAT: &str = "raft.heartbeat";
    pub(in crate::telemetry) const HEARTBEAT_REQUEST: &str = "raft.heartbeat.request";
}

/// Values of `raft.link.type`.
pub(super) mod link {
    pub(in crate::telemetry) const PREVIOUS_ELECTION: &str = "previous_election";
    pub(in crate::telemetry) const PREVIOUS_ATTEMPT: &str = "previous_attempt";
    pub(in crate::telemetry) const TRIGGERED_BY: &str = "triggered_by";
    pub(in crate::telemetry) const ELECTED_BY: &str = "elected_by";
    pub(in crate::telemetry) const AUTHORIZED_BY: &str = "authorized_by";
}

/// The attribute that mirrors a link of this type: some viewers hide the attributes of links.
pub(super) fn mirror(link: &'static str) -> &'static str {
    match link {
        link::PREVIOUS_ELECTION => "raft.link.previous_election",
        link::PREVIOUS_ATTEMPT => "raft.link.previous_attempt",
        link::TRIGGERED_BY => "raft.link.triggered_by",
        link::AUTHORIZED_BY => "raft.link.authorized_by",
        _ => "raft.link.elected_by",
    }
}

/// The event of a span that tells of the whole group.
pub(super) const COLLECTIVE_STATE: &str = "raft.collective_state";

pub(super) const LINK_TYPE: &str = "raft.link.type";
pub(super) const SEQUENCE: &str = "raft.event.sequence";
pub(super) const REASON: &str = "raft.vote.reason";
pub(super) const GRANTED: &str = "raft.vote.granted";
pub(super) const TERM: &str = "raft.term";
pub(super) const ERROR_TYPE: &str = "error.type";

/// A count, term, index or sequence: always i64, since a u64 would arrive as text where numbers are asked for.
pub(super) fn count(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}

/// As [`count`].
pub(super) fn size(key: &'static str, value: usize) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}

/// A term.
pub(super) fn term(value: Term) -> KeyValue {
    count(TERM, value.0)
}

/// What finds all traces of one term, those of rivals included.
pub(super) fn election_id(cluster: &ClusterId, group: &GroupId, term: Term) -> KeyValue {
    KeyValue::new("raft.election.id", format!("{cluster}/{group}/{}", term.0))
}

/// A duration, in seconds.
pub(super) fn seconds(key: &'static str, value: Duration) -> KeyValue {
    KeyValue::new(key, value.as_secs_f64())
}

/// A text that is known at compile time.
pub(super) fn code(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(key, value)
}

/// A yes or no.
pub(super) fn flag(key: &'static str, value: bool) -> KeyValue {
    KeyValue::new(key, Value::Bool(value))
}

/// A text.
pub(super) fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

/// A node.
pub(super) fn node(key: &'static str, value: &NodeId) -> KeyValue {
    KeyValue::new(key, value.as_str().to_owned())
}

/// The span of a request at the asker.
pub(super) fn client(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::PreVote => "raft.pre_vote.request",
        RequestKind::RequestVote => "raft.vote.request",
        other => server(other),
    }
}

/// The span of a request at the asked, before a verdict names it.
pub(super) fn server(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::PreVote => span::PRE_VOTE,
        RequestKind::RequestVote => span::VOTE,
        RequestKind::AppendEntries => "raft.append_entries",
        RequestKind::TimeoutNow => "raft.timeout_now",
        RequestKind::Resign => "raft.resign",
    }
}

/// The span of a request at the asked, once its verdict is known: who refused is seen in a viewer's tree at once.
pub(super) fn verdict(kind: RequestKind, granted: bool) -> &'static str {
    match (kind, granted) {
        (RequestKind::PreVote, true) => "raft.pre_vote.grant",
        (RequestKind::PreVote, false) => "raft.pre_vote.deny",
        (RequestKind::RequestVote, true) => "raft.vote.grant",
        (RequestKind::RequestVote, false) => "raft.vote.deny",
        (other, _) => server(other),
    }
}

/// Whether a request asks for a vote, a real one or not.
pub(super) fn asks_vote(kind: RequestKind) -> bool {
    matches!(kind, RequestKind::PreVote | RequestKind::RequestVote)
}

/// The attributes that say whether and why a request was granted: votes have their own.
pub(super) fn verdict_keys(kind: RequestKind) -> (&'static str, &'static str) {
    if asks_vote(kind) { (GRANTED, REASON) } else { ("raft.rpc.accepted", "raft.rpc.reason") }
}
