//! Faults of the real servers, as a forwarder meets them: it writes the same again until it is told that it is stored.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use furrow_ingest::store::influx::{Downsampling, InfluxStore, SetUp, set_up};
use furrow_ingest::store::victoria::VictoriaStore;
use furrow_ingest::store::{Reading, Refused, Run, SeriesStore, Span, StoreFault, Written};
use furrow_tests::disk::SmallDisk;
use furrow_tests::influxd::{BUCKET, Influxd, ORG};
use furrow_tests::process::{pause, until};
use serde_json::{Value, json};

use super::suite::{ever, good, id, run, series};
use super::{
    block_on, first_bucket, influx_settings, start_influxd, start_victoria, victoria_settings,
};

const DAY_MS: i64 = 1_760_054_400_000;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn influxdb_killed_under_load_loses_nothing_and_doubles_nothing() {
    const BATCHES: i64 = 120;
    const READINGS: i64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let Some(mut server) = start_influxd(&folder.path().join("influxd")) else {
        return;
    };
    let store = InfluxStore::new(influx_settings(&server, first_bucket())).unwrap();
    let (written, busy) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                for batch in 0..BATCHES {
                    write_until_stored(&store, &[part(batch, READINGS)], &busy).await;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        for kills in 1..=3 {
            // In the middle of its work, each time after some more of it.
            until(PATIENCE, || {
                Ok((written.load(Ordering::Relaxed) >= kills * 25).then_some(()))
            })
            .unwrap();
            server.kill().unwrap();
            pause(Duration::from_millis(300));
            server.spawn().unwrap();
            server.wait_ready().unwrap();
        }
    });
    assert!(
        busy.load(Ordering::Relaxed) > 0,
        "the writer never met a dead server"
    );
    holds_all(&store, BATCHES, READINGS);
}

#[test]
fn influxdb_after_a_full_disk_and_a_restart_takes_the_rest() {
    const BATCHES: i64 = 20;
    const READINGS: i64 = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("influxd");
    let disk = match SmallDisk::mount(&place, 256) {
        Ok(disk) => disk,
        Err(error) => {
            eprintln!("NOT RUN: no small disk on this machine: {error:#}");
            return;
        }
    };
    let Some(mut server) = start_influxd(&place) else {
        return;
    };
    let store = InfluxStore::new(influx_settings(&server, first_bucket())).unwrap();
    let busy = AtomicU64::new(0);
    block_on(async {
        for batch in 0..BATCHES {
            if batch == BATCHES / 2 {
                disk.fill().unwrap();
                let fault = store
                    .write(&id("load"), &[part(batch, READINGS)])
                    .await
                    .unwrap_err();
                assert!(matches!(fault, StoreFault::Busy { .. }), "{fault}");
                disk.free();
                // It refuses until it is started again, even with room.
                server.kill().unwrap();
                server.spawn().unwrap();
                server.wait_ready().unwrap();
            }
            write_until_stored(&store, &[part(batch, READINGS)], &busy).await;
        }
    });
    holds_all(&store, BATCHES, READINGS);
}

