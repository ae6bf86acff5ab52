//! S and L: what is durable before it is promised, and what a failed disk still allows.

use super::bench::*;
use hustings::event::{Alarm, CallId, EventKind, LeadershipEnd, Role, WriteId};
use hustings::message::{Reason, RequestBody, RequestKind};
use hustings::node::Input;
use hustings::types::{Term, Time};

/// S3: a granted vote leaves only when it is durable.
#[test]
fn a_granted_vote_waits_for_the_disk() {
    let mut a = abc().slow_disk().start();
    let out = a.request_vote("b", 2, id(1, 1));
    assert!(out.replies.is_empty());
    let state = &a.writing.as_ref().expect("a write under way").state;
    assert_eq!((state.term.0, state.voted_for.as_ref().map(|n| n.as_str())), (2, Some("b")));
    assert!(verdict(&a.persisted()).is_granted());
}

/// S3: a candidate asks beside its own write, but counts its own vote, and leads, only when that is durable.
#[test]
fn a_candidate_leads_only_when_its_own_vote_is_durable() {
    let mut a = abc().slow_disk().start();
    let asked = a.become_candidate();
    assert_eq!(asked.len(), 2, "the requests leave beside the write");
    a.grant(&asked[0]);
    assert_eq!(a.role(), Role::Candidate);
    a.grant(&asked[1]);
    assert_eq!(a.role(), Role::Candidate, "a quorum without its own vote is not enough to lead");
    a.persisted();
    assert_eq!(a.role(), Role::Leader);
}

/// S3: the same where the own vote alone is the quorum.
#[test]
fn a_single_node_leads_only_when_its_own_vote_is_durable() {
    let mut a = Setup::of("a").slow_disk().start();
    a.tick();
    assert_eq!(a.role(), Role::Candidate);
    a.persisted();
    assert_eq!(a.role(), Role::Leader);
    assert!(a.node.committed().is_none(), "L5: nor is its record committed before it is durable");
    a.persisted();
    assert_eq!(a.node.committed().map(|record| record.id), Some(id(2, 2)));
}

/// S12: a finished write releases only what it contained.
#[test]
fn a_finished_write_releases_only_what_it_contained() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    let out = a.request_vote("c", 3, id(1, 1));
    assert!(out.persist.is_none() && out.replies.is_empty(), "one write at a time");
    let out = a.persisted();
    assert_eq!(reply(&out).to.node, node("b"));
    assert_eq!(out.persist.as_ref().map(|persist| persist.state.term.0), Some(3), "the second follows");
    a.writing = out.persist.clone();
    assert_eq!(reply(&a.persisted()).to.node, node("c"));
}

/// S12: what changes while a write is under way is merged into the next one.
#[test]
fn writes_are_merged() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    a.append("c", 4, record_of("abc", 4, 2));
    a.append("c", 4, record_of("abc", 4, 3));
    let out = a.persisted();
    let next = out.persist.expect("one more write");
    assert_eq!((next.write, next.state.term.0, next.state.last()), (WriteId(2), 4, Some(id(4, 3))));
}

/// S12: an answer to the first of two writes that was heard of late releases nothing new.
#[test]
fn an_old_write_releases_nothing() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    let first = a.writing.clone().expect("a write").write;
    a.request_vote("c", 3, id(1, 1));
    a.persisted();
    let out = a.step(Input::Persisted(first));
    assert!(out.replies.is_empty() && out.events.is_empty(), "{out:?}");
}

/// S12: a repeated request joins the write in flight; it is not answered from memory.
#[test]
fn a_repeated_request_joins_the_write_in_flight() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    let out = a.request_vote("b", 2, id(1, 1));
    assert!(out.replies.is_empty());
    assert_eq!(out.dropped, [CallId(1)], "nobody waits for the first call any more");
    let out = a.persisted();
    assert_eq!(out.replies.iter().map(|(call, _)| *call).collect::<Vec<_>>(), [CallId(2)]);
}

/// S12: state changes in the step that decides it. A vote that is still being written is given already.
#[test]
fn a_vote_in_flight_is_given() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::AlreadyVoted));
}

/// S5: within a term the vote goes from none to one value, whoever asks afterwards.
#[test]
fn a_vote_never_changes_within_its_term() {
    let mut a = abc().start();
    a.request_vote("b", 2, id(1, 1));
    for (from, last) in [("c", id(9, 9)), ("b", id(1, 1)), ("c", id(1, 1))] {
        a.request_vote(from, 2, last);
        a.heartbeat(from, 1);
        assert_eq!((a.term(), a.voted_for()), (2, Some("b")));
    }
}

