//! The attributes.

use super::{Attribute, Type};

const fn text(name: &'static str, meaning: &'static str) -> Attribute {
    Attribute { name, kind: Type::Text, unit: "", values: &[], meaning }
}

const fn one_of(name: &'static str, values: &'static [&'static str], meaning: &'static str) -> Attribute {
    Attribute { name, kind: Type::Text, unit: "", values, meaning }
}

const fn int(name: &'static str, unit: &'static str, meaning: &'static str) -> Attribute {
    Attribute { name, kind: Type::Int, unit, values: &[], meaning }
}

const fn seconds(name: &'static str, meaning: &'static str) -> Attribute {
    Attribute { name, kind: Type::Double, unit: "s", values: &[], meaning }
}

const fn flag(name: &'static str, meaning: &'static str) -> Attribute {
    Attribute { name, kind: Type::Bool, unit: "", values: &[], meaning }
}

const fn texts(name: &'static str, values: &'static [&'static str], meaning: &'static str) -> Attribute {
    Attribute { name, kind: Type::Texts, unit: "", values, meaning }
}

/// Why a request was refused, or that it was not, or that nobody knows.
const REASONS: &[&str] = &[
    "ok",
    "stale_term",
    "already_voted",
    "leader_alive",
    "restart_quarantine",
    "record_behind",
    "not_a_member",
    "not_a_voter",
    "wrong_cluster",
    "duplicate_node",
    "amnesiac",
    "unsupported",
    "storage_error",
    "stopping",
    "overloaded",
    "resigned",
    "not_leader",
    "unverified",
    "work_running",
    "storage_stalled",
    "unanswered",
];

const ROLES: &[&str] = &["follower", "pre_candidate", "candidate", "leader", "stopped"];

const OUTCOMES: &[&str] =
    &["won", "lost", "split_vote", "higher_term", "pre_vote_refused", "quorum_unreachable", "superseded", "cancelled"];

/// Every attribute.
// tidy: a table
pub const ATTRIBUTES: &[Attribute] = &[
    // Whose it is.
    text("raft.cluster.id", "the cluster"),
    text("raft.group.id", "the group"),
    text("raft.node.id", "the node that reports"),
    int("raft.node.incarnation", "", "rises with each start of the node on its disk"),
    int("raft.event.sequence", "{event}", "the order of events of one incarnation: wall clocks are none"),
    // The other side.
    text("raft.peer.id", "the other node"),
    int("raft.peer.incarnation", "", "the same of the other node"),
    int("raft.peer.term", "{term}", "the term of the node that answered"),
    text("service.peer.name", "the other node, where viewers look for it: a dead one shows too"),
    text("peer.service", "the same, as older viewers want it"),
    text("server.address", "the host of the other node, as configured; absent where it is not known"),
    int("server.port", "", "its port"),
    text("rpc.system.name", "`grpc`, or what the builder named"),
    // Roles and terms.
    int("raft.term", "{term}", "the term; of a request the one that it names"),
    int("raft.term.previous", "{term}", "the term before; of the leader before"),
    int("raft.term.resigned", "{term}", "the term that its leader resigned"),
    int("raft.term.work", "{term}", "the term under which the work began"),
    int("raft.term.floor", "{term}", "the term above which the disk votes"),
    one_of("raft.role", ROLES, "the role after it"),
    one_of("raft.role.previous", ROLES, "the role before it"),
    text("raft.leader.id", "the leader"),
    text("raft.leader.previous", "the leader before"),
    seconds("raft.leader.contact.age", "since the last accepted contact with it"),
    one_of(
        "raft.leader.loss",
        &["timeout", "connection_lost", "resigned", "higher_term", "stepped_down", "campaign"],
        "why the leader is forgotten",
    ),
    flag("raft.evidence.refused", "whether the reconnect was refused, and not only without answer"),
    // Elections.
    text("raft.election.id", "`<cluster>/<group>/<term>`: finds all traces of one term, those of rivals too"),
    int("raft.election.attempt", "{attempt}", "counts the attempts since a leader was known, from 1"),
    int("raft.election.rounds", "{round}", "how many rounds it took"),
    one_of(
        "raft.election.trigger",
        &["election_timeout", "connection_lost", "leader_resigned", "transfer", "startup", "manual"],
        "why the node campaigns",
    ),
    one_of("raft.election.outcome", OUTCOMES, "how it ended, for the node that stood"),
    seconds("raft.election.retry_in", "when the node stands again, if it will"),
    int("raft.elections.suppressed", "{election}", "how many were left out of the trace before this one"),
    seconds("raft.timeout.min", "the smallest timeout that could be drawn"),
    seconds("raft.timeout.max", "the largest timeout that could be drawn"),
    seconds("raft.timeout.drawn", "the one that was drawn, or that the node's rank gave it"),
    seconds("raft.timeout.elapsed", "since the last contact with a leader, or since the wait began"),
    int("raft.round", "{round}", "which round of the election, from 1"),
    flag("raft.round.won", "whether a quorum granted"),
    int("raft.quorum.required", "{vote}", "how many votes are needed"),
    int("raft.voters", "{member}", "how many members vote"),
    seconds("raft.time_to_election", "from the first candidacy to the quorum"),
    seconds("raft.time_to_leadership", "from the first RequestVote to the first accepted AppendEntries"),
    seconds("raft.leaderless.duration", "from the last accepted contact, or the start, to the next leader"),
    seconds("raft.barrier", "until nothing is owed to former leaders by the voters of this election"),
    seconds("raft.exclusive.after", "from the election to being exclusive"),
    // Votes.
    text("raft.candidate.id", "who asks for the vote"),
    flag("raft.vote.granted", "the verdict"),
    one_of("raft.vote.reason", REASONS, "why; `unanswered` where the round ended first"),
    flag("raft.vote.pre", "whether it is a pre-vote"),
    text("raft.vote.for", "whom the voter had voted for"),
    seconds("raft.vote.lease_remaining", "what the voter still owes to others, or what its refusal waits for"),
    one_of("raft.vote.role", &["voter", "candidate"], "which side counts the vote"),
    flag("raft.vote.late", "whether the round was decided already"),
    int("raft.votes.granted", "{vote}", "how many granted, the candidate included"),
    int("raft.votes.denied", "{vote}", "how many refused"),
    int("raft.votes.unanswered", "{vote}", "how many did not answer"),
    // Requests and writes.
    flag("raft.rpc.accepted", "whether the request was accepted"),
    one_of("raft.rpc.reason", REASONS, "why not; `unanswered` where nobody waits any more"),
    seconds("raft.rpc.peer_duration", "how long the other node worked on it, on its own clock"),
    one_of("raft.trace.context", &["absent"], "the request carried no valid trace context, so that this is a root"),
    one_of(
        "error.type",
        &[
            "timeout",
            "connection_refused",
            "connection_closed",
            "unreachable",
            "tls",
            "malformed_reply",
            "storage_error",
        ],
        "why a call or a write failed; a refusal is no error",
    ),
    text("error.message", "what the storage said"),
    int("raft.log.last_index", "{record}", "the index of the record that is held or dealt with"),
    int("raft.log.last_term", "{term}", "the term of that record"),
    one_of(
        "raft.record.cause",
        &["no_op", "proclaim", "naming", "add_non_voter", "add_voter", "remove"],
        "why the leader created the record",
    ),
    int("raft.hard_state.write", "{write}", "numbers the writes of an incarnation"),
    texts(
        "raft.hard_state.causes",
        &[
            "vote",
            "own_vote",
            "record",
            "own_record",
            "adoption",
            "founding",
            "naming",
            "afresh",
            "promise_max",
            "term",
        ],
        "why the state is written",
    ),
    seconds("raft.storage.failed_for", "for how long the storage had failed"),
    int("raft.storage.attempts", "{attempt}", "how often the storage tried to start over"),
    flag("raft.hard_state.unfinished", "what waited for the write ended before it did"),
    // Terms of office.
    one_of(
        "raft.leadership.end",
        &[
            "quorum_lost",
            "not_established",
            "higher_term",
            "resigned",
            "transferred",
            "storage_stalled",
            "paused",
            "removed",
            "shutdown",
        ],
        "why it ended",
    ),
    seconds("raft.leadership.duration", "how long it lasted"),
    seconds("raft.leadership.start", "when it began, since 1970: the span begins an hour before its end at most"),
    one_of(
        "raft.revocation",
        &["resigning", "transferring", "shutting_down", "lease_lapsed", "work_ended", "unclaimed", "storage_stalled"],
        "why the guard was revoked: the first cause of the end",
    ),
    flag("raft.work.running", "whether the user's work still runs"),
    one_of(
        "raft.contention",
        &["contends", "idle", "unfit", "work_running", "storage_stalled"],
        "whether the node stands in its own right, or why it stands back",
    ),
    text("raft.contention.why", "what the application says of it; absent where it says nothing"),
    seconds("raft.office.idle", "for how long nobody has worked under the leader"),
    text("raft.transfer.to", "the successor"),
    one_of("raft.transfer.outcome", &["completed", "called_off", "failed"], "how the hand-over ended"),
    int("raft.heartbeat.round", "{round}", "counts the rounds of a leadership, from 1"),
    seconds("raft.heartbeat.gap", "the silence that ended"),
    // Members, and the node itself.
    int("raft.members", "{member}", "how many members there are"),
    int("raft.members.in_contact", "{member}", "how many are known to be in contact, this node included"),
    texts("raft.members.states", &[], "a line for each member: name, role, vote, voice, disk, record on disk, status"),
    text("raft.members.missing", "those not heard yet"),
    text("raft.members.voters", "who votes"),
    text("raft.members.non_voters", "who is a member without a vote"),
    one_of("raft.members.change", &["add", "remove"], "what is done to the members"),
    one_of("raft.members.outcome", &["completed", "timed_out", "leadership_ended"], "how the change ended"),
    text("raft.application.status", "what the application says of itself; absent where it says nothing"),
    flag("raft.amnesiac", "whether the disk may not vote yet"),
    seconds("raft.quarantine", "how long the node refuses votes after its start"),
    seconds("raft.hard_state.outstanding", "for how long a write has been under way"),
    seconds("raft.driver.lag", "for how long the driver stood still beyond its deadline"),
    one_of(
        "raft.alarm",
        &[
            "absurd_term",
            "wrong_cluster",
            "duplicate_node",
            "unknown_node",
            "foreign_record",
            "different_timing",
            "unsupported_version",
            "amnesiac",
            "equivocation",
            "naming_impossible",
            "term_exhausted",
            "not_a_member",
            "misaddressed",
            "other_founding",
        ],
        "what the operator must hear of",
    ),
    // What had to be left out.
    flag(
        "raft.span.abandoned",
        "nothing was heard of it for long, or its node is gone: its end is the last that was heard",
    ),
    int("raft.events.dropped", "{event}", "how many events the span had beyond those that it keeps"),
    // Links.
    one_of(
        "raft.link.type",
        &["previous_election", "previous_attempt", "triggered_by", "elected_by", "authorized_by"],
        "of a link: what it means",
    ),
    text("raft.link.previous_election", "the other trace of a link of that type"),
    text("raft.link.previous_attempt", "the other trace of a link of that type"),
    text("raft.link.triggered_by", "the other trace of a link of that type"),
    text("raft.link.elected_by", "the other trace of a link of that type"),
    text("raft.link.authorized_by", "the other trace of a link of that type"),
    // Of metrics alone.
    one_of("network.io.direction", &["transmit", "receive"], "which way"),
    one_of("raft.telemetry.item", &["election", "span", "event"], "what was left out"),
];
