//! Nobody costs a leader its lease: no stranger that floods, no observer, propagator or transport of a user.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hustings::config::{LATENESS_MAX, Timing};
use hustings::elector::{Elector, ElectorBuilder, Health, Leadership, MembershipError};
use hustings::event::{Event, EventKind};
use hustings::message::{CallError, Identity, PROTOCOL_VERSION, Reply, Request, RequestBody, RequestId};
use hustings::observer::{Observer, Propagator, Vitals};
use hustings::transport::memory::{MemoryNetwork, MemoryTransport};
use hustings::transport::{Inbox, Transport, TransportError};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};
use tokio::sync::mpsc;

#[path = "support/brake.rs"]
mod brake;
use brake::Brake;

const PATIENCE: Duration = Duration::from_secs(60);
/// For how long a leader must bear with it.
const HEARTBEATS: u32 = 15;

fn node(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

/// Slow enough that a busy machine costs no leader its office.
fn calm() -> Timing {
    Timing::of(Duration::from_millis(200))
}

async fn start(change: impl Fn(usize, ElectorBuilder) -> ElectorBuilder) -> Vec<Elector> {
    let network = MemoryNetwork::new(1);
    start_on(&network, change).await
}

async fn start_on(network: &MemoryNetwork, change: impl Fn(usize, ElectorBuilder) -> ElectorBuilder) -> Vec<Elector> {
    let mut electors = Vec::new();
    for at in 0..3 {
        let builder = Elector::builder()
            .cluster("test")
            .node(node(at).as_str())
            .members((0..3).map(|at| node(at).to_string()))
            .volatile()
            .timing(calm())
            .transport(network.transport(&node(at)));
        electors.push(change(at, builder).start().await.expect("an elector starts"));
    }
    electors
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

async fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn first_to_lead(electors: &[Elector]) -> (usize, Leadership) {
    let (sender, mut leaders) = mpsc::channel(1);
    let mut tasks = tokio::task::JoinSet::new();
    for (at, elector) in electors.iter().cloned().enumerate() {
        let sender = sender.clone();
        tasks.spawn(async move {
            if let Ok(lead) = elector.campaign().await {
                let _ = sender.send((at, lead)).await;
            }
        });
    }
    patiently(leaders.recv()).await.expect("one leads")
}

/// The leader keeps its office for that many heartbeats.
async fn keeps(lead: &Leadership, electors: &[Elector]) {
    let lost = tokio::time::timeout(calm().heartbeat * HEARTBEATS, lead.lost()).await;
    let lags: Vec<_> = electors.iter().map(Elector::lag).collect();
    assert!(lost.is_err(), "lost: {lost:?}; lags {lags:?}");
    assert!(lead.is_valid());
    for elector in electors {
        assert_eq!(elector.view().term, lead.fence().term(), "nobody campaigned");
    }
}

fn request(cluster: &str, from: &str, to: usize) -> Request {
    let from = Identity {
        version: PROTOCOL_VERSION,
        cluster: ClusterId::new(cluster).expect("a name"),
        founding: Founding(1),
        group: GroupId::default(),
        node: NodeId::new(from).expect("a name"),
        disk: DiskId(7),
        incarnation: Incarnation(1),
        timing: 0,
        priority: 1,
        amnesiac: false,
    };
    let body = RequestBody::PreVote { last: None };
    Request { from: Arc::new(from), to: node(to), id: RequestId(1), term: Term(1), body }
}

/// A thread of its own that keeps many requests under way to each of some electors.
struct Flood {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn begin(targets: Vec<(Elector, Request)>, width: usize) -> Flood {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), served.clone());
        let body = async move {
            let mut tasks = tokio::task::JoinSet::new();
            for (elector, request) in targets {
                for _ in 0..width {
                    let (elector, request) = (elector.clone(), request.clone());
                    let (stopped, counted) = (stopped.clone(), counted.clone());
                    tasks.spawn(async move {
                        while !stopped.load(Ordering::Relaxed) {
                            drop(elector.handle(request.clone(), TraceContext::NONE, None).await);
                            counted.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                        }
                    });
                }
            }
            while tasks.join_next().await.is_some() {}
        };
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(body);
        });
        Flood { stop, served, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}

/// Whoever asks, and whatever they claim: another cluster, a stranger of this one, a member of this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_no_lease() {
    for (cluster, name, width) in [("other", "x", 64), ("test", "x", 1024), ("test", "member", 1024)] {
        let electors = start(|_, builder| builder).await;
        let (leader, lead) = first_to_lead(&electors).await;
        let name = if name == "member" { node((leader + 1) % 3).to_string() } else { name.into() };
        let flood = Flood::begin(vec![(electors[leader].clone(), request(cluster, &name, leader))], width);
        keeps(&lead, &electors).await;
        assert!(flood.served.load(Ordering::Relaxed) > 1000, "that was no flood");
    }
}

