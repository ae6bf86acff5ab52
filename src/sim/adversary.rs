//! An adversary for promises and leases: it watches the cluster and strikes where a rule bites.
//!
//! Chance alone seldom brings three leaders within one promise, or a restart right after an answer. The adversary knows
//! those chains: each seed draws some of them, and some reactions that nobody has thought of, a bound for the drift of
//! clocks, and how everything else behaves. When a node wins an election, promises, votes or leaves office, the reactions
//! to that moment follow, at once or some time later. Runs are short, and nothing is healed in the end: what is asked is
//! whether two nodes are ever alone at one time (E1), and every other rule of safety.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

mod moments;
mod ploys;
mod schemes;

pub use self::moments::Chains;
pub(crate) use self::moments::{News, Watch};

use self::moments::{Memory, Scene};
use self::ploys::{Ploy, Victim};
use self::schemes::Reaction;
use super::chance::Chance;
use super::swarm::Report;
use super::{Cluster, Detail, DiskManners, Faults, Link, Manners, StartWhen};
use crate::config::Timing;
use crate::event::Role;
use crate::types::Time;

/// Runs a seed. With [`Detail::All`] the report holds the whole story.
#[must_use]
pub fn run(seed: u64, detail: Detail) -> Report {
    run_counting(seed, detail).0
}

/// Runs a seed, and tells which rare chains came about.
#[must_use]
pub fn run_counting(seed: u64, detail: Detail) -> (Report, Chains) {
    let mut adversary = Adversary::draw(seed, detail);
    adversary.play();
    adversary.report(seed)
}

/// Runs a seed in which no rule is held but one: that two nodes are never alone at one time, as true time has it. Shows
/// how far a fault of the machine is from doing harm, where [`run`] stops at the first broken rule.
#[must_use]
pub fn run_for_overlaps(seed: u64, detail: Detail) -> Report {
    let mut adversary = Adversary::draw(seed, detail);
    adversary.cluster.checker().judge_overlaps_only();
    adversary.play();
    adversary.report(seed).0
}

/// How many reactions a run may have: one may bring about another, without end and in no time.
const REACTIONS_MAX: u32 = 120;

/// How many inputs a run may have, a hundred times what is usual: a machine that ticks in no time would never end.
const STEPS_MAX: u64 = 60_000;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What happens later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Act(Ploy, usize),
    Start(usize),
    /// Something without any occasion.
    Whim,
}

/// A seed's run.
struct Adversary {
    cluster: Cluster,
    chance: Chance,
    reactions: Vec<Reaction>,
    reacted: u32,
    /// When, in which order of planning, and which of the deeds.
    plans: BinaryHeap<Reverse<(Time, usize)>>,
    deeds: Vec<Deed>,
    news: Vec<News>,
    /// How a link behaves that nobody harms.
    link: Link,
    /// The promise that is asked for: the unit of everything; and the longest and the shortest that may be.
    promise: Duration,
    longest: Duration,
    shortest: Duration,
    /// How far a clock may be off, in parts per million.
    drift: i32,
    trusts: bool,
    founded: bool,
    wipes: usize,
    memory: Memory,
}

impl Adversary {
    fn draw(seed: u64, detail: Detail) -> Adversary {
        let mut chance = Chance::stream(seed, "adversary");
        let nodes = [2, 3, 3, 3, 3, 4, 5, 5][chance.index(8)];
        let drift = [0, 10_000, 50_000, 200_000][chance.index(4)];
        let timing = timing(&mut chance, drift);
        let Ok(mut cluster) = Cluster::new(seed, &NAMES[..nodes], &timing, detail) else {
            unreachable!("the names are valid");
        };
        cluster.watch();
        let high = timing.promise.mul_f64([0.002, 0.01, 0.05, 0.15][chance.index(4)]);
        let sometimes = |chance: &mut Chance, probability: f64, max: f64| {
            if chance.happens(probability) { chance.fraction() * max } else { 0.0 }
        };
        let link = Link {
            cut: false,
            stalled: false,
            delay: (high.mul_f64(chance.fraction()), high),
            loss: sometimes(&mut chance, 0.2, 0.2),
            duplicate: sometimes(&mut chance, 0.2, 0.3),
            tail: sometimes(&mut chance, 0.3, 0.2),
            tail_max: timing.election_timeout_min * 3,
        };
        let lasts = timing.owed_of(timing.heartbeat + timing.round_trip_max);
        let mut adversary = Adversary {
            reactions: schemes::draw(&mut chance),
            reacted: 0,
            cluster,
            plans: BinaryHeap::new(),
            deeds: Vec::new(),
            news: Vec::new(),
            link,
            promise: timing.promise,
            longest: timing.promise_max,
            shortest: (lasts + Duration::from_millis(1)).min(timing.promise),
            drift: i32::try_from(drift).unwrap_or(0),
            trusts: chance.happens(0.1),
            founded: false,
            wipes: 0,
            memory: Memory::new(nodes, timing.promise),
            chance,
        };
        adversary.furnish();
        adversary
    }

