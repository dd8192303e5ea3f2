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
//! | `retention` | giving up what is old |
//! | `damage` | blobs that are not what was written |
//! | `figures` | what is counted |
//! | `schema` | tables and connections |
//! | `import` | readings that come from another store, not from the log |
//! | `guard` | that one process writes |
//! | `known` | where whoever follows the log can begin |
//! | [`reader`], `query`, `sums`, `plain`, `scan` | reading, on other connections |
//! | `verify`, `backup` | looking at everything in a file; copying it |
//! | [`live`] | what subscribers see as it happens |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use furrow_wire::{CatalogHash, ClockMapping, CooperativeId, GatewayId};

use crate::alerting::AlertRule;
use crate::metrics::Metrics;
use crate::store::{Run, Written};

mod aside;
mod backup;
pub mod change;
mod codec;
mod damage;
mod error;
mod events;
mod facts;
mod figures;
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
mod retention;
mod scan;
mod schema;
mod series;
mod shared;
mod store;
mod sums;
mod verify;

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
pub use retention::Retention;
pub use scan::{ExportRow, Scan};
pub use shared::Latest;
pub use verify::{Finding, Verified};

use figures::Figures;
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
    /// Cooperatives whose file is damaged, for as long as this process runs: what the log held meanwhile is
    /// applied at the next start.
    out: BTreeSet<CooperativeId>,
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
    /// Opens or creates `dir` with one file per cooperative. A cooperative whose file is damaged is out of service;
    /// see [`Archive::is_out`].
    ///
    /// # Errors
    /// When a file can't be opened and may be later, or when another process writes there.
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
        let all = cooperatives.iter().map(|setup| {
            let path = file_of(dir, &setup.id);
            let shared = Shared::new(setup.id.clone(), path);
            (setup.id.clone(), Arc::new(shared))
        });
        let mut archive = Self {
            stores: BTreeMap::new(),
            out: BTreeSet::new(),
            reader: ArchiveReader::new(all.collect()),
            live,
            figures: Figures::new(metrics),
            limits,
            _lock: lock,
        };
        for setup in cooperatives {
            let shared = archive.reader.shared_arc(&setup.id)?;
            let rules = Arc::from(setup.rules.as_slice());
            match Store::open(&file_of(dir, &setup.id), &setup.id, rules, limits, shared) {
                Ok(store) => {
                    archive.stores.insert(setup.id.clone(), store);
                }
                Err(error) => {
                    let error = error.during("open", &setup.id);
                    if !error.is_damage() {
                        return Err(error);
                    }
                    archive.take_out(&setup.id, &error);
                }
            }
        }
        Ok(archive)
    }

    /// Applies entries of one cooperative, in log order, in one transaction. Entries at or before
    /// [`Archive::position`] are skipped. After an error nothing of the group is applied: call again.
    ///
    /// # Errors
    /// When the cooperative is unknown or its file can't be written. [`ArchiveError::OutOfService`] when it is damaged:
    /// the entries are not applied, and never will be by this process.
    pub fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        let live = &self.live;
        let Some(store) = self.stores.get_mut(cooperative) else {
            return Err(self.missing(cooperative));
        };
        let result = store.apply(entries, live);
        let gives_up = match &result {
            Ok(_) => store.took(),
            Err(error) => store.failed(error),
        };
        match result {
            Ok(applied) => {
                self.reader.set_writable(true);
                self.figures.count(applied);
                Ok(applied)
            }
            Err(error) if gives_up => {
                Err(self.take_out(cooperative, &error.during("write", cooperative)))
            }
            Err(error) => {
                self.reader.set_writable(false);
                Err(error.during("write", cooperative))
            }
        }
    }

    /// How long a cooperative's readings are kept from now on; what is too old goes as entries are applied.
    pub fn keep(&mut self, cooperative: &CooperativeId, retention: Retention) {
        if let Some(store) = self.stores.get_mut(cooperative) {
            store.state.limits.retention = retention;
        }
    }

    /// Whether a cooperative's file is damaged, or not its own. Nothing is read or stored for it then. What the
    /// log has for it must be kept: whoever puts the file right wants it.
    #[must_use]
    pub fn is_out(&self, cooperative: &CooperativeId) -> bool {
        self.out.contains(cooperative)
    }

    /// Cooperatives that are out of service.
    #[must_use]
    pub fn out_of_service(&self) -> &BTreeSet<CooperativeId> {
        &self.out
    }

    /// Takes a cooperative out of service because of what was found in its file; gives the error that everybody
    /// who asks for it gets from now on.
    pub fn take_out(&mut self, cooperative: &CooperativeId, error: &ArchiveError) -> ArchiveError {
        let error: &(dyn std::error::Error + 'static) = error;
        tracing::error!(
            %cooperative, error,
            "archive is damaged and out of service; others go on, the log keeps what it lacks. Restore it, then restart"
        );
        self.stores.remove(cooperative);
        self.out.insert(cooperative.clone());
        self.figures.out_of_service.set(self.out.len() as u64);
        if let Ok(shared) = self.reader.shared_arc(cooperative) {
            shared.take_out();
        }
        ArchiveError::OutOfService(cooperative.clone())
    }

    fn missing(&self, cooperative: &CooperativeId) -> ArchiveError {
        if self.is_out(cooperative) {
            ArchiveError::OutOfService(cooperative.clone())
        } else {
            ArchiveError::UnknownCooperative(cooperative.clone())
        }
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

    /// Takes a cooperative's file in `dir`, the archive's folder, away for good, and every copy of it that is named after
    /// it. Its id must not come back in this process while anybody still reads: SQLite removes a closed file's companions
    /// by their names.
    ///
    /// # Errors
    /// When something can't be taken away: call again.
    pub fn delete(&mut self, dir: &Path, cooperative: &CooperativeId) -> Result<(), ArchiveError> {
        self.stores.remove(cooperative);
        let path = file_of(dir, cooperative);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ArchiveError::Delete { path, source }
        };
        // An id has no dot: this is nobody else's.
        let prefix = format!("{cooperative}.sqlite");
        let files = std::fs::read_dir(dir).map_err(failed(dir))?;
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let mut doomed: Vec<PathBuf> = names
            .filter(|name| name.starts_with(&prefix) && *name != prefix)
            .map(|name| dir.join(name))
            .collect();
        // The file last: while it is there, the call is not done.
        doomed.push(path);
        for path in doomed {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path)(source));
                }
                Ok(()) | Err(_) => {}
            }
        }
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed(dir))
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

    /// Puts everything applied on the disk. Call it before releasing log segments, and look then who is
    /// [out of service](Archive::out_of_service): a file may turn out to be damaged here.
    ///
    /// # Errors
    /// When a file can't be synced: release nothing.
    pub fn make_durable(&mut self) -> Result<(), ArchiveError> {
        let mut damaged = Vec::new();
        for (cooperative, store) in &mut self.stores {
            if let Err(error) = store.make_durable() {
                let gives_up = store.failed(&error);
                let error = error.during("sync", cooperative);
                if !gives_up {
                    return Err(error);
                }
                damaged.push((cooperative.clone(), error));
            }
        }
        for (cooperative, error) in damaged {
            self.take_out(&cooperative, &error);
        }
        Ok(())
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
            .ok_or_else(|| self.missing(cooperative))
    }
}

#[cfg(test)]
mod tests;
