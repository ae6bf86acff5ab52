//! What users hold: an [`Elector`], and while it leads a [`Leadership`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hustings::elector::Elector;
//!
//! let elector = Elector::builder()
//!     .cluster("planner")
//!     .node("planner-0")
//!     .listen("0.0.0.0:7300")
//!     .peers([("planner-0", "http://planner-0:7300"), ("planner-1", "http://planner-1:7300")])
//!     .insecure()
//!     .data_dir("/var/lib/planner")
//!     .start()
//!     .await?;
//!
//! elector
//!     .while_leader(|lead| async move {
//!         while lead.is_valid() {
//!             // Act, and send `lead.fence()` with every write.
//! #           tokio::task::yield_now().await;
//!         }
//!         Ok(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod carrier;
mod error;
mod inside;
mod leadership;
mod readiness;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

pub use crate::driver::{Cause, Events, LossCause, StartWhen, View, ViewWatch};
pub use crate::message::Contention;
pub use crate::transport::{Health, HealthWatch, Unready};
pub use builder::{DRAIN_LIMIT, ElectorBuilder, HEARTBEATS_PER_TRACE};
pub use carrier::{Carrier, CarrierError};
pub use error::{
    BoxError, LeadError, MembershipError, ProclaimError, ResignError, StartError, StatusError, TransferDone,
    TransferError,
};
pub use leadership::{CancelToken, Fence, Leadership};
pub use readiness::Readiness;

pub use crate::observer::condition::{Condition, ConditionKind, PeerCause, PeerState};
pub use crate::observer::{CollectiveState, DiskState, MemberState, STATUS_LEN_MAX};
#[cfg(feature = "telemetry")]
pub use crate::telemetry::LinkOutcome;

use crate::driver::{ChangeFailure, Command, Delivery, Guard, Handle, Hold, NotLeading, ProclaimFailure, Transfer};
use crate::event::Change;
use crate::message::{Reply, Request};
use crate::node::MembershipRefused;
use crate::observer::recent::{ElectionSummary, Recent};
use crate::record::{Member, PROCLAIMED_LEN_MAX};
use crate::transport::HandleError;
use crate::types::{GroupId, NodeId, TraceContext};

/// One member of one group, running. Clones are the same member.
///
/// Dropping the last clone without [`Elector::shutdown`] resigns and leaves in the background; it never blocks.
#[derive(Debug, Clone)]
pub struct Elector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    handle: Handle,
    group: GroupId,
    recent: Recent,
    start_when: StartWhen,
}

/// A call that waits for leadership.
struct Waiting<'a> {
    handle: &'a Handle,
    delivery: Option<oneshot::Receiver<Delivery>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Closed first: the driver must find nobody there.
        if self.delivery.take().is_some() {
            self.handle.send(Command::WaiterGone);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.handle.send(Command::Shutdown);
    }
}

impl Elector {
    /// Sets one up.
    pub fn builder() -> ElectorBuilder {
        ElectorBuilder::new()
    }

    fn new(handle: Handle, group: GroupId, recent: Recent, start_when: StartWhen) -> Elector {
        Elector { shared: Arc::new(Shared { handle, group, recent, start_when }) }
    }

