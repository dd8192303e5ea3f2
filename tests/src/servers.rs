//! Servers of others that tests need, and which of them a person waived by name.

use std::path::PathBuf;

use anyhow::Context;

/// Names of waived servers, separated by commas: `cargo xtask test --without` sets it.
pub const WITHOUT_VARIABLE: &str = "FURROW_TESTS_WITHOUT";

/// A server that a person may do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// InfluxDB 2.
    Influxdb,
    /// VictoriaMetrics.
    Victoria,
}

impl Server {
    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Server::Influxdb => "influxdb",
            Server::Victoria => "victoria",
        }
    }

    /// Whether tests go without it.
    #[must_use]
    pub fn is_waived(self) -> bool {
        let names = std::env::var(WITHOUT_VARIABLE).unwrap_or_default();
        names.split(',').any(|name| name.trim() == self.as_str())
    }
}

/// Cargo's target folder, from where the running test lies: `target/<profile>/deps/test`.
///
/// # Errors
/// When it lies elsewhere.
pub fn target_beside_test() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("find the running test")?;
    let folder = test.ancestors().nth(3).context("find the target folder")?;
    Ok(folder.to_owned())
}
