//! Heartbeats that are looked at: one round in many.

use std::sync::Arc;
use std::time::Duration;

use crate::message::{CallError, Identity, RequestId, Verdict};
use crate::types::{NodeId, Term, Time, TraceContext};

/// Something about a heartbeat that was picked. Whether one is picked is decided before anything is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// When, on the node's clock.
    pub at: Time,
    /// Who reports it.
    pub who: Arc<Identity>,
    /// The term.
    pub term: Term,
    /// What.
    pub kind: BeatKind,
}

/// What happened to a picked heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeatKind {
    /// As leader: a round is about to leave. Its requests follow.
    Round {
        /// Counts the rounds of this leadership, from 1.
        number: u64,
        /// The longest silence of a follower that this round follows upon, if one was silent for more than two heartbeats
        /// and has just been heard again.
        gap: Option<Duration>,
    },
    /// A request of the round is about to leave.
    Sent {
        /// The request.
        id: RequestId,
        /// Who gets it.
        to: NodeId,
    },
    /// It was answered.
    Answered {
        /// The request.
        id: RequestId,
        /// Who answered.
        from: NodeId,
        /// The verdict.
        verdict: Verdict,
        /// How long the follower worked on it.
        worked: Duration,
        /// From its leaving to here.
        round_trip: Duration,
    },
    /// It brought no answer.
    Failed {
        /// The request.
        id: RequestId,
        /// Who was asked.
        to: NodeId,
        /// Why.
        error: CallError,
    },
    /// As follower: a heartbeat was answered.
    Received {
        /// The leader.
        from: NodeId,
        /// The request.
        id: RequestId,
        /// Its trace context; none if the leader did not pick it.
        context: TraceContext,
        /// How this node answered.
        verdict: Verdict,
        /// Since the heartbeat before from the same leader in the same term; `None` for the first.
        interval: Option<Duration>,
        /// Whether that was more than two heartbeats.
        ends_gap: bool,
    },
}
