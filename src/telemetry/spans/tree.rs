//! The spans that are open: who is whose child, and when they end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::global::{BoxedSpan, BoxedTracer, ObjectSafeTracerProvider};
use opentelemetry::trace::noop::NoopTracer;
use opentelemetry::trace::{
    Link, Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};

use crate::clock::Anchor;
use crate::message::Identity;
use crate::telemetry::metrics::Drops;
use crate::telemetry::{SCHEMA_URL, SCOPE, keys};
use crate::types::{Time, TraceContext};

/// More events than these on one span are counted, not kept: an SDK keeps 128 and loses the rest in silence.
const EVENTS_MAX: usize = 60;
/// More open spans than these, and the oldest end: memory is bounded whatever happens.
const OPEN_MAX: usize = 1024;
/// A span without any news for so long is given up.
const STALE: Duration = Duration::from_secs(600);
/// How many traces keep their anchor, so that all spans of one trace are placed by one reading of the clocks.
const ANCHORS_MAX: usize = 16;

/// A tracer provider of whatever make.
pub(in crate::telemetry) type Provider = Arc<dyn ObjectSafeTracerProvider + Send + Sync>;

/// Finds the provider of a start of a node; `None` exports nothing.
pub(super) type Finder = Arc<dyn Fn(&Identity) -> Option<Provider> + Send + Sync>;

/// Where tracers come from.
#[derive(Clone)]
pub(super) enum Source {
    /// The global provider.
    Global,
    /// One that was given.
    Given(Provider),
    /// One for each start of a node, so that its resource can name it.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))]
    ByIdentity(Finder),
    /// None.
    Nowhere,
}

impl Source {
    /// A tracer, taken anew: one that was taken before the SDK was installed stays dead for ever.
    fn tracer(&self) -> Arc<BoxedTracer> {
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        Arc::new(match self {
            Source::Given(provider) => BoxedTracer::new(provider.boxed_tracer(scope)),
            Source::Global => global::tracer_with_scope(scope),
            Source::ByIdentity(_) | Source::Nowhere => BoxedTracer::new(Box::new(NoopTracer::new())),
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Global => "Global",
            Source::Given(_) => "Given",
            Source::ByIdentity(_) => "ByIdentity",
            Source::Nowhere => "Nowhere",
        })
    }
}

/// Where anchors come from.
pub(super) type Clocks = Arc<dyn Fn() -> Anchor + Send + Sync>;

/// Names an open span. A key whose span has ended does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// A span to be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    pub(super) at: Time,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<(&'static str, TraceContext)>,
    /// What the span says of itself if its parent ends first.
    pub(super) cut: Option<KeyValue>,
}

/// The open spans of one group.
pub(super) struct Tree {
    made_from: Source,
    source: Source,
    clocks: Clocks,
    drops: Arc<Drops>,
    open: BTreeMap<Key, Open>,
    next: u64,
    anchors: VecDeque<(u128, Anchor)>,
}

struct Open {
    /// `None` where nobody records.
    span: Option<BoxedSpan>,
    /// What requests carry; none where nobody records.
    context: TraceContext,
    /// What log lines name: the same, or the caller's where nobody records here.
    logged: TraceContext,
    tracer: Arc<BoxedTracer>,
    anchor: Anchor,
    start: Time,
    /// The latest moment that it must contain.
    last: Time,
    parent: Option<Key>,
    cut: Option<KeyValue>,
    events: usize,
    events_dropped: u64,
}

impl Open {
    /// What nobody records.
    fn silent(at: Time, parent: Option<Key>, logged: TraceContext, tracer: Arc<BoxedTracer>, anchor: Anchor) -> Open {
        Open {
            span: None,
            context: TraceContext::NONE,
            logged,
            tracer,
            anchor,
            start: at,
            last: at,
            parent,
            cut: None,
            events: 0,
            events_dropped: 0,
        }
    }
}

impl Tree {
    pub(super) fn new(source: Source, clocks: Clocks, drops: Arc<Drops>) -> Self {
        Tree {
            made_from: source.clone(),
            source,
            clocks,
            drops,
            open: BTreeMap::new(),
            next: 0,
            anchors: VecDeque::new(),
        }
    }

