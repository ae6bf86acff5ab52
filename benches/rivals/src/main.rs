//! What other protocols do where a cluster is cut into a connectivity graph: the rules that set them apart are switched
//! off in this machine, and every one meets the same cases.
//!
//! `cargo run --release -p hustings-rivals` takes some graphs of each class of graphs of five nodes, `-- --full` all 1024.

use std::io::{self, Write};
use std::time::Instant;

mod protocols;

use protocols::{CITED, Measured, PROTOCOLS, chosen, measure};

/// How many graphs of a class are run, unless all are.
const OF_CLASS: usize = 4;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let full = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--full"] => true,
        _ => {
            writeln!(io::stderr(), "usage: hustings-rivals [--full]")?;
            std::process::exit(2);
        }
    };
    let mut out = io::stdout();
    let chosen = chosen(5, if full { usize::MAX } else { OF_CLASS });
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(
        out,
        "| protocol | graphs that always recover, of 998 | cases that recover | a connected leader stays | p50 / p99 / max |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for protocol in PROTOCOLS {
        let began = Instant::now();
        let Measured { graphs, recovered, kept, spread } = measure(protocol, &chosen, jobs);
        let name = protocol.name;
        let (p50, p99, max) = (spread.p50, spread.p99, spread.max);
        let percent = |share: f64| if share == 1.0 { "all".to_owned() } else { format!("{:.1} %", share * 100.0) };
        writeln!(
            out,
            "| {name} | {graphs:.0} | {} | {} | {p50:.2} / {p99:.2} / {max:.1} |",
            percent(recovered),
            percent(kept)
        )?;
        writeln!(io::stderr(), "{name} took {:.1?}", began.elapsed())?;
    }
    for (name, figures) in CITED {
        writeln!(out, "| {name} | {figures} |")?;
    }
    Ok(())
}
