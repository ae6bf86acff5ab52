//! Electors over the network in memory, in real time: they wait for conditions, with generous limits.

#[path = "support/brake.rs"]
mod brake;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brake::Brake;
use hustings::config::Timing;
use hustings::elector::{
    Cause, Elector, ElectorBuilder, LeadError, Leadership, LossCause, ProclaimError, ResignError, StartError,
    StartWhen, TransferError,
};
use hustings::event::{Event, EventKind, Role};
use hustings::message::Verdict;
use hustings::observer::recent::{Answered, ElectionSummary, Part, Question};
use hustings::record::HardState;
use hustings::storage::{Storage, StorageError};
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{GroupId, NodeId};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(30);

fn node(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

struct Cluster {
    network: MemoryNetwork,
    electors: Vec<Elector>,
}

impl Cluster {
    async fn start(size: usize) -> Cluster {
        Cluster::start_with(size, |_, builder| builder).await
    }

    async fn start_with(size: usize, change: impl Fn(usize, ElectorBuilder) -> ElectorBuilder) -> Cluster {
        let network = MemoryNetwork::new(1);
        let mut electors = Vec::new();
        for at in 0..size {
            let builder = change(at, builder(&network, size, at));
            electors.push(builder.start().await.expect("an elector starts"));
        }
        Cluster { network, electors }
    }

    /// Waits until one node leads and every other one that is asked knows it.
    async fn leader(&self, among: &[usize]) -> usize {
        until("one leads, and all know it", async || {
            let views: Vec<_> = among.iter().map(|at| self.electors[*at].view()).collect();
            let leader = among.iter().zip(&views).find(|(_, view)| view.role == Role::Leader).map(|(at, _)| *at)?;
            views.iter().all(|view| view.leader == Some(node(leader))).then_some(leader)
        })
        .await
    }

    fn others(&self, than: usize) -> Vec<usize> {
        (0..self.electors.len()).filter(|at| *at != than).collect()
    }
}

fn builder(network: &MemoryNetwork, size: usize, at: usize) -> ElectorBuilder {
    Elector::builder()
        .cluster("test")
        .node(node(at).as_str())
        .members((0..size).map(|at| node(at).to_string()))
        .volatile()
        .timing(calm())
        .transport(network.transport(&node(at)))
}

/// Slow enough that a busy machine costs no leader its office: what is tested here is order, not speed.
fn calm() -> Timing {
    Timing::of(Duration::from_millis(200))
}

async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

/// The first of several campaigns that ends: whoever leads.
async fn first_to_lead(electors: &[Elector], among: &[usize]) -> (usize, Leadership) {
    let (sender, mut leaders) = mpsc::channel(1);
    let mut tasks = tokio::task::JoinSet::new();
    for at in among.iter().copied() {
        let (elector, sender) = (electors[at].clone(), sender.clone());
        tasks.spawn(async move {
            if let Ok(lead) = elector.campaign().await {
                let _ = sender.send((at, lead)).await;
            }
        });
    }
    patiently(leaders.recv()).await.expect("one leads")
}

#[tokio::test]
async fn three_electors_elect_one() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let view = cluster.electors[leader].view();
    assert_eq!(view.election_id.as_deref(), Some(format!("test/main/{}", view.term.0).as_str()));
    let lead = patiently(cluster.electors[leader].campaign()).await.expect("the leader leads");
    assert!(lead.is_valid() && lead.is_exclusive());
    assert_eq!(lead.fence().get(), cluster.electors[leader].view().term.0);
    patiently(lead.verify()).await.expect("a quorum agrees");
}

