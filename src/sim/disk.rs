//! A disk that is slow, fails, tears, or loses what was not synced: two slots of real bytes.

use std::path::Path;
use std::time::Duration;

use super::chance::Chance;
use crate::config::Config;
use crate::event::WriteId;
use crate::mutant::{self, Mutant};
use crate::node::Persist;
use crate::record::HardState;
use crate::storage::file::slot::{self, Owner};
use crate::types::{DiskId, Incarnation};

/// How a disk behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskManners {
    /// The shortest and the longest write.
    pub write: (Duration, Duration),
    /// How probable it is that a write takes long.
    pub slow: f64,
    /// How long such a write takes at most.
    pub slow_max: Duration,
    /// How probable it is that a write fails, leaving the old state or the new one.
    pub fail: f64,
    /// How probable it is that there is no room for a write: the old state stays.
    pub full: f64,
    /// How probable it is that one of the two slots has rotted when a process starts.
    pub rot: f64,
}

impl DiskManners {
    /// A disk on which each write takes exactly `write`.
    #[must_use]
    pub fn steady(write: Duration) -> DiskManners {
        DiskManners { write: (write, write), slow: 0.0, slow_max: Duration::ZERO, fail: 0.0, full: 0.0, rot: 0.0 }
    }
}

/// One node's disk: what is durable, and the write under way.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) manners: DiskManners,
    owner: Owner,
    slots: [Vec<u8>; 2],
    /// Which slot holds the newest state, and whether the other is a copy of it.
    newest: usize,
    copied: bool,
    sequence: u64,
    /// What a restart finds; `None` is an empty disk.
    durable: Option<HardState>,
    writing: Option<Persist>,
    /// How often a volatile store has started.
    starts: u64,
    chance: Chance,
}

impl Disk {
    pub(crate) fn new(seed: u64, host: usize, config: &Config, manners: DiskManners) -> Disk {
        let owner = Owner { cluster: config.cluster.clone(), group: config.group.clone(), node: config.node.clone() };
        Disk {
            manners,
            owner,
            slots: [Vec::new(), Vec::new()],
            newest: 0,
            copied: true,
            sequence: 0,
            durable: None,
            writing: None,
            starts: 0,
            chance: Chance::stream(seed, &format!("disk {host}")),
        }
    }

    /// What the disk holds.
    pub(crate) fn durable(&self) -> Option<&HardState> {
        self.durable.as_ref()
    }

    /// Loads the state of a starting process, or mints a new disk; the incarnation is raised durably.
    ///
    /// # Errors
    /// D3: the slots do not give back what was acknowledged.
    pub(crate) fn recover(&mut self, config: &Config) -> Result<HardState, String> {
        let promise_max = config.timing.promise_max;
        if config.volatile {
            return Ok(self.begin_volatile(promise_max));
        }
        let mut state = match self.durable.take() {
            Some(held) => {
                self.rot();
                let found = self.load()?;
                if found != held {
                    return Err(format!("the slots give back {found:?}, written was {held:?}"));
                }
                held
            }
            None => {
                let name = u128::from(self.chance.number()) << 64 | u128::from(self.chance.number());
                HardState::new(DiskId(name.max(1)), promise_max)
            }
        };
        let kept = if mutant::on(Mutant::IncarnationNotDurable) { Some(state.clone()) } else { None };
        state.incarnation.0 += 1;
        self.keep(kept.unwrap_or_else(|| state.clone()));
        self.copy();
        Ok(state)
    }

    /// A volatile store has forgotten everything but the time, by which it counts its starts.
    fn begin_volatile(&mut self, promise_max: Duration) -> HardState {
        self.wipe();
        self.starts += 1;
        let state = HardState { incarnation: Incarnation(self.starts), ..HardState::new(DiskId::NONE, promise_max) };
        self.keep(state.clone());
        self.copy();
        state
    }

    /// Begins a write. Returns how long it takes.
    pub(crate) fn begin(&mut self, write: Persist) -> Duration {
        self.writing = Some(write);
        self.copy();
        let slow = if self.chance.happens(self.manners.slow) { self.manners.slow_max } else { Duration::ZERO };
        self.chance.between(self.manners.write) + self.chance.between((Duration::ZERO, slow))
    }

    /// The write under way.
    pub(crate) fn writing(&self) -> Option<WriteId> {
        self.writing.as_ref().map(|persist| persist.write)
    }

