//! What a seed draws before it begins: its setting, the manners of links, disks, clocks and users, and how chaos acts.

use std::time::Duration;

use super::Bias;
use super::chaos::{ACTS, Act, Chaos};
use crate::config::Timing;
use crate::sim::chance::Chance;
use crate::sim::story::command::{Change, Command, DiskChange, Setting, Stray, Way};
use crate::sim::{DiskManners, Faults, Link, Manners, StartWhen};
use crate::types::{Time, nanos};

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// Machines that are no members at first.
const SPARES: [&str; 2] = ["x", "y"];

/// What a seed has drawn.
pub(super) struct Mix {
    pub(super) setting: Setting,
    /// What is done before anything starts.
    pub(super) furnishing: Vec<Command>,
    pub(super) chaos: Chaos,
}

pub(super) fn draw(seed: u64, bias: Bias) -> Mix {
    let mut chance = Chance::stream(seed, "mix");
    let setting = setting(seed, bias, &mut chance);
    let et = setting.timing.election_timeout_min;
    let nodes = setting.founders();
    let disk = disk(et, bias, &mut chance);
    let drawn = ACTS.iter().filter(|act| act.suits(bias)).map(|act| (*act, chance.below(10)));
    let mut weights: Vec<(Act, u64)> = drawn.map(|(act, weight)| (act, weight.saturating_sub(4))).collect();
    weights.push((Act::Start, 3));
    weights.push((Act::Open, 2));
    let pace = et.mul_f64([0.05, 0.2, 0.5, 1.0, 2.0][chance.index(5)]);
    let length = et * (15 + u32::try_from(chance.below(20)).unwrap_or(0));
    let mut furnishing = vec![
        Command::Links(every_way(setting.names().len()), Change::Manners(link(et, &mut chance))),
        Command::Disk((0..setting.names().len()).collect(), DiskChange::Manners(disk.clone())),
        Command::Faults(faults(et, bias, &mut chance)),
    ];
    furnishing.extend((0..nodes).map(|at| Command::Work(vec![at], manners(et, bias, &mut chance))));
    let drifts = chance.happens(0.6);
    for at in 0..setting.names().len() {
        let ppm = if drifts { rate(setting.timing.drift_ppm, &mut chance) } else { 0 };
        furnishing.push(Command::Boot(at, reading(&mut chance), ppm));
    }
    let chaos = Chaos { bias, disk, weights, pace, length, chance: Chance::stream(seed, "chaos"), ..Chaos::default() };
    Mix { setting, furnishing, chaos }
}

fn setting(seed: u64, bias: Bias, chance: &mut Chance) -> Setting {
    let mut timing = Timing::of(Duration::from_millis([50, 50, 50, 10, 200][chance.index(5)]));
    if chance.happens(0.4) {
        timing.promise_max = micros(timing.promise.mul_f64(1.0 + 2.0 * chance.fraction()));
    }
    if chance.happens(0.3) {
        timing.drift_ppm = [1_000, 50_000][chance.index(2)];
    }
    let nodes = NAMES[..[3, 3, 3, 5, 5, 2, 4, 7, 6][chance.index(9)]].iter().map(ToString::to_string).collect();
    let mut setting = Setting { nodes, seed, timing, ..Setting::new() };
    setting.priorities = (0..setting.nodes.len()).map(|at| (at, 50 + (chance.below(100) & 0x7f) as u8)).collect();
    setting.trust_refused = chance.happens(0.15);
    setting.volatile = bias == Bias::Volatile;
    let spares = if bias == Bias::None { [0, 0, 0, 1, 1, 2][chance.index(6)] } else { 0 };
    if spares > 0 {
        setting.founders = Some(setting.nodes.len());
    }
    for name in &SPARES[..spares] {
        let mut stray = Stray { node: setting.nodes.len(), cluster: None, timing: None };
        setting.nodes.push((*name).to_owned());
        match chance.below(6) {
            0 => stray.cluster = Some("elsewhere".to_owned()),
            1 => stray.timing = Some(Timing::of(setting.timing.heartbeat * 2)),
            _ => continue,
        }
        setting.strays.push(stray);
    }
    setting
}

