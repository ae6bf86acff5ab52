//! Every event's exact line.

use std::sync::Arc;

use super::*;
use crate::event::{CallId, Revocation, WriteId};
use crate::message::{CallError, Holder, Identity, PROTOCOL_VERSION, RequestId};
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation};
use crate::types::{NodeId, Term, TraceContext};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

fn record(term: u64, index: u64) -> RecordId {
    RecordId { term: Term(term), index }
}

fn event(kind: EventKind) -> Event {
    let who = Identity {
        version: PROTOCOL_VERSION,
        cluster: ClusterId::new("test").expect("a name"),
        founding: Founding(7),
        group: GroupId::default(),
        node: node("n3"),
        disk: DiskId(0xd3),
        incarnation: Incarnation(2),
        timing: 0,
        priority: 100,
        amnesiac: false,
    };
    Event {
        at: at(1153),
        sequence: 1,
        who: Arc::new(who),
        term: Term(4),
        role: Role::Candidate,
        leader: None,
        voted_for: None,
        kind,
    }
}

/// The text without the columns.
fn shown(kind: EventKind) -> String {
    let event = event(kind);
    let line = Line { event: &event, origin: at(1000), width: 2 }.to_string();
    line.strip_prefix("       153ms n3  ").expect("the columns").to_owned()
}

fn waited(drawn: u64, elapsed: u64) -> Waited {
    Waited { min: ms(150), max: ms(300), drawn: ms(drawn), elapsed: ms(elapsed) }
}

#[test]
fn the_columns_line_up() {
    let event = event(EventKind::RoleChanged { from: Role::Follower });
    let line = |origin, width| Line { event: &event, origin, width }.to_string();
    assert_eq!(line(at(1000), 2), "       153ms n3  role follower => candidate");
    assert_eq!(line(Time(999_796_000), 5), "   153.204ms n3     role follower => candidate");
    assert_eq!(event.to_string(), "      1153ms n3  role follower => candidate");
}

#[test]
fn a_kind_alone_leaves_out_what_it_cannot_know() {
    assert_eq!(EventKind::RoleChanged { from: Role::Follower }.to_string(), "role was follower");
    let lost = EventKind::LeaderLost {
        leader: node("n1"),
        leader_term: Term(3),
        last_contact: at(1000),
        cause: LossOfLeader::Timeout,
    };
    assert_eq!(lost.to_string(), "leader n1 of T3 lost: timeout, last heard at 1000ms");
}

#[test]
fn start_and_membership() {
    let started = |amnesiac, quarantine, record| shown(EventKind::Started { amnesiac, quarantine, record });
    assert_eq!(
        started(false, ms(150), Some(record(3, 2))),
        "started i2 on disk 000000000000000000000000000000d3, record (3,2), refuses votes for 150ms"
    );
    assert_eq!(
        started(true, Duration::ZERO, None),
        "started i2 on disk 000000000000000000000000000000d3, no record, amnesiac: may not vote yet"
    );
    assert_eq!(shown(EventKind::MembersAwaited { missing: vec![node("n1"), node("n2")] }), "waits for n1 n2");
    assert_eq!(shown(EventKind::Founded { founding: Founding(7), members: 3 }), "founded 7: 3 members");
    assert_eq!(shown(EventKind::Named { floor: Term(3) }), "disk named, votes above T3");
    assert_eq!(shown(EventKind::Stopped { disk: DiskId(0xd3) }), "stopped, disk 000000000000000000000000000000d3");
}

#[test]
fn terms_and_leaders() {
    assert_eq!(shown(EventKind::TermAdvanced { from: Term(3) }), "term T3 => T4");
    let changed =
        |election| shown(EventKind::LeaderChanged { leader: node("n2"), election, leaderless_since: at(1141) });
    assert_eq!(changed(TraceContext::NONE), "leader n2 of T4 (leaderless 12ms)");
    assert_eq!(
        changed(TraceContext { trace_id: 0xabc, span_id: 1, flags: 1 }),
        "leader n2 of T4 (leaderless 12ms) trace 00000000000000000000000000000abc"
    );
    let lost = |cause| {
        let (leader, leader_term, last_contact) = (node("n1"), Term(3), at(1000));
        shown(EventKind::LeaderLost { leader, leader_term, last_contact, cause })
    };
    assert_eq!(lost(LossOfLeader::ConnectionLost), "leader n1 of T3 lost: connection closed, last heard 153ms ago");
    assert_eq!(lost(LossOfLeader::SteppedDown), "leader n1 of T3 lost: stepped down");
    assert_eq!(
        shown(EventKind::EvidenceFound { leader: node("n1"), refused: true }),
        "connection to leader n1 closed, reconnect refused"
    );
    assert_eq!(
        shown(EventKind::EvidenceFound { leader: node("n1"), refused: false }),
        "connection to leader n1 closed, reconnect failed"
    );
}

