//! `cargo bench -p hustings-benches`: what the core costs, without clocks, disks and networks.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hustings::event::CallId;
use hustings::node::{Input, Output};
use hustings::types::TraceContext;
use hustings_benches::Cluster;

fn steps(c: &mut Criterion) {
    let mut out = Output::default();

    let mut cluster = Cluster::led(3);
    let (now, node) = cluster.idle_leader();
    c.bench_function("step: tick of a leader, nothing due", |b| {
        b.iter(|| {
            node.step(black_box(now), Input::Tick, &mut out);
            out.clear();
        });
    });

    let (now, request, node) = cluster.heartbeat();
    let heartbeat = || {
        let (call, request) = (CallId(1), request.clone());
        Input::Request { call, request, context: TraceContext::NONE, peer: None }
    };
    c.bench_function("step: heartbeat at a follower", |b| {
        b.iter_batched(
            heartbeat,
            |input| {
                node.step(black_box(now), input, &mut out);
                out.clear();
            },
            BatchSize::SmallInput,
        );
    });
}

fn rounds(c: &mut Criterion) {
    for members in [3, 5] {
        let mut cluster = Cluster::led(members);
        c.bench_function(&format!("a round of heartbeats, {members} members"), |b| {
            b.iter(|| cluster.heartbeat_round())
        });
    }
}

/// From the silence of the leader to the established successor: the work alone, the waiting is virtual.
fn elections(c: &mut Criterion) {
    for members in [3, 5] {
        c.bench_function(&format!("an election, {members} members"), |b| {
            b.iter_batched(|| Cluster::led(members), |mut cluster| cluster.replace_leader(), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, steps, rounds, elections);
criterion_main!(benches);
