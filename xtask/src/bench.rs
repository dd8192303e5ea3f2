//! `cargo xtask bench`: the budgets as figures.

use std::process::ExitCode;

use clap::Args;

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(_options: &Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("to come")
}
