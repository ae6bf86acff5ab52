//! What a machine does that forgets a rule, where that takes more than a condition. Nothing here runs in one that does
//! not ([`crate::mutant`]).

use std::time::Duration;

use super::leader::Leader;
use super::{Node, Part};
use crate::message::{Hearsay, Identity, Reply, ReplyBody};
use crate::mutant::{self, Mutant};
use crate::types::{Term, Time, nanos};

impl Node {
    /// The term of the next candidacy.
    pub(super) fn next_term(&self) -> Option<Term> {
        let led = self.hard.voted_for.as_ref() == Some(&self.config.node);
        if led && mutant::on(Mutant::TokenNotIncreased) { Some(self.hard.term) } else { self.hard.term.next() }
    }

    /// Takes over a record as a candidate or a leader, from a refusal that comes late.
    pub(super) fn adopt_late(&mut self, reply: &Reply) {
        if !mutant::on(Mutant::LeaderAdopts) || !matches!(self.part, Part::Candidate(_) | Part::Leader(_)) {
            return;
        }
        if let ReplyBody::Vote { record: Some(record), .. } = &reply.body {
            self.adopt(record, reply.term, &reply.from);
        }
    }

    /// Whether the answers of a disk count that no committed record has cured yet.
    pub(super) fn counts_uncured(&self, from: &Identity) -> bool {
        let named = self.committed.as_ref().is_some_and(|record| record.names(&from.node, from.disk));
        let others = if named { Mutant::SuccessorCountsNewDisk } else { Mutant::NamingRecordCountsItsDisk };
        mutant::on(Mutant::AmnesiacCounted) || mutant::on(others)
    }

    /// Takes a request of a voter for an answer to the newest heartbeat.
    pub(super) fn count_any_message(&mut self, from: &Identity) {
        if let Part::Leader(leader) = &mut self.part
            && mutant::on(Mutant::AnyMessageCounts)
        {
            leader.hear(&from.node, self.now, &self.config.timing);
        }
    }
}

impl Leader {
    /// The end of the window in which `end` lies; they follow each other from the election on.
    pub(super) fn window_after(&self, end: Time, window: Duration) -> Time {
        let lasted = nanos(end.since(self.elected_at));
        let windows = lasted.div_ceil(nanos(window).max(1));
        end.max(self.elected_at + window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX)))
    }
}

/// What was told, as if it had been seen just now.
pub(super) fn refreshed(hearsay: Hearsay) -> Hearsay {
    if mutant::on(Mutant::HearsayRefreshes) { Hearsay { age: Duration::ZERO, ..hearsay } } else { hearsay }
}
