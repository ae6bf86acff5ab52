//! What a node still lacks to be ready, and what lasts that should not: from what passes by of the other members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::{Alarm, Event, EventKind, Outcome, Role};
use crate::message::{Reason, Reply, Request, Verdict};
use crate::node::{Input, Node, Output};
use crate::observer::condition::{
    Condition, ConditionKind, ConditionNews, ConditionStage, PeerCause, PeerState, TimingSeen, same_founding,
};
use crate::quorum::quorum;
use crate::record::MEMBERS_MAX;
use crate::transport::Unready;
use crate::types::{NodeId, Time};

/// How often a condition is told again while it lasts.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(10);
/// A message that should not have come is a condition for so long.
const SIGHT: Duration = Duration::from_secs(10);
/// How many senders of such messages are remembered.
const SIGHTINGS_MAX: usize = 16;
/// How many other timings are looked into.
const TIMINGS_MAX: usize = 4;
/// How far a term may jump in one message.
const TERM_JUMP_MAX: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Standing {
    addresses: BTreeMap<NodeId, Arc<str>>,
    contacts: BTreeMap<NodeId, Contact>,
    sightings: Vec<Sighting>,
    timings: Vec<TimingSeen>,
    /// A leader with this node's timing was heard since the start, this node itself included.
    led: bool,
    /// A quorum was reached since the start.
    reached: bool,
    ready: bool,
    probe_at: Time,
    no_quorum: bool,
    naming_impossible: bool,
    terms_exhausted: bool,
    disowned: bool,
    storage_error: Option<String>,
    leaderless_since: Option<Time>,
    idle_since: Option<Time>,
    campaigns: u64,
    open: Vec<Open>,
    /// Something may have begun or ended.
    dirty: bool,
    next_at: Time,
    told: watch::Sender<Vec<Condition>>,
}

#[derive(Debug)]
struct Contact {
    cause: PeerCause,
    /// It has answered since the start.
    answered: bool,
}

/// A message that should not have come.
#[derive(Debug)]
struct Sighting {
    kind: ConditionKind,
    node: NodeId,
    cause: PeerCause,
    seen: Time,
}

#[derive(Debug)]
struct Open {
    condition: Condition,
    told_at: Option<Time>,
}

/// A condition that holds right now, and for how long it must before it is told.
struct Holds {
    kind: ConditionKind,
    since: Option<Time>,
    grace: Duration,
    peers: Vec<PeerState>,
    detail: String,
}

impl Standing {
    pub(super) fn new(addresses: BTreeMap<NodeId, Arc<str>>) -> Standing {
        Standing {
            addresses,
            contacts: BTreeMap::new(),
            sightings: Vec::new(),
            timings: Vec::new(),
            led: false,
            reached: false,
            ready: false,
            probe_at: Time::ZERO,
            no_quorum: false,
            naming_impossible: false,
            terms_exhausted: false,
            disowned: false,
            storage_error: None,
            leaderless_since: None,
            idle_since: None,
            campaigns: 0,
            open: Vec::new(),
            dirty: true,
            next_at: Time::NEVER,
            told: watch::Sender::new(Vec::new()),
        }
    }

    pub(super) fn conditions(&self) -> watch::Receiver<Vec<Condition>> {
        self.told.subscribe()
    }

    /// When it must be looked at again though nothing happens.
    pub(super) fn next_at(&self, node: &Node) -> Time {
        if self.wants_probe(node) { self.next_at.min(self.probe_at) } else { self.next_at }
    }

    /// A member that was added is at that address.
    pub(super) fn note_address(&mut self, node: &NodeId, address: &str) {
        self.addresses.insert(node.clone(), Arc::from(address));
        // What was known is of another address.
        self.contacts.remove(node);
    }

    fn address_of(&self, node: &NodeId) -> Option<Arc<str>> {
        self.addresses.get(node).cloned()
    }

    /// Where that node is, and what came of the newest attempt to speak with it.
    pub(super) fn state_of(&self, node: &NodeId) -> PeerState {
        self.peer(node, self.cause_of(node))
    }

    fn cause_of(&self, node: &NodeId) -> PeerCause {
        self.contacts.get(node).map_or(PeerCause::Untried, |contact| contact.cause.clone())
    }

