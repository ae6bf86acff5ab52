//! One term of office as its holder sees it: a few atomics that the driver publishes and every guard reads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Timing;
use crate::event::{LeadershipEnd, Revocation};
use crate::mutant::{self, Mutant};
use crate::promise::Lease;
use crate::types::{Term, Time, TraceContext};

/// Why leadership was lost, or is being given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossCause {
    /// The term of office ended for this reason.
    Ended(LeadershipEnd),
    /// The lease is about to lapse: no quorum acknowledged in time. The node resigns when the work has ended.
    LeaseLapsed,
    /// The user asked to resign; the node leads until the work has ended.
    Resigning,
    /// The user asked to hand over; the node leads until the work has ended.
    Transferring,
    /// The user asked to shut down; the node leads until the work has ended.
    ShuttingDown,
    /// The work that ran under it has ended, or its last guard was dropped.
    WorkEnded,
    /// Nobody took it up: whoever had waited for it has gone.
    Unclaimed,
    /// The driver is gone: nothing keeps the lease alive any more.
    Stopped,
}

impl LossCause {
    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            LossCause::Ended(end) => end.code(),
            LossCause::LeaseLapsed => "lease_lapsed",
            LossCause::Resigning => "resigning",
            LossCause::Transferring => "transferring",
            LossCause::ShuttingDown => "shutting_down",
            LossCause::WorkEnded => "work_ended",
            LossCause::Unclaimed => "unclaimed",
            LossCause::Stopped => "stopped",
        }
    }

    /// Why the core revoked a guard.
    pub(super) fn of(revocation: Revocation) -> LossCause {
        match revocation {
            Revocation::WorkEnded => LossCause::WorkEnded,
            Revocation::Unclaimed => LossCause::Unclaimed,
            Revocation::Resigning => LossCause::Resigning,
            Revocation::Transferring => LossCause::Transferring,
            Revocation::ShuttingDown => LossCause::ShuttingDown,
            Revocation::LeaseLapsed => LossCause::LeaseLapsed,
            Revocation::StorageStalled => LossCause::Ended(LeadershipEnd::StorageStalled),
        }
    }

    /// What the core is to be told of an office whose guard was revoked for this.
    pub(super) fn revocation(self) -> Revocation {
        match self {
            LossCause::WorkEnded => Revocation::WorkEnded,
            LossCause::Unclaimed => Revocation::Unclaimed,
            LossCause::Resigning => Revocation::Resigning,
            LossCause::Transferring => Revocation::Transferring,
            LossCause::ShuttingDown => Revocation::ShuttingDown,
            LossCause::LeaseLapsed | LossCause::Stopped | LossCause::Ended(_) => Revocation::LeaseLapsed,
        }
    }
}

impl std::fmt::Display for LossCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.code())
    }
}

/// How far a term of office is, for the work that runs under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It holds.
    Open,
    /// Lost or being given up: the work is asked to end.
    Cancelled,
    /// The work must have ended: `while_leader` drops it.
    Expired,
}

/// One term of office. The driver alone extends it; whoever sees its end first, be it a reader, the watch or the driver,
/// closes the latch, and nobody opens it again.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) term: Term,
    /// The context of the election that led to it.
    pub(crate) election: OnceLock<TraceContext>,
    clock: Clock,
    margin: Duration,
    begin: AtomicU64,
    end: AtomicU64,
    /// Latches the first *no* (PROPERTIES E6).
    over: AtomicBool,
    cause: OnceLock<LossCause>,
    token: CancellationToken,
    phase: watch::Sender<Phase>,
    /// How long work may take to end once it was asked to.
    drain_limit: Duration,
    /// How much longer than that a lease can last; one that nobody else's acknowledgement is needed for never ends.
    lease_max: Duration,
    /// When the guard was revoked.
    revoked_at: AtomicU64,
    /// When the work must have ended after that.
    drain_until: AtomicU64,
}

