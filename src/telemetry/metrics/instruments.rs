//! The instruments, one set for each meter provider, and the nodes that they read when they are asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};

use crate::clock;
use crate::event::Role;
use crate::observer::Vitals;
use crate::telemetry::registry::{METRICS, Metric};
use crate::telemetry::{SCHEMA_URL, SCOPE, keys};

/// A meter provider of whatever make.
pub(super) type Provider = Arc<dyn MeterProvider + Send + Sync>;

/// Seconds of what takes a moment.
const QUICK: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Seconds of what people wait for.
const WAITS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds of a term of office: a second to a month.
const OFFICES: &[f64] = &[1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604_800.0, 2_592_000.0];
/// Rounds of an election.
const ROUNDS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0];

/// What was left out of the trace of one group.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Drops {
    pub(in crate::telemetry) elections: AtomicU64,
    pub(in crate::telemetry) spans: AtomicU64,
    pub(in crate::telemetry) events: AtomicU64,
}

impl Drops {
    pub(in crate::telemetry) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A node that the observable instruments read, for as long as somebody keeps its vital signs.
#[derive(Debug)]
struct Watched {
    vitals: Weak<Vitals>,
    drops: Arc<Drops>,
    attributes: Vec<KeyValue>,
}

type Nodes = Arc<Mutex<Vec<Watched>>>;

/// The instruments of one provider.
#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) elections: Counter<u64>,
    pub(super) election_duration: Histogram<f64>,
    pub(super) election_rounds: Histogram<u64>,
    pub(super) time_to_leadership: Histogram<f64>,
    pub(super) leaderless: Histogram<f64>,
    pub(super) leadership: Histogram<f64>,
    pub(super) leadership_ends: Counter<u64>,
    pub(super) leader_changes: Counter<u64>,
    pub(super) votes: Counter<u64>,
    pub(super) interval: Histogram<f64>,
    pub(super) round_trip: Histogram<f64>,
    pub(super) persist: Histogram<f64>,
    nodes: Nodes,
}

type WeakProvider = Weak<dyn MeterProvider + Send + Sync>;

/// One set for each provider that lives: an observable instrument can be made, and never be taken back.
static SETS: Mutex<Vec<(WeakProvider, Arc<Instruments>)>> = Mutex::new(Vec::new());

impl Instruments {
    /// Those of that provider.
    pub(super) fn of(provider: &Provider) -> Arc<Instruments> {
        let mut sets = SETS.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|(known, _)| known.strong_count() > 0);
        let same =
            |known: &Weak<dyn MeterProvider + Send + Sync>| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(provider));
        if let Some((_, set)) = sets.iter().find(|(known, _)| same(known)) {
            return Arc::clone(set);
        }
        let set = Arc::new(Instruments::new(provider));
        sets.push((Arc::downgrade(provider), Arc::clone(&set)));
        set
    }

    /// Reads that node from now on, in place of an earlier life of it.
    pub(super) fn watch(&self, vitals: &Arc<Vitals>, drops: &Arc<Drops>, attributes: &[KeyValue]) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node| node.vitals.strong_count() > 0 && node.attributes != attributes);
        let (vitals, drops) = (Arc::downgrade(vitals), Arc::clone(drops));
        nodes.push(Watched { vitals, drops, attributes: attributes.to_vec() });
    }

    fn new(provider: &Provider) -> Instruments {
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        let meter = provider.meter_with_scope(scope);
        let nodes = Nodes::default();
        observe_state(&meter, &nodes);
        observe_contact(&meter, &nodes);
        observe_workload(&meter, &nodes);
        let seconds = |name, bounds| histogram(&meter, name, bounds);
        let rounds = entry("raft.election.rounds");
        Instruments {
            elections: counter(&meter, "raft.elections"),
            election_duration: seconds("raft.election.duration", WAITS),
            election_rounds: meter
                .u64_histogram(rounds.name)
                .with_unit(rounds.unit)
                .with_description(rounds.meaning)
                .with_boundaries(ROUNDS.to_vec())
                .build(),
            time_to_leadership: seconds("raft.time_to_leadership", WAITS),
            leaderless: seconds("raft.leaderless.duration", WAITS),
            leadership: seconds("raft.leadership.duration", OFFICES),
            leadership_ends: counter(&meter, "raft.leadership.ends"),
            leader_changes: counter(&meter, "raft.leader.changes"),
            votes: counter(&meter, "raft.votes"),
            interval: seconds("raft.heartbeat.interval", WAITS),
            round_trip: seconds("raft.heartbeat.rtt", QUICK),
            persist: seconds("raft.hard_state.persist.duration", QUICK),
            nodes,
        }
    }
}

