//! `furrow-ingest gaps`: what is not in the archive, per gateway and stream.
//!
//! Reads the archive beside a running ingest or without one.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use furrow_wire::{CooperativeId, GatewayId};
use serde_json::Value;

use super::{archive_of, moment};
use crate::archive::GapRow;
use crate::config::Settings;

/// Whose gaps, and how to print them.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Reasons:\n  \
    waiting      the gateway holds the records: they come by themselves\n  \
    missing      neither side holds them, and nobody told of a loss: a card or an archive was replaced\n  \
    cap_reached  the gateway's journal was full\n  \
    damaged      the gateway's card was damaged\n  \
    disk_full    the gateway's disk was full\n\n\
    Examples:\n  furrow-ingest gaps\n  furrow-ingest gaps --cooperative hoa-binh --gateway gw-01 --json")]
pub struct GapsArgs {
    /// Of this cooperative only.
    #[arg(long)]
    pub cooperative: Option<CooperativeId>,
    /// Of this gateway only.
    #[arg(long)]
    pub gateway: Option<GatewayId>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Prints them.
///
/// # Errors
/// When an archive can't be read or nobody reads what is printed.
pub fn run(settings: &Settings, arguments: &GapsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut is_first = true;
    for (cooperative, reader) in archive_of(settings, arguments.cooperative.as_ref())? {
        for row in reader.gaps(&cooperative, None)? {
            let gateway = arguments.gateway.as_ref();
            if gateway.is_some_and(|gateway| gateway.as_str() != row.gateway) {
                continue;
            }
            if !arguments.json && std::mem::take(&mut is_first) {
                print(out, HEAD)?;
            }
            let line = match arguments.json {
                true => json(&cooperative, &row).to_string(),
                false => line(&cooperative, &row),
            };
            print(out, &line)?;
        }
    }
    if !arguments.json && is_first {
        print(out, "nothing is missing and nothing is lost")?;
    }
    Ok(())
}

const HEAD: &str = "cooperative      gateway          stream                 from       to readings  reason       since";

fn line(cooperative: &CooperativeId, row: &GapRow) -> String {
    let readings = row
        .readings
        .map_or_else(|| "?".to_owned(), |n| n.to_string());
    format!(
        "{:16} {:16} {:16} {:>10} {:>8} {:>8}  {:12} {} {}",
        cooperative.as_str(),
        row.gateway,
        row.stream,
        row.from_seq,
        row.to_seq,
        readings,
        row.reason,
        moment(row.since_ms),
        row.text
    )
    .trim_end()
    .to_owned()
}

fn json(cooperative: &CooperativeId, row: &GapRow) -> Value {
    let mut value = row.json();
    if let Some(object) = value.as_object_mut() {
        object.insert("cooperative".to_owned(), Value::from(cooperative.as_str()));
        object.insert(
            "greenhouse".to_owned(),
            Value::from(row.greenhouse.as_str()),
        );
    }
    value
}

fn print(out: &mut dyn Write, line: &str) -> anyhow::Result<()> {
    writeln!(out, "{line}").context("can't write to stdout")
}
