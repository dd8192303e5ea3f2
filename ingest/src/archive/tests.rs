use std::collections::BTreeMap;

use furrow_alerts::{Condition, Rule, Severity};
use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, ClockState, Column, GreenhouseId,
    Quality, RecordName, Sample, Seq, SeriesId, StreamId,
};
use proptest::prelude::*;

use super::*;

/// Quality and mantissa by time: what a series must hold. The first of a time stays.
type Model = BTreeMap<SeriesId, BTreeMap<i64, (Option<i64>, Quality)>>;

const SMALL: Limits = Limits {
    pending_rows: 3,
    pending_bytes: 1 << 20,
    parts: 3,
    retention: Retention {
        readings_ms: None,
        minutes_ms: None,
        hours_ms: None,
    },
};
const CHANNELS: [&str; 3] = ["air_temperature", "relative_humidity", "co2"];

fn coop() -> CooperativeId {
    "hoa-binh".parse().unwrap()
}

fn catalog(exponent: i8, interval_ms: u32) -> Catalog {
    let channel = |channel: &&str| CatalogChannel {
        device: "sht".parse().unwrap(),
        channel: channel.parse().unwrap(),
        unit: "u".into(),
        exponent,
        interval_ms,
        name: String::new(),
    };
    Catalog {
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
        channels: CHANNELS.iter().map(channel).collect(),
        zones: Vec::new(),
    }
}

fn series(channel: usize) -> SeriesId {
    SeriesId {
        greenhouse: "house".parse().unwrap(),
        device: "sht".parse().unwrap(),
        channel: CHANNELS[channel].parse().unwrap(),
    }
}

/// A batch that starts at `from_ms` (Unix) with one column per entry of `columns`.
fn readings(
    catalog: &Arc<Catalog>,
    from_ms: i64,
    step_ms: u32,
    columns: Vec<(u16, Vec<Sample>)>,
) -> Change {
    let length = columns
        .iter()
        .map(|(_, samples)| samples.len())
        .max()
        .unwrap_or(0) as u64;
    let span_ms = (length * u64::from(step_ms)).max(1);
    let times = (0..length)
        .map(|n| 1_000 + n * u64::from(step_ms))
        .collect();
    let columns = columns
        .into_iter()
        .map(|(channel, samples)| Column { channel, samples })
        .collect();
    Change::Readings(Readings {
        gateway: "gw-01".parse().unwrap(),
        greenhouse: "house".parse().unwrap(),
        record: RecordName {
            stream: StreamId(1),
            seq: Seq(1),
        },
        catalog: Arc::clone(catalog),
        wall_offset_ms: from_ms - 1_000,
        batch: Batch {
            boot: BootId(1),
            from_mono_ms: 1_000,
            to_mono_ms: 1_000 + span_ms,
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(from_ms - 1_000),
            catalog: Catalog::hash(&catalog.encode()),
            axes: vec![Axis {
                step_ms,
                times,
                columns,
            }],
        },
        received_unix_ms: from_ms,
    })
}

struct Fixture {
    dir: tempfile::TempDir,
    rules: Vec<AlertRule>,
    archive: Archive,
    next: u32,
}

impl Fixture {
    fn new(rules: Vec<AlertRule>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = open(dir.path(), &rules);
        Self {
            dir,
            rules,
            archive,
            next: 0,
        }
    }

    /// As after a crash: everything in memory is gone.
    fn reopen(&mut self) {
        // The lock goes with the process.
        self.archive._lock.unlock().unwrap();
        self.archive = open(self.dir.path(), &self.rules);
    }

    fn entry(&mut self, changes: Vec<Change>) -> LogEntry {
        self.next += 1;
        LogEntry {
            position: LogPosition {
                segment: 1,
                offset: self.next,
            },
            chain: self.next,
            changes,
        }
    }

    fn apply(&mut self, changes: Vec<Change>) -> Applied {
        let entry = self.entry(changes);
        self.archive.apply(&coop(), &[entry]).unwrap()
    }

    fn points(&self, channel: usize, from_ms: i64, to_ms: i64, points: u32) -> SeriesPoints {
        let reader = self.archive.reader();
        reader
            .points(&coop(), &series(channel), from_ms, to_ms, points)
            .unwrap()
            .unwrap()
    }

