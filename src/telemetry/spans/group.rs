//! One group of one node: which operations are open, and which event belongs to which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::application::Ordered;
use super::budget::Budget;
use super::candidate::{Detect, Election};
use super::leader::{Office, Resigning, Transfer};
use super::tree::{Key, Plan, Tree};
use super::voter::Call;
use super::{Setup, notes};
use crate::event::{CallId, Event, EventKind, WriteId};
use crate::message::{Identity, RequestId, RequestKind};
use crate::record::RecordId;
use crate::telemetry::keys::{self, link, span};
use crate::types::{NodeId, Term, Time, TraceContext};

/// How often what is stale is looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// How many requests may be remembered whose reply never came.
const REQUESTS_MAX: usize = 1024;

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) context: TraceContext,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) tree: Tree,
    pub(super) setup: Arc<Setup>,
    pub(super) who: Option<Arc<Identity>>,
    /// That of the newest event.
    pub(super) sequence: u64,
    pub(super) budget: Budget,
    /// A round of heartbeats that is looked at.
    pub(super) beating: Option<Key>,
    pub(super) ordered: Option<Ordered>,
    pub(super) election: Option<Election>,
    /// This node's newest election.
    pub(super) newest: TraceContext,
    /// The election that made the leader who was known last.
    pub(super) made_leader: TraceContext,
    pub(super) detect: Option<Detect>,
    pub(super) office: Option<Office>,
    pub(super) transfer: Option<Transfer>,
    pub(super) resigning: Option<Resigning>,
    /// A record that a leader sends round, other than its no-op.
    pub(super) replication: Option<(RecordId, Key)>,
    /// The newest record sent outside an operation, to a member that lagged behind.
    pub(super) stray: BTreeMap<NodeId, Key>,
    /// When the node started, while no leader has been known since.
    pub(super) started: Option<Time>,
    pub(super) requests: BTreeMap<RequestId, Asked>,
    pub(super) calls: BTreeMap<CallId, Call>,
    /// The call that was answered last: an election that it ordered still links to it.
    pub(super) answered: Option<(CallId, TraceContext)>,
    pub(super) writes: BTreeMap<WriteId, Vec<Key>>,
    /// The call that is being dealt with, and the instant at which it is.
    pub(super) focus: Option<(Time, Key)>,
    /// What changed without belonging to an operation, while its instant lasts.
    transition: Option<(Time, Key)>,
    /// Transitions whose writes are not done yet.
    lingering: Vec<Key>,
    swept: Time,
}

impl Group {
    pub(super) fn new(tree: Tree, setup: Arc<Setup>) -> Self {
        Group {
            tree,
            who: None,
            sequence: 0,
            budget: Budget::new(setup.elections_per_minute),
            beating: None,
            setup,
            ordered: None,
            election: None,
            newest: TraceContext::NONE,
            made_leader: TraceContext::NONE,
            detect: None,
            office: None,
            transfer: None,
            resigning: None,
            replication: None,
            stray: BTreeMap::new(),
            started: None,
            requests: BTreeMap::new(),
            calls: BTreeMap::new(),
            answered: None,
            writes: BTreeMap::new(),
            focus: None,
            transition: None,
            lingering: Vec::new(),
            swept: Time::ZERO,
        }
    }

    /// Whether the newest election is left out of the trace.
    pub(super) fn leaves_out(&self) -> bool {
        self.budget.is_exceeded()
    }

    pub(super) fn newest_election(&self) -> TraceContext {
        self.newest
    }

    pub(super) fn request(&self, id: RequestId) -> TraceContext {
        self.requests.get(&id).map_or(TraceContext::NONE, |asked| asked.context)
    }

