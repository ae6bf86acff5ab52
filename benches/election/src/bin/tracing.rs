//! What tracing costs a failover, and what an election sends: P9.
//!
//! `cargo run --release -p hustings-benches --bin tracing -- [PAIRS]`
//!
//! Two clusters of three processes stand at the same time: one exports every span over OTLP to a collector in this
//! process, the other has no telemetry. Their leaders are killed by turns, so that whatever else the machine does meets
//! both. The exporter sends every 100 ms and not every 5 s, so that a member that is killed has sent its part of the
//! election before: more work than by default, and nothing lost.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hustings_benches::processes::{Cluster, FIGURES, Failure, build, percentile};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Longer than the exporter's delay: what was told is here.
const SETTLED: Duration = Duration::from_secs(1);

type Store = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

fn main() -> Result<(), Failure> {
    let pairs = std::env::args().nth(1).map_or(Ok(100), |text| text.parse::<usize>())?;
    let program = build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (endpoint, store) = collector(&runtime)?;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned())];
    let mut clusters = [Cluster::start(&program, "untraced", &[])?, Cluster::start(&program, "traced", &environment)?];
    let mut measured: [[Vec<Duration>; 4]; 2] = Default::default();
    for pair in 0..pairs {
        // Whoever comes first in one pair comes second in the next.
        for which in [pair % 2, 1 - pair % 2] {
            for (values, value) in measured[which].iter_mut().zip(clusters[which].fail_over()?) {
                values.push(value);
            }
        }
    }
    std::thread::sleep(SETTLED);
    drop(clusters);
    let received = std::mem::take(&mut *store.lock().unwrap_or_else(PoisonError::into_inner));
    let mut out = io::stdout().lock();
    writeln!(out, "kill -9 of the leader, {pairs} pairs, milliseconds: p50 / p90 / p99")?;
    let [off, on] = &mut measured;
    for (at, name) in FIGURES.iter().enumerate() {
        let mut show = |tracing: &str, values: &mut [Duration]| -> io::Result<f64> {
            let [p50, p90, p99] = [50, 90, 99].map(|percent| percentile(values, percent));
            writeln!(out, "{name:>10}  tracing {tracing:>3}  {p50:7.3} / {p90:7.3} / {p99:7.3}")?;
            Ok(p50)
        };
        let (without, with) = (show("off", &mut off[at])?, show("on", &mut on[at])?);
        writeln!(out, "{name:>10}  on / off     {:7.3}", with / without)?;
    }
    report(&mut out, &received)?;
    Ok(())
}

fn collector(runtime: &tokio::runtime::Runtime) -> Result<(String, Store), Failure> {
    let store = Store::default();
    let service = TraceServiceServer::new(Receiver(store.clone()));
    let _entered = runtime.enter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
    Ok((format!("http://{address}"), store))
}

struct Receiver(Store);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The spans of one trace, by the index of the batch part that they came in: it names the resource.
type Trace = Vec<(usize, Span)>;

/// What the won elections came to: each of their traces in whole, whoever sent its parts.
fn report(out: &mut impl Write, received: &[ExportTraceServiceRequest]) -> io::Result<()> {
    let parts: Vec<&ResourceSpans> = received.iter().flat_map(|request| &request.resource_spans).collect();
    let mut traces: BTreeMap<&[u8], Trace> = BTreeMap::new();
    let mut spans = 0;
    for (at, part) in parts.iter().enumerate() {
        for span in part.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans += 1;
            traces.entry(&span.trace_id).or_default().push((at, span.clone()));
        }
    }
    let bytes: usize = received.iter().map(prost::Message::encoded_len).sum();
    let won = |trace: &&Trace| trace.iter().any(|(_, span)| is_won(span));
    let won: Vec<&Trace> = traces.values().filter(won).collect();
    writeln!(
        out,
        "in all: {spans} spans, {bytes} bytes of OTLP in {} requests, {} won elections",
        received.len(),
        won.len()
    )?;
    if won.is_empty() {
        return Ok(());
    }
    let median = |mut values: Vec<usize>| {
        values.sort_unstable();
        (values[values.len() / 2], values[values.len() - 1])
    };
    let (count, most) = median(won.iter().map(|trace| trace.len()).collect());
    let (size, largest) = median(won.iter().map(|trace| encoded_len(trace, &parts)).collect());
    writeln!(
        out,
        "a won election: {count} spans (at most {most}), {size} bytes of OTLP (at most {largest}), one batch a member"
    )?;
    let mut covered: Vec<f64> = won.iter().filter_map(|trace| coverage(trace)).collect();
    covered.sort_by(f64::total_cmp);
    writeln!(
        out,
        "its phases cover {:.2} % of it at the median, {:.2} % at the least",
        covered[covered.len() / 2] * 100.0,
        covered[0] * 100.0
    )
}

fn is_won(span: &Span) -> bool {
    let outcome = |pair: &&opentelemetry_proto::tonic::common::v1::KeyValue| pair.key == "raft.election.outcome";
    let outcome = span.attributes.iter().find(outcome).and_then(|pair| pair.value.as_ref());
    span.name == "raft.election" && outcome.is_some_and(|outcome| format!("{outcome:?}").contains("\"won\""))
}

/// As if each member had sent its spans of the trace in one request.
fn encoded_len(trace: &Trace, parts: &[&ResourceSpans]) -> usize {
    let mut members: BTreeMap<Vec<u8>, ResourceSpans> = BTreeMap::new();
    for (at, span) in trace {
        let part = parts[*at];
        let key = part.resource.as_ref().map(|resource| resource.encode_to_vec()).unwrap_or_default();
        let member = members.entry(key).or_insert_with(|| ResourceSpans {
            scope_spans: part
                .scope_spans
                .iter()
                .take(1)
                .map(|scope| ScopeSpans { spans: Vec::new(), ..scope.clone() })
                .collect(),
            ..(*part).clone()
        });
        member.scope_spans[0].spans.push(span.clone());
    }
    let requests = members.into_values().map(|member| ExportTraceServiceRequest { resource_spans: vec![member] });
    requests.map(|request| request.encoded_len()).sum()
}

/// How much of the root its children cover.
fn coverage(trace: &Trace) -> Option<f64> {
    let root = trace.iter().map(|(_, span)| span).find(|span| is_won(span))?;
    let children = trace.iter().map(|(_, span)| span).filter(|span| span.parent_span_id == root.span_id);
    let mut phases: Vec<(u64, u64)> =
        children.map(|span| (span.start_time_unix_nano, span.end_time_unix_nano)).collect();
    phases.sort_unstable();
    let (mut covered, mut end) = (0, root.start_time_unix_nano);
    for (from, to) in phases {
        covered += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    Some(covered as f64 / (root.end_time_unix_nano - root.start_time_unix_nano).max(1) as f64)
}
