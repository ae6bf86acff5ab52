//! Which net catches which fault, and how soon: `cargo run --release -p hustings-mutants --bin table`.
//!
//! Each fault is run against the rules and the paper's sentences, the stories, the storage's tests, and against the swarm,
//! the lease adversary and the graphs until something does not hold. Ends with status 1 if a fault survives them all, or if
//! a net catches something in the machine that has none. `--seeds N` bounds each search, `--only NAME` runs one fault.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use hustings::mutant::Mutant;
use hustings::sim::graph::{Graph, Survey, cases};
use hustings::sim::stack;
use hustings::sim::swarm::{self, Bias};
use hustings::sim::{Detail, adversary};

/// How many ranges of seeds are searched; the median is told.
const RANGES: u64 = 5;
/// A test program that runs longer than this has been caught, too.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("search") => search(&arguments),
        _ => table(&arguments),
    }
}

// ---- what catches a fault ----

/// A search through seeds, run by this program in a process of its own: a fault is chosen for the whole process.
#[derive(Debug, Clone, Copy)]
enum Net {
    Swarm(Bias),
    Adversary,
    Graphs,
    Stack,
}

const NETS: [(&str, Net); 6] = [
    ("none", Net::Swarm(Bias::None)),
    ("promises", Net::Swarm(Bias::Promises)),
    ("disks", Net::Swarm(Bias::Disks)),
    ("adversary", Net::Adversary),
    ("graphs", Net::Graphs),
    ("stack", Net::Stack),
];

impl Net {
    /// The property that does not hold with this seed.
    fn catches(self, seed: u64, graphs: &[hustings::sim::graph::Case]) -> Option<String> {
        let property = |report: swarm::Report| report.violation.map(|violation| violation.property.to_owned());
        match self {
            Net::Swarm(bias) => property(swarm::run(seed, bias, Detail::Hash)),
            Net::Adversary => property(adversary::run(seed, Detail::Hash)),
            Net::Stack => property(stack::run(seed, Detail::Hash)),
            Net::Graphs => {
                // A stride that has no factor in common with their number visits each once, far apart.
                let at = usize::try_from(seed.wrapping_mul(48_271) % graphs.len() as u64).unwrap_or(0);
                let case = [graphs[at]];
                let survey = Survey::of(&case, &[case[0].run()]);
                survey.failures.first().map(|failure| property_in(&failure.text))
            }
        }
    }
}

/// The property that a failure of a graph names, or that no leader came in time.
fn property_in(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    let known = first.len() <= 3 && first.starts_with(|c: char| c.is_ascii_uppercase());
    if known { first.to_owned() } else { "V1".to_owned() }
}

/// `search NET FROM COUNT`: prints after how many seeds what was caught, or nothing.
fn search(arguments: &[String]) -> ExitCode {
    let [_, net, from, count] = arguments else { return ExitCode::FAILURE };
    let Some((_, net)) = NETS.iter().find(|(name, _)| name == net) else { return ExitCode::FAILURE };
    let (Ok(from), Ok(count)) = (from.parse::<u64>(), count.parse::<u64>()) else { return ExitCode::FAILURE };
    let graphs = if let Net::Graphs = net { cases(&Graph::undirected(5).collect::<Vec<_>>()) } else { Vec::new() };
    for seed in from..from + count {
        if let Some(property) = net.catches(seed, &graphs) {
            println!("{} {property}", seed - from + 1);
            break;
        }
    }
    ExitCode::SUCCESS
}

/// After how many seeds a search caught the fault, in the median of the ranges, and as what.
#[derive(Debug, Clone)]
struct Found {
    seeds: u64,
    property: String,
    /// In how many of the ranges.
    ranges: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.seeds, self.property)?;
        if self.ranges < RANGES { write!(f, ", {} of {RANGES}", self.ranges) } else { Ok(()) }
    }
}

fn found(mutant: Option<Mutant>, me: &PathBuf, net: &str, count: u64) -> Option<Found> {
    let mut found: Vec<(u64, String)> = Vec::new();
    for range in 0..RANGES {
        let from = range * 1_000_000;
        let said =
            run(mutant, Command::new(me).args(["search", net, &from.to_string(), &count.to_string()]), PATIENCE * 10);
        // A fault may break the machine so badly that it stops the search.
        let Said::Ended { success: true, text } = said else {
            found.push((1, "breaks".to_owned()));
            continue;
        };
        if let Some((seeds, property)) = text.trim().split_once(' ') {
            found.push((seeds.parse().unwrap_or(0), property.to_owned()));
        } else if range == 1 && found.is_empty() {
            // Two whole ranges without a catch: the others would take as long.
            return None;
        }
    }
    found.sort();
    let ranges = found.len() as u64;
    let (seeds, property) = found.get(found.len() / 2)?.clone();
    Some(Found { seeds, property, ranges })
}

/// What a test program said.
enum Said {
    Ended {
        success: bool,
        text: String,
    },
    /// It could not be waited for.
    Hangs,
}

