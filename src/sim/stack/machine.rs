//! A process: its clock, its chance and its threads, as the library's own seam sees them.

use std::sync::{Arc, Mutex};

use super::world::{LaneId, World, lock};
use crate::clock::{Errand, Simulated};
use crate::sim::chance::Chance;
use crate::sim::clock::Clock;
use crate::types::Time;

/// One life of a process.
#[derive(Debug)]
pub(super) struct Machine {
    world: World,
    clock: Clock,
    chance: Mutex<Chance>,
    /// The user's own runtime.
    pub(super) user: LaneId,
    threads: Mutex<Vec<LaneId>>,
}

impl Machine {
    pub(super) fn new(world: &World, clock: Clock, chance: Chance) -> Arc<Machine> {
        let user = world.lane("user");
        Arc::new(Machine { world: world.clone(), clock, chance: Mutex::new(chance), user, threads: Mutex::default() })
    }

    /// The threads that the library has started, the newest of a name last.
    pub(super) fn threads(&self) -> Vec<LaneId> {
        lock(&self.threads).clone()
    }

    /// The newest thread of that name.
    pub(super) fn thread_named(&self, name: &str) -> Option<LaneId> {
        self.threads().into_iter().rev().find(|lane| self.world.name(*lane) == name)
    }

    /// A process that is killed runs no more, and nothing of it is left.
    pub(super) fn kill(&self) {
        for lane in self.threads().into_iter().chain([self.user]) {
            self.world.end(lane);
        }
    }
}

impl Simulated for Machine {
    fn now(&self) -> Time {
        self.clock.read(self.world.now())
    }

    fn until(&self, at: Time) -> Errand {
        Box::pin(self.world.until(self.clock.when(at)))
    }

    fn random(&self) -> u64 {
        lock(&self.chance).number()
    }

    fn spawn(&self, task: Errand) {
        self.world.spawn(self.world.running().unwrap_or(self.user), task);
    }

    fn thread(&self, name: &'static str, body: Errand) {
        let lane = self.world.lane(name);
        lock(&self.threads).push(lane);
        self.world.spawn_body(lane, body);
    }

    fn caught_up(&self) -> Errand {
        Box::pin(self.world.caught_up())
    }
}

/// The network's own time: true time.
#[derive(Debug)]
pub(super) struct Ether {
    world: World,
    lane: LaneId,
}

impl Ether {
    pub(super) fn new(world: &World) -> Ether {
        Ether { world: world.clone(), lane: world.lane("network") }
    }
}

impl Simulated for Ether {
    fn now(&self) -> Time {
        self.world.now()
    }

    fn until(&self, at: Time) -> Errand {
        Box::pin(self.world.until(at))
    }

    fn random(&self) -> u64 {
        0
    }

    fn spawn(&self, task: Errand) {
        self.world.spawn(self.lane, task);
    }

    fn thread(&self, _: &'static str, body: Errand) {
        self.world.spawn(self.lane, body);
    }

    fn caught_up(&self) -> Errand {
        Box::pin(std::future::ready(()))
    }
}
