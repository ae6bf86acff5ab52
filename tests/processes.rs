//! Three real processes, real sockets, real disks, SIGKILL, SIGTERM, and an OTLP receiver that reads what they export.

#![cfg(unix)]

#[path = "processes/collector.rs"]
mod collector;
#[path = "processes/member.rs"]
mod member;
#[path = "processes/stalls.rs"]
mod stalls;

use std::collections::BTreeSet;

use collector::{Collector, Seen};
use member::{Cluster, wait_for};

/// An election that was won, by the service that won it.
fn won<'a>(spans: &'a [Seen], not: &BTreeSet<String>) -> Option<&'a Seen> {
    spans.iter().find(|span| {
        span.name == "raft.election"
            && span.text("raft.election.outcome") == Some("won")
            && !not.contains(&span.trace_id)
    })
}

/// What voters of the trace said: who, the span's name, and the reason.
fn verdicts(spans: &[Seen], trace: &str) -> BTreeSet<(String, String, String)> {
    let voters = spans.iter().filter(|span| span.trace_id == trace && span.kind == "server");
    let votes = voters.filter(|span| span.name == "raft.vote.grant" || span.name == "raft.vote.deny");
    let reason = |span: &Seen| span.text("raft.vote.reason").unwrap_or("").to_owned();
    votes.map(|span| (span.service.clone(), span.name.clone(), reason(span))).collect()
}

fn assert_sound(spans: &[Seen], trace: &str) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    for span in spans.iter().filter(|span| span.trace_id == trace) {
        assert!(
            span.parent_id.is_empty() || ids.contains(span.parent_id.as_str()),
            "{} has lost its parent",
            span.name
        );
        assert!(span.start <= span.end, "{} ends before it starts", span.name);
        let mut keys = BTreeSet::new();
        for (key, _) in &span.attributes {
            assert!(keys.insert(key), "{} has {key} twice", span.name);
        }
        if let Some(term) = span.attribute("raft.term") {
            assert!(term.starts_with("int "), "{} has a term that is no integer: {term}", span.name);
        }
        for (name, attributes) in &span.events {
            let term = attributes.iter().find(|(key, _)| key == "raft.term");
            assert!(term.is_none_or(|(_, value)| value.starts_with("int ")), "event {name} of {}", span.name);
        }
    }
}

