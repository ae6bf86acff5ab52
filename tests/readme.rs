//! Facts that the README repeats are the facts of the code.

use hustings::config::Timing;
use hustings::types::Millis;

const README: &str = include_str!("../README.md");
const MANIFEST: &str = include_str!("../Cargo.toml");
const CI: &str = include_str!("../.ci/run");

/// The value of the first line `key = "value"`, or of `key = { version = "value"`, in the manifest.
fn manifest(key: &str) -> &'static str {
    let start = format!("{key} = ");
    let line =
        MANIFEST.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {key} in Cargo.toml"));
    line.split('"').nth(1).unwrap_or_else(|| panic!("no value of {key} in Cargo.toml"))
}

#[test]
fn the_minimum_rust_version_is_the_manifests() {
    let stated = format!("Minimum supported Rust version: **{}**", manifest("rust-version"));
    assert!(README.contains(&stated), "the README should say: {stated}");
}

#[test]
fn the_version_of_opentelemetry_is_the_manifests() {
    let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let (own, api) = (minor(manifest("version")), minor(manifest("opentelemetry")));
    let stated = format!("hustings {own} speaks **{api}**");
    assert!(README.contains(&stated), "the README should say: {stated}");
}

#[test]
fn the_defaults_are_the_codes() {
    let timing = Timing::default();
    let rows = [
        ("heartbeat", Millis(timing.heartbeat).to_string()),
        ("election_timeout_min", Millis(timing.election_timeout_min).to_string()),
        ("election_timeout_max", Millis(timing.election_timeout_max).to_string()),
        ("promise", Millis(timing.promise).to_string()),
        ("promise_max", Millis(timing.promise_max).to_string()),
        ("round_trip_max", Millis(timing.round_trip_max).to_string()),
        ("succession_slot", Millis(timing.succession_slot).to_string()),
        ("drift_ppm", timing.drift_ppm.to_string()),
    ];
    for (name, value) in rows {
        let row = format!("| `{name}` | {value} |");
        assert!(README.contains(&row), "the README should have the row: {row}");
    }
}

#[test]
fn every_default_feature_is_listed_as_one() {
    let features = MANIFEST.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("features");
    let default = features.lines().find(|line| line.starts_with("default")).expect("default features");
    let names = features.lines().filter(|line| line.contains(" = [") && !line.starts_with("default"));
    for name in names.map(|line| line.split(" = ").next().unwrap_or_default()) {
        let is_default = if default.contains(&format!("\"{name}\"")) { "yes" } else { "no" };
        let row = format!("| `{name}` | {is_default} |");
        assert!(README.contains(&row), "the README should have the row: {row}");
    }
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let row = README.lines().find(|line| line.starts_with("| all tests |")).expect("the row of the test command");
    let command = row.split('`').nth(1).expect("a command");
    assert!(CI.lines().any(|line| line.trim().ends_with(command)), ".ci/run should call exactly: {command}");
}
