//! Readings of one series over a range, raw or down-sampled.
//!
//! Buckets are multiples of the epoch. Where a bucket is made of whole minutes, quarters or hours, the
//! roll-ups of sealed windows answer; windows that have parts or pending rows are read raw, since
//! their roll-ups may be behind.

use std::collections::BTreeSet;

use furrow_wire::{Decimal, Quality, SeriesId};
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::codec::pending::read_pending;
use super::codec::rollup::Rollup;
use super::codec::{Block, CodecError};
use super::damage::readable;
use super::flush::{LEVELS_MS, MINUTE_MS};
use super::retention::{finest_left, given_up};
use super::sums::{Sums, beyond};

/// Bucket lengths below a minute, in milliseconds.
const SHORT_BUCKETS_MS: [i64; 7] = [1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000];

/// A bucket, or one reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Start of the bucket, or time of the reading, in Unix milliseconds.
    pub time_ms: i64,
    /// Least, mean and greatest good value; `None` for a raw reading that is not good.
    pub values: Option<[f64; 3]>,
    /// How many good readings.
    pub count: u64,
}

/// Answer to a range query.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoints {
    /// UCUM or SenML unit code.
    pub unit: String,
    /// Value = mantissa × 10^exponent.
    pub exponent: i8,
    /// Start of the range, rounded down to a bucket, in Unix milliseconds.
    pub from_ms: i64,
    /// End of the range, exclusive, rounded up to a bucket.
    pub to_ms: i64,
    /// Length of the buckets; 0: raw readings.
    pub bucket_ms: i64,
    /// In ascending time. A bucket without a good reading is left out.
    pub points: Vec<Point>,
}

/// What a series' row says.
#[derive(Debug, Clone)]
pub(super) struct SeriesRow {
    pub(super) id: i64,
    pub(super) name: SeriesId,
    pub(super) unit: String,
    pub(super) exponent: i8,
    pub(super) interval_ms: i64,
    pub(super) window_ms: i64,
}

/// A bounded range in one series.
pub(super) struct Range<'a> {
    pub(super) db: &'a Connection,
    pub(super) series: &'a SeriesRow,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// Readings of `[from_ms, to_ms)` in at most about `points` points; `None` if there is no such series.
pub(super) fn points(
    db: &mut Connection,
    series: &SeriesId,
    from_ms: i64,
    to_ms: i64,
    points: u32,
) -> Result<Option<SeriesPoints>, StoreError> {
    // One snapshot: a flush between two statements must not hide or repeat readings.
    let snapshot = db.transaction()?;
    let Some(series) = series_row(&snapshot, series)? else {
        return Ok(None);
    };
    let wanted = i64::from(points.max(1));
    let span_ms = to_ms.saturating_sub(from_ms).max(1);
    let mut answer = SeriesPoints {
        unit: series.unit.clone(),
        exponent: series.exponent,
        from_ms,
        to_ms,
        bucket_ms: 0,
        points: Vec::new(),
    };
    let windows = |time_ms: i64| time_ms.div_euclid(series.window_ms);
    let (first, last) = (windows(from_ms), windows(to_ms.saturating_sub(1)));
    let finest_ms = finest_left(&snapshot, &series, first, last)?;
    if finest_ms.is_none() && span_ms / series.interval_ms.max(1) <= wanted {
        let range = Range {
            db: &snapshot,
            series: &series,
            from_ms,
            to_ms,
        };
        let raw = range.raw()?;
        if raw.len() as u64 <= u64::from(points.max(1)) {
            answer.points = raw
                .iter()
                .map(|row| raw_point(row, series.exponent))
                .collect();
            return Ok(Some(answer));
        }
    }
    let mut bucket_ms = bucket_for(span_ms, wanted);
    if let Some(finest_ms) = finest_ms {
        // Only whole roll-ups answer where readings were given up.
        bucket_ms += (-bucket_ms).rem_euclid(finest_ms);
    }
    answer.bucket_ms = bucket_ms;
    answer.from_ms = from_ms - from_ms.rem_euclid(bucket_ms);
    answer.to_ms = to_ms + (-to_ms).rem_euclid(bucket_ms);
    let range = Range {
        db: &snapshot,
        series: &series,
        from_ms: answer.from_ms,
        to_ms: answer.to_ms,
    };
    let mut sums = Sums::new(range.from_ms, range.to_ms, bucket_ms, series.exponent);
    range.add_all(&mut sums)?;
    answer.points = sums.points();
    Ok(Some(answer))
}

