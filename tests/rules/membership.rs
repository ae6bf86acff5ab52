//! Members come and go one at a time: L6, and dissertation §4.

use std::sync::Arc;
use std::time::Duration;

use super::bench::*;
use hustings::event::{Alarm, Change, ChangeOutcome, EventKind, RecordCause, Role};
use hustings::message::{Contention, Reason, ReplyBody, Request, RequestBody, RequestKind, Verdict};
use hustings::node::{Input, MembershipRefused, Output};
use hustings::record::{MEMBERS_MAX, Member, Record};
use hustings::types::{Term, Time};

/// The record `(term, index)` of that cluster, with `non_voter` beside the voters.
fn with_non_voter(voters: &str, non_voter: &str, term: u64, index: u64) -> Record {
    let mut record = record_of(voters, term, index);
    record.members.push(Member { node: node(non_voter), disk: disk_of(non_voter), voter: false });
    record.members.sort_by(|a, b| a.node.cmp(&b.node));
    record
}

/// What the newest record says of its members: a voter by its name, another one in brackets.
fn members(a: &Bench) -> String {
    let record = a.node.hard_state().record.as_ref().expect("a record");
    let one = |m: &Member| if m.voter { m.node.to_string() } else { format!("({})", m.node) };
    record.members.iter().map(one).collect()
}

fn add(a: &mut Bench, name: &str) -> Output {
    a.step(Input::AddMember(node(name)))
}

fn remove(a: &mut Bench, name: &str) -> Output {
    a.step(Input::RemoveMember(node(name)))
}

fn to<'a>(requests: &'a [Request], name: &str) -> &'a Request {
    requests.iter().find(|request| request.to.as_str() == name).expect("a request to it")
}

/// The newcomer answers: from its new disk, it follows, and holds what it was sent.
fn answer_as_newcomer(a: &mut Bench, request: &Request) -> Output {
    let mut reply = a.ack_reply(request);
    Arc::make_mut(&mut reply.from).amnesiac = true;
    if let ReplyBody::Append { promised, .. } = &mut reply.body {
        *promised = Duration::ZERO;
    }
    a.step(Input::Reply(reply))
}

/// It answers once its disk is cured: it promises, and says what it holds.
fn answer_cured(a: &mut Bench, request: &Request) -> Output {
    let mut reply = a.ack_reply(request);
    if let ReplyBody::Append { durable, .. } = &mut reply.body {
        *durable = Some(a.last());
    }
    a.step(Input::Reply(reply))
}

/// Leads, and has added `d` up to the point where it is a member without a vote, committed.
fn with_newcomer(members: &str) -> Bench {
    let mut a = Setup::of(members).start();
    a.lead();
    let greeting = add(&mut a, "d");
    let named = answer_as_newcomer(&mut a, &greeting.requests[0]);
    let appends = requests(&named, RequestKind::AppendEntries);
    for name in a.others() {
        a.ack(to(&appends, &name));
    }
    a
}

fn alarmed(out: &Output, wanted: Alarm) -> bool {
    happened(out, |kind| matches!(kind, EventKind::Alarmed { alarm, .. } if *alarm == wanted))
}

fn ended(out: &Output, wanted: ChangeOutcome) -> bool {
    happened(out, |kind| matches!(kind, EventKind::ChangeEnded { outcome, .. } if *outcome == wanted))
}

fn appended(out: &Output, wanted: RecordCause) -> bool {
    happened(out, |kind| matches!(kind, EventKind::RecordAppended { cause, .. } if *cause == wanted))
}

