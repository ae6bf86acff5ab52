//! Independent runs side by side.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// Runs every number of the range on so many threads, at least one. `taken` gets each result on the calling thread as it
/// comes, in no fixed order, and says whether to go on: after a no, only what is under way is finished, and still handed
/// over. A run that panics ends the program's thread with that panic.
pub fn side_by_side<T: Send>(
    numbers: std::ops::Range<u64>,
    jobs: usize,
    run: &(dyn Fn(u64) -> T + Sync),
    taken: &mut dyn FnMut(u64, T) -> bool,
) {
    let (next, stopped) = (AtomicU64::new(numbers.start), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Bounded, so that little runs on beyond a no.
        let (sender, receiver) = mpsc::sync_channel(1);
        for _ in 0..jobs.max(1) {
            let (sender, next, stopped, end) = (sender.clone(), &next, &stopped, numbers.end);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end || sender.send((number, run(number))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (number, result) in receiver {
            if !taken(number, result) {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_runs_once_until_somebody_says_no() {
        let mut seen = Vec::new();
        side_by_side(3..50, 4, &|number| number * 2, &mut |number, twice| {
            assert_eq!(twice, number * 2);
            seen.push(number);
            true
        });
        seen.sort_unstable();
        assert_eq!(seen, (3..50).collect::<Vec<_>>());
        let mut count = 0;
        side_by_side(0..u64::MAX, 2, &|number| number, &mut |_, _| {
            count += 1;
            count < 10
        });
        assert!(count >= 10);
    }
}
