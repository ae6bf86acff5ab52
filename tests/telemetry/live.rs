//! The real machine in virtual time: its own order of events, its own requests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use hustings::config::{Config, Timing};
use hustings::event::{CallId, Event, EventKind, Role};
use hustings::message::{CallError, ReplyBody, Request, RequestBody};
use hustings::node::{Input, Node, Output};
use hustings::record::HardState;
use hustings::telemetry::Spans;
use hustings::types::{ClusterId, DiskId, Incarnation, NodeId, Time, TraceContext};
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status};

use super::stage::*;

const LINK_US: u64 = 120;
const DISK_US: u64 = 400;

/// Nodes, their spans, and what is on its way.
struct World {
    exported: Exported,
    members: BTreeMap<NodeId, Member>,
    mail: BinaryHeap<Reverse<(u64, u64)>>,
    parcels: BTreeMap<u64, (NodeId, Parcel)>,
    now: u64,
    sent: u64,
    told: Vec<Event>,
}

struct Member {
    node: Node,
    spans: Spans,
    calls: BTreeMap<CallId, Request>,
}

enum Parcel {
    Ask(Request, TraceContext),
    Give(Input),
}

impl World {
    fn of(names: &[&str]) -> World {
        let mut world = World {
            exported: Exported::default(),
            members: BTreeMap::new(),
            mail: BinaryHeap::new(),
            parcels: BTreeMap::new(),
            now: 1_000_000,
            sent: 0,
            told: Vec::new(),
        };
        let names: Vec<NodeId> = names.iter().map(|name| node(name)).collect();
        for (at, name) in names.iter().enumerate() {
            let mut config = Config::new(ClusterId::new("planner").unwrap(), name.clone(), names.clone());
            config.timing = Timing::of(us(50_000));
            let mut state = HardState::new(DiskId(at as u128 + 1), config.timing.promise_max);
            state.incarnation = Incarnation(1);
            let spans = Spans::builder().provider(world.exported.provider()).anchor(anchor).build();
            let mut out = Output::default();
            let machine = Node::new(config, state, at as u64, world.time(), &mut out);
            world.members.insert(name.clone(), Member { node: machine, spans, calls: BTreeMap::new() });
            world.carry(name, out);
        }
        world
    }

    fn time(&self) -> Time {
        Time::ZERO + us(self.now)
    }

    fn give(&mut self, name: &NodeId, input: Input) {
        let now = self.time();
        let Some(member) = self.members.get_mut(name) else { return };
        let mut out = Output::default();
        member.node.step(now, input, &mut out);
        self.carry(name, out);
    }

    /// What a driver does with an output, in its order.
    fn carry(&mut self, name: &NodeId, out: Output) {
        if let Some(persist) = out.persist {
            self.post(DISK_US, name, Parcel::Give(Input::Persisted(persist.write)));
        }
        let member = self.members.get_mut(name).unwrap();
        let mut letters = Vec::new();
        for event in &out.events {
            member.spans.record(event);
        }
        for mut request in out.requests {
            let context = member.spans.request(&main_group(), request.id);
            if let RequestBody::AppendEntries { election, .. } = &mut request.body {
                *election = member.spans.election(&main_group());
            }
            letters.push((request.to.clone(), Parcel::Ask(request, context)));
        }
        for (call, mut reply) in out.replies {
            if let ReplyBody::TimeoutNow { election } = &mut reply.body {
                *election = member.spans.election(&main_group());
            }
            if let Some(asked) = member.calls.remove(&call) {
                letters.push((asked.from.node.clone(), Parcel::Give(Input::Reply(reply))));
            }
        }
        for call in out.dropped {
            if let Some(asked) = member.calls.remove(&call) {
                letters.push((asked.from.node.clone(), failed(&asked, CallError::Closed)));
            }
        }
        self.told.extend(out.events);
        for (to, parcel) in letters {
            self.post(LINK_US, &to, parcel);
        }
    }

    fn post(&mut self, after: u64, to: &NodeId, parcel: Parcel) {
        self.sent += 1;
        self.mail.push(Reverse((self.now + after, self.sent)));
        self.parcels.insert(self.sent, (to.clone(), parcel));
    }