    /// An empty one of the same making.
    pub(super) fn renewed(&self) -> Tree {
        Tree::new(self.made_from.clone(), Arc::clone(&self.clocks), Arc::clone(&self.drops))
    }

    /// Finds the provider of that start of a node, where each has its own.
    pub(super) fn belong_to(&mut self, who: &Identity) {
        if let Source::ByIdentity(provider) = &self.made_from {
            self.source = provider(who).map_or(Source::Nowhere, Source::Given);
        }
    }

    /// Opens the first span of a trace.
    pub(super) fn root(&mut self, plan: Plan) -> Key {
        let anchor = (self.clocks)();
        let tracer = self.source.tracer();
        self.start(plan, None, TraceContext::NONE, tracer, anchor)
    }

    /// Opens a span whose parent is on another node. Without a valid context it is a root that says so.
    pub(super) fn serve(&mut self, remote: TraceContext, mut plan: Plan) -> Key {
        if !remote.is_valid() {
            plan.attributes.push(keys::code("raft.trace.context", "absent"));
            return self.root(plan);
        }
        let known = self.anchors.iter().find(|(trace, _)| *trace == remote.trace_id).map(|(_, anchor)| *anchor);
        let anchor = known.unwrap_or_else(|| (self.clocks)());
        let tracer = self.source.tracer();
        self.start(plan, None, remote, tracer, anchor)
    }

    /// Opens what stands for a trace that is left out: nothing below it is recorded.
    pub(super) fn mute(&mut self, at: Time) -> Key {
        Drops::count(&self.drops.spans);
        self.mute_uncounted(at)
    }

    /// As [`Tree::mute`], for an election.
    pub(super) fn mute_election(&mut self, at: Time) -> Key {
        Drops::count(&self.drops.elections);
        self.mute_uncounted(at)
    }

    fn mute_uncounted(&mut self, at: Time) -> Key {
        let tracer = Arc::new(BoxedTracer::new(Box::new(NoopTracer::new())));
        let anchor = Anchor { wall: SystemTime::UNIX_EPOCH, at: Time::ZERO };
        self.insert(Open::silent(at, None, TraceContext::NONE, tracer, anchor))
    }

    /// Whether spans of that trace were recorded here lately.
    pub(super) fn knows(&self, context: TraceContext) -> bool {
        context.is_valid() && self.anchors.iter().any(|(trace, _)| *trace == context.trace_id)
    }

    /// Opens a span below another; a root where that one has ended.
    pub(super) fn child(&mut self, parent: Key, mut plan: Plan) -> Key {
        let Some(above) = self.open.get_mut(&parent) else { return self.root(plan) };
        above.last = above.last.max(plan.at);
        let (tracer, anchor) = (Arc::clone(&above.tracer), above.anchor);
        if above.span.is_none() {
            let logged = above.logged;
            plan.attributes.clear();
            return self.insert(Open::silent(plan.at, Some(parent), logged, tracer, anchor));
        }
        let context = above.context;
        self.start(plan, Some(parent), context, tracer, anchor)
    }

    fn start(
        &mut self,
        plan: Plan,
        parent: Option<Key>,
        above: TraceContext,
        tracer: Arc<BoxedTracer>,
        anchor: Anchor,
    ) -> Key {
        let mut attributes = plan.attributes;
        let mut links = Vec::with_capacity(plan.links.len());
        for (relation, to) in plan.links {
            attributes.push(KeyValue::new(keys::mirror(relation), format!("{:032x}", to.trace_id)));
            links.push(Link::new(span_context(to, true), vec![keys::code(keys::LINK_TYPE, relation)], 0));
        }
        let builder = tracer
            .span_builder(plan.name)
            .with_kind(plan.kind)
            .with_start_time(anchor.wall(plan.at))
            .with_attributes(attributes)
            .with_links(links);
        // Never `Context::current()`: an election is no child of whatever the application does just now.
        let around = match above.is_valid() {
            true => Context::new().with_remote_span_context(span_context(above, parent.is_none())),
            false => Context::new(),
        };
        let span = tracer.build_with_context(builder, &around);
        let context = trace_context(span.span_context());
        // Without a provider the API echoes the parent: that is no span, and no context to hand on.
        let alive = context.is_valid() && context.span_id != above.span_id;
        if alive {
            self.remember(context.trace_id, anchor);
        }
        self.insert(Open {
            span: alive.then_some(span),
            context: if alive { context } else { TraceContext::NONE },
            logged: if alive { context } else { above },
            tracer,
            anchor,
            start: plan.at,
            last: plan.at,
            parent,
            cut: plan.cut,
            events: 0,
            events_dropped: 0,
        })
    }

