//! `cargo test -p hustings-benches -- --nocapture`: the steady state allocates nothing.

use allocation_counter::measure;
use hustings::event::CallId;
use hustings::node::{Input, Output};
use hustings::telemetry::Spans;
use hustings::types::TraceContext;
use hustings_benches::Cluster;
use hustings_benches::watch::Watch;

const ROUNDS: u64 = 1000;

#[test]
fn a_heartbeat_allocates_nothing_at_a_follower() {
    let mut cluster = Cluster::led(3);
    let (now, request, node) = cluster.heartbeat();
    let mut out = Output::default();
    let mut step = |call| {
        let request = request.clone();
        node.step(
            now,
            Input::Request { call: CallId(call), request, context: TraceContext::NONE, peer: None },
            &mut out,
        );
        let answers = out.replies.len();
        out.clear();
        answers
    };
    let mut answers: usize = (0..10).map(&mut step).sum();
    assert_eq!(answers, 10, "warm");
    let spent = measure(|| answers = (10..10 + ROUNDS).map(&mut step).sum());
    println!("heartbeat at a follower: {} allocations in {ROUNDS} steps", spent.count_total);
    assert_eq!(answers as u64, ROUNDS, "every heartbeat was answered");
    assert_eq!(spent.count_total, 0);
}

#[test]
fn a_round_of_heartbeats_allocates_nothing_at_the_leader_either() {
    let mut cluster = Cluster::led(3);
    (0..10).for_each(|_| cluster.heartbeat_round());
    let spent = measure(|| (0..ROUNDS).for_each(|_| cluster.heartbeat_round()));
    println!("round of heartbeats, 3 members: {} allocations in {ROUNDS} rounds", spent.count_total);
    assert_eq!(spent.count_total, 0);
}

#[test]
fn an_election_allocates_little() {
    let mut cluster = Cluster::led(3);
    let spent = measure(|| cluster.replace_leader());
    println!("an election, 3 members: {} allocations, {} bytes", spent.count_total, spent.bytes_total);
    assert!(spent.count_total > 0, "the counter counts");
}

/// What the driver adds without telemetry, and with telemetry for the rounds that are not picked: nothing.
#[test]
fn nobody_who_watches_allocates_for_a_round_that_is_not_picked() {
    let watched: [fn() -> Watch; 2] = [Watch::counting, || Watch::with(Spans::builder().build(), u64::MAX)];
    for watch in watched {
        let mut cluster = Cluster::watched((0..3).map(|_| watch()).collect());
        (0..10).for_each(|_| cluster.heartbeat_round());
        let spent = measure(|| (0..ROUNDS).for_each(|_| cluster.heartbeat_round()));
        assert_eq!(spent.count_total, 0);
    }
}
