//! How messages and the ends of connections travel between the hosts of a [`Cluster`].

use std::sync::Arc;
use std::time::Duration;

use super::Cluster;
use super::agenda::{Frame, Happening};
use super::check::Leaving;
use super::host::{Caller, Death, Life};
use crate::event::CallId;
use crate::message::{CallError, Identity, Reply, Request};
use crate::node::Input;
use crate::types::TraceContext;
use crate::wire::{self, decode_reply, decode_request};

// ---- requests and replies ----
impl Cluster {
    pub(super) fn send_request(&mut self, at: usize, mut request: Request) {
        self.checker.request_leaves(self.now, at, &request, &self.hosts[at]);
        let Some(to) = self.hosts.iter().position(|host| host.name == request.to) else { return };
        let deadline = self.timing.election_timeout_min;
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        process.asked.insert(request.id, to);
        let from = Caller { host: at, life: process.life, id: request.id };
        claim_version(&mut request.from, host.version);
        self.agenda.plan_deadline(self.now + deadline, from);
        let [first, second] = self.network.arrivals(self.now, at, to);
        let Some(first) = first else { return };
        let frame = self.on_the_wire(request, wire::encode_request);
        if let Some(second) = second {
            self.agenda.plan(second, Happening::RequestArrives { to, from, frame: frame.clone() });
        }
        if self.replays.happens(self.faults.replay) {
            let late = self.replays.between((Duration::ZERO, self.faults.replay_max));
            self.agenda.plan(first + late, Happening::ReplayArrives { to, from, frame: frame.clone() });
        }
        self.agenda.plan(first, Happening::RequestArrives { to, from, frame });
    }

    /// A network that was calmed meanwhile replays nothing.
    pub(super) fn receive_replay(&mut self, to: usize, from: Caller, frame: Frame<Request>) {
        if self.faults.replay > 0.0 {
            self.receive_request(to, from, frame);
        }
    }

    pub(super) fn receive_request(&mut self, to: usize, from: Caller, frame: Frame<Request>) {
        let Some(request) = read(frame, decode_request) else { return };
        let peer = Some(self.hosts[from.host].name.clone());
        let host = &mut self.hosts[to];
        let Some(process) = &mut host.process else {
            if host.death == Death::Killed {
                self.fail_call_later(to, from, CallError::Refused);
            }
            return;
        };
        let call = process.receive_call(from);
        self.input(to, Input::Request { call, request, context: TraceContext::NONE, peer });
    }

    pub(super) fn send_reply(&mut self, at: usize, call: CallId, mut reply: Reply) {
        let host = &mut self.hosts[at];
        let now = host.local(self.now);
        let Some(process) = &mut host.process else { return };
        let Some(to) = process.calls.remove(&call) else { return };
        let leaving = Leaving {
            truth: self.now,
            now,
            call,
            asked: self.checker.asked(at, call),
            reply: &reply,
            name: &host.name,
            state: process.node.hard_state(),
            durable: host.disk.durable(),
            work: host.user.work.as_ref(),
        };
        self.checker.reply_leaves(at, &leaving);
        claim_version(&mut reply.from, host.version);
        let [first, second] = self.network.arrivals(self.now, at, to.host);
        let Some(first) = first else { return };
        let frame = self.on_the_wire(reply, wire::encode_reply);
        if let Some(second) = second {
            self.agenda.plan(second, Happening::ReplyArrives { to, frame: frame.clone() });
        }
        self.agenda.plan(first, Happening::ReplyArrives { to, frame });
    }

    pub(super) fn receive_reply(&mut self, to: Caller, frame: Frame<Reply>) {
        let Some(reply) = read(frame, decode_reply) else { return };
        let Some(process) = &mut self.hosts[to.host].process else { return };
        let expected = process.life == to.life && process.asked.remove(&to.id).is_some();
        if expected || self.strays.happens(self.faults.stray_reply) {
            self.input(to.host, Input::Reply(reply));
        }
    }

    /// Calls that the node will not answer: their askers learn it by their deadline.
    pub(super) fn drop_calls(&mut self, at: usize, dropped: &[CallId]) {
        if let Some(process) = &mut self.hosts[at].process {
            for call in dropped {
                process.calls.remove(call);
            }
        }
    }

    /// The failure travels back.
    fn fail_call_later(&mut self, from: usize, caller: Caller, error: CallError) {
        if let Some(arrival) = self.network.arrivals(self.now, from, caller.host)[0] {
            self.agenda.plan(arrival, Happening::CallFails(caller, error));
        }
    }

    pub(super) fn fail_call(&mut self, caller: Caller, error: CallError) {
        let host = &mut self.hosts[caller.host];
        let Some(process) = host.process.as_mut().filter(|process| process.life == caller.life) else { return };
        let Some(to) = process.asked.remove(&caller.id) else { return };
        let to = self.hosts[to].name.clone();
        self.input(caller.host, Input::CallFailed { id: caller.id, to, error });
    }