    /// Draws disks, clocks and users.
    fn furnish(&mut self) {
        let promise = self.promise;
        let write = promise.mul_f64([0.002, 0.02, 0.1][self.chance.index(3)]);
        let slow = if self.chance.happens(0.3) { self.chance.fraction() * 0.3 } else { 0.0 };
        let dies = if self.chance.happens(0.1) { self.chance.fraction() * 0.01 } else { 0.0 };
        let strays = if self.chance.happens(0.4) { self.chance.fraction() } else { 0.0 };
        *self.cluster.faults() = Faults {
            crash_in_step: dies,
            absence: (Duration::ZERO, promise),
            stray_reply: strays,
            ..Faults::default()
        };
        for at in 0..self.cluster.len() {
            let disk = DiskManners { slow, slow_max: promise * 2, ..DiskManners::steady(write) };
            *self.cluster.disk(at) = DiskManners { write: (Duration::ZERO, write), ..disk };
            let when = [StartWhen::Exclusive, StartWhen::Exclusive, StartWhen::Elected][self.chance.index(3)];
            let linger = promise.mul_f64([0.0, 0.1, 1.0, 5.0][self.chance.index(4)]);
            *self.cluster.user(at) = Manners {
                start: (!self.chance.happens(0.2)).then_some(when),
                hesitation: (Duration::ZERO, promise.mul_f64([0.0, 0.3][self.chance.index(2)])),
                linger: (linger / 2, linger),
                length: None,
            };
            let trusts = self.trusts;
            self.cluster.config(at).trust_connection_refused = trusts;
            let reading = Time(1 + self.chance.below(10_000_000_000));
            let ppm = self.extreme();
            self.cluster.reset_clock(at, reading, ppm);
            for other in 0..self.cluster.len() {
                *self.cluster.link(at, other) = self.link.clone();
            }
        }
    }

    fn play(&mut self) {
        for at in 0..self.cluster.len() {
            self.cluster.start(at);
        }
        // Most seeds begin with a cluster that stands: a first start needs every member at once.
        if self.chance.happens(0.9) {
            let limit = self.promise * 8;
            let stands = |cluster: &Cluster| (0..cluster.len()).any(|at| cluster.is_exclusive(at));
            self.cluster.run_until(limit, |cluster| stands(cluster) || cluster.steps() >= STEPS_MAX);
        }
        let length = self.promise * (6 + u32::try_from(self.chance.below(14)).unwrap_or(0));
        let end = self.cluster.now() + length;
        self.plan_deed(self.cluster.now(), Deed::Whim);
        while self.cluster.violation().is_none() && self.cluster.now() < end {
            let due = self.plans.peek().map_or(end, |Reverse((at, _))| *at).min(end);
            self.cluster.run_to(due, STEPS_MAX);
            if self.cluster.steps() >= STEPS_MAX {
                let now = self.cluster.now();
                return self.cluster.checker().judge(now, Err(("V10", format!("takes {STEPS_MAX} inputs"))));
            }
            self.hear();
            if self.cluster.now() >= due {
                self.do_what_is_due();
            }
        }
    }

    /// Reacts to what has happened. A reaction may make more happen, which is heard next time.
    fn hear(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        self.cluster.seen(&mut news);
        for one in news.drain(..) {
            self.remember(one);
            for at in 0..self.reactions.len() {
                let reaction = self.reactions[at];
                let may = reaction.moment == one.moment && self.reacted < REACTIONS_MAX;
                if may && self.chance.happens(reaction.probability) {
                    self.react(&reaction, one.at);
                }
            }
        }
        self.news = news;
    }

