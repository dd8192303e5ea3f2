//! What is not in the archive: records that a gateway told of as lost, and records that ingest knows of
//! and lacks, because they wait on the gateway or because neither side holds them.

use furrow_ingest_core::Missing;
use furrow_wire::{CooperativeId, GatewayId, GreenhouseId, Loss, LossReason, StreamId};
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::reader::ROWS_MAX;
use super::{ArchiveError, ArchiveReader, StoreError};

/// Consecutive records of a stream that are not in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRow {
    /// Where they would belong.
    pub greenhouse: String,
    /// Whose they are.
    pub gateway: String,
    /// The stream, 16 hexadecimal digits.
    pub stream: String,
    /// First seq.
    pub from_seq: u64,
    /// Last seq.
    pub to_seq: u64,
    /// Readings in them, where somebody counted.
    pub readings: Option<u64>,
    /// When ingest learned of it, Unix milliseconds.
    pub since_ms: i64,
    /// `cap_reached`, `damaged`, `disk_full`: lost, by the gateway's word. `waiting`: the gateway holds
    /// them. `missing`: neither side does, and nobody told of a loss.
    pub reason: String,
    /// More of it, for people; may be empty.
    pub text: String,
}

impl GapRow {
    /// As the API gives it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "gateway": self.gateway,
            "stream": self.stream,
            "from_seq": self.from_seq,
            "to_seq": self.to_seq,
            "readings": self.readings,
            "since_ms": self.since_ms,
            "reason": self.reason,
            "text": self.text,
        })
    }
}

impl ArchiveReader {
    /// What is not there of a greenhouse, or of all: what is missing first, then what is lost, newest
    /// first, at most [`ROWS_MAX`] of each.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn gaps(
        &self,
        cooperative: &CooperativeId,
        greenhouse: Option<&GreenhouseId>,
    ) -> Result<Vec<GapRow>, ArchiveError> {
        let greenhouse = greenhouse.map(GreenhouseId::as_str);
        self.shared(cooperative)?.with("read", |db| {
            let mut out = Vec::new();
            // A file that no newer program has written has no such table yet.
            if db.table_exists(None, "missing")? {
                let mut query = db.prepare_cached(
                    "SELECT greenhouse, gateway, stream, from_seq, to_seq, NULL, since_ms,
                         CASE WHEN gone_ms IS NULL THEN 'waiting' ELSE 'missing' END, ''
                     FROM missing WHERE ?1 IS NULL OR greenhouse = ?1
                     ORDER BY since_ms DESC, gateway, stream, from_seq LIMIT ?2",
                )?;
                let rows = query.query_map(params![greenhouse, ROWS_MAX], gap_row)?;
                out.extend(rows.collect::<Result<Vec<_>, _>>()?);
            }
            let mut query = db.prepare_cached(
                "SELECT greenhouse, gateway, stream, from_seq, to_seq, readings, since_ms, reason,
                     text
                 FROM gap WHERE ?1 IS NULL OR greenhouse = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = query.query_map(params![greenhouse, ROWS_MAX], gap_row)?;
            out.extend(rows.collect::<Result<Vec<_>, _>>()?);
            Ok(out)
        })
    }
}

/// A loss that a gateway tells of.
pub(super) fn insert_loss(
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

/// What is missing of a stream, in place of what was.
pub(super) fn replace_missing(
    db: &Connection,
    gateway: &GatewayId,
    greenhouse: &GreenhouseId,
    stream: StreamId,
    missing: &[Missing],
) -> Result<(), StoreError> {
    let stream = stream.0.cast_signed();
    db.prepare_cached("DELETE FROM missing WHERE gateway = ?1 AND stream = ?2")?
        .execute(params![gateway.as_str(), stream])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO missing (gateway, stream, from_seq, to_seq, greenhouse, since_ms, gone_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for entry in missing {
        let (from, to) = entry.range;
        insert.execute(params![
            gateway.as_str(),
            stream,
            from.cast_signed(),
            to.cast_signed(),
            greenhouse.as_str(),
            entry.since_ms,
            entry.gone_ms
        ])?;
    }
    Ok(())
}

fn loss_text(reason: LossReason) -> &'static str {
    match reason {
        LossReason::CapReached => "cap_reached",
        LossReason::Damaged => "damaged",
        LossReason::DiskFull => "disk_full",
    }
}

fn gap_row(row: &Row<'_>) -> Result<GapRow, rusqlite::Error> {
    let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    Ok(GapRow {
        greenhouse: row.get(0)?,
        gateway: row.get(1)?,
        stream: format!("{:016x}", row.get::<_, i64>(2)?),
        from_seq: unsigned(3)?,
        to_seq: unsigned(4)?,
        readings: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
        since_ms: row.get(6)?,
        reason: row.get(7)?,
        text: row.get(8)?,
    })
}
