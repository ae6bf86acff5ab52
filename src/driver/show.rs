//! Shows observers what happened, and asks the propagator: on a thread of their own, so that no heartbeat waits for what
//! a user wrote, or for a log that nobody reads.
//!
//! The loop packs what one step has to show into one parcel and goes on. A request that an event announced leaves with the
//! context that the propagator gives it, so its own task waits for the observers to get there, and for no longer than
//! [`CONTEXT_MAX`]; then it leaves without.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::audience::{Audience, Cell, Pace};
use super::collective::establishes;
use super::group::Group;
use super::office::Office;
use super::pulse::is_heartbeat;
use super::threads;
use crate::clock::Clock;
use crate::event::{Event, EventKind};
use crate::message::RequestId;
use crate::node::Output;
use crate::observer::{Beat, CollectiveState, Observer, Order, Propagator, Vitals, Workload};
use crate::types::{GroupId, Time, TraceContext};

/// How long a request waits for its trace context: far below a succession slot.
const CONTEXT_MAX: Duration = Duration::from_millis(2);
/// How long work waits for its election to be known, where it begins sooner than the observers have seen that.
const INTRODUCTION_MAX: Duration = Duration::from_millis(50);
/// How many items may wait to be shown before heartbeat samples and states of the group are left out, and counted.
const SAMPLES_WAITING_MAX: usize = 4096;
/// How many may wait before events are left out, too: an observer that stands still for good must not fill the memory.
const EVENTS_WAITING_MAX: usize = 65_536;
/// An observer that takes longer than that over one item is told of.
const SLOW: Duration = Duration::from_secs(1);
/// How long the observers have to see the rest once the driver has ended.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// Something for the observers, for the propagator, or for the log.
pub(super) enum Showing {
    Attach(Arc<Vitals>),
    Event(Event),
    Beat(Beat),
    Collective(Box<CollectiveState>),
    Order(Order),
    /// What the log says beside the events.
    Say(Box<dyn FnOnce() + Send>),
    /// Who holds it learns which election led to it.
    Office(usize, Arc<Office>),
    Ask(Ask),
    /// The driver has ended: nothing follows.
    End,
}

/// A question for the propagator, asked once the observers saw what came before it.
pub(super) struct Ask {
    pub(super) group: usize,
    /// Of this request, beside the context of the newest election.
    pub(super) request: Option<RequestId>,
    pub(super) answer: oneshot::Sender<Contexts>,
}

/// What the propagator gives a message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contexts {
    pub(super) request: TraceContext,
    pub(super) election: TraceContext,
}

/// A message's contexts, under way.
pub(super) struct Awaited {
    answer: oneshot::Receiver<Contexts>,
    otherwise: Contexts,
    workload: Arc<Workload>,
}

impl Awaited {
    /// The contexts; those that were known before if the observers do not get there in time.
    pub(super) async fn get(self) -> Contexts {
        match tokio::time::timeout(CONTEXT_MAX, self.answer).await {
            Ok(answer) => answer.unwrap_or(self.otherwise),
            Err(_) => {
                self.workload.observers().miss();
                self.otherwise
            }
        }
    }
}

/// The loop's end of what the observers see.
pub(super) struct Observers {
    feed: mpsc::UnboundedSender<Vec<Showing>>,
    /// What this step has to show.
    parcel: Vec<Showing>,
    workload: Arc<Workload>,
    /// Without a propagator nobody is asked for a context.
    asks: bool,
    elections: Vec<(Arc<Cell>, TraceContext)>,
    clock: Clock,
    ended: oneshot::Receiver<()>,
}

/// Says something in the log from the observers' thread, whoever has it to say.
#[derive(Clone)]
pub(super) struct Notes {
    feed: mpsc::UnboundedSender<Vec<Showing>>,
    workload: Arc<Workload>,
}

impl Notes {
    /// Never waits. What is said after the driver has ended is lost.
    pub(super) fn say(&self, what: impl FnOnce() + Send + 'static) {
        self.workload.observers().hand_over(1);
        let _ = self.feed.send(vec![Showing::Say(Box::new(what))]);
    }
}

