//! What [`crate::store::SeriesStore`] asks: series, newest readings, all readings, buckets of a given length.

use std::sync::Arc;

use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use rusqlite::{Connection, OptionalExtension, params};

use super::codec::Block;
use super::query::{Point, Range, SeriesRow, all_series, pending_of, series_row};
use super::retention::given_up;
use super::store::{Limits, State};
use super::sums::Sums;
use super::{ArchiveError, ArchiveReader, Latest, StoreError};
use crate::store::{Reading, SeriesInfo, Span};

/// Most buckets of one answer: 512 MB. A caller that wants more asks for less at a time.
pub(super) const BUCKETS_MAX: i64 = 1 << 23;

/// A bucket of one millisecond: not one of roll-ups.
const READINGS: i64 = 1;

impl ArchiveReader {
    /// All series of a cooperative, by name.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn series(&self, cooperative: &CooperativeId) -> Result<Vec<SeriesInfo>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let all = all_series(db)?.into_iter();
            Ok(all
                .map(|row| SeriesInfo {
                    id: row.name,
                    unit: row.unit,
                })
                .collect())
        })
    }

    /// The newest of each series, by name, as the file says: slower than [`ArchiveReader::latest`], and right without
    /// a writer in this process.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn newest(
        &self,
        cooperative: &CooperativeId,
        greenhouse: Option<&GreenhouseId>,
    ) -> Result<Vec<Latest>, ArchiveError> {
        let mut newest = self.shared(cooperative)?.with("read", |db| {
            let snapshot = db.transaction()?;
            let state = State::load(&snapshot, cooperative, Arc::from([]), Limits::default())?;
            let wanted = |id: &SeriesId| greenhouse.is_none_or(|wanted| *wanted == id.greenhouse);
            let wanted = state.series.iter().filter(|series| wanted(&series.name));
            Ok(wanted
                .map(super::series::Series::latest)
                .collect::<Vec<_>>())
        })?;
        newest.sort_by(|a, b| a.series.cmp(&b.series));
        Ok(newest)
    }

    /// From the oldest reading of a series to just behind the newest; `None` if there is none.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn extent(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
    ) -> Result<Option<Span>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let snapshot = db.transaction()?;
            let Some(series) = series_row(&snapshot, series)? else {
                return Ok(None);
            };
            let ever = Span {
                from_ms: i64::MIN,
                to_ms: i64::MAX,
            };
            let Some((from_ms, to_ms)) = clamp(&snapshot, &series, ever, READINGS)? else {
                return Ok(None);
            };
            let ends = |from_ms, to_ms| {
                let range = Range {
                    db: &snapshot,
                    series: &series,
                    from_ms,
                    to_ms,
                };
                range.raw()
            };
            let window_ms = series.window_ms;
            let first = ends(from_ms, from_ms.saturating_add(window_ms))?;
            let last = ends(to_ms.saturating_sub(window_ms), to_ms)?;
            // A window whose only block is damaged shows nothing: its bounds are wide enough.
            Ok(Some(Span {
                from_ms: first.first().map_or(from_ms, |(time, _, _)| *time),
                to_ms: last.last().map_or(to_ms, |(time, _, _)| time + 1),
            }))
        })
    }

    /// Every reading of a series in a span, in ascending time.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn readings(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
    ) -> Result<Vec<Reading>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let snapshot = db.transaction()?;
            let Some(series) = series_row(&snapshot, series)? else {
                return Ok(Vec::new());
            };
            let Some((from_ms, to_ms)) = clamp(&snapshot, &series, span, READINGS)? else {
                return Ok(Vec::new());
            };
            let range = Range {
                db: &snapshot,
                series: &series,
                from_ms,
                to_ms,
            };
            let rows = range.raw()?.into_iter();
            Ok(rows
                .map(|(time_ms, mantissa, quality)| Reading {
                    time_ms,
                    value: quality.has_value().then_some(furrow_wire::Decimal {
                        mantissa,
                        exponent: series.exponent,
                    }),
                    quality,
                })
                .collect())
        })
    }

    /// Good readings in buckets of `bucket_ms` that begin at multiples of it; `None` where they would be more than
    /// 8 million. Where readings were given up, buckets that are not made of whole roll-ups are not there.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn buckets(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
        bucket_ms: u32,
    ) -> Result<Option<Vec<Point>>, ArchiveError> {
        let bucket_ms = i64::from(bucket_ms.max(1));
        self.shared(cooperative)?.with("read", |db| {
            let snapshot = db.transaction()?;
            let Some(series) = series_row(&snapshot, series)? else {
                return Ok(Some(Vec::new()));
            };
            let Some((from_ms, to_ms)) = clamp(&snapshot, &series, span, bucket_ms)? else {
                return Ok(Some(Vec::new()));
            };
            if (to_ms - from_ms) / bucket_ms > BUCKETS_MAX {
                return Ok(None);
            }
            let range = Range {
                db: &snapshot,
                series: &series,
                from_ms,
                to_ms,
            };
            let mut sums = Sums::new(from_ms, to_ms, bucket_ms, series.exponent);
            range.add_all(&mut sums)?;
            Ok(Some(sums.points()))
        })
    }
}

/// The part of a span in which there is anything, in whole buckets: a span of all times costs no more than the times
/// that are stored.
fn clamp(
    db: &Connection,
    series: &SeriesRow,
    span: Span,
    bucket_ms: i64,
) -> Result<Option<(i64, i64)>, StoreError> {
    let pending: Block = pending_of(db, series)?;
    let window = |time: &i64| time.div_euclid(series.window_ms);
    let mut first = pending.times.iter().map(window).min();
    let mut last = pending.times.iter().map(window).max();
    for sql in [
        "SELECT MIN(window), MAX(window) FROM chunk WHERE series = ?1",
        "SELECT MIN(window), MAX(window) FROM part WHERE series = ?1",
    ] {
        let found: Option<(Option<i64>, Option<i64>)> = db
            .prepare_cached(sql)?
            .query_row(params![series.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (least, greatest) = found.unwrap_or_default();
        first = first.into_iter().chain(least).min();
        last = last.into_iter().chain(greatest).max();
    }
    if bucket_ms > READINGS {
        let gone = given_up(db, series, i64::MIN, i64::MAX)?;
        first = first.into_iter().chain(gone.first().copied()).min();
        last = last.into_iter().chain(gone.last().copied()).max();
    }
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(None);
    };
    let least_ms = first.saturating_mul(series.window_ms);
    let end_ms = last.saturating_add(1).saturating_mul(series.window_ms);
    let from_ms = span.from_ms.max(least_ms - least_ms.rem_euclid(bucket_ms));
    let to_ms = span.to_ms.min(end_ms + (-end_ms).rem_euclid(bucket_ms));
    Ok((from_ms < to_ms).then_some((from_ms, to_ms)))
}
