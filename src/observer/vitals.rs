//! What goes on all the time, as numbers that cost nanoseconds to keep and are read only when a metric asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::event::Role;
use crate::message::{CallError, Identity};
use crate::types::{NodeId, Term, Time, nanos};

/// The roles, in the order of [`Vitals`]' numbers.
const ROLES: [Role; 5] = [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader, Role::Stopped];

/// Why heartbeats failed, by [`CallError::code`].
const FAILURES: [&str; 6] =
    ["timeout", "connection_refused", "connection_closed", "unreachable", "tls", "malformed_reply"];

/// How long the largest lag is remembered, at least; at most twice as long.
const LAG_WINDOW: Duration = Duration::from_secs(60);

/// The vital signs of one group on one node. The driver writes them, on the steady path, without a lock and without
/// memory; anyone may read them at any time.
#[derive(Debug)]
pub struct Vitals {
    who: Arc<Identity>,
    workload: Arc<Workload>,
    role: AtomicU8,
    term: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    failed: [AtomicU64; FAILURES.len()],
    /// Zero while this node does not lead.
    quorum_contact: AtomicU64,
    lease_end: AtomicU64,
    idle_since: AtomicU64,
    /// Gaps are rare: a lock may be taken for one.
    gaps: Mutex<BTreeMap<NodeId, u64>>,
}

/// What the driver of a process does for all of its groups together.
#[derive(Debug, Default)]
pub struct Workload {
    traffic: Arc<Traffic>,
    busy_ns: AtomicU64,
    lag: Lag,
}

/// The bytes that a transport moved. A transport counts what it can see: those of a built-in one include the framing.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

/// The largest lag of this window and of the one before.
#[derive(Debug, Default)]
struct Lag {
    began: AtomicU64,
    current: AtomicU64,
    previous: AtomicU64,
}

impl Vitals {
    pub(crate) fn new(who: Arc<Identity>, workload: Arc<Workload>) -> Vitals {
        Vitals {
            who,
            workload,
            role: AtomicU8::new(0),
            term: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            failed: [const { AtomicU64::new(0) }; FAILURES.len()],
            quorum_contact: AtomicU64::new(0),
            lease_end: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            gaps: Mutex::default(),
        }
    }

    /// Whose they are.
    #[must_use]
    pub fn who(&self) -> &Arc<Identity> {
        &self.who
    }

