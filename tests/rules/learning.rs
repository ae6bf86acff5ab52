//! A1 and S9: what a node learns before it leads, and what it must not take from an answer.

use super::bench::*;
use hustings::event::{EventKind, Role};
use hustings::message::{Hearsay, Reason, ReplyBody, Request, RequestBody, RequestKind};
use hustings::node::{Input, Output};
use hustings::types::Term;
use std::sync::Arc;
use std::time::Duration;

fn refuse_with_record(a: &mut Bench, request: &Request, term: u64, reason: Reason, last: (u64, u64)) -> Output {
    let record = Some(Arc::new(record_of("abc", last.0, last.1)));
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record, hearsay: None };
    let reply = a.reply(request, term, refused(reason), body);
    a.step(Input::Reply(reply))
}

/// A1: who has no record yet, and follows a leader by now, takes it from that leader alone: a record of a later term would
/// leave it with a leader of an earlier one, and the next leader refused.
#[test]
fn a_newcomer_that_follows_a_leader_adopts_nothing() {
    let mut a = abc().blank().start();
    let probes = requests(&a.tick(), RequestKind::PreVote);
    a.follow("b", 2);
    refuse_with_record(&mut a, &probes[1], 3, Reason::RecordBehind, (2, 5));
    assert!(a.node.hard_state().record.is_none());
    assert_eq!((a.term(), a.leader()), (2, Some("b")));
    a.follow("c", 3);
}

/// A1: a pre-candidate adopts a record that is strictly ahead, and its term rises to at least the refuser's.
#[test]
fn a_pre_candidate_adopts_what_is_ahead() {
    let mut a = abc().start();
    let asked = a.stand();
    let out = refuse_with_record(&mut a, &asked[0], 4, Reason::RecordBehind, (3, 5));
    assert_eq!((a.last(), a.term(), a.role()), (id(3, 5), 4, Role::PreCandidate));
    assert!(a.node.committed().is_none(), "it does not know whether that is committed");
    assert!(happened(&out, |kind| matches!(kind, EventKind::RecordAdopted { .. })));
    let again = requests(&out, RequestKind::PreVote);
    assert!(again.iter().all(|r| r.term.0 == 5 && r.body == RequestBody::PreVote { last: Some(id(3, 5)) }));
    a.grant(&again[0]);
    assert_eq!((a.role(), a.term()), (Role::Candidate, 5));
}

/// A1, S8: the term rises to at least that of the record.
#[test]
fn the_term_rises_to_that_of_the_adopted_record() {
    let mut a = abc().start();
    let asked = a.stand();
    refuse_with_record(&mut a, &asked[0], 1, Reason::RecordBehind, (6, 5));
    assert_eq!((a.last(), a.term()), (id(6, 5), 6));
}

/// A1: it is durable before the next message.
#[test]
fn an_adopted_record_is_durable_before_the_next_message() {
    let mut a = abc().slow_disk().start();
    let asked = a.stand();
    let out = refuse_with_record(&mut a, &asked[0], 4, Reason::RecordBehind, (3, 5));
    assert!(out.requests.is_empty());
    a.grant(&asked[1]);
    assert_eq!((a.role(), a.term()), (Role::PreCandidate, 4), "the old round is over");
    let out = a.persisted();
    assert_eq!(requests(&out, RequestKind::PreVote).len(), 2);
}

/// A1: what is not ahead is not adopted.
#[test]
fn what_is_not_ahead_is_not_adopted() {
    for last in [(3, 5), (3, 4), (2, 9), (0, 0)] {
        let mut a = abc().term(3).record(3, 5).start();
        let asked = a.stand();
        let out = refuse_with_record(&mut a, &asked[0], 3, Reason::RecordBehind, last);
        assert_eq!(a.last(), id(3, 5), "{last:?}");
        assert!(out.persist.is_none() && out.requests.is_empty(), "{last:?}");
    }
}

/// A1: only a pre-candidate adopts, and only in the round that asked: never a leader, a candidate or a follower.
#[test]
fn only_a_pre_candidate_adopts() {
    let mut a = abc().start();
    let asked = a.stand();
    let votes = requests(&a.grant(&asked[0]), RequestKind::RequestVote);
    refuse_with_record(&mut a, &asked[1], 1, Reason::RecordBehind, (1, 9));
    assert_eq!((a.role(), a.last()), (Role::Candidate, id(1, 1)));
    a.grant(&votes[0]);
    let mine = a.last();
    refuse_with_record(&mut a, &asked[1], 2, Reason::RecordBehind, (2, 9));
    refuse_with_record(&mut a, &votes[1], 2, Reason::RecordBehind, (2, 9));
    assert_eq!((a.role(), a.last()), (Role::Leader, mine));
    let mut a = abc().start();
    let asked = a.stand();
    a.follow("c", 1);
    refuse_with_record(&mut a, &asked[0], 1, Reason::RecordBehind, (1, 9));
    assert_eq!(a.last(), id(1, 1));
}

