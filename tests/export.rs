//! Exporting for real: by gRPC and by HTTP, in the clear and by TLS, to collectors that take it, and to those that do not.

#![cfg(all(feature = "otlp-tls", unix))]

#[path = "export/certificates.rs"]
mod certificates;
#[path = "export/crew.rs"]
mod crew;
#[path = "export/failing.rs"]
mod failing;
#[path = "export/log.rs"]
mod log;
#[path = "export/measure.rs"]
mod measure;
#[path = "export/receiver.rs"]
mod receiver;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hustings::telemetry::{Init, InitError, init};

use certificates::Authority;
use crew::Crew;
use failing::{Collector, Failure};
use receiver::{Receiver, Refusal};

/// Longer than anything here may take; a failure, not a measure.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Grpc,
    Http,
}

fn to(address: &str, by: By) -> Init {
    let init = Init::new("planner").endpoint(address).without_subscriber();
    if by == By::Http { init.over_http() } else { init }
}

/// Waits for a condition, and says which one did not come.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "not in {LIMIT:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// An election by three members arrives whole, and so do its metrics.
fn assert_arrives(receiver: &Receiver, init_with: Init) {
    let guard = init(init_with).expect("it is set up");
    let crew = Crew::start(Some(&guard));
    crew.wait_for_leader();
    crew.stop();
    assert!(guard.shutdown(), "everything has left: {}", log::all());
    let spans = receiver.spans();
    for wanted in ["raft.election", "raft.vote", "raft.vote.request", "raft.vote.grant", "raft.establish"] {
        assert!(spans.iter().any(|(_, name)| name == wanted), "{wanted} is missing: {spans:?}");
    }
    assert!(spans.iter().any(|(service, _)| service == "n0"), "each under its own name: {spans:?}");
    let metrics = receiver.metrics();
    for wanted in ["raft.elections", "raft.votes"] {
        assert!(metrics.iter().any(|name| name == wanted), "{wanted} is missing: {metrics:?}");
    }
}

#[test]
fn by_http_everything_arrives() {
    log::start();
    let receiver = Receiver::http(None);
    assert_arrives(&receiver, to(&receiver.address(), By::Http));
    let posts = receiver.posts();
    assert!(posts.iter().all(|post| post.content_type == "application/x-protobuf"), "{posts:?}");
    let paths: Vec<&str> = posts.iter().map(|post| post.path.as_str()).collect();
    assert!(paths.contains(&"/v1/traces") && paths.contains(&"/v1/metrics"), "{paths:?}");
    assert!(posts.iter().all(|post| post.host == receiver.address()), "{posts:?}");
}

#[test]
fn by_grpc_everything_arrives() {
    log::start();
    let receiver = Receiver::grpc(None);
    assert_arrives(&receiver, to(&receiver.address(), By::Grpc));
}

/// As Jaeger and Tempo do: that is no failure, and no span is lost over it.
#[test]
fn a_collector_that_takes_spans_only_gets_all_of_them() {
    log::start();
    for by in [By::Grpc, By::Http] {
        let receiver = Receiver::without_metrics(by == By::Grpc, Refusal::Unknown);
        let guard = init(to(&receiver.address(), by)).expect("it is set up");
        let crew = Crew::start(Some(&guard));
        crew.wait_for_leader();
        crew.stop();
        assert!(guard.shutdown(), "{by:?}: whatever is taken has left: {}", log::all());
        let names: Vec<String> = receiver.spans().into_iter().map(|(_, name)| name).collect();
        assert!(names.iter().any(|name| name == "raft.election"), "{by:?}: {names:?}");
        assert_eq!(log::about(&receiver.address()), None, "nothing has failed");
        assert!(log::all().contains(&format!("{} takes no metrics", address_of(&receiver, by))), "{}", log::all());
    }
}

/// Metrics that fail at once take no spans with them that are still under way.
#[test]
fn metrics_that_are_refused_cost_no_spans() {
    log::start();
    for by in [By::Grpc, By::Http] {
        let receiver = Receiver::without_metrics(by == By::Grpc, Refusal::Unauthorized);
        let guard = init(to(&receiver.address(), by)).expect("it is set up");
        let crew = Crew::start(Some(&guard));
        crew.wait_for_leader();
        crew.stop();
        assert!(!guard.shutdown(), "metrics are lost");
        let services: BTreeSet<String> = receiver.spans().into_iter().map(|(service, _)| service).collect();
        assert_eq!(services.into_iter().collect::<Vec<_>>(), ["n0", "n1", "n2"], "{by:?}: {}", log::all());
    }
}

fn address_of(receiver: &Receiver, by: By) -> String {
    let path = if by == By::Http { "/v1/metrics" } else { "" };
    format!("http://{}{path}", receiver.address())
}

#[test]
fn by_tls_everything_arrives_and_each_side_shows_who_it_is() {
    log::start();
    let authority = Authority::new();
    for by in [By::Grpc, By::Http] {
        let receiver = match by {
            By::Grpc => Receiver::grpc(Some(&authority)),
            By::Http => Receiver::http(Some(&authority)),
        };
        let [certificate, key] = authority.client();
        let address = format!("https://{}", receiver.address());
        assert_arrives(&receiver, to(&address, by).trust(authority.file()).identity(certificate, key));
    }
}

