//! The members change one at a time (dissertation §4.1): who may change them, and the steps of an addition.
//!
//! Why two memberships that can be in force together always have quorums that meet, for votes, records and leases alike:
//! a leader appends a change only to a record that is committed in its own term, so that whoever leads later holds that
//! record, and its members differ from the new ones by one voter. And it does so only while it is exclusive: the promises
//! to leaders before it were given under members that may differ by more than one from those that it makes, and they are
//! over by then.

use std::sync::Arc;
use std::time::Duration;

use super::leader::{Leader, Progress};
use super::office::Phase;
use super::{MembershipRefused, Node, Part};
use crate::event::{Alarm, Change, ChangeOutcome, EventKind, RecordCause};
use crate::message::RequestBody;
use crate::mutant::{self, Mutant};
use crate::record::{MEMBERS_MAX, Member, Record};
use crate::types::{NodeId, Time, TraceContext};

/// A change of the members that is under way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    change: Change,
    node: NodeId,
    /// When the leader stops waiting for the newcomer.
    pub(super) deadline: Time,
}

/// How many election timeouts a newcomer may take to be heard, to be cured and to hold the record.
const PATIENCE: u32 = 10;

impl Leader {
    /// When the lease would end if that record were in force: its voters, and nobody else, are counted.
    ///
    /// Never the larger of two memberships' ends: those of two successive changes need not have a voter in common.
    fn lease_end_under(&self, record: &Record, me: &NodeId) -> Time {
        let promised = |member: &Member| match self.progress.iter().find(|progress| progress.node == member.node) {
            _ if member.node == *me => Time::NEVER,
            Some(progress) => progress.promised_until,
            None => Time::ZERO,
        };
        let mut ends: Vec<Time> = record.members.iter().filter(|member| member.voter).map(promised).collect();
        crate::quorum::reached(&mut ends).unwrap_or(Time::ZERO)
    }
}

impl Node {
    /// Whether that change of the members can begin now.
    ///
    /// # Errors
    /// [`MembershipRefused`]; nothing was changed.
    pub fn can_change(&self, change: Change, node: &NodeId) -> Result<(), MembershipRefused> {
        let (Part::Leader(leader), Some(record)) = (&self.part, &self.hard.record) else {
            return Err(MembershipRefused::NotLeader);
        };
        if !leader.is_established() && !mutant::on(Mutant::ChangeBeforeCommit) {
            return Err(MembershipRefused::NotLeader);
        }
        if self.config.volatile {
            return Err(MembershipRefused::Volatile);
        }
        if leader.phase != Phase::Leading || leader.pending.is_some() {
            return Err(MembershipRefused::InProgress);
        }
        if !self.is_alone(leader) {
            return Err(MembershipRefused::NotExclusive);
        }
        match (change, record.member(node)) {
            (Change::Add, Some(member)) if member.voter => Err(MembershipRefused::AlreadyMember),
            (Change::Add, None) if record.members.len() >= MEMBERS_MAX => Err(MembershipRefused::TooMany),
            (Change::Add, _) => Ok(()),
            (Change::Remove, None) => Err(MembershipRefused::NotAMember),
            (Change::Remove, Some(_)) if *node == self.config.node => Err(MembershipRefused::IsLeader),
            (Change::Remove, Some(_)) if self.lasts(leader, &without(record, node)) => Ok(()),
            (Change::Remove, Some(_)) => Err(MembershipRefused::WouldLoseQuorum),
        }
    }

    /// Whether a change of the members is under way.
    #[must_use]
    pub(crate) fn is_changing(&self) -> bool {
        matches!(&self.part, Part::Leader(leader) if leader.pending.is_some())
    }

    /// The leader begins to talk to the newcomer, or removes the member.
    pub(super) fn begin_change(&mut self, change: Change, node: &NodeId) {
        if self.can_change(change, node).is_err() {
            return;
        }
        let deadline = self.now + self.config.timing.election_timeout_max * PATIENCE;
        self.emit(EventKind::ChangeStarted { change, node: node.clone() });
        let Part::Leader(leader) = &mut self.part else { return };
        leader.pending = Some(Pending { change, node: node.clone(), deadline });
        if change == Change::Add && leader.progress_of(node).is_none() {
            leader.progress.push(Progress::new(node, false));
            self.send_append(self.progress_len() - 1, false);
        }
        self.proceed_change();
    }

    /// Takes the next step of the change, if its time has come: whatever answer or commit may have brought it.
    pub(super) fn proceed_change(&mut self) {
        let (Part::Leader(leader), Some(record)) = (&self.part, &self.hard.record) else { return };
        let Some(Pending { change, node, .. }) = &leader.pending else { return };
        let (member, last) = (record.member(node), Some(record.id));
        let done = match change {
            Change::Add => member.is_some_and(|member| member.voter),
            Change::Remove => member.is_none(),
        };
        if done && leader.committed == last {
            return self.complete_change();
        }
        if done || !self.may_append_change(leader) {
            return;
        }
        let progress = leader.progress.iter().find(|progress| progress.node == *node);
        let ready =
            |progress: &Progress| !progress.amnesiac && progress.durable >= last && progress.promised_until > self.now;
        let term = self.hard.term;
        let (successor, cause) = match (change, member) {
            (Change::Remove, _) => (without(record, node), RecordCause::Remove),
            (Change::Add, None) => {
                let Some(disk) = progress.and_then(|progress| progress.new_disk) else { return };
                (with(record, Member { node: node.clone(), disk, voter: false }), RecordCause::AddNonVoter)
            }
            (Change::Add, Some(member)) => {
                if !progress.is_some_and(ready) {
                    return;
                }
                (with(record, Member { voter: true, ..member.clone() }), RecordCause::AddVoter)
            }
        };
        if self.lasts(leader, &successor) {
            let members = successor.members;
            let record = Record { members, ..record.successor(term) };
            self.append(record, cause);
        }
    }

