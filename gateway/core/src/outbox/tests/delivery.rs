//! A whole life: records of three streams through a network that loses, repeats and reorders, to an
//! ingest that answers seldom, dies, and is once restored from a backup.

use std::collections::BTreeMap;

use super::super::*;
use furrow_wire::{MAX_RANGES, Record, RecordKind, StreamMarks, parse_record};
use proptest::prelude::*;
use rand::RngExt;

/// What ingest keeps, and how it answers: as the design says, nothing more.
#[derive(Clone, Default)]
struct FakeIngest {
    stored: BTreeMap<RecordName, Vec<u8>>,
    marks: BTreeMap<StreamId, StreamMarks>,
    packets_since_ack: u32,
    unacked_since: Option<u64>,
}

impl FakeIngest {
    fn handle_packet(&mut self, records: &[Vec<u8>], now: u64) {
        for bytes in records {
            let (record, length) = parse_record(bytes).unwrap();
            assert_eq!(length, bytes.len());
            let marks = self.marks.entry(record.name.stream).or_insert(StreamMarks {
                stream: record.name.stream,
                mark: 0,
                ranges: Vec::new(),
            });
            if store(marks, record.name.seq.0) {
                let before = self.stored.insert(record.name, bytes.clone());
                assert!(
                    before.is_none_or(|before| before == *bytes),
                    "same name, same bytes"
                );
            }
        }
        self.packets_since_ack += 1;
        self.unacked_since.get_or_insert(now);
    }

    /// A stream that the gateway holds is acknowledged from then on, if only to say: nothing.
    fn handle_birth(&mut self, held: &[Held]) {
        for held in held {
            self.marks.entry(held.stream).or_insert(StreamMarks {
                stream: held.stream,
                mark: 0,
                ranges: Vec::new(),
            });
        }
    }

    fn poll_ack(&mut self, now: u64) -> Option<Ack> {
        let since = self.unacked_since?;
        (self.packets_since_ack >= 8 || now - since >= 1_000).then(|| self.ack())
    }

    fn ack(&mut self) -> Ack {
        self.packets_since_ack = 0;
        self.unacked_since = None;
        let ack = Ack {
            ingest_unix_ms: 0,
            streams: self.marks.values().cloned().collect(),
        };
        Ack::decode(&ack.encode()).unwrap()
    }
}

/// Adds a seq to the marks; `false` when it opens a 65th range.
fn store(marks: &mut StreamMarks, seq: u64) -> bool {
    if marks.holds(seq) {
        return true;
    }
    let mut held: Vec<(u64, u64)> = std::mem::take(&mut marks.ranges);
    let before = held.clone();
    held.push((seq, seq));
    held.sort_unstable();
    let mut merged: Vec<(u64, u64)> = vec![(0, marks.mark)];
    for (from, to) in held {
        match merged.last_mut() {
            Some((_, end)) if *end + 1 >= from => *end = to.max(*end),
            Some(_) | None => merged.push((from, to)),
        }
    }
    let mark = merged.remove(0).1;
    if merged.len() > MAX_RANGES {
        marks.ranges = before;
        return false;
    }
    (marks.mark, marks.ranges) = (mark, merged);
    true
}

struct World {
    outbox: Outbox,
    ingest: FakeIngest,
    journal: BTreeMap<RecordName, Vec<u8>>,
    places: BTreeMap<RecordName, u64>,
    next: BTreeMap<StreamId, u64>,
    connected: bool,
    now: u64,
    rng: StdRng,
    /// Packets on their way to ingest: (arrival, records).
    network: Vec<(u64, Vec<Vec<u8>>)>,
    acks: Vec<(u64, Ack)>,
    faults: Faults,
}

/// Chances in percent.
#[derive(Debug, Clone, Copy)]
struct Faults {
    loss: u32,
    twice: u32,
    ack_loss: u32,
    disconnect: u32,
    delay_ms: u64,
}

