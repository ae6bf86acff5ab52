//! Who contends: a member stands in its own right only where leading would be of use. Who stands back votes like anybody,
//! is the last to stand, and hands over to one that contends (E12). It delays, and never forbids: with nobody else there,
//! it leads, so that members can be cured and changed.

use std::time::Duration;

use super::follower::Follower;
use super::leader::{Leader, Progress};
use super::office::Phase;
use super::{Node, Part};
use crate::event::{EventKind, Revocation, Trigger};
use crate::message::{Contention, Reason, Reply, ReplyBody};
use crate::mutant::{self, Mutant};
use crate::types::{NodeId, Term, Time};

impl Progress {
    pub(super) fn contends(&self) -> bool {
        (self.contention == Contention::Contends) != mutant::on(Mutant::IdleStandsFirst)
    }
}

impl Leader {
    /// Since when that member has contended without a break.
    fn contended_by(&self, node: &NodeId) -> Time {
        let progress = self.progress.iter().find(|progress| progress.node == *node);
        progress.map_or(Time::NEVER, |progress| progress.contends_since)
    }

    /// Whether that member contends, and its disk counts.
    pub(super) fn is_eager(&self, node: &NodeId) -> bool {
        self.progress.iter().any(|p| p.node == *node && p.contends() && !p.amnesiac)
    }

    /// Whether that member said that it cannot stand.
    pub(super) fn is_held_up(&self, node: &NodeId) -> bool {
        self.progress.iter().any(|p| p.node == *node && p.contention == Contention::WorkRunning)
    }
}

impl Node {
    /// Whether it stands in its own right, or the strongest reason why it stands back.
    #[must_use]
    pub fn contention(&self) -> Contention {
        if self.writes.stalled {
            return Contention::StorageStalled;
        }
        let leads_with_it = |term: Term| matches!(self.part, Part::Leader(_)) && self.hard.term == term;
        match self.working {
            Some(term) if !leads_with_it(term) && !mutant::on(Mutant::StandsWhileWorking) => Contention::WorkRunning,
            _ => self.contention,
        }
    }

    /// Since when it has led without work, and without anybody in contact who would work; `None` while it does not.
    #[must_use]
    pub fn idle_since(&self) -> Option<Time> {
        match &self.part {
            Part::Leader(leader) => Some(leader.idle_since).filter(|_| leader.idle_told),
            _ => None,
        }
    }

    /// As leader: whether a member stands in its own right, as it said last; of this node what it would say.
    #[must_use]
    pub fn contention_of(&self, node: &NodeId) -> Option<Contention> {
        if *node == self.config.node {
            return Some(self.contention());
        }
        let Part::Leader(leader) = &self.part else { return None };
        let progress = leader.progress.iter().find(|progress| progress.node == *node)?;
        (progress.heard > Time::ZERO).then_some(progress.contention)
    }

    pub(super) fn contend(&mut self, contention: Contention, why: Option<String>) {
        if self.contention == contention {
            return;
        }
        self.contention = contention;
        if let Part::Leader(leader) = &mut self.part {
            (leader.idle_since, leader.idle_told) = (self.now, false);
        }
        self.emit(EventKind::ContentionChanged { contention, why });
    }

    pub(super) fn append_reply(&self, promised: Duration) -> ReplyBody {
        let unsaid = mutant::on(Mutant::ContentionUnsaid);
        let contention = if unsaid { Contention::Contends } else { self.contention() };
        ReplyBody::Append { promised, durable: self.durable.last, contention }
    }

    /// What keeps it from standing at all, for the time being: it could begin no work, or not make its own vote durable.
    pub(super) fn hindrance(&self) -> Option<Reason> {
        match self.contention() {
            Contention::WorkRunning => Some(Reason::WorkRunning),
            Contention::StorageStalled => Some(Reason::StorageStalled),
            _ => None,
        }
    }

    /// When a follower stands. Who stands back lets those who contend go first: one smallest election timeout, and in
    /// later attempts of the same election as long as all of them take in a row.
    pub(super) fn stands_at(&self, follower: &Follower) -> Time {
        let timing = &self.config.timing;
        let last = !matches!(self.contention, Contention::Contends) && !mutant::on(Mutant::IdleStandsFirst);
        let back = match self.past.attempt {
            _ if !last => Duration::ZERO,
            0 => timing.election_timeout_min,
            _ => timing.succession_slot * u32::try_from(self.voters()).unwrap_or(u32::MAX),
        };
        // A silent leader is forgotten in time all the same where this node could not stand anyway (V6).
        follower.deadline + back
    }

    /// What held it up is over: it stands at its place, if it waits for nobody.
    pub(super) fn stand_again(&mut self) {
        let waits = matches!(&self.part, Part::Follower(f) if f.leader.is_none() && f.deadline == Time::NEVER);
        if waits && self.hindrance().is_none() && self.hard.record.is_some() {
            self.stand_soon(Trigger::ElectionTimeout, self.config.timing.election_timeout_min / 2);
        }
    }

    /// What an answer says of its sender's contention, unless a newer one said otherwise.
    pub(super) fn note_contention(&mut self, reply: &Reply, contention: Contention) {
        let now = self.now;
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(progress) = leader.progress_of(&reply.from.node).filter(|p| reply.id > p.newest_reply) else { return };
        progress.contention = contention;
        if contention != Contention::Contends {
            progress.contends_since = Time::NEVER;
        } else if progress.contends_since == Time::NEVER {
            progress.contends_since = now;
        }
    }

    /// A leader that is of no use hands over. One that has no work, or is not fit, to the best member that contends, once
    /// neither has changed its mind for a smallest election timeout: so that two of them never play ping-pong. One whose
    /// disk is stalled resigns where a member with a sound disk is in contact.
    pub(super) fn yield_office(&mut self) {
        if mutant::on(Mutant::IdleLeaderStays) {
            return;
        }
        let Part::Leader(leader) = &self.part else { return };
        if !leader.is_established() || leader.phase != Phase::Leading {
            return;
        }
        let (now, contention) = (self.now, self.contention());
        let sound = |p: &&Progress| p.voter && p.contention.may_stand() && !p.amnesiac && p.promised_until > now;
        let is_useful = match contention {
            Contention::Contends => true,
            Contention::StorageStalled if leader.progress.iter().any(|p| sound(&p)) => {
                return self.revoke(Revocation::StorageStalled);
            }
            Contention::StorageStalled => true,
            Contention::Unfit => false,
            Contention::Idle | Contention::WorkRunning => self.working.is_some_and(|term| term == self.hard.term),
        };
        let patience = self.config.timing.election_timeout_min;
        if is_useful || now.since(leader.idle_since.max(leader.lease.committed_at)) < patience {
            return;
        }
        let contender = |to: &NodeId| leader.contended_by(to) < Time::NEVER;
        match self.can_transfer(None).ok().filter(contender) {
            Some(to) if leader.contended_by(&to) + patience <= now => self.transfer(Some(&to)),
            Some(_) => {}
            None => self.tell_idle(contention),
        }
    }

    fn tell_idle(&mut self, contention: Contention) {
        let works = self.working.is_some();
        let Part::Leader(leader) = &mut self.part else { return };
        if works || std::mem::replace(&mut leader.idle_told, true) {
            return;
        }
        let since = leader.idle_since.max(leader.lease.committed_at);
        self.emit(EventKind::OfficeIdled { contention, since });
    }
}
