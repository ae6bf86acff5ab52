//! Durability belongs to the core: what waits for the disk, and what a finished write releases.
//!
//! State changes in memory in the step that decides it; only outputs wait (S12). One write is under way at a time; what
//! changes meanwhile goes into the next one, merged.
//!
//! After a failed write it is unknown what the disk holds, and nothing that was under way counts any more (E8). The node
//! goes on in memory, and asks its storage to start over with the state of that moment, in the place of whatever failed
//! ([`Persist::afresh`]); until that is durable it neither votes nor promises.

use std::time::Duration;

use super::{Node, Part, Persist};
use crate::event::{CallId, EventKind, LeadershipEnd, Outcome, PersistCause, Trigger, WriteId};
use crate::message::{Holder, Identity, Reason, Reply, ReplyBody, RequestId, RequestKind, Verdict};
use crate::mutant::{self, Mutant};
use crate::record::{HardState, RecordId};
use crate::types::{Founding, NodeId, Term, Time};
use std::sync::Arc;

/// What the disk is known to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Durable {
    pub(super) term: Term,
    pub(super) voted_for: Option<NodeId>,
    pub(super) last: Option<RecordId>,
    pub(super) named: Option<Term>,
    pub(super) promise_max: Duration,
}

impl Durable {
    pub(super) fn of(state: &HardState) -> Durable {
        Durable {
            term: state.term,
            voted_for: state.voted_for.clone(),
            last: state.last(),
            named: state.named,
            promise_max: state.promise_max,
        }
    }
}

/// The writes of an incarnation, and the replies that wait for them.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// The last write that was started.
    started: u64,
    under_way: Option<(WriteId, Durable)>,
    /// When the write under way was started.
    since: Time,
    /// It has been under way for too long.
    pub(super) stalled: bool,
    causes: Vec<PersistCause>,
    waiting: Vec<Waiting>,
    /// A write failed, and nothing has been durable since.
    failure: Option<Failure>,
}

/// A storage that failed, and the attempts to start over.
#[derive(Debug)]
struct Failure {
    since: Time,
    attempts: u32,
    next_attempt: Time,
}

/// The pause before the first attempt to start over; each failed one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A granted vote or an accepted record that may not be acknowledged before it is durable (S3, L5).
#[derive(Debug)]
struct Waiting {
    inbound: Inbound,
    needs: WriteId,
    promised: Duration,
}

/// An inbound request, as long as it is not answered.
#[derive(Debug, Clone)]
pub(super) struct Inbound {
    pub(super) call: CallId,
    pub(super) id: RequestId,
    pub(super) from: Arc<Identity>,
    pub(super) kind: RequestKind,
    pub(super) asked_term: Term,
    pub(super) received: Time,
    /// Whether an event told of it, so that its answer is told too.
    pub(super) reported: bool,
    /// Whether the asker is a member, so that it may be told who this node is, in which term.
    pub(super) known: bool,
}

impl Inbound {
    pub(super) fn holder(&self) -> Holder {
        self.from.holder()
    }
}

impl Node {
    /// Marks the hard state as changed: it is written at the end of this step, or after the write under way.
    pub(super) fn change(&mut self, cause: PersistCause) {
        if !self.writes.causes.contains(&cause) {
            self.writes.causes.push(cause);
        }
    }

    /// The write that will contain what was just changed; one that is over if nothing is to be written.
    fn write_of_changes(&self) -> WriteId {
        let ahead = u64::from(!self.writes.causes.is_empty());
        WriteId(self.writes.started + ahead)
    }

    /// Holds the answer back until everything decided so far is durable.
    pub(super) fn answer_when_durable(&mut self, inbound: Inbound, promised: Duration) {
        let needs = if mutant::on(Mutant::VoteBeforeDurable) { WriteId::default() } else { self.write_of_changes() };
        // A node asks one thing of a kind at a time: an older call of its own is answered by nobody any more.
        let same = |w: &Waiting| w.inbound.kind == inbound.kind && w.inbound.from.node == inbound.from.node;
        let older: Vec<CallId> = self.writes.waiting.iter().filter(|w| same(w)).map(|w| w.inbound.call).collect();
        self.writes.waiting.retain(|w| !same(w));
        self.out.dropped.extend(older);
        self.writes.waiting.push(Waiting { inbound, needs, promised });
        self.release();
    }

    /// Starts the next write, if there is anything to write and none is under way.
    pub(super) fn flush(&mut self) {
        if self.writes.causes.is_empty() || self.writes.under_way.is_some() || self.storage_failed() {
            return;
        }
        let causes = std::mem::take(&mut self.writes.causes);
        self.start_write(causes, false);
    }

