//! Journals back into events.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{JOURNAL_VERSION, JournalError};
use crate::clock::Anchor;
use crate::event::Event;
use crate::message::Identity;
use crate::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Time, nanos};

/// The longest line that is read, in bytes: twice an event with the names of all members, each as long as it may be.
/// A list of short names takes up to four times as much memory as text.
const LINE_MAX: u64 = 128 * 1024;

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A start of a node in a group begins to report, or has read its clocks again.
    Run(Run),
    /// What happened.
    Event(Box<Event>),
    /// That many events are missing here.
    Dropped(u64),
}

/// Whose events follow, and how its clock relates to the wall's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The release that writes.
    pub library: String,
    /// The protocol version that it speaks.
    pub protocol: u16,
    /// The cluster.
    pub cluster: ClusterId,
    /// The hash of its first record as far as known then, 0 before there is one.
    pub founding: Founding,
    /// The group.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// Its start on that disk.
    pub incarnation: Incarnation,
    /// The wall clock, in nanoseconds since 1970.
    pub wall_unix_ns: u64,
    /// The node's clock at that moment.
    pub at: Time,
}

impl Run {
    pub(super) fn opened(who: &Identity, anchor: Anchor) -> Run {
        let wall = anchor.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Run {
            library: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: who.version,
            cluster: who.cluster.clone(),
            founding: who.founding,
            group: who.group.clone(),
            node: who.node.clone(),
            disk: who.disk,
            incarnation: who.incarnation,
            wall_unix_ns: nanos(wall),
            at: anchor.at,
        }
    }

    /// Turns points in time of this run into wall-clock time.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        let wall = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.wall_unix_ns));
        Anchor { wall: wall.unwrap_or(SystemTime::UNIX_EPOCH), at: self.at }
    }
}

/// Reads the journal at `path`. A broken line is an `Err` of its own; the lines after it are still given.
///
/// # Errors
/// [`JournalError::Open`].
pub fn read(path: impl AsRef<Path>) -> Result<Reader<BufReader<File>>, JournalError> {
    let file = path.as_ref().display().to_string();
    match File::open(path) {
        Ok(opened) => Ok(read_from(file, BufReader::new(opened))),
        Err(source) => Err(JournalError::Open { file, source }),
    }
}

/// Reads a journal from anything; `file` names it in errors.
pub fn read_from<R: BufRead>(file: impl Into<String>, from: R) -> Reader<R> {
    Reader { file: file.into(), from, line: 0, over: false, bytes: Vec::new() }
}

/// The lines of a journal.
#[derive(Debug)]
pub struct Reader<R> {
    file: String,
    from: R,
    line: u64,
    over: bool,
    bytes: Vec<u8>,
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Line, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            self.line += 1;
            self.bytes.clear();
            let (file, line) = (self.file.clone(), self.line);
            match self.from.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.bytes) {
                Ok(0) => self.over = true,
                Ok(_) if self.bytes.trim_ascii().is_empty() => {}
                Ok(read) if read as u64 == LINE_MAX && !self.bytes.ends_with(b"\n") => {
                    self.over = true;
                    let reason = format!("is longer than {LINE_MAX} bytes: not a journal");
                    return Some(Err(JournalError::Malformed { file, line, reason }));
                }
                Ok(_) => return Some(parse(&self.bytes).map_err(|flaw| flaw.at(file, line))),
                Err(source) => {
                    self.over = true;
                    return Some(Err(JournalError::Read { file, line, source }));
                }
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct Head {
    v: Option<u64>,
}

/// A field of the future is ignored, in the line as well as in the event.
#[derive(Deserialize)]
struct Body {
    run: Option<Run>,
    event: Option<Box<Event>>,
    dropped: Option<u64>,
}

enum Flaw {
    Torn(usize),
    Version(u64),
    Malformed(String),
}

impl Flaw {
    fn at(self, file: String, line: u64) -> JournalError {
        match self {
            Flaw::Torn(len) => JournalError::Torn { file, line, len },
            Flaw::Version(found) => JournalError::Version { file, line, found },
            Flaw::Malformed(reason) => JournalError::Malformed { file, line, reason },
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Line, Flaw> {
    let text = bytes.trim_ascii();
    let flaw = |error: serde_json::Error| {
        // What breaks off was being written; what is complete and wrong was never a line of ours.
        if error.is_eof() {
            Flaw::Torn(text.len())
        } else {
            Flaw::Malformed(format!("is not a journal's line: {error}"))
        }
    };
    let head: Head = serde_json::from_slice(text).map_err(flaw)?;
    match head.v {
        Some(JOURNAL_VERSION) => {}
        Some(found) => return Err(Flaw::Version(found)),
        None => return Err(Flaw::Malformed("names no version: not a journal's line".to_owned())),
    }
    let body: Body = serde_json::from_slice(text).map_err(flaw)?;
    match body {
        Body { run: Some(run), .. } => Ok(Line::Run(run)),
        Body { event: Some(event), .. } => Ok(Line::Event(event)),
        Body { dropped: Some(dropped), .. } => Ok(Line::Dropped(dropped)),
        Body { .. } => Err(Flaw::Malformed("holds neither a run nor an event nor a count of dropped ones".to_owned())),
    }
}
