//! Selectors and queries in VictoriaMetrics' language. Whatever text stands in one is a literal that was escaped here.

use std::fmt::{self, Write as _};

use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};

use super::super::fields::{Field, Figure};

/// A text as MetricsQL's string literal.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                _ if character.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}

/// Everything of a cooperative, or of one of its greenhouses.
pub(super) fn of_cooperative(
    cooperative: &CooperativeId,
    greenhouse: Option<&GreenhouseId>,
) -> String {
    let cooperative = Text(cooperative.as_str());
    let greenhouse = greenhouse
        .map(|greenhouse| format!(",greenhouse={}", Text(greenhouse.as_str())))
        .unwrap_or_default();
    format!(
        "{{__name__=~\".+_({})\",cooperative={cooperative}{greenhouse}}}",
        names(&Field::ALL)
    )
}

/// Fields of one series.
pub(super) fn of_series(
    cooperative: &CooperativeId,
    series: &SeriesId,
    fields: &[Field],
) -> String {
    // A channel's name has only letters, digits and underscores, which mean themselves in a pattern.
    let name = format!("{}_({})", series.channel, names(fields));
    format!(
        "{{__name__=~{},cooperative={},device={},greenhouse={}}}",
        Text(&name),
        Text(cooperative.as_str()),
        Text(series.device.as_str()),
        Text(series.greenhouse.as_str()),
    )
}

/// Label of [`newest`] and [`buckets`] that says which function a number is from.
pub(super) const FUNCTION_LABEL: &str = "rollup";
/// The newest number, in [`newest`].
pub(super) const LAST: &str = "last_over_time";
/// Its time in seconds, in [`newest`].
pub(super) const LAST_TIME: &str = "tlast_over_time";

/// The newest number of each, and its time.
pub(super) fn newest(selector: &str, window_ms: i64) -> String {
    over(&[LAST, LAST_TIME], selector, window_ms)
}

/// The times of the first and the last number of each, in seconds.
pub(super) fn ends(selector: &str, window_ms: i64) -> String {
    over(&["tfirst_over_time", LAST_TIME], selector, window_ms)
}

/// The four figures of the window that ends at each time asked for.
pub(super) fn buckets(selector: &str, bucket_ms: u32) -> String {
    over(&Figure::ALL.map(function), selector, i64::from(bucket_ms))
}

/// The figure that a function gives.
pub(super) fn figure(name: &str) -> Option<Figure> {
    Figure::ALL
        .into_iter()
        .find(|figure| function(*figure) == name)
}

fn function(figure: Figure) -> &'static str {
    match figure {
        Figure::Min => "min_over_time",
        Figure::Mean => "avg_over_time",
        Figure::Max => "max_over_time",
        Figure::Count => "count_over_time",
    }
}

fn over(functions: &[&str], selector: &str, window_ms: i64) -> String {
    let functions: Vec<String> = functions
        .iter()
        .map(|name| Text(name).to_string())
        .collect();
    let functions = functions.join(",");
    format!("aggr_over_time(({functions}), {selector}[{window_ms}ms]) keep_metric_names")
}

fn names(fields: &[Field]) -> String {
    fields
        .iter()
        .map(|field| field.as_str())
        .collect::<Vec<_>>()
        .join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_it_was_meant_to_be() {
        let series = SeriesId {
            greenhouse: "nha-1".parse().unwrap(),
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
        };
        let cooperative = "hoa-binh".parse().unwrap();
        assert_eq!(
            buckets(&of_series(&cooperative, &series, &[Field::Value]), 60_000),
            "aggr_over_time((\"min_over_time\",\"avg_over_time\",\"max_over_time\",\"count_over_time\"), \
             {__name__=~\"air_temperature_(value)\",cooperative=\"hoa-binh\",device=\"sht\",greenhouse=\"nha-1\"}\
             [60000ms]) keep_metric_names"
        );
        assert_eq!(
            of_cooperative(&cooperative, Some(&series.greenhouse)),
            "{__name__=~\".+_(value|quality|raw)\",cooperative=\"hoa-binh\",greenhouse=\"nha-1\"}"
        );
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(Text("a\"b\\c\nd}é").to_string(), "\"a\\\"b\\\\c\\x0ad}é\"");
    }
}
