//! How the first record comes to be, and how a disk comes to vote (PROPERTIES D2).

use std::sync::Arc;

use super::follower::Follower;
use super::{Node, Part};
use crate::event::{Alarm, EventKind, PersistCause, Trigger};
use crate::message::{Identity, Reason, Reply, ReplyBody, RequestBody, Verdict};
use crate::mutant::{self, Mutant};
use crate::record::{Member, Record};
use crate::types::{DiskId, Founding as FoundingHash, NodeId, Term, Time};

/// Who else was heard that holds no record either.
#[derive(Debug)]
pub(super) struct Founding {
    heard: Vec<(NodeId, DiskId, Time)>,
    /// Who was asked back since the last probe: once, or two would ask each other for ever.
    asked_back: Vec<(NodeId, DiskId)>,
    next_probe: Time,
    first_id: u64,
    told: Vec<NodeId>,
}

impl Default for Founding {
    fn default() -> Self {
        Founding { heard: Vec::new(), asked_back: Vec::new(), next_probe: Time::NEVER, first_id: 0, told: Vec::new() }
    }
}

impl Node {
    /// Begins after a start: with a record wait for a leader, without one look for those who have none either.
    pub(super) fn begin(&mut self) {
        self.emit(EventKind::Started {
            amnesiac: self.is_amnesiac(),
            quarantine: self.promises.quarantine(self.now),
            record: self.hard.last(),
        });
        if self.hard.record.is_none() && self.config.volatile {
            return self.found_volatile();
        }
        if self.hard.record.is_none() {
            return self.probe();
        }
        self.warn_if_unnamed();
        self.wait_drawn(Trigger::Startup);
    }

    /// A volatile store has no disks, so that everyone forms the same record alone; the quarantine still holds.
    fn found_volatile(&mut self) {
        let member = |node: &NodeId| Member { node: node.clone(), disk: DiskId::NONE, voter: true };
        let record = Arc::new(Record::first(self.config.members.iter().map(member).collect()));
        self.found(record);
    }

    pub(super) fn founding_deadline(&self) -> Time {
        if self.hard.record.is_none() { self.founding.next_probe } else { Time::NEVER }
    }

    pub(super) fn tick_founding(&mut self) {
        if self.now >= self.founding_deadline() {
            if !self.config.joins {
                self.tell_missing();
            }
            self.probe();
        }
    }

    /// Asks everyone on the list what they hold: a pre-vote by a node without a record.
    fn probe(&mut self) {
        self.founding.next_probe = self.now + self.probe_interval();
        self.founding.first_id = self.next_request;
        self.founding.asked_back.clear();
        let Some(term) = self.hard.term.next() else { return };
        for node in self.others() {
            self.send(node, term, RequestBody::PreVote { last: None });
        }
        self.try_to_found();
    }

    pub(super) fn probe_interval(&self) -> std::time::Duration {
        self.config.timing.election_timeout_min / 4
    }

    /// A request of a member that holds no record either: asked back at once, since only an answer says that this is
    /// still so. The request may have been on its way since before the founding, and the member be founded by now.
    pub(super) fn ask_back(&mut self, from: &Identity) {
        if !self.may_found_with(from) {
            return;
        }
        let asked = (from.node.clone(), from.disk);
        if self.founding.asked_back.contains(&asked) {
            return;
        }
        self.founding.asked_back.push(asked);
        self.founding.heard.retain(|(node, disk, _)| *node != from.node || *disk == from.disk);
        if let Some(term) = self.hard.term.next() {
            self.send(from.node.clone(), term, RequestBody::PreVote { last: None });
        }
    }

    /// An answer of a member that holds no record either.
    fn hear_unfounded(&mut self, from: &Identity) {
        if !self.may_found_with(from) {
            return;
        }
        self.founding.heard.retain(|(node, ..)| *node != from.node);
        self.founding.heard.push((from.node.clone(), from.disk, self.now));
        self.try_to_found();
    }

    fn may_found_with(&self, from: &Identity) -> bool {
        let unfounded = self.hard.record.is_none() && from.founding.0 == 0;
        unfounded && !self.config.joins && self.config.members.contains(&from.node)
    }

    /// An answer to a probe of the time before the first record.
    pub(super) fn is_late_probe_reply(&self, reply: &Reply) -> bool {
        self.hard.record.is_some() && reply.id.0 < self.founding.first_id
    }

    pub(super) fn receive_probe_reply(&mut self, reply: Reply) {
        if reply.id.0 < self.founding.first_id {
            return;
        }
        if reply.verdict == Verdict::Refused(Reason::NotAMember) {
            self.alarm(Alarm::NotAMember, Some(self.config.node.clone()));
        }
        match reply.body {
            // A1: only without a leader. One that is known sends its record itself, and belongs to this very term.
            ReplyBody::Vote { record: Some(record), .. } if self.leader().is_none() => {
                self.adopt(&record, reply.term, &reply.from);
            }
            _ => self.hear_unfounded(&reply.from),
        }
    }

    /// Whoever has heard from every member that it too holds no record forms the first one, the same whoever forms it.
    fn try_to_found(&mut self) {
        if self.config.joins {
            return;
        }
        let fresh = self.now.before(self.probe_interval() * 2);
        self.founding.heard.retain(|(.., at)| *at >= fresh);
        let heard = |node: &NodeId| self.founding.heard.iter().find(|(who, ..)| who == node).map(|(_, disk, _)| *disk);
        let disk_of = |node: &NodeId| if *node == self.config.node { Some(self.identity.disk) } else { heard(node) };
        let member = |node: &NodeId| Some(Member { node: node.clone(), disk: disk_of(node)?, voter: true });
        let members: Option<Vec<Member>> = self.config.members.iter().map(member).collect();
        if let Some(members) = members {
            self.found(Arc::new(Record::first(members)));
        }
    }

