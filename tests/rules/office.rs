//! How an office ends: the guard is revoked, the work ends, and only then promises are released.

use super::bench::*;
use hustings::event::{EventKind, Role, TransferOutcome};
use hustings::message::{CallError, Reason, ReplyBody, RequestBody, RequestKind, Verdict};
use hustings::node::{Input, Output, TransferRefused};
use hustings::types::Time;

fn count(out: &Output, which: impl Fn(&EventKind) -> bool) -> usize {
    out.events.iter().filter(|event| which(&event.kind)).count()
}

fn stopped(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Stopped { .. })
}

fn transfer_ended(out: &Output) -> Vec<TransferOutcome> {
    let ended = out.events.iter().filter_map(|event| match event.kind {
        EventKind::TransferEnded { outcome, .. } => Some(outcome),
        _ => None,
    });
    ended.collect()
}

/// Heartbeats go on, acknowledged by everyone, for some rounds.
fn keep(a: &mut Bench, rounds: usize) {
    for _ in 0..rounds {
        let out = a.tick();
        let round = requests(&out, RequestKind::AppendEntries);
        assert_eq!(asked(&round), ["b", "c"], "heartbeats go on: {:?}", out.events);
        for request in &round {
            a.ack(request);
        }
    }
}

/// E4, E5: a resignation revokes the guard at once, and leaves only when the work has ended; heartbeats go on meanwhile.
#[test]
fn a_resignation_leaves_when_the_work_has_ended() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    let out = a.step(Input::Resign);
    assert!(happened(&out, |kind| matches!(kind, EventKind::GuardRevoked { work_running: true, .. })));
    assert!(!a.is_exclusive() && out.requests.is_empty());
    keep(&mut a, 10);
    assert!(!a.is_exclusive(), "the guard is revoked for the rest of the term");
    let out = a.step(Input::WorkEnded);
    assert_eq!(asked(&requests(&out, RequestKind::Resign)), ["b", "c"]);
    assert_eq!((a.role(), a.leader()), (Role::Follower, None));
}

/// E4: work cannot begin once the guard is revoked.
#[test]
fn no_work_begins_after_the_guard_was_revoked() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.step(Input::Resign);
    a.step(Input::WorkStarted);
    a.step(Input::WorkEnded);
    assert_eq!((a.node.working(), a.role()), (None, Role::Follower));
}

/// E4: `TimeoutNow` leaves only after the guard was revoked and the work has ended.
#[test]
fn a_transfer_waits_for_the_work() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    let out = a.step(Input::Transfer(Some(node("c"))));
    assert!(!a.is_exclusive() && requests(&out, RequestKind::TimeoutNow).is_empty());
    keep(&mut a, 5);
    let out = a.step(Input::WorkEnded);
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["c"]);
}

/// E4: from `TimeoutNow` on the leader is silent, claims nothing whatever is acknowledged, and votes for its successor.
#[test]
fn a_leader_that_handed_over_never_resumes() {
    let mut a = abc().start();
    a.lead();
    let round = a.round();
    a.step(Input::Transfer(Some(node("c"))));
    for request in &round {
        a.ack(request);
    }
    assert!(!a.is_exclusive());
    assert!(a.step(Input::Heartbeat).requests.is_empty());
    let (me, c) = (a.node.identity().holder(), a.peer("c"));
    let transfer = Some((me, hustings::types::Term(2)));
    let out = a.ask(&c, 3, RequestBody::RequestVote { last: Some(id(2, 2)), transfer });
    assert!(verdict(&out).is_granted());
    assert_eq!(remainder(&out), std::time::Duration::ZERO);
    assert_eq!(transfer_ended(&a.heartbeat("c", 3)), [TransferOutcome::Completed]);
}

/// E4: if the transfer fails there is no way back: it resigns, and asks for the next term.
#[test]
fn a_failed_transfer_ends_in_a_resignation() {
    for how in ["refused", "failed", "silent"] {
        let mut a = abc().start();
        a.lead();
        let out = a.step(Input::Transfer(Some(node("c"))));
        let order = requests(&out, RequestKind::TimeoutNow).swap_remove(0);
        let out = match how {
            "refused" => {
                let reply = a.reply(&order, 2, refused(Reason::NotLeader), ReplyBody::None);
                a.step(Input::Reply(reply))
            }
            "failed" => a.step(Input::CallFailed { id: order.id, to: order.to.clone(), error: CallError::Closed }),
            _ => a.tick(),
        };
        assert_eq!(transfer_ended(&out), [TransferOutcome::Failed], "{how}");
        assert_eq!(asked(&requests(&out, RequestKind::Resign)), ["b", "c"], "{how}");
        let again = if a.role() == Role::PreCandidate { requests(&out, RequestKind::PreVote) } else { a.stand() };
        assert_eq!((again[0].term.0, a.term()), (3, 2), "{how}");
    }
}

