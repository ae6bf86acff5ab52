//! The phase in which everything goes wrong that the seed's mix holds.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::mix::{every_way, manners, micros, rate, reading};
use super::{Bias, Broken, Swarm};
use crate::message::RequestBody;
use crate::node::Input;
use crate::record::RecordId;
use crate::sim::chance::Chance;
use crate::sim::story::command::{Change, Command, DiskChange, Inject, Way};
use crate::sim::{Death, DiskManners};
use crate::types::{NodeId, Term, Time, TraceContext};

/// Something that chaos does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Crash,
    CrashAndReturn,
    Vanish,
    Start,
    Lose,
    Pause,
    Work,
    CutOneWay,
    Cut,
    Isolate,
    Open,
    Graph,
    Flap,
    Stall,
    Reset,
    ResetAndCut,
    Refuse,
    Drift,
    SlowDisk,
    FailDisk,
    Campaign,
    Resign,
    Transfer,
    Add,
    Remove,
    Proclaim,
    Shutdown,
    AskPromise,
    Intrude,
    Version,
}

pub(super) const ACTS: [Act; 30] = [
    Act::Crash,
    Act::CrashAndReturn,
    Act::Vanish,
    Act::Start,
    Act::Lose,
    Act::Pause,
    Act::Work,
    Act::CutOneWay,
    Act::Cut,
    Act::Isolate,
    Act::Open,
    Act::Graph,
    Act::Flap,
    Act::Stall,
    Act::Reset,
    Act::ResetAndCut,
    Act::Refuse,
    Act::Drift,
    Act::SlowDisk,
    Act::FailDisk,
    Act::Campaign,
    Act::Resign,
    Act::Transfer,
    Act::Add,
    Act::Remove,
    Act::Proclaim,
    Act::Shutdown,
    Act::AskPromise,
    Act::Intrude,
    Act::Version,
];

impl Act {
    /// Whether a mix with that bias may hold it.
    pub(super) fn suits(self, bias: Bias) -> bool {
        match bias {
            Bias::None => true,
            Bias::Promises => {
                use Act::{
                    AskPromise, Campaign, Crash, Cut, Open, Refuse, Reset, ResetAndCut, Resign, Start, Transfer,
                };
                [Crash, Start, Cut, Open, Reset, ResetAndCut, Refuse, Campaign, Resign, Transfer, AskPromise]
                    .contains(&self)
            }
            Bias::Disks => {
                use Act::{Campaign, Crash, Cut, Lose, Open, Proclaim, Reset, SlowDisk, Start};
                [Crash, Start, Lose, Cut, Open, SlowDisk, Campaign, Proclaim, Reset].contains(&self)
            }
            // A store that forgets has no disk to lose, and a machine that leaves is a restart.
            Bias::Volatile => !matches!(self, Act::Lose | Act::Intrude),
            Bias::Losses => false,
        }
    }
}

/// How chaos acts, and what it has in mind.
#[derive(Debug)]
pub(super) struct Chaos {
    pub(super) bias: Bias,
    /// How disks behave when nothing is done to them.
    pub(super) disk: DiskManners,
    pub(super) weights: Vec<(Act, u64)>,
    /// The mean time between two acts.
    pub(super) pace: Duration,
    pub(super) length: Duration,
    pub(super) chance: Chance,
    /// What will be done, in the order of time.
    pub(super) later: BTreeMap<(Time, u64), Command>,
}

impl Default for Chaos {
    fn default() -> Self {
        Chaos {
            bias: Bias::None,
            disk: DiskManners::steady(Duration::ZERO),
            weights: Vec::new(),
            pace: Duration::ZERO,
            length: Duration::ZERO,
            chance: Chance::stream(0, "chaos"),
            later: BTreeMap::new(),
        }
    }
}

impl Chaos {
    fn plan(&mut self, at: Time, command: Command) {
        let number = self.later.len() as u64;
        let number = self.later.last_key_value().map_or(number, |((_, last), _)| number.max(*last + 1));
        self.later.insert((at, number), command);
    }

    /// The next thing that was planned for `end` or before.
    fn due(&mut self, end: Time) -> Option<(Time, Command)> {
        let ((at, _), command) = self.later.first_key_value().filter(|((at, _), _)| *at <= end)?;
        let due = (*at, command.clone());
        self.later.pop_first();
        Some(due)
    }

