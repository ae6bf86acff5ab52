//! A seeded cluster in one thread: the real machine and the real codec; virtual time, links, disks, clocks and users.
//!
//! The same seed gives the same run, to the last event ([`Cluster::fingerprint`]). After every step the whole history is
//! held against the properties ([`check`]); the first one that does not hold stops the run ([`Cluster::violation`]).
//! [`swarm`] draws faults for a seed, [`story`] runs a script, and [`shrink`] makes a story of a failing seed,
//! as short as it can.
//!
//! # What is hunted
//!
//! Each seed of [`swarm`] draws its own mix, most of it absent, each fault from a stream of its own:
//! - Network: loss, duplicates, reordering, hold-ups of up to three election timeouts, requests that arrive once more up to
//!   ten timeouts later (in a later term, at a later life), replies that reach the next life, frames cut short or with bits
//!   turned round, one-way cuts, any graph, isolation, flapping, links that stall while their connection stands, resets,
//!   refusals of a firewall. A frame that was harmed and can still be read is lost instead: checksums of the links keep it
//!   away, and believing it would mean believing a member that lies.
//! - Processes: death at any moment, between a write and what should leave after it too; return at once or late; standing
//!   still for up to ten timeouts, with all timers and messages in a burst. A machine that is suspended is the same: the
//!   clock goes on. Two processes on one disk are kept apart by its lock; two copies of a disk, and an old image, are not
//!   promised to be safe (D4) and not part of any mix.
//! - Disks: slow for up to ten timeouts, failing with the old state, the new one or some of its bytes, full, torn at any
//!   byte, rotten in one slot, lost altogether; never more lost at once than the others can name again (D2, D4).
//! - Clocks: rates up to the bound and changes of rate, other readings after a reboot. Forward jumps are pauses.
//! - Identity: machines of another cluster, with other times, or simply not members, that want to join; members that are
//!   added, removed and come back; other protocol versions for a while; absurd terms and strangers.
//! - Users: orders of every kind at any time, work that lingers, that ends or panics at once, that never notices.
//! - [`swarm::Bias::Volatile`]: stores that forget. What rests on a kept vote or record (S1, S2, S4, L1 to L3, L5, A1, D2, E1, F1) is
//!   not promised there, and not checked; everything else is.
//!
//! Chaos ends, and what must come right follows, at the limits of the properties: a frozen graph with a quorum-connected node
//! (V1: failure at ten timeouts; V2, V6), darkness (V4, V5, V10), healing (V11: failure at three; V8, D2, V6), and a quiet time in
//! which restarts, returns, lost disks, old messages and strangers move nobody (V3), transfers end within one timeout (V7), a
//! full disk ends an office (V9), and no lease lapses for up to a hundred timeouts (V8). What was measured is in
//! [`Figures`]. V12 has a bias of its own, [`swarm::Bias::Losses`].

use std::time::Duration;

use crate::config::{Config, Timing};
use crate::event::Role;
use crate::mutant::{self, Mutant};
use crate::node::{Input, Node, Output};
use crate::types::{ClusterId, NameError, NodeId, Time};

pub mod adversary;
mod agenda;
mod chance;
pub mod check;
mod clock;
mod disk;
mod faults;
mod figures;
pub mod graph;
mod host;
mod jobs;
mod log;
mod network;
pub mod shrink;
pub mod stack;
pub mod story;
pub mod swarm;
mod user;
mod wiring;
mod work;

pub use self::check::Violation;
pub use self::disk::DiskManners;
pub use self::faults::Faults;
pub use self::figures::Figures;
pub use self::host::Death;
pub use self::jobs::side_by_side;
pub use self::log::Detail;
pub use self::network::Link;
pub use self::user::{Manners, StartWhen};

use self::adversary::Watch;
use self::agenda::{Agenda, Happening};
use self::chance::Chance;
use self::check::{Checker, Snapshot, Step};
use self::clock::Clock;
use self::disk::Disk;
use self::host::{Host, Life, Paused, Process};
use self::log::Log;
use self::network::Network;
use self::user::User;