fn run(mutant: Option<Mutant>, command: &mut Command, patience: Duration) -> Said {
    match mutant {
        Some(mutant) => command.env("HUSTINGS_MUTANT", format!("{mutant:?}")),
        None => command.env_remove("HUSTINGS_MUTANT"),
    };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
    let mut pipe = child.stdout.take().expect("its output");
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut pipe).unwrap_or_default());
    let since = Instant::now();
    let status = loop {
        match child.try_wait().expect("a status") {
            Some(status) => break status,
            None if since.elapsed() > patience => {
                let _ = child.kill();
                let _ = child.wait();
                return Said::Hangs;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    Said::Ended { success: status.success(), text: reader.join().unwrap_or_default() }
}

/// The tests and the stories that fail; what ends or stops a program counts as one.
fn failures(mutant: Option<Mutant>, programs: &[(&PathBuf, &[&str])]) -> BTreeSet<String> {
    let mut failures = BTreeSet::new();
    for (program, filters) in programs {
        match run(mutant, Command::new(program).args(*filters), PATIENCE) {
            Said::Ended { success: true, .. } => {}
            Said::Ended { text, .. } => {
                let found = failures.len();
                failures.extend(text.lines().filter_map(failure));
                if failures.len() == found {
                    failures.insert("breaks".to_owned());
                }
            }
            Said::Hangs => {
                failures.insert("hangs".to_owned());
            }
        }
    }
    failures
}

/// The test, or the story, that a line tells the failure of. A failed story is told by its name and not by its test.
fn failure(line: &str) -> Option<String> {
    let test = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
    let test = test.filter(|test| !test.starts_with("stories::"));
    let story = line.strip_prefix("tests/stories/").and_then(|line| line.split_once(".txt"));
    test.or(story.map(|(story, _)| story)).map(str::to_owned)
}

/// The test programs, built with the faults.
struct Programs {
    /// This one, which searches in processes of their own. Asked for before Cargo may put another build in its place.
    me: PathBuf,
    nets: PathBuf,
    storage: PathBuf,
    unit: PathBuf,
}

fn build() -> Option<Programs> {
    let me = std::env::current_exe().ok()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "-p", "hustings-mutants", "--no-run", "--message-format=json"]);
    cargo.args(["--lib", "--test", "mutants", "--test", "storage"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let built: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = |name: &str| {
        let of = |value: &&serde_json::Value| value["target"]["name"] == name && value["executable"].is_string();
        built.iter().find(of).and_then(|value| value["executable"].as_str()).map(PathBuf::from)
    };
    Some(Programs { me, nets: program("mutants")?, storage: program("storage")?, unit: program("hustings")? })
}

// ---- the table ----

/// What each net made of a fault.
struct Row {
    /// What fails of the unit tests, the rules and the paper's sentences; of the stories; of the storage's tests.
    tests: [BTreeSet<String>; 3],
    searches: Vec<Option<Found>>,
}

impl Row {
    fn of(mutant: Option<Mutant>, programs: &Programs, seeds: u64) -> Row {
        let (unit, nets, storage) = (&programs.unit, &programs.nets, &programs.storage);
        let modules: &[&str] =
            &["promise::", "quorum::", "record::", "types::", "config::", "event::", "sim::", "wire::"];
        Row {
            tests: [
                failures(mutant, &[(unit, modules), (nets, &["rules::", "paper::"])]),
                failures(mutant, &[(nets, &["stories::every"])]),
                failures(mutant, &[(unit, &["storage::"]), (storage, &[])]),
            ],
            searches: NETS.iter().map(|(name, _)| found(mutant, &programs.me, name, seeds)).collect(),
        }
    }

    fn is_caught(&self) -> bool {
        self.tests.iter().any(|failed| !failed.is_empty()) || self.searches.iter().any(Option::is_some)
    }

    fn print(&self, mutant: Mutant) {
        let (property, words) = mutant.rule().split_once(": ").unwrap_or(("", mutant.rule()));
        let mut line = format!("| `{mutant:?}`: {words} | {property} ");
        for failed in &self.tests {
            line += &if failed.is_empty() { "| - ".to_owned() } else { format!("| {} ", failed.len()) };
        }
        for search in &self.searches {
            line += &search.as_ref().map_or("| - ".to_owned(), |found| format!("| {found} "));
        }
        println!("{line}|");
        let _ = std::io::stdout().flush();
    }
}

fn table(arguments: &[String]) -> ExitCode {
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    let seeds = value("--seeds").and_then(|seeds| seeds.parse().ok()).unwrap_or(1000);
    let only = value("--only");
    let Some(programs) = build() else { return ExitCode::FAILURE };
    let sound = Row::of(None, &programs, seeds / 10);
    println!("| fault | property | rules | stories | storage | {} |", NETS.map(|(name, _)| name).join(" | "));
    println!("|{}", "---|".repeat(NETS.len() + 5));
    let mut survivors = Vec::new();
    let asked = |mutant: &&Mutant| only.is_none_or(|only| format!("{mutant:?}") == *only);
    for mutant in Mutant::ALL.iter().filter(asked).filter(|mutant| !Mutant::PROTOCOLS.contains(mutant)) {
        let mut row = Row::of(Some(*mutant), &programs, seeds);
        for (failed, always) in row.tests.iter_mut().zip(&sound.tests) {
            failed.retain(|test| !always.contains(test));
        }
        row.print(*mutant);
        if !row.is_caught() {
            survivors.push(format!("{mutant:?}"));
        }
    }
    if sound.is_caught() {
        eprintln!("these nets catch something in a machine without any fault: {:?} {:?}", sound.tests, sound.searches);
        return ExitCode::FAILURE;
    }
    if survivors.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("these survive: {}", survivors.join(", "));
    ExitCode::FAILURE
}
