//! A storage that forgets.

use std::collections::BTreeMap;

use super::{Storage, StorageError};
use crate::record::HardState;
use crate::types::GroupId;

/// Keeps hard states in memory: **at a restart it forgets whom the node voted for**.
///
/// A node that restarts within a term may therefore vote twice in it, and two leaders of one term become possible
/// whenever a majority of votes is reached with the help of such a node. What stands against that is the restart
/// quarantine alone: a node that has just started does not vote before its longest promise is over. That is enough
/// where an election always ends sooner than a restart, and it is no guarantee. Use it for tests, and for services
/// whose work survives two leaders. All members of a cluster must use one, or none.
///
/// It counts its starts by the wall clock: setting the clock back across a restart makes the cluster refuse the node as
/// a duplicate until the clock has caught up.
///
/// A clone is a store of its own: it starts with the same states and shares nothing.
#[derive(Debug, Clone, Default)]
pub struct VolatileStorage {
    states: BTreeMap<GroupId, HardState>,
}

impl VolatileStorage {
    /// An empty one.
    #[must_use]
    pub fn new() -> VolatileStorage {
        VolatileStorage::default()
    }
}

impl Storage for VolatileStorage {
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(self.states.get(group).cloned())
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.states.extend(states.iter().cloned());
        Ok(())
    }

    fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.save(states)
    }

    fn is_volatile(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::{DiskId, Term};

    #[test]
    fn a_clone_shares_nothing() {
        let state = |term| HardState { term: Term(term), ..HardState::new(DiskId::NONE, Duration::ZERO) };
        let group = GroupId::default();
        let mut one = VolatileStorage::new();
        one.save(&[(group.clone(), state(1))]).expect("memory");
        let mut other = one.clone();
        other.save(&[(group.clone(), state(2))]).expect("memory");
        assert_eq!(one.load(&group).expect("memory"), Some(state(1)));
        assert_eq!(other.load(&group).expect("memory"), Some(state(2)));
    }
}
