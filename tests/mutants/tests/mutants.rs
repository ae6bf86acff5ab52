//! Each rule of the machine, forgotten once: a net must notice, and soon. A net that catches nothing proves nothing.
//!
//! `cargo run --release -p hustings-mutants --bin table` tells of all nets, and after how many seeds each catches.

#![expect(clippy::duplicate_mod, reason = "each of the nets brings the bench it stands on")]

// The nets that are tests themselves: run once as they are, and once for each fault that only they catch.
#[path = "../../paper.rs"]
mod paper;
#[path = "../../rules.rs"]
mod rules;
#[path = "../../stories.rs"]
mod stories;

use std::process::{Command, Stdio};

use hustings::mutant::{Mutant, switch};
use hustings::sim::Detail;
use hustings::sim::stack;
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

/// Whether that test of this program fails with the fault.
fn fails(test: &str, mutant: Mutant) -> bool {
    let me = std::env::current_exe().expect("this program's path");
    let run = |mutant: &str| {
        let mut command = Command::new(&me);
        command.args(["--exact", test]).env("HUSTINGS_MUTANT", mutant);
        let output = command.stderr(Stdio::null()).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("running 1 test"), "{test} is no test: {text}");
        output.status.success()
    };
    assert!(run(""), "{test} holds without a fault");
    !run(&format!("{mutant:?}"))
}

macro_rules! seeds {
    ($($name:ident: $mutant:ident, $bias:ident, $seeds:literal, [$($property:literal),+];)*) => {
        $(
            #[test]
            fn $name() {
                let found = caught(Mutant::$mutant, Bias::$bias, $seeds);
                let Some((seed, property)) = found else { panic!("not caught by {} seeds", $seeds) };
                assert!([$($property),+].contains(&property), "seed {seed} caught it as {property}");
            }
        )*

        const BY_SEEDS: &[Mutant] = &[$(Mutant::$mutant,)*];
    };
}

/// Runs seeds of the whole stack until a property does not hold; which one it is.
fn caught_by_stack(mutant: Mutant, seeds: u64) -> Option<(u64, &'static str)> {
    switch(&[mutant]);
    let caught = (0..seeds).find_map(|seed| {
        let report = stack::run(seed, Detail::Hash);
        report.violation.map(|violation| (seed, violation.property))
    });
    switch(&[]);
    caught
}

macro_rules! stack {
    ($($name:ident: $mutant:ident, $seeds:literal, [$($property:literal),+];)*) => {
        $(
            #[test]
            fn $name() {
                let found = caught_by_stack(Mutant::$mutant, $seeds);
                let Some((seed, property)) = found else { panic!("not caught by {} seeds", $seeds) };
                assert!([$($property),+].contains(&property), "seed {seed} caught it as {property}");
            }
        )*

        const BY_STACK: &[Mutant] = &[$(Mutant::$mutant,)*];
    };
}

macro_rules! tests {
    ($($name:ident: $mutant:ident, $test:literal;)*) => {
        $(
            #[test]
            fn $name() {
                assert!(fails($test, Mutant::$mutant), "{} holds with that fault", $test);
            }
        )*

        const BY_TESTS: &[Mutant] = &[$(Mutant::$mutant,)*];
    };
}