    fn start_write(&mut self, causes: Vec<PersistCause>, afresh: bool) {
        self.writes.started += 1;
        let write = WriteId(self.writes.started);
        self.writes.under_way = Some((write, Durable::of(&self.hard)));
        self.writes.since = self.now;
        self.emit(EventKind::PersistStarted { write, causes });
        let mut state = self.hard.clone();
        if mutant::on(Mutant::VolatileVote) {
            state.voted_for = None;
        }
        self.out.persist = Some(Persist { write, state, afresh });
    }

    /// Whether a write failed, and nothing has been durable since.
    pub(crate) fn storage_failed(&self) -> bool {
        self.writes.failure.is_some()
    }

    /// When the storage is asked next to start over.
    pub(super) fn storage_deadline(&self) -> Time {
        match &self.writes.failure {
            Some(failure) if self.writes.under_way.is_none() => failure.next_attempt,
            _ => Time::NEVER,
        }
    }

    pub(super) fn tick_storage(&mut self) {
        if self.now < self.storage_deadline() {
            return;
        }
        if let Some(failure) = &mut self.writes.failure {
            failure.attempts += 1;
        }
        // What was decided since is part of the state that is written.
        self.writes.causes.clear();
        self.start_write(vec![PersistCause::Afresh], true);
    }

    /// The storage has started over: from here on the disk holds what was written, as after any other write.
    fn storage_is_well(&mut self) {
        let Some(Failure { since, attempts, .. }) = self.writes.failure.take() else { return };
        self.emit(EventKind::StorageHealed { failed_for: self.now.since(since), attempts });
        if let Part::Follower(_) = self.part
            && self.leader().is_none()
        {
            self.wait_drawn(Trigger::ElectionTimeout);
        }
    }

    pub(super) fn receive_persisted(&mut self, write: WriteId) {
        match self.writes.under_way.take() {
            Some((started, durable)) if started <= write => {
                self.durable = durable;
                self.emit(EventKind::PersistEnded { write: started });
                self.storage_is_well();
            }
            other => {
                self.writes.under_way = other;
                return;
            }
        }
        let stalled = std::mem::take(&mut self.writes.stalled);
        self.refresh_identity();
        self.release();
        match self.part {
            Part::Follower(_) => self.cure(),
            Part::PreCandidate(_) => self.resume_pre_candidate(),
            Part::Candidate(_) => self.count_votes(),
            Part::Leader(_) => self.advance_commit(),
            Part::Stopped => {}
        }
        if stalled {
            self.stand_again();
        }
    }

    /// When the write under way counts as stalled, unless it does already.
    pub(super) fn write_deadline(&self) -> Time {
        match self.writes.under_way {
            Some(_) if !self.writes.stalled => self.writes.since + self.config.storage_stall,
            _ => Time::NEVER,
        }
    }

    /// Whoever cannot write cannot lead: its own vote and its records would not be durable.
    pub(super) fn tick_write(&mut self) {
        let Some((write, _)) = self.writes.under_way else { return };
        if self.now < self.write_deadline() {
            return;
        }
        self.writes.stalled = true;
        self.emit(EventKind::PersistStalled { write, outstanding: self.now.since(self.writes.since) });
        if let Part::PreCandidate(_) | Part::Candidate(_) = self.part {
            self.end_election(Outcome::Cancelled, None);
        }
        self.yield_office();
    }

    pub(super) fn receive_persist_failed(&mut self, write: WriteId, error: String) {
        if self.storage_failed() {
            return self.start_over_later(write, error);
        }
        if mutant::on(Mutant::FailedWriteForgotten) {
            return self.receive_persisted(write);
        }
        if mutant::on(Mutant::FailedWriteRetried) {
            self.writes.under_way = None;
            return self.change(PersistCause::Term);
        }
        self.writes.failure = Some(Failure { since: self.now, attempts: 0, next_attempt: self.now + PAUSE_MIN });
        self.writes.under_way = None;
        self.writes.stalled = false;
        self.emit(EventKind::PersistFailed { write, error });
        for waiting in std::mem::take(&mut self.writes.waiting) {
            self.refuse(&waiting.inbound, Reason::StorageError);
        }
        match self.part {
            Part::Leader(_) => self.step_down(LeadershipEnd::StorageStalled),
            Part::PreCandidate(_) | Part::Candidate(_) => self.end_election(Outcome::Cancelled, None),
            Part::Follower(_) | Part::Stopped => {}
        }
        if let Part::Follower(follower) = &mut self.part {
            follower.deadline = Time::NEVER;
        }
    }

