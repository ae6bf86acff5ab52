//! The loop itself.

mod reception;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::calls::{Calls, reach};
use super::collective::members;
use super::command::{
    ChangeFailure, Command, NotLeading, Parcel, ProclaimFailure, Transfer, TransferFailure, Waiter, tell,
};
use super::group::Group;
use super::office::LossCause;
use super::pulse::{Pulse, is_heartbeat};
use super::show::{Awaited, Observers};
use super::writer::{Job, Writer};
use super::{Doors, Handle, Setup, StartFailure};
use crate::clock::{Clock, Timer};
use crate::event::{CallId, Change, EventKind, Role};
use crate::message::{Reply, ReplyBody, RequestBody};
use crate::mutant::{self, Mutant};
use crate::node::{Input, Node, Output};
use crate::observer::{Order, OrderKind, Vitals, Workload};
use crate::record::RecordId;
use crate::transport::{AnyTransport, Condition, Health};
use crate::types::{GroupId, NodeId, Time};
use reception::Woken;

/// How many turns of the other tasks a message takes to its socket: its own task, and that of its connection.
const LEAVING_TURNS: usize = 2;
/// How long the transport may take to close its connections.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Builds the driver, reports its handles or its failure, and serves until the last group has stopped.
pub(super) async fn run(setup: Setup, doors: Doors, started: oneshot::Sender<Result<Vec<Handle>, StartFailure>>) {
    // Declared first and so dropped last, also in a panic: whoever waits for the end sees everything released.
    let _end = doors.ended.clone().drop_guard();
    let _stopped = Stopped(doors.inbox.condition().clone());
    match Driver::build(setup, doors).await {
        Err(failure) => tell(started, Err(failure)),
        Ok(mut driver) => {
            let handles = (0..driver.groups.len()).filter_map(|at| driver.handle(at)).collect();
            if started.send(Ok(handles)).is_err() {
                driver.shut_down_all();
            }
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
    /// How many requests that the door refused were told of.
    turned_away: u64,
    /// The contexts that this step's requests wait for. Its memory is kept.
    asked: Vec<Option<Awaited>>,
    /// The newest record of each group whose members the door was told.
    listed: Vec<Option<RecordId>>,
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
        let Setup { configs, storage, transport, observers, propagator, drain_limit, beat_every, clock, .. } = setup;
        let workload = doors.inbox.workload().clone();
        let groups = configs.iter().map(|config| config.group.clone());
        let observers =
            Observers::start(observers, propagator, groups, &workload, &clock).map_err(StartFailure::Thread)?;
        let (writer, states) = Writer::start(storage, configs.clone(), doors.mail.clone(), observers.notes())
            .await
            .map_err(StartFailure::Storage)?;
        if let Err(error) = transport.start(doors.inbox.clone()).await {
            writer.finish().await;
            return Err(StartFailure::Transport(error));
        }
        let mut driver = Driver {
            calls: Calls::new(transport.clone(), configs.len(), doors.mail.clone(), clock.clone()),
            workload,
            doors,
            timer: clock.timer(),
            clock,
            writer,
            transport,
            observers,
            turned_away: 0,
            asked: Vec::new(),
            listed: Vec::new(),
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
            driver.observers.attach(&vitals);
            driver.doors.inbox.desk().serve(node.identity());
            let pulse = Pulse::new(&node, vitals, beat_every);
            driver.groups.push(Some(Group::new(node, pulse, drain_limit, driver.clock.clone())));
            driver.listed.push(None);
            driver.carry_out(at, now);
        }
        driver.list_members();
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
            inbox: self.doors.inbox.clone(),
            health: self.doors.inbox.health(),
            ended: self.doors.ended.clone(),
            lag: self.doors.lag.clone(),
        })
    }

    async fn serve(mut self) {
        while self.groups.iter().any(Option::is_some) {
            if self.observers.have_more() {
                // To wake them may cost this thread its turn: what is on its way leaves first.
                for _ in 0..LEAVING_TURNS {
                    tokio::task::yield_now().await;
                }
                self.observers.hand_over();
            }
            let next = self.deadlines.first().map_or(Time::NEVER, |(at, _)| *at);
            self.doors.inbox.condition().due(next);
            let (letters, arrivals) = (&mut self.doors.letters, &mut self.doors.arrivals);
            let woken = tokio::select! {
                biased;
                Some(parcel) = letters.own.recv() => Woken::Own(parcel),
                Some(news) = arrivals.news.recv() => Woken::News(news),
                Some(wish) = letters.wishes.recv() => Woken::Wish(wish),
                Some(request) = arrivals.members.recv() => Woken::Member(request),
                () = self.timer.until(next) => Woken::Deadline,
                Some(request) = arrivals.strangers.recv() => Woken::Stranger(request),
            };
            let woke = self.clock.now();
            self.take(woken);
            if self.drain() {
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
        let Driver { doors, calls, transport, writer, groups, open, observers, .. } = self;
        // Their guards are revoked before the listener closes; who still asks hears that nobody is here.
        drop(groups);
        drop(doors.arrivals);
        calls.finish(Duration::from_millis(300)).await;
        drop(open);
        // A task of its own, since it may be a user's, and may panic.
        let _ = tokio::time::timeout(STOP_MAX, tokio::spawn(async move { transport.stop().await })).await;
        writer.finish().await;
        observers.finish().await;
    }

    /// Whether a pause was noticed that no deadline has been served since.
    fn stood_still(&mut self) -> bool {
        let now = self.clock.now();
        let late = |at: &usize| self.groups.get(*at).and_then(Option::as_ref).is_some_and(|group| group.is_late(now));
        std::mem::take(&mut self.paused) || self.deadlines.range(..(now, 0)).any(|(_, at)| late(at))
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
        group.tick(now, &mut self.observers);
        if group.leave_at <= now {
            let group = group.id.clone();
            self.observers.say(move || {
                tracing::error!(target: "hustings::election", %group, "user work did not end: leaving all the same");
            });
            self.observers.hand_over();
            return self.retire(at);
        }
        if group.notice_pause(now, &mut self.out) {
            self.paused = true;
            self.carry_out(at, now);
        }
        let due = |group: &Group| group.node_deadline() <= now;
        if self.groups.get(at).and_then(Option::as_ref).is_some_and(due) {
            self.step(at, Input::Tick);
        }
        self.hand_out(at);
        self.rearm(at, now);
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
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        // E9: read once, after the input was taken and before anything leaves.
        let now = self.clock.now();
        if group.notice_pause(now, &mut self.out) {
            self.paused = true;
        }
        group.pulse.note_input(now, &group.node, &input);
        group.collective.note_input(now, &group.node, &input);
        group.node.step(now, input, &mut self.out);
        self.carry_out(at, now);
    }

    /// The order is the contract of [`Output`].
    fn carry_out(&mut self, at: usize, now: Time) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let out = &mut self.out;
        let published_last = mutant::on(Mutant::ResignBeforeGuardRevoked);
        if !published_last {
            group.publish(now, &out.events);
        }
        if let Some(persist) = out.persist.take() {
            let job = Job { group: at, id: group.id.clone(), write: persist.write, state: persist.state };
            self.writer.write(job, &self.doors.mail);
        }
        if out.events.iter().any(|event| matches!(event.kind, EventKind::PersistFailed { .. })) {
            self.doors.inbox.condition().worsen(Health::StorageFailed);
        }
        self.observers.show_output(at, now, group, out);
        group.stream(&out.events);
        for request in &out.requests {
            // A heartbeat that nobody looks at has no context, and none is looked for.
            let unseen = is_heartbeat(request) && !group.pulse.is_picked(request.id);
            self.asked.push(if unseen { None } else { self.observers.ask(at, Some(request.id)) });
        }
        if self.asked.iter().any(Option::is_some) {
            self.observers.hand_over();
        }
        for (mut request, contexts) in out.requests.drain(..).zip(self.asked.drain(..)) {
            let beat = is_heartbeat(&request).then(|| group.pulse.vitals().clone());
            if let RequestBody::AppendEntries { election, .. } = &mut request.body {
                *election = self.observers.election(at);
            }
            self.calls.send(at, request, contexts, &group.node.config().timing, beat);
        }
        for (call, reply) in out.replies.drain(..) {
            if let Some((_, sender)) = self.open.remove(&call) {
                answer(at, reply, sender, &mut self.observers);
            }
        }
        for call in out.dropped.drain(..) {
            self.open.remove(&call);
        }
        if published_last {
            group.publish(now, &out.events);
        }
        group.answer_waiters(&out.events);
        for node in group.departed(&out.events) {
            // Later, since what is on its way to it still needs the connection.
            let (mail, patience) = (self.doors.mail.clone(), group.node.config().timing.election_timeout_max);
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                mail.send(Parcel::Forget(node));
            });
        }
        out.clear();
        let newest = group.node.hard_state().record.as_ref().map(|record| record.id);
        if self.listed.get(at).is_some_and(|listed| *listed != newest) {
            self.listed[at] = newest;
            self.list_members();
        }
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        if group.node.role() == Role::Stopped {
            self.retire(at);
        } else {
            self.rearm(at, now);
        }
    }

    fn hand_out(&mut self, at: usize) {
        let now = self.clock.now();
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let starts = group.can_start_work(now);
        if !starts && !group.can_join_work(now) {
            return;
        }
        if starts {
            self.step(at, Input::WorkStarted);
        }
        if let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) {
            group.hand_out(now, at, &self.doors.mail);
            self.rearm(at, now);
        }
    }

    fn command(&mut self, at: usize, command: Command) {
        // Whoever waits for a group that has left learns it from the dropped channel.
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        let office = group.office().cloned();
        let in_term = |term: Option<_>| office.clone().filter(|office| term.is_none_or(|term| term == office.term));
        match command {
            Command::Lead { when, reply } => {
                group.wait(Waiter::Lead { when, reply });
                self.hand_out(at);
                self.rearm(at, self.clock.now());
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
                    group.wish(LossCause::Resigning);
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
                self.observers.show_order(Order { who, kind: OrderKind::Campaign, context });
                self.input(at, Input::Campaign);
            }
            Command::Transfer(transfer) => self.transfer(at, transfer),
            Command::Collective { reply } => tell(reply, group.collective.state(self.clock.now(), &group.node)),
            Command::SetStatus { status } => {
                group.collective.set_status(status);
                self.observers.show_news(self.clock.now(), group, false);
                self.observers.hand_over();
            }
            Command::Change { change, node, address, reply } => self.change(at, change, node, address, reply),
            Command::Proclaim { value, reply } => match in_term(None) {
                None => tell(reply, Err(ProclaimFailure::NotLeading)),
                Some(office) => {
                    group.wait(Waiter::Proclaim { office, index: None, reply });
                    self.input(at, Input::Proclaim(value));
                }
            },
            Command::Shutdown => {
                group.wish(LossCause::ShuttingDown);
                group.leave_by(self.clock.now());
                self.note_leaving();
                self.input(at, Input::Shutdown);
            }
            Command::WorkEnded { term } => {
                if group.end_work(term) {
                    self.end_work(at, term);
                }
            }
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
                self.observers.show_order(Order { who, kind: OrderKind::Transfer, context });
                group.wish(LossCause::Transferring);
                group.wait(Waiter::Transfer { reply });
                self.input(at, Input::Transfer(Some(successor)));
            }
        }
    }

    fn change(
        &mut self,
        at: usize,
        change: Change,
        node: NodeId,
        address: Option<String>,
        reply: oneshot::Sender<Result<(), ChangeFailure>>,
    ) {
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        if let Err(refused) = group.node.can_change(change, &node) {
            return tell(reply, Err(ChangeFailure::Refused(refused)));
        }
        if let Some(Err(reason)) = address.map(|address| reach(&*self.transport, &node, &address)) {
            return tell(reply, Err(ChangeFailure::Address(reason)));
        }
        group.wait(Waiter::Change { change, node: node.clone(), reply });
        self.input(
            at,
            match change {
                Change::Add => Input::AddMember(node),
                Change::Remove => Input::RemoveMember(node),
            },
        );
    }

    fn forget(&mut self, node: &NodeId) {
        let lists =
            |group: &Group| group.node.hard_state().record.as_ref().is_none_or(|record| record.member(node).is_some());
        if !self.groups.iter().flatten().any(lists) {
            let forgotten = catch_unwind(AssertUnwindSafe(|| self.transport.forget(node)));
            if forgotten.is_err() {
                let node = node.clone();
                self.observers.say(move || {
                    tracing::error!(target: "hustings::driver", %node, "the transport panicked when it was to forget a node");
                });
                self.observers.hand_over();
            }
        }
    }

    /// The work is over: the core hears of it, and a term that still lasts is given up at once: nobody can begin work
    /// in it again.
    fn end_work(&mut self, at: usize, term: crate::types::Term) {
        self.step(at, Input::WorkEnded);
        let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) else { return };
        if group.office().is_some_and(|office| office.term == term) {
            group.wish(LossCause::Resigning);
            self.step(at, Input::Resign);
        }
        self.hand_out(at);
    }

    fn shut_down_all(&mut self) {
        for at in 0..self.groups.len() {
            self.command(at, Command::Shutdown);
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

    /// Tells the door whose requests come first.
    fn list_members(&self) {
        let members = self.groups.iter().flatten().flat_map(|group| members(&group.node));
        self.doors.inbox.desk().list(members.map(|(name, _)| name));
    }

    /// The member leaves once all of its groups do.
    fn note_leaving(&self) {
        if self.groups.iter().flatten().all(|group| group.leaving) {
            self.doors.inbox.condition().worsen(Health::Stopping);
        }
    }
}

/// Sends a reply. One that carries the context of the election that it tells of waits for that, in a task of its own.
fn answer(at: usize, mut reply: Reply, sender: oneshot::Sender<Reply>, observers: &mut Observers) {
    let contexts = match &reply.body {
        ReplyBody::TimeoutNow { .. } => observers.ask(at, None),
        _ => None,
    };
    let Some(contexts) = contexts else { return drop(sender.send(reply)) };
    observers.hand_over();
    tokio::spawn(async move {
        let known = contexts.get().await.election;
        if let ReplyBody::TimeoutNow { election } = &mut reply.body {
            *election = known;
        }
        let _ = sender.send(reply);
    });
}

/// Says that the member has stopped, also when the driver panicked.
struct Stopped(Arc<Condition>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.worsen(Health::Stopped);
    }
}
