//! E12: who contends stands in its own right; who does not votes, stands last, and hands over.

use std::time::Duration;

use super::bench::*;
use hustings::event::{EventKind, LeadershipEnd, Role};
use hustings::message::{Contention, Reason, Reply, ReplyBody, Request, RequestBody, RequestKind};
use hustings::node::{Input, Output, TransferRefused};

fn idle(a: &mut Bench) -> Output {
    a.step(Input::Contend(Contention::Idle, None))
}

/// The acknowledgement, from a member that says that about itself.
fn saying(a: &Bench, request: &Request, says: Contention) -> Reply {
    let mut reply = a.ack_reply(request);
    if let ReplyBody::Append { contention, .. } = &mut reply.body {
        *contention = says;
    }
    if let ReplyBody::Append { durable, .. } = &mut reply.body {
        *durable = Some(a.last());
    }
    reply
}

fn say(a: &mut Bench, request: &Request, says: Contention) -> Output {
    let reply = saying(a, request, says);
    a.step(Input::Reply(reply))
}

/// Leads, with `b` and `c` saying that of themselves in each round, until something else than a heartbeat leaves.
fn rounds(a: &mut Bench, b: Contention, c: Contention, limit: Duration) -> Option<Output> {
    let end = a.now + limit;
    while a.node.deadline() <= end {
        let out = a.tick();
        if a.role() != Role::Leader || !requests(&out, RequestKind::TimeoutNow).is_empty() {
            return Some(out);
        }
        for request in requests(&out, RequestKind::AppendEntries) {
            let says = if request.to.as_str() == "b" { b } else { c };
            let out = say(a, &request, says);
            if a.role() != Role::Leader || !requests(&out, RequestKind::TimeoutNow).is_empty() {
                return Some(out);
            }
        }
    }
    a.now = end;
    None
}

fn ranks(round: &[Request]) -> Vec<(&str, Option<u8>)> {
    let rank = |request: &Request| match &request.body {
        RequestBody::AppendEntries { rank, .. } => *rank,
        other => panic!("{other:?}"),
    };
    round.iter().map(|request| (request.to.as_str(), rank(request))).collect()
}

/// Each acknowledgement says whether its node contends: one that was told nothing does, and so does an older member.
#[test]
fn acknowledgements_say_who_contends() {
    let mut a = abc().start();
    let says = |out: &Output| match reply(out).body {
        ReplyBody::Append { contention, .. } => contention,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(says(&a.heartbeat("b", 2)), Contention::Contends);
    let out = idle(&mut a);
    assert!(happened(&out, |kind| matches!(kind, EventKind::ContentionChanged { contention: Contention::Idle, .. })));
    assert!(idle(&mut a).events.is_empty(), "nothing new");
    assert_eq!(says(&a.heartbeat("b", 2)), Contention::Idle);
    a.step(Input::Contend(Contention::Unfit, Some("warming up".to_owned())));
    assert_eq!(says(&a.heartbeat("b", 2)), Contention::Unfit);
}

/// Who does not contend lets the others go first, by one smallest election timeout, and stands all the same.
#[test]
fn who_does_not_contend_stands_last() {
    let mut a = abc().start();
    a.follow("b", 2);
    let before = a.node.deadline();
    idle(&mut a);
    assert_eq!(a.node.deadline(), before + ET_MIN);
    a.step(Input::Contend(Contention::Contends, None));
    assert_eq!(a.node.deadline(), before, "and stands in its place again as soon as it contends");
    idle(&mut a);
    a.stand();
    assert_eq!(a.now, before + ET_MIN);
}

/// It votes and pre-votes like anybody, and nobody refuses a pre-vote to it.
#[test]
fn who_does_not_contend_votes() {
    let mut a = abc().start();
    idle(&mut a);
    assert!(verdict(&a.pre_vote("b", 2, id(1, 1))).is_granted());
    assert!(verdict(&a.request_vote("b", 2, id(1, 1))).is_granted());
}

/// The leader ranks those that contend before all others, whatever their priority.
#[test]
fn contenders_are_ranked_first() {
    let mut a = abc().start();
    a.lead();
    let round = a.round();
    assert_eq!(ranks(&round), [("b", Some(0)), ("c", Some(1))]);
    say(&mut a, &round[0], Contention::Idle);
    say(&mut a, &round[1], Contention::Contends);
    assert_eq!(ranks(&a.round()), [("b", Some(1)), ("c", Some(0))]);
}

/// An older answer does not take back what a newer one said.
#[test]
fn the_newest_answer_counts() {
    let mut a = abc().start();
    a.lead();
    let (older, newer) = (a.round(), a.round());
    say(&mut a, &newer[0], Contention::Idle);
    say(&mut a, &older[0], Contention::Contends);
    assert_eq!(a.node.contention_of(&node("b")), Some(Contention::Idle));
}

/// A transfer to nobody in particular goes to one that contends.
#[test]
fn a_transfer_prefers_contenders() {
    let mut a = abc().start();
    a.lead();
    let round = a.round();
    say(&mut a, &round[0], Contention::Idle);
    say(&mut a, &round[1], Contention::Contends);
    assert_eq!(a.node.can_transfer(None), Ok(node("c")));
    assert_eq!(a.node.can_transfer(Some(&node("b"))), Ok(node("b")), "who is named is taken");
}

/// ... also where it has yet to be brought up to date.
#[test]
fn a_contender_that_lags_is_preferred_to_one_that_does_not_contend() {
    let mut a = abc().start();
    a.lead();
    let appends = requests(&a.step(Input::Proclaim(value("v"))), RequestKind::AppendEntries);
    say(&mut a, &appends[0], Contention::Idle);
    assert_eq!(a.node.can_transfer(None), Ok(node("c")));
    let out = a.step(Input::Transfer(None));
    assert!(requests(&out, RequestKind::TimeoutNow).is_empty(), "first it is brought up to date");
    let out = say(&mut a, &appends[1], Contention::Contends);
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["c"]);
}

