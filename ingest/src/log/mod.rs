//! Ingest's own log: the durable commit point between the broker and everything else.
//!
//! | module | owns |
//! |---|---|
//! | [`entry`] | the bytes of an entry |
//! | [`front`] | what is appended, and what is acknowledged once it is durable |
//! | [`writer`] | the thread around it: group commits, retries |
//! | [`consumer`] | reading back in order, into the archive; letting segments go |
//! | [`derived`] | the seam to what is filled |
//! | `pace` | how fast it takes messages while the archive is behind |
//! | [`holds`] | who still needs which part, and what may go |
//! | `chain` | which log an archive has applied |
//! | `cards` | signs of a card that was replaced or cloned |
//! | [`recover`] | what is known at the start |
//! | [`snapshot`] | the marks in a file, so that the log before it may go |
//!
//! The writer and the consumer meet in [`Log`] and nowhere else. The consumer never sees what is not
//! committed, so the archive is never ahead of the log.

mod cards;
mod chain;
pub mod consumer;
pub mod derived;
pub mod entry;
mod eras;
pub mod front;
pub mod holds;
mod pace;
pub mod recover;
pub mod snapshot;
pub mod writer;

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use furrow_journal::{Disk, FileDisk, Journal, JournalError, Options, Position};

use crate::deletion::tombstone;

pub use self::eras::Eras;
use self::holds::Holds;
pub use self::holds::{Grip, Hold};

/// Bytes of a segment: what is released at once.
const SEGMENT_BYTES: u32 = 8 * 1024 * 1024;
/// Number of the first segment of a new log.
const FIRST_SEGMENT: u64 = 1;
/// Released bytes that stay readable, for `tail` and for people.
const KEEP_BYTES: u64 = 32 * 1024 * 1024;
/// Folder of the segments within the data directory.
const FOLDER: &str = "log";

/// The log, shared by its writer and its reader.
#[derive(Debug)]
pub struct Log<D: Disk> {
    journal: Mutex<Journal<D>>,
    committed: Mutex<Position>,
    news: Condvar,
    holds: Mutex<Holds>,
    /// How far the archive is; `None`: it has not begun.
    applied: Mutex<Option<Position>>,
    /// Space that it may take on the disk.
    max_bytes: u64,
}

/// The folder of the segments within a data directory.
#[must_use]
pub fn folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join(FOLDER)
}

impl Log<FileDisk> {
    /// Opens or creates the log of a data directory.
    ///
    /// # Errors
    /// When the directory can't be had or another process writes there.
    pub fn open(data_dir: &Path, max_bytes: u64) -> Result<Self, JournalError> {
        let folder = folder(data_dir);
        let disk = FileDisk::open(&folder).map_err(|source| JournalError::Io {
            action: "open",
            file: folder.display().to_string(),
            source,
        })?;
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            cap_bytes: max_bytes,
            keep_bytes: KEEP_BYTES,
        };
        let (mut journal, recovery) = Journal::open(disk, options)?;
        // What is to be erased must not be used again before it is.
        let erase_below = tombstone::erase_below(data_dir).map_err(|source| JournalError::Io {
            action: "read",
            file: tombstone::folder(data_dir).display().to_string(),
            source,
        })?;
        if let Some(segment) = erase_below {
            journal.erase(segment)?;
        }
        for damage in &recovery.damaged {
            tracing::error!(
                segment = damage.segment,
                offset = damage.offset,
                bytes = damage.bytes,
                "log is damaged; what can be read is kept"
            );
        }
        tracing::info!(entries = recovery.entries, "log opened");
        Ok(Self::bounded(journal, max_bytes))
    }
}

impl<D: Disk> Log<D> {
    /// A log around an open journal, whose readers may hold all of it.
    #[must_use]
    pub fn new(journal: Journal<D>) -> Self {
        Self::bounded(journal, u64::MAX)
    }

    /// The same, where readers with loose holds are cut as the journal comes near to its `max_bytes`.
    #[must_use]
    pub fn bounded(journal: Journal<D>, max_bytes: u64) -> Self {
        let committed = Mutex::new(journal.end());
        Self {
            journal: Mutex::new(journal),
            committed,
            news: Condvar::new(),
            holds: Mutex::default(),
            applied: Mutex::default(),
            max_bytes,
        }
    }

