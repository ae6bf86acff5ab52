//! What a person is told without asking: log lines without telemetry, and what lasts with its cause.
#![cfg(feature = "otlp")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::TcpListener;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::{ConditionKind, Elector, ElectorBuilder, PeerCause};
use hustings::event::Alarm;
use hustings::observer::log::TARGET;
use hustings::telemetry::Spans;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::NodeId;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["a", "b", "c"];

// ---- a listener that keeps every line, told apart by its group ------------------------------------------------------------

#[derive(Debug, Clone)]
struct Line {
    level: Level,
    fields: BTreeMap<String, String>,
}

impl Line {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}

static HEARD: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Listener;

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET {
            let mut line = Line { level: *event.metadata().level(), fields: BTreeMap::new() };
            event.record(&mut line);
            HEARD.lock().unwrap().push(line);
        }
    }
}

fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Listener);
        tracing::subscriber::set_global_default(subscriber).expect("no other subscriber in these tests");
    });
}

fn heard(group: &str, node: &str, name: &str) -> Vec<Line> {
    let lines = HEARD.lock().unwrap();
    let wanted = |line: &&Line| [("group", group), ("node", node)].iter().all(|(key, value)| line.field(key) == *value);
    lines.iter().filter(wanted).filter(|line| name.is_empty() || line.field("event") == name).cloned().collect()
}

// ---- members ----------------------------------------------------------------------------------------------------------

fn timing() -> Timing {
    Timing::of(Duration::from_millis(100))
}

