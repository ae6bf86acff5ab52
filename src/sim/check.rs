//! What must hold after every step, over the whole history: the rules of the protocol, written a second time.
//!
//! The checkers see what no node sees: true time, all disks, and every message that leaves. They share words with the
//! machine and none of its logic.

use std::fmt;
use std::time::Duration;

use super::disk::Disk;
use super::host::Host;
use super::user::Work;
use crate::config::Timing;
use crate::event::{CallId, Role};
use crate::message::{Holder, Reply, Request};
use crate::node::{Input, Node, Output};
use crate::promise::Lease;
use crate::record::{HardState, RecordId};
use crate::types::{NodeId, Term, Time};

pub(crate) mod arithmetic;
mod claims;
mod elections;
mod lives;
mod promises;
mod records;

use claims::Claims;
use elections::Elections;
use lives::Lives;
use promises::Debts;
use records::Records;

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which: `S1`, `E1`, `V1`.
    pub property: &'static str,
    /// When, in true time.
    pub time: Time,
    /// The evidence.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} violated at {}: {}", self.property, self.time, self.text)
    }
}

/// What a checker says: nothing, or which rule is broken and how.
pub(crate) type Held = Result<(), (&'static str, String)>;

/// Breaks off with a broken rule unless a condition holds.
macro_rules! hold {
    ($condition:expr, $property:literal, $($words:tt)+) => {
        if !$condition {
            return Err(($property, format!($($words)+)));
        }
    };
}
pub(crate) use hold;

/// A node as it was before a step.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    pub(crate) deadline: Time,
    pub(crate) state: HardState,
    pub(crate) lease: Option<Lease>,
    pub(crate) committed: Option<RecordId>,
}

impl Snapshot {
    pub(crate) fn of(node: &Node) -> Snapshot {
        Snapshot {
            role: node.role(),
            leader: node.leader().cloned(),
            deadline: node.deadline(),
            state: node.hard_state().clone(),
            lease: node.lease().cloned(),
            committed: node.committed().map(|record| record.id),
        }
    }
}

/// One step of one node.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) host: usize,
    pub(crate) truth: Time,
    /// The node's clock.
    pub(crate) now: Time,
    pub(crate) before: Snapshot,
    pub(crate) input: &'a Input,
    pub(crate) node: &'a Node,
    pub(crate) out: &'a Output,
}

impl Step<'_> {
    /// The life of the node that steps.
    pub(crate) fn holder(&self) -> Holder {
        holder(&self.node.config().node, self.node.hard_state())
    }

    /// Whether the node entered this role, or entered it anew in another term.
    pub(crate) fn entered(&self, role: Role) -> bool {
        self.node.role() == role && (self.before.role != role || self.before.state.term != self.node.term())
    }
}

/// The life of a node with that state.
pub(crate) fn holder(node: &NodeId, state: &HardState) -> Holder {
    Holder { node: node.clone(), disk: state.disk, incarnation: state.incarnation }
}

/// All checkers, and the first violation.
#[derive(Debug)]
pub(crate) struct Checker {
    members: Vec<NodeId>,
    elections: Elections,
    records: Records,
    debts: Vec<Debts>,
    claims: Claims,
    lives: Lives,
    /// Whether only overlaps in true time are judged.
    overlaps_only: bool,
    violation: Option<Violation>,
    /// Whether nothing is reported.
    pub(crate) is_off: bool,
    /// What is not promised in this run, and therefore not reported.
    exempt: Vec<&'static str>,
}

impl Checker {
    pub(crate) fn new(members: Vec<NodeId>, timing: Timing) -> Checker {
        Checker {
            elections: Elections::new(members.len()),
            records: Records::default(),
            debts: members.iter().map(|_| Debts::new(timing.clone())).collect(),
            claims: Claims::new(members.clone(), timing),
            lives: Lives::new(members.len()),
            members,
            overlaps_only: false,
            violation: None,
            is_off: false,
            exempt: Vec::new(),
        }
    }

