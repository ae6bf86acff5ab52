//! One member as a process: its elector, its work, its diary.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hustings::clock;
use hustings::elector::{BoxError, Elector, LeadError};
use hustings::event::notation::{Line, is_routine};
use hustings::event::{Event, EventKind};
use hustings::storage::file::FileStorage;
use hustings::types::{ClusterId, NodeId};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::diary::{Diary, Entry};
use crate::disk::ControlledStorage;
use crate::options::{self, Options};
use crate::stamp;
use crate::work::{self, Kind};

/// The cluster's name.
pub const CLUSTER: &str = "chaos";
/// How often a process looks whether it stood still, and what it calls that.
const PULSE: Duration = Duration::from_millis(3);
const GAP: u64 = 12_000_000;
/// How often a leader proclaims something.
const PROCLAIMED: Duration = Duration::from_millis(100);
/// How often it says what it holds.
const SIZES: Duration = Duration::from_millis(500);

const KNOWN: &[&str] = &["--name", "--listen", "--peers", "--data", "--orders", "--diary", "--kind", "--seed"];

/// Runs until it is killed, or asked to leave by SIGTERM.
///
/// # Errors
/// It cannot start, or its elector stopped by itself.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<ExitCode, BoxError> {
    // Whatever becomes of the program that started it, it ends with it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let options = Options::parse(arguments, KNOWN)?;
    let diary = Diary::open(&options.get::<PathBuf>("--diary")?)?;
    let beside = diary.clone();
    std::thread::spawn(move || {
        let mut last = stamp::now();
        loop {
            std::thread::sleep(PULSE);
            last = pulse(&beside, last);
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(live(&options, &diary))
}

/// Writes down that the process, or this thread of it, stood still.
fn pulse(diary: &Diary, last: u64) -> u64 {
    let now = stamp::now();
    if now - last > GAP {
        diary.write(Entry::Gap { from: last, to: now });
    }
    now
}

async fn live(options: &Options, diary: &Diary) -> Result<ExitCode, BoxError> {
    let elector = start(options, diary).await?;
    let kind = options.get::<Kind>("--kind")?;
    let mut asked = signal(SignalKind::terminate())?;
    let leaving = async {
        tokio::select! {
            _ = asked.recv() => elector.shutdown().await,
            () = elector.stopped() => return false,
        }
        true
    };
    let watched = async {
        tokio::select! {
            () = watch(diary) => {}
            () = proclaim(&elector) => {}
            () = elector.stopped() => {}
        }
    };
    let (worked, left, ()) = tokio::join!(work::run(&elector, kind, diary, options.get("--seed")?), leaving, watched);
    match worked {
        Err(LeadError::Stopped) if left => Ok(ExitCode::SUCCESS),
        Ok(()) | Err(LeadError::Stopped) => Ok(ExitCode::from(3)),
        Err(error) => Err(error.into()),
    }
}

async fn start(options: &Options, diary: &Diary) -> Result<Elector, BoxError> {
    let name: String = options.get("--name")?;
    let files = FileStorage::open(options.get::<PathBuf>("--data")?, &ClusterId::new(CLUSTER)?, &NodeId::new(&name)?)?;
    let (origin, width, diary) = (clock::now(), name.len(), diary.clone());
    let elector = Elector::builder()
        .cluster(CLUSTER)
        .listen(options.get::<String>("--listen")?)
        .peers(options::peers(&options.get::<String>("--peers")?))
        .storage(ControlledStorage::new(files, options.get("--orders")?))
        .insecure()
        .node(name)
        .observer(move |event: &Event| {
            if matches!(event.kind, EventKind::Named { .. } | EventKind::Started { amnesiac: false, .. }) {
                diary.write(Entry::Named { at: stamp::now() });
            }
            if !is_routine(&event.kind) {
                println!("{} {}", stamp::now(), Line { event, origin, width });
            }
        });
    Ok(elector.start().await?)
}

/// Gives every disk something to write while this node leads: a disk that is idle does not fail.
async fn proclaim(elector: &Elector) {
    loop {
        tokio::time::sleep(PROCLAIMED).await;
        let _ = timeout(PROCLAIMED * 10, elector.proclaim(stamp::now().to_string())).await;
    }
}

/// Notices gaps of the runtime, and says what the process holds.
async fn watch(diary: &Diary) {
    let (mut last, mut told) = (stamp::now(), 0);
    loop {
        tokio::time::sleep(PULSE).await;
        last = pulse(diary, last);
        if last - told > stamp::nanos(SIZES) {
            told = last;
            if let Some((rss_kib, descriptors)) = size() {
                diary.write(Entry::Size { at: last, rss_kib, descriptors });
            }
        }
    }
}

/// Resident memory in KiB, and open descriptors.
fn size() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = rss.trim().strip_suffix(" kB")?.parse().ok()?;
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((kib, u64::try_from(descriptors).ok()?))
}
