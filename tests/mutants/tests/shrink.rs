//! A failing seed becomes a short story, which fails for the fault's sake and for nothing else.

use hustings::mutant::{Mutant, switch};
use hustings::sim::Detail;
use hustings::sim::shrink::shrink;
use hustings::sim::story::Story;
use hustings::sim::swarm::{self, Bias};

/// Looks for a seed that the fault fails, and makes its story short.
fn shrinks(mutant: Mutant, bias: Bias) {
    switch(&[mutant]);
    let fails = |seed: &u64| swarm::run(*seed, bias, Detail::Hash).violation.is_some();
    let seed = (0..500).find(fails).expect("some seed fails");
    let shrunk = shrink(seed, bias, 2000).expect("the seed fails");
    let story = Story::parse("shrunk", &shrunk.story).unwrap_or_else(|error| panic!("{error}\n{}", shrunk.story));
    let with = story.run().violation;
    switch(&[]);
    let without = story.run().violation;
    assert_eq!(with.map(|violation| violation.property), Some(shrunk.property), "{}", shrunk.story);
    assert_eq!(without, None, "{}", shrunk.story);
    assert!(shrunk.commands <= 25, "{} commands of {}\n{}", shrunk.commands, shrunk.commands_before, shrunk.story);
}

#[test]
fn a_record_acked_from_memory_becomes_a_short_story() {
    shrinks(Mutant::RecordAckedFromMemory, Bias::Disks);
}

#[test]
fn a_lease_without_margin_becomes_a_short_story() {
    shrinks(Mutant::LeaseWithoutMargin, Bias::Promises);
}

#[test]
fn half_an_even_number_as_a_quorum_becomes_a_short_story() {
    shrinks(Mutant::QuorumOffByOne, Bias::None);
}