#[test]
fn a_revoked_token_is_denied_until_it_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start_influxd(&folder.path().join("influxd")) else {
        return;
    };
    let (token_id, token) = token_of_bucket(&server);
    let mut settings = influx_settings(&server, first_bucket());
    settings.token = token;
    let store = InfluxStore::new(settings).unwrap();
    let set = |status: &str| {
        let path = format!("/api/v2/authorizations/{token_id}");
        let (code, answer) = server.patch(&path, &json!({ "status": status })).unwrap();
        assert_eq!(code, 200, "{answer}");
    };
    let (cooperative, series) = (id("load"), series("nha-1", "sht", "air_temperature"));
    let write = |at| {
        let runs = [run(&series, "Cel", &[good(DAY_MS + at, at)])];
        block_on(store.write(&cooperative, &runs))
    };
    block_on(store.health()).unwrap();
    assert_eq!(write(0).unwrap().stored, 1);
    set("inactive");
    for denied in [
        write(1).unwrap_err(),
        block_on(store.health()).unwrap_err(),
        block_on(store.read(&cooperative, &series, ever())).unwrap_err(),
        block_on(store.latest(&cooperative, None)).unwrap_err(),
        block_on(store.delete(&cooperative)).unwrap_err(),
    ] {
        let StoreFault::Denied { reason } = denied else {
            panic!("{denied}");
        };
        assert!(
            reason.contains("40") && reason.contains("look at the token"),
            "{reason}"
        );
    }
    set("active");
    assert_eq!(write(1).unwrap().stored, 1);
    let found = block_on(store.read(&cooperative, &series, ever())).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    let elsewhere = furrow_ingest::store::influx::Layout::Shared {
        bucket: "none".to_owned(),
    };
    let store = InfluxStore::new(influx_settings(&server, elsewhere)).unwrap();
    let fault = block_on(store.write(&cooperative, &[part(0, 1)])).unwrap_err();
    assert!(
        matches!(&fault, StoreFault::Denied { reason } if reason.contains("store setup")),
        "{fault}"
    );
    assert!(matches!(
        block_on(store.health()),
        Err(StoreFault::Denied { .. })
    ));
}

#[test]
fn only_the_poisoned_lines_of_a_batch_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start_influxd(&folder.path().join("influxd")) else {
        return;
    };
    let store = InfluxStore::new(influx_settings(&server, first_bucket())).unwrap();
    // Another program wrote this channel as a whole number: the field has that type now.
    let foreign = format!("soil_moisture,by=other value=1i {DAY_MS}");
    server.write(BUCKET, &foreign).unwrap();

    let poisoned = series("nha-1", "probe", "soil_moisture");
    let fine = series("nha-1", "sht", "air_temperature");
    let readings: Vec<Reading> = (0..100).map(|at| good(DAY_MS + at * 1_000, at)).collect();
    // A time that InfluxDB can't hold, among others.
    let mut with_far = readings.clone();
    with_far.insert(50, good(i64::MAX, 1));
    let runs = [
        run(&fine, "Cel", &with_far),
        run(&poisoned, "%", &readings[..30]),
        run(&series("nha-2", "sht", "air_temperature"), "Cel", &readings),
    ];
    let written = block_on(store.write(&id("load"), &runs)).unwrap();
    assert_eq!(written.stored, 200);
    let refused = |run: &Run| -> Vec<Refused> {
        let all = written.refused.iter();
        all.filter(|refused| refused.series == run.series)
            .cloned()
            .collect()
    };
    assert_eq!(written.refused.len(), 31);
    let conflicts = refused(&runs[1]);
    assert!(
        conflicts
            .iter()
            .all(|refused| refused.reason.contains("field type conflict"))
    );
    assert!(
        refused(&runs[1])
            .iter()
            .map(|refused| refused.reading)
            .eq(readings[..30].iter().copied())
    );
    let far = refused(&runs[0]);
    assert_eq!(far.len(), 1, "{far:?}");
    assert!(
        far[0].reading.time_ms == i64::MAX && far[0].reason.contains("time outside range"),
        "{far:?}"
    );
    for series in [&runs[0].series, &runs[2].series] {
        let found = block_on(store.read(&id("load"), series, ever())).unwrap();
        assert_eq!(found.len(), 100);
    }
}