/// The receiver asks for a certificate of its own authority: who has none, or trusts another, gets nothing across, is told
/// why, and goes on.
#[test]
fn by_tls_strangers_get_nothing_across_and_are_told_why() {
    log::start();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let [certificate, key] = stranger.client();
    for by in [By::Grpc, By::Http] {
        let receiver = match by {
            By::Grpc => Receiver::grpc(Some(&authority)),
            By::Http => Receiver::http(Some(&authority)),
        };
        let address = format!("https://{}", receiver.address());
        for (init_with, why) in [
            (to(&address, by).trust(stranger.file()), "invalid peer certificate"),
            // A refusal of this side's certificate may look like any end of a connection.
            (to(&address, by).trust(authority.file()).identity(&certificate, &key), "cannot be exported"),
        ] {
            let guard = init(init_with).expect("it is set up");
            let crew = Crew::start(Some(&guard));
            crew.wait_for_leader();
            crew.stop();
            assert!(!guard.shutdown(), "nothing can have left");
            assert_eq!(receiver.spans(), []);
            let told = wait_for("a word about it", || log::about(&receiver.address()));
            assert!(told.contains(why), "{by:?}: {told}");
        }
    }
}

#[test]
fn certificates_that_are_none_are_refused_at_once() {
    let authority = Authority::new();
    let https = || to("https://127.0.0.1:1", By::Http);
    let refused = |init_with: Init| match init(init_with) {
        Err(InitError::Setting { name, value, reason }) => (name, value, reason),
        other => panic!("{other:?}"),
    };
    let (name, value, reason) = refused(https().trust("nowhere.pem"));
    assert_eq!((name.as_str(), value.as_str()), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "nowhere.pem"));
    assert!(reason.starts_with("cannot be read"), "{reason}");
    let [certificate, key] = authority.client();
    let (_, value, reason) = refused(https().trust(&key));
    assert_eq!((value, reason.as_str()), (key.clone(), "holds no certificate in PEM"));
    let (name, _, reason) = refused(https().trust(authority.file()).identity(&certificate, &certificate));
    assert_eq!((name.as_str(), reason.as_str()), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "holds no private key in PEM"));
    let [_, other] = authority.client();
    let (_, _, reason) = refused(https().trust(authority.file()).identity(&certificate, &other));
    assert!(reason.starts_with("does not fit"), "{reason}");
    let error = init(to("htp://a", By::Grpc)).expect_err("no address");
    assert_eq!(error.code(), "setting");
    assert_eq!(
        error.to_string(),
        "endpoint=htp://a htp:// cannot be spoken: http://HOST:PORT and https://HOST:PORT work"
    );
}

fn to_failing(collector: &Collector, by: By, authority: &Authority) -> Init {
    if collector.failure == Failure::MuteTls {
        return to(&format!("https://{}", collector.address()), by).trust(authority.file());
    }
    to(collector.address(), by)
}

/// Whatever becomes of an export, heartbeats come on time and the shutdown ends.
fn assert_harmless(failure: Failure, by: By) {
    log::start();
    let (collector, authority) = (Collector::start(failure), Authority::new());
    let guard = init(to_failing(&collector, by, &authority)).expect("it is set up");
    let crew = Crew::start(Some(&guard));
    crew.wait_for_leader();
    // Each heartbeat is a span. The first export begins after five seconds.
    let intervals = crew.listen_to_heartbeats(60);
    let (usual, longest) = (intervals[intervals.len() / 2], intervals[intervals.len() - 1]);
    // Not as long as an export waits, which is ten seconds; a busy machine alone may cost two or three.
    let late = longest > Duration::from_secs(8) || usual > Duration::from_secs(1);
    assert!(!late, "{failure:?} {by:?}: a follower waited {longest:?} for a heartbeat, and {usual:?} for most");
    collector.assert_was_asked();
    crew.stop();
    // On a thread of its own, so that a hang is seen as one.
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(guard.shutdown()));
    let complete = ended.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{failure:?} {by:?}: the shutdown hangs"));
    assert!(!complete || failure == Failure::Slow, "{failure:?} {by:?}: nothing was acknowledged");
}

/// All at once: each of them mostly waits.
#[test]
fn whatever_a_collector_does_heartbeats_come_on_time_and_the_shutdown_ends() {
    let both = |failure| [By::Grpc, By::Http].map(|by| (failure, by));
    std::thread::scope(|scope| {
        for (failure, by) in Failure::ALL.into_iter().flat_map(both) {
            let thread = std::thread::Builder::new().name(format!("{failure:?} by {by:?}"));
            thread.spawn_scoped(scope, move || assert_harmless(failure, by)).expect("a thread");
        }
    });
}

/// The reason is the collector's own, and not that something failed.
#[test]
fn why_an_export_fails_is_said_once() {
    log::start();
    for (failure, why) in [(Failure::Refuses, "503"), (Failure::Down, "refused")] {
        let collector = Collector::start(failure);
        let guard = init(to(collector.address(), By::Http)).expect("it is set up");
        let crew = Crew::start(Some(&guard));
        crew.wait_for_leader();
        crew.stop();
        guard.shutdown();
        let told = log::about(collector.address()).expect("something failed");
        assert!(told.contains(why), "{told}");
    }
}

/// As an application does it that has one thread and forgets nothing: from within its runtime.
#[tokio::test]
async fn a_shutdown_on_the_only_thread_of_a_runtime_ends() {
    let collector = Collector::start(Failure::Mute);
    let guard = init(to(collector.address(), By::Grpc)).expect("it is set up");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let crew = Crew::start(Some(&guard));
            crew.wait_for_leader();
            crew.stop();
        });
    });
    let began = Instant::now();
    drop(guard);
    assert!(began.elapsed() < LIMIT);
}
