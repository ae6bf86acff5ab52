//! The leader's rounds of heartbeats: to everyone, again to whoever does not answer, and when each was sent.

use super::leader::Leader;
use super::{Node, Part};
use crate::message::{RequestBody, RequestId};
use crate::mutant::{self, Mutant};
use crate::types::Time;

/// How often within a round a heartbeat goes out to a member that does not answer.
const REPEATS: u32 = 4;

/// A reply to a round older than this many comes too late to lengthen a lease.
const ROUNDS: usize = 16;

/// When the last rounds were sent. A request between two rounds counts as sent with the earlier one, which can only
/// shorten the lease.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The first request of each, and the time.
    sent: [(RequestId, Time); ROUNDS],
    newest: usize,
}

impl Rounds {
    pub(super) fn beginning(first: RequestId, now: Time) -> Rounds {
        let mut rounds = Rounds { sent: [(RequestId(0), Time::ZERO); ROUNDS], newest: 0 };
        rounds.note(first, now);
        rounds
    }

    fn note(&mut self, first: RequestId, now: Time) {
        self.newest = (self.newest + 1) % ROUNDS;
        self.sent[self.newest] = (first, now);
    }

    /// The first request of the newest round, and when it was sent.
    pub(super) fn newest(&self) -> (RequestId, Time) {
        self.sent[self.newest]
    }

    /// When the round of that request was sent, unless that is too long ago to be remembered.
    pub(super) fn sent_at(&self, id: RequestId) -> Option<Time> {
        let known = self.sent.iter().filter(|(first, _)| first.0 != 0 && *first <= id);
        known.max_by_key(|(first, _)| *first).map(|(_, at)| *at)
    }
}

impl Leader {
    /// Who was there lately is asked again until it answers the newest round.
    fn await_answers(&mut self, since: Time) {
        for progress in &mut self.progress {
            progress.awaited = progress.heard >= since;
        }
    }
}

impl Node {
    /// A heartbeat to everyone. Who lacks the record says so in its answer, and is sent it then: a dead peer costs a
    /// heartbeat and no more.
    pub(super) fn send_round(&mut self) {
        let (now, heartbeat) = (self.now, self.config.timing.heartbeat);
        let lately = now.before(self.config.timing.election_timeout_max);
        let Part::Leader(leader) = &mut self.part else { return };
        leader.await_answers(lately);
        leader.next_heartbeat = now + heartbeat;
        leader.repeat_at = now + heartbeat / REPEATS;
        leader.rounds.note(RequestId(self.next_request), now);
        for at in 0..self.progress_len() {
            self.send_append(at, false);
        }
    }

    /// V12: a lost heartbeat costs a quarter of an interval, not a whole one. For the lease a repeated one counts as sent
    /// with its round.
    pub(super) fn repeat_round(&mut self) {
        let (now, heartbeat) = (self.now, self.config.timing.heartbeat);
        let Part::Leader(leader) = &mut self.part else { return };
        leader.repeat_at = now + heartbeat / REPEATS;
        for at in 0..self.progress_len() {
            if matches!(&self.part, Part::Leader(leader) if leader.progress[at].awaited) {
                self.send_append(at, false);
            }
        }
    }

    /// One AppendEntries. With a record it is an operation of its own, told in events; a heartbeat is not.
    pub(super) fn send_append(&mut self, at: usize, with_record: bool) {
        let (now, term, last) = (self.now, self.hard.term, self.hard.last());
        let Part::Leader(leader) = &self.part else { return };
        let Some(progress) = leader.progress.get(at) else { return };
        let to = progress.node.clone();
        let body = RequestBody::AppendEntries {
            promise: leader.ask,
            record: if with_record { self.hard.record.clone() } else { None },
            committed: leader.committed,
            rank: leader.rank_of(at, last, now).filter(|_| !mutant::on(Mutant::NoSuccession)),
            election: crate::types::TraceContext::NONE,
        };
        if !with_record {
            self.send(to, term, body);
            return;
        }
        let id = self.send_announced(&to, term, body);
        if let Part::Leader(leader) = &mut self.part {
            leader.progress[at].append = Some((id, now));
        }
    }
}
