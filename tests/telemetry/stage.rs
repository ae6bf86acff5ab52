//! Nodes that say what happened to them, in virtual time, and the spans that come of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hustings::clock::Anchor;
use hustings::event::{CallId, Event, EventKind, Role, Trigger, Waited};
use hustings::message::{Holder, Identity, Reason, RequestId, RequestKind, Verdict};
use hustings::telemetry::Spans;
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, Time, TraceContext};
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

use super::audit::Audit;

/// Where 1970 lies on the clock of the stage.
pub(crate) const WALL: u64 = 1_800_000_000;

/// What was exported, by all nodes.
#[derive(Debug, Clone)]
pub(crate) struct Exported {
    spans: Spanned,
    resource: Arc<Mutex<Resource>>,
    /// Who gets a copy: whoever collected on the thread that made this.
    copied: Option<Spanned>,
}

/// Spans that several keep.
pub(crate) type Spanned = Arc<Mutex<Vec<SpanData>>>;

thread_local! {
    /// Gets a copy of everything that is exported by what this thread sets up.
    pub(crate) static COLLECTED: RefCell<Option<Spanned>> = const { RefCell::new(None) };
}

impl Default for Exported {
    fn default() -> Exported {
        let resource = Arc::new(Mutex::new(Resource::builder_empty().build()));
        Exported { spans: Spanned::default(), resource, copied: COLLECTED.with_borrow(Clone::clone) }
    }
}

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if let Some(copied) = &self.copied {
            copied.lock().unwrap().extend(batch.iter().cloned());
        }
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.resource.lock().unwrap() = resource.clone();
    }
}

impl Exported {
    pub(crate) fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder().with_simple_exporter(self.clone()).build()
    }

    pub(crate) fn all(&self) -> Vec<SpanData> {
        self.spans.lock().unwrap().clone()
    }

    /// That of the provider that was made last.
    pub(crate) fn resource(&self) -> Resource {
        self.resource.lock().unwrap().clone()
    }

    /// The spans with that name, by start.
    pub(crate) fn named(&self, name: &str) -> Vec<SpanData> {
        let mut found: Vec<_> = self.all().into_iter().filter(|span| span.name == name).collect();
        found.sort_by_key(|span| span.start_time);
        found
    }

    /// The one span with that name.
    pub(crate) fn one(&self, name: &str) -> SpanData {
        let mut found = self.named(name);
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        found.remove(0)
    }

    /// The one span with that name on that node.
    pub(crate) fn on(&self, node: &str, name: &str) -> SpanData {
        let mut found = self.named(name);
        found.retain(|span| text(span, "raft.node.id") == node);
        assert_eq!(found.len(), 1, "{name} on {node}: {found:#?}");
        found.remove(0)
    }

    /// The spans below that one, by start.
    pub(crate) fn below(&self, parent: &SpanData) -> Vec<SpanData> {
        let mut found = self.all();
        found.retain(|span| span.parent_span_id == parent.span_context.span_id());
        found.sort_by_key(|span| span.start_time);
        found
    }

    /// A trace as an indented list of `node: name`.
    pub(crate) fn tree(&self, root: &SpanData) -> String {
        let mut lines = Vec::new();
        self.branch(root, 0, &mut lines);
        lines.join("\n")
    }

    fn branch(&self, span: &SpanData, depth: usize, lines: &mut Vec<String>) {
        lines.push(format!("{}{}: {}", "  ".repeat(depth), text(span, "raft.node.id"), span.name));
        for child in self.below(span) {
            self.branch(&child, depth + 1, lines);
        }
    }

    /// What must hold of every span, whatever happened.
    pub(crate) fn assert_sound(&self) {
        let spans = self.all();
        Audit::of(&spans).assert_known();
        for span in &spans {
            assert!(span.end_time > span.start_time, "{} takes no time, which Jaeger warns of", span.name);
            assert_eq!(span.dropped_attributes_count + span.events.dropped_count + span.links.dropped_count, 0);
            let keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
            assert_once(&span.name, &keys);
            assert!(matches!(attribute(span, "raft.event.sequence"), Some(Value::I64(_))), "{}: {span:#?}", span.name);
            assert_eq!(
                matches!(span.status, Status::Error { .. }),
                attribute(span, "error.type").is_some(),
                "{}: an error names its type, and nothing else is one",
                span.name
            );
            for event in &span.events.events {
                let keys: Vec<_> = event.attributes.iter().map(|a| a.key.as_str()).collect();
                assert_once(&event.name, &keys);
                assert!(event.attributes.iter().any(|a| a.key.as_str() == "raft.event.sequence"), "{}", event.name);
                assert!(event.timestamp >= span.start_time && event.timestamp <= span.end_time, "{}", event.name);
            }
            for link in &span.links.links {
                let relation = link.attributes.iter().find(|a| a.key.as_str() == "raft.link.type").expect("a type");
                let mirror = text(span, &format!("raft.link.{}", relation.value));
                assert_eq!(mirror, link.span_context.trace_id().to_string());
                assert_ne!(link.span_context.trace_id(), span.span_context.trace_id(), "links join traces");
            }
            if span.parent_span_id == SpanId::INVALID {
                continue;
            }
            let same = |other: &&SpanData| other.span_context.span_id() == span.parent_span_id;
            let parent = spans.iter().find(same).unwrap_or_else(|| panic!("{} has lost its parent", span.name));
            assert_eq!(parent.span_context.trace_id(), span.span_context.trace_id());
            assert!(parent.start_time <= span.start_time, "{} starts before {}", span.name, parent.name);
            if span.span_kind != SpanKind::Server {
                assert!(parent.end_time >= span.end_time, "{} ends after {}", span.name, parent.name);
            }
        }
    }
}

