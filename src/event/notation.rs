//! The one text notation of the project: an event as a line that a person on call can read.
//!
//! ```text
//!        153ms n3  campaign 1 (election timeout 153ms of 150..300), leader n1 of T3 last heard 153ms ago
//!        153ms n3  -> n2  PreVote T4 #7
//!      153.8ms n3  <- n2  PreVote #7 refused: leader alive, 42ms remain (its term T3, worked 0.6ms)
//! ```
//!
//! The columns are the time, the node that reports, and what happened. `->` leaves that node, `<-` came to it. Golden
//! files of stories, examples, README and tool all show this and nothing else.

mod parts;

use std::fmt;
use std::time::Duration;

use parts::{Ago, Ballot, Causes, Last, Names, Of, OneLine, Trace, Unasked, Under, Work};

use super::{
    Alarm, Change, ChangeOutcome, Event, EventKind, LeadershipEnd, LossOfLeader, Outcome, PersistCause, RecordCause,
    Role, TransferOutcome, Trigger, Waited,
};
use crate::message::{Reason, RequestKind, Verdict};
use crate::record::RecordId;
use crate::types::{Millis, Time};

/// The width of the time column: `153.204ms` and an hour's worth of milliseconds line up.
const AT_WIDTH: usize = 12;

/// An event as a line, with the time counted from `origin` and the node padded to `width`.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The event.
    pub event: &'a Event,
    /// What the time column counts from: zero shows the node's own clock.
    pub origin: Time,
    /// The width of the node column in characters: the longest name, so that texts line up.
    pub width: usize,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event;
        let at = Millis(event.at.since(self.origin)).to_string();
        write!(f, "{at:>AT_WIDTH$} {:<width$}  ", event.who.node, width = self.width)?;
        Text { kind: &event.kind, event: Some(event) }.fmt(f)
    }
}

impl Event {
    /// What happened in words, without the columns for the time and the node.
    pub fn text(&self) -> impl fmt::Display + '_ {
        Text { kind: &self.kind, event: Some(self) }
    }
}

/// The line with the node's own clock, the node unpadded.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line { event: self, origin: Time::ZERO, width: 0 }.fmt(f)
    }
}

/// The text alone. What only the event around it knows (the role and the time after it) is left out: prefer to show the
/// [`Event`].
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text { kind: self, event: None }.fmt(f)
    }
}

