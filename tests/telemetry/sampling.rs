//! What is kept where an application samples.

use hustings::message::{Reason, RequestKind, Verdict};
use hustings::observer::{Beat, BeatKind, Observer};
use hustings::telemetry::{ElectionSampler, Spans};
use hustings::types::{Term, Time, TraceContext};
use opentelemetry::trace::{SpanId, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, ShouldSample};

use super::stage::*;

fn provider(exported: &Exported, sampler: impl ShouldSample + 'static) -> SdkTracerProvider {
    SdkTracerProvider::builder().with_simple_exporter(exported.clone()).with_sampler(sampler).build()
}

/// Serves a vote whose caller did not sample.
fn vote_of_one_unsampled(name: &str, exported: &Exported, provider: SdkTracerProvider) -> Vec<String> {
    let mut b = Player::with(name, Spans::builder().provider(provider).anchor(anchor).without_metrics().build());
    let a = Player::new("a", &Exported::default());
    let remote = TraceContext { trace_id: 77, span_id: 8, flags: 0 };
    let id = hustings::message::RequestId(1);
    let call = b.receive_with(10, &a, id, RequestKind::RequestVote, 5, remote);
    b.answer(20, call, id, "a", RequestKind::RequestVote, Verdict::Refused(Reason::AlreadyVoted));
    exported.all().iter().map(|span| span.name.to_string()).collect()
}

#[test]
pub(crate) fn an_election_is_kept_also_under_a_parent_that_is_not() {
    let exported = Exported::default();
    let usual = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    assert!(vote_of_one_unsampled("b", &exported, provider(&exported, usual.clone())).is_empty(), "as it is elsewhere");
    let kept = vote_of_one_unsampled("b", &exported, provider(&exported, ElectionSampler::new(usual)));
    assert_eq!(kept, ["raft.vote.deny"]);
    let span = &exported.all()[0];
    assert_eq!((span.parent_span_id, span.span_context.is_sampled()), (SpanId::from(8), true));
}

#[test]
pub(crate) fn other_spans_are_left_to_the_other_sampler() {
    let exported = Exported::default();
    let provider = provider(&exported, ElectionSampler::new(Sampler::AlwaysOff));
    let tracer = provider.tracer("application");
    drop(tracer.start("agent.task"));
    drop(tracer.start("graft.raft.election"));
    assert!(exported.all().is_empty());
    let mut a = Player::with("a", Spans::builder().provider(provider).anchor(anchor).build());
    a.stand(10, 1);
    a.tell(20, hustings::event::EventKind::Stopped { disk: hustings::types::DiskId(1) });
    assert_eq!(exported.named("raft.election").len(), 1);
}

#[test]
pub(crate) fn heartbeats_are_kept_by_share() {
    for (share, expected) in [(0.0, 0), (1.0, 1)] {
        let exported = Exported::default();
        let sampler = ElectionSampler::new(Sampler::AlwaysOff).heartbeats(share);
        let spans = Spans::builder().provider(provider(&exported, sampler)).anchor(anchor).build();
        let mut a = Player::with("a", spans.clone());
        a.stand(10, 1);
        let beat = |kind| Beat { at: Time(20_000), who: a.who.clone(), term: Term(5), kind };
        let mut observer = spans;
        observer.beat(&beat(BeatKind::Round { number: 1, gap: None }));
        observer.beat(&beat(BeatKind::Round { number: 2, gap: None }));
        assert_eq!(exported.named("raft.heartbeat").len(), expected, "of a share of {share}");
    }
}
