//! Deleting a cooperative: archive, stores, log and everything beside them, whatever is killed meanwhile; and nothing of
//! anybody else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use furrow_ingest::archive::{Archive, ArchiveReader, CooperativeSetup, LiveHub, Point, Scan};
use furrow_ingest::config::{self, Settings};
use furrow_ingest::decode::Decoder;
use furrow_ingest::deletion::{
    self, Deletion, ERASE_WITHIN_MS, Eraser, PROMISED_MS, Request, Tombstone, tombstone,
};
use furrow_ingest::forward::{Forwarder, ForwarderSetup, Pace, has_deleted, status_of};
use furrow_ingest::http::Fleet;
use furrow_ingest::log::consumer::{Consumer, ConsumerSetup};
use furrow_ingest::log::derived::DataDir;
use furrow_ingest::log::entry::{EntryKind, LogRecord};
use furrow_ingest::log::front::{Front, FrontSetup, Incoming};
use furrow_ingest::log::recover::{recover, replay};
use furrow_ingest::log::{Hold, Log};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::remote::Board;
use furrow_ingest::rerun;
use furrow_ingest::run::Service;
use furrow_ingest::store::{
    Abilities, Newest, Reading, Run, SeriesInfo, SeriesStore, Span, StoreFault, Written,
};
use furrow_ingest::tools::delete::{DeleteArgs, run as delete_command};
use furrow_ingest_core::GatewayKey;
use furrow_journal::FileDisk;
use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use kit::{READINGS, Source};

const PATIENCE: Duration = Duration::from_secs(60);
const STORE: &str = "memory";
const GONE: &str = "xoa-het";
const STAYS: &str = "dong-tam";
const BOTH: [&str; 2] = [GONE, STAYS];
const MAX_BYTES: u64 = 1 << 28;
/// When it is deleted.
const NOW_MS: i64 = kit::START_MS + 30 * 86_400_000;

fn id(cooperative: &str) -> CooperativeId {
    cooperative.parse().unwrap()
}

fn key(cooperative: &str) -> GatewayKey {
    GatewayKey {
        cooperative: id(cooperative),
        gateway: "gw-01".parse().unwrap(),
    }
}

/// A gateway of a cooperative: its device bears the cooperative's name, so that no byte of it may be left.
fn source(cooperative: &str) -> Source {
    let mut source = Source::new(7);
    source.device = format!("cam-bien-{cooperative}");
    source
}

type Name = (CooperativeId, SeriesId, i64);
/// When a store deleted what.
type Went = (Instant, Vec<(Name, Reading)>);
/// What is done before the kill.
type Step = fn(&mut Ingest);

/// A store that keeps everything in memory, as long as it is allowed to.
#[derive(Debug, Default)]
struct Memory {
    readings: Mutex<BTreeMap<Name, Reading>>,
    is_down: Mutex<bool>,
    refuses_writes: Mutex<bool>,
    /// How long it may forget what it did, and what it deleted when.
    durable_after: Duration,
    deleted: Mutex<Vec<Went>>,
    deletions: Mutex<u32>,
    incarnation: Mutex<u64>,
}

