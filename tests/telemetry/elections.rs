//! Elections: won, lost, unanswered, failed.

use std::time::SystemTime;

use hustings::event::{EventKind, Outcome, PersistCause, RecordCause, Role, Trigger, WriteId};
use hustings::message::{CallError, Reason, RequestKind, Verdict};
use hustings::record::RecordId;
use hustings::types::{Term, Time, TraceContext};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;

use super::stage::*;

const PRE: RequestKind = RequestKind::PreVote;
const VOTE: RequestKind = RequestKind::RequestVote;
const APPEND: RequestKind = RequestKind::AppendEntries;

/// `a` is elected in term 5: `b` grants, `c` refuses the pre-vote and never answers the vote.
pub(crate) fn elect(a: &mut Player, b: &mut Player, c: &mut Player) {
    pre_vote(a, b, c);
    vote(a, b);
    establish(a, b);
}

fn pre_vote(a: &mut Player, b: &mut Player, c: &mut Player) {
    a.stand(200_000, 1);
    a.start_round(200_010, true, 1, 5);
    let (to_b, to_c) = (a.ask(200_020, "b", PRE, 5), a.ask(200_020, "c", PRE, 5));
    let call = b.receive(200_150, a, to_b, PRE, 5);
    b.answer(200_160, call, to_b, "a", PRE, Verdict::Granted);
    c.leader = Some(node("z"));
    let call = c.receive(200_150, a, to_c, PRE, 5);
    c.answer(200_170, call, to_c, "a", PRE, refused(Reason::LeaderAlive));
    a.hear(200_300, "c", to_c, PRE, refused(Reason::LeaderAlive));
    a.hear(200_310, "b", to_b, PRE, Verdict::Granted);
    a.tell(200_310, EventKind::QuorumReached { pre_vote: true, granted: 2, quorum: 2 });
    a.end_round(200_310, true, 1, (2, 1), &[]);
}

fn vote(a: &mut Player, b: &mut Player) {
    a.advance_term(200_310, 5);
    a.become_role(200_310, Role::Candidate);
    a.start_round(200_310, false, 2, 5);
    a.tell(200_310, EventKind::PersistStarted { write: WriteId(1), causes: vec![PersistCause::OwnVote] });
    let (to_b, _to_c) = (a.ask(200_320, "b", VOTE, 5), a.ask(200_320, "c", VOTE, 5));
    let call = b.receive(200_450, a, to_b, VOTE, 5);
    b.advance_term(200_450, 5);
    b.tell(200_450, EventKind::PersistStarted { write: WriteId(1), causes: vec![PersistCause::Vote { call }] });
    a.tell(200_600, EventKind::PersistEnded { write: WriteId(1) });
    b.tell(201_400, EventKind::PersistEnded { write: WriteId(1) });
    b.answer(201_410, call, to_b, "a", VOTE, Verdict::Granted);
    a.hear(201_550, "b", to_b, VOTE, Verdict::Granted);
    a.tell(201_550, EventKind::QuorumReached { pre_vote: false, granted: 2, quorum: 2 });
    a.end_round(201_550, false, 2, (2, 0), &["c"]);
}

fn establish(a: &mut Player, b: &mut Player) {
    a.leader = Some(node("a"));
    a.become_role(201_550, Role::Leader);
    a.tell(201_550, EventKind::Elected { barrier: us(1_500) });
    let (id, parent) = (RecordId { term: Term(5), index: 10 }, RecordId { term: Term(4), index: 9 });
    a.tell(201_550, EventKind::RecordAppended { id, parent, cause: RecordCause::NoOp });
    a.tell(201_550, EventKind::PersistStarted { write: WriteId(2), causes: vec![PersistCause::OwnRecord] });
    let (to_b, to_c) = (a.ask(201_560, "b", APPEND, 5), a.ask(201_560, "c", APPEND, 5));
    let call = b.receive(201_700, a, to_b, APPEND, 5);
    b.leader = Some(node("a"));
    let election = a.spans.election(&main_group());
    let leaderless_since = Time::ZERO + us(47_000);
    b.tell(201_700, EventKind::LeaderChanged { leader: node("a"), election, leaderless_since });
    b.tell(201_700, EventKind::RecordAccepted { id, parent, from: node("a") });
    b.tell(201_700, EventKind::PersistStarted { write: WriteId(2), causes: vec![PersistCause::Record { call }] });
    b.tell(202_500, EventKind::PersistEnded { write: WriteId(2) });
    b.answer(202_500, call, to_b, "a", APPEND, Verdict::Granted);
    a.tell(202_400, EventKind::PersistEnded { write: WriteId(2) });
    a.hear(202_650, "b", to_b, APPEND, Verdict::Granted);
    a.tell(202_650, EventKind::Committed { id });
    let (time_to_election, time_to_leadership) = (us(1_550), us(2_330));
    let leaderless = Some(us(155_850));
    a.tell(202_650, EventKind::Established { time_to_election, time_to_leadership, leaderless });
    a.tell(202_650, EventKind::ElectionEnded { outcome: Outcome::Won, rounds: 2, retry_in: None });
    a.hear(203_000, "c", to_c, APPEND, Verdict::Granted);
}

