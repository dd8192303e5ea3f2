use proptest::prelude::*;

use super::*;

/// Series as text and samples; good readings and others.
struct Shelf(Vec<(Series, Readings)>);

type Readings = Vec<(i64, Option<f64>)>;

impl Shelf {
    /// Lines such as `house/sht/air_temperature:Cel 10s 20 21 _ 23`: one reading an interval from time 0, `_`
    /// for one that is missing, `!` for one that is not good.
    fn new(lines: &[&str]) -> Self {
        let series = lines.iter().map(|line| {
            let mut words = line.split_whitespace();
            let (path, unit) = words.next().unwrap().split_once(':').unwrap();
            let parts: Vec<&str> = path.split('/').collect();
            let interval_s: i64 = words.next().unwrap().trim_end_matches('s').parse().unwrap();
            let id = SeriesId {
                greenhouse: parts[0].parse().unwrap(),
                device: parts[1].parse().unwrap(),
                channel: parts[2].parse().unwrap(),
            };
            let labels = Labels::from([
                (NAME_LABEL, parts[2]),
                ("greenhouse", parts[0]),
                ("device", parts[1]),
                ("unit", unit),
            ]);
            let interval_ms = interval_s * 1000;
            let series = Series {
                id,
                labels,
                interval_ms,
            };
            let readings = (0i64..).zip(words).filter(|(_, word)| *word != "_");
            let readings = readings.map(|(n, word)| (n * interval_ms, word.parse().ok()));
            (series, readings.collect())
        });
        Self(series.collect())
    }

    fn greenhouse() -> Self {
        Self::new(&[
            "one/in/temp:Cel 10s 20 21 22 23 24 25 26",
            "one/out/temp:Cel 10s 10 11 _ ! 14 15 16",
            "two/in/temp:Cel 10s 30 29 28 27 26 25 24",
            "one/in/hum:% 10s 50 50 50 60 60 60 60",
            "one/in/dew:Cel 10s 9 9 9 9 9 9 9",
            "one/pump/litres:l 10s 0 5 10 2 4 6 8",
            "one/slow/soil:% 600s 1 2 3",
        ])
    }
}

impl Source for Shelf {
    fn select(&self, selector: &Selector, at_most: usize) -> Result<Vec<Series>, QueryError> {
        let all = self.0.iter().map(|(series, _)| series);
        let found = all.filter(|series| selector.matches_labels(&series.labels));
        Ok(found.take(at_most).cloned().collect())
    }

    fn read(
        &self,
        series: &[Series],
        from_ms: i64,
        to_ms: i64,
        take: &mut Take<'_>,
    ) -> Result<(), QueryError> {
        for (place, wanted) in series.iter().enumerate() {
            let (_, readings) = self.0.iter().find(|(one, _)| one == wanted).unwrap();
            for (time_ms, value) in readings {
                if (from_ms..=to_ms).contains(time_ms) {
                    take(place, *time_ms, *value)?;
                }
            }
        }
        Ok(())
    }
}

/// What a query comes to: a line for each series, points by step, `_` where there is none.
fn answer(shelf: &Shelf, query: &str, frame: &Frame) -> Result<Vec<String>, String> {
    let plan = Plan::parse(query).map_err(|error| error.to_string())?;
    let never = || false;
    let mut budget = Budget::new(&never);
    let point = |point: &Option<f64>| match point {
        Some(value) => ((value * 1e6).round() / 1e6).to_string(),
        None => "_".to_owned(),
    };
    match evaluate(&plan, frame, shelf, &mut budget).map_err(|error| error.to_string())? {
        Value::Scalar(values) => {
            let points: Vec<_> = values
                .into_iter()
                .map(|value| point(&Some(value)))
                .collect();
            Ok(vec![points.join(" ")])
        }
        Value::Vector(rows) => Ok(rows
            .iter()
            .map(|row| {
                let name = row.labels.get(NAME_LABEL).to_owned();
                let rest = row.labels.clone().without_name().0;
                let rest: Vec<_> = rest.iter().map(|(k, v)| format!("{k}={v}")).collect();
                let points: Vec<_> = row.points.iter().map(point).collect();
                format!("{name}{{{}}} {}", rest.join(","), points.join(" "))
            })
            .collect()),
    }
}