/// The row of a series.
pub(super) fn series_row(
    db: &Connection,
    series: &SeriesId,
) -> Result<Option<SeriesRow>, StoreError> {
    let row = db
        .prepare_cached(
            "SELECT id, unit, exponent, interval_ms, window_ms FROM series
             WHERE greenhouse = ?1 AND device = ?2 AND channel = ?3",
        )?
        .query_row(
            params![
                series.greenhouse.as_str(),
                series.device.as_str(),
                series.channel.as_str()
            ],
            |row| {
                Ok(SeriesRow {
                    id: row.get(0)?,
                    name: series.clone(),
                    unit: row.get(1)?,
                    exponent: row.get(2)?,
                    interval_ms: row.get(3)?,
                    window_ms: row.get(4)?,
                })
            },
        )
        .optional()?;
    Ok(row)
}

/// All series, by name.
pub(super) fn all_series(db: &Connection) -> Result<Vec<SeriesRow>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT id, greenhouse, device, channel, unit, exponent, interval_ms, window_ms
         FROM series ORDER BY greenhouse, device, channel",
    )?;
    let mut rows = query.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(SeriesRow {
            id: row.get(0)?,
            name: SeriesId {
                greenhouse: row.get::<_, String>(1)?.parse()?,
                device: row.get::<_, String>(2)?.parse()?,
                channel: row.get::<_, String>(3)?.parse()?,
            },
            unit: row.get(4)?,
            exponent: row.get(5)?,
            interval_ms: row.get(6)?,
            window_ms: row.get(7)?,
        });
    }
    Ok(out)
}

/// Readings of a series that are not yet in blocks, in no order.
pub(super) fn pending_of(db: &Connection, series: &SeriesRow) -> Result<Block, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT body FROM pending JOIN place ON place = id WHERE greenhouse = ?1 ORDER BY n",
    )?;
    let mut rows = query.query(params![series.name.greenhouse.as_str()])?;
    let mut out = Block::new(series.exponent);
    while let Some(row) = rows.next()? {
        let blob = row.get_ref(0)?;
        let wanted = |id| id == series.id;
        let blob = blob.as_blob().unwrap_or_default();
        readable(
            "batch",
            read_pending(blob, wanted, |_, block| out.extend(block)),
        );
    }
    Ok(out)
}

/// Windows of a series that hold anything between two windows, both included.
pub(super) fn windows_of(
    db: &Connection,
    series: &SeriesRow,
    first: i64,
    last: i64,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut windows = windows_in(db, CHUNK_WINDOWS, series, first, last)?;
    windows.append(&mut windows_in(db, PART_WINDOWS, series, first, last)?);
    Ok(windows)
}

/// Everything in blocks of one window: the chunk, then the parts.
pub(super) fn blobs_of<T>(
    db: &Connection,
    series: &SeriesRow,
    window: i64,
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
) -> Result<Vec<T>, StoreError> {
    let mut out = Vec::new();
    for sql in [
        "SELECT body FROM chunk WHERE series = ?1 AND window = ?2",
        "SELECT body FROM part WHERE series = ?1 AND window = ?2 ORDER BY n",
    ] {
        let mut query = db.prepare_cached(sql)?;
        let mut rows = query.query(params![series.id, window])?;
        while let Some(row) = rows.next()? {
            let blob = row.get_ref(0)?.as_blob().unwrap_or_default();
            out.extend(readable("block", decode(blob)));
        }
    }
    Ok(out)
}

const CHUNK_WINDOWS: &str =
    "SELECT window FROM chunk WHERE series = ?1 AND window BETWEEN ?2 AND ?3";
const PART_WINDOWS: &str =
    "SELECT DISTINCT window FROM part WHERE series = ?1 AND window BETWEEN ?2 AND ?3";

fn windows_in(
    db: &Connection,
    sql: &str,
    series: &SeriesRow,
    first: i64,
    last: i64,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut query = db.prepare_cached(sql)?;
    let windows = query.query_map(params![series.id, first, last], |row| row.get(0))?;
    Ok(windows.collect::<Result<_, _>>()?)
}

fn raw_point(row: &(i64, i64, Quality), exponent: i8) -> Point {
    let (time_ms, mantissa, quality) = *row;
    let good = quality == Quality::Good;
    let value = Decimal { mantissa, exponent }.to_f64();
    Point {
        time_ms,
        values: good.then_some([value; 3]),
        count: u64::from(good),
    }
}

/// The shortest bucket that keeps to the wanted number of points.
fn bucket_for(span_ms: i64, points: i64) -> i64 {
    let least_ms = span_ms / points + i64::from(span_ms % points != 0);
    if let Some(short) = SHORT_BUCKETS_MS
        .into_iter()
        .find(|bucket| *bucket >= least_ms)
    {
        return short;
    }
    // Whole multiples of the coarsest level that fits.
    let unit = LEVELS_MS
        .into_iter()
        .rev()
        .find(|level_ms| *level_ms <= least_ms);
    let unit = unit.unwrap_or(MINUTE_MS);
    least_ms + (-least_ms).rem_euclid(unit)
}

