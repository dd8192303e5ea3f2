//! What every store must do, as checks over the trait alone. Each has cooperatives of its own, so that all run at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use furrow_ingest::store::{
    Kept, Newest, Point, Reading, Run, SeriesInfo, SeriesStore, Span, StoreFault, line,
};
use furrow_wire::{CooperativeId, Decimal, GreenhouseId, Quality, SeriesId};

pub(crate) type Store = Arc<dyn SeriesStore>;

/// Whose buckets have to be there, where each cooperative has its own.
pub(crate) const COOPERATIVES: [&str; 14] = [
    "twice", "two", "newest", "spans", "late", "apart-a", "apart-b", "units", "gone", "stays",
    "visible", "numbers", "renamed", "empty",
];

/// Midnight, so that it is a multiple of all buckets.
const DAY_MS: i64 = 1_760_054_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Beside what a store declares: for a loaded machine.
const SLACK: Duration = Duration::from_secs(15);

/// Runs every check. A store that does not keep the contract fails the test with the check's name.
pub(crate) async fn check(store: Store) {
    store.health().await.expect("health");
    let mut checks = tokio::task::JoinSet::new();
    macro_rules! start {
        ($($check:ident),*) => {{
            $(checks.spawn(named(stringify!($check), $check(Arc::clone(&store))));)*
        }};
    }
    start!(
        written_twice_changes_nothing,
        of_two_readings_the_declared_one_stays,
        the_newest_of_any_quality,
        spans_are_half_open,
        late_readings_count_and_bad_ones_never,
        cooperatives_do_not_see_each_other,
        any_unit_is_one_series,
        a_deleted_cooperative_is_gone,
        a_reading_is_visible_when_declared,
        numbers_come_back,
        a_renamed_unit_is_the_same_series,
        nothing_is_no_fault
    );
    while let Some(done) = checks.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn named(name: &'static str, check: impl Future<Output = ()> + Send) {
    let began = Instant::now();
    check.await;
    eprintln!("{name}: {:.1} s", began.elapsed().as_secs_f64());
}

async fn written_twice_changes_nothing(store: Store) {
    let (cooperative, series) = (id("twice"), series("nha-1", "sht", "air_temperature"));
    let other = self::series("nha-2", "sht", "air_temperature");
    let readings: Vec<Reading> = (0..700).map(|at| mixed(DAY_MS + at * 10_000, at)).collect();
    let runs = [
        run(&series, "Cel", &readings),
        run(&other, "Cel", &readings),
    ];
    for _ in 0..3 {
        let written = store.write(&cooperative, &runs).await.unwrap();
        assert_eq!((written.stored, written.refused), (1400, vec![]));
    }
    for series in [&series, &other] {
        read_is(&store, &cooperative, series, ever(), &readings).await;
        buckets_are(&store, &cooperative, series, day(), HOUR_MS, &readings).await;
    }
    // After it was read, too.
    store.write(&cooperative, &runs).await.unwrap();
    buckets_are(&store, &cooperative, &series, day(), HOUR_MS, &readings).await;
    read_is(&store, &cooperative, &series, ever(), &readings).await;
}

async fn of_two_readings_the_declared_one_stays(store: Store) {
    let cooperative = id("two");
    let kept = store.abilities().of_two;
    let good = |text| reading(DAY_MS, Some(text), Quality::Good);
    let spike = |text| reading(DAY_MS, Some(text), Quality::Spike);
    let failed = reading(DAY_MS, None, Quality::Failed);
    let cases = [
        (good("1"), good("2"), None),
        (good("2"), good("1"), None),
        (failed, good("3"), Some(good("3"))),
        (good("4"), failed, Some(good("4"))),
        (spike("5"), good("6"), Some(good("6"))),
        (good("7"), spike("8"), Some(good("7"))),
        (spike("9"), failed, None),
        (failed, spike("10"), None),
    ];
    for (case, (first, last, good)) in cases.into_iter().enumerate() {
        let series = series("nha-1", &format!("d{case}"), "air_temperature");
        let mut at_end = vec![];
        for reading in [first, last] {
            // A later one too, so that it is known when both are visible.
            let after = self::reading(DAY_MS + 1 + at_end.len() as i64, Some("0"), Quality::Good);
            at_end.push(after);
            let runs = [
                run(&series, "Cel", &[reading]),
                run(&series, "Cel", &[after]),
            ];
            store.write(&cooperative, &runs).await.unwrap();
        }
        let allowed = match kept {
            Kept::First => vec![first],
            Kept::Last => vec![good.unwrap_or(last)],
            Kept::Either => good.map_or(vec![first, last], |good| vec![good]),
        };
        let found = eventually(&store, || async {
            let found = store.read(&cooperative, &series, ever()).await.unwrap();
            (found.len() == 3).then(|| found[0])
        });
        let found = found.await.expect("three readings");
        // A store that keeps either may put two bad ones together; it never makes a good one of them.
        let mixes =
            kept == Kept::Either && first.quality != Quality::Good && last.quality != Quality::Good;
        let is_allowed = allowed.iter().any(|allowed| same(allowed, &found));
        assert!(
            is_allowed || (mixes && found.quality != Quality::Good),
            "{case}: {found:?} of {allowed:?}"
        );
    }
}

async fn the_newest_of_any_quality(store: Store) {
    let cooperative = id("newest");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = i64::try_from(now.as_millis()).unwrap() - 2_000;
    let cases = [
        ("nha-1", "sht", now, reading(0, Some("21.5"), Quality::Good)),
        ("nha-1", "bme", now, reading(0, None, Quality::Failed)),
        (
            "nha-2",
            "sht",
            now,
            reading(0, Some("150"), Quality::OutOfRange),
        ),
        ("nha-2", "old", DAY_MS, reading(0, Some("7"), Quality::Good)),
        (
            "nha-3",
            "sht",
            now + HOUR_MS,
            reading(0, Some("7"), Quality::Good),
        ),
    ];
    let mut all = Vec::new();
    for (greenhouse, device, time_ms, newest) in cases {
        let series = series(greenhouse, device, "air_temperature");
        let newest = Reading { time_ms, ..newest };
        let before = (1..20)
            .rev()
            .map(|back| mixed(time_ms - back * 10_000, back));
        let readings: Vec<Reading> = before.chain([newest]).collect();
        store
            .write(&cooperative, &[run(&series, "Cel", &readings)])
            .await
            .unwrap();
        // What comes late is not newer.
        let late = mixed(time_ms - HOUR_MS, 1);
        store
            .write(&cooperative, &[run(&series, "Cel", &[late])])
            .await
            .unwrap();
        all.push(Newest {
            series: SeriesInfo {
                id: series,
                unit: "Cel".to_owned(),
            },
            reading: newest,
        });
    }
    all.sort_by(|a, b| a.series.cmp(&b.series));
    for greenhouse in [None, Some("nha-2"), Some("nha-9")] {
        let greenhouse = greenhouse.map(|name| name.parse().unwrap());
        let expected: Vec<&Newest> = all
            .iter()
            .filter(|newest| {
                greenhouse
                    .as_ref()
                    .is_none_or(|name| newest.series.id.greenhouse == *name)
            })
            .collect();
        latest_is(&store, &cooperative, greenhouse.as_ref(), &expected).await;
    }
    let infos: Vec<SeriesInfo> = all.into_iter().map(|newest| newest.series).collect();
    assert_eq!(store.series(&cooperative).await.unwrap(), infos);
}

async fn latest_is(
    store: &Store,
    cooperative: &CooperativeId,
    greenhouse: Option<&GreenhouseId>,
    expected: &[&Newest],
) {
    let found = eventually(store, || async {
        let found = store.latest(cooperative, greenhouse).await.unwrap();
        let equal = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| {
                found.series == expected.series && same(&expected.reading, &found.reading)
            });
        equal.then_some(())
    });
    if found.await.is_none() {
        let found = store.latest(cooperative, greenhouse).await.unwrap();
        panic!("{found:?} in place of {expected:?}");
    }
}

