//! Paper §5.1: terms act as a logical clock.

use super::bench::*;
use hustings::event::{EventKind, Role};
use hustings::event::{LeadershipEnd, Outcome};
use hustings::message::{Contention, Reason, ReplyBody, RequestBody, RequestKind, Verdict};
use hustings::node::Input;
use std::time::Duration;

/// §5.1: a server whose term is smaller than the other's takes over the larger one. A follower does.
#[test]
fn a_follower_takes_over_a_larger_term() {
    let mut a = abc().start();
    a.follow("b", 1);
    a.follow("c", 4);
    assert_eq!((a.term(), a.role(), a.voted_for()), (4, Role::Follower, None));
}

/// §5.1: so does a pre-candidate, which follows the leader of that term.
#[test]
fn a_pre_candidate_takes_over_a_larger_term() {
    let mut a = abc().start();
    a.stand();
    a.follow("c", 4);
    assert_eq!((a.term(), a.role()), (4, Role::Follower));
}

/// §5.1: a candidate that learns of a larger term by a request becomes a follower at once.
#[test]
fn a_candidate_reverts_to_follower_on_a_request_of_a_larger_term() {
    let mut a = abc().start();
    a.become_candidate();
    a.follow("c", 4);
    assert_eq!((a.term(), a.role(), a.voted_for()), (4, Role::Follower, None));
}

/// §5.1: a candidate that learns of a larger term by a reply becomes a follower at once.
#[test]
fn a_candidate_reverts_to_follower_on_a_reply_of_a_larger_term() {
    let mut a = abc().start();
    let asked = a.become_candidate();
    let out = a.refuse(&asked[0], 9, Reason::StaleTerm);
    assert_eq!((a.term(), a.role(), a.voted_for()), (9, Role::Follower, None));
    assert!(happened(&out, |kind| matches!(kind, EventKind::ElectionEnded { outcome: Outcome::HigherTerm, .. })));
}

/// §5.1: a leader that learns of a larger term by a request becomes a follower at once.
#[test]
fn a_leader_reverts_to_follower_on_a_request_of_a_larger_term() {
    let mut a = abc().start();
    a.lead();
    let out = a.heartbeat("c", 4);
    assert_eq!((a.term(), a.role(), a.leader()), (4, Role::Follower, Some("c")));
    let ended = |kind: &EventKind| matches!(kind, EventKind::LeadershipEnded { cause: LeadershipEnd::HigherTerm, .. });
    assert!(happened(&out, ended));
    assert!(a.node.lease().is_none(), "nothing is claimed any more");
}

/// §5.1: a leader that learns of a larger term by a reply becomes a follower at once, whatever the verdict.
#[test]
fn a_leader_reverts_to_follower_on_a_reply_of_a_larger_term() {
    for verdict in [refused(Reason::StaleTerm), Verdict::Granted] {
        let mut a = abc().start();
        a.lead();
        let round = a.round();
        let body = ReplyBody::Append { promised: Duration::ZERO, durable: None, contention: Contention::Contends };
        let reply = a.reply(&round[0], 9, verdict.clone(), body);
        a.step(Input::Reply(reply));
        assert_eq!((a.term(), a.role()), (9, Role::Follower), "{verdict:?}");
    }
}

/// §5.1: a request with a stale term is rejected. The refusal carries the newer term, and nothing changes.
#[test]
fn a_request_of_a_stale_term_is_rejected() {
    let last = id(9, 9);
    for body in [
        RequestBody::RequestVote { last: Some(last), transfer: None },
        RequestBody::PreVote { last: Some(last) },
        append_entries(None, None),
        append_entries(Some(record_of("abc", 4, 7)), None),
    ] {
        let mut a = abc().term(5).start();
        let (before, deadline) = (a.node.hard_state().clone(), a.node.deadline());
        let b = a.peer("b");
        let out = a.ask(&b, 4, body.clone());
        assert_eq!(verdict(&out), refused(Reason::StaleTerm), "{body:?}");
        assert_eq!(reply(&out).term.0, 5);
        assert_eq!((a.node.hard_state(), a.node.deadline(), a.leader()), (&before, deadline, None), "{body:?}");
    }
}

/// §5.1: current terms are exchanged whenever servers talk: every request and every reply carries one.
#[test]
fn every_message_carries_the_term() {
    let mut a = abc().term(6).start();
    assert!(a.stand().iter().all(|request| request.term.0 == 7), "a pre-vote names the term it would enter");
    let mut a = abc().term(6).start();
    assert!(a.become_candidate().iter().all(|request| request.term.0 == 7));
    let mut a = abc().term(6).start();
    assert!(a.become_leader().iter().all(|request| request.term.0 == 7));
    let mut a = abc().term(6).start();
    assert_eq!(reply(&a.heartbeat("b", 6)).term.0, 6);
    assert_eq!(reply(&a.request_vote("c", 7, id(1, 1))).term.0, 6, "refused for the leader's sake");
}

/// §5.1: the term increases monotonically; a late message of a smaller one never lowers it.
#[test]
fn the_term_never_decreases() {
    let mut a = abc().start();
    let mut highest = 0;
    for term in [3, 2, 5, 1, 5, 4, 8, 0] {
        a.heartbeat("b", term);
        a.request_vote("c", term, id(1, 1));
        highest = highest.max(term);
        assert_eq!(a.term(), highest);
    }
}

/// §5.1: each term begins with an election; a term in which nobody wins ends without a leader, and a new one begins.
#[test]
fn a_split_vote_ends_the_term_without_a_leader() {
    let mut a = abc().start();
    for request in a.become_candidate() {
        a.refuse(&request, 2, Reason::AlreadyVoted);
    }
    assert_eq!((a.term(), a.role(), a.leader()), (2, Role::Follower, None));
    a.become_candidate();
    assert_eq!(a.term(), 3);
}

/// §5.1: servers issue requests in parallel, and again to those who did not answer in time.
#[test]
fn a_vote_is_asked_for_again_where_the_call_failed() {
    let mut a = Setup::of("abcde").start();
    let first = a.become_candidate();
    assert_eq!(asked(&first), ["b", "c", "d", "e"]);
    let failed = &first[2];
    let error = hustings::message::CallError::Timeout;
    a.step(Input::CallFailed { id: failed.id, to: failed.to.clone(), error });
    let again = requests(&a.tick(), RequestKind::RequestVote);
    assert_eq!((asked(&again), a.term()), (vec!["d"], 2), "the same term is asked for, of the one who did not answer");
}

/// §5.1: a term has at most one leader. A second one that claims it is not followed.
#[test]
fn a_term_has_one_leader() {
    let mut a = abc().start();
    a.follow("b", 3);
    let out = a.heartbeat("c", 3);
    assert!(!verdict(&out).is_granted());
    assert_eq!(a.leader(), Some("b"));
    let mut a = abc().start();
    a.lead();
    let out = a.heartbeat("c", 2);
    assert!(!verdict(&out).is_granted());
    assert_eq!((a.role(), a.leader()), (Role::Leader, Some("a")));
}
