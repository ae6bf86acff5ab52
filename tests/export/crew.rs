//! Three members in this process, each heartbeat of which is a span.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hustings::config::Timing;
use hustings::elector::Elector;
use hustings::event::{Event, Role};
use hustings::observer::{Beat, BeatKind, Observer, Vitals};
use hustings::telemetry::Guard;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::NodeId;
use tokio::runtime::Runtime;

use super::wait_for;

pub(crate) struct Crew {
    electors: Vec<Elector>,
    witnesses: Vec<Witness>,
    runtime: Runtime,
}

/// Keeps what the driver hands over, and the times between heartbeats.
#[derive(Clone, Default)]
struct Witness {
    vitals: Arc<OnceLock<Arc<Vitals>>>,
    intervals: Arc<Mutex<Vec<Duration>>>,
}

impl Observer for Witness {
    fn observe(&mut self, _: &Event) {}
    fn attach(&mut self, vitals: &Arc<Vitals>) {
        let _ = self.vitals.set(Arc::clone(vitals));
    }
    fn beat(&mut self, beat: &Beat) {
        if let BeatKind::Received { interval: Some(interval), .. } = &beat.kind {
            self.intervals.lock().unwrap().push(*interval);
        }
    }
}

impl Witness {
    fn heartbeats(&self) -> u64 {
        self.vitals.get().map_or(0, |vitals| vitals.heartbeats_received())
    }
}

fn member(at: usize) -> NodeId {
    NodeId::new(format!("n{at}")).expect("a name")
}

impl Crew {
    pub(crate) fn start(guard: Option<&Guard>) -> Crew {
        Crew::start_with(guard, Duration::from_millis(100))
    }

    pub(crate) fn start_with(guard: Option<&Guard>, heartbeat: Duration) -> Crew {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let network = MemoryNetwork::new(5);
        let (mut electors, mut witnesses) = (Vec::new(), Vec::new());
        for at in 0..3 {
            let witness = Witness::default();
            let mut builder = Elector::builder()
                .cluster("planner")
                .node(member(at).as_str())
                .members((0..3).map(|at| member(at).to_string()))
                .volatile()
                .timing(Timing::of(heartbeat))
                .transport(network.transport(&member(at)))
                .heartbeats_per_trace(1)
                .observer(witness.clone());
            if let Some(guard) = guard {
                builder = builder.telemetry(guard.spans_for("planner", member(at).as_str()).build());
            }
            electors.push(runtime.block_on(builder.start()).expect("it starts"));
            witnesses.push(witness);
        }
        Crew { electors, witnesses, runtime }
    }

    pub(crate) fn wait_for_leader(&self) {
        wait_for("a leader", || {
            let led = self.electors.iter().position(|elector| elector.view().role == Role::Leader)?;
            self.electors.iter().all(|elector| elector.view().leader == Some(member(led))).then_some(())
        });
    }

    /// Waits until two followers have heard so many heartbeats more, and gives the times between them, shortest first.
    pub(crate) fn listen_to_heartbeats(&self, count: u64) -> Vec<Duration> {
        let before: Vec<u64> = self.witnesses.iter().map(Witness::heartbeats).collect();
        wait_for("heartbeats", || {
            let heard =
                self.witnesses.iter().zip(&before).filter(|(witness, was)| witness.heartbeats() >= **was + count);
            (heard.count() >= 2).then_some(())
        });
        let mut all: Vec<Duration> =
            self.witnesses.iter().flat_map(|witness| witness.intervals.lock().unwrap().clone()).collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn stop(self) {
        for elector in &self.electors {
            self.runtime.block_on(elector.shutdown());
        }
    }
}