/// A simulated cluster. Nodes are named by their position in the list it was made from.
#[derive(Debug)]
pub struct Cluster {
    seed: u64,
    now: Time,
    timing: Timing,
    agenda: Agenda,
    hosts: Vec<Host>,
    network: Network,
    checker: Checker,
    log: Log,
    faults: Faults,
    crashes: Chance,
    strays: Chance,
    truncations: Chance,
    corruptions: Chance,
    replays: Chance,
    codec: Chance,
    lives: u64,
    steps: u64,
    /// What an adversary wants to know, if there is one.
    watch: Option<Watch>,
    spare: Output,
}

impl Cluster {
    /// A cluster of machines on which nothing runs yet, with steady links, disks and clocks.
    ///
    /// # Errors
    /// [`NameError`]: one of the names cannot be used.
    pub fn new(seed: u64, names: &[&str], timing: &Timing, detail: Detail) -> Result<Cluster, NameError> {
        Cluster::with_founders(seed, names, names.len(), timing, detail)
    }

    /// A cluster of which only the first `founders` machines are members at first. The others can be added: each lists
    /// the founders and itself, and joins what exists.
    ///
    /// # Errors
    /// [`NameError`]: one of the names cannot be used.
    pub fn with_founders(
        seed: u64,
        names: &[&str],
        founders: usize,
        timing: &Timing,
        detail: Detail,
    ) -> Result<Cluster, NameError> {
        let members = names.iter().map(NodeId::new).collect::<Result<Vec<_>, _>>()?;
        let cluster = ClusterId::new("sim")?;
        let now = Time(1);
        let hosts = members.iter().enumerate().map(|(at, name)| {
            let mut list = members[..founders.min(members.len())].to_vec();
            let joins = !list.contains(name);
            if joins {
                list.push(name.clone());
            }
            let mut config = Config::new(cluster.clone(), name.clone(), list);
            config.timing = timing.clone();
            config.joins = joins;
            let disk = Disk::new(seed, at, &config, DiskManners::steady(Duration::from_millis(1)));
            Host {
                name: name.clone(),
                config,
                clock: Clock::new(now, now, 0),
                disk,
                user: User::new(seed, at, Manners::idle()),
                process: None,
                death: Death::Killed,
                version: None,
                failed: false,
                starts: 0,
            }
        });
        Ok(Cluster {
            seed,
            now,
            timing: timing.clone(),
            agenda: Agenda::default(),
            hosts: hosts.collect(),
            network: Network::new(seed, members.len(), &Link::steady(Duration::from_millis(1))),
            checker: Checker::new(members, timing.clone()),
            log: Log::new(detail),
            faults: Faults::default(),
            crashes: Chance::stream(seed, "crash in step"),
            strays: Chance::stream(seed, "strays"),
            truncations: Chance::stream(seed, "truncations"),
            corruptions: Chance::stream(seed, "corruptions"),
            replays: Chance::stream(seed, "replays"),
            codec: Chance::stream(seed, "codec"),
            lives: 0,
            steps: 0,
            watch: None,
            spare: Output::default(),
        })
    }

