//! The last elections of each group, in memory: who asked whom, who answered what and why, without a collector.
//!
//! A [`Recent`] is an [`Observer`] and a handle at once: one clone is given to the driver, another is asked. It keeps a
//! fixed number of elections per group, and a fixed number of rounds and answers in each, so that a flapping cluster
//! cannot grow it. What was left out is counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::event::{Event, LeadershipEnd, Outcome, Trigger, Waited};
use crate::message::{CallError, RequestId, RequestKind, Verdict};
use crate::observer::Observer;
use crate::record::RecordId;
use crate::types::{GroupId, NodeId, Term, Time};

mod fold;
mod tree;

/// How many elections a group keeps unless told otherwise.
pub const CAPACITY: usize = 16;

/// Keeps the last elections of each group. Clones share one memory.
#[derive(Debug, Clone)]
pub struct Recent {
    capacity: usize,
    groups: Arc<Mutex<BTreeMap<GroupId, fold::Group>>>,
}

impl Recent {
    /// Keeps `capacity` elections per group, at least one. [`Recent::default`] keeps [`CAPACITY`].
    #[must_use]
    pub fn new(capacity: usize) -> Recent {
        Recent { capacity: capacity.max(1), groups: Arc::default() }
    }

    /// The last elections of a group as this node saw them, the oldest first; empty for a group without any.
    ///
    /// The driver waits while the answer is copied: some microseconds, since what is kept is bounded.
    #[must_use]
    pub fn elections(&self, group: &GroupId) -> Vec<ElectionSummary> {
        self.lock().get(group).map(fold::Group::elections).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, fold::Group>> {
        // A panic elsewhere cannot leave a summary worse than incomplete.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recent {
    fn default() -> Self {
        Recent::new(CAPACITY)
    }
}

impl Observer for Recent {
    fn observe(&mut self, event: &Event) {
        if !fold::concerns_elections(&event.kind) {
            return;
        }
        let capacity = self.capacity;
        let mut groups = self.lock();
        if let Some(group) = groups.get_mut(&event.who.group) {
            return group.take(event, capacity);
        }
        groups.entry(event.who.group.clone()).or_default().take(event, capacity);
    }
}

/// One election as one node saw it. Its `Display` is a tree for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ElectionSummary {
    /// Who tells.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// Who stood.
    pub candidate: NodeId,
    /// The term that was asked for last.
    pub term: Term,
    /// When it began for this node, on its clock.
    pub started: Time,
    /// Its own campaign, or another's that it answered.
    pub part: Part,
}

/// The part that this node had in an election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It stood.
    Candidate(Box<Campaign>),
    /// It was asked.
    Voter(Asked),
}

/// A campaign of the node that tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// Counts the attempts since a leader was known, from 1.
    pub attempt: u64,
    /// Why it stood.
    pub trigger: Trigger,
    /// The timeout, where one was waited for.
    pub waited: Option<Waited>,
    /// The leader before, and its term.
    pub previous: Option<(NodeId, Term)>,
    /// The last accepted contact with it.
    pub last_contact: Option<Time>,
    /// The rounds of pre-votes and votes, in order: the first and the last ones, if there were too many.
    pub rounds: Vec<Round>,
    /// How many rounds were left out.
    pub rounds_left_out: u64,
    /// From the election to the committed no-op; `None` if it was not elected.
    pub establishing: Option<Establishing>,
    /// How it ended, and when; `None` while it is open.
    pub outcome: Option<(Outcome, Time)>,
    /// When the node was to retry.
    pub retry_in: Option<Duration>,
    /// Who led next, in which term, and when this node knew it.
    pub leader: Option<(NodeId, Term, Time)>,
    /// Why and when its term of office ended, if it led and does no longer.
    pub office_ended: Option<(LeadershipEnd, Time)>,
}

/// A round of pre-votes or votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Whether it is a pre-vote.
    pub pre_vote: bool,
    /// Its number, from 1.
    pub round: u64,
    /// The term that was asked for.
    pub asked_term: Term,
    /// The newest record that the node held.
    pub last: Option<RecordId>,
    /// How many votes were needed.
    pub quorum: usize,
    /// How many members vote.
    pub voters: usize,
    /// When it began.
    pub started: Time,
    /// How it was decided; `None` while it is open.
    pub decided: Option<Decided>,
    /// How long the disk took for the node's own vote; a pre-vote needs none.
    pub own_vote: Option<Duration>,
    /// What was asked of each voter, in order.
    pub requests: Vec<Question>,
    /// Records that were learned from refusals, and from whom.
    pub adopted: Vec<(RecordId, NodeId)>,
}

