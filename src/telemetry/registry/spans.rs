//! The spans.

use super::{Kind, Span};

/// The attributes of every span of this crate.
pub const SPAN_ATTRIBUTES: &[&str] =
    &["raft.cluster.id", "raft.group.id", "raft.node.id", "raft.node.incarnation", "raft.event.sequence"];

/// The attributes that any span may have, when something had to be left out.
pub const ANY_SPAN_ATTRIBUTES: &[&str] = &["raft.span.abandoned", "raft.events.dropped"];

const CALLER: &str = "the request of the caller, on another node; a root where the request carried no context";

const fn span(
    name: &'static str,
    kind: Kind,
    parent: &'static str,
    when: &'static str,
    attributes: &'static [&'static str],
    links: &'static [&'static str],
) -> Span {
    Span { name, kind, parent, when, attributes, links }
}

const ROUND: &[&str] = &[
    "raft.term",
    "raft.election.id",
    "raft.round",
    "raft.quorum.required",
    "raft.voters",
    "raft.log.last_index",
    "raft.log.last_term",
    "raft.votes.granted",
    "raft.votes.denied",
    "raft.votes.unanswered",
];

const VOTE_REQUEST: &[&str] = &[
    "raft.term",
    "raft.election.id",
    "raft.peer.id",
    "raft.peer.term",
    "service.peer.name",
    "peer.service",
    "rpc.system.name",
    "server.address",
    "server.port",
    "raft.vote.granted",
    "raft.vote.reason",
    "raft.vote.lease_remaining",
    "raft.rpc.peer_duration",
    "error.type",
];

const REQUEST: &[&str] = &[
    "raft.term",
    "raft.peer.id",
    "raft.peer.term",
    "service.peer.name",
    "peer.service",
    "rpc.system.name",
    "server.address",
    "server.port",
    "raft.rpc.accepted",
    "raft.rpc.reason",
    "raft.rpc.peer_duration",
    "error.type",
];

const HEARTBEAT: &[&str] = &[
    "raft.term",
    "raft.peer.id",
    "service.peer.name",
    "peer.service",
    "rpc.system.name",
    "server.address",
    "server.port",
    "raft.rpc.accepted",
    "raft.rpc.reason",
    "raft.rpc.peer_duration",
    "error.type",
];

const SERVED: &[&str] = &[
    "raft.term",
    "raft.peer.id",
    "raft.peer.incarnation",
    "rpc.system.name",
    "raft.rpc.accepted",
    "raft.rpc.reason",
    "raft.log.last_index",
    "raft.log.last_term",
    "raft.trace.context",
];

const GRANTED: &[&str] = &[
    "raft.term",
    "raft.election.id",
    "raft.candidate.id",
    "raft.peer.id",
    "raft.peer.incarnation",
    "rpc.system.name",
    "raft.vote.granted",
    "raft.vote.reason",
    "raft.vote.lease_remaining",
    "raft.log.last_index",
    "raft.log.last_term",
    "raft.trace.context",
];

const DENIED: &[&str] = &[
    "raft.term",
    "raft.election.id",
    "raft.candidate.id",
    "raft.peer.id",
    "raft.peer.incarnation",
    "rpc.system.name",
    "raft.vote.granted",
    "raft.vote.reason",
    "raft.vote.lease_remaining",
    "raft.vote.for",
    "raft.leader.id",
    "raft.log.last_index",
    "raft.log.last_term",
    "raft.trace.context",
];

const DROPPED: &[&str] = &[
    "raft.term",
    "raft.election.id",
    "raft.candidate.id",
    "raft.peer.id",
    "raft.peer.incarnation",
    "rpc.system.name",
    "raft.vote.reason",
    "raft.trace.context",
];

