//! The events of spans.

use super::SpanEvent;

/// The attributes of every event.
pub const EVENT_ATTRIBUTES: &[&str] = &["raft.event.sequence"];

const fn event(name: &'static str, attributes: &'static [&'static str], when: &'static str) -> SpanEvent {
    SpanEvent { name, when, attributes }
}

/// Every event of a span.
// tidy: a table
pub const EVENTS: &[SpanEvent] = &[
    event(
        "raft.timeout.fired",
        &["raft.timeout.min", "raft.timeout.max", "raft.timeout.drawn", "raft.timeout.elapsed"],
        "the election timeout ended, and the election begins",
    ),
    event(
        "raft.vote.received",
        &["raft.peer.id", "raft.vote.pre", "raft.vote.granted", "raft.vote.reason"],
        "a candidate counts a verdict; not those that came too late",
    ),
    event(
        "raft.vote.cast",
        &["raft.term", "raft.vote.granted", "raft.vote.reason"],
        "a voter answers a RequestVote; a granted one is on its disk",
    ),
    event(
        "raft.quorum.reached",
        &["raft.vote.pre", "raft.votes.granted", "raft.quorum.required"],
        "a quorum granted a pre-vote or a vote",
    ),
    event("raft.role.changed", &["raft.role", "raft.role.previous", "raft.term"], "the role changed"),
    event("raft.term.advanced", &["raft.term", "raft.term.previous"], "the term rose"),
    event("raft.elected", &["raft.term", "raft.barrier"], "the node leads, and appends its no-op"),
    event("raft.established", &["raft.term"], "the no-op is committed, of an election that is not traced"),
    event("raft.exclusive", &["raft.term", "raft.exclusive.after"], "nothing is owed to a former leader any more"),
    event("raft.leader.changed", &["raft.leader.id", "raft.term"], "a leader is known"),
    event(
        "raft.leader.lost",
        &["raft.leader.previous", "raft.term.previous", "raft.leader.contact.age", "raft.leader.loss"],
        "the leader is forgotten",
    ),
    event("raft.leader.resigned", &["raft.leader.id", "raft.term.resigned"], "the leader's Resign was taken"),
    event(
        "raft.evidence.found",
        &["raft.leader.id", "raft.evidence.refused"],
        "the connection to the leader closed and a reconnect failed",
    ),
    event(
        "raft.guard.revoked",
        &["raft.revocation", "raft.work.running"],
        "a leader's guard was revoked ahead of its resignation",
    ),
    event("raft.resigned", &["raft.term.resigned"], "Resign is about to leave"),
    event("raft.work.started", &["raft.term"], "the user's work began under this term"),
    event("raft.work.ended", &["raft.term.work"], "the user's work ended"),
    event(
        "raft.record.appended",
        &["raft.record.cause", "raft.log.last_index", "raft.log.last_term"],
        "the leader created a record",
    ),
    event(
        "raft.record.accepted",
        &["raft.peer.id", "raft.log.last_index", "raft.log.last_term"],
        "a follower holds a new record in memory",
    ),
    event(
        "raft.record.adopted",
        &["raft.peer.id", "raft.log.last_index", "raft.log.last_term"],
        "a record was learned from a refusal, before leading",
    ),
    event("raft.record.committed", &["raft.log.last_index", "raft.log.last_term"], "a record is committed"),
    event("raft.members.change_started", &["raft.members.change", "raft.peer.id"], "a change of the members began"),
    event(
        "raft.members.change_ended",
        &["raft.members.change", "raft.peer.id", "raft.members.outcome"],
        "a change of the members ended",
    ),
    event(
        "raft.members.changed",
        &["raft.voters", "raft.members.voters", "raft.members.non_voters", "raft.log.last_index", "raft.log.last_term"],
        "other members are in force, committed or not",
    ),
    event("raft.members.awaited", &["raft.members.missing"], "the first start waits for members"),
    event("raft.founded", &["raft.members"], "the first record was formed or learned"),
    event("raft.disk.named", &["raft.term.floor"], "this disk may vote from now on"),
    event(
        "raft.started",
        &["raft.amnesiac", "raft.quarantine", "raft.log.last_index", "raft.log.last_term"],
        "the node recovered its state and takes part",
    ),
    event(
        "raft.contention.changed",
        &["raft.contention", "raft.contention.why"],
        "the node stands in its own right from here on, or stands back",
    ),
    event(
        "raft.office.idled",
        &["raft.term", "raft.contention", "raft.office.idle"],
        "a leader has no work, and nobody who would work is in contact",
    ),
    event(
        "raft.hard_state.stalled",
        &["raft.hard_state.outstanding"],
        "a write has been under way for too long: the node does not stand until it ends, and a leader gives way",
    ),
    event("raft.stopped", &[], "the node left"),
    event("raft.hard_state.failed", &["error.message"], "a write failed for which no operation waited"),
    event(
        "raft.storage.healed",
        &["raft.storage.failed_for", "raft.storage.attempts"],
        "after a failed write the storage has started over",
    ),
    event("raft.driver.paused", &["raft.driver.lag"], "the driver stood still"),
    event("raft.alarm.raised", &["raft.alarm", "raft.peer.id"], "something that an operator must hear of"),
    event(
        "raft.collective_state",
        &[
            "raft.term",
            "raft.leader.id",
            "raft.members",
            "raft.voters",
            "raft.members.in_contact",
            "raft.members.states",
            "raft.application.status",
        ],
        "the whole group as this node sees it: on a leader when it is established and when a member's vote, role, voice or \
         disk changes, on every node when the application's status does; at most once a second",
    ),
    event("raft.round.started", &["raft.round"], "a round of an election that is not traced"),
    event(
        "raft.round.ended",
        &["raft.round", "raft.round.won"],
        "the end of a round of an election that is not traced",
    ),
    event("raft.election.ended", &["raft.election.outcome"], "the end of an election that is not traced"),
    event(
        "raft.transfer.ended",
        &["raft.transfer.to", "raft.transfer.outcome"],
        "the end of a transfer that is not traced",
    ),
];
