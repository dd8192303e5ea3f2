//! The log on a disk that fails: what is acknowledged is never lost, and nothing is stored twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

mod kit;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use furrow_ingest::archive::{Applied, ArchiveError, DeadLetter, LiveHub, LogEntry, LogPosition};
use furrow_ingest::decode::Decoder;
use furrow_ingest::deletion::Deletion;
use furrow_ingest::http::{CardStatus, Fleet, SetBackStatus};
use furrow_ingest::log::Log;
use furrow_ingest::log::consumer::{Consumer, ConsumerSetup};
use furrow_ingest::log::derived::{DataDir, Derived};
use furrow_ingest::log::entry::{EntryKind, Rerun};
use furrow_ingest::log::front::{Front, FrontSetup, Incoming};
use furrow_ingest::log::recover::{recover, replay};
use furrow_ingest::log::snapshot::{Snapshot, SnapshotError};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::remote::Board;
use furrow_ingest_core::GatewayKey;
use furrow_journal::sim::{SimDisk, Survival};
use furrow_journal::{Journal, JournalError, Options, Position};
use furrow_wire::{Ack, CooperativeId, StreamId, StreamMarks};
use kit::{READINGS, Source, key, open_archive, stored};

/// A data directory whose archive can be made to refuse.
struct Flaky {
    real: DataDir,
    fails: bool,
    marks_fail: bool,
}

