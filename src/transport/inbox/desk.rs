//! Looks at who asks before the core does: a few comparisons, so that a flood of foreign requests costs next to nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::message::{Identity, Reason, Reply, ReplyBody, Request, Verdict};
use crate::observer::{Traffic, Workload};
use crate::types::{DiskId, Founding, GroupId, Incarnation, NodeId, Term, Time};

/// How many foreign nodes reach the core in a second, each once, so that it tells of them.
const FOREIGN_NAMES_MAX: usize = 8;
/// How many requests of nodes that no record lists reach the core in a second: a member that was added while this node was
/// away is one of them.
const STRANGERS_PER_SECOND: u32 = 32;
const SECOND: Duration = Duration::from_secs(1);

/// What the door knows of its node.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    known: Mutex<Known>,
    traffic: Arc<Traffic>,
    workload: Arc<Workload>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Known {
    /// What this node says of itself to a stranger, for each group.
    groups: BTreeMap<GroupId, Arc<Identity>>,
    members: BTreeMap<NodeId, Waiting>,
    /// Who of the foreign was let in, and when.
    foreign: BTreeMap<NodeId, Time>,
    strangers: Budget,
}

/// How many requests wait under one name.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(super) fn take(&self, limit: usize) -> bool {
        let more = |waiting| (waiting < limit).then_some(waiting + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn give_back(&self) {
        let less = |waiting: usize| waiting.checked_sub(1);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Where a request goes.
pub(super) enum Lane {
    Member(Waiting),
    Stranger,
    /// To whoever is at the other end: no driver has said who it is.
    Unknown,
    Refused(Box<Reply>),
}

/// So many in a second.
#[derive(Debug, Default)]
pub(in crate::transport) struct Budget {
    second: Time,
    spent: u32,
}

impl Budget {
    pub(in crate::transport) fn allows(&mut self, now: Time, limit: u32) -> bool {
        if now.since(self.second) >= SECOND {
            *self = Budget { second: now, spent: 0 };
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= limit
    }
}

impl Known {
    /// Whether a foreign node is told of now: each once in a second.
    fn lets_in(&mut self, node: &NodeId, now: Time) -> bool {
        self.foreign.retain(|_, at| now.since(*at) < SECOND);
        let lets_in = self.foreign.len() < FOREIGN_NAMES_MAX && !self.foreign.contains_key(node);
        if lets_in {
            self.foreign.insert(node.clone(), now);
        }
        lets_in
    }
}

impl Desk {
    pub(super) fn with_clock(clock: Clock) -> Desk {
        let traffic = Arc::<Traffic>::default();
        Desk { workload: Arc::new(Workload::new(traffic.clone())), traffic, clock, known: Mutex::default() }
    }

    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    pub(super) fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    /// A group that is served here.
    pub(crate) fn serve(&self, who: &Identity) {
        self.known().groups.insert(who.group.clone(), Arc::new(stranger_s_view(who)));
    }

    /// The nodes that the newest records of all groups list.
    pub(crate) fn list<'a>(&self, members: impl Iterator<Item = &'a NodeId>) {
        let mut known = self.known();
        let mut before = std::mem::take(&mut known.members);
        for member in members {
            known.members.entry(member.clone()).or_insert_with(|| before.remove(member).unwrap_or_default());
        }
    }

    /// A request of that node waits no longer.
    pub(crate) fn took(&self, node: &NodeId) {
        if let Some(waiting) = self.known().members.get(node) {
            waiting.give_back();
        }
    }

    /// Where a request goes that `peer` sent, if the transport knows who that is.
    pub(super) fn lane(&self, request: &Request, peer: Option<&NodeId>) -> Lane {
        let mut known = self.known();
        let Some(any) = known.groups.values().next() else { return Lane::Unknown };
        let from = &request.from;
        let here = known.groups.get(&from.group);
        let foreign = here.is_none() || from.cluster != any.cluster || request.to != any.node;
        if foreign {
            let who = here.unwrap_or(any).clone();
            return match known.lets_in(&from.node, self.clock.now()) {
                true => Lane::Stranger,
                false => Lane::Refused(Box::new(refusal(who, request, Reason::WrongCluster))),
            };
        }
        let honest = peer.is_none_or(|peer| *peer == from.node);
        match known.members.get(&from.node).filter(|_| honest) {
            Some(waiting) => Lane::Member(waiting.clone()),
            None => {
                let who = any.clone();
                match known.strangers.allows(self.clock.now(), STRANGERS_PER_SECOND) {
                    true => Lane::Stranger,
                    false => Lane::Refused(Box::new(refusal(who, request, Reason::Overloaded))),
                }
            }
        }
    }

    /// Held for a few comparisons, by everyone.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names, and nothing that a stranger could use.
fn stranger_s_view(who: &Identity) -> Identity {
    Identity {
        founding: Founding(0),
        disk: DiskId(0),
        incarnation: Incarnation(0),
        timing: 0,
        priority: 0,
        amnesiac: false,
        ..who.clone()
    }
}

fn refusal(who: Arc<Identity>, request: &Request, reason: Reason) -> Reply {
    Reply {
        from: who,
        to: request.from.holder(),
        id: request.id,
        kind: request.body.kind(),
        term: Term::default(),
        verdict: Verdict::Refused(reason),
        worked: Duration::ZERO,
        body: ReplyBody::None,
    }
}