    /// Before a step: what its input says of others. Costs a heartbeat some comparisons.
    pub(super) fn note_input(&mut self, now: Time, node: &Node, input: &Input) {
        match input {
            Input::Reply(reply) => self.note_reply(now, node, reply),
            Input::Request { request, .. } => self.note_request(now, node, request),
            Input::CallFailed { to, error, .. } => self.note_cause(to, PeerCause::of(error)),
            Input::PeerLost { peer, refused: true } => self.note_cause(peer, PeerCause::Refused),
            _ => {}
        }
    }

    pub(super) fn note_reply(&mut self, now: Time, node: &Node, reply: &Reply) {
        let (me, from) = (node.identity(), &reply.from);
        if from.cluster != me.cluster || from.group != me.group || !same_founding(me, from) {
            if from.cluster == me.cluster && from.group == me.group {
                self.note_cause(&from.node, PeerCause::OtherFounding);
                self.sight(now, ConditionKind::OtherFounding, &from.node, PeerCause::OtherFounding);
            }
            return;
        }
        if from.timing != me.timing {
            let cause = self.sight_timing(now, node, &from.node, from.timing);
            return self.note_cause(&from.node, cause);
        }
        let cause = match reply.verdict {
            Verdict::Refused(reason @ (Reason::NotAMember | Reason::WrongCluster | Reason::Unsupported)) => {
                PeerCause::Refuses(reason)
            }
            Verdict::Refused(_) | Verdict::Granted => PeerCause::Answers,
        };
        self.note_cause(&from.node, cause);
    }

    /// Another node than the one that was asked has answered.
    pub(super) fn note_stray(&mut self, now: Time, asked: &NodeId, cause: PeerCause) {
        let kind = match cause {
            PeerCause::OtherCluster { .. } => ConditionKind::OtherCluster,
            PeerCause::OtherFounding => ConditionKind::OtherFounding,
            _ => ConditionKind::WrongAddress,
        };
        self.note_cause(asked, cause.clone());
        self.sight(now, kind, asked, cause);
    }

    /// A request is no contact: anybody can send one in any name.
    fn note_request(&mut self, now: Time, node: &Node, request: &Request) {
        let (me, from) = (node.identity(), &request.from);
        if from.cluster != me.cluster {
            let cause = PeerCause::OtherCluster { cluster: from.cluster.clone(), node: from.node.clone() };
            return self.sight(now, ConditionKind::OtherCluster, &from.node, cause);
        }
        if from.group != me.group {
            return;
        }
        if request.to != me.node {
            return self.sight(now, ConditionKind::WrongAddress, &from.node, PeerCause::Means(request.to.clone()));
        }
        if !same_founding(me, from) {
            return self.sight(now, ConditionKind::OtherFounding, &from.node, PeerCause::OtherFounding);
        }
        if from.timing != me.timing {
            self.sight_timing(now, node, &from.node, from.timing);
            return;
        }
        if request.term.0 > node.term().0.saturating_add(TERM_JUMP_MAX) {
            self.sight(now, ConditionKind::AbsurdTerm, &from.node, PeerCause::AbsurdTerm);
        }
    }

    fn sight_timing(&mut self, now: Time, node: &Node, from: &NodeId, theirs: u32) -> PeerCause {
        let known = self.timings.iter().find(|seen| seen.theirs == theirs).copied();
        let timing = &node.config().timing;
        let seen = match known {
            Some(seen) => seen,
            // What it is takes a search, which nobody can make this node repeat.
            None if self.timings.len() < TIMINGS_MAX => {
                let seen = TimingSeen::of(theirs, timing);
                self.timings.push(seen);
                seen
            }
            None => TimingSeen { theirs, heartbeat: None, own_heartbeat: timing.heartbeat },
        };
        self.sight(now, ConditionKind::OtherTiming, from, PeerCause::OtherTiming(seen));
        PeerCause::OtherTiming(seen)
    }

    fn note_cause(&mut self, node: &NodeId, cause: PeerCause) {
        let answers = cause == PeerCause::Answers;
        if let Some(contact) = self.contacts.get_mut(node) {
            self.dirty |= answers && !contact.answered;
            contact.answered |= answers;
            // A connection that is tried again is no news of the last attempt.
            if cause != PeerCause::Untried && contact.cause != cause {
                contact.cause = cause;
            }
        } else if self.contacts.len() <= MEMBERS_MAX * 2 {
            self.dirty = true;
            self.contacts.insert(node.clone(), Contact { cause, answered: answers });
        }
    }

