//! `run`: the gateway.

use std::path::Path;
use std::process::ExitCode;

use super::{EXIT_FAILURE, load_local, print};

/// Read the sensors, water, journal and publish, until stopped
///
/// Exit code 0 after SIGTERM or SIGINT, 64 for a bad configuration, 1 when something failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway --config /etc/furrow/gateway.toml run\n  \
    RUST_LOG=furrow_gateway=debug furrow-gateway run --log json")]
pub struct Run {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Run {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let (local, settings) = match load_local(config) {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        self.start_log();
        // One thread is enough: what blocks (buses, journal) has threads of its own.
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        match runtime.block_on(crate::run::run(local, settings)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "gateway failed");
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn start_log(&self) {
        let filter = tracing_subscriber::EnvFilter::builder()
            .with_default_directive(tracing::Level::INFO.into())
            .from_env_lossy();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false);
        match self.log {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
    }
}
