//! Taking in one batch: which readings are new, and where they go first.
//!
//! New readings of a batch become one row of `pending`; [`super::flush`] moves them into blocks by series
//! when a greenhouse has enough of them. A reading newer than its series' newest is new without a question to
//! the file; for a late one the times stored in its window are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use furrow_alerts::{Interval, Sample};
use furrow_wire::{Column, Decimal, Quality, Record, RecordKind, encode_batch};
use rusqlite::{Connection, params};

use super::change::{Applied, Readings};
use super::codec::block::Block;
use super::codec::pending::{PendingWriter, read_pending};
use super::damage::readable;
use super::retention::is_behind;
use super::series::{KnownTimes, Resolved, Series};
use super::store::{Place, State};
use super::{StoreError, aside, schema};

/// Greatest mantissa taken: beyond it a JSON number is no longer exact, and no sensor has such steps.
pub(super) const MANTISSA_MAX: i64 = 1 << 53;
/// Furthest time from 1970 taken, in milliseconds (about 1,100 years): keeps arithmetic on times exact.
pub(super) const TIME_MAX_MS: i64 = 1 << 45;
/// Series that may keep the times of a window in memory at once: at most about 140 MB of a whole fleet
/// sending its backlog through this cooperative. More are forgotten and read again.
const KNOWN_WINDOWS_MAX: usize = 2048;

/// What one batch is in the middle of.
struct Intake {
    writer: PendingWriter,
    /// Series with a column in the current row.
    seen: BTreeSet<usize>,
    /// Samples of series that a rule watches.
    watched: BTreeMap<usize, Vec<Sample>>,
    refused: u64,
    reason: String,
}

