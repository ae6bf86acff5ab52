//! The election of a node that stands: `raft.election`, its rounds, its requests, and `raft.establish`.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::group::{Asked, Group};
use super::leader::Office;
use super::tree::{Key, Plan};
use crate::event::{CallId, Event, EventKind, Outcome, Trigger, Waited};
use crate::message::{CallError, RequestId, RequestKind};
use crate::observer::OrderKind;
use crate::telemetry::keys::{self, link, span};
use crate::types::{NodeId, Term, Time, TraceContext};

/// An election that this node stands for.
#[derive(Debug)]
pub(super) struct Election {
    pub(super) root: Key,
    round: Option<Key>,
    pub(super) establish: Option<Key>,
    /// The term that it is about: asked for in a pre-vote, entered in a vote.
    term: Term,
    /// The links of its first round. They sit there and not on the root: Jaeger takes a root whose only reference is a
    /// link for an orphan, and calls the trace incomplete.
    links: Vec<(&'static str, TraceContext)>,
    votes: Option<(usize, usize, usize)>,
    /// It was not won, and waits through its instant for what follows from that: the role that changes back.
    ended: Option<Time>,
}

/// The wait that ended in the decision to campaign.
#[derive(Debug)]
pub(super) struct Detect {
    pub(super) since: Time,
    pub(super) until: Time,
    pub(super) trigger: Trigger,
    pub(super) waited: Option<Waited>,
    pub(super) sequence: u64,
}

/// What a timeout says of itself.
pub(super) fn timeout(waited: &Waited) -> [KeyValue; 4] {
    [
        keys::seconds("raft.timeout.min", waited.min),
        keys::seconds("raft.timeout.max", waited.max),
        keys::seconds("raft.timeout.drawn", waited.drawn),
        keys::seconds("raft.timeout.elapsed", waited.elapsed),
    ]
}

impl Group {
    /// The round of an election, or the election between two rounds.
    pub(super) fn round_of(election: &Election) -> Option<Key> {
        election.round.or(Some(election.root))
    }

    pub(super) fn election_started(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::ElectionStarted { attempt, trigger, waited, previous, last_contact, call } = &event.kind else {
            return None;
        };
        if let Some(before) = self.election.take() {
            self.tree.end(before.root, event.at);
        }
        self.focus = None;
        let links = self.reasons_to_stand(event.at, *attempt, *trigger, *call);
        let mut plan = self.plan(event, span::ELECTION, SpanKind::Internal);
        plan.attributes.extend([
            keys::count("raft.election.attempt", *attempt),
            keys::code("raft.election.trigger", trigger.code()),
        ]);
        plan.attributes.extend(waited.iter().flat_map(timeout));
        if let Some((leader, term)) = previous {
            plan.attributes.push(keys::node("raft.leader.previous", leader));
            plan.attributes.push(keys::count("raft.term.previous", term.0));
        }
        if let Some(contact) = last_contact {
            plan.attributes.push(keys::seconds("raft.leader.contact.age", event.at.since(*contact)));
        }
        let root = if self.budget.take(event.at) {
            plan.attributes
                .extend(self.budget.suppressed().map(|count| keys::count("raft.elections.suppressed", count)));
            self.tree.root(plan)
        } else {
            self.tree.mute_election(event.at)
        };
        self.newest = self.tree.context(root);
        self.election =
            Some(Election { root, round: None, establish: None, term: event.term, links, votes: None, ended: None });
        if let Some(waited) = waited.filter(|_| matches!(trigger, Trigger::ElectionTimeout | Trigger::Startup)) {
            let mut attributes = vec![keys::count(keys::SEQUENCE, event.sequence)];
            attributes.extend(timeout(&waited));
            self.tree.event(root, "raft.timeout.fired", event.at, attributes);
        }
        let waiting = waited.map_or(Duration::ZERO, |waited| waited.elapsed);
        let since = last_contact.unwrap_or_else(|| event.at.before(waiting));
        self.detect.get_or_insert(Detect {
            since,
            until: event.at,
            trigger: *trigger,
            waited: *waited,
            sequence: event.sequence,
        });
        Some(self.tree.logged(root))
    }

    /// The traces that an election follows from.
    fn reasons_to_stand(
        &mut self,
        at: Time,
        attempt: u64,
        trigger: Trigger,
        call: Option<CallId>,
    ) -> Vec<(&'static str, TraceContext)> {
        let caller = self.caller_of(OrderKind::Campaign).filter(|_| trigger == Trigger::Manual);
        let ordered = call.and_then(|call| {
            let open = self.calls.get(&call).map(|open| self.tree.logged(open.key));
            open.or_else(|| self.answered.filter(|(answered, _)| *answered == call).map(|(_, context)| context))
        });
        let noticed = || self.current_transition(at).map(|key| self.tree.context(key));
        let attempted = if attempt > 1 { self.newest } else { TraceContext::NONE };
        let mut links = vec![
            (link::PREVIOUS_ELECTION, self.made_leader),
            (link::PREVIOUS_ATTEMPT, attempted),
            caller.unwrap_or((link::TRIGGERED_BY, ordered.or_else(noticed).unwrap_or_default())),
        ];
        links.retain(|(_, context)| context.is_valid());
        links
    }

