//! What must hold in every state, and what must be reached in some.

use std::sync::atomic::Ordering;

use stateright::Property;

use crate::state::{FIRST, Hard, RecordId, Reign, Role, Server, State, TERMS_MAX, World, place_of, record_id, term_of};
use crate::{Protocol, Setup};

/// A rule that a step can break; the state remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// Two leaders of one term.
    S1,
    /// A disk granted two votes in one term.
    S2,
    /// A durable vote changed within its term, or the term decreased (S4, S5).
    S5,
    /// Two records of one name.
    L1,
    /// The record of a disk became an older one.
    L2,
    /// A leader committed a record of another's term.
    L4,
    /// A record was committed that no quorum of disks holds.
    L5,
    /// A second change of members was in flight.
    L6,
    /// A disk that is amnesiac voted.
    D2,
}

/// S1 in every state and over the whole history.
pub const ONE_LEADER: &str = "S1 one leader per term";
/// L3.
pub const CONTAINED: &str = "L3 what is committed is contained in the records of later leaders";
/// L3 for the committed records alone.
pub const ONE_HISTORY: &str = "no two committed records conflict";
/// S2.
pub const ONE_VOTE: &str = "S2 one vote per disk and term";
/// S5.
pub const VOTE_STAYS: &str = "S4, S5 durable term and vote";
/// S8.
pub const TERM_COVERS: &str = "S8 no record is of a later term than its holder";
/// L1.
pub const ONE_CONTENT: &str = "L1 one content per record";
/// L2.
pub const RECORD_STAYS: &str = "L2 the record never becomes an older one";
/// L4.
pub const OWN_TERM: &str = "L4 a leader commits records of its own term";
/// L5.
pub const DURABLE: &str = "L5 what is committed is durable on a quorum";
/// L6.
pub const ONE_CHANGE: &str = "L6 one change in flight, and quorums of neighbours meet";
/// D2.
pub const NAMED_VOTERS: &str = "D2 an amnesiac does not vote";

/// The properties of the safety that users see: a model that breaks a rule must sooner or later break one of these.
pub const HARM: [&str; 3] = [ONE_LEADER, CONTAINED, ONE_HISTORY];

type Condition = fn(&Protocol, &State) -> bool;
type Expected = fn(&Setup) -> bool;

/// What must hold in every state.
const ALWAYS: &[(&str, Condition)] = &[
    (ONE_LEADER, |_, state| {
        let world = state.unpack();
        let twice = |(at, term)| world.leaders().any(|(other, its)| other != at && its == term);
        !world.has_broken(Breach::S1) && !world.leaders().any(twice)
    }),
    (CONTAINED, |protocol, state| later_leaders_contain(protocol.setup.terms, &state.unpack())),
    (ONE_HISTORY, |protocol, state| committed_are_one_chain(protocol.setup.terms, &state.unpack())),
    (ONE_VOTE, |_, state| !state.has_broken(Breach::S2)),
    (VOTE_STAYS, |_, state| !state.has_broken(Breach::S5)),
    (TERM_COVERS, |_, state| {
        let covers = |hard: Hard| term_of(hard.record) <= hard.term;
        state.unpack().servers.iter().all(|server| covers(server.memory) && covers(server.disk))
    }),
    (ONE_CONTENT, |_, state| !state.has_broken(Breach::L1)),
    (RECORD_STAYS, |_, state| !state.has_broken(Breach::L2)),
    (OWN_TERM, |_, state| !state.has_broken(Breach::L4)),
    (DURABLE, |_, state| !state.has_broken(Breach::L5)),
    (ONE_CHANGE, |protocol, state| !state.has_broken(Breach::L6) && neighbours_meet(protocol, &state.unpack())),
    (NAMED_VOTERS, |_, state| !state.has_broken(Breach::D2)),
];

/// The newest committed record of each term in which any is.
fn committed(terms: u8, world: &World) -> impl Iterator<Item = (u8, RecordId)> + '_ {
    (1..=terms).filter_map(|term| {
        let committed = world.reigns[usize::from(term) - 1].committed;
        (committed > 0).then(|| (term, record_id(term, committed - 1)))
    })
}

fn later_leaders_contain(terms: u8, world: &World) -> bool {
    committed(terms, world).all(|(term, record)| {
        let later = (term + 1..=terms).filter(|term| world.reigns[usize::from(*term) - 1].leader != 0);
        later.into_iter().all(|term| world.contains(record, record_id(term, 0)))
    })
}

fn committed_are_one_chain(terms: u8, world: &World) -> bool {
    let newest = committed(terms, world).last();
    newest.is_none_or(|(_, newest)| committed(terms, world).all(|(_, record)| world.contains(record, newest)))
}

/// Any quorum of a record's voters meets any of its parent's.
fn neighbours_meet(protocol: &Protocol, world: &World) -> bool {
    let members = |record| protocol.setup.members(world, record);
    let records = (1..=protocol.setup.terms)
        .flat_map(|term| (1..world.reigns[usize::from(term) - 1].created).map(move |place| record_id(term, place)));
    records.into_iter().all(|record| {
        let (new, old) = (members(record), members(world.parent(record)));
        let together = (new.voter_set() | old.voter_set()).count_ones();
        (new.voters() / 2 + 1) + (old.voters() / 2 + 1) > together
    })
}

