//! The commands beside `run`.

pub mod aside;
pub mod backup;
pub mod check;
pub mod delete;
pub mod export;
pub mod gaps;
pub mod store;
pub mod tail;
pub mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use furrow_wire::CooperativeId;
use tracing_subscriber::EnvFilter;

use crate::archive::ArchiveReader;
use crate::config::{Settings, TraceFormat};
use crate::run::ARCHIVE_FOLDER;

/// Exit code for a configuration that makes no sense.
pub const EXIT_CONFIG: u8 = 64;
/// Exit code for everything else that goes wrong.
pub const EXIT_FAILURE: u8 = 1;

/// Prints an error once, with its causes, and gives the exit code.
#[must_use]
pub fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // Nothing can be done about a closed stderr.
    writeln!(std::io::stderr(), "furrow-ingest: {error:#}").ok();
    ExitCode::from(code)
}

/// Sends traces to stderr as configured; `RUST_LOG` overrides the filter.
pub fn start_tracing(settings: &Settings) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(&settings.trace_filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.trace_format {
        TraceFormat::Text => builder.try_init(),
        TraceFormat::Json => builder.json().try_init(),
    };
    // An error says that a test has started them already.
    started.ok();
}

/// The runtime of the process.
///
/// # Errors
/// When the system has no threads left.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("can't start the runtime")
}

/// The archives of one cooperative or of all, for reading; those that exist by now.
fn archive_of(
    settings: &Settings,
    wanted: Option<&CooperativeId>,
) -> anyhow::Result<Vec<(CooperativeId, ArchiveReader)>> {
    let dir = settings.data_dir.join(ARCHIVE_FOLDER);
    let configured = settings
        .cooperatives
        .iter()
        .map(|cooperative| &cooperative.id);
    let ids: Vec<&CooperativeId> = match wanted {
        Some(wanted) => vec![wanted],
        None => configured
            .filter(|id| crate::archive::file_of(&dir, id).exists())
            .collect(),
    };
    let open = |id: &CooperativeId| {
        let path = crate::archive::file_of(&dir, id);
        anyhow::ensure!(path.exists(), "{id} has no archive in {}", dir.display());
        let reader = ArchiveReader::open_dir(&dir, std::slice::from_ref(id));
        Ok((id.clone(), reader))
    };
    ids.into_iter().map(open).collect()
}

/// A time for people.
fn moment(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms);
    time.map_or_else(|_| format!("{unix_ms} ms"), |time| format!("{time:.0}"))
}
