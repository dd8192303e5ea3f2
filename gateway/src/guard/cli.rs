//! The command line of `furrow-guard`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::all_off::all_off;
use super::client::GuardClient;
use super::protocol::{Answer, Ask, OutputReport, Report};
use crate::bus::Field;
use crate::config::{BusSettings, GuardPart, GuardSettings, Level};
use crate::tools::{EXIT_CONFIG, EXIT_FAILURE, print};

/// The configuration as it was when the guard last started well, beside its socket: for closing
/// everything when the file has been broken since.
const LAST_GOOD: &str = "last-good.toml";
/// The runtime folder where systemd names none.
const RUNTIME_DIR: &str = "/run/furrow-guard";

/// Owns the outputs that have no lease of their own: relay boards and plain relays.
#[derive(Debug, Parser)]
#[command(name = "furrow-guard", version, propagate_version = true)]
#[command(arg_required_else_help = true, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  \
    furrow-guard --config /etc/furrow/gateway.toml run\n  \
    furrow-guard --all-off")]
pub struct Arguments {
    /// Configuration file: the gateway's
    #[arg(
        long,
        env = "FURROW_CONFIG",
        default_value = "/etc/furrow/gateway.toml",
        global = true
    )]
    pub config: PathBuf,
    /// Switch every output off directly at its line or chip, and exit: 0 when all are off
    #[arg(long)]
    pub all_off: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the leases of all outputs, until stopped; every output is off at the start and at the end
    Run,
    /// Show every output of the running guard
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the outputs of the configuration: print every mistake with its remedy, or a summary
    Check,
    /// Print completions for a shell
    Completions(furrow_cli::Completions),
    /// Print the manual page
    Man(furrow_cli::Man),
}

/// Does what the command line asks for; answers the exit code.
#[must_use]
pub fn dispatch(arguments: &Arguments) -> ExitCode {
    let config = &arguments.config;
    if arguments.all_off {
        return close_everything(config);
    }
    match &arguments.command {
        Some(Command::Run) => with_part(config, |part| run(config, part)),
        Some(Command::Status { json }) => with_part(config, |part| status(&part, *json)),
        Some(Command::Check) => with_part(config, |part| {
            print::line(summary(&part));
            ExitCode::SUCCESS
        }),
        Some(Command::Completions(completions)) => completions.run(Arguments::command()),
        Some(Command::Man(man)) => man.run(Arguments::command()),
        None => ExitCode::from(EXIT_CONFIG),
    }
}

fn with_part(config: &Path, act: impl FnOnce(GuardPart) -> ExitCode) -> ExitCode {
    match GuardPart::load(config) {
        Ok(part) => act(part),
        Err(error) => {
            print::error(&error);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn run(config: &Path, part: GuardPart) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    keep(config, &part);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(super::run::run(part)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "guard failed");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Without the copy `--all-off` needs the file itself, no more.
fn keep(config: &Path, part: &GuardPart) {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(folder) = part.guard.socket.parent() else {
        return;
    };
    let copy = folder.join(LAST_GOOD);
    let kept = std::fs::copy(config, &copy)
        .and_then(|_| std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)));
    if let Err(error) = kept {
        tracing::warn!(path = %copy.display(), %error, "the configuration was not kept");
    }
}

fn close_everything(config: &Path) -> ExitCode {
    let part = match GuardPart::load(config) {
        Ok(part) => part,
        Err(error) => {
            print::error(&error);
            let folder = std::env::var_os("RUNTIME_DIRECTORY");
            let folder = folder.map_or_else(|| PathBuf::from(RUNTIME_DIR), PathBuf::from);
            let copy = folder.join(LAST_GOOD);
            let Ok(part) = GuardPart::load(&copy) else {
                return ExitCode::from(EXIT_CONFIG);
            };
            print::line(format!("using {}", copy.display()));
            part
        }
    };
    let failed = match all_off(&part) {
        Ok(failed) => failed,
        Err(error) => {
            print::error(error.as_ref());
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    for (output, why) in &failed {
        print::line(format!("output {output} IS NOT KNOWN TO BE OFF: {why}"));
    }
    if failed.is_empty() {
        print::line(format!("all {} outputs are off", part.guard.outputs.len()));
        return ExitCode::SUCCESS;
    }
    ExitCode::from(EXIT_FAILURE)
}

fn status(part: &GuardPart, json: bool) -> ExitCode {
    // Leases are asked for by the gateway; a report needs no field time.
    let asked = Field::connect(None, "furrow-guard status")
        .map_err(|error| print::error(&error))
        .and_then(|field| {
            let clock = field.clock().clone();
            GuardClient::new(&part.guard.socket, clock)
                .ask(&Ask::Report)
                .map_err(|error| print::error(&error))
        });
    let Ok(Answer::Report(report)) = asked else {
        return ExitCode::from(EXIT_FAILURE);
    };
    if json {
        print::line(serde_json::to_string_pretty(&report).expect("texts and numbers"));
    } else {
        print::line(report_text(&report));
    }
    ExitCode::SUCCESS
}

fn report_text(report: &Report) -> String {
    let mut lines = Vec::new();
    for output in &report.outputs {
        let state = match (output.commanded, output.confirmed) {
            (true, true) => format!("OPEN for another {} s", output.left_ms.div_ceil(1_000)),
            (true, false) => "leased, but not on".to_owned(),
            (false, true) => "ON WITHOUT A LEASE".to_owned(),
            (false, false) => "closed".to_owned(),
        };
        let fault = if output.fault { ", FAULT" } else { "" };
        let OutputReport {
            output: number,
            name,
            place,
            failures,
            ..
        } = output;
        lines.push(format!(
            "output {number:<2}  {name} ({place}): {state}{fault}; {failures} failures"
        ));
    }
    let supply = match report.supply {
        None => "no watchdog is wired",
        Some(true) => "kept on",
        Some(false) => "NOT KEPT ON",
    };
    lines.push(format!("supply     {supply}"));
    if let Some(kib) = report.memory_kib {
        lines.push(format!("memory     {kib} KiB"));
    }
    lines.join("\n")
}

fn summary(part: &GuardPart) -> String {
    let mut text = "configuration is right\n".to_owned();
    describe(&part.buses, &part.guard, &mut text).expect("writing to a string never fails");
    text.truncate(text.trim_end().len());
    text
}

/// The outputs, for `check` of both programs.
///
/// # Errors
/// What the writer says.
pub fn describe(
    buses: &[BusSettings],
    guard: &GuardSettings,
    text: &mut String,
) -> std::fmt::Result {
    let bus = |place: usize| buses.get(place).map_or("?", |bus| bus.id.as_str());
    for output in &guard.outputs {
        let active = match output.active {
            Level::Low => "low",
            Level::High => "high",
        };
        writeln!(
            text,
            "output    {} ({}): {} on {}, on while {active}",
            output.number,
            output.name,
            output.at.place(),
            bus(output.bus),
        )?;
    }
    match &guard.watchdog {
        Some(watchdog) => writeln!(
            text,
            "supply    GPIO {} on {}, an edge every {} ms",
            watchdog.line,
            bus(watchdog.bus),
            watchdog.period.as_millis(),
        ),
        None => writeln!(text, "supply    no watchdog is wired"),
    }
}
