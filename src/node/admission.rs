//! Who may speak: identity, version and proportion, before any rule of the protocol is asked.
//!
//! What is refused here changed nothing (S11).

use super::writes::Inbound;
use super::{Input, Node, Part, Peer, TERM_JUMP_MAX};
use crate::event::{Alarm, CallId, EventKind};
use crate::message::{
    CallError, Identity, PROTOCOL_VERSION_MIN, Reason, Reply, Request, RequestBody, RequestId, RequestKind, Verdict,
};
use crate::mutant::{self, Mutant};
use crate::types::{Founding, NodeId, Term, TraceContext};

impl Node {
    pub(super) fn receive_request(
        &mut self,
        call: CallId,
        request: Request,
        context: TraceContext,
        peer: Option<&NodeId>,
    ) {
        let reported = !is_routine(&request);
        let mut inbound = Inbound {
            call,
            id: request.id,
            from: request.from.clone(),
            kind: request.body.kind(),
            asked_term: request.term,
            received: self.now,
            reported,
            // Whoever is admitted is a member: who else may be told what is asked only of those that are refused.
            known: true,
        };
        if reported {
            self.emit(EventKind::RequestReceived {
                call,
                id: request.id,
                from: request.from.holder(),
                kind: inbound.kind,
                asked_term: request.term,
                context,
            });
        }
        if let Err((reason, alarm)) = self.admit(&request, peer) {
            if let Some(alarm) = alarm {
                self.alarm(alarm, Some(request.from.node.clone()));
            }
            inbound.known = self.may_be_told(&request, peer);
            return self.refuse(&inbound, reason);
        }
        self.see(&request.from);
        self.count_any_message(&request.from);
        match request.body {
            RequestBody::PreVote { last } => self.receive_pre_vote(&inbound, last),
            RequestBody::RequestVote { last, transfer } => self.receive_request_vote(inbound, last, transfer),
            RequestBody::AppendEntries { .. } => self.receive_append_entries(inbound, request.body),
            RequestBody::TimeoutNow => self.receive_timeout_now(&inbound),
            RequestBody::Resign => self.receive_resign(&inbound),
        }
    }

    fn admit(&mut self, request: &Request, peer: Option<&NodeId>) -> Result<(), (Reason, Option<Alarm>)> {
        let from = &request.from;
        let cluster = from.cluster == self.config.cluster || mutant::on(Mutant::ClusterUnchecked);
        if !cluster || from.group != self.config.group {
            return Err((Reason::WrongCluster, Some(Alarm::WrongCluster)));
        }
        if request.to != self.config.node {
            return Err((Reason::WrongCluster, Some(Alarm::Misaddressed)));
        }
        if !same_founding(from.founding, self.hard.founding) {
            return Err((Reason::WrongCluster, Some(Alarm::OtherFounding)));
        }
        if peer.is_some_and(|peer| *peer != from.node) {
            return Err((Reason::NotAMember, Some(Alarm::UnknownNode)));
        }
        if from.version < PROTOCOL_VERSION_MIN {
            return Err((Reason::Unsupported, Some(Alarm::UnsupportedVersion)));
        }
        if from.timing != self.identity.timing {
            return Err((Reason::Unsupported, Some(Alarm::DifferentTiming)));
        }
        if from.node == self.config.node {
            // A name that resolves to this very node is no second one.
            let alarm = (from.holder() != self.holder()).then_some(Alarm::DuplicateNode);
            return Err((Reason::DuplicateNode, alarm));
        }
        let vouched = self.vouch_for(request);
        if let Err(None) = vouched {
            return Err((Reason::NotAMember, Some(Alarm::UnknownNode)));
        }
        if self.is_outlived(from) {
            return Err((Reason::DuplicateNode, None));
        }
        if request.term.0 > self.hard.term.0.saturating_add(TERM_JUMP_MAX) {
            return Err((Reason::Unsupported, Some(Alarm::AbsurdTerm)));
        }
        if let Err(Some(claim)) = vouched {
            self.inquire(claim);
            return Err((Reason::Unverified, None));
        }
        Ok(())
    }

    /// Whether the sender is a member, as far as this node knows: whoever is not learns from an answer nothing that it did
    /// not say itself (S13).
    fn may_be_told(&self, request: &Request, peer: Option<&NodeId>) -> bool {
        let from = &request.from;
        let of_this = from.cluster == self.config.cluster && from.group == self.config.group;
        let authentic = peer.is_none_or(|peer| *peer == from.node);
        of_this && authentic && (self.is_expected(&from.node) || mutant::on(Mutant::StrangersTold))
    }

    /// Whether a later start of that disk is known: the lower one of two is refused (D1).
    fn is_outlived(&self, from: &Identity) -> bool {
        let seen = self.peers.iter().map(|peer| &peer.seen).find(|seen| seen.node == from.node);
        seen.is_some_and(|seen| seen.disk == from.disk && seen.incarnation > from.incarnation)
    }

