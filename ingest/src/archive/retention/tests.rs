use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, ClockState, Column, CooperativeId, Quality,
    RecordName, Sample, Seq, SeriesId, StreamId,
};

use super::*;
use crate::archive::{
    Archive, Change, CooperativeSetup, LiveHub, LogEntry, LogPosition, Point, Readings,
};
use crate::metrics::Metrics;
use crate::store::{Reading, Run, Span};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: u32 = 3_600_000;

fn coop() -> CooperativeId {
    "hoa-binh".parse().unwrap()
}

fn series(channel: &str) -> SeriesId {
    SeriesId {
        greenhouse: "house".parse().unwrap(),
        device: "sht".parse().unwrap(),
        channel: channel.parse().unwrap(),
    }
}

fn days(readings: Option<i64>, minutes: Option<i64>, hours: Option<i64>) -> Retention {
    let days = |days: Option<i64>| days.map(|days| days * DAY_MS);
    Retention {
        readings_ms: days(readings),
        minutes_ms: days(minutes),
        hours_ms: days(hours),
    }
}

struct Site {
    dir: tempfile::TempDir,
    archive: Archive,
    retention: Retention,
    next: u32,
}

fn open(dir: &Path, retention: Retention) -> Archive {
    let setup = CooperativeSetup {
        id: coop(),
        rules: Vec::new(),
    };
    let (live, metrics) = (LiveHub::default(), Metrics::default());
    let mut archive = Archive::open(dir, &[setup], live, &metrics).unwrap();
    archive.keep(&coop(), retention);
    archive
}

impl Site {
    /// Ten days at 10 s of one series, and at two hours of another.
    fn new(retention: Retention) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = open(dir.path(), retention);
        let mut site = Self {
            dir,
            archive,
            retention,
            next: 0,
        };
        for day in 0..10 {
            let span = day * DAY_MS..(day + 1) * DAY_MS;
            site.import("often", span.clone(), 10_000);
            site.import("seldom", span, 7_200_000);
        }
        site
    }

    fn import(&mut self, channel: &str, span: Range<i64>, step_ms: usize) {
        let reading = |time_ms: i64| Reading {
            time_ms,
            value: Some(
                format!("{}.{}", time_ms / 60_000 % 40, time_ms / 10_000 % 7)
                    .parse()
                    .unwrap(),
            ),
            quality: Quality::Good,
        };
        let run = Run {
            series: series(channel),
            unit: "u".to_owned(),
            readings: span.step_by(step_ms).map(reading).collect(),
        };
        self.archive
            .import(self.dir.path(), &coop(), &[run])
            .unwrap();
    }

    /// A batch of two readings of the first series.
    fn apply(&mut self, time_ms: i64, received_unix_ms: i64) -> Applied {
        let catalog = Arc::new(Catalog {
            greenhouse: "house".parse().unwrap(),
            greenhouse_name: String::new(),
            software: "1".to_owned(),
            devices: Vec::new(),
            channels: vec![CatalogChannel {
                device: "sht".parse().unwrap(),
                channel: "often".parse().unwrap(),
                unit: "u".to_owned(),
                exponent: -1,
                interval_ms: 10_000,
                name: String::new(),
            }],
            zones: Vec::new(),
        });
        self.next += 1;
        let samples = vec![Sample::good(205), Sample::good(206)];
        let columns = vec![Column {
            channel: 0,
            samples,
        }];
        let readings = Readings {
            gateway: "gw-01".parse().unwrap(),
            greenhouse: "house".parse().unwrap(),
            record: RecordName {
                stream: StreamId(1),
                seq: Seq(self.next.into()),
            },
            wall_offset_ms: time_ms,
            batch: Batch {
                boot: BootId(1),
                from_mono_ms: 0,
                to_mono_ms: 20_000,
                clock: ClockState::Synchronised,
                wall_offset_ms: Some(time_ms),
                catalog: Catalog::hash(&catalog.encode()),
                axes: vec![Axis {
                    step_ms: 10_000,
                    times: vec![0, 10_000],
                    columns,
                }],
            },
            catalog,
            received_unix_ms,
        };
        let entry = LogEntry {
            position: LogPosition {
                segment: 1,
                offset: self.next,
            },
            chain: 0,
            changes: vec![Change::Readings(readings)],
        };
        self.archive.apply(&coop(), &[entry]).unwrap()
    }

    fn reopen(&mut self) {
        self.archive._lock.unlock().unwrap();
        self.archive = open(self.dir.path(), self.retention);
    }

    fn buckets(&self, channel: &str, days: Range<i64>, bucket_ms: u32) -> Vec<Point> {
        let span = Span {
            from_ms: days.start * DAY_MS,
            to_ms: days.end * DAY_MS,
        };
        let reader = self.archive.reader();
        let answer = reader.buckets(&coop(), &series(channel), span, bucket_ms);
        answer.unwrap().unwrap()
    }

    /// Days that have readings.
    fn days(&self, channel: &str) -> Vec<i64> {
        let ever = Span {
            from_ms: i64::MIN,
            to_ms: i64::MAX,
        };
        let readings = self
            .archive
            .reader()
            .readings(&coop(), &series(channel), ever)
            .unwrap();
        let mut days: Vec<_> = readings
            .iter()
            .map(|r| r.time_ms.div_euclid(DAY_MS))
            .collect();
        days.dedup();
        days
    }

    fn check_verifies(&self) {
        let reader = self.archive.reader();
        let verified = reader
            .verify(&coop(), |_, _| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(verified.findings, []);
    }
}

