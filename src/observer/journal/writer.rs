//! The thread that writes.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

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

/// How long one reading of both clocks counts: they drift apart by some milliseconds an hour.
const ANCHOR_AGE_MAX: Duration = Duration::from_secs(3600);
/// How far the wall clock may be set beside what the last reading foretells.
const ANCHOR_ERROR_MAX: Duration = Duration::from_millis(100);

/// Writes batches until the journal is closed and the queue is empty.
pub(super) fn run(shared: &Arc<Shared>, sink: impl Sink, torn: bool) {
    let finish = Finish(Arc::clone(shared));
    let mut writer = Writer {
        sink,
        torn,
        missing: 0,
        clocks: Anchor::now,
        anchor: None,
        runs: Vec::new(),
        last: None,
        buffer: Vec::new(),
    };
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
    clocks: fn() -> Anchor,
    /// The reading of both clocks that the newest `run` lines tell.
    anchor: Option<Anchor>,
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
        self.look_at_the_clocks();
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

    /// Where the last reading of the clocks counts no more, every life introduces itself again with a new one.
    fn look_at_the_clocks(&mut self) {
        let now = (self.clocks)();
        if self.anchor.is_none_or(|anchor| is_outdated(anchor, now)) {
            self.anchor = Some(now);
            self.runs.clear();
            self.last = None;
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
            let anchor = *self.anchor.get_or_insert_with(self.clocks);
            self.line(Body::Run(Run::opened(who, anchor)));
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

fn is_outdated(anchor: Anchor, now: Anchor) -> bool {
    let foretold = anchor.wall(now.at);
    let error = |a: SystemTime, b: SystemTime| a.duration_since(b).unwrap_or_default();
    let moved = error(now.wall, foretold).max(error(foretold, now.wall));
    now.at.since(anchor.at) >= ANCHOR_AGE_MAX || moved >= ANCHOR_ERROR_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Time;

    fn anchor(wall_ms: u64, at_ms: u64) -> Anchor {
        Anchor { wall: SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms), at: Time(at_ms * 1_000_000) }
    }

    #[test]
    fn a_reading_of_the_clocks_counts_for_an_hour_unless_the_wall_clock_is_set() {
        let read = anchor(1_000_000, 5_000);
        assert!(!is_outdated(read, anchor(1_060_000, 65_000)), "a minute later");
        assert!(!is_outdated(read, anchor(1_060_099, 65_000)), "slewed");
        assert!(is_outdated(read, anchor(1_060_100, 65_000)), "set forward");
        assert!(is_outdated(read, anchor(1_059_900, 65_000)), "set back");
        assert!(is_outdated(read, anchor(1_000_000 + 3_600_000, 5_000 + 3_600_000)), "an hour later");
    }

    #[test]
    fn every_life_introduces_itself_again_with_the_new_reading() {
        use crate::config::Config;
        use crate::record::HardState;
        use crate::types::{ClusterId, DiskId, NodeId};

        let name = NodeId::new("n1").expect("a name");
        let config = Config::new(ClusterId::new("test").expect("a name"), name.clone(), vec![name]);
        let who = Arc::new(Identity::of(&config, &HardState::new(DiskId(1), config.timing.promise_max)));
        let sink = super::super::Unsynced(Vec::new());
        let clocks = || anchor(1_000_000, 5_000);
        let mut writer =
            Writer { sink, torn: false, missing: 0, clocks, anchor: None, runs: vec![], last: None, buffer: vec![] };
        let told = |writer: &mut Writer<_>| {
            writer.buffer.clear();
            writer.look_at_the_clocks();
            writer.introduce(&who);
            String::from_utf8(writer.buffer.clone()).expect("JSON")
        };
        assert!(told(&mut writer).contains("\"wall_unix_ns\":1000000000000"));
        assert_eq!(told(&mut writer), "", "the same clocks: it is known");
        writer.clocks = || anchor(2_000_000, 6_000);
        assert!(told(&mut writer).contains("\"wall_unix_ns\":2000000000000"), "somebody set the clock");
    }
}
