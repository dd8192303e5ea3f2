//! Blobs that are not what was written: left out by readers, set aside by the writer, never a reason to stop.
//!
//! What is set aside keeps its bytes in the table `damaged`. Its readings no longer count as stored, so a gateway that
//! still has them can be asked for them again.

use rusqlite::{Connection, params};

use super::StoreError;
use super::codec::CodecError;

/// A blob that can be read; a damaged one is logged and left out.
pub(super) fn readable<T>(what: &'static str, result: Result<T, CodecError>) -> Option<T> {
    result
        .inspect_err(|error| tracing::error!(what, %error, "damaged readings left out"))
        .ok()
}

/// Keeps a damaged blob. The caller deletes its row.
pub(super) fn set_aside(
    db: &Connection,
    what: &'static str,
    error: &CodecError,
    body: &[u8],
) -> Result<(), StoreError> {
    tracing::error!(what, %error, bytes = body.len(), "damaged readings set aside");
    db.prepare_cached("INSERT INTO damaged (what, reason, body) VALUES (?1, ?2, ?3)")?
        .execute(params![what, error.to_string(), body])?;
    Ok(())
}
