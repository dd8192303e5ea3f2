//! The archive: one SQLite file a cooperative, filled from the log by one writer.
//!
//! This module owns everything that is stored about a cooperative: series, readings, roll-ups,
//! events, gaps, alerts and their state, dead letters, parked records. It does not decode packets,
//! know sequence numbers, or decide who may read: the log's consumer and the HTTP layer do.
//!
//! The log is the durable commit point. The position of the last applied entry is written in the same
//! transaction as its data, so applying an entry again is a no-op, and a transaction that a power
//! cut took back is simply applied again. That is why `synchronous = NORMAL` is enough here; before
//! the log lets a segment go, [`Archive::make_durable`] puts everything applied on the disk.
//!
//! | module | owns |
//! |---|---|
//! | [`change`] | what the log's consumer hands over |
//! | [`live`] | what subscribers see as it happens |

use std::path::Path;

use bytes::Bytes;
use furrow_wire::{CatalogHash, ClockMapping, CooperativeId, GatewayId};

use crate::alerting::AlertRule;
use crate::metrics::Metrics;

pub mod change;
pub mod live;

pub use change::{
    Applied, Change, LogEntry, LogPosition, ParkReason, ParkedRecord, Readings,
};
pub use live::LiveHub;

/// A cooperative and its alert rules, from the configuration.
#[derive(Debug, Clone)]
pub struct CooperativeSetup {
    /// Which.
    pub id: CooperativeId,
    /// What is watched.
    pub rules: Vec<AlertRule>,
}

/// Why the archive can't do something.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The cooperative is not configured.
    #[error("cooperative {0} has no archive")]
    UnknownCooperative(CooperativeId),
}

/// The writer. One a process; give it a thread of its own: its calls block.
#[derive(Debug)]
pub struct Archive {}

/// Reads what has been committed, on its own connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArchiveReader {}

impl Archive {
    /// Opens or creates `dir` with one file per cooperative.
    ///
    /// # Errors
    /// When a file can't be opened or has a newer schema.
    pub fn open(
        dir: &Path,
        cooperatives: &[CooperativeSetup],
        live: LiveHub,
        metrics: &Metrics,
    ) -> Result<Self, ArchiveError> {
        unimplemented!()
    }

    /// Applies entries of one cooperative, in log order, in one transaction. Entries at or before
    /// [`Archive::position`] are skipped. After an error nothing of the group is applied: call again.
    ///
    /// # Errors
    /// When the cooperative is unknown or its file can't be written.
    pub fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        unimplemented!()
    }

    /// The last applied entry of a cooperative.
    #[must_use]
    pub fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        unimplemented!()
    }

    /// Puts everything applied on the disk. Call it before releasing log segments.
    ///
    /// # Errors
    /// When a file can't be synced: release nothing.
    pub fn make_durable(&mut self) -> Result<(), ArchiveError> {
        unimplemented!()
    }

    /// All catalogs ever applied, as (gateway, hash, body): for the consumer's start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn catalogs(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<(GatewayId, CatalogHash, Bytes)>, ArchiveError> {
        unimplemented!()
    }

    /// All clock mappings ever applied: for the consumer's start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn mappings(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<(GatewayId, ClockMapping)>, ArchiveError> {
        unimplemented!()
    }

    /// All records that still wait: for the consumer's start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn parked(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<ParkedRecord>, ArchiveError> {
        unimplemented!()
    }

    /// A reader of the same files.
    #[must_use]
    pub fn reader(&self) -> ArchiveReader {
        unimplemented!()
    }
}
