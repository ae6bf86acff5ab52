//! What happened: the typed events of the core, the only source of spans, logs, the journal and `explain`.
//!
//! Every event carries the complete state *after* the change. An event that states an intent comes before the message it
//! announces; one that states a promise comes after the promise is durable.

pub mod notation;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::{CallError, Contention, Holder, Identity, RequestId, RequestKind, Verdict};
use crate::record::RecordId;
use crate::types::{DiskId, Founding, NodeId, Term, Time, TraceContext};

/// One thing that happened on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, on that node's clock.
    pub at: Time,
    /// Rises by one with each event of an incarnation: the order, where wall clocks have none.
    pub sequence: u64,
    /// Who reports it.
    pub who: Arc<Identity>,
    /// The term after it.
    pub term: Term,
    /// The role after it.
    pub role: Role,
    /// The leader that the node knows after it.
    pub leader: Option<NodeId>,
    /// Whom the node voted for in `term`, as decided in memory.
    pub voted_for: Option<NodeId>,
    /// What happened.
    pub kind: EventKind,
}

/// A number that the driver gives to an inbound request, so that its reply and its events find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// Numbers the writes of an incarnation; rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteId(pub u64);

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The stable name, as in traces and the journal.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $($name::$variant => $code,)* }
            }
        }
    };
}

codes! {
    /// The part a node plays (paper §5.1).
    Role {
        /// Follows a leader, or waits for one.
        Follower "follower",
        /// Asks whether it would be elected (dissertation §9.6).
        PreCandidate "pre_candidate",
        /// Asks for votes.
        Candidate "candidate",
        /// Leads.
        Leader "leader",
        /// Has left for good; a restart is a new incarnation.
        Stopped "stopped",
    }
}

codes! {
    /// Why a leader's guard was revoked while its term of office still lasted.
    Revocation {
        /// The user asked to resign.
        Resigning "resigning",
        /// The user asked to hand over.
        Transferring "transferring",
        /// The user asked to shut down.
        ShuttingDown "shutting_down",
        /// No quorum acknowledged in time: work was told so, and what is acknowledged later cannot take it back.
        LeaseLapsed "lease_lapsed",
        /// The work came to its end.
        WorkEnded "work_ended",
        /// Nobody took the leadership up: whoever had asked for it has gone.
        Unclaimed "unclaimed",
        /// A write has been under way for too long, and a member with a sound disk is in contact.
        StorageStalled "storage_stalled",
    }
}

codes! {
    /// Why a node campaigns.
    Trigger {
        /// No leader was heard for the election timeout.
        ElectionTimeout "election_timeout",
        /// The connection to the leader closed and a reconnect failed.
        ConnectionLost "connection_lost",
        /// The leader resigned.
        LeaderResigned "leader_resigned",
        /// The leader handed over.
        Transfer "transfer",
        /// The node never knew a leader since its start.
        Startup "startup",
        /// The user asked.
        Manual "manual",
    }
}

codes! {
    /// How an election ended, for the node that stood.
    Outcome {
        /// It leads and its no-op is committed, or it led and lost office before that.
        Won "won",
        /// A quorum can no longer grant.
        Lost "lost",
        /// No quorum granted, and another candidate got votes.
        SplitVote "split_vote",
        /// A higher term was seen.
        HigherTerm "higher_term",
        /// A quorum would not vote for it.
        PreVoteRefused "pre_vote_refused",
        /// Too few answered.
        QuorumUnreachable "quorum_unreachable",
        /// A leader appeared.
        Superseded "superseded",
        /// The node stopped or lost its disk.
        Cancelled "cancelled",
    }
}

