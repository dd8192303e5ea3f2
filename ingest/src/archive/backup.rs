//! A copy of a cooperative's file, as it is at one moment, while others read and write it.

use std::path::Path;

use furrow_wire::CooperativeId;
use rusqlite::params;

use super::schema::open_reader;
use super::store::load_position;
use super::{ArchiveError, ArchiveReader, LogPosition};

impl ArchiveReader {
    /// Copies a cooperative's file to `to`, where nothing may be yet; gives up to which log entry the copy is complete.
    /// One snapshot, which the writer does not wait for; pages that are free are left out. Not synced.
    ///
    /// # Errors
    /// When the file can't be read or the copy can't be written.
    pub fn copy_to(
        &self,
        cooperative: &CooperativeId,
        to: &Path,
    ) -> Result<Option<LogPosition>, ArchiveError> {
        self.shared(cooperative)?.with("copy", |db| {
            // A path that is no UTF-8 can't be said in SQL; the caller chooses it.
            db.execute("VACUUM INTO ?1", params![to.to_string_lossy()])?;
            let copy = open_reader(to, cooperative)?;
            load_position(&copy)
        })
    }

    /// Bytes of a cooperative's file without free pages: about what a copy will have.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn bytes(&self, cooperative: &CooperativeId) -> Result<u64, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let value = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let used = value("page_count")? - value("freelist_count")?;
            Ok(u64::try_from(used * value("page_size")?).unwrap_or(0))
        })
    }
}