    /// L6: nothing else is in flight, this term has committed, and nothing is owed to a former leader.
    fn may_append_change(&self, leader: &Leader) -> bool {
        let settled = leader.committed == self.hard.last() || mutant::on(Mutant::ChangeBeforeCommit);
        settled && leader.phase == Phase::Leading && self.is_alone(leader)
    }

    fn is_alone(&self, leader: &Leader) -> bool {
        let early = mutant::on(Mutant::ChangeBeforeCommit) && self.now >= leader.lease.barrier;
        leader.lease.is_exclusive(self.now) || early || mutant::on(Mutant::ChangeBeforeExclusive)
    }

    /// Whether the voters of that record who are in contact are a quorum: else the change could not be committed, and
    /// the leader would lose its lease at once.
    fn lasts(&self, leader: &Leader, record: &Record) -> bool {
        let early = mutant::on(Mutant::ChangeBeforeCommit) || mutant::on(Mutant::ChangeBeforeExclusive);
        early || leader.lease_end_under(record, &self.config.node) > self.now
    }

    /// After a record of this leader's own: who is heard from now on, and whose promises make its lease.
    pub(super) fn follow_members(&mut self) {
        let me = &self.config.node;
        let (Part::Leader(leader), Some(record)) = (&mut self.part, &self.hard.record) else { return };
        let guest =
            leader.pending.as_ref().filter(|pending| pending.change == Change::Add).map(|pending| &pending.node);
        leader.progress.retain(|progress| record.member(&progress.node).is_some() || guest == Some(&progress.node));
        for member in record.members.iter().filter(|member| member.node != *me) {
            match leader.progress.iter_mut().find(|progress| progress.node == member.node) {
                Some(progress) => {
                    progress.voter = member.voter;
                    progress.new_disk = progress.new_disk.filter(|disk| *disk != member.disk);
                }
                None => leader.progress.push(Progress::new(&member.node, member.voter)),
            }
        }
        leader.lease.end = leader.lease_end_under(record, me);
    }

    fn complete_change(&mut self) {
        let (Part::Leader(leader), Some(record)) = (&self.part, self.hard.record.clone()) else { return };
        let Some(Pending { change, node, .. }) = leader.pending.clone() else { return };
        let committed = leader.committed;
        self.end_change(ChangeOutcome::Completed);
        if change == Change::Remove {
            // It is told once, for it to say so and to stand no more. If that is lost, it learns it when it stands.
            let body = RequestBody::AppendEntries {
                promise: Duration::ZERO,
                record: Some(record),
                committed,
                rank: None,
                election: TraceContext::NONE,
            };
            self.send_announced(&node, self.hard.term, body);
        }
    }

    /// The change is over, if there is one. What is not a member by now is heard no longer.
    pub(super) fn end_change(&mut self, outcome: ChangeOutcome) {
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(Pending { change, node, .. }) = leader.pending.take() else { return };
        if self.hard.record.as_ref().is_some_and(|record| record.member(&node).is_none()) {
            leader.progress.retain(|progress| progress.node != node);
        }
        self.emit(EventKind::ChangeEnded { change, node, outcome });
    }

    pub(super) fn tick_change(&mut self) {
        self.proceed_change();
        let (now, patience) = (self.now, self.config.timing.election_timeout_max);
        let last = self.hard.last();
        let Part::Leader(leader) = &mut self.part else { return };
        let in_flight = leader.committed != last;
        let Some(pending) = leader.pending.as_mut().filter(|pending| now >= pending.deadline) else { return };
        if in_flight {
            // A record that is out cannot be called back.
            pending.deadline = now + patience;
        } else {
            self.end_change(ChangeOutcome::TimedOut);
        }
    }

    /// Says who the members are, where the record that has just come differs in them from the one before.
    pub(super) fn tell_members(&mut self, old: Option<&Record>) {
        let (Some(old), Some(record)) = (old, self.hard.record.clone()) else { return };
        if record.has_members_of(old) {
            return;
        }
        let me = self.config.node.clone();
        if record.member(&me).is_some() {
            self.alarms.retain(|(alarm, _)| *alarm != Alarm::NotAMember);
        }
        self.peers.retain(|peer| record.member(&peer.seen.node).is_some());
        let names = |voter: bool| {
            let chosen = record.members.iter().filter(|member| member.voter == voter);
            chosen.map(|member| member.node.clone()).collect()
        };
        let (voters, non_voters) = (names(true), names(false));
        self.emit(EventKind::MembersChanged { id: record.id, voters, non_voters });
    }
}

fn with(record: &Arc<Record>, member: Member) -> Record {
    let mut changed = without(record, &member.node);
    let at = changed.members.partition_point(|other| other.node < member.node);
    changed.members.insert(at, member);
    changed
}

fn without(record: &Arc<Record>, node: &NodeId) -> Record {
    let mut changed = Record::clone(record);
    changed.members.retain(|member| member.node != *node);
    changed
}
