//! The follower: hears a leader, or waits for its time to stand.

use std::sync::Arc;
use std::time::Duration;

use super::inquiry::Inquiry;
use super::writes::Inbound;
use super::{Node, Part};
use crate::event::{Alarm, EventKind, LossOfLeader, Outcome, PersistCause, Trigger, Waited};
use crate::message::{Holder, Reason, RequestBody, Verdict};
use crate::mutant::{self, Mutant};
use crate::record::{Record, RecordId};
use crate::types::{NodeId, Term, Time, TraceContext};

/// What means something only to a follower.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) leader: Option<Following>,
    /// When it stands, unless a leader is heard before.
    pub(super) deadline: Time,
    pub(super) trigger: Trigger,
    /// The timeout drawn for this wait; a rank from the leader takes its place.
    pub(super) drawn: Duration,
    /// When the wait began, where there is no contact to count from.
    pub(super) since: Time,
}

/// The leader that is followed.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) holder: Holder,
    pub(super) term: Term,
    pub(super) contact: Time,
    pub(super) rank: Option<u8>,
}

/// The own outbound connection to the leader closed and an immediate reconnect failed: once per promise (E2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) holder: Holder,
    pub(super) term: Term,
}

impl Follower {
    pub(super) fn idle() -> Follower {
        Follower {
            leader: None,
            deadline: Time::NEVER,
            trigger: Trigger::Startup,
            drawn: Duration::ZERO,
            since: Time::ZERO,
        }
    }
}

impl Node {
    /// Follows nobody, and stands at `deadline`.
    pub(super) fn become_follower(&mut self, trigger: Trigger, deadline: Time) {
        let deadline = if self.is_promotable() { deadline } else { Time::NEVER };
        let drawn = deadline.since(self.now);
        self.become_part(Part::Follower(Follower { leader: None, deadline, trigger, drawn, since: self.now }));
    }

    /// Whether it may stand at all; the quarantine is a matter of time, and in the deadline, and so is what holds it up.
    pub(super) fn is_promotable(&self) -> bool {
        let voter = self.hard.record.as_ref().is_some_and(|r| r.names(&self.config.node, self.identity.disk));
        voter && !self.is_amnesiac() && !self.storage_failed() && !self.stopping
    }

    /// Stands at the drawn election timeout from now (paper §5.2), and not before its quarantine is over.
    pub(super) fn wait_drawn(&mut self, trigger: Trigger) {
        let timing = &self.config.timing;
        let drawn = self.draw(timing.election_timeout_min, timing.election_timeout_max);
        let at = (self.now + drawn).max(self.quarantine_slot());
        self.become_follower(trigger, at);
    }

    /// Its place in the queue behind the quarantine, so that a whole cluster that restarts does not collide.
    fn quarantine_slot(&mut self) -> Time {
        let until = self.promises.quarantine_until();
        if until <= self.now {
            return Time::ZERO;
        }
        until + self.random_slot()
    }

    /// A random place in a queue as long as the cluster: for nodes that no leader has ranked.
    pub(super) fn random_slot(&mut self) -> Duration {
        let slots = u32::try_from(self.voters()).unwrap_or(u32::MAX);
        self.draw(Duration::ZERO, self.config.timing.succession_slot * slots)
    }

    /// How long its place among the successors lets others go first.
    pub(super) fn slot(&mut self) -> Duration {
        match self.rank() {
            Some(rank) => self.config.timing.succession_slot * u32::from(rank),
            None => self.random_slot(),
        }
    }

    /// The place that a leader gave, as long as it is the leader of the current term: later ones may rank otherwise.
    fn rank(&self) -> Option<u8> {
        let of_this_term = self.past.leader.as_ref().is_some_and(|(_, term)| *term == self.hard.term);
        self.past.rank.filter(|_| of_this_term)
    }

    /// §5.2: granting a vote starts the election timeout anew.
    pub(super) fn wait_after_vote(&mut self) {
        match self.part {
            Part::Follower(_) => {
                self.forget_leader(LossOfLeader::HigherTerm);
                self.wait_drawn(Trigger::ElectionTimeout);
            }
            // Its own pre-vote would only disturb the candidate that it has just helped.
            Part::PreCandidate(_) => self.end_election(Outcome::Superseded, None),
            Part::Candidate(_) | Part::Leader(_) | Part::Stopped => {}
        }
    }

    pub(super) fn tick_follower(&mut self) {
        self.tick_founding();
        let Part::Follower(follower) = &self.part else { return };
        let stands_at = self.stands_at(follower);
        if self.now < stands_at {
            return;
        }
        let (trigger, drawn, since) = match &follower.leader {
            Some(following) => (Trigger::ElectionTimeout, stands_at.since(following.contact), following.contact),
            None => (follower.trigger, follower.drawn, follower.since),
        };
        let timing = &self.config.timing;
        // A retry, a rank or an evidence is no election timeout: then the wait itself tells nothing.
        let timed_out = follower.leader.is_some() || drawn >= timing.election_timeout_min;
        let waited = timed_out.then(|| Waited {
            min: timing.election_timeout_min,
            max: timing.election_timeout_max,
            drawn,
            elapsed: self.now.since(since),
        });
        // Who may not stand forgets a silent leader all the same (V6).
        self.forget_leader(LossOfLeader::Timeout);
        self.campaign(trigger, waited, None, None);
    }

