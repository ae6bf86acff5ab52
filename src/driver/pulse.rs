//! Takes a group's pulse: counts its heartbeats, notices gaps, and picks one round in many to be looked at.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{CallId, Role};
use crate::message::{Identity, Reply, ReplyBody, Request, RequestBody, RequestId};
use crate::node::{Input, Node, Output};
use crate::observer::{Beat, BeatKind, Vitals};
use crate::types::{NodeId, Term, Time, TraceContext};

/// A peer that was silent for more than so many heartbeats, and is heard again, ends a gap.
const GAP: u32 = 2;

/// How many requests of picked rounds may be waited for.
const PICKED_MAX: usize = 64;

/// The pulse of one group.
#[derive(Debug)]
pub(super) struct Pulse {
    vitals: Arc<Vitals>,
    /// One round in so many is picked.
    every: u64,
    gap_min: Duration,
    leading: Option<Leading>,
    following: Option<Following>,
    /// The heartbeat that the current step takes.
    inbound: Option<Inbound>,
    /// Requests of picked rounds that are not answered yet.
    picked: Vec<(RequestId, Time)>,
    /// What the observers have not seen yet. Its memory is kept.
    beats: Vec<Beat>,
}

#[derive(Debug)]
struct Leading {
    term: Term,
    rounds: u64,
    last_round: Time,
    followers: Vec<(NodeId, Time)>,
    /// The longest gap that ended since the last round.
    gap: Option<Duration>,
}

#[derive(Debug)]
struct Following {
    leader: NodeId,
    term: Term,
    last: Time,
    received: u64,
}

#[derive(Debug)]
struct Inbound {
    call: CallId,
    id: RequestId,
    from: Arc<Identity>,
    term: Term,
    context: TraceContext,
}

/// Whether it is a heartbeat: an AppendEntries that carries no record, and that no event announces.
pub(super) fn is_heartbeat(request: &Request) -> bool {
    matches!(request.body, RequestBody::AppendEntries { record: None, .. })
}

impl Pulse {
    pub(super) fn new(node: &Node, vitals: Arc<Vitals>, every: u64) -> Pulse {
        Pulse {
            vitals,
            every: every.max(1),
            gap_min: node.config().timing.heartbeat * GAP,
            leading: None,
            following: None,
            inbound: None,
            picked: Vec::new(),
            beats: Vec::new(),
        }
    }

    pub(super) fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// Whether that request is a heartbeat of a picked round.
    pub(super) fn is_picked(&self, id: RequestId) -> bool {
        self.picked.iter().any(|(picked, _)| *picked == id)
    }

    /// Before a step: what its input says of heartbeats.
    pub(super) fn note_input(&mut self, now: Time, node: &Node, input: &Input) {
        match input {
            Input::Request { call, request, context, .. } if is_heartbeat(request) => {
                self.vitals.count_received();
                let (from, context) = (request.from.clone(), *context);
                self.inbound = Some(Inbound { call: *call, id: request.id, from, term: request.term, context });
            }
            Input::Reply(reply) => self.note_reply(now, node, reply),
            Input::CallFailed { id, to, error } if self.unpick(*id).is_some() => {
                let kind = BeatKind::Failed { id: *id, to: to.clone(), error: error.clone() };
                self.report(now, node, kind);
            }
            _ => {}
        }
    }

    fn note_reply(&mut self, now: Time, node: &Node, reply: &Reply) {
        if !matches!(reply.body, ReplyBody::Append { .. }) {
            return;
        }
        if let Some(sent) = self.unpick(reply.id) {
            let kind = BeatKind::Answered {
                id: reply.id,
                from: reply.from.node.clone(),
                verdict: reply.verdict.clone(),
                worked: reply.worked,
                round_trip: now.since(sent),
            };
            self.report(now, node, kind);
        }
        let Some(leading) = &mut self.leading else { return };
        let from = &reply.from.node;
        match leading.followers.iter_mut().find(|(follower, _)| follower == from) {
            Some((_, heard)) => {
                let silence = now.since(std::mem::replace(heard, now));
                if silence > self.gap_min {
                    leading.gap = leading.gap.max(Some(silence));
                    self.vitals.count_gap(from);
                }
            }
            None => leading.followers.push((from.clone(), now)),
        }
    }

