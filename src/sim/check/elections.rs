//! Votes and terms: S1 to S10.

use std::collections::BTreeMap;

use super::arithmetic::majority;
use super::promises::Debts;
use super::{Held, Leaving, Snapshot, Step, hold};
use crate::event::{EventKind, Role};
use crate::message::{Holder, Reason, Reply, ReplyBody, Request, RequestBody, RequestId, RequestKind, Verdict};
use crate::node::Input;
use crate::record::HardState;
use crate::sim::disk::Disk;
use crate::types::{DiskId, NodeId, Term, Time};

/// An honest term never jumps by this.
const ABSURD: u64 = 1 << 32;

/// What one process has asked for and been granted.
#[derive(Debug, Default)]
struct Canvass {
    /// The term that the pre-vote round asks for, its requests, and who granted.
    round: Term,
    asked: Vec<RequestId>,
    willing: Vec<NodeId>,
    /// The term that votes are asked for, the requests, and who granted: when it came, and the end of what is owed.
    term: Term,
    requested: Vec<RequestId>,
    granted: BTreeMap<(NodeId, DiskId), Time>,
    /// The requests of a life are numbered upward.
    last_request: RequestId,
}

/// The history of votes.
#[derive(Debug)]
pub(crate) struct Elections {
    votes: BTreeMap<(NodeId, DiskId, Term), NodeId>,
    led: BTreeMap<Term, Holder>,
    /// The highest term in which a disk voted or led.
    floors: BTreeMap<(NodeId, DiskId), Term>,
    canvasses: Vec<Canvass>,
}

impl Elections {
    pub(crate) fn new(nodes: usize) -> Elections {
        Elections {
            votes: BTreeMap::new(),
            led: BTreeMap::new(),
            floors: BTreeMap::new(),
            canvasses: (0..nodes).map(|_| Canvass::default()).collect(),
        }
    }

    /// How many terms had a leader.
    pub(crate) fn seen(&self) -> usize {
        self.led.len()
    }

    pub(crate) fn started(&mut self, at: usize, name: &NodeId, state: &HardState) -> Held {
        self.canvasses[at] = Canvass::default();
        let floor = self.floors.get(&(name.clone(), state.disk)).copied().unwrap_or_default();
        hold!(state.term >= floor, "S4", "{name} restarts in {}, but had voted or led in {floor}", state.term);
        Ok(())
    }

    pub(crate) fn step(&mut self, step: &Step<'_>, disk: &Disk, debts: &Debts) -> Held {
        terms_and_votes(step)?;
        strangers(step)?;
        pre_vote_is_pure(step)?;
        if let Input::Reply(reply) = step.input {
            self.count(step, reply);
        }
        // Whoever votes alone begins a round and wins it in one step.
        self.note_rounds(step);
        if step.entered(Role::Candidate) {
            self.entered_candidacy(step)?;
        }
        if step.entered(Role::Leader) {
            self.entered_office(step, disk, debts)?;
        }
        self.note_requests(step);
        Ok(())
    }

    /// Takes note of a grant to this life, for a request of the current round or term.
    fn count(&mut self, step: &Step<'_>, reply: &Reply) {
        let canvass = &mut self.canvasses[step.host];
        if !reply.verdict.is_granted() || reply.to != step.holder() {
            return;
        }
        match (reply.kind, &reply.body) {
            (RequestKind::PreVote, _) if canvass.asked.contains(&reply.id) => {
                canvass.willing.push(reply.from.node.clone());
            }
            (RequestKind::RequestVote, ReplyBody::Vote { remainder, .. }) if canvass.requested.contains(&reply.id) => {
                let voter = (reply.from.node.clone(), reply.from.disk);
                canvass.granted.entry(voter).or_insert(step.now + *remainder);
            }
            _ => {}
        }
    }

    /// S10.
    fn entered_candidacy(&mut self, step: &Step<'_>) -> Held {
        let term = step.node.term();
        let ordered = matches!(step.input, Input::Request { request, .. } if request.body == RequestBody::TimeoutNow);
        let canvass = &mut self.canvasses[step.host];
        canvass.term = term;
        canvass.requested.clear();
        canvass.granted.clear();
        if ordered {
            return Ok(());
        }
        let Some(record) = &step.before.state.record else {
            return Err(("S10", format!("a candidate in {term} without any record")));
        };
        let own = &step.node.config().node;
        let willing =
            record.members.iter().filter(|m| m.voter && (m.node == *own || canvass.willing.contains(&m.node)));
        let (willing, needed) = (willing.count(), majority(record.voters()));
        hold!(
            (canvass.round == term || needed == 1) && willing >= needed,
            "S10",
            "a candidate in {term} after {willing} of {needed} pre-votes for {}",
            canvass.round
        );
        Ok(())
    }

