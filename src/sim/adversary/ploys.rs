//! What an adversary does to a cluster, and to whom.

use std::time::Duration;

use bytes::Bytes;

use super::Adversary;
use crate::node::Input;
use crate::sim::check::arithmetic::majority;
use crate::sim::{Death, Link};
use crate::types::Time;

/// One thing that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ploy {
    /// The process ends, peers are told, and another starts some time later.
    Crash,
    /// The machine falls silent, and starts some time later.
    Vanish,
    /// The process ends and the next one starts at once.
    Restart,
    /// The process stands still.
    Pause,
    /// Resets on all connections, and nothing passes: cut off, and alive.
    CutOff,
    /// The same, after everybody else was joined again.
    CutOffOnly,
    /// Resets to some of the others only.
    Doubt,
    /// Nothing reaches it.
    Deafen,
    /// Nothing leaves it.
    Mute,
    /// Nothing passes between it and one other.
    Sever,
    /// All links are as they were.
    Heal,
    /// Everything to and from it takes long.
    Lag,
    /// A firewall's REJECT: evidence against somebody who lives and is heard.
    Accuse,
    /// Order it to campaign.
    Campaign,
    /// Order it to resign.
    Resign,
    /// Order it to hand over.
    Transfer,
    /// Order it to leave; a process starts again later.
    Shutdown,
    /// Ask for the longest promise, at once.
    AskLong,
    /// Ask for the shortest.
    AskShort,
    /// Send heartbeats now.
    Beat,
    /// Proclaim something.
    Proclaim,
    /// The disk is replaced by an empty one.
    Wipe,
    /// The disk is slow for a while.
    SlowDisk,
    /// All clocks get new rates, each at one of the extremes.
    Turn,
    /// It runs as slowly as it may, and all others as fast.
    TurnAgainst,
}

pub(super) const PLOYS: [Ploy; 25] = [
    Ploy::Crash,
    Ploy::Vanish,
    Ploy::Restart,
    Ploy::Pause,
    Ploy::CutOff,
    Ploy::CutOffOnly,
    Ploy::Doubt,
    Ploy::Deafen,
    Ploy::Mute,
    Ploy::Sever,
    Ploy::Heal,
    Ploy::Lag,
    Ploy::Accuse,
    Ploy::Campaign,
    Ploy::Resign,
    Ploy::Transfer,
    Ploy::Shutdown,
    Ploy::AskLong,
    Ploy::AskShort,
    Ploy::Beat,
    Ploy::Proclaim,
    Ploy::Wipe,
    Ploy::SlowDisk,
    Ploy::Turn,
    Ploy::TurnAgainst,
];

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The node whose moment it is.
    Self_,
    /// Any other.
    Other,
    /// Who is alone, or leads, or anybody.
    Leader,
    /// Another that does not lead.
    Follower,
    /// Everybody else, one after the other.
    Others,
}

impl Adversary {
    pub(super) fn act(&mut self, ploy: Ploy, at: usize) {
        match ploy {
            Ploy::Crash | Ploy::Vanish | Ploy::Restart | Ploy::Pause | Ploy::Wipe | Ploy::SlowDisk => {
                self.harm_machine(ploy, at);
            }
            Ploy::CutOff | Ploy::CutOffOnly | Ploy::Doubt | Ploy::Deafen | Ploy::Mute | Ploy::Sever => {
                self.harm_network(ploy, at);
                self.memory.harmed(self.cluster.now());
                let later = self.moment_within(3.0);
                self.plan(later, Ploy::Heal, at);
            }
            Ploy::Heal => self.join_all(),
            Ploy::Lag => self.lag(at),
            Ploy::Accuse => self.accuse(at),
            Ploy::Turn | Ploy::TurnAgainst => self.turn(ploy, at),
            Ploy::Campaign
            | Ploy::Resign
            | Ploy::Transfer
            | Ploy::Shutdown
            | Ploy::AskLong
            | Ploy::AskShort
            | Ploy::Beat
            | Ploy::Proclaim => self.order(ploy, at),
        }
    }

    fn harm_machine(&mut self, ploy: Ploy, at: usize) {
        match ploy {
            Ploy::Pause => {
                let longest = [0.3, 1.0, 3.0][self.chance.index(3)];
                let length = self.span(longest);
                return self.cluster.pause(at, length);
            }
            Ploy::SlowDisk => {
                let manners = self.cluster.disk(at);
                let promise = self.promise;
                manners.slow = if manners.slow > 0.0 { 0.0 } else { 0.7 };
                manners.slow_max = promise * 2;
                return;
            }
            Ploy::Wipe => self.wipe(at),
            Ploy::Vanish => self.cluster.crash(at, Death::Vanished),
            _ => self.cluster.crash(at, Death::Killed),
        }
        self.memory.harmed(self.cluster.now());
        let absence = if ploy == Ploy::Restart { Duration::ZERO } else { self.span(1.5) };
        let later = self.cluster.now() + absence;
        self.plan_start(later, at);
    }

