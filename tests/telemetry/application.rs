//! Where the application's own spans meet the election: links, carriers, and callers of orders, with the real bridge.

use std::future::Future;
use std::time::Duration;

use hustings::config::Timing;
use hustings::elector::{CarrierError, Elector, Fence, LeadError, Leadership, LinkOutcome, TransferError};
use hustings::event::{EventKind, Outcome, Role, Trigger};
use hustings::observer::{Observer, Order, OrderKind};
use hustings::telemetry::Spans;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{NodeId, TraceContext};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData};
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::logs::{Listener, listen, told};
use super::stage::*;

/// Members of a cluster, where their elections are exported, and where the application's own spans are.
pub(crate) struct World {
    pub(crate) elections: Exported,
    pub(crate) application: Exported,
    pub(crate) electors: Vec<Elector>,
    pub(crate) network: MemoryNetwork,
}

pub(crate) fn member(at: usize) -> NodeId {
    node(&format!("n{at}"))
}

impl World {
    pub(crate) async fn of(size: usize) -> World {
        let (elections, network) = (Exported::default(), MemoryNetwork::new(9));
        let mut electors = Vec::new();
        for at in 0..size {
            let spans = Spans::builder().provider(elections.provider()).without_metrics().build();
            let builder = Elector::builder()
                .cluster("planner")
                .node(member(at).as_str())
                .members((0..size).map(|at| member(at).to_string()))
                .volatile()
                .timing(Timing::of(Duration::from_millis(100)))
                .transport(network.transport(&member(at)))
                .heartbeats_per_trace(2)
                .telemetry(spans);
            electors.push(builder.start().await.expect("it starts"));
        }
        World { elections, application: Exported::default(), electors, network }
    }

    /// A subscriber with the layer, for this thread.
    fn bridge(&self) -> DefaultGuard {
        bridge_of(&self.application.provider())
    }

    pub(crate) async fn leader(&self) -> usize {
        let known = |leader: &usize| self.electors.iter().all(|e| e.view().leader == Some(member(*leader)));
        let leads = || (0..self.electors.len()).find(|at| self.electors[*at].view().role == Role::Leader);
        until("one leads, and all know it", || leads().filter(known)).await
    }

    async fn lead(&self) -> Leadership {
        let leader = self.leader().await;
        patiently(self.electors[leader].campaign()).await.expect("it leads")
    }

    pub(crate) async fn stop(&self) {
        for elector in &self.electors {
            patiently(elector.shutdown()).await;
        }
    }
}

fn bridge_of(provider: &SdkTracerProvider) -> DefaultGuard {
    listen();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("application"));
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
}

pub(crate) async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

fn ids(context: TraceContext) -> (TraceId, SpanId) {
    (TraceId::from(context.trace_id), SpanId::from(context.span_id))
}

fn id(span: &SpanData) -> (TraceId, SpanId) {
    (span.span_context.trace_id(), span.span_context.span_id())
}

fn of_link(span: &SpanData, at: usize, key: &str) -> Option<Value> {
    let attributes = &span.links.links[at].attributes;
    attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.clone())
}

/// The one link of the span, to the election of the leadership.
fn assert_authorized(span: &SpanData, lead: &Leadership) {
    assert_eq!(span.links.links.len(), 1, "{span:#?}");
    let to = &span.links.links[0].span_context;
    assert_eq!((to.trace_id(), to.span_id()), ids(lead.election_context()));
    assert_eq!(of_link(span, 0, "raft.link.type"), Some(Value::from("authorized_by")));
    let term = i64::try_from(lead.fence().get()).unwrap();
    assert_eq!(of_link(span, 0, "raft.term"), Some(Value::I64(term)));
    assert_eq!(of_link(span, 0, "raft.election.id"), Some(Value::from(format!("planner/main/{term}"))));
    assert_eq!(text(span, "raft.link.authorized_by"), to.trace_id().to_string());
}

#[tokio::test]
pub(crate) async fn an_act_links_to_the_election_that_authorized_it() {
    let world = World::of(1).await;
    let _bridge = world.bridge();
    let lead = world.lead().await;

    let task = tracing::info_span!("agent.task");
    assert_eq!(lead.link(&task), LinkOutcome::Linked);
    async {}.instrument(task).await;
    let running = tracing::info_span!("agent.running");
    async {
        tokio::task::yield_now().await;
        assert_eq!(lead.link(&tracing::Span::current()), LinkOutcome::Linked, "also while it runs");
    }
    .instrument(running)
    .await;

    assert_authorized(&world.application.one("agent.task"), &lead);
    assert_authorized(&world.application.one("agent.running"), &lead);
    let election = world.elections.one("raft.election");
    assert_eq!(id(&election), ids(lead.election_context()), "and that is where the link leads");
    drop(lead);
    world.stop().await;
}

