//! The command line, and which command does what.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Settings;
use crate::{run, tools};

/// Takes what gateways send, keeps it, watches it, shows it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  furrow-ingest --config ingest.toml check\n  furrow-ingest run\n  \
    furrow-ingest gaps --cooperative hoa-binh\n  furrow-ingest dead list\n  \
    furrow-ingest export --cooperative hoa-binh --from 2026-05-01T00:00:00Z --output may.csv\n  \
    furrow-ingest store migrate --from archive --to victoria"
)]
pub struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, env = "FURROW_CONFIG", default_value = "/etc/furrow/ingest.toml")]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs until SIGTERM or SIGINT.
    Run {
        /// Prints `ready http=ADDRESS mqtt=ADDRESS` on stdout once everything is up.
        #[arg(long)]
        print_ready: bool,
    },
    /// Checks the configuration and what it names.
    Check,
    /// Writes a cooperative's readings as CSV, Parquet or line protocol.
    Export(tools::export::ExportArgs),
    /// Copies the archives, one file a cooperative, while ingest runs.
    Backup(tools::backup::BackupArgs),
    /// Reads everything in the archives and says what is wrong.
    Verify(tools::verify::VerifyArgs),
    /// Prints the log's records as JSON, one a line.
    Tail {
        /// Goes on with what comes.
        #[arg(long, short)]
        follow: bool,
    },
    /// Lists what is not in the archive: lost, missing, or still on its way.
    Gaps(tools::gaps::GapsArgs),
    /// Lists records that were refused, shows one, has them run again.
    #[command(subcommand)]
    Dead(tools::aside::DeadCommand),
    /// Lists records that wait for a catalog, a clock mapping or a newer program.
    ///
    /// They are decoded by themselves when that comes.
    Parked(tools::aside::ListArgs),
    /// Deletes a cooperative for ever: archive, stores, log. Or lists who was deleted.
    Delete(tools::delete::DeleteArgs),
    /// The stores beside the archive: how far they are, their set-up, copies from one to another.
    #[command(subcommand)]
    Store(tools::store::StoreCommand),
    /// What whoever packages the program needs.
    #[command(flatten)]
    Packaging(Packaging),
}

/// For whoever packages the program; they need no configuration.
#[derive(Debug, Subcommand)]
pub enum Packaging {
    #[allow(missing_docs, reason = "the arguments describe themselves")]
    Completions(furrow_cli::Completions),
    #[allow(missing_docs, reason = "the arguments describe themselves")]
    Man(furrow_cli::Man),
}

impl Command {
    /// Whether it is refused while the configuration names a cooperative that was deleted.
    #[must_use]
    pub fn needs_living(&self) -> bool {
        match self {
            Command::Run { .. } | Command::Check | Command::Store(_) => true,
            // They read, or are there to look into it.
            Command::Export(_)
            | Command::Backup(_)
            | Command::Verify(_)
            | Command::Tail { .. }
            | Command::Gaps(_)
            | Command::Dead(_)
            | Command::Parked(_)
            | Command::Delete(_)
            | Command::Packaging(_) => false,
        }
    }
}

impl Packaging {
    /// Runs the command.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        let program = Arguments::command();
        match self {
            Packaging::Completions(completions) => completions.run(program),
            Packaging::Man(man) => man.run(program),
        }
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// What the command says.
pub fn dispatch(settings: Settings, command: Command) -> anyhow::Result<()> {
    let runtime = tools::runtime()?;
    let mut out = std::io::stdout();
    match command {
        Command::Run { print_ready } => runtime.block_on(run::run(settings, print_ready)),
        Command::Check => tools::check::run(&settings),
        Command::Export(arguments) => tools::export::run(&settings, &arguments),
        Command::Backup(arguments) => tools::backup::run(&settings, &arguments, &mut out),
        Command::Verify(arguments) => tools::verify::run(&settings, &arguments, &mut out),
        Command::Tail { follow } => runtime.block_on(tools::tail::run(&settings, follow)),
        Command::Gaps(arguments) => tools::gaps::run(&settings, &arguments, &mut out),
        Command::Dead(command) => tools::aside::dead(&settings, &command, &mut out),
        Command::Parked(arguments) => tools::aside::parked(&settings, &arguments, &mut out),
        Command::Delete(arguments) => tools::delete::run(
            &settings,
            &arguments,
            &mut std::io::stdin().lock(),
            &mut out,
        ),
        Command::Store(command) => {
            runtime.block_on(tools::store::run(&settings, &command, &mut out))
        }
        // Answered before there are settings.
        Command::Packaging(_) => Ok(()),
    }
}
