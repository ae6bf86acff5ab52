//! Events in, summaries out.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Answered, Asked, Campaign, Decided, ElectionSummary, Establishing, Given, Part, Question, Round};
use crate::event::{CallId, Event, EventKind, PersistCause, WriteId};
use crate::message::{RequestId, RequestKind};
use crate::types::{NodeId, Term, Time};

/// How many rounds of a campaign are kept: learning a record takes a round each, more is a cluster that cannot agree.
const ROUNDS_MAX: usize = 16;
/// How many requests of a round are kept: each member twice.
const REQUESTS_MAX: usize = 2 * crate::record::MEMBERS_MAX;
/// How many answers to one candidate in one term are kept.
const ANSWERS_MAX: usize = 16;
/// How many inbound requests are remembered until they are answered; a call may be dropped without an answer.
const CALLS_MAX: usize = 256;

/// Whether the fold would look at the event at all.
pub(super) fn concerns_elections(kind: &EventKind) -> bool {
    match kind {
        EventKind::ElectionStarted { .. }
        | EventKind::RoundStarted { .. }
        | EventKind::RequestSent { .. }
        | EventKind::ReplyReceived { .. }
        | EventKind::CallFailed { .. }
        | EventKind::RoundEnded { .. }
        | EventKind::ElectionEnded { .. }
        | EventKind::Elected { .. }
        | EventKind::RecordAdopted { .. }
        | EventKind::Established { .. }
        | EventKind::BecameExclusive { .. }
        | EventKind::LeadershipEnded { .. }
        | EventKind::LeaderChanged { .. }
        | EventKind::PersistStarted { .. }
        | EventKind::PersistEnded { .. } => true,
        EventKind::RequestReceived { kind, .. } | EventKind::RequestAnswered { kind, .. } => is_ballot(*kind),
        EventKind::Started { .. }
        | EventKind::MembersAwaited { .. }
        | EventKind::Founded { .. }
        | EventKind::Named { .. }
        | EventKind::RoleChanged { .. }
        | EventKind::TermAdvanced { .. }
        | EventKind::LeaderLost { .. }
        | EventKind::EvidenceFound { .. }
        | EventKind::QuorumReached { .. }
        | EventKind::RecordAppended { .. }
        | EventKind::RecordAccepted { .. }
        | EventKind::Committed { .. }
        | EventKind::GuardRevoked { .. }
        | EventKind::Resigned { .. }
        | EventKind::LeaderResigned { .. }
        | EventKind::WorkStarted
        | EventKind::WorkEnded { .. }
        | EventKind::ContentionChanged { .. }
        | EventKind::OfficeIdled { .. }
        | EventKind::ChangeStarted { .. }
        | EventKind::ChangeEnded { .. }
        | EventKind::MembersChanged { .. }
        | EventKind::TransferStarted { .. }
        | EventKind::TransferEnded { .. }
        | EventKind::PersistStalled { .. }
        | EventKind::PersistFailed { .. }
        | EventKind::StorageHealed { .. }
        | EventKind::Paused { .. }
        | EventKind::Alarmed { .. }
        | EventKind::Stopped { .. } => false,
    }
}

fn is_ballot(kind: RequestKind) -> bool {
    matches!(kind, RequestKind::PreVote | RequestKind::RequestVote)
}

/// What is known of one group's elections.
#[derive(Debug, Default)]
pub(super) struct Group {
    elections: VecDeque<(u64, ElectionSummary)>,
    /// Numbers the summaries, so that the open campaign is found however many came after it.
    next: u64,
    own: Option<u64>,
    write: Option<Write>,
    calls: VecDeque<Call>,
}

#[derive(Debug)]
struct Write {
    id: WriteId,
    started: Time,
    own_vote: bool,
    own_record: bool,
}

#[derive(Debug)]
struct Call {
    id: CallId,
    received: Time,
    write: Option<(WriteId, Time)>,
    disk: Option<Duration>,
}

impl Group {
    pub(super) fn elections(&self) -> Vec<ElectionSummary> {
        self.elections.iter().map(|(_, election)| election.clone()).collect()
    }

    pub(super) fn take(&mut self, event: &Event, capacity: usize) {
        match &event.kind {
            EventKind::ElectionStarted { .. } => self.campaign_started(event, capacity),
            EventKind::PersistStarted { write, causes } => self.write_started(event.at, *write, causes),
            EventKind::PersistEnded { write } => self.write_ended(event.at, *write),
            EventKind::RequestReceived { call, .. } => self.asked(*call, event.at),
            EventKind::RequestAnswered { .. } => self.answered(event, capacity),
            EventKind::LeaderChanged { leader, .. } => self.leader_known(event, leader),
            _ => {
                if let Some((term, campaign)) = self.own_campaign() {
                    advance(campaign, term, event);
                }
            }
        }
    }

