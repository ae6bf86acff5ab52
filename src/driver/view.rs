//! What the driver shows of a group: the latest view, and the stream of events.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::event::{Event, EventKind, LeadershipEnd, LossOfLeader, Role, Trigger};
use crate::message::Contention;
use crate::node::Node;
use crate::types::{NodeId, Term};

/// What a node knows of its group right now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// The leader, this node included; `None` while none is known.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: Term,
    /// The part this node plays.
    pub role: Role,
    /// What brought this about.
    pub cause: Cause,
    /// Whether this node leads and the user's work runs under it. A leader that says no for longer than two election timeouts
    /// has nobody in contact who would work ([`Contention`]).
    pub works: bool,
    /// Whether this node stands in its own right, or why it stands back.
    pub contention: Contention,
    /// `<cluster>/<group>/<term>` of the election that made the leader, while one is known.
    pub election_id: Option<Arc<str>>,
}

/// What brought a [`View`] about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The node started.
    Started,
    /// It campaigns.
    Campaigning(Trigger),
    /// It was elected, and is not established yet.
    Elected,
    /// It is established: its first record is committed.
    Established,
    /// It follows a leader.
    LeaderFound,
    /// The leader is lost.
    LeaderLost(LossOfLeader),
    /// Its own term of office ended.
    LeadershipEnded(LeadershipEnd),
    /// A higher term was seen.
    TermAdvanced,
    /// It has stopped.
    Stopped,
}

impl Cause {
    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Cause::Started => "started",
            Cause::Campaigning(trigger) => trigger.code(),
            Cause::Elected => "elected",
            Cause::Established => "established",
            Cause::LeaderFound => "leader_found",
            Cause::LeaderLost(cause) => cause.code(),
            Cause::LeadershipEnded(end) => end.code(),
            Cause::TermAdvanced => "term_advanced",
            Cause::Stopped => "stopped",
        }
    }

    fn of(kind: &EventKind) -> Option<Cause> {
        Some(match kind {
            EventKind::ElectionStarted { trigger, .. } => Cause::Campaigning(*trigger),
            EventKind::Elected { .. } => Cause::Elected,
            EventKind::Established { .. } => Cause::Established,
            EventKind::LeaderChanged { .. } => Cause::LeaderFound,
            EventKind::LeaderLost { cause, .. } => Cause::LeaderLost(*cause),
            EventKind::LeadershipEnded { cause, .. } => Cause::LeadershipEnded(*cause),
            EventKind::TermAdvanced { .. } => Cause::TermAdvanced,
            EventKind::Stopped { .. } => Cause::Stopped,
            _ => return None,
        })
    }

    /// A lost leader explains more than the term that rose with the loss.
    fn rank(self) -> u8 {
        match self {
            Cause::TermAdvanced => 0,
            Cause::LeaderLost(_) => 1,
            _ => 2,
        }
    }
}

/// The view of a node, and what changed since the one before.
pub(super) fn publish(node: &Node, events: &[Event], sender: &watch::Sender<View>) {
    let mut cause: Option<Cause> = None;
    for next in events.iter().filter_map(|event| Cause::of(&event.kind)) {
        if cause.is_none_or(|before| next.rank() >= before.rank()) {
            cause = Some(next);
        }
    }
    sender.send_if_modified(|view| {
        let same = view.term == node.term()
            && view.role == node.role()
            && view.leader.as_ref() == node.leader()
            && (view.works, view.contention) == (works(node), node.contention());
        let cause = cause.unwrap_or(view.cause);
        if same && cause == view.cause {
            return false;
        }
        if !same {
            *view = of(node, cause);
        }
        view.cause = cause;
        true
    });
}

/// The view of a node.
pub(super) fn of(node: &Node, cause: Cause) -> View {
    let config = node.config();
    let id = || Arc::from(format!("{}/{}/{}", config.cluster, config.group, node.term().0));
    View {
        leader: node.leader().cloned(),
        term: node.term(),
        role: node.role(),
        cause,
        works: works(node),
        contention: node.contention(),
        election_id: node.leader().map(|_| id()),
    }
}

fn works(node: &Node) -> bool {
    node.role() == Role::Leader && node.working() == Some(node.term())
}

/// Watches the latest [`View`]. A slow reader sees the newest one and delays nobody.
#[derive(Debug, Clone)]
pub struct ViewWatch {
    receiver: watch::Receiver<View>,
}

impl ViewWatch {
    pub(crate) fn new(receiver: watch::Receiver<View>) -> ViewWatch {
        ViewWatch { receiver }
    }

    /// The latest view. Never waits.
    #[must_use]
    pub fn current(&self) -> View {
        self.receiver.borrow().clone()
    }

    /// Waits for a view that this watch has not returned yet, and returns the newest; `None` once the node has stopped.
    pub async fn changed(&mut self) -> Option<View> {
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }

    /// Waits until the view fulfils a condition; returns at once if it does. `None` once the node has stopped without.
    pub async fn wait_for(&mut self, mut condition: impl FnMut(&View) -> bool) -> Option<View> {
        self.receiver.wait_for(|view| condition(view)).await.ok().map(|view| view.clone())
    }
}

/// A stream of events that drops the oldest for a reader who is too slow, and counts them.
#[derive(Debug)]
pub struct Events {
    /// `None` if the node had stopped before.
    receiver: Option<broadcast::Receiver<Arc<Event>>>,
    dropped: u64,
}

impl Events {
    pub(crate) fn from_weak(sender: &broadcast::WeakSender<Arc<Event>>) -> Events {
        Events { receiver: sender.upgrade().map(|sender| sender.subscribe()), dropped: 0 }
    }

    /// The next event; `None` once the node has stopped.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.as_mut()?.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => self.dropped = self.dropped.saturating_add(count),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events this reader was too slow for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