    /// True time, which no node can see.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many inputs the nodes have taken so far: what is meant where events a second are counted. What happens to no
    /// node (a deadline of a call that was answered, a message to a dead process) is not counted.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many machines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is no machine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The position of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name.as_str() == name)
    }

    /// The name at a position.
    #[must_use]
    pub fn name(&self, at: usize) -> &NodeId {
        &self.hosts[at].name
    }

    /// The node that runs at `at`, if one does.
    #[must_use]
    pub fn node(&self, at: usize) -> Option<&Node> {
        self.hosts[at].process.as_ref().map(|process| &process.node)
    }

    /// Whether the process at `at` stands still.
    #[must_use]
    pub fn is_paused(&self, at: usize) -> bool {
        self.hosts[at].process.as_ref().is_some_and(|process| process.paused.is_some())
    }

    /// The term that the node at `at` leads, if it is alone with it by its own clock.
    #[must_use]
    pub fn is_exclusive(&self, at: usize) -> bool {
        let local = self.hosts[at].local(self.now);
        self.node(at).and_then(Node::lease).is_some_and(|lease| lease.is_exclusive(local))
    }

    /// Whether the user's work runs at `at`.
    #[must_use]
    pub fn is_working(&self, at: usize) -> bool {
        self.hosts[at].user.work.is_some()
    }

    /// What the disk at `at` holds.
    #[must_use]
    pub fn durable(&self, at: usize) -> Option<&crate::record::HardState> {
        self.hosts[at].disk.durable()
    }

    /// One direction of a link.
    pub fn link(&mut self, from: usize, to: usize) -> &mut Link {
        self.network.link_mut(from, to)
    }

    /// How the disk at `at` behaves.
    pub fn disk(&mut self, at: usize) -> &mut DiskManners {
        &mut self.hosts[at].disk.manners
    }

    /// How the user at `at` behaves.
    pub fn user(&mut self, at: usize) -> &mut Manners {
        &mut self.hosts[at].user.manners
    }

    /// What else may go wrong.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// The configuration with which the next process at `at` starts.
    pub fn config(&mut self, at: usize) -> &mut Config {
        &mut self.hosts[at].config
    }

    /// The clock at `at` runs `ppm` parts per million fast from now on.
    pub fn set_rate(&mut self, at: usize, ppm: i32) {
        let now = self.now;
        self.hosts[at].clock.set_rate(now, ppm);
        self.checker.claims(now, at, &self.hosts[at]);
        self.replan(at);
    }

    /// A machine that is down boots: its clock starts again, somewhere.
    pub fn reset_clock(&mut self, at: usize, reading: Time, ppm: i32) {
        if self.hosts[at].process.is_none() {
            self.hosts[at].clock = Clock::new(self.now, reading, ppm);
        }
    }

    /// The messages of this node claim another protocol version from now on.
    pub fn set_version(&mut self, at: usize, version: Option<u16>) {
        self.hosts[at].version = version;
    }

    /// Starts a process at `at`, unless one runs.
    pub fn start(&mut self, at: usize) {
        if self.hosts[at].process.is_some() {
            return;
        }
        self.lives += 1;
        let life = Life(self.lives);
        let host = &mut self.hosts[at];
        host.starts += 1;
        let state = match host.disk.recover(&host.config) {
            Ok(state) => state,
            Err(text) => return self.checker.report(self.now, "D3", text),
        };
        host.failed = false;
        let local = host.clock.read(self.now);
        let seed = Chance::stream(self.seed, &format!("node {at} start {}", host.starts)).number();
        let mut out = std::mem::take(&mut self.spare);
        let node = Node::new(host.config.clone(), state.clone(), seed, local, &mut out);
        host.user.forget();
        host.process = Some(Process::new(life, node));
        self.log.note(self.now, &host.name, "starts");
        let least = host.config.timing.promise_max;
        self.checker.started(self.now, at, local, &state, least);
        self.carry_out(at, out);
        for to in (0..self.hosts.len()).filter(|to| *to != at) {
            *self.network.connected(at, to) = false;
            self.agenda.plan(self.now, Happening::Connects { from: at, life, to, first: false });
        }
    }

    /// Ends the process at `at`. What its disk was writing may be lost.
    pub fn crash(&mut self, at: usize, death: Death) {
        let host = &mut self.hosts[at];
        if host.process.take().is_none() {
            return;
        }
        host.disk.crash();
        host.user.forget();
        host.death = death;
        self.log.note(self.now, &host.name, "dies");
        self.checker.died(self.now, at, &self.hosts[at].disk);
        if death == Death::Killed {
            self.end_connections_to(at);
        }
    }

    /// The disk at `at` is replaced by an empty one; a process that runs there is ended first.
    pub fn wipe(&mut self, at: usize) {
        self.crash(at, Death::Killed);
        self.hosts[at].disk.wipe();
        // Whoever replaces a disk in a cluster that has grown says that its node joins: the list of its first start may
        // name too few to tell that the cluster exists.
        let grows = self.hosts.iter().any(|host| host.config.joins);
        self.hosts[at].config.joins |= grows;
    }

    /// Stops the process at `at` for `duration`: what comes meanwhile is handled in a burst.
    pub fn pause(&mut self, at: usize, duration: Duration) {
        let Some(process) = &mut self.hosts[at].process else { return };
        if process.paused.is_none() {
            process.paused = Some(Paused { backlog: Vec::new(), deadline: process.node.deadline() });
            let life = process.life;
            self.agenda.plan(self.now + duration, Happening::Resumes(at, life));
        }
    }

    /// The process at `at` goes on, if it stands still.
    pub fn resume_now(&mut self, at: usize) {
        if let Some(process) = &self.hosts[at].process {
            let life = process.life;
            self.resume(at, life);
        }
    }

    /// The write under way at `at` ends within a millisecond.
    pub fn hurry_write(&mut self, at: usize) {
        let host = &self.hosts[at];
        if let (Some(process), Some(write)) = (&host.process, host.disk.writing()) {
            let soon = self.now + Duration::from_millis(1);
            self.agenda.plan(soon, Happening::WriteEnds(at, process.life, write));
        }
    }

    /// Whether messages and connections pass between two machines, both ways.
    #[must_use]
    pub fn is_open(&self, a: usize, b: usize) -> bool {
        self.network.passes(a, b) && self.network.passes(b, a)
    }

    /// Whether a write has failed under the process at `at`: it is of no use any more.
    #[must_use]
    pub fn disk_failed(&self, at: usize) -> bool {
        self.hosts[at].failed
    }

    /// Gives the node at `at` an input, now.
    pub fn input(&mut self, at: usize, input: Input) {
        let Some(process) = &mut self.hosts[at].process else { return };
        match &mut process.paused {
            Some(paused) => paused.backlog.push(input),
            None => self.step(at, input),
        }
    }

    /// Lets virtual time pass. Stops early at a violation.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run_while(end, |_| true);
        if self.checker.violation().is_none() {
            self.pass_to(end);
        }
    }

    /// Lets virtual time pass until `reached`, at most `limit`. Returns whether it was reached.
    pub fn run_until(&mut self, limit: Duration, mut reached: impl FnMut(&Cluster) -> bool) -> bool {
        let end = self.now + limit;
        if reached(self) {
            return true;
        }
        let mut found = false;
        self.run_while(end, |cluster| {
            found = reached(cluster);
            !found
        });
        found
    }

    /// The first property that did not hold.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.checker.violation()
    }

    /// A hash of everything that has happened.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.log.fingerprint()
    }

    /// What has happened since it was last asked, in the detail that was chosen.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log.take()
    }

    /// The events of all nodes in the order of true time, from the first, unless only the hash is kept.
    #[must_use]
    pub fn events(&self) -> &[crate::event::Event] {
        self.log.events()
    }

    /// Whether properties go unchecked from now on: for protocols that are known not to hold them.
    pub(crate) fn check_nothing(&mut self, nothing: bool) {
        self.checker.is_off = nothing;
    }

    /// The checker, for what only the whole run can judge.
    pub(crate) fn checker(&mut self) -> &mut Checker {
        &mut self.checker
    }
}

