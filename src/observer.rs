//! Who watches, and who gives messages their trace context.

use crate::event::Event;
use crate::message::RequestId;
use crate::types::{GroupId, TraceContext};

pub mod journal;
pub mod recent;

/// Gets every event, in order, never lossy. Called on the driver's thread: it must not block.
pub trait Observer: Send + 'static {
    /// Takes note of an event.
    fn observe(&mut self, event: &Event);
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
