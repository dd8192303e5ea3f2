//! What an operator sees: metrics as documented, health with reasons, heartbeats that stop, logs that parse.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::mosquitto::{self, Mosquitto};
use furrow_tests::process::{free_port, until};
use furrow_tests::prometheus;
use furrow_tests::stack::{Cooperative, Ingest};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names that the program text registers: string literals that are a metric's name.
fn metrics_of_sources(folder: &Path, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics_of_sources(&path, out);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".rs") || name == "tests.rs" || name == "metrics.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let literals = code.split('"').skip(1);
        out.extend(literals.filter(|text| is_metric(text)).map(str::to_owned));
    }
}

/// `furrow_token` is a cookie.
fn is_metric(text: &str) -> bool {
    let rest = text.strip_prefix("furrow_");
    rest.is_some_and(|rest| {
        let is_name = rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_name && !rest.is_empty() && rest != "token"
    })
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let mut of_sources = BTreeSet::new();
    for folder in ["ingest/src", "gateway/src"] {
        metrics_of_sources(&root().join(folder), &mut of_sources);
    }
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let of_page: BTreeSet<String> = names
        .filter(|name| is_metric(name))
        .map(str::to_owned)
        .collect();
    assert!(of_sources.len() > 40, "{of_sources:?}");
    let missing: Vec<_> = of_sources.difference(&of_page).collect();
    let made_up: Vec<_> = of_page.difference(&of_sources).collect();
    assert!(
        missing.is_empty() && made_up.is_empty(),
        "not in the page: {missing:?}; nowhere else: {made_up:?}"
    );
}

/// A real run's figures, judged by Prometheus' own tool; and each has the documented type.
#[test]
fn metrics_keep_to_the_conventions() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let mut ingest = Ingest::start(
        &binaries,
        folder.path(),
        &[Cooperative::usual("token")],
        "",
        None,
    )
    .unwrap();
    let (status, text) = ingest.api("").get_raw("/metrics").unwrap();
    assert_eq!(status, 200);
    let mut promtool = Command::new(prometheus::find().unwrap().promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(
            page.contains(&format!("| `{name}` | {kind} |")),
            "{name} is a {kind}"
        );
    }
    ingest.stop().unwrap();
}

#[test]
fn the_alert_rules_are_right_and_speak_of_metrics_that_are() {
    let path = root().join("deploy/prometheus/furrow.rules.yml");
    let output = Command::new(prometheus::find().unwrap().promtool)
        .args(["check", "rules"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rules = fs::read_to_string(&path).unwrap();
    let named = rules
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"));
    let mut count = 0;
    for word in named.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_'))) {
        if word.starts_with("furrow_") {
            assert!(page.contains(&format!("| `{word}` |")), "{word}");
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

/// Counts requests and answers each.
fn receiver() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let beats = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&beats);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /beat/secret "));
            counted.fetch_add(1, Ordering::SeqCst);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
    });
    (address, beats)
}

/// Beats come while ingest is well, stop when the broker goes, and come again with it. Each line of the log of
/// that run is JSON with what a collector needs.
#[test]
fn heartbeats_stop_with_the_broker_and_logs_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let (address, beats) = receiver();
    let mut broker =
        Mosquitto::start(&mosquitto::find().unwrap(), &folder.path().join("broker")).unwrap();
    let (http, config) = (free_port().unwrap(), folder.path().join("ingest.toml"));
    let data = folder.path().join("data");
    let text = format!(
        "data_dir = {data:?}\n[mqtt]\nurl = \"mqtt://{}\"\nusername = \"furrow-ingest\"\npassword = \"secret\"\n\
         [http]\nlisten = \"127.0.0.1:{http}\"\n[trace]\nformat = \"json\"\nfilter = \"debug\"\n\
         [heartbeat]\nurl = \"http://{address}/beat/secret\"\nevery = \"1s\"\n\
         [[cooperative]]\nid = \"hoa-binh\"\nname = \"HTX Hòa Bình\"\n",
        broker.address()
    );
    fs::write(&config, text).unwrap();
    let http = SocketAddr::from(([127, 0, 0, 1], http));
    let mut ingest =
        Ingest::with_config(&binaries, folder.path(), config, http, broker.address()).unwrap();
    let count = || beats.load(Ordering::SeqCst);
    until(PATIENCE, || Ok((count() >= 2).then_some(()))).unwrap();
    broker.kill().unwrap();
    let api = ingest.api("");
    let is_ready = || Ok((!api.is_ready()).then_some(()));
    until(PATIENCE, is_ready).unwrap();
    let (status, body) = api.get_raw("/readyz").unwrap();
    let ok = json!({ "ok": true });
    let broker_is = json!({ "ok": false, "why": "no connection to the broker" });
    let expected = json!({ "archive": ok, "broker": broker_is, "log": ok, "lag": ok });
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()),
        (503, expected)
    );
    assert_eq!(api.get_raw("/healthz").unwrap(), (200, "ok".to_owned()));
    // One may have been under way.
    let withheld = || figure(&api, "furrow_heartbeats_total{outcome=\"withheld\"}");
    let first = withheld();
    until(PATIENCE, || Ok((withheld() > first).then_some(()))).unwrap();
    let silent_from = count();
    until(PATIENCE, || Ok((withheld() > first + 2.0).then_some(()))).unwrap();
    assert_eq!(count(), silent_from);
    broker.spawn().unwrap();
    until(PATIENCE, || Ok((count() > silent_from).then_some(()))).unwrap();
    assert!(figure(&api, "furrow_heartbeat_last_success_timestamp_seconds") > 1.7e9);
    ingest.stop().unwrap();
    let log = fs::read_to_string(ingest.log()).unwrap();
    assert!(log.lines().count() > 10, "{log}");
    for line in log.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields = [
            &line["timestamp"],
            &line["level"],
            &line["target"],
            &line["fields"]["message"],
        ];
        assert!(fields.iter().all(|field| field.is_string()), "{line}");
    }
    assert!(
        !log.contains("beat/secret"),
        "the receiver's address is in the log"
    );
}

fn figure(api: &furrow_tests::api::Api, name: &str) -> f64 {
    let (_, text) = api.get_raw("/metrics").unwrap();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values
        .next()
        .map_or(0.0, |value| value.trim().parse().unwrap())
}
