//! One member as a process of its own: gRPC, a data folder, and the story of its elections on standard output.
//!
//! ```text
//! cargo run --example node -- --id a --listen 127.0.0.1:7301 --peer b=127.0.0.1:7302 --peer c=127.0.0.1:7303 --data DIR
//! ```
//!
//! SIGTERM and Ctrl-C hand leadership over and leave; kill -9 is what the others must survive.
//! With `OTEL_EXPORTER_OTLP_ENDPOINT` set, every election is exported as a trace.

#[path = "node/options.rs"]
mod options;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use hustings::clock::{self, Anchor};
use hustings::config::Timing;
use hustings::elector::{BoxError, Elector, LeadError};
use hustings::event::Event;
use hustings::event::notation::{Line, is_routine};
use hustings::observer::journal::Journal;
use hustings::telemetry::Guard;

use options::Options;

/// Any of these says where traces or metrics are to go.
const EXPORTS: [&str; 3] =
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"];

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print_line(options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            let _ = writeln!(io::stderr(), "{text}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "node: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), BoxError> {
    let guard = EXPORTS.iter().any(|name| std::env::var_os(name).is_some()).then(|| hustings::telemetry::init("node"));
    let guard = guard.transpose()?;
    if let Some(guard) = &guard {
        print_line(&guard.resolved().to_string());
    }
    let elector = start(&options, guard.as_ref()).await?;
    let leaving = async {
        tokio::select! {
            () = asked_to_stop() => print_line("stopping: leadership is handed over first"),
            () = elector.stopped() => {}
        }
        // The work goes on until its leadership is taken from it: only then is leadership handed over.
        elector.shutdown().await;
    };
    let (led, ()) = tokio::join!(lead(&elector), leaving);
    match led {
        Ok(()) | Err(LeadError::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(guard) = guard {
        guard.shutdown();
    }
    Ok(())
}

async fn start(options: &Options, telemetry: Option<&Guard>) -> Result<Elector, BoxError> {
    let origin = clock::now();
    let (all, width) = (options.all, options.id.len());
    let mut builder = Elector::builder()
        .cluster(&options.cluster)
        .node(&options.id)
        .listen(&options.listen)
        .peers(options.members())
        .data_dir(&options.data)
        .timing(Timing::of(Duration::from_millis(options.heartbeat_ms)))
        .observer(move |event: &Event| {
            if all || !is_routine(&event.kind) {
                print_line(&Line { event, origin, width }.to_string());
            }
        });
    if options.insecure {
        builder = builder.insecure();
    }
    if let Some(path) = &options.journal {
        builder = builder.observer(Journal::create(path)?);
    }
    if let Some(telemetry) = telemetry {
        let ahead = Duration::from_millis(options.clock_ahead_ms);
        let anchor = move || {
            let Anchor { wall, at } = Anchor::now();
            Anchor { wall: wall + ahead, at }
        };
        let spans = telemetry.spans_for(&options.cluster, &options.id).anchor(anchor);
        builder = builder.telemetry(spans.peers(options.members()).rpc_system("grpc").build());
    }
    Ok(builder.start().await?)
}

/// The work of a leader, here only to say that it leads.
async fn lead(elector: &Elector) -> Result<(), LeadError> {
    elector
        .while_leader(|lead| async move {
            print_line(&format!("leading alone, fencing token {}", lead.fence().get()));
            let cause = lead.lost().await;
            print_line(&format!("no longer leading: {}", cause.code()));
            Ok(())
        })
        .await
}

async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}

/// A reader that has gone away does not stop a member.
fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
