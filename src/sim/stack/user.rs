//! The programs of users: one process each, with whatever they make of the library.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use super::book::Book;
use super::machine::Machine;
use super::mix::{Manner, Usage};
use super::world::{World, lock, panic_quietly};
use crate::clock::{Errand, Simulated};
use crate::elector::{BoxError, Elector, ElectorBuilder, LeadError, Leadership};
use crate::sim::chance::Chance;
use crate::types::NodeId;

/// What a program holds. Clones are of the same process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) at: usize,
    pub(super) world: World,
    pub(super) machine: Arc<Machine>,
    pub(super) book: Book,
    pub(super) usage: Usage,
    pub(super) elector: Arc<Mutex<Option<Elector>>>,
    /// Where an application keeps what should outlive its work.
    pub(super) vault: Arc<Mutex<Vec<Leadership>>>,
    pub(super) chance: Arc<Mutex<Chance>>,
    /// The smallest election timeout.
    pub(super) timeout: Duration,
    pub(super) drain_limit: Duration,
    /// How often a call is given up.
    pub(super) fleeting: f64,
    /// Its start was given up.
    pub(super) abandoned: Arc<AtomicBool>,
    pub(super) members: Arc<Vec<NodeId>>,
}

impl Process {
    pub(super) fn elector(&self) -> Option<Elector> {
        lock(&self.elector).clone()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn(self.machine.user, Box::pin(task));
    }

    async fn sleep(&self, wait: Duration) {
        let machine: &dyn Simulated = &*self.machine;
        let sleep: Errand = machine.until(machine.now() + wait);
        sleep.await;
    }

    fn span(&self, most: u32) -> Duration {
        lock(&self.chance).between((self.timeout / 20, self.timeout * most))
    }

    fn happens(&self, probability: f64) -> bool {
        lock(&self.chance).happens(probability)
    }

    fn pick(&self, len: usize) -> usize {
        lock(&self.chance).index(len)
    }

    /// Starts its elector, and lives.
    pub(super) async fn start(self, builder: ElectorBuilder, turn: Duration) {
        let Some(started) = self.fleeting(builder.start()).await else {
            return self.abandoned.store(true, Ordering::Relaxed);
        };
        let Ok(elector) = started else { return };
        if let Some(lane) = self.machine.thread_named("hustings") {
            self.world.set_turn(lane, turn);
        }
        *lock(&self.elector) = Some(elector);
        self.live();
    }

    fn live(&self) {
        if self.usage.work.is_some() {
            let own = self.clone();
            self.spawn(async move { own.contend().await });
        }
        if self.usage.campaigns {
            let own = self.clone();
            self.spawn(async move { own.campaign().await });
        }
        if self.usage.orders {
            let own = self.clone();
            self.spawn(async move { own.order_about().await });
        }
    }

    async fn contend(self) {
        let Some(manner) = self.usage.work else { return };
        loop {
            let Some(elector) = self.elector() else { return };
            let result = {
                let _contends = self.book.contend(self.at);
                elector.while_leader(|lead| self.clone().work(manner, lead)).await
            };
            if matches!(result, Err(LeadError::Stopped)) || !self.usage.again {
                return;
            }
            self.sleep(self.span(2)).await;
        }
    }

    async fn work(self, manner: Manner, lead: Leadership) -> Result<(), BoxError> {
        let _runs = self.book.begin(self.at, self.machine.user, &lead);
        let token = lead.token();
        match manner {
            Manner::Watches | Manner::Asks => {
                while !token.is_cancelled() {
                    self.book.act(self.at, &lead);
                    let pace = if manner == Manner::Asks { self.timeout / 100 } else { self.span(1) };
                    tokio::select! {
                        biased;
                        () = token.cancelled() => {}
                        () = self.sleep(pace) => {}
                    }
                }
                self.sleep(self.span(1) / 4).await;
            }
            Manner::Children => self.wait_for_children(&lead).await,
            Manner::Keeps => {
                self.act_for(&lead, 4).await;
                lock(&self.vault).push(lead.clone());
                return Err("the work failed, once".into());
            }
            Manner::Returns => self.act_for(&lead, 6).await,
            Manner::Fails => {
                self.act_for(&lead, 6).await;
                return Err("the work failed".into());
            }
            Manner::Panics => {
                self.act_for(&lead, 6).await;
                panic_quietly();
            }
            Manner::Blocks => loop {
                self.act_for(&lead, 1).await;
                if self.happens(0.2) {
                    self.world.stall(self.machine.user, self.span(3));
                }
            },
            Manner::Ignores => loop {
                self.act_for(&lead, 1).await;
            },
            Manner::Resigns | Manner::Transfers => {
                self.act_for(&lead, 4).await;
                self.give_up_inside(manner, &lead).await;
            }
        }
        Ok(())
    }

