//! What handles ask for.

use std::sync::Arc;

use super::Driver;
use crate::driver::command::{Command, Guard, NotLeading, ProclaimFailure, Transfer, TransferFailure, Waiter, tell};
use crate::driver::group::Group;
use crate::driver::office::LossCause;
use crate::node::Input;
use crate::observer::{Order, OrderKind};
use crate::types::NodeId;

impl Driver {
    pub(super) fn command(&mut self, at: usize, command: Command) {
        self.settle(at);
        // Whoever waits for a group that has left learns it from the dropped channel.
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let office = group.office().cloned();
        let in_term = |term: Option<_>| office.clone().filter(|office| term.is_none_or(|term| term == office.term));
        match command {
            Command::Lead { when, reply } => {
                group.wait(Waiter::Lead { when, reply });
                self.tell_candidacy(at);
                self.hand_out(at);
            }
            Command::Verify { term, reply } => match in_term(Some(term)) {
                None => tell(reply, Err(LossCause::Stopped)),
                Some(office) => {
                    group.wait(Waiter::Verify { since: self.clock.now(), office, reply });
                    self.input(at, Input::Heartbeat);
                }
            },
            Command::Resign { term, reply } => match (in_term(term), reply) {
                (None, Some(reply)) => tell(reply, Err(NotLeading)),
                (None, None) => {}
                (Some(office), reply) => {
                    if let Some(reply) = reply {
                        group.wait(Waiter::Resign { office, reply });
                    }
                    self.input(at, Input::Resign);
                }
            },
            Command::Campaign { context } => {
                if !group.node.may_stand() {
                    return;
                }
                let who = group.node.identity().clone();
                self.observers.show_order(&Order { who, kind: OrderKind::Campaign, context });
                self.input(at, Input::Campaign);
            }
            Command::Transfer(transfer) => self.transfer(at, transfer),
            Command::Collective { reply } => tell(reply, group.collective.state(self.clock.now(), &group.node)),
            Command::SetStatus { status } => {
                group.collective.set_status(status);
                self.observers.show_news(self.clock.now(), group, false);
            }
            Command::Change { change, node, address, reply } => {
                self.change(at, change, node, address.as_deref(), reply);
            }
            Command::Proclaim { value, reply } => match in_term(None) {
                None => tell(reply, Err(ProclaimFailure::NotLeading)),
                Some(office) => {
                    group.wait(Waiter::Proclaim { office, index: None, reply });
                    self.input(at, Input::Proclaim(value));
                }
            },
            Command::Shutdown => self.shut_down(at),
            Command::WaiterGone => self.tell_candidacy(at),
            Command::SetFit { fit, why } => self.set_fit(at, fit, why),
            Command::WorkEnded { term } => {
                if group.end_work(term) {
                    in_term(Some(term)).inspect(|office| office.revoke(LossCause::WorkEnded));
                    self.step(at, Input::WorkEnded);
                    self.tell_candidacy(at);
                    self.hand_out(at);
                }
            }
            // The office ends here, as in every step: nothing else is called for.
            Command::Lapsed => self.input(at, Input::Tick),
            Command::Unclaimed { guard } => self.offer(at, &guard),
        }
    }

    /// Begins to leave; what is to be named first is.
    fn shut_down(&mut self, at: usize) {
        let now = self.clock.now();
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        group.leave_by(now);
        let waits = group.shutdown_must_wait(now);
        self.note_leaving();
        if !waits {
            self.input(at, Input::Shutdown);
        }
    }

    /// What is due comes first: an office that is over takes no orders.
    fn settle(&mut self, at: usize) {
        let now = self.clock.now();
        if self.groups.get(at).and_then(Option::as_ref).is_some_and(|group| group.node_deadline() <= now) {
            self.step(at, Input::Tick);
        }
    }

    /// Whoever was to get this guard has gone: the next one who waits gets it, or the office ends with it.
    fn offer(&mut self, at: usize, guard: &Arc<Guard>) {
        self.hand_out(at);
        if Arc::strong_count(guard) == 1 {
            guard.office.revoke(LossCause::Unclaimed);
        }
    }

    fn transfer(&mut self, at: usize, transfer: Transfer) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let Transfer { term, to, context, reply } = transfer;
        let in_office = group.office().is_some_and(|office| term.is_none_or(|term| term == office.term));
        if term.is_some() && !in_office {
            let not_leading = crate::node::TransferRefused::NotLeader;
            return tell(reply, Err(TransferFailure::Refused(not_leading)));
        }
        match group.node.can_transfer(to.as_ref()) {
            Err(refused) => tell(reply, Err(TransferFailure::Refused(refused))),
            Ok(successor) => {
                let who = group.node.identity().clone();
                self.observers.show_order(&Order { who, kind: OrderKind::Transfer, context });
                let office = group.office().cloned();
                group.wait(Waiter::Transfer { office, reply });
                self.input(at, Input::Transfer(Some(successor)));
            }
        }
    }

    pub(super) fn forget(&self, node: &NodeId) {
        let lists =
            |group: &Group| group.node.hard_state().record.as_ref().is_none_or(|record| record.member(node).is_some());
        if !self.groups.iter().flatten().any(lists) {
            self.calls.forget(node);
        }
    }
}
