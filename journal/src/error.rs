//! What can go wrong, and what recovery found.

use std::io;

use crate::types::Position;

/// The action whose failure leaves a file's content unknown.
pub(crate) const SYNC: &str = "sync";

/// Why an operation of a journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process writes this journal.
    #[error("journal is in use by another process")]
    Locked,
    /// The cap is reached and no segment is released. Release one and append again.
    #[error("journal is full: cap of {cap_bytes} bytes reached and no segment is released")]
    Full {
        /// The cap from the options.
        cap_bytes: u64,
    },
    /// The entry (or the preamble) does not fit.
    #[error("entry of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of what was given.
        bytes: u64,
        /// The largest that fits.
        limit: u64,
    },
    /// Too much was appended without a successful commit.
    #[error("{bytes} bytes are waiting for a commit, no more are taken")]
    Uncommitted {
        /// Bytes that wait.
        bytes: u64,
    },
    /// No committed entry begins there, or its segment was recycled.
    #[error("no entry at {position}")]
    NotFound {
        /// What was asked for.
        position: Position,
    },
    /// Bytes that were committed can't be read back.
    #[error("damaged journal at {position}: {bytes} bytes")]
    Damaged {
        /// Where the damage begins.
        position: Position,
        /// How far it reaches.
        bytes: u32,
    },
    /// The disk failed.
    #[error("cannot {action} {file}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file of the journal's directory.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
}

impl JournalError {
    /// Whether the disk (not the cap) has no space left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Locked
            | Self::Full { .. }
            | Self::TooLarge { .. }
            | Self::Uncommitted { .. }
            | Self::NotFound { .. }
            | Self::Damaged { .. } => false,
        }
    }

    pub(crate) fn is_sync(&self) -> bool {
        matches!(self, Self::Io { action: SYNC, .. })
    }

    pub(crate) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }
}

/// What a scan found when the journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that can be read, preambles included.
    pub entries: u64,
    /// Committed bytes that can't be read. The same damage is reported at each opening until its
    /// segment is recycled, so that an owner that crashed can still account for it; tell it by
    /// segment and offset. The file is then set aside for a human instead of being reused.
    pub damaged: Vec<Damage>,
    /// Whole frames of the last commit that were dropped because others of it before them are
    /// missing: a write that a power cut interrupted, normal and not damage.
    pub torn: Option<Damage>,
}

/// A stretch of a segment that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Segment number.
    pub segment: u64,
    /// Where in the segment it begins, in bytes.
    pub offset: u32,
    /// How many bytes.
    pub bytes: u32,
    /// What is wrong.
    pub reason: DamageReason,
}

/// What is wrong with a damaged stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageReason {
    /// Frames fail their check.
    Checksum,
    /// The disk reported an error when reading.
    Unreadable,
    /// The segment's header is bad; its entries were found all the same.
    Header,
    /// Nothing in the file can be read.
    Segment,
    /// Written by a version this one does not know: the file was left alone.
    Version,
    /// The write that was interrupted by the power cut.
    TornTail,
}
