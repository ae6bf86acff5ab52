//! Who watches, and who gives messages their trace context.

use std::sync::Arc;

use crate::event::Event;
use crate::message::RequestId;
use crate::types::{GroupId, TraceContext};

mod beat;
mod collective;
pub mod condition;
pub mod journal;
pub mod log;
mod order;
pub mod recent;
mod vitals;

pub use beat::{Beat, BeatKind};
pub use collective::{CollectiveState, DiskState, MemberState, STATUS_LEN_MAX};
pub use condition::{Condition, ConditionKind, ConditionNews, ConditionStage, PeerCause, PeerState};
pub use order::{Order, OrderKind};
pub use vitals::{Traffic, Vitals, Workload};

/// Gets every event, in order, never lossy. Called on the driver's thread: it must not block.
///
/// One method is all that most need. The others are about what is no event of the machine: the counts and ages that a
/// metric reads when it is asked, one round of heartbeats in many, who gave an order, and the group as a whole.
pub trait Observer: Send + 'static {
    /// Takes note of an event.
    fn observe(&mut self, event: &Event);

    /// Hands over a group's vital signs, once, before its first event. The driver keeps them up to date.
    fn attach(&mut self, vitals: &Arc<Vitals>) {
        let _ = vitals;
    }

    /// Takes note of a heartbeat that was picked: one round in many, the first of a leadership, one that ends a gap.
    fn beat(&mut self, beat: &Beat) {
        let _ = beat;
    }

    /// Takes note of an order of the user, before what comes of it.
    fn order(&mut self, order: &Order) {
        let _ = order;
    }

    /// Takes note of the whole group as this node sees it: when it is established (right after that event), when a
    /// leader sees it change, and when the application says something new of itself; at most once a second but for the first.
    fn collective(&mut self, state: &CollectiveState) {
        let _ = state;
    }

    /// Takes note of a condition that began, that is told again because it lasts, or that ended.
    fn condition(&mut self, news: &ConditionNews) {
        let _ = news;
    }

    /// Whether it writes the log lines of the events that it is shown. Where nobody does, the elector adds one that does.
    fn writes_log(&self) -> bool {
        false
    }
}

impl<F: FnMut(&Event) + Send + 'static> Observer for F {
    fn observe(&mut self, event: &Event) {
        self(event);
    }
}

/// Gives outgoing requests their trace context. Asked after the observers ran and before the message leaves.
pub trait Propagator: Send + 'static {
    /// The context of a request that an event [`RequestSent`](crate::event::EventKind::RequestSent) announced.
    fn request(&mut self, group: &GroupId, id: RequestId) -> TraceContext;

    /// The context of this node's newest election in the group: what a leader tells its followers.
    fn election(&mut self, group: &GroupId) -> TraceContext;
}

/// Gives none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPropagator;

impl Propagator for NoPropagator {
    fn request(&mut self, _: &GroupId, _: RequestId) -> TraceContext {
        TraceContext::NONE
    }
    fn election(&mut self, _: &GroupId) -> TraceContext {
        TraceContext::NONE
    }
}
