//! Clocks in, facts out: what a voter owes and to whom, and what a leader may claim.
//!
//! The rules are those of leader leases (dissertation §6.4.1), with every promise remembered until time has cleared it:
//! a new leader, a resignation or a restart erases nothing that is owed to another.

use std::time::Duration;

use crate::config::Timing;
use crate::message::Holder;
use crate::mutant::{self, Mutant};
use crate::types::{Term, Time};

/// A promise to the leader that a voter follows: not to vote for another before `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The life of the leader.
    pub to: Holder,
    /// Its term.
    pub term: Term,
    /// The end, on the voter's clock.
    pub until: Time,
}

/// What one voter owes, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Promises {
    current: Option<Promise>,
    owed_until: Time,
    own_until: Time,
    quarantine_until: Time,
    released: Option<(Holder, Term)>,
}

impl Promises {
    /// After a start: everything that may have been promised before is owed, and no vote is given until it is over (E3).
    #[must_use]
    pub fn after_start(now: Time, promise_max: Duration) -> Promises {
        if mutant::on(Mutant::NoQuarantine) {
            return Promises::default();
        }
        let until = now + promise_max;
        Promises { owed_until: until, quarantine_until: until, ..Promises::default() }
    }

    /// The first start of a whole cluster owes nothing (E3).
    pub fn clear_start(&mut self) {
        self.owed_until = Time::ZERO;
        self.quarantine_until = Time::ZERO;
    }

    /// Promises `length` from `now` to this leader. A promise to another moves into what is owed.
    /// Returns false, and promises nothing, if that leader has resigned the term.
    pub fn give(&mut self, now: Time, to: &Holder, term: Term, length: Duration) -> bool {
        if self.has_resigned(to, term) {
            return false;
        }
        let until = now + length;
        match &mut self.current {
            Some(promise) if promise.to == *to && promise.term == term => promise.until = promise.until.max(until),
            other => {
                let old = other.replace(Promise { to: to.clone(), term, until });
                if let Some(old) = old
                    && !mutant::on(Mutant::NewLeaderForgetsOldPromise)
                {
                    self.owed_until = self.owed_until.max(old.until);
                }
            }
        }
        true
    }

    /// Releases the promise to exactly this life of this leader in this term, and nothing else (E2).
    pub fn release(&mut self, to: &Holder, term: Term) {
        if self.current.as_ref().is_some_and(|promise| promise.to == *to && promise.term == term) {
            self.current = None;
        }
        // A late resignation of an earlier term must not make the later one forgotten.
        if self.released.as_ref().is_none_or(|(_, newest)| *newest <= term) {
            if mutant::on(Mutant::ResignReleasesOthers) {
                self.owed_until = Time::ZERO;
            }
            self.released = Some((to.clone(), term));
        }
    }

    /// Whether that leader resigned that term here.
    #[must_use]
    pub fn has_resigned(&self, to: &Holder, term: Term) -> bool {
        self.released.as_ref().is_some_and(|(who, when)| who == to && *when == term)
    }

    /// The connection to the leader was refused and the user declared that this proves its death: nothing is owed to it.
    pub fn forgive_current(&mut self) {
        self.current = None;
    }

    /// A stepped-down leader owes itself the rest of its own lease (E5).
    pub fn owe_own(&mut self, until: Time) {
        self.own_until = self.own_until.max(until);
    }

    /// The guard is revoked and the work has ended: the own lease is over, and only that.
    pub fn clear_own(&mut self) {
        self.own_until = Time::ZERO;
        if mutant::on(Mutant::ClearOwnClearsOthers) {
            self.owed_until = Time::ZERO;
        }
    }

    /// How long the promise to the current leader still forbids a vote for `candidate`.
    #[must_use]
    pub fn forbids(&self, now: Time, candidate: &Holder) -> Duration {
        match &self.current {
            _ if mutant::on(Mutant::PromiseIgnored) => Duration::ZERO,
            Some(promise) if promise.to != *candidate => promise.until.since(now),
            _ => Duration::ZERO,
        }
    }

    /// How long no vote at all is given after a start.
    #[must_use]
    pub fn quarantine(&self, now: Time) -> Duration {
        self.quarantine_until.since(now)
    }

    /// When the quarantine ends.
    #[must_use]
    pub fn quarantine_until(&self) -> Time {
        self.quarantine_until
    }

    /// When everything that is owed to others than `candidate` is over.
    #[must_use]
    pub fn owed_until(&self, candidate: &Holder) -> Time {
        let current = match &self.current {
            Some(promise) if promise.to != *candidate => promise.until,
            _ => Time::ZERO,
        };
        self.owed_until.max(self.own_until).max(current)
    }

    /// The promise to the leader that is followed.
    #[must_use]
    pub fn current(&self) -> Option<&Promise> {
        self.current.as_ref()
    }
}

