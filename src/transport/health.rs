//! Whether a member does its part, and whether it is ready: for probes, load balancers and whoever restarts processes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::Unready;
use crate::clock::Clock;
use crate::mutant::{self, Mutant};
use crate::types::{Time, nanos};

/// Whether a member does its part.
///
/// Following is doing it, and so is waiting: for the other members at the first start, for an election, for a majority that
/// cannot be reached. None of that gets better by a restart, which would only add to it the quarantine of the restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Health {
    /// It takes part, whatever its role.
    Serving,
    /// The driver's loop is late by more than the longest election timeout: the process was suspended, its machine is
    /// starved, or an observer blocks the loop. It may serve again.
    Stalled,
    /// A write failed, so that what the disk holds is unknown: it does not vote until its storage has started over, which
    /// is tried again and again.
    StorageFailed,
    /// It was told to leave: work drains, leadership is handed over.
    Stopping,
    /// It has left.
    Stopped,
}

impl Health {
    /// Whether it does its part.
    #[must_use]
    pub fn is_serving(self) -> bool {
        self == Health::Serving
    }

    /// Whether a restart would cure nothing: for a liveness probe. A storage that failed starts over by itself.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Health::Serving | Health::StorageFailed)
    }

    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Health::Serving => "serving",
            Health::Stalled => "stalled",
            Health::StorageFailed => "storage_failed",
            Health::Stopping => "stopping",
            Health::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// What the driver says of its health, and what it still lacks. It gets worse; better only when a stall is over, or the
/// storage well again.
#[derive(Debug)]
pub(crate) struct Condition {
    said: watch::Sender<Said>,
    /// When the loop must come round next, in nanoseconds; written by the driver at each turn.
    due: AtomicU64,
    /// By how much it may be late.
    patience: AtomicU64,
    clock: Clock,
}

#[derive(Debug)]
struct Said {
    health: Health,
    /// What each group lacks.
    lacks: BTreeMap<usize, Unready>,
    /// Whether any group has spoken: before that nothing is known.
    known: bool,
}

impl Default for Condition {
    fn default() -> Condition {
        Condition {
            said: watch::Sender::new(Said { health: Health::Serving, lacks: BTreeMap::new(), known: false }),
            due: AtomicU64::new(Time::NEVER.0),
            patience: AtomicU64::new(0),
            clock: Clock::default(),
        }
    }
}

impl Condition {
    pub(crate) fn with_clock(clock: Clock) -> Condition {
        Condition { clock, ..Condition::default() }
    }

    pub(crate) fn worsen(&self, to: Health) {
        if to == Health::Stopped && mutant::on(Mutant::EndNotTold) {
            return;
        }
        self.said.send_if_modified(|said| {
            let worse = said.health < to;
            said.health = to.max(said.health);
            worse
        });
    }

    /// The storage is well again. Whoever leaves goes on leaving.
    pub(crate) fn heal(&self) {
        self.said.send_if_modified(|said| {
            let failed = said.health == Health::StorageFailed;
            if failed {
                said.health = Health::Serving;
            }
            failed
        });
    }

    /// What that group still lacks, `None` if nothing.
    pub(crate) fn lack(&self, group: usize, what: Option<Unready>) {
        self.said.send_if_modified(|said| {
            let known = std::mem::replace(&mut said.known, true);
            let before = match what {
                Some(what) => said.lacks.insert(group, what),
                None => said.lacks.remove(&group),
            };
            before != what || !known
        });
    }

    /// The loop waits until `due` at the latest, and may be late by `patience`.
    pub(crate) fn due(&self, due: Time) {
        self.due.store(due.0, Ordering::Relaxed);
    }

    pub(crate) fn allow(&self, patience: Duration) {
        self.patience.fetch_max(nanos(patience), Ordering::Relaxed);
    }

    fn at(&self, now: Time) -> Health {
        let late = now.since(Time(self.due.load(Ordering::Relaxed)));
        let stalled = nanos(late) > self.patience.load(Ordering::Relaxed);
        let said = self.said.borrow().health;
        // A loop that stands still does not start the storage over, either.
        if stalled && said < Health::Stopping { Health::Stalled } else { said }
    }

