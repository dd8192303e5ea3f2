//! Looking at every stored reading: for the proof that nothing is stored twice, and for exports.

use std::collections::BTreeMap;

use furrow_wire::{Decimal, GreenhouseId, Quality, SeriesId};
use rusqlite::Connection;

use super::codec::Block;
use super::query::{SeriesRow, all_series, blobs_of, pending_of, windows_of};
use super::store::load_position;
use super::{LogPosition, StoreError};

/// What a scan of a greenhouse's readings found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Readings stored, of any quality.
    pub readings: u64,
    /// Readings beyond the first of their (series, time). Must be 0.
    pub twice: u64,
}

/// One reading of an export.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportRow<'a> {
    /// Which series.
    pub series: &'a SeriesId,
    /// UCUM or SenML unit code.
    pub unit: &'a str,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Exact value; `None` where the quality carries none.
    pub value: Option<Decimal>,
    /// What it is worth.
    pub quality: Quality,
}

/// Decodes the times of every block and pending row and counts, per greenhouse.
pub(super) fn scan(db: &mut Connection) -> Result<BTreeMap<GreenhouseId, Scan>, StoreError> {
    let snapshot = db.transaction()?;
    let mut found: BTreeMap<GreenhouseId, Scan> = BTreeMap::new();
    for series in all_series(&snapshot)? {
        let scan = found.entry(series.name.greenhouse.clone()).or_default();
        let mut pending = pending_of(&snapshot, &series)?.times;
        pending.sort_unstable();
        let mut windows = windows_of(&snapshot, &series, i64::MIN, i64::MAX)?;
        windows.extend(pending.iter().map(|time| time.div_euclid(series.window_ms)));
        for window in windows {
            let mut times = blobs_of(&snapshot, &series, window, Block::decode_times)?.concat();
            let inside = |time: &&i64| time.div_euclid(series.window_ms) == window;
            times.extend(pending.iter().filter(inside));
            times.sort_unstable();
            let before = times.len();
            times.dedup();
            scan.readings += before as u64;
            scan.twice += (before - times.len()) as u64;
        }
    }
    Ok(found)
}

/// Gives every reading of `[from_ms, to_ms)`, series after series, each in ascending time, and then up to which log
/// entry that is complete. Holds one window in memory.
pub(super) fn export<E: From<StoreError>>(
    db: &mut Connection,
    wanted: impl Fn(&SeriesId) -> bool,
    from_ms: i64,
    to_ms: i64,
    mut take: impl FnMut(ExportRow<'_>) -> Result<(), E>,
) -> Result<Option<LogPosition>, E> {
    let snapshot = db.transaction().map_err(StoreError::from)?;
    let position = load_position(&snapshot)?;
    for series in all_series(&snapshot)?
        .iter()
        .filter(|series| wanted(&series.name))
    {
        let pending = pending_of(&snapshot, series)?;
        let first = from_ms.div_euclid(series.window_ms);
        let last = to_ms.saturating_sub(1).div_euclid(series.window_ms);
        let mut windows = windows_of(&snapshot, series, first, last)?;
        windows.extend(
            pending
                .times
                .iter()
                .map(|time| time.div_euclid(series.window_ms)),
        );
        for window in windows {
            let block = window_block(&snapshot, series, window, &pending)?;
            let rows = block
                .iter()
                .filter(|(time, _, _)| (from_ms..to_ms).contains(time));
            for (time_ms, mantissa, quality) in rows {
                let value = Decimal {
                    mantissa,
                    exponent: block.exponent,
                };
                take(ExportRow {
                    series: &series.name,
                    unit: &series.unit,
                    time_ms,
                    value: quality.has_value().then_some(value),
                    quality,
                })?;
            }
        }
    }
    Ok(position)
}

fn window_block(
    db: &Connection,
    series: &SeriesRow,
    window: i64,
    pending: &Block,
) -> Result<Block, StoreError> {
    let mut block = Block::new(pending.exponent);
    for (time, mantissa, quality) in pending.iter() {
        if time.div_euclid(series.window_ms) == window {
            block.push(time, Some(mantissa), quality);
        }
    }
    for stored in blobs_of(db, series, window, Block::decode)? {
        block.append(stored)?;
    }
    block.sort();
    Ok(block)
}
