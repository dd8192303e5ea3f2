//! That one process writes: `flock` on a file beside the cooperatives' files.
//!
//! Two writers would each think that they know what is stored, and store readings twice.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::ArchiveError;

/// Locked by whoever writes; no cooperative's file has this name, since theirs end in `.sqlite`.
const LOCK: &str = "lock";

/// Locks the folder until the file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, ArchiveError> {
    let failed = |source| ArchiveError::Directory {
        path: dir.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ArchiveError::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
