//! What the work of one process wrote: lines that are only ever appended, each in one write, so that `kill -9` loses no line
//! that was written and tears at most the last.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stamp;

/// One line. All times are [`stamp::now`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The guard was asked, and said that this process is the only leader: at some moment from `before` to `after`.
    Yes { fence: u64, before: u64, after: u64 },
    /// An act begins.
    Begin { act: u64, fence: u64, at: u64 },
    /// That act is over.
    End { act: u64, at: u64 },
    /// The work of that leadership has ended.
    Over { fence: u64, at: u64 },
    /// The process stood still, or one of its threads did.
    Gap { from: u64, to: u64 },
    /// The disk may vote.
    Named { at: u64 },
    /// What the process holds.
    Size { at: u64, rss_kib: u64, descriptors: u64 },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Yes { fence, before, after } => write!(f, "yes {fence} {before} {after}"),
            Entry::Begin { act, fence, at } => write!(f, "begin {act} {fence} {at}"),
            Entry::End { act, at } => write!(f, "end {act} {at}"),
            Entry::Over { fence, at } => write!(f, "over {fence} {at}"),
            Entry::Gap { from, to } => write!(f, "gap {from} {to}"),
            Entry::Named { at } => write!(f, "named {at}"),
            Entry::Size { at, rss_kib, descriptors } => write!(f, "size {at} {rss_kib} {descriptors}"),
        }
    }
}

impl Entry {
    /// When it was written, or a little before.
    pub fn at(&self) -> u64 {
        match *self {
            Entry::Yes { after: at, .. } | Entry::Gap { to: at, .. } => at,
            Entry::Begin { at, .. } | Entry::End { at, .. } | Entry::Over { at, .. } => at,
            Entry::Named { at } | Entry::Size { at, .. } => at,
        }
    }

    /// Reads a line; `None` for one that was torn.
    pub fn parse(line: &str) -> Option<Entry> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        Some(match (kind, numbers.as_slice()) {
            ("yes", &[fence, before, after]) => Entry::Yes { fence, before, after },
            ("begin", &[act, fence, at]) => Entry::Begin { act, fence, at },
            ("end", &[act, at]) => Entry::End { act, at },
            ("over", &[fence, at]) => Entry::Over { fence, at },
            ("gap", &[from, to]) => Entry::Gap { from, to },
            ("named", &[at]) => Entry::Named { at },
            ("size", &[at, rss_kib, descriptors]) => Entry::Size { at, rss_kib, descriptors },
            _ => return None,
        })
    }
}

/// Reads the complete lines of a text.
pub fn read(text: &str) -> Vec<Entry> {
    text.split_inclusive('\n').filter_map(|line| Entry::parse(line.strip_suffix('\n')?)).collect()
}

/// The diary of this process. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct Diary {
    file: Arc<File>,
    acts: Arc<AtomicU64>,
}

impl Diary {
    /// Opens it for appending.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(path: &Path) -> io::Result<Diary> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Diary { file: Arc::new(file), acts: Arc::default() })
    }

    /// Appends a line. Work whose diary cannot be written cannot be judged: the process ends.
    pub fn write(&self, entry: Entry) {
        if let Err(error) = (&*self.file).write_all(format!("{entry}\n").as_bytes()) {
            eprintln!("the diary cannot be written: {error}");
            std::process::exit(4);
        }
    }

    /// Begins an act; it is over when the value is dropped.
    pub fn act(&self, fence: u64) -> Act<'_> {
        let act = self.acts.fetch_add(1, Ordering::Relaxed);
        self.write(Entry::Begin { act, fence, at: stamp::now() });
        Act { diary: self, act }
    }
}

/// An act that is under way.
#[derive(Debug)]
pub struct Act<'a> {
    diary: &'a Diary,
    act: u64,
}

impl Drop for Act<'_> {
    fn drop(&mut self) {
        self.diary.write(Entry::End { act: self.act, at: stamp::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let entries = [
            Entry::Yes { fence: 1, before: 2, after: 3 },
            Entry::Begin { act: 0, fence: 1, at: 3 },
            Entry::End { act: 0, at: 4 },
            Entry::Over { fence: 1, at: 5 },
            Entry::Gap { from: 6, to: 7 },
            Entry::Named { at: 8 },
            Entry::Size { at: 9, rss_kib: 10, descriptors: 11 },
        ];
        let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        assert_eq!(read(&text), entries);
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        assert_eq!(read("end 0 4\nend 1 5"), [Entry::End { act: 0, at: 4 }]);
        assert_eq!(Entry::parse("yes 1 2"), None);
    }
}
