//! From a stored record to what the archive applies: catalogs, wall time, parking and refusal.
//!
//! Pure and deterministic: the answer depends on the records and their order. A record that lacks its
//! catalog, its boot's mapping or a newer program is parked and comes out when that arrives; one that
//! can never be stored becomes a dead letter with its bytes. Nothing blocks the rest.
//!
//! It does not know which records are new (`furrow_ingest_core`) and stores nothing.

mod gateway;

use std::collections::BTreeMap;

use bytes::Bytes;
use furrow_ingest_core::GatewayKey;
use furrow_wire::{
    ClockMapping, CooperativeId, GreenhouseId, RawRecord, RecordError, RecordName, parse_record,
};

use self::gateway::GatewayDecoder;
use crate::archive::{Change, ParkedRecord};
use crate::log::entry::Rerun;

/// Records that may wait per gateway: a day of batches every 30 s, with room.
pub const MAX_PARKED_RECORDS: usize = 4_096;
/// Bytes that may wait per gateway.
pub const MAX_PARKED_BYTES: usize = 16 * 1024 * 1024;
/// How far a record's time may lie ahead of its receipt, in milliseconds. A gateway whose clock runs
/// a day ahead would hide its later, true readings. Age is never refused.
pub const MAX_FUTURE_MS: i64 = 24 * 3_600 * 1_000;

/// A record in a packet, with the bytes it came in.
#[derive(Debug, Clone)]
pub struct PacketRecord {
    /// The record's name.
    pub name: RecordName,
    /// Version of its body.
    pub version: u8,
    /// Its kind byte.
    pub kind: u8,
    /// Header and body.
    pub bytes: Bytes,
}

/// The records of an unpacked packet; the rest after an error can't be told apart and is given back.
#[derive(Debug, Default)]
pub struct Split {
    /// Records in order.
    pub records: Vec<PacketRecord>,
    /// What followed them and is not a record.
    pub rest: Option<(RecordError, Bytes)>,
}

/// Decoders of all gateways.
#[derive(Debug, Default)]
pub struct Decoder {
    gateways: BTreeMap<GatewayKey, GatewayDecoder>,
}

impl Decoder {
    /// A decoder for these gateways and the greenhouses they are assigned to.
    #[must_use]
    pub fn new(assigned: impl IntoIterator<Item = (GatewayKey, GreenhouseId)>) -> Self {
        let gateways = assigned
            .into_iter()
            .map(|(key, greenhouse)| {
                let decoder = GatewayDecoder::new(key.gateway.clone(), greenhouse);
                (key, decoder)
            })
            .collect();
        Self { gateways }
    }

    /// The same, as a program that reads record bodies up to this version: tests of an upgrade.
    #[must_use]
    pub fn of_body_version(mut self, version: u8) -> Self {
        for decoder in self.gateways.values_mut() {
            decoder.set_body_version(version);
        }
        self
    }

    /// A catalog that was applied before this start.
    pub fn restore_catalog(&mut self, key: &GatewayKey, body: &Bytes) {
        if let Some(decoder) = self.gateways.get_mut(key) {
            decoder.restore_catalog(body);
        }
    }

    /// A mapping that was applied before this start.
    pub fn restore_mapping(&mut self, key: &GatewayKey, mapping: ClockMapping) {
        if let Some(decoder) = self.gateways.get_mut(key) {
            decoder.restore_mapping(mapping);
        }
    }

    /// A record that was parked before this start. Call it after all catalogs and mappings: one that
    /// can be decoded by now (the program is newer) comes out with the gateway's next record, or with an
    /// entry of its own: see [`Decoder::awake`].
    pub fn restore_parked(&mut self, key: &GatewayKey, parked: ParkedRecord) {
        if let Some(decoder) = self.gateways.get_mut(key) {
            decoder.restore_parked(parked);
        }
    }

