//! What must come right: the liveness properties of PROPERTIES.md, each where its premises are met.
//!
//! A premise is judged by the state of the cluster, and not by what a script did before: a script that is cut down keeps
//! its meaning.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::command::Require;
use super::stage::Stage;
use crate::node::Node;
use crate::record::Record;
use crate::sim::check::arithmetic::majority;
use crate::sim::{Cluster, Faults};
use crate::types::{NodeId, Term};

/// V10: what one process may keep at most, in characters of its debug form: many times what a quiet one of seven members
/// keeps.
const KEPT_MAX: usize = 256 * 1024;
/// What was sent before the calm may arrive for so long, in election timeouts.
const AFTERMATH: u32 = 12;

impl Stage {
    pub(super) fn require(&mut self, require: Require) {
        match require {
            Require::Settled(property, limit) => self.settles(property, limit),
            Require::Kept(property, length) => self.keeps(property, length),
            Require::Unmoved => self.unmoved(),
            Require::Barren(length) => self.barren(length),
            Require::Silent => self.silent(),
            Require::Known => self.known(),
            Require::HandedOver(limit) => self.handed_over(limit),
            Require::Resigned(limit) => self.resigned(limit),
            Require::Bounded => self.bounded(),
            Require::Steady(length) => self.steady(length),
            Require::Named(limit) => self.named(limit),
        }
    }

    fn broken(&mut self, property: &'static str, text: String) {
        let now = self.cluster.now();
        self.cluster.checker().report(now, property, text);
    }

    fn in_timeouts(&self, duration: Duration) -> f64 {
        duration.as_secs_f64() / self.et.as_secs_f64()
    }

    /// Whether there can be a leader that stays.
    fn can_settle(&self) -> bool {
        // A first start needs everybody; a lost disk may be one too many for the members that were chosen since.
        let starting = self.is_whole() && self.losses == 0;
        starting || self.quorum_connected(&|a, b| self.cluster.is_open(a, b)).is_some()
    }

    /// V1 and V11.
    fn settles(&mut self, property: &'static str, limit: Duration) {
        let applies = self.can_settle() && self.is_calm();
        let since = self.cluster.now();
        let found = self.cluster.run_until(limit, |cluster| (0..cluster.len()).any(|at| cluster.is_exclusive(at)));
        let took = self.cluster.now().since(since);
        if !self.is_broken() {
            self.cluster.run_for(limit.saturating_sub(took));
        }
        if !applies || self.is_broken() {
            return;
        }
        // A change of the members that was on its way may have ended what was possible before.
        if !self.can_settle() {
            self.settled = false;
            return;
        }
        self.settled = found;
        if !found {
            let text = format!("no exclusive leader within {limit:?}: {}", self.roles());
            return self.broken(property, text);
        }
        let figure = Some(self.in_timeouts(took));
        if property == "V11" {
            self.figures.healed = self.figures.healed.or(figure);
        } else {
            self.figures.settled = self.figures.settled.or(figure);
        }
    }

    /// V2, V3 and V8.
    fn keeps(&mut self, property: &'static str, length: Duration) {
        let applies = self.settled;
        let before = self.leaders();
        let end = self.cluster.now() + length;
        let leader = before.first().map(|(at, _)| *at).unwrap_or_default();
        let lapsed = applies && self.cluster.run_until(length, |cluster| !cluster.is_exclusive(leader));
        if self.is_broken() {
            return;
        }
        if applies && (before.len() != 1 || lapsed || self.leaders() != before) {
            let text = format!("{before:?} led, and then: {}", self.roles());
            return self.broken(property, text);
        }
        let left = end.since(self.cluster.now());
        self.cluster.run_for(left);
    }

    /// V3.
    fn unmoved(&mut self) {
        let Some(marked) = self.marked.clone() else { return };
        let open = |a, b| self.cluster.is_open(a, b);
        let leads = |(at, _): &(usize, Term)| self.is_quorum_connected(*at, &open) && !self.cluster.is_paused(*at);
        let could_lead = marked.iter().all(leads);
        if !could_lead || !self.is_calm() {
            return;
        }
        if marked != self.leaders() {
            let text = format!("{marked:?} led, and then: {}", self.roles());
            return self.broken("V3", text);
        }
        self.settled = true;
    }