fn three(exported: &Exported) -> (Player, Player, Player) {
    (Player::new("a", exported), Player::new("b", exported), Player::new("c", exported))
}

#[test]
pub(crate) fn a_won_election_is_one_trace_across_the_nodes() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);
    exported.assert_sound();

    let root = exported.one("raft.election");
    let expected = "\
a: raft.election
  a: raft.pre_vote
    a: raft.pre_vote.request
      b: raft.pre_vote.grant
    a: raft.pre_vote.request
      c: raft.pre_vote.deny
  a: raft.vote
    a: raft.hard_state.persist
    a: raft.vote.request
      b: raft.vote.grant
        b: raft.hard_state.persist
    a: raft.vote.request
  a: raft.establish
    a: raft.hard_state.persist
    a: raft.append_entries
      b: raft.append_entries
        b: raft.hard_state.persist
    a: raft.append_entries";
    let tree = exported.tree(&root);
    // Two requests of one instant have no order among themselves.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&tree), sorted(expected), "\n{tree}");
    assert_eq!(micros(root.start_time), 200_000);
    assert_eq!(micros(root.end_time), 202_650);
    let traces = exported.named("raft.leaderless").len() + 1;
    let roots = exported.all().iter().filter(|s| s.parent_span_id == opentelemetry::trace::SpanId::INVALID).count();
    assert_eq!(roots, traces, "an election that goes well leaves no loose transition");
}

#[test]
pub(crate) fn an_election_says_what_it_was_about() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);
    let root = exported.one("raft.election");
    assert_eq!(text(&root, "raft.cluster.id"), "planner");
    assert_eq!(text(&root, "raft.group.id"), "main");
    assert_eq!(number(&root, "raft.node.incarnation"), 3);
    assert_eq!(number(&root, "raft.term"), 5);
    assert_eq!(text(&root, "raft.election.id"), "planner/main/5");
    assert_eq!(number(&root, "raft.election.attempt"), 1);
    assert_eq!(number(&root, "raft.election.rounds"), 2);
    assert_eq!(text(&root, "raft.election.trigger"), "election_timeout");
    assert_eq!(text(&root, "raft.election.outcome"), "won");
    assert_eq!(text(&root, "raft.leader.previous"), "z");
    assert_eq!(seconds(&root, "raft.timeout.min"), 0.15);
    assert_eq!(seconds(&root, "raft.timeout.max"), 0.3);
    assert_eq!(seconds(&root, "raft.timeout.drawn"), 0.153);
    assert_eq!(seconds(&root, "raft.timeout.elapsed"), 0.153_2);
    assert_eq!(seconds(&root, "raft.time_to_election"), 0.001_55);
    assert_eq!(seconds(&root, "raft.time_to_leadership"), 0.002_33);
    assert_eq!(seconds(&root, "raft.leaderless.duration"), 0.155_85);
    assert_eq!(root.status, Status::Unset);
    let expected = [
        "raft.timeout.fired",
        "raft.role.changed",
        "raft.vote.received",
        "raft.vote.received",
        "raft.quorum.reached",
        "raft.term.advanced",
        "raft.role.changed",
        "raft.vote.received",
        "raft.quorum.reached",
        "raft.role.changed",
        "raft.elected",
    ];
    assert_eq!(events(&root), expected);
    assert_eq!(root.instrumentation_scope.name(), "hustings");
    assert_eq!(root.instrumentation_scope.version(), Some(env!("CARGO_PKG_VERSION")));
    assert!(root.instrumentation_scope.schema_url().is_some());

    let round = exported.on("a", "raft.vote");
    assert_eq!(number(&round, "raft.term"), 5);
    assert_eq!(number(&round, "raft.round"), 2);
    assert_eq!(number(&round, "raft.quorum.required"), 2);
    assert_eq!(number(&round, "raft.voters"), 3);
    assert_eq!(number(&round, "raft.log.last_index"), 9);
    assert_eq!(number(&round, "raft.log.last_term"), 4);
    assert_eq!((number(&round, "raft.votes.granted"), number(&round, "raft.votes.denied")), (2, 0));
    assert_eq!(number(&round, "raft.votes.unanswered"), 1);
}

