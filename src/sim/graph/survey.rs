//! Many cases side by side, and what they come to.

use std::fmt;

use super::{Case, Graph, HORIZON, Outcome};
use crate::sim::side_by_side;

/// Every case of these graphs: each old leader, and each set of others that lack its newest record.
#[must_use]
pub fn cases(graphs: &[Graph]) -> Vec<Case> {
    let mut cases = Vec::new();
    for graph in graphs {
        for leader in 0..graph.nodes() {
            let others = (0..1_u32 << graph.nodes()).filter(|stale| stale & 1 << leader == 0);
            let seed = cases.len() as u64;
            cases.extend((seed..).zip(others).map(|(seed, stale)| Case { graph: *graph, leader, stale, seed }));
        }
    }
    cases
}

/// What many cases came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// How many ran.
    pub cases: usize,
    /// How many have a quorum-connected node.
    pub connected: usize,
    /// In how many of those a leader came and stayed.
    pub recovered: usize,
    /// How many of those had an old leader that was quorum-connected, and kept it.
    pub kept: usize,
    /// How long it took where the old leader was not quorum-connected.
    pub spread: Spread,
    /// In how many more than one new leader was elected before one became what was waited for.
    pub contested: usize,
    /// The first cases that failed, and how.
    pub failures: Vec<Failure>,
    /// How many failed.
    pub failed: usize,
    /// The slowest case.
    pub slowest: Option<Case>,
    /// A hash of every outcome in order: the same cases give the same, whatever runs beside what.
    pub fingerprint: u64,
}

/// Percentiles, in election timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// Ninety-nine in a hundred are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// A case in which something did not go as it must.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The case.
    pub case: Case,
    /// What went wrong.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.text)
    }
}

/// How many failures are kept.
const FAILURES_MAX: usize = 20;

/// Runs the cases on so many threads. `progress` hears how many are done, and says whether to go on; a survey that was
/// broken off counts only the cases before the first that did not run.
pub fn survey(cases: &[Case], jobs: usize, progress: &dyn Fn(usize) -> bool) -> Survey {
    let outcomes = outcomes(cases, jobs, &Case::run, progress);
    Survey::of(cases, &outcomes)
}

/// What came of each case, up to the first that did not run.
pub fn outcomes(
    cases: &[Case],
    jobs: usize,
    run: &(dyn Fn(&Case) -> Outcome + Sync),
    progress: &dyn Fn(usize) -> bool,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; cases.len()];
    let run = |number: u64| {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        cases.get(at).map(|case| (at, run(case)))
    };
    let mut done = 0;
    side_by_side(0..cases.len() as u64, jobs, &run, &mut |_, result| {
        if let Some((at, outcome)) = result {
            outcomes[at] = Some(outcome);
        }
        done += 1;
        progress(done)
    });
    outcomes.into_iter().map_while(|outcome| outcome).collect()
}

impl Survey {
    /// Sums up the outcomes of these cases.
    #[must_use]
    pub fn of(cases: &[Case], outcomes: &[Outcome]) -> Survey {
        let mut survey = Survey {
            cases: outcomes.len(),
            connected: 0,
            recovered: 0,
            kept: 0,
            spread: Spread::default(),
            contested: 0,
            failures: Vec::new(),
            failed: 0,
            slowest: None,
            fingerprint: 0xcbf2_9ce4_8422_2325,
        };
        let mut times = Vec::new();
        for (case, outcome) in cases.iter().zip(outcomes) {
            survey.count(case, outcome);
            let needed = !case.graph.is_quorum_connected(case.leader);
            times.extend(outcome.settled.filter(|_| needed).map(|took| (took, case)));
        }
        let slowest = times.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        survey.slowest = slowest.map(|(_, case)| **case);
        survey.spread = Spread::of(times.into_iter().map(|(took, _)| took).collect());
        survey
    }

    fn count(&mut self, case: &Case, outcome: &Outcome) {
        let settled = outcome.settled.map_or(u64::MAX, f64::to_bits);
        for word in [settled, outcome.changes as u64, outcome.replaced as u64, outcome.growth] {
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let connected = case.graph.has_quorum_connected();
        let kept = case.graph.is_quorum_connected(case.leader);
        self.connected += usize::from(connected);
        self.recovered += usize::from(connected && outcome.settled.is_some());
        self.kept += usize::from(kept && outcome.changes == 0);
        self.contested += usize::from(outcome.changes > 1);
        let text = match outcome {
            Outcome { broken: Some(text), .. } => text.clone(),
            Outcome { settled: None, .. } if connected => format!("no leader within {HORIZON} election timeouts"),
            Outcome { changes, .. } if kept && *changes > 0 => {
                "the leader was quorum-connected, and changed".to_owned()
            }
            Outcome { replaced, .. } if *replaced > 0 => format!("a new leader was lost again, {replaced} times"),
            Outcome { settled: Some(_), .. } if !connected => "a leader without a quorum".to_owned(),
            Outcome { growth, .. } if !connected && *growth > 0 => {
                format!("no node is quorum-connected, and terms grew by {growth}")
            }
            _ => return,
        };
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(Failure { case: *case, text });
        }
    }
}

impl Spread {
    /// Of these times, in any order.
    #[must_use]
    pub fn of(mut times: Vec<f64>) -> Spread {
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (times.len() as f64 * share).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Spread { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}
