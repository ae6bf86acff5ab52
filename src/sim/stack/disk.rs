//! A disk under a process: it takes its time, fails, hangs and panics, and what a kill leaves on it is a toss.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::world::{World, lock, panic_quietly};
use crate::record::HardState;
use crate::sim::chance::Chance;
use crate::storage::{Storage, StorageError};
use crate::types::{GroupId, Time};

/// How a disk behaves.
#[derive(Debug, Clone, Default)]
pub(super) struct DiskHabits {
    /// The shortest and the longest time that a write takes.
    pub(super) takes: (Duration, Duration),
    /// How probable it is that a call hangs.
    pub(super) hangs: f64,
    /// For how long.
    pub(super) hang: Duration,
    /// How probable it is that a write fails.
    pub(super) fails: f64,
    /// How probable it is that a call panics.
    pub(super) panics: f64,
}

#[derive(Debug)]
struct Platter {
    states: BTreeMap<GroupId, HardState>,
    /// What it held before the write that ends then.
    before: Option<(Time, BTreeMap<GroupId, HardState>)>,
    held: bool,
    habits: DiskHabits,
    chance: Chance,
}

/// A disk. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    pub(super) fn new(chance: Chance) -> Disk {
        let platter =
            Platter { states: BTreeMap::new(), before: None, held: false, habits: DiskHabits::default(), chance };
        Disk(Arc::new(Mutex::new(platter)))
    }

    pub(super) fn set_habits(&self, habits: DiskHabits) {
        lock(&self.0).habits = habits;
    }

    /// Whether a process holds its lock.
    pub(super) fn is_held(&self) -> bool {
        lock(&self.0).held
    }

    /// Opens it for a process, unless one holds it.
    pub(super) fn open(&self, world: &World) -> Option<OpenDisk> {
        let mut platter = lock(&self.0);
        if std::mem::replace(&mut platter.held, true) {
            return None;
        }
        Some(OpenDisk { disk: self.clone(), world: world.clone() })
    }

    /// The process was killed: a write under way came to an end, or did not.
    pub(super) fn kill(&self, now: Time) {
        let mut platter = lock(&self.0);
        platter.held = false;
        if let Some((_, before)) = platter.before.take_if(|(until, _)| *until > now)
            && platter.chance.happens(0.5)
        {
            platter.states = before;
        }
    }
}

/// A disk that a process holds.
#[derive(Debug)]
pub(super) struct OpenDisk {
    disk: Disk,
    world: World,
}

impl OpenDisk {
    /// The call takes its time: the thread that makes it stands still.
    fn take_time(&self) -> Duration {
        let mut platter = lock(&self.disk.0);
        let habits = platter.habits.clone();
        let mut takes = platter.chance.between(habits.takes);
        if platter.chance.happens(habits.hangs) {
            takes += habits.hang;
        }
        let panics = platter.chance.happens(habits.panics);
        drop(platter);
        if let Some(lane) = self.world.running() {
            self.world.stall(lane, takes);
        }
        if panics {
            panic_quietly();
        }
        takes
    }
}

impl Storage for OpenDisk {
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(lock(&self.disk.0).states.get(group).cloned())
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        let until = self.world.now() + self.take_time();
        let mut platter = lock(&self.disk.0);
        let fails = platter.habits.fails;
        if platter.chance.happens(fails) {
            return Err(StorageError::Other("the disk failed".into()));
        }
        platter.before = Some((until, platter.states.clone()));
        platter.states.extend(states.iter().cloned());
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.take_time();
        Ok(())
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        lock(&self.disk.0).held = false;
    }
}