    fn push(&mut self, election: ElectionSummary, capacity: usize) -> u64 {
        while self.elections.len() >= capacity {
            self.elections.pop_front();
        }
        let number = self.next;
        self.next += 1;
        self.elections.push_back((number, election));
        number
    }

    fn campaign_started(&mut self, event: &Event, capacity: usize) {
        let EventKind::ElectionStarted { attempt, trigger, waited, previous, last_contact, call: _ } = &event.kind
        else {
            return;
        };
        let campaign = Campaign {
            attempt: *attempt,
            trigger: *trigger,
            waited: *waited,
            previous: previous.clone(),
            last_contact: *last_contact,
            rounds: Vec::new(),
            rounds_left_out: 0,
            establishing: None,
            outcome: None,
            retry_in: None,
            leader: None,
            office_ended: None,
        };
        self.own =
            Some(self.push(begun(event, &event.who.node, event.term, Part::Candidate(Box::new(campaign))), capacity));
    }

    /// The newest own campaign, unless the ring has let go of it.
    fn own_campaign(&mut self) -> Option<(&mut Term, &mut Campaign)> {
        let own = self.own?;
        let (_, election) = self.elections.iter_mut().rev().find(|(number, _)| *number == own)?;
        match &mut election.part {
            Part::Candidate(campaign) => Some((&mut election.term, campaign)),
            Part::Voter(_) => None,
        }
    }

    fn write_started(&mut self, now: Time, write: WriteId, causes: &[PersistCause]) {
        for cause in causes {
            if let PersistCause::Vote { call } = cause
                && let Some(call) = self.calls.iter_mut().find(|known| known.id == *call)
            {
                call.write = Some((write, now));
            }
        }
        let own_vote = causes.contains(&PersistCause::OwnVote);
        let own_record = causes.contains(&PersistCause::OwnRecord);
        self.write = Some(Write { id: write, started: now, own_vote, own_record });
    }

    fn write_ended(&mut self, now: Time, write: WriteId) {
        for call in &mut self.calls {
            if let Some((_, started)) = call.write.take_if(|(of, _)| *of <= write) {
                call.disk = Some(now.since(started));
            }
        }
        let Some(ended) = self.write.take_if(|under_way| under_way.id <= write) else {
            return;
        };
        let took = now.since(ended.started);
        let Some((_, campaign)) = self.own_campaign() else {
            return;
        };
        // The write may have been announced before its round: only at its end is it sure that the round is there.
        if ended.own_vote
            && let Some(round) = campaign.rounds.iter_mut().rev().find(|round| !round.pre_vote)
        {
            round.own_vote.get_or_insert(took);
        }
        if ended.own_record
            && let Some(establishing) = &mut campaign.establishing
        {
            establishing.own_record.get_or_insert(took);
        }
    }

    fn asked(&mut self, call: CallId, now: Time) {
        if self.calls.len() >= CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(Call { id: call, received: now, write: None, disk: None });
    }

    fn answered(&mut self, event: &Event, capacity: usize) {
        let EventKind::RequestAnswered { call, id: _, to, kind, asked_term, verdict, remainder, durable: _ } =
            &event.kind
        else {
            return;
        };
        let call = self.calls.iter().position(|known| known.id == *call).and_then(|at| self.calls.remove(at));
        let given = Given {
            kind: *kind,
            verdict: verdict.clone(),
            remainder: *remainder,
            at: event.at,
            worked: call.as_ref().map_or(Duration::ZERO, |call| event.at.since(call.received)),
            disk: call.as_ref().and_then(|call| call.disk),
        };
        let known = self.elections.iter_mut().rev().find_map(|(_, election)| match &mut election.part {
            Part::Voter(asked) if election.candidate == *to && election.term == *asked_term => Some(asked),
            Part::Voter(_) | Part::Candidate(_) => None,
        });
        if let Some(asked) = known {
            if asked.answers.len() >= ANSWERS_MAX {
                asked.answers.remove(0);
                asked.answers_left_out += 1;
            }
            return asked.answers.push(given);
        }
        let asked = Asked { answers: vec![given], answers_left_out: 0, leader: None };
        let mut election = begun(event, to, *asked_term, Part::Voter(asked));
        election.started = call.map_or(event.at, |call| call.received);
        self.push(election, capacity);
    }

    fn leader_known(&mut self, event: &Event, leader: &NodeId) {
        for (_, election) in &mut self.elections {
            if let Part::Voter(asked) = &mut election.part
                && election.term == event.term
            {
                asked.leader.get_or_insert_with(|| (leader.clone(), event.at));
            }
        }
        if let Some((_, campaign)) = self.own_campaign() {
            campaign.leader.get_or_insert_with(|| (leader.clone(), event.term, event.at));
        }
    }
}

