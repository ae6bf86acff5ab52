//! Whether a life holds more at its end than after it had warmed up.

use crate::diary::Entry;
use crate::judge::{Life, Span, Violation};

/// A life that is compared lasted so long, and was warm after so long.
const LASTED: u64 = 15_000_000_000;
const WARM: u64 = 2_000_000_000;
/// So many calm moments at each end are looked at.
const MOMENTS: usize = 4;
/// What a life may have gained: allocators keep what a flood once needed, and connections that died in a cut are noticed late.
pub const RSS_KIB_MAX: u64 = 8 * 1024;
/// The same for descriptors.
pub const DESCRIPTORS_MAX: u64 = 12;

/// What lives gained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Growth {
    /// How many lives lasted long enough.
    pub lives: usize,
    /// The most that one gained, in KiB.
    pub rss_kib: u64,
    /// The most that one gained.
    pub descriptors: u64,
    /// Who gained more than it may.
    pub violations: Vec<Violation>,
}

/// Compares each life with its own beginning, in the moments outside of `faults`.
pub fn compare(lives: &[Life], faults: &[Span]) -> Growth {
    let mut growth = Growth::default();
    for life in lives {
        let all: Vec<(u64, u64, u64)> = life.entries.iter().filter_map(size).collect();
        let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
        if last.0 - first.0 < LASTED {
            continue;
        }
        let calm = |at: u64| !faults.iter().any(|fault| fault.from <= at && at <= fault.to);
        let moments: Vec<_> = all.iter().filter(|(at, ..)| *at >= first.0 + WARM && calm(*at)).collect();
        if moments.len() < 2 * MOMENTS {
            continue;
        }
        let (begin, end) = (&moments[..MOMENTS], &moments[moments.len() - MOMENTS..]);
        let rss = least(end, |moment| moment.1).saturating_sub(least(begin, |moment| moment.1));
        let descriptors = least(end, |moment| moment.2).saturating_sub(least(begin, |moment| moment.2));
        growth.lives += 1;
        growth.rss_kib = growth.rss_kib.max(rss);
        growth.descriptors = growth.descriptors.max(descriptors);
        if rss > RSS_KIB_MAX || descriptors > DESCRIPTORS_MAX {
            let text = format!("{} gained {rss} KiB and {descriptors} descriptors", life.name);
            growth.violations.push(Violation { rule: "size", at: last.0, text });
        }
    }
    growth
}

fn size(entry: &Entry) -> Option<(u64, u64, u64)> {
    match *entry {
        Entry::Size { at, rss_kib, descriptors } => Some((at, rss_kib, descriptors)),
        _ => None,
    }
}

fn least(moments: &[&(u64, u64, u64)], what: impl Fn(&(u64, u64, u64)) -> u64) -> u64 {
    moments.iter().map(|moment| what(moment)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn life(descriptors: impl Fn(u64) -> u64) -> Life {
        let size = |at| Entry::Size { at: at * SECOND, rss_kib: 9000, descriptors: descriptors(at) };
        Life { name: "a.1".to_owned(), entries: (0..60).map(size).collect(), stops: Vec::new() }
    }

    #[test]
    fn a_life_that_leaks_is_found() {
        let growth = compare(&[life(|at| 20 + at)], &[]);
        assert_eq!((growth.lives, growth.descriptors, growth.violations.len()), (1, 54, 1));
        assert_eq!(compare(&[life(|_| 20)], &[]).violations, []);
    }

    #[test]
    fn what_is_held_while_a_fault_lasts_does_not_count() {
        let life = life(|at| if at > 50 { 400 } else { 20 });
        assert_eq!(compare(std::slice::from_ref(&life), &[]).violations.len(), 1);
        assert_eq!(compare(&[life], &[Span { from: 50 * SECOND, to: 60 * SECOND }]).violations, []);
    }
}
