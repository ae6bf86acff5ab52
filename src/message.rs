//! What nodes say to each other: requests, and replies with their verdicts.
//!
//! No bool travels: every refusal has a name, and carries the refuser's term.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::record::{HardState, Record, RecordId};
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};

/// The protocol version that this release speaks. A later release understands the previous one too.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest protocol version that this release understands.
pub const PROTOCOL_VERSION_MIN: u16 = 1;

/// Who speaks: on every message, since an address is never an identity (PROPERTIES D1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The protocol version of the sender.
    pub version: u16,
    /// Its cluster's name.
    pub cluster: ClusterId,
    /// The hash of its cluster's first record, 0 while it has none.
    pub founding: Founding,
    /// Its group.
    pub group: GroupId,
    /// Its name.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// How often it has started on that disk.
    pub incarnation: Incarnation,
    /// The fingerprint of its [`Timing`](crate::config::Timing).
    pub timing: u32,
    /// Its priority as a successor.
    pub priority: u8,
    /// Whether its disk may not vote yet (PROPERTIES D2).
    pub amnesiac: bool,
}

impl Identity {
    /// What a node of that configuration says of itself with that state.
    pub(crate) fn of(config: &Config, state: &HardState) -> Identity {
        Identity {
            version: PROTOCOL_VERSION,
            cluster: config.cluster.clone(),
            founding: state.founding,
            group: config.group.clone(),
            node: config.node.clone(),
            disk: state.disk,
            incarnation: state.incarnation,
            timing: config.timing.fingerprint(),
            priority: config.priority,
            amnesiac: state.named.is_none(),
        }
    }

    /// The parts that a promise is made to.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder { node: self.node.clone(), disk: self.disk, incarnation: self.incarnation }
    }
}

/// One life of one node on one disk: what a promise is given to, apart from the term.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// Its start.
    pub incarnation: Incarnation,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

/// Numbers a request among all of one incarnation of one node. Rises; a reply echoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A question from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub from: Arc<Identity>,
    /// Who is asked.
    pub to: NodeId,
    /// The number of this request.
    pub id: RequestId,
    /// The term of the asker; in a pre-vote the term that it *would* enter.
    pub term: Term,
    /// What is asked.
    pub body: RequestBody,
}

/// The questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// Would you vote for me? Changes nothing at the voter (dissertation §9.6).
    PreVote {
        /// The newest record that the asker holds.
        last: Option<RecordId>,
    },
    /// Vote for me (paper §5.2).
    RequestVote {
        /// The newest record that the candidate holds.
        last: Option<RecordId>,
        /// The leader that handed over, and its term: the candidacy of a transfer.
        transfer: Option<(Holder, Term)>,
    },
    /// I lead (paper §5.2, §5.3): a heartbeat, with a record when the receiver may lack it.
    AppendEntries {
        /// The promise that is asked for.
        promise: Duration,
        /// The newest record, if the receiver may lack it. The answer to a request that carries one waits for the disk.
        record: Option<Arc<Record>>,
        /// The newest record of this leader's term that is committed.
        committed: Option<RecordId>,
        /// The receiver's place among the successors, 0 stands first; `None` while unknown.
        rank: Option<u8>,
        /// The trace context of the election that made the sender leader.
        election: TraceContext,
    },
    /// Campaign now, I have given up my lease (dissertation §3.10).
    TimeoutNow,
    /// I no longer lead in this term, and no work of mine runs: promises to me are over.
    Resign,
}