    /// Folds the event in, and says which span its log line belongs to.
    pub(super) fn observe(&mut self, event: &Event) -> TraceContext {
        self.settle(event);
        self.sequence = event.sequence;
        let logged = match &event.kind {
            EventKind::ElectionStarted { .. } => self.election_started(event),
            EventKind::RoundStarted { .. } => self.round_started(event),
            EventKind::RequestSent { id, to, kind, asked_term } => {
                self.request_sent(event, *id, to, *kind, *asked_term)
            }
            EventKind::ReplyReceived { .. } => self.reply_received(event),
            EventKind::CallFailed { id, kind, error, .. } => self.call_failed(event, *id, *kind, error),
            EventKind::QuorumReached { .. } => self.quorum_reached(event),
            EventKind::RoundEnded { .. } => self.round_ended(event),
            EventKind::Elected { .. } => self.elected(event),
            EventKind::Established { .. } => self.established(event),
            EventKind::ElectionEnded { .. } => self.election_ended(event),
            EventKind::RequestReceived { .. } => self.request_received(event),
            EventKind::RequestAnswered { .. } => self.request_answered(event),
            EventKind::PersistStarted { write, causes } => self.persist_started(event, *write, causes),
            EventKind::PersistEnded { write } => self.persist_ended(event, *write),
            EventKind::PersistFailed { write, error } => self.persist_failed(event, *write, error),
            EventKind::LeaderChanged { .. } => self.leader_changed(event),
            EventKind::LeadershipEnded { .. } => self.leadership_ended(event),
            EventKind::TransferStarted { to } => self.transfer_started(event, to),
            EventKind::TransferEnded { to, outcome } => self.transfer_ended(event, to, *outcome),
            EventKind::Resigned { .. } => self.resigned(event),
            EventKind::RecordAppended { id, cause, .. } => self.record_appended(event, *id, *cause),
            EventKind::Committed { id } => self.committed(event, *id),
            EventKind::MembersChanged { id, .. } => Some(self.members_changed(event, *id)),
            EventKind::Started { .. } => {
                self.started = Some(event.at);
                Some(self.note(event))
            }
            EventKind::Stopped { .. } => return self.stopped(event),
            _ => Some(self.note(event)),
        };
        logged.unwrap_or_default()
    }

    /// Adds the event to the operation that it belongs to, or to a transition of its own: none is orphaned.
    pub(super) fn note(&mut self, event: &Event) -> TraceContext {
        if let Some(key) = self.home(event) {
            return self.note_on(key, event);
        }
        let key = self.transition(event);
        let logged = self.note_on(key, event);
        if !is_followed(&event.kind) {
            self.end_transition(event.at);
        }
        logged
    }

    fn end_transition(&mut self, at: Time) {
        let Some((_, key)) = self.transition.take() else { return };
        match self.tree.has_children(key) {
            true => self.lingering.push(key),
            false => self.tree.end(key, at),
        }
    }

    /// Ends the transitions whose last write has just come to its end.
    pub(super) fn settle_lingering(&mut self, at: Time) {
        for key in std::mem::take(&mut self.lingering) {
            match self.tree.has_children(key) {
                true => self.lingering.push(key),
                false => self.tree.end(key, at),
            }
        }
    }

    /// Adds the event to that span.
    pub(super) fn note_on(&mut self, key: Key, event: &Event) -> TraceContext {
        let (name, mut attributes) = notes::describe(event);
        attributes.push(keys::count(keys::SEQUENCE, event.sequence));
        self.tree.event(key, name, event.at, attributes);
        self.tree.logged(key)
    }

    /// The open operation that an event belongs to which names none.
    pub(super) fn home(&self, event: &Event) -> Option<Key> {
        let call = self.focus.filter(|(at, _)| *at == event.at).map(|(_, key)| key);
        let election = self.election.as_ref().map(|election| election.root);
        let transfer = self.transfer.as_ref().map(|transfer| transfer.key);
        [call, election, transfer].into_iter().flatten().find(|key| self.tree.is_open(*key))
    }

    /// The transition of this instant.
    pub(super) fn transition(&mut self, event: &Event) -> Key {
        if let Some((_, key)) = self.transition.filter(|(at, _)| *at == event.at) {
            return key;
        }
        let mut plan = self.plan(event, span::TRANSITION, SpanKind::Internal);
        plan.attributes.extend([keys::term(event.term), keys::code("raft.role", event.role.code())]);
        plan.links.extend(self.elected_by());
        let key = self.tree.root(plan);
        self.transition = Some((event.at, key));
        key
    }

    /// The transition of this instant, if there is one.
    pub(super) fn current_transition(&self, at: Time) -> Option<Key> {
        self.transition.filter(|(since, key)| *since == at && self.tree.is_open(*key)).map(|(_, key)| key)
    }

    /// Takes the transition of this instant over, so that it stays open.
    pub(super) fn keep_transition(&mut self, event: &Event) -> Key {
        let key = self.transition(event);
        self.transition = None;
        key
    }

    /// A span with what every span says.
    pub(super) fn plan(&self, event: &Event, name: &'static str, kind: SpanKind) -> Plan {
        Group::plan_of(&event.who, event.sequence, event.at, name, kind)
    }