    fn insert(&mut self, open: Open) -> Key {
        if let Some(oldest) = self.open.keys().next().copied().filter(|_| self.open.len() >= OPEN_MAX) {
            Drops::count(&self.drops.spans);
            self.abandon(oldest);
        }
        self.next += 1;
        let key = Key(self.next);
        self.open.insert(key, open);
        key
    }

    fn remember(&mut self, trace: u128, anchor: Anchor) {
        if self.anchors.iter().any(|(known, _)| *known == trace) {
            return;
        }
        if self.anchors.len() >= ANCHORS_MAX {
            self.anchors.pop_front();
        }
        self.anchors.push_back((trace, anchor));
    }

    /// Whether the span is open.
    pub(super) fn is_open(&self, key: Key) -> bool {
        self.open.contains_key(&key)
    }

    /// Whether anything is open below the span.
    pub(super) fn has_children(&self, key: Key) -> bool {
        self.open.values().any(|open| open.parent == Some(key))
    }

    /// The context that a request below this span carries; none where nobody records.
    pub(super) fn context(&self, key: Key) -> TraceContext {
        self.open.get(&key).map_or(TraceContext::NONE, |open| open.context)
    }

    /// The context that a log line names.
    pub(super) fn logged(&self, key: Key) -> TraceContext {
        self.open.get(&key).map_or(TraceContext::NONE, |open| open.logged)
    }

    /// A point in time as the span's anchor places it, in seconds since 1970.
    pub(super) fn wall_seconds(&self, key: Key, at: Time) -> Option<f64> {
        let wall = self.open.get(&key)?.anchor.wall(at);
        wall.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
    }

    /// Adds an attribute. Each may be set once only: twice is exported twice.
    pub(super) fn set(&mut self, key: Key, attribute: KeyValue) {
        if let Some(span) = self.recording(key) {
            span.set_attribute(attribute);
        }
    }

    /// Gives the span its verdict's name.
    pub(super) fn rename(&mut self, key: Key, name: &'static str) {
        if let Some(span) = self.recording(key) {
            span.update_name(name);
        }
    }

    /// Adds an event.
    pub(super) fn event(&mut self, key: Key, name: &'static str, at: Time, attributes: Vec<KeyValue>) {
        let Some(open) = self.open.get_mut(&key) else { return };
        let at = open.last.max(at);
        open.last = at;
        if open.events >= EVENTS_MAX {
            open.events_dropped += 1;
            Drops::count(&self.drops.events);
            return;
        }
        open.events += 1;
        if let Some(span) = &mut open.span {
            span.add_event_with_timestamp(name, open.anchor.wall(at), attributes);
        }
    }

    /// Adds a link to a span that is open.
    pub(super) fn link(&mut self, key: Key, relation: &'static str, to: TraceContext) {
        if let Some(span) = self.recording(key).filter(|_| to.is_valid()) {
            span.add_link(span_context(to, true), vec![keys::code(keys::LINK_TYPE, relation)]);
            span.set_attribute(KeyValue::new(keys::mirror(relation), format!("{:032x}", to.trace_id)));
        }
    }

    /// Marks the span as failed. For calls and writes only: a lost election is an outcome.
    pub(super) fn fail(&mut self, key: Key, error: &'static str, description: String) {
        if let Some(span) = self.recording(key) {
            span.set_attribute(keys::code(keys::ERROR_TYPE, error));
            span.set_status(Status::error(description));
        }
    }

    fn recording(&mut self, key: Key) -> Option<&mut BoxedSpan> {
        self.open.get_mut(&key).and_then(|open| open.span.as_mut())
    }

