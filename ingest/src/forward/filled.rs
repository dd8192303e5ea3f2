//! The seam to the log's consumer: entries go into the store, and then the cursor moves.
//!
//! A store may forget what it took if it dies soon after ([`Abilities::durable_after`]). So the stored place stays that
//! long behind, and who finds that the store was away goes back to it.
//!
//! [`Abilities::durable_after`]: crate::store::Abilities::durable_after

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use furrow_journal::Position;
use furrow_wire::{CooperativeId, SeriesId};

use super::figures::Figures;
use super::runs::{joined, runs_of};
use super::state::{State, StateError, Step};
use crate::archive::{Applied, ArchiveError, Change, LogEntry, LogPosition};
use crate::deletion::{Deletion, sign_of};
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
    /// Not its handle: that would drive neither sockets nor timers.
    pub(super) runtime: Arc<tokio::runtime::Runtime>,
    pub(super) figures: Figures,
    /// A series' unit never changes: the archive refuses what says otherwise, and so does this.
    pub(super) units: BTreeMap<(CooperativeId, SeriesId), String>,
    /// When the newest reading that it has was received, Unix milliseconds.
    pub(super) received_ms: Option<i64>,
    /// What it may still forget, oldest first, each with when it was taken. Bounded by what is written in that time.
    pub(super) waiting: VecDeque<(Instant, Later)>,
    /// Behind it the log is needed: the place of the stored marks.
    pub(super) stored_place: Position,
}

/// What is to be stored when the store will not forget any more what came before.
#[derive(Debug)]
pub(super) enum Later {
    /// What it took.
    Step(Step),
    /// Marks behind all of that.
    Marks(Snapshot),
    /// It deleted the cooperative of this sign.
    Deleted(i64),
}

impl Filled {
    /// Stores what the store will not forget any more. It has been seen to be up since.
    pub(super) fn settle(&mut self, now: Instant) -> Result<(), ArchiveError> {
        let after = self.store.abilities().durable_after;
        while let Some((taken, _)) = self.waiting.front() {
            if now.saturating_duration_since(*taken) < after {
                return Ok(());
            }
            match self.waiting.pop_front() {
                Some((_, Later::Step(step))) => self.state.keep(&step)?,
                Some((_, Later::Deleted(sign))) => self.state.keep_deleted(sign)?,
                Some((_, Later::Marks(marks))) => {
                    self.state.make_durable()?;
                    snapshot::store(&self.folder, &marks).map_err(ArchiveError::Marks)?;
                    self.stored_place = marks.position;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The store may have forgotten what was not settled.
    pub(super) fn rewind(&mut self) -> Result<(), ArchiveError> {
        self.waiting.clear();
        Ok(self.state.rewind()?)
    }

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
        if let Some(step) = Step::of(cooperative, &fresh, refused) {
            self.state.note(&step);
            self.waiting.push_back((Instant::now(), Later::Step(step)));
            if self.store.abilities().durable_after.is_zero() {
                self.settle(Instant::now())?;
            }
        }
        Ok(applied)
    }

    fn out_of_service(&self) -> BTreeSet<CooperativeId> {
        BTreeSet::new()
    }

    fn deleted(&self) -> BTreeSet<CooperativeId> {
        // Each entry that says so is obeyed: a store that was away may have been given something once more.
        BTreeSet::new()
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<(), ArchiveError> {
        let cooperative = &deletion.cooperative;
        self.forget(cooperative)?;
        let deleted = self.runtime.block_on(self.store.delete(cooperative));
        deleted.map_err(ArchiveError::Forward)?;
        tracing::warn!(folder = %self.folder.display(), %cooperative, "store has deleted a cooperative");
        let sign = Later::Deleted(sign_of(cooperative));
        self.waiting.push_back((Instant::now(), sign));
        if self.store.abilities().durable_after.is_zero() {
            self.settle(Instant::now())?;
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), ArchiveError> {
        Ok(self.state.make_durable()?)
    }

    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
        snapshot::load(&self.folder)
    }

    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        if !self.waiting.is_empty() {
            let marks = Later::Marks(snapshot.clone());
            self.waiting.push_back((Instant::now(), marks));
            return Ok(());
        }
        snapshot::store(&self.folder, snapshot)?;
        self.stored_place = snapshot.position;
        Ok(())
    }

    fn needs_from(&self, _: Position) -> Position {
        self.stored_place
    }

    fn sync_marks(&mut self) -> Result<(), SnapshotError> {
        snapshot::sync(&self.folder)
    }
}