    /// S1, S3 and S7, and the barrier of the lease.
    fn entered_office(&mut self, step: &Step<'_>, disk: &Disk, debts: &Debts) -> Held {
        let (term, own) = (step.node.term(), step.holder());
        if let Some(other) = self.led.insert(term, own.clone()) {
            hold!(other == own, "S1", "{own} leads in {term}, and {other} did");
        }
        self.vote(&own.node, own.disk, term, &own.node)?;
        let durable = disk.durable().is_some_and(|state| {
            state.term == term && state.voted_for.as_ref() == Some(&own.node) && state.disk == own.disk
        });
        hold!(durable, "S3", "leads in {term}, and its own vote is not durable");
        let Some(record) = &step.before.state.record else {
            return Err(("S7", format!("leads in {term} without any record")));
        };
        let canvass = &self.canvasses[step.host];
        let granted = |node: &NodeId, disk: DiskId| canvass.granted.get(&(node.clone(), disk));
        let voters = record.members.iter().filter(|m| m.voter && m.node != own.node);
        let mut ends: Vec<Time> = voters.filter_map(|m| granted(&m.node, m.disk).copied()).collect();
        let needed = majority(record.voters());
        let others = needed - usize::from(record.names(&own.node, own.disk));
        hold!(
            canvass.term == term && ends.len() >= others,
            "S7",
            "leads in {term} with the votes of {} others, and needs {others}",
            ends.len()
        );
        ends.sort_unstable();
        let owed =
            ends.get(others.saturating_sub(1)).copied().unwrap_or_default().max(debts.owed_until(step.now, &own));
        let barrier = step.node.lease().map(|lease| lease.barrier).unwrap_or(Time::NEVER);
        hold!(
            barrier >= owed || owed <= step.now,
            "E1",
            "the barrier of {term} is {barrier}, but its voters owe until {owed}"
        );
        Ok(())
    }

    fn note_rounds(&mut self, step: &Step<'_>) {
        for event in &step.out.events {
            if let EventKind::RoundStarted { pre_vote: true, asked_term, .. } = event.kind {
                let canvass = &mut self.canvasses[step.host];
                canvass.round = asked_term;
                canvass.asked.clear();
                canvass.willing.clear();
            }
        }
    }

    fn note_requests(&mut self, step: &Step<'_>) {
        for request in &step.out.requests {
            let canvass = &mut self.canvasses[step.host];
            match request.body {
                RequestBody::PreVote { .. } if request.term == canvass.round => canvass.asked.push(request.id),
                RequestBody::RequestVote { .. } if request.term == canvass.term => canvass.requested.push(request.id),
                _ => {}
            }
        }
    }

    /// S2.
    fn vote(&mut self, node: &NodeId, disk: DiskId, term: Term, candidate: &NodeId) -> Held {
        let floor = self.floors.entry((node.clone(), disk)).or_default();
        *floor = (*floor).max(term);
        let first = self.votes.entry((node.clone(), disk, term)).or_insert_with(|| candidate.clone());
        hold!(first == candidate, "S2", "{node} votes for {candidate} in {term}, and had voted for {first}");
        Ok(())
    }

    pub(crate) fn request_leaves(&mut self, at: usize, request: &Request) -> Held {
        let last = &mut self.canvasses[at].last_request;
        let name = &request.from.node;
        hold!(request.id > *last, "S3", "{name} numbers a request {} after {last}", request.id);
        *last = request.id;
        Ok(())
    }

