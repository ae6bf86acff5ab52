//! The log lines, and the ids by which they find their trace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Once;

use hustings::event::{Alarm, EventKind, Outcome};
use hustings::telemetry::{OPENTELEMETRY_VERSION, Spans, TARGET};
use opentelemetry_sdk::trace::SpanData;
use serde_json::Value as Json;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing::subscriber::set_global_default;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::elections::elect;
use super::stage::*;

#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) level: Option<Level>,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}

#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

thread_local! {
    static HEARD: RefCell<Option<Lines>> = const { RefCell::new(None) };
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where the JSON goes, a thread's own.
struct Paper;

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps each thread's lines apart. One subscriber serves the whole process: with one of a single thread, a call site
/// that another thread reaches first is switched off for everybody.
pub(crate) struct Listener;

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let name = event.metadata().name().to_owned();
        let mut line = Line { name, level: Some(*event.metadata().level()), ..Line::default() };
        event.record(&mut line);
        HEARD.with_borrow_mut(|heard| heard.iter_mut().for_each(|lines| lines.0.push(line.clone())));
    }
}

impl Lines {
    pub(crate) fn named(&self, name: &str) -> Vec<Line> {
        self.0.iter().filter(|line| line.name == name).cloned().collect()
    }
}

/// One subscriber for the whole process.
pub(crate) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(|| Paper);
        let subscriber = tracing_subscriber::registry().with(Listener).with(json);
        set_global_default(subscriber).expect("no other subscriber in these tests");
    });
}

pub(crate) fn told(play: impl FnOnce()) -> Lines {
    listen();
    HEARD.set(Some(Lines::default()));
    WRITTEN.take();
    play();
    HEARD.take().expect("set above")
}

/// The same as a log file has it: a line of JSON each.
fn written(play: impl FnOnce()) -> Vec<Json> {
    told(play);
    let text = String::from_utf8(WRITTEN.take()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines that name that span.
fn of<'a>(span: &SpanData, lines: &'a [Json]) -> Vec<&'a Json> {
    let (trace, id) = (span.span_context.trace_id().to_string(), span.span_context.span_id().to_string());
    lines.iter().filter(|line| line["trace_id"] == trace && line["span_id"] == id).collect()
}

fn stand(a: &mut Player) {
    a.stand(10, 1);
    a.tell(20, EventKind::Alarmed { alarm: Alarm::WrongCluster, about: Some(node("x")) });
    a.tell(30, EventKind::ElectionEnded { outcome: Outcome::Cancelled, rounds: 1, retry_in: None });
    a.stand(40, 2);
}

#[test]
fn a_line_names_its_span_and_says_what_happened() {
    let exported = Exported::default();
    let lines = told(|| stand(&mut Player::new("a", &exported)));
    let started = &lines.named("raft.election.started")[0];
    let root = &exported.named("raft.election")[0];
    assert_eq!(started.fields["trace_id"], root.span_context.trace_id().to_string());
    assert_eq!(started.fields["span_id"], root.span_context.span_id().to_string());
    assert_eq!((started.fields["node"].as_str(), started.fields["term"].as_str()), ("a", "4"));
    assert_eq!(started.level, Some(Level::INFO));
    assert!(started.fields["message"].starts_with("campaign 1 (election timeout"), "{started:?}");
    assert_eq!(lines.named("raft.alarm.raised")[0].level, Some(Level::WARN));
    assert!(lines.named("raft.telemetry.provider_missing").is_empty());
}

#[test]
fn without_a_provider_one_line_says_which_version_it_would_take() {
    let lines = told(|| stand(&mut Player::with("a", Spans::builder().anchor(anchor).build())));
    let missing = lines.named("raft.telemetry.provider_missing");
    assert_eq!(missing.len(), 1, "two elections, one line");
    assert_eq!(missing[0].fields["opentelemetry"], OPENTELEMETRY_VERSION);
    let started = lines.named("raft.election.started");
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|line| !line.fields.contains_key("trace_id")), "no ids rather than zeros");
}

/// What a person on call does: from a refusal in the viewer to the voter's log, and from a line of a log to the trace.
#[test]
fn the_line_of_a_vote_is_found_from_its_span_and_the_span_from_the_line() {
    let exported = Exported::default();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Player::new(name, &exported));
    let lines = written(|| elect(&mut a, &mut b, &mut c));

    let wanted = [("b", "raft.vote.grant", "ok"), ("c", "raft.pre_vote.deny", "leader_alive")];
    for (voter, span, reason) in wanted {
        let span = exported.on(voter, span);
        let answers: Vec<_> =
            of(&span, &lines).into_iter().filter(|line| line["event"] == "raft.request.answered").collect();
        let [line] = answers[..] else { panic!("{answers:?}") };
        let said = ["node", "peer", "reason", "level", "target"].map(|key| line[key].as_str().unwrap_or_default());
        assert_eq!(said, [voter, "a", reason, "INFO", TARGET], "{line}");
        assert!(line["term"].is_i64() && line["message"].is_string(), "{line}");
    }

    // Back: each line leads to one span, of that node.
    drop((a, b, c));
    let spans = exported.all();
    let traced: Vec<_> = lines.iter().filter(|line| !line["trace_id"].is_null()).collect();
    assert!(traced.len() > 20, "{} of {} lines have a trace", traced.len(), lines.len());
    for line in traced {
        let named: Vec<_> = spans.iter().filter(|span| !of(span, std::slice::from_ref(line)).is_empty()).collect();
        let [span] = named[..] else { panic!("{line} leads to {named:?}") };
        assert_eq!(line["node"], text(span, "raft.node.id"));
    }
}
