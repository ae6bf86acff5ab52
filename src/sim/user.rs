//! A simulated user: starts work when the guard permits it, and ends it some time after it was revoked.

use std::time::Duration;

use super::Cluster;
use super::agenda::Happening;
use super::chance::Chance;
use super::host::Life;
use crate::node::Input;
use crate::promise::Lease;
use crate::types::{Term, Time};

/// When a user's work may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWhen {
    /// Once the no-op is committed; a former leader may still be at work, the fence tells them apart.
    Elected,
    /// Once nothing is owed to a former leader.
    Exclusive,
}

/// How a user behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manners {
    /// When it starts; `None` never works.
    pub start: Option<StartWhen>,
    /// How long it hesitates before it starts.
    pub hesitation: (Duration, Duration),
    /// How long work goes on after its guard was revoked; the end of the lease ends it in any case.
    pub linger: (Duration, Duration),
    /// How long work takes that is done, or panics, by itself; `None` works until its guard is revoked.
    pub length: Option<(Duration, Duration)>,
}

impl Manners {
    /// A user that never works.
    #[must_use]
    pub fn idle() -> Manners {
        let none = (Duration::ZERO, Duration::ZERO);
        Manners { start: None, hesitation: none, linger: none, length: None }
    }

    /// A user that works whenever it is alone, and goes on for `linger` when it must stop.
    #[must_use]
    pub fn eager(linger: Duration) -> Manners {
        let none = (Duration::ZERO, Duration::ZERO);
        Manners { start: Some(StartWhen::Exclusive), hesitation: none, linger: (linger, linger), length: None }
    }
}

/// Work that runs.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Its fencing token.
    pub(crate) term: Term,
    /// Whether it relies on being alone.
    pub(crate) exclusive: bool,
    /// When it began, in true time.
    pub(crate) began: Time,
    /// The end of the lease as the guard last showed it, on the local clock: it has ended by then, whatever happens.
    pub(crate) until: Time,
    /// Whether the guard was seen revoked.
    pub(crate) cancelled: bool,
}

/// What the user wants to do later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Start work under this term, at this local time.
    Start(Term, Time),
    /// End it, at this local time.
    End(Time),
}

/// One node's user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) manners: Manners,
    pub(crate) work: Option<Work>,
    /// The term for which a start is planned.
    planned: Option<Term>,
    chance: Chance,
}

impl User {
    pub(crate) fn new(seed: u64, host: usize, manners: Manners) -> User {
        User { manners, work: None, planned: None, chance: Chance::stream(seed, &format!("user {host}")) }
    }

    /// The process is gone, and the work with it.
    pub(crate) fn forget(&mut self) {
        self.work = None;
        self.planned = None;
    }

    /// Looks at the guard, after each step of its node: the term that the node leads, with its lease.
    pub(crate) fn look(&mut self, now: Time, led: Option<(Term, &Lease)>) -> Option<Wish> {
        if self.work.is_some() { self.look_while_working(now, led) } else { self.plan(now, led?) }
    }

    fn look_while_working(&mut self, now: Time, led: Option<(Term, &Lease)>) -> Option<Wish> {
        let work = self.work.as_mut()?;
        let lease = led.filter(|(term, _)| *term == work.term).map(|(_, lease)| lease);
        if let Some(lease) = lease {
            // It also falls: when the members change, other promises make the lease.
            work.until = lease.end;
        }
        if work.cancelled || lease.is_some_and(|lease| !lease.revoked) {
            return None;
        }
        work.cancelled = true;
        let linger = self.chance.between(self.manners.linger);
        Some(Wish::End(now + linger))
    }

    fn plan(&mut self, now: Time, (term, lease): (Term, &Lease)) -> Option<Wish> {
        let when = self.manners.start?;
        if self.planned == Some(term) || lease.revoked || lease.committed_at == Time::NEVER {
            return None;
        }
        self.planned = Some(term);
        let from = if when == StartWhen::Exclusive { lease.begin() } else { now };
        Some(Wish::Start(term, from.max(now) + self.chance.between(self.manners.hesitation)))
    }

