//! The model and the code take the same steps, and come to the same state.
//!
//! Random steps of the model are executed on the real cores: `Recorder`, `Outbox` and `Recovery` of the
//! gateway, `Tracker` and `AckSchedule` of ingest, and the codecs of packets and acknowledgements
//! between them. What goes when is the outbox's own decision: it must be one that the model allows.
//! After each step both must say the same: which records wait, what ingest holds, what it tells.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use furrow_delivery_model::state::{Ack, Body, Message, Name, Record};
use furrow_delivery_model::step::{Copies, Unsynced};
use furrow_delivery_model::{Bounds, Delivery, State, Step};
use furrow_gateway_core::outbox::{
    Command, Journalled, Options, Outbox, Place, PubackAnswer, Urgency,
};
use furrow_gateway_core::record::{ENTRY_RECORD, Recorded, Recorder, parse_stored};
use furrow_gateway_core::recovery::Recovery;
use furrow_gateway_core::{FieldMs, LinkMs};
use furrow_ingest_core::{AckSchedule, AckScope, GatewayKey, Offer, Offered, Taken, Tracker};
use furrow_wire::{
    Compression, HeldStream, Loss, LossReason, RecordKind, RecordName, Seq, StreamId, StreamMarks,
    decode_packet, encode_packet, parse_record,
};
use proptest::prelude::*;
use stateright::Model;

/// Much of everything: a random walk visits few states of many.
const BOUNDS: Bounds = Bounds {
    records: 200,
    crashes: 60,
    faults: 60,
    images: 10,
    backups: 10,
    window: 4,
    acks: 3,
    cap: Some(6),
};

/// A stream's number in the code: the model's, made large.
fn stream_id(stream: u8) -> StreamId {
    StreamId(0x1000 + u64::from(stream))
}

fn stream_of(id: StreamId) -> u8 {
    u8::try_from(id.0 - 0x1000).unwrap()
}

fn name_of(name: RecordName) -> Name {
    Name {
        stream: stream_of(name.stream),
        seq: u8::try_from(name.seq.0).unwrap(),
    }
}

fn record_name(name: Name) -> RecordName {
    RecordName {
        stream: stream_id(name.stream),
        seq: Seq(u64::from(name.seq)),
    }
}

/// The real gateway's core, with a journal of one entry a segment.
struct Gateway {
    recorder: Recorder,
    outbox: Outbox,
    journal: BTreeMap<u64, Bytes>,
    pending: Vec<Recorded>,
    next_segment: u64,
    seed: u64,
}

/// The real ingest's cores, with a log of packets and births.
struct Ingest {
    front: Tracker,
    acks: AckSchedule,
    log: Vec<Logged>,
    synced: usize,
    greeted: bool,
}

#[derive(Clone)]
enum Logged {
    Packet(Bytes),
    State(Vec<HeldStream>),
}

/// A message as it travels, and as the model sees it.
#[derive(Clone)]
enum Travelling {
    Packet(Bytes),
    State(Vec<HeldStream>),
}

struct World {
    model: Delivery,
    state: State,
    gateway: Gateway,
    ingest: Ingest,
    to_ingest: BTreeMap<Message, Travelling>,
    to_gateway: BTreeMap<Ack, Bytes>,
    retained: Option<Vec<HeldStream>>,
    image: BTreeMap<u64, Bytes>,
    backup: Vec<Logged>,
    now: u64,
    taken: BTreeMap<&'static str, u32>,
}

fn key() -> GatewayKey {
    GatewayKey {
        cooperative: "a".parse().unwrap(),
        gateway: "g".parse().unwrap(),
    }
}

fn outbox(seed: u64) -> Outbox {
    Outbox::new(Options {
        send_interval_ms: 60_000,
        live_places: 8,
        seed,
    })
}

impl Gateway {
    fn new(seed: u64) -> Self {
        Gateway {
            recorder: Recorder::new(stream_id(0)),
            outbox: outbox(seed),
            journal: BTreeMap::new(),
            pending: Vec::new(),
            next_segment: 1,
            seed,
        }
    }

