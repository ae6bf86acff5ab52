//! The record and its members: L1 to L6, A1 and D2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::arithmetic::majority;
use super::{Held, Leaving, Step, hold, term_of};
use crate::event::{EventKind, RecordCause, Role};
use crate::message::{Reply, ReplyBody, Request, RequestBody};
use crate::node::Input;
use crate::record::{HardState, Member, Record, RecordId};
use crate::sim::disk::Disk;
use crate::types::{DiskId, NodeId, Term};

/// The first record: committed by definition.
const FIRST: RecordId = RecordId { term: Term(0), index: 0 };

/// Every record that ever existed, where it was durable, and what was committed.
#[derive(Debug, Default)]
pub(crate) struct Records {
    contents: BTreeMap<RecordId, Arc<Record>>,
    /// What leaders of this cluster created.
    created: BTreeSet<RecordId>,
    /// What each disk has ever held, and whether it could vote then.
    held: BTreeMap<(NodeId, DiskId), BTreeSet<(RecordId, bool)>>,
    newest_held: BTreeMap<(NodeId, DiskId), RecordId>,
    committed: BTreeSet<RecordId>,
    /// The record with which each leader took office.
    elected_with: BTreeMap<Term, RecordId>,
    adopted: BTreeMap<usize, RecordId>,
    /// By which leader in which term a member without a vote was heard, and its disk.
    non_voters: BTreeSet<(usize, Term, NodeId, DiskId)>,
}

impl Records {
    /// How many records were committed.
    pub(crate) fn seen(&self) -> usize {
        self.committed.len()
    }

    /// A disk holds that state.
    pub(crate) fn written(&mut self, name: &NodeId, state: &HardState) -> Held {
        let Some(id) = state.last() else { return Ok(()) };
        let disk = (name.clone(), state.disk);
        self.held.entry(disk.clone()).or_default().insert((id, state.named.is_some()));
        let newest = self.newest_held.entry(disk).or_insert(id);
        hold!(id >= *newest, "L2", "the disk of {name} holds {id} after {newest}");
        *newest = id;
        Ok(())
    }

    pub(crate) fn step(&mut self, step: &Step<'_>, disk: &Disk) -> Held {
        let (before, after) = (&step.before, step.node.hard_state());
        self.descends(step)?;
        if let Some(record) = &after.record {
            self.meet(record)?;
        }
        if let Input::Reply(Reply { body: ReplyBody::Vote { record: Some(record), .. }, .. }) = step.input {
            self.meet(record)?;
        }
        if let Input::Reply(reply) = step.input {
            self.hear_non_voter(step, reply);
        }
        let (last, next) = (before.state.last(), after.last());
        hold!(next >= last, "L2", "the record falls from {last:?} to {next:?}");
        self.amnesia(step, disk)?;
        for event in &step.out.events {
            match &event.kind {
                EventKind::RecordAdopted { id, .. } => self.adopt(step, *id)?,
                EventKind::RecordAppended { id, parent, cause } => self.append(step, *id, *parent, *cause)?,
                _ => {}
            }
        }
        if step.entered(Role::Leader) {
            self.take_office(step)?;
        }
        let committed = step.node.committed().map(|record| record.id);
        if committed != before.committed
            && let Some(id) = committed
        {
            self.commit(step, id)?;
        }
        Ok(())
    }

    /// S13: whatever a node holds was created by a leader of this cluster, or at its founding.
    fn descends(&mut self, step: &Step<'_>) -> Held {
        for event in &step.out.events {
            if let EventKind::RecordAppended { id, .. } = &event.kind {
                self.created.insert(*id);
            }
        }
        let held = step.node.hard_state().last().filter(|id| *id != FIRST);
        hold!(held.is_none_or(|id| self.created.contains(&id)), "S13", "holds {held:?}, which no leader has created");
        Ok(())
    }

    /// L1.
    fn meet(&mut self, record: &Arc<Record>) -> Held {
        let known = self.contents.entry(record.id).or_insert_with(|| record.clone());
        if Arc::ptr_eq(known, record) {
            return Ok(());
        }
        hold!(known == record, "L1", "{} is {known:?}, and {record:?}", record.id);
        Ok(())
    }

    /// Whether a record is `ancestor`, or replaced it, directly or not.
    fn contains(&self, mut id: RecordId, ancestor: RecordId) -> bool {
        while id > ancestor {
            let Some(record) = self.contents.get(&id) else { return false };
            if record.parent >= id {
                return false;
            }
            id = record.parent;
        }
        id == ancestor
    }

    /// L3: a leader's record contains everything that was committed before its term.
    fn take_office(&mut self, step: &Step<'_>) -> Held {
        let term = step.node.term();
        let Some(with) = step.before.state.last() else { return Ok(()) };
        self.elected_with.insert(term, with);
        let earlier = self.committed.iter().rev().find(|id| id.term < term);
        hold!(
            earlier.is_none_or(|id| self.contains(with, *id)),
            "L3",
            "leads in {term} with {with}, which does not contain {earlier:?}"
        );
        Ok(())
    }

