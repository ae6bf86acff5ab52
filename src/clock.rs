//! The clock: time that counts suspend.
//!
//! On Linux `CLOCK_BOOTTIME`. `std::time::Instant` stands still while a machine sleeps, and a lease that is measured by
//! it would outlive its promises. Elsewhere the monotonic clock is all there is: macOS' and Windows' may stop in sleep,
//! so that a leader that slept believes its lease until the first message tells it otherwise.

mod alarm;
mod threads;
mod timer;

use std::time::{Duration, SystemTime};

pub(crate) use alarm::Alarm;
pub(crate) use timer::Timer;

use crate::types::Time;

/// The clock of one node, with its timers and its chance: the machine's own, or one that a simulation keeps.
///
/// Everything that runs for a node asks this, and never the global [`now`], so that a simulation can give each node a
/// clock of its own. Without the feature `sim` it is nothing at all, and asking it is asking the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    #[cfg(feature = "sim")]
    simulated: Option<std::sync::Arc<dyn Simulated>>,
}

/// Something that a node does beside what it does already.
#[cfg(feature = "sim")]
pub(crate) type Errand = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a simulation puts in the place of the machine's clock, chance, tasks and threads.
#[cfg(feature = "sim")]
pub(crate) trait Simulated: std::fmt::Debug + Send + Sync {
    /// Now, by the clock of this node.
    fn now(&self) -> Time;
    /// Returns at `at` of this node's clock, or soon after.
    fn until(&self, at: Time) -> Errand;
    /// A number from the seed.
    fn random(&self) -> u64;
    /// A task beside the one that runs, on the thread that it runs on.
    fn spawn(&self, task: Errand);
    /// A thread of this node. What it spawned ends with it.
    fn thread(&self, name: &'static str, body: Errand);
    /// Returns once the blocking call that was just made would have returned.
    fn caught_up(&self) -> Errand;
}

impl Clock {
    /// A clock that a simulation keeps.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(by: std::sync::Arc<dyn Simulated>) -> Clock {
        Clock { simulated: Some(by) }
    }

    /// Now, on the clock of the protocol.
    pub(crate) fn now(&self) -> Time {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return simulated.now();
        }
        now()
    }

    /// A timer for deadlines on this clock. Must be called in a runtime with its I/O and time drivers enabled.
    pub(crate) fn timer(&self) -> Timer {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return Timer::Simulated(simulated.clone());
        }
        Timer::new()
    }

    /// Whether it is the machine's, so that a thread can wait by it.
    pub(crate) fn is_real(&self) -> bool {
        #[cfg(feature = "sim")]
        return self.simulated.is_none();
        #[cfg(not(feature = "sim"))]
        true
    }

    /// The wall clock. A simulation's stands at the protocol's.
    pub(crate) fn since_epoch(&self) -> Duration {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return simulated.now().since(Time::ZERO);
        }
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    /// A number that nobody can foresee.
    pub(crate) fn random(&self) -> u64 {
        #[cfg(feature = "sim")]
        if let Some(simulated) = &self.simulated {
            return simulated.random();
        }
        rand::random()
    }
}

/// Now, on the clock of the protocol.
#[must_use]
#[cfg(target_os = "linux")]
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Time::ZERO + Duration::new(seconds, nanos)
}

/// Now, on the clock of the protocol.
#[must_use]
#[cfg(not(target_os = "linux"))]
pub fn now() -> Time {
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    Time(1) + ORIGIN.get_or_init(Instant::now).elapsed()
}

/// One reading of both clocks: turns points of protocol time into wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The wall clock.
    pub wall: SystemTime,
    /// The protocol's clock at that moment.
    pub at: Time,
}

impl Anchor {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Anchor {
        Anchor { wall: SystemTime::now(), at: now() }
    }

    /// The wall-clock time of `at`.
    #[must_use]
    pub fn wall(&self, at: Time) -> SystemTime {
        if at >= self.at {
            self.wall.checked_add(at.since(self.at)).unwrap_or(self.wall)
        } else {
            self.wall.checked_sub(self.at.since(at)).unwrap_or(SystemTime::UNIX_EPOCH)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward() {
        let earlier = now();
        assert!(now() >= earlier && earlier > Time::ZERO);
    }

    #[test]
    fn an_anchor_maps_both_ways() {
        let anchor = Anchor { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(100), at: Time(5_000_000_000) };
        assert_eq!(anchor.wall(Time(6_000_000_000)), SystemTime::UNIX_EPOCH + Duration::from_secs(101));
        assert_eq!(anchor.wall(Time(4_000_000_000)), SystemTime::UNIX_EPOCH + Duration::from_secs(99));
    }
}
