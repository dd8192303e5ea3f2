//! Plain values of the journal's interface.

use std::fmt;

use crate::frame::SECTOR_BYTES;

/// Smallest segment, in bytes.
const MIN_SEGMENT_BYTES: u32 = 4 * 1024;
/// Largest segment, in bytes: a scan holds one in memory.
pub(crate) const MAX_SEGMENT_BYTES: u32 = 64 * 1024 * 1024;
/// The writer's, one to go to, one in reserve for a failed sync.
const MIN_SEGMENTS: u64 = 3;

/// Sizes of a journal. Values out of range are brought to the nearest in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment file, 4 KiB to 64 MiB, rounded down to a sector.
    pub segment_bytes: u32,
    /// Bytes all segment files may take, at least three segments. One segment of it is a reserve
    /// for failed syncs. Damaged files that were set aside (at most four) come on top.
    pub cap_bytes: u64,
    /// Bytes of released segments that are kept readable while the cap allows; a start reads
    /// them too.
    pub keep_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 4 * 1024 * 1024,
            cap_bytes: 512 * 1024 * 1024,
            keep_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Options {
    /// The defaults with another cap.
    #[must_use]
    pub fn with_cap(cap_bytes: u64) -> Self {
        Self {
            cap_bytes,
            ..Self::default()
        }
    }

    pub(crate) fn in_range(self) -> Self {
        let segment_bytes = self
            .segment_bytes
            .clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let segment_bytes = segment_bytes - segment_bytes % SECTOR_BYTES;
        Self {
            segment_bytes,
            cap_bytes: self.cap_bytes.max(MIN_SEGMENTS * u64::from(segment_bytes)),
            keep_bytes: self.keep_bytes,
        }
    }
}

/// Where an entry stands. Later entries have greater positions; segment numbers only grow and
/// are never used again. `Position::default()` is before every entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Segment number.
    pub segment: u64,
    /// Bytes from the start of the segment.
    pub offset: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

/// One entry as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// Where to go on behind it: a cursor that has dealt with this entry.
    pub next: Position,
    /// The owner's tag.
    pub kind: u8,
    /// Whether it is a copy of the preamble at the start of a segment.
    pub preamble: bool,
    /// The owner's bytes.
    pub payload: Vec<u8>,
}

/// What is in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Segment number.
    pub number: u64,
    /// Committed bytes of frames.
    pub bytes: u64,
    /// Readable entries, preambles included.
    pub entries: u64,
    /// Whether its space may be used again.
    pub released: bool,
    /// Position of its first entry.
    pub first: Position,
    /// Position behind its last committed entry.
    pub end: Position,
}

/// Counters since the journal was opened, and sizes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries appended, preambles not included.
    pub appended: u64,
    /// Successful commits with something in them.
    pub commits: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Bytes written to the disk, headers, padding and preallocation included.
    pub bytes_written: u64,
    /// Segment files made anew.
    pub created: u64,
    /// Segment files used again.
    pub recycled: u64,
    /// Damaged files set aside.
    pub set_aside: u64,
    /// Bytes of all segment files now.
    pub total_bytes: u64,
    /// Bytes of segment files now that are not released.
    pub live_bytes: u64,
    /// Bytes that wait for a commit now.
    pub uncommitted_bytes: u64,
}