/// What some state must show, and from which bounds on it can be expected.
const SOMETIMES: &[(&str, Expected, Condition)] = &[
    (
        "a leader of the last term",
        |_| true,
        |protocol, state| state.unpack().leaders().any(|(_, term)| term == protocol.setup.terms),
    ),
    (
        "a record committed in every term",
        |_| true,
        |protocol, state| committed(protocol.setup.terms, &state.unpack()).count() == usize::from(protocol.setup.terms),
    ),
    (
        "two leaders of different terms in office, the later one established",
        |_| true,
        |_, state| {
            let world = state.unpack();
            let later = |(_, term): (usize, u8)| world.reigns[usize::from(term) - 1].committed > 0 && term > 1;
            world.leaders().any(|leader| later(leader) && world.leaders().any(|(_, term)| term < leader.1))
        },
    ),
    (
        "an uncommitted record survives in the next leader's",
        |_| true,
        |_, state| {
            let world = state.unpack();
            let inherits = |reign: &Reign| {
                let base = reign.base;
                base > FIRST && world.reigns[usize::from(term_of(base)) - 1].committed <= place_of(base)
            };
            world.reigns.iter().any(inherits)
        },
    ),
    (
        "an uncommitted record is lost for good",
        |_| true,
        |protocol, state| {
            let world = state.unpack();
            let newest = committed(protocol.setup.terms, &world).last();
            let lost = |record| newest.is_some_and(|(_, newest)| record < newest && !world.contains(record, newest));
            (0..TERMS_MAX).any(|term| world.reigns[term].created > 0 && lost(record_id(term as u8 + 1, 0)))
        },
    ),
    (
        "a server that adopted a record from a refusal leads",
        |setup| setup.witness,
        |_, state| state.unpack().servers.iter().any(|server| server.adopted && server.role == Role::Leader),
    ),
    (
        "a disk named in the place of a lost one, its record committed without it",
        |setup| setup.wipes > 0,
        |protocol, state| {
            let world = state.unpack();
            let uncured = |record| {
                let members = protocol.setup.members(&world, record);
                let waits = |(at, server): (usize, &Server)| {
                    server.generation > 0 && members.names(at, server.generation) && server.disk.named == 0
                };
                world.servers.iter().enumerate().any(waits)
            };
            committed(protocol.setup.terms, &world).any(|(_, record)| uncured(record))
        },
    ),
    (
        "a disk that was named later votes",
        |setup| setup.wipes > 0,
        |_, state| {
            let world = state.unpack();
            world
                .servers
                .iter()
                .any(|server| server.generation > 0 && server.disk.named > 0 && server.disk.voted_for > 0)
        },
    ),
    (
        "a server leads on a disk that was named later",
        |setup| setup.wipes > 0,
        |_, state| state.unpack().servers.iter().any(|server| server.generation > 0 && server.role == Role::Leader),
    ),
    (
        "a removed server is not counted: a commit by fewer than the quorum before",
        |setup| setup.changes > 0,
        |protocol, state| {
            let world = state.unpack();
            let fewer = |record| protocol.setup.members(&world, record).voters() < u32::from(protocol.setup.voters);
            committed(protocol.setup.terms, &world).any(|(_, record)| fewer(record))
        },
    ),
    (
        "a leader of a later term whose members were changed before",
        |setup| setup.changes > 0,
        |protocol, state| {
            let world = state.unpack();
            let first = protocol.setup.members(&world, FIRST).voter_set();
            world.leaders().any(|(_, term)| world.reigns[usize::from(term) - 1].members[0].voter_set() != first)
        },
    ),
    (
        "the server that began as no voter leads",
        |setup| setup.changes > 0 && setup.spare,
        |protocol, state| state.unpack().servers[usize::from(protocol.setup.voters)].role == Role::Leader,
    ),
];

/// The n-th of them, which says yes once: the searches ask of every state, and the first answer is enough.
fn once<const N: usize>(protocol: &Protocol, state: &State) -> bool {
    let bit = 1 << N;
    if protocol.shown.load(Ordering::Relaxed) & bit != 0 || !SOMETIMES[N].2(protocol, state) {
        return false;
    }
    protocol.shown.fetch_or(bit, Ordering::Relaxed) & bit == 0
}

const ONCE: [Condition; SOMETIMES.len()] = [
    once::<0>, once::<1>, once::<2>, once::<3>, once::<4>, once::<5>, once::<6>, once::<7>, once::<8>, once::<9>,
    once::<10>, once::<11>,
];

/// Everything that is asked of that protocol.
pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let always = ALWAYS.iter().map(|(name, condition)| Property::always(name, *condition));
    let expected = SOMETIMES.iter().zip(ONCE).filter(|((_, expected, _), _)| expected(&protocol.setup));
    always.chain(expected.map(|((name, ..), condition)| Property::sometimes(name, condition))).collect()
}