#[tokio::test]
async fn work_runs_on_exactly_one() {
    let cluster = Cluster::start(3).await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let (began, mut begun) = mpsc::channel(8);
    for elector in cluster.electors.clone() {
        let (running, most, began) = (running.clone(), most.clone(), began.clone());
        tasks.spawn(async move {
            elector
                .while_leader(|lead| {
                    let (running, most, began) = (running.clone(), most.clone(), began.clone());
                    async move {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let _ = began.send(lead.fence()).await;
                        lead.token().cancelled().await;
                        running.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    }
                })
                .await
        });
    }
    let first = patiently(begun.recv()).await.expect("work runs");
    let leader = cluster.leader(&[0, 1, 2]).await;
    patiently(cluster.electors[leader].resign()).await.expect("the leader resigns");
    let second = patiently(begun.recv()).await.expect("work runs again");
    assert!(second > first);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_takes_over_from_a_killed_leader_and_the_fence_grows() {
    let cluster = Cluster::start(3).await;
    let (old, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    cluster.network.kill(&node(old));
    let (new, successor) = first_to_lead(&cluster.electors, &cluster.others(old)).await;
    assert!(new != old && successor.fence() > lead.fence());
    assert!(!lead.is_valid(), "exclusive means that the old lease is over");
    let cause = patiently(lead.lost()).await;
    assert!(matches!(cause, LossCause::LeaseLapsed | LossCause::Ended(_)), "{cause}");
}

#[tokio::test]
async fn a_cut_off_leader_loses_its_work_before_its_lease_ends() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let lead = patiently(cluster.electors[leader].campaign()).await.expect("it leads");
    let (dropped, was_dropped) = oneshot::channel();
    let elector = cluster.electors[leader].clone();
    let mut dropped = Some(dropped);
    let work = tokio::spawn(async move {
        elector
            .while_leader(|lead| {
                let alarm = dropped.take().map(|sender| OnDrop(Some(sender)));
                async move {
                    let _alarm = alarm;
                    let _lead = lead;
                    std::future::pending().await
                }
            })
            .await
    });
    cluster.network.isolate(&node(leader), &[node(0), node(1), node(2)]);
    patiently(was_dropped).await.expect("the work is dropped although it ignores its token");
    assert!(lead.token().is_cancelled() && !lead.is_valid());
    work.abort();
}

/// Reports its drop.
struct OnDrop(Option<oneshot::Sender<()>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

#[tokio::test]
async fn resigning_is_refused_to_a_follower_and_waits_for_the_work() {
    let cluster = Cluster::start(3).await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    let follower = cluster.others(leader)[0];
    let refused = patiently(cluster.electors[follower].resign()).await;
    assert!(matches!(refused, Err(ResignError::NotLeader { .. })), "{refused:?}");

    let mut resigning = tokio::spawn({
        let elector = cluster.electors[leader].clone();
        async move { elector.resign().await }
    });
    assert_eq!(patiently(lead.lost()).await, LossCause::Resigning);
    assert!(!lead.is_valid(), "the guard is revoked at once");
    // Heartbeats go on while work drains: nobody else can lead yet, and the call has not returned.
    assert!(tokio::time::timeout(Duration::from_millis(400), &mut resigning).await.is_err());
    assert_eq!(cluster.electors[follower].view().leader, Some(node(leader)));
    drop(lead);
    patiently(resigning).await.expect("no panic").expect("it resigned");
}

#[tokio::test]
async fn transfers_have_typed_outcomes() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let (follower, other) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    let refused = patiently(cluster.electors[follower].transfer_to(None)).await;
    assert!(matches!(refused, Err(TransferError::NotLeader { .. })), "{refused:?}");
    let stranger = NodeId::new("stranger").expect("a name");
    // Only an established leader looks at the successor.
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    let refused = patiently(cluster.electors[leader].transfer_to(Some(stranger))).await;
    assert_eq!(refused, Err(TransferError::NotAVoter));
    assert!(lead.is_valid(), "a refused transfer changes nothing");
    let fence = lead.fence();
    drop(lead);

    // Dropping the guard resigned: transfer from whoever leads next.
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    assert!(lead.fence() > fence);
    let to = if leader == other { follower } else { other };
    // Exclusive takes one voter's promise; the successor may be the other one, whose first answer is still under way.
    let transfer = until("the successor is in contact", async || {
        let mut transfer = tokio::spawn(lead.transfer_to(Some(node(to))));
        tokio::select! {
            biased;
            cause = lead.lost() => { assert_eq!(cause, LossCause::Transferring); Some(transfer) }
            refused = &mut transfer => {
                let refused = refused.expect("no panic");
                assert!(matches!(refused, Err(TransferError::NoSuccessor | TransferError::CalledOff)), "{refused:?}");
                None
            }
        }
    })
    .await;
    let fence = lead.fence();
    drop(lead);
    let done = patiently(transfer).await.expect("no panic").expect("it completes");
    assert_eq!(done.to, node(to));
    // Whom it was handed to; or, on a starved machine, whoever came after.
    let (_, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    assert!(lead.fence() > fence);
}

#[tokio::test]
async fn shutdown_drains_the_work_first_and_hands_over() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let (began, begun) = oneshot::channel();
    let mut began = Some(began);
    let work = tokio::spawn({
        let (elector, order) = (cluster.electors[leader].clone(), order.clone());
        async move {
            elector
                .while_leader(|lead| {
                    let (order, began) = (order.clone(), began.take());
                    async move {
                        let _ = began.map(|began| began.send(()));
                        lead.token().cancelled().await;
                        // Longer than a lease: heartbeats must go on meanwhile.
                        tokio::time::sleep(calm().promise * 2).await;
                        order.lock().expect("unpoisoned").push("work ended");
                        Ok(())
                    }
                })
                .await
        }
    });
    patiently(begun).await.expect("work runs");
    let follower = cluster.others(leader)[0];
    let mut watch = cluster.electors[follower].watch();
    patiently(cluster.electors[leader].shutdown()).await;
    order.lock().expect("unpoisoned").push("shut down");
    assert!(matches!(patiently(work).await.expect("no panic"), Err(LeadError::Stopped)));
    assert_eq!(*order.lock().expect("unpoisoned"), ["work ended", "shut down"]);
    assert_eq!(cluster.electors[leader].view().role, Role::Stopped);
    let is_new = |view: &hustings::elector::View| view.leader.as_ref().is_some_and(|by| *by != node(leader));
    patiently(watch.wait_for(is_new)).await.expect("another leads");
    assert!(matches!(patiently(cluster.electors[leader].campaign()).await, Err(LeadError::Stopped)));
}

#[tokio::test]
async fn work_that_fails_resigns_and_returns_its_error() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let elector = &cluster.electors[leader];
    let failed = patiently(elector.while_leader(async |_| Err("the disk is on fire".into()))).await;
    let Err(LeadError::Work(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(error.to_string(), "the disk is on fire");
    let term = elector.view().term;
    until("it resigned", async || (elector.view().role != Role::Leader || elector.view().term > term).then_some(()))
        .await;
}

#[tokio::test]
async fn work_that_finishes_resigns_and_returns() {
    let cluster = Cluster::start(1).await;
    let elector = &cluster.electors[0];
    let mut fences = Vec::new();
    for _ in 0..3 {
        let done = elector.while_leader(|lead| {
            fences.push(lead.fence());
            async { Ok(()) }
        });
        patiently(done).await.expect("finished");
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "a finished term is not led again: {fences:?}");
}

#[tokio::test]
async fn a_panic_drops_the_work_and_then_resigns() {
    let cluster = Cluster::start(1).await;
    let elector = cluster.electors[0].clone();
    let (dropped, was_dropped) = oneshot::channel();
    let mut dropped = Some(dropped);
    let (told, fence) = oneshot::channel();
    let mut told = Some(told);
    let work = tokio::spawn(async move {
        elector
            .while_leader(|lead| {
                let _ = told.take().map(|told| told.send(lead.fence()));
                let alarm = OnDrop(dropped.take());
                async move {
                    let _alarm = alarm;
                    panic!("on purpose")
                }
            })
            .await
    });
    assert!(patiently(work).await.expect_err("it panicked").is_panic());
    patiently(was_dropped).await.expect("the work was dropped");
    let fence = patiently(fence).await.expect("it led");
    let next = patiently(cluster.electors[0].campaign()).await.expect("it leads again");
    assert!(next.fence() > fence, "it resigned");
}

#[tokio::test]
async fn dropping_while_leader_resigns() {
    let cluster = Cluster::start(1).await;
    let elector = cluster.electors[0].clone();
    let (told, fence) = oneshot::channel();
    let mut told = Some(told);
    {
        let work = elector.while_leader(|lead| {
            let _ = told.take().map(|told| told.send(lead.fence()));
            async move {
                lead.token().cancelled().await;
                Ok(())
            }
        });
        tokio::select! {
            _ = work => panic!("nothing ends it"),
            fence = patiently(fence) => { fence.expect("it led"); }
        }
    }
    let mut watch = elector.watch();
    let term = elector.view().term;
    patiently(watch.wait_for(|view| view.term > term || view.role != Role::Leader)).await.expect("it resigned");
}

#[tokio::test]
async fn the_last_elector_dropped_leaves_in_the_background() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let mut watch = cluster.electors[leader].watch();
    drop(cluster.electors.remove(leader));
    while patiently(watch.changed()).await.is_some() {}
    assert_eq!((watch.current().role, watch.current().cause), (Role::Stopped, Cause::Stopped));
}

/// SCENARIOS 35: a slow subscriber sees the newest state, and the core does not wait for it.
#[tokio::test]
async fn a_slow_watcher_sees_the_newest_and_the_stream_counts_what_it_dropped() {
    let fast = |_, builder: ElectorBuilder| builder.timing(Timing::of(Duration::from_millis(5)));
    let cluster = Cluster::start_with(1, fast).await;
    let elector = &cluster.electors[0];
    let mut watch = elector.watch();
    let mut events = elector.events();
    let mut last = None;
    for _ in 0..150 {
        let lead = patiently(elector.campaign()).await.expect("it leads");
        last = Some(lead.fence());
    }
    let newest = last.expect("it led");
    let seen = patiently(watch.changed()).await.expect("it runs");
    assert!(seen.term >= newest.term(), "{seen:?}");
    patiently(events.next()).await.expect("an event");
    assert!(events.dropped() > 0);
}

/// SCENARIOS 37: no stop without a start. F2: what is lost is lost before anything new begins.
#[tokio::test]
async fn stop_completes_before_start_and_never_comes_alone() {
    let cluster = Cluster::start(1).await;
    let log = Arc::new(Mutex::new(Vec::new()));
    let work = tokio::spawn({
        let (elector, log) = (cluster.electors[0].clone(), log.clone());
        async move {
            elector
                .while_leader(|lead| {
                    let log = log.clone();
                    async move {
                        log.lock().expect("unpoisoned").push(("start", lead.fence()));
                        lead.lost().await;
                        tokio::task::yield_now().await;
                        log.lock().expect("unpoisoned").push(("stop", lead.fence()));
                        Ok(())
                    }
                })
                .await
        }
    });
    for _ in 0..5 {
        let started = log.lock().expect("unpoisoned").len();
        until("work runs again", async || {
            let log = log.lock().expect("unpoisoned");
            (log.len() > started || log.last().is_some_and(|(what, _)| *what == "start")).then_some(())
        })
        .await;
        let _ = patiently(cluster.electors[0].resign()).await;
    }
    patiently(cluster.electors[0].shutdown()).await;
    let _ = patiently(work).await;
    let log = log.lock().expect("unpoisoned");
    assert!(log.len() >= 6, "{log:?}");
    for pair in log.chunks(2) {
        let [(first, started), (second, stopped)] = pair else { panic!("a start without a stop: {log:?}") };
        assert_eq!((*first, *second, started), ("start", "stop", stopped), "{log:?}");
    }
    assert!(log.chunks(2).is_sorted_by(|a, b| a[0].1 < b[0].1), "{log:?}");
}

/// A term whose guard is still held is not followed by another one in the same process.
#[tokio::test]
async fn a_lost_guard_that_is_held_keeps_the_next_one_back() {
    let cluster = Cluster::start(1).await;
    let lead = patiently(cluster.electors[0].campaign()).await.expect("it leads");
    lead.resign();
    patiently(lead.lost()).await;
    let next = cluster.electors[0].campaign();
    tokio::pin!(next);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut next).await.is_err());
    let old = lead.fence();
    drop(lead);
    assert!(patiently(next).await.expect("it leads again").fence() > old);
}

