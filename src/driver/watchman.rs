//! Watches over work, so that it ends with its lease whatever becomes of the driver and of the runtime it runs on.
//!
//! One thread for the whole process, which does nothing but wait for the next end of a lease. A driver that stands still,
//! has panicked or is gone moves no lease on, and so the end that it published last is the end. A lease that is renewed is
//! looked at about once in its length.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{self, Alarm, Clock};
use crate::types::Time;

/// When something is looked at again whose waker panicked.
const AFTER_PANIC: Duration = Duration::from_millis(1);

/// What is watched.
pub(super) trait Watched: Send + Sync {
    /// Looks at the clock, ends what has had its time, and says when to look again: [`Time::NEVER`] for never.
    fn look(&self, now: Time) -> Time;
}

/// Looks at it now and then, as it asks for, until it is dropped.
pub(super) fn watch(watched: Weak<dyn Watched>, first: Time, clock: &Clock) {
    if clock.is_real() {
        Watch::of_the_process().enter(first, watched);
    } else {
        // Each a thread of its own: a simulation keeps those it asked for, and no other's.
        let (mut timer, now) = (clock.timer(), clock.clone());
        let body = async move {
            let mut next = first;
            while next != Time::NEVER {
                timer.until(next).await;
                next = watched.upgrade().map_or(Time::NEVER, |watched| watched.look(now.now()));
            }
        };
        let _ = clock.thread("hustings-watch", body);
    }
}

struct Watch {
    book: Mutex<Book>,
    alarm: Alarm,
}

#[derive(Default)]
struct Book {
    entries: BTreeMap<(Time, u64), Weak<dyn Watched>>,
    next: u64,
}

impl Watch {
    fn of_the_process() -> &'static Watch {
        static WATCH: OnceLock<Watch> = OnceLock::new();
        static THREAD: OnceLock<()> = OnceLock::new();
        let watch = WATCH.get_or_init(|| Watch { book: Mutex::default(), alarm: Alarm::new() });
        THREAD.get_or_init(|| {
            let thread = std::thread::Builder::new().name("hustings-watch".into()).spawn(|| watch.keep());
            if let Err(error) = thread {
                tracing::error!(
                    target: "hustings::driver", %error,
                    "no thread to watch over work: a driver that stands still cannot end it"
                );
            }
        });
        watch
    }

    fn enter(&self, at: Time, watched: Weak<dyn Watched>) {
        let mut book = self.book();
        let number = book.next;
        book.next += 1;
        book.entries.insert((at, number), watched);
        if book.first() == Some((at, number)) {
            self.alarm.set(at);
        }
    }

    fn keep(&self) {
        loop {
            self.alarm.wait();
            while let Some(watched) = self.due() {
                let Some(watched) = watched.upgrade() else { continue };
                // A waker is the user's code: one that panics ends neither the watch nor another's.
                let next = catch_unwind(AssertUnwindSafe(|| watched.look(clock::now())));
                match next.unwrap_or_else(|_| clock::now() + AFTER_PANIC) {
                    Time::NEVER => {}
                    next => self.enter(next, Arc::downgrade(&watched)),
                }
            }
        }
    }

    /// Takes out what is due; if nothing is, the alarm is set for what will be.
    fn due(&self) -> Option<Weak<dyn Watched>> {
        let mut book = self.book();
        let (at, number) = book.first()?;
        if at > clock::now() {
            self.alarm.set(at);
            return None;
        }
        book.entries.remove(&(at, number))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn first(&self) -> Option<(Time, u64)> {
        self.entries.first_key_value().map(|(key, _)| *key)
    }
}