async fn spans_are_half_open(store: Store) {
    let (cooperative, series) = (id("spans"), series("nha-1", "sht", "air_temperature"));
    let readings: Vec<Reading> = (0..10).map(|at| good(DAY_MS + at, at)).collect();
    store
        .write(&cooperative, &[run(&series, "Cel", &readings)])
        .await
        .unwrap();
    read_is(&store, &cooperative, &series, ever(), &readings).await;
    for (from, to) in [
        (0, 10),
        (0, 9),
        (1, 10),
        (3, 4),
        (5, 5),
        (7, 3),
        (10, 20),
        (-5, 0),
        (-5, 1),
    ] {
        let span = Span {
            from_ms: DAY_MS + from,
            to_ms: DAY_MS + to,
        };
        let expected: Vec<Reading> = readings
            .iter()
            .copied()
            .filter(|reading| (span.from_ms..span.to_ms).contains(&reading.time_ms))
            .collect();
        read_is(&store, &cooperative, &series, span, &expected).await;
    }
    let other = self::series("nha-1", "sht", "air_humidity");
    read_is(&store, &cooperative, &other, ever(), &[]).await;
}

async fn late_readings_count_and_bad_ones_never(store: Store) {
    let (cooperative, series) = (id("late"), series("nha-1", "sht", "air_temperature"));
    // Every 10 s but for an hour; the last millisecond of a bucket and the first of the next.
    let mut readings: Vec<Reading> = (0..2_160)
        .filter(|at| !(360..720).contains(at))
        .map(|at| mixed(DAY_MS + at * 10_000, at))
        .collect();
    readings.push(good(DAY_MS + 7 * HOUR_MS - 1, 77));
    readings.push(good(DAY_MS + 7 * HOUR_MS, -77));
    // An hour of bad ones only has no bucket.
    readings.extend((0..60).map(|at| {
        reading(
            DAY_MS + 9 * HOUR_MS + at * MINUTE_MS,
            Some("999"),
            Quality::OutOfRange,
        )
    }));
    store
        .write(&cooperative, &[run(&series, "Cel", &readings)])
        .await
        .unwrap();
    for bucket in [10_000, MINUTE_MS, HOUR_MS, 24 * HOUR_MS] {
        buckets_are(&store, &cooperative, &series, day(), bucket, &readings).await;
    }
    let first_ms = readings
        .iter()
        .map(|reading| reading.time_ms)
        .min()
        .unwrap();
    let last_ms = readings
        .iter()
        .map(|reading| reading.time_ms)
        .max()
        .unwrap();
    let extent = Span {
        from_ms: first_ms,
        to_ms: last_ms + 1,
    };
    assert_eq!(
        store.extent(&cooperative, &series).await.unwrap(),
        Some(extent)
    );
    let other = self::series("nha-1", "none", "air_temperature");
    assert_eq!(store.extent(&cooperative, &other).await.unwrap(), None);
    // What was missing comes later, from its end to its beginning.
    for at in [719, 400, 360] {
        let late = mixed(DAY_MS + at * 10_000, at);
        readings.push(late);
        store
            .write(&cooperative, &[run(&series, "Cel", &[late])])
            .await
            .unwrap();
    }
    let early = good(DAY_MS - 20 * 24 * HOUR_MS, 5);
    store
        .write(&cooperative, &[run(&series, "Cel", &[early])])
        .await
        .unwrap();
    readings.push(early);
    readings.sort_by_key(|reading| reading.time_ms);
    read_is(&store, &cooperative, &series, ever(), &readings).await;
    let month = Span {
        from_ms: DAY_MS - 30 * 24 * HOUR_MS,
        to_ms: DAY_MS + 24 * HOUR_MS,
    };
    for bucket in [MINUTE_MS, HOUR_MS, 24 * HOUR_MS] {
        buckets_are(&store, &cooperative, &series, month, bucket, &readings).await;
    }
}

