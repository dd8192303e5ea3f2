//! A cooperative that was deleted leaves a forwarder's state: its rows, and their bytes in the file.
//!
//! That the store has deleted it is kept by a sign that does not name it: the tombstone alone does.

use std::path::Path;

use furrow_wire::CooperativeId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::filled::{Filled, Later};
use super::state::{BUSY_TIMEOUT, FILE, State, StateError};
use crate::archive::ArchiveError;
use crate::deletion::sign_of;
use crate::log::snapshot::{self, Snapshot};

/// Whether the store of this state has deleted a cooperative.
///
/// # Errors
/// [`StateError`].
pub fn has_deleted(folder: &Path, cooperative: &CooperativeId) -> Result<bool, StateError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(false);
    }
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    // A file of an older program.
    let tables = "SELECT 1 FROM sqlite_schema WHERE name = 'deleted'";
    let is_there = db.query_row(tables, [], |_| Ok(())).optional()?.is_some();
    Ok(is_there && has_sign(&db, cooperative)?)
}

impl State {
    /// Whether the store has deleted a cooperative.
    pub(super) fn has_deleted(&self, cooperative: &CooperativeId) -> Result<bool, StateError> {
        has_sign(&self.db, cooperative)
    }

    /// The store has deleted a cooperative.
    pub(super) fn keep_deleted(&mut self, sign: i64) -> Result<(), StateError> {
        let insert = "INSERT OR IGNORE INTO deleted (sign) VALUES (?1)";
        self.db.execute(insert, params![sign])?;
        Ok(())
    }

    /// Nothing of a cooperative is in the file any more, nor beside it.
    fn forget(&mut self, cooperative: &CooperativeId) -> Result<(), StateError> {
        let transaction = self.db.transaction()?;
        for table in [
            "cursor", "copying", "catalog", "mapping", "parked", "refused",
        ] {
            let delete = format!("DELETE FROM {table} WHERE cooperative = ?1");
            transaction.execute(&delete, params![cooperative.as_str()])?;
        }
        transaction.commit()?;
        self.cursors.remove(cooperative);
        // Rows that went, now or long ago, are still in free pages and in the log of changes.
        self.db
            .execute_batch("PRAGMA temp_store = MEMORY; VACUUM")?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = self.db.query_row(checkpoint, [], |row| row.get(0))?;
        match busy {
            0 => Ok(()),
            _ => Err(StateError::Busy),
        }
    }
}

impl Filled {
    /// Drops what it holds of a cooperative, in memory and in its files; the store is not asked.
    pub(super) fn forget(&mut self, cooperative: &CooperativeId) -> Result<(), ArchiveError> {
        self.waiting.retain_mut(|(_, later)| match later {
            Later::Step(step) => step.cooperative != *cooperative,
            Later::Marks(marks) => {
                strike(marks, cooperative);
                true
            }
            Later::Deleted(_) => true,
        });
        self.units.retain(|(id, _), _| id != cooperative);
        self.state.forget(cooperative)?;
        let marks = snapshot::load(&self.folder).map_err(ArchiveError::Marks)?;
        if let Some(mut marks) = marks
            && strike(&mut marks, cooperative)
        {
            snapshot::store(&self.folder, &marks).map_err(ArchiveError::Marks)?;
        }
        Ok(())
    }
}

/// Says whether there was anything.
fn strike(marks: &mut Snapshot, cooperative: &CooperativeId) -> bool {
    let is_there = marks
        .tracker
        .iter()
        .any(|(key, _, _)| key.cooperative == *cooperative);
    marks.tracker.forget(cooperative);
    marks.archives.remove(cooperative).is_some() || is_there
}

fn has_sign(db: &Connection, cooperative: &CooperativeId) -> Result<bool, StateError> {
    let select = "SELECT 1 FROM deleted WHERE sign = ?1";
    let found = db.query_row(select, params![sign_of(cooperative)], |_| Ok(()));
    Ok(found.optional()?.is_some())
}
