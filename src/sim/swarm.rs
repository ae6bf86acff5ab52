//! Faults by the thousand: each seed draws its own mix, with many probabilities at zero, and runs it through four phases:
//! chaos, a frozen network with a quorum-connected node, darkness without one, and healing.

use std::fmt;
use std::time::Duration;

mod chaos;

use self::chaos::{ACTS, Act};
use super::chance::Chance;
use super::check::arithmetic::majority;
use super::{Cluster, Death, Detail, DiskManners, Faults, Link, Manners, StartWhen, Violation};
use crate::config::Timing;
use crate::event::Role;
use crate::node::{Input, Node};
use crate::types::{Term, Time};

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// A hash of everything that happened: the same seed gives the same.
    pub fingerprint: u64,
    /// How many inputs the nodes took.
    pub steps: u64,
    /// The property that did not hold, if one did not.
    pub violation: Option<Violation>,
    /// Terms that had a leader.
    pub elections: usize,
    /// Terms in which a leader was alone.
    pub exclusive: usize,
    /// Records that were committed.
    pub commits: usize,
    /// Disks that were lost.
    pub wipes: usize,
    /// How long it took from the freeze to an exclusive leader, in election timeouts.
    pub settled: Option<f64>,
    /// What happened, if it was asked for.
    pub log: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: ", self.seed)?;
        match &self.violation {
            Some(violation) => write!(f, "{violation}")?,
            None => write!(f, "held")?,
        }
        let Report { elections, exclusive, commits, wipes, fingerprint, .. } = self;
        write!(
            f,
            " ({elections} elections, {exclusive} exclusive, {commits} commits, {wipes} wipes, log {fingerprint:016x})"
        )
    }
}

/// What a mix of faults leans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// To nothing: every fault may be part of it.
    None,
    /// To hand-overs, resignations, evidence and clocks: what promises must survive.
    Promises,
    /// To crashes, slow and lost disks: what durability must survive.
    Disks,
}

/// Runs a seed. With [`Detail::All`] the report holds the whole story.
///
/// # Panics
/// Never: the names of simulated nodes are valid.
#[must_use]
pub fn run(seed: u64, bias: Bias, detail: Detail) -> Report {
    let mut swarm = Swarm::draw(seed, bias, detail);
    let _ = swarm.phases();
    Report { wipes: swarm.wipes, settled: swarm.settled, ..Report::of(seed, &mut swarm.cluster) }
}

impl Report {
    /// What can be told from the cluster alone.
    pub(super) fn of(seed: u64, cluster: &mut Cluster) -> Report {
        let (exclusive, elections, commits) = cluster.checker().seen();
        Report {
            seed,
            fingerprint: cluster.fingerprint(),
            steps: cluster.steps(),
            violation: cluster.violation().cloned(),
            elections,
            exclusive,
            commits,
            wipes: 0,
            settled: None,
            log: cluster.take_log(),
        }
    }
}

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// A seed's run.
struct Swarm {
    cluster: Cluster,
    /// The smallest election timeout: the unit of everything.
    et: Duration,
    weights: Vec<(Act, u64)>,
    /// The mean time between two acts.
    pace: Duration,
    length: Duration,
    chance: Chance,
    wipes: usize,
    /// Who was told to leave.
    leaving: Vec<usize>,
    founded: bool,
    settled: Option<f64>,
}

/// Nothing more is to be done: a property did not hold.
struct Broken;

impl Swarm {
    fn draw(seed: u64, bias: Bias, detail: Detail) -> Swarm {
        let mut chance = Chance::stream(seed, "mix");
        let mut timing = Timing::of(Duration::from_millis(50));
        if chance.happens(0.4) {
            timing.promise_max = timing.promise.mul_f64(1.0 + 2.0 * chance.fraction());
        }
        let nodes = [3, 3, 3, 5, 5, 2, 4, 7, 6][chance.index(9)];
        let Ok(cluster) = Cluster::new(seed, &NAMES[..nodes], &timing, detail) else {
            unreachable!("the names are valid");
        };
        let et = timing.election_timeout_min;
        let drawn = ACTS.iter().filter(|act| act.suits(bias)).map(|act| (*act, chance.below(10)));
        let mut weights: Vec<(Act, u64)> = drawn.map(|(act, weight)| (act, weight.saturating_sub(4))).collect();
        weights.push((Act::Start, 3));
        weights.push((Act::Heal, 2));
        let pace = et.mul_f64([0.05, 0.2, 0.5, 1.0, 2.0][chance.index(5)]);
        let length = et * (15 + u32::try_from(chance.below(20)).unwrap_or(0));
        let mut swarm = Swarm {
            cluster,
            et,
            weights,
            pace,
            length,
            chance,
            wipes: 0,
            leaving: Vec::new(),
            founded: false,
            settled: None,
        };
        swarm.furnish(bias);
        swarm
    }

