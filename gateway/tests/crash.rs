//! The power goes at any byte, again and again: nothing that was reported durable is lost, and what
//! is read back has the bytes that were written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

use std::collections::BTreeMap;

use furrow_gateway::run::records::{Done, Records};
use furrow_gateway::run::store::{Found, Packed, Store, Trouble};
use furrow_gateway_core::batch::Cut;
use furrow_gateway_core::clock::Clock;
use furrow_gateway_core::outbox::{
    Command, LIVE_PLACES, Options as OutboxOptions, Outbox, PubackAnswer,
};
use furrow_gateway_core::recovery::Recovered;
use furrow_gateway_core::{FieldMs, LinkMs, evict};
use furrow_journal::Options;
use furrow_journal::sim::{SimDisk, Survival};
use furrow_wire::{
    Ack, Axis, BootId, Catalog, CatalogHash, Column, Event, EventKind, Loss, LossReason,
    RecordName, Sample, Seq, StreamId, StreamMarks, decode_packet, records,
};
use proptest::prelude::*;

/// Sixteen small segments: the cap is reached within a test.
const OPTIONS: Options = Options {
    segment_bytes: 8192,
    cap_bytes: 16 * 8192,
    keep_bytes: 4 * 8192,
};
const READINGS: u64 = 6;

/// What ingest would have to be given, by what the gateway was told is durable.
#[derive(Debug, Default)]
struct Book {
    batches: BTreeMap<RecordName, u64>,
    events: BTreeMap<RecordName, ()>,
    losses: Vec<Loss>,
}

struct Life {
    disk: SimDisk,
    book: Book,
    ingest: BTreeMap<RecordName, Vec<u8>>,
    streams: u64,
    now: u64,
    /// Batches cut since the beginning: their number is in their readings.
    cuts: u64,
}

struct Process {
    store: Store<SimDisk>,
    records: Records,
    outbox: Outbox,
    clock: Clock,
    evicting: bool,
}

impl Life {
    fn new() -> Self {
        Life {
            disk: SimDisk::new(),
            book: Book::default(),
            ingest: BTreeMap::new(),
            streams: 0,
            now: 0,
            cuts: 0,
        }
    }

    /// A process begins; `None` when the power goes while it opens the journal.
    fn start(&mut self) -> Option<Process> {
        self.streams += 1;
        let options = OutboxOptions {
            send_interval_ms: 0,
            live_places: LIVE_PLACES,
            seed: self.streams,
        };
        let (store, recovered) =
            Store::open(self.disk.clone(), OPTIONS, Outbox::new(options)).ok()?;
        let Recovered {
            outbox,
            state,
            unreadable,
            damaged,
            ..
        } = recovered;
        assert_eq!(
            (unreadable, damaged.len()),
            (0, 0),
            "a power cut is no damage"
        );
        let mut records = Records::new(StreamId(self.streams), state);
        let mut clock = Clock::new(BootId(1), FieldMs(self.now), None, false);
        clock.handle_clock(FieldMs(self.now), Some(1_790_000_000_000));
        let what = EventKind::GatewayStarted {
            software: String::new(),
            clean_stop_before: false,
        };
        let event = Event {
            at_mono_ms: self.now,
            zone: None,
            planting: None,
            what,
        };
        records.events(vec![event], &mut clock);
        Some(Process {
            store,
            records,
            outbox,
            clock,
            evicting: false,
        })
    }

    /// A batch; `false` when the power is off.
    fn journal(&mut self, process: &mut Process) -> bool {
        let from = FieldMs(self.now);
        self.now += 1_000;
        self.cuts += 1;
        let value = i64::try_from(self.cuts).unwrap();
        let times: Vec<u64> = (0..READINGS).map(|tick| from.0 + tick).collect();
        let samples = vec![Sample::good(value); times.len()];
        let columns = vec![Column {
            channel: 0,
            samples,
        }];
        let axes = vec![Axis {
            step_ms: 1,
            times,
            columns,
        }];
        let readings = u32::try_from(READINGS).unwrap();
        let cut = Cut {
            from,
            to: FieldMs(self.now),
            axes,
            readings,
        };
        process
            .records
            .batch(cut, CatalogHash(1), &mut process.clock);
        self.settle(process)
    }

