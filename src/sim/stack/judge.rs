//! What is looked at whenever the world comes to rest, over all members and in true time.

use std::time::Duration;

use super::book::{Book, Work};
use super::user::Process;
use super::world::World;
use crate::config::Timing;
use crate::elector::Elector;
use crate::event::Role;
use crate::transport::Health;
use crate::types::{Term, Time};

/// What it remembers from one rest to the next.
#[derive(Debug)]
pub(super) struct Judge {
    /// For each member the term that it leads without work, whether work was told to end and has not, and for how long
    /// that has been so.
    idle: Vec<Option<(Term, bool, Duration)>>,
    /// For how long the driver of each has stood still.
    stood: Vec<Duration>,
    /// For how long nobody has led although all could.
    leaderless: Duration,
}

impl Judge {
    pub(super) fn new(members: usize) -> Judge {
        Judge { idle: vec![None; members], stood: vec![Duration::ZERO; members], leaderless: Duration::ZERO }
    }

    /// Everybody rests, and will until `until`.
    pub(super) fn rest(&mut self, scene: &Scene<'_>, until: Time) {
        let now = scene.world.now();
        if until == Time::NEVER {
            return;
        }
        let rest = until.since(now);
        scene.nobody_works_beside_another();
        self.note_leader(scene, rest);
        for at in 0..scene.processes.len() {
            self.note_idle(scene, at, rest);
            self.note_health(scene, at, rest);
            scene.charge_calls(at, rest);
        }
    }

    /// V1: somebody leads, if all can vote and nothing is wrong.
    fn note_leader(&mut self, scene: &Scene<'_>, rest: Duration) {
        let electors: Vec<Elector> = scene.processes.iter().flatten().filter_map(Process::elector).collect();
        let able = (0..scene.processes.len()).all(|at| scene.is_fit(at))
            && electors.len() == scene.processes.len()
            && electors.iter().all(|elector| elector.health() == Health::Serving);
        let leads = electors.iter().any(|elector| elector.view().role == Role::Leader);
        self.leaderless = if scene.calm && able && !leads { self.leaderless + rest } else { Duration::ZERO };
        if self.leaderless > scene.timing.election_timeout_min * 10 {
            scene.book.report("V1", "nobody leads, and nothing has been wrong for 10 election timeouts".into());
        }
    }

    /// E12: no office without work while somebody contends in contact.
    fn note_idle(&mut self, scene: &Scene<'_>, at: usize, rest: Duration) {
        let Some((term, drains)) = scene.leads_without_work(at) else {
            self.idle[at] = None;
            return;
        };
        let waiting = match self.idle[at] {
            Some((same, same_way, waiting)) if (same, same_way) == (term, drains) => waiting,
            _ => Duration::ZERO,
        };
        let waiting = waiting + if scene.is_fit(at) { rest } else { Duration::ZERO };
        self.idle[at] = Some((term, drains, waiting));
        // The barrier of a new leader may take a whole promise before any work may begin.
        let patience = scene.timing.election_timeout_min * 2 + scene.timing.promise_max;
        if drains && waiting > patience + scene.drain_limit {
            let calls: Vec<&str> = scene
                .book
                .with(|pages| pages.calls.values().filter(|call| call.at == at).map(|call| call.what).collect());
            let text =
                format!("member {at} leads term {} for {waiting:?} while its guard says no (calls: {calls:?})", term.0);
            scene.book.report("E11", text);
        } else if !drains && waiting > patience {
            let user = scene.processes[at].as_ref().map(|process| process.usage.work);
            let text = format!(
                "member {at} ({user:?}) leads term {} without work for {waiting:?}, and somebody contends",
                term.0
            );
            scene.book.report("E12", text);
        }
    }

    /// Whoever stands still does not call itself serving.
    fn note_health(&mut self, scene: &Scene<'_>, at: usize, rest: Duration) {
        let stands = scene.driver_stands(at);
        if stands && self.stood[at] > scene.timing.election_timeout_max * 3 {
            let elector = scene.processes[at].as_ref().and_then(Process::elector);
            if elector.is_some_and(|elector| elector.health() == Health::Serving) {
                scene
                    .book
                    .report("health", format!("member {at} calls itself serving: it stands for {:?}", self.stood[at]));
            }
        }
        self.stood[at] = if stands { self.stood[at] + rest } else { Duration::ZERO };
    }
}

/// What there is to see.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) world: &'a World,
    pub(super) book: &'a Book,
    pub(super) processes: &'a [Option<Process>],
    pub(super) timing: &'a Timing,
    pub(super) drain_limit: Duration,
    /// Nothing is cut, lost or broken just now.
    pub(super) calm: bool,
}

impl Scene<'_> {
    /// E1: work that relies on being alone is alone. Work whose thread stands still does nothing.
    fn nobody_works_beside_another(&self) {
        let works = |work: &&Work| work.alone && work.acts && !self.world.stands(work.lane);
        let both = self.book.with(|pages| {
            let mut alone = pages.works.values().filter(works);
            let first = alone.next()?;
            let other = alone.find(|work| work.at != first.at)?;
            Some((first.at, first.fence, other.at, other.fence))
        });
        if let Some((a, fence_a, b, fence_b)) = both {
            let text = format!("work runs alone at member {a} with fence {fence_a} and at {b} with {fence_b}");
            self.book.report("E1", text);
        }
    }

    fn driver_stands(&self, at: usize) -> bool {
        let Some(process) = &self.processes[at] else { return false };
        process.machine.thread_named("hustings").is_some_and(|lane| self.world.stands(lane))
    }

    /// Every thread of it goes on.
    fn is_fit(&self, at: usize) -> bool {
        let Some(process) = &self.processes[at] else { return false };
        let threads = process.machine.threads().into_iter().chain([process.machine.user]);
        threads.into_iter().all(|lane| !self.world.stands(lane))
    }

    /// The term that it leads, if nobody works there although somebody would; and whether there is work that was told to
    /// end, and has not.
    fn leads_without_work(&self, at: usize) -> Option<(Term, bool)> {
        let elector = self.processes[at].as_ref()?.elector()?;
        let view = elector.view();
        if !self.calm || view.role != Role::Leader || elector.health() != Health::Serving {
            return None;
        }
        let (works, contenders) = self.book.with(|pages| {
            let own: Vec<bool> =
                pages.works.values().filter(|work| work.at == at).map(|work| work.token.is_cancelled()).collect();
            (own, pages.contenders.clone())
        });
        let follows = |other: usize| {
            let elector = self.processes[other].as_ref().and_then(Process::elector);
            let same = |elector: &Elector| {
                let theirs = elector.view();
                theirs.leader == view.leader && theirs.term == view.term && elector.health() == Health::Serving
            };
            contenders[other] > 0 && self.is_fit(other) && elector.as_ref().is_some_and(same)
        };
        let idle = works.iter().all(|cancelled| *cancelled);
        (idle && (0..self.processes.len()).any(follows)).then_some((view.term, !works.is_empty()))
    }

    /// Every call returns within its bound, not counting what its process stood still.
    fn charge_calls(&self, at: usize, rest: Duration) {
        if !self.is_fit(at) {
            return;
        }
        let late = self.book.with(|pages| {
            let mut late = None;
            for call in pages.calls.values_mut().filter(|call| call.at == at) {
                if call.left.is_zero() {
                    late = Some(call.what);
                }
                call.left = call.left.saturating_sub(rest);
            }
            late
        });
        if let Some(what) = late {
            self.book.report("bounded", format!("`{what}` of member {at} does not return"));
        }
    }
}
