//! From rows by batch to blocks by series.
//!
//! 1. A greenhouse's pending rows become one part per series and window.
//! 2. Parts of the newest window are merged now and then, so that readers find few.
//! 3. A window that is no longer the newest, and that got nothing in this flush, is sealed: its parts and its old chunk
//!    become one dense chunk, and its roll-ups are computed from that chunk.
//!
//! So a chunk's roll-ups always agree with it, and a window that late data touched has parts until it is
//! sealed again: readers ask parts and chunk there, never the roll-ups.

use std::collections::{BTreeMap, BTreeSet};

use furrow_wire::GreenhouseId;
use rusqlite::{Connection, params};

use super::StoreError;
use super::codec::pending::read_pending;
use super::codec::rollup::Rollup;
use super::codec::{Block, Density};
use super::damage::set_aside;
use super::store::State;

/// Levels of roll-ups, in milliseconds, each a multiple of the one before. A quarter of an hour is
/// what a month's chart is made of.
pub(super) const LEVELS_MS: [i64; 3] = [MINUTE_MS, 15 * MINUTE_MS, 60 * MINUTE_MS];
/// The finest level; it has a table of its own.
pub(super) const MINUTE_MS: i64 = 60_000;
/// Readings that a bucket must hold on average for a level to be worth its bytes.
const READINGS_PER_BUCKET_MIN: usize = 2;

impl State {
    /// See the module.
    pub(super) fn flush(
        &mut self,
        db: &Connection,
        greenhouse: &GreenhouseId,
    ) -> Result<(), StoreError> {
        let Some(place) = self.places.get_mut(greenhouse) else {
            return Ok(());
        };
        let mut blocks: BTreeMap<i64, Block> = BTreeMap::new();
        let mut query =
            db.prepare_cached("SELECT body FROM pending WHERE place = ?1 ORDER BY n")?;
        let mut rows = query.query(params![place.id])?;
        while let Some(row) = rows.next()? {
            let body = row.get_ref(0)?.as_blob().unwrap_or_default();
            let read = read_pending(
                body,
                |_| true,
                |series, block| blocks.entry(series).or_default().extend(block),
            );
            if let Err(error) = read {
                set_aside(db, "batch", &error, body)?;
            }
        }
        db.prepare_cached("DELETE FROM pending WHERE place = ?1")?
            .execute(params![place.id])?;
        (place.rows, place.bytes, place.next) = (0, 0, 0);
        for (id, mut block) in blocks {
            warn_duplicates(id, block.sort());
            let Some(index) = self.series.index_of_id(id) else {
                continue;
            };
            let windows = self.write_parts(db, index, block)?;
            self.write_newest(db, index)?;
            self.tidy(db, index, &windows)?;
        }
        Ok(())
    }

    /// Writes a sorted block as parts; gives the windows it touched.
    pub(super) fn write_parts(
        &mut self,
        db: &Connection,
        index: usize,
        mut block: Block,
    ) -> Result<BTreeSet<i64>, StoreError> {
        let mut windows = BTreeSet::new();
        let Some(series) = self.series.get_mut(index) else {
            return Ok(windows);
        };
        while let Some(time) = block.times.first() {
            let window = series.window(*time);
            let end = block
                .times
                .partition_point(|time| series.window(*time) == window);
            let later = block.split_off(end);
            let part = std::mem::replace(&mut block, later);
            let open = series.open.entry(window).or_default();
            insert_part(db, series.id, window, open.next_part, &part)?;
            open.parts += 1;
            open.next_part += 1;
            windows.insert(window);
        }
        Ok(windows)
    }

    /// What the pending rows said of the newest reading now stands with the series.
    pub(super) fn write_newest(&self, db: &Connection, index: usize) -> Result<(), StoreError> {
        let Some(series) = self.series.get(index) else {
            return Ok(());
        };
        let newest = series.newest;
        db.prepare_cached(
            "UPDATE series SET newest_ms = ?2, newest = ?3, quality = ?4, good_ms = ?5, good = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            series.id,
            newest.map(|(time, _, _)| time),
            newest.map(|(_, mantissa, _)| mantissa),
            newest.map(|(_, _, quality)| quality.code()),
            series.good.map(|(time, _)| time),
            series.good.map(|(_, mantissa)| mantissa),
        ])?;
        Ok(())
    }

    /// Merges or seals windows that have parts.
    pub(super) fn tidy(
        &mut self,
        db: &Connection,
        index: usize,
        touched: &BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let most = self.limits.parts;
        let Some(series) = self.series.get_mut(index) else {
            return Ok(());
        };
        let newest = series.newest.map(|(time, _, _)| series.window(time));
        let open: Vec<_> = series
            .open
            .iter()
            .map(|(window, open)| (*window, *open))
            .collect();
        for (window, parts) in open {
            let many = parts.parts >= most;
            if Some(window) < newest && (many || !touched.contains(&window)) {
                seal(db, series.id, window)?;
                series.open.remove(&window);
            } else if many {
                let merged = take_parts(db, series.id, window)?;
                insert_part(db, series.id, window, 0, &merged)?;
                if let Some(open) = series.open.get_mut(&window) {
                    (open.parts, open.next_part) = (1, 1);
                }
            }
        }
        Ok(())
    }
}

