//! Looking at everything in a file: whether it is what was written, and whether its parts agree.
//!
//! Each series is looked at in one snapshot, so this works beside a running ingest. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use furrow_wire::{CooperativeId, Quality};
use rusqlite::{Connection, OptionalExtension, params};

use super::codec::block::scale_factor;
use super::codec::pending::read_pending;
use super::codec::rollup::Rollup;
use super::codec::{Block, CodecError};
use super::flush::{LEVELS_MS, MINUTE_MS, is_worth_it};
use super::query::{SeriesRow, all_series};
use super::retention::is_given_up;
use super::{ArchiveError, ArchiveReader, StoreError};

/// Findings of one file that are told; more are counted.
const FINDINGS_MAX: usize = 1_000;
/// Lines of SQLite's own check that are told.
const INTEGRITY_LINES: u32 = 100;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: a table, with the series and the start of the window.
    pub place: String,
    /// What.
    pub text: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Series.
    pub series: u64,
    /// Readings, of any quality.
    pub readings: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, in the order in which it was found; not more than 1,000.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
}

impl Verified {
    fn find(&mut self, place: impl Into<String>, text: impl Into<String>) {
        if self.findings.len() >= FINDINGS_MAX {
            self.more += 1;
            return;
        }
        self.findings.push(Finding {
            place: place.into(),
            text: text.into(),
        });
    }

    /// A blob that decodes, counted; else a finding.
    fn taken<T>(&mut self, place: &str, body: &[u8], read: Result<T, CodecError>) -> Option<T> {
        self.blobs += 1;
        self.bytes += body.len() as u64;
        read.map_err(|error| self.find(place, error.to_string()))
            .ok()
    }
}

impl ArchiveReader {
    /// Reads every blob of a cooperative's file and compares what should agree. `progress` is told how many of how
    /// many series are done; it may end the work.
    ///
    /// # Errors
    /// When the file can't be opened or read at all; a finding, too.
    pub fn verify(
        &self,
        cooperative: &CooperativeId,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Verified, ArchiveError> {
        self.shared(cooperative)?.with("verify", |db| {
            let mut found = Verified::default();
            check_file(db, &mut found)?;
            let all = all_series(db)?;
            let total = all.len() as u64;
            check_pending(db, &all, &mut found)?;
            for series in &all {
                check_series(db, series, &mut found)?;
                found.series += 1;
                if progress(found.series, total).is_break() {
                    break;
                }
            }
            Ok(found)
        })
    }
}

/// What SQLite itself finds, what was set aside, and rows that belong to nothing.
fn check_file(db: &Connection, found: &mut Verified) -> Result<(), StoreError> {
    let mut query = db.prepare(&format!("PRAGMA integrity_check({INTEGRITY_LINES})"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            found.find("file", line);
        }
    }
    let aside: i64 = db.query_row("SELECT COUNT(*) FROM damaged", [], |row| row.get(0))?;
    if aside > 0 {
        found.find("damaged", format!("{aside} blobs were set aside"));
    }
    for table in ["part", "chunk", "minutes", "rollup"] {
        let sql =
            format!("SELECT COUNT(*) FROM {table} WHERE series NOT IN (SELECT id FROM series)");
        let strange: i64 = db.query_row(&sql, [], |row| row.get(0))?;
        if strange > 0 {
            found.find(table, format!("{strange} rows of no series"));
        }
    }
    Ok(())
}

/// Each row decodes, and names series that there are.
fn check_pending(
    db: &Connection,
    all: &[SeriesRow],
    found: &mut Verified,
) -> Result<(), StoreError> {
    let known: BTreeSet<i64> = all.iter().map(|series| series.id).collect();
    let mut query = db.prepare("SELECT place, n, body FROM pending ORDER BY place, n")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!(
            "pending {}/{}",
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?
        );
        let body = row.get_ref(2)?.as_blob().unwrap_or_default();
        let mut strange = 0_u32;
        let read = read_pending(
            body,
            |_| true,
            |series, block| {
                strange += u32::from(!known.contains(&series));
                if block.times.is_sorted_by(|a, b| a < b) {
                    Ok(())
                } else {
                    Err(CodecError::new("batch", "has times that do not ascend"))
                }
            },
        );
        found.taken(&place, body, read);
        if strange > 0 {
            found.find(place, format!("{strange} columns of no series"));
        }
    }
    Ok(())
}

