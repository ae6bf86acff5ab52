//! E2, E3, E5 at the voter: what is promised, to whom, and what a vote says of it.

use super::bench::*;
use hustings::event::{EventKind, Role, Trigger};
use hustings::message::{Reason, RequestBody};
use hustings::node::Input;
use hustings::types::{Incarnation, Term};
use std::time::Duration;

fn lose(a: &mut Bench, peer: &str) -> hustings::node::Output {
    a.step(Input::PeerClosed(node(peer)));
    a.step(Input::PeerLost { peer: node(peer), refused: true })
}

fn resign(a: &mut Bench, from: &Peer, term: u64) {
    let out = a.ask(from, term, RequestBody::Resign);
    assert!(verdict(&out).is_granted());
}

/// E2: on evidence of its own a voter grants early, and says how much of its promise remains.
#[test]
fn a_voter_grants_early_on_evidence_and_says_what_remains() {
    let mut a = abc().start();
    a.follow("b", 1);
    a.pass(50 * MS);
    let out = lose(&mut a, "b");
    assert!(happened(&out, |kind| matches!(kind, EventKind::EvidenceFound { refused: true, .. })));
    assert_eq!(a.leader(), None, "and it forgets the leader");
    let out = a.pre_vote("c", 2, id(1, 1));
    assert!(verdict(&out).is_granted());
    a.pass(MS);
    let out = a.request_vote("c", 2, id(1, 1));
    assert!(verdict(&out).is_granted());
    assert_eq!(remainder(&out), 99 * MS);
}

/// E2: on evidence a node asks at once, at its place in the queue, and not at its timeout.
#[test]
fn evidence_makes_a_follower_stand_soon() {
    let mut a = abc().start();
    a.follow("b", 1);
    lose(&mut a, "b");
    let slots = a.node.config().timing.succession_slot * 3;
    assert!(a.node.deadline().since(a.now) <= slots);
    let out = a.tick();
    let by_evidence =
        |kind: &EventKind| matches!(kind, EventKind::ElectionStarted { trigger: Trigger::ConnectionLost, .. });
    assert!(happened(&out, by_evidence));
}

/// E2: a closed connection alone is no evidence, nor a failed reconnect without one, nor one that came back.
#[test]
fn a_closed_connection_alone_is_no_evidence() {
    let lost = || Input::PeerLost { peer: node("b"), refused: true };
    let inputs = [
        vec![Input::PeerClosed(node("b"))],
        vec![lost()],
        vec![Input::PeerClosed(node("b")), Input::PeerConnected(node("b")), lost()],
        vec![Input::PeerClosed(node("c")), Input::PeerLost { peer: node("c"), refused: true }],
    ];
    for inputs in inputs {
        let mut a = abc().start();
        a.follow("b", 1);
        for input in &inputs {
            a.step(input.clone());
        }
        assert_eq!(a.leader(), Some("b"), "{inputs:?}");
        assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::LeaderAlive), "{inputs:?}");
    }
}

/// E2: evidence ends when the leader is heard again.
#[test]
fn a_heartbeat_ends_the_evidence() {
    let mut a = abc().start();
    a.follow("b", 1);
    lose(&mut a, "b");
    a.follow("b", 1);
    assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::LeaderAlive));
}

/// E2: evidence against one leader excuses no promise to another.
#[test]
fn evidence_is_about_one_leader_and_term() {
    let mut a = abc().start();
    a.follow("b", 1);
    lose(&mut a, "b");
    a.follow("c", 2);
    let b = a.peer("b").with(|b| b.incarnation = Incarnation(2));
    let out = a.ask(&b, 3, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: None });
    assert_eq!(verdict(&out), refused(Reason::LeaderAlive));
}

/// E2: a refused connection proves death only where the user says so; then nothing is owed.
#[test]
fn a_refused_connection_clears_the_promise_only_if_the_user_says_so() {
    for (trusted, refused, left) in [(false, true, PROMISE), (true, true, Duration::ZERO), (true, false, PROMISE)] {
        let mut a = abc().with(|setup| setup.config.trust_connection_refused = trusted).start();
        a.follow("b", 1);
        a.step(Input::PeerClosed(node("b")));
        a.step(Input::PeerLost { peer: node("b"), refused });
        let out = a.request_vote("c", 2, id(1, 1));
        assert!(verdict(&out).is_granted());
        assert_eq!(remainder(&out), left, "trusted {trusted}, refused {refused}");
    }
}

