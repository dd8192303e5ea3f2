//! What the archive knows at one place in the log: where whoever follows the log can begin.

use bytes::Bytes;
use furrow_wire::{CatalogHash, ClockMapping, CooperativeId, GatewayId};

use super::store::{load_chain, load_position};
use super::{ArchiveError, ArchiveReader, LogPosition, ParkedRecord, aside, facts};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last applied entry; `None` before the first.
    pub position: Option<LogPosition>,
    /// Checksum over the log up to there.
    pub chain: Option<u32>,
    /// All catalogs: gateway, hash, body.
    pub catalogs: Vec<(GatewayId, CatalogHash, Bytes)>,
    /// All clock mappings.
    pub mappings: Vec<(GatewayId, ClockMapping)>,
    /// All records that wait.
    pub parked: Vec<ParkedRecord>,
}

impl ArchiveReader {
    /// What a cooperative's archive knows now, of one moment.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn known(&self, cooperative: &CooperativeId) -> Result<Known, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let snapshot = db.transaction()?;
            Ok(Known {
                position: load_position(&snapshot)?,
                chain: load_chain(&snapshot)?,
                catalogs: facts::catalogs(&snapshot)?,
                mappings: facts::mappings(&snapshot)?,
                parked: aside::parked(&snapshot)?,
            })
        })
    }
}
