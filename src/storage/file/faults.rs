//! A disk in memory that loses power, tears writes, fails syncs, fills up and rots.
//!
//! It keeps what the system's cache shows apart from what the disk holds. A write goes to the cache, a sync moves it
//! to the disk; what power loss makes of the rest is drawn.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::rc::Rc;

use super::directory::{BlockFile, Directory};

/// SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What becomes of writes that were not synced when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Kept,
    /// Each write is lost, kept, cut somewhere, or keeps any of its sectors.
    Drawn,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Each change of names since the last sync of the directory, as the whole map after it.
    name_changes: Vec<BTreeMap<String, usize>>,
    crash_after: Option<usize>,
    space: Option<usize>,
    fail_sync: bool,
    fail_read_from: Option<u64>,
    short_writes: bool,
    ops: usize,
}

/// A handle; clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct FaultyDisk {
    state: Rc<RefCell<State>>,
    chance: Rc<RefCell<Chance>>,
}

#[derive(Debug)]
pub(super) struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
}

impl FaultyDisk {
    pub(super) fn new(seed: u64) -> FaultyDisk {
        FaultyDisk { state: Rc::default(), chance: Rc::new(RefCell::new(Chance(seed))) }
    }

    /// Another disk with the same content and the same future.
    pub(super) fn fork(&self) -> FaultyDisk {
        FaultyDisk {
            state: Rc::new(RefCell::new(self.state.borrow().clone())),
            chance: Rc::new(RefCell::new(self.chance.borrow().clone())),
        }
    }

    /// Draws from another seed from now on.
    pub(super) fn chance(&self, seed: u64) {
        *self.chance.borrow_mut() = Chance(seed);
    }

    /// Everything fails after that many written bytes and other operations.
    pub(super) fn crash_after(&self, cost: usize) {
        self.state.borrow_mut().crash_after = Some(cost);
    }

    /// Writes fail with `ENOSPC` after that many bytes.
    pub(super) fn fill_up_after(&self, bytes: usize) {
        self.state.borrow_mut().space = Some(bytes);
    }

    /// The next sync fails, what was dirty is lost or not, and the cache goes on showing it.
    pub(super) fn fail_next_sync(&self) {
        self.state.borrow_mut().fail_sync = true;
    }

    /// Reads at this offset and behind it fail with `EIO`.
    pub(super) fn fail_reads_from(&self, offset: Option<u64>) {
        self.state.borrow_mut().fail_read_from = offset;
    }

    pub(super) fn write_short(&self, short: bool) {
        self.state.borrow_mut().short_writes = short;
    }

    /// How many operations reached the disk.
    pub(super) fn ops(&self) -> usize {
        self.state.borrow().ops
    }

    /// The process dies: the cache stays, with all that is dirty.
    pub(super) fn kill(&self) {
        self.repair();
    }

    /// The power fails: the cache is gone.
    pub(super) fn lose_power(&self, fate: Fate) {
        self.repair();
        let mut state = self.state.borrow_mut();
        let chance = &mut *self.chance.borrow_mut();
        for inode in &mut state.inodes {
            for (offset, bytes) in std::mem::take(&mut inode.dirty) {
                tear(&mut inode.durable, offset, &bytes, fate, chance);
            }
            inode.cached.clone_from(&inode.durable);
        }
        let survived = match fate {
            Fate::Lost => 0,
            Fate::Kept => state.name_changes.len(),
            Fate::Drawn => chance.below(state.name_changes.len() + 1),
        };
        if let Some(names) = survived.checked_sub(1).map(|at| state.name_changes[at].clone()) {
            state.durable_names = names;
        }
        state.name_changes.clear();
        state.names = state.durable_names.clone();
    }

    /// Flips bits of one byte, on the disk and in the cache.
    pub(super) fn rot(&self, name: &str, at: usize, flip: u8) {
        let mut state = self.state.borrow_mut();
        let inode = state.names[name];
        let inode = &mut state.inodes[inode];
        inode.durable[at] ^= flip;
        inode.cached[at] ^= flip;
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.state.borrow().names.contains_key(name)
    }