/// L6: only a leader that has committed in its own term, and is exclusive.
#[test]
fn only_an_exclusive_leader_changes_the_members() {
    let refused = |a: &Bench| a.node.can_change(Change::Add, &node("d"));
    let mut a = abc().start();
    assert_eq!(refused(&a), Err(MembershipRefused::NotLeader));
    add(&mut a, "d");
    assert_eq!(members(&a), "abc");
    let votes = a.become_candidate();
    let appends = requests(&a.grant_owing(&votes[0], 100 * MS), RequestKind::AppendEntries);
    assert_eq!(refused(&a), Err(MembershipRefused::NotLeader), "its no-op is not committed");
    let out = add(&mut a, "d");
    assert!(out.requests.is_empty() && out.events.is_empty(), "{out:?}");
    a.ack(&appends[0]);
    assert!(a.node.committed().is_some() && !a.is_exclusive());
    assert_eq!(refused(&a), Err(MembershipRefused::NotExclusive), "a voter owes something to the leader before");
    let out = remove(&mut a, "c");
    assert!(out.requests.is_empty() && out.events.is_empty(), "{out:?}");
    a.wait(60 * MS);
    let acks = a.round();
    a.ack(&acks[0]);
    a.wait(45 * MS);
    assert!(a.is_exclusive());
    assert_eq!(refused(&a), Ok(()));
}

/// Each refusal has its name, and changes nothing.
#[test]
fn a_change_that_makes_no_sense_is_refused_with_its_name() {
    let mut a = abc().start();
    a.lead();
    let can = |a: &Bench, change, name: &str| a.node.can_change(change, &node(name));
    assert_eq!(can(&a, Change::Add, "b"), Err(MembershipRefused::AlreadyMember));
    assert_eq!(can(&a, Change::Remove, "x"), Err(MembershipRefused::NotAMember));
    assert_eq!(can(&a, Change::Remove, "a"), Err(MembershipRefused::IsLeader));
    assert_eq!(can(&a, Change::Remove, "b"), Ok(()));
    add(&mut a, "d");
    assert_eq!(can(&a, Change::Remove, "b"), Err(MembershipRefused::InProgress));
    let mut a = abc().with(|setup| setup.config.volatile = true).start();
    a.lead();
    assert_eq!(can(&a, Change::Add, "d"), Err(MembershipRefused::Volatile));
    let crowd = |setup: &mut Setup| {
        let record = Arc::make_mut(setup.state.record.as_mut().expect("a record"));
        let one = |at| Member { node: node(&format!("m{at}")), disk: disk_of("m"), voter: false };
        record.members.extend((record.members.len()..MEMBERS_MAX).map(one));
    };
    let mut a = abc().with(crowd).start();
    for request in a.become_leader().iter().take(2) {
        a.ack(request);
    }
    assert!(a.is_exclusive());
    assert_eq!(can(&a, Change::Add, "d"), Err(MembershipRefused::TooMany));
}

/// A removal that would leave no quorum in contact would cost the leader its lease at once.
#[test]
fn nobody_is_removed_who_is_needed() {
    let mut a = abc().start();
    for request in a.become_leader().iter().filter(|request| request.to.as_str() == "b") {
        a.ack(request);
    }
    assert!(a.is_exclusive(), "c is dead");
    assert_eq!(a.node.can_change(Change::Remove, &node("b")), Err(MembershipRefused::WouldLoseQuorum));
    assert_eq!(a.node.can_change(Change::Remove, &node("c")), Ok(()));
}

/// Dissertation §4.2.1, L6: heard, then a member without a vote, then a voter; two records, one after the other.
#[test]
fn a_newcomer_follows_without_a_vote_before_it_votes() {
    let mut a = abc().start();
    a.lead();
    let out = add(&mut a, "d");
    assert!(happened(&out, |kind| matches!(kind, EventKind::ChangeStarted { change: Change::Add, .. })));
    assert_eq!(asked(&out.requests), ["d"]);
    assert!(matches!(&out.requests[0].body, RequestBody::AppendEntries { record: None, .. }));
    assert_eq!(members(&a), "abc");

    let out = answer_as_newcomer(&mut a, &out.requests[0]);
    assert!(appended(&out, RecordCause::AddNonVoter));
    assert_eq!(members(&a), "abc(d)");
    let appends = requests(&out, RequestKind::AppendEntries);
    assert_eq!(asked(&appends), ["b", "c", "d"]);
    answer_as_newcomer(&mut a, to(&appends, "d"));
    assert_ne!(a.node.committed().map(|record| record.id), Some(a.last()), "what it holds counts for nothing");
    a.ack(to(&appends, "b"));
    assert_eq!(a.node.committed().map(|record| record.id), Some(a.last()));

    let round = a.round();
    a.ack(to(&round, "b"));
    answer_as_newcomer(&mut a, to(&round, "d"));
    assert_eq!(members(&a), "abc(d)", "its disk is not cured yet");
    let round = a.round();
    let out = answer_cured(&mut a, to(&round, "d"));
    assert!(appended(&out, RecordCause::AddVoter));
    assert_eq!(members(&a), "abcd");
    let appends = requests(&out, RequestKind::AppendEntries);
    a.ack(to(&appends, "b"));
    assert_ne!(a.node.committed().map(|record| record.id), Some(a.last()), "three of four");
    let out = a.ack(to(&appends, "d"));
    assert_eq!(a.node.committed().map(|record| record.id), Some(a.last()), "its own voice counts");
    assert!(ended(&out, ChangeOutcome::Completed));
}

