//! The tables of a forwarder's state, and what goes into them.

use bytes::Bytes;
use furrow_wire::{BootId, CatalogHash, ClockMapping, CooperativeId, GatewayId, RecordName};
use rusqlite::{Transaction, params};

use super::state::StateError;
use crate::archive::{Change, LogPosition, ParkReason, ParkedRecord};
use crate::store::Refused;

/// Refused readings kept for people to look at; of earlier ones only the count is.
const REFUSED_KEPT: i64 = 10_000;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cursor (
    cooperative TEXT PRIMARY KEY,
    segment     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    chain       INTEGER,
    received_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copying (
    cooperative TEXT PRIMARY KEY,
    done        TEXT,
    incarnation INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS catalog (
    cooperative TEXT NOT NULL,
    gateway     TEXT NOT NULL,
    hash        INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (cooperative, gateway, hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mapping (
    cooperative TEXT NOT NULL,
    gateway     TEXT NOT NULL,
    boot        INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (cooperative, gateway, boot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parked (
    cooperative TEXT NOT NULL,
    stream      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    gateway     TEXT NOT NULL,
    waits_for   TEXT NOT NULL,
    waits_id    INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (cooperative, stream, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deleted (
    sign INTEGER PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS refused (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    cooperative TEXT NOT NULL,
    series      TEXT NOT NULL,
    time_ms     INTEGER NOT NULL,
    value       TEXT,
    quality     TEXT NOT NULL,
    reason      TEXT NOT NULL,
    UNIQUE (cooperative, series, time_ms)
);
";

/// What is needed to go on behind some entries without the archive.
#[derive(Debug, Clone)]
pub(super) enum Keep {
    Catalog(GatewayId, CatalogHash, Bytes),
    Mapping(GatewayId, ClockMapping),
    Parked(ParkedRecord),
    Unparked(RecordName),
}

/// What is to be kept of a change; gives when it was received, if it holds readings.
pub(super) fn collect(change: &Change, keeps: &mut Vec<Keep>) -> Option<i64> {
    match change {
        Change::Readings(readings) => return Some(readings.received_unix_ms),
        Change::Catalog {
            gateway,
            hash,
            body,
            ..
        } => keeps.push(Keep::Catalog(gateway.clone(), *hash, body.clone())),
        Change::Mapping {
            gateway, mapping, ..
        } => keeps.push(Keep::Mapping(gateway.clone(), *mapping)),
        Change::Parked(parked) => keeps.push(Keep::Parked(parked.clone())),
        Change::Unparked { record } => keeps.push(Keep::Unparked(*record)),
        Change::Rerun { changes, .. } => {
            for change in changes {
                collect(change, keeps);
            }
        }
        Change::Events { .. }
        | Change::Loss { .. }
        | Change::DeadLetter { .. }
        | Change::Missing { .. }
        | Change::Command(_)
        | Change::Result(_)
        | Change::Orders(_) => {}
    }
    None
}

pub(super) fn put(
    db: &Transaction<'_>,
    cooperative: &CooperativeId,
    keep: &Keep,
) -> Result<(), StateError> {
    match keep {
        Keep::Catalog(gateway, hash, body) => put_catalog(db, cooperative, gateway, *hash, body),
        Keep::Mapping(gateway, mapping) => put_mapping(db, cooperative, gateway, mapping),
        Keep::Parked(parked) => put_parked(db, cooperative, parked),
        Keep::Unparked(record) => {
            db.prepare_cached(
                "DELETE FROM parked WHERE cooperative = ?1 AND stream = ?2 AND seq = ?3",
            )?
            .execute(params![
                cooperative.as_str(),
                record.stream.0.cast_signed(),
                record.seq.0.cast_signed()
            ])?;
            Ok(())
        }
    }
}

pub(super) fn put_cursor(
    db: &Transaction<'_>,
    cooperative: &CooperativeId,
    position: LogPosition,
    chain: Option<u32>,
    received_ms: Option<i64>,
) -> Result<(), StateError> {
    db.prepare_cached(
        "INSERT INTO cursor (cooperative, segment, position, chain, received_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (cooperative) DO UPDATE SET segment = ?2, position = ?3, chain = ?4,
             received_ms = COALESCE(?5, received_ms)",
    )?
    .execute(params![
        cooperative.as_str(),
        position.segment.cast_signed(),
        position.offset,
        chain,
        received_ms
    ])?;
    Ok(())
}

pub(super) fn put_catalog(
    db: &Transaction<'_>,
    cooperative: &CooperativeId,
    gateway: &GatewayId,
    hash: CatalogHash,
    body: &Bytes,
) -> Result<(), StateError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO catalog (cooperative, gateway, hash, body) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        cooperative.as_str(),
        gateway.as_str(),
        hash.0.cast_signed(),
        &body[..]
    ])?;
    Ok(())
}

pub(super) fn put_mapping(
    db: &Transaction<'_>,
    cooperative: &CooperativeId,
    gateway: &GatewayId,
    mapping: &ClockMapping,
) -> Result<(), StateError> {
    // The first one of a boot is final.
    db.prepare_cached(
        "INSERT OR IGNORE INTO mapping (cooperative, gateway, boot, body) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        cooperative.as_str(),
        gateway.as_str(),
        mapping.boot.0.cast_signed(),
        &mapping.encode()[..]
    ])?;
    Ok(())
}

pub(super) fn put_parked(
    db: &Transaction<'_>,
    cooperative: &CooperativeId,
    parked: &ParkedRecord,
) -> Result<(), StateError> {
    let (waits_for, waits_id) = match parked.reason {
        ParkReason::Catalog(hash) => ("catalog", hash.0),
        ParkReason::Mapping(boot) => ("mapping", boot.0),
        ParkReason::Version => ("version", 0),
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO parked
             (cooperative, stream, seq, gateway, waits_for, waits_id, received_ms, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        cooperative.as_str(),
        parked.record.stream.0.cast_signed(),
        parked.record.seq.0.cast_signed(),
        parked.gateway.as_str(),
        waits_for,
        waits_id.cast_signed(),
        parked.received_unix_ms,
        &parked.bytes[..]
    ])?;
    Ok(())
}

pub(super) fn reason_of(waits_for: &str, waits_id: i64) -> ParkReason {
    let id = waits_id.cast_unsigned();
    match waits_for {
        "catalog" => ParkReason::Catalog(CatalogHash(id)),
        "mapping" => ParkReason::Mapping(BootId(id)),
        _ => ParkReason::Version,
    }
}

pub(super) fn put_refused(
    db: &Transaction<'_>,
    cooperative: &CooperativeId,
    refused: &Refused,
) -> Result<(), StateError> {
    let Refused {
        series,
        reading,
        reason,
    } = refused;
    // What is written again is refused again.
    let is_new = db
        .prepare_cached(
            "INSERT OR IGNORE INTO refused (cooperative, series, time_ms, value, quality, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            cooperative.as_str(),
            series.to_string(),
            reading.time_ms,
            reading.value.map(|value| value.to_string()),
            reading.quality.as_str(),
            reason
        ])?;
    if is_new == 0 {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM refused WHERE id <= ?1")?
        .execute(params![db.last_insert_rowid() - REFUSED_KEPT])?;
    Ok(())
}
