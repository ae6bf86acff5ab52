//! How the users of a [`Cluster`] begin and end their work.

use super::Cluster;
use super::agenda::Happening;
use super::host::Life;
use super::user::Wish;
use crate::node::Input;
use crate::types::Term;

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
