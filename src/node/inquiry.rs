//! Nobody is admitted on its own word (PROPERTIES S13): what a message claims of a record that this node does not hold is
//! asked of the members that it lists.
//!
//! A member that was away knows neither who was added meanwhile nor whether what it is told of them is true: anybody can
//! say that it holds a newer record, and anybody can write one. So it refuses what it cannot judge, and puts the question
//! that a node without a record puts. The answer comes over a connection of its own, from a node that its own record
//! names, and that one went by the same rule: what it holds was created by a leader of this cluster.
//!
//! The price is a round trip, and that a member which lists nobody who is left takes no part until a person gives it a
//! new disk and the present list: it cannot tell its cluster from another one. It says so ([`Alarm::ForeignRecord`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::pre_candidate::Stage;
use super::{Node, Part};
use crate::event::Alarm;
use crate::message::{Reply, ReplyBody, Request, RequestBody};
use crate::mutant::{self, Mutant};
use crate::quorum::quorum;
use crate::record::{Record, RecordId};
use crate::types::{NodeId, Time};

/// What was claimed, and what the members that were asked know of it.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    claim: Option<Claim>,
    /// The requests of the newest round.
    asked: Range<u64>,
    next_round: Time,
    /// From one round to the next: it doubles, so that a stranger who keeps on claiming makes ever less of it travel.
    wait: Duration,
    /// Who answered to hold nothing newer than this node.
    denied: Vec<NodeId>,
    /// What the leader that is followed answered: its next message brings it.
    vouched: Option<Arc<Record>>,
}

/// A record that nobody here vouches for, and who spoke of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    by: NodeId,
    id: RecordId,
}

impl Node {
    /// Whether the sender is a member by the record that this node holds, and what it sends can be judged by that.
    ///
    /// # Errors
    /// A stranger (`None`), or the claim that has to be asked about first.
    pub(super) fn vouch_for(&self, request: &Request) -> Result<(), Option<Claim>> {
        let by = &request.from.node;
        let (theirs, record) = match &request.body {
            RequestBody::PreVote { last } | RequestBody::RequestVote { last, .. } => (*last, None),
            // A heartbeat says what its leader's newest committed record is.
            RequestBody::AppendEntries { record, committed, .. } => {
                (record.as_ref().map(|record| record.id).max(*committed), record.as_ref())
            }
            RequestBody::TimeoutNow | RequestBody::Resign => (None, None),
        };
        // A node without a record goes by its list, and has nothing to compare a claim of a stranger's with.
        let last = self.hard.last();
        let newer = theirs.filter(|theirs| last.is_some_and(|last| *theirs > last));
        let claim = |id| Claim { by: by.clone(), id };
        let believed = newer.is_some() && mutant::on(Mutant::StrangerAdmitted);
        if !self.is_expected(by) && !believed {
            return Err(newer.map(claim));
        }
        match record.filter(|record| !self.is_credible(record)) {
            Some(record) => Err(Some(claim(record.id))),
            None => Ok(()),
        }
    }

    /// Whether a record may come from a message alone. Where every quorum of its voters shares a member with every quorum
    /// of ours, somebody whom this node goes by has a say in it; a record further away is asked about.
    fn is_credible(&self, record: &Arc<Record>) -> bool {
        let vouched = self.inquiry.vouched.as_ref() == Some(record);
        self.hard.last() >= Some(record.id)
            || self.must_meet(record)
            || vouched
            || mutant::on(Mutant::ForeignRecordAccepted)
    }

    /// Whether every quorum of that record's voters shares a node with every quorum of those that this node goes by: the
    /// voters of its own record, and before it has one everybody on its list.
    fn must_meet(&self, record: &Record) -> bool {
        let votes_here = |node: &NodeId| match &self.hard.record {
            Some(mine) => mine.member(node).is_some_and(|member| member.voter),
            None => self.config.members.contains(node),
        };
        let shared = record.members.iter().filter(|member| member.voter && votes_here(&member.node)).count();
        let (here, there) = (self.voters(), record.voters());
        quorum(here) + quorum(there) + shared > here + there
    }

    /// Asks everybody on its record what they hold, at most so often. In any role, since the answers may show that the
    /// claim is a stranger's.
    pub(super) fn inquire(&mut self, claim: Claim) {
        let (shortest, longest) = (self.probe_interval(), self.config.timing.election_timeout_max * 2);
        if self.now < self.inquiry.next_round {
            return;
        }
        if self.inquiry.claim.as_ref() == Some(&claim) {
            // Asked before, and nobody knew of it.
            self.alarm(Alarm::ForeignRecord, Some(claim.by.clone()));
        }
        let Some(term) = self.hard.term.next() else { return };
        let wait = (self.inquiry.wait * 2).clamp(shortest, longest);
        let first = self.next_request;
        for node in self.others() {
            self.send(node, term, RequestBody::PreVote { last: None });
        }
        let (asked, next_round) = (first..self.next_request, self.now + wait);
        let vouched = self.inquiry.vouched.take();
        self.inquiry = Inquiry { claim: Some(claim), asked, next_round, wait, denied: Vec::new(), vouched };
        self.judge_claim();
    }

    pub(super) fn is_inquiry(&self, reply: &Reply) -> bool {
        let tells = self.hard.record.is_some() || matches!(reply.body, ReplyBody::Vote { record: Some(_), .. });
        self.inquiry.asked.contains(&reply.id.0) && self.is_expected(&reply.from.node) && tells
    }

    pub(super) fn receive_inquiry_reply(&mut self, reply: &Reply) {
        let ReplyBody::Vote { record: Some(record), .. } = &reply.body else { return };
        if Some(record.id) <= self.hard.last() {
            if !self.inquiry.denied.contains(&reply.from.node) {
                self.inquiry.denied.push(reply.from.node.clone());
            }
            return self.judge_claim();
        }
        let me = &self.config.node;
        let known = |node: &NodeId| node != me && self.is_expected(node);
        if !self.must_meet(record) && !record.members.iter().any(|member| known(&member.node)) {
            return self.alarm(Alarm::ForeignRecord, Some(reply.from.node.clone()));
        }
        self.inquiry = Inquiry::default();
        match &self.part {
            // A1: only without a leader. One that is known sends its record itself.
            Part::Follower(follower) if follower.leader.is_none() => self.adopt(record, reply.term, &reply.from),
            Part::PreCandidate(pre_candidate) => {
                if pre_candidate.is_asking() {
                    self.end_round(false);
                }
                self.adopt(record, reply.term, &reply.from);
                self.enter(Stage::Adopting, Time::NEVER);
            }
            Part::Follower(_) if self.leads_me(&reply.from, reply.term) => {
                self.inquiry.vouched = Some(record.clone());
            }
            _ => {}
        }
    }

    /// What a quorum of this node's members does not know is nobody's of this cluster, but for a record in flight.
    fn judge_claim(&mut self) {
        if self.inquiry.denied.len() + 1 < self.quorum() {
            return;
        }
        if let Some(Claim { by, .. }) = &self.inquiry.claim {
            let by = by.clone();
            self.alarm(Alarm::ForeignRecord, Some(by));
        }
    }
}