    /// Draws links, disks, clocks and users.
    fn furnish(&mut self, bias: Bias) {
        let (et, chance) = (self.et, &mut self.chance);
        let sometimes = |chance: &mut Chance, probability: f64, max: f64| {
            if chance.happens(probability) { chance.fraction() * max } else { 0.0 }
        };
        let high = et.mul_f64([0.01, 0.03, 0.1, 0.4][chance.index(4)]);
        let link = Link {
            cut: false,
            delay: (high.mul_f64(chance.fraction()), high),
            loss: sometimes(chance, 0.3, 0.3),
            duplicate: sometimes(chance, 0.3, 0.3),
            tail: sometimes(chance, 0.3, 0.1),
            tail_max: et * 3,
        };
        let disk = DiskManners {
            write: (Duration::ZERO, et.mul_f64([0.005, 0.05, 0.3][chance.index(3)])),
            slow: sometimes(chance, 0.4, 0.2),
            slow_max: et * [1, 3, 10][chance.index(3)],
            fail: if bias == Bias::Promises { 0.0 } else { sometimes(chance, 0.15, 0.05) },
            rot: sometimes(chance, 0.3, 0.5),
        };
        let drifts = chance.happens(0.6);
        let trusts = chance.happens(0.15);
        *self.cluster.faults() = Faults {
            crash_in_step: if bias == Bias::Promises { 0.0 } else { sometimes(chance, 0.3, 0.01) },
            absence: (Duration::ZERO, et * 2),
            stray_reply: sometimes(chance, 0.3, 0.5),
            truncate: sometimes(chance, 0.1, 0.05),
        };
        for at in 0..self.cluster.len() {
            for other in 0..self.cluster.len() {
                *self.cluster.link(at, other) = link.clone();
            }
            *self.cluster.disk(at) = disk.clone();
            let linger = et.mul_f64([0.0, 0.1, 1.0, 5.0][chance.index(4)]);
            let starts = if bias == Bias::Promises { 2 } else { 4 };
            *self.cluster.user(at) = Manners {
                start: [Some(StartWhen::Exclusive), Some(StartWhen::Exclusive), Some(StartWhen::Elected), None]
                    [chance.index(starts)],
                hesitation: (Duration::ZERO, et.mul_f64([0.0, 0.5][chance.index(2)])),
                linger: (Duration::ZERO, linger),
            };
            // Refusals prove a death here only if nobody lies about them.
            self.cluster.config(at).trust_connection_refused = trusts;
            self.cluster.config(at).priority = u8::try_from(50 + chance.below(100)).unwrap_or(100);
            let ppm = if drifts { [-10_000, -5_000, 0, 10_000][chance.index(4)] } else { 0 };
            self.cluster.reset_clock(at, Time(1 + chance.below(10_000_000_000)), ppm);
        }
        if trusts {
            self.weights.retain(|(act, _)| *act != Act::Refuse);
        }
    }

    fn phases(&mut self) -> Result<(), Broken> {
        for at in 0..self.cluster.len() {
            self.cluster.start(at);
        }
        self.chaos()?;
        self.calm();
        self.freeze()?;
        if self.chance.happens(0.3) {
            self.darkness()?;
        }
        self.heal()
    }

    fn pass(&mut self, duration: Duration) -> Result<(), Broken> {
        self.cluster.run_for(duration);
        if self.cluster.violation().is_some() { Err(Broken) } else { Ok(()) }
    }

    fn broken(&mut self, property: &'static str, text: String) -> Result<(), Broken> {
        let now = self.cluster.now();
        self.cluster.checker().report(now, property, text);
        Err(Broken)
    }
}

// ---- what must come right afterwards ----
impl Swarm {
    /// Nothing new goes wrong: links and disks are quick, every process runs.
    fn calm(&mut self) {
        *self.cluster.faults() = Faults::default();
        let nodes = self.cluster.len();
        let delay = self.et.mul_f64(0.03);
        for at in 0..nodes {
            for other in 0..nodes {
                *self.cluster.link(at, other) = Link { delay: (delay.mul_f64(0.2), delay), ..Link::steady(delay) };
            }
            *self.cluster.disk(at) = DiskManners::steady(self.et.mul_f64(0.02));
            if self.cluster.disk_failed(at) || self.leaving.contains(&at) {
                self.cluster.crash(at, Death::Killed);
            }
            self.cluster.resume_now(at);
            self.cluster.hurry_write(at);
            self.cluster.start(at);
            let ask = self.cluster.config(at).timing.promise;
            self.cluster.input(at, Input::AskPromise(ask));
        }
    }

    /// V1, V2 and V3.
    fn freeze(&mut self) -> Result<(), Broken> {
        let nodes = self.cluster.len();
        for attempt in 0.. {
            self.join_all();
            let density = if attempt < 20 { self.chance.fraction() } else { 0.0 };
            for a in 0..nodes {
                for b in a + 1..nodes {
                    if self.chance.happens(density) {
                        self.cut(a, b);
                    } else if self.chance.happens(density * 0.3) {
                        self.cluster.link(a, b).cut = true;
                    }
                }
            }
            if self.is_quorum_connected() || density == 0.0 {
                break;
            }
        }
        if !self.is_quorum_connected() {
            // Some disks were never named: the first start has yet to be completed.
            return Ok(());
        }
        self.comes_to_a_leader("V1")?;
        self.leader_stays("V2")
    }