    fn alerts(&self) -> Vec<(String, i64, Option<i64>)> {
        let house = "house".parse().unwrap();
        let all = self
            .archive
            .reader()
            .alerts(&coop(), &house, 0, i64::MAX)
            .unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let row = |a: &serde_json::Value| {
            (
                text(&a["state"]),
                a["started_ms"].as_i64().unwrap(),
                a["ended_ms"].as_i64(),
            )
        };
        all.iter().map(row).collect()
    }
}

fn open(dir: &Path, rules: &[AlertRule]) -> Archive {
    let setup = CooperativeSetup {
        id: coop(),
        rules: rules.to_vec(),
    };
    Archive::open_with(
        dir,
        &[setup],
        LiveHub::default(),
        &Metrics::default(),
        SMALL,
    )
    .unwrap()
}

fn good(values: &[i64]) -> Vec<Sample> {
    values.iter().copied().map(Sample::good).collect()
}

fn heat() -> AlertRule {
    AlertRule {
        id: "heat".parse().unwrap(),
        greenhouse: None,
        device: None,
        channel: CHANNELS[0].parse().unwrap(),
        severity: Severity::Warning,
        rule: Rule::new(
            Condition::Above {
                limit: 35.0,
                clear: 33.5,
            },
            60_000,
        )
        .unwrap(),
    }
}

/// Everything a model says about a range, computed plainly.
fn expected_points(model: &Model, channel: usize, answer: &SeriesPoints) -> Vec<Point> {
    let empty = BTreeMap::new();
    let rows = model
        .get(&series(channel))
        .unwrap_or(&empty)
        .range(answer.from_ms..answer.to_ms);
    let value = |m: i64| m as f64 / 100.0;
    if answer.bucket_ms == 0 {
        let raw = rows.map(|(time, (mantissa, quality))| {
            let good = mantissa.filter(|_| *quality == Quality::Good);
            let count = u64::from(good.is_some());
            Point {
                time_ms: *time,
                values: good.map(|m| [value(m); 3]),
                count,
            }
        });
        return raw.collect();
    }
    let mut buckets: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (time, (mantissa, quality)) in rows {
        if let Some(mantissa) = mantissa.filter(|_| *quality == Quality::Good) {
            buckets
                .entry(time - time.rem_euclid(answer.bucket_ms))
                .or_default()
                .push(mantissa);
        }
    }
    let point = |(time_ms, values): (i64, Vec<i64>)| Point {
        time_ms,
        values: Some([
            value(*values.iter().min().unwrap()),
            values.iter().sum::<i64>() as f64 / values.len() as f64 / 100.0,
            value(*values.iter().max().unwrap()),
        ]),
        count: values.len() as u64,
    };
    buckets.into_iter().map(point).collect()
}

fn into_model(model: &mut Model, change: &Change, factor: i64) {
    let Change::Readings(readings) = change else {
        return;
    };
    for axis in &readings.batch.axes {
        for column in &axis.columns {
            let rows = model
                .entry(series(usize::from(column.channel)))
                .or_default();
            for (time, sample) in axis.times.iter().zip(&column.samples) {
                let time = i64::try_from(*time).unwrap() + readings.wall_offset_ms;
                let mantissa = sample.mantissa.map(|m| m * factor);
                rows.entry(time).or_insert((mantissa, sample.quality));
            }
        }
    }
}