impl Derived for Flaky {
    fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        self.real.position(cooperative)
    }

    fn chain(&self, cooperative: &CooperativeId) -> Option<u32> {
        self.real.chain(cooperative)
    }

    fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        if self.fails {
            return Err(ArchiveError::Directory {
                path: PathBuf::new(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.real.apply(cooperative, entries)
    }

    fn out_of_service(&self) -> BTreeSet<CooperativeId> {
        self.real.out_of_service()
    }

    fn deleted(&self) -> BTreeSet<CooperativeId> {
        self.real.deleted()
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<(), ArchiveError> {
        self.real.delete(deletion)
    }

    fn needs_from(&self, position: Position) -> Position {
        self.real.needs_from(position)
    }

    fn make_durable(&mut self) -> Result<(), ArchiveError> {
        self.real.make_durable()
    }

    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
        self.real.load_marks()
    }

    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.real.store_marks(snapshot)
    }

    fn sync_marks(&mut self) -> Result<(), SnapshotError> {
        if self.marks_fail {
            return Err(SnapshotError::Io {
                action: "sync",
                path: PathBuf::new(),
                source: std::io::Error::other("a failing disk"),
            });
        }
        self.real.sync_marks()
    }
}

/// Ingest without sockets, threads and clocks.
struct Ingest {
    front: Front<SimDisk>,
    consumer: Consumer<SimDisk, Flaky>,
    fleet: Fleet,
    now_ms: u64,
    awake: Vec<GatewayKey>,
}

impl Ingest {
    fn start(disk: &SimDisk, data_dir: &Path) -> Self {
        let decoder = Decoder::new([(key("gw-01"), "nha-luoi-1".parse().unwrap())]);
        Self::start_with(disk, data_dir, decoder)
    }

    /// With a configuration or a program of its own.
    fn start_with(disk: &SimDisk, data_dir: &Path, mut decoder: Decoder) -> Self {
        let options = Options {
            segment_bytes: 16 * 1024,
            cap_bytes: 8 * 16 * 1024,
            keep_bytes: 0,
        };
        let (journal, _) = Journal::open(disk.clone(), options).unwrap();
        let log = Arc::new(Log::new(journal));
        let (fleet, live, metrics) = (Fleet::default(), LiveHub::default(), Metrics::default());
        let archive = open_archive(data_dir, &live);
        let id = key("gw-01").cooperative;
        for (_, _, body) in archive.catalogs(&id).unwrap() {
            decoder.restore_catalog(&key("gw-01"), &body);
        }
        for parked in archive.parked(&id).unwrap() {
            decoder.restore_parked(&key("gw-01"), parked);
        }
        let awake = decoder.awake();
        let path = data_dir.to_owned();
        let real = DataDir { archive, path };
        let mut derived = Flaky {
            real,
            fails: false,
            marks_fail: false,
        };
        let snapshot = recover(&log, &mut derived, std::slice::from_ref(&id)).unwrap();
        let tracker = replay(&log, &snapshot);
        let board = Board::default();
        let setup = ConsumerSetup {
            hold: furrow_ingest::log::Hold::firm("archive"),
            fleet: fleet.clone(),
            board: board.clone(),
            metrics: metrics.clone(),
        };
        let consumer = Consumer::new(Arc::clone(&log), derived, decoder, snapshot, setup);
        let gateways = [(key("gw-01"), "nha-luoi-1".parse().unwrap())].into();
        let setup = FrontSetup {
            gateways,
            fleet: fleet.clone(),
            live,
            board,
            metrics,
        };
        Self {
            front: Front::new(log, tracker, setup),
            consumer,
            fleet,
            now_ms: 0,
            awake,
        }
    }

    fn offer(&mut self, bytes: Bytes) -> Result<(), JournalError> {
        self.send(EntryKind::Packet, bytes)
    }

    fn send(&mut self, kind: EntryKind, bytes: Bytes) -> Result<(), JournalError> {
        let received_unix_ms = kit::START_MS + 3_600_000;
        let incoming = Incoming {
            gateway: key("gw-01"),
            kind,
            bytes,
            received_unix_ms,
        };
        self.front.handle_incoming(&incoming, self.now_ms)
    }

    /// What gateways are told a second later.
    fn acks(&mut self) -> Vec<Ack> {
        self.now_ms += 1_000;
        self.front
            .poll_acks(self.now_ms, 42)
            .into_iter()
            .flat_map(|(_, acks)| acks)
            .collect()
    }

    fn drain(&mut self) {
        while self.consumer.step().unwrap() > 0 {}
    }

    fn stored(&self) -> (u64, u64) {
        stored(&self.consumer.derived().real.archive)
    }

    /// First seq, last seq and reason of everything that is not there.
    fn gaps(&self) -> Vec<(u64, u64, String)> {
        let reader = self.consumer.derived().real.archive.reader();
        let rows = reader.gaps(&key("gw-01").cooperative, None).unwrap();
        let of = rows.into_iter();
        of.map(|row| (row.from_seq, row.to_seq, row.reason))
            .collect()
    }

    fn dead(&self) -> Vec<DeadLetter> {
        let reader = self.consumer.derived().real.archive.reader();
        let id = key("gw-01").cooperative;
        reader.dead_letters(&id, None, i64::MIN, 100).unwrap()
    }

    /// Has dead letters run again, all in one group of the log.
    fn rerun(&mut self, letters: &[DeadLetter]) {
        for letter in letters {
            let rerun = Rerun {
                id: letter.id,
                received_unix_ms: letter.received_unix_ms,
                bytes: letter.bytes.clone().unwrap(),
            };
            self.send(EntryKind::Rerun, rerun.encode()).unwrap();
        }
        self.front.commit().unwrap();
        self.drain();
    }

    fn card(&self) -> CardStatus {
        let key = key("gw-01");
        self.fleet.get(&key.cooperative, &key.gateway).card
    }
}

fn mark(stream: u64, mark: u64, ranges: &[(u64, u64)]) -> StreamMarks {
    StreamMarks {
        stream: StreamId(stream),
        mark,
        ranges: ranges.to_vec(),
    }
}

fn ack(streams: &[StreamMarks]) -> Ack {
    Ack {
        ingest_unix_ms: 42,
        streams: streams.to_vec(),
    }
}

#[test]
fn killed_between_the_sync_and_the_confirmation_it_stores_once() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=4)).unwrap();
    ingest.front.commit().unwrap();
    drop(ingest);
    disk.restart(Survival::Nothing);
    // The broker was told nothing, so it sends the same again.
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=4)).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 4, &[])])]);
    ingest.drain();
    assert_eq!(ingest.stored(), (3 * READINGS, 0));
    // And once more, now that everything is in the archive and the log.
    drop(ingest);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=4)).unwrap();
    ingest.drain();
    assert_eq!(ingest.stored(), (3 * READINGS, 0));
    let status = ingest
        .fleet
        .get(&key("gw-01").cooperative, &key("gw-01").gateway);
    assert_eq!(status.duplicates_ignored, 4);
}