    fn commit(&mut self, step: &Step<'_>, id: RecordId) -> Held {
        let newest = self.committed.last().copied();
        if step.node.role() != Role::Leader {
            let known = id == FIRST || self.committed.contains(&id);
            hold!(known, "L5", "takes {id} for committed, which no leader committed");
            self.committed.insert(id);
            return Ok(());
        }
        let term = step.node.term();
        hold!(id.term == term || id == FIRST, "L4", "commits {id} as leader of {term}");
        hold!(
            newest.is_none_or(|other| self.contains(id.max(other), id.min(other))),
            "L3",
            "commits {id} beside {newest:?}"
        );
        if id != FIRST {
            self.durable_on_quorum(id)?;
        }
        let lost = self.elected_with.iter().find(|(term, with)| **term > id.term && !self.contains(**with, id));
        hold!(lost.is_none(), "L3", "commits {id}, and a later leader took office without it: {lost:?}");
        self.committed.insert(id);
        Ok(())
    }

    /// L5, and D2: a disk counts once it may vote, or for what it held when it became able to.
    fn durable_on_quorum(&self, id: RecordId) -> Held {
        let Some(record) = self.contents.get(&id) else { return Err(("L1", format!("{id} is unknown"))) };
        let holds = |node: &NodeId, disk: DiskId| {
            let held = self.held.get(&(node.clone(), disk));
            held.is_some_and(|held| held.iter().any(|(one, votes)| *votes && self.contains(*one, id)))
        };
        let voters = record.members.iter().filter(|member| member.voter);
        let holding = voters.filter(|member| holds(&member.node, member.disk)).count();
        let needed = majority(record.voters());
        hold!(holding >= needed, "L5", "commits {id}, which {holding} disks hold that count, of {needed}");
        Ok(())
    }

    /// L6: memberships change one at a time, by a leader that is exclusive and has committed in its term.
    fn append(&mut self, step: &Step<'_>, id: RecordId, parent: RecordId, cause: RecordCause) -> Held {
        let Some(record) = self.contents.get(&id) else { return Ok(()) };
        hold!(record.parent == parent && id.index == parent.index + 1, "L1", "{id} does not follow {parent}");
        hold!(id.term == step.node.term(), "L4", "appends {id} in {}", step.node.term());
        let old = self.contents.get(&parent).map(|record| &record.members[..]);
        let Some(old) = old else { return Err(("L1", format!("{id} replaces {parent}, which is unknown"))) };
        let voters = one_member_changes(id, cause, old, &record.members)?;
        hold!(
            majority(voters.before) + majority(voters.after) > voters.all,
            "L6",
            "the quorums of {id} and {parent} need not meet: {voters:?}"
        );
        if matches!(cause, RecordCause::NoOp | RecordCause::Proclaim) {
            return Ok(());
        }
        let exclusive = step.node.lease().is_some_and(|lease| lease.is_exclusive(step.now));
        let committed = step.before.committed.max(step.node.committed().map(|record| record.id));
        hold!(exclusive, "L6", "changes a member in {id}, and is not exclusive");
        hold!(term_of(committed) == id.term, "L6", "changes a member in {id} with {committed:?} committed");
        hold!(committed == Some(parent), "L6", "changes a member in {id} while {parent} is not committed");
        if cause == RecordCause::AddVoter {
            self.heard_before(step, id, old, &record.members)?;
        }
        Ok(())
    }

    /// L6: who becomes a voter has answered heartbeats of this leader as a member without a vote, its disk is cured, and
    /// it holds the record before.
    fn heard_before(&self, step: &Step<'_>, id: RecordId, old: &[Member], new: &[Member]) -> Held {
        let Some(voter) = new.iter().find(|member| !old.contains(member)) else { return Ok(()) };
        let heard = (step.host, step.node.term(), voter.node.clone(), voter.disk);
        hold!(self.non_voters.contains(&heard), "L6", "{} votes from {id} on, and answered nothing before", voter.node);
        let held = self.held.get(&(voter.node.clone(), voter.disk));
        let parent = step.before.state.last();
        let ready = held.is_some_and(|held| held.iter().any(|(one, cured)| *cured && Some(*one) >= parent));
        hold!(ready, "L6", "{} votes from {id} on, and does not hold {parent:?}", voter.node);
        Ok(())
    }

    /// Takes note of a member without a vote that follows this leader.
    fn hear_non_voter(&mut self, step: &Step<'_>, reply: &Reply) {
        let promises = matches!(reply.body, ReplyBody::Append { promised, .. } if !promised.is_zero());
        let listed = |record: &Arc<Record>| {
            record.member(&reply.from.node).is_some_and(|member| !member.voter && member.disk == reply.from.disk)
        };
        if promises && reply.verdict.is_granted() && step.before.state.record.as_ref().is_some_and(listed) {
            let heard = (step.host, step.before.state.term, reply.from.node.clone(), reply.from.disk);
            self.non_voters.insert(heard);
        }
    }