#[track_caller]
fn check_at(query: &str, (start_s, end_s, step_s): (i64, i64, i64), expected: &[&str]) {
    let frame = Frame {
        start_ms: start_s * 1000,
        end_ms: end_s * 1000,
        step_ms: step_s * 1000,
        lookback_ms: None,
    };
    let answer = answer(&Shelf::greenhouse(), query, &frame);
    assert_eq!(
        answer,
        Ok(expected.iter().map(|s| (*s).to_owned()).collect()),
        "{query}"
    );
}

/// At 0, 30 and 60 s.
#[track_caller]
fn check(query: &str, expected: &[&str]) {
    check_at(query, (0, 60, 30), expected);
}

#[track_caller]
fn check_error(query: &str, expected: &str) {
    let frame = Frame {
        start_ms: 0,
        end_ms: 60_000,
        step_ms: 30_000,
        lookback_ms: None,
    };
    let answer = answer(&Shelf::greenhouse(), query, &frame);
    assert_eq!(answer, Err(expected.to_owned()), "{query}");
}

#[test]
fn selectors_find_series_by_their_labels() {
    let one_in = "temp{device=in,greenhouse=one,unit=Cel} 20 23 26";
    let one_out = "temp{device=out,greenhouse=one,unit=Cel} 10 11 16";
    let two_in = "temp{device=in,greenhouse=two,unit=Cel} 30 27 24";
    check("temp", &[one_in, two_in, one_out]);
    check("temp{greenhouse=\"one\"}", &[one_in, one_out]);
    check("temp{greenhouse!=\"one\"}", &[two_in]);
    check("temp{device=~\"i.|x\"}", &[one_in, two_in]);
    check("temp{device=~\"i\"}", &[]);
    check("temp{device!~\"i.\"}", &[one_out]);
    check("{__name__=\"temp\",device=\"out\"}", &[one_out]);
    check("temp{gateway=\"\"}", &[one_in, two_in, one_out]);
    check("temp{gateway=\"x\"}", &[]);
    check("nothing", &[]);
}

#[test]
fn an_instant_looks_back_five_minutes_or_two_and_a_half_intervals_and_both_ends_count() {
    let row = |points: &str| format!("temp{{device=in,greenhouse=one,unit=Cel}} {points}");
    let query = "temp{device=\"in\",greenhouse=\"one\"}";
    check_at(query, (359, 361, 1), &[&row("26 26 _")]);
    check_at(query, (-10, 15, 5), &[&row("_ _ 20 20 21 21")]);
    check_at(
        "soil",
        (600, 2701, 700),
        &["soil{device=slow,greenhouse=one,unit=%} 2 3 3 3"],
    );
    check_at("soil", (2701, 2702, 1), &[]);
    let frame = Frame::instant(71_000, Some(10_000));
    assert_eq!(answer(&Shelf::greenhouse(), query, &frame), Ok(vec![]));
    let frame = Frame::instant(70_000, Some(10_000));
    assert_eq!(
        answer(&Shelf::greenhouse(), query, &frame),
        Ok(vec![row("26")])
    );
}

#[test]
fn offset_and_at_move_the_time() {
    let row = |points: &str| format!("temp{{device=in,greenhouse=one,unit=Cel}} {points}");
    let selector = "temp{device=\"in\",greenhouse=\"one\"}";
    for (suffix, points) in [
        ("offset 10s", "_ 22 25"),
        ("offset -10s", "21 24 26"),
        ("@ 40", "24 24 24"),
        ("@ 40 offset 10s", "23 23 23"),
        ("@ start()", "20 20 20"),
        ("@ end()", "26 26 26"),
        ("@ end() offset 30s", "23 23 23"),
    ] {
        check(&format!("{selector} {suffix}"), &[&row(points)]);
    }
    let over = |points: &str| format!("{{device=in,greenhouse=one,unit=Cel}} {points}");
    check(
        "count_over_time(temp{device=\"in\",greenhouse=\"one\"}[20s] @ 40)",
        &[&over("3 3 3")],
    );
}

#[test]
fn functions_of_ranges() {
    let row = |points: &str| format!("{{device=pump,greenhouse=one,unit=l}} {points}");
    for (function, points) in [
        ("avg_over_time", "0 4.25 5"),
        ("min_over_time", "0 0 2"),
        ("max_over_time", "0 10 8"),
        ("sum_over_time", "0 17 20"),
        ("count_over_time", "1 4 4"),
        ("present_over_time", "1 1 1"),
        ("stdvar_over_time", "0 14.1875 5"),
        ("changes", "0 3 3"),
        ("resets", "0 1 0"),
        ("increase", "_ 12 6"),
        ("rate", "_ 0.4 0.2"),
        ("delta", "_ 2 6"),
        ("irate", "_ 0.2 0.2"),
        ("idelta", "_ -8 2"),
        ("deriv", "_ 0.11 0.2"),
    ] {
        check(&format!("{function}(litres[30s])"), &[&row(points)]);
    }
    check(
        "last_over_time(litres[30s])",
        &["litres{device=pump,greenhouse=one,unit=l} 0 2 8"],
    );
    let root = format!("0 {} {}", 3.766_63, 2.236_068);
    check("stddev_over_time(litres[30s])", &[&row(&root)]);
}