fn assert_once(name: &str, keys: &[&str]) {
    let distinct: BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{name} says something twice: {keys:?}");
}

pub(crate) fn attribute<'a>(span: &'a SpanData, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| &attribute.value)
}

pub(crate) fn text(span: &SpanData, key: &str) -> String {
    attribute(span, key).unwrap_or_else(|| panic!("{} lacks {key}: {:?}", span.name, span.attributes)).to_string()
}

/// An integer, exported as one.
pub(crate) fn number(span: &SpanData, key: &str) -> i64 {
    match attribute(span, key) {
        Some(Value::I64(value)) => *value,
        other => panic!("{}: {key} is {other:?}", span.name),
    }
}

/// A duration, exported as f64 seconds.
pub(crate) fn seconds(span: &SpanData, key: &str) -> f64 {
    match attribute(span, key) {
        Some(Value::F64(value)) => *value,
        other => panic!("{}: {key} is {other:?}", span.name),
    }
}

/// The links as `type` and span.
pub(crate) fn links(span: &SpanData) -> Vec<(String, SpanId)> {
    let relation = |link: &opentelemetry::trace::Link| link.attributes[0].value.to_string();
    span.links.links.iter().map(|link| (relation(link), link.span_context.span_id())).collect()
}

pub(crate) fn events(span: &SpanData) -> Vec<String> {
    span.events.events.iter().map(|event| event.name.to_string()).collect()
}

/// When, in microseconds of the stage.
pub(crate) fn micros(wall: SystemTime) -> u128 {
    (wall.duration_since(SystemTime::UNIX_EPOCH).unwrap() - Duration::from_secs(WALL)).as_micros()
}

pub(crate) fn anchor() -> Anchor {
    Anchor { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(WALL), at: Time::ZERO }
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

pub(crate) fn main_group() -> GroupId {
    GroupId::default()
}

pub(crate) fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A node that tells what happens to it.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) spans: Spans,
    pub(crate) who: Arc<Identity>,
    pub(crate) term: u64,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    pub(crate) voted_for: Option<NodeId>,
    now: u64,
    sequence: u64,
    requests: u64,
    calls: u64,
}

impl Player {
    pub(crate) fn new(name: &str, exported: &Exported) -> Player {
        let addresses = [("a", "http://10.0.0.1:7300"), ("b", "http://10.0.0.2:7300"), ("c", "c.local:7300")];
        let builder = Spans::builder().provider(exported.provider()).anchor(anchor).peers(addresses);
        Player::with(name, builder.rpc_system("grpc").build())
    }

    pub(crate) fn with(name: &str, spans: Spans) -> Player {
        let who = Identity {
            version: 1,
            cluster: ClusterId::new("planner").unwrap(),
            founding: Founding(7),
            group: main_group(),
            node: node(name),
            disk: DiskId(1),
            incarnation: Incarnation(3),
            timing: 0,
            priority: 0,
            amnesiac: false,
        };
        Player {
            spans,
            who: Arc::new(who),
            term: 4,
            role: Role::Follower,
            leader: None,
            voted_for: None,
            now: 0,
            sequence: 0,
            requests: 0,
            calls: 100,
        }
    }

