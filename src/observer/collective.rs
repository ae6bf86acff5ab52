//! The whole group, as one of its members sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Role;
use crate::message::{Contention, Identity};
use crate::record::RecordId;
use crate::types::{NodeId, Term, Time};

/// The longest status of the application's own, in bytes.
pub const STATUS_LEN_MAX: usize = 256;

/// What one node knows of the whole group: no consensus, and not what is, but what was last seen.
///
/// A leader hears every member at each heartbeat. A follower hears its leader, and of the others only what elections made
/// them say: what it knows of them is old, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectiveState {
    /// When, on this node's clock.
    pub at: Time,
    /// Who says so.
    pub who: Arc<Identity>,
    /// The term.
    pub term: Term,
    /// The leader that is known, this node included.
    pub leader: Option<NodeId>,
    /// The newest record that this node holds in memory.
    pub record: Option<RecordId>,
    /// The members of that record, this node included if it is one; before the first record those of the configuration.
    pub members: Vec<MemberState>,
}

/// One member, as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberState {
    /// Its name.
    pub node: NodeId,
    /// Whether it votes.
    pub voter: bool,
    /// The role that its last words showed; `None` if it was never heard.
    pub role: Option<Role>,
    /// The term that it named last.
    pub term: Option<Term>,
    /// How long ago it was heard; zero for this node, `None` for one that was never heard.
    pub contact_age: Option<Duration>,
    /// Whether that is less than the smallest election timeout. `None` where silence says nothing: a follower is spoken to
    /// by its leader only.
    pub in_contact: Option<bool>,
    /// The record that it holds on disk, as it told a leader last.
    pub durable: Option<RecordId>,
    /// By how many records that is behind the newest one of this node; `None` while it is not known.
    pub lag: Option<u64>,
    /// How its disk is.
    pub disk: DiskState,
    /// How long its newest write took that somebody waited for, as far as it can be told; for another member with what it
    /// did beside writing.
    pub disk_latency: Option<Duration>,
    /// Whether it stands in its own right, or why it stands back: of this node, and on a leader as each member said last.
    pub contention: Option<Contention>,
    /// Whether it leads and works; known of this node alone.
    pub works: Option<bool>,
    /// What the application says of itself (`Elector::set_status`). Known of this node alone: it does not travel.
    pub status: Option<Arc<str>>,
}

/// How a member's disk is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskState {
    /// Nothing was heard of it.
    Unknown,
    /// It keeps what it is given.
    Good,
    /// It is not the disk that the record names: the member does not vote.
    Amnesiac,
    /// A write failed: the member refuses votes until its storage has started over.
    Failed,
}

impl DiskState {
    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            DiskState::Unknown => "unknown",
            DiskState::Good => "good",
            DiskState::Amnesiac => "amnesiac",
            DiskState::Failed => "failed",
        }
    }
}

impl CollectiveState {
    /// What is known of that member.
    #[must_use]
    pub fn member(&self, node: &NodeId) -> Option<&MemberState> {
        self.members.iter().find(|member| member.node == *node)
    }
}

/// `n2 follower voter in_contact disk=good durable=4,9 status="warming up"`
impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.map_or("unknown", Role::code);
        let voter = if self.voter { "voter" } else { "non_voter" };
        write!(f, "{} {role} {voter}", self.node)?;
        match self.in_contact {
            Some(true) => f.write_str(" in_contact")?,
            Some(false) => f.write_str(" silent")?,
            None => {}
        }
        write!(f, " disk={}", self.disk.code())?;
        if let Some(RecordId { term, index }) = self.durable {
            write!(f, " durable={},{index}", term.0)?;
        }
        if let Some(contention) = self.contention.filter(|contention| *contention != Contention::Contends) {
            write!(f, " stands_back={}", contention.code())?;
        }
        if self.role == Some(Role::Leader) && self.works == Some(false) {
            f.write_str(" no_work")?;
        }
        match &self.status {
            Some(status) => write!(f, " status={status:?}"),
            None => Ok(()),
        }
    }
}
