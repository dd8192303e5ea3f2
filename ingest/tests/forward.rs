//! Forwarders: what a store gets of the log, whatever happens to it, to ingest, and to the log's room.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

mod kit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use furrow_ingest::archive::{LiveHub, Point};
use furrow_ingest::decode::Decoder;
use furrow_ingest::forward::{Forwarder, ForwarderSetup, Pace, status_of};
use furrow_ingest::http::Fleet;
use furrow_ingest::log::consumer::{Consumer, ConsumerSetup};
use furrow_ingest::log::derived::DataDir;
use furrow_ingest::log::entry::EntryKind;
use furrow_ingest::log::front::{Front, FrontSetup, Incoming};
use furrow_ingest::log::recover::{recover, replay};
use furrow_ingest::log::{Hold, Log};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::remote::Board;
use furrow_ingest::store::{
    Abilities, Newest, Reading, Refused, Run, SeriesInfo, SeriesStore, Span, StoreFault, Written,
};
use furrow_journal::{FileDisk, Journal, Options};
use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use kit::{READINGS, Source, key, open_archive};

const PATIENCE: Duration = Duration::from_secs(30);
const SEGMENT_BYTES: u32 = 16 * 1024;
const STORE: &str = "memory";

/// A store that keeps everything in memory, as long as it is allowed to.
#[derive(Debug, Default)]
struct Memory {
    readings: Mutex<BTreeMap<(SeriesId, i64), Reading>>,
    fault: Mutex<Option<StoreFault>>,
    /// Times that it refuses for good.
    poison: Mutex<Vec<i64>>,
    /// How long it may forget what it took, and when it took it.
    durable_after: Duration,
    taken: Mutex<Vec<(Instant, SeriesId, i64)>>,
    incarnation: Mutex<u64>,
}

impl Memory {
    fn fail(&self, fault: Option<StoreFault>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Dies and comes back without what it took last.
    fn die(&self) {
        let now = Instant::now();
        let mut taken = self.taken.lock().unwrap();
        for (at, series, time_ms) in taken.drain(..) {
            if now.duration_since(at) < self.durable_after {
                self.readings.lock().unwrap().remove(&(series, time_ms));
            }
        }
        *self.incarnation.lock().unwrap() += 1;
    }

    fn count(&self) -> u64 {
        self.readings.lock().unwrap().len() as u64
    }

    fn all(&self) -> Vec<(String, i64, Option<String>)> {
        let readings = self.readings.lock().unwrap();
        let all = readings.iter().map(|((series, time_ms), reading)| {
            let value = reading.value.map(|value| value.to_string());
            (series.to_string(), *time_ms, value)
        });
        all.collect()
    }
}

#[async_trait]
impl SeriesStore for Memory {
    fn abilities(&self) -> Abilities {
        Abilities {
            keeps_decimals: true,
            of_two: furrow_ingest::store::Kept::Last,
            retention_per_cooperative: false,
            deletes_at_once: true,
            visible_after: Duration::ZERO,
            durable_after: self.durable_after,
        }
    }

