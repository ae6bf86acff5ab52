//! The leader: heartbeats, acknowledgements, its lease, and what is committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::campaign::Campaign;
use super::membership::Pending;
use super::office::Phase;
use super::round::Rounds;
use super::{Node, Part};
use crate::config::Timing;
use crate::event::{EventKind, Outcome, PersistCause, RecordCause, Role};
use crate::message::{CallError, Contention, Reason, Reply, ReplyBody, RequestId, RequestKind, Verdict};
use crate::mutant::{self, Mutant};
use crate::promise::{Lease, lease_end};
use crate::quorum::{quorum, reached};
use crate::record::{MEMBERS_MAX, PROCLAIMED_LEN_MAX, Record, RecordId};
use crate::types::{DiskId, NodeId, Time};

/// What means something only to a leader.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) campaign: Campaign,
    pub(super) elected_at: Time,
    pub(super) lease: Lease,
    pub(super) phase: Phase,
    /// Check-quorum has this much grace from the election; it never enters the lease.
    grace_until: Time,
    /// The promise that is asked for.
    pub(super) ask: Duration,
    pub(super) next_heartbeat: Time,
    /// When the heartbeats of the newest round that are still unanswered go out once more.
    pub(super) repeat_at: Time,
    pub(super) progress: Vec<Progress>,
    pub(super) rounds: Rounds,
    first_id: u64,
    pub(super) committed: Option<RecordId>,
    wished: Option<Bytes>,
    /// The members change (dissertation §4).
    pub(super) pending: Option<Pending>,
    first_accepted: Option<Time>,
    told_exclusive: bool,
    /// Since when nothing has stood in the way of its handing over for want of work.
    pub(super) idle_since: Time,
    pub(super) idle_told: bool,
}

/// What the leader knows of another member, or of a node that is about to become one.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) node: NodeId,
    pub(super) voter: bool,
    /// When its newest promise ends, on this node's clock.
    pub(super) promised_until: Time,
    /// The sending time of the newest heartbeat that it answered.
    contact: Time,
    /// What its disk holds, if that disk counts.
    pub(super) durable: Option<RecordId>,
    /// The request with a record that is out.
    pub(super) append: Option<(RequestId, Time)>,
    pub(super) newest_reply: RequestId,
    /// When it last answered anything at all.
    pub(super) heard: Time,
    /// Its answer to the newest round is missing, and it is there.
    pub(super) awaited: bool,
    pub(super) amnesiac: bool,
    /// Whether it stands in its own right, as it said last.
    pub(super) contention: Contention,
    /// Since when it has said that it does, without a break.
    pub(super) contends_since: Time,
    priority: u8,
    /// A disk that it answers from, other than the one that the record names; any disk of a node that is no member.
    pub(super) new_disk: Option<DiskId>,
}

impl Progress {
    pub(super) fn new(node: &NodeId, voter: bool) -> Progress {
        Progress {
            node: node.clone(),
            voter,
            promised_until: Time::ZERO,
            contact: Time::ZERO,
            durable: None,
            append: None,
            newest_reply: RequestId(0),
            heard: Time::ZERO,
            awaited: false,
            amnesiac: false,
            contention: Contention::Contends,
            contends_since: Time::NEVER,
            priority: 100,
            new_disk: None,
        }
    }
}

impl Leader {
    /// Until when the leader refuses others and stays in office (E6, E7).
    pub(super) fn office_end(&self, now: Time) -> Time {
        if mutant::on(Mutant::NoCheckQuorum) {
            return Time::NEVER;
        }
        let end = if self.lease.was_exclusive(now) { self.lease.end } else { self.lease.end.max(self.grace_until) };
        if mutant::on(Mutant::WindowedCheckQuorum) { self.window_after(end, self.ask) } else { end }
    }

    /// Whether a member of that record, heard since `recent`, has a disk that does not vote yet.
    pub(super) fn is_naming(&self, record: Option<&Record>, recent: Time) -> bool {
        let member = |node: &NodeId| record.is_some_and(|record| record.member(node).is_some());
        let unnamed = |p: &Progress| p.amnesiac && p.heard >= recent && member(&p.node);
        matches!(self.phase, Phase::Leading) && self.progress.iter().any(unnamed)
    }

    pub(super) fn has_handed_over(&self) -> bool {
        matches!(self.phase, Phase::HandedOver)
    }

