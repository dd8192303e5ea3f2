//! Functions of the samples that a series has in a range.

use super::Sample;

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// `avg_over_time`
    Average,
    /// `min_over_time`
    Least,
    /// `max_over_time`
    Greatest,
    /// `sum_over_time`
    Sum,
    /// `count_over_time`
    Count,
    /// `last_over_time`
    Last,
    /// `present_over_time`
    Present,
    /// `stddev_over_time`
    Deviation,
    /// `stdvar_over_time`
    Variance,
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `irate`
    LastRate,
    /// `idelta`
    LastDelta,
    /// `deriv`
    Slope,
    /// `changes`
    Changes,
    /// `resets`
    Resets,
}

/// A range's bounds, in Unix milliseconds, both within it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

impl Over {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Over::Average,
            "min_over_time" => Over::Least,
            "max_over_time" => Over::Greatest,
            "sum_over_time" => Over::Sum,
            "count_over_time" => Over::Count,
            "last_over_time" => Over::Last,
            "present_over_time" => Over::Present,
            "stddev_over_time" => Over::Deviation,
            "stdvar_over_time" => Over::Variance,
            "rate" => Over::Rate,
            "increase" => Over::Increase,
            "delta" => Over::Delta,
            "irate" => Over::LastRate,
            "idelta" => Over::LastDelta,
            "deriv" => Over::Slope,
            "changes" => Over::Changes,
            "resets" => Over::Resets,
            _ => return None,
        })
    }

    /// Whether what comes out still is the metric.
    pub(super) fn keeps_name(self) -> bool {
        self == Over::Last
    }

    /// Its value; `None` where the samples are too few.
    pub(super) fn value(self, samples: &[Sample], window: Window) -> Option<f64> {
        let (first, last) = (samples.first()?, samples.last()?);
        let values = || samples.iter().map(|(_, value)| *value);
        Some(match self {
            Over::Average => sum(values()) / count(samples),
            Over::Least => values().fold(first.1, least),
            Over::Greatest => values().fold(first.1, greatest),
            Over::Sum => sum(values()),
            Over::Count => count(samples),
            Over::Last => last.1,
            Over::Present => 1.0,
            Over::Deviation => variance(values()).sqrt(),
            Over::Variance => variance(values()),
            Over::Rate => extrapolated(samples, window, Reset::Counts)? / seconds(window.span_ms()),
            Over::Increase => extrapolated(samples, window, Reset::Counts)?,
            Over::Delta => extrapolated(samples, window, Reset::Nothing)?,
            Over::LastRate => last_change(samples, Reset::Counts)?,
            Over::LastDelta => last_change(samples, Reset::Nothing)?,
            Over::Slope => slope(samples)?,
            Over::Changes => pairs(samples, differ),
            Over::Resets => pairs(samples, |a, b| b < a),
        })
    }
}

impl Window {
    fn span_ms(self) -> i64 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// The lesser of two; a number, if there is one.
pub(super) fn least(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The greater of two; a number, if there is one.
pub(super) fn greatest(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

/// Kahan's sum in Neumaier's form, as Prometheus adds over time.
pub(super) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for value in values {
        let next = sum + value;
        if next.is_finite() {
            lost += if sum.abs() >= value.abs() {
                (sum - next) + value
            } else {
                (value - next) + sum
            };
        }
        sum = next;
    }
    if sum.is_finite() { sum + lost } else { sum }
}

/// Variance of all values, not of a sample of them.
pub(super) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let off = value - mean;
        mean += off / count;
        squares += off * (value - mean);
    }
    squares / count
}

/// What a falling value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// A counter began at 0 again.
    Counts,
    /// A gauge fell.
    Nothing,
}

/// The change from the range's start to its end, as if it went on beyond the samples as it is between
/// them, by at most half a sampling interval where the series seems to begin or end within the range; a
/// counter never began below 0.
fn extrapolated(samples: &[Sample], window: Window, reset: Reset) -> Option<f64> {
    let [first, .., last] = samples else {
        return None;
    };
    let mut change = last.1 - first.1;
    if reset == Reset::Counts {
        let drops = samples.iter().zip(samples.iter().skip(1));
        change += drops
            .filter(|(before, after)| after.1 < before.1)
            .map(|(before, _)| before.1)
            .sum::<f64>();
    }
    let mut to_start = seconds(first.0 - window.from_ms);
    let to_end = seconds(window.to_ms - last.0);
    let sampled = seconds(last.0 - first.0);
    let between = sampled / (count(samples) - 1.0);
    if reset == Reset::Counts && change > 0.0 && first.1 >= 0.0 {
        to_start = to_start.min(sampled * (first.1 / change));
    }
    let threshold = between * 1.1;
    let beyond = |gap: f64| if gap < threshold { gap } else { between / 2.0 };
    let span = sampled + beyond(to_start) + beyond(to_end);
    Some(change * (span / sampled))
}

/// The change between the last two samples; of a counter, per second.
fn last_change(samples: &[Sample], reset: Reset) -> Option<f64> {
    let [.., before, last] = samples else {
        return None;
    };
    match reset {
        Reset::Nothing => Some(last.1 - before.1),
        Reset::Counts => {
            let change = if last.1 < before.1 {
                last.1
            } else {
                last.1 - before.1
            };
            Some(change / seconds(last.0 - before.0))
        }
    }
}

/// Slope of the line with the least squares, per second.
fn slope(samples: &[Sample]) -> Option<f64> {
    let [first, _, ..] = samples else {
        return None;
    };
    if samples
        .iter()
        .all(|(_, value)| bits(*value) == bits(first.1))
    {
        return Some(if first.1.is_infinite() { f64::NAN } else { 0.0 });
    }
    let xs = || samples.iter().map(|(time, _)| seconds(time - first.0));
    let ys = || samples.iter().map(|(_, value)| *value);
    let n = count(samples);
    let (x, y) = (sum(xs()), sum(ys()));
    let covariance = sum(xs().zip(ys()).map(|(x, y)| x * y)) - x * y / n;
    let variance = sum(xs().map(|x| x * x)) - x * x / n;
    Some(covariance / variance)
}

#[expect(clippy::float_cmp, reason = "any difference is a change")]
fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

fn bits(value: f64) -> u64 {
    value.to_bits()
}

/// How many pairs of neighbours are so.
fn pairs(samples: &[Sample], is_so: impl Fn(f64, f64) -> bool) -> f64 {
    let pairs = samples.iter().zip(samples.iter().skip(1));
    let found = pairs.filter(|(a, b)| is_so(a.1, b.1)).count();
    whole(found)
}

fn count(samples: &[Sample]) -> f64 {
    whole(samples.len())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn whole(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are below 2^53")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
