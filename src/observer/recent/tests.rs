//! Hand-written event sequences, and the trees they make.

use super::*;
use crate::event::{CallId, EventKind, PersistCause, Role, WriteId};
use crate::message::{Holder, Identity, PROTOCOL_VERSION, Reason};
use crate::types::{ClusterId, DiskId, Founding, Incarnation, TraceContext};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Feeds events as one node would, with microseconds for time.
struct Teller {
    recent: Recent,
    who: Arc<Identity>,
    term: u64,
    sequence: u64,
}

impl Teller {
    fn new(name: &str, capacity: usize) -> Teller {
        let who = Identity {
            version: PROTOCOL_VERSION,
            cluster: ClusterId::new("test").expect("a name"),
            founding: Founding(7),
            group: GroupId::default(),
            node: node(name),
            disk: DiskId(2),
            incarnation: Incarnation(1),
            timing: 0,
            priority: 100,
            amnesiac: false,
        };
        Teller { recent: Recent::new(capacity), who: Arc::new(who), term: 3, sequence: 0 }
    }

    fn tell(&mut self, at: u64, kind: EventKind) {
        self.sequence += 1;
        let event = Event {
            at: Time(at * 1000),
            sequence: self.sequence,
            who: Arc::clone(&self.who),
            term: Term(self.term),
            role: Role::Follower,
            leader: None,
            voted_for: None,
            kind,
        };
        self.recent.observe(&event);
    }

    fn campaign(&mut self, at: u64, attempt: u64, trigger: Trigger) {
        let previous = Some((node("n1"), Term(3)));
        let last_contact = Some(Time((at - 1300) * 1000));
        self.tell(
            at,
            EventKind::ElectionStarted { attempt, trigger, waited: None, previous, last_contact, call: None },
        );
    }

    fn round(&mut self, at: u64, pre_vote: bool, round: u64) {
        let asked_term = Term(4);
        let last = Some(RecordId { term: Term(3), index: 2 });
        self.tell(at, EventKind::RoundStarted { pre_vote, round, asked_term, last, quorum: 2, voters: 3 });
    }

    fn ask(&mut self, at: u64, id: u64, to: &str, kind: RequestKind) {
        self.tell(at, EventKind::RequestSent { id: RequestId(id), to: node(to), kind, asked_term: Term(4) });
    }

    fn reply(&mut self, at: u64, id: u64, from: &str, verdict: Verdict, worked: u64, late: bool) {
        let remainder = if verdict.is_granted() { Duration::ZERO } else { us(42_000) };
        let (kind, reply_term) = (RequestKind::PreVote, Term(3));
        let (id, from, worked) = (RequestId(id), node(from), us(worked));
        self.tell(at, EventKind::ReplyReceived { id, from, kind, verdict, reply_term, remainder, worked, late });
    }

    fn round_over(&mut self, at: u64, pre_vote: bool, round: u64, won: bool, granted: usize, denied: usize) {
        self.tell(at, EventKind::RoundEnded { pre_vote, round, won, granted, denied, unanswered: vec![] });
    }

    fn asked(&mut self, at: u64, call: u64, from: &str, kind: RequestKind) {
        let from = Holder { node: node(from), disk: DiskId(9), incarnation: Incarnation(1) };
        let (call, id) = (CallId(call), RequestId(call));
        let context = TraceContext::NONE;
        self.tell(at, EventKind::RequestReceived { call, id, from, kind, asked_term: Term(4), context });
    }

    fn answer(&mut self, at: u64, call: u64, to: &str, kind: RequestKind, verdict: Verdict, remainder: u64) {
        let (call, id, to, remainder) = (CallId(call), RequestId(call), node(to), us(remainder));
        let asked_term = Term(4);
        self.tell(at, EventKind::RequestAnswered { call, id, to, kind, asked_term, verdict, remainder, durable: None });
    }

    fn leader(&mut self, at: u64, leader: &str) {
        let (leader, election) = (node(leader), TraceContext::NONE);
        self.tell(at, EventKind::LeaderChanged { leader, election, leaderless_since: Time(0) });
    }

