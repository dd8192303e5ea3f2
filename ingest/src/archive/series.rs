//! What the writer knows of each series without asking the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use furrow_wire::{Catalog, CatalogChannel, CatalogHash, GreenhouseId, Quality, SeriesId};
use rusqlite::{Connection, params};

use super::codec::block::scale_factor;
use super::{Latest, StoreError};
use crate::alerting::{AlertRule, Watched};

/// Most series of one cooperative: 1,000 greenhouses of 100 channels. A hostile gateway can't grow the
/// writer's memory beyond it.
pub(super) const MAX_SERIES: usize = 100_000;

/// Readings that a window should hold at least, so that packed columns are worth their tables.
const WINDOW_READINGS: i64 = 8192;
/// How many powers of ten a series' exponent may become finer than its first one. Accepted mantissas
/// are below 2^53, so that times 1,000 they still fit 64 bits and every old block can be rescaled.
const FINER_STEPS_MAX: i8 = 3;
const HOUR_MS: i64 = 3_600_000;
/// Lengths of windows, all whole hours so that no roll-up bucket lies in two of them.
const WINDOWS_MS: [i64; 6] = [
    HOUR_MS,
    6 * HOUR_MS,
    24 * HOUR_MS,
    96 * HOUR_MS,
    384 * HOUR_MS,
    1536 * HOUR_MS,
];

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) id: i64,
    pub(super) name: SeriesId,
    pub(super) unit: Arc<str>,
    /// Finest exponent that ever came.
    pub(super) exponent: i8,
    /// The first that came.
    pub(super) first_exponent: i8,
    pub(super) interval_ms: u32,
    pub(super) window_ms: i64,
    pub(super) device_name: Arc<str>,
    pub(super) channel_name: Arc<str>,
    /// Newest reading, at the exponent above.
    pub(super) newest: Option<(i64, i64, Quality)>,
    /// Newest good reading.
    pub(super) good: Option<(i64, i64)>,
    /// Windows that have parts.
    pub(super) open: BTreeMap<i64, OpenWindow>,
    /// All times stored in one window: answers whether a late reading is a duplicate.
    pub(super) known: Option<KnownTimes>,
    /// Readings of windows before this one may have been given up.
    pub(super) kept_from: i64,
    /// Which of the cooperative's rules are for it.
    pub(super) rules: Vec<usize>,
    /// Whether it is in the list of those whose newest reading changed.
    pub(super) is_touched: bool,
}

/// A window that has parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct OpenWindow {
    pub(super) parts: u32,
    pub(super) next_part: i64,
}

/// See [`Series::known`].
#[derive(Debug)]
pub(super) struct KnownTimes {
    pub(super) window: i64,
    /// Ascending.
    pub(super) times: Vec<i64>,
}

impl Series {
    /// The window that a time lies in.
    pub(super) fn window(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.window_ms)
    }

    /// Takes note of an accepted reading.
    pub(super) fn note(&mut self, time_ms: i64, mantissa: i64, quality: Quality) {
        if self
            .newest
            .is_none_or(|(newest_ms, _, _)| time_ms > newest_ms)
        {
            self.newest = Some((time_ms, mantissa, quality));
        }
        if quality == Quality::Good && self.good.is_none_or(|(good_ms, _)| time_ms > good_ms) {
            self.good = Some((time_ms, mantissa));
        }
        let window = self.window(time_ms);
        if let Some(known) = self.known.as_mut().filter(|known| known.window == window)
            && let Err(place) = known.times.binary_search(&time_ms)
        {
            known.times.insert(place, time_ms);
        }
    }

    /// Puts it into the list of those whose newest reading changed, once.
    pub(super) fn touch(&mut self, index: usize, touched: &mut Vec<usize>) {
        if !self.is_touched {
            self.is_touched = true;
            touched.push(index);
        }
    }

    /// What the readers see of it.
    pub(super) fn latest(&self) -> Latest {
        Latest {
            series: self.name.clone(),
            device_name: self.device_name.clone(),
            channel_name: self.channel_name.clone(),
            unit: self.unit.clone(),
            exponent: self.exponent,
            interval_ms: self.interval_ms,
            newest: self.newest,
            good: self.good,
        }
    }

    /// What alert rules see of it.
    pub(super) fn as_watched(&self) -> Watched<'_> {
        Watched {
            series: &self.name,
            unit: &self.unit,
            rules: &self.rules,
        }
    }

    fn refine(&mut self, exponent: i8) -> bool {
        if exponent < self.first_exponent.saturating_sub(FINER_STEPS_MAX) {
            return false;
        }
        let Some(factor) = scale_factor(self.exponent, exponent) else {
            return false;
        };
        let newest = self.newest.map(|(time, value, quality)| {
            value
                .checked_mul(factor)
                .map(|value| (time, value, quality))
        });
        let good = self
            .good
            .map(|(time, value)| value.checked_mul(factor).map(|v| (time, v)));
        if newest == Some(None) || good == Some(None) {
            return false;
        }
        (self.newest, self.good, self.exponent) = (newest.flatten(), good.flatten(), exponent);
        true
    }
}

