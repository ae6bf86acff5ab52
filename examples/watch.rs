//! Five members in one process: an election, a killed leader, a partition, a healing, told as they happen.
//!
//! ```text
//! cargo run --example watch                 # ends by itself
//! cargo run --example watch -- --forever    # goes on killing and cutting
//! cargo run --example watch -- --all        # with writes and single requests too
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 cargo run --example watch
//! ```
//!
//! Every member has a hard state file of its own in a temporary folder; messages travel in memory, through the wire
//! codec, with a quarter to three quarters of a millisecond of delay, because a partition needs links that can be cut.

#[path = "watch/cluster.rs"]
mod cluster;
#[path = "watch/teller.rs"]
mod teller;

use std::io::{self, Write};
use std::time::Duration;

use hustings::elector::BoxError;
use hustings::types::NodeId;

use cluster::Cluster;
use teller::Teller;

const USAGE: &str = "usage: watch [--forever] [--all]

  --forever  go on killing, cutting and healing until interrupted
  --all      tell of writes and single requests too

  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 exports the same run as traces (OTLP over gRPC;
  OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf over HTTP).";

struct Options {
    forever: bool,
    all: bool,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut options = Options { forever: false, all: false };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--forever" => options.forever = true,
            "--all" => options.all = true,
            "--help" | "-h" => return say(USAGE),
            other => return Err(format!("{other:?} is not an option of this example\n{USAGE}").into()),
        }
    }
    let guard = match std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Some(_) => Some(hustings::telemetry::init("watch")?),
        None => None,
    };
    let teller = Teller::start(options.all);
    if let Some(guard) = &guard {
        teller.note(&guard.resolved().to_string());
    }
    teller.chapter("Five members start with empty disks, find each other and elect a leader.");
    let mut cluster = Cluster::start(&["n1", "n2", "n3", "n4", "n5"], &teller, guard.as_ref()).await?;
    let told = tell(&mut cluster, &teller, options.forever).await;
    let (tree, page) = (cluster.last_election(), cluster.page_of_last_election());
    cluster.stop().await;
    teller.stop();
    told?;
    if let Some(tree) = tree {
        say(&format!("\nThe last election, as its winner saw it:\n\n{tree}"))?;
    }
    if let Some(guard) = guard {
        let sent = guard.shutdown();
        if let Some(page) = page.filter(|_| sent) {
            say(&format!("In Jaeger, if it is Jaeger that listens there: {page}"))?;
        }
    }
    Ok(())
}

async fn tell(cluster: &mut Cluster<'_>, teller: &Teller, forever: bool) -> Result<(), BoxError> {
    let mut leader = cluster.wait_for_leader(None).await?;
    loop {
        teller.chapter(&format!("{leader} leads. Its process is killed: its connections close."));
        let killed = leader.clone();
        cluster.kill(&killed).await;
        leader = cluster.wait_for_leader(Some(&killed)).await?;

        teller.chapter(&format!("{leader} leads. {killed} comes back on its disk, and disturbs nobody."));
        cluster.start_node(&killed).await?;
        cluster.wait_until_known(&killed, &leader).await?;

        let minority = [leader.clone(), killed];
        teller.chapter(&format!("A partition: {} and {} on one side, three on the other.", minority[0], minority[1]));
        cluster.cut(&minority);
        let cut_off = leader.clone();
        leader = cluster.wait_for_leader(Some(&cut_off)).await?;

        teller.chapter(&format!("{leader} leads the majority. The partition heals."));
        cluster.heal();
        cluster.wait_until_known(&cut_off, &leader).await?;
        if !forever {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn say(text: &str) -> Result<(), BoxError> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Keeps the compiler's word that names are checked once.
fn name(text: &str) -> NodeId {
    NodeId::new(text).expect("the names of this example are good ones")
}
