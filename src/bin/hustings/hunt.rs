//! `hustings sim hunt`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hustings::sim::adversary::{self, Chains};
use hustings::sim::shrink::shrink;
use hustings::sim::stack;
use hustings::sim::swarm::{self, Bias, Report};
use hustings::sim::{Detail, Violation, side_by_side};

use super::progress::{Progress, number, rate};
use super::{Verdict, jobs_default, parse_jobs};

const EXAMPLES: &str = "\
Each seed draws its own mix of faults and runs a cluster through them; every property is checked after every step. The same \
seed gives the same run on every machine. Ctrl-C ends the hunt with the totals so far.

Exit status: 0 every seed held; 1 one did not: its story is printed, and written to seed_NUMBER_PROPERTY.txt.

Examples:
  hustings sim hunt --seeds 0..100000
  hustings sim hunt --seeds 0..1000000 --net promises --jobs 2
  hustings sim hunt --seeds 4711              one seed again";

/// Which seeds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The first seed and the one after the last, or a single one.
    #[arg(long, value_name = "FIRST..END", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// How many threads [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<usize>,
    /// What the mixes of faults lean to.
    #[arg(long, value_enum, default_value_t = Net::Swarm)]
    net: Net,
    /// Go on after a seed that did not hold.
    #[arg(long)]
    keep_going: bool,
}

/// What the mixes of faults lean to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Net {
    /// To nothing: every fault may be part of one.
    Swarm,
    /// To hand-overs, resignations, evidence and clocks.
    Promises,
    /// To crashes, and to slow, failing and lost disks.
    Disks,
    /// To stores that forget at a restart.
    Volatile,
    /// To the loss of every tenth message and nothing else, for a long time.
    Losses,
    /// To chains that endanger leases: an adversary watches the cluster and strikes where a rule bites.
    Leases,
    /// To what users do: electors, work and guards in virtual time, with threads that stand still and calls given up.
    Stack,
}

impl Net {
    /// What the swarm leans to; the adversary and the whole stack are other nets.
    fn bias(self) -> Option<Bias> {
        match self {
            Net::Swarm => Some(Bias::None),
            Net::Promises => Some(Bias::Promises),
            Net::Disks => Some(Bias::Disks),
            Net::Volatile => Some(Bias::Volatile),
            Net::Losses => Some(Bias::Losses),
            Net::Leases | Net::Stack => None,
        }
    }

    /// With the rare chains that came about, where those are looked for.
    fn run(self, seed: u64, detail: Detail) -> (Report, Chains) {
        match self.bias() {
            None if self == Net::Stack => (stack::run(seed, detail), Chains::default()),
            Some(bias) => (swarm::run(seed, bias, detail), Chains::default()),
            None => adversary::run_counting(seed, detail),
        }
    }
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let expected = || "seeds such as 0..100000, or one such as 7".to_owned();
    let read = |text: &str| text.replace('_', "").parse::<u64>().map_err(|_| expected());
    let (first, end) = match text.split_once("..") {
        Some((first, end)) => (read(first)?, read(end)?),
        None => (read(text)?, read(text)?.checked_add(1).ok_or_else(expected)?),
    };
    if first < end {
        Ok(first..end)
    } else {
        Err(format!("seeds of which {end} is after the first: {first} is not before it"))
    }
}

/// Stories are written for so many seeds at most, even of a hunt that keeps going.
const STORIES_MAX: usize = 10;

/// A failing seed is run so often at most, to make its story short.
const SHRINKING_RUNS: usize = 2000;

/// What a hunt has seen.
#[derive(Debug, Default)]
struct Bag {
    seeds: u64,
    steps: u64,
    elections: u64,
    exclusive: u64,
    commits: u64,
    wipes: u64,
    chains: Chains,
    settled: Vec<f64>,
    /// In the order of the seeds.
    failures: Vec<(u64, Violation)>,
}

impl Bag {
    fn put(&mut self, report: Report, chains: &Chains) {
        self.chains.add(chains);
        self.seeds += 1;
        self.steps += report.steps;
        self.elections += report.elections as u64;
        self.exclusive += report.exclusive as u64;
        self.commits += report.commits as u64;
        self.wipes += report.wipes as u64;
        self.settled.extend(report.settled);
        if let Some(violation) = report.violation {
            let at = self.failures.partition_point(|(seed, _)| *seed < report.seed);
            self.failures.insert(at, (report.seed, violation));
        }
    }

