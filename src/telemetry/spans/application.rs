//! What the application adds: who gave an order, and the group as a whole with the status that it set.

use opentelemetry::trace::SpanKind;
use opentelemetry::{Array, KeyValue, StringValue, Value};

use super::group::Group;
use crate::message::Identity;
use crate::observer::{CollectiveState, Order, OrderKind};
use crate::telemetry::keys::{self, link, span};
use crate::types::{Time, TraceContext};

/// An order that waits for what comes of it, which is told at one instant: that of the next event.
#[derive(Debug)]
pub(super) struct Ordered {
    kind: OrderKind,
    context: TraceContext,
    at: Option<Time>,
}

impl Group {
    pub(super) fn order(&mut self, order: &Order) {
        self.ordered = Some(Ordered { kind: order.kind, context: order.context, at: None });
    }

    /// Forgets an order of which nothing came at the instant after it.
    pub(super) fn settle_order(&mut self, now: Time) {
        if let Some(ordered) = &mut self.ordered
            && *ordered.at.get_or_insert(now) != now
        {
            self.ordered = None;
        }
    }

    /// The caller of the order that this follows from.
    pub(super) fn caller_of(&mut self, kind: OrderKind) -> Option<(&'static str, TraceContext)> {
        let ordered = self.ordered.take_if(|ordered| ordered.kind == kind)?;
        ordered.context.is_valid().then_some((link::TRIGGERED_BY, ordered.context))
    }

    /// The whole group: an event of the election that has just been won, else of a transition.
    pub(super) fn collective(&mut self, state: &CollectiveState) {
        let same = |who: &Identity| who.node == state.who.node && who.incarnation == state.who.incarnation;
        if !self.who.as_deref().is_some_and(same) {
            return;
        }
        let mut attributes = describe(state);
        attributes.push(keys::count(keys::SEQUENCE, self.sequence));
        if let Some(root) = self.election.as_ref().map(|election| election.root).filter(|key| self.tree.is_open(*key)) {
            return self.tree.event(root, keys::COLLECTIVE_STATE, state.at, attributes);
        }
        let mut plan = Group::plan_of(&state.who, self.sequence, state.at, span::TRANSITION, SpanKind::Internal);
        let own = state.member(&state.who.node).and_then(|member| member.role);
        plan.attributes.push(keys::term(state.term));
        plan.attributes.extend(own.map(|role| keys::code("raft.role", role.code())));
        plan.links.extend(self.elected_by());
        let key = self.tree.root(plan);
        self.tree.event(key, keys::COLLECTIVE_STATE, state.at, attributes);
        self.tree.end(key, state.at);
    }
}

fn describe(state: &CollectiveState) -> Vec<KeyValue> {
    let members = &state.members;
    let heard = members.iter().filter(|member| member.in_contact == Some(true)).count();
    let told = members.iter().map(|member| StringValue::from(member.to_string())).collect();
    let mut attributes = vec![
        keys::term(state.term),
        keys::size("raft.members", members.len()),
        keys::size("raft.voters", members.iter().filter(|member| member.voter).count()),
        keys::size("raft.members.in_contact", heard),
        KeyValue::new("raft.members.states", Value::Array(Array::String(told))),
    ];
    attributes.extend(state.leader.iter().map(|leader| keys::node("raft.leader.id", leader)));
    let status = state.member(&state.who.node).and_then(|member| member.status.as_deref());
    attributes.extend(status.map(|status| keys::text("raft.application.status", status)));
    attributes
}
