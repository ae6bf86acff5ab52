//! The observer that makes spans: one for a node, whatever number of groups it is in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::trace::{Span, Tracer, TracerProvider};

use crate::clock::Anchor;
use crate::event::{Event, EventKind};
use crate::message::RequestId;
use crate::observer::log::Log;
use crate::observer::{Beat, CollectiveState, ConditionNews, Observer, Order, Propagator, Vitals};
use crate::telemetry::{Metrics, OPENTELEMETRY_VERSION, TARGET};
use crate::types::{GroupId, NodeId, TraceContext};

mod application;
mod budget;
mod candidate;
mod group;
mod heartbeat;
mod leader;
mod notes;
mod tree;
mod voter;

use group::Group;
#[cfg(feature = "otlp")]
pub(super) use tree::Provider;
use tree::{Clocks, Source, Tree};
pub(super) use tree::{span_context, trace_context};

/// Turns the events of one node into spans, log lines and [`Metrics`], and gives its requests their trace context.
///
/// A handle: clones share one state, so that one can be the node's observer and another its propagator. Each node needs
/// one of its own; a node that is in many groups needs one for all of them.
///
/// Spans go to the provider that [`SpansBuilder::provider`] named, else to the global one, which is looked up anew for
/// each trace, so that it may be installed later. Without any, contexts are [`TraceContext::NONE`], log lines are written
/// all the same, and one of them says that no provider is there.
///
/// Memory is bounded: at most 1024 spans of a group are open, and one without news for ten minutes is ended. Dropping the
/// last handle ends what is open, at the last that was heard of it.
///
/// ```
/// use hustings::observer::{Observer, Propagator};
/// use hustings::telemetry::Spans;
///
/// let spans = Spans::builder().peers([("planner-1", "https://planner-1:7300")]).build();
/// let (observer, propagator): (Box<dyn Observer>, Box<dyn Propagator>) = (Box::new(spans.clone()), Box::new(spans));
/// # let _ = (observer, propagator);
/// ```
#[derive(Debug, Clone)]
pub struct Spans {
    shared: Arc<Shared>,
}

/// Makes [`Spans`].
#[must_use]
pub struct SpansBuilder {
    source: Source,
    clocks: Clocks,
    addresses: BTreeMap<String, Address>,
    rpc_system: String,
    elections_per_minute: u32,
    metrics: Option<Metrics>,
}

/// How many election traces a group begins in a minute, unless told otherwise.
pub const ELECTIONS_PER_MINUTE: u32 = 30;

#[derive(Debug)]
struct Shared {
    metrics: Option<Metrics>,
    source: Source,
    setup: Arc<Setup>,
    clocks: ClocksDebug,
    groups: Mutex<BTreeMap<GroupId, Group>>,
    provider_missed: AtomicBool,
    log: Mutex<Log>,
}

/// What a span says of a peer, beside its name.
#[derive(Debug)]
struct Setup {
    addresses: BTreeMap<String, Address>,
    rpc_system: String,
    elections_per_minute: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    host: String,
    port: Option<u16>,
}

impl Setup {
    fn address(&self, node: &NodeId) -> Option<&Address> {
        self.addresses.get(node.as_str())
    }
}

#[derive(Clone)]
struct ClocksDebug(Clocks);

impl fmt::Debug for ClocksDebug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clocks")
    }
}

impl Default for Spans {
    fn default() -> Self {
        Spans::new()
    }
}

impl Spans {
    /// With the global provider, the real clocks, and no addresses.
    #[must_use]
    pub fn new() -> Spans {
        Spans::builder().build()
    }

    /// With something else.
    pub fn builder() -> SpansBuilder {
        SpansBuilder {
            source: Source::Global,
            clocks: Arc::new(Anchor::now),
            addresses: BTreeMap::new(),
            rpc_system: "hustings".to_owned(),
            elections_per_minute: ELECTIONS_PER_MINUTE,
            metrics: Some(Metrics::new()),
        }
    }

    /// Takes note of an event. What [`Observer::observe`] does, for those who hold a shared handle.
    pub fn record(&self, event: &Event) {
        if let Some(metrics) = &self.shared.metrics {
            metrics.record(event);
        }
        let mut groups = self.groups();
        let group = groups.entry(event.who.group.clone()).or_insert_with(|| self.shared.group(&event.who.group));
        let context = group.observe(event);
        let left_out = group.leaves_out();
        drop(groups);
        if matches!(event.kind, EventKind::ElectionStarted { .. }) && !context.is_valid() && !left_out {
            self.miss_provider();
        }
        self.log().write(event, context);
    }

    /// The context of this node's newest election in the group; [`TraceContext::NONE`] if it stood in none.
    #[must_use]
    pub fn election(&self, group: &GroupId) -> TraceContext {
        self.groups().get(group).map_or(TraceContext::NONE, Group::newest_election)
    }

