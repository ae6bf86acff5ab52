//! `cargo bench -p hustings-benches --bench telemetry`: what telemetry adds to a step, up to the exporter's queue. P9.
//!
//! *core* is the machine alone; *off* what the driver does without telemetry: it counts; *sampled out* with spans, for a
//! heartbeat that was not picked; *sampled* with spans for each.

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hustings::telemetry::{ElectionSampler, Spans};
use hustings_benches::Cluster;
use hustings_benches::watch::Watch;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};

/// Where an exporter's queue would begin.
#[derive(Debug)]
struct End;

impl SpanProcessor for End {
    fn on_start(&self, _: &mut Span, _: &Context) {}
    fn on_end(&self, span: SpanData) {
        drop(span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn traced(every: u64) -> Watch {
    let sampler = ElectionSampler::new(Sampler::AlwaysOn);
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(End).build();
    // No limit: in a loop of elections all but the first hundred would be left out.
    Watch::with(Spans::builder().provider(provider).elections_per_minute(0).build(), every)
}

/// A cluster, and how it is watched.
type Kind = (&'static str, fn() -> Cluster);

fn clusters() -> [Kind; 4] {
    fn three(watch: impl Fn() -> Watch) -> Cluster {
        Cluster::watched((0..3).map(|_| watch()).collect())
    }
    [
        ("core", || Cluster::led(3)),
        ("off", || three(Watch::counting)),
        ("on, sampled out", || three(|| traced(u64::MAX))),
        ("on, sampled", || three(|| traced(1))),
    ]
}

fn heartbeats(c: &mut Criterion) {
    for (name, cluster) in clusters() {
        let mut cluster = cluster();
        let mut beat = cluster.beat();
        c.bench_function(&format!("a heartbeat at a follower, telemetry: {name}"), |b| b.iter(&mut beat));
    }
    for (name, cluster) in clusters() {
        let mut cluster = cluster();
        c.bench_function(&format!("a round of heartbeats, 3 members, telemetry: {name}"), |b| {
            b.iter(|| cluster.heartbeat_round());
        });
    }
}

fn elections(c: &mut Criterion) {
    for (name, cluster) in clusters() {
        c.bench_function(&format!("an election, 3 members, telemetry: {name}"), |b| {
            b.iter_batched(cluster, |mut cluster| cluster.replace_leader(), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, heartbeats, elections);
criterion_main!(benches);
