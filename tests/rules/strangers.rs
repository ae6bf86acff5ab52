//! S11: who may speak. What is refused here has changed nothing.

use super::bench::*;
use hustings::event::Role;
use hustings::message::{Reason, ReplyBody, RequestBody, Verdict};
use hustings::node::Input;
use hustings::types::{ClusterId, Founding, GroupId, Incarnation, Term, Time};
use std::sync::Arc;
use std::time::Duration;

type State = (hustings::record::HardState, Time, hustings::promise::Promises, Role, Option<String>);

fn state(a: &Bench) -> State {
    let leader = a.leader().map(str::to_owned);
    (a.node.hard_state().clone(), a.node.deadline(), a.node.promises().clone(), a.role(), leader)
}

fn everything() -> [RequestBody; 6] {
    [
        RequestBody::PreVote { last: Some(id(1, 1)) },
        RequestBody::RequestVote { last: Some(id(1, 1)), transfer: None },
        append_entries(None, None),
        append_entries(Some(record_of("abc", 1, 1)), Some(id(1, 1))),
        RequestBody::TimeoutNow,
        RequestBody::Resign,
    ]
}

/// The wrong cluster, group, founding, timing, version or node changes nothing, whatever it asks.
#[test]
fn strangers_change_nothing() {
    type Change = fn(&mut hustings::message::Identity);
    let strangers: [(Change, Reason); 8] = [
        (|b| b.cluster = ClusterId::new("other").expect("a name"), Reason::WrongCluster),
        (|b| b.group = GroupId::new("other").expect("a name"), Reason::WrongCluster),
        (|b| b.founding = Founding(1), Reason::WrongCluster),
        (|b| b.timing += 1, Reason::Unsupported),
        (|b| b.version = 0, Reason::Unsupported),
        (|b| b.node = node("x"), Reason::NotAMember),
        (|b| b.node = node("a"), Reason::DuplicateNode),
        (
            |b| {
                b.node = node("a");
                b.incarnation = Incarnation(9);
            },
            Reason::DuplicateNode,
        ),
    ];
    for (change, reason) in strangers {
        for body in everything() {
            for following in [false, true] {
                let mut a = abc().start();
                if following {
                    a.follow("b", 1);
                }
                let before = state(&a);
                let stranger = a.peer("b").with(change);
                let term = if matches!(body, RequestBody::TimeoutNow | RequestBody::Resign) { 1 } else { 2 };
                let out = a.ask(&stranger, term, body.clone());
                assert_eq!(verdict(&out), refused(reason), "{body:?}");
                assert_eq!(state(&a), before, "{reason:?} {body:?}");
                assert!(out.persist.is_none() && out.requests.is_empty());
            }
        }
    }
}

/// Who the transport authenticated is who speaks; a message that says otherwise changes nothing.
#[test]
fn the_authenticated_peer_is_believed_and_not_the_message() {
    let mut a = abc().start();
    let before = state(&a);
    for body in everything() {
        let b = a.peer("b");
        let request = a.request(&b, 1, body);
        assert_eq!(verdict(&a.receive(request, Some("c"))), refused(Reason::NotAMember));
        assert_eq!(state(&a), before);
    }
    let b = a.peer("b");
    let request = a.request(&b, 2, RequestBody::RequestVote { last: Some(id(1, 1)), transfer: None });
    assert!(verdict(&a.receive(request, Some("b"))).is_granted());
}

/// A message for another node changes nothing.
#[test]
fn a_message_for_another_changes_nothing() {
    let mut a = abc().start();
    let before = state(&a);
    let b = a.peer("b");
    for body in everything() {
        let mut request = a.request(&b, 2, body);
        request.to = node("c");
        assert_eq!(verdict(&a.receive(request, None)), refused(Reason::WrongCluster));
        assert_eq!(state(&a), before);
    }
}

/// An honest term never jumps by 2^32: one that does changes nothing, in a request or in a reply.
#[test]
fn an_absurd_term_changes_nothing() {
    let mut a = abc().start();
    let before = state(&a);
    for term in [u64::MAX, u64::MAX - 1, (1 << 32) + 2] {
        for body in everything() {
            let b = a.peer("b");
            assert_eq!(verdict(&a.ask(&b, term, body)), refused(Reason::Unsupported));
            assert_eq!(state(&a), before);
        }
    }
    let asked = a.stand();
    a.refuse(&asked[0], u64::MAX, Reason::StaleTerm);
    assert_eq!((a.role(), a.term()), (Role::PreCandidate, 1));
    let mut a = abc().start();
    a.lead();
    let heartbeat = a.round().swap_remove(0);
    a.refuse(&heartbeat, u64::MAX, Reason::StaleTerm);
    assert_eq!((a.role(), a.term()), (Role::Leader, 2));
    let mut a = abc().start();
    a.follow("b", (1 << 32) + 1);
    assert_eq!(a.term(), (1 << 32) + 1, "the largest jump that is believed");
}

/// A request for a vote without any record is a question of an unfounded node: it deposes no leader and raises no term.
#[test]
fn a_plea_without_a_record_changes_nothing() {
    for leading in [true, false] {
        let mut a = abc().start();
        if leading {
            a.lead();
        } else {
            a.follow("b", 1);
        }
        let before = state(&a);
        let c = a.peer("c").with(|c| c.amnesiac = true);
        let out = a.ask(&c, 9, RequestBody::RequestVote { last: None, transfer: None });
        assert_eq!(verdict(&out), refused(Reason::RecordBehind));
        assert_eq!(state(&a), before, "leading {leading}");
    }
}

