//! Real processes in network namespaces, under faults, judged by what their work wrote down and by nothing else.
//!
//! ```text
//! cargo run --release -p hustings-chaos -- --seconds 60              # exit code 1 if a rule was broken
//! cargo run --release -p hustings-chaos -- --seconds 15 --control    # work that ignores its guard must be found
//! ```
//!
//! It needs Linux, root, and the program `ip`; without them it says `not run` and why. The seed decides which faults are made, and
//! when; the processes run as they like. Left out: clocks that are fast or slow. The clock of an elector is not part of its
//! public interface, and `CLOCK_BOOTTIME` has one rate for all processes of a machine.

mod cluster;
mod diary;
mod disk;
mod fabric;
mod frame;
mod judge;
mod member;
mod nemesis;
mod options;
mod report;
mod sizes;
mod stamp;
mod stranger;
mod work;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, set_parent_process_death_signal};

use cluster::Cluster;
use judge::{Life, Violation};
use nemesis::{Fault, Nemesis};
use options::Options;
use report::Report;
use work::Kind;

const USAGE: &str = "\
usage: hustings-chaos [--seconds 60] [--seed N] [--members 3|5] [--only FAULT,..] [--control] [--strict] [--keep]

  --only      faults by their names in the table
  --control   work that ignores its guard: the exit code is 0 only if the judge finds it
  --strict    counts what happens beside a twin on a copied disk, too
  --keep      keeps the folder with the diaries; it is kept as well when a rule was broken";
const KNOWN: &[&str] = &["--seconds", "--seed", "--members", "--only", "--control", "--strict", "--keep", "--help"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let role = arguments.next_if(|role| !role.starts_with("--"));
    let outcome = match role.as_deref() {
        Some("member") => member::run(arguments),
        Some("stranger") => stranger::run(arguments),
        Some("burn") => burn(),
        Some(other) => Err(format!("{other} is not known\n\n{USAGE}").into()),
        None => run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

type Outcome = Result<ExitCode, Box<dyn Error + Send + Sync>>;

fn run(arguments: impl Iterator<Item = String>) -> Outcome {
    let options = Options::parse(arguments, KNOWN).map_err(|what| format!("{what}\n\n{USAGE}"))?;
    if options.has("--help") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    if !rustix::process::geteuid().is_root() {
        println!("not run: needs root");
        return Ok(ExitCode::SUCCESS);
    }
    let control = options.has("--control");
    let seconds: u64 = options.or("--seconds", 60)?;
    let members: usize = options.or("--members", 3)?;
    if ![3, 5].contains(&members) {
        return Err(format!("--members {members}: 3 or 5").into());
    }
    let seed: u64 = options.or("--seed", chance())?;
    let folder = std::env::temp_dir().join(format!("hustings-chaos-{}", std::process::id()));
    let (kinds, faults) = match control {
        true => (&[Kind::Deaf][..], Fault::DEPOSING.to_vec()),
        false => (&Kind::SOUND[..], chosen(&options.or("--only", String::new())?)?),
    };
    let mut cluster = match Cluster::new(folder.clone(), members, kinds, seed) {
        Ok(cluster) => cluster,
        Err(what) => {
            println!("not run: {what}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    println!("seed {seed}, {members} members, {seconds} s");
    let rounds = Nemesis::new(&mut cluster, &faults, seed).run(seconds);
    let (lives, ended) = cluster.finish()?;
    let rounds = rounds.map_err(|error| format!("{error}; what was written lies in {}", folder.display()))?;
    let report = Report::new(rounds, &lives, judge::judge(&lives), ended, options.has("--strict"));
    println!("\n{report}");
    let fine = if control { report.finds_overlaps() } else { report.violations.is_empty() };
    if !control {
        report.twins.iter().chain(&report.violations).for_each(|violation| tell(violation, &report, &lives));
    }
    if fine && report.twins.is_empty() && !options.has("--keep") {
        std::fs::remove_dir_all(&folder)?;
    } else {
        println!("what was written lies in {}, seed {seed}", folder.display());
    }
    println!("{}", conclusion(control, fine, report.twins.is_empty()));
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Faults by their names, separated by commas; all of them if none is named.
fn chosen(names: &str) -> Result<Vec<Fault>, String> {
    if names.is_empty() {
        return Ok(Fault::ALL.to_vec());
    }
    let named = |name: &str| Fault::ALL.into_iter().find(|fault| fault.to_string() == name);
    let faults = names.split(',').map(|name| named(name).ok_or(format!("--only {name}: there is no such fault")));
    faults.collect()
}

fn conclusion(control: bool, fine: bool, untwinned: bool) -> &'static str {
    match (control, fine) {
        (false, true) if !untwinned => "no rule was broken, but beside twins on copied disks: see above",
        (true, true) => "control: work that ignores its guard was found",
        (true, false) => "control FAILED: work that ignores its guard was not found",
        (false, true) => "no rule was broken",
        (false, false) => "FAILED",
    }
}

/// A seed that nobody chose.
fn chance() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

/// A violation, the faults at that moment, and what the lives wrote around it.
fn tell(violation: &Violation, report: &Report, lives: &[Life]) {
    println!("\n{violation}\n    faults: {}", report.faults_at(violation.at));
    let named = lives.iter().filter(|life| violation.text.split(' ').any(|word| word == life.name));
    for life in named {
        println!("    {} stopped: {:?}", life.name, near(life, violation.at));
        for entry in excerpt(life, violation.at) {
            println!("    {} | {entry}", life.name);
        }
    }
}

fn near(life: &Life, at: u64) -> Vec<judge::Span> {
    let reach = stamp::nanos(Duration::from_secs(3));
    life.stops.iter().filter(|stop| stop.from < at + reach && at < stop.to + reach).copied().collect()
}

/// The lines around that moment.
fn excerpt(life: &Life, at: u64) -> &[diary::Entry] {
    let middle = life.entries.partition_point(|entry| entry.at() < at);
    &life.entries[middle.saturating_sub(6)..(middle + 8).min(life.entries.len())]
}

/// Keeps every core busy until it is killed.
fn burn() -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let cores = std::thread::available_parallelism()?.get();
    for _ in 0..2 * cores {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop()
            }
        });
    }
    loop {
        std::thread::park();
    }
}