/// What is known of a series' readings while its windows are looked at.
#[derive(Default)]
struct Seen {
    /// Newest, and newest good one, in blocks: time and mantissa at the series' exponent.
    newest: Option<(i64, Option<i64>)>,
    good: Option<(i64, i64)>,
}

fn check_series(
    db: &mut Connection,
    series: &SeriesRow,
    found: &mut Verified,
) -> Result<(), StoreError> {
    let snapshot = db.transaction()?;
    let mut seen = Seen::default();
    let pending = pending_times(&snapshot, series)?;
    found.readings += pending
        .values()
        .map(|times| times.len() as u64)
        .sum::<u64>();
    let mut windows: BTreeSet<i64> = pending.keys().copied().collect();
    for sql in [
        "SELECT window FROM chunk WHERE series = ?1",
        "SELECT window FROM part WHERE series = ?1",
        "SELECT window FROM minutes WHERE series = ?1",
        "SELECT window FROM rollup WHERE series = ?1",
    ] {
        let mut query = snapshot.prepare_cached(sql)?;
        let rows = query.query_map(params![series.id], |row| row.get(0))?;
        for window in rows {
            windows.insert(window?);
        }
    }
    for window in windows {
        let late = pending.get(&window).map_or(&[][..], Vec::as_slice);
        check_window(&snapshot, series, window, late, &mut seen, found)?;
    }
    check_newest(&snapshot, series, &seen, found)
}

/// Times of a series in rows by batch, by window.
fn pending_times(
    db: &Connection,
    series: &SeriesRow,
) -> Result<BTreeMap<i64, Vec<i64>>, StoreError> {
    let mut out: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for time in super::query::pending_of(db, series)?.times {
        out.entry(time.div_euclid(series.window_ms))
            .or_default()
            .push(time);
    }
    Ok(out)
}

fn check_window(
    db: &Connection,
    series: &SeriesRow,
    window: i64,
    pending: &[i64],
    seen: &mut Seen,
    found: &mut Verified,
) -> Result<(), StoreError> {
    let start_ms = window.saturating_mul(series.window_ms);
    let place = |table: &str| format!("{table} {} {}", series.name, moment(start_ms));
    let mut times: Vec<i64> = pending.to_vec();
    let mut chunk = None;
    for (table, sql) in [
        (
            "chunk",
            "SELECT count, body FROM chunk WHERE series = ?1 AND window = ?2",
        ),
        (
            "part",
            "SELECT count, body FROM part WHERE series = ?1 AND window = ?2 ORDER BY n",
        ),
    ] {
        let mut query = db.prepare_cached(sql)?;
        let mut rows = query.query(params![series.id, window])?;
        while let Some(row) = rows.next()? {
            let body = row.get_ref(1)?.as_blob().unwrap_or_default();
            let Some(block) = found.taken(&place(table), body, Block::decode(body)) else {
                continue;
            };
            let count: i64 = row.get(0)?;
            if count != i64::from(block.count()) {
                let text = format!("{} readings where its row says {count}", block.len());
                found.find(place(table), text);
            }
            if !block.times.is_sorted_by(|a, b| a < b) {
                found.find(place(table), "times do not ascend");
            }
            let is_outside = |time: &&i64| time.div_euclid(series.window_ms) != window;
            let outside = block.times.iter().filter(is_outside).count();
            if outside > 0 {
                found.find(
                    place(table),
                    format!("{outside} readings of another window"),
                );
            }
            found.readings += block.len() as u64;
            seen.note(series, &block);
            times.extend(&block.times);
            if table == "chunk" {
                chunk = Some(block);
            }
        }
    }
    times.sort_unstable();
    let before = times.len();
    times.dedup();
    if times.len() < before {
        let twice = before - times.len();
        found.find(
            place("window"),
            format!("{twice} readings are stored twice"),
        );
    }
    for level_ms in LEVELS_MS {
        check_rollup(db, series, window, level_ms, chunk.as_ref(), found)?;
    }
    Ok(())
}

