//! D: a member is a node on a disk.

use super::bench::*;
use hustings::event::{Alarm, EventKind, RecordCause, Role};
use hustings::message::{Contention, Reason, ReplyBody, RequestBody, RequestKind, Verdict};
use hustings::node::{Input, Output};
use hustings::record::Record;
use hustings::types::{DiskId, Founding, Incarnation, Term, Time};
use std::sync::Arc;
use std::time::Duration;

const NEW_DISK: DiskId = DiskId(77);

/// A record of `abc` in which b lives on its new disk.
fn renamed(term: u64, index: u64) -> Record {
    let mut record = record_of("abc", term, index);
    record.members[1].disk = NEW_DISK;
    record
}

/// The answer of `b` from its new, unnamed disk.
fn answer_from_new_disk(a: &mut Bench, request: &hustings::message::Request) -> Output {
    let mut reply = a.ack_reply(request);
    let from = Arc::make_mut(&mut reply.from);
    (from.disk, from.amnesiac) = (NEW_DISK, true);
    reply.body =
        ReplyBody::Append { promised: Duration::ZERO, durable: Some(id(2, 2)), contention: Contention::Contends };
    a.step(Input::Reply(reply))
}

/// D1: of two processes on one disk the older is refused by those who know the newer, and changes nothing.
#[test]
fn an_older_life_of_a_disk_is_refused() {
    let mut a = abc().start();
    let newer = a.peer("b").with(|b| b.incarnation = Incarnation(5));
    a.ask(&newer, 2, RequestBody::PreVote { last: Some(id(1, 1)) });
    let (before, deadline) = (a.node.hard_state().clone(), a.node.deadline());
    for (incarnation, reason) in [(4, Reason::DuplicateNode), (1, Reason::DuplicateNode)] {
        let older = a.peer("b").with(|b| b.incarnation = Incarnation(incarnation));
        for body in [append_entries(None, None), RequestBody::RequestVote { last: Some(id(1, 1)), transfer: None }] {
            assert_eq!(verdict(&a.ask(&older, 9, body)), refused(reason));
        }
    }
    assert_eq!((a.node.hard_state(), a.node.deadline()), (&before, deadline));
    assert!(verdict(&a.ask(&newer, 2, append_entries(None, None))).is_granted());
}

/// D1: the older of the two, told so, stops for good, and its work's promises are released by nobody.
#[test]
fn the_older_process_stops() {
    let mut a = abc().start();
    a.lead();
    a.step(Input::WorkStarted);
    let heartbeat = a.round().swap_remove(0);
    let reply = a.reply(&heartbeat, 2, refused(Reason::DuplicateNode), ReplyBody::None);
    let out = a.step(Input::Reply(reply));
    assert!(happened(&out, |kind| matches!(kind, EventKind::Alarmed { alarm: Alarm::DuplicateNode, .. })));
    assert!(requests(&out, RequestKind::Resign).is_empty(), "its work still runs");
    assert_eq!((a.role(), a.node.deadline()), (Role::Stopped, Time::NEVER));
    assert!(a.node.lease().is_none());
    assert_eq!(verdict(&a.request_vote("b", 9, id(9, 9))), refused(Reason::Stopping));
}

/// D2: an amnesiac gives no vote, no pre-vote and no promise, does not stand, and is no successor. It stores records.
#[test]
fn an_amnesiac_obliges_itself_to_nothing() {
    let mut a = abc().amnesiac().start();
    assert_eq!(a.node.deadline(), Time::NEVER);
    assert_eq!(verdict(&a.request_vote("b", 2, id(1, 1))), refused(Reason::Amnesiac));
    assert_eq!(verdict(&a.pre_vote("b", 2, id(1, 1))), refused(Reason::Amnesiac));
    assert_eq!((a.term(), a.voted_for()), (1, None));
    let out = a.append("b", 1, record_of("abc", 1, 2));
    assert_eq!(acked(&out), (Duration::ZERO, Some(id(1, 2))));
    assert!(reply(&out).from.amnesiac, "it says so in every message");
    assert!(a.node.promises().current().is_none());
    let b = a.peer("b");
    assert_eq!(verdict(&a.ask(&b, 1, RequestBody::TimeoutNow)), refused(Reason::Amnesiac));
    let mut out = a.step(Input::Campaign);
    assert_eq!((out.requests.len(), a.role(), a.leader()), (0, Role::Follower, Some("b")));
    out = a.wait(ET_MAX * 2);
    assert_eq!((out.requests.len(), a.role(), a.leader()), (0, Role::Follower, None), "it only forgets");
    assert_eq!(a.node.deadline(), Time::NEVER);
}