/// E12: a leader for which nobody works hands over to one that contends, through the normal transfer, once neither has
/// changed its mind for a smallest election timeout; within two of them in all.
#[test]
fn a_leader_without_work_hands_over() {
    let mut a = abc().start();
    a.lead();
    idle(&mut a);
    let began = a.now;
    let out = rounds(&mut a, Contention::Idle, Contention::Contends, 2 * ET_MIN).expect("it hands over");
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["c"]);
    assert!(a.now.since(began) >= ET_MIN, "not at once: who begins another round is not noticed");
    assert!(!a.is_exclusive());
}

/// ... and stays where nobody contends: it delays, and never forbids. It says so, once.
#[test]
fn a_leader_without_work_stays_where_nobody_contends() {
    let mut a = abc().start();
    a.lead();
    idle(&mut a);
    let mut told = 0;
    for _ in 0..40 {
        let out = a.tick();
        let idled = |kind: &EventKind| matches!(kind, EventKind::OfficeIdled { contention: Contention::Idle, .. });
        told += out.events.iter().filter(|event| idled(&event.kind)).count();
        for request in requests(&out, RequestKind::AppendEntries) {
            say(&mut a, &request, Contention::Idle);
        }
    }
    assert_eq!((told, a.role()), (1, Role::Leader));
    assert!(a.node.idle_since().is_some());
}

/// Two that take turns at contending do not hand over to and fro: each must have contended for a while.
#[test]
fn who_has_just_begun_to_contend_is_not_handed_to_yet() {
    let mut a = abc().start();
    a.lead();
    idle(&mut a);
    for says in [Contention::Idle, Contention::Contends].into_iter().cycle().take(12) {
        let out = rounds(&mut a, Contention::Idle, says, 2 * HEARTBEAT);
        assert!(out.is_none(), "it changes its mind every hundred milliseconds: {out:?}");
    }
}

/// A leader whose user works, or is about to, stays.
#[test]
fn a_leader_that_works_stays() {
    for works in [true, false] {
        let mut a = abc().start();
        a.lead();
        if works {
            a.step(Input::WorkStarted);
            idle(&mut a);
        }
        assert!(rounds(&mut a, Contention::Contends, Contention::Contends, 10 * ET_MIN).is_none());
    }
}

/// An application that is not fit gives work away as well, to a member that is.
#[test]
fn an_unfit_leader_drains_and_hands_over() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.step(Input::Contend(Contention::Unfit, None));
    assert!(rounds(&mut a, Contention::Unfit, Contention::Idle, 10 * ET_MIN).is_none(), "nobody is fit");
    assert!(rounds(&mut a, Contention::Unfit, Contention::Contends, 2 * ET_MIN).is_none(), "the work is still running");
    assert!(!a.is_exclusive(), "and its guard is revoked");
    let out = a.step(Input::WorkEnded);
    assert_eq!(asked(&requests(&out, RequestKind::TimeoutNow)), ["c"]);
}

