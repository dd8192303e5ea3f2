//! The local file, kept as it was read, so that orders from ingest can be laid over it.
//!
//! **Invariant:** orders change plantings, schedules, rules and season, and nothing else. What the file
//! refers to (keys, certificates, profiles of probes) is what it was when the file was read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::build::orders::{by_name, merged};
use super::mistakes::Mistakes;
use super::raw::{RawConfig, RawOrders};
use super::settings::Settings;
use super::{ConfigError, environment, raw_from, read_text};

/// See the module.
#[derive(Debug)]
pub struct LocalFile {
    path: PathBuf,
    raw: RawConfig,
    /// Other files that it refers to.
    texts: RefCell<BTreeMap<PathBuf, Result<String, String>>>,
}

/// Why orders don't fit.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// They can't be read.
    #[error("the orders are not TOML: {0}")]
    Toml(String),
    /// Everything that is wrong with them.
    #[error("{0}")]
    Mistakes(Mistakes),
}

impl LocalFile {
    /// Reads the file, then the environment over it.
    ///
    /// # Errors
    /// A file that can't be read, or is not TOML.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::read_with(path, environment())
    }

    pub(super) fn read_with(
        path: &Path,
        environment: config::Environment,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            path: path.to_owned(),
            raw: raw_from(path, environment)?,
            texts: RefCell::default(),
        })
    }

    /// What it says by itself.
    ///
    /// # Errors
    /// The full list of mistakes.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let read = |path: &Path| self.text(path);
        Settings::from_raw(&self.raw, &read).map_err(|mistakes| ConfigError::Mistakes {
            path: self.path.clone(),
            mistakes,
        })
    }

    /// What holds with orders laid over it.
    ///
    /// # Errors
    /// The full list of mistakes.
    pub fn with_orders(&self, text: &str) -> Result<Settings, OrdersError> {
        let orders: RawOrders = toml::from_str(text).map_err(|error| {
            let error = error.to_string();
            OrdersError::Toml(error.trim_end().to_owned())
        })?;
        let mut found = Mistakes::default();
        let merged = merged(&self.raw, orders, &mut found);
        let read = |path: &Path| self.text(path);
        let settings = Settings::from_raw(&merged, &read);
        match settings {
            Ok(settings) if found.as_slice().is_empty() => Ok(settings),
            Ok(_) => Err(OrdersError::Mistakes(found)),
            Err(others) => {
                for other in others.as_slice() {
                    let key = by_name(&other.key, &merged.zone);
                    found.add(key, other.problem.clone(), other.remedy.clone());
                }
                Err(OrdersError::Mistakes(found))
            }
        }
    }

    fn text(&self, path: &Path) -> io::Result<String> {
        let mut texts = self.texts.borrow_mut();
        let known = texts
            .entry(path.to_owned())
            .or_insert_with(|| read_text(path).map_err(|error| error.to_string()));
        known.clone().map_err(io::Error::other)
    }
}
