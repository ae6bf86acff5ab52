//! What a voter owes: E2, E3, E5, E7.

use std::collections::BTreeMap;
use std::time::Duration;

use super::arithmetic::owed;
use super::{Held, Leaving, Step, hold};
use crate::config::Timing;
use crate::event::{CallId, Role};
use crate::message::{Holder, ReplyBody, Request, RequestBody, RequestKind};
use crate::node::Input;
use crate::record::HardState;
use crate::types::{NodeId, Term, Time};

/// A promise as it left the node.
#[derive(Debug, Clone)]
struct Given {
    to: Holder,
    term: Term,
    until: Time,
}

/// What one process has promised, told from what it said.
#[derive(Debug)]
pub(crate) struct Debts {
    timing: Timing,
    quarantine_until: Time,
    /// A first start owes nothing once the first record is formed.
    blank: bool,
    current: Option<Given>,
    owed_until: Time,
    released: Vec<(Holder, Term)>,
    closed: Vec<NodeId>,
    lost: Vec<NodeId>,
    /// Whose death was proven, and when: nothing is owed to it, also where the answer leaves only later.
    dead: Vec<(NodeId, Time)>,
    calls: BTreeMap<CallId, Call>,
    storage_failed: bool,
}

#[derive(Debug)]
struct Call {
    received: Time,
    from: Holder,
    term: Term,
    promise: Duration,
}

impl Debts {
    pub(crate) fn new(timing: Timing) -> Debts {
        Debts {
            timing,
            quarantine_until: Time::ZERO,
            blank: true,
            current: None,
            owed_until: Time::ZERO,
            released: Vec::new(),
            closed: Vec::new(),
            lost: Vec::new(),
            dead: Vec::new(),
            calls: BTreeMap::new(),
            storage_failed: false,
        }
    }

    pub(crate) fn started(&mut self, now: Time, state: &HardState) {
        *self = Debts::new(self.timing.clone());
        self.blank = state.record.is_none();
        // D2: what an empty disk has forgotten may have been the longest promise, whatever its file says.
        let longest = if self.blank { self.timing.promise_max } else { Duration::ZERO };
        self.quarantine_until = now + state.promise_max.max(longest);
    }

    /// When everything that is owed to others than `candidate` is over, on this node's clock.
    pub(crate) fn owed_until(&self, now: Time, candidate: &Holder) -> Time {
        let current = self.current.as_ref().filter(|given| given.to != *candidate && !self.is_released(given));
        let current = current.map(|given| given.until).unwrap_or_default();
        current.max(self.owed_until).max(self.quarantine_until).max(now)
    }

    /// The term that an open call named.
    pub(crate) fn asked(&self, call: CallId) -> Term {
        self.calls.get(&call).map(|call| call.term).unwrap_or_default()
    }

    pub(crate) fn step(&mut self, step: &Step<'_>) -> Held {
        let (before, after) = (&step.before.state, step.node.hard_state());
        let founded = after.record.as_ref().is_some_and(|record| record.id.term == Term(0)) && after.named.is_some();
        if self.blank && founded {
            self.blank = false;
            self.quarantine_until = Time::ZERO;
        }
        match step.input {
            Input::Request { call, request, .. } => self.receive(step, *call, request)?,
            Input::PeerClosed(peer) => self.closed.push(peer.clone()),
            Input::PeerConnected(peer) => self.closed.retain(|closed| closed != peer),
            Input::PeerLost { peer, refused } => {
                let proves_death = *refused && step.node.config().trust_connection_refused;
                self.lose(step.now, peer, proves_death);
            }
            Input::PersistFailed(..) => self.storage_failed = true,
            // After a failure only the write that starts over is under way.
            Input::Persisted(..) => self.storage_failed = false,
            _ => {}
        }
        let own_candidacy = step.entered(Role::Candidate);
        if own_candidacy
            || (after.voted_for.is_some() && (after.term, &after.voted_for) != (before.term, &before.voted_for))
        {
            let until = self.quarantine_until;
            hold!(step.now >= until, "E3", "votes in {} at {}, quarantined until {until}", after.term, step.now);
            hold!(!self.storage_failed, "E8", "votes in {} after a failed write", after.term);
        }
        Ok(())
    }

    fn receive(&mut self, step: &Step<'_>, call: CallId, request: &Request) -> Held {
        let from = request.from.holder();
        let promise = match &request.body {
            RequestBody::AppendEntries { promise, .. } => *promise,
            _ => Duration::ZERO,
        };
        match &request.body {
            RequestBody::Resign | RequestBody::TimeoutNow => self.release(from.clone(), request.term),
            RequestBody::RequestVote { transfer: Some((leader, term)), .. } => self.release(leader.clone(), *term),
            _ => {}
        }
        let heartbeat = matches!(request.body, RequestBody::AppendEntries { .. });
        if heartbeat && step.node.term() == request.term && step.node.leader() == Some(&from.node) {
            self.follow(&from, request.term);
        }
        self.calls.insert(call, Call { received: step.now, from: from.clone(), term: request.term, promise });
        let votes = matches!(request.body, RequestBody::RequestVote { .. });
        let after = step.node.hard_state();
        if votes && after.voted_for.as_ref() == Some(&from.node) && after.term != step.before.state.term {
            self.may_grant(step.now, &from, after.term)?;
        }
        office_is_kept(step, request)
    }

