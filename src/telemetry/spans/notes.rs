//! What an event says of itself when it is an event of a span.

use opentelemetry::KeyValue;

use crate::event::{Event, EventKind};
use crate::record::RecordId;
use crate::telemetry::keys;

/// What has a span of its own, and is no event of another.
const OTHER: (&str, Vec<KeyValue>) = ("raft.changed", Vec::new());

/// Its name and its attributes, apart from its sequence.
pub(super) fn describe(event: &Event) -> (&'static str, Vec<KeyValue>) {
    match &event.kind {
        EventKind::Started { .. }
        | EventKind::MembersAwaited { .. }
        | EventKind::Founded { .. }
        | EventKind::Named { .. }
        | EventKind::Stopped { .. }
        | EventKind::StorageHealed { .. }
        | EventKind::Paused { .. }
        | EventKind::ContentionChanged { .. }
        | EventKind::OfficeIdled { .. }
        | EventKind::Alarmed { .. } => life(event),
        EventKind::RecordAppended { .. }
        | EventKind::RecordAccepted { .. }
        | EventKind::RecordAdopted { .. }
        | EventKind::Committed { .. }
        | EventKind::PersistStalled { .. }
        | EventKind::PersistFailed { .. } => record(event),
        EventKind::RoleChanged { .. }
        | EventKind::TermAdvanced { .. }
        | EventKind::LeaderChanged { .. }
        | EventKind::LeaderLost { .. }
        | EventKind::EvidenceFound { .. }
        | EventKind::LeaderResigned { .. } => change(event),
        EventKind::ChangeStarted { .. } | EventKind::ChangeEnded { .. } | EventKind::MembersChanged { .. } => {
            members(event)
        }
        _ => office(event),
    }
}

fn life(event: &Event) -> (&'static str, Vec<KeyValue>) {
    match &event.kind {
        EventKind::Started { amnesiac, quarantine, record } => {
            let mut attributes =
                vec![keys::flag("raft.amnesiac", *amnesiac), keys::seconds("raft.quarantine", *quarantine)];
            attributes.extend(record.iter().flat_map(|id| last(*id)));
            ("raft.started", attributes)
        }
        EventKind::MembersAwaited { missing } => {
            let names: Vec<&str> = missing.iter().map(crate::types::NodeId::as_str).collect();
            ("raft.members.awaited", vec![keys::text("raft.members.missing", &names.join(" "))])
        }
        EventKind::Founded { members, .. } => ("raft.founded", vec![keys::size("raft.members", *members)]),
        EventKind::Named { floor } => ("raft.disk.named", vec![keys::count("raft.term.floor", floor.0)]),
        EventKind::StorageHealed { failed_for, attempts } => (
            "raft.storage.healed",
            vec![
                keys::seconds("raft.storage.failed_for", *failed_for),
                keys::count("raft.storage.attempts", (*attempts).into()),
            ],
        ),
        EventKind::Paused { duration } => ("raft.driver.paused", vec![keys::seconds("raft.driver.lag", *duration)]),
        EventKind::Alarmed { alarm, about } => {
            let mut attributes = vec![keys::code("raft.alarm", alarm.code())];
            attributes.extend(about.iter().map(|node| keys::node("raft.peer.id", node)));
            ("raft.alarm.raised", attributes)
        }
        EventKind::ContentionChanged { contention, why } => {
            let mut attributes = vec![keys::code("raft.contention", contention.code())];
            attributes.extend(why.iter().map(|why| keys::text("raft.contention.why", why)));
            ("raft.contention.changed", attributes)
        }
        EventKind::OfficeIdled { contention, since } => {
            let idle = keys::seconds("raft.office.idle", event.at.since(*since));
            ("raft.office.idled", vec![keys::term(event.term), keys::code("raft.contention", contention.code()), idle])
        }
        _ => ("raft.stopped", Vec::new()),
    }
}

fn change(event: &Event) -> (&'static str, Vec<KeyValue>) {
    match &event.kind {
        EventKind::RoleChanged { from } => (
            "raft.role.changed",
            vec![
                keys::code("raft.role", event.role.code()),
                keys::code("raft.role.previous", from.code()),
                keys::term(event.term),
            ],
        ),
        EventKind::TermAdvanced { from } => {
            ("raft.term.advanced", vec![keys::term(event.term), keys::count("raft.term.previous", from.0)])
        }
        EventKind::LeaderChanged { leader, .. } => {
            ("raft.leader.changed", vec![keys::node("raft.leader.id", leader), keys::term(event.term)])
        }
        EventKind::LeaderLost { leader, leader_term, last_contact, cause } => (
            "raft.leader.lost",
            vec![
                keys::node("raft.leader.previous", leader),
                keys::count("raft.term.previous", leader_term.0),
                keys::seconds("raft.leader.contact.age", event.at.since(*last_contact)),
                keys::code("raft.leader.loss", cause.code()),
            ],
        ),
        EventKind::EvidenceFound { leader, refused } => (
            "raft.evidence.found",
            vec![keys::node("raft.leader.id", leader), keys::flag("raft.evidence.refused", *refused)],
        ),
        EventKind::LeaderResigned { leader, resigned_term } => (
            "raft.leader.resigned",
            vec![keys::node("raft.leader.id", leader), keys::count("raft.term.resigned", resigned_term.0)],
        ),
        _ => OTHER,
    }
}