    async fn health(&self) -> Result<(), StoreFault> {
        self.fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn incarnation(&self) -> Result<Option<u64>, StoreFault> {
        self.health().await?;
        Ok(Some(*self.incarnation.lock().unwrap()))
    }

    async fn write(&self, _: &CooperativeId, runs: &[Run]) -> Result<Written, StoreFault> {
        let mut written = Written::default();
        let poison = self.poison.lock().unwrap().clone();
        for run in runs {
            for reading in &run.readings {
                if poison.contains(&reading.time_ms) {
                    written.refused.push(Refused {
                        series: run.series.clone(),
                        reading: *reading,
                        reason: "poison".to_owned(),
                    });
                    continue;
                }
                written.stored += 1;
                let name = (run.series.clone(), reading.time_ms);
                let taken = (Instant::now(), run.series.clone(), reading.time_ms);
                self.taken.lock().unwrap().push(taken);
                self.readings.lock().unwrap().insert(name, *reading);
            }
            // What was written before a fault stays: the whole is to be written again.
            if let Some(fault) = self.fault.lock().unwrap().clone() {
                return Err(fault);
            }
        }
        Ok(written)
    }

    async fn series(&self, _: &CooperativeId) -> Result<Vec<SeriesInfo>, StoreFault> {
        Ok(Vec::new())
    }

    async fn latest(
        &self,
        _: &CooperativeId,
        _: Option<&GreenhouseId>,
    ) -> Result<Vec<Newest>, StoreFault> {
        Ok(Vec::new())
    }

    async fn extent(&self, _: &CooperativeId, _: &SeriesId) -> Result<Option<Span>, StoreFault> {
        Ok(None)
    }

    async fn read(
        &self,
        _: &CooperativeId,
        _: &SeriesId,
        _: Span,
    ) -> Result<Vec<Reading>, StoreFault> {
        Ok(Vec::new())
    }

    async fn buckets(
        &self,
        _: &CooperativeId,
        _: &SeriesId,
        _: Span,
        _: u32,
    ) -> Result<Vec<Point>, StoreFault> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &CooperativeId) -> Result<(), StoreFault> {
        self.readings.lock().unwrap().clear();
        Ok(())
    }
}

/// Ingest without sockets: the test steps log and archive, the forwarder has its own thread.
struct Ingest {
    front: Front<FileDisk>,
    consumer: Consumer<FileDisk, DataDir>,
    forwarder: Option<Forwarder>,
    metrics: Metrics,
}

impl Ingest {
    fn start(dir: &Path, segments: u32, store: Option<&Arc<Memory>>) -> Self {
        let max_bytes = u64::from(SEGMENT_BYTES * segments);
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            cap_bytes: max_bytes,
            keep_bytes: 0,
        };
        std::fs::create_dir_all(dir.join("log")).unwrap();
        let disk = FileDisk::open(dir.join("log")).unwrap();
        let (journal, _) = Journal::open(disk, options).unwrap();
        let log = Arc::new(Log::bounded(journal, max_bytes));
        let (live, metrics) = (LiveHub::default(), Metrics::default());
        let archive = open_archive(dir, &live);
        let (reader, id) = (archive.reader(), key("gw-01").cooperative);
        let gateways: BTreeMap<_, _> = [(key("gw-01"), "nha-luoi-1".parse().unwrap())].into();
        let mut decoder = Decoder::new(gateways.clone());
        for (_, _, body) in archive.catalogs(&id).unwrap_or_default() {
            decoder.restore_catalog(&key("gw-01"), &body);
        }
        for parked in archive.parked(&id).unwrap_or_default() {
            decoder.restore_parked(&key("gw-01"), parked);
        }
        let path = dir.to_owned();
        let mut derived = DataDir { archive, path };
        let snapshot = recover(&log, &mut derived, std::slice::from_ref(&id)).unwrap();
        let tracker = replay(&log, &snapshot);
        let setup = ConsumerSetup {
            hold: Hold::firm("archive"),
            fleet: Fleet::default(),
            board: Board::default(),
            metrics: metrics.clone(),
        };
        let consumer = Consumer::new(Arc::clone(&log), derived, decoder, snapshot, setup);
        let forwarder = store.map(|store| {
            let store: Arc<dyn SeriesStore> = Arc::<Memory>::clone(store);
            let setup = ForwarderSetup {
                name: STORE.to_owned(),
                store,
                data_dir: dir.to_owned(),
                archive_dir: dir.join("archive"),
                reader,
                gateways: gateways.clone(),
                cooperatives: vec![id],
                pace: Pace {
                    between_writes: Duration::ZERO,
                    retry_first: Duration::from_millis(1),
                    retry_longest: Duration::from_millis(50),
                    look_every: Duration::from_millis(10),
                    ..Pace::default()
                },
                metrics: metrics.clone(),
            };
            Forwarder::start(&log, setup).unwrap()
        });
        let setup = FrontSetup {
            gateways,
            fleet: Fleet::default(),
            live,
            board: Board::default(),
            metrics: metrics.clone(),
        };
        Self {
            front: Front::new(log, tracker, setup),
            consumer,
            forwarder,
            metrics,
        }
    }

