//! What is derived from the log, and the marks beside it: a seam, so that a test can cut its power.

use std::collections::BTreeSet;
use std::path::PathBuf;

use furrow_journal::Position;
use furrow_wire::CooperativeId;

use super::snapshot::{self, Snapshot, SnapshotError};
use crate::archive::{Applied, Archive, ArchiveError, LogEntry, LogPosition};
use crate::deletion::{Deletion, tombstone};
use crate::run::ARCHIVE_FOLDER;

/// Where the log's consumer puts things. What was applied is applied once: its position is stored
/// with it.
pub trait Derived {
    /// The last applied entry of a cooperative.
    fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition>;

    /// Checksum over the log up to there ([`LogEntry::chain`]); `None` where it is not known.
    fn chain(&self, cooperative: &CooperativeId) -> Option<u32>;

    /// Applies entries of one cooperative, in log order, all or none.
    ///
    /// # Errors
    /// When it can't be written: call again. [`ArchiveError::OutOfService`]: do not.
    fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError>;

    /// Cooperatives whose entries can't be applied while this process runs, since what was made of the log is
    /// damaged. Their entries are not applied, and are wanted at the next start.
    fn out_of_service(&self) -> BTreeSet<CooperativeId>;

    /// Cooperatives that were deleted, as far as is known at the start: entries of them are dropped.
    fn deleted(&self) -> BTreeSet<CooperativeId>;

    /// Gives up everything of a cooperative, for ever. Doing it again changes nothing.
    ///
    /// # Errors
    /// When it can't: call again.
    fn delete(&mut self, deletion: &Deletion) -> Result<(), ArchiveError>;

    /// Puts everything applied on the disk. Others are not held up by one that is found to be damaged: it is
    /// [out of service](Derived::out_of_service) then.
    ///
    /// # Errors
    /// When it can't: release nothing.
    fn make_durable(&mut self) -> Result<(), ArchiveError>;

    /// The stored marks; `None` if there never were any.
    ///
    /// # Errors
    /// [`SnapshotError`] when they can't be read or are damaged.
    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError>;

    /// Replaces the stored marks; durable when this returns.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; the old ones are still there then.
    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError>;

    /// From where on the log is needed after [`Derived::store_marks`] of marks at `position`. Before it, if those are
    /// stored later.
    fn needs_from(&self, position: Position) -> Position;

    /// Makes the marks that [`Derived::load_marks`] gives durable: who stored them may have failed, or
    /// ended, between the renaming and its sync.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; older ones may come back after a power cut then.
    fn sync_marks(&mut self) -> Result<(), SnapshotError>;
}

/// The archive of a data directory, and the file of marks in it.
#[derive(Debug)]
pub struct DataDir {
    /// The archive.
    pub archive: Archive,
    /// Where the marks are.
    pub path: PathBuf,
}

impl Derived for DataDir {
    fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        self.archive.position(cooperative)
    }

    fn chain(&self, cooperative: &CooperativeId) -> Option<u32> {
        self.archive.chain(cooperative)
    }

    fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        self.archive.apply(cooperative, entries)
    }

    fn out_of_service(&self) -> BTreeSet<CooperativeId> {
        self.archive.out_of_service().clone()
    }

    fn deleted(&self) -> BTreeSet<CooperativeId> {
        match tombstone::load(&self.path) {
            Ok(all) => all.into_keys().collect(),
            Err(error) => {
                // They are not configured: their entries have nowhere to go.
                tracing::error!(%error, "can't say who was deleted");
                BTreeSet::new()
            }
        }
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<(), ArchiveError> {
        let cooperative = &deletion.cooperative;
        tombstone::bury(&self.path, deletion).map_err(|source| ArchiveError::Tombstone {
            path: tombstone::folder(&self.path),
            source,
        })?;
        let dir = self.path.join(ARCHIVE_FOLDER);
        self.archive.delete(&dir, cooperative)?;
        tracing::warn!(%cooperative, "archive of a deleted cooperative is gone");
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), ArchiveError> {
        self.archive.make_durable()
    }

    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
        snapshot::load(&self.path)
    }

    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        snapshot::store(&self.path, snapshot)
    }

    fn needs_from(&self, position: Position) -> Position {
        position
    }

    fn sync_marks(&mut self) -> Result<(), SnapshotError> {
        snapshot::sync(&self.path)
    }
}
