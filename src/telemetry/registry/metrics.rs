//! The metrics.

use super::{Instrument, Metric};

const fn metric(
    name: &'static str,
    instrument: Instrument,
    unit: &'static str,
    attributes: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, instrument, unit, attributes, meaning }
}

/// Every metric.
///
/// A count has an annotation for a unit (`{vote}`) and not `1`: that makes a ratio of a gauge on its way to Prometheus.
// tidy: a table
pub const METRICS: &[Metric] = {
    use Instrument::{Counter, Gauge, Histogram, UpDownCounter};
    &[
        metric(
            "raft.elections",
            Counter,
            "{election}",
            &["raft.election.outcome", "raft.election.trigger"],
            "elections that this node stood for, when they end",
        ),
        metric(
            "raft.election.duration",
            Histogram,
            "s",
            &["raft.election.outcome"],
            "from the decision to campaign to the outcome",
        ),
        metric(
            "raft.election.rounds",
            Histogram,
            "{round}",
            &["raft.election.outcome"],
            "rounds of pre-votes and votes that an election took",
        ),
        metric(
            "raft.time_to_leadership",
            Histogram,
            "s",
            &[],
            "from the first RequestVote to the first accepted AppendEntries, on the new leader",
        ),
        metric(
            "raft.leaderless.duration",
            Histogram,
            "s",
            &[],
            "without a leader: from the last accepted contact, or the start, to the next leader",
        ),
        metric("raft.leadership.duration", Histogram, "s", &["raft.leadership.end"], "a term of office, when it ends"),
        metric("raft.leadership.ends", Counter, "{leadership}", &["raft.leadership.end"], "terms of office that ended"),
        metric("raft.leader.changes", Counter, "{change}", &[], "a new leader became known, this node included"),
        metric(
            "raft.votes",
            Counter,
            "{vote}",
            &["raft.vote.role", "raft.vote.pre", "raft.vote.granted", "raft.vote.reason", "raft.vote.late"],
            "verdicts on votes and pre-votes: given by a voter, heard or missed by a candidate",
        ),
        metric(
            "raft.node.status",
            UpDownCounter,
            "1",
            &["raft.role"],
            "1 for the role that the node has, 0 for others",
        ),
        metric("raft.node.term", Gauge, "{term}", &[], "the term"),
        metric(
            "raft.heartbeats",
            Counter,
            "{heartbeat}",
            &["network.io.direction", "error.type"],
            "heartbeats sent and received; those that brought no answer once more, with error.type",
        ),
        metric(
            "raft.heartbeat.interval",
            Histogram,
            "s",
            &[],
            "between two heartbeats of one leader, on a follower; sampled",
        ),
        metric(
            "raft.heartbeat.rtt",
            Histogram,
            "s",
            &["raft.peer.id"],
            "from a heartbeat's leaving to its answer; sampled",
        ),
        metric(
            "raft.heartbeat.gaps",
            Counter,
            "{gap}",
            &["raft.peer.id"],
            "silences of more than two heartbeats that ended: of the leader, or of a follower",
        ),
        metric("raft.quorum.contact.age", Gauge, "s", &[], "since a quorum was in contact; on the leader only"),
        metric(
            "raft.lease.remaining",
            Gauge,
            "s",
            &[],
            "until the lease ends unless it is renewed; on the leader only",
        ),
        metric(
            "raft.leader.idle",
            Gauge,
            "s",
            &[],
            "for how long it has led without work, with nobody in contact who would work; 0 while it works; on the leader only",
        ),
        metric(
            "raft.hard_state.persist.duration",
            Histogram,
            "s",
            &["error.type"],
            "a write of the hard state; with error.type if it failed",
        ),
        metric(
            "raft.driver.lag",
            Gauge,
            "s",
            &[],
            "the largest lateness of a deadline in the last minute or two; the same for all groups of a driver",
        ),
        metric(
            "raft.rpc.bytes",
            Counter,
            "By",
            &["network.io.direction"],
            "bytes of the transport, framing included; the same for all groups of a driver",
        ),
        metric(
            "raft.driver.busy",
            Counter,
            "s",
            &[],
            "for how long the driver was awake; the same for all groups of it",
        ),
        metric(
            "raft.telemetry.dropped",
            Counter,
            "{item}",
            &["raft.telemetry.item"],
            "elections, spans and events of spans that were left out",
        ),
    ]
};

/// The attributes of every metric.
pub const METRIC_ATTRIBUTES: &[&str] = &["raft.cluster.id", "raft.group.id", "raft.node.id"];
