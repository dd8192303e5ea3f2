//! How long acknowledgements take, as a histogram of bounded size.

use std::time::Duration;

/// Buckets to each doubling: a percentile is at most 1/32 too high.
const STEPS: u64 = 32;
/// Doublings of a microsecond that are told apart above the first 32 µs: up to 12 days.
const DOUBLINGS: u64 = 36;

/// Counts by latency. Merging and reading cost nothing worth mentioning; memory is 9 KiB.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Histogram {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let buckets = usize::try_from(STEPS * (DOUBLINGS + 1)).unwrap_or(usize::MAX);
        Histogram {
            counts: vec![0; buckets],
            total: 0,
            max: Duration::ZERO,
        }
    }

    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let bucket = bucket_of(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(bucket.min(last)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// The latency that `percent` of all did not exceed, from 0 to 100, rounded up to its bucket;
    /// `None` when nothing was counted.
    pub(crate) fn percentile(&self, percent: u64) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let wanted = (self.total * percent.min(100)).div_ceil(100).max(1);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return Some(Duration::from_micros(end_of(bucket)).min(self.max));
            }
        }
        Some(self.max)
    }

    /// The longest; `None` when nothing was counted.
    pub(crate) fn max(&self) -> Option<Duration> {
        (self.total > 0).then_some(self.max)
    }
}

fn bucket_of(micros: u64) -> usize {
    let doubling = u64::from((micros / STEPS).checked_ilog2().map_or(0, |log| log + 1));
    let bucket = if doubling == 0 {
        micros
    } else {
        doubling * STEPS + (micros >> (doubling - 1)) - STEPS
    };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The largest number of microseconds in a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    match bucket / STEPS {
        0 => bucket,
        doubling => ((bucket % STEPS + STEPS + 1) << (doubling - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_histogram_has_no_figures() {
        let none = Histogram::new();
        assert_eq!((none.percentile(50), none.max()), (None, None));
    }

    #[test]
    fn percentiles_of_a_hundred_milliseconds() {
        let mut all = Histogram::new();
        for ms in 1..=100 {
            all.record(Duration::from_millis(ms));
        }
        let near = |percent, ms: u64| {
            let found = all.percentile(percent).unwrap();
            let exact = Duration::from_millis(ms);
            assert!(
                found >= exact && found <= exact * 33 / 32,
                "{percent}: {found:?}"
            );
        };
        near(50, 50);
        near(90, 90);
        near(99, 99);
        assert_eq!(all.percentile(100), Some(Duration::from_millis(100)));
        assert_eq!(all.max(), Some(Duration::from_millis(100)));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_falls_into_it(micros in 0u64..1 << 40) {
            let bucket = bucket_of(micros);
            prop_assert!(micros <= end_of(bucket));
            prop_assert!(bucket == 0 || micros > end_of(bucket - 1));
            prop_assert!(end_of(bucket) - micros <= micros / 32);
        }
    }
}