/// L6: nothing else is in flight: the next step waits until the record before it is committed.
#[test]
fn a_change_waits_for_the_record_in_flight() {
    let mut a = abc().start();
    a.lead();
    let proclaimed = requests(&a.step(Input::Proclaim(value("x"))), RequestKind::AppendEntries);
    let out = remove(&mut a, "c");
    assert!(!appended(&out, RecordCause::Remove));
    let out = a.ack(&proclaimed[0]);
    assert!(appended(&out, RecordCause::Remove));
    assert_eq!(members(&a), "ab");
    let record = a.node.hard_state().record.clone().expect("a record");
    assert_eq!(&record.proclaimed[..], b"x", "what was proclaimed stays");
}

/// One member becomes two: the lease that needed nobody now needs the other one's promise.
#[test]
fn a_second_voter_brings_the_lease_down_to_its_promise() {
    let mut a = Setup::of("a").start();
    a.tick();
    assert!(a.is_exclusive());
    assert_eq!(a.node.lease().map(|lease| lease.end), Some(Time::NEVER));
    let greeting = add(&mut a, "b");
    answer_as_newcomer(&mut a, &greeting.requests[0]);
    assert_eq!(members(&a), "a(b)");
    assert_eq!(a.node.committed().map(|record| record.id), Some(a.last()), "alone it is a quorum");
    let (sent, round) = (a.now, a.round());
    let out = answer_cured(&mut a, to(&round, "b"));
    assert_eq!(members(&a), "ab");
    let end = a.node.lease().expect("it leads").end;
    assert!(end > a.now && end < sent + PROMISE, "{end}");
    assert_ne!(a.node.committed().map(|record| record.id), Some(a.last()));
    a.ack(&requests(&out, RequestKind::AppendEntries)[0]);
    assert_eq!(a.node.committed().map(|record| record.id), Some(a.last()));
    a.wait(PROMISE);
    assert_eq!(a.role(), Role::Follower, "it is not alone any more");
}

/// What a member without a vote promises and holds counts for no quorum.
#[test]
fn a_member_without_a_vote_counts_for_nothing() {
    let mut a = with_newcomer("abc");
    assert_eq!(members(&a), "abc(d)");
    let proclaimed = requests(&a.step(Input::Proclaim(value("x"))), RequestKind::AppendEntries);
    let end = a.node.lease().expect("it leads").end;
    a.pass(10 * MS);
    a.ack(to(&proclaimed, "d"));
    assert_ne!(a.node.committed().map(|record| record.id), Some(a.last()));
    assert_eq!(a.node.lease().expect("it leads").end, end);
    assert!(a.node.quorum_contact() < Some(a.now));
}

