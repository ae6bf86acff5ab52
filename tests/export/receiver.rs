//! A collector that takes what comes, by HTTP or by gRPC, in the clear or by TLS with both sides' certificates.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::certificates::Authority;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) content_type: String,
}

/// What becomes of metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// There is no such service.
    Unknown,
    /// There is one, for others.
    Unauthorized,
}

#[derive(Default)]
struct Got {
    refusal: Option<Refusal>,
    posts: Vec<Post>,
    /// Service and name.
    spans: Vec<(String, String)>,
    metrics: Vec<String>,
}

type Store = Arc<Mutex<Got>>;

pub(crate) struct Receiver {
    address: SocketAddr,
    store: Store,
    _runtime: tokio::runtime::Runtime,
}

impl Receiver {
    pub(crate) fn http(authority: Option<&Authority>) -> Receiver {
        Receiver::start(false, authority)
    }

    pub(crate) fn grpc(authority: Option<&Authority>) -> Receiver {
        Receiver::start(true, authority)
    }

    /// In the clear, and with no use for metrics.
    pub(crate) fn without_metrics(grpc: bool, refusal: Refusal) -> Receiver {
        let receiver = Receiver::start(grpc, None);
        lock(&receiver.store).refusal = Some(refusal);
        receiver
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        lock(&self.store).posts.clone()
    }

    pub(crate) fn spans(&self) -> Vec<(String, String)> {
        lock(&self.store).spans.clone()
    }

    pub(crate) fn metrics(&self) -> Vec<String> {
        lock(&self.store).metrics.clone()
    }

    fn start(grpc: bool, authority: Option<&Authority>) -> Receiver {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let protocol: &[u8] = if grpc { b"h2" } else { b"http/1.1" };
        let tls = authority.map(|authority| TlsAcceptor::from(authority.server(protocol)));
        let store = Store::default();
        let (sender, address) = mpsc::channel();
        let kept = Arc::clone(&store);
        runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            sender.send(listener.local_addr().expect("bound")).expect("the test waits");
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, store) = (tls.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    match tls {
                        None => serve(grpc, stream, store).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(grpc, stream, store).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        let address = address.recv().expect("the receiver listens");
        Receiver { address, store, _runtime: runtime }
    }
}

fn lock(store: &Store) -> MutexGuard<'_, Got> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(grpc: bool, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, store: Store) -> Option<()> {
    let service = service_fn(move |request: Request<Incoming>| take(grpc, request, Arc::clone(&store)));
    let io = TokioIo::new(io);
    if grpc {
        http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await.ok()
    } else {
        http1::Builder::new().serve_connection(io, service).await.ok()
    }
}

async fn take(grpc: bool, request: Request<Incoming>, store: Store) -> Result<Response<Answer>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let path = request.uri().path().to_owned();
    let post = Post { path: path.clone(), host: header("host"), content_type: header("content-type") };
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::new(Answer::of(None, Vec::new()))) };
    let body = body.to_bytes();
    // A gRPC message stands behind a flag and its length.
    let message = if grpc { body.get(5..).unwrap_or_default() } else { &body };
    let of_metrics = path.ends_with("/v1/metrics") || path.ends_with("MetricsService/Export");
    let late = !of_metrics && lock(&store).refusal.is_some();
    if late {
        // Spans are still under way when metrics are refused.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut got = lock(&store);
    got.posts.push(post);
    let kind = if grpc { "application/grpc" } else { "application/x-protobuf" };
    let response = Response::builder().header("content-type", kind);
    if let Some(refusal) = got.refusal.filter(|_| of_metrics) {
        let (by_http, by_grpc) = match refusal {
            Refusal::Unknown => (404, "12"),
            Refusal::Unauthorized => (401, "16"),
        };
        let answer = response.status(if grpc { 200 } else { by_http });
        return Ok(answer.body(Answer::of(grpc.then_some(by_grpc), Vec::new())).expect("a response"));
    }
    let answer = if of_metrics {
        got.measure(&ExportMetricsServiceRequest::decode(message).expect("metrics"));
        ExportMetricsServiceResponse::default().encode_to_vec()
    } else {
        got.trace(ExportTraceServiceRequest::decode(message).expect("spans"));
        ExportTraceServiceResponse::default().encode_to_vec()
    };
    drop(got);
    Ok(response.body(Answer::of(grpc.then_some("0"), answer)).expect("a response"))
}

impl Got {
    fn trace(&mut self, request: ExportTraceServiceRequest) {
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.into_iter().find(|pair| pair.key == "service.name");
            let service = match service.and_then(|pair| pair.value?.value) {
                Some(Value::StringValue(text)) => text,
                other => panic!("a service has a name: {other:?}"),
            };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.extend(spans.map(|span| (service.clone(), span.name)));
        }
    }

    fn measure(&mut self, request: &ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        self.metrics.extend(scopes.flat_map(|scope| &scope.metrics).map(|metric| metric.name.clone()));
    }
}

/// A body, and behind it by gRPC its status.
struct Answer {
    body: Full<Bytes>,
    status: Option<&'static str>,
}

impl Answer {
    fn of(status: Option<&'static str>, message: Vec<u8>) -> Answer {
        let mut bytes = Vec::new();
        if status == Some("0") {
            bytes.push(0);
            bytes.extend(u32::try_from(message.len()).expect("a short answer").to_be_bytes());
        }
        bytes.extend(message);
        Answer { body: Full::new(Bytes::from(bytes)), status }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let frame = std::task::ready!(std::pin::Pin::new(&mut self.body).poll_frame(context));
        if let Some(status) = self.status.take_if(|_| frame.is_none()) {
            let mut trailers = hyper::HeaderMap::new();
            trailers.insert("grpc-status", hyper::header::HeaderValue::from_static(status));
            return std::task::Poll::Ready(Some(Ok(hyper::body::Frame::trailers(trailers))));
        }
        std::task::Poll::Ready(frame)
    }
}
