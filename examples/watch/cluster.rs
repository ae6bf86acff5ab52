//! The members, the network between them, and the user's hand on both.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hustings::elector::{BoxError, Elector};
use hustings::event::{Event, EventKind, Role};
use hustings::telemetry::{Guard, Spans};
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{NodeId, Term};
use tempfile::TempDir;

use crate::name;
use crate::teller::Teller;

/// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

struct Member {
    elector: Elector,
    spans: Option<Spans>,
    dead: Arc<AtomicBool>,
}

pub(crate) struct Cluster<'a> {
    names: Vec<NodeId>,
    members: BTreeMap<NodeId, Member>,
    network: MemoryNetwork,
    disks: TempDir,
    teller: &'a Teller,
    telemetry: Option<&'a Guard>,
    /// The newest term whose leader became exclusive.
    exclusive: Arc<Mutex<Term>>,
}

impl<'a> Cluster<'a> {
    pub(crate) async fn start(
        names: &[&str],
        teller: &'a Teller,
        telemetry: Option<&'a Guard>,
    ) -> Result<Cluster<'a>, BoxError> {
        let network = MemoryNetwork::new(1);
        network.shape_all(|link| link.delay = Duration::from_micros(250)..Duration::from_micros(750));
        let names: Vec<NodeId> = names.iter().map(|text| name(text)).collect();
        let disks = tempfile::tempdir()?;
        let mut cluster = Cluster {
            names: names.clone(),
            members: BTreeMap::new(),
            network,
            disks,
            teller,
            telemetry,
            exclusive: Arc::default(),
        };
        for node in &names {
            cluster.start_node(node).await?;
        }
        Ok(cluster)
    }

    pub(crate) async fn start_node(&mut self, node: &NodeId) -> Result<(), BoxError> {
        let dead = Arc::new(AtomicBool::new(false));
        let (mut tell, silenced, exclusive) = (self.teller.observer(), dead.clone(), self.exclusive.clone());
        let observer = move |event: &Event| {
            if silenced.load(Ordering::Relaxed) {
                return;
            }
            if let EventKind::BecameExclusive { .. } = event.kind {
                *exclusive.lock().unwrap_or_else(PoisonError::into_inner) = event.term;
            }
            tell(event);
        };
        let mut builder = Elector::builder()
            .cluster("watch")
            .node(node.as_str())
            .members(self.names.iter().map(|name| name.as_str().to_owned()))
            .transport(self.network.transport(node))
            .data_dir(self.disks.path().join(node.as_str()))
            .observer(observer);
        let spans = self.telemetry.map(|telemetry| telemetry.spans_for("watch", node.as_str()).build());
        if let Some(spans) = &spans {
            builder = builder.telemetry(spans.clone());
        }
        let elector = builder.start().await?;
        self.members.insert(node.clone(), Member { elector, spans, dead });
        Ok(())
    }

    /// What a kill looks like to the others: no farewell, closed connections. What the member still does behind closed
    /// doors is not told.
    pub(crate) async fn kill(&mut self, node: &NodeId) {
        if let Some(member) = self.members.remove(node) {
            member.dead.store(true, Ordering::Relaxed);
            self.network.kill(node);
            member.elector.shutdown().await;
        }
    }

    pub(crate) fn cut(&self, minority: &[NodeId]) {
        for inside in minority {
            for outside in self.names.iter().filter(|node| !minority.contains(node)) {
                self.network.cut(inside, outside);
                self.network.cut(outside, inside);
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.network.heal_all();
        self.network.shape_all(|link| link.delay = Duration::from_micros(250)..Duration::from_micros(750));
    }

    /// Waits until a member other than `not` leads, a majority follows it, and nothing is owed to a former leader.
    pub(crate) async fn wait_for_leader(&self, not: Option<&NodeId>) -> Result<NodeId, BoxError> {
        let settled = async {
            loop {
                let leads = |(node, member): (&NodeId, &Member)| {
                    let view = member.elector.view();
                    (view.role == Role::Leader && Some(node) != not).then(|| (node.clone(), view.term))
                };
                if let Some((node, term)) = self.members.iter().find_map(leads) {
                    let follows = |member: &&Member| {
                        let view = member.elector.view();
                        view.leader.as_ref() == Some(&node) && view.term == term
                    };
                    let alone = *self.exclusive.lock().unwrap_or_else(PoisonError::into_inner) == term;
                    if alone && self.members.values().filter(follows).count() > self.names.len() / 2 {
                        return node;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        Ok(tokio::time::timeout(LIMIT, settled).await.map_err(|_| "no exclusive leader within a minute")?)
    }

    /// Waits until `node` follows `leader`.
    pub(crate) async fn wait_until_known(&self, node: &NodeId, leader: &NodeId) -> Result<(), BoxError> {
        let Some(member) = self.members.get(node) else { return Ok(()) };
        let mut watch = member.elector.watch();
        let follows = watch.wait_for(|view| view.leader.as_ref() == Some(leader));
        tokio::time::timeout(LIMIT, follows).await.map_err(|_| format!("{node} did not find {leader} in a minute"))?;
        Ok(())
    }

    fn winner(&self) -> Option<&Member> {
        let leaders = self.members.values().filter(|member| member.elector.view().role == Role::Leader);
        leaders.max_by_key(|member| member.elector.view().term)
    }

    /// Where Jaeger shows the newest election, if it runs where the traces go, with its page at the usual port.
    pub(crate) fn page_of_last_election(&self) -> Option<String> {
        let winner = self.winner()?;
        let election = winner.spans.as_ref()?.election(winner.elector.group());
        let (_, authority) = self.telemetry?.resolved().endpoint()?.split_once("://")?;
        let authority = authority.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        election.is_valid().then(|| format!("http://{host}:16686/trace/{:032x}", election.trace_id))
    }

    /// The tree of the newest election that was won, from the winner's own memory.
    pub(crate) fn last_election(&self) -> Option<String> {
        let winner = self.winner()?;
        let won = winner.elector.explain().into_iter().rev().find(|election| election.campaign().is_some())?;
        Some(won.to_string())
    }

    /// Ends the members without telling of it.
    pub(crate) async fn stop(self) {
        for member in self.members.values() {
            member.dead.store(true, Ordering::Relaxed);
        }
        for member in self.members.values() {
            member.elector.shutdown().await;
        }
    }
}
