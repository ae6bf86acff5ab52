//! Breaks things, mends them, and notes when.

use std::fmt;
use std::io;
use std::process::Child;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::cluster::{Cluster, end};
use crate::disk::Order;
use crate::fabric::Link;
use crate::stamp::{self, ms};
use crate::stranger::Plan;

/// The faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`, and a restart.
    Kill,
    /// `kill -9` of all (of all but one in the second half of a run), and a restart.
    KillAll,
    /// SIGTERM, and a restart.
    Leave,
    /// SIGSTOP and SIGCONT.
    Stop,
    /// One direction between two members, or all that one sends, or all that it should receive.
    OneWay,
    /// One member without any other.
    Isolate,
    /// A minority and a majority.
    Split,
    /// Nobody with anybody.
    CutAll,
    /// All connections of one member are reset, and new ones refused.
    Reset,
    /// Links that come and go.
    Flap,
    /// Slow links, on which packets overtake each other.
    Delay,
    /// Loss and duplicates.
    Loss,
    /// A disk on which nothing returns.
    DiskHang,
    /// A disk on which everything fails.
    DiskFail,
    /// `kill -9`, an empty disk, and a restart.
    Wipe,
    /// Every core is busy with something else.
    Starve,
    /// Somebody who is no member.
    Stranger(Plan),
    /// A second process on a copy of a member's disk.
    Twin,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 21] = [
        Fault::Kill,
        Fault::KillAll,
        Fault::Leave,
        Fault::Stop,
        Fault::OneWay,
        Fault::Isolate,
        Fault::Split,
        Fault::CutAll,
        Fault::Reset,
        Fault::Flap,
        Fault::Delay,
        Fault::Loss,
        Fault::DiskHang,
        Fault::DiskFail,
        Fault::Wipe,
        Fault::Starve,
        Fault::Stranger(Plan::Record),
        Fault::Stranger(Plan::Flood),
        Fault::Stranger(Plan::Terms),
        Fault::Stranger(Plan::HalfOpen),
        Fault::Twin,
    ];
    /// Those that take leadership away and leave the process alive.
    pub const DEPOSING: [Fault; 3] = [Fault::Stop, Fault::Isolate, Fault::CutAll];
    /// Those that may go on beside another one.
    const BESIDE: [Fault; 6] = [Fault::OneWay, Fault::Flap, Fault::Delay, Fault::Loss, Fault::Reset, Fault::Starve];

    fn is_network(self) -> bool {
        use Fault::{CutAll, Delay, Flap, Isolate, Loss, OneWay, Reset, Split};
        matches!(self, OneWay | Isolate | Split | CutAll | Reset | Flap | Delay | Loss)
    }

    /// For how long, at least and at most.
    fn lasts(self) -> (u64, u64) {
        match self {
            Fault::Kill | Fault::KillAll => (0, 800),
            Fault::Stop => (20, 1500),
            Fault::Wipe => (0, 300),
            Fault::Stranger(_) | Fault::Twin => (500, 2000),
            _ => (100, 1200),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Fault::Stranger(plan) => return f.pad(&format!("stranger: {}", plan.name())),
            Fault::Kill => "kill -9",
            Fault::KillAll => "kill -9 of all",
            Fault::Leave => "SIGTERM",
            Fault::Stop => "SIGSTOP",
            Fault::OneWay => "one-way cut",
            Fault::Isolate => "one member cut off",
            Fault::Split => "split",
            Fault::CutAll => "everything cut",
            Fault::Reset => "resets",
            Fault::Flap => "flapping",
            Fault::Delay => "delay",
            Fault::Loss => "loss and duplicates",
            Fault::DiskHang => "disk hangs",
            Fault::DiskFail => "disk fails",
            Fault::Wipe => "disk wiped",
            Fault::Starve => "starvation",
            Fault::Twin => "twin on a copied disk",
        })
    }
}

/// Faults that were made at one time, and mended at one time.
#[derive(Debug, Clone)]
pub struct Round {
    /// Which.
    pub faults: Vec<Fault>,
    /// When the first began.
    pub begun: u64,
    /// When all were over.
    pub healed: u64,
    /// Something that did not come about within [`PATIENCE`].
    pub missed: Option<String>,
}

/// How long the nemesis waits for anything before it goes on.
const PATIENCE: u64 = 10_000_000_000;

/// What must be undone.
enum Undo {
    Start(Vec<usize>),
    Resume(usize),
    Left(usize),
    Links,
    Disk(usize),
    End(Child),
}

/// The nemesis.
pub struct Nemesis<'a> {
    cluster: &'a mut Cluster,
    random: StdRng,
    /// Never killed, wiped or doubled, but for `kill -9` of all in the first half: one life lasts half the run.
    steady: usize,
    /// When the second half begins.
    middle: u64,
    faults: &'a [Fault],
    /// The faults of one shuffle of all that were not made yet.
    deck: Vec<Fault>,
    begin: u64,
}

