//! The core in a world without faults: three nodes, instant disks, messages that take a quarter of a millisecond.

use std::collections::BTreeMap;
use std::time::Duration;

use hustings::config::Config;
use hustings::event::{CallId, Event, EventKind, Outcome, Role};
use hustings::message::Message;
use hustings::node::{Input, Node, Output};
use hustings::record::HardState;
use hustings::types::{ClusterId, DiskId, Incarnation, NodeId, Time, TraceContext};

const HOP: Duration = Duration::from_micros(250);

struct World {
    now: Time,
    nodes: BTreeMap<NodeId, Node>,
    calls: BTreeMap<CallId, NodeId>,
    flying: BTreeMap<(Time, u64), (NodeId, Message)>,
    next: u64,
    events: Vec<Event>,
    down: Vec<NodeId>,
}

fn name(text: &str) -> NodeId {
    NodeId::new(text).expect("a name")
}

impl World {
    fn new(names: &[&str]) -> World {
        let members: Vec<NodeId> = names.iter().map(|n| name(n)).collect();
        let mut world = World {
            now: Time(1_000_000_000),
            nodes: BTreeMap::new(),
            calls: BTreeMap::new(),
            flying: BTreeMap::new(),
            next: 0,
            events: Vec::new(),
            down: Vec::new(),
        };
        for (at, node) in members.iter().enumerate() {
            let config = Config::new(ClusterId::new("test").expect("a name"), node.clone(), members.clone());
            let mut state = HardState::new(DiskId(at as u128 + 1), config.timing.promise_max);
            state.incarnation = Incarnation(1);
            let mut out = Output::default();
            let machine = Node::new(config, state, at as u64, world.now, &mut out);
            world.nodes.insert(node.clone(), machine);
            world.take(node, out);
        }
        world
    }

    fn take(&mut self, from: &NodeId, mut out: Output) {
        self.events.append(&mut out.events);
        if let Some(persist) = out.persist.take() {
            self.step(from, Input::Persisted(persist.write));
        }
        for request in out.requests {
            self.fly(request.to.clone(), Message::Request(request));
        }
        for (_, reply) in out.replies {
            self.fly(reply.to.node.clone(), Message::Reply(reply));
        }
    }

    fn fly(&mut self, to: NodeId, message: Message) {
        self.next += 1;
        self.flying.insert((self.now + HOP, self.next), (to, message));
    }

    fn step(&mut self, node: &NodeId, input: Input) {
        let mut out = Output::default();
        self.nodes.get_mut(node).expect("a node").step(self.now, input, &mut out);
        self.take(node, out);
    }

    fn advance(&mut self) {
        let due = |(node, machine): (&NodeId, &Node)| (machine.deadline(), node.clone());
        let up = self.nodes.iter().filter(|(node, _)| !self.down.contains(node));
        let (deadline, node) = up.map(due).min().expect("nodes");
        match self.flying.first_key_value() {
            Some(((at, _), _)) if *at <= deadline => {
                self.now = *at;
                let ((_, _), (to, message)) = self.flying.pop_first().expect("a message");
                if self.down.contains(&to) {
                    return;
                }
                match message {
                    Message::Request(request) => {
                        self.next += 1;
                        let call = CallId(self.next);
                        self.calls.insert(call, request.from.node.clone());
                        self.step(&to, Input::Request { call, request, context: TraceContext::NONE, peer: None });
                    }
                    Message::Reply(reply) => self.step(&to, Input::Reply(reply)),
                }
            }
            _ => {
                self.now = self.now.max(deadline);
                self.step(&node, Input::Tick);
            }
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.advance();
        }
    }

    fn leaders(&self) -> Vec<NodeId> {
        let leads = |(node, machine): (&NodeId, &Node)| (machine.role() == Role::Leader).then(|| node.clone());
        self.nodes.iter().filter_map(leads).filter(|node| !self.down.contains(node)).collect()
    }

    fn exclusive(&self) -> Vec<NodeId> {
        let alone = |machine: &Node| machine.lease().is_some_and(|lease| lease.is_exclusive(self.now));
        self.nodes.iter().filter(|(_, machine)| alone(machine)).map(|(node, _)| node.clone()).collect()
    }
}

#[test]
fn a_fresh_cluster_elects_one_leader_and_keeps_it() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(Duration::from_millis(150));
    assert_eq!(world.leaders(), [name("a")], "a leader within one election timeout: {:#?}", world.events);
    assert_eq!(world.exclusive(), [name("a")]);
    world.run(Duration::from_secs(10));
    let elections = world.events.iter().filter(|e| matches!(e.kind, EventKind::ElectionStarted { .. })).count();
    assert_eq!(elections, 1, "without faults nobody campaigns again");
}

#[test]
fn the_leader_falls_silent_and_the_first_successor_takes_over() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(Duration::from_secs(1));
    world.down.push(name("a"));
    world.run(Duration::from_millis(170));
    assert_eq!(world.leaders().len(), 1, "{:#?}", world.events.iter().rev().take(30).collect::<Vec<_>>());
    let won = world.events.iter().filter(|e| matches!(e.kind, EventKind::ElectionEnded { outcome: Outcome::Won, .. }));
    assert_eq!(won.count(), 2);
}

#[test]
fn a_single_node_leads_itself() {
    let mut world = World::new(&["solo"]);
    world.run(Duration::from_millis(150));
    assert_eq!(world.exclusive(), [name("solo")]);
}

#[test]
fn a_transfer_moves_leadership_within_milliseconds() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(Duration::from_secs(1));
    world.step(&name("a"), Input::Transfer(Some(name("c"))));
    world.run(Duration::from_millis(5));
    assert_eq!(world.leaders(), [name("c")]);
    assert_eq!(world.exclusive(), [name("c")], "nothing is owed after a hand-over");
}