/// L5: an accepted record is acknowledged when the disk holds it; heartbeats meanwhile are answered at once.
#[test]
fn a_record_waits_for_the_disk_and_a_heartbeat_does_not() {
    let mut a = abc().slow_disk().start();
    a.follow("b", 1);
    let out = a.append("b", 1, record_of("abc", 1, 2));
    assert!(out.replies.is_empty());
    assert_eq!(acked(&a.heartbeat("b", 1)), (PROMISE, Some(id(1, 1))), "the promise is new, the disk's record is not");
    assert_eq!(acked(&a.persisted()), (PROMISE, Some(id(1, 2))));
    assert_eq!(acked(&a.heartbeat("b", 1)).1, Some(id(1, 2)));
}

/// L5: the leader's own copy counts only when it is durable.
#[test]
fn the_leaders_own_copy_counts_when_it_is_durable() {
    let mut a = abc().slow_disk().start();
    let asked = a.become_candidate();
    a.grant(&asked[0]);
    let out = a.persisted();
    let appends = requests(&out, RequestKind::AppendEntries);
    a.writing = out.persist;
    a.ack(&appends[0]);
    assert!(a.node.committed().is_none());
    let out = a.persisted();
    assert_eq!(a.node.committed().map(|record| record.id), Some(id(2, 2)));
    assert!(happened(&out, |kind| matches!(kind, EventKind::Established { .. })));
}

/// L2: the record never goes back; a late append of the leader's own, older record is answered and not stored.
#[test]
fn the_record_never_goes_back() {
    let mut a = abc().start();
    a.append("b", 1, record_of("abc", 1, 5));
    let out = a.append("b", 1, record_of("abc", 1, 4));
    assert_eq!(acked(&out).1, Some(id(1, 5)));
    assert_eq!(a.last(), id(1, 5));
}

/// S8: a record is never of a later term than its holder.
#[test]
fn a_record_of_a_later_term_than_its_leader_is_not_stored() {
    let mut a = abc().start();
    a.append("b", 2, record_of("abc", 7, 9));
    assert_eq!((a.term(), a.last()), (2, id(1, 1)));
}

/// L1: a second content of one record is not stored, and an operator hears of it.
#[test]
fn two_contents_of_one_record_raise_an_alarm() {
    let mut a = abc().start();
    a.append("b", 1, record_of("abc", 1, 2));
    let other = hustings::record::Record { proclaimed: value("other"), ..record_of("abc", 1, 2) };
    let out = a.append("b", 1, other);
    assert!(happened(&out, |kind| matches!(kind, EventKind::Alarmed { alarm: Alarm::Equivocation, .. })));
    assert!(a.node.hard_state().record.as_ref().is_some_and(|record| record.proclaimed.is_empty()));
}

/// A follower learns that a record is committed only if it holds it.
#[test]
fn a_commit_is_learned_with_its_record() {
    let mut a = abc().start();
    let b = a.peer("b");
    a.ask(&b, 1, append_entries(None, Some(id(1, 2))));
    assert!(a.node.committed().is_none());
    a.ask(&b, 1, append_entries(Some(record_of("abc", 1, 2)), Some(id(1, 2))));
    assert_eq!(a.node.committed().map(|record| record.id), Some(id(1, 2)));
}

/// E8: after a failed write whoever waited is refused, votes are refused, nothing is promised, and nobody stands.
#[test]
fn a_failed_disk_votes_and_promises_no_more() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    let out = a.persist_failed();
    assert_eq!(verdict(&out), refused(Reason::StorageError));
    assert_eq!(verdict(&a.request_vote("b", 2, id(1, 1))), refused(Reason::StorageError));
    assert_eq!(verdict(&a.pre_vote("b", 3, id(1, 1))), refused(Reason::StorageError));
    let out = a.heartbeat("b", 3);
    assert_eq!((verdict(&out), acked(&out).0), (refused(Reason::StorageError), std::time::Duration::ZERO));
    assert!(out.persist.is_none(), "a failed write is not retried");
    let out = a.wait(ET_MAX);
    assert!(out.requests.is_empty() && a.leader().is_none(), "it forgets a silent leader, and does not stand");
    assert!(a.writing.as_ref().is_some_and(|persist| persist.afresh), "the storage is to start over");
}

/// What starts over is the whole state of that moment; once it is durable the node votes, promises and stands as before.
#[test]
fn a_storage_that_started_over_votes_and_promises_again() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    a.persist_failed();
    a.heartbeat("b", 3);
    a.wait(MS * 60);
    let state = &a.writing.as_ref().expect("it starts over").state;
    assert_eq!((state.term, state.last()), (Term(3), Some(id(1, 1))), "what was learned meanwhile is in it");
    let out = a.persisted();
    assert!(happened(&out, |kind| matches!(kind, EventKind::StorageHealed { attempts: 1, .. })));
    let out = a.heartbeat("b", 3);
    assert!(verdict(&out).is_granted() && !acked(&out).0.is_zero());
    let out = a.wait(ET_MAX);
    assert_eq!(a.role(), Role::PreCandidate, "it stands again");
    assert!(!requests(&out, RequestKind::PreVote).is_empty());
}

