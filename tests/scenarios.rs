//! Scenarios that concern a real disk, a real socket or a user, or that take more runs than a story tells. Each is named
//! after its number, as the stories are; they wait for conditions, with generous limits.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hustings::config::{Config, Timing};
use hustings::elector::{Elector, ElectorBuilder, LeadError, Leadership, TransferError};
use hustings::event::{CallId, Event, EventKind, Role};
use hustings::message::{Message, Reason, Verdict};
use hustings::node::{Input, Node, Output};
use hustings::record::{HardState, Member, Record};
use hustings::sim::{Cluster, Death, Detail};
use hustings::storage::Storage;
use hustings::storage::file::FileStorage;
use hustings::storage::file::slot::SLOT_LEN;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{ClusterId, DiskId, GroupId, Incarnation, NodeId, Term, Time, TraceContext};

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
        .timing(Timing::of(Duration::from_millis(200)))
        .transport(network.transport(&node(at)))
}

async fn start(network: &MemoryNetwork, size: usize, at: usize) -> Elector {
    builder(network, size, at).start().await.expect("an elector starts")
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

// ---- 16. Torn vote record -----------------------------------------------------------------------------------------

/// A crash at any byte of the write, from the front or, as disks may, from the back: the vote that is found belongs to the
/// term that is found, and to the record, and the next start goes on from there.
#[test]
fn scenario_16_a_vote_record_torn_at_every_byte_is_the_old_one_or_the_new_one() {
    let (old, new) = (voted(5, "b"), voted(6, "c"));
    for backwards in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("group-main.state");
        save(dir.path(), &old);
        let before = fs::read(&file).expect("a file");
        save(dir.path(), &new);
        let after = fs::read(&file).expect("a file");
        let mut torn: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(
            torn.len() > 8 && torn[0] / SLOT_LEN == torn[torn.len() - 1] / SLOT_LEN,
            "one slot was written: {torn:?}"
        );
        if backwards {
            torn.reverse();
        }
        let mut image = before;
        for (written, at) in torn.iter().enumerate() {
            fs::write(&file, &image).expect("written");
            let found = load(dir.path());
            assert_eq!(found, old, "{written} bytes of the new state had arrived");
            image[*at] = after[*at];
        }
        fs::write(&file, &image).expect("written");
        assert_eq!(load(dir.path()), new, "all of them had");
    }
}

fn voted(term: u64, candidate: &str) -> HardState {
    let mut state = HardState::new(DiskId(7), Duration::from_millis(150));
    (state.term, state.voted_for) = (Term(term), Some(NodeId::new(candidate).expect("a name")));
    let mut record = Record::first(vec![Member { node: node(0), disk: DiskId(7), voter: true }]);
    record.id.term = Term(term);
    record.proclaimed = candidate.repeat(200).into();
    state.record = Some(Arc::new(record));
    state
}

fn on_disk(dir: &Path) -> FileStorage {
    FileStorage::open(dir, &ClusterId::new("test").expect("a name"), &node(0)).expect("the directory is free")
}

/// Saved and acknowledged; the process dies before the copy.
fn save(dir: &Path, state: &HardState) {
    on_disk(dir).save(&[(GroupId::default(), state.clone())]).expect("a sound disk");
}

fn load(dir: &Path) -> HardState {
    on_disk(dir).load(&GroupId::default()).expect("one slot is sound").expect("a state")
}

// ---- 29. Transfer called while candidate; target that may not lead --------------------------------------------------

/// Two of three are away: the third campaigns for ever. The call returns at once, while it still does.
#[tokio::test]
async fn scenario_29_a_transfer_by_a_candidate_is_refused_at_once() {
    let network = MemoryNetwork::new(1);
    let electors = [start(&network, 3, 0).await, start(&network, 3, 1).await, start(&network, 3, 2).await];
    until("all know a leader", async || electors.iter().all(|elector| elector.view().leader.is_some())).await;
    let all = [node(0), node(1), node(2)];
    all.iter().for_each(|node| network.isolate(node, &all));
    let candidate = &electors[0];
    let campaigns = |role| matches!(role, Role::PreCandidate | Role::Candidate);
    until("it campaigns", async || campaigns(candidate.view().role)).await;
    for to in [None, Some(node(1)), Some(node(0))] {
        let refused = tokio::time::timeout(PATIENCE, candidate.transfer_to(to)).await.expect("it never blocks");
        assert!(matches!(refused, Err(TransferError::NotLeader { .. })), "{refused:?}");
    }
    assert!(candidate.view().leader.is_none(), "it has not become a leader meanwhile");
}

