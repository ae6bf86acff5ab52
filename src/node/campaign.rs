//! What pre-candidate and candidate share: the campaign, its ballots, and how it ends.

use std::time::Duration;

use super::{Candidate, Node, Part, PreCandidate};
use crate::event::{CallId, EventKind, LossOfLeader, Outcome, Trigger, Waited};
use crate::message::{Holder, Reason, Reply, ReplyBody, RequestId, Verdict};
use crate::mutant::{self, Mutant};
use crate::quorum::{Tally, within};
use crate::types::{NodeId, Term, Time};

/// From the decision to campaign to its outcome: several rounds at most.
#[derive(Debug, Clone)]
pub(super) struct Campaign {
    pub(super) trigger: Trigger,
    pub(super) started: Time,
    pub(super) rounds: u64,
    /// The leader that handed over, and its term.
    pub(super) transfer: Option<(Holder, Term)>,
    /// When the first RequestVote left.
    pub(super) asked_at: Time,
    /// When the quorum granted.
    pub(super) won_at: Time,
    /// Who has answered a pre-vote of it: those at least can be reached.
    pub(super) heard: Vec<NodeId>,
}

/// One round: who was asked, and what each answered.
#[derive(Debug)]
pub(super) struct Ballot {
    /// Requests of this round have this number or a larger one.
    pub(super) first_id: u64,
    pub(super) votes: Vec<(NodeId, Answer)>,
}

/// What a voter answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Awaited,
    /// Granted; what the voter owes to others is over at this point of the candidate's clock.
    Granted {
        clear_at: Time,
    },
    /// Refused; it might grant from that point on.
    Refused {
        reason: Reason,
        free_at: Time,
    },
    /// The call brought no reply.
    Failed,
}

impl Ballot {
    pub(super) fn answer_of(&mut self, node: &NodeId) -> Option<&mut Answer> {
        self.votes.iter_mut().find(|(voter, _)| voter == node).map(|(_, answer)| answer)
    }

    pub(super) fn count(&self, which: impl Fn(&Answer) -> bool) -> usize {
        self.votes.iter().filter(|(_, answer)| which(answer)).count()
    }

    pub(super) fn granted(&self) -> usize {
        let granted = self.count(|answer| matches!(answer, Answer::Granted { .. }));
        granted + usize::from(mutant::on(Mutant::SelfCountedTwice) && granted > 0)
    }

    fn denied(&self) -> usize {
        self.count(|answer| matches!(answer, Answer::Refused { .. }))
    }

    pub(super) fn unanswered(&self) -> Vec<NodeId> {
        let open = |answer: &Answer| matches!(answer, Answer::Awaited | Answer::Failed);
        self.votes.iter().filter(|(_, answer)| open(answer)).map(|(node, _)| node.clone()).collect()
    }

    /// Judges the round. A failed call is a no where asking again costs nothing, and open where a term is at stake.
    pub(super) fn tally(&self, failed_is_no: bool) -> Tally {
        let failed = if failed_is_no { self.count(|answer| *answer == Answer::Failed) } else { 0 };
        Tally::of(self.granted(), self.denied() + failed, self.votes.len())
    }

    /// The earliest point at which the known remainders permit a quorum, if they are all that stands in the way.
    fn free_at(&self, needed: usize) -> Option<Time> {
        let free = |answer: &Answer| match answer {
            Answer::Granted { .. } => Some(Time::ZERO),
            Answer::Refused { free_at, .. } if *free_at < Time::NEVER => Some(*free_at),
            _ => None,
        };
        let mut times: Vec<Time> = self.votes.iter().filter_map(|(_, answer)| free(answer)).collect();
        within(&mut times, needed)
    }
}

impl Answer {
    /// Reads a reply at its receipt.
    pub(super) fn of(reply: &Reply, now: Time) -> Answer {
        let remainder = match &reply.body {
            ReplyBody::Vote { remainder, .. } => *remainder,
            _ => Duration::ZERO,
        };
        match reply.verdict {
            Verdict::Granted => Answer::Granted { clear_at: now + remainder },
            Verdict::Refused(reason @ (Reason::LeaderAlive | Reason::RestartQuarantine)) => {
                Answer::Refused { reason, free_at: now + remainder }
            }
            Verdict::Refused(reason) => Answer::Refused { reason, free_at: Time::NEVER },
        }
    }
}

