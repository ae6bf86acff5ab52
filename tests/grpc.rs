//! The gRPC transport on real sockets: the contract of every transport, and what only sockets can do.
#![cfg(feature = "grpc")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hustings::message::{CallError, Holder, Identity, Reply, ReplyBody, Request, RequestBody, RequestId, Verdict};
use hustings::record::{Member, PROCLAIMED_LEN_MAX, Record, RecordId};
use hustings::transport::contract::{self, Cluster, NODES};
use hustings::transport::grpc::{GrpcConfig, GrpcTransport, Security};
use hustings::transport::{Inbox, Incoming, Transport, TransportError};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};
use hustings::wire::{FRAME_LEN_MAX, encode_request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
const BACKOFF_MAX: Duration = Duration::from_millis(50);

fn name(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

// ---- the contract -------------------------------------------------------------------------------------------------

/// Three nodes, each with a port of its own that it keeps when it returns.
struct Loopback(BTreeMap<NodeId, SocketAddr>);

impl Loopback {
    fn new() -> Loopback {
        let listeners = NODES.map(|_| StdListener::bind("127.0.0.1:0").expect("a free port"));
        let addresses = listeners.iter().map(|listener| listener.local_addr().expect("its address"));
        Loopback(NODES.iter().map(|node| name(node)).zip(addresses).collect())
    }
}

impl Cluster for Loopback {
    type Transport = GrpcTransport;

    async fn transport(&mut self, node: &NodeId) -> GrpcTransport {
        let peers = self.0.iter().map(|(node, address)| (node.clone(), address.to_string())).collect();
        GrpcTransport::new(GrpcConfig {
            node: node.clone(),
            listen: self.0[node].to_string(),
            peers,
            security: Security::Loopback,
            backoff_max: BACKOFF_MAX,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract_of_transports() {
    contract::check_all(&mut Loopback::new()).await;
}

/// The driver's runtime has one thread.
#[tokio::test]
async fn it_keeps_the_contract_in_one_thread() {
    contract::check_all(&mut Loopback::new()).await;
}

// ---- nodes for the tests below ------------------------------------------------------------------------------------

/// A started transport that answers every request.
struct Node {
    node: NodeId,
    transport: GrpcTransport,
    news: mpsc::UnboundedReceiver<News>,
}

#[derive(Debug, PartialEq)]
enum News {
    Request(Box<Request>),
    Connected(NodeId),
    Closed(NodeId),
    Lost(NodeId, bool),
}

impl Node {
    async fn start(node: &str, peers: &[(&str, SocketAddr)]) -> Node {
        let config = config(node, "127.0.0.1:0", peers.iter().map(|(peer, address)| (*peer, address.to_string())));
        let transport = GrpcTransport::new(config);
        let (inbox, mut incoming) = Inbox::new();
        transport.start(inbox).await.expect("it starts");
        let (sender, news) = mpsc::unbounded_channel();
        let me = name(node);
        tokio::spawn(async move {
            while let Some(incoming) = incoming.recv().await {
                let news = match incoming {
                    Incoming::Request { request, reply, .. } => {
                        let _ = reply.send(answer(&me, &request));
                        News::Request(Box::new(request))
                    }
                    Incoming::PeerConnected(peer) => News::Connected(peer),
                    Incoming::PeerClosed(peer) => News::Closed(peer),
                    Incoming::PeerLost { peer, refused } => News::Lost(peer, refused),
                };
                let _ = sender.send(news);
            }
        });
        Node { node: name(node), transport, news }
    }

    fn address(&self) -> SocketAddr {
        self.transport.local_addr().expect("it listens")
    }

    async fn call(&self, to: &str, body: RequestBody) -> Result<Reply, CallError> {
        let request = request(&self.node, to, body);
        self.transport.call(request, TraceContext::NONE, PATIENCE).await
    }

    async fn hear(&mut self, wanted: News) {
        let mut heard = Vec::new();
        let search = async {
            loop {
                let news = self.news.recv().await.expect("the responder runs");
                if news == wanted {
                    return;
                }
                heard.push(news);
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        assert!(found.is_ok(), "not {wanted:?}, but {heard:?}");
    }

    async fn reach(&self, peer: &str) {
        until("the peer is reached", async || self.call(peer, RequestBody::Resign).await.is_ok()).await;
    }
}

fn config<'a>(node: &str, listen: &str, peers: impl Iterator<Item = (&'a str, String)>) -> GrpcConfig {
    GrpcConfig {
        node: name(node),
        listen: listen.to_owned(),
        peers: peers.map(|(peer, address)| (name(peer), address)).collect(),
        security: Security::Loopback,
        backoff_max: BACKOFF_MAX,
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn identity(node: &NodeId) -> Arc<Identity> {
    Arc::new(Identity {
        version: 1,
        cluster: ClusterId::new("c").expect("a name"),
        founding: Founding(1),
        group: GroupId::default(),
        node: node.clone(),
        disk: DiskId(1),
        incarnation: Incarnation(1),
        timing: 1,
        priority: 1,
        amnesiac: false,
    })
}

fn request(from: &NodeId, to: &str, body: RequestBody) -> Request {
    Request { from: identity(from), to: name(to), id: RequestId(1), term: Term(1), body }
}

fn answer(me: &NodeId, request: &Request) -> Reply {
    Reply {
        from: identity(me),
        to: Holder { node: request.from.node.clone(), disk: DiskId(1), incarnation: Incarnation(1) },
        id: request.id,
        kind: request.body.kind(),
        term: request.term,
        verdict: Verdict::Granted,
        worked: Duration::ZERO,
        body: ReplyBody::None,
    }
}

fn append(proclaimed: usize) -> RequestBody {
    let member = Member { node: name("a"), disk: DiskId(1), voter: true };
    let id = RecordId { term: Term(1), index: 1 };
    let proclaimed = Bytes::from(vec![7; proclaimed]);
    RequestBody::AppendEntries {
        promise: Duration::from_secs(1),
        record: Some(Arc::new(Record { id, parent: RecordId::default(), members: vec![member], proclaimed })),
        committed: None,
        rank: Some(0),
        election: TraceContext::NONE,
    }
}

// ---- calls --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_kind_of_request_arrives_whole() {
    let mut b = Node::start("b", &[]).await;
    let a = Node::start("a", &[("b", b.address())]).await;
    a.reach("b").await;
    let bodies = [
        RequestBody::PreVote { last: None },
        RequestBody::RequestVote { last: Some(RecordId::default()), transfer: None },
        append(PROCLAIMED_LEN_MAX),
        RequestBody::TimeoutNow,
        RequestBody::Resign,
    ];
    for body in bodies {
        let reply = a.call("b", body.clone()).await.expect("it is answered");
        assert_eq!(reply.kind, body.kind());
        b.hear(News::Request(Box::new(request(&a.node, "b", body)))).await;
    }
}

/// A node never waits for a connection: what cannot be sent fails at once, whatever the deadline.
#[tokio::test]
async fn a_call_without_a_connection_fails_at_once() {
    let nobody = Loopback::new().0[&name("a")];
    let mut a = Node::start("a", &[("b", nobody)]).await;
    assert!(matches!(a.call("b", RequestBody::Resign).await, Err(CallError::Unreachable(_) | CallError::Refused)));
    until("the refusal is known", async || a.call("b", RequestBody::Resign).await == Err(CallError::Refused)).await;
    assert!(matches!(a.call("stranger", RequestBody::Resign).await, Err(CallError::Unreachable(_))));
    // There was no connection that could end.
    assert!(a.news.try_recv().is_err());
}

/// A request that is too long for the peer's codec is refused with the field's name, and the connection stands.
#[tokio::test]
async fn what_the_peer_cannot_read_is_malformed_and_harms_nothing() {
    let b = Node::start("b", &[]).await;
    let mut a = Node::start("a", &[("b", b.address())]).await;
    a.hear(News::Connected(name("b"))).await;
    let field = a.call("b", append(PROCLAIMED_LEN_MAX + 1)).await;
    let Err(CallError::Malformed(said)) = &field else { panic!("{field:?}") };
    assert!(said.contains("record.proclaimed"), "{said}");
    let frame = a.call("b", append(FRAME_LEN_MAX)).await;
    assert!(matches!(frame, Err(CallError::Malformed(_))), "{frame:?}");
    a.call("b", RequestBody::Resign).await.expect("the connection stands");
    assert!(a.news.try_recv().is_err(), "and was never replaced");
}

// ---- deaths -------------------------------------------------------------------------------------------------------

/// A listener that accepts and says nothing, like a process that was stopped, or closes, like a proxy without its
/// target: no connection, and its end no evidence.
#[tokio::test]
async fn who_accepts_and_never_speaks_is_not_connected() {
    for keeps in [true, false] {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut a = Node::start("a", &[("b", silent.local_addr().expect("its address"))]).await;
        let mut kept = Vec::new();
        for _ in 0..6 {
            let accepted = tokio::time::timeout(PATIENCE, silent.accept()).await.expect("a tries again and again");
            let (stream, _) = accepted.expect("a connects");
            if keeps {
                kept.push(stream);
            }
        }
        assert!(matches!(a.call("b", RequestBody::Resign).await, Err(CallError::Unreachable(_))));
        assert!(a.news.try_recv().is_err(), "it never stood");
    }
}

/// Serves in a process of its own when a test below starts it; otherwise does nothing.
#[tokio::test]
async fn a_process_to_be_killed() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let b = Node::start("b", &[]).await;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{LISTENING}{}", b.address()).expect("the parent reads");
    drop(out);
    std::future::pending::<()>().await;
}

const CHILD: &str = "HUSTINGS_TEST_CHILD";
const LISTENING: &str = "listening on ";

/// kill -9 of an idle peer: the end of the connection and the refused reconnect are reported without any call.
#[tokio::test]
async fn the_death_of_an_idle_process_is_reported_and_its_reconnect_refused() {
    for _ in 0..5 {
        let mut child = tokio::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "a_process_to_be_killed", "--nocapture"])
            .env(CHILD, "1")
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the child starts");
        let mut lines = tokio::io::BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = loop {
            let line = lines.next_line().await.expect("its output").expect("its address");
            if let Some((_, address)) = line.split_once(LISTENING) {
                break address.parse().expect("an address");
            }
        };
        let mut a = Node::start("a", &[("b", address)]).await;
        a.hear(News::Connected(name("b"))).await;
        child.start_kill().expect("it can be killed");
        let next = tokio::time::timeout(PATIENCE, a.news.recv()).await.expect("the end is noticed");
        assert_eq!(next, Some(News::Closed(name("b"))));
        let next = tokio::time::timeout(PATIENCE, a.news.recv()).await.expect("the reconnect is reported");
        assert_eq!(next, Some(News::Lost(name("b"), true)));
        assert_eq!(a.call("b", RequestBody::Resign).await, Err(CallError::Refused));
    }
}

/// A proxy reaps an idle connection to a healthy peer: the reconnect works, and nothing is lost.
#[tokio::test]
async fn a_reaped_connection_is_replaced_at_once() {
    let b = Node::start("b", &[]).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, target) = (proxy.local_addr().expect("its address"), b.address());
    let (reap, mut reaped) = mpsc::unbounded_channel::<()>();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = proxy.accept().await.expect("a connects");
            let mut far = TcpStream::connect(target).await.expect("b listens");
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = reaped.recv() => {}
            }
        }
    });
    let mut a = Node::start("a", &[("b", address)]).await;
    a.hear(News::Connected(name("b"))).await;
    for _ in 0..5 {
        reap.send(()).expect("the proxy runs");
        assert_eq!(a.news.recv().await, Some(News::Closed(name("b"))));
        let next = tokio::time::timeout(PATIENCE, a.news.recv()).await.expect("an answer");
        assert_eq!(next, Some(News::Connected(name("b"))));
        a.call("b", RequestBody::Resign).await.expect("it is reached through the new connection");
    }
}

