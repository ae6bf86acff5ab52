//! A bench for one node: it is built with a chosen hard state, fed by hand, and looked at.
//!
//! The node is always `a` of a cluster `abc` (or of another size); the others exist only as identities. Time stands
//! still unless a test moves it, and the disk is instant unless a test takes it in hand.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hustings::config::Config;
use hustings::event::{CallId, Event, EventKind, Role};
use hustings::message::{
    Contention, Holder, Identity, PROTOCOL_VERSION, Reason, Reply, ReplyBody, Request, RequestBody, RequestId,
    RequestKind, Verdict,
};
use hustings::node::{Input, Node, Output, Persist};
use hustings::record::{HardState, Member, Record, RecordId};
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, Time, TraceContext};

pub(crate) const MS: Duration = Duration::from_millis(1);
/// The default times: heartbeat 50 ms, election timeout 150 to 300 ms, promise 150 ms.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(50);
pub(crate) const ET_MIN: Duration = Duration::from_millis(150);
pub(crate) const ET_MAX: Duration = Duration::from_millis(300);
pub(crate) const PROMISE: Duration = Duration::from_millis(150);

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

pub(crate) fn id(term: u64, index: u64) -> RecordId {
    RecordId { term: Term(term), index }
}

/// The disk on which a member of that name was founded: a is 1, b is 2.
pub(crate) fn disk_of(name: &str) -> DiskId {
    DiskId(u128::from(name.as_bytes()[0] - b'a') + 1)
}

/// The first record of a cluster with one member for each letter.
pub(crate) fn first_record(members: &str) -> Record {
    let member = |c: char| Member { node: node(&c.to_string()), disk: disk_of(&c.to_string()), voter: true };
    Record::first(members.chars().map(member).collect())
}

/// The record `(term, index)` of that cluster.
pub(crate) fn record_of(members: &str, term: u64, index: u64) -> Record {
    let first = first_record(members);
    if (term, index) == (0, 0) {
        return first;
    }
    Record { id: id(term, index), parent: id(term.saturating_sub(1), index.saturating_sub(1)), ..first }
}

/// How node `a` starts.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) state: HardState,
    members: String,
    seed: u64,
    quarantined: bool,
    manual_disk: bool,
}

/// A member `a` of `abc` that has voted before: term 1, record (1,1).
pub(crate) fn abc() -> Setup {
    Setup::of("abc")
}

impl Setup {
    pub(crate) fn of(members: &str) -> Setup {
        let names: Vec<NodeId> = members.chars().map(|c| node(&c.to_string())).collect();
        let config = Config::new(ClusterId::new("test").expect("a name"), node("a"), names);
        let mut state = HardState::new(disk_of("a"), config.timing.promise_max);
        state.incarnation = Incarnation(1);
        state.named = Some(Term(0));
        state.founding = first_record(members).founding();
        state.term = Term(1);
        state.record = Some(Arc::new(record_of(members, 1, 1)));
        Setup { config, state, members: members.to_owned(), seed: 7, quarantined: false, manual_disk: false }
    }

    pub(crate) fn term(mut self, term: u64) -> Setup {
        self.state.term = Term(term);
        self
    }

    pub(crate) fn voted(mut self, name: &str) -> Setup {
        self.state.voted_for = Some(node(name));
        self
    }

    pub(crate) fn record(mut self, term: u64, index: u64) -> Setup {
        self.state.record = Some(Arc::new(record_of(&self.members, term, index)));
        self
    }

    pub(crate) fn seed(mut self, seed: u64) -> Setup {
        self.seed = seed;
        self
    }

    /// A disk that was never named.
    pub(crate) fn amnesiac(mut self) -> Setup {
        self.state.named = None;
        self
    }

    /// A disk that holds nothing: a first start, or a lost disk.
    pub(crate) fn blank(mut self) -> Setup {
        let incarnation = self.state.incarnation;
        self.state = HardState { incarnation, ..HardState::new(self.state.disk, self.config.timing.promise_max) };
        self
    }

    pub(crate) fn disk(mut self, disk: u128) -> Setup {
        self.state.disk = DiskId(disk);
        self
    }

