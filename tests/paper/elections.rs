//! Paper §5.2: leader election.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bench::*;
use hustings::event::{EventKind, Outcome, Role};
use hustings::message::{Reason, RequestBody, RequestKind};

/// §5.2: servers begin as followers.
#[test]
fn a_server_starts_as_a_follower() {
    for setup in [abc(), abc().term(9).voted("a"), abc().blank(), Setup::of("a")] {
        let a = setup.quarantined().start();
        assert_eq!((a.role(), a.leader()), (Role::Follower, None));
    }
}

/// §5.2: a server stays a follower as long as it receives valid requests from a leader.
#[test]
fn a_follower_that_hears_its_leader_does_not_stand() {
    let mut a = abc().start();
    a.follow("b", 1);
    for _ in 0..100 {
        let out = a.wait(ET_MIN - MS);
        assert!(out.events.is_empty() && out.requests.is_empty(), "followers issue no requests: {out:?}");
        a.follow("b", 1);
    }
    assert_eq!((a.role(), a.term()), (Role::Follower, 1));
}

/// §5.2: a leader sends periodic heartbeats, that carry no entry, to all followers.
#[test]
fn a_leader_sends_heartbeats_at_its_interval() {
    let mut a = Setup::of("abcde").start();
    a.lead();
    for _ in 0..20 {
        let before = a.now;
        let round = requests(&a.tick(), RequestKind::AppendEntries);
        assert_eq!(a.now.since(before), HEARTBEAT);
        assert_eq!(asked(&round), ["b", "c", "d", "e"]);
        for request in &round {
            assert!(matches!(request.body, RequestBody::AppendEntries { record: None, .. }));
            a.ack(request);
        }
    }
}

/// §5.2: a follower that hears nothing for the election timeout assumes that there is no leader, and begins an election.
#[test]
fn a_follower_without_a_leader_stands_at_its_timeout() {
    let mut a = abc().start();
    a.follow("b", 1);
    let contact = a.now;
    a.stand();
    let waited = a.now.since(contact);
    assert!((ET_MIN..=ET_MAX).contains(&waited), "{waited:?}");
    assert_eq!(a.leader(), None, "it has forgotten the leader");
}

/// §5.2: to begin an election it increments its term, becomes candidate, votes for itself and asks the others in parallel.
#[test]
fn a_candidate_increments_its_term_votes_for_itself_and_asks_everyone() {
    let mut a = Setup::of("abcde").start();
    let asked_votes = a.become_candidate();
    assert_eq!((a.term(), a.role(), a.voted_for()), (2, Role::Candidate, Some("a")));
    assert_eq!(asked(&asked_votes), ["b", "c", "d", "e"]);
    assert!(asked_votes.iter().all(|request| request.term.0 == 2));
}

/// §5.2: a candidate wins with the votes of a majority of the full cluster in the same term, and not with fewer.
#[test]
fn a_majority_elects() {
    for (members, needed_of_others) in [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 2), ("abcdef", 3), ("abcdefg", 3)]
    {
        let mut a = Setup::of(members).start();
        let asked = a.become_candidate();
        for (count, request) in asked.iter().enumerate().take(needed_of_others) {
            assert_eq!(a.role(), Role::Candidate, "{members} with {count} votes of others");
            a.grant(request);
        }
        assert_eq!(a.role(), Role::Leader, "{members}");
    }
}

/// §5.2: a cluster of one elects itself.
#[test]
fn a_single_server_elects_itself() {
    let mut a = Setup::of("a").start();
    a.tick();
    assert_eq!((a.role(), a.term()), (Role::Leader, 2));
}

/// §5.2: a majority of refusals is no majority of votes.
#[test]
fn a_candidate_refused_by_a_majority_is_not_elected() {
    let mut a = Setup::of("abcde").start();
    let asked = a.become_candidate();
    a.refuse(&asked[0], 2, Reason::AlreadyVoted);
    a.grant(&asked[1]);
    a.refuse(&asked[2], 2, Reason::AlreadyVoted);
    assert_eq!(a.role(), Role::Candidate);
    a.refuse(&asked[3], 2, Reason::AlreadyVoted);
    assert_eq!(a.role(), Role::Follower);
}

/// §5.2: a vote of the same server counts once.
#[test]
fn a_repeated_vote_counts_once() {
    let mut a = Setup::of("abcde").start();
    let asked = a.become_candidate();
    for _ in 0..5 {
        a.grant(&asked[0]);
    }
    assert_eq!(a.role(), Role::Candidate);
}

/// §5.2: each server votes for at most one candidate in a term, on a first-come-first-served basis.
#[test]
fn a_server_votes_once_in_a_term() {
    let mut a = abc().start();
    assert!(verdict(&a.request_vote("b", 2, id(1, 1))).is_granted());
    assert_eq!(verdict(&a.request_vote("c", 2, id(9, 9))), refused(Reason::AlreadyVoted));
    assert!(verdict(&a.request_vote("b", 2, id(1, 1))).is_granted(), "the same vote again");
    assert!(verdict(&a.request_vote("c", 3, id(1, 1))).is_granted(), "a new term, a new vote");
}

/// §5.2: a candidate has voted for itself, and for nobody else in its term.
#[test]
fn a_candidate_does_not_vote_for_another_in_its_term() {
    let mut a = abc().start();
    a.become_candidate();
    assert_eq!(verdict(&a.request_vote("b", 2, id(9, 9))), refused(Reason::AlreadyVoted));
    assert_eq!(a.role(), Role::Candidate);
}

