//! What an operator writes: times, names, addresses, the environment. Refused with words, or good enough to run on.

use std::time::Duration;

use hustings::config::{Config, Timing};
use hustings::node::{Input, Node, Output};
use hustings::record::HardState;
use hustings::types::{ClusterId, DiskId, GroupId, Incarnation, NodeId, Time, TraceContext};

use crate::cursor::Cursor;
use crate::sources::{check_address, check_settings};

/// So many steps of a node say that its configuration can be lived with.
const STEPS_MAX: usize = 24;

pub(crate) fn check(data: &[u8]) {
    let mut bytes = Cursor::new(data);
    match bytes.byte() % 4 {
        0 | 1 => run(&mut bytes),
        2 => texts(&String::from_utf8_lossy(bytes.rest())),
        _ => environment(&mut bytes),
    }
}

/// Whatever validates does not panic, does not spin, and elects itself where it is alone.
fn run(bytes: &mut Cursor<'_>) {
    let Some(config) = config(bytes) else { return };
    let timing = &config.timing;
    std::hint::black_box((timing.fingerprint(), timing.lease_of(timing.promise), timing.owed_of(timing.promise_max)));
    if let Err(error) = config.validate() {
        assert!(!error.to_string().is_empty() && !error.code().is_empty());
        return;
    }
    let alone = config.members.len() == 1;
    let mut state = HardState::new(DiskId(7), config.timing.promise_max);
    state.incarnation = Incarnation(1);
    let (mut now, mut out) = (Time(1 + bytes.number() % (1 << 60)), Output::default());
    let (me, volatile) = (config.node.clone(), config.volatile);
    let mut node = Node::new(config, state, bytes.number(), now, &mut out);
    let mut due_again = 0;
    for _ in 0..STEPS_MAX {
        while let Some(persist) = out.persist.take() {
            node.step(now, Input::Persisted(persist.write), &mut out);
        }
        out.events.iter().for_each(|event| assert!(!event.to_string().is_empty()));
        out.clear();
        due_again = if node.deadline() > now { 0 } else { due_again + 1 };
        assert!(due_again < 8, "ticked {due_again} times at {now}, and due again: {node:?}");
        now = now.max(node.deadline());
        if now > Time(1 << 62) {
            break;
        }
        node.step(now, Input::Tick, &mut out);
    }
    assert!(!alone || volatile || node.leader() == Some(&me), "a cluster of one has no leader");
}

fn config(bytes: &mut Cursor<'_>) -> Option<Config> {
    let mut members = Vec::new();
    for _ in 0..bytes.byte() % 6 {
        members.push(NodeId::new(["a", "b", "c", "d", "e"][bytes.below(5)]).ok()?);
    }
    if bytes.byte() > 250 {
        (0..70).for_each(|at| members.push(NodeId::new(format!("n{at}")).expect("a name")));
    }
    let node = members.first().cloned().unwrap_or(NodeId::new("a").ok()?);
    let mut config = Config::new(ClusterId::new("fuzz").ok()?, node, members);
    config.timing = match bytes.below(3) {
        0 => Timing::default(),
        1 => Timing::of(bytes.duration()),
        _ => Timing::of(Duration::from_millis(1 + u64::from(bytes.byte()))),
    };
    for _ in 0..bytes.byte() % 8 {
        let timing = &mut config.timing;
        match bytes.below(8) {
            0 => timing.heartbeat = bytes.duration(),
            1 => timing.election_timeout_min = bytes.duration(),
            2 => timing.election_timeout_max = bytes.duration(),
            3 => timing.promise = bytes.duration(),
            4 => timing.promise_max = bytes.duration(),
            5 => timing.round_trip_max = bytes.duration(),
            6 => timing.succession_slot = bytes.duration(),
            _ => timing.drift_ppm = u32::try_from(bytes.number() % (1 << 32)).expect("below 2^32"),
        }
    }
    config.priority = bytes.byte();
    config.volatile = bytes.flag();
    config.trust_connection_refused = bytes.flag();
    Some(config)
}

/// One text, read as everything that a text can be.
fn texts(text: &str) {
    if let Ok(name) = NodeId::new(text) {
        assert_eq!(name.as_str(), text);
    }
    assert_eq!(NodeId::new(text).is_ok(), ClusterId::new(text).is_ok());
    assert_eq!(NodeId::new(text).is_ok(), GroupId::new(text).is_ok());
    if let Some(context) = TraceContext::from_traceparent(text) {
        let again = context.to_traceparent().expect("a context that was read is valid");
        assert_eq!(TraceContext::from_traceparent(&again), Some(context));
    }
    if let Ok(disk) = DiskId::try_from(text.to_owned()) {
        assert_eq!(DiskId::try_from(disk.to_string()), Ok(disk));
    }
    check_address(text);
}

/// `NAME=value` lines and a service's name.
fn environment(bytes: &mut Cursor<'_>) {
    const NAMES: [&str; 17] = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_TRACES_EXPORTER",
        "OTEL_SDK_DISABLED",
        "OTEL_PROPAGATORS",
        "OTEL_SERVICE_NAME",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_INSECURE",
        "OTEL_TRACES_SAMPLER",
    ];
    let mut variables = Vec::new();
    for _ in 0..bytes.byte() % 5 {
        let name = NAMES[bytes.below(NAMES.len())];
        let len = usize::from(bytes.byte() % 32);
        variables.push((name, bytes.text(len)));
    }
    let endpoint = bytes.flag().then(|| bytes.text(16));
    let read = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    check_settings(endpoint.as_deref(), read);
}