/// A range that begins before the first sample: half an interval is added, but a counter never began
/// below 0.
#[test]
fn increases_are_extrapolated_by_half_an_interval_at_most() {
    let row = |points: &str| format!("{{device=pump,greenhouse=one,unit=l}} {points}");
    check_at("increase(litres[100s])", (20, 20, 1), &[&row("10")]);
    check_at("delta(litres[100s])", (20, 20, 1), &[&row("12.5")]);
    check_at("delta(litres[100s])", (28, 28, 1), &[&row("16.5")]);
    check_at("delta(litres[100s])", (40, 40, 1), &[&row("4.5")]);
}

#[test]
fn a_reading_that_is_not_good_is_no_sample() {
    check_at(
        "count_over_time(temp{device=\"out\"}[1m])",
        (60, 60, 1),
        &["{device=out,greenhouse=one,unit=Cel} 5"],
    );
    check_at(
        "min_over_time(temp{device=\"out\"}[10s])",
        (20, 40, 10),
        &["{device=out,greenhouse=one,unit=Cel} 11 _ 14"],
    );
}

#[test]
fn operators() {
    let in_one = "temp{device=\"in\",greenhouse=\"one\"}";
    let plain = |points: &str| format!("{{device=in,greenhouse=one,unit=Cel}} {points}");
    let named = |points: &str| format!("temp{{device=in,greenhouse=one,unit=Cel}} {points}");
    for (query, points) in [
        ("X + 1", "21 24 27"),
        ("1 - X", "-19 -22 -25"),
        ("X * 2", "40 46 52"),
        ("X / 0", "inf inf inf"),
        ("X % 7", "6 2 5"),
        ("X ^ 2", "400 529 676"),
        ("-X", "-20 -23 -26"),
        ("X > bool 22", "0 1 1"),
        ("22 > bool X", "1 0 0"),
        ("X == bool 23", "0 1 0"),
        ("X != bool 23", "1 0 1"),
        ("round(X / 3)", "7 8 9"),
        ("round(X, 5)", "20 25 25"),
        ("clamp(X, 21, 25)", "21 23 25"),
        ("clamp_min(X, 24)", "24 24 26"),
        ("clamp_max(X, 24)", "20 23 24"),
        ("abs(-X)", "20 23 26"),
        ("sgn(X - 23)", "-1 0 1"),
        ("X + time()", "20 53 86"),
        ("X - scalar(X)", "0 0 0"),
    ] {
        check(&query.replace('X', in_one), &[&plain(points)]);
    }
    for (query, points) in [
        ("X > 22", "_ 23 26"),
        ("22 < X", "_ 23 26"),
        ("X >= 23", "_ 23 26"),
        ("X <= 23", "20 23 _"),
        ("X < 23", "20 _ _"),
    ] {
        check(&query.replace('X', in_one), &[&named(points)]);
    }
    check("1 + 2 * 3 ^ 2", &["19 19 19"]);
    check("1 > bool 2", &["0 0 0"]);
    check("time()", &["0 30 60"]);
    check("vector(time())", &["{} 0 30 60"]);
    check("scalar(temp)", &["NaN NaN NaN"]);
}

