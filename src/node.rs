//! The machine: `(state, now, input) -> output`, deterministic. Time and chance are arguments.

mod admission;
mod campaign;
mod candidate;
mod contention;
mod follower;
mod founding;
mod inquiry;
mod leader;
mod membership;
mod office;
mod pre_candidate;
mod round;
mod view;
mod voter;
mod writes;
mod wrong;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::config::Config;
use crate::event::{Alarm, CallId, Change, Event, EventKind, LossOfLeader, Revocation, Role, WriteId};
use crate::message::{CallError, Contention, Hearsay, Holder, Identity, Reply, Request, RequestBody, RequestId};
use crate::mutant::{self, Mutant};
use crate::promise::Promises;
use crate::quorum::quorum;
use crate::record::{HardState, Record};
use crate::types::{NodeId, Term, Time, TraceContext};

use candidate::Candidate;
use follower::{Evidence, Follower};
use founding::Founding;
use inquiry::Inquiry;
use leader::Leader;
use office::Handover;
use pre_candidate::PreCandidate;
use writes::{Durable, Writes};

/// What can happen to a node. Inputs are imperatives or facts of the outside; none can make a node panic.
#[derive(Debug, Clone)]
pub enum Input {
    /// The deadline has come.
    Tick,
    /// A request came. Its reply will leave with the same `call`.
    Request {
        /// Names the call.
        call: CallId,
        /// The request.
        request: Request,
        /// Its trace context, never read.
        context: TraceContext,
        /// Who the transport authenticated, if it does: `request.from` must say the same.
        peer: Option<NodeId>,
    },
    /// A reply came.
    Reply(Reply),
    /// A request brought no reply.
    CallFailed {
        /// The request.
        id: RequestId,
        /// Who was asked.
        to: NodeId,
        /// Why.
        error: CallError,
    },
    /// Everything up to this write is durable.
    Persisted(WriteId),
    /// This write failed, or what follows it: a copy. What the disk holds is unknown.
    PersistFailed(WriteId, String),
    /// The outbound connection to a peer stands.
    PeerConnected(NodeId),
    /// The outbound connection to a peer closed.
    PeerClosed(NodeId),
    /// The immediate reconnect after [`Input::PeerClosed`] failed.
    PeerLost {
        /// The peer.
        peer: NodeId,
        /// Whether it was refused.
        refused: bool,
    },
    /// Campaign now, by order of the user.
    Campaign,
    /// Give up leadership, once work has ended.
    Resign,
    /// The guard has said no, for this reason, and work was told: the term of office ends once work has, whatever is
    /// acknowledged from here on (E11).
    Revoke(Revocation),
    /// The work that drains has had its time, and runs on. The office ends all the same, in silence: nothing that was
    /// promised to this leader is released before it runs out.
    DrainExpired,
    /// Hand over to this member, or to the best successor. Ignored unless this node leads: ask [`Node::can_transfer`].
    Transfer(Option<NodeId>),
    /// Replace the proclaimed value. Ignored unless this node leads.
    Proclaim(Bytes),
    /// Add a node as a voter: first its disk is learned, then it is a member without a vote, and then it votes. Ignored
    /// unless [`Node::can_change`] permits it.
    AddMember(NodeId),
    /// Remove a member. Ignored unless [`Node::can_change`] permits it.
    RemoveMember(NodeId),
    /// Ask for this promise from now on, at most the configured `promise_max`.
    AskPromise(Duration),
    /// User work began under this term. Ignored, so that [`Node::working`] stays empty, unless this node leads it.
    WorkStarted,
    /// All user work has ended.
    WorkEnded,
    /// Send a round of heartbeats now.
    Heartbeat,
    /// The driver stood still for this long beyond its deadline.
    Paused(Duration),
    /// Leave: drain, hand over, stop.
    Shutdown,
    /// Stand in its own right from now on, or stand back for this reason; with what the application says of it. A node
    /// that was told nothing contends.
    Contend(Contention, Option<String>),
}

/// What a step asks of its driver, **in this order**: publish [`Node::lease`] (so that a revoked guard is seen first), start
/// the write, show the events to the observers, send the messages and replies.
#[derive(Debug, Default)]
pub struct Output {
    /// A state to write; the answer is [`Input::Persisted`]. At most one is under way.
    pub persist: Option<Persist>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Requests to send.
    pub requests: Vec<Request>,
    /// Replies to send.
    pub replies: Vec<(CallId, Reply)>,
    /// Calls that will not be answered.
    pub dropped: Vec<CallId>,
}