    fn totals(&mut self) -> String {
        let mut text = String::new();
        let Bag { seeds, steps, elections, exclusive, commits, wipes, .. } = *self;
        let lines = [
            (seeds, "seeds"),
            (steps, "steps"),
            (elections, "elections"),
            (exclusive, "exclusive terms"),
            (commits, "committed records"),
            (wipes, "lost disks"),
        ];
        for (count, what) in lines {
            let _ = writeln!(text, "{:>15}  {what}", number(count));
        }
        for (what, count) in self.chains.all().into_iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(text, "{:>15}  {what}", number(count));
        }
        self.settled.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (self.settled.len() as f64 * share).ceil() as usize;
            self.settled.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        if self.settled.is_empty() {
            return text;
        }
        let _ = writeln!(
            text,
            "time from the freeze to an exclusive leader: p50 {p50:.2}, p99 {p99:.2}, max {max:.2} election timeouts"
        );
        text
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Verdict> {
    let net = arguments.net;
    let jobs = arguments.jobs.unwrap_or_else(jobs_default);
    let mut progress = Progress::begin();
    let mut bag = Bag::default();
    hunt(
        arguments.seeds.clone(),
        jobs,
        arguments.keep_going,
        &|seed| net.run(seed, Detail::Hash),
        &mut bag,
        &mut progress,
    );
    progress.end();
    let (elapsed, wanted) = (progress.elapsed(), arguments.seeds.end - arguments.seeds.start);
    for (at, (seed, violation)) in bag.failures.iter().enumerate() {
        writeln!(out, "seed {seed}: {violation}")?;
        if at < STORIES_MAX {
            let story = story_of(net, *seed, violation);
            let file = PathBuf::from(format!("seed_{seed}_{}.txt", violation.property));
            if at == 0 {
                writeln!(out, "{story}")?;
            }
            match std::fs::write(&file, &story) {
                Ok(()) => writeln!(out, "its story is in {}", file.display())?,
                Err(error) => writeln!(out, "its story could not be written to {}: {error}", file.display())?,
            }
        }
    }
    write!(out, "{}", bag.totals())?;
    writeln!(
        out,
        "took {elapsed:.1?}, {} seeds and {} steps a second",
        rate(bag.seeds, elapsed),
        rate(bag.steps, elapsed)
    )?;
    if progress.is_interrupted() && bag.seeds < wanted {
        writeln!(out, "interrupted: {} of {} seeds ran", number(bag.seeds), number(wanted))?;
    }
    match bag.failures.len() {
        0 => writeln!(out, "verdict: holds")?,
        failed => writeln!(out, "verdict: {failed} of these seeds failed")?,
    }
    Ok(if bag.failures.is_empty() { Verdict::Held } else { Verdict::Failed })
}

fn hunt(
    seeds: Range<u64>,
    jobs: usize,
    keep_going: bool,
    run: &(dyn Fn(u64) -> (Report, Chains) + Sync),
    bag: &mut Bag,
    progress: &mut Progress,
) {
    let wanted = seeds.end - seeds.start;
    side_by_side(seeds, jobs, run, &mut |_, (report, chains)| {
        bag.put(report, &chains);
        progress.show(|elapsed| {
            format!(
                "{} of {} seeds, {} a second, {} steps a second, {} elections, {} failures",
                number(bag.seeds),
                number(wanted),
                rate(bag.seeds, elapsed),
                rate(bag.steps, elapsed),
                number(bag.elections),
                bag.failures.len()
            )
        });
        !progress.is_interrupted() && (keep_going || bag.failures.is_empty())
    });
}

/// The shortest story that fails like the seed; if there is none, what happened.
fn story_of(net: Net, seed: u64, violation: &Violation) -> String {
    if let Some(shrunk) = net.bias().and_then(|bias| shrink(seed, bias, SHRINKING_RUNS)) {
        return shrunk.story;
    }
    let (report, _) = net.run(seed, Detail::All);
    let mut text = format!("# seed {seed}: {violation}\n");
    for line in report.log {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hustings::types::Time;

    #[test]
    fn seeds_are_read_or_refused_with_what_was_expected() {
        assert_eq!(parse_seeds("0..100_000"), Ok(0..100_000));
        assert_eq!(parse_seeds("7"), Ok(7..8));
        for bad in ["", "x", "1..", "..3", "3..3", "9..2", "1..2..3", "18446744073709551615"] {
            assert!(parse_seeds(bad).is_err(), "{bad}");
        }
        assert!(parse_seeds("9..2").is_err_and(|text| text.contains('9') && text.contains('2')));
    }

    /// A seed that fails from 20 on, every seventh.
    fn fake(seed: u64) -> (Report, Chains) {
        let violation = Violation { property: "S1", time: Time(1), text: "two leaders".to_owned() };
        let (mut report, chains) = Net::Swarm.run(0, Detail::Hash);
        report.seed = seed;
        report.violation = (seed >= 20 && seed.is_multiple_of(7)).then_some(violation);
        (report, chains)
    }

    #[test]
    fn a_hunt_stops_at_a_failure_unless_it_is_told_to_go_on() {
        let fakes: Vec<(Report, Chains)> = (0..60).map(fake).collect();
        let run = |seed: u64| fakes[usize::try_from(seed).expect("small")].clone();
        let mut found = Bag::default();
        hunt(0..60, 2, false, &run, &mut found, &mut Progress::begin());
        assert_eq!(found.failures[0].0, 21);
        assert!(found.seeds < 60, "{}", found.seeds);
        let mut all = Bag::default();
        hunt(0..60, 2, true, &run, &mut all, &mut Progress::begin());
        let failed: Vec<u64> = all.failures.iter().map(|(seed, _)| *seed).collect();
        assert_eq!((all.seeds, failed), (60, vec![21, 28, 35, 42, 49, 56]));
        assert!(all.totals().contains("60  seeds"));
    }
}