impl State {
    /// Stores what is new of a batch and lets the alert rules see it.
    pub(super) fn apply_readings(
        &mut self,
        db: &Connection,
        readings: &Readings,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.rules);
        let (greenhouse, batch) = (&readings.greenhouse, &readings.batch);
        let resolved =
            self.series
                .resolve(db, greenhouse, batch.catalog, &readings.catalog, &rules)?;
        self.place(db, greenhouse, &readings.gateway)?;
        let mut intake = Intake {
            writer: PendingWriter::new(),
            seen: BTreeSet::new(),
            watched: BTreeMap::new(),
            refused: 0,
            reason: String::new(),
        };
        for axis in &batch.axes {
            let Some(times) = wall_times(&axis.times, readings.wall_offset_ms) else {
                intake.refuse(
                    axis.columns.len() * axis.times.len(),
                    "a time beyond all calendars",
                );
                continue;
            };
            self.take_axis(
                db,
                readings,
                &resolved,
                &times,
                &axis.columns,
                &mut intake,
                applied,
            )?;
        }
        let refused = std::mem::take(&mut intake.refused);
        if refused > 0 {
            applied.readings_refused += refused;
            let reason = format!("{refused} readings refused: {}", intake.reason);
            // The whole record again, so that it can be run again.
            let record = Record {
                name: readings.record,
                kind: RecordKind::Batch,
                body: encode_batch(batch).unwrap_or_default(),
            };
            let bytes = record.encode().unwrap_or_default();
            let received_ms = readings.received_unix_ms;
            let record = Some(readings.record);
            aside::insert_dead(db, &readings.gateway, record, received_ms, &reason, &bytes)?;
        }
        self.write_pending(db, readings, &mut intake, applied)?;
        self.watch(db, readings, &resolved, &mut intake)?;
        self.forget_known();
        let full = self.places.get(greenhouse).is_some_and(|place| {
            place.rows >= self.limits.pending_rows || place.bytes >= self.limits.pending_bytes
        });
        if full {
            self.flush(db, greenhouse)
        } else {
            Ok(())
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one axis of one batch, split off for its length"
    )]
    fn take_axis(
        &mut self,
        db: &Connection,
        readings: &Readings,
        resolved: &[Resolved],
        times: &[i64],
        columns: &[Column],
        intake: &mut Intake,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let mut partial: Vec<(usize, Block)> = Vec::new();
        // One for all columns: they are many, and short.
        let mut taken = Block::with_room(0, times.len());
        taken.times.extend_from_slice(times);
        for column in columns {
            let (index, factor) = match resolved.get(usize::from(column.channel)) {
                Some(Resolved::Series { index, factor }) => (*index, *factor),
                Some(Resolved::Refused(reason)) => {
                    intake.refuse(column.samples.len(), reason);
                    continue;
                }
                None => {
                    intake.refuse(column.samples.len(), "a channel that the catalog lacks");
                    continue;
                }
            };
            if !intake.seen.insert(index) {
                // A second column of one series must see the first in the file.
                intake.writer.end_group(times);
                self.write_partial(&mut partial, intake);
                self.write_pending(db, readings, intake, applied)?;
                intake.seen.insert(index);
            }
            let Some(series) = self.series.get_mut(index) else {
                continue;
            };
            if !take_column(series, column, factor, &mut taken) {
                intake.refuse(column.samples.len(), "a value beyond 2^53 steps");
                continue;
            }
            let newest_ms = series.newest.map(|(time, _, _)| time);
            let live = times.first().is_none_or(|first| {
                Some(*first) > newest_ms && series.window(*first) >= series.kept_from
            });
            let new;
            let block = if live {
                intake.writer.column(
                    series.id,
                    taken.exponent,
                    &taken.mantissas,
                    &taken.qualities,
                );
                &taken
            } else {
                new = only_new(db, series, &taken, applied)?;
                if series.known.is_some() {
                    self.remembering.insert(index);
                }
                partial.push((index, new.clone()));
                &new
            };
            for (time, mantissa, quality) in block.iter() {
                series.note(time, mantissa, quality);
            }
            if !series.rules.is_empty() {
                let exponent = series.exponent;
                let value = |mantissa| Decimal { mantissa, exponent }.to_f64();
                let samples = block.iter().map(|(at_ms, mantissa, quality)| Sample {
                    at_ms,
                    good: (quality == Quality::Good).then(|| value(mantissa)),
                });
                intake.watched.entry(index).or_default().extend(samples);
            }
            series.touch(index, &mut self.touched);
        }
        intake.writer.end_group(times);
        self.write_partial(&mut partial, intake);
        Ok(())
    }

    fn write_partial(&self, partial: &mut Vec<(usize, Block)>, intake: &mut Intake) {
        for (index, block) in partial.drain(..) {
            if let Some(series) = self.series.get(index).filter(|_| !block.is_empty()) {
                intake.writer.column(
                    series.id,
                    block.exponent,
                    &block.mantissas,
                    &block.qualities,
                );
                intake.writer.end_group(&block.times);
            }
        }
    }

    /// Writes the row, if there is anything in it, and begins the next.
    fn write_pending(
        &mut self,
        db: &Connection,
        readings: &Readings,
        intake: &mut Intake,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let writer = std::mem::replace(&mut intake.writer, PendingWriter::new());
        intake.seen.clear();
        if writer.readings() == 0 {
            return Ok(());
        }
        applied.readings_stored += writer.readings() as u64;
        let body = writer.finish();
        let place = self.place(db, &readings.greenhouse, &readings.gateway)?;
        db.prepare_cached("INSERT INTO pending (place, n, body) VALUES (?1, ?2, ?3)")?
            .execute(params![place.id, place.next, body])?;
        place.next += 1;
        place.rows += 1;
        place.bytes += body.len();
        Ok(())
    }

    /// Every batch covers its interval, also for channels of its catalog that gave nothing.
    fn watch(
        &mut self,
        db: &Connection,
        readings: &Readings,
        resolved: &[Resolved],
        intake: &mut Intake,
    ) -> Result<(), StoreError> {
        let batch = &readings.batch;
        let ends = [batch.from_mono_ms, batch.to_mono_ms];
        let Some([from_ms, to_ms]) = wall_times(&ends, readings.wall_offset_ms)
            .and_then(|times| <[i64; 2]>::try_from(times).ok())
        else {
            return Ok(());
        };
        let interval = Interval { from_ms, to_ms };
        let mut fed = BTreeSet::new();
        for channel in resolved {
            let Resolved::Series { index, .. } = channel else {
                continue;
            };
            let Some(series) = self.series.get(*index) else {
                continue;
            };
            if series.rules.is_empty() || !fed.insert(*index) {
                continue;
            }
            let mut samples = intake.watched.remove(index).unwrap_or_default();
            samples.sort_by_key(|sample| sample.at_ms);
            let received_ms = readings.received_unix_ms;
            self.alerts
                .evaluate(db, series.as_watched(), interval, &samples, received_ms)?;
        }
        Ok(())
    }

    /// Bounds what is remembered of late data.
    pub(super) fn forget_known(&mut self) {
        if self.remembering.len() <= KNOWN_WINDOWS_MAX {
            return;
        }
        for index in std::mem::take(&mut self.remembering) {
            if let Some(series) = self.series.get_mut(index) {
                series.known = None;
            }
        }
    }

    /// The greenhouse's row, made if it is new.
    pub(super) fn place(
        &mut self,
        db: &Connection,
        greenhouse: &furrow_wire::GreenhouseId,
        gateway: &furrow_wire::GatewayId,
    ) -> Result<&mut Place, StoreError> {
        if !self.places.contains_key(greenhouse) {
            db.prepare_cached("INSERT INTO place (greenhouse, gateway) VALUES (?1, ?2)")?
                .execute(params![greenhouse.as_str(), gateway.as_str()])?;
            let place = Place {
                id: db.last_insert_rowid(),
                ..Place::default()
            };
            self.places.insert(greenhouse.clone(), place);
            schema::size_cache(db, self.places.len())?;
        }
        Ok(self.places.entry(greenhouse.clone()).or_default())
    }
}

