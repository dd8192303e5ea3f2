//! Makes the journal of a gateway that was offline for days, for `cargo xtask bench`.
//!
//! The records come from the gateway's own encoder and are written by its own store, into the
//! folder that the configuration names; only the values are made up: each channel takes a small
//! random step from sample to sample.
//!
//! `cargo bench -p furrow-gateway --bench backlog -- GATEWAY.toml DAYS COMMIT_S END_UNIX_MS` prints
//! one line of JSON: readings, bytes, seconds.

#![allow(clippy::unwrap_used, reason = "a benchmark ends at the first fault")]
#![allow(clippy::print_stdout, reason = "the figures")]

use std::path::Path;
use std::time::Instant;

use furrow_gateway::config::Settings;
use furrow_gateway::run::records::Records;
use furrow_gateway::run::store::Store;
use furrow_gateway::run::{journal_options, report};
use furrow_gateway_core::FieldMs;
use furrow_gateway_core::batch::Cut;
use furrow_gateway_core::clock::Clock;
use furrow_gateway_core::outbox::{LIVE_PLACES, Options, Outbox};
use furrow_journal::FileDisk;
use furrow_wire::{Axis, BootId, Column, Sample, StreamId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Batches between two fsyncs: a gateway has one for each, which would be the time of this program.
const BATCHES_A_COMMIT: u64 = 200;
const BOOT: BootId = BootId(0xB007);
const STREAM: StreamId = StreamId(0x0FF1);
const DAY_MS: u64 = 24 * 3_600_000;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [config, days, commit_s, end_unix_ms] = arguments.as_slice() else {
        println!("nothing to do; arguments: GATEWAY.toml DAYS COMMIT_S END_UNIX_MS");
        return;
    };
    let settings = Settings::load(Path::new(config)).unwrap();
    let plan = Plan {
        days: days.parse().unwrap(),
        commit_ms: commit_s.parse::<u64>().unwrap() * 1_000,
        end_unix_ms: end_unix_ms.parse().unwrap(),
    };
    let begun = Instant::now();
    let (readings, bytes) = plan.write(&settings);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "readings": readings, "bytes": bytes, "seconds": seconds })
    );
}

struct Plan {
    days: u64,
    commit_ms: u64,
    end_unix_ms: i64,
}

impl Plan {
    fn write(&self, settings: &Settings) -> (u64, u64) {
        let folder = settings.gateway().journal_dir();
        std::fs::create_dir_all(&folder).unwrap();
        let outbox = Outbox::new(Options {
            send_interval_ms: 0,
            live_places: LIVE_PLACES,
            seed: 0,
        });
        let options = journal_options(settings.journal().cap_bytes);
        let disk = FileDisk::open(&folder).unwrap();
        let (mut store, recovered) = Store::open(disk, options, outbox).unwrap();
        let mut records = Records::new(STREAM, recovered.state);
        let mut clock = Clock::new(BOOT, FieldMs(0), None, false);
        let length_ms = self.days * DAY_MS;
        let start_unix_ms = self.end_unix_ms - i64::try_from(length_ms).unwrap();
        let catalog = report::catalog(settings, None);
        let hash = records.catalog(&catalog);
        let mut values = Values {
            rng: StdRng::seed_from_u64(1),
            channels: catalog
                .channels
                .iter()
                .map(|channel| (channel.interval_ms, 2_500))
                .collect(),
        };
        let commits = length_ms / self.commit_ms;
        for commit in 0..commits {
            let (from, to) = (commit * self.commit_ms, (commit + 1) * self.commit_ms);
            let unix_ms = start_unix_ms + i64::try_from(to).unwrap();
            clock.handle_clock(FieldMs(to), Some(unix_ms));
            records.batch(values.cut(from, to), hash, &mut clock);
            if commit % BATCHES_A_COMMIT == 0 {
                settle(&mut store, &mut records);
            }
        }
        settle(&mut store, &mut records);
        records.goodbye();
        settle(&mut store, &mut records);
        (records.journalled_readings(), store.fill().bytes_written)
    }
}

fn settle(store: &mut Store<FileDisk>, records: &mut Records) {
    while let Some(write) = records.take_write() {
        store.push(write);
    }
    store.commit().unwrap();
    for outcome in store.take_outcomes() {
        records.handle_outcome(outcome);
    }
}

struct Values {
    rng: StdRng,
    /// Sampling interval in milliseconds and latest mantissa.
    channels: Vec<(u32, i64)>,
}

impl Values {
    fn cut(&mut self, from: u64, to: u64) -> Cut {
        let mut intervals: Vec<u32> = self.channels.iter().map(|(step_ms, _)| *step_ms).collect();
        intervals.sort_unstable();
        intervals.dedup();
        let axes: Vec<Axis> = intervals
            .into_iter()
            .map(|step_ms| self.axis(from, to, step_ms))
            .collect();
        let readings = axes
            .iter()
            .map(|axis| axis.times.len() * axis.columns.len());
        Cut {
            from: FieldMs(from),
            to: FieldMs(to),
            readings: u32::try_from(readings.sum::<usize>()).unwrap(),
            axes,
        }
    }

    fn axis(&mut self, from: u64, to: u64, step_ms: u32) -> Axis {
        let times: Vec<u64> = (from..to)
            .step_by(usize::try_from(step_ms).unwrap())
            .collect();
        let mut columns = Vec::new();
        for (channel, (interval_ms, mantissa)) in self.channels.iter_mut().enumerate() {
            if *interval_ms != step_ms {
                continue;
            }
            let samples = times.iter().map(|_| {
                *mantissa += self.rng.random_range(-2..=2);
                Sample::good(*mantissa)
            });
            columns.push(Column {
                channel: u16::try_from(channel).unwrap(),
                samples: samples.collect(),
            });
        }
        Axis {
            step_ms,
            times,
            columns,
        }
    }
}
