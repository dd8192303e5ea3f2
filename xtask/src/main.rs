//! Project tasks. Run as `cargo xtask <task>`; `cargo xtask --help` lists them.

mod bench;
mod build;
mod chaos;
mod demo;
mod dist;
mod model;
mod mutants;
mod needs;
mod python;
mod receiver;
mod replay;
mod season;
mod servers;
mod sim;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs and tests Furrow.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Three simulated greenhouses, their gateways, ingest and the page, in one command.
    ///
    /// Seven days of weather are played through the real path first, then it goes on live.
    Demo(demo::Options),
    /// Everything that can be tested, from a clean machine.
    Test(test::Options),
    /// The servers of others that tests are run against: built or installed once.
    Servers(servers::Options),
    /// A recorded trace through the whole system; every value is looked for in the archive.
    ///
    /// Exits 0 only if every value arrived at its time, equal within the sensor's resolution, once.
    Replay(replay::Options),
    /// Every state that the delivery protocol can reach within bounds: nothing lost, nothing twice.
    Model(model::Options),
    /// Delivery under faults, by seed: real cores on disks and a broker that fail.
    ///
    /// Exits 0 only if no promise was broken and every fault and state was reached.
    Sim(sim::Options),
    /// Months of weather and faults on three greenhouses, by rules and by a timer beside them.
    ///
    /// Exits 0 only if every fault was told in time, no interlock was broken, and the rules did not use more
    /// water or bring more stress than the timer.
    Season(season::Options),
    /// Real processes killed, paused, cut off and starved at random.
    ///
    /// Exits 0 only if every journalled reading is in the archive at the end, once and as it was.
    Chaos(chaos::Options),
    /// A month of a cooperative in half an hour: what must not grow does not.
    ///
    /// Exits 0 only if memory, open files and threads stay as they are, and every reading is in the archive once.
    Soak(soak::Options),
    /// The gateway for a Raspberry Pi: cross-compiled, run under emulation, packed.
    Dist(dist::Options),
    /// The budgets as figures: one line each, with `ok` or `short`.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Servers(options) => servers::run(&options),
        Task::Replay(options) => replay::run(&options),
        Task::Model(options) => Ok(model::run(&options)),
        Task::Sim(options) => sim::run(&options),
        Task::Season(options) => season::run(&options),
        Task::Chaos(options) => chaos::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            say!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for the person at the terminal.
macro_rules! say {
    ($($part:tt)*) => {
        crate::print_line(&format!($($part)*))
    };
}
use say;

/// What a long task is at: beside what it prints for programs.
macro_rules! note {
    ($($part:tt)*) => {
        crate::note_line(&format!($($part)*))
    };
}
use note;

#[expect(clippy::print_stderr, reason = "a task talks to a person")]
fn note_line(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "a task talks to a person")]
fn print_line(line: &str) {
    println!("{line}");
}