#[test]
fn what_a_failed_sync_left_is_not_acknowledged() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([1])).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 1, &[])])]);
    disk.fail_syncs(1);
    ingest.offer(source.packet([2])).unwrap();
    ingest.front.commit().unwrap_err();
    assert_eq!(
        ingest.acks(),
        [],
        "nothing at all while something is not durable"
    );
    ingest.drain();
    assert_eq!(ingest.stored(), (0, 0), "nor is it read");
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 2, &[])])]);
    ingest.drain();
    assert_eq!(ingest.stored(), (READINGS, 0));
}

#[test]
fn a_full_log_takes_no_more_until_the_archive_has_followed() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    let mut seq = 1;
    let full = loop {
        match ingest.offer(source.packet([seq])) {
            Ok(()) => {}
            Err(error) => break error,
        }
        ingest.front.commit().unwrap();
        seq += 1;
    };
    assert!(matches!(full, JournalError::Full { .. }), "{full}");
    assert_eq!(
        ingest.acks(),
        [ack(&[mark(7, seq - 1, &[])])],
        "the refused one is not in it"
    );
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    for _ in 0..500 {
        ingest.offer(source.packet([seq])).unwrap();
        ingest.front.commit().unwrap();
        seq += 1;
        if seq % 50 == 0 {
            ingest.drain();
            ingest.consumer.checkpoint().unwrap();
        }
    }
    ingest.drain();
    assert_eq!(ingest.stored(), ((seq - 2) * READINGS, 0));
    // The log before the checkpoint is gone; the marks are not.
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([1])).unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, seq - 1, &[])])]);
}

#[test]
fn a_log_that_was_deleted_hides_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::new(7);
    let mut ingest = Ingest::start(&SimDisk::new(), dir.path());
    for seq in 1..=200 {
        ingest.offer(source.packet([seq])).unwrap();
    }
    ingest.front.commit().unwrap();
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    for round in 0..3 {
        let disk = SimDisk::new();
        let mut ingest = Ingest::start(&disk, dir.path());
        ingest
            .offer(source.packet([200 + round, 201 + round]))
            .unwrap();
        ingest.front.commit().unwrap();
        ingest.drain();
        assert_eq!(
            ingest.stored(),
            ((200 + round) * READINGS, 0),
            "round {round}"
        );
        ingest.consumer.checkpoint().unwrap();
    }
}

/// With the file of marks the eras are gone: positions of a younger log look as if the archive had
/// passed them, although it has applied nothing of it.
#[test]
fn without_its_marks_all_of_the_log_is_read_again() {
    let truncate = |path: &Path| std::fs::write(path, b"").unwrap();
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let losses: [&dyn Fn(&Path); 2] = [&truncate, &remove];
    for (case, lose) in losses.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let marks = dir.path().join("marks.json");
        let source = Source::new(7);
        let mut ingest = Ingest::start(&SimDisk::new(), dir.path());
        assert!(marks.exists(), "the first start stores marks");
        ingest.offer(source.packet(1..=200)).unwrap();
        ingest.front.commit().unwrap();
        ingest.drain();
        ingest.consumer.checkpoint().unwrap();
        drop(ingest);
        // A new log, with something in it that is acknowledged and not yet applied.
        let disk = SimDisk::new();
        let mut ingest = Ingest::start(&disk, dir.path());
        ingest.offer(source.packet(201..=203)).unwrap();
        ingest.front.commit().unwrap();
        assert_eq!(ingest.acks(), [ack(&[mark(7, 203, &[])])]);
        drop(ingest);
        lose(&marks);
        let mut ingest = Ingest::start(&disk, dir.path());
        ingest.drain();
        assert_eq!(ingest.stored(), (202 * READINGS, 0), "case {case}");
        // What was only in the marks is taken again, and known again by series and time.
        let held = [ack(&[mark(7, 0, &[(201, 203)])])];
        ingest.offer(source.packet([203])).unwrap();
        assert_eq!(ingest.acks(), held, "case {case}");
        ingest.offer(source.packet(1..=200)).unwrap();
        ingest.front.commit().unwrap();
        ingest.drain();
        assert_eq!(ingest.acks(), [ack(&[mark(7, 203, &[])])], "case {case}");
        assert_eq!(ingest.stored().0, 202 * READINGS, "case {case}");
    }
}

