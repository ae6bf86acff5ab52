//! From a failing seed to a short story: what does not matter is left out, as long as the same property does not hold.
//!
//! Commands are left out in halves, quarters and so on down to single ones (delta debugging); then nodes, faults, drift and
//! work; then the times between commands become short and round. All of it is deterministic.

use std::time::Duration;

use super::check::Violation;
use super::story::command::{Change, Command, DiskChange, Setting};
use super::story::stage::Stage;
use super::story::{Story, print};
use super::swarm::{self, Bias};
use super::{Detail, DiskManners, Faults, Link, Manners};
use crate::config::Timing;
use crate::types::Time;

mod cuts;

use cuts::without_node;

/// A failing seed, made short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The property that does not hold, in the seed and in the story.
    pub property: &'static str,
    /// The story with its output, ready for `tests/stories`.
    pub story: String,
    /// How many commands it has, its setting included.
    pub commands: usize,
    /// How many it had.
    pub commands_before: usize,
    /// How many runs that took.
    pub runs: usize,
}

/// Makes a short story of a seed in which a property does not hold, in at most `runs` runs: 2000 are plenty. `None` if all
/// hold.
#[must_use]
pub fn shrink(seed: u64, bias: Bias, runs: usize) -> Option<Shrunk> {
    let (setting, commands, violation) = swarm::script(seed, bias);
    let violation = violation?;
    let commands_before = commands.len();
    let best = Candidate { setting, commands: merged(commands) };
    let mut search = Search { property: violation.property, best, violation, left: runs };
    search.shrink();
    let Search { best, violation, left, .. } = search;
    let script = print::script(&best.setting, &best.commands);
    let header = format!("# Seed {seed}, bias {}: {violation}.\n", bias.code());
    let property = violation.property;
    let told = Story::parse("story", &(header.clone() + &script)).map(|story| story.tell().text);
    Some(Shrunk {
        property,
        story: told.unwrap_or(header + &script),
        commands: script.lines().count(),
        commands_before,
        runs: runs - left,
    })
}

/// A script.
#[derive(Debug, Clone)]
struct Candidate {
    setting: Setting,
    commands: Vec<Command>,
}

impl Candidate {
    /// Runs it. What follows the violation is of no use.
    fn run(&self) -> Option<(Violation, usize)> {
        let mut stage = Stage::new(&self.setting, Detail::Hash).ok()?;
        for (at, command) in self.commands.iter().enumerate() {
            stage.obey(command);
            if let Some(violation) = stage.cluster.violation() {
                return Some((violation.clone(), at + 1));
            }
        }
        None
    }
}

/// The shortest script so far, and how many runs may still be made.
struct Search {
    property: &'static str,
    best: Candidate,
    violation: Violation,
    left: usize,
}

impl Search {
    fn shrink(&mut self) {
        loop {
            let before = (self.best.commands.len(), self.best.setting.nodes.len(), self.total_time());
            self.leave_out_commands();
            self.leave_out_nodes();
            self.simplify_setting();
            self.simplify_commands();
            self.shorten_times();
            let after = (self.best.commands.len(), self.best.setting.nodes.len(), self.total_time());
            if after == before || self.left == 0 {
                return;
            }
        }
    }

    /// Whether the same property still does not hold; then this is the best.
    fn accept(&mut self, mut candidate: Candidate) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        match candidate.run() {
            Some((violation, len)) if violation.property == self.property => {
                candidate.commands.truncate(len);
                self.best = candidate;
                self.violation = violation;
                true
            }
            _ => false,
        }
    }

    /// Delta debugging: parts of the script, from large to small.
    fn leave_out_commands(&mut self) {
        let mut part = self.best.commands.len().div_ceil(2);
        while part > 0 && self.left > 0 {
            let mut at = 0;
            while at < self.best.commands.len() {
                let mut commands = self.best.commands.clone();
                commands.drain(at..(at + part).min(commands.len()));
                if !self.accept(Candidate { commands: merged(commands), ..self.best.clone() }) {
                    at += part;
                }
            }
            part /= 2;
        }
    }

    fn leave_out_nodes(&mut self) {
        for at in (0..self.best.setting.names().len()).rev() {
            if let Some((setting, commands)) = without_node(&self.best.setting, &self.best.commands, at) {
                self.accept(Candidate { setting, commands });
            }
        }
    }

    fn simplify_setting(&mut self) {
        // Required times are absolute: the interval of heartbeats, from which they follow, stays.
        let usual = Timing::of(self.best.setting.timing.heartbeat);
        let simpler: [fn(&mut Setting, &Timing); 5] = [
            |setting, _| setting.priorities.clear(),
            |setting, _| setting.trust_refused = false,
            |setting, _| setting.volatile = false,
            |setting, usual| setting.timing = usual.clone(),
            |setting, usual| {
                setting.timing = Timing { promise_max: setting.timing.promise_max, ..usual.clone() };
            },
        ];
        for simplify in simpler {
            let mut setting = self.best.setting.clone();
            simplify(&mut setting, &usual);
            if setting != self.best.setting {
                self.accept(Candidate { setting, ..self.best.clone() });
            }
        }
    }

    fn simplify_commands(&mut self) {
        for at in 0..self.best.commands.len() {
            for simpler in self.best.commands.get(at).map(simpler).unwrap_or_default() {
                let mut candidate = self.best.clone();
                candidate.commands[at] = simpler;
                self.accept(candidate);
                if at >= self.best.commands.len() {
                    return;
                }
            }
        }
    }

    /// Times become short, then round.
    fn shorten_times(&mut self) {
        for at in 0..self.best.commands.len() {
            while let Some(Command::Run(length)) = self.best.commands.get(at) {
                let millis = |length: Duration| Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(0));
                let tries = [*length / 4, *length / 2, *length * 3 / 4, millis(*length)];
                let length = *length;
                let shorter = tries.into_iter().map(micros).filter(|shorter| *shorter < length);
                let shortened = shorter.into_iter().any(|shorter| {
                    let mut candidate = self.best.clone();
                    candidate.commands[at] = Command::Run(shorter);
                    self.accept(candidate)
                });
                if !shortened {
                    break;
                }
            }
        }
    }

    fn total_time(&self) -> Duration {
        let runs = self.best.commands.iter().map(|command| match command {
            Command::Run(length) => *length,
            _ => Duration::ZERO,
        });
        runs.sum()
    }
}