    pub(super) fn truncate(&self, name: &str, len: usize) {
        let mut state = self.state.borrow_mut();
        let inode = state.names[name];
        state.inodes[inode].cached.truncate(len);
        state.inodes[inode].durable.truncate(len);
    }

    fn repair(&self) {
        let mut state = self.state.borrow_mut();
        (state.crash_after, state.space, state.fail_sync, state.fail_read_from) = (None, None, false, None);
    }

    /// Takes `cost` from what is left until the crash; says how much of it is granted.
    fn spend(&self, cost: usize) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        state.ops += 1;
        match &mut state.crash_after {
            None => Ok(cost),
            Some(0) => Err(io::Error::other("crashed")),
            Some(left) => {
                let granted = cost.min(*left);
                *left -= granted;
                Ok(granted)
            }
        }
    }
}

fn tear(durable: &mut Vec<u8>, offset: usize, bytes: &[u8], fate: Fate, chance: &mut Chance) {
    const SECTOR: usize = 512;
    let mut keep = |from: usize, to: usize| {
        if durable.len() < offset + to {
            durable.resize(offset + to, 0);
        }
        durable[offset + from..offset + to].copy_from_slice(&bytes[from..to]);
    };
    match (fate, chance.below(4)) {
        (Fate::Lost, _) | (Fate::Drawn, 0) => {}
        (Fate::Kept, _) | (Fate::Drawn, 1) => keep(0, bytes.len()),
        (Fate::Drawn, 2) => keep(0, chance.below(bytes.len() + 1)),
        (Fate::Drawn, _) => {
            for from in (0..bytes.len()).step_by(SECTOR).filter(|_| chance.one_in(2)) {
                keep(from, (from + SECTOR).min(bytes.len()));
            }
        }
    }
}

impl Directory for FaultyDisk {
    type File = FaultyFile;

    fn path(&self) -> &Path {
        Path::new("/disk")
    }

    fn open(&mut self, name: &str) -> io::Result<Option<FaultyFile>> {
        self.spend(1)?;
        let inode = self.state.borrow().names.get(name).copied();
        Ok(inode.map(|inode| FaultyFile { disk: self.clone(), inode }))
    }

    fn create(&mut self, name: &str) -> io::Result<FaultyFile> {
        self.spend(1)?;
        let mut state = self.state.borrow_mut();
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), inode);
        let names = state.names.clone();
        state.name_changes.push(names);
        Ok(FaultyFile { disk: self.clone(), inode })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.spend(1)?;
        let mut state = self.state.borrow_mut();
        let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        let names = state.names.clone();
        state.name_changes.push(names);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.spend(1)?;
        let mut state = self.state.borrow_mut();
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

impl BlockFile for FaultyFile {
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.spend(1)?;
        let state = self.disk.state.borrow();
        if state.fail_read_from.is_some_and(|from| offset >= from) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let cached = &state.inodes[self.inode].cached;
        let rest = cached.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut len = self.disk.spend(bytes.len())?;
        let mut state = self.disk.state.borrow_mut();
        if let Some(space) = &mut state.space {
            if *space == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            len = len.min(*space);
            *space -= len;
        }
        if state.short_writes {
            len = len.min(1 + self.disk.chance.borrow_mut().below(100));
        }
        let inode = &mut state.inodes[self.inode];
        let (start, end) = (offset as usize, offset as usize + len);
        if inode.cached.len() < end {
            inode.cached.resize(end, 0);
        }
        inode.cached[start..end].copy_from_slice(&bytes[..len]);
        inode.dirty.push((start, bytes[..len].to_vec()));
        Ok(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.spend(1)?;
        let mut state = self.disk.state.borrow_mut();
        let failed = std::mem::take(&mut state.fail_sync);
        let fate = if failed { Fate::Drawn } else { Fate::Kept };
        let inode = &mut state.inodes[self.inode];
        for (offset, bytes) in std::mem::take(&mut inode.dirty) {
            tear(&mut inode.durable, offset, &bytes, fate, &mut self.disk.chance.borrow_mut());
        }
        if failed { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn drop_cache(&mut self) {
        let mut state = self.disk.state.borrow_mut();
        let inode = &mut state.inodes[self.inode];
        if inode.dirty.is_empty() {
            inode.cached.clone_from(&inode.durable);
        }
    }
}
