//! The tool, run as users run it: what it prints, and its exit status.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn hustings(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hustings"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().expect("the tool runs")
}

/// In a directory of its own; exit status, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    told(&hustings(arguments, directory.path()))
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn story(directory: &Path, text: &str) -> PathBuf {
    let file = directory.join("s.txt");
    std::fs::write(&file, text).expect("a story");
    file
}

/// Runs a story of that text, with these flags; what it came to, and what the file then says.
fn run_story(text: &str, flags: &[&str]) -> (i32, String, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = story(directory.path(), text);
    let (status, out, err) = told(&hustings(&[&["sim", "run", "s.txt"], flags].concat(), directory.path()));
    (status, out, err, std::fs::read_to_string(file).expect("the story"))
}

const GOOD: &str = "nodes a b c\nstart a b c\nrun until leader\nexpect changes = 1\n";

#[test]
fn a_story_that_goes_as_expected_is_told() {
    let (status, out, err, file) = run_story(GOOD, &[]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("| ") && out.contains("elected leader of T1"), "{out}");
    assert_eq!(file, GOOD, "the file is left alone");
    assert_eq!(run_story(GOOD, &["--quiet"]).1, "");
}

#[test]
fn a_story_is_rewritten_on_demand_and_then_compared() {
    let (status, out, _, file) = run_story(GOOD, &["--rewrite"]);
    assert_eq!((status, &out), (0, &file));
    assert_eq!(run_story(&file, &[]).0, 0);
    let forged = file.replacen("elected leader", "anointed leader", 1);
    let (status, _, err, kept) = run_story(&forged, &[]);
    assert_eq!(status, 1);
    assert!(err.contains("told otherwise") && err.contains("- |") && err.contains("anointed"), "{err}");
    assert_eq!(kept, forged);
}

#[test]
fn an_expectation_that_is_not_met_names_its_line() {
    let (status, _, err, _) = run_story("nodes a b c\nstart a\nrun 1s\nexpect leader a\n", &[]);
    assert_eq!(status, 1);
    assert_eq!(err.trim_end(), "s.txt: line 4: expected leader a, seen: leader none");
}

#[test]
fn a_story_that_does_not_parse_is_pointed_at() {
    let (status, out, err, _) = run_story("nodes a b\n  start x\n", &[]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert_eq!(err, "s.txt:2:9: expected a node of a b, found x\n  |\n2 |   start x\n  |         ^\n");
}

#[test]
fn a_story_that_is_not_there_is_named() {
    let (status, _, err) = run(&["sim", "run", "nowhere.txt"]);
    assert_eq!(status, 2);
    assert!(err.starts_with("nowhere.txt: "), "{err}");
}

#[test]
fn the_stories_of_this_repository_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = hustings(&["sim", "run", "--quiet", "tests/stories/scenario_24_chain.txt"], root);
    assert_eq!(told(&output), (0, String::new(), String::new()));
}

#[test]
fn a_hunt_tells_its_totals() {
    let (status, out, err) = run(&["sim", "hunt", "--seeds", "0..12", "--jobs", "2"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for words in ["12  seeds", "steps", "elections", "exclusive terms", "p50", "verdict: holds"] {
        assert!(out.contains(words), "{words}: {out}");
    }
}

#[test]
fn every_net_can_be_cast() {
    for net in ["swarm", "promises", "disks", "volatile", "losses", "leases"] {
        assert_eq!(run(&["sim", "hunt", "--seeds", "5", "--net", net]).0, 0, "{net}");
    }
}

#[test]
fn graphs_end_in_a_verdict() {
    let (status, out, _) = run(&["sim", "graph", "--nodes", "3", "--jobs", "2"]);
    assert_eq!(status, 0, "{out}");
    for words in ["8 undirected graphs of 3 nodes, 96 cases", "84  with a quorum-connected node", "verdict: holds"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (status, out, _) = run(&["sim", "graph", "--nodes", "5", "--sample", "50"]);
    assert!(status == 0 && out.contains("50 cases"), "{out}");
    let (status, out, _) = run(&["sim", "graph", "--nodes", "3", "--directed", "--case", "518"]);
    assert!(status == 0 && out.starts_with("a->b a->c b-c, a led, stale: c, seed 518\n"), "{out}");
}

#[test]
fn what_is_asked_wrongly_is_named() {
    for (arguments, culprit) in [
        (&["sim", "hunt", "--seeds", "9..2"][..], "9..2"),
        (&["sim", "hunt", "--seeds", "few"], "few"),
        (&["sim", "hunt"], "--seeds"),
        (&["sim", "hunt", "--seeds", "1", "--net", "fish"], "fish"),
        (&["sim", "hunt", "--seeds", "1", "--jobs", "0"], "--jobs"),
        (&["sim", "graph", "--nodes", "9"], "--nodes"),
        (&["sim", "graph", "--nodes", "6", "--directed"], "--nodes 6"),
        (&["sim", "graph", "--nodes", "3", "--case", "96"], "--case 96"),
        (&["sim", "graph", "--sample", "0"], "--sample"),
        (&["sim", "run"], "<STORY>"),
        (&["sim", "rum"], "rum"),
        (&["--vote"], "--vote"),
    ] {
        let (status, out, err) = run(arguments);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(culprit), "{arguments:?}: {err}");
    }
}

#[test]
fn help_shows_examples() {
    for command in ["run", "hunt", "graph"] {
        let (status, out, _) = run(&["sim", command, "--help"]);
        assert!(status == 0 && out.contains("Examples:") && out.contains("Exit status"), "{out}");
    }
}

/// Ctrl-C ends a hunt with the totals so far.
#[cfg(unix)]
#[test]
fn an_interrupted_hunt_tells_its_totals() {
    if !Path::new("/proc/self/status").exists() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hustings"));
    command.args(["sim", "hunt", "--seeds", "0..1000000000"]).current_dir(directory.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool runs");
    let pid = child.id().to_string();
    // It answers once its handler stands: until then the signal would end it without a word.
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        u64::from_str_radix(caught.trim(), 16).unwrap_or_default() & 0b10 != 0
    };
    while !listens() {
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    assert!(killed.success());
    let (status, out, _) = told(&child.wait_with_output().expect("it ends"));
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("interrupted: ") && out.contains("verdict: holds"), "{out}");
}
