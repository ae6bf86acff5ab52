//! Which ploy answers which moment: known chains, and what chance adds to them.

use super::moments::Moment;
use super::ploys::{PLOYS, Ploy, Victim};
use crate::sim::chance::Chance;

/// When such a moment comes, do that, with some probability and after a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reaction {
    pub(super) moment: Moment,
    pub(super) ploy: Ploy,
    pub(super) victim: Victim,
    pub(super) probability: f64,
    /// The longest wait, in promises.
    pub(super) wait: f64,
}

const MOMENTS: [Moment; 14] = [
    Moment::Started,
    Moment::Stands,
    Moment::Elected,
    Moment::Established,
    Moment::Exclusive,
    Moment::Promises,
    Moment::Votes,
    Moment::VotesEarly,
    Moment::Doubts,
    Moment::Revokes,
    Moment::HandsOver,
    Moment::Leaves,
    Moment::LeavesWorking,
    Moment::Named,
];
const VICTIMS: [Victim; 5] = [Victim::Self_, Victim::Other, Victim::Leader, Victim::Follower, Victim::Others];
const WAITS: [f64; 5] = [0.0, 0.05, 0.3, 1.0, 2.0];

/// A known chain, as reactions.
type Scheme = &'static [(Moment, Ploy, Victim, f64, f64)];

