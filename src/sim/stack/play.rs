//! Plays a seed: everybody starts, things go wrong, things are well again, everybody leaves.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::book::Book;
use super::disk::{Disk, DiskHabits};
use super::judge::{Judge, Scene};
use super::machine::{Ether, Machine};
use super::mix::Mix;
use super::user::Process;
use super::world::{LaneId, Step, World, lock, panic_quietly};
use crate::clock::Clock as Handle;
use crate::config::Timing;
use crate::driver::StartWhen;
use crate::elector::Elector;
use crate::event::Event;
use crate::message::RequestId;
use crate::observer::Propagator;
use crate::sim::chance::Chance;
use crate::sim::clock::Clock;
use crate::sim::log::Detail;
use crate::transport::Health;
use crate::transport::memory::MemoryNetwork;
use crate::types::{GroupId, NodeId, Time, TraceContext};

/// A run takes no more turns than this: a loop that never rests is a fault.
const TURNS_MAX: u64 = 3_000_000;

pub(super) struct Play {
    pub(super) world: World,
    pub(super) book: Book,
    pub(super) starts: usize,
    seed: u64,
    mix: Mix,
    timing: Timing,
    network: MemoryNetwork,
    names: Arc<Vec<NodeId>>,
    disks: Vec<Disk>,
    clocks: Vec<Clock>,
    processes: Vec<Option<Process>>,
    back: Vec<Option<Time>>,
    cuts: Vec<(Time, usize, usize)>,
    whims: Chance,
    judge: Judge,
    /// Faults are over.
    calm: bool,
}

impl Play {
    pub(super) fn new(seed: u64, detail: Detail) -> Play {
        let mix = Mix::draw(seed);
        let world = World::new(seed);
        let ether: Arc<Ether> = Arc::new(Ether::new(&world));
        let network = MemoryNetwork::with_clock(seed, Handle::simulated(ether));
        network.shape_all(|link| {
            link.delay = mix.delay.0..mix.delay.1;
            link.loss = mix.loss;
        });
        let names = ["a", "b", "c", "d", "e"].iter().take(mix.members).filter_map(|name| NodeId::new(name).ok());
        let timing = Timing::default();
        let mut rates = Chance::stream(seed, "clock rates");
        let drift = i64::from(timing.drift_ppm);
        let clocks = (0..mix.members).map(|_| {
            let ppm = match mix.clocks {
                true => rates.below(drift as u64 * 2) as i64 - drift,
                false => 0,
            };
            Clock::new(Time(1), Time(1 + rates.below(10_000_000_000)), i32::try_from(ppm).unwrap_or(0))
        });
        let hang = timing.election_timeout_min * 8;
        let disk = |at| {
            let disk = Disk::new(Chance::stream(seed, &format!("disk {at}")));
            disk.set_habits(DiskHabits {
                takes: (Duration::from_micros(100), Duration::from_millis(4)),
                hangs: mix.disk_hangs,
                hang,
                fails: mix.disk_fails,
                panics: mix.disk_panics,
            });
            disk
        };
        Play {
            book: Book::new(&world, mix.members, detail),
            starts: 0,
            seed,
            timing,
            network,
            names: Arc::new(names.collect()),
            disks: (0..mix.members).map(disk).collect(),
            clocks: clocks.collect(),
            processes: vec![None; mix.members],
            back: vec![None; mix.members],
            cuts: Vec::new(),
            whims: Chance::stream(seed, "stack whims"),
            judge: Judge::new(mix.members),
            calm: true,
            world,
            mix,
        }
    }

    fn timeouts(&self, count: u32) -> Duration {
        self.timing.election_timeout_min * count
    }

    pub(super) fn play(&mut self) {
        for at in 0..self.mix.members {
            self.start(at);
        }
        self.run(self.timeouts(8));
        let length = 20 + u32::try_from(self.whims.below(30)).unwrap_or(0);
        let end = self.world.now() + self.timeouts(length);
        while self.world.now() < end && self.book.violation().is_none() {
            self.have_a_whim();
            let wait = self.whims.between((self.timeouts(1) / 4, self.timeouts(3)));
            self.run(wait);
        }
        self.calm_down();
        self.run(self.timeouts(20));
        self.part();
    }

