//! Terms of office: `raft.leaderless`, `raft.leadership`, `raft.transfer`, resignations, and records sent round.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::candidate::timeout;
use super::group::Group;
use super::tree::Key;
use crate::event::{Event, EventKind, RecordCause, TransferOutcome};
use crate::observer::OrderKind;
use crate::record::RecordId;
use crate::telemetry::keys::{self, link, span};
use crate::types::{NodeId, Term, Time, TraceContext};

/// How far back a span may begin: a viewer's search misses what began long ago. The true figures are attributes.
const BACK_DATED_MAX: Duration = Duration::from_secs(3600);

/// How long the answers to `Resign` are waited for: a follower is not told of calls that failed.
const RESIGN_PATIENCE: Duration = Duration::from_secs(1);

/// This node's term of office.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) term: Term,
    pub(super) election: TraceContext,
}

/// A transfer that this node began.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) key: Key,
    /// It has ended, and waits through its instant for the election that it caused, or for the call that failed.
    ended: Option<Time>,
    /// Whether the election that it caused is known.
    linked: bool,
}

/// `Resign` on its way to the others.
#[derive(Debug)]
pub(super) struct Resigning {
    pub(super) key: Key,
    since: Time,
    waiting: usize,
}

impl Group {
    pub(super) fn leader_changed(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::LeaderChanged { leader, election, leaderless_since } = &event.kind else { return None };
        let logged = self.note(event);
        let own = *leader == event.who.node;
        if own {
            // Counted when it is established: a leader that is not, leads nobody.
            return Some(logged);
        }
        self.made_leader = *election;
        self.leaderless(event, leader, *leaderless_since);
        if let Some(transfer) = &mut self.transfer {
            transfer.linked = true;
            self.tree.link(transfer.key, link::ELECTED_BY, *election);
        }
        Some(logged)
    }

    /// The time without a leader, told when it is over; with the wait that ended it, on a node that campaigned.
    pub(super) fn leaderless(&mut self, event: &Event, leader: &NodeId, since: Time) {
        self.started = None;
        let detect = self.detect.take();
        let mut plan = self.plan(event, span::LEADERLESS, SpanKind::Internal);
        plan.at = since.max(event.at.before(BACK_DATED_MAX)).min(event.at);
        let began = plan.at;
        plan.attributes.extend([
            keys::term(event.term),
            keys::node("raft.leader.id", leader),
            keys::seconds("raft.leaderless.duration", event.at.since(since)),
        ]);
        if self.made_leader.is_valid() {
            plan.links.push((link::ELECTED_BY, self.made_leader));
        }
        let root = self.tree.root(plan);
        if let Some(detect) = detect {
            let mut plan = self.plan(event, span::DETECT, SpanKind::Internal);
            plan.attributes.retain(|attribute| attribute.key.as_str() != keys::SEQUENCE);
            plan.attributes.push(keys::count(keys::SEQUENCE, detect.sequence));
            plan.at = detect.since.max(began).min(event.at);
            plan.attributes.push(keys::code("raft.election.trigger", detect.trigger.code()));
            plan.attributes.extend(detect.waited.iter().flat_map(timeout));
            let key = self.tree.child(root, plan);
            self.tree.end(key, detect.until.min(event.at));
        }
        self.tree.end(root, event.at);
    }

    pub(super) fn leadership_ended(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::LeadershipEnded { cause, since, work_running } = &event.kind else { return None };
        let office = self.office.take();
        if let Some(round) = self.beating.take() {
            self.tree.end(round, event.at);
        }
        let began = since.max(&event.at.before(BACK_DATED_MAX)).min(&event.at).to_owned();
        let mut plan = self.plan(event, span::LEADERSHIP, SpanKind::Internal);
        plan.at = began;
        plan.attributes.extend([
            keys::term(office.as_ref().map_or(event.term, |office| office.term)),
            keys::code("raft.leadership.end", cause.code()),
            keys::seconds("raft.leadership.duration", event.at.since(*since)),
            keys::flag("raft.work.running", *work_running),
        ]);
        if let Some(office) = office.filter(|office| office.election.is_valid()) {
            plan.links.push((link::ELECTED_BY, office.election));
        }
        let key = self.tree.root(plan);
        if let Some(start) = self.tree.wall_seconds(key, *since) {
            self.tree.set(key, KeyValue::new("raft.leadership.start", start));
        }
        let logged = self.tree.logged(key);
        self.tree.end(key, event.at);
        if let Some((_, record)) = self.replication.take() {
            self.tree.end(record, event.at);
        }
        Some(logged)
    }

