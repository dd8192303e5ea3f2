//! The log on a disk that fails: what is acknowledged is never lost, and nothing is stored twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

mod kit;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use furrow_ingest::archive::LiveHub;
use furrow_ingest::decode::Decoder;
use furrow_ingest::http::Fleet;
use furrow_ingest::log::Log;
use furrow_ingest::log::consumer::{Consumer, ConsumerSetup};
use furrow_ingest::log::derived::DataDir;
use furrow_ingest::log::entry::EntryKind;
use furrow_ingest::log::front::{Front, FrontSetup, Incoming};
use furrow_ingest::log::recover::{recover, replay};
use furrow_ingest::metrics::Metrics;
use furrow_journal::sim::{SimDisk, Survival};
use furrow_journal::{Journal, JournalError, Options};
use furrow_wire::{Ack, StreamId, StreamMarks};
use kit::{READINGS, Source, key, open_archive, stored};

/// Ingest without sockets, threads and clocks.
struct Ingest {
    front: Front<SimDisk>,
    consumer: Consumer<SimDisk>,
    fleet: Fleet,
    now_ms: u64,
}

impl Ingest {
    fn start(disk: &SimDisk, data_dir: &Path) -> Self {
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
        let mut decoder = Decoder::new([(key("gw-01"), "nha-luoi-1".parse().unwrap())]);
        for (_, _, body) in archive.catalogs(&id).unwrap() {
            decoder.restore_catalog(&key("gw-01"), &body);
        }
        for parked in archive.parked(&id).unwrap() {
            decoder.restore_parked(&key("gw-01"), parked);
        }
        let path = data_dir.to_owned();
        let mut derived = DataDir { archive, path };
        let snapshot = recover(&log, &mut derived, std::slice::from_ref(&id)).unwrap();
        let tracker = replay(&log, &snapshot);
        let setup = ConsumerSetup {
            fleet: fleet.clone(),
            metrics: metrics.clone(),
        };
        let consumer = Consumer::new(Arc::clone(&log), derived, decoder, snapshot, setup);
        let gateways = [(key("gw-01"), "nha-luoi-1".parse().unwrap())].into();
        let setup = FrontSetup {
            gateways,
            fleet: fleet.clone(),
            live,
            metrics,
        };
        Self {
            front: Front::new(log, tracker, setup),
            consumer,
            fleet,
            now_ms: 0,
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
        stored(&self.consumer.derived().archive)
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
    let gaps = ingest.consumer.derived().archive.reader();
    let gaps = gaps
        .gaps(&key("gw-01").cooperative, &"nha-luoi-1".parse().unwrap())
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
