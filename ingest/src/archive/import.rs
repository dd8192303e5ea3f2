//! Readings that come from another store, not from the log: the log's position stays where it is.
//!
//! They are blocks by series already, so they become parts at once. A reading that a series has stays as it is.

use furrow_wire::{Decimal, SeriesId};
use rusqlite::{Connection, TransactionBehavior, params};

use super::change::Applied;
use super::codec::block::{Block, scale_factor};
use super::readings::{MANTISSA_MAX, TIME_MAX_MS, only_new};
use super::retention::is_behind;
use super::series::Import;
use super::store::{Place, State, Store};
use super::{LiveHub, StoreError};
use crate::store::{Reading, Refused, Run, Written};

/// Sampling interval of a series that came with one reading, in milliseconds: its windows are of middle length.
const INTERVAL_GUESS_MS: u32 = 60_000;

impl Store {
    /// Stores runs in one transaction; after an error memory is as it was before.
    pub(super) fn import(&mut self, runs: &[Run], live: &LiveHub) -> Result<Written, StoreError> {
        let result = self.try_import(runs);
        match &result {
            Ok(_) => self.publish(live),
            Err(_) => self.reload()?,
        }
        result
    }

    fn try_import(&mut self, runs: &[Run]) -> Result<Written, StoreError> {
        let (db, state) = self.parts();
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut written = Written::default();
        for run in runs {
            state.import(&transaction, run, &mut written)?;
        }
        transaction.commit()?;
        Ok(written)
    }
}

impl State {
    fn import(
        &mut self,
        db: &Connection,
        run: &Run,
        written: &mut Written,
    ) -> Result<(), StoreError> {
        if run.readings.is_empty() {
            return Ok(());
        }
        let import = Import {
            name: &run.series,
            unit: &run.unit,
            exponent: finest(&run.readings),
            interval_ms: smallest_step(&run.readings),
        };
        let index = match self.series.for_import(db, &import, &self.rules)? {
            Ok(index) => index,
            Err(reason) => {
                let refused = run.readings.iter();
                written
                    .refused
                    .extend(refused.map(|reading| refuse(&run.series, *reading, &reason)));
                return Ok(());
            }
        };
        self.place_of_import(db, run)?;
        let Some(series) = self.series.get_mut(index) else {
            return Ok(());
        };
        let mut block = Block::new(series.exponent);
        for reading in &run.readings {
            if is_behind(db, series, reading.time_ms)? {
                let reason = "older than its cooperative keeps readings";
                written.refused.push(refuse(&run.series, *reading, reason));
                continue;
            }
            match mantissa(reading, series.exponent) {
                Ok(mantissa) => block.push(reading.time_ms, mantissa, reading.quality),
                Err(reason) => written.refused.push(refuse(&run.series, *reading, reason)),
            }
        }
        // The caller's promise of ascending times is not trusted: a block out of order can't be searched.
        let twice = block.sort();
        let new = only_new(db, series, &block, &mut Applied::default())?;
        written.stored += (block.len() + twice) as u64;
        for (time_ms, mantissa, quality) in new.iter() {
            series.note(time_ms, mantissa, quality);
        }
        if series.known.is_some() {
            self.remembering.insert(index);
        }
        series.touch(index, &mut self.touched);
        let windows = self.write_parts(db, index, new)?;
        self.write_newest(db, index)?;
        self.tidy(db, index, &windows)?;
        self.forget_known();
        Ok(())
    }

    /// The greenhouse's row; its first catalog will say whose gateway stands there.
    fn place_of_import(&mut self, db: &Connection, run: &Run) -> Result<(), StoreError> {
        let greenhouse = &run.series.greenhouse;
        if self.places.contains_key(greenhouse) {
            return Ok(());
        }
        db.prepare_cached("INSERT INTO place (greenhouse) VALUES (?1)")?
            .execute(params![greenhouse.as_str()])?;
        let place = Place {
            id: db.last_insert_rowid(),
            ..Place::default()
        };
        self.places.insert(greenhouse.clone(), place);
        Ok(())
    }
}

fn refuse(series: &SeriesId, reading: Reading, reason: &str) -> Refused {
    Refused {
        series: series.clone(),
        reading,
        reason: reason.to_owned(),
    }
}

/// The finest exponent of the values. Never above 0: a store of floating-point numbers gives 20 for 20.0 and 1000
/// as 10^3, and a series can become finer by only so much.
fn finest(readings: &[Reading]) -> i8 {
    let values = readings.iter().filter_map(|reading| reading.value);
    values
        .map(|value| value.exponent.max(Decimal::MIN_EXPONENT))
        .min()
        .unwrap_or(0)
        .min(0)
}

/// The smallest step between two readings, in milliseconds.
fn smallest_step(readings: &[Reading]) -> u32 {
    let steps = readings.windows(2).filter_map(|pair| match pair {
        [a, b] => u32::try_from(b.time_ms.saturating_sub(a.time_ms)).ok(),
        _ => None,
    });
    let steps = steps.filter(|step| *step > 0);
    steps.min().unwrap_or(INTERVAL_GUESS_MS)
}

/// A reading's value in a series' steps; `None` where its quality carries none.
fn mantissa(reading: &Reading, exponent: i8) -> Result<Option<i64>, &'static str> {
    if !(-TIME_MAX_MS..TIME_MAX_MS).contains(&reading.time_ms) {
        return Err("a time beyond all calendars");
    }
    if !reading.quality.has_value() {
        return Ok(None);
    }
    let value = reading
        .value
        .ok_or("a quality that carries a value, without one")?;
    let scaled = if value.exponent >= exponent {
        scale_factor(value.exponent, exponent).and_then(|factor| value.mantissa.checked_mul(factor))
    } else {
        // 2.500 is 2.5 where the series has no finer steps; 2.505 is not.
        let factor = scale_factor(exponent, value.exponent);
        match factor.filter(|factor| value.mantissa % factor == 0) {
            Some(factor) => Some(value.mantissa / factor),
            None => return Err("finer steps than its series can take on"),
        }
    };
    match scaled {
        Some(scaled) if scaled.unsigned_abs() <= MANTISSA_MAX.unsigned_abs() => Ok(Some(scaled)),
        Some(_) | None => Err("a value beyond 2^53 steps"),
    }
}