impl Memory {
    fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }

    fn count(&self, cooperative: &str) -> u64 {
        let readings = self.readings.lock().unwrap();
        let of = readings
            .keys()
            .filter(|(of, _, _)| of.as_str() == cooperative);
        of.count() as u64
    }

    fn deletions(&self) -> u32 {
        *self.deletions.lock().unwrap()
    }

    /// Dies and comes back without what it deleted last.
    fn die(&self) {
        let now = Instant::now();
        for (at, readings) in self.deleted.lock().unwrap().drain(..) {
            if now.duration_since(at) < self.durable_after {
                self.readings.lock().unwrap().extend(readings);
            }
        }
        *self.incarnation.lock().unwrap() += 1;
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
        if *self.is_down.lock().unwrap() {
            return Err(StoreFault::Busy {
                reason: "down".to_owned(),
                retry_after: None,
            });
        }
        Ok(())
    }

    async fn incarnation(&self) -> Result<Option<u64>, StoreFault> {
        self.health().await?;
        Ok(Some(*self.incarnation.lock().unwrap()))
    }

    async fn write(&self, of: &CooperativeId, runs: &[Run]) -> Result<Written, StoreFault> {
        self.health().await?;
        if *self.refuses_writes.lock().unwrap() {
            return Err(StoreFault::Busy {
                reason: "full".to_owned(),
                retry_after: None,
            });
        }
        let mut written = Written::default();
        for run in runs {
            for reading in &run.readings {
                let name = (of.clone(), run.series.clone(), reading.time_ms);
                self.readings.lock().unwrap().insert(name, *reading);
                written.stored += 1;
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

    async fn delete(&self, of: &CooperativeId) -> Result<(), StoreFault> {
        self.health().await?;
        let mut readings = self.readings.lock().unwrap();
        let names: Vec<Name> = readings
            .keys()
            .filter(|name| name.0 == *of)
            .cloned()
            .collect();
        let went = names.into_iter().map(|name| {
            let reading = readings.remove(&name).unwrap();
            (name, reading)
        });
        let went = (Instant::now(), went.collect());
        self.deleted.lock().unwrap().push(went);
        *self.deletions.lock().unwrap() += 1;
        Ok(())
    }
}

fn forwarding(
    dir: &Path,
    store: &Arc<Memory>,
    (reader, gateways): (ArchiveReader, &BTreeMap<GatewayKey, GreenhouseId>),
    cooperatives: Vec<CooperativeId>,
    metrics: &Metrics,
) -> ForwarderSetup {
    ForwarderSetup {
        name: STORE.to_owned(),
        store: Arc::<Memory>::clone(store),
        data_dir: dir.to_owned(),
        archive_dir: dir.join("archive"),
        reader,
        gateways: gateways.clone(),
        cooperatives,
        pace: Pace {
            between_writes: Duration::ZERO,
            retry_first: Duration::from_millis(1),
            retry_longest: Duration::from_millis(50),
            look_every: Duration::from_millis(10),
            ..Pace::default()
        },
        metrics: metrics.clone(),
    }
}

/// Ingest without sockets: the test steps log, archive and eraser, the forwarder has its own thread.
struct Ingest {
    front: Front<FileDisk>,
    consumer: Consumer<FileDisk, DataDir>,
    forwarder: Option<Forwarder>,
    eraser: Eraser<FileDisk>,
    log: Arc<Log<FileDisk>>,
    fleet: Fleet,
    metrics: Metrics,
    dir: PathBuf,
}

impl Ingest {
    fn start(dir: &Path, configured: &[&str], store: Option<&Arc<Memory>>) -> Self {
        let ids: Vec<CooperativeId> = configured.iter().copied().map(id).collect();
        deletion::refuse(dir, &ids).unwrap();
        let log = Arc::new(Log::open(dir, MAX_BYTES).unwrap());
        let (live, metrics, fleet) = (LiveHub::default(), Metrics::default(), Fleet::default());
        let setups: Vec<CooperativeSetup> = ids
            .iter()
            .map(|id| CooperativeSetup {
                id: id.clone(),
                rules: Vec::new(),
            })
            .collect();
        let archive = Archive::open(&dir.join("archive"), &setups, live.clone(), &metrics).unwrap();
        let reader = archive.reader();
        let gateways: BTreeMap<GatewayKey, GreenhouseId> = configured
            .iter()
            .map(|id| (key(id), "nha-luoi-1".parse().unwrap()))
            .collect();
        let mut decoder = Decoder::new(gateways.clone());
        for of in configured.iter().filter(|of| !archive.is_out(&id(of))) {
            for (_, _, body) in archive.catalogs(&id(of)).unwrap() {
                decoder.restore_catalog(&key(of), &body);
            }
        }
        let path = dir.to_owned();
        let mut derived = DataDir { archive, path };
        let snapshot = recover(&log, &mut derived, &ids).unwrap();
        let tracker = replay(&log, &snapshot);
        let setup = ConsumerSetup {
            hold: Hold::firm("archive"),
            fleet: fleet.clone(),
            board: Board::default(),
            metrics: metrics.clone(),
        };
        let consumer = Consumer::new(Arc::clone(&log), derived, decoder, snapshot, setup);
        let forwarder = store.map(|store| {
            let setup = forwarding(dir, store, (reader, &gateways), ids, &metrics);
            Forwarder::start(&log, setup).unwrap()
        });
        let setup = FrontSetup {
            gateways,
            fleet: fleet.clone(),
            live,
            board: Board::default(),
            metrics: metrics.clone(),
        };
        let stores: BTreeSet<String> = store.map(|_| STORE.to_owned()).into_iter().collect();
        Self {
            front: Front::new(Arc::clone(&log), tracker, setup),
            consumer,
            forwarder,
            eraser: Eraser::new(dir.to_owned(), Arc::clone(&log), stores, &metrics),
            log,
            fleet,
            metrics,
            dir: dir.to_owned(),
        }
    }

    fn send(&mut self, gateway: GatewayKey, kind: EntryKind, bytes: Bytes) {
        let incoming = Incoming {
            gateway,
            kind,
            bytes,
            received_unix_ms: NOW_MS,
        };
        self.front.handle_incoming(&incoming, 0).unwrap();
        self.front.commit().unwrap();
    }

    fn drain(&mut self) {
        while self.consumer.step().unwrap() > 0 {}
    }

    /// Into the log and the archive.
    fn take(&mut self, cooperative: &str, seqs: std::ops::RangeInclusive<u64>) {
        let packet = source(cooperative).packet(seqs);
        self.send(key(cooperative), EntryKind::Packet, packet);
        self.drain();
    }

    /// Only into the log.
    fn log_deletion(&mut self) {
        let gateway = GatewayKey {
            cooperative: id(GONE),
            gateway: LogRecord::whole(),
        };
        self.send(gateway, EntryKind::Delete, Bytes::new());
    }

    /// A turn of everything that a running ingest does by itself.
    fn turn(&mut self, now_ms: i64) {
        self.drain();
        self.eraser.turn(now_ms);
        self.drain();
        self.consumer.checkpoint().unwrap();
        self.eraser.turn(now_ms);
    }

    fn tombstone(&self) -> Option<Tombstone> {
        tombstone::load(&self.dir).unwrap().remove(&id(GONE))
    }

    fn is_erased(&self) -> bool {
        self.tombstone()
            .is_some_and(|one| one.erased_unix_ms.is_some())
    }

    fn stored(&self, cooperative: &str) -> (u64, u64) {
        let reader = self.consumer.derived().archive.reader();
        let scans = reader.scan(&id(cooperative)).unwrap();
        let sum = |(readings, twice), scan: &Scan| (readings + scan.readings, twice + scan.twice);
        scans.values().fold((0, 0), sum)
    }

    fn gauge(&self, name: &'static str) -> u64 {
        self.metrics.gauge(name, "", &[]).get()
    }

    fn end(mut self) {
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.ask_to_stop();
            forwarder.join(Instant::now() + PATIENCE);
        }
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

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, out),
            false => out.push(path),
        }
    }
}

