//! The journal through its public face: nothing is changed, lost in silence, or waited for.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hustings::event::*;
use hustings::message::{
    CallError, Contention, Holder, Identity, PROTOCOL_VERSION, Reason, RequestId, RequestKind, Verdict,
};
use hustings::observer::Observer;
use hustings::observer::journal::{Journal, JournalError, Line, read, read_from};
use hustings::record::RecordId;
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, Time, TraceContext};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn identity(name: &str, incarnation: u64) -> Arc<Identity> {
    Arc::new(Identity {
        version: PROTOCOL_VERSION,
        cluster: ClusterId::new("test").expect("a name"),
        founding: Founding(u64::MAX),
        group: GroupId::default(),
        node: node(name),
        disk: DiskId(u128::MAX),
        incarnation: Incarnation(incarnation),
        timing: 9,
        priority: 100,
        amnesiac: true,
    })
}

fn event(who: &Arc<Identity>, sequence: u64, kind: EventKind) -> Event {
    Event {
        at: Time(1_153_204_001),
        sequence,
        who: Arc::clone(who),
        term: Term(u64::MAX),
        role: Role::PreCandidate,
        leader: Some(node("n1")),
        voted_for: None,
        kind,
    }
}

fn paused(who: &Arc<Identity>, sequence: u64) -> Event {
    event(who, sequence, EventKind::Paused { duration: Duration::from_nanos(1_000_000_001) })
}

/// The place of a kind in the list of all: a new kind does not compile until it is listed here.
fn position(kind: &EventKind) -> usize {
    macro_rules! positions {
        ($($name:ident)*) => {{
            #[derive(Clone, Copy)]
            enum Position { $($name,)* Count }
            const { assert!(Position::Count as usize == KINDS) };
            match kind { $(EventKind::$name { .. } => Position::$name as usize,)* }
        }};
    }
    positions! {
        Started MembersAwaited Founded Named RoleChanged TermAdvanced LeaderChanged LeaderLost EvidenceFound
        ElectionStarted RoundStarted RequestSent ReplyReceived CallFailed QuorumReached RoundEnded ElectionEnded
        Elected RecordAppended RecordAccepted RecordAdopted Committed Established BecameExclusive LeadershipEnded
        GuardRevoked Resigned LeaderResigned WorkStarted WorkEnded TransferStarted TransferEnded RequestReceived
        RequestAnswered PersistStarted PersistEnded PersistFailed StorageHealed Paused Alarmed Stopped ChangeStarted ChangeEnded
        MembersChanged ContentionChanged OfficeIdled PersistStalled
    }
}

const KINDS: usize = 47;

fn context() -> TraceContext {
    TraceContext { trace_id: u128::MAX - 5, span_id: u64::MAX, flags: 1 }
}

/// At least one of each kind, with the values that a format gets wrong: large numbers, `None`, nested enums, text.
fn samples() -> Vec<EventKind> {
    let mut kinds = of_elections();
    kinds.extend(of_messages());
    kinds.extend(of_office());
    kinds
}

fn of_elections() -> Vec<EventKind> {
    let (term, record) = (Term(3), RecordId { term: Term(3), index: u64::MAX });
    let waited = Waited {
        min: Duration::from_millis(150),
        max: Duration::from_millis(300),
        drawn: Duration::from_nanos(153_204_001),
        elapsed: Duration::MAX,
    };
    let election = |waited, previous, last_contact, call| {
        let (attempt, trigger) = (1, Trigger::ElectionTimeout);
        EventKind::ElectionStarted { attempt, trigger, waited, previous, last_contact, call }
    };
    let (leader, unanswered) = (node("n1"), vec![node("n3")]);
    let changed = |election| EventKind::LeaderChanged { leader: node("n1"), election, leaderless_since: Time::NEVER };
    let cause = LossOfLeader::ConnectionLost;
    let over = |outcome, retry_in| EventKind::ElectionEnded { outcome, rounds: 2, retry_in };
    vec![
        EventKind::Started { amnesiac: true, quarantine: Duration::from_millis(150), record: Some(record) },
        EventKind::Started { amnesiac: false, quarantine: Duration::ZERO, record: None },
        EventKind::MembersAwaited { missing: vec![node("n1"), node("n2")] },
        EventKind::Founded { founding: Founding(u64::MAX), members: 3 },
        EventKind::Named { floor: term },
        EventKind::RoleChanged { from: Role::Follower },
        EventKind::TermAdvanced { from: term },
        changed(context()),
        changed(TraceContext::NONE),
        EventKind::LeaderLost { leader: leader.clone(), leader_term: term, last_contact: Time(5), cause },
        EventKind::EvidenceFound { leader: leader.clone(), refused: true },
        election(Some(waited), Some((leader, term)), Some(Time(7)), Some(CallId(u64::MAX))),
        election(None, None, None, None),
        EventKind::RoundStarted {
            pre_vote: true,
            round: 1,
            asked_term: term,
            last: Some(record),
            quorum: 2,
            voters: 3,
        },
        EventKind::QuorumReached { pre_vote: false, granted: 2, quorum: 2 },
        EventKind::RoundEnded { pre_vote: false, round: 2, won: false, granted: 1, denied: 1, unanswered },
        over(Outcome::SplitVote, Some(Duration::from_micros(42_500))),
        over(Outcome::Won, None),
    ]
}