/// More than every inbox holds, at those whom the leader needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flooded_followers_hear_their_leader() {
    let electors = start(|_, builder| builder).await;
    let (leader, lead) = first_to_lead(&electors).await;
    let followers = (0..3).filter(|at| *at != leader);
    let flood = followers.map(|at| (electors[at].clone(), request("other", "x", at))).collect();
    let flood = Flood::begin(flood, 6000);
    keeps(&lead, &electors).await;
    assert!(flood.served.load(Ordering::Relaxed) > 12_000, "that was no flood");
}

/// Through the port: connections of strangers, each with as many requests under way as it may have.
#[cfg(feature = "grpc")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_the_port_costs_no_lease() {
    use hustings::transport::grpc::{GrpcConfig, GrpcTransport, Security};
    const CONNECTIONS: usize = 4;
    const STREAMS: usize = 256;
    let listeners: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("an address").to_string()).collect();
    drop(listeners);
    let mut electors = Vec::new();
    for (at, listen) in addresses.iter().enumerate() {
        let peers = addresses.iter().enumerate().map(|(at, address)| (node(at).to_string(), address.clone()));
        let builder = Elector::builder().cluster("test").node(node(at).as_str()).listen(listen).peers(peers);
        electors.push(builder.volatile().timing(calm()).start().await.expect("an elector starts"));
    }
    let (leader, lead) = first_to_lead(&electors).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, counted, address) = (stop.clone(), served.clone(), addresses[leader].clone());
    let flood = async move {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let transport = Arc::new(GrpcTransport::new(GrpcConfig {
                node: NodeId::new("x").expect("a name"),
                listen: "127.0.0.1:0".into(),
                peers: vec![(node(leader), address.clone())],
                security: Security::Loopback,
                backoff_max: Duration::from_secs(1),
            }));
            transport.start(Inbox::new().0).await.expect("it listens");
            for _ in 0..STREAMS {
                let (transport, stopped, counted) = (transport.clone(), stopped.clone(), counted.clone());
                tasks.spawn(async move {
                    while !stopped.load(Ordering::Relaxed) {
                        let asked = request("other", "x", leader);
                        let answer = transport.call(asked, TraceContext::NONE, Duration::from_secs(5)).await;
                        counted.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
        while tasks.join_next().await.is_some() {}
    };
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(flood);
    });
    let flood = Flood { stop, served, thread: Some(thread) };
    keeps(&lead, &electors).await;
    let served = flood.served.load(Ordering::Relaxed);

    assert!(served > 1000, "that was no flood: {served}");
}

/// Blocks in every event while its brake is pulled, and counts what it sees.
#[derive(Clone, Default)]
struct Slow {
    brake: Brake,
    seen: Arc<Mutex<Vec<Event>>>,
    vitals: Arc<Mutex<Option<Arc<Vitals>>>>,
}

impl Observer for Slow {
    fn observe(&mut self, event: &Event) {
        self.brake.pass();
        self.seen.lock().expect("unpoisoned").push(event.clone());
    }

    fn attach(&mut self, vitals: &Arc<Vitals>) {
        *self.vitals.lock().expect("unpoisoned") = Some(vitals.clone());
    }
}

impl Propagator for Slow {
    fn request(&mut self, _: &GroupId, _: RequestId) -> TraceContext {
        TraceContext { trace_id: 1, span_id: 1, flags: 1 }
    }

    fn election(&mut self, _: &GroupId) -> TraceContext {
        TraceContext { trace_id: 2, span_id: 2, flags: 1 }
    }
}

impl Slow {
    fn saw(&self, what: impl Fn(&EventKind) -> bool) -> bool {
        self.seen.lock().expect("unpoisoned").iter().any(|event| what(&event.kind))
    }

    fn missed(&self) -> u64 {
        let vitals = self.vitals.lock().expect("unpoisoned");
        vitals.as_ref().expect("attached").workload().observers().contexts_missed()
    }
}

/// Every observer stands still, for longer than any lease; what is proclaimed meanwhile is committed, and shown later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observers_that_stand_still_cost_no_lease_and_miss_nothing() {
    let slow: [Slow; 3] = Default::default();
    let electors = start(|at, builder| builder.telemetry(slow[at].clone())).await;
    let (leader, lead) = first_to_lead(&electors).await;
    for slow in &slow {
        slow.brake.set(true);
    }
    patiently(electors[leader].proclaim("x")).await.expect("it leads");
    until("they stand still", || slow[leader].brake.stands().then_some(())).await;
    keeps(&lead, &electors).await;
    patiently(electors[leader].proclaim("y")).await.expect("it leads");
    assert!(slow[leader].missed() > 0, "requests that an event announced left without their contexts");
    let seen = slow[leader].seen.lock().expect("unpoisoned").len();
    for slow in &slow {
        slow.brake.set(false);
    }
    // A failed election of the one that is told to, and the end: all of it is there once it has stopped.
    drop(lead);
    for elector in &electors {
        patiently(elector.shutdown()).await;
    }
    for slow in &slow {
        assert!(slow.saw(|kind| matches!(kind, EventKind::Stopped { .. })), "shutdown waits for the observers");
        let seen = slow.seen.lock().expect("unpoisoned");
        assert!(seen.is_sorted_by(|a, b| a.sequence < b.sequence), "in order");
        assert!(seen.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence), "without a gap");
    }
    assert!(slow[leader].seen.lock().expect("unpoisoned").len() > seen);
}