    /// Starts a process at `at`, unless one runs.
    fn start(&mut self, at: usize) {
        let Some(disk) = self.disks[at].open(&self.world) else { return };
        self.starts += 1;
        self.book.forget(at);
        let life = self.starts;
        let chance = |what: &str| Chance::stream(self.seed, &format!("{what} of life {life}"));
        let machine = Machine::new(&self.world, self.clocks[at].clone(), chance("chance"));
        let process = Process {
            at,
            world: self.world.clone(),
            machine: machine.clone(),
            book: self.book.clone(),
            usage: self.mix.usage[at].clone(),
            elector: Arc::default(),
            vault: Arc::default(),
            chance: Arc::new(Mutex::new(chance("user"))),
            timeout: self.timing.election_timeout_min,
            drain_limit: self.mix.drain_limit,
            fleeting: self.mix.fleeting,
            abandoned: Arc::default(),
            members: self.names.clone(),
        };
        let mut fragile = chance("fragile");
        let mut left = if self.mix.observer_panics { fragile.below(200) } else { u64::MAX };
        let fragile_observer = move |_: &Event| left = left.checked_sub(1).unwrap_or_else(|| panic_quietly());
        let propagator_left = if self.mix.propagator_panics { fragile.below(100) } else { u64::MAX };
        let witness = self.book.clone();
        let builder = Elector::builder()
            .cluster("sim")
            .node(self.names[at].as_str())
            .members(self.names.iter().map(NodeId::as_str))
            .timing(self.timing.clone())
            .storage(disk)
            .transport(self.network.transport(&self.names[at]))
            .drain_limit(self.mix.drain_limit)
            .start_when(if self.mix.elected { StartWhen::Elected } else { StartWhen::Exclusive })
            .observer(move |event: &Event| witness.event(event))
            .observer(fragile_observer)
            .propagator(Fragile(propagator_left))
            .clock(Handle::simulated(machine.clone()));
        let builder = if self.mix.on_current_runtime { builder.on_current_runtime() } else { builder };
        self.world.spawn(machine.user, Box::pin(process.clone().start(builder, self.mix.turn)));
        self.book.note(&self.names[at], "starts");
        self.processes[at] = Some(process);
    }

    fn kill(&mut self, at: usize) {
        let Some(process) = self.processes[at].take() else { return };
        self.book.note(&self.names[at], "dies");
        self.network.kill(&self.names[at]);
        process.machine.kill();
        lock(&process.vault).clear();
        *lock(&process.elector) = None;
        self.disks[at].kill(self.world.now());
    }

    /// Something happens that nothing has led to.
    fn have_a_whim(&mut self) {
        let at = self.victim();
        let name = self.names[at].clone();
        let span = self.whims.between((Duration::from_millis(1), self.timeouts(3)));
        let span = if self.whims.happens(0.2) { span * 3 } else { span };
        if self.whims.happens(self.mix.driver_stalls) {
            // Often for about as long as a lease.
            let near = self.whims.happens(0.6);
            let about = self.whims.between((self.timing.promise / 2, self.timing.promise * 11 / 10));
            self.stall(at, "hustings", if near { about } else { span });
            if self.whims.happens(0.3) {
                self.isolate(at, span);
            }
        }
        if self.whims.happens(self.mix.writer_stalls) {
            self.stall(at, "hustings-writer", span);
        }
        if self.whims.happens(self.mix.user_stalls)
            && let Some(process) = &self.processes[at]
        {
            self.book.note(&name, "blocks its runtime");
            self.world.stall(process.machine.user, span);
        }
        if self.whims.happens(self.mix.kills) {
            self.kill(at);
            self.back[at] = Some(self.world.now() + span);
        }
        if self.whims.happens(self.mix.cuts) {
            let other = self.whims.index(self.mix.members);
            if other != at {
                self.book.note(&name, "is cut off one way");
                self.network.cut(&name, &self.names[other]);
                self.cuts.push((self.world.now() + span, at, other));
                if self.whims.happens(0.5) {
                    self.network.cut(&self.names[other], &name);
                    self.cuts.push((self.world.now() + span, other, at));
                }
            }
        }
        self.mend_what_is_due();
    }

    /// Mostly whoever leads.
    fn victim(&mut self) -> usize {
        let leads = |process: &Option<Process>| {
            let elector = process.as_ref().and_then(Process::elector);
            elector.is_some_and(|elector| elector.view().role == crate::event::Role::Leader)
        };
        let leader = self.processes.iter().position(leads);
        let any = self.whims.index(self.mix.members);
        if self.whims.happens(0.6) { leader.unwrap_or(any) } else { any }
    }

    fn stall(&mut self, at: usize, thread: &str, span: Duration) {
        let Some(process) = &self.processes[at] else { return };
        let lane = process.machine.thread_named(thread).or((thread == "hustings").then_some(process.machine.user));
        if let Some(lane) = lane {
            self.book
                .note(&self.names[at], if thread == "hustings" { "its driver stands" } else { "its writer stands" });
            self.world.stall(lane, span);
        }
    }

    fn isolate(&mut self, at: usize, span: Duration) {
        let until = self.world.now() + span;
        self.book.note(&self.names[at], "is isolated");
        self.network.isolate(&self.names[at], &self.names);
        for other in (0..self.mix.members).filter(|other| *other != at) {
            self.cuts.extend([(until, at, other), (until, other, at)]);
        }
    }