/// Files whose name or bytes speak of who was deleted.
fn traces(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(dir, &mut all);
    all.retain(|path| {
        let bytes = std::fs::read(path).unwrap();
        let name = path.strip_prefix(dir).unwrap().to_string_lossy();
        name.contains(GONE)
            || bytes
                .windows(GONE.len())
                .any(|part| part == GONE.as_bytes())
    });
    all
}

fn only_tombstone(dir: &Path) -> Vec<PathBuf> {
    vec![dir.join("deleted").join(GONE)]
}

/// Both have sent and are stored everywhere; then one is out of the configuration.
fn prepared(dir: &Path, store: &Arc<Memory>) -> Ingest {
    let mut ingest = Ingest::start(dir, &BOTH, Some(store));
    for last in [40, 80] {
        for cooperative in BOTH {
            ingest.take(cooperative, last - 39..=last);
        }
        ingest.consumer.checkpoint().unwrap();
    }
    until(|| store.count(GONE) == 79 * READINGS && store.count(STAYS) == 79 * READINGS);
    ingest.end();
    assert!(traces(dir).len() > 2, "{:?}", traces(dir));
    Ingest::start(dir, &[STAYS], Some(store))
}

fn state(dir: &Path) -> PathBuf {
    dir.join("forward").join(STORE)
}