    fn append(&mut self, kind: RecordKind, body: Bytes) {
        let readings = u32::from(kind == RecordKind::Batch);
        let record = self
            .recorder
            .record(kind, body, readings, None, Urgency::Normal)
            .unwrap();
        self.pending.push(record);
    }

    /// Writes what was appended; the outbox learns of it unless the process dies first.
    fn write(&mut self, tell: Option<u64>) {
        for record in std::mem::take(&mut self.pending) {
            let place = Place {
                segment: self.next_segment,
                offset: 0,
            };
            self.next_segment += 1;
            let lost = parse_stored(&record.payload)
                .ok()
                .filter(|stored| stored.record.kind == RecordKind::Loss.code())
                .map(|stored| Loss::decode(stored.record.body).unwrap());
            self.journal.insert(place.segment, record.payload);
            let Some(now) = tell else {
                continue;
            };
            let entry = Journalled {
                name: record.name,
                place,
                readings: record.readings,
                held: None,
            };
            let (field, link) = (FieldMs(now), LinkMs(now));
            self.outbox
                .handle_journalled(entry, record.urgency, field, link);
            if let Some(loss) = lost {
                self.outbox
                    .handle_lost(loss.stream, loss.from_seq, loss.to_seq);
                let segment = self.segment_of(RecordName {
                    stream: loss.stream,
                    seq: loss.from_seq,
                });
                // Acknowledged and recycled in the meantime, perhaps.
                if let Some(segment) = segment {
                    self.outbox.handle_evicted(segment);
                    self.journal.remove(&segment);
                }
            }
        }
    }

    fn segment_of(&self, name: RecordName) -> Option<u64> {
        let mut entries = self.journal.iter();
        let found = entries.find(|(_, payload)| parse_stored(payload).unwrap().record.name == name);
        found.map(|(segment, _)| *segment)
    }

    fn start(&mut self, stream: u8) {
        self.pending.clear();
        self.seed += 1;
        let mut recovery = Recovery::new(outbox(self.seed));
        for (segment, payload) in &self.journal {
            let place = Place {
                segment: *segment,
                offset: 0,
            };
            recovery.handle_entry(place, ENTRY_RECORD, payload);
        }
        let recovered = recovery.finish(&[]);
        assert_eq!(recovered.unreadable, 0);
        self.outbox = recovered.outbox;
        self.recorder = Recorder::new(stream_id(stream));
    }

    fn held(&self) -> Vec<HeldStream> {
        let streams = self.outbox.streams().into_iter();
        streams
            .map(|held| HeldStream {
                stream: held.stream,
                first: held.first,
                last: held.last,
            })
            .collect()
    }

    /// Which records are in the journal, and which of them are settled.
    fn records(&self) -> BTreeMap<Name, bool> {
        let entries = self.journal.iter();
        entries
            .map(|(segment, payload)| {
                let name = parse_stored(payload).unwrap().record.name;
                (name_of(name), self.outbox.is_settled(*segment, name))
            })
            .collect()
    }
}

impl Ingest {
    fn new() -> Self {
        Ingest {
            front: Tracker::default(),
            acks: AckSchedule::default(),
            log: Vec::new(),
            synced: 0,
            greeted: false,
        }
    }

    fn handle_packet(&mut self, packet: &Bytes, now: u64) {
        let offered = offered(packet);
        if self.front.has_news(&key(), &offered) {
            self.log.push(Logged::Packet(packet.clone()));
            let taken = self.front.apply_packet(&key(), &offered, 0);
            assert!(!taken.contains(&Taken::Conflict), "a name, its bytes");
        }
        let streams = offered.iter().map(|one| one.offer.name.stream);
        self.acks.handle_packet(&key(), streams, now);
        if !std::mem::replace(&mut self.greeted, true) {
            self.acks.handle_connect(&key(), now);
        }
    }

