//! Where requests arrive: members' in one lane, strangers' in another, and news of connections in a third, so that who
//! floods one of them is not in the way of the others.
//!
//! Without authentication a name is a claim: a stranger that claims a member's name shares that member's lane, and no
//! more than [`OF_ONE_MAX`] of the requests under one name may wait.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Condition, HandleError, HealthWatch, Incoming};
use crate::clock::Clock;
use crate::message::{Reply, Request};
use crate::observer::{Traffic, Workload};
use crate::types::{NodeId, TraceContext};

mod desk;

#[cfg(feature = "grpc")]
pub(in crate::transport) use desk::Budget;
pub(crate) use desk::Desk;
use desk::Lane;

/// How many requests may wait for the driver before further ones are turned away.
pub const INBOX_CAPACITY: usize = 4096;
/// How many requests under one member's name may wait: those of all groups of that member.
const OF_ONE_MAX: usize = 1024;
/// How many requests of strangers may wait.
const OF_STRANGERS_MAX: usize = 64;

/// The driver's door for transports, and for applications that serve requests themselves.
#[derive(Debug, Clone)]
pub struct Inbox {
    members: mpsc::Sender<Incoming>,
    strangers: mpsc::Sender<Incoming>,
    news: mpsc::Sender<Incoming>,
    desk: Arc<Desk>,
    condition: Arc<Condition>,
}

/// The driver's end of an [`Inbox`].
#[derive(Debug)]
pub(crate) struct Arrivals {
    pub(crate) members: mpsc::Receiver<Incoming>,
    pub(crate) strangers: mpsc::Receiver<Incoming>,
    pub(crate) news: mpsc::Receiver<Incoming>,
}

impl Inbox {
    /// An inbox and its other end.
    #[must_use]
    pub fn new() -> (Inbox, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(INBOX_CAPACITY);
        let inbox = Inbox {
            members: sender.clone(),
            strangers: sender.clone(),
            news: sender,
            desk: Arc::default(),
            condition: Arc::default(),
        };
        (inbox, receiver)
    }

    /// The inbox of a driver, whose clock a simulation may keep.
    pub(crate) fn of_driver(clock: Clock) -> (Inbox, Arrivals) {
        let (members, from_members) = mpsc::channel(INBOX_CAPACITY);
        let (strangers, from_strangers) = mpsc::channel(OF_STRANGERS_MAX);
        let (news, newest) = mpsc::channel(INBOX_CAPACITY);
        let desk = Arc::new(Desk::with_clock(clock.clone()));
        let condition = Arc::new(Condition::with_clock(clock));
        let arrivals = Arrivals { members: from_members, strangers: from_strangers, news: newest };
        (Inbox { members, strangers, news, desk, condition }, arrivals)
    }

    /// Where a transport counts the bytes that it moves, so that the cost of coordination is known.
    #[must_use]
    pub fn traffic(&self) -> &Arc<Traffic> {
        self.desk.traffic()
    }

    /// Watches whether the member behind this inbox does its part: for a transport that answers probes.
    #[must_use]
    pub fn health(&self) -> HealthWatch {
        HealthWatch::new(&self.condition)
    }

    pub(crate) fn condition(&self) -> &Arc<Condition> {
        &self.condition
    }

