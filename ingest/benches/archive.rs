//! What the archive costs: bytes at rest per reading, time to take a reading in, time of a cold chart.
//!
//! `cargo bench -p furrow-ingest --bench archive [-- DAYS]`; 32 days unless told otherwise. The reference greenhouse: 16
//! channels every 10 s, committed every 30 s. Values follow a day, wander, and jitter by a few steps, as those
//! of the sensors do at their resolution. Cold means: the file's pages are dropped from the page cache and the
//! connection is new.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark may fail loudly"
)]
#![allow(clippy::cast_possible_truncation, reason = "made-up values are small")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use furrow_ingest::archive::{
    Archive, ArchiveReader, Change, CooperativeSetup, LiveHub, LogEntry, LogPosition, Readings,
};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::promql::{
    Budget, Frame, Labels, Plan, QueryError, Selector, Series, Source, Take, evaluate,
};
use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, ClockState, Column, CooperativeId,
    RecordName, Sample, Seq, SeriesId, StreamId,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const DAY_MS: i64 = 86_400_000;
const BATCH_MS: i64 = 30_000;
const STEP_MS: i64 = 10_000;
/// 2026-01-01 in Unix milliseconds.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// Log entries applied in one transaction: about a second of 60 greenhouses.
const GROUP: usize = 64;
const SEED: u64 = 7;

/// Name, exponent, level, daily swing, wander per step, jitter; the last four in steps of the exponent.
const CHANNELS: [(&str, i8, f64, f64, f64, f64); 16] = [
    ("air_temperature", -2, 2800.0, 500.0, 1.5, 2.0),
    ("relative_humidity", -2, 7500.0, 1200.0, 4.0, 6.0),
    ("outside_temperature", -2, 2700.0, 450.0, 1.5, 2.0),
    ("outside_humidity", -2, 7800.0, 1000.0, 4.0, 6.0),
    ("co2", 0, 480.0, 90.0, 0.8, 1.5),
    ("canopy_temperature", -2, 2750.0, 480.0, 1.5, 3.0),
    ("canopy_humidity", -2, 8000.0, 900.0, 4.0, 8.0),
    ("global_radiation", -2, 20_000.0, 30_000.0, 150.0, 40.0),
    ("tank_level", -3, 1800.0, 300.0, 0.1, 0.6),
    ("soil_moisture_1", -1, 620.0, 40.0, 0.1, 0.5),
    ("soil_moisture_2", -1, 580.0, 40.0, 0.1, 0.5),
    ("soil_temperature", -2, 2600.0, 150.0, 0.2, 1.0),
    ("root_ec", -2, 180.0, 10.0, 0.1, 0.4),
    ("water_flow", -2, 0.0, 0.0, 0.0, 0.0),
    ("zones_open", 0, 0.0, 0.0, 0.0, 0.0),
    ("battery_voltage", -3, 12_600.0, 300.0, 0.5, 2.0),
];