    /// The planned start has come: whether the guard still permits it.
    pub(crate) fn may_start(&mut self, now: Time, planned: Term, led: Option<(Term, &Lease)>) -> bool {
        self.planned = None;
        let Some((term, lease)) = led else { return false };
        let permitted = match self.manners.start {
            Some(StartWhen::Exclusive) => lease.is_exclusive(now),
            Some(StartWhen::Elected) => !lease.revoked && lease.committed_at <= now && now < lease.end,
            None => false,
        };
        term == planned && permitted && self.work.is_none()
    }

    /// The node has taken note of the start. Returns after how long the work ends by itself, if it does.
    pub(crate) fn start(&mut self, term: Term, began: Time, until: Time) -> Option<Duration> {
        let exclusive = self.manners.start == Some(StartWhen::Exclusive);
        self.work = Some(Work { term, exclusive, began, until, cancelled: false });
        self.manners.length.map(|length| self.chance.between(length))
    }
}

// ---- the user and its node ----
impl Cluster {
    /// Publishes what the node may claim, to its user and to the checker.
    pub(super) fn show_guard(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(process) = &host.process else { return };
        let local = host.clock.read(self.now);
        let led = process.node.lease().map(|lease| (process.node.term(), lease));
        let life = process.life;
        match host.user.look(local, led) {
            Some(Wish::Start(term, when)) => {
                let when = host.clock.when(when).max(self.now);
                self.agenda.plan(when, Happening::WorkStarts(at, life, term));
            }
            Some(Wish::End(when)) => {
                let term = host.user.work.as_ref().map(|work| work.term).unwrap_or_default();
                let when = host.clock.when(when).max(self.now);
                self.agenda.plan(when, Happening::WorkEnds(at, life, term));
            }
            None => {}
        }
        self.checker.claims(self.now, at, &self.hosts[at]);
    }

    pub(super) fn start_work(&mut self, at: usize, life: Life, term: Term) {
        let host = &mut self.hosts[at];
        let local = host.clock.read(self.now);
        let Some(process) = host.process.as_ref().filter(|process| process.life == life) else { return };
        let led = process.node.lease().map(|lease| (process.node.term(), lease));
        let until = process.node.lease().map(|lease| lease.end).unwrap_or_default();
        if !host.user.may_start(local, term, led) || process.paused.is_some() {
            return;
        }
        let length = host.user.start(term, self.now, until);
        self.step(at, Input::WorkStarted);
        let host = &mut self.hosts[at];
        let Some(process) = host.process.as_ref().filter(|process| process.life == life) else { return };
        if process.node.working() != Some(term) {
            host.user.work = None;
            return;
        }
        self.agenda.plan(self.now, Happening::WorkWatched(at, life));
        if let Some(length) = length {
            self.agenda.plan(self.now + length, Happening::WorkEnds(at, life, term));
        }
    }

    /// Work that ends by itself, because it is done or has panicked, gives the office up.
    pub(super) fn end_work(&mut self, at: usize, life: Life, term: Term) {
        let host = &self.hosts[at];
        let Some(work) = host.user.work.as_ref().filter(|work| host.lives(life) && work.term == term) else { return };
        let resigns = !work.cancelled;
        self.input(at, Input::WorkEnded);
        if resigns && self.hosts[at].lives(life) {
            self.input(at, Input::Resign);
        }
    }

    /// The user's future is dropped at the end of the lease, whatever it does.
    pub(super) fn watch_work(&mut self, at: usize, life: Life) {
        let host = &self.hosts[at];
        let local = host.local(self.now);
        let Some(work) = host.user.work.as_ref().filter(|_| host.lives(life)) else { return };
        if work.until <= local {
            self.input(at, Input::WorkEnded);
        } else {
            self.agenda.plan(host.clock.when(work.until), Happening::WorkWatched(at, life));
        }
    }
}
