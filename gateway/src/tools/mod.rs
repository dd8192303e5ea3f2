//! Commands for people at the gateway. Each is a struct of its arguments with `run`, which prints and
//! answers the exit code: 0 done, 1 failed, 64 bad configuration.

pub mod alarms;
pub mod calibrate;
pub mod check;
pub mod config;
pub mod explain;
pub mod hold;
pub mod init;
pub mod journal;
mod plan_text;
pub(crate) mod print;
pub mod read;
mod reader;
pub mod report;
pub mod run;
pub mod scan;
pub mod status;
mod table;
pub mod valve_test;
pub mod watch;
pub mod water;

use std::path::Path;
use std::process::ExitCode;

use crate::config::{LocalFile, Settings};

/// The configuration can't be used (`EX_USAGE`): restarting will not help.
pub const EXIT_CONFIG: u8 = 64;
/// Something failed.
pub const EXIT_FAILURE: u8 = 1;

/// Reads the configuration, or tells what is wrong with it.
///
/// # Errors
/// The exit code, after the mistakes were printed.
pub fn load(path: &Path) -> Result<Settings, ExitCode> {
    load_local(path).map(|(_, settings)| settings)
}

/// The same, with the file itself, for who lays orders over it.
///
/// # Errors
/// The exit code, after the mistakes were printed.
pub fn load_local(path: &Path) -> Result<(LocalFile, Settings), ExitCode> {
    let loaded = LocalFile::read(path).and_then(|local| {
        let settings = local.settings()?;
        Ok((local, settings))
    });
    loaded.map_err(|error| {
        print::error(&error);
        ExitCode::from(EXIT_CONFIG)
    })
}
