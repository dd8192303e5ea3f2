use furrow_wire::Quality;

use super::*;

const DAY_MS: i64 = 86_400_000;

fn coop(id: &str) -> CooperativeId {
    id.parse().unwrap()
}

fn series(channel: &str) -> SeriesId {
    SeriesId {
        greenhouse: "nha-1".parse().unwrap(),
        device: "sht".parse().unwrap(),
        channel: channel.parse().unwrap(),
    }
}

fn reading(time_ms: i64, value: &str) -> Reading {
    Reading {
        time_ms,
        value: Some(value.parse().unwrap()),
        quality: Quality::Good,
    }
}

fn run(channel: &str, readings: Vec<Reading>) -> Run {
    Run {
        series: series(channel),
        unit: "Cel".to_owned(),
        readings,
    }
}

fn ever() -> Span {
    Span {
        from_ms: i64::MIN,
        to_ms: i64::MAX,
    }
}

async fn read(store: &ArchiveStore, channel: &str) -> Vec<Reading> {
    let id = series(channel);
    store.read(&coop("a"), &id, ever()).await.unwrap()
}

#[tokio::test]
async fn the_first_reading_of_a_name_stays_and_writing_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArchiveStore::open(dir.path()).unwrap();
    let failed = Reading {
        time_ms: 20_000,
        value: None,
        quality: Quality::Failed,
    };
    let first = run("t", vec![reading(10_000, "25.10"), failed]);
    let written = Written {
        stored: 2,
        refused: Vec::new(),
    };
    for _ in 0..2 {
        let again = store.write(&coop("a"), std::slice::from_ref(&first)).await;
        assert_eq!(again.unwrap(), written);
    }
    let other = run("t", vec![reading(0, "1.00"), reading(10_000, "99.00")]);
    assert_eq!(store.write(&coop("a"), &[other]).await.unwrap(), written);
    let expected = [reading(0, "1.00"), reading(10_000, "25.10"), failed];
    assert_eq!(read(&store, "t").await, expected);
    let span = Span {
        from_ms: 0,
        to_ms: 20_001,
    };
    for (channel, expected) in [("t", Some(span)), ("u", None)] {
        let extent = store.extent(&coop("a"), &series(channel)).await;
        assert_eq!(extent.unwrap(), expected);
    }
    let newest = store.latest(&coop("a"), None).await.unwrap();
    let info = SeriesInfo {
        id: series("t"),
        unit: "Cel".to_owned(),
    };
    assert_eq!(
        store.series(&coop("a")).await.unwrap(),
        std::slice::from_ref(&info)
    );
    let wanted = Newest {
        series: info,
        reading: failed,
    };
    assert_eq!(newest, [wanted]);
    let elsewhere = "nha-2".parse().unwrap();
    let none = store.latest(&coop("a"), Some(&elsewhere)).await.unwrap();
    assert_eq!(
        (none, store.series(&coop("b")).await.unwrap()),
        (vec![], vec![])
    );
}

#[tokio::test]
async fn what_a_series_cannot_hold_is_refused_with_a_reason_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArchiveStore::open(dir.path()).unwrap();
    let write = |run| {
        let store = store.clone();
        async move { store.write(&coop("a"), &[run]).await.unwrap() }
    };
    write(run("t", vec![reading(0, "20"), reading(60_000, "21.5")])).await;
    let no_value = Reading {
        value: None,
        ..reading(4, "0")
    };
    let written = write(run(
        "t",
        vec![
            reading(1, "20.00000"),
            reading(2, "20.12345"),
            reading(3, "900719925474100"),
            no_value,
            reading(1 << 46, "1"),
        ],
    ))
    .await;
    let reasons: Vec<_> = written
        .refused
        .iter()
        .map(|refused| refused.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "finer steps than its series can take on",
            "a value beyond 2^53 steps",
            "a quality that carries a value, without one",
            "a time beyond all calendars",
        ]
    );
    assert_eq!(written.stored, 1);
    let fahrenheit = Run {
        unit: "degF".to_owned(),
        ..run("t", vec![reading(9, "70")])
    };
    let written = write(fahrenheit).await;
    assert_eq!(
        written.refused[0].reason,
        "nha-1/sht/t has unit \"Cel\", not \"degF\""
    );
    let values: Vec<_> = read(&store, "t")
        .await
        .iter()
        .map(|r| r.value.unwrap().to_f64())
        .collect();
    assert_eq!(values, [20.0, 20.0, 21.5]);
}

