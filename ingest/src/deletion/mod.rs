//! Deleting a cooperative: asked for in a folder, an entry of the log, obeyed by everybody who reads that.
//!
//! 1. Who deletes takes the cooperative out of the configuration, restarts ingest and leaves a [`Request`].
//! 2. The running ingest puts an entry into the log, durable, and takes the request away. An entry that is there twice,
//!    because of a kill in between, is harmless.
//! 3. The archive's reader leaves a [`Tombstone`], then removes the archive. Each forwarder deletes in its store.
//! 4. The [`Eraser`] takes the bytes out of the log once all readers have passed the entry.
//!
//! | module | owns |
//! |---|---|
//! | [`request`] | the request, and putting it into the log |
//! | [`tombstone`] | the durable sign that an id was deleted, for ever |
//! | [`erase`] | the log's bytes, and small things beside archive and stores |
//!
//! It does not know how a store deletes, and touches no backup.

pub mod erase;
pub mod request;
pub mod tombstone;

use std::path::{Path, PathBuf};

use furrow_journal::Position;
use furrow_wire::CooperativeId;

pub use self::erase::Eraser;
pub use self::request::Request;
pub use self::tombstone::Tombstone;

/// From the deletion on, in milliseconds, its bytes leave the log within this time.
pub const PROMISED_MS: i64 = 7 * 86_400_000;
/// From the deletion on, in milliseconds, a store that is behind keeps its place in the log so long: a day is left for
/// the rest.
pub const ERASE_WITHIN_MS: i64 = PROMISED_MS - 86_400_000;

/// What an entry of the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Whose data is to go, from here back.
    pub cooperative: CooperativeId,
    /// Where the entry stands.
    pub position: Position,
    /// When it was asked for, Unix milliseconds.
    pub deleted_unix_ms: i64,
}

/// Why a cooperative can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RefuseError {
    /// It was deleted.
    #[error(
        "cooperative {cooperative} was deleted: its id is never used again; take it out of the configuration, or give it another id"
    )]
    Deleted {
        /// Which.
        cooperative: CooperativeId,
    },
    /// Nobody can say who was.
    #[error("can't read {path}")]
    Unreadable {
        /// The folder of tombstones.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Refuses cooperatives that were deleted.
///
/// # Errors
/// [`RefuseError`].
pub fn refuse<'a>(
    data_dir: &Path,
    cooperatives: impl IntoIterator<Item = &'a CooperativeId>,
) -> Result<(), RefuseError> {
    let deleted = tombstone::load(data_dir).map_err(|source| RefuseError::Unreadable {
        path: tombstone::folder(data_dir),
        source,
    })?;
    let mut named = cooperatives.into_iter();
    match named.find(|id| deleted.contains_key(id)) {
        Some(id) => Err(RefuseError::Deleted {
            cooperative: id.clone(),
        }),
        None => Ok(()),
    }
}

/// A number that stands for an id where the id itself must not be written: a forwarder's state says by it what its
/// store has deleted. FNV-1a.
#[must_use]
pub fn sign_of(cooperative: &CooperativeId) -> i64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = cooperative.as_str().bytes();
    bytes.fold(0xcbf2_9ce4_8422_2325, mix).cast_signed()
}