    /// An attempt to start over failed, or a write that was under way beside the failure.
    fn start_over_later(&mut self, write: WriteId, error: String) {
        if self.writes.under_way.take_if(|(started, _)| *started == write).is_none() {
            return;
        }
        self.emit(EventKind::PersistFailed { write, error });
        if let Some(failure) = &mut self.writes.failure {
            let doubled = PAUSE_MIN * (1 << failure.attempts.min(16));
            failure.next_attempt = self.now + doubled.min(PAUSE_MAX);
        }
    }

    /// Sends every answer whose write is over.
    fn release(&mut self) {
        let over = match &self.writes.under_way {
            Some((write, _)) => WriteId(write.0 - 1),
            None => WriteId(self.writes.started),
        };
        let over = if mutant::on(Mutant::PersistedReleasesNext) { WriteId(over.0 + 1) } else { over };
        let mut at = 0;
        while let Some(waiting) = self.writes.waiting.get(at) {
            if waiting.needs > over {
                at += 1;
                continue;
            }
            let waiting = self.writes.waiting.remove(at);
            self.answer_granted(&waiting.inbound, waiting.promised);
        }
    }

    /// Whether nothing is being written and nobody waits.
    pub(super) fn is_settled(&self) -> bool {
        let idle = self.writes.under_way.is_none() && self.writes.causes.is_empty();
        self.storage_failed() || (idle && self.writes.waiting.is_empty())
    }

    pub(super) fn drop_waiting(&mut self) {
        let calls = self.writes.waiting.drain(..).map(|waiting| waiting.inbound.call);
        self.out.dropped.extend(calls);
    }

    pub(super) fn answer_granted(&mut self, inbound: &Inbound, promised: Duration) {
        let body = match inbound.kind {
            RequestKind::PreVote | RequestKind::RequestVote => {
                let owed = self.promises.owed_until(&inbound.holder()).since(self.now);
                let remainder = if mutant::on(Mutant::EarlyGrantWithoutRemainder) { Duration::ZERO } else { owed };
                ReplyBody::Vote { remainder, record: None, hearsay: None }
            }
            RequestKind::AppendEntries if mutant::on(Mutant::RecordAckedFromMemory) => {
                ReplyBody::Append { promised, durable: self.hard.last(), contention: self.contention() }
            }
            RequestKind::AppendEntries => self.append_reply(promised),
            RequestKind::TimeoutNow => ReplyBody::TimeoutNow { election: crate::types::TraceContext::NONE },
            RequestKind::Resign => ReplyBody::None,
        };
        self.answer(inbound, Verdict::Granted, body);
    }

    pub(super) fn refuse(&mut self, inbound: &Inbound, reason: Reason) {
        self.answer(inbound, Verdict::Refused(reason), ReplyBody::None);
    }

    /// Heartbeats are too many to tell of, but for those that are refused.
    fn is_told(&self, inbound: &Inbound, verdict: &Verdict) -> bool {
        let refused_heartbeat = inbound.kind == RequestKind::AppendEntries && !verdict.is_granted();
        inbound.reported || (refused_heartbeat && !matches!(self.part, Part::Stopped))
    }

    /// Every answer leaves here.
    pub(super) fn answer(&mut self, inbound: &Inbound, verdict: Verdict, body: ReplyBody) {
        // A granted pre-vote echoes the requested term: the voter's own has not changed.
        let echo = inbound.kind == RequestKind::PreVote && verdict.is_granted();
        let term = if echo { inbound.asked_term } else { self.hard.term };
        let term = if inbound.known { term } else { Term(0) };
        if self.is_told(inbound, &verdict) {
            let remainder = match &body {
                ReplyBody::Vote { remainder, .. } => *remainder,
                _ => Duration::ZERO,
            };
            self.emit(EventKind::RequestAnswered {
                call: inbound.call,
                id: inbound.id,
                to: inbound.from.node.clone(),
                kind: inbound.kind,
                asked_term: inbound.asked_term,
                verdict: verdict.clone(),
                remainder,
                durable: self.durable.last,
            });
        }
        let reply = Reply {
            from: self.identity_for(inbound),
            to: inbound.holder(),
            id: inbound.id,
            kind: inbound.kind,
            term,
            verdict,
            worked: self.now.since(inbound.received),
            body,
        };
        self.out.replies.push((inbound.call, reply));
    }

    /// What this node says of itself. A stranger is told nothing that it did not say itself (S13): with the founding and
    /// the timing it could speak as if it were a member.
    fn identity_for(&self, inbound: &Inbound) -> Arc<Identity> {
        let own = &self.identity;
        let founding = inbound.from.founding == own.founding;
        let timing = inbound.from.timing == own.timing;
        if inbound.known || (founding && timing) {
            return own.clone();
        }
        Arc::new(Identity {
            founding: if founding { own.founding } else { Founding::WITHHELD },
            timing: if timing { own.timing } else { 0 },
            ..Identity::clone(own)
        })
    }
}
