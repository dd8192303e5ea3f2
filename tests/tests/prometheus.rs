//! The Prometheus API of ingest against a real Prometheus: the same samples in both, the same answers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::delivery::read_books;
use furrow_tests::process::until;
use furrow_tests::prometheus::{self, Prometheus};
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use jiff::Timestamp;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(180);
/// Some 100 minutes of 22 channels.
const READINGS: i64 = 13_000;
const BASE: &str = "/api/v1/cooperatives/hoa-binh/prometheus";

/// Queries of a range of time; `T` stands for a metric with a gap, `L` for one that only grows.
const RANGES: &[&str] = &[
    "T",
    "T{device=~\"sht-.*\"}",
    "T{device!=\"sht-inside\"}",
    "{greenhouse=\"nha-luoi-1\",unit!~\"Cel|%\"}",
    "T offset 7m",
    "T offset -90s",
    "T @ start()",
    "T @ end() offset 1m",
    "avg_over_time(T[5m])",
    "min_over_time(T[5m])",
    "max_over_time(T[90s])",
    "sum_over_time(T[5m] offset 1m)",
    "count_over_time(T[10m])",
    "last_over_time(T[1m])",
    "present_over_time(T[20s])",
    "stddev_over_time(T[10m])",
    "stdvar_over_time(T[10m])",
    "deriv(T[15m])",
    "delta(T[7m])",
    "idelta(T[1m])",
    "changes(T[10m])",
    "resets(T[10m])",
    "rate(L[5m])",
    "increase(L[10m])",
    "irate(L[1m])",
    "rate(T[5m])",
    "count_over_time(T[5m] @ end())",
    "T * 1.8 + 32",
    "2 ^ (T / 10) % 7",
    "-T",
    "T > 20",
    "T > bool 20",
    "20 < T",
    "T - on(greenhouse, unit) sum by (greenhouse, unit) (T{device=\"sht-outside\"})",
    "T{device=\"sht-inside\"} - ignoring(device) T{device=\"sht-outside\"}",
    "T{device=\"sht-inside\"} >= ignoring(device) T{device=\"sht-outside\"}",
    "T{device=\"sht-inside\"} > bool ignoring(device) T{device=\"sht-outside\"}",
    "T and T > 20",
    "T unless T > 20",
    "T{device=\"sht-inside\"} or T",
    "sum(T)",
    "avg by (device) (T)",
    "min without (device) (T)",
    "max by (__name__) (T)",
    "count({greenhouse=\"nha-luoi-1\"})",
    "count by (unit) ({greenhouse=\"nha-luoi-1\"})",
    "stddev({unit=\"Cel\"})",
    "stdvar by (device) ({unit=\"Cel\"})",
    "group by (unit) ({greenhouse=\"nha-luoi-1\"})",
    "topk(2, {unit=\"Cel\"})",
    "bottomk(1, {unit=\"Cel\"})",
    "sum(rate({greenhouse=\"nha-luoi-1\",unit=\"Cel\"}[5m])) by (unit)",
    "round(T, 0.5)",
    "clamp(T, 19, 21)",
    "clamp_min(T, 20) + clamp_max(T, 20)",
    "abs(T - 25) + sqrt(abs(T)) + exp(T / 30) + ln(T) + log2(T) + log10(T)",
    "ceil(T) - floor(T) + sgn(T - 20)",
    "scalar(T{device=\"sht-inside\"}) + vector(1)",
    "T + time() - time()",
    "time()",
    "1 + 1",
    "1 / 0 - 1 / 0",
    "vector(1) > 2",
    "nothing",
    // Errors: the same kinds.
    "T - on(greenhouse) T",
    "sum(T",
    "rate(T)",
    "{greenhouse=~\".*\"}",
    "1 > 2",
    "T[5m]",
    "nonsense(T)",
];