// ---- time ----
impl Cluster {
    fn run_while(&mut self, end: Time, mut going: impl FnMut(&Cluster) -> bool) {
        while self.checker.violation().is_none() {
            let Some((at, happening)) = self.agenda.next(end) else { break };
            self.pass_to(at);
            self.happen(happening);
            if !going(self) {
                break;
            }
        }
    }

    /// E1 is about real time, not about steps: what was claimed while time passed is held against each other.
    fn pass_to(&mut self, at: Time) {
        self.checker.time_passes(self.now, at);
        self.now = self.now.max(at);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(at, life) => self.tick(at, life),
            Happening::RequestArrives { to, from, frame } => self.receive_request(to, from, frame),
            Happening::ReplayArrives { to, from, frame } => self.receive_replay(to, from, frame),
            Happening::ReplyArrives { to, frame } => self.receive_reply(to, frame),
            Happening::CallFails(caller, error) => self.fail_call(caller, error),
            Happening::Connects { from, life, to, first } => self.connect(from, life, to, first),
            Happening::ConnectionEnds { from, life, to } => self.end_connection(from, life, to),
            Happening::WriteEnds(at, life, write) => self.end_write(at, life, write),
            Happening::WorkStarts(at, life, term) => self.start_work(at, life, term),
            Happening::WorkEnds(at, life, term) => self.end_work(at, life, term),
            Happening::WorkWatched(at, life) => self.watch_work(at, life),
            Happening::Resumes(at, life) => self.resume(at, life),
            Happening::Starts(at) => self.start(at),
        }
    }

    fn tick(&mut self, at: usize, life: Life) {
        let now = self.now;
        let Some(process) = &mut self.hosts[at].process else { return };
        if process.life != life || process.tick != now || process.paused.is_some() {
            return;
        }
        process.tick = Time::NEVER;
        self.step(at, Input::Tick);
    }

    fn end_write(&mut self, at: usize, life: Life, write: crate::event::WriteId) {
        if !self.hosts[at].lives(life) {
            return;
        }
        let Some(ended) = self.hosts[at].disk.end(write) else { return };
        let input = match ended {
            Ok(()) => Input::Persisted(write),
            Err(error) => Input::PersistFailed(write, error.to_owned()),
        };
        self.hosts[at].failed = ended.is_err();
        self.checker.wrote(self.now, at, &self.hosts[at].disk);
        self.input(at, input);
    }

    fn resume(&mut self, at: usize, life: Life) {
        let local = self.hosts[at].local(self.now);
        let Some(process) = self.hosts[at].process.as_mut().filter(|process| process.life == life) else { return };
        let Some(paused) = process.paused.take() else { return };
        let late = local.since(paused.deadline);
        self.log.note(self.now, &self.hosts[at].name, "resumes");
        if !late.is_zero() {
            self.step(at, Input::Paused(late));
        }
        for input in paused.backlog {
            if self.hosts[at].lives(life) {
                self.step(at, input);
            }
        }
        self.replan(at);
    }
}