    pub(super) fn is_established(&self) -> bool {
        self.lease.committed_at < Time::NEVER
    }

    /// Check-quorum slides: the q-th newest sending time that was answered, this node included.
    pub(super) fn quorum_contact(&self, now: Time) -> Time {
        self.reached_by_quorum(now, |progress| progress.contact)
    }

    fn promised_by_quorum(&self) -> Time {
        let end = self.reached_by_quorum(Time::NEVER, |progress| progress.promised_until);
        if mutant::on(Mutant::GraceCountsAsLease) { end.max(self.grace_until) } else { end }
    }

    pub(super) fn reached_by_quorum(&self, own: Time, of: impl Fn(&Progress) -> Time) -> Time {
        let mut values = [Time::ZERO; MEMBERS_MAX + 1];
        values[0] = own;
        let mut voters = 1;
        for progress in self.progress.iter().filter(|progress| progress.voter).take(MEMBERS_MAX) {
            values[voters] = of(progress);
            voters += 1;
        }
        reached(&mut values[..voters]).unwrap_or(Time::ZERO)
    }

    /// As if it had acknowledged the newest heartbeat, just now.
    pub(super) fn hear(&mut self, node: &NodeId, now: Time, timing: &Timing) {
        let end = lease_end(timing, now, self.ask);
        if let Some(progress) = self.progress_of(node) {
            progress.promised_until = progress.promised_until.max(end);
        }
        self.lease.end = self.promised_by_quorum();
    }

    pub(super) fn progress_of(&mut self, node: &NodeId) -> Option<&mut Progress> {
        self.progress.iter_mut().find(|progress| progress.node == *node)
    }

    /// Whether the first stands before the second: whether it contends, record freshness, reachability, priority, then the
    /// list's order.
    fn stands_before(&self, a: usize, b: usize, last: Option<RecordId>, now: Time) -> bool {
        let key = |at: usize| {
            let progress = &self.progress[at];
            let fresh = !progress.amnesiac && progress.durable >= last;
            let contends = progress.contends();
            (progress.voter, contends, fresh, progress.promised_until > now, progress.priority, std::cmp::Reverse(at))
        };
        key(a) > key(b)
    }

    pub(super) fn rank_of(&self, at: usize, last: Option<RecordId>, now: Time) -> Option<u8> {
        if !self.progress[at].voter {
            return None;
        }
        let before = (0..self.progress.len()).filter(|other| self.stands_before(*other, at, last, now)).count();
        u8::try_from(before).ok()
    }

    /// The best successor that is in contact and up to date; of a single one, whether it is.
    pub(super) fn successor(&self, wanted: Option<&NodeId>, last: Option<RecordId>, now: Time) -> Option<NodeId> {
        let fits = |progress: &Progress| {
            let is_wanted = wanted.is_none_or(|node| *node == progress.node);
            is_wanted
                && progress.voter
                && !progress.amnesiac
                && progress.contention.may_stand()
                && progress.durable >= last
                && progress.promised_until > now
        };
        let best = (0..self.progress.len())
            .filter(|at| fits(&self.progress[*at]))
            .reduce(|best, at| if self.stands_before(at, best, last, now) { at } else { best });
        best.map(|at| self.progress[at].node.clone())
    }

    /// Whether that member is another voter, and whether it is in contact.
    pub(super) fn reachable(&self, wanted: Option<&NodeId>, now: Time) -> (bool, Option<NodeId>) {
        let known = |p: &&Progress| p.voter && wanted.is_none_or(|node| *node == p.node);
        let voter = self.progress.iter().any(|p| known(&p));
        let reached = |p: &&Progress| known(p) && p.promised_until > now && p.contention.may_stand();
        let in_contact = self.progress.iter().filter(reached).min_by_key(|p| !p.contends() || p.amnesiac);
        (voter, in_contact.map(|p| p.node.clone()))
    }
}