/// A checkpoint whose renaming was not synced is found by the next process all the same. Were the older
/// one back after a power cut, what the log has lost to damage meanwhile would not be held any more.
#[test]
fn marks_are_made_durable_before_they_are_believed() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=4)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    let log = Log::new(Journal::open(disk.image(), Options::default()).unwrap().0);
    let derived = ingest.consumer.derived_mut();
    let cooperatives = [key("gw-01").cooperative];
    derived.marks_fail = true;
    recover(&log, derived, &cooperatives).unwrap_err();
    derived.marks_fail = false;
    let snapshot = recover(&log, derived, &cooperatives).unwrap();
    assert_eq!(snapshot.position, log.committed());
}

/// A disk that lied about flushes, in two power cuts: the first takes the log's end, so that a new era
/// begins; the second takes the era from the marks, and from the archive what it applied of it. What the
/// log holds of the era counts as held, so it must be applied.
#[test]
fn what_was_logged_in_an_era_that_the_marks_forgot_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let marks = dir.path().join("marks.json");
    let source = Source::new(7);
    let mut ingest = Ingest::start(&SimDisk::new(), dir.path());
    for seq in 1..=200 {
        ingest.offer(source.packet([seq])).unwrap();
    }
    ingest.front.commit().unwrap();
    ingest.drain();
    drop(ingest);
    let before = std::fs::read(&marks).unwrap();
    // The log lost its end: all of it, here.
    let disk = SimDisk::new();
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(201..=203)).unwrap();
    ingest.front.commit().unwrap();
    assert_ne!(std::fs::read(&marks).unwrap(), before, "an era began");
    drop(ingest);
    std::fs::write(&marks, before).unwrap();
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.drain();
    assert_eq!(ingest.acks(), []);
    ingest.offer(source.packet([203])).unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 0, &[(201, 203)])])]);
    assert_eq!(ingest.stored(), (202 * READINGS, 0));
}

/// A disk that lied, in two power cuts: of what was logged between them the first log's entries are back,
/// where the archive has applied others. They count as held, so they must be applied.
#[test]
fn a_log_with_other_entries_than_were_applied_is_applied() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (SimDisk::new(), SimDisk::new());
    let source = Source::new(7);
    for (disk, dir, seqs) in [(&first, &other, 11..=14), (&second, &dir, 1..=3)] {
        let mut ingest = Ingest::start(disk, dir.path());
        for seq in seqs {
            ingest.offer(source.packet([seq])).unwrap();
            ingest.front.commit().unwrap();
        }
        ingest.drain();
    }
    for _ in 0..2 {
        let mut ingest = Ingest::start(&first, dir.path());
        ingest.drain();
        ingest.offer(source.packet([14])).unwrap();
        assert_eq!(ingest.acks(), [ack(&[mark(7, 0, &[(11, 14)])])]);
        assert_eq!(ingest.stored(), (6 * READINGS, 0));
    }
    // What was applied once more is known now: no further era.
    let marks = std::fs::read(dir.path().join("marks.json")).unwrap();
    drop(Ingest::start(&first, dir.path()));
    assert_eq!(std::fs::read(dir.path().join("marks.json")).unwrap(), marks);
}

