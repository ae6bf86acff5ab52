//! `hustings sim run`.
use std::io::{self, Write};
use clap::Args;
use super::Verdict;
/// x
#[derive(Debug, Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments, _: &mut dyn Write) -> io::Result<Verdict> { Ok(Verdict::Held) }
