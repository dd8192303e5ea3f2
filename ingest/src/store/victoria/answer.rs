//! VictoriaMetrics' answers: lines of JSON from an export, one JSON document from a query. Strict.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::fields::{self, Field};
use super::super::http::broken;
use super::super::{SeriesInfo, StoreFault};

/// Labels of a series.
pub(super) type Labels = BTreeMap<String, String>;

/// Series, or a block of one, with all its numbers.
#[derive(Debug, Deserialize)]
pub(super) struct Block {
    pub(super) metric: Labels,
    values: Vec<f64>,
    timestamps: Vec<i64>,
}

impl Block {
    /// Times in Unix milliseconds, and numbers.
    pub(super) fn samples(&self) -> impl Iterator<Item = (i64, f64)> {
        self.timestamps
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }
}

/// Calls `each` for every block of an export.
pub(super) fn blocks(
    body: &[u8],
    mut each: impl FnMut(&Block) -> Result<(), StoreFault>,
) -> Result<(), StoreFault> {
    if !(body.is_empty() || body.ends_with(b"\n")) {
        return Err(broken("it was cut off within a line"));
    }
    for line in body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let block: Block = serde_json::from_slice(line).map_err(broken)?;
        if block.values.len() != block.timestamps.len() {
            return Err(broken("values and times differ in number"));
        }
        each(&block)?;
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<T> {
    status: String,
    #[serde(default)]
    is_partial: bool,
    data: T,
}

#[derive(Debug, Deserialize)]
struct Results<T> {
    result: Vec<T>,
}

/// A time in Unix seconds, and a number as text.
type Sample = (f64, String);

/// One series at one time.
#[derive(Debug, Deserialize)]
pub(super) struct At {
    pub(super) metric: Labels,
    value: Sample,
}

impl At {
    pub(super) fn number(&self) -> Result<f64, StoreFault> {
        fields::number(&self.value.1)
    }
}

/// One series at several times.
#[derive(Debug, Deserialize)]
pub(super) struct Over {
    pub(super) metric: Labels,
    values: Vec<Sample>,
}

impl Over {
    /// Times in Unix milliseconds, and numbers.
    pub(super) fn samples(&self) -> impl Iterator<Item = Result<(i64, f64), StoreFault>> {
        self.values
            .iter()
            .map(|(seconds, text)| Ok((milliseconds(*seconds)?, fields::number(text)?)))
    }
}

/// Answer to an instant query.
pub(super) fn at(body: &[u8]) -> Result<Vec<At>, StoreFault> {
    document::<Results<At>>(body).map(|results| results.result)
}

/// Answer to a range query.
pub(super) fn over(body: &[u8]) -> Result<Vec<Over>, StoreFault> {
    document::<Results<Over>>(body).map(|results| results.result)
}

/// Answer to a question for series.
pub(super) fn series(body: &[u8]) -> Result<Vec<Labels>, StoreFault> {
    document(body)
}

/// A time that came in seconds.
pub(super) fn milliseconds(seconds: f64) -> Result<i64, StoreFault> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let rounded = (seconds * 1000.0).round();
    if rounded.is_nan() || rounded.abs() >= EXACT {
        return Err(broken(format!("{seconds} is no time")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded by the check above"
    )]
    let milliseconds = rounded as i64;
    Ok(milliseconds)
}

/// Which series and field some labels name; `None`: a foreign one that only looks like ours.
pub(super) fn name_of(labels: &Labels) -> Option<(SeriesInfo, Field)> {
    let label = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    let (channel, field) = label("__name__").rsplit_once('_')?;
    let id = fields::series_id(label("greenhouse"), label("device"), channel)?;
    Some((
        SeriesInfo {
            id,
            unit: label("unit").to_owned(),
        },
        Field::of(field)?,
    ))
}

fn document<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, StoreFault> {
    let document: Document<T> = serde_json::from_slice(body).map_err(broken)?;
    if document.status != "success" {
        return Err(broken(format!("its status is {:?}", document.status)));
    }
    if document.is_partial {
        let reason = "a part of the cluster did not answer".to_owned();
        return Err(StoreFault::Busy {
            reason,
            retry_after: None,
        });
    }
    Ok(document.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINES: &str = "{\"metric\":{\"__name__\":\"a_b_value\",\"unit\":\"\\\"\",\"device\":\"d\",\"greenhouse\":\"g\"},\
        \"values\":[1,2.5],\"timestamps\":[1000,2000]}\n";

    #[test]
    fn an_export_is_read() {
        let mut all = Vec::new();
        blocks(LINES.as_bytes(), |block| {
            let (info, field) = name_of(&block.metric).unwrap();
            all.push((
                info.id.to_string(),
                info.unit,
                field,
                block.samples().collect::<Vec<_>>(),
            ));
            Ok(())
        })
        .unwrap();
        let samples = vec![(1000, 1.0), (2000, 2.5)];
        assert_eq!(
            all,
            [("g/d/a_b".to_owned(), "\"".to_owned(), Field::Value, samples)]
        );
    }

    #[test]
    fn a_broken_export_is_a_fault() {
        for text in [
            LINES.trim_end().to_owned(),
            LINES.replace("2.5", "null"),
            LINES.replace(",2000", ""),
            format!("{LINES}cannot export: time is up\n"),
        ] {
            assert!(blocks(text.as_bytes(), |_| Ok(())).is_err(), "{text}");
        }
    }

    #[test]
    fn a_partial_answer_is_a_fault() {
        let text = "{\"status\":\"success\",\"isPartial\":true,\"data\":{\"result\":[]}}";
        assert!(matches!(at(text.as_bytes()), Err(StoreFault::Busy { .. })));
        assert!(
            at(text.replace("true", "false").as_bytes())
                .unwrap()
                .is_empty()
        );
        assert!(
            at(text
                .replace("true", "false")
                .replace("success", "error")
                .as_bytes())
            .is_err()
        );
    }

    #[test]
    fn times_are_exact_to_the_millisecond() {
        assert_eq!(milliseconds(1_700_000_059.999).unwrap(), 1_700_000_059_999);
        assert!(milliseconds(f64::NAN).is_err());
        assert!(milliseconds(1e300).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), place in 0..LINES.len()) {
            let mut damaged = LINES.as_bytes().to_vec();
            damaged[place] ^= bytes.first().copied().unwrap_or(1);
            drop(blocks(&damaged, |_| Ok(())));
            drop((at(&bytes), over(&bytes), series(&bytes)));
        }
    }
}
