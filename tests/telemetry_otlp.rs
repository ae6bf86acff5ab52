//! Exporting: what leaves the process, and that a collector which takes and never answers holds up nothing.

#![cfg(feature = "otlp")]

#[allow(dead_code)]
#[path = "telemetry/audit.rs"]
mod audit;
#[path = "telemetry/stage.rs"]
#[allow(dead_code)]
mod stage;

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use hustings::event::{EventKind, Outcome};
use hustings::telemetry::{Init, init};
use hustings::types::DiskId;

use stage::Player;

/// Longer than anything here may take; a failure, not a measure.
const LIMIT: Duration = Duration::from_secs(60);

/// Takes whatever is sent, and never answers. Tells each piece.
fn silent_collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, told) = (stream.unwrap(), told.clone());
            thread::spawn(move || {
                let mut piece = vec![0; 1 << 16];
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    let _ = told.send(piece[..len].to_vec());
                }
            });
        }
    });
    (address, heard)
}

fn wait_for(heard: &Receiver<Vec<u8>>, wanted: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    let holds = |all: &[u8], text: &str| all.windows(text.len()).any(|window| window == text.as_bytes());
    while let Some(missing) = wanted.iter().find(|text| !holds(&all, text)) {
        match heard.recv_timeout(LIMIT) {
            Ok(piece) => all.extend(piece),
            Err(_) => panic!("{missing} was not exported: {}", String::from_utf8_lossy(&all)),
        }
    }
    all
}

#[test]
fn a_silent_collector_gets_everything_and_delays_nothing() {
    let (address, heard) = silent_collector();
    let guard = init(Init::new("planner").endpoint(&address)).unwrap();
    assert_eq!(guard.resolved().endpoint(), Some(format!("http://{address}").as_str()));
    tracing::info_span!("application.task").in_scope(|| tracing::info!("at work"));
    tracing::info_span!(target: "h2::frame", "noise").in_scope(|| {});

    let mut a = Player::with("n1", guard.spans_for("planner", "n1").build());
    a.stand(10, 1);
    a.start_round(10, true, 1, 5);
    a.tell(20, EventKind::ElectionEnded { outcome: Outcome::Cancelled, rounds: 1, retry_in: None });
    a.tell(30, EventKind::Stopped { disk: DiskId(1) });

    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(guard.shutdown()));
    let wanted = ["application.task", "raft.election", "raft.pre_vote", "n1/i3", "service.namespace", "telemetry.sdk"];
    let wanted = [&wanted[..], &["raft.elections", "raft.node.status"]].concat();
    let all = wait_for(&heard, &wanted);
    let complete = ended.recv_timeout(LIMIT).expect("the shutdown ends, whatever the collector does");
    assert!(!complete, "nothing was acknowledged");
    assert!(!all.windows(5).any(|window| window == b"noise"), "the exporter's own machinery is not traced");

    // After the shutdown events still go somewhere harmless.
    a.stand(40, 2);
    assert!(!a.spans.election(&stage::main_group()).is_valid());
}
