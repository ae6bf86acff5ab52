//! What exporting costs a heartbeat, whatever the collector does. Figures, and no test:
//!
//! ```text
//! cargo test --release --test export measure -- --ignored --nocapture
//! ```

use std::io::Write;
use std::time::{Duration, Instant};

use hustings::telemetry::{Guard, init};

use super::certificates::Authority;
use super::crew::Crew;
use super::failing::{Collector, Failure};
use super::receiver::Receiver;
use super::{By, to, to_failing};

/// The default.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// Ten seconds of them: the exports begin after five.
const HEARTBEATS: u64 = 200;

/// Heartbeats at followers under every kind of collector, in one run, every heartbeat a span.
#[test]
#[ignore = "measures for minutes"]
fn heartbeats_under_every_kind_of_collector() {
    say("collector              by    p50 ms  p99 ms  max ms  shutdown s");
    line("none", "", None);
    for by in [By::Grpc, By::Http] {
        let receiver = if by == By::Grpc { Receiver::grpc(None) } else { Receiver::http(None) };
        line("good", name(by), Some(init(to(&receiver.address(), by)).expect("it is set up")));
        for failure in Failure::ALL {
            let (collector, authority) = (Collector::start(failure), Authority::new());
            let guard = init(to_failing(&collector, by, &authority)).expect("it is set up");
            line(&format!("{failure:?}"), name(by), Some(guard));
        }
    }
    line("none, again", "", None);
}

fn name(by: By) -> &'static str {
    if by == By::Grpc { "gRPC" } else { "HTTP" }
}

fn line(collector: &str, by: &str, guard: Option<Guard>) {
    let crew = Crew::start_with(guard.as_ref(), HEARTBEAT);
    crew.wait_for_leader();
    let intervals = crew.listen_to_heartbeats(HEARTBEATS);
    crew.stop();
    let began = Instant::now();
    drop(guard);
    let ended = began.elapsed().as_secs_f64();
    let at = |percent: usize| intervals[(intervals.len() * percent / 100).min(intervals.len() - 1)].as_secs_f64() * 1e3;
    say(&format!("{collector:<22} {by:<5} {:6.2}  {:6.2}  {:6.2}  {ended:.2}", at(50), at(99), at(100)));
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