fn to<'a>(spans: &'a [SpanData], peer: &str) -> &'a SpanData {
    spans.iter().find(|span| text(span, "raft.peer.id") == peer).expect("a request to that peer")
}

#[test]
pub(crate) fn requests_name_their_peer_and_voters_their_verdict() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);

    let requests = exported.named("raft.pre_vote.request");
    let denied = to(&requests, "c");
    assert_eq!(denied.span_kind, SpanKind::Client);
    assert_eq!(text(denied, "service.peer.name"), "c");
    assert_eq!(text(denied, "peer.service"), "c");
    assert_eq!(text(denied, "server.address"), "c.local");
    assert_eq!(number(denied, "server.port"), 7300);
    assert_eq!(text(denied, "rpc.system.name"), "grpc");
    assert_eq!(text(denied, "raft.vote.granted"), "false");
    assert_eq!(text(denied, "raft.vote.reason"), "leader_alive");
    assert_eq!(seconds(denied, "raft.rpc.peer_duration"), 0.000_4);
    assert_eq!(denied.status, Status::Unset, "a refusal is an outcome");

    let deny = exported.one("raft.pre_vote.deny");
    assert_eq!(deny.span_kind, SpanKind::Server);
    assert!(deny.parent_span_is_remote);
    assert_eq!(text(&deny, "raft.leader.id"), "z");
    assert_eq!(text(&deny, "raft.candidate.id"), "a");
    assert_eq!(text(&deny, "raft.vote.reason"), "leader_alive");
    assert_eq!(seconds(&deny, "raft.vote.lease_remaining"), 0.001_5);
    assert_eq!(events(&deny), Vec::<String>::new(), "a pre-vote casts no vote");

    let grant = exported.one("raft.vote.grant");
    assert_eq!(events(&grant), ["raft.term.advanced", "raft.vote.cast"]);
    assert_eq!((micros(grant.start_time), micros(grant.end_time)), (200_450, 201_410));
    assert_eq!(text(&grant, "raft.vote.granted"), "true");
    assert_eq!(text(&grant, "raft.vote.reason"), "ok");
    assert_eq!(number(&grant, "raft.term"), 5);
}

#[test]
pub(crate) fn who_did_not_answer_ends_with_the_round() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);
    let requests = exported.named("raft.vote.request");
    let straggler = to(&requests, "c");
    assert_eq!(text(straggler, "raft.vote.reason"), "unanswered");
    assert_eq!(straggler.status, Status::Unset);
    assert_eq!(micros(straggler.end_time), 201_550);
    assert_eq!(straggler.end_time, exported.on("a", "raft.vote").end_time);
    assert_eq!(micros(to(&exported.named("raft.append_entries"), "c").end_time), 202_650);

    // Its late answer stretches nothing.
    let late = EventKind::ReplyReceived {
        id: hustings::message::RequestId(4),
        from: node("c"),
        kind: VOTE,
        verdict: Verdict::Granted,
        reply_term: Term(5),
        remainder: us(0),
        worked: us(40_000),
        late: true,
    };
    a.tell(240_000, late);
    exported.assert_sound();
    assert_eq!(exported.named("raft.vote.request").len(), 2);
    assert_eq!(exported.named("raft.election").len(), 1);
}