    /// After a step, before its messages leave: what it says of heartbeats.
    pub(super) fn note_output(&mut self, now: Time, node: &Node, out: &Output) {
        self.vitals.set_state(node.role(), node.term());
        self.vitals.set_office(node.quorum_contact(), node.lease().map(|lease| lease.end));
        self.vitals.set_idle(node.idle_since());
        if let Some(inbound) = self.inbound.take() {
            self.note_answer(now, node, &inbound, out);
        }
        if node.role() != Role::Leader {
            self.leading = None;
        } else if out.requests.iter().any(is_heartbeat) {
            let sent = out.requests.iter().filter(|request| is_heartbeat(request)).count();
            self.vitals.count_sent(u64::try_from(sent).unwrap_or(u64::MAX));
            // Those that are only repeated belong to the round before.
            if node.newest_round() == Some(now) || self.leading.is_none() {
                self.note_round(now, node, &out.requests);
            }
        }
    }

    fn note_round(&mut self, now: Time, node: &Node, requests: &[Request]) {
        let term = node.term();
        if self.leading.as_ref().is_none_or(|leading| leading.term != term) {
            // Whoever is not heard from here on is silent from here on.
            let (rounds, followers) = (0, requests.iter().map(|request| (request.to.clone(), now)).collect());
            self.leading = Some(Leading { term, rounds, last_round: now, followers, gap: None });
            self.following = None;
        }
        let Some(leading) = &mut self.leading else { return };
        let heartbeats = requests.iter().filter(|request| is_heartbeat(request));
        let pause = now.since(std::mem::replace(&mut leading.last_round, now));
        let gap = leading.gap.take().max(Some(pause).filter(|pause| *pause > self.gap_min));
        let number = leading.rounds + 1;
        leading.rounds = number;
        let first = number == 1;
        if !first && gap.is_none() && !number.is_multiple_of(self.every) {
            return;
        }
        // What a picked round before this one still waits for is late.
        self.picked.clear();
        self.report(now, node, BeatKind::Round { number, gap });
        for request in heartbeats.take(PICKED_MAX) {
            self.picked.push((request.id, now));
            self.report(now, node, BeatKind::Sent { id: request.id, to: request.to.clone() });
        }
    }

    fn note_answer(&mut self, now: Time, node: &Node, inbound: &Inbound, out: &Output) {
        let answer = out.replies.iter().find(|(call, _)| *call == inbound.call);
        let Some(verdict) = answer.map(|(_, reply)| reply.verdict.clone()) else { return };
        if !verdict.is_granted() {
            return;
        }
        let (leader, term) = (&inbound.from.node, inbound.term);
        self.following.take_if(|following| following.leader != *leader || following.term != term);
        let following = self.following.get_or_insert_with(|| Following {
            leader: leader.clone(),
            term,
            last: Time::ZERO,
            received: 0,
        });
        let last = std::mem::replace(&mut following.last, now);
        following.received += 1;
        let interval = (last != Time::ZERO).then(|| now.since(last));
        let ends_gap = interval.is_some_and(|interval| interval > self.gap_min);
        let due = following.received.is_multiple_of(self.every);
        if ends_gap {
            self.vitals.count_gap(leader);
        }
        if inbound.context.is_valid() || ends_gap || due || interval.is_none() {
            let kind = BeatKind::Received {
                from: leader.clone(),
                id: inbound.id,
                context: inbound.context,
                verdict,
                interval,
                ends_gap,
            };
            self.report(now, node, kind);
        }
    }

    /// What the observers are to be shown, in order. Give it back empty with [`Pulse::shown`].
    pub(super) fn take_beats(&mut self) -> Option<Vec<Beat>> {
        (!self.beats.is_empty()).then(|| std::mem::take(&mut self.beats))
    }

    pub(super) fn shown(&mut self, mut beats: Vec<Beat>) {
        beats.clear();
        self.beats = beats;
    }

    fn unpick(&mut self, id: RequestId) -> Option<Time> {
        let at = self.picked.iter().position(|(picked, _)| *picked == id)?;
        Some(self.picked.swap_remove(at).1)
    }

    fn report(&mut self, at: Time, node: &Node, kind: BeatKind) {
        self.beats.push(Beat { at, who: node.identity().clone(), term: node.term(), kind });
    }
}