    /// Stays at the moment of the start, with everything owed that a former life may have promised.
    pub(crate) fn quarantined(mut self) -> Setup {
        self.quarantined = true;
        self
    }

    /// Writes take until the test ends them.
    pub(crate) fn slow_disk(mut self) -> Setup {
        self.manual_disk = true;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Setup)) -> Setup {
        change(&mut self);
        self
    }

    pub(crate) fn start(self) -> Bench {
        let mut now = Time(1_000_000_000);
        let mut out = Output::default();
        let owed = self.state.promise_max;
        let machine = Node::new(self.config, self.state, self.seed, now, &mut out);
        if !self.quarantined {
            now = now + owed;
        }
        let mut bench = Bench {
            node: machine,
            now,
            members: self.members,
            manual_disk: self.manual_disk,
            writing: None,
            started: Output::default(),
            next_call: 0,
            next_request: 0,
            ticks: 0,
        };
        let started = bench.settle(out);
        bench.started = started;
        bench
    }
}

/// The node, its time and its disk.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// The write under way, where the test holds the disk.
    pub(crate) writing: Option<Persist>,
    /// What the start brought.
    pub(crate) started: Output,
    pub(crate) manual_disk: bool,
    members: String,
    next_call: u64,
    next_request: u64,
    ticks: u32,
}

/// Another member, as it would present itself.
#[derive(Clone)]
pub(crate) struct Peer(pub(crate) Identity);

impl Peer {
    pub(crate) fn holder(&self) -> Holder {
        self.0.holder()
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Identity)) -> Peer {
        change(&mut self.0);
        self
    }
}

/// Looking.
impl Bench {
    pub(crate) fn role(&self) -> Role {
        self.node.role()
    }

    pub(crate) fn term(&self) -> u64 {
        self.node.term().0
    }

    pub(crate) fn leader(&self) -> Option<&str> {
        self.node.leader().map(NodeId::as_str)
    }

    pub(crate) fn voted_for(&self) -> Option<&str> {
        self.node.hard_state().voted_for.as_ref().map(NodeId::as_str)
    }

    pub(crate) fn last(&self) -> RecordId {
        self.node.hard_state().last().expect("a record")
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        self.node.lease().is_some_and(|lease| lease.is_exclusive(self.now))
    }

    /// Another member of this cluster, on the disk that it was founded on.
    pub(crate) fn peer(&self, name: &str) -> Peer {
        Peer(Identity {
            version: PROTOCOL_VERSION,
            cluster: ClusterId::new("test").expect("a name"),
            founding: first_record(&self.members).founding(),
            group: GroupId::default(),
            node: node(name),
            disk: disk_of(name),
            incarnation: Incarnation(1),
            timing: self.node.config().timing.fingerprint(),
            priority: 100,
            amnesiac: false,
        })
    }

    /// The other members' names.
    pub(crate) fn others(&self) -> Vec<String> {
        self.members.chars().skip(1).map(String::from).collect()
    }
}

/// Feeding.
impl Bench {
    pub(crate) fn step(&mut self, input: Input) -> Output {
        let mut out = Output::default();
        self.node.step(self.now, input, &mut out);
        self.settle(out)
    }

    /// Ends the write under way at once, unless the test holds the disk.
    fn settle(&mut self, mut out: Output) -> Output {
        let Some(persist) = out.persist.clone() else { return out };
        assert!(self.writing.is_none(), "one write at a time");
        if self.manual_disk {
            self.writing = Some(persist);
            return out;
        }
        let more = self.step(Input::Persisted(persist.write));
        append(&mut out, more);
        out
    }

    /// Ends the write under way.
    pub(crate) fn persisted(&mut self) -> Output {
        let persist = self.writing.take().expect("a write under way");
        self.step(Input::Persisted(persist.write))
    }

    /// The write under way fails.
    pub(crate) fn persist_failed(&mut self) -> Output {
        let persist = self.writing.take().expect("a write under way");
        self.step(Input::PersistFailed(persist.write, "EIO".to_owned()))
    }