impl RequestBody {
    /// The kind without its content.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        match self {
            RequestBody::PreVote { .. } => RequestKind::PreVote,
            RequestBody::RequestVote { .. } => RequestKind::RequestVote,
            RequestBody::AppendEntries { .. } => RequestKind::AppendEntries,
            RequestBody::TimeoutNow => RequestKind::TimeoutNow,
            RequestBody::Resign => RequestKind::Resign,
        }
    }
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// [`RequestBody::PreVote`]
    PreVote,
    /// [`RequestBody::RequestVote`]
    RequestVote,
    /// [`RequestBody::AppendEntries`]
    AppendEntries,
    /// [`RequestBody::TimeoutNow`]
    TimeoutNow,
    /// [`RequestBody::Resign`]
    Resign,
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestKind::PreVote => "PreVote",
            RequestKind::RequestVote => "RequestVote",
            RequestKind::AppendEntries => "AppendEntries",
            RequestKind::TimeoutNow => "TimeoutNow",
            RequestKind::Resign => "Resign",
        })
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Who answers.
    pub from: Arc<Identity>,
    /// Who asked: that life of that node and no other.
    pub to: Holder,
    /// The request that is answered.
    pub id: RequestId,
    /// The kind of that request.
    pub kind: RequestKind,
    /// The answerer's term; a granted pre-vote echoes the requested term.
    pub term: Term,
    /// Yes, or why not.
    pub verdict: Verdict,
    /// How long the answerer worked on it, its disk included, on its own clock.
    pub worked: Duration,
    /// What else the kind of request calls for.
    pub body: ReplyBody,
}

/// What an answer carries beside its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// Nothing: to `Resign`, and to anything that was refused unread.
    None,
    /// To `PreVote` and `RequestVote`.
    Vote {
        /// How much of its promises the voter still owes to others; what a refusal for a promise waits for.
        remainder: Duration,
        /// The voter's newest record, when the asker's is behind it.
        record: Option<Arc<Record>>,
        /// Whom the voter knows as leader, when that is why it refuses.
        hearsay: Option<Hearsay>,
    },
    /// To `AppendEntries`.
    Append {
        /// The promise that was given, from receipt on the voter's clock; zero if none was.
        promised: Duration,
        /// What the voter's disk holds.
        durable: Option<RecordId>,
        /// Whether the voter stands in its own right. An older member does not say: it contends.
        #[serde(default)]
        contention: Contention,
    },
    /// To `TimeoutNow`: the trace context of the election that it caused.
    TimeoutNow {
        /// The context; filled in beside the core.
        election: TraceContext,
    },
}

/// Whether a node stands in its own right, or why it stands back. Who stands back votes like anybody; it is the last to
/// stand, and hands over to one that contends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Contention {
    /// Somebody there waits for leadership, or works.
    #[default]
    Contends,
    /// Nobody there waits for leadership: it would lead without work.
    Idle,
    /// The application says that it is not fit to lead.
    Unfit,
    /// The work of a former term of office has not ended: it could begin no other, and does not stand at all.
    WorkRunning,
    /// A write has been under way for too long: its own vote would not be durable, and it does not stand at all.
    StorageStalled,
}

impl Contention {
    /// Every value.
    pub const ALL: &[Contention] = &[
        Contention::Contends,
        Contention::Idle,
        Contention::Unfit,
        Contention::WorkRunning,
        Contention::StorageStalled,
    ];

    /// The stable name, as in traces and the journal.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Contention::Contends => "contends",
            Contention::Idle => "idle",
            Contention::Unfit => "unfit",
            Contention::WorkRunning => "work_running",
            Contention::StorageStalled => "storage_stalled",
        }
    }

    /// It in words, as the notation writes it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Contention::Contends => "contends",
            Contention::Idle => "stands back, nobody waits for leadership",
            Contention::Unfit => "stands back, the application is not fit",
            Contention::WorkRunning => "stands back, former work runs",
            Contention::StorageStalled => "stands back, storage stalled",
        }
    }

    /// Whether it may stand at all, be it as the last.
    #[must_use]
    pub fn may_stand(self) -> bool {
        !matches!(self, Contention::WorkRunning | Contention::StorageStalled)
    }
}

/// What a node says of a leader that the asker may not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hearsay {
    /// The leader.
    pub leader: NodeId,
    /// Its term.
    pub term: Term,
    /// How long ago anybody was in *direct* contact with it: hearsay never refreshes itself.
    pub age: Duration,
}