impl<'a> Nemesis<'a> {
    /// One for these faults.
    pub fn new(cluster: &'a mut Cluster, faults: &'a [Fault], seed: u64) -> Nemesis<'a> {
        let mut random = StdRng::seed_from_u64(seed);
        let steady = random.random_range(0..cluster.len());
        Nemesis { cluster, random, steady, middle: 0, faults, deck: Vec::new(), begin: stamp::now() }
    }

    /// Starts all, waits for a first leader, and makes faults until the time is up.
    ///
    /// # Errors
    /// A process cannot be started, or there is no first leader.
    pub fn run(mut self, seconds: u64) -> io::Result<Vec<Round>> {
        for at in 0..self.cluster.len() {
            self.cluster.start(at)?;
        }
        if !self.wait(PATIENCE, |cluster| cluster.newest() > 0)? {
            return Err(io::Error::other("there was no first leader within 10 s"));
        }
        // A life is compared with its beginning: which lasts so long.
        let calm = Duration::from_secs((seconds / 10).clamp(1, 6));
        self.hold(stamp::nanos(calm), false)?;
        self.middle = self.begin + seconds * 500_000_000;
        let until = self.begin + (seconds * 1_000_000_000).saturating_sub(stamp::nanos(calm));
        let mut rounds = Vec::new();
        while stamp::now() < until {
            rounds.push(self.round()?);
        }
        self.hold(stamp::nanos(calm), false)?;
        Ok(rounds)
    }

    fn round(&mut self) -> io::Result<Round> {
        if self.deck.is_empty() {
            self.deck = self.faults.to_vec();
            self.deck.shuffle(&mut self.random);
        }
        let first = self.deck.pop().unwrap_or(Fault::Kill);
        let mut faults = vec![first];
        let alone = matches!(first, Fault::Wipe | Fault::Twin);
        if !alone && self.random.random_bool(if first.is_network() { 0.15 } else { 0.4 }) {
            let fits = |beside: &&Fault| {
                **beside != first && self.faults.contains(beside) && !(beside.is_network() && first.is_network())
            };
            let beside: Vec<Fault> = Fault::BESIDE.iter().filter(fits).copied().collect();
            faults.extend(beside.choose(&mut self.random));
        }
        let (least, most) = first.lasts();
        let lasts = self.random.random_range(least..=most);
        let begun = stamp::now();
        let mut undo = Vec::new();
        for fault in &faults {
            undo.extend(self.make(*fault, lasts)?);
        }
        self.hold(lasts * 1_000_000, faults.contains(&Fault::Flap))?;
        let mut missed = None;
        for undo in undo {
            missed = self.undo(undo)?.or(missed);
        }
        let healed = stamp::now();
        if !self.wait(PATIENCE, |cluster| cluster.newest() > healed)? {
            missed = Some(format!("nobody was exclusive within {:.0} s", ms(PATIENCE) / 1e3));
        }
        for at in 0..self.cluster.len() {
            if !self.wait(PATIENCE, |cluster| cluster.is_named(at))? {
                missed = Some(format!("{} has no vote {:.0} s later", self.cluster.name(at), ms(PATIENCE) / 1e3));
            }
        }
        let pause = self.random.random_range(20..400) * 1_000_000;
        self.hold(pause, false)?;
        Ok(Round { faults, begun, healed, missed })
    }

    /// A member: the leader in most cases. Not the steady one where a life would end.
    fn victim(&mut self, ends: bool) -> usize {
        let leader = self.cluster.leader().filter(|_| self.random.random_bool(0.7));
        let fits = |at: &usize| !(ends && *at == self.steady);
        if let Some(leader) = leader.filter(fits) {
            return leader;
        }
        let all: Vec<usize> = (0..self.cluster.len()).filter(fits).collect();
        all.choose(&mut self.random).copied().unwrap_or(0)
    }

    fn make(&mut self, fault: Fault, lasts: u64) -> io::Result<Option<Undo>> {
        let ends = matches!(fault, Fault::Kill | Fault::Leave | Fault::Wipe | Fault::Twin);
        let at = self.victim(ends);
        let leads = if self.cluster.leader() == Some(at) { " (leads)" } else { "" };
        let whom = match fault {
            Fault::KillAll | Fault::CutAll | Fault::Split | Fault::Flap | Fault::Delay | Fault::Loss => String::new(),
            Fault::Stranger(_) | Fault::Starve => String::new(),
            _ => format!(" {}{leads}", self.cluster.name(at)),
        };
        let since = ms(stamp::now() - self.begin) / 1e3;
        println!("{since:8.3}s  {fault}{whom}, {lasts} ms");
        Ok(Some(match fault {
            Fault::Kill => {
                self.cluster.kill(at);
                Undo::Start(vec![at])
            }
            Fault::KillAll => {
                let spared = (stamp::now() > self.middle).then_some(self.steady);
                let all: Vec<usize> = (0..self.cluster.len()).filter(|at| Some(*at) != spared).collect();
                all.iter().for_each(|at| self.cluster.kill(*at));
                Undo::Start(all)
            }
            Fault::Leave => {
                self.cluster.terminate(at);
                Undo::Left(at)
            }
            Fault::Stop => {
                self.cluster.stop(at);
                Undo::Resume(at)
            }
            Fault::DiskHang | Fault::DiskFail => {
                let order = if fault == Fault::DiskHang { Order::Hang } else { Order::Fail };
                self.cluster.order(at, Some(order));
                Undo::Disk(at)
            }
            Fault::Wipe => {
                self.cluster.kill(at);
                self.cluster.wipe(at);
                Undo::Start(vec![at])
            }
            Fault::Starve => Undo::End(self.cluster.burn()?),
            Fault::Stranger(plan) => Undo::End(self.cluster.stranger(plan)?),
            Fault::Twin => Undo::End(self.cluster.twin(at)?),
            _ => {
                self.damage(fault, at);
                Undo::Links
            }
        }))
    }

    /// What is done to links.
    fn damage(&mut self, fault: Fault, at: usize) {
        let size = self.cluster.len();
        let pairs: Vec<(usize, usize)> =
            (0..size).flat_map(|from| (0..size).filter(move |to| *to != from).map(move |to| (from, to))).collect();
        let cut = Link { cut: true, ..Link::default() };
        let other = (at + self.random.random_range(1..size)) % size;
        let way = self.random.random_range(0..3);
        let minority = self.random.random_range(1..=size / 2);
        let first = self.random.random_range(0..size);
        let inside = |node: usize| (node + size - first) % size < minority;
        let slow = Duration::from_millis(self.random.random_range(1..60));
        let lossy = self.random.random_range(1..40);
        for (from, to) in pairs {
            let link = match fault {
                Fault::OneWay => match way {
                    0 => (from == at && to == other).then_some(cut),
                    1 => (from == at).then_some(cut),
                    _ => (to == at).then_some(cut),
                },
                Fault::Isolate => (from == at || to == at).then_some(cut),
                Fault::Split => (inside(from) != inside(to)).then_some(cut),
                Fault::CutAll => Some(cut),
                Fault::Reset => (from == at || to == at).then_some(Link { reset: true, ..Link::default() }),
                Fault::Delay => Some(Link { delay: slow, jitter: slow / 2, ..Link::default() }),
                Fault::Loss => Some(Link { loss: lossy, twice: 10, ..Link::default() }),
                _ => None,
            };
            if let Some(link) = link {
                self.cluster.links.set(Cluster::host(from), Cluster::host(to), link);
            }
        }
    }

    fn undo(&mut self, undo: Undo) -> io::Result<Option<String>> {
        match undo {
            Undo::Start(members) => members.into_iter().try_for_each(|at| self.cluster.start(at))?,
            Undo::Resume(at) => self.cluster.resume(at),
            Undo::Links => self.cluster.links.heal(),
            Undo::Disk(at) => self.cluster.order(at, None),
            Undo::End(child) => end(child),
            Undo::Left(at) => {
                let until = stamp::now() + PATIENCE;
                while !self.cluster.has_left(at) && stamp::now() < until {
                    std::thread::sleep(Duration::from_millis(2));
                }
                let stays = !self.cluster.has_left(at);
                self.cluster.kill(at);
                self.cluster.start(at)?;
                return Ok(stays.then(|| format!("{} had not left after 10 s", self.cluster.name(at))));
            }
        }
        Ok(None)
    }

    /// Lets time pass, and links come and go meanwhile.
    fn hold(&mut self, nanos: u64, flaps: bool) -> io::Result<()> {
        let until = stamp::now() + nanos;
        let mut next = stamp::now();
        let size = self.cluster.len();
        while stamp::now() < until {
            if flaps && stamp::now() >= next {
                let from = self.random.random_range(0..size);
                let to = (from + self.random.random_range(1..size)) % size;
                let link = Link { cut: self.random.random_bool(0.5), ..Link::default() };
                self.cluster.links.set(Cluster::host(from), Cluster::host(to), link);
                next = stamp::now() + self.random.random_range(2..80) * 1_000_000;
            }
            self.cluster.look()?;
            let left = Duration::from_nanos(until.saturating_sub(stamp::now()));
            std::thread::sleep(left.min(Duration::from_millis(if flaps { 2 } else { 10 })));
        }
        Ok(())
    }

    /// Waits until something is so; false if it is not within that time.
    fn wait(&mut self, nanos: u64, is: impl Fn(&Cluster) -> bool) -> io::Result<bool> {
        let until = stamp::now() + nanos;
        loop {
            self.cluster.look()?;
            if is(self.cluster) {
                return Ok(true);
            }
            if stamp::now() > until {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}