#[test]
fn operators_between_vectors() {
    check(
        "temp{greenhouse=\"one\",device=\"in\"} - ignoring(device) temp{device=\"out\"}",
        &["{greenhouse=one,unit=Cel} 10 12 10"],
    );
    check(
        "temp{greenhouse=\"one\",device=\"in\"} - on(greenhouse) temp{device=\"out\"}",
        &["{greenhouse=one} 10 12 10"],
    );
    check(
        "temp - temp{greenhouse=\"two\"}",
        &["{device=in,greenhouse=two,unit=Cel} 0 0 0"],
    );
    check(
        "temp{device=\"in\"} > ignoring(greenhouse) temp{greenhouse=\"two\"}",
        &["temp{device=in,unit=Cel} _ _ 26"],
    );
    check(
        "temp{greenhouse=\"one\",device=\"in\"} > ignoring(greenhouse) temp{greenhouse=\"two\"}",
        &["temp{device=in,unit=Cel} _ _ 26"],
    );
    check(
        "temp{greenhouse=\"one\",device=\"in\"} < bool ignoring(greenhouse) temp{greenhouse=\"two\"}",
        &["{device=in,unit=Cel} 1 1 0"],
    );
    check(
        "temp and on(greenhouse) hum > 55 and temp{device=\"in\"} > 25",
        &["temp{device=in,greenhouse=one,unit=Cel} _ _ 26"],
    );
    check(
        "temp{device=\"in\"} and on(greenhouse) hum",
        &["temp{device=in,greenhouse=one,unit=Cel} 20 23 26"],
    );
    check(
        "temp{device=\"in\"} unless on(greenhouse) (hum > 55)",
        &[
            "temp{device=in,greenhouse=one,unit=Cel} 20 _ _",
            "temp{device=in,greenhouse=two,unit=Cel} 30 27 24",
        ],
    );
    check(
        "hum or on(greenhouse) temp{device=\"in\"}",
        &[
            "hum{device=in,greenhouse=one,unit=%} 50 60 60",
            "temp{device=in,greenhouse=two,unit=Cel} 30 27 24",
        ],
    );
}

#[test]
fn aggregations() {
    for (query, expected) in [
        ("sum(temp)", "{} 60 61 66"),
        ("avg(temp)", "{} 20 20.333333 22"),
        ("min(temp)", "{} 10 11 16"),
        ("max(temp)", "{} 30 27 26"),
        ("count(temp)", "{} 3 3 3"),
        ("group(temp)", "{} 1 1 1"),
        ("stdvar(temp)", "{} 66.666667 46.222222 18.666667"),
    ] {
        check(query, &[expected]);
    }
    check(
        "sum by (greenhouse) (temp)",
        &["{greenhouse=one} 30 34 42", "{greenhouse=two} 30 27 24"],
    );
    check(
        "sum without (device, unit) (temp)",
        &["{greenhouse=one} 30 34 42", "{greenhouse=two} 30 27 24"],
    );
    check("max by (__name__) (temp)", &["temp{} 30 27 26"]);
    check("sum by (nothing) (temp)", &["{} 60 61 66"]);
    check("sum(nothing)", &[]);
    check(
        "topk(1, temp)",
        &[
            "temp{device=in,greenhouse=one,unit=Cel} _ _ 26",
            "temp{device=in,greenhouse=two,unit=Cel} 30 27 _",
        ],
    );
    check(
        "bottomk(1, temp)",
        &["temp{device=out,greenhouse=one,unit=Cel} 10 11 16"],
    );
    check("topk(0, temp)", &[]);
}

#[test]
fn what_is_wrong_or_not_supported_is_named() {
    for (query, expected) in [
        ("", "no query is given"),
        (
            "quantile(0.5, temp)",
            "aggregation quantile is not supported",
        ),
        (
            "count_values(\"x\", temp)",
            "aggregation count_values is not supported",
        ),
        ("absent(temp)", "function absent() is not supported"),
        (
            "histogram_quantile(0.9, temp)",
            "function histogram_quantile() is not supported",
        ),
        (
            "label_replace(temp, \"a\", \"b\", \"c\", \"d\")",
            "function label_replace() is not supported",
        ),
        (
            "quantile_over_time(0.5, temp[1m])",
            "function quantile_over_time() is not supported",
        ),
        ("max_over_time(temp[1m:10s])", "a subquery is not supported"),
        (
            "temp * on(greenhouse) group_left hum",
            "group_left is not supported",
        ),
        (
            "temp * on(greenhouse) group_right hum",
            "group_right is not supported",
        ),
        ("temp atan2 temp", "operator atan2 is not supported"),
        ("\"text\"", "a string as an expression is not supported"),
        (
            "rate(temp)",
            "parse error: expected type matrix in call to function 'rate', got vector",
        ),
        (
            "{device=~\".*\"}",
            "parse error: vector selector must contain at least one non-empty matcher",
        ),
    ] {
        check_error(query, expected);
    }
    for query in [
        "abs({device=\"in\",unit=\"Cel\"})",
        "-{device=\"in\",unit=\"Cel\"}",
        "{device=\"in\",unit=\"Cel\"} * 2",
        "rate({device=\"in\",unit=\"Cel\"}[30s])",
    ] {
        check_error(
            query,
            "vector cannot contain metrics with the same labelset",
        );
    }
    check_error(
        "temp - on(unit) temp{device=\"in\"}",
        "found duplicate series for the match group {\"unit\": \"Cel\"} on the right hand-side of \
         the operation; many-to-many matching not allowed: matching labels must be unique on one side",
    );
    check_error(
        "temp - on(unit) temp{device=\"out\"}",
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    );
}

