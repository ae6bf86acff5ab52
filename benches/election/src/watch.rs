//! The driver's part of a step: its pulse, the collective state, the observers, the propagator. The first two are private to
//! the library, and compiled once more from the same files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hustings::node::{Input, Node, Output};
use hustings::observer::{Observer, Propagator};
use hustings::types::{GroupId, Time, TraceContext};

use self::collective::Collective;
use self::pulse::{Pulse, is_heartbeat};
use crate::observer::{Vitals, Workload};

#[path = "../../../src/driver/collective.rs"]
#[allow(unreachable_pub, dead_code, reason = "the library's file")]
mod collective;
#[path = "../../../src/driver/pulse.rs"]
#[allow(unreachable_pub, dead_code, reason = "the library's file")]
mod pulse;

/// Who watches a member, and how much of it.
#[derive(Debug)]
pub struct Watch {
    pulse: Option<Pulse>,
    collective: Collective,
    every: u64,
    telemetry: Option<Telemetry>,
    group: GroupId,
}

struct Telemetry {
    observer: Box<dyn Observer>,
    propagator: Box<dyn Propagator>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Watch {
    /// What the driver does without telemetry: it counts, and remembers what the others said.
    #[must_use]
    pub fn counting() -> Watch {
        Watch {
            pulse: None,
            collective: Collective::new(),
            every: u64::MAX,
            telemetry: None,
            group: GroupId::default(),
        }
    }

    /// With telemetry, and one round of heartbeats picked in so many.
    #[must_use]
    pub fn with(telemetry: impl Observer + Propagator + Clone, every: u64) -> Watch {
        let (observer, propagator) = (Box::new(telemetry.clone()), Box::new(telemetry));
        Watch { every, telemetry: Some(Telemetry { observer, propagator }), ..Watch::counting() }
    }

    pub(crate) fn before(&mut self, now: Time, node: &Node, input: &Input) {
        let every = self.every;
        let pulse = self.pulse.get_or_insert_with(|| {
            let vitals = Vitals::new(node.identity().clone(), Arc::new(Workload::new(Arc::default())));
            Pulse::new(node, Arc::new(vitals), every)
        });
        pulse.note_input(now, node, input);
        self.collective.note_input(now, node, input);
    }

    /// Shows what happened. The requests get their contexts, in order.
    pub(crate) fn after(&mut self, now: Time, node: &Node, out: &Output, contexts: &mut Vec<TraceContext>) {
        let Some(pulse) = &mut self.pulse else { return };
        self.collective.note_output(now, out);
        if let Some(telemetry) = &mut self.telemetry {
            for event in &out.events {
                let _ = catch_unwind(AssertUnwindSafe(|| telemetry.observer.observe(event)));
            }
        }
        pulse.note_output(now, node, out);
        for beat in pulse.take_beats() {
            if let Some(telemetry) = &mut self.telemetry {
                let _ = catch_unwind(AssertUnwindSafe(|| telemetry.observer.beat(&beat)));
            }
        }
        std::hint::black_box(self.collective.news(now, node, out.requests.iter().any(is_heartbeat)));
        let Some(telemetry) = &mut self.telemetry else { return };
        let mut election = None;
        for request in &out.requests {
            let answer = catch_unwind(AssertUnwindSafe(|| {
                let election = election.get_or_insert_with(|| telemetry.propagator.election(&self.group));
                std::hint::black_box(election);
                match is_heartbeat(request) && !pulse.is_picked(request.id) {
                    true => TraceContext::NONE,
                    false => telemetry.propagator.request(&self.group, request.id),
                }
            }));
            contexts.push(answer.unwrap_or_default());
        }
    }
}