    /// Into the log and the archive.
    fn take(&mut self, packet: Bytes) {
        let incoming = Incoming {
            gateway: key("gw-01"),
            kind: EntryKind::Packet,
            bytes: packet,
            received_unix_ms: kit::START_MS + 3_600_000,
        };
        self.front.handle_incoming(&incoming, 0).unwrap();
        self.front.commit().unwrap();
        while self.consumer.step().unwrap() > 0 {}
    }

    /// Ends all of it, as a kill would: nothing is told to the forwarder's store any more.
    fn end(mut self) {
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.ask_to_stop();
            forwarder.join(Instant::now() + PATIENCE);
        }
    }

    fn archived(&self) -> Vec<(String, i64, Option<String>)> {
        let reader = self.consumer.derived().archive.reader();
        let mut all = Vec::new();
        let id = key("gw-01").cooperative;
        let ever = (i64::MIN / 4, i64::MAX / 4);
        let exported = reader.export::<furrow_ingest::archive::ArchiveError>(
            &id,
            |_| true,
            ever,
            |row| {
                let value = row.value.map(|value| value.to_string());
                all.push((row.series.to_string(), row.time_ms, value));
                Ok(())
            },
        );
        exported.unwrap();
        all
    }

    /// Waits until the store has what the archive has, and nothing else.
    #[track_caller]
    fn same(&self, store: &Memory) {
        let wanted = self.archived();
        until(|| store.count() >= wanted.len() as u64);
        assert_eq!(store.all(), wanted);
    }

    fn restarts(&self) -> u64 {
        let text = self.figure("furrow_store_restarts_total");
        text.parse().unwrap()
    }

    fn figure(&self, name: &str) -> String {
        let text = self.metrics.render();
        let start = format!("{name}{{store=\"{STORE}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_default().to_owned()
    }
}

#[track_caller]
fn until(mut look: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < end, "nothing within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn busy() -> StoreFault {
    StoreFault::Busy {
        reason: "down".to_owned(),
        retry_after: None,
    }
}

#[test]
fn a_store_gets_what_the_archive_gets_though_it_was_away_and_ingest_was_killed() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(source.packet(1..=5));
    ingest.same(&store);
    until(|| ingest.figure("furrow_store_lag_bytes") == "0");
    store.fail(Some(busy()));
    ingest.take(source.packet(6..=9));
    until(|| ingest.figure("furrow_store_condition") == "1");
    // The archive waits for nobody.
    assert_eq!(ingest.archived().len() as u64, 8 * READINGS);
    until(|| ingest.figure("furrow_store_lag_bytes") != "0");
    ingest.end();
    // The same packet once more, late ones, and the rest.
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(source.packet(6..=9));
    ingest.take(source.packet(20..=25));
    store.fail(None);
    ingest.take(source.packet(10..=19));
    ingest.same(&store);
    assert_eq!(store.count(), 24 * READINGS);
    ingest.end();
}

#[test]
fn a_new_store_gets_what_the_archive_had_before_it() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 64, None);
    ingest.take(source.packet(1..=50));
    ingest.consumer.checkpoint().unwrap();
    ingest.end();
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(source.packet(51..=60));
    ingest.same(&store);
    assert_eq!(ingest.figure("furrow_store_restarts_total"), "1");
    ingest.end();
    // Only once.
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(source.packet(61..=62));
    ingest.same(&store);
    assert_eq!(ingest.figure("furrow_store_restarts_total"), "0");
    ingest.end();
}

#[test]
fn a_store_too_far_behind_loses_its_place_and_begins_again_from_the_archive() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 12, Some(&store));
    ingest.take(source.packet(1..=5));
    ingest.same(&store);
    // The first start may already have found readings in the archive.
    let begun = ingest.restarts();
    store.fail(Some(busy()));
    // Several times what the log may hold.
    for seq in 6..=600 {
        ingest.take(source.packet(seq..=seq));
        if seq % 20 == 0 {
            ingest.consumer.checkpoint().unwrap();
        }
    }
    assert_eq!(ingest.archived().len() as u64, 599 * READINGS);
    store.fail(None);
    ingest.same(&store);
    ingest.take(source.packet(601..=602));
    ingest.same(&store);
    assert_eq!(ingest.restarts(), begun + 1);
    ingest.end();
}

