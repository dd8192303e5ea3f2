//! What is stored about a cooperative beside its readings: events, gaps, refused and waiting records,
//! catalogs and clock mappings. All of it is small, and applying it twice changes nothing.

use bytes::Bytes;
use furrow_wire::{
    BootId, Catalog, CatalogHash, ClockMapping, ClockState, Events, GatewayId, GreenhouseId, Loss,
    LossReason, RecordName, Seq, StreamId,
};
use rusqlite::{Connection, params};
use serde_json::json;

use super::StoreError;
use super::change::{Applied, Change, ParkReason, ParkedRecord};
use super::events::EventRow;
use super::live::{LiveKind, LiveMessage};
use super::store::State;

/// Refused records whose bytes are kept; of later ones only the reason is. At 64 KiB each, 640 MB.
const DEAD_BODIES_MAX: u32 = 10_000;

impl State {
    /// Applies one change in the running transaction.
    pub(super) fn apply_change(
        &mut self,
        db: &Connection,
        change: &Change,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        match change {
            Change::Readings(readings) => self.apply_readings(db, readings, applied),
            Change::Catalog {
                gateway,
                hash,
                body,
                catalog,
                received_unix_ms,
            } => {
                insert_catalog(db, gateway, *hash, body, *received_unix_ms)?;
                self.apply_catalog(db, gateway, *hash, catalog)
            }
            Change::Mapping {
                gateway,
                mapping,
                received_unix_ms,
            } => insert_mapping(db, gateway, mapping, *received_unix_ms),
            Change::Events {
                gateway,
                greenhouse,
                record,
                wall_offset_ms,
                events,
            } => self.apply_events(db, gateway, greenhouse, *record, *wall_offset_ms, events),
            Change::Loss {
                gateway,
                greenhouse,
                record: _,
                loss,
                received_unix_ms,
            } => insert_gap(db, gateway, greenhouse, loss, *received_unix_ms),
            Change::DeadLetter {
                gateway,
                record,
                reason,
                bytes,
                received_unix_ms,
            } => insert_dead(db, gateway, *record, *received_unix_ms, reason, bytes),
            Change::Parked(parked) => insert_parked(db, parked),
            Change::Unparked { record } => {
                db.prepare_cached("DELETE FROM parked WHERE stream = ?1 AND seq = ?2")?
                    .execute(params![
                        record.stream.0.cast_signed(),
                        record.seq.0.cast_signed()
                    ])?;
                Ok(())
            }
        }
    }

    fn apply_catalog(
        &mut self,
        db: &Connection,
        gateway: &GatewayId,
        hash: CatalogHash,
        catalog: &Catalog,
    ) -> Result<(), StoreError> {
        let rules = std::sync::Arc::clone(&self.rules);
        self.series
            .resolve(db, &catalog.greenhouse, hash, catalog, &rules)?;
        let place = self.place(db, &catalog.greenhouse, gateway)?.id;
        let zones: Vec<_> = catalog
            .zones
            .iter()
            .map(|zone| json!({ "id": zone.id, "name": zone.name }))
            .collect();
        db.prepare_cached("UPDATE place SET name = ?2, gateway = ?3, zones = ?4 WHERE id = ?1")?
            .execute(params![
                place,
                catalog.greenhouse_name,
                gateway.as_str(),
                serde_json::Value::from(zones).to_string()
            ])?;
        Ok(())
    }

    fn apply_events(
        &mut self,
        db: &Connection,
        gateway: &GatewayId,
        greenhouse: &GreenhouseId,
        record: RecordName,
        offset_ms: i64,
        events: &Events,
    ) -> Result<(), StoreError> {
        for (n, event) in (0u32..).zip(&events.events) {
            let at_ms = i64::try_from(event.at_mono_ms).unwrap_or(i64::MAX);
            let row = EventRow::of(event, at_ms.saturating_add(offset_ms));
            if row.insert(db, gateway, greenhouse, record, n)? {
                let data = row.json(greenhouse);
                self.happened.push(LiveMessage {
                    kind: LiveKind::Event,
                    data,
                });
            }
        }
        Ok(())
    }
}

fn loss_text(reason: LossReason) -> &'static str {
    match reason {
        LossReason::CapReached => "cap_reached",
        LossReason::Damaged => "damaged",
        LossReason::DiskFull => "disk_full",
    }
}

fn insert_gap(
    db: &Connection,
    gateway: &GatewayId,
    greenhouse: &GreenhouseId,
    loss: &Loss,
    received_ms: i64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO gap (greenhouse, gateway, stream, from_seq, to_seq, readings,
             since_ms, reason, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        greenhouse.as_str(),
        gateway.as_str(),
        loss.stream.0.cast_signed(),
        loss.from_seq.0.cast_signed(),
        loss.to_seq.0.cast_signed(),
        loss.readings.cast_signed(),
        received_ms,
        loss_text(loss.reason),
        loss.text
    ])?;
    Ok(())
}