#[test]
fn campaigns_tell_why() {
    let campaign = |trigger, waited, previous, last_contact| {
        shown(EventKind::ElectionStarted { attempt: 1, trigger, waited, previous, last_contact, call: None })
    };
    let n1 = Some((node("n1"), Term(3)));
    assert_eq!(
        campaign(Trigger::ElectionTimeout, Some(waited(153, 153)), n1.clone(), Some(at(1000))),
        "campaign 1 (election timeout 153ms of 150..300), leader n1 of T3 last heard 153ms ago"
    );
    assert_eq!(
        campaign(Trigger::ElectionTimeout, Some(waited(153, 170)), n1.clone(), None),
        "campaign 1 (election timeout 153ms of 150..300, waited 170ms), leader n1 of T3"
    );
    assert_eq!(
        campaign(Trigger::ConnectionLost, None, n1, Some(at(1150))),
        "campaign 1 (connection closed), leader n1 of T3 last heard 3ms ago"
    );
    assert_eq!(
        campaign(Trigger::Startup, Some(waited(15, 15)), None, None),
        "campaign 1 (no leader since start after 15ms of 150..300), no leader before"
    );
    assert_eq!(campaign(Trigger::Startup, None, None, None), "campaign 1 (no leader since start), no leader before");
}

#[test]
fn rounds_and_outcomes() {
    let round = |pre_vote, last| {
        let asked_term = Term(5);
        shown(EventKind::RoundStarted { pre_vote, round: 1, asked_term, last, quorum: 2, voters: 3 })
    };
    assert_eq!(round(true, Some(record(3, 2))), "pre-vote T5 round 1: 2 of 3 needed, last (3,2)");
    assert_eq!(round(false, None), "vote T5 round 1: 2 of 3 needed, no record");
    assert_eq!(
        shown(EventKind::QuorumReached { pre_vote: true, granted: 2, quorum: 2 }),
        "pre-vote quorum: 2 granted, 2 needed"
    );
    let ended = |won, unanswered| {
        let (granted, denied) = (2, 1);
        shown(EventKind::RoundEnded { pre_vote: false, round: 1, won, granted, denied, unanswered })
    };
    assert_eq!(ended(true, vec![]), "vote round 1 won: 2 granted, 1 refused");
    assert_eq!(ended(false, vec![node("n4")]), "vote round 1 not won: 2 granted, 1 refused, n4 silent");
    let over = |outcome, rounds, retry_in| shown(EventKind::ElectionEnded { outcome, rounds, retry_in });
    assert_eq!(over(Outcome::Won, 1, None), "election over: won after 1 round");
    assert_eq!(
        over(Outcome::SplitVote, 2, Some(Duration::from_micros(42_500))),
        "election over: split vote after 2 rounds, retry in 42.5ms"
    );
}

#[test]
fn messages_with_their_verdicts() {
    let (id, kind) = (RequestId(7), RequestKind::PreVote);
    assert_eq!(shown(EventKind::RequestSent { id, to: node("n2"), kind, asked_term: Term(4) }), "-> n2  PreVote T4 #7");
    let reply = |verdict, remainder, late| {
        let (reply_term, worked) = (Term(3), Duration::from_micros(600));
        let from = node("n2");
        shown(EventKind::ReplyReceived { id, from, kind, verdict, reply_term, remainder, worked, late })
    };
    let zero = Duration::ZERO;
    assert_eq!(reply(Verdict::Granted, zero, false), "<- n2  PreVote #7 granted (its term T3, worked 0.6ms)");
    assert_eq!(
        reply(Verdict::Granted, ms(42), true),
        "<- n2  PreVote #7 granted, 42ms owed to others (its term T3, worked 0.6ms, late)"
    );
    assert_eq!(
        reply(Verdict::Refused(Reason::LeaderAlive), ms(42), false),
        "<- n2  PreVote #7 refused: leader alive, 42ms remain (its term T3, worked 0.6ms)"
    );
    let failed = |error| shown(EventKind::CallFailed { id, to: node("n1"), kind, error });
    assert_eq!(failed(CallError::Refused), "-> n1  PreVote #7 failed: connection refused");
    assert_eq!(failed(CallError::Tls("a\nb".into())), "-> n1  PreVote #7 failed: tls: a\\nb");
    let holder = Holder { node: node("n2"), disk: DiskId(2), incarnation: Incarnation(1) };
    assert_eq!(
        shown(EventKind::RequestReceived {
            call: CallId(1),
            id,
            from: holder,
            kind,
            asked_term: Term(4),
            context: TraceContext::NONE,
        }),
        "<- n2/i1  PreVote T4 #7"
    );
    let answered = |verdict, remainder, durable| {
        let (call, to, asked_term) = (CallId(1), node("n2"), Term(4));
        shown(EventKind::RequestAnswered { call, id, to, kind, asked_term, verdict, remainder, durable })
    };
    assert_eq!(
        answered(Verdict::Refused(Reason::LeaderAlive), ms(42), None),
        "-> n2  PreVote T4 #7 refused: leader alive, 42ms remain"
    );
    assert_eq!(answered(Verdict::Granted, zero, Some(record(3, 2))), "-> n2  PreVote T4 #7 granted, holds (3,2)");
}

