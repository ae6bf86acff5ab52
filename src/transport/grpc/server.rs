//! The listener: bounded in every direction, because anyone who reaches the port may talk to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tonic::Status;
use tonic::codegen::{Service as _, http};
use tonic::metadata::MetadataMap;

use super::error::status_of_handle;
use super::health;
use super::link::{Nursery, Pulse, Watched};
use super::peers::Peers;
use super::service::election_server::{Election, ElectionServer};
use super::{ADDED_PEERS, TRACEPARENT};
use crate::message::{Reason, Reply, Request, RequestKind, Verdict};
use crate::transport::inbox::Budget;
use crate::transport::{HandleError, Inbox};
use crate::types::TraceContext;
use crate::wire::FRAME_LEN_MAX;

/// How many connections there may be.
const CONNECTIONS_MAX: usize = 1024;
/// How many of them may have asked nothing yet; the oldest of those makes room. Members have one idle connection each.
const STRANGERS_MAX: usize = 256;
/// How long a connection may say nothing at all.
const GREETING_MAX: Duration = Duration::from_secs(2);
/// How often a connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How many requests of one connection may be under way: those of all groups share it, and more of them queue.
const STREAMS_MAX: u32 = 256;
/// How long one request may take, from its first header to the end of its answer. Members have shorter deadlines; this
/// is for those who begin a request and never end it.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How many requests of one connection may be refused in a second. The answers to further ones are held back, so that who
/// asks again and again leaves the loop's thread to those who wait for the node's own messages.
const REFUSALS_PER_SECOND: u32 = 8;
/// How long they are held back.
const HELD_BACK: Duration = Duration::from_secs(1);
/// The largest list of headers, in bytes.
const HEADERS_LEN_MAX: u32 = 8 * 1024;
/// The pause after the system refused to accept: it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Accepts for as long as it is polled. Dropping it closes the listener and every connection.
pub(super) async fn serve(listener: TcpListener, inbox: Inbox, peers: Arc<Peers>) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connections.admit(stream, &inbox, &peers),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.tasks.join_next() => {}
        }
    }
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first. Those that have asked are forgotten here.
    strangers: VecDeque<Stranger>,
}

struct Stranger {
    pulse: Arc<Pulse>,
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Connections {
    fn admit(&mut self, stream: TcpStream, inbox: &Inbox, peers: &Arc<Peers>) {
        self.strangers.retain(|stranger| !stranger.has_asked.load(Ordering::Relaxed) && !stranger.task.is_finished());
        if self.strangers.len() >= STRANGERS_MAX {
            // Whoever has not even greeted goes before a member that has nothing to ask.
            let silent = self.strangers.iter().position(|stranger| !stranger.pulse.is_heard());
            if let Some(stranger) = self.strangers.remove(silent.unwrap_or(0)) {
                stranger.task.abort();
            }
        }
        if self.tasks.len() >= CONNECTIONS_MAX + STRANGERS_MAX {
            return;
        }
        let (pulse, has_asked) = (Arc::new(Pulse::new()), Arc::new(AtomicBool::new(false)));
        let door = Door {
            inbox: inbox.clone(),
            peers: peers.clone(),
            has_asked: has_asked.clone(),
            refusals: Mutex::default(),
        };
        let task = self.tasks.spawn(connection(stream, door, pulse.clone()));
        self.strangers.push_back(Stranger { pulse, has_asked, task });
    }
}

async fn connection(stream: TcpStream, door: Door, pulse: Arc<Pulse>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let tasks = Nursery::new();
    let (traffic, health) = (door.inbox.traffic().clone(), door.inbox.health());
    let service = ElectionServer::new(door).max_decoding_message_size(FRAME_LEN_MAX);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (mut service, health) = (service.clone(), health.clone());
        let answer = async move {
            // Who asks for nothing but health stays a stranger: members go first where there is no room for all.
            match health::is_asked(&request) {
                true => health::answer(health, request).await,
                false => service.call(request).await.unwrap_or_else(|never| match never {}),
            }
        };
        tokio::time::timeout(REQUEST_MAX, answer)
    });
    let stream = TokioIo::new(Watched { stream, pulse: pulse.clone(), traffic });
    let serving = Builder::new(tasks.spawner())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_LEN_MAX)
        .serve_connection(stream, service);
    let mut serving = std::pin::pin!(serving);
    let greeted = tokio::time::timeout(GREETING_MAX, &mut serving).await;
    if greeted.is_err() && pulse.is_heard() {
        let _ = serving.await;
    }
}

