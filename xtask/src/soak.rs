//! `cargo xtask soak`: a month of a cooperative at a day a minute; memory, files and threads stay as they are.
//!
//! A real ingest with alert rules and a webhook, and a fleet of ten gateways behind a link that breaks once in each
//! simulated day. Some records come late, the log's segments roll, charts are asked for all the while. Every
//! ten seconds ingest is looked at; [`trend`] judges what was seen. It is not about delivery under faults, which is what
//! chaos is for, yet every reading has to be in the archive at the end, once.

mod charts;
mod trend;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::bench::{self, Figure};
use crate::build::Programs;
use crate::note;
use trend::Sample;
use world::Played;

/// Options of `soak`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask soak\n  cargo xtask soak --minutes 2 --programs target/release\n  \
                        cargo xtask soak --samples soak.csv"
)]
pub(crate) struct Options {
    /// How long; a minute is a day of the cooperative.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=300))]
    minutes: u32,
    /// Everything that was seen, as CSV.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// The figures as one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    programs: Programs,
}

/// Runs below it are not judged: caches are still filling when they end.
const JUDGED_FROM_MINUTES: u32 = 10;

/// Plays the days; fails when something grows, if the run is long enough to say so.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let binaries = options.programs.get()?;
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let played = world::play(&binaries, folder.path(), options.minutes)?;
    if let Some(path) = &options.samples {
        let lines: String = played.samples.iter().map(Sample::csv).collect();
        let text = format!("{}\n{lines}", Sample::CSV_HEADER);
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    for figure in figures_of(&played) {
        bench::print(&figure, options.json)?;
    }
    let grown = trend::judge(&played.samples)?;
    if options.minutes < JUDGED_FROM_MINUTES {
        for trend in &grown {
            bench::print(&trend.figure_not_judged(), options.json)?;
        }
        note!("growth is not judged: that takes {JUDGED_FROM_MINUTES} minutes");
        return Ok(ExitCode::SUCCESS);
    }
    for trend in &grown {
        bench::print(&trend.figure(), options.json)?;
    }
    let too_much: Vec<&str> = grown
        .iter()
        .filter(|trend| trend.is_too_much())
        .map(|trend| trend.what.text())
        .collect();
    if too_much.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    note!("grows: {}", too_much.join(", "));
    Ok(ExitCode::FAILURE)
}

fn figures_of(played: &Played) -> Vec<Figure> {
    let plain =
        |name: &str, value: f64, unit: &str| Figure::plain(&format!("soak: {name}"), value, unit);
    let mut figures = vec![
        plain("readings archived, each once", played.readings, ""),
        plain("of them late", played.late, ""),
        plain("connections beyond the first", played.reconnects, ""),
        plain("alerts posted", played.alerts, ""),
        plain("charts answered", played.charts, ""),
        plain("slowest chart", played.chart_most_ms, "ms"),
        plain("log segments begun", played.segments, ""),
    ];
    if let Some(last) = played.samples.last() {
        figures.extend([
            plain("RSS at the end", last.rss_mib, "MiB"),
            plain("archive at the end", last.archive_mib, "MiB"),
            plain("log at the end", last.log_mib, "MiB"),
            plain("open files at the end", last.files, ""),
            plain("threads at the end", last.threads, ""),
        ]);
    }
    figures
}
