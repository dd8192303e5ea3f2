//! A whole cooperative from one store to another, series after series.
//!
//! It can be interrupted after any series and go on there; a series that was half done is done again, which changes
//! nothing. What comes into the source meanwhile may be copied or not: whoever wants it writes it behind the copy, as
//! a forwarder does.

use furrow_wire::{CooperativeId, SeriesId};

use crate::store::{Reading, Refused, Run, SeriesInfo, SeriesStore, Span, StoreFault};

/// Time that is read at once, in milliseconds: 35,000 readings at 10 s.
const WINDOW_MS: i64 = 4 * 86_400_000;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Series done, those of an earlier attempt included.
    pub done: usize,
    /// Series in all.
    pub series: usize,
    /// Readings written in this attempt.
    pub readings: u64,
}

/// What a copy tells while it goes on. An error of either ends it.
pub trait Watch: Send {
    /// A series is done.
    ///
    /// # Errors
    /// When that can't be kept.
    fn handle_series(&mut self, series: &SeriesId, at: Progress) -> Result<(), StoreFault>;

    /// The target took readings, and refused others for good.
    ///
    /// # Errors
    /// When the copy is to end because of it.
    fn handle_written(&mut self, stored: u64, refused: &[Refused]) -> Result<(), StoreFault>;

    /// Whether to stop here; asked between writes.
    fn is_over(&self) -> bool;
}

/// Copies what a cooperative has behind the series `done` (`greenhouse/device/channel`), or all of it. Says whether it
/// came to the end.
///
/// # Errors
/// Either store's fault; what was done by then has been told.
pub async fn cooperative(
    from: &dyn SeriesStore,
    to: &dyn SeriesStore,
    cooperative: &CooperativeId,
    done: Option<&str>,
    watch: &mut impl Watch,
) -> Result<bool, StoreFault> {
    let series = from.series(cooperative).await?;
    // One that is not there any more: all is done again.
    let first = done.and_then(|done| series.iter().position(|one| one.id.to_string() == done));
    let first = first.map_or(0, |place| place + 1);
    let mut progress = Progress {
        done: first,
        series: series.len(),
        readings: 0,
    };
    for one in series.iter().skip(first) {
        let Some(extent) = from.extent(cooperative, &one.id).await? else {
            continue;
        };
        let mut from_ms = extent.from_ms;
        while from_ms < extent.to_ms {
            if watch.is_over() {
                return Ok(false);
            }
            let to_ms = from_ms.saturating_add(WINDOW_MS).min(extent.to_ms);
            let readings = from.read(cooperative, &one.id, Span { from_ms, to_ms });
            progress.readings += write(readings.await?, one, to, cooperative, watch).await?;
            from_ms = to_ms;
        }
        progress.done += 1;
        watch.handle_series(&one.id, progress)?;
    }
    Ok(true)
}

async fn write(
    readings: Vec<Reading>,
    series: &SeriesInfo,
    to: &dyn SeriesStore,
    cooperative: &CooperativeId,
    watch: &mut impl Watch,
) -> Result<u64, StoreFault> {
    if readings.is_empty() {
        return Ok(0);
    }
    let run = Run {
        series: series.id.clone(),
        unit: series.unit.clone(),
        readings,
    };
    let written = to.write(cooperative, &[run]).await?;
    watch.handle_written(written.stored, &written.refused)?;
    Ok(written.stored)
}