impl Office {
    pub(crate) fn new(term: Term, timing: &Timing, drain_limit: Duration, clock: Clock) -> Office {
        let margin = timing.lease_of(timing.promise) / 32;
        Office {
            term,
            election: OnceLock::new(),
            clock,
            margin: margin.clamp(Duration::from_millis(1), Duration::from_millis(50)),
            begin: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(0),
            over: AtomicBool::new(false),
            cause: OnceLock::new(),
            token: CancellationToken::new(),
            phase: watch::Sender::new(Phase::Open),
            drain_limit,
            lease_max: timing.election_timeout_min + timing.promise,
            revoked_at: AtomicU64::new(u64::MAX),
            drain_until: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes over what the core claims. A guard that said *no* before stays revoked.
    pub(crate) fn publish(&self, lease: &Lease) {
        if self.over.load(Ordering::Acquire) {
            // Before the new end is seen: what is left is counted from the old one.
            self.revoke(LossCause::LeaseLapsed);
        }
        let overstated = if mutant::on(Mutant::LeaseEndOverstated) { 100_000_000 } else { 0 };
        self.end.store(lease.end.0.saturating_add(overstated), Ordering::Release);
        self.begin.store(if lease.committed_at == Time::NEVER { u64::MAX } else { lease.begin().0 }, Ordering::Release);
    }

    /// Closes the guard for good. The first cause is kept, and so is the first end that the work was given.
    pub(crate) fn revoke(&self, cause: LossCause) {
        self.revoke_at(self.now(), cause);
    }

    fn revoke_at(&self, now: Time, cause: LossCause) {
        if self.cause.set(cause).is_ok() {
            let limit = now + self.drain_limit;
            // What a lapsed lease leaves is short, and an acknowledgement that comes too late does not stretch it (E11).
            let lapsed = cause == LossCause::LeaseLapsed;
            let until = if lapsed { limit.min(self.end().before(self.margin)) } else { limit };
            let until = if mutant::on(Mutant::DrainLimitIgnored) { Time::NEVER } else { until };
            self.drain_until.fetch_min(until.0, Ordering::AcqRel);
            self.revoked_at.store(now.0, Ordering::Release);
        }
        self.over.store(true, Ordering::Release);
        if !mutant::on(Mutant::LossNotTold) {
            self.token.cancel();
        }
        self.advance(Phase::Cancelled);
    }

    /// Asks the work to end shortly before the lease ends, and ends it a little later.
    pub(crate) fn tick(&self, now: Time) {
        if self.phase() == Phase::Open && (self.is_over() || now >= self.end().before(self.margin * 2)) {
            self.revoke_at(now, LossCause::LeaseLapsed);
        }
        if self.phase() == Phase::Cancelled && now >= self.expires_at() {
            self.advance(Phase::Expired);
        }
    }

    /// When work that runs on has had its time and `grace`: its own end, and not one that a later lease would give it.
    pub(super) fn drained_at(&self, grace: Duration) -> Time {
        match Time(self.drain_until.load(Ordering::Acquire)) {
            Time::NEVER => Time::NEVER,
            until => until + grace,
        }
    }

    /// When a guard that is held beyond everything counts for nothing any more: at the drain limit, and not before the
    /// lease is over.
    pub(super) fn abandoned_at(&self) -> Time {
        match Time(self.revoked_at.load(Ordering::Acquire)) {
            Time::NEVER => Time::NEVER,
            at => (at + self.drain_limit).max(self.end().min(at + self.drain_limit + self.lease_max)),
        }
    }

    /// When [`Office::tick`] has something to do next.
    pub(crate) fn wake_at(&self) -> Time {
        match self.phase() {
            Phase::Open => self.end().before(self.margin * 2),
            Phase::Cancelled => self.expires_at(),
            Phase::Expired => Time::NEVER,
        }
    }

    /// When a watch should look next, which nobody tells of a revocation: at the end of any lease but one without end.
    pub(super) fn look_at(&self, now: Time) -> Time {
        match self.wake_at() {
            Time::NEVER => Time::NEVER,
            at => at.min(now + self.lease_max),
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Now, by the clock that this office is counted on.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Whether the guard still says yes at `now`. The first *no* is the last word.
    pub(crate) fn holds(&self, now: Time) -> bool {
        let holds = self.could_hold(now);
        if !holds && !mutant::on(Mutant::LapsedGuardValid) {
            self.over.store(true, Ordering::Release);
        }
        holds
    }

    /// Whether a guard may be handed out at `now`. A *no* is not the last word here: it may only be too early.
    pub(crate) fn could_hold(&self, now: Time) -> bool {
        let established = self.begin.load(Ordering::Acquire) != u64::MAX;
        established && now < self.end() && !self.over.load(Ordering::Acquire)
    }

    /// Whether work may begin at `now`: the guard says yes, and will for a moment.
    pub(super) fn may_begin(&self, now: Time) -> bool {
        self.could_hold(now) && now < self.end().before(self.margin * 2)
    }

    /// Whether everything that was promised to former leaders is over at `now`.
    pub(crate) fn has_begun(&self, now: Time) -> bool {
        self.begin.load(Ordering::Acquire) <= now.0
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The end of the lease as last published; [`Time::ZERO`] once it is over.
    pub(crate) fn valid_until(&self) -> Time {
        if self.is_over() { Time::ZERO } else { self.end() }
    }

    pub(crate) fn end(&self) -> Time {
        Time(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn cause(&self) -> Option<LossCause> {
        self.cause.get().copied()
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the work must have ended.
    pub(crate) async fn expired(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase == Phase::Expired).await;
    }

    /// Whether the work must have ended by now, told by the clock alone: a driver that stands still cannot say it.
    pub(crate) fn has_expired(&self) -> bool {
        self.phase() == Phase::Expired || self.now() >= self.expires_at()
    }

    fn expires_at(&self) -> Time {
        if mutant::on(Mutant::WorkNeverExpires) {
            return Time::NEVER;
        }
        self.end().before(self.margin).min(Time(self.drain_until.load(Ordering::Acquire)))
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let rises = *phase < to;
            *phase = to.max(*phase);
            rises
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    const DRAIN: Duration = Duration::from_millis(200);

    fn office(end: u64) -> Office {
        let office = Office::new(Term(1), &Timing::default(), DRAIN, Clock::default());
        office.publish(&Lease { barrier: at(0), end: at(end), committed_at: at(1), revoked: false });
        office
    }

    #[test]
    fn a_lapsed_guard_never_holds_again() {
        let office = office(100);
        assert!(office.holds(at(99)));
        assert!(!office.holds(at(100)));
        office.publish(&Lease { barrier: at(0), end: at(200), committed_at: at(1), revoked: false });
        assert!(!office.holds(at(101)), "latched");
        assert_eq!(office.cause(), Some(LossCause::LeaseLapsed));
    }

    #[test]
    fn nothing_holds_before_the_no_op_is_committed() {
        let office = Office::new(Term(1), &Timing::default(), DRAIN, Clock::default());
        office.publish(&Lease { barrier: at(0), end: at(100), committed_at: Time::NEVER, revoked: false });
        assert!(!office.holds(at(1)));
    }

    #[test]
    fn work_is_asked_to_end_and_then_ended_before_the_lease_does() {
        let office = office(1000);
        assert_eq!(office.phase(), Phase::Open);
        let asked = office.wake_at();
        office.tick(asked);
        assert_eq!((office.phase(), office.cause()), (Phase::Cancelled, Some(LossCause::LeaseLapsed)));
        let ended = office.wake_at();
        assert!(asked < ended && ended < at(1000));
        office.tick(ended);
        assert_eq!((office.phase(), office.wake_at()), (Phase::Expired, Time::NEVER));
    }

    #[test]
    fn draining_ends_at_its_limit_and_keeps_the_first_cause() {
        let office = office(1000);
        office.revoke_at(at(100), LossCause::Resigning);
        office.revoke_at(at(200), LossCause::Ended(LeadershipEnd::QuorumLost));
        assert_eq!((office.wake_at(), office.cause()), (at(300), Some(LossCause::Resigning)));
        office.tick(at(300));
        assert_eq!(office.phase(), Phase::Expired);
        let lease_max = Timing::default().election_timeout_min + Timing::default().promise;
        assert_eq!(office.abandoned_at(), at(1000).min(at(300) + lease_max), "not before the lease is over");
    }

    /// E11: the end that work was told is final.
    #[test]
    fn an_acknowledgement_that_comes_too_late_gives_work_no_more_time() {
        let office = office(1000);
        let asked = office.wake_at();
        office.tick(asked);
        let ends = office.wake_at();
        office.publish(&Lease { barrier: at(0), end: at(5000), committed_at: at(1), revoked: true });
        assert_eq!(office.wake_at(), ends);
        office.tick(ends);
        assert_eq!(office.phase(), Phase::Expired);
    }

    #[test]
    fn work_does_not_begin_when_it_would_be_asked_to_end_at_once() {
        let office = office(1000);
        let asked = office.wake_at();
        assert!(office.holds(asked) && !office.may_begin(asked));
        assert!(office.may_begin(at(500)));
    }
}