const NO_FAULTS: Faults = Faults {
    loss: 0,
    twice: 0,
    ack_loss: 0,
    disconnect: 0,
    delay_ms: 1,
};

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let options = Options {
            send_interval_ms: 60_000,
            live_places: LIVE_PLACES,
            seed,
        };
        World {
            outbox: Outbox::new(options),
            ingest: FakeIngest::default(),
            journal: BTreeMap::new(),
            places: BTreeMap::new(),
            next: BTreeMap::new(),
            connected: false,
            now: 0,
            rng: StdRng::seed_from_u64(seed),
            network: Vec::new(),
            acks: Vec::new(),
            faults,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn append(&mut self, stream: u64, recovered: bool) {
        let stream = StreamId(stream);
        let seq = self.next.entry(stream).or_insert(1);
        let name = RecordName {
            stream,
            seq: Seq(*seq),
        };
        let body = format!("{stream} {seq}").into_bytes().into();
        *seq += 1;
        let record = Record {
            name,
            kind: RecordKind::Batch,
            body,
        }
        .encode()
        .unwrap();
        let offset = u32::try_from(self.journal.len()).unwrap() % 300;
        let segment = self.journal.len() as u64 / 300;
        self.journal.insert(name, record.to_vec());
        self.places.insert(name, segment);
        let place = Place { segment, offset };
        let entry = Journalled {
            name,
            place,
            readings: 3,
            held: None,
        };
        let (field, link) = (FieldMs(self.now), LinkMs(self.now));
        if recovered {
            self.outbox.handle_recovered(entry);
        } else {
            self.outbox
                .handle_journalled(entry, Urgency::Normal, field, link);
        }
    }

    fn step(&mut self, ms: u64) {
        self.now += ms;
        if self.connected && self.chance(self.faults.disconnect) {
            self.connected = false;
            self.outbox.handle_disconnected();
        } else if !self.connected {
            self.connected = true;
            self.outbox
                .handle_connected(FieldMs(self.now), LinkMs(self.now));
            self.ingest.handle_birth(&self.outbox.streams());
            let ack = self.ingest.ack();
            self.send_ack(ack);
        }
        self.deliver();
        while let Some(command) = self
            .outbox
            .poll_command(FieldMs(self.now), LinkMs(self.now))
        {
            self.obey(command);
        }
        assert!(self.outbox.flights.len() <= WINDOW);
    }

    fn obey(&mut self, command: Command) {
        let offer = match command {
            Command::Offer(offer) => offer,
            Command::Release { segment } => {
                for (name, _) in self.places.iter().filter(|(_, at)| **at == segment) {
                    assert!(
                        !self.outbox.index.is_waiting(*name),
                        "{name} was released waiting"
                    );
                }
                return;
            }
            // Nothing is used again here.
            Command::Keep { .. } => return,
            Command::Rebuild => {
                self.connected = false;
                self.outbox.handle_disconnected();
                return;
            }
        };
        let to = offer.to.0.min(offer.from.0 + 20);
        let names = (offer.from.0..=to).map(|seq| RecordName {
            stream: offer.stream,
            seq: Seq(seq),
        });
        let records: Vec<_> = names.map(|name| self.journal[&name].clone()).collect();
        let link = LinkMs(self.now);
        self.outbox.handle_published(offer.id, Seq(to), link);
        self.outbox
            .handle_puback(offer.id, PubackAnswer::Accepted, link);
        let copies = if self.chance(self.faults.loss) {
            0
        } else if self.chance(self.faults.twice) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let at = self.now + self.rng.random_range(0..=self.faults.delay_ms);
            self.network.push((at, records.clone()));
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let arrived: Vec<_> = self.network.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, records) in arrived {
            self.ingest.handle_packet(&records, now);
        }
        if let Some(ack) = self.ingest.poll_ack(now) {
            self.send_ack(ack);
        }
        let arrived: Vec<_> = self.acks.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, ack) in arrived {
            if self.connected {
                self.outbox.handle_ack(&ack, LinkMs(now));
            }
        }
    }

    fn send_ack(&mut self, ack: Ack) {
        if self.connected && !self.chance(self.faults.ack_loss) {
            let at = self.now + self.rng.random_range(0..=self.faults.delay_ms);
            self.acks.push((at, ack));
        }
    }

    /// Ingest has what the journal has, byte for byte, and the outbox knows it.
    fn assert_delivered(&self) {
        assert_eq!(self.outbox.totals().waiting_records, 0);
        assert_eq!(self.outbox.totals().waiting_readings, 0);
        let names = |records: &BTreeMap<RecordName, Vec<u8>>| -> Vec<_> {
            records.keys().copied().collect()
        };
        assert_eq!(names(&self.ingest.stored), names(&self.journal));
        assert!(self.ingest.stored == self.journal, "same names, same bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives(
        seed: u64,
        loss in 0u32..60,
        twice in 0u32..40,
        ack_loss in 0u32..60,
        disconnect in 0u32..5,
        delay_ms in 1u64..20_000,
        outage in 0usize..700,
        restore_at in 0usize..400,
    ) {
        let mut world = World::new(seed, Faults { loss, twice, ack_loss, disconnect, delay_ms });
        for record in 0..outage {
            world.append(1 + record as u64 / 250, true);
        }
        let mut backup = FakeIngest::default();
        for step in 0..400 {
            if step % 5 == 0 {
                world.append(9, false);
            }
            if step == restore_at / 2 {
                backup = world.ingest.clone();
            }
            if step == restore_at {
                world.ingest = backup.clone();
                world.connected = false;
                world.outbox.handle_disconnected();
                world.acks.clear();
            }
            world.step(5_000);
        }
        world.faults = NO_FAULTS;
        // An ingest that was restored tells so at the next connect.
        world.connected = false;
        world.outbox.handle_disconnected();
        world.outbox.handle_flush();
        for _ in 0..4_000 {
            world.step(500);
        }
        world.assert_delivered();
    }
}
