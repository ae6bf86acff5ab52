//! What a drop of a future leaves behind, and how long calls may take: nothing hangs, and nothing is left in hiding.

use std::future::Future;
use std::task::Poll;
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::{Elector, ElectorBuilder, Leadership};
use hustings::transport::memory::MemoryNetwork;
use hustings::types::NodeId;

const PATIENCE: Duration = Duration::from_secs(30);

fn node(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

fn builder(network: &MemoryNetwork, size: usize, at: usize) -> ElectorBuilder {
    Elector::builder()
        .cluster("test")
        .node(node(at).as_str())
        .members((0..size).map(|at| node(at).to_string()))
        .volatile()
        .timing(Timing::of(Duration::from_millis(100)))
        .transport(network.transport(&node(at)))
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

/// A start whose future is dropped when the driver has reported already leaves no member behind: its lock is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_dropped_leaves_nothing_running() {
    let directory = tempfile::tempdir().expect("a directory");
    let network = MemoryNetwork::new(1);
    let member = || builder(&network, 1, 0).data_dir(directory.path());
    let mut start = Box::pin(member().start());
    let polled = std::future::poll_fn(|context| Poll::Ready(start.as_mut().poll(context).is_pending())).await;
    assert!(polled, "it starts on a thread of its own");
    // The driver reports meanwhile; nobody looks.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(start);
    let began = Instant::now();
    let again = loop {
        match member().start().await {
            Ok(elector) => break elector,
            Err(error) => assert!(began.elapsed() < PATIENCE, "a hidden member: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    patiently(again.campaign()).await.expect("it leads");
}

/// A guard on its way to a campaign that is dropped goes to the next one who waits, or the office ends.
#[tokio::test]
async fn a_campaign_that_is_dropped_leaves_no_office_without_work() {
    let network = MemoryNetwork::new(1);
    let elector = builder(&network, 1, 0).start().await.expect("it starts");
    let first = patiently(elector.campaign()).await.expect("it leads").fence();
    // Polled once, and dropped when the guard has come, which nobody took.
    let mut dropped = Box::pin(elector.campaign());
    std::future::poll_fn(|context| {
        let _ = dropped.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
    std::thread::sleep(Duration::from_millis(500));
    drop(dropped);
    let next = patiently(elector.campaign()).await.expect("it leads");
    assert!(next.fence() > first && next.is_valid());
}

/// On the caller's runtime, which was blocked beyond the lease: what is asked right after is answered.
#[test]
fn what_is_asked_of_an_office_that_is_over_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for transfers in [true, false] {
            let network = MemoryNetwork::new(2);
            let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
            let mut electors = Vec::new();
            for (at, directory) in directories.iter().enumerate() {
                let builder = builder(&network, 3, at).data_dir(directory.path());
                let builder = if at == 0 { builder.on_current_runtime() } else { builder };
                electors.push(builder.start().await.expect("it starts"));
            }
            let lead = loop {
                match tokio::time::timeout(Duration::from_secs(1), electors[0].campaign()).await {
                    Ok(lead) => break lead.expect("it runs"),
                    Err(_) => {
                        for elector in &electors[1..] {
                            let hand_over = elector.transfer_to(Some(node(0)));
                            let _ = tokio::time::timeout(Duration::from_secs(1), hand_over).await;
                        }
                    }
                }
            };
            network.isolate(&node(0), &[node(0), node(1), node(2)]);
            std::thread::sleep(Duration::from_millis(1000));
            match transfers {
                true => drop(patiently(electors[0].transfer_to(None)).await.expect_err("it is alone")),
                false => {
                    let added = electors[0].add_member(NodeId::new("d").expect("a name"), "d:1");
                    drop(patiently(added).await.expect_err("it is alone"));
                }
            }
            drop(lead);
        }
    });
}

/// Gives an order from inside the work, and says what came of it.
async fn order(call: &str, elector: &Elector, lead: &Leadership) -> &'static str {
    let transferred = match call {
        "resign" => return elector.resign().await.err().map_or("done", |error| error.code()),
        "shutdown" => {
            elector.shutdown().await;
            return "returned";
        }
        "transfer" => elector.transfer_to(None).await,
        _ => lead.transfer_to(None).await,
    };
    transferred.err().map_or("done", |error| error.code())
}

/// What would wait for the end of the work returns inside it, once the order is taken: else the work would be dropped in the
/// call, at the drain limit, and say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_from_inside_the_work_do_not_wait_for_its_end() {
    for (call, expected) in [
        ("resign", "after_this_work"),
        ("transfer", "after_this_work"),
        ("lead transfer", "after_this_work"),
        ("shutdown", "returned"),
    ] {
        let network = MemoryNetwork::new(1);
        let mut electors = Vec::new();
        for at in 0..3 {
            electors.push(builder(&network, 3, at).start().await.expect("it starts"));
        }
        let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let elector = electors[0].clone();
        let task = tokio::spawn(async move {
            let work = |lead: Leadership| {
                let (said, inside) = (said.clone(), elector.clone());
                async move {
                    loop {
                        match order(call, &inside, &lead).await {
                            // Its followers may not have been heard.
                            "no_successor" | "called_off" => tokio::time::sleep(Duration::from_millis(5)).await,
                            outcome => break said.send(outcome).unwrap_or_default(),
                        }
                    }
                    Ok(())
                }
            };
            elector.while_leader(work).await
        });
        assert_eq!(patiently(hears.recv()).await, Some(expected), "{call}");
        task.abort();
    }
}

/// A hand-over that is awaited while the leadership is held waits for itself, and no longer than the drain limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_awaited_by_the_holder_ends_at_the_drain_limit() {
    let network = MemoryNetwork::new(1);
    let mut electors = Vec::new();
    for at in 0..3 {
        let builder = builder(&network, 3, at).drain_limit(Duration::from_millis(200));
        electors.push(builder.start().await.expect("it starts"));
    }
    let mut campaigns = tokio::task::JoinSet::new();
    for elector in &electors {
        let elector = elector.clone();
        campaigns.spawn(async move { elector.campaign().await });
    }
    let lead = patiently(campaigns.join_next()).await.expect("three").expect("no panic").expect("it leads");
    let began = Instant::now();
    let handed_over = patiently(lead.transfer_to(None)).await;
    assert!(handed_over.is_err() && !lead.is_valid());
    // Two election timeouts beyond it, and a busy machine.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
