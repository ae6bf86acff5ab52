//! A cluster of bare cores in one thread: instant disks, instant messages, virtual time. What is measured on it is the
//! core and nothing else.

pub mod processes;
pub mod watch;

use std::collections::VecDeque;

use hustings::config::{Config, Timing};
use hustings::event::{CallId, EventKind, Role};
use hustings::message::{Message, Request, RequestBody};
use hustings::node::{Input, Node, Output};
use hustings::record::HardState;
use hustings::types::{ClusterId, DiskId, Incarnation, NodeId, Time, TraceContext};

use watch::Watch;

/// Where the files that are compiled once more look for the library.
pub(crate) use hustings::{event, message, node, record, types};

pub(crate) mod observer {
    //! What only the driver writes or makes.
    pub(crate) use crate::collective::{CollectiveState, DiskState, MemberState};
    pub(crate) use crate::vitals::{Vitals, Workload};
    pub(crate) use hustings::observer::{Beat, BeatKind};
}

#[path = "../../../src/observer/collective.rs"]
#[allow(unreachable_pub, dead_code, reason = "the library's file")]
mod collective;
#[path = "../../../src/observer/vitals.rs"]
#[allow(unreachable_pub, dead_code, reason = "the library's file")]
mod vitals;

/// Members that reach each other without delay. Its own work allocates nothing once it is warm.
#[derive(Debug)]
pub struct Cluster {
    now: Time,
    names: Vec<NodeId>,
    nodes: Vec<Node>,
    down: Option<usize>,
    calls: u64,
    established: u64,
    flying: VecDeque<(NodeId, Message, TraceContext)>,
    out: Output,
    /// By member; none where the core runs alone.
    watches: Vec<Watch>,
    contexts: Vec<TraceContext>,
}

impl Cluster {
    /// A fresh cluster of `members` that has elected its first leader.
    #[must_use]
    pub fn led(members: usize) -> Cluster {
        Cluster::elected(members, Vec::new())
    }

    /// The same with somebody who watches each member as the driver has it watched.
    #[must_use]
    pub fn watched(watches: Vec<Watch>) -> Cluster {
        Cluster::elected(watches.len(), watches)
    }

    fn elected(members: usize, watches: Vec<Watch>) -> Cluster {
        let names: Vec<NodeId> = (0..members).map(|at| NodeId::new(format!("n{at}")).expect("a name")).collect();
        let mut cluster = Cluster {
            now: Time(1_000_000_000),
            names: names.clone(),
            nodes: Vec::new(),
            down: None,
            calls: 0,
            established: 0,
            flying: VecDeque::new(),
            out: Output::default(),
            watches,
            contexts: Vec::new(),
        };
        for (at, name) in names.iter().enumerate() {
            let config = Config::new(ClusterId::new("bench").expect("a name"), name.clone(), names.clone());
            let mut state = HardState::new(DiskId(at as u128 + 1), config.timing.promise_max);
            state.incarnation = Incarnation(1);
            let node = Node::new(config, state, at as u64, cluster.now, &mut cluster.out);
            cluster.nodes.push(node);
            cluster.route(at);
        }
        cluster.settle();
        cluster.elect();
        cluster
    }

    /// The leader falls silent, and the others elect another.
    pub fn replace_leader(&mut self) {
        self.down = self.leader();
        self.elect();
    }

    /// A round of heartbeats: the leader's tick, each follower's answer, the leader's taking of them.
    pub fn heartbeat_round(&mut self) {
        let leader = self.leader().expect("a leader");
        self.now = self.now + Timing::default().heartbeat;
        self.step(leader, Input::Heartbeat);
        self.settle();
    }

    /// The leader's next heartbeat to a follower, and that follower, for measuring one step alone.
    #[must_use]
    pub fn heartbeat(&mut self) -> (Time, Request, &mut Node) {
        let leader = self.leader().expect("a leader");
        self.step(leader, Input::Heartbeat);
        let (heartbeat, _) = self.take_heartbeat();
        let follower = self.at(&heartbeat.to);
        (self.now, heartbeat, &mut self.nodes[follower])
    }

