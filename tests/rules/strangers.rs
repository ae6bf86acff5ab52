//! S11: who may speak. What is refused here has changed nothing.

use super::bench::*;
use hustings::event::{Alarm, Event, EventKind, Role};
use hustings::message::{Hearsay, Reason, ReplyBody, RequestBody, RequestKind, Verdict};
use hustings::node::{Input, Output};
use hustings::record::Record;
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

/// What an answer tells of its sender.
fn told(out: &Output) -> (Founding, u32, Term) {
    let reply = reply(out);
    (reply.from.founding, reply.from.timing, reply.term)
}

fn alarms(out: &Output) -> Vec<(Alarm, String)> {
    let alarm = |event: &Event| match &event.kind {
        EventKind::Alarmed { alarm, about } => {
            Some((*alarm, about.as_ref().map(ToString::to_string).unwrap_or_default()))
        }
        _ => None,
    };
    out.events.iter().filter_map(alarm).collect()
}

fn foreign(by: &str) -> (Alarm, String) {
    (Alarm::ForeignRecord, by.to_owned())
}

/// S13: a refusal tells a stranger nothing that it did not say itself; a member is told what helps it.
#[test]
fn strangers_learn_nothing_from_refusals() {
    let mut a = abc().start();
    a.follow("b", 3);
    let own = a.node.identity().clone();
    let blank = a.peer("x").with(|x| (x.founding, x.timing) = (no_founding(), 0));
    for body in everything() {
        let refusal = a.ask(&blank, 4, body);
        assert_eq!(told(&refusal), (Founding::WITHHELD, 0, Term(0)));
        assert!(!matches!(&reply(&refusal).body, ReplyBody::Vote { .. }), "nor a record, nor who leads");
    }
    let knowing = a.peer("x");
    assert_eq!(
        told(&a.ask(&knowing, 4, RequestBody::Resign)),
        (own.founding, own.timing, Term(0)),
        "what it said itself"
    );
    let elsewhere =
        a.peer("b").with(|b| (b.cluster, b.founding) = (ClusterId::new("other").expect("a name"), Founding(1)));
    assert_eq!(told(&a.ask(&elsewhere, 4, RequestBody::Resign)), (Founding::WITHHELD, own.timing, Term(0)));
    let member = a.peer("b").with(|b| b.timing += 1);
    assert_eq!(
        told(&a.ask(&member, 4, RequestBody::Resign)),
        (own.founding, own.timing, Term(3)),
        "whose timing is wrong"
    );
    let b = a.peer("b").with(|b| (b.founding, b.timing) = (no_founding(), 0));
    let request = a.request(&b, 4, RequestBody::Resign);
    assert_eq!(told(&a.receive(request, Some("x"))), (Founding::WITHHELD, 0, Term(0)), "who only claims to be b");
}

/// A stopped node tells strangers no more than a running one.
#[test]
fn a_stopped_node_tells_strangers_nothing() {
    let mut a = abc().start();
    a.step(Input::Shutdown);
    assert_eq!(a.role(), Role::Stopped);
    let x = a.peer("x").with(|x| (x.founding, x.timing) = (no_founding(), 0));
    assert_eq!(told(&a.ask(&x, 4, RequestBody::Resign)), (Founding::WITHHELD, 0, Term(0)));
}

/// An answer that withholds the founding is no answer of a node that has none: nothing is founded by it.
#[test]
fn a_withheld_founding_is_no_missing_one() {
    let mut a = abc().blank().start();
    for probe in requests(&a.started, RequestKind::PreVote) {
        let mut refusal = a.reply(&probe, 0, refused(Reason::NotAMember), ReplyBody::None);
        Arc::make_mut(&mut refusal.from).founding = Founding::WITHHELD;
        a.step(Input::Reply(refusal));
    }
    assert!(a.node.hard_state().record.is_none());
}

/// S13, the whole attack: a stranger that knows everything leads in a later term with a record that names itself alone,
/// lets it be committed, resigns, and asks for votes in a term far ahead. Nothing of it changes anything, in any role.
#[test]
fn a_stranger_with_a_newer_record_takes_over_nothing() {
    for role in [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader] {
        let mut a = abc().start();
        match role {
            Role::Follower => a.follow("b", 1),
            Role::PreCandidate => drop(a.stand()),
            Role::Candidate => drop(a.become_candidate()),
            _ => drop(a.lead()),
        }
        let before = state(&a);
        let term = a.term();
        let mut told = Vec::new();
        for ahead in [1, 1000] {
            let newer = id(term + ahead, 9);
            let record = Record { id: newer, parent: a.last(), ..record_of("x", 2, 2) };
            for body in [
                append_entries(None, Some(newer)),
                append_entries(Some(record.clone()), None),
                append_entries(Some(record), Some(newer)),
                RequestBody::Resign,
                RequestBody::TimeoutNow,
                RequestBody::PreVote { last: Some(newer) },
                RequestBody::RequestVote { last: Some(newer), transfer: None },
            ] {
                let x = a.peer("x");
                let request = a.request(&x, term + ahead, body);
                // Whether the transport knows it makes it no member.
                let out = a.receive(request, (ahead == 1).then_some("x"));
                assert!(!verdict(&out).is_granted() && out.persist.is_none(), "{role:?}: {out:?}");
                assert_eq!(state(&a), before, "{role:?}");
                told.extend(alarms(&out));
                a.pass(MS);
            }
        }
        assert!(told.contains(&(Alarm::UnknownNode, "x".to_owned())), "{role:?}: {told:?}");
    }
}

