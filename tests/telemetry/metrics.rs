//! The metrics of real members, as an SDK exports them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hustings::config::Timing;
use hustings::elector::Elector;
use hustings::event::{EventKind, Outcome, Role, Trigger};
use hustings::telemetry::registry::{Instrument, METRIC_ATTRIBUTES, METRICS};
use hustings::telemetry::{Metrics, SCOPE, Spans};
use hustings::transport::memory::MemoryNetwork;
use hustings::types::NodeId;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

use super::stage::*;

/// One data point, whatever its type.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) attributes: BTreeMap<String, Value>,
    /// The value; of a histogram the sum.
    pub(crate) value: f64,
    /// How many measurements a histogram has.
    pub(crate) count: u64,
}

/// One metric, as exported last.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) unit: String,
    pub(crate) instrument: Instrument,
    pub(crate) points: Vec<Point>,
}

/// What was exported last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured(Arc<Mutex<BTreeMap<String, Seen>>>);

impl PushMetricExporter for Measured {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut all = self.0.lock().unwrap();
        for scope in metrics.scope_metrics().filter(|scope| scope.scope().name() == SCOPE) {
            for metric in scope.metrics() {
                let (instrument, points) = match metric.data() {
                    AggregatedMetrics::F64(data) => read(data, |value| value),
                    AggregatedMetrics::U64(data) => read(data, |value| value as f64),
                    AggregatedMetrics::I64(data) => read(data, |value| value as f64),
                };
                let seen = Seen { unit: metric.unit().to_owned(), instrument, points };
                assert!(all.insert(metric.name().to_owned(), seen).is_none(), "{} comes twice", metric.name());
            }
        }
        Ok(())
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn read<T: Copy + Debug>(data: &MetricData<T>, number: impl Fn(T) -> f64) -> (Instrument, Vec<Point>) {
    let point = |attributes: Vec<KeyValue>, value: f64, count: u64| Point {
        attributes: attributes.into_iter().map(|a| (a.key.to_string(), a.value)).collect(),
        value,
        count,
    };
    match data {
        MetricData::Gauge(gauge) => {
            let points = gauge.data_points().map(|p| point(p.attributes().cloned().collect(), number(p.value()), 1));
            (Instrument::Gauge, points.collect())
        }
        MetricData::Sum(sum) => {
            let points = sum.data_points().map(|p| point(p.attributes().cloned().collect(), number(p.value()), 1));
            let counter = if sum.is_monotonic() { Instrument::Counter } else { Instrument::UpDownCounter };
            (counter, points.collect())
        }
        MetricData::Histogram(histogram) => {
            let points =
                histogram.data_points().map(|p| point(p.attributes().cloned().collect(), number(p.sum()), p.count()));
            (Instrument::Histogram, points.collect())
        }
        MetricData::ExponentialHistogram(_) => panic!("none is exponential"),
    }
}

impl Measured {
    pub(crate) fn provider(&self) -> SdkMeterProvider {
        let reader = PeriodicReader::builder(self.clone()).with_interval(Duration::from_secs(3600)).build();
        SdkMeterProvider::builder().with_reader(reader).build()
    }