/// A disk that lied again: the archive was replaced by an older one and is of a new era since, and then
/// the marks from before are back. They name what that archive never had.
#[test]
fn marks_that_do_not_know_the_era_of_the_archive_are_forgotten() {
    let (first, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&SimDisk::new(), first.path());
    ingest.offer(source.packet(1..=200)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    let [before, marks] = [&first, &dir].map(|dir| dir.path().join("marks.json"));
    std::fs::copy(&before, &marks).unwrap();
    let disk = SimDisk::new();
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([1, 201])).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    let held = [ack(&[mark(7, 1, &[(201, 201)])])];
    assert_eq!(ingest.acks(), held);
    assert_eq!(ingest.stored(), (READINGS, 0));
    drop(ingest);
    std::fs::copy(&before, &marks).unwrap();
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([201])).unwrap();
    assert_eq!(ingest.acks(), held);
}

#[test]
fn losses_close_gaps_and_garbage_is_kept_for_people() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([1, 2])).unwrap();
    ingest.offer(source.packet([9, 10])).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 2, &[(9, 10)])])]);
    let status = |ingest: &Ingest| {
        ingest
            .fleet
            .get(&key("gw-01").cooperative, &key("gw-01").gateway)
    };
    assert_eq!(status(&ingest).missing_records, 6);
    ingest.offer(source.loss(11, 3, 8)).unwrap();
    ingest.offer(Bytes::from_static(b"\x07rubbish")).unwrap();
    let torn = [&b"\0"[..], &source.record(12), b"rest"].concat();
    ingest.offer(torn.into()).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 12, &[])])]);
    assert_eq!(status(&ingest).missing_records, 0);
    ingest.drain();
    assert_eq!(ingest.stored(), (4 * READINGS, 0));
    assert_eq!((status(&ingest).parked, status(&ingest).dead), (0, 2));
    let gaps = ingest.consumer.derived().real.archive.reader();
    let gaps = gaps
        .gaps(
            &key("gw-01").cooperative,
            Some(&"nha-luoi-1".parse().unwrap()),
        )
        .unwrap();
    assert_eq!(gaps.len(), 1);
}

#[test]
fn a_connect_is_answered_with_everything_that_is_held() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.send(EntryKind::State, source.state(1, 5)).unwrap();
    assert_eq!(
        ingest.front.poll_acks(0, 42).len(),
        0,
        "the state itself is not durable yet"
    );
    ingest.front.commit().unwrap();
    assert_eq!(
        ingest.front.poll_acks(0, 42)[0].1,
        [ack(&[mark(7, 0, &[])])]
    );
    ingest.offer(source.packet(1..=3)).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(
        ingest.front.poll_acks(0, 42).len(),
        0,
        "a packet waits for a second"
    );
    assert_eq!(ingest.acks(), [ack(&[mark(7, 3, &[])])]);
    let status = ingest
        .fleet
        .get(&key("gw-01").cooperative, &key("gw-01").gateway);
    assert!(status.online);
    assert_eq!((status.waiting_readings, status.missing_records), (7, 2));
    ingest
        .send(EntryKind::State, Bytes::from_static(b"{\"online\":false}"))
        .unwrap();
    let status = ingest
        .fleet
        .get(&key("gw-01").cooperative, &key("gw-01").gateway);
    assert!(!status.online);
    ingest.offer(Source::new(8).packet([1])).unwrap();
    ingest.front.commit().unwrap();
    let all = [ack(&[mark(7, 3, &[]), mark(8, 1, &[])])];
    assert_eq!(
        ingest.front.poll_acks(ingest.now_ms, 42)[0].1,
        all,
        "first packet after silence"
    );
}

#[test]
fn what_waits_for_its_catalog_comes_out_after_a_restart() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(2..=4)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    assert_eq!(ingest.stored(), (0, 0));
    assert_eq!(
        ingest.acks(),
        [ack(&[mark(7, 0, &[(2, 4)])])],
        "parked is stored"
    );
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([1])).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    assert_eq!(ingest.stored(), (3 * READINGS, 0));
}