fn of_messages() -> Vec<EventKind> {
    let (id, kind, asked_term) = (RequestId(u64::MAX), RequestKind::AppendEntries, Term(4));
    let (call, from) = (CallId(1), Holder { node: node("n2"), disk: DiskId(0xd2), incarnation: Incarnation(1) });
    let reply = |verdict| EventKind::ReplyReceived {
        id,
        from: node("n2"),
        kind,
        verdict,
        reply_term: Term(3),
        remainder: Duration::from_millis(42),
        worked: Duration::from_micros(600),
        late: true,
    };
    let failed = |error| EventKind::CallFailed { id, to: node("n1"), kind, error };
    vec![
        EventKind::RequestSent { id, to: node("n2"), kind: RequestKind::PreVote, asked_term },
        reply(Verdict::Granted),
        reply(Verdict::Refused(Reason::RestartQuarantine)),
        failed(CallError::Timeout),
        failed(CallError::Tls("a \"quoted\"\nline \u{1f5f3}".into())),
        EventKind::RequestReceived { call, id, from, kind, asked_term, context: context() },
        EventKind::RequestAnswered {
            call,
            id,
            to: node("n2"),
            kind,
            asked_term,
            verdict: Verdict::Refused(Reason::AlreadyVoted),
            remainder: Duration::ZERO,
            durable: Some(RecordId::default()),
        },
    ]
}

fn of_office() -> Vec<EventKind> {
    let (id, parent) = (RecordId { term: Term(4), index: 3 }, RecordId { term: Term(3), index: 2 });
    let (write, call, term) = (WriteId(3), CallId(3), Term(4));
    let causes = vec![
        PersistCause::Vote { call },
        PersistCause::OwnVote,
        PersistCause::Record { call },
        PersistCause::OwnRecord,
        PersistCause::Adoption,
        PersistCause::Founding,
        PersistCause::Naming,
        PersistCause::Afresh,
        PersistCause::PromiseMax,
        PersistCause::Term,
    ];
    let time = Duration::from_nanos(3_000_001);
    let established =
        |leaderless| EventKind::Established { time_to_election: time, time_to_leadership: time, leaderless };
    vec![
        EventKind::Elected { barrier: time },
        EventKind::RecordAppended { id, parent, cause: RecordCause::NoOp },
        EventKind::RecordAccepted { id, parent, from: node("n2") },
        EventKind::RecordAdopted { id, from: node("n2") },
        EventKind::Committed { id },
        established(Some(time)),
        established(None),
        EventKind::BecameExclusive { after: time },
        EventKind::LeadershipEnded { cause: LeadershipEnd::QuorumLost, since: Time(1), work_running: true },
        EventKind::GuardRevoked { cause: Revocation::LeaseLapsed, work_running: false },
        EventKind::Resigned { resigned_term: term },
        EventKind::LeaderResigned { leader: node("n1"), resigned_term: term },
        EventKind::WorkStarted,
        EventKind::WorkEnded { work_term: term },
        EventKind::ContentionChanged { contention: Contention::Contends, why: None },
        EventKind::ContentionChanged { contention: Contention::Unfit, why: Some("warming up".into()) },
        EventKind::OfficeIdled { contention: Contention::Idle, since: Time(1) },
        EventKind::PersistStalled { write, outstanding: time },
        EventKind::ChangeStarted { change: Change::Add, node: node("n4") },
        EventKind::ChangeEnded { change: Change::Remove, node: node("n4"), outcome: ChangeOutcome::TimedOut },
        EventKind::MembersChanged { id, voters: vec![node("n1"), node("n2")], non_voters: vec![node("n4")] },
        EventKind::TransferStarted { to: node("n2") },
        EventKind::TransferEnded { to: node("n2"), outcome: TransferOutcome::CalledOff },
        EventKind::PersistStarted { write, causes },
        EventKind::PersistEnded { write },
        EventKind::PersistFailed { write, error: "disk full".into() },
        EventKind::StorageHealed { failed_for: time, attempts: 3 },
        EventKind::Paused { duration: time },
        EventKind::Alarmed { alarm: Alarm::Equivocation, about: Some(node("n1")) },
        EventKind::Alarmed { alarm: Alarm::TermExhausted, about: None },
        EventKind::Stopped { disk: DiskId(u128::MAX) },
    ]
}

