//! The members' processes, each on a host of its own, and what they have written so far.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use crate::diary::{self, Entry};
use crate::disk::Order;
use crate::fabric::{self, Host, Links};
use crate::judge::{Life, Span};
use crate::stamp;
use crate::stranger::Plan;
use crate::work::Kind;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PORT: u16 = 7300;
/// How many diaries may still be written by processes that are ending, or that are no member.
const RECENT: usize = 8;

/// A diary that is still written, as far as it was read.
#[derive(Debug)]
struct Chapter {
    life: Life,
    path: PathBuf,
    read: u64,
    rest: String,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    lives: usize,
    process: Option<Child>,
    /// Its newest diary.
    chapter: usize,
    stopped: Option<u64>,
    /// It was asked to.
    leaves: bool,
}

/// All members, and whatever else runs beside them.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    program: PathBuf,
    hosts: Vec<Host>,
    /// The network between them.
    pub links: Links,
    members: Vec<Member>,
    chapters: Vec<Chapter>,
    random: StdRng,
    kinds: Vec<Kind>,
    /// Who said last that its guard says yes, and when.
    newest: Option<(usize, u64)>,
    /// Members that ended although nobody ended them.
    pub ended: Vec<String>,
}

impl Cluster {
    /// Hosts for so many members, for a stranger and for a twin.
    ///
    /// # Errors
    /// What is missing on this machine.
    pub fn new(folder: PathBuf, members: usize, kinds: &[Kind], seed: u64) -> Result<Cluster, String> {
        let hosts = u8::try_from(members + 2).map_err(|error| error.to_string())?;
        let (hosts, links) = fabric::build(hosts, seed)?;
        for part in ["diary", "out", "data", "orders"] {
            fs::create_dir_all(folder.join(part)).map_err(|error| format!("a temporary folder ({error})"))?;
        }
        let member = |name| Member { name, lives: 0, process: None, chapter: 0, stopped: None, leaves: false };
        Ok(Cluster {
            folder,
            program: std::env::current_exe().map_err(|error| error.to_string())?,
            hosts,
            links,
            members: NAMES.into_iter().take(members).map(member).collect(),
            chapters: Vec::new(),
            random: StdRng::seed_from_u64(seed ^ 1),
            kinds: kinds.to_vec(),
            newest: None,
            ended: Vec::new(),
        })
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The name of a member.
    pub fn name(&self, at: usize) -> &'static str {
        self.members[at].name
    }

    /// The host of a member.
    pub fn host(at: usize) -> u8 {
        u8::try_from(at + 1).unwrap_or(u8::MAX)
    }

    /// Who worked last, as far as it wrote so.
    pub fn leader(&self) -> Option<usize> {
        self.newest.map(|(at, _)| at)
    }

    /// When a guard said yes last.
    pub fn newest(&self) -> u64 {
        self.newest.map_or(0, |(_, at)| at)
    }

    fn peers(&self) -> String {
        let pairs = self.members.iter().enumerate();
        let pairs = pairs.map(|(at, member)| format!("{}={}:{PORT}", member.name, fabric::address(Self::host(at))));
        pairs.collect::<Vec<_>>().join(",")
    }

    fn data(&self, at: usize) -> PathBuf {
        self.folder.join("data").join(self.members[at].name)
    }

    fn orders(&self, at: usize) -> PathBuf {
        self.folder.join("orders").join(self.members[at].name)
    }