fn insert_part(
    db: &Connection,
    series: i64,
    window: i64,
    n: i64,
    part: &Block,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO part (series, window, n, count, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        series,
        window,
        n,
        part.count(),
        part.encode(Density::Quick)
    ])?;
    Ok(())
}

/// Takes all parts of a window out of the file, merged.
fn take_parts(db: &Connection, series: i64, window: i64) -> Result<Block, StoreError> {
    let mut merged = Block::default();
    let sql = "SELECT body FROM part WHERE series = ?1 AND window = ?2 ORDER BY n";
    append_all(db, sql, series, window, &mut merged)?;
    warn_duplicates(series, merged.sort());
    db.prepare_cached("DELETE FROM part WHERE series = ?1 AND window = ?2")?
        .execute(params![series, window])?;
    Ok(merged)
}

pub(super) fn seal(db: &Connection, series: i64, window: i64) -> Result<(), StoreError> {
    let mut block = Block::default();
    let sql = "SELECT body FROM chunk WHERE series = ?1 AND window = ?2";
    append_all(db, sql, series, window, &mut block)?;
    block.append(take_parts(db, series, window)?)?;
    warn_duplicates(series, block.sort());
    db.prepare_cached("DELETE FROM chunk WHERE series = ?1 AND window = ?2")?
        .execute(params![series, window])?;
    db.prepare_cached("INSERT INTO chunk (series, window, count, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            series,
            window,
            block.count(),
            block.encode(Density::Dense)
        ])?;
    LEVELS_MS
        .into_iter()
        .try_for_each(|level_ms| write_rollup(db, series, window, level_ms, &block))
}

/// A window's roll-up, if its readings are dense enough for one.
fn worthy_rollup(block: &Block, level_ms: i64) -> Option<Vec<u8>> {
    let rollup = Rollup::of(block, level_ms);
    (block.len() >= rollup.buckets.len() * READINGS_PER_BUCKET_MIN)
        .then(|| rollup.encode())
        .flatten()
}

/// Whether a sealed window has a roll-up of this level.
pub(super) fn is_worth_it(block: &Block, level_ms: i64) -> bool {
    worthy_rollup(block, level_ms).is_some()
}

/// Replaces the roll-up of a window, if the readings are dense enough for one.
fn write_rollup(
    db: &Connection,
    series: i64,
    window: i64,
    level_ms: i64,
    block: &Block,
) -> Result<(), StoreError> {
    put_rollup(db, series, window, level_ms, worthy_rollup(block, level_ms))
}

/// Replaces the roll-up of a window, however sparse its readings are.
pub(super) fn force_rollup(
    db: &Connection,
    series: i64,
    window: i64,
    level_ms: i64,
    block: &Block,
) -> Result<(), StoreError> {
    let body = Rollup::of(block, level_ms).encode();
    put_rollup(db, series, window, level_ms, body)
}

fn put_rollup(
    db: &Connection,
    series: i64,
    window: i64,
    level_ms: i64,
    body: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    if level_ms == MINUTE_MS {
        db.prepare_cached("DELETE FROM minutes WHERE series = ?1 AND window = ?2")?
            .execute(params![series, window])?;
        if body.is_some() {
            db.prepare_cached("INSERT INTO minutes (series, window, body) VALUES (?1, ?2, ?3)")?
                .execute(params![series, window, body])?;
        }
        return Ok(());
    }
    db.prepare_cached("DELETE FROM rollup WHERE series = ?1 AND level_ms = ?2 AND window = ?3")?
        .execute(params![series, level_ms, window])?;
    if body.is_some() {
        db.prepare_cached(
            "INSERT INTO rollup (series, level_ms, window, body) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![series, level_ms, window, body])?;
    }
    Ok(())
}

fn append_all(
    db: &Connection,
    sql: &str,
    series: i64,
    window: i64,
    into: &mut Block,
) -> Result<(), StoreError> {
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![series, window])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob().unwrap_or_default();
        if let Err(error) = Block::decode(body).and_then(|block| into.append(block)) {
            set_aside(db, "block", &error, body)?;
        }
    }
    Ok(())
}

/// Duplicates are refused when a batch is taken in; one that is found here is a defect of this program.
fn warn_duplicates(series: i64, dropped: usize) {
    if dropped > 0 {
        tracing::error!(series, dropped, "duplicate readings found while merging");
    }
}
