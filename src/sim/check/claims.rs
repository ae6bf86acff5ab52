//! Who claims to be alone, in true time: E1, E4, E6, E8 and the order of fencing tokens.

use std::collections::VecDeque;

use super::arithmetic::{lease_end, reached_by_majority};
use super::{Held, Step, hold};
use crate::config::Timing;
use crate::event::Role;
use crate::message::{ReplyBody, Request, RequestBody, RequestId};
use crate::node::Input;
use crate::sim::host::Host;
use crate::types::{NodeId, Term, Time};

/// What a host may claim if nothing happens: to be alone under `term` from `begin` until `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    term: Term,
    begin: Time,
    end: Time,
    /// Whether it is work that still runs, and not the guard.
    work: bool,
}

/// How many heartbeats are remembered of an office: many times what a promise can be counted from.
const SENT_MAX: usize = 4096;

/// What one process may claim as leader, counted again from what it was told.
#[derive(Debug, Default)]
struct Office {
    term: Term,
    elected_at: Time,
    /// When the heartbeats of this term were sent, on the leader's clock.
    sent: VecDeque<(RequestId, Time)>,
    /// By node: a new disk owes what the old one promised (D2).
    promised: Vec<(NodeId, Time)>,
    /// Whether the guard has said no after a yes, or has been revoked.
    over: bool,
    was_exclusive: bool,
}

impl Office {
    /// When a heartbeat of this term left. It may be answered twice, if it was duplicated on its way, and the later answer
    /// may promise more: both count from here.
    fn sent_at(&self, id: RequestId) -> Option<Time> {
        let at = self.sent.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.sent[at].1)
    }

    fn take_promise(&mut self, node: &NodeId, end: Time) {
        match self.promised.iter_mut().find(|(known, _)| known == node) {
            Some((_, known)) => *known = end.max(*known),
            None => self.promised.push((node.clone(), end)),
        }
    }

    fn promised(&self, node: &NodeId) -> Time {
        self.promised.iter().find(|(known, _)| known == node).map(|(_, end)| *end).unwrap_or_default()
    }
}

/// All claims, and the history of who was alone.
#[derive(Debug)]
pub(crate) struct Claims {
    names: Vec<NodeId>,
    timing: Timing,
    claims: Vec<Vec<Claim>>,
    offices: Vec<Office>,
    /// Who was alone under which term, in the order in which it began.
    alone: Vec<(Term, usize)>,
}

impl Claims {
    pub(crate) fn new(names: Vec<NodeId>, timing: Timing) -> Claims {
        let claims = vec![Vec::new(); names.len()];
        let offices = names.iter().map(|_| Office::default()).collect();
        Claims { names, timing, claims, offices, alone: Vec::new() }
    }

    /// How many terms were exclusive.
    pub(crate) fn seen(&self) -> usize {
        self.alone.len()
    }

    /// A process ended, and what it claimed with it.
    pub(crate) fn ended(&mut self, at: usize) {
        self.claims[at].clear();
        self.offices[at] = Office::default();
    }

    /// What a host claims after a step, in true time.
    pub(crate) fn published(&mut self, truth: Time, at: usize, host: &Host) -> Held {
        self.claims[at].clear();
        let Some(process) = &host.process else { return Ok(()) };
        if let Some(lease) = process.node.lease().filter(|lease| !lease.revoked) {
            let begin = host.clock.when(lease.begin());
            let claim = Claim { term: process.node.term(), begin, end: host.clock.when(lease.end), work: false };
            self.claim(truth, at, claim);
        }
        if let Some(work) = host.user.work.as_ref().filter(|work| work.exclusive) {
            let claim = Claim { term: work.term, begin: work.began, end: host.clock.when(work.until), work: true };
            self.claim(truth, at, claim);
        }
        Ok(())
    }

    fn claim(&mut self, truth: Time, at: usize, claim: Claim) {
        if claim.begin.max(truth) < claim.end {
            self.claims[at].push(claim);
        }
    }

    /// E1 between two happenings: no two hosts' claims meet in this time.
    pub(crate) fn time_passes(&mut self, from: Time, to: Time) -> Result<(), (Time, String)> {
        for (at, claims) in self.claims.iter().enumerate() {
            for claim in claims {
                let begin = claim.begin.max(from);
                if begin >= claim.end.min(to) {
                    continue;
                }
                self.in_order(at, claim, begin)?;
                self.is_alone(at, claim, (begin, to))?;
            }
        }
        let claims = self.claims.iter().enumerate().flat_map(|(at, claims)| claims.iter().map(move |c| (at, c)));
        for (at, claim) in claims {
            let begun = !claim.work && claim.begin.max(from) < claim.end.min(to);
            if begun && self.alone.last() != Some(&(claim.term, at)) {
                self.alone.push((claim.term, at));
            }
        }
        Ok(())
    }

    /// Fencing tokens strictly increase in the order of exclusive.
    fn in_order(&self, at: usize, claim: &Claim, begin: Time) -> Result<(), (Time, String)> {
        match self.alone.last() {
            Some((term, who)) if *term > claim.term && !claim.work => {
                let (name, other) = (&self.names[at], &self.names[*who]);
                Err((begin, format!("{name} becomes exclusive in {}, after {other} in {term}", claim.term)))
            }
            _ => Ok(()),
        }
    }