fn in_memory(network: &MemoryNetwork, group: &str, name: &str) -> ElectorBuilder {
    let transport = network.transport(&NodeId::new(name).expect("a name"));
    let builder = Elector::builder().cluster("conditions").group(group).node(name).members(NAMES);
    builder.volatile().timing(timing()).transport(transport)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not seen: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Nobody has to ask for the log, and whoever asks for traces gets each line once.
#[tokio::test]
async fn lines_need_no_telemetry_and_are_written_once_with_it() {
    listen();
    let network = MemoryNetwork::new(1);
    let plain = in_memory(&network, "lines", "a").start().await.expect("it starts");
    let traced = in_memory(&network, "lines", "b").telemetry(Spans::new()).start().await.expect("it starts");
    until("both know who leads", || [&plain, &traced].iter().all(|elector| elector.view().leader.is_some())).await;
    for node in ["a", "b"] {
        let started = heard("lines", node, "raft.started");
        assert_eq!(started.len(), 1, "{started:?}");
        assert_eq!(started[0].level, Level::INFO);
    }
    plain.shutdown().await;
    traced.shutdown().await;
    assert_eq!(heard("lines", "a", "raft.stopped").len(), 1);
}

/// Two of three are gone: one WARN that says what is with each, and no flood of lines while it lasts.
#[tokio::test]
async fn a_quorum_that_cannot_be_reached_is_one_warning_and_no_flood() {
    listen();
    let network = MemoryNetwork::new(2);
    let mut electors = Vec::new();
    for name in NAMES {
        electors.push(in_memory(&network, "quorum", name).start().await.expect("it starts"));
    }
    until("all know who leads", || electors.iter().all(|elector| elector.view().leader.is_some())).await;
    until("one waits for work", || electors.iter().any(|elector| !elector.conditions().is_empty())).await;
    for elector in &electors[1..] {
        elector.shutdown().await;
    }
    let a = &electors[0];
    let no_quorum = || a.conditions().into_iter().find(|condition| condition.kind == ConditionKind::NoQuorum);
    until("no quorum", || no_quorum().is_some()).await;
    let condition = no_quorum().expect("it lasts");
    assert_eq!(condition.peers.len(), 2, "{condition}");
    assert!(condition.peers.iter().all(|peer| peer.cause != PeerCause::Untried), "{condition}");

    // From here on at the most what other causes bring: a dozen campaigns would be seventy lines.
    let campaigns = || heard("quorum", "a", "raft.election.started").len();
    let (before, lines) = (campaigns(), heard("quorum", "a", "").len());
    until("a dozen more campaigns", || campaigns() > before + 12).await;
    let later = heard("quorum", "a", "").split_off(lines);
    let loud: Vec<_> = later.iter().filter(|line| line.level <= Level::INFO).collect();
    assert!(loud.len() <= 6, "{loud:#?}");
    let told = heard("quorum", "a", "raft.condition");
    let told: Vec<_> = told.iter().filter(|line| line.field("condition") == "no_quorum").collect();
    assert_eq!(told.iter().filter(|line| line.field("stage") == "began").count(), 1, "{told:#?}");
    assert_eq!(told[0].level, Level::WARN);
    assert!(told[0].field("message").contains("b: ") && told[0].field("message").contains("c: "), "{told:?}");

    // One comes back, and that is said, too.
    let b = in_memory(&network, "quorum", "b").start().await.expect("it starts");
    until("the condition is over", || no_quorum().is_none()).await;
    let over = heard("quorum", "a", "raft.condition");
    let over: Vec<_> = over.iter().filter(|line| line.field("stage") == "ended").collect();
    assert!(over.iter().any(|line| line.field("condition") == "no_quorum" && line.level == Level::INFO), "{over:?}");
    b.shutdown().await;
    a.shutdown().await;
}

/// At the first start each member that is missing is named, with its address and the cause.
#[tokio::test]
async fn who_is_waited_for_is_named_with_the_cause() {
    listen();
    let free = || TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").to_string();
    let (own, gone) = (free(), free());
    let directory = tempfile::tempdir().expect("a directory");
    let a = Elector::builder()
        .cluster("conditions")
        .group("waits")
        .node("a")
        .listen(own.clone())
        .peers([("a", own), ("b", gone.clone()), ("c", "no-such-host.invalid:7300".to_owned())])
        .insecure()
        .data_dir(directory.path())
        .timing(timing())
        .start()
        .await
        .expect("it starts");
    let cause = |name: &str| {
        let waits = a.conditions().into_iter().find(|condition| condition.kind == ConditionKind::WaitsForMembers);
        waits?.peers.into_iter().find(|peer| peer.node.as_str() == name)
    };
    until("it waits", || cause("b").is_some()).await;
    let b = cause("b").expect("it lasts");
    assert_eq!((b.address.as_deref(), &b.cause), (Some(gone.as_str()), &PeerCause::Refused));
    // How long a resolver takes is its own affair: the line that is repeated says it.
    until("the name is known not to resolve", || cause("c").is_some_and(|c| c.cause == PeerCause::Unresolved)).await;
    let told = heard("waits", "a", "raft.condition");
    assert_eq!((told[0].level, told[0].field("condition")), (Level::WARN, "waits_for_members"));
    assert!(told[0].field("message").contains(&format!("b ({gone}): connection refused")), "{told:?}");
    a.shutdown().await;
}

/// The page has a row for every condition and for every alarm, and for nothing else.
#[test]
fn the_page_lists_what_is_told_and_nothing_else() {
    let page = include_str!("../src/observer/conditions.md");
    let mut tables: Vec<Vec<&str>> = Vec::new();
    for line in page.lines() {
        if line.starts_with("| condition") || line.starts_with("| alarm") {
            tables.push(Vec::new());
        } else if let Some((code, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` | ")) {
            let cells: Vec<&str> = rest.trim_end_matches('|').split(" | ").collect();
            assert!(cells.len() == 2 && cells.iter().all(|cell| cell.trim().len() > 5), "says what to do: {line}");
            tables.last_mut().expect("a table").push(code);
        }
    }
    let sorted = |codes: Vec<&str>| codes.into_iter().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let [conditions, alarms] = tables.try_into().expect("two tables");
    assert_eq!(sorted(conditions), sorted(ConditionKind::ALL.iter().map(|kind| kind.code()).collect()));
    assert_eq!(sorted(alarms), sorted(Alarm::ALL.iter().map(|alarm| alarm.code()).collect()));
}
