//! What no life of a node may repeat, and what it may not claim to have seen: D1, D2, F1, V6.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Held, Leaving, Step, hold};
use crate::event::Role;
use crate::message::{ReplyBody, RequestBody};
use crate::node::Input;
use crate::record::HardState;
use crate::types::{DiskId, Incarnation, NodeId, Term, Time};

/// The history of starts, of terms of office, and of what each process knows of leaders.
#[derive(Debug)]
pub(crate) struct Lives {
    starts: BTreeMap<(NodeId, DiskId), Incarnation>,
    tokens: BTreeSet<Term>,
    /// For each process, when it or whoever told it was in direct contact with a leader, on its own clock.
    contacts: Vec<BTreeMap<(NodeId, Term), Time>>,
}

impl Lives {
    pub(crate) fn new(nodes: usize) -> Lives {
        let contacts = vec![BTreeMap::new(); nodes];
        Lives { starts: BTreeMap::new(), tokens: BTreeSet::new(), contacts }
    }

    /// D1 and D2: a start has a number of its own, and a new disk owes as much as the lost one may have promised: `least`,
    /// by the configuration of its machine.
    pub(crate) fn started(&mut self, at: usize, name: &NodeId, state: &HardState, least: Duration) -> Held {
        self.contacts[at].clear();
        let started = self.starts.insert((name.clone(), state.disk), state.incarnation);
        hold!(
            started.is_none_or(|before| before < state.incarnation),
            "D1",
            "{name} starts as {} after {started:?}",
            state.incarnation
        );
        hold!(
            started.is_some() || state.promise_max >= least,
            "D2",
            "the new disk of {name} owes {:?}, and may have promised {least:?}",
            state.promise_max
        );
        Ok(())
    }

    pub(crate) fn step(&mut self, step: &Step<'_>) -> Held {
        if step.entered(Role::Leader) {
            let term = step.node.term();
            hold!(self.tokens.insert(term), "F1", "a second term of office has the token {term}");
        }
        match step.input {
            Input::Reply(reply) => {
                if let ReplyBody::Vote { hearsay: Some(told), .. } = &reply.body {
                    self.contact(step.host, told.leader.clone(), told.term, step.now.before(told.age));
                }
            }
            Input::Request { request, .. } if matches!(request.body, RequestBody::AppendEntries { .. }) => {
                let (leader, term) = (&request.from.node, step.node.term());
                if step.node.leader() == Some(leader) && request.term == term {
                    self.contact(step.host, leader.clone(), term, step.now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn contact(&mut self, at: usize, leader: NodeId, term: Term, when: Time) {
        let known = self.contacts[at].entry((leader, term)).or_default();
        *known = when.max(*known);
    }

    /// V6: hearsay is as old as the last direct contact, however often it is told.
    pub(crate) fn reply_leaves(&self, at: usize, leaving: &Leaving<'_>) -> Held {
        let ReplyBody::Vote { hearsay: Some(told), .. } = &leaving.reply.body else { return Ok(()) };
        if told.leader == *leaving.name {
            return Ok(());
        }
        let known = self.contacts[at].get(&(told.leader.clone(), told.term)).copied().unwrap_or_default();
        let claimed = leaving.now.before(told.age);
        hold!(claimed <= known, "V6", "tells of {} as seen at {claimed}, and knows of {known}", told.leader);
        Ok(())
    }
}
