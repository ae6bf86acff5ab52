//! What can go wrong for those who hold an elector: one small enum for each boundary.

use crate::config::ConfigError;
use crate::driver::LossCause;
use crate::node::MembershipRefused;
use crate::observer::PeerState;
use crate::observer::journal::JournalError;
use crate::storage::StorageError;
use crate::transport::TransportError;
use crate::types::{NameError, NodeId};

/// What a program prints whose `main` returns an error is its `Debug`: here it is the sentence, with what to do.
macro_rules! debug_is_the_sentence {
    ($($error:ident)*) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )*};
}

debug_is_the_sentence!(StartError LeadError ResignError StatusError TransferError ProclaimError MembershipError);

/// An error of the user's own work.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where to ask instead.
fn who_leads(leader: &Option<NodeId>) -> String {
    match leader {
        Some(leader) => format!(": {leader} does"),
        None => ", and knows of nobody who does".to_owned(),
    }
}

/// Why an elector did not start. Nothing runs, and nothing listens.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting without which nothing works was not given.
    #[error("{what} is missing: {advice}")]
    Missing {
        /// The setting.
        what: &'static str,
        /// What to write.
        advice: &'static str,
    },
    /// A name cannot be used.
    #[error("{what}: {source}")]
    Name {
        /// Whose name.
        what: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// The numbers or the members do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The hard state cannot be read or written. Its incarnation may have been raised.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Listening failed. The incarnation was raised.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The journal cannot be written. Nothing was started.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The driver's thread or its runtime could not be made.
    #[error("the driver could not be started: {0}")]
    Driver(String),
}

impl StartError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            StartError::Missing { .. } => "missing_setting",
            StartError::Name { .. } => "bad_name",
            StartError::Config(error) => error.code(),
            StartError::Storage(error) => error.code(),
            StartError::Transport(_) => "transport",
            StartError::Journal(error) => error.code(),
            StartError::Driver(_) => "driver",
        }
    }
}

/// Why leading ended for good.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LeadError {
    /// The work failed while this node led. It has resigned.
    #[error("the work failed: {0}")]
    Work(BoxError),
    /// The elector has stopped. This node leads nothing.
    #[error("the elector has stopped")]
    Stopped,
}

impl LeadError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            LeadError::Work(_) => "work",
            LeadError::Stopped => "stopped",
        }
    }
}

/// Why leadership was not given up.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResignError {
    /// This node does not lead. Nothing was changed.
    #[error("this node does not lead{}", who_leads(leader))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The elector has stopped. This node leads nothing.
    #[error("the elector has stopped")]
    Stopped,
    /// The caller is the work that this waits for. Leadership is being given up, and is over once that work has ended.
    #[error("the order is taken: leadership is over once the work that gave it has ended")]
    AfterThisWork,
}

impl ResignError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ResignError::NotLeader { .. } => "not_leader",
            ResignError::Stopped => "stopped",
            ResignError::AfterThisWork => "after_this_work",
        }
    }
}

/// Why the application's status was not taken. The one before still stands.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// It is too long.
    #[error("a status of {len} bytes is longer than {max}")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// The most that is taken.
        max: usize,
    },
    /// The elector has stopped.
    #[error("the elector has stopped")]
    Stopped,
}

impl StatusError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            StatusError::TooLong { .. } => "too_long",
            StatusError::Stopped => "stopped",
        }
    }
}

/// A transfer that came about: another node leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferDone {
    /// The new leader.
    pub to: NodeId,
}

/// Why leadership was not handed over.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead, or is not established. Nothing was changed.
    #[error("this node does not lead{}", who_leads(leader))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// It is giving up leadership already. Nothing was changed.
    #[error("leadership is being given up already")]
    InProgress,
    /// The successor is not a voter, or is this node. Nothing was changed.
    #[error("the successor is not another voter")]
    NotAVoter,
    /// No successor is in contact. Nothing was changed.
    #[error("no successor is in contact")]
    NoSuccessor,
    /// The work of a former term has not ended at the successor: it could begin no other. Nothing was changed.
    #[error("former work of the successor has not ended")]
    WorkRunning,
    /// The successor could not be brought up to date in time. This node still leads.
    #[error("the successor could not be brought up to date in time")]
    CalledOff,
    /// The successor did not take over. This node has resigned, and an election follows.
    #[error("the successor did not take over: an election follows")]
    Failed,
    /// The elector has stopped. This node leads nothing.
    #[error("the elector has stopped")]
    Stopped,
    /// The caller is the work that this waits for. Leadership is being given up, and is over once that work has ended.
    #[error("the order is taken: leadership is over once the work that gave it has ended")]
    AfterThisWork,
}

impl TransferError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            TransferError::NotLeader { .. } => "not_leader",
            TransferError::InProgress => "in_progress",
            TransferError::NotAVoter => "not_a_voter",
            TransferError::NoSuccessor => "no_successor",
            TransferError::WorkRunning => "work_running",
            TransferError::CalledOff => "called_off",
            TransferError::Failed => "failed",
            TransferError::Stopped => "stopped",
            TransferError::AfterThisWork => "after_this_work",
        }
    }
}

/// Why a value was not proclaimed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProclaimError {
    /// This node does not lead. Nothing was changed.
    #[error("this node does not lead{}", who_leads(leader))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The value is longer than 64 KiB. Nothing was changed.
    #[error("a value of {len} bytes is longer than the {max} that can be proclaimed")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// The largest length, in bytes.
        max: usize,
    },
    /// Leadership was lost before a quorum had the value. It may still be committed by a later leader.
    #[error("leadership was lost before the value was committed: {0}")]
    Lost(LossCause),
    /// The elector has stopped. The value may still be committed by a later leader.
    #[error("the elector has stopped")]
    Stopped,
}

impl ProclaimError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ProclaimError::NotLeader { .. } => "not_leader",
            ProclaimError::TooLong { .. } => "too_long",
            ProclaimError::Lost(_) => "lost",
            ProclaimError::Stopped => "stopped",
        }
    }
}

/// Why the members were not changed, or may not have been.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The change cannot begin. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] MembershipRefused),
    /// The address cannot be used. Nothing was changed.
    #[error("the address cannot be used: {0}")]
    Address(String),
    /// The newcomer did not answer, or did not catch up, within ten election timeouts. It may be a member without a vote,
    /// which counts for nothing: adding it again goes on from there, and removing it is possible. Says which address was tried, and
    /// what came of it.
    #[error("the newcomer did not catch up in time: {0}")]
    TimedOut(PeerState),
    /// This node does not lead. Nothing was changed.
    #[error("this node does not lead{}", who_leads(leader))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Leadership ended. The change may still be committed by a later leader: ask it who the members are.
    #[error("leadership ended before the change was committed")]
    LeadershipEnded,
    /// The elector has stopped. The change may still be committed by a later leader.
    #[error("the elector has stopped")]
    Stopped,
}

impl MembershipError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            MembershipError::Refused(refused) => refused.code(),
            MembershipError::Address(_) => "address",
            MembershipError::TimedOut(_) => "timed_out",
            MembershipError::NotLeader { .. } => "not_leader",
            MembershipError::LeadershipEnded => "leadership_ended",
            MembershipError::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_prints_what_to_do() {
        let error = StartError::from(TransportError::Insecure { address: "0.0.0.0:7300".to_owned() });
        let printed = format!("{:?}", Box::<dyn std::error::Error>::from(error));
        assert!(printed.contains("write .insecure()"), "{printed}");
        assert_eq!(format!("{:?}", LeadError::Work("no disk".into())), "the work failed: no disk");
    }
}