/// A machine that vanished sends no end of file: its connection is replaced once calls time out in silence.
#[tokio::test]
async fn a_black_hole_is_left_for_another_address() {
    let b = Node::start("b", &[]).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, target) = (proxy.local_addr().expect("its address"), b.address());
    let (swallow, mut swallowed) = mpsc::unbounded_channel::<()>();
    tokio::spawn(async move {
        let mut swallowing = Vec::new();
        loop {
            let (mut near, _) = proxy.accept().await.expect("a connects");
            let mut far = TcpStream::connect(target).await.expect("b listens");
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = swallowed.recv() => swallowing.push((near, far)),
            }
        }
    });
    let mut a = Node::start("a", &[("b", address)]).await;
    a.hear(News::Connected(name("b"))).await;
    a.call("b", RequestBody::Resign).await.expect("it is reached");
    swallow.send(()).expect("the proxy runs");
    until("calls get through again", async || {
        let request = request(&a.node, "b", RequestBody::Resign);
        a.transport.call(request, TraceContext::NONE, Duration::from_millis(20)).await.is_ok()
    })
    .await;
    a.hear(News::Closed(name("b"))).await;
    a.hear(News::Connected(name("b"))).await;
}

// ---- strangers ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn plaintext_beyond_loopback_is_refused_unless_it_is_spelled_out() {
    let far = [("127.0.0.1:0", "10.1.2.3:7300"), ("127.0.0.1:0", "planner-0:7300"), ("0.0.0.0:0", "localhost:1")];
    for (listen, peer) in far {
        let mut config = config("a", listen, [("b", peer.to_owned())].into_iter());
        let transport = GrpcTransport::new(config.clone());
        let refused = transport.start(Inbox::new().0).await;
        assert!(matches!(refused, Err(TransportError::Insecure { .. })), "{listen} {peer}: {refused:?}");
        assert_eq!(transport.local_addr(), None);
        config.security = Security::Insecure;
        GrpcTransport::new(config).start(Inbox::new().0).await.expect("it was spelled out");
    }
    let wrong = GrpcTransport::new(config("a", "127.0.0.1:0", [("b", "nonsense".to_owned())].into_iter()));
    assert!(matches!(wrong.start(Inbox::new().0).await, Err(TransportError::Address { .. })));
    let taken = StdListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let second = GrpcTransport::new(config("a", &address, std::iter::empty()));
    assert!(matches!(second.start(Inbox::new().0).await, Err(TransportError::Listen { .. })));
}