    /// V4.
    fn barren(&mut self, length: Duration) {
        let applies = self.is_dark();
        let before = self.terms();
        self.cluster.run_for(length);
        let after = self.terms();
        if applies && before != after && !self.is_broken() {
            self.broken("V4", format!("terms grow without a quorum: {before:?} to {after:?}"));
        }
    }

    /// V5: silence needs no check of its own, since only leaders send heartbeats.
    fn silent(&mut self) {
        if self.is_dark() && !self.leaders().is_empty() {
            let text = format!("leads without a quorum: {}", self.roles());
            self.broken("V5", text);
        }
    }

    /// V6. A node that is amnesiac, or does not vote by the record it holds, asks nobody before a leader has reached it, so
    /// that nobody can tell it of one; and nobody asks those who do not vote by the record that it holds.
    fn known(&mut self) {
        let [(leader, term)] = self.leaders()[..] else { return };
        if !self.settled {
            return;
        }
        let name = self.cluster.name(leader).clone();
        let member = |at: usize| {
            let record = self.cluster.node(leader).and_then(Node::committed);
            let held = self.cluster.node(at).and_then(|node| node.hard_state().record.as_deref());
            let own = self.cluster.name(at);
            record.is_some_and(|record| votes(record, own)) && held.is_some_and(|record| votes(record, own))
        };
        let knows = |at: usize| self.cluster.node(at).is_some_and(|n| n.leader() == Some(&name) && n.term() == term);
        let hears = |at: usize| self.cluster.node(at).and_then(Node::hearsay).is_some_and(|of| of.leader == name);
        let nodes = 0..self.cluster.len();
        let asks = |at: usize, other: usize| {
            let held = self.cluster.node(at).and_then(|node| node.hard_state().record.as_deref());
            held.is_some_and(|record| votes(record, self.cluster.name(other)))
        };
        let told = |at: &usize| {
            let tells = |other: &usize| knows(*other) && asks(*at, *other) && self.cluster.is_open(*at, *other);
            nodes.clone().any(|other| tells(&other))
        };
        let ignorant = |at: &usize| member(*at) && self.may_vote(*at) && !knows(*at) && !hears(*at);
        if let Some(at) = nodes.clone().find(|at| ignorant(at) && told(at)) {
            let text = format!("{} does not know of {name}: {}", self.cluster.name(at), self.roles());
            self.broken("V6", text);
        }
    }

    /// V7.
    fn handed_over(&mut self, limit: Duration) {
        let Some((_, term)) = self.marked.as_ref().and_then(|marked| marked.first().copied()) else {
            return self.cluster.run_for(limit);
        };
        let since = self.cluster.now();
        let next = self.cluster.run_until(limit, |cluster| {
            (0..cluster.len()).any(|at| cluster.node(at).is_some_and(|n| n.term() > term) && cluster.is_exclusive(at))
        });
        let took = self.cluster.now().since(since);
        if self.is_broken() {
            return;
        }
        self.cluster.run_for(limit.saturating_sub(took));
        if next {
            self.figures.handed_over = self.figures.handed_over.or(Some(self.in_timeouts(took)));
        }
        let applies = self.is_calm() && self.is_whole();
        let leads = |at: usize| self.cluster.node(at).and_then(Node::lease).is_some_and(|lease| !lease.revoked);
        if applies && !self.is_broken() && !(0..self.cluster.len()).any(leads) {
            let text = format!("a transfer in {term} was neither completed nor called off: {}", self.roles());
            return self.broken("V7", text);
        }
        self.settled = applies && self.leaders().len() == 1;
    }