    fn mend_what_is_due(&mut self) {
        let now = self.world.now();
        for at in 0..self.mix.members {
            if self.back[at].take_if(|due| *due <= now).is_some() {
                self.start(at);
            }
        }
        let (due, cuts) = std::mem::take(&mut self.cuts).into_iter().partition(|(until, ..)| *until <= now);
        self.cuts = cuts;
        let due: Vec<(Time, usize, usize)> = due;
        for (_, from, to) in due {
            if !self.cuts.iter().any(|(_, a, b)| (*a, *b) == (from, to)) {
                self.network.heal(&self.names[from], &self.names[to]);
            }
        }
    }

    /// Everything is well again.
    fn calm_down(&mut self) {
        self.cuts.clear();
        self.network.heal_all();
        self.network.shape_all(|link| link.loss = 0.0);
        for at in 0..self.mix.members {
            self.disks[at].set_habits(DiskHabits {
                takes: (Duration::from_micros(100), Duration::from_millis(4)),
                ..DiskHabits::default()
            });
            if let Some(process) = &self.processes[at] {
                for lane in process.machine.threads().into_iter().chain([process.machine.user]) {
                    self.world.resume(lane);
                }
            }
            self.back[at] = None;
            self.start(at);
        }
        self.mix.loss = 0.0;
        self.calm = true;
    }

    /// Everybody leaves, and leaves nothing behind.
    fn part(&mut self) {
        if self.book.violation().is_some() {
            return;
        }
        let bound = self.mix.drain_limit + self.timing.election_timeout_max * 2 + Duration::from_secs(3);
        for process in self.processes.iter().flatten() {
            let Some(elector) = process.elector() else { continue };
            let own = process.clone();
            let (disk, network, name) = (self.disks[own.at].clone(), self.network.clone(), self.names[own.at].clone());
            let body = async move {
                let _call = own.book.call(own.at, "shutdown", bound);
                elector.shutdown().await;
                let left = [
                    (disk.is_held(), "the lock of its disk"),
                    (network.listens(&name), "its listener"),
                    (elector.health() != Health::Stopped, "its health"),
                ];
                for (_, what) in left.into_iter().filter(|(left, _)| *left) {
                    own.book.report("shutdown", format!("member {} has left, but for {what}", own.at));
                }
            };
            self.world.spawn(process.machine.user, Box::pin(body));
        }
        self.run(bound);
        self.run(self.timeouts(2));
        for process in self.processes.iter().flatten() {
            if process.abandoned.load(Ordering::Relaxed) && self.network.listens(&self.names[process.at]) {
                self.book.report("start", format!("member {} was given up in its start, and listens", process.at));
            }
            let threads: Vec<LaneId> = process.machine.threads();
            if let Some(lane) = threads.into_iter().find(|lane| self.world.tasks(*lane) > 0) {
                let text = format!("member {} left tasks on its thread {}", process.at, self.world.name(lane));
                self.book.report("shutdown", text);
            }
        }
    }

    /// Runs for so long, or until a property does not hold.
    fn run(&mut self, length: Duration) {
        let end = self.world.now() + length;
        loop {
            if self.book.violation().is_some() {
                return;
            }
            match self.world.step() {
                Step::Turn if self.world.polls() > TURNS_MAX => {
                    return self.book.report("V10", format!("takes {TURNS_MAX} turns"));
                }
                Step::Turn => {}
                Step::Rest(next) => {
                    let next = next.min(end);
                    self.rest(next);
                    if self.world.now() >= end {
                        return;
                    }
                    self.world.advance(next);
                }
            }
        }
    }

    fn rest(&mut self, until: Time) {
        let steady = self.mix.loss == 0.0 && self.cuts.is_empty();
        let scene = Scene {
            world: &self.world,
            book: &self.book,
            processes: &self.processes,
            timing: &self.timing,
            drain_limit: self.mix.drain_limit,
            calm: self.calm && steady,
        };
        self.judge.rest(&scene, until);
    }

    /// Nothing of a run outlives it.
    pub(super) fn end(&mut self) {
        for at in 0..self.mix.members {
            self.kill(at);
        }
    }
}

/// A propagator that panics at some question.
struct Fragile(u64);

impl Fragile {
    fn asked(&mut self) -> TraceContext {
        self.0 = self.0.checked_sub(1).unwrap_or_else(|| panic_quietly());
        TraceContext::NONE
    }
}

impl Propagator for Fragile {
    fn request(&mut self, _: &GroupId, _: RequestId) -> TraceContext {
        self.asked()
    }
    fn election(&mut self, _: &GroupId) -> TraceContext {
        self.asked()
    }
}