/// Who is no voter is refused by the leader (and `rules/strangers.rs`: by itself). A priority of 0 is no refusal: priority
/// delays, and never forbids (34).
#[tokio::test]
async fn scenario_29_a_transfer_to_a_stranger_is_refused_and_to_priority_0_is_not() {
    let network = MemoryNetwork::new(1);
    let mut electors = Vec::new();
    for at in 0..3 {
        let priority = if at == 2 { 0 } else { 100 };
        electors.push(builder(&network, 3, at).priority(priority).start().await.expect("an elector starts"));
    }
    let lead = leadership_of_another_than(2, &electors).await;
    let leader = electors.iter().find(|elector| elector.view().role == Role::Leader).expect("one leads");
    for stranger in ["stranger", leader.view().leader.expect("itself").as_str()] {
        let refused = patiently(lead.transfer_to(Some(NodeId::new(stranger).expect("a name")))).await;
        assert_eq!(refused, Err(TransferError::NotAVoter), "{stranger}");
        assert!(lead.is_valid(), "a refused transfer changes nothing");
    }
    // The target may just not have answered yet.
    let mut transfer = loop {
        let mut transfer = tokio::spawn(lead.transfer_to(Some(node(2))));
        tokio::select! {
            _ = lead.lost() => break transfer,
            refused = &mut transfer => {
                let refused = refused.expect("no panic");
                assert!(matches!(refused, Err(TransferError::NoSuccessor | TransferError::CalledOff)), "{refused:?}");
            }
        }
    };
    drop(lead);
    let done = patiently(&mut transfer).await.expect("no panic").expect("it completes");
    assert_eq!(done.to, node(2));
}

async fn leadership_of_another_than(not: usize, electors: &[Elector]) -> Leadership {
    loop {
        let campaigns = electors.iter().enumerate().map(|(at, elector)| {
            let elector = elector.clone();
            tokio::spawn(async move { (at, elector.campaign().await.expect("it runs")) })
        });
        let mut campaigns: tokio::task::JoinSet<_> = campaigns.fold(tokio::task::JoinSet::new(), |mut set, task| {
            set.spawn(async move { task.await.expect("no panic") });
            set
        });
        let (at, lead) = patiently(campaigns.join_next()).await.expect("one leads").expect("no panic");
        campaigns.abort_all();
        if at != not {
            return lead;
        }
        // Dropping it resigns.
        drop(lead);
    }
}

// ---- 32. Bootstrap race ---------------------------------------------------------------------------------------------

/// Every combination of first lists of three nodes with at least two names, each with its own in it: never two leaders,
/// never two foundings with a leader.
#[test]
fn scenario_32_a_bootstrap_race_with_different_lists_never_makes_two_leaders() {
    let lists = |me: usize| [vec![0, 1, 2], vec![me, (me + 1) % 3], vec![me, (me + 2) % 3]];
    let (mut led, mut refused) = (0, 0);
    for combination in 0..27 {
        for seed in 0..8 {
            let list = |at: usize| lists(at)[combination / 3_usize.pow(at as u32) % 3].clone();
            let mut race = Race::new([0, 1, 2].map(list), seed);
            let mut founded = Vec::new();
            for _ in 0..2000 {
                race.millisecond();
                let leaders: Vec<&Node> = race.nodes.iter().filter(|node| node.role() == Role::Leader).collect();
                assert!(leaders.len() <= 1, "combination {combination}, seed {seed}: {leaders:?} lead");
                founded.extend(leaders.iter().map(|node| node.hard_state().founding));
            }
            founded.dedup();
            assert!(founded.len() <= 1, "combination {combination}, seed {seed}: two clusters, {founded:?}");
            assert!(combination > 0 || founded.len() == 1, "the same lists everywhere make a cluster");
            led += founded.len();
            refused += usize::from(race.refused);
        }
    }
    assert!(led > 27 && refused > 27, "{led} races had a leader, in {refused} a founding was refused");
}

/// Three nodes that were told different lists. Messages take a millisecond or a few, disks nothing.
struct Race {
    nodes: Vec<Node>,
    now: Time,
    flying: Vec<(Time, usize, Message)>,
    calls: Vec<Option<usize>>,
    seed: u64,
    /// Whether anybody was refused as of another cluster.
    refused: bool,
}

