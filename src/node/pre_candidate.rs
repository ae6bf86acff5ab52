//! The pre-candidate: asks whether it would be elected, and learns what it lacks before it leads.

use super::campaign::{Answer, Ballot, Campaign};
use super::voter::Plea;
use super::{Node, Part};
use crate::event::{Alarm, Outcome, Trigger};
use crate::message::{CallError, Hearsay, Reason, Reply, ReplyBody, RequestBody, RequestId, Verdict};
use crate::mutant::{self, Mutant};
use crate::quorum::Tally;
use crate::types::{NodeId, Time};

/// What means something only to a pre-candidate.
#[derive(Debug)]
pub(super) struct PreCandidate {
    pub(super) campaign: Campaign,
    pub(super) ballot: Ballot,
    /// When the stage is over, if nothing ends it before.
    pub(super) deadline: Time,
    stage: Stage,
}

/// What a pre-candidate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A round is open; at the deadline it is given up.
    Asking,
    /// A learned record is being written; the next round begins when it is durable, and there is no deadline.
    Adopting,
    /// The round is over; the next one begins at the deadline.
    Pausing,
}

impl PreCandidate {
    /// Whether a round is open.
    pub(super) fn is_asking(&self) -> bool {
        self.stage == Stage::Asking
    }
}

impl Node {
    /// Entering pre-candidate has forgotten the leader, so that two pre-candidates can grant each other.
    pub(super) fn become_pre_candidate(&mut self, campaign: Campaign) {
        let ballot = self.new_ballot();
        let stage = Stage::Asking;
        self.become_part(Part::PreCandidate(PreCandidate { campaign, ballot, deadline: Time::NEVER, stage }));
        self.start_pre_vote();
    }

    /// Asks every voter for the term after this one; nobody's state changes by it (S9).
    fn start_pre_vote(&mut self) {
        let Some(term) = self.next_term() else {
            self.alarm(Alarm::TermExhausted, None);
            return self.end_election(Outcome::Cancelled, None);
        };
        // A1: a record that was learned is durable before anybody is told of it, in this campaign or in a later one.
        if self.durable.last != self.hard.last() && !mutant::on(Mutant::AdoptedBeforeDurable) {
            return self.enter(Stage::Adopting, Time::NEVER);
        }
        let mut ballot = self.new_ballot();
        let me = self.holder();
        let last = self.hard.last();
        let plea = Plea { candidate: &me, amnesiac: false, term, last, transfer: None };
        let own = match self.judge(&plea) {
            Ok(()) => Answer::Granted { clear_at: self.own_barrier() },
            Err((reason, remaining)) => Answer::Refused { reason, free_at: self.now + remaining },
        };
        if let Some(answer) = ballot.answer_of(&me.node) {
            *answer = own;
        }
        let timeout = self.config.timing.election_timeout_min;
        let shortest = if mutant::on(Mutant::NoSuccession) { timeout } else { timeout / 5 };
        let longest = if mutant::on(Mutant::NoSuccession) { timeout * 2 } else { timeout * 3 / 5 };
        let patience = self.draw(shortest, longest);
        self.enter(Stage::Asking, self.now + patience);
        let Part::PreCandidate(pre_candidate) = &mut self.part else { return };
        pre_candidate.ballot = ballot;
        pre_candidate.campaign.rounds += 1;
        let round = pre_candidate.campaign.rounds;
        self.start_round(true, round, term);
        for voter in self.other_voters() {
            self.send_announced(&voter, term, RequestBody::PreVote { last });
        }
        self.count_pre_votes();
    }

    pub(super) fn enter(&mut self, stage: Stage, deadline: Time) {
        if let Part::PreCandidate(pre_candidate) = &mut self.part {
            pre_candidate.stage = stage;
            pre_candidate.deadline = deadline;
        }
    }

