//! Judges what the work wrote, and nothing else: neither events nor what the library says of itself.
//!
//! - **E1**: no two lives are sure to be the only leader at one instant. From the first *yes* of a guard to its last one the
//!   life was sure all the time, since the first *no* is final: two such spans of different lives never overlap, whatever
//!   stood still. An act may outlast its leadership only by the time that its process stood still, and [`SLACK`].
//! - **F1**: fences rise in the order in which leaders are exclusive; an act under a smaller fence never begins after an act
//!   under a larger one, with the same allowance. (A resource refuses those that the allowance permits: so it is the fence
//!   that protects there.)

use std::collections::BTreeMap;
use std::fmt;

use crate::diary::Entry;
use crate::stamp::ms;

#[cfg(test)]
mod tests;

/// How long work may go on, while its process runs, after somebody else became exclusive. Such work was dropped a margin
/// of 4.6 ms before, so this is only what a thread may be late on a busy machine without a gap that anybody noticed.
pub const SLACK: u64 = 20_000_000;

/// One life of a process: what it wrote, and when it is known from outside to have stood still.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Which: `a.3`.
    pub name: String,
    /// Its diary.
    pub entries: Vec<Entry>,
    /// When it was suspended.
    pub stops: Vec<Span>,
}

/// From and to, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first nanosecond.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// What was found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// When it was broken.
    pub at: u64,
    /// By whom, and how.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.rule, self.at, self.text)
    }
}

/// What the judge found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// How many leaderships there were.
    pub offices: usize,
    /// How many acts were begun.
    pub acts: usize,
    /// How many answers of guards were *yes*.
    pub answers: usize,
    /// For how long, at most, each leadership worked on beside a newer one, while its process ran: within the allowance.
    pub overruns: Vec<u64>,
    /// Every moment at which some guard had said *yes*, in order.
    pub sure: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Acted {
    begin: u64,
    end: u64,
}

/// One leadership of one life.
#[derive(Debug)]
struct Office<'a> {
    life: &'a Life,
    still: &'a [Span],
    fence: u64,
    /// Exclusive for certain.
    sure: Option<Span>,
    acts: Vec<Acted>,
}

/// Judges what all lives wrote.
pub fn judge(lives: &[Life]) -> Verdict {
    let stood: Vec<Vec<Span>> = lives.iter().map(stood_still).collect();
    let mut offices: Vec<Office<'_>> =
        lives.iter().zip(&stood).flat_map(|(life, still)| offices(life, still)).collect();
    offices.sort_by_key(|office| office.fence);
    let mut verdict = Verdict { offices: offices.len(), ..Verdict::default() };
    for entry in lives.iter().flat_map(|life| &life.entries) {
        match entry {
            Entry::Yes { after, .. } => verdict.sure.push(*after),
            Entry::Begin { .. } => verdict.acts += 1,
            _ => {}
        }
    }
    verdict.sure.sort_unstable();
    verdict.answers = verdict.sure.len();
    for (at, older) in offices.iter().enumerate() {
        for newer in &offices[at + 1..] {
            compare(older, newer, &mut verdict);
        }
    }
    verdict.violations.sort_by_key(|violation| violation.at);
    verdict
}

fn compare(older: &Office<'_>, newer: &Office<'_>, verdict: &mut Verdict) {
    let mut wrong = |rule, at, text: String| {
        let (old, new) = (&older.life.name, &newer.life.name);
        let text = format!("{old} under fence {}, {new} under fence {}: {text}", older.fence, newer.fence);
        verdict.violations.push(Violation { rule, at, text });
    };
    if older.fence == newer.fence {
        wrong("E1", newer.begin(), "two lives were exclusive under one fence".to_owned());
        return;
    }
    if let (Some(old), Some(new)) = (older.sure, newer.sure) {
        if old.from <= new.to && new.from <= old.to {
            let overlap = old.to.min(new.to) - old.from.max(new.from);
            wrong("E1", old.from.max(new.from), format!("both guards said yes for {:.3} ms", ms(overlap)));
        } else if new.to < old.from {
            wrong("F1", old.from, "the smaller fence became exclusive after the larger one".to_owned());
        }
    }
    let begin = newer.begin();
    let (mut beside, mut after) = (0, None::<u64>);
    for act in older.acts.iter().filter(|act| act.end > begin) {
        if act.begin <= newer.end() {
            beside = beside.max(older.ran(begin, act.end.min(newer.end())));
        }
        let late = older.ran(begin, act.begin.max(begin));
        after = after.max((late > SLACK).then_some(act.begin));
    }
    if beside > SLACK {
        wrong(
            "E1",
            begin,
            format!("work went on for {:.3} ms, its process running, beside a newer leader", ms(beside)),
        );
    } else if beside > 0 {
        verdict.overruns.push(beside);
    }
    if let Some(at) = after {
        wrong("F1", at, "an act began under the smaller fence after one under the larger".to_owned());
    }
}

impl Office<'_> {
    /// When it acted as the only leader first.
    fn begin(&self) -> u64 {
        let acted = self.acts.iter().map(|act| act.begin).min();
        acted.into_iter().chain(self.sure.map(|sure| sure.from)).min().unwrap_or(u64::MAX)
    }

    /// When it did last.
    fn end(&self) -> u64 {
        let acted = self.acts.iter().map(|act| act.end).max();
        acted.into_iter().chain(self.sure.map(|sure| sure.to)).max().unwrap_or(0)
    }

    /// For how long its process ran in that time.
    fn ran(&self, from: u64, to: u64) -> u64 {
        let still = self.still.iter().map(|gap| gap.to.min(to).saturating_sub(gap.from.max(from)));
        to.saturating_sub(from).saturating_sub(still.sum())
    }
}

/// When a life stood still, seen from inside or from outside, in order and without overlaps.
fn stood_still(life: &Life) -> Vec<Span> {
    let gaps = life.entries.iter().filter_map(|entry| match entry {
        Entry::Gap { from, to } => Some(Span { from: *from, to: *to }),
        _ => None,
    });
    let mut spans: Vec<Span> = gaps.chain(life.stops.iter().copied()).collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
            _ => merged.push(span),
        }
    }
    merged
}

fn offices<'a>(life: &'a Life, still: &'a [Span]) -> Vec<Office<'a>> {
    let mut offices: BTreeMap<u64, Office<'a>> = BTreeMap::new();
    let mut begun: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let new = |fence| Office { life, still, fence, sure: None, acts: Vec::new() };
    for entry in &life.entries {
        match *entry {
            Entry::Yes { fence, before, after } => {
                let office = offices.entry(fence).or_insert_with(|| new(fence));
                // Between its first yes and its last: the guard read the clock somewhere from `before` to `after`.
                let sure = office.sure.get_or_insert(Span { from: after, to: after });
                sure.to = sure.to.max(before);
            }
            Entry::Begin { act, fence, at, .. } => {
                let office = offices.entry(fence).or_insert_with(|| new(fence));
                begun.insert(act, (fence, office.acts.len()));
                // An act that was cut off by the end of its process ended at some moment that nobody knows.
                office.acts.push(Acted { begin: at, end: at });
            }
            Entry::End { act, at } => {
                if let Some((fence, index)) = begun.remove(&act)
                    && let Some(office) = offices.get_mut(&fence)
                {
                    office.acts[index].end = at;
                }
            }
            _ => {}
        }
    }
    offices.into_values().collect()
}