#[test]
fn a_batch_is_there_at_once_and_applying_it_again_changes_nothing() {
    let mut fixture = Fixture::new(Vec::new());
    let catalog = Arc::new(catalog(-2, 10_000));
    let change = readings(
        &catalog,
        60_000,
        10_000,
        vec![(0, good(&[2500, 2510])), (1, good(&[60, 61]))],
    );
    let entry = fixture.entry(vec![change.clone()]);
    let applied = fixture
        .archive
        .apply(&coop(), std::slice::from_ref(&entry))
        .unwrap();
    assert_eq!(
        applied,
        Applied {
            readings_stored: 4,
            ..Applied::default()
        }
    );
    let again = fixture
        .archive
        .apply(&coop(), std::slice::from_ref(&entry))
        .unwrap();
    assert_eq!(
        again,
        Applied {
            entries_skipped: 1,
            ..Applied::default()
        }
    );
    fixture.reopen();
    assert_eq!(fixture.archive.position(&coop()), Some(entry.position));
    let again = fixture.archive.apply(&coop(), &[entry]).unwrap();
    assert_eq!(
        again,
        Applied {
            entries_skipped: 1,
            ..Applied::default()
        }
    );
    // The same readings in another record are duplicates.
    let twice = fixture.apply(vec![change]);
    assert_eq!(
        twice,
        Applied {
            readings_duplicate: 4,
            ..Applied::default()
        }
    );
    let answer = fixture.points(0, 0, 100_000, 100);
    let point = |time_ms, value| Point {
        time_ms,
        values: Some([value; 3]),
        count: 1,
    };
    assert_eq!(answer.points, [point(60_000, 25.0), point(70_000, 25.1)]);
    assert_eq!((answer.bucket_ms, answer.exponent), (0, -2));
    let scan = fixture.archive.reader().scan(&coop()).unwrap();
    let house: GreenhouseId = "house".parse().unwrap();
    assert_eq!(
        scan,
        BTreeMap::from([(
            house,
            Scan {
                readings: 4,
                twice: 0
            }
        )])
    );
}

#[test]
fn bad_readings_are_kept_but_are_no_numbers() {
    let mut fixture = Fixture::new(Vec::new());
    let catalog = Arc::new(catalog(-2, 10_000));
    let samples = vec![
        Sample::good(2500),
        Sample {
            quality: Quality::Failed,
            mantissa: None,
        },
        Sample {
            quality: Quality::Spike,
            mantissa: Some(9000),
        },
    ];
    fixture.apply(vec![readings(&catalog, 0, 10_000, vec![(0, samples)])]);
    let raw = fixture.points(0, 0, 60_000, 100).points;
    let none = |time_ms| Point {
        time_ms,
        values: None,
        count: 0,
    };
    let first = Point {
        time_ms: 0,
        values: Some([25.0; 3]),
        count: 1,
    };
    assert_eq!(raw, [first, none(10_000), none(20_000)]);
    let bucket = fixture.points(0, 0, 60_000, 1).points;
    assert_eq!(bucket, [first]);
    let house = "house".parse().unwrap();
    let latest = fixture.archive.reader().latest(&coop(), &house).unwrap();
    let sht = latest
        .iter()
        .find(|latest| latest.series == series(0))
        .unwrap();
    assert_eq!(sht.newest, Some((20_000, 9000, Quality::Spike)));
    assert_eq!(sht.good, Some((0, 2500)));
}

#[test]
fn latest_values_survive_a_crash_at_every_point() {
    let mut fixture = Fixture::new(Vec::new());
    let catalog = Arc::new(catalog(-2, 10_000));
    let house = "house".parse().unwrap();
    for n in 0..10 {
        let value = 2500 + n;
        fixture.apply(vec![readings(
            &catalog,
            n * 10_000,
            10_000,
            vec![(0, good(&[value]))],
        )]);
        let before = fixture.archive.reader().latest(&coop(), &house).unwrap();
        fixture.reopen();
        let after = fixture.archive.reader().latest(&coop(), &house).unwrap();
        assert_eq!(before, after);
        let sht = after
            .iter()
            .find(|latest| latest.series == series(0))
            .unwrap();
        assert_eq!(sht.newest, Some((n * 10_000, value, Quality::Good)));
        assert_eq!(&*sht.device_name, "Trong nhà");
    }
}

#[test]
fn a_finer_exponent_rescales_what_is_there() {
    let mut fixture = Fixture::new(Vec::new());
    let coarse = Arc::new(catalog(-1, 10_000));
    let fine = Arc::new(catalog(-2, 10_000));
    for n in 0..5 {
        fixture.apply(vec![readings(
            &coarse,
            n * 10_000,
            10_000,
            vec![(0, good(&[250 + n]))],
        )]);
    }
    fixture.apply(vec![readings(
        &fine,
        50_000,
        10_000,
        vec![(0, good(&[2555]))],
    )]);
    fixture.apply(vec![readings(
        &coarse,
        60_000,
        10_000,
        vec![(0, good(&[256]))],
    )]);
    let values: Vec<f64> = fixture
        .points(0, 0, 70_000, 100)
        .points
        .iter()
        .map(|p| p.values.unwrap()[0])
        .collect();
    assert_eq!(values, [25.0, 25.1, 25.2, 25.3, 25.4, 25.55, 25.6]);
    fixture.reopen();
    let house = "house".parse().unwrap();
    let latest = fixture.archive.reader().latest(&coop(), &house).unwrap();
    let sht = latest
        .iter()
        .find(|latest| latest.series == series(0))
        .unwrap();
    assert_eq!(
        (sht.exponent, sht.newest),
        (-2, Some((60_000, 2560, Quality::Good)))
    );
}

