//! `cargo run --release -p hustings-benches --bin leases -- 0..1000000 2`: the adversary for promises and leases, with two
//! threads. Tells how much happened and which rare chains came about; fails at the first broken rule, which it shows.

#![expect(clippy::print_stdout, reason = "the figures are what was asked for")]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use hustings::sim::Detail;
use hustings::sim::adversary::{self, Chains};

/// What all seeds together came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    elections: usize,
    exclusive: usize,
    wipes: usize,
    chains: Chains,
    /// How many seeds had each chain at least once.
    seeds_with: [u64; 11],
    broken: Vec<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((seeds, jobs)) = parse(&args) else {
        println!("usage: leases FIRST..END [JOBS]");
        return ExitCode::from(2);
    };
    if seeds.end - seeds.start == 1 {
        adversary::run(seeds.start, Detail::All).log.iter().for_each(|line| println!("{line}"));
    }
    let (next, broken, begin) = (AtomicU64::new(seeds.start), AtomicBool::new(false), Instant::now());
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| hunt(&seeds, &next, &broken))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    let mut sum = Sum::default();
    sums.into_iter().for_each(|one| sum.add(one));
    let took = begin.elapsed().as_secs_f64();
    println!("{} seeds, {} events in {took:.0} s", sum.seeds, sum.steps);
    println!("{} elections, {} exclusive terms, {} disks lost", sum.elections, sum.exclusive, sum.wipes);
    for ((name, times), seeds) in sum.chains.all().into_iter().zip(sum.seeds_with) {
        println!("{name}: {times} times, in {seeds} seeds");
    }
    for text in &sum.broken {
        println!("{text}");
    }
    ExitCode::from(u8::from(!sum.broken.is_empty()))
}

fn parse(args: &[String]) -> Option<(Range<u64>, usize)> {
    let (first, end) = args.first()?.split_once("..")?;
    let jobs = args.get(1).map_or(Some(1), |jobs| jobs.parse().ok())?;
    Some((first.parse().ok()?..end.parse().ok()?, jobs))
}

fn hunt(seeds: &Range<u64>, next: &AtomicU64, broken: &AtomicBool) -> Sum {
    let mut sum = Sum::default();
    while !broken.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            break;
        }
        let (report, chains) = adversary::run_counting(seed, Detail::Hash);
        if report.violation.is_some() {
            broken.store(true, Ordering::Relaxed);
            sum.broken.push(report.to_string());
        }
        sum.seeds += 1;
        sum.steps += report.steps;
        sum.elections += report.elections;
        sum.exclusive += report.exclusive;
        sum.wipes += report.wipes;
        sum.chains.add(&chains);
        for (count, (_, times)) in sum.seeds_with.iter_mut().zip(chains.all()) {
            *count += u64::from(times > 0);
        }
    }
    sum
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.elections += other.elections;
        self.exclusive += other.exclusive;
        self.wipes += other.wipes;
        self.chains.add(&other.chains);
        self.seeds_with.iter_mut().zip(other.seeds_with).for_each(|(count, more)| *count += more);
        self.broken.extend(other.broken);
    }
}