async fn cooperatives_do_not_see_each_other(store: Store) {
    let (a, b) = (id("apart-a"), id("apart-b"));
    let series = series("nha-1", "sht", "air_temperature");
    let of_a: Vec<Reading> = (0..50).map(|at| good(DAY_MS + at * 1_000, at)).collect();
    let of_b: Vec<Reading> = (25..75)
        .map(|at| good(DAY_MS + at * 1_000, 1_000 + at))
        .collect();
    // Units that would name the other one if they were not escaped.
    let hostile = "Cel,cooperative=apart-b value=1";
    store
        .write(&a, &[run(&series, hostile, &of_a)])
        .await
        .unwrap();
    store
        .write(
            &b,
            &[run(&series, "Cel\" or r.cooperative == \"apart-a", &of_b)],
        )
        .await
        .unwrap();
    for (cooperative, readings) in [(&a, &of_a), (&b, &of_b)] {
        read_is(&store, cooperative, &series, ever(), readings).await;
        buckets_are(&store, cooperative, &series, day(), MINUTE_MS, readings).await;
        let newest = eventually(&store, || async {
            let newest = store.latest(cooperative, None).await.unwrap();
            let is_last = |newest: &Newest| same(readings.last().unwrap(), &newest.reading);
            (newest.len() == 1 && is_last(&newest[0])).then_some(())
        });
        assert!(
            newest.await.is_some(),
            "{:?}",
            store.latest(cooperative, None).await
        );
    }
    let stored = store.series(&a).await.unwrap();
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!([hostile.to_owned(), line::unit_as_stored(hostile)].contains(&stored[0].unit));
}

