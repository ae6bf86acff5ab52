//! How a node answers those who want its vote. Pre-vote applies exactly the real vote's checks.

use std::time::Duration;

use super::writes::Inbound;
use super::wrong::refreshed;
use super::{Node, Part};
use crate::event::{LeadershipEnd, Outcome, PersistCause};
use crate::message::{Hearsay, Holder, Reason, ReplyBody, Verdict};
use crate::mutant::{self, Mutant};
use crate::record::RecordId;
use crate::types::{Term, Time};

/// A vote refused: why, and how long the reason lasts at least, where that is known.
pub(super) type Refusal = (Reason, Duration);

/// What a candidate brings.
pub(super) struct Plea<'a> {
    pub(super) candidate: &'a Holder,
    pub(super) amnesiac: bool,
    pub(super) term: Term,
    pub(super) last: Option<RecordId>,
    pub(super) transfer: Option<&'a (Holder, Term)>,
}

impl Node {
    /// Dissertation §9.6. Changes nothing: no timer, no stored vote, no last contact (S9).
    pub(super) fn receive_pre_vote(&mut self, inbound: &Inbound, last: Option<RecordId>) {
        self.ask_back(&inbound.from);
        let candidate = inbound.holder();
        let plea = Plea {
            candidate: &candidate,
            amnesiac: inbound.from.amnesiac,
            term: inbound.asked_term,
            last,
            transfer: None,
        };
        if mutant::on(Mutant::PreVoteBumpsTerm) && inbound.asked_term > self.hard.term {
            self.leave_for_term(inbound.asked_term);
        }
        match self.judge(&plea) {
            Ok(()) => self.answer_granted(inbound, Duration::ZERO),
            Err((Reason::LeaderAlive, _)) if mutant::on(Mutant::PreVoteIgnoresPromise) => {
                self.answer_granted(inbound, Duration::ZERO);
            }
            Err(refusal) => self.refuse_vote(inbound, refusal),
        }
    }

    /// Paper §5.2, §5.4.1.
    pub(super) fn receive_request_vote(
        &mut self,
        inbound: Inbound,
        last: Option<RecordId>,
        transfer: Option<(Holder, Term)>,
    ) {
        let candidate = inbound.holder();
        let term = inbound.asked_term;
        // E4: the exemption holds for one campaign, in the very next term.
        let transfer = transfer.filter(|(_, its_term)| its_term.next() == Some(term));
        let plea =
            Plea { candidate: &candidate, amnesiac: inbound.from.amnesiac, term, last, transfer: transfer.as_ref() };
        let refusal = match self.judge(&plea) {
            // §5.1: a refusal for a stale record enters the candidate's term all the same; one for a promise, a
            // quarantine or an identity changes nothing, nor does one without any record, which only asks for ours (S11).
            Err(refusal) if refusal.0 == Reason::RecordBehind && last.is_some() => Some(refusal),
            Err(refusal) => return self.refuse_vote(&inbound, refusal),
            Ok(()) => None,
        };
        if term > self.hard.term {
            self.leave_for_term(term);
        }
        if let Some(refusal) = refusal {
            return self.refuse_vote(&inbound, refusal);
        }
        if let Some((leader, its_term)) = transfer {
            self.promises.release(&leader, its_term);
        }
        if self.hard.voted_for.is_none() || mutant::on(Mutant::SecondVote) {
            self.hard.voted_for = Some(candidate.node);
            self.change(PersistCause::Vote { call: inbound.call });
        } else if mutant::on(Mutant::RepeatedVoteFromMemory) {
            return self.answer_granted(&inbound, Duration::ZERO);
        }
        self.wait_after_vote();
        self.answer_when_durable(inbound, Duration::ZERO);
    }

    /// A term above the current one was accepted from another: whatever this node was, it follows nobody in it yet.
    pub(super) fn leave_for_term(&mut self, term: Term) {
        match self.part {
            Part::Leader(_) => {
                let handed_over = self.has_handed_over();
                self.step_down(if handed_over { LeadershipEnd::Transferred } else { LeadershipEnd::HigherTerm });
            }
            Part::PreCandidate(_) | Part::Candidate(_) => self.end_election(Outcome::HigherTerm, None),
            Part::Follower(_) => self.forget_leader(crate::event::LossOfLeader::HigherTerm),
            Part::Stopped => return,
        }
        self.advance_term(term);
    }