fn lines(bytes: &[u8]) -> Vec<Result<Line, JournalError>> {
    read_from("test.journal", bytes).collect()
}

/// What was read, in short: `run n3/i1`, `event 7`, `dropped 2`, `error <code>`.
fn told(lines: impl IntoIterator<Item = Result<Line, JournalError>>) -> Vec<String> {
    let one = |line: Result<Line, JournalError>| match line {
        Ok(Line::Run(run)) => format!("run {}/{}", run.node, run.incarnation),
        Ok(Line::Event(event)) => format!("event {}", event.sequence),
        Ok(Line::Dropped(count)) => format!("dropped {count}"),
        Err(error) => format!("error {}", error.code()),
    };
    lines.into_iter().map(one).collect()
}

#[test]
fn every_kind_of_event_comes_back_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("n3.journal");
    let who = identity("n3", 2);
    let events: Vec<Event> =
        samples().into_iter().zip(1..).map(|(kind, sequence)| event(&who, sequence, kind)).collect();
    let mut sampled = [false; KINDS];
    events.iter().for_each(|event| sampled[position(&event.kind)] = true);
    assert!(!sampled.contains(&false), "a kind without a sample: {sampled:?}");

    let mut journal = Journal::create(&path).expect("a journal");
    events.iter().for_each(|event| journal.observe(event));
    journal.flush().expect("a disk");
    let mut lines = read(&path).expect("the journal");
    let Some(Ok(Line::Run(run))) = lines.next() else { panic!("no run line first") };
    assert_eq!((run.cluster.as_str(), run.node.as_str(), run.incarnation), ("test", "n3", Incarnation(2)));
    assert!(run.wall_unix_ns > 0 && run.anchor().wall(run.at) == run.anchor().wall);
    let back: Vec<Event> = lines
        .map(|line| match line.expect("a good line") {
            Line::Event(event) => *event,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(back, events);
}

#[test]
fn codes_are_the_names_in_the_file() {
    let kind = EventKind::ElectionEnded { outcome: Outcome::PreVoteRefused, rounds: 1, retry_in: None };
    let text = serde_json::to_string(&event(&identity("n3", 1), 1, kind)).expect("JSON");
    for code in [r#""event":"election_ended""#, r#""outcome":"pre_vote_refused""#, r#""role":"pre_candidate""#] {
        assert!(text.contains(code), "{code} in {text}");
    }
    assert_eq!(Outcome::PreVoteRefused.code(), "pre_vote_refused");
}

#[test]
fn a_second_start_appends_with_a_header_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("n3.journal");
    for incarnation in 1..=2 {
        let who = identity("n3", incarnation);
        let mut journal = Journal::create(&path).expect("a journal");
        journal.observe(&paused(&who, 1));
        journal.observe(&paused(&who, 2));
    }
    let expected = ["run n3/i1", "event 1", "event 2", "run n3/i2", "event 1", "event 2"];
    assert_eq!(told(read(&path).expect("the journal")), expected, "and dropping it wrote everything");
}

#[test]
fn several_nodes_may_share_a_journal() {
    let (sink, _entered) = Memory::new();
    let mut journal = Journal::to_writer(sink.clone(), 100).expect("a journal");
    let (n1, n2) = (identity("n1", 1), identity("n2", 1));
    for who in [&n1, &n2, &n1] {
        journal.observe(&paused(who, 1));
    }
    // The same life may speak through a new identity, once it knows its cluster's founding.
    journal.observe(&paused(&Arc::new(Identity { amnesiac: false, ..(*n1).clone() }), 2));
    journal.flush().expect("memory");
    assert_eq!(told(lines(&sink.bytes())), ["run n1/i1", "event 1", "run n2/i1", "event 1", "event 1", "event 2"]);
}

#[test]
fn a_torn_last_line_costs_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("n3.journal");
    let write = |incarnation, sequence| {
        let mut journal = Journal::create(&path).expect("a journal");
        journal.observe(&paused(&identity("n3", incarnation), sequence));
    };
    write(1, 1);
    let whole = std::fs::read(&path).expect("the file");
    let start_of_last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').expect("two lines") + 1;
    for cut in [start_of_last + 1, start_of_last + 40, whole.len() - 2] {
        std::fs::write(&path, &whole[..cut]).expect("the file");
        let torn: Vec<_> = read(&path).expect("the journal").collect();
        assert!(matches!(torn.last(), Some(Err(JournalError::Torn { line: 2, .. }))), "cut at {cut}: {torn:?}");
        assert_eq!(told(torn), ["run n3/i1", "error journal_torn"]);
        write(2, 9);
        let expected = ["run n3/i1", "error journal_torn", "run n3/i2", "event 9"];
        assert_eq!(told(read(&path).expect("the journal")), expected, "the next start is not glued to it");
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("the file");
    assert_eq!(told(read(&path).expect("the journal")), ["run n3/i1", "event 1"], "only the line's end is missing");
}

