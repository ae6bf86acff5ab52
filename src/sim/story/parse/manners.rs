//! How links, disks, users and processes behave, and what must come right: the parts of a command with `key=value`.

use std::time::Duration;

use super::Parsed;
use super::words::{Words, duration};
use crate::sim::story::command::Require;
use crate::sim::{DiskManners, Faults, Link, Manners, StartWhen};

/// Everything but whether messages pass.
pub(super) fn link(words: &mut Words<'_>) -> Parsed<Link> {
    const KEYS: &str = "delay=, loss=, duplicate=, tail= or tail_max=";
    let mut link = Link::steady(Duration::from_millis(1));
    each_pair(words, KEYS, |key, value| {
        match key {
            "delay" => link.delay = range(value)?,
            "loss" => link.loss = probability(value)?,
            "duplicate" => link.duplicate = probability(value)?,
            "tail" => link.tail = probability(value)?,
            "tail_max" => link.tail_max = duration(value)?,
            _ => return None,
        }
        Some(())
    })?;
    Ok(link)
}

pub(super) fn disk(words: &mut Words<'_>) -> Parsed<DiskManners> {
    const KEYS: &str = "write=, slow=, slow_max=, fail=, full= or rot=";
    let mut disk = DiskManners::steady(Duration::from_millis(1));
    each_pair(words, KEYS, |key, value| {
        match key {
            "write" => disk.write = range(value)?,
            "slow" => disk.slow = probability(value)?,
            "slow_max" => disk.slow_max = duration(value)?,
            "fail" => disk.fail = probability(value)?,
            "full" => disk.full = probability(value)?,
            "rot" => disk.rot = probability(value)?,
            _ => return None,
        }
        Some(())
    })?;
    Ok(disk)
}

pub(super) fn faults(words: &mut Words<'_>) -> Parsed<Faults> {
    const KEYS: &str = "crash=, absence=, stray=, truncate=, corrupt=, replay= or replay_max=";
    let mut faults = Faults::default();
    each_pair(words, KEYS, |key, value| {
        match key {
            "crash" => faults.crash_in_step = probability(value)?,
            "absence" => faults.absence = range(value)?,
            "stray" => faults.stray_reply = probability(value)?,
            "truncate" => faults.truncate = probability(value)?,
            "corrupt" => faults.corrupt = probability(value)?,
            "replay" => faults.replay = probability(value)?,
            "replay_max" => faults.replay_max = duration(value)?,
            _ => return None,
        }
        Some(())
    })?;
    Ok(faults)
}

/// `[elected] hold 500ms [after 0ms..50ms] [for 1s]`.
pub(super) fn work(words: &mut Words<'_>) -> Parsed<Manners> {
    let start = if words.take("elected") { StartWhen::Elected } else { StartWhen::Exclusive };
    words.keyword("hold")?;
    let mut manners = Manners { start: Some(start), linger: span(words)?, ..Manners::idle() };
    if words.take("after") {
        manners.hesitation = span(words)?;
    }
    if words.take("for") {
        manners.length = Some(span(words)?);
    }
    Ok(manners)
}

/// `V1 within 1s`, `V2 for 1s`, `V3 since mark`, `V5`.
pub(super) fn require(words: &mut Words<'_>, marked: bool) -> Parsed<Require> {
    const PROPERTIES: &str = "a property (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, D2)";
    let property = words.word(PROPERTIES)?;
    Ok(match property {
        "V1" => Require::Settled("V1", within(words)?),
        "V11" => Require::Settled("V11", within(words)?),
        "V2" => Require::Kept("V2", lasting(words)?),
        "V8" => Require::Kept("V8", lasting(words)?),
        "V3" if words.take("for") => Require::Kept("V3", words.duration()?),
        "V3" => {
            words.keyword("since")?;
            words.keyword("mark")?;
            if !marked {
                return Err(words.unread("a mark that was set above"));
            }
            Require::Unmoved
        }
        "V4" => Require::Barren(lasting(words)?),
        "V5" => Require::Silent,
        "V6" => Require::Known,
        "V7" => Require::HandedOver(within(words)?),
        "V9" => Require::Resigned(within(words)?),
        "V10" => Require::Bounded,
        "V12" => Require::Steady(lasting(words)?),
        "D2" => Require::Named(within(words)?),
        _ => return Err(words.unread(PROPERTIES)),
    })
}

fn within(words: &mut Words<'_>) -> Parsed<Duration> {
    words.keyword("within")?;
    words.duration()
}

fn lasting(words: &mut Words<'_>) -> Parsed<Duration> {
    words.keyword("for")?;
    words.duration()
}

fn each_pair(words: &mut Words<'_>, keys: &str, mut set: impl FnMut(&str, &str) -> Option<()>) -> Parsed<()> {
    while !words.is_over() {
        let (key, value) = words.pair(keys)?;
        set(key, value).ok_or_else(|| words.unread(keys))?;
    }
    Ok(())
}

/// A word that is a duration or two.
fn span(words: &mut Words<'_>) -> Parsed<(Duration, Duration)> {
    const EXPECTED: &str = "a duration such as 50ms, or two: 0ms..50ms";
    let word = words.word(EXPECTED)?;
    range(word).ok_or_else(|| words.unread(EXPECTED))
}

fn range(text: &str) -> Option<(Duration, Duration)> {
    match text.split_once("..") {
        Some((low, high)) => Some((duration(low)?, duration(high)?)).filter(|(low, high)| low <= high),
        None => duration(text).map(|one| (one, one)),
    }
}

fn probability(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number| (0.0..=1.0).contains(number))
}
