//! Adding up readings and roll-ups into the buckets of an answer.

use furrow_wire::{Decimal, Quality};

use super::codec::block::scale_factor;
use super::codec::rollup::{Bucket, Rollup};
use super::codec::{Block, CodecError};
use super::query::Point;

/// Buckets of an answer, all at the series' exponent.
pub(super) struct Sums {
    from_ms: i64,
    to_ms: i64,
    pub(super) bucket_ms: i64,
    exponent: i8,
    buckets: Vec<Option<Bucket>>,
}

impl Sums {
    /// Empty buckets from `from_ms` to `to_ms`; values will be said in `exponent`.
    pub(super) fn new(from_ms: i64, to_ms: i64, bucket_ms: i64, exponent: i8) -> Self {
        let count = to_ms.saturating_sub(from_ms) / bucket_ms;
        let count = usize::try_from(count).unwrap_or(0);
        Self {
            from_ms,
            to_ms,
            bucket_ms,
            exponent,
            buckets: vec![None; count],
        }
    }

    fn add(&mut self, time_ms: i64, bucket: &Bucket) {
        if !(self.from_ms..self.to_ms).contains(&time_ms) {
            return;
        }
        let place = usize::try_from((time_ms - self.from_ms) / self.bucket_ms);
        match place.ok().and_then(|place| self.buckets.get_mut(place)) {
            Some(Some(sum)) => sum.merge(bucket),
            Some(empty) => *empty = Some(*bucket),
            None => {}
        }
    }

    pub(super) fn add_block(&mut self, block: &Block) -> Result<(), CodecError> {
        let factor = factor(block.exponent, self.exponent)?;
        for (time_ms, mantissa, quality) in block.iter() {
            if quality == Quality::Good {
                let mantissa = mantissa.checked_mul(factor).ok_or_else(beyond)?;
                self.add(time_ms, &Bucket::of(mantissa));
            }
        }
        Ok(())
    }

    pub(super) fn add_rollup(&mut self, rollup: &Rollup) -> Result<(), CodecError> {
        let factor = factor(rollup.exponent, self.exponent)?;
        for (start_ms, bucket) in rollup.starts.iter().zip(&rollup.buckets) {
            self.add(*start_ms, &bucket.scaled(factor).ok_or_else(beyond)?);
        }
        Ok(())
    }

    /// What the buckets hold, without the empty ones.
    pub(super) fn points(&self) -> Vec<Point> {
        let exponent = self.exponent;
        let value = |mantissa| Decimal { mantissa, exponent }.to_f64();
        let starts = (0i64..).map(|n| self.from_ms + n * self.bucket_ms);
        let filled = starts
            .zip(&self.buckets)
            .filter_map(|(start, bucket)| Some((start, (*bucket)?)));
        filled
            .map(|(time_ms, bucket)| Point {
                time_ms,
                values: Some([
                    value(bucket.min),
                    mean(&bucket, exponent),
                    value(bucket.max),
                ]),
                count: bucket.count,
            })
            .collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean is not exact")]
fn mean(bucket: &Bucket, exponent: i8) -> f64 {
    let steps = bucket.sum as f64 / bucket.count as f64;
    let unit = Decimal {
        mantissa: 1,
        exponent: exponent.saturating_abs(),
    }
    .to_f64();
    if exponent < 0 {
        steps / unit
    } else {
        steps * unit
    }
}

fn factor(from: i8, to: i8) -> Result<i64, CodecError> {
    scale_factor(from, to).ok_or_else(beyond)
}

pub(super) fn beyond() -> CodecError {
    CodecError::new("block", "has a value beyond its series' exponent")
}