    /// These properties go unchecked from now on: something has happened after which they are not promised.
    pub(crate) fn exempt(&mut self, properties: &[&'static str]) {
        self.exempt.extend_from_slice(properties);
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The first violation is kept: the later ones may follow from it.
    pub(crate) fn report(&mut self, time: Time, property: &'static str, text: String) {
        if !self.is_off && !self.exempt.contains(&property) {
            self.violation.get_or_insert(Violation { property, time, text });
        }
    }

    /// From now on only what true time shows is judged: that nobody is alone beside another.
    pub(crate) fn judge_overlaps_only(&mut self) {
        self.overlaps_only = true;
    }

    /// Keeps what is broken, if it is.
    pub(crate) fn judge(&mut self, time: Time, held: Held) {
        if let Err((property, text)) = held
            && !self.overlaps_only
        {
            self.report(time, property, text);
        }
    }

    fn judge_all<const N: usize>(&mut self, time: Time, at: usize, all: [Held; N]) {
        if self.overlaps_only {
            return;
        }
        for (property, text) in all.into_iter().filter_map(Result::err) {
            let text = format!("{}: {text}", self.members[at]);
            self.report(time, property, text);
        }
    }

    /// How many claims to be alone, elections and commits the run has seen.
    pub(crate) fn seen(&self) -> (usize, usize, usize) {
        (self.claims.seen(), self.elections.seen(), self.records.seen())
    }

    /// A process starts on that recovered state; a new disk owes `least`.
    pub(crate) fn started(&mut self, truth: Time, at: usize, local: Time, state: &HardState, least: Duration) {
        let name = self.members[at].clone();
        self.debts[at].started(local, state);
        self.claims.ended(at);
        self.records.written(&name, state).ok();
        let held = self.elections.started(at, &name, state);
        self.judge(truth, held);
        let held = self.lives.started(at, &name, state, least);
        self.judge(truth, held);
    }

    /// The process is gone; what its disk was writing may have reached it.
    pub(crate) fn died(&mut self, truth: Time, at: usize, disk: &Disk) {
        self.claims.ended(at);
        self.wrote(truth, at, disk);
    }

    /// A write has ended.
    pub(crate) fn wrote(&mut self, truth: Time, at: usize, disk: &Disk) {
        if let Some(state) = disk.durable() {
            let held = self.records.written(&self.members[at], state);
            self.judge(truth, held);
        }
    }

    /// A node has taken a step; nothing has left yet.
    pub(crate) fn step(&mut self, step: &Step<'_>, disk: &Disk) {
        // Each in any case: what one of them finds may be exempt, and the others count on.
        let held = [
            self.elections.step(step, disk, &self.debts[step.host]),
            self.records.step(step, disk),
            self.debts[step.host].step(step),
            self.claims.step(step),
            self.lives.step(step),
        ];
        self.judge_all(step.truth, step.host, held);
    }

    /// What a host may claim from now on.
    pub(crate) fn claims(&mut self, truth: Time, at: usize, host: &Host) {
        let held = self.claims.published(truth, at, host);
        self.judge(truth, held);
    }

    /// Nothing happens from `from` to `to`.
    pub(crate) fn time_passes(&mut self, from: Time, to: Time) {
        if let Err((time, text)) = self.claims.time_passes(from, to) {
            self.report(time, "E1", text);
        }
    }

    /// A request leaves.
    pub(crate) fn request_leaves(&mut self, truth: Time, at: usize, request: &Request, host: &Host) {
        let held = self
            .elections
            .request_leaves(at, request)
            .and_then(|()| self.records.request_leaves(at, request, host.disk.durable()))
            .and_then(|()| self.claims.request_leaves(at, request, host));
        self.judge(truth, held);
    }

    /// The term that an open call named.
    pub(crate) fn asked(&self, at: usize, call: CallId) -> Term {
        self.debts[at].asked(call)
    }

    /// A reply leaves.
    pub(crate) fn reply_leaves(&mut self, at: usize, leaving: &Leaving<'_>) {
        let held = [
            self.elections.reply_leaves(leaving),
            self.records.reply_leaves(leaving),
            self.debts[at].reply_leaves(leaving),
            self.lives.reply_leaves(at, leaving),
        ];
        self.judge_all(leaving.truth, at, held);
    }
}

/// A reply on its way out.
#[derive(Debug)]
pub(crate) struct Leaving<'a> {
    pub(crate) truth: Time,
    /// The node's clock.
    pub(crate) now: Time,
    pub(crate) call: CallId,
    /// The term that the request named.
    pub(crate) asked: Term,
    pub(crate) reply: &'a Reply,
    pub(crate) name: &'a NodeId,
    /// What the node has decided.
    pub(crate) state: &'a HardState,
    /// What the disk holds.
    pub(crate) durable: Option<&'a HardState>,
    pub(crate) work: Option<&'a Work>,
}

/// The number of a term.
pub(crate) fn term_of(id: Option<RecordId>) -> Term {
    id.map(|id| id.term).unwrap_or_default()
}