fn members(event: &Event) -> (&'static str, Vec<KeyValue>) {
    let about = |change: crate::event::Change, node| {
        vec![keys::code("raft.members.change", change.code()), keys::node("raft.peer.id", node)]
    };
    match &event.kind {
        EventKind::ChangeStarted { change, node } => ("raft.members.change_started", about(*change, node)),
        EventKind::ChangeEnded { change, node, outcome } => {
            let mut attributes = about(*change, node);
            attributes.push(keys::code("raft.members.outcome", outcome.code()));
            ("raft.members.change_ended", attributes)
        }
        EventKind::MembersChanged { id, voters, non_voters } => {
            let names = |nodes: &[crate::types::NodeId]| {
                nodes.iter().map(crate::types::NodeId::as_str).collect::<Vec<_>>().join(" ")
            };
            let mut attributes = vec![keys::size("raft.voters", voters.len())];
            attributes.push(keys::text("raft.members.voters", &names(voters)));
            attributes.push(keys::text("raft.members.non_voters", &names(non_voters)));
            attributes.extend(last(*id));
            ("raft.members.changed", attributes)
        }
        _ => OTHER,
    }
}

fn record(event: &Event) -> (&'static str, Vec<KeyValue>) {
    let (name, id, mut attributes) = match &event.kind {
        EventKind::RecordAppended { id, cause, .. } => {
            ("raft.record.appended", id, vec![keys::code("raft.record.cause", cause.code())])
        }
        EventKind::RecordAccepted { id, from, .. } => {
            ("raft.record.accepted", id, vec![keys::node("raft.peer.id", from)])
        }
        EventKind::RecordAdopted { id, from } => ("raft.record.adopted", id, vec![keys::node("raft.peer.id", from)]),
        EventKind::Committed { id } => ("raft.record.committed", id, Vec::new()),
        EventKind::PersistStalled { outstanding, .. } => {
            return ("raft.hard_state.stalled", vec![keys::seconds("raft.hard_state.outstanding", *outstanding)]);
        }
        EventKind::PersistFailed { error, .. } => {
            return ("raft.hard_state.failed", vec![keys::text("error.message", error)]);
        }
        _ => return OTHER,
    };
    attributes.extend(last(*id));
    (name, attributes)
}

fn office(event: &Event) -> (&'static str, Vec<KeyValue>) {
    match &event.kind {
        EventKind::QuorumReached { pre_vote, granted, quorum } => (
            "raft.quorum.reached",
            vec![
                keys::flag("raft.vote.pre", *pre_vote),
                keys::size("raft.votes.granted", *granted),
                keys::size("raft.quorum.required", *quorum),
            ],
        ),
        EventKind::Elected { barrier } => {
            ("raft.elected", vec![keys::term(event.term), keys::seconds("raft.barrier", *barrier)])
        }
        EventKind::BecameExclusive { after } => {
            ("raft.exclusive", vec![keys::term(event.term), keys::seconds("raft.exclusive.after", *after)])
        }
        EventKind::GuardRevoked { cause, work_running } => (
            "raft.guard.revoked",
            vec![keys::code("raft.revocation", cause.code()), keys::flag("raft.work.running", *work_running)],
        ),
        EventKind::Resigned { resigned_term } => {
            ("raft.resigned", vec![keys::count("raft.term.resigned", resigned_term.0)])
        }
        EventKind::WorkStarted => ("raft.work.started", vec![keys::term(event.term)]),
        EventKind::WorkEnded { work_term } => ("raft.work.ended", vec![keys::count("raft.term.work", work_term.0)]),
        EventKind::ElectionEnded { outcome, .. } => {
            ("raft.election.ended", vec![keys::code("raft.election.outcome", outcome.code())])
        }
        EventKind::RoundStarted { round, .. } => ("raft.round.started", vec![keys::count("raft.round", *round)]),
        EventKind::RoundEnded { round, won, .. } => {
            ("raft.round.ended", vec![keys::count("raft.round", *round), keys::flag("raft.round.won", *won)])
        }
        EventKind::Established { .. } => ("raft.established", vec![keys::term(event.term)]),
        EventKind::TransferEnded { to, outcome } => (
            "raft.transfer.ended",
            vec![keys::node("raft.transfer.to", to), keys::code("raft.transfer.outcome", outcome.code())],
        ),
        _ => OTHER,
    }
}

fn last(id: RecordId) -> [KeyValue; 2] {
    [keys::count("raft.log.last_index", id.index), keys::count("raft.log.last_term", id.term.0)]
}
