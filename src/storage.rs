//! Where the hard state lives. The contract, and [`recover`], which starts a new incarnation.
//!
//! A storage serves every group of a process. It is called from one writer thread, off the driver's loop, and may block.

use std::path::PathBuf;

use crate::clock::Clock;
use crate::config::Config;
use crate::mutant::{self, Mutant};
use crate::record::HardState;
use crate::types::{DiskId, GroupId, Incarnation};

pub mod contract;
pub mod file;
pub mod memory;

/// Keeps hard states.
///
/// **Contract** (checked by [`contract`]): when `save` returns `Ok`, a later `load`, by this value or by another one
/// after a crash, returns exactly the saved states. When it fails, the state on disk is unknown (the old one or the new
/// one, never a mixture), and until `start_over` has succeeded nothing but `start_over` is called.
pub trait Storage: Send + 'static {
    /// The state of a group, `None` if there never was one.
    ///
    /// # Errors
    /// [`StorageError`]; nothing was changed.
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError>;

    /// Makes the states durable, all of them before it returns.
    ///
    /// # Errors
    /// [`StorageError`]; what the disk holds is unknown, the node must stop relying on it.
    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError>;

    /// Does what can wait: called once the caller has been told that its state is durable and nothing else waits to be
    /// written, and after every 16th `save` at the latest.
    ///
    /// # Errors
    /// [`StorageError`]; what was saved is durable all the same.
    fn settle(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Starts over after a `save` or a `settle` that failed: makes these states durable, the newest of each group, in the
    /// place of whatever is there, without relying on anything that the failure has touched. Called again after a while if
    /// it fails. Once it returned `Ok` the storage is as good as one that never failed.
    ///
    /// # Errors
    /// [`StorageError`]; what the disk holds is still unknown. A storage that cannot start over keeps the default, which
    /// always fails: its node takes part again after a restart.
    fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        let _ = states;
        Err(StorageError::Other("this storage cannot start over: restart the node".to_owned()))
    }

    /// Whether it forgets at a restart.
    fn is_volatile(&self) -> bool {
        false
    }
}

/// Loads a group's state or mints a new disk, raises the incarnation durably, and returns the state to start with.
///
/// # Errors
/// [`StorageError`]; the incarnation may have been raised.
pub fn recover(storage: &mut dyn Storage, config: &Config) -> Result<HardState, StorageError> {
    recover_with(storage, config, &Clock::default())
}

/// [`recover`], with the chance of a node that a simulation may keep.
pub(crate) fn recover_with(
    storage: &mut dyn Storage,
    config: &Config,
    clock: &Clock,
) -> Result<HardState, StorageError> {
    let promise_max = config.timing.promise_max;
    let loaded = storage.load(&config.group)?;
    let mut state = match loaded {
        Some(state) => state,
        None if storage.is_volatile() => HardState::new(DiskId::NONE, promise_max),
        None => HardState::new(new_disk(clock), promise_max),
    };
    let kept = state.incarnation;
    state.incarnation = if storage.is_volatile() {
        volatile_incarnation(clock)
    } else {
        Incarnation(state.incarnation.0.saturating_add(1))
    };
    if mutant::on(Mutant::IncarnationNotDurable) {
        storage.save(&[(config.group.clone(), HardState { incarnation: kept, ..state.clone() })])?;
        return Ok(state);
    }
    storage.save(&[(config.group.clone(), state.clone())])?;
    Ok(state)
}

fn new_disk(clock: &Clock) -> DiskId {
    let halves = (u128::from(clock.random()), u128::from(clock.random()));
    DiskId((halves.0 << 64 | halves.1).max(1))
}

/// A volatile store cannot count its starts; the wall clock in nanoseconds rises between them as long as nobody sets it
/// back, which the documentation of volatile stores says.
fn volatile_incarnation(clock: &Clock) -> Incarnation {
    Incarnation(crate::types::nanos(clock.since_epoch()).max(1))
}

/// Why a storage cannot be used. Every variant that concerns a file names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused. After a failed write the state on disk is the old or the new one.
    #[error("cannot {action} {}: {source}; {advice}", path.display())]
    Io {
        /// What was tried: `open`, `write`, `sync`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// Another process holds the file. Nothing was changed.
    #[error("{} is in use by another process: stop that one, or give this node a directory of its own", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to another cluster, node or group. Nothing was changed.
    #[error("{} belongs to {found}, not to {wanted}: give this node its own directory", path.display())]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is: `cluster/group/node`.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The file is of a version that this release does not know. Nothing was changed.
    #[error("{} has version {found}, this release reads up to {known}: start the newer release, or restore the file it replaced", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version that is understood.
        known: u16,
    },
    /// Both slots are unreadable. Nothing was changed, and no vote may be given: the node must not start.
    #[error("both slots of {} are unreadable ({first}; {second}): the vote it held is lost. Move the file away to rejoin as a member that lost its disk", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with the first slot.
        first: String,
        /// What is wrong with the second.
        second: String,
    },
    /// The state is larger than a slot. Nothing was changed.
    #[error("a state of {size} bytes is larger than the {max} that {} holds", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        size: usize,
        /// The largest size, in bytes.
        max: usize,
    },
    /// An earlier write failed, so that what the disk holds is unknown. Nothing was tried: only starting over helps.
    #[error("{} is not used any more since a write failed ({cause})", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
        /// The failure: what was tried, and what the system said.
        cause: String,
    },
    /// A storage of the user's own failed.
    #[error("{0}")]
    Other(String),
}

impl StorageError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            StorageError::Io { .. } => "io",
            StorageError::Locked { .. } => "locked",
            StorageError::WrongOwner { .. } => "wrong_owner",
            StorageError::UnknownVersion { .. } => "unknown_version",
            StorageError::Corrupt { .. } => "corrupt",
            StorageError::TooLarge { .. } => "too_large",
            StorageError::Poisoned { .. } => "poisoned",
            StorageError::Other(_) => "other",
        }
    }
}
