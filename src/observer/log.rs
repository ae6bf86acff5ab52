//! The log lines of an election: `tracing` events that name the span they belong to.

use std::collections::BTreeMap;
use std::fmt;

use crate::event::{Alarm, Event, EventKind, Outcome, Revocation};
use crate::message::{RequestKind, Verdict};
use crate::observer::{ConditionNews, ConditionStage, Observer};
use crate::types::{GroupId, Millis, NodeId, TraceContext};

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
/// What a voter answers is written at `INFO`; requests and answers of other kinds, and writes, at `DEBUG`. Campaigns that are
/// repeated because no quorum can be reached, or because several have failed in a row, are written at `DEBUG`, too: what lasts is
/// told by `raft.condition`, at `WARN`, every ten seconds, with its cause for each node ([`condition`](super::condition)).
pub const TARGET: &str = "hustings::election";

/// Writes `lines!(..)`: one call site per kind of event, since a name belongs to the call site.
macro_rules! line {
    ($event:expr, $context:expr, $level:ident $name:literal) => {
        tracing::event!(
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
        )
    };
}

macro_rules! lines {
    ($event:expr, $context:expr, $repeated:expr, $($pattern:pat => $level:ident $name:literal,)*) => {
        match &$event.kind {
            $($pattern if $repeated => line!($event, $context, DEBUG $name),
            $pattern => line!($event, $context, $level $name),)*
        }
    };
}

/// Writes the lines. Shown to an observer of traces it stays silent by itself: that one writes them, with their trace.
#[derive(Debug, Default)]
pub struct Log {
    campaigns: BTreeMap<GroupId, Campaigns>,
}

/// So many campaigns in a row are told in full.
const TOLD_MAX: u64 = 3;

/// The campaigns of a group since a leader was known.
#[derive(Debug, Default)]
struct Campaigns {
    begun: u64,
    /// One of them has ended for want of a quorum.
    unreachable: bool,
}

impl Campaigns {
    /// Whether the event is one more of what was told before.
    fn repeats(&mut self, event: &Event) -> bool {
        if event.leader.is_some() {
            *self = Campaigns::default();
        }
        let quiet = self.begun >= TOLD_MAX || (self.unreachable && self.begun >= 1);
        match &event.kind {
            EventKind::ElectionStarted { .. } => self.begun = self.begun.saturating_add(1),
            EventKind::ElectionEnded { outcome: Outcome::QuorumUnreachable, .. } => self.unreachable = true,
            _ => {}
        }
        quiet && is_of_a_campaign(&event.kind)
    }
}

fn is_of_a_campaign(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::RoleChanged { .. }
            | EventKind::TermAdvanced { .. }
            | EventKind::ElectionStarted { .. }
            | EventKind::RoundStarted { .. }
            | EventKind::RoundEnded { .. }
            | EventKind::ElectionEnded { .. }
            | EventKind::RequestAnswered { .. }
    )
}

impl Log {
    /// Writes the line of an event, and names the span that it belongs to.
    pub fn write(&mut self, event: &Event, context: TraceContext) {
        let campaigns = match self.campaigns.get_mut(&event.who.group) {
            Some(campaigns) => campaigns,
            None => self.campaigns.entry(event.who.group.clone()).or_default(),
        };
        let repeated = campaigns.repeats(event);
        write(event, context, repeated);
    }

    /// Writes the line of a condition.
    pub fn write_condition(&self, news: &ConditionNews) {
        let condition = &news.condition;
        let lasted =
            Millis(std::time::Duration::from_millis(u64::try_from(news.lasted().as_millis()).unwrap_or(u64::MAX)));
        macro_rules! told {
            ($level:ident, $stage:literal, $($text:tt)+) => {
                tracing::event!(
                    name: "raft.condition",
                    target: TARGET,
                    tracing::Level::$level,
                    event = "raft.condition",
                    node = news.who.node.as_str(),
                    group = news.who.group.as_str(),
                    condition = condition.kind.code(),
                    stage = $stage,
                    $($text)+
                )
            };
        }
        match news.stage {
            ConditionStage::Began => told!(WARN, "began", "{condition}"),
            ConditionStage::Lasts => told!(WARN, "lasts", "{condition}, for {lasted} now"),
            ConditionStage::Ended => told!(INFO, "ended", "over after {lasted}: {}", condition.kind.words()),
        }
    }
}

impl Observer for Log {
    fn observe(&mut self, event: &Event) {
        self.write(event, TraceContext::NONE);
    }

    fn condition(&mut self, news: &ConditionNews) {
        self.write_condition(news);
    }

    fn writes_log(&self) -> bool {
        true
    }
}

/// Its text is built only if somebody listens.
// tidy: a table: one line for each kind of event
fn write(event: &Event, context: TraceContext, repeated: bool) {
    lines!(event, context, repeated,
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
        EventKind::ContentionChanged { .. } => INFO "raft.contention.changed",
        EventKind::OfficeIdled { .. } => WARN "raft.office.idled",
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
        EventKind::PersistStalled { .. } => WARN "raft.hard_state.stalled",
        EventKind::PersistFailed { .. } => WARN "raft.hard_state.failed",
        EventKind::StorageHealed { .. } => WARN "raft.storage.healed",
        EventKind::Paused { .. } => WARN "raft.driver.paused",
        EventKind::Alarmed { alarm: Alarm::Equivocation, .. } => ERROR "raft.alarm.raised",
        EventKind::Alarmed { .. } => WARN "raft.alarm.raised",
        EventKind::Stopped { .. } => INFO "raft.stopped",
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
