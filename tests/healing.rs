//! Disks that fail under running members, and are well again: real files, real drivers, the network in memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::{ConditionKind, DiskState, Elector, Health};
use hustings::event::Role;
use hustings::record::HardState;
use hustings::storage::file::FileStorage;
use hustings::storage::{Storage, StorageError};
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{ClusterId, GroupId, NodeId};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a disk does until told otherwise.
#[derive(Clone, Default)]
struct Ills {
    fails_save: Arc<AtomicBool>,
    fails_settle: Arc<AtomicBool>,
    /// Starting over fails as well.
    fails_for_good: Arc<AtomicBool>,
    started_over: Arc<AtomicUsize>,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

/// A real storage whose calls fail as a test says. The first call that fails leaves the file underneath as it was.
struct Ill {
    inner: FileStorage,
    ills: Ills,
}

impl Ills {
    fn check(ill: &AtomicBool) -> Result<(), StorageError> {
        match ill.load(Ordering::SeqCst) {
            true => Err(StorageError::Other("input/output error".to_owned())),
            false => Ok(()),
        }
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.0.lock().expect("unpoisoned") = hangs;
        self.hangs.1.notify_all();
    }
}

impl Storage for Ill {
    fn load(&mut self, group: &GroupId) -> Result<Option<HardState>, StorageError> {
        self.inner.load(group)
    }

    fn save(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        let hangs = self.ills.hangs.0.lock().expect("unpoisoned");
        drop(self.ills.hangs.1.wait_while(hangs, |hangs| *hangs));
        Ills::check(&self.ills.fails_save)?;
        self.inner.save(states)
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        Ills::check(&self.ills.fails_settle)?;
        self.inner.settle()
    }

    fn start_over(&mut self, states: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        Ills::check(&self.ills.fails_for_good)?;
        self.inner.start_over(states)?;
        self.ills.started_over.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct Cluster {
    network: MemoryNetwork,
    electors: Vec<Elector>,
    ills: Vec<Ills>,
    _folder: tempfile::TempDir,
}

fn node(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

impl Cluster {
    async fn start() -> Cluster {
        let (network, folder) = (MemoryNetwork::new(1), tempfile::tempdir().expect("a folder"));
        let cluster = ClusterId::new("test").expect("a name");
        let mut electors = Vec::new();
        let ills: Vec<Ills> = (0..3).map(|_| Ills::default()).collect();
        for (at, ills) in ills.iter().enumerate() {
            let folder = folder.path().join(node(at).as_str());
            let inner = FileStorage::open(folder, &cluster, &node(at)).expect("a storage");
            let builder = Elector::builder().cluster("test").node(node(at).as_str()).members(["n0", "n1", "n2"]);
            let builder = builder.storage(Ill { inner, ills: ills.clone() }).transport(network.transport(&node(at)));
            let calm = Timing::of(Duration::from_millis(200));
            let builder = builder.drain_limit(Duration::from_secs(1));
            electors.push(builder.timing(calm).start().await.expect("it starts"));
        }
        Cluster { network, electors, ills, _folder: folder }
    }

    async fn leader(&self, among: &[usize]) -> usize {
        until("one leads", async || among.iter().copied().find(|at| self.electors[*at].view().role == Role::Leader))
            .await
    }

    fn lacks_its_disk(&self, at: usize) -> bool {
        self.electors[at].conditions().iter().any(|condition| condition.kind == ConditionKind::StorageFailed)
    }

    async fn health(&self, at: usize, wanted: Health) {
        let is = async || (self.electors[at].health() == wanted).then_some(());
        until(&format!("n{at} is {wanted}"), is).await;
    }
}

async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One failed sync on a follower. With another member down its vote is needed, and it is there again without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_well_again_votes_again() {
    for settle in [false, true] {
        let cluster = Cluster::start().await;
        let leader = cluster.leader(&[0, 1, 2]).await;
        let [ill, other] = [(leader + 1) % 3, (leader + 2) % 3];
        let lead = cluster.electors[leader].campaign().await.expect("it leads");
        let which = if settle { &cluster.ills[ill].fails_settle } else { &cluster.ills[ill].fails_save };
        cluster.ills[ill].fails_for_good.store(true, Ordering::SeqCst);
        which.store(true, Ordering::SeqCst);
        cluster.electors[leader].proclaim("x").await.expect("the others hold it");
        cluster.health(ill, Health::StorageFailed).await;
        until("it says so", async || cluster.lacks_its_disk(ill).then_some(())).await;
        let failed = async || {
            let state = cluster.electors[leader].collective_state().await?;
            state.members.iter().find(|member| member.node == node(ill) && member.disk == DiskState::Failed).map(|_| ())
        };
        until("the leader sees it", failed).await;
        assert_eq!(cluster.ills[ill].started_over.load(Ordering::SeqCst), 0);

        which.store(false, Ordering::SeqCst);
        cluster.ills[ill].fails_for_good.store(false, Ordering::SeqCst);
        cluster.health(ill, Health::Serving).await;
        until("that is over", async || (!cluster.lacks_its_disk(ill)).then_some(())).await;
        assert!(cluster.ills[ill].started_over.load(Ordering::SeqCst) >= 1, "by starting over, and in no other way");
        let good = async || {
            let state = cluster.electors[leader].collective_state().await?;
            state.members.iter().find(|member| member.node == node(ill) && member.disk == DiskState::Good).map(|_| ())
        };
        until("the leader sees that, too", good).await;

        // Two are left, and one of them is the one that failed.
        drop(lead);
        cluster.network.kill(&node(leader));
        let next = cluster.leader(&[ill, other]).await;
        let lead = cluster.electors[next].campaign().await.expect("it leads with that vote");
        lead.verify().await.expect("a quorum answers");
    }
}

/// V9: a leader whose write fails gives way, and follows once its disk is well again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_fails_gives_way_and_follows() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let lead = cluster.electors[leader].campaign().await.expect("it leads");
    cluster.ills[leader].fails_save.store(true, Ordering::SeqCst);
    let _ = cluster.electors[leader].proclaim("x").await;
    lead.lost().await;
    drop(lead);
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    cluster.leader(&others).await;
    cluster.ills[leader].fails_save.store(false, Ordering::SeqCst);
    cluster.health(leader, Health::Serving).await;
    let follows = async || (cluster.electors[leader].view().role == Role::Follower).then_some(());
    until("it follows", follows).await;
}

/// A write that hangs for ever holds up no shutdown for longer than the drain limit and the two seconds after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_disk_does_not_hang_the_shutdown() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let ill = (leader + 1) % 3;
    let lead = cluster.electors[leader].campaign().await.expect("it leads");
    cluster.ills[ill].hang(true);
    cluster.electors[leader].proclaim("x").await.expect("the others hold it");
    tokio::time::timeout(PATIENCE, cluster.electors[ill].shutdown()).await.expect("it gives up");
    assert_eq!(cluster.electors[ill].health(), Health::Stopped);
    cluster.ills[ill].hang(false);
    drop(lead);
}