#[test]
fn answers_are_those_of_a_real_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let programs = prometheus::find().unwrap();
    let (ingest, csv) = recorded(folder.path());
    let (text, times) = open_metrics(&csv);
    let other = Prometheus::start(&programs, &folder.path().join("prometheus"), &text).unwrap();
    let (ours, theirs) = (ingest.api("token"), other.api());
    let (first_s, last_s) = times;
    let grown = ["water_volume", "valve_count", "solar_radiation"];
    let grown = grown
        .iter()
        .find(|name| text.contains(&format!("\n{name}{{")));
    let grown = grown.copied().unwrap_or("air_temperature");
    let mut compared = 0;
    for query in RANGES {
        let query = query.replace('T', "air_temperature").replace('L', grown);
        let picks = query.contains("topk") || query.contains("bottomk");
        let query = encoded(&query);
        for (start, end, step) in [
            (first_s - 60, last_s + 400, "37"),
            (first_s, last_s, "10"),
            (first_s + 600, first_s + 1800, "60"),
        ] {
            let path =
                format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
            compared += compare(&ours, &theirs, &path, picks);
        }
        for time in [
            first_s - 1,
            first_s + 1234,
            last_s,
            last_s + 299,
            last_s + 301,
        ] {
            let path = format!("/api/v1/query?query={query}&time={time}");
            compared += compare(&ours, &theirs, &path, picks);
        }
    }
    // Empty answers alone would agree about nothing.
    assert!(compared > 50_000, "only {compared} points were compared");
}

/// Runs a greenhouse for a while, a sensor of which is unplugged and comes back.
fn recorded(folder: &Path) -> (Ingest, String) {
    let binaries = Binaries::beside_test().unwrap();
    let cooperative = Cooperative::usual("token");
    let home = folder.join("ingest");
    let mut ingest = Ingest::start(&binaries, &home, &[cooperative], "", None).unwrap();
    let arguments = [
        "greenhouse",
        "--seed",
        "7",
        "--start",
        "-1d",
        "--speed",
        "2000",
    ];
    let config = SiteConfig::usual("10s", "30s", "1s");
    let home = folder.join("site");
    let mut site = Site::open(&binaries, &home, config, &arguments, ingest.mqtt()).unwrap();
    site.start_gateway().unwrap();
    let apis = [("hoa-binh".to_owned(), ingest.api("token"))];
    let stored = |wanted: i64| {
        let enough = || Ok((read_books(&[], &apis)?.stored >= wanted).then_some(()));
        until(PATIENCE, enough).unwrap();
    };
    stored(READINGS / 3);
    site.fault(&["unplug", "sht-inside"]).unwrap();
    stored(READINGS * 2 / 3);
    site.fault(&["plug", "sht-inside"]).unwrap();
    stored(READINGS);
    site.stop_gateway().unwrap();
    drop(site);
    // What the gateway still holds does not matter: both sides get what the archive has. An ingest that stops has
    // archived its log to the end; the next one gets nothing more, since the gateway is gone.
    ingest.stop().unwrap();
    ingest.spawn().unwrap();
    ingest.wait_ready(PATIENCE).unwrap();
    let csv = folder.join("export.csv");
    ingest.export("hoa-binh", &csv).unwrap();
    (ingest, std::fs::read_to_string(csv).unwrap())
}

/// Good readings in OpenMetrics' text format, and the first and last time in Unix seconds.
fn open_metrics(csv: &str) -> (String, (i64, i64)) {
    let mut samples: BTreeMap<String, String> = BTreeMap::new();
    let mut times = (i64::MAX, i64::MIN);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names = reader.headers().unwrap().clone();
    for row in reader.records() {
        let row = row.unwrap();
        let field = |name| &row[names.iter().position(|header| header == name).unwrap()];
        if field("quality") != "good" {
            continue;
        }
        let time: Timestamp = field("time").parse().unwrap();
        let ms = time.as_millisecond();
        times = (times.0.min(ms / 1000), times.1.max(ms / 1000));
        let (house, device, unit) = (field("greenhouse"), field("device"), field("unit"));
        let labels = format!("{{greenhouse=\"{house}\",device=\"{device}\",unit=\"{unit}\"}}");
        let series = format!("{}{labels}", field("channel"));
        let (seconds, rest) = (ms / 1000, ms % 1000);
        let lines = samples.entry(series.clone()).or_default();
        writeln!(lines, "{series} {} {seconds}.{rest:03}", field("value")).unwrap();
    }
    let all: String = samples.into_values().collect();
    (all + "# EOF\n", times)
}