/// Feeds packets (shuffled, some twice), commits, acknowledges, applies and checkpoints in a mixed
/// order until the power goes; then starts again and feeds everything once more.
#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged_and_stores_nothing_twice() {
    const PACKETS: u64 = 24;
    let steps = run_until_the_cut(None, Survival::Nothing);
    assert!(steps > 10_000, "the run writes: {steps} steps");
    for cut in (0..steps).step_by(usize::try_from(steps / 60).unwrap()) {
        for survival in [Survival::Nothing, Survival::Torn { seed: cut }] {
            run_until_the_cut(Some(cut), survival);
        }
    }

    fn run_until_the_cut(cut: Option<u64>, survival: Survival) -> u64 {
        let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
        let source = Source::new(7);
        let order: Vec<u64> = (0..PACKETS + 8).map(|n| n * 7 % PACKETS).collect();
        let packet = |n: u64| source.packet(n * 3 + 1..=n * 3 + 3);
        let mut acknowledged: Vec<StreamMarks> = Vec::new();
        let mut ingest = Ingest::start(&disk, dir.path());
        if let Some(cut) = cut {
            disk.cut_power_in(cut);
        }
        for (at, n) in order.iter().enumerate() {
            let stored = ingest
                .offer(packet(*n))
                .and_then(|()| ingest.front.commit());
            acknowledged.extend(ingest.acks().into_iter().flat_map(|ack| ack.streams));
            if stored.is_err() {
                break;
            }
            if at % 3 == 1 {
                ingest.drain();
            }
            if at % 8 == 7 {
                ingest.consumer.checkpoint().unwrap();
            }
        }
        drop(ingest);
        let steps = disk.steps();
        disk.restart(survival);
        let mut ingest = Ingest::start(&disk, dir.path());
        let held = ingest.front.tracker().marks(&key("gw-01"), None);
        for marks in &acknowledged {
            let kept = held
                .iter()
                .find(|held| held.stream == marks.stream)
                .unwrap();
            let all = (1..=marks.mark).chain(marks.ranges.iter().flat_map(|&(a, b)| a..=b));
            let lost: Vec<u64> = all.filter(|seq| !kept.holds(*seq)).collect();
            assert!(
                lost.is_empty(),
                "cut {cut:?} {survival:?}: acknowledged and lost: {lost:?}"
            );
        }
        for n in 0..PACKETS {
            ingest.offer(packet(n)).unwrap();
        }
        ingest.front.commit().unwrap();
        ingest.drain();
        let last = PACKETS * 3;
        assert_eq!(
            ingest.acks(),
            [ack(&[mark(7, last, &[])])],
            "cut {cut:?} {survival:?}"
        );
        let expected = ((last - 1) * READINGS, 0);
        assert_eq!(ingest.stored(), expected, "cut {cut:?} {survival:?}");
        assert_eq!(ingest.consumer.tracker(), ingest.front.tracker());
        steps
    }
}

fn gap(from: u64, to: u64, reason: &str) -> (u64, u64, String) {
    (from, to, reason.to_owned())
}

#[test]
fn what_is_missing_is_listed_until_it_comes_or_is_told_lost() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=4)).unwrap();
    ingest.offer(source.packet([12])).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    assert_eq!(ingest.gaps(), [gap(5, 11, "waiting")]);
    // Its card no longer begins where it did.
    ingest.send(EntryKind::State, source.state(8, 12)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    let expected = [gap(5, 7, "missing"), gap(8, 11, "waiting")];
    assert_eq!(ingest.gaps(), expected);
    // Killed without a snapshot, it reads the log again and comes to the same.
    drop(ingest);
    disk.restart(Survival::Nothing);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.drain();
    assert_eq!(ingest.gaps(), expected);
    ingest.offer(source.packet(8..=10)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    assert_eq!(
        ingest.gaps(),
        [gap(5, 7, "missing"), gap(11, 11, "waiting")]
    );
    // With a snapshot and an empty log behind it.
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([11])).unwrap();
    ingest.offer(source.loss(13, 5, 7)).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 13, &[])])]);
    ingest.drain();
    assert_eq!(ingest.gaps(), [gap(5, 7, "cap_reached")]);
}