    fn is_alone(&self, at: usize, claim: &Claim, (begin, to): (Time, Time)) -> Result<(), (Time, String)> {
        for (other, claims) in self.claims.iter().enumerate().skip(at + 1) {
            for rival in claims {
                let (from, until) = (begin.max(rival.begin), claim.end.min(rival.end).min(to));
                if from < until {
                    let show = |at: usize, claim: &Claim| {
                        let what = if claim.work { "works" } else { "is exclusive" };
                        format!("{} {what} in {} from {} until {}", self.names[at], claim.term, claim.begin, claim.end)
                    };
                    return Err((from, format!("{}, and {}", show(at, claim), show(other, rival))));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, step: &Step<'_>) -> Held {
        let office = &mut self.offices[step.host];
        if step.entered(Role::Leader) {
            *office = Office { term: step.node.term(), elected_at: step.now, ..Office::default() };
        }
        if let Input::Reply(reply) = step.input
            && let ReplyBody::Append { promised, .. } = reply.body
            && let Some(sent) = office.sent_at(reply.id)
        {
            office.take_promise(&reply.from.node, lease_end(&self.timing, sent, promised));
        }
        if step.node.role() == Role::Leader {
            for request in &step.out.requests {
                if matches!(request.body, RequestBody::AppendEntries { .. }) {
                    office.sent.push_back((request.id, step.now));
                }
            }
            let superfluous = office.sent.len().saturating_sub(SENT_MAX);
            office.sent.drain(..superfluous);
        }
        latched(step, office)?;
        lease_is_promised(step, office)?;
        established(step, office, &self.timing)
    }

    /// E4 and E5: nothing is released before the guard is revoked and the work has ended.
    pub(crate) fn request_leaves(&self, at: usize, request: &Request, host: &Host) -> Held {
        if !matches!(request.body, RequestBody::Resign | RequestBody::TimeoutNow) {
            return Ok(());
        }
        let (name, term) = (&self.names[at], request.term);
        let working = host.user.work.as_ref().is_some_and(|work| work.term == term);
        hold!(!working, "E5", "{name} releases {term} by {}, and its work runs", request.body.kind());
        let guarded = host.process.as_ref().is_some_and(|process| {
            process.node.term() == term && process.node.lease().is_some_and(|lease| !lease.revoked)
        });
        hold!(!guarded, "E4", "{name} releases {term} by {}, and its guard says yes", request.body.kind());
        let shown = self.claims[at].iter().any(|claim| !claim.work && claim.term == term);
        hold!(!shown, "E5", "{name} releases {term} by {} before its guard is revoked", request.body.kind());
        Ok(())
    }
}

/// E4 and E6: the guard latches its first no, and a lapse ends the term of office.
fn latched(step: &Step<'_>, office: &mut Office) -> Held {
    let (term, now) = (step.node.term(), step.now);
    if office.term != term {
        return Ok(());
    }
    if let Some(before) = step.before.lease.as_ref().filter(|_| step.before.state.term == term) {
        let lapsed = before.was_exclusive(now) && now >= before.end;
        let stays = step.node.lease().is_some_and(|lease| !lease.revoked);
        hold!(!(lapsed && stays), "E6", "leads {term} at {now}, and its lease lapsed at {}", before.end);
        office.over |= before.revoked;
    }
    let exclusive = step.node.lease().is_some_and(|lease| lease.is_exclusive(now));
    hold!(!(office.over && exclusive), "E4", "is exclusive again in {term}");
    office.was_exclusive |= exclusive;
    Ok(())
}

/// The lease follows from the promises that were acknowledged, counted from the sending of what they answer.
fn lease_is_promised(step: &Step<'_>, office: &Office) -> Held {
    let Some(lease) = step.node.lease().filter(|_| office.term == step.node.term()) else { return Ok(()) };
    let Some(record) = &step.node.hard_state().record else { return Ok(()) };
    let own = &step.node.config().node;
    let ends = record.members.iter().filter(|member| member.voter);
    let ends: Vec<Time> = ends.map(|m| if m.node == *own { Time::NEVER } else { office.promised(&m.node) }).collect();
    let end = reached_by_majority(ends);
    hold!(
        lease.end <= end,
        "E1",
        "its lease of {} ends at {}, but a quorum promised until {end}",
        office.term,
        lease.end
    );
    Ok(())
}

/// E8: whoever does not get its no-op committed within an election timeout resigns.
fn established(step: &Step<'_>, office: &Office, timing: &Timing) -> Held {
    if step.node.role() != Role::Leader || office.term != step.node.term() {
        return Ok(());
    }
    let committed = step.node.committed().is_some_and(|record| record.id.term == office.term);
    let late = step.now > office.elected_at + timing.election_timeout_min;
    let stays = step.node.lease().is_some_and(|lease| !lease.revoked);
    let ticked = matches!(step.input, Input::Tick);
    hold!(
        committed || !late || !stays || !ticked,
        "E8",
        "leads {} since {}, unestablished",
        office.term,
        office.elected_at
    );
    let exclusive = step.node.lease().is_some_and(|lease| lease.is_exclusive(step.now));
    hold!(committed || !exclusive, "E8", "is exclusive in {} before its no-op is committed", office.term);
    Ok(())
}
