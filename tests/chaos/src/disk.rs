//! The file storage, on a disk that a file orders to hang or to fail.
//!
//! A library that is preloaded would need a C compiler; the storage is a trait, and this sits between it and the files. What a
//! failing disk did before it failed is unknown: half of its failures have written everything.

use std::path::PathBuf;
use std::time::Duration;

use hustings::record::HardState;
use hustings::storage::file::FileStorage;
use hustings::storage::{Storage, StorageError};
use hustings::types::GroupId;

/// What the disk does, as the file of orders says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Everything returns when the order is over, and not before.
    Hang,
    /// Everything fails.
    Fail,
}

impl Order {
    /// What is written to the file.
    pub fn word(self) -> &'static str {
        match self {
            Order::Hang => "hang",
            Order::Fail => "fail",
        }
    }
}

/// A [`FileStorage`] that obeys a file.
#[derive(Debug)]
pub struct ControlledStorage {
    files: FileStorage,
    orders: PathBuf,
    failures: u64,
}

impl ControlledStorage {
    /// `orders` need not exist: then the disk is sound.
    pub fn new(files: FileStorage, orders: PathBuf) -> ControlledStorage {
        ControlledStorage { files, orders, failures: 0 }
    }

    fn order(&self) -> Option<Order> {
        let word = std::fs::read_to_string(&self.orders).ok()?;
        [Order::Hang, Order::Fail].into_iter().find(|order| order.word() == word)
    }

    fn write(&mut self, write: impl FnOnce(&mut FileStorage) -> Result<(), StorageError>) -> Result<(), StorageError> {
        while self.order() == Some(Order::Hang) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.order() == Some(Order::Fail) {
            self.failures += 1;
            if self.failures.is_multiple_of(2) {
                write(&mut self.files)?;
            }
            return Err(StorageError::Other("the disk was ordered to fail".to_owned()));
        }
        write(&mut self.files)
    }
}

impl Storage for ControlledStorage {
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        self.files.load(group)
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.write(|files| files.save(states))
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.write(FileStorage::settle)
    }

    fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.write(|files| files.start_over(states))
    }
}
