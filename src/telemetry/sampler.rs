//! Which traces are kept, for applications that build their own tracer provider.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::keys::span;

/// Keeps every election whatever the rest of the application keeps, and leaves all other spans to another sampler.
///
/// An election is rare, and the one that was dropped is the one that is asked for. A voter's spans are kept even where the
/// candidate's process did not sample: the `traceparent` of another process decides nothing here.
///
/// It sees a span's name when it starts, and nothing else of use: whatever begins with `raft.` is this crate's. Rounds of
/// heartbeats (`raft.heartbeat`) are chosen before they are made
/// ([`heartbeats_per_trace`](crate::elector::ElectorBuilder::heartbeats_per_trace)); of those a share may be kept.
///
/// ```
/// use hustings::telemetry::ElectionSampler;
/// use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
///
/// let others = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.01)));
/// let provider = SdkTracerProvider::builder().with_sampler(ElectionSampler::new(others)).build();
/// # drop(provider);
/// ```
#[derive(Debug, Clone)]
pub struct ElectionSampler<S> {
    others: S,
    heartbeats: Sampler,
}

impl<S: ShouldSample + Clone + 'static> ElectionSampler<S> {
    /// Leaves what is no election to `others`.
    pub fn new(others: S) -> Self {
        ElectionSampler { others, heartbeats: Sampler::AlwaysOn }
    }

    /// Keeps that share of the picked heartbeats, 0 to 1. By default all of them.
    #[must_use]
    pub fn heartbeats(mut self, share: f64) -> Self {
        self.heartbeats = Sampler::TraceIdRatioBased(share);
        self
    }
}

impl<S: ShouldSample + Clone + 'static> ShouldSample for ElectionSampler<S> {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if !name.starts_with("raft.") {
            return self.others.should_sample(parent, trace, name, kind, attributes, links);
        }
        let parent = parent.filter(|parent| parent.has_active_span());
        if name.starts_with(span::HEARTBEAT) {
            // By the trace's id, so that leader and followers agree.
            return self.heartbeats.should_sample(parent, trace, name, kind, attributes, links);
        }
        let trace_state = match parent {
            Some(parent) => parent.span().span_context().trace_state().clone(),
            None => TraceState::default(),
        };
        SamplingResult { decision: SamplingDecision::RecordAndSample, attributes: Vec::new(), trace_state }
    }
}
