//! Health as probes see it: a gRPC client of its own over real sockets, and the answer for HTTP frameworks.
#![cfg(feature = "grpc")]

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Buf as _;
use hustings::config::Timing;
use hustings::elector::{Elector, ElectorBuilder, Health};
use hustings::event::{Event, EventKind, Role};
use hustings::record::HardState;
use hustings::storage::{Storage, StorageError};
use hustings::types::GroupId;
use prost::Message;
use tokio::sync::mpsc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(30);
const ELECTION: &str = "hustings.v1.Election";
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

// ---- a client, from the published description of the service --------------------------------------------------------

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(btree_map = "string, message", tag = "1")]
    statuses: BTreeMap<String, CheckResponse>,
}

struct Protobuf<E, D>(PhantomData<(E, D)>);

impl<E: Message + Default + 'static, D: Message + Default + 'static> Codec for Protobuf<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Protobuf<E, D>;
    type Decoder = Protobuf<E, D>;

    fn encoder(&mut self) -> Self::Encoder {
        Protobuf(PhantomData)
    }
    fn decoder(&mut self) -> Self::Decoder {
        Protobuf(PhantomData)
    }
}

impl<E: Message, D> Encoder for Protobuf<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<E, D: Message + Default> Decoder for Protobuf<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        D::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

struct Probe(tonic::client::Grpc<Channel>);

impl Probe {
    async fn connect(address: &str) -> Probe {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = patiently(endpoint.connect()).await.expect("it listens");
        Probe(tonic::client::Grpc::new(channel))
    }

    async fn ask<D: Message + Default + 'static>(&mut self, method: &'static str, service: &str) -> Result<D, Status> {
        self.0.ready().await.expect("a connection");
        let request = Request::new(CheckRequest { service: service.to_owned() });
        let answer = self.0.unary(request, PathAndQuery::from_static(method), Protobuf(PhantomData));
        Ok(patiently(answer).await?.into_inner())
    }

    async fn check(&mut self, service: &str) -> Result<i32, Code> {
        let answer: Result<CheckResponse, Status> = self.ask("/grpc.health.v1.Health/Check", service).await;
        answer.map(|answer| answer.status).map_err(|status| status.code())
    }

    async fn watch(&mut self, service: &str) -> Streaming<CheckResponse> {
        self.0.ready().await.expect("a connection");
        let request = Request::new(CheckRequest { service: service.to_owned() });
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
        let answer = self.0.server_streaming(request, path, Protobuf(PhantomData));
        patiently(answer).await.expect("a stream").into_inner()
    }
}

async fn hear(stream: &mut Streaming<CheckResponse>) -> i32 {
    patiently(stream.message()).await.expect("the stream stands").expect("it goes on").status
}

// ---- members ----------------------------------------------------------------------------------------------------------

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

