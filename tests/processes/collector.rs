//! An OTLP receiver over gRPC, which keeps every span that it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span as it was received. Attribute values carry their type in front: `int 3`, `text ok`.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_id: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) is_error: bool,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) events: Vec<(String, Vec<(String, String)>)>,
    /// The other trace, and `raft.link.type`.
    pub(crate) links: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.attribute(key)?.strip_prefix("text ")
    }

    pub(crate) fn int(&self, key: &str) -> Option<i64> {
        self.attribute(key)?.strip_prefix("int ")?.parse().ok()
    }
}

type Store = Arc<Mutex<Vec<Seen>>>;

pub(crate) struct Collector {
    address: SocketAddr,
    store: Store,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    pub(crate) fn start() -> Collector {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let store = Store::default();
        let service = TraceServiceServer::new(Receiver { store: store.clone() });
        let (sender, address) = mpsc::channel();
        runtime.spawn(async move {
            let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
            sender.send(incoming.local_addr().expect("bound")).expect("the test waits");
            Server::builder().serve_with_incoming(service, incoming).await
        });
        let address = address.recv().expect("the receiver listens");
        Collector { address, store, _runtime: runtime }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Receiver {
    store: Store,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| pairs(&resource.attributes)).unwrap_or_default();
            let name = attributes.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
            let service = name.and_then(|name| name.strip_prefix("text ").map(str::to_owned)).unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                store.push(seen(&service, &span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn seen(service: &str, span: &Span) -> Seen {
    let kind = match span.kind() {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        _ => "other",
    };
    let link_type = |attributes: &[KeyValue]| {
        let found = pairs(attributes).into_iter().find(|(key, _)| key == "raft.link.type");
        found.and_then(|(_, value)| value.strip_prefix("text ").map(str::to_owned)).unwrap_or_default()
    };
    Seen {
        service: service.to_owned(),
        name: span.name.clone(),
        kind,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        is_error: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
        attributes: pairs(&span.attributes),
        events: span.events.iter().map(|event| (event.name.clone(), pairs(&event.attributes))).collect(),
        links: span.links.iter().map(|link| (hex(&link.trace_id), link_type(&link.attributes))).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes.iter().map(|pair| (pair.key.clone(), typed(pair.value.as_ref()))).collect()
}

fn typed(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("text {text}"),
        Some(Value::IntValue(number)) => format!("int {number}"),
        Some(Value::DoubleValue(number)) => format!("double {number}"),
        Some(Value::BoolValue(yes)) => format!("bool {yes}"),
        other => format!("other {other:?}"),
    }
}
