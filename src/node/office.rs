//! How a term of office ends: by losing the quorum, by resigning, by handing over, by shutting down.
//!
//! Always in this order: the guard is revoked, the work ends, and only then promises are released.

use super::{Node, Part, TransferRefused};
use crate::event::{
    ChangeOutcome, EventKind, LeadershipEnd, LossOfLeader, Outcome, Revocation, Role, TransferOutcome, Trigger,
};
use crate::message::{Reply, RequestBody, RequestId};
use crate::mutant::{self, Mutant};
use crate::types::{NodeId, Term, Time};

/// What a leader is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Leading,
    /// Brings the successor up to date; this can still be called off.
    Preparing {
        to: NodeId,
        deadline: Time,
    },
    /// The guard is revoked; work drains while heartbeats go on. There is no way back.
    Draining(Then),
    /// `TimeoutNow` is out: the lease is given up for the rest of the term.
    HandedOver,
}

/// What follows once work has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Resign(Revocation),
    Transfer(NodeId),
    Shutdown,
}

impl Then {
    fn revocation(&self) -> Revocation {
        match self {
            Then::Resign(cause) => *cause,
            Then::Transfer(_) => Revocation::Transferring,
            Then::Shutdown => Revocation::ShuttingDown,
        }
    }

    /// How the term of office ends if nobody takes over.
    fn end(&self) -> LeadershipEnd {
        match self {
            Then::Resign(Revocation::LeaseLapsed) => LeadershipEnd::QuorumLost,
            Then::Resign(Revocation::StorageStalled) => LeadershipEnd::StorageStalled,
            Then::Resign(_) | Then::Transfer(_) => LeadershipEnd::Resigned,
            Then::Shutdown => LeadershipEnd::Shutdown,
        }
    }
}

/// A hand-over that has left, until somebody leads.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) to: NodeId,
    pub(super) id: RequestId,
    pub(super) deadline: Time,
}

impl Node {
    /// Whether a transfer to that member (or to the best) can begin now, and to whom.
    ///
    /// # Errors
    /// [`TransferRefused`]; nothing was changed.
    pub fn can_transfer(&self, to: Option<&NodeId>) -> Result<NodeId, TransferRefused> {
        let Part::Leader(leader) = &self.part else { return Err(TransferRefused::NotLeader) };
        if !leader.is_established() {
            return Err(TransferRefused::NotLeader);
        }
        if leader.phase != Phase::Leading {
            return Err(TransferRefused::InProgress);
        }
        let (voter, in_contact) = leader.reachable(to, self.now);
        if !voter {
            return Err(TransferRefused::NotAVoter);
        }
        if to.is_some_and(|to| leader.is_held_up(to)) {
            return Err(TransferRefused::WorkRunning);
        }
        let best = leader.successor(to, self.hard.last(), self.now);
        // Whoever would lead without work is none as long as one that contends can be brought up to date.
        let eager = in_contact.clone().filter(|to| leader.is_eager(to));
        let best = best.filter(|to| eager.is_none() || leader.is_eager(to));
        best.or(eager).or(in_contact).ok_or(TransferRefused::NoSuccessor)
    }

    /// Dissertation §3.10: brings the successor up to date while still leading, then hands over.
    pub(super) fn transfer(&mut self, to: Option<&NodeId>) {
        let Ok(to) = self.can_transfer(to) else { return };
        let deadline = self.now + self.config.timing.election_timeout_min / 2;
        self.set_phase(Phase::Preparing { to: to.clone(), deadline });
        self.emit(EventKind::TransferStarted { to });
        self.proceed_transfer();
    }

    pub(super) fn proceed_transfer(&mut self) {
        let last = self.hard.last();
        let Part::Leader(leader) = &self.part else { return };
        let Phase::Preparing { to, .. } = &leader.phase else { return };
        let ready = self.committed.as_ref().map(|record| record.id) == last && self.durable.last == last;
        if ready && leader.successor(Some(to), last, self.now).is_some() {
            let to = to.clone();
            self.drain(Then::Transfer(to));
        }
    }

    /// Gives office up for that reason, unless it is being given up already: the first cause is the one that is told.
    pub(super) fn revoke(&mut self, cause: Revocation) {
        let Part::Leader(leader) = &self.part else { return };
        if matches!(leader.phase, Phase::Leading | Phase::Preparing { .. }) {
            self.call_off_transfer();
            self.drain(Then::Resign(cause));
        }
    }

    /// E5: work that cannot be ended may act until the lease does. So nobody is told, and nobody is handed to.
    pub(super) fn expire_drain(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        if let Phase::Draining(then) = &leader.phase
            && self.working.is_some()
        {
            let end = then.end();
            self.step_down(end);
        }
    }

    /// Whether a hand-over has left whose outcome is not known yet.
    #[must_use]
    pub(crate) fn is_handing_over(&self) -> bool {
        self.handover.is_some()
    }