impl Race {
    fn new(lists: [Vec<usize>; 3], seed: u64) -> Race {
        let now = Time(1_000_000_000);
        let mut race = Race { nodes: Vec::new(), now, flying: Vec::new(), calls: Vec::new(), seed, refused: false };
        let mut outs = Vec::new();
        for (at, list) in lists.into_iter().enumerate() {
            let members = list.into_iter().map(node).collect();
            let config = Config::new(ClusterId::new("test").expect("a name"), node(at), members);
            let mut state = HardState::new(DiskId(at as u128 + 1), config.timing.promise_max);
            state.incarnation = Incarnation(1);
            let mut out = Output::default();
            race.nodes.push(Node::new(config, state, seed + at as u64, now, &mut out));
            outs.push(out);
        }
        outs.into_iter().enumerate().for_each(|(at, out)| race.carry_out(at, out));
        race
    }

    fn millisecond(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        let due: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= self.now).collect();
        for (_, at, message) in due {
            match message {
                Message::Request(request) => {
                    let call = CallId(self.calls.len() as u64);
                    self.calls.push(request.from.node.as_str()[1..].parse().ok());
                    self.step(at, Input::Request { call, request, context: TraceContext::NONE, peer: None });
                }
                Message::Reply(reply) => self.step(at, Input::Reply(reply)),
            }
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].deadline() <= self.now {
                self.step(at, Input::Tick);
            }
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let mut out = Output::default();
        self.nodes[at].step(self.now, input, &mut out);
        self.carry_out(at, out);
    }

    fn carry_out(&mut self, from: usize, mut out: Output) {
        while let Some(persist) = out.persist.take() {
            self.nodes[from].step(self.now, Input::Persisted(persist.write), &mut out);
        }
        for request in out.requests {
            let to = request.to.as_str()[1..].parse().expect("a number");
            self.send(to, Message::Request(request));
        }
        for (call, reply) in out.replies {
            self.refused |= reply.verdict == Verdict::Refused(Reason::WrongCluster);
            let to = self.calls[call.0 as usize].expect("a number");
            self.send(to, Message::Reply(reply));
        }
    }

    fn send(&mut self, to: usize, message: Message) {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let delay = Duration::from_micros(200 + (self.seed >> 40) % 8000);
        self.flying.push((self.now + delay, to, message));
    }
}

/// One of three, alone: it waits, and says for whom. Two whose disks were lost make no cluster with a third that remembers.
#[test]
fn scenario_32_nobody_founds_alone_and_an_old_minority_stays_apart() {
    let mut alone = cluster(1, 3);
    alone.start(0);
    alone.run_for(Duration::from_secs(30));
    assert_eq!((role(&alone, 0), term(&alone, 0)), (Some(Role::Follower), 0));
    let awaited = |event: &Event| matches!(&event.kind, EventKind::MembersAwaited { missing } if missing.len() == 2);
    assert!(alone.events().iter().any(awaited), "it says whom it waits for");

    // Two lose their disks while the third is away: its record is all that is left of the old cluster.
    let mut cluster = cluster(1, 3);
    (0..3).for_each(|at| cluster.start(at));
    cluster.run_for(Duration::from_secs(1));
    cluster.crash(2, Death::Vanished);
    for at in [0, 1] {
        cluster.wipe(at);
        cluster.start(at);
    }
    cluster.run_for(Duration::from_secs(5));
    assert!((0..2).all(|at| role(&cluster, at) == Some(Role::Follower)), "a majority without memory founds nothing");
    cluster.start(2);
    cluster.run_for(Duration::from_secs(5));
    assert!((0..3).all(|at| role(&cluster, at) != Some(Role::Leader)), "one memory of three is no quorum (D2)");
    assert!(cluster.violation().is_none(), "{:?}", cluster.violation());
}