/// Compares buckets of several lengths with the readings themselves.
async fn check_buckets(store: &ArchiveStore, when: &str) {
    let all = read(store, "t").await;
    for bucket_ms in [60_000, 900_000, 3_600_000, 3_600_000 * 5, 30_000] {
        let step = i64::from(bucket_ms);
        let span = Span {
            from_ms: -step,
            to_ms: 5 * DAY_MS / step * step,
        };
        let mut expected: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for reading in &all {
            let start = reading.time_ms - reading.time_ms.rem_euclid(step);
            expected
                .entry(start)
                .or_default()
                .push(reading.value.unwrap().to_f64());
        }
        let answer = store
            .buckets(&coop("a"), &series("t"), span, bucket_ms)
            .await
            .unwrap();
        let starts: Vec<_> = answer.iter().map(|p| (p.time_ms, p.count)).collect();
        let wanted: Vec<_> = expected.iter().map(|(t, v)| (*t, v.len() as u64)).collect();
        assert_eq!(starts, wanted, "{when}, {bucket_ms} ms");
        for (point, values) in answer.iter().zip(expected.values()) {
            let [least, mean, greatest] = point.values.unwrap();
            let of = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap();
            assert_eq!((least, greatest), (of(f64::min), of(f64::max)));
            let sum: f64 = values.iter().sum();
            assert!((mean - sum / values.len() as f64).abs() < 1e-9, "{when}");
        }
    }
}

/// Every tenth second of four days, written in two halves and then with late readings in between.
#[tokio::test]
async fn buckets_are_right_under_late_data() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArchiveStore::open(dir.path()).unwrap();
    let value = |time: i64| {
        reading(
            time,
            &format!("{}.{}", 20 + time / 7_000 % 10, time / 1_000 % 10),
        )
    };
    let times = || (0..4 * DAY_MS).step_by(10_000);
    let is_late = |time: &i64| time % 70_000 == 0 && *time < 2 * DAY_MS;
    let days = (0..4).map(|day| {
        let span = day * DAY_MS..(day + 1) * DAY_MS;
        times()
            .filter(|t| span.contains(t) && !is_late(t))
            .map(value)
            .collect::<Vec<_>>()
    });
    for day in days {
        store.write(&coop("a"), &[run("t", day)]).await.unwrap();
    }
    let late: Vec<_> = times().filter(is_late).map(value).collect();
    for when in ["before", "with parts", "sealed again"] {
        check_buckets(&store, when).await;
        match when {
            "before" => {
                let stored = store.write(&coop("a"), &[run("t", late.clone())]).await;
                assert_eq!(stored.unwrap().stored, late.len() as u64);
            }
            // A flush that does not touch the late windows seals them.
            _ => {
                store
                    .write(&coop("a"), &[run("t", vec![value(4 * DAY_MS)])])
                    .await
                    .unwrap();
            }
        }
    }
    let crooked = Span {
        from_ms: 1,
        to_ms: 60_000,
    };
    let refused = store
        .buckets(&coop("a"), &series("t"), crooked, 60_000)
        .await;
    assert!(
        matches!(refused, Err(StoreFault::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_deleted_cooperative_is_gone_with_its_files_and_may_be_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArchiveStore::open(dir.path()).unwrap();
    for id in ["a", "b"] {
        store
            .write(&coop(id), &[run("t", vec![reading(0, "1")])])
            .await
            .unwrap();
    }
    assert_eq!(read(&store, "t").await.len(), 1);
    store.delete(&coop("a")).await.unwrap();
    store.delete(&coop("a")).await.unwrap();
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["b.sqlite", "b.sqlite-shm", "b.sqlite-wal", "lock"]);
    assert_eq!(read(&store, "t").await, []);
    store
        .write(&coop("a"), &[run("t", vec![reading(5, "2")])])
        .await
        .unwrap();
    assert_eq!(read(&store, "t").await, [reading(5, "2")]);
}

#[tokio::test]
async fn one_process_writes_and_any_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArchiveStore::open(dir.path()).unwrap();
    store
        .write(&coop("a"), &[run("t", vec![reading(0, "1")])])
        .await
        .unwrap();
    let error = ArchiveStore::open(dir.path()).unwrap_err().to_string();
    let place = dir.path().display();
    assert_eq!(
        error,
        format!("another process writes the archive in {place}; stop it first")
    );
    let beside = ArchiveStore::reading(dir.path());
    assert_eq!(read(&beside, "t").await, [reading(0, "1")]);
    let denied = beside.write(&coop("a"), &[]).await;
    assert!(
        matches!(denied, Err(StoreFault::Denied { .. })),
        "{denied:?}"
    );
    assert_eq!(beside.health().await, Ok(()));
    drop(store);
    ArchiveStore::open(dir.path()).unwrap();
}