    fn sight(&mut self, now: Time, kind: ConditionKind, node: &NodeId, cause: PeerCause) {
        let known = self.sightings.iter_mut().find(|sighting| sighting.kind == kind && sighting.node == *node);
        if let Some(known) = known {
            known.seen = now;
            if known.cause != cause {
                known.cause = cause;
            }
            return;
        }
        // One more of a kind is told with the next repetition: a flood of names is looked at no more often than that.
        self.dirty |= !self.sightings.iter().any(|sighting| sighting.kind == kind);
        if self.sightings.len() >= SIGHTINGS_MAX {
            self.sightings.remove(0);
        }
        self.sightings.push(Sighting { kind, node: node.clone(), cause, seen: now });
    }

    /// After a step: what it says of this node.
    pub(super) fn note_output(&mut self, now: Time, node: &Node, out: &Output) {
        for event in &out.events {
            self.note_event(event);
        }
        for (_, reply) in &out.replies {
            if reply.verdict == Verdict::Refused(Reason::NotAMember) && reply.to.node != node.config().node {
                self.sight(now, ConditionKind::UnknownNode, &reply.to.node, PeerCause::NotListed);
            }
        }
        if out.events.is_empty() {
            return;
        }
        self.dirty = true;
        let leads = node.lease().is_some_and(|lease| lease.committed_at != Time::NEVER);
        self.led |= leads || (node.role() == Role::Follower && node.leader().is_some());
        self.reached |= leads;
        if node.leader().is_some() {
            (self.no_quorum, self.naming_impossible, self.campaigns) = (false, false, 0);
            self.leaderless_since = None;
        } else {
            self.leaderless_since.get_or_insert(now);
        }
        if lists(node) {
            self.disowned = false;
        }
    }

