//! A node with an honest disk, and a witness who remembers what it did.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hustings::config::{Config, Timing};
use hustings::event::{CallId, Role};
use hustings::message::{CallError, Reply, ReplyBody, Request, RequestBody, RequestKind, Verdict};
use hustings::node::{Input, Node, Output, Persist};
use hustings::record::{HardState, RecordId};
use hustings::types::{ClusterId, Incarnation, NodeId, Term, Time, TraceContext};
use hustings::wire::{FRAME_LEN_MAX, decode_reply, decode_request, encode_reply, encode_request};

use super::messages::{Scribe, disk, first_record, name};
use crate::cursor::Cursor;

/// So many requests are remembered to be answered.
const ASKED_MAX: usize = 24;
/// Far from the end of time, as every clock is.
const TIME_MAX: Time = Time(1 << 62);
/// So that no input takes long: a life of that many steps says enough.
const STEPS_MAX: usize = 160;
/// An election takes so many answers at most.
const ROUNDS_MAX: usize = 12;

pub(super) struct Bench {
    node: Node,
    config: Config,
    now: Time,
    out: Output,
    /// What a restart would find.
    disk: HardState,
    writing: Option<Persist>,
    failed: bool,
    pending: Vec<(CallId, Request)>,
    next_call: u64,
    asked: Vec<Request>,
    witness: Witness,
    buffer: Vec<u8>,
    /// Whether events are written out too, which costs more than all the rest.
    told: bool,
    steps: usize,
}

/// What was true before, and must not be contradicted.
#[derive(Default)]
struct Witness {
    sequence: u64,
    request: u64,
    write: u64,
    term: Term,
    voted_for: Option<NodeId>,
    last: Option<RecordId>,
    /// The term in which the lease was given up.
    revoked: Option<Term>,
    /// Votes that left, over all lives of the disk.
    granted: Vec<(Term, NodeId)>,
}

impl Bench {
    pub(super) fn start(bytes: &mut Cursor<'_>) -> Bench {
        let (members, kind, flags) = (1 + bytes.below(5), bytes.byte(), bytes.byte());
        let names = (0..members).map(name).collect();
        let mut config = Config::new(ClusterId::new("fuzz").expect("a name"), name(0), names);
        config.timing = Timing::default();
        config.volatile = flags & 1 == 1;
        config.trust_connection_refused = flags & 2 == 2;
        let state = first_state(&config, members, kind, bytes);
        let mut out = Output::default();
        let now = Time(1_000_000_000);
        let node = Node::new(config.clone(), state.clone(), u64::from(flags >> 5), now, &mut out);
        let mut bench = Bench {
            node,
            config,
            now,
            out,
            disk: state,
            writing: None,
            failed: false,
            pending: Vec::new(),
            next_call: 1,
            asked: Vec::new(),
            witness: Witness::default(),
            buffer: Vec::new(),
            told: flags & 16 == 16,
            steps: 0,
        };
        bench.remember();
        bench.look();
        if flags & 4 == 4 {
            bench.now = bench.now + bench.config.timing.promise_max;
        }
        if flags & 8 == 8 {
            bench.elect();
        }
        bench
    }

    pub(super) fn is_over(&self) -> bool {
        self.steps >= STEPS_MAX
    }

    // tidy: a table, one arm for each act
    pub(super) fn act(&mut self, bytes: &mut Cursor<'_>) {
        match bytes.byte() % 42 {
            0..=7 => self.ask(bytes),
            8..=14 => {
                let reply = Scribe { node: &self.node, bytes }.reply(&self.asked);
                self.receive_reply(&reply);
            }
            15..=17 => self.tick(),
            18 => self.agree(),
            19..=20 => self.elect(),
            21..=22 => self.persist(),
            23 => self.fail_write(),
            24 => self.crash(bytes),
            25 => self.pass(bytes),
            26 => {
                let len = usize::from(bytes.byte());
                if let Ok(request) = decode_request(bytes.take(len)) {
                    self.receive_request(request, None);
                }
            }
            27 => {
                let len = usize::from(bytes.byte());
                if let Ok(reply) = decode_reply(bytes.take(len)) {
                    self.step(Input::Reply(reply));
                }
            }
            28 => self.fail_call(bytes),
            29 => self.step(Input::PeerConnected(name(bytes.below(6)))),
            30 => self.step(Input::PeerClosed(name(bytes.below(6)))),
            31 => self.step(Input::PeerLost { peer: name(bytes.below(6)), refused: bytes.flag() }),
            32 => self.step(Input::Campaign),
            33 => self.step(Input::Resign),
            34 => self.transfer(bytes),
            35 => self.step(Input::Proclaim(Bytes::copy_from_slice(bytes.take(4)))),
            36 => {
                let promise = bytes.duration();
                self.step(Input::AskPromise(promise));
            }
            37 => self.step(if bytes.flag() { Input::WorkStarted } else { Input::WorkEnded }),
            38 => self.step(Input::Heartbeat),
            39 => self.step(Input::AddMember(name(bytes.below(6)))),
            40 => self.step(Input::RemoveMember(name(bytes.below(6)))),
            _ if bytes.byte() > 224 => self.step(Input::Shutdown),
            _ => {
                let paused = bytes.duration();
                self.step(Input::Paused(paused));
            }
        }
    }

