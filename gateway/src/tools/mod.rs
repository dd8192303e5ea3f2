//! Commands for people at the gateway. Each is a struct of its arguments with `run`, which prints and
//! answers the exit code: 0 done, 1 failed, 64 bad configuration.

pub mod calibrate;
pub mod check;
pub mod explain;
pub mod hold;
pub mod init;
pub mod journal;
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

use crate::config::Settings;

/// The configuration can't be used (`EX_USAGE`): restarting will not help.
pub const EXIT_CONFIG: u8 = 64;
/// Something failed.
pub const EXIT_FAILURE: u8 = 1;

/// Reads the configuration, or tells what is wrong with it.
///
/// # Errors
/// The exit code, after the mistakes were printed.
pub fn load(path: &Path) -> Result<Settings, ExitCode> {
    Settings::load(path).map_err(|error| {
        print::error(&error);
        ExitCode::from(EXIT_CONFIG)
    })
}
