//! The standard health service, `grpc.health.v1.Health`, as `health.proto` of gRPC describes it: for the probes of a kubelet, and
//! for clients that balance by it.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready as ready_or_wait};
use std::time::Duration;

use hyper::body::Incoming;
use prost::Message;
use tonic::body::Body;
use tonic::codec::EncodeBuf;
use tonic::codegen::http;
use tonic::codegen::tokio_stream::Stream;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};

use super::codec::{ElectionCodec, Frame};
use super::service::election_server::SERVICE_NAME;
use crate::transport::HealthWatch;
use crate::wire::WireError;

const PREFIX: &str = "/grpc.health.v1.Health/";
/// The services that are known: those that tell whether the member is ready, and the one that tells whether it does its part.
const SERVICES: [&str; 4] = ["", SERVICE_NAME, READINESS, LIVENESS];
const READINESS: &str = "readiness";
const LIVENESS: &str = "liveness";
/// The longest request, in bytes: a name of a service, and most of them are of services that are not here.
const REQUEST_LEN_MAX: usize = 1024;
/// How often a watcher's stream looks for what the driver cannot say: that it stands still.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ListRequest {}

#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(btree_map = "string, message", tag = "1")]
    statuses: BTreeMap<String, CheckResponse>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    /// Only in the answers of `Watch`.
    ServiceUnknown = 3,
}

impl<M: Message + Default + 'static> Frame for M {
    fn encode(&self, buffer: &mut EncodeBuf<'_>) {
        // The buffer grows.
        let _ = Message::encode(self, buffer);
    }
    fn decode(bytes: &[u8]) -> Result<M, WireError> {
        Ok(<M as Message>::decode(bytes)?)
    }
}

/// Whether a request is for this service.
pub(super) fn is_asked(request: &http::Request<Incoming>) -> bool {
    request.uri().path().starts_with(PREFIX)
}

/// Answers a request for this service.
pub(super) async fn answer(health: HealthWatch, request: http::Request<Incoming>) -> http::Response<Body> {
    let method = Method(health);
    match request.uri().path().strip_prefix(PREFIX) {
        Some("Check") => grpc::<CheckResponse, CheckRequest>().unary(method, request).await,
        Some("List") => grpc::<ListResponse, ListRequest>().unary(method, request).await,
        Some("Watch") => grpc::<CheckResponse, CheckRequest>().server_streaming(method, request).await,
        _ => Status::unimplemented("the health service has no such method").into_http(),
    }
}

fn grpc<E: Frame, D: Frame>() -> Grpc<ElectionCodec<E, D>> {
    Grpc::new(ElectionCodec::default()).max_decoding_message_size(REQUEST_LEN_MAX)
}

struct Method(HealthWatch);

impl UnaryService<CheckRequest> for Method {
    type Response = CheckResponse;
    type Future = Ready<Result<Response<CheckResponse>, Status>>;

    fn call(&mut self, request: Request<CheckRequest>) -> Self::Future {
        ready(match is_known(request.get_ref()) {
            true => Ok(Response::new(status(&self.0, &request.get_ref().service).into())),
            false => Err(Status::not_found("no such service here")),
        })
    }
}

impl UnaryService<ListRequest> for Method {
    type Response = ListResponse;
    type Future = Ready<Result<Response<ListResponse>, Status>>;

    fn call(&mut self, _: Request<ListRequest>) -> Self::Future {
        let now = |service: &str| status(&self.0, service).into();
        let statuses = SERVICES.iter().map(|service| ((*service).to_owned(), now(service))).collect();
        ready(Ok(Response::new(ListResponse { statuses })))
    }
}

impl ServerStreamingService<CheckRequest> for Method {
    type Response = CheckResponse;
    type ResponseStream = Statuses;
    type Future = Ready<Result<Response<Statuses>, Status>>;

    fn call(&mut self, request: Request<CheckRequest>) -> Self::Future {
        let service = SERVICES.into_iter().find(|service| **service == request.get_ref().service);
        let asked = service.map(|service| Asked { health: self.0.clone(), service });
        ready(Ok(Response::new(Statuses { next: Box::pin(next(asked, None)) })))
    }
}

/// A service that is here, and where to look.
struct Asked {
    health: HealthWatch,
    service: &'static str,
}

/// What a watcher is told: the status at once, and then each that differs from the one before. It ends with the connection.
struct Statuses {
    next: Pin<Box<dyn Future<Output = (Option<Asked>, ServingStatus)> + Send>>,
}

impl Stream for Statuses {
    type Item = Result<CheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (asked, status) = ready_or_wait!(self.next.as_mut().poll(cx));
        self.next = Box::pin(next(asked, Some(status)));
        Poll::Ready(Some(Ok(status.into())))
    }
}

async fn next(asked: Option<Asked>, told: Option<ServingStatus>) -> (Option<Asked>, ServingStatus) {
    let Some(mut asked) = asked else {
        // Nobody knows whether the service comes yet: the stream stays open.
        if told.is_some() {
            std::future::pending::<()>().await;
        }
        return (None, ServingStatus::ServiceUnknown);
    };
    loop {
        let now = status(&asked.health, asked.service);
        if Some(now) != told {
            return (Some(asked), now);
        }
        let _ = tokio::time::timeout(LOOK, asked.health.changed()).await;
    }
}

fn is_known(request: &CheckRequest) -> bool {
    SERVICES.contains(&request.service.as_str())
}

fn status(health: &HealthWatch, service: &str) -> ServingStatus {
    let serves = match service {
        LIVENESS => health.current().is_alive(),
        _ => health.unready().is_none(),
    };
    if serves { ServingStatus::Serving } else { ServingStatus::NotServing }
}

impl From<ServingStatus> for CheckResponse {
    fn from(status: ServingStatus) -> CheckResponse {
        CheckResponse { status: status.into() }
    }
}