    fn deliver(&mut self, to: &NodeId, parcel: Parcel) {
        match parcel {
            Parcel::Give(input) => self.give(to, input),
            Parcel::Ask(request, context) => match self.members.get_mut(to) {
                Some(member) => {
                    let call = CallId(self.sent + 1_000_000);
                    self.sent += 1;
                    member.calls.insert(call, request.clone());
                    self.give(to, Input::Request { call, request, context, peer: None });
                }
                None => {
                    let asker = request.from.node.clone();
                    self.post(LINK_US, &asker, failed(&request, CallError::Refused));
                }
            },
        }
    }

    /// Goes on until it holds.
    fn run_until(&mut self, holds: impl Fn(&World) -> bool) {
        for _ in 0..200_000 {
            if holds(self) {
                return;
            }
            let due = self.members.iter().map(|(name, m)| (m.node.deadline(), name.clone())).min().unwrap();
            let due_us = due.0.0.div_ceil(1_000);
            match self.mail.peek() {
                Some(Reverse((at, number))) if *at <= due_us => {
                    let (at, number) = (*at, *number);
                    self.mail.pop();
                    self.now = self.now.max(at);
                    let (to, parcel) = self.parcels.remove(&number).unwrap();
                    self.deliver(&to, parcel);
                }
                _ => {
                    self.now = self.now.max(due_us);
                    self.give(&due.1, Input::Tick);
                }
            }
        }
        panic!("it never came to that");
    }

    fn run_for(&mut self, micros: u64) {
        let until = self.now + micros;
        self.run_until(|world| world.now >= until);
    }

    /// The one node that leads and may let work begin.
    fn exclusive(&self) -> Option<NodeId> {
        let leads = |m: &&Member| m.node.lease().is_some_and(|lease| lease.is_exclusive(self.time()));
        self.members.values().find(leads).map(|m| m.node.config().node.clone())
    }

    /// The process of that node is gone, at once.
    fn kill(&mut self, name: &NodeId) {
        self.members.remove(name);
        for other in self.members.keys().cloned().collect::<Vec<_>>() {
            self.give(&other, Input::PeerClosed(name.clone()));
            self.post(LINK_US, &other, Parcel::Give(Input::PeerLost { peer: name.clone(), refused: true }));
        }
    }

    /// Stops everyone, so that nothing is open any more.
    fn stop(&mut self) {
        for name in self.members.keys().cloned().collect::<Vec<_>>() {
            self.give(&name, Input::Shutdown);
        }
        self.run_until(|world| world.members.values().all(|m| m.node.role() == Role::Stopped));
        self.members.clear();
    }

    fn elections_won(&self) -> Vec<opentelemetry_sdk::trace::SpanData> {
        let mut won = self.exported.named("raft.election");
        won.retain(|span| text(span, "raft.election.outcome") == "won");
        won
    }

    /// Each event is the start of a span, the end of one, or an event on one.
    fn assert_no_orphans(&self) {
        let mut seen: BTreeSet<(String, i64)> = BTreeSet::new();
        for span in self.exported.all() {
            let name = text(&span, "raft.node.id");
            let on_events = span.events.events.iter().flat_map(|event| &event.attributes);
            for attribute in span.attributes.iter().chain(on_events) {
                if let ("raft.event.sequence", Value::I64(sequence)) = (attribute.key.as_str(), &attribute.value) {
                    seen.insert((name.clone(), *sequence));
                }
            }
        }
        for event in self.told.iter().filter(|event| !ends_a_span(&event.kind)) {
            let key = (event.who.node.to_string(), i64::try_from(event.sequence).unwrap());
            assert!(seen.contains(&key), "nothing tells of {event}");
        }
    }
}

/// Those whose span tells of them by its end; and writes for which nobody waits.
fn ends_a_span(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::ReplyReceived { .. }
            | EventKind::CallFailed { .. }
            | EventKind::RoundEnded { .. }
            | EventKind::ElectionEnded { .. }
            | EventKind::Established { .. }
            | EventKind::RequestAnswered { .. }
            | EventKind::PersistStarted { .. }
            | EventKind::PersistEnded { .. }
            | EventKind::TransferEnded { .. }
    )
}

