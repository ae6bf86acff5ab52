//! The loop itself.

mod attend;
mod candidacy;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::calls::Calls;
use super::command::{Parcel, tell};
use super::group::Group;
use super::pulse::{Pulse, is_heartbeat};
use super::show::{Observers, ask};
use super::standing::Standing;
use super::writer::{Job, Writer};
use super::{Doors, Handle, Setup, StartFailure, Started, Stopped};
use crate::clock::{Clock, Timer};
use crate::event::{CallId, EventKind, Role};
use crate::message::{Reply, ReplyBody, RequestBody};
use crate::mutant::{self, Mutant};
use crate::node::{Input, Node, Output, Persist};
use crate::observer::{Propagator, Vitals, Workload};
use crate::transport::{AnyTransport, Health, Incoming};
use crate::types::{GroupId, Time, TraceContext};

/// How many messages are taken between two looks at the deadlines: a flood of messages cannot cost a leader its lease.
const BURST_MAX: usize = 128;
/// How often the other tasks get a turn after a pause, so that what arrived meanwhile is read before anybody campaigns.
const CATCH_UP_TURNS: usize = 16;
/// How long the transport may take to close its connections.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Builds the driver, reports its handles or its failure, and serves until the last group has stopped.
pub(super) async fn run(setup: Setup, doors: Doors, started: oneshot::Sender<Result<Started, StartFailure>>) {
    // Declared first and so dropped last, also in a panic: whoever waits for the end sees everything released.
    let _end = doors.ended.clone().drop_guard();
    let _stopped = Stopped(doors.inbox.condition().clone());
    match Driver::build(setup, doors).await {
        Err(failure) => tell(started, Err(failure)),
        Ok(driver) => {
            let handles = (0..driver.groups.len()).filter_map(|at| driver.handle(at)).collect();
            // Whoever does not take them, now or later, lets the driver leave.
            tell(started, Ok(Started(handles)));
            driver.serve().await;
        }
    }
}

struct Driver {
    doors: Doors,
    clock: Clock,
    timer: Timer,
    writer: Writer,
    calls: Calls,
    transport: Arc<dyn AnyTransport>,
    workload: Arc<Workload>,
    observers: Observers,
    propagator: Box<dyn Propagator>,
    groups: Vec<Option<Group>>,
    names: BTreeMap<GroupId, usize>,
    deadlines: BTreeSet<(Time, usize)>,
    due: Vec<usize>,
    open: BTreeMap<CallId, (usize, oneshot::Sender<Reply>)>,
    next_call: CallId,
    /// A pause was noticed, and what arrived in it has not been read yet.
    paused: bool,
    /// Emptied after each step, its memory kept.
    out: Output,
}

impl Driver {
    async fn build(setup: Setup, doors: Doors) -> Result<Driver, StartFailure> {
        let Setup {
            configs, storage, transport, observers, propagator, drain_limit, beat_every, clock, addresses, ..
        } = setup;
        let (writer, states) = Writer::start(storage, configs.clone(), doors.mail.clone(), clock.clone())
            .await
            .map_err(StartFailure::Storage)?;
        if let Err(error) = transport.start(doors.inbox.clone()).await {
            writer.finish().await;
            return Err(StartFailure::Transport(error));
        }
        let mut driver = Driver {
            calls: Calls::new(transport.clone(), configs.len(), doors.mail.clone(), clock.clone()),
            workload: Arc::new(Workload::new(doors.inbox.traffic().clone())),
            doors,
            timer: clock.timer(),
            clock,
            writer,
            transport,
            observers: Observers::new(observers),
            propagator,
            groups: Vec::with_capacity(configs.len()),
            names: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: Vec::new(),
            open: BTreeMap::new(),
            next_call: CallId(0),
            paused: false,
            out: Output::default(),
        };
        for (at, (config, state)) in configs.into_iter().zip(states).enumerate() {
            let now = driver.clock.now();
            driver.doors.inbox.condition().allow(config.timing.election_timeout_max);
            driver.names.insert(config.group.clone(), at);
            let node = Node::new(config, state, driver.clock.random(), now, &mut driver.out);
            let vitals = Arc::new(Vitals::new(node.identity().clone(), driver.workload.clone()));
            driver.observers.show(|observer| observer.attach(&vitals));
            let pulse = Pulse::new(&node, vitals, beat_every);
            let standing = Standing::new(addresses.clone());
            driver.groups.push(Some(Group::new(node, pulse, standing, drain_limit, driver.clock.clone())));
            driver.carry_out(at, now);
            driver.tell_candidacy(at);
        }
        Ok(driver)
    }

    fn handle(&self, at: usize) -> Option<Handle> {
        let group = self.groups.get(at)?.as_ref()?;
        let published = group.published();
        Some(Handle {
            mail: self.doors.mail.clone(),
            group: at,
            node: group.node.config().node.clone(),
            view: published.view.subscribe(),
            events: published.events.downgrade(),
            proclaimed: published.proclaimed.subscribe(),
            members: published.members.subscribe(),
            conditions: group.standing.conditions(),
            inbox: self.doors.inbox.clone(),
            health: self.doors.inbox.health(),
            ended: self.doors.ended.clone(),
            lag: self.doors.lag.clone(),
        })
    }