    fn tell_missing(&mut self) {
        let heard = |node: &&NodeId| !self.founding.heard.iter().any(|(who, ..)| who == *node);
        let missing: Vec<NodeId> =
            self.config.members.iter().filter(|node| **node != self.config.node).filter(heard).cloned().collect();
        if missing != self.founding.told && !missing.is_empty() {
            self.founding.told = missing.clone();
            self.emit(EventKind::MembersAwaited { missing });
        }
    }

    /// The first record counts as committed and owes nothing; this disk votes once it is durable.
    fn found(&mut self, record: Arc<Record>) {
        let founding = record.founding();
        let members = record.members.len();
        self.founding.first_id = self.next_request;
        self.join(founding);
        if record.names(&self.config.node, self.identity.disk) {
            self.hard.named = Some(Term(0));
            if !self.config.volatile {
                self.promises.clear_start();
            }
        }
        self.hard.record = Some(record.clone());
        self.committed = Some(record);
        self.change(PersistCause::Founding);
        self.emit(EventKind::Founded { founding, members });
        self.warn_if_unnamed();
    }

    /// Belongs to that founding from now on, and to no other.
    pub(super) fn join(&mut self, founding: FoundingHash) {
        if self.hard.founding.0 == 0 && founding.0 != 0 {
            self.hard.founding = founding;
            self.refresh_identity();
        }
    }

    /// A1: takes over a record that is strictly newer, and at least the refuser's term. Only a follower without a leader
    /// or a pre-candidate comes here.
    pub(super) fn adopt(&mut self, record: &Arc<Record>, term: Term, from: &Identity) {
        if Some(record.id) <= self.hard.last() && !mutant::on(Mutant::AdoptNotAhead) {
            return;
        }
        let first = self.hard.record.is_none();
        if first && record.id.term == Term(0) && record.id.index == 0 && record.founding() == from.founding {
            return self.found(record.clone());
        }
        if first {
            self.founding.first_id = self.next_request;
            self.join(from.founding);
        }
        let term = term.max(record.id.term);
        if term > self.hard.term && !mutant::on(Mutant::AdoptWithoutTerm) {
            self.advance_term(term);
        }
        let old = self.hard.record.replace(record.clone());
        self.change(PersistCause::Adoption);
        self.emit(EventKind::RecordAdopted { id: record.id, from: from.node.clone() });
        self.tell_members(old.as_deref());
        self.warn_if_unnamed();
    }

    fn warn_if_unnamed(&mut self) {
        let Some(record) = &self.hard.record else { return };
        let me = self.config.node.clone();
        match record.member(&me) {
            None => self.alarm(Alarm::NotAMember, Some(me)),
            Some(member) if member.disk != self.identity.disk => self.alarm(Alarm::Amnesiac, Some(me)),
            Some(_) => {}
        }
    }

    /// A disk is cured when a leader has said that a record of its own term which names it is committed, and the disk
    /// holds that record. It votes in terms above that record's only.
    ///
    /// A record that names it without a vote cures it as well. What must not happen is that an earlier disk of this node
    /// voted or acknowledged something, and this one does as if it had not. Whoever needs this disk's vote in a term
    /// above the record's holds that record or a later one, as every leader of such a term does (L3): so the earlier disk
    /// counts for nobody any more, and this one remembers everything since. And for the quorum that committed the record
    /// this disk did not count, with a vote or without.
    pub(super) fn cure(&mut self) {
        if self.hard.named.is_some() {
            return;
        }
        let (Some(record), Some(committed)) = (&self.hard.record, &self.committed) else { return };
        let told = committed.id == record.id && record.id.term == self.hard.term;
        let told = told || mutant::on(Mutant::NamedBeforeCommit);
        let held = self.durable.last == Some(record.id);
        if told && held && record.lists(&self.config.node, self.identity.disk) {
            self.hard.named = Some(record.id.term);
            self.change(PersistCause::Naming);
        }
    }

    /// Rebuilds what this node says of itself; tells when its disk may vote from now on.
    pub(super) fn refresh_identity(&mut self) {
        let amnesiac = self.is_amnesiac();
        let cured = self.identity.amnesiac && !amnesiac;
        if self.identity.founding == self.hard.founding && self.identity.amnesiac == amnesiac {
            return;
        }
        let identity = Identity { founding: self.hard.founding, amnesiac, ..(*self.identity).clone() };
        self.identity = Arc::new(identity);
        if let (true, Some(floor)) = (cured, self.durable.named) {
            self.emit(EventKind::Named { floor });
            self.stand_after_naming(floor);
        }
    }

    /// After the founding the members stand in the order of their names, a slot apart: nobody has ranked them yet.
    fn stand_after_naming(&mut self, floor: Term) {
        let Part::Follower(Follower { leader: None, .. }) = self.part else { return };
        if floor > Term(0) || self.config.volatile {
            return self.wait_drawn(Trigger::Startup);
        }
        let me = &self.config.node;
        let place = self.hard.record.as_ref().and_then(|r| r.members.iter().position(|m| m.node == *me));
        let slots = u32::try_from(place.unwrap_or(0) + 1).unwrap_or(u32::MAX);
        let at = self.now + self.config.timing.succession_slot * slots;
        self.become_follower(Trigger::Startup, at);
    }
}