    /// Something happened, so many microseconds after the stage opened.
    pub(crate) fn tell(&mut self, at: u64, kind: EventKind) {
        self.now = at;
        self.sequence += 1;
        self.spans.record(&Event {
            at: Time::ZERO + us(at),
            sequence: self.sequence,
            who: Arc::clone(&self.who),
            term: Term(self.term),
            role: self.role,
            leader: self.leader.clone(),
            voted_for: self.voted_for.clone(),
            kind,
        });
    }

    pub(crate) fn become_role(&mut self, at: u64, role: Role) {
        let from = std::mem::replace(&mut self.role, role);
        self.tell(at, EventKind::RoleChanged { from });
    }

    pub(crate) fn advance_term(&mut self, at: u64, term: u64) {
        let from = Term(std::mem::replace(&mut self.term, term));
        self.tell(at, EventKind::TermAdvanced { from });
    }

    pub(crate) fn stand(&mut self, at: u64, attempt: u64) {
        let waited = Waited { min: us(150_000), max: us(300_000), drawn: us(153_000), elapsed: us(153_200) };
        let kind = EventKind::ElectionStarted {
            attempt,
            trigger: Trigger::ElectionTimeout,
            waited: Some(waited),
            previous: Some((node("z"), Term(self.term))),
            last_contact: Some(Time::ZERO + us(at.saturating_sub(153_200))),
            call: None,
        };
        self.tell(at, kind);
        self.become_role(at, Role::PreCandidate);
    }

    pub(crate) fn start_round(&mut self, at: u64, pre_vote: bool, round: u64, asked_term: u64) {
        let last = Some(hustings::record::RecordId { term: Term(4), index: 9 });
        let asked_term = Term(asked_term);
        self.tell(at, EventKind::RoundStarted { pre_vote, round, asked_term, last, quorum: 2, voters: 3 });
    }

    pub(crate) fn ask(&mut self, at: u64, to: &str, kind: RequestKind, asked_term: u64) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.tell(at, EventKind::RequestSent { id, to: node(to), kind, asked_term: Term(asked_term) });
        id
    }

    pub(crate) fn context(&self, id: RequestId) -> TraceContext {
        self.spans.request(&main_group(), id)
    }

    pub(crate) fn receive(
        &mut self,
        at: u64,
        from: &Player,
        id: RequestId,
        kind: RequestKind,
        asked_term: u64,
    ) -> CallId {
        self.receive_with(at, from, id, kind, asked_term, from.context(id))
    }

    pub(crate) fn receive_with(
        &mut self,
        at: u64,
        from: &Player,
        id: RequestId,
        kind: RequestKind,
        asked_term: u64,
        context: TraceContext,
    ) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let from = Holder { node: from.who.node.clone(), disk: DiskId(1), incarnation: Incarnation(3) };
        self.tell(at, EventKind::RequestReceived { call, id, from, kind, asked_term: Term(asked_term), context });
        call
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn answer(
        &mut self,
        at: u64,
        call: CallId,
        id: RequestId,
        to: &str,
        kind: RequestKind,
        verdict: Verdict,
    ) {
        let kind = EventKind::RequestAnswered {
            call,
            id,
            to: node(to),
            kind,
            asked_term: Term(5),
            verdict,
            remainder: us(1_500),
            durable: None,
        };
        self.tell(at, kind);
    }

    pub(crate) fn hear(&mut self, at: u64, from: &str, id: RequestId, kind: RequestKind, verdict: Verdict) {
        let kind = EventKind::ReplyReceived {
            id,
            from: node(from),
            kind,
            verdict,
            reply_term: Term(self.term),
            remainder: us(1_500),
            worked: us(400),
            late: false,
        };
        self.tell(at, kind);
    }

    pub(crate) fn end_round(
        &mut self,
        at: u64,
        pre_vote: bool,
        round: u64,
        votes: (usize, usize),
        unanswered: &[&str],
    ) {
        let unanswered = unanswered.iter().map(|name| node(name)).collect();
        let (granted, denied) = votes;
        self.tell(at, EventKind::RoundEnded { pre_vote, round, won: granted >= 2, granted, denied, unanswered });
    }
}

pub(crate) fn refused(reason: Reason) -> Verdict {
    Verdict::Refused(reason)
}

/// Longer than anything here may take; a failure, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until there is what is looked for.
pub(crate) async fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