/// The role, the term and the heartbeats.
fn observe_state(meter: &Meter, nodes: &Nodes) {
    let entry_of = entry("raft.node.status");
    let status = meter.i64_observable_up_down_counter(entry_of.name).with_unit(entry_of.unit);
    let read = reader(nodes, |node, vitals, status: &dyn AsyncInstrument<i64>| {
        let now = vitals.role();
        for role in [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader, Role::Stopped] {
            status.observe(i64::from(role == now), &node.with(&[keys::code("raft.role", role.code())]));
        }
    });
    status.with_description(entry_of.meaning).with_callback(read).build();

    let entry_of = entry("raft.node.term");
    let term = meter.u64_observable_gauge(entry_of.name).with_unit(entry_of.unit);
    let read = reader(nodes, |node, vitals, term: &dyn AsyncInstrument<u64>| {
        term.observe(vitals.term().0, &node.attributes);
    });
    term.with_description(entry_of.meaning).with_callback(read).build();

    observe_count(meter, nodes, "raft.heartbeats", |node, vitals, heartbeats| {
        heartbeats.observe(vitals.heartbeats_sent(), &node.with(&[direction("transmit")]));
        heartbeats.observe(vitals.heartbeats_received(), &node.with(&[direction("receive")]));
        for (code, count) in vitals.heartbeats_failed().filter(|(_, count)| *count > 0) {
            let attributes = [direction("transmit"), keys::code(keys::ERROR_TYPE, code)];
            heartbeats.observe(count, &node.with(&attributes));
        }
    });
    observe_count(meter, nodes, "raft.heartbeat.gaps", |node, vitals, gaps| {
        for (peer, count) in vitals.gaps() {
            gaps.observe(count, &node.with(&[keys::node("raft.peer.id", &peer)]));
        }
    });
}

/// How near a leader is to losing office.
fn observe_contact(meter: &Meter, nodes: &Nodes) {
    observe_gauge(meter, nodes, "raft.quorum.contact.age", |node, vitals, age| {
        if let Some(contact) = vitals.quorum_contact() {
            age.observe(clock::now().since(contact).as_secs_f64(), &node.attributes);
        }
    });
    observe_gauge(meter, nodes, "raft.lease.remaining", |node, vitals, remaining| {
        if let Some(end) = vitals.lease_end() {
            remaining.observe(end.since(clock::now()).as_secs_f64(), &node.attributes);
        }
    });
    observe_gauge(meter, nodes, "raft.leader.idle", |node, vitals, idle| {
        if vitals.lease_end().is_some() {
            let since = vitals.idle_since().map_or(0.0, |since| clock::now().since(since).as_secs_f64());
            idle.observe(since, &node.attributes);
        }
    });
}

/// What coordination costs, and what was left out of its trace.
fn observe_workload(meter: &Meter, nodes: &Nodes) {
    observe_gauge(meter, nodes, "raft.driver.lag", |node, vitals, lag| {
        lag.observe(vitals.workload().lag(clock::now()).as_secs_f64(), &node.attributes);
    });
    observe_count(meter, nodes, "raft.rpc.bytes", |node, vitals, bytes| {
        let traffic = vitals.workload().traffic();
        bytes.observe(traffic.sent(), &node.with(&[direction("transmit")]));
        bytes.observe(traffic.received(), &node.with(&[direction("receive")]));
    });
    let entry_of = entry("raft.driver.busy");
    let busy = meter.f64_observable_counter(entry_of.name).with_unit(entry_of.unit);
    let read = reader(nodes, |node, vitals, busy: &dyn AsyncInstrument<f64>| {
        busy.observe(vitals.workload().busy().as_secs_f64(), &node.attributes);
    });
    busy.with_description(entry_of.meaning).with_callback(read).build();
    observe_count(meter, nodes, "raft.telemetry.dropped", |node, _, dropped| {
        let Drops { elections, spans, events } = &*node.drops;
        for (item, count) in [("election", elections), ("span", spans), ("event", events)] {
            let attributes = [keys::code("raft.telemetry.item", item)];
            dropped.observe(count.load(Ordering::Relaxed), &node.with(&attributes));
        }
    });
}

fn observe_gauge(
    meter: &Meter,
    nodes: &Nodes,
    name: &str,
    read: impl Fn(&Watched, &Vitals, &dyn AsyncInstrument<f64>) + Send + Sync + 'static,
) {
    let entry = entry(name);
    let gauge = meter.f64_observable_gauge(entry.name).with_unit(entry.unit).with_description(entry.meaning);
    gauge.with_callback(reader(nodes, read)).build();
}

fn observe_count(
    meter: &Meter,
    nodes: &Nodes,
    name: &str,
    read: impl Fn(&Watched, &Vitals, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let entry = entry(name);
    let counter = meter.u64_observable_counter(entry.name).with_unit(entry.unit).with_description(entry.meaning);
    counter.with_callback(reader(nodes, read)).build();
}

/// Reads every node that is still there.
fn reader<T>(
    nodes: &Nodes,
    read: impl Fn(&Watched, &Vitals, &dyn AsyncInstrument<T>) + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    let nodes = Arc::clone(nodes);
    move |instrument| {
        let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for node in nodes.iter() {
            if let Some(vitals) = node.vitals.upgrade() {
                read(node, &vitals, instrument);
            }
        }
    }
}

impl Watched {
    fn with(&self, more: &[KeyValue]) -> Vec<KeyValue> {
        [self.attributes.as_slice(), more].concat()
    }
}

fn counter(meter: &Meter, name: &str) -> Counter<u64> {
    let entry = entry(name);
    meter.u64_counter(entry.name).with_unit(entry.unit).with_description(entry.meaning).build()
}

fn histogram(meter: &Meter, name: &str, bounds: &[f64]) -> Histogram<f64> {
    let entry = entry(name);
    let histogram = meter.f64_histogram(entry.name).with_unit(entry.unit).with_description(entry.meaning);
    histogram.with_boundaries(bounds.to_vec()).build()
}

fn direction(direction: &'static str) -> KeyValue {
    keys::code("network.io.direction", direction)
}

fn entry(name: &str) -> &'static Metric {
    METRICS.iter().find(|metric| metric.name == name).expect("every metric that is made stands in the table")
}