    /// A cooperative was deleted: its gateways are strangers from now on.
    pub fn forget(&mut self, cooperative: &CooperativeId) {
        self.gateways
            .retain(|key, _| key.cooperative != *cooperative);
    }

    /// Gateways of which parked records can be decoded by now: an [`EntryKind::Wake`] is to be logged for each.
    ///
    /// [`EntryKind::Wake`]: crate::log::entry::EntryKind::Wake
    #[must_use]
    pub fn awake(&self) -> Vec<GatewayKey> {
        let awake = |(_, decoder): &(&GatewayKey, &GatewayDecoder)| decoder.is_awake();
        let keys = self.gateways.iter().filter(awake);
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// Parked records that can be decoded by now come out. `None`: the gateway is not configured.
    pub fn handle_wake(&mut self, key: &GatewayKey) -> Option<Vec<Change>> {
        Some(self.gateways.get_mut(key)?.handle_wake())
    }

    /// What a new record changes. `None`: the gateway is not configured.
    pub fn handle_record(
        &mut self,
        key: &GatewayKey,
        record: &PacketRecord,
        received_unix_ms: i64,
    ) -> Option<Vec<Change>> {
        let decoder = self.gateways.get_mut(key)?;
        Some(decoder.handle_record(record, received_unix_ms))
    }

    /// What a dead letter changes that is run again: it goes, and what becomes of its record takes its
    /// place, perhaps another dead letter. `None`: the gateway is not configured.
    pub fn handle_rerun(&mut self, key: &GatewayKey, rerun: &Rerun) -> Option<Change> {
        let decoder = self.gateways.get_mut(key)?;
        let record = split(&rerun.bytes).records.into_iter().next()?;
        Some(Change::Rerun {
            id: rerun.id,
            bytes: rerun.bytes.clone(),
            changes: decoder.handle_record(&record, rerun.received_unix_ms),
        })
    }

    /// What a record changes whose name is held with other bytes.
    pub fn handle_conflict(
        &mut self,
        key: &GatewayKey,
        record: &PacketRecord,
        received_unix_ms: i64,
    ) -> Option<Change> {
        let decoder = self.gateways.get_mut(key)?;
        let reason = "its name is taken by other bytes: two gateways write one stream".to_owned();
        let bytes = record.bytes.clone();
        Some(decoder.dead_letter(Some(record.name), reason, bytes, received_unix_ms))
    }

    /// Where a gateway stands; `None`: it is not configured.
    #[must_use]
    pub fn greenhouse(&self, key: &GatewayKey) -> Option<&GreenhouseId> {
        self.gateways.get(key).map(GatewayDecoder::greenhouse)
    }

    /// What bytes change that hold no record that could be named.
    pub fn handle_garbage(
        &mut self,
        key: &GatewayKey,
        bytes: Bytes,
        reason: String,
        received_unix_ms: i64,
    ) -> Option<Change> {
        let decoder = self.gateways.get_mut(key)?;
        Some(decoder.dead_letter(None, reason, bytes, received_unix_ms))
    }

    /// Records that wait, and dead letters since the start, of one gateway.
    #[must_use]
    pub fn counts(&self, key: &GatewayKey) -> (u64, u64) {
        self.gateways
            .get(key)
            .map_or((0, 0), GatewayDecoder::counts)
    }
}

/// Takes an unpacked packet apart.
#[must_use]
pub fn split(content: &Bytes) -> Split {
    let mut split = Split::default();
    let mut at = 0;
    while at < content.len() {
        match parse_record(content.get(at..).unwrap_or_default()) {
            Ok((
                RawRecord {
                    version,
                    kind,
                    name,
                    ..
                },
                used,
            )) => {
                let bytes = content.slice(at..at + used);
                split.records.push(PacketRecord {
                    name,
                    version,
                    kind,
                    bytes,
                });
                at += used;
            }
            Err(error) => {
                split.rest = Some((error, content.slice(at..)));
                break;
            }
        }
    }
    split
}

#[cfg(test)]
mod tests;