    fn duration(&mut self, max: Duration) -> Duration {
        micros(self.chance.between((Duration::ZERO, max)))
    }

    fn draw_act(&mut self) -> Option<Act> {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.chance.below(total);
        let mut weights = self.weights.iter();
        let act = weights.find(|(_, weight)| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        act.map(|(act, _)| *act)
    }
}

impl Swarm {
    /// Acts at random moments, with a mean pace that the seed has drawn.
    pub(super) fn chaos(&mut self) -> Result<(), Broken> {
        // Most seeds begin with a cluster that stands: a first start needs every member at once.
        let settles = if self.chaos.chance.happens(0.9) { 6 } else { 0 };
        self.pass(self.stage.et * settles)?;
        let end = self.stage.cluster.now() + self.chaos.length;
        while self.stage.cluster.now() < end {
            let pace = self.chaos.pace * 2;
            let until = self.stage.cluster.now() + self.chaos.duration(pace);
            while let Some((at, command)) = self.chaos.due(until) {
                self.pass(at.since(self.stage.cluster.now()))?;
                self.order(command)?;
            }
            self.pass(until.since(self.stage.cluster.now()))?;
            let Some(act) = self.chaos.draw_act() else { continue };
            let at = self.any_or_leader();
            for command in self.deeds(act, at) {
                self.order(command)?;
            }
        }
        self.pass(Duration::ZERO)
    }

    pub(super) fn pass(&mut self, duration: Duration) -> Result<(), Broken> {
        self.order(Command::Run(duration))
    }

    /// Leaders are where most rules bite.
    fn any_or_leader(&mut self) -> usize {
        let nodes = self.stage.cluster.len();
        let leader = (0..nodes).find(|at| self.stage.leads(*at).is_some());
        let any = self.chaos.chance.index(nodes);
        leader.filter(|_| self.chaos.chance.happens(0.5)).unwrap_or(any)
    }

    fn deeds(&mut self, act: Act, at: usize) -> Vec<Command> {
        use Act::{
            Add, AskPromise, Campaign, Crash, CrashAndReturn, Cut, CutOneWay, Drift, FailDisk, Flap, Graph, Intrude,
            Isolate, Lose, Open, Pause, Proclaim, Refuse, Remove, Reset, ResetAndCut, Resign, Shutdown, SlowDisk,
            Stall, Start, Transfer, Vanish, Version, Work,
        };
        match act {
            Crash | CrashAndReturn | Vanish | Start | Lose | Pause | Work => self.harm_process(act, at),
            Drift | SlowDisk | FailDisk | Version => self.harm_machine(act, at),
            CutOneWay | Cut | Isolate | Open | Graph | Flap | Stall => self.harm_links(act, at),
            Reset | ResetAndCut | Refuse => self.harm_connections(act, at),
            Campaign | Resign | Transfer | Proclaim | Shutdown | AskPromise => {
                let input = self.order_of(act, at);
                vec![Command::Tell(at, input)]
            }
            Add | Remove => self.change_members(act),
            Intrude => self.intrude(at),
        }
    }

    fn harm_process(&mut self, act: Act, at: usize) -> Vec<Command> {
        let et = self.stage.et;
        let chance = &mut self.chaos.chance;
        match act {
            Act::Crash => vec![Command::Kill(vec![at], Death::Killed)],
            Act::Vanish => vec![Command::Kill(vec![at], Death::Vanished)],
            Act::CrashAndReturn => {
                let absence = et.mul_f64([0.0, 0.05, 1.0, 10.0][chance.index(4)]);
                let back = self.stage.cluster.now() + self.chaos.duration(absence);
                self.chaos.plan(back, Command::Start(vec![at]));
                vec![Command::Kill(vec![at], Death::Killed)]
            }
            Act::Lose => vec![Command::Lose(at)],
            Act::Pause => {
                let length = et.mul_f64([0.5, 2.0, 10.0][chance.index(3)]);
                vec![Command::Pause(at, self.chaos.duration(length))]
            }
            Act::Work => vec![Command::Work(vec![at], manners(et, self.chaos.bias, chance))],
            _ => {
                let down = (0..self.stage.cluster.len()).filter(|at| self.stage.cluster.node(*at).is_none());
                let down: Vec<usize> = down.collect();
                let rebooted: Vec<usize> = down.iter().copied().filter(|_| chance.happens(0.3)).collect();
                let drift = self.setting.timing.drift_ppm;
                let boot = |at| Command::Boot(at, reading(chance), rate(drift, chance));
                let mut deeds: Vec<Command> = rebooted.into_iter().map(boot).collect();
                deeds.extend((!down.is_empty()).then_some(Command::Start(down)));
                deeds
            }
        }
    }

