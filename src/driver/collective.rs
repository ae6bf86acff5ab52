//! What passes by of the other members, so that the whole group can be told from one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, EventKind, Role, WriteId};
use crate::message::{Identity, Reason, Reply, ReplyBody, Request, RequestBody, RequestId, RequestKind, Verdict};
use crate::node::{Input, Node, Output};
use crate::observer::{CollectiveState, DiskState, MemberState};
use crate::record::{MEMBERS_MAX, RecordId};
use crate::types::{Incarnation, NodeId, Term, Time};

/// Changes are told no faster than this: who flaps, or sets its status without end, floods nobody.
const TELL_MIN: Duration = Duration::from_secs(1);

/// What this node knows of the group, beside what its machine holds.
#[derive(Debug)]
pub(super) struct Collective {
    seen: BTreeMap<NodeId, Seen>,
    /// The newest request with a record to each: its answer waits for the disk.
    appending: BTreeMap<NodeId, RequestId>,
    own: Own,
    /// What was told last, and when.
    told: Vec<Shown>,
    told_at: Option<Time>,
    /// The application's status is another than the one that was told.
    status_is_new: bool,
}

/// One other member, as last seen.
#[derive(Debug)]
struct Seen {
    at: Time,
    incarnation: Incarnation,
    term: Term,
    role: Option<Role>,
    durable: Option<RecordId>,
    disk: DiskState,
    disk_latency: Option<Duration>,
}

/// This node's own disk, and its application.
#[derive(Debug, Default)]
struct Own {
    write: Option<(WriteId, Time)>,
    disk_latency: Option<Duration>,
    failed: bool,
    status: Option<Arc<str>>,
}

/// What of a member is worth telling when it changes. Not its lag, which each record raises for a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    node: NodeId,
    voter: bool,
    role: Option<Role>,
    in_contact: Option<bool>,
    disk: DiskState,
}

impl Shown {
    fn of(member: &MemberState) -> Shown {
        let MemberState { node, voter, role, in_contact, disk, .. } = member;
        Shown { node: node.clone(), voter: *voter, role: *role, in_contact: *in_contact, disk: *disk }
    }
}

impl Collective {
    pub(super) fn new() -> Collective {
        Collective {
            seen: BTreeMap::new(),
            appending: BTreeMap::new(),
            own: Own::default(),
            told: Vec::new(),
            told_at: None,
            status_is_new: false,
        }
    }

    /// Before a step: what its input says of others.
    pub(super) fn note_input(&mut self, now: Time, node: &Node, input: &Input) {
        match input {
            Input::Request { request, peer, .. } => self.note_request(now, node, request, peer.as_ref()),
            Input::Reply(reply) => self.note_reply(now, node, reply),
            _ => {}
        }
    }

    fn note_request(&mut self, now: Time, node: &Node, request: &Request, peer: Option<&NodeId>) {
        if peer.is_some_and(|peer| *peer != request.from.node) {
            return;
        }
        // A pre-vote names a term that its sender has not entered.
        let (role, term) = match request.body {
            // A question of one that is founded late, or wants to know whom it reaches.
            RequestBody::PreVote { last: None } => (Role::Follower, None),
            RequestBody::PreVote { .. } => (Role::PreCandidate, None),
            RequestBody::RequestVote { .. } => (Role::Candidate, Some(request.term)),
            RequestBody::AppendEntries { .. } => (Role::Leader, Some(request.term)),
            RequestBody::TimeoutNow | RequestBody::Resign => (Role::Follower, Some(request.term)),
        };
        let Some(seen) = self.see(now, node, &request.from) else { return };
        seen.role = Some(role);
        seen.term = term.unwrap_or(seen.term);
    }

