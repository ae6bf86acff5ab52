//! gRPC: a port of its own, and exactly one HTTP/2 connection to each peer, opened eagerly and kept up.
//!
//! The same port answers `grpc.health.v1.Health`. The services `readiness`, `hustings.v1.Election` and the empty name are
//! `SERVING` while the member is ready ([`Unready`](super::Unready) says what may be lacking), whatever its role: a rollout
//! that is paced by it, `readinessProbe: {grpc: {port: 7300}}`, does not go on over a member without a vote. The service
//! `liveness` tells whether it is alive ([`Health::is_alive`](super::Health::is_alive)): `livenessProbe: {grpc: {port: 7300,
//! service: liveness}}`, and never without that name, since no restart cures what readiness waits for. A kubelet asks in
//! plaintext, at the address of the pod, so that the member must listen there.
//!
//! The trace context travels as `traceparent` metadata. `tracestate` is ignored: it has no fixed size, and nothing here
//! depends on it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::address::Address;
use self::peers::{Peers, Place};
use super::{Inbox, Transport, TransportError};
use crate::message::{CallError, Reply, Request};
use crate::types::{NodeId, TraceContext};

mod address;
pub(crate) mod codec;
mod error;
mod health;
mod link;
mod peer;
mod peers;
mod server;
#[rustfmt::skip] // generated
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod service;

/// The metadata key of the trace context.
const TRACEPARENT: &str = "traceparent";
/// The metadata key of the addresses of members that were added while this node ran.
const ADDED_PEERS: &str = "hustings-peers";

/// Where this node listens and where its peers are.
#[derive(Debug, Clone)]
pub struct GrpcConfig {
    /// This node: its own entry among the peers is passed over.
    pub node: NodeId,
    /// Where to listen: `host:port`. Port 0 takes a free one, see [`GrpcTransport::local_addr`].
    pub listen: String,
    /// Where the members are: `host:port`, with or without `http://`. A name is resolved again at each connect.
    pub peers: Vec<(NodeId, String)>,
    /// How connections are protected.
    pub security: Security,
    /// The longest pause between two attempts to reach a peer: less than half an election timeout, so that a peer that
    /// returns hears from a leader before it campaigns.
    pub backoff_max: Duration,
}

/// How connections are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Security {
    /// Plaintext between addresses of this machine; anything beyond loopback is refused.
    #[default]
    Loopback,
    /// Plaintext everywhere: anyone who reaches the port can vote.
    Insecure,
}

/// A [`Transport`] by gRPC.
///
/// Made and started within a tokio runtime, whose tasks carry it. Dropping it stops it.
#[derive(Debug)]
pub struct GrpcTransport {
    config: GrpcConfig,
    listener: Mutex<Option<std::net::TcpListener>>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    peers: Arc<Peers>,
    tasks: JoinSet<()>,
}

impl GrpcTransport {
    /// A transport that has not started: nothing listens and nothing connects.
    #[must_use]
    pub fn new(config: GrpcConfig) -> GrpcTransport {
        GrpcTransport { config, listener: Mutex::new(None), running: Mutex::new(None) }
    }

    /// Takes a socket that listens already, instead of `listen`: from a service manager, or a test that must know its
    /// port beforehand.
    #[must_use]
    pub fn with_listener(self, listener: std::net::TcpListener) -> GrpcTransport {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        self
    }

    /// Where it listens; `None` unless it has started.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.running().as_ref().map(|running| running.address)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self, inbox: Inbox) -> Result<Peers, TransportError> {
        let place = Place {
            node: self.config.node.clone(),
            security: self.config.security,
            backoff_max: self.config.backoff_max,
            inbox,
        };
        Peers::new(place, &self.config.peers)
    }

    async fn bind(&self) -> Result<TcpListener, TransportError> {
        let given = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listen = |source| TransportError::Listen { address: self.config.listen.clone(), source };
        if let Some(listener) = given {
            let address = listener.local_addr().map_err(listen)?;
            self.config.security.check(&address.to_string(), address.ip().is_loopback())?;
            listener.set_nonblocking(true).map_err(listen)?;
            return TcpListener::from_std(listener).map_err(listen);
        }
        let address = Address::parse(&self.config.listen)?;
        self.config.security.check(&self.config.listen, address.is_loopback())?;
        TcpListener::bind((address.host.as_str(), address.port)).await.map_err(listen)
    }
}

impl Security {
    fn check(self, address: &str, is_loopback: bool) -> Result<(), TransportError> {
        match self {
            Security::Loopback if !is_loopback => Err(TransportError::Insecure { address: address.to_owned() }),
            Security::Loopback | Security::Insecure => Ok(()),
        }
    }
}

impl Transport for GrpcTransport {
    async fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        let peers = Arc::new(self.peers(inbox.clone())?);
        let listener = self.bind().await?;
        let address = listener
            .local_addr()
            .map_err(|source| TransportError::Listen { address: self.config.listen.clone(), source })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(listener, inbox, peers.clone()));
        peers.connect();
        *self.running() = Some(Running { address, peers, tasks });
        Ok(())
    }

    async fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Result<Reply, CallError> {
        let found = self.running().as_ref().map(|running| (running.peers.get(&request.to), running.peers.added()));
        match found {
            Some((Some(peer), added)) => peer.call(request, context, added, deadline).await,
            _ => Err(CallError::Unreachable(format!("no address of {}", request.to))),
        }
    }

    async fn stop(&self) {
        let running = self.running().take();
        if let Some(mut running) = running {
            running.peers.disconnect().await;
            running.tasks.shutdown().await;
        }
    }

    fn reach(&self, node: &NodeId, address: &str) -> Result<(), TransportError> {
        match self.running().as_ref() {
            Some(running) => running.peers.reach(node, address),
            None => Err(TransportError::Other("the transport has not started".to_owned())),
        }
    }

    fn forget(&self, node: &NodeId) {
        if let Some(running) = self.running().as_ref() {
            running.peers.forget(node);
        }
    }
}