/// D2: it is cured by a committed record of the leader's own term that names it, and by nothing else.
#[test]
fn an_amnesiac_is_cured_by_a_committed_record_of_the_leaders_term() {
    let mut a = abc().amnesiac().slow_disk().start();
    let b = a.peer("b");
    let told = |a: &mut Bench, term, record: Option<Record>, committed| {
        let out = a.ask(&b, term, append_entries(record, committed));
        if a.writing.is_none() {
            a.writing = out.persist;
        }
    };
    told(&mut a, 2, None, Some(id(1, 1)));
    a.persisted();
    assert!(a.node.is_amnesiac(), "a record of an earlier term, committed or not");
    told(&mut a, 2, Some(record_of("abc", 2, 2)), None);
    a.persisted();
    assert!(a.node.is_amnesiac(), "not committed, for all it knows");
    told(&mut a, 2, Some(record_of("abc", 2, 3)), Some(id(2, 3)));
    assert!(a.node.hard_state().named.is_none(), "committed, but not yet durable here");
    let out = a.persisted();
    a.writing = out.persist;
    assert!(a.node.is_amnesiac(), "the knowledge is not yet durable");
    let out = a.persisted();
    assert!(!a.node.is_amnesiac());
    assert!(happened(&out, |kind| matches!(kind, EventKind::Named { floor } if *floor == Term(2))));
}

/// D2: a record that does not name its disk cures nobody.
#[test]
fn a_record_that_names_another_disk_cures_nobody() {
    let mut a = abc().amnesiac().disk(9).start();
    let b = a.peer("b");
    a.ask(&b, 2, append_entries(Some(record_of("abc", 2, 2)), Some(id(2, 2))));
    assert!(a.node.is_amnesiac());
}

/// D2: once cured it votes only above the term of the newest record it held then.
#[test]
fn a_cured_disk_votes_only_above_its_floor() {
    let mut a = abc().amnesiac().start();
    let b = a.peer("b");
    a.ask(&b, 2, append_entries(Some(record_of("abc", 2, 2)), Some(id(2, 2))));
    assert!(!a.node.is_amnesiac());
    assert_eq!(acked(&a.heartbeat("b", 2)).0, PROMISE, "it promises from now on");
    a.pass(PROMISE);
    assert_eq!(verdict(&a.request_vote("c", 2, id(2, 2))), refused(Reason::Amnesiac));
    assert_eq!(verdict(&a.request_vote("c", 1, id(2, 2))), refused(Reason::StaleTerm));
    assert!(verdict(&a.request_vote("c", 3, id(2, 2))).is_granted());
}

/// D2: neither the vote nor the acknowledgement of an amnesiac counts.
#[test]
fn an_amnesiac_is_not_counted() {
    let mut a = abc().start();
    let asked = a.become_candidate();
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay: None };
    let mut reply = a.reply(&asked[0], 2, Verdict::Granted, body);
    Arc::make_mut(&mut reply.from).amnesiac = true;
    a.step(Input::Reply(reply));
    assert_eq!(a.role(), Role::Candidate);
    let appends = requests(&a.grant(&asked[1]), RequestKind::AppendEntries);
    let mut ack = a.ack_reply(&appends[0]);
    Arc::make_mut(&mut ack.from).amnesiac = true;
    a.step(Input::Reply(ack));
    assert!(a.node.committed().is_none() && a.node.lease().is_some_and(|lease| lease.end <= a.now));
}

/// D2: a candidate on a disk that the record does not name gets no vote; one with a newer record may know better.
#[test]
fn a_candidate_on_an_unnamed_disk_gets_no_vote() {
    let mut a = abc().start();
    let b = a.peer("b").with(|b| b.disk = NEW_DISK);
    let plea = |last| RequestBody::RequestVote { last: Some(last), transfer: None };
    assert_eq!(verdict(&a.ask(&b, 2, plea(id(1, 1)))), refused(Reason::Amnesiac));
    let amnesiac = a.peer("b").with(|b| b.amnesiac = true);
    assert_eq!(verdict(&a.ask(&amnesiac, 2, plea(id(9, 9)))), refused(Reason::Amnesiac));
    assert_eq!(a.term(), 1);
    assert!(verdict(&a.ask(&b, 2, plea(id(1, 2)))).is_granted());
}

