//! How far a forwarder is, in a file of its own.
//!
//! Beside its place in the log the file holds what is needed to go on from there without the archive: catalogs, clock
//! mappings and waiting records as they were at that place. The archive is further by then: what waited may have
//! come out there, and would never be forwarded. It also holds what the store refused for good.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use furrow_ingest_core::GatewayKey;
use furrow_wire::{ClockMapping, CooperativeId, RecordName, Seq, SeriesId, StreamId};
use rusqlite::{Connection, OpenFlags, params};

use super::tables::{
    Keep, TABLES, collect, put, put_catalog, put_cursor, put_mapping, put_parked, put_refused,
    reason_of,
};
use crate::archive::{Known, LogEntry, LogPosition, ParkedRecord};
use crate::decode::Decoder;
use crate::store::Refused;

/// How long a reader of the file waits for the forwarder's write.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
pub(super) const FILE: &str = "state.sqlite";

/// Why the state can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder can't be had.
    #[error("can't make the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// SQLite's word.
    #[error("forwarder's state can't be used")]
    Sqlite(#[from] rusqlite::Error),
    /// Another process reads the file, and keeps what is deleted in it from leaving the disk.
    #[error("forwarder's state is being read by another process")]
    Busy,
    /// A stored id does not parse.
    #[error("forwarder's state holds a malformed id")]
    Id(#[from] furrow_wire::IdError),
}

/// A reading that a store refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedReading {
    /// Its number, ascending with the time of refusal.
    pub id: i64,
    /// Whose.
    pub cooperative: CooperativeId,
    /// Of which series: `greenhouse/device/channel`.
    pub series: String,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// As text; `None` where its quality carries none.
    pub value: Option<String>,
    /// Its quality.
    pub quality: String,
    /// The store's word.
    pub reason: String,
}

/// How far a forwarder is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardStatus {
    /// The last entry of each cooperative that the store has, and when that was received, in Unix milliseconds.
    pub cursors: Vec<(CooperativeId, LogPosition, Option<i64>)>,
    /// Cooperatives that are still copied from the archive, and the last series done.
    pub copying: Vec<(CooperativeId, Option<String>)>,
    /// Readings ever refused.
    pub refused: u64,
}

/// Entries of a cooperative that a store has taken, and what is needed to go on behind them.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) cooperative: CooperativeId,
    position: LogPosition,
    chain: u32,
    received_ms: Option<i64>,
    keeps: Vec<Keep>,
    refused: Vec<Refused>,
}

impl Step {
    /// Of entries in the log's order; `None` if there are none.
    pub(super) fn of(
        cooperative: &CooperativeId,
        entries: &[&LogEntry],
        refused: Vec<Refused>,
    ) -> Option<Self> {
        let last = entries.last()?;
        let mut keeps = Vec::new();
        let mut received_ms = None;
        for change in entries.iter().flat_map(|entry| &entry.changes) {
            received_ms = received_ms.max(collect(change, &mut keeps));
        }
        Some(Self {
            cooperative: cooperative.clone(),
            position: last.position,
            chain: last.chain,
            received_ms,
            keeps,
            refused,
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) db: Connection,
    pub(super) cursors: BTreeMap<CooperativeId, Cursor>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    position: LogPosition,
    chain: Option<u32>,
}

/// Reads a forwarder's state beside the running one; `None`: there never was one.
///
/// # Errors
/// [`StateError`].
pub fn status_of(folder: &Path) -> Result<Option<ForwardStatus>, StateError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    let mut query = db.prepare(
        "SELECT cooperative, segment, position, received_ms FROM cursor ORDER BY cooperative",
    )?;
    let mut rows = query.query([])?;
    let mut status = ForwardStatus::default();
    while let Some(row) = rows.next()? {
        let position = LogPosition {
            segment: row.get::<_, i64>(1)?.cast_unsigned(),
            offset: row.get(2)?,
        };
        let cooperative = row.get::<_, String>(0)?.parse()?;
        status.cursors.push((cooperative, position, row.get(3)?));
    }
    status.copying = copying(&db)?;
    let refused: Option<i64> = db.query_row("SELECT MAX(id) FROM refused", [], |row| row.get(0))?;
    status.refused = refused.unwrap_or(0).unsigned_abs();
    Ok(Some(status))
}

impl State {
    pub(super) fn open(folder: &Path) -> Result<Self, StateError> {
        std::fs::create_dir_all(folder).map_err(|source| StateError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let db = Connection::open(folder.join(FILE))?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // What a power cut takes back is forwarded once more.
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.execute_batch(TABLES)?;
        let cursors = load_cursors(&db)?;
        Ok(Self { db, cursors })
    }

    pub(super) fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        Some(self.cursors.get(cooperative)?.position)
    }

