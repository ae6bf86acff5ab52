//! One group in the driver: its node, what is published of it, and who waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::candidacy::Candidacy;
use super::collective::Collective;
use super::command::{
    ChangeFailure, Delivery, Guard, Mail, NotLeading, ProclaimFailure, StartWhen, TransferFailure, Waiter, tell,
};
use super::office::{LossCause, Office};
use super::pulse::Pulse;
use super::standing::Standing;
use super::view::{self, Cause, View};
use crate::clock::Clock;
use crate::event::{Change, ChangeOutcome, Event, EventKind, RecordCause, Revocation, Role, TransferOutcome};
use crate::mutant::{self, Mutant};
use crate::node::{Input, MembershipRefused, Node, Output, TransferRefused};
use crate::record::{Member, RecordId};
use crate::types::{GroupId, NodeId, Term, Time};

/// How many events the slowest reader of the stream may be behind.
pub(crate) const EVENTS_CAPACITY: usize = 1024;

/// What handles see of a group.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) view: watch::Sender<View>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) proclaimed: watch::Sender<Option<Bytes>>,
    pub(crate) members: watch::Sender<Vec<Member>>,
}

/// User work under a term, as far as the core was told.
#[derive(Debug)]
struct Work {
    office: Arc<Office>,
    guard: Weak<Guard>,
    overrun_reported: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) node: Node,
    pub(super) pulse: Pulse,
    pub(super) collective: Collective,
    pub(super) standing: Standing,
    /// The deadline under which the group stands in the driver's queue.
    pub(super) armed: Time,
    /// The core knows of the pause that the driver is coming out of.
    pub(super) pause_told: bool,
    /// Until then a follower does not act on its deadline: see [`Group::notice_pause`].
    listens_until: Time,
    published: Published,
    committed: Option<RecordId>,
    /// The nodes of the newest record, as far as events told.
    listed: Vec<NodeId>,
    /// The current term of office.
    office: Option<Arc<Office>>,
    work: Option<Work>,
    drain_limit: Duration,
    clock: Clock,
    /// It was told to leave.
    pub(super) leaving: bool,
    /// When a shutdown stops waiting for work that does not end.
    pub(super) leave_at: Time,
    /// Until then a shutdown waits for a disk that is being named.
    shutdown_waits: Option<Time>,
    waiters: Vec<Waiter>,
    candidacy: Candidacy,
}

