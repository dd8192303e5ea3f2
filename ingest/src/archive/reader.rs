//! Reading what has been committed, on connections of its own: the writer is never waited for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use furrow_wire::{CooperativeId, GatewayId, GreenhouseId, SeriesId};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::events::EventRow;
use super::query::{self, SeriesPoints};
use super::scan::{self, ExportRow, Scan};
use super::shared::{Latest, Shared};
use super::{ArchiveError, LogPosition, StoreError, file_of};

/// Most events, alerts or gaps in one answer; the newest are given.
pub const ROWS_MAX: u32 = 1000;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArchiveReader {
    cooperatives: Arc<BTreeMap<CooperativeId, Arc<Shared>>>,
    writable: Arc<AtomicBool>,
}

/// A greenhouse that a catalog named.
#[derive(Debug, Clone, PartialEq)]
pub struct Greenhouse {
    /// Its id.
    pub id: GreenhouseId,
    /// For people; may be empty.
    pub name: String,
    /// Zones as `[{id, name}]`.
    pub zones: Value,
}

/// Records of a gateway that are not readings in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAside {
    /// Refused.
    pub dead: u64,
    /// Waiting.
    pub parked: u64,
}

/// A message that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Its number; ascending with time.
    pub id: i64,
    /// When it was written, in Unix milliseconds.
    pub created_ms: i64,
    /// The JSON to send.
    pub body: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl ArchiveReader {
    pub(super) fn new(cooperatives: BTreeMap<CooperativeId, Arc<Shared>>) -> Self {
        let writable = Arc::new(AtomicBool::new(true));
        Self {
            cooperatives: Arc::new(cooperatives),
            writable,
        }
    }

    /// Reads the files in `dir` beside a running ingest, or without one. Knows no latest values.
    #[must_use]
    pub fn open_dir(dir: &Path, cooperatives: &[CooperativeId]) -> Self {
        let shared = |id: &CooperativeId| {
            let path = file_of(dir, id);
            (id.clone(), Arc::new(Shared::new(id.clone(), path)))
        };
        Self::new(cooperatives.iter().map(shared).collect())
    }

    /// Whether the writer's last transaction succeeded.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    pub(super) fn set_writable(&self, writable: bool) {
        self.writable.store(writable, Ordering::Release);
    }

    /// Which cooperatives are in service.
    pub fn cooperatives(&self) -> impl Iterator<Item = &CooperativeId> {
        let all = self.cooperatives.iter();
        all.filter(|(_, shared)| !shared.is_out())
            .map(|(cooperative, _)| cooperative)
    }

    /// How many cooperatives are not, since their file is damaged.
    #[must_use]
    pub fn out_of_service(&self) -> usize {
        self.cooperatives
            .values()
            .filter(|shared| shared.is_out())
            .count()
    }

    /// Newest values of a greenhouse's series, from memory.
    ///
    /// # Errors
    /// When the cooperative is unknown.
    pub fn latest(
        &self,
        cooperative: &CooperativeId,
        greenhouse: &GreenhouseId,
    ) -> Result<Vec<Latest>, ArchiveError> {
        Ok(self
            .shared(cooperative)?
            .latest(|series| series.greenhouse == *greenhouse))
    }

    /// Looks at every series of a cooperative, by greenhouse, device and channel. From memory; the writer waits
    /// meanwhile.
    ///
    /// # Errors
    /// When the cooperative is unknown.
    pub fn each_series(
        &self,
        cooperative: &CooperativeId,
        look: impl FnMut(&Latest),
    ) -> Result<(), ArchiveError> {
        self.shared(cooperative)?.visit_latest(look);
        Ok(())
    }

    /// Greenhouses that a catalog named.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn greenhouses(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<Greenhouse>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query =
                db.prepare_cached("SELECT greenhouse, name, zones FROM place ORDER BY greenhouse")?;
            let mut rows = query.query([])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push(Greenhouse {
                    id: row.get::<_, String>(0)?.parse()?,
                    name: row.get(1)?,
                    zones: serde_json::from_str(&row.get::<_, String>(2)?)?,
                });
            }
            Ok(out)
        })
    }

    /// Readings of `[from_ms, to_ms)`, down-sampled to about `points`; `None` if there is no such series.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn points(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        from_ms: i64,
        to_ms: i64,
        points: u32,
    ) -> Result<Option<SeriesPoints>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            query::points(db, series, from_ms, to_ms, points)
        })
    }

    /// Events of `[from_ms, to_ms)`, newest first, at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn events(
        &self,
        cooperative: &CooperativeId,
        greenhouse: &GreenhouseId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<EventRow>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query = db.prepare_cached(
                "SELECT time_ms, kind, zone, planting, device, run, cause, open_ms, millilitres,
                     reason, text
                 FROM event WHERE greenhouse = ?1 AND time_ms >= ?2 AND time_ms < ?3
                 ORDER BY time_ms DESC, id DESC LIMIT ?4",
            )?;
            let rows = query.query_map(
                params![greenhouse.as_str(), from_ms, to_ms, ROWS_MAX],
                |row| {
                    Ok(EventRow {
                        time_ms: row.get(0)?,
                        kind: row.get(1)?,
                        zone: row.get(2)?,
                        planting: row.get(3)?,
                        device: row.get(4)?,
                        run: row.get(5)?,
                        cause: row.get(6)?,
                        open_ms: row.get(7)?,
                        millilitres: row.get(8)?,
                        reason: row.get(9)?,
                        text: row.get(10)?,
                    })
                },
            )?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Alerts that began before `to_ms` and were not over at `from_ms`, newest first, at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn alerts(
        &self,
        cooperative: &CooperativeId,
        greenhouse: &GreenhouseId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Value>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query = db.prepare_cached(
                "SELECT id, rule, severity, device, channel, state, started_ms, ended_ms, value,
                     limit_value, fired_ms
                 FROM alert WHERE greenhouse = ?1 AND started_ms < ?3
                     AND (ended_ms IS NULL OR ended_ms >= ?2)
                 ORDER BY started_ms DESC, id DESC LIMIT ?4",
            )?;
            let rows = query.query_map(
                params![greenhouse.as_str(), from_ms, to_ms, ROWS_MAX],
                |row| {
                    Ok(json!({
                        "id": row.get::<_, i64>(0)?.to_string(),
                        "rule": row.get::<_, String>(1)?,
                        "severity": row.get::<_, String>(2)?,
                        "device": row.get::<_, String>(3)?,
                        "channel": row.get::<_, String>(4)?,
                        "state": row.get::<_, String>(5)?,
                        "started_ms": row.get::<_, i64>(6)?,
                        "ended_ms": row.get::<_, Option<i64>>(7)?,
                        "value": row.get::<_, Option<f64>>(8)?,
                        "limit": row.get::<_, Option<f64>>(9)?,
                        "fired_ms": row.get::<_, Option<i64>>(10)?,
                    }))
                },
            )?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Refused and waiting records per gateway.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn set_aside(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<BTreeMap<GatewayId, SetAside>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut out: BTreeMap<GatewayId, SetAside> = BTreeMap::new();
            count_by_gateway(
                db,
                "SELECT gateway, COUNT(*) FROM dead GROUP BY 1",
                |id, count| {
                    out.entry(id).or_default().dead = count;
                },
            )?;
            count_by_gateway(
                db,
                "SELECT gateway, COUNT(*) FROM parked GROUP BY 1",
                |id, count| {
                    out.entry(id).or_default().parked = count;
                },
            )?;
            Ok(out)
        })
    }

    /// Looks at every stored reading of every greenhouse: slow, and the truth.
    ///
    /// # Errors
    /// When the file can't be read or a blob is damaged.
    pub fn scan(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<BTreeMap<GreenhouseId, Scan>, ArchiveError> {
        self.shared(cooperative)?.with("scan", scan::scan)
    }

    /// Gives every reading of `[from_ms, to_ms)` of the wanted series, each series in ascending time; then up to which
    /// log entry that is complete.
    ///
    /// # Errors
    /// When the file can't be read, or what `take` answers.
    pub fn export<E: From<ArchiveError>>(
        &self,
        cooperative: &CooperativeId,
        wanted: impl Fn(&SeriesId) -> bool,
        (from_ms, to_ms): (i64, i64),
        mut take: impl FnMut(ExportRow<'_>) -> Result<(), E>,
    ) -> Result<Option<LogPosition>, E> {
        let shared = self.shared(cooperative)?;
        let mut refused = None;
        let exported = shared.with("read", |db| {
            let result = scan::export(db, wanted, from_ms, to_ms, |row| {
                take(row).map_err(|error| {
                    refused = Some(error);
                    Stopped::Taker
                })
            });
            match result {
                Ok(position) => Ok(position),
                Err(Stopped::Taker) => Ok(None),
                Err(Stopped::Store(error)) => Err(error),
            }
        });
        match refused {
            Some(error) => Err(error),
            None => Ok(exported?),
        }
    }

    /// The oldest messages that wait to be sent.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn outbox(
        &self,
        cooperative: &CooperativeId,
        at_most: u32,
    ) -> Result<Vec<OutboxMessage>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query = db.prepare_cached(
                "SELECT id, created_ms, body, attempts FROM outbox
                 WHERE sent_ms IS NULL AND given_up IS NULL ORDER BY id LIMIT ?1",
            )?;
            let rows = query.query_map(params![at_most], |row| {
                Ok(OutboxMessage {
                    id: row.get(0)?,
                    created_ms: row.get(1)?,
                    body: row.get(2)?,
                    attempts: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Writes down what became of a message.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn mark_message(
        &self,
        cooperative: &CooperativeId,
        id: i64,
        fate: &MessageFate,
    ) -> Result<(), ArchiveError> {
        self.shared(cooperative)?.with("write", |db| {
            match fate {
                MessageFate::Sent { now_ms } => db.execute(
                    "UPDATE outbox SET sent_ms = ?2, attempts = attempts + 1 WHERE id = ?1",
                    params![id, now_ms],
                )?,
                MessageFate::Failed => db.execute(
                    "UPDATE outbox SET attempts = attempts + 1 WHERE id = ?1",
                    params![id],
                )?,
                MessageFate::GivenUp { reason } => db.execute(
                    "UPDATE outbox SET given_up = ?2, attempts = attempts + 1 WHERE id = ?1",
                    params![id, reason],
                )?,
            };
            Ok(())
        })
    }

    pub(super) fn shared(&self, cooperative: &CooperativeId) -> Result<&Shared, ArchiveError> {
        match self.cooperatives.get(cooperative) {
            Some(shared) if shared.is_out() => Err(ArchiveError::OutOfService(cooperative.clone())),
            Some(shared) => Ok(shared),
            None => Err(ArchiveError::UnknownCooperative(cooperative.clone())),
        }
    }

    /// The writer's hold on it, damaged or not.
    pub(super) fn shared_arc(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Arc<Shared>, ArchiveError> {
        let shared = self.cooperatives.get(cooperative).cloned();
        shared.ok_or_else(|| ArchiveError::UnknownCooperative(cooperative.clone()))
    }
}

/// Why an export stopped.
enum Stopped {
    Store(StoreError),
    Taker,
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Stopped::Store(error)
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageFate {
    /// The receiver took it.
    Sent {
        /// When, in Unix milliseconds.
        now_ms: i64,
    },
    /// It will be tried again.
    Failed,
    /// It will not.
    GivenUp {
        /// Why.
        reason: String,
    },
}

fn count_by_gateway(
    db: &Connection,
    sql: &str,
    mut take: impl FnMut(GatewayId, u64),
) -> Result<(), StoreError> {
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        take(
            row.get::<_, String>(0)?.parse()?,
            row.get::<_, u32>(1)?.into(),
        );
    }
    Ok(())
}
