//! The world's one thread: tasks that take turns, threads that are lanes, and time that goes on when nobody has more to do.
//!
//! A *lane* is what a thread is in reality: its tasks run one after the other, and none of them while it stands still.
//! Whose turn it is among those who could go on is drawn from the seed, and never depends on the order in which they were
//! woken: some of tokio's channels wake their waiters in an order of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::clock::Errand;
use crate::sim::chance::Chance;
use crate::types::Time;

/// A thread of some process, or of the world itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TaskId(u64);

/// The world. Clones are the same one.
#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    core: Mutex<Core>,
    woken: Arc<Mutex<BTreeSet<TaskId>>>,
}

struct Core {
    now: Time,
    order: Chance,
    tasks: BTreeMap<TaskId, Task>,
    timers: BTreeMap<(Time, u64), Waker>,
    lanes: Vec<Lane>,
    next: u64,
    running: Option<LaneId>,
    polls: u64,
}

struct Task {
    lane: LaneId,
    /// The body of its thread: what else runs there ends with it.
    is_body: bool,
    /// `None` while it runs.
    future: Option<Errand>,
    waker: Waker,
}

#[derive(Debug)]
struct Lane {
    name: &'static str,
    stands_until: Time,
    /// How long each turn takes.
    turn: Duration,
    /// Its last turn takes until then.
    busy_until: Time,
    ended: bool,
}

impl Lane {
    /// When it can take its next turn.
    fn free_at(&self) -> Time {
        self.stands_until.max(self.busy_until)
    }
}