fn cluster(seed: u64, size: usize) -> Cluster {
    let names: Vec<String> = (0..size).map(|at| node(at).to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Cluster::new(seed, &names, &Timing::default(), Detail::Events).expect("names")
}

fn role(cluster: &Cluster, at: usize) -> Option<Role> {
    cluster.node(at).map(|node| node.role())
}

fn term(cluster: &Cluster, at: usize) -> u64 {
    cluster.node(at).map_or(0, |node| node.term().0)
}

// ---- 33. All addresses change at once; a name that resolves to self ---------------------------------------------------

#[cfg(feature = "grpc")]
mod addresses {
    use std::net::TcpListener;

    use hustings::transport::grpc::{GrpcConfig, GrpcTransport, Security};

    use super::*;

    /// Three members on disk: where each listens, and where it believes the others to be.
    async fn start_all(dir: &Path, believed: impl Fn(usize, &[String]) -> Vec<String>) -> Vec<Elector> {
        let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("its address").to_string();
        let addresses: Vec<String> = listeners.iter().map(address).collect();
        let mut electors = Vec::new();
        for (at, listener) in listeners.into_iter().enumerate() {
            let peers = believed(at, &addresses);
            let config = GrpcConfig {
                node: node(at),
                listen: addresses[at].clone(),
                peers: peers.into_iter().enumerate().map(|(at, address)| (node(at), address)).collect(),
                security: Security::Insecure,
                backoff_max: Duration::from_millis(100),
            };
            let builder = Elector::builder()
                .cluster("test")
                .node(node(at).as_str())
                .members((0..3).map(|at| node(at).to_string()))
                .data_dir(dir.join(node(at).as_str()))
                .timing(Timing::of(Duration::from_millis(200)))
                .transport(GrpcTransport::new(config).with_listener(listener));
            electors.push(builder.start().await.expect("an elector starts"));
        }
        electors
    }

    async fn led(electors: &[Elector], among: &[usize]) -> u64 {
        let mut term = 0;
        until("one leads, and all know it", async || {
            let views: Vec<_> = among.iter().map(|at| electors[*at].view()).collect();
            term = views[0].term.0;
            views[0].leader.is_some() && views.iter().all(|view| view.leader == views[0].leader)
        })
        .await;
        term
    }

    /// Identity is the node id: the same members with the same disks, at other ports, go on where they were.
    #[tokio::test]
    async fn scenario_33_all_addresses_change_at_once_and_the_cluster_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let electors = start_all(dir.path(), |_, addresses| addresses.to_vec()).await;
        let term = led(&electors, &[0, 1, 2]).await;
        let founded = electors[0].view().election_id;
        for elector in &electors {
            patiently(elector.shutdown()).await;
        }
        let electors = start_all(dir.path(), |_, addresses| addresses.to_vec()).await;
        assert!(led(&electors, &[0, 1, 2]).await > term, "{founded:?}");
    }

    /// n0 finds itself where n2 should be: at its own address, and at 0.0.0.0, which is this machine too. It answers itself
    /// that it is not meant, is not mistaken for a second n0, and takes part by the connections of the others.
    #[tokio::test]
    async fn scenario_33_a_name_that_resolves_to_self_harms_nobody() {
        for unspecified in [false, true] {
            let dir = tempfile::tempdir().expect("a directory");
            let electors = start_all(dir.path(), |at, addresses| {
                let mut believed = addresses.to_vec();
                if at == 0 {
                    let port = addresses[0].rsplit_once(':').expect("a port").1;
                    believed[2] = if unspecified { format!("0.0.0.0:{port}") } else { addresses[0].clone() };
                }
                believed
            })
            .await;
            // n0 leads without n2, or follows; whoever it cannot call knows it at least from the third (V6).
            led(&electors, &[0, 1]).await;
            let other = electors[2].view();
            assert!(other.leader.is_none() || other.leader == electors[1].view().leader, "{other:?}");
            assert!(
                electors.iter().all(|elector| elector.view().role != Role::Stopped),
                "n0 took itself for a second n0"
            );
        }
    }
}

// ---- 34. Priority is a bias, never a veto -----------------------------------------------------------------------------

/// Priorities at random, and the favourites cannot win: they are gone, cut off from all others but one, or slow. Somebody
/// else leads within ten election timeouts, in a term that rose by little.
#[test]
fn scenario_34_the_favourites_cannot_win_and_another_leads() {
    for seed in 0..300_u64 {
        let mut cluster = cluster(seed, 5);
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance % below
        };
        let mut priorities: Vec<(u8, usize)> = (0..5).map(|at| (draw(256) as u8, at)).collect();
        for (priority, at) in &priorities {
            cluster.config(*at).priority = *priority;
            cluster.start(*at);
        }
        priorities.sort_unstable();
        assert!(cluster.run_until(Duration::from_secs(5), |cluster| exclusive(cluster).is_some()), "seed {seed}");
        cluster.run_for(Duration::from_millis(200));
        let leader = exclusive(&cluster).expect("one leads");
        let before = term(&cluster, leader);
        let favourite = priorities.iter().rev().map(|(_, at)| *at).find(|at| *at != leader).expect("another");
        match draw(3) {
            0 => cluster.crash(favourite, Death::Vanished),
            1 => (0..5).filter(|at| *at != favourite && *at != (favourite + 1) % 5).for_each(|at| {
                cluster.link(favourite, at).cut = true;
                cluster.link(at, favourite).cut = true;
            }),
            _ => cluster.pause(favourite, Duration::from_secs(60)),
        }
        cluster.crash(leader, if draw(2) == 0 { Death::Killed } else { Death::Vanished });
        let others = |cluster: &Cluster| exclusive(cluster).is_some_and(|at| at != leader && at != favourite);
        assert!(cluster.run_until(Duration::from_secs(3), others), "seed {seed}: nobody leads without {favourite}");
        let now = term(&cluster, exclusive(&cluster).expect("one leads"));
        assert!(now <= before + 6, "seed {seed}: T{before} became T{now}");
        assert!(cluster.violation().is_none(), "seed {seed}: {:?}", cluster.violation());
    }
}

