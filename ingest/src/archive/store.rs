//! One cooperative's file and what its writer keeps in memory beside it.
//!
//! Memory is only a copy: after a failed transaction it is thrown away and read again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use furrow_wire::{CooperativeId, GreenhouseId, Quality, SeriesId};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::codec::block::scale_factor;
use super::codec::pending::read_pending;
use super::damage::readable;
use super::retention::Retention;
use super::series::{OpenWindow, Series, SeriesTable, rules_for};
use super::{Applied, LiveHub, LogEntry, LogPosition, Shared, StoreError, schema};
use crate::alerting::{AlertRule, Evaluator};

/// The writer's side of one cooperative.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    pub(super) state: State,
    shared: Arc<Shared>,
    /// Errors of the disk in a row.
    disk_errors: u32,
}

/// Errors of the disk in a row after which a file counts as damaged: about ten seconds of tries. One file's bad
/// sectors must not hold up all others for ever.
const DISK_ERRORS_MAX: u32 = 20;

/// What the writer knows without asking the file.
#[derive(Debug)]
pub(super) struct State {
    pub(super) cooperative: CooperativeId,
    pub(super) position: Option<LogPosition>,
    /// Checksum over the log up to there, if the program that applied the last entry knew of it.
    pub(super) chain: Option<u32>,
    pub(super) series: SeriesTable,
    pub(super) places: BTreeMap<GreenhouseId, Place>,
    pub(super) rules: Arc<[AlertRule]>,
    pub(super) alerts: Evaluator,
    pub(super) limits: Limits,
    /// The last turn of sweeping that is done.
    pub(super) swept: Option<i64>,
    /// Series whose newest reading changed in this transaction.
    pub(super) touched: Vec<usize>,
    /// Series that may have [`Series::known`].
    pub(super) remembering: BTreeSet<usize>,
    /// Events of this transaction, for subscribers.
    pub(super) happened: Vec<super::live::LiveMessage>,
}

/// How much waits before it is put in order. Tests use small ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rows of a greenhouse that may wait before they become blocks: bounds what a reader must look through.
    pub(super) pending_rows: usize,
    /// Bytes of a greenhouse that may wait before they become blocks.
    pub(super) pending_bytes: usize,
    /// Parts of a window before they are merged: each flush brings about an hour of readings.
    pub(super) parts: u32,
    /// How long readings are kept.
    pub(super) retention: Retention,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_rows: 128,
            pending_bytes: 128 << 10,
            parts: 8,
            retention: Retention::default(),
        }
    }
}