impl Node {
    /// Decides to campaign: with a pre-vote, or by transfer without one (S10).
    pub(super) fn campaign(
        &mut self,
        trigger: Trigger,
        waited: Option<Waited>,
        transfer: Option<(Holder, Term)>,
        call: Option<CallId>,
    ) {
        let held_up = self.hindrance().is_some();
        if held_up || !self.is_promotable() || self.hard.term.next().is_none() {
            if self.hard.term.next().is_none() {
                self.alarm(crate::event::Alarm::TermExhausted, None);
            }
            return self.become_follower(trigger, Time::NEVER);
        }
        self.forget_leader(LossOfLeader::Campaign);
        self.past.attempt += 1;
        self.emit(EventKind::ElectionStarted {
            attempt: self.past.attempt,
            trigger,
            waited,
            previous: self.past.leader.clone(),
            last_contact: self.past.last_contact,
            call,
        });
        let by_transfer = transfer.is_some();
        let campaign = Campaign {
            trigger,
            started: self.now,
            rounds: 0,
            transfer,
            asked_at: Time::ZERO,
            won_at: Time::ZERO,
            heard: Vec::new(),
        };
        if by_transfer || mutant::on(Mutant::NoPreVote) {
            self.become_candidate(campaign);
        } else {
            self.become_pre_candidate(campaign);
        }
    }

    /// Who may not stand keeps the leader that it follows.
    pub(super) fn campaign_by_order(&mut self) {
        if let (Part::Follower(_), true) = (&self.part, self.may_stand()) {
            self.campaign(Trigger::Manual, None, None, None);
        }
    }

    /// A ballot with every voter in force on it, this node included.
    pub(super) fn new_ballot(&self) -> Ballot {
        let members = self.hard.record.as_ref().map_or(&[][..], |record| &record.members);
        let votes = members.iter().filter(|m| m.voter).map(|m| (m.node.clone(), Answer::Awaited)).collect();
        Ballot { first_id: self.next_request, votes }
    }

    pub(super) fn start_round(&mut self, pre_vote: bool, round: u64, term: Term) {
        self.emit(EventKind::RoundStarted {
            pre_vote,
            round,
            asked_term: term,
            last: self.hard.last(),
            quorum: self.quorum(),
            voters: self.voters(),
        });
    }

    /// Whether a vote counts: from a disk that the record names, in this very round (S7, D2).
    pub(super) fn is_countable(&self, reply: &Reply, ballot: &Ballot) -> bool {
        let record = self.hard.record.as_ref();
        let in_round = reply.id.0 >= ballot.first_id || mutant::on(Mutant::OldRoundCounted);
        let any_disk = mutant::on(Mutant::ReplacedDiskCounted);
        in_round && record.is_some_and(|r| any_disk || r.names(&reply.from.node, reply.from.disk))
    }

    /// Puts the reply on the ballot; false if it does not belong there.
    pub(super) fn record_answer(&mut self, reply: &Reply) -> bool {
        let now = self.now;
        let Some(ballot) = self.ballot() else { return false };
        let counts = self.is_countable(reply, ballot);
        let amnesiac = reply.from.amnesiac;
        self.tell_reply(reply, !counts);
        // A refusal by a disk that does not count is a refusal all the same.
        let in_round = self.ballot().is_some_and(|ballot| reply.id.0 >= ballot.first_id);
        let in_round = in_round || mutant::on(Mutant::OldRoundCounted);
        if !in_round || (!counts && reply.verdict.is_granted()) || (amnesiac && reply.verdict.is_granted()) {
            return false;
        }
        let answer = Answer::of(reply, now);
        match self.ballot_mut().and_then(|ballot| ballot.answer_of(&reply.from.node)) {
            Some(Answer::Granted { .. }) | None => false,
            Some(old) => {
                *old = answer;
                true
            }
        }
    }

    /// Notes that a call of this round failed; false if it does not belong to it.
    pub(super) fn record_failure(&mut self, id: RequestId, to: &NodeId, error: crate::message::CallError) -> bool {
        let pre_vote = matches!(self.part, Part::PreCandidate(_));
        let Some(ballot) = self.ballot_mut() else { return false };
        if id.0 < ballot.first_id {
            return false;
        }
        let Some(answer) = ballot.answer_of(to).filter(|answer| **answer == Answer::Awaited) else { return false };
        *answer = Answer::Failed;
        let kind =
            if pre_vote { crate::message::RequestKind::PreVote } else { crate::message::RequestKind::RequestVote };
        self.emit(EventKind::CallFailed { id, to: to.clone(), kind, error });
        true
    }