    /// The leader's next heartbeat to a follower, to be given to that follower as often as one likes.
    pub fn beat(&mut self) -> impl FnMut() + '_ {
        // The first of a leadership is always looked at.
        (0..3).for_each(|_| self.heartbeat_round());
        let leader = self.leader().expect("a leader");
        self.step(leader, Input::Heartbeat);
        let (heartbeat, context) = self.take_heartbeat();
        let follower = self.at(&heartbeat.to);
        move || {
            let (call, request) = (CallId(1), heartbeat.clone());
            self.step(follower, Input::Request { call, request, context, peer: None });
            assert!(self.flying.pop_back().is_some(), "it is answered");
        }
    }

    fn take_heartbeat(&mut self) -> (Request, TraceContext) {
        let heartbeat = self.flying.drain(..).find_map(|(_, message, context)| match message {
            Message::Request(request) if matches!(request.body, RequestBody::AppendEntries { .. }) => {
                Some((request, context))
            }
            _ => None,
        });
        heartbeat.expect("a heartbeat")
    }

    /// The leader, with the time: nothing is due, so that a tick is only a look at the clock.
    #[must_use]
    pub fn idle_leader(&mut self) -> (Time, &mut Node) {
        let leader = self.leader().expect("a leader");
        (self.now, &mut self.nodes[leader])
    }

    fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| self.down != Some(*at) && self.nodes[*at].role() == Role::Leader;
        (0..self.nodes.len()).find(leads)
    }

    fn elect(&mut self) {
        let before = self.established;
        while self.established == before {
            let up = (0..self.nodes.len()).filter(|at| self.down != Some(*at));
            let next = up.min_by_key(|at| self.nodes[*at].deadline()).expect("a member");
            self.now = self.now.max(self.nodes[next].deadline());
            self.step(next, Input::Tick);
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some((to, message, context)) = self.flying.pop_front() {
            let to = self.at(&to);
            if self.down == Some(to) {
                continue;
            }
            let input = match message {
                Message::Request(request) => {
                    self.calls += 1;
                    Input::Request { call: CallId(self.calls), request, context, peer: None }
                }
                Message::Reply(reply) => Input::Reply(reply),
            };
            self.step(to, input);
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        if let Some(watch) = self.watches.get_mut(at) {
            watch.before(self.now, &self.nodes[at], &input);
        }
        self.nodes[at].step(self.now, input, &mut self.out);
        self.route(at);
    }

    fn route(&mut self, at: usize) {
        while let Some(persist) = self.out.persist.take() {
            self.nodes[at].step(self.now, Input::Persisted(persist.write), &mut self.out);
        }
        let established = |kind: &EventKind| matches!(kind, EventKind::Established { .. });
        self.established += self.out.events.iter().filter(|event| established(&event.kind)).count() as u64;
        self.contexts.clear();
        if let Some(watch) = self.watches.get_mut(at) {
            watch.after(self.now, &self.nodes[at], &self.out, &mut self.contexts);
        }
        let contexts = self.contexts.iter().copied().chain(std::iter::repeat(TraceContext::NONE));
        let requests = self.out.requests.drain(..).zip(contexts);
        let requests = requests.map(|(request, context)| (request.to.clone(), Message::Request(request), context));
        self.flying.extend(requests);
        let replies = self.out.replies.drain(..).map(|(_, reply)| (reply.to.node.clone(), Message::Reply(reply)));
        self.flying.extend(replies.map(|(to, reply)| (to, reply, TraceContext::NONE)));
        self.out.clear();
    }

    fn at(&self, name: &NodeId) -> usize {
        self.names.iter().position(|known| known == name).expect("a member")
    }
}