#[test]
fn set_up_twice_makes_nothing_new_and_its_tasks_roll_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start_influxd(&folder.path().join("influxd")) else {
        return;
    };
    let layout = furrow_ingest::store::influx::Layout::Shared {
        bucket: "farm".to_owned(),
    };
    let settings = influx_settings(&server, layout);
    let years = |years: u64| Some(Duration::from_secs(years * 365 * 86_400));
    let plan = SetUp {
        retention: years(1),
        cooperatives: Vec::new(),
        downsampling: Downsampling::On {
            minutes: years(5),
            hours: None,
        },
    };
    let first = block_on(set_up(settings.clone(), &plan)).unwrap();
    let all = [
        "bucket farm",
        "bucket farm_1m",
        "task furrow farm_1m",
        "bucket farm_1h",
        "task furrow farm_1h",
    ];
    assert_eq!(
        (first.created, first.kept),
        (all.map(str::to_owned).to_vec(), vec![])
    );
    let second = block_on(set_up(settings.clone(), &plan)).unwrap();
    assert_eq!(
        (second.created, second.kept),
        (vec![], all.map(str::to_owned).to_vec())
    );
    let (_, found) = server.get("/api/v2/buckets?name=farm_1m").unwrap();
    assert_eq!(
        found["buckets"][0]["retentionRules"][0]["everySeconds"],
        5 * 365 * 86_400
    );

    the_tasks_roll_up(&server, &InfluxStore::new(settings).unwrap());
}

fn the_tasks_roll_up(server: &Influxd, store: &InfluxStore) {
    // Two whole minutes before this one, a bad reading among them.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let minute = i64::try_from(now.as_secs() / 60).unwrap() * 60_000 - 120_000;
    let mut readings: Vec<Reading> = (0..12)
        .map(|at| good(minute + at * 10_000, 100 * at))
        .collect();
    readings[3] = super::suite::reading(
        readings[3].time_ms,
        Some("999"),
        furrow_wire::Quality::Spike,
    );
    let series = series("nha-1", "sht", "air_temperature");
    block_on(store.write(&id("load"), &[run(&series, "Cel", &readings)])).unwrap();
    let (_, tasks) = server.get("/api/v2/tasks?name=furrow%20farm_1m").unwrap();
    let path = format!(
        "/api/v2/tasks/{}/runs",
        tasks["tasks"][0]["id"].as_str().unwrap()
    );
    let (status, answer) = server.post(&path, &json!({})).unwrap();
    assert_eq!(status, 201, "{answer}");
    let flux = format!(
        "from(bucket: \"farm_1m\") |> range(start: {}) |> filter(fn: (r) => r.cooperative == \"load\") \
         |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\") \
         |> keep(columns: [\"min\", \"mean\", \"max\", \"count\"])",
        minute / 1_000
    );
    // A task writes one column after the other. Columns come by name: count, max, mean, min. Of 0, 1, 2, (bad), 4, 5
    // and of 6 to 11.
    let minutes = [",5,5,2.4,0", ",6,11,8.5,6"];
    let mut last = String::new();
    let complete = until(PATIENCE, || {
        let (_, answer) = server.post(
            &format!("/api/v2/query?org={ORG}"),
            &json!({ "query": flux, "type": "flux" }),
        )?;
        answer.as_str().unwrap_or_default().clone_into(&mut last);
        Ok(minutes.iter().all(|row| last.contains(row)).then_some(()))
    });
    assert!(complete.is_ok(), "{last}");
    // They go with their cooperative.
    block_on(store.delete(&id("load"))).unwrap();
    let (_, answer) = server
        .post(
            &format!("/api/v2/query?org={ORG}"),
            &json!({ "query": flux, "type": "flux" }),
        )
        .unwrap();
    assert!(
        answer.as_str().unwrap_or_default().trim().is_empty(),
        "{answer}"
    );
}