    fn elections(&self) -> Vec<ElectionSummary> {
        self.recent.elections(&GroupId::default())
    }

    fn only(&self) -> ElectionSummary {
        let mut elections = self.elections();
        assert_eq!(elections.len(), 1, "{elections:?}");
        elections.remove(0)
    }
}

/// n2 wins T4 after the connection to n1 closed: the shape of the project's example election.
fn a_won_election() -> Teller {
    let mut n2 = Teller::new("n2", 16);
    n2.campaign(10_000, 1, Trigger::ConnectionLost);
    n2.round(10_010, true, 1);
    n2.ask(10_020, 1, "n0", RequestKind::PreVote);
    n2.ask(10_020, 2, "n1", RequestKind::PreVote);
    n2.ask(10_020, 3, "n3", RequestKind::PreVote);
    n2.tell(
        10_220,
        EventKind::CallFailed {
            id: RequestId(2),
            to: node("n1"),
            kind: RequestKind::PreVote,
            error: CallError::Refused,
        },
    );
    n2.reply(10_660, 1, "n0", Verdict::Granted, 400, false);
    n2.round_over(11_040, true, 1, true, 2, 0);
    n2.term = 4;
    n2.tell(11_050, EventKind::PersistStarted { write: WriteId(5), causes: vec![PersistCause::OwnVote] });
    n2.round(11_060, false, 1);
    n2.ask(11_070, 4, "n0", RequestKind::RequestVote);
    n2.ask(11_070, 5, "n3", RequestKind::RequestVote);
    n2.reply(11_100, 3, "n3", Verdict::Refused(Reason::LeaderAlive), 600, true);
    n2.tell(11_340, EventKind::PersistEnded { write: WriteId(5) });
    n2.reply(12_940, 4, "n0", Verdict::Granted, 1570, false);
    n2.round_over(13_260, false, 1, true, 2, 0);
    n2.tell(13_260, EventKind::Elected { barrier: us(9000) });
    n2.tell(13_270, EventKind::PersistStarted { write: WriteId(6), causes: vec![PersistCause::OwnRecord] });
    n2.ask(13_280, 6, "n0", RequestKind::AppendEntries);
    n2.ask(13_280, 7, "n3", RequestKind::AppendEntries);
    n2.tell(13_770, EventKind::PersistEnded { write: WriteId(6) });
    n2.reply(14_840, 6, "n0", Verdict::Granted, 1300, false);
    let (time_to_election, time_to_leadership) = (us(3260), us(3770));
    let leaderless = Some(us(6200));
    n2.tell(14_900, EventKind::Established { time_to_election, time_to_leadership, leaderless });
    n2.tell(14_900, EventKind::ElectionEnded { outcome: Outcome::Won, rounds: 2, retry_in: None });
    n2.ask(15_000, 8, "n0", RequestKind::AppendEntries);
    n2.tell(22_260, EventKind::BecameExclusive { after: us(9000) });
    // The next office is another election's story.
    n2.term = 5;
    n2.leader(900_000, "n0");
    n2
}

fn assert_tree(election: &ElectionSummary, expected: &str) {
    let shown = election.to_string();
    assert!(shown == expected.trim(), "shown:\n{shown}\nexpected:\n{}", expected.trim());
}

#[test]
fn a_won_election_reads_from_top_to_bottom() {
    assert_tree(
        &a_won_election().only(),
        "
election T4 of n2: won in 4.9ms (connection closed; leader n1 of T3 last heard 1.3ms before; leaderless 6.2ms)
├─ pre-vote T4  1.03ms  won: 2 granted, 0 refused, 2 of 3 needed
│  ├─ n0  granted                                   0.64ms (worked 0.4ms)
│  ├─ n1  no answer: connection refused             0.2ms
│  └─ n3  refused: leader alive, 42ms remain, late  1.08ms (worked 0.6ms)
├─ vote T4      2.2ms   won: 2 granted, 0 refused, 2 of 3 needed
│  ├─ n2  own vote on disk  0.29ms
│  ├─ n0  granted           1.87ms (worked 1.57ms)
│  └─ n3  silent
├─ establish    1.64ms  no-op committed
│  ├─ n2  own record on disk  0.5ms
│  ├─ n0  accepted            1.56ms (worked 1.3ms)
│  └─ n3  silent
└─ exclusive    9ms     since the election; 9ms were owed to former leaders
",
    );
}