    fn note_event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::ElectionStarted { .. } => self.campaigns += 1,
            EventKind::ElectionEnded { outcome: Outcome::QuorumUnreachable, .. } => self.no_quorum = true,
            EventKind::RoundEnded { unanswered, .. } => {
                for node in unanswered {
                    let cause = self.cause_of(node);
                    if matches!(cause, PeerCause::Untried | PeerCause::Answers) {
                        self.note_cause(node, PeerCause::Silent);
                    }
                }
            }
            EventKind::PersistFailed { error, .. } => self.storage_error = Some(error.clone()),
            EventKind::StorageHealed { .. } => self.storage_error = None,
            EventKind::Alarmed { alarm: Alarm::NamingImpossible, .. } => self.naming_impossible = true,
            EventKind::Alarmed { alarm: Alarm::TermExhausted, .. } => self.terms_exhausted = true,
            EventKind::Alarmed { alarm: Alarm::NotAMember, .. } => self.disowned = true,
            _ => {}
        }
    }

    /// What it lacks, if that may have changed since it was asked last.
    pub(super) fn news_of_readiness(&mut self, node: &Node) -> Option<Option<Unready>> {
        if self.ready && !self.dirty {
            return None;
        }
        self.reached |= self.reaches_quorum(node);
        let lacks = self.lacks(node);
        self.ready = lacks.is_none();
        Some(lacks)
    }

    fn lacks(&self, node: &Node) -> Option<Unready> {
        let config = node.config();
        let (me, disk) = (&config.node, node.identity().disk);
        let other_timing = !self.led && self.sightings.iter().any(|one| one.kind == ConditionKind::OtherTiming);
        let Some(record) = &node.hard_state().record else {
            return Some(match config.joins {
                _ if other_timing => Unready::OtherTiming,
                true => Unready::NotAMember,
                false => Unready::WaitsForMembers,
            });
        };
        let Some(member) = record.member(me).filter(|_| !self.disowned) else { return Some(Unready::NotAMember) };
        if other_timing {
            return Some(Unready::OtherTiming);
        }
        if node.is_amnesiac() || member.disk != disk {
            return Some(Unready::DiskUnnamed);
        }
        if !member.voter {
            return Some(Unready::NotAVoter);
        }
        if !self.led {
            return Some(Unready::NoLeaderHeard);
        }
        match node.committed() {
            None => Some(Unready::RecordUnknown),
            Some(committed) if !committed.names(me, disk) => Some(Unready::DiskUnnamed),
            Some(_) => (!self.reached).then_some(Unready::QuorumUnreached),
        }
    }

    fn reaches_quorum(&self, node: &Node) -> bool {
        let Some(record) = &node.hard_state().record else { return false };
        let me = &node.config().node;
        let answered = |name: &NodeId| self.contacts.get(name).is_some_and(|contact| contact.answered);
        let reached = record.members.iter().filter(|m| m.voter && (m.node == *me || answered(&m.node))).count();
        reached >= quorum(record.voters())
    }

    fn wants_probe(&self, node: &Node) -> bool {
        !self.reached && node.role() == Role::Follower && node.leader().is_some() && lists(node)
    }

    /// Whom to ask now, so that this node learns whom it reaches.
    pub(super) fn probes(&mut self, now: Time, node: &Node) -> Vec<NodeId> {
        if now < self.probe_at || !self.wants_probe(node) {
            return Vec::new();
        }
        self.probe_at = now + node.config().timing.heartbeat;
        let Some(record) = &node.hard_state().record else { return Vec::new() };
        let open = |name: &NodeId| self.contacts.get(name).is_none_or(|contact| !contact.answered);
        let members = record.members.iter().filter(|m| m.voter && m.node != node.config().node && open(&m.node));
        members.map(|member| member.node.clone()).collect()
    }

    /// What began, what lasts long enough to be told again, and what ended. `idle`: this node leads, and nobody works.
    pub(super) fn news(&mut self, now: Time, node: &Node, idle: bool) -> Vec<ConditionNews> {
        if !self.dirty && now < self.next_at {
            return Vec::new();
        }
        self.dirty = false;
        self.sightings.retain(|sighting| now.since(sighting.seen) < SIGHT);
        self.idle_since = if idle { self.idle_since.or(Some(now)) } else { None };
        let holding = self.holding(node);
        let mut news = Vec::new();
        let mut tell = |condition: &Condition, stage| {
            news.push(ConditionNews { who: node.identity().clone(), at: now, condition: condition.clone(), stage });
        };
        for gone in self.open.extract_if(.., |open| !holding.iter().any(|holds| holds.kind == open.condition.kind)) {
            if gone.told_at.is_some() {
                tell(&gone.condition, ConditionStage::Ended);
            }
        }
        self.next_at = Time::NEVER;
        for Holds { kind, since, grace, peers, detail } in holding {
            let at = self.open.iter().position(|open| open.condition.kind == kind).unwrap_or_else(|| {
                let since = since.unwrap_or(now);
                let condition = Condition { kind, since, peers: Vec::new(), detail: String::new() };
                self.open.push(Open { condition, told_at: None });
                self.open.len() - 1
            });
            let Open { condition, told_at } = &mut self.open[at];
            (condition.peers, condition.detail) = (peers, detail);
            let due = told_at.map_or(condition.since + grace, |told| told + TELL_EVERY);
            if now >= due {
                let stage = if told_at.is_none() { ConditionStage::Began } else { ConditionStage::Lasts };
                tell(condition, stage);
                *told_at = Some(now);
            }
            self.next_at = self.next_at.min(if now >= due { now + TELL_EVERY } else { due });
        }
        if let Some(first) = self.sightings.iter().map(|sighting| sighting.seen + SIGHT).min() {
            self.next_at = self.next_at.min(first);
        }
        if !news.is_empty() {
            let told = self.open.iter().filter(|open| open.told_at.is_some());
            self.told.send_replace(told.map(|open| open.condition.clone()).collect());
        }
        news
    }

    fn holding(&self, node: &Node) -> Vec<Holds> {
        let timing = &node.config().timing;
        let record = node.hard_state().record.as_ref();
        let mut holding = Vec::new();
        let mut hold = |kind, since, grace, peers, detail| holding.push(Holds { kind, since, grace, peers, detail });
        match record {
            None if node.config().joins || self.disowned => {
                hold(ConditionKind::NotAMember, None, timing.election_timeout_max, self.others(node), String::new());
            }
            None => {
                let peers = self.others(node);
                hold(ConditionKind::WaitsForMembers, None, timing.election_timeout_min / 2, peers, String::new());
            }
            Some(_) if !lists(node) || self.disowned => {
                hold(ConditionKind::NotAMember, None, Duration::ZERO, Vec::new(), String::new());
            }
            Some(_) if node.is_amnesiac() => {
                let peers = if node.leader().is_none() { self.others(node) } else { Vec::new() };
                hold(ConditionKind::DiskUnnamed, None, timing.election_timeout_max * 2, peers, String::new());
            }
            Some(_) => {}
        }
        if let Some(error) = &self.storage_error {
            hold(ConditionKind::StorageFailed, None, Duration::ZERO, Vec::new(), error.clone());
        }
        let campaigns = format!("{} campaigns since a leader was known", self.campaigns);
        if self.no_quorum {
            hold(ConditionKind::NoQuorum, self.leaderless_since, Duration::ZERO, self.others(node), campaigns);
        } else if record.is_some() && self.leaderless_since.is_some() {
            let grace = timing.election_timeout_max * 10;
            hold(ConditionKind::NoLeader, self.leaderless_since, grace, self.others(node), campaigns);
        }
        for (holds, kind) in [
            (self.naming_impossible, ConditionKind::NamingImpossible),
            (self.terms_exhausted, ConditionKind::TermExhausted),
        ] {
            if holds {
                hold(kind, None, Duration::ZERO, Vec::new(), String::new());
            }
        }
        if let Some(since) = self.idle_since {
            let grace = (timing.election_timeout_max * 2).max(Duration::from_secs(1));
            hold(ConditionKind::LeadsWithoutWork, Some(since), grace, Vec::new(), String::new());
        }
        for kind in ConditionKind::ALL {
            let of_kind = self.sightings.iter().filter(|sighting| sighting.kind == *kind);
            let peers: Vec<PeerState> =
                of_kind.map(|sighting| self.peer(&sighting.node, sighting.cause.clone())).collect();
            if !peers.is_empty() {
                hold(*kind, None, Duration::ZERO, peers, String::new());
            }
        }
        holding
    }

    /// The other members, each with what came of the newest attempt to speak with it; without those who answer, unless all do.
    fn others(&self, node: &Node) -> Vec<PeerState> {
        let me = &node.config().node;
        let names: Vec<&NodeId> = match &node.hard_state().record {
            Some(record) => record.members.iter().map(|member| &member.node).collect(),
            None => node.config().members.iter().collect(),
        };
        let others = names.into_iter().filter(|name| *name != me);
        let mut peers: Vec<PeerState> = others.map(|name| self.peer(name, self.cause_of(name))).collect();
        if peers.iter().any(|peer| peer.cause != PeerCause::Answers) {
            peers.retain(|peer| peer.cause != PeerCause::Answers);
        }
        peers
    }

    fn peer(&self, node: &NodeId, cause: PeerCause) -> PeerState {
        PeerState { node: node.clone(), address: self.address_of(node), cause }
    }
}

