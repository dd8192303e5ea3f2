//! A subset of PromQL over series of readings, with the meaning that Prometheus 2.42 gives it.
//!
//! Owns the language: what is understood (`plan`), what it means, and what a query may cost. Knows no
//! HTTP, no clock and no archive: samples come from a [`Source`], and whether the time is over from the
//! [`Budget`]. The grammar is the crate `promql-parser`'s.
//!
//! Ranges and look-back are closed at both ends, as in Prometheus 2 (Prometheus 3 leaves the older end
//! out): `x[1m]` at a sampling interval of 10 s holds seven samples where the step meets them.
//!
//! Everything is read from raw readings, never from roll-ups. A closed range holds the sample at its
//! newer end as well, a roll-up's bucket does not, and nothing in a roll-up says whether there is one:
//! its answer could differ.
//!
//! | module | owns |
//! |---|---|
//! | `plan` | from text to what is to be done; refusals of what is not understood |
//! | `eval` | selectors, functions of single values |
//! | `over` | functions of ranges |
//! | `combine` | operators |
//! | `group` | aggregations |

use std::collections::BTreeMap;

use furrow_wire::SeriesId;

mod combine;
mod eval;
mod group;
mod over;
mod plan;

pub use eval::{evaluate, samples};
pub use plan::{Plan, Selector};

/// Longest query, in bytes: a generous line of a dashboard.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Deepest brackets in a query: the parser and the evaluation recurse.
pub const NESTING_MAX: usize = 50;
/// Most operators in a query, the `=` of matchers among them: they nest, too.
pub const OPERATORS_MAX: usize = 200;
/// Most regular expressions in a query: each is compiled, for up to milliseconds.
pub const REGEXES_MAX: usize = 20;
/// Most series of one selector.
pub const SERIES_MAX: usize = 1000;
/// Most samples that a query reads: about 0.5 s of decoding, a month of 38 channels at 10 s.
pub const SAMPLES_MAX: u64 = 10_000_000;
/// Most samples held at once, those of one series: 64 MB, a year and a quarter at 10 s.
pub const HELD_SAMPLES_MAX: usize = 4_000_000;
/// Most points per series, as in Prometheus.
pub const STEPS_MAX: usize = 11_000;
/// Most points computed by a query, those between the steps of its evaluation among them: 64 MB.
pub const POINTS_MAX: u64 = 4_000_000;
/// How far back an instant looks for a sample, in milliseconds, if the series is not sampled so slowly
/// that it needs more ([`Series::lookback_ms`]).
pub const LOOKBACK_MS: i64 = 300_000;
/// The label that holds the metric's name.
pub const NAME_LABEL: &str = "__name__";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The request makes no sense.
    #[error("{0}")]
    BadData(String),
    /// It makes sense to Prometheus, and not here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// It can't be computed.
    #[error("{0}")]
    Execution(String),
    /// It costs more than a query may.
    #[error("query would {what} (more than {limit})")]
    TooMuch {
        /// What it would do, in whole words.
        what: &'static str,
        /// How much of it is allowed.
        limit: u64,
    },
    /// It took too long.
    #[error("query timed out")]
    TimedOut,
    /// The samples can't be read.
    #[error("samples can't be read")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Names and values, by name. A label without a value is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

/// A sample: Unix milliseconds, value.
pub type Sample = (i64, f64);

/// A series that a selector found.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the source calls it.
    pub id: SeriesId,
    /// What queries call it.
    pub labels: Labels,
    /// Sampling interval, in milliseconds.
    pub interval_ms: i64,
}

/// Takes a reading: the place of its series, Unix milliseconds, value.
pub type Take<'a> = dyn FnMut(usize, i64, Option<f64>) -> Result<(), QueryError> + 'a;

/// Where samples come from.
pub trait Source {
    /// At most `at_most` of the series that a selector means.
    ///
    /// # Errors
    /// When they can't be read.
    fn select(&self, selector: &Selector, at_most: usize) -> Result<Vec<Series>, QueryError>;

    /// Gives every reading of `[from_ms, to_ms]`: series after series, named by its place in `series`,
    /// each in ascending time; `None` for one that is not good: it is no sample, and costs as one.
    ///
    /// # Errors
    /// When they can't be read, or what `take` answers.
    fn read(
        &self,
        series: &[Series],
        from_ms: i64,
        to_ms: i64,
        take: &mut Take<'_>,
    ) -> Result<(), QueryError>;
}

