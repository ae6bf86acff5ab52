//! The one-record protocol as a model of its own, checked in every state that its bounds permit.
//!
//! **It shares no code with the library.** A model that did would prove nothing about it: this one was written from the
//! rules (PROPERTIES S, L, A1, D), and says whether *they* are right. That the library keeps them is for the simulator.
//!
//! ```text
//! cargo test -p hustings-model                                                    # small bounds, complete, and every fault
//! cargo run --release -p hustings-model -- --terms 3 --crashes 1                  # 3 servers, 3 terms, 1 crash, complete
//! cargo run --release -p hustings-model -- --terms 3 --crashes 1 --wipes 1 --records 2          # and a lost disk
//! ```
//!
//! # What a state is
//! For each server what its memory holds (term, vote, record, whether its disk was named), what its disk holds, its role,
//! and which of its disks it has; for each term what its leader created and committed. Writes are steps of their own, and
//! crashes come between any two: memory and disk differ as long as a write is under way.
//!
//! # How messages are kept
//! Every message may be lost, delayed without end, duplicated, and overtaken. So a message is a fact that stays true once
//! it was sent, and it is kept where the fact is:
//! - *RequestVote* is the candidate itself: role, term and record do not change while it stands. Requests of candidacies
//!   that are over are not kept: a reply to them counts for nothing, and a voter that was not asked can do all that one
//!   can which gave its vote to nobody's use.
//! - *Grants and acks* stay with whom they are for, as long as that office lasts: replies to another incarnation or round
//!   count for nothing. They are there as soon as they may be sent; one that is lost is one that nobody uses.
//! - *AppendEntries* are the records themselves: sent to all when created, readable ever after by whoever is behind.
//!   A refusal's record (A1) may be any that was ever created. With the record comes its term: learning from a leader and
//!   adopting from a refusal differ only in whether the own term is the lower one.
//! - *What is committed* is told by the term's count of committed records.
//!
//! # Where it permits more than the protocol
//! Whoever holds a vote campaigns at any time, in any later term: timeouts, pre-votes, transfers, evidence, promises and
//! quarantines only delay, and every grant may be an early one. A leader proposes a change or a naming without being
//! exclusive, and adds a voter without waiting for its acks. A step that leaves an office (standing, voting, learning) may
//! be taken by whoever is in it. What holds here holds with all of that forbidden.
//!
//! # What it cannot see
//! Time: promises, leases and who is exclusive (E1 to E10). A disk that returns after it was replaced. More than five
//! servers, four terms, three records of a term, three disks of a server. Two of 10⁸ states may have the same 64-bit
//! fingerprint, with a probability of about one in 3,700; then one of them is not looked at.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub mod explore;
pub mod properties;
pub mod rules;
pub mod state;

pub use properties::Breach;
pub use rules::{Action, Change};
pub use state::{State, World};
use stateright::{Model, Property};

/// What the model may do.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many voters the first record has.
    pub voters: u8,
    /// Whether one more server waits to be added.
    pub spare: bool,
    /// The last term.
    pub terms: u8,
    /// How many records a leader creates at most, its no-op included.
    pub records: u8,
    /// How many crashes; `None` for any number.
    pub crashes: Option<u8>,
    /// How many disks are lost.
    pub wipes: u8,
    /// A bit for every server whose disk may be lost.
    pub lost: u8,
    /// How many voters are added or removed.
    pub changes: u8,
    /// Whether servers that neither stand nor lead write at once. Before its write ends such a server has told nobody of
    /// its step, so that it might as well not have taken it: fewer states, and nothing lost but faults of writing.
    pub prompt: bool,
    /// Whether states that differ in the names of the servers are one.
    pub symmetry: bool,
    /// Whether it is remembered how a record was learned.
    pub witness: bool,
    /// For each term a bit for every server that may stand in it.
    pub candidates: [u8; state::TERMS_MAX],
    /// A rule that is not kept.
    pub fault: Option<Fault>,
}

/// A rule that the model forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// S2: a vote is forgotten at a restart.
    VolatileVote,
    /// S3: a granted vote does not wait for the disk.
    VoteBeforeDurable,
    /// S3: a candidate leads before its own vote is durable.
    LeadsBeforeOwnVoteDurable,
    /// S6: votes are given to candidates with older records.
    RecordCheckIgnored,
    /// S7: grants of an earlier candidacy count.
    OldRoundCounted,
    /// S7: half of an even number is a quorum.
    HalfIsAQuorum,
    /// S7: servers that the record does not name as voters grant, and count.
    NonVoterCounted,
    /// L4: a leader commits the record that it inherited.
    OlderTermCommitted,
    /// L5: a record is acked once it is in memory.
    AckFromMemory,
    /// L5: the leader's own copy counts once it is in memory.
    OwnCopyCountedFromMemory,
    /// L6: the members are changed before a record of the own term is committed.
    ChangeBeforeCommit,
    /// A1: a record is adopted that is not ahead.
    BackwardAdoption,
    /// A1: the term does not rise with the record.
    AdoptionWithoutTerm,
    /// A1: a leader adopts, and goes on.
    LeaderAdopts,
    /// D2: a disk that nothing names votes.
    AmnesiacVotes,
    /// D2: the record that names a disk counts its ack.
    NamingCountsItself,
    /// D2: a successor of the record that names a disk counts it before it is cured.
    SuccessorCountsNamed,
    /// D2: a disk is cured before the record that names it is committed.
    NamedBeforeCommit,
    /// D2: a disk that was named later votes in the term in which it was, and in earlier ones.
    FloorIgnored,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 19] = [
        Fault::VolatileVote,
        Fault::VoteBeforeDurable,
        Fault::LeadsBeforeOwnVoteDurable,
        Fault::RecordCheckIgnored,
        Fault::OldRoundCounted,
        Fault::HalfIsAQuorum,
        Fault::NonVoterCounted,
        Fault::OlderTermCommitted,
        Fault::AckFromMemory,
        Fault::OwnCopyCountedFromMemory,
        Fault::ChangeBeforeCommit,
        Fault::BackwardAdoption,
        Fault::AdoptionWithoutTerm,
        Fault::LeaderAdopts,
        Fault::AmnesiacVotes,
        Fault::NamingCountsItself,
        Fault::SuccessorCountsNamed,
        Fault::NamedBeforeCommit,
        Fault::FloorIgnored,
    ];
}

impl Setup {
    /// Three servers, without a fault of any kind.
    #[must_use]
    pub fn new(terms: u8) -> Setup {
        Setup {
            voters: 3,
            spare: false,
            terms,
            records: 1,
            crashes: Some(0),
            wipes: 0,
            lost: 0xff,
            changes: 0,
            prompt: false,
            symmetry: false,
            witness: false,
            candidates: [0xff; state::TERMS_MAX],
            fault: None,
        }
    }

    /// How many servers there are.
    #[must_use]
    pub fn servers(&self) -> usize {
        usize::from(self.voters) + usize::from(self.spare)
    }
}

/// The model, for one search: what it was to show, it shows once.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// Its bounds.
    pub setup: Setup,
    shown: Arc<AtomicU32>,
}

impl Protocol {
    /// The model within those bounds.
    #[must_use]
    pub fn new(setup: Setup) -> Protocol {
        Protocol { setup, shown: Arc::default() }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.setup.canonical(&self.setup.beginning()).pack()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.setup.steps(&state.unpack(), actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.setup.canonical(&self.setup.after(&state.unpack(), action)).pack())
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        properties::all(self)
    }
}