#[test]
fn nothing_is_left_but_a_tombstone_and_the_others_have_everything() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let dir = dir.path();
    let mut ingest = prepared(dir, &store);
    let wish = rerun::Request {
        cooperative: id(GONE),
        id: 3,
    };
    wish.file(dir).unwrap();
    std::fs::create_dir_all(dir.join("migrate")).unwrap();
    let progress = format!("{{\"cooperatives\":{{\"{GONE}\":null,\"{STAYS}\":null}}}}");
    std::fs::write(dir.join("migrate/a-to-b.json"), progress).unwrap();
    std::fs::create_dir_all(dir.join("forward/former")).unwrap();
    std::fs::write(dir.join("forward/former/marks.json"), GONE).unwrap();
    std::fs::write(dir.join(format!("archive/{GONE}.sqlite.old")), GONE).unwrap();
    ingest.take(STAYS, 81..=90);
    ingest.log_deletion();
    ingest.take(STAYS, 91..=100);
    assert!(!dir.join(format!("archive/{GONE}.sqlite")).exists());
    until(|| {
        ingest.turn(NOW_MS + 1);
        ingest.is_erased() && has_deleted(&state(dir), &id(GONE)).unwrap()
    });
    assert_eq!(traces(dir), only_tombstone(dir));
    assert_eq!((store.count(GONE), store.count(STAYS)), (0, 99 * READINGS));
    assert_eq!(ingest.stored(STAYS), (99 * READINGS, 0));
    assert_eq!(ingest.tombstone().unwrap().deleted_unix_ms, NOW_MS);
    assert_eq!(
        ingest.fleet.get(&id(GONE), &key(GONE).gateway),
        <_>::default()
    );
    ingest.turn(NOW_MS + 1);
    assert_eq!(ingest.gauge("furrow_deletions_outstanding"), 0);
    ingest.end();
    // It stays so, and so does the id.
    let mut ingest = Ingest::start(dir, &[STAYS], Some(&store));
    ingest.take(STAYS, 101..=110);
    ingest.turn(NOW_MS + 2);
    until(|| store.count(STAYS) == 109 * READINGS);
    assert_eq!(ingest.stored(STAYS), (109 * READINGS, 0));
    ingest.end();
    assert_eq!(traces(dir), only_tombstone(dir));
    assert_eq!(store.deletions(), 1);
    let refused = deletion::refuse(dir, &BOTH.map(id)).unwrap_err();
    assert!(
        refused.to_string().contains("never used again"),
        "{refused}"
    );
}