impl Observers {
    pub(super) fn start(
        observers: Vec<Box<dyn Observer>>,
        propagator: Option<Box<dyn Propagator>>,
        groups: impl Iterator<Item = GroupId>,
        workload: &Arc<Workload>,
        clock: &Clock,
    ) -> std::io::Result<Observers> {
        let (feed, queue) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let groups: Vec<_> = groups.map(|group| (group, Arc::new(Cell::default()))).collect();
        let elections = groups.iter().map(|(_, cell)| (cell.clone(), TraceContext::NONE)).collect();
        let asks = propagator.is_some();
        let pace = Pace::new(workload.clone(), clock.clone());
        let audience = Audience::new(observers, propagator, groups, pace);
        threads::spawn(clock, "hustings-observers", async move {
            audience.watch(queue).await;
            let _ = end.send(());
        })?;
        let (workload, clock) = (workload.clone(), clock.clone());
        Ok(Observers { feed, parcel: Vec::new(), workload, asks, elections, clock, ended })
    }

    pub(super) fn notes(&self) -> Notes {
        Notes { feed: self.feed.clone(), workload: self.workload.clone() }
    }

    pub(super) fn attach(&mut self, vitals: &Arc<Vitals>) {
        self.parcel.push(Showing::Attach(vitals.clone()));
    }