seeds! {
    // Votes and disks
    a_vote_that_is_not_written: VolatileVote, Disks, 20, ["S3"];
    a_vote_forgotten_at_a_restart: SecondVoteAfterRestart, Promises, 400, ["S2"];
    a_vote_before_it_is_durable: VoteBeforeDurable, Disks, 20, ["S3"];
    an_office_before_the_own_vote_is_durable: LeadsBeforeOwnVoteDurable, Disks, 50, ["S3"];
    a_write_that_releases_the_next: PersistedReleasesNext, Disks, 20, ["S3"];
    a_repeated_vote_answered_from_memory: RepeatedVoteFromMemory, Disks, 50, ["S3"];
    a_record_acked_from_memory: RecordAckedFromMemory, Disks, 50, ["S3", "L5"];
    an_incarnation_that_is_not_durable: IncarnationNotDurable, Disks, 100, ["D1"];
    a_failed_write_forgotten: FailedWriteForgotten, Disks, 100, ["E8", "S3", "L5", "V9"];
    a_failed_write_tried_again: FailedWriteRetried, Disks, 100, ["E8", "S3", "V9"];
    a_second_slot_that_is_never_a_copy: SecondSlotNotCopied, None, 200, ["D3", "D2"];
    // Naming
    an_amnesiac_that_votes: AmnesiacVotes, Disks, 50, ["D2", "V1"];
    an_amnesiac_that_promises: AmnesiacPromises, Disks, 50, ["D2"];
    an_amnesiac_that_is_counted: AmnesiacCounted, Disks, 100, ["L5"];
    a_disk_named_before_its_record_is_committed: NamedBeforeCommit, Disks, 50, ["D2"];
    a_naming_record_that_counts_its_own_disk: NamingRecordCountsItsDisk, Disks, 200, ["L5"];
    a_successor_that_counts_a_disk_not_yet_cured: SuccessorCountsNewDisk, Disks, 200, ["L5"];
    a_replaced_disk_that_is_counted: ReplacedDiskCounted, Disks, 100, ["D2", "L5", "S7", "S10", "V1"];
    a_naming_that_is_forgotten: NamingVolatile, Disks, 50, ["V1", "V11", "D2"];
    a_new_disk_with_a_small_promise: SmallPromiseMax, Disks, 50, ["D2"];
    // Promises and leases
    no_quarantine: NoQuarantine, Promises, 50, ["E3", "E2"];
    a_new_leader_that_forgets_an_old_promise: NewLeaderForgetsOldPromise, Promises, 200, ["E1", "E2"];
    a_promise_dropped_with_its_term: PromiseDroppedOnHigherTerm, Promises, 50, ["E2"];
    an_early_grant_without_its_remainder: EarlyGrantWithoutRemainder, Promises, 50, ["E2"];
    a_lease_before_the_remainder_has_passed: LeaseBeforeRemainder, Promises, 50, ["E1"];
    a_lease_from_the_receipt: LeaseFromReceipt, Promises, 20, ["E1"];
    a_lease_without_margin: LeaseWithoutMargin, Promises, 20, ["E1"];
    one_length_for_all_acks: OneLengthForAllAcks, Promises, 200, ["E1"];
    a_grace_that_counts_as_a_lease: GraceCountsAsLease, Promises, 20, ["E1", "E8"];
    a_clock_read_before_the_input: NowBeforeInput, Promises, 50, ["E1", "E2", "E6"];
    a_resignation_that_releases_others: ResignReleasesOthers, Promises, 200, ["E1", "E2"];
    a_resignation_before_the_work_has_ended: ResignBeforeWorkEnded, Promises, 50, ["E5"];
    a_resignation_before_the_guard_is_revoked: ResignBeforeGuardRevoked, Promises, 20, ["E5"];
    an_own_lease_that_is_not_owed: OwnLeaseNotOwed, Promises, 400, ["E2"];
    an_own_lease_without_drift: OwnLeaseWithoutDrift, Promises, 400, ["E2"];
    a_transfer_that_keeps_the_lease: TransferKeepsLease, Promises, 200, ["E4"];
    a_lapsed_guard_that_says_yes_again: LapsedGuardValid, Promises, 50, ["E6"];
    check_quorum_by_windows: WindowedCheckQuorum, Promises, 50, ["E6"];
    check_quorum_that_counts_any_message: AnyMessageCounts, Promises, 50, ["E1"];
    evidence_without_a_reconnect: EvidenceWithoutReconnect, Promises, 50, ["E2"];
    a_promise_that_forbids_nothing: PromiseIgnored, Promises, 50, ["E2"];
    a_pre_vote_that_ignores_a_promise: PreVoteIgnoresPromise, Promises, 50, ["E2"];
    // Elections
    the_record_check_ignored: RecordCheckIgnored, None, 50, ["S6"];
    a_second_vote_in_a_term: SecondVote, None, 50, ["S5", "S2"];
    grants_of_an_old_round_counted: OldRoundCounted, None, 50, ["S7", "S10"];
    an_own_vote_that_counts_twice: SelfCountedTwice, None, 20, ["S7", "S10"];
    half_an_even_number_as_a_quorum: QuorumOffByOne, None, 50, ["S7", "S10"];
    a_pre_vote_that_raises_the_term: PreVoteBumpsTerm, None, 20, ["S9"];
    a_cluster_id_that_is_not_checked: ClusterUnchecked, None, 50, ["S11"];
    a_stranger_admitted_on_its_word: StrangerAdmitted, None, 100, ["S11", "S13"];
    a_record_of_a_stranger_taken: ForeignRecordAccepted, None, 100, ["S13", "L1"];
    a_token_that_does_not_increase: TokenNotIncreased, Promises, 50, ["F1", "V1"];
    hearsay_that_refreshes_itself: HearsayRefreshes, Promises, 200, ["V6"];
    // Records
    a_commit_of_an_older_terms_record: OlderTermCommitted, None, 20, ["L4", "L6", "E8"];
    no_no_op: NoNoOp, None, 20, ["E8"];
    a_learned_record_told_before_it_is_durable: AdoptedBeforeDurable, Disks, 400, ["A1"];
    a_record_adopted_that_is_not_ahead: AdoptNotAhead, None, 50, ["A1", "L2"];
    a_record_adopted_without_its_term: AdoptWithoutTerm, None, 100, ["S8", "A1"];
}

