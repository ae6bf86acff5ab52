//! Shows observers what happened, and asks the propagator. What panics of them is dismissed, and the election goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::collective::establishes;
use super::group::Group;
use super::pulse::is_heartbeat;
use crate::node::Output;
use crate::observer::{NoPropagator, Observer, Order, Propagator};
use crate::types::Time;

/// Who watches.
#[derive(Default)]
pub(super) struct Observers(Vec<Box<dyn Observer>>);

impl Observers {
    pub(super) fn new(observers: Vec<Box<dyn Observer>>) -> Observers {
        Observers(observers)
    }

    /// Everything that a step came to, before its messages leave.
    pub(super) fn show_output(&mut self, now: Time, group: &mut Group, out: &Output) {
        group.collective.note_output(now, out);
        for event in &out.events {
            self.show(|observer| observer.observe(event));
            if establishes(event) {
                let state = group.collective.tell(now, &group.node);
                self.show(|observer| observer.collective(&state));
            }
        }
        group.pulse.note_output(now, &group.node, out);
        if let Some(beats) = group.pulse.take_beats() {
            for beat in &beats {
                self.show(|observer| observer.beat(beat));
            }
            group.pulse.shown(beats);
        }
        self.show_news(now, group, out.requests.iter().any(is_heartbeat));
    }

    /// The whole group, where there is something new to be told of it.
    pub(super) fn show_news(&mut self, now: Time, group: &mut Group, round: bool) {
        if let Some(state) = group.collective.news(now, &group.node, round) {
            self.show(|observer| observer.collective(&state));
        }
    }

    pub(super) fn show_order(&mut self, order: &Order) {
        self.show(|observer| observer.order(order));
    }

    /// Shows something to each. One that panics is dismissed.
    pub(super) fn show(&mut self, what: impl Fn(&mut dyn Observer)) {
        self.0.retain_mut(|observer| {
            let shown = catch_unwind(AssertUnwindSafe(|| what(&mut **observer)));
            if shown.is_err() {
                tracing::error!(target: "hustings::driver", "an observer panicked, and gets no more events");
            }
            shown.is_ok()
        });
    }
}

/// Asks the propagator. One that panics is dismissed.
pub(super) fn ask<T>(
    propagator: &mut Box<dyn Propagator>,
    question: impl FnOnce(&mut dyn Propagator) -> T,
) -> Option<T> {
    let answer = catch_unwind(AssertUnwindSafe(|| question(&mut **propagator)));
    if answer.is_err() {
        tracing::error!(target: "hustings::driver", "the propagator panicked, and is asked no more");
        *propagator = Box::new(NoPropagator);
    }
    answer.ok()
}