    /// When the newest reading that the store has was received, Unix milliseconds.
    pub(super) fn received_ms(&self) -> Result<Option<i64>, StateError> {
        let newest = "SELECT MAX(received_ms) FROM cursor";
        Ok(self.db.query_row(newest, [], |row| row.get(0))?)
    }

    pub(super) fn chain(&self, cooperative: &CooperativeId) -> Option<u32> {
        self.cursors.get(cooperative)?.chain
    }

    /// Everything is as the archive knows it, and all of these cooperatives are to be copied.
    pub(super) fn seed(
        &mut self,
        seeds: &BTreeMap<CooperativeId, Known>,
    ) -> Result<(), StateError> {
        let transaction = self.db.transaction()?;
        for table in ["cursor", "copying", "catalog", "mapping", "parked"] {
            transaction.execute(&format!("DELETE FROM {table}"), [])?;
        }
        for (cooperative, seed) in seeds {
            transaction.execute(
                "INSERT INTO copying (cooperative) VALUES (?1)",
                params![cooperative.as_str()],
            )?;
            if let Some(position) = seed.position {
                put_cursor(&transaction, cooperative, position, seed.chain, None)?;
            }
            for (gateway, hash, body) in &seed.catalogs {
                put_catalog(&transaction, cooperative, gateway, *hash, body)?;
            }
            for (gateway, mapping) in &seed.mappings {
                put_mapping(&transaction, cooperative, gateway, mapping)?;
            }
            for parked in &seed.parked {
                put_parked(&transaction, cooperative, parked)?;
            }
        }
        transaction.commit()?;
        self.cursors = load_cursors(&self.db)?;
        Ok(())
    }

    /// Cooperatives that are still to be copied from the archive, with the last series done.
    pub(super) fn copying(&self) -> Result<Vec<(CooperativeId, Option<String>)>, StateError> {
        copying(&self.db)
    }

    /// A cooperative is to be copied from the archive as well.
    pub(super) fn begin_copy(&mut self, cooperative: &CooperativeId) -> Result<(), StateError> {
        self.db.execute(
            "INSERT OR IGNORE INTO copying (cooperative) VALUES (?1)",
            params![cooperative.as_str()],
        )?;
        Ok(())
    }

    /// The last series of a cooperative that was copied.
    pub(super) fn copied(&self, cooperative: &CooperativeId) -> Result<Option<String>, StateError> {
        let all = copying(&self.db)?;
        let of = all.into_iter().find(|(id, _)| id == cooperative);
        Ok(of.and_then(|(_, done)| done))
    }

    /// The copy of a cooperative goes on into this incarnation of the store: what went into another one may be lost.
    pub(super) fn copy_into(
        &mut self,
        cooperative: &CooperativeId,
        incarnation: Option<u64>,
    ) -> Result<(), StateError> {
        let incarnation = incarnation.map(u64::cast_signed);
        self.db.execute(
            "UPDATE copying SET done = NULL WHERE cooperative = ?1 AND incarnation IS NOT ?2",
            params![cooperative.as_str(), incarnation],
        )?;
        self.db.execute(
            "UPDATE copying SET incarnation = ?2 WHERE cooperative = ?1",
            params![cooperative.as_str(), incarnation],
        )?;
        Ok(())
    }

    /// A series of a cooperative that is being copied is done.
    pub(super) fn set_copied(
        &mut self,
        cooperative: &CooperativeId,
        series: &SeriesId,
    ) -> Result<(), StateError> {
        self.db.execute(
            "UPDATE copying SET done = ?2 WHERE cooperative = ?1",
            params![cooperative.as_str(), series.to_string()],
        )?;
        Ok(())
    }

    /// A cooperative needs nothing from the archive any more.
    pub(super) fn end_copy(&mut self, cooperative: &CooperativeId) -> Result<(), StateError> {
        self.db.execute(
            "DELETE FROM copying WHERE cooperative = ?1",
            params![cooperative.as_str()],
        )?;
        Ok(())
    }

    /// The store has taken this; it stands in memory only.
    pub(super) fn note(&mut self, step: &Step) {
        let (position, chain) = (step.position, Some(step.chain));
        let cursor = Cursor { position, chain };
        self.cursors.insert(step.cooperative.clone(), cursor);
    }

    /// The store will not forget this any more.
    pub(super) fn keep(&mut self, step: &Step) -> Result<(), StateError> {
        let transaction = self.db.transaction()?;
        let cooperative = &step.cooperative;
        for keep in &step.keeps {
            put(&transaction, cooperative, keep)?;
        }
        for one in &step.refused {
            put_refused(&transaction, cooperative, one)?;
        }
        let (position, chain) = (step.position, Some(step.chain));
        put_cursor(&transaction, cooperative, position, chain, step.received_ms)?;
        Ok(transaction.commit()?)
    }