#[test]
fn a_finer_exponent_without_readings_rescales_the_newest_over_a_restart() {
    let mut fixture = Fixture::new(Vec::new());
    let coarse = Arc::new(catalog(-1, 10_000));
    for n in 0..3 {
        let column = vec![(0, good(&[250]))];
        fixture.apply(vec![readings(&coarse, n * 10_000, 10_000, column)]);
    }
    // Of the other channels only: the first one's newest stays in its row.
    let fine = Arc::new(catalog(-2, 10_000));
    let column = vec![(1, good(&[2555]))];
    fixture.apply(vec![readings(&fine, 30_000, 10_000, column)]);
    let house = "house".parse().unwrap();
    for _ in 0..2 {
        let latest = fixture.archive.reader().latest(&coop(), &house).unwrap();
        let sht = latest.iter().find(|one| one.series == series(0)).unwrap();
        assert_eq!((sht.exponent, sht.good), (-2, Some((20_000, 2500))));
        fixture.reopen();
    }
}

#[test]
fn a_finer_exponent_rescales_what_still_waits() {
    let mut fixture = Fixture::new(Vec::new());
    let coarse = Arc::new(catalog(-1, 10_000));
    let fine = Arc::new(catalog(-2, 10_000));
    fixture.apply(vec![readings(&coarse, 0, 10_000, vec![(0, good(&[1]))])]);
    // A duplicate: nothing of it is stored, but its catalog is finer.
    fixture.apply(vec![readings(&fine, 0, 10_000, vec![(0, good(&[0]))])]);
    let point = Point {
        time_ms: 0,
        values: Some([0.1; 3]),
        count: 1,
    };
    assert_eq!(fixture.points(0, 0, 10_000, 100).points, [point]);
}

#[test]
fn what_no_series_can_hold_goes_to_the_dead_letters() {
    let mut fixture = Fixture::new(Vec::new());
    let known = Arc::new(catalog(-2, 10_000));
    fixture.apply(vec![readings(&known, 0, 10_000, vec![(0, good(&[2500]))])]);
    let mut other = catalog(-2, 10_000);
    other.channels[0].unit = "degF".into();
    let other = Arc::new(other);
    let columns = vec![(0, good(&[7700, 7710])), (1, good(&[60, 61]))];
    let applied = fixture.apply(vec![readings(&other, 10_000, 10_000, columns)]);
    assert_eq!((applied.readings_stored, applied.readings_refused), (2, 2));
    let huge = fixture.apply(vec![readings(
        &known,
        50_000,
        10_000,
        vec![(1, good(&[i64::MAX]))],
    )]);
    assert_eq!((huge.readings_stored, huge.readings_refused), (0, 1));
    let gateway = "gw-01".parse().unwrap();
    let aside = fixture.archive.reader().set_aside(&coop()).unwrap();
    assert_eq!(aside[&gateway], reader::SetAside { dead: 2, parked: 0 });
}