    /// Whether this node would vote for the candidate; the order decides which of several reasons is told.
    pub(super) fn judge(&self, plea: &Plea<'_>) -> Result<(), Refusal> {
        let forever = |reason| Err((reason, Duration::MAX));
        if self.storage_failed() {
            return forever(Reason::StorageError);
        }
        let Some(record) = &self.hard.record else { return forever(Reason::Amnesiac) };
        // Whoever brings no record asks for ours, and learns it from the refusal: it has none, or looks for one (S13).
        if plea.last.is_none() {
            return forever(Reason::RecordBehind);
        }
        let newer = plea.last > Some(record.id);
        if self.is_amnesiac() || plea.amnesiac {
            return forever(Reason::Amnesiac);
        }
        // Dissertation §4.2.2: a voter need not know that it is one. Whoever has the newer record judges by it whose
        // votes count; this disk is cured, so that its vote is as good as any.
        if !record.names(&self.config.node, self.identity.disk) && !newer {
            return forever(Reason::NotAVoter);
        }
        match record.member(&plea.candidate.node) {
            Some(member) if !member.voter && !newer => return forever(Reason::NotAVoter),
            // Only the disk that the record names campaigns; a newer record of the candidate's may name another.
            Some(member) if member.disk != plea.candidate.disk && !newer => return forever(Reason::Amnesiac),
            _ => {}
        }
        if plea.term < self.hard.term {
            return forever(Reason::StaleTerm);
        }
        if self.durable.named.is_some_and(|floor| plea.term <= floor) {
            return forever(Reason::Amnesiac);
        }
        self.judge_promises(plea)?;
        let other = |voted: &crate::types::NodeId| *voted != plea.candidate.node && !mutant::on(Mutant::SecondVote);
        if plea.term == self.hard.term && self.hard.voted_for.as_ref().is_some_and(other) {
            return forever(Reason::AlreadyVoted);
        }
        // §5.4.1: the voter refuses if its own log is more up to date.
        if plea.last < Some(record.id) && !mutant::on(Mutant::RecordCheckIgnored) {
            return forever(Reason::RecordBehind);
        }
        Ok(())
    }

    /// Dissertation §4.2.3: whoever hears a leader refuses its rivals. E2, E3 and E7 say until when.
    fn judge_promises(&self, plea: &Plea<'_>) -> Result<(), Refusal> {
        if let Part::Leader(leader) = &self.part
            && !leader.has_handed_over()
            && *plea.candidate != self.holder()
            && !mutant::on(Mutant::LeaderVotes)
            && (leader.lease.end > self.now || !mutant::on(Mutant::NoCheckQuorum))
        {
            return Err((Reason::LeaderAlive, leader.office_end(self.now).since(self.now)));
        }
        let quarantine = self.promises.quarantine(self.now);
        if quarantine > Duration::ZERO {
            return Err((Reason::RestartQuarantine, quarantine));
        }
        let remaining = self.promises.forbids(self.now, plea.candidate);
        if remaining > Duration::ZERO && !self.is_excused(plea) {
            return Err((Reason::LeaderAlive, remaining));
        }
        Ok(())
    }

    /// Whether the promise does not stand in the way: its leader handed over, or is lost on this node's own evidence.
    fn is_excused(&self, plea: &Plea<'_>) -> bool {
        let Some(promise) = self.promises.current() else { return true };
        let handed_over = plea.transfer.is_some_and(|(leader, term)| {
            mutant::on(Mutant::TransferIgnoresPromises) || (*leader == promise.to && *term == promise.term)
        });
        let lost = self.evidence.as_ref().is_some_and(|e| e.holder == promise.to && e.term == promise.term);
        handed_over || lost
    }

    /// Refuses, with what the candidate can use: the remainder, the newer record, the leader that is known.
    fn refuse_vote(&mut self, inbound: &Inbound, (reason, remainder): Refusal) {
        let tells = reason == Reason::RecordBehind || mutant::on(Mutant::AdoptNotAhead);
        let record = tells.then(|| self.hard.record.clone()).flatten();
        // V6: who cannot grant for its own sake may still be the only one that knows both the leader and the asker.
        let knows = matches!(reason, Reason::LeaderAlive | Reason::Amnesiac | Reason::NotAVoter);
        let hearsay = knows.then(|| self.tell_of_leader()).flatten();
        let remainder = if remainder == Duration::MAX { Duration::ZERO } else { remainder };
        self.answer(inbound, Verdict::Refused(reason), ReplyBody::Vote { remainder, record, hearsay });
    }

    /// What this node knows of a leader, with the age of the last *direct* contact: hearsay never refreshes itself.
    fn tell_of_leader(&self) -> Option<Hearsay> {
        let direct = |leader, age| Hearsay { leader, term: self.hard.term, age };
        match &self.part {
            Part::Leader(_) => Some(direct(self.config.node.clone(), Duration::ZERO)),
            Part::Follower(follower) => match &follower.leader {
                Some(following) => Some(direct(following.holder.node.clone(), self.now.since(following.contact))),
                None => self.hearsay().map(refreshed),
            },
            _ => self.hearsay().map(refreshed),
        }
    }

    /// When everything is over that this node's own candidacy would owe to others.
    pub(super) fn own_barrier(&self) -> Time {
        self.promises.owed_until(&self.holder())
    }
}