    pub(super) fn round_started(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::RoundStarted { pre_vote, round, asked_term, last, quorum, voters } = &event.kind else {
            return None;
        };
        let name = if *pre_vote { span::PRE_VOTE } else { span::VOTE };
        let mut plan = self.plan(event, name, SpanKind::Internal);
        plan.attributes.extend([
            keys::term(*asked_term),
            Group::election_id(event, *asked_term),
            keys::count("raft.round", *round),
            keys::size("raft.quorum.required", *quorum),
            keys::size("raft.voters", *voters),
        ]);
        if let Some(last) = last {
            plan.attributes.push(keys::count("raft.log.last_index", last.index));
            plan.attributes.push(keys::count("raft.log.last_term", last.term.0));
        }
        let Some(election) = &mut self.election else { return Some(self.note(event)) };
        election.term = *asked_term;
        plan.links = std::mem::take(&mut election.links);
        if let Some(before) = election.round.take() {
            self.tree.end(before, event.at);
        }
        let key = self.tree.child(election.root, plan);
        election.round = Some(key);
        Some(self.tree.logged(key))
    }

    pub(super) fn request_sent(
        &mut self,
        event: &Event,
        id: RequestId,
        to: &NodeId,
        kind: RequestKind,
        term: Term,
    ) -> Option<TraceContext> {
        let stray = kind == RequestKind::AppendEntries && self.append_parent().is_none();
        if kind == RequestKind::TimeoutNow && self.transfer.is_none() {
            // A leader that shuts down hands over without having been asked to.
            self.transfer_started(event, to);
        }
        let plan = self.client(event, to, kind, term);
        let above = match kind {
            RequestKind::PreVote | RequestKind::RequestVote => self.election.as_ref().and_then(|e| e.round),
            RequestKind::AppendEntries => self.append_parent(),
            RequestKind::TimeoutNow => self.transfer.as_ref().map(|transfer| transfer.key),
            RequestKind::Resign => Some(self.resignation(event)),
        };
        let key = match above {
            Some(above) => self.tree.child(above, plan),
            None => self.tree.root(Plan { links: self.elected_by().into_iter().collect(), ..plan }),
        };
        if stray && let Some(before) = self.stray.insert(to.clone(), key) {
            self.tree.cut(before, event.at);
        }
        self.requests.insert(id, Asked { key, context: self.tree.context(key) });
        Some(self.tree.logged(key))
    }

    /// What a record that is sent round belongs to.
    fn append_parent(&self) -> Option<Key> {
        let establish = self.election.as_ref().and_then(|election| election.establish);
        let transfer = self.transfer.as_ref().map(|transfer| transfer.key);
        let record = self.replication.map(|(_, key)| key);
        [establish, transfer, record].into_iter().flatten().find(|key| self.tree.is_open(*key))
    }

    fn client(&self, event: &Event, to: &NodeId, kind: RequestKind, term: Term) -> Plan {
        let mut plan = self.plan(event, keys::client(kind), SpanKind::Client);
        self.address(&mut plan, to, kind, term);
        if keys::asks_vote(kind) {
            plan.attributes.push(Group::election_id(event, term));
        }
        plan
    }

    /// What a request's span says of whom it asks.
    pub(super) fn address(&self, plan: &mut Plan, to: &NodeId, kind: RequestKind, term: Term) {
        plan.cut = Some(Group::unanswered(kind));
        plan.attributes.extend([
            keys::term(term),
            keys::node("raft.peer.id", to),
            keys::node("service.peer.name", to),
            keys::node("peer.service", to),
            keys::text("rpc.system.name", &self.setup.rpc_system),
        ]);
        if let Some(address) = self.setup.address(to) {
            plan.attributes.push(keys::text("server.address", &address.host));
            plan.attributes.extend(address.port.map(|port| keys::count("server.port", port.into())));
        }
    }

    pub(super) fn reply_received(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::ReplyReceived { id, from, kind, verdict, reply_term, remainder, worked, late } = &event.kind
        else {
            return None;
        };
        let asked = self.requests.remove(id)?;
        let logged = self.tree.logged(asked.key);
        let (granted, reason) = keys::verdict_keys(*kind);
        let verdicts = [keys::flag(granted, verdict.is_granted()), keys::code(reason, verdict.code())];
        if self.tree.is_open(asked.key) {
            for attribute in verdicts.clone() {
                self.tree.set(asked.key, attribute);
            }
            self.tree.set(asked.key, keys::count("raft.peer.term", reply_term.0));
            self.tree.set(asked.key, keys::seconds("raft.rpc.peer_duration", *worked));
            if keys::asks_vote(*kind) {
                self.tree.set(asked.key, keys::seconds("raft.vote.lease_remaining", *remainder));
            }
            self.tree.end(asked.key, event.at);
        }
        if keys::asks_vote(*kind) && !late {
            self.vote_received(event, from, *kind, verdicts);
        }
        if *kind == RequestKind::Resign {
            self.resignation_answered(event.at);
        }
        Some(if logged.is_valid() { logged } else { asked.context })
    }

