//! What follows on chaos: a frozen network, darkness, healing and a quiet time, with what must come right in each.

use std::time::Duration;

use bytes::Bytes;

use super::chaos::star;
use super::mix::{every_way, micros};
use super::{Broken, Swarm};
use crate::message::RequestBody;
use crate::node::Input;
use crate::sim::story::command::{Change, Command, DiskChange, Inject, Require};
use crate::sim::{Death, DiskManners, Link};
use crate::types::Term;

impl Swarm {
    pub(super) fn phases(&mut self, furnishing: Vec<Command>) -> Result<(), Broken> {
        self.open(furnishing)?;
        self.chaos()?;
        self.order(Command::Calm)?;
        self.freeze()?;
        if self.chaos.chance.happens(0.3) {
            self.darkness()?;
        }
        self.heal()?;
        self.quiesce()
    }

    fn open(&mut self, furnishing: Vec<Command>) -> Result<(), Broken> {
        for command in furnishing {
            self.order(command)?;
        }
        self.order(Command::Start((0..self.stage.founders).collect()))
    }

    /// V1, V2 and V6.
    fn freeze(&mut self) -> Result<(), Broken> {
        let et = self.stage.et;
        let everything = every_way(self.stage.cluster.len());
        self.order(Command::Links(everything, Change::Open))?;
        // A graph without a quorum-connected node is for the darkness.
        for _ in 0..20 {
            let cuts = self.graph();
            let open = |a: usize, b: usize| !cuts.iter().flatten().any(|way| *way == (a, b) || *way == (b, a));
            if self.stage.quorum_connected(&open).is_some() {
                for ways in cuts {
                    self.order(Command::Links(ways, Change::Cut))?;
                }
                break;
            }
        }
        self.order(Command::Require(Require::Settled("V1", et * 10)))?;
        self.order(Command::Require(Require::Known))?;
        self.order(Command::Require(Require::Kept("V2", et * 5)))
    }

    /// V4, V5 and V10.
    fn darkness(&mut self) -> Result<(), Broken> {
        let et = self.stage.et;
        let everything = every_way(self.stage.cluster.len());
        self.order(Command::Links(everything, Change::Cut))?;
        self.pass(micros(et.mul_f64(1.5) + self.setting.timing.heartbeat + et.mul_f64(0.05)))?;
        self.order(Command::Require(Require::Silent))?;
        self.order(Command::Require(Require::Barren(et * 5)))?;
        self.order(Command::Require(Require::Bounded))
    }

    /// V11, V8 and V6, and every lost disk is named again.
    fn heal(&mut self) -> Result<(), Broken> {
        let et = self.stage.et;
        let everything = every_way(self.stage.cluster.len());
        self.order(Command::Links(everything, Change::Open))?;
        self.order(Command::Require(Require::Settled("V11", et * 3)))?;
        self.order(Command::Require(Require::Kept("V8", et * 12)))?;
        self.order(Command::Require(Require::Named(et * 10)))?;
        self.order(Command::Require(Require::Known))?;
        self.order(Command::Require(Require::Bounded))
    }

