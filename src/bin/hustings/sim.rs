//! `hustings sim`.

use std::io::{self, Write};

use clap::Subcommand;

use super::Verdict;

mod graph;
mod hunt;
mod progress;
mod story;

/// What the simulator is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell stories: scripted runs with their expected output in the script.
    Run(story::Arguments),
    /// Hunt for a seed that breaks a property.
    Hunt(hunt::Arguments),
    /// Cut a cluster into every connectivity graph, and see whether a leader comes and stays.
    Graph(graph::Arguments),
}

pub(crate) fn run(command: Command, out: &mut dyn Write) -> io::Result<Verdict> {
    match command {
        Command::Run(arguments) => story::run(&arguments, out),
        Command::Hunt(arguments) => hunt::run(&arguments, out),
        Command::Graph(arguments) => graph::run(&arguments, out),
    }
}

/// How many threads run side by side unless somebody says otherwise.
fn jobs_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Reads `--jobs`.
fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1024) => Ok(jobs),
        _ => Err("a number of threads, 1 to 1024".to_owned()),
    }
}
