//! `cargo xtask season`: months of weather and faults, watered by rules and by a timer beside them.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::build::root;
use crate::say;

/// Options of `season`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask season\n  cargo xtask season --seed 7 --days 20 --fault-every 1\n  cargo xtask season --json"
)]
pub(crate) struct Options {
    /// Decides weather and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many days.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=120))]
    days: u32,
    /// Something breaks in each greenhouse every so many days.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=30))]
    fault_every: u32,
    /// Before the report everything that the gateways under rules told, one JSON object a line.
    #[arg(long)]
    events: bool,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

/// Plays the season.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--locked", "--quiet", "-p", "furrow-season", "--"])
        .args(["--seed", &options.seed.to_string()])
        .args(["--days", &options.days.to_string()])
        .args(["--fault-every", &options.fault_every.to_string()])
        .current_dir(root()?);
    if options.events {
        cargo.arg("--events");
    }
    if options.json {
        cargo.arg("--json");
    }
    if cargo.status()?.success() {
        return Ok(ExitCode::SUCCESS);
    }
    say!("the season failed");
    Ok(ExitCode::FAILURE)
}