/// Whether the newest record lists this node.
fn lists(node: &Node) -> bool {
    node.hard_state().record.as_ref().is_some_and(|record| record.member(&node.config().node).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Timing};
    use crate::message::CallError;
    use crate::record::HardState;
    use crate::types::{ClusterId, DiskId, Incarnation};

    fn name(name: &str) -> NodeId {
        NodeId::new(name).expect("a name")
    }

    /// One of three that holds no record, at its first start.
    fn first_start(out: &mut Output) -> Node {
        let cluster = ClusterId::new("test").expect("a name");
        let config = Config::new(cluster, name("a"), ["a", "b", "c"].map(name).to_vec());
        let mut state = HardState::new(DiskId(1), config.timing.promise_max);
        state.incarnation = Incarnation(1);
        Node::new(config, state, 1, Time(1), out)
    }

    fn ms(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn told(news: &[ConditionNews]) -> Vec<(ConditionKind, ConditionStage)> {
        news.iter().map(|news| (news.condition.kind, news.stage)).collect()
    }

    #[test]
    fn a_condition_is_told_at_once_then_every_ten_seconds_and_when_it_ends() {
        use ConditionKind::{LeadsWithoutWork as Idle, WaitsForMembers as Waits};
        use ConditionStage::{Began, Ended, Lasts};
        let mut out = Output::default();
        let node = first_start(&mut out);
        let mut standing = Standing::new(BTreeMap::from([(name("b"), Arc::from("127.0.0.1:7301"))]));
        standing.note_output(ms(1), &node, &out);
        let failed = |to: &str, error| Input::CallFailed { id: crate::message::RequestId(1), to: name(to), error };
        standing.note_input(ms(2), &node, &failed("b", CallError::Refused));
        standing.note_input(ms(2), &node, &failed("c", CallError::Unreachable("does not resolve: c".into())));
        assert!(standing.news(ms(2), &node, false).is_empty(), "half an election timeout is no wait");
        let due = standing.next_at(&node);
        assert!(standing.news(Time(due.0 - 1), &node, false).is_empty());
        let news = standing.news(due, &node, false);
        assert_eq!(told(&news), [(Waits, Began)]);
        let text = news[0].condition.to_string();
        let wanted = "b (127.0.0.1:7301): connection refused: nobody listens there; c: the name does not resolve";
        assert!(text.contains(wanted), "{text}");
        assert_eq!(*standing.conditions().borrow(), [news[0].condition.clone()]);

        // Failures that repeat are no news: the next look is ten seconds away.
        standing.note_input(due, &node, &failed("b", CallError::Refused));
        assert!(standing.news(due + Duration::from_millis(9_999), &node, false).is_empty());
        assert_eq!(standing.next_at(&node), due + TELL_EVERY);
        assert_eq!(told(&standing.news(due + TELL_EVERY, &node, true)), [(Waits, Lasts)], "the other one has grace");
        let idle = due + TELL_EVERY + Duration::from_secs(1);
        assert_eq!(standing.next_at(&node), idle);
        assert_eq!(told(&standing.news(idle, &node, true)), [(Idle, Began)]);
        assert_eq!(told(&standing.news(due + TELL_EVERY * 2, &node, true)), [(Waits, Lasts)]);
        standing.dirty = true;
        assert_eq!(told(&standing.news(due + TELL_EVERY * 2, &node, false)), [(Idle, Ended)]);
        assert_eq!(standing.conditions().borrow().len(), 1);
    }

    /// Whoever can reach the port can send requests in any name: that neither fills what is kept, nor makes a node ready or busy.
    #[test]
    fn strangers_cost_no_memory_and_no_readiness() {
        let mut out = Output::default();
        let node = first_start(&mut out);
        let mut standing = Standing::new(BTreeMap::new());
        let news = standing.news(ms(1), &node, false);
        assert!(news.is_empty());
        for at in 0..500_u32 {
            let from =
                crate::message::Identity { node: name(&format!("x{at}")), timing: at, ..(**node.identity()).clone() };
            let body = crate::message::RequestBody::Resign;
            let (id, term) = (crate::message::RequestId(1), crate::types::Term(1));
            let request = Request { from: Arc::new(from), to: name("a"), id, term, body };
            standing.note_request(ms(2), &node, &request);
            assert!(at == 0 || !standing.dirty, "one of a kind is enough");
            standing.news(ms(2), &node, false);
        }
        assert!(standing.contacts.is_empty(), "{:?}", standing.contacts);
        assert_eq!((standing.sightings.len(), standing.timings.len()), (SIGHTINGS_MAX, TIMINGS_MAX));
    }

    #[test]
    fn what_should_not_have_come_is_told_by_what_it_is() {
        let mut out = Output::default();
        let node = first_start(&mut out);
        let mut standing = Standing::new(BTreeMap::new());
        let me = node.identity();
        let request = |from: crate::message::Identity, to: &str| Input::Request {
            call: crate::event::CallId(1),
            request: Request {
                from: Arc::new(from),
                to: name(to),
                id: crate::message::RequestId(1),
                term: crate::types::Term(1),
                body: crate::message::RequestBody::Resign,
            },
            context: crate::types::TraceContext::NONE,
            peer: None,
        };
        let b = crate::message::Identity { node: name("b"), ..(**me).clone() };
        let foreign = crate::message::Identity { cluster: ClusterId::new("other").expect("a name"), ..b.clone() };
        let timed =
            crate::message::Identity { timing: Timing::of(Duration::from_millis(80)).fingerprint(), ..b.clone() };
        for (from, to) in [(foreign, "a"), (b.clone(), "c"), (timed, "a"), (b, "a")] {
            standing.note_input(ms(1), &node, &request(from, to));
        }
        let told: Vec<String> = standing.news(ms(1), &node, false).iter().map(|n| n.condition.to_string()).collect();
        assert_eq!(
            told,
            [
                "addresses of members are mixed up: b: calls here and means c: its list has this address for it",
                "another cluster is at the address of a member, or calls here: b: is b of the cluster \"other\"",
                "a member has other timing, so that the two refuse each other: b: has a heartbeat of 80ms, this node one of 50ms",
            ]
        );
        let news = standing.news(ms(1) + SIGHT, &node, false);
        let ended = news.iter().filter(|news| news.stage == ConditionStage::Ended).count();
        assert_eq!(ended, 3, "nothing more of the kind has come");
    }
}
