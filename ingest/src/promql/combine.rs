//! Operators between scalars and vectors.

use std::collections::BTreeMap;

use super::{Budget, Labels, QueryError, Row, Value};

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `^`
    Power,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Above,
    /// `<`
    Below,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// Which series of both sides belong together, and what a comparison gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// Those that agree in these labels only; else in all others.
    pub on: bool,
    /// Which labels.
    pub labels: Vec<String>,
    /// 0 or 1 instead of the left value or nothing: `bool`.
    pub as_number: bool,
}

impl Matching {
    /// What must be the same on both sides.
    fn key(&self, labels: &Labels) -> Labels {
        match self.on {
            true => labels.only(&self.labels),
            false => labels.except(&self.labels).without_name(),
        }
    }

    /// Labels of what comes of two series.
    fn result(&self, operator: Operator, left: &Labels) -> Labels {
        let labels = match self.on {
            true => left.only(&self.labels),
            false => left.except(&self.labels),
        };
        self.named(operator, labels)
    }

    /// What is computed is not the metric any more; what is only filtered is.
    fn named(&self, operator: Operator, labels: Labels) -> Labels {
        match operator.is_comparison() && !self.as_number {
            true => labels,
            false => labels.without_name(),
        }
    }
}

impl Operator {
    fn is_comparison(self) -> bool {
        match self {
            Operator::Equal
            | Operator::NotEqual
            | Operator::Above
            | Operator::Below
            | Operator::AtLeast
            | Operator::AtMost => true,
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo
            | Operator::Power
            | Operator::And
            | Operator::Or
            | Operator::Unless => false,
        }
    }

    fn is_set(self) -> bool {
        matches!(self, Operator::And | Operator::Or | Operator::Unless)
    }

    /// A value, or whether the comparison holds.
    #[expect(
        clippy::float_cmp,
        reason = "== and != of the language mean exactly this"
    )]
    fn of_two(self, left: f64, right: f64) -> Result<f64, bool> {
        Ok(match self {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            Operator::Modulo => left % right,
            Operator::Power => left.powf(right),
            Operator::Equal => return Err(left == right),
            Operator::NotEqual => return Err(left != right),
            Operator::Above => return Err(left > right),
            Operator::Below => return Err(left < right),
            Operator::AtLeast => return Err(left >= right),
            Operator::AtMost => return Err(left <= right),
            Operator::And | Operator::Or | Operator::Unless => return Err(false),
        })
    }
}

/// Series by their labels, filled in step by step.
pub(super) struct Collector {
    steps: usize,
    places: BTreeMap<Labels, usize>,
    rows: Vec<Row>,
}

impl Collector {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            steps,
            places: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// The place of the series with these labels.
    fn place(&mut self, labels: Labels, budget: &mut Budget<'_>) -> Result<usize, QueryError> {
        if let Some(place) = self.places.get(&labels) {
            return Ok(*place);
        }
        budget.points(self.steps)?;
        let place = self.rows.len();
        self.places.insert(labels.clone(), place);
        self.rows.push(Row {
            labels,
            points: vec![None; self.steps],
        });
        Ok(place)
    }