/// A roll-up is what its chunk says, and is there if it is worth its bytes.
fn check_rollup(
    db: &Connection,
    series: &SeriesRow,
    window: i64,
    level_ms: i64,
    chunk: Option<&Block>,
    found: &mut Verified,
) -> Result<(), StoreError> {
    let start_ms = window.saturating_mul(series.window_ms);
    let minutes = level_ms / MINUTE_MS;
    let place = format!("roll-up {minutes} min {} {}", series.name, moment(start_ms));
    let sql = if level_ms == MINUTE_MS {
        "SELECT body FROM minutes WHERE series = ?1 AND window = ?2 AND ?3 = 60000"
    } else {
        "SELECT body FROM rollup WHERE series = ?1 AND window = ?2 AND level_ms = ?3"
    };
    let body: Option<Vec<u8>> = db
        .prepare_cached(sql)?
        .query_row(params![series.id, window, level_ms], |row| row.get(0))
        .optional()?;
    let stored = match &body {
        Some(body) => match found.taken(&place, body, Rollup::decode(body)) {
            Some(rollup) => Some(rollup),
            None => return Ok(()),
        },
        None => None,
    };
    match (stored, chunk) {
        (Some(stored), Some(chunk)) if stored != Rollup::of(chunk, level_ms) => {
            found.find(place, "is not what its readings add up to");
        }
        (None, Some(chunk)) if is_worth_it(chunk, level_ms) => {
            found.find(place, "is missing");
        }
        (Some(_), None) if !is_given_up(db, series.id, window)? => {
            found.find(place, "has no readings, and they were not given up");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    Ok(())
}

/// What the series' row says of its newest readings is what its blocks say, or newer: what was given up or set aside.
fn check_newest(
    db: &Connection,
    series: &SeriesRow,
    seen: &Seen,
    found: &mut Verified,
) -> Result<(), StoreError> {
    type Row = (
        Option<i64>,
        Option<i64>,
        Option<u8>,
        Option<i64>,
        Option<i64>,
    );
    let (time, value, quality, good_ms, good): Row = db.query_row(
        "SELECT newest_ms, newest, quality, good_ms, good FROM series WHERE id = ?1",
        params![series.id],
        |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        },
    )?;
    let place = format!("series {}", series.name);
    if let Some((newest_ms, newest)) = seen.newest {
        let has_value = quality
            .and_then(Quality::from_code)
            .is_some_and(Quality::has_value);
        let is_other = time == Some(newest_ms) && has_value && newest.is_some() && newest != value;
        if time < Some(newest_ms) || is_other {
            found.find(place.as_str(), "its row's newest reading is not its newest");
        }
    }
    let is_behind = |(newest_ms, newest): (i64, i64)| {
        good_ms < Some(newest_ms) || (good_ms == Some(newest_ms) && good != Some(newest))
    };
    if seen.good.is_some_and(is_behind) {
        found.find(place, "its row's newest good reading is not its newest");
    }
    Ok(())
}

impl Seen {
    fn note(&mut self, series: &SeriesRow, block: &Block) {
        let factor = scale_factor(block.exponent, series.exponent).unwrap_or(1);
        for (time_ms, mantissa, quality) in block.iter() {
            let mantissa = mantissa.saturating_mul(factor);
            if self.newest.is_none_or(|(newest_ms, _)| time_ms > newest_ms) {
                self.newest = Some((time_ms, quality.has_value().then_some(mantissa)));
            }
            let is_newest = self.good.is_none_or(|(newest_ms, _)| time_ms > newest_ms);
            if quality == Quality::Good && is_newest {
                self.good = Some((time_ms, mantissa));
            }
        }
    }
}

fn moment(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms);
    time.map_or_else(|_| format!("{unix_ms} ms"), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests;
