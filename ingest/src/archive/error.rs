//! What can go wrong.

use std::path::PathBuf;

use furrow_wire::CooperativeId;

use super::codec::CodecError;
use crate::forward::StateError;
use crate::log::snapshot::SnapshotError;
use crate::store::StoreFault;

/// Why the archive can't do something.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The cooperative is not configured.
    #[error("cooperative {0} has no archive")]
    UnknownCooperative(CooperativeId),
    /// The directory can't be made or locked.
    #[error("can't use the archive directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process writes there.
    #[error("another process writes the archive in {path}; stop it first")]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// A cooperative's file is damaged, or not its own.
    #[error(
        "archive of {0} is damaged and out of service until it is restored and ingest started again"
    )]
    OutOfService(CooperativeId),
    /// A cooperative's file can't be taken away.
    #[error("can't delete {path}")]
    Delete {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The sign that a cooperative was deleted can't be left: nothing is removed then.
    #[error("can't leave a tombstone in {path}")]
    Tombstone {
        /// In which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What stands behind a forwarder did not take the entries.
    #[error("can't forward")]
    Forward(#[source] StoreFault),
    /// A forwarder's marks, or those that it begins with, can't be used.
    #[error("marks can't be used")]
    Marks(#[source] SnapshotError),
    /// A forwarder's own file failed.
    #[error("can't keep a forwarder's state")]
    ForwarderState(#[source] Box<StateError>),
    /// A cooperative's file failed.
    #[error("can't {what} the archive of {cooperative}")]
    Store {
        /// What was attempted.
        what: &'static str,
        /// Whose file.
        cooperative: CooperativeId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Why one file failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's word.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A blob is damaged.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Alert state that does not parse.
    #[error("alert state is damaged")]
    AlertState(#[from] serde_json::Error),
    /// Written by another version of this program.
    #[error("schema version is {found} (this program knows {known})")]
    Schema {
        /// In the file.
        found: i64,
        /// In the program.
        known: i64,
    },
    /// The file belongs to somebody else.
    #[error("file belongs to cooperative {found:?}")]
    Owner {
        /// Whose it is.
        found: String,
    },
    /// SQLite's log of changes can't be put on the disk.
    #[error("can't sync {path}")]
    Sync {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A stored id does not parse.
    #[error("stored id is malformed")]
    Id(#[from] furrow_wire::IdError),
}

impl ArchiveError {
    /// Whether a person has to put something right: trying again is no use.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            ArchiveError::Store { source, .. } => source.is_damage(),
            ArchiveError::OutOfService(_) => true,
            ArchiveError::UnknownCooperative(_)
            | ArchiveError::Directory { .. }
            | ArchiveError::Locked { .. }
            | ArchiveError::Forward(_)
            | ArchiveError::Marks(_)
            | ArchiveError::ForwarderState(_)
            | ArchiveError::Tombstone { .. }
            | ArchiveError::Delete { .. } => false,
        }
    }
}

impl StoreError {
    /// Whether the file is not what was written, or not this cooperative's. A full disk, a lock or an error of the
    /// disk may pass.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => matches!(
                error.code,
                rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase
            ),
            StoreError::Sync { .. } => false,
            // A column of another type, a table that is not there: no transient reason gives these.
            StoreError::Sqlite(_)
            | StoreError::Codec(_)
            | StoreError::AlertState(_)
            | StoreError::Schema { .. }
            | StoreError::Owner { .. }
            | StoreError::Id(_) => true,
        }
    }

    /// Whether the disk failed: a file on it may be lost, or the whole disk for a moment.
    pub(super) fn is_of_disk(&self) -> bool {
        let code = match self {
            StoreError::Sync { .. } => return true,
            StoreError::Sqlite(error) => error.sqlite_error_code(),
            StoreError::Codec(_)
            | StoreError::AlertState(_)
            | StoreError::Schema { .. }
            | StoreError::Owner { .. }
            | StoreError::Id(_) => None,
        };
        matches!(
            code,
            Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen)
        )
    }

    /// Names the file and what was attempted.
    pub(crate) fn during(self, what: &'static str, cooperative: &CooperativeId) -> ArchiveError {
        ArchiveError::Store {
            what,
            cooperative: cooperative.clone(),
            source: self,
        }
    }
}
