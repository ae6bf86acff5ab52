//! Elections of three real processes, read back from the real Jaeger, Tempo, collector and Prometheus, started from the
//! files in `examples/backends`.
//!
//! Each test runs where its program is on PATH, and says plainly that it did not run where it is not; with
//! `HUSTINGS_BACKENDS=required` that is a failure.

#![cfg(unix)]

#[path = "processes/member.rs"]
#[expect(dead_code, reason = "what other tests do to members")]
mod member;
#[path = "backends/program.rs"]
mod program;
#[path = "backends/queries.rs"]
mod queries;
#[path = "backends/read.rs"]
mod read;

use std::collections::BTreeSet;
use std::path::Path;

use member::{Cluster, wait_for};
use program::{Program, addresses, config, escaped, find, find_if_any, get_json, port, variables};
use read::{Span, of_jaeger, of_otlp, of_tempo, of_zipkin};

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// The newest election that was won and is none of these, with all spans of its trace.
fn won(traces: Vec<Vec<Span>>, known: &[&str]) -> Option<Vec<Span>> {
    let root = |trace: &Vec<Span>| trace.iter().find(|span| span.name == "raft.election").cloned();
    traces.into_iter().find(|trace| {
        let Some(root) = root(trace) else { return false };
        root.text("raft.election.outcome") == Some("won") && !known.contains(&root.trace.as_str())
    })
}

fn root(trace: &[Span]) -> &Span {
    trace.iter().find(|span| span.name == "raft.election").expect("a root")
}

/// Whether a voter other than the winner said why it voted.
fn has_verdict(trace: &[Span]) -> bool {
    let winner = &root(trace).service;
    trace.iter().any(|span| span.name == "raft.vote.grant" && span.service != *winner)
}

/// The tree is whole: each span has its parent, rounds are below the election, verdicts below requests.
fn assert_tree(trace: &[Span]) {
    let parent = |span: &Span| trace.iter().find(|other| Some(&other.id) == span.parent.as_ref()).cloned();
    for span in trace {
        assert!(span.parent.is_none() || parent(span).is_some(), "{} has lost its parent", span.name);
        let expected = match span.name.as_str() {
            "raft.election" => None,
            "raft.pre_vote" | "raft.vote" | "raft.establish" => Some("raft.election"),
            "raft.pre_vote.request" => Some("raft.pre_vote"),
            "raft.vote.request" => Some("raft.vote"),
            "raft.pre_vote.grant" | "raft.pre_vote.deny" => Some("raft.pre_vote.request"),
            "raft.vote.grant" | "raft.vote.deny" => Some("raft.vote.request"),
            _ => continue,
        };
        assert_eq!(parent(span).map(|parent| parent.name).as_deref(), expected, "the parent of {}", span.name);
        assert_eq!(span.kind_of("raft.term"), Some("int"), "the term of {} is an integer", span.name);
    }
    let verdicts: Vec<&Span> = trace.iter().filter(|span| span.name == "raft.vote.grant").collect();
    assert!(verdicts.iter().any(|span| span.text("raft.vote.reason") == Some("ok")), "{verdicts:?}");
}

/// Starts three members, kills their first leader, and gives the two elections as the backend shows them.
fn two_elections(
    endpoint: &str,
    ahead: Option<&str>,
    variables: &[(&str, &str)],
    mut traces: impl FnMut(&str) -> Option<Vec<Vec<Span>>>,
) -> (Vec<Span>, Vec<Span>) {
    let mut cluster = Cluster::new(&MEMBERS, endpoint);
    for (name, value) in variables {
        cluster.set(name, *value);
    }
    for id in MEMBERS {
        let skew: &[&str] = if ahead == Some(id) { &["--clock-ahead", "20"] } else { &[] };
        cluster.start_as(id, 150, skew);
    }
    let first_leader = wait_for("a first leader", || cluster.leader(&[]));
    let first = wait_for("the first election", || won(traces(&first_leader)?, &[]).filter(|trace| has_verdict(trace)));
    cluster.kill(&first_leader);
    let second_leader = wait_for("a second leader", || cluster.leader(&[&first_leader]));
    let second = wait_for("the second election", || {
        won(traces(&second_leader)?, &[&root(&first).trace]).filter(|trace| has_verdict(trace))
    });
    assert_eq!((&root(&first).service, &root(&second).service), (&first_leader, &second_leader));
    assert_tree(&first);
    assert_tree(&second);
    (first, second)
}

/// The second election leads back to the first, also in a viewer that hides the attributes of links.
fn assert_leads_back(first: &[Span], second: &[Span]) {
    let rounds: Vec<&Span> = second.iter().filter(|span| span.name == "raft.pre_vote").collect();
    let mirrored = rounds.iter().filter_map(|span| span.text("raft.link.previous_election"));
    assert_eq!(mirrored.collect::<Vec<_>>(), [root(first).trace.as_str()], "{rounds:?}");
}