/// S9: a refusal for a living leader or a quarantine raises no term and brings no record.
#[test]
fn a_living_leader_and_a_quarantine_teach_nothing() {
    for reason in [Reason::LeaderAlive, Reason::RestartQuarantine] {
        let mut a = abc().start();
        let before = a.node.hard_state().clone();
        let asked = a.stand();
        refuse_with_record(&mut a, &asked[0], 9, reason, (8, 8));
        assert_eq!(a.node.hard_state(), &before, "{reason:?}");
    }
}

/// S9: a refusal raises the term of a pre-candidate of that very round only.
#[test]
fn a_refusal_of_an_earlier_round_teaches_nothing() {
    let mut a = abc().start();
    let old = a.stand();
    a.tick();
    a.stand();
    let before = a.node.hard_state().clone();
    a.refuse(&old[0], 9, Reason::StaleTerm);
    refuse_with_record(&mut a, &old[1], 9, Reason::RecordBehind, (8, 8));
    assert_eq!(a.node.hard_state(), &before);
    let mut a = abc().start();
    let asked = a.stand();
    a.follow("c", 1);
    a.refuse(&asked[0], 9, Reason::StaleTerm);
    assert_eq!((a.term(), a.leader()), (1, Some("c")), "nor that of a follower");
}

/// S9: a pre-vote that is refused or granted changes nothing at the voter, whatever it brings.
#[test]
fn a_pre_vote_is_pure() {
    for leader in [None, Some("b")] {
        let mut a = abc().term(3).record(3, 5).start();
        if let Some(leader) = leader {
            a.follow(leader, 3);
        }
        a.pass(20 * MS);
        let (before, deadline, promises) = (a.node.hard_state().clone(), a.node.deadline(), a.node.promises().clone());
        for (term, last) in [(4, id(3, 5)), (4, id(3, 4)), (90, id(9, 9)), (1, id(3, 5)), (3, id(3, 5))] {
            let out = a.pre_vote("c", term, last);
            assert!(out.persist.is_none() && out.requests.is_empty());
            assert_eq!((a.node.hard_state(), a.node.deadline(), a.node.promises()), (&before, deadline, &promises));
            assert_eq!((a.role(), a.leader()), (Role::Follower, leader));
        }
    }
}

fn told_of(a: &mut Bench, request: &Request, leader: &str, age: Duration) {
    let hearsay = Some(Hearsay { leader: node(leader), term: Term(5), age });
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay };
    let reply = a.reply(request, 5, refused(Reason::LeaderAlive), body);
    a.step(Input::Reply(reply));
}

/// Hearsay carries the age of the last direct contact and grows old: repeating it does not refresh it.
#[test]
fn hearsay_grows_old() {
    let mut a = abc().start();
    let asked = a.stand();
    told_of(&mut a, &asked[0], "c", 100 * MS);
    later(&mut a, 50 * MS);
    assert_eq!(a.node.hearsay().map(|told| told.age), Some(150 * MS));
    told_of(&mut a, &asked[1], "c", 200 * MS);
    assert_eq!(a.node.hearsay().map(|told| told.age), Some(150 * MS), "older news of the same term is no news");
    later(&mut a, 150 * MS);
    assert_eq!(a.node.hearsay(), None);
}

/// Time passes, and the node notices.
fn later(a: &mut Bench, duration: Duration) {
    a.pass(duration);
    a.step(Input::PeerConnected(node("b")));
}

/// Hearsay refuses no vote, delays no campaign and is no leader.
#[test]
fn hearsay_obliges_to_nothing() {
    let mut a = abc().start();
    let asked = a.stand();
    told_of(&mut a, &asked[0], "c", Duration::ZERO);
    assert_eq!((a.leader(), a.term()), (None, 1));
    assert!(verdict(&a.pre_vote("b", 2, id(1, 1))).is_granted());
    assert!(verdict(&a.request_vote("b", 2, id(1, 1))).is_granted());
}

/// A voter that follows a leader tells whom, and how long ago it heard it itself.
#[test]
fn a_refusal_tells_of_the_leader() {
    let mut a = abc().start();
    a.follow("b", 1);
    a.pass(30 * MS);
    let out = a.pre_vote("c", 2, id(1, 1));
    let ReplyBody::Vote { hearsay, .. } = &reply(&out).body else { panic!() };
    assert_eq!(*hearsay, Some(Hearsay { leader: node("b"), term: Term(1), age: 30 * MS }));
}