    /// S2 and S3: a vote that leaves is durable.
    pub(crate) fn reply_leaves(&mut self, leaving: &Leaving<'_>) -> Held {
        let reply = leaving.reply;
        if reply.kind != RequestKind::RequestVote || !reply.verdict.is_granted() {
            return Ok(());
        }
        let term = leaving.asked;
        let Some(disk) = leaving.durable else {
            return Err(("S3", format!("a vote in {term} leaves from an empty disk")));
        };
        let kept = disk.term == term && disk.voted_for.as_ref() == Some(&reply.to.node);
        hold!(
            kept || disk.term > term,
            "S3",
            "a vote for {} in {term} leaves, and the disk holds {:?} in {}",
            reply.to.node,
            disk.voted_for,
            disk.term
        );
        let floor = disk.named;
        hold!(floor.is_some_and(|floor| term > floor), "D2", "votes in {term}, and is named above {floor:?}");
        self.vote(leaving.name, leaving.state.disk, term, &reply.to.node)
    }
}

/// S4, S5, S6 and S8.
fn terms_and_votes(step: &Step<'_>) -> Held {
    let (before, after) = (&step.before.state, step.node.hard_state());
    hold!(after.term >= before.term, "S4", "the term falls from {} to {}", before.term, after.term);
    hold!(super::term_of(after.last()) <= after.term, "S8", "holds a record of {:?} in {}", after.last(), after.term);
    if after.term == before.term && after.voted_for == before.voted_for {
        return Ok(());
    }
    let changed = after.term == before.term && before.voted_for.is_some();
    hold!(!changed, "S5", "the vote in {} changes from {:?} to {:?}", after.term, before.voted_for, after.voted_for);
    let Some(candidate) = after.voted_for.as_ref().filter(|candidate| **candidate != step.node.config().node) else {
        return Ok(());
    };
    let Input::Request { request, .. } = step.input else {
        return Err(("S6", format!("votes for {candidate} in {} unasked", after.term)));
    };
    let RequestBody::RequestVote { last, .. } = request.body else {
        return Err(("S6", format!("votes for {candidate} after {}", request.body.kind())));
    };
    hold!(
        request.from.node == *candidate && request.term == after.term,
        "S6",
        "votes for {candidate} in {}, asked by {} for {}",
        after.term,
        request.from.node,
        request.term
    );
    hold!(last >= before.last(), "S6", "votes for {candidate} with {last:?}, and holds {:?}", before.last());
    Ok(())
}

/// S11.
fn strangers(step: &Step<'_>) -> Held {
    let Input::Request { request, .. } = step.input else { return Ok(()) };
    let config = step.node.config();
    let wrong_cluster = request.from.cluster != config.cluster || request.from.group != config.group;
    let unknown = !is_known(step, request) || request.to != config.node;
    let absurd = request.term.0.saturating_sub(step.before.state.term.0) > ABSURD;
    if wrong_cluster || unknown || absurd {
        unchanged(step, "S11")?;
    }
    Ok(())
}

/// Who is known is judged by the record that is held, whatever a message claims (S13), and by the list as long as there is
/// none.
fn is_known(step: &Step<'_>, request: &Request) -> bool {
    match &step.before.state.record {
        Some(mine) => mine.member(&request.from.node).is_some(),
        None => step.node.config().members.contains(&request.from.node),
    }
}

/// S9: answering a pre-vote changes nothing, and what forbids a vote for a while raises no term.
fn pre_vote_is_pure(step: &Step<'_>) -> Held {
    match step.input {
        Input::Request { request, .. }
            if request.body.kind() == RequestKind::PreVote
                && step.before.state.record.is_some()
                && step.now < step.before.deadline =>
        {
            unchanged(step, "S9")?;
        }
        Input::Reply(reply) if reply.kind == RequestKind::PreVote => {
            let waits = [Verdict::Refused(Reason::LeaderAlive), Verdict::Refused(Reason::RestartQuarantine)];
            let raised = step.node.term() > step.before.state.term && step.node.role() != Role::Candidate;
            hold!(!(waits.contains(&reply.verdict) && raised), "S9", "{:?} raises the term", reply.verdict);
        }
        _ => {}
    }
    Ok(())
}

fn unchanged(step: &Step<'_>, property: &'static str) -> Held {
    let (before, node) = (&step.before, step.node);
    let Snapshot { role, leader, deadline, state, .. } = before;
    let same = node.hard_state() == state && node.role() == *role && node.leader() == leader.as_ref();
    if same && (node.deadline() == *deadline || step.now >= *deadline) {
        return Ok(());
    }
    let after = (node.role(), node.leader(), node.deadline(), node.hard_state());
    Err((property, format!("{:?} changes {:?} into {after:?}", step.input, (role, leader, deadline, state))))
}