fn begun(event: &Event, candidate: &NodeId, term: Term, part: Part) -> ElectionSummary {
    ElectionSummary {
        node: event.who.node.clone(),
        group: event.who.group.clone(),
        candidate: candidate.clone(),
        term,
        started: event.at,
        part,
    }
}

/// Takes an event into the own campaign.
fn advance(campaign: &mut Campaign, term: &mut Term, event: &Event) {
    let now = event.at;
    match &event.kind {
        EventKind::RoundStarted { .. } => round_started(campaign, term, event),
        EventKind::RequestSent { id, to, kind, .. } => sent(campaign, *id, to, *kind, now),
        EventKind::ReplyReceived { id, verdict, remainder, worked, late, .. } => {
            if let Some(question) = question(campaign, *id) {
                let (round_trip, verdict) = (now.since(question.sent), verdict.clone());
                let (remainder, worked, late) = (*remainder, *worked, *late);
                question.answer = Answered::Reply { verdict, remainder, round_trip, worked, late };
            }
        }
        EventKind::CallFailed { id, error, .. } => {
            if let Some(question) = question(campaign, *id) {
                question.answer = Answered::Failed { error: error.clone(), after: now.since(question.sent) };
            }
        }
        EventKind::RoundEnded { pre_vote, round, won, granted, denied, unanswered } => {
            let ended = campaign.rounds.iter_mut().rev().find(|r| r.round == *round && r.pre_vote == *pre_vote);
            if let Some(ended) = ended {
                let (won, granted, denied) = (*won, *granted, *denied);
                ended.decided = Some(Decided { at: now, won, granted, denied, unanswered: unanswered.clone() });
            }
        }
        EventKind::RecordAdopted { id, from } => {
            if let Some(round) = campaign.rounds.last_mut()
                && round.adopted.len() < REQUESTS_MAX
            {
                round.adopted.push((*id, from.clone()));
            }
        }
        EventKind::ElectionEnded { outcome, rounds: _, retry_in } => {
            campaign.outcome.get_or_insert((*outcome, now));
            campaign.retry_in = *retry_in;
        }
        EventKind::LeadershipEnded { cause, .. } if campaign.establishing.is_some() => {
            campaign.office_ended.get_or_insert((*cause, now));
        }
        EventKind::Elected { barrier } => {
            // Nobody tells the leader who leads.
            campaign.leader.get_or_insert_with(|| (event.who.node.clone(), event.term, now));
            campaign.establishing.get_or_insert(Establishing {
                elected: now,
                barrier: *barrier,
                own_record: None,
                requests: Vec::new(),
                established: None,
                leaderless: None,
                exclusive: None,
            });
        }
        EventKind::Established { leaderless, .. } => {
            if let Some(establishing) = &mut campaign.establishing {
                establishing.established.get_or_insert(now);
                establishing.leaderless = *leaderless;
            }
        }
        EventKind::BecameExclusive { .. } => {
            if let Some(establishing) = &mut campaign.establishing {
                establishing.exclusive.get_or_insert(now);
            }
        }
        _ => {}
    }
}

fn round_started(campaign: &mut Campaign, term: &mut Term, event: &Event) {
    let EventKind::RoundStarted { pre_vote, round, asked_term, last, quorum, voters } = &event.kind else {
        return;
    };
    *term = *asked_term;
    if campaign.rounds.len() >= ROUNDS_MAX {
        // The newest rounds tell how it ended; of the ones before, the first tell how it began.
        campaign.rounds.remove(ROUNDS_MAX / 2);
        campaign.rounds_left_out += 1;
    }
    campaign.rounds.push(Round {
        pre_vote: *pre_vote,
        round: *round,
        asked_term: *asked_term,
        last: *last,
        quorum: *quorum,
        voters: *voters,
        started: event.at,
        decided: None,
        own_vote: None,
        requests: Vec::new(),
        adopted: Vec::new(),
    });
}

fn sent(campaign: &mut Campaign, id: RequestId, to: &NodeId, kind: RequestKind, now: Time) {
    let requests = match kind {
        RequestKind::PreVote | RequestKind::RequestVote => campaign.rounds.last_mut().map(|r| &mut r.requests),
        RequestKind::AppendEntries => {
            let establishing = campaign.establishing.as_mut().filter(|e| e.established.is_none());
            establishing.map(|e| &mut e.requests)
        }
        RequestKind::TimeoutNow | RequestKind::Resign => None,
    };
    if let Some(requests) = requests.filter(|requests| requests.len() < REQUESTS_MAX) {
        requests.push(Question { id, to: to.clone(), sent: now, answer: Answered::Open });
    }
}

fn question(campaign: &mut Campaign, id: RequestId) -> Option<&mut Question> {
    let establishing = campaign.establishing.iter_mut().map(|e| &mut e.requests);
    let rounds = campaign.rounds.iter_mut().map(|r| &mut r.requests);
    establishing.chain(rounds).flatten().find(|question| question.id == id)
}