/// An observer that never comes back: the shutdown gives it a moment, and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_never_comes_back_holds_no_shutdown() {
    let slow: [Slow; 3] = Default::default();
    let electors = start(|at, builder| builder.observer(slow[at].clone())).await;
    slow[0].brake.set(true);
    patiently(electors[0].shutdown()).await;
    assert_eq!(electors[0].health(), Health::Stopped);
    slow[0].brake.set(false);
}

/// A propagator that blocks: votes leave without a context, and one is elected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_propagator_that_stands_still_prevents_no_election() {
    #[derive(Clone)]
    struct Hung(Brake);
    impl Observer for Hung {
        fn observe(&mut self, _: &Event) {}
    }
    impl Propagator for Hung {
        fn request(&mut self, _: &GroupId, _: RequestId) -> TraceContext {
            self.0.pass();
            TraceContext::NONE
        }
        fn election(&mut self, _: &GroupId) -> TraceContext {
            self.0.pass();
            TraceContext::NONE
        }
    }
    let brake = Brake::default();
    brake.set(true);
    let electors = start(|_, builder| builder.telemetry(Hung(brake.clone()))).await;
    let (_, lead) = first_to_lead(&electors).await;
    assert!(lead.is_valid());
    brake.set(false);
}

/// A transport of a user that panics wherever it can once the cluster stands.
struct Fragile(MemoryTransport, Arc<AtomicUsize>);

impl Transport for Fragile {
    async fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        self.0.start(inbox).await
    }
    async fn call(&self, request: Request, context: TraceContext, deadline: Duration) -> Result<Reply, CallError> {
        assert!(request.to != NodeId::new("d").expect("a name"), "a bug of the user's transport");
        self.0.call(request, context, deadline).await
    }
    async fn stop(&self) {
        self.0.stop().await;
        panic!("a bug of the user's transport");
    }
    fn reach(&self, _: &NodeId, address: &str) -> Result<(), TransportError> {
        assert!(address.starts_with("good"), "a bug of the user's transport");
        Ok(())
    }
    fn forget(&self, _: &NodeId) {
        self.1.fetch_add(1, Ordering::SeqCst);
        panic!("a bug of the user's transport");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_that_panics_costs_no_lease() {
    let network = MemoryNetwork::new(1);
    let forgotten = Arc::new(AtomicUsize::new(0));
    let disks = tempfile::tempdir().expect("a directory");
    let electors = start_on(&network, |at, builder| {
        let transport = Fragile(network.transport(&node(at)), forgotten.clone());
        builder.data_dir(disks.path().join(node(at).as_str())).transport(transport)
    })
    .await;
    let (leader, lead) = first_to_lead(&electors).await;
    let newcomer = NodeId::new("d").expect("a name");
    let refused = patiently(electors[leader].add_member(newcomer.clone(), "bad:1")).await;
    assert!(matches!(&refused, Err(MembershipError::Address(why)) if why.contains("panicked")), "{refused:?}");
    assert!(lead.is_valid());
    // Its calls panic, it is given up, and then forgotten.
    let timed_out = patiently(electors[leader].add_member(newcomer, "good:1")).await;
    assert!(matches!(timed_out, Err(MembershipError::TimedOut)), "{timed_out:?}");
    until("it is forgotten", || (forgotten.load(Ordering::SeqCst) > 0).then_some(())).await;
    keeps(&lead, &electors).await;
    drop(lead);
    for elector in &electors {
        patiently(elector.shutdown()).await;
        assert_eq!(elector.health(), Health::Stopped);
    }
}

/// E10: the smallest timing that is accepted works: an office is lost only where a loop came round later than it allows for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_smallest_timing_loses_no_lease_by_itself() {
    let smallest = (1..)
        .map(|ms| Timing::of(Duration::from_millis(ms)))
        .find(|timing| {
            let name = node(0);
            let cluster = ClusterId::new("test").expect("a name");
            let config = hustings::config::Config::new(cluster, name.clone(), vec![name]);
            hustings::config::Config { timing: timing.clone(), ..config }.validate().is_ok()
        })
        .expect("some are accepted");
    let electors = start(|_, builder| builder.timing(smallest.clone())).await;
    let mut held = 0;
    // A busy machine is late now and then: what counts are the terms in which it was not.
    for _ in 0..200 {
        let before = electors.iter().map(|elector| elector.lag().1).max();
        let (_, lead) = first_to_lead(&electors).await;
        let lost = tokio::time::timeout(smallest.heartbeat * 200, lead.lost()).await;
        let after = electors.iter().map(|elector| elector.lag().1).max();
        match lost {
            Err(_) => held += 1,
            Ok(cause) => assert!(
                after > before || after > Some(LATENESS_MAX),
                "lost without any lateness: {cause}, lag {after:?}"
            ),
        }
        if held == 5 {
            return;
        }
    }
    panic!("no office was held for 200 heartbeats: {smallest:?}");
}