/// A node whose work of a former term has not ended could begin no other: it does not stand, and refuses a hand-over; when
/// that work ends, it stands again.
#[test]
fn a_node_with_former_work_does_not_stand() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    a.heartbeat("c", 3);
    let c = a.peer("c");
    let out = a.ask(&c, 3, RequestBody::TimeoutNow);
    assert_eq!(verdict(&out), refused(Reason::WorkRunning));
    assert_eq!((a.role(), a.leader()), (Role::Follower, Some("c")), "and goes on following");
    assert_eq!(a.node.contention(), Contention::WorkRunning);
    assert!(!a.node.may_stand());
    a.wait(10 * ET_MAX);
    assert_eq!((a.role(), a.term(), a.leader()), (Role::Follower, 3, None), "it forgets the silent leader");
    a.step(Input::WorkEnded);
    a.stand();
}

/// The leader ranks it last, and takes it for no successor.
#[test]
fn former_work_elsewhere_is_no_successor() {
    let mut a = abc().start();
    a.lead();
    let round = a.round();
    say(&mut a, &round[0], Contention::WorkRunning);
    say(&mut a, &round[1], Contention::Idle);
    assert_eq!(a.node.can_transfer(Some(&node("b"))), Err(TransferRefused::WorkRunning));
    assert_eq!(a.node.can_transfer(None), Ok(node("c")));
}

/// A leader whose own write does not end gives way where a member with a sound disk is in contact, and stands no more until
/// that write ends.
#[test]
fn a_leader_with_a_stalled_disk_gives_way() {
    let mut a = abc().start();
    a.lead();
    a.manual_disk = true;
    a.step(Input::Proclaim(value("v")));
    let out =
        rounds(&mut a, Contention::Contends, Contention::Contends, Duration::from_millis(1100)).expect("gives way");
    assert!(happened(&out, |kind| matches!(kind, EventKind::PersistStalled { .. })));
    let stalled = LeadershipEnd::StorageStalled;
    assert!(happened(&out, |kind| matches!(kind, EventKind::LeadershipEnded { cause, .. } if *cause == stalled)));
    a.wait(10 * ET_MAX);
    assert_eq!((a.role(), a.term()), (Role::Follower, 2), "it does not stand");
    let c = a.peer("c");
    a.heartbeat("c", 3);
    assert_eq!(verdict(&a.ask(&c, 3, RequestBody::TimeoutNow)), refused(Reason::StorageStalled));
    a.persisted();
    a.persisted();
    a.wait(2 * ET_MAX);
    assert_eq!(a.role(), Role::PreCandidate, "and stands again when it ends");
}

/// Where every disk is stalled, or nobody is in contact, it stays: there is nobody to give way to.
#[test]
fn a_stalled_leader_stays_where_nobody_is_better_off() {
    let mut a = abc().start();
    a.lead();
    a.manual_disk = true;
    a.step(Input::Proclaim(value("v")));
    let stalled = Contention::StorageStalled;
    assert!(rounds(&mut a, stalled, stalled, Duration::from_secs(3)).is_none());
    assert_eq!(a.node.contention(), stalled);
    a.persisted();
    assert_eq!(a.node.contention(), Contention::Contends);
}

/// A write that ends in time is nobody's business.
#[test]
fn a_slow_write_is_no_stalled_one() {
    let mut a = abc().start();
    a.lead();
    a.manual_disk = true;
    a.step(Input::Proclaim(value("v")));
    assert!(rounds(&mut a, Contention::Contends, Contention::Contends, Duration::from_millis(990)).is_none());
    let out = a.persisted();
    assert!(!happened(&out, |kind| matches!(kind, EventKind::PersistStalled { .. })));
}

/// Whoever campaigns while its disk stalls stops: its own vote will not be durable.
#[test]
fn a_candidate_with_a_stalled_disk_stops() {
    let mut a = abc().slow_disk().start();
    a.become_candidate();
    let term = a.term();
    a.wait(Duration::from_secs(5));
    assert_eq!(a.role(), Role::Follower);
    assert!(a.term() <= term + 5, "terms do not grow for ever: {}", a.term());
    let before = a.term();
    a.wait(Duration::from_secs(20));
    assert_eq!((a.role(), a.term()), (Role::Follower, before));
}
