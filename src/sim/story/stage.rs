//! Carries out commands on a cluster: where a story is told, and where chaos plays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Change, Command, DiskChange, Inject, Setting};
use crate::event::Role;
use crate::message::{Identity, Request, RequestBody, RequestId};
use crate::node::{Input, Node};
use crate::record::{HardState, Member, Record, RecordId};
use crate::sim::check::arithmetic::majority;
use crate::sim::host::{Caller, Life};
use crate::sim::{Cluster, Death, Detail, DiskManners, Faults, Figures, Link};
use crate::types::{ClusterId, DiskId, Incarnation, NameError, NodeId, Term, Time, TraceContext};

/// What is not promised where stores forget at a restart: whatever follows from a vote or a record that was kept.
const FORGOTTEN: [&str; 11] = ["S1", "S2", "S4", "L1", "L2", "L3", "L5", "D2", "E1", "F1", "A1"];

/// A cluster, and what must be remembered between two commands.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// The smallest election timeout: the unit of everything.
    pub(crate) et: Duration,
    /// How many machines are members of the first record; the others are spares.
    pub(crate) founders: usize,
    pub(crate) figures: Figures,
    /// Disks that were lost.
    pub(crate) losses: usize,
    injected: u64,
    /// Who was told to leave.
    leaving: BTreeSet<usize>,
    /// Whether every founder's disk was named at some time.
    founded: bool,
    /// Since when nothing new has gone wrong.
    pub(super) calm_since: Option<Time>,
    /// When a link was last changed.
    pub(super) links_changed: Time,
    /// Whether a leader has come since the last disturbance.
    pub(super) settled: bool,
    /// Who led at the mark, if a leader had come by then.
    pub(super) marked: Option<Vec<(usize, Term)>>,
}

impl Stage {
    /// An empty stage: nothing runs yet.
    ///
    /// # Errors
    /// [`NameError`]: a name cannot be used.
    pub(crate) fn new(setting: &Setting, detail: Detail) -> Result<Stage, NameError> {
        let founders = setting.founders();
        let mut cluster = Cluster::with_founders(setting.seed, &setting.names(), founders, &setting.timing, detail)?;
        for (node, priority) in &setting.priorities {
            cluster.config(*node).priority = *priority;
        }
        for at in 0..cluster.len() {
            cluster.config(at).trust_connection_refused = setting.trust_refused;
            cluster.config(at).volatile = setting.volatile;
        }
        for stray in &setting.strays {
            let config = cluster.config(stray.node);
            if let Some(timing) = &stray.timing {
                config.timing = timing.clone();
            }
            if let Some(cluster) = &stray.cluster {
                config.cluster = ClusterId::new(cluster)?;
            }
        }
        if setting.volatile {
            cluster.checker().exempt(&FORGOTTEN);
        }
        Ok(Stage {
            et: setting.timing.election_timeout_min,
            founders,
            figures: Figures::default(),
            losses: 0,
            injected: 0,
            leaving: BTreeSet::new(),
            founded: false,
            calm_since: None,
            links_changed: cluster.now(),
            settled: false,
            marked: None,
            cluster,
        })
    }

