//! The command line, and which command does what.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::tools;

/// Reads a greenhouse's sensors, waters it, and keeps every reading until it is stored.
#[derive(Debug, Parser)]
#[command(name = "furrow-gateway", version, propagate_version = true)]
pub struct Arguments {
    /// Configuration file
    #[arg(
        long,
        env = "FURROW_CONFIG",
        default_value = "/etc/furrow/gateway.toml",
        global = true
    )]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the arguments describe themselves")]
pub enum Command {
    Init(Box<tools::init::Init>),
    Run(tools::run::Run),
    Check(tools::check::Check),
    Config(tools::config::Config),
    Scan(tools::scan::Scan),
    Read(tools::read::Read),
    Status(tools::status::Status),
    Watch(tools::watch::Watch),
    Journal(tools::journal::JournalCommand),
    Water(tools::water::Water),
    Hold(tools::hold::Hold),
    Release(tools::hold::Release),
    Reset(tools::hold::Reset),
    Silence(tools::alarms::Silence),
    Explain(tools::explain::Explain),
    Replay(tools::explain::Replay),
    ValveTest(tools::valve_test::ValveTest),
    Calibrate(tools::calibrate::Calibrate),
    Report(tools::report::Report),
    Completions(furrow_cli::Completions),
    Man(furrow_cli::Man),
}

/// Does what the command line asks for; answers the exit code.
#[must_use]
pub fn dispatch(arguments: &Arguments) -> ExitCode {
    let config = &arguments.config;
    if !matches!(arguments.command, Command::Run(_)) {
        warn_of_troubles();
    }
    match &arguments.command {
        Command::Init(init) => init.run(config),
        Command::Run(run) => run.run(config),
        Command::Check(check) => check.run(config),
        Command::Config(both) => both.run(config),
        Command::Scan(scan) => scan.run(config),
        Command::Read(read) => read.run(config),
        Command::Status(status) => status.run(config),
        Command::Watch(watch) => watch.run(config),
        Command::Journal(journal) => journal.run(config),
        Command::Water(water) => water.run(config),
        Command::Hold(hold) => hold.run(config),
        Command::Release(release) => release.run(config),
        Command::Reset(reset) => reset.run(config),
        Command::Silence(silence) => silence.run(config),
        Command::Explain(explain) => explain.run(config),
        Command::Replay(replay) => replay.run(config),
        Command::ValveTest(test) => test.run(config),
        Command::Calibrate(calibrate) => calibrate.run(config),
        Command::Report(report) => report.run(config),
        Command::Completions(completions) => completions.run(Arguments::command()),
        Command::Man(man) => man.run(Arguments::command()),
    }
}

/// A bus that does not open, and the like: on standard error, beside a command's answer.
fn warn_of_troubles() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
}
