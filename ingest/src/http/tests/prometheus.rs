//! The Prometheus API: the calls that Grafana makes, who sees what, and what bad input comes to.

use proptest::prelude::*;

use super::*;
use crate::http::api::read;

const BASE: &str = "/api/v1/cooperatives/one/prometheus";

async fn form(site: &Site, path: &str, body: &str) -> Got {
    let request = Request::post(format!("{BASE}{path}"))
        .header(header::AUTHORIZATION, "Bearer t-one")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body.to_owned()));
    site.send(request.unwrap()).await
}

async fn ask(site: &Site, path: &str) -> Got {
    site.one(&format!("/prometheus{path}")).await
}

fn metric() -> Value {
    json!({
        "__name__": "air_temperature", "device": "sht", "greenhouse": "house", "unit": "Cel",
    })
}

fn success(data: &Value) -> Value {
    json!({ "status": "success", "data": data })
}

/// Every call of Grafana's data source that `docs/grafana.md` lists, in its form.
#[tokio::test]
async fn the_calls_of_grafana_are_answered() {
    let site = Site::new();
    // "Save & test"
    let two = success(&json!({ "resultType": "scalar", "result": [4, "2"] }));
    form(&site, "/api/v1/query", "query=1%2B1&time=4")
        .await
        .check(200, &two);
    ask(&site, "/api/v1/query?query=1%2B1&time=4")
        .await
        .check(200, &two);
    let build = ask(&site, "/api/v1/status/buildinfo").await;
    assert_eq!(build.json()["data"]["version"], "2.42.0");
    // A panel
    let matrix = success(&json!({ "resultType": "matrix", "result": [{
        "metric": metric(), "values": [[15, "25"], [30, "25.1"]],
    }] }));
    let range = "query=air_temperature%7Bgreenhouse%3D%22house%22%7D&start=0&end=30&step=15";
    form(&site, "/api/v1/query_range", range)
        .await
        .check(200, &matrix);
    ask(&site, &format!("/api/v1/query_range?{range}"))
        .await
        .check(200, &matrix);
    // A table or a single value
    let vector = success(&json!({ "resultType": "vector", "result": [{
        "metric": metric(), "value": [30.5, "25.1"],
    }] }));
    form(&site, "/api/v1/query", "query=air_temperature&time=30.5")
        .await
        .check(200, &vector);
    let raw = success(&json!({ "resultType": "matrix", "result": [{
        "metric": metric(), "values": [[10, "25"], [20, "25.1"]],
    }] }));
    form(
        &site,
        "/api/v1/query",
        "query=air_temperature%5B1m%5D&time=30",
    )
    .await
    .check(200, &raw);
    // Query builder and variables
    let names = success(&json!(["__name__", "device", "greenhouse", "unit"]));
    form(&site, "/api/v1/labels", "start=0&end=30")
        .await
        .check(200, &names);
    ask(&site, "/api/v1/labels?start=0&end=30")
        .await
        .check(200, &names);
    let matched = "match%5B%5D=air_temperature%7Bunit%3D%22Cel%22%7D";
    form(&site, "/api/v1/labels", matched)
        .await
        .check(200, &names);
    for (name, expected) in [
        ("__name__", json!(["air_temperature"])),
        ("greenhouse", json!(["house"])),
        ("nothing", json!([])),
    ] {
        let path = format!("/api/v1/label/{name}/values?start=0&end=30&{matched}");
        ask(&site, &path).await.check(200, &success(&expected));
    }
    let listed = success(&json!([metric()]));
    form(&site, "/api/v1/series", matched)
        .await
        .check(200, &listed);
    ask(&site, &format!("/api/v1/series?{matched}&start=0&end=30"))
        .await
        .check(200, &listed);
    let about = json!([{ "type": "gauge", "help": "Giữa luống", "unit": "Cel" }]);
    let about = success(&json!({ "air_temperature": about }));
    ask(&site, "/api/v1/metadata?limit=100")
        .await
        .check(200, &about);
    ask(&site, "/api/v1/metadata?metric=x")
        .await
        .check(200, &success(&json!({})));
}

/// Each query of the shipped dashboard, with what Grafana puts in for its variables.
#[tokio::test]
async fn the_shipped_dashboard_asks_for_what_there_is() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/grafana/dashboards/greenhouse.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let site = Site::new();
    let mut answered = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$greenhouse", "house")
                .replace("$__interval", "15s");
            let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let body = format!("query={encoded}&start=0&end=30&step=15");
            let got = form(&site, "/api/v1/query_range", &body).await;
            assert_eq!(got.status, StatusCode::OK, "{query}");
            answered += got.json()["data"]["result"].as_array().unwrap().len();
        }
    }
    // Air temperature by itself, and counted.
    assert_eq!(answered, 2);
}

#[tokio::test]
async fn a_query_sees_its_own_cooperative_only() {
    let site = Site::new();
    for (cooperative, value) in [("one", "25.1"), ("two", "99")] {
        let path = format!(
            "/api/v1/cooperatives/{cooperative}/prometheus/api/v1/query?query=%7Bgreenhouse%3D~%22.%2B%22%7D&time=30"
        );
        let got = site.get(&path, Some("both")).await.json();
        let expected = json!([{ "metric": metric(), "value": [30, value] }]);
        assert_eq!(got["data"]["result"], expected);
    }
}

