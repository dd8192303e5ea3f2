//! The archive as a store of numeric series: for copying one store into another, and for the suite that all stores pass.
//!
//! A running ingest writes its archive from the log, not through here; it is another process, and while it runs nobody
//! else may write. Reading is always possible.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use furrow_wire::{CooperativeId, Decimal, GreenhouseId, SeriesId};

use super::{
    Abilities, Kept, Newest, Point, Reading, Run, SeriesInfo, SeriesStore, Span, StoreFault,
    Written,
};
use crate::archive::{Archive, ArchiveError, ArchiveReader, Latest, LiveHub, file_of};
use crate::metrics::Metrics;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArchiveStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// `None`: opened for reading.
    writer: Option<Mutex<Archive>>,
    /// Locked for reading while any of them reads: a file is not deleted under them.
    readers: RwLock<BTreeMap<CooperativeId, ArchiveReader>>,
}

impl ArchiveStore {
    /// Opens or creates an archive's folder for reading and writing. Cooperatives' files are made when they are written.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`] while an ingest or another copy writes there; [`ArchiveError::Directory`].
    pub fn open(dir: &Path) -> Result<Self, ArchiveError> {
        let archive = Archive::open(dir, &[], LiveHub::default(), &Metrics::default())?;
        Ok(Self::with(dir, Some(Mutex::new(archive))))
    }

    /// For reading, beside a running ingest or without one.
    #[must_use]
    pub fn reading(dir: &Path) -> Self {
        Self::with(dir, None)
    }

    fn with(dir: &Path, writer: Option<Mutex<Archive>>) -> Self {
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            writer,
            readers: RwLock::default(),
        }))
    }

    /// Runs what blocks.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|_| {
            Err(StoreFault::Busy {
                reason: "archive's thread ended".to_owned(),
                retry_after: None,
            })
        })
    }
}

impl Inner {
    /// What a cooperative's file says; `nothing` if there is none.
    fn read<T>(
        &self,
        cooperative: &CooperativeId,
        nothing: T,
        work: impl FnOnce(&ArchiveReader) -> Result<T, ArchiveError>,
    ) -> Result<T, StoreFault> {
        {
            let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
            readers.entry(cooperative.clone()).or_insert_with(|| {
                ArchiveReader::open_dir(&self.dir, std::slice::from_ref(cooperative))
            });
        }
        let readers = self.readers.read().unwrap_or_else(PoisonError::into_inner);
        match readers.get(cooperative) {
            Some(reader) if file_of(&self.dir, cooperative).exists() => work(reader).map_err(fault),
            Some(_) | None => Ok(nothing),
        }
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut Archive) -> Result<T, ArchiveError>,
    ) -> Result<T, StoreFault> {
        let writer = self.writer.as_ref().ok_or_else(|| StoreFault::Denied {
            reason: "archive is open for reading".to_owned(),
        })?;
        let mut archive = writer.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut archive).map_err(fault)
    }
}

#[async_trait]
impl SeriesStore for ArchiveStore {
    fn abilities(&self) -> Abilities {
        Abilities {
            keeps_decimals: true,
            of_two: Kept::First,
            retention_per_cooperative: true,
            deletes_at_once: true,
            visible_after: Duration::ZERO,
            // What a power cut takes back the log still has; without a log, whoever copies closes the file in order.
            durable_after: Duration::ZERO,
        }
    }

    async fn health(&self) -> Result<(), StoreFault> {
        self.run(|inner| match std::fs::read_dir(&inner.dir) {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreFault::Denied {
                reason: format!("{} can't be read: {error}", inner.dir.display()),
            }),
        })
        .await
    }

    async fn write(
        &self,
        cooperative: &CooperativeId,
        runs: &[Run],
    ) -> Result<Written, StoreFault> {
        let (cooperative, runs) = (cooperative.clone(), runs.to_vec());
        self.run(move |inner| {
            inner.write(|archive| archive.import(&inner.dir, &cooperative, &runs))
        })
        .await
    }

    async fn series(&self, cooperative: &CooperativeId) -> Result<Vec<SeriesInfo>, StoreFault> {
        let cooperative = cooperative.clone();
        self.run(move |inner| {
            inner.read(&cooperative, Vec::new(), |reader| {
                reader.series(&cooperative)
            })
        })
        .await
    }

    async fn latest(
        &self,
        cooperative: &CooperativeId,
        greenhouse: Option<&GreenhouseId>,
    ) -> Result<Vec<Newest>, StoreFault> {
        let (cooperative, greenhouse) = (cooperative.clone(), greenhouse.cloned());
        let newest = self.run(move |inner| {
            inner.read(&cooperative, Vec::new(), |reader| {
                reader.newest(&cooperative, greenhouse.as_ref())
            })
        });
        Ok(newest.await?.into_iter().filter_map(newest_of).collect())
    }

    async fn extent(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
    ) -> Result<Option<Span>, StoreFault> {
        let (cooperative, series) = (cooperative.clone(), series.clone());
        self.run(move |inner| {
            inner.read(&cooperative, None, |reader| {
                reader.extent(&cooperative, &series)
            })
        })
        .await
    }

    async fn read(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
    ) -> Result<Vec<Reading>, StoreFault> {
        let (cooperative, series) = (cooperative.clone(), series.clone());
        self.run(move |inner| {
            inner.read(&cooperative, Vec::new(), |reader| {
                reader.readings(&cooperative, &series, span)
            })
        })
        .await
    }

    async fn buckets(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
        bucket_ms: u32,
    ) -> Result<Vec<Point>, StoreFault> {
        let step = i64::from(bucket_ms);
        if step == 0 || span.from_ms.rem_euclid(step) != 0 || span.to_ms.rem_euclid(step) != 0 {
            return Err(StoreFault::Refused {
                reason: format!("span does not begin and end at multiples of {bucket_ms} ms"),
            });
        }
        let (cooperative, series) = (cooperative.clone(), series.clone());
        let answer = self.run(move |inner| {
            inner.read(&cooperative, Some(Vec::new()), |reader| {
                reader.buckets(&cooperative, &series, span, bucket_ms)
            })
        });
        answer.await?.ok_or_else(|| StoreFault::Refused {
            reason: "too many buckets: ask for longer ones, or a shorter span".to_owned(),
        })
    }

    async fn delete(&self, cooperative: &CooperativeId) -> Result<(), StoreFault> {
        let cooperative = cooperative.clone();
        self.run(move |inner| {
            let mut readers = inner
                .readers
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            // Its idle connections close before the file goes.
            readers.remove(&cooperative);
            inner.write(|archive| archive.delete(&inner.dir, &cooperative))
        })
        .await
    }
}

fn newest_of(latest: Latest) -> Option<Newest> {
    let (time_ms, mantissa, quality) = latest.newest?;
    let value = quality.has_value().then_some(Decimal {
        mantissa,
        exponent: latest.exponent,
    });
    Some(Newest {
        series: SeriesInfo {
            id: latest.series,
            unit: latest.unit.to_string(),
        },
        reading: Reading {
            time_ms,
            value,
            quality,
        },
    })
}

fn fault(error: ArchiveError) -> StoreFault {
    let is_damage = error.is_damage();
    let reason = format!("{:#}", anyhow::Error::from(error));
    if is_damage {
        StoreFault::Denied { reason }
    } else {
        StoreFault::Busy {
            reason,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests;
