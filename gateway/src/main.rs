//! `furrow-gateway`: parses the command line and hands over.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use furrow_gateway::tools;

/// Reads a greenhouse's sensors, waters it, and keeps every reading until it is stored.
#[derive(Debug, Parser)]
#[command(name = "furrow-gateway", version, propagate_version = true)]
struct Arguments {
    /// Configuration file
    #[arg(
        long,
        env = "FURROW_CONFIG",
        default_value = "/etc/furrow/gateway.toml",
        global = true
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(tools::run::Run),
    Check(tools::check::Check),
    Scan(tools::scan::Scan),
    Read(tools::read::Read),
    Status(tools::status::Status),
    Journal(tools::journal::JournalCommand),
    Water(tools::water::Water),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run(run) => run.run(&arguments.config),
        Command::Check(check) => check.run(&arguments.config),
        Command::Scan(scan) => scan.run(&arguments.config),
        Command::Read(read) => read.run(&arguments.config),
        Command::Status(status) => status.run(&arguments.config),
        Command::Journal(journal) => journal.run(&arguments.config),
        Command::Water(water) => water.run(&arguments.config),
    }
}
