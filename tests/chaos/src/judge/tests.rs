//! Made-up diaries, with and without overlaps.

use super::*;
use crate::diary;

const MS: u64 = 1_000_000;

/// A life from a diary whose times are in milliseconds.
fn life(name: &str, lines: &[(&str, &[u64])]) -> Life {
    let scale = |kind: &str, at: usize, number: u64| {
        let counts = match kind {
            "begin" => at < 2,
            "gap" => false,
            _ => at == 0,
        };
        if counts { number } else { number * MS }
    };
    let line = |(kind, numbers): &(&str, &[u64])| {
        let words = numbers.iter().enumerate().map(|(at, number)| format!(" {}", scale(kind, at, *number)));
        format!("{kind}{}\n", words.collect::<String>())
    };
    let text: String = lines.iter().map(line).collect();
    let entries = diary::read(&text);
    assert_eq!(entries.len(), lines.len(), "{text}");
    Life { name: name.to_owned(), entries, stops: Vec::new() }
}

fn rules(lives: &[Life]) -> Vec<&'static str> {
    judge(lives).violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn leaders_one_after_the_other_are_fine() {
    let a = life("a.1", &[("yes", &[1, 10, 10]), ("begin", &[0, 1, 11]), ("end", &[0, 14]), ("yes", &[1, 90, 90])]);
    let b = life("b.1", &[("yes", &[2, 91, 92]), ("begin", &[0, 2, 92]), ("end", &[0, 95]), ("yes", &[2, 99, 99])]);
    let verdict = judge(&[b, a]);
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.offices, verdict.acts, verdict.answers), (2, 2, 4));
}

#[test]
fn two_guards_that_say_yes_at_one_instant_are_found_whatever_stood_still() {
    let mut a = life("a.1", &[("yes", &[1, 10, 10]), ("yes", &[1, 92, 93]), ("gap", &[20, 95])]);
    a.stops = vec![Span { from: 0, to: 200 * MS }];
    let b = life("b.1", &[("yes", &[2, 89, 90]), ("yes", &[2, 120, 120])]);
    assert_eq!(rules(&[a, b]), ["E1"]);
}

/// The guard read its clock between `before` and `after`: what is not certain is not held against it.
#[test]
fn an_answer_counts_only_where_it_is_certain() {
    let a = life("a.1", &[("yes", &[1, 10, 10]), ("yes", &[1, 85, 300])]);
    let b = life("b.1", &[("yes", &[2, 80, 90]), ("yes", &[2, 120, 120])]);
    assert_eq!(rules(&[a, b]), [""; 0]);
}

#[test]
fn one_fence_for_two_lives_is_found() {
    let a = life("a.1", &[("yes", &[1, 10, 10])]);
    let b = life("b.1", &[("yes", &[1, 90, 90])]);
    assert_eq!(rules(&[a, b]), ["E1"]);
}

#[test]
fn a_smaller_fence_after_a_larger_one_is_found() {
    let a = life("a.1", &[("yes", &[1, 110, 110]), ("yes", &[1, 120, 120])]);
    let b = life("b.1", &[("yes", &[2, 90, 90]), ("yes", &[2, 100, 100])]);
    assert_eq!(rules(&[a, b]), ["F1"]);
}

#[test]
fn work_that_goes_on_beside_a_newer_leader_is_found() {
    let a = life("a.1", &[("yes", &[1, 10, 10]), ("begin", &[0, 1, 60]), ("end", &[0, 130])]);
    let b = life("b.1", &[("yes", &[2, 90, 90]), ("yes", &[2, 140, 140])]);
    assert_eq!(rules(&[a, b]), ["E1"]);
}

#[test]
fn an_act_that_begins_after_those_of_a_newer_leader_is_found() {
    let a = life("a.1", &[("begin", &[0, 1, 10]), ("end", &[0, 20]), ("begin", &[1, 1, 120]), ("end", &[1, 121])]);
    let b = life("b.1", &[("begin", &[0, 2, 50]), ("end", &[0, 110])]);
    assert_eq!(rules(&[a, b]), ["F1"], "no overlap, and the wrong order");
}

/// Suspended in an act, it cannot end it; and it is excused no longer than it stood still.
#[test]
fn a_process_that_stood_still_is_excused_for_as_long_as_it_did() {
    let act: [(&str, &[u64]); 3] = [("yes", &[1, 10, 10]), ("begin", &[0, 1, 60]), ("end", &[0, 510])];
    let b = life("b.1", &[("yes", &[2, 200, 200]), ("yes", &[2, 900, 900])]);
    let mut a = life("a.1", &act);
    assert_eq!(rules(&[a.clone(), b.clone()]), ["E1"], "never stopped");
    a.stops = vec![Span { from: 61 * MS, to: 505 * MS }];
    let verdict = judge(&[a.clone(), b.clone()]);
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.overruns, [5 * MS]);
    a.stops = vec![Span { from: 61 * MS, to: 300 * MS }];
    assert_eq!(rules(&[a, b.clone()]), ["E1"], "it ran for 210 ms");
    let inside = life("a.1", &[act[0], act[1], act[2], ("gap", &[61, 505]), ("gap", &[100, 200])]);
    assert_eq!(rules(&[inside, b]), [""; 0], "gaps that overlap count once, and enough");
}

/// What the work of the control does: it goes on when it has been told to end.
#[test]
fn work_that_ignores_its_guard_is_found_after_a_stop_too() {
    let mut a = life("a.1", &[("yes", &[1, 10, 10])]);
    for act in 0..100 {
        let at = 20 * MS + act * 10 * MS;
        a.entries.push(Entry::Begin { act, fence: 1, at });
        a.entries.push(Entry::End { act, at: at + 3 * MS });
    }
    a.stops = vec![Span { from: 25 * MS, to: 400 * MS }];
    let b = life("b.1", &[("yes", &[2, 200, 200]), ("yes", &[2, 900, 900])]);
    assert_eq!(rules(&[a, b]), ["E1", "F1"]);
}

/// Killed in an act: nobody knows for how long it went on, and the process did nothing more.
#[test]
fn an_act_that_a_kill_cut_off_overlaps_nothing() {
    let a = life("a.1", &[("yes", &[1, 10, 10]), ("begin", &[0, 1, 60])]);
    let b = life("b.1", &[("yes", &[2, 90, 90]), ("yes", &[2, 140, 140])]);
    assert_eq!(rules(&[a, b]), [""; 0]);
}