fn addresses<const N: usize>(names: [&'static str; N]) -> Vec<(&'static str, String)> {
    let listeners = names.map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = |listener: &TcpListener| listener.local_addr().expect("its address").to_string();
    names.into_iter().zip(listeners.iter().map(address)).collect()
}

fn builder(at: usize, peers: &[(&'static str, String)]) -> ElectorBuilder {
    Elector::builder()
        .cluster("health")
        .node(peers[at].0)
        .listen(peers[at].1.clone())
        .peers(peers.to_vec())
        .timing(Timing::of(Duration::from_millis(100)))
        .volatile()
}

async fn leads(elector: &Elector) {
    patiently(elector.watch().wait_for(|view| view.role == Role::Leader)).await.expect("it runs");
}

async fn is_ready(elector: &Elector) {
    let end = Instant::now() + PATIENCE;
    while !elector.readiness().is_ready() {
        assert!(Instant::now() < end, "{}", elector.readiness().to_json());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn becomes(elector: &Elector, wanted: Health) {
    let end = Instant::now() + PATIENCE;
    while elector.health() != wanted {
        assert!(Instant::now() < end, "it is {}, not {wanted}", elector.health());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn followers_serve_like_the_leader_and_while_nobody_leads() {
    let peers = addresses(["a", "b", "c"]);
    // One of three: it waits for the others, knows no leader, and is no failure for it; but nobody can rely on it yet.
    let mut electors = vec![builder(0, &peers).start().await.expect("it starts")];
    let mut probes = vec![Probe::connect(&peers[0].1).await];
    assert_eq!(electors[0].view().leader, None);
    assert_eq!(probes[0].check("liveness").await, Ok(SERVING));
    assert_eq!(probes[0].check("").await, Ok(NOT_SERVING));
    assert_eq!((electors[0].readiness().http_status(), electors[0].health()), (503, Health::Serving));
    for at in [1, 2] {
        electors.push(builder(at, &peers).start().await.expect("it starts"));
        probes.push(Probe::connect(&peers[at].1).await);
    }
    for elector in &electors {
        is_ready(elector).await;
    }
    for ((elector, probe), (name, _)) in electors.iter().zip(&mut probes).zip(&peers) {
        assert_eq!(probe.check("").await, Ok(SERVING));
        assert_eq!(probe.check(ELECTION).await, Ok(SERVING));
        let list: ListResponse = probe.ask("/grpc.health.v1.Health/List", "").await.expect("a list");
        let serving = CheckResponse { status: SERVING };
        assert_eq!(
            list.statuses,
            ["", ELECTION, "liveness", "readiness"].map(|name| (name.to_owned(), serving.clone())).into()
        );
        let readiness = elector.readiness();
        assert_eq!((readiness.http_status(), readiness.is_ready()), (200, true));
        let said = format!(
            r#"{{"status":"serving","ready":true,"reason":null,"message":null,"node":"{name}","group":"main","role":""#
        );
        assert!(readiness.to_json().starts_with(&said), "{}", readiness.to_json());
    }
    for elector in electors {
        elector.shutdown().await;
        let readiness = elector.readiness();
        assert_eq!((readiness.http_status(), readiness.status), (503, "stopped"));
    }
}

#[tokio::test]
async fn what_is_not_here_is_answered_as_the_description_says() {
    let peers = addresses(["a"]);
    let elector = builder(0, &peers).start().await.expect("it starts");
    let mut probe = Probe::connect(&peers[0].1).await;
    assert_eq!(probe.check("hustings").await, Err(Code::NotFound));
    assert_eq!(probe.check("x".repeat(2000).as_str()).await, Err(Code::OutOfRange));
    let none: Result<CheckResponse, Status> = probe.ask("/grpc.health.v1.Health/Cheque", "").await;
    assert_eq!(none.map_err(|status| status.code()), Err(Code::Unimplemented));
    let mut unknown = probe.watch("hustings").await;
    assert_eq!(hear(&mut unknown).await, SERVICE_UNKNOWN);
    // The stream stays: the service might yet come. What would end it would do so before the calls that follow it.
    assert_eq!(probe.check("liveness").await, Ok(SERVING));
    tokio::select! {
        biased;
        more = unknown.message() => panic!("{more:?}"),
        () = tokio::task::yield_now() => {}
    }
    elector.shutdown().await;
}

#[tokio::test]
async fn who_leaves_says_so_while_its_work_drains() {
    let peers = addresses(["a"]);
    let elector = builder(0, &peers).start().await.expect("it starts");
    let mut probe = Probe::connect(&peers[0].1).await;
    is_ready(&elector).await;
    let mut watched = probe.watch(ELECTION).await;
    assert_eq!(hear(&mut watched).await, SERVING);
    let lead = patiently(elector.campaign()).await.expect("it leads");
    let leaving = tokio::spawn({
        let elector = elector.clone();
        async move { elector.shutdown().await }
    });
    assert_eq!(hear(&mut watched).await, NOT_SERVING);
    assert_eq!(probe.check("").await, Ok(NOT_SERVING), "the port answers until the work has ended");
    assert_eq!((elector.health(), elector.readiness().http_status()), (Health::Stopping, 503));
    drop(lead);
    patiently(leaving).await.expect("it leaves");
    assert_eq!(elector.health(), Health::Stopped);
}

/// Writes and starts over, unless it is told to fail.
struct Failing(Arc<AtomicBool>);

impl Storage for Failing {
    fn load(&mut self, _: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(None)
    }
    fn save(&mut self, _: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(StorageError::Other("no space left".into())),
            false => Ok(()),
        }
    }
    fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.save(states)
    }
}

/// And is not restarted for it: the storage starts over by itself.
#[tokio::test]
async fn a_member_whose_disk_failed_does_not_serve() {
    let peers = addresses(["a"]);
    let fails = Arc::new(AtomicBool::new(false));
    let elector = builder(0, &peers).storage(Failing(fails.clone())).start().await.expect("it starts");
    let mut probe = Probe::connect(&peers[0].1).await;
    is_ready(&elector).await;
    let mut watched = probe.watch("").await;
    assert_eq!(hear(&mut watched).await, SERVING);
    leads(&elector).await;
    fails.store(true, Ordering::SeqCst);
    elector.proclaim("x").await.expect_err("it cannot be written");
    assert_eq!(hear(&mut watched).await, NOT_SERVING);
    assert_eq!(probe.check(ELECTION).await, Ok(NOT_SERVING));
    assert_eq!(elector.health(), Health::StorageFailed);
    assert_eq!(probe.check("readiness").await, Ok(NOT_SERVING));
    assert_eq!(probe.check("liveness").await, Ok(SERVING));
    fails.store(false, Ordering::SeqCst);
    assert_eq!(hear(&mut watched).await, SERVING);
    assert_eq!(elector.health(), Health::Serving);
    elector.shutdown().await;
}

/// What blocks the loop cannot answer over gRPC on the same thread: a probe times out. The application, which has threads of its own,
/// is told why.
#[tokio::test]
async fn a_loop_that_stands_still_is_told_apart_and_may_recover() {
    let peers = addresses(["a"]);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (stuck, mut is_stuck) = mpsc::unbounded_channel();
    let observer = {
        let gate = gate.clone();
        move |event: &Event| {
            if matches!(event.kind, EventKind::BecameExclusive { .. }) {
                let _ = stuck.send(());
                let (open, opened) = &*gate;
                let _open = opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
            }
        }
    };
    let elector = builder(0, &peers).observer(observer).start().await.expect("it starts");
    patiently(is_stuck.recv()).await.expect("it leads");
    becomes(&elector, Health::Stalled).await;
    assert_eq!(elector.readiness().http_status(), 503);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    becomes(&elector, Health::Serving).await;
    elector.shutdown().await;
}