/// How a round was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// When.
    pub at: Time,
    /// Whether a quorum granted.
    pub won: bool,
    /// How many granted, the node itself included.
    pub granted: usize,
    /// How many refused.
    pub denied: usize,
    /// Who did not answer.
    pub unanswered: Vec<NodeId>,
}

/// The way from elected to established and exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Establishing {
    /// When a quorum had granted.
    pub elected: Time,
    /// How long the voters still owed something to former leaders.
    pub barrier: Duration,
    /// How long the disk took for the leader's own copy of its no-op.
    pub own_record: Option<Duration>,
    /// The requests that carried the no-op, as long as it was not committed.
    pub requests: Vec<Question>,
    /// When the no-op was committed.
    pub established: Option<Time>,
    /// From the last accepted contact with the leader before to the committed no-op.
    pub leaderless: Option<Duration>,
    /// When nothing was owed to former leaders any more.
    pub exclusive: Option<Time>,
}

/// One request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question {
    /// The number of the request.
    pub id: RequestId,
    /// Who was asked.
    pub to: NodeId,
    /// When it left.
    pub sent: Time,
    /// What came of it.
    pub answer: Answered,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Nothing yet.
    Open,
    /// A reply.
    Reply {
        /// The verdict, with its reason.
        verdict: Verdict,
        /// What the voter owes to others, or what its refusal waits for.
        remainder: Duration,
        /// From sending to the reply.
        round_trip: Duration,
        /// How much of that the voter worked, its disk included.
        worked: Duration,
        /// Whether it came after the decision.
        late: bool,
    },
    /// No reply.
    Failed {
        /// Why.
        error: CallError,
        /// From sending to the failure.
        after: Duration,
    },
}

/// An election of another, as the voter that tells saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// What it answered, in order: the last ones, if there were too many.
    pub answers: Vec<Given>,
    /// How many answers were left out.
    pub answers_left_out: u64,
    /// Who led that term in the end, and when this node knew it.
    pub leader: Option<(NodeId, Time)>,
}

/// What a voter answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given {
    /// A pre-vote or a vote.
    pub kind: RequestKind,
    /// The verdict, with its reason.
    pub verdict: Verdict,
    /// What this voter owes to others, or what its refusal waits for.
    pub remainder: Duration,
    /// When the answer left.
    pub at: Time,
    /// From the request to the answer.
    pub worked: Duration,
    /// How much of that was the disk's.
    pub disk: Option<Duration>,
}

/// A part of a campaign and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Which.
    pub name: PhaseName,
    /// How long.
    pub took: Duration,
}

/// The parts of a campaign, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// From the last contact with the leader to the decision to campaign.
    Detection,
    /// All rounds of pre-votes.
    PreVote,
    /// All rounds of votes.
    Vote,
    /// From elected to established.
    Establish,
    /// From established to exclusive.
    Exclusive,
}

impl ElectionSummary {
    /// The campaign, if the node that tells stood.
    #[must_use]
    pub fn campaign(&self) -> Option<&Campaign> {
        match &self.part {
            Part::Candidate(campaign) => Some(campaign),
            Part::Voter(_) => None,
        }
    }

    /// How the time of a campaign was spent: only phases that are over, in order. Empty for another's election.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        let Some(campaign) = self.campaign() else {
            return Vec::new();
        };
        let rounds = |pre_vote| {
            let of_kind = campaign.rounds.iter().filter(move |round| round.pre_vote == pre_vote);
            of_kind.filter_map(Round::took).reduce(|sum, took| sum.saturating_add(took))
        };
        let establishing = campaign.establishing.as_ref();
        let established = establishing.and_then(|e| e.established);
        let exclusive = establishing.and_then(|e| e.exclusive);
        let phases = [
            (PhaseName::Detection, campaign.last_contact.map(|contact| self.started.since(contact))),
            (PhaseName::PreVote, rounds(true)),
            (PhaseName::Vote, rounds(false)),
            (PhaseName::Establish, establishing.and_then(|e| Some(established?.since(e.elected)))),
            (PhaseName::Exclusive, established.and_then(|from| Some(exclusive?.since(from)))),
        ];
        phases.into_iter().filter_map(|(name, took)| Some(Phase { name, took: took? })).collect()
    }
}

impl Round {
    /// From its start to its decision; `None` while it is open.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.decided.as_ref().map(|decided| decided.at.since(self.started))
    }
}

#[cfg(test)]
mod tests;