#[test]
fn dead_letters_that_are_run_again_are_stored_once() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let wrong = || Decoder::new([(key("gw-01"), "nha-luoi-9".parse().unwrap())]);
    let mut ingest = Ingest::start_with(&disk, dir.path(), wrong());
    ingest.offer(source.packet(1..=5)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    assert_eq!(ingest.stored(), (0, 0));
    let dead = ingest.dead();
    assert_eq!(dead.len(), 5);
    let whose = "catalog names greenhouse nha-luoi-1, but the gateway is assigned to nha-luoi-9";
    assert_eq!(dead[0].reason, whose);

    // Nothing has changed: refused again, and still only once each.
    ingest.rerun(&dead);
    let again = ingest.dead();
    assert_eq!(again.len(), 5);
    assert_eq!(again[0].reason, whose);
    assert_eq!(again[0].bytes, dead[0].bytes);
    drop(ingest);

    // The configuration is put right. Killed after the log's sync, it is done at the next start.
    let mut ingest = Ingest::start(&disk, dir.path());
    for letter in &again {
        let rerun = Rerun {
            id: letter.id,
            received_unix_ms: letter.received_unix_ms,
            bytes: letter.bytes.clone().unwrap(),
        };
        ingest.send(EntryKind::Rerun, rerun.encode()).unwrap();
    }
    ingest.front.commit().unwrap();
    drop(ingest);
    disk.restart(Survival::Nothing);
    let mut ingest = Ingest::start(&disk, dir.path());
    // Asked for once more, because nobody could say that it was taken.
    ingest.rerun(&again);
    ingest.rerun(&again);
    assert_eq!(ingest.dead(), []);
    assert_eq!(ingest.stored(), (4 * READINGS, 0));
    // And read once more from the log, after a kill without a snapshot.
    drop(ingest);
    disk.restart(Survival::Nothing);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.drain();
    assert_eq!(
        (ingest.stored(), ingest.dead()),
        ((4 * READINGS, 0), vec![])
    );
}

#[test]
fn a_dead_letter_is_not_taken_for_another_that_got_its_number() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let wrong = Decoder::new([(key("gw-01"), "nha-luoi-9".parse().unwrap())]);
    let mut ingest = Ingest::start_with(&disk, dir.path(), wrong);
    ingest.offer(source.packet(1..=2)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    let mut dead = ingest.dead();
    dead[0].bytes = dead[1].bytes.clone();
    ingest.rerun(&dead[..1]);
    assert_eq!(ingest.dead().len(), 2);
}

#[test]
fn parked_records_come_out_when_a_newer_program_starts() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let older = Decoder::new([(key("gw-01"), "nha-luoi-1".parse().unwrap())]).of_body_version(0);
    let mut ingest = Ingest::start_with(&disk, dir.path(), older);
    ingest.offer(source.packet(1..=4)).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 4, &[])])]);
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    let reader = ingest.consumer.derived().real.archive.reader();
    let parked = reader.parked(&key("gw-01").cooperative).unwrap();
    assert_eq!((ingest.stored(), parked.len()), ((0, 0), 4));
    drop(ingest);
    // Though the gateway sends nothing, and only once.
    for (awake, new, stored) in [(1, None, 3), (0, Some(5), 4), (0, None, 4)] {
        let mut ingest = Ingest::start(&disk, dir.path());
        assert_eq!(ingest.awake, vec![key("gw-01"); awake]);
        for _ in 0..awake {
            ingest.send(EntryKind::Wake, Bytes::new()).unwrap();
        }
        if let Some(seq) = new {
            ingest.offer(source.packet([seq])).unwrap();
        }
        ingest.front.commit().unwrap();
        ingest.drain();
        let parked = reader.parked(&key("gw-01").cooperative).unwrap();
        assert_eq!((ingest.stored(), parked.len()), ((stored * READINGS, 0), 0));
    }
}