    pub(crate) fn read(&self, provider: &SdkMeterProvider) -> BTreeMap<String, Seen> {
        // Where nothing is measured any more, nothing is exported.
        self.0.lock().unwrap().clear();
        provider.force_flush().expect("it collects");
        self.0.lock().unwrap().clone()
    }
}

fn is(point: &Point, key: &str, value: &str) -> bool {
    point.attributes.get(key).is_some_and(|found| found.to_string() == value)
}

fn sum(seen: &BTreeMap<String, Seen>, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let points = seen.get(name).map(|metric| metric.points.clone()).unwrap_or_default();
    points.iter().filter(|point| wanted.iter().all(|(key, value)| is(point, key, value))).map(|p| p.value).sum()
}

fn member(at: usize) -> NodeId {
    node(&format!("n{at}"))
}

async fn start(network: &MemoryNetwork, at: usize, metrics: &Metrics) -> Elector {
    Elector::builder()
        .cluster("planner")
        .node(member(at).as_str())
        .members((0..3).map(|at| member(at).to_string()))
        .volatile()
        .timing(Timing::of(Duration::from_millis(50)))
        .transport(network.transport(&member(at)))
        .heartbeats_per_trace(2)
        .telemetry(Spans::builder().metrics(metrics.clone()).build())
        .start()
        .await
        .expect("it starts")
}

fn leader(electors: &[Elector], among: &[usize]) -> Option<usize> {
    let led = among.iter().copied().find(|at| electors[*at].view().role == Role::Leader)?;
    let known = |at: &usize| electors[*at].view().leader == Some(member(led));
    among.iter().all(known).then_some(led)
}

#[tokio::test]
async fn every_metric_has_data_after_a_kill() {
    let (measured, network) = (Measured::default(), MemoryNetwork::new(3));
    let provider = measured.provider();
    let mut electors = Vec::new();
    let metrics: Vec<Metrics> = (0..3).map(|_| Metrics::with_provider(provider.clone())).collect();
    for (at, metrics) in metrics.iter().enumerate() {
        electors.push(start(&network, at, metrics).await);
    }
    let first = until("one leads", || leader(&electors, &[0, 1, 2])).await;
    // A follower that is silent for a while, and heard again.
    let silent = (first + 1) % 3;
    network.cut(&member(silent), &member(first));
    let failed = [("network.io.direction", "transmit"), ("error.type", "timeout")];
    until("calls time out", || (sum(&measured.read(&provider), "raft.heartbeats", &failed) >= 3.0).then_some(())).await;
    network.heal(&member(silent), &member(first));
    until("the gap ends", || (sum(&measured.read(&provider), "raft.heartbeat.gaps", &[]) >= 1.0).then_some(())).await;

    let first = until("one leads", || leader(&electors, &[0, 1, 2])).await;
    network.kill(&member(first));
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    let second = until("another leads", || leader(&electors, &others)).await;
    until("heartbeats flow", || {
        let seen = measured.read(&provider);
        let (led, rtt) = (member(second).to_string(), "raft.heartbeat.rtt");
        (sum(&seen, rtt, &[("raft.node.id", &led)]) > 0.0 && sum(&seen, "raft.leadership.ends", &[]) >= 1.0)
            .then_some(())
    })
    .await;
    let seen = measured.read(&provider);
    assert_complete(&seen);
    assert_meaningful(&seen, &electors, second, &others);
    for elector in &electors {
        elector.shutdown().await;
    }
}

/// Every metric of the table, with the unit, the type and the attributes that it says.
fn assert_complete(seen: &BTreeMap<String, Seen>) {
    for metric in METRICS {
        let found = seen.get(metric.name).unwrap_or_else(|| panic!("{} has no data: {:?}", metric.name, seen.keys()));
        assert_eq!((found.instrument, found.unit.as_str()), (metric.instrument, metric.unit), "{}", metric.name);
        let mut used = BTreeSet::new();
        for point in &found.points {
            used.extend(point.attributes.keys().cloned());
            for attribute in METRIC_ATTRIBUTES {
                assert!(point.attributes.contains_key(*attribute), "{} lacks {attribute}: {point:?}", metric.name);
            }
        }
        let known: BTreeSet<String> =
            METRIC_ATTRIBUTES.iter().chain(metric.attributes).map(|name| (*name).to_owned()).collect();
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{} bears {unknown:?}, of which the table says nothing", metric.name);
    }
    for name in seen.keys() {
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in the table");
    }
}

fn assert_meaningful(seen: &BTreeMap<String, Seen>, electors: &[Elector], leader: usize, others: &[usize]) {
    let led = member(leader).to_string();
    let leads = [("raft.node.id", led.as_str()), ("raft.role", "leader")];
    assert_eq!(sum(seen, "raft.node.status", &leads), 1.0);
    assert_eq!(sum(seen, "raft.node.status", &[("raft.node.id", &led)]), 1.0, "one role at a time");
    let term = electors[leader].view().term.0 as f64;
    assert_eq!(sum(seen, "raft.node.term", &[("raft.node.id", &led)]), term);
    for at in others {
        let node = member(*at).to_string();
        assert!(sum(seen, "raft.leader.changes", &[("raft.node.id", &node)]) >= 2.0, "{node} knew two leaders");
    }
    let won = [("raft.election.outcome", "won"), ("raft.election.trigger", "connection_lost")];
    assert!(sum(seen, "raft.elections", &won) >= 1.0);
    let lease = sum(seen, "raft.lease.remaining", &[("raft.node.id", &led)]);
    assert!(lease > 0.0 && lease <= 0.15, "{lease}");
    let granted = [("raft.vote.role", "voter"), ("raft.vote.pre", "false"), ("raft.vote.granted", "true")];
    assert!(sum(seen, "raft.votes", &granted) >= 2.0);
    let unanswered = [("raft.vote.role", "candidate"), ("raft.vote.reason", "unanswered")];
    assert!(sum(seen, "raft.votes", &unanswered) >= 1.0, "the dead one");
    for direction in ["transmit", "receive"] {
        assert!(sum(seen, "raft.rpc.bytes", &[("network.io.direction", direction)]) > 0.0);
    }
    assert!(sum(seen, "raft.driver.busy", &[]) > 0.0);
}

/// An instrument that was taken before the SDK was there is dead for ever; so none is kept that long.
#[test]
fn a_provider_that_is_installed_later_is_seen() {
    let measured = Measured::default();
    let mut a = Player::with("late", Spans::builder().anchor(anchor).build());
    a.stand(10, 1);
    let provider = measured.provider();
    opentelemetry::global::set_meter_provider(provider.clone());
    a.tell(30, EventKind::ElectionEnded { outcome: Outcome::Lost, rounds: 2, retry_in: None });
    let seen = measured.read(&provider);
    let lost = [("raft.node.id", "late"), ("raft.election.trigger", Trigger::ElectionTimeout.code())];
    assert_eq!(sum(&seen, "raft.elections", &lost), 1.0);
    assert_eq!(sum(&seen, "raft.node.term", &[("raft.node.id", "late")]), 4.0, "the observable ones, too");
    let rounds = &seen["raft.election.rounds"].points.iter().find(|p| is(p, "raft.node.id", "late")).unwrap();
    assert_eq!((rounds.value, rounds.count), (2.0, 1));
}

#[test]
fn a_node_that_is_gone_is_measured_no_more() {
    let measured = Measured::default();
    let provider = measured.provider();
    let metrics = Metrics::with_provider(provider.clone());
    let mut a = Player::with("gone", Spans::builder().anchor(anchor).metrics(metrics).build());
    a.stand(10, 1);
    let here = [("raft.node.id", "gone")];
    assert_eq!(sum(&measured.read(&provider), "raft.node.status", &here), 1.0);
    drop(a);
    assert_eq!(sum(&measured.read(&provider), "raft.node.status", &here), 0.0);
}