#[test]
fn killed_anywhere_the_end_is_the_same() {
    let steps: [(&str, Step); 6] = [
        ("logged", |_| {}),
        ("buried", |ingest| {
            let deletion = Deletion {
                cooperative: id(GONE),
                position: ingest.log.committed(),
                deleted_unix_ms: NOW_MS,
            };
            tombstone::bury(&ingest.dir, &deletion).unwrap();
        }),
        ("removed", Ingest::drain),
        ("rolled", |ingest| {
            ingest.drain();
            ingest.log.roll().unwrap();
        }),
        ("told", |ingest| {
            ingest.drain();
            ingest.eraser.turn(NOW_MS);
        }),
        ("passed", |ingest| {
            ingest.drain();
            ingest.eraser.turn(NOW_MS);
            ingest.drain();
            ingest.consumer.checkpoint().unwrap();
        }),
    ];
    for (name, step) in steps {
        let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
        let mut ingest = prepared(dir.path(), &store);
        ingest.log_deletion();
        step(&mut ingest);
        ingest.end();
        let mut ingest = Ingest::start(dir.path(), &[STAYS], Some(&store));
        ingest.take(STAYS, 81..=85);
        until(|| {
            ingest.turn(NOW_MS + 1);
            ingest.is_erased() && has_deleted(&state(dir.path()), &id(GONE)).unwrap()
        });
        assert_eq!(traces(dir.path()), only_tombstone(dir.path()), "{name}");
        assert_eq!(ingest.stored(STAYS), (84 * READINGS, 0), "{name}");
        until(|| store.count(STAYS) == 84 * READINGS);
        assert_eq!(store.count(GONE), 0, "{name}");
        ingest.end();
    }
}

#[test]
fn a_store_that_is_away_delays_itself_until_the_log_can_wait_no_longer() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let dir = dir.path();
    let mut ingest = prepared(dir, &store);
    store.set_down(true);
    ingest.take(STAYS, 81..=85);
    ingest.log_deletion();
    ingest.turn(NOW_MS);
    assert!(!dir.join(format!("archive/{GONE}.sqlite")).exists());
    assert!(!ingest.is_erased());
    ingest.turn(NOW_MS + ERASE_WITHIN_MS - 1);
    let waits = ingest.tombstone().unwrap().waits_for;
    assert_eq!(waits, [format!("store {STORE}")]);
    assert_eq!(ingest.gauge("furrow_deletions_outstanding"), 1);
    assert_eq!(ingest.gauge("furrow_deletions_overdue"), 0);
    ingest.turn(NOW_MS + ERASE_WITHIN_MS);
    assert!(ingest.is_erased());
    // What the forwarder knew of it goes, though its store is still away.
    until(|| traces(dir) == only_tombstone(dir));
    assert_eq!(store.count(GONE), 79 * READINGS);
    assert!(!has_deleted(&state(dir), &id(GONE)).unwrap());
    ingest.end();
    let mut ingest = Ingest::start(dir, &[STAYS], Some(&store));
    ingest.take(STAYS, 86..=90);
    store.set_down(false);
    until(|| store.count(GONE) == 0);
    until(|| has_deleted(&state(dir), &id(GONE)).unwrap());
    ingest.end();
}

#[test]
fn what_an_archive_that_is_out_of_service_lacks_is_waited_for_and_told() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let dir = dir.path();
    prepared(dir, &store).end();
    let archive = dir.join(format!("archive/{STAYS}.sqlite"));
    let good = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, vec![7; 8_192]).unwrap();
    let mut ingest = Ingest::start(dir, &[STAYS], None);
    assert!(ingest.consumer.derived().archive.is_out(&id(STAYS)));
    ingest.log_deletion();
    ingest.turn(NOW_MS + PROMISED_MS);
    ingest.turn(NOW_MS + PROMISED_MS);
    let known = ingest.tombstone().unwrap();
    assert_eq!(
        (known.erased_unix_ms, known.waits_for),
        (None, vec!["archive".to_owned()])
    );
    assert_eq!(ingest.gauge("furrow_deletions_overdue"), 1);
    ingest.end();
    std::fs::write(&archive, good).unwrap();
    let mut ingest = Ingest::start(dir, &[STAYS], None);
    ingest.turn(NOW_MS + PROMISED_MS);
    assert!(ingest.is_erased());
    assert_eq!(ingest.stored(STAYS), (79 * READINGS, 0));
    ingest.end();
    assert_eq!(traces(dir), only_tombstone(dir));
}

