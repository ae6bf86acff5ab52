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
    /// A candidacy lasts at least one election timeout...
    pub(super) deadline: Time,
    /// ...unless nobody who can be reached is left to be asked: then it ends here.
    pub(super) give_up_at: Time,
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
        let (give_up_at, resend_at) = (Time::NEVER, Time::NEVER);
        self.become_part(Part::Candidate(Candidate { campaign, ballot, deadline, give_up_at, resend_at }));
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
            Tally::Won | Tally::Open => self.plan_to_give_up(),
        }
    }

    /// Two candidates that each reach a bare quorum have split it with the first refusal, and whoever else there is cannot
    /// be heard: to wait for them would cost an election timeout and more. Asking again costs nobody anything.
    fn plan_to_give_up(&mut self) {
        let hopeless = self.is_hopeless() && !mutant::on(Mutant::NoSuccession);
        let timeout = self.config.timing.election_timeout_min;
        let Part::Candidate(candidate) = &self.part else { return };
        if hopeless && candidate.give_up_at == Time::NEVER {
            let asked_at = candidate.campaign.asked_at;
            let give_up_at = asked_at + self.draw(timeout / 5, timeout * 3 / 5);
            if let Part::Candidate(candidate) = &mut self.part {
                candidate.give_up_at = give_up_at;
            }
        }
    }

    /// Whether those that answered the pre-vote can no longer make a quorum.
    fn is_hopeless(&self) -> bool {
        let Part::Candidate(Candidate { campaign, ballot, .. }) = &self.part else { return false };
        let open = |(node, answer): &(NodeId, Answer)| {
            let reached = *node == self.config.node || campaign.heard.contains(node);
            reached && matches!(answer, Answer::Awaited | Answer::Failed)
        };
        let open = ballot.votes.iter().filter(|vote| open(vote)).count();
        // A hand-over asks without a pre-vote: nothing is known of who can be reached.
        campaign.transfer.is_none() && ballot.granted() + open < self.quorum()
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
        let hopeless = self.is_hopeless();
        let Part::Candidate(candidate) = &mut self.part else { return };
        let gives_up = self.now >= candidate.give_up_at && hopeless;
        if self.now >= candidate.deadline || gives_up {
            let split = |answer: &Answer| matches!(answer, Answer::Refused { reason: Reason::AlreadyVoted, .. });
            let outcome =
                if candidate.ballot.count(split) > 0 { Outcome::SplitVote } else { Outcome::QuorumUnreachable };
            // The wait before a retry is over already for whoever gave up after it.
            let retry_at = if gives_up { self.now } else { self.retry_at() };
            return self.end_election(outcome, Some(retry_at));
        }
        if self.now >= candidate.give_up_at {
            // Somebody was heard late: there is hope again.
            candidate.give_up_at = Time::NEVER;
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