/// D2: the disk is learned from an answer to a newer round than the last one seen.
#[test]
fn the_newest_disk_of_a_newcomer_is_named() {
    let mut a = abc().start();
    a.lead();
    add(&mut a, "d");
    let (old, new) = (a.round(), a.round());
    let mut pending = a.step(Input::Proclaim(value("x")));
    let late = |a: &mut Bench, request: &Request, disk: u128| {
        let mut reply = a.ack_reply(request);
        let from = Arc::make_mut(&mut reply.from);
        (from.disk, from.amnesiac) = (hustings::types::DiskId(disk), true);
        reply.body = ReplyBody::Append { promised: Duration::ZERO, durable: None, contention: Contention::Contends };
        a.step(Input::Reply(reply))
    };
    late(&mut a, to(&new, "d"), 78);
    late(&mut a, to(&old, "d"), 77);
    let request = pending.requests.swap_remove(0);
    a.ack(&request);
    let record = a.node.hard_state().record.clone().expect("a record");
    assert_eq!(record.member(&node("d")).map(|m| m.disk.0), Some(78), "{record:?}");
}

/// A newcomer that does not come: the addition ends, nothing was changed, and nobody talks to it any more.
#[test]
fn an_addition_ends_when_nobody_comes() {
    let mut a = Setup::of("a").start();
    a.tick();
    add(&mut a, "d");
    let out = a.wait(ET_MAX * 10);
    assert!(ended(&out, ChangeOutcome::TimedOut));
    assert!(a.round().is_empty());
    assert_eq!((members(&a).as_str(), a.role()), ("a", Role::Leader));
    assert_eq!(a.node.can_change(Change::Add, &node("d")), Ok(()));
}

/// S11: who is no member yet deposes nobody, whatever term it names.
#[test]
fn a_newcomer_with_a_higher_term_deposes_nobody() {
    let mut a = abc().start();
    a.lead();
    let greeting = add(&mut a, "d");
    let refusal = ReplyBody::Append { promised: Duration::ZERO, durable: None, contention: Contention::Contends };
    let reply = a.reply(&greeting.requests[0], 9, refused(Reason::StaleTerm), refusal);
    a.step(Input::Reply(reply));
    assert_eq!((a.role(), a.term()), (Role::Leader, 2));
    let reply = a.reply(&greeting.requests[0], 2, refused(Reason::DuplicateNode), ReplyBody::None);
    a.step(Input::Reply(reply));
    assert_eq!(a.role(), Role::Leader, "nor stops it");
}

/// The change is over with the leadership; what was in flight is for the next leader.
#[test]
fn a_change_ends_with_the_leadership() {
    let mut a = with_newcomer("abc");
    let out = a.step(Input::Resign);
    assert!(ended(&out, ChangeOutcome::LeadershipEnded));
    assert_eq!(members(&a), "abc(d)");
}

/// The one who is removed is told once it is committed: it says so, promises nothing more and stands no more.
#[test]
fn a_removal_needs_the_quorum_that_is_left() {
    let mut a = Setup::of("abcd").start();
    a.lead();
    let out = remove(&mut a, "d");
    let appends = requests(&out, RequestKind::AppendEntries);
    assert_eq!(asked(&appends), ["b", "c"], "it counts for nothing, and is not asked");
    assert_eq!(members(&a), "abc");
    let out = a.ack(to(&appends, "b"));
    assert!(ended(&out, ChangeOutcome::Completed), "two of three");
    let told = requests(&out, RequestKind::AppendEntries);
    assert_eq!(asked(&told), ["d"]);
    let RequestBody::AppendEntries { record, committed, .. } = &told[0].body else { panic!("{told:?}") };
    assert_eq!((record.as_ref().map(|record| record.id), *committed), (Some(a.last()), Some(a.last())));
    assert_eq!(asked(&a.round()), ["b", "c"]);
}

#[test]
fn who_is_removed_says_so_and_stands_no_more() {
    let mut a = abc().start();
    a.follow("b", 1);
    let b = a.peer("b");
    let mut record = record_of("abc", 1, 2);
    record.members.remove(0);
    let out = a.ask(&b, 1, append_entries(Some(record), Some(id(1, 2))));
    let alarm = |kind: &EventKind| matches!(kind, EventKind::Alarmed { alarm: Alarm::NotAMember, .. });
    assert!(happened(&out, alarm));
    assert!(happened(&out, |kind| matches!(kind, EventKind::MembersChanged { voters, .. } if voters.len() == 2)));
    let out = a.wait(ET_MAX * 3);
    assert!(out.requests.is_empty());
    assert_eq!((a.leader(), a.role(), a.term()), (None, Role::Follower, 1));
    a.step(Input::Campaign);
    assert_eq!(a.role(), Role::Follower);
}

