//! A network in memory, for tests and demonstrations: links can be cut one way, delayed, lossy and doubled.
//!
//! Every message goes through the codec, so that what works here works on a wire. All chance comes from one seed; the
//! order in which a runtime polls its tasks does not, so that a run is similar under one seed and not identical.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::{Inbox, Incoming, Transport, TransportError};
use crate::clock::Clock;
use crate::message::{CallError, Reply, Request};
use crate::observer::Traffic;
use crate::types::{NodeId, TraceContext};

mod codec;

/// One direction between two nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Nothing passes, and nobody is told: calls time out.
    pub cut: bool,
    /// How long a message is under way, drawn evenly. Default 0.
    pub delay: Range<Duration>,
    /// The share of messages that are lost, 0 to 1. Default 0.
    pub loss: f64,
    /// The share of messages that arrive twice, 0 to 1. Default 0.
    pub duplication: f64,
}

impl Default for Link {
    fn default() -> Self {
        Link { cut: false, delay: Duration::ZERO..Duration::ZERO, loss: 0.0, duplication: 0.0 }
    }
}

/// The network. Clones are the same network.
#[derive(Debug, Clone)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    random: Xoshiro256PlusPlus,
    /// Who listens now.
    listeners: BTreeMap<NodeId, Listener>,
    /// Links that differ from the default one.
    links: BTreeMap<(NodeId, NodeId), Link>,
    default_link: Link,
    /// Outbound connections that stand, and to which life of the peer.
    connections: BTreeMap<(NodeId, NodeId), u64>,
    lives: u64,
}

#[derive(Debug, Clone)]
struct Listener {
    life: u64,
    inbox: Inbox,
    /// Cancelled at its death.
    death: CancellationToken,
}

/// What the network does with one message.
struct Passage {
    passes: bool,
    twice: bool,
    delay: Duration,
}

impl MemoryNetwork {
    /// A network without faults; its chances come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> MemoryNetwork {
        MemoryNetwork::with_clock(seed, Clock::default())
    }

    /// A network of which a simulation may keep the time.
    pub(crate) fn with_clock(seed: u64, clock: Clock) -> MemoryNetwork {
        let state = State {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            default_link: Link::default(),
            connections: BTreeMap::new(),
            lives: 0,
        };
        MemoryNetwork { state: Arc::new(Mutex::new(state)), clock }
    }

    /// A transport for one life of a node: to bring a dead node back, ask for another one.
    #[must_use]
    pub fn transport(&self, node: &NodeId) -> MemoryTransport {
        MemoryTransport { network: self.clone(), node: node.clone(), life: Mutex::new(None) }
    }

    /// The process of a node dies: its connections close, its peers are told, and new ones are refused.
    ///
    /// What still runs in this process under its name is cut off for good: its calls time out.
    pub fn kill(&self, node: &NodeId) {
        self.change(|state| {
            if let Some(listener) = state.listeners.remove(node) {
                listener.death.cancel();
            }
            state.connections.retain(|(from, _), _| from != node);
        });
    }

    /// Cuts one direction, in silence: nobody is told.
    pub fn cut(&self, from: &NodeId, to: &NodeId) {
        self.shape(from, to, |link| link.cut = true);
    }

    /// Undoes [`MemoryNetwork::cut`].
    pub fn heal(&self, from: &NodeId, to: &NodeId) {
        self.shape(from, to, |link| link.cut = false);
    }

    /// Cuts both directions between a node and every other one, in silence.
    pub fn isolate(&self, node: &NodeId, others: &[NodeId]) {
        for other in others.iter().filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Every link is as the default one again.
    pub fn heal_all(&self) {
        self.change(|state| state.links.clear());
    }

    /// Changes one direction.
    pub fn shape(&self, from: &NodeId, to: &NodeId, change: impl FnOnce(&mut Link)) {
        self.change(|state| {
            let default = state.default_link.clone();
            change(state.links.entry((from.clone(), to.clone())).or_insert(default));
        });
    }

    /// Changes every direction that was not changed on its own.
    pub fn shape_all(&self, change: impl FnOnce(&mut Link)) {
        self.change(|state| change(&mut state.default_link));
    }

    /// Whether somebody listens under that name.
    #[cfg(feature = "sim")]
    pub(crate) fn listens(&self, node: &NodeId) -> bool {
        self.lock().listeners.contains_key(node)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.connect();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn link(&self, from: &NodeId, to: &NodeId) -> &Link {
        self.links.get(&(from.clone(), to.clone())).unwrap_or(&self.default_link)
    }

    fn passage(&mut self, from: &NodeId, to: &NodeId) -> Passage {
        let Link { cut, delay, loss, duplication } = self.link(from, to).clone();
        let delay = if delay.is_empty() { delay.start } else { self.random.random_range(delay) };
        let passes = !cut && self.random.random::<f64>() >= loss;
        Passage { passes, twice: self.random.random::<f64>() < duplication, delay }
    }

    /// Lets every listener notice what became of its connections. A cut hides it until it is healed.
    fn connect(&mut self) {
        let names: Vec<NodeId> = self.listeners.keys().cloned().collect();
        let gone: Vec<NodeId> = self.connections.keys().map(|(_, to)| to.clone()).collect();
        for from in &names {
            for to in names.iter().chain(&gone).filter(|to| *to != from) {
                if self.link(from, to).cut || self.link(to, from).cut {
                    continue;
                }
                let key = (from.clone(), to.clone());
                let before = self.connections.get(&key).copied();
                let after = self.listeners.get(to).map(|listener| listener.life);
                if before == after {
                    continue;
                }
                if before.is_some() {
                    self.tell(from, Incoming::PeerClosed(to.clone()));
                    self.connections.remove(&key);
                }
                match after {
                    Some(life) => {
                        self.connections.insert(key, life);
                        self.tell(from, Incoming::PeerConnected(to.clone()));
                    }
                    None => self.tell(from, Incoming::PeerLost { peer: to.clone(), refused: true }),
                }
            }
        }
    }

    /// Where that node counts its bytes; nowhere once it is dead.
    fn traffic(&self, node: &NodeId) -> Arc<Traffic> {
        self.listeners.get(node).map(|listener| listener.inbox.traffic().clone()).unwrap_or_default()
    }

    fn tell(&self, node: &NodeId, incoming: Incoming) {
        if let Some(listener) = self.listeners.get(node) {
            // A full inbox loses it, as a flooded process would notice it late.
            let _ = listener.inbox.sender.try_send(incoming);
        }
    }
}

/// One node's end of a [`MemoryNetwork`], for one life of the node.
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    node: NodeId,
    life: Mutex<Option<u64>>,
}