/// What a catalog's channel is in the archive.
#[derive(Debug, Clone)]
pub(super) enum Resolved {
    /// A series; mantissas are multiplied by the factor.
    Series {
        /// Index in the table.
        index: usize,
        /// Power of ten.
        factor: i64,
    },
    /// No series can hold it.
    Refused(String),
}

impl Resolved {
    /// The series' index, if there is one.
    fn index(&self) -> Option<usize> {
        match self {
            Resolved::Series { index, .. } => Some(*index),
            Resolved::Refused(_) => None,
        }
    }
}

/// What is known of a series whose readings come from another store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Import<'a> {
    pub(super) name: &'a SeriesId,
    pub(super) unit: &'a str,
    /// The finest of the readings.
    pub(super) exponent: i8,
    /// How often it seems to be sampled.
    pub(super) interval_ms: u32,
}

/// All series of a cooperative.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    list: Vec<Series>,
    by_name: BTreeMap<SeriesId, usize>,
    by_id: BTreeMap<i64, usize>,
    resolved: BTreeMap<GreenhouseId, (CatalogHash, Arc<[Resolved]>)>,
    /// Made or changed by a catalog since the last [`SeriesTable::take_changed`].
    changed: BTreeSet<usize>,
}

impl SeriesTable {
    pub(super) fn add(&mut self, series: Series) -> usize {
        let index = self.list.len();
        self.by_name.insert(series.name.clone(), index);
        self.by_id.insert(series.id, index);
        self.list.push(series);
        index
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Series> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.list.iter_mut()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Series> {
        self.list.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Series> {
        self.list.get_mut(index)
    }

    pub(super) fn index_of_id(&self, id: i64) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn by_id_mut(&mut self, id: i64) -> Option<&mut Series> {
        let index = self.index_of_id(id)?;
        self.list.get_mut(index)
    }

    /// Series that a catalog made or changed since the last call: readers must hear of them.
    pub(super) fn take_changed(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.changed)
    }

    /// What the channels of a catalog are; makes series that are new.
    pub(super) fn resolve(
        &mut self,
        db: &Connection,
        greenhouse: &GreenhouseId,
        hash: CatalogHash,
        catalog: &Catalog,
        rules: &[AlertRule],
    ) -> Result<Arc<[Resolved]>, StoreError> {
        if let Some((known, resolved)) = self.resolved.get(greenhouse)
            && *known == hash
        {
            return Ok(Arc::clone(resolved));
        }
        // Twice, since a later channel of the same series may bring a finer exponent than an earlier one.
        for channel in &catalog.channels {
            self.resolve_channel(db, greenhouse, catalog, channel, rules)?;
        }
        let resolved = catalog
            .channels
            .iter()
            .map(|channel| self.resolve_channel(db, greenhouse, catalog, channel, rules))
            .collect::<Result<Arc<[Resolved]>, StoreError>>()?;
        self.changed
            .extend(resolved.iter().filter_map(Resolved::index));
        self.resolved
            .insert(greenhouse.clone(), (hash, Arc::clone(&resolved)));
        Ok(resolved)
    }

    fn resolve_channel(
        &mut self,
        db: &Connection,
        greenhouse: &GreenhouseId,
        catalog: &Catalog,
        channel: &CatalogChannel,
        rules: &[AlertRule],
    ) -> Result<Resolved, StoreError> {
        let name = SeriesId {
            greenhouse: greenhouse.clone(),
            device: channel.device.clone(),
            channel: channel.channel.clone(),
        };
        let device = catalog
            .devices
            .iter()
            .find(|device| device.id == channel.device);
        let device_name = device
            .map(|device| device.name.as_str())
            .unwrap_or_default();
        let index = match self.by_name.get(&name) {
            Some(index) => *index,
            None if self.list.len() >= MAX_SERIES => {
                return Ok(Resolved::Refused(format!("more than {MAX_SERIES} series")));
            }
            None => self.create(db, name, channel, device_name, rules)?,
        };
        let Some(series) = self.list.get_mut(index) else {
            return Ok(Resolved::Refused("unknown series".to_owned()));
        };
        if *series.unit != *channel.unit {
            let (name, had) = (&series.name, &series.unit);
            let reason = format!(
                "{name} has unit {had:?} (the catalog says {:?})",
                channel.unit
            );
            return Ok(Resolved::Refused(reason));
        }
        if channel.exponent < series.exponent {
            let coarse = series.exponent;
            if !series.refine(channel.exponent) {
                let reason = format!("{} can't go to exponent {}", series.name, channel.exponent);
                return Ok(Resolved::Refused(reason));
            }
            rescale_row(db, series, coarse)?;
            self.resolved.clear();
        }
        series.interval_ms = channel.interval_ms;
        follow(&mut series.device_name, device_name);
        follow(&mut series.channel_name, &channel.name);
        db.prepare_cached(
            "UPDATE series SET exponent = ?2, interval_ms = ?3, device_name = ?4, channel_name = ?5
             WHERE id = ?1",
        )?
        .execute(params![
            series.id,
            series.exponent,
            series.interval_ms,
            series.device_name,
            series.channel_name
        ])?;
        match scale_factor(channel.exponent, series.exponent) {
            Some(factor) => Ok(Resolved::Series { index, factor }),
            None => Ok(Resolved::Refused(format!(
                "{} has too fine an exponent",
                series.name
            ))),
        }
    }

    /// The series of readings that come from another store, as fine as they are if it can be; makes it if it is new.
    /// Gives why not, if it can't hold them.
    pub(super) fn for_import(
        &mut self,
        db: &Connection,
        import: &Import<'_>,
        rules: &[AlertRule],
    ) -> Result<Result<usize, String>, StoreError> {
        let index = match self.by_name.get(import.name) {
            Some(index) => *index,
            None if self.list.len() >= MAX_SERIES => {
                return Ok(Err(format!("more than {MAX_SERIES} series")));
            }
            None => {
                let channel = CatalogChannel {
                    device: import.name.device.clone(),
                    channel: import.name.channel.clone(),
                    unit: import.unit.to_owned(),
                    exponent: import.exponent,
                    interval_ms: import.interval_ms,
                    name: String::new(),
                };
                self.create(db, import.name.clone(), &channel, "", rules)?
            }
        };
        let Some(series) = self.list.get_mut(index) else {
            return Ok(Err("unknown series".to_owned()));
        };
        if *series.unit != *import.unit {
            let (name, had, wanted) = (&series.name, &series.unit, import.unit);
            return Ok(Err(format!("{name} has unit {had:?}, not {wanted:?}")));
        }
        let coarse = series.exponent;
        let finer = (import.exponent..coarse).find(|exponent| series.refine(*exponent));
        if finer.is_some() {
            rescale_row(db, series, coarse)?;
            db.prepare_cached("UPDATE series SET exponent = ?2 WHERE id = ?1")?
                .execute(params![series.id, series.exponent])?;
            self.resolved.clear();
        }
        Ok(Ok(index))
    }

    fn create(
        &mut self,
        db: &Connection,
        name: SeriesId,
        channel: &CatalogChannel,
        device_name: &str,
        rules: &[AlertRule],
    ) -> Result<usize, StoreError> {
        let window_ms = window_ms(channel.interval_ms);
        db.prepare_cached(
            "INSERT INTO series (greenhouse, device, channel, unit, exponent, first_exponent,
                 interval_ms, window_ms, device_name, channel_name)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            name.greenhouse.as_str(),
            name.device.as_str(),
            name.channel.as_str(),
            channel.unit,
            channel.exponent,
            channel.interval_ms,
            window_ms,
            device_name,
            channel.name
        ])?;
        Ok(self.add(Series {
            id: db.last_insert_rowid(),
            rules: rules_for(rules, &name),
            name,
            unit: channel.unit.as_str().into(),
            exponent: channel.exponent,
            first_exponent: channel.exponent,
            interval_ms: channel.interval_ms,
            window_ms,
            device_name: device_name.into(),
            channel_name: channel.name.as_str().into(),
            newest: None,
            good: None,
            open: BTreeMap::new(),
            known: None,
            kept_from: i64::MIN,
            is_touched: false,
        }))
    }
}

/// The newest values in a series' row are at its exponent: they follow it to a finer one.
fn rescale_row(db: &Connection, series: &Series, coarse: i8) -> Result<(), StoreError> {
    let factor = scale_factor(coarse, series.exponent);
    db.prepare_cached("UPDATE series SET newest = newest * ?2, good = good * ?2 WHERE id = ?1")?
        .execute(params![series.id, factor])?;
    Ok(())
}

/// Takes another text, if it is another.
fn follow(text: &mut Arc<str>, new: &str) {
    if **text != *new {
        *text = new.into();
    }
}

/// Which rules are for a series.
pub(super) fn rules_for(rules: &[AlertRule], series: &SeriesId) -> Vec<usize> {
    let matching = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.matches(series));
    matching.map(|(index, _)| index).collect()
}

/// Length of the windows of a series that is sampled so often.
fn window_ms(interval_ms: u32) -> i64 {
    let wanted = i64::from(interval_ms).saturating_mul(WINDOW_READINGS);
    let longest = 1536 * HOUR_MS;
    WINDOWS_MS
        .into_iter()
        .find(|window| *window >= wanted)
        .unwrap_or(longest)
}
