//! How long three real processes are without a leader after `kill -9`: gRPC on loopback, votes on disk, default settings.
//!
//! `cargo run --release -p hustings-benches --bin failover -- [TRIALS]`
//!
//! Counts from just before the signal until this process has read the survivors' lines: *elected* at the new leader,
//! *known* at the other survivor, *exclusive* at the new leader (nothing is owed to the killed one any more).

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// A line of a member's output, and when it was read.
type Heard = (usize, Instant, String);

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Longer than anything here takes: then the measurement has failed.
const LIMIT: Duration = Duration::from_secs(30);

fn main() -> Result<(), Failure> {
    let trials = std::env::args().nth(1).map_or(Ok(50), |text| text.parse::<usize>())?;
    let program = build()?;
    let data = std::env::temp_dir().join(format!("hustings-failover-{}", std::process::id()));
    let measured = Cluster::start(&program, &data).and_then(|mut cluster| cluster.measure(trials));
    let _ = std::fs::remove_dir_all(&data);
    let [mut elected, mut known, mut exclusive] = measured?;
    let mut out = io::stdout().lock();
    writeln!(out, "kill -9 of the leader, {trials} trials, milliseconds: p50 / p99 / max")?;
    for (name, values) in [("elected", &mut elected), ("known", &mut known), ("exclusive", &mut exclusive)] {
        values.sort_unstable();
        let at = |percent: usize| values[(values.len() * percent / 100).min(values.len() - 1)].as_secs_f64() * 1e3;
        writeln!(out, "{name:>10}  {:7.2} / {:7.2} / {:7.2}", at(50), at(99), at(100))?;
    }
    Ok(())
}

fn build() -> Result<PathBuf, Failure> {
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

struct Cluster<'a> {
    program: &'a Path,
    data: &'a Path,
    addresses: Vec<String>,
    members: Vec<Option<Child>>,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
}

impl<'a> Cluster<'a> {
    fn start(program: &'a Path, data: &'a Path) -> Result<Cluster<'a>, Failure> {
        let held = NAMES.map(|_| TcpListener::bind("127.0.0.1:0"));
        let mut addresses = Vec::new();
        for listener in held {
            addresses.push(listener?.local_addr()?.to_string());
        }
        let (sender, heard) = channel();
        let mut cluster = Cluster { program, data, addresses, members: Vec::new(), sender, heard };
        for at in 0..NAMES.len() {
            let child = cluster.spawn(at)?;
            cluster.members.push(Some(child));
        }
        Ok(cluster)
    }

    fn spawn(&self, at: usize) -> Result<Child, Failure> {
        let mut command = Command::new(self.program);
        command.args(["--id", NAMES[at], "--listen", &self.addresses[at]]).arg("--data").arg(self.data.join(NAMES[at]));
        for (name, address) in NAMES.iter().zip(&self.addresses).filter(|(name, _)| **name != NAMES[at]) {
            command.args(["--peer", &format!("{name}={address}")]);
        }
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

    /// Waits for a line that contains `text`, of any member that `who` accepts.
    fn wait(&self, text: &str, who: impl Fn(usize) -> bool) -> Result<(usize, Instant), Failure> {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (at, when, line) = self.heard.recv_timeout(left).map_err(|_| format!("nobody said {text:?}"))?;
            if line.contains(text) && who(at) {
                return Ok((at, when));
            }
        }
    }

    fn measure(&mut self, trials: usize) -> Result<[Vec<Duration>; 3], Failure> {
        let mut figures = [const { Vec::new() }; 3];
        let (mut leader, _) = self.wait("exclusive after", |_| true)?;
        for _ in 0..trials {
            // The killed one is back, and all are settled.
            std::thread::sleep(Duration::from_millis(400));
            while self.heard.try_recv().is_ok() {}
            let mut killed = self.members[leader].take().ok_or("a member is missing")?;
            let began = Instant::now();
            killed.kill()?;
            let (mut next, mut times) = (None, [None; 3]);
            while times.iter().any(Option::is_none) {
                let (at, when, line) = self.heard.recv_timeout(LIMIT).map_err(|_| "no leader")?;
                let figure = match () {
                    () if at == leader => continue,
                    () if line.contains("elected leader of") => {
                        next = Some(at);
                        0
                    }
                    () if line.contains(" leader ") && line.contains("(leaderless") => 1,
                    () if line.contains("exclusive after") => 2,
                    () => continue,
                };
                times[figure].get_or_insert(when.duration_since(began));
            }
            killed.wait()?;
            for (values, time) in figures.iter_mut().zip(times) {
                values.extend(time);
            }
            let back = leader;
            leader = next.ok_or("nobody was elected")?;
            self.members[back] = Some(self.spawn(back)?);
            self.wait("(leaderless", |at| at == back)?;
        }
        Ok(figures)
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for child in self.members.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
