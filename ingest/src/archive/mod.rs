//! The archive: one SQLite file a cooperative, filled from the log by one writer.
//!
//! This module owns everything that is stored about a cooperative: series, readings, roll-ups,
//! events, gaps, alerts and their state, dead letters, parked records. It does not decode packets,
//! know sequence numbers, or decide who may read: the log's consumer and the HTTP layer do.
//!
//! The log is the durable commit point. The position of the last applied entry is written in the same
//! transaction as its data, so applying an entry again is a no-op, and a transaction that a power
//! cut took back is simply applied again. That is why `synchronous = NORMAL` is enough here; before
//! the log lets a segment go, [`Archive::make_durable`] puts everything applied on the disk.
//!
//! | module | owns |
//! |---|---|
//! | [`change`] | what the log's consumer hands over |
//! | `store`, `series` | one cooperative's file and what its writer keeps in memory |
//! | `readings` | taking in a batch: what is new |
//! | `flush` | from rows by batch to blocks by series, and their roll-ups |
//! | `facts`, `events` | everything beside readings |
//! | `aside` | refused and waiting records |
//! | `gaps` | what is lost or missing |
//! | `remote` | commands and orders, and what became of them |
//! | `codec` | how readings lie in blobs |
//! | `damage` | blobs that are not what was written |
//! | `schema` | tables and connections |
//! | `import` | readings that come from another store, not from the log |
//! | `guard` | that one process writes |
//! | `known` | where whoever follows the log can begin |
//! | [`reader`], `query`, `sums`, `plain`, `scan` | reading, on other connections |
//! | [`live`] | what subscribers see as it happens |

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use furrow_wire::{CatalogHash, ClockMapping, CooperativeId, GatewayId};

use crate::alerting::AlertRule;
use crate::metrics::{Counter, Metrics};
use crate::store::{Run, Written};

mod aside;
pub mod change;
mod codec;
mod damage;
mod error;
mod events;
mod facts;
mod flush;
mod gaps;
mod guard;
mod import;
mod known;
pub mod live;
mod plain;
mod query;
pub mod reader;
mod readings;
mod remote;
mod scan;
mod schema;
mod series;
mod shared;
mod store;
mod sums;

pub use aside::DeadLetter;
pub use change::{
    AnsweredCommand, Applied, Change, IssuedCommand, LogEntry, LogPosition, ParkReason,
    ParkedRecord, PutOrders, Readings,
};
pub use error::{ArchiveError, StoreError};
pub use events::EventRow;
pub use gaps::GapRow;
pub use known::Known;
pub use live::LiveHub;
pub use query::{Point, SeriesPoints};
pub use reader::ArchiveReader;
pub use remote::{COMMANDS_MAX, OrdersRow, VERSIONS_KEPT, digest_of};
pub use scan::{ExportRow, Scan};
pub use shared::Latest;

use shared::Shared;
use store::{Limits, Store};

/// A cooperative and its alert rules, from the configuration.
#[derive(Debug, Clone)]
pub struct CooperativeSetup {
    /// Which.
    pub id: CooperativeId,
    /// What is watched.
    pub rules: Vec<AlertRule>,
}

/// The writer. One a process; give it a thread of its own: its calls block.
#[derive(Debug)]
pub struct Archive {
    stores: BTreeMap<CooperativeId, Store>,
    reader: ArchiveReader,
    live: LiveHub,
    figures: Figures,
    limits: Limits,
    /// Held as long as this process writes.
    _lock: File,
}

/// Where a cooperative's file lies.
pub(crate) fn file_of(dir: &Path, cooperative: &CooperativeId) -> PathBuf {
    dir.join(format!("{cooperative}.sqlite"))
}

impl Archive {
    /// Opens or creates `dir` with one file per cooperative.
    ///
    /// # Errors
    /// When a file can't be opened or has a newer schema, or when another process writes there.
    pub fn open(
        dir: &Path,
        cooperatives: &[CooperativeSetup],
        live: LiveHub,
        metrics: &Metrics,
    ) -> Result<Self, ArchiveError> {
        Self::open_with(dir, cooperatives, live, metrics, Limits::default())
    }

    fn open_with(
        dir: &Path,
        cooperatives: &[CooperativeSetup],
        live: LiveHub,
        metrics: &Metrics,
        limits: Limits,
    ) -> Result<Self, ArchiveError> {
        std::fs::create_dir_all(dir).map_err(|source| ArchiveError::Directory {
            path: dir.to_owned(),
            source,
        })?;
        let lock = guard::lock(dir)?;
        let mut stores = BTreeMap::new();
        let mut all = BTreeMap::new();
        for setup in cooperatives {
            let path = file_of(dir, &setup.id);
            let shared = Arc::new(Shared::new(setup.id.clone(), path.clone()));
            let rules = Arc::from(setup.rules.as_slice());
            let store = Store::open(&path, &setup.id, rules, limits, Arc::clone(&shared))
                .map_err(|error| error.during("open", &setup.id))?;
            stores.insert(setup.id.clone(), store);
            all.insert(setup.id.clone(), shared);
        }
        let reader = ArchiveReader::new(all);
        Ok(Self {
            stores,
            reader,
            live,
            figures: Figures::new(metrics),
            limits,
            _lock: lock,
        })
    }

