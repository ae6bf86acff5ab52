//! What the driver sees to beside the core: changes of the members, readiness, conditions, probes, and a shutdown that waits
//! for a naming.

use tokio::sync::oneshot;

use super::Driver;
use crate::driver::command::{ChangeFailure, Waiter, tell};
use crate::event::Change;
use crate::message::{Identity, Reply, Request, RequestBody, RequestId};
use crate::node::Input;
use crate::observer::condition::PeerCause;
use crate::types::{NodeId, Time};

/// The number of every probe: one that no request of the core ever has.
const PROBE: RequestId = RequestId(u64::MAX);

impl Driver {
    /// Begins a change of the members.
    pub(super) fn change(
        &mut self,
        at: usize,
        change: Change,
        node: NodeId,
        address: Option<&str>,
        reply: oneshot::Sender<Result<(), ChangeFailure>>,
    ) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        if let Err(refused) = group.node.can_change(change, &node) {
            return tell(reply, Err(ChangeFailure::Refused(refused)));
        }
        if let Some(Err(error)) = address.map(|address| self.calls.reach(&node, address)) {
            return tell(reply, Err(ChangeFailure::Address(error)));
        }
        if let Some(address) = address {
            group.standing.note_address(&node, address);
        }
        let office = group.office().cloned();
        group.wait(Waiter::Change { office, change, node: node.clone(), reply });
        self.input(
            at,
            match change {
                Change::Add => Input::AddMember(node),
                Change::Remove => Input::RemoveMember(node),
            },
        );
    }

    /// After anything that happened to a group, and when it asked to be looked at.
    pub(super) fn attend(&mut self, at: usize, now: Time) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        if let Some(lacks) = group.standing.news_of_readiness(&group.node) {
            self.doors.inbox.condition().lack(at, lacks);
        }
        let idle = group.leads_idly();
        for news in group.standing.news(now, &group.node, idle) {
            self.observers.show(|observer| observer.condition(&news));
        }
        for node in group.standing.probes(now, &group.node) {
            let Some(term) = group.node.term().next() else { return };
            // It changes nothing where it is answered, is no part of an election, and older releases know it.
            let body = RequestBody::PreVote { last: None };
            let request = Request { from: group.node.identity().clone(), to: node, id: PROBE, term, body };
            self.calls.probe(at, request, &group.node.config().timing);
        }
    }

    /// An answer to a probe.
    pub(super) fn take_probed(&mut self, at: usize, reply: &Reply) {
        let now = self.clock.now();
        if let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut)
            && reply.to == group.node.identity().holder()
        {
            group.standing.note_reply(now, &group.node, reply);
        }
        self.attend(at, now);
        self.rearm(at, now);
    }

    /// Somebody else than the node that was asked has answered.
    pub(super) fn take_stray(&mut self, at: usize, asked: &NodeId, who: &Identity) {
        let now = self.clock.now();
        if let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut)
            && let Some(cause) = PeerCause::of_stranger(group.node.identity(), asked, who)
        {
            group.standing.note_stray(now, asked, cause);
        }
        self.attend(at, now);
        self.rearm(at, now);
    }

    /// A shutdown that waited for a naming goes on when that is done, or has taken too long.
    pub(super) fn resume_shutdown(&mut self, at: usize, now: Time) {
        let resumes = |group: &mut super::Group| group.resumes_shutdown(now);
        if self.groups.get_mut(at).and_then(Option::as_mut).is_some_and(resumes) {
            self.step(at, Input::Shutdown);
        }
    }
}