#[tokio::test]
async fn a_reading_that_is_not_good_is_a_gap() {
    let mut site = Site::new();
    let failed = Sample {
        quality: Quality::Failed,
        mantissa: None,
    };
    site.apply(
        "one",
        vec![samples(30_000, vec![failed, Sample::good(2600)])],
    );
    let path =
        "/api/v1/query_range?query=last_over_time(air_temperature%5B5s%5D)&start=10&end=40&step=10";
    let got = ask(&site, path).await.json();
    let values = json!([[10, "25"], [20, "25.1"], [40, "26"]]);
    assert_eq!(got["data"]["result"][0]["values"], values);
}

const WRONG: &[(&str, u16, &str, &str)] = &[
    ("/query", 400, "bad_data", "parameter \"query\" is missing"),
    ("/query?query=", 400, "bad_data", "no query is given"),
    (
        "/query?query=absent(x)",
        422,
        "execution",
        "function absent() is not supported",
    ),
    (
        "/query?query=1&time=x",
        400,
        "bad_data",
        "cannot parse \"x\" as time to a valid timestamp",
    ),
    (
        "/query_range?query=1&start=0&end=9",
        400,
        "bad_data",
        "parameter \"step\" is missing",
    ),
    (
        "/query_range?query=1&start=9&end=0&step=1",
        400,
        "bad_data",
        "end timestamp must not be before start time",
    ),
    (
        "/query_range?query=1&start=0&end=9&step=0",
        400,
        "bad_data",
        "zero or negative durations and steps are not accepted",
    ),
    (
        "/query_range?query=1&start=0&end=11000&step=1",
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
    ),
    (
        "/query_range?query=x%5B5m%5D&start=0&end=9&step=1",
        400,
        "bad_data",
        "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
    ),
    ("/series", 400, "bad_data", "no match[] parameter provided"),
    (
        "/labels?match[]=1",
        400,
        "bad_data",
        "\"1\" is not a series selector",
    ),
    (
        "/labels?limit=x",
        400,
        "bad_data",
        "limit \"x\" is not a whole number",
    ),
];

#[tokio::test]
async fn what_is_wrong_is_said_in_prometheus_words() {
    let site = Site::new();
    for (path, status, kind, text) in WRONG {
        let expected = json!({ "status": "error", "errorType": kind, "error": text });
        ask(&site, &format!("/api/v1{path}"))
            .await
            .check(*status, &expected);
    }
    let long = form(
        &site,
        "/api/v1/query",
        &format!("query={}", "x".repeat(40_000)),
    )
    .await;
    assert_eq!(
        (long.status.as_u16(), &long.json()["errorType"]),
        (400, &json!("bad_data"))
    );
    assert_eq!(
        ask(&site, "/api/v1/rules").await.status,
        StatusCode::NOT_FOUND
    );
    let timed_out = "/api/v1/query?query=air_temperature&timeout=0.001";
    let status = ask(&site, timed_out).await.status;
    assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE);
}

/// Without this, whoever asks and hangs up again would have any number of reads at work.
#[tokio::test]
async fn a_read_keeps_its_place_until_it_is_done_also_when_the_client_is_gone() {
    let site = Site::new();
    let api = Arc::new(Api::new(site.setup.clone()));
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    let reading = {
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            read(&api, move |_| {
                begun.send(()).unwrap();
                may_end.recv().unwrap();
                Ok(())
            })
            .await
        })
    };
    tokio::task::spawn_blocking(move || is_begun.recv().unwrap())
        .await
        .unwrap();
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    assert_eq!(api.reads.available_permits(), READS_MAX - 1);
    end.send(()).unwrap();
    let all = u32::try_from(READS_MAX).unwrap();
    let all = api.reads.acquire_many(all).await.unwrap();
    drop(all);
}

/// One cooperative's queries leave places for the others.
#[tokio::test]
async fn queries_beyond_a_cooperatives_places_wait_and_are_refused() {
    let site = Site::new();
    let api = Arc::new(Api::new(site.setup.clone()));
    let router = router_of(Arc::clone(&api));
    let own = Arc::clone(&api.queries.by_cooperative[0]);
    let held = own.acquire_many_owned(2).await.unwrap();
    let ask = |cooperative: &str| {
        let path =
            format!("/api/v1/cooperatives/{cooperative}/prometheus/api/v1/query?query=1&time=0");
        let request = Request::get(path).header(header::AUTHORIZATION, "Bearer both");
        router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let refused = ask("one").await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "5");
    assert_eq!(ask("two").await.unwrap().status(), StatusCode::OK);
    drop(held);
    assert_eq!(ask("one").await.unwrap().status(), StatusCode::OK);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_asked_is_answered_in_json(
        path in proptest::sample::select(vec!["query", "query_range", "labels", "series", "metadata", "label/x/values"]),
        pairs in proptest::collection::vec((
            proptest::sample::select(vec!["query", "start", "end", "step", "time", "match[]", "limit", "timeout"]),
            prop_oneof!["[0-9.e+-]{0,12}", "[a-z_{}\\[\\]()\"=~0-9 ]{0,30}", ".{0,30}"],
        ), 0..6),
        raw in "[ -~]{0,20}",
    ) {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
        let body = format!("{}&{raw}", pairs.join("&"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::new();
            let got = form(&site, &format!("/api/v1/{path}"), &body).await;
            let status = got.status.as_u16();
            assert!([200, 400, 405, 422, 503].contains(&status), "{status} {body}");
            assert!(status == 405 || got.json()["status"].is_string(), "{body}");
        });
    }
}
