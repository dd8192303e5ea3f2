//! Which readings make one batch: those of one commit interval, columnar.
//!
//! Channels whose readings lie at the same times share an axis. A channel that gave nothing still
//! has a column, on an axis without times: the batch says that it covers the interval for it.

use std::collections::BTreeMap;

use furrow_wire::batch::MAX_SPAN_MS;
use furrow_wire::{Axis, Column, Sample};

use crate::FieldMs;

/// A batch is cut early at this many readings, so that its body stays well within a record's limit
/// (60 KiB) even where every reading takes seven bytes.
pub const MAX_BATCH_READINGS: usize = 8_192;

/// Collects samples until they are cut into a batch.
#[derive(Debug)]
pub struct BatchBuilder {
    columns: Vec<Pending>,
    from: FieldMs,
    readings: usize,
    late: u64,
}

#[derive(Debug)]
struct Pending {
    interval_ms: u32,
    samples: Vec<(u64, Sample)>,
}

/// The readings of one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Start of the interval, included.
    pub from: FieldMs,
    /// End of the interval, not included.
    pub to: FieldMs,
    /// The readings.
    pub axes: Vec<Axis>,
    /// How many readings.
    pub readings: u32,
}

impl BatchBuilder {
    /// A builder for channels with these sampling intervals (milliseconds), in catalog order.
    /// The first batch begins at `now`.
    #[must_use]
    pub fn new(intervals_ms: &[u32], now: FieldMs) -> Self {
        let pending = |interval: &u32| Pending {
            interval_ms: *interval,
            samples: Vec::new(),
        };
        let columns = intervals_ms.iter().map(pending).collect();
        BatchBuilder {
            columns,
            from: now,
            readings: 0,
            late: 0,
        }
    }

    /// Takes a sample of a channel. One whose interval was already cut is dropped and counted:
    /// the batch has said that nothing more comes.
    pub fn handle_sample(&mut self, channel: u16, at: FieldMs, sample: Sample) {
        if at < self.from {
            self.late += 1;
            return;
        }
        if let Some(column) = self.columns.get_mut(usize::from(channel)) {
            column.samples.push((at.0, sample));
            self.readings += 1;
        }
    }

    /// Whether so much is pending that the batch should be cut before its time.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.readings >= MAX_BATCH_READINGS
    }

    /// Readings not yet cut: what a power cut now would lose.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.readings
    }

    /// Samples dropped since the start because they came after their batch.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Start of the interval that is being collected.
    #[must_use]
    pub fn from(&self) -> FieldMs {
        self.from
    }

    /// Ends the interval at `to` (not included), or earlier when it would be longer than a batch
    /// may be: to be called until [`BatchBuilder::from`] is `to`. `None` when no time has passed.
    pub fn cut(&mut self, to: FieldMs) -> Option<Cut> {
        let to = to.min(self.from.plus(MAX_SPAN_MS));
        if to <= self.from {
            return None;
        }
        let mut axes: BTreeMap<(u32, Vec<u64>), Vec<Column>> = BTreeMap::new();
        let mut readings = 0;
        for (channel, column) in self.columns.iter_mut().enumerate() {
            column.samples.sort_by_key(|(at, _)| *at);
            let split = column.samples.partition_point(|(at, _)| *at < to.0);
            let taken: Vec<(u64, Sample)> = column.samples.drain(..split).collect();
            readings += taken.len();
            let (times, samples) = taken.into_iter().unzip();
            let channel = u16::try_from(channel).unwrap_or(u16::MAX);
            let axis = axes.entry((column.interval_ms, times)).or_default();
            axis.push(Column { channel, samples });
        }
        self.readings -= readings;
        let from = std::mem::replace(&mut self.from, to);
        let axis = |((step_ms, times), columns)| Axis {
            step_ms,
            times,
            columns,
        };
        let axes = axes.into_iter().map(axis).collect();
        Some(Cut {
            from,
            to,
            axes,
            readings: u32::try_from(readings).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use furrow_wire::Quality;

    fn good(value: i64) -> Sample {
        Sample {
            quality: Quality::Good,
            mantissa: Some(value),
        }
    }

    #[test]
    fn channels_with_the_same_times_share_an_axis_and_silent_ones_are_covered() {
        let mut builder = BatchBuilder::new(&[10, 10, 10, 60], FieldMs(100));
        for at in [100, 110, 120, 130] {
            builder.handle_sample(0, FieldMs(at), good(1));
            builder.handle_sample(1, FieldMs(at), good(2));
        }
        builder.handle_sample(3, FieldMs(100), good(4));
        let cut = builder.cut(FieldMs(130)).unwrap();
        let axis = |step_ms, times: &[u64], columns| Axis {
            step_ms,
            times: times.to_vec(),
            columns,
        };
        let column = |channel, samples: &[Sample]| Column {
            channel,
            samples: samples.to_vec(),
        };
        assert_eq!(
            cut,
            Cut {
                from: FieldMs(100),
                to: FieldMs(130),
                axes: vec![
                    axis(10, &[], vec![column(2, &[])]),
                    axis(
                        10,
                        &[100, 110, 120],
                        vec![column(0, &[good(1); 3]), column(1, &[good(2); 3])]
                    ),
                    axis(60, &[100], vec![column(3, &[good(4)])]),
                ],
                readings: 7,
            }
        );
        assert_eq!(builder.pending(), 2);
    }

    #[test]
    fn what_comes_after_its_batch_is_dropped_and_counted() {
        let mut builder = BatchBuilder::new(&[10], FieldMs(0));
        builder.cut(FieldMs(30)).unwrap();
        builder.handle_sample(0, FieldMs(29), good(1));
        builder.handle_sample(0, FieldMs(30), good(2));
        assert_eq!((builder.late(), builder.pending()), (1, 1));
        assert_eq!(builder.cut(FieldMs(30)), None);
    }

    #[test]
    fn a_flood_cuts_early() {
        let mut builder = BatchBuilder::new(&[1], FieldMs(0));
        for at in 0..MAX_BATCH_READINGS - 1 {
            builder.handle_sample(0, FieldMs(at as u64), good(0));
        }
        assert!(!builder.is_full());
        builder.handle_sample(0, FieldMs(99_999), good(0));
        assert!(builder.is_full());
    }
}
