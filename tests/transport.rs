//! The contract of a transport, run on those that are shipped, and what only the one in memory can do.

use std::future::Future;

use hustings::transport::contract::{self, Cluster};
use hustings::transport::memory::{MemoryNetwork, MemoryTransport};
use hustings::types::NodeId;

struct InMemory(MemoryNetwork);

impl Cluster for InMemory {
    type Transport = MemoryTransport;

    fn transport(&mut self, node: &NodeId) -> impl Future<Output = MemoryTransport> + Send {
        std::future::ready(self.0.transport(node))
    }
}

macro_rules! contract {
    ($($check:ident)*) => { mod memory { use super::*; $(
        #[tokio::test]
        async fn $check() {
            contract::$check(&mut InMemory(MemoryNetwork::new(1))).await;
        }
    )* } };
}

contract! {
    a_call_is_answered
    the_context_arrives
    an_unanswered_call_ends_by_its_deadline
    nobody_listening_is_refused
    a_death_in_a_call_is_not_a_timeout
    a_dead_peer_delays_no_live_one
    a_peer_that_returns_is_reached
    the_death_of_an_idle_peer_is_reported
}

#[tokio::test]
async fn one_cluster_passes_every_check_in_turn() {
    contract::check_all(&mut InMemory(MemoryNetwork::new(2))).await;
}

/// What the network in memory can do to its links.
mod faults {
    use std::time::Duration;

    use hustings::message::{
        CallError, Identity, PROTOCOL_VERSION, Reply, ReplyBody, Request, RequestBody, RequestId, Verdict,
    };
    use hustings::transport::memory::{Link, MemoryNetwork, MemoryTransport};
    use hustings::transport::{Inbox, Incoming, Transport};
    use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};
    use tokio::sync::mpsc::Receiver;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(30);

    fn node(name: &str) -> NodeId {
        NodeId::new(name).expect("a name")
    }

    fn request(to: &str) -> Request {
        let from = Identity {
            version: PROTOCOL_VERSION,
            cluster: ClusterId::new("test").expect("a name"),
            founding: Founding(1),
            group: GroupId::default(),
            node: node("a"),
            disk: DiskId(1),
            incarnation: Incarnation(1),
            timing: 1,
            priority: 100,
            amnesiac: false,
        };
        Request { from: from.into(), to: node(to), id: RequestId(1), term: Term(1), body: RequestBody::Resign }
    }

    async fn start(network: &MemoryNetwork, name: &str) -> (MemoryTransport, Receiver<Incoming>) {
        let transport = network.transport(&node(name));
        let (inbox, incoming) = Inbox::new();
        transport.start(inbox).await.expect("it starts");
        (transport, incoming)
    }

    /// Answers every request, and returns how many there were once the network is gone.
    async fn answer(mut incoming: Receiver<Incoming>) -> usize {
        let mut requests = 0;
        while let Some(incoming) = incoming.recv().await {
            if let Incoming::Request { request, reply, .. } = incoming {
                requests += 1;
                let answer = Reply {
                    from: request.from.clone(),
                    to: request.from.holder(),
                    id: request.id,
                    kind: request.body.kind(),
                    term: request.term,
                    verdict: Verdict::Granted,
                    worked: Duration::ZERO,
                    body: ReplyBody::None,
                };
                let _ = reply.send(answer);
            }
        }
        requests
    }

    async fn call(from: &MemoryTransport, deadline: Duration) -> Result<(), CallError> {
        from.call(request("b"), TraceContext::NONE, deadline).await.map(drop)
    }

    #[tokio::test]
    async fn a_cut_in_either_direction_is_silence_until_it_is_healed() {
        let network = MemoryNetwork::new(1);
        let (a, _news) = start(&network, "a").await;
        let (b, incoming) = start(&network, "b").await;
        let answers = tokio::spawn(answer(incoming));
        for (from, to) in [("a", "b"), ("b", "a")] {
            network.cut(&node(from), &node(to));
            assert_eq!(call(&a, SHORT).await, Err(CallError::Timeout), "{from} to {to} is cut");
            network.heal(&node(from), &node(to));
            assert_eq!(call(&a, LONG).await, Ok(()), "{from} to {to} is healed");
        }
        b.stop().await;
        drop((a, b, network));
        assert_eq!(answers.await.expect("no panic"), 3, "only the request whose reply was cut off arrived in vain");
    }

    /// A death behind a cut is silence, too; it shows when the cut is healed.
    #[tokio::test]
    async fn a_death_behind_a_cut_is_heard_of_when_it_heals() {
        let network = MemoryNetwork::new(1);
        let (a, mut news) = start(&network, "a").await;
        let (_b, incoming) = start(&network, "b").await;
        let answers = tokio::spawn(answer(incoming));
        assert!(matches!(news.recv().await, Some(Incoming::PeerConnected(peer)) if peer == node("b")));
        network.isolate(&node("b"), &[node("a"), node("b")]);
        network.kill(&node("b"));
        assert_eq!(call(&a, SHORT).await, Err(CallError::Timeout));
        assert!(news.try_recv().is_err(), "nobody can tell");
        network.heal_all();
        assert!(matches!(news.recv().await, Some(Incoming::PeerClosed(peer)) if peer == node("b")));
        assert!(matches!(news.recv().await, Some(Incoming::PeerLost { refused: true, .. })));
        assert_eq!(call(&a, LONG).await, Err(CallError::Refused));
        drop(answers);
    }

    /// What still runs under a killed name can do no harm, also once the node has returned.
    #[tokio::test]
    async fn a_former_life_stays_cut_off() {
        let network = MemoryNetwork::new(1);
        let (former, _) = start(&network, "a").await;
        let (_b, incoming) = start(&network, "b").await;
        let answers = tokio::spawn(answer(incoming));
        network.kill(&node("a"));
        assert_eq!(call(&former, SHORT).await, Err(CallError::Timeout));
        let (returned, _news) = start(&network, "a").await;
        assert_eq!(call(&returned, LONG).await, Ok(()));
        assert_eq!(call(&former, SHORT).await, Err(CallError::Timeout));
        former.stop().await;
        assert_eq!(call(&returned, LONG).await, Ok(()), "a former life stops nobody else");
        drop(answers);
    }

    #[tokio::test]
    async fn links_delay_lose_and_double() {
        let network = MemoryNetwork::new(1);
        let (a, _news) = start(&network, "a").await;
        let (b, incoming) = start(&network, "b").await;
        let answers = tokio::spawn(answer(incoming));
        let there = |change: fn(&mut Link)| {
            network.heal_all();
            network.shape(&node("a"), &node("b"), change);
        };
        there(|link| link.delay = SHORT..SHORT * 2);
        let began = std::time::Instant::now();
        assert_eq!(call(&a, LONG).await, Ok(()));
        assert!(began.elapsed() >= SHORT, "it was under way for {:?}", began.elapsed());
        there(|link| link.loss = 1.0);
        assert_eq!(call(&a, SHORT).await, Err(CallError::Timeout));
        there(|link| link.duplication = 1.0);
        assert_eq!(call(&a, LONG).await, Ok(()));
        there(|link| link.loss = 0.5);
        let mut lost = 0;
        for _ in 0..20 {
            lost += usize::from(call(&a, SHORT).await.is_err());
        }
        assert!((1..20).contains(&lost), "{lost} of 20 were lost");
        // The doubles run in tasks of their own.
        tokio::task::yield_now().await;
        b.stop().await;
        drop((a, b, network));
        assert_eq!(answers.await.expect("no panic"), 1 + 2 + (20 - lost), "one was doubled");
    }
}