/// What a leader may claim: barrier and lease, each from the clocks of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// From here on nothing is owed to a former leader.
    pub barrier: Time,
    /// Until here a quorum has promised.
    pub end: Time,
    /// When the no-op was committed; [`Time::NEVER`] before.
    pub committed_at: Time,
    /// Given up for good (resigned, transferred, stepped down).
    pub revoked: bool,
}

impl Lease {
    /// Just elected: nothing is claimed.
    #[must_use]
    pub fn new(barrier: Time) -> Lease {
        Lease { barrier, end: Time::ZERO, committed_at: Time::NEVER, revoked: false }
    }

    /// Whether the leader is alone at `now`.
    #[must_use]
    pub fn is_exclusive(&self, now: Time) -> bool {
        !self.revoked && self.begin() <= now && now < self.end
    }

    /// When it became, or becomes, exclusive if the lease lasts.
    #[must_use]
    pub fn begin(&self) -> Time {
        self.barrier.max(self.committed_at)
    }

    /// Whether it was exclusive at some time up to `now`, seen or not: then a lapse ends the term of office (E6).
    #[must_use]
    pub fn was_exclusive(&self, now: Time) -> bool {
        self.begin() < self.end && self.begin() <= now
    }
}

/// When the promise of a heartbeat sent at `sent` and acknowledged with `promised` ends on the leader's clock.
#[must_use]
pub fn lease_end(timing: &Timing, sent: Time, promised: Duration) -> Time {
    if mutant::on(Mutant::LeaseWithoutMargin) {
        return sent + promised;
    }
    sent + timing.lease_of(promised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DiskId, Incarnation, NodeId};

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn holder(name: &str, incarnation: u64) -> Holder {
        Holder { node: NodeId::new(name).expect("a name"), disk: DiskId(1), incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn a_new_leaders_heartbeat_does_not_forget_the_old_promise() {
        let mut promises = Promises::default();
        promises.give(at(0), &holder("a", 1), Term(1), 100 * MS);
        promises.give(at(10), &holder("b", 1), Term(2), 20 * MS);
        assert_eq!(promises.owed_until(&holder("b", 1)), at(100));
        promises.release(&holder("b", 1), Term(2));
        assert_eq!(
            promises.owed_until(&holder("c", 1)),
            at(100),
            "a resignation releases nothing that is owed to others"
        );
    }

    #[test]
    fn a_promise_is_to_one_life_of_a_leader() {
        let mut promises = Promises::default();
        promises.give(at(0), &holder("a", 1), Term(1), 100 * MS);
        assert_eq!(promises.forbids(at(40), &holder("a", 1)), Duration::ZERO);
        assert_eq!(promises.forbids(at(40), &holder("a", 2)), 60 * MS);
        promises.release(&holder("a", 2), Term(1));
        assert_eq!(promises.forbids(at(40), &holder("b", 1)), 60 * MS, "released by another life");
    }

    #[test]
    fn a_shorter_promise_never_shortens_a_longer_one() {
        let mut promises = Promises::default();
        promises.give(at(0), &holder("a", 1), Term(1), 100 * MS);
        promises.give(at(10), &holder("a", 1), Term(1), 20 * MS);
        assert_eq!(promises.owed_until(&holder("b", 1)), at(100));
    }

    #[test]
    fn a_resigned_term_gets_no_more_promises() {
        let mut promises = Promises::default();
        promises.release(&holder("a", 1), Term(1));
        assert!(!promises.give(at(0), &holder("a", 1), Term(1), MS));
        assert!(promises.give(at(0), &holder("a", 1), Term(2), MS));
    }

    #[test]
    fn a_restart_owes_the_longest_promise() {
        let promises = Promises::after_start(at(5), 100 * MS);
        assert_eq!(promises.quarantine(at(5)), 100 * MS);
        assert_eq!(promises.owed_until(&holder("a", 1)), at(105));
    }

    #[test]
    fn clearing_the_own_lease_clears_nothing_else() {
        let mut promises = Promises::after_start(at(0), 100 * MS);
        promises.owe_own(at(300));
        promises.clear_own();
        assert_eq!(promises.owed_until(&holder("a", 1)), at(100));
    }

    /// `exclusive <=> leader, no-op committed, not resigned, barrier <= now < lease_end`.
    #[test]
    fn exclusive_needs_commit_barrier_and_lease() {
        let mut lease = Lease::new(at(50));
        lease.end = at(100);
        assert!(!lease.is_exclusive(at(60)), "not committed");
        lease.committed_at = at(20);
        assert!(!lease.is_exclusive(at(49)) && lease.is_exclusive(at(50)));
        assert!(lease.is_exclusive(at(99)) && !lease.is_exclusive(at(100)));
        assert!(lease.was_exclusive(at(100)) && !lease.was_exclusive(at(49)));
        lease.revoked = true;
        assert!(!lease.is_exclusive(at(60)));
    }
}