    /// Applies entries of one cooperative, in log order, in one transaction. Entries at or before
    /// [`Archive::position`] are skipped. After an error nothing of the group is applied: call again.
    ///
    /// # Errors
    /// When the cooperative is unknown or its file can't be written.
    pub fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        let store = self
            .stores
            .get_mut(cooperative)
            .ok_or_else(|| ArchiveError::UnknownCooperative(cooperative.clone()))?;
        let result = store.apply(entries, &self.live);
        self.reader.set_writable(result.is_ok());
        let applied = result.map_err(|error| error.during("write", cooperative))?;
        self.figures.count(applied);
        Ok(applied)
    }

    /// Stores readings that do not come from the log, in one transaction; the position stays. Opens or creates the
    /// file in `dir`, the archive's folder, if the cooperative is new.
    ///
    /// # Errors
    /// When the file can't be opened or written: nothing is stored then.
    pub fn import(
        &mut self,
        dir: &Path,
        cooperative: &CooperativeId,
        runs: &[Run],
    ) -> Result<Written, ArchiveError> {
        if !self.stores.contains_key(cooperative) {
            let path = file_of(dir, cooperative);
            let shared = Arc::new(Shared::new(cooperative.clone(), path.clone()));
            let rules = Arc::from([]);
            let store = Store::open(&path, cooperative, rules, self.limits, shared)
                .map_err(|error| error.during("open", cooperative))?;
            self.stores.insert(cooperative.clone(), store);
        }
        let store = self
            .stores
            .get_mut(cooperative)
            .ok_or_else(|| ArchiveError::UnknownCooperative(cooperative.clone()))?;
        store
            .import(runs, &self.live)
            .map_err(|error| error.during("write", cooperative))
    }

    /// Takes a cooperative's file in `dir`, the archive's folder, away. Its id must not come back in this process while
    /// anybody still reads: SQLite removes a closed file's companions by their names.
    ///
    /// # Errors
    /// When it can't be taken away: call again.
    pub fn delete(&mut self, dir: &Path, cooperative: &CooperativeId) -> Result<(), ArchiveError> {
        self.stores.remove(cooperative);
        let path = file_of(dir, cooperative);
        // The file last: while it is there, the call is not done.
        for companion in ["-wal", "-shm", ""] {
            let mut name = path.clone().into_os_string();
            name.push(companion);
            match std::fs::remove_file(&name) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(ArchiveError::Delete {
                        path: name.into(),
                        source,
                    });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The last applied entry of a cooperative.
    #[must_use]
    pub fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        self.stores.get(cooperative)?.state.position
    }

    /// Checksum over the log up to [`Archive::position`], as it was when that was applied. `None` before the
    /// first entry, and where a program applied it that knew no such checksum.
    #[must_use]
    pub fn chain(&self, cooperative: &CooperativeId) -> Option<u32> {
        self.stores.get(cooperative)?.state.chain
    }

    /// Puts everything applied on the disk. Call it before releasing log segments.
    ///
    /// # Errors
    /// When a file can't be synced: release nothing.
    pub fn make_durable(&mut self) -> Result<(), ArchiveError> {
        self.stores.iter().try_for_each(|(cooperative, store)| {
            store
                .make_durable()
                .map_err(|error| error.during("sync", cooperative))
        })
    }

    /// All catalogs ever applied, as (gateway, hash, body): for the consumer's start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn catalogs(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<(GatewayId, CatalogHash, Bytes)>, ArchiveError> {
        let store = self.store(cooperative)?;
        facts::catalogs(store.db()).map_err(|error| error.during("read", cooperative))
    }

    /// All clock mappings ever applied: for the consumer's start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn mappings(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<(GatewayId, ClockMapping)>, ArchiveError> {
        let store = self.store(cooperative)?;
        facts::mappings(store.db()).map_err(|error| error.during("read", cooperative))
    }

    /// All records that still wait: for the consumer's start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn parked(&self, cooperative: &CooperativeId) -> Result<Vec<ParkedRecord>, ArchiveError> {
        let store = self.store(cooperative)?;
        aside::parked(store.db()).map_err(|error| error.during("read", cooperative))
    }

    /// A reader of the same files.
    #[must_use]
    pub fn reader(&self) -> ArchiveReader {
        self.reader.clone()
    }

    #[cfg(test)]
    fn with_db(&self, cooperative: &CooperativeId, work: impl FnOnce(&rusqlite::Connection)) {
        work(self.store(cooperative).unwrap().db());
    }

    fn store(&self, cooperative: &CooperativeId) -> Result<&Store, ArchiveError> {
        self.stores
            .get(cooperative)
            .ok_or_else(|| ArchiveError::UnknownCooperative(cooperative.clone()))
    }
}

#[derive(Debug)]
struct Figures {
    stored: Counter,
    duplicate: Counter,
    late: Counter,
    refused: Counter,
    transitions: Counter,
    ignored: Counter,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]);
        Self {
            stored: counter(
                "furrow_readings_stored_total",
                "Readings stored in the archive.",
            ),
            duplicate: counter(
                "furrow_readings_duplicate_total",
                "Readings not stored because their series has one of that time.",
            ),
            late: counter(
                "furrow_readings_late_total",
                "Readings stored behind their series' newest; no alert rule looked at them.",
            ),
            refused: counter(
                "furrow_readings_refused_total",
                "Readings that no series can hold; kept in the dead letters.",
            ),
            transitions: counter(
                "furrow_alert_transitions_total",
                "Steps of alert rules: pending, dropped, firing, resolved.",
            ),
            ignored: counter(
                "furrow_alert_samples_ignored_total",
                "Samples before an alert rule's live frontier; history pages nobody.",
            ),
        }
    }

    fn count(&self, applied: Applied) {
        self.stored.add(applied.readings_stored);
        self.duplicate.add(applied.readings_duplicate);
        self.late.add(applied.readings_late);
        self.refused.add(applied.readings_refused);
        self.transitions.add(applied.alert_transitions);
        self.ignored.add(applied.alert_samples_ignored);
    }
}

#[cfg(test)]
mod tests;
