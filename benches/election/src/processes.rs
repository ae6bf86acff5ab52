//! Three real processes, gRPC on loopback, votes on disk, default settings; and how long they are without a leader.
//!
//! Counts from just before the signal until this process has read the survivors' lines: *elected* at the new leader,
//! *known* at the other survivor, *exclusive* at the new leader (nothing is owed to the killed one any more). *Election* is what
//! the new leader itself counts, from its decision to campaign until it is established: without the death of the process.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What went wrong, for a person.
pub type Failure = Box<dyn std::error::Error>;

/// A line of a member's output, and when it was read.
type Heard = (usize, Instant, String);

/// How many lines are kept, to be shown when nobody leads.
const TOLD_MAX: usize = 80;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Longer than anything here takes: then the measurement has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// Names of the figures of [`Cluster::fail_over`].
pub const FIGURES: [&str; 4] = ["elected", "known", "exclusive", "election"];

/// Builds the example `node`, and says where it lies.
///
/// # Errors
/// It does not build.
pub fn build() -> Result<PathBuf, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let this = std::env::current_exe()?;
    let target = this.parent().and_then(Path::parent).ok_or("this program lies in no target folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--example", "node", "--target-dir"]).arg(target);
    if !cargo.current_dir(root).status()?.success() {
        return Err("the example `node` does not build".into());
    }
    Ok(target.join("release/examples/node"))
}

/// A cluster, whose members are killed when it is dropped; its folder is removed.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    data: PathBuf,
    environment: Vec<(String, String)>,
    addresses: Vec<String>,
    members: Vec<Option<Child>>,
    /// Who was exclusive last.
    leader: usize,
    told: VecDeque<String>,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
}

impl Cluster {
    /// Starts three members, with these variables in their environment, and waits until one leads alone.
    ///
    /// # Errors
    /// They cannot be started, or nobody leads.
    pub fn start(program: &Path, name: &str, environment: &[(&str, String)]) -> Result<Cluster, Failure> {
        let held = NAMES.map(|_| TcpListener::bind("127.0.0.1:0"));
        let mut addresses = Vec::new();
        for listener in held {
            addresses.push(listener?.local_addr()?.to_string());
        }
        let (sender, heard) = channel();
        let mut cluster = Cluster {
            program: program.to_owned(),
            data: std::env::temp_dir().join(format!("hustings-{name}-{}", std::process::id())),
            environment: environment.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
            addresses,
            members: Vec::new(),
            leader: 0,
            told: VecDeque::new(),
            sender,
            heard,
        };
        for at in 0..NAMES.len() {
            let child = cluster.spawn(at)?;
            cluster.members.push(Some(child));
        }
        cluster.wait("exclusive after", |_| true)?;
        Ok(cluster)
    }

    fn spawn(&self, at: usize) -> Result<Child, Failure> {
        let mut command = Command::new(&self.program);
        command.args(["--id", NAMES[at], "--listen", &self.addresses[at]]).arg("--data").arg(self.data.join(NAMES[at]));
        for (name, address) in NAMES.iter().zip(&self.addresses).filter(|(name, _)| **name != NAMES[at]) {
            command.args(["--peer", &format!("{name}={address}")]);
        }
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((at, Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(child)
    }

    /// The next line, and the one who leads by it.
    fn hear(&mut self, patience: Duration) -> Option<Heard> {
        let heard = self.heard.recv_timeout(patience).ok()?;
        let (at, _, line) = &heard;
        if line.contains("exclusive after") {
            self.leader = *at;
        }
        self.told.push_back(format!("{} | {line}", NAMES[*at]));
        if self.told.len() > TOLD_MAX {
            self.told.pop_front();
        }
        Some(heard)
    }

    fn failure(&self, what: &str) -> Failure {
        let told: String = self.told.iter().map(|line| format!("\n{line}")).collect();
        format!("{what}{told}").into()
    }

    /// Waits for a line that contains `text`, of any member that `who` accepts.
    fn wait(&mut self, text: &str, who: impl Fn(usize) -> bool) -> Result<(), Failure> {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let heard = self.hear(left);
            let (at, _, line) = heard.ok_or_else(|| self.failure(&format!("nobody said {text:?}")))?;
            if line.contains(text) && who(at) {
                return Ok(());
            }
        }
    }

    /// Kills the leader, and brings it back once another one leads. Returns the [`FIGURES`].
    ///
    /// # Errors
    /// Nobody was elected, or the killed one does not come back.
    pub fn fail_over(&mut self) -> Result<[Duration; 4], Failure> {
        // The one killed before is back, and all are settled. A starved machine may have changed the leader meanwhile.
        std::thread::sleep(Duration::from_millis(400));
        while self.hear(Duration::ZERO).is_some() {}
        let leader = self.leader;
        let mut killed = self.members[leader].take().ok_or("a member is missing")?;
        let began = Instant::now();
        killed.kill()?;
        let mut times = [None; 4];
        while times.iter().any(Option::is_none) {
            let heard = self.hear(LIMIT);
            let (at, when, line) = heard.ok_or_else(|| self.failure("nobody leads"))?;
            let figure = match () {
                () if at == leader => continue,
                () if line.contains("established (election ") => {
                    times[3] = times[3].or(counted(&line));
                    continue;
                }
                () if line.contains("elected leader of") => 0,
                () if line.contains(" leader ") && line.contains("(leaderless") => 1,
                () if line.contains("exclusive after") => 2,
                () => continue,
            };
            times[figure].get_or_insert(when.duration_since(began));
        }
        killed.wait()?;
        self.members[leader] = Some(self.spawn(leader)?);
        self.wait("(leaderless", |at| at == leader)?;
        Ok(times.map(Option::unwrap_or_default))
    }
}

/// The milliseconds of `established (election 6.913ms, ...`.
fn counted(line: &str) -> Option<Duration> {
    let ms: f64 = line.split("(election ").nth(1)?.split("ms").next()?.parse().ok()?;
    Some(Duration::from_secs_f64(ms / 1e3))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// The value below which so many per cent of them lie, in milliseconds. Sorts them.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn percentile(values: &mut [Duration], percent: usize) -> f64 {
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)].as_secs_f64() * 1e3
}
