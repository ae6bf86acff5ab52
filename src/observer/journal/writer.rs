//! The thread that writes.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use serde::Serialize;

use super::reader::Run;
use super::{JOURNAL_VERSION, Shared, Sink};
use crate::clock::Anchor;
use crate::event::Event;
use crate::message::Identity;

#[derive(Serialize)]
struct Written<'a> {
    v: u64,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Run(Run),
    Event(&'a Event),
    Dropped(u64),
}

/// The memory for lines that is kept between batches.
const BUFFER_KEPT: usize = 64 * 1024;

/// Writes batches until the journal is closed and the queue is empty.
pub(super) fn run(shared: &Arc<Shared>, sink: impl Sink, torn: bool) {
    let finish = Finish(Arc::clone(shared));
    let mut writer = Writer { sink, torn, missing: 0, runs: Vec::new(), last: None, buffer: Vec::new() };
    let mut batch = VecDeque::new();
    loop {
        let (wanted, closed, dropped) = {
            let mut state = shared.lock();
            while state.events.is_empty()
                && state.dropped == 0
                && state.flush_wanted == state.flush_done
                && !state.closed
            {
                state = shared.wake_writer.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut state.events);
            (state.flush_wanted, state.closed, std::mem::take(&mut state.dropped))
        };
        let written = writer.write(&mut batch, dropped, wanted > finish.done());
        let mut state = shared.lock();
        if let Err(error) = written {
            if state.error.is_none() {
                tracing::error!(target: "hustings::journal", file = %shared.file, %error, "the journal cannot be written");
            }
            state.error = Some(error);
        }
        state.flush_done = wanted;
        shared.wake_flushers.notify_all();
        if closed && state.events.is_empty() {
            return;
        }
    }
}

/// Frees whoever waits in a flush, however the thread ends.
struct Finish(Arc<Shared>);

impl Finish {
    fn done(&self) -> u64 {
        self.0.lock().flush_done
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if std::thread::panicking() {
            state.error.get_or_insert_with(|| io::Error::other("the writer of the journal panicked"));
        }
        state.flush_done = u64::MAX;
        self.0.wake_flushers.notify_all();
    }
}

struct Writer<S> {
    sink: S,
    /// Whether the file may end within a line.
    torn: bool,
    /// How many events are lost and not yet told.
    missing: u64,
    /// The lives that have their `run` line.
    runs: Vec<Arc<Identity>>,
    last: Option<Arc<Identity>>,
    buffer: Vec<u8>,
}

impl<S: Sink> Writer<S> {
    /// Writes what was lost before the batch, the batch, and that `dropped` more came after it.
    fn write(&mut self, batch: &mut VecDeque<Event>, dropped: u64, sync: bool) -> io::Result<()> {
        let (missing, events) = (self.missing, batch.len() as u64);
        if missing + events + dropped == 0 {
            return if sync { self.sink.sync() } else { Ok(()) };
        }
        self.buffer.clear();
        if self.torn {
            self.buffer.push(b'\n');
        }
        self.gap(missing);
        for event in batch.drain(..) {
            self.introduce(&event.who);
            self.line(Body::Event(&event));
        }
        self.gap(dropped);
        let written = self.sink.write_all(&self.buffer);
        self.buffer.shrink_to(BUFFER_KEPT);
        match &written {
            Ok(()) => {
                self.torn = false;
                self.missing = 0;
            }
            // How much of the batch arrived is unknown: all of it counts as lost, and the lives introduce themselves again.
            Err(_) => {
                self.torn = true;
                self.missing = missing + events + dropped;
                self.runs.clear();
                self.last = None;
            }
        }
        if sync { written.and_then(|()| self.sink.sync()) } else { written }
    }

    fn gap(&mut self, lost: u64) {
        if lost > 0 {
            self.line(Body::Dropped(lost));
        }
    }

    fn introduce(&mut self, who: &Arc<Identity>) {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, who)) {
            return;
        }
        self.last = Some(Arc::clone(who));
        let same = |known: &Arc<Identity>| {
            (&known.cluster, &known.group, known.holder()) == (&who.cluster, &who.group, who.holder())
        };
        if !self.runs.iter().any(same) {
            self.runs.push(Arc::clone(who));
            self.line(Body::Run(Run::opened(who, Anchor::now())));
        }
    }

    fn line(&mut self, body: Body<'_>) {
        let start = self.buffer.len();
        // Only a map with keys that are no strings, or a failing sink, could fail; a vector and events are neither.
        if serde_json::to_writer(&mut self.buffer, &Written { v: JOURNAL_VERSION, body }).is_err() {
            self.buffer.truncate(start);
            return;
        }
        self.buffer.push(b'\n');
    }
}