#[test]
fn parked_records_catalogs_and_mappings_come_back_after_a_restart() {
    let mut fixture = Fixture::new(Vec::new());
    let record = RecordName {
        stream: StreamId(u64::MAX),
        seq: Seq(7),
    };
    let parked = ParkedRecord {
        gateway: "gw-01".parse().unwrap(),
        record,
        reason: ParkReason::Mapping(BootId(9)),
        bytes: Bytes::from_static(b"abc"),
        received_unix_ms: 5,
    };
    let catalog = catalog(-2, 10_000);
    let body = catalog.encode();
    let hash = Catalog::hash(&body);
    let mapping = ClockMapping {
        boot: BootId(9),
        wall_offset_ms: -4,
        error_ms: 20,
        state: ClockState::Estimated,
    };
    let gateway: GatewayId = "gw-01".parse().unwrap();
    let map = |mapping| Change::Mapping {
        gateway: gateway.clone(),
        mapping,
        received_unix_ms: 5,
    };
    fixture.apply(vec![
        Change::Parked(parked.clone()),
        Change::Catalog {
            gateway: gateway.clone(),
            hash,
            body: body.clone(),
            catalog: Arc::new(catalog),
            received_unix_ms: 5,
        },
        map(mapping),
        map(ClockMapping {
            wall_offset_ms: 99,
            ..mapping
        }),
    ]);
    fixture.reopen();
    assert_eq!(fixture.archive.parked(&coop()).unwrap(), [parked]);
    assert_eq!(
        fixture.archive.catalogs(&coop()).unwrap(),
        [(gateway.clone(), hash, body)]
    );
    assert_eq!(
        fixture.archive.mappings(&coop()).unwrap(),
        [(gateway, mapping)]
    );
    let house = &fixture.archive.reader().greenhouses(&coop()).unwrap()[0];
    assert_eq!(
        (house.id.as_str(), house.name.as_str()),
        ("house", "Nhà lưới 1")
    );
    fixture.apply(vec![Change::Unparked { record }]);
    assert_eq!(fixture.archive.parked(&coop()).unwrap(), []);
}

#[test]
fn an_alert_its_state_and_its_message_commit_with_the_readings() {
    let mut fixture = Fixture::new(vec![heat()]);
    let catalog = Arc::new(catalog(-2, 10_000));
    let minute =
        |n: i64, value: i64| readings(&catalog, n * 60_000, 60_000, vec![(0, good(&[value]))]);
    fixture.apply(vec![minute(10, 3600)]);
    assert_eq!(fixture.alerts(), [("pending".to_owned(), 600_000, None)]);
    fixture.reopen();
    let fired = fixture.entry(vec![minute(11, 3620)]);
    assert_eq!(
        fixture
            .archive
            .apply(&coop(), std::slice::from_ref(&fired))
            .unwrap()
            .alert_transitions,
        1
    );
    fixture.reopen();
    fixture.archive.apply(&coop(), &[fired]).unwrap();
    assert_eq!(fixture.alerts(), [("firing".to_owned(), 600_000, None)]);
    // Late cool readings change nothing; a live one ends it.
    let late = fixture.apply(vec![minute(5, 2000)]);
    assert_eq!((late.readings_late, late.alert_samples_ignored), (1, 1));
    assert_eq!(late.alert_transitions, 0);
    assert_eq!(fixture.alerts(), [("firing".to_owned(), 600_000, None)]);
    fixture.apply(vec![minute(12, 3300)]);
    assert_eq!(
        fixture.alerts(),
        [("resolved".to_owned(), 600_000, Some(720_000))]
    );
    let outbox = fixture.archive.reader().outbox(&coop(), 10).unwrap();
    let states: Vec<serde_json::Value> = outbox
        .iter()
        .map(|m| serde_json::from_str::<serde_json::Value>(&m.body).unwrap()["state"].take())
        .collect();
    assert_eq!(states, ["firing", "resolved"]);
    let fate = reader::MessageFate::Sent { now_ms: 1 };
    fixture
        .archive
        .reader()
        .mark_message(&coop(), outbox[0].id, &fate)
        .unwrap();
    let fate = reader::MessageFate::GivenUp { reason: "x".into() };
    fixture
        .archive
        .reader()
        .mark_message(&coop(), outbox[1].id, &fate)
        .unwrap();
    assert_eq!(fixture.archive.reader().outbox(&coop(), 10).unwrap(), []);
}

#[test]
fn a_channel_that_gives_nothing_is_absent_because_its_batch_covers_the_time() {
    let rule = AlertRule {
        id: "silent".parse().unwrap(),
        rule: Rule::new(Condition::Absent, 60_000).unwrap(),
        ..heat()
    };
    let mut fixture = Fixture::new(vec![rule]);
    let catalog = Arc::new(catalog(-2, 10_000));
    for n in 0..3 {
        fixture.apply(vec![readings(
            &catalog,
            n * 60_000,
            60_000,
            vec![(1, good(&[60]))],
        )]);
    }
    assert_eq!(fixture.alerts(), [("firing".to_owned(), 0, None)]);
}