/// D2: an exclusive leader names a lost member's new disk, and commits that record without counting the member.
#[test]
fn a_leader_names_a_lost_disk_again() {
    let mut a = abc().start();
    let appends = a.become_leader();
    a.ack(&appends[1]);
    assert!(a.is_exclusive());
    let out = answer_from_new_disk(&mut a, &appends[0]);
    let naming = |kind: &EventKind| matches!(kind, EventKind::RecordAppended { cause: RecordCause::Naming, .. });
    assert!(happened(&out, naming));
    let record = a.node.hard_state().record.clone().expect("a record");
    assert_eq!((record.id, record.member(&node("b")).map(|b| b.disk)), (id(2, 3), Some(NEW_DISK)));
    let appends = requests(&out, RequestKind::AppendEntries);
    let mut ack = a.ack_reply(&appends[0]);
    let from = Arc::make_mut(&mut ack.from);
    (from.disk, from.amnesiac) = (NEW_DISK, true);
    a.step(Input::Reply(ack));
    assert_eq!(a.node.committed().map(|r| r.id), Some(id(2, 2)), "the record that names it does not count its ack");
    a.ack(&appends[1]);
    assert_eq!(a.node.committed().map(|r| r.id), Some(id(2, 3)));
}

/// D2: until a new disk is cured, no successor of the record that names it counts its acknowledgement either.
#[test]
fn a_successor_does_not_count_a_disk_that_is_not_cured() {
    let mut a = abc().start();
    let appends = a.become_leader();
    a.ack(&appends[1]);
    let appends = requests(&answer_from_new_disk(&mut a, &appends[0]), RequestKind::AppendEntries);
    a.ack(&appends[1]);
    assert_eq!(a.node.committed().map(|r| r.id), Some(id(2, 3)), "the record that names it");
    let appends = requests(&a.step(Input::Proclaim(value("x"))), RequestKind::AppendEntries);
    let mut ack = a.ack_reply(&appends[0]);
    let from = Arc::make_mut(&mut ack.from);
    (from.disk, from.amnesiac) = (NEW_DISK, true);
    a.step(Input::Reply(ack));
    assert_eq!(a.node.committed().map(|r| r.id), Some(id(2, 3)));
    a.ack(&appends[1]);
    assert_eq!(a.node.committed().map(|r| r.id), Some(id(2, 4)));
}

/// D2: a replaced disk that returns is not counted, neither for a record nor for the lease.
#[test]
fn a_replaced_disk_that_returns_is_not_counted() {
    let mut a = abc().with(|setup| setup.state.record = Some(Arc::new(renamed(1, 1)))).start();
    let asked_old = a.stand();
    a.grant(&asked_old[0]);
    assert_eq!(a.role(), Role::PreCandidate, "b answers from the disk that was replaced");
    let appends = requests(&a.grant(&asked_old[1]), RequestKind::RequestVote);
    let appends = requests(&a.grant(&appends[1]), RequestKind::AppendEntries);
    a.ack(&appends[0]);
    assert!(a.node.committed().is_none() && a.node.lease().is_some_and(|lease| lease.end <= a.now));
    a.ack(&appends[1]);
    assert!(a.is_exclusive());
}

/// D2: a leader that is not exclusive yet names no disk.
#[test]
fn a_leader_that_is_not_exclusive_names_no_disk() {
    let mut a = abc().start();
    let asked = a.become_candidate();
    let appends = requests(&a.grant_owing(&asked[1], 100 * MS), RequestKind::AppendEntries);
    a.ack(&appends[1]);
    assert!(a.node.committed().is_some() && !a.is_exclusive());
    let out = answer_from_new_disk(&mut a, &appends[0]);
    let naming = |kind: &EventKind| matches!(kind, EventKind::RecordAppended { cause: RecordCause::Naming, .. });
    assert!(!happened(&out, naming));
    assert_eq!(a.last(), id(2, 2));
}

