//! What is stored about a cooperative beside its readings: which table each change goes to; events,
//! catalogs and clock mappings. All of it is small, and applying it twice changes nothing.

use bytes::Bytes;
use furrow_wire::{
    BootId, Catalog, CatalogHash, ClockMapping, ClockState, EventKind, Events, GatewayId,
    GreenhouseId, RecordName,
};
use rusqlite::{Connection, params};
use serde_json::json;

use super::StoreError;
use super::change::{Applied, Change};
use super::events::EventRow;
use super::live::{LiveKind, LiveMessage};
use super::store::State;
use super::{aside, gaps, remote};

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
            } => gaps::insert_loss(db, gateway, greenhouse, loss, *received_unix_ms),
            Change::DeadLetter {
                gateway,
                record,
                reason,
                bytes,
                received_unix_ms,
            } => aside::insert_dead(db, gateway, *record, *received_unix_ms, reason, bytes),
            Change::Parked(parked) => aside::insert_parked(db, parked),
            Change::Unparked { record } => {
                db.prepare_cached("DELETE FROM parked WHERE stream = ?1 AND seq = ?2")?
                    .execute(params![
                        record.stream.0.cast_signed(),
                        record.seq.0.cast_signed()
                    ])?;
                Ok(())
            }
            Change::Missing {
                gateway,
                greenhouse,
                stream,
                missing,
            } => gaps::replace_missing(db, gateway, greenhouse, *stream, missing),
            Change::Rerun { id, bytes, changes } => {
                if !aside::take_dead(db, *id, bytes)? {
                    tracing::info!(id, "dead letter was run again before");
                    return Ok(());
                }
                for change in changes {
                    self.apply_change(db, change, applied)?;
                }
                Ok(())
            }
            Change::Command(issued) => remote::insert_command(db, issued),
            Change::Result(answered) => remote::insert_result(db, answered),
            Change::Orders(put) => remote::insert_orders(db, put),
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
                if let EventKind::Ordered {
                    version,
                    outcome,
                    by: _,
                    text,
                } = &event.what
                {
                    remote::set_outcome(db, gateway, *version, *outcome, text, row.time_ms)?;
                }
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
