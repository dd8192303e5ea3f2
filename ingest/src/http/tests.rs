use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use furrow_ingest_core::Missing;
use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, CatalogZone, ClockState, Column,
    Event, EventKind, Events, Loss, LossReason, Quality, RecordName, RunCause, Sample, Seq,
    StreamId,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::*;
use crate::archive::{Archive, Change, CooperativeSetup, LogEntry, LogPosition, Readings};
use crate::log::writer::Delivery;
use crate::remote::{Board, DeskSetup, Keep, Patience, Post};
use crate::subscriber::Receipt;

/// Every path that shows something of a cooperative, with `{c}` for its id.
const SCOPED: [&str; 18] = [
    "/api/v1/cooperatives/{c}/greenhouses",
    "/api/v1/cooperatives/{c}/greenhouses/house/channels",
    "/api/v1/cooperatives/{c}/greenhouses/house/latest",
    "/api/v1/cooperatives/{c}/greenhouses/house/series/sht/air_temperature?from=0&to=100000",
    "/api/v1/cooperatives/{c}/greenhouses/house/events?from=0&to=1000000",
    "/api/v1/cooperatives/{c}/greenhouses/house/gaps",
    "/api/v1/cooperatives/{c}/greenhouses/house/alerts?from=0&to=1000000",
    "/api/v1/cooperatives/{c}/delivery",
    "/api/v1/cooperatives/{c}/live",
    "/api/v1/cooperatives/{c}/gateways/gw-01/commands",
    "/api/v1/cooperatives/{c}/gateways/gw-01/orders",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/query?query=air_temperature",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/query_range?query=air_temperature&start=0&end=60&step=10",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/labels",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/label/device/values",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/series?match[]=air_temperature",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/metadata",
    "/api/v1/cooperatives/{c}/prometheus/api/v1/status/buildinfo",
];

mod prometheus;

struct Site {
    _dir: tempfile::TempDir,
    archive: Archive,
    router: Router,
    setup: HttpSetup,
    live: LiveHub,
    fleet: Fleet,
    metrics: Metrics,
    /// What the desk would log; nobody does.
    _log: tokio::sync::mpsc::Receiver<Delivery<Receipt>>,
    next: u32,
}

/// There is no broker.
#[derive(Debug)]
struct NoPost;

impl Post for NoPost {
    fn publish(&self, _topic: &furrow_wire::Topic, _keep: Keep, _body: Bytes) -> bool {
        false
    }
}

struct Got {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    fn check(&self, status: u16, body: &Value) {
        assert_eq!((self.status.as_u16(), &self.json()), (status, body));
    }
}

impl Site {
    /// Two cooperatives with a greenhouse of the same name; `both` opens both, `t-one` and `t-two` one each.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (live, metrics, fleet) = (LiveHub::default(), Metrics::default(), Fleet::default());
        let ids = ["one", "two"];
        let setups = ids.map(|id| CooperativeSetup {
            id: id.parse().unwrap(),
            rules: Vec::new(),
        });
        let archive = Archive::open(dir.path(), &setups, live.clone(), &metrics).unwrap();
        let token = |text: &str| TokenAccess {
            name: text.to_owned(),
            sha256: Sha256::digest(text.as_bytes()).into(),
        };
        let access = ids.map(|id| CooperativeAccess {
            id: id.parse().unwrap(),
            name: format!("HTX {id}"),
            gateways: vec![("gw-01".parse().unwrap(), "house".parse().unwrap())],
            tokens: vec![token(&format!("t-{id}")), token("both")],
        });
        let (messages, log) = tokio::sync::mpsc::channel(1);
        let desk = Desk::new(DeskSetup {
            board: Board::default(),
            fleet: fleet.clone(),
            reader: archive.reader(),
            log: messages.downgrade(),
            patience: Patience::default(),
            post: Arc::new(NoPost),
            metrics: metrics.clone(),
        });
        let health = Health::new(archive.reader(), fleet.clone(), &metrics);
        let setup = HttpSetup {
            cooperatives: access.into(),
            reader: archive.reader(),
            fleet: fleet.clone(),
            live: live.clone(),
            desk,
            metrics: metrics.clone(),
            health,
        };
        let router = router(setup.clone());
        let mut site = Self {
            _dir: dir,
            archive,
            router,
            setup,
            live,
            fleet,
            metrics,
            _log: log,
            next: 0,
        };
        site.apply("one", vec![catalog(), readings(10_000, &[2500, 2510])]);
        site.apply("two", vec![catalog(), readings(10_000, &[9900])]);
        site
    }

    fn apply(&mut self, cooperative: &str, changes: Vec<Change>) {
        self.next += 1;
        let position = LogPosition {
            segment: 1,
            offset: self.next,
        };
        let entry = LogEntry {
            position,
            chain: 0,
            changes,
        };
        self.archive
            .apply(&cooperative.parse().unwrap(), &[entry])
            .unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        // A live stream never ends: its status is what is asked here.
        let streams = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        let body = match streams {
            true => Bytes::new(),
            false => axum::body::to_bytes(response.into_body(), 1 << 20)
                .await
                .unwrap(),
        };
        Got {
            status,
            headers,
            body,
        }
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Got {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn one(&self, path: &str) -> Got {
        self.get(&format!("/api/v1/cooperatives/one{path}"), Some("t-one"))
            .await
    }

    async fn login(&self, body: &str) -> Got {
        let request = Request::post("/api/v1/login")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()));
        self.send(request.unwrap()).await
    }
}

