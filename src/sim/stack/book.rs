//! What users do, written down by themselves: what is judged is what they did, and not what the library tells of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::world::{LaneId, World, lock};
use crate::elector::{CancelToken, Leadership, StartWhen};
use crate::event::{Event, EventKind};
use crate::sim::check::Violation;
use crate::sim::log::{Detail, Log};
use crate::types::{NodeId, Term};

/// The book. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Book {
    world: World,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Debug)]
pub(super) struct Pages {
    pub(super) works: BTreeMap<u64, Work>,
    pub(super) calls: BTreeMap<u64, Call>,
    /// How many of each member wait for leadership, or have it.
    pub(super) contenders: Vec<usize>,
    /// The leaderships that each process was given.
    given: Vec<Vec<(u64, CancelToken)>>,
    /// The highest fence of an act that relied on being alone.
    highest: u64,
    elected: BTreeMap<Term, NodeId>,
    pub(super) exclusive: usize,
    violation: Option<Violation>,
    log: Log,
    next: u64,
}

/// Work that runs.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) at: usize,
    pub(super) lane: LaneId,
    pub(super) fence: u64,
    /// It relies on being alone.
    pub(super) alone: bool,
    /// It acts by itself, and does not just wait.
    pub(super) acts: bool,
    /// Tells it to end.
    pub(super) token: CancelToken,
}

/// A call of the library that has not returned.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: usize,
    pub(super) what: &'static str,
    /// What is left of its bound: time in which its process could not go on is not counted.
    pub(super) left: Duration,
}

/// Something that is written in the book until this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    book: Book,
    what: Kind,
}

#[derive(Debug)]
enum Kind {
    Work(u64),
    Call(u64),
    Contender(usize),
}

impl Book {
    pub(super) fn new(world: &World, members: usize, detail: Detail) -> Book {
        let pages = Pages {
            works: BTreeMap::new(),
            calls: BTreeMap::new(),
            contenders: vec![0; members],
            given: vec![Vec::new(); members],
            highest: 0,
            elected: BTreeMap::new(),
            exclusive: 0,
            violation: None,
            log: Log::new(detail),
            next: 0,
        };
        Book { world: world.clone(), pages: Arc::new(Mutex::new(pages)) }
    }

    /// Reads the pages, or writes on them.
    pub(super) fn with<T>(&self, read: impl FnOnce(&mut Pages) -> T) -> T {
        read(&mut lock(&self.pages))
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        lock(&self.pages).violation.clone()
    }

    /// The first one is kept.
    pub(super) fn report(&self, property: &'static str, text: String) {
        let time = self.world.now();
        lock(&self.pages).violation.get_or_insert(Violation { property, time, text });
    }

    pub(super) fn note(&self, name: &NodeId, what: &str) {
        lock(&self.pages).log.note(self.world.now(), name, what);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        lock(&self.pages).log.fingerprint()
    }

    pub(super) fn take_log(&self) -> Vec<String> {
        lock(&self.pages).log.take()
    }

    pub(super) fn elections(&self) -> usize {
        lock(&self.pages).elected.len()
    }

    /// An event of a node. S1: one leader per term.
    pub(super) fn event(&self, event: &Event) {
        let now = self.world.now();
        let pages = &mut *lock(&self.pages);
        pages.log.event(now, event);
        if let EventKind::Elected { .. } = event.kind {
            let first = pages.elected.entry(event.term).or_insert_with(|| event.who.node.clone());
            if *first != event.who.node {
                let text = format!("term {} has two leaders: {first} and {}", event.term.0, event.who.node);
                pages.violation.get_or_insert(Violation { property: "S1", time: now, text });
            }
        }
    }

    /// A new process at `at` was given nothing yet.
    pub(super) fn forget(&self, at: usize) {
        lock(&self.pages).given[at].clear();
    }

