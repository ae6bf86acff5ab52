//! The tool `hustings`: stories, hunts and graphs in the simulator.
//!
//! Exit status: 0 when everything held, 1 when something did not, 2 when the question could not be understood or read.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[path = "hustings/sim.rs"]
mod sim;

/// Raft leader election with the election trace built in: the tool.
#[derive(Debug, Parser)]
#[command(name = "hustings", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 everything held, 1 something did not, 2 the question could not be understood.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A seeded cluster in one thread: stories, hunts through seeds, every connectivity graph.
    #[command(subcommand, arg_required_else_help = true)]
    Sim(sim::Command),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything held.
    Held,
    /// Something did not.
    Failed,
    /// The question could not be understood or read; it was said why.
    Unreadable,
}

fn main() -> ExitCode {
    // Bad flags: clap says which, and exits with 2.
    let arguments = Arguments::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let Command::Sim(command) = arguments.command;
    let done = sim::run(command, &mut out).and_then(|verdict| out.flush().map(|()| verdict));
    match done {
        Ok(Verdict::Held) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(1),
        Ok(Verdict::Unreadable) => ExitCode::from(2),
        // Whoever reads has seen enough: `hustings ... | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}
