//! The links.

use super::Link;

/// Every type of link. A link joins two traces, never two spans of one: what is only later is no child.
pub const LINKS: &[Link] = &[
    Link {
        name: "previous_election",
        mirror: "raft.link.previous_election",
        attributes: &[],
        when: "from an election's first round, or a transfer, to the election that made the leader before",
    },
    Link {
        name: "previous_attempt",
        mirror: "raft.link.previous_attempt",
        attributes: &[],
        when: "from an election's first round to the election before, which this node stood for in vain",
    },
    Link {
        name: "triggered_by",
        mirror: "raft.link.triggered_by",
        attributes: &[],
        when: "from an election's first round, or a transfer, to what ordered it: a call of a transfer, the span of the \
               application that called, or the transition in which the leader was lost",
    },
    Link {
        name: "elected_by",
        mirror: "raft.link.elected_by",
        attributes: &[],
        when: "from what happens under a leader to the election that made it",
    },
    Link {
        name: "authorized_by",
        mirror: "raft.link.authorized_by",
        attributes: &["raft.term", "raft.election.id"],
        when: "from a span of the application to the election that put this node into office, by Leadership::link",
    },
];
