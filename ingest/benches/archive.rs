//! What the archive costs: bytes at rest per reading, time to take a reading in, charts, exports, start-up.
//!
//! `cargo bench -p furrow-ingest --bench archive [-- DAYS]`; 32 days at 10 s unless told otherwise, and a year at 60 s.
//! The reference greenhouse: 16 channels, committed every 30 s or with each sample. Cold means: the file's pages
//! are dropped from the page cache and the connection is new. Figures are lines of JSON; other lines explain.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark may fail loudly"
)]
#![allow(clippy::cast_possible_truncation, reason = "made-up values are small")]

mod made_up;

use std::fs::File;
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
use furrow_ingest::tools::export::{ExportArgs, Format, write_all};
use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogHash, ClockState, Column, CooperativeId, RecordName, Seq,
    SeriesId, StreamId,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use made_up::{BEGIN_MS, CHANNELS, DAY_MS, SEED, catalog, cpu_time, sample, tell};

/// The gateway's usual commit.
const COMMIT_MS: i64 = 30_000;
/// Log entries applied in one transaction: about a second of 60 greenhouses.
const GROUP: usize = 64;
/// With a year of data each: what one start opens.
const COOPERATIVES: usize = 20;
const YEAR_DAYS: i64 = 365;

/// A greenhouse that is sampled so often, for so many days.
#[derive(Debug, Clone, Copy)]
struct Span {
    step_ms: i64,
    days: i64,
}

fn main() {
    let days: i64 = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(32);
    println!("seed {SEED}");
    let owner: CooperativeId = "bench".parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let span = Span {
        step_ms: 10_000,
        days,
    };
    let readings = at_rest(dir.path(), &owner, span, Some(1.2));
    charts(dir.path(), &owner, span, Some(5.0));
    exports(dir.path(), &owner, readings);
    prometheus(dir.path(), &owner, span);
    scan(dir.path(), &owner, readings);
    let year = tempfile::tempdir().unwrap();
    let span = Span {
        step_ms: 60_000,
        days: YEAR_DAYS,
    };
    at_rest(year.path(), &owner, span, None);
    charts(year.path(), &owner, span, None);
    starts(year.path(), &owner);
}

fn open(dir: &Path, owners: &[CooperativeId]) -> Archive {
    let setup = |owner: &CooperativeId| CooperativeSetup {
        id: owner.clone(),
        rules: Vec::new(),
    };
    let setups: Vec<CooperativeSetup> = owners.iter().map(setup).collect();
    Archive::open(dir, &setups, LiveHub::default(), &Metrics::default()).unwrap()
}

/// Fills an archive; tells what that cost and what lies there.
fn at_rest(dir: &Path, owner: &CooperativeId, span: Span, budget: Option<f64>) -> u64 {
    let Span { step_ms, days } = span;
    let step_s = step_ms / 1000;
    let mut archive = open(dir, std::slice::from_ref(owner));
    let (readings, spent) = fill(&mut archive, owner, span);
    archive.make_durable().unwrap();
    drop(archive);
    let bytes = file_bytes(dir);
    println!("{step_s} s, {days} days, {readings} readings, {bytes} bytes");
    for (table, bytes) in table_bytes(dir, owner) {
        let each = bytes as f64 / readings as f64;
        println!("  {table}: {each:.3} bytes a reading");
    }
    tell(
        &format!("archive: bytes at rest, {step_s} s sampling, {days} days, 1 greenhouse"),
        bytes as f64 / readings as f64,
        "B/reading",
        budget,
    );
    tell(
        &format!("archive: taking in, CPU of its thread, {step_s} s sampling"),
        spent.as_nanos() as f64 / readings as f64,
        "ns/reading",
        None,
    );
    readings
}

fn charts(dir: &Path, owner: &CooperativeId, span: Span, budget: Option<f64>) {
    let channels = ["air_temperature", "relative_humidity", "global_radiation"];
    let found = channels.map(|channel| chart(dir, owner, channel, span));
    let slowest = |of: fn(&Chart) -> Duration| {
        let slowest = found.iter().map(of).max().unwrap();
        slowest.as_secs_f64() * 1e3
    };
    let name = |how: &str| {
        let step_s = span.step_ms / 1000;
        format!("archive: chart of 30 days, {step_s} s sampling, 1 series, {how}")
    };
    tell(
        &name("cold, median of 9"),
        slowest(|chart| chart.cold),
        "ms",
        budget,
    );
    tell(
        &name("cold, slowest of 27"),
        slowest(|chart| chart.worst),
        "ms",
        None,
    );
    tell(
        &name("warm, median of 9"),
        slowest(|chart| chart.warm),
        "ms",
        None,
    );
}