    /// Whether a transfer has begun whose outcome is not known yet.
    #[must_use]
    pub(crate) fn is_transferring(&self) -> bool {
        let Part::Leader(leader) = &self.part else { return self.is_handing_over() };
        matches!(leader.phase, Phase::Preparing { .. } | Phase::Draining(Then::Transfer(_))) || self.is_handing_over()
    }

    pub(super) fn shutdown(&mut self) {
        self.stopping = true;
        match &self.part {
            Part::Leader(leader) => {
                // A transfer that drains already ends this node's office just as well.
                let transferring = matches!(leader.phase, Phase::Draining(Then::Transfer(_)) | Phase::HandedOver);
                if !transferring {
                    self.call_off_transfer();
                    self.drain(Then::Shutdown);
                }
            }
            Part::PreCandidate(_) | Part::Candidate(_) => {
                self.end_election(Outcome::Cancelled, None);
            }
            Part::Follower(_) | Part::Stopped => {}
        }
    }

    fn call_off_transfer(&mut self) {
        let Part::Leader(leader) = &mut self.part else { return };
        if let Phase::Preparing { to, .. } = &leader.phase {
            let to = to.clone();
            leader.phase = Phase::Leading;
            self.emit(EventKind::TransferEnded { to, outcome: TransferOutcome::CalledOff });
        }
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Part::Leader(leader) = &mut self.part {
            leader.phase = phase;
        }
    }

    /// Revokes the guard for the rest of the term (E4); heartbeats go on while work drains.
    fn drain(&mut self, then: Then) {
        let work_running = self.working.is_some();
        let Part::Leader(leader) = &mut self.part else { return };
        let revoked = std::mem::replace(&mut leader.lease.revoked, !mutant::on(Mutant::TransferKeepsLease));
        let cause = then.revocation();
        leader.phase = Phase::Draining(then);
        if !revoked {
            self.emit(EventKind::GuardRevoked { cause, work_running });
        }
        if !work_running || mutant::on(Mutant::ResignBeforeWorkEnded) {
            self.finish_drain();
        }
    }

    fn finish_drain(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        let Phase::Draining(then) = leader.phase.clone() else { return };
        let end = then.end();
        match then {
            Then::Resign(_) => self.step_down(end),
            Then::Transfer(to) => self.hand_over(to),
            Then::Shutdown => match leader.successor(None, self.hard.last(), self.now) {
                Some(to) if leader.is_established() => self.hand_over(to),
                _ => self.step_down(end),
            },
        }
    }

    /// No way back from here: the lease is given up before `TimeoutNow` leaves.
    fn hand_over(&mut self, to: NodeId) {
        self.set_phase(Phase::HandedOver);
        let deadline = self.now + self.config.timing.election_timeout_min / 2;
        let term = self.hard.term;
        let id = self.send_announced(&to, term, RequestBody::TimeoutNow);
        self.handover = Some(Handover { to, id, deadline });
    }

    pub(super) fn has_handed_over(&self) -> bool {
        matches!(&self.part, Part::Leader(leader) if leader.has_handed_over())
    }

    pub(super) fn receive_timeout_now_reply(&mut self, reply: &Reply) {
        self.tell_reply(reply, self.handover.is_none());
        if !reply.verdict.is_granted() {
            self.fail_handover(reply.id);
        }
    }

    /// Returns whether the failed request was the hand-over's, which has failed with it.
    pub(super) fn fail_handover(&mut self, id: RequestId) -> bool {
        if !self.has_handed_over() || self.handover.as_ref().is_none_or(|handover| handover.id != id) {
            return false;
        }
        self.end_handover(TransferOutcome::Failed);
        true
    }

    pub(super) fn tick_handover(&mut self) {
        if self.handover.as_ref().is_some_and(|handover| self.now >= handover.deadline) {
            self.end_handover(TransferOutcome::Failed);
        }
    }

    /// Somebody leads: the hand-over, if there was one, is complete.
    pub(super) fn finish_handover(&mut self) {
        if self.handover.is_some() {
            self.end_handover(TransferOutcome::Completed);
        }
    }

    fn end_handover(&mut self, outcome: TransferOutcome) {
        let Some(handover) = self.handover.take() else { return };
        self.emit(EventKind::TransferEnded { to: handover.to, outcome });
        if self.has_handed_over() {
            // E4: that leader never resumes; it resigns and asks for the next term.
            self.step_down(LeadershipEnd::Resigned);
            self.become_follower(Trigger::LeaderResigned, self.now);
        }
    }

    /// What a leader must check before anything else happens: whether it still is one (E6).
    pub(super) fn expire_office(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        let stays = leader.has_handed_over() || mutant::on(Mutant::LapsedGuardValid);
        if !stays && self.now >= leader.office_end(self.now) {
            self.step_down(if self.paused { LeadershipEnd::Paused } else { LeadershipEnd::QuorumLost });
        }
    }

