//! Readiness that is true: rollouts over real sockets and real disks, paced by nothing else.
#![cfg(feature = "grpc")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::{Elector, ElectorBuilder, Health, Unready};
use hustings::event::{Event, EventKind, RecordCause};
use hustings::record::HardState;
use hustings::storage::{Storage, StorageError};
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{GroupId, NodeId};

const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["a", "b", "c"];

type Peers = Vec<(&'static str, String)>;

fn free_addresses() -> Peers {
    let listeners = NAMES.map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = |listener: &TcpListener| listener.local_addr().expect("its address").to_string();
    NAMES.into_iter().zip(listeners.iter().map(address)).collect()
}

fn timing() -> Timing {
    Timing::of(Duration::from_millis(100))
}

struct Cluster {
    root: tempfile::TempDir,
    peers: Peers,
    founded: Arc<Mutex<BTreeSet<u64>>>,
    fences: Arc<Mutex<BTreeSet<u64>>>,
    /// How many records that name a disk were begun.
    namings: Arc<AtomicUsize>,
}

impl Cluster {
    fn new() -> Cluster {
        let root = tempfile::tempdir().expect("a directory");
        Cluster {
            root,
            peers: free_addresses(),
            founded: Arc::default(),
            fences: Arc::default(),
            namings: Arc::default(),
        }
    }

    fn disk(&self, at: usize) -> PathBuf {
        self.root.path().join(NAMES[at])
    }

    fn builder(&self, at: usize, list: &Peers) -> ElectorBuilder {
        let (founded, fences, namings) = (self.founded.clone(), self.fences.clone(), self.namings.clone());
        Elector::builder()
            .cluster("readiness")
            .node(NAMES[at])
            .listen(self.peers[at].1.clone())
            .peers(list.clone())
            .timing(timing())
            .data_dir(self.disk(at))
            .observer(move |event: &Event| match event.kind {
                EventKind::Founded { founding, .. } => drop(founded.lock().unwrap().insert(founding.0)),
                EventKind::Established { .. } => drop(fences.lock().unwrap().insert(event.term.0)),
                EventKind::RecordAppended { cause: RecordCause::Naming, .. } => {
                    namings.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            })
    }

    async fn start(&self, at: usize, list: &Peers) -> Elector {
        let end = Instant::now() + PATIENCE;
        loop {
            // Its former process may hold the port for a moment.
            match self.builder(at, list).start().await {
                Ok(elector) => return elector,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn all(&self) -> Vec<Elector> {
        let mut electors = Vec::new();
        for at in 0..NAMES.len() {
            electors.push(self.start(at, &self.peers).await);
        }
        for elector in &electors {
            ready(elector).await;
        }
        electors
    }
}

/// The only gate of a rollout.
async fn ready(elector: &Elector) {
    becomes(elector, None).await;
}

async fn becomes(elector: &Elector, wanted: Option<Unready>) {
    let end = Instant::now() + PATIENCE;
    while elector.readiness().reason != wanted {
        assert!(Instant::now() < end, "{}, not {wanted:?}: {:?}", elector.readiness().to_json(), elector.conditions());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn somebody_works(electors: &[Elector]) -> u64 {
    let campaigns: Vec<_> = electors
        .iter()
        .map(|elector| {
            let elector = elector.clone();
            tokio::spawn(async move { elector.campaign().await.map(|lead| lead.fence().get()) })
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = campaigns.iter().position(tokio::task::JoinHandle::is_finished) {
            let mut campaigns = campaigns;
            let fence = campaigns.swap_remove(done).await.expect("no panic").expect("it leads");
            campaigns.iter().for_each(tokio::task::JoinHandle::abort);
            return fence;
        }
        assert!(
            Instant::now() < end,
            "nobody leads: {:?}",
            electors.iter().map(Elector::readiness).collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A rolling restart on disks that are emptied with each restart, three times round, each step as soon as the member before it is
/// ready: it ends with a leader, one founding, and fences that only rise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_emptied_disks_in_a_row_leave_one_cluster_with_a_leader() {
    let cluster = Cluster::new();
    let mut electors = cluster.all().await;
    for round in 0..3 {
        for (at, elector) in electors.iter_mut().enumerate() {
            elector.shutdown().await;
            std::fs::remove_dir_all(cluster.disk(at)).expect("its disk is emptied");
            *elector = cluster.start(at, &cluster.peers).await;
            assert!(!elector.readiness().is_ready(), "an empty disk has no vote, round {round}");
            ready(elector).await;
        }
    }
    let before = cluster.fences.lock().unwrap().last().copied().expect("somebody led");
    let fence = somebody_works(&electors).await;
    assert!(fence >= before, "{fence} after {before}");
    assert_eq!(cluster.founded.lock().unwrap().len(), 1, "one founding");
    for elector in &electors {
        assert_eq!(elector.members().iter().filter(|member| member.voter).count(), 3);
        elector.shutdown().await;
    }
}

/// A version whose list has the others' ports wrong: the others call it, so that it knows a leader, and it reaches nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_list_is_wrong_is_never_ready() {
    let cluster = Cluster::new();
    let mut electors = cluster.all().await;
    let mut wrong = free_addresses();
    wrong[2].1 = cluster.peers[2].1.clone();
    electors[2].shutdown().await;
    electors[2] = cluster.start(2, &wrong).await;
    let misled = &electors[2];
    becomes(misled, Some(Unready::QuorumUnreached)).await;
    assert!(misled.view().leader.is_some(), "it is called");
    // As long as a dozen of the rounds in which a right one becomes ready.
    let end = Instant::now() + timing().election_timeout_max * 4;
    while Instant::now() < end {
        assert!(!misled.readiness().is_ready(), "{}", misled.readiness().to_json());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((misled.health(), misled.readiness().http_status()), (Health::Serving, 503), "no restart would help");
    // The same disk with the right list.
    electors[2].shutdown().await;
    electors[2] = cluster.start(2, &cluster.peers).await;
    ready(&electors[2]).await;
    for elector in &electors {
        elector.shutdown().await;
    }
}

/// Addresses swapped between the other two: they answer, and not for whom they are asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_reaches_the_wrong_members_is_not_ready() {
    let cluster = Cluster::new();
    let mut electors = cluster.all().await;
    let mut swapped = cluster.peers.clone();
    (swapped[0].1, swapped[1].1) = (cluster.peers[1].1.clone(), cluster.peers[0].1.clone());
    electors[2].shutdown().await;
    electors[2] = cluster.start(2, &swapped).await;
    becomes(&electors[2], Some(Unready::QuorumUnreached)).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let told: Vec<String> = electors[2].conditions().iter().map(ToString::to_string).collect();
        let text = told.join("\n");
        if text.contains("that address is answered by b of this cluster") {
            let there = format!("a ({}): that address", cluster.peers[1].1);
            assert!(text.contains(&there), "{text}");
            break;
        }
        assert!(Instant::now() < end, "{text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!electors[2].readiness().is_ready());
    for elector in &electors {
        elector.shutdown().await;
    }
}

/// A leader that is told to leave while it names a disk leaves a cluster that goes on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_does_not_leave_before_the_disk_that_it_names_has_its_vote() {
    let cluster = Cluster::new();
    let mut electors = cluster.all().await;
    for round in 0..3 {
        let view = electors[0].watch().wait_for(|view| view.leader.is_some()).await.expect("it runs");
        let leader = view.leader.expect("asked for");
        let leader = NAMES.iter().position(|name| *name == leader.as_str()).expect("a member");
        let wiped = (leader + 1) % 3;
        let begun = cluster.namings.load(Ordering::SeqCst);
        electors[wiped].shutdown().await;
        std::fs::remove_dir_all(cluster.disk(wiped)).expect("its disk is emptied");
        electors[wiped] = cluster.start(wiped, &cluster.peers).await;
        // As soon as the leader has begun, and before the disk has its vote.
        let end = Instant::now() + PATIENCE;
        while cluster.namings.load(Ordering::SeqCst) == begun {
            assert!(Instant::now() < end, "nobody names it");
            tokio::task::yield_now().await;
        }
        electors[leader].shutdown().await;
        let rest: Vec<Elector> = (0..3).filter(|at| *at != leader).map(|at| electors[at].clone()).collect();
        somebody_works(&rest).await;
        electors[leader] = cluster.start(leader, &cluster.peers).await;
        for elector in &electors {
            ready(elector).await;
        }
        assert_eq!(cluster.founded.lock().unwrap().len(), 1, "round {round}");
    }
    for elector in &electors {
        elector.shutdown().await;
    }
}

/// A disk that remembers nothing, and writes while it is not held up.
#[derive(Clone, Default)]
struct Held(Arc<(Mutex<bool>, Condvar)>);

impl Held {
    fn hold(&self, held: bool) {
        *self.0.0.lock().unwrap() = held;
        self.0.1.notify_all();
    }
}

impl Storage for Held {
    fn load(&mut self, _: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(None)
    }
    fn save(&mut self, _: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |held| *held));
        Ok(())
    }
}

/// While the record that names it cannot be committed, since the only other disk that remembers writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_disk_is_not_ready_before_a_committed_record_names_it() {
    let (network, disks) = (MemoryNetwork::new(3), NAMES.map(|_| Held::default()));
    let start = async |at: usize, disk: Held| {
        let transport = network.transport(&NodeId::new(NAMES[at]).expect("a name"));
        let builder = Elector::builder().cluster("naming").node(NAMES[at]).members(NAMES).timing(timing());
        builder.storage(disk).transport(transport).start().await.expect("it starts")
    };
    let mut electors = Vec::new();
    for (at, disk) in disks.iter().enumerate() {
        electors.push(start(at, disk.clone()).await);
    }
    for elector in &electors {
        ready(elector).await;
    }
    let view = electors[0].watch().wait_for(|view| view.leader.is_some()).await.expect("it runs");
    let leader = view.leader.expect("asked for");
    let leader = NAMES.iter().position(|name| *name == leader.as_str()).expect("a member");
    let [emptied, other] = [(leader + 1) % 3, (leader + 2) % 3];
    electors[emptied].shutdown().await;
    disks[other].hold(true);
    electors[emptied] = start(emptied, Held::default()).await;
    becomes(&electors[emptied], Some(Unready::DiskUnnamed)).await;
    let end = Instant::now() + timing().election_timeout_max * 4;
    while Instant::now() < end {
        let readiness = electors[emptied].readiness();
        assert_eq!(readiness.reason, Some(Unready::DiskUnnamed), "{}", readiness.to_json());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    disks[other].hold(false);
    ready(&electors[emptied]).await;
    for elector in &electors {
        elector.shutdown().await;
    }
}

/// What each step on the way lacks, over the network in memory: a transport that reports connections to nobody who counts them.
#[tokio::test]
async fn the_reason_says_what_is_lacking() {
    let network = MemoryNetwork::new(7);
    let builder = |name: &str, timing: Timing| {
        let transport = network.transport(&NodeId::new(name).expect("a name"));
        Elector::builder().cluster("reasons").node(name).members(NAMES).volatile().timing(timing).transport(transport)
    };
    let a = builder("a", timing()).start().await.expect("it starts");
    becomes(&a, Some(Unready::NoLeaderHeard)).await;
    let b = builder("b", timing()).start().await.expect("it starts");
    ready(&a).await;
    ready(&b).await;
    let json = a.readiness().to_json();
    assert!(json.starts_with(r#"{"status":"serving","ready":true,"reason":null,"message":null,"node":"a","#), "{json}");

    let c = builder("c", Timing::of(Duration::from_millis(130))).start().await.expect("it starts");
    becomes(&c, Some(Unready::OtherTiming)).await;
    let end = Instant::now() + PATIENCE;
    while !c.conditions().iter().any(|condition| {
        condition.kind.code() == "other_timing"
            && condition.to_string().contains("has a heartbeat of 100ms, this node one of 130ms")
    }) {
        assert!(Instant::now() < end, "{:?}", c.conditions());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    c.shutdown().await;
    assert_eq!((c.readiness().reason, c.readiness().http_status()), (Some(Unready::Stopped), 503));

    // Ready once, it stays so: nothing is cured by taking it out of service.
    a.shutdown().await;
    b.watch().wait_for(|view| view.leader.is_none()).await.expect("it runs");
    assert!(b.readiness().is_ready());
    b.shutdown().await;
}
