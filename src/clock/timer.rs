//! A timer for deadlines on the protocol's clock.
//!
//! On Linux a `CLOCK_BOOTTIME` timerfd, since the wheel of tokio has ticks of a millisecond and stands still in suspend.
//! Elsewhere, and where the kernel gives no timerfd, tokio's sleep: late by up to about a millisecond, and by however
//! long the machine slept.

use std::time::Duration;

use crate::clock;
use crate::types::Time;

/// The longest that tokio's sleep is asked for at once: far below its limit, far above every deadline.
const NAP_MAX: Duration = Duration::from_secs(3600);

/// Waits for points in time. Holds one deadline at a time.
#[derive(Debug)]
pub(crate) enum Timer {
    /// Precise.
    #[cfg(target_os = "linux")]
    Descriptor(descriptor::Descriptor),
    /// To the millisecond.
    Sleep,
    /// Kept by a simulation.
    #[cfg(feature = "sim")]
    Simulated(std::sync::Arc<dyn super::Simulated>),
}

impl Timer {
    /// Must be called in a runtime with its I/O and time drivers enabled.
    pub(super) fn new() -> Timer {
        #[cfg(target_os = "linux")]
        match descriptor::Descriptor::new() {
            Ok(descriptor) => return Timer::Descriptor(descriptor),
            Err(error) => tracing::info!(target: "hustings::driver", %error, "no timerfd: deadlines are good to 1 ms"),
        }
        Timer::Sleep
    }

    /// Returns at `at` or soon after. May be dropped and called again with another point.
    pub(crate) async fn until(&mut self, at: Time) {
        #[cfg(feature = "sim")]
        if let Timer::Simulated(simulated) = self {
            return simulated.until(at).await;
        }
        #[cfg(target_os = "linux")]
        if let Timer::Descriptor(descriptor) = self {
            if at == Time::NEVER {
                return std::future::pending().await;
            }
            match descriptor.until(at).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(target: "hustings::driver", %error, "the timerfd failed: deadlines are good to 1 ms");
                    *self = Timer::Sleep;
                }
            }
        }
        let left = at.since(clock::now());
        if left > Duration::ZERO {
            tokio::time::sleep(left.min(NAP_MAX)).await;
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use descriptor::arm;

#[cfg(target_os = "linux")]
mod descriptor {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    use tokio::net::unix::pipe;

    use crate::clock;
    use crate::types::Time;

    /// A timerfd and the point that it is armed for. It is read through tokio's pipe, the one safe door for a descriptor
    /// that is neither a socket nor a file: `AsyncFd` can be had only by `unsafe`.
    #[derive(Debug)]
    pub(crate) struct Descriptor {
        fd: pipe::Receiver,
        armed: Option<Time>,
    }

    impl Descriptor {
        pub(super) fn new() -> io::Result<Descriptor> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = rustix::time::timerfd_create(TimerfdClockId::Boottime, flags)?;
            Ok(Descriptor { fd: pipe::Receiver::from_owned_fd_unchecked(fd)?, armed: None })
        }

        pub(super) async fn until(&mut self, at: Time) -> io::Result<()> {
            while clock::now() < at {
                if self.armed != Some(at) {
                    arm(self.fd.as_fd(), at)?;
                    self.armed = Some(at);
                }
                self.fd.readable().await?;
                match self.fd.try_read(&mut [0_u8; 8]) {
                    Ok(_) => self.armed = None,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    /// Sets a timerfd to a point in time; one that is over is due at once.
    pub(in crate::clock) fn arm(descriptor: impl AsFd, at: Time) -> io::Result<()> {
        // A point at zero would disarm it.
        let at_least = at.0.max(1);
        let value = Timespec {
            tv_sec: i64::try_from(at_least / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at_least % 1_000_000_000).unwrap_or(0),
        };
        let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(descriptor, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_fires_at_its_point_and_not_before() {
        let mut timer = Timer::new();
        for ms in [0, 1, 3] {
            let at = clock::now() + Duration::from_millis(ms);
            timer.until(at).await;
            assert!(clock::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_new_point_replaces_the_old() {
        let mut timer = Timer::new();
        let far = clock::now() + Duration::from_secs(3600);
        tokio::select! {
            biased;
            () = timer.until(far) => panic!("an hour has not passed"),
            () = tokio::task::yield_now() => {}
        }
        let near = clock::now() + Duration::from_millis(2);
        timer.until(near).await;
        assert!(clock::now() >= near && clock::now() < far);
    }

    #[tokio::test]
    async fn never_does_not_come() {
        let mut timer = Timer::new();
        tokio::select! {
            () = timer.until(Time::NEVER) => panic!("never came"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}