    /// Carries out one command. Conditions and expectations are for the teller.
    // tidy: a table, one arm for each command
    pub(crate) fn obey(&mut self, command: &Command) {
        let disturbs = !matches!(command, Command::Run(_) | Command::Require(_) | Command::Mark);
        self.settled &= !disturbs;
        let cluster = &mut self.cluster;
        match command {
            Command::Start(nodes) => nodes.iter().for_each(|at| cluster.start(*at)),
            Command::Kill(nodes, death) => nodes.iter().for_each(|at| cluster.crash(*at, *death)),
            Command::Wipe(at) => cluster.wipe(*at),
            Command::Lose(at) => self.lose(*at),
            Command::Retime(timing) => {
                for at in 0..cluster.len() {
                    cluster.config(at).timing = timing.clone();
                }
            }
            Command::Pause(at, duration) => cluster.pause(*at, *duration),
            Command::Tell(at, input) => {
                if matches!(input, Input::Shutdown) {
                    self.leaving.insert(*at);
                }
                cluster.input(*at, input.clone());
            }
            Command::Links(ways, change) => {
                self.links_changed = cluster.now();
                for (from, to) in ways {
                    change_link(cluster.link(*from, *to), change);
                }
            }
            Command::Reset(ways) => ways.iter().for_each(|(from, to)| cluster.reset(*from, *to)),
            Command::Refuse(ways) => ways.iter().for_each(|(from, to)| self.refuse(*from, *to)),
            Command::Disk(nodes, change) => nodes.iter().for_each(|at| change_disk(cluster.disk(*at), change)),
            Command::Clock(at, ppm) => cluster.set_rate(*at, *ppm),
            Command::Boot(at, reading, ppm) => cluster.reset_clock(*at, *reading, *ppm),
            Command::Work(nodes, manners) => nodes.iter().for_each(|at| *cluster.user(*at) = manners.clone()),
            Command::Faults(faults) => *cluster.faults() = faults.clone(),
            Command::Version(at, version) => cluster.set_version(*at, Some(*version)),
            Command::Inject(inject) => self.inject(inject),
            Command::Calm => self.calm(),
            Command::Run(duration) => cluster.run_for(*duration),
            Command::Require(require) => self.require(*require),
            Command::Mark => self.marked = self.settled.then(|| self.leaders()),
            Command::Set | Command::Show(_) | Command::RunUntil(..) | Command::Expect(_) => {}
        }
    }

    /// Whether a property did not hold.
    pub(crate) fn is_broken(&self) -> bool {
        self.cluster.violation().is_some()
    }

    /// The term that the node at `at` leads.
    pub(crate) fn leads(&self, at: usize) -> Option<Term> {
        self.cluster.node(at).filter(|node| node.role() == Role::Leader).map(Node::term)
    }

    /// Who leads, in which term.
    pub(crate) fn leaders(&self) -> Vec<(usize, Term)> {
        (0..self.cluster.len()).filter_map(|at| self.leads(at).map(|term| (at, term))).collect()
    }

    /// Who was told to leave, and has not started since.
    pub(crate) fn is_leaving(&self, at: usize) -> bool {
        self.leaving.contains(&at)
    }

    /// D2 and D4: a disk may be lost once the cluster is founded, and while the others still suffice to name it.
    fn lose(&mut self, at: usize) {
        let cluster = &self.cluster;
        let named = |at: usize| cluster.durable(at).is_some_and(|state| state.named.is_some());
        self.founded |= (0..self.founders).all(named);
        let (own, machines) = (cluster.name(at), 0..cluster.len());
        let bears = |voters: &BTreeSet<NodeId>| {
            let others = machines.clone().filter(|other| *other != at && voters.contains(cluster.name(*other)));
            let lost = others.filter(|other| !named(*other)).count();
            !voters.contains(own) || lost < voters.len() - majority(voters.len())
        };
        if self.founded && self.memberships().iter().all(bears) {
            self.cluster.wipe(at);
            self.losses += 1;
        }
    }

    fn refuse(&mut self, from: usize, to: usize) {
        // Refusals prove a death only where nobody lies about them.
        if self.cluster.config(from).trust_connection_refused {
            return;
        }
        let peer = self.cluster.name(to).clone();
        self.cluster.input(from, Input::PeerClosed(peer.clone()));
        self.cluster.input(from, Input::PeerLost { peer, refused: true });
    }

    /// Nothing new goes wrong: links and disks are quick, and every founder runs.
    fn calm(&mut self) {
        let needed: Vec<usize> = (0..self.cluster.len()).filter(|at| self.is_needed(*at)).collect();
        let cluster = &mut self.cluster;
        self.calm_since = Some(cluster.now());
        *cluster.faults() = Faults::default();
        let delay = self.et.mul_f64(0.03);
        for at in 0..cluster.len() {
            for other in 0..cluster.len() {
                let link = cluster.link(at, other);
                let (cut, stalled) = (link.cut, link.stalled);
                *link = Link { delay: (delay.mul_f64(0.2), delay), cut, stalled, ..Link::steady(delay) };
            }
            *cluster.disk(at) = DiskManners::steady(self.et.mul_f64(0.02));
            let user = cluster.user(at);
            user.length = None;
            user.linger = (Duration::ZERO, user.linger.1.min(self.et / 20));
            cluster.set_version(at, None);
            if cluster.disk_failed(at) || self.leaving.contains(&at) {
                cluster.crash(at, Death::Killed);
            }
            cluster.resume_now(at);
            cluster.hurry_write(at);
            if needed.contains(&at) {
                cluster.start(at);
            }
            let ask = cluster.config(at).timing.promise;
            cluster.input(at, Input::AskPromise(ask));
        }
        self.leaving.clear();
    }

