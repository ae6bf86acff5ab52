//! Work under a leadership, as its holder and its spectators see it.
//!
//! The office is held by guards, one for all who hold it, and each holder has a tenure of its own in it. A tenure ends when
//! its holder lets go, or when the office does. Whoever shares a tenure without holding it is a spectator: it hears *no*
//! from the end on, and keeps nothing alive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio_util::sync::CancellationToken;

use super::Handle;
use super::command::{Command, Guard, Mail, Parcel};
use super::office::{LossCause, Office, Phase};
use super::watchman::{self, Watched};
use crate::message::Identity;
use crate::types::Time;

/// One holder's time in an office.
#[derive(Debug)]
pub(crate) struct Tenure {
    pub(crate) who: Arc<Identity>,
    pub(crate) office: Arc<Office>,
    group: usize,
    mail: Mail,
    /// Taken out at the end.
    guard: Mutex<Option<Arc<Guard>>>,
    over: AtomicBool,
    cause: OnceLock<LossCause>,
    token: CancellationToken,
    /// The holder, where users hold it by handles that they may forget to drop.
    handles: Option<Weak<Hold>>,
}

/// Holds an office: dropped, it ends the tenure, and with the last tenure the office.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Tenure>);

impl Hold {
    /// For work that ends before this is dropped, in every way out.
    pub(crate) fn of_work(guard: Arc<Guard>) -> Hold {
        let tenure = Arc::new(Tenure::new(guard, None));
        tenure.watch();
        Hold(tenure)
    }

    /// For handles that users keep: all of them share this, and count for nothing once the office has been given up for as
    /// long as the drain limit.
    pub(crate) fn of_handles(guard: Arc<Guard>) -> Arc<Hold> {
        let hold = Arc::new_cyclic(|hold| Hold(Arc::new(Tenure::new(guard, Some(hold.clone())))));
        hold.0.watch();
        hold
    }

    pub(crate) fn tenure(&self) -> &Arc<Tenure> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.end(LossCause::WorkEnded);
    }
}

impl Tenure {
    fn new(guard: Arc<Guard>, handles: Option<Weak<Hold>>) -> Tenure {
        Tenure {
            who: guard.who.clone(),
            office: guard.office.clone(),
            group: guard.group,
            mail: guard.mail.clone(),
            token: guard.office.token().child_token(),
            guard: Mutex::new(Some(guard)),
            over: AtomicBool::new(false),
            cause: OnceLock::new(),
            handles,
        }
    }

    fn watch(self: &Arc<Tenure>) {
        let watched: Weak<Tenure> = Arc::downgrade(self);
        watchman::watch(watched, self.office.look_at(self.office.now()), self.office.clock());
    }

    /// Whether this tenure lasts and its office's guard says yes. The first *no* is the last word.
    pub(crate) fn holds(&self, now: Time) -> bool {
        !self.over.load(Ordering::Acquire) && self.office.holds(now)
    }

    /// Until when, unless the lease is renewed; [`Time::ZERO`] once it is over.
    pub(crate) fn valid_until(&self) -> Time {
        if self.over.load(Ordering::Acquire) { Time::ZERO } else { self.office.valid_until() }
    }

    /// Why it is over or being given up, once it is.
    pub(crate) fn cause(&self) -> Option<LossCause> {
        self.office.cause().or(self.cause.get().copied())
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Waits until the tenure is over or the office is being given up, and says why.
    pub(crate) async fn lost(&self) -> LossCause {
        self.token.cancelled().await;
        // The cause is set before the token is cancelled.
        self.cause().unwrap_or(LossCause::Stopped)
    }

    /// Whether it is in an office of that elector.
    pub(crate) fn is_of(&self, handle: &Handle) -> bool {
        self.group == handle.group && self.mail.is_same(&handle.mail)
    }

    pub(crate) fn send(&self, command: Command) -> bool {
        self.mail.send(Parcel::Command(self.group, command))
    }

    /// Ends it: spectators hear *no*, and the guard is let go of.
    fn end(&self, cause: LossCause) {
        let _ = self.cause.set(cause);
        self.over.store(true, Ordering::Release);
        self.token.cancel();
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(guard);
    }

    /// Ends what handles hold beyond the drain limit, and says how many live.
    fn abandon(&self, handles: &Weak<Hold>) {
        tracing::warn!(
            target: "hustings::election", group = %self.who.group, term = self.office.term.0, handles = handles.strong_count(),
            "leaderships that campaign() returned are still held although the drain limit is over: they count for nothing \
             any more, and this node may lead again"
        );
        self.end(LossCause::WorkEnded);
    }
}

impl Watched for Tenure {
    fn look(&self, now: Time) -> Time {
        let was_open = self.office.phase() == Phase::Open;
        self.office.tick(now);
        if was_open && self.office.phase() != Phase::Open {
            // E11: the office ends with the guard, whatever was acknowledged meanwhile.
            self.send(Command::Lapsed);
        }
        let next = self.office.look_at(now);
        match &self.handles {
            Some(handles) if now >= self.office.abandoned_at() => {
                if handles.strong_count() > 0 {
                    self.abandon(handles);
                }
                Time::NEVER
            }
            Some(_) => next.min(self.office.abandoned_at()),
            None => next,
        }
    }
}
