//! E1, E5 to E8 at the leader: when it is exclusive, and what ends that.

use super::bench::*;
use hustings::config::Timing;
use hustings::event::{EventKind, LeadershipEnd, Role};
use hustings::message::{Contention, Reason, ReplyBody, RequestBody, RequestKind, Verdict};
use hustings::node::{Input, Output};
use hustings::types::Time;
use std::time::Duration;

fn barrier(out: &Output) -> Duration {
    let elected = out.events.iter().find_map(|event| match event.kind {
        EventKind::Elected { barrier } => Some(barrier),
        _ => None,
    });
    elected.expect("elected")
}

fn ended(out: &Output) -> Option<LeadershipEnd> {
    out.events.iter().find_map(|event| match event.kind {
        EventKind::LeadershipEnded { cause, .. } => Some(cause),
        _ => None,
    })
}

/// E2: an early vote makes a leader, and the remainder that it reports delays its lease.
#[test]
fn elected_and_exclusive_are_two_facts() {
    let mut a = abc().start();
    let asked = a.become_candidate();
    let out = a.grant_owing(&asked[0], 100 * MS);
    assert_eq!((a.role(), barrier(&out)), (Role::Leader, 100 * MS));
    let begin = a.now + 100 * MS;
    for request in requests(&out, RequestKind::AppendEntries) {
        a.ack(&request);
    }
    assert!(a.node.committed().is_some() && !a.is_exclusive(), "elected and established, and not yet alone");
    a.pass(50 * MS);
    for request in a.round() {
        a.ack(&request);
    }
    a.now = begin;
    assert!(a.is_exclusive());
    a.now = hustings::types::Time(begin.0 - 1);
    assert!(!a.is_exclusive());
    a.now = begin;
    let out = a.step(Input::Tick);
    let exclusive = |kind: &EventKind| matches!(kind, EventKind::BecameExclusive { after } if *after == 100 * MS);
    assert!(happened(&out, exclusive));
}

/// E2: the largest remainder of the vote quorum counts, the own promise included.
#[test]
fn the_barrier_is_the_largest_remainder_of_the_quorum() {
    let mut a = Setup::of("abcde").start();
    let asked = a.become_candidate();
    a.grant_owing(&asked[0], 80 * MS);
    let out = a.grant_owing(&asked[1], 30 * MS);
    assert_eq!(barrier(&out), 80 * MS);

    let mut a = abc().start();
    a.follow("b", 1);
    a.step(Input::PeerClosed(node("b")));
    a.step(Input::PeerLost { peer: node("b"), refused: false });
    let asked = a.become_candidate();
    let out = a.grant(&asked[1]);
    let waited = a.node.config().timing.succession_slot * 3;
    assert!(barrier(&out) + waited >= PROMISE, "what it promised b itself: {:?}", barrier(&out));
}

/// E1: a promise that was not given lengthens no lease; one that was shorter than asked lengthens it by so much.
#[test]
fn the_lease_is_what_was_promised() {
    let mut a = abc().start();
    let appends = a.become_leader();
    let mut ack = a.ack_reply(&appends[0]);
    ack.body =
        ReplyBody::Append { promised: Duration::ZERO, durable: Some(id(2, 2)), contention: Contention::Contends };
    a.step(Input::Reply(ack));
    assert!(a.node.committed().is_some() && !a.is_exclusive());
    let mut ack = a.ack_reply(&appends[1]);
    ack.body = ReplyBody::Append { promised: 80 * MS, durable: Some(id(2, 2)), contention: Contention::Contends };
    a.step(Input::Reply(ack));
    assert_eq!(a.node.lease().expect("it leads").end, a.now + a.node.config().timing.lease_of(80 * MS));
}

/// E1: an ack that comes twice, or out of order, never shortens what was promised, and never lengthens it.
#[test]
fn acks_count_once_and_in_any_order() {
    let mut a = abc().start();
    a.lead();
    let old = a.round();
    a.pass(20 * MS);
    let new = a.round();
    a.ack(&new[0]);
    let end = a.node.lease().expect("it leads").end;
    a.pass(10 * MS);
    a.ack(&old[0]);
    a.ack(&new[0]);
    assert_eq!(a.node.lease().expect("it leads").end, end);
}