    /// E8, and the deadline of a transfer that cannot get its successor ready.
    pub(super) fn tick_office(&mut self) {
        let timeout = self.config.timing.election_timeout_min;
        let Part::Leader(leader) = &self.part else { return };
        if !leader.is_established() && self.now >= leader.elected_at + timeout && !mutant::on(Mutant::NoCheckQuorum) {
            return self.step_down(LeadershipEnd::NotEstablished);
        }
        if matches!(&leader.phase, Phase::Preparing { deadline, .. } if self.now >= *deadline) {
            self.call_off_transfer();
        }
    }

    /// Leaves office, and says so as soon as no work of it runs: promises to it end with that (E5).
    pub(super) fn step_down(&mut self, cause: LeadershipEnd) {
        let Part::Leader(leader) = &self.part else { return };
        let (elected_at, lease_end, rounds) = (leader.elected_at, leader.lease.end, leader.campaign.rounds);
        let (established, phase) = (leader.is_established(), leader.phase.clone());
        let term = self.hard.term;
        let work_running = self.working.is_some();
        if let Phase::Preparing { to, .. } | Phase::Draining(Then::Transfer(to)) = phase {
            self.emit(EventKind::TransferEnded { to, outcome: TransferOutcome::Failed });
        }
        self.end_change(ChangeOutcome::LeadershipEnded);
        if !established {
            self.emit(EventKind::ElectionEnded { outcome: Outcome::Won, rounds, retry_in: None });
        }
        self.emit(EventKind::LeadershipEnded { cause, since: elected_at, work_running });
        if work_running && lease_end > self.now && !mutant::on(Mutant::OwnLeaseNotOwed) {
            let rest = lease_end.since(self.now);
            let rest = if mutant::on(Mutant::OwnLeaseWithoutDrift) { rest } else { self.config.timing.owed_of(rest) };
            self.promises.owe_own(self.now + rest);
        }
        self.past.leader = Some((self.config.node.clone(), term));
        self.past.last_contact = Some(self.now);
        self.past.leaderless_since = self.now;
        self.past.rank = None;
        self.past.attempt = 0;
        self.wait_drawn(Trigger::ElectionTimeout);
        self.emit(EventKind::LeaderLost {
            leader: self.config.node.clone(),
            leader_term: term,
            last_contact: self.now,
            cause: LossOfLeader::SteppedDown,
        });
        if !work_running || mutant::on(Mutant::ResignBeforeWorkEnded) {
            self.send_resign(term);
        }
    }

    /// Leaves only when the guard is revoked and its work has ended.
    fn send_resign(&mut self, term: Term) {
        if mutant::on(Mutant::NoResignation) {
            return;
        }
        self.emit(EventKind::Resigned { resigned_term: term });
        for node in self.others() {
            self.send_announced(&node, term, RequestBody::Resign);
        }
    }

    pub(super) fn start_work(&mut self) {
        let Part::Leader(leader) = &mut self.part else { return };
        if self.working.is_none() && leader.is_established() && !leader.lease.revoked {
            self.working = Some(self.hard.term);
            leader.idle_told = false;
            self.emit(EventKind::WorkStarted);
        }
    }

    pub(super) fn end_work(&mut self) {
        let Some(work_term) = self.working.take() else { return };
        self.emit(EventKind::WorkEnded { work_term });
        if self.role() == Role::Leader && self.hard.term == work_term {
            return self.finish_drain();
        }
        // E5: the guard was revoked when office ended, and now its work has ended too.
        self.promises.clear_own();
        self.send_resign(work_term);
        // A later term of office may be draining, and wait for the work of the earlier one.
        self.finish_drain();
        self.stand_again();
    }

    /// A node that is stopping leaves once nothing holds it: no office, no work, no hand-over, no answer that waits for
    /// its disk.
    pub(super) fn stop_if_free(&mut self) {
        let free = self.working.is_none() && self.handover.is_none() && self.is_settled();
        if self.stopping && free && self.role() == Role::Follower {
            self.stop();
        }
    }

    /// Leaves for good.
    pub(super) fn stop(&mut self) {
        // Nobody waits for the successor any more, and no deadline outlives the node.
        if self.handover.is_some() {
            self.end_handover(TransferOutcome::Failed);
        }
        match self.part {
            Part::Leader(_) => self.step_down(LeadershipEnd::Shutdown),
            Part::PreCandidate(_) | Part::Candidate(_) => self.end_election(Outcome::Cancelled, None),
            Part::Follower(_) | Part::Stopped => {}
        }
        if let Part::Stopped = self.part {
            return;
        }
        self.drop_waiting();
        self.become_part(Part::Stopped);
        self.emit(EventKind::Stopped { disk: self.identity.disk });
    }
}