/// Whether a story told in brief leaves the event out: writes, single requests, and what another event sums up.
/// Verdicts on candidates stay, and so does everything that failed.
#[must_use]
pub fn is_routine(kind: &EventKind) -> bool {
    match kind {
        EventKind::RequestSent { .. }
        | EventKind::RequestReceived { .. }
        | EventKind::RequestAnswered { .. }
        | EventKind::PersistStarted { .. }
        | EventKind::PersistEnded { .. }
        | EventKind::RecordAppended { .. }
        | EventKind::RecordAccepted { .. }
        | EventKind::QuorumReached { .. }
        | EventKind::Committed { .. } => true,
        EventKind::ReplyReceived { kind, verdict, late, .. } => match kind {
            RequestKind::PreVote | RequestKind::RequestVote => *late,
            RequestKind::AppendEntries | RequestKind::TimeoutNow | RequestKind::Resign => verdict.is_granted(),
        },
        EventKind::Started { .. }
        | EventKind::MembersAwaited { .. }
        | EventKind::Founded { .. }
        | EventKind::Named { .. }
        | EventKind::RoleChanged { .. }
        | EventKind::TermAdvanced { .. }
        | EventKind::LeaderChanged { .. }
        | EventKind::LeaderLost { .. }
        | EventKind::EvidenceFound { .. }
        | EventKind::ElectionStarted { .. }
        | EventKind::RoundStarted { .. }
        | EventKind::CallFailed { .. }
        | EventKind::RoundEnded { .. }
        | EventKind::ElectionEnded { .. }
        | EventKind::Elected { .. }
        | EventKind::RecordAdopted { .. }
        | EventKind::Established { .. }
        | EventKind::BecameExclusive { .. }
        | EventKind::LeadershipEnded { .. }
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

macro_rules! words {
    ($($name:ident { $($variant:ident $words:literal,)* })*) => {$(
        impl $name {
            /// It in words, as the notation writes it.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $($name::$variant => $words,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.words())
            }
        }
    )*};
}

words! {
    Role {
        Follower "follower",
        PreCandidate "pre-candidate",
        Candidate "candidate",
        Leader "leader",
        Stopped "stopped",
    }
    Trigger {
        ElectionTimeout "election timeout",
        ConnectionLost "connection closed",
        LeaderResigned "leader resigned",
        Transfer "transfer",
        Startup "no leader since start",
        Manual "by order",
    }
    Outcome {
        Won "won",
        Lost "lost",
        SplitVote "split vote",
        HigherTerm "higher term seen",
        PreVoteRefused "pre-vote refused",
        QuorumUnreachable "quorum unreachable",
        Superseded "superseded by a leader",
        Cancelled "cancelled",
    }
    LeadershipEnd {
        QuorumLost "quorum lost",
        NotEstablished "not established in time",
        HigherTerm "higher term seen",
        Resigned "resigned",
        Transferred "transferred",
        StorageStalled "storage stalled",
        Paused "paused past the lease",
        Removed "removed from the members",
        Shutdown "shutdown",
    }
    LossOfLeader {
        Timeout "timeout",
        ConnectionLost "connection closed",
        Resigned "resigned",
        HigherTerm "higher term seen",
        SteppedDown "stepped down",
        Campaign "campaign by order",
    }
    TransferOutcome {
        Completed "completed",
        CalledOff "called off",
        Failed "failed",
    }
    Alarm {
        AbsurdTerm "absurd term",
        WrongCluster "wrong cluster",
        DuplicateNode "duplicate node",
        UnknownNode "unknown node",
        ForeignRecord "record that no known member holds",
        DifferentTiming "different timing",
        UnsupportedVersion "unsupported version",
        Amnesiac "disk is not the one in the record",
        Equivocation "equivocation",
        NamingImpossible "too few disks left to name a new one",
        TermExhausted "terms used up",
        NotAMember "not a member of the cluster",
        Misaddressed "asks here for another node: an address is wrong in a list",
        OtherFounding "a cluster of this name that was founded apart",
    }
    RecordCause {
        NoOp "no-op",
        Proclaim "proclaim",
        Naming "naming",
        AddNonVoter "member without a vote",
        AddVoter "voter",
        Remove "removal",
    }
    Change {
        Add "addition",
        Remove "removal",
    }
    ChangeOutcome {
        Completed "completed",
        TimedOut "timed out",
        LeadershipEnded "ended with the leadership",
    }
}

impl fmt::Display for PersistCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PersistCause::Vote { .. } => "vote",
            PersistCause::OwnVote => "own vote",
            PersistCause::Record { .. } => "record",
            PersistCause::OwnRecord => "own record",
            PersistCause::Adoption => "adoption",
            PersistCause::Founding => "founding",
            PersistCause::Naming => "naming",
            PersistCause::Afresh => "afresh",
            PersistCause::PromiseMax => "longest promise",
            PersistCause::Term => "term",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

/// `granted`, or `refused: leader alive`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Granted => f.pad("granted"),
            Verdict::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

/// `153ms of 150..300`, and how long it really was if that differs.
impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |d: Duration| Millis(d).to_string().trim_end_matches("ms").to_owned();
        write!(f, "{} of {}..{}", Millis(self.drawn), bare(self.min), bare(self.max))?;
        if self.elapsed != self.drawn {
            write!(f, ", waited {}", Millis(self.elapsed))?;
        }
        Ok(())
    }
}

/// A verdict with the time that goes with it: what a refusal waits for, or what a granting voter owes to others.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The verdict.
    pub verdict: &'a Verdict,
    /// The time that remains; zero is not shown.
    pub remainder: Duration,
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        match (self.remainder.is_zero(), self.verdict) {
            (true, _) => Ok(()),
            (false, Verdict::Granted) => write!(f, ", {} owed to others", Millis(self.remainder)),
            (false, Verdict::Refused(_)) => write!(f, ", {} remain", Millis(self.remainder)),
        }
    }
}

/// The text of an event, with the event around it where there is one.
struct Text<'a> {
    kind: &'a EventKind,
    event: Option<&'a Event>,
}

