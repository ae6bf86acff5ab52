//! What this node is asked, and what its disk does about it: SERVER spans, and `raft.hard_state.persist`.

use opentelemetry::trace::SpanKind;
use opentelemetry::{Array, KeyValue, StringValue, Value};

use super::group::Group;
use super::tree::Key;
use crate::event::{CallId, Event, EventKind, PersistCause, WriteId};
use crate::message::{Reason, RequestId, RequestKind, Verdict};
use crate::telemetry::keys::{self, span};
use crate::types::{NodeId, Time, TraceContext};

/// A request that is being dealt with.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: Key,
    from: NodeId,
    id: RequestId,
    kind: RequestKind,
}

impl Group {
    pub(super) fn request_received(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::RequestReceived { call, id, from, kind, asked_term, context } = &event.kind else {
            return None;
        };
        let mut plan = self.plan(event, keys::server(*kind), SpanKind::Server);
        plan.attributes.extend([
            keys::term(*asked_term),
            keys::node("raft.peer.id", &from.node),
            keys::count("raft.peer.incarnation", from.incarnation.0),
            keys::text("rpc.system.name", &self.setup.rpc_system),
        ]);
        if keys::asks_vote(*kind) {
            plan.attributes.push(keys::node("raft.candidate.id", &from.node));
            plan.attributes.push(Group::election_id(event, *asked_term));
        }
        // Each trace costs a token once, whoever began it: a peer that campaigns without end floods nobody's backend.
        let key = match keys::asks_vote(*kind) && !self.tree.knows(*context) && !self.budget.take(event.at) {
            true => self.tree.mute(event.at),
            false => self.tree.serve(*context, plan),
        };
        self.calls.insert(*call, Call { key, from: from.node.clone(), id: *id, kind: *kind });
        self.focus = Some((event.at, key));
        Some(self.tree.logged(key))
    }

    /// A call that waits for the disk takes the place of an older one of the same node and kind: nobody waits for that
    /// answer any more, and no event says so. Whether a call waits is known when its instant is over.
    pub(super) fn settle_calls(&mut self, now: Time) {
        let Some((at, key)) = self.focus.take_if(|(at, _)| *at != now) else { return };
        let Some(newer) = self.calls.values().find(|call| call.key == key) else { return };
        let over = |call: &Call| call.kind == newer.kind && call.from == newer.from && call.id < newer.id;
        let ended: Vec<CallId> = self.calls.iter().filter(|(_, call)| over(call)).map(|(call, _)| *call).collect();
        for call in ended {
            self.drop_call(call, at);
        }
    }

    pub(super) fn request_answered(&mut self, event: &Event) -> Option<TraceContext> {
        let EventKind::RequestAnswered { call, kind, verdict, remainder, durable, .. } = &event.kind else {
            return None;
        };
        let Call { key, .. } = self.calls.remove(call)?;
        let logged = self.tree.logged(key);
        let (granted, reason) = keys::verdict_keys(*kind);
        let verdicts = [keys::flag(granted, verdict.is_granted()), keys::code(reason, verdict.code())];
        self.tree.rename(key, keys::verdict(*kind, verdict.is_granted()));
        if *kind == RequestKind::RequestVote {
            let mut attributes = vec![keys::count(keys::SEQUENCE, event.sequence), keys::term(event.term)];
            attributes.extend(verdicts.clone());
            self.tree.event(key, "raft.vote.cast", event.at, attributes);
        }
        for attribute in verdicts {
            self.tree.set(key, attribute);
        }
        match kind {
            RequestKind::PreVote | RequestKind::RequestVote => {
                self.tree.set(key, keys::seconds("raft.vote.lease_remaining", *remainder));
                self.explain_refusal(key, event, verdict);
            }
            _ => {}
        }
        if let Some(durable) = durable {
            self.tree.set(key, keys::count("raft.log.last_index", durable.index));
            self.tree.set(key, keys::count("raft.log.last_term", durable.term.0));
        }
        self.tree.end(key, event.at);
        self.answered = Some((*call, logged));
        Some(logged)
    }

    /// For whom a voter kept its vote.
    fn explain_refusal(&mut self, key: Key, event: &Event, verdict: &Verdict) {
        match (verdict, &event.leader, &event.voted_for) {
            (Verdict::Refused(Reason::AlreadyVoted), _, Some(other)) => {
                self.tree.set(key, keys::node("raft.vote.for", other));
            }
            (Verdict::Refused(Reason::LeaderAlive), Some(leader), _) => {
                self.tree.set(key, keys::node("raft.leader.id", leader));
            }
            _ => {}
        }
    }