    fn handle_state(&mut self, held: &[HeldStream], now: u64) {
        if self.front.is_moved_by(&key(), held, 0) {
            self.log.push(Logged::State(held.to_vec()));
            self.front.handle_state(&key(), held, 0);
        }
        self.greeted = true;
        self.acks.handle_connect(&key(), now);
    }

    fn start(&mut self, log: Vec<Logged>) {
        *self = Ingest::new();
        for logged in &log {
            match logged {
                Logged::Packet(packet) => {
                    self.front.apply_packet(&key(), &offered(packet), 0);
                }
                Logged::State(held) => self.front.handle_state(&key(), held, 0),
            }
        }
        self.synced = log.len();
        self.log = log;
    }

    fn acknowledge(&mut self, now: u64) -> furrow_wire::Ack {
        let due = self.acks.poll_due(now);
        assert_eq!(due.len(), 1, "one gateway");
        let streams = match &due[0].scope {
            AckScope::All => self.front.marks(&key(), None),
            AckScope::Touched(streams) => self.front.marks(&key(), Some(streams)),
        };
        furrow_wire::Ack {
            ingest_unix_ms: 0,
            streams,
        }
    }
}

fn offered(packet: &Bytes) -> Vec<Offered> {
    let content = decode_packet(packet).unwrap();
    let mut rest = &content[..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (record, length) = parse_record(rest).unwrap();
        let is_loss = record.kind == RecordKind::Loss.code();
        let lost = is_loss.then(|| {
            let loss = Loss::decode(record.body).unwrap();
            (loss.stream, (loss.from_seq.0, loss.to_seq.0))
        });
        let offer = Offer {
            name: record.name,
            lost,
        };
        let checksum = crc32c::crc32c(&rest[..length]);
        all.push(Offered { offer, checksum });
        rest = &rest[length..];
    }
    all
}

/// The seqs that marks speak of.
fn seqs(marks: &StreamMarks) -> BTreeSet<u8> {
    (1..=u8::MAX)
        .filter(|seq| marks.holds(u64::from(*seq)))
        .collect()
}

fn abstract_ack(ack: &furrow_wire::Ack) -> Ack {
    let streams = ack.streams.iter();
    Ack(streams
        .map(|marks| (stream_of(marks.stream), seqs(marks)))
        .collect())
}