    /// Lets time pass unseen: nobody ticks.
    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Lets time pass, with a tick at each deadline.
    pub(crate) fn wait(&mut self, duration: Duration) -> Output {
        let end = self.now + duration;
        let mut out = Output::default();
        while self.node.deadline() <= end {
            let ticked = self.tick();
            append(&mut out, ticked);
        }
        self.now = end;
        out
    }

    /// Goes to the deadline and ticks.
    pub(crate) fn tick(&mut self) -> Output {
        self.now = self.now.max(self.node.deadline());
        self.ticks += 1;
        assert!(self.ticks < 10_000, "a deadline that was served comes again and again");
        assert!(self.now < Time(100_000_000_000), "nothing that a test waits for takes 100 s, and a deadline comes");
        self.step(Input::Tick)
    }

    pub(crate) fn request(&mut self, from: &Peer, term: u64, body: RequestBody) -> Request {
        self.next_request += 1;
        let from = Arc::new(from.0.clone());
        Request { from, to: node("a"), id: RequestId(self.next_request), term: Term(term), body }
    }

    pub(crate) fn receive(&mut self, request: Request, peer: Option<&str>) -> Output {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.step(Input::Request { call, request, context: TraceContext::NONE, peer: peer.map(node) })
    }

    pub(crate) fn ask(&mut self, from: &Peer, term: u64, body: RequestBody) -> Output {
        let request = self.request(from, term, body);
        self.receive(request, None)
    }

    pub(crate) fn request_vote(&mut self, from: &str, term: u64, last: RecordId) -> Output {
        let peer = self.peer(from);
        self.ask(&peer, term, RequestBody::RequestVote { last: Some(last), transfer: None })
    }

    pub(crate) fn pre_vote(&mut self, from: &str, term: u64, last: RecordId) -> Output {
        let peer = self.peer(from);
        self.ask(&peer, term, RequestBody::PreVote { last: Some(last) })
    }

    pub(crate) fn heartbeat(&mut self, from: &str, term: u64) -> Output {
        let peer = self.peer(from);
        self.ask(&peer, term, append_entries(None, None))
    }

    pub(crate) fn append(&mut self, from: &str, term: u64, record: Record) -> Output {
        let peer = self.peer(from);
        self.ask(&peer, term, append_entries(Some(record), None))
    }

    /// The answer of the receiver of `request`.
    pub(crate) fn reply(&self, request: &Request, term: u64, verdict: Verdict, body: ReplyBody) -> Reply {
        let from = self.peer(request.to.as_str());
        Reply {
            from: Arc::new(from.0),
            to: request.from.holder(),
            id: request.id,
            kind: request.body.kind(),
            term: Term(term),
            verdict,
            worked: Duration::ZERO,
            body,
        }
    }

    /// A granted vote or pre-vote that owes nothing to anyone.
    pub(crate) fn grant(&mut self, request: &Request) -> Output {
        self.grant_owing(request, Duration::ZERO)
    }

    pub(crate) fn grant_owing(&mut self, request: &Request, remainder: Duration) -> Output {
        let body = ReplyBody::Vote { remainder, record: None, hearsay: None };
        let reply = self.reply(request, request.term.0, Verdict::Granted, body);
        self.step(Input::Reply(reply))
    }

    pub(crate) fn refuse(&mut self, request: &Request, term: u64, reason: Reason) -> Output {
        let body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay: None };
        let reply = self.reply(request, term, Verdict::Refused(reason), body);
        self.step(Input::Reply(reply))
    }

    /// The receiver promises what was asked, and holds the record that it was sent.
    pub(crate) fn ack_reply(&self, request: &Request) -> Reply {
        let RequestBody::AppendEntries { promise, record, .. } = &request.body else { panic!("{request:?}") };
        let durable = record.as_ref().map(|record| record.id);
        let body = ReplyBody::Append { promised: *promise, durable, contention: Contention::Contends };
        self.reply(request, request.term.0, Verdict::Granted, body)
    }

    pub(crate) fn ack(&mut self, request: &Request) -> Output {
        let reply = self.ack_reply(request);
        self.step(Input::Reply(reply))
    }
}