    /// Lets a message made by hand arrive, as if the transport had authenticated its sender.
    fn inject(&mut self, inject: &Inject) {
        let (from, to) = inject.way;
        self.injected += 1;
        let mut identity = self.identity(from);
        let peer = inject.from.as_ref().and_then(|name| NodeId::new(name).ok());
        identity.node = peer.unwrap_or(identity.node);
        let cluster = inject.cluster.as_ref().and_then(|name| ClusterId::new(name).ok());
        identity.cluster = cluster.unwrap_or(identity.cluster);
        identity.incarnation = inject.incarnation.map_or(identity.incarnation, Incarnation);
        let newest = self.cluster.durable(from).and_then(|state| state.record.as_ref()).map(|record| record.id);
        let mut body = inject.body.clone();
        claim_record(&mut body, inject, newest);
        // Far above the numbers of the node's own requests, so that no reply is taken for an answer to one of them.
        let id = RequestId(1 << 40 | self.injected);
        let to_name = self.cluster.name(to).clone();
        let peer = Some(identity.node.clone());
        let request = Request { from: Arc::new(identity), to: to_name, id, term: inject.term, body };
        let caller = Caller { host: from, life: Life(0), id };
        let Some(process) = &mut self.cluster.hosts[to].process else { return };
        let call = process.receive_call(caller);
        self.cluster.input(to, Input::Request { call, request, context: TraceContext::NONE, peer });
    }

    fn identity(&mut self, at: usize) -> Identity {
        if let Some(node) = self.cluster.node(at) {
            return Identity::clone(node.identity());
        }
        let unknown = HardState::new(DiskId(1), Duration::ZERO);
        let state = self.cluster.durable(at).cloned().unwrap_or(unknown);
        Identity::of(self.cluster.config(at), &state)
    }
}

fn change_link(link: &mut Link, change: &Change) {
    match change {
        Change::Cut => link.cut = true,
        Change::Heal => *link = Link::steady(Duration::from_millis(1)),
        Change::Open => (link.cut, link.stalled) = (false, false),
        Change::Stall => link.stalled = true,
        Change::Delay(delay) => link.delay = (*delay, *delay),
        Change::Loss(loss) => link.loss = *loss,
        Change::Duplicate(duplicate) => link.duplicate = *duplicate,
        Change::Manners(manners) => *link = Link { cut: link.cut, stalled: link.stalled, ..manners.clone() },
    }
}

fn change_disk(disk: &mut DiskManners, change: &DiskChange) {
    match change {
        DiskChange::Write(duration) => disk.write = (*duration, *duration),
        DiskChange::Fail => disk.fail = 1.0,
        DiskChange::Heal => (disk.fail, disk.full) = (0.0, 0.0),
        DiskChange::Manners(manners) => *disk = manners.clone(),
    }
}

fn claim_record(body: &mut RequestBody, inject: &Inject, newest: Option<RecordId>) {
    match body {
        RequestBody::PreVote { last } | RequestBody::RequestVote { last, .. } => *last = inject.last.or(newest),
        RequestBody::AppendEntries { record, committed, .. } => {
            *committed = inject.last;
            if let Some(id) = inject.last.filter(|_| !inject.members.is_empty()) {
                let parent = RecordId { term: id.term, index: id.index.saturating_sub(1) };
                let member = |(at, node): (usize, &NodeId)| Member {
                    node: node.clone(),
                    disk: DiskId(1000 + at as u128),
                    voter: true,
                };
                let members = inject.members.iter().enumerate().map(member).collect();
                *record = Some(Arc::new(Record { id, parent, ..Record::first(members) }));
            }
        }
        RequestBody::TimeoutNow | RequestBody::Resign => {}
    }
}