codes! {
    /// Why a term of office ended.
    LeadershipEnd {
        /// No quorum was heard within a lease.
        QuorumLost "quorum_lost",
        /// The no-op was not committed within an election timeout.
        NotEstablished "not_established",
        /// A higher term was seen.
        HigherTerm "higher_term",
        /// The user resigned.
        Resigned "resigned",
        /// It handed over.
        Transferred "transferred",
        /// A write failed, or was under way for too long.
        StorageStalled "storage_stalled",
        /// The process or its driver stood still past the lease.
        Paused "paused",
        /// It is no longer a member.
        Removed "removed",
        /// It shut down.
        Shutdown "shutdown",
    }
}

codes! {
    /// Why a node no longer knows a leader.
    LossOfLeader {
        /// It was not heard for the election timeout.
        Timeout "timeout",
        /// The connection to it closed and a reconnect failed.
        ConnectionLost "connection_lost",
        /// It resigned.
        Resigned "resigned",
        /// A higher term was seen.
        HigherTerm "higher_term",
        /// This node led, and does no longer.
        SteppedDown "stepped_down",
        /// This node campaigns by order.
        Campaign "campaign",
    }
}

codes! {
    /// How a transfer ended.
    TransferOutcome {
        /// Another node leads.
        Completed "completed",
        /// The successor could not be brought up to date in time; this node still leads.
        CalledOff "called_off",
        /// The successor did not take over; this node has resigned.
        Failed "failed",
    }
}

codes! {
    /// Something an operator must hear of.
    Alarm {
        /// A message whose term is out of all proportion was refused.
        AbsurdTerm "absurd_term",
        /// A message of another cluster or group was refused.
        WrongCluster "wrong_cluster",
        /// A newer start of this node's own disk is running: this one stops.
        DuplicateNode "duplicate_node",
        /// A node that is not a member was refused.
        UnknownNode "unknown_node",
        /// A record was refused that no member listed here knows: of a stranger, or of members that this node cannot know
        /// any more. It then takes no part until it gets a new disk and the present list.
        ForeignRecord "foreign_record",
        /// A member with another timing was refused.
        DifferentTiming "different_timing",
        /// A member with a protocol version that is not understood was refused.
        UnsupportedVersion "unsupported_version",
        /// This node's disk is not the one that the record names.
        Amnesiac "amnesiac",
        /// Two leaders of one term, or two contents of one record, were seen.
        Equivocation "equivocation",
        /// Too few members with their disks are left to name a new disk: a person must decide.
        NamingImpossible "naming_impossible",
        /// The terms are used up.
        TermExhausted "term_exhausted",
        /// This node is not, or no longer, a member: it takes no part until a leader adds it.
        NotAMember "not_a_member",
        /// A member of this cluster asked here for another node: an address is wrong in its list.
        Misaddressed "misaddressed",
        /// A message of a cluster of this name that was founded apart was refused.
        OtherFounding "other_founding",
    }
}

/// Why the hard state is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum PersistCause {
    /// A vote that this inbound call waits for.
    Vote {
        /// The call.
        call: CallId,
    },
    /// The candidate's own vote.
    OwnVote,
    /// A record that this inbound call waits for.
    Record {
        /// The call.
        call: CallId,
    },
    /// The leader's own copy of a record that it created.
    OwnRecord,
    /// A record that was learned before leading.
    Adoption,
    /// The first record.
    Founding,
    /// This disk may vote from now on.
    Naming,
    /// A write failed before: the storage starts over.
    Afresh,
    /// A longer promise may be given.
    PromiseMax,
    /// A higher term was seen.
    Term,
}

codes! {
    /// Why a leader created a record.
    RecordCause {
        /// The first of its term: commits what came before (paper §8).
        NoOp "no_op",
        /// The user proclaimed a value.
        Proclaim "proclaim",
        /// A member's new disk is named.
        Naming "naming",
        /// A node becomes a member without a vote.
        AddNonVoter "add_non_voter",
        /// A member without a vote becomes a voter.
        AddVoter "add_voter",
        /// A member is removed.
        Remove "remove",
    }
}

