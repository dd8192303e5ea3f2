//! Records that are not in the archive although they came: refused ones, with the reason, and those
//! that wait for a catalog, a mapping or a newer program. Both keep their bytes.

use bytes::Bytes;
use furrow_wire::{BootId, CatalogHash, CooperativeId, GatewayId, RecordName, Seq, StreamId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::change::{ParkReason, ParkedRecord};
use super::{ArchiveError, ArchiveReader, StoreError};

/// Refused records whose bytes are kept; of later ones only the reason is. At 64 KiB each, 640 MB.
const DEAD_BODIES_MAX: u32 = 10_000;

/// A refused record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number, ascending with the time of refusal.
    pub id: i64,
    /// Who sent it.
    pub gateway: GatewayId,
    /// Its name, if its header could be read.
    pub record: Option<RecordName>,
    /// Receive time in Unix milliseconds.
    pub received_unix_ms: i64,
    /// Why it was refused.
    pub reason: String,
    /// The bytes as they came; `None` where too many were kept already.
    pub bytes: Option<Bytes>,
}

impl ArchiveReader {
    /// Refused records, oldest first, from this number on and at most `limit`; of one gateway or of all.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn dead_letters(
        &self,
        cooperative: &CooperativeId,
        gateway: Option<&GatewayId>,
        first_id: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query = db.prepare_cached(
                "SELECT id, gateway, stream, seq, received_ms, reason, body FROM dead
                 WHERE id >= ?1 AND (?2 IS NULL OR gateway = ?2) ORDER BY id LIMIT ?3",
            )?;
            let gateway = gateway.map(GatewayId::as_str);
            let mut rows = query.query(params![first_id, gateway, limit])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push(dead_letter(row)?);
            }
            Ok(out)
        })
    }

    /// One refused record.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn dead_letter(
        &self,
        cooperative: &CooperativeId,
        id: i64,
    ) -> Result<Option<DeadLetter>, ArchiveError> {
        let found = self.dead_letters(cooperative, None, id, 1)?;
        Ok(found.into_iter().find(|letter| letter.id == id))
    }

    /// All records that wait, oldest first.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn parked(&self, cooperative: &CooperativeId) -> Result<Vec<ParkedRecord>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| parked(db))
    }

    /// The body of a catalog of a gateway.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn catalog(
        &self,
        cooperative: &CooperativeId,
        gateway: &GatewayId,
        hash: CatalogHash,
    ) -> Result<Option<Bytes>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query =
                db.prepare_cached("SELECT body FROM catalog WHERE gateway = ?1 AND hash = ?2")?;
            let key = params![gateway.as_str(), hash.0.cast_signed()];
            let body: Option<Vec<u8>> = query.query_row(key, |row| row.get(0)).optional()?;
            Ok(body.map(Bytes::from))
        })
    }
}

/// Takes a refused record out, if it is there with these bytes. Says whether it was.
pub(super) fn take_dead(db: &Connection, id: i64, bytes: &[u8]) -> Result<bool, StoreError> {
    let taken = db
        .prepare_cached("DELETE FROM dead WHERE id = ?1 AND body = ?2")?
        .execute(params![id, bytes])?;
    Ok(taken > 0)
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

pub(super) fn insert_parked(db: &Connection, parked: &ParkedRecord) -> Result<(), StoreError> {
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

fn dead_letter(row: &Row<'_>) -> Result<DeadLetter, StoreError> {
    let stream: Option<i64> = row.get(2)?;
    let seq: Option<i64> = row.get(3)?;
    let record = stream.zip(seq).map(|(stream, seq)| RecordName {
        stream: StreamId(stream.cast_unsigned()),
        seq: Seq(seq.cast_unsigned()),
    });
    Ok(DeadLetter {
        id: row.get(0)?,
        gateway: row.get::<_, String>(1)?.parse()?,
        record,
        received_unix_ms: row.get(4)?,
        reason: row.get(5)?,
        bytes: row.get::<_, Option<Vec<u8>>>(6)?.map(Bytes::from),
    })
}