/// A transfer that cannot get its successor ready is called off, and the leader leads on.
#[test]
fn a_transfer_is_called_off_while_the_leader_still_leads() {
    let mut a = abc().start();
    let appends = a.become_leader();
    a.ack(&appends[1]);
    let heartbeats = a.round();
    a.ack(&heartbeats[0]);
    a.step(Input::Transfer(Some(node("b"))));
    let mut out = Output::default();
    while transfer_ended(&out).is_empty() {
        out = a.tick();
        for request in requests(&out, RequestKind::AppendEntries).iter().filter(|r| r.to.as_str() == "c") {
            a.ack(request);
        }
    }
    assert_eq!(transfer_ended(&out), [TransferOutcome::CalledOff]);
    assert!(a.is_exclusive());
}

/// A transfer that cannot begin says why, and changes nothing.
#[test]
fn a_transfer_that_cannot_begin_says_why() {
    let mut a = abc().start();
    assert_eq!(a.node.can_transfer(None), Err(TransferRefused::NotLeader));
    let appends = a.become_leader();
    assert_eq!(a.node.can_transfer(None), Err(TransferRefused::NotLeader), "not established");
    a.ack(&appends[1]);
    assert_eq!(a.node.can_transfer(Some(&node("a"))), Err(TransferRefused::NotAVoter));
    assert_eq!(a.node.can_transfer(Some(&node("x"))), Err(TransferRefused::NotAVoter));
    assert_eq!(a.node.can_transfer(Some(&node("b"))), Err(TransferRefused::NoSuccessor), "b was not heard");
    assert_eq!(a.node.can_transfer(None), Ok(node("c")));
    a.step(Input::WorkStarted);
    a.step(Input::Transfer(None));
    assert_eq!(a.node.can_transfer(None), Err(TransferRefused::InProgress));
}

/// A follower that is shut down stops at once, answers from then on that it stopped, and wakes for nothing.
#[test]
fn a_stopped_node_answers_that_it_stopped() {
    let mut a = abc().start();
    a.follow("b", 1);
    let out = a.step(Input::Shutdown);
    assert_eq!((count(&out, stopped), a.role(), a.node.deadline()), (1, Role::Stopped, Time::NEVER));
    for body in [
        RequestBody::PreVote { last: Some(id(9, 9)) },
        RequestBody::RequestVote { last: Some(id(9, 9)), transfer: None },
        append_entries(None, None),
        RequestBody::TimeoutNow,
        RequestBody::Resign,
    ] {
        let b = a.peer("b");
        let out = a.ask(&b, 1, body);
        assert_eq!(verdict(&out), refused(Reason::Stopping));
        assert!(out.events.is_empty());
    }
    a.step(Input::Tick);
    a.step(Input::Campaign);
    assert_eq!((a.role(), a.term()), (Role::Stopped, 1));
}

/// A vote that is being written when the node is shut down is still answered.
#[test]
fn a_node_that_stops_answers_what_it_owes_first() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    a.step(Input::Shutdown);
    assert_eq!(a.role(), Role::Follower);
    let out = a.persisted();
    assert!(verdict(&out).is_granted());
    assert_eq!((count(&out, stopped), a.role()), (1, Role::Stopped));
}

/// A leader that is shut down drains, hands over, and leaves when its successor leads.
#[test]
fn a_leader_that_is_shut_down_hands_over_and_leaves() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.step(Input::Shutdown);
    assert_eq!(a.role(), Role::Leader);
    let out = a.step(Input::WorkEnded);
    let order = requests(&out, RequestKind::TimeoutNow).swap_remove(0);
    let reply = a.reply(&order, 3, Verdict::Granted, ReplyBody::None);
    a.step(Input::Reply(reply));
    let out = a.heartbeat(order.to.as_str(), 3);
    assert_eq!((transfer_ended(&out), count(&out, stopped)), (vec![TransferOutcome::Completed], 1));
    assert_eq!(a.role(), Role::Stopped);
}

