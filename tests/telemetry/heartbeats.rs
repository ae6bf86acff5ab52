//! The heartbeats that are looked at, of real members.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hustings::config::Timing;
use hustings::elector::Elector;
use hustings::event::{Event, EventKind, Outcome, Role};
use hustings::message::RequestKind;
use hustings::observer::{Observer, Vitals};
use hustings::telemetry::Spans;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::NodeId;
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::SpanData;

use super::stage::*;

struct Cluster {
    exported: Exported,
    vitals: Vec<Arc<OnceLock<Arc<Vitals>>>>,
    network: MemoryNetwork,
    electors: Vec<Elector>,
}

/// Keeps what the driver hands over.
struct Witness(Arc<OnceLock<Arc<Vitals>>>);

impl Observer for Witness {
    fn observe(&mut self, _: &Event) {}
    fn attach(&mut self, vitals: &Arc<Vitals>) {
        self.0.set(vitals.clone()).expect("once");
    }
}

fn member(at: usize) -> NodeId {
    node(&format!("n{at}"))
}

impl Cluster {
    /// Three members; one round in `every` is looked at.
    async fn start(every: u32) -> Cluster {
        let (exported, network) = (Exported::default(), MemoryNetwork::new(5));
        let (mut electors, mut vitals) = (Vec::new(), Vec::new());
        for at in 0..3 {
            let witness = Arc::new(OnceLock::new());
            vitals.push(witness.clone());
            let builder = Elector::builder()
                .cluster("planner")
                .node(member(at).as_str())
                .members((0..3).map(|at| member(at).to_string()))
                .volatile()
                .timing(Timing::of(Duration::from_millis(100)))
                .transport(network.transport(&member(at)))
                .heartbeats_per_trace(every)
                .observer(Witness(witness))
                .telemetry(Spans::builder().provider(exported.provider()).without_metrics().build());
            electors.push(builder.start().await.expect("it starts"));
        }
        Cluster { exported, vitals, network, electors }
    }

    async fn leader(&self) -> usize {
        let known = |leader: &usize| self.electors.iter().all(|e| e.view().leader == Some(member(*leader)));
        let leads = || (0..3).find(|at| self.electors[*at].view().role == Role::Leader).filter(known);
        until("one leads", leads).await
    }

    /// The rounds that a leader looked at, the oldest first.
    fn rounds(&self) -> Vec<SpanData> {
        let mut rounds = self.exported.named("raft.heartbeat");
        rounds.retain(|span| span.span_kind == SpanKind::Internal);
        rounds
    }

    async fn stop(&self) {
        for elector in &self.electors {
            elector.shutdown().await;
        }
    }
}

#[tokio::test]
pub(crate) async fn the_first_round_and_one_in_many_are_traced() {
    let cluster = Cluster::start(4).await;
    cluster.leader().await;
    until("three rounds", || (cluster.rounds().len() >= 3).then_some(())).await;
    cluster.stop().await;
    let rounds = cluster.rounds();
    let office = number(&rounds[0], "raft.term");
    let of_first = rounds.iter().filter(|round| number(round, "raft.term") == office);
    let picked: Vec<i64> = of_first
        .filter(|round| attribute(round, "raft.heartbeat.gap").is_none())
        .map(|round| number(round, "raft.heartbeat.round"))
        .collect();
    assert_eq!(picked[0], 1, "the first of a leadership, always");
    assert!(picked[1..].iter().all(|number| number % 4 == 0), "{picked:?}");

    let first = &rounds[0];
    assert_eq!(first.parent_span_id, SpanId::INVALID);
    let elected = links(first);
    let elections = cluster.exported.named("raft.election");
    let won = elections.iter().find(|election| election.span_context.span_id() == elected[0].1);
    assert_eq!(
        (elected[0].0.as_str(), text(won.expect("its election"), "raft.election.outcome")),
        ("elected_by", "won".to_owned())
    );
    let asked = cluster.exported.below(first);
    assert_eq!(asked.len(), 2, "{asked:#?}");
    for request in &asked {
        assert_eq!((request.name.as_ref(), &request.span_kind), ("raft.heartbeat.request", &SpanKind::Client));
        assert_eq!(text(request, "raft.rpc.accepted"), "true");
        let served = &cluster.exported.below(request)[0];
        assert_eq!((served.name.as_ref(), &served.span_kind), ("raft.heartbeat", &SpanKind::Server));
        assert_eq!(text(served, "raft.node.id"), text(request, "raft.peer.id"));
        assert_eq!(links(served)[0], elected[0], "the follower knows which election it obeys");
    }
    // Nothing else of a heartbeat leaves a trace.
    let requests = cluster.exported.named("raft.heartbeat.request").len();
    assert!(requests <= rounds.len() * 2, "{requests} requests of {} rounds", rounds.len());
}

#[tokio::test]
pub(crate) async fn a_round_that_ends_a_gap_is_traced() {
    let cluster = Cluster::start(1_000_000).await;
    let leader = cluster.leader().await;
    until("the first round", || (!cluster.rounds().is_empty()).then_some(())).await;
    // The follower hears, and is not heard: the leader keeps its office by the other one.
    let silent = (leader + 1) % 3;
    cluster.network.cut(&member(silent), &member(leader));
    let lost = || cluster.vitals[leader].get().map_or(0, |v| v.heartbeats_failed().map(|(_, count)| count).sum());
    until("its answers are missed", || (lost() >= 3_u64).then_some(())).await;
    cluster.network.heal(&member(silent), &member(leader));
    let ended = || cluster.rounds().into_iter().find(|round| attribute(round, "raft.heartbeat.gap").is_some());
    let round = until("the gap ends", ended).await;
    assert!(seconds(&round, "raft.heartbeat.gap") > 0.2);

    cluster.stop().await;
}

/// Campaigning without end floods no backend: the traces end, the log lines and the counts do not.
#[test]
pub(crate) fn a_node_that_campaigns_without_end_is_traced_now_and_then() {
    let exported = Exported::default();
    let spans = Spans::builder().provider(exported.provider()).anchor(anchor).elections_per_minute(6).build();
    let mut a = Player::with("a", spans);
    let campaign = |a: &mut Player, at: u64, attempt: u64| {
        a.stand(at, attempt);
        a.start_round(at, true, 1, 5);
        let id = a.ask(at, "b", RequestKind::PreVote, 5);
        let context = a.context(id);
        a.end_round(at + 10, true, 1, (1, 0), &["b", "c"]);
        a.tell(at + 20, EventKind::ElectionEnded { outcome: Outcome::QuorumUnreachable, rounds: 1, retry_in: None });
        context
    };
    let contexts: Vec<_> = (0..20).map(|n| campaign(&mut a, 1_000_000 + n * 200_000, n + 1)).collect();
    assert!(contexts[..12].iter().all(|context| context.is_valid()));
    assert!(contexts[12..].iter().all(|context| !context.is_valid()), "who is not traced asks without a context");
    assert_eq!(exported.named("raft.election").len(), 12, "the last is told as well as the first");
    campaign(&mut a, 60_000_000, 21);
    a.tell(60_100_000, EventKind::Stopped { disk: hustings::types::DiskId(1) });
    let elections = exported.named("raft.election");
    assert_eq!(elections.len(), 13);
    assert_eq!(number(&elections[12], "raft.elections.suppressed"), 8);
    exported.assert_sound();
}