fn main() {
    let days: i64 = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(32);
    let dir = tempfile::tempdir().unwrap();
    let owner: CooperativeId = "bench".parse().unwrap();
    let setup = CooperativeSetup {
        id: owner.clone(),
        rules: Vec::new(),
    };
    let open = || {
        let setup = std::slice::from_ref(&setup);
        Archive::open(dir.path(), setup, LiveHub::default(), &Metrics::default()).unwrap()
    };
    let mut archive = open();
    let (readings, spent) = fill(&mut archive, &owner, days);
    archive.make_durable().unwrap();
    drop(archive);
    let bytes = file_bytes(dir.path());
    println!("seed {SEED}, {days} days, {readings} readings");
    for (table, bytes) in table_bytes(dir.path(), &owner) {
        println!(
            "  {table}: {:.3} bytes a reading",
            bytes as f64 / readings as f64
        );
    }
    println!(
        "bytes at rest per reading: {:.3} ({bytes} bytes, everything included)",
        bytes as f64 / readings as f64
    );
    println!(
        "taking in: {:.0} ns of CPU a reading, {:.0} readings/s on one thread",
        spent.as_nanos() as f64 / readings as f64,
        readings as f64 / spent.as_secs_f64()
    );
    for channel in ["air_temperature", "relative_humidity", "global_radiation"] {
        chart(dir.path(), &owner, channel, days);
    }
    prometheus(dir.path(), &owner, days);
    let begin = Instant::now();
    drop(open());
    println!("opening: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    let reader = ArchiveReader::open_dir(dir.path(), std::slice::from_ref(&owner));
    let begin = Instant::now();
    let scan = reader.scan(&owner).unwrap();
    let (count, twice) = scan
        .values()
        .fold((0, 0), |sum, s| (sum.0 + s.readings, sum.1 + s.twice));
    println!(
        "scan for duplicates: {:.0} ms, {count} readings, {twice} twice",
        begin.elapsed().as_secs_f64() * 1e3
    );
    assert_eq!((count, twice), (readings, 0));
}

/// A chart of 1,000 points by PromQL, from raw readings: one series, and all of the greenhouse.
fn prometheus(dir: &Path, owner: &CooperativeId, days: i64) {
    let reader = ArchiveReader::open_dir(dir, std::slice::from_ref(owner));
    let source = Shelf { reader, owner };
    let end_ms = BEGIN_MS + days * DAY_MS;
    let start_ms = end_ms - days.min(30) * DAY_MS;
    let frame = Frame {
        start_ms,
        end_ms,
        step_ms: (end_ms - start_ms) / 1000,
        lookback_ms: None,
    };
    let step_s = frame.step_ms / 1000;
    for query in [
        "air_temperature".to_owned(),
        format!("avg_over_time(air_temperature[{step_s}s])"),
        format!(
            "avg_over_time({{greenhouse=\"house\"}}[{step_s}s] @ end()) or avg(avg_over_time(co2[{step_s}s]))"
        ),
    ] {
        let plan = Plan::parse(&query).unwrap();
        let mut times = Vec::new();
        let mut samples = 0;
        for _ in 0..9 {
            let begin = Instant::now();
            let never = || false;
            let mut budget = Budget::new(&never);
            let value = evaluate(&plan, &frame, &source, &mut budget);
            drop(std::hint::black_box(value));
            samples = budget.samples();
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        println!(
            "promql, 1000 points of 30 days, {query}: {:.1} ms, {samples} samples",
            times[4].as_secs_f64() * 1e3
        );
    }
}

/// The archive as a source of samples, whose series are the benchmark's own.
struct Shelf<'a> {
    reader: ArchiveReader,
    owner: &'a CooperativeId,
}

impl Source for Shelf<'_> {
    fn select(&self, selector: &Selector, at_most: usize) -> Result<Vec<Series>, QueryError> {
        let series = CHANNELS.iter().map(|(channel, ..)| Series {
            id: SeriesId {
                greenhouse: "house".parse().unwrap(),
                device: "d".parse().unwrap(),
                channel: channel.parse().unwrap(),
            },
            labels: Labels::from([("__name__", *channel), ("greenhouse", "house")]),
            interval_ms: STEP_MS,
        });
        let found = series.filter(|series| selector.matches_labels(&series.labels));
        Ok(found.take(at_most).collect())
    }

    fn read(
        &self,
        series: &[Series],
        from_ms: i64,
        to_ms: i64,
        take: &mut Take<'_>,
    ) -> Result<(), QueryError> {
        let place = |id: &SeriesId| series.iter().position(|one| one.id == *id);
        let wanted = |id: &SeriesId| place(id).is_some();
        let range = (from_ms, to_ms + 1);
        self.reader
            .export(self.owner, wanted, range, |row| {
                let place = place(row.series).unwrap();
                take(place, row.time_ms, row.value.map(|value| value.to_f64()))
            })
            .map(|_| ())
    }
}

fn chart(dir: &Path, owner: &CooperativeId, channel: &str, days: i64) {
    let series = SeriesId {
        greenhouse: "house".parse().unwrap(),
        device: "d".parse().unwrap(),
        channel: channel.parse().unwrap(),
    };
    let to_ms = BEGIN_MS + days * DAY_MS;
    let mut times = Vec::new();
    for _ in 0..9 {
        drop_from_page_cache(dir);
        let reader = ArchiveReader::open_dir(dir, std::slice::from_ref(owner));
        let ask = || {
            reader
                .points(owner, &series, to_ms - 30 * DAY_MS, to_ms, 1000)
                .unwrap()
        };
        let begin = Instant::now();
        let cold = ask().unwrap();
        let cold_time = begin.elapsed();
        let begin = Instant::now();
        ask().unwrap();
        times.push((
            cold_time,
            begin.elapsed(),
            cold.points.len(),
            cold.bucket_ms,
        ));
    }
    times.sort();
    let (cold, warm, points, bucket_ms) = times.get(times.len() / 2).copied().unwrap();
    let worst = times.last().unwrap().0;
    println!(
        "30 days of {channel}: {points} points of {} min, cold {:.2} ms (worst {:.2}), warm {:.2} ms",
        bucket_ms / 60_000,
        cold.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
        warm.as_secs_f64() * 1e3
    );
}