/// Sockets that say nothing, garbage, HTTP/1, half a preface: the members talk on.
#[tokio::test]
async fn strangers_at_the_port_harm_nobody() {
    let b = Node::start("b", &[]).await;
    let mut a = Node::start("a", &[("b", b.address())]).await;
    a.hear(News::Connected(name("b"))).await;
    let mut strangers = Vec::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let garbage = [0xff; 4096];
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &preface[..10], &preface[..], &garbage[..], b"\0"] {
        let mut stranger = TcpStream::connect(b.address()).await.expect("b listens");
        let _ = stranger.write_all(said).await;
        strangers.push(stranger);
    }
    for _ in 0..450 {
        strangers.push(TcpStream::connect(b.address()).await.expect("b listens"));
        if strangers.len() % 50 == 0 {
            a.call("b", RequestBody::Resign).await.expect("the members talk on");
        }
    }
    // A member that comes now is let in, because the oldest strangers have made room.
    let c = Node::start("c", &[("b", b.address())]).await;
    c.reach("b").await;
    let mut oldest = strangers.swap_remove(5);
    let closed = tokio::time::timeout(PATIENCE, oldest.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "who says nothing is shown the door");
    assert!(a.news.try_recv().is_err(), "the member's connection was never touched");
}

/// A request body of one piece.
struct Piece(Option<Bytes>);