impl Node {
    /// Paper §5.2, §8: leads, and commits a no-op first.
    pub(super) fn become_leader(&mut self, campaign: Campaign, barrier: Time) {
        let Some(record) = self.hard.record.clone() else { return };
        let term = self.hard.term;
        let me = &self.config.node;
        let progress = record.members.iter().filter(|m| m.node != *me).map(|m| Progress::new(&m.node, m.voter));
        let mut leader = Leader {
            campaign,
            elected_at: self.now,
            lease: Lease::new(barrier),
            phase: Phase::Leading,
            grace_until: self.now + self.config.timing.promise,
            ask: self.config.timing.promise,
            next_heartbeat: self.now + self.config.timing.heartbeat,
            repeat_at: Time::NEVER,
            progress: progress.collect(),
            rounds: Rounds::beginning(RequestId(self.next_request), self.now),
            first_id: self.next_request,
            committed: None,
            wished: None,
            pending: None,
            first_accepted: None,
            told_exclusive: false,
            idle_since: self.now,
            idle_told: false,
        };
        leader.lease.end = leader.promised_by_quorum();
        self.become_part(Part::Leader(Box::new(leader)));
        self.emit(EventKind::Elected { barrier: barrier.since(self.now) });
        if mutant::on(Mutant::NoNoOp) {
            return self.establish();
        }
        if mutant::on(Mutant::OlderTermCommitted) {
            return;
        }
        self.append(record.successor(term), RecordCause::NoOp);
        self.advance_commit();
    }

    /// A new record replaces the old one, here in memory, and goes to everyone at once. Its members are in force from
    /// here on (dissertation §4.1).
    pub(super) fn append(&mut self, record: Record, cause: RecordCause) {
        let (id, parent) = (record.id, record.parent);
        let old = self.hard.record.replace(Arc::new(record));
        self.change(PersistCause::OwnRecord);
        self.emit(EventKind::RecordAppended { id, parent, cause });
        self.tell_members(old.as_deref());
        self.follow_members();
        let Part::Leader(leader) = &mut self.part else { return };
        for progress in &mut leader.progress {
            progress.append = None;
        }
        for at in 0..self.progress_len() {
            self.send_append(at, true);
        }
    }

    pub(super) fn progress_len(&self) -> usize {
        match &self.part {
            Part::Leader(leader) => leader.progress.len(),
            _ => 0,
        }
    }

    pub(super) fn receive_append_reply(&mut self, reply: &Reply) {
        let term = self.hard.term;
        let is_member = self.is_listed(&reply.from.node);
        let Part::Leader(leader) = &mut self.part else { return };
        if reply.id.0 < leader.first_id {
            return;
        }
        let Some(progress) = leader.progress_of(&reply.from.node) else { return };
        let announced = progress.append.is_some_and(|(id, _)| id == reply.id);
        if announced {
            progress.append = None;
            self.tell_reply(reply, false);
        }
        // §5.1: a leader that discovers a higher term reverts to follower; it never ignores such a reply, not even a yes
        // of a follower that has moved on while its disk was busy.
        if reply.term > term {
            // S11: a node that is no member yet deposes nobody.
            if is_member {
                self.leave_for_term(reply.term);
            }
            return;
        }
        match reply.verdict {
            Verdict::Refused(Reason::Resigned | Reason::StorageError) | Verdict::Granted => {}
            // Its record is of a time before this node was added: it takes the newer one.
            Verdict::Refused(Reason::NotAMember) if is_member => return self.ask_again(reply, None),
            Verdict::Refused(_) => return,
        }
        if let ReplyBody::Append { promised, durable, contention } = reply.body {
            self.note_contention(reply, contention);
            self.note_ack(reply, promised, durable);
            self.ask_again(reply, durable);
        }
        self.advance_commit();
        self.name_new_disk();
        self.proceed_change();
        self.proceed_transfer();
        self.tell_exclusive();
    }

    /// What an answer is worth: promises and durable records count only from the disk that the record names (D2), and
    /// for nothing as long as it names it without a vote.
    fn note_ack(&mut self, reply: &Reply, promised: Duration, durable: Option<RecordId>) {
        let (from, now) = (&reply.from, self.now);
        let named = self.hard.record.as_ref().is_some_and(|r| r.lists(&from.node, from.disk));
        let named = named || mutant::on(Mutant::ReplacedDiskCounted);
        let is_member = self.is_listed(&from.node);
        let amnesiac = from.amnesiac && !self.counts_uncured(from);
        let granted = reply.verdict.is_granted();
        let Part::Leader(leader) = &mut self.part else { return };
        let sent = if mutant::on(Mutant::LeaseFromReceipt) { Some(now) } else { leader.rounds.sent_at(reply.id) };
        let promised = if mutant::on(Mutant::OneLengthForAllAcks) { leader.ask.max(promised) } else { promised };
        let timing = &self.config.timing;
        let (round, _) = leader.rounds.newest();
        let Some(progress) = leader.progress_of(&from.node) else { return };
        progress.awaited &= reply.id < round;
        let newest = reply.id > progress.newest_reply;
        progress.newest_reply = progress.newest_reply.max(reply.id);
        progress.heard = now;
        if newest {
            progress.priority = from.priority;
            progress.amnesiac = amnesiac;
            progress.new_disk = (!named && (from.amnesiac || !is_member)).then_some(from.disk);
        }
        if !named || amnesiac || !granted {
            return;
        }
        progress.durable = progress.durable.max(durable);
        if let Some(sent) = sent {
            progress.contact = progress.contact.max(sent);
            if promised > Duration::ZERO {
                progress.promised_until = progress.promised_until.max(lease_end(timing, sent, promised));
            }
        }
        if progress.voter {
            leader.first_accepted.get_or_insert(now);
        }
        leader.lease.end = leader.promised_by_quorum();
    }

