//! What a member answers to a readiness probe, for any HTTP framework.

use serde::Serialize;

use crate::driver::View;
use crate::transport::Health;
use crate::types::{GroupId, NodeId};

/// What a member answers to a readiness probe: a status and a body.
///
/// ```
/// # fn route(elector: &hustings::elector::Elector) -> (u16, &'static str, String) {
/// // GET /readyz, in whatever framework:
/// let readiness = elector.readiness();
/// (readiness.http_status(), "application/json", readiness.to_json())
/// # }
/// ```
///
/// A follower answers 200, and so does a member that knows no leader: neither is a failure, and neither must be restarted or taken
/// out of a service for it. Who must reach the leader reads `leader` instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether it does its part: [`Health::code`].
    pub status: &'static str,
    /// The member.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// The part it plays: `follower`, `pre_candidate`, `candidate`, `leader`, `stopped`.
    pub role: &'static str,
    /// The term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    #[serde(skip)]
    health: Health,
}

impl Readiness {
    pub(super) fn new(health: Health, node: &NodeId, group: &GroupId, view: View) -> Readiness {
        Readiness {
            status: health.code(),
            node: node.clone(),
            group: group.clone(),
            role: view.role.code(),
            term: view.term.0,
            leader: view.leader,
            health,
        }
    }

    /// Whether it does its part.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.health.is_serving()
    }

    /// 200 while it does its part, and 503 otherwise.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        if self.is_ready() { 200 } else { 503 }
    }

    /// One line of JSON: `{"status":"serving","node":"b","group":"main","role":"follower","term":3,"leader":"a"}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Names and numbers: nothing in it can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