    /// D2 and D4: a disk may be lost once the cluster is founded, and while the others still suffice to name it.
    fn wipe(&mut self, at: usize) {
        let nodes = self.cluster.len();
        let named = |at: usize| self.cluster.durable(at).is_some_and(|state| state.named.is_some());
        self.founded |= (0..nodes).all(named);
        let lost = (0..nodes).filter(|other| *other != at && !named(*other)).count();
        if self.founded && lost < nodes - majority(nodes) {
            self.memory.wiped(self.cluster.now(), at);
            self.cluster.wipe(at);
            self.wipes += 1;
        }
    }

    fn harm_network(&mut self, ploy: Ploy, at: usize) {
        let nodes = self.cluster.len();
        let others: Vec<usize> = (0..nodes).filter(|other| *other != at).collect();
        if ploy == Ploy::CutOffOnly {
            self.join_all();
        }
        match ploy {
            Ploy::CutOff | Ploy::CutOffOnly => {
                for other in others {
                    self.cut(at, other);
                    self.cluster.reset(other, at);
                }
            }
            Ploy::Doubt => {
                // Who keeps its connection keeps its promise.
                for other in others {
                    if self.chance.happens(0.6) {
                        self.cut(at, other);
                        self.cluster.reset(other, at);
                    }
                }
            }
            Ploy::Deafen => others.iter().for_each(|other| self.cluster.link(*other, at).cut = true),
            Ploy::Mute => others.iter().for_each(|other| self.cluster.link(at, *other).cut = true),
            _ => {
                let other = others[self.chance.index(others.len())];
                self.cut(at, other);
            }
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.cluster.link(a, b).cut = true;
        self.cluster.link(b, a).cut = true;
    }

    fn join_all(&mut self) {
        for a in 0..self.cluster.len() {
            for b in 0..self.cluster.len() {
                *self.cluster.link(a, b) = self.link.clone();
            }
        }
    }

    /// What was sent arrives, up to three timeouts later.
    fn lag(&mut self, at: usize) {
        let longest = self.span(3.0);
        for other in 0..self.cluster.len() {
            for (from, to) in [(at, other), (other, at)] {
                let Link { delay, .. } = self.cluster.link(from, to);
                *delay = (delay.0, delay.0.max(longest));
            }
        }
        let later = self.moment_within(2.0);
        self.plan(later, Ploy::Heal, at);
    }

    fn accuse(&mut self, at: usize) {
        // Where a refusal proves a death, nobody may lie about it.
        if self.trusts {
            return;
        }
        for one in (0..self.cluster.len()).filter(|one| *one != at) {
            if self.chance.happens(0.7) {
                let peer = self.cluster.name(at).clone();
                self.cluster.input(one, Input::PeerClosed(peer.clone()));
                self.cluster.input(one, Input::PeerLost { peer, refused: true });
            }
        }
    }

    fn turn(&mut self, ploy: Ploy, at: usize) {
        for one in 0..self.cluster.len() {
            let ppm = match ploy {
                Ploy::TurnAgainst if one == at => -self.drift,
                Ploy::TurnAgainst => self.drift,
                _ => self.extreme(),
            };
            self.cluster.set_rate(one, ppm);
        }
    }

    fn order(&mut self, ploy: Ploy, at: usize) {
        let input = match ploy {
            Ploy::Campaign => Input::Campaign,
            Ploy::Resign => Input::Resign,
            Ploy::Transfer => {
                let to = self.chance.index(2 * self.cluster.len());
                Input::Transfer((to < self.cluster.len()).then(|| self.cluster.name(to).clone()))
            }
            Ploy::Shutdown => {
                let later = self.moment_within(2.0);
                self.plan_start(later, at);
                Input::Shutdown
            }
            Ploy::AskLong | Ploy::AskShort => {
                let promise = if ploy == Ploy::AskLong { self.longest } else { self.shortest };
                self.cluster.input(at, Input::AskPromise(promise));
                Input::Heartbeat
            }
            Ploy::Beat => Input::Heartbeat,
            _ => Input::Proclaim(Bytes::from_static(b"x")),
        };
        self.cluster.input(at, input);
    }

    /// Some time up to `promises` times the promise.
    pub(super) fn span(&mut self, promises: f64) -> Duration {
        self.promise.mul_f64(promises * self.chance.fraction())
    }

    fn moment_within(&mut self, promises: f64) -> Time {
        self.cluster.now() + self.span(promises)
    }

    /// A rate that is as far off as it may be, or none.
    pub(super) fn extreme(&mut self) -> i32 {
        [-self.drift, self.drift, 0][self.chance.index(3)]
    }
}
