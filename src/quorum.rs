//! Majority arithmetic.

use crate::mutant::{self, Mutant};

/// How many of `voters` are a quorum: a strict majority.
#[must_use]
pub fn quorum(voters: usize) -> usize {
    if mutant::on(Mutant::QuorumOffByOne) {
        return voters.div_ceil(2);
    }
    voters / 2 + 1
}

/// What a round of votes has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// A quorum granted.
    Won,
    /// A quorum can no longer be reached with the answers that are out.
    Lost,
    /// Open.
    Open,
}

impl Tally {
    /// Judges `granted` and `denied` answers of `voters`.
    #[must_use]
    pub fn of(granted: usize, denied: usize, voters: usize) -> Tally {
        let needed = quorum(voters);
        if granted >= needed {
            Tally::Won
        } else if voters.saturating_sub(denied) < needed {
            Tally::Lost
        } else {
            Tally::Open
        }
    }
}

/// The value that at least a quorum of `values` reaches: the q-th largest. Sorts `values` in place.
///
/// With as many values as voters this is check-quorum that *slides*: no window, only the q-th newest contact.
#[must_use]
pub fn reached<T: Ord + Copy>(values: &mut [T]) -> Option<T> {
    let needed = quorum(values.len());
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(needed - 1).copied()
}

/// The value that `needed` of `values` are at or below: the `needed`-th smallest. Sorts `values` in place.
#[must_use]
pub fn within<T: Ord + Copy>(values: &mut [T], needed: usize) -> Option<T> {
    values.sort_unstable();
    values.get(needed.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_a_strict_majority() {
        let sizes: Vec<usize> = (1..=7).map(quorum).collect();
        assert_eq!(sizes, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn two_quorums_always_meet() {
        for voters in 1..=9 {
            assert!(2 * quorum(voters) > voters);
        }
    }

    #[test]
    fn a_round_is_lost_as_soon_as_no_quorum_is_left() {
        assert_eq!(Tally::of(1, 2, 4), Tally::Lost);
        assert_eq!(Tally::of(1, 1, 4), Tally::Open);
        assert_eq!(Tally::of(3, 1, 4), Tally::Won);
        assert_eq!(Tally::of(1, 0, 1), Tally::Won);
    }

    #[test]
    fn reached_is_what_a_quorum_has() {
        assert_eq!(reached(&mut [9, 1, 5]), Some(5));
        assert_eq!(reached(&mut [9, 1, 5, 7]), Some(5));
        assert_eq!(reached(&mut [3]), Some(3));
        assert_eq!(within(&mut [9, 1, 5], 2), Some(5));
        assert_eq!(within(&mut [9], 2), None);
    }
}
