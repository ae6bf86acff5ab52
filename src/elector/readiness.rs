//! What a member answers to a readiness probe, for any HTTP framework.

use serde::Serialize;

use crate::driver::View;
use crate::transport::{Health, HealthWatch, Unready};
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
/// A follower is ready like a leader, and one that was ready stays so when its leader is lost. It is not ready before it is
/// of use to the others: [`Unready`] says what that takes. A rollout that waits for each member to be ready before it takes the
/// next one down, disks emptied or kept, never takes the cluster's majority with it.
///
/// This is no liveness probe. Nothing that readiness waits for is cured by a restart: for that there is
/// [`Health::is_alive`] of [`Elector::health`](super::Elector::health). Who must reach the leader reads `leader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether it does its part: [`Health::code`].
    pub status: &'static str,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not: [`Unready::code`]. `None` if it is.
    #[serde(serialize_with = "code")]
    pub reason: Option<Unready>,
    /// The same as a sentence.
    pub message: Option<&'static str>,
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
    pub(super) fn new(watch: &HealthWatch, node: &NodeId, group: &GroupId, view: View) -> Readiness {
        let (health, reason) = (watch.current(), watch.unready());
        Readiness {
            status: health.code(),
            ready: reason.is_none(),
            reason,
            message: reason.map(Unready::sentence),
            node: node.clone(),
            group: group.clone(),
            role: view.role.code(),
            term: view.term.0,
            leader: view.leader,
            health,
        }
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// How it is, ready or not: a liveness probe asks whether it [is alive](Health::is_alive).
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// 200 while it is ready, and 503 otherwise.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        if self.is_ready() { 200 } else { 503 }
    }

    /// One line of JSON: `{"status":"serving","ready":true,"reason":null,"message":null,"node":"b","group":"main","role":"follower","term":3,"leader":"a"}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Names and numbers: nothing in it can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref, clippy::ref_option)]
fn code<S: serde::Serializer>(reason: &Option<Unready>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Unready::code).serialize(serializer)
}