#[test]
fn what_waits_for_its_catalog_is_forwarded_when_that_comes_though_the_archive_has_it_by_then() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(source.packet(2..=3));
    let status = || status_of(&dir.path().join("forward").join(STORE)).unwrap();
    let has_cursor = || status().is_some_and(|status| !status.cursors.is_empty());
    until(has_cursor);
    store.fail(Some(busy()));
    ingest.take(source.packet(1..=1));
    assert_eq!(ingest.archived().len() as u64, 2 * READINGS);
    ingest.end();
    store.fail(None);
    let ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.same(&store);
    ingest.end();
}

#[test]
fn what_a_store_refuses_is_kept_and_the_rest_goes_on() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    store.poison.lock().unwrap().push(kit::START_MS + 10_000);
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(source.packet(1..=4));
    until(|| store.count() == 3 * READINGS - 1);
    let folder = dir.path().join("forward").join(STORE);
    until(|| status_of(&folder).unwrap().unwrap().refused == 1);
    let refused = furrow_ingest::forward::refused_of(&folder, 10).unwrap();
    let of: Vec<_> = refused
        .iter()
        .map(|one| (one.series.as_str(), one.time_ms, one.reason.as_str()))
        .collect();
    let series = "nha-luoi-1/sht/air_temperature";
    assert_eq!(of, [(series, kit::START_MS + 10_000, "poison")]);
    ingest.end();
}

#[test]
fn a_store_that_denies_access_is_shown_and_not_asked_all_the_time() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let reason = "token was revoked".to_owned();
    store.fail(Some(StoreFault::Denied { reason }));
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    ingest.take(Source::new(7).packet(1..=4));
    until(|| ingest.figure("furrow_store_condition") == "2");
    assert_eq!(ingest.figure("furrow_store_faults_total"), "1");
    ingest.end();
}

#[test]
fn a_store_that_dies_and_forgets_is_given_again_what_it_took_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Memory {
        durable_after: Duration::from_millis(200),
        ..Memory::default()
    });
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    for seq in 1..=40 {
        ingest.take(source.packet(seq..=seq));
        match seq % 10 {
            // Unseen: it is up again before anybody asks.
            4 => store.die(),
            // Seen.
            7 => {
                store.fail(Some(busy()));
                until(|| ingest.figure("furrow_store_condition") == "1");
                store.die();
                store.fail(None);
            }
            // Ingest with it: a power cut.
            9 => {
                ingest.end();
                store.die();
                ingest = Ingest::start(dir.path(), 64, Some(&store));
            }
            _ => {}
        }
    }
    ingest.same(&store);
    assert_eq!(store.count(), 39 * READINGS);
    // Away and back with nothing to write: that is seen, too.
    store.fail(Some(busy()));
    until(|| ingest.figure("furrow_store_condition") == "1");
    store.fail(None);
    until(|| ingest.figure("furrow_store_condition") == "0");
    ingest.end();
}

#[test]
fn a_damaged_archive_keeps_no_store_from_what_comes() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let source = Source::new(7);
    let mut ingest = Ingest::start(dir.path(), 64, None);
    ingest.take(source.packet(1..=10));
    ingest.consumer.checkpoint().unwrap();
    ingest.end();
    let file = dir.path().join("archive/hoa-binh.sqlite");
    std::fs::write(&file, vec![7; 8_192]).unwrap();
    let mut ingest = Ingest::start(dir.path(), 64, Some(&store));
    // Its catalog is in the archive only: told again, as after a change of the gateway.
    let other = Source::new(8);
    ingest.take(other.packet(1..=1));
    ingest.take(other.packet(11..=20));
    until(|| store.count() == 10 * READINGS);
    ingest.end();
}
