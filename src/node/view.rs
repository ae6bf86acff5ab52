//! What a node can be asked about itself. Nothing here changes anything.

use std::sync::Arc;

use super::{Node, Part};
use crate::config::Config;
use crate::event::Role;
use crate::message::{Hearsay, Identity};
use crate::mutant::{self, Mutant};
use crate::promise::{Lease, Promises};
use crate::record::{HardState, Record, RecordId};
use crate::types::{NodeId, Term, Time};

impl Node {
    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who it is on the wire.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.part.role()
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// The leader it knows, itself included.
    #[must_use]
    pub fn leader(&self) -> Option<&NodeId> {
        match &self.part {
            Part::Follower(follower) => follower.leader.as_ref().map(|following| &following.holder.node),
            Part::Leader(_) => Some(&self.config.node),
            _ => None,
        }
    }

    /// A leader that it knows of only from neighbours, with the age of the last direct contact. Delays nothing.
    #[must_use]
    pub fn hearsay(&self) -> Option<Hearsay> {
        let (hearsay, received) = self.hearsay.as_ref()?;
        let age = hearsay.age.saturating_add(self.now.since(*received));
        (age < self.config.timing.election_timeout_max).then(|| Hearsay { age, ..hearsay.clone() })
    }

    /// What it may claim as leader; `None` unless it leads. What a guard is published from.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.part {
            Part::Leader(leader) => Some(&leader.lease),
            _ => None,
        }
    }

    /// The term under which user work runs, or still runs.
    #[must_use]
    pub fn working(&self) -> Option<Term> {
        self.working
    }

    /// The state as decided in memory; the disk may be behind.
    #[must_use]
    pub fn hard_state(&self) -> &HardState {
        &self.hard
    }

    /// The newest record known to be committed. Memory only: unknown after a restart.
    #[must_use]
    pub fn committed(&self) -> Option<&Record> {
        self.committed.as_deref()
    }

    /// The newest record that is durable here.
    #[must_use]
    pub fn durable(&self) -> Option<RecordId> {
        self.durable.last
    }

    /// When a leader sent its newest round of heartbeats; those that it repeats since belong to that round.
    #[must_use]
    pub fn newest_round(&self) -> Option<Time> {
        match &self.part {
            Part::Leader(leader) => Some(leader.rounds.newest().1),
            _ => None,
        }
    }

    /// As leader: the newest moment at which a quorum was in contact (the sending time of heartbeats that it answered).
    #[must_use]
    pub fn quorum_contact(&self) -> Option<Time> {
        match &self.part {
            Part::Leader(leader) => Some(leader.quorum_contact(self.now)),
            _ => None,
        }
    }

    /// Whether its disk may not vote yet (PROPERTIES D2).
    #[must_use]
    pub fn is_amnesiac(&self) -> bool {
        self.durable.named.is_none() && !mutant::on(Mutant::AmnesiacVotes)
    }

    /// Whether a member that this node leads, and hears, has a disk that does not vote yet: it is being named, or about to be
    /// (PROPERTIES D2).
    #[must_use]
    pub fn is_naming(&self) -> bool {
        let Part::Leader(leader) = &self.part else { return false };
        leader.is_naming(self.hard.record.as_deref(), self.now.before(self.config.timing.promise))
    }

    /// What it owes to leaders, former leaders and itself.
    #[must_use]
    pub fn promises(&self) -> &Promises {
        &self.promises
    }

    /// Whether it may stand for election at all; whether it would win is another matter.
    #[must_use]
    pub fn may_stand(&self) -> bool {
        self.is_promotable() && self.hindrance().is_none() && self.hard.term.next().is_some()
    }
}