    /// That write ends, if it is under way: an error leaves the old state, the new one, or some bytes of it.
    pub(crate) fn end(&mut self, write: WriteId) -> Option<Result<(), &'static str>> {
        let persist = self.writing.take_if(|persist| persist.write == write)?;
        if self.chance.happens(self.manners.full) {
            return Some(Err("no space left on device"));
        }
        if !self.chance.happens(self.manners.fail) {
            self.keep(persist.state);
            if persist.afresh {
                self.copy();
            }
            return Some(Ok(()));
        }
        if persist.afresh {
            // The new file took the old one's place, or it did not.
            if self.chance.below(2) == 0 {
                self.keep(persist.state);
                self.copy();
            }
            return Some(Err("input/output error"));
        }
        self.leave(persist.state);
        Some(Err("input/output error"))
    }

    /// The process or the machine dies: what was under way has reached the disk, or some bytes of it, or nothing.
    pub(crate) fn crash(&mut self) {
        let Some(persist) = self.writing.take() else {
            if !self.copied {
                let frame = self.slots[self.newest].clone();
                self.tear(&frame);
            }
            return;
        };
        self.leave(persist.state);
    }

    /// A state has reached the disk, or some bytes of it, or nothing.
    fn leave(&mut self, state: HardState) {
        match self.chance.below(3) {
            0 => self.keep(state),
            1 => {
                let frame = slot::encode(&self.owner, self.sequence + 1, &state);
                self.tear(&frame);
            }
            _ => {}
        }
    }

    /// The disk is replaced by an empty one.
    pub(crate) fn wipe(&mut self) {
        self.writing = None;
        self.durable = None;
        self.slots = [Vec::new(), Vec::new()];
        self.sequence = 0;
        self.copied = true;
    }

    /// D3: a state is written to the slot that does not hold the newest one.
    fn keep(&mut self, state: HardState) {
        self.sequence += 1;
        let at = 1 - self.newest;
        self.slots[at] = slot::encode(&self.owner, self.sequence, &state);
        self.newest = at;
        self.copied = false;
        self.durable = Some(state);
    }

    /// D3: and copied to the other, some time after it was acknowledged.
    fn copy(&mut self) {
        if !mutant::on(Mutant::SecondSlotNotCopied) {
            self.slots[1 - self.newest] = self.slots[self.newest].clone();
        }
        self.copied = true;
    }

    /// Only the first bytes of a frame have reached the slot that does not hold the newest state.
    fn tear(&mut self, frame: &[u8]) {
        let torn = self.chance.index(frame.len());
        let slot = &mut self.slots[1 - self.newest];
        slot.resize(slot.len().max(torn), 0);
        slot[..torn].copy_from_slice(&frame[..torn]);
        self.copied = false;
        // What was torn off may have been the same as before: then the new state is there.
        if let Ok(state) = self.load() {
            self.durable = Some(state);
        }
    }

    fn rot(&mut self) {
        if self.copied && self.chance.happens(self.manners.rot) {
            let which = self.chance.index(2);
            let at = self.chance.index(self.slots[which].len());
            self.slots[which][at] ^= 1 << self.chance.index(8);
        }
    }

    fn load(&mut self) -> Result<HardState, String> {
        let slots = [slot::decode(&self.slots[0]), slot::decode(&self.slots[1])];
        let newest = slot::newest(Path::new("sim"), &self.owner, slots).map_err(|error| error.to_string())?;
        self.newest = newest.at;
        Ok(newest.slot.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, NodeId, Term};

    fn config() -> Config {
        let name = NodeId::new("a").expect("a name");
        Config::new(ClusterId::new("sim").expect("a name"), name.clone(), vec![name])
    }

    fn disk(seed: u64) -> Disk {
        let manners = DiskManners { rot: 0.5, ..DiskManners::steady(Duration::ZERO) };
        Disk::new(seed, 0, &config(), manners)
    }

    /// D3: neither a crash at any moment nor the rot of one slot loses an acknowledged state.
    #[test]
    fn crashes_and_rot_lose_nothing_that_was_acknowledged() {
        for seed in 0..200 {
            let mut disk = disk(seed);
            let mut acknowledged = Term(0);
            for term in 1..20 {
                let mut state = disk.recover(&config()).expect("what was acknowledged is there");
                assert!(state.term >= acknowledged, "seed {seed}");
                state.term = Term(term);
                disk.begin(Persist { write: WriteId(term), state, afresh: false });
                if disk.chance.happens(0.5) {
                    assert_eq!(disk.end(WriteId(term)), Some(Ok(())));
                    acknowledged = Term(term);
                }
                disk.crash();
            }
        }
    }
}