/// Nor where the office lapsed: as long as the old guard is held, the same process does not lead again.
#[tokio::test]
async fn a_guard_of_a_lapsed_office_keeps_the_next_one_back() {
    let cluster = Cluster::start(2).await;
    let (a, lead) = first_to_lead(&cluster.electors, &[0, 1]).await;
    cluster.network.isolate(&node(a), &[node(0), node(1)]);
    patiently(lead.lost()).await;
    let mut watch = cluster.electors[a].watch();
    patiently(watch.wait_for(|view| view.role != Role::Leader)).await.expect("it steps down");
    cluster.network.heal_all();
    until("the other leads, and refuses to hand over", async || {
        let refused = patiently(cluster.electors[1 - a].transfer_to(Some(node(a)))).await;
        (refused == Err(TransferError::WorkRunning)).then_some(())
    })
    .await;
    let next = cluster.electors[a].campaign();
    tokio::pin!(next);
    assert!(tokio::time::timeout(calm().promise * 3, &mut next).await.is_err(), "two guards in one process");
    let old = lead.fence();
    drop(lead);
    // Nobody waits on the other one: it hands over by itself.
    assert!(patiently(next).await.expect("it leads").fence() > old);
}

#[tokio::test]
async fn what_is_proclaimed_reaches_everyone() {
    let cluster = Cluster::start(3).await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    let follower = cluster.others(leader)[0];
    let refused = patiently(cluster.electors[follower].proclaim("x")).await;
    assert!(matches!(refused, Err(ProclaimError::NotLeader { leader: Some(_) })), "{refused:?}");
    let too_long = patiently(cluster.electors[leader].proclaim(vec![0; 70_000])).await;
    assert!(matches!(too_long, Err(ProclaimError::TooLong { len: 70_000, .. })));
    patiently(cluster.electors[leader].proclaim("http://here")).await.expect("committed");
    for elector in &cluster.electors {
        until("everyone knows", async || (elector.proclaimed()? == "http://here").then_some(())).await;
    }
    assert!(lead.is_valid());
}