#[test]
fn the_phases_of_a_campaign_add_up() {
    let phases: Vec<(PhaseName, Duration)> =
        a_won_election().only().phases().into_iter().map(|phase| (phase.name, phase.took)).collect();
    assert_eq!(
        phases,
        [
            (PhaseName::Detection, us(1300)),
            (PhaseName::PreVote, us(1030)),
            (PhaseName::Vote, us(2200)),
            (PhaseName::Establish, us(1640)),
            (PhaseName::Exclusive, us(7360)),
        ]
    );
}

#[test]
fn a_refused_campaign_tells_who_refused_and_who_leads_instead() {
    let mut n2 = Teller::new("n2", 16);
    n2.campaign(10_000, 2, Trigger::ElectionTimeout);
    n2.round(10_000, true, 1);
    n2.ask(10_000, 1, "n0", RequestKind::PreVote);
    n2.ask(10_000, 2, "n1", RequestKind::PreVote);
    n2.reply(10_500, 1, "n0", Verdict::Refused(Reason::RecordBehind), 100, false);
    n2.tell(10_500, EventKind::RecordAdopted { id: RecordId { term: Term(3), index: 3 }, from: node("n0") });
    n2.reply(10_600, 2, "n1", Verdict::Refused(Reason::LeaderAlive), 100, false);
    n2.round_over(10_600, true, 1, false, 1, 2);
    let retry_in = Some(us(42_000));
    n2.tell(10_600, EventKind::ElectionEnded { outcome: Outcome::PreVoteRefused, rounds: 1, retry_in });
    n2.leader(12_000, "n0");
    assert_tree(
        &n2.only(),
        "
election T4 of n2: pre-vote refused in 0.6ms (attempt 2; election timeout; leader n1 of T3 last heard 1.3ms before), \
retry in 42ms, n0 leads T3 after 2ms
└─ pre-vote T4  0.6ms  not won: 1 granted, 2 refused, 2 of 3 needed
   ├─ n0  refused: record behind, 42ms remain  0.5ms (worked 0.1ms)
   ├─ n1  refused: leader alive, 42ms remain   0.6ms (worked 0.1ms)
   └─ n0  gave record (3,3)
",
    );
}

#[test]
fn an_open_campaign_and_a_lost_office_say_so() {
    let mut n2 = Teller::new("n2", 16);
    n2.campaign(10_000, 1, Trigger::LeaderResigned);
    n2.round(10_000, false, 1);
    n2.ask(10_000, 1, "n0", RequestKind::RequestVote);
    let head = "election T4 of n2: open (leader resigned; leader n1 of T3 last heard 1.3ms before)";
    assert_tree(&n2.only(), &format!("{head}\n└─ vote T4    open: 2 of 3 needed\n   └─ n0  open"));
    n2.round_over(11_000, false, 1, true, 2, 0);
    n2.tell(11_000, EventKind::Elected { barrier: Duration::ZERO });
    let (cause, since) = (LeadershipEnd::NotEstablished, Time(11_000_000));
    n2.tell(161_000, EventKind::LeadershipEnded { cause, since, work_running: false });
    assert_tree(
        &n2.only(),
        &format!(
            "{head}
├─ vote T4      1ms    won: 2 granted, 0 refused, 2 of 3 needed
│  └─ n0  silent
├─ establish           no-op not committed
└─ office over  150ms  not established in time"
        ),
    );
}