/// Driving into a role.
impl Bench {
    /// Follows `leader` in `term`.
    pub(crate) fn follow(&mut self, leader: &str, term: u64) {
        let out = self.heartbeat(leader, term);
        assert!(verdict(&out).is_granted(), "{out:?}");
        assert_eq!(self.leader(), Some(leader));
    }

    /// Its time to stand has come: the pre-votes that it asks for.
    pub(crate) fn stand(&mut self) -> Vec<Request> {
        let out = self.tick();
        assert_eq!(self.role(), Role::PreCandidate, "{:?}", out.events);
        requests(&out, RequestKind::PreVote)
    }

    /// Wins its pre-vote: the votes that it asks for.
    pub(crate) fn become_candidate(&mut self) -> Vec<Request> {
        let asked = self.stand();
        let mut votes = Vec::new();
        for request in &asked {
            if self.role() == Role::PreCandidate {
                votes = requests(&self.grant(request), RequestKind::RequestVote);
            }
        }
        assert_eq!(self.role(), Role::Candidate);
        votes
    }

    /// Wins its election: the no-op that it sends.
    pub(crate) fn become_leader(&mut self) -> Vec<Request> {
        let asked = self.become_candidate();
        let mut appends = Vec::new();
        for request in &asked {
            if self.role() == Role::Candidate {
                appends = requests(&self.grant(request), RequestKind::AppendEntries);
            }
        }
        assert_eq!(self.role(), Role::Leader);
        appends
    }

    /// Leads, with its no-op committed by everyone's acknowledgement.
    pub(crate) fn lead(&mut self) -> Output {
        let mut out = Output::default();
        for request in self.become_leader() {
            let acked = self.ack(&request);
            append(&mut out, acked);
        }
        assert!(self.is_exclusive(), "{:?}", self.node.lease());
        out
    }

    /// A round of heartbeats now: its requests.
    pub(crate) fn round(&mut self) -> Vec<Request> {
        requests(&self.step(Input::Heartbeat), RequestKind::AppendEntries)
    }
}

pub(crate) fn append_entries(record: Option<Record>, committed: Option<RecordId>) -> RequestBody {
    RequestBody::AppendEntries {
        promise: PROMISE,
        record: record.map(Arc::new),
        committed,
        rank: None,
        election: TraceContext::NONE,
    }
}

fn append(out: &mut Output, mut more: Output) {
    out.persist = more.persist.take().or_else(|| out.persist.take());
    out.events.append(&mut more.events);
    out.requests.append(&mut more.requests);
    out.replies.append(&mut more.replies);
    out.dropped.append(&mut more.dropped);
}

/// The one reply of an output.
pub(crate) fn reply(out: &Output) -> &Reply {
    assert_eq!(out.replies.len(), 1, "one reply: {:?}", out.replies);
    &out.replies[0].1
}

pub(crate) fn verdict(out: &Output) -> Verdict {
    reply(out).verdict.clone()
}

pub(crate) fn refused(reason: Reason) -> Verdict {
    Verdict::Refused(reason)
}

/// What the voter says it still owes.
pub(crate) fn remainder(out: &Output) -> Duration {
    match &reply(out).body {
        ReplyBody::Vote { remainder, .. } => *remainder,
        other => panic!("{other:?}"),
    }
}

/// What the follower promised, and what its disk holds.
pub(crate) fn acked(out: &Output) -> (Duration, Option<RecordId>) {
    match &reply(out).body {
        ReplyBody::Append { promised, durable, .. } => (*promised, *durable),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn requests(out: &Output, kind: RequestKind) -> Vec<Request> {
    out.requests.iter().filter(|request| request.body.kind() == kind).cloned().collect()
}

/// Who is asked, in order.
pub(crate) fn asked(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.to.as_str()).collect()
}

pub(crate) fn happened(out: &Output, which: impl Fn(&EventKind) -> bool) -> bool {
    out.events.iter().any(|event: &Event| which(&event.kind))
}

pub(crate) fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) fn no_founding() -> Founding {
    Founding(0)
}