const NOW_MS: i64 = 10 * DAY_MS;

#[test]
fn each_resolution_goes_in_its_time_and_charts_are_made_of_what_is_left() {
    let mut site = Site::new(days(Some(3), Some(6), None));
    let hours = site.buckets("often", 0..10, HOUR_MS);
    let minutes = site.buckets("often", 4..10, 60_000);
    let applied = site.apply(NOW_MS, NOW_MS);
    assert_eq!(applied.readings_given_up, 7 * 8640);
    assert_eq!(site.days("often"), [7, 8, 9, 10]);
    assert_eq!(site.buckets("often", 0..10, HOUR_MS), hours);
    assert_eq!(site.buckets("often", 4..10, 60_000), minutes);
    assert_eq!(site.buckets("often", 0..4, 60_000), []);
    let points = |from_ms, to_ms, points| {
        let reader = site.archive.reader();
        let answer = reader.points(&coop(), &series("often"), from_ms, to_ms, points);
        let answer = answer.unwrap().unwrap();
        (answer.bucket_ms, answer.points.len())
    };
    assert_eq!(
        points(0, 10 * DAY_MS, 1000),
        (3_600_000, 240),
        "not quarters"
    );
    assert_eq!(points(0, DAY_MS / 24, 1000), (3_600_000, 1), "not readings");
    assert_eq!(
        points(5 * DAY_MS, 5 * DAY_MS + 3_600_000, 1000),
        (60_000, 60)
    );
    assert_eq!(points(8 * DAY_MS, 8 * DAY_MS + 3_600_000, 1000), (0, 360));
    site.check_verifies();
    // The next entries find nothing more to do.
    assert_eq!(site.apply(NOW_MS + 20_000, NOW_MS).readings_given_up, 0);
}

#[test]
fn hours_go_last_and_a_series_that_is_sampled_seldom_keeps_them_too() {
    let mut site = Site::new(days(Some(3), Some(3), Some(6)));
    // Windows of this one are 64 days long: it keeps all.
    let seldom = site.buckets("seldom", 0..10, HOUR_MS);
    site.apply(NOW_MS, NOW_MS);
    assert_eq!(site.buckets("seldom", 0..10, HOUR_MS), seldom);
    let starts = site.buckets("often", 0..10, HOUR_MS);
    assert_eq!(starts.first().map(|point| point.time_ms), Some(4 * DAY_MS));
    assert_eq!(
        (starts.len(), site.days("often").first()),
        (6 * 24, Some(&7))
    );
    // A hundred days on, its window goes, too; its hours stay though there is one reading in each.
    site.retention = days(Some(3), Some(3), None);
    site.archive.keep(&coop(), site.retention);
    site.apply(100 * DAY_MS, 100 * DAY_MS);
    assert_eq!(site.days("seldom"), Vec::<i64>::new());
    assert_eq!(site.buckets("seldom", 0..10, HOUR_MS), seldom);
    site.check_verifies();
}

#[test]
fn what_comes_late_is_taken_and_goes_with_the_next_sweep_unless_its_window_was_given_up() {
    let mut site = Site::new(days(Some(3), None, None));
    site.apply(NOW_MS, NOW_MS);
    let hours = site.buckets("often", 0..10, HOUR_MS);
    for _ in 0..2 {
        let late = site.apply(2 * DAY_MS + 5_000, NOW_MS);
        assert_eq!((late.readings_stored, late.readings_behind), (0, 2));
        assert_eq!(site.buckets("often", 0..10, HOUR_MS), hours);
        site.reopen();
    }
    // Nothing is known of that time, so it is taken.
    let older = site.apply(-5 * DAY_MS, NOW_MS);
    assert_eq!((older.readings_stored, older.readings_behind), (2, 0));
    assert_eq!(site.days("often"), [-5, 7, 8, 9, 10]);
    let point = site.buckets("often", -5..0, HOUR_MS);
    assert_eq!(point.len(), 1);
    let later = site.apply(NOW_MS + DAY_MS, NOW_MS + DAY_MS);
    assert_eq!(later.readings_given_up, 8640 + 2);
    assert_eq!(site.days("often"), [8, 9, 10, 11]);
    assert_eq!(site.buckets("often", -5..0, HOUR_MS), point);
    assert_eq!(site.apply(-5 * DAY_MS + 5_000, NOW_MS).readings_behind, 2);
    site.check_verifies();
}

#[test]
fn a_clock_that_is_years_ahead_deletes_nothing() {
    let mut site = Site::new(days(Some(3), Some(3), Some(3)));
    site.apply(NOW_MS, NOW_MS + 3_000 * DAY_MS);
    assert_eq!(site.days("often"), [7, 8, 9, 10]);
}

#[test]
fn nothing_goes_unless_set() {
    let mut site = Site::new(Retention::default());
    let applied = site.apply(5_000 * DAY_MS, 5_000 * DAY_MS);
    assert_eq!(
        (applied.readings_given_up, site.days("often").len()),
        (0, 11)
    );
}