fn failed(request: &Request, error: CallError) -> Parcel {
    Parcel::Give(Input::CallFailed { id: request.id, to: request.to.clone(), error })
}

#[test]
pub(crate) fn a_cold_start_is_told_without_a_gap() {
    let mut world = World::of(&["a", "b", "c"]);
    world.run_until(|world| world.exclusive().is_some());
    world.run_for(300_000);
    world.stop();
    world.exported.assert_sound();
    world.assert_no_orphans();

    let won = world.elections_won();
    assert!(!won.is_empty());
    let tree = world.exported.tree(&won[0]);
    for name in ["raft.pre_vote.request", "raft.pre_vote.grant", "raft.vote.grant", "raft.establish"] {
        assert!(tree.contains(name), "{name} is missing:\n{tree}");
    }
    for span in world.exported.all().iter().filter(|span| span.span_kind == SpanKind::Server) {
        assert_ne!(span.parent_span_id, SpanId::INVALID, "{} has no caller: {span:#?}", span.name);
        assert_eq!(span.status, Status::Unset);
    }
    let gaps = world.exported.named("raft.leaderless");
    let nodes: BTreeSet<_> = gaps.iter().map(|gap| text(gap, "raft.node.id")).collect();
    assert_eq!(nodes.len(), 3, "every node was leaderless until then");
}

#[test]
pub(crate) fn a_killed_leader_is_remembered_by_the_next_election() {
    let mut world = World::of(&["a", "b", "c"]);
    world.run_until(|world| world.exclusive().is_some());
    world.run_for(200_000);
    let killed = world.exclusive().unwrap();
    let before = world.elections_won().pop().unwrap();
    world.kill(&killed);
    world.run_until(|world| world.exclusive().is_some());
    world.run_for(500_000);
    world.stop();
    world.exported.assert_sound();
    world.assert_no_orphans();

    let after = &world.elections_won()[1];
    assert_eq!(text(after, "raft.leader.previous"), killed.as_str());
    assert_eq!(text(after, "raft.election.trigger"), "connection_lost");
    let round = &world.exported.below(after)[0];
    let relations = links(round);
    assert!(relations.contains(&("previous_election".to_owned(), before.span_context.span_id())), "{relations:?}");
    let asked = world.exported.below(round);
    let dead = asked.iter().find(|span| text(span, "raft.peer.id") == killed.as_str()).expect("the dead was asked");
    assert!(dead.name.ends_with(".request"));

    // A member that is down is asked again and again: that is no flood of traces.
    let stray = world.exported.named("raft.append_entries").into_iter();
    let stray: Vec<_> = stray.filter(|s| s.parent_span_id == SpanId::INVALID).collect();
    assert!(stray.len() <= 1, "{}", stray.len());
}

#[test]
pub(crate) fn a_transfer_leads_to_the_election_that_it_caused() {
    let mut world = World::of(&["a", "b", "c"]);
    world.run_until(|world| world.exclusive().is_some());
    world.run_for(200_000);
    let first = world.exclusive().unwrap();
    world.give(&first, Input::WorkStarted);
    world.run_for(10_000);
    world.give(&first, Input::Transfer(None));
    world.run_for(10_000);
    world.give(&first, Input::WorkEnded);
    world.run_until(|world| world.exclusive().is_some_and(|leader| leader != first));
    world.run_for(200_000);
    world.stop();
    world.exported.assert_sound();
    world.assert_no_orphans();

    let transfer = &world.exported.named("raft.transfer")[0];
    assert_eq!(text(transfer, "raft.transfer.outcome"), "completed");
    let after = &world.elections_won()[1];
    assert_eq!(links(transfer).last(), Some(&("elected_by".to_owned(), after.span_context.span_id())));
    let ask = &world.exported.below(transfer)[0];
    assert_eq!(ask.name, "raft.timeout_now");
    let order = &world.exported.below(ask)[0];
    assert_eq!(order.span_kind, SpanKind::Server);
    let round = &world.exported.below(after)[0];
    assert!(links(round).contains(&("triggered_by".to_owned(), order.span_context.span_id())));
    let office = &world.exported.named("raft.leadership")[0];
    assert_eq!(text(office, "raft.leadership.end"), "transferred");
}
