//! `cargo bench -p hustings-benches --bench sim`: how many events a second the simulator handles on one core, with every
//! check on and nothing kept as text. An event is an input that a node takes: a message, a deadline, the end of a write.

#![expect(clippy::print_stdout, reason = "the figures are what was asked for")]

use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::sim::swarm::{self, Bias};
use hustings::sim::{Cluster, Detail};

fn main() {
    // `cargo test` runs it too, and then only to see that it runs.
    let quick = !std::env::args().any(|arg| arg == "--bench");
    let scale = if quick { 1 } else { 100 };
    for names in [&["a", "b", "c"][..], &["a", "b", "c", "d", "e"]] {
        measure(&format!("a calm cluster of {}", names.len()), || calm(names, Duration::from_secs(20) * scale));
    }
    for (name, bias) in [("none", Bias::None), ("promises", Bias::Promises), ("disks", Bias::Disks)] {
        let seeds = u64::from(scale) * 5;
        measure(&format!("{seeds} seeds of the swarm, bias {name}"), || chaos(bias, seeds));
    }
}

fn measure(what: &str, run: impl FnOnce() -> u64) {
    let begin = Instant::now();
    let events = run();
    let took = begin.elapsed();
    let rate = events as f64 / took.as_secs_f64() / 1e6;
    println!("{what}: {events} events in {:.2} s, {rate:.2} million a second", took.as_secs_f64());
}

/// Heartbeats and nothing else.
fn calm(names: &[&str], duration: Duration) -> u64 {
    let mut cluster = Cluster::new(1, names, &Timing::default(), Detail::Hash).expect("names");
    for at in 0..names.len() {
        cluster.start(at);
    }
    cluster.run_for(duration);
    assert_eq!(cluster.violation(), None);
    cluster.steps()
}

/// Whole runs, drawing and healing included.
fn chaos(bias: Bias, seeds: u64) -> u64 {
    (0..seeds).map(|seed| swarm::run(seed, bias, Detail::Hash).steps).sum()
}