/// `TimeoutNow` from anyone but this life of the leader of the current term is refused.
#[test]
fn timeout_now_comes_from_the_leader_of_the_term() {
    for (who, incarnation, term) in [("c", 1, 1), ("b", 2, 1), ("b", 1, 2), ("b", 1, 0)] {
        let mut a = abc().start();
        a.follow("b", 1);
        let from = a.peer(who).with(|peer| peer.incarnation = Incarnation(incarnation));
        let before = state(&a);
        assert_eq!(verdict(&a.ask(&from, term, RequestBody::TimeoutNow)), refused(Reason::NotLeader));
        assert_eq!(state(&a), before);
    }
    let mut a = abc().start();
    a.lead();
    let b = a.peer("b");
    assert_eq!(verdict(&a.ask(&b, 2, RequestBody::TimeoutNow)), refused(Reason::NotLeader));
    assert_eq!(a.role(), Role::Leader);
}

/// A resignation of a node that does not lead releases nothing and forgets no leader.
#[test]
fn a_resignation_of_another_forgets_no_leader() {
    let mut a = abc().start();
    a.follow("b", 1);
    let before = (a.node.hard_state().clone(), a.node.deadline(), a.node.promises().current().cloned());
    let c = a.peer("c");
    a.ask(&c, 1, RequestBody::Resign);
    let after = (a.node.hard_state().clone(), a.node.deadline(), a.node.promises().current().cloned());
    assert_eq!((before, a.leader()), (after, Some("b")));
}

/// Votes of strangers, of former lives of this node, of other kinds, or for requests never made are not counted.
#[test]
fn foreign_replies_are_not_counted() {
    type Change = fn(&mut hustings::message::Reply);
    fn from(change: fn(&mut hustings::message::Identity)) -> impl Fn(&mut hustings::message::Reply) {
        move |reply| change(Arc::make_mut(&mut reply.from))
    }
    let others: [Change; 9] = [
        |reply| reply.to.incarnation = Incarnation(0),
        |reply| reply.to.disk = disk_of("e"),
        |reply| reply.id.0 += 1000,
        |reply| from(|b| b.cluster = ClusterId::new("other").expect("a name"))(reply),
        |reply| from(|b| b.group = GroupId::new("other").expect("a name"))(reply),
        |reply| from(|b| b.founding = Founding(1))(reply),
        |reply| from(|b| b.node = node("x"))(reply),
        |reply| from(|b| b.node = node("a"))(reply),
        |reply| from(|b| b.disk = disk_of("e"))(reply),
    ];
    for (at, change) in others.into_iter().enumerate() {
        let mut a = abc().start();
        let asked = a.become_candidate();
        let body = ReplyBody::Vote { remainder: Duration::ZERO, record: None, hearsay: None };
        let mut reply = a.reply(&asked[0], 2, Verdict::Granted, body);
        change(&mut reply);
        a.step(Input::Reply(reply));
        assert_eq!(a.role(), Role::Candidate, "change {at}");
        a.grant(&asked[0]);
        assert_eq!(a.role(), Role::Leader, "the true one counts");
    }
}

/// S7: only voters vote. A member without a vote is not asked, and neither its grant nor its acknowledgement counts.
#[test]
fn non_voters_do_not_count() {
    let without_vote = |setup: &mut Setup| {
        let record = Arc::make_mut(setup.state.record.as_mut().expect("a record"));
        record.members[3].voter = false;
    };
    let mut a = Setup::of("abcd").with(without_vote).start();
    let asked_pre_votes = a.stand();
    assert_eq!(asked(&asked_pre_votes), ["b", "c"]);
    let mut false_one = asked_pre_votes[0].clone();
    false_one.to = node("d");
    a.grant(&false_one);
    assert_eq!(a.role(), Role::PreCandidate);
    let mut a = Setup::of("abcd").with(without_vote).start();
    let appends = a.become_leader();
    assert_eq!(asked(&appends), ["b", "c", "d"], "it is told");
    a.ack(&appends[2]);
    assert!(a.node.committed().is_none() && !a.is_exclusive());
    a.ack(&appends[0]);
    assert!(a.is_exclusive());
    assert_eq!(verdict(&a.request_vote("d", 3, id(2, 2))), refused(Reason::NotAVoter));
}

/// A node that is in the record without a vote neither votes nor stands.
#[test]
fn a_node_without_a_vote_neither_votes_nor_stands() {
    let mut a = abc()
        .with(|setup| Arc::make_mut(setup.state.record.as_mut().expect("a record")).members[0].voter = false)
        .start();
    assert_eq!(a.node.deadline(), Time::NEVER);
    assert_eq!(verdict(&a.request_vote("b", 2, id(1, 1))), refused(Reason::NotAVoter));
    a.follow("b", 1);
    let out = a.wait(ET_MAX);
    assert_eq!(
        (a.leader(), a.role(), a.node.deadline()),
        (None, Role::Follower, Time::NEVER),
        "forgets a silent leader"
    );
    assert!(out.requests.is_empty(), "and does not stand");
    a.follow("b", 1);
    let b = a.peer("b");
    assert_eq!(verdict(&a.ask(&b, 1, RequestBody::TimeoutNow)), refused(Reason::NotAVoter));
    assert_eq!(a.node.term(), Term(1));
}