/// SCENARIOS 35, 37 and the dismissal of observers: a panic in one harms nobody.
#[tokio::test]
async fn an_observer_that_panics_is_dismissed() {
    let (seen, panicked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let cluster = Cluster::start_with(1, |_, builder| {
        let (seen, panicked) = (seen.clone(), panicked.clone());
        let panics = move |_: &Event| {
            panicked.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        };
        builder.observer(panics).observer(move |_: &Event| {
            seen.fetch_add(1, Ordering::SeqCst);
        })
    })
    .await;
    patiently(cluster.electors[0].campaign()).await.expect("it leads all the same");
    assert!(seen.load(Ordering::SeqCst) > 1);
    assert_eq!(panicked.load(Ordering::SeqCst), 1, "it got another event");
}

#[tokio::test]
async fn events_come_in_order_without_gaps() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let cluster = Cluster::start_with(1, |_, builder| {
        let events = events.clone();
        builder.observer(move |event: &Event| events.lock().expect("unpoisoned").push(event.clone()))
    })
    .await;
    for _ in 0..3 {
        patiently(cluster.electors[0].campaign()).await.expect("it leads");
    }
    patiently(cluster.electors[0].shutdown()).await;
    let events = events.lock().expect("unpoisoned");
    assert!(events.iter().map(|event| event.sequence).eq(1..=events.len() as u64));
    assert!(matches!(events.first().map(|event| &event.kind), Some(EventKind::Started { .. })));
    assert!(matches!(events.last().map(|event| &event.kind), Some(EventKind::Stopped { .. })));
}