#[test]
fn a_voter_tells_what_it_answered_and_why() {
    let mut n3 = Teller::new("n3", 16);
    n3.asked(10_000, 1, "n2", RequestKind::PreVote);
    n3.answer(10_100, 1, "n2", RequestKind::PreVote, Verdict::Refused(Reason::LeaderAlive), 42_000);
    n3.term = 4;
    n3.asked(52_000, 2, "n2", RequestKind::RequestVote);
    n3.tell(
        52_100,
        EventKind::PersistStarted { write: WriteId(1), causes: vec![PersistCause::Vote { call: CallId(2) }] },
    );
    n3.tell(53_300, EventKind::PersistEnded { write: WriteId(1) });
    n3.answer(53_400, 2, "n2", RequestKind::RequestVote, Verdict::Granted, 0);
    n3.leader(54_000, "n2");
    assert_tree(
        &n3.only(),
        "
election T4 of n2, seen by n3: n2 leads after 44ms
├─ pre-vote  0.1ms  refused: leader alive, 42ms remain
└─ vote      1.4ms  granted (disk 1.2ms)
",
    );
}

#[test]
fn rivals_of_one_term_are_two_elections() {
    let mut n3 = Teller::new("n3", 16);
    n3.term = 4;
    n3.answer(10_000, 1, "n1", RequestKind::RequestVote, Verdict::Granted, 0);
    n3.answer(10_000, 2, "n2", RequestKind::RequestVote, Verdict::Refused(Reason::AlreadyVoted), 0);
    let heads: Vec<String> =
        n3.elections().iter().map(|e| e.to_string().lines().next().unwrap_or("").to_owned()).collect();
    assert_eq!(
        heads,
        [
            "election T4 of n1, seen by n3: no leader of T4 heard",
            "election T4 of n2, seen by n3: no leader of T4 heard"
        ]
    );
}

#[test]
fn the_oldest_election_goes_first_and_the_own_one_is_found_behind_others() {
    let mut n2 = Teller::new("n2", 2);
    n2.campaign(10_000, 1, Trigger::Manual);
    n2.answer(10_100, 1, "n1", RequestKind::PreVote, Verdict::Granted, 0);
    n2.round(10_200, true, 1);
    assert_eq!(n2.elections()[0].campaign().expect("its own").rounds.len(), 1);
    n2.answer(10_300, 2, "n3", RequestKind::PreVote, Verdict::Granted, 0);
    let candidates: Vec<String> = n2.elections().iter().map(|e| e.candidate.to_string()).collect();
    assert_eq!(candidates, ["n1", "n3"]);
    n2.round(10_400, true, 2);
    assert_eq!(n2.elections().len(), 2, "an event of an election that is gone changes nothing");
}

#[test]
fn nothing_grows_without_end() {
    let mut n2 = Teller::new("n2", 1);
    n2.campaign(10_000, 1, Trigger::Manual);
    for round in 1..=40 {
        n2.round(10_000 + round, true, round);
        for id in 0..400 {
            n2.ask(10_000 + round, round * 1000 + id, "n1", RequestKind::PreVote);
        }
    }
    let election = n2.only();
    let campaign = election.campaign().expect("its own");
    assert_eq!((campaign.rounds.len() as u64, campaign.rounds_left_out), (16, 24));
    assert!(campaign.rounds.iter().all(|round| round.requests.len() <= 128));
    assert_eq!((campaign.rounds[0].round, campaign.rounds[15].round), (1, 40));
    assert!(election.to_string().contains("24 in between"));

    let mut n3 = Teller::new("n3", 1);
    for call in 0..1000 {
        n3.asked(10_000, call, "n2", RequestKind::PreVote);
    }
    for call in 900..1000 {
        n3.answer(10_000, call, "n2", RequestKind::PreVote, Verdict::Granted, 0);
    }
    let election = n3.only();
    let Part::Voter(asked) = &election.part else { panic!("{election}") };
    assert_eq!((asked.answers.len() as u64, asked.answers_left_out), (16, 84));
}

#[test]
fn groups_are_apart() {
    let teller = a_won_election();
    assert!(teller.recent.elections(&GroupId::new("other").expect("a name")).is_empty());
    assert_eq!(teller.recent.clone().elections(&GroupId::default()).len(), 1, "a clone sees the same");
}