/// What came of asking for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody had a turn.
    Turn,
    /// Nobody has anything to do before then.
    Rest(Time),
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let core = Core {
            now: Time(1),
            order: Chance::stream(seed, "whose turn"),
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            lanes: Vec::new(),
            next: 0,
            running: None,
            polls: 0,
        };
        World(Arc::new(Inner { core: Mutex::new(core), woken: Arc::default() }))
    }

    /// True time, which no node can see.
    pub(super) fn now(&self) -> Time {
        self.core().now
    }

    /// How many turns were taken.
    pub(super) fn polls(&self) -> u64 {
        self.core().polls
    }

    pub(super) fn lane(&self, name: &'static str) -> LaneId {
        let mut core = self.core();
        core.lanes.push(Lane {
            name,
            stands_until: Time::ZERO,
            turn: Duration::ZERO,
            busy_until: Time::ZERO,
            ended: false,
        });
        LaneId(core.lanes.len() - 1)
    }

    /// The lane of whoever has its turn.
    pub(super) fn running(&self) -> Option<LaneId> {
        self.core().running
    }

    /// A task on a lane. On one that has ended it is dropped.
    pub(super) fn spawn(&self, lane: LaneId, future: Errand) {
        self.begin(lane, false, future);
    }

    /// The body of a thread.
    pub(super) fn spawn_body(&self, lane: LaneId, future: Errand) {
        self.begin(lane, true, future);
    }

    fn begin(&self, lane: LaneId, is_body: bool, future: Errand) {
        let mut core = self.core();
        if core.lanes[lane.0].ended {
            drop(core);
            return drop(future);
        }
        let id = TaskId(core.number());
        let waker = Waker::from(Arc::new(Nudge { id, woken: self.0.woken.clone() }));
        core.tasks.insert(id, Task { lane, is_body, future: Some(future), waker });
        lock(&self.0.woken).insert(id);
    }

    /// The lane stands still from now on, for at least so long.
    pub(super) fn stall(&self, lane: LaneId, wait: Duration) {
        let mut core = self.core();
        let until = core.now + wait;
        let stands = &mut core.lanes[lane.0].stands_until;
        *stands = until.max(*stands);
    }

    /// The lane goes on.
    pub(super) fn resume(&self, lane: LaneId) {
        let mut core = self.core();
        core.lanes[lane.0].stands_until = core.now;
    }

    /// Each turn on that lane takes so long from now on.
    pub(super) fn set_turn(&self, lane: LaneId, turn: Duration) {
        self.core().lanes[lane.0].turn = turn;
    }

    pub(super) fn stands(&self, lane: LaneId) -> bool {
        let core = self.core();
        core.lanes[lane.0].stands_until > core.now
    }

    /// How many tasks a lane has.
    pub(super) fn tasks(&self, lane: LaneId) -> usize {
        self.core().tasks.values().filter(|task| task.lane == lane).count()
    }

    pub(super) fn name(&self, lane: LaneId) -> &'static str {
        self.core().lanes[lane.0].name
    }

    /// The thread ends where it is: everything on it is dropped.
    pub(super) fn end(&self, lane: LaneId) {
        let doomed: Vec<Task> = {
            let mut core = self.core();
            core.lanes[lane.0].ended = true;
            let ids: Vec<TaskId> = core.tasks.iter().filter(|(_, task)| task.lane == lane).map(|(id, _)| *id).collect();
            ids.into_iter().filter_map(|id| core.tasks.remove(&id)).collect()
        };
        // What is dropped may wake others, and start things: the world must not be locked.
        for task in doomed {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        }
    }

    /// One turn of somebody who can go on, or how long everybody rests.
    pub(super) fn step(&self) -> Step {
        let Some((id, lane, future, waker)) = self.choose() else { return Step::Rest(self.next_event()) };
        let mut future = future;
        let mut context = Context::from_waker(&waker);
        let outcome = catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut future).poll(&mut context)));
        let over = !matches!(outcome, Ok(Poll::Pending));
        if over {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
            let is_body = self.core().tasks.remove(&id).is_some_and(|task| task.is_body);
            if is_body {
                self.end(lane);
            }
        } else {
            self.put_back(id, future);
        }
        let mut core = self.core();
        core.running = None;
        let (now, lane) = (core.now, &mut core.lanes[lane.0]);
        lane.busy_until = now + lane.turn;
        Step::Turn
    }

    fn choose(&self) -> Option<(TaskId, LaneId, Errand, Waker)> {
        let mut core = self.core();
        let mut woken = lock(&self.0.woken);
        woken.retain(|id| core.tasks.contains_key(id));
        let awake = |id: &TaskId| {
            let task = core.tasks.get(id)?;
            (core.lanes[task.lane.0].free_at() <= core.now).then_some(*id)
        };
        let able: Vec<TaskId> = woken.iter().filter_map(awake).collect();
        if able.is_empty() {
            return None;
        }
        let id = able[core.order.index(able.len())];
        woken.remove(&id);
        core.polls += 1;
        let task = core.tasks.get_mut(&id)?;
        let (lane, future, waker) = (task.lane, task.future.take()?, task.waker.clone());
        core.running = Some(lane);
        Some((id, lane, future, waker))
    }

    fn put_back(&self, id: TaskId, future: Errand) {
        let mut core = self.core();
        match core.tasks.get_mut(&id) {
            Some(task) => task.future = Some(future),
            // Its thread ended under it.
            None => {
                drop(core);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
            }
        }
    }

    fn next_event(&self) -> Time {
        let core = self.core();
        let timer = core.timers.keys().next().map_or(Time::NEVER, |(at, _)| *at);
        let waits = |id: &TaskId| core.tasks.get(id).map(|task| core.lanes[task.lane.0].free_at());
        lock(&self.0.woken).iter().filter_map(waits).fold(timer, Time::min)
    }

    /// Time goes on to `at`; timers of that moment and before ring.
    pub(super) fn advance(&self, at: Time) {
        let mut core = self.core();
        core.now = core.now.max(at);
        let after = core.now + Duration::from_nanos(1);
        let later = core.timers.split_off(&(after, 0));
        let due = std::mem::replace(&mut core.timers, later);
        drop(core);
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// Rings at `at` of true time.
    pub(super) fn until(&self, at: Time) -> Until {
        Until { world: self.clone(), at, key: None }
    }

    /// Returns once the lane that runs does not stand still.
    pub(super) fn caught_up(&self) -> Until {
        let core = self.core();
        let at = core.running.map_or(Time::ZERO, |lane| core.lanes[lane.0].stands_until);
        drop(core);
        self.until(at)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.0.core)
    }
}

impl Core {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

struct Nudge {
    id: TaskId,
    woken: Arc<Mutex<BTreeSet<TaskId>>>,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        lock(&self.woken).insert(self.id);
    }
}

/// A point of true time to wait for.
#[derive(Debug)]
pub(super) struct Until {
    world: World,
    at: Time,
    key: Option<(Time, u64)>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut core = world.core();
        if core.now >= self.at {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => (self.at, core.number()),
        };
        if self.at != Time::NEVER {
            core.timers.insert(key, context.waker().clone());
        }
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.world.core().timers.remove(&key);
            drop(waker);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics without a word on the terminal: what a user's code may do at any time.
pub(super) fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}
