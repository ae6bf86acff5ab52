//! Small bounds, every state; and every rule forgotten once.

use std::collections::BTreeSet;

use hustings_model::properties::{self as ask, HARM};
use hustings_model::{Fault, Protocol, Setup, State, explore};
use stateright::{Checker, HasDiscoveries, Model};

/// Every state within those bounds: what must hold holds, and what must be reached is. Returns how many there are.
fn complete(setup: Setup) -> usize {
    let checker = Protocol::new(setup).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn two_terms_and_any_number_of_crashes() {
    let states = complete(Setup { crashes: None, ..Setup::new(2) });
    assert!(states > 400_000, "{states}");
}

#[test]
fn three_terms_and_a_crash() {
    let states = complete(Setup { crashes: Some(1), prompt: true, symmetry: true, witness: true, ..Setup::new(3) });
    assert!(states > 150_000, "{states}");
}

#[test]
fn a_lost_disk() {
    let states = complete(Setup { crashes: Some(1), wipes: 1, records: 2, prompt: true, ..Setup::new(2) });
    assert!(states > 250_000, "{states}");
}

#[test]
fn a_lost_disk_between_any_two_steps() {
    let states = complete(Setup { wipes: 1, records: 2, ..Setup::new(2) });
    assert!(states > 500_000, "{states}");
}

#[test]
fn a_voter_more_or_less() {
    let setup = Setup { spare: true, changes: 1, records: 2, prompt: true, symmetry: true, ..Setup::new(2) };
    complete(setup);
}

#[test]
fn two_changes_among_four() {
    let setup = Setup { voters: 4, changes: 2, records: 2, prompt: true, symmetry: true, ..Setup::new(2) };
    complete(setup);
}

/// The states are those of `stateright`; with symmetry, one of each that differ only in names.
#[test]
fn two_searches_count_alike() {
    let setup = Setup::new(2);
    let plain = complete(setup.clone());
    let ours = explore::search(&Protocol::new(setup.clone()), |_, _| {});
    assert_eq!((ours.states, ours.broken.len(), ours.missing.len()), (plain, 0, 0));

    let symmetric = Setup { symmetry: true, ..setup.clone() };
    let canonical: BTreeSet<State> =
        every_state(&setup).iter().map(|state| symmetric.canonical(&state.unpack()).pack()).collect();
    assert_eq!(every_state(&symmetric), canonical);
}

fn every_state(setup: &Setup) -> BTreeSet<State> {
    let protocol = Protocol::new(setup.clone());
    let mut ahead = protocol.init_states();
    let mut seen: BTreeSet<State> = ahead.iter().copied().collect();
    let mut steps = Vec::new();
    while let Some(state) = ahead.pop() {
        protocol.actions(&state, &mut steps);
        for step in steps.drain(..) {
            let after = protocol.next_state(&state, step);
            ahead.extend(after.filter(|after| seen.insert(*after)));
        }
    }
    seen
}

/// Forgets that rule, and goes on until one of those properties is broken.
fn broken(fault: Fault, setup: Setup, expected: &[&'static str]) -> bool {
    let until = HasDiscoveries::AnyOf(expected.iter().copied().collect());
    let model = Protocol::new(Setup { fault: Some(fault), ..setup });
    let checker = model.checker().finish_when(until).spawn_bfs().join();
    let found = checker.discoveries();
    expected.iter().any(|name| found.contains_key(name))
}

macro_rules! faults {
    ($($name:ident: $fault:ident, $setup:expr;)*) => {
        $(
            #[test]
            fn $name() {
                assert!(broken(Fault::$fault, $setup, &HARM), "nothing that a user sees was broken");
            }
        )*
    };
}

/// Two terms and a lost disk that is named again.
fn lost_disk() -> Setup {
    Setup { wipes: 1, records: 2, ..Setup::new(2) }
}

/// Four voters, whose quorums are of three; `candidates` says who may stand in each term, so that the search ends soon.
fn four(terms: u8, changes: u8, candidates: [u8; 4]) -> Setup {
    Setup { voters: 4, changes, records: 2, prompt: true, candidates, ..Setup::new(terms) }
}

faults! {
    a_vote_forgotten_at_a_restart: VolatileVote, Setup { crashes: Some(1), ..Setup::new(2) };
    a_vote_before_it_is_durable: VoteBeforeDurable, Setup { crashes: Some(1), ..Setup::new(2) };
    an_office_before_the_own_vote_is_durable: LeadsBeforeOwnVoteDurable, Setup { crashes: Some(1), ..Setup::new(2) };
    the_record_check_ignored: RecordCheckIgnored, Setup::new(2);
    grants_of_an_old_round_counted: OldRoundCounted, Setup::new(2);
    half_an_even_number_as_a_quorum: HalfIsAQuorum, Setup { voters: 4, prompt: true, ..Setup::new(2) };
    a_removed_voter_counted: NonVoterCounted, four(2, 1, [1, 0b101, 0, 0]);
    a_record_of_an_older_term_committed: OlderTermCommitted, Setup { prompt: true, candidates: [1, 2, 1, 2], ..Setup::new(4) };
    a_record_acked_from_memory: AckFromMemory, Setup { crashes: Some(1), ..Setup::new(2) };
    an_own_copy_counted_from_memory: OwnCopyCountedFromMemory, Setup { crashes: Some(1), ..Setup::new(2) };
    a_change_before_the_own_commit: ChangeBeforeCommit, four(3, 2, [1, 2, 1, 0]);
    a_record_adopted_that_is_not_ahead: BackwardAdoption, Setup::new(2);
    a_leader_that_adopts: LeaderAdopts, Setup::new(2);
    an_amnesiac_that_votes: AmnesiacVotes, lost_disk();
    a_naming_record_that_counts_itself: NamingCountsItself, lost_disk();
    a_disk_named_before_its_record_is_committed: NamedBeforeCommit, lost_disk();
    // With fewer than five voters, who elect a leader after the naming are too many for one who was elected before.
    a_successor_that_counts_an_uncured_disk: SuccessorCountsNamed,
        Setup { voters: 5, wipes: 1, lost: 16, records: 2, prompt: true, candidates: [1, 1, 2, 0], ..Setup::new(3) };
}

/// S8 is broken at once. What follows from it is nothing here: votes and acks ask for the term themselves.
#[test]
fn a_record_adopted_without_its_term() {
    assert!(broken(Fault::AdoptionWithoutTerm, Setup::new(2), &[ask::TERM_COVERS]));
}

/// The term above which a new disk votes is a second net. The first is that a grant counts only from the disk that the
/// candidate's record names: whoever asks the new disk in the term of its naming holds a record that names the old one.
#[test]
fn a_floor_ignored_does_no_harm_alone() {
    assert!(!broken(Fault::FloorIgnored, lost_disk(), &HARM));
}