#[test]
fn three_processes_elect_survive_a_kill_and_every_election_is_one_trace() {
    let collector = Collector::start();
    let mut cluster = Cluster::new(&["a", "b", "c"], &collector.endpoint());
    for id in ["a", "b", "c"] {
        cluster.start(id);
    }
    let first_leader = wait_for("a first leader", || cluster.leader(&[]));
    let others: BTreeSet<String> =
        ["a", "b", "c"].map(String::from).into_iter().filter(|id| *id != first_leader).collect();

    // The first election: both other processes tell their verdicts with the reasons, in the winner's trace.
    let none = BTreeSet::new();
    let first = wait_for("the first election's trace, with two voters", || {
        let spans = collector.spans();
        let root = won(&spans, &none)?.clone();
        let voters: BTreeSet<String> = verdicts(&spans, &root.trace_id).into_iter().map(|(who, ..)| who).collect();
        (voters == others).then_some(root)
    });
    assert_eq!(first.service, first_leader);
    let granted = verdicts(&collector.spans(), &first.trace_id);
    assert!(granted.iter().any(|(_, name, reason)| name == "raft.vote.grant" && reason == "ok"), "{granted:?}");

    // SIGKILL: the survivors elect another; the trace has the survivor's verdict and the dead peer's silence.
    cluster.kill(&first_leader);
    let second_leader = wait_for("a second leader", || cluster.leader(&[&first_leader]));
    let survivor = others.iter().find(|id| **id != second_leader).expect("three members").clone();
    let known = BTreeSet::from([first.trace_id.clone()]);
    let second = wait_for("the second election's trace, with the survivor's verdict", || {
        let spans = collector.spans();
        let root = won(&spans, &known)?.clone();
        verdicts(&spans, &root.trace_id).iter().any(|(who, ..)| *who == survivor).then_some(root)
    });
    assert_eq!(second.service, second_leader);
    let spans = collector.spans();
    let to_the_dead = |span: &&Seen| {
        span.trace_id == second.trace_id
            && span.kind == "client"
            && span.text("raft.peer.id") == Some(first_leader.as_str())
            && (span.name == "raft.pre_vote.request" || span.name == "raft.vote.request")
    };
    let unheard: Vec<&Seen> = spans.iter().filter(to_the_dead).collect();
    assert!(!unheard.is_empty(), "the dead peer was asked");
    for span in unheard {
        let failed = span.is_error && span.attribute("error.type").is_some();
        assert!(failed || span.text("raft.vote.reason") == Some("unanswered"), "{span:?}");
    }
    let links = spans.iter().filter(|span| span.trace_id == second.trace_id).flat_map(|span| &span.links);
    let to_first: Vec<_> = links.filter(|(trace, _)| *trace == first.trace_id).collect();
    assert!(to_first.iter().any(|(_, kind)| kind == "previous_election"), "{to_first:?}");
    assert!(second.int("raft.term") > first.int("raft.term"));

    // The killed node returns on its disk, keeps its term, and disturbs nobody.
    let term = second.int("raft.term").expect("a term");
    cluster.start(&first_leader);
    wait_for("the killed node to follow", || {
        cluster.says(&first_leader, &format!("leader {second_leader} of T")).then_some(())
    });
    assert_eq!(cluster.leader(&[&first_leader]), Some(second_leader.clone()));

    // SIGTERM: the leader hands over first, and leaves with success.
    cluster.terminate(&second_leader);
    let third_leader = wait_for("a leader after SIGTERM", || cluster.leader(&[&second_leader]));
    assert!(cluster.wait_for_exit(&second_leader).success());
    let transfer = wait_for("the trace of the hand-over", || {
        collector.spans().into_iter().find(|span| span.name == "raft.transfer" && span.service == second_leader)
    });
    let known = BTreeSet::from([first.trace_id.clone(), second.trace_id.clone()]);
    let third = wait_for("the third election's trace", || won(&collector.spans(), &known).cloned());
    assert_eq!(third.service, third_leader);
    assert_eq!(third.int("raft.term"), Some(term + 1), "the returned node cost no term");
    assert_ne!(transfer.trace_id, third.trace_id);

    let spans = collector.spans();
    for trace in [&second.trace_id, &third.trace_id] {
        assert_sound(&spans, trace);
    }
    for span in &spans {
        assert!(span.name.starts_with("raft."), "{} is none of the election's spans", span.name);
    }
}

/// A member with other timing than the rest: every vote is denied to it, and its trace says why.
#[test]
fn when_every_vote_is_denied_the_trace_says_why() {
    let collector = Collector::start();
    let mut cluster = Cluster::new(&["a", "b", "c"], &collector.endpoint());
    for id in ["a", "b", "c"] {
        cluster.start(id);
    }
    let leader = wait_for("a leader", || cluster.leader(&[]));
    let odd = ["a", "b", "c"].into_iter().find(|id| *id != leader).expect("a follower");
    cluster.kill(odd);
    cluster.start_with(odd, 140);

    let refused = wait_for("an election in which both voters refused", || {
        let spans = collector.spans();
        let roots = spans.iter().filter(|span| span.name == "raft.election" && span.service == odd);
        roots.into_iter().find_map(|root| {
            let in_trace = |span: &&Seen| span.trace_id == root.trace_id && span.name == "raft.pre_vote.deny";
            let denied: Vec<Seen> = spans.iter().filter(in_trace).cloned().collect();
            (denied.len() == 2).then(|| (root.clone(), denied))
        })
    });
    let (root, denied) = refused;
    assert_eq!(root.text("raft.election.outcome"), Some("pre_vote_refused"));
    assert!(!root.is_error, "a lost election is an outcome, not an error");
    for span in denied {
        assert_eq!(span.text("raft.vote.reason"), Some("unsupported"), "{span:?}");
        assert_ne!(span.service, odd);
        assert!(!span.is_error, "a denied vote is an outcome, not an error");
    }
    assert_eq!(cluster.leader(&[odd]), Some(leader), "nobody was disturbed");
}
