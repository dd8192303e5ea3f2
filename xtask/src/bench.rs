//! `cargo xtask bench`: the budgets as figures, one line each.
//!
//! Figures are measured on this machine, in this run, with the programs as they ship. A budget that
//! can't be measured yet has no line: nothing is estimated.

mod alerts;
mod archive;
mod connected;
mod figure;
mod gateway;
mod ingest;
mod mobile;
mod packets;
mod page;
mod stages;
mod usage;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use furrow_tests::binaries::Binaries;

use crate::build::Programs;
use crate::say;
pub(crate) use figure::Figure;
pub(crate) use usage::{Usage, bytes_below};
pub(crate) use wire::{cooperative, site_config};

/// Options of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench gateway --json\n  \
                        cargo xtask bench ingest --seconds 300 --rate max --rate 500000"
)]
pub(crate) struct Options {
    /// Measure these only.
    #[arg(value_enum)]
    what: Vec<What>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Seconds of load on ingest; the budget asks for 300.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Readings a second for ingest, or max: as fast as it acknowledges. May be given more than once.
    #[arg(long, default_value = "max")]
    rate: Vec<String>,
    /// Alert rules for ingest, each for one channel of every gateway.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=16))]
    rules: u16,
    #[command(flatten)]
    programs: Programs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Bytes on the wire.
    Wire,
    /// Memory, CPU, bytes written and drain of the gateway.
    Gateway,
    /// Mobile data of the reference greenhouse: 32 minutes.
    Mobile,
    /// From a sensor's change to the alert at its receiver: a hundred gateways, five minutes.
    Alerts,
    /// Bytes at rest, the chart's query, exports, start-up.
    Archive,
    /// What a reading costs with a hundred to a million series.
    Series,
    /// The archive's codec beside the other that was thought of.
    Codec,
    /// Readings a second through ingest.
    Ingest,
    /// Memory of ingest with ten thousand gateways connected.
    Connected,
    /// Size of the page.
    Page,
}

/// Measures; exits 0 though a budget is missed, since figures depend on the machine.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let binaries = options.programs.get()?;
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let all = [
        What::Page,
        What::Wire,
        What::Gateway,
        What::Alerts,
        What::Archive,
        What::Series,
        What::Codec,
        What::Ingest,
        What::Connected,
        What::Mobile,
    ];
    let chosen = if options.what.is_empty() {
        &all[..]
    } else {
        &options.what
    };
    for what in chosen {
        let figures = match what {
            What::Wire => wire::measure(&binaries, &folder.path().join("wire"))?,
            What::Gateway => {
                let tell = |figure: &Figure| print(figure, options.json);
                gateway::measure(&binaries, &folder.path().join("gateway"), tell)?;
                Vec::new()
            }
            What::Alerts => alerts::measure(&binaries, &folder.path().join("alerts"))?,
            What::Mobile => mobile::measure(&binaries, &folder.path().join("mobile"))?,
            What::Archive => archive::measure("archive")?,
            What::Series => archive::measure("series")?,
            What::Codec => archive::measure("codec")?,
            What::Connected => connected::measure(&binaries, &folder.path().join("connected"))?,
            What::Ingest => of_ingest(&binaries, folder.path(), options)?,
            What::Page => page::measure()?,
        };
        for figure in figures {
            print(&figure, options.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Once with each rate.
fn of_ingest(binaries: &Binaries, folder: &Path, options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (number, rate) in options.rate.iter().enumerate() {
        let load = ingest::Load {
            seconds: options.seconds,
            rate: rate.clone(),
            rules: options.rules,
        };
        crate::note!("ingest: rate {rate} for {} s", load.seconds);
        let folder = folder.join(format!("ingest-{number}"));
        figures.extend(ingest::measure(binaries, &folder, &load)?);
        // A month of load at a million readings a second is some gigabytes.
        std::fs::remove_dir_all(&folder).context("remove what was measured")?;
    }
    Ok(figures)
}

/// One line.
pub(crate) fn print(figure: &Figure, json: bool) -> anyhow::Result<()> {
    if json {
        say!(
            "{}",
            serde_json::to_string(figure).context("write a figure")?
        );
    } else {
        say!("{figure}");
    }
    Ok(())
}
