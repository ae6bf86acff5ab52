//! The record and its members: L1 to L6, A1 and D2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::arithmetic::majority;
use super::{Held, Leaving, Step, hold, term_of};
use crate::event::{EventKind, RecordCause, Role};
use crate::message::{Reply, ReplyBody, Request, RequestBody};
use crate::node::Input;
use crate::record::{HardState, Record, RecordId};
use crate::sim::disk::Disk;
use crate::types::{DiskId, NodeId, Term};

/// The first record: committed by definition.
const FIRST: RecordId = RecordId { term: Term(0), index: 0 };

/// Every record that ever existed, where it was durable, and what was committed.
#[derive(Debug, Default)]
pub(crate) struct Records {
    contents: BTreeMap<RecordId, Arc<Record>>,
    /// What each disk has ever held, and whether it could vote then.
    held: BTreeMap<(NodeId, DiskId), BTreeSet<(RecordId, bool)>>,
    newest_held: BTreeMap<(NodeId, DiskId), RecordId>,
    committed: BTreeSet<RecordId>,
    /// The record with which each leader took office.
    elected_with: BTreeMap<Term, RecordId>,
    adopted: BTreeMap<usize, RecordId>,
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

    pub(crate) fn step(&mut self, step: &Step<'_>, members: &[NodeId], disk: &Disk) -> Held {
        let (before, after) = (&step.before, step.node.hard_state());
        if let Some(record) = &after.record {
            self.meet(record)?;
        }
        if let Input::Reply(Reply { body: ReplyBody::Vote { record: Some(record), .. }, .. }) = step.input {
            self.meet(record)?;
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
            self.commit(step, id, members)?;
        }
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

    fn commit(&mut self, step: &Step<'_>, id: RecordId, members: &[NodeId]) -> Held {
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
            self.durable_on_quorum(id, members)?;
        }
        let lost = self.elected_with.iter().find(|(term, with)| **term > id.term && !self.contains(**with, id));
        hold!(lost.is_none(), "L3", "commits {id}, and a later leader took office without it: {lost:?}");
        self.committed.insert(id);
        Ok(())
    }

    /// L5, and D2: a disk counts once it may vote, or for what it held when it became able to.
    fn durable_on_quorum(&self, id: RecordId, members: &[NodeId]) -> Held {
        let Some(record) = self.contents.get(&id) else { return Err(("L1", format!("{id} is unknown"))) };
        let holds = |node: &NodeId, disk: DiskId| {
            let held = self.held.get(&(node.clone(), disk));
            held.is_some_and(|held| held.iter().any(|(one, votes)| *votes && self.contains(*one, id)))
        };
        let voters = record.members.iter().filter(|member| member.voter && members.contains(&member.node));
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
        if cause != RecordCause::Naming {
            return Ok(());
        }
        let exclusive = step.node.lease().is_some_and(|lease| lease.is_exclusive(step.now));
        let committed = step.before.committed.max(step.node.committed().map(|record| record.id));
        hold!(exclusive, "L6", "names a disk in {id}, and is not exclusive");
        hold!(term_of(committed) == id.term, "L6", "names a disk in {id} with {committed:?} committed");
        hold!(committed == Some(parent), "L6", "names a disk in {id} while {parent} is not committed");
        Ok(())
    }

    /// A1.
    fn adopt(&mut self, step: &Step<'_>, id: RecordId) -> Held {
        let before = &step.before;
        hold!(before.role != Role::Leader, "A1", "a leader adopts {id}");
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
        let names = after.record.as_ref().is_some_and(|record| record.names(name, after.disk));
        hold!(names, "D2", "takes itself for named, and its record does not name it");
        if after.last() == Some(FIRST) {
            return Ok(());
        }
        let held = disk.durable().and_then(HardState::last);
        hold!(held >= after.last(), "D2", "is cured by {:?}, and its disk holds {held:?}", after.last());
        let told = self.committed.iter().any(|id| {
            let record = self.contents.get(id);
            record.is_some_and(|record| record.names(name, after.disk))
        });
        hold!(told, "D2", "is cured, and no record that names its disk was committed");
        Ok(())
    }
}
