//! Faults by the thousand: each seed draws its own mix, with many probabilities at zero, and runs it through phases: chaos,
//! a frozen network with a quorum-connected node, darkness without one, healing, and a quiet time with small disturbances.
//!
//! What a seed does is data: every act becomes a command of a [story](super::story), and so does every liveness property
//! that must hold afterwards. [`story`] writes them down; told, they give the same run to the last event.

use std::fmt;

mod chaos;
mod mix;
mod phases;

use super::story::command::{Command, Setting};
use super::story::print;
use super::story::stage::Stage;
use super::{Cluster, Detail, Figures, Violation};

use self::chaos::Chaos;
use self::mix::Mix;

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
    /// What else was measured.
    pub figures: Figures,
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
    /// To stores that forget at a restart. What their documentation does not promise is not checked.
    Volatile,
    /// To nothing but the loss of every tenth message, for a thousand election timeouts (V12).
    Losses,
}

impl Bias {
    /// Every bias.
    pub const ALL: [Bias; 5] = [Bias::None, Bias::Promises, Bias::Disks, Bias::Volatile, Bias::Losses];

    /// Its name in commands: `promises`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Bias::None => "none",
            Bias::Promises => "promises",
            Bias::Disks => "disks",
            Bias::Volatile => "volatile",
            Bias::Losses => "losses",
        }
    }
}

/// Runs a seed. With [`Detail::All`] the report holds everything that happened.
#[must_use]
pub fn run(seed: u64, bias: Bias, detail: Detail) -> Report {
    let Swarm { mut stage, .. } = Swarm::play(seed, bias, detail);
    let Stage { losses, figures, .. } = stage;
    Report { wipes: losses, settled: figures.settled, figures, ..Report::of(seed, &mut stage.cluster) }
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
            figures: Figures::default(),
            log: cluster.take_log(),
        }
    }
}

/// The seed's run as a story: its setting and everything that was done. Told, it gives the same events, and ends in the
/// same violation if there is one.
#[must_use]
pub fn story(seed: u64, bias: Bias) -> String {
    let swarm = Swarm::play(seed, bias, Detail::Hash);
    let came_to = swarm.stage.cluster.violation().map_or("every property holds".to_owned(), ToString::to_string);
    let script = print::script(&swarm.setting, &swarm.script);
    format!("# Seed {seed}, bias {}: {came_to}.\n{script}", bias.code())
}

/// The setting of a seed and what was done in it, up to the violation.
pub(super) fn script(seed: u64, bias: Bias) -> (Setting, Vec<Command>, Option<Violation>) {
    let swarm = Swarm::play(seed, bias, Detail::Hash);
    let violation = swarm.stage.cluster.violation().cloned();
    (swarm.setting, swarm.script, violation)
}

/// A seed's run.
struct Swarm {
    setting: Setting,
    stage: Stage,
    chaos: Chaos,
    /// What was done.
    script: Vec<Command>,
}

/// Nothing more is to be done: a property did not hold.
struct Broken;

impl Swarm {
    fn play(seed: u64, bias: Bias, detail: Detail) -> Swarm {
        let Mix { setting, furnishing, chaos } = mix::draw(seed, bias);
        let Ok(stage) = Stage::new(&setting, detail) else {
            unreachable!("the names are valid");
        };
        let mut swarm = Swarm { setting, stage, chaos, script: Vec::new() };
        let _ = if bias == Bias::Losses { swarm.lose_messages(furnishing) } else { swarm.phases(furnishing) };
        swarm
    }

    /// Does something, and writes it down.
    fn order(&mut self, command: Command) -> Result<(), Broken> {
        self.stage.obey(&command);
        self.script.push(command);
        if self.stage.is_broken() { Err(Broken) } else { Ok(()) }
    }
}