/// Another member that holds no record either asks.
fn probed(a: &mut Bench, name: &str) -> Output {
    let peer = a.peer(name).with(|peer| (peer.founding, peer.amnesiac) = (Founding(0), true));
    a.ask(&peer, 1, RequestBody::PreVote { last: None })
}

/// Another member that holds no record either asks, is asked back, and answers.
fn unfounded(a: &mut Bench, name: &str) -> Output {
    let probe = requests(&probed(a, name), RequestKind::PreVote).swap_remove(0);
    assert_eq!(probe.to.as_str(), name);
    answer_unfounded(a, &probe)
}

fn answer_unfounded(a: &mut Bench, probe: &hustings::message::Request) -> Output {
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay: None };
    let mut reply = a.reply(probe, 0, refused(Reason::Amnesiac), body);
    let from = Arc::make_mut(&mut reply.from);
    (from.founding, from.amnesiac) = (Founding(0), true);
    a.step(Input::Reply(reply))
}

/// D2: a first start waits for every member, and says who is missing.
#[test]
fn a_first_start_waits_and_names_the_missing() {
    let missing = |out: &Output| -> Vec<String> {
        let mut named = out.events.iter().filter_map(|event| match &event.kind {
            EventKind::MembersAwaited { missing } => Some(missing.iter().map(ToString::to_string).collect()),
            _ => None,
        });
        named.next_back().unwrap_or_default()
    };
    let mut a = abc().blank().quarantined().start();
    assert_eq!(asked(&requests(&a.started, RequestKind::PreVote)), ["b", "c"]);
    let out = a.tick();
    assert_eq!(missing(&out), ["b", "c"]);
    let before = a.node.hard_state().clone();
    let out = probed(&mut a, "b");
    assert_eq!(verdict(&out), refused(Reason::Amnesiac));
    answer_unfounded(&mut a, &requests(&out, RequestKind::PreVote)[0]);
    assert!(requests(&probed(&mut a, "b"), RequestKind::PreVote).is_empty(), "it asks back once an interval");
    let out = a.tick();
    assert_eq!(missing(&out), ["c"]);
    assert_eq!((a.node.hard_state(), a.role()), (&before, Role::Follower));
    for _ in 0..100 {
        assert!(missing(&a.tick()).len() <= 2);
        assert_eq!(a.role(), Role::Follower);
    }
}

/// D2: with everyone heard it forms the first record of their disks, votes at once and owes nothing.
#[test]
fn a_first_start_forms_the_first_record() {
    let mut a = abc().blank().quarantined().start();
    unfounded(&mut a, "b");
    let out = unfounded(&mut a, "c");
    assert!(happened(&out, |kind| matches!(kind, EventKind::Founded { members: 3, .. })));
    assert_eq!(a.node.hard_state().record.as_deref(), Some(&first_record("abc")));
    assert_eq!(a.node.hard_state().founding, first_record("abc").founding());
    assert_eq!(a.node.committed(), Some(&first_record("abc")), "it counts as committed");
    assert!(!a.node.is_amnesiac());
    let out = a.request_vote("b", 1, id(0, 0));
    assert!(verdict(&out).is_granted(), "no quarantine at the very first start");
    assert_eq!(remainder(&out), Duration::ZERO);
}

/// D2: a request may be older than the founding, and says nothing of now; an answer to the own probe does.
#[test]
fn requests_alone_found_nothing() {
    let mut a = abc().blank().disk(9).quarantined().start();
    let asked_back = [probed(&mut a, "b"), probed(&mut a, "c")].map(|out| requests(&out, RequestKind::PreVote));
    assert!(a.node.hard_state().record.is_none());
    assert_eq!([asked(&asked_back[0]), asked(&asked_back[1])], [["b"], ["c"]]);
    // Meanwhile b is founded, with an earlier disk of this node: this one learns the record, and is no founder.
    let record = first_record("abc");
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: Some(Arc::new(record.clone())), hearsay: None };
    let mut reply = a.reply(&asked_back[0][0], 0, refused(Reason::RecordBehind), body);
    Arc::make_mut(&mut reply.from).founding = record.founding();
    a.step(Input::Reply(reply));
    answer_unfounded(&mut a, &asked_back[1][0]);
    assert_eq!(a.node.hard_state().record.as_deref(), Some(&record));
    assert!(a.node.is_amnesiac(), "the record names the disk that was lost");
}

