//! Every connectivity graph: whether a leader comes, how soon, and whether it stays (V1, V2, V4).
//!
//! A case is a graph, the leader that a healthy cluster had, and who lacks its newest record. All links become those of the
//! graph at one moment, and stay. A node is *quorum-connected* if it has two-way links to a majority, itself included: where
//! there is one, a leader must come and stay; where there is none, nobody may raise a term.
//!
//! ```
//! use hustings::sim::graph::{Graph, cases, survey};
//!
//! // Three nodes, all 8 graphs, 3 old leaders, 4 patterns of stale records.
//! let graphs: Vec<Graph> = Graph::undirected(3).collect();
//! let survey = survey(&cases(&graphs), 2, &|_| true);
//! assert_eq!(survey.failures, []);
//! ```

use std::fmt;
use std::time::Duration;

use super::chance::Chance;
use super::{Cluster, Detail, DiskManners, Link};
use crate::config::Timing;
use crate::event::Role;
use crate::node::{Input, Node};
use crate::quorum::quorum;
use crate::types::{Term, Time};

mod links;
mod survey;

pub use self::links::Graph;
pub use self::survey::{Failure, Spread, Survey, cases, outcomes, survey};

/// How long after the cut a leader may come at the latest, in election timeouts: later is a failure.
pub const HORIZON: u32 = 10;
/// How long it must then stay, in election timeouts, before the case is over.
pub const WINDOW: u32 = 5;

/// One case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The links from the cut on.
    pub graph: Graph,
    /// Who led before.
    pub leader: usize,
    /// Who lacks the leader's newest record at the cut: a bit for each node, the leader's is 0.
    pub stale: u32,
    /// From which delays, timeouts and the moment of the cut are drawn.
    pub seed: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stale: String = (0..self.graph.nodes()).filter(|at| self.stale & 1 << at != 0).map(name).collect();
        let stale = if stale.is_empty() { "nobody".to_owned() } else { stale };
        write!(f, "{}, {} led, stale: {stale}, seed {}", self.graph, name(self.leader), self.seed)
    }
}

/// What makes a node the leader that a case waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is exclusive.
    Exclusive,
    /// It is quorum-connected and its no-op is committed. What protocols without leases can be measured by.
    Established,
}

/// How a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Which leader is waited for.
    pub wanted: Wanted,
    /// Until when it must have come, in election timeouts after the cut.
    pub horizon: u32,
    /// How long it must stay, in election timeouts.
    pub window: u32,
    /// Whether every property is checked after every step.
    pub checked: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { wanted: Wanted::Exclusive, horizon: HORIZON, window: WINDOW, checked: true }
    }
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How long after the cut the leader came that stayed, in election timeouts; 0 if it is the old one.
    pub settled: Option<f64>,
    /// Terms that got a leader after the cut, for however short.
    pub changes: usize,
    /// How often a leader as it was waited for, a new one, was lost again.
    pub replaced: usize,
    /// By how much the highest term grew.
    pub growth: u64,
    /// A property that did not hold, or a cluster that was never healthy.
    pub broken: Option<String>,
}

impl Case {
    /// Runs the case by the rules that hold for this library.
    #[must_use]
    pub fn run(&self) -> Outcome {
        self.run_by(&Rules::default())
    }

    /// Runs the case by these rules.
    #[must_use]
    pub fn run_by(&self, rules: &Rules) -> Outcome {
        Run::new(self, rules, Detail::Hash).outcome()
    }

    /// Runs the case, and tells what happened from the cut on.
    #[must_use]
    pub fn tell(&self, rules: &Rules) -> (Outcome, Vec<String>) {
        let mut run = Run::new(self, rules, Detail::All);
        let outcome = run.outcome();
        (outcome, run.cluster.take_log())
    }
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn name(at: usize) -> &'static str {
    NAMES.get(at).copied().unwrap_or("?")
}

/// A case under way.
struct Run {
    case: Case,
    rules: Rules,
    cluster: Cluster,
    et: Duration,
    chance: Chance,
    cut_at: Time,
    /// Who led when, since the cut.
    led: Vec<(usize, Term)>,
    /// The leader that is waited for, and since when it is there.
    held: Option<(usize, Term, Time)>,
    replaced: usize,
}

impl Run {
    fn new(case: &Case, rules: &Rules, detail: Detail) -> Run {
        let timing = Timing::default();
        let et = timing.election_timeout_min;
        let nodes = case.graph.nodes();
        let mut chance = Chance::stream(case.seed, "graph");
        let Ok(mut cluster) = Cluster::new(case.seed, &NAMES[..nodes], &timing, detail) else {
            unreachable!("the names are valid");
        };
        let delay = et.mul_f64(0.03);
        let rho = u64::from(timing.drift_ppm);
        for at in 0..nodes {
            for other in 0..nodes {
                *cluster.link(at, other) = Link { delay: (delay / 5, delay), ..Link::steady(delay) };
            }
            *cluster.disk(at) = DiskManners::steady(et.mul_f64(0.02));
            let ppm = i32::try_from(chance.below(2 * rho)).unwrap_or(0) - i32::try_from(rho).unwrap_or(0);
            cluster.set_rate(at, ppm);
        }
        cluster.check_nothing(!rules.checked);
        let cut_at = cluster.now();
        Run { case: *case, rules: *rules, cluster, et, chance, cut_at, led: Vec::new(), held: None, replaced: 0 }
    }

