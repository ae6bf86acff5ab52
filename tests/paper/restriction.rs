//! Paper §5.4.1: the election restriction, and §5.4.2: what a leader may commit.

use super::bench::*;
use hustings::event::Role;
use hustings::message::{Contention, Reason, ReplyBody, RequestBody};

/// §5.4.1: the request for a vote says how up to date the candidate's log is.
#[test]
fn a_candidate_tells_its_record() {
    let mut a = abc().term(5).record(4, 12).start();
    for request in a.become_candidate() {
        assert_eq!(request.body, RequestBody::RequestVote { last: Some(id(4, 12)), transfer: None });
    }
}

/// §5.4.1: a voter refuses if its own log is more up to date. The later term wins; in the same term the longer log does.
#[test]
fn a_voter_refuses_a_candidate_whose_record_is_behind() {
    let cases = [
        // (the voter's, the candidate's, granted)
        ((3, 5), (3, 5), true),
        ((3, 5), (3, 6), true),
        ((3, 5), (3, 4), false),
        ((3, 5), (4, 5), true),
        ((3, 5), (4, 1), true),
        ((3, 5), (2, 5), false),
        ((3, 5), (2, 99), false),
        ((0, 0), (0, 0), true),
        ((1, 1), (0, 0), false),
    ];
    for (mine, theirs, granted) in cases {
        let mut a = abc().term(5).record(mine.0, mine.1).start();
        for pre_vote in [true, false] {
            let last = id(theirs.0, theirs.1);
            let out = if pre_vote { a.pre_vote("b", 6, last) } else { a.request_vote("b", 6, last) };
            let expected = if granted { hustings::message::Verdict::Granted } else { refused(Reason::RecordBehind) };
            assert_eq!(verdict(&out), expected, "{mine:?} asked with {theirs:?}, pre-vote {pre_vote}");
        }
    }
}

/// §5.4.1 with §5.1: a refused candidate's term counts all the same; the vote of that term is still to be given.
#[test]
fn a_voter_that_refuses_for_the_record_enters_the_term() {
    let mut a = abc().term(5).record(3, 5).start();
    a.request_vote("b", 8, id(3, 4));
    assert_eq!((a.term(), a.voted_for()), (8, None));
    assert!(verdict(&a.request_vote("c", 8, id(3, 5))).is_granted());
}

/// §5.4.1: the refusal carries the voter's record here, so that the candidate can learn it before it leads.
#[test]
fn a_refusal_for_the_record_carries_it() {
    let mut a = abc().term(5).record(3, 5).start();
    let out = a.pre_vote("b", 6, id(3, 4));
    let ReplyBody::Vote { record: Some(record), .. } = &reply(&out).body else { panic!("{out:?}") };
    assert_eq!(**record, record_of("abc", 3, 5));
}

/// §5.4.1: a leader holds what was committed. It never replaces its record by another's.
#[test]
fn a_leader_keeps_its_record() {
    let mut a = abc().start();
    a.lead();
    let last = a.last();
    a.append("b", 1, record_of("abc", 1, 9));
    a.append("b", 2, record_of("abc", 2, 9));
    assert_eq!((a.role(), a.last()), (Role::Leader, last));
}

/// §5.4.2: a leader commits only a record of its own term by counting replicas; what came before is committed with it.
#[test]
fn a_leader_commits_its_own_terms_record_only() {
    let mut a = abc().term(4).record(2, 7).start();
    let appends = a.become_leader();
    let mut old = a.ack_reply(&appends[0]);
    old.body = ReplyBody::Append { promised: PROMISE, durable: Some(id(2, 7)), contention: Contention::Contends };
    a.step(hustings::node::Input::Reply(old));
    assert!(a.node.committed().is_none(), "the record of term 2 is on a majority, and not committed by that");
    a.ack(&appends[1]);
    assert_eq!(a.node.committed().map(|record| (record.id, record.parent)), Some((id(5, 8), id(2, 7))));
}