    /// A reader needs nothing before `position` any more; nothing happens if its hold was cut.
    pub(crate) fn move_hold(&self, hold: &Hold, position: Position) {
        let mut holds = self.holds();
        if holds.has(&hold.name) {
            holds.hold(hold, position);
        }
    }

    /// A new reader needs everything from `position` on.
    pub(crate) fn hold(&self, hold: &Hold, position: Position) {
        self.holds().hold(hold, position);
    }

    /// Whether everything from `position` on can still be read.
    pub(crate) fn has(&self, position: Position) -> bool {
        let segments = self.journal().segments();
        let first = segments.first().map_or(0, |segment| segment.number);
        // Nothing was ever let go if the first segment ever is still there.
        first <= FIRST_SEGMENT || first <= position.segment
    }

    /// About how many committed bytes stand behind `position`; 0: none.
    pub(crate) fn bytes_behind(&self, position: Position) -> u64 {
        bytes_before(self.committed()).saturating_sub(bytes_before(position))
    }

    /// The archive has taken everything before `position`.
    pub(crate) fn note_applied(&self, position: Position) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
    }

    /// About how many bytes of the log the archive has taken, ever, and how many it has before it; `None`: it has not
    /// begun.
    pub(crate) fn archive_progress(&self) -> Option<(u64, u64)> {
        let applied = *self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.map(|position| (bytes_before(position), self.bytes_behind(position)))
    }

    /// Whether a reader still holds what it held.
    pub(crate) fn is_held(&self, name: &str) -> bool {
        self.holds().has(name)
    }

    /// A reader is gone for good.
    pub(crate) fn let_go(&self, name: &str) {
        self.holds().remove(name);
    }

    /// Releases what all readers have passed; gives the bytes that are left.
    pub(crate) fn release_passed(&self) -> u64 {
        let mut holds = self.holds();
        let mut journal = self.journal();
        for name in holds.release(&mut journal, self.max_bytes) {
            tracing::error!(
                reader = name,
                "log needs its room: a reader that is too far behind lost its place"
            );
        }
        journal.stats().live_bytes
    }

    /// Goes on in a new segment, whose number it gives: bytes of what was appended before are in files of earlier ones
    /// only.
    ///
    /// # Errors
    /// The journal's: call again.
    pub fn roll(&self) -> Result<u64, JournalError> {
        let (segment, end) = {
            let mut journal = self.journal();
            let segment = journal.roll()?;
            (segment, journal.end())
        };
        self.publish(end);
        Ok(segment)
    }

    /// Takes the bytes of segments before this one off the disk, as far as no reader needs them; `cut`: those that
    /// hold loosely lose their place. Gives how many segments are left, and which readers need them.
    ///
    /// # Errors
    /// The disk's: call again.
    pub fn erase(&self, segment: u64, cut: bool) -> Result<(u64, Vec<String>), JournalError> {
        let mut holds = self.holds();
        if cut {
            for name in holds.cut_before(segment) {
                tracing::error!(
                    reader = name,
                    "log is to be erased: a reader that is too far behind lost its place"
                );
            }
        }
        let mut journal = self.journal();
        holds.release_passed(&mut journal);
        Ok((journal.erase(segment)?, holds.before(segment)))
    }

    /// Whether more is taken than readers that are stuck may hold.
    pub(crate) fn is_short(&self) -> bool {
        self.journal().stats().live_bytes > holds::loose_share(self.max_bytes)
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal, for one append, commit or group of reads. Never held while waiting for anything
    /// but the disk.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal<D>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the reader how far it may go.
    pub(crate) fn publish(&self, end: Position) {
        {
            let mut committed = self
                .committed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Whoever looked at the journal earlier may come later.
            *committed = end.max(*committed);
        }
        self.news.notify_all();
    }

    /// Behind the last committed entry.
    #[must_use]
    pub fn committed(&self) -> Position {
        *self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something behind `position`, or for `timeout`.
    pub(crate) fn wait_behind(&self, position: Position, timeout: Duration) {
        let committed = self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        drop(
            self.news
                .wait_timeout_while(committed, timeout, |end| *end <= position)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Wakes whoever waits, so that it can look whether it is to stop.
    pub(crate) fn wake(&self) {
        self.news.notify_all();
    }
}

/// About how many bytes of log came before a position.
fn bytes_before(position: Position) -> u64 {
    position.segment.saturating_mul(SEGMENT_BYTES.into()) + u64::from(position.offset)
}