/// E6: an ack handled at or after the end of the lease does not extend it: the term of office is over.
#[test]
fn an_ack_after_the_lease_does_not_extend_it() {
    for late in [Duration::ZERO, Duration::from_nanos(1), 10 * MS] {
        let mut a = abc().start();
        a.lead();
        a.pass(20 * MS);
        let round = a.round();
        a.now = a.node.lease().expect("it leads").end + late;
        let out = a.ack(&round[0]);
        assert_eq!((ended(&out), a.role()), (Some(LeadershipEnd::QuorumLost), Role::Follower), "{late:?} late");
    }
    let mut a = abc().start();
    a.lead();
    a.pass(20 * MS);
    let round = a.round();
    a.now = hustings::types::Time(a.node.lease().expect("it leads").end.0 - 1);
    a.ack(&round[0]);
    assert!(a.is_exclusive(), "in time is in time");
}

/// E6: a driver that stood still past the lease has lost it, and is named as the cause.
#[test]
fn a_pause_past_the_lease_ends_the_office() {
    let mut a = abc().start();
    a.lead();
    a.pass(PROMISE);
    let out = a.step(Input::Paused(100 * MS));
    assert_eq!(ended(&out), Some(LeadershipEnd::Paused));
}

/// E6: the grace after the election keeps a leader in office, and is no lease.
#[test]
fn grace_is_no_lease() {
    let mut a = abc().start();
    a.become_leader();
    a.pass(PROMISE - MS);
    a.step(Input::Heartbeat);
    assert_eq!(a.role(), Role::Leader);
    assert!(!a.is_exclusive() && a.node.lease().is_some_and(|lease| lease.end < a.now));
    a.pass(MS);
    let out = a.step(Input::Tick);
    assert!(ended(&out).is_some());
}

/// E7: a leader refuses its rivals until the end of its office, barrier or not, and says how long that is.
#[test]
fn a_leader_refuses_until_the_end_of_its_office() {
    let mut a = abc().start();
    let asked = a.become_candidate();
    a.grant_owing(&asked[0], 100 * MS);
    assert!(!a.is_exclusive());
    let out = a.request_vote("c", 3, id(9, 9));
    assert_eq!((verdict(&out), remainder(&out)), (refused(Reason::LeaderAlive), PROMISE));
    a.pass(PROMISE);
    let out = a.request_vote("c", 3, id(9, 9));
    assert!(verdict(&out).is_granted(), "then it steps down");
    assert_eq!((a.role(), a.term()), (Role::Follower, 3));
    assert_eq!(asked_to_resign(&out), ["b", "c"], "and says so");
}

fn asked_to_resign(out: &Output) -> Vec<String> {
    requests(out, RequestKind::Resign).iter().map(|request| request.to.to_string()).collect()
}

/// E8: a leader that is not established within an election timeout resigns, quorum or not.
#[test]
fn a_leader_that_is_not_established_resigns() {
    let mut a = abc().start();
    a.become_leader();
    let elected_at = a.now;
    let mut out = Output::default();
    while a.role() == Role::Leader {
        for request in requests(&out, RequestKind::AppendEntries) {
            let body =
                ReplyBody::Append { promised: PROMISE, durable: Some(id(1, 1)), contention: Contention::Contends };
            let reply = a.reply(&request, 2, hustings::message::Verdict::Granted, body);
            a.step(Input::Reply(reply));
        }
        out = a.tick();
    }
    assert_eq!((ended(&out), a.now.since(elected_at)), (Some(LeadershipEnd::NotEstablished), ET_MIN));
    assert_eq!(asked_to_resign(&out), ["b", "c"]);
}

/// E5: a leader that steps down with work running sends no resignation, and owes itself the rest of its lease.
#[test]
fn a_deposed_leader_with_work_owes_itself_its_lease() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.pass(40 * MS);
    let rest = a.node.lease().expect("it leads").end.since(a.now);
    let out = a.heartbeat("c", 9);
    assert!(a.node.lease().is_none(), "the guard is revoked in the same step");
    assert!(requests(&out, RequestKind::Resign).is_empty());
    assert_eq!(a.node.working().map(|term| term.0), Some(2));
    let out = a.request_vote("c", 10, id(9, 9));
    assert!(verdict(&out).is_granted());
    assert_eq!(remainder(&out), a.node.config().timing.owed_of(rest), "with the drift added back");
    let out = a.step(Input::WorkEnded);
    let resigned = requests(&out, RequestKind::Resign);
    assert_eq!((asked(&resigned), resigned[0].term.0), (vec!["b", "c"], 2));
    assert_eq!(remainder(&a.request_vote("c", 10, id(9, 9))), Duration::ZERO);
}

