//! A search of our own beside `stateright`'s: breadth first, eight bytes a state and no paths. It says whether something
//! is wrong, and how large the space is; what led to it is for `stateright` to show.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::state::State;
use crate::{Protocol, World};
use stateright::{Expectation, Model};

/// What a search found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// How many states there are.
    pub states: usize,
    /// How many steps were taken.
    pub steps: usize,
    /// How many steps the farthest state is from the beginning.
    pub depth: usize,
    /// Whether every state was seen.
    pub complete: bool,
    /// Properties that do not hold.
    pub broken: BTreeSet<&'static str>,
    /// What was to be reached, and was.
    pub reached: BTreeSet<&'static str>,
    /// What was to be reached, and was not.
    pub missing: BTreeSet<&'static str>,
}

/// Visits every state, level by level, until a property breaks. `level_done` hears how many states the next level has.
pub fn search(protocol: &Protocol, mut level_done: impl FnMut(&Found, usize)) -> Found {
    let (mut always, mut sometimes) = (Vec::new(), Vec::new());
    for property in protocol.properties() {
        match property.expectation {
            Expectation::Always => always.push((property.name, property.condition)),
            _ => sometimes.push((property.name, property.condition)),
        }
    }
    let mut found = Found { missing: sometimes.iter().map(|(name, _)| *name).collect(), ..Found::default() };
    let beginning = protocol.setup.canonical(&protocol.setup.beginning()).pack();
    let mut seen: HashSet<u64, BuildHasherDefault<Identity>> = HashSet::default();
    seen.insert(fingerprint(&beginning));
    let mut level = vec![beginning];
    let mut steps = Vec::new();
    while !level.is_empty() {
        let mut next = Vec::new();
        for state in level.drain(..) {
            found.broken.extend(always.iter().filter(|(_, holds)| !holds(protocol, &state)).map(|(name, _)| *name));
            for (name, _) in sometimes.iter().filter(|(_, shows)| shows(protocol, &state)) {
                found.missing.remove(name);
                found.reached.insert(*name);
            }
            let world: World = state.unpack();
            protocol.setup.steps(&world, &mut steps);
            for step in steps.drain(..) {
                let after = protocol.setup.canonical(&protocol.setup.after(&world, step)).pack();
                found.steps += 1;
                if seen.insert(fingerprint(&after)) {
                    next.push(after);
                }
            }
        }
        found.states = seen.len();
        level_done(&found, next.len());
        if !found.broken.is_empty() {
            return found;
        }
        found.depth += usize::from(!next.is_empty());
        level = next;
    }
    found.complete = true;
    found
}

/// 64 bits of a state. Of n states two have the same with a probability of about n²/2⁶⁵: one in 3,700 for 10⁸.
fn fingerprint(state: &State) -> u64 {
    let mut mixed = 0x9e37_79b9_7f4a_7c15_u64;
    for word in state.words() {
        mixed = (mixed ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 29;
    }
    mixed
}

/// Fingerprints are mixed already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
