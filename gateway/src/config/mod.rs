//! Configuration in two stages: [`raw`] is what was written, [`Settings`] is what holds.
//!
//! Owns: the file's and the environment's keys, their units, and every check that can be made without
//! touching a bus. All mistakes are reported together, each with its key and the remedy.
//! It does not open buses or sockets, and nothing here changes at run time.

mod alarm;
mod build;
mod button;
mod device;
mod guard;
mod kinds;
mod leaf;
mod local;
mod mistakes;
mod planting;
mod raw;
mod settings;
mod units;

use std::io;
use std::path::{Path, PathBuf};

use furrow_drivers::registers::Profile;

use crate::config::raw::RawConfig;

pub use alarm::{AlarmRule, AlarmSettings, HornSettings};
pub use button::{ButtonDoes, ButtonSettings};
pub use device::{AnalogInput, ChannelSettings, Contact, DeviceKind, DeviceSettings, Level};
pub use guard::{GuardOutput, GuardPart, GuardSettings, OutputAt, WatchdogLine};
pub use kinds::{KINDS, Kind, Place};
pub use local::{LocalFile, OrdersError};
pub use mistakes::{Mistake, Mistakes};
pub use planting::PlantingSettings;
pub use settings::{
    BusKind, BusSettings, ClearPins, DerivedSettings, GatewaySettings, InputSettings,
    IrrigationSettings, JournalSettings, MqttSettings, OutputSettings, PageSettings, Parity,
    Secret, SerialSettings, Settings, ZoneSettings,
};
pub use units::{parse_duration, parse_size};

/// Variables that override a key: `FURROW__MQTT__HOST` is `mqtt.host`.
pub const ENVIRONMENT_PREFIX: &str = "FURROW";

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read, or it is not TOML, or a section is not what it should be.
    #[error("read configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        source: Box<config::ConfigError>,
    },
    /// Everything that is wrong with what was written.
    #[error("configuration {}: {mistakes}", path.display())]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Mistakes,
    },
}

/// What probes of well-known makes have in which register, with the channels that come of it.
#[must_use]
pub fn builtin_profiles() -> Vec<(&'static str, Profile, Vec<ChannelSettings>)> {
    build::builtin_profiles()
}

impl Settings {
    /// Reads the file, then the environment over it, and checks everything.
    ///
    /// # Errors
    /// A file that can't be read, or the full list of mistakes.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        LocalFile::read(path)?.settings()
    }
}

impl GuardPart {
    /// Reads what the guard needs of the same file and environment. Mistakes in other sections are
    /// not looked at.
    ///
    /// # Errors
    /// A file that can't be read, or the mistakes of buses, devices and outputs.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let raw = raw_from(path, environment())?;
        Self::from_raw(&raw, &read_text).map_err(|mistakes| ConfigError::Mistakes {
            path: path.to_owned(),
            mistakes,
        })
    }
}

/// Values stay texts: a password of digits must keep its zeros. Numbers are read where they are
/// expected.
fn environment() -> config::Environment {
    config::Environment::with_prefix(ENVIRONMENT_PREFIX)
        .prefix_separator("__")
        .separator("__")
}

fn raw_from(path: &Path, environment: config::Environment) -> Result<RawConfig, ConfigError> {
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source: Box::new(source),
    };
    config::Config::builder()
        .add_source(config::File::from(path).format(config::FileFormat::Toml))
        .add_source(environment)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(read)
}

/// Largest secret or certificate file: what is larger is the wrong file.
const TEXT_FILE_MAX_BYTES: u64 = 1024 * 1024;

fn read_text(path: &Path) -> io::Result<String> {
    let len = std::fs::metadata(path)?.len();
    if len > TEXT_FILE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 1 MiB",
        ));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