    /// Ends the span, and first its children: what is still open then says so, and stretches nothing.
    pub(super) fn end(&mut self, key: Key, at: Time) {
        self.end_children(key, at);
        let Some(mut open) = self.open.remove(&key) else { return };
        // What took no time at all on the node's clock still lasts a nanosecond: Jaeger calls it a negative duration, and
        // warns, otherwise.
        let at = open.last.max(at).max(open.start + Duration::from_nanos(1));
        if let Some(above) = open.parent.and_then(|parent| self.open.get_mut(&parent)) {
            above.last = above.last.max(at);
        }
        let Some(span) = &mut open.span else { return };
        if open.events_dropped > 0 {
            span.set_attribute(keys::count("raft.events.dropped", open.events_dropped));
        }
        span.end_with_timestamp(open.anchor.wall(at));
    }

    /// Ends what is open below the span.
    pub(super) fn end_children(&mut self, key: Key, at: Time) {
        let below: Vec<Key> = self.open.iter().filter(|(_, o)| o.parent == Some(key)).map(|(k, _)| *k).collect();
        for child in below {
            self.cut(child, at);
        }
    }

    /// Ends the span before what it waited for has come, and lets it say so.
    pub(super) fn cut(&mut self, key: Key, at: Time) {
        if let Some(cut) = self.open.get_mut(&key).and_then(|open| open.cut.take()) {
            self.set(key, cut);
        }
        self.end(key, at);
    }

    /// Gives up what had no news for long: something was lost, and memory is not.
    pub(super) fn sweep(&mut self, now: Time) {
        let stale: Vec<Key> = self.open.iter().filter(|(_, o)| now.since(o.last) > STALE).map(|(k, _)| *k).collect();
        for key in stale {
            self.abandon(key);
        }
    }

    fn abandon(&mut self, key: Key) {
        let last = self.open.get(&key).map_or(Time::ZERO, |open| open.last);
        self.set(key, keys::flag("raft.span.abandoned", true));
        self.end(key, last);
    }

    /// Ends everything: the node has left.
    pub(super) fn end_all(&mut self, at: Time) {
        while let Some(key) = self.open.iter().find(|(_, open)| open.parent.is_none()).map(|(key, _)| *key) {
            self.end(key, at);
        }
        self.open.clear();
    }

    /// Ends everything at its last news: the node is gone, nobody knows when.
    pub(super) fn abandon_all(&mut self) {
        while let Some(key) = self.open.iter().find(|(_, open)| open.parent.is_none()).map(|(key, _)| *key) {
            self.abandon(key);
        }
        self.open.clear();
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("source", &self.source).field("open", &self.open.len()).finish_non_exhaustive()
    }
}

pub(in crate::telemetry) fn span_context(context: TraceContext, remote: bool) -> SpanContext {
    SpanContext::new(
        TraceId::from(context.trace_id),
        SpanId::from(context.span_id),
        TraceFlags::new(context.flags),
        remote,
        TraceState::default(),
    )
}

pub(in crate::telemetry) fn trace_context(context: &SpanContext) -> TraceContext {
    TraceContext {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API without a provider gives a span the context of its parent: that of another node.
    #[test]
    fn a_span_that_nobody_records_has_no_context_of_its_own() {
        let clocks: Clocks = Arc::new(|| Anchor { wall: SystemTime::UNIX_EPOCH, at: Time::ZERO });
        let mut tree = Tree::new(Source::Nowhere, clocks, Arc::default());
        let plan = || Plan {
            name: "raft.vote",
            kind: SpanKind::Server,
            at: Time(1),
            attributes: Vec::new(),
            links: Vec::new(),
            cut: None,
        };
        let remote = TraceContext { trace_id: 1, span_id: 2, flags: 1 };
        let served = tree.serve(remote, plan());
        assert_eq!(tree.context(served), TraceContext::NONE);
        assert_eq!(tree.logged(served), remote, "a log line may still name the caller");
        let below = tree.child(served, plan());
        assert_eq!((tree.context(below), tree.logged(below)), (TraceContext::NONE, remote));
        tree.end(served, Time(2));
        assert!(!tree.is_open(served) && !tree.is_open(below));
    }
}