/// A greenhouse, and how much of it is not yet in blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) id: i64,
    pub(super) next: i64,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Store {
    pub(super) fn open(
        path: &Path,
        cooperative: &CooperativeId,
        rules: Arc<[AlertRule]>,
        limits: Limits,
        shared: Arc<Shared>,
    ) -> Result<Self, StoreError> {
        let db = schema::open_writer(path, cooperative)?;
        let state = State::load(&db, cooperative, rules, limits)?;
        schema::size_cache(&db, state.places.len())?;
        let store = Self {
            db,
            state,
            shared,
            disk_errors: 0,
        };
        store.publish_all();
        Ok(store)
    }

    /// Applies entries in one transaction; after an error memory is as it was before.
    pub(super) fn apply(
        &mut self,
        entries: &[LogEntry],
        live: &LiveHub,
    ) -> Result<Applied, StoreError> {
        let result = self.try_apply(entries);
        match &result {
            Ok(_) => self.publish(live),
            Err(_) => self.reload()?,
        }
        result
    }

    /// It took what it was given; no reason to give up.
    pub(super) fn took(&mut self) -> bool {
        self.disk_errors = 0;
        false
    }

    /// It did not; says whether trying again is no use.
    pub(super) fn failed(&mut self, error: &StoreError) -> bool {
        self.disk_errors += u32::from(error.is_of_disk());
        error.is_damage() || self.disk_errors >= DISK_ERRORS_MAX
    }

    /// Reads again what memory is a copy of.
    pub(super) fn reload(&mut self) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.state.rules);
        let (owner, limits) = (self.state.cooperative.clone(), self.state.limits);
        self.state = State::load(&self.db, &owner, rules, limits)?;
        Ok(())
    }

    /// The file and its copy in memory, for one transaction.
    pub(super) fn parts(&mut self) -> (&mut Connection, &mut State) {
        (&mut self.db, &mut self.state)
    }

    fn try_apply(&mut self, entries: &[LogEntry]) -> Result<Applied, StoreError> {
        let Self { db, state, .. } = self;
        let mut applied = Applied::default();
        let fresh: Vec<&LogEntry> = entries
            .iter()
            .filter(|entry| Some(entry.position) > state.position)
            .collect();
        applied.entries_skipped = (entries.len() - fresh.len()) as u64;
        let last = fresh.iter().max_by_key(|entry| entry.position);
        let Some((position, chain)) = last.map(|entry| (entry.position, entry.chain)) else {
            return Ok(applied);
        };
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in fresh.iter().flat_map(|entry| &entry.changes) {
            state.apply_change(&transaction, change, &mut applied)?;
        }
        if let Some(received_ms) = fresh.iter().filter_map(|entry| entry.received_ms()).max() {
            state.sweep(&transaction, received_ms, &mut applied)?;
        }
        state.alerts.save(&transaction, &mut applied)?;
        transaction
            .prepare_cached("UPDATE about SET segment = ?1, position = ?2")?
            .execute(params![position.segment.cast_signed(), position.offset])?;
        // Beside the position, which a program that does not know the chain moves alone.
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO applied (one, segment, position, chain) VALUES (1, ?1, ?2, ?3)",
            )?
            .execute(params![
                position.segment.cast_signed(),
                position.offset,
                chain
            ])?;
        transaction.commit()?;
        (state.position, state.chain) = (Some(position), Some(chain));
        Ok(applied)
    }

    /// Lets readers see the newest values, and tells subscribers. Only after the commit.
    pub(super) fn publish(&mut self, live: &LiveHub) {
        let mut touched = std::mem::take(&mut self.state.touched);
        for index in &touched {
            if let Some(series) = self.state.series.get_mut(*index) {
                series.is_touched = false;
            }
        }
        touched.extend(self.state.series.take_changed());
        touched.sort_unstable();
        touched.dedup();
        let mut happened = std::mem::take(&mut self.state.happened);
        happened.append(&mut self.state.alerts.take_live());
        let newest: Vec<_> = touched
            .iter()
            .filter_map(|index| self.state.series.get(*index))
            .collect();
        self.shared.put_latest(newest.iter().copied());
        if !live.has_listeners(&self.state.cooperative) {
            return;
        }
        for message in newest.iter().filter_map(|series| series.latest().message()) {
            live.send(&self.state.cooperative, message);
        }
        for message in happened {
            live.send(&self.state.cooperative, message);
        }
    }

    fn publish_all(&self) {
        self.shared.put_latest(self.state.series.iter());
    }

    /// Puts everything committed on the disk. Never waits for readers: an export or a backup of a large file may take
    /// minutes, and the writer has other cooperatives to serve.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        let (busy, in_log, moved): (i64, i64, i64) =
            self.db
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
        if busy == 0 && in_log == moved {
            return Ok(());
        }
        // What a reader's snapshot keeps from being moved stays in the log of changes: that is synced as it is.
        self.shared
            .sync_changes()
            .map_err(|source| StoreError::Sync {
                path: self.shared.changes_path(),
                source,
            })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }
}

impl State {
    /// Reads everything that the writer knows without asking the file.
    pub(super) fn load(
        db: &Connection,
        cooperative: &CooperativeId,
        rules: Arc<[AlertRule]>,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let mut state = Self {
            cooperative: cooperative.clone(),
            position: load_position(db)?,
            chain: load_chain(db)?,
            series: SeriesTable::default(),
            places: load_places(db)?,
            alerts: Evaluator::load(db, cooperative, Arc::clone(&rules))?,
            rules,
            limits,
            swept: None,
            touched: Vec::new(),
            remembering: BTreeSet::new(),
            happened: Vec::new(),
        };
        load_series(db, &mut state)?;
        load_open_windows(db, &mut state)?;
        load_pending(db, &mut state)?;
        state.load_sweeps(db)?;
        Ok(state)
    }
}