/// E2: whom it promised it may vote for, that life of it and no other.
#[test]
fn a_promise_is_no_obstacle_to_its_own_holder() {
    let mut a = abc().start();
    a.follow("b", 1);
    let out = a.request_vote("b", 2, id(1, 1));
    assert!(verdict(&out).is_granted());
    assert_eq!(remainder(&out), Duration::ZERO);
    let mut a = abc().start();
    a.follow("b", 1);
    let reborn = a.peer("b").with(|b| b.incarnation = Incarnation(2));
    let out = a.ask(&reborn, 2, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: None });
    assert_eq!((verdict(&out), remainder(&out)), (refused(Reason::LeaderAlive), PROMISE));
}

/// E2: a resignation releases the promise to exactly that life of that leader in that term.
#[test]
fn a_resignation_releases_exactly_its_promise() {
    for (who, incarnation, term, released) in
        [("b", 1, 1, true), ("b", 2, 1, false), ("c", 1, 1, false), ("b", 1, 0, false), ("b", 1, 2, false)]
    {
        let mut a = abc().start();
        a.follow("b", 1);
        let from = a.peer(who).with(|peer| peer.incarnation = Incarnation(incarnation));
        resign(&mut a, &from, term);
        let out = a.pre_vote("c", 2, id(1, 1));
        assert_eq!(verdict(&out).is_granted(), released, "{who}/{incarnation} in {term}");
    }
}

/// E2: it releases it whatever the voter's term is by now, and nothing that is owed to others.
#[test]
fn a_new_leader_does_not_make_the_old_promise_forgotten() {
    let mut a = abc().start();
    a.follow("b", 1);
    a.pass(50 * MS);
    a.follow("c", 2);
    let c = a.peer("c");
    resign(&mut a, &c, 2);
    let out = a.request_vote("c", 3, id(1, 1));
    assert!(verdict(&out).is_granted(), "what is owed forbids no vote");
    assert_eq!(remainder(&out), 100 * MS, "the promise to b is still owed");
}

/// Heartbeats of a resigned term are refused, also those that were on their way.
#[test]
fn a_heartbeat_of_a_resigned_term_is_refused() {
    let mut a = abc().start();
    a.follow("b", 1);
    let b = a.peer("b");
    resign(&mut a, &b, 1);
    assert_eq!(a.leader(), None);
    assert_eq!(verdict(&a.heartbeat("b", 1)), refused(Reason::Resigned));
    assert!(verdict(&a.request_vote("c", 2, id(1, 1))).is_granted());
}

/// A resignation of an earlier term that comes late (its work ended late) does not make the later one forgotten.
#[test]
fn a_late_resignation_does_not_hide_a_later_one() {
    let mut a = abc().start();
    a.follow("b", 1);
    a.follow("c", 2);
    let (b, c) = (a.peer("b"), a.peer("c"));
    resign(&mut a, &c, 2);
    resign(&mut a, &b, 1);
    assert_eq!(verdict(&a.heartbeat("c", 2)), refused(Reason::Resigned));
}

/// Learning of a resignation, a follower stands within half an election timeout.
#[test]
fn a_resignation_makes_a_follower_stand_soon() {
    let mut a = abc().start();
    a.follow("b", 1);
    let b = a.peer("b");
    resign(&mut a, &b, 1);
    assert!(a.node.deadline().since(a.now) <= ET_MIN / 2);
}

/// Promises: a later, shorter one never shortens an earlier one.
#[test]
fn a_shorter_promise_shortens_nothing() {
    let mut a = abc().start();
    a.follow("b", 1);
    let b = a.peer("b");
    let body = RequestBody::AppendEntries {
        promise: 10 * MS,
        record: None,
        committed: None,
        rank: None,
        election: hustings::types::TraceContext::NONE,
    };
    let out = a.ask(&b, 1, body);
    assert_eq!(acked(&out).0, 10 * MS, "the ack says what this heartbeat was given");
    let out = a.request_vote("c", 2, id(1, 1));
    assert_eq!((verdict(&out), remainder(&out)), (refused(Reason::LeaderAlive), PROMISE));
}

/// Promises: no longer one is given than the disk would remember after a restart; the disk is told in the background.
#[test]
fn a_longer_promise_waits_until_the_disk_remembers_it() {
    let mut a = abc().slow_disk().with(|setup| setup.state.promise_max = 100 * MS).start();
    let out = a.heartbeat("b", 1);
    assert_eq!(acked(&out).0, 100 * MS, "answered at once");
    assert_eq!(a.writing.as_ref().map(|persist| persist.state.promise_max), Some(PROMISE));
    assert_eq!(acked(&a.heartbeat("b", 1)).0, 100 * MS);
    a.persisted();
    assert_eq!(acked(&a.heartbeat("b", 1)).0, PROMISE);
}