/// To ask the bridge for a span's context starts the span, and a parent that comes later is refused.
#[tokio::test]
async fn a_link_does_not_start_the_span() {
    let world = World::of(1).await;
    let _bridge = world.bridge();
    let lead = world.lead().await;
    let (trace, parent) = (TraceId::from(0xabc_u128), SpanId::from(0xdef_u64));
    let caller = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::default());

    let task = tracing::info_span!("agent.task");
    assert_eq!(lead.link(&task), LinkOutcome::Linked);
    task.set_parent(Context::new().with_remote_span_context(caller)).expect("it has not been started");
    drop(task);
    let task = world.application.one("agent.task");
    assert_eq!((task.span_context.trace_id(), task.parent_span_id), (trace, parent));
    assert_authorized(&task, &lead);
    drop(lead);
    world.stop().await;
}

#[tokio::test]
async fn who_bears_no_link_says_why() {
    let world = World::of(1).await;
    let lead = world.lead().await;
    assert_eq!(lead.link(&tracing::Span::none()), LinkOutcome::Disabled);

    let lines = told(|| {
        let only_logs = tracing_subscriber::registry().with(Listener);
        tracing::subscriber::with_default(only_logs, || {
            assert_eq!(lead.link(&tracing::info_span!("agent.task")), LinkOutcome::NoLayer);
            assert_eq!(lead.link(&tracing::info_span!("agent.task")), LinkOutcome::NoLayer);
        });
    });
    let warned = lines.named("raft.telemetry.layer_missing");
    assert_eq!(warned.len(), 1, "two spans, one line: {warned:?}");
    assert_eq!(warned[0].level, Some(tracing::Level::WARN));
    assert_eq!(warned[0].fields["tracing_opentelemetry"], hustings::telemetry::TRACING_OPENTELEMETRY_VERSION);

    let provider = world.application.provider();
    let tracer = || tracing_opentelemetry::layer().with_tracer(provider.tracer("application"));
    let (reloaded, _handle) = tracing_subscriber::reload::Layer::new(tracer());
    let outcome = tracing::subscriber::with_default(tracing_subscriber::registry().with(reloaded), || {
        lead.link(&tracing::info_span!("agent.task"))
    });
    assert_eq!(outcome, LinkOutcome::NoLayer, "a reload layer hides what it wraps");

    let strict = tracer().with_filter(LevelFilter::ERROR);
    let outcome = tracing::subscriber::with_default(tracing_subscriber::registry().with(strict).with(Listener), || {
        lead.link(&tracing::info_span!("agent.task"))
    });
    assert_eq!(outcome, LinkOutcome::Filtered);

    let unsampled = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
    let _bridge = bridge_of(&unsampled);
    let span = tracing::info_span!("agent.task");
    let outcome = span.in_scope(|| lead.link(&span));
    assert_eq!(outcome, LinkOutcome::NotRecorded);
    drop(lead);
    world.stop().await;
}

#[tokio::test]
async fn an_election_that_nobody_traced_is_not_linked_to() {
    let network = MemoryNetwork::new(2);
    let elector = Elector::builder().cluster("planner").node("n0").members(["n0"]).volatile();
    let elector = elector.transport(network.transport(&member(0))).start().await.expect("it starts");
    let lead = patiently(elector.campaign()).await.expect("it leads");
    let application = Exported::default();
    let _bridge = bridge_of(&application.provider());
    let span = tracing::info_span!("agent.task");
    assert_eq!(lead.link(&span), LinkOutcome::NoElection);
    drop(span);
    let span = application.one("agent.task");
    assert!(span.links.links.is_empty() && attribute(&span, "raft.link.authorized_by").is_none());
    let carried = lead.carrier();
    let fence = Fence::from_carrier("planner", "main", carried.clone()).expect("the fence needs no trace");
    assert_eq!(fence, lead.fence());
    assert_eq!(carried.len(), 1, "no traceparent rather than zeros: {carried:?}");
    drop(lead);
    patiently(elector.shutdown()).await;
}

