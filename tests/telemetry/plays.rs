//! What the other tests of the trace do not play, so that everything in the table is played once, in virtual time.

use hustings::event::{
    Alarm, Change, ChangeOutcome, EventKind, LeadershipEnd, LossOfLeader, Outcome, RecordCause, Revocation, Role,
    TransferOutcome, Trigger,
};
use hustings::message::{CallError, Contention, Reason, RequestId, RequestKind, Verdict};
use hustings::observer::{Beat, BeatKind, Observer, Order, OrderKind};
use hustings::record::RecordId;
use hustings::types::{DiskId, Founding, Term, Time, TraceContext};

use super::elections::elect;
use super::stage::*;

/// What mostly is an event of some transition.
pub(crate) fn what_is_rarely_seen() {
    let exported = Exported::default();
    let mut a = Player::new("a", &exported);
    let (b, id, parent) = (node("b"), RecordId { term: Term(4), index: 9 }, RecordId { term: Term(4), index: 8 });
    let since = Time::ZERO;
    let kinds = [
        EventKind::Started { amnesiac: true, quarantine: us(150_000), record: Some(id) },
        EventKind::MembersAwaited { missing: vec![b.clone()] },
        EventKind::Founded { founding: Founding(7), members: 3 },
        EventKind::Named { floor: Term(4) },
        EventKind::EvidenceFound { leader: b.clone(), refused: true },
        EventKind::LeaderLost {
            leader: b.clone(),
            leader_term: Term(3),
            last_contact: since,
            cause: LossOfLeader::Timeout,
        },
        EventKind::LeaderResigned { leader: b.clone(), resigned_term: Term(3) },
        EventKind::Paused { duration: us(900_000) },
        EventKind::Alarmed { alarm: Alarm::WrongCluster, about: Some(b.clone()) },
        EventKind::RecordAccepted { id, parent, from: b.clone() },
        EventKind::RecordAdopted { id, from: b.clone() },
        EventKind::RecordAppended { id, parent, cause: RecordCause::AddVoter },
        EventKind::MembersChanged { id, voters: vec![node("a"), b.clone()], non_voters: vec![node("c")] },
        EventKind::ChangeStarted { change: Change::Add, node: b.clone() },
        EventKind::ChangeEnded { change: Change::Add, node: b.clone(), outcome: ChangeOutcome::Completed },
        EventKind::BecameExclusive { after: us(140_000) },
        EventKind::GuardRevoked { cause: Revocation::Resigning, work_running: true },
        EventKind::WorkStarted,
        EventKind::WorkEnded { work_term: Term(4) },
        EventKind::QuorumReached { pre_vote: true, granted: 2, quorum: 2 },
        EventKind::Elected { barrier: us(1_000) },
        EventKind::Established { time_to_election: us(1), time_to_leadership: us(1), leaderless: None },
        EventKind::RoundStarted { pre_vote: true, round: 1, asked_term: Term(5), last: Some(id), quorum: 2, voters: 3 },
        EventKind::RoundEnded { pre_vote: true, round: 1, won: true, granted: 2, denied: 0, unanswered: Vec::new() },
        EventKind::ElectionEnded { outcome: Outcome::Cancelled, rounds: 1, retry_in: None },
        EventKind::TransferEnded { to: b.clone(), outcome: TransferOutcome::Completed },
        EventKind::ContentionChanged { contention: Contention::Unfit, why: Some("warming up".to_owned()) },
        EventKind::OfficeIdled { contention: Contention::Idle, since },
        EventKind::PersistStalled { write: hustings::event::WriteId(1), outstanding: us(1_000_000) },
        EventKind::PersistFailed { write: hustings::event::WriteId(1), error: "full".to_owned() },
        EventKind::StorageHealed { failed_for: us(50_000), attempts: 1 },
        EventKind::LeadershipEnded { cause: LeadershipEnd::Removed, since, work_running: false },
    ];
    for (at, kind) in (1..).zip(kinds) {
        a.tell(at * 1_000_000, kind);
    }
    a.become_role(90_000_000, Role::Candidate);
    a.tell(91_000_000, EventKind::Stopped { disk: DiskId(1) });
}