/// Every span.
// tidy: a table
pub const SPANS: &[Span] = {
    use Kind::{Client, Internal, Server};
    &[
        span(
            "raft.election",
            Internal,
            "",
            "from the decision to campaign to the outcome",
            &[
                "raft.term",
                "raft.term.previous",
                "raft.leader.previous",
                "raft.leader.contact.age",
                "raft.election.id",
                "raft.election.attempt",
                "raft.election.trigger",
                "raft.election.outcome",
                "raft.election.rounds",
                "raft.election.retry_in",
                "raft.elections.suppressed",
                "raft.timeout.min",
                "raft.timeout.max",
                "raft.timeout.drawn",
                "raft.timeout.elapsed",
                "raft.votes.granted",
                "raft.votes.denied",
                "raft.votes.unanswered",
                "raft.time_to_election",
                "raft.time_to_leadership",
                "raft.leaderless.duration",
            ],
            // They sit on its first round: Jaeger takes a root whose only reference is a link for an orphan.
            &[],
        ),
        span(
            "raft.pre_vote",
            Internal,
            "raft.election",
            "a round of pre-votes",
            ROUND,
            &["previous_election", "previous_attempt", "triggered_by"],
        ),
        span(
            "raft.vote",
            Internal,
            "raft.election",
            "a round of votes",
            ROUND,
            &["previous_election", "previous_attempt", "triggered_by"],
        ),
        span(
            "raft.pre_vote.request",
            Client,
            "raft.pre_vote",
            "a PreVote, until its answer or the round's end",
            VOTE_REQUEST,
            &[],
        ),
        span(
            "raft.vote.request",
            Client,
            "raft.vote",
            "a RequestVote, until its answer or the round's end",
            VOTE_REQUEST,
            &[],
        ),
        span("raft.pre_vote.grant", Server, CALLER, "a PreVote that the voter granted", GRANTED, &[]),
        span("raft.pre_vote.deny", Server, CALLER, "a PreVote that the voter refused, and why", DENIED, &[]),
        span(
            "raft.vote.grant",
            Server,
            CALLER,
            "a RequestVote that the voter granted, its disk included",
            GRANTED,
            &[],
        ),
        span("raft.vote.deny", Server, CALLER, "a RequestVote that the voter refused, and why", DENIED, &[]),
        span(
            "raft.vote",
            Server,
            CALLER,
            "a RequestVote that the voter did not answer: it left, or was asked anew",
            DROPPED,
            &[],
        ),
        span(
            "raft.establish",
            Internal,
            "raft.election",
            "the no-op on its way to a quorum of disks",
            &["raft.term"],
            &[],
        ),
        span(
            "raft.append_entries",
            Client,
            "raft.establish, raft.transfer or the raft.transition of a record; a root to a member that lagged behind",
            "a record on its way to one member",
            REQUEST,
            &["elected_by"],
        ),
        span("raft.append_entries", Server, CALLER, "a record that came, its disk included", SERVED, &[]),
        span(
            "raft.hard_state.persist",
            Internal,
            "whatever waits for it; each of several gets its own",
            "a write of the hard state",
            &[
                "raft.term",
                "raft.hard_state.write",
                "raft.hard_state.causes",
                "raft.hard_state.unfinished",
                "error.type",
            ],
            &[],
        ),
        span(
            "raft.leaderless",
            Internal,
            "",
            "without a leader, emitted when one is known again and dated back, at most an hour",
            &["raft.term", "raft.leader.id", "raft.leaderless.duration"],
            &["elected_by"],
        ),
        span(
            "raft.detect",
            Internal,
            "raft.leaderless",
            "the wait that ended in the decision to campaign, dated back",
            &[
                "raft.election.trigger",
                "raft.timeout.min",
                "raft.timeout.max",
                "raft.timeout.drawn",
                "raft.timeout.elapsed",
            ],
            &[],
        ),
        span(
            "raft.leadership",
            Internal,
            "",
            "a term of office, emitted when it ends and dated back, at most an hour; a killed leader emits none",
            &[
                "raft.term",
                "raft.leadership.end",
                "raft.leadership.duration",
                "raft.leadership.start",
                "raft.work.running",
            ],
            &["elected_by"],
        ),
        span(
            "raft.transfer",
            Internal,
            "",
            "a hand-over, from its order to its outcome",
            &["raft.term", "raft.transfer.to", "raft.transfer.outcome"],
            &["previous_election", "triggered_by", "elected_by"],
        ),
        span("raft.timeout_now", Client, "raft.transfer", "the order to stand, to the successor", REQUEST, &[]),
        span("raft.timeout_now", Server, CALLER, "the order to stand, as it came", SERVED, &[]),
        span("raft.resign", Client, "raft.transition", "Resign on its way to one member", REQUEST, &[]),
        span("raft.resign", Server, CALLER, "Resign as it came", SERVED, &[]),
        span(
            "raft.heartbeat",
            Internal,
            "",
            "a round of heartbeats: one in many, the first of a leadership, one that follows a gap",
            &["raft.term", "raft.heartbeat.round", "raft.heartbeat.gap"],
            &["elected_by"],
        ),
        span("raft.heartbeat.request", Client, "raft.heartbeat", "a heartbeat of such a round", HEARTBEAT, &[]),
        span(
            "raft.heartbeat",
            Server,
            CALLER,
            "a heartbeat of such a round as it came, and one that ended a gap",
            &[
                "raft.term",
                "raft.peer.id",
                "rpc.system.name",
                "raft.rpc.accepted",
                "raft.rpc.reason",
                "raft.heartbeat.gap",
                "raft.trace.context",
            ],
            &["elected_by"],
        ),
        span(
            "raft.transition",
            Internal,
            "",
            "an instant with events that belong to no operation, so that none is orphaned",
            &["raft.term", "raft.role"],
            &["elected_by"],
        ),
    ]
};
