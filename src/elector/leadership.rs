//! Permission to act as leader, for as long as it can be proven.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::error::{TransferDone, TransferError};
use super::inside;
use crate::driver::{Command, Hold, LossCause, StartWhen, Tenure, Transfer, TransferFailure};
use crate::node::TransferRefused;
use crate::types::{ClusterId, GroupId, NodeId, Term, Time, TraceContext};

/// A fencing token: strictly increasing from one leader to the next.
///
/// Send it with every write. A resource that keeps the highest token it saw, and refuses smaller ones, sees no write of
/// an old leader after one of a newer, however long that leader's process stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub(super) Term);

impl Fence {
    /// The number to send.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.0
    }

    /// The term that it is.
    #[must_use]
    pub fn term(self) -> Term {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Tells work to end. Clones are the same token.
#[derive(Debug, Clone)]
pub struct CancelToken(CancellationToken);

impl CancelToken {
    /// Whether the work should end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the work should end.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}

/// Leadership of one term. Clones are the same leadership.
///
/// Nothing here is a permission by itself: ask [`Leadership::is_valid`] close to each act, and send
/// [`Leadership::fence`] with it.
///
/// What the work of [`Elector::while_leader`](super::Elector::while_leader) is given is a view: keep clones of it wherever they
/// are of use. They hold nothing, and say no for good once the work has ended, in whatever way.
///
/// What [`Elector::campaign`](super::Elector::campaign) returns *holds* the leadership: dropping the last clone ends it. Once
/// leadership is being given up, clones that are still held at the drain limit count for nothing any more; a log line says
/// how many there are.
///
/// # What ends when
/// The token is cancelled, and [`Leadership::lost`] returns, shortly before the lease ends: two margins, a margin being 1/32 of
/// the lease, at least 1 ms and at most 50. A thread of this library sees to it, whatever becomes of the driver's. It can
/// set a flag and wake a task, and no more: on a runtime whose threads are all blocked nobody runs what was woken, a child
/// task, thread or process that looks at no token is not stopped, and a thread that looks finds the flag set.
/// `while_leader` also drops the work itself, a margin before the lease ends, wherever its task gets a turn.
#[derive(Debug, Clone)]
pub struct Leadership {
    tenure: Arc<Tenure>,
    /// What keeps it, unless this is a view.
    _hold: Option<Arc<Hold>>,
    when: StartWhen,
}

impl Leadership {
    /// A view of work that somebody else holds.
    pub(super) fn view(tenure: Arc<Tenure>, when: StartWhen) -> Leadership {
        Leadership { tenure, _hold: None, when }
    }

    /// A handle that holds what it shows.
    pub(super) fn held(hold: Arc<Hold>, when: StartWhen) -> Leadership {
        Leadership { tenure: hold.tenure().clone(), _hold: Some(hold), when }
    }

    /// The fencing token of this leadership.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence(self.tenure.office.term)
    }

    /// Whether this node leads right now, by its own clock and its lease. Asks nobody, costs a few nanoseconds.
    ///
    /// The first *no* is final. Work started at [`StartWhen::Elected`] may hear *yes* while a former leader's lease
    /// still runs: see [`Leadership::is_exclusive`].
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.tenure.holds(self.tenure.office.now())
    }

    /// Whether this node is the only leader right now: valid, and everything promised to former leaders is over.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        let now = self.tenure.office.now();
        self.tenure.office.has_begun(now) && self.tenure.holds(now)
    }

    /// When the work could begin: what this leadership was started for.
    #[must_use]
    pub fn started_when(&self) -> StartWhen {
        self.when
    }

    /// Until when it is valid unless it is renewed, on the clock of [`clock::now`](crate::clock::now); [`Time::ZERO`] once lost.
    #[must_use]
    pub fn valid_until(&self) -> Time {
        self.tenure.valid_until()
    }

    /// Asks a quorum whether this node still leads: a round trip.
    ///
    /// # Errors
    /// [`LossCause`]: it does not, or it gave up meanwhile.
    pub async fn verify(&self) -> Result<(), LossCause> {
        if !self.is_valid() {
            return Err(self.tenure.cause().unwrap_or(LossCause::LeaseLapsed));
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Verify { term: self.tenure.office.term, reply });
        let verdict = tokio::select! {
            biased;
            cause = self.lost() => Err(cause),
            answer = answer => answer.unwrap_or(Err(LossCause::Stopped)),
        };
        verdict.map_err(|cause| self.tenure.cause().unwrap_or(cause))
    }

    /// Waits until leadership is lost or being given up, and says why. Returns at once if it is.
    pub async fn lost(&self) -> LossCause {
        self.tenure.lost().await
    }

    /// A token that is cancelled when leadership is lost or being given up: work should end soon.
    #[must_use]
    pub fn token(&self) -> CancelToken {
        CancelToken(self.tenure.token().clone())
    }

    /// The trace context of the election that led here; not valid without telemetry.
    #[must_use]
    pub fn election_context(&self) -> TraceContext {
        self.tenure.office.election.get().copied().unwrap_or_default()
    }

    /// Links an application's `tracing` span to the election that put this node into office: `authorized_by`.
    ///
    /// For the span of each act under this leadership, once a span: before or while it runs, and also before
    /// `set_parent`, since it is not started by this. The link names the term; its trace is mirrored in the span's attribute
    /// `raft.link.authorized_by`, for viewers that hide what links say.
    ///
    /// ```no_run
    /// # async fn example(lead: hustings::elector::Leadership) {
    /// use tracing::Instrument;
    ///
    /// let span = tracing::info_span!("agent.task");
    /// lead.link(&span);
    /// async { /* act, with `lead.fence()` */ }.instrument(span).await;
    /// # }
    /// ```
    ///
    /// The outcome says whether the span bears the link: without the layer of `tracing-opentelemetry` nothing would.
    /// Where no layer listens, a log line says so once in the process.
    #[cfg(feature = "telemetry")]
    pub fn link(&self, span: &tracing::Span) -> crate::telemetry::LinkOutcome {
        crate::telemetry::link(span, self.election_context(), self.cluster(), self.group(), self.tenure.office.term)
    }

    pub(super) fn cluster(&self) -> &ClusterId {
        &self.tenure.who.cluster
    }

    pub(super) fn group(&self) -> &GroupId {
        &self.tenure.who.group
    }

    /// Gives up leadership. The guard is revoked at once; the node resigns when the last clone is dropped.
    pub fn resign(&self) {
        self.send(Command::Resign { term: Some(self.tenure.office.term), reply: None });
    }

    /// Hands over to `to`, or to the best successor. Begins at once, whether or not the outcome is awaited. In the trace,
    /// `raft.transfer` links to the caller's current span.
    ///
    /// The hand-over waits for the work to end. Awaited inside that work, this returns once the order is taken, with
    /// [`TransferError::AfterThisWork`]. Whoever awaits it elsewhere and keeps the work from ending meanwhile, be it a child that
    /// the work waits for or the holder of what [`Elector::campaign`](super::Elector::campaign) returned, waits for itself until
    /// the drain limit.
    ///
    /// # Errors
    /// [`TransferError`] says whether this node still leads.
    pub fn transfer_to(
        &self,
        to: Option<NodeId>,
    ) -> impl Future<Output = Result<TransferDone, TransferError>> + Send + use<> {
        let (reply, outcome) = oneshot::channel();
        let term = Some(self.tenure.office.term);
        self.send(Command::Transfer(Transfer { term, to, context: super::caller(), reply }));
        let tenure = self.tenure.clone();
        async move { transferred(inside::beside(&tenure), outcome).await }
    }

    fn send(&self, command: Command) {
        self.tenure.send(command);
    }
}