/// Jaeger, its page, and where it takes traces by gRPC and by HTTP.
fn jaeger() -> Option<(Program, String, [String; 2])> {
    let program = find("jaeger")?;
    let [page, query, grpc, http] = addresses();
    let mut jaeger = Program::start("jaeger", &program, |command, _| {
        command.arg("--config").arg(config("jaeger.yaml"));
        let all = [
            ("JAEGER_PAGE", &page),
            ("JAEGER_QUERY_GRPC", &query),
            ("JAEGER_OTLP_GRPC", &grpc),
            ("JAEGER_OTLP_HTTP", &http),
        ];
        variables(command, all);
    });
    jaeger.ready(&page, "/api/services");
    Some((jaeger, page, [grpc, http].map(|address| format!("http://{address}"))))
}

fn jaeger_traces(page: &str, service: &str) -> Option<Vec<Vec<Span>>> {
    let found = get_json(page, &format!("/api/traces?service={service}&operation=raft.election&limit=50&lookback=1h"))?;
    Some(found["data"].as_array()?.iter().map(of_jaeger).collect())
}

#[test]
fn jaeger_shows_who_asked_whom_and_why() {
    let Some((_jaeger, page, [endpoint, _])) = jaeger() else { return };
    let (first, second) = two_elections(&endpoint, None, &[], |service| jaeger_traces(&page, service));
    assert_leads_back(&first, &second);
    // By its id, too.
    let by_id = get_json(&page, &format!("/api/traces/{}", root(&second).trace)).expect("the trace");
    assert!(of_jaeger(&by_id["data"][0]).len() >= second.len());
    // The dead leader was asked: the call failed, or was still open when the round was decided.
    let dead = &root(&first).service;
    let asked = second.iter().filter(|span| span.text("raft.peer.id") == Some(dead) && span.name.ends_with(".request"));
    let silent = |span: &Span| span.text("raft.vote.reason") == Some("unanswered") || span.text("error.type").is_some();
    assert!(asked.clone().count() > 0 && asked.clone().all(silent), "{:?}", asked.collect::<Vec<_>>());
}

/// A voter whose wall clock is 20 ms ahead: Jaeger's page draws it where it belongs all the same. By gRPC, and by HTTP with
/// gzip.
#[test]
fn in_jaeger_a_clock_that_is_ahead_still_reads_in_order() {
    let Some((_jaeger, page, endpoints)) = jaeger() else { return };
    let http = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    for ((ahead, endpoint), variables) in ["a", "b"].into_iter().zip(&endpoints).zip([&[][..], &http]) {
        let (first, second) = two_elections(endpoint, Some(ahead), variables, |service| {
            Some(
                jaeger_traces(&page, service)?
                    .into_iter()
                    .filter(|trace| trace.iter().any(|s| s.name == "raft.election"))
                    .collect(),
            )
        });
        for trace in [&first, &second] {
            for span in trace.iter().filter(|span| span.name == "raft.vote.grant") {
                let asker = trace.iter().find(|other| Some(&other.id) == span.parent.as_ref()).expect("a parent");
                assert!(asker.start <= span.start && span.end <= asker.end, "{span:?} is outside {asker:?}");
            }
        }
    }
}

/// Tempo, its page, and where it takes traces by gRPC.
fn tempo() -> Option<(Program, String, String)> {
    let program = find("tempo")?;
    let [page, inner, gossip, grpc, http] = addresses();
    let mut tempo = Program::start("tempo", &program, |command, folder| {
        command
            .args(["-target=all", "-config.expand-env=true"])
            .arg(format!("-config.file={}", config("tempo.yaml").display()));
        let ports =
            [("TEMPO_HTTP_PORT", port(&page)), ("TEMPO_GRPC_PORT", port(&inner)), ("TEMPO_GOSSIP_PORT", port(&gossip))];
        variables(command, ports);
        variables(command, [("TEMPO_OTLP_GRPC", &grpc), ("TEMPO_OTLP_HTTP", &http)]);
        command.env("TEMPO_DATA", folder);
    });
    tempo.ready(&page, "/ready");
    Some((tempo, page, format!("http://{grpc}")))
}

/// The ids of the traces that a query finds.
fn tempo_search(page: &str, query: &str) -> Option<BTreeSet<String>> {
    let found = get_json(page, &format!("/api/search?limit=100&q={}", escaped(query)))?;
    let ids = found["traces"].as_array()?.iter().filter_map(|trace| trace["traceID"].as_str());
    // Tempo leaves leading zeros out.
    Some(ids.map(|id| format!("{id:0>32}")).collect())
}