#[test]
pub(crate) fn a_call_that_failed_is_an_error_with_a_type() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    a.stand(200_000, 1);
    a.start_round(200_000, true, 1, 5);
    let (id, other) = (a.ask(200_000, "b", PRE, 5), a.ask(200_000, "c", PRE, 5));
    a.tell(200_100, EventKind::CallFailed { id, to: node("b"), kind: PRE, error: CallError::Refused });
    a.end_round(350_000, true, 1, (1, 0), &["b", "c"]);
    a.tell(350_000, EventKind::CallFailed { id: other, to: node("c"), kind: PRE, error: CallError::Timeout });
    let outcome = Outcome::QuorumUnreachable;
    a.tell(350_000, EventKind::ElectionEnded { outcome, rounds: 1, retry_in: Some(us(90_000)) });
    a.become_role(350_000, Role::Follower);
    drop(a);
    exported.assert_sound();
    let requests = exported.named("raft.pre_vote.request");
    let failed = to(&requests, "b");
    assert_eq!(failed.status, Status::error("connection refused"));
    assert_eq!(text(failed, "error.type"), "connection_refused");
    assert_eq!(micros(failed.end_time), 200_100);
    assert_eq!(to(&requests, "c").status, Status::Unset, "its round was over when the call was");
    let root = exported.one("raft.election");
    assert_eq!(root.status, Status::Unset);
    assert_eq!(events(&root).last().map(String::as_str), Some("raft.role.changed"), "its own instant belongs to it");
    assert_eq!(text(&root, "raft.election.outcome"), "quorum_unreachable");
    assert_eq!(seconds(&root, "raft.election.retry_in"), 0.09);
}

/// Every vote is denied; then the second attempt, which is ordered.
#[test]
pub(crate) fn a_lost_election_is_no_error_and_the_next_links_to_it() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    let told = TraceContext { trace_id: 0xabc, span_id: 0xdef, flags: 1 };
    let leaderless_since = Time::ZERO;
    a.tell(1_000, EventKind::LeaderChanged { leader: node("z"), election: told, leaderless_since });
    a.stand(200_000, 1);
    a.advance_term(200_000, 5);
    a.start_round(200_000, false, 1, 5);
    for voter in [&mut b, &mut c] {
        let name = voter.who.node.to_string();
        let id = a.ask(200_000, &name, VOTE, 5);
        let call = voter.receive(200_100, &a, id, VOTE, 5);
        voter.voted_for = Some(node("z"));
        voter.answer(200_110, call, id, "a", VOTE, refused(Reason::AlreadyVoted));
        a.hear(200_200, &name, id, VOTE, refused(Reason::AlreadyVoted));
    }
    a.end_round(200_200, false, 1, (1, 2), &[]);
    a.tell(200_200, EventKind::ElectionEnded { outcome: Outcome::SplitVote, rounds: 1, retry_in: None });
    a.stand(300_000, 2);
    a.start_round(300_000, true, 1, 6);
    a.end_round(300_100, true, 1, (1, 0), &["b", "c"]);
    a.start_round(300_100, true, 2, 6);
    a.tell(300_200, EventKind::ElectionEnded { outcome: Outcome::Superseded, rounds: 2, retry_in: None });
    drop(a);
    exported.assert_sound();

    let denials = exported.named("raft.vote.deny");
    assert_eq!(denials.len(), 2);
    assert!(denials.iter().all(|span| span.status == Status::Unset && text(span, "raft.vote.for") == "z"));
    let roots = exported.named("raft.election");
    assert_eq!(text(&roots[0], "raft.election.outcome"), "split_vote");
    assert_eq!(number(&roots[0], "raft.votes.denied"), 2);
    assert!(roots.iter().all(|root| root.links.links.is_empty() && root.status == Status::Unset));
    let first = exported.one("raft.vote");
    assert_eq!(links(&first), [("previous_election".to_owned(), 0xdef_u64.into())]);
    let rounds = exported.named("raft.pre_vote");
    let expected = [
        ("previous_election".to_owned(), 0xdef_u64.into()),
        ("previous_attempt".to_owned(), roots[0].span_context.span_id()),
    ];
    assert_eq!(links(&rounds[0]), expected);
    assert_eq!(links(&rounds[1]), [], "on the first round alone");
}