fn fill(archive: &mut Archive, owner: &CooperativeId, days: i64) -> (u64, Duration) {
    let mut rng = StdRng::seed_from_u64(SEED);
    let catalog = Arc::new(catalog());
    let hash = Catalog::hash(&catalog.encode());
    let mut wander = [0.0f64; CHANNELS.len()];
    let (mut readings, mut spent) = (0, Duration::ZERO);
    let mut group = Vec::new();
    for n in 0..days * DAY_MS / BATCH_MS {
        let from_ms = n * BATCH_MS;
        let times: Vec<u64> = (0..BATCH_MS / STEP_MS)
            .map(|k| (from_ms + k * STEP_MS).cast_unsigned())
            .collect();
        let columns =
            (0u16..)
                .zip(CHANNELS.iter().zip(&mut wander))
                .map(|(channel, (spec, at))| {
                    let samples = times
                        .iter()
                        .map(|time| sample(&mut rng, spec, at, time.cast_signed()));
                    Column {
                        channel,
                        samples: samples.collect(),
                    }
                });
        let axis = Axis {
            step_ms: STEP_MS.cast_unsigned() as u32,
            columns: columns.collect(),
            times,
        };
        let batch = Batch {
            boot: BootId(1),
            from_mono_ms: from_ms.cast_unsigned(),
            to_mono_ms: (from_ms + BATCH_MS).cast_unsigned(),
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(BEGIN_MS),
            catalog: hash,
            axes: vec![axis],
        };
        readings += batch.readings() as u64;
        let change = Change::Readings(Readings {
            gateway: "gw-01".parse().unwrap(),
            greenhouse: "house".parse().unwrap(),
            record: RecordName {
                stream: StreamId(1),
                seq: Seq(n.cast_unsigned() + 1),
            },
            catalog: Arc::clone(&catalog),
            wall_offset_ms: BEGIN_MS,
            batch,
            received_unix_ms: BEGIN_MS + from_ms,
        });
        let position = LogPosition {
            segment: 1,
            offset: u32::try_from(n).unwrap() + 1,
        };
        group.push(LogEntry {
            position,
            chain: 0,
            changes: vec![change],
        });
        if group.len() == GROUP {
            let begin = cpu_time();
            archive.apply(owner, &group).unwrap();
            spent += cpu_time() - begin;
            group.clear();
        }
    }
    archive.apply(owner, &group).unwrap();
    (readings, spent)
}

/// Watering for ten minutes every six hours moves the two last but one channels; all others follow the day.
fn sample(
    rng: &mut StdRng,
    spec: &(&str, i8, f64, f64, f64, f64),
    wander: &mut f64,
    time_ms: i64,
) -> Sample {
    let (name, _, level, swing, step, jitter) = *spec;
    let watering = time_ms % (6 * 3_600_000) < 600_000;
    match name {
        "zones_open" => return Sample::good(i64::from(watering)),
        "water_flow" => {
            let flow = if watering {
                1200 + rng.random_range(-20..=20)
            } else {
                0
            };
            return Sample::good(flow);
        }
        _ => {}
    }
    let day = (time_ms % DAY_MS) as f64 / DAY_MS as f64 * std::f64::consts::TAU;
    *wander = *wander * 0.9995 + gauss(rng) * step;
    let value = level - swing * day.cos() + *wander + gauss(rng) * jitter;
    let value = if name == "global_radiation" {
        value.max(0.0)
    } else {
        value
    };
    Sample::good(value.round() as i64)
}

/// Sum of twelve uniform numbers: near enough to a normal distribution of deviation 1.
fn gauss(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0
}

fn catalog() -> Catalog {
    let channel = |(name, exponent, ..): &(&str, i8, f64, f64, f64, f64)| CatalogChannel {
        device: "d".parse().unwrap(),
        channel: name.parse().unwrap(),
        unit: "1".into(),
        exponent: *exponent,
        interval_ms: STEP_MS.cast_unsigned() as u32,
        name: String::new(),
    };
    Catalog {
        greenhouse: "house".parse().unwrap(),
        greenhouse_name: String::new(),
        software: String::new(),
        devices: vec![CatalogDevice {
            id: "d".parse().unwrap(),
            kind: String::new(),
            bus: String::new(),
            address: None,
            name: String::new(),
            calibration_version: 0,
        }],
        channels: CHANNELS.iter().map(channel).collect(),
        zones: Vec::new(),
    }
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    Duration::from(nix::time::clock_gettime(clock).unwrap())
}

fn table_bytes(dir: &Path, owner: &CooperativeId) -> Vec<(String, i64)> {
    let db = rusqlite::Connection::open(dir.join(format!("{owner}.sqlite"))).unwrap();
    let sql = "SELECT name, SUM(pgsize) FROM dbstat GROUP BY name HAVING SUM(pgsize) > 65536";
    let mut query = db.prepare(sql).unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn file_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

fn drop_from_page_cache(dir: &Path) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    for file in std::fs::read_dir(dir).unwrap() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    }
}
