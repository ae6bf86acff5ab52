//! An alarm for a thread: it sleeps until a point on the protocol's clock, which another thread may move.
//!
//! On Linux a `CLOCK_BOOTTIME` timerfd that is read by a system call that blocks, so that it needs no runtime and rings
//! right after suspend. Elsewhere, and where the kernel gives no timerfd, a condition variable with a timeout.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::types::Time;

/// The longest sleep at once: far below the limit of any system call, far above every deadline.
const NAP_MAX: Duration = Duration::from_secs(3600);

/// Rings at one point in time. One thread waits; any may set it.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// Precise.
    #[cfg(target_os = "linux")]
    Descriptor(std::os::fd::OwnedFd),
    /// To about a millisecond.
    Condition(Mutex<Time>, Condvar),
}

impl Alarm {
    pub(crate) fn new() -> Alarm {
        #[cfg(target_os = "linux")]
        {
            use rustix::time::{TimerfdClockId, TimerfdFlags};
            match rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC) {
                Ok(descriptor) => return Alarm::Descriptor(descriptor),
                Err(error) => tracing::info!(target: "hustings::driver", %error, "no timerfd: work is watched to 1 ms"),
            }
        }
        Alarm::Condition(Mutex::new(Time::NEVER), Condvar::new())
    }

    /// Rings at `at` and no earlier, whatever was set before. A point that is over rings at once.
    pub(crate) fn set(&self, at: Time) {
        match self {
            #[cfg(target_os = "linux")]
            Alarm::Descriptor(descriptor) => {
                let at = at.min(clock::now() + NAP_MAX);
                if let Err(error) = super::timer::arm(descriptor, at) {
                    tracing::warn!(target: "hustings::driver", %error, "a timerfd that was set before cannot be set");
                }
            }
            Alarm::Condition(point, condition) => {
                *point.lock().unwrap_or_else(PoisonError::into_inner) = at;
                condition.notify_all();
            }
        }
    }

    /// Blocks until it rings. It may ring early: who waits looks at the clock.
    pub(crate) fn wait(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Alarm::Descriptor(descriptor) => {
                if let Err(error) = rustix::io::read(descriptor, &mut [0_u8; 8]) {
                    // A signal, or worse: whatever it is, no thread spins.
                    tracing::debug!(target: "hustings::driver", %error, "a timerfd was interrupted");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Alarm::Condition(point, condition) => {
                let mut point = point.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    let left = point.since(clock::now());
                    if left.is_zero() {
                        // Once is enough for one point.
                        *point = Time::NEVER;
                        return;
                    }
                    let waited = condition.wait_timeout(point, left.min(NAP_MAX));
                    point = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn both() -> [Alarm; 2] {
        [Alarm::new(), Alarm::Condition(Mutex::new(Time::NEVER), Condvar::new())]
    }

    #[test]
    fn it_rings_at_its_point_and_not_before() {
        for alarm in both() {
            for ms in [0, 1, 5] {
                let at = clock::now() + Duration::from_millis(ms);
                alarm.set(at);
                alarm.wait();
                assert!(clock::now() >= at, "{alarm:?}");
            }
        }
    }

    #[test]
    fn another_thread_brings_it_forward() {
        for alarm in both().map(Arc::new) {
            alarm.set(clock::now() + Duration::from_secs(3600));
            let waits = std::thread::spawn({
                let alarm = alarm.clone();
                move || alarm.wait()
            });
            std::thread::sleep(Duration::from_millis(5));
            alarm.set(clock::now() + Duration::from_millis(5));
            waits.join().expect("it rings");
        }
    }
}
