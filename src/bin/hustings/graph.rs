//! `hustings sim graph`.

use std::io::{self, Write};

use clap::Args;
use hustings::sim::graph::{Case, Graph, HORIZON, Outcome, Rules, Survey, WINDOW, cases, outcomes};

use super::progress::{Progress, number, rate};
use super::{Verdict, jobs_default, parse_jobs};

const EXAMPLES: &str = "\
A case is a graph, the leader that a healthy cluster had, and who lacked its newest record when every link became that of \
the graph. Quorum-connected is a node with two-way links to a majority, itself included.

Exit status 1: a case had a quorum-connected node and no stable exclusive leader within 10 election timeouts, a \
quorum-connected leader was replaced, a term grew where no node is quorum-connected, or another property did not hold.

Examples:
  hustings sim graph                       every graph of 5 nodes: 81,920 cases, some minutes
  hustings sim graph --nodes 4 --directed  one-way links too, one graph of each class
  hustings sim graph --sample 2000         a fixed sample of the cases
  hustings sim graph --nodes 5 --case 123  tell one case, event by event";

/// What graphs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=7))]
    nodes: u8,
    /// One-way links too.
    #[arg(long)]
    directed: bool,
    /// One graph of each class of graphs that are the same but for names: what is run anyhow where there are more than
    /// 5000 graphs.
    #[arg(long)]
    classes: bool,
    /// How many threads [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<usize>,
    /// Only so many cases, chosen evenly.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Tell only the case with this number.
    #[arg(long, value_name = "NUMBER", conflicts_with = "sample")]
    case: Option<u64>,
}

/// More graphs than this are run by class.
const GRAPHS_MAX: u64 = 5000;

impl Arguments {
    fn by_class(&self) -> bool {
        let pairs = u32::from(self.nodes) * u32::from(self.nodes - 1) / if self.directed { 1 } else { 2 };
        self.classes || 1_u64.checked_shl(pairs).is_none_or(|graphs| graphs > GRAPHS_MAX)
    }

    /// Classes of directed graphs of six nodes are a million and a half: finding them takes longer than anybody waits.
    fn is_too_large(&self) -> bool {
        self.directed && self.nodes > 5
    }

    fn graphs(&self) -> Vec<Graph> {
        let nodes = usize::from(self.nodes);
        if self.by_class() {
            return Graph::classes(nodes, self.directed).into_iter().map(|(graph, _)| graph).collect();
        }
        if self.directed { Graph::directed(nodes).collect() } else { Graph::undirected(nodes).collect() }
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Verdict> {
    if arguments.is_too_large() {
        let (nodes, most) = (arguments.nodes, 5);
        let _ = writeln!(
            io::stderr(),
            "error: --nodes {nodes} with --directed: at most {most} nodes, there are too many graphs of more"
        );
        return Ok(Verdict::Unreadable);
    }
    let graphs = arguments.graphs();
    let all = cases(&graphs);
    if let Some(wanted) = arguments.case {
        return tell(&all, wanted, out);
    }
    let chosen = sample(&all, arguments.sample);
    let kind = if arguments.directed { "directed" } else { "undirected" };
    let classes = if arguments.by_class() { " up to their names" } else { "" };
    writeln!(
        out,
        "{} {kind} graphs of {} nodes{classes}, {} cases",
        number(graphs.len() as u64),
        arguments.nodes,
        number(chosen.len() as u64)
    )?;
    out.flush()?;
    let progress = std::cell::RefCell::new(Progress::begin());
    let total = chosen.len() as u64;
    let results = outcomes(&chosen, arguments.jobs.unwrap_or_else(jobs_default), &Case::run, &|done| {
        let mut progress = progress.borrow_mut();
        let done = done as u64;
        progress
            .show(|elapsed| format!("{} of {} cases, {} a second", number(done), number(total), rate(done, elapsed)));
        !progress.is_interrupted()
    });
    let mut progress = progress.into_inner();
    progress.end();
    let survey = Survey::of(&chosen, &results);
    report(&survey, total, out)?;
    writeln!(out, "took {:.1?}, {} cases a second", progress.elapsed(), rate(survey.cases as u64, progress.elapsed()))?;
    Ok(if survey.failed == 0 { Verdict::Held } else { Verdict::Failed })
}

fn sample(all: &[Case], wanted: Option<u64>) -> Vec<Case> {
    let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(all.len()).min(all.len());
    // A multiplier without common factors visits every case once, far from where it was before.
    let stride =
        (0..).map(|more| all.len() * 5 / 8 + 1 + more).find(|stride| gcd(*stride, all.len()) == 1).unwrap_or(1);
    if wanted == all.len() {
        return all.to_vec();
    }
    (0..wanted).map(|at| all[at * stride % all.len()]).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn report(survey: &Survey, wanted: u64, out: &mut dyn Write) -> io::Result<()> {
    let lines = [
        ("with a quorum-connected node", survey.connected),
        ("  a leader came and stayed", survey.recovered),
        ("  the old leader was quorum-connected, and stayed", survey.kept),
        ("  more than one was elected before one was exclusive", survey.contested),
    ];
    for (text, count) in lines {
        writeln!(out, "{:>11}  {text}", number(count as u64))?;
    }
    let spread = survey.spread;
    writeln!(
        out,
        "time to a stable exclusive leader, where a new one was needed: p50 {:.2}, p99 {:.2}, max {:.2} election timeouts",
        spread.p50, spread.p99, spread.max
    )?;
    if let Some(case) = survey.slowest {
        writeln!(out, "slowest: {case}")?;
    }
    let missed = [("p50", spread.p50, 1.5), ("p99", spread.p99, 2.5), ("max", spread.max, 4.0)];
    for (what, took, target) in missed.into_iter().filter(|(_, took, target)| took > target) {
        writeln!(out, "target missed: {what} {took:.2}, wanted {target}")?;
    }
    for failure in &survey.failures {
        writeln!(out, "failed: {failure}")?;
    }
    if survey.cases < usize::try_from(wanted).unwrap_or(usize::MAX) {
        writeln!(out, "interrupted after {} cases", number(survey.cases as u64))?;
    }
    let verdict = match survey.failed {
        0 => "verdict: holds".to_owned(),
        failed => format!("verdict: {} cases failed", number(failed as u64)),
    };
    writeln!(out, "{verdict} (outcomes {:016x})", survey.fingerprint)
}

fn tell(all: &[Case], wanted: u64, out: &mut dyn Write) -> io::Result<Verdict> {
    let Some(case) = usize::try_from(wanted).ok().and_then(|at| all.get(at)) else {
        let last = all.len().saturating_sub(1);
        let _ = writeln!(io::stderr(), "error: --case {wanted}: there are the cases 0 to {last}");
        return Ok(Verdict::Unreadable);
    };
    let (outcome, log) = case.tell(&Rules::default());
    writeln!(out, "{case}")?;
    for line in log {
        writeln!(out, "{line}")?;
    }
    let Outcome { settled, changes, replaced, growth, broken } = &outcome;
    match settled {
        Some(took) => writeln!(out, "a leader after {took:.2} election timeouts that stayed for {WINDOW}")?,
        None => writeln!(out, "no leader within {HORIZON} election timeouts")?,
    }
    writeln!(out, "{changes} elected, {replaced} lost again, terms grew by {growth}")?;
    if let Some(broken) = broken {
        writeln!(out, "failed: {broken}")?;
    }
    let failed = Survey::of(&[*case], &[outcome]).failed > 0;
    Ok(if failed { Verdict::Failed } else { Verdict::Held })
}