    /// A member that lacks the record is asked again within a round trip, not at the next heartbeat (L5).
    fn ask_again(&mut self, reply: &Reply, durable: Option<RecordId>) {
        let (last, now) = (self.hard.last(), self.now);
        let patience = self.config.timing.election_timeout_min / 2;
        let Part::Leader(leader) = &self.part else { return };
        let Some(at) = leader.progress.iter().position(|progress| progress.node == reply.from.node) else { return };
        if !self.is_listed(&reply.from.node) {
            return;
        }
        let asked_lately = leader.progress[at].append.is_some_and(|(_, sent)| now.since(sent) < patience);
        if durable < last && !asked_lately && !leader.has_handed_over() {
            self.send_append(at, true);
        }
    }

    /// L4, L5: a record of the own term, durable on a quorum of disks that count, the own included.
    pub(super) fn advance_commit(&mut self) {
        let Some(record) = self.hard.record.clone() else { return };
        let own = self.durable.last >= Some(record.id);
        let term = self.hard.term;
        let Part::Leader(leader) = &mut self.part else { return };
        let own_term = record.id.term == term || mutant::on(Mutant::OlderTermCommitted);
        if leader.committed >= Some(record.id) || !own_term {
            return;
        }
        let votes = |progress: &Progress| progress.voter || mutant::on(Mutant::NonVotersCounted);
        let holds = |progress: &&Progress| votes(progress) && !progress.amnesiac && progress.durable >= Some(record.id);
        let holders = leader.progress.iter().filter(holds).count() + usize::from(own);
        if holders < quorum(record.voters()) {
            return;
        }
        leader.committed = Some(record.id);
        let (established, wished) = (leader.is_established(), leader.wished.take());
        self.committed = Some(record.clone());
        self.emit(EventKind::Committed { id: record.id });
        if !established {
            self.establish();
        }
        if let Some(value) = wished {
            self.proclaim(value);
        }
        self.proceed_change();
    }

    /// The no-op is committed: user code may run (E8).
    fn establish(&mut self) {
        let now = self.now;
        let leaderless = self.past.last_contact.map(|_| now.since(self.past.leaderless_since));
        let Part::Leader(leader) = &mut self.part else { return };
        leader.lease.committed_at = now;
        let campaign = &leader.campaign;
        let first_accepted = leader.first_accepted.unwrap_or(now);
        let time_to_election = campaign.won_at.since(campaign.started);
        let time_to_leadership = first_accepted.since(campaign.asked_at);
        let rounds = campaign.rounds;
        self.emit(EventKind::Established { time_to_election, time_to_leadership, leaderless });
        self.emit(EventKind::ElectionEnded { outcome: Outcome::Won, rounds, retry_in: None });
        self.past.attempt = 0;
        self.finish_handover();
        self.tell_exclusive();
    }

    pub(super) fn tell_exclusive(&mut self) {
        let now = self.now;
        let Part::Leader(leader) = &mut self.part else { return };
        if leader.told_exclusive || !leader.lease.is_exclusive(now) {
            return;
        }
        leader.told_exclusive = true;
        let after = now.since(leader.elected_at);
        self.emit(EventKind::BecameExclusive { after });
        self.name_new_disk();
    }