impl fmt::Display for Text<'_> {
    // tidy: a table, one arm for each event
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EventKind as E;
        match self.kind {
            E::Started { amnesiac, quarantine, record } => self.started(f, *amnesiac, *quarantine, *record),
            E::MembersAwaited { missing } => write!(f, "waits for {}", Names(missing)),
            E::Founded { founding, members } => write!(f, "founded {founding}: {members} members"),
            E::Named { floor } => write!(f, "disk named, votes above {floor}"),
            E::RoleChanged { from } => match self.event {
                Some(event) => write!(f, "role {from} => {}", event.role),
                None => write!(f, "role was {from}"),
            },
            E::TermAdvanced { from } => match self.event {
                Some(event) => write!(f, "term {from} => {}", event.term),
                None => write!(f, "term was {from}"),
            },
            E::LeaderChanged { leader, election, leaderless_since } => {
                let term = Of(self.event.map(|event| event.term));
                write!(f, "leader {leader}{term} ({}){}", self.ago("leaderless", *leaderless_since), Trace(election))
            }
            E::LeaderLost { leader, leader_term, last_contact, cause } => {
                write!(f, "leader {leader} of {leader_term} lost: {cause}")?;
                // Who led itself was always in contact with the leader.
                let led = *cause == LossOfLeader::SteppedDown;
                if led { Ok(()) } else { write!(f, ", {}", self.ago("last heard", *last_contact)) }
            }
            E::EvidenceFound { leader, refused } => {
                let how = if *refused { "refused" } else { "failed" };
                write!(f, "connection to leader {leader} closed, reconnect {how}")
            }
            E::ElectionStarted { .. } => self.campaign(f),
            E::RoundStarted { pre_vote, round, asked_term, last, quorum, voters } => {
                let (ballot, last) = (Ballot(*pre_vote), Last(*last));
                write!(f, "{ballot} {asked_term} round {round}: {quorum} of {voters} needed{last}")
            }
            E::RequestSent { id, to, kind, asked_term } => write!(f, "-> {to}  {kind} {asked_term} {id}"),
            E::ReplyReceived { .. } => self.reply(f),
            E::CallFailed { id, to, kind, error } => {
                write!(f, "-> {to}  {kind} {id} failed: {}", OneLine(&error.to_string()))
            }
            E::QuorumReached { pre_vote, granted, quorum } => {
                write!(f, "{} quorum: {granted} granted, {quorum} needed", Ballot(*pre_vote))
            }
            E::RoundEnded { pre_vote, round, won, granted, denied, unanswered } => {
                let how = if *won { "won" } else { "not won" };
                write!(f, "{} round {round} {how}: {granted} granted, {denied} refused", Ballot(*pre_vote))?;
                if unanswered.is_empty() { Ok(()) } else { write!(f, ", {} silent", Names(unanswered)) }
            }
            E::ElectionEnded { outcome, rounds, retry_in } => {
                let plural = if *rounds == 1 { "round" } else { "rounds" };
                write!(f, "election over: {outcome} after {rounds} {plural}")?;
                retry_in.map_or(Ok(()), |wait| write!(f, ", retry in {}", Millis(wait)))
            }
            E::Elected { barrier } => {
                write!(f, "elected leader{}, ", Of(self.event.map(|event| event.term)))?;
                if barrier.is_zero() {
                    return f.write_str("nothing owed to former leaders");
                }
                write!(f, "{} owed to former leaders", Millis(*barrier))
            }
            E::RecordAppended { id, parent, cause } => write!(f, "record {id} appended to {parent} ({cause})"),
            E::RecordAccepted { id, parent, from } => write!(f, "record {id} accepted from {from}, was {parent}"),
            E::RecordAdopted { id, from } => write!(f, "record {id} adopted from {from}"),
            E::Committed { id } => write!(f, "record {id} committed"),
            E::Established { time_to_election, time_to_leadership, leaderless } => {
                let (election, leadership) = (Millis(*time_to_election), Millis(*time_to_leadership));
                write!(f, "established (election {election}, leadership {leadership}")?;
                leaderless.map_or(Ok(()), |gap| write!(f, ", leaderless {}", Millis(gap)))?;
                f.write_str(")")
            }
            E::BecameExclusive { after } => write!(f, "exclusive after {}", Millis(*after)),
            E::LeadershipEnded { cause, since, work_running } => {
                write!(f, "leadership over: {cause}, {}{}", self.ago("led for", *since), Work(*work_running))
            }
            E::GuardRevoked { cause, work_running } => {
                write!(f, "guard revoked{}{}", Unasked(*cause), Work(*work_running))
            }
            E::Resigned { resigned_term } => write!(f, "resigned {resigned_term}"),
            E::LeaderResigned { leader, resigned_term } => write!(f, "leader {leader} resigned {resigned_term}"),
            E::WorkStarted => write!(f, "work started{}", Under(self.event.map(|event| event.term))),
            E::WorkEnded { work_term } => write!(f, "work ended{}", Under(Some(*work_term))),
            E::ContentionChanged { contention, why } => {
                write!(f, "{}", contention.words())?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {}", OneLine(why)))
            }
            E::OfficeIdled { contention, since } => {
                write!(f, "leads, no work ({}), {}", contention.code(), self.ago("for", *since))
            }
            E::ChangeStarted { change, node } => write!(f, "{change} of {node} begins"),
            E::ChangeEnded { change, node, outcome } => write!(f, "{change} of {node} {outcome}"),
            E::MembersChanged { id, voters, non_voters } => {
                write!(f, "members of {id}: {}", Names(voters))?;
                if non_voters.is_empty() { Ok(()) } else { write!(f, ", without a vote {}", Names(non_voters)) }
            }
            E::TransferStarted { to } => write!(f, "transfer to {to}"),
            E::TransferEnded { to, outcome } => write!(f, "transfer to {to} {outcome}"),
            E::RequestReceived { call: _, id, from, kind, asked_term, context } => {
                write!(f, "<- {from}  {kind} {asked_term} {id}{}", Trace(context))
            }
            E::RequestAnswered { call: _, id, to, kind, asked_term, verdict, remainder, durable } => {
                let answer = Answer { verdict, remainder: *remainder };
                write!(f, "-> {to}  {kind} {asked_term} {id} {answer}")?;
                durable.map_or(Ok(()), |record| write!(f, ", holds {record}"))
            }
            E::PersistStarted { write, causes } => write!(f, "write {} ({})", write.0, Causes(causes)),
            E::PersistEnded { write } => write!(f, "write {} durable", write.0),
            E::PersistStalled { write, outstanding } => {
                write!(f, "write {} STALLED for {}", write.0, Millis(*outstanding))
            }
            E::PersistFailed { write, error } => write!(f, "write {} FAILED: {}", write.0, OneLine(error)),
            E::StorageHealed { failed_for, attempts } => {
                write!(f, "storage well again after {}, attempt {attempts}", Millis(*failed_for))
            }
            E::Paused { duration } => write!(f, "stood still for {}", Millis(*duration)),
            E::Alarmed { alarm, about } => {
                write!(f, "ALARM {alarm}")?;
                about.as_ref().map_or(Ok(()), |node| write!(f, ": {node}"))
            }
            E::Stopped { disk } => write!(f, "stopped, disk {disk}"),
        }
    }
}

