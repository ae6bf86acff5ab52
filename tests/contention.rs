//! Who contends is elected, and somebody always works (E12): electors over the network in memory, in real time. They wait
//! for conditions, with generous limits.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::{Contention, Elector, LeadError, Leadership, TransferDone, TransferError};
use hustings::event::Role;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::NodeId;

const PATIENCE: Duration = Duration::from_secs(30);

fn node(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

async fn cluster(size: usize, network: &MemoryNetwork) -> Vec<Elector> {
    let mut electors = Vec::new();
    for at in 0..size {
        let builder = Elector::builder()
            .cluster("test")
            .node(node(at).as_str())
            .members((0..size).map(|at| node(at).to_string()))
            .volatile()
            .timing(Timing::of(Duration::from_millis(100)))
            .transport(network.transport(&node(at)));
        electors.push(builder.start().await.expect("an elector starts"));
    }
    electors
}

async fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Contends for ever, and works until it is told to end; notes who works.
fn contend(elector: &Elector, at: usize, works: &Arc<Mutex<Vec<usize>>>) -> tokio::task::JoinHandle<()> {
    let (elector, works) = (elector.clone(), works.clone());
    tokio::spawn(async move {
        let work = |lead: Leadership| {
            works.lock().expect("no panic").push(at);
            async move {
                lead.token().cancelled().await;
                Ok(())
            }
        };
        let _ = elector.while_leader(work).await;
    })
}

fn works_last(works: &Arc<Mutex<Vec<usize>>>) -> Option<usize> {
    works.lock().expect("no panic").last().copied()
}

fn leader(electors: &[Elector]) -> Option<usize> {
    electors.iter().position(|elector| elector.view().role == Role::Leader)
}

/// Waits until the leader has heard that of a member.
async fn heard(leader: &Elector, member: usize, contention: Contention) {
    let began = Instant::now();
    let said = async || leader.collective_state().await.and_then(|state| state.member(&node(member))?.contention);
    while said().await != Some(contention) {
        assert!(began.elapsed() < PATIENCE, "the leader hears that n{member} is {contention:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Hands over once the successor has been heard.
async fn handed_over(leader: &Elector, to: Option<NodeId>) -> TransferDone {
    let began = Instant::now();
    loop {
        match leader.transfer_to(to.clone()).await {
            Ok(done) => return done,
            Err(TransferError::NoSuccessor | TransferError::CalledOff) if began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(refused) => panic!("it hands over: {refused}"),
        }
    }
}

/// Three members, of which one contends: its work begins, in each of twenty rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_contends_works() {
    for round in 0..20 {
        let network = MemoryNetwork::new(round);
        let electors = cluster(3, &network).await;
        let works = Arc::default();
        // Sometimes before the first election, sometimes after it.
        tokio::time::sleep(Duration::from_millis(round * 40)).await;
        let task = contend(&electors[2], 2, &works);
        until("the contender works", || works_last(&works)).await;
        assert!(electors[2].view().works && electors[2].view().contention == Contention::Contends);
        task.abort();
    }
}

/// The work fails once on one member, which lives on: whoever hands over later, somebody always works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_error_and_a_hand_over_leave_somebody_at_work() {
    let network = MemoryNetwork::new(1);
    let electors = cluster(3, &network).await;
    let works = Arc::default();
    let first = electors[0].while_leader(|_lead| async { Err("away for a moment".into()) }).await;
    assert!(matches!(first, Err(LeadError::Work(_))), "{first:?}");
    let _tasks = [contend(&electors[1], 1, &works), contend(&electors[2], 2, &works)];
    let mut last = until("somebody works", || works_last(&works)).await;
    for _ in 0..6 {
        // A leader knows what it was told, and no more.
        heard(&electors[last], 0, Contention::Idle).await;
        heard(&electors[last], 3 - last, Contention::Contends).await;
        let done = handed_over(&electors[last], None).await;
        assert_ne!(done.to, node(0), "not to the one where nobody waits");
        last = until("the other works", || works_last(&works).filter(|now| *now != last)).await;
    }
    // By name it goes there all the same, and comes back by itself.
    handed_over(&electors[last], Some(node(0))).await;
    let begun = works.lock().expect("no panic").len();
    until("somebody works again", || works.lock().ok().filter(|works| works.len() > begun).map(|_| ())).await;
    assert_eq!(electors[0].view().contention, Contention::Idle);
}

/// With nobody who contends somebody leads all the same, and says that nobody works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_contenders_somebody_leads_and_says_so() {
    let network = MemoryNetwork::new(1);
    let electors = cluster(3, &network).await;
    let at = until("one leads", || leader(&electors)).await;
    assert!(!electors[at].view().works);
    heard(&electors[at], (at + 1) % 3, Contention::Idle).await;
    let state = electors[at].collective_state().await.expect("it runs");
    let own = state.member(&node(at)).expect("itself");
    assert_eq!((own.works, own.contention), (Some(false), Some(Contention::Idle)));
    assert!(own.to_string().contains("no_work"), "{own}");
}

/// A wait that is dropped is none: the member stands back, and one that waits gets leadership.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_wait_contends_no_more() {
    let network = MemoryNetwork::new(1);
    let electors = cluster(3, &network).await;
    let works = Arc::default();
    let waits = tokio::time::timeout(Duration::from_millis(1), electors[0].campaign()).await;
    assert!(waits.is_err(), "no election is that fast");
    until("it stands back", || (electors[0].view().contention == Contention::Idle).then_some(())).await;
    let _task = contend(&electors[1], 1, &works);
    assert_eq!(until("the other works", || works_last(&works)).await, 1);
}

