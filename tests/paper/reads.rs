//! Paper §8 and dissertation §6.2, §6.4: what a leader must know before it acts as one.

use super::bench::*;
use hustings::event::{EventKind, LeadershipEnd, RecordCause, Role};
use hustings::message::{Contention, ReplyBody, RequestBody, RequestKind};
use hustings::node::Input;
use std::time::Duration;

/// §8: each leader commits a blank no-op at the start of its term.
#[test]
fn a_leader_begins_with_a_no_op() {
    let mut a = abc().term(4).record(3, 9).start();
    let asked = a.become_candidate();
    let out = a.grant(&asked[0]);
    let no_op = |kind: &EventKind| matches!(kind, EventKind::RecordAppended { cause: RecordCause::NoOp, .. });
    assert!(happened(&out, no_op));
    let record = a.node.hard_state().record.clone().expect("a record");
    assert_eq!((record.id, record.parent), (id(5, 10), id(3, 9)));
    assert_eq!(record.members, record_of("abc", 3, 9).members, "the same content");
    for request in requests(&out, RequestKind::AppendEntries) {
        let RequestBody::AppendEntries { record: Some(sent), .. } = &request.body else { panic!("{request:?}") };
        assert_eq!(*sent, record);
    }
}

/// §8, §6.4: until the no-op is committed the leader does not know what is committed, and serves nothing.
#[test]
fn nothing_is_served_before_the_no_op_is_committed() {
    let mut a = Setup::of("abcde").start();
    let appends = a.become_leader();
    a.ack(&appends[0]);
    a.step(Input::WorkStarted);
    assert!(a.node.committed().is_none() && a.node.working().is_none() && !a.is_exclusive());
    let out = a.ack(&appends[1]);
    assert!(happened(&out, |kind| matches!(kind, EventKind::Established { .. })));
    a.step(Input::WorkStarted);
    assert_eq!((a.node.committed().map(|r| r.id), a.node.working().map(|t| t.0)), (Some(id(2, 2)), Some(2)));
}

/// §8, §6.4: before it answers, a leader exchanges heartbeats with a majority, sent after the question came.
#[test]
fn a_leader_confirms_with_a_quorum_that_it_has_not_been_deposed() {
    let mut a = Setup::of("abcde").start();
    a.lead();
    let before = a.round();
    a.pass(10 * MS);
    let asked_at = a.now;
    let confirmed = |bench: &Bench| bench.node.quorum_contact() >= Some(asked_at);
    for request in &before {
        a.ack(request);
    }
    assert!(!confirmed(&a), "answers to heartbeats from before the question prove nothing");
    let round = a.round();
    a.ack(&round[0]);
    assert!(!confirmed(&a), "two of five are no majority");
    a.ack(&round[1]);
    assert!(confirmed(&a));
}

/// §6.4.1: a lease begins when the heartbeats were sent, not when they were answered, and allows for clock drift.
#[test]
fn the_lease_counts_from_the_sending_and_allows_for_drift() {
    let mut a = abc().start();
    a.lead();
    a.pass(20 * MS);
    let sent = a.now;
    let round = a.round();
    a.pass(15 * MS);
    a.ack(&round[0]);
    let end = a.node.lease().expect("it leads").end;
    // 1 % drift each way: 150 ms x 0.99 / 1.01.
    assert_eq!(end.since(sent), a.node.config().timing.lease_of(PROMISE));
    assert!(end.since(sent) < Duration::from_micros(147_030));
}

/// §6.4.1: the lease lasts as long as a majority has promised, and not as long as the fastest has.
#[test]
fn the_lease_is_a_majoritys() {
    let mut a = Setup::of("abcde").start();
    a.lead();
    let end = a.node.lease().expect("it leads").end;
    a.pass(20 * MS);
    let round = a.round();
    a.ack(&round[0]);
    assert_eq!(a.node.lease().expect("it leads").end, end, "b alone lengthens nothing");
    a.ack(&round[1]);
    assert_eq!(a.node.lease().expect("it leads").end, end + 20 * MS);
}

/// §6.4.1: a leader gives up its lease before it transfers leadership.
#[test]
fn a_transfer_ends_the_lease_before_timeout_now_leaves() {
    let mut a = abc().start();
    a.lead();
    let out = a.step(Input::Transfer(Some(node("b"))));
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["b"]);
    assert!(!a.is_exclusive());
    let revoked = out.events.iter().position(|event| matches!(event.kind, EventKind::GuardRevoked { .. }));
    let sent = |kind: &EventKind| matches!(kind, EventKind::RequestSent { kind: RequestKind::TimeoutNow, .. });
    let sent = out.events.iter().position(|event| sent(&event.kind));
    assert!(revoked.expect("revoked") < sent.expect("sent"));
}

/// §6.2: a leader steps down if an election timeout passes without heartbeats answered by a majority.
#[test]
fn a_leader_without_a_majority_steps_down() {
    let mut a = Setup::of("abcde").start();
    a.lead();
    let mut out = Default::default();
    while a.role() == Role::Leader {
        out = a.tick();
        // One of five is in contact; that is no majority.
        for request in requests(&out, RequestKind::AppendEntries).iter().filter(|request| request.to.as_str() == "b") {
            a.ack(request);
        }
    }
    let lost = |kind: &EventKind| matches!(kind, EventKind::LeadershipEnded { cause: LeadershipEnd::QuorumLost, .. });
    assert!(happened(&out, lost));
    assert!(requests(&a.wait(HEARTBEAT), RequestKind::AppendEntries).is_empty(), "and goes silent");
}

/// §6.2: a majority in contact keeps it in office, whoever it is.
#[test]
fn a_leader_with_a_majority_stays() {
    let mut a = Setup::of("abcde").start();
    a.lead();
    for turn in 0..100 {
        let mut round = requests(&a.tick(), RequestKind::AppendEntries);
        // Those that did not answer are asked again before the next round.
        while round.len() < 4 {
            round = requests(&a.tick(), RequestKind::AppendEntries);
        }
        a.ack(&round[turn % 4]);
        a.ack(&round[(turn + 1) % 4]);
        assert_eq!(a.role(), Role::Leader);
    }
}

/// §6.4: only answers to this leader's own heartbeats keep it: one that hears others, and is not answered, goes.
#[test]
fn messages_other_than_answers_do_not_keep_a_leader() {
    let mut a = abc().start();
    a.lead();
    let last_answer = a.now;
    while a.role() == Role::Leader {
        a.pre_vote("b", 3, id(2, 2));
        a.pre_vote("c", 3, id(2, 2));
        a.tick();
    }
    assert!(a.now.since(last_answer) <= PROMISE);
}

/// §6.4: a refused heartbeat keeps no leader.
#[test]
fn a_refusal_does_not_lengthen_the_lease() {
    let mut a = abc().start();
    a.lead();
    let end = a.node.lease().expect("it leads").end;
    a.pass(20 * MS);
    for request in a.round() {
        let body = ReplyBody::Append { promised: PROMISE, durable: None, contention: Contention::Contends };
        let reply = a.reply(&request, 2, refused(hustings::message::Reason::StorageError), body);
        a.step(Input::Reply(reply));
    }
    assert_eq!(a.node.lease().expect("it leads").end, end);
}
