//! How messages travel. Two halves: [`Transport::call`] asks, the [`Inbox`] is asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::message::{CallError, Reply, Request};
use crate::observer::Traffic;
use crate::types::{NodeId, TraceContext};

pub mod contract;
#[cfg(feature = "grpc")]
pub mod grpc;
mod health;
pub mod memory;
mod readiness;

pub(crate) use health::Condition;
pub use health::{Health, HealthWatch};
pub use readiness::Unready;

/// Carries requests between members. One transport serves every group of a process.
///
/// **Contract** (checked by [`contract`]): a call ends by its deadline whatever the peer does; a dead peer delays no
/// call to a live one; a peer that returns is reached within the longest backoff; an error tells [`CallError::Refused`]
/// from [`CallError::Closed`] from [`CallError::Timeout`]; and when an established connection to a peer ends, the inbox
/// hears [`Inbox::peer_closed`], then whether an immediate reconnect worked, also when no call is in flight.
pub trait Transport: Send + Sync + 'static {
    /// Begins to listen and to connect. Returns when it listens, and never waits for a peer.
    fn start(&self, inbox: Inbox) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Asks a member, and waits for its answer for at most `deadline`.
    fn call(
        &self,
        request: Request,
        context: TraceContext,
        deadline: Duration,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send;

    /// Closes the listener and every connection.
    fn stop(&self) -> impl Future<Output = ()> + Send;

    /// Learns where a node is that is being added and was on no list. A transport that needs no addresses ignores it.
    ///
    /// # Errors
    /// [`TransportError`]: that is no address to connect to. Nothing was changed.
    fn reach(&self, node: &NodeId, address: &str) -> Result<(), TransportError> {
        let _ = (node, address);
        Ok(())
    }

    /// Forgets a node that was learned by [`Transport::reach`] and is no member any more.
    fn forget(&self, node: &NodeId) {
        let _ = node;
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`Transport`] without its type, so that what holds it needs no type parameter.
pub(crate) trait AnyTransport: Send + Sync + 'static {
    fn start(&self, inbox: Inbox) -> Boxed<'_, Result<(), TransportError>>;
    fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Boxed<'_, Result<Reply, CallError>>;
    fn stop(&self) -> Boxed<'_, ()>;
    fn reach(&self, node: &NodeId, address: &str) -> Result<(), TransportError>;
    fn forget(&self, node: &NodeId);
}

impl<T: Transport> AnyTransport for T {
    fn start(&self, inbox: Inbox) -> Boxed<'_, Result<(), TransportError>> {
        Box::pin(Transport::start(self, inbox))
    }
    fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Boxed<'_, Result<Reply, CallError>> {
        Box::pin(Transport::call(self, request, context, deadline))
    }
    fn stop(&self) -> Boxed<'_, ()> {
        Box::pin(Transport::stop(self))
    }
    fn reach(&self, node: &NodeId, address: &str) -> Result<(), TransportError> {
        Transport::reach(self, node, address)
    }
    fn forget(&self, node: &NodeId) {
        Transport::forget(self, node);
    }
}

/// What a transport tells the driver.
#[derive(Debug)]
pub enum Incoming {
    /// A request; the reply goes back through the channel. Dropping the channel unanswered ends the call without one.
    Request {
        /// The request.
        request: Request,
        /// Its trace context, [`TraceContext::NONE`] without one.
        context: TraceContext,
        /// Who the transport authenticated; `None` where it does not.
        peer: Option<NodeId>,
        /// Where the reply goes.
        reply: oneshot::Sender<Reply>,
    },
    /// An outbound connection stands.
    PeerConnected(NodeId),
    /// An established outbound connection ended.
    PeerClosed(NodeId),
    /// The immediate reconnect after it failed.
    PeerLost {
        /// The peer.
        peer: NodeId,
        /// Whether it was refused, and not only without answer.
        refused: bool,
    },
}

/// The driver's door for transports, and for applications that serve requests themselves.
#[derive(Debug, Clone)]
pub struct Inbox {
    sender: mpsc::Sender<Incoming>,
    traffic: Arc<Traffic>,
    condition: Arc<Condition>,
}

/// How many requests may wait for the driver before further ones are turned away.
pub const INBOX_CAPACITY: usize = 4096;

impl Inbox {
    /// An inbox and its other end.
    #[must_use]
    pub fn new() -> (Inbox, mpsc::Receiver<Incoming>) {
        Inbox::with_clock(Clock::default())
    }

    /// The inbox of a node whose clock a simulation may keep.
    pub(crate) fn with_clock(clock: Clock) -> (Inbox, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(INBOX_CAPACITY);
        (Inbox { sender, traffic: Arc::default(), condition: Arc::new(Condition::with_clock(clock)) }, receiver)
    }

    /// Where a transport counts the bytes that it moves, so that the cost of coordination is known.
    #[must_use]
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Watches whether the member behind this inbox does its part, and whether it is ready: for a transport that answers probes.
    #[must_use]
    pub fn health(&self) -> HealthWatch {
        HealthWatch::new(&self.condition)
    }

    pub(crate) fn condition(&self) -> &Arc<Condition> {
        &self.condition
    }

    /// Hands over a request, and waits for its reply.
    ///
    /// # Errors
    /// [`HandleError`]: the request was not taken, or will never be answered.
    pub async fn handle(
        &self,
        request: Request,
        context: TraceContext,
        peer: Option<NodeId>,
    ) -> Result<Reply, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Incoming::Request { request, context, peer, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => HandleError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => HandleError::Stopped,
        })?;
        answer.await.map_err(|_| HandleError::Unanswered)
    }

    /// Reports that an outbound connection stands.
    pub async fn peer_connected(&self, peer: NodeId) {
        let _ = self.sender.send(Incoming::PeerConnected(peer)).await;
    }

    /// Reports that an established outbound connection ended.
    pub async fn peer_closed(&self, peer: NodeId) {
        let _ = self.sender.send(Incoming::PeerClosed(peer)).await;
    }

    /// Reports that the immediate reconnect after [`Inbox::peer_closed`] failed: `refused`, or without answer.
    pub async fn peer_lost(&self, peer: NodeId, refused: bool) {
        let _ = self.sender.send(Incoming::PeerLost { peer, refused }).await;
    }
}

/// Why a request got no reply from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// Too many requests wait. This one was not seen.
    #[error("too many requests wait")]
    Overloaded,
    /// The node has stopped. The request was not seen.
    #[error("the node has stopped")]
    Stopped,
    /// The request was taken and will not be answered: its round is over, or the node stopped meanwhile.
    #[error("the request was dropped unanswered")]
    Unanswered,
}

/// Why a transport cannot start. Nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Plaintext beyond loopback was not asked for.
    #[error(
        "{address} is not a loopback address, and without TLS anyone who reaches it can vote: set up TLS, or write .insecure()"
    )]
    Insecure {
        /// The address.
        address: String,
    },
    /// An address cannot be understood.
    #[error("{address} is not an address: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A transport of the user's own failed.
    #[error("{0}")]
    Other(String),
}