#[tokio::test]
async fn it_runs_on_the_callers_runtime_too() {
    let cluster = Cluster::start_with(3, |_, builder| builder.on_current_runtime()).await;
    let (_, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    assert!(lead.is_valid());
}

#[tokio::test]
async fn work_may_start_once_elected() {
    let cluster = Cluster::start_with(3, |_, builder| builder.start_when(StartWhen::Elected)).await;
    let (_, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    assert_eq!(lead.started_when(), StartWhen::Elected);
}

/// Files: a restarted node goes on where it was, and the lock is free when `shutdown` returns.
#[tokio::test]
async fn a_cluster_on_disk_survives_a_restart_of_everyone() {
    let directory = tempfile::tempdir().expect("a directory");
    let on_disk = |at: usize, builder: ElectorBuilder| builder.data_dir(directory.path().join(node(at).as_str()));
    let cluster = Cluster::start_with(3, on_disk).await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    let fence = lead.fence();
    patiently(cluster.electors[leader].proclaim("kept")).await.expect("committed");
    drop(lead);
    for elector in &cluster.electors {
        patiently(elector.shutdown()).await;
    }
    let cluster = Cluster::start_with(3, on_disk).await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    assert!(lead.fence() > fence);
    assert_eq!(cluster.electors[leader].proclaimed().as_deref(), Some(b"kept".as_slice()));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let network = MemoryNetwork::new(1);
    let missing = |builder: ElectorBuilder| async { builder.start().await.expect_err("incomplete") };
    let error = missing(Elector::builder().node("n0").members(["n0"]).volatile()).await;
    assert!(matches!(error, StartError::Missing { what: "cluster", .. }), "{error}");
    let error = missing(Elector::builder().cluster("test").members(["n0"]).volatile()).await;
    assert!(matches!(error, StartError::Missing { what: "node", .. }), "{error}");
    let error = missing(Elector::builder().cluster("test").node("n0").volatile()).await;
    assert!(matches!(error, StartError::Missing { what: "peers", .. }), "{error}");
    let transport = network.transport(&node(0));
    let error = missing(Elector::builder().cluster("test").node("n0").members(["n0"]).transport(transport)).await;
    assert!(matches!(error, StartError::Missing { what: "storage", .. }), "{error}");
    let error = missing(Elector::builder().cluster("test").node("n0").members(["n0"]).volatile()).await;
    let what_is_built_in = if cfg!(feature = "grpc") { "listen" } else { "transport" };
    assert!(matches!(error, StartError::Missing { what, .. } if what == what_is_built_in), "{error}");
    let error = missing(Elector::builder().cluster("te st").node("n0").members(["n0"]).volatile()).await;
    assert_eq!(error.code(), "bad_name");
}

/// `explain` needs no collector: the candidate knows every voter's verdict, the voters what they answered.
#[tokio::test]
async fn an_election_is_explained_with_each_voters_verdict() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let won = |election: &ElectionSummary| {
        let campaign = election.campaign()?;
        let votes = campaign.rounds.iter().find(|round| !round.pre_vote)?;
        let granted =
            |question: &&Question| matches!(&question.answer, Answered::Reply { verdict: Verdict::Granted, .. });
        (votes.requests.len() == 2 && votes.requests.iter().filter(granted).count() >= 1).then_some(())
    };
    until("the leader can tell who granted", async || cluster.electors[leader].explain().iter().find_map(won)).await;
    for follower in cluster.others(leader) {
        let answered = |election: &ElectionSummary| match &election.part {
            Part::Voter(asked) => asked.answers.iter().find(|given| given.verdict == Verdict::Granted).map(drop),
            Part::Candidate(_) => None,
        };
        let elector = &cluster.electors[follower];
        until("a voter can tell what it answered", async || elector.explain().iter().find_map(answered)).await;
    }
}

#[tokio::test]
async fn the_journal_holds_every_event_when_shutdown_returns() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("n0.jsonl");
    let cluster = Cluster::start_with(1, |_, builder| builder.journal(&file)).await;
    patiently(cluster.electors[0].campaign()).await.expect("it leads");
    patiently(cluster.electors[0].shutdown()).await;
    let text = std::fs::read_to_string(&file).expect("a journal");
    assert!(
        text.contains("\"elected\"") && text.lines().last().is_some_and(|line| line.contains("\"stopped\"")),
        "{text}"
    );
}

