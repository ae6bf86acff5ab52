//! What handles ask of the driver, and what the driver's helpers report to it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::office::{LossCause, Office};
use crate::event::Change;
use crate::message::{Identity, Reply};
use crate::mutant::{self, Mutant};
use crate::node::{Input, MembershipRefused, TransferRefused};
use crate::observer::{CollectiveState, PeerState};
use crate::types::{NodeId, Term, Time, TraceContext};

/// When user work may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StartWhen {
    /// Once this node is the only leader: every promise to a former leader is over. The default, for work that relies
    /// on being alone.
    #[default]
    Exclusive,
    /// As soon as this node is elected and its first record is committed: a former leader's lease may still run, so
    /// every write of the work must carry the fence.
    Elected,
}

/// Something for one group, or for all.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// An input of the core that a helper produced.
    Input(usize, Input),
    /// A wish of a handle.
    Command(usize, Command),
    /// The answer to a probe of the driver's own.
    Probed(usize, Box<Reply>),
    /// A node was asked, and another one answered.
    Stray { group: usize, asked: NodeId, who: Arc<Identity> },
    /// A node that was removed a while ago need not be reached any more, unless it is a member again.
    Forget(NodeId),
}

/// What a handle asks.
#[derive(Debug)]
pub(crate) enum Command {
    /// Hand out a guard once this node is established.
    Lead { when: StartWhen, reply: oneshot::Sender<Delivery> },
    /// Stand for election at once, by order of whoever that context belongs to.
    Campaign { context: TraceContext },
    /// Ask a quorum whether this term of office still holds.
    Verify { term: Term, reply: oneshot::Sender<Result<(), LossCause>> },
    /// Give up leadership, of this term only if one is named.
    Resign { term: Option<Term>, reply: Option<oneshot::Sender<Result<Term, NotLeading>>> },
    /// Hand over.
    Transfer(Transfer),
    /// Replace the proclaimed value.
    Proclaim { value: Bytes, reply: oneshot::Sender<Result<(), ProclaimFailure>> },
    /// Add a member, or remove one.
    Change { change: Change, node: NodeId, address: Option<String>, reply: oneshot::Sender<Result<(), ChangeFailure>> },
    /// Tell of the whole group.
    Collective { reply: oneshot::Sender<CollectiveState> },
    /// Somebody who asked for a guard no longer waits for it.
    WaiterGone,
    /// Whether the application is fit to lead from now on, and what it says of it.
    SetFit { fit: bool, why: String },
    /// What the application says of itself from now on.
    SetStatus { status: Option<Arc<str>> },
    /// Drain, hand over, leave.
    Shutdown,
    /// The last guard of this term was dropped.
    WorkEnded { term: Term },
    /// A guard has said no while the core still leads.
    Lapsed,
    /// Whoever was to get this guard has gone: it is for the next one who waits.
    Unclaimed { guard: Arc<Guard> },
}

/// A wish to hand over, of this term only if one is named.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) term: Option<Term>,
    pub(crate) to: Option<NodeId>,
    /// Of whoever asks.
    pub(crate) context: TraceContext,
    pub(crate) reply: oneshot::Sender<Result<NodeId, TransferFailure>>,
}

/// This node does not lead. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotLeading;

/// Why a transfer did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransferFailure {
    Refused(TransferRefused),
    CalledOff,
    Failed,
}

/// Why the members were not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeFailure {
    Refused(MembershipRefused),
    Address(String),
    /// What came of the newest attempt to speak with it.
    TimedOut(PeerState),
    LeadershipEnded,
}

/// Why a value was not proclaimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProclaimFailure {
    NotLeading,
    Lost(LossCause),
}

/// The driver's letter box.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    sender: mpsc::UnboundedSender<Parcel>,
}

impl Mail {
    pub(crate) fn new() -> (Mail, mpsc::UnboundedReceiver<Parcel>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Mail { sender }, receiver)
    }

    /// Whether both go to one driver.
    pub(crate) fn is_same(&self, other: &Mail) -> bool {
        self.sender.same_channel(&other.sender)
    }

    /// Says whether the driver still lives.
    pub(crate) fn send(&self, parcel: Parcel) -> bool {
        self.sender.send(parcel).is_ok()
    }
}

/// User work under one term: everybody who holds it shares one, and its drop ends the office.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) who: Arc<Identity>,
    pub(crate) office: Arc<Office>,
    pub(crate) group: usize,
    pub(crate) mail: Mail,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if mutant::on(Mutant::WorkEndNotTold) {
            return;
        }
        // Its tenures are over, so that nobody acts; an order that was given before this comes first.
        let ended = Command::WorkEnded { term: self.office.term };
        self.mail.send(Parcel::Command(self.group, ended));
    }
}

/// A guard on its way to whoever waits for it. Dropped on the way, it goes back to the driver.
#[derive(Debug)]
pub(crate) struct Delivery(Option<Arc<Guard>>);

impl Delivery {
    pub(super) fn of(guard: Arc<Guard>) -> Delivery {
        Delivery(Some(guard))
    }

    /// Takes it. `None` never comes: a delivery is accepted once.
    pub(crate) fn accept(mut self) -> Option<Arc<Guard>> {
        self.0.take()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            let (mail, group) = (guard.mail.clone(), guard.group);
            mail.send(Parcel::Command(group, Command::Unclaimed { guard }));
        }
    }
}

/// Answers one who may have gone away meanwhile.
pub(super) fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}

/// One who waits for something that the core will tell.
#[derive(Debug)]
pub(super) enum Waiter {
    Lead {
        when: StartWhen,
        reply: oneshot::Sender<Delivery>,
    },
    Verify {
        since: Time,
        office: Arc<Office>,
        reply: oneshot::Sender<Result<(), LossCause>>,
    },
    Resign {
        office: Arc<Office>,
        reply: oneshot::Sender<Result<Term, NotLeading>>,
    },
    Transfer {
        office: Option<Arc<Office>>,
        reply: oneshot::Sender<Result<NodeId, TransferFailure>>,
    },
    Change {
        office: Option<Arc<Office>>,
        change: Change,
        node: NodeId,
        reply: oneshot::Sender<Result<(), ChangeFailure>>,
    },
    Proclaim {
        office: Arc<Office>,
        index: Option<u64>,
        reply: oneshot::Sender<Result<(), ProclaimFailure>>,
    },
}

impl Waiter {
    /// Whether nobody waits any more.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Waiter::Lead { reply, .. } => reply.is_closed(),
            Waiter::Verify { reply, .. } => reply.is_closed(),
            Waiter::Resign { reply, .. } => reply.is_closed(),
            Waiter::Transfer { reply, .. } => reply.is_closed(),
            Waiter::Change { reply, .. } => reply.is_closed(),
            Waiter::Proclaim { reply, .. } => reply.is_closed(),
        }
    }
}