    /// Paper §5.2, §5.3: heartbeats, and the record.
    pub(super) fn receive_append_entries(&mut self, inbound: Inbound, body: RequestBody) {
        let RequestBody::AppendEntries { promise, record, committed, rank, election } = body else { return };
        let term = inbound.asked_term;
        let holder = inbound.holder();
        let verdict = if term < self.hard.term {
            Err(Reason::StaleTerm)
        } else if self.promises.has_resigned(&holder, term) {
            Err(Reason::Resigned)
        } else if term == self.hard.term && self.knows_another_leader(&holder.node) {
            self.alarm(Alarm::Equivocation, Some(holder.node.clone()));
            Err(Reason::StaleTerm)
        } else {
            Ok(())
        };
        if let Err(reason) = verdict {
            let body = self.append_reply(Duration::ZERO);
            return self.answer(&inbound, Verdict::Refused(reason), body);
        }
        if term > self.hard.term {
            self.leave_for_term(term);
        }
        self.follow(&holder, rank, election);
        self.learn_committed(committed);
        let asked = record.as_ref().map(|record| record.id);
        if let Some(record) = record {
            self.accept_record(&record, &inbound);
        }
        self.learn_committed(committed);
        self.cure();
        let promised = self.give_promise(&holder, promise);
        if self.storage_failed() {
            let body = self.append_reply(promised);
            return self.answer(&inbound, Verdict::Refused(Reason::StorageError), body);
        }
        // The answer to a record waits for the disk; a heartbeat never does.
        if asked.is_some() && self.durable.last < self.hard.last() {
            self.answer_when_durable(inbound, promised);
        } else {
            self.answer_granted(&inbound, promised);
        }
    }

    /// In the current term: itself, or another that it follows. Two leaders of one term cannot be (S1).
    fn knows_another_leader(&self, node: &NodeId) -> bool {
        self.leader().is_some_and(|leader| leader != node)
    }

    fn follow(&mut self, holder: &Holder, rank: Option<u8>, election: TraceContext) {
        if let Part::PreCandidate(_) | Part::Candidate(_) = self.part {
            self.end_election(Outcome::Superseded, None);
        }
        let known = match &self.part {
            Part::Follower(Follower { leader: Some(following), .. }) => following.holder == *holder,
            _ => false,
        };
        if !known {
            self.follow_anew(holder, election);
        }
        self.evidence = None;
        let now = self.now;
        let timing = &self.config.timing;
        let (ranked, quarantine) = (
            rank.map(|rank| timing.election_timeout_min + timing.succession_slot * u32::from(rank)),
            self.promises.quarantine_until(),
        );
        let Part::Follower(follower) = &mut self.part else { return };
        let Some(following) = &mut follower.leader else { return };
        following.contact = now;
        following.rank = rank;
        follower.deadline = (now + ranked.unwrap_or(follower.drawn)).max(quarantine);
    }

    fn follow_anew(&mut self, holder: &Holder, election: TraceContext) {
        let timing = &self.config.timing;
        let drawn = self.draw(timing.election_timeout_min, timing.election_timeout_max);
        let following = Following { holder: holder.clone(), term: self.hard.term, contact: self.now, rank: None };
        self.part = Part::Follower(Follower {
            leader: Some(following),
            deadline: self.now + drawn,
            trigger: Trigger::ElectionTimeout,
            drawn,
            since: self.now,
        });
        self.hearsay = None;
        self.past.attempt = 0;
        self.past.evidence_retries = 0;
        let leaderless_since = self.past.leaderless_since;
        self.emit(EventKind::LeaderChanged { leader: holder.node.clone(), election, leaderless_since });
        self.finish_handover();
    }

    /// Every new record replaces the old one; what comes from the leader of the current term is never older than what a
    /// quorum holds (L2, L3).
    fn accept_record(&mut self, record: &Arc<Record>, inbound: &Inbound) {
        let last = self.hard.last();
        if Some(record.id) < last || record.id.term > self.hard.term {
            return;
        }
        if Some(record.id) == last {
            if self.hard.record.as_ref().is_some_and(|mine| **mine != **record) {
                self.alarm(Alarm::Equivocation, Some(inbound.from.node.clone()));
            }
            return;
        }
        if last.is_none() {
            self.join(inbound.from.founding);
        }
        let old = self.hard.record.replace(record.clone());
        self.inquiry = Inquiry::default();
        self.change(PersistCause::Record { call: inbound.call });
        let from = inbound.from.node.clone();
        self.emit(EventKind::RecordAccepted { id: record.id, parent: record.parent, from });
        self.tell_members(old.as_deref());
    }

    /// The leader says what of its term is committed; this node can tell which content that is if it holds it.
    fn learn_committed(&mut self, committed: Option<RecordId>) {
        let Some(id) = committed else { return };
        let Some(record) = &self.hard.record else { return };
        if record.id != id || self.committed.as_ref().is_some_and(|known| known.id >= id) {
            return;
        }
        self.committed = Some(record.clone());
        self.emit(EventKind::Committed { id });
        if !self.is_listed(&self.config.node) {
            self.alarm(Alarm::NotAMember, Some(self.config.node.clone()));
        }
    }