    /// The group that it votes in.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.shared.group
    }

    /// What this node knows right now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.handle.view.borrow().clone()
    }

    /// Watches what this node knows: starts with the latest view, and delays nobody.
    #[must_use]
    pub fn watch(&self) -> ViewWatch {
        ViewWatch::new(self.shared.handle.view.clone())
    }

    /// Streams events from here on. Who is slower than 1024 events loses the oldest, and can see how many.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::from_weak(&self.shared.handle.events)
    }

    /// The last elections as this node saw them, the oldest first: who asked whom, who answered what, and why.
    #[must_use]
    pub fn explain(&self) -> Vec<ElectionSummary> {
        self.shared.recent.elections(&self.shared.group)
    }

    /// Waits until this node leads, and returns its leadership: when nobody else can ([`StartWhen::Exclusive`]), unless
    /// the builder said otherwise.
    ///
    /// While it waits this member contends: it stands in its own right. A member on which nobody waits or works votes, stands
    /// last, and hands over to one that contends. Dropping this future ends that.
    ///
    /// It forces no election ([`Elector::campaign_now`] does). Calls that wait at the same time share one leadership, and so does one that comes while it
    /// is held. A term whose work has ended is not led again: the call waits for the next one.
    ///
    /// # Errors
    /// [`LeadError::Stopped`].
    pub async fn campaign(&self) -> Result<Leadership, LeadError> {
        self.campaign_when(self.shared.start_when).await
    }

    /// Like [`Elector::campaign`], with its own condition.
    ///
    /// # Errors
    /// [`LeadError::Stopped`].
    pub async fn campaign_when(&self, when: StartWhen) -> Result<Leadership, LeadError> {
        let guard = self.guard(when).await?;
        Ok(Leadership::held(Hold::of_handles(guard), when))
    }

    /// The guard of an office that can be worked in. A drop of this future leaves it to the next one who waits.
    async fn guard(&self, when: StartWhen) -> Result<Arc<Guard>, LeadError> {
        let (reply, delivery) = oneshot::channel();
        self.shared.handle.send(Command::Lead { when, reply });
        // Who is dropped while it waits no longer contends, and the driver hears of it.
        let mut waiting = Waiting { handle: &self.shared.handle, delivery: Some(delivery) };
        let delivered = match &mut waiting.delivery {
            Some(delivery) => delivery.await,
            None => return Err(LeadError::Stopped),
        };
        waiting.delivery = None;
        delivered.ok().and_then(Delivery::accept).ok_or(LeadError::Stopped)
    }

    /// Orders this node to stand for election at once, instead of when its timeout ends. Returns before that.
    ///
    /// It only asks: voters that hear a leader refuse, with a reason ([`Elector::explain`] tells), and the node follows it
    /// again at its next heartbeat. A node that leads, stands already, or has no vote is as it was. To make another node leader, ask
    /// the one that leads ([`Elector::transfer_to`]). In the trace, the election links to the caller's current span.
    ///
    /// # Errors
    /// [`LeadError::Stopped`].
    pub fn campaign_now(&self) -> Result<(), LeadError> {
        match self.shared.handle.send(Command::Campaign { context: caller() }) {
            true => Ok(()),
            false => Err(LeadError::Stopped),
        }
    }

    /// Runs `work` whenever this node leads, until it returns while leading.
    ///
    /// The work runs in the caller's task, and needs to be neither `Send` nor `'static`. In order: wait to be
    /// established; run; when leadership is lost or given up, cancel the work's [`Leadership::token`]; drop the work if it
    /// has not returned by then: shortly before the lease ends, or at the drain limit; step down; wait again. The work of
    /// one term always ends before that of the next begins. Dropping this future, or a panic in the work, drops the
    /// work first and then resigns.
    ///
    /// A future that blocks its thread cannot be dropped: then [`Leadership::is_valid`] says no, the fence protects what
    /// is written, and the overrun is logged.
    ///
    /// `Ok` from the work while it leads means finished: the node resigns, and this returns. What work returns after its
    /// leadership was lost is only logged: it contends again.
    ///
    /// # Errors
    /// [`LeadError::Work`] with what the work returned while it led, after resigning; [`LeadError::Stopped`].
    pub async fn while_leader<F, Fut>(&self, work: F) -> Result<(), LeadError>
    where
        F: FnMut(Leadership) -> Fut,
        Fut: Future<Output = Result<(), BoxError>>,
    {
        work::while_leader(self, work).await
    }

    /// Gives up leadership: revokes the guard, waits for the work to end, and resigns. Returns once it is over.
    ///
    /// Awaited inside the work of [`Elector::while_leader`], which it would wait for, it returns once the order is taken. A
    /// child that was spawned counts as outside: work that waits for a child that waits for this stands until the drain limit.
    ///
    /// # Errors
    /// [`ResignError::NotLeader`] at once if this node does not lead; [`ResignError::AfterThisWork`] from inside the work, which
    /// should return now.
    pub async fn resign(&self) -> Result<(), ResignError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.handle.send(Command::Resign { term: None, reply: Some(reply) });
        match leadership::unless_taken(inside::of(&self.shared.handle), outcome).await {
            None => Err(ResignError::AfterThisWork),
            Some(Ok(Ok(_term))) => Ok(()),
            Some(Ok(Err(NotLeading))) => Err(ResignError::NotLeader { leader: self.other_leader() }),
            Some(Err(_)) => Err(ResignError::Stopped),
        }
    }

    /// Hands leadership over to `to`, or to the best successor, once the work has ended. Returns when somebody else leads.
    /// In the trace, `raft.transfer` links to the caller's current span.
    ///
    /// # Errors
    /// [`TransferError::NotLeader`] at once if this node does not lead; [`TransferError::AfterThisWork`] inside the work of
    /// [`Elector::while_leader`], as soon as the order is taken; the others say whether it still does.
    pub async fn transfer_to(&self, to: Option<NodeId>) -> Result<TransferDone, TransferError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.handle.send(Command::Transfer(Transfer { term: None, to, context: caller(), reply }));
        let inside = inside::of(&self.shared.handle);
        leadership::transferred(inside, outcome).await.map_err(|error| match error {
            TransferError::NotLeader { .. } => TransferError::NotLeader { leader: self.other_leader() },
            error => error,
        })
    }

    /// Replaces the value that every member holds, at most 64 KiB. Returns once a quorum has it on disk.
    ///
    /// Of several values proclaimed at once only the newest need be kept.
    ///
    /// # Errors
    /// [`ProclaimError`]: says whether the value may yet be committed.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<(), ProclaimError> {
        let value = value.into();
        if value.len() > PROCLAIMED_LEN_MAX {
            return Err(ProclaimError::TooLong { len: value.len(), max: PROCLAIMED_LEN_MAX });
        }
        let (reply, outcome) = oneshot::channel();
        self.shared.handle.send(Command::Proclaim { value, reply });
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ProclaimFailure::NotLeading)) => Err(ProclaimError::NotLeader { leader: self.other_leader() }),
            Ok(Err(ProclaimFailure::Lost(cause))) => Err(ProclaimError::Lost(cause)),
            Err(_) => Err(ProclaimError::Stopped),
        }
    }

    /// The newest proclaimed value that is known to be committed; `None` while none is known, as after a restart, before
    /// anybody proclaimed one, and after an empty one was proclaimed.
    #[must_use]
    pub fn proclaimed(&self) -> Option<Bytes> {
        self.shared.handle.proclaimed.borrow().clone().filter(|value| !value.is_empty())
    }

    /// Adds a voter, reached at `address` (`host:port`; a transport that knows the addresses ignores it). Returns once it
    /// votes and a quorum, itself among the voters, has that on disk.
    ///
    /// Asked of the leader, for a node that runs, or is about to, with [`ElectorBuilder::join_existing`]. The leader
    /// first talks to it, then makes it a member without a vote, and a voter once it has caught up. One change at a time
    /// (dissertation §4). The others learn the address from the leader; for their next start, bring the lists of all
    /// members up to date, and give them [`ElectorBuilder::join_existing`].
    ///
    /// # Errors
    /// [`MembershipError`] says what was changed.
    pub async fn add_member(&self, node: NodeId, address: impl Into<String>) -> Result<(), MembershipError> {
        self.change(Change::Add, node, Some(address.into())).await
    }

    /// Removes a member other than the leader itself: for that, [`Elector::transfer_to`] comes first. Returns once a
    /// quorum of those who stay has that on disk.
    ///
    /// The node removed says so, and stands no more; stopping its process is up to the caller. Its disk keeps its
    /// identity: added again, it need not be wiped.
    ///
    /// # Errors
    /// [`MembershipError`] says what was changed.
    pub async fn remove_member(&self, node: NodeId) -> Result<(), MembershipError> {
        self.change(Change::Remove, node, None).await
    }

    /// The members by the newest record that is known to be committed, sorted by name; none while none is known, as
    /// after a restart.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.shared.handle.members.borrow().clone()
    }

    async fn change(&self, change: Change, node: NodeId, address: Option<String>) -> Result<(), MembershipError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.handle.send(Command::Change { change, node, address, reply });
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ChangeFailure::Refused(MembershipRefused::NotLeader))) => {
                Err(MembershipError::NotLeader { leader: self.other_leader() })
            }
            Ok(Err(ChangeFailure::Refused(refused))) => Err(MembershipError::Refused(refused)),
            Ok(Err(ChangeFailure::Address(reason))) => Err(MembershipError::Address(reason)),
            Ok(Err(ChangeFailure::TimedOut(peer))) => Err(MembershipError::TimedOut(peer)),
            Ok(Err(ChangeFailure::LeadershipEnded)) => Err(MembershipError::LeadershipEnded),
            Err(_) => Err(MembershipError::Stopped),
        }
    }

    /// Who leads in this node's place. One that is about to lead, or to lead no more, names nobody.
    fn other_leader(&self) -> Option<NodeId> {
        self.view().leader.filter(|leader| *leader != self.shared.handle.node)
    }

    /// What this node knows of the whole group: each member's role, term, record, disk and voice, as last seen. `None`
    /// once the node has stopped.
    ///
    /// Asks nobody but the node itself: on a leader it is at most a heartbeat old, on a follower most of it is old or
    /// unknown, and says so ([`CollectiveState`]).
    pub async fn collective_state(&self) -> Option<CollectiveState> {
        let (reply, state) = oneshot::channel();
        self.shared.handle.send(Command::Collective { reply });
        state.await.ok()
    }

    /// What the application says of itself: a few words (`warming up`), at most
    /// [`STATUS_LEN_MAX`] bytes. Empty takes it back.
    ///
    /// It stays on this node: no message carries it to the others. It is shown in this node's own entry of
    /// [`Elector::collective_state`], and, when it changes, in the event `raft.collective_state` of this node's trace, at most
    /// once a second.
    ///
    /// # Errors
    /// [`StatusError`]; the status is as it was.
    pub fn set_status(&self, status: impl AsRef<str>) -> Result<(), StatusError> {
        let status = status.as_ref();
        if status.len() > STATUS_LEN_MAX {
            return Err(StatusError::TooLong { len: status.len(), max: STATUS_LEN_MAX });
        }
        let status = Some(status).filter(|status| !status.is_empty()).map(Arc::from);
        match self.shared.handle.send(Command::SetStatus { status }) {
            true => Ok(()),
            false => Err(StatusError::Stopped),
        }
    }

    /// Whether the application is fit to lead: a member that is not stands back, as one on which nobody waits for
    /// leadership does. It votes, stands last, and hands over to the first fit member in contact that contends, work or no
    /// work, once neither has changed its mind for a smallest election timeout. Where there is no such member it leads and
    /// works all the same. `why` is a few words (`warming up`), at most [`STATUS_LEN_MAX`] bytes, for the log and the trace.
    ///
    /// A member is fit until it is told otherwise.
    ///
    /// # Errors
    /// [`StatusError`]; it is as fit as it was.
    pub fn set_fit(&self, fit: bool, why: impl AsRef<str>) -> Result<(), StatusError> {
        let why = why.as_ref();
        if why.len() > STATUS_LEN_MAX {
            return Err(StatusError::TooLong { len: why.len(), max: STATUS_LEN_MAX });
        }
        match self.shared.handle.send(Command::SetFit { fit, why: why.to_owned() }) {
            true => Ok(()),
            false => Err(StatusError::Stopped),
        }
    }

    /// Leaves: revokes the guard, waits for the work to end while heartbeats go on, hands over, stops listening, and
    /// releases the storage. Returns when all that is done.
    ///
    /// Work that does not end, and an answer that waits for a disk, are waited for until the drain limit and two election
    /// timeouts; then it leaves all the same. A write that still hangs then is waited for two seconds more, and left to
    /// itself: the storage stays locked for as long as it hangs.
    ///
    /// Inside the work of [`Elector::while_leader`], which it would wait for, this gives the order and returns at once: the work
    /// should return now, and [`Elector::stopped`] tells the rest, outside of it.
    pub async fn shutdown(&self) {
        self.shared.handle.send(Command::Shutdown);
        if inside::of(&self.shared.handle).is_some() {
            return;
        }
        self.stopped().await;
    }

    /// Waits until this elector has stopped, for whatever reason.
    pub async fn stopped(&self) {
        self.shared.handle.ended.cancelled().await;
    }

    /// Answers a request that the application received itself: the inbox for transports over HTTP, NATS and the like.
    ///
    /// `peer` is who the application authenticated, `None` if it does not.
    ///
    /// # Errors
    /// [`HandleError`]: there will be no reply.
    pub async fn handle(
        &self,
        request: Request,
        context: TraceContext,
        peer: Option<NodeId>,
    ) -> Result<Reply, HandleError> {
        self.shared.handle.inbox.handle(request, context, peer).await
    }

    /// Whether this member does its part: following is doing it, and so is waiting. A liveness probe asks whether it
    /// [is alive](Health::is_alive); whether it is of use to the others yet is another question ([`Elector::readiness`]).
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.handle.health.current()
    }

    /// Watches whether this member does its part, and whether it is ready.
    #[must_use]
    pub fn watch_health(&self) -> HealthWatch {
        self.shared.handle.health.clone()
    }

    /// What to answer to a readiness probe over HTTP. The built-in transport answers those over gRPC itself.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::new(&self.shared.handle.health, &self.shared.handle.node, &self.shared.group, self.view())
    }

    /// What lasts here and should not, as far as it was told in the log: nothing, on a member that is well.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        self.shared.handle.conditions.borrow().clone()
    }

    /// How late the driver served its newest deadline, and the latest ever.
    #[must_use]
    pub fn lag(&self) -> (Duration, Duration) {
        (self.shared.handle.lag.newest(), self.shared.handle.lag.largest())
    }
}

/// The trace context of whoever calls, where there is one.
fn caller() -> TraceContext {
    #[cfg(feature = "telemetry")]
    return crate::telemetry::caller();
    #[cfg(not(feature = "telemetry"))]
    TraceContext::NONE
}

/// The baggage of whoever calls, as a header's value; empty where there is none.
fn caller_baggage() -> String {
    #[cfg(feature = "telemetry")]
    return crate::telemetry::caller_baggage();
    #[cfg(not(feature = "telemetry"))]
    String::new()
}
