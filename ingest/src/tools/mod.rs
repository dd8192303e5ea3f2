//! The commands beside `run`.

pub mod check;
pub mod export;
pub mod tail;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Settings, TraceFormat};

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
