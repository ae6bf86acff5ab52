//! The log lines, and the ids by which they find their trace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Once;

use hustings::event::{Alarm, EventKind, Outcome};
use hustings::telemetry::{OPENTELEMETRY_VERSION, Spans, TARGET};
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing::subscriber::set_global_default;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

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
        set_global_default(tracing_subscriber::registry().with(Listener)).expect("no other subscriber in these tests");
    });
}

pub(crate) fn told(play: impl FnOnce()) -> Lines {
    listen();
    HEARD.set(Some(Lines::default()));
    play();
    HEARD.take().expect("set above")
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