/// Promises: never more than the configuration permits.
#[test]
fn no_more_is_promised_than_is_permitted() {
    let mut a = abc().start();
    let b = a.peer("b");
    let RequestBody::AppendEntries { record, committed, rank, election, .. } = append_entries(None, None) else {
        unreachable!()
    };
    let greedy = RequestBody::AppendEntries { promise: Duration::MAX, record, committed, rank, election };
    assert_eq!(acked(&a.ask(&b, 1, greedy)).0, PROMISE);
}

/// E3: after a start no vote is given before the longest promise of the former life is over.
#[test]
fn a_restarted_voter_waits_for_its_longest_promise() {
    let mut a = abc().with(|setup| setup.state.promise_max = 120 * MS).quarantined().start();
    let quarantined =
        |kind: &EventKind| matches!(kind, EventKind::Started { quarantine, .. } if *quarantine == 120 * MS);
    assert!(happened(&a.started, quarantined), "it says so");
    a.pass(20 * MS);
    for out in [a.request_vote("b", 2, id(1, 1)), a.pre_vote("b", 2, id(1, 1))] {
        assert_eq!((verdict(&out), remainder(&out)), (refused(Reason::RestartQuarantine), 100 * MS));
    }
    assert_eq!((a.term(), a.voted_for()), (1, None), "and its term stays");
    a.pass(100 * MS);
    let out = a.request_vote("b", 2, id(1, 1));
    assert!(verdict(&out).is_granted());
    assert_eq!(remainder(&out), Duration::ZERO);
}

/// E3: evidence and transfer are no way around the quarantine, neither as voter nor as successor.
#[test]
fn the_quarantine_holds_against_evidence_and_transfer() {
    let mut a = abc().quarantined().start();
    a.follow("b", 1);
    let (b, c) = (a.peer("b"), a.peer("c"));
    let transfer = Some((b.holder(), Term(1)));
    let out = a.ask(&c, 2, RequestBody::RequestVote { last: Some(id(1, 1)), transfer });
    assert_eq!(verdict(&out), refused(Reason::RestartQuarantine));
    assert_eq!(verdict(&a.ask(&b, 1, RequestBody::TimeoutNow)), refused(Reason::RestartQuarantine));
    assert_eq!((a.role(), a.leader()), (Role::Follower, Some("b")));
    lose(&mut a, "b");
    assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::RestartQuarantine));
}

/// E3: nor does the node stand itself before it is over; heartbeats are followed and promised meanwhile.
#[test]
fn a_restarted_node_follows_and_does_not_stand() {
    for seed in 0..20 {
        let mut a = abc().seed(seed).quarantined().start();
        let until = a.node.promises().quarantine_until();
        assert!(a.node.deadline() >= until);
        assert_eq!(acked(&a.heartbeat("b", 1)).0, PROMISE);
        assert!(a.node.deadline() >= until);
        lose(&mut a, "b");
        assert!(a.node.deadline() >= until);
    }
}

/// E3: by order of the user it may ask, and finds that it does not grant itself.
#[test]
fn a_campaign_by_order_does_not_pass_the_quarantine() {
    let mut a = Setup::of("a").quarantined().start();
    a.step(Input::Campaign);
    assert_ne!(a.role(), Role::Leader);
    assert_eq!(a.term(), 1);
}

/// E2: the own promise forbids the own candidacy, whatever the others say.
#[test]
fn a_node_does_not_stand_against_its_own_promise() {
    let mut a = abc().start();
    a.follow("b", 1);
    let out = a.step(Input::Campaign);
    for request in requests(&out, hustings::message::RequestKind::PreVote) {
        a.grant(&request);
    }
    assert_eq!((a.role(), a.term()), (Role::Follower, 1));
}

/// A candidate that was refused only for promises retries when a quorum's are over, and draws no new timeout.
#[test]
fn a_candidate_refused_for_a_promise_retries_when_it_ends() {
    let mut a = abc().start();
    let asked = a.stand();
    for request in &asked {
        let body = hustings::message::ReplyBody::Vote { remainder: 30 * MS, record: None, hearsay: None };
        let reply = a.reply(request, 1, refused(Reason::LeaderAlive), body);
        a.step(Input::Reply(reply));
    }
    let wait = a.node.deadline().since(a.now);
    let slots = a.node.config().timing.succession_slot * 3;
    assert!(wait >= 30 * MS && wait <= 30 * MS + slots, "{wait:?}");
}
