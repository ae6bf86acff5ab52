//! How many elections a group may trace: a token bucket on the time of its events.

use crate::types::Time;

/// What a rate is given for.
const NANOS_PER_MINUTE: u64 = 60_000_000_000;

/// A token for each election trace that begins. Twice a minute's worth may be spent at once.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Between two tokens, in nanoseconds; 0 is no limit.
    interval: u64,
    /// When the bucket would be full.
    full_at: Time,
    suppressed: u64,
    exceeded: bool,
}

impl Budget {
    pub(super) fn new(per_minute: u32) -> Budget {
        let interval = if per_minute == 0 { 0 } else { NANOS_PER_MINUTE / u64::from(per_minute) };
        Budget { interval, ..Budget::default() }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let owed = self.full_at.0.saturating_sub(now.0);
        self.exceeded = self.interval > 0 && owed > NANOS_PER_MINUTE * 2 - self.interval;
        match self.exceeded {
            true => self.suppressed += 1,
            false => self.full_at = Time(now.0.saturating_add(owed).saturating_add(self.interval)),
        }
        !self.exceeded
    }

    /// Whether the last token that was asked for was not there.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// How many were left out since this was asked last.
    pub(super) fn suppressed(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.suppressed)).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_a_steady_trickle() {
        let mut budget = Budget::new(30);
        let at = |ms: u64| Time(1) + Duration::from_millis(ms);
        let burst = (0..1000).filter(|_| budget.take(at(0))).count();
        assert_eq!(burst, 60);
        assert!(!budget.take(at(1_900)) && budget.is_exceeded());
        assert!(budget.take(at(2_100)) && !budget.take(at(2_100)));
        assert_eq!(budget.suppressed(), Some(942));
        assert_eq!(budget.suppressed(), None);
        let later = (0..1000).filter(|_| budget.take(at(10_000_000))).count();
        assert_eq!(later, 60, "and never more than that at once");
    }

    #[test]
    fn no_limit_is_none() {
        let mut budget = Budget::new(0);
        assert!((0..10_000).all(|_| budget.take(Time(1))));
    }
}