    /// Remembers the newest life of a peer; a disk that the record names is not displaced by one that it does not.
    /// Strangers are not remembered: what they claim costs no memory.
    fn see(&mut self, from: &Identity) {
        if !self.is_expected(&from.node) {
            return;
        }
        let named = |node: &Node, disk| node.hard.record.as_ref().is_some_and(|record| record.names(&from.node, disk));
        let Some(at) = self.peers.iter().position(|peer| peer.seen.node == from.node) else {
            self.peers.push(Peer { seen: from.holder(), closed: false });
            return;
        };
        let seen = &self.peers[at].seen;
        let newer = seen.disk == from.disk && seen.incarnation < from.incarnation;
        let moved = seen.disk != from.disk && (named(self, from.disk) || !named(self, seen.disk));
        if newer || moved {
            self.peers[at].seen = from.holder();
        }
    }

    /// Whether this node would take that one for a member: by the record, and before there is one by the list.
    pub(super) fn is_expected(&self, node: &NodeId) -> bool {
        match &self.hard.record {
            Some(record) => record.member(node).is_some(),
            None => self.config.members.contains(node),
        }
    }

    pub(super) fn receive_reply(&mut self, reply: Reply) {
        let foreign = reply.to != self.holder()
            || reply.id.0 >= self.next_request
            || (reply.from.cluster != self.config.cluster && !mutant::on(Mutant::ClusterUnchecked))
            || reply.from.group != self.config.group
            || reply.from.node == self.config.node;
        let outdated = reply.from.version < PROTOCOL_VERSION_MIN;
        let absurd = reply.term.0 > self.hard.term.0.saturating_add(TERM_JUMP_MAX);
        if foreign
            || outdated
            || absurd
            || !same_founding(reply.from.founding, self.hard.founding)
            || self.is_outlived(&reply.from)
        {
            if absurd {
                self.alarm(Alarm::AbsurdTerm, Some(reply.from.node.clone()));
            }
            if outdated && !foreign {
                self.alarm(Alarm::UnsupportedVersion, Some(reply.from.node.clone()));
            }
            return;
        }
        self.see(&reply.from);
        if reply.verdict == Verdict::Refused(Reason::DuplicateNode) && self.is_expected(&reply.from.node) {
            // A member knows a newer start of this very disk: two processes share it, and this is the older one (D1).
            self.alarm(Alarm::DuplicateNode, Some(self.config.node.clone()));
            return self.stop();
        }
        match reply.kind {
            RequestKind::PreVote => self.receive_pre_vote_reply(reply),
            RequestKind::RequestVote => self.receive_vote_reply(&reply),
            RequestKind::AppendEntries => self.receive_append_reply(&reply),
            RequestKind::TimeoutNow => self.receive_timeout_now_reply(&reply),
            RequestKind::Resign => self.tell_reply(&reply, false),
        }
    }

    pub(super) fn receive_call_failed(&mut self, id: RequestId, to: &NodeId, error: CallError) {
        match self.part {
            Part::PreCandidate(_) => self.fail_pre_vote(id, to, error),
            Part::Candidate(_) => self.fail_vote(id, to, error),
            Part::Leader(_) => self.fail_append(id, to, error),
            Part::Follower(_) | Part::Stopped => {}
        }
    }

    pub(super) fn tell_reply(&mut self, reply: &Reply, late: bool) {
        let remainder = match &reply.body {
            crate::message::ReplyBody::Vote { remainder, .. } => *remainder,
            _ => std::time::Duration::ZERO,
        };
        self.emit(EventKind::ReplyReceived {
            id: reply.id,
            from: reply.from.node.clone(),
            kind: reply.kind,
            verdict: reply.verdict.clone(),
            reply_term: reply.term,
            remainder,
            worked: reply.worked,
            late,
        });
    }

    /// A stopped node still answers, so that nobody waits for it.
    pub(super) fn refuse_stopped(&mut self, input: Input) {
        if let Input::Request { call, request, peer, .. } = input {
            let known = self.may_be_told(&request, peer.as_ref());
            let inbound = Inbound {
                call,
                id: request.id,
                kind: request.body.kind(),
                asked_term: request.term,
                from: request.from,
                received: self.now,
                reported: false,
                known,
            };
            self.refuse(&inbound, Reason::Stopping);
        }
    }

    /// Whether two terms are those of one leader's: used where a message must come from the leader of the current term.
    pub(super) fn leads_me(&self, from: &Identity, term: Term) -> bool {
        let Part::Follower(follower) = &self.part else { return false };
        let Some(following) = &follower.leader else { return false };
        term == self.hard.term && following.holder == from.holder()
    }
}

/// A heartbeat, or the question of a node without a record: both are repeated without end, and no part of an election.
fn is_routine(request: &Request) -> bool {
    matches!(request.body, RequestBody::AppendEntries { record: None, .. } | RequestBody::PreVote { last: None })
}

/// Before the first record a node fits every founding.
fn same_founding(a: Founding, b: Founding) -> bool {
    a == b || a.0 == 0 || b.0 == 0
}
