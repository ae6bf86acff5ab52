//! Clocks that run fast or slow, within what the timing permits.

use crate::types::Time;

const MILLION: i128 = 1_000_000;

/// One machine's clock: a straight line through (true time, reading), with a rate.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    truth: Time,
    reading: Time,
    ppm: i32,
}

impl Clock {
    /// A clock that reads `reading` at `truth` and runs `ppm` parts per million fast.
    pub(crate) fn new(truth: Time, reading: Time, ppm: i32) -> Clock {
        Clock { truth, reading, ppm }
    }

    /// What it shows at `truth`, which is not before the last change of its rate.
    pub(crate) fn read(&self, truth: Time) -> Time {
        let passed = i128::from(truth.0.saturating_sub(self.truth.0));
        let shown = passed * (MILLION + i128::from(self.ppm)) / MILLION;
        Time(self.reading.0.saturating_add(u64::try_from(shown).unwrap_or(u64::MAX)))
    }

    /// The first true time at which it shows `reading`.
    pub(crate) fn when(&self, reading: Time) -> Time {
        if reading == Time::NEVER {
            return Time::NEVER;
        }
        let ahead = i128::from(reading.0.saturating_sub(self.reading.0));
        let rate = MILLION + i128::from(self.ppm);
        let passed = (ahead * MILLION + rate - 1) / rate;
        Time(self.truth.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// How many parts per million fast it runs.
    pub(crate) fn ppm(&self) -> i32 {
        self.ppm
    }

    /// From now on it runs at this rate.
    pub(crate) fn set_rate(&mut self, truth: Time, ppm: i32) {
        self.reading = self.read(truth);
        self.truth = truth;
        self.ppm = ppm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_moment_of_a_reading() {
        for ppm in [-10_000, -1, 0, 1, 9_999] {
            let mut clock = Clock::new(Time(7), Time(1_000), ppm);
            clock.set_rate(Time(1_000_007), ppm);
            for reading in [1_100_500, 2_000_000, 123_456_789] {
                let at = clock.when(Time(reading));
                assert!(clock.read(at) >= Time(reading), "{ppm}");
                assert!(clock.read(Time(at.0 - 1)) < Time(reading), "{ppm}");
            }
        }
    }
}
