//! `cargo run --release -p hustings-mutants --bin lease_rates [SEEDS [FIRST]]`: how often the adversary catches each fault of
//! promises and leases, in so many seeds (10,000 unless told). Two figures: seeds that break any rule, and seeds in which
//! two nodes are in truth alone at one time while no other rule is held.

#![expect(clippy::print_stdout, reason = "the table is what was asked for")]

use std::collections::BTreeMap;

use hustings::mutant::{Mutant, switch};
use hustings::sim::Detail;
use hustings::sim::adversary::{run, run_for_overlaps};
use hustings::sim::swarm::Report;

/// The lease list of the properties.
const LEASES: [Mutant; 24] = [
    Mutant::PreVoteIgnoresPromise,
    Mutant::PromiseIgnored,
    Mutant::EarlyGrantWithoutRemainder,
    Mutant::LeaseBeforeRemainder,
    Mutant::NewLeaderForgetsOldPromise,
    Mutant::ResignReleasesOthers,
    Mutant::OwnLeaseNotOwed,
    Mutant::OneLengthForAllAcks,
    Mutant::LapsedGuardValid,
    Mutant::NowBeforeInput,
    Mutant::OwnLeaseWithoutDrift,
    Mutant::ResignBeforeWorkEnded,
    Mutant::ClearOwnClearsOthers,
    Mutant::GraceCountsAsLease,
    Mutant::TransferIgnoresPromises,
    Mutant::EvidenceWithoutReconnect,
    Mutant::LeaseFromReceipt,
    Mutant::LeaseWithoutMargin,
    Mutant::NoQuarantine,
    Mutant::PromiseDroppedOnHigherTerm,
    Mutant::TransferKeepsLease,
    Mutant::ResignBeforeGuardRevoked,
    Mutant::SmallPromiseMax,
    Mutant::AnyMessageCounts,
];

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let (seeds, first) = (args.next().unwrap_or(10_000), args.next().unwrap_or(0));
    println!("of {seeds} seeds from {first}        any rule  first      overlaps  first   rules");
    for mutant in LEASES {
        switch(&[mutant]);
        let (any, first_any, rules) = hits(first, seeds, run);
        let (overlaps, first_overlap, _) = hits(first, seeds, run_for_overlaps);
        let name = format!("{mutant:?}");
        println!("{name:<28} {any:>7} {first_any:>7}      {overlaps:>7} {first_overlap:>7}   {rules:?}");
    }
}

/// How many seeds catch it, the first that does, and how often each rule does.
fn hits(first: u64, seeds: u64, run: fn(u64, Detail) -> Report) -> (u64, String, BTreeMap<&'static str, u64>) {
    let (mut count, mut earliest, mut rules) = (0, None, BTreeMap::new());
    for seed in first..first + seeds {
        if let Some(violation) = run(seed, Detail::Hash).violation {
            count += 1;
            earliest.get_or_insert(seed);
            *rules.entry(violation.property).or_default() += 1;
        }
    }
    (count, earliest.map_or_else(|| "-".to_owned(), |seed| seed.to_string()), rules)
}
