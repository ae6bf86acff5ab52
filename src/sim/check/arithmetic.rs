//! Majorities and clocks, counted apart from the machine's own counting: a net that shared it would share its faults.

use std::time::Duration;

use crate::config::Timing;
use crate::types::{Time, nanos};

const MILLION: u128 = 1_000_000;

/// The smallest number that is more than half of `voters`.
pub(crate) fn majority(voters: usize) -> usize {
    (1..=voters).find(|count| 2 * count > voters).unwrap_or(1)
}

/// What a leader may count on when `promised` was given for something that it sent at `sent`.
pub(super) fn lease_end(timing: &Timing, sent: Time, promised: Duration) -> Time {
    let (slow, fast) = rates(timing);
    sent + scaled(promised, slow, fast)
}

/// How long a stepped-down leader owes itself what was left of its lease; a nanosecond less, for roundings.
pub(super) fn owed(timing: &Timing, left: Duration) -> Duration {
    let (slow, fast) = rates(timing);
    scaled(left, fast, slow).saturating_sub(Duration::from_nanos(1))
}

/// What a majority of `ends` reaches.
pub(super) fn reached_by_majority(mut ends: Vec<Time>) -> Time {
    ends.sort_unstable();
    ends.reverse();
    ends.get(majority(ends.len()) - 1).copied().unwrap_or_default()
}

fn rates(timing: &Timing) -> (u128, u128) {
    let drift = u128::from(timing.drift_ppm);
    (MILLION - drift, MILLION + drift)
}

fn scaled(duration: Duration, numerator: u128, denominator: u128) -> Duration {
    let scaled = u128::from(nanos(duration)) * numerator / denominator;
    Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}