/// SCENARIOS 22: a leader that stood still has lost its guard when it wakes, says why, and reads before it campaigns.
#[tokio::test]
async fn a_leader_that_stood_still_wakes_without_its_guard_and_disturbs_nobody() {
    let brakes = [Brake::default(), Brake::default(), Brake::default()];
    let paused = Arc::new(AtomicUsize::new(0));
    let cluster = Cluster::start_with(3, |at, builder| {
        let paused = paused.clone();
        builder.observer(brakes[at].clone()).observer(move |event: &Event| {
            if matches!(event.kind, EventKind::Paused { .. }) {
                paused.fetch_add(1, Ordering::SeqCst);
            }
        })
    })
    .await;
    let (old, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    brakes[old].set(true);
    // Something to observe, so that it stands still now.
    let elector = cluster.electors[old].clone();
    let proclaimed = tokio::spawn(async move { elector.proclaim("late").await });
    until("it stands still", async || brakes[old].stands().then_some(())).await;
    let (new, successor) = first_to_lead(&cluster.electors, &cluster.others(old)).await;
    assert!(!lead.is_valid(), "no driver had to say it");
    brakes[old].set(false);
    let mut watch = cluster.electors[old].watch();
    patiently(watch.wait_for(|view| view.leader == Some(node(new)))).await.expect("it follows the new leader");
    assert!(patiently(proclaimed).await.expect("no panic").is_err());
    assert!(successor.is_valid(), "waking up disturbed the new leader");
    assert_eq!(cluster.electors[old].view().term, successor.fence().term(), "it campaigned before it read");
    assert!(paused.load(Ordering::SeqCst) > 0);
}

/// Work that blocks its thread cannot be dropped; its guard says no all the same.
#[tokio::test]
async fn work_that_blocks_its_thread_hears_no_from_its_guard() {
    let cluster = Cluster::start(3).await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    let (told, heard) = oneshot::channel();
    std::thread::spawn(move || {
        let began = Instant::now();
        while lead.is_valid() && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let _ = told.send(lead.is_valid());
    });
    cluster.network.isolate(&node(leader), &[node(0), node(1), node(2)]);
    assert!(!patiently(heard).await.expect("the thread ends"));
}

/// A storage whose disk fails when it is told to.
struct Failing(Arc<AtomicUsize>);

impl Storage for Failing {
    fn load(&mut self, _: &GroupId) -> Result<Option<HardState>, StorageError> {
        Ok(None)
    }

    fn save(&mut self, _: &[(GroupId, HardState)]) -> Result<(), StorageError> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(StorageError::Other("the disk is full".into())),
            _ => panic!("on purpose"),
        }
    }

    fn is_volatile(&self) -> bool {
        true
    }
}

