//! Members as processes: the example `node`, with what it prints.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine: a condition that fails this long has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits for a condition, and says which one did not come.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

struct Member {
    child: Child,
    lines: Lines,
}

pub(crate) struct Cluster {
    addresses: BTreeMap<String, String>,
    data: tempfile::TempDir,
    collector: Option<String>,
    variables: Vec<(String, String)>,
    members: BTreeMap<String, Member>,
}

impl Cluster {
    pub(crate) fn new(ids: &[&str], collector: &str) -> Cluster {
        let mut cluster = Cluster::untraced(ids);
        cluster.collector = Some(collector.to_owned());
        cluster
    }

    /// Without telemetry.
    pub(crate) fn untraced(ids: &[&str]) -> Cluster {
        // All ports are held until all are known, so that no two members get the same.
        let held: Vec<TcpListener> =
            ids.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        let addresses = ids.iter().zip(&held).map(|(id, listener)| ((*id).to_owned(), address(listener))).collect();
        let data = tempfile::tempdir().expect("a temporary folder");
        Cluster { addresses, data, collector: None, variables: Vec::new(), members: BTreeMap::new() }
    }

    /// Sets a variable for every member that starts from now on.
    #[allow(dead_code, reason = "only for some tests")]
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Starts a member. Its timeouts are long enough that a busy machine costs no leader its office.
    pub(crate) fn start(&mut self, id: &str) {
        self.start_with(id, 150);
    }

    pub(crate) fn start_with(&mut self, id: &str, heartbeat_ms: u32) {
        self.start_as(id, heartbeat_ms, &[]);
    }

    pub(crate) fn start_as(&mut self, id: &str, heartbeat_ms: u32, options: &[&str]) {
        let mut command = Command::new(program());
        command.args(["--id", id, "--listen", &self.addresses[id]]).arg("--data").arg(self.data.path().join(id));
        for (peer, address) in self.addresses.iter().filter(|(peer, _)| *peer != id) {
            command.args(["--peer", &format!("{peer}={address}")]);
        }
        command
            .args(["--heartbeat", &heartbeat_ms.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(collector) = &self.collector {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "50");
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the example `node` starts");
        let lines = Lines::default();
        let (sink, output) = (lines.clone(), child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        self.members.insert(id.to_owned(), Member { child, lines });
    }

    /// Who says that it leads alone and has not said since that it no longer does, `but` for these.
    pub(crate) fn leader(&self, but: &[&str]) -> Option<String> {
        let leads = |lines: &[String]| {
            let newest =
                lines.iter().rev().find(|line| line.contains("leading alone") || line.contains("no longer leading"));
            newest.is_some_and(|line| line.contains("leading alone"))
        };
        let mut candidates = self.members.iter().filter(|(id, _)| !but.contains(&id.as_str()));
        candidates.find(|(_, member)| leads(&member.lines())).map(|(id, _)| id.clone())
    }

    /// Whether that member's present process printed a line with the text.
    pub(crate) fn says(&self, id: &str, text: &str) -> bool {
        self.members[id].lines().iter().any(|line| line.contains(text))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, id: &str) {
        let member = self.members.get_mut(id).expect("a member");
        member.child.kill().expect("it runs");
        member.child.wait().expect("it was killed");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self, id: &str) {
        self.signal(id, "TERM");
    }

    /// SIGSTOP: the process stands still, and its sockets stay open. Returns how many lines it had printed.
    pub(crate) fn suspend(&self, id: &str) -> usize {
        self.signal(id, "STOP");
        self.members[id].lines().len()
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, id: &str) {
        self.signal(id, "CONT");
    }

    /// What it printed after so many lines.
    pub(crate) fn told(&self, id: &str, after: usize) -> Vec<String> {
        self.members[id].lines().split_off(after)
    }

    fn signal(&self, id: &str, name: &str) {
        let pid = self.members[id].child.id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), pid]).status().expect("kill(1)");
        assert!(sent.success());
    }

    pub(crate) fn wait_for_exit(&mut self, id: &str) -> ExitStatus {
        let child = &mut self.members.get_mut(id).expect("a member").child;
        wait_for("a member to leave", || child.try_wait().expect("it was started here"))
    }
}

impl Member {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (id, member) in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
            if std::thread::panicking() {
                let told: String = member.lines().iter().map(|line| format!("{id} | {line}\n")).collect();
                let _ = std::io::stderr().write_all(told.as_bytes());
            }
        }
    }
}

/// The example `node`, built if need be: `cargo test` builds examples, `cargo test --test processes` does not.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("this test's own path");
        let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps");
        let target = profile.parent().expect("target/<profile>");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--example", "node", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).arg("--target-dir").arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the example `node` does not build");
        profile.join("examples").join(format!("node{}", std::env::consts::EXE_SUFFIX))
    })
}