fn the_catalog() -> Arc<Catalog> {
    Arc::new(Catalog {
        greenhouse: "house".parse().unwrap(),
        greenhouse_name: "Nhà lưới 1".into(),
        software: "1".into(),
        devices: vec![CatalogDevice {
            id: "sht".parse().unwrap(),
            kind: "sht4x".into(),
            bus: "main".into(),
            address: None,
            name: "Trong nhà".into(),
            calibration_version: 0,
        }],
        channels: vec![CatalogChannel {
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
            unit: "Cel".into(),
            exponent: -2,
            interval_ms: 10_000,
            name: "Giữa luống".into(),
        }],
        zones: vec![CatalogZone {
            id: "zone-1".parse().unwrap(),
            name: "Luống 1".into(),
            controller: None,
        }],
    })
}

fn catalog() -> Change {
    let catalog = the_catalog();
    let body = catalog.encode();
    Change::Catalog {
        gateway: "gw-01".parse().unwrap(),
        hash: Catalog::hash(&body),
        body,
        catalog,
        received_unix_ms: 0,
    }
}

fn record(seq: u64) -> RecordName {
    RecordName {
        stream: StreamId(0xfeed),
        seq: Seq(seq),
    }
}

fn samples(from_ms: i64, samples: Vec<Sample>) -> Change {
    let catalog = the_catalog();
    let times: Vec<u64> = (0..samples.len() as u64).map(|n| n * 10_000).collect();
    Change::Readings(Readings {
        gateway: "gw-01".parse().unwrap(),
        greenhouse: "house".parse().unwrap(),
        record: record(1),
        wall_offset_ms: from_ms,
        batch: Batch {
            boot: BootId(1),
            from_mono_ms: 0,
            to_mono_ms: times.len() as u64 * 10_000,
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(from_ms),
            catalog: Catalog::hash(&catalog.encode()),
            axes: vec![Axis {
                step_ms: 10_000,
                times,
                columns: vec![Column {
                    channel: 0,
                    samples,
                }],
            }],
        },
        catalog,
        received_unix_ms: from_ms,
    })
}

fn readings(from_ms: i64, mantissas: &[i64]) -> Change {
    samples(
        from_ms,
        mantissas.iter().copied().map(Sample::good).collect(),
    )
}