#[tokio::test]
async fn a_message_carries_the_fence_and_goes_on_with_the_caller_s_trace() {
    let world = World::of(1).await;
    let _bridge = world.bridge();
    let lead = world.lead().await;
    let election = lead.election_context().to_traceparent().expect("it is traced");

    let alone = lead.carrier();
    assert_eq!(alone.len(), 1, "no span, no parent: acts do not pile up in the election's trace: {alone:?}");
    let act = async { lead.carrier() }.instrument(tracing::info_span!("agent.task")).await;
    let task = world.application.one("agent.task");
    let (trace, span) = id(&task);
    assert_eq!(act[0], ("traceparent", format!("00-{trace}-{span}-01")));

    for carried in [alone, act] {
        let (_, baggage) = carried.last().expect("there is baggage");
        assert!(baggage.ends_with(&format!("raft.election.planner.main={election}")), "{baggage}");
        assert_eq!(Fence::from_carrier("planner", "main", carried.clone()), Ok(lead.fence()));
        let found = "planner/main".to_owned();
        assert_eq!(Fence::from_carrier("other", "main", carried), Err(CarrierError::WrongCluster { found }));
    }
    drop(lead);
    world.stop().await;
}

/// What a propagator of the application injected stays, its baggage is there once, and the fence is beside it.
#[tokio::test]
async fn a_leadership_is_merged_into_what_a_message_carries_already() {
    use opentelemetry::baggage::BaggageExt;

    let world = World::of(1).await;
    let lead = world.lead().await;
    let context = opentelemetry::Context::current_with_baggage([opentelemetry::KeyValue::new("user", "alice")]);
    let attached = context.attach();
    let alone = lead.carrier();
    assert!(alone.iter().any(|(_, value)| value.ends_with(",user=alice")), "the caller's own is kept: {alone:?}");
    let mut headers = std::collections::HashMap::from([
        ("Baggage".to_owned(), "user=alice,tenant=7".to_owned()),
        ("traceparent".to_owned(), "00-00000000000000000000000000000abc-0000000000000def-01".to_owned()),
    ]);
    let before = headers["traceparent"].clone();
    lead.inject(&mut headers);
    lead.inject(&mut headers);
    drop(attached);
    assert_eq!(headers["traceparent"], before);
    let baggage = &headers["baggage"];
    assert!(baggage.ends_with(",user=alice,tenant=7"), "{baggage}");
    assert_eq!((baggage.matches("user=").count(), baggage.matches("raft.fence").count()), (1, 1), "{baggage}");
    assert_eq!(Fence::from_carrier("planner", "main", &headers), Ok(lead.fence()));
    drop(lead);
    world.stop().await;
}

#[tokio::test]
pub(crate) async fn a_campaign_by_order_links_to_its_caller() {
    let world = World::of(3).await;
    let _bridge = world.bridge();
    let leader = world.leader().await;
    let ordering = tracing::info_span!("operator.orders");
    ordering.in_scope(|| world.electors[(leader + 1) % 3].campaign_now()).expect("it runs");
    drop(ordering);
    let caller = id(&world.application.one("operator.orders"));

    let manual = || {
        let mut found = world.elections.named("raft.election");
        found.retain(|election| text(election, "raft.election.trigger") == "manual");
        found.pop()
    };
    let election = until("the election is over", manual).await;
    assert_eq!(text(&election, "raft.node.id"), member((leader + 1) % 3).as_str());
    let round = &world.elections.below(&election)[0];
    assert_eq!(linked(round, "triggered_by"), Some(caller));
    assert_eq!(text(round, "raft.link.triggered_by"), caller.0.to_string());
    world.stop().await;
    world.elections.assert_sound();
}

/// Where the span leads that relation's link.
fn linked(span: &SpanData, relation: &str) -> Option<(TraceId, SpanId)> {
    let position = links(span).iter().position(|(found, _)| found == relation)?;
    let to = &span.links.links[position].span_context;
    Some((to.trace_id(), to.span_id()))
}