impl Output {
    /// Empties it, keeping its memory: the steady state allocates nothing.
    pub fn clear(&mut self) {
        self.persist = None;
        self.events.clear();
        self.requests.clear();
        self.replies.clear();
        self.dropped.clear();
    }
}

/// A state to write.
#[derive(Debug, Clone)]
pub struct Persist {
    /// The number to answer with.
    pub write: WriteId,
    /// The state.
    pub state: HardState,
    /// An earlier write failed: the storage is to start over, and rely on nothing that the failure has touched.
    pub afresh: bool,
}

/// One member of one group: the Raft election state machine.
///
/// **Invariant:** no clock, no I/O, no chance but its own seeded generator: the same configuration, state, seed and inputs
/// give the same outputs.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Arc<Identity>,
    /// As decided in memory; `durable` is what the disk is known to hold (S12).
    hard: HardState,
    durable: Durable,
    writes: Writes,
    part: Part,
    promises: Promises,
    evidence: Option<Evidence>,
    peers: Vec<Peer>,
    hearsay: Option<(Hearsay, Time)>,
    committed: Option<Arc<Record>>,
    founding: Founding,
    inquiry: Inquiry,
    /// The term under which user work runs; it may outlive the office.
    working: Option<Term>,
    handover: Option<Handover>,
    contention: Contention,
    stopping: bool,
    paused: bool,
    past: Past,
    alarms: Vec<(Alarm, Option<NodeId>)>,
    rng: Xoshiro256PlusPlus,
    now: Time,
    next_request: u64,
    next_sequence: u64,
    out: Output,
}

/// The role with its data: what means nothing in another role lives in the role.
#[derive(Debug)]
enum Part {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
    Stopped,
}

impl Part {
    fn role(&self) -> Role {
        match self {
            Part::Follower(_) => Role::Follower,
            Part::PreCandidate(_) => Role::PreCandidate,
            Part::Candidate(_) => Role::Candidate,
            Part::Leader(_) => Role::Leader,
            Part::Stopped => Role::Stopped,
        }
    }
}

/// What is remembered of another node across roles.
#[derive(Debug)]
struct Peer {
    seen: Holder,
    /// The outbound connection to it closed, and has not come back.
    closed: bool,
}

/// What outlives a leader: for the next election's events, and for the retry rule.
#[derive(Debug)]
struct Past {
    leader: Option<(NodeId, Term)>,
    last_contact: Option<Time>,
    leaderless_since: Time,
    /// The rank that the last leader gave.
    rank: Option<u8>,
    attempt: u64,
    evidence_retries: u32,
}

/// How far a term may jump in one message: an honest one never does by 2^32.
const TERM_JUMP_MAX: u64 = 1 << 32;

impl Node {
    /// A node that has just started on a recovered state, whose incarnation is already raised and durable.
    ///
    /// It owes the promises that its former life may have given, and says so in its first event.
    pub fn new(config: Config, mut state: HardState, seed: u64, now: Time, out: &mut Output) -> Node {
        if mutant::on(Mutant::SecondVoteAfterRestart) {
            state.voted_for = None;
        }
        if mutant::on(Mutant::NamingVolatile) {
            state.named = None;
        }
        // A new disk of an old node owes as much from its start, should it turn out that the cluster exists (D2).
        let promises = Promises::after_start(now, state.promise_max);
        let identity = Arc::new(Identity::of(&config, &state));
        let mut node = Node {
            identity,
            durable: Durable::of(&state),
            writes: Writes::default(),
            part: Part::Follower(Follower::idle()),
            promises,
            evidence: None,
            peers: Vec::new(),
            hearsay: None,
            committed: None,
            founding: Founding::default(),
            inquiry: Inquiry::default(),
            working: None,
            handover: None,
            contention: Contention::Contends,
            stopping: false,
            paused: false,
            past: Past {
                leader: None,
                last_contact: None,
                leaderless_since: now,
                rank: None,
                attempt: 0,
                evidence_retries: 0,
            },
            alarms: Vec::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            now,
            next_request: 1,
            next_sequence: 1,
            out: Output::default(),
            hard: state,
            config,
        };
        std::mem::swap(&mut node.out, out);
        node.begin();
        node.flush();
        std::mem::swap(&mut node.out, out);
        node
    }

    /// Takes one input at `now`, and appends to `out`. Total: no input makes it fail or panic.
    pub fn step(&mut self, now: Time, input: Input, out: &mut Output) {
        std::mem::swap(&mut self.out, out);
        self.now = if mutant::on(Mutant::NowBeforeInput) { self.now } else { self.now.max(now) };
        if let Input::Paused(duration) = input {
            self.paused = true;
            self.emit(EventKind::Paused { duration });
        }
        self.expire_office();
        self.take(input);
        self.stop_if_free();
        self.paused = false;
        self.flush();
        if mutant::on(Mutant::NowBeforeInput) {
            self.now = self.now.max(now);
        }
        std::mem::swap(&mut self.out, out);
    }