/// An application that is not fit gives leadership to one that is, and gets it back when it is the only fit one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_the_fit() {
    let network = MemoryNetwork::new(1);
    let electors = cluster(3, &network).await;
    let works = Arc::default();
    let _tasks: Vec<_> = electors.iter().enumerate().map(|(at, elector)| contend(elector, at, &works)).collect();
    let first = until("somebody works", || works_last(&works)).await;
    electors[first].set_fit(false, "warming up").expect("it runs");
    let second = until("another works", || works_last(&works).filter(|now| *now != first)).await;
    let third = 3 - first - second;
    electors[second].set_fit(false, "overloaded").expect("it runs");
    until("the last fit one works", || works_last(&works).filter(|now| *now == third)).await;
    electors[third].set_fit(false, "").expect("it runs");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((works_last(&works), leader(&electors)), (Some(third), Some(third)), "nobody is better off");
    electors[first].set_fit(true, "").expect("it runs");
    until("it works again", || works_last(&works).filter(|now| *now == first)).await;
    assert!(electors[0].set_fit(false, "x".repeat(300)).is_err());
}

/// A node whose former work hangs is handed nothing, and does not lead: another works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_former_work_hangs_does_not_lead() {
    let network = MemoryNetwork::new(1);
    let electors = cluster(3, &network).await;
    let stuck = electors[0].campaign().await.expect("it leads");
    network.isolate(&node(0), &[node(0), node(1), node(2)]);
    stuck.lost().await;
    let works = Arc::default();
    let _tasks: Vec<_> = electors.iter().enumerate().map(|(at, elector)| contend(elector, at, &works)).collect();
    let second = until("another works", || works_last(&works)).await;
    network.heal_all();
    until("it follows", || (electors[0].view().leader == Some(node(second))).then_some(())).await;
    let began = Instant::now();
    loop {
        match electors[second].transfer_to(Some(node(0))).await {
            Err(TransferError::WorkRunning) => break,
            Err(TransferError::NoSuccessor) if began.elapsed() < PATIENCE => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(electors[0].view().contention, Contention::WorkRunning);
    network.kill(&node(second));
    let third = until("the third works", || works_last(&works).filter(|now| *now != second)).await;
    assert_eq!(third, 3 - second, "and not the one that can begin nothing");
    drop(stuck);
    until("it contends again", || (electors[0].view().contention == Contention::Contends).then_some(())).await;
}

/// Between two rounds a member goes on contending: the loss of one leadership does not make it stand back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_does_not_make_it_stand_back() {
    let network = MemoryNetwork::new(1);
    let electors = cluster(3, &network).await;
    let (works, changes) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let mut events = electors[1].events();
    let counted = changes.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if matches!(event.kind, hustings::event::EventKind::ContentionChanged { .. }) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let _tasks: Vec<_> = electors.iter().enumerate().map(|(at, elector)| contend(elector, at, &works)).collect();
    let mut last = until("somebody works", || works_last(&works)).await;
    until("it contends", || (electors[1].view().contention == Contention::Contends).then_some(())).await;
    for _ in 0..6 {
        let to = (last + 1) % 3;
        handed_over(&electors[last], Some(node(to))).await;
        last = until("the next works", || works_last(&works).filter(|now| *now == to)).await;
    }
    assert!(changes.load(Ordering::SeqCst) <= 1, "it began to contend, and that was all");
}
