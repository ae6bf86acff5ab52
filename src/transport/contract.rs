//! What every transport must do, as a suite to run on one's own: `contract::check_all(&mut cluster).await`.
//!
//! Each check panics with a sentence when the transport breaks its promise. They run in real time and wait for
//! conditions, with [`PATIENCE`] as their limit.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Inbox, Incoming, Transport};
use crate::message::{
    CallError, Identity, PROTOCOL_VERSION, Reply, ReplyBody, Request, RequestBody, RequestId, Verdict,
};
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};

/// How long a check waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The names of the nodes that the checks use.
pub const NODES: [&str; 3] = ["a", "b", "c"];

/// Makes the transports of a small cluster.
pub trait Cluster: Send {
    /// The transport under test.
    type Transport: Transport;

    /// A transport for one of [`NODES`], not started, that knows the addresses of all three. Asked again after that
    /// node's transport was stopped, and then with the same address: the node has returned.
    fn transport(&mut self, node: &NodeId) -> impl Future<Output = Self::Transport> + Send;
}

/// Runs every check.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn check_all<C: Cluster>(cluster: &mut C) {
    a_call_is_answered(cluster).await;
    the_context_arrives(cluster).await;
    an_unanswered_call_ends_by_its_deadline(cluster).await;
    nobody_listening_is_refused(cluster).await;
    a_death_in_a_call_is_not_a_timeout(cluster).await;
    a_dead_peer_delays_no_live_one(cluster).await;
    a_peer_that_returns_is_reached(cluster).await;
    the_death_of_an_idle_peer_is_reported(cluster).await;
}

/// A call is answered with its own reply, also when many are under way.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn a_call_is_answered<C: Cluster>(cluster: &mut C) {
    let (a, b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.reach(&b).await;
    let calls = (100..132).map(|id| a.call(&b, id));
    let mut under_way = Vec::new();
    for call in calls {
        under_way.push(Box::pin(call));
    }
    for (call, id) in under_way.into_iter().zip(100..) {
        let reply = call.await.expect("a live peer answers");
        assert_eq!(reply.id, RequestId(id), "a call got the reply of another");
        assert_eq!(reply.from.node, b.node, "somebody else answered");
    }
    stop([a, b]).await;
}

/// The trace context arrives as it was sent, and its absence as absence.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn the_context_arrives<C: Cluster>(cluster: &mut C) {
    let (a, mut b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.reach(&b).await;
    b.forget_requests();
    let sent =
        TraceContext { trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span_id: 0xb7ad_6b71_6920_3331, flags: 1 };
    for context in [sent, TraceContext::NONE] {
        let call = a.transport.call(request(&a.node, &b.node, 7), context, PATIENCE);
        call.await.expect("a live peer answers");
        let (_, arrived) = b.next_request().await;
        assert_eq!(arrived, context, "the context was changed on its way");
    }
    stop([a, b]).await;
}

/// A peer that takes a request and never answers costs no more than the deadline.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn an_unanswered_call_ends_by_its_deadline<C: Cluster>(cluster: &mut C) {
    let (a, b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.reach(&b).await;
    b.hold(true);
    let result =
        patiently(a.transport.call(request(&a.node, &b.node, 8), TraceContext::NONE, Duration::from_millis(50)));
    assert_eq!(result.await, Err(CallError::Timeout), "a call that nobody answers times out");
    b.hold(false);
    a.call(&b, 9).await.expect("a call after the one that timed out");
    stop([a, b]).await;
}

/// Nobody listens: the call is refused at once, and does not time out.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn nobody_listening_is_refused<C: Cluster>(cluster: &mut C) {
    let (a, b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.reach(&b).await;
    let gone = b.node.clone();
    stop([b]).await;
    let mut last = None;
    until("a call to a stopped peer is refused", async || {
        last = Some(a.transport.call(request(&a.node, &gone, 10), TraceContext::NONE, PATIENCE).await);
        // The first one may still find the connection that is being closed.
        matches!(last, Some(Err(CallError::Refused)))
    })
    .await;
    stop([a]).await;
}

/// A peer that dies while it works on a call ends the call at once, typed.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn a_death_in_a_call_is_not_a_timeout<C: Cluster>(cluster: &mut C) {
    let (a, mut b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.reach(&b).await;
    b.forget_requests();
    b.hold(true);
    let began = Instant::now();
    let call = a.transport.call(request(&a.node, &b.node, 11), TraceContext::NONE, PATIENCE * 3);
    let die = async {
        b.next_request().await;
        stop([b]).await;
    };
    let (result, ()) = tokio::join!(call, die);
    assert_eq!(result, Err(CallError::Closed), "the connection broke in the call");
    assert!(began.elapsed() < PATIENCE * 2, "the call waited for its deadline");
    stop([a]).await;
}

/// Calls to a peer that is silent, or gone, delay no call to a live one.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn a_dead_peer_delays_no_live_one<C: Cluster>(cluster: &mut C) {
    let (a, b, c) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await, Peer::start(cluster, "c").await);
    a.reach(&b).await;
    a.reach(&c).await;
    b.hold(true);
    let silent = async {
        let calls = (0..8).map(|id| a.transport.call(request(&a.node, &b.node, id), TraceContext::NONE, PATIENCE));
        let mut calls: Vec<_> = calls.map(Box::pin).collect();
        for call in &mut calls {
            drop(call.await);
        }
    };
    let live = async {
        for id in 20..40 {
            a.call(&c, id).await.expect("a live peer answers, whatever another one does");
        }
    };
    tokio::select! {
        biased;
        () = silent => panic!("calls to the live peer waited for those to the silent one"),
        () = live => {}
    }
    stop([a, b, c]).await;
}