impl hyper::body::Body for Piece {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// Says `message`, with `len` as its claimed length, to a method; returns the number of the status.
async fn grpc_status(address: SocketAddr, method: &str, len: usize, message: &[u8]) -> Option<String> {
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("it listens"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let len = u32::try_from(len).expect("32 bits").to_be_bytes();
    let request = hyper::Request::post(format!("http://{address}/hustings.v1.Election/{method}"))
        .header("content-type", "application/grpc")
        .body(Piece(Some([&[0], &len[..], message].concat().into())))
        .expect("a request");
    let response =
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("a response");
    response.headers().get("grpc-status").and_then(|status| status.to_str().ok()).map(str::to_owned)
}

/// What a client of another make, or of another version, may say: each gets its status, and none reaches the node.
#[tokio::test]
async fn what_is_no_request_gets_a_status() {
    let mut b = Node::start("b", &[]).await;
    let mut good = Vec::new();
    encode_request(&request(&name("a"), "b", RequestBody::Resign), &mut good);
    let unknown = [&good[..good.len() - 2], &[0x82, 0x01, 0]].concat(); // a body of tomorrow
    let huge = usize::try_from(u32::MAX).expect("64 bits");
    let cases: [(&str, &str, usize, &[u8]); 6] = [
        ("3", "Resign", 5, b"\xff\xff\xff\xff\xff"),
        ("3", "Resign", 0, b""),
        ("3", "PreVote", good.len(), &good),
        ("11", "Resign", huge, &good),
        ("12", "Resign", unknown.len(), &unknown),
        ("12", "Depose", good.len(), &good),
    ];
    for (status, method, len, message) in cases {
        let found = grpc_status(b.address(), method, len, message).await;
        assert_eq!(found.as_deref(), Some(status), "{method} {len} {message:?}");
    }
    assert!(b.news.try_recv().is_err(), "none of them reached the node");
    // And what is right passes: a status in the trailers, not in the headers.
    assert_eq!(grpc_status(b.address(), "Resign", good.len(), &good).await, None);
    b.hear(News::Request(Box::new(request(&name("a"), "b", RequestBody::Resign)))).await;
}
