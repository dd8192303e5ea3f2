//! The seam to the log's consumer: entries go into the store, and then the cursor moves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use furrow_wire::{CooperativeId, SeriesId};

use super::figures::Figures;
use super::runs::{joined, runs_of};
use super::state::{State, StateError};
use crate::archive::{Applied, ArchiveError, Change, LogEntry, LogPosition};
use crate::log::derived::Derived;
use crate::log::snapshot::{self, Snapshot, SnapshotError};
use crate::store::{Run, SeriesStore};

/// Series whose first unit is remembered: as many as an archive has for ten cooperatives. Beyond it all are learnt
/// anew.
const UNITS_MAX: usize = 1_000_000;

/// A store and how far it is filled.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) state: State,
    /// Where state and marks are.
    pub(super) folder: PathBuf,
    pub(super) store: Arc<dyn SeriesStore>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) figures: Figures,
    /// A series' unit never changes: the archive refuses what says otherwise, and so does this.
    pub(super) units: BTreeMap<(CooperativeId, SeriesId), String>,
    /// When the newest reading that it has was received, Unix milliseconds.
    pub(super) received_ms: Option<i64>,
}

impl Filled {
    fn runs(&mut self, cooperative: &CooperativeId, entries: &[&LogEntry]) -> Vec<Run> {
        let mut runs = Vec::new();
        for change in entries.iter().flat_map(|entry| &entry.changes) {
            collect(change, &mut runs, &mut self.received_ms);
        }
        if self.units.len() > UNITS_MAX {
            self.units.clear();
        }
        let mut runs = joined(runs);
        runs.retain(|run| {
            let key = (cooperative.clone(), run.series.clone());
            let first = self.units.entry(key).or_insert_with(|| run.unit.clone());
            if *first == run.unit {
                return !run.readings.is_empty();
            }
            self.figures.refused.add(run.readings.len() as u64);
            tracing::warn!(
                %cooperative, series = %run.series, had = %first, unit = %run.unit,
                "readings of another unit are not forwarded; they are in the dead letters"
            );
            false
        });
        runs
    }
}

fn collect(change: &Change, runs: &mut Vec<Run>, received_ms: &mut Option<i64>) {
    match change {
        Change::Readings(readings) => {
            runs.extend(runs_of(readings));
            *received_ms = (*received_ms).max(Some(readings.received_unix_ms));
        }
        Change::Rerun { changes, .. } => {
            for change in changes {
                collect(change, runs, received_ms);
            }
        }
        Change::Catalog { .. }
        | Change::Mapping { .. }
        | Change::Events { .. }
        | Change::Loss { .. }
        | Change::DeadLetter { .. }
        | Change::Parked(_)
        | Change::Unparked { .. }
        | Change::Missing { .. }
        | Change::Command(_)
        | Change::Result(_)
        | Change::Orders(_) => {}
    }
}

impl From<StateError> for ArchiveError {
    fn from(source: StateError) -> Self {
        ArchiveError::ForwarderState(Box::new(source))
    }
}

impl Derived for Filled {
    fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        self.state.position(cooperative)
    }

    fn chain(&self, cooperative: &CooperativeId) -> Option<u32> {
        self.state.chain(cooperative)
    }

    fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        let position = self.state.position(cooperative);
        let fresh: Vec<&LogEntry> = entries
            .iter()
            .filter(|entry| Some(entry.position) > position)
            .collect();
        let runs = self.runs(cooperative, &fresh);
        let mut refused = Vec::new();
        let mut applied = Applied::default();
        if !runs.is_empty() {
            let written = self.runtime.block_on(self.store.write(cooperative, &runs));
            let written = written.map_err(ArchiveError::Forward)?;
            self.figures.readings.add(written.stored);
            self.figures.refused.add(written.refused.len() as u64);
            applied.readings_stored = written.stored;
            applied.readings_refused = written.refused.len() as u64;
            refused = written.refused;
        }
        self.state.advance(cooperative, &fresh, &refused)?;
        Ok(applied)
    }

    fn make_durable(&mut self) -> Result<(), ArchiveError> {
        Ok(self.state.make_durable()?)
    }

    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
        snapshot::load(&self.folder)
    }

    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        snapshot::store(&self.folder, snapshot)
    }

    fn sync_marks(&mut self) -> Result<(), SnapshotError> {
        snapshot::sync(&self.folder)
    }
}