    pub(super) fn transfer_started(&mut self, event: &Event, to: &NodeId) -> Option<TraceContext> {
        if let Some(before) = self.transfer.take() {
            self.tree.end(before.key, event.at);
        }
        let mut plan = self.plan(event, span::TRANSFER, SpanKind::Internal);
        plan.attributes.extend([keys::term(event.term), keys::node("raft.transfer.to", to)]);
        if let Some(office) = self.office.as_ref().filter(|office| office.election.is_valid()) {
            plan.links.push((link::PREVIOUS_ELECTION, office.election));
        }
        plan.links.extend(self.caller_of(OrderKind::Transfer));
        let key = self.tree.root(plan);
        self.transfer = Some(Transfer { key, ended: None, linked: false });
        Some(self.tree.logged(key))
    }

    pub(super) fn transfer_ended(
        &mut self,
        event: &Event,
        to: &NodeId,
        outcome: TransferOutcome,
    ) -> Option<TraceContext> {
        let Some(transfer) = &mut self.transfer else {
            let _ = to;
            return Some(self.note(event));
        };
        transfer.ended = Some(event.at);
        let (key, linked) = (transfer.key, transfer.linked);
        let logged = self.tree.logged(key);
        self.tree.set(key, keys::code("raft.transfer.outcome", outcome.code()));
        if linked || outcome == TransferOutcome::CalledOff {
            self.tree.end(key, event.at);
            self.transfer = None;
        }
        Some(logged)
    }

    /// Ends a transfer whose instant is over.
    pub(super) fn settle_transfer(&mut self, now: Time) {
        let over = |transfer: &mut Transfer| transfer.ended.is_some_and(|ended| ended != now);
        if let Some(Transfer { key, ended: Some(ended), .. }) = self.transfer.take_if(over) {
            self.tree.end(key, ended);
        }
    }

    pub(super) fn resigned(&mut self, event: &Event) -> Option<TraceContext> {
        let key = self.resignation(event);
        Some(self.note_on(key, event))
    }

    /// The transition that a resignation is told in, kept open until the others have heard of it.
    pub(super) fn resignation(&mut self, event: &Event) -> Key {
        let waiting = usize::from(!matches!(event.kind, EventKind::Resigned { .. }));
        if let Some(resigning) = &mut self.resigning {
            resigning.waiting += waiting;
            return resigning.key;
        }
        let key = self.keep_transition(event);
        self.resigning = Some(Resigning { key, since: event.at, waiting });
        key
    }

    pub(super) fn resignation_answered(&mut self, at: Time) {
        let Some(resigning) = &mut self.resigning else { return };
        resigning.waiting = resigning.waiting.saturating_sub(1);
        if resigning.waiting == 0 {
            self.tree.end(resigning.key, at);
            self.resigning = None;
        }
    }

    /// Ends a resignation that nobody was told of, or whose answers do not come.
    pub(super) fn settle_resignation(&mut self, now: Time) {
        let told = |resigning: &Resigning| resigning.waiting == 0 && resigning.since != now;
        let over = |resigning: &mut Resigning| told(resigning) || now.since(resigning.since) > RESIGN_PATIENCE;
        if let Some(Resigning { key, since, .. }) = self.resigning.take_if(over) {
            self.tree.end(key, since);
        }
    }

    pub(super) fn record_appended(&mut self, event: &Event, id: RecordId, cause: RecordCause) -> Option<TraceContext> {
        let establish = self.election.as_ref().and_then(|election| election.establish);
        if let Some(key) = establish.filter(|_| cause == RecordCause::NoOp) {
            return Some(self.note_on(key, event));
        }
        if let Some((_, before)) = self.replication.take() {
            self.tree.end(before, event.at);
        }
        let key = self.keep_transition(event);
        self.replication = Some((id, key));
        Some(self.note_on(key, event))
    }

    /// The members of a record that is sent round are told where that is.
    pub(super) fn members_changed(&mut self, event: &Event, id: RecordId) -> TraceContext {
        match self.replication {
            Some((record, key)) if record == id => self.note_on(key, event),
            _ => self.note(event),
        }
    }

    pub(super) fn committed(&mut self, event: &Event, id: RecordId) -> Option<TraceContext> {
        if let Some((_, key)) = self.replication.take_if(|(record, _)| *record <= id) {
            let logged = self.note_on(key, event);
            self.tree.end(key, event.at);
            return Some(logged);
        }
        let establish = self.election.as_ref().and_then(|election| election.establish);
        match establish.filter(|key| self.tree.is_open(*key)) {
            Some(key) => Some(self.note_on(key, event)),
            None => Some(self.note(event)),
        }
    }
}