    fn take(&mut self, input: Input) {
        if let Part::Stopped = self.part {
            return self.refuse_stopped(input);
        }
        match input {
            Input::Tick => self.tick(),
            Input::Request { call, request, context, peer } => {
                self.receive_request(call, request, context, peer.as_ref());
            }
            Input::Reply(reply) => self.receive_reply(reply),
            Input::CallFailed { id, to, error } => self.receive_call_failed(id, &to, error),
            Input::Persisted(write) => self.receive_persisted(write),
            Input::PersistFailed(write, error) => self.receive_persist_failed(write, error),
            Input::PeerConnected(peer) => self.receive_peer_connected(&peer),
            Input::PeerClosed(peer) => self.receive_peer_closed(&peer),
            Input::PeerLost { peer, refused } => self.receive_peer_lost(&peer, refused),
            Input::Campaign => self.campaign_by_order(),
            Input::Resign => self.revoke(Revocation::Resigning),
            Input::Revoke(cause) => self.revoke(cause),
            Input::DrainExpired => self.expire_drain(),
            Input::Transfer(to) => self.transfer(to.as_ref()),
            Input::Proclaim(value) => self.proclaim(value),
            Input::AddMember(node) => self.begin_change(Change::Add, &node),
            Input::RemoveMember(node) => self.begin_change(Change::Remove, &node),
            Input::AskPromise(promise) => self.ask_promise(promise),
            Input::WorkStarted => self.start_work(),
            Input::WorkEnded => self.end_work(),
            Input::Contend(contention, why) => self.contend(contention, why),
            Input::Heartbeat => self.heartbeat_now(),
            Input::Paused(_) => {}
            Input::Shutdown => self.shutdown(),
        }
    }

    fn tick(&mut self) {
        self.tick_handover();
        self.tick_storage();
        self.tick_write();
        match self.part {
            Part::Follower(_) => self.tick_follower(),
            Part::PreCandidate(_) => self.tick_pre_candidate(),
            Part::Candidate(_) => self.tick_candidate(),
            Part::Leader(_) => self.tick_leader(),
            Part::Stopped => {}
        }
    }

    /// When to step [`Input::Tick`] next.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let role = match &self.part {
            Part::Follower(follower) => self.stands_at(follower).min(self.founding_deadline()),
            Part::PreCandidate(pre_candidate) => pre_candidate.deadline,
            Part::Candidate(candidate) => candidate.deadline.min(candidate.give_up_at).min(candidate.resend_at),
            Part::Leader(leader) => self.leader_deadline(leader),
            Part::Stopped => return Time::NEVER,
        };
        let role = role.min(self.storage_deadline()).min(self.write_deadline());
        role.min(self.handover.as_ref().map_or(Time::NEVER, |handover| handover.deadline))
    }
}

/// The two mutators, and what every role uses.
impl Node {
    /// The one place where the term changes. A vote belongs to its term (S5).
    fn advance_term(&mut self, term: Term) {
        debug_assert!(term > self.hard.term, "a term never decreases (S4)");
        let from = self.hard.term;
        self.hard.term = term;
        self.hard.voted_for = None;
        if mutant::on(Mutant::PromiseDroppedOnHigherTerm) {
            self.promises.forgive_current();
        }
        self.change(crate::event::PersistCause::Term);
        self.emit(EventKind::TermAdvanced { from });
    }

    /// The one place where the role changes.
    fn become_part(&mut self, part: Part) {
        let from = self.part.role();
        self.part = part;
        if self.part.role() != from {
            self.emit(EventKind::RoleChanged { from });
        }
    }

    fn emit(&mut self, kind: EventKind) {
        let event = Event {
            at: self.now,
            sequence: self.next_sequence,
            who: self.identity.clone(),
            term: self.hard.term,
            role: self.part.role(),
            leader: self.leader().cloned(),
            voted_for: self.hard.voted_for.clone(),
            kind,
        };
        self.next_sequence += 1;
        self.out.events.push(event);
    }

    /// Says something to the operator, once until something else is said.
    fn alarm(&mut self, alarm: Alarm, about: Option<NodeId>) {
        let said = (alarm, about);
        if self.alarms.contains(&said) {
            return;
        }
        if self.alarms.len() >= 16 {
            self.alarms.remove(0);
        }
        self.alarms.push(said.clone());
        self.emit(EventKind::Alarmed { alarm, about: said.1 });
    }

