//! How an elector is set up. What is dangerous to leave out has no default: it is asked for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Elector;
use super::error::StartError;
use crate::clock::Clock;
use crate::config::{Config, Timing};
use crate::driver::{self, Setup, StartFailure, StartWhen};
use crate::observer::journal::Journal;
use crate::observer::log::Log;
use crate::observer::recent::{self, Recent};
use crate::observer::{NoPropagator, Observer, Propagator};
use crate::storage::Storage;
use crate::storage::file::FileStorage;
use crate::storage::memory::VolatileStorage;
#[cfg(feature = "grpc")]
use crate::transport::grpc::{GrpcConfig, GrpcTransport, Security};
use crate::transport::{AnyTransport, Transport};
use crate::types::{ClusterId, GroupId, NameError, NodeId};

/// How long work may take to end once leadership is given up, unless told otherwise.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Sets an [`Elector`] up: [`Elector::builder`] makes one, [`ElectorBuilder::start`] starts it.
#[must_use]
pub struct ElectorBuilder {
    cluster: Option<String>,
    group: Option<String>,
    node: Option<String>,
    listen: Option<String>,
    peers: Vec<(String, Option<String>)>,
    timing: Timing,
    priority: u8,
    trust_connection_refused: bool,
    joins: bool,
    insecure: bool,
    store: Option<Store>,
    transport: Option<Arc<dyn AnyTransport>>,
    observers: Vec<Box<dyn Observer>>,
    journal: Option<PathBuf>,
    explained: usize,
    propagator: Option<Box<dyn Propagator>>,
    drain_limit: Duration,
    start_when: StartWhen,
    clock: Clock,
    on_current_runtime: bool,
    beat_every: u32,
}

/// How many rounds of heartbeats there are for each one that leaves a trace, unless told otherwise: one every five seconds
/// at the default timing.
pub const HEARTBEATS_PER_TRACE: u32 = 100;

/// Where the hard state lives.
enum Store {
    Directory(PathBuf),
    Volatile,
    Custom(Box<dyn Storage>),
}

impl fmt::Debug for ElectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectorBuilder")
            .field("cluster", &self.cluster)
            .field("group", &self.group)
            .field("node", &self.node)
            .field("listen", &self.listen)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

impl ElectorBuilder {
    pub(super) fn new() -> ElectorBuilder {
        ElectorBuilder {
            cluster: None,
            group: None,
            node: None,
            listen: None,
            peers: Vec::new(),
            timing: Timing::default(),
            priority: 100,
            trust_connection_refused: false,
            joins: false,
            insecure: false,
            store: None,
            transport: None,
            observers: Vec::new(),
            journal: None,
            explained: recent::CAPACITY,
            propagator: None,
            drain_limit: DRAIN_LIMIT,
            start_when: StartWhen::default(),
            clock: Clock::default(),
            on_current_runtime: false,
            beat_every: HEARTBEATS_PER_TRACE,
        }
    }

    /// The cluster's name. Required: two clusters that can reach each other need two names.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// This member's name, one of [`ElectorBuilder::peers`]. Required.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// The group: one election of its own within the cluster. Default `main`.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// The address to listen on, such as `0.0.0.0:7300`. Required with the transport that is built in.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Every member, this one included, and its address. Required, here or by [`ElectorBuilder::members`].
    ///
    /// The names found the cluster at its first start. After that the stored record decides who is a member, and this
    /// list only supplies addresses: after [`Elector::add_member`] and [`Elector::remove_member`] bring it up to date on
    /// every member, for their next start.
    pub fn peers<N: Into<String>, A: Into<String>>(mut self, peers: impl IntoIterator<Item = (N, A)>) -> Self {
        self.peers = peers.into_iter().map(|(node, address)| (node.into(), Some(address.into()))).collect();
        self
    }

    /// Every member, this one included, for a transport of one's own that knows the addresses.
    pub fn members<N: Into<String>>(mut self, members: impl IntoIterator<Item = N>) -> Self {
        self.peers = members.into_iter().map(|node| (node.into(), None)).collect();
        self
    }