/// Asks both; gives how many points they agreed about.
///
/// `picks`: the query picks series by value. Which one it picks of two with the same value Prometheus leaves open, so
/// the values alone are compared.
fn compare(ours: &Api, theirs: &Api, path: &str, picks: bool) -> usize {
    let (our_status, our_body) = ours.get_raw(&format!("{BASE}{path}")).unwrap();
    let (their_status, their_body) = theirs.get_raw(path).unwrap();
    let (ours, theirs): (Value, Value) = (
        serde_json::from_str(&our_body).unwrap(),
        serde_json::from_str(&their_body).unwrap(),
    );
    assert_eq!(our_status, their_status, "{path}\n{our_body}\n{their_body}");
    assert_eq!(ours["errorType"], theirs["errorType"], "{path}");
    let (kind, their_kind) = (&ours["data"]["resultType"], &theirs["data"]["resultType"]);
    assert_eq!(kind, their_kind, "{path}");
    if kind == "scalar" {
        let (ours, theirs) = (&ours["data"]["result"], &theirs["data"]["result"]);
        assert_points(
            path,
            "",
            std::slice::from_ref(ours),
            std::slice::from_ref(theirs),
        );
        return 1;
    }
    let (mut ours, mut theirs) = (series(&ours), series(&theirs));
    if picks {
        ours = BTreeMap::from([("picked".to_owned(), values_by_time(&ours))]);
        theirs = BTreeMap::from([("picked".to_owned(), values_by_time(&theirs))]);
    }
    let names = |all: &BTreeMap<String, Vec<Value>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "{path}");
    for (name, points) in &ours {
        assert_points(path, name, points, &theirs[name]);
    }
    ours.values().map(Vec::len).sum()
}

/// Points by labels.
fn series(answer: &Value) -> BTreeMap<String, Vec<Value>> {
    let rows = answer["data"]["result"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let row = |row: Value| {
        let points = match row.get("value") {
            Some(point) => vec![point.clone()],
            None => row["values"].as_array().unwrap().clone(),
        };
        (row["metric"].to_string(), points)
    };
    rows.into_iter().map(row).collect()
}

/// The points of all series, by time and value.
fn values_by_time(all: &BTreeMap<String, Vec<Value>>) -> Vec<Value> {
    let mut points: Vec<Value> = all.values().flatten().cloned().collect();
    let number = |point: &Value| {
        let value: f64 = point[1].as_str().unwrap().parse().unwrap();
        (point[0].as_f64().unwrap(), value)
    };
    points.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap());
    points
}

#[track_caller]
fn assert_points(path: &str, name: &str, ours: &[Value], theirs: &[Value]) {
    let time = |point: &Value| (point[0].as_f64().unwrap() * 1000.0).round();
    let times = |points: &[Value]| points.iter().map(time).collect::<Vec<_>>();
    let (our_times, their_times) = (times(ours), times(theirs));
    let alone = |some: &[f64], others: &[f64]| {
        let alone = some.iter().filter(|time| !others.contains(time));
        alone.copied().take(5).collect::<Vec<_>>()
    };
    assert!(
        our_times == their_times,
        "{path} {name}: only ours {:?}, only theirs {:?}",
        alone(&our_times, &their_times),
        alone(&their_times, &our_times)
    );
    for (a, b) in ours.iter().zip(theirs) {
        let (a_text, b_text) = (a[1].as_str().unwrap(), b[1].as_str().unwrap());
        let (a, b): (f64, f64) = (a_text.parse().unwrap(), b_text.parse().unwrap());
        let near = a_text == b_text || (a - b).abs() <= 1e-9 * b.abs().max(1.0);
        assert!(near, "{path} {name}: {a_text}, not {b_text}");
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "%{byte:02x}").unwrap();
        out
    })
}