#[test]
fn tempo_finds_elections_by_term_and_by_reason() {
    let Some((_tempo, page, endpoint)) = tempo() else { return };
    let by_id = |id: &str| Some(of_tempo(id, &get_json(&page, &format!("/api/traces/{id}"))?));
    let search = |query: &str| tempo_search(&page, query);
    let (first, second) = two_elections(&endpoint, None, &[], |service| {
        let query = format!("{{ resource.service.name = \"{service}\" && name = \"raft.election\" }}");
        Some(search(&query)?.iter().filter_map(|id| by_id(id)).collect())
    });
    assert_leads_back(&first, &second);
    // Numbers are found by number, reasons by text.
    let term = root(&second).int("raft.term").expect("a term");
    for query in [
        format!("{{ name = \"raft.election\" && span.raft.term = {term} }}"),
        format!("{{ span.raft.term > {} && span.raft.vote.reason = \"ok\" }}", term - 1),
    ] {
        wait_for(&query, || search(&query)?.contains(&root(&second).trace).then_some(()));
    }
    let others =
        search(&format!("{{ name = \"raft.election\" && span.raft.term = {} }}", term + 7)).expect("an answer");
    assert!(others.is_empty(), "{others:?}");
}

/// A collector that keeps that share of what went well, and where it takes traces by gRPC.
fn otelcol(program: &Path, files: &[&str], share: &str, zipkin: Option<&str>) -> (Program, String) {
    let [grpc, http] = addresses();
    let collector = Program::start("otelcol", program, |command, folder| {
        for file in files {
            command.arg("--config").arg(config(file));
        }
        variables(command, [("OTELCOL_OTLP_GRPC", &grpc), ("OTELCOL_OTLP_HTTP", &http)]);
        command.env("OTELCOL_FILE", folder.join("traces.jsonl"));
        variables(command, [("OTELCOL_DECISION_WAIT", "2s"), ("OTELCOL_SHARE", share)]);
        variables(command, zipkin.map(|address| ("ZIPKIN_SPANS", format!("http://{address}/api/v2/spans"))));
    });
    wait_for("the collector to listen", || std::net::TcpStream::connect(&grpc).ok());
    (collector, format!("http://{grpc}"))
}

/// The collector keeps every election that went wrong, and here nothing else: the share of the rest is set to none.
#[test]
fn the_collector_keeps_what_went_wrong() {
    let Some(program) = find("otelcol") else { return };
    let (collector, endpoint) = otelcol(&program, &["otelcol.yaml"], "0", None);
    let file = collector.folder().join("traces.jsonl");
    let kept = || -> Vec<Span> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        // The last line may still be under way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).flat_map(|line| of_otlp(&line)).collect()
    };
    let mut cluster = Cluster::new(&MEMBERS, &endpoint);
    for id in MEMBERS {
        cluster.start(id);
    }
    let leader = wait_for("a leader", || cluster.leader(&[]));
    let odd = MEMBERS.into_iter().find(|id| *id != leader).expect("a follower");
    cluster.kill(odd);
    cluster.start_with(odd, 140);
    let refused = wait_for("an election that both voters refused", || {
        let spans = kept();
        let mut roots = spans.iter().filter(|span| span.name == "raft.election" && span.service == odd);
        roots.find(|root| root.text("raft.election.outcome") == Some("pre_vote_refused")).cloned()
    });
    // What was kept has a reason; the first election, if it was won at once, is not there.
    let spans = kept();
    let denied = spans.iter().filter(|span| span.trace == refused.trace && span.name == "raft.pre_vote.deny");
    let reasons: BTreeSet<&str> = denied.filter_map(|span| span.text("raft.vote.reason")).collect();
    assert_eq!(reasons, BTreeSet::from(["unsupported"]));
    for root in spans.iter().filter(|span| span.name == "raft.election") {
        let failed = spans.iter().any(|span| span.trace == root.trace && span.is_error);
        let rounds = root.int("raft.election.rounds").unwrap_or_default();
        let attempt = root.int("raft.election.attempt").unwrap_or_default();
        let wrong = root.text("raft.election.outcome") != Some("won");
        assert!(wrong || rounds > 2 || attempt > 1 || failed, "kept without a reason: {root:?}");
    }
}