    async fn serve(mut self) {
        while self.groups.iter().any(Option::is_some) {
            let next = self.deadlines.first().map_or(Time::NEVER, |(at, _)| *at);
            self.doors.inbox.condition().due(next);
            let woken = tokio::select! {
                biased;
                Some(incoming) = self.doors.incoming.recv() => Woken::Incoming(incoming),
                Some(parcel) = self.doors.letters.recv() => Woken::Parcel(parcel),
                () = self.timer.until(next) => Woken::Deadline,
            };
            let woke = self.clock.now();
            self.take(woken);
            if self.drain(BURST_MAX) {
                // The tasks that carry the messages out get their turn in a flood, too.
                tokio::task::yield_now().await;
            }
            if self.stood_still() {
                self.catch_up().await;
            }
            self.serve_deadlines();
            self.workload.count_busy(self.clock.now().since(woke));
        }
        self.finish().await;
    }

    async fn finish(self) {
        let Driver { doors, clock, calls, transport, writer, groups, open, .. } = self;
        // Their guards are revoked before the listener closes; who still asks hears that nobody is here.
        drop(groups);
        drop(doors.incoming);
        calls.finish(Duration::from_millis(300)).await;
        drop(open);
        if !mutant::on(Mutant::ListenerLeftOpen) {
            let _ = clock.timeout(STOP_MAX, transport.stop()).await;
        }
        writer.finish().await;
    }

    /// Whether a pause was noticed that no deadline has been served since.
    fn stood_still(&mut self) -> bool {
        let now = self.clock.now();
        let late = |at: &usize| self.groups.get(*at).and_then(Option::as_ref).is_some_and(|group| group.is_late(now));
        std::mem::take(&mut self.paused) || self.deadlines.range(..(now, 0)).any(|(_, at)| late(at))
    }

    /// After a pause: reads what had arrived, so that nobody campaigns against a leader whose heartbeats wait in a queue.
    async fn catch_up(&mut self) {
        for _ in 0..CATCH_UP_TURNS {
            tokio::task::yield_now().await;
            self.drain(usize::MAX);
        }
    }

    /// Takes up to `limit` messages that wait already. Says whether the limit was met.
    fn drain(&mut self, limit: usize) -> bool {
        let waiting = self.doors.incoming.len() + self.doors.letters.len();
        let turns = waiting.min(limit);
        for _ in 0..turns {
            if let Ok(incoming) = self.doors.incoming.try_recv() {
                self.receive(incoming);
            } else if let Ok(parcel) = self.doors.letters.try_recv() {
                self.deliver(parcel);
            } else {
                break;
            }
        }
        turns == limit
    }

    fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Incoming(incoming) => self.receive(incoming),
            Woken::Parcel(parcel) => self.deliver(parcel),
            Woken::Deadline => {}
        }
    }

    fn serve_deadlines(&mut self) {
        let now = self.clock.now();
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        due.extend(self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, at)| *at));
        for at in due.drain(..) {
            self.tick(at);
        }
        self.due = due;
    }

    fn tick(&mut self, at: usize) {
        let now = self.clock.now();
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let late = now.since(group.armed);
        self.doors.lag.note(late);
        self.workload.note_lag(now, late);
        group.tick(now);
        if group.leave_at <= now {
            tracing::error!(target: "hustings::election", group = %group.id, "user work did not end: leaving all the same");
            return self.retire(at);
        }
        if group.notice_pause(now, &mut self.out) {
            self.paused = true;
            self.carry_out(at, now);
        }
        if self.groups.get(at).and_then(Option::as_ref).is_some_and(|group| group.drain_expired(now)) {
            self.step(at, Input::DrainExpired);
        }
        let due = |group: &Group| group.node_deadline() <= now;
        if self.groups.get(at).and_then(Option::as_ref).is_some_and(due) {
            self.step(at, Input::Tick);
        }
        self.tell_candidacy(at);
        self.hand_out(at);
        self.attend(at, now);
        self.rearm(at, now);
    }

    fn receive(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Request { request, context, peer, reply } => {
                // A group that is not here is refused, with a reason, by one that is.
                let at = self.names.get(&request.from.group).copied().unwrap_or(0);
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
            Parcel::Probed(at, reply) => self.take_probed(at, &reply),
            Parcel::Stray { group, asked, who } => self.take_stray(group, &asked, &who),
            Parcel::Forget(node) => self.forget(&node),
        }
    }

    fn input_all(&mut self, input: impl Fn() -> Input) {
        for at in 0..self.groups.len() {
            self.input(at, input());
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        self.step(at, input);
        self.hand_out(at);
    }

    /// One input of the core, and everything that it calls for.
    fn step(&mut self, at: usize, input: Input) {
        if let Some(cause) = self.groups.get(at).and_then(Option::as_ref).and_then(Group::lapsed) {
            // E11: before anything else, since an acknowledgement would renew a lease that work was told is over.
            self.step_once(at, Input::Revoke(cause));
        }
        self.step_once(at, input);
    }

    fn step_once(&mut self, at: usize, input: Input) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        // E9: read once, after the input was taken and before anything leaves.
        let now = self.clock.now();
        if group.notice_pause(now, &mut self.out) {
            self.paused = true;
        }
        group.pulse.note_input(now, &group.node, &input);
        group.collective.note_input(now, &group.node, &input);
        group.standing.note_input(now, &group.node, &input);
        group.node.step(now, input, &mut self.out);
        self.carry_out(at, now);
    }

    /// The order is the contract of [`Output`].
    fn carry_out(&mut self, at: usize, now: Time) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let out = &mut self.out;
        let published_last = mutant::on(Mutant::ResignBeforeGuardRevoked);
        if !published_last {
            group.publish(&out.events);
        }
        if let Some(persist) = out.persist.take() {
            let Persist { write, state, afresh } = persist;
            let job = Job { group: at, id: group.id.clone(), write, state, afresh };
            self.writer.write(job, &self.doors.mail);
        }
        let healed = out.events.iter().any(|event| matches!(event.kind, EventKind::StorageHealed { .. }));
        if out.events.iter().any(|event| matches!(event.kind, EventKind::PersistFailed { .. })) {
            self.doors.inbox.condition().worsen(Health::StorageFailed);
        }
        self.observers.show_output(now, group, out);
        group.standing.note_output(now, &group.node, out);
        group.stream(&out.events);
        // The same for all of them.
        let mut led_by = None;
        for mut request in out.requests.drain(..) {
            let beat = is_heartbeat(&request);
            let context = ask(&mut self.propagator, |propagator| {
                if let RequestBody::AppendEntries { election, .. } = &mut request.body {
                    *election = *led_by.get_or_insert_with(|| propagator.election(&group.id));
                }
                // A heartbeat that nobody looks at has no context, and none is looked for.
                match beat && !group.pulse.is_picked(request.id) {
                    true => TraceContext::NONE,
                    false => propagator.request(&group.id, request.id),
                }
            });
            let beat = beat.then(|| group.pulse.vitals().clone());
            self.calls.send(at, request, context.unwrap_or_default(), &group.node.config().timing, beat);
        }
        for (call, mut reply) in out.replies.drain(..) {
            if let ReplyBody::TimeoutNow { election } = &mut reply.body {
                *election = ask(&mut self.propagator, |propagator| propagator.election(&group.id)).unwrap_or_default();
            }
            if let Some((_, sender)) = self.open.remove(&call) {
                let _ = sender.send(reply);
            }
        }
        for call in out.dropped.drain(..) {
            self.open.remove(&call);
        }
        if published_last {
            group.publish(&out.events);
        }
        group.answer_waiters(&out.events);
        for node in group.departed(&out.events) {
            // Later, since what is on its way to it still needs the connection.
            let (mail, patience) = (self.doors.mail.clone(), group.node.config().timing.election_timeout_max);
            let clock = self.clock.clone();
            self.clock.spawn(async move {
                clock.sleep(patience).await;
                mail.send(Parcel::Forget(node));
            });
        }
        out.clear();
        if group.node.role() == Role::Stopped {
            self.retire(at);
        } else {
            self.attend(at, now);
            self.rearm(at, now);
        }
        if healed && !self.groups.iter().flatten().any(|group| group.node.storage_failed()) {
            self.doors.inbox.condition().heal();
        }
    }

    fn hand_out(&mut self, at: usize) {
        let now = self.clock.now();
        self.resume_shutdown(at, now);
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let starts = group.can_start_work(now);
        if !starts && !group.can_join_work(now) {
            return;
        }
        if let Some(office) = group.office() {
            let election = ask(&mut self.propagator, |propagator| propagator.election(&group.id)).unwrap_or_default();
            let _ = office.election.set(election);
        }
        if starts {
            self.step(at, Input::WorkStarted);
        }
        if let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) {
            group.hand_out(now, at, &self.doors.mail);
            self.rearm(at, now);
        }
    }

    fn rearm(&mut self, at: usize, now: Time) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let deadline = group.deadline(now);
        // Caught up: the next lateness is another pause.
        group.pause_told &= deadline <= now;
        if group.armed != deadline {
            self.deadlines.remove(&(group.armed, at));
            group.armed = deadline;
        }
        if deadline != Time::NEVER {
            self.deadlines.insert((deadline, at));
        }
    }

    fn retire(&mut self, at: usize) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::take) else { return };
        self.deadlines.remove(&(group.armed, at));
        self.open.retain(|_, (owner, _)| *owner != at);
        self.names.remove(&group.id);
        self.note_leaving();
    }

    /// The member leaves once all of its groups do.
    fn note_leaving(&self) {
        if self.groups.iter().flatten().all(|group| group.leaving) {
            self.doors.inbox.condition().worsen(Health::Stopping);
        }
    }
}

/// What the loop woke for.
enum Woken {
    Incoming(Incoming),
    Parcel(Parcel),
    Deadline,
}