    /// Every voter but this node.
    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let members = self.hard.record.as_ref().map_or(&[][..], |record| &record.members);
        members.iter().filter(|m| m.voter && m.node != self.config.node).map(|m| m.node.clone()).collect()
    }

    pub(super) fn receive_pre_vote_reply(&mut self, reply: Reply) {
        self.learn_hearsay(&reply);
        self.note_heard(&reply.from.node);
        if self.is_late_probe_reply(&reply) {
            return;
        }
        if self.is_inquiry(&reply) {
            return self.receive_inquiry_reply(&reply);
        }
        if let Part::Follower(_) = self.part
            && self.hard.record.is_none()
        {
            return self.receive_probe_reply(reply);
        }
        let asking = matches!(&self.part, Part::PreCandidate(pre_candidate) if pre_candidate.is_asking());
        if !asking {
            self.adopt_late(&reply);
            return self.tell_reply(&reply, true);
        }
        let in_round = self.ballot().is_some_and(|ballot| reply.id.0 >= ballot.first_id);
        self.record_answer(&reply);
        if in_round && reply.verdict == Verdict::Refused(Reason::NotAMember) {
            self.alarm(Alarm::NotAMember, Some(self.config.node.clone()));
        }
        if in_round && self.learn_before_lead(&reply) {
            return;
        }
        self.count_pre_votes();
    }

    /// A1: takes over the refuser's newer record or term, and asks again in a new round. Returns whether it did.
    fn learn_before_lead(&mut self, reply: &Reply) -> bool {
        let Verdict::Refused(reason) = reply.verdict else { return false };
        // S9: neither a living leader nor a quarantine raises the term of a pre-candidate.
        if matches!(
            reason,
            Reason::LeaderAlive
                | Reason::RestartQuarantine
                | Reason::WrongCluster
                | Reason::Unsupported
                | Reason::NotAMember
                | Reason::Unverified
        ) {
            return false;
        }
        if let ReplyBody::Vote { record: Some(record), .. } = &reply.body
            && !mutant::on(Mutant::NoAdoption)
            && (Some(record.id) > self.hard.last() || mutant::on(Mutant::AdoptNotAhead))
        {
            self.end_round(false);
            self.adopt(record, reply.term, &reply.from);
            self.enter(Stage::Adopting, Time::NEVER);
            return true;
        }
        if reply.term > self.hard.term {
            self.end_round(false);
            self.advance_term(reply.term);
            self.start_pre_vote();
            return true;
        }
        false
    }

    /// The learned record is durable: asks again.
    pub(super) fn resume_pre_candidate(&mut self) {
        let adopted = self.durable.last == self.hard.last();
        if adopted && matches!(&self.part, Part::PreCandidate(pre_candidate) if pre_candidate.stage == Stage::Adopting)
        {
            if self.is_promotable() {
                self.start_pre_vote();
            } else {
                self.end_election(Outcome::Cancelled, None);
            }
        }
    }

    pub(super) fn fail_pre_vote(&mut self, id: RequestId, to: &NodeId, error: CallError) {
        if self.record_failure(id, to, error) {
            self.count_pre_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        let Part::PreCandidate(pre_candidate) = &self.part else { return };
        if !pre_candidate.is_asking() {
            return;
        }
        match pre_candidate.ballot.tally(true) {
            Tally::Open => {}
            Tally::Won if self.grants_itself() => {
                let campaign = pre_candidate.campaign.clone();
                self.end_round(true);
                self.become_candidate(campaign);
            }
            // E2 holds for the own vote too: a promise that is not over forbids it, whatever the others say.
            Tally::Won | Tally::Lost => {
                if let Some(at) = self.evidence_retry_at() {
                    self.end_round(false);
                    return self.enter(Stage::Pausing, at);
                }
                let outcome = self.why_refused(false);
                if self.is_disowned() {
                    self.end_election(outcome, None);
                    return self.become_follower(Trigger::Startup, Time::NEVER);
                }
                let retry_at = self.retry_at().max(self.doubted_until());
                self.end_election(outcome, Some(retry_at));
            }
        }
    }

    /// So many hold a newer record without this node that nobody could be elected by its own: it was removed while it
    /// was away. It stands no more, until a leader tells it otherwise (V3); who is left elects without it.
    fn is_disowned(&self) -> bool {
        self.voters() - self.disowned() < self.quorum()
    }

    fn disowned(&self) -> usize {
        let disowned = |answer: &Answer| matches!(answer, Answer::Refused { reason: Reason::NotAMember, .. });
        self.ballot().map_or(0, |ballot| ballot.count(disowned))
    }

    /// Whoever was told that it is no member any more asks less often.
    fn doubted_until(&self) -> Time {
        let doubted = self.disowned() > 0;
        if doubted { self.now + self.config.timing.election_timeout_min } else { Time::ZERO }
    }

    fn grants_itself(&self) -> bool {
        let own =
            |(node, answer): &(NodeId, Answer)| *node == self.config.node && matches!(answer, Answer::Granted { .. });
        self.ballot().is_some_and(|ballot| ballot.votes.iter().any(own))
    }

    /// Names what stood in the way; once the round has timed out, silence counts as unreachable.
    fn why_refused(&mut self, timed_out: bool) -> Outcome {
        let voters = self.voters();
        let quorum = self.quorum();
        let Some(ballot) = self.ballot() else { return Outcome::PreVoteRefused };
        let unheard = |answer: &Answer| *answer == Answer::Failed || (timed_out && *answer == Answer::Awaited);
        let failed = ballot.count(unheard);
        let amnesiac = ballot.count(|answer| matches!(answer, Answer::Refused { reason: Reason::Amnesiac, .. }));
        if voters - amnesiac < quorum {
            // D2: too few disks are left that remember; no rule can name a new one.
            self.alarm(Alarm::NamingImpossible, None);
        }
        if voters - failed < quorum { Outcome::QuorumUnreachable } else { Outcome::PreVoteRefused }
    }

    /// Nobody else can be heard in time: a new attempt, at no cost to anyone.
    pub(super) fn tick_pre_candidate(&mut self) {
        let Part::PreCandidate(pre_candidate) = &self.part else { return };
        if self.now < pre_candidate.deadline {
            return;
        }
        if pre_candidate.stage == Stage::Pausing {
            return self.start_pre_vote();
        }
        let outcome = self.why_refused(true);
        let retry_at = self.free_at().unwrap_or(self.now).max(self.doubted_until());
        self.end_election(outcome, Some(retry_at));
    }

    /// Keeps what is said of a leader that this node cannot hear itself. It refuses no vote and delays no campaign.
    fn learn_hearsay(&mut self, reply: &Reply) {
        let ReplyBody::Vote { hearsay: Some(told), .. } = &reply.body else { return };
        let known = self.hearsay();
        let better = known.is_none_or(|known: Hearsay| {
            (told.term, std::cmp::Reverse(told.age)) > (known.term, std::cmp::Reverse(known.age))
        });
        if better && told.leader != self.config.node {
            self.hearsay = Some((told.clone(), self.now));
        }
    }
}