#[test]
fn victoria_killed_loses_nothing_that_it_had_for_as_long_as_declared() {
    const READINGS: i64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let Some(mut server) = start_victoria(&folder.path().join("victoria")) else {
        return;
    };
    let mut settings = victoria_settings(&server);
    settings.timeout = Duration::from_secs(5);
    let store = VictoriaStore::new(settings).unwrap();
    let busy = AtomicU64::new(0);
    block_on(async {
        for batch in 0..10 {
            write_until_stored(&store, &[part(batch, READINGS)], &busy).await;
        }
    });
    pause(store.abilities().durable_after);
    block_on(write_until_stored(&store, &[part(10, READINGS)], &busy));
    server.kill().unwrap();
    let fault = block_on(store.write(&id("load"), &[part(11, READINGS)])).unwrap_err();
    assert!(matches!(fault, StoreFault::Busy { .. }), "{fault}");
    server.spawn().unwrap();
    server.wait_ready().unwrap();
    // A forwarder begins again with what was not durable yet.
    block_on(async {
        for batch in 10..12 {
            write_until_stored(&store, &[part(batch, READINGS)], &busy).await;
        }
    });
    until(PATIENCE, || {
        let count = block_on(store.read(&id("load"), &part(0, 0).series, ever()))?.len();
        Ok((i64::try_from(count)? == 12 * READINGS).then_some(()))
    })
    .unwrap();
    holds_all(&store, 12, READINGS);
}

/// Readings of a second each, other ones in each batch.
fn part(batch: i64, readings: i64) -> Run {
    let first = batch * readings;
    let readings: Vec<Reading> = (first..first + readings)
        .map(|at| good(DAY_MS + at * 1_000, at))
        .collect();
    run(&series("nha-1", "sht", "air_temperature"), "Cel", &readings)
}

/// As a forwarder does it: the same again, until it is stored.
async fn write_until_stored(store: &dyn SeriesStore, runs: &[Run], busy: &AtomicU64) {
    let end = Instant::now() + PATIENCE;
    let readings: usize = runs.iter().map(|run| run.readings.len()).sum();
    loop {
        match store.write(&id("load"), runs).await {
            Ok(written) => {
                assert_eq!(
                    written,
                    Written {
                        stored: readings as u64,
                        refused: vec![]
                    }
                );
                return;
            }
            Err(StoreFault::Busy { reason, .. }) => {
                busy.fetch_add(1, Ordering::Relaxed);
                assert!(Instant::now() < end, "{reason}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(fault @ (StoreFault::Denied { .. } | StoreFault::Refused { .. })) => {
                panic!("{fault}")
            }
        }
    }
}

/// Every reading is there, once, and aggregates count it once.
fn holds_all(store: &dyn SeriesStore, batches: i64, readings: i64) {
    let expected: Vec<Reading> = (0..batches)
        .flat_map(|batch| part(batch, readings).readings)
        .collect();
    let series = part(0, 0).series;
    let (found, points) = block_on(async {
        let found = store.read(&id("load"), &series, ever()).await.unwrap();
        let to_ms = DAY_MS + 10 * 86_400_000;
        let span = Span {
            from_ms: DAY_MS,
            to_ms,
        };
        (
            found,
            store
                .buckets(&id("load"), &series, span, 3_600_000)
                .await
                .unwrap(),
        )
    });
    let numbers = |readings: &[Reading]| -> Vec<(i64, f64)> {
        readings
            .iter()
            .map(|reading| (reading.time_ms, reading.value.unwrap().to_f64()))
            .collect()
    };
    assert_eq!(found.len(), expected.len());
    assert!(
        numbers(&found) == numbers(&expected),
        "other readings than were written"
    );
    let counted: u64 = points.iter().map(|point| point.count).sum();
    assert_eq!(counted, expected.len() as u64);
}

/// Id and text of a token that may read and write the first bucket.
fn token_of_bucket(server: &Influxd) -> (String, String) {
    let (_, found) = server
        .get(&format!("/api/v2/buckets?name={BUCKET}"))
        .unwrap();
    let bucket = &found["buckets"][0];
    let permission = |action: &str| json!({ "action": action, "resource": { "type": "buckets", "id": bucket["id"], "orgID": bucket["orgID"] } });
    let wanted = json!({
        "orgID": bucket["orgID"], "description": "forwarder",
        "permissions": [permission("read"), permission("write")],
    });
    let (status, made) = server.post("/api/v2/authorizations", &wanted).unwrap();
    assert_eq!(status, 201, "{made}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["id"]), text(&made["token"]))
}