/// Nor does it under a name that is listed: a record in which none of our quorums has a say is not taken from a message.
#[test]
fn a_record_that_shares_no_quorum_is_asked_about_and_refused() {
    for members in ["x", "bxy", "bcxyz"] {
        let mut a = abc().start();
        a.follow("b", 1);
        let before = state(&a);
        let record = Record { id: id(2, 2), parent: id(1, 1), ..record_of(members, 2, 2) };
        let b = a.peer("b");
        let out = a.ask(&b, 2, append_entries(Some(record.clone()), Some(id(2, 2))));
        assert_eq!((verdict(&out), state(&a)), (refused(Reason::Unverified), before.clone()), "{members}");
        assert_eq!(asked(&out.requests), ["b", "c"], "those that it lists");
        assert!(out.requests.iter().all(|request| request.body == RequestBody::PreVote { last: None }));
        // The members know nothing of it: b itself does not.
        let knows = |a: &Bench, request| {
            let record = Some(Arc::new(record_of("abc", 1, 1)));
            let body = ReplyBody::Vote { remainder: Duration::ZERO, record, hearsay: None };
            a.reply(request, 1, refused(Reason::RecordBehind), body)
        };
        let answer = knows(&a, &out.requests[0]);
        assert_eq!(alarms(&a.step(Input::Reply(answer))), [foreign("b")], "{members}");
        assert_eq!(state(&a), before);
        let out = a.ask(&b, 2, append_entries(Some(record), Some(id(2, 2))));
        assert_eq!((verdict(&out), out.requests.len()), (refused(Reason::Unverified), 0), "not asked again at once");
    }
}

/// The members changed more than once while this node was away, and the leader is one that it lists. What that one
/// answers to a question of this node's own is taken: before a leader is followed it is adopted (A1) ...
#[test]
fn a_record_beyond_our_quorums_is_adopted_from_an_answer() {
    let mut a = abc().start();
    let b = a.peer("b");
    let record = Record { id: id(2, 9), parent: id(2, 8), ..record_of("bde", 2, 9) };
    let out = a.ask(&b, 2, append_entries(Some(record.clone()), None));
    assert_eq!((verdict(&out), a.term()), (refused(Reason::Unverified), 1));
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: Some(Arc::new(record)), hearsay: None };
    let answer = a.reply(&out.requests[0], 2, refused(Reason::RecordBehind), body);
    a.step(Input::Reply(answer));
    assert_eq!((a.last(), a.term()), (id(2, 9), 2));
}

/// ... and while it is followed, its next message brings it.
#[test]
fn a_record_beyond_our_quorums_is_taken_from_the_leader_that_vouches_for_it() {
    let mut a = abc().start();
    let b = a.peer("b");
    a.follow("b", 2);
    let record = Record { id: id(2, 9), parent: id(2, 8), ..record_of("bde", 2, 9) };
    let out = a.ask(&b, 2, append_entries(Some(record.clone()), None));
    assert_eq!(verdict(&out), refused(Reason::Unverified));
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: Some(Arc::new(record.clone())), hearsay: None };
    let answer = a.reply(&out.requests[0], 2, refused(Reason::RecordBehind), body);
    a.step(Input::Reply(answer));
    assert_eq!((a.last(), a.leader()), (id(1, 1), Some("b")), "A1: not while it follows");
    let mut other = record.clone();
    other.members.pop();
    assert_eq!(
        verdict(&a.ask(&b, 2, append_entries(Some(other), None))),
        refused(Reason::Unverified),
        "that very record"
    );
    assert!(verdict(&a.ask(&b, 2, append_entries(Some(record), None))).is_granted());
    assert_eq!(a.last(), id(2, 9));
}

/// A record that names nobody whom this node knows is not taken from anybody: it cannot tell this cluster from another.
#[test]
fn a_record_that_names_nobody_known_is_never_taken() {
    let mut a = abc().start();
    let d = a.peer("d");
    let out = a.ask(&d, 2, append_entries(None, Some(id(2, 9))));
    let record = Record { id: id(2, 9), parent: id(2, 8), ..record_of("ade", 2, 9) };
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: Some(Arc::new(record)), hearsay: None };
    let answer = a.reply(&out.requests[0], 2, refused(Reason::RecordBehind), body);
    let out = a.step(Input::Reply(answer));
    assert_eq!((alarms(&out), a.last()), (vec![foreign("b")], id(1, 1)));
}