    /// Writes what there is and takes note of what is durable.
    fn settle(&mut self, process: &mut Process) -> bool {
        loop {
            while let Some(write) = process.records.take_write() {
                process.store.push(write);
            }
            let committed = process.store.commit();
            for outcome in process.store.take_outcomes() {
                for done in process.records.handle_outcome(outcome) {
                    self.handle_done(process, done);
                }
            }
            let due = evict::is_due(
                process.store.fill().live_bytes,
                OPTIONS.segment_bytes,
                OPTIONS.cap_bytes,
            );
            match committed {
                Ok(()) if !due => return true,
                Ok(()) => {}
                Err(Trouble::Full) => {}
                Err(Trouble::Disk | Trouble::DiskFull) => return false,
            }
            if !self.evict(process) {
                return true;
            }
        }
    }

    fn handle_done(&mut self, process: &mut Process, done: Done) {
        match done {
            Done::Record(entry, urgency) => {
                if entry.readings > 0 {
                    self.book
                        .batches
                        .insert(entry.name, u64::from(entry.readings));
                } else {
                    self.book.events.insert(entry.name, ());
                }
                let (field, link) = (FieldMs(self.now), LinkMs(self.now));
                process
                    .outbox
                    .handle_journalled(entry, urgency, field, link);
            }
            Done::Copied(entry) => process.outbox.handle_recovered(entry),
            Done::Evicted(segment) => {
                process.outbox.handle_evicted(segment);
                process.store.release(segment);
                process.evicting = false;
            }
            Done::Mapped(_) | Done::Persisted(_) => {}
        }
    }

    fn evict(&mut self, process: &mut Process) -> bool {
        assert!(
            !process.evicting,
            "the journal is too full to tell of what goes"
        );
        let Some(segment) = process.outbox.oldest_segment() else {
            return false;
        };
        let found = process.store.records_of(segment);
        let waiting: Vec<Found> = found
            .into_iter()
            .filter(|found| !process.outbox.is_settled(segment, found.name))
            .collect();
        let seen: Vec<evict::Waiting> = waiting
            .iter()
            .map(|f| evict::Waiting {
                name: f.name,
                kind: f.kind,
                readings: f.readings,
            })
            .collect();
        let plan = evict::plan(&seen, LossReason::CapReached);
        self.book.losses.extend(plan.losses.iter().cloned());
        let copies = plan
            .copies
            .iter()
            .map(|place| waiting[*place].clone())
            .collect();
        process.records.begin_eviction();
        process.records.evict(segment, &plan.losses, copies);
        process.evicting = true;
        true
    }

    /// A connection on which ingest gets and acknowledges at most `packets` packets.
    fn deliver(&mut self, process: &mut Process, packets: u32) {
        let (field, link) = (FieldMs(self.now), LinkMs(self.now));
        process.outbox.handle_connected(field, link);
        process.outbox.handle_ack(&self.ack(), link);
        let mut left = packets;
        loop {
            match process.outbox.poll_command(field, link) {
                Some(Command::Release { segment }) => process.store.release(segment),
                Some(Command::Keep { segment }) => process.store.keep(segment),
                Some(Command::Offer(offer)) if left > 0 => {
                    left -= 1;
                    match process.store.pack(&offer) {
                        Packed::Packet { id, to, packet } => {
                            self.take(&packet);
                            process.outbox.handle_published(id, to, link);
                            process
                                .outbox
                                .handle_puback(id, PubackAnswer::Accepted, link);
                            process.outbox.handle_ack(&self.ack(), link);
                        }
                        Packed::Unreadable { .. } => panic!("{offer:?} can't be read"),
                    }
                }
                Some(Command::Offer(_) | Command::Rebuild) | None => break,
            }
        }
        process.outbox.handle_disconnected();
    }

    fn take(&mut self, packet: &[u8]) {
        let content = decode_packet(packet).unwrap();
        for record in records(&content) {
            let record = record.unwrap();
            let before = self.ingest.insert(record.name, record.body.to_vec());
            assert!(
                before.is_none_or(|before| before == record.body),
                "{}",
                record.name
            );
        }
    }

    fn ack(&self) -> Ack {
        let mut streams: BTreeMap<StreamId, Vec<(u64, u64)>> = BTreeMap::new();
        for RecordName {
            stream,
            seq: Seq(seq),
        } in self.ingest.keys()
        {
            let ranges = streams.entry(*stream).or_default();
            match ranges.last_mut() {
                Some((_, to)) if *to + 1 == *seq => *to = *seq,
                Some(_) | None => ranges.push((*seq, *seq)),
            }
        }
        let marks = |(stream, mut ranges): (StreamId, Vec<(u64, u64)>)| {
            let starts = ranges.first().is_some_and(|(from, _)| *from == 1);
            let mark = if starts { ranges.remove(0).1 } else { 0 };
            StreamMarks {
                stream,
                mark,
                ranges,
            }
        };
        Ack {
            ingest_unix_ms: 0,
            streams: streams.into_iter().map(marks).collect(),
        }
    }