    /// V9.
    fn resigned(&mut self, limit: Duration) {
        let marked = self.marked.clone().unwrap_or_default();
        let leader = marked.first().copied();
        let since = self.cluster.now();
        let gone = |leads: Option<Term>, led: Term| leads != Some(led);
        let Some((at, term)) = leader else { return self.cluster.run_for(limit) };
        let resigned = self.cluster.run_until(limit, |cluster| {
            gone(cluster.node(at).filter(|node| node.lease().is_some()).map(Node::term), term)
        });
        let took = self.cluster.now().since(since);
        if self.is_broken() {
            return;
        }
        self.cluster.run_for(limit.saturating_sub(took));
        if resigned {
            self.figures.resigned = self.figures.resigned.or(Some(self.in_timeouts(took)));
        } else if self.cluster.disk_failed(at) {
            let text = format!("{} still leads, and its disk failed: {}", self.cluster.name(at), self.roles());
            self.broken("V9", text);
        }
    }

    /// V10.
    fn bounded(&mut self) {
        for at in 0..self.cluster.len() {
            let Some(process) = &self.cluster.hosts[at].process else { continue };
            let kept = format!("{:?}{:?}{:?}", process.node, process.calls, process.asked).len();
            self.figures.kept_max = self.figures.kept_max.max(kept);
            if kept > KEPT_MAX {
                let text = format!("{} keeps {kept} characters", self.cluster.name(at));
                self.broken("V10", text);
            }
        }
    }

    /// V12.
    fn steady(&mut self, length: Duration) {
        let applies = self.is_whole();
        let before = self.cluster.checker().seen().1;
        self.cluster.run_for(length);
        let changes = self.cluster.checker().seen().1 - before;
        self.figures.changes = Some(changes);
        let allowed = (self.in_timeouts(length) / 1000.0).ceil();
        if applies && changes as f64 > allowed {
            self.broken("V12", format!("{changes} changes of the leader within {length:?}"));
        }
    }

    /// D2: every disk that was lost is named again, if its node is still a member.
    fn named(&mut self, limit: Duration) {
        let applies = self.settled && self.is_whole();
        let missing = |cluster: &Cluster| {
            let committed = (0..cluster.len()).filter(|at| cluster.is_exclusive(*at));
            let record = committed.filter_map(|at| cluster.node(at)?.committed()).next()?;
            let unnamed = |at: &usize| cluster.durable(*at).is_none_or(|state| state.named.is_none());
            (0..cluster.len()).filter(|at| votes(record, cluster.name(*at))).find(unnamed)
        };
        if !applies || self.cluster.run_until(limit, |cluster| missing(cluster).is_none()) || self.is_broken() {
            return;
        }
        if let Some(at) = missing(&self.cluster) {
            let text = format!("{} is still amnesiac", self.cluster.name(at));
            self.broken("D2", text);
        }
    }
}

// ---- premises ----
impl Stage {
    /// Whether nothing goes wrong any more but that links may be cut: delays and writes within a tenth of an election
    /// timeout, clocks within their bound.
    pub(super) fn is_calm(&mut self) -> bool {
        let (tenth, drift) = (self.et / 10, self.cluster.timing.drift_ppm);
        let cluster = &mut self.cluster;
        let quiet = *cluster.faults() == Faults::default();
        quiet
            && (0..cluster.len()).all(|at| {
                let links = (0..cluster.len()).all(|to| {
                    let link = cluster.network.link(at, to);
                    link.delay.1 <= tenth && link.loss + link.duplicate + link.tail == 0.0
                });
                let host = &cluster.hosts[at];
                let disk = &host.disk.manners;
                let quick = disk.write.1 <= tenth && disk.slow + disk.fail + disk.full == 0.0;
                let true_to = host.clock.ppm().unsigned_abs() <= drift;
                let mended = !host.failed || host.process.is_none();
                let healthy = mended && host.version.is_none() && host.user.manners.length.is_none();
                links && quick && true_to && healthy && !cluster.is_paused(at)
            })
    }

    /// Whether every founder and every member runs, and can reach every other.
    pub(super) fn is_whole(&self) -> bool {
        let needed: Vec<usize> = (0..self.cluster.len()).filter(|at| self.is_needed(*at)).collect();
        let reaches_all = |a: usize| needed.iter().all(|b| a == *b || self.cluster.is_open(a, *b));
        needed.iter().all(|at| self.cluster.node(*at).is_some() && reaches_all(*at))
    }