/// Only answers of members to the question count, and a leader adopts nothing.
#[test]
fn only_members_that_were_asked_vouch() {
    let newer = || Some(Arc::new(Record { id: id(2, 9), parent: id(2, 8), ..record_of("abcd", 2, 9) }));
    let body = |record| ReplyBody::Vote { remainder: Duration::ZERO, record, hearsay: None };
    let mut a = abc().start();
    let d = a.peer("d");
    let out = a.ask(&d, 2, append_entries(None, Some(id(2, 9))));
    let mut answer = a.reply(&out.requests[0], 2, refused(Reason::RecordBehind), body(newer()));
    Arc::make_mut(&mut answer.from).node = node("d");
    a.step(Input::Reply(answer));
    assert_eq!(a.last(), id(1, 1), "d vouches for itself");
    let mut a = abc().start();
    a.lead();
    let own = a.last();
    let out = a.ask(&d, 3, append_entries(None, Some(id(3, 9))));
    let asked = requests(&out, RequestKind::PreVote);
    assert_eq!(asked.len(), 2);
    let record = Some(Arc::new(Record { id: id(3, 9), parent: own, ..record_of("abcd", 3, 9) }));
    let answer = a.reply(&asked[0], 3, refused(Reason::RecordBehind), body(record));
    a.step(Input::Reply(answer));
    assert_eq!((a.role(), a.last()), (Role::Leader, own));
}

/// A claim that nobody knows of is told, and asked about ever less often: a stranger makes little travel.
#[test]
fn a_repeated_claim_is_asked_about_less_and_less() {
    let mut a = abc().start();
    a.follow("b", 1);
    let x = a.peer("x");
    let (mut questions, mut told) = (Vec::new(), Vec::new());
    for at in 0..600_u32 {
        let heartbeat = a.heartbeat("b", 1);
        assert!(verdict(&heartbeat).is_granted());
        let out = a.ask(&x, 2, append_entries(None, Some(id(2, 9))));
        questions.extend((!out.requests.is_empty()).then_some(at));
        told.extend(alarms(&out));
        a.pass(5 * MS);
    }
    assert_eq!(told, [foreign("x")]);
    let gaps: Vec<u32> = questions.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(questions.len() <= 10 && gaps.is_sorted() && gaps[0] < 20, "{questions:?}");
}

/// S13: a voter whose record is older does not know the candidate yet; it asks, learns, and votes. The candidate does not
/// take that refusal for its removal.
#[test]
fn a_candidate_that_was_added_is_voted_for_after_a_question() {
    let mut a = abc().start();
    let d = a.peer("d");
    let plea = || RequestBody::PreVote { last: Some(id(2, 4)) };
    let out = a.ask(&d, 3, plea());
    assert_eq!(verdict(&out), refused(Reason::Unverified));
    let record = Some(Arc::new(Record { id: id(2, 4), parent: id(2, 3), ..record_of("abcd", 2, 4) }));
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record, hearsay: None };
    let answer = a.reply(&out.requests[1], 2, refused(Reason::RecordBehind), body);
    a.step(Input::Reply(answer));
    assert!(verdict(&a.ask(&d, 3, plea())).is_granted());
    let mut a = abc().start();
    let asked = a.stand();
    a.refuse(&asked[0], 0, Reason::Unverified);
    a.refuse(&asked[1], 0, Reason::Unverified);
    assert_eq!(a.role(), Role::Follower);
    assert!(a.node.deadline() < Time::NEVER, "it stands again");
}

/// A node without a record goes by its list: it takes no record either in which no quorum of the list has a say.
#[test]
fn a_blank_node_takes_no_record_of_strangers() {
    let mut a = abc().blank().start();
    let b = a.peer("b");
    let record = Record { id: id(9, 9), parent: id(8, 8), ..record_of("bxy", 2, 2) };
    let out = a.ask(&b, 9, append_entries(Some(record), None));
    assert_eq!((verdict(&out), a.term()), (refused(Reason::Unverified), 0));
    assert_eq!((a.node.hard_state().record.as_deref(), asked(&out.requests)), (None, vec!["b", "c"]));
    let record = Record { id: id(2, 9), parent: id(2, 8), ..record_of("bcde", 2, 9) };
    let body = ReplyBody::Vote { remainder: Duration::ZERO, record: Some(Arc::new(record)), hearsay: None };
    let answer = a.reply(&out.requests[0], 2, refused(Reason::RecordBehind), body);
    a.step(Input::Reply(answer));
    assert_eq!(a.last(), id(2, 9), "what a member answers is taken, however much has changed");
}

/// No message makes a node panic, whatever it was built with: an age without bounds is as old as can be.
#[test]
fn hearsay_of_any_age_is_heard() {
    let mut a = abc().start();
    let asked = a.stand();
    let hearsay = Some(Hearsay { leader: node("c"), term: Term(1), age: Duration::MAX });
    let body = ReplyBody::Vote { remainder: Duration::MAX, record: None, hearsay };
    let answer = a.reply(&asked[0], 1, refused(Reason::LeaderAlive), body);
    a.step(Input::Reply(answer));
    a.pass(MS);
    assert!(a.node.hearsay().is_none(), "too old to be told");
    a.pre_vote("b", 2, id(1, 1));
}
