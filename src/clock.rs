//! The clock: time that counts suspend.
//!
//! On Linux `CLOCK_BOOTTIME`. `std::time::Instant` stands still while a machine sleeps, and a lease that is measured by
//! it would outlive its promises. Elsewhere the monotonic clock is all there is: macOS' and Windows' may stop in sleep,
//! so that a leader that slept believes its lease until the first message tells it otherwise.

use std::time::{Duration, SystemTime};

use crate::types::Time;

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