/// Two runs in a row are one.
fn merged(commands: Vec<Command>) -> Vec<Command> {
    let mut merged: Vec<Command> = Vec::with_capacity(commands.len());
    for command in commands {
        match (merged.last_mut(), command) {
            (Some(Command::Run(before)), Command::Run(length)) => *before += length,
            (_, Command::Run(length)) if length.is_zero() => {}
            (_, command) => merged.push(command),
        }
    }
    merged
}

fn micros(length: Duration) -> Duration {
    Duration::from_micros(u64::try_from(length.as_micros()).unwrap_or(u64::MAX))
}

/// The same with fewer faults, the simplest first.
fn simpler(command: &Command) -> Vec<Command> {
    match command {
        Command::Links(ways, Change::Manners(link)) => {
            let steady = Link::steady(micros(link.delay.0.max(Duration::from_millis(1))));
            let drop: [fn(&mut Link); 4] = [
                |link| link.loss = 0.0,
                |link| link.duplicate = 0.0,
                |link| link.tail = 0.0,
                |link| link.delay = (link.delay.1, link.delay.1),
            ];
            let fewer = drop.iter().map(|drop| with(link, *drop)).filter(|fewer| fewer != link);
            [steady].into_iter().chain(fewer).map(|l| Command::Links(ways.clone(), Change::Manners(l))).collect()
        }
        Command::Disk(nodes, DiskChange::Manners(disk)) => {
            let drop: [fn(&mut DiskManners); 5] = [
                |disk| disk.slow = 0.0,
                |disk| disk.fail = 0.0,
                |disk| disk.full = 0.0,
                |disk| disk.rot = 0.0,
                |disk| disk.write = (disk.write.1, disk.write.1),
            ];
            let steady = DiskManners::steady(Duration::from_millis(1));
            let fewer = drop.iter().map(|drop| with(disk, *drop)).filter(|fewer| fewer != disk);
            let disks = [steady].into_iter().chain(fewer);
            disks.map(|disk| Command::Disk(nodes.clone(), DiskChange::Manners(disk))).collect()
        }
        Command::Faults(faults) => {
            let drop: [fn(&mut Faults); 5] = [
                |faults| faults.crash_in_step = 0.0,
                |faults| faults.stray_reply = 0.0,
                |faults| faults.truncate = 0.0,
                |faults| faults.corrupt = 0.0,
                |faults| faults.replay = 0.0,
            ];
            drop.iter().map(|drop| with(faults, *drop)).filter(|fewer| fewer != faults).map(Command::Faults).collect()
        }
        Command::Work(nodes, manners) => {
            let drop: [fn(&mut Manners); 3] = [
                |manners| manners.length = None,
                |manners| manners.hesitation = (Duration::ZERO, Duration::ZERO),
                |manners| manners.linger = (manners.linger.1, manners.linger.1),
            ];
            let fewer = drop.iter().map(|drop| with(manners, *drop)).filter(|fewer| fewer != manners);
            fewer.map(|manners| Command::Work(nodes.clone(), manners)).collect()
        }
        Command::Boot(at, _, ppm) => {
            vec![Command::Boot(*at, Time(1_000_000_000), 0), Command::Boot(*at, Time(1_000_000_000), *ppm)]
        }
        Command::Start(nodes) if nodes.len() > 1 => nodes.iter().map(|at| Command::Start(vec![*at])).collect(),
        _ => Vec::new(),
    }
}

fn with<T: Clone>(value: &T, change: fn(&mut T)) -> T {
    let mut changed = value.clone();
    change(&mut changed);
    changed
}
