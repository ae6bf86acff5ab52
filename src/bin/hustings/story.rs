//! `hustings sim run`.
use super::Verdict;
use clap::Args;
use std::io::{self, Write};
/// x
#[derive(Debug, Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments, _: &mut dyn Write) -> io::Result<Verdict> {
    Ok(Verdict::Held)
}