// What surrounds the machine: driver, elector, transport.
stack! {
    a_loss_that_is_not_told: LossNotTold, 300, ["F2", "bounded"];
    work_that_never_expires: WorkNeverExpires, 300, ["E1", "E11"];
    expired_work_that_goes_on: ExpiredWorkGoesOn, 300, ["E1", "E11", "E12"];
    a_lease_whose_end_is_overstated: LeaseEndOverstated, 300, ["E1"];
    a_drain_limit_that_is_ignored: DrainLimitIgnored, 300, ["E11"];
    an_end_of_work_that_is_not_told: WorkEndNotTold, 300, ["E12"];
    a_resignation_that_is_not_answered: ResignNotAnswered, 300, ["bounded"];
    calls_that_are_never_forgotten: CallsNeverForgotten, 300, ["V1"];
    a_listener_that_is_left_open: ListenerLeftOpen, 300, ["shutdown"];
    a_storage_that_is_not_awaited: StorageNotAwaited, 300, ["shutdown"];
    an_end_that_is_not_told: EndNotTold, 300, ["shutdown"];
}

tests! {
    an_own_lease_cleared_with_what_is_owed_to_others: ClearOwnClearsOthers,
        "rules::lease::ended_work_clears_nothing_that_is_owed_to_a_former_leader";
    a_transfer_that_ignores_every_promise: TransferIgnoresPromises,
        "paper::disruption::the_successor_of_a_transfer_is_not_refused_for_the_leaders_sake";
    a_term_that_wraps: TermWraps, "rules::durability::the_last_term_does_not_wrap";
    a_membership_change_before_the_own_commit: ChangeBeforeCommit,
        "rules::membership::a_change_waits_for_the_record_in_flight";
    a_membership_change_before_exclusive: ChangeBeforeExclusive,
        "rules::membership::only_an_exclusive_leader_changes_the_members";
    a_refusal_that_tells_strangers_how_to_speak: StrangersTold,
        "rules::strangers::strangers_learn_nothing_from_refusals";
    an_idle_leader_that_stays: IdleLeaderStays, "rules::contention::a_leader_without_work_hands_over";
    an_answer_that_does_not_say: ContentionUnsaid, "rules::contention::acknowledgements_say_who_contends";
    an_idle_node_that_stands_first: IdleStandsFirst, "rules::contention::contenders_are_ranked_first";
    former_work_that_stands_again: StandsWhileWorking, "rules::contention::a_node_with_former_work_does_not_stand";
    non_voters_counted: NonVotersCounted, "rules::strangers::non_voters_do_not_count";
    a_leader_that_adopts: LeaderAdopts, "rules::learning::only_a_pre_candidate_adopts";
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

/// A fault that nobody looks for may survive. What makes another protocol is measured, and breaks no property of its own.
#[test]
fn every_fault_is_looked_for() {
    let looked_for = |mutant: &&Mutant| {
        Mutant::PROTOCOLS.contains(mutant)
            || BY_SEEDS.contains(mutant)
            || BY_STACK.contains(mutant)
            || BY_TESTS.contains(mutant)
    };
    let forgotten: Vec<&Mutant> = Mutant::ALL.iter().filter(|mutant| !looked_for(mutant)).collect();
    assert!(forgotten.is_empty(), "no net above is for {forgotten:?}");
}
