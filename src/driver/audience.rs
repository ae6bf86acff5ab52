//! The observers and the propagator, on their own thread. What panics of them is dismissed, and the election goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::show::{Ask, Contexts, Showing};
use crate::clock::Clock;
use crate::observer::{Observer, Propagator, Workload};
use crate::types::{GroupId, TraceContext};

/// Where the context of a group's newest election stands. Nobody holds it for longer than a copy takes.
pub(super) type Cell = Mutex<TraceContext>;

/// Everyone who watches.
pub(super) struct Audience {
    observers: Vec<Box<dyn Observer>>,
    propagator: Option<Box<dyn Propagator>>,
    groups: Vec<(GroupId, Arc<Cell>)>,
    pace: Pace,
}

/// Measures how far behind they are.
pub(super) struct Pace {
    workload: Arc<Workload>,
    clock: Clock,
    /// What had been left out when it was last told.
    told: (u64, u64),
}

impl Audience {
    pub(super) fn new(
        observers: Vec<Box<dyn Observer>>,
        propagator: Option<Box<dyn Propagator>>,
        groups: Vec<(GroupId, Arc<Cell>)>,
        pace: Pace,
    ) -> Audience {
        Audience { observers, propagator, groups, pace }
    }

    /// Takes parcels until the driver is gone, and drops everyone then.
    pub(super) async fn watch(mut self, mut queue: mpsc::UnboundedReceiver<Vec<Showing>>) {
        'watching: while let Some(parcel) = queue.recv().await {
            for showing in parcel {
                if matches!(showing, Showing::End) {
                    break 'watching;
                }
                self.pace.begin();
                self.take(showing);
                self.pace.end();
            }
            self.pace.tell_losses();
        }
        for observer in self.observers.drain(..) {
            // Its destructor is the user's as well.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(observer)));
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.propagator.take())));
    }

    fn take(&mut self, showing: Showing) {
        match showing {
            Showing::Attach(vitals) => self.show(|observer| observer.attach(&vitals)),
            Showing::Event(event) => self.show(|observer| observer.observe(&event)),
            Showing::Beat(beat) => self.show(|observer| observer.beat(&beat)),
            Showing::Collective(state) => self.show(|observer| observer.collective(&state)),
            Showing::Order(order) => self.show(|observer| observer.order(&order)),
            // A subscriber that panics harms nobody else.
            Showing::Say(what) => drop(catch_unwind(AssertUnwindSafe(what))),
            Showing::Office(group, office) => office.introduce(self.publish_election(group)),
            Showing::Ask(ask) => self.answer(ask),
            Showing::End => {}
        }
    }

    /// Shows something to each. One that panics is dismissed.
    fn show(&mut self, what: impl Fn(&mut dyn Observer)) {
        self.observers.retain_mut(|observer| {
            let shown = catch_unwind(AssertUnwindSafe(|| what(&mut **observer)));
            if shown.is_err() {
                dismissed("an observer panicked, and gets no more events");
            }
            shown.is_ok()
        });
    }

    fn answer(&mut self, ask: Ask) {
        let Ask { group, request, answer } = ask;
        let election = self.publish_election(group);
        let request = match (request, self.groups.get(group)) {
            (Some(id), Some((name, _))) => question(&mut self.propagator, |by| by.request(name, id)),
            _ => TraceContext::NONE,
        };
        // Nobody waits any more for what comes too late.
        let _ = answer.send(Contexts { request, election });
    }

    /// Asks for the newest election of a group, and leaves the answer where the loop finds it.
    fn publish_election(&mut self, group: usize) -> TraceContext {
        let Some((name, cell)) = self.groups.get(group) else { return TraceContext::NONE };
        let election = question(&mut self.propagator, |propagator| propagator.election(name));
        *cell.lock().unwrap_or_else(PoisonError::into_inner) = election;
        election
    }
}

/// Asks the propagator. One that panics is dismissed.
fn question(
    propagator: &mut Option<Box<dyn Propagator>>,
    about: impl FnOnce(&mut dyn Propagator) -> TraceContext,
) -> TraceContext {
    let Some(asked) = propagator else { return TraceContext::NONE };
    match catch_unwind(AssertUnwindSafe(|| about(&mut **asked))) {
        Ok(context) => context,
        Err(_) => {
            dismissed("the propagator panicked, and is asked no more");
            *propagator = None;
            TraceContext::NONE
        }
    }
}

fn dismissed(words: &'static str) {
    let _ = catch_unwind(|| tracing::error!(target: "hustings::driver", "{words}"));
}

impl Pace {
    pub(super) fn new(workload: Arc<Workload>, clock: Clock) -> Pace {
        Pace { workload, clock, told: (0, 0) }
    }

    fn begin(&self) {
        self.workload.observers().begin(self.clock.now());
    }

    fn end(&self) {
        self.workload.observers().end();
    }

    /// What was left out, once they have caught up.
    fn tell_losses(&mut self) {
        let backlog = self.workload.observers();
        let lost = (backlog.samples_left_out(), backlog.events_left_out());
        if backlog.waiting() > 0 || lost == self.told {
            return;
        }
        let (samples, events) = (lost.0 - self.told.0, lost.1 - self.told.1);
        self.told = lost;
        let told = || {
            tracing::warn!(
                target: "hustings::driver", samples, events,
                "the observers were behind: heartbeat samples and events were not shown to them"
            );
        };
        let _ = catch_unwind(AssertUnwindSafe(told));
    }
}