#[test]
pub(crate) fn a_voter_tells_how_long_leaderless_it_was_and_a_candidate_what_it_waited_for() {
    let exported = Exported::default();
    let (mut a, mut b, mut c) = three(&exported);
    elect(&mut a, &mut b, &mut c);
    let election = exported.one("raft.election").span_context.span_id();
    let gaps = exported.named("raft.leaderless");
    assert_eq!(gaps.len(), 2);
    for gap in &gaps {
        assert_eq!(links(gap), [("elected_by".to_owned(), election)]);
        assert_eq!(text(gap, "raft.leader.id"), "a");
    }
    let on_b = exported.on("b", "raft.leaderless");
    assert_eq!((micros(on_b.start_time), micros(on_b.end_time)), (47_000, 201_700));
    assert_eq!(seconds(&on_b, "raft.leaderless.duration"), 0.154_7);
    assert_eq!(exported.below(&on_b).len(), 0, "it did not campaign");

    let on_a = exported.on("a", "raft.leaderless");
    let detect = exported.one("raft.detect");
    assert_eq!(detect.parent_span_id, on_a.span_context.span_id());
    assert_eq!((micros(detect.start_time), micros(detect.end_time)), (46_800, 200_000));
    assert_eq!(seconds(&detect, "raft.timeout.drawn"), 0.153);
    assert_eq!(text(&detect, "raft.election.trigger"), "election_timeout");
}

#[test]
pub(crate) fn an_ordered_election_links_to_the_order() {
    let exported = Exported::default();
    let (mut a, mut b, _) = three(&exported);
    a.role = Role::Leader;
    a.tell(10, EventKind::TransferStarted { to: node("b") });
    let id = a.ask(20, "b", RequestKind::TimeoutNow, 4);
    let call = b.receive(30, &a, id, RequestKind::TimeoutNow, 4);
    b.answer(30, call, id, "a", RequestKind::TimeoutNow, Verdict::Granted);
    let ordered = EventKind::ElectionStarted {
        attempt: 1,
        trigger: Trigger::Transfer,
        waited: None,
        previous: Some((node("a"), Term(4))),
        last_contact: Some(Time::ZERO + us(10)),
        call: Some(call),
    };
    b.tell(30, ordered);
    b.advance_term(30, 5);
    b.start_round(30, false, 1, 5);
    a.hear(60, "b", id, RequestKind::TimeoutNow, Verdict::Granted);
    let election = b.spans.election(&main_group());
    assert!(election.is_valid());
    a.leader = Some(node("b"));
    a.tell(90, EventKind::TransferEnded { to: node("b"), outcome: hustings::event::TransferOutcome::Completed });
    let leaderless_since = Time::ZERO + us(20);
    a.tell(90, EventKind::LeaderChanged { leader: node("b"), election, leaderless_since });
    b.tell(100, EventKind::ElectionEnded { outcome: Outcome::Won, rounds: 1, retry_in: None });
    drop((a, b));
    exported.assert_sound();

    let transfer = exported.one("raft.transfer");
    let pair = exported.below(&transfer);
    assert_eq!(pair.len(), 1);
    assert_eq!((pair[0].name.as_ref(), &pair[0].span_kind), ("raft.timeout_now", &SpanKind::Client));
    let server = exported.on("b", "raft.timeout_now");
    assert_eq!(server.parent_span_id, pair[0].span_context.span_id());
    let round = exported.one("raft.vote");
    assert_eq!(links(&round), [("triggered_by".to_owned(), server.span_context.span_id())]);
    let root = exported.one("raft.election");
    assert_ne!(root.span_context.trace_id(), transfer.span_context.trace_id());
    assert_eq!(links(&transfer), [("elected_by".to_owned(), root.span_context.span_id())]);
    assert_eq!(text(&transfer, "raft.transfer.outcome"), "completed");
    assert_eq!(micros(transfer.end_time), 90);
    assert!(transfer.end_time > SystemTime::UNIX_EPOCH);
    let fired = events(&root).iter().filter(|name| *name == "raft.timeout.fired").count();
    assert_eq!(fired, 0, "no timeout was waited for");
}