codes! {
    /// What is done to the members.
    Change {
        /// A node becomes a voter.
        Add "add",
        /// A member is one no longer.
        Remove "remove",
    }
}

codes! {
    /// How a change of the members ended, for the leader that made it.
    ChangeOutcome {
        /// It is committed.
        Completed "completed",
        /// The newcomer did not answer, or was not brought up to date in time. It may be a member without a vote:
        /// adding it again goes on from there, and removing it is possible.
        TimedOut "timed_out",
        /// Leadership ended. A record of the change that was out may still be committed by a later leader.
        LeadershipEnded "leadership_ended",
    }
}

impl Revocation {
    /// What a journal of a release that named no cause meant.
    fn unsaid() -> Revocation {
        Revocation::Resigning
    }
}

/// The timeout that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waited {
    /// The smallest timeout that could be drawn.
    pub min: Duration,
    /// The largest timeout that could be drawn.
    pub max: Duration,
    /// The one that was drawn, or that the node's rank gave it.
    pub drawn: Duration,
    /// How long it has been since the last contact with a leader, or since the wait began.
    pub elapsed: Duration,
}

/// What happened. Named by past participles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The node recovered its hard state and takes part.
    Started {
        /// Whether its disk may not vote yet.
        amnesiac: bool,
        /// How long it refuses votes.
        quarantine: Duration,
        /// The record that it recovered.
        record: Option<RecordId>,
    },
    /// The first start waits for members.
    MembersAwaited {
        /// Those not heard yet.
        missing: Vec<NodeId>,
    },
    /// The first record was formed or learned.
    Founded {
        /// Its hash.
        founding: Founding,
        /// How many members it has.
        members: usize,
    },
    /// This disk may vote in terms above `floor`.
    Named {
        /// The term above which it votes.
        floor: Term,
    },
    /// The role changed.
    RoleChanged {
        /// The role before.
        from: Role,
    },
    /// The term rose.
    TermAdvanced {
        /// The term before.
        from: Term,
    },
    /// A leader is known.
    LeaderChanged {
        /// The leader.
        leader: NodeId,
        /// The context of the election that made it leader, as it told.
        election: TraceContext,
        /// The last accepted contact with the leader before it, or when the node started or stepped down.
        leaderless_since: Time,
    },
    /// The leader is forgotten.
    LeaderLost {
        /// Who led.
        leader: NodeId,
        /// In which term.
        leader_term: Term,
        /// The last accepted contact.
        last_contact: Time,
        /// Why it is forgotten.
        cause: LossOfLeader,
    },
    /// The outbound connection to the leader closed and an immediate reconnect failed.
    EvidenceFound {
        /// The leader.
        leader: NodeId,
        /// Whether the reconnect was refused, and not only without answer.
        refused: bool,
    },
    /// The node decided to campaign.
    ElectionStarted {
        /// Counts the attempts since a leader was known, from 1.
        attempt: u64,
        /// Why.
        trigger: Trigger,
        /// The timeout, where one was waited for.
        waited: Option<Waited>,
        /// The leader before, and its term.
        previous: Option<(NodeId, Term)>,
        /// The last accepted contact with it.
        last_contact: Option<Time>,
        /// The inbound call that ordered it (transfer).
        call: Option<CallId>,
    },
    /// A round of pre-votes or votes started.
    RoundStarted {
        /// Whether it is a pre-vote.
        pre_vote: bool,
        /// Counts the rounds of the election, from 1.
        round: u64,
        /// The term that is asked for.
        asked_term: Term,
        /// The newest record held.
        last: Option<RecordId>,
        /// How many votes are needed.
        quorum: usize,
        /// How many members vote.
        voters: usize,
    },
    /// A request is about to leave.
    RequestSent {
        /// Its number.
        id: RequestId,
        /// The receiver.
        to: NodeId,
        /// Its kind.
        kind: RequestKind,
        /// The term that it names.
        asked_term: Term,
    },
    /// A reply to one of this incarnation's requests came.
    ReplyReceived {
        /// The request.
        id: RequestId,
        /// Who answered.
        from: NodeId,
        /// The kind of request.
        kind: RequestKind,
        /// The verdict.
        verdict: Verdict,
        /// The answerer's term.
        reply_term: Term,
        /// What it still owes to others, or what its refusal waits for.
        remainder: Duration,
        /// How long it worked.
        worked: Duration,
        /// Whether its round was already decided, so that it does not count.
        late: bool,
    },
    /// A request brought no reply.
    CallFailed {
        /// The request.
        id: RequestId,
        /// Who was asked.
        to: NodeId,
        /// The kind of request.
        kind: RequestKind,
        /// Why.
        error: CallError,
    },
    /// A quorum granted.
    QuorumReached {
        /// Whether it is a pre-vote.
        pre_vote: bool,
        /// How many granted, this node included.
        granted: usize,
        /// How many were needed.
        quorum: usize,
    },
    /// A round was decided.
    RoundEnded {
        /// Whether it is a pre-vote.
        pre_vote: bool,
        /// Which round of the election.
        round: u64,
        /// Whether a quorum granted.
        won: bool,
        /// How many granted, this node included.
        granted: usize,
        /// How many refused.
        denied: usize,
        /// Who did not answer.
        unanswered: Vec<NodeId>,
    },
    /// The election is over for this node.
    ElectionEnded {
        /// How.
        outcome: Outcome,
        /// How many rounds it took.
        rounds: u64,
        /// When the node retries, if it will.
        retry_in: Option<Duration>,
    },
    /// The node leads, and appends its no-op.
    Elected {
        /// How long until nothing is owed to former leaders by the voters of this election.
        barrier: Duration,
    },
    /// The leader created a record.
    RecordAppended {
        /// The record.
        id: RecordId,
        /// The one that it replaces.
        parent: RecordId,
        /// Why.
        cause: RecordCause,
    },
    /// A follower holds a new record in memory; its disk comes later.
    RecordAccepted {
        /// The record.
        id: RecordId,
        /// The one that it replaced.
        parent: RecordId,
        /// Who sent it.
        from: NodeId,
    },
    /// A record was learned before leading (PROPERTIES A1).
    RecordAdopted {
        /// The record.
        id: RecordId,
        /// Whose refusal carried it.
        from: NodeId,
    },
    /// A record is committed: durable on a quorum, or told so by the leader.
    Committed {
        /// The record.
        id: RecordId,
    },
    /// The no-op is committed: the leader is established.
    Established {
        /// From the first candidacy to the quorum.
        time_to_election: Duration,
        /// From the first RequestVote to the first accepted AppendEntries.
        time_to_leadership: Duration,
        /// From the last accepted contact with the leader before, if there was one.
        leaderless: Option<Duration>,
    },
    /// The leader is exclusive: nothing is owed to a former leader any more.
    BecameExclusive {
        /// From the election to here.
        after: Duration,
    },
    /// The term of office ended.
    LeadershipEnded {
        /// Why.
        cause: LeadershipEnd,
        /// When it began.
        since: Time,
        /// Whether user work still runs, so that nothing is released yet.
        work_running: bool,
    },
    /// The leader's guard was revoked ahead of a hand-over or a resignation; heartbeats go on while work drains.
    GuardRevoked {
        /// Why. What ends the term afterwards cannot say it: see [`EventKind::LeadershipEnded`].
        #[serde(default = "Revocation::unsaid")]
        cause: Revocation,
        /// Whether user work still runs.
        work_running: bool,
    },
    /// `Resign` is about to leave: nothing of this node's work in `resigned_term` runs any more.
    Resigned {
        /// The term.
        resigned_term: Term,
    },
    /// The leader's `Resign` was taken.
    LeaderResigned {
        /// Who resigned.
        leader: NodeId,
        /// In which term.
        resigned_term: Term,
    },
    /// The user's work began under this term.
    WorkStarted,
    /// The user's work ended.
    WorkEnded {
        /// The term it began under.
        work_term: Term,
    },
    /// A change of the members began.
    ChangeStarted {
        /// What.
        change: Change,
        /// Whom it is about.
        node: NodeId,
    },
    /// A change of the members ended.
    ChangeEnded {
        /// What.
        change: Change,
        /// Whom it is about.
        node: NodeId,
        /// How.
        outcome: ChangeOutcome,
    },
    /// The newest record that this node holds has other members, or other voters, than the one before. They are in force
    /// at once, committed or not (dissertation §4.1).
    MembersChanged {
        /// The record.
        id: RecordId,
        /// Who votes.
        voters: Vec<NodeId>,
        /// Who is a member without a vote.
        non_voters: Vec<NodeId>,
    },
    /// A transfer began.
    TransferStarted {
        /// The successor.
        to: NodeId,
    },
    /// A transfer ended.
    TransferEnded {
        /// The successor.
        to: NodeId,
        /// How.
        outcome: TransferOutcome,
    },
    /// A request came. Not reported for heartbeats.
    RequestReceived {
        /// Names the call until it is answered.
        call: CallId,
        /// The asker's number of it.
        id: RequestId,
        /// Who asks.
        from: Holder,
        /// What.
        kind: RequestKind,
        /// The term that it names.
        asked_term: Term,
        /// Its trace context.
        context: TraceContext,
    },
    /// A request that was reported, or a heartbeat that is refused, is answered: the reply is about to leave.
    RequestAnswered {
        /// The call.
        call: CallId,
        /// The asker's number of it.
        id: RequestId,
        /// Who asked.
        to: NodeId,
        /// The kind of request.
        kind: RequestKind,
        /// The term that it named.
        asked_term: Term,
        /// The verdict; a granted vote is durable.
        verdict: Verdict,
        /// What this voter still owes to others, or what its refusal waits for.
        remainder: Duration,
        /// The record it durably holds.
        durable: Option<RecordId>,
    },
    /// A write of the hard state is about to start.
    PersistStarted {
        /// Its number.
        write: WriteId,
        /// Everything that waits for it.
        causes: Vec<PersistCause>,
    },
    /// A write is durable.
    PersistEnded {
        /// Its number.
        write: WriteId,
    },
    /// A write failed, or the copy that follows it: the node refuses votes and promises nothing until its storage has started over.
    PersistFailed {
        /// Its number.
        write: WriteId,
        /// What the storage said.
        error: String,
    },
    /// After a failed write the storage has started over, and the whole state is durable again.
    StorageHealed {
        /// For how long it had failed.
        failed_for: Duration,
        /// The attempts that it took.
        attempts: u32,
    },
    /// The driver stood still.
    Paused {
        /// For how long beyond its deadline.
        duration: Duration,
    },
    /// Something an operator must hear of.
    Alarmed {
        /// What.
        alarm: Alarm,
        /// About whom.
        about: Option<NodeId>,
    },
    /// The node left.
    Stopped {
        /// Its disk, for the record.
        disk: DiskId,
    },
    /// The node stands in its own right from here on, or stands back for this reason.
    ContentionChanged {
        /// Whether it contends, or why not.
        contention: Contention,
        /// What the application says of it.
        why: Option<String>,
    },
    /// The leader has been established for a while, nobody works under it, and nobody who would is in contact.
    OfficeIdled {
        /// Why nobody works.
        contention: Contention,
        /// Since when.
        since: Time,
    },
    /// A write has been under way for too long: the node does not stand until it ends, and a leader gives way to a member
    /// whose disk is sound. `PersistEnded` or `PersistFailed` tells how it ended.
    PersistStalled {
        /// Its number.
        write: WriteId,
        /// For how long it has been under way.
        outstanding: Duration,
    },
}
