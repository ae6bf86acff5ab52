//! What goes wrong around the trace, and must do no harm.

use hustings::event::{EventKind, Outcome, PersistCause, WriteId};
use hustings::message::{RequestKind, Verdict};
use hustings::telemetry::Spans;
use hustings::types::{DiskId, TraceContext};
use opentelemetry::trace::{SpanId, Status};

use super::elections::elect;
use super::stage::*;

const VOTE: RequestKind = RequestKind::RequestVote;

#[test]
pub(crate) fn without_a_provider_nothing_nonsensical_is_handed_on() {
    let exported = Exported::default();
    let mut a = Player::with("a", Spans::builder().anchor(anchor).build());
    let (mut b, mut c) = (Player::new("b", &exported), Player::new("c", &exported));
    elect(&mut a, &mut b, &mut c);
    assert_eq!(a.spans.election(&main_group()), TraceContext::NONE);
    exported.assert_sound();
    let grant = exported.one("raft.vote.grant");
    assert_eq!(grant.parent_span_id, SpanId::INVALID);
    assert_eq!(text(&grant, "raft.trace.context"), "absent");
    assert_eq!(exported.below(&grant).len(), 1, "its write is still its own");
    let gap = exported.on("b", "raft.leaderless");
    assert_eq!(links(&gap), []);
}

/// The API without a provider gives each span the context of its parent: that of another node.
#[test]
pub(crate) fn a_follower_without_a_provider_does_not_pose_as_its_candidate() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    let mut b = Player::with("b", Spans::builder().anchor(anchor).build());
    a.tell(10, EventKind::TransferStarted { to: node("b") });
    let id = a.ask(20, "b", RequestKind::TimeoutNow, 4);
    let call = b.receive(30, &a, id, RequestKind::TimeoutNow, 4);
    b.answer(30, call, id, "a", RequestKind::TimeoutNow, Verdict::Granted);
    b.stand(40, 1);
    b.start_round(40, false, 1, 5);
    let vote = b.ask(40, "a", VOTE, 5);
    assert_eq!(b.context(vote), TraceContext::NONE);
    assert_eq!(b.spans.election(&main_group()), TraceContext::NONE);
    let call = a.receive(50, &b, vote, VOTE, 5);
    a.answer(50, call, vote, "b", VOTE, Verdict::Granted);
    a.tell(60, EventKind::Stopped { disk: DiskId(1) });
    exported.assert_sound();
    assert_eq!(text(&exported.one("raft.vote.grant"), "raft.trace.context"), "absent");
}

