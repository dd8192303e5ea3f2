//! `cargo xtask sim`: the seeded simulation of delivery, and the mutants that it has to catch.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::build::{root, step};
use crate::{mutants, say};

/// Seeds of a full run.
pub(crate) const FULL_SEEDS: u64 = 10_000;

/// Options of `sim`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask sim --seeds 10000\n  cargo xtask sim --seed 4711\n  cargo xtask sim --mutants"
)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = FULL_SEEDS)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// One seed only, with everything that happens in it.
    #[arg(long, conflicts_with_all = ["seeds", "first_seed", "mutants"])]
    seed: Option<u64>,
    /// Deliberate bugs, one by one in a copy of the sources: each has to be caught.
    #[arg(long, conflicts_with = "first_seed")]
    mutants: bool,
    /// Only mutants whose name contains this.
    #[arg(long, requires = "mutants")]
    only: Option<String>,
}

/// Runs seeds, or the mutants.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.mutants {
        return mutants::run(options.only.as_deref());
    }
    let mut arguments = Vec::new();
    match options.seed {
        Some(seed) => arguments.extend(["--seed".to_owned(), seed.to_string()]),
        None => {
            arguments.extend(["--seeds".to_owned(), options.seeds.to_string()]);
            arguments.extend(["--first-seed".to_owned(), options.first_seed.to_string()]);
            // A short run can't reach everything.
            if options.seeds < FULL_SEEDS {
                arguments.push("--partial".to_owned());
            }
        }
    }
    let status = cargo(&arguments)?.status()?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    say!("the simulation failed");
    Ok(ExitCode::FAILURE)
}

/// All seeds, as a part of the tests.
pub(crate) fn test() -> anyhow::Result<()> {
    let seeds = FULL_SEEDS.to_string();
    step(
        "rust: simulation of delivery",
        &mut cargo(&["--seeds".to_owned(), seeds])?,
    )
}

fn cargo(arguments: &[String]) -> anyhow::Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--locked", "--quiet", "-p", "furrow-delivery-sim"])
        .arg("--")
        .args(arguments)
        .current_dir(root()?);
    Ok(cargo)
}