/// The last applied entry.
pub(super) fn load_position(db: &Connection) -> Result<Option<LogPosition>, StoreError> {
    let row: Option<(Option<i64>, Option<u32>)> = db
        .query_row("SELECT segment, position FROM about", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(match row {
        Some((Some(segment), Some(offset))) => Some(LogPosition {
            segment: segment.cast_unsigned(),
            offset,
        }),
        Some(_) | None => None,
    })
}

/// The checksum over the log up to the last applied entry.
pub(super) fn load_chain(db: &Connection) -> Result<Option<u32>, StoreError> {
    let chain = db.query_row(
        "SELECT chain FROM applied JOIN about USING (one, segment, position)",
        [],
        |row| row.get(0),
    );
    Ok(chain.optional()?)
}

fn load_places(db: &Connection) -> Result<BTreeMap<GreenhouseId, Place>, StoreError> {
    let mut query = db.prepare(
        "SELECT greenhouse, id, COUNT(n), COALESCE(SUM(LENGTH(body)), 0), COALESCE(MAX(n) + 1, 0)
         FROM place LEFT JOIN pending ON place = id GROUP BY id",
    )?;
    let mut rows = query.query([])?;
    let mut places = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let greenhouse: String = row.get(0)?;
        let (rows, bytes): (i64, i64) = (row.get(2)?, row.get(3)?);
        let place = Place {
            id: row.get(1)?,
            next: row.get(4)?,
            rows: usize::try_from(rows).unwrap_or(usize::MAX),
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        places.insert(greenhouse.parse()?, place);
    }
    Ok(places)
}

fn load_series(db: &Connection, state: &mut State) -> Result<(), StoreError> {
    let mut query = db.prepare(
        "SELECT id, greenhouse, device, channel, unit, exponent, first_exponent, interval_ms,
             window_ms, device_name, newest_ms, newest, quality, good_ms, good, channel_name
         FROM series ORDER BY id",
    )?;
    let mut rows = query.query([])?;
    let mut texts = Texts::default();
    let (mut greenhouses, mut devices) = (BTreeMap::new(), BTreeMap::new());
    let mut channels = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let name = SeriesId {
            greenhouse: once(&mut greenhouses, row.get(1)?)?,
            device: once(&mut devices, row.get(2)?)?,
            channel: once(&mut channels, row.get(3)?)?,
        };
        let newest: (Option<i64>, Option<i64>, Option<u8>) =
            (row.get(10)?, row.get(11)?, row.get(12)?);
        let good: (Option<i64>, Option<i64>) = (row.get(13)?, row.get(14)?);
        let rules = rules_for(&state.rules, &name);
        state.series.add(Series {
            id: row.get(0)?,
            name,
            unit: texts.get(row.get(4)?),
            exponent: row.get(5)?,
            first_exponent: row.get(6)?,
            interval_ms: row.get(7)?,
            window_ms: row.get(8)?,
            device_name: texts.get(row.get(9)?),
            channel_name: texts.get(row.get(15)?),
            newest: match newest {
                (Some(time), Some(value), Some(code)) => {
                    Quality::from_code(code).map(|quality| (time, value, quality))
                }
                _ => None,
            },
            good: good.0.zip(good.1),
            open: BTreeMap::new(),
            known: None,
            kept_from: i64::MIN,
            is_touched: false,
            rules,
        });
    }
    Ok(())
}

/// Texts that many series have: one copy each.
#[derive(Default)]
struct Texts(BTreeSet<Arc<str>>);

impl Texts {
    fn get(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.0.get(text.as_str()) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// The id that a text is: one copy for all series.
fn once<I: FromStr + Clone>(known: &mut BTreeMap<String, I>, text: String) -> Result<I, I::Err> {
    if let Some(id) = known.get(&text) {
        return Ok(id.clone());
    }
    let id: I = text.parse()?;
    known.insert(text, id.clone());
    Ok(id)
}

fn load_open_windows(db: &Connection, state: &mut State) -> Result<(), StoreError> {
    let mut query =
        db.prepare("SELECT series, window, COUNT(*), MAX(n) FROM part GROUP BY series, window")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let open = OpenWindow {
            parts: row.get(2)?,
            next_part: row.get::<_, i64>(3)? + 1,
        };
        if let Some(series) = state.series.by_id_mut(row.get(0)?) {
            series.open.insert(row.get(1)?, open);
        }
    }
    Ok(())
}

/// What is pending is newer than what the series' rows say.
fn load_pending(db: &Connection, state: &mut State) -> Result<(), StoreError> {
    let mut query = db.prepare("SELECT body FROM pending ORDER BY place, n")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let table = &mut state.series;
        let body = row.get_ref(0)?.as_blob().unwrap_or_default();
        let read = read_pending(
            body,
            |_| true,
            |id, block| {
                let Some(series) = table.by_id_mut(id) else {
                    return Ok(());
                };
                let factor = scale_factor(block.exponent, series.exponent).unwrap_or(1);
                for (time, mantissa, quality) in block.iter() {
                    series.note(time, mantissa.saturating_mul(factor), quality);
                }
                Ok(())
            },
        );
        readable("batch", read);
    }
    Ok(())
}