#[test]
fn records() {
    let (id, parent) = (record(4, 3), record(3, 2));
    assert_eq!(
        shown(EventKind::RecordAppended { id, parent, cause: RecordCause::NoOp }),
        "record (4,3) appended to (3,2) (no-op)"
    );
    assert_eq!(
        shown(EventKind::RecordAccepted { id, parent, from: node("n2") }),
        "record (4,3) accepted from n2, was (3,2)"
    );
    assert_eq!(shown(EventKind::RecordAdopted { id, from: node("n2") }), "record (4,3) adopted from n2");
    assert_eq!(shown(EventKind::Committed { id }), "record (4,3) committed");
}

#[test]
fn office() {
    assert_eq!(
        shown(EventKind::Elected { barrier: Duration::ZERO }),
        "elected leader of T4, nothing owed to former leaders"
    );
    assert_eq!(shown(EventKind::Elected { barrier: ms(42) }), "elected leader of T4, 42ms owed to former leaders");
    let established = |leaderless| {
        let (time_to_election, time_to_leadership) = (ms(3), Duration::from_micros(2200));
        shown(EventKind::Established { time_to_election, time_to_leadership, leaderless })
    };
    assert_eq!(established(None), "established (election 3ms, leadership 2.2ms)");
    assert_eq!(
        established(Some(Duration::from_micros(12_300))),
        "established (election 3ms, leadership 2.2ms, leaderless 12.3ms)"
    );
    assert_eq!(shown(EventKind::BecameExclusive { after: ms(42) }), "exclusive after 42ms");
    let ended = |work_running| {
        shown(EventKind::LeadershipEnded { cause: LeadershipEnd::QuorumLost, since: at(153), work_running })
    };
    assert_eq!(ended(false), "leadership over: quorum lost, led for 1000ms");
    assert_eq!(ended(true), "leadership over: quorum lost, led for 1000ms, work still runs");
    let revoked = |cause, work_running| shown(EventKind::GuardRevoked { cause, work_running });
    assert_eq!(revoked(Revocation::Resigning, true), "guard revoked, work still runs");
    assert_eq!(revoked(Revocation::LeaseLapsed, true), "guard revoked (lease_lapsed), work still runs");
    assert_eq!(revoked(Revocation::Unclaimed, false), "guard revoked (unclaimed)");
    assert_eq!(shown(EventKind::Resigned { resigned_term: Term(4) }), "resigned T4");
    assert_eq!(
        shown(EventKind::LeaderResigned { leader: node("n1"), resigned_term: Term(3) }),
        "leader n1 resigned T3"
    );
    assert_eq!(shown(EventKind::WorkStarted), "work started under T4");
    assert_eq!(shown(EventKind::WorkEnded { work_term: Term(4) }), "work ended under T4");
    assert_eq!(shown(EventKind::TransferStarted { to: node("n1") }), "transfer to n1");
    assert_eq!(
        shown(EventKind::TransferEnded { to: node("n1"), outcome: TransferOutcome::CalledOff }),
        "transfer to n1 called off"
    );
}

#[test]
fn disk_pauses_and_alarms() {
    let write = WriteId(3);
    let causes = vec![PersistCause::Term, PersistCause::Vote { call: CallId(1) }];
    assert_eq!(shown(EventKind::PersistStarted { write, causes }), "write 3 (term, vote)");
    assert_eq!(shown(EventKind::PersistEnded { write }), "write 3 durable");
    assert_eq!(
        shown(EventKind::PersistFailed { write, error: "disk\tfull\r\n".into() }),
        "write 3 FAILED: disk\\tfull\\r\\n"
    );
    let healed = EventKind::StorageHealed { failed_for: ms(150), attempts: 2 };
    assert_eq!(shown(healed), "storage well again after 150ms, attempt 2");
    assert_eq!(shown(EventKind::Paused { duration: ms(1200) }), "stood still for 1200ms");
    assert_eq!(
        shown(EventKind::Alarmed { alarm: Alarm::UnknownNode, about: Some(node("n9")) }),
        "ALARM unknown node: n9"
    );
    assert_eq!(shown(EventKind::Alarmed { alarm: Alarm::TermExhausted, about: None }), "ALARM terms used up");
}

#[test]
fn a_brief_story_keeps_verdicts_and_failures() {
    let reply = |kind, verdict| EventKind::ReplyReceived {
        id: RequestId(1),
        from: node("n2"),
        kind,
        verdict,
        reply_term: Term(4),
        remainder: Duration::ZERO,
        worked: Duration::ZERO,
        late: false,
    };
    assert!(!is_routine(&reply(RequestKind::RequestVote, Verdict::Granted)));
    assert!(is_routine(&reply(RequestKind::AppendEntries, Verdict::Granted)));
    assert!(!is_routine(&reply(RequestKind::AppendEntries, Verdict::Refused(Reason::StaleTerm))));
    assert!(is_routine(&EventKind::PersistEnded { write: WriteId(1) }));
    assert!(!is_routine(&EventKind::PersistFailed { write: WriteId(1), error: String::new() }));
}