impl Range<'_> {
    fn windows(&self) -> (i64, i64) {
        let last_ms = self.to_ms.saturating_sub(1);
        let window_ms = self.series.window_ms;
        (
            self.from_ms.div_euclid(window_ms),
            last_ms.div_euclid(window_ms),
        )
    }

    /// All readings in order, whatever their quality.
    pub(super) fn raw(&self) -> Result<Vec<(i64, i64, Quality)>, StoreError> {
        let mut all = pending_of(self.db, self.series)?;
        let (first, last) = self.windows();
        for window in windows_of(self.db, self.series, first, last)? {
            for block in blobs_of(self.db, self.series, window, Block::decode)? {
                all.append(block)?;
            }
        }
        all.sort();
        if !all.rescale(self.series.exponent) {
            return Err(beyond().into());
        }
        let inside = |row: &(i64, i64, Quality)| (self.from_ms..self.to_ms).contains(&row.0);
        Ok(all.iter().filter(inside).collect())
    }

    /// Adds everything good, from the coarsest source that will do.
    pub(super) fn add_all(&self, sums: &mut Sums) -> Result<(), StoreError> {
        let (first, last) = self.windows();
        let pending = pending_of(self.db, self.series)?;
        let mut raw = windows_in(self.db, PART_WINDOWS, self.series, first, last)?;
        let window_ms = self.series.window_ms;
        raw.extend(pending.times.iter().map(|time| time.div_euclid(window_ms)));
        sums.add_block(&pending)?;
        let mut done = BTreeSet::new();
        let mut chunks = windows_in(self.db, CHUNK_WINDOWS, self.series, first, last)?;
        chunks.append(&mut given_up(self.db, self.series, first, last)?);
        for level_ms in LEVELS_MS.into_iter().rev() {
            if sums.bucket_ms % level_ms == 0 && !chunks.is_subset(&done) {
                self.add_rollups(level_ms, &raw, &mut done, sums)?;
            }
        }
        for window in windows_of(self.db, self.series, first, last)?.difference(&done) {
            for block in blobs_of(self.db, self.series, *window, Block::decode)? {
                sums.add_block(&block)?;
            }
        }
        Ok(())
    }

    fn add_rollups(
        &self,
        level_ms: i64,
        raw: &BTreeSet<i64>,
        done: &mut BTreeSet<i64>,
        sums: &mut Sums,
    ) -> Result<(), StoreError> {
        let (first, last) = self.windows();
        let minutes = "SELECT window, body FROM minutes
             WHERE series = ?1 AND window BETWEEN ?2 AND ?3";
        let coarser = "SELECT window, body FROM rollup
             WHERE series = ?1 AND window BETWEEN ?2 AND ?3 AND level_ms = ?4";
        let id = self.series.id;
        let mut query = self.db.prepare_cached(if level_ms == MINUTE_MS {
            minutes
        } else {
            coarser
        })?;
        let mut rows = match level_ms {
            MINUTE_MS => query.query(params![id, first, last])?,
            _ => query.query(params![id, first, last, level_ms])?,
        };
        while let Some(row) = rows.next()? {
            let window: i64 = row.get(0)?;
            if raw.contains(&window) || done.contains(&window) {
                continue;
            }
            let blob = row.get_ref(1)?.as_blob().unwrap_or_default();
            // Without its roll-up, the window is read from its chunk.
            if let Some(rollup) = readable("roll-up", Rollup::decode(blob)) {
                sums.add_rollup(&rollup)?;
                done.insert(window);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn buckets_are_made_of_whole_units_and_keep_to_the_number_of_points() {
        let day_ms = 24 * HOUR_MS;
        for (span_ms, points, bucket_ms) in [
            (HOUR_MS, 360, 10_000),
            (HOUR_MS, 300, 15_000),
            (HOUR_MS, 100, 60_000),
            (8 * day_ms, 1000, 12 * MINUTE_MS),
            (30 * day_ms, 1000, 45 * MINUTE_MS),
            (30 * day_ms, 720, HOUR_MS),
            (30 * day_ms, 719, 2 * HOUR_MS),
            (365 * day_ms, 1000, 9 * HOUR_MS),
            (1, 1000, 1_000),
        ] {
            assert_eq!(
                bucket_for(span_ms, points),
                bucket_ms,
                "{span_ms} ms in {points}"
            );
        }
    }
}
