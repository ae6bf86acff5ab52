//! What events and picked heartbeats add to the instruments.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

use super::instruments::Instruments;
use crate::event::{Event, EventKind, Outcome, Trigger, WriteId};
use crate::message::{Identity, RequestKind};
use crate::observer::{Beat, BeatKind};
use crate::telemetry::keys;
use crate::types::{Incarnation, Time};

/// How many writes may be remembered whose end never came.
const WRITES_MAX: usize = 64;

/// What one group's measurements remember between events.
#[derive(Debug, Default)]
pub(super) struct Fold {
    attributes: Vec<KeyValue>,
    incarnation: Option<Incarnation>,
    started: Option<Time>,
    election: Option<(Trigger, Time)>,
    writes: BTreeMap<WriteId, Time>,
}

impl Fold {
    /// The attributes of every measurement.
    pub(super) fn attributes(&self) -> &[KeyValue] {
        &self.attributes
    }

    pub(super) fn belong_to(&mut self, who: &Identity) {
        self.attributes = vec![
            keys::text("raft.cluster.id", who.cluster.as_str()),
            keys::text("raft.group.id", who.group.as_str()),
            keys::node("raft.node.id", &who.node),
        ];
    }

    pub(super) fn record(&mut self, event: &Event, to: &Instruments) {
        if self.incarnation != Some(event.who.incarnation) {
            // Another start knows nothing of what the one before was at.
            let attributes = std::mem::take(&mut self.attributes);
            *self = Fold { attributes, incarnation: Some(event.who.incarnation), ..Fold::default() };
        }
        match &event.kind {
            EventKind::Started { .. } => self.started = Some(event.at),
            EventKind::ElectionStarted { trigger, .. } => self.election = Some((*trigger, event.at)),
            EventKind::ElectionEnded { outcome, rounds, .. } => self.election_ended(event, *outcome, *rounds, to),
            EventKind::RoundEnded { pre_vote, unanswered, .. } if !unanswered.is_empty() => {
                let count = u64::try_from(unanswered.len()).unwrap_or(u64::MAX);
                to.votes.add(count, &self.vote("candidate", *pre_vote, false, "unanswered", false));
            }
            EventKind::RequestAnswered { kind, verdict, .. } if keys::asks_vote(*kind) => {
                let pre_vote = *kind == RequestKind::PreVote;
                to.votes.add(1, &self.vote("voter", pre_vote, verdict.is_granted(), verdict.code(), false));
            }
            EventKind::ReplyReceived { kind, verdict, late, .. } if keys::asks_vote(*kind) => {
                let pre_vote = *kind == RequestKind::PreVote;
                to.votes.add(1, &self.vote("candidate", pre_vote, verdict.is_granted(), verdict.code(), *late));
            }
            EventKind::LeaderChanged { leaderless_since, .. } => {
                self.started = None;
                to.leader_changes.add(1, &self.attributes);
                to.leaderless.record(event.at.since(*leaderless_since).as_secs_f64(), &self.attributes);
            }
            // Its own reign is counted when it is established: a leader that is not, leads nobody.
            EventKind::Established { time_to_leadership, leaderless, .. } => {
                to.leader_changes.add(1, &self.attributes);
                to.time_to_leadership.record(time_to_leadership.as_secs_f64(), &self.attributes);
                let began = self.started.take();
                if let Some(gap) = leaderless.or(began.map(|began| event.at.since(began))) {
                    to.leaderless.record(gap.as_secs_f64(), &self.attributes);
                }
            }
            EventKind::LeadershipEnded { cause, since, .. } => {
                let attributes = self.with([keys::code("raft.leadership.end", cause.code())]);
                to.leadership.record(event.at.since(*since).as_secs_f64(), &attributes);
                to.leadership_ends.add(1, &attributes);
            }
            EventKind::PersistStarted { write, .. } => {
                if self.writes.len() >= WRITES_MAX {
                    self.writes.pop_first();
                }
                self.writes.insert(*write, event.at);
            }
            EventKind::PersistEnded { write } => self.persisted(event.at, *write, None, to),
            EventKind::PersistFailed { write, .. } => self.persisted(event.at, *write, Some("storage_error"), to),
            _ => {}
        }
    }

    pub(super) fn beat(&self, beat: &Beat, to: &Instruments) {
        match &beat.kind {
            BeatKind::Answered { from, round_trip, .. } => {
                let attributes = self.with([keys::node("raft.peer.id", from)]);
                to.round_trip.record(round_trip.as_secs_f64(), &attributes);
            }
            BeatKind::Received { interval: Some(interval), .. } => {
                to.interval.record(interval.as_secs_f64(), &self.attributes);
            }
            _ => {}
        }
    }

    fn election_ended(&mut self, event: &Event, outcome: Outcome, rounds: u64, to: &Instruments) {
        let Some((trigger, started)) = self.election.take() else { return };
        let ended = self.with([keys::code("raft.election.outcome", outcome.code())]);
        to.election_duration.record(event.at.since(started).as_secs_f64(), &ended);
        to.election_rounds.record(rounds, &ended);
        let counted = [ended, vec![keys::code("raft.election.trigger", trigger.code())]].concat();
        to.elections.add(1, &counted);
    }

    /// A write's end speaks for those before it.
    fn persisted(&mut self, at: Time, write: WriteId, error: Option<&'static str>, to: &Instruments) {
        let attributes = self.with(error.map(|error| keys::code(keys::ERROR_TYPE, error)));
        let later = self.writes.split_off(&WriteId(write.0.saturating_add(1)));
        for (_, started) in std::mem::replace(&mut self.writes, later) {
            to.persist.record(at.since(started).as_secs_f64(), &attributes);
        }
    }

    fn vote(&self, role: &'static str, pre: bool, granted: bool, reason: &'static str, late: bool) -> Vec<KeyValue> {
        self.with([
            keys::code("raft.vote.role", role),
            keys::flag("raft.vote.pre", pre),
            keys::flag(keys::GRANTED, granted),
            keys::code(keys::REASON, reason),
            keys::flag("raft.vote.late", late),
        ])
    }

    fn with(&self, more: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
        self.attributes.iter().cloned().chain(more).collect()
    }
}