    fn note_reply(&mut self, now: Time, node: &Node, reply: &Reply) {
        let waited = self.appending.get(&reply.from.node) == Some(&reply.id);
        if waited {
            self.appending.remove(&reply.from.node);
        }
        let Some(seen) = self.see(now, node, &reply.from) else { return };
        // A granted pre-vote echoes the term that was asked for.
        if reply.kind != RequestKind::PreVote || !reply.verdict.is_granted() {
            seen.term = reply.term;
        }
        match (&reply.verdict, reply.kind) {
            (Verdict::Granted, RequestKind::AppendEntries | RequestKind::RequestVote) => {
                seen.role = Some(Role::Follower);
                seen.disk = if reply.from.amnesiac { DiskState::Amnesiac } else { DiskState::Good };
            }
            (Verdict::Refused(Reason::Stopping), _) => seen.role = Some(Role::Stopped),
            (Verdict::Refused(Reason::StorageError), _) => seen.disk = DiskState::Failed,
            _ => {}
        }
        if let ReplyBody::Append { durable: Some(durable), .. } = &reply.body {
            seen.durable = Some(*durable);
        }
        if waited {
            seen.disk_latency = Some(reply.worked);
        }
    }

    /// The member that speaks; none if it is no member, since anybody may claim to be anybody.
    fn see(&mut self, now: Time, node: &Node, from: &Identity) -> Option<&mut Seen> {
        let own = node.identity();
        if from.cluster != own.cluster || from.group != own.group || from.node == own.node {
            return None;
        }
        if !self.seen.contains_key(&from.node) {
            if !is_member(node, &from.node) {
                return None;
            }
            // Whoever is a member no longer makes room here.
            self.seen.retain(|other, _| is_member(node, other));
            let seen = Seen {
                at: now,
                incarnation: from.incarnation,
                term: Term::default(),
                role: None,
                durable: None,
                disk: DiskState::Unknown,
                disk_latency: None,
            };
            self.seen.insert(from.node.clone(), seen);
        }
        let seen = self.seen.get_mut(&from.node)?;
        // A message does not tell that a disk is well again: what it grants does.
        let failed = seen.disk == DiskState::Failed && seen.incarnation == from.incarnation;
        seen.disk = match from.amnesiac {
            _ if failed => DiskState::Failed,
            true => DiskState::Amnesiac,
            false => DiskState::Good,
        };
        (seen.at, seen.incarnation) = (now, from.incarnation);
        Some(seen)
    }

    /// After a step: what it says of this node's disk, and which answers will tell of another's.
    pub(super) fn note_output(&mut self, now: Time, out: &Output) {
        for event in &out.events {
            self.note_event(now, event);
        }
        for request in &out.requests {
            if let RequestBody::AppendEntries { record: Some(_), .. } = request.body {
                if self.appending.len() > MEMBERS_MAX {
                    // Of those who left before they answered.
                    self.appending.clear();
                }
                self.appending.insert(request.to.clone(), request.id);
            }
        }
    }

    fn note_event(&mut self, now: Time, event: &Event) {
        match &event.kind {
            EventKind::PersistStarted { write, .. } => self.own.write = Some((*write, now)),
            EventKind::PersistEnded { write } => {
                if let Some((_, began)) = self.own.write.take_if(|(started, _)| started == write) {
                    self.own.disk_latency = Some(now.since(began));
                }
            }
            EventKind::PersistFailed { .. } => self.own.failed = true,
            EventKind::StorageHealed { .. } => self.own.failed = false,
            _ => {}
        }
    }

    /// What the application says of itself from now on.
    pub(super) fn set_status(&mut self, status: Option<Arc<str>>) {
        self.status_is_new |= self.own.status != status;
        self.own.status = status;
    }

    /// The state, if it is to be told now: a leader tells what changed, every node what its application says.
    pub(super) fn news(&mut self, now: Time, node: &Node, round: bool) -> Option<CollectiveState> {
        let leads = node.lease().is_some_and(|lease| lease.committed_at != Time::NEVER);
        let due = self.told_at.is_none_or(|told| now.since(told) >= TELL_MIN);
        if !due || !(self.status_is_new || leads && round && self.has_changed(now, node)) {
            return None;
        }
        Some(self.tell(now, node))
    }

