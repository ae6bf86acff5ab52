//! Faults that the machine can be built with, to show that the nets catch them.
//!
//! Without `--cfg hustings_mutants` there is no switch and no code: [`on`] is a constant `false`. The package
//! `tests/mutants` builds these sources with it.

/// A rule that the machine forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(hustings_mutants), expect(unreachable_pub, reason = "public where it can be switched on"))]
pub enum Mutant {
    /// S2: a vote is forgotten at a restart.
    VolatileVote,
    /// S3: a granted vote does not wait for the disk.
    VoteBeforeDurable,
    /// S3: a candidate leads before its own vote is durable.
    LeadsBeforeOwnVoteDurable,
    /// S12: `Persisted(n)` releases what waits for n + 1.
    PersistedReleasesNext,
    /// L5: a record counts as durable once it is in memory.
    RecordAckedFromMemory,
    /// E8: after a failed write the node goes on.
    FailedWriteForgotten,
    /// D2: a disk that nothing names votes and promises.
    AmnesiacVotes,
    /// D2: the ack of a disk that is not cured counts.
    AmnesiacCounted,
    /// D2: a lost disk's successor votes before the record that names it is committed.
    NamedBeforeCommit,
    /// E3: a restarted voter votes at once.
    NoQuarantine,
    /// E2: a new leader's heartbeat forgets what was promised to the old one.
    NewLeaderForgetsOldPromise,
    /// E2: an early grant does not say what the voter still owes.
    EarlyGrantWithoutRemainder,
    /// E1: a leader is exclusive before the remainders of its voters have passed.
    LeaseBeforeRemainder,
    /// E1: the lease counts from the receipt of an ack, and not from the sending of its heartbeat.
    LeaseFromReceipt,
    /// E1: the lease is as long as the promise, whatever the clocks do.
    LeaseWithoutMargin,
    /// E2: a resignation releases what is owed to others.
    ResignReleasesOthers,
    /// E5: `Resign` and `TimeoutNow` leave while work runs.
    ResignBeforeWorkEnded,
    /// E5: a leader that steps down with work running does not owe itself its lease.
    OwnLeaseNotOwed,
    /// E4: the guard still says yes after a hand-over began.
    TransferKeepsLease,
    /// E6: a leader whose lease lapsed stays, and its guard says yes again.
    LapsedGuardValid,
    /// E2: a connection that closed is evidence, also when the reconnect works.
    EvidenceWithoutReconnect,
    /// E2: a promise forbids nothing.
    PromiseIgnored,
    /// S6: votes are given to candidates with older records.
    RecordCheckIgnored,
    /// S7: grants of an earlier round count.
    OldRoundCounted,
    /// S7: half of an even number is a quorum.
    QuorumOffByOne,
    /// S9: a pre-vote makes its voter enter the term.
    PreVoteBumpsTerm,
    /// A1: a learned record is told before it is durable.
    AdoptedBeforeDurable,
    /// L6: the members change before the leader has committed in its own term.
    ChangeBeforeCommit,
    /// L6: the members change before the leader is exclusive.
    ChangeBeforeExclusive,
    /// L5: what a member without a vote holds counts as held by a voter.
    NonVotersCounted,
}

#[cfg(hustings_mutants)]
thread_local! {
    /// A bit for each fault.
    static ON: std::cell::Cell<u128> = const { std::cell::Cell::new(0) };
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
