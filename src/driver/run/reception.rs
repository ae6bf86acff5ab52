//! In which order the driver takes what waits for it.
//!
//! Each turn of the loop takes the most urgent thing first, again and again, with a limit to each lane that others can
//! fill: so a flood in one lane delays no other by more than its share of one turn, and no deadline by more than one turn.

use super::{Driver, Parcel};
use crate::event::CallId;
use crate::node::Input;
use crate::transport::Incoming;

/// How often the other tasks get a turn after a pause, so that what arrived meanwhile is read before anybody campaigns.
const CATCH_UP_TURNS: usize = 16;
/// What the loop woke for.
pub(super) enum Woken {
    Own(Parcel),
    News(Incoming),
    Member(Incoming),
    Wish(Parcel),
    Stranger(Incoming),
    Deadline,
}

/// How much of each lane that others can fill one turn takes.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    members: usize,
    wishes: usize,
    strangers: usize,
}

impl Turn {
    const FULL: Turn = Turn { members: 64, wishes: 32, strangers: 4 };
    /// Everything of members, nothing of anybody else: what tells whether the leader lives.
    const CATCH_UP: Turn = Turn { members: usize::MAX, wishes: 0, strangers: 0 };

    fn is_spent(self) -> bool {
        self.members == 0 || self.wishes == 0 || self.strangers == 0
    }
}

impl Driver {
    /// Takes what waits already, up to a turn's worth. Says whether others have more.
    pub(super) fn drain(&mut self) -> bool {
        let mut turn = Turn::FULL;
        self.drain_turn(&mut turn);
        turn.is_spent()
    }

    /// After a pause: reads what had arrived, so that nobody campaigns against a leader whose heartbeats wait in a queue.
    pub(super) async fn catch_up(&mut self) {
        for _ in 0..CATCH_UP_TURNS {
            tokio::task::yield_now().await;
            self.drain_turn(&mut Turn { members: self.doors.arrivals.members.len(), ..Turn::CATCH_UP });
        }
    }

    fn drain_turn(&mut self, turn: &mut Turn) {
        while let Some(woken) = self.most_urgent(turn) {
            self.take(woken);
        }
    }

    fn most_urgent(&mut self, turn: &mut Turn) -> Option<Woken> {
        let (letters, arrivals) = (&mut self.doors.letters, &mut self.doors.arrivals);
        if let Ok(parcel) = letters.own.try_recv() {
            return Some(Woken::Own(parcel));
        }
        if let Ok(news) = arrivals.news.try_recv() {
            return Some(Woken::News(news));
        }
        if turn.wishes > 0
            && let Ok(wish) = letters.wishes.try_recv()
        {
            turn.wishes -= 1;
            return Some(Woken::Wish(wish));
        }
        if turn.members > 0
            && let Ok(request) = arrivals.members.try_recv()
        {
            turn.members -= 1;
            return Some(Woken::Member(request));
        }
        if turn.strangers > 0
            && let Ok(request) = arrivals.strangers.try_recv()
        {
            turn.strangers -= 1;
            return Some(Woken::Stranger(request));
        }
        None
    }

    pub(super) fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Own(parcel) | Woken::Wish(parcel) => self.deliver(parcel),
            Woken::News(news) => self.receive(news),
            Woken::Member(request) => {
                if let Incoming::Request { request, .. } = &request {
                    self.doors.inbox.desk().took(&request.from.node);
                }
                self.receive(request);
            }
            Woken::Stranger(request) => {
                self.receive(request);
                self.tell_of_turned_away();
            }
            Woken::Deadline => {}
        }
    }

    /// Says how many requests the door refused: told with one that it let in, and so about once a second.
    fn tell_of_turned_away(&mut self) {
        let count = self.workload.turned_away();
        let requests = count - std::mem::replace(&mut self.turned_away, count);
        if requests > 0 {
            self.observers.say(move || {
                tracing::warn!(
                    target: "hustings::election", requests,
                    "requests were refused at the door: of another cluster or group, to another node, or too many at once"
                );
            });
            self.observers.hand_over();
        }
    }

    fn receive(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Request { request, context, peer, reply } => {
                // A group that is not here is refused, with a reason, by one that is.
                let at = self.names.get(&request.from.group).copied().unwrap_or(0);
                if self.groups.get(at).is_none_or(Option::is_none) {
                    // It has left: the channel that is dropped says so.
                    return;
                }
                let call = self.next_call;
                self.next_call = CallId(call.0.wrapping_add(1));
                self.open.insert(call, (at, reply));
                self.input(at, Input::Request { call, request, context, peer });
            }
            Incoming::PeerConnected(peer) => self.input_all(|| Input::PeerConnected(peer.clone())),
            Incoming::PeerClosed(peer) => self.input_all(|| Input::PeerClosed(peer.clone())),
            Incoming::PeerLost { peer, refused } => self.input_all(|| Input::PeerLost { peer: peer.clone(), refused }),
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Input(at, input) => self.input(at, input),
            Parcel::Command(at, command) => self.command(at, command),
            Parcel::Forget(node) => self.forget(&node),
        }
    }
}