fn exclusive(cluster: &Cluster) -> Option<usize> {
    (0..cluster.len()).find(|at| cluster.is_exclusive(*at) && !cluster.is_paused(*at))
}

// ---- 35. Slow subscriber ----------------------------------------------------------------------------------------------

/// Leadership flaps a thousand times before subscribers that never read. The core goes on; the watch shows the newest view
/// and its term, the stream counts what it dropped and ends with the newest event.
#[tokio::test]
async fn scenario_35_a_subscriber_that_never_reads_sees_the_newest_state() {
    const FLAPS: usize = 1000;
    let network = MemoryNetwork::new(1);
    let quick = Timing::of(Duration::from_millis(1));
    let elector = builder(&network, 1, 0).timing(quick).start().await.expect("an elector starts");
    let (watch, mut events) = (elector.watch(), elector.events());
    let first = patiently(events.next()).await.expect("an event");
    let mut fences = Vec::new();
    for _ in 0..FLAPS {
        let lead = patiently(elector.campaign()).await.expect("it leads");
        fences.push(lead.fence().get());
        drop(lead);
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "each term of office has a fence of its own");
    let lead = patiently(elector.campaign()).await.expect("it leads");
    let seen = watch.current();
    assert_eq!((seen.term.0, seen.role), (lead.fence().get(), Role::Leader), "the newest, without having read another");
    assert!(seen.election_id.expect("an election").ends_with(&format!("/{}", seen.term.0)));
    drop(lead);
    patiently(elector.shutdown()).await;
    let (mut read, mut last) = (1, first.clone());
    while let Some(event) = patiently(events.next()).await {
        read += 1;
        last = event;
    }
    assert!(events.dropped() >= FLAPS as u64, "{} dropped", events.dropped());
    assert!(read <= 1025, "what is kept for a slow reader is bounded: {read}");
    assert!(matches!(last.kind, EventKind::Stopped { .. }), "{last}");
    let told = last.sequence - first.sequence + 1;
    assert_eq!(told, events.dropped() + read, "what was dropped is counted, and nothing else is missing");
}

// ---- 37. Stop callback without start ------------------------------------------------------------------------------------

/// A node that never led: its work is never started, so nothing of it is stopped, and no event tells of an end.
#[tokio::test]
async fn scenario_37_nothing_is_stopped_that_never_started() {
    let network = MemoryNetwork::new(1);
    let (calls, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = ends.clone();
    let observer = move |event: &Event| {
        let ended = matches!(
            event.kind,
            EventKind::LeadershipEnded { .. }
                | EventKind::GuardRevoked { .. }
                | EventKind::WorkEnded { .. }
                | EventKind::Resigned { .. }
                | EventKind::TransferEnded { .. }
        );
        seen.fetch_add(usize::from(ended), Ordering::SeqCst);
    };
    // Alone of three: it never leads.
    let elector = builder(&network, 3, 0).observer(observer).start().await.expect("an elector starts");
    let (started, stopped) = (calls.clone(), calls.clone());
    let work = tokio::spawn({
        let elector = elector.clone();
        async move {
            elector
                .while_leader(move |lead| {
                    started.fetch_add(1, Ordering::SeqCst);
                    let stopped = stopped.clone();
                    async move {
                        lead.token().cancelled().await;
                        stopped.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    }
                })
                .await
        }
    });
    let campaign = tokio::spawn({
        let elector = elector.clone();
        async move { elector.campaign().await }
    });
    let mut watch = elector.watch();
    assert!(watch.current().leader.is_none());
    patiently(elector.shutdown()).await;
    assert!(matches!(patiently(work).await.expect("no panic"), Err(LeadError::Stopped)));
    assert!(matches!(patiently(campaign).await.expect("no panic"), Err(LeadError::Stopped)));
    patiently(watch.wait_for(|view| view.role == Role::Stopped)).await;
    assert_eq!((calls.load(Ordering::SeqCst), ends.load(Ordering::SeqCst)), (0, 0));
}
