//! One peer: the task that keeps exactly one connection to it, and the calls that use it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};

use super::address::Address;
use super::error::{call_error, connect_error};
use super::link::{Client, Link, Pulse};
use super::{ADDED_PEERS, TRACEPARENT};
use crate::message::{CallError, Reply, Request, RequestKind};
use crate::observer::Traffic;
use crate::transport::Inbox;
use crate::types::{NodeId, TraceContext};

/// The first pause between two attempts to connect; the next is twice as long, up to the configured one.
const BACKOFF_MIN: Duration = Duration::from_millis(2);
/// How many attempts may be under way at once: one that hangs must not delay the next.
const ATTEMPTS_MAX: usize = 8;
/// A connection that ends sooner than this is a flap.
const FLAP: Duration = Duration::from_millis(20);
/// After more flaps in a row the reconnect is not immediate: who accepts only to close is not hammered.
const FLAPS_MAX: u32 = 3;

/// A peer and the state of the connection to it.
#[derive(Debug)]
pub(super) struct Peer {
    node: NodeId,
    address: Address,
    backoff_max: Duration,
    state: Mutex<State>,
    /// The peer was heard on a connection of its own: it is worth an attempt.
    heard: Notify,
    /// The connection is silent while calls time out: it is replaced.
    stale: Notify,
}

#[derive(Debug, Clone)]
enum State {
    Up(Client, Arc<Pulse>),
    /// What a call fails with, at once.
    Down(CallError),
}

impl Peer {
    pub(super) fn new(node: NodeId, address: Address, backoff_max: Duration) -> Peer {
        let state = Mutex::new(State::Down(CallError::Unreachable("no connection yet".to_owned())));
        let backoff_max = backoff_max.max(BACKOFF_MIN);
        Peer { node, address, backoff_max, state, heard: Notify::new(), stale: Notify::new() }
    }

    /// Keeps the connection for as long as it is polled.
    pub(super) async fn keep(self: Arc<Self>, inbox: Inbox) {
        let mut flaps = 0;
        loop {
            let mut link = self.dial(inbox.traffic()).await;
            loop {
                let stood = self.hold(&mut link, &inbox).await;
                drop(link);
                flaps = if stood < FLAP { flaps + 1 } else { 0 };
                if flaps > FLAPS_MAX {
                    tokio::time::sleep(self.backoff_max).await;
                }
                match self.reconnect(inbox.traffic()).await {
                    Ok(again) => link = again,
                    Err(error) => {
                        self.set(State::Down(connect_error(&error)));
                        inbox.peer_lost(self.node.clone(), error.kind() == io::ErrorKind::ConnectionRefused).await;
                        break;
                    }
                }
            }
        }
    }

    /// Asks the peer, if there is a connection.
    pub(super) async fn call(
        &self,
        request: Request,
        context: TraceContext,
        added: Option<MetadataValue<Ascii>>,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let (mut client, pulse) = match self.state() {
            State::Up(client, pulse) => (client, pulse),
            State::Down(error) => return Err(error),
        };
        let kind = request.body.kind();
        let mut request = tonic::Request::new(request);
        let traceparent = context.to_traceparent().and_then(|text| MetadataValue::<Ascii>::try_from(text).ok());
        if let Some(traceparent) = traceparent {
            request.metadata_mut().insert(TRACEPARENT, traceparent);
        }
        if let Some(added) = added {
            request.metadata_mut().insert(ADDED_PEERS, added);
        }
        let answer = async {
            match kind {
                RequestKind::PreVote => client.pre_vote(request).await,
                RequestKind::RequestVote => client.request_vote(request).await,
                RequestKind::AppendEntries => client.append_entries(request).await,
                RequestKind::TimeoutNow => client.timeout_now(request).await,
                RequestKind::Resign => client.resign(request).await,
            }
        };
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(call_error(&status)),
            Err(_) => {
                // A machine that vanished sends no end of file, and its successor may have another address.
                if pulse.silence() > self.backoff_max * 2 {
                    self.stale.notify_one();
                }
                Err(CallError::Timeout)
            }
        }
    }

    /// Notes that the peer was heard on a connection of its own.
    pub(super) fn hear(&self) {
        if matches!(*self.lock(), State::Down(_)) {
            self.heard.notify_one();
        }
    }

    /// Publishes a connection until it ends. Returns for how long it stood.
    async fn hold(&self, link: &mut Link, inbox: &Inbox) -> Duration {
        let since = Instant::now();
        self.set(State::Up(link.client.clone(), link.pulse.clone()));
        inbox.peer_connected(self.node.clone()).await;
        let pulse = link.pulse.clone();
        let stale = async {
            loop {
                self.stale.notified().await;
                // The word may be about the connection before this one.
                if pulse.silence() > self.backoff_max * 2 {
                    break;
                }
            }
        };
        tokio::select! {
            () = link.ended() => {}
            () = stale => {}
        }
        self.set(State::Down(CallError::Closed));
        inbox.peer_closed(self.node.clone()).await;
        since.elapsed()
    }

    /// The attempt that tells a peer that is gone from a connection that is. A process that dies takes its sockets down
    /// one by one: whoever is cut off halfway asks again, until it is refused.
    async fn reconnect(&self, traffic: &Arc<Traffic>) -> io::Result<Link> {
        let limit = Instant::now() + self.backoff_max.max(Duration::from_millis(50));
        loop {
            let rest = limit.saturating_duration_since(Instant::now());
            match Link::connect(&self.address, rest, traffic.clone()).await {
                Err(error) if is_cut(&error) && Instant::now() < limit => tokio::time::sleep(BACKOFF_MIN).await,
                done => return done,
            }
        }
    }

    /// Tries until the peer is reached. Attempts overlap, so that one that hangs does not delay the next.
    async fn dial(&self, traffic: &Arc<Traffic>) -> Link {
        let limit = self.backoff_max.max(Duration::from_millis(25)) * u32::try_from(ATTEMPTS_MAX).unwrap_or(1);
        let mut attempts = JoinSet::new();
        let mut pause = BACKOFF_MIN;
        loop {
            if attempts.len() < ATTEMPTS_MAX {
                let (address, traffic) = (self.address.clone(), traffic.clone());
                attempts.spawn(async move { Link::connect(&address, limit, traffic).await });
            }
            let next = Instant::now() + pause;
            pause = (pause * 2).min(self.backoff_max);
            loop {
                tokio::select! {
                    Some(done) = attempts.join_next() => match done {
                        Ok(Ok(link)) => return link,
                        Ok(Err(error)) => self.set(State::Down(connect_error(&error))),
                        Err(_) => {}
                    },
                    () = tokio::time::sleep_until(next) => break,
                    () = self.heard.notified() => {
                        pause = BACKOFF_MIN;
                        tokio::time::sleep(pause).await;
                        break;
                    }
                }
            }
        }
    }

    fn state(&self) -> State {
        self.lock().clone()
    }

    fn set(&self, state: State) {
        *self.lock() = state;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody accepted and closed.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | io::ErrorKind::Other)
}
