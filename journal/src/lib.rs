//! Append-only segments: the gateway's journal and ingest's log.
//!
//! Entries are opaque bytes with a kind. They are framed with a CRC-32C and appended to
//! preallocated segment files; one write and one `fdatasync` commit everything that was
//! appended since the last commit. Recovery is a scan: what is good is kept, a torn tail is cut
//! off, and damage is reported, never a reason not to start.
//!
//! # Layout
//!
//! - [`Journal`]: append, commit, read, release.
//! - [`JournalReader`]: looks into a directory that another process writes.
//! - [`Disk`]: the few operations a journal needs; [`FileDisk`] is a directory,
//!   [`sim::SimDisk`] a disk that fails on demand.
//!
//! # What the frames promise
//!
//! - A commit begins on a sector of its own, so a power cut never touches what was committed.
//! - A frame's check is seeded with its segment number and offset, and segment numbers only grow:
//!   bytes of a file's earlier life are never taken for entries.
//! - What is to be gone is gone: [`Journal::roll`] and [`Journal::erase`] take old entries off the disk,
//!   also where their bytes lie behind the written end of a file that was used again.
//! - A commit is written only after the one before it is durable. So a hole before a later commit
//!   is damage, and a hole in the very last commit is a torn write: the entries before the hole
//!   are kept, those behind it were never reported as committed and are dropped.
//!
//! It does not know what the entries mean, who may read them, or when a segment is done with:
//! the owner calls [`Journal::release`].

mod disk;
mod error;
mod file_disk;
mod frame;
mod iter;
mod journal;
mod names;
mod reader;
mod recover;
mod scan;
mod segment;
pub mod sim;
mod types;

pub use disk::Disk;
pub use error::{Damage, DamageReason, JournalError, Recovery};
pub use file_disk::FileDisk;
pub use frame::{MAX_PAYLOAD_BYTES, SECTOR_BYTES};
pub use iter::Entries;
pub use journal::{Journal, MAX_UNCOMMITTED_BYTES};
pub use reader::{JournalReader, ReaderEntries};
pub use types::{Entry, Options, Position, SegmentInfo, Stats};
