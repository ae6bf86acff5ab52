//! How long three real processes are without a leader after `kill -9`: gRPC on loopback, votes on disk, default settings.
//!
//! `cargo run --release -p hustings-benches --bin failover -- [TRIALS]`

use std::io::{self, Write};

use hustings_benches::processes::{Cluster, FIGURES, Failure, build, percentile};

fn main() -> Result<(), Failure> {
    let trials = std::env::args().nth(1).map_or(Ok(50), |text| text.parse::<usize>())?;
    let mut cluster = Cluster::start(&build()?, "failover", &[])?;
    let mut measured = [const { Vec::new() }; 4];
    for _ in 0..trials {
        for (values, value) in measured.iter_mut().zip(cluster.fail_over()?) {
            values.push(value);
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "kill -9 of the leader, {trials} trials, milliseconds: p50 / p99 / max")?;
    for (name, values) in FIGURES.iter().zip(&mut measured).filter(|(_, values)| !values.is_empty()) {
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(values, percent));
        writeln!(out, "{name:>10}  {p50:7.2} / {p99:7.2} / {max:7.2}")?;
    }
    Ok(())
}