/// Keeps a refused record.
pub(super) fn insert_dead(
    db: &Connection,
    gateway: &GatewayId,
    record: Option<RecordName>,
    received_ms: i64,
    reason: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let held: u32 = db
        .prepare_cached("SELECT COUNT(*) FROM dead")?
        .query_row([], |row| row.get(0))?;
    let body = (held < DEAD_BODIES_MAX).then_some(bytes);
    tracing::warn!(%gateway, reason, kept = body.is_some(), "record refused");
    db.prepare_cached(
        "INSERT INTO dead (gateway, stream, seq, received_ms, reason, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        gateway.as_str(),
        record.map(|record| record.stream.0.cast_signed()),
        record.map(|record| record.seq.0.cast_signed()),
        received_ms,
        reason,
        body
    ])?;
    Ok(())
}

fn insert_catalog(
    db: &Connection,
    gateway: &GatewayId,
    hash: CatalogHash,
    body: &Bytes,
    received_ms: i64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO catalog (gateway, hash, received_ms, body) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        gateway.as_str(),
        hash.0.cast_signed(),
        received_ms,
        &body[..]
    ])?;
    Ok(())
}

fn insert_mapping(
    db: &Connection,
    gateway: &GatewayId,
    mapping: &ClockMapping,
    received_ms: i64,
) -> Result<(), StoreError> {
    let state = match mapping.state {
        ClockState::Unknown => "unknown",
        ClockState::Synchronised => "synchronised",
        ClockState::Repaired => "repaired",
        ClockState::Estimated => "estimated",
    };
    db.prepare_cached(
        "INSERT OR IGNORE INTO mapping (gateway, boot, offset_ms, error_ms, state, received_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        gateway.as_str(),
        mapping.boot.0.cast_signed(),
        mapping.wall_offset_ms,
        mapping.error_ms,
        state,
        received_ms
    ])?;
    Ok(())
}

fn insert_parked(db: &Connection, parked: &ParkedRecord) -> Result<(), StoreError> {
    let (waits_for, waits_id) = match parked.reason {
        ParkReason::Catalog(hash) => ("catalog", Some(hash.0.cast_signed())),
        ParkReason::Mapping(boot) => ("mapping", Some(boot.0.cast_signed())),
        ParkReason::Version => ("version", None),
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO parked (stream, seq, gateway, waits_for, waits_id, received_ms,
             body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        parked.record.stream.0.cast_signed(),
        parked.record.seq.0.cast_signed(),
        parked.gateway.as_str(),
        waits_for,
        waits_id,
        parked.received_unix_ms,
        &parked.bytes[..]
    ])?;
    Ok(())
}

/// All catalogs: gateway, hash, body.
pub(super) fn catalogs(
    db: &Connection,
) -> Result<Vec<(GatewayId, CatalogHash, Bytes)>, StoreError> {
    let mut query = db.prepare("SELECT gateway, hash, body FROM catalog ORDER BY received_ms")?;
    let mut rows = query.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let gateway = row.get::<_, String>(0)?.parse()?;
        let hash = CatalogHash(row.get::<_, i64>(1)?.cast_unsigned());
        out.push((gateway, hash, row.get::<_, Vec<u8>>(2)?.into()));
    }
    Ok(out)
}

/// All clock mappings.
pub(super) fn mappings(db: &Connection) -> Result<Vec<(GatewayId, ClockMapping)>, StoreError> {
    let mut query = db.prepare("SELECT gateway, boot, offset_ms, error_ms, state FROM mapping")?;
    let mut rows = query.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let state = match row.get::<_, String>(4)?.as_str() {
            "synchronised" => ClockState::Synchronised,
            "repaired" => ClockState::Repaired,
            "estimated" => ClockState::Estimated,
            _ => ClockState::Unknown,
        };
        let mapping = ClockMapping {
            boot: BootId(row.get::<_, i64>(1)?.cast_unsigned()),
            wall_offset_ms: row.get(2)?,
            error_ms: row.get(3)?,
            state,
        };
        out.push((row.get::<_, String>(0)?.parse()?, mapping));
    }
    Ok(out)
}

/// All records that wait, oldest first.
pub(super) fn parked(db: &Connection) -> Result<Vec<ParkedRecord>, StoreError> {
    let mut query = db.prepare(
        "SELECT gateway, stream, seq, waits_for, waits_id, received_ms, body
         FROM parked ORDER BY received_ms, stream, seq",
    )?;
    let mut rows = query.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let waits_id = row.get::<_, Option<i64>>(4)?.unwrap_or(0).cast_unsigned();
        let reason = match row.get::<_, String>(3)?.as_str() {
            "catalog" => ParkReason::Catalog(CatalogHash(waits_id)),
            "mapping" => ParkReason::Mapping(BootId(waits_id)),
            _ => ParkReason::Version,
        };
        out.push(ParkedRecord {
            gateway: row.get::<_, String>(0)?.parse()?,
            record: RecordName {
                stream: StreamId(row.get::<_, i64>(1)?.cast_unsigned()),
                seq: Seq(row.get::<_, i64>(2)?.cast_unsigned()),
            },
            reason,
            bytes: row.get::<_, Vec<u8>>(6)?.into(),
            received_unix_ms: row.get(5)?,
        });
    }
    Ok(out)
}
