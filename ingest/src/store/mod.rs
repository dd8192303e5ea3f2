//! Numeric series behind one trait: the archive, InfluxDB 2, VictoriaMetrics.
//!
//! This module owns what every store must do alike; `tests/tests/stores.rs` runs one suite against all of them.
//! Events, alerts, commands and dead letters are not series: they stay in the cooperative's archive file, whatever
//! store the readings go to.
//!
//! # The contract
//!
//! - **A series** is (cooperative, greenhouse, device, channel). A store answers for one cooperative at a time and
//!   never shows it another's series.
//! - **A reading** is named by its series and its time in milliseconds. Writing it again changes nothing, so whoever
//!   does not know whether a write arrived writes again.
//! - **A bad reading is never a number**: aggregates count good ones only. What a bad one carries is kept apart from
//!   values.
//! - **Late readings** count like others, wherever in time they fall, roll-ups included.
//! - What a store can't promise it declares in its [`Abilities`], and the suite tests what is declared.

pub mod archive;
mod batch;
mod fields;
mod http;
pub mod influx;
pub mod line;
pub mod victoria;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use furrow_wire::{CooperativeId, Decimal, GreenhouseId, Quality, SeriesId};

pub use self::http::SettingsError;
pub use crate::archive::Point;

/// One reading of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Unix milliseconds.
    pub time_ms: i64,
    /// `None` where the quality carries no value.
    pub value: Option<Decimal>,
    /// What it is worth.
    pub quality: Quality,
}

/// Readings of one series, in ascending time, each time once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which series.
    pub series: SeriesId,
    /// UCUM or SenML unit code; may be empty.
    pub unit: String,
    /// The readings.
    pub readings: Vec<Reading>,
}

/// A series that a store holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesInfo {
    /// Which.
    pub id: SeriesId,
    /// UCUM or SenML unit code; may be empty.
    pub unit: String,
}

/// The newest reading of a series, of any quality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Which series.
    pub series: SeriesInfo,
    /// The reading. Stores that keep floating-point numbers give the shortest decimal that is the same number.
    pub reading: Reading,
}

/// Times from `from_ms` on and before `to_ms`, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First.
    pub from_ms: i64,
    /// Behind the last.
    pub to_ms: i64,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Readings that the store holds now, those that it held before included.
    pub stored: u64,
    /// Readings that it will never take, and why: for the dead letters.
    pub refused: Vec<Refused>,
}

/// A reading that a store will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of which series.
    pub series: SeriesId,
    /// Which.
    pub reading: Reading,
    /// The store's word.
    pub reason: String,
}

/// What a store promises beyond the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Values come back exactly, with the decimal places of the finest that its series ever had; else as the nearest
    /// floating-point number.
    pub keeps_decimals: bool,
    /// Which of two different readings of one name stays.
    pub of_two: Kept,
    /// Readings older than a time can be given up for one cooperative alone.
    pub retention_per_cooperative: bool,
    /// A deleted cooperative is gone when the call returns; else some time after.
    pub deletes_at_once: bool,
    /// A reading can be read so long after its write returned.
    pub visible_after: Duration,
    /// A reading survives the store's sudden death so long after its write returned: who keeps readings for it must keep
    /// them until then.
    pub durable_after: Duration,
}

/// Which of two different readings of one name stays. The same reading written again changes nothing in any store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The one that was written first.
    First,
    /// The one that was written last; a good one stays before a bad one.
    Last,
    /// One of the two, and which is not promised; a good one stays before a bad one.
    Either,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFault {
    /// It may be able to later: try the same again, not before `retry_after` if it said so.
    Busy {
        /// What happened.
        reason: String,
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// A person has to act: a token that is not valid, a bucket that is not there. Nothing is lost meanwhile.
    Denied {
        /// What it said, and what to do.
        reason: String,
    },
    /// It will never do this.
    Refused {
        /// What it said.
        reason: String,
    },
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreFault::Busy { reason, .. } => write!(f, "store is busy or away: {reason}"),
            StoreFault::Denied { reason } => write!(f, "store denies access: {reason}"),
            StoreFault::Refused { reason } => write!(f, "store refuses: {reason}"),
        }
    }
}

impl std::error::Error for StoreFault {}

/// A store of numeric series. See the module for what each must do.
#[async_trait]
pub trait SeriesStore: Send + Sync + fmt::Debug {
    /// What it promises beyond the contract.
    fn abilities(&self) -> Abilities;

    /// Whether it can be reached and takes what this program would write.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn health(&self) -> Result<(), StoreFault>;

    /// A number that changes when the store is started anew; `None` where that can't be seen, or does not matter since it
    /// loses nothing it answered for.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn incarnation(&self) -> Result<Option<u64>, StoreFault> {
        Ok(None)
    }

    /// Stores readings; what it holds already changes nothing. After an error some may be stored: write
    /// all of them again.
    ///
    /// # Errors
    /// When not all of them are stored or [`Written::refused`].
    async fn write(&self, cooperative: &CooperativeId, runs: &[Run])
    -> Result<Written, StoreFault>;

    /// All series of a cooperative, by name.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn series(&self, cooperative: &CooperativeId) -> Result<Vec<SeriesInfo>, StoreFault>;

    /// The newest reading of each series, by name; of one greenhouse or of all.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn latest(
        &self,
        cooperative: &CooperativeId,
        greenhouse: Option<&GreenhouseId>,
    ) -> Result<Vec<Newest>, StoreFault>;

    /// From the oldest reading of a series, of any quality, to just behind the newest; `None` if there is none.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn extent(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
    ) -> Result<Option<Span>, StoreFault>;

    /// Every reading of a series in a span, in ascending time. The caller chooses spans that fit memory.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn read(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
    ) -> Result<Vec<Reading>, StoreFault>;

    /// Good readings in buckets of `bucket_ms` that begin at multiples of it since 1970, in ascending time; a bucket
    /// without one is left out. The span must begin and end at such multiples.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn buckets(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
        bucket_ms: u32,
    ) -> Result<Vec<Point>, StoreFault>;

    /// Forgets everything of a cooperative.
    ///
    /// # Errors
    /// When it can't be asked: ask again.
    async fn delete(&self, cooperative: &CooperativeId) -> Result<(), StoreFault>;
}