#[tokio::test]
pub(crate) async fn a_transfer_links_to_its_caller() {
    let world = World::of(3).await;
    // Without a bridge, by OpenTelemetry's own context.
    let caller =
        SpanContext::new(0xabc_u128.into(), 0xdef_u64.into(), TraceFlags::SAMPLED, true, TraceState::default());
    {
        let _caller = Context::new().with_remote_span_context(caller.clone()).attach();
        // It may be elected and not established yet, and its followers may not have been heard.
        while let Err(refused) = patiently(world.electors[world.leader().await].transfer_to(None)).await {
            assert!(matches!(refused, TransferError::NotLeader { .. } | TransferError::NoSuccessor), "{refused}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let transfer = until("the transfer is told", || world.elections.named("raft.transfer").pop()).await;
    assert_eq!(linked(&transfer, "triggered_by"), Some((caller.trace_id(), caller.span_id())));

    // With one, by the holder of the leadership.
    let _bridge = world.bridge();
    let lead = world.lead().await;
    let ordering = tracing::info_span!("operator.orders");
    let handing_over = ordering.in_scope(|| lead.transfer_to(None));
    drop((lead, ordering));
    patiently(handing_over).await.expect("it hands over");
    let caller = id(&world.application.one("operator.orders"));
    let transfers = || Some(world.elections.named("raft.transfer")).filter(|transfers| transfers.len() == 2);
    let transfers = until("the second transfer is told", transfers).await;
    assert_eq!(linked(&transfers[1], "triggered_by"), Some(caller));
    world.stop().await;
    world.elections.assert_sound();
}

/// The caller belongs to what comes at once, and to nothing later.
#[test]
fn an_order_of_which_nothing_came_is_forgotten() {
    let context = TraceContext { trace_id: 0xabc, span_id: 0xdef, flags: 1 };
    let stands = |between: &dyn Fn(&mut Player)| {
        let exported = Exported::default();
        let mut a = Player::new("a", &exported);
        a.tell(10, EventKind::WorkStarted);
        let order = Order { who: a.who.clone(), kind: OrderKind::Campaign, context };
        a.spans.order(&order);
        between(&mut a);
        let (trigger, attempt) = (Trigger::Manual, 1);
        let kind = EventKind::ElectionStarted {
            attempt,
            trigger,
            waited: None,
            previous: None,
            last_contact: None,
            call: None,
        };
        a.tell(30, kind);
        a.start_round(30, true, 1, 5);
        a.end_round(40, true, 1, (1, 0), &["b"]);
        a.tell(40, EventKind::ElectionEnded { outcome: Outcome::QuorumUnreachable, rounds: 1, retry_in: None });
        linked(&exported.one("raft.pre_vote"), "triggered_by")
    };
    assert_eq!(stands(&|_| {}), Some(ids(context)));
    assert_eq!(stands(&|a| a.tell(20, EventKind::WorkEnded { work_term: hustings::types::Term(4) })), None);
    let other = |a: &mut Player| {
        let order = Order { who: a.who.clone(), kind: OrderKind::Transfer, context };
        a.spans.order(&order);
    };
    assert_eq!(stands(&other), None, "a newer order takes the place of an older one");
}

/// Which agent acts stands on the application's resource, once, and not on each span of an election.
#[tokio::test]
async fn who_the_agent_is_stands_on_the_resource() {
    let identity = [
        ("gen_ai.agent.id", "agent-7"),
        ("gen_ai.agent.name", "planner"),
        ("gen_ai.agent.version", "1.4.2"),
        ("service.instance.id", "planner-0/3"),
    ];
    let exported = Exported::default();
    let resource = Resource::builder().with_attributes(identity.map(|(key, value)| KeyValue::new(key, value))).build();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).with_resource(resource).build();
    // One provider for both, as in an application that has one: its resource is on elections, too.
    let (network, spans) = (MemoryNetwork::new(4), Spans::builder().provider(provider.clone()).without_metrics());
    let elector = Elector::builder().cluster("planner").node("n0").members(["n0"]).volatile();
    let elector = elector.transport(network.transport(&member(0))).telemetry(spans.build());
    let elector = elector.start().await.expect("it starts");
    let _bridge = bridge_of(&provider);
    let lead = patiently(elector.campaign()).await.expect("it leads");
    let span = tracing::info_span!("agent.task");
    assert!(lead.link(&span).is_linked());
    drop((span, lead));
    patiently(elector.shutdown()).await;

    for (key, value) in identity {
        let found = exported.resource().get(&key.into()).map(|value| value.to_string());
        assert_eq!(found.as_deref(), Some(value), "{key} reaches the exporter");
        for span in exported.all() {
            let on_events = span.events.events.iter().flat_map(|event| &event.attributes);
            let mut all = span.attributes.iter().chain(on_events);
            assert!(!all.any(|attribute| attribute.key.as_str() == key), "{key} on {}", span.name);
        }
    }
    let names: Vec<_> = exported.all().into_iter().map(|span| span.name.to_string()).collect();
    assert!(names.iter().any(|name| name == "agent.task") && names.iter().any(|name| name == "raft.election"));
}

#[tokio::test]
async fn an_order_to_one_who_has_left_says_so() {
    let world = World::of(1).await;
    world.leader().await;
    world.stop().await;
    assert!(matches!(world.electors[0].campaign_now(), Err(LeadError::Stopped)));
}