/// It was away when it was removed: it is refused, says so, and stops asking once nobody could be elected by it. No
/// refusal of that kind raises its term, and a leader that has it on its list wakes it again.
#[test]
fn who_was_removed_while_away_learns_it_from_refusals() {
    let mut a = abc().start();
    let asked = a.stand();
    let out = a.refuse(&asked[0], 5, Reason::NotAMember);
    assert!(happened(&out, |kind| matches!(kind, EventKind::Alarmed { alarm: Alarm::NotAMember, .. })));
    assert_eq!((a.role(), a.term()), (Role::PreCandidate, 1), "the others may know better");
    a.refuse(&asked[1], 5, Reason::NotAMember);
    assert_eq!((a.role(), a.term(), a.node.deadline()), (Role::Follower, 1, Time::NEVER));
    a.follow("b", 6);
    assert!(a.node.deadline() < Time::NEVER);
}

/// One that holds a record which was never committed does not keep a member from standing.
#[test]
fn a_single_refusal_removes_nobody() {
    let mut a = abc().start();
    let asked = a.stand();
    a.refuse(&asked[0], 1, Reason::NotAMember);
    let votes = requests(&a.grant(&asked[1]), RequestKind::RequestVote);
    assert_eq!(votes.len(), 2);
    assert_eq!(a.role(), Role::Candidate);
}

/// Dissertation §4.2.2: a voter need not know that it is one; the candidate's newer record decides.
#[test]
fn a_voter_that_does_not_know_it_votes_for_a_newer_record() {
    let non_voter = |setup: &mut Setup| {
        let mut record = record_of("abc", 1, 1);
        record.members[0].voter = false;
        setup.state.record = Some(Arc::new(record));
    };
    let mut a = abc().with(non_voter).start();
    assert_eq!(verdict(&a.pre_vote("b", 2, id(1, 1))), refused(Reason::NotAVoter), "by its own record it has none");
    assert!(verdict(&a.pre_vote("b", 2, id(1, 2))).is_granted());
    assert!(verdict(&a.request_vote("b", 2, id(1, 2))).is_granted());
    assert_eq!((a.voted_for(), a.role()), (Some("b"), Role::Follower));
    a.wait(ET_MAX * 2);
    assert_eq!(a.role(), Role::Follower, "it votes, and does not stand");
}

/// D2: a record that names a disk without a vote cures it too, so that it can vote as soon as it is asked to.
#[test]
fn a_newcomer_is_cured_without_a_vote() {
    let blank = |setup: &mut Setup| setup.config.joins = true;
    let mut a = Setup::of("abc").blank().with(blank).start();
    let b = a.peer("b");
    let heard = a.ask(&b, 2, append_entries(None, None));
    assert_eq!(acked(&heard), (Duration::ZERO, None));
    let mut record = record_of("abc", 2, 2);
    record.members[0].voter = false;
    a.ask(&b, 2, append_entries(Some(record), None));
    assert!(a.node.is_amnesiac(), "it is not committed");
    let out = a.ask(&b, 2, append_entries(None, Some(id(2, 2))));
    assert!(happened(&out, |kind| matches!(kind, EventKind::Named { floor } if *floor == Term(2))));
    assert_eq!(acked(&a.heartbeat("b", 2)), (PROMISE, Some(id(2, 2))));
    let out = a.wait(ET_MAX * 2);
    assert!(out.requests.is_empty() && a.role() == Role::Follower, "it does not stand");
    assert!(verdict(&a.request_vote("c", 3, id(2, 3))).is_granted());
    assert_eq!(verdict(&a.request_vote("c", 2, id(2, 3))), refused(Reason::StaleTerm));
}