#[test]
fn a_rule_that_is_gone_or_changed_ends_its_alert() {
    let mut fixture = Fixture::new(vec![heat()]);
    let catalog = Arc::new(catalog(-2, 10_000));
    fixture.apply(vec![readings(
        &catalog,
        0,
        60_000,
        vec![(0, good(&[3600, 3600]))],
    )]);
    assert_eq!(fixture.alerts(), [("firing".to_owned(), 0, None)]);
    fixture.rules.clear();
    fixture.reopen();
    assert_eq!(
        fixture.alerts(),
        [("resolved".to_owned(), 0, Some(120_000))]
    );
}

#[test]
fn another_cooperatives_file_is_not_opened_under_this_name() {
    let mut fixture = Fixture::new(Vec::new());
    fixture.archive.make_durable().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let other: CooperativeId = "other".parse().unwrap();
    std::fs::copy(
        file_of(fixture.dir.path(), &coop()),
        file_of(dir.path(), &other),
    )
    .unwrap();
    let setup = CooperativeSetup {
        id: other,
        rules: Vec::new(),
    };
    let (live, metrics) = (LiveHub::default(), Metrics::default());
    let archive = Archive::open(dir.path(), &[setup], live, &metrics).unwrap();
    let other: CooperativeId = "other".parse().unwrap();
    assert!(archive.is_out(&other));
    let error = archive.catalogs(&other).unwrap_err();
    assert!(matches!(error, ArchiveError::OutOfService(_)), "{error}");
}

