//! Evaluation: every expression at all steps of the frame before the next one, so that a series' samples
//! are read once and held alone.

use super::combine::{Collector, combine, same_labels};
use super::group::aggregate;
use super::over::{Window, seconds};
use super::plan::At;
use super::{
    Budget, Frame, HELD_SAMPLES_MAX, Labels, Plan, QueryError, Row, SERIES_MAX, STEPS_MAX, Sample,
    Selector, Series, Source, Value,
};

/// Functions of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// Unary minus.
    Negate,
    /// `abs`
    Absolute,
    /// `ceil`
    Ceiling,
    /// `floor`
    Floor,
    /// `sqrt`
    Root,
    /// `exp`
    Exponential,
    /// `ln`
    Logarithm,
    /// `log2`
    Logarithm2,
    /// `log10`
    Logarithm10,
    /// `sgn`
    Sign,
    /// `round`
    Round,
    /// `clamp`
    Clamp,
    /// `clamp_min`
    ClampLeast,
    /// `clamp_max`
    ClampGreatest,
}

impl Each {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Each::Absolute,
            "ceil" => Each::Ceiling,
            "floor" => Each::Floor,
            "sqrt" => Each::Root,
            "exp" => Each::Exponential,
            "ln" => Each::Logarithm,
            "log2" => Each::Logarithm2,
            "log10" => Each::Logarithm10,
            "sgn" => Each::Sign,
            "round" => Each::Round,
            "clamp" => Each::Clamp,
            "clamp_min" => Each::ClampLeast,
            "clamp_max" => Each::ClampGreatest,
            _ => return None,
        })
    }

    /// `first` and `second` are further arguments, where there are any.
    fn value(self, value: f64, first: Option<f64>, second: Option<f64>) -> Option<f64> {
        Some(match self {
            Each::Negate => -value,
            Each::Absolute => value.abs(),
            Each::Ceiling => value.ceil(),
            Each::Floor => value.floor(),
            Each::Root => value.sqrt(),
            Each::Exponential => value.exp(),
            Each::Logarithm => value.ln(),
            Each::Logarithm2 => value.log2(),
            Each::Logarithm10 => value.log10(),
            Each::Sign if value < 0.0 => -1.0,
            Each::Sign if value > 0.0 => 1.0,
            Each::Sign => value,
            Each::Round => {
                let inverse = 1.0 / first.unwrap_or(1.0);
                (value * inverse + 0.5).floor() / inverse
            }
            Each::Clamp => {
                let (least, greatest) = (first?, second?);
                if greatest < least {
                    return None;
                }
                at_least(least, at_most(greatest, value))
            }
            Each::ClampLeast => at_least(first?, value),
            Each::ClampGreatest => at_most(first?, value),
        })
    }
}

