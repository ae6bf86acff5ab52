//! The phase in which everything goes wrong that the seed's mix holds.

use std::time::Duration;

use bytes::Bytes;

use super::{Bias, Broken, Swarm};
use crate::node::Input;
use crate::sim::Death;
use crate::sim::check::arithmetic::majority;
use crate::types::Time;

/// Something that chaos does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Crash,
    Vanish,
    Start,
    Wipe,
    Pause,
    CutOneWay,
    Cut,
    Isolate,
    Heal,
    Reset,
    ResetAndCut,
    Drift,
    SlowDisk,
    Campaign,
    Resign,
    Transfer,
    Proclaim,
    Shutdown,
    AskPromise,
    Refuse,
    Intrude,
}

pub(super) const ACTS: [Act; 21] = [
    Act::Crash,
    Act::Vanish,
    Act::Start,
    Act::Wipe,
    Act::Pause,
    Act::CutOneWay,
    Act::Cut,
    Act::Isolate,
    Act::Heal,
    Act::Reset,
    Act::ResetAndCut,
    Act::Drift,
    Act::SlowDisk,
    Act::Campaign,
    Act::Resign,
    Act::Transfer,
    Act::Proclaim,
    Act::Shutdown,
    Act::AskPromise,
    Act::Refuse,
    Act::Intrude,
];

impl Act {
    /// Whether a mix with that bias may hold it.
    pub(super) fn suits(self, bias: Bias) -> bool {
        match bias {
            Bias::None => true,
            Bias::Promises => {
                use Act::{
                    AskPromise, Campaign, Crash, Cut, Heal, Refuse, Reset, ResetAndCut, Resign, Start, Transfer,
                };
                [Crash, Start, Cut, Heal, Reset, ResetAndCut, Refuse, Campaign, Resign, Transfer, AskPromise]
                    .contains(&self)
            }
            Bias::Disks => {
                use Act::{Campaign, Crash, Cut, Heal, Proclaim, Reset, SlowDisk, Start, Wipe};
                [Crash, Start, Wipe, Cut, Heal, SlowDisk, Campaign, Proclaim, Reset].contains(&self)
            }
        }
    }
}

impl Swarm {
    /// Acts at random moments, with a mean pace that the seed has drawn.
    pub(super) fn chaos(&mut self) -> Result<(), Broken> {
        // Most seeds begin with a cluster that stands: a first start needs every member at once.
        let settles = if self.chance.happens(0.9) { 6 } else { 0 };
        self.pass(self.et * settles)?;
        let end = self.cluster.now() + self.length;
        while self.cluster.now() < end {
            let gap = self.chance.between((Duration::ZERO, self.pace * 2));
            self.pass(gap)?;
            self.act();
        }
        self.pass(Duration::ZERO)
    }

