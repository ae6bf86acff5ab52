//! What lasts and should not: told at once, told again while it lasts, and told when it ends.
//!
#![doc = include_str!("conditions.md")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::Timing;
use crate::message::{CallError, Identity, Reason};
use crate::types::{ClusterId, Millis, NodeId, Time};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $code:literal $words:literal,)*) => {
        /// The conditions that an operator must hear of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum ConditionKind { $($(#[$doc])* $name,)* }

        impl ConditionKind {
            /// Every kind.
            pub const ALL: &[ConditionKind] = &[$(ConditionKind::$name,)*];

            /// A stable name for programs.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(ConditionKind::$name => $code,)* }
            }

            /// The condition in words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(ConditionKind::$name => $words,)* }
            }
        }
    };
}

kinds! {
    /// The first start waits for members.
    WaitsForMembers "waits_for_members" "the cluster cannot be founded before all of its members have been heard",
    /// The record does not list this node.
    NotAMember "not_a_member" "the record does not list this node as a member: ask the leader to add it",
    /// The record names another disk of this node.
    DiskUnnamed "disk_unnamed" "this disk has no vote until a leader has named it",
    /// A write failed.
    StorageFailed "storage_failed" "a write of the state failed: this node does not vote",
    /// Too few voters answer.
    NoQuorum "no_quorum" "no quorum can be reached, so that nobody can be elected",
    /// Nobody leads, though a quorum answers.
    NoLeader "no_leader" "no leader is known",
    /// Too few disks are left to name a new one.
    NamingImpossible "naming_impossible" "too few members with their disks are left to name a new disk",
    /// This node leads, and nobody works.
    LeadsWithoutWork "leads_without_work" "this node leads, and no work runs or waits here",
    /// The address of a member is answered by another one, or this address is asked for another member.
    WrongAddress "wrong_address" "addresses of members are mixed up",
    /// Messages of another cluster come or answer.
    OtherCluster "other_cluster" "another cluster is at the address of a member, or calls here",
    /// Messages of a cluster of the same name that was founded apart come or answer.
    OtherFounding "other_founding" "a cluster of the same name was founded apart from this one",
    /// A member has other timing.
    OtherTiming "other_timing" "a member has other timing, so that the two refuse each other",
    /// A node that the record does not list calls.
    UnknownNode "unknown_node" "a node that the record does not list calls here",
    /// A message names a term out of all proportion.
    AbsurdTerm "absurd_term" "messages with terms out of all proportion come",
    /// The terms are used up.
    TermExhausted "term_exhausted" "the terms are used up: the cluster must be founded anew",
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A condition, as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// What.
    pub kind: ConditionKind,
    /// Since when, on this node's clock.
    pub since: Time,
    /// The other nodes that it is about, each with what is known of it.
    pub peers: Vec<PeerState>,
    /// What else is known; empty if nothing is.
    pub detail: String,
}

/// What stands between this node and another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerState {
    /// The other node.
    pub node: NodeId,
    /// Its address, where this node has one.
    pub address: Option<Arc<str>>,
    /// What came of the newest attempt.
    pub cause: PeerCause,
}

/// What came of the newest attempt to speak with a node, or what a node that called here is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerCause {
    /// Nothing has come of it yet.
    Untried,
    /// It answers as it should.
    Answers,
    /// No name server knows its address, or none answers.
    Unresolved,
    /// Nobody listens at the address.
    Refused,
    /// There is no route to the address.
    NoRoute,
    /// Nothing answers within the time limit.
    Silent,
    /// The connection broke.
    Closed,
    /// The record lists it, and this node has no address of it.
    NoAddress,
    /// The TLS handshake failed.
    Tls(String),
    /// It cannot be reached for another reason.
    Unreachable(String),
    /// What answers does not speak this protocol.
    Malformed(String),
    /// Another member of the same cluster answers at its address.
    AnsweredBy(NodeId),
    /// It calls here, and means that member.
    Means(NodeId),
    /// A node of another cluster.
    OtherCluster {
        /// The name of that cluster.
        cluster: ClusterId,
        /// The node's name in it.
        node: NodeId,
    },
    /// A node of a cluster of the same name that was founded apart.
    OtherFounding,
    /// It has other timing.
    OtherTiming(TimingSeen),
    /// The record does not list it.
    NotListed,
    /// It names a term out of all proportion.
    AbsurdTerm,
    /// It answers, and refuses what it is asked.
    Refuses(Reason),
}

/// What is known of the timing of another member: its fingerprint, and the heartbeat interval where the others follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingSeen {
    /// What it says of its own.
    pub theirs: u32,
    /// Its heartbeat interval, if all of its timing is [`Timing::of`] a whole number of milliseconds.
    pub heartbeat: Option<Duration>,
    /// The heartbeat interval of this node.
    pub own_heartbeat: Duration,
}

/// The longest heartbeat interval, in milliseconds, that is looked for behind a fingerprint.
const HEARTBEAT_SOUGHT_MAX_MS: u64 = 2_000;

impl TimingSeen {
    pub(crate) fn of(theirs: u32, own: &Timing) -> TimingSeen {
        let fits = |heartbeat: &Duration| Timing::of(*heartbeat).fingerprint() == theirs;
        let heartbeat = (1..=HEARTBEAT_SOUGHT_MAX_MS).map(Duration::from_millis).find(fits);
        TimingSeen { theirs, heartbeat, own_heartbeat: own.heartbeat }
    }
}

impl fmt::Display for TimingSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Millis(self.own_heartbeat);
        match self.heartbeat {
            Some(heartbeat) if heartbeat != self.own_heartbeat => {
                write!(f, "has a heartbeat of {}, this node one of {own}", Millis(heartbeat))
            }
            Some(_) => write!(f, "has the timeouts that go with a heartbeat of {own}, this node has others"),
            None => write!(f, "has other timing than this node, whose heartbeat is {own}"),
        }
    }
}

