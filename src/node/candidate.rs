//! The candidate: asks for votes in a term of its own.

use super::campaign::{Answer, Ballot, Campaign};
use super::{Node, Part};
use crate::event::{Outcome, PersistCause};
use crate::message::{CallError, Reason, Reply, RequestBody, RequestId};
use crate::mutant::{self, Mutant};
use crate::quorum::Tally;
use crate::types::{NodeId, Time};

/// What means something only to a candidate.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) campaign: Campaign,
    pub(super) ballot: Ballot,
    /// A candidacy lasts at least one election timeout.
    pub(super) deadline: Time,
    /// When those are asked again whose call failed: a term is at stake.
    pub(super) resend_at: Time,
}

impl Node {
    /// Paper §5.2: increments its term, votes for itself, asks the others. The request may leave beside its own write;
    /// its own vote counts only when durable (S3).
    pub(super) fn become_candidate(&mut self, mut campaign: Campaign) {
        let Some(term) = self.next_term() else { return };
        if term > self.hard.term || mutant::on(Mutant::TermWraps) {
            self.advance_term(term);
        }
        self.hard.voted_for = Some(self.config.node.clone());
        self.change(PersistCause::OwnVote);
        campaign.rounds += 1;
        campaign.asked_at = self.now;
        let (round, transfer) = (campaign.rounds, campaign.transfer.clone());
        let ballot = self.new_ballot();
        let timing = &self.config.timing;
        let patience = self.draw(timing.election_timeout_min, timing.election_timeout_max);
        let deadline = self.now + patience;
        self.become_part(Part::Candidate(Candidate { campaign, ballot, deadline, resend_at: Time::NEVER }));
        self.start_round(false, round, term);
        let last = self.hard.last();
        for voter in self.other_voters() {
            let body = RequestBody::RequestVote { last, transfer: transfer.clone() };
            self.send_announced(&voter, term, body);
        }
    }

    pub(super) fn receive_vote_reply(&mut self, reply: &Reply) {
        let Part::Candidate(_) = self.part else { return self.tell_reply(reply, true) };
        self.record_answer(reply);
        if reply.term > self.hard.term && !reply.verdict.is_granted() {
            // §5.1: a candidate that discovers its term is out of date reverts to follower.
            self.end_election(Outcome::HigherTerm, None);
            return self.advance_term(reply.term);
        }
        self.count_votes();
    }

    /// Counts, once the own vote is durable: no term is led that a restart could forget (S3).
    pub(super) fn count_votes(&mut self) {
        let me = self.config.node.clone();
        let own_is_durable = self.durable.term == self.hard.term && self.durable.voted_for.as_ref() == Some(&me);
        let own_is_durable = own_is_durable || mutant::on(Mutant::LeadsBeforeOwnVoteDurable);
        let clear_at = self.own_barrier();
        let Part::Candidate(candidate) = &mut self.part else { return };
        if own_is_durable && let Some(own @ Answer::Awaited) = candidate.ballot.answer_of(&me) {
            *own = Answer::Granted { clear_at };
        }
        match candidate.ballot.tally(false) {
            Tally::Won if own_is_durable => {
                candidate.campaign.won_at = self.now;
                let campaign = candidate.campaign.clone();
                let barrier = self.barrier();
                self.end_round(true);
                self.become_leader(campaign, barrier);
            }
            Tally::Lost => {
                let split = |answer: &Answer| matches!(answer, Answer::Refused { reason: Reason::AlreadyVoted, .. });
                let outcome = if candidate.ballot.count(split) > 0 { Outcome::SplitVote } else { Outcome::Lost };
                let retry_at = self.retry_at();
                self.end_election(outcome, Some(retry_at));
            }
            Tally::Won | Tally::Open => {}
        }
    }

    /// When nothing is owed to a former leader any more by the quorum that is clear first, this node in it: every quorum
    /// of promises meets every quorum of votes.
    fn barrier(&self) -> Time {
        if mutant::on(Mutant::LeaseBeforeRemainder) {
            return self.now;
        }
        let Some(ballot) = self.ballot() else { return Time::NEVER };
        let clear = |(node, answer): &(NodeId, Answer)| match answer {
            Answer::Granted { clear_at } if *node != self.config.node => Some(*clear_at),
            _ => None,
        };
        let mut others: Vec<Time> = ballot.votes.iter().filter_map(clear).collect();
        let needed = self.quorum() - 1;
        let others = crate::quorum::within(&mut others, needed).unwrap_or(Time::ZERO);
        others.max(self.own_barrier())
    }

    pub(super) fn fail_vote(&mut self, id: RequestId, to: &NodeId, error: CallError) {
        if !self.record_failure(id, to, error) {
            return;
        }
        let again = self.now + self.config.timing.election_timeout_min / 8;
        if let Part::Candidate(candidate) = &mut self.part {
            candidate.resend_at = candidate.resend_at.min(again);
        }
    }

    pub(super) fn tick_candidate(&mut self) {
        let Part::Candidate(candidate) = &mut self.part else { return };
        if self.now >= candidate.deadline {
            let split = |answer: &Answer| matches!(answer, Answer::Refused { reason: Reason::AlreadyVoted, .. });
            let outcome =
                if candidate.ballot.count(split) > 0 { Outcome::SplitVote } else { Outcome::QuorumUnreachable };
            let retry_at = self.retry_at();
            return self.end_election(outcome, Some(retry_at));
        }
        if self.now < candidate.resend_at {
            return;
        }
        candidate.resend_at = Time::NEVER;
        let transfer = candidate.campaign.transfer.clone();
        let mut again = Vec::new();
        for (node, answer) in &mut candidate.ballot.votes {
            if *answer == Answer::Failed {
                *answer = Answer::Awaited;
                again.push(node.clone());
            }
        }
        let (term, last) = (self.hard.term, self.hard.last());
        for node in again {
            self.send_announced(&node, term, RequestBody::RequestVote { last, transfer: transfer.clone() });
        }
    }
}
