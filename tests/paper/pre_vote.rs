//! Dissertation §9.6: preventing disruptions when a server rejoins.

use super::bench::*;
use hustings::event::{EventKind, Role};
use hustings::message::{CallError, Reason, RequestKind};
use hustings::node::Input;

/// §9.6: a server first asks whether its log is good enough, and only increments its term if a majority says so.
#[test]
fn a_server_asks_before_it_increments_its_term() {
    let mut a = Setup::of("abcde").start();
    let asked = a.stand();
    assert_eq!((a.role(), a.term(), a.voted_for()), (Role::PreCandidate, 1, None));
    a.grant(&asked[0]);
    assert_eq!((a.role(), a.term()), (Role::PreCandidate, 1), "two of five");
    let out = a.grant(&asked[1]);
    assert_eq!((a.role(), a.term(), a.voted_for()), (Role::Candidate, 2, Some("a")));
    assert_eq!(requests(&out, RequestKind::RequestVote).len(), 4);
}

/// §9.6: asking writes nothing, at the server that asks.
#[test]
fn a_pre_vote_is_not_stored_by_the_one_who_asks() {
    let mut a = abc().start();
    let before = a.node.hard_state().clone();
    let out = a.tick();
    assert!(out.persist.is_none());
    assert_eq!(a.node.hard_state(), &before);
}

/// §9.6: nor does it change anything at the one who is asked, granted or not.
#[test]
fn a_pre_vote_changes_nothing_at_the_voter() {
    let mut a = abc().start();
    let (before, deadline, promises) = (a.node.hard_state().clone(), a.node.deadline(), a.node.promises().clone());
    for (from, granted) in [("b", true), ("c", true), ("b", true)] {
        let out = a.pre_vote(from, 2, id(1, 1));
        assert_eq!(verdict(&out).is_granted(), granted);
        assert!(out.persist.is_none());
    }
    assert_eq!(verdict(&a.pre_vote("b", 9, id(0, 0))), refused(Reason::RecordBehind));
    assert_eq!((a.node.hard_state(), a.node.deadline(), a.node.promises()), (&before, deadline, &promises));
}

/// §9.6: a voter grants only to a log that is good enough, and if it has not heard from a leader for the timeout.
#[test]
fn a_pre_vote_needs_a_good_record_and_a_silent_leader() {
    let mut a = abc().record(1, 5).start();
    assert_eq!(verdict(&a.pre_vote("c", 2, id(1, 4))), refused(Reason::RecordBehind));
    a.follow("b", 1);
    assert_eq!(verdict(&a.pre_vote("c", 2, id(1, 5))), refused(Reason::LeaderAlive));
    a.pass(ET_MIN);
    assert!(verdict(&a.pre_vote("c", 2, id(1, 5))).is_granted());
}

/// §9.6: a partitioned server cannot raise its term, however often its time comes.
#[test]
fn a_partitioned_server_keeps_its_term() {
    let mut a = abc().start();
    for _ in 0..50 {
        for request in a.stand() {
            a.step(Input::CallFailed { id: request.id, to: request.to.clone(), error: CallError::Timeout });
        }
        assert_eq!((a.role(), a.term()), (Role::Follower, 1));
    }
    // Nor where calls bring nothing at all, not even a failure.
    for _ in 0..50 {
        a.stand();
        a.tick();
    }
    assert_eq!(a.term(), 1);
}

/// §9.6: when it rejoins, the others refuse it for their leader's sake; it takes no term from them and follows.
#[test]
fn a_server_that_rejoins_disturbs_nobody() {
    let mut a = abc().start();
    let asked = a.stand();
    a.refuse(&asked[0], 7, Reason::LeaderAlive);
    a.refuse(&asked[1], 7, Reason::LeaderAlive);
    assert_eq!((a.role(), a.term()), (Role::Follower, 1), "a living leader raises no term");
    a.follow("b", 7);
    assert_eq!(a.term(), 7);
}

/// §9.6: a pre-vote granted promises nothing: the voter may grant another's too, and votes for one only.
#[test]
fn a_granted_pre_vote_is_no_vote() {
    let mut a = abc().start();
    assert!(verdict(&a.pre_vote("b", 2, id(1, 1))).is_granted());
    assert!(verdict(&a.pre_vote("c", 2, id(1, 1))).is_granted());
    assert!(verdict(&a.request_vote("c", 2, id(1, 1))).is_granted());
    assert_eq!(verdict(&a.request_vote("b", 2, id(1, 1))), refused(Reason::AlreadyVoted));
}

/// §9.6: two pre-candidates can grant each other, or nobody would ever stand.
#[test]
fn a_pre_candidate_grants_the_pre_vote_of_another() {
    let mut a = abc().start();
    a.stand();
    assert!(verdict(&a.pre_vote("b", 2, id(1, 1))).is_granted());
    assert_eq!(a.role(), Role::PreCandidate);
}

/// §9.6: a granted pre-vote echoes the term that was asked for, a refusal carries the voter's own.
#[test]
fn pre_vote_replies_carry_the_term_back() {
    let mut a = abc().term(5).start();
    assert_eq!(reply(&a.pre_vote("b", 6, id(1, 1))).term.0, 6);
    assert_eq!(reply(&a.pre_vote("b", 3, id(1, 1))).term.0, 5);
}

/// §9.6 and this library's rule: a pre-candidate that learns a larger term asks again above it, in a new round.
#[test]
fn a_pre_candidate_asks_again_above_a_larger_term() {
    let mut a = abc().start();
    let asked = a.stand();
    let out = a.refuse(&asked[0], 5, Reason::StaleTerm);
    assert_eq!((a.role(), a.term()), (Role::PreCandidate, 5));
    let again = requests(&out, RequestKind::PreVote);
    assert!(again.len() == 2 && again.iter().all(|request| request.term.0 == 6));
    a.grant(&asked[1]);
    assert_eq!(a.role(), Role::PreCandidate, "a grant of the old round does not count in the new one");
    a.grant(&again[1]);
    assert_eq!((a.role(), a.term()), (Role::Candidate, 6));
}

/// §9.6: the real vote has the same checks. Whoever is granted the one is granted the other, nothing else having changed.
#[test]
fn pre_vote_and_vote_are_judged_alike() {
    for last in [id(0, 0), id(1, 4), id(1, 5), id(2, 1)] {
        for term in 0..4 {
            for leader in [None, Some("b")] {
                let fresh = || {
                    let mut a = abc().term(2).record(1, 5).voted("b").start();
                    if let Some(leader) = leader {
                        a.follow(leader, 2);
                    }
                    a
                };
                let (pre_vote, vote) = (fresh().pre_vote("c", term, last), fresh().request_vote("c", term, last));
                assert_eq!(verdict(&pre_vote), verdict(&vote), "{last:?} in term {term}, leader {leader:?}");
            }
        }
    }
}

/// §9.6: the trace says why a round was not won.
#[test]
fn a_lost_pre_vote_says_who_refused() {
    let mut a = abc().start();
    let asked = a.stand();
    a.refuse(&asked[0], 1, Reason::LeaderAlive);
    let out = a.refuse(&asked[1], 1, Reason::LeaderAlive);
    let lost = |kind: &EventKind| {
        matches!(kind, EventKind::RoundEnded { pre_vote: true, won: false, granted: 1, denied: 2, .. })
    };
    assert!(happened(&out, lost), "{:?}", out.events);
}