// ---- one step ----
impl Cluster {
    fn step(&mut self, at: usize, input: Input) {
        if self.checker.violation().is_some() {
            return;
        }
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        let local = host.clock.read(self.now);
        self.steps += 1;
        if matches!(input, Input::WorkEnded) {
            host.user.work = None;
        }
        let before = Snapshot::of(&process.node);
        let mut out = std::mem::take(&mut self.spare);
        self.log.input(self.now, &host.name, &input);
        let seen = input.clone();
        process.node.step(local, input, &mut out);
        let node = &process.node;
        let step = Step { host: at, truth: self.now, now: local, before, input: &seen, node, out: &out };
        self.checker.step(&step, &host.disk);
        self.carry_out(at, out);
    }

    /// In the order of the contract: guard, write, events, messages.
    fn carry_out(&mut self, at: usize, mut out: Output) {
        let shown_last = mutant::on(Mutant::ResignBeforeGuardRevoked);
        if !shown_last {
            self.show_guard(at);
        }
        for event in &out.events {
            self.log.event(self.now, event);
        }
        if let Some(watch) = &mut self.watch {
            watch.note(at, &out);
        }
        let dies = self.crashes.happens(self.faults.crash_in_step) && self.hosts[at].process.is_some();
        let survives = if dies { self.crashes.index(3) } else { usize::MAX };
        if let Some(persist) = out.persist.take().filter(|_| survives > 0)
            && let Some(process) = &self.hosts[at].process
        {
            let (life, write) = (process.life, persist.write);
            if self.hosts[at].disk.writing().is_some() {
                self.checker.report(self.now, "S12", format!("{} begins a second write", self.hosts[at].name));
            }
            let duration = self.hosts[at].disk.begin(persist);
            self.agenda.plan(self.now + duration, Happening::WriteEnds(at, life, write));
        }
        let sent = if dies { survives.saturating_sub(1) * out.requests.len() / 2 } else { out.requests.len() };
        for request in out.requests.drain(..).take(sent) {
            self.send_request(at, request);
        }
        let sent = if survives > 1 { out.replies.len() } else { 0 };
        for (call, reply) in out.replies.drain(..).take(sent) {
            self.send_reply(at, call, reply);
        }
        self.drop_calls(at, &out.dropped);
        if shown_last {
            self.show_guard(at);
        }
        out.clear();
        self.spare = out;
        if dies {
            self.crash(at, Death::Killed);
            let absence = self.crashes.between(self.faults.absence);
            self.agenda.plan(self.now + absence, Happening::Starts(at));
        } else if self.node(at).is_some_and(|node| node.role() == Role::Stopped) {
            self.crash(at, Death::Killed);
        }
        self.replan(at);
    }

    /// Plans the next tick.
    fn replan(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(process) = host.process.as_mut().filter(|process| process.paused.is_none()) else { return };
        let due = process.node.deadline();
        let tick = if due == Time::NEVER { Time::NEVER } else { host.clock.when(due).max(self.now) };
        if tick != process.tick {
            process.tick = tick;
            self.agenda.plan(tick, Happening::Tick(at, process.life));
        }
    }
}