#[test]
fn a_reader_that_takes_its_time_does_not_keep_the_log_from_letting_go() {
    let mut fixture = Fixture::new(Vec::new());
    let catalog = Arc::new(catalog(-2, 10_000));
    let batch = |n: i64| readings(&catalog, n * 10_000, 10_000, vec![(0, good(&[2500]))]);
    fixture.apply(vec![batch(0)]);
    let path = file_of(fixture.dir.path(), &coop());
    let mut slow = rusqlite::Connection::open(path).unwrap();
    let snapshot = slow.transaction().unwrap();
    let count = |db: &rusqlite::Connection| -> i64 {
        db.query_row("SELECT COUNT(*) FROM pending", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(&snapshot), 1);
    fixture.apply(vec![batch(1)]);
    // It used to wait five seconds here, and to fail then.
    fixture.archive.make_durable().unwrap();
    assert_eq!(count(&snapshot), 1);
}

#[test]
fn the_logs_checksum_is_kept_with_the_position_and_only_with_it() {
    let mut fixture = Fixture::new(Vec::new());
    assert_eq!(fixture.archive.chain(&coop()), None);
    let mut entries: Vec<_> = (0..3).map(|_| fixture.entry(Vec::new())).collect();
    entries[2].chain = u32::MAX;
    fixture.archive.apply(&coop(), &entries).unwrap();
    // One that is applied already changes nothing.
    entries[1].chain = 99;
    fixture.archive.apply(&coop(), &entries[..2]).unwrap();
    for _ in 0..2 {
        let known = (
            fixture.archive.position(&coop()),
            fixture.archive.chain(&coop()),
        );
        assert_eq!(known, (Some(entries[2].position), Some(u32::MAX)));
        fixture.reopen();
    }
    // A program that does not know the checksum moves the position alone.
    let older = rusqlite::Connection::open(file_of(fixture.dir.path(), &coop())).unwrap();
    older
        .execute("UPDATE about SET position = position + 1", [])
        .unwrap();
    fixture.reopen();
    assert_eq!(fixture.archive.chain(&coop()), None);
}

#[test]
fn a_failed_group_leaves_nothing_behind() {
    let mut fixture = Fixture::new(Vec::new());
    let catalog = Arc::new(catalog(-2, 10_000));
    fixture.apply(vec![readings(
        &catalog,
        0,
        10_000,
        vec![(0, good(&[2500]))],
    )]);
    // The second change fails in SQLite: the table it needs is gone.
    let side = rusqlite::Connection::open(file_of(fixture.dir.path(), &coop())).unwrap();
    side.execute_batch("ALTER TABLE mapping RENAME TO hidden")
        .unwrap();
    let mapping = ClockMapping {
        boot: BootId(9),
        wall_offset_ms: 0,
        error_ms: 0,
        state: ClockState::Repaired,
    };
    let gateway = "gw-01".parse().unwrap();
    let entry = fixture.entry(vec![
        readings(&catalog, 10_000, 10_000, vec![(0, good(&[2600]))]),
        Change::Mapping {
            gateway,
            mapping,
            received_unix_ms: 0,
        },
    ]);
    assert!(
        fixture
            .archive
            .apply(&coop(), std::slice::from_ref(&entry))
            .is_err()
    );
    assert!(!fixture.archive.reader().writable());
    assert_eq!(fixture.points(0, 0, 60_000, 100).points.len(), 1);
    side.execute_batch("ALTER TABLE hidden RENAME TO mapping")
        .unwrap();
    let applied = fixture.archive.apply(&coop(), &[entry]).unwrap();
    assert_eq!(
        (applied.readings_stored, applied.readings_duplicate),
        (1, 0)
    );
    assert!(fixture.archive.reader().writable());
    assert_eq!(fixture.points(0, 0, 60_000, 100).points.len(), 2);
}

#[test]
fn damaged_blobs_are_set_aside_and_stop_nothing() {
    let mut fixture = Fixture::new(Vec::new());
    let catalog = Arc::new(catalog(-2, 100));
    let hour = |n: i64, from: i64| {
        readings(
            &catalog,
            n * 3_600_000 + from,
            100,
            vec![(0, good(&[2500, 2500]))],
        )
    };
    for n in 0..12 {
        fixture.apply(vec![hour(n, 0)]);
    }
    let side = rusqlite::Connection::open(file_of(fixture.dir.path(), &coop())).unwrap();
    let damage = |sql: &str| assert!(side.execute(sql, []).unwrap() > 0, "{sql}");
    damage("UPDATE chunk SET body = zeroblob(30) WHERE window = 2");
    damage("UPDATE minutes SET body = zeroblob(30) WHERE window = 3");
    damage("UPDATE part SET body = zeroblob(30) WHERE window = 11");
    let count = |fixture: &Fixture, points| {
        fixture
            .points(0, 0, 100_000_000, points)
            .points
            .iter()
            .map(|p| p.count)
            .sum::<u64>()
    };
    // The roll-up of window 2 is still good.
    assert_eq!((count(&fixture, 10_000), count(&fixture, 500)), (20, 22));
    // Late data makes the writer look at the damaged window; what was lost there may come again.
    let applied = fixture.apply(vec![hour(2, 0), hour(2, 5000)]);
    assert_eq!(
        (applied.readings_stored, applied.readings_duplicate),
        (4, 0)
    );
    for n in 12..24 {
        fixture.apply(vec![hour(n, 0)]);
    }
    assert_eq!((count(&fixture, 10_000), count(&fixture, 500)), (48, 48));
    let aside: u32 = side
        .query_row("SELECT COUNT(*) FROM damaged", [], |row| row.get(0))
        .unwrap();
    assert_eq!(aside, 2);
    damage("UPDATE pending SET body = zeroblob(30)");
    fixture.reopen();
    fixture.apply(vec![hour(30, 0), hour(31, 0), hour(32, 0)]);
    assert_eq!(
        fixture
            .points(0, 29 * 3_600_000, 33 * 3_600_000, 100)
            .points
            .len(),
        3
    );
}

/// One step of the property test.
#[derive(Debug, Clone)]
enum Step {
    Batch {
        slot: i64,
        columns: Vec<(u16, Vec<Sample>)>,
        fine: bool,
    },
    Reopen,
}

fn samples() -> impl Strategy<Value = Sample> {
    prop_oneof![
        6 => (-500i64..500).prop_map(Sample::good),
        1 => Just(Sample { quality: Quality::Failed, mantissa: None }),
        1 => (0i64..50).prop_map(|m| Sample { quality: Quality::OutOfRange, mantissa: Some(m) }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let columns = (1usize..6).prop_flat_map(|length| {
        let column = prop::collection::vec(samples(), length);
        prop::collection::btree_map(0u16..3, column, 1..4)
            .prop_map(|columns| columns.into_iter().collect::<Vec<_>>())
    });
    let slot = prop_oneof![3 => 0i64..40, 1 => 0i64..4000];
    let batch =
        (slot, columns, prop::bool::weighted(0.1)).prop_map(|(slot, columns, fine)| Step::Batch {
            slot,
            columns,
            fine,
        });
    prop::collection::vec(prop_oneof![12 => batch, 1 => Just(Step::Reopen)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_plain_map_whatever_the_order(steps in steps(), group in 1usize..4) {
        let mut fixture = Fixture::new(Vec::new());
        let mut model = Model::new();
        // A tenth of a second: windows of one hour, so that few readings make many windows.
        let coarse = Arc::new(catalog(-1, 100));
        let fine_one = Arc::new(catalog(-2, 100));
        let mut waiting = Vec::new();
        let mut applied = Applied::default();
        let mut given = 0;
        for step in steps {
            match step {
                Step::Batch { slot, columns, fine } => {
                    let catalog = if fine { &fine_one } else { &coarse };
                    let change = readings(catalog, slot * 25_000, 10_000, columns);
                    into_model(&mut model, &change, if fine { 1 } else { 10 });
                    if let Change::Readings(readings) = &change {
                        given += readings.batch.readings() as u64;
                    }
                    let entry = fixture.entry(vec![change]);
                    waiting.push(entry);
                    if waiting.len() >= group {
                        applied.add(fixture.archive.apply(&coop(), &waiting).unwrap());
                        // Every second entry is offered again, as after a crash of the consumer.
                        waiting.truncate(1);
                        let again = fixture.archive.apply(&coop(), &waiting).unwrap();
                        prop_assert_eq!(again.entries_skipped, waiting.len() as u64);
                        waiting.clear();
                    }
                }
                Step::Reopen => fixture.reopen(),
            }
        }
        applied.add(fixture.archive.apply(&coop(), &waiting).unwrap());
        let stored: u64 = model.values().map(|rows| rows.len() as u64).sum();
        prop_assert_eq!(applied.readings_stored, stored);
        prop_assert_eq!(applied.readings_duplicate, given - stored);
        let scan = fixture.archive.reader().scan(&coop()).unwrap();
        let total: u64 = scan.values().map(|scan| scan.readings).sum();
        prop_assert_eq!(total, stored);
        prop_assert!(scan.values().all(|scan| scan.twice == 0));
        let refined = fixture.archive.reader().latest(&coop(), &"house".parse().unwrap()).unwrap();
        for channel in 0..3 {
            if !model.contains_key(&series(channel)) {
                continue;
            }
            let exponent = refined.iter().find(|l| l.series == series(channel)).unwrap().exponent;
            for (from_ms, to_ms, points) in
                [(0, 110_000_000, 1_200_000), (0, 110_000_000, 1000), (900_000, 1_000_000, 10),
                 (0, 110_000_000, 30), (0, 110_000_000, 2)]
            {
                let answer = fixture.points(channel, from_ms, to_ms, points);
                prop_assert_eq!(answer.exponent, exponent);
                prop_assert!(answer.points.len() <= points as usize + 1);
                let expected = expected_points(&model, channel, &answer);
                prop_assert_eq!(answer.points.len(), expected.len());
                for (got, want) in answer.points.iter().zip(&expected) {
                    prop_assert_eq!((got.time_ms, got.count), (want.time_ms, want.count));
                    prop_assert_eq!(got.values.is_some(), want.values.is_some());
                    let pairs = got.values.into_iter().flatten().zip(want.values.into_iter().flatten());
                    for (got, want) in pairs {
                        prop_assert!((got - want).abs() < 1e-9, "{got} {want}");
                    }
                }
            }
        }
        let mut exported = Model::new();
        fixture.archive.reader().export::<ArchiveError>(&coop(), |_| true, (0, i64::MAX), |row| {
            let factor = if row.value.is_some_and(|v| v.exponent == -1) { 10 } else { 1 };
            let value = row.value.map(|value| value.mantissa * factor);
            let rows = exported.entry(row.series.clone()).or_default();
            assert_eq!(rows.insert(row.time_ms, (value, row.quality)), None);
            Ok(())
        }).unwrap();
        prop_assert_eq!(exported, model);
    }
}