    fn harm_machine(&mut self, act: Act, at: usize) -> Vec<Command> {
        let et = self.stage.et;
        let chance = &mut self.chaos.chance;
        let usual = self.chaos.disk.clone();
        match act {
            Act::Drift => vec![Command::Clock(at, rate(self.setting.timing.drift_ppm, chance))],
            Act::SlowDisk => {
                let slow = (chance.fraction() * 1000.0).ceil() / 1000.0;
                let disk = DiskManners { slow, slow_max: et * 10, ..usual };
                vec![Command::Disk(vec![at], DiskChange::Manners(disk))]
            }
            Act::FailDisk => {
                let full = chance.happens(0.5);
                let (full, fail) = if full { (1.0, usual.fail) } else { (usual.full, 1.0) };
                let disk = DiskManners { full, fail, ..usual.clone() };
                let repaired = self.stage.cluster.now() + self.chaos.duration(et * 3);
                self.chaos.plan(repaired, Command::Disk(vec![at], DiskChange::Manners(usual)));
                vec![Command::Disk(vec![at], DiskChange::Manners(disk))]
            }
            _ => {
                // One that is ahead, and one that is too old to be understood.
                let version = [2, 2, 0][chance.index(3)];
                let upgraded = self.stage.cluster.now() + self.chaos.duration(et * 5);
                self.chaos.plan(upgraded, Command::Version(at, 1));
                vec![Command::Version(at, version)]
            }
        }
    }

    fn harm_links(&mut self, act: Act, at: usize) -> Vec<Command> {
        let (et, nodes) = (self.stage.et, self.stage.cluster.len());
        let other = self.other(at);
        let pair = vec![(at, other), (other, at)];
        match act {
            Act::CutOneWay => vec![Command::Links(vec![(at, other)], Change::Cut)],
            Act::Cut => vec![Command::Links(pair, Change::Cut)],
            Act::Isolate => vec![Command::Links(star(at, nodes), Change::Cut)],
            Act::Graph => {
                let cuts = self.graph();
                let cut = |ways| Command::Links(ways, Change::Cut);
                let mut deeds = vec![Command::Links(every_way(nodes), Change::Open)];
                deeds.extend(cuts.into_iter().map(cut));
                deeds
            }
            Act::Flap => {
                let period = micros(et.mul_f64([0.02, 0.1, 0.5][self.chaos.chance.index(3)]));
                let times = 1 + self.chaos.chance.below(12);
                let mut when = self.stage.cluster.now();
                for time in 0..times {
                    let change = if time % 2 == 0 { Change::Open } else { Change::Cut };
                    when = when + period;
                    self.chaos.plan(when, Command::Links(pair.clone(), change));
                }
                vec![Command::Links(pair, Change::Cut)]
            }
            Act::Stall => {
                let ways = match self.chaos.chance.below(3) {
                    0 => pair,
                    1 => vec![(at, other)],
                    _ => star(at, nodes),
                };
                vec![Command::Links(ways, Change::Stall)]
            }
            _ => vec![Command::Links(every_way(nodes), Change::Open)],
        }
    }

    fn harm_connections(&mut self, act: Act, at: usize) -> Vec<Command> {
        let nodes = self.stage.cluster.len();
        let other = self.other(at);
        let to_all: Vec<Way> = (0..nodes).filter(|one| *one != at).map(|one| (one, at)).collect();
        match act {
            Act::Reset => vec![Command::Reset(vec![(other, at)])],
            // Cut off by resets, and alive: everybody holds evidence against a leader that still leads.
            Act::ResetAndCut => vec![Command::Links(star(at, nodes), Change::Cut), Command::Reset(to_all)],
            _ if self.setting.trust_refused => Vec::new(),
            _ if self.chaos.chance.happens(0.5) => vec![Command::Refuse(to_all)],
            _ => vec![Command::Refuse(vec![(other, at)])],
        }
    }

    fn other(&mut self, at: usize) -> usize {
        let nodes = self.stage.cluster.len();
        (at + 1 + self.chaos.chance.index(nodes - 1)) % nodes
    }