async fn any_unit_is_one_series(store: Store) {
    const UNITS: [&str; 26] = [
        "",
        " ",
        "%",
        "W/m2",
        "10*3/uL",
        "µmol/(m2.s)",
        "ký tự",
        "a,b",
        "a=b",
        "a b",
        "a\"b",
        "\"",
        "'",
        "a\\",
        "\\",
        "\\\\",
        "a\\,b",
        "a\\ b",
        "a\nb",
        "\r\n",
        "\t",
        "# x",
        "${r}",
        "}",
        "value=1 2",
        "🌱",
    ];
    let cooperative = id("units");
    let mut runs = Vec::new();
    for (at, unit) in UNITS.iter().enumerate() {
        let series = series("nha-1", &format!("d{at:02}"), "air_temperature");
        runs.push(run(
            &series,
            unit,
            &[mixed(DAY_MS, at as i64), good(DAY_MS + 1, at as i64)],
        ));
    }
    let written = store.write(&cooperative, &runs).await.unwrap();
    assert_eq!(
        (written.stored, written.refused),
        (2 * UNITS.len() as u64, vec![])
    );
    for run in &runs {
        read_is(&store, &cooperative, &run.series, ever(), &run.readings).await;
    }
    let found = eventually(&store, || async {
        Some(store.series(&cooperative).await.unwrap()).filter(|found| found.len() == UNITS.len())
    });
    let found = found.await.expect("a series for each unit");
    for (info, run) in found.iter().zip(&runs) {
        assert_eq!(info.id, run.series);
        let allowed = [run.unit.clone(), line::unit_as_stored(&run.unit)];
        assert!(
            allowed.contains(&info.unit),
            "{:?} of {:?}",
            info.unit,
            run.unit
        );
    }
}