#[test]
fn errors_name_file_line_and_reason() {
    let error = |text: &str| match lines(text.as_bytes()).into_iter().find_map(Result::err) {
        Some(error) => error.to_string(),
        None => panic!("{text} was read"),
    };
    assert_eq!(
        error("{\"v\":1,\"dropped\":2}\n{\"v\":2,\"dropped\":1}\n"),
        "journal test.journal, line 2: is of version 2, this release reads version 1"
    );
    assert!(error("hello\n").starts_with("journal test.journal, line 1: is not a journal's line: expected value"));
    assert!(error("{\"v\":1}\n").contains("neither a run nor an event"));
    assert!(error("{\"dropped\":1}\n").contains("names no version"));
    assert!(error("\u{0}\u{0}\u{0}\n").contains("is not a journal's line"));
    assert!(error("{\"v\":1,\"event\":{\"kind\":7}}\n").contains("line 1"));
    assert!(error("{\"v\":1,\"dro").contains("breaks off after 11 bytes"));
    let missing = read("/nonexistent/n3.journal").expect_err("no such file").to_string();
    assert!(missing.starts_with("journal /nonexistent/n3.journal: cannot open"), "{missing}");
}

#[test]
fn a_bad_line_does_not_end_the_reading() {
    let text = b"{\"v\":1,\"dropped\":1}\n\xff\xfe\n\n{\"v\":9,\"x\":[]}\n{\"v\":1,\"dropped\":2,\"new\":{\"a\":1}}\n";
    let expected = ["dropped 1", "error journal_malformed", "error journal_version", "dropped 2"];
    assert_eq!(told(lines(text)), expected);
}

#[test]
fn fields_of_the_future_are_ignored() {
    let mut value = serde_json::to_value(paused(&identity("n3", 1), 7)).expect("JSON");
    value["mood"] = "calm".into();
    value["kind"]["temperature"] = 12.into();
    value["who"]["rack"] = "r1".into();
    let text = format!("{{\"v\":1,\"event\":{value},\"checksum\":1}}\n");
    assert_eq!(told(lines(text.as_bytes())), ["event 7"]);
}

/// A sink in memory that can be held and made to fail.
#[derive(Clone)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    gate: Arc<Mutex<Option<Receiver<io::Result<()>>>>>,
    entered: Sender<()>,
}

impl Memory {
    fn new() -> (Memory, Receiver<()>) {
        let (entered, seen) = channel();
        (Memory { bytes: Arc::default(), gate: Arc::default(), entered }, seen)
    }

    /// Every write waits for a word, until the sender of words is dropped.
    fn gated() -> (Memory, Sender<io::Result<()>>, Receiver<()>) {
        let (sink, seen) = Memory::new();
        let (word, gate) = channel();
        *sink.gate.lock().expect("the gate") = Some(gate);
        (sink, word, seen)
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("the bytes").clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        if let Some(gate) = &*self.gate.lock().expect("the gate") {
            gate.recv().unwrap_or(Ok(()))?;
        }
        self.bytes.lock().expect("the bytes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_stands_still_blocks_nobody_and_the_gap_is_told() {
    let (sink, word, entered) = Memory::gated();
    let mut journal = Journal::to_writer(sink.clone(), 3).expect("a journal");
    let who = identity("n3", 1);
    journal.observe(&paused(&who, 1));
    entered.recv().expect("the writer is at the disk, and stays there");
    for sequence in 2..=9 {
        journal.observe(&paused(&who, sequence));
    }
    drop(word);
    journal.flush().expect("memory");
    journal.observe(&paused(&who, 10));
    drop(journal);
    let expected = ["run n3/i1", "event 1", "event 2", "event 3", "event 4", "dropped 5", "event 10"];
    assert_eq!(told(lines(&sink.bytes())), expected);
}

#[test]
fn a_failed_write_is_told_to_who_flushes_and_in_the_file() {
    let (sink, word, entered) = Memory::gated();
    let mut journal = Journal::to_writer(sink.clone(), 10).expect("a journal");
    let who = identity("n3", 1);
    word.send(Err(io::Error::other("disk full"))).expect("the gate");
    journal.observe(&paused(&who, 1));
    entered.recv().expect("the write that fails");
    drop(word);
    let error = journal.flush().expect_err("the disk was full").to_string();
    assert_eq!(error, "journal (a writer): cannot write: disk full");
    journal.observe(&paused(&who, 2));
    journal.flush().expect("the disk works again");
    assert_eq!(told(lines(&sink.bytes())), ["dropped 1", "run n3/i1", "event 2"]);
}