/// At which times a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The first, in Unix milliseconds.
    pub start_ms: i64,
    /// The last is the last whole step up to here.
    pub end_ms: i64,
    /// From one to the next; at least 1.
    pub step_ms: i64,
    /// Look-back for every series; `None`: each series' own.
    pub lookback_ms: Option<i64>,
}

/// What a query may still cost.
pub struct Budget<'a> {
    expired: &'a dyn Fn() -> bool,
    samples: u64,
    points: u64,
}

/// A series of an answer: one point for each step, where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its labels.
    pub labels: Labels,
    /// By step.
    pub points: Vec<Option<f64>>,
}

/// What an expression comes to, at each step.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number each.
    Scalar(Vec<f64>),
    /// Series.
    Vector(Vec<Row>),
}

impl Labels {
    /// A label's value; empty if it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The same without the metric's name.
    #[must_use]
    pub fn without_name(mut self) -> Self {
        self.0.remove(NAME_LABEL);
        self
    }

    /// Only these.
    pub(crate) fn only(&self, names: &[String]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| names.contains(name));
        Self(kept.map(|(a, b)| (a.clone(), b.clone())).collect())
    }

    /// All but these.
    pub(crate) fn except(&self, names: &[String]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(name));
        Self(kept.map(|(a, b)| (a.clone(), b.clone())).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Labels {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let filled = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        Self(filled.map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
    }
}

impl Series {
    /// How far back an instant looks: [`LOOKBACK_MS`], or two and a half sampling intervals where that is
    /// more; else a series sampled every ten minutes would come and go.
    #[must_use]
    pub fn lookback_ms(&self) -> i64 {
        LOOKBACK_MS.max(self.interval_ms.saturating_mul(5) / 2)
    }
}

impl Frame {
    /// One instant.
    #[must_use]
    pub fn instant(time_ms: i64, lookback_ms: Option<i64>) -> Self {
        Self {
            start_ms: time_ms,
            end_ms: time_ms,
            step_ms: 1,
            lookback_ms,
        }
    }

    /// Its times, in ascending order.
    pub fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let (start_ms, step_ms) = (self.start_ms, self.step_ms.max(1));
        (0i64..)
            .take(self.steps())
            .map(move |n| start_ms.saturating_add(n.saturating_mul(step_ms)))
    }

    /// How many they are; at most one more than [`STEPS_MAX`], which is too many.
    #[must_use]
    pub fn steps(&self) -> usize {
        let span_ms = self.end_ms.saturating_sub(self.start_ms);
        if span_ms < 0 {
            return 0;
        }
        let steps = usize::try_from(span_ms / self.step_ms.max(1)).unwrap_or(usize::MAX);
        steps.saturating_add(1).min(STEPS_MAX + 1)
    }
}

impl<'a> Budget<'a> {
    /// A whole query's; `expired` says when its time is over.
    #[must_use]
    pub fn new(expired: &'a dyn Fn() -> bool) -> Self {
        Self {
            expired,
            samples: 0,
            points: 0,
        }
    }

    /// Samples read so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    fn check_time(&self) -> Result<(), QueryError> {
        match (self.expired)() {
            true => Err(QueryError::TimedOut),
            false => Ok(()),
        }
    }

    /// One sample was read.
    fn sample(&mut self) -> Result<(), QueryError> {
        /// Samples between two looks at the clock.
        const LOOK_EVERY: u64 = 4096;
        self.samples += 1;
        if self.samples > SAMPLES_MAX {
            return Err(QueryError::TooMuch {
                what: "read too many samples",
                limit: SAMPLES_MAX,
            });
        }
        if self.samples.is_multiple_of(LOOK_EVERY) {
            self.check_time()?;
        }
        Ok(())
    }

    /// So many points are about to be computed.
    fn points(&mut self, count: usize) -> Result<(), QueryError> {
        self.points = self.points.saturating_add(count as u64);
        if self.points > POINTS_MAX {
            return Err(QueryError::TooMuch {
                what: "compute too many points",
                limit: POINTS_MAX,
            });
        }
        self.check_time()
    }
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("samples", &self.samples)
            .field("points", &self.points)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
