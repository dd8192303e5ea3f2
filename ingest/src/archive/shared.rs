//! What the writer shares with readers of one cooperative: the newest values and idle connections.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use furrow_wire::{CooperativeId, Decimal, Quality, SeriesId};
use rusqlite::Connection;
use serde_json::json;

use super::live::{LiveKind, LiveMessage};
use super::series::Series;
use super::{ArchiveError, schema};

/// Connections kept open for the next reader of a cooperative; more are made when needed and closed after.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// The newest of a series, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Which.
    pub series: SeriesId,
    /// The device's name for people.
    pub device_name: Arc<str>,
    /// The channel's name for people; empty where the catalog gives none.
    pub channel_name: Arc<str>,
    /// UCUM or SenML unit code.
    pub unit: Arc<str>,
    /// Value = mantissa × 10^exponent.
    pub exponent: i8,
    /// Sampling interval in milliseconds.
    pub interval_ms: u32,
    /// Newest reading of any quality: Unix milliseconds, mantissa (meaningless without a value), quality.
    pub newest: Option<(i64, i64, Quality)>,
    /// Newest good reading: Unix milliseconds, mantissa.
    pub good: Option<(i64, i64)>,
}

impl Latest {
    /// A mantissa of this series as a number.
    #[must_use]
    pub fn value(&self, mantissa: i64) -> f64 {
        Decimal {
            mantissa,
            exponent: self.exponent,
        }
        .to_f64()
    }

    /// Decimal places that its values have.
    #[must_use]
    pub fn decimals(&self) -> u8 {
        self.exponent.min(0).unsigned_abs()
    }

    /// What subscribers are told.
    #[must_use]
    pub(super) fn message(&self) -> Option<LiveMessage> {
        let (time_ms, mantissa, quality) = self.newest?;
        let value = quality.has_value().then(|| self.value(mantissa));
        let data = json!({
            "greenhouse": self.series.greenhouse,
            "device": self.series.device,
            "channel": self.series.channel,
            "time_ms": time_ms,
            "value": value,
            "quality": quality.as_str(),
        });
        Some(LiveMessage {
            kind: LiveKind::Reading,
            data,
        })
    }

    fn has_names_of(&self, series: &Series) -> bool {
        self.device_name == series.device_name && self.channel_name == series.channel_name
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cooperative: CooperativeId,
    path: PathBuf,
    latest: RwLock<BTreeMap<SeriesId, Latest>>,
    idle: Mutex<Vec<Connection>>,
    is_out: AtomicBool,
}

impl Shared {
    pub(super) fn new(cooperative: CooperativeId, path: PathBuf) -> Self {
        Self {
            cooperative,
            path,
            latest: RwLock::default(),
            idle: Mutex::default(),
            is_out: AtomicBool::new(false),
        }
    }

    pub(super) fn put_latest<'a>(&self, changed: impl Iterator<Item = &'a Series>) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for series in changed {
            match latest.get_mut(&series.name) {
                // In place: this is done for every batch.
                Some(known) if known.has_names_of(series) => {
                    known.exponent = series.exponent;
                    known.interval_ms = series.interval_ms;
                    known.newest = series.newest;
                    known.good = series.good;
                }
                Some(_) | None => {
                    latest.insert(series.name.clone(), series.latest());
                }
            }
        }
    }

    /// SQLite's log of changes beside the file.
    pub(super) fn changes_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        path.into()
    }

    /// Makes the log of changes and its name durable.
    pub(super) fn sync_changes(&self) -> io::Result<()> {
        File::open(self.changes_path())?.sync_all()?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    /// The file is damaged: nobody reads it any more.
    pub(super) fn take_out(&self) {
        self.is_out.store(true, Ordering::Release);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(super) fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Acquire)
    }

    pub(super) fn latest(&self, wanted: impl Fn(&SeriesId) -> bool) -> Vec<Latest> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest
            .values()
            .filter(|one| wanted(&one.series))
            .cloned()
            .collect()
    }

    /// Looks at all of them, while the writer waits.
    pub(super) fn visit_latest(&self, look: impl FnMut(&Latest)) {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.values().for_each(look);
    }

    /// Runs `work` on a connection of its own.
    pub(super) fn with<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, super::StoreError>,
    ) -> Result<T, ArchiveError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut db = match idle {
            Some(db) => db,
            None => schema::open_reader(&self.path, &self.cooperative)
                .map_err(|error| error.during("open", &self.cooperative))?,
        };
        let result = work(&mut db).map_err(|error| error.during(what, &self.cooperative));
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if result.is_ok() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(db);
        }
        result
    }
}