    fn act(&mut self) {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.chance.below(total);
        let mut weights = self.weights.iter();
        let act = weights.find(|(_, weight)| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        let Some((act, _)) = act.copied() else { return };
        let at = self.any_or_leader();
        match act {
            Act::Crash | Act::Vanish | Act::Start | Act::Wipe | Act::Pause | Act::Drift | Act::SlowDisk => {
                self.harm_machine(act, at);
            }
            Act::Intrude => self.cluster.intrude(at, &mut self.chance),
            Act::CutOneWay | Act::Cut | Act::Isolate | Act::Heal | Act::Reset | Act::ResetAndCut | Act::Refuse => {
                self.harm_network(act, at);
            }
            Act::Campaign | Act::Resign | Act::Transfer | Act::Proclaim | Act::Shutdown | Act::AskPromise => {
                self.order(act, at);
            }
        }
    }

    /// Leaders are where most rules bite.
    fn any_or_leader(&mut self) -> usize {
        let leader = (0..self.cluster.len()).find(|at| self.leads(*at).is_some());
        let any = self.chance.index(self.cluster.len());
        leader.filter(|_| self.chance.happens(0.5)).unwrap_or(any)
    }

    fn harm_machine(&mut self, act: Act, at: usize) {
        let et = self.et;
        match act {
            Act::Crash => self.cluster.crash(at, Death::Killed),
            Act::Vanish => self.cluster.crash(at, Death::Vanished),
            Act::Start => {
                let down = (0..self.cluster.len()).filter(|at| self.cluster.node(*at).is_none());
                for at in down.collect::<Vec<_>>() {
                    if self.chance.happens(0.3) {
                        let reading = Time(1 + self.chance.below(10_000_000_000));
                        let ppm = self.ppm();
                        self.cluster.reset_clock(at, reading, ppm);
                    }
                    self.cluster.start(at);
                }
            }
            Act::Wipe => self.wipe(at),
            Act::Pause => {
                let length = et.mul_f64([0.5, 2.0, 10.0][self.chance.index(3)]);
                let length = self.chance.between((Duration::ZERO, length));
                self.cluster.pause(at, length);
            }
            Act::Drift => {
                let ppm = self.ppm();
                self.cluster.set_rate(at, ppm);
            }
            _ => {
                let slow = self.chance.fraction();
                self.cluster.disk(at).slow = slow;
                self.cluster.disk(at).slow_max = et * 10;
            }
        }
    }

    fn ppm(&mut self) -> i32 {
        [-10_000, -9_000, 0, 9_000, 10_000][self.chance.index(5)]
    }

    /// D2 and D4: a disk may be lost once the cluster is founded, and while the others still suffice to name it.
    fn wipe(&mut self, at: usize) {
        let nodes = self.cluster.len();
        let named = |at: usize| self.cluster.durable(at).is_some_and(|state| state.named.is_some());
        self.founded |= (0..nodes).all(named);
        let lost = (0..nodes).filter(|other| *other != at && !named(*other)).count();
        if self.founded && lost < nodes - majority(nodes) {
            self.cluster.wipe(at);
            self.wipes += 1;
        }
    }

    fn harm_network(&mut self, act: Act, at: usize) {
        let nodes = self.cluster.len();
        let other = (at + 1 + self.chance.index(nodes - 1)) % nodes;
        match act {
            Act::CutOneWay => self.cluster.link(at, other).cut = true,
            Act::Cut => self.cut(at, other),
            Act::Isolate => (0..nodes).for_each(|other| self.cut(at, other)),
            Act::Heal => self.join_all(),
            Act::Reset => self.cluster.reset(other, at),
            Act::ResetAndCut => {
                // Cut off by resets, and alive: everybody holds evidence against a leader that still leads.
                for other in (0..nodes).filter(|other| *other != at) {
                    self.cut(at, other);
                    self.cluster.reset(other, at);
                }
            }
            _ => {
                // A firewall's REJECT: evidence against somebody who lives and is heard.
                let everywhere = self.chance.happens(0.5);
                let misled = (0..nodes).filter(|one| *one != at && (everywhere || *one == other));
                for one in misled.collect::<Vec<_>>() {
                    let peer = self.cluster.name(at).clone();
                    self.cluster.input(one, Input::PeerClosed(peer.clone()));
                    self.cluster.input(one, Input::PeerLost { peer, refused: true });
                }
            }
        }
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cluster.link(a, b).cut = true;
        self.cluster.link(b, a).cut = true;
    }

    pub(super) fn join_all(&mut self) {
        for a in 0..self.cluster.len() {
            for b in 0..self.cluster.len() {
                self.cluster.link(a, b).cut = false;
            }
        }
    }

    fn order(&mut self, act: Act, at: usize) {
        let nodes = self.cluster.len();
        let input = match act {
            Act::Campaign => Input::Campaign,
            Act::Resign => Input::Resign,
            Act::Transfer => {
                let to = self.chance.index(nodes + 1);
                Input::Transfer((to < nodes).then(|| self.cluster.name(to).clone()))
            }
            Act::Proclaim => Input::Proclaim(Bytes::from(self.chance.number().to_string())),
            Act::Shutdown => {
                self.leaving.push(at);
                Input::Shutdown
            }
            _ => {
                let max = self.cluster.config(at).timing.promise_max;
                Input::AskPromise(max.mul_f64(0.3 + 0.7 * self.chance.fraction()))
            }
        };
        self.cluster.input(at, input);
    }
}