/// Requests that come without a context, are refused in every way, or are answered by nobody.
pub(crate) fn requests_of_strangers() {
    use RequestKind::{AppendEntries, PreVote, RequestVote, Resign, TimeoutNow};
    let exported = Exported::default();
    let (a, mut b) = (Player::new("a", &exported), Player::new("b", &exported));
    let durable = Some(RecordId { term: Term(4), index: 9 });
    let mut at = 10;
    for kind in [PreVote, RequestVote, AppendEntries, TimeoutNow, Resign] {
        for verdict in [Verdict::Granted, refused(Reason::AlreadyVoted), refused(Reason::LeaderAlive)] {
            (b.leader, b.voted_for) = (Some(node("y")), Some(node("z")));
            let id = RequestId(at);
            let call = b.receive_with(at, &a, id, kind, 5, TraceContext::NONE);
            let (to, asked_term, remainder) = (node("a"), Term(5), us(1_500));
            b.tell(at + 1, EventKind::RequestAnswered { call, id, to, kind, asked_term, verdict, remainder, durable });
            at += 10;
        }
    }
    b.receive_with(at, &a, RequestId(at), RequestVote, 5, TraceContext::NONE);
    b.tell(at + 10, EventKind::Stopped { disk: DiskId(1) });
}

/// Orders of an application, a second attempt without a pre-vote, and a member that lags behind.
pub(crate) fn a_leader_and_its_user() {
    let exported = Exported::default();
    let names = ["a", "b", "c"];
    let [mut a, mut b, mut c] = names.map(|name| Player::new(name, &exported));
    elect(&mut a, &mut b, &mut c);
    let caller = TraceContext { trace_id: 0xabc, span_id: 0xdef, flags: 1 };
    let lagging = a.ask(300_000, "c", RequestKind::AppendEntries, 5);
    a.hear(300_100, "c", lagging, RequestKind::AppendEntries, Verdict::Granted);
    a.spans.order(&Order { who: a.who.clone(), kind: OrderKind::Transfer, context: caller });
    a.tell(400_000, EventKind::TransferStarted { to: node("b") });
    let id = a.ask(400_000, "b", RequestKind::TimeoutNow, 5);
    let failed = EventKind::CallFailed { id, to: node("b"), kind: RequestKind::TimeoutNow, error: CallError::Closed };
    a.tell(401_000, failed);
    a.tell(401_000, EventKind::TransferEnded { to: node("b"), outcome: TransferOutcome::Failed });
    for attempt in 1..3 {
        let at = 500_000 + attempt * 10_000;
        b.spans.order(&Order { who: b.who.clone(), kind: OrderKind::Campaign, context: caller });
        let trigger = if attempt == 1 { Trigger::Manual } else { Trigger::Transfer };
        b.tell(
            at,
            EventKind::ElectionStarted {
                attempt,
                trigger,
                waited: None,
                previous: Some((node("a"), Term(5))),
                last_contact: Some(Time::ZERO),
                call: None,
            },
        );
        b.start_round(at, false, 1, 6);
        b.end_round(at + 1_000, false, 1, (1, 0), &names);
        b.tell(at + 1_000, EventKind::ElectionEnded { outcome: Outcome::SplitVote, rounds: 1, retry_in: Some(us(5)) });
    }
    for player in [&mut a, &mut b, &mut c] {
        player.tell(900_000, EventKind::Stopped { disk: DiskId(1) });
    }
}

/// A round of heartbeats with an answer and without one, and a gap that ends.
pub(crate) fn heartbeats() {
    let exported = Exported::default();
    let names = ["a", "b", "c"];
    let [mut a, mut b, mut c] = names.map(|name| Player::new(name, &exported));
    elect(&mut a, &mut b, &mut c);
    let beat = |player: &Player, kind| {
        let beat = Beat { at: Time::ZERO + us(300_000), who: player.who.clone(), term: Term(5), kind };
        player.spans.clone().beat(&beat);
    };
    beat(&a, BeatKind::Round { number: 2, gap: Some(us(120_000)) });
    let (to_b, to_c) = (RequestId(90), RequestId(91));
    beat(&a, BeatKind::Sent { id: to_b, to: node("b") });
    beat(&a, BeatKind::Sent { id: to_c, to: node("c") });
    let served = |context| BeatKind::Received {
        from: node("a"),
        id: to_b,
        context,
        verdict: Verdict::Granted,
        interval: Some(us(120_000)),
        ends_gap: true,
    };
    beat(&b, served(a.context(to_b)));
    beat(&b, served(TraceContext::NONE));
    let (verdict, worked, round_trip) = (Verdict::Granted, us(10), us(200));
    beat(&a, BeatKind::Answered { id: to_b, from: node("b"), verdict, worked, round_trip });
    beat(&a, BeatKind::Failed { id: to_c, to: node("c"), error: CallError::Timeout });
    for player in [&mut a, &mut b, &mut c] {
        player.tell(900_000, EventKind::Stopped { disk: DiskId(1) });
    }
}