#[test]
pub(crate) fn a_hostile_context_is_only_a_parent() {
    let exported = Exported::default();
    let (a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    let hostile = TraceContext { trace_id: u128::MAX, span_id: 0, flags: 0xff };
    let id = hustings::message::RequestId(u64::MAX);
    let call = b.receive_with(10, &a, id, VOTE, u64::MAX, hostile);
    b.answer(20, call, id, "a", VOTE, Verdict::Granted);
    exported.assert_sound();
    let grant = exported.one("raft.vote.grant");
    assert_eq!(text(&grant, "raft.trace.context"), "absent");
    assert_eq!(number(&grant, "raft.term"), i64::MAX, "never a text, whatever the number");
}

#[test]
pub(crate) fn a_node_that_stops_ends_what_it_was_asked() {
    let exported = Exported::default();
    let (mut a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    a.stand(0, 1);
    a.start_round(0, false, 1, 5);
    let id = a.ask(0, "b", VOTE, 5);
    let call = b.receive(10, &a, id, VOTE, 5);
    b.tell(10, EventKind::PersistStarted { write: WriteId(1), causes: vec![PersistCause::Vote { call }] });
    b.tell(20, EventKind::Stopped { disk: DiskId(1) });
    a.tell(30, EventKind::Stopped { disk: DiskId(1) });
    exported.assert_sound();
    let dropped = exported.on("b", "raft.vote");
    assert_eq!(text(&dropped, "raft.vote.reason"), "unanswered");
    assert_eq!(micros(dropped.end_time), 20);
    let write = exported.one("raft.hard_state.persist");
    assert_eq!(text(&write, "raft.hard_state.unfinished"), "true");
    assert_eq!(exported.named("raft.election").len(), 1);
}

#[test]
pub(crate) fn a_candidate_that_asks_again_ends_what_it_asked_before() {
    let exported = Exported::default();
    let (mut a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    a.stand(0, 1);
    a.start_round(0, false, 1, 5);
    let first = a.ask(0, "b", VOTE, 5);
    b.receive(10, &a, first, VOTE, 5);
    a.start_round(100, false, 2, 6);
    let second = a.ask(100, "b", VOTE, 6);
    let call = b.receive(110, &a, second, VOTE, 6);
    b.tell(110, EventKind::PersistStarted { write: WriteId(1), causes: vec![PersistCause::Vote { call }] });
    b.tell(119, EventKind::PersistEnded { write: WriteId(1) });
    b.answer(120, call, second, "a", VOTE, Verdict::Granted);
    a.tell(130, EventKind::ElectionEnded { outcome: Outcome::Lost, rounds: 2, retry_in: None });
    drop((a, b));
    exported.assert_sound();
    let dropped = &exported.named("raft.vote").into_iter().find(|s| text(s, "raft.node.id") == "b").unwrap();
    assert_eq!(micros(dropped.end_time), 110);
}

#[test]
pub(crate) fn a_failed_write_is_an_error_of_whoever_waited_for_it() {
    let exported = Exported::default();
    let (a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    let id = hustings::message::RequestId(1);
    let context = TraceContext { trace_id: 1, span_id: 2, flags: 1 };
    let call = b.receive_with(10, &a, id, VOTE, 5, context);
    let causes = vec![PersistCause::Vote { call }, PersistCause::Term];
    b.tell(10, EventKind::PersistStarted { write: WriteId(1), causes });
    b.tell(900, EventKind::PersistFailed { write: WriteId(1), error: "no space left on device".to_owned() });
    let write = exported.one("raft.hard_state.persist");
    assert_eq!(write.status, Status::error("no space left on device"));
    assert_eq!(text(&write, "error.type"), "storage_error");
    assert_eq!(text(&write, "raft.hard_state.causes"), "[\"vote\",\"term\"]");
    b.answer(910, call, id, "a", VOTE, refused(hustings::message::Reason::StorageError));
    assert_eq!(exported.one("raft.vote.deny").status, Status::Unset);
}

#[test]
pub(crate) fn one_write_is_shown_to_each_who_waits_for_it() {
    let exported = Exported::default();
    let (a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    let context = |span_id| TraceContext { trace_id: 1, span_id, flags: 1 };
    let id = hustings::message::RequestId(1);
    let one = b.receive_with(10, &a, id, VOTE, 5, context(2));
    let other = b.receive_with(10, &a, id, RequestKind::AppendEntries, 5, context(3));
    let causes = vec![PersistCause::Vote { call: one }, PersistCause::Record { call: other }];
    b.tell(10, EventKind::PersistStarted { write: WriteId(7), causes });
    b.tell(50, EventKind::PersistEnded { write: WriteId(8) });
    let writes = exported.named("raft.hard_state.persist");
    assert_eq!(writes.len(), 2);
    assert_ne!(writes[0].parent_span_id, writes[1].parent_span_id);
    assert!(writes.iter().all(|write| micros(write.end_time) == 50));
}

#[test]
pub(crate) fn a_span_holds_sixty_events_and_counts_the_rest() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    a.stand(0, 1);
    for n in 0..200 {
        a.tell(n, EventKind::EvidenceFound { leader: node("z"), refused: true });
    }
    a.tell(300, EventKind::ElectionEnded { outcome: Outcome::Cancelled, rounds: 0, retry_in: None });
    drop(a);
    exported.assert_sound();
    let root = exported.one("raft.election");
    assert_eq!(root.events.len(), 60);
    assert_eq!(number(&root, "raft.events.dropped"), 202 - 60);
}

#[test]
pub(crate) fn memory_is_bounded_and_what_is_given_up_says_so() {
    let exported = Exported::default();
    let (a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    let context = TraceContext { trace_id: 1, span_id: 2, flags: 1 };
    // The newest first: a call takes the place of an older one of the same node.
    let ask = |b: &mut Player, at, n: u64| {
        let n = 10_000 - n;
        b.receive_with(at, &a, hustings::message::RequestId(n), RequestKind::AppendEntries, 5, context);
    };
    for n in 0..1500 {
        ask(&mut b, n, n);
    }
    assert_eq!(exported.named("raft.append_entries").len(), 1500 - 1024);
    ask(&mut b, 700_000_000, 1500);
    let given_up = exported.named("raft.append_entries");
    assert_eq!(given_up.len(), 1500, "ten minutes without news");
    assert!(given_up.iter().all(|span| text(span, "raft.span.abandoned") == "true"));
    assert_eq!(micros(given_up[0].end_time), 0, "it ends with the last that was heard of it");
    drop(b);
    assert_eq!(exported.named("raft.append_entries").len(), 1501, "the last handle ends what is open");
    exported.all().iter().for_each(|span| assert!(span.end_time >= span.start_time));
}

#[test]
pub(crate) fn a_provider_that_was_shut_down_is_as_none() {
    let exported = Exported::default();
    let provider = exported.provider();
    let mut a = Player::with("a", Spans::builder().provider(provider.clone()).anchor(anchor).build());
    provider.shutdown().unwrap();
    a.stand(0, 1);
    a.start_round(0, true, 1, 5);
    let id = a.ask(0, "b", RequestKind::PreVote, 5);
    assert_eq!(a.context(id), TraceContext::NONE);
    a.tell(10, EventKind::Stopped { disk: DiskId(1) });
}