/// Where requests come in.
struct Door {
    inbox: Inbox,
    peers: Arc<Peers>,
    has_asked: Arc<AtomicBool>,
    /// Of this connection.
    refusals: Mutex<Budget>,
}

impl Door {
    /// Whether an answer is one of a few in this second that say no to who is no member.
    fn is_quick(&self, reply: &Result<Reply, HandleError>) -> bool {
        let refused = match reply {
            Ok(reply) => matches!(
                reply.verdict,
                Verdict::Refused(
                    Reason::WrongCluster
                        | Reason::NotAMember
                        | Reason::DuplicateNode
                        | Reason::Unsupported
                        | Reason::Overloaded
                )
            ),
            Err(error) => *error == HandleError::Overloaded,
        };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        !refused || refusals.allows(crate::clock::now(), REFUSALS_PER_SECOND)
    }

    async fn ask(&self, request: tonic::Request<Request>, kind: RequestKind) -> Result<tonic::Response<Reply>, Status> {
        let context = trace_context(request.metadata());
        let added = request.metadata().get(ADDED_PEERS).cloned();
        let request = request.into_inner();
        if request.body.kind() != kind {
            return Err(Status::invalid_argument(format!("{} in a call of {kind}", request.body.kind())));
        }
        self.has_asked.store(true, Ordering::Relaxed);
        if let Some(peer) = self.peers.get(&request.from.node) {
            peer.hear();
        }
        if let Some(added) = added {
            self.peers.hear(&request.from.node, &added);
        }
        let reply = self.inbox.handle(request, context, None).await;
        if !self.is_quick(&reply) {
            tokio::time::sleep(HELD_BACK).await;
        }
        reply.map(tonic::Response::new).map_err(status_of_handle)
    }
}

#[tonic::async_trait]
impl Election for Door {
    async fn pre_vote(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.ask(request, RequestKind::PreVote).await
    }
    async fn request_vote(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.ask(request, RequestKind::RequestVote).await
    }
    async fn append_entries(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.ask(request, RequestKind::AppendEntries).await
    }
    async fn timeout_now(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.ask(request, RequestKind::TimeoutNow).await
    }
    async fn resign(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.ask(request, RequestKind::Resign).await
    }
}

fn trace_context(metadata: &MetadataMap) -> TraceContext {
    let text = metadata.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    text.and_then(TraceContext::from_traceparent).unwrap_or(TraceContext::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_silent_stranger_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut connections = Connections::default();
        let (inbox, _incoming) = Inbox::new();
        let mut clients = Vec::new();
        for n in 0..=STRANGERS_MAX {
            clients.push(TcpStream::connect(address).await.expect("it listens"));
            let (stream, _) = listener.accept().await.expect("a client");
            connections.admit(stream, &inbox, &Arc::new(Peers::none()));
            if n == 0 {
                connections.strangers[0].pulse.beat();
            }
        }
        assert_eq!(connections.strangers.len(), STRANGERS_MAX);
        assert!(connections.strangers[0].pulse.is_heard(), "who greeted stays");
        connections.tasks.join_next().await.expect("a connection").expect_err("the second was cut off");
        connections.strangers[0].has_asked.store(true, Ordering::Relaxed);
        clients.push(TcpStream::connect(address).await.expect("it listens"));
        let (stream, _) = listener.accept().await.expect("a client");
        connections.admit(stream, &inbox, &Arc::new(Peers::none()));
        assert_eq!(connections.tasks.len(), STRANGERS_MAX + 1, "who has asked is no stranger, and needs no room");
    }
}