    /// The state, which is told now.
    pub(super) fn tell(&mut self, now: Time, node: &Node) -> CollectiveState {
        let state = self.state(now, node);
        self.told = state.members.iter().map(Shown::of).collect();
        (self.told_at, self.status_is_new) = (Some(now), false);
        state
    }

    /// Looked at with every round of heartbeats: nothing is built for it.
    fn has_changed(&self, now: Time, node: &Node) -> bool {
        let members = members(node);
        let count = members.clone().count();
        count != self.told.len()
            || members.zip(&self.told).any(|((name, voter), told)| {
                let (role, in_contact, disk) = self.condition(now, node, name);
                let same = (*name == told.node, voter, role) == (true, told.voter, told.role);
                !same || (in_contact, disk) != (told.in_contact, told.disk)
            })
    }

    pub(super) fn state(&self, now: Time, node: &Node) -> CollectiveState {
        let newest = node.hard_state().last();
        CollectiveState {
            at: now,
            who: node.identity().clone(),
            term: node.term(),
            leader: node.leader().cloned(),
            record: newest,
            members: members(node).map(|(name, voter)| self.member(now, node, name, voter, newest)).collect(),
        }
    }

    fn member(&self, now: Time, node: &Node, name: &NodeId, voter: bool, newest: Option<RecordId>) -> MemberState {
        let seen = self.seen.get(name);
        let own = *name == node.config().node;
        let (role, in_contact, disk) = self.condition(now, node, name);
        let durable = if own { node.durable() } else { seen.and_then(|seen| seen.durable) };
        let lag = newest.zip(durable).map(|(newest, durable)| newest.index.saturating_sub(durable.index));
        MemberState {
            node: name.clone(),
            voter,
            role,
            term: if own { Some(node.term()) } else { seen.map(|seen| seen.term) },
            contact_age: if own { Some(Duration::ZERO) } else { seen.map(|seen| now.since(seen.at)) },
            in_contact,
            durable,
            lag,
            disk,
            disk_latency: if own { self.own.disk_latency } else { seen.and_then(|seen| seen.disk_latency) },
            contention: node.contention_of(name),
            works: own.then(|| node.role() == Role::Leader && node.working() == Some(node.term())),
            status: self.own.status.clone().filter(|_| own),
        }
    }

    /// The parts that are worth telling.
    fn condition(&self, now: Time, node: &Node, name: &NodeId) -> (Option<Role>, Option<bool>, DiskState) {
        if *name == node.config().node {
            let disk = match node.is_amnesiac() {
                _ if self.own.failed => DiskState::Failed,
                true => DiskState::Amnesiac,
                false => DiskState::Good,
            };
            return (Some(node.role()), Some(true), disk);
        }
        let seen = self.seen.get(name);
        let leads = node.leader() == Some(name);
        // What led once, and is known to lead no longer, has said nothing of itself since.
        let role = match seen.and_then(|seen| seen.role) {
            _ if leads => Some(Role::Leader),
            Some(Role::Leader) => None,
            role => role,
        };
        let spoken_to = leads || node.role() == Role::Leader;
        let recent = seen.is_some_and(|seen| now.since(seen.at) < node.config().timing.election_timeout_min);
        (role, spoken_to.then_some(recent), seen.map_or(DiskState::Unknown, |seen| seen.disk))
    }
}

/// The members in force, and whether they vote, in the order of the record.
fn members(node: &Node) -> impl Iterator<Item = (&NodeId, bool)> + Clone {
    let record = node.hard_state().record.as_ref();
    let configured = if record.is_none() { &node.config().members[..] } else { &[] };
    let recorded = record.map_or(&[][..], |record| &record.members);
    let recorded = recorded.iter().map(|member| (&member.node, member.voter));
    recorded.chain(configured.iter().map(|name| (name, true)))
}

fn is_member(node: &Node, name: &NodeId) -> bool {
    members(node).any(|(member, _)| member == name)
}

/// Whether the step established this node.
pub(super) fn establishes(event: &Event) -> bool {
    matches!(event.kind, EventKind::Established { .. })
}