    fn vote_received(&mut self, event: &Event, from: &NodeId, kind: RequestKind, verdict: [KeyValue; 2]) {
        let Some(election) = &self.election else { return };
        let mut attributes = vec![
            keys::count(keys::SEQUENCE, event.sequence),
            keys::node("raft.peer.id", from),
            keys::flag("raft.vote.pre", kind == RequestKind::PreVote),
        ];
        attributes.extend(verdict);
        self.tree.event(election.root, "raft.vote.received", event.at, attributes);
    }

    pub(super) fn call_failed(
        &mut self,
        event: &Event,
        id: RequestId,
        kind: RequestKind,
        error: &CallError,
    ) -> Option<TraceContext> {
        let asked = self.requests.remove(&id)?;
        let logged = self.tree.logged(asked.key);
        self.tree.fail(asked.key, error.code(), error.to_string());
        self.tree.end(asked.key, event.at);
        if kind == RequestKind::Resign {
            self.resignation_answered(event.at);
        }
        Some(if logged.is_valid() { logged } else { asked.context })
    }

    pub(super) fn quorum_reached(&mut self, event: &Event) -> Option<TraceContext> {
        let Some(root) = self.election.as_ref().map(|election| election.root) else { return Some(self.note(event)) };
        Some(self.note_on(root, event))
    }

    pub(super) fn round_ended(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::RoundEnded { granted, denied, unanswered, .. } = &event.kind else { return None };
        let Some((election, round)) = self.election.as_mut().and_then(|e| e.round.take().map(|round| (e, round)))
        else {
            return Some(self.note(event));
        };
        let logged = self.tree.logged(round);
        election.votes = Some((*granted, *denied, unanswered.len()));
        for attribute in tally(*granted, *denied, unanswered.len()) {
            self.tree.set(round, attribute);
        }
        self.tree.end(round, event.at);
        Some(logged)
    }

    pub(super) fn elected(&mut self, event: &Event) -> Option<TraceContext> {
        let mut plan = self.plan(event, span::ESTABLISH, SpanKind::Internal);
        plan.attributes.push(keys::term(event.term));
        let Some(election) = &mut self.election else { return Some(self.note(event)) };
        let root = election.root;
        election.term = event.term;
        self.made_leader = self.newest;
        self.office = Some(Office { term: event.term, election: self.newest });
        let logged = self.note_on(root, event);
        let key = self.tree.child(root, plan);
        if let Some(election) = &mut self.election {
            election.establish = Some(key);
        }
        Some(logged)
    }

    pub(super) fn established(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::Established { time_to_election, time_to_leadership, leaderless } = &event.kind else {
            return None;
        };
        let began = leaderless.map(|gap| event.at.before(gap)).or(self.started);
        if let Some(began) = began {
            self.leaderless(event, &event.who.node, began);
        }
        self.detect = None;
        let Some(election) = &mut self.election else { return Some(self.note(event)) };
        let (root, establish) = (election.root, election.establish.take());
        self.tree.set(root, keys::seconds("raft.time_to_election", *time_to_election));
        self.tree.set(root, keys::seconds("raft.time_to_leadership", *time_to_leadership));
        if let Some(gap) = leaderless {
            self.tree.set(root, keys::seconds("raft.leaderless.duration", *gap));
        }
        if let Some(establish) = establish {
            self.tree.end(establish, event.at);
        }
        Some(self.tree.logged(root))
    }

    pub(super) fn election_ended(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::ElectionEnded { outcome, rounds, retry_in } = &event.kind else { return None };
        let Some(election) = self.election.as_mut().filter(|election| election.ended.is_none()) else {
            return Some(self.note(event));
        };
        election.ended = Some(event.at);
        let logged = self.tree.logged(election.root);
        let mut attributes = vec![
            keys::term(election.term),
            Group::election_id(event, election.term),
            keys::code("raft.election.outcome", outcome.code()),
            keys::count("raft.election.rounds", *rounds),
        ];
        attributes.extend(election.votes.iter().flat_map(|(granted, denied, none)| tally(*granted, *denied, *none)));
        attributes.extend(retry_in.map(|wait| keys::seconds("raft.election.retry_in", wait)));
        for attribute in attributes {
            self.tree.set(election.root, attribute);
        }
        let root = election.root;
        if *outcome == Outcome::Won {
            // A leader that is well has nothing more to tell, maybe for days.
            self.tree.end(root, event.at);
            self.election = None;
        } else {
            self.tree.end_children(root, event.at);
        }
        Some(logged)
    }

    /// Ends an election whose last instant is over.
    pub(super) fn settle_election(&mut self, now: Time) {
        let over = |election: &mut Election| election.ended.is_some_and(|ended| ended != now);
        if let Some(Election { root, ended: Some(ended), .. }) = self.election.take_if(over) {
            self.tree.end(root, ended);
        }
    }
}

fn tally(granted: usize, denied: usize, unanswered: usize) -> [KeyValue; 3] {
    [
        keys::size("raft.votes.granted", granted),
        keys::size("raft.votes.denied", denied),
        keys::size("raft.votes.unanswered", unanswered),
    ]
}