/// V9: a leader whose write fails resigns at once, and another takes over; so it does if the storage panics.
#[tokio::test]
async fn a_leader_whose_disk_fails_gives_way() {
    for failure in [1, 2] {
        let disks: [Arc<AtomicUsize>; 3] = Default::default();
        let cluster = Cluster::start_with(3, |at, builder| builder.storage(Failing(disks[at].clone()))).await;
        let (old, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
        disks[old].store(failure, Ordering::SeqCst);
        let elector = cluster.electors[old].clone();
        let proclaimed = tokio::spawn(async move { elector.proclaim("x").await });
        patiently(lead.lost()).await;
        drop(lead);
        drop(patiently(proclaimed).await);
        let (new, _) = first_to_lead(&cluster.electors, &cluster.others(old)).await;
        assert_ne!(new, old);
    }
}

/// SCENARIOS 36: work that ignores its cancellation holds a resignation up until the drain limit, and no longer.
#[tokio::test]
async fn work_that_ignores_its_token_is_dropped_at_the_drain_limit() {
    let cluster = Cluster::start_with(1, |_, builder| builder.drain_limit(Duration::from_millis(100))).await;
    let (began, mut begun) = mpsc::channel(8);
    let elector = cluster.electors[0].clone();
    let work = tokio::spawn(async move {
        elector
            .while_leader(|lead| {
                let began = began.clone();
                async move {
                    let _ = began.send(lead.fence()).await;
                    std::future::pending().await
                }
            })
            .await
    });
    let first = patiently(begun.recv()).await.expect("work runs");
    patiently(cluster.electors[0].resign()).await.expect("the work was dropped");
    assert!(patiently(begun.recv()).await.expect("work runs again") > first);
    work.abort();
}

/// A guard that is never dropped cannot keep a process from leaving.
#[tokio::test]
async fn a_guard_that_is_never_dropped_does_not_hang_a_shutdown() {
    let cluster = Cluster::start_with(1, |_, builder| builder.drain_limit(Duration::from_millis(100))).await;
    let lead = patiently(cluster.electors[0].campaign()).await.expect("it leads");
    patiently(cluster.electors[0].shutdown()).await;
    assert!(!lead.is_valid());
    assert!(patiently(lead.verify()).await.is_err());
    assert_eq!(patiently(lead.lost()).await, LossCause::ShuttingDown);
}

/// `verify` needs a quorum that answers from now on: what was heard before is no proof.
#[tokio::test]
async fn a_leader_that_is_cut_off_cannot_verify_its_guard() {
    let cluster = Cluster::start(3).await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    cluster.network.isolate(&node(leader), &[node(0), node(1), node(2)]);
    assert!(patiently(lead.verify()).await.is_err());
}

/// E5: whoever hears that a guard is revoked, be it an observer of the same process, finds it revoked.
#[tokio::test]
async fn a_guard_is_revoked_before_anybody_hears_of_it() {
    let held: Arc<Mutex<Option<Leadership>>> = Arc::default();
    let (seen, late) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let cluster = Cluster::start_with(1, |_, builder| {
        let (held, seen, late) = (held.clone(), seen.clone(), late.clone());
        builder.observer(move |event: &Event| {
            if matches!(event.kind, EventKind::GuardRevoked { .. }) {
                seen.fetch_add(1, Ordering::SeqCst);
                let valid = held.lock().expect("unpoisoned").as_ref().is_some_and(Leadership::is_valid);
                late.fetch_add(usize::from(valid), Ordering::SeqCst);
            }
        })
    })
    .await;
    let lead = patiently(cluster.electors[0].campaign()).await.expect("it leads");
    *held.lock().expect("unpoisoned") = Some(lead.clone());
    let elector = cluster.electors[0].clone();
    let resigned = tokio::spawn(async move { elector.resign().await });
    until("the guard is revoked", async || (seen.load(Ordering::SeqCst) > 0).then_some(())).await;
    assert_eq!(late.load(Ordering::SeqCst), 0, "the guard said yes when its end was told");
    drop(held.lock().expect("unpoisoned").take());
    drop(lead);
    patiently(resigned).await.expect("no panic").expect("it led");
}

/// F2: when the end of an office is told, its guard says no already, however long its lease would have lasted.
#[tokio::test]
async fn an_office_is_lost_before_its_end_is_told() {
    let held: Arc<Mutex<Option<Leadership>>> = Arc::default();
    let (seen, late) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let disk = Arc::new(AtomicUsize::new(0));
    let cluster = Cluster::start_with(1, |_, builder| {
        let (held, seen, late) = (held.clone(), seen.clone(), late.clone());
        builder.storage(Failing(disk.clone())).observer(move |event: &Event| {
            if matches!(event.kind, EventKind::LeadershipEnded { .. }) {
                let valid = held.lock().expect("unpoisoned").as_ref().is_some_and(Leadership::is_valid);
                late.fetch_add(usize::from(valid), Ordering::SeqCst);
                seen.fetch_add(1, Ordering::SeqCst);
            }
        })
    })
    .await;
    let lead = patiently(cluster.electors[0].campaign()).await.expect("it leads");
    *held.lock().expect("unpoisoned") = Some(lead);
    disk.store(1, Ordering::SeqCst);
    let elector = cluster.electors[0].clone();
    let proclaimed = tokio::spawn(async move { elector.proclaim("x").await });
    until("the office ends", async || (seen.load(Ordering::SeqCst) > 0).then_some(())).await;
    assert_eq!(late.load(Ordering::SeqCst), 0, "the guard said yes when the office was over");
    drop(held.lock().expect("unpoisoned").take());
    drop(patiently(proclaimed).await);
}

/// A follower that stood still reads the heartbeats that came meanwhile before it looks at its own deadline.
#[tokio::test]
async fn a_follower_that_stood_still_does_not_campaign() {
    let brakes = [Brake::default(), Brake::default(), Brake::default()];
    let campaigns: [Arc<AtomicUsize>; 3] = Default::default();
    let cluster = Cluster::start_with(3, |at, builder| {
        let campaigns = campaigns[at].clone();
        builder.observer(brakes[at].clone()).observer(move |event: &Event| {
            if matches!(event.kind, EventKind::ElectionStarted { .. }) {
                campaigns.fetch_add(1, Ordering::SeqCst);
            }
        })
    })
    .await;
    let (leader, lead) = first_to_lead(&cluster.electors, &[0, 1, 2]).await;
    cluster.leader(&[0, 1, 2]).await;
    let still = cluster.others(leader)[0];
    let before = campaigns[still].load(Ordering::SeqCst);
    brakes[still].set(true);
    // Something to observe, so that it stands still now; for longer than any election timeout.
    patiently(cluster.electors[leader].proclaim("x")).await.expect("the others suffice");
    until("it stands still", async || brakes[still].stands().then_some(())).await;
    let began = Instant::now();
    until("its deadline passes", async || (began.elapsed() > calm().election_timeout_max * 2).then_some(())).await;
    brakes[still].set(false);
    patiently(cluster.electors[leader].proclaim("y")).await.expect("it leads");
    let mut proclaimed = cluster.electors[still].watch();
    patiently(proclaimed.wait_for(|view| view.leader == Some(node(leader)))).await.expect("it follows");
    let heard = || cluster.electors[still].proclaimed().is_some_and(|value| value == "y");
    until("it has caught up", async || heard().then_some(())).await;
    assert_eq!(campaigns[still].load(Ordering::SeqCst), before, "it campaigned before it read");
    assert!(lead.is_valid());
}
