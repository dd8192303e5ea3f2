//! Parameters of a request: from the address, and of a POST from its form, too.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, Query, Request};
use axum::http::Method;

use super::super::Api;
use crate::promql::{QueryError, Selector};

/// Times and spans beyond this many milliseconds are mistakes.
const MS_MAX: f64 = 9e15;
/// Most `match[]` of one request.
const SELECTORS_MAX: usize = 20;

/// Names and values, in the order given; or why they can't be read.
#[derive(Debug)]
pub(super) struct Params(Result<Vec<(String, String)>, String>);

impl FromRequest<Arc<Api>> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, Self::Rejection> {
        let of_address = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let mut pairs = match of_address {
            Ok(Query(pairs)) => pairs,
            Err(error) => return Ok(Params(Err(error.body_text()))),
        };
        if request.method() == Method::POST {
            match Form::<Vec<(String, String)>>::from_request(request, &()).await {
                // What stands in the form comes first, as in Prometheus.
                Ok(Form(mut of_form)) => {
                    of_form.append(&mut pairs);
                    pairs = of_form;
                }
                Err(error) => return Ok(Params(Err(error.body_text()))),
            }
        }
        Ok(Params(Ok(pairs)))
    }
}

impl Params {
    /// Whether they could be read.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        match &self.0 {
            Ok(_) => Ok(()),
            Err(text) => Err(QueryError::BadData(text.clone())),
        }
    }

    /// The first of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().flatten();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, QueryError> {
        let value = self.get(name);
        value.ok_or_else(|| QueryError::BadData(format!("parameter {name:?} is missing")))
    }

    /// A time, in Unix milliseconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, QueryError> {
        let text = self.get(name).filter(|text| !text.is_empty());
        text.map(|text| time_ms(name, text)).transpose()
    }

    pub(super) fn required_time(&self, name: &str) -> Result<i64, QueryError> {
        time_ms(name, self.required(name)?)
    }

    /// A span, in milliseconds.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, QueryError> {
        let text = self.get(name).filter(|text| !text.is_empty());
        text.map(span_ms).transpose()
    }

    /// Every `match[]`.
    pub(super) fn selectors(&self) -> Result<Vec<Selector>, QueryError> {
        if self.all("match[]").count() > SELECTORS_MAX {
            return Err(QueryError::BadData(format!(
                "more than {SELECTORS_MAX} match[] parameters"
            )));
        }
        self.all("match[]").map(Selector::parse).collect()
    }

    /// Most rows of a list; 0 and none mean all.
    pub(super) fn limit(&self) -> Result<usize, QueryError> {
        match self.get("limit").filter(|text| !text.is_empty()) {
            None | Some("0") => Ok(usize::MAX),
            Some(text) => text
                .parse()
                .map_err(|_| QueryError::BadData(format!("limit {text:?} is not a whole number"))),
        }
    }

    fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let pairs = self.0.iter().flatten();
        pairs
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Unix seconds with a fraction, or RFC 3339.
fn time_ms(name: &str, text: &str) -> Result<i64, QueryError> {
    let bad = || {
        QueryError::BadData(format!(
            "cannot parse {text:?} as {name} to a valid timestamp"
        ))
    };
    if let Ok(seconds) = text.parse::<f64>() {
        return whole_ms(seconds).ok_or_else(bad);
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| bad())?;
    Ok(time.as_millisecond())
}

/// Seconds with a fraction, or units from years to milliseconds; more than nothing.
pub(super) fn span_ms(text: &str) -> Result<i64, QueryError> {
    let bad = || QueryError::BadData(format!("cannot parse {text:?} to a valid duration"));
    let ms = match text.parse::<f64>() {
        Ok(seconds) => whole_ms(seconds).ok_or_else(bad)?,
        Err(_) => units_ms(text).ok_or_else(bad)?,
    };
    if ms < 1 {
        let text = "zero or negative durations and steps are not accepted";
        return Err(QueryError::BadData(text.to_owned()));
    }
    Ok(ms)
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be within 2^53")]
fn whole_ms(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    // Not a number is not below either.
    (ms.abs() < MS_MAX).then_some(ms as i64)
}

/// `1d12h`: whole numbers, each with a unit, the longer ones first, each once.
fn units_ms(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let (mut rest, mut units, mut sum) = (text, UNITS.iter(), 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = after;
    }
    (sum < 1 << 53).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_or_units_from_long_to_short() {
        for (text, expected) in [
            ("15", Some(15_000)),
            ("0.25", Some(250)),
            ("15s", Some(15_000)),
            ("1d12h", Some(129_600_000)),
            ("1m30s5ms", Some(90_005)),
            ("2y", Some(63_072_000_000)),
            ("1w", Some(604_800_000)),
            ("0", None),
            ("-5", None),
            ("30s1m", None),
            ("1m1m", None),
            ("", None),
            ("m", None),
            ("5 m", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("99999999999999999999y", None),
            ("9999999999999y", None),
            ("5µ", None),
        ] {
            assert_eq!(span_ms(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1435781430.781", Some(1_435_781_430_781)),
            ("-1.5", Some(-1500)),
            ("2015-07-01T20:10:30.781Z", Some(1_435_781_430_781)),
            ("2015-07-02T03:10:30.781+07:00", Some(1_435_781_430_781)),
            ("1e300", None),
            ("NaN", None),
            ("yesterday", None),
        ] {
            assert_eq!(time_ms("time", text).ok(), expected, "{text}");
        }
    }
}