/// The greater of both; not a number if one is none.
fn at_least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The lesser of both; not a number if one is none.
fn at_most(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// Answers a query at every time of a frame. Series come in the order of their labels.
///
/// # Errors
/// When it can't be computed, costs too much or takes too long.
pub fn evaluate(
    plan: &Plan,
    frame: &Frame,
    source: &dyn Source,
    budget: &mut Budget<'_>,
) -> Result<Value, QueryError> {
    if frame.steps() > STEPS_MAX {
        return Err(QueryError::BadData(format!(
            "exceeded maximum resolution of {STEPS_MAX} points per timeseries. Try decreasing the query \
             resolution (?step=XX)"
        )));
    }
    let mut value = Evaluation {
        frame,
        source,
        budget,
    }
    .value(plan)?;
    if let Value::Vector(rows) = &mut value {
        rows.retain(|row| row.points.iter().any(Option::is_some));
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(value)
}

/// The samples of `[time - range, time]`, for a query that is nothing but a range.
///
/// # Errors
/// As [`evaluate`].
pub fn samples(
    selector: &Selector,
    range_ms: i64,
    frame: &Frame,
    source: &dyn Source,
    budget: &mut Budget<'_>,
) -> Result<Vec<(Labels, Vec<Sample>)>, QueryError> {
    let mut out = Vec::new();
    let mut evaluation = Evaluation {
        frame,
        source,
        budget,
    };
    let back = |_: &Series| range_ms;
    evaluation.each_series(selector, back, |series, samples, _, budget| {
        budget.points(samples.len())?;
        out.push((series.labels.clone(), samples.to_vec()));
        Ok(())
    })?;
    out.retain(|(_, samples)| !samples.is_empty());
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

struct Evaluation<'a, 'b> {
    frame: &'a Frame,
    source: &'a dyn Source,
    budget: &'a mut Budget<'b>,
}

impl Evaluation<'_, '_> {
    fn value(&mut self, plan: &Plan) -> Result<Value, QueryError> {
        match plan {
            Plan::Number(number) => Ok(Value::Scalar(vec![*number; self.frame.steps()])),
            Plan::Time => Ok(Value::Scalar(self.frame.times().map(seconds).collect())),
            Plan::Instant(selector) => self.instant(selector),
            Plan::Samples(..) => Err(QueryError::BadData(
                "a range vector needs a function here".to_owned(),
            )),
            Plan::Over(over, selector, range_ms) => {
                let keeps_name = over.keeps_name();
                let rows = self.ranges(selector, *range_ms, |samples, window| {
                    over.value(samples, window)
                })?;
                unique(rows, keeps_name)
            }
            Plan::Each(each, inner, arguments) => self.each(*each, inner, arguments),
            Plan::VectorOf(inner) => {
                let points = self.scalar(inner)?.into_iter().map(Some).collect();
                let labels = Labels::default();
                Ok(Value::Vector(vec![Row { labels, points }]))
            }
            Plan::ScalarOf(inner) => {
                let rows = self.vector(inner)?;
                let only = |step| {
                    let mut there = rows.iter().filter_map(|row| *row.points.get(step)?);
                    match (there.next(), there.next()) {
                        (Some(value), None) => value,
                        _ => f64::NAN,
                    }
                };
                Ok(Value::Scalar((0..self.frame.steps()).map(only).collect()))
            }
            Plan::Combine(operator, left, right, matching) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                combine(*operator, left, right, matching, self.budget)
            }
            Plan::Group(aggregation, grouping, argument, inner) => {
                let argument = match argument {
                    Some(argument) => Some(self.scalar(argument)?),
                    None => None,
                };
                let mut rows = self.vector(inner)?;
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
                let argument = argument.as_deref();
                let rows = aggregate(*aggregation, grouping, argument, rows, self.budget)?;
                Ok(Value::Vector(rows))
            }
        }
    }

    fn scalar(&mut self, plan: &Plan) -> Result<Vec<f64>, QueryError> {
        match self.value(plan)? {
            Value::Scalar(values) => Ok(values),
            Value::Vector(_) => Err(QueryError::BadData("a scalar is wanted".to_owned())),
        }
    }

    fn vector(&mut self, plan: &Plan) -> Result<Vec<Row>, QueryError> {
        match self.value(plan)? {
            Value::Vector(rows) => Ok(rows),
            Value::Scalar(_) => Err(QueryError::BadData("a vector is wanted".to_owned())),
        }
    }

    fn each(&mut self, each: Each, inner: &Plan, arguments: &[Plan]) -> Result<Value, QueryError> {
        let arguments = arguments
            .iter()
            .map(|argument| self.scalar(argument))
            .collect::<Result<Vec<_>, _>>()?;
        let argument =
            |n: usize, step: usize| -> Option<f64> { arguments.get(n)?.get(step).copied() };
        let of = |step, value| each.value(value, argument(0, step), argument(1, step));
        match self.value(inner)? {
            Value::Scalar(values) => {
                let values = values.into_iter().enumerate();
                let values = values.map(|(step, value)| of(step, value).unwrap_or(f64::NAN));
                Ok(Value::Scalar(values.collect()))
            }
            Value::Vector(mut rows) => {
                for row in &mut rows {
                    for (step, point) in row.points.iter_mut().enumerate() {
                        *point = point.and_then(|value| of(step, value));
                    }
                }
                if each == Each::Negate {
                    return unique(rows, false);
                }
                let mut out = Collector::new(self.frame.steps());
                for mut row in rows {
                    row.labels = row.labels.without_name();
                    out.add(row, self.budget)?;
                }
                Ok(Value::Vector(out.finish()))
            }
        }
    }

    /// The newest sample that the look-back holds, of each series.
    fn instant(&mut self, selector: &Selector) -> Result<Value, QueryError> {
        let fixed_ms = self.frame.lookback_ms;
        let lookback_ms = |series: &Series| fixed_ms.unwrap_or_else(|| series.lookback_ms());
        let rows = self.rows(selector, lookback_ms, |samples, _| Some(samples.last()?.1))?;
        Ok(Value::Vector(rows))
    }

    fn ranges(
        &mut self,
        selector: &Selector,
        range_ms: i64,
        value: impl Fn(&[Sample], Window) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        self.rows(selector, |_| range_ms, value)
    }

    /// A function of the samples of `[time - back, time]` at each step, for each series.
    fn rows(
        &mut self,
        selector: &Selector,
        back_ms: impl Fn(&Series) -> i64,
        value: impl Fn(&[Sample], Window) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        let times: Vec<i64> = self.times(selector).collect();
        let mut out = Vec::new();
        self.each_series(selector, back_ms, |series, samples, back_ms, budget| {
            budget.points(times.len())?;
            let points = points(samples, &times, back_ms, &value, budget)?;
            let labels = series.labels.clone();
            out.push(Row { labels, points });
            Ok(())
        })?;
        Ok(out)
    }

    /// Which time a selector means at each step; never descending.
    fn times(&self, selector: &Selector) -> impl Iterator<Item = i64> + use<> {
        let (frame, offset_ms, at) = (*self.frame, selector.offset_ms, selector.at);
        frame.times().map(move |time_ms| {
            let time_ms = match at {
                At::Step => time_ms,
                At::Start => frame.start_ms,
                At::End => frame.end_ms,
                At::Time(time_ms) => time_ms,
            };
            time_ms.saturating_sub(offset_ms)
        })
    }

    /// Gives each series with its samples and how far back it looks.
    fn each_series(
        &mut self,
        selector: &Selector,
        back_ms: impl Fn(&Series) -> i64,
        mut take: impl FnMut(&Series, &[Sample], i64, &mut Budget<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let series = self.source.select(selector, SERIES_MAX + 1)?;
        if series.len() > SERIES_MAX {
            return Err(QueryError::TooMuch {
                what: "select too many series at once",
                limit: SERIES_MAX as u64,
            });
        }
        let (first, last) = (self.times(selector).next(), self.times(selector).last());
        let (Some(first_ms), Some(last_ms)) = (first, last) else {
            return Ok(());
        };
        let furthest_ms = series.iter().map(&back_ms).max().unwrap_or(0);
        let from_ms = first_ms.saturating_sub(furthest_ms);
        let budget = &mut *self.budget;
        let mut held: Vec<Sample> = Vec::new();
        let mut current = None;
        let mut finish = |place, held: &[Sample], budget: &mut Budget<'_>| match series.get(place) {
            Some(one) => take(one, held, back_ms(one), budget),
            None => Ok(()),
        };
        self.source
            .read(&series, from_ms, last_ms, &mut |place, time_ms, value| {
                budget.sample()?;
                let Some(value) = value else {
                    return Ok(());
                };
                if let Some(before) = current.replace(place)
                    && before != place
                {
                    finish(before, &held, budget)?;
                    held.clear();
                }
                if held.len() >= HELD_SAMPLES_MAX {
                    return Err(QueryError::TooMuch {
                        what: "hold too many samples of one series",
                        limit: HELD_SAMPLES_MAX as u64,
                    });
                }
                held.push((time_ms, value));
                Ok(())
            })?;
        match current {
            Some(last) => finish(last, &held, budget),
            None => Ok(()),
        }
    }
}

/// What `value` makes of the samples of `[time - back, time]`, for each time; these never descend.
fn points(
    samples: &[Sample],
    times: &[i64],
    back_ms: i64,
    value: &impl Fn(&[Sample], Window) -> Option<f64>,
    budget: &Budget<'_>,
) -> Result<Vec<Option<f64>>, QueryError> {
    let (mut first, mut end) = (0, 0);
    let mut out: Vec<Option<f64>> = Vec::with_capacity(times.len());
    let mut before = None;
    for to_ms in times {
        // With `@`, all steps are the same.
        if before == Some(to_ms) {
            out.push(out.last().copied().flatten());
            continue;
        }
        before = Some(to_ms);
        budget.check_time()?;
        let from_ms = to_ms.saturating_sub(back_ms);
        first += count_while(samples, first, |time_ms| time_ms < from_ms);
        end += count_while(samples, end, |time_ms| time_ms <= *to_ms);
        let window = Window {
            from_ms,
            to_ms: *to_ms,
        };
        let inside = samples.get(first..end).unwrap_or_default();
        out.push(if inside.is_empty() {
            None
        } else {
            value(inside, window)
        });
    }
    Ok(out)
}

fn count_while(samples: &[Sample], from: usize, is_so: impl Fn(i64) -> bool) -> usize {
    let rest = samples.get(from..).unwrap_or_default();
    rest.iter()
        .take_while(|(time_ms, _)| is_so(*time_ms))
        .count()
}

/// Without their names where these are lost, no two series may have the same labels.
fn unique(mut rows: Vec<Row>, keeps_name: bool) -> Result<Value, QueryError> {
    rows.retain(|row| row.points.iter().any(Option::is_some));
    if !keeps_name {
        for row in &mut rows {
            row.labels = std::mem::take(&mut row.labels).without_name();
        }
    }
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut neighbours = rows.iter().zip(rows.iter().skip(1));
    if neighbours.any(|(a, b)| a.labels == b.labels) {
        return Err(same_labels());
    }
    Ok(Value::Vector(rows))
}