impl PeerCause {
    /// What a failed call says.
    pub(crate) fn of(error: &CallError) -> PeerCause {
        let says = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
        match error {
            CallError::Timeout => PeerCause::Silent,
            CallError::Refused => PeerCause::Refused,
            CallError::Closed => PeerCause::Closed,
            CallError::Tls(text) => PeerCause::Tls(text.clone()),
            CallError::Malformed(text) => PeerCause::Malformed(text.clone()),
            CallError::Unreachable(text) if says(text, &["no connection yet"]) => PeerCause::Untried,
            CallError::Unreachable(text) if says(text, &["does not resolve", "lookup address"]) => {
                PeerCause::Unresolved
            }
            CallError::Unreachable(text) if says(text, &["no address of"]) => PeerCause::NoAddress,
            CallError::Unreachable(text) if says(text, &["no route", "No route", "etwork is unreachable"]) => {
                PeerCause::NoRoute
            }
            CallError::Unreachable(text) if says(text, &["no answer"]) => PeerCause::Silent,
            CallError::Unreachable(text) => PeerCause::Unreachable(text.clone()),
        }
    }

    /// What is wrong with who answers for `asked`; `None` if it is that node, of this cluster.
    pub(crate) fn of_stranger(me: &Identity, asked: &NodeId, who: &Identity) -> Option<PeerCause> {
        if who.cluster != me.cluster {
            return Some(PeerCause::OtherCluster { cluster: who.cluster.clone(), node: who.node.clone() });
        }
        if who.node != *asked {
            return Some(PeerCause::AnsweredBy(who.node.clone()));
        }
        (!same_founding(me, who)).then_some(PeerCause::OtherFounding)
    }

    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PeerCause::Untried => "untried",
            PeerCause::Answers => "answers",
            PeerCause::Unresolved => "unresolved",
            PeerCause::Refused => "connection_refused",
            PeerCause::NoRoute => "no_route",
            PeerCause::Silent => "silent",
            PeerCause::Closed => "connection_closed",
            PeerCause::NoAddress => "no_address",
            PeerCause::Tls(_) => "tls",
            PeerCause::Unreachable(_) => "unreachable",
            PeerCause::Malformed(_) => "malformed_reply",
            PeerCause::AnsweredBy(_) => "answered_by_another",
            PeerCause::Means(_) => "means_another",
            PeerCause::OtherCluster { .. } => "other_cluster",
            PeerCause::OtherFounding => "other_founding",
            PeerCause::OtherTiming(_) => "other_timing",
            PeerCause::NotListed => "not_listed",
            PeerCause::AbsurdTerm => "absurd_term",
            PeerCause::Refuses(reason) => reason.code(),
        }
    }
}

/// Whether two nodes can be of one cluster; before the first record a node fits every founding.
pub(crate) fn same_founding(a: &Identity, b: &Identity) -> bool {
    a.founding == b.founding || a.founding.0 == 0 || b.founding.0 == 0
}

impl fmt::Display for PeerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerCause::Untried => f.write_str("not reached yet"),
            PeerCause::Answers => f.write_str("answers"),
            PeerCause::Unresolved => f.write_str("the name does not resolve"),
            PeerCause::Refused => f.write_str("connection refused: nobody listens there"),
            PeerCause::NoRoute => f.write_str("there is no route to it"),
            PeerCause::Silent => f.write_str("no answer in time"),
            PeerCause::Closed => f.write_str("the connection breaks"),
            PeerCause::NoAddress => f.write_str("the record lists it, and this node's list of peers does not"),
            PeerCause::Tls(text) => write!(f, "TLS: {text}"),
            PeerCause::Unreachable(text) => write!(f, "cannot be reached: {text}"),
            PeerCause::Malformed(text) => write!(f, "what answers there speaks another protocol: {text}"),
            PeerCause::AnsweredBy(other) => write!(f, "that address is answered by {other} of this cluster"),
            PeerCause::Means(other) => write!(f, "calls here and means {other}: its list has this address for it"),
            PeerCause::OtherCluster { cluster, node } => write!(f, "is {node} of the cluster {cluster:?}"),
            PeerCause::OtherFounding => f.write_str("belongs to a cluster of this name that was founded apart"),
            PeerCause::OtherTiming(seen) => write!(f, "{seen}"),
            PeerCause::NotListed => f.write_str("calls here and is no member"),
            PeerCause::AbsurdTerm => f.write_str("names a term out of all proportion"),
            PeerCause::Refuses(reason) => write!(f, "answers: {}", reason.words()),
        }
    }
}

/// `b (127.0.0.1:7301): connection refused: nobody listens there`
impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{} ({address}): {}", self.node, self.cause),
            None => write!(f, "{}: {}", self.node, self.cause),
        }
    }
}

/// `no quorum can be reached, so that nobody can be elected: b: no answer in time; c: ... (12 campaigns)`
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words())?;
        for (at, peer) in self.peers.iter().enumerate() {
            write!(f, "{}{peer}", if at == 0 { ": " } else { "; " })?;
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// What is new of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConditionNews {
    /// Who says so.
    pub who: Arc<Identity>,
    /// When, on this node's clock.
    pub at: Time,
    /// The condition.
    pub condition: Condition,
    /// Whether it began, lasts, or has ended.
    pub stage: ConditionStage,
}

/// Where a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionStage {
    /// It is told for the first time.
    Began,
    /// It was told before, and lasts.
    Lasts,
    /// It has ended.
    Ended,
}

impl ConditionNews {
    /// For how long it has lasted.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.at.since(self.condition.since)
    }
}
