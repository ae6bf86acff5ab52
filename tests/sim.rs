//! Thousands of seeds of the simulator. A failing seed prints how to replay it.

use hustings::sim::Detail;
use hustings::sim::swarm::{self, Bias};

/// How many seeds run; split among tests so that they run side by side.
const SEEDS: u64 = 2000;
const PARTS: u64 = 4;

fn part(part: u64) {
    let (mut elections, mut exclusive, mut commits, mut wipes) = (0, 0, 0, 0);
    for seed in (part..SEEDS).step_by(usize::try_from(PARTS).expect("a small number")) {
        let report = swarm::run(seed, Bias::None, Detail::Hash);
        assert!(
            report.violation.is_none(),
            "{report}\nreplay: HUSTINGS_SEED={seed} cargo test --test sim replay -- --nocapture"
        );
        elections += report.elections;
        exclusive += report.exclusive;
        commits += report.commits;
        wipes += report.wipes;
    }
    // A simulator in which nothing happens proves nothing.
    let runs = usize::try_from(SEEDS / PARTS).expect("a small number");
    assert!(elections > 4 * runs && exclusive > 2 * runs && commits > 4 * runs && wipes > runs / 4);
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

/// The same seed gives the same run, to the last event.
#[test]
fn a_seed_is_a_run() {
    for seed in [1, 2, 3] {
        let first = swarm::run(seed, Bias::None, Detail::Hash);
        let second = swarm::run(seed, Bias::None, Detail::All);
        assert_eq!(first.fingerprint, second.fingerprint);
    }
    assert_ne!(
        swarm::run(1, Bias::None, Detail::Hash).fingerprint,
        swarm::run(2, Bias::None, Detail::Hash).fingerprint
    );
}

/// `HUSTINGS_SEED=7 cargo test --test sim replay -- --nocapture` tells the story of seed 7.
#[test]
#[expect(clippy::print_stdout, reason = "the story is what was asked for")]
fn replay() {
    let Ok(seed) = std::env::var("HUSTINGS_SEED") else { return };
    let seed = seed.parse().expect("HUSTINGS_SEED is a number");
    let report = swarm::run(seed, Bias::None, Detail::All);
    for line in &report.log {
        println!("{line}");
    }
    println!("{report}");
    assert!(report.violation.is_none(), "seed {seed} breaks a property");
}
