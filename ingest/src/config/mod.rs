//! Configuration: a TOML file, overridden by `FURROW__SECTION__KEY` in the environment.
//!
//! Two stages: [`raw`] takes whatever is written, [`settings`] turns it into [`Settings`], whose
//! values make sense, or into all mistakes at once. Nothing behind this module sees a raw value.
//! It opens no socket and reads no file but the configuration and the files that it names.

mod check;
mod heartbeat;
mod raw;
mod retention;
mod secret;
mod settings;
mod store;
mod webhook;

use std::path::{Path, PathBuf};

pub use self::heartbeat::HeartbeatSettings;
use self::raw::RawConfig;
pub use self::settings::{
    CooperativeSettings, GatewaySettings, LinkSettings, LogSettings, Secret, Settings, TraceFormat,
};
pub use self::store::{ARCHIVE, StoreKind, StoreSettings};
pub use self::webhook::WebhookSettings;

/// Environment variables that override the file: `FURROW__HTTP__LISTEN=127.0.0.1:9090`.
const ENV_PREFIX: &str = "FURROW";

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where, as `cooperative[0].gateway[1].id`.
    pub key: String,
    /// What is wrong and what to do about it.
    pub text: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or not TOML.
    #[error("can't read the configuration {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// The parser's reason.
        #[source]
        source: Box<config::ConfigError>,
    },
    /// It was read and does not make sense.
    #[error("the configuration {path} has {} mistakes:{}", mistakes.len(), lines(mistakes))]
    Mistakes {
        /// Which.
        path: PathBuf,
        /// All of them, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ConfigError`] with all mistakes.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let environment = config::Environment::with_prefix(ENV_PREFIX).separator("__");
    let file = config::File::from(path).format(config::FileFormat::Toml);
    let raw: RawConfig = config::Config::builder()
        .add_source(file)
        .add_source(environment.try_parsing(true))
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
    settings::check(raw).map_err(|mistakes| ConfigError::Mistakes {
        path: path.to_owned(),
        mistakes,
    })
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes
        .iter()
        .map(|mistake| format!("\n  {}: {}", mistake.key, mistake.text))
        .collect()
}

#[cfg(test)]
mod tests;
