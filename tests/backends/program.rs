//! Backends as processes: the real programs, started from the very files in `examples/backends`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::member::wait_for;

/// Set by `.ci/run`: there a backend that is missing is a failure.
const REQUIRED: &str = "HUSTINGS_BACKENDS";

/// A program that runs until this is dropped.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    folder: tempfile::TempDir,
}

/// Where a program is, or `None` after saying plainly that the test does not run.
pub(crate) fn find(name: &'static str) -> Option<PathBuf> {
    let found = find_if_any(name);
    let required = std::env::var_os(REQUIRED).is_some_and(|value| value == "required");
    assert!(found.is_some() || !required, "{REQUIRED}=required, and there is no {name} on PATH");
    found
}

/// The same for what no CI has to have.
#[expect(clippy::print_stdout, reason = "says which test did not run, and why")]
pub(crate) fn find_if_any(name: &'static str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        println!("not run: no {name} on PATH");
    }
    found
}

/// A file of `examples/backends`.
pub(crate) fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backends").join(name)
}

/// As many free addresses on loopback.
pub(crate) fn addresses<const N: usize>() -> [String; N] {
    // All are held until all are known, so that no two are the same.
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("bound").to_string())
}

/// The port of an address.
pub(crate) fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("an address").1
}

impl Program {
    /// Starts it. `arrange` gets its folder, which is removed in the end.
    pub(crate) fn start(name: &'static str, program: &Path, arrange: impl FnOnce(&mut Command, &Path)) -> Program {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new(program);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        arrange(&mut command, folder.path());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Program { name, child, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until it answers.
    pub(crate) fn ready(&mut self, address: &str, path: &str) {
        let name = self.name;
        wait_for(&format!("{name} to be ready"), || {
            if let Some(status) = self.child.try_wait().expect("it was started here") {
                panic!("{name} has ended ({status}): {}", self.log());
            }
            get(address, path).map(|_| ())
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            for line in tail.iter().rev() {
                let _ = writeln!(std::io::stderr(), "{} | {line}", self.name);
            }
        }
    }
}

/// What `GET` brings, if it is a success. HTTP/1.0, so that the body ends with the connection.
pub(crate) fn get(address: &str, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_whitespace().nth(1)?;
    (status == "200").then(|| answer.split_off(end + 4))
}

/// The same, as JSON.
pub(crate) fn get_json(address: &str, path: &str) -> Option<Value> {
    serde_json::from_slice(&get(address, path)?).ok()
}

/// A text for use in a query.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Several variables at once.
pub(crate) fn variables<V: AsRef<OsStr>>(
    command: &mut Command,
    variables: impl IntoIterator<Item = (&'static str, V)>,
) {
    for (name, value) in variables {
        command.env(name, value.as_ref());
    }
}