fn streams(held: &[HeldStream]) -> BTreeSet<u8> {
    held.iter().map(|held| stream_of(held.stream)).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let model = Delivery::new(BOUNDS);
        let state = model.init_states().remove(0);
        World {
            model,
            state,
            gateway: Gateway::new(seed),
            ingest: Ingest::new(),
            to_ingest: BTreeMap::new(),
            to_gateway: BTreeMap::new(),
            retained: None,
            image: BTreeMap::new(),
            backup: Vec::new(),
            now: 0,
            taken: BTreeMap::new(),
        }
    }

    /// Takes one of the steps that can happen. What to offer is the outbox's choice.
    fn take(&mut self, choice: u64) {
        self.now += 1 + choice % 40_000;
        let mut steps = self.model.steps(&self.state);
        let has_offers = steps.iter().any(|step| matches!(step, Step::Offer { .. }));
        steps.retain(|step| !matches!(step, Step::Offer { .. }));
        let choices = u64::try_from(steps.len()).unwrap() + if has_offers { 4 } else { 0 };
        let at = usize::try_from((choice >> 20) % choices).unwrap();
        match steps.get(at).cloned() {
            Some(step) => {
                self.state = self.model.after(&self.state, &step);
                self.follow(&step);
            }
            None => self.poll_outbox(),
        }
        self.compare();
    }

    /// Whatever the outbox offers must be a step of the model.
    fn poll_outbox(&mut self) {
        let (field, link) = (FieldMs(self.now), LinkMs(self.now));
        loop {
            match self.gateway.outbox.poll_command(field, link) {
                Some(Command::Offer(offer)) => {
                    let step = Step::Offer {
                        stream: stream_of(offer.stream),
                        from: u8::try_from(offer.from.0).unwrap(),
                        to: u8::try_from(offer.to.0).unwrap(),
                    };
                    let steps = self.model.steps(&self.state);
                    assert!(steps.contains(&step), "{step:?} is not one of {steps:?}");
                    let records: Vec<Bytes> = (offer.from.0..=offer.to.0)
                        .map(|seq| self.bytes_of(offer.stream, Seq(seq)))
                        .collect();
                    let parts: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
                    let packet = encode_packet(&parts, Compression::Plain).unwrap();
                    self.gateway
                        .outbox
                        .handle_published(offer.id, offer.to, link);
                    self.gateway
                        .outbox
                        .handle_puback(offer.id, PubackAnswer::Accepted, link);
                    self.state = self.model.after(&self.state, &step);
                    self.count("offer");
                    let message = self.newest_message(|message| !message.records().is_empty());
                    for message in message {
                        let same = self
                            .to_ingest
                            .insert(message, Travelling::Packet(packet.clone()));
                        if let Some(Travelling::Packet(before)) = same {
                            assert_eq!(before, packet, "retries send the same bytes");
                        }
                    }
                    return;
                }
                Some(Command::Release { .. } | Command::Keep { .. }) => {}
                Some(Command::Rebuild) => unreachable!("every publish was answered"),
                None => return,
            }
        }
    }

    /// Messages that the model has under way and the real side has not yet.
    fn newest_message(&self, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let all = self.state.broker.to_ingest.iter();
        all.filter(|message| !self.to_ingest.contains_key(message) && wanted(message))
            .cloned()
            .collect()
    }

    fn bytes_of(&self, stream: StreamId, seq: Seq) -> Bytes {
        let segment = self.gateway.segment_of(RecordName { stream, seq }).unwrap();
        let payload = &self.gateway.journal[&segment];
        let stored = parse_stored(payload).unwrap();
        payload.slice_ref(stored.bytes)
    }

    fn count(&mut self, what: &'static str) {
        *self.taken.entry(what).or_default() += 1;
    }

    /// The same step, on the real cores.
    fn follow(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Journal => {
                let body = Bytes::from(vec![self.state.left.records]);
                self.gateway.append(RecordKind::Batch, body);
            }
            Step::Commit => self.gateway.write(Some(now)),
            Step::Evict(name) => self.evict(*name),
            Step::Recycle(name) => self.recycle(*name),
            Step::Connect => {
                let (field, link) = (FieldMs(now), LinkMs(now));
                self.gateway.outbox.handle_connected(field, link);
                self.say_birth();
            }
            Step::SayBirth => self.say_birth(),
            Step::Disconnect => self.gateway.outbox.handle_disconnected(),
            Step::Offer { .. } => unreachable!("the outbox chooses"),
            Step::HandleAck(ack, copies) => self.hand_over_ack(ack, *copies),
            Step::CrashGateway(unsynced) => {
                self.count("gateway crash");
                self.write_unsynced(*unsynced);
                self.gateway.start(self.state.gateway.stream);
            }
            Step::TakeImage => self.image.clone_from(&self.gateway.journal),
            Step::RestoreImage => {
                self.count("image");
                self.gateway.journal = std::mem::take(&mut self.image);
                self.gateway.start(self.state.gateway.stream);
            }
            Step::HandleMessage(message, copies) => self.hand_over(message, *copies),
            Step::CommitLog => self.ingest.synced = self.ingest.log.len(),
            Step::Acknowledge => self.acknowledge(),
            Step::Archive => {}
            Step::CrashIngest(unsynced) => {
                self.count("ingest crash");
                let mut log = std::mem::take(&mut self.ingest.log);
                match unsynced {
                    Unsynced::Kept => {}
                    Unsynced::Gone => log.truncate(self.ingest.synced),
                }
                self.start_ingest(log);
            }
            Step::TakeBackup => self.backup = self.ingest.log[..self.ingest.synced].to_vec(),
            Step::RestoreBackup => {
                self.count("backup");
                let log = std::mem::take(&mut self.backup);
                self.start_ingest(log);
            }
            Step::Lose(message) => drop(self.to_ingest.remove(message)),
            Step::LoseAck(ack) => drop(self.to_gateway.remove(ack)),
            Step::ForgetSessions => {
                self.count("sessions forgotten");
                self.to_ingest.clear();
                self.to_gateway.clear();
                self.retained = None;
                self.gateway.outbox.handle_disconnected();
            }
        }
    }

    fn write_unsynced(&mut self, unsynced: Unsynced) {
        match unsynced {
            Unsynced::Kept => {
                if self
                    .gateway
                    .pending
                    .iter()
                    .any(|record| record.readings == 0)
                {
                    self.count("a loss outlives a crash that its record does, too");
                }
                self.gateway.write(None);
            }
            Unsynced::Gone => {}
        }
    }

    fn evict(&mut self, name: Name) {
        self.count("evict");
        let RecordName { stream, seq } = record_name(name);
        let loss = Loss {
            stream,
            from_seq: seq,
            to_seq: seq,
            readings: 1,
            reason: LossReason::CapReached,
            text: String::new(),
        };
        self.gateway.append(RecordKind::Loss, loss.encode());
    }

    fn recycle(&mut self, name: Name) {
        let segment = self.gateway.segment_of(record_name(name)).unwrap();
        self.gateway.journal.remove(&segment);
        let mut existing: Vec<u64> = self.gateway.journal.keys().copied().collect();
        // The one that is written next.
        existing.push(self.gateway.next_segment);
        self.gateway.outbox.handle_segments(&existing);
        self.count("recycle");
    }

    fn say_birth(&mut self) {
        let held = self.gateway.held();
        let message = Message::State(streams(&held));
        assert_eq!(self.state.broker.retained, Some(streams(&held)));
        self.retained = Some(held.clone());
        self.to_ingest.insert(message, Travelling::State(held));
    }

    fn hand_over(&mut self, message: &Message, copies: Copies) {
        let travelling = match copies {
            Copies::Last => self.to_ingest.remove(message),
            Copies::Another => self.to_ingest.get(message).cloned(),
        };
        match travelling.unwrap() {
            Travelling::Packet(packet) => self.ingest.handle_packet(&packet, self.now),
            Travelling::State(held) => self.ingest.handle_state(&held, self.now),
        }
    }

    fn acknowledge(&mut self) {
        // A second later at the latest.
        self.now += 1_000;
        let ack = self.ingest.acknowledge(self.now);
        let said = abstract_ack(&ack);
        let all = &self.state.broker.to_gateway;
        assert!(all.contains(&said), "{said:?} is not one of {all:?}");
        self.to_gateway.insert(said, ack.encode());
        self.count("ack");
    }

    fn hand_over_ack(&mut self, ack: &Ack, copies: Copies) {
        let bytes = match copies {
            Copies::Last => self.to_gateway.remove(ack),
            Copies::Another => self.to_gateway.get(ack).cloned(),
        };
        let ack = furrow_wire::Ack::decode(&bytes.unwrap()).unwrap();
        self.gateway.outbox.handle_ack(&ack, LinkMs(self.now));
    }

    fn start_ingest(&mut self, log: Vec<Logged>) {
        self.ingest.start(log);
        if let Some(held) = self.retained.clone() {
            self.to_ingest
                .insert(Message::State(streams(&held)), Travelling::State(held));
        }
    }

    /// Both say the same.
    fn compare(&self) {
        let State {
            gateway,
            broker,
            ingest,
            ..
        } = &self.state;
        let records: BTreeMap<Name, bool> = gateway
            .journal
            .iter()
            .map(|record| (record.name, gateway.settled.contains(&record.name)))
            .collect();
        assert_eq!(self.gateway.records(), records, "what is settled");
        let waiting = records.values().filter(|is_settled| !**is_settled).count();
        let totals = self.gateway.outbox.totals();
        assert_eq!(totals.waiting_records, waiting as u64, "what waits");
        let held: BTreeMap<u8, BTreeSet<u8>> = ingest
            .front
            .streams
            .keys()
            .map(|stream| (*stream, ingest.front.says(*stream)))
            .collect();
        let tracked: BTreeMap<u8, BTreeSet<u8>> = self
            .ingest
            .front
            .iter()
            .map(|(_, stream, known)| (stream_of(stream), seqs(&known.track.marks(stream))))
            .collect();
        assert_eq!(tracked, held, "what ingest holds");
        let missing = self.ingest.front.missing_of(&key());
        for (stream, held) in &held {
            let listed = missing.get(&stream_id(*stream)).into_iter().flatten();
            let listed: BTreeSet<u64> = listed.flat_map(|one| one.range.0..=one.range.1).collect();
            let last = held.last().copied().unwrap_or(0);
            let holes = (1..last).filter(|seq| !held.contains(seq)).map(u64::from);
            assert!(
                holes.clone().all(|seq| listed.contains(&seq)),
                "what is missing"
            );
            let is_held = |seq: &u64| u8::try_from(*seq).is_ok_and(|seq| held.contains(&seq));
            assert!(!listed.iter().any(is_held), "what is held is not missing");
        }
        let is_dirty = ingest.front != ingest.synced;
        let has_unsynced = self.ingest.synced < self.ingest.log.len();
        // Two births that cancel each other out are two entries of the log.
        assert!(has_unsynced || !is_dirty, "what is not synced");
        let on_their_way: BTreeSet<Message> = self.to_ingest.keys().cloned().collect();
        assert_eq!(on_their_way, broker.to_ingest, "what is under way");
        let acks: BTreeSet<Ack> = self.to_gateway.keys().cloned().collect();
        assert_eq!(acks, broker.to_gateway, "what is said");
    }
}

