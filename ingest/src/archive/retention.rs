//! Giving up old readings, one resolution after the other.
//!
//! The writer sweeps in log order, by the receive time of entries and not by the machine's clock, so that a replay
//! comes to the same. A window goes as a whole, once all of it is behind the cut. First its readings: what is kept
//! longer is made of them then, however sparse they are, and the window is noted in `given_up`. Then its minutes and
//! quarters of an hour, at last its hours, and the note.
//!
//! Age is never refused. What comes late for a window that still has its readings, or never had any, is taken as
//! always, rolled up, and goes with the next sweep. What comes for a window that was given up is counted and not kept:
//! nobody can say any more whether its roll-ups have counted it before.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::change::Applied;
use super::codec::Block;
use super::damage::readable;
use super::flush::{LEVELS_MS, MINUTE_MS, force_rollup, seal};
use super::query::SeriesRow;
use super::series::Series;
use super::store::State;

/// Least time between two sweeps, by receive times: the shortest windows are an hour, the usual ones a day.
const SWEEP_EVERY_MS: i64 = 6 * 3_600_000;
/// Windows given up with one group of log entries, so that a first sweep of years does not hold up the log; the rest
/// goes with the next groups.
const SWEEP_WINDOWS_MAX: usize = 1024;

/// How long a cooperative's readings are kept, in milliseconds by resolution; `None`: for ever. What is finer is
/// never kept longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Readings themselves.
    pub readings_ms: Option<i64>,
    /// Roll-ups of one and of fifteen minutes.
    pub minutes_ms: Option<i64>,
    /// Roll-ups of an hour.
    pub hours_ms: Option<i64>,
}

impl Retention {
    fn of_level(self, level_ms: i64) -> Option<i64> {
        if level_ms < 60 * MINUTE_MS {
            self.minutes_ms
        } else {
            self.hours_ms
        }
    }