    /// Forgets what stands in memory only.
    pub(super) fn rewind(&mut self) -> Result<(), StateError> {
        self.cursors = load_cursors(&self.db)?;
        Ok(())
    }

    /// The store refused readings of a copy.
    pub(super) fn keep_refused(
        &mut self,
        cooperative: &CooperativeId,
        refused: &[Refused],
    ) -> Result<(), StateError> {
        let transaction = self.db.transaction()?;
        for one in refused {
            put_refused(&transaction, cooperative, one)?;
        }
        Ok(transaction.commit()?)
    }

    /// Puts everything on the disk.
    pub(super) fn make_durable(&self) -> Result<(), StateError> {
        self.db
            .query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))?;
        Ok(())
    }

    /// A decoder learns what was known at the cursors.
    pub(super) fn restore(&self, decoder: &mut Decoder) -> Result<(), StateError> {
        let key = |cooperative: String, gateway: String| -> Result<GatewayKey, StateError> {
            Ok(GatewayKey {
                cooperative: cooperative.parse()?,
                gateway: gateway.parse()?,
            })
        };
        let mut query = self
            .db
            .prepare("SELECT cooperative, gateway, body FROM catalog")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(2)?;
            decoder.restore_catalog(&key(row.get(0)?, row.get(1)?)?, &body.into());
        }
        let mut query = self
            .db
            .prepare("SELECT cooperative, gateway, body FROM mapping")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            // What this very program encoded.
            if let Ok(mapping) = ClockMapping::decode(&row.get::<_, Vec<u8>>(2)?) {
                decoder.restore_mapping(&key(row.get(0)?, row.get(1)?)?, mapping);
            }
        }
        let mut query = self.db.prepare(
            "SELECT cooperative, gateway, stream, seq, waits_for, waits_id, received_ms, body
             FROM parked ORDER BY received_ms, stream, seq",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key = key(row.get(0)?, row.get(1)?)?;
            let parked = ParkedRecord {
                gateway: key.gateway.clone(),
                record: RecordName {
                    stream: StreamId(row.get::<_, i64>(2)?.cast_unsigned()),
                    seq: Seq(row.get::<_, i64>(3)?.cast_unsigned()),
                },
                reason: reason_of(&row.get::<_, String>(4)?, row.get::<_, i64>(5)?),
                received_unix_ms: row.get(6)?,
                bytes: row.get::<_, Vec<u8>>(7)?.into(),
            };
            decoder.restore_parked(&key, parked);
        }
        Ok(())
    }
}

/// The newest refused readings of a forwarder, newest first.
///
/// # Errors
/// [`StateError`].
pub fn refused_of(folder: &Path, at_most: u32) -> Result<Vec<RefusedReading>, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = Connection::open_with_flags(folder.join(FILE), flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    refused(&db, at_most)
}

fn refused(db: &Connection, at_most: u32) -> Result<Vec<RefusedReading>, StateError> {
    let mut query = db.prepare(
        "SELECT id, cooperative, series, time_ms, value, quality, reason FROM refused
         ORDER BY id DESC LIMIT ?1",
    )?;
    let mut rows = query.query(params![at_most])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(RefusedReading {
            id: row.get(0)?,
            cooperative: row.get::<_, String>(1)?.parse()?,
            series: row.get(2)?,
            time_ms: row.get(3)?,
            value: row.get(4)?,
            quality: row.get(5)?,
            reason: row.get(6)?,
        });
    }
    Ok(out)
}

fn load_cursors(db: &Connection) -> Result<BTreeMap<CooperativeId, Cursor>, StateError> {
    let mut query = db.prepare("SELECT cooperative, segment, position, chain FROM cursor")?;
    let mut rows = query.query([])?;
    let mut cursors = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let position = LogPosition {
            segment: row.get::<_, i64>(1)?.cast_unsigned(),
            offset: row.get(2)?,
        };
        let chain = row.get(3)?;
        let cooperative = row.get::<_, String>(0)?.parse()?;
        cursors.insert(cooperative, Cursor { position, chain });
    }
    Ok(cursors)
}

fn copying(db: &Connection) -> Result<Vec<(CooperativeId, Option<String>)>, StateError> {
    let mut query = db.prepare("SELECT cooperative, done FROM copying ORDER BY cooperative")?;
    let mut rows = query.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push((row.get::<_, String>(0)?.parse()?, row.get(1)?));
    }
    Ok(out)
}