impl Group {
    pub(super) fn new(node: Node, pulse: Pulse, standing: Standing, drain_limit: Duration, clock: Clock) -> Group {
        let published = Published {
            view: watch::Sender::new(view::of(&node, Cause::Started)),
            events: broadcast::Sender::new(EVENTS_CAPACITY),
            proclaimed: watch::Sender::new(None),
            members: watch::Sender::new(Vec::new()),
        };
        let record = node.hard_state().record.as_ref();
        let listed = record.map(|record| record.members.iter().map(|member| member.node.clone()).collect());
        Group {
            id: node.config().group.clone(),
            listed: listed.unwrap_or_else(|| node.config().members.clone()),
            node,
            pulse,
            collective: Collective::new(),
            standing,
            armed: Time::NEVER,
            pause_told: false,
            listens_until: Time::ZERO,
            published,
            committed: None,
            office: None,
            work: None,
            drain_limit,
            clock,
            leaving: false,
            leave_at: Time::NEVER,
            shutdown_waits: None,
            waiters: Vec::new(),
            candidacy: Candidacy::new(),
        }
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    /// Shows guards and watchers what the step came to. Runs before anything of the same output leaves (E5).
    pub(super) fn publish(&mut self, events: &[Event]) {
        self.publish_office(events);
        view::publish(&self.node, events, &self.published.view);
        let committed = self.node.committed();
        if committed.map(|record| record.id) != self.committed {
            self.committed = committed.map(|record| record.id);
            let value = committed.map(|record| record.proclaimed.clone());
            self.published.proclaimed.send_replace(value);
            let members = committed.map(|record| record.members.clone()).unwrap_or_default();
            self.published.members.send_if_modified(|known| {
                let changed = *known != members;
                *known = members;
                changed
            });
        }
    }

    fn publish_office(&mut self, events: &[Event]) {
        let term = self.node.term();
        let lease = self.node.lease();
        if let Some(office) = self.office.take_if(|office| lease.is_none() || office.term != term) {
            // F2: the old term is lost before the new one can be handed out.
            office.revoke(ending(events).unwrap_or(LossCause::Stopped));
        }
        let Some(lease) = lease else { return };
        let (config, limit) = (self.node.config(), self.drain_limit);
        let office =
            self.office.get_or_insert_with(|| Arc::new(Office::new(term, &config.timing, limit, self.clock.clone())));
        if lease.revoked && !office.is_over() {
            office.revoke(revoked_for(events).unwrap_or(LossCause::Stopped));
        }
        office.publish(lease);
    }

    /// Gives the events to the stream.
    pub(super) fn stream(&self, events: &[Event]) {
        if self.published.events.receiver_count() > 0 {
            for event in events {
                let _ = self.published.events.send(Arc::new(event.clone()));
            }
        }
    }

    /// When the driver must look at this group again.
    pub(super) fn deadline(&self, now: Time) -> Time {
        let mut deadline = self.node_deadline().min(self.leave_at).min(self.standing.next_at(&self.node));
        deadline = deadline.min(self.shutdown_waits.unwrap_or(Time::NEVER)).min(self.candidacy.due());
        if let Some(work) = &self.work {
            deadline = deadline.min(work.office.wake_at()).min(self.drained_at());
            if !work.overrun_reported {
                deadline = deadline.min(work.office.end());
            }
        }
        if let Some(lease) = self.node.lease()
            && self.work.is_none()
            && lease.begin() > now
            && self.waiters.iter().any(|waiter| matches!(waiter, Waiter::Lead { .. }))
        {
            deadline = deadline.min(lease.begin());
        }
        deadline
    }

    /// When the core wants its next tick. After a pause a follower listens first.
    pub(super) fn node_deadline(&self) -> Time {
        match self.node.role() {
            Role::Follower => self.node.deadline().max(self.listens_until),
            _ => self.node.deadline(),
        }
    }

    /// Tells the core, once, of a pause that the driver comes out of. Says whether there was one.
    ///
    /// Who stood still cannot say that the leader was silent: its heartbeats were given up by those who sent them, and their
    /// connection may have been, too. So a follower waits for the next one before it acts on a deadline that passed.
    pub(super) fn notice_pause(&mut self, now: Time, out: &mut Output) -> bool {
        if !self.is_late(now) || std::mem::replace(&mut self.pause_told, true) {
            return false;
        }
        self.node.step(now, Input::Paused(now.since(self.armed)), out);
        let timing = &self.node.config().timing;
        self.listens_until = now + timing.heartbeat + timing.round_trip_max;
        true
    }

    /// Whether its deadline has passed by so much that the driver must have stood still.
    pub(super) fn is_late(&self, now: Time) -> bool {
        now.since(self.armed) > self.node.config().timing.promise / 2
    }

    /// Sees to work whose time is up.
    pub(super) fn tick(&mut self, now: Time) {
        let Some(work) = &mut self.work else { return };
        work.office.tick(now);
        if now >= work.office.end() && !work.overrun_reported {
            work.overrun_reported = true;
            tracing::warn!(
                target: "hustings::election", group = %self.id, term = work.office.term.0,
                "user work still holds its leadership after the lease ended: only the fence protects what it writes"
            );
        }
    }

    /// Why the guard has said no, where the core does not know it yet (E11).
    pub(super) fn lapsed(&self) -> Option<Revocation> {
        let office = self.office.as_ref().filter(|office| office.is_over())?;
        let revoked = self.node.lease().is_none_or(|lease| lease.revoked);
        (!revoked).then(|| office.cause().map_or(Revocation::LeaseLapsed, LossCause::revocation))
    }

    /// Whether the work has had its time and runs on, while its office still lasts.
    pub(super) fn drain_expired(&self, now: Time) -> bool {
        now >= self.drained_at()
    }

    /// When that will be: a little after the work must have ended, so that its end is heard of first.
    fn drained_at(&self) -> Time {
        let (Some(work), Some(office)) = (&self.work, &self.office) else { return Time::NEVER };
        match Arc::ptr_eq(&work.office, office) && !self.node.is_handing_over() {
            true => office.drained_at(self.node.config().timing.election_timeout_min),
            false => Time::NEVER,
        }
    }

    /// Whether the core should be told that work begins.
    pub(super) fn can_start_work(&mut self, now: Time) -> bool {
        self.waiters.retain(|waiter| !waiter.is_gone());
        self.work.is_none() && self.waiters.iter().any(|waiter| self.may_lead(waiter, now))
    }

    fn may_lead(&self, waiter: &Waiter, now: Time) -> bool {
        let (Waiter::Lead { when, .. }, Some(office)) = (waiter, &self.office) else { return false };
        match when {
            StartWhen::Exclusive => office.has_begun(now) && office.may_begin(now),
            StartWhen::Elected => office.may_begin(now),
        }
    }

    /// Hands the guard of the term out, after the core accepted the work.
    pub(super) fn hand_out(&mut self, now: Time, index: usize, mail: &Mail) {
        let Some(office) = &self.office else { return };
        let guard = match &self.work {
            Some(work) if !Arc::ptr_eq(&work.office, office) => return,
            Some(work) => match work.guard.upgrade() {
                Some(guard) => guard,
                None => return,
            },
            None if self.node.working() == Some(office.term) => {
                let who = self.node.identity().clone();
                let guard = Arc::new(Guard { who, office: office.clone(), group: index, mail: mail.clone() });
                let guard_ref = Arc::downgrade(&guard);
                self.work = Some(Work { office: office.clone(), guard: guard_ref, overrun_reported: false });
                guard
            }
            None => return,
        };
        for waiter in std::mem::take(&mut self.waiters) {
            let ready = self.may_lead(&waiter, now);
            match waiter {
                Waiter::Lead { reply, .. } if ready => tell(reply, Delivery::of(guard.clone())),
                waiter => self.waiters.push(waiter),
            }
        }
    }

    /// Whether somebody works, or waits to.
    fn is_wanted(&self) -> bool {
        let waits = |waiter: &Waiter| matches!(waiter, Waiter::Lead { .. }) && !waiter.is_gone();
        self.work.is_some() || self.waiters.iter().any(waits)
    }

    /// Whether the application is fit to lead.
    pub(super) fn set_fit(&mut self, fit: bool, why: String) {
        self.candidacy.set_fit(fit, why);
    }

    /// What the core has to be told of this member's candidacy, if it is something new.
    pub(super) fn candidacy(&mut self, now: Time) -> Option<Input> {
        let wanted = self.is_wanted();
        self.candidacy.news(now, wanted, self.node.config().timing.heartbeat)
    }

    /// Whether any waiter could join work that runs.
    pub(super) fn can_join_work(&self, now: Time) -> bool {
        let current = |work: &Work| self.office.as_ref().is_some_and(|office| Arc::ptr_eq(office, &work.office));
        self.work.as_ref().is_some_and(current) && self.waiters.iter().any(|waiter| self.may_lead(waiter, now))
    }

    /// The last guard of `term` is gone. Says whether the core has to hear of it.
    pub(super) fn end_work(&mut self, term: Term) -> bool {
        self.work.take_if(|work| work.office.term == term).is_some()
    }

    /// Who need not be reached any more: removed, or never added.
    pub(super) fn departed(&mut self, events: &[Event]) -> Vec<NodeId> {
        let mut departed = Vec::new();
        for event in events {
            match &event.kind {
                EventKind::MembersChanged { voters, non_voters, .. } => {
                    let listed: Vec<NodeId> = voters.iter().chain(non_voters).cloned().collect();
                    let before = std::mem::replace(&mut self.listed, listed);
                    departed.extend(before.into_iter().filter(|node| !self.listed.contains(node)));
                }
                EventKind::ChangeEnded { change: Change::Add, node, outcome }
                    if *outcome != ChangeOutcome::Completed =>
                {
                    departed.push(node.clone());
                }
                _ => {}
            }
        }
        departed
    }

    /// A shutdown waits for work that long, and for the protocol a little longer.
    pub(super) fn leave_by(&mut self, now: Time) {
        let patience = self.drain_limit.saturating_add(self.node.config().timing.election_timeout_max * 2);
        self.leaving = true;
        self.leave_at = self.leave_at.min(now + patience);
    }

    /// Whether the shutdown that was asked for must wait: a leader that leaves while a member's new disk is being named leaves
    /// a disk without a vote behind, and may take the last quorum with it. Half of the drain limit is left for the work.
    pub(super) fn shutdown_must_wait(&mut self, now: Time) -> bool {
        if self.node.is_naming() {
            self.shutdown_waits.get_or_insert(now + self.drain_limit / 2);
        }
        self.shutdown_waits.is_some()
    }

    /// Whether a shutdown that waits goes on now.
    pub(super) fn resumes_shutdown(&mut self, now: Time) -> bool {
        let done = |until: &mut Time| now >= *until || !self.node.is_naming();
        self.shutdown_waits.take_if(done).is_some()
    }

    /// Whether it leads, and no work runs or waits.
    pub(super) fn leads_idly(&self) -> bool {
        let established = self.node.lease().is_some_and(|lease| lease.committed_at != Time::NEVER);
        established && !self.leaving && !self.is_wanted()
    }

    pub(super) fn office(&self) -> Option<&Arc<Office>> {
        self.office.as_ref()
    }

    pub(super) fn wait(&mut self, waiter: Waiter) {
        self.waiters.push(waiter);
    }

    /// Answers those whose matter is decided.
    pub(super) fn answer_waiters(&mut self, events: &[Event]) {
        if self.waiters.is_empty() {
            return;
        }
        for waiter in std::mem::take(&mut self.waiters) {
            if let Some(waiter) = self.answer(waiter, events) {
                self.waiters.push(waiter);
            }
        }
    }

    fn answer(&self, waiter: Waiter, events: &[Event]) -> Option<Waiter> {
        let in_office = |office: &Arc<Office>| self.office.as_ref().is_some_and(|now| Arc::ptr_eq(now, office));
        match waiter {
            Waiter::Lead { .. } => return Some(waiter),
            Waiter::Verify { since, office, reply } => {
                let contact = self.node.quorum_contact().filter(|_| in_office(&office));
                if let Some(cause) = office.cause() {
                    tell(reply, Err(cause));
                } else if contact.is_some_and(|contact| contact >= since) {
                    tell(reply, Ok(()));
                } else {
                    return Some(Waiter::Verify { since, office, reply });
                }
            }
            Waiter::Resign { office, reply } if in_office(&office) => return Some(Waiter::Resign { office, reply }),
            Waiter::Resign { office, reply } if mutant::on(Mutant::ResignNotAnswered) => {
                return Some(Waiter::Resign { office, reply });
            }
            Waiter::Resign { office, reply } => tell(reply, Ok(office.term)),
            // Those who wait for an office's doings die with it, whether or not it came to do them.
            Waiter::Transfer { office, reply } => match transferred(events) {
                Some(result) => tell(reply, result),
                None if self.node.is_transferring() => return Some(Waiter::Transfer { office, reply }),
                // Time has passed between the question whether it can begin, and the beginning.
                None if office.as_ref().is_some_and(in_office) => {
                    let refused = self.node.can_transfer(None).err().unwrap_or(TransferRefused::NoSuccessor);
                    tell(reply, Err(TransferFailure::Refused(refused)));
                }
                None => tell(reply, Err(TransferFailure::Failed)),
            },
            Waiter::Change { office, change, node, reply } => match changed(events, change, &node) {
                Some(ChangeOutcome::Completed) => tell(reply, Ok(())),
                Some(ChangeOutcome::TimedOut) => {
                    tell(reply, Err(ChangeFailure::TimedOut(self.standing.state_of(&node))));
                }
                Some(ChangeOutcome::LeadershipEnded) => tell(reply, Err(ChangeFailure::LeadershipEnded)),
                None if self.node.is_changing() => return Some(Waiter::Change { office, change, node, reply }),
                None if office.as_ref().is_some_and(in_office) => {
                    let refused = self.node.can_change(change, &node).err().unwrap_or(MembershipRefused::NotExclusive);
                    tell(reply, Err(ChangeFailure::Refused(refused)));
                }
                None => tell(reply, Err(ChangeFailure::LeadershipEnded)),
            },
            Waiter::Proclaim { office, index, reply } => {
                let index = index.or_else(|| appended(events));
                let done = |committed: RecordId| Some(committed.index) >= index && committed.term == office.term;
                if index.is_some() && self.committed.is_some_and(done) {
                    tell(reply, Ok(()));
                } else if !in_office(&office) {
                    let cause = office.cause().unwrap_or(LossCause::Stopped);
                    tell(reply, Err(ProclaimFailure::Lost(cause)));
                } else {
                    return Some(Waiter::Proclaim { office, index, reply });
                }
            }
        }
        None
    }
}

/// A driver that is gone keeps no lease alive.
impl Drop for Group {
    fn drop(&mut self) {
        for office in self.office.iter().chain(self.work.iter().map(|work| &work.office)) {
            office.revoke(LossCause::Stopped);
        }
        for waiter in self.waiters.drain(..) {
            if let Waiter::Resign { office, reply } = waiter {
                tell(reply, if office.is_over() { Ok(office.term) } else { Err(NotLeading) });
            }
        }
    }
}

fn ending(events: &[Event]) -> Option<LossCause> {
    events.iter().rev().find_map(|event| match event.kind {
        EventKind::LeadershipEnded { cause, .. } => Some(LossCause::Ended(cause)),
        _ => None,
    })
}

/// Why the guard was revoked, if it was.
fn revoked_for(events: &[Event]) -> Option<LossCause> {
    events.iter().find_map(|event| match event.kind {
        EventKind::GuardRevoked { cause, .. } => Some(LossCause::of(cause)),
        _ => None,
    })
}

fn transferred(events: &[Event]) -> Option<Result<crate::types::NodeId, TransferFailure>> {
    events.iter().find_map(|event| match &event.kind {
        EventKind::TransferEnded { to, outcome } => Some(match outcome {
            TransferOutcome::Completed => Ok(to.clone()),
            TransferOutcome::CalledOff => Err(TransferFailure::CalledOff),
            TransferOutcome::Failed => Err(TransferFailure::Failed),
        }),
        _ => None,
    })
}

fn changed(events: &[Event], wanted: Change, about: &NodeId) -> Option<ChangeOutcome> {
    events.iter().find_map(|event| match &event.kind {
        EventKind::ChangeEnded { change, node, outcome } if *change == wanted && node == about => Some(*outcome),
        _ => None,
    })
}

fn appended(events: &[Event]) -> Option<u64> {
    events.iter().find_map(|event| match event.kind {
        EventKind::RecordAppended { id, cause: RecordCause::Proclaim, .. } => Some(id.index),
        _ => None,
    })
}