    /// Whether a level is kept longer than readings.
    fn outlives(self, level_ms: i64) -> bool {
        match (self.readings_ms, self.of_level(level_ms)) {
            (Some(readings), Some(level)) => level > readings,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

impl State {
    /// Gives up what is too old, if it is time. `received_ms` is the newest receive time of the entries that were just
    /// applied. A clock of this machine that is far ahead deletes nothing: the newest reading is the other limit.
    pub(super) fn sweep(
        &mut self,
        db: &Connection,
        received_ms: i64,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let turn = received_ms.div_euclid(SWEEP_EVERY_MS);
        if self.limits.retention == Retention::default() || self.swept >= Some(turn) {
            return Ok(());
        }
        let newest = self.series.iter().filter_map(|series| series.newest);
        let Some(newest_ms) = newest.map(|(time_ms, _, _)| time_ms).max() else {
            return Ok(());
        };
        let now_ms = received_ms.min(newest_ms);
        // What waits may be of a window that goes.
        let waiting = self.places.iter().filter(|(_, place)| place.rows > 0);
        let waiting: Vec<_> = waiting.map(|(greenhouse, _)| greenhouse.clone()).collect();
        for greenhouse in waiting {
            self.flush(db, &greenhouse)?;
        }
        let retention = self.limits.retention;
        let mut room = SWEEP_WINDOWS_MAX;
        for series in self.series.iter_mut() {
            room -= sweep_readings(db, series, retention, now_ms, room, applied)?;
            if room == 0 {
                return Ok(());
            }
            sweep_rollups(db, series, retention, now_ms)?;
        }
        db.prepare_cached("INSERT OR REPLACE INTO swept (one, turn) VALUES (1, ?1)")?
            .execute(params![turn])?;
        self.swept = Some(turn);
        Ok(())
    }

    /// What the file says of sweeps, for the writer's start.
    pub(super) fn load_sweeps(&mut self, db: &Connection) -> Result<(), StoreError> {
        // A reader may look at a file that no writer has opened since this program knows of sweeps.
        if !has_table(db, "given_up")? {
            return Ok(());
        }
        self.swept = db
            .query_row("SELECT turn FROM swept", [], |row| row.get(0))
            .optional()?;
        let mut query = db.prepare("SELECT series, MAX(window) FROM given_up GROUP BY series")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(series) = self.series.by_id_mut(row.get(0)?) {
                series.kept_from = row.get::<_, i64>(1)? + 1;
            }
        }
        Ok(())
    }
}

/// The first window that is not wholly behind the cut.
fn first_kept(series: &Series, now_ms: i64, keep_ms: i64) -> i64 {
    series.window(now_ms.saturating_sub(keep_ms))
}

/// Gives up readings of whole windows; says of how many.
fn sweep_readings(
    db: &Connection,
    series: &mut Series,
    retention: Retention,
    now_ms: i64,
    room: usize,
    applied: &mut Applied,
) -> Result<usize, StoreError> {
    let Some(keep_ms) = retention.readings_ms else {
        return Ok(0);
    };
    let before = first_kept(series, now_ms, keep_ms);
    let windows: Vec<i64> = db
        .prepare_cached(
            "SELECT window FROM chunk WHERE series = ?1 AND window < ?2
             UNION SELECT window FROM part WHERE series = ?1 AND window < ?2
             ORDER BY window LIMIT ?3",
        )?
        .query_map(
            params![series.id, before, i64::try_from(room).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    for window in &windows {
        if series.open.remove(window).is_some() {
            seal(db, series.id, *window)?;
        }
        keep_rollups(db, series.id, *window, retention)?;
        let count: Option<u32> = db
            .prepare_cached("DELETE FROM chunk WHERE series = ?1 AND window = ?2 RETURNING count")?
            .query_row(params![series.id, window], |row| row.get(0))
            .optional()?;
        db.prepare_cached("INSERT OR IGNORE INTO given_up (series, window) VALUES (?1, ?2)")?
            .execute(params![series.id, window])?;
        series.kept_from = series.kept_from.max(window + 1);
        series.known = None;
        applied.readings_given_up += u64::from(count.unwrap_or(0));
    }
    Ok(windows.len())
}

/// Makes the roll-ups of a sealed window that are to outlive it and are not there, since its readings are sparse.
fn keep_rollups(
    db: &Connection,
    series: i64,
    window: i64,
    retention: Retention,
) -> Result<(), StoreError> {
    let mut chunk: Option<Block> = None;
    for level_ms in LEVELS_MS
        .into_iter()
        .filter(|level_ms| retention.outlives(*level_ms))
    {
        let sql = if level_ms == MINUTE_MS {
            "SELECT 1 FROM minutes WHERE series = ?1 AND window = ?2 AND ?3 = 60000"
        } else {
            "SELECT 1 FROM rollup WHERE series = ?1 AND window = ?2 AND level_ms = ?3"
        };
        if db
            .prepare_cached(sql)?
            .exists(params![series, window, level_ms])?
        {
            continue;
        }
        if chunk.is_none() {
            let body: Option<Vec<u8>> = db
                .prepare_cached("SELECT body FROM chunk WHERE series = ?1 AND window = ?2")?
                .query_row(params![series, window], |row| row.get(0))
                .optional()?;
            chunk = body.and_then(|body| readable("block", Block::decode(&body)));
        }
        if let Some(chunk) = &chunk {
            force_rollup(db, series, window, level_ms, chunk)?;
        }
    }
    Ok(())
}

fn sweep_rollups(
    db: &Connection,
    series: &Series,
    retention: Retention,
    now_ms: i64,
) -> Result<(), StoreError> {
    if let Some(keep_ms) = retention.minutes_ms {
        let before = first_kept(series, now_ms, keep_ms);
        for sql in [
            "DELETE FROM minutes WHERE series = ?1 AND window < ?2",
            "DELETE FROM rollup WHERE series = ?1 AND level_ms = 900000 AND window < ?2",
        ] {
            db.prepare_cached(sql)?
                .execute(params![series.id, before])?;
        }
    }
    if let Some(keep_ms) = retention.hours_ms {
        let before = first_kept(series, now_ms, keep_ms);
        for sql in [
            "DELETE FROM rollup WHERE series = ?1 AND level_ms = 3600000 AND window < ?2",
            // Nothing is left that could be counted twice.
            "DELETE FROM given_up WHERE series = ?1 AND window < ?2",
        ] {
            db.prepare_cached(sql)?
                .execute(params![series.id, before])?;
        }
    }
    Ok(())
}

/// Whether the readings of the window that a time lies in were given up.
pub(super) fn is_behind(
    db: &Connection,
    series: &Series,
    time_ms: i64,
) -> Result<bool, StoreError> {
    let window = series.window(time_ms);
    // Usually nothing was, and the file is not asked.
    if window >= series.kept_from {
        return Ok(false);
    }
    is_given_up(db, series.id, window)
}

/// Whether a window's readings were given up.
pub(super) fn is_given_up(db: &Connection, series: i64, window: i64) -> Result<bool, StoreError> {
    if !has_table(db, "given_up")? {
        return Ok(false);
    }
    let found = db
        .prepare_cached("SELECT 1 FROM given_up WHERE series = ?1 AND window = ?2")?
        .exists(params![series, window])?;
    Ok(found)
}

/// Windows between two, both included, of which the readings were given up.
pub(super) fn given_up(
    db: &Connection,
    series: &SeriesRow,
    first: i64,
    last: i64,
) -> Result<BTreeSet<i64>, StoreError> {
    if !has_table(db, "given_up")? {
        return Ok(BTreeSet::new());
    }
    let mut query = db.prepare_cached(
        "SELECT window FROM given_up WHERE series = ?1 AND window BETWEEN ?2 AND ?3",
    )?;
    let windows = query.query_map(params![series.id, first, last], |row| row.get(0))?;
    Ok(windows.collect::<Result<_, _>>()?)
}

/// The finest resolution, in milliseconds, in which everything that is left between two windows can be said; `None`
/// where no readings were given up.
pub(super) fn finest_left(
    db: &Connection,
    series: &SeriesRow,
    first: i64,
    last: i64,
) -> Result<Option<i64>, StoreError> {
    let mut gone = given_up(db, series, first, last)?;
    let mut finest = None;
    for level_ms in LEVELS_MS {
        if gone.is_empty() {
            break;
        }
        let sql = if level_ms == MINUTE_MS {
            "SELECT window FROM minutes WHERE series = ?1 AND window BETWEEN ?2 AND ?3 AND ?4 = 60000"
        } else {
            "SELECT window FROM rollup WHERE series = ?1 AND window BETWEEN ?2 AND ?3 AND level_ms = ?4"
        };
        let mut query = db.prepare_cached(sql)?;
        let windows =
            query.query_map(params![series.id, first, last, level_ms], |row| row.get(0))?;
        for window in windows {
            if gone.remove(&window?) {
                finest = Some(level_ms);
            }
        }
    }
    Ok(finest)
}

fn has_table(db: &Connection, name: &str) -> Result<bool, StoreError> {
    let found = db
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists(params![name])?;
    Ok(found)
}

#[cfg(test)]
mod tests;