/// What a packet holds is what the model says, record by record.
fn same_records(packet: &Bytes, records: &[Record]) {
    let content = decode_packet(packet).unwrap();
    let mut rest = &content[..];
    for record in records {
        let (raw, length) = parse_record(rest).unwrap();
        assert_eq!(name_of(raw.name), record.name);
        match record.body {
            Body::Reading(reading) => assert_eq!(raw.body, [reading]),
            Body::Loss(name) => {
                let loss = Loss::decode(raw.body).unwrap();
                assert_eq!((loss.stream, loss.from_seq), {
                    let RecordName { stream, seq } = record_name(name);
                    (stream, seq)
                });
            }
        }
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn model_and_code_take_the_same_steps(
        seed: u64,
        choices in proptest::collection::vec(any::<u64>(), 50..400),
    ) {
        let mut world = World::new(seed);
        for choice in choices {
            world.take(choice);
            for (message, travelling) in &world.to_ingest {
                if let Travelling::Packet(packet) = travelling {
                    same_records(packet, message.records());
                }
            }
        }
    }
}

/// The random walks above reach what they are for.
#[test]
fn the_walks_reach_every_kind_of_step() {
    let mut taken: BTreeMap<&str, u32> = BTreeMap::new();
    let mut choice: u64 = 1;
    for seed in 0..20 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            choice = choice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            world.take(choice >> 8);
        }
        for (what, times) in world.taken {
            *taken.entry(what).or_default() += times;
        }
    }
    let kinds: Vec<&str> = taken.keys().copied().collect();
    let expected = [
        "a loss outlives a crash that its record does, too",
        "ack",
        "backup",
        "evict",
        "gateway crash",
        "image",
        "ingest crash",
        "offer",
        "recycle",
        "sessions forgotten",
    ];
    assert_eq!(kinds, expected, "{taken:?}");
}