    /// The end of a life: its disk finishes, time passes, and nothing hangs.
    pub(super) fn finish(&mut self) {
        self.persist();
        for _ in 0..3 {
            self.tick();
        }
    }

    fn ask(&mut self, bytes: &mut Cursor<'_>) {
        let request = Scribe { node: &self.node, bytes }.request();
        let peer = match bytes.byte() {
            0..=127 => None,
            128..=247 => Some(request.from.node.clone()),
            other => Some(name(usize::from(other))),
        };
        self.buffer.clear();
        encode_request(&request, &mut self.buffer);
        let request = decode_request(&self.buffer).expect("a request that was written can be read");
        self.receive_request(request, peer);
    }

    fn receive_request(&mut self, request: Request, peer: Option<NodeId>) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.pending.push((call, request.clone()));
        let (before, role) = (self.node.hard_state().clone(), self.node.role());
        let promises = self.node.promises().clone();
        self.step(Input::Request { call, request: request.clone(), context: TraceContext::NONE, peer });
        let after = self.node.hard_state();
        // S6: whoever is given a vote has a record that is at least as new.
        let gave = after.voted_for.as_ref().filter(|to| **to != self.config.node && **to == request.from.node);
        if let (Some(_), true) = (gave, before.voted_for != after.voted_for || before.term != after.term) {
            let RequestBody::RequestVote { last, .. } = request.body else { panic!("a vote for {:?}", request.body) };
            assert!(last >= after.last(), "S6: a vote for {last:?} of one who holds {:?}", after.last());
        }
        // S9: a pre-vote changes nothing; nor does anything of another cluster (S11). An office may end with time.
        let pure = matches!(request.body, RequestBody::PreVote { .. }) && before.record.is_some();
        let foreign = request.from.cluster != self.config.cluster || request.from.group != self.config.group;
        if (pure || foreign) && role != Role::Leader {
            assert_eq!(before, *self.node.hard_state(), "S9, S11: changed by {request:?}");
            assert_eq!(promises, *self.node.promises(), "S9, S11: promised by {request:?}");
            assert_eq!(role, self.node.role(), "S9, S11: moved by {request:?}");
        }
    }

    fn receive_reply(&mut self, reply: &Reply) {
        self.buffer.clear();
        encode_reply(reply, &mut self.buffer);
        let reply = decode_reply(&self.buffer).expect("a reply that was written can be read");
        self.step(Input::Reply(reply));
    }

    /// At its deadline, and again until nothing is due any more: a loop that never sleeps would burn a core.
    fn tick(&mut self) {
        let deadline = self.node.deadline();
        if deadline > TIME_MAX {
            return;
        }
        self.now = self.now.max(deadline);
        for _ in 0..8 {
            self.step(Input::Tick);
            if self.node.deadline() > self.now {
                return;
            }
        }
        panic!("ticked 8 times at {} and is due again at {}: {:?}", self.now, self.node.deadline(), self.node);
    }

    /// Everybody says yes to everything that was asked so far, and the disk keeps up.
    fn agree(&mut self) {
        self.persist();
        let mut empty = Cursor::new(&[]);
        for request in std::mem::take(&mut self.asked) {
            let reply = Scribe { node: &self.node, bytes: &mut empty }.yes(&request);
            self.receive_reply(&reply);
        }
        self.persist();
    }

    /// What makes a leader of a node that can be one.
    fn elect(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.is_over() || self.node.lease().is_some_and(|lease| lease.is_exclusive(self.now)) {
                return;
            }
            self.agree();
            if self.node.role() == Role::Leader {
                self.now = self.now + Duration::from_millis(20);
                self.step(Input::Tick);
            } else {
                self.tick();
            }
        }
    }

    fn persist(&mut self) {
        // A write may be followed by the next, merged one; and that by none.
        for _ in 0..4 {
            let Some(persist) = self.writing.take() else { return };
            let write = persist.write;
            self.disk = persist.state;
            self.step(Input::Persisted(write));
        }
    }

    fn fail_write(&mut self) {
        if let Some(persist) = self.writing.take() {
            self.failed = true;
            self.step(Input::PersistFailed(persist.write, "the disk is full".to_owned()));
        }
    }

    /// The write under way may have arrived or not.
    fn crash(&mut self, bytes: &mut Cursor<'_>) {
        if let Some(persist) = self.writing.take()
            && bytes.flag()
        {
            self.disk = persist.state;
        }
        self.disk.incarnation = Incarnation(self.disk.incarnation.0.saturating_add(1));
        self.pending.clear();
        self.asked.clear();
        self.out.clear();
        self.failed = false;
        self.node = Node::new(self.config.clone(), self.disk.clone(), bytes.u64(), self.now, &mut self.out);
        let granted = std::mem::take(&mut self.witness.granted);
        self.witness = Witness { granted, ..Witness::default() };
        self.remember();
        self.look();
    }

    fn pass(&mut self, bytes: &mut Cursor<'_>) {
        let length = bytes.duration();
        self.now = (self.now + length).min(TIME_MAX);
        self.step(Input::Tick);
    }

    fn fail_call(&mut self, bytes: &mut Cursor<'_>) {
        let at = bytes.below(self.asked.len() + 1);
        let error = match bytes.below(3) {
            0 => CallError::Timeout,
            1 => CallError::Refused,
            _ => CallError::Unreachable("no route".to_owned()),
        };
        if at < self.asked.len() {
            let Request { id, to, .. } = self.asked.remove(at);
            self.step(Input::CallFailed { id, to, error });
        }
    }

    fn transfer(&mut self, bytes: &mut Cursor<'_>) {
        let to = bytes.flag().then(|| name(bytes.below(6)));
        std::hint::black_box(self.node.can_transfer(to.as_ref()).is_ok());
        self.step(Input::Transfer(to));
    }

    fn step(&mut self, input: Input) {
        self.steps += 1;
        self.node.step(self.now, input, &mut self.out);
        self.look();
    }
}