    /// Whether a machine is a founder, or a member by some record.
    pub(super) fn is_needed(&self, at: usize) -> bool {
        at < self.founders || self.memberships().iter().any(|voters| voters.contains(self.cluster.name(at)))
    }

    /// A node with two-way links to a majority of nodes that may vote, itself included, whichever record is in force.
    pub(crate) fn quorum_connected(&self, open: &dyn Fn(usize, usize) -> bool) -> Option<usize> {
        (0..self.cluster.len()).find(|at| self.is_quorum_connected(*at, open))
    }

    pub(crate) fn is_quorum_connected(&self, at: usize, open: &dyn Fn(usize, usize) -> bool) -> bool {
        let memberships = self.memberships();
        !memberships.is_empty()
            && self.may_vote(at)
            && memberships.iter().all(|voters| {
                let reached = voters.iter().filter(|voter| self.reaches(at, voter, open)).count();
                voters.contains(self.cluster.name(at)) && reached >= majority(voters.len())
            })
    }

    fn reaches(&self, at: usize, voter: &NodeId, open: &dyn Fn(usize, usize) -> bool) -> bool {
        let Some(to) = self.cluster.find(voter.as_str()) else { return false };
        self.may_vote(to) && (to == at || open(at, to))
    }

    fn may_vote(&self, at: usize) -> bool {
        let named = self.cluster.durable(at).is_some_and(|state| state.named.is_some());
        named && self.cluster.node(at).is_some() && !self.is_leaving(at)
    }

    /// The voters by every record that a process or a disk holds.
    pub(super) fn memberships(&self) -> BTreeSet<BTreeSet<NodeId>> {
        let machines = 0..self.cluster.len();
        let kept = machines.clone().filter_map(|at| self.cluster.durable(at)?.record.as_ref());
        let decided = machines.filter_map(|at| self.cluster.node(at)?.hard_state().record.as_ref());
        let voters = |record: &Arc<Record>| record.members.iter().filter(|m| m.voter).map(|m| m.node.clone()).collect();
        kept.chain(decided).map(voters).collect()
    }

    /// V4 and V5: whether nobody has reached a majority for so long that everybody must have noticed.
    fn is_dark(&mut self) -> bool {
        let reached = |voters: &BTreeSet<NodeId>, at: usize| {
            let voting = |to: &usize| voters.contains(self.cluster.name(*to));
            (0..self.cluster.len()).filter(voting).filter(|to| at == *to || self.cluster.is_open(at, *to)).count()
        };
        let lit =
            |voters: &BTreeSet<NodeId>| (0..self.cluster.len()).any(|at| reached(voters, at) >= majority(voters.len()));
        if self.memberships().iter().any(lit) || !self.is_calm() {
            return false;
        }
        let now = self.cluster.now();
        let noticed = self.et.mul_f64(1.5) + self.cluster.timing.heartbeat + self.et.mul_f64(0.04);
        let long_calm = self.calm_since.is_some_and(|since| now.since(since) >= self.et * AFTERMATH);
        long_calm && now.since(self.links_changed) >= noticed
    }

    fn terms(&self) -> Vec<Option<Term>> {
        (0..self.cluster.len()).map(|at| self.cluster.node(at).map(Node::term)).collect()
    }

    fn roles(&self) -> String {
        let mut text = String::new();
        for at in 0..self.cluster.len() {
            let name = self.cluster.name(at);
            let open: String =
                (0..self.cluster.len()).map(|to| if self.cluster.network.passes(at, to) { '>' } else { '.' }).collect();
            let shown = match self.cluster.node(at) {
                Some(node) => {
                    let last = node.hard_state().last().map(|last| last.to_string()).unwrap_or_default();
                    format!("{name} {} {} {last} {open}; ", node.role(), node.term())
                }
                None => format!("{name} down {open}; "),
            };
            text.push_str(&shown);
        }
        text
    }
}

/// Whether a node votes by that record.
fn votes(record: &Record, node: &NodeId) -> bool {
    record.member(node).is_some_and(|member| member.voter)
}