    /// E2.
    fn may_grant(&self, now: Time, candidate: &Holder, term: Term) -> Held {
        let Some(given) = &self.current else { return Ok(()) };
        let free = given.to == *candidate || given.until <= now || self.is_released(given);
        hold!(
            free || self.lost.contains(&given.to.node),
            "E2",
            "grants {candidate} {term} at {now}, but promised {} {} until {}, without any evidence",
            given.to,
            given.term,
            given.until
        );
        Ok(())
    }

    pub(crate) fn reply_leaves(&mut self, leaving: &Leaving<'_>) -> Held {
        let reply = leaving.reply;
        let Some(call) = self.calls.remove(&leaving.call) else {
            return Err(("S3", format!("answers {:?}, which is not open", leaving.call)));
        };
        let granted = reply.verdict.is_granted();
        match (&reply.body, reply.kind) {
            (ReplyBody::Vote { remainder, .. }, RequestKind::RequestVote) if granted => {
                self.remainder_is_told(leaving, &call, *remainder)
            }
            (_, RequestKind::PreVote) if granted => {
                hold!(leaving.state.named.is_some(), "D2", "grants a pre-vote, and is amnesiac");
                hold!(leaving.now >= self.quarantine_until, "E3", "grants a pre-vote within its quarantine");
                self.may_grant(leaving.now, &call.from, call.term)
            }
            (ReplyBody::Append { promised, .. }, _) if !promised.is_zero() => self.promise(leaving, &call, *promised),
            _ => Ok(()),
        }
    }

    /// E2, E3 and E5: whoever grants says how much it owes to others.
    fn remainder_is_told(&self, leaving: &Leaving<'_>, call: &Call, remainder: Duration) -> Held {
        let own = leaving.work.filter(|work| work.exclusive).map(|work| work.until.since(leaving.now));
        let own = leaving.now + owed(&self.timing, own.unwrap_or_default());
        let end = self.owed_until(leaving.now, &call.from).max(own);
        hold!(
            leaving.now + remainder >= end,
            "E2",
            "grants {} at {} with {remainder:?}, and owes until {end}",
            call.from,
            leaving.now
        );
        Ok(())
    }

    fn promise(&mut self, leaving: &Leaving<'_>, call: &Call, promised: Duration) -> Held {
        let max = leaving.durable.map(|state| state.promise_max).unwrap_or_default();
        hold!(promised <= call.promise.min(max), "E3", "promises {promised:?} of {:?}, at most {max:?}", call.promise);
        hold!(leaving.state.named.is_some(), "D2", "promises {promised:?}, and is amnesiac");
        hold!(!self.storage_failed, "E8", "promises {promised:?} after a failed write");
        if self.dead.iter().any(|(peer, at)| *peer == call.from.node && *at >= call.received) {
            return Ok(());
        }
        let given = Given { to: call.from.clone(), term: call.term, until: call.received + promised };
        let released = self.is_released(&given);
        match &mut self.current {
            Some(current) if current.to == given.to && current.term == given.term => {
                current.until = current.until.max(given.until);
            }
            _ if released => {}
            _ => self.owed_until = self.owed_until.max(given.until),
        }
        Ok(())
    }

    /// A heartbeat of another leader moves the promise into what is owed, whenever its answer leaves.
    fn follow(&mut self, to: &Holder, term: Term) {
        if self.current.as_ref().is_some_and(|current| current.to == *to && current.term == term) {
            return;
        }
        let followed = Given { to: to.clone(), term, until: Time::ZERO };
        if let Some(old) = self.current.replace(followed)
            && !self.is_released(&old)
        {
            self.owed_until = self.owed_until.max(old.until);
        }
        self.lost.retain(|lost| *lost == to.node);
    }

    fn is_released(&self, given: &Given) -> bool {
        self.released.iter().any(|(to, term)| *to == given.to && *term == given.term)
    }

    fn release(&mut self, to: Holder, term: Term) {
        if !self.released.contains(&(to.clone(), term)) {
            self.released.push((to, term));
        }
    }

    /// Evidence: the connection closed, and the reconnect failed.
    fn lose(&mut self, now: Time, peer: &NodeId, proves_death: bool) {
        if self.closed.contains(peer) {
            self.lost.push(peer.clone());
        }
        if !proves_death {
            return;
        }
        self.dead.push((peer.clone(), now));
        if self.current.as_ref().is_some_and(|given| given.to.node == *peer) {
            self.current = None;
        }
    }
}

/// E7: a leader that has not resigned keeps its office against any candidate.
fn office_is_kept(step: &Step<'_>, request: &Request) -> Held {
    let asks = matches!(request.body, RequestBody::PreVote { .. } | RequestBody::RequestVote { .. });
    let Some(lease) = step.before.lease.as_ref().filter(|lease| !lease.revoked && step.now < lease.end) else {
        return Ok(());
    };
    let kept = step.node.role() == Role::Leader && step.node.term() == step.before.state.term;
    hold!(
        !asks || kept || step.now >= step.before.deadline,
        "E7",
        "gives up its office of {} until {} for {}",
        step.before.state.term,
        lease.end,
        request.from.node
    );
    Ok(())
}