    /// Whoever answers a pre-vote, in time or late, can be reached.
    pub(super) fn note_heard(&mut self, node: &NodeId) {
        if let Part::PreCandidate(PreCandidate { campaign, .. }) | Part::Candidate(Candidate { campaign, .. }) =
            &mut self.part
            && !campaign.heard.contains(node)
        {
            campaign.heard.push(node.clone());
        }
    }

    pub(super) fn ballot(&self) -> Option<&Ballot> {
        match &self.part {
            Part::PreCandidate(PreCandidate { ballot, .. }) | Part::Candidate(Candidate { ballot, .. }) => Some(ballot),
            _ => None,
        }
    }

    pub(super) fn ballot_mut(&mut self) -> Option<&mut Ballot> {
        match &mut self.part {
            Part::PreCandidate(PreCandidate { ballot, .. }) | Part::Candidate(Candidate { ballot, .. }) => Some(ballot),
            _ => None,
        }
    }

    /// Reports the round that just came to its end.
    pub(super) fn end_round(&mut self, won: bool) {
        let pre_vote = matches!(self.part, Part::PreCandidate(_));
        let round = self.rounds();
        let quorum = self.quorum();
        let Some(ballot) = self.ballot() else { return };
        let (granted, denied, unanswered) = (ballot.granted(), ballot.denied(), ballot.unanswered());
        if won {
            self.emit(EventKind::QuorumReached { pre_vote, granted, quorum });
        }
        self.emit(EventKind::RoundEnded { pre_vote, round, won, granted, denied, unanswered });
    }

    fn rounds(&self) -> u64 {
        match &self.part {
            Part::PreCandidate(PreCandidate { campaign, .. }) | Part::Candidate(Candidate { campaign, .. }) => {
                campaign.rounds
            }
            _ => 0,
        }
    }

    /// The election is over without a win: back to follower, and when to retry.
    pub(super) fn end_election(&mut self, outcome: Outcome, retry_at: Option<Time>) {
        if !matches!(&self.part, Part::PreCandidate(pre_candidate) if !pre_candidate.is_asking()) {
            self.end_round(false);
        }
        let rounds = self.rounds();
        let trigger = match &self.part {
            Part::PreCandidate(PreCandidate { campaign, .. }) | Part::Candidate(Candidate { campaign, .. }) => {
                campaign.trigger
            }
            _ => return,
        };
        let trigger = if trigger == Trigger::Transfer { Trigger::LeaderResigned } else { trigger };
        let retry_in = retry_at.map(|at| at.since(self.now));
        self.emit(EventKind::ElectionEnded { outcome, rounds, retry_in });
        match retry_at {
            Some(at) => self.become_follower(trigger, at),
            None => self.wait_drawn(Trigger::ElectionTimeout),
        }
    }

    /// When a lost campaign is retried: as soon as the known remainders permit a quorum and its place in the queue has
    /// come; otherwise after U[0.2, 0.6] election timeouts. Never with a new election timeout: a refusal for a promise
    /// that has a moment left would cost a whole one.
    pub(super) fn retry_at(&mut self) -> Time {
        if mutant::on(Mutant::NoSuccession) {
            return self.now
                + self.draw(self.config.timing.election_timeout_min, self.config.timing.election_timeout_max);
        }
        let timeout = self.config.timing.election_timeout_min;
        let later = self.draw(timeout / 5, timeout * 3 / 5);
        self.free_at().unwrap_or(self.now + later)
    }

    /// When the known remainders permit a quorum and this node's place in the queue has come.
    pub(super) fn free_at(&mut self) -> Option<Time> {
        let needed = self.quorum();
        let free_at = self.ballot()?.free_at(needed)?;
        Some(free_at.max(self.now) + self.slot())
    }

    /// With evidence of its own, a node need not wait for the promises of voters that are about to find theirs: another
    /// round of the same election, soon and then less and less soon. `None` once the promises end earlier.
    pub(super) fn evidence_retry_at(&mut self) -> Option<Time> {
        self.evidence.as_ref()?;
        let needed = self.quorum();
        let free_at = self.ballot()?.free_at(needed)?;
        let wait = self.config.timing.succession_slot / 16 * 2_u32.saturating_pow(self.past.evidence_retries);
        let at = self.now + wait;
        self.past.evidence_retries += 1;
        (at < free_at).then_some(at)
    }
}