impl Text<'_> {
    fn started(
        &self,
        f: &mut fmt::Formatter<'_>,
        amnesiac: bool,
        quarantine: Duration,
        record: Option<RecordId>,
    ) -> fmt::Result {
        f.write_str("started")?;
        self.event.map_or(Ok(()), |event| write!(f, " {} on disk {}", event.who.incarnation, event.who.disk))?;
        match record {
            Some(record) => write!(f, ", record {record}")?,
            None => f.write_str(", no record")?,
        }
        if amnesiac {
            f.write_str(", amnesiac: may not vote yet")?;
        }
        if quarantine.is_zero() { Ok(()) } else { write!(f, ", refuses votes for {}", Millis(quarantine)) }
    }

    fn campaign(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventKind::ElectionStarted { attempt, trigger, waited, previous, last_contact, call: _ } = self.kind else {
            return Ok(());
        };
        write!(f, "campaign {attempt} ({trigger}")?;
        let after = if *trigger == Trigger::ElectionTimeout { "" } else { " after" };
        waited.map_or(Ok(()), |waited| write!(f, "{after} {waited}"))?;
        f.write_str(")")?;
        match previous {
            Some((leader, term)) => write!(f, ", leader {leader} of {term}")?,
            None => f.write_str(", no leader before")?,
        }
        last_contact.map_or(Ok(()), |contact| write!(f, " {}", self.ago("last heard", contact)))
    }

    fn reply(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventKind::ReplyReceived { id, from, kind, verdict, reply_term, remainder, worked, late } = self.kind
        else {
            return Ok(());
        };
        let answer = Answer { verdict, remainder: *remainder };
        write!(f, "<- {from}  {kind} {id} {answer} (its term {reply_term}, worked {}", Millis(*worked))?;
        f.write_str(if *late { ", late)" } else { ")" })
    }

    fn ago(&self, what: &'static str, then: Time) -> Ago {
        Ago { what, then, now: self.event.map(|event| event.at) }
    }
}

#[cfg(test)]
mod tests;