    /// Any connectivity graph, one-way links included, as what must be cut.
    pub(super) fn graph(&mut self) -> Vec<Vec<Way>> {
        let (nodes, chance) = (self.stage.cluster.len(), &mut self.chaos.chance);
        let density = chance.fraction();
        let mut cuts = Vec::new();
        for a in 0..nodes {
            for b in a + 1..nodes {
                if chance.happens(density) {
                    cuts.push(vec![(a, b), (b, a)]);
                } else if chance.happens(density * 0.3) {
                    cuts.push(if chance.happens(0.5) { vec![(a, b)] } else { vec![(b, a)] });
                }
            }
        }
        cuts
    }

    fn order_of(&mut self, act: Act, at: usize) -> Input {
        let nodes = self.stage.cluster.len();
        let chance = &mut self.chaos.chance;
        match act {
            Act::Campaign => Input::Campaign,
            Act::Resign => Input::Resign,
            Act::Transfer => {
                let to = chance.index(nodes + 1);
                Input::Transfer((to < nodes).then(|| self.stage.cluster.name(to).clone()))
            }
            Act::Proclaim => Input::Proclaim(Bytes::from(chance.below(1_000_000).to_string())),
            Act::Shutdown => Input::Shutdown,
            _ => {
                let max = self.stage.cluster.config(at).timing.promise_max;
                Input::AskPromise(micros(max.mul_f64(0.3 + 0.7 * chance.fraction())))
            }
        }
    }

    /// Whoever leads adds or removes somebody: often one that comes back.
    fn change_members(&mut self, act: Act) -> Vec<Command> {
        let nodes = self.stage.cluster.len();
        let Some((leader, _)) = self.stage.leaders().last().copied() else { return Vec::new() };
        let whom = self.other(leader);
        let spare = self.stage.founders + self.chaos.chance.index(nodes - self.stage.founders);
        let added = if spare < nodes && self.chaos.chance.happens(0.7) { spare } else { whom };
        let name = |at: usize| self.stage.cluster.name(at).clone();
        match act {
            Act::Add => vec![Command::Start(vec![added]), Command::Tell(leader, Input::AddMember(name(added)))],
            _ => vec![Command::Tell(leader, Input::RemoveMember(name(whom)))],
        }
    }

    /// A request that only a stranger, or a member gone mad, would send (S11, S13).
    fn intrude(&mut self, at: usize) -> Vec<Command> {
        let from = self.other(at);
        let chance = &mut self.chaos.chance;
        let Some(node) = self.stage.cluster.node(at) else { return Vec::new() };
        let heartbeat = RequestBody::AppendEntries {
            promise: node.config().timing.promise,
            record: None,
            committed: None,
            rank: None,
            election: TraceContext::NONE,
        };
        let bodies = [
            RequestBody::PreVote { last: None },
            RequestBody::RequestVote { last: None, transfer: None },
            RequestBody::TimeoutNow,
            RequestBody::Resign,
            heartbeat.clone(),
        ];
        let last = node.hard_state().last();
        let newer = |ahead: u64| {
            let last = last.unwrap_or_default();
            Some(RecordId { term: Term(last.term.0.max(node.term().0) + ahead), index: last.index + ahead })
        };
        let mut inject = Inject {
            way: (from, at),
            body: bodies[chance.index(bodies.len())].clone(),
            term: Term(node.term().0 + 1),
            from: None,
            cluster: None,
            incarnation: None,
            last,
            members: Vec::new(),
        };
        let stranger = "stranger";
        match chance.below(5) {
            0 => inject.cluster = Some("elsewhere".to_owned()),
            1 => inject.from = Some(stranger.to_owned()),
            2 => inject.term = Term(u64::MAX - chance.below(2)),
            kind => {
                // A record of its own making, under its own name or under that of a member.
                let ahead = [1, 1000][chance.index(2)];
                inject.term = Term(node.term().0 + ahead);
                inject.last = newer(ahead);
                inject.members = NodeId::new(stranger).into_iter().collect();
                if kind == 3 {
                    inject.from = Some(stranger.to_owned());
                } else {
                    inject.body = heartbeat;
                }
            }
        }
        vec![Command::Inject(inject)]
    }
}

/// All links of one machine, both ways.
pub(super) fn star(at: usize, machines: usize) -> Vec<Way> {
    (0..machines).filter(|other| *other != at).flat_map(|other| [(at, other), (other, at)]).collect()
}
