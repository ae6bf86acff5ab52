//! Terms of office, resignations, records, and changes that belong to nothing.

use hustings::event::{EventKind, LeadershipEnd, LossOfLeader, Outcome, RecordCause, Role};
use hustings::message::{RequestKind, Verdict};
use hustings::record::RecordId;
use hustings::types::{DiskId, Term, Time};
use opentelemetry::trace::SpanKind;

use super::elections::elect;
use super::stage::*;

#[test]
pub(crate) fn a_term_of_office_is_told_at_its_end() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);
    let since = Time::ZERO + us(201_550);
    let end = 7_200_000_000;
    a.tell(end, EventKind::LeadershipEnded { cause: LeadershipEnd::QuorumLost, since, work_running: true });
    a.become_role(end, Role::Follower);
    a.tell(end, leader_lost());
    a.tell(end + 1, EventKind::WorkEnded { work_term: Term(5) });
    a.tell(end + 1, EventKind::Stopped { disk: DiskId(1) });
    exported.assert_sound();

    let office = exported.one("raft.leadership");
    assert_eq!(micros(office.end_time), u128::from(end));
    assert_eq!(micros(office.start_time), u128::from(end) - 3_600_000_000, "searches miss what began long ago");
    assert_eq!(seconds(&office, "raft.leadership.duration"), 7_199.798_45);
    let start = seconds(&office, "raft.leadership.start") - WALL as f64;
    assert!((start - 0.201_55).abs() < 1e-5, "{start}");
    assert_eq!(text(&office, "raft.leadership.end"), "quorum_lost");
    assert_eq!(number(&office, "raft.term"), 5);
    let election = exported.one("raft.election").span_context.span_id();
    assert_eq!(links(&office), [("elected_by".to_owned(), election)]);

    let loose = exported.named("raft.transition");
    assert_eq!(events(&loose[0]), ["raft.role.changed", "raft.leader.lost"]);
    assert_eq!(events(&loose[1]), ["raft.work.ended"], "told at once: nothing else may come for long");
    assert_eq!(events(&loose[2]), ["raft.stopped"]);
}

fn three(exported: &Exported) -> (Player, Player, Player) {
    (Player::new("a", exported), Player::new("b", exported), Player::new("c", exported))
}

fn leader_lost() -> EventKind {
    let (leader, leader_term, cause) = (node("a"), Term(5), LossOfLeader::SteppedDown);
    EventKind::LeaderLost { leader, leader_term, last_contact: Time::ZERO, cause }
}

#[test]
pub(crate) fn a_resignation_is_a_transition_with_a_pair_for_each_peer() {
    let exported = Exported::default();
    let (mut a, mut b, _) = three(&exported);
    a.tell(10, EventKind::Resigned { resigned_term: Term(4) });
    let (to_b, to_c) = (a.ask(10, "b", RequestKind::Resign, 4), a.ask(10, "c", RequestKind::Resign, 4));
    let call = b.receive(20, &a, to_b, RequestKind::Resign, 4);
    b.tell(20, EventKind::LeaderResigned { leader: node("a"), resigned_term: Term(4) });
    b.answer(20, call, to_b, "a", RequestKind::Resign, Verdict::Granted);
    a.hear(30, "b", to_b, RequestKind::Resign, Verdict::Granted);
    assert_eq!(exported.named("raft.transition").len(), 0, "one peer is still out");
    let error = hustings::message::CallError::Closed;
    a.tell(40, EventKind::CallFailed { id: to_c, to: node("c"), kind: RequestKind::Resign, error });
    exported.assert_sound();
    let told = exported.one("raft.transition");
    assert_eq!(events(&told), ["raft.resigned"]);
    assert_eq!(micros(told.end_time), 40);
    let pairs = exported.below(&told);
    assert_eq!(pairs.len(), 2);
    assert!(pairs.iter().all(|span| span.name == "raft.resign" && span.span_kind == SpanKind::Client));
    let server = exported.on("b", "raft.resign");
    assert_eq!(server.span_kind, SpanKind::Server);
    assert_eq!(events(&server), ["raft.leader.resigned"]);
}

#[test]
pub(crate) fn a_leader_that_stops_says_so_in_its_own_trace() {
    let exported = Exported::default();
    let (mut a, mut b, _) = three(&exported);
    a.tell(10, EventKind::Resigned { resigned_term: Term(4) });
    let id = a.ask(10, "b", RequestKind::Resign, 4);
    a.become_role(10, Role::Stopped);
    a.tell(10, EventKind::Stopped { disk: DiskId(1) });
    assert!(a.context(id).is_valid(), "messages leave after the events were told");
    let call = b.receive(20, &a, id, RequestKind::Resign, 4);
    b.answer(20, call, id, "a", RequestKind::Resign, Verdict::Granted);
    exported.assert_sound();
    assert_eq!(exported.on("b", "raft.resign").parent_span_id, exported.on("a", "raft.resign").span_context.span_id());
}

#[test]
pub(crate) fn a_record_that_is_sent_round_is_a_transition_until_it_is_committed() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    let (id, parent) = (RecordId { term: Term(4), index: 10 }, RecordId { term: Term(4), index: 9 });
    a.tell(10, EventKind::RecordAppended { id, parent, cause: RecordCause::Proclaim });
    let request = a.ask(10, "b", RequestKind::AppendEntries, 4);
    a.hear(20, "b", request, RequestKind::AppendEntries, Verdict::Granted);
    a.tell(20, EventKind::Committed { id });
    exported.assert_sound();
    let told = exported.one("raft.transition");
    assert_eq!(events(&told), ["raft.record.appended", "raft.record.committed"]);
    assert_eq!(exported.below(&told).len(), 1);
    assert_eq!((micros(told.start_time), micros(told.end_time)), (10, 20));
}

#[test]
pub(crate) fn what_led_to_a_campaign_is_linked_from_it() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    a.tell(500, leader_lost());
    a.stand(500, 1);
    a.start_round(500, true, 1, 5);
    a.tell(600, EventKind::ElectionEnded { outcome: Outcome::Cancelled, rounds: 1, retry_in: None });
    drop(a);
    exported.assert_sound();
    let lost = exported.one("raft.transition");
    assert_eq!(events(&lost), ["raft.leader.lost"]);
    let round = exported.one("raft.pre_vote");
    assert_eq!(links(&round), [("triggered_by".to_owned(), lost.span_context.span_id())]);
}

#[test]
pub(crate) fn an_election_that_changes_leader_at_a_restart_starts_afresh() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);
    let mut who = (*a.who).clone();
    who.incarnation.0 += 1;
    a.who = std::sync::Arc::new(who);
    a.tell(1_000_000, EventKind::Started { amnesiac: false, quarantine: us(1), record: None });
    assert!(!a.spans.election(&main_group()).is_valid(), "a new start has stood in no election");
    a.stand(2_000_000, 1);
    a.start_round(2_000_000, true, 1, 6);
    a.tell(2_000_010, EventKind::Stopped { disk: DiskId(1) });
    exported.assert_sound();
    let rounds = exported.named("raft.pre_vote");
    assert_eq!(links(&rounds[1]), []);
}