    /// Acts for a while, and hardly looks.
    async fn act_for(&self, lead: &Leadership, most: u32) {
        let end = self.machine.now() + self.span(most);
        while self.machine.now() < end {
            self.book.act(self.at, lead);
            self.sleep(self.span(1) / 2).await;
        }
    }

    async fn wait_for_children(&self, lead: &Leadership) {
        let mut children = Vec::new();
        for _ in 0..1 + self.pick(2) {
            let (done, child) = oneshot::channel();
            let (own, lead) = (self.clone(), lead.clone());
            self.spawn(async move {
                while own.book.act(own.at, &lead) {
                    own.sleep(own.span(1)).await;
                }
                let _ = done.send(());
            });
            children.push(child);
        }
        lead.token().cancelled().await;
        for child in children {
            let _ = child.await;
        }
    }

    async fn give_up_inside(&self, manner: Manner, lead: &Leadership) {
        let Some(elector) = self.elector() else { return };
        // It waits for the very work that waits for it: it has to say so, at once; a hand-over is called off before that
        // where the successor does not catch up.
        let bound = self.timeout * 4;
        if manner == Manner::Resigns {
            let _call = self.book.call(self.at, "resign inside", bound);
            let _ = elector.resign().await;
        } else if self.happens(0.5) {
            let _call = self.book.call(self.at, "transfer inside", bound);
            let _ = elector.transfer_to(None).await;
        } else {
            let _call = self.book.call(self.at, "lead transfer inside", bound);
            let _ = lead.transfer_to(None).await;
        }
    }

    /// Waits by `campaign`, and holds what it gets until it should end.
    async fn campaign(self) {
        loop {
            let Some(elector) = self.elector() else { return };
            let contends = self.book.contend(self.at);
            let lead = self.fleeting(elector.campaign()).await;
            match lead {
                None => {}
                Some(Err(_)) => return,
                Some(Ok(lead)) => {
                    let runs = self.book.begin(self.at, self.machine.user, &lead);
                    let until = self.machine.now() + self.span(20);
                    if self.happens(self.usage.hands_over) {
                        // Nobody drops what waits here: it does nothing meanwhile.
                        runs.acts(false);
                        self.sleep(self.span(4)).await;
                        let bound = self.drain_limit + self.timeout * 8;
                        let _call = self.book.call(self.at, "lead transfer", bound);
                        let _ = self.fleeting(lead.transfer_to(None)).await;
                        runs.acts(true);
                    }
                    while self.book.act(self.at, &lead) && self.machine.now() < until {
                        tokio::select! {
                            biased;
                            _ = lead.lost() => break,
                            () = self.sleep(self.span(1)) => {}
                        }
                    }
                }
            }
            drop(contends);
            self.sleep(self.span(2)).await;
        }
    }

    /// An order of some kind, again and again.
    async fn order_about(self) {
        loop {
            self.sleep(self.span(8)).await;
            let Some(elector) = self.elector() else { return };
            let bound = self.drain_limit + self.timeout * 8;
            match self.pick(8) {
                0 => {
                    let _call = self.book.call(self.at, "resign", bound);
                    self.fleeting(elector.resign()).await;
                }
                1 => {
                    let to = Some(self.members[self.pick(self.members.len())].clone()).filter(|_| self.happens(0.5));
                    let _call = self.book.call(self.at, "transfer_to", bound);
                    self.fleeting(elector.transfer_to(to)).await;
                }
                2 => {
                    let _call = self.book.call(self.at, "proclaim", bound);
                    self.fleeting(elector.proclaim(vec![7; 10])).await;
                }
                3 => {
                    let _call = self.book.call(self.at, "collective_state", bound);
                    self.fleeting(elector.collective_state()).await;
                }
                4 => {
                    let kept = lock(&self.vault).last().cloned();
                    let _call = self.book.call(self.at, "verify", bound);
                    if let Some(lead) = kept {
                        let _ = self.fleeting(lead.verify()).await;
                    }
                }
                5 => {
                    let Ok(ghost) = NodeId::new("ghost") else { return };
                    let _call = self.book.call(self.at, "add_member", bound + self.timeout * 30);
                    let _ = self.fleeting(elector.add_member(ghost, "nowhere")).await;
                }
                6 => drop(elector.campaign_now()),
                _ => drop(elector.set_status("busy")),
            }
        }
    }

    /// Polls a future to its end, or gives it up at some poll: after it, or before, when an answer may be on its way.
    async fn fleeting<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut polls = if self.happens(self.fleeting) { 1 + self.pick(4) } else { usize::MAX };
        let before = self.happens(0.5);
        let mut future = pin!(future);
        poll_fn(|context| {
            polls -= 1;
            if polls == 0 && before {
                return Poll::Ready(None);
            }
            match future.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if polls == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
