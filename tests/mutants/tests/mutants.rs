//! Each rule of the machine, forgotten once: the simulator must notice. A net that catches nothing proves nothing.

#[path = "../../paper.rs"]
mod paper;
#[path = "../../rules.rs"]
mod rules;
#[path = "../../stories.rs"]
mod stories;

use hustings::mutant::{Mutant, switch};
use hustings::sim::Detail;
use hustings::sim::swarm::{self, Bias};

/// Runs seeds of that bias until a property does not hold; which one it is.
fn caught(mutant: Mutant, bias: Bias, seeds: u64) -> Option<(u64, &'static str)> {
    switch(&[mutant]);
    let caught = (0..seeds).find_map(|seed| {
        let report = swarm::run(seed, bias, Detail::Hash);
        report.violation.map(|violation| (seed, violation.property))
    });
    switch(&[]);
    caught
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident, $bias:ident, $seeds:literal, [$($property:literal),+];)*) => {
        $(
            #[test]
            fn $name() {
                let found = caught(Mutant::$mutant, Bias::$bias, $seeds);
                let Some((seed, property)) = found else { panic!("not caught by {} seeds", $seeds) };
                assert!([$($property),+].contains(&property), "seed {seed} caught it as {property}");
            }
        )*
    };
}

mutants! {
    // Disks
    a_vote_forgotten_at_a_restart: SecondVoteAfterRestart, Disks, 200, ["S2"];
    a_vote_before_it_is_durable: VoteBeforeDurable, Disks, 20, ["S3"];
    an_office_before_the_own_vote_is_durable: LeadsBeforeOwnVoteDurable, Disks, 50, ["S3"];
    a_write_that_releases_the_next: PersistedReleasesNext, Disks, 20, ["S3"];
    a_record_acked_from_memory: RecordAckedFromMemory, Disks, 50, ["S3", "L5"];
    a_failed_write_forgotten: FailedWriteForgotten, Disks, 100, ["E8", "S3"];
    an_amnesiac_that_votes: AmnesiacVotes, Disks, 50, ["D2"];
    an_amnesiac_that_is_counted: AmnesiacCounted, Disks, 100, ["L5"];
    a_disk_named_before_its_record_is_committed: NamedBeforeCommit, Disks, 50, ["D2"];
    a_learned_record_told_before_it_is_durable: AdoptedBeforeDurable, Disks, 400, ["A1"];
    // Promises
    no_quarantine: NoQuarantine, Promises, 50, ["E3", "E2"];
    a_new_leader_that_forgets_an_old_promise: NewLeaderForgetsOldPromise, Promises, 200, ["E1", "E2"];
    an_early_grant_without_its_remainder: EarlyGrantWithoutRemainder, Promises, 50, ["E2"];
    a_lease_before_the_remainder_has_passed: LeaseBeforeRemainder, Promises, 50, ["E1"];
    a_lease_from_the_receipt: LeaseFromReceipt, Promises, 20, ["E1"];
    a_lease_without_margin: LeaseWithoutMargin, Promises, 20, ["E1"];
    a_resignation_that_releases_others: ResignReleasesOthers, Promises, 200, ["E1", "E2"];
    a_resignation_before_the_work_has_ended: ResignBeforeWorkEnded, Promises, 50, ["E5"];
    an_own_lease_that_is_not_owed: OwnLeaseNotOwed, Promises, 400, ["E2"];
    a_transfer_that_keeps_the_lease: TransferKeepsLease, Promises, 200, ["E4"];
    a_lapsed_guard_that_says_yes_again: LapsedGuardValid, Promises, 50, ["E6"];
    evidence_without_a_reconnect: EvidenceWithoutReconnect, Promises, 50, ["E2"];
    a_promise_that_forbids_nothing: PromiseIgnored, Promises, 50, ["E2"];
    // Votes
    the_record_check_ignored: RecordCheckIgnored, None, 50, ["S6"];
    grants_of_an_old_round_counted: OldRoundCounted, None, 50, ["S7", "S10"];
    half_an_even_number_as_a_quorum: QuorumOffByOne, None, 50, ["S7", "S10"];
    a_pre_vote_that_raises_the_term: PreVoteBumpsTerm, None, 20, ["S9"];
}

/// The nets are quiet where nothing is wrong: what they catch above is the fault.
#[test]
fn without_a_fault_nothing_is_caught() {
    for bias in [Bias::Promises, Bias::Disks] {
        for seed in 0..200 {
            let report = swarm::run(seed, bias, Detail::Hash);
            assert!(report.violation.is_none(), "{bias:?}: {report}");
        }
    }
}
