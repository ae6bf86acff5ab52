//! What an adversary waits for: the moments at which a fault hurts most, and the chains of them that came about.

use std::time::Duration;

use crate::event::{EventKind, Role};
use crate::message::{ReplyBody, RequestKind};
use crate::node::Output;
use crate::sim::Cluster;
use crate::types::Time;

/// What a node has just done. It is told before the messages of that step leave, and heard after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A process started.
    Started,
    /// It stands for election, in a term of its own.
    Stands,
    /// It has won its election.
    Elected,
    /// Its no-op is committed.
    Established,
    /// It is alone.
    Exclusive,
    /// It answers a heartbeat with a promise.
    Promises,
    /// It votes and owes nothing to another.
    Votes,
    /// It votes and says what it still owes to others.
    VotesEarly,
    /// It has evidence against its leader.
    Doubts,
    /// It revokes its guard.
    Revokes,
    /// `TimeoutNow` leaves.
    HandsOver,
    /// It leaves office.
    Leaves,
    /// It leaves office, and its work goes on.
    LeavesWorking,
    /// Its disk was named by a committed record.
    Named,
}

/// A moment of the node at `at`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct News {
    pub(crate) at: usize,
    pub(crate) moment: Moment,
    /// What was promised.
    pub(crate) length: Duration,
}

/// What has happened since the adversary was last asked.
#[derive(Debug, Default)]
pub(crate) struct Watch(Vec<News>);

impl Watch {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives what was noted in exchange for an empty list.
    pub(crate) fn swap(&mut self, empty: &mut Vec<News>) {
        std::mem::swap(&mut self.0, empty);
    }

    /// Notes what a step of the node at `at` came to.
    pub(crate) fn note(&mut self, at: usize, out: &Output) {
        for event in &out.events {
            let moment = match &event.kind {
                EventKind::Started { .. } => Moment::Started,
                EventKind::RoleChanged { .. } if event.role == Role::Candidate => Moment::Stands,
                EventKind::Elected { .. } => Moment::Elected,
                EventKind::Established { .. } => Moment::Established,
                EventKind::BecameExclusive { .. } => Moment::Exclusive,
                EventKind::RequestAnswered { kind: RequestKind::RequestVote, verdict, remainder, .. }
                    if verdict.is_granted() =>
                {
                    if remainder.is_zero() {
                        Moment::Votes
                    } else {
                        Moment::VotesEarly
                    }
                }
                EventKind::EvidenceFound { .. } => Moment::Doubts,
                EventKind::GuardRevoked { .. } => Moment::Revokes,
                EventKind::RequestSent { kind: RequestKind::TimeoutNow, .. } => Moment::HandsOver,
                EventKind::LeadershipEnded { work_running: false, .. } => Moment::Leaves,
                EventKind::LeadershipEnded { work_running: true, .. } => Moment::LeavesWorking,
                EventKind::Named { .. } => Moment::Named,
                _ => continue,
            };
            self.0.push(News { at, moment, length: Duration::ZERO });
        }
        let promised = |body: &ReplyBody| match body {
            ReplyBody::Append { promised, .. } => *promised,
            _ => Duration::ZERO,
        };
        let longest = out.replies.iter().map(|(_, reply)| promised(&reply.body)).max();
        if let Some(length) = longest.filter(|length| !length.is_zero()) {
            self.0.push(News { at, moment: Moment::Promises, length });
        }
    }
}

/// Which rare chains came about, and how often: an adversary that meets none of them proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chains {
    /// Elections that were the third within one promise, or a later one.
    pub three_leaders: u64,
    /// Elections while an earlier leader was still alone by its own clock: it was cut off, and alive.
    pub rivals: u64,
    /// Votes that were given while something was owed to another.
    pub early_grants: u64,
    /// Leaders that had to wait for what was owed before they were alone.
    pub waits: u64,
    /// Offices that were given up within a tenth of a promise.
    pub quick_resignations: u64,
    /// Processes that started while the one before still owed a promise.
    pub restarts_owing: u64,
    /// Hand-overs of which one side was gone, or cut off, within a promise.
    pub broken_transfers: u64,
    /// Leaders that left office with work running.
    pub left_working: u64,
    /// Votes of such a node before its own lease was over.
    pub votes_owing_itself: u64,
    /// Leaders elected while longer promises than theirs were owed to earlier ones.
    pub short_after_long: u64,
    /// Disks lost while what they promised was owed.
    pub wipes_owing: u64,
}

impl Chains {
    /// Each with its name.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 11] {
        [
            ("three leaders within one promise", self.three_leaders),
            ("elected while another was alone", self.rivals),
            ("early grants", self.early_grants),
            ("leaders that waited for what was owed", self.waits),
            ("resigned right after the election", self.quick_resignations),
            ("restarted while a promise was owed", self.restarts_owing),
            ("transfers that were broken", self.broken_transfers),
            ("left office with work running", self.left_working),
            ("votes that owed the voter's own lease", self.votes_owing_itself),
            ("a short promise after a long one", self.short_after_long),
            ("disks lost while a promise was owed", self.wipes_owing),
        ]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Chains) {
        self.three_leaders += other.three_leaders;
        self.rivals += other.rivals;
        self.early_grants += other.early_grants;
        self.waits += other.waits;
        self.quick_resignations += other.quick_resignations;
        self.restarts_owing += other.restarts_owing;
        self.broken_transfers += other.broken_transfers;
        self.left_working += other.left_working;
        self.votes_owing_itself += other.votes_owing_itself;
        self.short_after_long += other.short_after_long;
        self.wipes_owing += other.wipes_owing;
    }
}

