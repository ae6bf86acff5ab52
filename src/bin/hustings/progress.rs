//! One line on the terminal that says how far a long command is, and Ctrl-C that ends it in order.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two updates of the line.
const PACE: Duration = Duration::from_millis(100);

/// The line. It is written only where somebody sees it: on a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    shown: Option<Instant>,
    on: bool,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// Begins, and listens for Ctrl-C from now on.
    pub(super) fn begin() -> Progress {
        let interrupted = Arc::new(AtomicBool::new(false));
        listen(interrupted.clone());
        Progress { began: Instant::now(), shown: None, on: std::io::stderr().is_terminal(), interrupted }
    }

    /// Whether somebody has pressed Ctrl-C.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Shows the text, unless the last one is too fresh.
    pub(super) fn show(&mut self, text: impl FnOnce(Duration) -> String) {
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= PACE);
        if self.on && due {
            self.shown = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", text(self.began.elapsed()));
        }
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The second Ctrl-C ends the program at once.
fn listen(interrupted: Arc<AtomicBool>) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if interrupted.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    };
    // Without the thread Ctrl-C ends the program, as it always did.
    let _ = std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(wait);
}

/// A number with its thousands apart: `12,345`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// How many a second.
pub(super) fn rate(count: u64, elapsed: Duration) -> String {
    number((count as f64 / elapsed.as_secs_f64().max(1e-3)) as u64)
}
