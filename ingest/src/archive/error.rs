//! What can go wrong.

use std::path::PathBuf;

use furrow_wire::CooperativeId;

use super::codec::CodecError;

/// Why the archive can't do something.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The cooperative is not configured.
    #[error("cooperative {0} has no archive")]
    UnknownCooperative(CooperativeId),
    /// The directory can't be made.
    #[error("can't create the archive directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
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
    /// A stored id does not parse.
    #[error("stored id is malformed")]
    Id(#[from] furrow_wire::IdError),
}

impl StoreError {
    /// Names the file and what was attempted.
    pub(crate) fn during(self, what: &'static str, cooperative: &CooperativeId) -> ArchiveError {
        ArchiveError::Store {
            what,
            cooperative: cooperative.clone(),
            source: self,
        }
    }
}