    /// Everything that a step came to.
    pub(super) fn show_output(&mut self, at: usize, now: Time, group: &mut Group, out: &Output) {
        group.collective.note_output(now, out);
        for event in &out.events {
            self.show_event(event);
            if establishes(event) {
                let state = group.collective.tell(now, &group.node);
                self.parcel.push(Showing::Collective(Box::new(state)));
            }
            if let (EventKind::Elected { .. }, Some(office)) = (&event.kind, group.office()) {
                self.parcel.push(Showing::Office(at, office.clone()));
                // Work does not wait for observers that stand still.
                let office = office.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(INTRODUCTION_MAX).await;
                    office.introduce(TraceContext::NONE);
                });
            }
        }
        group.pulse.note_output(now, &group.node, out);
        for beat in group.pulse.take_beats() {
            self.show_beat(beat);
        }
        self.show_news(now, group, out.requests.iter().any(is_heartbeat));
    }

    fn show_event(&mut self, event: &Event) {
        if self.workload.observers().waiting() + self.parcel.len() < EVENTS_WAITING_MAX {
            self.parcel.push(Showing::Event(event.clone()));
        } else {
            self.workload.observers().leave_out_event();
        }
    }

    fn show_beat(&mut self, beat: Beat) {
        if self.has_room_for_samples() {
            self.parcel.push(Showing::Beat(beat));
        }
    }

    /// The whole group, where there is something new to be told of it.
    pub(super) fn show_news(&mut self, now: Time, group: &mut Group, round: bool) {
        if let Some(state) = group.collective.news(now, &group.node, round)
            && self.has_room_for_samples()
        {
            self.parcel.push(Showing::Collective(Box::new(state)));
        }
    }

    pub(super) fn show_order(&mut self, order: Order) {
        self.parcel.push(Showing::Order(order));
    }

    /// Says something in the log.
    pub(super) fn say(&mut self, what: impl FnOnce() + Send + 'static) {
        self.parcel.push(Showing::Say(Box::new(what)));
    }

    fn has_room_for_samples(&self) -> bool {
        let room = self.workload.observers().waiting() < SAMPLES_WAITING_MAX;
        if !room {
            self.workload.observers().leave_out_sample();
        }
        room
    }

    /// Asks for the contexts of a message, to be answered after all that was shown so far. `None` where nobody gives any,
    /// or where the observers are known to be late: then the message leaves as it is.
    pub(super) fn ask(&mut self, group: usize, request: Option<RequestId>) -> Option<Awaited> {
        if !self.asks {
            return None;
        }
        if self.workload.observers().is_late() {
            self.workload.observers().miss();
            return None;
        }
        let (answer, awaited) = oneshot::channel();
        self.parcel.push(Showing::Ask(Ask { group, request, answer }));
        let otherwise = Contexts { request: TraceContext::NONE, election: self.election(group) };
        Some(Awaited { answer: awaited, otherwise, workload: self.workload.clone() })
    }

    /// The context of the group's newest election, as far as the observers have seen it. Never waits.
    pub(super) fn election(&mut self, group: usize) -> TraceContext {
        let Some((cell, known)) = self.elections.get_mut(group) else { return TraceContext::NONE };
        if let Ok(newest) = cell.try_lock() {
            *known = *newest;
        }
        *known
    }

    /// Whether something was not handed over yet.
    pub(super) fn have_more(&self) -> bool {
        !self.parcel.is_empty()
    }

    /// Hands over what there is to show.
    pub(super) fn hand_over(&mut self) {
        if self.parcel.is_empty() {
            return;
        }
        let pace = self.workload.observers();
        if let Some(slow) = pace.slow_for(self.clock.now()).filter(|slow| *slow > SLOW)
            && pace.tell_once()
        {
            // Not through their own queue: the log may be what they wait for.
            let waiting = pace.waiting();
            threads::say(&self.clock, move || {
                tracing::warn!(
                    target: "hustings::driver", waiting,
                    "an observer has been taking {slow:?} over one item: what happens is shown late"
                );
            });
        }
        pace.hand_over(self.parcel.len());
        // It lives as long as this does, unless its runtime was torn down.
        let _ = self.feed.send(std::mem::take(&mut self.parcel));
    }

    /// Lets them see the rest. Says so if they do not get to the end of it in time.
    pub(super) async fn finish(mut self) {
        self.parcel.push(Showing::End);
        self.hand_over();
        let Observers { feed, ended, workload, clock, .. } = self;
        drop(feed);
        if tokio::time::timeout(FINISH_MAX, ended).await.is_err() {
            let waiting = workload.observers().waiting();
            threads::say(&clock, move || {
                tracing::warn!(
                    target: "hustings::driver", waiting,
                    "the observers did not see everything within {FINISH_MAX:?}: left without them"
                );
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc as gate;

    use super::*;
    use crate::config::Config;
    use crate::event::Role;
    use crate::message::Identity;
    use crate::observer::BeatKind;
    use crate::record::HardState;
    use crate::types::{ClusterId, DiskId, NodeId, Term};

    fn who() -> Arc<Identity> {
        let name = NodeId::new("a").expect("a name");
        let config = Config::new(ClusterId::new("test").expect("a name"), name.clone(), vec![name]);
        Arc::new(Identity::of(&config, &HardState::new(DiskId(1), config.timing.promise_max)))
    }

    fn event(sequence: u64) -> Event {
        let kind = EventKind::Paused { duration: Duration::ZERO };
        let (at, term, role) = (Time::ZERO, Term(1), Role::Follower);
        Event { at, sequence, who: who(), term, role, leader: None, voted_for: None, kind }
    }

    fn beat(number: u64) -> Beat {
        Beat { at: Time::ZERO, who: who(), term: Term(1), kind: BeatKind::Round { number, gap: None } }
    }

    /// Stands still at its first event until it is let go.
    struct Counter {
        gate: gate::Receiver<()>,
        events: Arc<AtomicU64>,
        beats: Arc<AtomicU64>,
    }

    impl Observer for Counter {
        fn observe(&mut self, event: &Event) {
            if event.sequence == 0 {
                let _ = self.gate.recv();
            }
            let before = self.events.fetch_add(1, Ordering::SeqCst);
            assert_eq!(before, event.sequence, "in order");
        }

        fn beat(&mut self, _: &Beat) {
            self.beats.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn who_falls_behind_loses_samples_and_no_event() {
        const MANY: u64 = 10_000;
        let (open, closed) = gate::channel();
        let (events, beats) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counter = Counter { gate: closed, events: events.clone(), beats: beats.clone() };
        let workload = Arc::<Workload>::default();
        let clock = Clock::default();
        let mut observers =
            Observers::start(vec![Box::new(counter)], None, std::iter::empty(), &workload, &clock).expect("a thread");
        for number in 0..MANY {
            observers.show_event(&event(number));
            observers.show_beat(beat(number));
            observers.hand_over();
        }
        let left_out = workload.observers().samples_left_out();
        assert!(left_out > MANY / 2 && workload.observers().events_left_out() == 0, "{left_out}");
        assert!(workload.observers().slow_for(clock.now()).is_some());
        open.send(()).expect("it waits");
        observers.finish().await;
        assert_eq!(events.load(Ordering::SeqCst), MANY);
        assert_eq!(beats.load(Ordering::SeqCst), MANY - left_out);
    }

    /// However long it stands still, the memory that waits for it is bounded.
    #[tokio::test]
    async fn what_waits_is_bounded() {
        let (open, closed) = gate::channel();
        let (events, beats) = (Arc::default(), Arc::default());
        let counter = Counter { gate: closed, events, beats };
        let workload = Arc::<Workload>::default();
        let clock = Clock::default();
        let mut observers =
            Observers::start(vec![Box::new(counter)], None, std::iter::empty(), &workload, &clock).expect("a thread");
        for number in 0..u64::try_from(EVENTS_WAITING_MAX).expect("small") + 100 {
            observers.show_event(&event(number));
            observers.hand_over();
        }
        assert!(workload.observers().waiting() <= EVENTS_WAITING_MAX);
        assert!(workload.observers().events_left_out() >= 99);
        open.send(()).expect("it waits");
        observers.finish().await;
    }
}
