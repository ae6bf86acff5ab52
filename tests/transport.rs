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
