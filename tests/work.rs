//! Work ends with its lease, whatever becomes of the driver; and an office ends with its work, whatever is kept of it.

#[path = "support/brake.rs"]
mod brake;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brake::Brake;
use hustings::config::Timing;
use hustings::elector::{Elector, ElectorBuilder, Leadership, LossCause};
use hustings::event::{Event, EventKind, LeadershipEnd, Revocation, Role};
use hustings::message::{CallError, Reply, Request};
use hustings::transport::memory::{MemoryNetwork, MemoryTransport};
use hustings::transport::{Inbox, Transport, TransportError};
use hustings::types::{NodeId, Term, Time, TraceContext};

const PATIENCE: Duration = Duration::from_secs(30);

fn node(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

fn timing() -> Timing {
    Timing::of(Duration::from_millis(100))
}

fn builder(network: &MemoryNetwork, size: usize, at: usize) -> ElectorBuilder {
    Elector::builder()
        .cluster("test")
        .node(node(at).as_str())
        .members((0..size).map(|at| node(at).to_string()))
        .volatile()
        .timing(timing())
        .transport(network.transport(&node(at)))
}

async fn cluster(
    size: usize,
    change: impl Fn(usize, &MemoryNetwork, ElectorBuilder) -> ElectorBuilder,
) -> (MemoryNetwork, Vec<Elector>) {
    let network = MemoryNetwork::new(1);
    let mut electors = Vec::new();
    for at in 0..size {
        let builder = change(at, &network, builder(&network, size, at));
        electors.push(builder.start().await.expect("an elector starts"));
    }
    (network, electors)
}

async fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

/// Who acted, under which fence, and when: by the children of works that end when their token is cancelled, and by those
/// that end when the work is dropped.
#[derive(Clone, Default)]
struct Acts {
    until_told: Arc<Mutex<Vec<(usize, Time)>>>,
    until_dropped: Arc<Mutex<Vec<(usize, Time)>>>,
}

impl Acts {
    fn first(&self) -> Option<usize> {
        self.until_dropped.lock().expect("unpoisoned").first().map(|(at, _)| *at)
    }

    fn successor_began(&self, old: usize) -> Option<Time> {
        self.until_dropped.lock().expect("unpoisoned").iter().find(|(at, _)| *at != old).map(|(_, time)| *time)
    }

    /// The newest act of `old`, of those that should have ended with its token and of those that should have with its drop.
    fn newest(&self, old: usize) -> (Time, Time) {
        let newest = |acts: &Mutex<Vec<(usize, Time)>>| {
            acts.lock().expect("unpoisoned").iter().filter(|(at, _)| *at == old).map(|(_, time)| *time).max()
        };
        (newest(&self.until_told).unwrap_or(Time::ZERO), newest(&self.until_dropped).unwrap_or(Time::ZERO))
    }

    async fn act(self, at: usize, lead: Leadership) {
        let mut children = tokio::task::JoinSet::new();
        let (token, acts) = (lead.token(), self.clone());
        children.spawn(async move {
            while !token.is_cancelled() {
                acts.until_told.lock().expect("unpoisoned").push((at, hustings::clock::now()));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        children.spawn(async move {
            loop {
                self.until_dropped.lock().expect("unpoisoned").push((at, hustings::clock::now()));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        while children.join_next().await.is_some() {}
    }

    fn contend(&self, electors: &[Elector]) -> Vec<tokio::task::JoinHandle<bool>> {
        let work = |(at, elector): (usize, &Elector)| {
            let (elector, acts) = (elector.clone(), self.clone());
            tokio::spawn(async move {
                let work = |lead| {
                    let acts = acts.clone();
                    async move {
                        acts.act(at, lead).await;
                        Ok(())
                    }
                };
                elector.while_leader(work).await.is_err()
            })
        };
        electors.iter().enumerate().map(work).collect()
    }

    async fn ended_before_the_successor_began(&self, old: usize) {
        let successor = until("somebody takes over", || self.successor_began(old)).await;
        // Whoever still acted would do so meanwhile.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (told, dropped) = self.newest(old);
        assert!(told < successor, "its token was not cancelled: acts go on {:?} too long", told.since(successor));
        assert!(dropped < successor, "it was not dropped: acts go on {:?} too long", dropped.since(successor));
    }
}

/// E13: a driver that stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_ends_with_its_lease_while_the_driver_stands_still() {
    let brakes: [Brake; 3] = Default::default();
    let (_network, electors) = cluster(3, |at, _, builder| builder.observer(brakes[at].clone())).await;
    let acts = Acts::default();
    let works = acts.contend(&electors);
    let old = until("somebody works", || acts.first()).await;
    brakes[old].set(true);
    let elector = electors[old].clone();
    let write = tokio::spawn(async move { elector.proclaim("x").await });
    acts.ended_before_the_successor_began(old).await;
    assert!(brakes[old].stands(), "the driver did not stand");
    brakes[old].set(false);
    let _ = patiently(write).await;
    works.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Panics where the user's transport would.
struct Fragile(MemoryTransport);

impl Transport for Fragile {
    async fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        self.0.start(inbox).await
    }

    async fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Result<Reply, CallError> {
        self.0.call(request, context, deadline).await
    }

    async fn stop(&self) {
        self.0.stop().await;
    }

    fn reach(&self, _: &NodeId, _: &str) -> Result<(), TransportError> {
        panic!("a fault of the user's transport");
    }
}

/// A panic of the user's transport on the driver's loop costs the leader nothing.
#[tokio::test]
async fn a_transport_that_panics_refuses_the_address_and_ends_nothing() {
    let dirs: Vec<_> = (0..1).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let (_network, electors) = cluster(1, |at, network, builder| {
        builder.data_dir(dirs[at].path()).transport(Fragile(network.transport(&node(at))))
    })
    .await;
    let lead = patiently(electors[0].campaign()).await.expect("it leads");
    let added = patiently(electors[0].add_member(NodeId::new("d").expect("a name"), "d:1")).await;
    assert_eq!(added.expect_err("it panicked").code(), "address");
    assert!(lead.is_valid() && electors[0].health().is_serving());
}

/// E13: a driver that is dropped, with the runtime that it runs on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_ends_with_its_lease_when_the_driver_is_dropped() {
    let runtimes: Vec<_> = (0..3).map(|_| tokio::runtime::Runtime::new().expect("a runtime")).collect();
    let network = MemoryNetwork::new(1);
    let mut electors = Vec::new();
    for (at, runtime) in runtimes.iter().enumerate() {
        let builder = builder(&network, 3, at).on_current_runtime();
        let started = runtime.spawn(builder.start()).await.expect("no panic");
        electors.push(started.expect("an elector starts"));
    }
    let acts = Acts::default();
    let works = acts.contend(&electors);
    let old = until("somebody works", || acts.first()).await;
    for (at, runtime) in runtimes.into_iter().enumerate() {
        match at == old {
            true => runtime.shutdown_background(),
            // The others go on; a runtime cannot be dropped in a task.
            false => std::mem::forget(runtime),
        }
    }
    acts.ended_before_the_successor_began(old).await;
    until("while_leader returns", || works[old].is_finished().then_some(())).await;
    works.iter().for_each(tokio::task::JoinHandle::abort);
}

#[cfg(feature = "grpc")]
/// E13: a member that stops for good because a newer start of its disk is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_ends_with_its_lease_when_the_node_stops_for_good() {
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let sockets: Vec<_> = (0..4).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect();
    drop(sockets);
    let member = |at: usize, place: usize| {
        Elector::builder()
            .cluster("test")
            .node(node(at).as_str())
            .listen(format!("127.0.0.1:{}", ports[place]))
            .peers((0..3).map(|at| (node(at).to_string(), format!("127.0.0.1:{}", ports[at]))))
            .timing(timing())
            .data_dir(dirs[place].path())
            .start()
    };
    let mut electors = Vec::new();
    for at in 0..3 {
        electors.push(member(at, at).await.expect("it starts"));
    }
    let acts = Acts::default();
    let works = acts.contend(&electors);
    let old = until("somebody works", || acts.first()).await;
    for file in std::fs::read_dir(dirs[old].path()).expect("it reads") {
        let file = file.expect("it reads");
        std::fs::copy(file.path(), dirs[3].path().join(file.file_name())).expect("it copies");
    }
    let twin = member(old, 3).await.expect("it starts");
    acts.ended_before_the_successor_began(old).await;
    until("while_leader of the older twin returns", || works[old].is_finished().then_some(())).await;
    works.iter().for_each(tokio::task::JoinHandle::abort);
    drop(twin);
}

/// A bare leadership hears of its end on a thread that looks, while the driver stands and the runtime is blocked.
#[tokio::test]
async fn a_bare_token_is_cancelled_while_the_driver_stands_and_the_runtime_is_blocked() {
    let brakes: [Brake; 3] = Default::default();
    let (_network, electors) = cluster(3, |at, _, builder| builder.observer(brakes[at].clone())).await;
    let old = until("one leads", || electors.iter().position(|elector| elector.view().role == Role::Leader)).await;
    let (lead, brake) = (patiently(electors[old].campaign()).await.expect("it leads"), &brakes[old]);
    brake.set(true);
    let elector = electors[old].clone();
    let write = tokio::spawn(async move { elector.proclaim("x").await });
    tokio::task::yield_now().await;
    let (token, began) = (lead.token(), Instant::now());
    // On the only thread of the runtime.
    while !token.is_cancelled() {
        assert!(began.elapsed() < PATIENCE, "nobody cancels the token");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!lead.is_valid() && brake.stands());
    assert_eq!(patiently(lead.lost()).await, LossCause::LeaseLapsed);
    brake.set(false);
    let _ = patiently(write).await;
}

/// E11: what is acknowledged after the guard said no renews nothing. The node that led gives way, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_has_lapsed_ends_the_office() {
    let seen: Arc<Mutex<Vec<(Term, EventKind)>>> = Arc::default();
    let (network, electors) = cluster(3, |_, _, builder| {
        let seen = seen.clone();
        builder.observer(move |event: &Event| {
            if matches!(event.kind, EventKind::GuardRevoked { .. } | EventKind::LeadershipEnded { .. }) {
                seen.lock().expect("unpoisoned").push((event.term, event.kind.clone()));
            }
        })
    })
    .await;
    let mut lapsed = 0;
    for _ in 0..20 {
        let mut campaigns = tokio::task::JoinSet::new();
        for (at, elector) in electors.iter().cloned().enumerate() {
            campaigns.spawn(async move { (at, elector.campaign().await) });
        }
        let (at, lead) = patiently(campaigns.join_next()).await.expect("three").expect("no panic");
        let lead = lead.expect("it leads");
        drop(campaigns);
        network.isolate(&node(at), &[node(0), node(1), node(2)]);
        // The guard says no two margins before the end of the lease: in that time the others answer again.
        patiently(lead.lost()).await;
        network.heal_all();
        let fence = lead.fence().term();
        let cause = until("it gives way", || {
            let seen = seen.lock().expect("unpoisoned");
            seen.iter().find_map(|(term, kind)| match kind {
                EventKind::LeadershipEnded { cause, .. } if *term == fence => Some(*cause),
                _ => None,
            })
        });
        drop(lead);
        assert_eq!(cause.await, LeadershipEnd::QuorumLost);
        let seen = seen.lock().expect("unpoisoned");
        lapsed += seen
            .iter()
            .filter(|(term, kind)| {
                let revoked = EventKind::GuardRevoked { cause: Revocation::LeaseLapsed, work_running: true };
                *term == fence && *kind == revoked
            })
            .count();
    }
    assert!(lapsed > 0, "no guard lapsed while its office lasted: nothing was tried");
}

/// Work that waits to be dropped is dropped at the end that it was told, although the lease was renewed meanwhile, and
/// somebody works soon after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_leader_is_left_without_work_after_a_lapse() {
    let (network, electors) = cluster(3, |_, _, builder| builder).await;
    let current: Arc<Mutex<Option<(usize, Leadership)>>> = Arc::default();
    let mut works = tokio::task::JoinSet::new();
    for (at, elector) in electors.iter().cloned().enumerate() {
        let current = current.clone();
        works.spawn(async move {
            let work = |lead: Leadership| {
                *current.lock().expect("unpoisoned") = Some((at, lead));
                std::future::pending()
            };
            let _ = elector.while_leader(work).await;
        });
    }
    for _ in 0..10 {
        let (at, lead) =
            until("somebody works", || current.lock().expect("unpoisoned").clone().filter(|(_, lead)| lead.is_valid()))
                .await;
        network.isolate(&node(at), &[node(0), node(1), node(2)]);
        patiently(lead.lost()).await;
        network.heal_all();
    }
    works.abort_all();
}

/// What becomes of clones of the leadership that outlive the work, in every way out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_that_outlive_the_work_hold_nothing() {
    for way in ["returns", "fails", "panics", "is aborted", "resigns"] {
        let (_network, electors) = cluster(3, |_, _, builder| builder).await;
        let kept: Arc<Mutex<Vec<(usize, Leadership)>>> = Arc::default();
        let mut works = tokio::task::JoinSet::new();
        let mut handles = Vec::new();
        for (at, elector) in electors.iter().cloned().enumerate() {
            let kept = kept.clone();
            let work = async move {
                let work = |lead: Leadership| {
                    let kept = kept.clone();
                    async move {
                        let first = {
                            let mut kept = kept.lock().expect("unpoisoned");
                            kept.push((at, lead.clone()));
                            kept.len() == 1
                        };
                        match way {
                            "returns" if first => Ok(()),
                            "fails" if first => Err("the database is away".into()),
                            "panics" if first => panic!("a fault of the work"),
                            "resigns" if first => {
                                lead.resign();
                                Ok(())
                            }
                            _ => std::future::pending().await,
                        }
                    }
                };
                let _ = elector.while_leader(work).await;
            };
            handles.push(works.spawn(work));
        }
        let (at, lead) = until("somebody works", || kept.lock().expect("unpoisoned").first().cloned()).await;
        if way == "is aborted" {
            handles[at].abort();
        }
        patiently(lead.lost()).await;
        assert!(!lead.is_valid() && lead.token().is_cancelled() && lead.valid_until() == Time::ZERO, "it {way}");
        assert!(patiently(lead.verify()).await.is_err(), "it {way}");
        let successor = until("somebody works again", || kept.lock().expect("unpoisoned").get(1).cloned()).await;
        assert!(successor.1.fence() > lead.fence(), "it {way}: a new stretch of work has a new fence");
        works.abort_all();
    }
}

/// Handles of `campaign` that are never dropped count for nothing from the drain limit on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_are_never_dropped_expire_at_the_drain_limit() {
    let (_network, electors) = cluster(1, |_, _, builder| builder.drain_limit(Duration::from_millis(200))).await;
    let lead = patiently(electors[0].campaign()).await.expect("it leads");
    let kept = lead.clone();
    let began = Instant::now();
    patiently(electors[0].resign()).await.expect("it leads");
    let next = patiently(electors[0].campaign()).await.expect("it leads again");
    assert!(began.elapsed() >= Duration::from_millis(200), "not before the drain limit");
    assert!(next.fence() > lead.fence() && next.is_valid() && !kept.is_valid());
    // They were let go of already.
    drop((lead, kept));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(next.is_valid());
}