/// S2, S3: a vote that could not be written was refused, and is kept all the same: the disk may hold it.
#[test]
fn a_vote_that_failed_is_not_given_to_another() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    a.persist_failed();
    a.wait(MS * 60);
    a.persisted();
    assert_eq!(verdict(&a.request_vote("c", 2, id(1, 1))), refused(Reason::AlreadyVoted));
}

/// Attempts come after 50 ms, then further and further apart, at most 5 s; each that fails is told.
#[test]
fn a_storage_that_stays_broken_is_asked_ever_more_rarely() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    a.persist_failed();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let failed = a.now;
        while a.writing.is_none() {
            a.wait(MS * 1);
        }
        pauses.push(a.now.since(failed).as_millis());
        let out = a.persist_failed();
        assert!(happened(&out, |kind| matches!(kind, EventKind::PersistFailed { .. })));
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

/// A late answer of the write that failed, or of one before it, is no proof that the storage has started over.
#[test]
fn only_the_write_that_starts_over_counts_after_a_failure() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    let failed = a.writing.as_ref().expect("the vote is being written").write;
    a.persist_failed();
    a.wait(MS * 60);
    a.step(Input::Persisted(failed));
    assert_eq!(verdict(&a.pre_vote("b", 3, id(1, 1))), refused(Reason::StorageError));
    a.persisted();
    assert!(verdict(&a.pre_vote("b", 3, id(1, 1))) != refused(Reason::StorageError));
}

/// V9: a leader whose write fails resigns at once.
#[test]
fn a_leader_whose_disk_fails_resigns_at_once() {
    let mut a = abc().start();
    a.lead();
    a.manual_disk = true;
    a.step(Input::Proclaim(value("x")));
    let out = a.persist_failed();
    let ended =
        |kind: &EventKind| matches!(kind, EventKind::LeadershipEnded { cause: LeadershipEnd::StorageStalled, .. });
    assert!(happened(&out, ended));
    assert_eq!(asked(&requests(&out, RequestKind::Resign)), ["b", "c"]);
    assert_eq!(a.role(), Role::Follower);
    assert!(a.wait(MS * 49).requests.is_empty() && a.writing.is_none());
}

/// A candidate whose write fails is none any more, and does not lead by votes that come later.
#[test]
fn a_candidate_whose_disk_fails_gives_up() {
    let mut a = abc().slow_disk().start();
    let asked = a.become_candidate();
    a.persist_failed();
    assert_eq!(a.role(), Role::Follower);
    a.grant(&asked[0]);
    a.grant(&asked[1]);
    assert_eq!(a.role(), Role::Follower);
}

/// S10: the user's order to campaign goes through a pre-vote as well.
#[test]
fn a_campaign_by_order_asks_first() {
    let mut a = abc().start();
    let out = a.step(Input::Campaign);
    assert_eq!((a.role(), a.term()), (Role::PreCandidate, 1));
    assert!(out.requests.iter().all(|request| matches!(request.body, RequestBody::PreVote { .. })));
}

/// The terms end without wrapping: the last one can be entered, and after it nobody stands.
#[test]
fn the_last_term_does_not_wrap() {
    let mut a = abc().term(u64::MAX - 1).start();
    a.become_leader();
    assert_eq!(a.term(), u64::MAX);
    let mut a = abc().term(u64::MAX).start();
    let out = a.tick();
    assert!(happened(&out, |kind| matches!(kind, EventKind::Alarmed { alarm: Alarm::TermExhausted, .. })));
    assert_eq!((a.role(), a.term(), a.node.deadline()), (Role::Follower, u64::MAX, Time::NEVER));
    assert!(verdict(&a.request_vote("b", u64::MAX, id(1, 1))).is_granted());
}

/// The machine is a function: the same state, seed and inputs give the same bytes.
#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut a = Setup::of("abcde").seed(42).start();
        let mut told = format!("{:?}", a.started);
        for _ in 0..3 {
            let asked = a.become_candidate();
            told += &format!("{asked:?}{:?}", a.tick());
        }
        told += &format!("{:?}", a.lead());
        told
    };
    assert_eq!(run(), run());
}

/// Whoever may not stand keeps its leader when it is told to campaign.
#[test]
fn an_order_to_campaign_changes_nothing_for_one_who_may_not_stand() {
    let mut a = abc().slow_disk().start();
    a.request_vote("b", 2, id(1, 1));
    a.persist_failed();
    a.heartbeat("b", 3);
    assert!(!a.node.may_stand());
    let out = a.step(Input::Campaign);
    assert!(out.events.is_empty() && out.requests.is_empty());
    assert_eq!(a.leader(), Some("b"));
}
