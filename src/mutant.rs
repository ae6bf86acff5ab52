//! Faults that the machine can be built with, to show that the nets catch them.
//!
//! Without `--cfg hustings_mutants` there is no switch and no code: [`on`] is a constant `false`. The package
//! `tests/mutants` builds these sources with it.

macro_rules! mutants {
    ($($(#[doc = $rule:literal])* $name:ident,)*) => {
        /// A rule that the machine forgets.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(not(hustings_mutants), expect(unreachable_pub, reason = "public where it can be switched on"))]
        pub enum Mutant { $($(#[doc = $rule])* $name,)* }

        #[cfg(hustings_mutants)]
        impl Mutant {
            /// Every fault.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// The property that it breaks, and how.
            #[must_use]
            pub fn rule(self) -> &'static str {
                match self { $(Mutant::$name => concat!($($rule),*).trim_ascii(),)* }
            }
        }
    };
}

mutants! {
    /// S2: the vote is no part of what is written.
    VolatileVote,
    /// S2: a vote is forgotten at a restart.
    SecondVoteAfterRestart,
    /// S3: a granted vote does not wait for the disk.
    VoteBeforeDurable,
    /// S3: a candidate leads before its own vote is durable.
    LeadsBeforeOwnVoteDurable,
    /// S12: `Persisted(n)` releases what waits for n + 1.
    PersistedReleasesNext,
    /// S12: a repeated request is told of a vote that is not durable yet.
    RepeatedVoteFromMemory,
    /// L5: a record counts as durable once it is in memory.
    RecordAckedFromMemory,
    /// D1: two starts of a disk have the same incarnation.
    IncarnationNotDurable,
    /// E8: after a failed write the node goes on.
    FailedWriteForgotten,
    /// D3: what failed to be written is written again, and then taken for durable.
    FailedWriteRetried,
    /// D3: the second slot is never a copy, so that rot loses what was acknowledged.
    SecondSlotNotCopied,
    /// D2: a disk that nothing names votes and promises.
    AmnesiacVotes,
    /// D2: a disk that nothing names promises.
    AmnesiacPromises,
    /// D2: the ack of a disk that is not cured counts.
    AmnesiacCounted,
    /// D2: a lost disk's successor votes before the record that names it is committed.
    NamedBeforeCommit,
    /// D2: the record that names a disk counts that disk's ack.
    NamingRecordCountsItsDisk,
    /// D2: a successor of the record that names a disk counts its ack, and the disk is not cured.
    SuccessorCountsNewDisk,
    /// D2: votes and acks count from any disk of a member, also from one that was replaced.
    ReplacedDiskCounted,
    /// D2: that a disk may vote is forgotten at a restart.
    NamingVolatile,
    /// D2: a new disk owes less than the longest promise that the configuration permits.
    SmallPromiseMax,
    /// E3: a restarted voter votes at once.
    NoQuarantine,
    /// E2: a new leader's heartbeat forgets what was promised to the old one.
    NewLeaderForgetsOldPromise,
    /// E2: a promise ends with the term in which it was given.
    PromiseDroppedOnHigherTerm,
    /// E2: an early grant does not say what the voter still owes.
    EarlyGrantWithoutRemainder,
    /// E1: a leader is exclusive before the remainders of its voters have passed.
    LeaseBeforeRemainder,
    /// E1: the lease counts from the receipt of an ack, and not from the sending of its heartbeat.
    LeaseFromReceipt,
    /// E1: the lease is as long as the promise, whatever the clocks do.
    LeaseWithoutMargin,
    /// E1: each ack lengthens the lease by what is asked for now, whatever it promised.
    OneLengthForAllAcks,
    /// E1: the grace of check-quorum counts as a lease.
    GraceCountsAsLease,
    /// E9: an input is handled at the time at which the one before it came.
    NowBeforeInput,
    /// E2: a resignation releases what is owed to others.
    ResignReleasesOthers,
    /// E5: `Resign` and `TimeoutNow` leave while work runs.
    ResignBeforeWorkEnded,
    /// E5: messages leave before the guard that they make void is revoked.
    ResignBeforeGuardRevoked,
    /// E5: a leader that steps down with work running does not owe itself its lease.
    OwnLeaseNotOwed,
    /// E5: the own lease is owed as if no clock ran faster or slower.
    OwnLeaseWithoutDrift,
    /// E5: with the own lease, what is owed to others is cleared.
    ClearOwnClearsOthers,
    /// E4: the guard still says yes after a hand-over began.
    TransferKeepsLease,
    /// E4: the candidate of a transfer is excused from every promise.
    TransferIgnoresPromises,
    /// E6: a leader whose lease lapsed stays, and its guard says yes again.
    LapsedGuardValid,
    /// E6: a lapse of the lease is noticed at the end of a window only.
    WindowedCheckQuorum,
    /// V5: any request of a voter counts as an answer to the newest heartbeat.
    AnyMessageCounts,
    /// E2: a connection that closed is evidence, also when the reconnect works.
    EvidenceWithoutReconnect,
    /// E2: a promise forbids nothing.
    PromiseIgnored,
    /// E2: a promise forbids no pre-vote.
    PreVoteIgnoresPromise,
    /// S6: votes are given to candidates with older records.
    RecordCheckIgnored,
    /// S5: a voter gives its vote of a term to a second candidate.
    SecondVote,
    /// S7: grants of an earlier round count.
    OldRoundCounted,
    /// S7: a candidate's own vote counts twice.
    SelfCountedTwice,
    /// S7: half of an even number is a quorum.
    QuorumOffByOne,
    /// S9: a pre-vote makes its voter enter the term.
    PreVoteBumpsTerm,
    /// S4: after the last term comes the first.
    TermWraps,
    /// S11: whoever names another cluster is heard.
    ClusterUnchecked,
    /// S13: whoever claims to hold a newer record is heard.
    StrangerAdmitted,
    /// S13: a record is taken from a message, whoever its members are.
    ForeignRecordAccepted,
    /// S13: a refusal tells strangers the founding, the timing and the term.
    StrangersTold,
    /// F1: a candidate asks again for votes of the term that it led.
    TokenNotIncreased,
    /// L4: a leader commits the record that it was elected with.
    OlderTermCommitted,
    /// E8: a leader is established without a no-op.
    NoNoOp,
    /// A1: a learned record is told before it is durable.
    AdoptedBeforeDurable,
    /// A1: every refusal carries a record, and it is taken over even where it is older.
    AdoptNotAhead,
    /// A1: a record is taken over without the term of its refuser.
    AdoptWithoutTerm,
    /// A1: a candidate and a leader take over a record, too.
    LeaderAdopts,
    /// V6: what is told of a leader looks newer each time it is told.
    HearsayRefreshes,
    /// L6: the members change before the leader has committed in its own term.
    ChangeBeforeCommit,
    /// L6: the members change before the leader is exclusive.
    ChangeBeforeExclusive,
    /// L5: what a member without a vote holds counts as held by a voter.
    NonVotersCounted,
    /// F2: work is not told that its leadership is lost.
    LossNotTold,
    /// E11: work that does not end is waited for without end.
    WorkNeverExpires,
    /// E1: work is polled on after its leadership has expired.
    ExpiredWorkGoesOn,
    /// E1: guards are told a later end of the lease than the core's.
    LeaseEndOverstated,
    /// E11: an office that is given up waits for its work beyond the drain limit.
    DrainLimitIgnored,
    /// E12: nobody learns that work has ended.
    WorkEndNotTold,
    /// Every call returns: who waits for a resignation is not answered.
    ResignNotAnswered,
    /// Every call returns: what was sent once counts as under way for ever.
    CallsNeverForgotten,
    /// A shutdown leaves nothing: the listener stays.
    ListenerLeftOpen,
    /// A shutdown leaves nothing: the storage may be in use when it returns.
    StorageNotAwaited,
    /// Health does not lie: a member that has stopped does not say so.
    EndNotTold,
    /// E12: a leader for which nobody works stays, whoever contends.
    IdleLeaderStays,
    /// E12: an answer says that its node contends, whatever it does.
    ContentionUnsaid,
    /// E12: who stands back is ranked before those that contend, and waits for nobody.
    IdleStandsFirst,
    /// E12: a node stands while its work of a former term runs.
    StandsWhileWorking,
    /// Another protocol: whoever times out campaigns at once, without a pre-vote.
    NoPreVote,
    /// Another protocol: a leader without a quorum stays.
    NoCheckQuorum,
    /// Another protocol: a leader gives its vote to a candidate of a later term.
    LeaderVotes,
    /// Another protocol: a pre-candidate does not take over the record of a refuser.
    NoAdoption,
    /// Another protocol: a leader steps down and says nothing.
    NoResignation,
    /// Another protocol: no ranks, and whoever lost a campaign waits for a whole new election timeout.
    NoSuccession,
}

#[cfg(hustings_mutants)]
impl Mutant {
    /// Not faults of this machine but the ways of other protocols: `benches/rivals` measures what they cost.
    pub const PROTOCOLS: &[Mutant] = &[
        Mutant::NoPreVote,
        Mutant::NoCheckQuorum,
        Mutant::LeaderVotes,
        Mutant::NoAdoption,
        Mutant::NoResignation,
        Mutant::NoSuccession,
    ];
}

#[cfg(hustings_mutants)]
thread_local! {
    /// A bit for each fault. A thread begins with the one that the environment names.
    static ON: std::cell::Cell<u128> = std::cell::Cell::new(chosen::bits());
}

/// From now on, on this thread, the machine has these faults and no other.
#[cfg(hustings_mutants)]
pub fn switch(mutants: &[Mutant]) {
    let bits = mutants.iter().fold(0, |bits, mutant| bits | mutant.bit());
    ON.with(|on| on.set(bits));
}

#[cfg(hustings_mutants)]
impl Mutant {
    const fn bit(self) -> u128 {
        1 << self as u32
    }
}

/// Whether the machine has this fault.
#[cfg(hustings_mutants)]
pub(crate) fn on(mutant: Mutant) -> bool {
    ON.with(|on| on.get() & mutant.bit() != 0)
}

/// Whether the machine has this fault: never.
#[cfg(not(hustings_mutants))]
#[inline]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}

#[cfg(hustings_mutants)]
mod chosen {
    use super::Mutant;

    /// The faults that `HUSTINGS_MUTANT` names, so that every test program can be run with them.
    pub(super) fn bits() -> u128 {
        let names = std::env::var("HUSTINGS_MUTANT").unwrap_or_default();
        let bit = |name: &str| {
            let mutant = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
            mutant.unwrap_or_else(|| panic!("HUSTINGS_MUTANT={name} is none of {:?}", Mutant::ALL)).bit()
        };
        names.split(',').filter(|name| !name.is_empty()).fold(0, |bits, name| bits | bit(name))
    }
}
