//! Outgoing requests: each a short task of its own, so that a dead peer delays nobody.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::{Mail, Parcel};
use crate::clock::Clock;
use crate::config::Timing;
use crate::message::{CallError, Identity, Reply, Request, RequestBody, RequestId};
use crate::mutant::{self, Mutant};
use crate::node::Input;
use crate::observer::{PeerCause, Vitals};
use crate::transport::AnyTransport;
use crate::types::{NodeId, TraceContext};

/// How many calls of one group to one peer may be under way; three heartbeats and a few votes are usual.
const OUTSTANDING_MAX: usize = 32;
/// How much longer than its deadline a call is waited for before the transport is not trusted to end it.
const GRACE: Duration = Duration::from_millis(20);

/// Sends requests and brings their answers back as inputs.
pub(super) struct Calls {
    transport: Arc<dyn AnyTransport>,
    mail: Mail,
    clock: Clock,
    /// For each group and peer a token that every call under way holds: its count is theirs.
    tokens: Vec<BTreeMap<NodeId, Arc<()>>>,
}

impl Calls {
    pub(super) fn new(transport: Arc<dyn AnyTransport>, groups: usize, mail: Mail, clock: Clock) -> Calls {
        Calls { transport, mail, clock, tokens: vec![BTreeMap::new(); groups] }
    }

    /// `beat` counts it if it is a heartbeat and brings no answer.
    pub(super) fn send(
        &mut self,
        group: usize,
        request: Request,
        context: TraceContext,
        timing: &Timing,
        beat: Option<Arc<Vitals>>,
    ) {
        let mut answer = Answer {
            mail: self.mail.clone(),
            group,
            me: request.from.clone(),
            id: request.id,
            to: request.to.clone(),
            error: Some(CallError::Closed),
            beat,
        };
        let Some(token) = self.token(group, &request.to) else {
            answer.error = Some(CallError::Unreachable("too many calls to it are under way".into()));
            return;
        };
        if mutant::on(Mutant::CallsNeverForgotten) {
            std::mem::forget(token.clone());
        }
        let deadline = deadline(&request.body, timing);
        let (transport, clock) = (self.transport.clone(), self.clock.clone());
        self.clock.spawn(async move {
            let _token = token;
            let call = transport.call(request, context, deadline);
            let result = clock.timeout(deadline + GRACE, call).await.unwrap_or(Err(CallError::Timeout));
            answer.settle(result);
        });
    }

    /// Asks on the driver's own behalf: the core hears neither of an answer nor of a failure.
    pub(super) fn probe(&mut self, group: usize, request: Request, timing: &Timing) {
        let Some(token) = self.token(group, &request.to) else { return };
        let deadline = deadline(&request.body, timing);
        let (transport, mail, clock) = (self.transport.clone(), self.mail.clone(), self.clock.clone());
        self.clock.spawn(async move {
            let _token = token;
            let (asked, me) = (request.to.clone(), request.from.clone());
            let call = transport.call(request, TraceContext::NONE, deadline);
            let Some(Ok(reply)) = clock.timeout(deadline + GRACE, call).await else { return };
            mail.send(match PeerCause::of_stranger(&me, &asked, &reply.from) {
                Some(_) => Parcel::Stray { group, asked, who: reply.from },
                None => Parcel::Probed(group, Box::new(reply)),
            });
        });
    }

    /// Tells the transport where a node is. It may be the user's: one that panics refuses the address, and the election
    /// goes on.
    pub(super) fn reach(&self, node: &NodeId, address: &str) -> Result<(), String> {
        match catch_unwind(AssertUnwindSafe(|| self.transport.reach(node, address))) {
            Ok(reached) => reached.map_err(|error| error.to_string()),
            Err(_) => Err("the transport panicked".into()),
        }
    }

    /// Tells the transport that a node need not be reached any more.
    pub(super) fn forget(&self, node: &NodeId) {
        if catch_unwind(AssertUnwindSafe(|| self.transport.forget(node))).is_err() {
            tracing::error!(target: "hustings::driver", %node, "the transport panicked when it was to forget a node");
        }
    }

    /// Waits until every call has ended, or for at most `limit`: the last `Resign` should arrive.
    pub(super) async fn finish(&self, limit: Duration) {
        let until = self.clock.now() + limit;
        let busy = || self.tokens.iter().flat_map(BTreeMap::values).any(|token| Arc::strong_count(token) > 1);
        while busy() && self.clock.now() < until {
            self.clock.sleep(Duration::from_millis(1)).await;
        }
    }

    fn token(&mut self, group: usize, to: &NodeId) -> Option<Arc<()>> {
        let peers = self.tokens.get_mut(group)?;
        let token = match peers.get(to) {
            Some(token) => token,
            None => peers.entry(to.clone()).or_default(),
        };
        (Arc::strong_count(token) <= OUTSTANDING_MAX).then(|| token.clone())
    }
}

/// How long an answer is of use.
fn deadline(body: &RequestBody, timing: &Timing) -> Duration {
    match body {
        // The answer to a request that carries a record waits for the disk.
        RequestBody::AppendEntries { record: None, .. } => timing.promise,
        _ => timing.election_timeout_min,
    }
}

/// Reports the failure of a call when it is dropped, a panic of the transport included.
struct Answer {
    mail: Mail,
    group: usize,
    me: Arc<Identity>,
    id: RequestId,
    to: NodeId,
    error: Option<CallError>,
    beat: Option<Arc<Vitals>>,
}

impl Answer {
    fn settle(mut self, result: Result<Reply, CallError>) {
        match result {
            // A founding that differs is for the core to judge: it may know less of its own than the answerer.
            Ok(reply) if reply.from.node != self.to || reply.from.cluster != self.me.cluster => {
                self.error = Some(CallError::Unreachable(stray(&self.me, &reply.from)));
                let (group, asked, who) = (self.group, self.to.clone(), reply.from);
                self.mail.send(Parcel::Stray { group, asked, who });
            }
            Ok(reply) => {
                self.error = None;
                self.mail.send(Parcel::Input(self.group, Input::Reply(reply)));
            }
            Err(error) => self.error = Some(error),
        }
    }
}

/// Who answered in place of the node that was asked.
fn stray(me: &Identity, who: &Identity) -> String {
    match who.cluster == me.cluster {
        true => format!("answered by {}", who.node),
        false => format!("answered by {} of the cluster {:?}", who.node, who.cluster.as_str()),
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            if let Some(vitals) = &self.beat {
                vitals.count_failed(&error);
            }
            let input = Input::CallFailed { id: self.id, to: self.to.clone(), error };
            self.mail.send(Parcel::Input(self.group, input));
        }
    }
}
