//! What users run, in virtual time: electors, work, guards, driver and writer. A failing seed prints how to replay it.

use hustings::sim::Detail;
use hustings::sim::stack;

/// How many seeds run; split among tests so that they run side by side.
const SEEDS: u64 = 300;
const PARTS: u64 = 2;

fn part(part: u64) {
    let (mut elections, mut exclusive) = (0, 0);
    for seed in (part..SEEDS).step_by(usize::try_from(PARTS).expect("a small number")) {
        let report = stack::run(seed, Detail::Hash);
        assert!(
            report.violation.is_none(),
            "{report}\nreplay: HUSTINGS_SEED={seed} cargo test --test stack replay -- --nocapture"
        );
        elections += report.elections;
        exclusive += report.exclusive;
    }
    // A simulation in which nothing happens proves nothing.
    let runs = usize::try_from(SEEDS / PARTS).expect("a small number");
    assert!(elections > 2 * runs && exclusive > runs, "{elections} elections, {exclusive} exclusive");
}

#[test]
fn seeds_of_the_first_part_hold() {
    part(0);
}

#[test]
fn seeds_of_the_second_part_hold() {
    part(1);
}

/// The same seed gives the same run, to the last act.
#[test]
fn a_seed_is_a_run() {
    for seed in 0..40 {
        let first = stack::run(seed, Detail::Hash);
        let second = stack::run(seed, Detail::All);
        assert_eq!((first.fingerprint, first.steps), (second.fingerprint, second.steps), "seed {seed}");
    }
    let other = |seed| stack::run(seed, Detail::Hash).fingerprint;
    assert_ne!(other(1), other(2));
}

/// `HUSTINGS_SEED=7 cargo test --test stack replay -- --nocapture` tells what happens in seed 7.
#[test]
#[expect(clippy::print_stdout, reason = "the log is what was asked for")]
fn replay() {
    let Ok(seed) = std::env::var("HUSTINGS_SEED") else { return };
    let report = stack::run(seed.parse().expect("HUSTINGS_SEED is a number"), Detail::All);
    for line in &report.log {
        println!("{line}");
    }
    println!("{report}");
}
