//! What a reading costs by how many series there are: as many readings, spread over a hundred to a million.
//!
//! `cargo bench -p furrow-ingest --bench series`, or with `-- --series N` for one size. Straight into the archive, in a
//! process for each size, since memory is measured too. A greenhouse has 10 channels, a batch 10 sweeps over them;
//! greenhouses take turns, as gateways do. First each series begins (its row, its catalog), then come as many readings as
//! everywhere. With a million series that is one batch each: what stands in `pending` is not yet made into blocks
//! there, as it is with a thousand; so the figures say what finding a series costs, not what packing does.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]
#![allow(clippy::cast_possible_truncation, reason = "made-up values are small")]

mod made_up;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use furrow_ingest::archive::{
    Archive, Change, CooperativeSetup, LiveHub, LogEntry, LogPosition, Readings,
};
use furrow_ingest::metrics::Metrics;
use furrow_wire::{
    Axis, Batch, BootId, Catalog, ClockState, Column, CooperativeId, RecordName, Sample, Seq,
    StreamId,
};

use made_up::{BEGIN_MS, catalog, cpu_time, tell};

const SIZES: [u32; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
/// Of the archive: series of one cooperative.
const COOPERATIVE_MAX: u32 = 100_000;
/// After each series has begun.
const READINGS: u32 = 10_000_000;
const CHANNELS: [&str; 10] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"];
const SWEEPS: u32 = 10;
const STEP_MS: i64 = 10_000;
const BATCH_MS: i64 = SWEEPS as i64 * STEP_MS;
const BATCH: u32 = CHANNELS.len() as u32 * SWEEPS;
/// Log entries applied in one transaction.
const GROUP: u32 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = arguments
        .iter()
        .skip_while(|argument| *argument != "--series");
    if let Some(size) = after.skip(1).find_map(|argument| argument.parse().ok()) {
        measure(size);
        return;
    }
    let own = std::env::current_exe().unwrap();
    for size in SIZES {
        let status = Command::new(&own)
            .args(["--series", &size.to_string()])
            .status();
        assert!(status.unwrap().success(), "{size} series");
    }
}

/// A cooperative whose greenhouses take turns.
struct Owner {
    id: CooperativeId,
    greenhouses: u32,
    /// Batches so far.
    made: u32,
}

fn measure(series: u32) {
    let dir = tempfile::tempdir().unwrap();
    let cooperatives = series.div_ceil(COOPERATIVE_MAX);
    let greenhouses = series / CHANNELS.len() as u32 / cooperatives;
    let owner = |number| Owner {
        id: format!("c-{number}").parse().unwrap(),
        greenhouses,
        made: 0,
    };
    let mut owners: Vec<Owner> = (0..cooperatives).map(owner).collect();
    let setup = |owner: &Owner| CooperativeSetup {
        id: owner.id.clone(),
        rules: Vec::new(),
    };
    let setups: Vec<CooperativeSetup> = owners.iter().map(setup).collect();
    let metrics = Metrics::default();
    let mut archive = Archive::open(dir.path(), &setups, LiveHub::default(), &metrics).unwrap();
    let before = rss_bytes();
    let begun = play(&mut archive, &mut owners, series / CHANNELS.len() as u32);
    let after = rss_bytes();
    let spent = play(&mut archive, &mut owners, READINGS / BATCH);
    let series_each = |value: f64| value / f64::from(series);
    let name = |what: &str| format!("series: {what}, {series} series");
    tell(
        &name("taking in, CPU"),
        spent.as_secs_f64() * 1e6 / f64::from(READINGS),
        "us/reading",
        None,
    );
    tell(
        &name("beginning one, with its first 10 readings, CPU"),
        series_each(begun.as_secs_f64() * 1e6),
        "us/series",
        None,
    );
    tell(&name("RSS"), rss_bytes() / 1_048_576.0, "MiB", None);
    tell(
        &name("RSS more than without any"),
        series_each(after - before),
        "B/series",
        None,
    );
}

/// Applies so many batches, dealt to the cooperatives in groups; gives the time that took on the processor.
fn play(archive: &mut Archive, owners: &mut [Owner], batches: u32) -> Duration {
    let each = batches / owners.len() as u32;
    let mut spent = Duration::ZERO;
    let mut left = each;
    while left > 0 {
        let count = left.min(GROUP);
        left -= count;
        for owner in &mut *owners {
            let group: Vec<LogEntry> = (0..count).map(|_| owner.next_entry()).collect();
            let begin = cpu_time();
            archive.apply(&owner.id, &group).unwrap();
            spent += cpu_time() - begin;
        }
    }
    spent
}

impl Owner {
    fn next_entry(&mut self) -> LogEntry {
        let (number, round) = (self.made % self.greenhouses, self.made / self.greenhouses);
        self.made += 1;
        let greenhouse = format!("gh-{number:05}");
        let channels = CHANNELS.iter().map(|name| (*name, -2));
        let catalog = catalog(&greenhouse, STEP_MS, channels);
        let hash = Catalog::hash(&catalog.encode());
        let from_ms = i64::from(round) * BATCH_MS;
        let times = (0..i64::from(SWEEPS)).map(|sweep| (from_ms + sweep * STEP_MS).cast_unsigned());
        let column = |channel: u16| Column {
            channel,
            samples: (0..SWEEPS)
                .map(|sweep| Sample::good(value(number, channel, round * SWEEPS + sweep)))
                .collect(),
        };
        let axis = Axis {
            step_ms: STEP_MS.cast_unsigned() as u32,
            times: times.collect(),
            columns: (0..CHANNELS.len() as u16).map(column).collect(),
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
        let readings = Readings {
            gateway: format!("gw-{number:05}").parse().unwrap(),
            greenhouse: greenhouse.parse().unwrap(),
            record: RecordName {
                stream: StreamId(u64::from(number) + 1),
                seq: Seq(u64::from(round) + 1),
            },
            catalog: Arc::new(catalog),
            wall_offset_ms: BEGIN_MS,
            batch,
            received_unix_ms: BEGIN_MS + from_ms,
        };
        LogEntry {
            position: LogPosition {
                segment: 1,
                offset: self.made,
            },
            chain: 0,
            changes: vec![Change::Readings(readings)],
        }
    }
}

/// A slow rise with noise.
fn value(greenhouse: u32, channel: u16, sweep: u32) -> i64 {
    let mixed = (greenhouse ^ u32::from(channel) << 20 ^ sweep).wrapping_mul(0x9e37_79b1) >> 29;
    2_000 + i64::from(channel) * 100 + i64::from(sweep / 8 % 500) + i64::from(mixed)
}

fn rss_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<f64>().unwrap() * 1024.0
}