/// Who joins a cluster never founds one, whoever else is without a record.
#[test]
fn who_joins_founds_nothing() {
    let joins = |setup: &mut Setup| setup.config.joins = true;
    let mut a = Setup::of("abc").blank().with(joins).start();
    for probe in requests(&a.started, RequestKind::PreVote) {
        let body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay: None };
        let mut reply = a.reply(&probe, 0, refused(Reason::Amnesiac), body);
        let from = Arc::make_mut(&mut reply.from);
        (from.founding, from.amnesiac) = (no_founding(), true);
        a.step(Input::Reply(reply));
    }
    assert!(a.node.hard_state().record.is_none());
    let probes = requests(&a.tick(), RequestKind::PreVote);
    let reply = a.reply(&probes[0], 3, refused(Reason::NotAMember), ReplyBody::None);
    let out = a.step(Input::Reply(reply));
    assert!(happened(&out, |kind| matches!(kind, EventKind::Alarmed { alarm: Alarm::NotAMember, .. })), "it says so");
    assert_eq!(a.term(), 0);
}

/// S13: a leader that was added while this node was away is heard once a member that is listed vouches for it: it is asked
/// for its record, which is adopted (A1).
#[test]
fn a_leader_that_was_added_while_a_node_was_away_is_heard() {
    let mut a = abc().start();
    let d = a.peer("d");
    assert_eq!(verdict(&a.ask(&d, 2, append_entries(None, None))), refused(Reason::NotAMember));
    assert_eq!(verdict(&a.ask(&d, 2, append_entries(None, Some(id(1, 1))))), refused(Reason::NotAMember));
    let out = a.ask(&d, 2, append_entries(None, Some(id(2, 4))));
    assert_eq!((verdict(&out), a.leader(), a.term()), (refused(Reason::Unverified), None, 1));
    assert_eq!(asked(&out.requests), ["b", "c"]);
    let record = Arc::new(Record { id: id(2, 4), parent: id(1, 3), ..record_of("abcd", 2, 4) });
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: Some(record), hearsay: None };
    let reply = a.reply(&out.requests[0], 2, refused(Reason::RecordBehind), body);
    let out = a.step(Input::Reply(reply));
    assert!(happened(&out, |kind| matches!(kind, EventKind::RecordAdopted { .. })));
    assert!(!alarmed(&out, Alarm::ForeignRecord), "what came about is no reason for an alarm");
    assert_eq!((members(&a).as_str(), a.term(), a.leader()), ("abcd", 2, None));
    assert!(verdict(&a.ask(&d, 2, append_entries(None, Some(id(2, 4))))).is_granted());
    assert_eq!(a.leader(), Some("d"));
}

/// And the leader sends the record to a member that does not know it.
#[test]
fn a_member_that_does_not_know_the_leader_is_sent_the_record() {
    let mut a = abc().start();
    a.lead();
    a.pass(ET_MIN / 3);
    let round = a.round();
    let reply = a.reply(to(&round, "b"), 1, refused(Reason::NotAMember), ReplyBody::None);
    let out = a.step(Input::Reply(reply));
    let sent = requests(&out, RequestKind::AppendEntries);
    assert_eq!(asked(&sent), ["b"]);
    assert!(matches!(&sent[0].body, RequestBody::AppendEntries { record: Some(_), .. }));
}

/// The votes that count are those of the candidate's own newest record.
#[test]
fn a_candidate_asks_and_counts_the_voters_of_its_own_record() {
    let record = |setup: &mut Setup| setup.state.record = Some(Arc::new(with_non_voter("abc", "d", 1, 2)));
    let mut a = abc().with(record).start();
    let pre_votes = a.stand();
    assert_eq!(asked(&pre_votes), ["b", "c"]);
    let votes = requests(&a.grant(&pre_votes[0]), RequestKind::RequestVote);
    assert_eq!(asked(&votes), ["b", "c"]);
    let mut reply = a.reply(&votes[0], 2, Verdict::Granted, ReplyBody::None);
    reply.body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay: None };
    Arc::make_mut(&mut reply.from).node = node("d");
    Arc::make_mut(&mut reply.from).disk = disk_of("d");
    a.step(Input::Reply(reply));
    assert_eq!(a.role(), Role::Candidate, "d has no vote");
    a.grant(&votes[1]);
    assert_eq!(a.role(), Role::Leader);
}