    /// A1.
    fn adopt(&mut self, step: &Step<'_>, id: RecordId) -> Held {
        let before = &step.before;
        hold!(before.role != Role::Leader, "A1", "a leader adopts {id}");
        hold!(before.leader.is_none(), "A1", "adopts {id}, and follows {:?}", before.leader);
        hold!(Some(id) > before.state.last(), "A1", "adopts {id}, and holds {:?}", before.state.last());
        if let Input::Reply(reply) = step.input {
            hold!(step.node.term() >= reply.term, "A1", "adopts {id} of {} in {}", reply.term, step.node.term());
        }
        let committed = step.node.committed().map(|record| record.id);
        hold!(committed == before.committed || committed == Some(FIRST), "A1", "adopts {id} as committed");
        self.adopted.insert(step.host, id);
        Ok(())
    }

    /// A1: what is adopted is durable before it is told.
    pub(crate) fn request_leaves(&mut self, at: usize, request: &Request, durable: Option<&HardState>) -> Held {
        let (RequestBody::PreVote { last, .. } | RequestBody::RequestVote { last, .. }) = &request.body else {
            return Ok(());
        };
        let Some(adopted) = self.adopted.get(&at).filter(|adopted| *last == Some(**adopted)) else { return Ok(()) };
        let held = durable.and_then(HardState::last);
        hold!(held >= Some(*adopted), "A1", "{} asks with {adopted} before it is durable", request.from.node);
        Ok(())
    }

    /// S3 and L5: what a reply calls durable is.
    pub(crate) fn reply_leaves(&self, leaving: &Leaving<'_>) -> Held {
        let ReplyBody::Append { durable, .. } = &leaving.reply.body else { return Ok(()) };
        let held = leaving.durable.and_then(HardState::last);
        hold!(*durable <= held, "S3", "says that {durable:?} is durable, and the disk holds {held:?}");
        Ok(())
    }

    /// D2.
    fn amnesia(&self, step: &Step<'_>, disk: &Disk) -> Held {
        let (before, after) = (&step.before.state, step.node.hard_state());
        let Some(floor) = after.named else {
            let stands = matches!(step.node.role(), Role::Candidate | Role::Leader);
            hold!(!stands, "D2", "is {:?}, and amnesiac", step.node.role());
            return Ok(());
        };
        if before.named == Some(floor) {
            return Ok(());
        }
        let (name, last) = (&step.node.config().node, term_of(after.last()));
        hold!(before.named.is_none(), "D2", "is named again, above {floor} after {:?}", before.named);
        hold!(floor >= last, "D2", "is named above {floor}, and holds a record of {last}");
        let lists = |record: &Arc<Record>| record.members.iter().any(|m| m.node == *name && m.disk == after.disk);
        let names = after.record.as_ref().is_some_and(lists);
        hold!(names, "D2", "takes itself for named, and its record does not name it");
        if after.last() == Some(FIRST) {
            return Ok(());
        }
        let held = disk.durable().and_then(HardState::last);
        hold!(held >= after.last(), "D2", "is cured by {:?}, and its disk holds {held:?}", after.last());
        let told = self.committed.iter().any(|id| {
            let record = self.contents.get(id);
            record.is_some_and(lists)
        });
        hold!(told, "D2", "is cured, and no record that names its disk was committed");
        Ok(())
    }
}

/// How many vote before and after a change, and how many nodes that are.
#[derive(Debug)]
struct Voters {
    before: usize,
    after: usize,
    all: usize,
}

/// L6: at most one member changes, and in the way that was said.
fn one_member_changes(
    id: RecordId,
    cause: RecordCause,
    old: &[Member],
    new: &[Member],
) -> Result<Voters, (&'static str, String)> {
    let gone: Vec<&Member> = old.iter().filter(|member| !new.contains(member)).collect();
    let come: Vec<&Member> = new.iter().filter(|member| !old.contains(member)).collect();
    let same = |voter: bool, other: bool| {
        gone.len() == 1
            && come.len() == 1
            && gone[0].node == come[0].node
            && gone[0].voter == voter
            && come[0].voter == other
    };
    let fits = match cause {
        RecordCause::NoOp | RecordCause::Proclaim => gone.is_empty() && come.is_empty(),
        RecordCause::Naming => same(true, true) || same(false, false),
        RecordCause::AddNonVoter => gone.is_empty() && come.len() == 1 && !come[0].voter,
        RecordCause::AddVoter => same(false, true) && gone[0].disk == come[0].disk,
        RecordCause::Remove => gone.len() == 1 && come.is_empty(),
    };
    hold!(fits, "L6", "{id} ({cause}) changes {gone:?} into {come:?}");
    let voters = |members: &[Member]| members.iter().filter(|member| member.voter).count();
    let all: BTreeSet<&NodeId> = old.iter().chain(new).filter(|member| member.voter).map(|m| &m.node).collect();
    Ok(Voters { before: voters(old), after: voters(new), all: all.len() })
}
