//! `cargo xtask replay`: a recorded trace through the whole system.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use furrow_tests::csv_trace::Trace;
use furrow_tests::replay::{Kills, Replay};

use crate::build::Programs;
use crate::say;

/// Options of `replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask replay trace.csv\n  \
    cargo xtask replay trace.csv --kill-ingest --kill-gateway\n  \
    cargo xtask replay trace.csv --keep out --speed 20000")]
pub(crate) struct Options {
    /// The trace: CSV with a `time` column (RFC 3339) and the columns that drive the chips.
    file: PathBuf,
    /// Simulated seconds a real second, at most.
    #[arg(long)]
    speed: Option<f64>,
    /// Kill ingest with SIGKILL in the middle, and start it again.
    #[arg(long)]
    kill_ingest: bool,
    /// Kill the gateway with SIGKILL in the middle, and start it again.
    #[arg(long)]
    kill_gateway: bool,
    /// Keep configurations, logs, archive and export in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
    /// Give up after so many minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

/// Plays the trace; the last line is the verdict.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let trace = Trace::read(&options.file)?;
    let binaries = options.programs.get()?;
    let temporary = tempfile::tempdir().context("make a temporary folder")?;
    let folder = options
        .keep
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    let replay = Replay {
        binaries: &binaries,
        file: &options.file,
        speed: options.speed,
        tls: false,
        kills: Kills {
            ingest: options.kill_ingest,
            gateway: options.kill_gateway,
        },
        patience: Duration::from_secs(options.minutes * 60),
    };
    say!("{} rows of {}", trace.rows.len(), options.file.display());
    let start = Instant::now();
    let live = std::io::stderr().is_terminal();
    let verdict = replay.run(&folder, |share, what| {
        if live {
            let mut out = std::io::stderr();
            // Progress is a courtesy: a closed terminal must not end the replay.
            write!(out, "\r{:3.0} %  {what:40}", share * 100.0)
                .and_then(|()| out.flush())
                .ok();
        } else if what != "playing" {
            say!("{:3.0} %  {what}", share * 100.0);
        }
    })?;
    if live {
        writeln!(std::io::stderr()).ok();
    }
    say!("{:.1} s", start.elapsed().as_secs_f64());
    say!("{verdict}");
    Ok(if verdict.is_perfect() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