    /// Work begins. F2: what this process was given before is lost by now. F1: its fence is above all before it.
    pub(super) fn begin(&self, at: usize, lane: LaneId, lead: &Leadership) -> Entry {
        let (fence, alone) = (lead.fence().get(), lead.started_when() == StartWhen::Exclusive);
        let now = self.world.now();
        let pages = &mut *lock(&self.pages);
        let fail = |violation: &mut Option<Violation>, property, text| {
            violation.get_or_insert(Violation { property, time: now, text });
        };
        if let Some((old, _)) = pages.given[at].iter().find(|(old, token)| *old != fence && !token.is_cancelled()) {
            let text = format!("member {at} has work of term {fence}, and was not told that {old} is lost");
            fail(&mut pages.violation, "F2", text);
        }
        if pages.given[at].iter().all(|(old, _)| *old != fence) {
            pages.given[at].push((fence, lead.token()));
            pages.exclusive += usize::from(alone);
        }
        if let Some(old) = pages.works.values().find(|work| work.at == at && work.acts && work.fence != fence) {
            let text = format!("member {at} has work of term {fence} while that of {} runs", old.fence);
            fail(&mut pages.violation, "F2", text);
        }
        if alone && fence < pages.highest {
            let text = format!("member {at} begins with fence {fence} after an act with {}", pages.highest);
            fail(&mut pages.violation, "F1", text);
        }
        pages.next += 1;
        let number = pages.next;
        pages.works.insert(number, Work { at, lane, fence, alone, acts: true, token: lead.token() });
        pages.log.deed(now, at, fence, "begins");
        Entry { book: self.clone(), what: Kind::Work(number) }
    }

    /// An act, if the guard says yes. E1: nobody else is alone at this moment; F1: nobody with a larger fence was before.
    pub(super) fn act(&self, at: usize, lead: &Leadership) -> bool {
        if !lead.is_valid() {
            return false;
        }
        if !lead.is_exclusive() {
            return true;
        }
        let fence = lead.fence().get();
        let now = self.world.now();
        let pages = &mut *lock(&self.pages);
        pages.log.deed(now, at, fence, "acts");
        let rival = |work: &&Work| work.at != at && work.alone && work.acts && !self.world.stands(work.lane);
        if let Some(work) = pages.works.values().find(rival) {
            let text =
                format!("member {at} acts with {fence} while member {} works alone with {}", work.at, work.fence);
            pages.violation.get_or_insert(Violation { property: "E1", time: now, text });
        }
        if fence < pages.highest {
            let text = format!("member {at} acts alone with fence {fence} after an act with {}", pages.highest);
            pages.violation.get_or_insert(Violation { property: "E1", time: now, text });
        }
        pages.highest = pages.highest.max(fence);
        true
    }

    pub(super) fn contend(&self, at: usize) -> Entry {
        lock(&self.pages).contenders[at] += 1;
        Entry { book: self.clone(), what: Kind::Contender(at) }
    }

    /// A call begins that must have returned before so much time has passed.
    pub(super) fn call(&self, at: usize, what: &'static str, bound: Duration) -> Entry {
        let now = self.world.now();
        let pages = &mut *lock(&self.pages);
        pages.next += 1;
        let number = pages.next;
        pages.calls.insert(number, Call { at, what, left: bound });
        pages.log.deed(now, at, 0, what);
        Entry { book: self.clone(), what: Kind::Call(number) }
    }
}

impl Entry {
    /// The work does nothing until further notice but wait for the library, or acts again.
    pub(super) fn acts(&self, acts: bool) {
        if let Kind::Work(number) = self.what
            && let Some(work) = lock(&self.book.pages).works.get_mut(&number)
        {
            work.acts = acts;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now = self.book.world.now();
        let pages = &mut *lock(&self.book.pages);
        match self.what {
            Kind::Work(number) => {
                if let Some(work) = pages.works.remove(&number) {
                    pages.log.deed(now, work.at, work.fence, "ends");
                }
            }
            Kind::Call(number) => {
                if let Some(call) = pages.calls.remove(&number) {
                    pages.log.deed(now, call.at, 1, call.what);
                }
            }
            Kind::Contender(at) => pages.contenders[at] -= 1,
        }
    }
}