    fn command(&self, role: &str, host: u8, out: &str) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        let out = File::options().create(true).append(true).open(self.folder.join("out").join(out))?;
        command.arg(role).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).env("RUST_BACKTRACE", "1");
        if role != "burn" {
            command.arg("--listen").arg(format!("{}:{PORT}", fabric::address(host))).arg("--peers");
        }
        Ok(command)
    }

    /// A life of a member, or of its twin: what it is told, and its diary.
    fn life(&mut self, at: usize, life: String, host: u8, peers: String, data: &Path) -> io::Result<Child> {
        let path = self.folder.join("diary").join(&life);
        let kind = self.kinds[self.random.random_range(0..self.kinds.len())];
        let mut command = self.command("member", host, &life)?;
        command.arg(peers).arg("--name").arg(self.members[at].name).arg("--data").arg(data);
        command.arg("--orders").arg(self.orders(at)).arg("--diary").arg(&path).arg("--kind").arg(kind.name());
        command.arg("--seed").arg(self.random.random::<u32>().to_string());
        let child = self.hosts[usize::from(host) - 1].spawn(command)?;
        let life = Life { name: life, ..Life::default() };
        self.chapters.push(Chapter { life, path, read: 0, rest: String::new() });
        Ok(child)
    }

    /// Starts a member that does not run.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, at: usize) -> io::Result<()> {
        if self.members[at].process.is_some() {
            return Ok(());
        }
        self.members[at].lives += 1;
        let life = format!("{}.{}", self.members[at].name, self.members[at].lives);
        let (peers, data) = (self.peers(), self.data(at));
        let child = self.life(at, life, Self::host(at), peers, &data)?;
        let member = &mut self.members[at];
        (member.process, member.chapter) = (Some(child), self.chapters.len() - 1);
        (member.stopped, member.leaves) = (None, false);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self, at: usize) {
        self.resume(at);
        if let Some(child) = self.members[at].process.take() {
            end(child);
        }
    }

    /// SIGTERM.
    pub fn terminate(&mut self, at: usize) {
        self.members[at].leaves = true;
        self.signal(at, Signal::TERM);
    }

    /// Whether it has left after SIGTERM. Then it no longer counts as running.
    pub fn has_left(&mut self, at: usize) -> bool {
        let member = &mut self.members[at];
        let left = member.process.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))));
        if left {
            member.process = None;
        }
        left
    }

    /// SIGSTOP.
    pub fn stop(&mut self, at: usize) {
        self.signal(at, Signal::STOP);
        self.members[at].stopped.get_or_insert_with(stamp::now);
    }

    /// SIGCONT.
    pub fn resume(&mut self, at: usize) {
        let Some(from) = self.members[at].stopped.take() else { return };
        self.signal(at, Signal::CONT);
        let chapter = self.members[at].chapter;
        self.chapters[chapter].life.stops.push(Span { from, to: stamp::now() });
    }

    fn signal(&self, at: usize, signal: Signal) {
        if let Some(child) = &self.members[at].process {
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Deletes the data of a member that does not run.
    pub fn wipe(&self, at: usize) {
        let _ = fs::remove_dir_all(self.data(at));
    }

    /// Orders a member's disk about; without an order it is sound.
    pub fn order(&self, at: usize, order: Option<Order>) {
        let _ = match order {
            Some(order) => fs::write(self.orders(at), order.word()),
            None => fs::remove_file(self.orders(at)),
        };
    }

    /// Whether the disk of a member's present life may vote, as far as it wrote so.
    pub fn is_named(&self, at: usize) -> bool {
        let life = &self.chapters[self.members[at].chapter].life;
        life.entries.iter().any(|entry| matches!(entry, Entry::Named { .. }))
    }

    /// Copies a member's folder as it is, without what locks it.
    fn copy(&self, at: usize, to: &Path) -> io::Result<()> {
        let _ = fs::remove_dir_all(to);
        fs::create_dir_all(to)?;
        for file in fs::read_dir(self.data(at))? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
        Ok(())
    }

    /// Starts a second process with a member's name, on a copy of its disk, on another host.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn twin(&mut self, at: usize) -> io::Result<Child> {
        let (host, data) = (Self::host(self.members.len() + 1), self.folder.join("data").join("twin"));
        self.copy(at, &data)?;
        let (name, old, new) = (self.name(at), fabric::address(Self::host(at)), fabric::address(host));
        let peers = self.peers().replace(&format!("{name}={old}:"), &format!("{name}={new}:"));
        let life = format!("{name}-twin.{}", self.chapters.len());
        self.life(at, life, host, peers, &data)
    }

    /// Starts a stranger.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn stranger(&mut self, plan: Plan) -> io::Result<Child> {
        let (host, data) = (Self::host(self.members.len()), self.folder.join("data").join("stranger"));
        self.copy(0, &data)?;
        let mut command = self.command("stranger", host, "stranger")?;
        command.arg(self.peers()).arg("--plan").arg(plan.name()).arg("--copy").arg(data).arg("--of").arg(self.name(0));
        self.hosts[usize::from(host) - 1].spawn(command)
    }

    /// Starts a process that does nothing, on every core.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn burn(&self) -> io::Result<Child> {
        self.command("burn", 1, "burn")?.spawn()
    }

    /// Reads what was written, and starts those again that ended by themselves.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn look(&mut self) -> io::Result<()> {
        for at in 0..self.members.len() {
            let Some(Ok(Some(status))) = self.members[at].process.as_mut().map(Child::try_wait) else { continue };
            if self.members[at].leaves && status.success() {
                continue;
            }
            let life = self.chapters[self.members[at].chapter].life.name.clone();
            self.ended.push(format!("{life} ended by itself: {status}"));
            self.members[at].process = None;
            self.start(at)?;
        }
        let recent = self.chapters.len().saturating_sub(RECENT);
        let current: Vec<usize> = self.members.iter().map(|member| member.chapter).collect();
        let written = self.chapters.iter_mut().enumerate().filter(|(at, _)| *at >= recent || current.contains(at));
        for (_, chapter) in written {
            for entry in chapter.read_on() {
                if let Entry::Yes { after, .. } = entry
                    && self.newest.is_none_or(|(_, newest)| after > newest)
                {
                    let name = chapter.life.name.split(['.', '-']).next();
                    let at = self.members.iter().position(|member| Some(member.name) == name);
                    self.newest = at.map(|at| (at, after)).or(self.newest);
                }
            }
        }
        Ok(())
    }

    /// Ends all members, and returns what every life wrote.
    ///
    /// # Errors
    /// A diary cannot be read.
    pub fn finish(mut self) -> io::Result<(Vec<Life>, Vec<String>)> {
        for at in 0..self.members.len() {
            self.kill(at);
        }
        for chapter in &mut self.chapters {
            chapter.read_on();
        }
        Ok((self.chapters.drain(..).map(|chapter| chapter.life).collect(), std::mem::take(&mut self.ended)))
    }
}

impl Chapter {
    /// The complete lines that were written since the last time.
    fn read_on(&mut self) -> Vec<Entry> {
        // It is made by the process, which may not be so far.
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        let read = file.seek(SeekFrom::Start(self.read)).and_then(|_| file.read_to_string(&mut self.rest));
        self.read += u64::try_from(read.unwrap_or(0)).unwrap_or(0);
        let whole = self.rest.rfind('\n').map_or(0, |at| at + 1);
        let entries = diary::read(&self.rest[..whole]);
        self.rest.drain(..whole);
        self.life.entries.extend(&entries);
        entries
    }
}

/// Ends a process, and waits for that.
pub fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