async fn a_deleted_cooperative_is_gone(store: Store) {
    let (gone, stays) = (id("gone"), id("stays"));
    let series = series("nha-1", "sht", "air_temperature");
    let readings: Vec<Reading> = (0..200).map(|at| mixed(DAY_MS + at * 1_000, at)).collect();
    for cooperative in [&gone, &stays] {
        store
            .write(cooperative, &[run(&series, "Cel", &readings)])
            .await
            .unwrap();
    }
    // At once: also what is not visible yet must go.
    store.delete(&gone).await.unwrap();
    let patience = if store.abilities().deletes_at_once {
        Duration::ZERO
    } else {
        SLACK
    };
    let end = Instant::now() + patience;
    while !is_gone(&store, &gone, &series).await {
        assert!(Instant::now() < end, "it is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // It does not come back when the rest of what was written becomes visible.
    read_is(&store, &stays, &series, ever(), &readings).await;
    assert!(is_gone(&store, &gone, &series).await);
    store.delete(&gone).await.unwrap();
    assert!(is_gone(&store, &gone, &series).await);
}

/// Nothing is shown of it. Where its bucket is gone with it, a store says so instead.
async fn is_gone(store: &Store, cooperative: &CooperativeId, series: &SeriesId) -> bool {
    let lengths = [
        store.series(cooperative).await.map(|all| all.len()),
        store.latest(cooperative, None).await.map(|all| all.len()),
        store
            .read(cooperative, series, ever())
            .await
            .map(|all| all.len()),
        store
            .buckets(cooperative, series, day(), 60_000)
            .await
            .map(|all| all.len()),
    ];
    lengths.iter().all(|found| match found {
        Ok(length) => *length == 0,
        Err(StoreFault::Denied { .. }) => true,
        Err(fault) => panic!("{fault}"),
    })
}

async fn a_reading_is_visible_when_declared(store: Store) {
    let (cooperative, declared) = (id("visible"), store.abilities().visible_after);
    for at in 0..3 {
        let series = series("nha-1", &format!("d{at}"), "air_temperature");
        store
            .write(&cooperative, &[run(&series, "Cel", &[good(DAY_MS, at)])])
            .await
            .unwrap();
        let began = Instant::now();
        while store
            .read(&cooperative, &series, ever())
            .await
            .unwrap()
            .is_empty()
        {
            assert!(
                began.elapsed() <= declared,
                "hidden for more than {declared:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn numbers_come_back(store: Store) {
    let (cooperative, series) = (id("numbers"), series("nha-1", "sht", "air_temperature"));
    let texts = [
        "0",
        "0.0",
        "-0.05",
        "24.98",
        "24.980",
        "-273.15",
        "100000",
        "0.001",
        "65535.9",
        "1013.25",
        "-1",
        "99999999",
        "12345.678",
    ];
    let readings: Vec<Reading> = (0..)
        .zip(texts)
        .map(|(at, text)| reading(DAY_MS + at * 1_000, Some(text), Quality::Good))
        .collect();
    store
        .write(&cooperative, &[run(&series, "", &readings)])
        .await
        .unwrap();
    read_is(&store, &cooperative, &series, ever(), &readings).await;
    if !store.abilities().keeps_decimals {
        return;
    }
    // Within a series of one resolution; where it changes, only the number is promised to come back.
    for (at, text) in texts.iter().enumerate() {
        let series = self::series("nha-2", &format!("d{at}"), "air_temperature");
        let written = [reading(DAY_MS, Some(text), Quality::Good)];
        store
            .write(&cooperative, &[run(&series, "", &written)])
            .await
            .unwrap();
        read_is(&store, &cooperative, &series, ever(), &written).await;
        let found = store.read(&cooperative, &series, ever()).await.unwrap();
        assert_eq!(found, written);
    }
}

/// Either it is taken as the same series, or each reading is refused by name: none is lost without a word.
async fn a_renamed_unit_is_the_same_series(store: Store) {
    let (cooperative, series) = (id("renamed"), series("nha-1", "sht", "air_temperature"));
    let before: Vec<Reading> = (0..30).map(|at| good(DAY_MS + at * 1_000, at)).collect();
    let after: Vec<Reading> = (30..60).map(|at| good(DAY_MS + at * 1_000, at)).collect();
    let first = [run(&series, "degC", &before)];
    store.write(&cooperative, &first).await.unwrap();
    let second = [run(&series, "Cel", &after)];
    let written = store.write(&cooperative, &second).await.unwrap();
    let (all, unit) = if written.refused.is_empty() {
        let all: Vec<Reading> = before.into_iter().chain(after).collect();
        (all, "Cel")
    } else {
        let refused = written.refused.iter().map(|refused| refused.reading);
        assert!(written.stored == 0 && refused.eq(after), "{written:?}");
        (before, "degC")
    };
    read_is(&store, &cooperative, &series, ever(), &all).await;
    buckets_are(&store, &cooperative, &series, day(), HOUR_MS, &all).await;
    let unit = unit.to_owned();
    let expected = [SeriesInfo { id: series, unit }];
    let found = eventually(&store, || async {
        Some(store.series(&cooperative).await.unwrap()).filter(|found| *found == expected)
    });
    let found = found.await;
    assert!(found.is_some(), "{:?}", store.series(&cooperative).await);
}

async fn nothing_is_no_fault(store: Store) {
    let (cooperative, series) = (id("empty"), series("nha-1", "sht", "air_temperature"));
    let written = store.write(&cooperative, &[]).await.unwrap();
    assert_eq!((written.stored, written.refused), (0, vec![]));
    store
        .write(&cooperative, &[run(&series, "Cel", &[])])
        .await
        .unwrap();
    assert!(store.latest(&cooperative, None).await.unwrap().is_empty());
    assert!(
        store
            .read(&cooperative, &series, ever())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .buckets(&cooperative, &series, day(), 60_000)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) fn id(name: &str) -> CooperativeId {
    name.parse().unwrap()
}

pub(crate) fn series(greenhouse: &str, device: &str, channel: &str) -> SeriesId {
    SeriesId {
        greenhouse: greenhouse.parse().unwrap(),
        device: device.parse().unwrap(),
        channel: channel.parse().unwrap(),
    }
}

pub(crate) fn run(series: &SeriesId, unit: &str, readings: &[Reading]) -> Run {
    Run {
        series: series.clone(),
        unit: unit.to_owned(),
        readings: readings.to_vec(),
    }
}

pub(crate) fn reading(time_ms: i64, text: Option<&str>, quality: Quality) -> Reading {
    Reading {
        time_ms,
        value: text.map(|text| text.parse().unwrap()),
        quality,
    }
}

pub(crate) fn good(time_ms: i64, hundredths: i64) -> Reading {
    let value = Some(Decimal {
        mantissa: hundredths,
        exponent: -2,
    });
    Reading {
        time_ms,
        value,
        quality: Quality::Good,
    }
}

/// Mostly good; every quality now and then.
pub(crate) fn mixed(time_ms: i64, at: i64) -> Reading {
    let quality = Quality::ALL[usize::try_from(at % 11).unwrap().saturating_sub(4)];
    let value = quality.has_value().then_some(Decimal {
        mantissa: 2_000 + at * 7 % 900,
        exponent: -2,
    });
    Reading {
        time_ms,
        value,
        quality,
    }
}

pub(crate) fn ever() -> Span {
    Span {
        from_ms: 0,
        to_ms: 1 << 42,
    }
}

fn day() -> Span {
    Span {
        from_ms: DAY_MS,
        to_ms: DAY_MS + 24 * HOUR_MS,
    }
}

/// Asks until there is an answer, for as long as a reading may be hidden; once, where it may not be.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    store: &Store,
    mut look: impl FnMut() -> F,
) -> Option<T> {
    let declared = store.abilities().visible_after;
    let end = Instant::now()
        + if declared.is_zero() {
            declared
        } else {
            declared + SLACK
        };
    loop {
        let found = look().await;
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(crate) async fn read_is(
    store: &Store,
    cooperative: &CooperativeId,
    series: &SeriesId,
    span: Span,
    expected: &[Reading],
) {
    let mut last = Vec::new();
    let equal = eventually(store, || async {
        Some(store.read(cooperative, series, span).await.unwrap())
    });
    last.extend(equal.await.unwrap());
    let is_equal = |found: &[Reading]| {
        found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(found, expected)| same(expected, found))
    };
    if !is_equal(&last) {
        let found = eventually(store, || async {
            let found = store.read(cooperative, series, span).await.unwrap();
            is_equal(&found).then_some(())
        });
        if found.await.is_none() {
            let found = store.read(cooperative, series, span).await.unwrap();
            let wrong = found
                .iter()
                .zip(expected)
                .find(|(found, expected)| !same(expected, found));
            panic!(
                "{cooperative} {series}: {} of {} readings, {wrong:?}",
                found.len(),
                expected.len()
            );
        }
    }
}

/// Compares with buckets that are computed here from all readings.
pub(crate) async fn buckets_are(
    store: &Store,
    cooperative: &CooperativeId,
    series: &SeriesId,
    span: Span,
    bucket_ms: i64,
    readings: &[Reading],
) {
    let mut values: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for reading in readings {
        if reading.quality == Quality::Good && (span.from_ms..span.to_ms).contains(&reading.time_ms)
        {
            let bucket = reading.time_ms.div_euclid(bucket_ms) * bucket_ms;
            values
                .entry(bucket)
                .or_default()
                .push(reading.value.unwrap().to_f64());
        }
    }
    let expected: Vec<Point> = values
        .into_iter()
        .map(|(time_ms, values)| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            Point {
                time_ms,
                values: Some([least, mean, greatest]),
                count: values.len() as u64,
            }
        })
        .collect();
    let length = u32::try_from(bucket_ms).unwrap();
    let found = eventually(store, || async {
        let found = store
            .buckets(cooperative, series, span, length)
            .await
            .unwrap();
        (first_difference(&found, &expected).is_none()).then_some(())
    });
    if found.await.is_none() {
        let found = store
            .buckets(cooperative, series, span, length)
            .await
            .unwrap();
        let wrong = first_difference(&found, &expected);
        panic!(
            "{cooperative} {series}, buckets of {bucket_ms}: {} of {}: {wrong:?}",
            found.len(),
            expected.len()
        );
    }
}

/// Least, greatest and count are exact; a mean may be summed up in another order.
fn first_difference(found: &[Point], expected: &[Point]) -> Option<(Option<Point>, Option<Point>)> {
    let equal = |found: &Point, expected: &Point| {
        let (Some([a, b, c]), Some([x, y, z])) = (found.values, expected.values) else {
            return false;
        };
        let exact = (found.time_ms, found.count) == (expected.time_ms, expected.count)
            && a.to_bits() == x.to_bits()
            && c.to_bits() == z.to_bits();
        exact && (b - y).abs() <= 1e-9 * y.abs().max(1.0)
    };
    (0..found.len().max(expected.len())).find_map(|at| {
        let (found, expected) = (found.get(at), expected.get(at));
        match (found, expected) {
            (Some(a), Some(b)) if equal(a, b) => None,
            _ => Some((found.copied(), expected.copied())),
        }
    })
}

/// The same number, time and quality.
fn same(expected: &Reading, found: &Reading) -> bool {
    let number = |value: Option<Decimal>| {
        value.map(|value| value.to_string().parse::<f64>().unwrap().to_bits())
    };
    number(expected.value) == number(found.value)
        && (expected.time_ms, expected.quality) == (found.time_ms, found.quality)
}
