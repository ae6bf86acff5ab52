//! The machine: `(state, now, input) -> output`, deterministic. Time and chance are arguments.

use bytes::Bytes;
use std::time::Duration;

use crate::config::Config;
use crate::event::{CallId, Event, Role, WriteId};
use crate::message::{CallError, Reply, Request, RequestId};
use crate::promise::Lease;
use crate::record::{HardState, Record, RecordId};
use crate::types::{NodeId, Term, Time, TraceContext};

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
    /// This write failed. What the disk holds is unknown.
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
    /// Hand over to this member, or to the best successor. Ignored unless this node leads: ask [`Node::can_transfer`].
    Transfer(Option<NodeId>),
    /// Replace the proclaimed value. Ignored unless this node leads.
    Proclaim(Bytes),
    /// Ask for this promise from now on, at most the configured `promise_max`.
    AskPromise(Duration),
    /// User work began under this term. Ignored, with `false` from [`Node::is_working`], unless this node leads it.
    WorkStarted,
    /// All user work has ended.
    WorkEnded,
    /// Send a round of heartbeats now.
    Heartbeat,
    /// The driver stood still for this long beyond its deadline.
    Paused(Duration),
    /// Leave: drain, hand over, stop.
    Shutdown,
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
}

/// One member of one group: the Raft election state machine.
#[derive(Debug)]
pub struct Node {
    config: Config,
}

impl Node {
    /// A node that has just started on a recovered state, whose incarnation is already raised and durable.
    pub fn new(config: Config, state: HardState, seed: u64, now: Time, out: &mut Output) -> Node {
        let _ = (state, seed, now, out);
        Node { config }
    }

    /// Takes one input at `now`, and appends to `out`. Total: no input makes it fail or panic.
    pub fn step(&mut self, now: Time, input: Input, out: &mut Output) {
        let _ = (now, input, out);
    }

    /// When to step [`Input::Tick`] next.
    #[must_use]
    pub fn deadline(&self) -> Time {
        Time::NEVER
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::Follower
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(0)
    }

    /// The leader it knows, itself included.
    #[must_use]
    pub fn leader(&self) -> Option<&NodeId> {
        None
    }

    /// What it may claim as leader; `None` unless it leads. What a guard is published from.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        None
    }

    /// The term under which user work runs, or still runs.
    #[must_use]
    pub fn working(&self) -> Option<Term> {
        None
    }

    /// The state as decided in memory; the disk may be behind.
    #[must_use]
    pub fn hard_state(&self) -> &HardState {
        unreachable!("a stub for signatures")
    }

    /// The newest record known to be committed. Memory only: unknown after a restart.
    #[must_use]
    pub fn committed(&self) -> Option<&Record> {
        None
    }

    /// The newest record that is durable here.
    #[must_use]
    pub fn durable(&self) -> Option<RecordId> {
        None
    }

    /// As leader: the newest moment at which a quorum was in contact (the sending time of heartbeats that it answered).
    #[must_use]
    pub fn quorum_contact(&self) -> Option<Time> {
        None
    }

    /// Whether a transfer to that member (or to the best) can begin now, and to whom.
    ///
    /// # Errors
    /// [`TransferRefused`]; nothing was changed.
    pub fn can_transfer(&self, to: Option<&NodeId>) -> Result<NodeId, TransferRefused> {
        let _ = to;
        Err(TransferRefused::NotLeader)
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
}