    fn send(&mut self, to: NodeId, term: Term, body: RequestBody) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.out.requests.push(Request { from: self.identity.clone(), to, id, term, body });
        id
    }

    /// Announces the request in an event, then sends it.
    fn send_announced(&mut self, to: &NodeId, term: Term, body: RequestBody) -> RequestId {
        let (id, kind) = (RequestId(self.next_request), body.kind());
        self.emit(EventKind::RequestSent { id, to: to.clone(), kind, asked_term: term });
        self.send(to.clone(), term, body)
    }

    fn holder(&self) -> Holder {
        self.identity.holder()
    }

    fn is_listed(&self, node: &NodeId) -> bool {
        self.hard.record.as_ref().is_some_and(|record| record.member(node).is_some())
    }

    fn voters(&self) -> usize {
        self.hard.record.as_ref().map_or(self.config.members.len(), |record| record.voters())
    }

    fn quorum(&self) -> usize {
        quorum(self.voters())
    }

    /// Every other node that may have to hear from this one.
    fn others(&self) -> Vec<NodeId> {
        let me = &self.config.node;
        match &self.hard.record {
            Some(record) => record.members.iter().map(|m| &m.node).filter(|node| *node != me).cloned().collect(),
            None => self.config.members.iter().filter(|node| *node != me).cloned().collect(),
        }
    }

    /// A duration between the bounds, drawn in nanoseconds.
    fn draw(&mut self, min: Duration, max: Duration) -> Duration {
        if min >= max {
            return min;
        }
        let (min, max) = (crate::types::nanos(min), crate::types::nanos(max));
        Duration::from_nanos(self.rng.random_range(min..=max))
    }

    fn forget_leader(&mut self, cause: LossOfLeader) {
        let Part::Follower(follower) = &mut self.part else { return };
        let Some(following) = follower.leader.take() else { return };
        let leader = following.holder.node.clone();
        self.past.last_contact = Some(following.contact);
        self.past.leaderless_since = following.contact;
        self.past.leader = Some((leader.clone(), following.term));
        self.past.rank = following.rank;
        self.past.attempt = 0;
        self.past.evidence_retries = 0;
        self.emit(EventKind::LeaderLost {
            leader,
            leader_term: following.term,
            last_contact: following.contact,
            cause,
        });
    }
}

/// Why a transfer cannot begin. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferRefused {
    /// This node does not lead, or is not established.
    #[error("this node does not lead")]
    NotLeader,
    /// It is giving up leadership already.
    #[error("leadership is being given up already")]
    InProgress,
    /// The successor is not a voter, or is this node.
    #[error("the successor is not another voter")]
    NotAVoter,
    /// No successor is in contact.
    #[error("no successor is in contact")]
    NoSuccessor,
    /// The work of a former term has not ended at the successor: it could begin no other.
    #[error("former work of the successor has not ended")]
    WorkRunning,
}

/// Why the members cannot be changed. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipRefused {
    /// This node does not lead, or is not established: ask the leader.
    #[error("this node does not lead")]
    NotLeader,
    /// It leads, and a promise to a former leader is not over yet: ask again in a moment.
    #[error("the leader is not exclusive yet")]
    NotExclusive,
    /// Another change is under way, or leadership is being given up.
    #[error("another change is under way, or leadership is being given up")]
    InProgress,
    /// The stores forget at a restart, and each forms the members anew from its configured list.
    #[error("members of a volatile cluster cannot be changed: their lists decide at each start")]
    Volatile,
    /// The node votes already.
    #[error("the node is a member already")]
    AlreadyMember,
    /// The node is not a member.
    #[error("the node is not a member")]
    NotAMember,
    /// There would be too many members.
    #[error("there are as many members as there can be")]
    TooMany,
    /// The node is the leader itself: hand over first, and ask the new leader.
    #[error("the leader cannot remove itself: hand over first")]
    IsLeader,
    /// Too few of the remaining voters are in contact to be a quorum: the cluster would have no leader.
    #[error("too few of the remaining voters are in contact")]
    WouldLoseQuorum,
}

impl MembershipRefused {
    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            MembershipRefused::NotLeader => "not_leader",
            MembershipRefused::NotExclusive => "not_exclusive",
            MembershipRefused::InProgress => "in_progress",
            MembershipRefused::Volatile => "volatile",
            MembershipRefused::AlreadyMember => "already_member",
            MembershipRefused::NotAMember => "not_a_member",
            MembershipRefused::TooMany => "too_many",
            MembershipRefused::IsLeader => "is_leader",
            MembershipRefused::WouldLoseQuorum => "would_lose_quorum",
        }
    }
}