    /// The times of the protocol, the same on every member. Default [`Timing::default`].
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Keeps the hard state in this directory, which belongs to this node alone. This, [`ElectorBuilder::volatile`] or
    /// [`ElectorBuilder::storage`] is required.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.store = Some(Store::Directory(directory.into()));
        self
    }

    /// Keeps the hard state in memory: a restart forgets votes, so that two leaders in one term become possible when
    /// a majority restarts within an election. All members must do the same.
    pub fn volatile(mut self) -> Self {
        self.store = Some(Store::Volatile);
        self
    }

    /// Keeps the hard state in a storage of one's own.
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.store = Some(Store::Custom(Box::new(storage)));
        self
    }

    /// Carries messages by a transport of one's own.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Speaks plaintext beyond loopback: anyone who reaches the address can vote.
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// This node joins a cluster that exists: it never takes part in a founding, and waits until the leader has added it
    /// ([`Elector::add_member`]). [`ElectorBuilder::peers`] lists the members of the time, and this node.
    ///
    /// A newcomer needs it for its first start. Once the members of a cluster have changed, every node should have it: one
    /// that lost its disk, and whose list is that of the first start, would found a second cluster if nobody on that list
    /// holds a record any more (a list of one names nobody else). It means nothing to a node that holds a record.
    pub fn join_existing(mut self) -> Self {
        self.joins = true;
        self
    }

    /// Larger stands earlier among equally fresh successors; it never forbids. Default 100.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Declares that a refused connection proves the death of the leader's process: its successor is exclusive at once.
    ///
    /// Do not where a firewall answers with REJECT, or where a service name refuses while it has no ready endpoints.
    pub fn trust_connection_refused(mut self) -> Self {
        self.trust_connection_refused = true;
        self
    }

    /// Gets every event, in order. May be given several times. Called on the driver's thread: it must not block.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Writes every event to this file as a line of JSON, behind what it holds already.
    pub fn journal(mut self, file: impl Into<PathBuf>) -> Self {
        self.journal = Some(file.into());
        self
    }

    /// How many elections [`Elector::explain`] remembers. Default 16.
    pub fn explained(mut self, elections: usize) -> Self {
        self.explained = elections;
        self
    }

    /// Observes, and gives outgoing messages their trace context: `telemetry::Spans`, or one of one's own. The last one
    /// given is the propagator.
    pub fn telemetry(mut self, both: impl Observer + Propagator + Clone) -> Self {
        self.observers.push(Box::new(both.clone()));
        self.propagator = Some(Box::new(both));
        self
    }

    /// Shows one round of heartbeats in so many to the observers, so that it becomes a span and a sample of round trips and
    /// intervals. Those are shown always: the first of a leadership, and one that ends a gap. Default
    /// [`HEARTBEATS_PER_TRACE`](crate::elector::HEARTBEATS_PER_TRACE); 1 shows all.
    pub fn heartbeats_per_trace(mut self, rounds: u32) -> Self {
        self.beat_every = rounds.max(1);
        self
    }

    /// How long work may take to end once leadership is given up; then `while_leader` drops it. Default 10 s.
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// When [`Elector::campaign`] and [`Elector::while_leader`] start work. Default [`StartWhen::Exclusive`].
    pub fn start_when(mut self, when: StartWhen) -> Self {
        self.start_when = when;
        self
    }

    /// Runs the driver as a task of the caller's tokio runtime, whose I/O and time drivers must be enabled.
    ///
    /// By default it has a thread of its own: a task that blocks the shared runtime for longer than the lease costs the
    /// leader its office.
    pub fn on_current_runtime(mut self) -> Self {
        self.on_current_runtime = true;
        self
    }

    /// Gives outgoing messages their trace context, and observes nothing.
    #[cfg(feature = "sim")]
    pub(crate) fn propagator(mut self, propagator: impl Propagator) -> Self {
        self.propagator = Some(Box::new(propagator));
        self
    }

    /// Lives on a clock that a simulation keeps.
    #[cfg(feature = "sim")]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts: recovers the hard state, listens, and takes part. Returns when it listens, and never waits for peers.
    ///
    /// # Errors
    /// [`StartError`] names what is missing or what failed. Nothing runs then.
    pub async fn start(mut self) -> Result<Elector, StartError> {
        let config = self.config()?;
        config.validate()?;
        let storage = self.open_storage(&config)?;
        let config = Config { volatile: storage.is_volatile(), ..config };
        let transport = match self.transport.take() {
            Some(transport) => transport,
            None => self.default_transport(&config)?,
        };
        if let Some(file) = &self.journal {
            self.observers.insert(0, Box::new(Journal::create(file)?));
        }
        if !self.observers.iter().any(|observer| observer.writes_log()) {
            self.observers.push(Box::new(Log::default()));
        }
        let recent = Recent::new(self.explained);
        self.observers.insert(0, Box::new(recent.clone()));
        let named =
            |(node, address): &(String, Option<String>)| Some((NodeId::new(node).ok()?, address.as_deref()?.into()));
        let addresses = self.peers.iter().filter_map(named).collect();
        let group = config.group.clone();
        let start_when = self.start_when;
        let setup = Setup {
            configs: vec![config],
            storage,
            transport,
            observers: self.observers,
            propagator: self.propagator.unwrap_or_else(|| Box::new(NoPropagator)),
            addresses,
            drain_limit: self.drain_limit,
            clock: self.clock,
            on_current_runtime: self.on_current_runtime,
            beat_every: self.beat_every.into(),
        };
        let handles = driver::start(setup).await.map_err(|failure| match failure {
            StartFailure::Storage(error) => StartError::Storage(error),
            StartFailure::Transport(error) => StartError::Transport(error),
            StartFailure::Thread(error) => StartError::Driver(error.to_string()),
            StartFailure::Panicked => StartError::Driver("it ended before it had started".into()),
        })?;
        let handle = handles.into_iter().next().ok_or_else(|| StartError::Driver("it has no group".into()))?;
        Ok(Elector::new(handle, group, recent, start_when))
    }

    fn config(&self) -> Result<Config, StartError> {
        let cluster = given(&self.cluster, "cluster", "name the cluster with .cluster(\"planner\")")?;
        let node = given(&self.node, "node", "name this member with .node(\"planner-0\")")?;
        if self.peers.is_empty() {
            let advice =
                "list every member, this one included, with .peers([(\"planner-0\", \"https://planner-0:7300\"), ..])";
            return Err(StartError::Missing { what: "peers", advice });
        }
        let members = self.peers.iter().map(|(peer, _)| NodeId::new(peer).map_err(named("peer")));
        let members = members.collect::<Result<_, _>>()?;
        let cluster = ClusterId::new(cluster).map_err(named("cluster"))?;
        let node = NodeId::new(node).map_err(named("node"))?;
        let mut config = Config::new(cluster, node, members);
        if let Some(group) = &self.group {
            config.group = GroupId::new(group).map_err(named("group"))?;
        }
        config.timing = self.timing.clone();
        config.priority = self.priority;
        config.trust_connection_refused = self.trust_connection_refused;
        config.joins = self.joins;
        Ok(config)
    }

    fn open_storage(&mut self, config: &Config) -> Result<Box<dyn Storage>, StartError> {
        let advice = "keep votes with .data_dir(\"/var/lib/planner\"), or accept losing them with .volatile()";
        let missing = StartError::Missing { what: "storage", advice };
        Ok(match self.store.take().ok_or(missing)? {
            Store::Directory(directory) => Box::new(FileStorage::open(directory, &config.cluster, &config.node)?),
            Store::Volatile => Box::new(VolatileStorage::new()),
            Store::Custom(storage) => storage,
        })
    }

    /// The transport that is built in: gRPC on a port of its own.
    #[cfg(feature = "grpc")]
    fn default_transport(&self, config: &Config) -> Result<Arc<dyn AnyTransport>, StartError> {
        let advice = "give the address to listen on with .listen(\"0.0.0.0:7300\")";
        let listen = given(&self.listen, "listen", advice)?.to_owned();
        let peers = config.members.iter().zip(&self.peers);
        let grpc = GrpcConfig {
            node: config.node.clone(),
            listen,
            peers: peers.filter_map(|(node, (_, address))| Some((node.clone(), address.clone()?))).collect(),
            security: if self.insecure { Security::Insecure } else { Security::Loopback },
            // Below half an election timeout: a peer that was away hears from the leader before it campaigns.
            backoff_max: config.timing.election_timeout_min * 2 / 5,
        };
        Ok(Arc::new(GrpcTransport::new(grpc)))
    }

    #[cfg(not(feature = "grpc"))]
    fn default_transport(&self, _: &Config) -> Result<Arc<dyn AnyTransport>, StartError> {
        let advice = "give one with .transport(..), or enable the feature `grpc`";
        Err(StartError::Missing { what: "transport", advice })
    }
}

fn given<'a>(setting: &'a Option<String>, what: &'static str, advice: &'static str) -> Result<&'a str, StartError> {
    setting.as_deref().ok_or(StartError::Missing { what, advice })
}

fn named(what: &'static str) -> impl Fn(NameError) -> StartError {
    move |source| StartError::Name { what, source }
}