/// What is remembered of a run to tell its chains.
#[derive(Debug)]
pub(super) struct Memory {
    promise: Duration,
    pub(super) chains: Chains,
    elected: Vec<Time>,
    /// By node.
    nodes: Vec<Node>,
}

/// What is remembered of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    elected: Option<Time>,
    waits: bool,
    promised_until: Time,
    working_until: Time,
    handed_over: Option<Time>,
}

/// What a moment looks like from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) now: Time,
    /// Whether another is alone by its own clock.
    pub(super) rival: bool,
    /// When the work that runs here ends at the latest.
    pub(super) works_until: Time,
    /// Whether the new leader must wait for what is owed.
    pub(super) owed: bool,
}

impl Memory {
    pub(super) fn new(nodes: usize, promise: Duration) -> Memory {
        Memory { promise, chains: Chains::default(), elected: Vec::new(), nodes: vec![Node::default(); nodes] }
    }

    pub(super) fn note(&mut self, news: News, scene: &Scene) {
        let now = scene.now;
        let chains = &mut self.chains;
        let node = &mut self.nodes[news.at];
        match news.moment {
            Moment::Elected => {
                let recent = self.elected.iter().rev().take_while(|then| **then + self.promise > now).count();
                chains.three_leaders += u64::from(recent >= 2);
                chains.rivals += u64::from(scene.rival);
                self.elected.push(now);
                *node = Node { elected: Some(now), waits: scene.owed, ..*node };
                let longest = self.nodes.iter().map(|node| node.promised_until).max().unwrap_or_default();
                chains.short_after_long += u64::from(longest > now + self.promise * 5 / 4);
            }
            Moment::Exclusive => chains.waits += u64::from(std::mem::take(&mut node.waits)),
            Moment::Promises => node.promised_until = node.promised_until.max(now + news.length),
            Moment::VotesEarly => {
                chains.early_grants += 1;
                chains.votes_owing_itself += u64::from(node.working_until > now);
            }
            Moment::Revokes | Moment::Leaves => {
                let quick = node.elected.take().is_some_and(|then| then + self.promise / 10 > now);
                chains.quick_resignations += u64::from(quick);
            }
            Moment::LeavesWorking => {
                chains.left_working += 1;
                node.working_until = scene.works_until;
            }
            Moment::HandsOver => node.handed_over = Some(now),
            Moment::Started => {
                chains.restarts_owing += u64::from(node.promised_until > now);
                node.working_until = Time::ZERO;
            }
            Moment::Established | Moment::Stands | Moment::Votes | Moment::Doubts | Moment::Named => {}
        }
    }

    /// Something was cut off, or ended.
    pub(super) fn harmed(&mut self, now: Time) {
        let recent = |node: &Node| node.handed_over.is_some_and(|then| then + self.promise > now);
        if self.nodes.iter().any(recent) {
            self.chains.broken_transfers += 1;
            self.nodes.iter_mut().for_each(|node| node.handed_over = None);
        }
    }

    /// A disk was lost.
    pub(super) fn wiped(&mut self, now: Time, at: usize) {
        self.chains.wipes_owing += u64::from(self.nodes[at].promised_until > now);
    }
}

impl Cluster {
    /// From now on it is noted what an adversary waits for.
    pub(crate) fn watch(&mut self) {
        self.watch = Some(Watch::default());
    }

    /// Lets virtual time pass to `end`, or until there is something to react to, or until so many steps were taken. Stops
    /// early at a violation.
    pub(crate) fn run_to(&mut self, end: Time, steps: u64) {
        let seen = |cluster: &Cluster| cluster.watch.as_ref().is_some_and(|watch| !watch.is_empty());
        if seen(self) {
            return;
        }
        self.run_while(end, |cluster| !seen(cluster) && cluster.steps < steps);
        if self.checker.violation().is_none() && !seen(self) && self.steps < steps {
            self.pass_to(end);
        }
    }

    /// Gives what was noted in exchange for an empty list.
    pub(crate) fn seen(&mut self, empty: &mut Vec<News>) {
        if let Some(watch) = &mut self.watch {
            watch.swap(empty);
        }
    }

    /// When the work that relies on being alone ends at the latest, in true time; it may have ended.
    pub(crate) fn works_until(&self, at: usize) -> Time {
        let host = &self.hosts[at];
        let work = host.user.work.as_ref().filter(|work| work.exclusive);
        work.map(|work| host.clock.when(work.until)).unwrap_or_default()
    }

    /// Whether the node at `at` leads, and is not alone before something that is owed has passed.
    pub(crate) fn must_wait(&self, at: usize) -> bool {
        let local = self.hosts[at].local(self.now);
        self.node(at).and_then(crate::node::Node::lease).is_some_and(|lease| lease.barrier > local)
    }
}
