//! Thousands of seeds of the adversary for promises and leases. A failing seed prints how to replay it.
//!
//! The long hunt is `cargo run --release -p hustings-benches --bin leases -- 0..1000000 2`.

use hustings::sim::Detail;
use hustings::sim::adversary::{self, Chains};

/// How many seeds run; split among tests so that they run side by side.
const SEEDS: u64 = 3000;
const PARTS: u64 = 4;

fn part(part: u64) {
    let (mut chains, mut exclusive) = (Chains::default(), 0);
    let step = usize::try_from(PARTS).expect("a small number");
    for seed in (part..SEEDS).step_by(step) {
        let (report, seen) = adversary::run_counting(seed, Detail::Hash);
        assert!(
            report.violation.is_none(),
            "{report}\nreplay: HUSTINGS_SEED={seed} cargo test --test adversary replay -- --nocapture"
        );
        exclusive += report.exclusive;
        chains.add(&seen);
    }
    // An adversary that meets none of the rare chains proves nothing.
    let runs = SEEDS / PARTS;
    assert!(exclusive > step * 100, "{exclusive} terms were exclusive");
    for (name, times) in chains.all() {
        assert!(times >= runs / 50, "{name}: only {times} times in {runs} seeds");
    }
}

#[test]
fn seeds_of_the_first_part_hold() {
    part(0);
}

#[test]
fn seeds_of_the_second_part_hold() {
    part(1);
}

#[test]
fn seeds_of_the_third_part_hold() {
    part(2);
}

#[test]
fn seeds_of_the_fourth_part_hold() {
    part(3);
}

/// The same seed gives the same run, to the last event, whatever is kept of it as text and whatever is judged.
#[test]
fn a_seed_is_a_run() {
    for seed in 1..=3 {
        let first = adversary::run(seed, Detail::Hash);
        assert_eq!(first.fingerprint, adversary::run(seed, Detail::All).fingerprint);
        assert_eq!(first.fingerprint, adversary::run_for_overlaps(seed, Detail::Hash).fingerprint);
    }
    assert_ne!(adversary::run(1, Detail::Hash).fingerprint, adversary::run(2, Detail::Hash).fingerprint);
}

/// `HUSTINGS_SEED=7 cargo test --test adversary replay -- --nocapture` tells the story of seed 7.
#[test]
#[expect(clippy::print_stdout, reason = "the story is what was asked for")]
fn replay() {
    let Ok(seed) = std::env::var("HUSTINGS_SEED") else { return };
    let seed = seed.parse().expect("HUSTINGS_SEED is a number");
    let report = adversary::run(seed, Detail::All);
    for line in &report.log {
        println!("{line}");
    }
    println!("{report}");
    assert!(report.violation.is_none(), "seed {seed} breaks a property");
}