#[test]
fn two_contents_under_one_name_are_both_kept_and_never_mixed() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut clone = Source::new(7);
    clone.offset_minutes = 3;
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=4)).unwrap();
    for _ in 0..3 {
        // Its catalog is the same, byte for byte: a repetition.
        ingest.offer(clone.packet([1, 3])).unwrap();
    }
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[mark(7, 4, &[])])]);
    ingest.drain();
    let kept = |ingest: &Ingest| {
        let dead = ingest.dead();
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].bytes, Some(clone.record(3)));
        assert_eq!(
            dead[0].reason,
            "its name is taken by other bytes: two gateways write one stream"
        );
        assert_eq!(ingest.stored(), (3 * READINGS, 0));
    };
    kept(&ingest);
    assert_eq!(ingest.card().conflicting_records, 1);
    for checkpoint in [false, true] {
        if checkpoint {
            ingest.consumer.checkpoint().unwrap();
        }
        drop(ingest);
        disk.restart(Survival::Nothing);
        ingest = Ingest::start(&disk, dir.path());
        ingest.offer(clone.packet([3])).unwrap();
        ingest.offer(source.packet([3])).unwrap();
        ingest.front.commit().unwrap();
        ingest.drain();
        kept(&ingest);
    }
}

#[test]
fn a_card_that_went_back_in_time_and_a_clone_are_shown() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let (source, next) = (Source::new(7), Source::new(8));
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=9)).unwrap();
    ingest.send(EntryKind::State, source.state(1, 9)).unwrap();
    assert_eq!(ingest.card(), CardStatus::default());
    // An old message of the stream that is written.
    ingest.send(EntryKind::State, source.state(1, 4)).unwrap();
    assert_eq!(ingest.card(), CardStatus::default());
    let birth = |boot, held: &[(&Source, u64)]| kit::birth(boot, held);
    let back = birth(2, &[(&source, 4), (&next, 1)]);
    ingest.send(EntryKind::State, back).unwrap();
    let set_back = vec![SetBackStatus {
        stream: "0000000000000007".to_owned(),
        held_last: 4,
        stored_last: 9,
    }];
    let expected = CardStatus {
        set_back,
        ..CardStatus::default()
    };
    assert_eq!(ingest.card(), expected);
    // The card it was copied from is still in use.
    let other = birth(1, &[(&source, 9)]);
    ingest.send(EntryKind::State, other).unwrap();
    let seen = ingest.card().clones_seen_ms;
    assert_eq!(seen, Some(kit::START_MS + 3_600_000));
    ingest.front.commit().unwrap();
    ingest.drain();
    assert_eq!(ingest.stored(), (8 * READINGS, 0));
}

#[test]
fn what_a_full_archive_refused_is_stored_after_a_restart() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet([1])).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    ingest.consumer.derived_mut().fails = true;
    ingest.offer(source.packet(2..=4)).unwrap();
    ingest.front.commit().unwrap();
    assert!(ingest.consumer.step().is_err());
    let error = ingest.consumer.checkpoint().unwrap_err();
    assert_eq!(error.to_string(), "archive is behind the marks");
    drop(ingest);
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.drain();
    assert_eq!(ingest.stored(), (3 * READINGS, 0));
}

#[test]
fn an_older_archive_is_given_again_what_it_lost() {
    let (disk, dir) = (SimDisk::new(), tempfile::tempdir().unwrap());
    let source = Source::new(7);
    let file = dir.path().join("archive/hoa-binh.sqlite");
    let older = dir.path().join("older.sqlite");
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.offer(source.packet(1..=3)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    std::fs::copy(&file, &older).unwrap();
    ingest.offer(source.packet(4..=6)).unwrap();
    ingest.front.commit().unwrap();
    ingest.drain();
    ingest.consumer.checkpoint().unwrap();
    drop(ingest);
    std::fs::rename(&older, &file).unwrap();
    // The log still has it.
    let mut ingest = Ingest::start(&disk, dir.path());
    ingest.drain();
    assert_eq!(ingest.stored(), (5 * READINGS, 0));
    // And where it has not, the gateway is told so, and gives it again.
    ingest.consumer.checkpoint().unwrap();
    let held: StreamMarks = mark(7, 6, &[]);
    ingest.send(EntryKind::State, source.state(1, 6)).unwrap();
    ingest.front.commit().unwrap();
    assert_eq!(ingest.acks(), [ack(&[held])]);
}