    /// Small disturbances, which must disturb nobody; and what is ordered must be done in time.
    fn quiesce(&mut self) -> Result<(), Broken> {
        let et = self.stage.et;
        for _ in 0..2 {
            let Some((leader, term)) = self.stage.leaders().first().copied() else { return Ok(()) };
            let nodes = self.stage.founders;
            let other = (leader + 1 + self.chaos.chance.index(nodes - 1)) % nodes;
            // Whether the leader keeps its quorum without that one.
            let spared = self.stage.is_quorum_connected(leader, &|a, b| a != other && b != other);
            self.order(Command::Mark)?;
            match self.chaos.chance.below(8) {
                0 if spared => {
                    self.order(Command::Kill(vec![other], Death::Killed))?;
                    let absence = micros(self.chaos.chance.between((Duration::ZERO, et * 2)));
                    self.pass(absence)?;
                    self.order(Command::Start(vec![other]))?;
                    self.unmoved(3)?;
                }
                1 if spared => {
                    let ways = star(other, self.stage.cluster.len());
                    self.order(Command::Links(ways.clone(), Change::Cut))?;
                    let absence = micros(self.chaos.chance.between((Duration::ZERO, et * 8)));
                    self.pass(absence)?;
                    self.order(Command::Links(ways, Change::Open))?;
                    self.unmoved(3)?;
                }
                2 => {
                    let stale = self.stale_request(other, leader, term);
                    self.order(stale)?;
                    self.unmoved(2)?;
                }
                3 if spared => {
                    self.order(Command::Lose(other))?;
                    self.order(Command::Start(vec![other]))?;
                    self.unmoved(4)?;
                }
                4 => self.hand_over(leader, other)?,
                5 => self.fail_disk(leader)?,
                6 if nodes < self.stage.cluster.len() => {
                    self.order(Command::Start(vec![nodes]))?;
                    self.unmoved(3)?;
                }
                _ => self.order(Command::Require(Require::Kept("V8", et * 8)))?,
            }
        }
        if self.chaos.chance.happens(0.02) {
            self.order(Command::Require(Require::Kept("V8", et * 100)))?;
        }
        Ok(())
    }

    /// V3.
    fn unmoved(&mut self, timeouts: u32) -> Result<(), Broken> {
        self.pass(self.stage.et * timeouts)?;
        self.order(Command::Require(Require::Unmoved))
    }

    /// What a peer may have sent in an earlier term.
    fn stale_request(&mut self, from: usize, to: usize, term: Term) -> Command {
        let chance = &mut self.chaos.chance;
        let heartbeat = RequestBody::AppendEntries {
            promise: self.setting.timing.promise,
            record: None,
            committed: None,
            rank: None,
            election: crate::types::TraceContext::NONE,
        };
        let bodies = [
            RequestBody::PreVote { last: None },
            RequestBody::RequestVote { last: None, transfer: None },
            RequestBody::Resign,
            heartbeat,
        ];
        let body = bodies[chance.index(bodies.len())].clone();
        let term = Term(chance.below(term.0.max(1)));
        let (from, to) = if chance.happens(0.5) { (from, to) } else { (to, from) };
        Command::Inject(Inject {
            way: (from, to),
            body,
            term,
            from: None,
            cluster: None,
            incarnation: None,
            last: None,
            members: Vec::new(),
        })
    }

    /// V7.
    fn hand_over(&mut self, leader: usize, other: usize) -> Result<(), Broken> {
        let to = self.stage.cluster.name(other).clone();
        self.order(Command::Tell(leader, Input::Transfer(Some(to))))?;
        self.order(Command::Require(Require::HandedOver(self.stage.et)))
    }

    /// V9, and a disk that was mended.
    fn fail_disk(&mut self, leader: usize) -> Result<(), Broken> {
        let et = self.stage.et;
        let full = DiskManners { full: 1.0, ..DiskManners::steady(micros(et / 50)) };
        self.order(Command::Disk(vec![leader], DiskChange::Manners(full)))?;
        self.order(Command::Tell(leader, Input::Proclaim(Bytes::from_static(b"full"))))?;
        self.order(Command::Require(Require::Resigned(et / 5)))?;
        self.order(Command::Calm)?;
        self.order(Command::Require(Require::Settled("V11", et * 10)))
    }

    /// V12: every tenth message is lost, for a thousand election timeouts.
    pub(super) fn lose_messages(&mut self, furnishing: Vec<Command>) -> Result<(), Broken> {
        let et = self.stage.et;
        let boots = furnishing.into_iter().filter(|command| matches!(command, Command::Boot(..))).collect();
        self.order(Command::Calm)?;
        self.open(boots)?;
        self.order(Command::Require(Require::Settled("V1", et * 10)))?;
        let delay = et.mul_f64(0.03);
        let lossy = Link { loss: 0.1, delay: (micros(delay / 5), micros(delay)), ..Link::steady(delay) };
        self.order(Command::Links(every_way(self.stage.cluster.len()), Change::Manners(lossy)))?;
        self.order(Command::Require(Require::Steady(et * 1000)))
    }
}