#[test]
fn a_store_that_dies_and_forgets_the_deletion_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Memory {
        durable_after: Duration::from_secs(3),
        ..Memory::default()
    });
    let mut ingest = prepared(dir.path(), &store);
    ingest.log_deletion();
    ingest.drain();
    for round in 1..=2 {
        until(|| store.deletions() >= round && store.count(GONE) == 0);
        store.die();
        if round == 2 {
            // Ingest with it.
            ingest.end();
            ingest = Ingest::start(dir.path(), &[STAYS], Some(&store));
        }
    }
    until(|| has_deleted(&state(dir.path()), &id(GONE)).unwrap());
    assert_eq!(store.count(GONE), 0);
    assert!(store.deletions() >= 3);
    until(|| {
        ingest.turn(NOW_MS + 1);
        ingest.is_erased()
    });
    ingest.end();
    assert_eq!(traces(dir.path()), only_tombstone(dir.path()));
}

#[test]
fn an_entry_that_is_there_twice_is_erased_wherever_it_stands() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let mut ingest = prepared(dir.path(), &store);
    for _ in 0..2 {
        ingest.log_deletion();
        ingest.log_deletion();
        until(|| {
            ingest.turn(NOW_MS + 1);
            ingest.is_erased()
        });
        assert_eq!(traces(dir.path()), only_tombstone(dir.path()));
    }
    ingest.end();
}

#[test]
fn a_new_store_and_one_that_was_not_configured_then_give_it_up_too() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    prepared(dir.path(), &store).end();
    let mut ingest = Ingest::start(dir.path(), &[STAYS], None);
    ingest.log_deletion();
    ingest.turn(NOW_MS);
    assert!(ingest.is_erased());
    assert_eq!(traces(dir.path()), only_tombstone(dir.path()));
    ingest.end();
    assert_eq!(store.count(GONE), 79 * READINGS);
    let ingest = Ingest::start(dir.path(), &[STAYS], Some(&store));
    until(|| store.count(GONE) == 0 && store.count(STAYS) == 79 * READINGS);
    ingest.end();
}

/// A forwarder that was copying it when it was taken out of the configuration.
#[test]
fn a_copy_of_somebody_who_is_not_configured_any_more_holds_up_nobody() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let mut ingest = Ingest::start(dir.path(), &BOTH, None);
    for cooperative in BOTH {
        ingest.take(cooperative, 1..=20);
    }
    ingest.consumer.checkpoint().unwrap();
    ingest.end();
    *store.refuses_writes.lock().unwrap() = true;
    let ingest = Ingest::start(dir.path(), &BOTH, Some(&store));
    let status = || status_of(&state(dir.path())).unwrap();
    until(|| status().is_some_and(|status| status.copying.len() == 2));
    ingest.end();
    *store.refuses_writes.lock().unwrap() = false;
    let mut ingest = Ingest::start(dir.path(), &[STAYS], Some(&store));
    ingest.take(STAYS, 21..=30);
    until(|| store.count(STAYS) == 29 * READINGS);
    assert_eq!(store.count(GONE), 0);
    ingest.end();
}

/// An empty last segment is the log's end: nobody waits there for what is not there, over and over.
#[test]
fn a_segment_without_entries_is_passed() {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::start(dir.path(), &[STAYS], None);
    ingest.take(STAYS, 1..=5);
    let segment = ingest.log.roll().unwrap();
    assert_eq!(ingest.consumer.step().unwrap(), 0);
    assert_eq!(ingest.consumer.position(), ingest.log.committed());
    assert_eq!(ingest.consumer.position().segment, segment);
    ingest.consumer.checkpoint().unwrap();
    ingest.end();
    let mut ingest = Ingest::start(dir.path(), &[STAYS], None);
    assert_eq!(ingest.consumer.step().unwrap(), 0);
    assert_eq!(ingest.consumer.position(), ingest.log.committed());
    ingest.take(STAYS, 6..=9);
    assert_eq!(ingest.stored(STAYS), (8 * READINGS, 0));
    ingest.end();
}

