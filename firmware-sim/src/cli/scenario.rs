//! `scenario`: arguments, progress, what is printed, exit codes.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::units;
use crate::scenario::{self, Outcome, Shared, Step, junit};

/// Something was not as expected.
const EXIT_FAILED: u8 = 1;
/// A file can't be used.
const EXIT_BAD_INPUT: u8 = 2;
/// Most files of a call.
const FILES_MAX: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  One scenario against a gateway that was just built:
    furrow-sim scenario burst.toml --gateway target/debug/furrow-gateway --config ./config
  All of them, with a report for CI:
    furrow-sim scenario scenarios/*.toml --gateway furrow-gateway --config /etc/furrow --junit out.xml
  Other weather and noise than usual:
    furrow-sim scenario day.toml --gateway furrow-gateway --config ./config --seed 7

docs/scenarios.md describes the files.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Scenario {
    /// Scenario files, each with a simulator and a state folder of its own
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The gateway's program
    #[arg(long, value_name = "BIN")]
    gateway: PathBuf,
    /// The guard's program, for a configuration with guarded outputs
    #[arg(long, value_name = "BIN")]
    guard: Option<PathBuf>,
    /// Folder with gateway.toml, which is read and never written
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// Decides weather, noise and valve travel where a file does not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the report for CI is written
    #[arg(long, value_name = "OUT")]
    junit: Option<PathBuf>,
    /// Real time that a scenario may take where its file does not say
    #[arg(long, value_name = "DURATION", default_value = "10min", value_parser = units::duration)]
    limit: u64,
}

/// Plays all files; answers the exit code.
pub(super) fn run(args: &Scenario) -> ExitCode {
    if args.files.len() > FILES_MAX {
        complain(&format!("keep at most {FILES_MAX} files"));
        return ExitCode::from(EXIT_BAD_INPUT);
    }
    let shared = Shared {
        // A bare name in the present folder is a path, too.
        gateway: program(&args.gateway),
        guard: args.guard.as_ref().map(program),
        config: args.config.clone(),
        seed: args.seed,
        limit: Duration::from_millis(args.limit),
    };
    let mut outcomes: Vec<(String, Outcome)> = Vec::new();
    let mut code = ExitCode::SUCCESS;
    let mut is_bad = false;
    for path in &args.files {
        let mut progress = Progress::new();
        let played = scenario::play(path, &shared, &mut |step| progress.show(step));
        progress.clear();
        match played {
            Ok(outcome) => {
                let name = path.display().to_string();
                super::print(&text(&name, &outcome));
                if !outcome.is_passed() && !is_bad {
                    code = ExitCode::from(EXIT_FAILED);
                }
                outcomes.push((name, outcome));
            }
            Err(bad) => {
                complain(&bad.to_string());
                is_bad = true;
                code = ExitCode::from(EXIT_BAD_INPUT);
            }
        }
    }
    if let Some(path) = &args.junit
        && let Err(error) = std::fs::write(path, junit(&outcomes))
    {
        complain(&format!("{}: {error}", path.display()));
        code = ExitCode::from(EXIT_BAD_INPUT);
    }
    code
}

/// The path of a program that is there; else its name, to be looked for where programs are.
fn program(path: &PathBuf) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())
}

fn text(path: &str, outcome: &Outcome) -> String {
    let failed: Vec<_> = outcome
        .verdicts
        .iter()
        .filter(|verdict| verdict.seen.is_some())
        .collect();
    let (minutes, took) = (outcome.simulated_ms / 60_000, outcome.took.as_secs_f64());
    if let Some(broken) = &outcome.broken {
        return format!(
            "BROKEN  {path}: after {minutes} min: {broken}\n{}",
            indented(&outcome.log)
        );
    }
    let count = outcome.verdicts.len();
    if failed.is_empty() {
        return format!("passed  {path}: {count} expectations, {minutes} min in {took:.1} s");
    }
    let mut lines = vec![format!(
        "FAILED  {path}: {} of {count} expectations",
        failed.len()
    )];
    for verdict in failed {
        let seen = verdict.seen.as_deref().unwrap_or_default();
        lines.push(format!(
            "  {path}:{}: {}: {seen}",
            verdict.line, verdict.name
        ));
    }
    lines.join("\n")
}

fn indented(log: &str) -> String {
    let lines: Vec<String> = log.lines().map(|line| format!("  | {line}")).collect();
    lines.join("\n")
}

/// How far it is, on a terminal only.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            is_shown: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, step: &Step) {
        if self.is_shown {
            let percent = step.at_ms * 100 / step.length_ms.max(1);
            say(&format!("\r\x1b[K{} {percent} %", step.name));
        }
    }

    fn clear(&self) {
        if self.is_shown {
            say("\r\x1b[K");
        }
    }
}

fn say(text: &str) {
    // Nobody is harmed by a terminal that does not take a sign of progress.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn complain(text: &str) {
    say(&format!("error: {text}\n"));
}