/// Yes, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Granted, accepted.
    Granted,
    /// Refused for this reason; unless its docs say otherwise, the refuser's state is unchanged.
    Refused(Reason),
}

impl Verdict {
    /// Whether it is a yes.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        matches!(self, Verdict::Granted)
    }

    /// The reason, `ok` for a yes: the value of `raft.vote.reason`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Verdict::Granted => "ok",
            Verdict::Refused(reason) => reason.code(),
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $code:literal $words:literal,)*) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The stable name, as in `raft.vote.reason`.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// The reason in words, as the notation writes it.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Reason::$name => $words,)* }
            }
        }
    };
}

reasons! {
    /// The asker's term is over (paper §5.1).
    StaleTerm "stale_term" "stale term",
    /// This voter's vote of the term went to another (paper §5.2).
    AlreadyVoted "already_voted" "already voted",
    /// The voter has heard from a leader, or is one, and its promise is not over (dissertation §4.2.3).
    LeaderAlive "leader_alive" "leader alive",
    /// The voter restarted and waits for its longest promise.
    RestartQuarantine "restart_quarantine" "restart quarantine",
    /// The asker's record is older than the voter's (paper §5.4.1). The refuser may have entered the asker's term.
    RecordBehind "record_behind" "record behind",
    /// The asker is not in the record.
    NotAMember "not_a_member" "not a member",
    /// The asker, or the voter, is in the record without a vote.
    NotAVoter "not_a_voter" "not a voter",
    /// Another cluster, group or founding.
    WrongCluster "wrong_cluster" "wrong cluster",
    /// A newer start of the asker's disk is known.
    DuplicateNode "duplicate_node" "duplicate node",
    /// The voter's disk is not yet named by a committed record (PROPERTIES D2), or the asker's is not.
    Amnesiac "amnesiac" "amnesiac",
    /// The protocol version, the kind, the timing or the term cannot be dealt with.
    Unsupported "unsupported" "unsupported",
    /// The voter's disk failed.
    StorageError "storage_error" "storage error",
    /// The voter is stopping.
    Stopping "stopping" "stopping",
    /// The voter has too much to do.
    Overloaded "overloaded" "overloaded",
    /// A heartbeat of a term that its leader has resigned.
    Resigned "resigned" "resigned",
    /// `TimeoutNow` from a node that does not lead the current term.
    NotLeader "not_leader" "not the leader",
    /// What the asker says of a newer record leads beyond what the refuser holds: it asks the members that it lists first
    /// (PROPERTIES S13).
    Unverified "unverified" "record unverified",
    /// `TimeoutNow` to a node whose work of a former term has not ended: it could begin no other.
    WorkRunning "work_running" "work running",
    /// `TimeoutNow` to a node with a write that has been under way for too long.
    StorageStalled "storage_stalled" "storage stalled",
}

/// Why a call brought no reply. The state of the peer is unknown, unless the variant says more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallError {
    /// The deadline passed. The peer may have acted.
    #[error("no answer within the deadline")]
    Timeout,
    /// Nobody listens there. The peer did not see the request.
    #[error("connection refused")]
    Refused,
    /// The connection broke. The peer may have acted.
    #[error("connection closed")]
    Closed,
    /// The address could not be resolved or reached. The peer did not see the request.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The TLS handshake failed. The peer did not see the request.
    #[error("tls: {0}")]
    Tls(String),
    /// The peer answered something that is not a reply.
    #[error("malformed reply: {0}")]
    Malformed(String),
}

impl CallError {
    /// A stable name for programs; the value of `error.type`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CallError::Timeout => "timeout",
            CallError::Refused => "connection_refused",
            CallError::Closed => "connection_closed",
            CallError::Unreachable(_) => "unreachable",
            CallError::Tls(_) => "tls",
            CallError::Malformed(_) => "malformed_reply",
        }
    }
}

/// A request or a reply: what the core hands out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A question.
    Request(Request),
    /// An answer.
    Reply(Reply),
}