    /// Every durable record is at ingest, or a loss told of it.
    fn check(&self) {
        let told = |name: &RecordName| {
            self.book.losses.iter().any(|loss| {
                loss.stream == name.stream && loss.from_seq <= name.seq && name.seq <= loss.to_seq
            })
        };
        for name in self.book.batches.keys() {
            assert!(
                self.ingest.contains_key(name) || told(name),
                "{name} is lost"
            );
        }
        for name in self.book.events.keys() {
            assert!(self.ingest.contains_key(name), "the event {name} is lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_durable_is_lost(
        lives in proptest::collection::vec(
            (1_u64..60_000, 0_u64..3, any::<u64>(), 0_usize..60, 0_u32..12),
            1..8,
        ),
    ) {
        let mut life = Life::new();
        for (cut_in, survival, seed, batches, packets) in lives {
            life.disk.cut_power_in(cut_in);
            if let Some(mut process) = life.start() {
                let mut on = life.settle(&mut process);
                for batch in 0..batches {
                    on = on && life.journal(&mut process);
                    if on && batch % 20 == 19 {
                        life.deliver(&mut process, packets);
                    }
                }
            }
            life.disk.restart(match survival {
                0 => Survival::Everything,
                1 => Survival::Nothing,
                _ => Survival::Torn { seed },
            });
        }
        let mut process = life.start().unwrap();
        prop_assert!(life.settle(&mut process));
        life.deliver(&mut process, u32::MAX);
        prop_assert_eq!(process.outbox.totals().waiting_records, 0);
        life.check();
        // The totals survived too: at least what was reported, at most what was ever cut.
        let durable: u64 = life.book.batches.values().sum();
        prop_assert!(process.records.journalled_readings() >= durable);
        prop_assert!(process.records.journalled_readings() <= life.cuts * READINGS);
        let given: u64 = life.ingest.len() as u64;
        prop_assert!(given >= life.book.events.len() as u64);
    }
}

/// A gateway that never gets through: the newest readings are kept, the oldest told as lost, and
/// every event is still there.
#[test]
fn at_the_cap_batches_go_and_events_stay() {
    const BATCHES: u64 = 700;
    let mut life = Life::new();
    let mut process = life.start().unwrap();
    assert!(life.settle(&mut process));
    for _ in 0..BATCHES {
        assert!(life.journal(&mut process));
    }
    let lost: u64 = life.book.losses.iter().map(|loss| loss.readings).sum();
    assert!(lost > 0, "the cap was never reached");
    assert_eq!(process.records.lost_readings(), lost);
    assert_eq!(process.records.journalled_readings(), BATCHES * READINGS);
    let waiting = process.outbox.totals().waiting_readings;
    assert_eq!(waiting + lost, BATCHES * READINGS);
    // Again after a restart.
    drop(process);
    let mut process = life.start().unwrap();
    assert!(life.settle(&mut process));
    assert_eq!(process.records.journalled_readings(), BATCHES * READINGS);
    assert_eq!(process.records.lost_readings(), lost);
    assert_eq!(process.outbox.totals().waiting_readings, waiting);
    life.deliver(&mut process, u32::MAX);
    life.check();
    let first = RecordName {
        stream: StreamId(1),
        seq: Seq(1),
    };
    assert!(life.ingest.contains_key(&first), "the first event of all");
    let delivered = life
        .ingest
        .keys()
        .filter(|name| life.book.batches.contains_key(name))
        .count();
    assert_eq!(delivered as u64 * READINGS, waiting);
}

/// An ingest that is restored from a backup could read no batch without it.
#[test]
fn the_catalog_is_written_again_when_its_segment_goes() {
    let mut life = Life::new();
    let mut process = life.start().unwrap();
    let catalog = Catalog {
        greenhouse: "nha-luoi-1".parse().unwrap(),
        greenhouse_name: String::new(),
        software: String::new(),
        devices: Vec::new(),
        channels: Vec::new(),
        zones: Vec::new(),
    };
    process.records.catalog(&catalog);
    let mut written = 0;
    for _ in 0..400 {
        assert!(life.journal(&mut process));
        let segments = process.store.fill().segments;
        if process.records.lacks_catalog(&segments) {
            assert!(!segments.contains(&1), "while its segment is there");
            process.records.catalog(&catalog);
            assert!(!process.records.lacks_catalog(&segments), "once is enough");
            written += 1;
        }
        life.deliver(&mut process, u32::MAX);
    }
    assert!(written > 1, "written {written} times");
}