fn link(et: Duration, chance: &mut Chance) -> Link {
    let high = micros(et.mul_f64([0.01, 0.03, 0.1, 0.4][chance.index(4)]));
    Link {
        delay: (micros(high.mul_f64(chance.fraction())), high),
        loss: sometimes(chance, 0.3, 0.3),
        duplicate: sometimes(chance, 0.3, 0.3),
        tail: sometimes(chance, 0.3, 0.1),
        tail_max: et * 3,
        ..Link::steady(high)
    }
}

fn disk(et: Duration, bias: Bias, chance: &mut Chance) -> DiskManners {
    let fails = !matches!(bias, Bias::Promises | Bias::Losses);
    let high = micros(et.mul_f64([0.005, 0.05, 0.3][chance.index(3)]));
    DiskManners {
        write: (Duration::ZERO, high),
        slow: sometimes(chance, 0.4, 0.2),
        slow_max: et * [1, 3, 10][chance.index(3)],
        fail: if fails { sometimes(chance, 0.15, 0.05) } else { 0.0 },
        full: if fails { sometimes(chance, 0.1, 0.05) } else { 0.0 },
        rot: sometimes(chance, 0.3, 0.5),
    }
}

fn faults(et: Duration, bias: Bias, chance: &mut Chance) -> Faults {
    Faults {
        crash_in_step: if bias == Bias::Promises { 0.0 } else { sometimes(chance, 0.3, 0.01) },
        absence: (Duration::ZERO, et * 2),
        stray_reply: sometimes(chance, 0.3, 0.5),
        truncate: sometimes(chance, 0.1, 0.05),
        corrupt: sometimes(chance, 0.1, 0.05),
        replay: sometimes(chance, 0.2, 0.1),
        replay_max: et * 10,
    }
}

/// A user that works when it may, and goes on for a while, ends soon by itself, or never works.
pub(super) fn manners(et: Duration, bias: Bias, chance: &mut Chance) -> Manners {
    let linger = micros(et.mul_f64([0.0, 0.1, 1.0, 5.0][chance.index(4)]));
    let starts = if bias == Bias::Promises { 2 } else { 4 };
    let brief = bias != Bias::Promises && chance.happens(0.1);
    Manners {
        start: [Some(StartWhen::Exclusive), Some(StartWhen::Exclusive), Some(StartWhen::Elected), None]
            [chance.index(starts)],
        hesitation: (Duration::ZERO, micros(et.mul_f64([0.0, 0.5][chance.index(2)]))),
        linger: (Duration::ZERO, linger),
        length: brief.then_some((Duration::ZERO, et * [0, 5][chance.index(2)])),
    }
}

/// A clock's rate, within the bound.
pub(super) fn rate(drift_ppm: u32, chance: &mut Chance) -> i32 {
    let drift = i32::try_from(drift_ppm).unwrap_or(0);
    [-drift, -drift * 9 / 10, 0, drift * 9 / 10, drift][chance.index(5)]
}

/// What a clock shows when its machine boots.
pub(super) fn reading(chance: &mut Chance) -> Time {
    Time(nanos(Duration::from_micros(1 + chance.below(10_000_000))))
}

/// Both ways of all links.
pub(super) fn every_way(machines: usize) -> Vec<Way> {
    let all = 0..machines;
    all.clone().flat_map(|a| all.clone().map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
}

/// Stories know whole microseconds.
pub(super) fn micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// A probability up to `max`, in thousandths; more often than not zero.
fn sometimes(chance: &mut Chance, probability: f64, max: f64) -> f64 {
    if chance.happens(probability) { (chance.fraction() * max * 1000.0).ceil() / 1000.0 } else { 0.0 }
}