impl Intake {
    fn refuse(&mut self, readings: usize, reason: &str) {
        self.refused += readings as u64;
        if self.reason.is_empty() {
            reason.clone_into(&mut self.reason);
        }
    }
}

fn wall_times(mono: &[u64], offset_ms: i64) -> Option<Vec<i64>> {
    let wall = |time: &u64| {
        let time = i64::try_from(*time).ok()?.checked_add(offset_ms)?;
        (-TIME_MAX_MS..TIME_MAX_MS).contains(&time).then_some(time)
    };
    mono.iter().map(wall).collect()
}

/// Puts a column, at the series' exponent, into a block that has its times; `false` if a value does not fit.
fn take_column(series: &Series, column: &Column, factor: i64, block: &mut Block) -> bool {
    block.exponent = series.exponent;
    block.mantissas.clear();
    block.qualities.clear();
    let mut last = series.newest.map_or(0, |(_, mantissa, _)| mantissa);
    for sample in &column.samples {
        if let Some(mantissa) = sample.mantissa {
            match mantissa.checked_mul(factor) {
                Some(scaled) if scaled.unsigned_abs() <= MANTISSA_MAX.unsigned_abs() => {
                    last = scaled;
                }
                Some(_) | None => return false,
            }
        }
        block.mantissas.push(last);
        block.qualities.push(sample.quality);
    }
    true
}

/// The readings of a column that are not stored yet, when some are older than the series' newest.
pub(super) fn only_new(
    db: &Connection,
    series: &mut Series,
    block: &Block,
    applied: &mut Applied,
) -> Result<Block, StoreError> {
    let newest_ms = series.newest.map(|(time, _, _)| time);
    let mut new = Block::new(block.exponent);
    for (time, mantissa, quality) in block.iter() {
        if is_behind(db, series, time)? {
            applied.readings_behind += 1;
            continue;
        }
        if Some(time) > newest_ms {
            new.push(time, Some(mantissa), quality);
            continue;
        }
        if known_times(db, series, time)?.binary_search(&time).is_ok() {
            applied.readings_duplicate += 1;
            continue;
        }
        applied.readings_late += 1;
        new.push(time, Some(mantissa), quality);
        series.note(time, mantissa, quality);
    }
    Ok(new)
}

/// All times stored in the window that `time_ms` lies in.
fn known_times<'a>(
    db: &Connection,
    series: &'a mut Series,
    time_ms: i64,
) -> Result<&'a [i64], StoreError> {
    let window = series.window(time_ms);
    let known = match series.known.take() {
        Some(known) if known.window == window => known,
        Some(_) | None => KnownTimes {
            window,
            times: read_times(db, series, window)?,
        },
    };
    Ok(&series.known.insert(known).times)
}

fn read_times(db: &Connection, series: &Series, window: i64) -> Result<Vec<i64>, StoreError> {
    let mut times = Vec::new();
    for sql in [
        "SELECT body FROM chunk WHERE series = ?1 AND window = ?2",
        "SELECT body FROM part WHERE series = ?1 AND window = ?2",
    ] {
        let mut query = db.prepare_cached(sql)?;
        let mut rows = query.query(params![series.id, window])?;
        while let Some(row) = rows.next()? {
            let body = row.get_ref(0)?.as_blob().unwrap_or_default();
            times.extend(readable("block", Block::decode_times(body)).unwrap_or_default());
        }
    }
    let mut query = db.prepare_cached(
        "SELECT body FROM pending JOIN place ON place = id WHERE greenhouse = ?1",
    )?;
    let mut rows = query.query(params![series.name.greenhouse.as_str()])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob().unwrap_or_default();
        let wanted = |id| id == series.id;
        let read = read_pending(body, wanted, |_, block| {
            times.extend(
                block
                    .times
                    .iter()
                    .filter(|time| series.window(**time) == window),
            );
            Ok(())
        });
        readable("batch", read);
    }
    times.sort_unstable();
    Ok(times)
}