/// A peer that was away is reached again, without any help.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn a_peer_that_returns_is_reached<C: Cluster>(cluster: &mut C) {
    let (a, b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.reach(&b).await;
    stop([b]).await;
    let b = Peer::start(cluster, "b").await;
    a.reach(&b).await;
    stop([a, b]).await;
}

/// An idle peer dies: the inbox hears that its connection closed and then that a reconnect was refused, without a call.
///
/// # Panics
/// When the transport breaks its contract.
pub async fn the_death_of_an_idle_peer_is_reported<C: Cluster>(cluster: &mut C) {
    let (mut a, b) = (Peer::start(cluster, "a").await, Peer::start(cluster, "b").await);
    a.hear("that the connection stands", |news| matches!(news, News::Connected(peer) if peer.as_str() == "b")).await;
    stop([b]).await;
    a.hear("that the connection closed", |news| matches!(news, News::Closed(peer) if peer.as_str() == "b")).await;
    let lost = |news: &News| matches!(news, News::Lost(peer, true) if peer.as_str() == "b");
    a.hear("that the reconnect was refused", lost).await;
    stop([a]).await;
}

/// What an inbox heard beside requests.
#[derive(Debug)]
enum News {
    Connected(NodeId),
    Closed(NodeId),
    Lost(NodeId, bool),
}

/// A started transport and a little responder behind its inbox.
struct Peer<T> {
    node: NodeId,
    transport: T,
    requests: mpsc::UnboundedReceiver<(Request, TraceContext)>,
    news: mpsc::UnboundedReceiver<News>,
    holding: Arc<AtomicBool>,
}

impl<T: Transport> Peer<T> {
    async fn start<C: Cluster<Transport = T>>(cluster: &mut C, name: &str) -> Peer<T> {
        let node = NodeId::new(name).expect("a name");
        let transport = cluster.transport(&node).await;
        let (inbox, mut incoming) = Inbox::new();
        transport.start(inbox).await.expect("the transport starts");
        let (request_sender, requests) = mpsc::unbounded_channel();
        let (news_sender, news) = mpsc::unbounded_channel();
        let holding = Arc::new(AtomicBool::new(false));
        let (me, hold) = (node.clone(), holding.clone());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(incoming) = incoming.recv().await {
                let news = match incoming {
                    Incoming::Request { request, context, reply, .. } => {
                        let answer = answer(&me, &request);
                        if hold.load(Ordering::SeqCst) {
                            held.push(reply);
                        } else {
                            drop(reply.send(answer));
                        }
                        drop(request_sender.send((request, context)));
                        continue;
                    }
                    Incoming::PeerConnected(peer) => News::Connected(peer),
                    Incoming::PeerClosed(peer) => News::Closed(peer),
                    Incoming::PeerLost { peer, refused } => News::Lost(peer, refused),
                };
                drop(news_sender.send(news));
            }
        });
        Peer { node, transport, requests, news, holding }
    }

    /// From now on requests are taken and not answered.
    fn hold(&self, hold: bool) {
        self.holding.store(hold, Ordering::SeqCst);
    }

    async fn call(&self, to: &Peer<T>, id: u64) -> Result<Reply, CallError> {
        patiently(self.transport.call(request(&self.node, &to.node, id), TraceContext::NONE, PATIENCE)).await
    }

    /// Calls until the peer answers: the first connection takes its time.
    async fn reach(&self, to: &Peer<T>) {
        until("a live peer is reached", async || {
            let call =
                self.transport.call(request(&self.node, &to.node, 1), TraceContext::NONE, Duration::from_secs(1));
            call.await.is_ok()
        })
        .await;
    }

    fn forget_requests(&mut self) {
        while self.requests.try_recv().is_ok() {}
    }

    async fn next_request(&mut self) -> (Request, TraceContext) {
        patiently(self.requests.recv()).await.expect("the responder runs")
    }

    async fn hear(&mut self, what: &str, is: impl Fn(&News) -> bool) {
        let mut heard = Vec::new();
        let search = async {
            while let Some(news) = self.news.recv().await {
                let found = is(&news);
                heard.push(news);
                if found {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        assert!(found.is_ok(), "the inbox did not hear {what}, but {heard:?}");
    }
}

async fn stop<T: Transport, const N: usize>(peers: [Peer<T>; N]) {
    for peer in peers {
        patiently(peer.transport.stop()).await;
    }
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE * 2, what).await.expect("the transport hangs")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn identity(node: &NodeId) -> Arc<Identity> {
    Arc::new(Identity {
        version: PROTOCOL_VERSION,
        cluster: ClusterId::new("contract").expect("a name"),
        founding: Founding(1),
        group: GroupId::default(),
        node: node.clone(),
        disk: DiskId(1),
        incarnation: Incarnation(1),
        timing: 1,
        priority: 100,
        amnesiac: false,
    })
}

fn request(from: &NodeId, to: &NodeId, id: u64) -> Request {
    let body = RequestBody::Resign;
    Request { from: identity(from), to: to.clone(), id: RequestId(id), term: Term(1), body }
}

fn answer(me: &NodeId, request: &Request) -> Reply {
    Reply {
        from: identity(me),
        to: request.from.holder(),
        id: request.id,
        kind: request.body.kind(),
        term: request.term,
        verdict: Verdict::Granted,
        worked: Duration::ZERO,
        body: ReplyBody::None,
    }
}
