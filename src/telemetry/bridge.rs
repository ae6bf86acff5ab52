//! Where the application's own `tracing` spans meet the election: links to it, and the caller of an order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue, StringValue};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::spans::{span_context, trace_context};
use super::{OPENTELEMETRY_VERSION, TARGET, keys};
use crate::types::{ClusterId, GroupId, Term, TraceContext};

/// The release of the `tracing-opentelemetry` crate whose layer this crate finds. A layer of another release in the
/// application's subscriber is not seen.
pub const TRACING_OPENTELEMETRY_VERSION: &str = "0.34";

/// What came of linking a span to the election that put this node into office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkOutcome {
    /// The span bears the link. It is exported with the span, if that one is sampled.
    Linked,
    /// The election left no trace to link to: no telemetry, no provider, or one of too many elections in a minute.
    /// The span is as it was.
    NoElection,
    /// The span is disabled: no subscriber, or none that wants it. Nothing was linked.
    Disabled,
    /// The subscriber has no OpenTelemetry layer that can be found: there is none, it stands behind a `reload` layer, or
    /// it is of another release. Nothing was linked; a log line has said so, once in this process.
    NoLayer,
    /// The layer is there, and its filter leaves this span out. Nothing was linked.
    Filtered,
    /// The span is not recorded: it is not sampled, or has as many links as it may have. Nothing was linked.
    NotRecorded,
}

impl LinkOutcome {
    /// Whether the span bears the link.
    #[must_use]
    pub fn is_linked(self) -> bool {
        self == LinkOutcome::Linked
    }

    /// A stable name for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            LinkOutcome::Linked => "linked",
            LinkOutcome::NoElection => "no_election",
            LinkOutcome::Disabled => "disabled",
            LinkOutcome::NoLayer => "no_layer",
            LinkOutcome::Filtered => "filtered",
            LinkOutcome::NotRecorded => "not_recorded",
        }
    }
}

/// Links the span to the election of that term.
pub(crate) fn link(
    span: &tracing::Span,
    election: TraceContext,
    cluster: &ClusterId,
    group: &GroupId,
    term: Term,
) -> LinkOutcome {
    if !election.is_valid() {
        return LinkOutcome::NoElection;
    }
    if span.is_disabled() {
        return LinkOutcome::Disabled;
    }
    // The layer takes a link in silence, whether it keeps it or not, and to ask it for the span's context would start the
    // span: a parent that the application sets later would be lost. But what is kept is shared.
    let relation: Arc<str> = Arc::from(keys::link::AUTHORIZED_BY);
    let attributes = vec![
        KeyValue::new(keys::LINK_TYPE, StringValue::from(Arc::clone(&relation))),
        keys::term(term),
        keys::election_id(cluster, group, term),
    ];
    span.add_link_with_attributes(span_context(election, true), attributes);
    if Arc::strong_count(&relation) > 1 {
        span.set_attribute(keys::mirror(keys::link::AUTHORIZED_BY), format!("{:032x}", election.trace_id));
        return LinkOutcome::Linked;
    }
    why_not(span)
}

/// Why a link was not kept. Asked only then, since the questions would change a span that waits to be started.
fn why_not(span: &tracing::Span) -> LinkOutcome {
    if span.context().has_active_span() {
        return LinkOutcome::NotRecorded;
    }
    match span.set_parent(Context::new()) {
        Err(tracing_opentelemetry::SetParentError::LayerNotFound) => {
            miss_layer();
            LinkOutcome::NoLayer
        }
        _ => LinkOutcome::Filtered,
    }
}

fn miss_layer() {
    static MISSED: AtomicBool = AtomicBool::new(false);
    if !MISSED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            name: "raft.telemetry.layer_missing",
            target: TARGET,
            tracing_opentelemetry = TRACING_OPENTELEMETRY_VERSION,
            opentelemetry = OPENTELEMETRY_VERSION,
            "no OpenTelemetry layer listens to this span, so that its link to the election is lost: add the layer of \
             tracing-opentelemetry {TRACING_OPENTELEMETRY_VERSION} to the subscriber, and not behind a reload layer"
        );
    }
}

/// The context of whoever calls: of the current `tracing` span where the layer knows it, else OpenTelemetry's own.
pub(crate) fn caller() -> TraceContext {
    // The current span has been entered, and so it has been started: asking changes nothing.
    let bridged = tracing::Span::current().context();
    let context = of(bridged.span().span_context());
    if context.is_valid() {
        return context;
    }
    of(Context::current().span().span_context())
}

/// The caller's baggage as the value of a header: of its current span's context, or else of OpenTelemetry's own.
pub(crate) fn caller_baggage() -> String {
    let bridged = tracing::Span::current().context();
    match bridged.baggage().is_empty() {
        true => Context::current().baggage().to_string(),
        false => bridged.baggage().to_string(),
    }
}

fn of(context: &SpanContext) -> TraceContext {
    if context.is_valid() { trace_context(context) } else { TraceContext::NONE }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_of_the_manifest() {
        let manifest = include_str!("../../Cargo.toml");
        let line = manifest.lines().find(|line| line.starts_with("tracing-opentelemetry = ")).expect("a dependency");
        assert!(line.contains(&format!("version = \"{}.", super::TRACING_OPENTELEMETRY_VERSION)), "{line}");
    }
}
