//! Buckets of good readings: least, mean, greatest, count.
//!
//! ```text
//! exponent i8 · bucket starts as times · counts · least · greatest - least · sum - count × least
//! ```
//! The sum is exact, so means of means do not drift, and its distance from the least is a small number.

use furrow_wire::Quality;

use super::block::{Block, Density, put_times, take_times};
use super::numbers::{Cursor, put_dense, take_numbers};
use super::{CodecError, open, seal, start};

const VERSION: u8 = 3;
const WHAT: &str = "roll-up";

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Least mantissa.
    pub(crate) min: i64,
    /// Greatest mantissa.
    pub(crate) max: i64,
    /// Sum of all mantissas, exact.
    pub(crate) sum: i128,
    /// How many good readings.
    pub(crate) count: u64,
}

impl Bucket {
    pub(crate) fn of(mantissa: i64) -> Self {
        Self {
            min: mantissa,
            max: mantissa,
            sum: mantissa.into(),
            count: 1,
        }
    }

    pub(crate) fn merge(&mut self, other: &Bucket) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

    pub(crate) fn scaled(&self, factor: i64) -> Option<Bucket> {
        Some(Bucket {
            min: self.min.checked_mul(factor)?,
            max: self.max.checked_mul(factor)?,
            sum: self.sum.checked_mul(factor.into())?,
            count: self.count,
        })
    }
}

/// Buckets of one series and level that hold at least one good reading, by start time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rollup {
    /// Value = mantissa × 10^exponent.
    pub(crate) exponent: i8,
    /// Unix milliseconds, multiples of the level.
    pub(crate) starts: Vec<i64>,
    /// One for each start.
    pub(crate) buckets: Vec<Bucket>,
}

impl Rollup {
    /// Rolls up a sorted block into buckets of `level_ms`.
    pub(crate) fn of(block: &Block, level_ms: i64) -> Self {
        let mut rollup = Rollup {
            exponent: block.exponent,
            ..Self::default()
        };
        for (time, mantissa, quality) in block.iter() {
            if quality != Quality::Good {
                continue;
            }
            let begin = time - time.rem_euclid(level_ms);
            let bucket = Bucket::of(mantissa);
            match (rollup.starts.last(), rollup.buckets.last_mut()) {
                (Some(last), Some(open)) if *last == begin => open.merge(&bucket),
                _ => {
                    rollup.starts.push(begin);
                    rollup.buckets.push(bucket);
                }
            }
        }
        rollup
    }

    /// As a blob; `None` when the numbers are too far apart to be stored, then the readings must be asked.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut counts = Vec::with_capacity(self.buckets.len());
        let mut mins = Vec::with_capacity(self.buckets.len());
        let mut spans = Vec::with_capacity(self.buckets.len());
        let mut rests = Vec::with_capacity(self.buckets.len());
        for bucket in &self.buckets {
            let least = i128::from(bucket.min).checked_mul(bucket.count.into())?;
            counts.push(i64::try_from(bucket.count).ok()?);
            mins.push(bucket.min);
            spans.push(bucket.max.checked_sub(bucket.min)?);
            rests.push(i64::try_from(bucket.sum - least).ok()?);
        }
        let mut out = start(self.buckets.len() * 3 + 16);
        out.push(self.exponent.cast_unsigned());
        put_times(&mut out, &self.starts, Density::Dense);
        for column in [&counts, &mins, &spans, &rests] {
            put_dense(&mut out, column);
        }
        Some(seal(VERSION, out))
    }

    /// From a blob.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not those that were written.
    pub(crate) fn decode(blob: &[u8]) -> Result<Self, CodecError> {
        let mut from = Cursor::new(WHAT, open(WHAT, VERSION, blob)?);
        let exponent = from.byte()?.cast_signed();
        let starts = take_times(&mut from)?;
        let counts = take_numbers(&mut from, starts.len())?;
        let mins = take_numbers(&mut from, starts.len())?;
        let spans = take_numbers(&mut from, starts.len())?;
        let rests = take_numbers(&mut from, starts.len())?;
        let columns = counts.iter().zip(&mins).zip(spans.iter().zip(&rests));
        let buckets = columns.map(|((count, min), (span, rest))| Bucket {
            min: *min,
            max: min.wrapping_add(*span),
            sum: i128::from(*min) * i128::from(*count) + i128::from(*rest),
            count: count.cast_unsigned(),
        });
        Ok(Self {
            exponent,
            buckets: buckets.collect(),
            starts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_good_readings_count() {
        let mut block = Block::new(-1);
        block.push(-1, Some(10), Quality::Good);
        block.push(0, Some(20), Quality::Good);
        block.push(30_000, Some(900), Quality::Spike);
        block.push(59_999, Some(26), Quality::Good);
        block.push(60_000, None, Quality::Failed);
        let rollup = Rollup::of(&block, 60_000);
        assert_eq!(rollup.starts, [-60_000, 0]);
        assert_eq!(
            rollup.buckets[1],
            Bucket {
                min: 20,
                max: 26,
                sum: 46,
                count: 2
            }
        );
        assert_eq!(Rollup::decode(&rollup.encode().unwrap()), Ok(rollup));
    }

    #[test]
    fn numbers_too_far_apart_are_not_stored_wrongly() {
        let mut block = Block::new(0);
        block.push(0, Some(i64::MIN), Quality::Good);
        block.push(1, Some(i64::MAX), Quality::Good);
        assert_eq!(Rollup::of(&block, 60_000).encode(), None);
    }

    proptest! {
        #[test]
        fn round_trip(values in prop::collection::vec((0i64..5_000_000, -100_000i64..100_000), 0..400)) {
            let mut block = Block::new(-2);
            for (time, mantissa) in values {
                block.push(time, Some(mantissa), Quality::Good);
            }
            block.sort();
            let rollup = Rollup::of(&block, 60_000);
            let total: u64 = rollup.buckets.iter().map(|bucket| bucket.count).sum();
            prop_assert_eq!(total, block.len() as u64);
            prop_assert_eq!(Rollup::decode(&rollup.encode().unwrap()).unwrap(), rollup);
        }
    }
}