    /// Promises what was asked, at most what the disk says may be promised. A node that cannot keep a promise gives none.
    fn give_promise(&mut self, holder: &Holder, asked: Duration) -> Duration {
        if (self.is_amnesiac() && !mutant::on(Mutant::AmnesiacPromises)) || self.storage_failed() {
            return Duration::ZERO;
        }
        let permitted = self.config.timing.promise_max;
        if asked > self.hard.promise_max && self.hard.promise_max < permitted {
            // A longer one may be given once the disk would remember it after a restart.
            self.hard.promise_max = asked.min(permitted);
            self.change(PersistCause::PromiseMax);
        }
        let length = asked.min(self.durable.promise_max).min(permitted);
        let (now, term) = (self.now, self.hard.term);
        if self.promises.give(now, holder, term, length) { length } else { Duration::ZERO }
    }

    pub(super) fn receive_resign(&mut self, inbound: &Inbound) {
        let (holder, term) = (inbound.holder(), inbound.asked_term);
        self.promises.release(&holder, term);
        self.emit(EventKind::LeaderResigned { leader: holder.node.clone(), resigned_term: term });
        if self.leads_me(&inbound.from, term) {
            self.forget_leader(LossOfLeader::Resigned);
            self.stand_soon(Trigger::LeaderResigned, self.config.timing.election_timeout_min / 2);
        } else if term >= self.hard.term && self.leader().is_none() {
            self.stand_soon(Trigger::LeaderResigned, self.config.timing.election_timeout_min / 2);
        }
        self.answer_granted(inbound, Duration::ZERO);
    }

    /// The leader is gone for a known reason: stand at the own place among the successors, without a place soon.
    pub(super) fn stand_soon(&mut self, trigger: Trigger, within: Duration) {
        let wait = match self.rank() {
            Some(rank) => self.config.timing.succession_slot * u32::from(rank),
            None => self.draw(Duration::ZERO, within),
        };
        let at = (self.now + wait).max(self.quarantine_slot());
        let now = self.now;
        let promotable = self.is_promotable();
        let Part::Follower(follower) = &mut self.part else { return };
        if promotable && at < follower.deadline {
            follower.deadline = at;
            follower.trigger = trigger;
            follower.drawn = wait;
            follower.since = now;
        }
    }

    /// Dissertation §3.10: the leader of this very term hands over. Skips pre-vote, and waits for nothing.
    pub(super) fn receive_timeout_now(&mut self, inbound: &Inbound) {
        if !self.leads_me(&inbound.from, inbound.asked_term) {
            return self.refuse(inbound, Reason::NotLeader);
        }
        if self.promises.quarantine(self.now) > Duration::ZERO {
            return self.refuse(inbound, Reason::RestartQuarantine);
        }
        if let Some(reason) = self.hindrance() {
            return self.refuse(inbound, reason);
        }
        if !self.is_promotable() {
            let reason = if self.storage_failed() { Reason::StorageError } else { Reason::NotAVoter };
            return self.refuse(inbound, if self.is_amnesiac() { Reason::Amnesiac } else { reason });
        }
        let from = (inbound.holder(), inbound.asked_term);
        self.promises.release(&from.0, from.1);
        self.forget_leader(LossOfLeader::Resigned);
        self.campaign(Trigger::Transfer, None, Some(from), Some(inbound.call));
        self.answer_granted(inbound, Duration::ZERO);
    }

    pub(super) fn receive_peer_connected(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.seen.node == *node) {
            peer.closed = false;
        }
    }

    pub(super) fn receive_peer_closed(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.seen.node == *node) {
            peer.closed = true;
        }
        if mutant::on(Mutant::EvidenceWithoutReconnect) {
            self.receive_peer_lost(node, false);
        }
    }

    /// A closed connection alone is no evidence (a proxy may have reaped it); a failed reconnect after it is.
    pub(super) fn receive_peer_lost(&mut self, node: &NodeId, refused: bool) {
        if !self.peers.iter().any(|peer| peer.seen.node == *node && peer.closed) {
            return;
        }
        let Some(promise) = self.promises.current().filter(|promise| promise.to.node == *node) else { return };
        let evidence = Evidence { holder: promise.to.clone(), term: promise.term };
        if self.evidence.as_ref() == Some(&evidence) {
            return;
        }
        self.evidence = Some(evidence);
        self.emit(EventKind::EvidenceFound { leader: node.clone(), refused });
        if refused && self.config.trust_connection_refused {
            self.promises.forgive_current();
        }
        let follows = self.leader() == Some(node) && self.role() == crate::event::Role::Follower;
        if follows {
            self.forget_leader(LossOfLeader::ConnectionLost);
            let within = self.random_slot();
            if let Part::Follower(follower) = &mut self.part {
                follower.deadline = Time::NEVER;
            }
            self.stand_soon(Trigger::ConnectionLost, within);
        }
    }
}
