//! How readings lie in the archive's files.
//!
//! Every blob starts with its version and a CRC-32C over the rest: SQLite does not notice a flipped bit
//! in a page. [`block`] holds readings of one series, [`pending`] what one batch brought, [`rollup`]
//! buckets. None of them knows SQL.

use std::fmt;

pub(crate) mod block;
pub(crate) mod numbers;
pub(crate) mod pending;
pub(crate) mod rollup;

pub(crate) use block::{Block, Density};

/// Bytes of version and checksum before the payload.
const HEADER_BYTES: usize = 5;

/// Most readings in one blob: a day at 30 Hz, and a bound on what a damaged count can allocate.
pub(crate) const MAX_BLOCK_READINGS: usize = 1 << 22;

/// Why a blob can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError {
    what: &'static str,
    reason: &'static str,
}

impl CodecError {
    pub(crate) fn new(what: &'static str, reason: &'static str) -> Self {
        Self { what, reason }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored {} {}", self.what, self.reason)
    }
}

impl std::error::Error for CodecError {}

/// Puts version and checksum before a payload that was written after [`HEADER_BYTES`] of nothing.
fn seal(version: u8, mut blob: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[version]), payload(&blob));
    let header = std::iter::once(version).chain(crc.to_le_bytes());
    for (place, byte) in blob.iter_mut().zip(header) {
        *place = byte;
    }
    blob
}

fn payload(blob: &[u8]) -> &[u8] {
    blob.get(HEADER_BYTES..).unwrap_or_default()
}

/// Checks version and checksum; gives the payload.
fn open<'a>(what: &'static str, version: u8, blob: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let Some(&[found, a, b, c, d]) = blob.first_chunk::<HEADER_BYTES>() else {
        return Err(CodecError::new(what, "is cut short"));
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[found]), payload(blob));
    if crc != u32::from_le_bytes([a, b, c, d]) {
        return Err(CodecError::new(what, "does not match its checksum"));
    }
    if found != version {
        return Err(CodecError::new(what, "has an unknown version"));
    }
    Ok(payload(blob))
}

/// An empty blob with room for its header.
fn start(capacity: usize) -> Vec<u8> {
    let mut blob = Vec::with_capacity(HEADER_BYTES + capacity);
    blob.resize(HEADER_BYTES, 0);
    blob
}