    /// What the driver does for this and its other groups.
    #[must_use]
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        ROLES.get(usize::from(self.role.load(Ordering::Relaxed))).copied().unwrap_or(Role::Stopped)
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.term.load(Ordering::Relaxed))
    }

    /// How many heartbeats this node sent to its followers.
    #[must_use]
    pub fn heartbeats_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many heartbeats came in.
    #[must_use]
    pub fn heartbeats_received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many of the heartbeats that were sent brought no answer, by [`CallError::code`].
    pub fn heartbeats_failed(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FAILURES.iter().zip(&self.failed).map(|(code, count)| (*code, count.load(Ordering::Relaxed)))
    }

    /// As leader: the newest moment at which a quorum was in contact.
    #[must_use]
    pub fn quorum_contact(&self) -> Option<Time> {
        point(&self.quorum_contact)
    }

    /// As leader: when the lease ends unless it is renewed.
    #[must_use]
    pub fn lease_end(&self) -> Option<Time> {
        point(&self.lease_end)
    }

    /// As leader: since when nobody has worked under it, with nobody in contact who would (`OfficeIdled`).
    #[must_use]
    pub fn idle_since(&self) -> Option<Time> {
        point(&self.idle_since)
    }

    /// How often a peer was silent for more than two heartbeats and was then heard again: the leader, or a follower.
    #[must_use]
    pub fn gaps(&self) -> Vec<(NodeId, u64)> {
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.iter().map(|(peer, count)| (peer.clone(), *count)).collect()
    }

    pub(crate) fn set_state(&self, role: Role, term: Term) {
        let number = ROLES.iter().position(|known| *known == role).unwrap_or(0);
        self.role.store(u8::try_from(number).unwrap_or(0), Ordering::Relaxed);
        self.term.store(term.0, Ordering::Relaxed);
    }

    /// `None` unless this node leads.
    pub(crate) fn set_office(&self, quorum_contact: Option<Time>, lease_end: Option<Time>) {
        self.quorum_contact.store(quorum_contact.unwrap_or_default().0, Ordering::Relaxed);
        self.lease_end.store(lease_end.unwrap_or_default().0, Ordering::Relaxed);
    }

    pub(crate) fn set_idle(&self, since: Option<Time>) {
        self.idle_since.store(since.unwrap_or_default().0, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, heartbeats: u64) {
        self.sent.fetch_add(heartbeats, Ordering::Relaxed);
    }

    pub(crate) fn count_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failed(&self, error: &CallError) {
        let at = FAILURES.iter().position(|code| *code == error.code());
        if let Some(count) = at.and_then(|at| self.failed.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_gap(&self, peer: &NodeId) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        match gaps.get_mut(peer) {
            Some(count) => *count += 1,
            None => drop(gaps.insert(peer.clone(), 1)),
        }
    }
}

fn point(at: &AtomicU64) -> Option<Time> {
    Some(Time(at.load(Ordering::Relaxed))).filter(|at| *at != Time::ZERO)
}

impl Workload {
    pub(crate) fn new(traffic: Arc<Traffic>) -> Workload {
        Workload { traffic, ..Workload::default() }
    }

    /// The bytes of the transport.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// For how long the driver has been awake: what coordination costs.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed))
    }

    /// The largest lateness of a deadline in the last minute or two.
    #[must_use]
    pub fn lag(&self, now: Time) -> Duration {
        self.lag.largest(now)
    }

    pub(crate) fn count_busy(&self, busy: Duration) {
        self.busy_ns.fetch_add(nanos(busy), Ordering::Relaxed);
    }

    pub(crate) fn note_lag(&self, now: Time, late: Duration) {
        self.lag.note(now, late);
    }
}

impl Traffic {
    /// Counts bytes that left.
    pub fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts bytes that came.
    pub fn count_received(&self, bytes: usize) {
        self.received.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many bytes left.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many bytes came.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Lag {
    /// Written by the driver alone.
    fn note(&self, now: Time, late: Duration) {
        let age = now.since(Time(self.began.load(Ordering::Relaxed)));
        if age >= LAG_WINDOW {
            let before = if age < LAG_WINDOW * 2 { self.current.load(Ordering::Relaxed) } else { 0 };
            self.previous.store(before, Ordering::Relaxed);
            self.current.store(0, Ordering::Relaxed);
            self.began.store(now.0, Ordering::Relaxed);
        }
        self.current.fetch_max(nanos(late), Ordering::Relaxed);
    }

    fn largest(&self, now: Time) -> Duration {
        let age = now.since(Time(self.began.load(Ordering::Relaxed)));
        let current = if age < LAG_WINDOW * 2 { self.current.load(Ordering::Relaxed) } else { 0 };
        let previous = if age < LAG_WINDOW { self.previous.load(Ordering::Relaxed) } else { 0 };
        Duration::from_nanos(current.max(previous))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_lag_is_kept_for_a_window_or_two() {
        let (lag, ms) = (Lag::default(), Duration::from_millis);
        let at = |seconds: u64| Time::ZERO + Duration::from_secs(1_000 + seconds);
        lag.note(at(0), ms(5));
        lag.note(at(1), ms(2));
        assert_eq!(lag.largest(at(2)), ms(5));
        lag.note(at(70), ms(3));
        assert_eq!(lag.largest(at(80)), ms(5), "the window before still counts");
        lag.note(at(131), ms(1));
        assert_eq!(lag.largest(at(131)), ms(3));
        assert_eq!(lag.largest(at(400)), Duration::ZERO, "a driver that has nothing to do is not late");
    }

    #[test]
    fn every_failure_has_a_number() {
        use crate::message::CallError::{Closed, Malformed, Refused, Timeout, Tls, Unreachable};
        let text = String::new;
        for error in [Timeout, Refused, Closed, Unreachable(text()), Tls(text()), Malformed(text())] {
            assert!(FAILURES.contains(&error.code()), "{error}");
        }
    }
}