    /// Whether a node has two-way links to a majority whose disks may vote, itself included.
    fn is_quorum_connected(&mut self) -> bool {
        let nodes = self.cluster.len();
        let votes: Vec<bool> = (0..nodes)
            .map(|at| {
                let named = self.cluster.durable(at).is_some_and(|state| state.named.is_some());
                named && self.cluster.node(at).is_some()
            })
            .collect();
        let mut open = |a: usize, b: usize| !self.cluster.link(a, b).cut && !self.cluster.link(b, a).cut;
        (0..nodes).any(|a| {
            let reached = (0..nodes).filter(|b| votes[*b] && (a == *b || open(a, *b))).count();
            votes[a] && reached >= majority(nodes)
        })
    }

    fn comes_to_a_leader(&mut self, property: &'static str) -> Result<(), Broken> {
        let since = self.cluster.now();
        let found =
            self.cluster.run_until(self.et * 10, |cluster| (0..cluster.len()).any(|at| cluster.is_exclusive(at)));
        self.pass(Duration::ZERO)?;
        if !found {
            let roles = self.roles();
            return self.broken(property, format!("no exclusive leader within 10 election timeouts: {roles}"));
        }
        let took = self.cluster.now().since(since);
        self.settled.get_or_insert(took.as_secs_f64() / self.et.as_secs_f64());
        self.pass((self.et * 10).saturating_sub(took))
    }

    fn leader_stays(&mut self, property: &'static str) -> Result<(), Broken> {
        let leaders = self.leaders();
        self.pass(self.et * 5)?;
        if leaders.len() != 1 || leaders != self.leaders() {
            let roles = self.roles();
            return self.broken(property, format!("{leaders:?} led, and then: {roles}"));
        }
        Ok(())
    }

    /// V4 and V5: without a quorum nobody leads for long, and terms do not grow.
    fn darkness(&mut self) -> Result<(), Broken> {
        for a in 0..self.cluster.len() {
            for b in 0..self.cluster.len() {
                self.cut(a, b);
            }
        }
        self.pass(self.et.mul_f64(1.5) + self.et / 3 + self.et.mul_f64(0.04))?;
        if !self.leaders().is_empty() {
            let roles = self.roles();
            return self.broken("V5", format!("leads without a quorum: {roles}"));
        }
        let terms = self.terms();
        self.pass(self.et * 5)?;
        if terms != self.terms() {
            let after = self.terms();
            return self.broken("V4", format!("terms grow without a quorum: {terms:?} to {after:?}"));
        }
        Ok(())
    }

    /// V11, and every lost disk is named again.
    fn heal(&mut self) -> Result<(), Broken> {
        self.join_all();
        self.comes_to_a_leader("V11")?;
        self.leader_stays("V8")?;
        let nodes = self.cluster.len();
        let unnamed = |at: &usize| self.cluster.durable(*at).is_none_or(|state| state.named.is_none());
        if let Some(at) = (0..nodes).find(unnamed) {
            let name = self.cluster.name(at).clone();
            return self.broken("D2", format!("{name} is still amnesiac"));
        }
        let leader = self.leaders().first().map(|(at, _)| self.cluster.name(*at).clone());
        let astray = (0..nodes).find(|at| self.cluster.node(*at).and_then(Node::leader) != leader.as_ref());
        if let Some(at) = astray {
            let roles = self.roles();
            return self.broken("V6", format!("{} does not know the leader: {roles}", NAMES[at]));
        }
        Ok(())
    }

    fn leads(&self, at: usize) -> Option<Term> {
        self.cluster.node(at).filter(|node| node.role() == Role::Leader).map(Node::term)
    }

    fn leaders(&self) -> Vec<(usize, Term)> {
        (0..self.cluster.len()).filter_map(|at| self.leads(at).map(|term| (at, term))).collect()
    }

    fn terms(&self) -> Vec<Option<Term>> {
        (0..self.cluster.len()).map(|at| self.cluster.node(at).map(Node::term)).collect()
    }

    fn roles(&mut self) -> String {
        let mut text = String::new();
        for (at, name) in NAMES.iter().enumerate().take(self.cluster.len()) {
            let role = self.cluster.node(at).map_or("down", |node| node.role().code());
            let (term, last) = match self.cluster.node(at) {
                Some(node) => (node.term(), node.hard_state().last()),
                None => (Term(0), None),
            };
            let open: String =
                (0..self.cluster.len()).map(|to| if self.cluster.link(at, to).cut { '.' } else { '>' }).collect();
            text.push_str(&format!("{name} {role} {term} {last:?} {open}; "));
        }
        text
    }
}