/// Turns the driver's answer into the user's.
pub(super) async fn transferred(
    inside: Option<Arc<Tenure>>,
    outcome: oneshot::Receiver<Result<NodeId, TransferFailure>>,
) -> Result<TransferDone, TransferError> {
    let Some(outcome) = unless_taken(inside, outcome).await else { return Err(TransferError::AfterThisWork) };
    let failure = match outcome {
        Ok(Ok(to)) => return Ok(TransferDone { to }),
        Ok(Err(failure)) => failure,
        Err(_) => return Err(TransferError::Stopped),
    };
    Err(match failure {
        TransferFailure::CalledOff => TransferError::CalledOff,
        TransferFailure::Failed => TransferError::Failed,
        TransferFailure::Refused(TransferRefused::NotLeader) => TransferError::NotLeader { leader: None },
        TransferFailure::Refused(TransferRefused::InProgress) => TransferError::InProgress,
        TransferFailure::Refused(TransferRefused::NotAVoter) => TransferError::NotAVoter,
        TransferFailure::Refused(TransferRefused::NoSuccessor) => TransferError::NoSuccessor,
        TransferFailure::Refused(TransferRefused::WorkRunning) => TransferError::WorkRunning,
    })
}

/// The answer to an order that waits for work to end; `None` if the caller is that work, which hears of the order that was
/// taken by the end of its guard.
pub(super) async fn unless_taken<T>(
    inside: Option<Arc<Tenure>>,
    outcome: oneshot::Receiver<T>,
) -> Option<Result<T, oneshot::error::RecvError>> {
    let Some(work) = inside else { return Some(outcome.await) };
    tokio::select! {
        biased;
        answer = outcome => Some(answer),
        _cause = work.lost() => None,
    }
}
