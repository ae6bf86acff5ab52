//! The log lines of an election: `tracing` events that name the span they belong to.

use std::fmt;

use crate::event::{Alarm, Event, EventKind, Revocation};
use crate::message::{RequestKind, Verdict};
use crate::telemetry::OPENTELEMETRY_VERSION;
use crate::types::{NodeId, TraceContext};

/// The `tracing` target of every log line of an election.
///
/// Each line has the fields `event` (its name, such as `raft.request.answered`), `node`, `group`, `term`, `role`, `sequence`; `peer`
/// and `reason` (`ok`, or why not) where another node asks or answers; and `trace_id` and `span_id` of the span that
/// it belongs to, unless there is none. As JSON, for a log store that leads from a line to its trace and back:
///
/// ```
/// # #[cfg(feature = "otlp")]
/// tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::INFO).init();
/// ```
///
/// What a voter answers is written at `INFO`; requests and answers of other kinds, and writes, at `DEBUG`.
pub const TARGET: &str = "hustings::election";

/// Writes `lines!(..)`: one call site per kind of event, since a name belongs to the call site.
macro_rules! lines {
    ($event:expr, $context:expr, $($pattern:pat => $level:ident $name:literal,)*) => {
        match &$event.kind {
            $($pattern => tracing::event!(
                name: $name,
                target: TARGET,
                tracing::Level::$level,
                // Again as a field, since not every subscriber writes the name.
                event = $name,
                node = $event.who.node.as_str(),
                group = $event.who.group.as_str(),
                term = i64::try_from($event.term.0).unwrap_or(i64::MAX),
                role = $event.role.code(),
                sequence = i64::try_from($event.sequence).unwrap_or(i64::MAX),
                peer = peer(&$event.kind).map(NodeId::as_str),
                reason = verdict(&$event.kind).map(Verdict::code),
                trace_id = $context.is_valid().then(|| tracing::field::display(TraceId($context))),
                span_id = $context.is_valid().then(|| tracing::field::display(SpanId($context))),
                "{}",
                $event.text()
            ),)*
        }
    };
}

/// Writes the line of an event. Its text is built only if somebody listens.
pub(super) fn write(event: &Event, context: TraceContext) {
    lines!(event, context,
        EventKind::Started { .. } => INFO "raft.started",
        EventKind::MembersAwaited { .. } => INFO "raft.members.awaited",
        EventKind::Founded { .. } => INFO "raft.founded",
        EventKind::Named { .. } => INFO "raft.disk.named",
        EventKind::RoleChanged { .. } => INFO "raft.role.changed",
        EventKind::TermAdvanced { .. } => INFO "raft.term.advanced",
        EventKind::LeaderChanged { .. } => INFO "raft.leader.changed",
        EventKind::LeaderLost { .. } => INFO "raft.leader.lost",
        EventKind::EvidenceFound { .. } => INFO "raft.evidence.found",
        EventKind::ElectionStarted { .. } => INFO "raft.election.started",
        EventKind::RoundStarted { .. } => INFO "raft.round.started",
        EventKind::RequestSent { .. } => DEBUG "raft.request.sent",
        EventKind::ReplyReceived { .. } => DEBUG "raft.reply.received",
        EventKind::CallFailed { .. } => DEBUG "raft.call.failed",
        EventKind::QuorumReached { .. } => INFO "raft.quorum.reached",
        EventKind::RoundEnded { .. } => INFO "raft.round.ended",
        EventKind::ElectionEnded { .. } => INFO "raft.election.ended",
        EventKind::Elected { .. } => INFO "raft.elected",
        EventKind::RecordAppended { .. } => DEBUG "raft.record.appended",
        EventKind::RecordAccepted { .. } => DEBUG "raft.record.accepted",
        EventKind::RecordAdopted { .. } => INFO "raft.record.adopted",
        EventKind::Committed { .. } => DEBUG "raft.record.committed",
        EventKind::Established { .. } => INFO "raft.established",
        EventKind::BecameExclusive { .. } => INFO "raft.exclusive",
        EventKind::LeadershipEnded { .. } => INFO "raft.leadership.ended",
        EventKind::GuardRevoked { cause: Revocation::LeaseLapsed, .. } => WARN "raft.guard.revoked",
        EventKind::GuardRevoked { .. } => INFO "raft.guard.revoked",
        EventKind::Resigned { .. } => INFO "raft.resigned",
        EventKind::LeaderResigned { .. } => INFO "raft.leader.resigned",
        EventKind::WorkStarted => DEBUG "raft.work.started",
        EventKind::WorkEnded { .. } => DEBUG "raft.work.ended",
        EventKind::ChangeStarted { .. } => INFO "raft.members.change_started",
        EventKind::ChangeEnded { .. } => INFO "raft.members.change_ended",
        EventKind::MembersChanged { .. } => INFO "raft.members.changed",
        EventKind::TransferStarted { .. } => INFO "raft.transfer.started",
        EventKind::TransferEnded { .. } => INFO "raft.transfer.ended",
        EventKind::RequestReceived { .. } => DEBUG "raft.request.received",
        EventKind::RequestAnswered { kind: RequestKind::PreVote | RequestKind::RequestVote, .. } =>
            INFO "raft.request.answered",
        EventKind::RequestAnswered { .. } => DEBUG "raft.request.answered",
        EventKind::PersistStarted { .. } => DEBUG "raft.hard_state.started",
        EventKind::PersistEnded { .. } => DEBUG "raft.hard_state.written",
        EventKind::PersistFailed { .. } => WARN "raft.hard_state.failed",
        EventKind::StorageHealed { .. } => WARN "raft.storage.healed",
        EventKind::Paused { .. } => WARN "raft.driver.paused",
        EventKind::Alarmed { alarm: Alarm::Equivocation, .. } => ERROR "raft.alarm.raised",
        EventKind::Alarmed { .. } => WARN "raft.alarm.raised",
        EventKind::Stopped { .. } => INFO "raft.stopped",
    );
}

/// Says, once, why no trace will be seen.
pub(super) fn provider_missing() {
    tracing::info!(
        name: "raft.telemetry.provider_missing",
        target: TARGET,
        opentelemetry = OPENTELEMETRY_VERSION,
        "no OpenTelemetry tracer provider is installed, so that this election leaves no trace: install one for \
         opentelemetry {OPENTELEMETRY_VERSION} (another version has another global), or give Spans one"
    );
}

/// The node that asks, is asked, or answers.
fn peer(kind: &EventKind) -> Option<&NodeId> {
    match kind {
        EventKind::RequestSent { to, .. }
        | EventKind::CallFailed { to, .. }
        | EventKind::RequestAnswered { to, .. }
        | EventKind::TransferStarted { to }
        | EventKind::TransferEnded { to, .. } => Some(to),
        EventKind::ReplyReceived { from, .. } => Some(from),
        EventKind::RequestReceived { from, .. } => Some(&from.node),
        _ => None,
    }
}

fn verdict(kind: &EventKind) -> Option<&Verdict> {
    match kind {
        EventKind::ReplyReceived { verdict, .. } | EventKind::RequestAnswered { verdict, .. } => Some(verdict),
        _ => None,
    }
}

struct TraceId(TraceContext);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0.trace_id)
    }
}

struct SpanId(TraceContext);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.span_id)
    }
}
