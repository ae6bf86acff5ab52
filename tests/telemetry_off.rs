//! `telemetry::init` where nothing is exported: log lines are written all the same. Each run is a process of its own, since
//! a subscriber is installed once.

use std::process::Command;

const CHILD: &str = "HUSTINGS_TEST_CHILD";

/// Runs [`the_child_s_part`] in a process of its own, and returns what it wrote to standard error.
fn lines(settings: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("this test");
    let mut child = Command::new(program);
    child.args(["--exact", "the_child_s_part", "--nocapture"]).env(CHILD, "1").env_remove("RUST_LOG");
    let done = child.envs(settings.iter().copied()).output().expect("it runs");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stderr).expect("text")
}

#[test]
fn the_child_s_part() {
    if std::env::var_os(CHILD).is_some() {
        let guard = hustings::telemetry::init("planner").expect("the settings will do");
        tracing::warn!("a warning of the application");
        tracing::info!("a line of the application");
        assert!(guard.shutdown());
    }
}

#[test]
fn a_disabled_sdk_leaves_the_lines() {
    let quiet = lines(&[("OTEL_SDK_DISABLED", "true")]);
    assert!(quiet.contains("a warning of the application") && !quiet.contains("a line of the application"), "{quiet}");
    let told = lines(&[("OTEL_SDK_DISABLED", "true"), ("RUST_LOG", "info")]);
    assert!(told.contains("a line of the application"), "{told}");
    assert!(!told.contains('\u{1b}'), "no colours where nobody looks: {told:?}");
    let none = lines(&[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none"), ("RUST_LOG", "info")]);
    assert!(none.contains("a line of the application"), "{none}");
}

#[test]
fn a_wrong_setting_is_a_warning() {
    let told =
        lines(&[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "no")]);
    assert!(told.contains("WARN") && told.contains("OTEL_SDK_DISABLED=no is neither true nor false"), "{told}");
}
