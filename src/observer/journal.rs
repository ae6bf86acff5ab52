//! The journal: every event of a node as a line of JSON, for the time after.
//!
//! Each line names its version and is one of three:
//!
//! ```text
//! {"v":1,"run":{"library":"0.1.0","cluster":"planner","group":"main","node":"n3",...,"wall_unix_ns":...,"at":...}}
//! {"v":1,"event":{"at":153204000,"sequence":7,"who":{...},"term":4,...,"kind":{"event":"term_advanced","from":3}}}
//! {"v":1,"dropped":12}
//! ```
//!
//! A `run` opens what one start of a node in a group reports: its `at` is the node's clock at the wall-clock time beside
//! it. It comes again, with a new reading of both clocks that counts from there on, after an hour and when the wall clock was set
//! by 100 ms or more. An `event` is complete by itself, so that a line that was found by `grep` needs no other.
//!
//! **It never blocks the driver.** Events go into a queue, a thread of its own writes them. A disk that stands still
//! fills the queue; what no longer fits is counted, and a `dropped` line tells how much is missing there, so that
//! nothing is lost in silence. A queue without a bound would trade that gap for the memory of the service.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::event::Event;
use crate::observer::Observer;

mod reader;
mod writer;

pub use reader::{Line, Reader, Run, read, read_from};

/// The version of the lines that are written, and the only one that is read.
pub const JOURNAL_VERSION: u64 = 1;
/// How many events wait for the disk at most, unless told otherwise, and as many again are being written: hundreds of
/// elections, some megabytes, and only while the disk stands still.
pub const QUEUE_MAX: usize = 16 * 1024;

/// A journal, or a part of one, that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file could not be opened. Nothing was written.
    #[error("journal {file}: cannot open: {source}")]
    Open {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something could not be written. What is missing is told by a `dropped` line once writing works again.
    #[error("journal {file}: cannot write: {source}")]
    Write {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be read further; the reader ends here.
    #[error("journal {file}, line {line}: cannot read: {source}")]
    Read {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The line breaks off: the process or the machine died while it was written. The lines before it stand.
    #[error("journal {file}, line {line}: breaks off after {len} bytes: it was being written when the node died")]
    Torn {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// How much of it there is.
        len: usize,
    },
    /// The line is of another version; the reader goes on with the next.
    #[error("journal {file}, line {line}: is of version {found}, this release reads version {JOURNAL_VERSION}")]
    Version {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Its version.
        found: u64,
    },
    /// The line is not a journal's; the reader goes on with the next.
    #[error("journal {file}, line {line}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl JournalError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            JournalError::Open { .. } => "journal_open",
            JournalError::Write { .. } => "journal_write",
            JournalError::Read { .. } => "journal_read",
            JournalError::Torn { .. } => "journal_torn",
            JournalError::Version { .. } => "journal_version",
            JournalError::Malformed { .. } => "journal_malformed",
        }
    }
}

/// Writes every event it is shown as a line of JSON.
///
/// Clones share one file: give one to the driver, keep one for [`Journal::flush`]. Dropping the last one writes what
/// still waits, and waits for it.
#[derive(Debug, Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

impl Journal {
    /// Opens `path`, or creates it, and appends. A line that a crash left torn is ended first, so that it harms no other.
    ///
    /// # Errors
    /// [`JournalError::Open`]; nothing was written.
    pub fn create(path: impl AsRef<Path>) -> Result<Journal, JournalError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let open = || -> io::Result<(File, bool)> {
            let mut opened = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            let torn = ends_torn(&mut opened)?;
            Ok((opened, torn))
        };
        match open() {
            Ok((opened, torn)) => Journal::start(file, opened, QUEUE_MAX, torn),
            Err(source) => Err(JournalError::Open { file, source }),
        }
    }

    /// Writes to any sink, with room for `queue_max` waiting events.
    ///
    /// # Errors
    /// [`JournalError::Open`] if no thread could be started.
    pub fn to_writer(sink: impl Write + Send + 'static, queue_max: usize) -> Result<Journal, JournalError> {
        Journal::start("(a writer)".to_owned(), Unsynced(sink), queue_max, false)
    }

    fn start(name: String, sink: impl Sink, queue_max: usize, torn: bool) -> Result<Journal, JournalError> {
        let shared = Arc::new(Shared {
            file: name,
            queue_max: queue_max.max(1),
            state: Mutex::default(),
            wake_writer: Condvar::new(),
            wake_flushers: Condvar::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            let run = move || writer::run(&shared, sink, torn);
            std::thread::Builder::new().name("hustings-journal".to_owned()).spawn(run)
        };
        match thread {
            Ok(thread) => Ok(Journal { handle: Arc::new(Handle { shared, thread: Some(thread) }) }),
            Err(source) => Err(JournalError::Open { file: shared.file.clone(), source }),
        }
    }

    /// Waits until everything that was observed before is written and synced. Blocks: not for the driver's thread.
    ///
    /// # Errors
    /// [`JournalError::Write`] if anything since the last flush could not be written.
    pub fn flush(&self) -> Result<(), JournalError> {
        let shared = &self.handle.shared;
        let mut state = shared.lock();
        state.flush_wanted += 1;
        let wanted = state.flush_wanted;
        shared.wake_writer.notify_one();
        while state.flush_done < wanted {
            state = shared.wake_flushers.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.error.take() {
            Some(source) => Err(JournalError::Write { file: shared.file.clone(), source }),
            None => Ok(()),
        }
    }
}

impl Observer for Journal {
    fn observe(&mut self, event: &Event) {
        let shared = &self.handle.shared;
        let mut state = shared.lock();
        if state.events.len() >= shared.queue_max {
            state.dropped += 1;
            return;
        }
        state.events.push_back(event.clone());
        if state.events.len() == 1 {
            shared.wake_writer.notify_one();
        }
    }
}

/// What the clones of a journal share; its end is the end of the thread.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake_writer.notify_one();
        if let Some(thread) = self.thread.take() {
            // The writer has no panic of its own; if the sink had one, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    file: String,
    queue_max: usize,
    /// Held for a push or a swap only, never while the disk works: the driver takes it too.
    state: Mutex<State>,
    wake_writer: Condvar,
    wake_flushers: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// Came after all of `events`, since the queue is full until it is taken as a whole.
    dropped: u64,
    flush_wanted: u64,
    flush_done: u64,
    error: Option<io::Error>,
    closed: bool,
}

/// What lines are written to.
trait Sink: Write + Send + 'static {
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

struct Unsynced<W>(W);

impl<W: Write> Write for Unsynced<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send + 'static> Sink for Unsynced<W> {
    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether the last line has no end. Leaves the position at the end.
fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