/// All of the greenhouse, as files.
fn exports(dir: &Path, owner: &CooperativeId, readings: u64) {
    let reader = ArchiveReader::open_dir(dir, std::slice::from_ref(owner));
    for (name, format) in [("CSV", Format::Csv), ("Parquet", Format::Parquet)] {
        let arguments = ExportArgs {
            cooperative: owner.clone(),
            greenhouse: None,
            from: None,
            to: None,
            format,
            output: None,
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let out: &File = file.as_file();
        let begin = Instant::now();
        let (rows, _) = write_all(&reader, &arguments, out).unwrap();
        let took = begin.elapsed().as_secs_f64();
        assert_eq!(rows, readings);
        let bytes = out.metadata().unwrap().len();
        let rows = rows as f64;
        tell(
            &format!("archive: export as {name}"),
            rows / took,
            "rows/s",
            None,
        );
        let name = format!("archive: export as {name}, size");
        tell(&name, bytes as f64 / rows, "B/row", None);
    }
}

/// The archive of an ingest that starts: of one cooperative, and of many with as much each.
fn starts(dir: &Path, owner: &CooperativeId) {
    start(dir, std::slice::from_ref(owner));
    let source = dir.join(format!("{owner}.sqlite"));
    let mut owners = vec![owner.clone()];
    for number in 1..COOPERATIVES {
        let copy: CooperativeId = format!("bench-{number}").parse().unwrap();
        let path = dir.join(format!("{copy}.sqlite"));
        std::fs::copy(&source, &path).unwrap();
        let db = rusqlite::Connection::open(&path).unwrap();
        let sql = "UPDATE about SET cooperative = ?1";
        assert_eq!(db.execute(sql, [copy.as_str()]).unwrap(), 1);
        owners.push(copy);
    }
    start(dir, &owners);
}

fn start(dir: &Path, owners: &[CooperativeId]) {
    let mut times = [(); 5].map(|()| {
        drop_from_page_cache(dir);
        let begin = Instant::now();
        drop(open(dir, owners));
        begin.elapsed()
    });
    times.sort_unstable();
    let name = format!(
        "archive: start-up, cold, {} cooperative(s) of 1 greenhouse, {YEAR_DAYS} days at 60 s each",
        owners.len()
    );
    tell(&name, times[2].as_secs_f64() * 1e3, "ms", None);
}

fn scan(dir: &Path, owner: &CooperativeId, readings: u64) {
    let reader = ArchiveReader::open_dir(dir, std::slice::from_ref(owner));
    let begin = Instant::now();
    let scan = reader.scan(owner).unwrap();
    let (count, twice) = scan
        .values()
        .fold((0, 0), |sum, s| (sum.0 + s.readings, sum.1 + s.twice));
    let took = begin.elapsed().as_secs_f64();
    let name = "archive: looking at every reading for duplicates";
    tell(name, count as f64 / took, "readings/s", None);
    assert_eq!((count, twice), (readings, 0));
}

/// A chart of 1,000 points by PromQL, from raw readings: one series, and all of the greenhouse.
fn prometheus(dir: &Path, owner: &CooperativeId, span: Span) {
    let Span { step_ms, days } = span;
    let reader = ArchiveReader::open_dir(dir, std::slice::from_ref(owner));
    let source = Shelf {
        reader,
        owner,
        step_ms,
    };
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
        let name = format!("promql: 1000 points of 30 days, {samples} samples, {query}");
        tell(&name, times[4].as_secs_f64() * 1e3, "ms", None);
    }
}

/// The archive as a source of samples, whose series are the benchmark's own.
struct Shelf<'a> {
    reader: ArchiveReader,
    owner: &'a CooperativeId,
    step_ms: i64,
}

/// Times of nine charts: median cold and warm, slowest cold.
struct Chart {
    cold: Duration,
    warm: Duration,
    worst: Duration,
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
            interval_ms: self.step_ms,
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

fn chart(dir: &Path, owner: &CooperativeId, channel: &str, span: Span) -> Chart {
    let series = SeriesId {
        greenhouse: "house".parse().unwrap(),
        device: "d".parse().unwrap(),
        channel: channel.parse().unwrap(),
    };
    let to_ms = BEGIN_MS + span.days * DAY_MS;
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
    let (cold, _, points, bucket_ms) = times[4];
    let worst = times[8].0;
    let mut warm: Vec<Duration> = times.iter().map(|(_, warm, ..)| *warm).collect();
    warm.sort();
    let minutes = bucket_ms / 60_000;
    println!("chart of {channel}: {points} points of {minutes} min");
    Chart {
        cold,
        warm: warm[4],
        worst,
    }
}

fn fill(archive: &mut Archive, owner: &CooperativeId, span: Span) -> (u64, Duration) {
    let Span { step_ms, days } = span;
    let batch_ms = step_ms.max(COMMIT_MS);
    let mut rng = StdRng::seed_from_u64(SEED);
    let channels = CHANNELS
        .iter()
        .map(|(name, exponent, ..)| (*name, *exponent));
    let catalog = Arc::new(catalog("house", step_ms, channels));
    let hash = Catalog::hash(&catalog.encode());
    let mut wander = [0.0f64; CHANNELS.len()];
    let (mut readings, mut spent) = (0, Duration::ZERO);
    let mut group = Vec::new();
    for n in 0..days * DAY_MS / batch_ms {
        let from_ms = n * batch_ms;
        let batch = batch(&mut rng, &mut wander, hash, (from_ms, batch_ms), step_ms);
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

/// The batch of `length_ms` from `from_ms` on.
fn batch(
    rng: &mut StdRng,
    wander: &mut [f64; CHANNELS.len()],
    catalog: CatalogHash,
    (from_ms, length_ms): (i64, i64),
    step_ms: i64,
) -> Batch {
    let times: Vec<u64> = (0..length_ms / step_ms)
        .map(|k| (from_ms + k * step_ms).cast_unsigned())
        .collect();
    let columns = (0u16..)
        .zip(CHANNELS.iter().zip(wander))
        .map(|(channel, (spec, at))| {
            let samples = times
                .iter()
                .map(|time| sample(rng, spec, at, time.cast_signed(), step_ms));
            Column {
                channel,
                samples: samples.collect(),
            }
        });
    let axis = Axis {
        step_ms: step_ms.cast_unsigned() as u32,
        columns: columns.collect(),
        times,
    };
    Batch {
        boot: BootId(1),
        from_mono_ms: from_ms.cast_unsigned(),
        to_mono_ms: (from_ms + length_ms).cast_unsigned(),
        clock: ClockState::Synchronised,
        wall_offset_ms: Some(BEGIN_MS),
        catalog,
        axes: vec![axis],
    }
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
        let file = File::open(file.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    }
}