    fn react(&mut self, reaction: &Reaction, actor: usize) {
        let now = self.cluster.now();
        let victims = match reaction.victim {
            Victim::Others => (0..self.cluster.len()).filter(|at| *at != actor).collect(),
            one => vec![self.victim(one, actor)],
        };
        for at in victims {
            self.reacted += 1;
            let when = now + self.span(reaction.wait);
            self.plan(when, reaction.ploy, at);
        }
    }

    fn victim(&mut self, victim: Victim, actor: usize) -> usize {
        let nodes = self.cluster.len();
        let other = (actor + 1 + self.chance.index(nodes - 1)) % nodes;
        let leads = |at: &usize| self.cluster.node(*at).is_some_and(|node| node.role() == Role::Leader);
        match victim {
            Victim::Self_ => actor,
            Victim::Other | Victim::Others => other,
            Victim::Leader => (0..nodes).filter(leads).max_by_key(|at| *at != actor).unwrap_or(other),
            Victim::Follower => {
                let fits = |at: &usize| *at != actor && !leads(at);
                (0..nodes).map(|step| (other + step) % nodes).find(fits).unwrap_or(other)
            }
        }
    }

    fn remember(&mut self, news: News) {
        let now = self.cluster.now();
        let rival = (0..self.cluster.len()).any(|at| at != news.at && self.cluster.is_exclusive(at));
        let works_until = self.cluster.works_until(news.at);
        let owed = self.cluster.must_wait(news.at);
        self.memory.note(news, &Scene { now, rival, works_until, owed });
    }

    fn plan(&mut self, when: Time, ploy: Ploy, at: usize) {
        self.plan_deed(when, Deed::Act(ploy, at));
    }

    fn plan_start(&mut self, when: Time, at: usize) {
        self.plan_deed(when, Deed::Start(at));
    }

    fn plan_deed(&mut self, when: Time, deed: Deed) {
        self.plans.push(Reverse((when, self.deeds.len())));
        self.deeds.push(deed);
    }

    fn do_what_is_due(&mut self) {
        let now = self.cluster.now();
        while let Some(Reverse((_, number))) = self.plans.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.plans.pop();
            match self.deeds[number] {
                Deed::Act(ploy, at) => self.act(ploy, at),
                Deed::Start(at) => self.start(at),
                Deed::Whim => self.have_a_whim(),
            }
            if self.cluster.violation().is_some() {
                return;
            }
        }
    }

    fn start(&mut self, at: usize) {
        if self.chance.happens(0.2) {
            let reading = Time(1 + self.chance.below(10_000_000_000));
            let ppm = self.extreme();
            self.cluster.reset_clock(at, reading, ppm);
        }
        self.cluster.start(at);
    }

    /// Now and then something happens that nothing has led to.
    fn have_a_whim(&mut self) {
        if !self.reactions.is_empty() {
            let reaction = self.reactions[self.chance.index(self.reactions.len())];
            let actor = self.chance.index(self.cluster.len());
            let actor = if self.chance.happens(0.6) { self.victim(Victim::Leader, actor) } else { actor };
            self.react(&Reaction { wait: 0.0, ..reaction }, actor);
        }
        let next = self.cluster.now() + self.promise / 10 + self.span(4.0);
        self.plan_deed(next, Deed::Whim);
    }

    fn report(mut self, seed: u64) -> (Report, Chains) {
        let report = Report { wipes: self.wipes, ..Report::of(seed, &mut self.cluster) };
        (report, self.memory.chains)
    }
}

/// Promises of three or more heartbeats, and longer ones that may be asked for.
fn timing(chance: &mut Chance, drift: u32) -> Timing {
    let mut timing = Timing::of(Duration::from_millis(50));
    timing.promise = timing.heartbeat * [3, 3, 4][chance.index(3)];
    timing.election_timeout_min = timing.promise;
    timing.election_timeout_max = timing.promise * 2;
    timing.promise_max = timing.promise * [1, 1, 2, 4][chance.index(4)];
    timing.drift_ppm = drift;
    timing
}