    fn unready(&self, now: Time) -> Option<Unready> {
        match self.at(now) {
            Health::Stopped => Some(Unready::Stopped),
            Health::Stopping => Some(Unready::Stopping),
            Health::StorageFailed => Some(Unready::StorageFailed),
            Health::Stalled => Some(Unready::Stalled),
            Health::Serving => {
                let said = self.said.borrow();
                let unknown = (!said.known).then_some(Unready::NoLeaderHeard);
                said.lacks.values().min().copied().or(unknown)
            }
        }
    }
}

/// Watches the [`Health`] of a member.
#[derive(Debug, Clone)]
pub struct HealthWatch {
    condition: Arc<Condition>,
    said: watch::Receiver<Said>,
}

impl HealthWatch {
    pub(crate) fn new(condition: &Arc<Condition>) -> HealthWatch {
        HealthWatch { condition: condition.clone(), said: condition.said.subscribe() }
    }

    /// How it is right now. Never waits.
    #[must_use]
    pub fn current(&self) -> Health {
        self.condition.at(self.condition.clock.now())
    }

    /// Why it is not ready right now; `None` if it is. Never waits.
    #[must_use]
    pub fn unready(&self) -> Option<Unready> {
        self.condition.unready(self.condition.clock.now())
    }

    /// Waits until the member says something of its health or its readiness that this watch has not heard, and returns how
    /// it is then. A [`Health::Stalled`] one says nothing: ask [`HealthWatch::current`] for that.
    pub async fn changed(&mut self) -> Health {
        // The other end is held here, too.
        let _ = self.said.changed().await;
        self.current()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_worse_and_a_stall_passes() {
        let condition = Condition::default();
        let at = |ms: u64| Time(ms * 1_000_000);
        assert_eq!(condition.at(at(1_000_000)), Health::Serving, "nothing is due");
        condition.allow(Duration::from_millis(300));
        condition.due(at(100));
        assert_eq!(condition.at(at(400)), Health::Serving);
        assert_eq!(condition.at(at(401)), Health::Stalled);
        condition.due(at(500));
        assert_eq!(condition.at(at(401)), Health::Serving);
        condition.worsen(Health::StorageFailed);
        assert_eq!(condition.at(at(401)), Health::StorageFailed);
        assert_eq!(condition.at(at(900)), Health::Stalled, "a loop that stands still heals nothing");
        condition.heal();
        assert_eq!(condition.at(at(401)), Health::Serving);
        condition.worsen(Health::Stopping);
        condition.heal();
        condition.worsen(Health::StorageFailed);
        assert_eq!(condition.at(at(401)), Health::Stopping);
        assert_eq!(condition.at(at(900)), Health::Stopping, "whoever leaves may take its time");
        assert_eq!(condition.unready(at(900)), Some(Unready::Stopping));
    }

    #[test]
    fn alive_is_what_no_restart_would_cure() {
        use Health::{Serving, Stalled, Stopped, Stopping, StorageFailed};
        let alive = [Serving, Stalled, StorageFailed, Stopping, Stopped].map(Health::is_alive);
        assert_eq!(alive, [true, false, true, false, false]);
    }

    #[test]
    fn it_is_ready_once_no_group_lacks_anything() {
        let condition = Condition::default();
        let lacks = || condition.unready(Time(1));
        assert_eq!(lacks(), Some(Unready::NoLeaderHeard), "nobody has spoken yet");
        condition.lack(0, Some(Unready::QuorumUnreached));
        condition.lack(1, Some(Unready::DiskUnnamed));
        assert_eq!(lacks(), Some(Unready::DiskUnnamed));
        condition.lack(1, None);
        assert_eq!(lacks(), Some(Unready::QuorumUnreached));
        condition.lack(0, None);
        assert_eq!(lacks(), None);
        condition.worsen(Health::StorageFailed);
        assert_eq!(lacks(), Some(Unready::StorageFailed));
    }
}