fn settings(dir: &Path, cooperatives: &[&str]) -> Settings {
    let mut text = format!(
        "data_dir = {:?}\n[broker]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        dir.join("data")
    );
    for cooperative in cooperatives {
        text += &format!(
            "[[cooperative]]\nid = \"{cooperative}\"\nname = \"HTX\"\n\
             gateway = [{{ id = \"gw-01\", greenhouse = \"nha-luoi-1\", password = \"secret\" }}]\n"
        );
    }
    let path = dir.join("ingest.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path).unwrap()
}

/// What the command says, and its error.
fn command(settings: &Settings, arguments: &DeleteArgs, typed: &str) -> (String, String) {
    let mut out = Vec::new();
    let done = delete_command(settings, arguments, &mut typed.as_bytes(), &mut out);
    let error = done
        .err()
        .map_or_else(String::new, |error| format!("{error:#}"));
    (String::from_utf8(out).unwrap(), error)
}

fn arguments() -> DeleteArgs {
    DeleteArgs {
        cooperative: Some(id(GONE)),
        list: false,
        confirm: None,
        wait: 60,
    }
}

/// The whole process, and the person's command beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_asks_waits_and_tells_and_the_running_ingest_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let service = Service::start(settings(dir.path(), &BOTH)).await.unwrap();
    let both = settings(dir.path(), &BOTH);
    let one = settings(dir.path(), &[STAYS]);
    let (said, error) = command(&both, &arguments(), GONE);
    assert_eq!(said, "");
    assert!(error.contains("take it out and restart"), "{error}");
    let (said, error) = command(&one, &arguments(), "something\n");
    assert!(said.contains("its archive ("), "{said}");
    assert_eq!(error, "not confirmed: nothing is deleted");
    // The process was not restarted: it would go on taking what the gateways send.
    let asked = one.clone();
    let told = tokio::task::spawn_blocking(move || command(&asked, &arguments(), GONE));
    let (_, error) = told.await.unwrap();
    assert!(error.contains("restart it, and it deletes"), "{error}");
    service.stop().await;
    assert!(data.join(format!("archive/{GONE}.sqlite")).exists());
    let service = Service::start(one.clone()).await.unwrap();
    let wanted = DeleteArgs {
        confirm: Some(id(GONE)),
        ..arguments()
    };
    let asked = one.clone();
    let told = tokio::task::spawn_blocking(move || command(&asked, &wanted, ""));
    let (said, error) = told.await.unwrap();
    assert_eq!(error, "");
    for line in ["  archive: gone\n", "  log: erased "] {
        assert!(said.contains(line), "{said}");
    }
    service.stop().await;
    assert_eq!(traces(&data), only_tombstone(&data));
    let list = DeleteArgs {
        list: true,
        cooperative: None,
        ..arguments()
    };
    let (said, _) = command(&one, &list, "");
    assert!(said.starts_with(&format!("{GONE}: deleted ")), "{said}");
    let Err(refused) = Service::start(both).await else {
        panic!("it is configured again");
    };
    assert!(
        format!("{refused:#}").contains("never used again"),
        "{refused:#}"
    );
    // Without an ingest it waits for the next one.
    let request = Request {
        cooperative: id("nobody"),
    };
    let wanted = DeleteArgs {
        cooperative: Some(id("nobody")),
        confirm: Some(id("nobody")),
        wait: 0,
        ..arguments()
    };
    let (said, error) = command(&one, &wanted, "");
    assert!(said.contains("the next `run` does"), "{said} {error}");
    assert_eq!(request.answer(&data), deletion::request::Answer::Waiting);
}
