//! `furrow-ingest verify`: reads everything in the archive, beside a running ingest or without one.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use furrow_wire::CooperativeId;

use super::archive_of;
use crate::archive::{ArchiveReader, Finding, Verified};
use crate::config::Settings;

/// How often long work is told of.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What to verify.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Only this cooperative's archive.
    #[arg(long)]
    pub cooperative: Option<CooperativeId>,
}

/// Verifies, and prints a line for each archive and each finding.
///
/// # Errors
/// When something was found, or could not be looked at.
pub fn run(settings: &Settings, arguments: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut findings = 0;
    let wanted = arguments.cooperative.as_ref();
    for (cooperative, reader) in archive_of(settings, wanted)? {
        let verified = verify(&reader, &cooperative);
        print(&cooperative, &verified, out).context("can't write what was found")?;
        findings += verified.findings.len() as u64 + verified.more;
    }
    anyhow::ensure!(findings == 0, "{findings} findings");
    Ok(())
}

/// Verifies one archive. That it can't be read is a finding.
pub(super) fn verify(reader: &ArchiveReader, cooperative: &CooperativeId) -> Verified {
    let mut told = Instant::now();
    let verified = reader.verify(cooperative, |done, total| {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            tracing::info!(%cooperative, done, total, "verifying series");
        }
        ControlFlow::Continue(())
    });
    verified.unwrap_or_else(|error| Verified {
        findings: vec![Finding {
            place: "file".to_owned(),
            text: format!("{:#}", anyhow::Error::from(error)),
        }],
        ..Verified::default()
    })
}

fn print(
    cooperative: &CooperativeId,
    verified: &Verified,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let Verified {
        series,
        readings,
        blobs,
        bytes,
        findings,
        more,
    } = verified;
    let state = if findings.is_empty() {
        "ok   "
    } else {
        "wrong"
    };
    writeln!(
        out,
        "{state} {cooperative}: {series} series, {readings} readings, {blobs} blobs of {bytes} bytes"
    )?;
    let width = findings.iter().map(|f| f.place.len()).max().unwrap_or(0);
    for Finding { place, text } in findings {
        writeln!(out, "  {place:width$}  {text}")?;
    }
    if *more > 0 {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}
