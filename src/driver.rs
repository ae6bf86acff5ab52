//! The loop that runs the core: wait, step, publish, persist, show, send.
//!
//! One loop serves every group of a process: one queue of deadlines on one precise timer, one writer thread, and a
//! short task for each request under way. Nothing is a thread or a task for each group.
//!
//! After every step, in this order: the guards see what changed; the write starts; the observers see the events; the
//! messages leave, with the trace context that the observers prepared; the replies leave. A guard is therefore revoked
//! before anybody else can hear of it (PROPERTIES E5).

mod calls;
mod candidacy;
mod collective;
mod command;
mod group;
mod office;
mod pulse;
mod run;
mod show;
mod standing;
mod tenure;
#[cfg(test)]
mod tests;
mod view;
mod watchman;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use command::StartWhen;
pub(crate) use command::{
    ChangeFailure, Command, Delivery, Guard, Mail, NotLeading, Parcel, ProclaimFailure, Transfer, TransferFailure,
};
pub use office::LossCause;
pub(crate) use tenure::{Hold, Tenure};
pub use view::{Cause, Events, View, ViewWatch};

use crate::clock::Clock;
use crate::config::Config;
use crate::event::Event;
use crate::observer::{Condition, Observer, Propagator};
use crate::record::Member;
use crate::storage::{Storage, StorageError};
use crate::transport;
use crate::transport::{AnyTransport, Health, HealthWatch, Inbox, Incoming, TransportError};
use crate::types::NodeId;

/// Everything that a driver is made of.
pub(crate) struct Setup {
    /// One for each group; all of one node.
    pub(crate) configs: Vec<Config>,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) transport: Arc<dyn AnyTransport>,
    pub(crate) observers: Vec<Box<dyn Observer>>,
    pub(crate) propagator: Box<dyn Propagator>,
    /// How long work may take to end once leadership is given up.
    pub(crate) drain_limit: Duration,
    /// One round of heartbeats in so many is shown to the observers.
    pub(crate) beat_every: u64,
    /// Where the members are, as far as this node was told.
    pub(crate) addresses: BTreeMap<NodeId, Arc<str>>,
    /// The node's clock.
    pub(crate) clock: Clock,
    /// Run as a task of the caller's runtime, and not on a thread of its own.
    pub(crate) on_current_runtime: bool,
}

/// Why a driver did not start. Nothing runs.
#[derive(Debug)]
pub(crate) enum StartFailure {
    Storage(StorageError),
    Transport(TransportError),
    Thread(std::io::Error),
    Panicked,
}

/// One group of a running driver.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) mail: Mail,
    pub(crate) group: usize,
    pub(crate) node: NodeId,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) events: broadcast::WeakSender<Arc<Event>>,
    pub(crate) proclaimed: watch::Receiver<Option<Bytes>>,
    pub(crate) members: watch::Receiver<Vec<Member>>,
    pub(crate) conditions: watch::Receiver<Vec<Condition>>,
    pub(crate) inbox: Inbox,
    pub(crate) health: HealthWatch,
    pub(crate) ended: CancellationToken,
    pub(crate) lag: Arc<Lag>,
}

/// How late deadlines were served.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    newest_ns: AtomicU64,
    largest_ns: AtomicU64,
}

impl Lag {
    fn note(&self, late: Duration) {
        let late = crate::types::nanos(late);
        self.newest_ns.store(late, Ordering::Relaxed);
        self.largest_ns.fetch_max(late, Ordering::Relaxed);
    }

    pub(crate) fn newest(&self) -> Duration {
        Duration::from_nanos(self.newest_ns.load(Ordering::Relaxed))
    }

    pub(crate) fn largest(&self) -> Duration {
        Duration::from_nanos(self.largest_ns.load(Ordering::Relaxed))
    }
}

impl Handle {
    /// Asks the driver; `false` if it is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.mail.send(Parcel::Command(self.group, command))
    }
}

/// The handles of a driver that runs, on their way to whoever started it. Dropped on the way, it leaves.
struct Started(Vec<Handle>);

impl Started {
    fn accept(mut self) -> Vec<Handle> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for handle in &self.0 {
            handle.send(Command::Shutdown);
        }
    }
}

/// Says that the member has stopped, also when the driver panicked.
struct Stopped(Arc<transport::Condition>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.worsen(Health::Stopped);
    }
}

/// What a driver shares with its handles.
pub(crate) struct Doors {
    mail: Mail,
    letters: mpsc::UnboundedReceiver<Parcel>,
    inbox: Inbox,
    incoming: mpsc::Receiver<Incoming>,
    ended: CancellationToken,
    lag: Arc<Lag>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("configs", &self.configs).finish_non_exhaustive()
    }
}

/// Recovers the groups' states, listens, and runs. Returns a handle for each group, in order; never waits for a peer.
pub(crate) async fn start(setup: Setup) -> Result<Vec<Handle>, StartFailure> {
    let (mail, letters) = Mail::new();
    let (inbox, incoming) = Inbox::with_clock(setup.clock.clone());
    let doors = Doors { mail, letters, inbox, incoming, ended: CancellationToken::new(), lag: Arc::default() };
    let (started, handles) = oneshot::channel::<Result<Started, StartFailure>>();
    let on_current_runtime = setup.on_current_runtime;
    let clock = setup.clock.clone();
    let driver = run::run(setup, doors, started);
    if on_current_runtime {
        clock.spawn(driver);
    } else {
        clock.runtime("hustings", driver).map_err(StartFailure::Thread)?;
    }
    handles.await.map_err(|_| StartFailure::Panicked)?.map(Started::accept)
}