impl MemoryTransport {
    fn life(&self) -> Option<u64> {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_alive(&self, state: &State) -> bool {
        state.listeners.get(&self.node).is_some_and(|listener| Some(listener.life) == self.life())
    }

    async fn ask(&self, request: Request, context: TraceContext) -> Result<Reply, CallError> {
        let to = request.to.clone();
        let frame = codec::encode_request(&request);
        let traffic = self.network.lock().traffic(&self.node);
        traffic.count_sent(frame.len());
        let (listener, there) = {
            let mut state = self.network.lock();
            let silent = state.link(&self.node, &to).cut || !self.is_alive(&state);
            let listener =
                if silent { None } else { Some(state.listeners.get(&to).cloned().ok_or(CallError::Refused)?) };
            (listener, state.passage(&self.node, &to))
        };
        let Some(listener) = listener.filter(|_| there.passes) else { return silence().await };
        let death = listener.death.clone();
        tokio::select! {
            biased;
            () = death.cancelled() => {
                // The news of a death takes the way back.
                let hears = { let state = self.network.lock(); !state.link(&to, &self.node).cut && self.is_alive(&state) };
                if hears { Err(CallError::Closed) } else { silence().await }
            }
            reply = self.deliver(&listener, &frame, context, &there) => {
                let reply = reply?;
                listener.inbox.traffic().count_sent(reply.len());
                self.bring_back(&to, reply, &traffic).await
            }
        }
    }

    async fn deliver(
        &self,
        listener: &Listener,
        frame: &[u8],
        context: TraceContext,
        there: &Passage,
    ) -> Result<Vec<u8>, CallError> {
        if there.delay > Duration::ZERO {
            self.network.clock.sleep(there.delay).await;
        }
        let arrived = || {
            listener.inbox.traffic().count_received(frame.len());
            codec::decode_request(frame).map_err(CallError::Malformed)
        };
        if there.twice {
            let (inbox, request, peer) = (listener.inbox.clone(), arrived()?, self.node.clone());
            self.network.clock.spawn(async move { drop(inbox.handle(request, context, Some(peer)).await) });
        }
        match listener.inbox.handle(arrived()?, context, Some(self.node.clone())).await {
            Ok(reply) => Ok(codec::encode_reply(&reply)),
            // A request that nobody answers is silence for the asker, as it would be on a stream that stays open.
            Err(_) => silence().await,
        }
    }

    async fn bring_back(&self, from: &NodeId, frame: Vec<u8>, traffic: &Traffic) -> Result<Reply, CallError> {
        let (back, alive) = {
            let mut state = self.network.lock();
            (state.passage(from, &self.node), self.is_alive(&state))
        };
        if back.delay > Duration::ZERO {
            self.network.clock.sleep(back.delay).await;
        }
        if !back.passes || !alive {
            return silence().await;
        }
        traffic.count_received(frame.len());
        codec::decode_reply(&frame).map_err(CallError::Malformed)
    }
}

async fn silence<T>() -> T {
    std::future::pending().await
}

impl Transport for MemoryTransport {
    fn start(&self, inbox: Inbox) -> impl Future<Output = Result<(), TransportError>> + Send {
        self.network.change(|state| {
            state.lives += 1;
            *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Some(state.lives);
            let listener = Listener { life: state.lives, inbox, death: CancellationToken::new() };
            if let Some(former) = state.listeners.insert(self.node.clone(), listener) {
                former.death.cancel();
            }
            state.connections.retain(|(from, _), _| *from != self.node);
        });
        std::future::ready(Ok(()))
    }

    async fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Result<Reply, CallError> {
        self.network.clock.timeout(deadline, self.ask(request, context)).await.unwrap_or(Err(CallError::Timeout))
    }

    fn stop(&self) -> impl Future<Output = ()> + Send {
        let alive = self.is_alive(&self.network.lock());
        if alive {
            self.network.kill(&self.node);
        }
        std::future::ready(())
    }
}