    /// D2: a leader that is exclusive, and has nothing else in flight, proposes the new disk of a member in place of the
    /// lost one. Until that disk is cured its answers count for nothing.
    fn name_new_disk(&mut self) {
        let now = self.now;
        let Some(record) = self.hard.record.clone() else { return };
        let term = self.hard.term;
        let Part::Leader(leader) = &mut self.part else { return };
        let settled = leader.committed == Some(record.id) && matches!(leader.phase, Phase::Leading);
        let recent = now.before(self.config.timing.promise);
        let uncured = |p: &&Progress| p.voter && p.amnesiac && p.new_disk.is_none() && p.heard >= recent;
        if !settled || !leader.lease.is_exclusive(now) || leader.progress.iter().any(|p| uncured(&p)) {
            return;
        }
        let lost = |p: &&mut Progress| p.new_disk.is_some() && record.member(&p.node).is_some();
        let Some(progress) = leader.progress.iter_mut().find(lost) else { return };
        let (node, Some(disk)) = (progress.node.clone(), progress.new_disk.take()) else { return };
        progress.durable = None;
        let mut successor = record.successor(term);
        for member in successor.members.iter_mut().filter(|m| m.node == node) {
            member.disk = disk;
        }
        self.append(successor, RecordCause::Naming);
    }

    /// Replaces the proclaimed value; a wish that comes while a record is in flight waits, and only the newest is kept.
    pub(super) fn proclaim(&mut self, value: Bytes) {
        let Some(record) = self.hard.record.clone() else { return };
        let term = self.hard.term;
        let Part::Leader(leader) = &mut self.part else { return };
        if value.len() > PROCLAIMED_LEN_MAX || !matches!(leader.phase, Phase::Leading) {
            return;
        }
        if leader.committed != Some(record.id) {
            leader.wished = Some(value);
            return;
        }
        let successor = Record { proclaimed: value, ..record.successor(term) };
        self.append(successor, RecordCause::Proclaim);
        self.advance_commit();
    }

    pub(super) fn ask_promise(&mut self, promise: Duration) {
        let timing = &self.config.timing;
        let lasts = timing.lease_of(promise) > timing.heartbeat + timing.round_trip_max;
        let permitted = promise <= timing.promise_max;
        if let (Part::Leader(leader), true) = (&mut self.part, lasts && permitted) {
            leader.ask = promise;
        }
    }

    pub(super) fn heartbeat_now(&mut self) {
        if matches!(&self.part, Part::Leader(leader) if !leader.has_handed_over()) {
            self.send_round();
        }
    }

    pub(super) fn fail_append(&mut self, id: RequestId, to: &NodeId, error: CallError) {
        if self.fail_handover(id) {
            return self.emit(EventKind::CallFailed { id, to: to.clone(), kind: RequestKind::TimeoutNow, error });
        }
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(progress) = leader.progress_of(to) else { return };
        if progress.append.is_some_and(|(append, _)| append == id) {
            progress.append = None;
            self.emit(EventKind::CallFailed { id, to: to.clone(), kind: RequestKind::AppendEntries, error });
        }
    }

    pub(super) fn tick_leader(&mut self) {
        debug_assert_eq!(self.role(), Role::Leader);
        self.tell_exclusive();
        self.tick_office();
        self.tick_change();
        self.yield_office();
        let due = matches!(&self.part, Part::Leader(leader) if !leader.has_handed_over() && self.now >= leader.next_heartbeat);
        if due {
            return self.send_round();
        }
        if matches!(&self.part, Part::Leader(leader) if !leader.has_handed_over() && self.now >= leader.repeat_at) {
            self.repeat_round();
        }
    }

    pub(super) fn leader_deadline(&self, leader: &Leader) -> Time {
        if leader.has_handed_over() {
            return Time::NEVER;
        }
        let established_by = match leader.is_established() || mutant::on(Mutant::NoCheckQuorum) {
            true => Time::NEVER,
            false => leader.elected_at + self.config.timing.election_timeout_min,
        };
        let exclusive = match leader.told_exclusive || leader.lease.begin() <= self.now {
            true => Time::NEVER,
            false => leader.lease.begin(),
        };
        let phase = match &leader.phase {
            Phase::Preparing { deadline, .. } => *deadline,
            _ => Time::NEVER,
        };
        let pending = leader.pending.as_ref().map_or(Time::NEVER, |pending| pending.deadline);
        let repeat = match leader.progress.iter().any(|progress| progress.awaited) {
            true => leader.repeat_at,
            false => Time::NEVER,
        };
        let deadline = leader.next_heartbeat.min(repeat).min(leader.office_end(self.now)).min(established_by);
        deadline.min(exclusive).min(phase).min(pending)
    }
}