    /// As [`Group::plan`], for what is no event.
    pub(super) fn plan_of(who: &Identity, sequence: u64, at: Time, name: &'static str, kind: SpanKind) -> Plan {
        let attributes = vec![
            keys::text("raft.cluster.id", who.cluster.as_str()),
            keys::text("raft.group.id", who.group.as_str()),
            keys::node("raft.node.id", &who.node),
            keys::count("raft.node.incarnation", who.incarnation.0),
            keys::count(keys::SEQUENCE, sequence),
        ];
        Plan { name, kind, at, attributes, links: Vec::new(), cut: None }
    }

    /// What finds all traces of one term, those of rivals included.
    pub(super) fn election_id(event: &Event, term: Term) -> KeyValue {
        keys::election_id(&event.who.cluster, &event.who.group, term)
    }

    /// The election that put this node into office.
    pub(super) fn elected_by(&self) -> Option<(&'static str, TraceContext)> {
        let election = self.office.as_ref().map(|office| office.election).filter(TraceContext::is_valid)?;
        Some((link::ELECTED_BY, election))
    }

    /// What a node that ended its child early says of it.
    pub(super) fn unanswered(kind: RequestKind) -> KeyValue {
        keys::code(keys::verdict_keys(kind).1, "unanswered")
    }

    /// Ends what the passing of time ends.
    fn settle(&mut self, event: &Event) {
        if self.who.as_ref().is_none_or(|who| who.incarnation != event.who.incarnation || who.node != event.who.node) {
            self.forget();
        }
        if self.who.is_none() {
            self.tree.belong_to(&event.who);
        }
        self.who = Some(Arc::clone(&event.who));
        self.settle_instant(event.at);
        if event.at.since(self.swept) >= SWEEP || self.requests.len() > REQUESTS_MAX {
            self.swept = event.at;
            self.sweep(event.at);
        }
    }

    /// Ends what lasted for the instant before.
    fn settle_instant(&mut self, now: Time) {
        self.settle_order(now);
        self.settle_calls(now);
        self.settle_election(now);
        self.settle_transfer(now);
        self.settle_resignation(now);
        if let Some((at, _)) = self.transition.filter(|(at, _)| *at != now) {
            self.end_transition(at);
        }
    }

    fn sweep(&mut self, now: Time) {
        self.tree.sweep(now);
        let tree = &self.tree;
        self.requests.retain(|_, asked| tree.is_open(asked.key));
        self.calls.retain(|_, call| tree.is_open(call.key));
        self.writes.retain(|_, keys| keys.iter().any(|key| tree.is_open(*key)));
        self.election.take_if(|election| !tree.is_open(election.root));
        self.transfer.take_if(|transfer| !tree.is_open(transfer.key));
        self.resigning.take_if(|resigning| !tree.is_open(resigning.key));
        self.replication.take_if(|(_, key)| !tree.is_open(*key));
        self.beating.take_if(|key| !tree.is_open(*key));
        self.lingering.retain(|key| tree.is_open(*key));
    }

    fn stopped(&mut self, event: &Event) -> TraceContext {
        self.drop_calls(event.at);
        let logged = self.note(event);
        self.tree.end_all(event.at);
        // What it said in leaving is still to be sent.
        let requests = std::mem::take(&mut self.requests);
        self.forget();
        self.requests = requests;
        logged
    }

    /// The node is gone, nobody knows when.
    pub(super) fn abandon(&mut self) {
        self.settle_instant(Time::NEVER);
        self.tree.abandon_all();
    }

    /// Another start of the node knows nothing of what this one was at.
    fn forget(&mut self) {
        self.abandon();
        let budget = std::mem::take(&mut self.budget);
        *self = Group { budget, ..Group::new(self.tree.renewed(), Arc::clone(&self.setup)) };
    }
}

/// Whether more may follow in the same instant that belongs to the same change. Everything else is told at once: nobody
/// says when an instant is over, and a node that is well may tell nothing more for days.
fn is_followed(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::LeaderLost { .. }
            | EventKind::RoleChanged { .. }
            | EventKind::TermAdvanced { .. }
            | EventKind::EvidenceFound { .. }
            | EventKind::GuardRevoked { .. }
            | EventKind::Founded { .. }
            | EventKind::RecordAdopted { .. }
            | EventKind::RecordAccepted { .. }
            | EventKind::PersistFailed { .. }
    )
}