// ---- the witness ----
impl Bench {
    /// Takes the output, and compares it with what was true before.
    fn look(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        self.look_at_state();
        self.look_at_office();
        if let Some(persist) = out.persist.take() {
            assert!(self.writing.is_none(), "one write at a time");
            assert!(persist.write.0 > self.witness.write, "writes are numbered upwards");
            assert_eq!(persist.state, *self.node.hard_state(), "what is written is what was decided");
            self.witness.write = persist.write.0;
            self.writing = Some(persist);
        }
        for event in &out.events {
            assert!(event.sequence > self.witness.sequence, "events are numbered upwards");
            assert_eq!(event.who.node, self.config.node);
            assert!(!self.told || !event.to_string().is_empty());
            self.witness.sequence = event.sequence;
        }
        let mut same: Option<RequestKind> = None;
        for request in out.requests.drain(..) {
            self.look_at_request(&request, same.replace(request.body.kind()) == Some(request.body.kind()));
            if self.asked.len() == ASKED_MAX {
                self.asked.remove(0);
            }
            self.asked.push(request);
        }
        for (call, reply) in &out.replies {
            self.look_at_reply(*call, reply);
        }
        for call in &out.dropped {
            self.pending.retain(|(pending, _)| pending != call);
        }
        assert!(self.pending.len() <= 16, "{} calls wait for an answer: V10", self.pending.len());
        out.clear();
        self.out = out;
    }

    fn look_at_state(&mut self) {
        let state = self.node.hard_state();
        let before = &self.witness;
        assert!(state.term >= before.term, "S4: {} after {}", state.term, before.term);
        if state.term == before.term && before.voted_for.is_some() {
            assert_eq!(state.voted_for, before.voted_for, "S5");
        }
        assert!(state.last() >= before.last, "L2: {:?} after {:?}", state.last(), before.last);
        if let Some(last) = state.last() {
            assert!(last.term <= state.term, "S8: {last} in {}", state.term);
        }
        self.remember();
    }

    fn remember(&mut self) {
        let state = self.node.hard_state();
        self.witness.term = state.term;
        self.witness.voted_for.clone_from(&state.voted_for);
        self.witness.last = state.last();
    }

    fn look_at_office(&mut self) {
        let (role, term) = (self.node.role(), self.node.term());
        let Some(lease) = self.node.lease() else {
            assert!(role != Role::Leader);
            return;
        };
        assert_eq!(role, Role::Leader);
        let own = (self.disk.term, self.disk.voted_for.as_ref());
        assert_eq!(own, (term, Some(&self.config.node)), "S3: leads before its own vote is durable");
        if lease.is_exclusive(self.now) {
            assert!(lease.committed_at <= self.now && !lease.revoked && lease.barrier <= self.now);
            let committed = self.node.committed().expect("an exclusive leader has committed");
            assert_eq!(committed.id.term, term, "E8: exclusive before a record of its own is committed");
        }
        assert!(lease.revoked || self.witness.revoked != Some(term), "E4: a lease that was given up is back");
        if lease.revoked {
            self.witness.revoked = Some(term);
        }
    }