    /// The context of a request that is under way; [`TraceContext::NONE`] if there is no such.
    #[must_use]
    pub fn request(&self, group: &GroupId, id: RequestId) -> TraceContext {
        self.groups().get(group).map_or(TraceContext::NONE, |group| group.request(id))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupId, Group>> {
        self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn miss_provider(&self) {
        let expected = matches!(self.shared.source, Source::Global | Source::Given(_));
        if expected && !self.shared.provider_missed.swap(true, Ordering::Relaxed) {
            provider_missing();
        }
    }
}

impl Shared {
    fn group(&self, id: &GroupId) -> Group {
        let drops = self.metrics.as_ref().map(|metrics| metrics.drops(id)).unwrap_or_default();
        Group::new(Tree::new(self.source.clone(), Arc::clone(&self.clocks.0), drops), Arc::clone(&self.setup))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for group in self.groups.get_mut().unwrap_or_else(PoisonError::into_inner).values_mut() {
            group.abandon();
        }
    }
}

impl Observer for Spans {
    fn observe(&mut self, event: &Event) {
        self.record(event);
    }

    fn attach(&mut self, vitals: &Arc<Vitals>) {
        if let Some(metrics) = &self.shared.metrics {
            metrics.take_vitals(vitals);
        }
    }

    fn beat(&mut self, beat: &Beat) {
        if let Some(metrics) = &self.shared.metrics {
            metrics.take_beat(beat);
        }
        if let Some(group) = self.groups().get_mut(&beat.who.group) {
            group.beat(beat);
        }
    }

    fn order(&mut self, order: &Order) {
        if let Some(group) = self.groups().get_mut(&order.who.group) {
            group.order(order);
        }
    }

    fn collective(&mut self, state: &CollectiveState) {
        if let Some(group) = self.groups().get_mut(&state.who.group) {
            group.collective(state);
        }
    }

    fn condition(&mut self, news: &ConditionNews) {
        self.log().write_condition(news);
    }

    fn writes_log(&self) -> bool {
        true
    }
}

impl Propagator for Spans {
    fn request(&mut self, group: &GroupId, id: RequestId) -> TraceContext {
        Spans::request(self, group, id)
    }

    fn election(&mut self, group: &GroupId) -> TraceContext {
        Spans::election(self, group)
    }
}

impl SpansBuilder {
    /// Where the spans go, instead of to the global provider. A provider per node, with `service.name` the node's name,
    /// makes a viewer show who voted; `telemetry::init` does that.
    pub fn provider<P, T, S>(mut self, provider: P) -> Self
    where
        P: TracerProvider<Tracer = T> + Send + Sync + 'static,
        T: Tracer<Span = S> + Send + Sync + 'static,
        S: Span + Send + Sync + 'static,
    {
        self.source = Source::Given(Arc::new(provider));
        self
    }

    /// A provider for each start of a node.
    #[cfg(feature = "otlp")]
    pub(super) fn providers(
        mut self,
        provider: impl Fn(&crate::message::Identity) -> Option<Provider> + Send + Sync + 'static,
    ) -> Self {
        self.source = Source::ByIdentity(Arc::new(provider));
        self
    }

    /// How points in protocol time become wall-clock time: asked once for each trace. For tests and the simulator, whose
    /// time is made up; by default both clocks are read.
    pub fn anchor(mut self, anchor: impl Fn() -> Anchor + Send + Sync + 'static) -> Self {
        self.clocks = Arc::new(anchor);
        self
    }

    /// The addresses of the members, for `server.address` and `server.port` of requests. `host:port`, or a URL.
    pub fn peers<N: Into<String>, A: AsRef<str>>(mut self, peers: impl IntoIterator<Item = (N, A)>) -> Self {
        self.addresses.extend(peers.into_iter().map(|(node, address)| (node.into(), Address::parse(address.as_ref()))));
        self
    }

    /// The value of `rpc.system.name`: `grpc` for the gRPC transport. By default `hustings`.
    pub fn rpc_system(mut self, name: impl Into<String>) -> Self {
        self.rpc_system = name.into();
        self
    }

    /// How many election traces a group begins in a minute, at most, and twice that at once: a node that is cut off
    /// campaigns several times a second, for as long as it lasts. What is left out is counted, in `raft.telemetry.dropped`
    /// and in `raft.elections.suppressed` of the next election's span; its log lines are written all the same. Default
    /// [`ELECTIONS_PER_MINUTE`](crate::telemetry::ELECTIONS_PER_MINUTE); 0 is no limit.
    pub fn elections_per_minute(mut self, elections: u32) -> Self {
        self.elections_per_minute = elections;
        self
    }

    /// Measures with that, instead of through the global meter provider.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Measures nothing.
    pub fn without_metrics(mut self) -> Self {
        self.metrics = None;
        self
    }

    /// The finished handle.
    #[must_use]
    pub fn build(self) -> Spans {
        let setup = Setup {
            addresses: self.addresses,
            rpc_system: self.rpc_system,
            elections_per_minute: self.elections_per_minute,
        };
        Spans {
            shared: Arc::new(Shared {
                metrics: self.metrics,
                source: self.source,
                setup: Arc::new(setup),
                clocks: ClocksDebug(self.clocks),
                groups: Mutex::default(),
                provider_missed: AtomicBool::new(false),
                log: Mutex::default(),
            }),
        }
    }
}

/// Says, once, why no trace will be seen.
fn provider_missing() {
    tracing::info!(
        name: "raft.telemetry.provider_missing",
        target: TARGET,
        opentelemetry = OPENTELEMETRY_VERSION,
        "no OpenTelemetry tracer provider is installed, so that this election leaves no trace: install one for \
         opentelemetry {OPENTELEMETRY_VERSION} (another version has another global), or give Spans one"
    );
}

impl fmt::Debug for SpansBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpansBuilder").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Address {
    /// Whatever a member list may hold; never fails, since it only decorates.
    fn parse(text: &str) -> Address {
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or(authority);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        let host = if port.is_none() && !authority.starts_with('[') { authority } else { host };
        Address { host: host.trim_start_matches('[').trim_end_matches(']').to_owned(), port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let parsed = |text| {
            let Address { host, port } = Address::parse(text);
            (host, port)
        };
        assert_eq!(parsed("https://planner-0:7300"), ("planner-0".to_owned(), Some(7300)));
        assert_eq!(parsed("10.0.0.1:7300/x"), ("10.0.0.1".to_owned(), Some(7300)));
        assert_eq!(parsed("http://[::1]:7300"), ("::1".to_owned(), Some(7300)));
        assert_eq!(parsed("planner-0"), ("planner-0".to_owned(), None));
    }
}
