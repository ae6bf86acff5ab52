//! What only the inside shows: many groups in one driver, and writes that share a sync.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::writer::{Job, Writer};
use super::{Command, Handle, Mail, Parcel, Setup, StartWhen};
use crate::clock::Clock;
use crate::config::{Config, Timing};
use crate::event::WriteId;
use crate::node::Input;
use crate::observer::NoPropagator;
use crate::record::HardState;
use crate::storage::memory::VolatileStorage;
use crate::storage::{Storage, StorageError};
use crate::transport::memory::MemoryNetwork;
use crate::types::{ClusterId, DiskId, GroupId, NodeId};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(group: &str, node: &str, members: &[&str]) -> Config {
    let name = |name: &str| NodeId::new(name).expect("a name");
    let members = members.iter().map(|member| name(member)).collect();
    let config = Config::new(ClusterId::new("test").expect("a name"), name(node), members);
    Config { group: GroupId::new(group).expect("a name"), volatile: true, ..config }
}

async fn start(network: &MemoryNetwork, node: &str, groups: &[String], members: &[&str]) -> Vec<Handle> {
    let setup = Setup {
        configs: groups.iter().map(|group| config(group, node, members)).collect(),
        storage: Box::new(VolatileStorage::new()),
        transport: Arc::new(network.transport(&NodeId::new(node).expect("a name"))),
        observers: Vec::new(),
        propagator: Box::new(NoPropagator),
        addresses: std::collections::BTreeMap::new(),
        drain_limit: Duration::from_secs(1),
        beat_every: 100,
        clock: crate::clock::Clock::default(),
        on_current_runtime: true,
    };
    super::start(setup).await.expect("it starts")
}

async fn lead(handle: &Handle) -> Arc<super::Guard> {
    let (reply, guard) = oneshot::channel();
    handle.send(Command::Lead { when: StartWhen::Exclusive, reply });
    guard.await.expect("it runs").accept().expect("accepted once")
}

/// One loop, one timer and one writer serve every group; each elects its own leader, and leaves on its own.
#[tokio::test]
async fn a_driver_serves_many_groups() {
    let network = MemoryNetwork::new(1);
    let groups: Vec<String> = (0..20).map(|at| format!("g{at}")).collect();
    let members = ["a", "b", "c"];
    let mut nodes = Vec::new();
    for node in members {
        nodes.push(start(&network, node, &groups, &members).await);
    }
    for ((a, b), c) in nodes[0].iter().zip(&nodes[1]).zip(&nodes[2]) {
        let any = async {
            tokio::select! {
                guard = lead(a) => guard,
                guard = lead(b) => guard,
                guard = lead(c) => guard,
            }
        };
        let guard = tokio::time::timeout(PATIENCE, any).await.expect("each group elects");
        assert!(guard.office.holds(crate::clock::now()));
    }
    for (at, handle) in nodes[0].iter().enumerate() {
        assert!(!handle.ended.is_cancelled(), "it ends with its last group, not with number {at}");
        handle.send(Command::Shutdown);
        let mut view = handle.view.clone();
        let stopped = view.wait_for(|view| view.role == crate::event::Role::Stopped);
        tokio::time::timeout(PATIENCE, stopped).await.expect("it stops").expect("it says so");
    }
    tokio::time::timeout(PATIENCE, nodes[0][0].ended.cancelled()).await.expect("it ends with its last group");
}

/// Reports how many states each save holds, and waits for a permission before it saves.
struct Gated {
    saves: mpsc::Sender<usize>,
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Storage for Gated {
    fn load(&mut self, _: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(None)
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        self.saves.send(states.len()).map_err(|error| StorageError::Other(error.to_string()))?;
        self.gate.lock().expect("unpoisoned").recv().map_err(|error| StorageError::Other(error.to_string()))
    }
}

/// What queues up behind a slow disk is written at once, and each write is answered.
#[tokio::test]
async fn waiting_writes_share_one_sync() {
    let (mail, mut letters) = Mail::new();
    let (saves, saved) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    open.send(()).expect("the recovery's save");
    let storage = Gated { saves, gate: Arc::new(Mutex::new(gate)) };
    let started =
        Writer::start(Box::new(storage), vec![config("g", "a", &["a"])], mail.clone(), Clock::default()).await;
    let (writer, _) = started.expect("it starts");
    assert_eq!(saved.recv_timeout(PATIENCE), Ok(1), "the raised incarnation");
    let job = |write| Job {
        group: 0,
        id: GroupId::default(),
        write: WriteId(write),
        state: HardState::new(DiskId(1), Timing::default().promise_max),
        afresh: false,
    };
    writer.write(job(1), &mail);
    assert_eq!(saved.recv_timeout(PATIENCE), Ok(1));
    for write in 2..=4 {
        writer.write(job(write), &mail);
    }
    for _ in 0..2 {
        open.send(()).expect("the writer waits");
    }
    assert_eq!(saved.recv_timeout(PATIENCE), Ok(3), "what waited shares a sync");
    for write in 1..=4 {
        let letter = tokio::time::timeout(PATIENCE, letters.recv()).await.expect("an answer");
        let Some(Parcel::Input(0, Input::Persisted(WriteId(durable)))) = letter else { panic!("{letter:?}") };
        assert_eq!(durable, write);
    }
    // The gate is closed for good: the disk fails from here on, and says so.
    drop(open);
    writer.write(job(5), &mail);
    let letter = tokio::time::timeout(PATIENCE, letters.recv()).await.expect("an answer");
    assert!(matches!(letter, Some(Parcel::Input(0, Input::PersistFailed(WriteId(5), _)))), "{letter:?}");
    assert!(writer.finish().await);
}