/// D2: a probe from another disk of a member makes what was heard from its former one worthless.
#[test]
fn a_member_whose_disk_changed_is_asked_anew() {
    let mut a = abc().blank().quarantined().start();
    unfounded(&mut a, "b");
    let peer = a.peer("b").with(|peer| (peer.founding, peer.amnesiac, peer.disk) = (Founding(0), true, NEW_DISK));
    let out = a.ask(&peer, 1, RequestBody::PreVote { last: None });
    assert_eq!(asked(&requests(&out, RequestKind::PreVote)), ["b"]);
    unfounded(&mut a, "c");
    assert!(a.node.hard_state().record.is_none());
}

/// D2: who learns the first record from one that has formed it is founded by it, as if it had formed it itself; of another
/// cluster's founding it is only a record.
#[test]
fn a_first_record_that_is_learned_founds() {
    for (founding, founds) in [(first_record("abc").founding(), true), (Founding(9), false)] {
        let mut a = abc().blank().quarantined().start();
        let probe = requests(&a.started, RequestKind::PreVote).swap_remove(0);
        let record = Some(Arc::new(first_record("abc")));
        let body = ReplyBody::Vote { remainder: Duration::ZERO, record, hearsay: None };
        let mut reply = a.reply(&probe, 0, refused(Reason::RecordBehind), body);
        Arc::make_mut(&mut reply.from).founding = founding;
        let out = a.step(Input::Reply(reply));
        assert_eq!(happened(&out, |kind| matches!(kind, EventKind::Founded { members: 3, .. })), founds);
        assert_eq!((a.node.is_amnesiac(), a.node.committed().is_some()), (!founds, founds));
        assert_eq!(a.last(), id(0, 0));
    }
}

/// D2: a member heard long ago is not counted as present: all must be up at once.
#[test]
fn a_first_start_needs_everyone_at_once() {
    let mut a = abc().blank().quarantined().start();
    unfounded(&mut a, "b");
    a.pass(PROMISE);
    unfounded(&mut a, "c");
    assert!(a.node.hard_state().record.is_none());
    a.tick();
    unfounded(&mut a, "b");
    assert!(a.node.hard_state().record.is_some());
}

/// D2: a new disk of an old node learns the record of a living cluster, and stays amnesiac.
#[test]
fn a_new_disk_in_a_living_cluster_stays_amnesiac() {
    let mut a = abc().blank().disk(9).quarantined().start();
    let probe = requests(&a.started, RequestKind::PreVote).swap_remove(0);
    let record = Some(Arc::new(record_of("abc", 4, 7)));
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record, hearsay: None };
    let reply = a.reply(&probe, 5, refused(Reason::RecordBehind), body);
    let out = a.step(Input::Reply(reply));
    assert_eq!((a.last(), a.term()), (id(4, 7), 5));
    assert!(a.node.is_amnesiac());
    assert!(happened(&out, |kind| matches!(kind, EventKind::Alarmed { alarm: Alarm::Amnesiac, .. })), "and says so");
    assert_eq!(a.node.deadline(), Time::NEVER);
    assert_eq!(verdict(&a.request_vote("b", 6, id(4, 7))), refused(Reason::Amnesiac));
}

/// D2: a first record that does not name its disk makes no voter of it, and clears nothing it may owe.
#[test]
fn a_first_record_of_another_disk_makes_no_voter() {
    let mut a = abc().blank().disk(9).quarantined().start();
    let probe = requests(&a.started, RequestKind::PreVote).swap_remove(0);
    let body =
        ReplyBody::Vote { remainder: Duration::ZERO, record: Some(Arc::new(first_record("abc"))), hearsay: None };
    let reply = a.reply(&probe, 0, refused(Reason::RecordBehind), body);
    a.step(Input::Reply(reply));
    assert!(a.node.is_amnesiac());
    assert_eq!(a.node.promises().quarantine(a.now), PROMISE);
}

/// D2: a node without a record is told it, and judged by nothing else: it gets no vote and no pre-vote.
#[test]
fn a_node_without_a_record_is_told_it() {
    let mut a = abc().start();
    let out = probed(&mut a, "b");
    assert_eq!(verdict(&out), refused(Reason::RecordBehind));
    let ReplyBody::Vote { record, .. } = &reply(&out).body else { panic!() };
    assert_eq!(record.as_ref().map(|record| record.id), Some(id(1, 1)));
}
