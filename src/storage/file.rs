//! Hard states in files: one for each group, two checksummed slots in each.
//!
//! A state is written to the slot that does not hold the newest one, synced once, and then counts as durable.
//! [`Storage::settle`] copies it to the other slot, so that both hold it.
//!
//! | what happens | what is left |
//! |---|---|
//! | a crash while a state is saved | the state before it or the new one: the other slot was not touched |
//! | a crash while it is copied | that state: its own slot is not touched |
//! | one slot becomes unreadable | the state: the other one is its copy (before it was copied, see below) |
//! | both become unreadable | nothing: [`StorageError::Corrupt`], and the node does not start |
//! | a write or a sync fails | the old state or the new one, unknown which: [`StorageError::Poisoned`] until a new file has taken its place |
//! | the disk is full | the files have their full size from the start, so only a new group can fail |
//!
//! What it does not survive: a slot that becomes unreadable *between* its sync and the copy, together with a crash in
//! that time. Nothing on the disk tells it from a torn write that nobody was told of, and the state before it is used.
//! An old copy of the file that is put back is not detected here; the incarnation in it is, by the cluster.
//!
//! The directory belongs to one node of one cluster, and is locked. It must be on a disk of this machine: whether a
//! network file system locks and syncs is up to it.
//!
//! On Linux the newest slot is synced, and then read from the disk rather than from the page cache, before anything
//! relies on it. Other systems read their cache, which may show what a failed sync of an earlier process lost. macOS
//! flushes the drive's own cache at each sync, which takes milliseconds. Windows locks by refusing to share the lock
//! file, and gives no way to sync a directory. Where there is neither, nothing is locked.

use std::path::PathBuf;

use self::directory::OsDirectory;
use self::store::Store;
use super::{Storage, StorageError};
use crate::record::HardState;
use crate::types::{ClusterId, GroupId, NodeId};

mod directory;
pub mod slot;
mod store;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

/// Keeps hard states in a directory; see the [module](self).
///
/// Each group has a file of 256 KiB and keeps it open. The directory is unlocked when this value is dropped or the
/// process ends, however it ends.
#[derive(Debug)]
pub struct FileStorage {
    store: Store<OsDirectory>,
}

impl FileStorage {
    /// Creates the directory if it is missing, and locks it for this node.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process, or another value in this one, has the directory;
    /// [`StorageError::Io`] if it cannot be created, written or synced. No state was changed.
    pub fn open(dir: impl Into<PathBuf>, cluster: &ClusterId, node: &NodeId) -> Result<FileStorage, StorageError> {
        let directory = OsDirectory::open(dir.into())?;
        Ok(FileStorage { store: Store::open(directory, cluster.clone(), node.clone())? })
    }
}

/// After a failed `save` or `settle` they fail with [`StorageError::Poisoned`] until [`Storage::start_over`] has replaced the
/// files: a failed sync is never retried on the file that failed, because the next one may report success for what was lost.
impl Storage for FileStorage {
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        self.store.load(group)
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.store.save(states)
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.store.settle()
    }

    fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.store.start_over(states)
    }
}