/// Two works on one elector hold the office each for itself: the first that finishes ends nothing of the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_works_hold_the_office_each_for_itself() {
    let (_network, electors) = cluster(1, |_, _, builder| builder).await;
    let (finish, finished) = tokio::sync::watch::channel(false);
    let began = Arc::new(AtomicUsize::new(0));
    let work = || {
        let (elector, began, mut finished) = (electors[0].clone(), began.clone(), finished.clone());
        async move {
            let fences = Mutex::new(Vec::new());
            let work = |lead: Leadership| {
                let (began, fences) = (began.clone(), &fences);
                let mut finished = finished.clone();
                async move {
                    began.fetch_add(1, Ordering::SeqCst);
                    fences.lock().expect("unpoisoned").push(lead.fence());
                    let _ = finished.wait_for(|finished| *finished).await;
                    assert!(lead.is_valid());
                    Ok(())
                }
            };
            elector.while_leader(work).await.expect("it finishes");
            let _ = finished.borrow_and_update();
            fences.into_inner().expect("unpoisoned")
        }
    };
    let short = {
        let (elector, began) = (electors[0].clone(), began.clone());
        async move {
            let work = |lead: Leadership| {
                let began = began.clone();
                async move {
                    began.fetch_add(1, Ordering::SeqCst);
                    while began.load(Ordering::SeqCst) < 2 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    assert!(lead.is_valid());
                    Ok(())
                }
            };
            elector.while_leader(work).await.expect("it finishes");
        }
    };
    let long = tokio::spawn(work());
    patiently(short).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    finish.send(true).expect("the other one waits");
    assert_eq!(patiently(long).await.expect("no panic").len(), 1, "it was not disturbed");
    until("it resigned", || (electors[0].view().role != Role::Leader).then_some(())).await;
}