    fn drop_call(&mut self, call: CallId, at: Time) {
        if let Some(Call { key, kind, .. }) = self.calls.remove(&call) {
            self.tree.set(key, Group::unanswered(kind));
            self.tree.end(key, at);
        }
    }

    /// The node leaves: nothing that it was asked will be answered.
    pub(super) fn drop_calls(&mut self, at: Time) {
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.drop_call(call, at);
        }
    }

    pub(super) fn persist_started(
        &mut self,
        event: &Event,
        write: WriteId,
        causes: &[PersistCause],
    ) -> Option<TraceContext> {
        let mut spans: Vec<(Key, Vec<&'static str>)> = Vec::new();
        let mut beside = Vec::new();
        for cause in causes {
            let above = self.waits_for(*cause).filter(|key| self.tree.is_open(*key));
            match above.map(|above| (above, spans.iter_mut().find(|(key, _)| *key == above))) {
                Some((_, Some((_, codes)))) => codes.push(code(*cause)),
                Some((above, None)) => spans.push((above, vec![code(*cause)])),
                None => beside.push(code(*cause)),
            }
        }
        if spans.is_empty() {
            let above = self.home(event).or_else(|| self.current_transition(event.at));
            spans.extend(above.map(|above| (above, Vec::new())));
        }
        let mut keys = Vec::with_capacity(spans.len());
        for (above, mut codes) in spans {
            codes.extend(&beside);
            let mut plan = self.plan(event, span::PERSIST, SpanKind::Internal);
            plan.cut = Some(keys::flag("raft.hard_state.unfinished", true));
            plan.attributes.extend([
                keys::term(event.term),
                keys::count("raft.hard_state.write", write.0),
                list(codes),
            ]);
            keys.push(self.tree.child(above, plan));
        }
        let logged = keys.first().map(|key| self.tree.logged(*key));
        if !keys.is_empty() {
            self.writes.insert(write, keys);
        }
        logged
    }

    /// The operation that waits for the write for that cause. A raised term alone is waited for by nobody.
    fn waits_for(&self, cause: PersistCause) -> Option<Key> {
        let election = self.election.as_ref();
        match cause {
            PersistCause::Vote { call } | PersistCause::Record { call } => self.calls.get(&call).map(|call| call.key),
            PersistCause::OwnVote => election.and_then(Group::round_of),
            PersistCause::OwnRecord => election.and_then(|e| e.establish).or(self.replication.map(|(_, key)| key)),
            PersistCause::Adoption => election.and_then(Group::round_of),
            _ => None,
        }
    }

    pub(super) fn persist_ended(&mut self, event: &Event, write: WriteId) -> Option<TraceContext> {
        let mut logged = None;
        for key in self.written(write) {
            logged.get_or_insert(self.tree.logged(key));
            self.tree.end(key, event.at);
        }
        self.settle_lingering(event.at);
        logged
    }

    pub(super) fn persist_failed(&mut self, event: &Event, write: WriteId, error: &str) -> Option<TraceContext> {
        let keys = self.written(write);
        let logged = keys.first().map(|key| self.tree.logged(*key));
        for key in keys.iter().copied() {
            self.tree.fail(key, "storage_error", error.to_owned());
            self.tree.end(key, event.at);
        }
        Some(logged.unwrap_or_else(|| self.note(event)))
    }

    /// The spans of all writes up to that one: a write's end speaks for those before it.
    fn written(&mut self, write: WriteId) -> Vec<Key> {
        let later = self.writes.split_off(&WriteId(write.0.saturating_add(1)));
        std::mem::replace(&mut self.writes, later).into_values().flatten().collect()
    }
}

fn list(codes: Vec<&'static str>) -> KeyValue {
    let codes = codes.into_iter().map(StringValue::from).collect();
    KeyValue::new("raft.hard_state.causes", Value::Array(Array::String(codes)))
}

fn code(cause: PersistCause) -> &'static str {
    match cause {
        PersistCause::Vote { .. } => "vote",
        PersistCause::OwnVote => "own_vote",
        PersistCause::Record { .. } => "record",
        PersistCause::OwnRecord => "own_record",
        PersistCause::Adoption => "adoption",
        PersistCause::Founding => "founding",
        PersistCause::Naming => "naming",
        PersistCause::Afresh => "afresh",
        PersistCause::PromiseMax => "promise_max",
        PersistCause::Term => "term",
    }
}