/// §5.2: the vote survives a restart, since term and vote are stored before it is answered.
#[test]
fn a_restarted_server_remembers_its_vote() {
    let mut a = abc().start();
    a.request_vote("b", 2, id(1, 1));
    let state = a.node.hard_state().clone();
    let mut a = abc().with(|setup| setup.state = state).start();
    assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::AlreadyVoted));
    assert!(verdict(&a.request_vote("b", 2, id(1, 1))).is_granted());
}

/// §5.2: whoever wins becomes leader, and at once sends its heartbeat to all others.
#[test]
fn a_new_leader_announces_itself_to_everyone_at_once() {
    let mut a = Setup::of("abcde").start();
    let appends = a.become_leader();
    assert_eq!((asked(&appends), a.leader()), (vec!["b", "c", "d", "e"], Some("a")));
    assert!(appends.iter().all(|request| request.term.0 == 2));
}

/// §5.2: a candidate that hears a leader of a term at least as large as its own recognizes it and becomes a follower.
#[test]
fn a_candidate_recognizes_the_leader_of_its_own_term() {
    let mut a = abc().start();
    a.become_candidate();
    let out = a.heartbeat("c", 2);
    assert_eq!((a.role(), a.term(), a.leader()), (Role::Follower, 2, Some("c")));
    assert_eq!(a.voted_for(), Some("a"), "the vote of the term stays given");
    assert!(happened(&out, |kind| matches!(kind, EventKind::ElectionEnded { outcome: Outcome::Superseded, .. })));
}

/// §5.2: if the leader's term is smaller, the candidate rejects the request and continues.
#[test]
fn a_candidate_rejects_a_leader_of_a_smaller_term() {
    let mut a = abc().start();
    a.become_candidate();
    assert_eq!(verdict(&a.heartbeat("c", 1)), refused(Reason::StaleTerm));
    assert_eq!((a.role(), a.term()), (Role::Candidate, 2));
}

/// §5.2: a candidate that neither wins nor loses times out, and begins a new election in a larger term.
#[test]
fn a_candidate_without_an_outcome_times_out_and_stands_again() {
    let mut a = abc().start();
    a.become_candidate();
    let asked_at = a.now;
    let out = a.tick();
    assert!((ET_MIN..=ET_MAX).contains(&a.now.since(asked_at)), "a candidacy lasts an election timeout");
    assert!(happened(&out, |kind| matches!(kind, EventKind::ElectionEnded { .. })));
    assert_eq!(a.term(), 2, "pre-vote first (dissertation §9.6)");
    a.become_candidate();
    assert_eq!(a.term(), 3);
}

/// §5.2: election timeouts are chosen randomly from a fixed interval.
#[test]
fn election_timeouts_are_drawn_from_the_interval() {
    let mut drawn: BTreeSet<Duration> = BTreeSet::new();
    for seed in 0..200 {
        let mut a = abc().seed(seed).start();
        a.follow("b", 1);
        let timeout = a.node.deadline().since(a.now);
        assert!((ET_MIN..=ET_MAX).contains(&timeout), "{timeout:?}");
        drawn.insert(timeout);
    }
    assert!(drawn.len() > 190, "drawn in nanoseconds, they hardly ever meet: {}", drawn.len());
    let (low, high) = (drawn.first().expect("some"), drawn.last().expect("some"));
    assert!(*low < ET_MIN + 10 * MS && *high > ET_MAX - 10 * MS, "the whole interval is used: {low:?} to {high:?}");
}

/// §5.2: a candidate draws a new timeout at the start of each election.
#[test]
fn every_election_draws_a_new_timeout() {
    let mut a = abc().start();
    let mut drawn = BTreeSet::new();
    for _ in 0..20 {
        a.become_candidate();
        drawn.insert(a.node.deadline().since(a.now));
        a.tick();
    }
    assert_eq!(drawn.len(), 20);
}

/// Figure 2, rules for followers: granting a vote restarts the election timeout; refusing one does not.
#[test]
fn a_granted_vote_restarts_the_election_timeout() {
    let mut a = abc().record(1, 5).start();
    let deadline = a.node.deadline();
    a.pass(40 * MS);
    assert_eq!(verdict(&a.request_vote("b", 2, id(1, 1))), refused(Reason::RecordBehind));
    assert_eq!(a.node.deadline(), deadline);
    assert!(verdict(&a.request_vote("c", 2, id(1, 5))).is_granted());
    assert!((ET_MIN..=ET_MAX).contains(&a.node.deadline().since(a.now)));
}

/// Figure 2, rules for followers, for one that has begun to ask: who grants a vote stands back.
#[test]
fn a_pre_candidate_that_grants_a_vote_stands_back() {
    let mut a = abc().start();
    let asked = a.stand();
    assert!(verdict(&a.request_vote("b", 1, id(1, 1))).is_granted());
    assert_eq!((a.role(), a.voted_for()), (Role::Follower, Some("b")));
    a.grant(&asked[1]);
    assert_eq!((a.role(), a.term()), (Role::Follower, 1), "its own round is over");
}

/// §5.2: votes of another term or another round are not votes of this one.
#[test]
fn a_vote_of_an_earlier_round_does_not_count() {
    let mut a = abc().start();
    let old = a.become_candidate();
    a.tick();
    a.become_candidate();
    assert_eq!((a.role(), a.term()), (Role::Candidate, 3));
    a.grant(&old[0]);
    a.grant(&old[1]);
    assert_eq!(a.role(), Role::Candidate);
}