    fn look_at_request(&mut self, request: &Request, same: bool) {
        assert!(request.id.0 > self.witness.request, "requests are numbered upwards");
        self.witness.request = request.id.0;
        assert_eq!(request.from.holder(), self.node.identity().holder());
        assert!(request.to != self.config.node, "it asks itself");
        let (term, role) = (self.node.term(), self.node.role());
        match &request.body {
            RequestBody::PreVote { .. } => {}
            RequestBody::RequestVote { .. } => assert!(request.term <= term),
            RequestBody::AppendEntries { .. } => assert!(request.term < term || role == Role::Leader || self.over()),
            RequestBody::TimeoutNow | RequestBody::Resign => {
                assert!(self.node.working() != Some(request.term), "E4: {:?} while work runs", request.body);
            }
        }
        if same {
            // One of a round to everybody says what the others would.
            return;
        }
        self.buffer.clear();
        encode_request(request, &mut self.buffer);
        assert!(self.buffer.len() <= FRAME_LEN_MAX);
        assert_eq!(decode_request(&self.buffer).as_ref(), Ok(request));
    }

    /// An office that began and ended within this very step.
    fn over(&self) -> bool {
        self.node.role() == Role::Follower || self.node.role() == Role::Stopped
    }

    fn look_at_reply(&mut self, call: CallId, reply: &Reply) {
        let at = self.pending.iter().position(|(pending, _)| *pending == call).expect("a call is answered once");
        let (_, request) = self.pending.swap_remove(at);
        assert_eq!((reply.id, reply.kind, &reply.to), (request.id, request.body.kind(), &request.from.holder()));
        self.buffer.clear();
        encode_reply(reply, &mut self.buffer);
        assert!(self.buffer.len() <= FRAME_LEN_MAX);
        assert_eq!(decode_reply(&self.buffer).as_ref(), Ok(reply));
        let granted = reply.verdict == Verdict::Granted;
        if granted && reply.kind == RequestKind::RequestVote {
            assert!(!self.failed, "a vote after a write failed");
            // The vote is one of the term that was asked for; the voter may be in a later one by the time it is durable.
            let (term, candidate) = (request.term, &request.from.node);
            let held = self.disk.term == term && self.disk.voted_for.as_ref() == Some(candidate);
            assert!(held || self.disk.term > term, "S3: a vote in {term} left, the disk holds {:?}", self.disk);
            let other = self.witness.granted.iter().find(|(voted, to)| *voted == term && to != candidate);
            assert!(other.is_none(), "S2: in {term} votes for {candidate} and {other:?}");
            assert!(!self.node.is_amnesiac(), "D2: an amnesiac votes");
            self.witness.granted.push((term, candidate.clone()));
        }
        if let ReplyBody::Append { promised, durable, .. } = reply.body {
            assert!(durable <= self.disk.last(), "L5: {durable:?} is acked, the disk holds {:?}", self.disk.last());
            let may = granted && !self.failed && !self.node.is_amnesiac();
            assert!(promised == Duration::ZERO || may, "a promise by one that may give none: {reply:?}");
            assert!(promised <= self.disk.promise_max, "a promise beyond what the disk knows of");
        }
    }
}

/// Blank, founded, in the middle of its life, amnesiac, or no voter.
fn first_state(config: &Config, members: usize, kind: u8, bytes: &mut Cursor<'_>) -> HardState {
    let mut state = HardState::new(disk(0), config.timing.promise_max);
    state.incarnation = Incarnation(1);
    let kind = kind % 8;
    if kind == 0 {
        return state;
    }
    let mut record = first_record(members);
    state.founding = record.founding();
    state.named = (kind != 3).then_some(Term(0));
    if kind > 1 {
        state.term = Term(3);
        record.id = RecordId { term: Term(2), index: 4 };
        record.parent = RecordId { term: Term(1), index: 3 };
    }
    match kind {
        4 => state.voted_for = Some(name(bytes.below(members))),
        5 => record.members[0].voter = false,
        6 => {
            record.members.remove(0);
        }
        7 => {
            state.term = Term(u64::MAX - u64::from(bytes.byte()));
            state.named = Some(Term(2));
        }
        _ => {}
    }
    state.record = Some(Arc::new(record));
    state
}