#[test]
fn a_query_has_bounds() {
    let long = format!("temp{{device=\"{}\"}}", "x".repeat(QUERY_BYTES_MAX));
    for (query, expected) in [
        (
            long.clone(),
            format!("query has {} bytes (must be at most 4096)", long.len()),
        ),
        (
            format!("{}1{}", "(".repeat(51), ")".repeat(51)),
            "query has 51 brackets, one in another (must be at most 50)".to_owned(),
        ),
        (
            format!("1{}", "+1".repeat(201)),
            "query has 201 operators (must be at most 200)".to_owned(),
        ),
        (
            format!("temp{}", " or temp".repeat(201)),
            "query has 201 operators (must be at most 200)".to_owned(),
        ),
        (
            format!("{{{}}}", "a=~\"b\",".repeat(21)),
            "query has 21 regular expressions (must be at most 20)".to_owned(),
        ),
    ] {
        check_error(&query, &expected);
    }
    check(
        &format!("{}1{}", "(".repeat(50), ")".repeat(50)),
        &["1 1 1"],
    );
    let points = (0..=10_000).fold(String::from("one/in/temp:Cel 1s"), |text, _| text + " 1");
    let shelf = Shelf::new(&[&points]);
    let frame = |steps: i64| Frame {
        start_ms: 0,
        end_ms: steps - 1,
        step_ms: 1,
        lookback_ms: None,
    };
    assert!(answer(&shelf, "temp", &frame(11_000)).is_ok());
    let too_fine = answer(&shelf, "temp", &frame(11_001)).unwrap_err();
    assert!(
        too_fine.starts_with("exceeded maximum resolution of 11000 points"),
        "{too_fine}"
    );
    let many = "temp".to_owned() + &" or temp".repeat(199);
    let much = answer(&shelf, &many, &frame(11_000)).unwrap_err();
    assert_eq!(
        much,
        "query would compute too many points (more than 4000000)"
    );
    let plan = Plan::parse("temp").unwrap();
    let always = || true;
    let late = evaluate(&plan, &frame(1), &shelf, &mut Budget::new(&always));
    assert!(matches!(late, Err(QueryError::TimedOut)));
}

#[test]
fn too_many_series_or_samples_are_refused() {
    let lines: Vec<String> = (0..=SERIES_MAX)
        .map(|n| format!("one/d{n}/temp:Cel 10s 1"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let frame = Frame::instant(0, None);
    let refused = answer(&Shelf::new(&lines), "temp", &frame).unwrap_err();
    assert_eq!(
        refused,
        "query would select too many series at once (more than 1000)"
    );
    assert!(answer(&Shelf::new(&lines[1..]), "temp", &frame).is_ok());
    let never = || false;
    let mut budget = Budget::new(&never);
    assert!((0..SAMPLES_MAX).all(|_| budget.sample().is_ok()));
    let refused = budget.sample().unwrap_err().to_string();
    assert_eq!(
        refused,
        "query would read too many samples (more than 10000000)"
    );
}

/// Pieces of which many queries make sense, and many do not.
const PIECES: &str = "temp hum litres { } ( ) [ ] 30s 1m : 5 -1 1e300 Inf NaN = != =~ \"one\" \".*\" \"(\" \
    device greenhouse , + - * / % ^ == > bool and or unless on ignoring group_left by without sum topk avg rate \
    avg_over_time offset @ start() end() time() scalar vector round clamp # ' ` 0x \u{0} é 9999999y quantile \
    absent fill";

fn pieces() -> impl Strategy<Value = String> {
    let words: Vec<&str> = PIECES.split_whitespace().collect();
    let words = proptest::sample::select(words);
    proptest::collection::vec(words, 0..24).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_query_is_answered_or_refused(query in prop_oneof![pieces(), ".{0,60}", "[a-z(){}\\[\\]0-9@+:. ]{0,40}"]) {
        let frame = Frame { start_ms: 0, end_ms: 60_000, step_ms: 30_000, lookback_ms: None };
        let answer = answer(&Shelf::greenhouse(), &query, &frame);
        prop_assert!(answer.is_ok() || answer.is_err_and(|text| !text.is_empty()));
    }
}
