//! Our Flux queries. Whatever text stands in one is a literal that was escaped here.

use std::fmt::{self, Write as _};

use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use jiff::Timestamp;

use super::super::Span;
use super::super::fields::{Field, Figure};

/// First time that InfluxDB can hold, and the one behind the last, in Unix milliseconds.
const TIMES_MS: (i64, i64) = (-9_223_372_036_854, 9_223_372_036_854);

/// A text as Flux's string literal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                // A dollar before a brace begins an expression.
                '$' => f.write_str("\\x24")?,
                _ if character.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}

/// Which readings of a bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    pub(super) bucket: &'a str,
    pub(super) cooperative: &'a CooperativeId,
    pub(super) greenhouse: Option<&'a GreenhouseId>,
    /// Device and channel, with the greenhouse.
    pub(super) series: Option<&'a SeriesId>,
    pub(super) fields: &'a [Field],
    /// `None`: ever.
    pub(super) span: Option<Span>,
}

impl fmt::Display for Selection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.span.unwrap_or(Span {
            from_ms: TIMES_MS.0,
            to_ms: TIMES_MS.1,
        });
        write!(f, "from(bucket: {})", Text(self.bucket))?;
        write!(
            f,
            " |> range(start: {}, stop: {})",
            Time(span.from_ms),
            Time(span.to_ms)
        )?;
        let fields = self
            .fields
            .iter()
            .map(|field| format!("r._field == {}", Text(field.as_str())));
        let fields = fields.collect::<Vec<_>>().join(" or ");
        let cooperative = Text(self.cooperative.as_str());
        write!(
            f,
            " |> filter(fn: (r) => r.cooperative == {cooperative} and ({fields})"
        )?;
        if let Some(greenhouse) = self
            .greenhouse
            .or(self.series.map(|series| &series.greenhouse))
        {
            write!(f, " and r.greenhouse == {}", Text(greenhouse.as_str()))?;
        }
        if let Some(series) = self.series {
            let (device, channel) = (Text(series.device.as_str()), Text(series.channel.as_str()));
            write!(
                f,
                " and r.device == {device} and r._measurement == {channel}"
            )?;
        }
        f.write_str(")")
    }
}

/// All of them.
pub(super) fn all(selection: &Selection<'_>) -> String {
    format!("{selection} |> keep(columns: [\"_time\", \"_value\", \"_field\", \"unit\"])")
}

/// The newest of each field.
pub(super) fn newest(selection: &Selection<'_>) -> String {
    let columns =
        "\"_time\", \"_value\", \"_field\", \"_measurement\", \"device\", \"greenhouse\", \"unit\"";
    format!("{selection} |> last() |> keep(columns: [{columns}])")
}

/// The times of the first and the last reading, of whatever field.
pub(super) fn ends(selection: &Selection<'_>) -> String {
    let of_end = |end: &str| {
        format!("{selection} |> {end}() |> keep(columns: [\"_time\"]) |> yield(name: \"{end}\")\n")
    };
    ["first", "last"].map(of_end).concat()
}

/// Four results, one a figure, of buckets that begin at multiples of their length since 1970.
pub(super) fn buckets(selection: &Selection<'_>, bucket_ms: u32) -> String {
    let of_figure = |figure: &str| {
        let window = window(&format!("{bucket_ms}ms"), figure);
        let named = "keep(columns: [\"_time\", \"_value\", \"unit\"])";
        // Spelt out each time: the storage computes a window only of what is read for nothing else.
        format!("{selection} |> {window} |> {named} |> yield(name: \"{figure}\")\n")
    };
    Figure::ALL.map(Figure::as_str).map(of_figure).concat()
}

/// Body of a task that brings the last `behind` of one bucket's good readings into another.
pub(super) fn task(
    name: &str,
    from: &str,
    to: &str,
    window_every: &str,
    task_every: &str,
    behind: &str,
) -> String {
    let (name, from, to) = (Text(name), Text(from), Text(to));
    let mut query = format!(
        "import \"date\"\n\
         option task = {{name: {name}, every: {task_every}, offset: 30s}}\n\
         start = date.truncate(t: -{behind}, unit: {window_every})\n\
         stop = date.truncate(t: now(), unit: {window_every})\n\
         readings = from(bucket: {from}) |> range(start: start, stop: stop) |> filter(fn: (r) => r._field == \"value\")\n"
    );
    for figure in Figure::ALL.map(Figure::as_str) {
        let window = window(window_every, figure);
        let kept =
            format!("toFloat() |> set(key: \"_field\", value: \"{figure}\") |> to(bucket: {to})");
        query.push_str(&format!(
            "readings |> {window} |> {kept} |> yield(name: \"{figure}\")"
        ));
        query.push('\n');
    }
    query
}

fn window(every: &str, figure: &str) -> String {
    format!(
        "aggregateWindow(every: {every}, fn: {figure}, createEmpty: false, timeSrc: \"_start\")"
    )
}

/// A time as Flux's literal; one that InfluxDB can't hold is the next that it can.
struct Time(i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.clamp(TIMES_MS.0, TIMES_MS.1);
        let time = Timestamp::from_millisecond(held).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_what_it_was_meant_to_be() {
        let (cooperative, greenhouse) = ("hoa-binh".parse().unwrap(), "nha-1".parse().unwrap());
        let selection = Selection {
            bucket: "a\"b",
            cooperative: &cooperative,
            greenhouse: Some(&greenhouse),
            series: None,
            fields: &[Field::Value],
            span: Some(Span {
                from_ms: 1_700_000_000_001,
                to_ms: i64::MAX,
            }),
        };
        let expected = "from(bucket: \"a\\\"b\") \
            |> range(start: 2023-11-14T22:13:20.001Z, stop: 2262-04-11T23:47:16.854Z) \
            |> filter(fn: (r) => r.cooperative == \"hoa-binh\" and (r._field == \"value\") and r.greenhouse == \"nha-1\")";
        assert_eq!(selection.to_string(), expected);
    }

    proptest! {
        #[test]
        fn any_text_is_one_literal(text in prop_oneof![any::<String>(), "[\"\\\\${}\n]{0,8}"]) {
            prop_assert_eq!(decode(&Text(&text).to_string()), Some(text));
        }
    }

    /// Takes exactly one literal without an expression in it.
    fn decode(literal: &str) -> Option<String> {
        let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
        let mut plain = String::new();
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' | '$' => return None,
                '\\' => match characters.next()? {
                    escaped @ ('"' | '\\') => plain.push(escaped),
                    'x' => {
                        let hex: String = characters.by_ref().take(2).collect();
                        plain.push(char::from(u8::from_str_radix(&hex, 16).ok()?));
                    }
                    _ => return None,
                },
                _ if character.is_ascii_control() => return None,
                _ => plain.push(character),
            }
        }
        Some(plain)
    }
}