#[tokio::test]
async fn a_token_of_another_cooperative_sees_that_nothing_exists() {
    let site = Site::new();
    for path in SCOPED {
        let one = path.replace("{c}", "one");
        let (status, body) = (401, json!({ "error": "a valid token is needed" }));
        site.get(&one, None).await.check(status, &body);
        site.get(&one, Some("wrong")).await.check(status, &body);
        site.get(&one, Some("")).await.check(status, &body);
        let foreign = site.get(&one, Some("t-two")).await;
        foreign.check(404, &json!({ "error": "no such cooperative" }));
        let unknown = site.get(&path.replace("{c}", "three"), Some("t-two")).await;
        assert_eq!(foreign.body, unknown.body, "{path}");
        assert_eq!(
            site.get(&one, Some("t-one")).await.status,
            StatusCode::OK,
            "{path}"
        );
        assert_eq!(
            site.get(&one, Some("both")).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let one = site.get("/api/v1/cooperatives", Some("t-one")).await;
    one.check(200, &json!([{ "id": "one", "name": "HTX one" }]));
    let both = json!([{ "id": "one", "name": "HTX one" }, { "id": "two", "name": "HTX two" }]);
    site.get("/api/v1/cooperatives", Some("both"))
        .await
        .check(200, &both);
    let refused = "furrow_http_refused_total";
    assert_eq!(
        site.metrics.counter(refused, "", &[]).get(),
        3 * SCOPED.len() as u64
    );
}

#[tokio::test]
async fn the_same_path_shows_each_cooperative_its_own_data() {
    let site = Site::new();
    for (cooperative, value) in [("one", 25.1), ("two", 99.0)] {
        let path = format!("/api/v1/cooperatives/{cooperative}/greenhouses/house/latest");
        let latest = site.get(&path, Some("both")).await.json();
        assert_eq!(latest[0]["value"], json!(value));
    }
}

#[tokio::test]
async fn unknown_paths_below_the_api_ask_for_a_token_first() {
    let site = Site::new();
    for path in [
        "/api/v1/nothing",
        "/api/v1/cooperatives/one/nothing",
        "/api/v2/x",
    ] {
        assert_eq!(
            site.get(path, None).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
        site.get(path, Some("t-one"))
            .await
            .check(404, &json!({ "error": "no such resource" }));
    }
    site.one("/greenhouses/other/latest")
        .await
        .check(404, &json!({ "error": "no such greenhouse" }));
    site.one("/greenhouses/NO/latest")
        .await
        .check(404, &json!({ "error": "no such greenhouse" }));
    let path = "/greenhouses/house/series/sht/co2?from=0&to=1";
    site.one(path)
        .await
        .check(404, &json!({ "error": "no such channel" }));
}

#[tokio::test]
async fn greenhouses_channels_and_latest_values() {
    let mut site = Site::new();
    site.fleet.update(
        &"one".parse().unwrap(),
        &"gw-01".parse().unwrap(),
        |status| {
            status.online = true;
            status.last_seen_unix_ms = Some(77);
            status.software = "0.1.0".to_owned();
            status.waiting_readings = 5;
            status.lost_readings = 6;
        },
    );
    let gateway = json!({ "id": "gw-01", "online": true, "last_seen_ms": 77, "software": "0.1.0",
        "waiting_readings": 5, "lost_readings": 6 });
    let houses = json!([{ "id": "house", "name": "Nhà lưới 1", "gateway": gateway,
        "zones": [{ "id": "zone-1", "name": "Luống 1" }] }]);
    site.one("/greenhouses").await.check(200, &houses);
    let channels = json!([{ "device": "sht", "device_name": "Trong nhà",
        "channel": "air_temperature", "channel_name": "Giữa luống", "unit": "Cel", "decimals": 2,
        "interval_ms": 10_000 }]);
    site.one("/greenhouses/house/channels")
        .await
        .check(200, &channels);
    let failed = Sample {
        quality: Quality::Failed,
        mantissa: None,
    };
    site.apply("one", vec![samples(30_000, vec![failed])]);
    let latest = json!([{ "device": "sht", "channel": "air_temperature",
        "channel_name": "Giữa luống", "unit": "Cel",
        "decimals": 2, "interval_ms": 10_000, "time_ms": 30_000, "value": null,
        "quality": "failed", "last_good": { "time_ms": 20_000, "value": 25.1 } }]);
    site.one("/greenhouses/house/latest")
        .await
        .check(200, &latest);
}

#[tokio::test]
async fn series_raw_and_in_buckets() {
    let mut site = Site::new();
    let failed = Sample {
        quality: Quality::Failed,
        mantissa: None,
    };
    site.apply("one", vec![samples(30_000, vec![failed])]);
    let path = "/greenhouses/house/series/sht/air_temperature?from=0&to=60000";
    let raw = json!({ "unit": "Cel", "decimals": 2, "from_ms": 0, "to_ms": 60_000, "bucket_ms": 0,
        "points": [[10_000, 25.0, 25.0, 25.0, 1], [20_000, 25.1, 25.1, 25.1, 1],
            [30_000, null, null, null, 0]] });
    site.one(path).await.check(200, &raw);
    let buckets = json!({ "unit": "Cel", "decimals": 2, "from_ms": 0, "to_ms": 60_000,
        "bucket_ms": 60_000, "points": [[0, 25.0, 25.05, 25.1, 2]] });
    site.one(&format!("{path}&points=1"))
        .await
        .check(200, &buckets);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_with_the_reason() {
    let site = Site::new();
    let series = "/greenhouses/house/series/sht/air_temperature";
    for (query, error) in [
        ("from=0&to=1&points=0", "points is 0 (must be 1 to 5000)"),
        (
            "from=0&to=1&points=5001",
            "points is 5001 (must be 1 to 5000)",
        ),
        ("from=5&to=5", "from 5 to 5 must be up to 316224000000 ms"),
        (
            "from=0&to=316224000001",
            "from 0 to 316224000001 must be up to 316224000000 ms",
        ),
        ("from=x", "from, to and points must be whole numbers"),
        ("points=-1", "from, to and points must be whole numbers"),
    ] {
        site.one(&format!("{series}?{query}"))
            .await
            .check(400, &json!({ "error": error }));
    }
    let path = format!("{series}?from={}&to={}", i64::MIN, i64::MAX);
    assert_eq!(site.one(&path).await.status, StatusCode::BAD_REQUEST);
    let path = format!("{series}?from={}&to={}", i64::MAX - 5, i64::MAX);
    assert_eq!(site.one(&path).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn events_newest_first() {
    let mut site = Site::new();
    let event = |at_mono_ms, what| Event {
        at_mono_ms,
        zone: Some("zone-1".parse().unwrap()),
        planting: None,
        what,
    };
    let (gateway, greenhouse) = ("gw-01".parse().unwrap(), "house".parse().unwrap());
    let run = EventKind::RunStarted {
        run: 4,
        cause: RunCause::Manual,
        rule: None,
        planned_ms: 600_000,
        planned_millilitres: None,
    };
    let ended = EventKind::RunEnded {
        run: 4,
        cause: RunCause::Manual,
        started_mono_ms: 1,
        open_ms: 500,
        millilitres: Some(1250),
        end: furrow_wire::EndReason::Stopped,
        text: String::new(),
    };
    let events = Change::Events {
        gateway,
        greenhouse,
        record: record(9),
        wall_offset_ms: 1000,
        events: Events {
            boot: BootId(1),
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(1000),
            events: vec![event(1, run), event(2, ended)],
        },
    };
    // The same record again changes nothing.
    site.apply("one", vec![events.clone()]);
    site.apply("one", vec![events]);
    let row = |time_ms, kind, open_ms, litres: Value, reason: Value| {
        json!({ "greenhouse": "house", "time_ms": time_ms, "kind": kind, "zone": "zone-1",
            "planting": null, "device": null, "run": 4, "cause": "manual", "open_ms": open_ms,
            "litres": litres, "reason": reason, "text": null })
    };
    let expected = json!([
        row(1002, "run_ended", 500, json!(1.25), json!("stopped")),
        row(1001, "run_started", 600_000, Value::Null, Value::Null),
    ]);
    site.one("/greenhouses/house/events?from=0&to=2000")
        .await
        .check(200, &expected);
    site.one("/greenhouses/house/events?from=0&to=1001")
        .await
        .check(200, &json!([]));
}

#[tokio::test]
async fn gaps_and_delivery() {
    let mut site = Site::new();
    let loss = Change::Loss {
        gateway: "gw-01".parse().unwrap(),
        greenhouse: "house".parse().unwrap(),
        record: record(10),
        loss: Loss {
            stream: StreamId(0xfeed),
            from_seq: Seq(3),
            to_seq: Seq(5),
            readings: 96,
            reason: LossReason::CapReached,
            text: "full".into(),
        },
        received_unix_ms: 50,
    };
    // The same record again changes nothing.
    site.apply("one", vec![loss.clone()]);
    site.apply("one", vec![loss]);
    let gaps = json!([{ "gateway": "gw-01", "stream": "000000000000feed", "from_seq": 3,
        "to_seq": 5, "readings": 96, "since_ms": 50, "reason": "cap_reached", "text": "full" }]);
    site.one("/greenhouses/house/gaps").await.check(200, &gaps);
    let missing = |missing: Vec<Missing>| Change::Missing {
        gateway: "gw-01".parse().unwrap(),
        greenhouse: "house".parse().unwrap(),
        stream: StreamId(0xfeed),
        missing,
    };
    let entry = |range, since_ms, gone_ms| Missing {
        range,
        since_ms,
        gone_ms,
    };
    let both = vec![entry((7, 8), 60, Some(90)), entry((9, 9), 70, None)];
    site.apply("one", vec![missing(both)]);
    let row = |from, to, since_ms: i64, reason: &str| {
        json!({ "gateway": "gw-01", "stream": "000000000000feed", "from_seq": from, "to_seq": to,
            "readings": null, "since_ms": since_ms, "reason": reason, "text": "" })
    };
    let all = json!([
        row(9, 9, 70, "waiting"),
        row(7, 8, 60, "missing"),
        gaps[0].clone()
    ]);
    site.one("/greenhouses/house/gaps").await.check(200, &all);
    site.apply("one", vec![missing(Vec::new())]);
    site.one("/greenhouses/house/gaps").await.check(200, &gaps);
    let delivery = json!([{ "gateway": "gw-01", "greenhouse": "house", "stored_readings": 2,
        "twice": 0, "missing_records": 0, "duplicates_ignored": 0, "parked": 0, "dead": 0,
        "journalled_readings": 0, "waiting_readings": 0, "lost_readings": 0, "streams": [],
        "card": { "conflicting_records": 0, "set_back": [], "clones_seen_ms": null } }]);
    site.one("/delivery").await.check(200, &delivery);
}

#[tokio::test]
async fn login_gives_a_cookie_that_opens_the_same_and_logout_takes_it() {
    let site = Site::new();
    let got = site.login(r#"{"token":"t-one"}"#).await;
    got.check(
        200,
        &json!({ "cooperatives": [{ "id": "one", "name": "HTX one" }] }),
    );
    let cookie = got.headers[header::SET_COOKIE].to_str().unwrap();
    assert_eq!(
        cookie,
        "furrow_token=t-one; Path=/; HttpOnly; SameSite=Strict; Max-Age=7776000"
    );
    let with_cookie = |path: &str| {
        Request::get(path)
            .header(header::COOKIE, "other=1; furrow_token=t-one")
            .body(Body::empty())
            .unwrap()
    };
    let path = "/api/v1/cooperatives/one/greenhouses";
    assert_eq!(site.send(with_cookie(path)).await.status, StatusCode::OK);
    let path = "/api/v1/cooperatives/two/greenhouses";
    assert_eq!(
        site.send(with_cookie(path)).await.status,
        StatusCode::NOT_FOUND
    );
    let logout = Request::post("/api/v1/logout").body(Body::empty()).unwrap();
    let got = site.send(logout).await;
    assert!(
        got.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("furrow_token=; ")
    );
    let refused = json!({ "error": "a valid token is needed" });
    site.login(r#"{"token":"wrong"}"#)
        .await
        .check(401, &refused);
    site.login(r#"{"token":"a; b"}"#).await.check(401, &refused);
    site.login("{}").await.check(
        400,
        &json!({ "error": "the body must be {\"token\": \"…\"}" }),
    );
    let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    assert_eq!(site.login(&long).await.status, StatusCode::BAD_REQUEST);
}

async fn next_frame(body: &mut axum::body::BodyDataStream) -> Option<String> {
    use futures_util::StreamExt;
    body.next()
        .await
        .map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn live_messages_reach_their_cooperative_only() {
    let mut site = Site::new();
    let request = Request::get("/api/v1/cooperatives/one/live")
        .header(header::AUTHORIZATION, "Bearer t-one")
        .body(Body::empty())
        .unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut body = response.into_body().into_data_stream();
    site.apply("two", vec![readings(50_000, &[7700])]);
    site.apply("one", vec![readings(50_000, &[2600, 2610])]);
    let frame = next_frame(&mut body).await.unwrap();
    let (event, data) = frame.split_once('\n').unwrap();
    assert_eq!(event, "event: reading");
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    let expected = json!({ "greenhouse": "house", "device": "sht", "channel": "air_temperature",
        "time_ms": 60_000, "value": 26.1, "quality": "good" });
    assert_eq!(data, expected);
}

#[tokio::test]
async fn a_live_client_that_is_too_slow_is_dropped_and_counted() {
    let site = Site::new();
    let request = Request::get("/api/v1/cooperatives/one/live")
        .header(header::AUTHORIZATION, "Bearer t-one")
        .body(Body::empty())
        .unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    for n in 0..=crate::archive::live::LIVE_QUEUE_MESSAGES {
        let kind = crate::archive::live::LiveKind::Gateway;
        let message = crate::archive::live::LiveMessage {
            kind,
            data: json!({ "n": n }),
        };
        site.live.send(&"one".parse().unwrap(), message);
    }
    assert_eq!(next_frame(&mut body).await, None);
    assert_eq!(
        site.metrics
            .counter("furrow_live_dropped_total", "", &[])
            .get(),
        1
    );
    assert!(!site.live.has_listeners(&"one".parse().unwrap()));
}

#[tokio::test]
async fn health_and_metrics_need_no_token_and_name_no_cooperative() {
    let site = Site::new();
    assert_eq!(site.get("/healthz", None).await.body, "ok");
    let ready = site.get("/readyz", None).await;
    let ok = json!({ "ok": true });
    let no_broker = json!({ "ok": false, "why": "no connection to the broker" });
    ready.check(
        503,
        &json!({ "archive": ok, "broker": no_broker, "log": ok, "lag": ok }),
    );
    site.fleet.set_broker_up(true);
    site.get("/readyz", None).await.check(
        200,
        &json!({ "archive": ok, "broker": ok, "log": ok, "lag": ok }),
    );
    site.setup.health.watch("log writer", || true);
    let dead = site.get("/healthz", None).await;
    dead.check(503, &json!({ "dead": ["log writer"] }));
    assert_eq!(
        site.get("/readyz", None).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let text = String::from_utf8(site.get("/metrics", None).await.body.to_vec()).unwrap();
    assert!(text.contains("furrow_readings_stored_total 3\n"), "{text}");
    assert!(text.contains("furrow_broker_up 1\n"), "{text}");
}

#[tokio::test]
async fn everything_else_is_the_web_app() {
    let site = Site::new();
    for path in ["/", "/index.html", "/houses/house"] {
        let got = site.get(path, None).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
        assert_eq!(
            got.headers[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert_eq!(got.headers[header::CACHE_CONTROL], "no-cache");
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
        let tag = got.headers[header::ETAG].clone();
        let again = Request::get(path)
            .header(header::IF_NONE_MATCH, tag)
            .body(Body::empty());
        assert_eq!(
            site.send(again.unwrap()).await.status,
            StatusCode::NOT_MODIFIED
        );
    }
    for path in ["/nothing.js", "/../Cargo.toml", "/assets/../../Cargo.toml"] {
        assert_eq!(
            site.get(path, None).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let post = Request::post("/").body(Body::empty()).unwrap();
    assert_eq!(site.send(post).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn long_answers_are_gzipped_for_those_who_take_it() {
    use std::io::Read;
    let mut site = Site::new();
    site.apply("one", vec![readings(100_000, &[2500; 200])]);
    let path = "/api/v1/cooperatives/one/greenhouses/house/series/sht/air_temperature\
                ?from=0&to=3000000&points=5000";
    let plain = site.get(path, Some("t-one")).await;
    assert!(plain.headers.get(header::CONTENT_ENCODING).is_none());
    let request = Request::get(path)
        .header(header::AUTHORIZATION, "Bearer t-one")
        .header(header::ACCEPT_ENCODING, "br, gzip;q=1.0")
        .body(Body::empty());
    let packed = site.send(request.unwrap()).await;
    assert_eq!(packed.headers[header::CONTENT_ENCODING], "gzip");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..])
        .read_to_end(&mut text)
        .unwrap();
    assert_eq!(text, plain.body);
    assert!(packed.body.len() * 4 < plain.body.len());
}

impl Site {
    /// A request that changes something, with these headers.
    async fn change(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }
}

#[tokio::test]
async fn only_pages_of_this_site_change_anything_with_the_cookie() {
    let site = Site::new();
    let json = ("content-type", "application/json");
    let host = ("host", "farm.example");
    let cookie = ("cookie", "furrow_token=t-one");
    let bearer = ("authorization", "Bearer t-one");
    let path = "/api/v1/cooperatives/one/gateways/gw-01/commands";
    let foreign = 403;
    // It gets so far that the gateway is found to be offline.
    let own = 503;
    for (headers, status) in [
        (&[cookie][..], own),
        (&[cookie, ("sec-fetch-site", "same-origin")], own),
        (&[cookie, ("sec-fetch-site", "none")], own),
        (&[cookie, ("sec-fetch-site", "same-site")], foreign),
        (&[cookie, ("sec-fetch-site", "cross-site")], foreign),
        (&[cookie, ("origin", "https://farm.example")], own),
        (&[cookie, ("origin", "http://farm.example")], own),
        (&[cookie, ("origin", "https://evil.example")], foreign),
        (&[cookie, ("origin", "https://farm.example.evil")], foreign),
        (&[cookie, ("origin", "null")], foreign),
        (&[bearer, ("sec-fetch-site", "cross-site")], own),
        (&[bearer, ("origin", "https://evil.example")], own),
        (&[], 401),
    ] {
        let headers = [headers, &[json, host]].concat();
        let got = site
            .change("POST", path, &headers, r#"{"kind":"release"}"#)
            .await;
        assert_eq!(got.status.as_u16(), status, "{headers:?}");
    }
    let put = [cookie, ("sec-fetch-site", "cross-site")];
    let path = "/api/v1/cooperatives/one/gateways/gw-01/orders";
    site.change("PUT", path, &put, "a = 1")
        .await
        .check(403, &json!({ "error": "another site's page asks" }));
    // Looking changes nothing.
    assert_eq!(
        site.change("GET", path, &put, "").await.status.as_u16(),
        200
    );
}

#[tokio::test]
async fn what_a_gateway_is_asked_is_checked_first() {
    let site = Site::new();
    let headers = [
        ("authorization", "Bearer t-one"),
        ("content-type", "application/json"),
    ];
    let base = "/api/v1/cooperatives/one/gateways";
    let post = async |gateway: &str, body: &str| {
        let path = format!("{base}/{gateway}/commands");
        site.change("POST", &path, &headers, body).await
    };
    let put = async |query: &str, body: &str| {
        let path = format!("{base}/gw-01/orders{query}");
        site.change("PUT", &path, &headers, body).await
    };
    let error = |text: &str| json!({ "error": text });
    let open = r#"{"kind":"open_zone","zone":"zone-1","seconds":600}"#;
    let offline = error("the gateway is offline; nothing was sent");
    post("gw-01", open).await.check(503, &offline);
    for unknown in ["gw-02", "GW", "house"] {
        post(unknown, open)
            .await
            .check(404, &error("no such gateway"));
    }
    for bad in ["", "{}", r#"{"kind":"explode"}"#, r#"{"kind":"open_zone"}"#] {
        assert_eq!(post("gw-01", bad).await.status.as_u16(), 400, "{bad}");
    }
    for (query, body, text) in [
        ("", "a = 1\nbc = = 2\n", "line 2, column 6: "),
        ("", "ẩm = 1", "line 1, column 1: "),
        ("", "a = 1\n[b", "line 2, column 3: "),
        ("?after=x", "", "version and after must be whole numbers"),
    ] {
        let got = put(query, body).await;
        assert_eq!(got.status.as_u16(), 400, "{body:?}");
        let found = got.json()["error"].as_str().unwrap().to_owned();
        assert!(found.starts_with(text), "{body:?}: {found}");
    }
    let long = format!("# {}", "x".repeat(MAX_ORDERS_BYTES));
    put("", &long)
        .await
        .check(400, &error("orders are longer than 49152 bytes"));
    put("?after=3", "a = 1").await.check(
        409,
        &json!({ "error": "version 0 is the newest", "version": 0 }),
    );
    // The log takes nothing here.
    let text = "the orders could not be stored yet; put them again, which is harmless";
    put("?after=0", "a = 1").await.check(503, &error(text));
    site.one("/gateways/gw-01/orders")
        .await
        .check(200, &json!({ "version": 0 }));
    site.one("/gateways/gw-01/orders?version=1")
        .await
        .check(404, &error("no such version of orders"));
    site.one("/gateways/gw-01/commands")
        .await
        .check(200, &json!([]));
}