/// E5, E12: it does not stand before that work has ended, so that it never owes it in a candidacy of its own.
#[test]
fn a_deposed_leader_owes_its_next_office_nothing() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    let end = a.node.lease().expect("it leads").end;
    a.heartbeat("c", 3);
    let c = a.peer("c");
    a.ask(&c, 3, RequestBody::Resign);
    a.step(Input::WorkEnded);
    let asked = a.become_candidate();
    assert!(a.now < end);
    let out = a.grant(&asked[0]);
    assert_eq!(barrier(&out), Duration::ZERO);
}

/// E5: ended work clears the own lease, and nothing that is owed to others.
#[test]
fn ended_work_clears_only_the_own_lease() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.heartbeat("c", 3);
    a.step(Input::WorkEnded);
    let out = a.pre_vote("b", 4, id(9, 9));
    assert_eq!((verdict(&out), remainder(&out)), (refused(Reason::LeaderAlive), PROMISE), "the promise to c");
}

/// E5: nor what is owed to a leader that another has followed meanwhile.
#[test]
fn ended_work_clears_nothing_that_is_owed_to_a_former_leader() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.heartbeat("c", 3);
    a.heartbeat("b", 4);
    a.step(Input::WorkEnded);
    let out = a.request_vote("b", 5, id(9, 9));
    assert_eq!((verdict(&out), remainder(&out)), (Verdict::Granted, PROMISE), "the promise to c");
}

/// A leader that steps down without work says so at once, and owes itself nothing.
#[test]
fn a_deposed_leader_without_work_resigns_at_once() {
    let mut a = abc().start();
    a.lead();
    let out = a.heartbeat("c", 9);
    assert_eq!(asked_to_resign(&out), ["b", "c"]);
    assert_eq!(remainder(&a.request_vote("c", 10, id(9, 9))), Duration::ZERO);
}

/// Promises may adapt: the leader asks for what it is told to, if a lease of it lasts and the configuration permits it.
#[test]
fn the_leader_asks_for_the_promise_it_is_told() {
    let mut a = abc().start();
    a.lead();
    for (told, then) in [(100 * MS, 100 * MS), (200 * MS, 100 * MS), (10 * MS, 100 * MS), (PROMISE, PROMISE)] {
        a.step(Input::AskPromise(told));
        let round = a.round();
        let RequestBody::AppendEntries { promise, .. } = round[0].body else { panic!() };
        assert_eq!(promise, then, "told {told:?}");
        a.ack(&round[0]);
    }
}

/// V12: who does not answer is asked again within the round, who answers is not, and who is gone for long is asked once.
#[test]
fn a_heartbeat_without_an_answer_is_repeated() {
    let mut a = abc().start();
    a.lead();
    let (first, end) = (a.now, a.now + ET_MAX * 4);
    let mut asked = Vec::new();
    while a.now < end {
        // The promises of b keep it in office.
        for request in requests(&a.tick(), RequestKind::AppendEntries) {
            asked.push((a.now, request.to.to_string()));
            if request.to.as_str() == "b" {
                a.ack(&request);
            }
        }
    }
    let times = |name: &str, from: Time, to: Time| {
        asked.iter().filter(|(at, to_whom)| to_whom == name && *at >= from && *at < to).count() as u32
    };
    let rounds = |from: Time, to: Time| to.since(from).as_millis() as u32 / HEARTBEAT.as_millis() as u32;
    let gone = first + ET_MAX + HEARTBEAT;
    assert_eq!(times("b", first + HEARTBEAT, gone), rounds(first + HEARTBEAT, gone));
    assert_eq!(times("c", first + HEARTBEAT, first + ET_MAX), 4 * rounds(first + HEARTBEAT, first + ET_MAX));
    assert!(times("c", gone, end).abs_diff(rounds(gone, end)) <= 1, "a dead member costs one heartbeat a round");
}

/// E1: an answer to a repeated heartbeat lengthens the lease from the beginning of its round, which is sooner.
#[test]
fn a_repeated_heartbeat_counts_as_sent_with_its_round() {
    let mut a = abc().start();
    a.lead();
    let round = requests(&a.tick(), RequestKind::AppendEntries);
    let sent = a.now;
    let again = requests(&a.tick(), RequestKind::AppendEntries);
    assert_eq!((round.len(), again.len()), (2, 2));
    assert!(a.now > sent);
    a.ack(&again[0]);
    assert_eq!(a.node.lease().expect("a lease").end, hustings::promise::lease_end(&Timing::default(), sent, PROMISE));
}
