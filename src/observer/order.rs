//! What the user orders, and from where.

use std::sync::Arc;

use crate::message::Identity;
use crate::types::TraceContext;

/// An order of the user that the node is about to take. What comes of it follows as events, at the next instant; nothing
/// may come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who takes it.
    pub who: Arc<Identity>,
    /// What is ordered.
    pub kind: OrderKind,
    /// The trace context of the caller; none if it has none.
    pub context: TraceContext,
}

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderKind {
    /// To stand for election at once.
    Campaign,
    /// To hand leadership over.
    Transfer,
}
