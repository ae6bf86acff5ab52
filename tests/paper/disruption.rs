//! Dissertation §4.2.3: disruptive servers.

use super::bench::*;
use hustings::event::Role;
use hustings::message::{Reason, RequestBody, RequestKind};
use hustings::node::Input;

/// §4.2.3: a server that heard from a leader within the smallest election timeout neither updates its term nor votes.
#[test]
fn a_server_that_hears_a_leader_refuses_its_rivals() {
    let mut a = abc().start();
    a.follow("b", 1);
    let deadline = a.node.deadline();
    a.pass(ET_MIN - MS);
    for out in [a.request_vote("c", 9, id(9, 9)), a.pre_vote("c", 9, id(9, 9))] {
        assert_eq!(verdict(&out), refused(Reason::LeaderAlive));
        assert_eq!((remainder(&out), reply(&out).term.0), (MS, 1), "it says how long its promise lasts");
    }
    assert_eq!((a.term(), a.voted_for(), a.leader()), (1, None, Some("b")));
    assert_eq!(a.node.deadline(), deadline);
}

/// §4.2.3: normal elections are not affected, since everyone waits at least the smallest election timeout.
#[test]
fn a_server_that_no_longer_hears_its_leader_votes() {
    let mut a = abc().start();
    a.follow("b", 1);
    a.pass(ET_MIN);
    let out = a.request_vote("c", 2, id(1, 1));
    assert!(verdict(&out).is_granted());
    assert_eq!((a.term(), a.voted_for(), a.leader()), (2, Some("c"), None));
}

/// §4.2.3: each heartbeat renews the refusal.
#[test]
fn every_heartbeat_renews_the_refusal() {
    let mut a = abc().start();
    for _ in 0..5 {
        a.follow("b", 1);
        a.pass(ET_MIN - MS);
        assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::LeaderAlive));
    }
}

/// §4.2.3: a leader that gets heartbeats to its cluster is not deposed by larger terms of those who ask for votes.
#[test]
fn a_leader_in_contact_is_not_deposed_by_a_request_for_votes() {
    let mut a = abc().start();
    a.lead();
    for out in [a.request_vote("c", 9, id(9, 9)), a.pre_vote("c", 9, id(9, 9))] {
        assert_eq!(verdict(&out), refused(Reason::LeaderAlive));
    }
    assert_eq!((a.role(), a.term()), (Role::Leader, 2));
}

/// §4.2.3: a removed server, which hears no heartbeats and asks with ever larger terms, changes nothing.
#[test]
fn a_removed_server_is_not_heard() {
    let mut a = Setup::of("abcd").record(3, 9).with(|setup| {
        let record = std::sync::Arc::make_mut(setup.state.record.as_mut().expect("a record"));
        record.members.retain(|member| member.node.as_str() != "d");
    });
    a.state.term = hustings::types::Term(3);
    let mut a = a.start();
    let (before, deadline) = (a.node.hard_state().clone(), a.node.deadline());
    for term in 4..20 {
        assert_eq!(verdict(&a.request_vote("d", term, id(2, 8))), refused(Reason::NotAMember));
        assert_eq!(verdict(&a.pre_vote("d", term, id(2, 8))), refused(Reason::NotAMember));
    }
    assert_eq!((a.node.hard_state(), a.node.deadline()), (&before, deadline));
}

/// §4.2.3, §3.10: the request of a transfer is exempt, for the promise to that leader in that term.
#[test]
fn the_successor_of_a_transfer_is_not_refused_for_the_leaders_sake() {
    let mut a = abc().start();
    a.follow("b", 1);
    let (b, c) = (a.peer("b"), a.peer("c"));
    let transfer = |term| Some((b.holder(), hustings::types::Term(term)));
    let out = a.ask(&c, 3, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: transfer(1) });
    assert_eq!(verdict(&out), refused(Reason::LeaderAlive), "only for the very next term");
    let out = a.ask(&c, 2, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: transfer(0) });
    assert_eq!(verdict(&out), refused(Reason::LeaderAlive), "only for the term that was handed over");
    let out = a.ask(&c, 3, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: transfer(2) });
    assert_eq!(verdict(&out), refused(Reason::LeaderAlive), "nor for a term that was never promised");
    let reborn = a.peer("b").with(|b| b.incarnation = hustings::types::Incarnation(2)).holder();
    for other in [c.holder(), reborn] {
        let transfer = Some((other, hustings::types::Term(1)));
        let out = a.ask(&c, 2, RequestBody::RequestVote { last: Some(id(1, 1)), transfer });
        assert_eq!(verdict(&out), refused(Reason::LeaderAlive), "nor for another than the one that was promised");
    }
    let out = a.ask(&c, 2, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: transfer(1) });
    assert!(verdict(&out).is_granted());
    assert_eq!(remainder(&out), std::time::Duration::ZERO);
}

/// §3.10: a server that is told to by its leader begins an election at once, without waiting and without a pre-vote.
#[test]
fn timeout_now_begins_an_election_at_once() {
    let mut a = abc().start();
    a.follow("b", 1);
    let b = a.peer("b");
    let out = a.ask(&b, 1, RequestBody::TimeoutNow);
    assert!(verdict(&out).is_granted());
    assert_eq!((a.role(), a.term()), (Role::Candidate, 2));
    for request in requests(&out, RequestKind::RequestVote) {
        let RequestBody::RequestVote { transfer: Some((holder, term)), .. } = request.body else { panic!() };
        assert_eq!((holder, term.0), (b.holder(), 1), "it says on whose word it stands");
    }
}

/// §3.10: a leader hands over to a follower whose log matches its own, and stops leading by that.
#[test]
fn a_leader_hands_over_to_an_up_to_date_follower() {
    let mut a = abc().start();
    let appends = a.become_leader();
    a.ack(&appends[1]);
    let heartbeat = a.round().swap_remove(0);
    a.ack(&heartbeat);
    let out = a.step(Input::Transfer(Some(node("b"))));
    assert!(requests(&out, RequestKind::TimeoutNow).is_empty(), "b is in contact, and lacks the record");
    assert!(a.is_exclusive(), "it leads while it brings b up to date");
    let out = a.ack(&appends[0]);
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["b"]);
    assert!(!a.is_exclusive());
}