    /// Every eighth message or so travels as the bytes of the real codec, and so does every one that is cut short. That
    /// the codec gives back what it was given is proven for all messages in `tests/wire.rs`; here it would be half of
    /// the time. Real links have checksums: what is cut short on the way must be refused, and must harm nobody; what was
    /// turned round on the way and can still be read would be a lie that no member told, and never arrives.
    fn on_the_wire<T>(&mut self, message: T, encode: impl FnOnce(&T, &mut Vec<u8>)) -> Frame<T> {
        let truncated = self.truncations.happens(self.faults.truncate);
        let corrupted = self.corruptions.happens(self.faults.corrupt);
        if !truncated && !corrupted && self.codec.below(8) != 0 {
            return Frame::Message(message);
        }
        let mut bytes = Vec::with_capacity(256);
        encode(&message, &mut bytes);
        if truncated {
            bytes.truncate(self.truncations.index(bytes.len()));
        }
        if corrupted && !bytes.is_empty() {
            for _ in 0..=self.corruptions.index(4) {
                let at = self.corruptions.index(bytes.len());
                bytes[at] ^= 1 << self.corruptions.index(8);
            }
        }
        if (truncated || corrupted) && (decode_request(&bytes).is_ok() || decode_reply(&bytes).is_ok()) {
            bytes.clear();
        }
        Frame::Bytes(bytes)
    }
}

// ---- connections ----
impl Cluster {
    /// The outbound connection of `from` to `to` breaks, although both live.
    pub fn reset(&mut self, from: usize, to: usize) {
        if let Some(process) = &self.hosts[from].process {
            let life = process.life;
            self.agenda.plan(self.now, Happening::ConnectionEnds { from, life, to });
        }
    }

    /// Whoever is connected to `at`, and can hear it, learns of its end.
    pub(super) fn end_connections_to(&mut self, at: usize) {
        for from in 0..self.hosts.len() {
            let Some(process) = &self.hosts[from].process else { continue };
            if !*self.network.connected(from, at) || !self.network.passes(at, from) {
                continue;
            }
            let delay = self.network.link(at, from).delay.0;
            let happening = Happening::ConnectionEnds { from, life: process.life, to: at };
            self.agenda.plan(self.now + delay, happening);
        }
    }

    pub(super) fn end_connection(&mut self, from: usize, life: Life, to: usize) {
        if !self.hosts[from].lives(life) || !*self.network.connected(from, to) {
            return;
        }
        *self.network.connected(from, to) = false;
        let peer = self.hosts[to].name.clone();
        let process = self.hosts[from].process.as_ref();
        let open = process.into_iter().flat_map(|process| process.asked.iter());
        let lost: Vec<_> = open.filter(|(_, asked)| **asked == to).map(|(id, _)| *id).collect();
        for id in lost {
            self.fail_call(Caller { host: from, life, id }, CallError::Closed);
        }
        self.input(from, Input::PeerClosed(peer));
        let delay = self.network.link(from, to).delay.0 + self.network.link(to, from).delay.0;
        self.agenda.plan(self.now + delay, Happening::Connects { from, life, to, first: true });
    }

    /// One attempt to connect; `first` is the immediate one after a connection ended.
    pub(super) fn connect(&mut self, from: usize, life: Life, to: usize, first: bool) {
        if !self.hosts[from].lives(life) || *self.network.connected(from, to) {
            return;
        }
        let peer = self.hosts[to].name.clone();
        let open = self.network.is_open(from, to);
        // Where a link stalls, something on the way accepts connections, whoever is behind it.
        let stalls = open && !(self.network.passes(from, to) && self.network.passes(to, from));
        if stalls || (open && self.hosts[to].process.is_some()) {
            *self.network.connected(from, to) = true;
            self.input(from, Input::PeerConnected(peer));
            return;
        }
        if first {
            let refused = open && self.hosts[to].death == Death::Killed;
            self.input(from, Input::PeerLost { peer, refused });
        }
        // A peer that was away is contacted again within half an election timeout.
        let retry = self.timing.election_timeout_min / 3;
        self.agenda.plan(self.now + retry, Happening::Connects { from, life, to, first: false });
    }
}

fn claim_version(identity: &mut Arc<Identity>, version: Option<u16>) {
    if let Some(version) = version {
        Arc::make_mut(identity).version = version;
    }
}

/// What arrives, unless it cannot be read.
fn read<T>(frame: Frame<T>, decode: impl FnOnce(&[u8]) -> Result<T, wire::WireError>) -> Option<T> {
    match frame {
        Frame::Message(message) => Some(message),
        Frame::Bytes(bytes) => decode(&bytes).ok(),
    }
}
