//! Chance with names: one stream for each source of faults, so that a change in one leaves the others as they were.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::types::nanos;

/// A stream of random draws that depends on the seed and on its name only.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The stream of that name.
    pub(crate) fn stream(seed: u64, name: &str) -> Chance {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Chance(Xoshiro256PlusPlus::seed_from_u64(seed ^ hash))
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.number()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// An index of something that has `len` elements.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Whether something of this probability happens. Draws nothing for what never happens.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.fraction() < probability
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A duration of `low..high`.
    pub(crate) fn between(&mut self, (low, high): (Duration, Duration)) -> Duration {
        low + Duration::from_nanos(self.below(nanos(high.saturating_sub(low))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed in a bug report must mean the same after an update of the generator's crate.
    #[test]
    fn the_first_draws_are_pinned() {
        let mut chance = Chance::stream(1, "links");
        let drawn = [chance.below(1000), chance.below(1000), chance.below(1000)];
        assert_eq!(drawn, [471, 230, 988]);
    }

    #[test]
    fn streams_of_other_names_differ() {
        assert_ne!(Chance::stream(1, "disk").number(), Chance::stream(1, "links").number());
    }
}
