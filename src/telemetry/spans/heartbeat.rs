//! `raft.heartbeat`: one round in many, the first of a leadership, and those that end a gap.

use opentelemetry::trace::SpanKind;

use super::group::{Asked, Group};
use crate::message::RequestKind;
use crate::observer::{Beat, BeatKind};
use crate::telemetry::keys::{self, link, span};

impl Group {
    /// Takes note of a heartbeat that was picked. Its spans bear the sequence of the newest event before them.
    pub(super) fn beat(&mut self, beat: &Beat) {
        let same =
            |who: &crate::message::Identity| who.node == beat.who.node && who.incarnation == beat.who.incarnation;
        // Events come first: without one it is not known whose spans these are.
        if !self.who.as_deref().is_some_and(same) {
            return;
        }
        match &beat.kind {
            BeatKind::Round { .. } => self.round_beaten(beat),
            BeatKind::Sent { id, to } => {
                let Some(round) = self.beating else { return };
                let mut plan =
                    Group::plan_of(&beat.who, self.sequence, beat.at, span::HEARTBEAT_REQUEST, SpanKind::Client);
                self.address(&mut plan, to, RequestKind::AppendEntries, beat.term);
                let key = self.tree.child(round, plan);
                self.requests.insert(*id, Asked { key, context: self.tree.context(key) });
            }
            BeatKind::Answered { id, verdict, worked, .. } => {
                let Some(Asked { key, .. }) = self.requests.remove(id) else { return };
                let (accepted, reason) = keys::verdict_keys(RequestKind::AppendEntries);
                self.tree.set(key, keys::flag(accepted, verdict.is_granted()));
                self.tree.set(key, keys::code(reason, verdict.code()));
                self.tree.set(key, keys::seconds("raft.rpc.peer_duration", *worked));
                self.tree.end(key, beat.at);
                self.end_beaten_round(beat);
            }
            BeatKind::Failed { id, error, .. } => {
                let Some(Asked { key, .. }) = self.requests.remove(id) else { return };
                self.tree.fail(key, error.code(), error.to_string());
                self.tree.end(key, beat.at);
                self.end_beaten_round(beat);
            }
            BeatKind::Received { .. } => self.beat_received(beat),
        }
    }

    fn round_beaten(&mut self, beat: &Beat) {
        let BeatKind::Round { number, gap } = &beat.kind else { return };
        if let Some(before) = self.beating.take() {
            self.tree.end(before, beat.at);
        }
        let mut plan = Group::plan_of(&beat.who, self.sequence, beat.at, span::HEARTBEAT, SpanKind::Internal);
        plan.attributes.extend([keys::term(beat.term), keys::count("raft.heartbeat.round", *number)]);
        plan.attributes.extend(gap.map(|gap| keys::seconds("raft.heartbeat.gap", gap)));
        plan.links.extend(self.elected_by());
        self.beating = Some(self.tree.root(plan));
    }

    /// The round is over when nobody is waited for any more.
    fn end_beaten_round(&mut self, beat: &Beat) {
        if let Some(round) = self.beating.take_if(|round| !self.tree.has_children(*round)) {
            self.tree.end(round, beat.at);
        }
    }

    fn beat_received(&mut self, beat: &Beat) {
        let BeatKind::Received { from, context, verdict, interval, ends_gap, .. } = &beat.kind else { return };
        if !context.is_valid() && !ends_gap {
            return;
        }
        let mut plan = Group::plan_of(&beat.who, self.sequence, beat.at, span::HEARTBEAT, SpanKind::Server);
        let (accepted, reason) = keys::verdict_keys(RequestKind::AppendEntries);
        plan.attributes.extend([
            keys::term(beat.term),
            keys::node("raft.peer.id", from),
            keys::text("rpc.system.name", &self.setup.rpc_system),
            keys::flag(accepted, verdict.is_granted()),
            keys::code(reason, verdict.code()),
        ]);
        let interval = interval.filter(|_| *ends_gap);
        plan.attributes.extend(interval.map(|gap| keys::seconds("raft.heartbeat.gap", gap)));
        if self.made_leader.is_valid() {
            plan.links.push((link::ELECTED_BY, self.made_leader));
        }
        let key = self.tree.serve(*context, plan);
        self.tree.end(key, beat.at);
    }
}