/// Three leaders within one promise: each is cut off as soon as it is elected, and the others are joined again.
const THREE_LEADERS: Scheme = &[
    (Moment::Exclusive, Ploy::CutOffOnly, Victim::Self_, 0.8, 0.5),
    (Moment::Elected, Ploy::CutOffOnly, Victim::Self_, 0.7, 0.1),
    (Moment::Established, Ploy::CutOffOnly, Victim::Self_, 0.5, 0.1),
    (Moment::Leaves, Ploy::Campaign, Victim::Other, 0.3, 0.2),
];
/// Resigns right after its election, and another stands at once.
const RESIGN_AT_ONCE: Scheme = &[
    (Moment::Elected, Ploy::Resign, Victim::Self_, 0.5, 0.05),
    (Moment::Established, Ploy::Resign, Victim::Self_, 0.5, 0.05),
    (Moment::Leaves, Ploy::Campaign, Victim::Other, 0.7, 0.05),
    (Moment::Exclusive, Ploy::CutOff, Victim::Self_, 0.7, 0.3),
];
/// Voters restart right after a promise, while the leader that has it cannot be reached.
const RESTART_OWING: Scheme = &[
    (Moment::Promises, Ploy::Restart, Victim::Self_, 0.1, 0.0),
    (Moment::Exclusive, Ploy::CutOff, Victim::Self_, 0.5, 0.5),
    (Moment::Started, Ploy::Campaign, Victim::Other, 0.5, 0.6),
    (Moment::Started, Ploy::Campaign, Victim::Self_, 0.5, 0.6),
];
/// A hand-over, and one of its sides dies or is cut off.
const BROKEN_TRANSFER: Scheme = &[
    (Moment::Exclusive, Ploy::Transfer, Victim::Self_, 0.7, 0.3),
    (Moment::Established, Ploy::Transfer, Victim::Self_, 0.3, 0.1),
    (Moment::HandsOver, Ploy::CutOff, Victim::Self_, 0.4, 0.02),
    (Moment::HandsOver, Ploy::Restart, Victim::Self_, 0.3, 0.02),
    (Moment::HandsOver, Ploy::Crash, Victim::Other, 0.3, 0.02),
    (Moment::Elected, Ploy::CutOff, Victim::Self_, 0.3, 0.1),
];
/// A leader that a minority still believes in is deposed, and its successor hands over at once: the candidate asks a voter
/// whose promise is to the first, and has heard nothing of the second.
const TRANSFER_PAST_A_PROMISE: Scheme = &[
    (Moment::Exclusive, Ploy::Doubt, Victim::Self_, 0.8, 0.3),
    (Moment::Stands, Ploy::Sever, Victim::Self_, 0.7, 0.0),
    (Moment::Established, Ploy::Transfer, Victim::Self_, 0.7, 0.02),
];
/// A leader is deposed while its work goes on, and has a vote to give.
const DEPOSED_WORKING: Scheme = &[
    (Moment::Exclusive, Ploy::Doubt, Victim::Self_, 0.7, 0.5),
    (Moment::Elected, Ploy::Heal, Victim::Self_, 0.6, 0.1),
    (Moment::LeavesWorking, Ploy::CutOffOnly, Victim::Leader, 0.5, 0.05),
    (Moment::LeavesWorking, Ploy::Campaign, Victim::Follower, 0.7, 0.2),
    (Moment::LeavesWorking, Ploy::Resign, Victim::Leader, 0.4, 0.1),
];
/// A candidate is cut off with its new term, and comes back when another is alone.
const OUTSIDER: Scheme = &[
    (Moment::Stands, Ploy::CutOffOnly, Victim::Self_, 0.4, 0.0),
    (Moment::Exclusive, Ploy::Heal, Victim::Self_, 0.8, 0.3),
    (Moment::Exclusive, Ploy::Campaign, Victim::Others, 0.3, 0.4),
    (Moment::LeavesWorking, Ploy::Campaign, Victim::Other, 0.7, 0.1),
];
/// Promises grow and shrink, and voters restart in between.
const ADAPTIVE: Scheme = &[
    (Moment::Established, Ploy::AskLong, Victim::Self_, 0.7, 0.2),
    (Moment::Exclusive, Ploy::AskShort, Victim::Self_, 0.5, 0.5),
    (Moment::Exclusive, Ploy::AskLong, Victim::Self_, 0.5, 0.3),
    (Moment::Promises, Ploy::Restart, Victim::Self_, 0.05, 0.0),
    (Moment::Promises, Ploy::CutOff, Victim::Leader, 0.05, 0.1),
];
/// A long promise, and then a new leader that asks for a short one.
const LONG_THEN_SHORT: Scheme = &[
    (Moment::Established, Ploy::AskLong, Victim::Self_, 0.6, 0.05),
    (Moment::Exclusive, Ploy::CutOffOnly, Victim::Self_, 0.7, 1.0),
    (Moment::Elected, Ploy::AskShort, Victim::Self_, 0.5, 0.05),
    (Moment::Elected, Ploy::Resign, Victim::Self_, 0.3, 0.3),
    (Moment::Leaves, Ploy::Campaign, Victim::Other, 0.5, 0.1),
];
/// Disks are lost right after they promised.
const LOST_DISK: Scheme = &[
    (Moment::Established, Ploy::AskLong, Victim::Self_, 0.5, 0.05),
    (Moment::Promises, Ploy::Wipe, Victim::Self_, 0.03, 0.1),
    (Moment::Exclusive, Ploy::AskShort, Victim::Self_, 0.5, 0.5),
    (Moment::Named, Ploy::CutOff, Victim::Leader, 0.6, 0.3),
    (Moment::Named, Ploy::Campaign, Victim::Follower, 0.6, 1.0),
];
/// Clocks turn where it hurts, and processes stand still.
const CLOCKS: Scheme = &[
    (Moment::Exclusive, Ploy::TurnAgainst, Victim::Self_, 0.5, 0.1),
    (Moment::Exclusive, Ploy::CutOff, Victim::Self_, 0.5, 0.5),
    (Moment::Exclusive, Ploy::Pause, Victim::Self_, 0.4, 0.5),
    (Moment::Votes, Ploy::Pause, Victim::Self_, 0.1, 0.0),
    (Moment::VotesEarly, Ploy::TurnAgainst, Victim::Leader, 0.3, 0.1),
    (Moment::LeavesWorking, Ploy::Turn, Victim::Self_, 0.5, 0.1),
];
/// Old answers arrive late.
const LATE: Scheme = &[
    (Moment::Exclusive, Ploy::Lag, Victim::Self_, 0.6, 0.2),
    (Moment::Elected, Ploy::Lag, Victim::Self_, 0.3, 0.0),
    (Moment::Elected, Ploy::Deafen, Victim::Self_, 0.3, 0.1),
    (Moment::Exclusive, Ploy::Mute, Victim::Self_, 0.3, 0.3),
    (Moment::Exclusive, Ploy::Beat, Victim::Self_, 0.5, 0.5),
];
/// False evidence against one who lives.
const ACCUSED: Scheme = &[
    (Moment::Exclusive, Ploy::Accuse, Victim::Self_, 0.7, 0.5),
    (Moment::Elected, Ploy::Accuse, Victim::Self_, 0.4, 0.1),
    (Moment::Doubts, Ploy::Campaign, Victim::Self_, 0.5, 0.0),
    (Moment::LeavesWorking, Ploy::Accuse, Victim::Leader, 0.5, 0.1),
];
const SCHEMES: [Scheme; 13] = [
    THREE_LEADERS,
    RESIGN_AT_ONCE,
    RESTART_OWING,
    BROKEN_TRANSFER,
    TRANSFER_PAST_A_PROMISE,
    DEPOSED_WORKING,
    OUTSIDER,
    ADAPTIVE,
    LONG_THEN_SHORT,
    LOST_DISK,
    CLOCKS,
    LATE,
    ACCUSED,
];

/// A known chain or two, or none, and some reactions that nobody has thought of.
pub(super) fn draw(chance: &mut Chance) -> Vec<Reaction> {
    let mut drawn = Vec::new();
    for _ in 0..[0, 1, 1, 2, 2, 3][chance.index(6)] {
        let scheme = SCHEMES[chance.index(SCHEMES.len())];
        let scale = [0.5, 1.0, 1.4][chance.index(3)];
        let reactions = scheme.iter().map(|(moment, ploy, victim, probability, wait)| Reaction {
            moment: *moment,
            ploy: *ploy,
            victim: *victim,
            probability: probability * scale,
            wait: *wait,
        });
        drawn.extend(reactions);
    }
    for _ in 0..chance.below(6) {
        let moment = MOMENTS[chance.index(MOMENTS.len())];
        let rarity = if moment == Moment::Promises { 0.1 } else { 1.0 };
        drawn.push(Reaction {
            moment,
            ploy: PLOYS[chance.index(PLOYS.len())],
            victim: VICTIMS[chance.index(VICTIMS.len())],
            probability: chance.fraction() * rarity,
            wait: WAITS[chance.index(WAITS.len())],
        });
    }
    drawn
}