/// Every query of the dashboard and of the alerts, asked of the backend that it is for, after a night that had everything:
/// a killed leader, one that was stopped for a while, a member whose times are others.
#[test]
fn every_query_of_dashboard_and_rules_is_answered() {
    let Some(program) = find("prometheus") else { return };
    let Some((_tempo, page, traces)) = tempo() else { return };
    let [address] = addresses();
    let mut prometheus = Program::start("prometheus", &program, |command, folder| {
        command.arg(format!("--config.file={}", config("prometheus.yaml").display()));
        command.args(["--web.enable-otlp-receiver", "--enable-feature=created-timestamp-zero-ingestion"]);
        command.arg(format!("--web.listen-address={address}"));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    });
    prometheus.ready(&address, "/-/ready");

    let mut cluster = Cluster::new(&MEMBERS, &traces);
    cluster.set("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf");
    cluster.set("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("http://{address}/api/v1/otlp/v1/metrics"));
    cluster.set("OTEL_METRIC_EXPORT_INTERVAL", "250");
    for id in MEMBERS {
        cluster.start(id);
    }
    let killed = wait_for("a first leader", || cluster.leader(&[]));
    let measures = |query: &str| queries::measured(&address, query);
    wait_for("the first election to be measured", || measures("raft_elections_total")?.first().copied());
    // A follower is silent for a while, and heard again.
    let silent = MEMBERS.into_iter().find(|id| *id != killed).expect("a follower");
    cluster.suspend(silent);
    let unheard = r#"raft_heartbeats_total{error_type!=""}"#;
    wait_for("heartbeats that nobody answers", || measures(unheard)?.iter().any(|v| *v >= 3.0).then_some(()));
    cluster.resume(silent);
    wait_for("the silence to have ended", || measures("raft_heartbeat_gaps_total"));
    let killed = cluster.leader(&[]).unwrap_or(killed);
    cluster.kill(&killed);
    let stopped = wait_for("a second leader", || cluster.leader(&[&killed]));
    cluster.start_with(&killed, 140);
    cluster.suspend(&stopped);
    wait_for("the others to have missed it", || {
        let missed = r#"raft_elections_total{raft_election_outcome!="won"}"#;
        measures(missed)?.iter().any(|value| *value >= 2.0).then_some(())
    });
    cluster.resume(&stopped);
    wait_for("it to be a leader again, or another", || cluster.leader(&[&killed]));

    let all = queries::all();
    assert!(all.len() > 25, "the files hold queries: {all:?}");
    for query in &all {
        wait_for(&query.to_string(), || {
            let answered = match query {
                queries::Query::Metrics { text, .. } => measures(text)?.iter().any(|value| value.is_finite()),
                queries::Query::Traces { text, .. } => !tempo_search(&page, text)?.is_empty(),
            };
            answered.then_some(())
        });
    }
    // What happened once, at the very first, counts.
    let first = format!(r#"increase(raft_leader_changes_total{{raft_node_id="{stopped}"}}[1h])"#);
    assert!(measures(&first).is_some_and(|values| values[0] >= 1.5), "two leaders were known: {:?}", measures(&first));
    let rules = get_json(&address, "/api/v1/rules").expect("the rules");
    assert_eq!(rules["data"]["groups"][0]["rules"].as_array().map(Vec::len), Some(queries::rules().len()));
}

/// The alerts say what their own test says that they say.
#[test]
fn the_rules_pass_their_own_test() {
    let Some(promtool) = find_if_any("promtool") else { return };
    for (what, file) in [("check", "rules.yaml"), ("test", "rules_test.yaml")] {
        let mut command = std::process::Command::new(&promtool);
        let output = command.args([what, "rules"]).arg(config(file)).output().expect("promtool runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("SUCCESS"), "{what}: {said}");
    }
}

/// By the collector, as Zipkin speaks no OTLP. Its jar is not on anybody's PATH: a variable says where it is.
#[test]
#[expect(clippy::print_stdout, reason = "says that the test did not run, and why")]
fn zipkin_shows_the_tree_by_way_of_the_collector() {
    let Some(jar) = std::env::var_os("HUSTINGS_ZIPKIN_JAR") else {
        println!("not run: HUSTINGS_ZIPKIN_JAR names no jar of Zipkin");
        return;
    };
    let (Some(java), Some(collector)) = (find_if_any("java"), find("otelcol")) else { return };
    let [page] = addresses();
    let mut zipkin = Program::start("zipkin", &java, |command, _| {
        command.arg("-Xmx256m").arg("-jar").arg(jar).env("QUERY_PORT", port(&page));
    });
    zipkin.ready(&page, "/health");
    let (_collector, endpoint) = otelcol(&collector, &["otelcol.yaml", "otelcol-zipkin.yaml"], "100", Some(&page));
    let by_id = |id: &str| Some(of_zipkin(&get_json(&page, &format!("/api/v2/trace/{id}"))?));
    let (first, second) = two_elections(&endpoint, None, &[], |service| {
        let found = get_json(&page, &format!("/api/v2/traces?serviceName={service}&spanName=raft.election&limit=50"))?;
        let ids = found.as_array()?.iter().filter_map(|trace| trace[0]["traceId"].as_str());
        Some(ids.filter_map(by_id).collect())
    });
    assert_leads_back(&first, &second);
}