    fn outcome(&mut self) -> Outcome {
        if !self.prepare() {
            let broken = Some(format!("{} never led a healthy cluster", name(self.case.leader)));
            return Outcome { settled: None, changes: 0, replaced: 0, growth: 0, broken };
        }
        self.cut();
        let before = self.highest_term();
        self.watch();
        let growth = self.highest_term().0 - before.0;
        let broken = self.cluster.violation().map(ToString::to_string);
        let settled = self.held.map(|(.., since)| since.since(self.cut_at));
        let settled = settled.map(|took| took.as_secs_f64() / self.et.as_secs_f64());
        let in_time = |took: &f64| *took <= f64::from(self.rules.horizon);
        Outcome { settled: settled.filter(in_time), changes: self.led.len(), replaced: self.replaced, growth, broken }
    }

    /// A healthy cluster with the leader that the case wants, its records as the case wants them.
    fn prepare(&mut self) -> bool {
        let (et, leader) = (self.et, self.case.leader);
        let nodes = self.cluster.len();
        (0..nodes).for_each(|at| self.cluster.start(at));
        let founded = |cluster: &Cluster| (0..nodes).all(|at| cluster.node(at).is_some_and(|node| !node.is_amnesiac()));
        if !self.cluster.run_until(et * 10, founded) {
            return false;
        }
        self.cluster.input(leader, Input::Campaign);
        for _ in 0..5 {
            if self.cluster.run_until(et * 3, |cluster| is_healthy(cluster, leader)) {
                break;
            }
            let to = self.cluster.name(leader).clone();
            (0..nodes).for_each(|at| self.cluster.input(at, Input::Transfer(Some(to.clone()))));
        }
        // At any moment between two heartbeats.
        let beat = self.cluster.config(leader).timing.heartbeat;
        let pause = self.chance.between((beat, beat * 2));
        self.cluster.run_for(pause);
        is_healthy(&self.cluster, leader) && self.spread_record()
    }

    /// A new record reaches the disks of those that are not stale. Without a quorum of them it stays uncommitted.
    fn spread_record(&mut self) -> bool {
        let (leader, stale) = (self.case.leader, self.case.stale);
        let nodes = self.cluster.len();
        if stale == 0 {
            return true;
        }
        for at in (0..nodes).filter(|at| stale & 1 << at != 0) {
            self.cluster.link(leader, at).cut = true;
        }
        self.cluster.input(leader, Input::Proclaim(bytes::Bytes::from_static(b"newest")));
        self.cluster.run_until(self.et, |cluster| {
            let newest = cluster.node(leader).and_then(|node| node.hard_state().last());
            let holds = |at: usize| cluster.durable(at).and_then(|state| state.last()) == newest;
            (0..nodes).all(|at| holds(at) != (stale & 1 << at != 0))
        })
    }

    fn cut(&mut self) {
        let nodes = self.cluster.len();
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| *to != from) {
                self.cluster.link(from, to).cut = !self.case.graph.has(from, to);
            }
        }
        self.cut_at = self.cluster.now();
        let _ = self.cluster.take_log();
    }

    /// Until the leader that came has stayed long enough, or it is too late.
    fn watch(&mut self) {
        let Run { case, rules, cluster, et, cut_at, led, held, replaced, .. } = self;
        let (graph, wanted, window) = (case.graph, rules.wanted, *et * rules.window);
        let before = leaders(cluster);
        let limit = *et * rules.horizon + window;
        cluster.run_until(limit, |cluster| {
            for leader in leaders(cluster) {
                if !before.contains(&leader) && !led.contains(&leader) {
                    led.push(leader);
                }
            }
            let now = cluster.now();
            let found = wanted_leader(cluster, &graph, wanted);
            let old = held.map(|(at, term, _)| (at, term));
            if old != found {
                *replaced += usize::from(old.is_some_and(|old| !before.contains(&old)));
                *held = found.map(|(at, term)| (at, term, now));
            }
            held.is_some_and(|(.., since)| now.since(since) >= window) && now.since(*cut_at) >= window
        });
        let now = cluster.now();
        if held.is_some_and(|(.., since)| now.since(since) < window) {
            *held = None;
        }
    }

    fn highest_term(&self) -> Term {
        let terms = (0..self.cluster.len()).filter_map(|at| self.cluster.node(at).map(Node::term));
        terms.max().unwrap_or_default()
    }
}

/// Whether it is exclusive, everyone follows it, and everyone holds its newest record.
fn is_healthy(cluster: &Cluster, leader: usize) -> bool {
    let Some(node) = cluster.node(leader) else { return false };
    let newest = node.hard_state().last();
    let settled = node.committed().map(|record| record.id) == newest;
    let follows = |at: usize| {
        let led = cluster.node(at).is_some_and(|node| node.leader() == Some(cluster.name(leader)));
        led && cluster.durable(at).and_then(|state| state.last()) == newest
    };
    settled && cluster.is_exclusive(leader) && (0..cluster.len()).all(follows)
}

fn leaders(cluster: &Cluster) -> Vec<(usize, Term)> {
    let leads = |at: usize| cluster.node(at).filter(|node| node.role() == Role::Leader).map(|node| (at, node.term()));
    (0..cluster.len()).filter_map(leads).collect()
}

fn wanted_leader(cluster: &Cluster, graph: &Graph, wanted: Wanted) -> Option<(usize, Term)> {
    let fits = |at: usize| {
        let node = cluster.node(at).filter(|node| node.role() == Role::Leader)?;
        let fits = match wanted {
            Wanted::Exclusive => cluster.is_exclusive(at),
            Wanted::Established => {
                graph.is_quorum_connected(at) && node.lease().is_some_and(|lease| lease.committed_at < Time::NEVER)
            }
        };
        fits.then(|| (at, node.term()))
    };
    (0..cluster.len()).filter_map(fits).max_by_key(|(_, term)| *term)
}

/// How many nodes make a majority.
fn majority(nodes: usize) -> usize {
    quorum(nodes)
}
