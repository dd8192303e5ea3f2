//! Aggregations: many series to one for each group of labels.

use std::collections::BTreeMap;

use super::over::{greatest, least, sum, variance, whole};
use super::{Budget, Labels, QueryError, Row};

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// `sum`
    Sum,
    /// `avg`
    Average,
    /// `min`
    Least,
    /// `max`
    Greatest,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Deviation,
    /// `stdvar`
    Variance,
    /// `topk`
    Top,
    /// `bottomk`
    Bottom,
}

/// Which labels make the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// These.
    By(Vec<String>),
    /// All others.
    Without(Vec<String>),
}

impl Grouping {
    fn labels(&self, labels: &Labels) -> Labels {
        match self {
            Grouping::By(names) => labels.only(names),
            Grouping::Without(names) => labels.except(names),
        }
    }
}

/// Groups, and computes each group's value at each step; `argument` is that of `topk` and `bottomk`.
pub(super) fn aggregate(
    aggregation: Aggregation,
    grouping: &Grouping,
    argument: Option<&[f64]>,
    rows: Vec<Row>,
    budget: &mut Budget<'_>,
) -> Result<Vec<Row>, QueryError> {
    let mut groups: BTreeMap<Labels, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let labels = grouping.labels(&row.labels);
        groups.entry(labels).or_default().push(row);
    }
    let mut out = Vec::new();
    for (labels, rows) in groups {
        match (aggregation, argument) {
            (Aggregation::Top | Aggregation::Bottom, Some(wanted)) => {
                out.extend(best(aggregation, wanted, rows, budget)?);
            }
            (Aggregation::Top | Aggregation::Bottom, None) | (_, Some(_)) => {
                return Err(QueryError::BadData(
                    "aggregation has the wrong number of arguments".to_owned(),
                ));
            }
            (_, None) => {
                let steps = rows.first().map_or(0, |row| row.points.len());
                budget.points(steps)?;
                let mut values = Vec::with_capacity(rows.len());
                let mut points = Vec::with_capacity(steps);
                for step in 0..steps {
                    values.clear();
                    values.extend(rows.iter().filter_map(|row| *row.points.get(step)?));
                    points.push(reduce(aggregation, &values));
                }
                out.push(Row { labels, points });
            }
        }
    }
    Ok(out)
}

fn reduce(aggregation: Aggregation, values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    let all = || values.iter().copied();
    Some(match aggregation {
        Aggregation::Sum => sum(all()),
        Aggregation::Average => sum(all()) / whole(values.len()),
        Aggregation::Least => all().fold(first, least),
        Aggregation::Greatest => all().fold(first, greatest),
        Aggregation::Count => whole(values.len()),
        Aggregation::Group => 1.0,
        Aggregation::Deviation => variance(all()).sqrt(),
        Aggregation::Variance => variance(all()),
        // They give rows, not values.
        Aggregation::Top | Aggregation::Bottom => return None,
    })
}

/// The greatest or least few of a group at each step, under their own labels. What is not a number comes
/// last.
fn best(
    aggregation: Aggregation,
    wanted: &[f64],
    rows: Vec<Row>,
    budget: &mut Budget<'_>,
) -> Result<Vec<Row>, QueryError> {
    budget.points(rows.len().saturating_mul(wanted.len()))?;
    let mut kept: Vec<Vec<Option<f64>>> = rows.iter().map(|_| vec![None; wanted.len()]).collect();
    for (step, wanted) in wanted.iter().enumerate() {
        let wanted = few(*wanted)?;
        let values = rows.iter().enumerate();
        let mut values: Vec<(usize, f64)> = values
            .filter_map(|(n, row)| Some((n, (*row.points.get(step)?)?)))
            .collect();
        // Stable: of equal ones, the first by labels stay.
        values.sort_by(|(_, a), (_, b)| {
            let by_value = if aggregation == Aggregation::Bottom {
                a.partial_cmp(b)
            } else {
                b.partial_cmp(a)
            };
            by_value.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
        for (n, value) in values.into_iter().take(wanted) {
            if let Some(place) = kept.get_mut(n).and_then(|points| points.get_mut(step)) {
                *place = Some(value);
            }
        }
    }
    let rows = rows.into_iter().zip(kept);
    Ok(rows
        .map(|(row, points)| Row {
            labels: row.labels,
            points,
        })
        .collect())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a number from 1; beyond the greatest is all"
)]
fn few(wanted: f64) -> Result<usize, QueryError> {
    if !(-9.2e18..=9.2e18).contains(&wanted) {
        let text = format!("scalar value {wanted} overflows a number of series");
        return Err(QueryError::Execution(text));
    }
    Ok(if wanted < 1.0 { 0 } else { wanted as usize })
}