    fn set(&mut self, place: usize, step: usize, value: f64) -> Result<(), QueryError> {
        let point = self
            .rows
            .get_mut(place)
            .and_then(|row| row.points.get_mut(step));
        match point {
            Some(Some(_)) => Err(same_labels()),
            Some(empty) => {
                *empty = Some(value);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A whole series; at no step may there be another with these labels.
    pub(super) fn add(&mut self, row: Row, budget: &mut Budget<'_>) -> Result<(), QueryError> {
        let place = self.place(row.labels, budget)?;
        for (step, point) in row.points.into_iter().enumerate() {
            if let Some(value) = point {
                self.set(place, step, value)?;
            }
        }
        Ok(())
    }

    /// Everything that has a point.
    pub(super) fn finish(self) -> Vec<Row> {
        let rows = self.rows.into_iter();
        rows.filter(|row| row.points.iter().any(Option::is_some))
            .collect()
    }
}

/// Two results can't bear the same labels.
pub(super) fn same_labels() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// Applies an operator.
pub(super) fn combine(
    operator: Operator,
    left: Value,
    right: Value,
    matching: &Matching,
    budget: &mut Budget<'_>,
) -> Result<Value, QueryError> {
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let pairs = left.into_iter().zip(right);
            let of_two = |(left, right)| match operator.of_two(left, right) {
                Ok(value) => value,
                Err(holds) => f64::from(u8::from(holds)),
            };
            Ok(Value::Scalar(pairs.map(of_two).collect()))
        }
        (Value::Vector(left), Value::Scalar(right)) => {
            let of_two = |value, step| (operator.of_two(value, at(&right, step)), value);
            with_scalar(operator, left, right.len(), matching, of_two, budget)
        }
        (Value::Scalar(left), Value::Vector(right)) => {
            let of_two = |value, step| (operator.of_two(at(&left, step), value), value);
            with_scalar(operator, right, left.len(), matching, of_two, budget)
        }
        (Value::Vector(left), Value::Vector(right)) if operator.is_set() => {
            Ok(Value::Vector(set(operator, left, right, matching, budget)?))
        }
        (Value::Vector(left), Value::Vector(right)) => Ok(Value::Vector(one_to_one(
            operator, left, &right, matching, budget,
        )?)),
    }
}

fn at(values: &[f64], step: usize) -> f64 {
    values.get(step).copied().unwrap_or(f64::NAN)
}

/// Each value of a vector with the scalar of its step. A comparison keeps the vector's value, on
/// whichever side it stands.
fn with_scalar(
    operator: Operator,
    rows: Vec<Row>,
    steps: usize,
    matching: &Matching,
    of_two: impl Fn(f64, usize) -> (Result<f64, bool>, f64),
    budget: &mut Budget<'_>,
) -> Result<Value, QueryError> {
    let mut out = Collector::new(steps);
    for mut row in rows {
        for (step, point) in row.points.iter_mut().enumerate() {
            if let Some(value) = *point {
                *point = kept(of_two(value, step), matching);
            }
        }
        row.labels = matching.named(operator, row.labels);
        out.add(row, budget)?;
    }
    Ok(Value::Vector(out.finish()))
}

/// What stays of a value, or of a comparison and the value that it looked at.
fn kept(result: (Result<f64, bool>, f64), matching: &Matching) -> Option<f64> {
    match result {
        (Ok(value), _) => Some(value),
        (Err(holds), _) if matching.as_number => Some(f64::from(u8::from(holds))),
        (Err(holds), value) => holds.then_some(value),
    }
}

/// Numbers for the keys of both sides.
fn keys(left: &[Row], right: &[Row], matching: &Matching) -> (Vec<usize>, Vec<usize>, usize) {
    let mut numbers = BTreeMap::new();
    let mut number = |row: &Row| {
        let next = numbers.len();
        *numbers.entry(matching.key(&row.labels)).or_insert(next)
    };
    let left = left.iter().map(&mut number).collect();
    let right = right.iter().map(&mut number).collect();
    (left, right, numbers.len())
}

fn one_to_one(
    operator: Operator,
    left: Vec<Row>,
    right: &[Row],
    matching: &Matching,
    budget: &mut Budget<'_>,
) -> Result<Vec<Row>, QueryError> {
    let steps = left.first().map_or(0, |row| row.points.len());
    let (left_keys, right_keys, key_count) = keys(&left, right, matching);
    let mut out = Collector::new(steps);
    let places = left.iter().map(|row| {
        let labels = matching.result(operator, &row.labels);
        out.place(labels, budget)
    });
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let mut partners: Vec<Option<f64>> = vec![None; key_count];
    let mut used = vec![false; key_count];
    for step in 0..steps {
        budget.check_time()?;
        if left.iter().all(|row| point(row, step).is_none()) {
            continue;
        }
        partners.fill(None);
        used.fill(false);
        for (row, key) in right.iter().zip(&right_keys) {
            let (Some(value), Some(partner)) = (point(row, step), partners.get_mut(*key)) else {
                continue;
            };
            if partner.replace(value).is_some() {
                return Err(twice_on_the_right(&row.labels, matching));
            }
        }
        for ((row, key), place) in left.iter().zip(&left_keys).zip(&places) {
            let partner = partners.get(*key).copied().flatten();
            let (Some(value), Some(partner)) = (point(row, step), partner) else {
                continue;
            };
            let result = (operator.of_two(value, partner), value);
            let Some(value) = kept(result, matching) else {
                continue;
            };
            if let Some(used) = used.get_mut(*key)
                && std::mem::replace(used, true)
            {
                let text = "multiple matches for labels: many-to-one matching must be explicit \
                            (group_left/group_right)";
                return Err(QueryError::Execution(text.to_owned()));
            }
            out.set(*place, step, value)?;
        }
    }
    Ok(out.finish())
}

fn twice_on_the_right(labels: &Labels, matching: &Matching) -> QueryError {
    let group = matching.key(labels).0;
    QueryError::Execution(format!(
        "found duplicate series for the match group {group:?} on the right hand-side of the operation; \
         many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

fn set(
    operator: Operator,
    left: Vec<Row>,
    right: Vec<Row>,
    matching: &Matching,
    budget: &mut Budget<'_>,
) -> Result<Vec<Row>, QueryError> {
    let first = left.first().or(right.first());
    let steps = first.map_or(0, |row| row.points.len());
    let (left_keys, right_keys, key_count) = keys(&left, &right, matching);
    let on_left = presence(&left, &left_keys, key_count, steps, budget)?;
    let on_right = presence(&right, &right_keys, key_count, steps, budget)?;
    let there = |presence: &[Vec<bool>], key: usize, step: usize| {
        let steps = presence.get(key);
        steps.and_then(|steps| steps.get(step)).copied() == Some(true)
    };
    let mut out = Collector::new(steps);
    let mut add = |row: Row, key: usize, wanted: &dyn Fn(usize, usize) -> bool| {
        let points = row.points.into_iter().enumerate();
        let points = points.map(|(step, point)| point.filter(|_| wanted(key, step)));
        let points: Vec<_> = points.collect();
        let labels = row.labels;
        out.add(Row { labels, points }, budget)
    };
    for (row, key) in left.into_iter().zip(left_keys) {
        add(row, key, &|key, step| {
            operator == Operator::Or || there(&on_right, key, step) == (operator == Operator::And)
        })?;
    }
    if operator == Operator::Or {
        for (row, key) in right.into_iter().zip(right_keys) {
            add(row, key, &|key, step| !there(&on_left, key, step))?;
        }
    }
    Ok(out.finish())
}

/// At which steps there is any series of a key.
fn presence(
    rows: &[Row],
    keys: &[usize],
    key_count: usize,
    steps: usize,
    budget: &mut Budget<'_>,
) -> Result<Vec<Vec<bool>>, QueryError> {
    budget.points(key_count.saturating_mul(steps))?;
    let mut out = vec![vec![false; steps]; key_count];
    for (row, key) in rows.iter().zip(keys) {
        for (there, point) in out.get_mut(*key).into_iter().flatten().zip(&row.points) {
            *there |= point.is_some();
        }
    }
    Ok(out)
}

fn point(row: &Row, step: usize) -> Option<f64> {
    row.points.get(step).copied().flatten()
}
