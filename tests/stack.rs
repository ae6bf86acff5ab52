//! What users run, in virtual time: electors, work, guards, driver and writer. A failing seed prints how to replay it.

use std::collections::BTreeMap;
use std::time::Instant;

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

/// `HUSTINGS_SEEDS=0..1000 cargo test --test stack hunt -- --nocapture` runs those seeds, and counts what breaks.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
fn hunt() {
    let Ok(seeds) = std::env::var("HUSTINGS_SEEDS") else { return };
    let (from, to) = seeds.split_once("..").expect("HUSTINGS_SEEDS is FROM..TO");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let began = Instant::now();
    let mut broken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let (mut turns, mut exclusive) = (0, 0);
    for seed in from..to {
        let report = stack::run(seed, Detail::Hash);
        (turns, exclusive) = (turns + report.steps, exclusive + report.exclusive);
        if let Some(violation) = report.violation {
            let text: String = violation.text.chars().filter(|c| !c.is_ascii_digit()).collect();
            let seeds = broken
                .entry(format!("{} {text}", violation.property).replace('.', "").replace("µs", "s").replace("ms", "s"))
                .or_default();
            if seeds.is_empty() {
                println!("seed {seed}: {violation}");
            }
            seeds.push(seed);
        }
    }
    for (what, seeds) in &broken {
        println!("{:>5}  {what}: {:?}", seeds.len(), &seeds[..seeds.len().min(8)]);
    }
    println!("{} seeds, {turns} turns, {exclusive} exclusive terms in {:?}", to - from, began.elapsed());
}
