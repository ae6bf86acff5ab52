//! The targets over the committed seeds and their simplest mutations, without libFuzzer: on any toolchain.

use std::fs;
use std::path::{Path, PathBuf};

use hustings::observer::journal::read_from;
use hustings::sim::story::Story;
use hustings::wire::{decode_reply, decode_request};
use hustings_fuzz::{TARGETS, Target, guarded};

/// All seeds together, in bytes.
const SEEDS_LEN_MAX: u64 = 200_000;

fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let read = |file: PathBuf| (file.clone(), fs::read(&file).expect("a seed"));
    files.into_iter().map(read).collect()
}

/// Says which seed it was, since a panic says only what did not hold.
fn run(target: &Target, file: &Path, what: &str, data: &[u8]) {
    let caught = std::panic::catch_unwind(|| target.run(data));
    assert!(caught.is_ok(), "{}, {what}: {data:?}", file.display());
}

#[test]
fn every_seed_of_every_target_holds() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 5, "{} has too few seeds", target.name);
        for (file, data) in seeds {
            run(target, &file, "as it is", &data);
        }
    }
}

/// Cut short everywhere, and each byte turned round: what a torn write and a flipped bit make of it.
#[test]
fn every_seed_holds_cut_short_and_with_a_byte_changed() {
    for target in TARGETS {
        for (file, mut data) in seeds(target) {
            let step = data.len() / 24 + 1;
            for len in (0..data.len()).step_by(step) {
                run(target, &file, "cut short", &data[..len]);
            }
            for at in (0..data.len()).step_by(step) {
                data[at] = !data[at];
                run(target, &file, "with a byte changed", &data);
                data[at] = !data[at];
            }
        }
    }
}

#[test]
fn the_seeds_are_small() {
    let lens = TARGETS.iter().flat_map(seeds).map(|(_, data)| data.len() as u64);
    let len: u64 = lens.sum();
    assert!(len <= SEEDS_LEN_MAX, "{len} bytes of seeds");
}

// What libFuzzer does not try, since it keeps inputs short: much of something.

#[test]
fn a_long_line_of_a_journal_costs_little_memory() {
    let mut names = br#"{"v":1,"event":{"at":1,"kind":{"event":"members_awaited","missing":["#.to_vec();
    names.extend(br#""a","#.repeat(1_000_000));
    let mut inputs = vec![names, vec![b'x'; 3 << 20], vec![b'['; 3 << 20], vec![b' '; 3 << 20]];
    inputs.push([&br#"{"v":1,"x":""#[..], &vec![b'y'; 3 << 20], &b"\"}\n"[..]].concat());
    for input in inputs {
        guarded(|| {
            let mut lines = read_from("long", &input[..]);
            assert!(lines.next().is_none_or(|line| line.is_err()));
        });
    }
}

#[test]
fn a_long_list_of_a_journal_costs_little_memory() {
    let kind = format!(r#"{{"event":"members_awaited","missing":[{}"a"]}}"#, r#""a","#.repeat(30_000));
    let who = r#"{"version":1,"cluster":"c","founding":0,"group":"main","node":"a",
        "disk":"1","incarnation":1,"timing":1,"priority":1,"amnesiac":false}"#
        .replace('\n', "");
    let line = format!(
        r#"{{"v":1,"event":{{"at":1,"sequence":1,"who":{who},"term":1,"role":"follower","leader":null,"voted_for":null,"kind":{kind}}}}}"#
    );
    let told = guarded(|| read_from("long", line.as_bytes()).next());
    assert!(told.is_some_and(|line| line.is_ok()), "the longest list that is read at all");
}

#[test]
fn a_long_message_costs_little_memory() {
    for byte in 0..=255 {
        let input = vec![byte; 2 << 20];
        guarded(|| assert!(decode_request(&input).is_err() && decode_reply(&input).is_err()));
        let input = &input[..150_000];
        guarded(|| assert!(decode_request(input).is_err() && decode_reply(input).is_err()));
    }
}

#[test]
fn a_long_story_costs_little_memory() {
    let many: String = (0..2000).map(|at| format!("n{at} ")).collect();
    for text in [
        format!("nodes {many}\nheal"),
        format!("nodes a b\ncut {}- b", "a ".repeat(2000)),
        format!("nodes a b\ncut a - {}", "b ".repeat(2000)),
    ] {
        guarded(|| assert!(Story::parse("long", &text).is_err()));
    }
}