/// If that hand-over fails it resigns and stops, once.
#[test]
fn a_leader_that_is_shut_down_stops_once_if_the_hand_over_fails() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::Shutdown);
    let out = a.tick();
    assert_eq!((transfer_ended(&out), count(&out, stopped)), (vec![TransferOutcome::Failed], 1));
    assert_eq!(asked(&requests(&out, RequestKind::Resign)), ["b", "c"]);
    let from_stopped = |kind: &EventKind| matches!(kind, EventKind::RoleChanged { from: Role::Stopped });
    assert!(!happened(&out, from_stopped), "a stopped node does not come back");
    assert_eq!(a.role(), Role::Stopped);
}

/// Found by fuzzing: a node that stops while it hands over left a deadline behind that came again and again.
#[test]
fn a_hand_over_ends_with_the_node() {
    let mut a = abc().start();
    let heartbeat = a.become_leader().swap_remove(1);
    a.ack(&heartbeat);
    let out = a.step(Input::Transfer(Some(node("c"))));
    assert_eq!(requests(&out, RequestKind::TimeoutNow).len(), 1);
    let out = a.refuse(&heartbeat, 2, Reason::DuplicateNode);
    assert_eq!((transfer_ended(&out), count(&out, stopped)), (vec![TransferOutcome::Failed], 1));
    assert_eq!((a.role(), a.node.deadline()), (Role::Stopped, Time::NEVER));
}

/// A shutdown while a transfer drains lets the transfer go on: its end is told.
#[test]
fn a_shutdown_lets_a_transfer_go_on() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.step(Input::Transfer(Some(node("c"))));
    a.step(Input::Shutdown);
    let out = a.step(Input::WorkEnded);
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["c"]);
    let out = a.heartbeat("c", 3);
    assert_eq!((transfer_ended(&out), a.role()), (vec![TransferOutcome::Completed], Role::Stopped));
}

/// Ranks: each heartbeat says who stands first, the freshest first, then by priority, then by the list.
#[test]
fn heartbeats_carry_the_order_of_succession() {
    let ranks = |round: &[hustings::message::Request]| -> Vec<Option<u8>> {
        let rank = |request: &hustings::message::Request| match &request.body {
            RequestBody::AppendEntries { rank, .. } => *rank,
            _ => None,
        };
        round.iter().map(rank).collect()
    };
    let mut a = abc().start();
    let appends = a.become_leader();
    a.ack(&appends[1]);
    assert_eq!(ranks(&a.round()), [Some(1), Some(0)], "c holds the record");
    a.ack(&appends[0]);
    assert_eq!(ranks(&a.round()), [Some(0), Some(1)]);
}

/// Ranks: the first successor stands at the smallest timeout, the next a slot later.
#[test]
fn a_ranked_follower_stands_in_its_slot() {
    for rank in 0..3 {
        let mut a = abc().start();
        let b = a.peer("b");
        let RequestBody::AppendEntries { promise, record, committed, election, .. } = append_entries(None, None) else {
            unreachable!()
        };
        a.ask(&b, 1, RequestBody::AppendEntries { promise, record, committed, rank: Some(rank), election });
        let slot = a.node.config().timing.succession_slot;
        assert_eq!(a.node.deadline().since(a.now), ET_MIN + slot * u32::from(rank));
    }
}

/// One proclaimed value at a time is under way; what is wished for meanwhile waits, and only the newest is kept.
#[test]
fn a_proclaimed_value_waits_for_the_one_before() {
    let mut a = abc().start();
    a.lead();
    let out = a.step(Input::Proclaim(value("one")));
    let first = requests(&out, RequestKind::AppendEntries);
    assert_eq!((first.len(), a.last()), (2, id(2, 3)));
    a.step(Input::Proclaim(value("two")));
    a.step(Input::Proclaim(value("three")));
    assert_eq!(a.last(), id(2, 3));
    a.ack(&first[0]);
    assert_eq!(a.last(), id(2, 4));
    assert_eq!(a.node.hard_state().record.as_ref().map(|record| record.proclaimed.clone()), Some(value("three")));
    a.step(Input::Proclaim(vec![0; 64 * 1024 + 1].into()));
    assert_eq!(a.last(), id(2, 4), "more than 64 KiB is not taken");
}
