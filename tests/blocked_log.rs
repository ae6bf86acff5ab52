//! A log that nobody reads costs no leader its lease. A test of its own: the subscriber is the process's.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hustings::config::Timing;
use hustings::elector::Elector;
use hustings::message::{Identity, PROTOCOL_VERSION, Request, RequestBody, RequestId};
use hustings::telemetry::Spans;
use hustings::transport::memory::MemoryNetwork;
use hustings::types::{ClusterId, DiskId, Founding, GroupId, Incarnation, NodeId, Term, TraceContext};

#[path = "support/brake.rs"]
mod brake;
use brake::Brake;

const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe that is full while the brake is pulled.
#[derive(Clone)]
struct Pipe(Brake);

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.pass();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stranger(number: usize, to: &NodeId) -> Request {
    let from = Identity {
        version: PROTOCOL_VERSION,
        cluster: ClusterId::new("other").expect("a name"),
        founding: Founding(1),
        group: GroupId::default(),
        node: NodeId::new(format!("x{number}")).expect("a name"),
        disk: DiskId(7),
        incarnation: Incarnation(1),
        timing: 0,
        priority: 1,
        amnesiac: false,
    };
    let body = RequestBody::PreVote { last: None };
    Request { from: Arc::new(from), to: to.clone(), id: RequestId(1), term: Term(1), body }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_costs_no_lease() {
    let brake = Brake::default();
    let pipe = Pipe(brake.clone());
    tracing_subscriber::fmt().with_writer(move || pipe.clone()).init();
    let network = MemoryNetwork::new(1);
    let timing = Timing::of(Duration::from_millis(200));
    let names: Vec<NodeId> = ["a", "b", "c"].iter().map(|name| NodeId::new(name).expect("a name")).collect();
    let mut electors = Vec::new();
    for name in &names {
        let builder = Elector::builder().cluster("test").node(name.as_str()).members(["a", "b", "c"]).volatile();
        let builder = builder.timing(timing.clone()).transport(network.transport(name)).telemetry(Spans::new());
        electors.push(builder.start().await.expect("it starts"));
    }
    let (a, b, c) = (electors[0].campaign(), electors[1].campaign(), electors[2].campaign());
    let (at, lead) = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            lead = a => (0, lead),
            lead = b => (1, lead),
            lead = c => (2, lead),
        }
    })
    .await
    .expect("one leads");
    let lead = lead.expect("it runs");
    brake.set(true);
    // Something to write, until the writer stands still.
    let began = Instant::now();
    for number in 0.. {
        drop(electors[at].handle(stranger(number, &names[at]), TraceContext::NONE, None).await);
        if brake.stands() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "nothing is written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lost = tokio::time::timeout(timing.promise * 5, lead.lost()).await;
    assert!(lost.is_err() && lead.is_valid(), "{lost:?}");
    brake.set(false);
    drop(lead);
    for elector in &electors {
        tokio::time::timeout(PATIENCE, elector.shutdown()).await.expect("it stops");
    }
}
