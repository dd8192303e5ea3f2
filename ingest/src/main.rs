//! `furrow-ingest`: see `furrow-ingest --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use furrow_ingest::{config, run, tools};

/// Takes what gateways send, keeps it, watches it, shows it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, env = "FURROW_CONFIG", default_value = "/etc/furrow/ingest.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs until SIGTERM or SIGINT.
    Run {
        /// Prints `ready http=ADDRESS mqtt=ADDRESS` on stdout once everything is up.
        #[arg(long)]
        print_ready: bool,
    },
    /// Checks the configuration and what it names.
    Check,
    /// Writes a cooperative's readings as CSV or line protocol.
    Export(tools::export::ExportArgs),
    /// Prints the log's records as JSON, one a line.
    Tail {
        /// Goes on with what comes.
        #[arg(long, short)]
        follow: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match config::load(&arguments.config) {
        Ok(settings) => settings,
        Err(error) => return tools::fail(&error.into(), tools::EXIT_CONFIG),
    };
    tools::start_tracing(&settings);
    let result = tools::runtime().and_then(|runtime| match arguments.command {
        Command::Run { print_ready } => runtime.block_on(run::run(settings, print_ready)),
        Command::Check => tools::check::run(&settings),
        Command::Export(arguments) => tools::export::run(&settings, &arguments),
        Command::Tail { follow } => runtime.block_on(tools::tail::run(&settings, follow)),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => tools::fail(&error, tools::EXIT_FAILURE),
    }
}