    /// Who is known here.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(crate) fn workload(&self) -> &Arc<Workload> {
        self.desk.workload()
    }

    /// Hands over a request, and waits for its reply.
    ///
    /// Requests of another cluster, of a group that is not here, or to another node are refused at once, and counted; one
    /// in a second of each such node reaches the core, which tells of it. What nodes ask that are no members waits behind
    /// what members ask, and more than a few dozen of them in a second are refused as [`Reason::Overloaded`].
    ///
    /// [`Reason::Overloaded`]: crate::message::Reason::Overloaded
    ///
    /// # Errors
    /// [`HandleError`]: the request was not taken, or will never be answered.
    pub async fn handle(
        &self,
        request: Request,
        context: TraceContext,
        peer: Option<NodeId>,
    ) -> Result<Reply, HandleError> {
        let lane = self.desk.lane(&request, peer.as_ref());
        let place = match &lane {
            Lane::Member(waiting) => match waiting.take(OF_ONE_MAX) {
                true => &self.members,
                false => return Err(self.turn_away(HandleError::Overloaded)),
            },
            Lane::Unknown => &self.members,
            Lane::Stranger => &self.strangers,
            Lane::Refused(reply) => {
                self.desk.workload().count_turned_away();
                return Ok((**reply).clone());
            }
        };
        let (reply, answer) = oneshot::channel();
        let sent = place.try_send(Incoming::Request { request, context, peer, reply });
        if let Err(error) = sent {
            if let Lane::Member(waiting) = &lane {
                waiting.give_back();
            }
            return Err(match error {
                mpsc::error::TrySendError::Full(_) => self.turn_away(HandleError::Overloaded),
                mpsc::error::TrySendError::Closed(_) => HandleError::Stopped,
            });
        }
        answer.await.map_err(|_| HandleError::Unanswered)
    }

    fn turn_away(&self, error: HandleError) -> HandleError {
        self.desk.workload().count_turned_away();
        error
    }

    /// Reports that an outbound connection stands.
    pub async fn peer_connected(&self, peer: NodeId) {
        let _ = self.news.send(Incoming::PeerConnected(peer)).await;
    }

    /// Reports that an established outbound connection ended.
    pub async fn peer_closed(&self, peer: NodeId) {
        let _ = self.news.send(Incoming::PeerClosed(peer)).await;
    }

    /// Reports that the immediate reconnect after [`Inbox::peer_closed`] failed: `refused`, or without answer.
    pub async fn peer_lost(&self, peer: NodeId, refused: bool) {
        let _ = self.news.send(Incoming::PeerLost { peer, refused }).await;
    }

    /// Reports any of these without waiting. A full inbox loses it, as a flooded process would notice it late.
    pub(crate) fn tell(&self, news: Incoming) {
        let _ = self.news.try_send(news);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::message::{Identity, RequestBody, RequestId, Verdict};
    use crate::record::HardState;
    use crate::types::{ClusterId, DiskId, Term};

    fn identity(cluster: &str, node: &str) -> Arc<Identity> {
        let name = |name| NodeId::new(name).expect("a name");
        let config = Config::new(ClusterId::new(cluster).expect("a name"), name(node), vec![name(node)]);
        Arc::new(Identity::of(&config, &HardState::new(DiskId(1), config.timing.promise_max)))
    }

    fn request(cluster: &str, from: &str, to: &str) -> Request {
        Request {
            from: identity(cluster, from),
            to: NodeId::new(to).expect("a name"),
            id: RequestId(1),
            term: Term(1),
            body: RequestBody::PreVote { last: None },
        }
    }

    fn door() -> (Inbox, Arrivals) {
        let (inbox, arrivals) = Inbox::of_driver(Clock::default());
        inbox.desk().serve(&identity("test", "a"));
        inbox.desk().list(["a", "b"].map(|name| NodeId::new(name).expect("a name")).iter());
        (inbox, arrivals)
    }

    /// Asks, and says what came back at once; `None` if it waits.
    fn ask(inbox: &Inbox, request: Request) -> Option<Result<Reply, HandleError>> {
        let asking = std::pin::pin!(inbox.handle(request, TraceContext::NONE, None));
        let mut asking = std::pin::pin!(tokio::task::unconstrained(asking));
        match asking.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn each_has_a_lane_and_none_is_in_the_way_of_another() {
        let (inbox, mut arrivals) = door();
        for _ in 0..1000 {
            ask(&inbox, request("test", "x", "a"));
        }
        assert!((1..100).contains(&arrivals.strangers.len()), "{}", arrivals.strangers.len());
        for _ in 0..2 * OF_ONE_MAX {
            ask(&inbox, request("test", "b", "a"));
        }
        assert_eq!(arrivals.members.len(), OF_ONE_MAX, "one name cannot fill the lane");
        inbox.tell(Incoming::PeerClosed(NodeId::new("b").expect("a name")));
        assert!(arrivals.news.try_recv().is_ok());
        // Who was taken makes room for the next under that name.
        let taken = arrivals.members.try_recv().expect("it waits");
        let Incoming::Request { request: taken, .. } = taken else { panic!("{taken:?}") };
        inbox.desk().took(&taken.from.node);
        assert!(ask(&inbox, request("test", "b", "a")).is_none());
        assert_eq!(ask(&inbox, request("test", "b", "a")), Some(Err(HandleError::Overloaded)));
    }

    /// A few reach the core, which tells of them; the rest are refused here, and counted.
    #[test]
    fn what_is_foreign_is_refused_at_the_door() {
        for foreign in [request("other", "b", "a"), request("test", "b", "c")] {
            let (inbox, arrivals) = door();
            let answers: Vec<_> = (0..1000).filter_map(|_| ask(&inbox, foreign.clone())).collect();
            assert!(answers.len() > 990, "{}", answers.len());
            assert!(!arrivals.strangers.is_empty() && arrivals.members.is_empty());
            for answer in &answers {
                let reply = answer.as_ref().expect("an answer");
                assert_eq!(reply.verdict, Verdict::Refused(crate::message::Reason::WrongCluster));
                assert_eq!((reply.to.node.as_str(), reply.from.founding.0, reply.from.timing), ("b", 0, 0));
            }
            assert_eq!(inbox.workload().turned_away(), answers.len() as u64);
        }
    }
}
