//! A gateway's process without sockets, threads and buses: the real store, records, outbox, clock and
//! schedule, joined as `furrow-gateway run` joins them, over a card that fails on demand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use furrow_gateway::run::journal_thread::{Answer, Request};
use furrow_gateway::run::records::{Done, Records};
use furrow_gateway::run::store::{Fill, Found, Outcome, Packed, Store};
use furrow_gateway_core::batch::BatchBuilder;
use furrow_gateway_core::clock::{Adopted, Clock, estimate};
use furrow_gateway_core::evict;
use furrow_gateway_core::outbox::{
    Command, LIVE_PLACES, Offer, OfferId, Options as OutboxOptions, Outbox, PubackAnswer,
};
use furrow_gateway_core::record::parse_stored;
use furrow_gateway_core::recovery::{HeldBoot, Recovered};
use furrow_gateway_core::schedule::{Schedule, next_aligned};
use furrow_gateway_core::space::{self, Space};
use furrow_gateway_core::{FieldMs, LinkMs};
use furrow_journal::sim::SimDisk;
use furrow_journal::{Journal, Options, Position};
use furrow_wire::ack::MAX_STREAMS;
use furrow_wire::state::Birth;
use furrow_wire::{
    Ack, BootId, Catalog, CatalogChannel, CatalogDevice, CatalogHash, Event, EventKind,
    GatewayState, HeldStream, Loss, LossReason, RecordKind, RecordName, Sample, StreamId,
};

use crate::book::Book;
use crate::ingest::greenhouse;
use crate::reached::Point;

/// Small segments, so that the cap is reached within a run.
pub(crate) const JOURNAL: Options = Options {
    segment_bytes: 4 * 1024,
    cap_bytes: 20 * 4 * 1024,
    keep_bytes: 4 * 4 * 1024,
};
/// Sampling intervals of the two channels, milliseconds.
const INTERVALS_MS: [u32; 2] = [10_000, 15_000];
const COMMIT_MS: u64 = 30_000;
const SEND_MS: u64 = 60_000;
/// What the shell's queue to the journal thread holds.
const QUEUE: usize = 128;
/// Commands of the outbox in one turn.
const COMMANDS_A_TURN: usize = 64;

/// The field clock of a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) boot: BootId,
    pub(crate) mono: FieldMs,
    /// Wall time, where the clock is trusted.
    pub(crate) unix_ms: Option<i64>,
    pub(crate) link: LinkMs,
}

/// See the module.
pub(crate) struct Process {
    store: Store<SimDisk>,
    journal: Options,
    records: Records,
    outbox: Outbox,
    clock: Clock,
    schedule: Schedule,
    batch: BatchBuilder,
    commit_at: FieldMs,
    catalog: CatalogHash,
    held_boots: Vec<HeldBoot>,
    space: Space,
    /// Segments that were given up: what was acknowledged in them is not given again to an ingest that
    /// lost it, though it can be read until the space is used.
    given_up: BTreeSet<u64>,
    fill: Fill,
    /// What the journal thread has still to do, and its answers.
    requests: VecDeque<Request>,
    /// With the number of the commit before them.
    answers: VecDeque<(u64, Answer)>,
    /// What a request could not be handed over for.
    blocked: VecDeque<Request>,
    offers: Vec<Offer>,
    pub(crate) is_connected: bool,
    /// Packets for the broker.
    pub(crate) published: VecDeque<(OfferId, Bytes)>,
    /// Nothing new begins.
    stopping: bool,
    commits: u64,
    version: u64,
    next_value: i64,
}

impl Process {
    /// Starts as `furrow-gateway run` does. `None` when the card can't be opened.
    pub(crate) fn start(
        card: &SimDisk,
        journal: Options,
        field: Field,
        draw: [u64; 3],
        last_commit: u64,
        book: &mut Book,
    ) -> Option<Self> {
        let [stream, seed, version] = draw;
        let options = OutboxOptions {
            send_interval_ms: SEND_MS,
            live_places: LIVE_PLACES,
            seed,
        };
        let (store, recovered) = Store::open(card.clone(), journal, Outbox::new(options)).ok()?;
        if card.is_off() {
            // The power went while it read: it sees damage, and does not live to tell of it.
            return None;
        }
        take_stock(&store, last_commit, book);
        let mut clock = clock_of(field, &recovered);
        let Recovered {
            outbox,
            state,
            held,
            frontier_ms,
            damaged,
            ..
        } = recovered;
        let adopted = clock.handle_clock(field.mono, field.unix_ms);
        let (clean_stop_before, phase_ms) = (state.clean_stop, state.phase_ms);
        let mut records = Records::new(StreamId(stream), state);
        for loss in &damaged {
            records.loss(loss);
        }
        if let Some(mapping) = adopted.and_then(|adopted| adopted.mapping) {
            book.reached.note(Point::MappedRepaired);
            records.mapping(&mapping);
        }
        let offset_ms = clock.offset_ms();
        let mut schedule =
            Schedule::new(&INTERVALS_MS, field.mono, offset_ms, frontier_ms).after_phase(phase_ms);
        let catalog = records.catalog(&catalog(version));
        let fill = store.fill();
        for device in 0..INTERVALS_MS.len() {
            schedule.handle_prepared(device, field.mono);
        }
        let mut process = Process {
            store,
            journal,
            records,
            outbox,
            schedule,
            batch: BatchBuilder::new(&INTERVALS_MS, field.mono),
            commit_at: next_aligned(field.mono.plus(1), COMMIT_MS, offset_ms),
            clock,
            catalog,
            held_boots: held,
            space: Space::default(),
            given_up: BTreeSet::new(),
            fill,
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            blocked: VecDeque::new(),
            offers: Vec::new(),
            is_connected: false,
            published: VecDeque::new(),
            stopping: false,
            commits: last_commit,
            version,
            next_value: 0,
        };
        process.estimate_earlier_boots(book);
        let started = EventKind::GatewayStarted {
            software: String::new(),
            clean_stop_before,
        };
        process.event(field, started);
        Some(process)
    }

    /// The link came up: the birth to be said first.
    pub(crate) fn connect(&mut self, field: Field, book: &mut Book) -> Bytes {
        let streams = self.held_streams();
        book.handle_birth(&streams);
        let birth = Birth {
            boot: field.boot,
            mono_ms: field.mono.0,
            software: String::new(),
            greenhouse: greenhouse(),
            clock: self.clock.state(),
            orders: 0,
            streams,
            journalled_readings: self.records.journalled_readings(),
            waiting_readings: self.outbox.totals().waiting_readings,
            lost_readings: self.records.lost_readings(),
        };
        let state = GatewayState {
            online: true,
            birth: Some(birth),
        };
        self.is_connected = true;
        self.outbox.handle_connected(field.mono, field.link);
        state.to_json().into()
    }

    /// The connection is gone.
    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
        self.published.clear();
        self.outbox.handle_disconnected();
    }

    /// Something that must never be dropped.
    pub(crate) fn event(&mut self, field: Field, what: EventKind) {
        let event = Event {
            at_mono_ms: field.mono.0,
            zone: None,
            planting: None,
            what,
        };
        self.records.events(vec![event], &mut self.clock);
    }

    /// The irrigation core's state.
    pub(crate) fn persist(&mut self, value: u64) {
        self.records.persist(serde_json::json!({ "budget": value }));
    }

    /// Readings, batches, the journal, the link. Gives whether the connection is to be made anew.
    pub(crate) fn turn(&mut self, field: Field, book: &mut Book) -> bool {
        if !self.stopping {
            while let Some(tick) = self.schedule.poll_tick(field.mono) {
                self.next_value += 1;
                let channel = u16::try_from(tick.device).unwrap_or(u16::MAX);
                let sample = Sample::good(self.next_value);
                self.batch.handle_sample(channel, tick.at, sample);
                self.schedule.handle_done(tick.device);
            }
            self.cut_batches(field, book);
        }
        self.send_space();
        self.send_writes(book);
        self.poll_outbox(field, book)
    }

    /// What the journal thread does with what waits: writes with one sync, then reads.
    pub(crate) fn journal(&mut self, card: &SimDisk, book: &mut Book) {
        let mut reads = Vec::new();
        for request in std::mem::take(&mut self.requests) {
            match request {
                Request::Write(write) => self.store.push(write),
                Request::Release(segment) => {
                    book.check_released(segment);
                    self.store.release(segment);
                }
                Request::Keep(segment) => {
                    book.reached.note(Point::Kept);
                    self.store.keep(segment);
                }
                Request::Pack(_) | Request::Scan(_) => reads.push(request),
            }
        }
        if self.store.has_queued() {
            self.commits += 1;
            let trouble = self.store.commit().err();
            let outcomes = self.store.take_outcomes();
            let fill = self.store.fill();
            for outcome in outcomes {
                let answer = Answer::Wrote(outcome, fill.clone());
                self.answers.push_back((self.commits, answer));
            }
            let trouble = trouble.map(|trouble| (self.commits, Answer::Trouble(trouble)));
            self.answers.extend(trouble);
        }
        if card.is_off() {
            // Nobody reads any more.
            return;
        }
        for request in reads {
            let answer = match request {
                Request::Pack(offer) => Answer::Packed(self.store.pack(&offer)),
                Request::Scan(segment) => Answer::Scanned(segment, self.store.records_of(segment)),
                Request::Write(_) | Request::Release(_) | Request::Keep(_) => continue,
            };
            self.answers.push_back((self.commits, answer));
        }
    }

    /// What follows from the journal's answers.
    pub(crate) fn hear(&mut self, field: Field, book: &mut Book) {
        while let Some((commit, answer)) = self.answers.pop_front() {
            match answer {
                Answer::Wrote(outcome, fill) => self.wrote(outcome, fill, commit, field, book),
                Answer::Trouble(trouble) => {
                    if let Some(segment) = self.space.handle_trouble(trouble, &mut self.outbox) {
                        book.handle_unsaid(segment);
                        self.given_up.insert(segment);
                    }
                }
                Answer::Packed(packed) => self.packed(packed, field, book),
                Answer::Scanned(segment, found) => self.scanned(segment, &found, book),
            }
            self.send_space();
        }
    }

    /// Ingest said what it holds.
    pub(crate) fn handle_ack(&mut self, ack: &Ack, field: Field, book: &mut Book) {
        let before = self.outbox.totals().taken_back;
        self.outbox.handle_ack(ack, field.link);
        if self.outbox.totals().taken_back > before {
            book.reached.note(Point::TakenBack);
        }
        self.clock
            .handle_ingest_time(field.mono, ack.ingest_unix_ms);
    }

    /// The broker confirmed a packet.
    pub(crate) fn handle_puback(&mut self, id: OfferId, link: LinkMs) {
        self.outbox.handle_puback(id, PubackAnswer::Accepted, link);
    }

    /// Nothing new begins; what is sampled goes into a last batch.
    pub(crate) fn stop_sampling(&mut self, field: Field) {
        self.stopping = true;
        if let Some(cut) = self.batch.cut(field.mono.plus(1)) {
            self.records.batch(cut, self.catalog, &mut self.clock);
        }
        self.outbox.handle_flush();
    }

    /// The last entry.
    pub(crate) fn goodbye(&mut self) {
        self.records.set_marks(&self.outbox.streams());
        self.records.goodbye();
    }

    /// Whether everything handed over is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.records.is_settled() && self.answers.is_empty() && self.requests.is_empty()
    }

    /// Whether ingest has acknowledged everything.
    pub(crate) fn is_delivered(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether wall time is adopted.
    pub(crate) fn knows_time(&self) -> bool {
        self.clock.offset_ms().is_some()
    }

    /// Whether sampling has ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Records that it could still give.
    pub(crate) fn names(&self) -> BTreeSet<RecordName> {
        let (present, _) = present(&self.store);
        let kept = present.into_iter();
        let kept = kept.filter(|(segment, _)| !self.given_up.contains(segment));
        kept.flat_map(|(_, names)| names).collect()
    }

    /// For a trace.
    pub(crate) fn summary(&self) -> String {
        let totals = self.outbox.totals();
        format!(
            "waiting {} records, {} segments, trouble {:?}, held boots {:?}",
            totals.waiting_records,
            self.fill.segments.len(),
            self.space.trouble(),
            self.outbox.held_boots()
        )
    }

    /// Number of the latest commit.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// Packets offered again since the start.
    pub(crate) fn offered_again(&self) -> u64 {
        self.outbox.totals().offered_again
    }

    fn cut_batches(&mut self, field: Field, book: &mut Book) {
        let mut any = false;
        while field.mono >= self.commit_at {
            let Some(cut) = self.batch.cut(self.commit_at) else {
                break;
            };
            if self.batch.from() >= self.commit_at {
                let after = field.mono.max(self.batch.from()).plus(1);
                self.commit_at = next_aligned(after, COMMIT_MS, self.clock.offset_ms());
            }
            self.records.set_marks(&self.outbox.streams());
            self.records.keep_phase(self.schedule.phase_ms());
            self.records.batch(cut, self.catalog, &mut self.clock);
            any = true;
        }
        if !any {
            return;
        }
        if self.clock.offset_ms().is_none() {
            book.reached.note(Point::Held);
        }
        if let Some(adopted) = self.clock.handle_clock(field.mono, field.unix_ms) {
            self.adopt(field, &adopted, book);
            self.estimate_earlier_boots(book);
        }
        if let Some(mapping) = self.clock.handle_timeout(field.mono) {
            book.reached.note(Point::MappedByIngest);
            self.records.mapping(&mapping);
            self.estimate_earlier_boots(book);
        }
    }

    fn adopt(&mut self, field: Field, adopted: &Adopted, book: &mut Book) {
        if let Some(mapping) = &adopted.mapping {
            book.reached.note(Point::MappedRepaired);
            self.records.mapping(mapping);
        }
        self.schedule
            .handle_clock(field.mono, adopted.offset_ms, adopted.before_ms);
        if adopted.offset_ms < adopted.before_ms {
            self.records.handle_stepped_back();
        }
        let after = field.mono.max(self.batch.from()).plus(1);
        self.commit_at = next_aligned(after, COMMIT_MS, Some(adopted.offset_ms));
    }

    fn estimate_earlier_boots(&mut self, book: &mut Book) {
        let Some(boot_unix_ms) = self.clock.known_offset_ms() else {
            return;
        };
        let this = self.clock.boot();
        let mut earlier = std::mem::take(&mut self.held_boots);
        earlier.retain(|held| held.boot != this);
        for mapping in estimate(&earlier, boot_unix_ms) {
            book.reached.note(Point::MappedLater);
            self.records.mapping(&mapping);
        }
    }

    /// Hands writes to the journal thread, as far as its queue takes them.
    fn send_writes(&mut self, book: &mut Book) {
        while self.requests.len() < QUEUE {
            let Some(request) = self.blocked.pop_front().or_else(|| {
                let write = self.records.take_write()?;
                for item in &write.items {
                    if let Ok(stored) = parse_stored(&item.payload) {
                        book.handle_written(stored.record.name, stored.bytes, stored.held);
                    }
                }
                Some(Request::Write(write))
            }) else {
                return;
            };
            self.requests.push_back(request);
        }
    }

    fn poll_outbox(&mut self, field: Field, book: &mut Book) -> bool {
        for _ in 0..COMMANDS_A_TURN {
            match self.outbox.poll_command(field.mono, field.link) {
                Some(Command::Offer(offer)) => {
                    if self.requests.len() >= QUEUE {
                        self.outbox.handle_unpublished(offer.id);
                        return false;
                    }
                    self.requests.push_back(Request::Pack(offer));
                    self.offers.push(offer);
                }
                Some(Command::Release { segment }) => {
                    self.blocked.push_back(Request::Release(segment));
                    self.send_writes(book);
                }
                Some(Command::Keep { segment }) => {
                    self.blocked.push_back(Request::Keep(segment));
                    self.send_writes(book);
                }
                Some(Command::Rebuild) => return true,
                None => return false,
            }
        }
        false
    }

    fn wrote(&mut self, outcome: Outcome, fill: Fill, commit: u64, field: Field, book: &mut Book) {
        for done in self.records.handle_outcome(outcome) {
            match done {
                Done::Record(entry, urgency) => {
                    book.handle_durable(entry.name, entry.place.segment, commit);
                    self.outbox
                        .handle_journalled(entry, urgency, field.mono, field.link);
                }
                Done::Copied(entry) => {
                    book.reached.note(Point::Copied);
                    book.handle_present(entry.name, entry.place.segment);
                    self.outbox.handle_recovered(entry);
                }
                Done::Mapped(boot) => self.outbox.handle_mapped(boot),
                Done::Persisted(_) => {}
                Done::Evicted(segment) => {
                    book.reached.note(Point::Evicted);
                    self.space.handle_evicted(segment, &mut self.outbox);
                    self.given_up.insert(segment);
                }
            }
        }
        self.outbox.handle_segments(&fill.segments);
        self.fill = fill;
        if self.records.lacks_catalog(&self.fill.segments) {
            book.reached.note(Point::CatalogAgain);
            self.records.catalog(&catalog(self.version));
        }
        let due = evict::is_due(
            self.fill.live_bytes,
            self.journal.segment_bytes,
            self.journal.cap_bytes,
        );
        self.space.handle_written(due, &self.outbox);
    }

    fn packed(&mut self, packed: Packed, field: Field, book: &mut Book) {
        let (Packed::Packet { id, .. } | Packed::Unreadable { id, .. }) = packed;
        let Some(at) = self.offers.iter().position(|offer| offer.id == id) else {
            return;
        };
        let offer = self.offers.swap_remove(at);
        match packed {
            Packed::Packet { id, to, packet } => {
                if !self.outbox.is_offered(id) {
                    return;
                }
                if self.is_connected {
                    self.published.push_back((id, packet));
                    self.outbox.handle_published(id, to, field.link);
                } else {
                    self.outbox.handle_unpublished(id);
                }
            }
            Packed::Unreadable { id, from, to } => {
                if !self.outbox.handle_unreadable(id, from, to) {
                    return;
                }
                book.handle_unreadable(offer.stream, from, to);
                let text = "found damaged when it was to be sent".to_owned();
                let loss = evict::damaged(offer.stream, from, to, text);
                self.records.loss(&loss);
            }
        }
    }

    fn scanned(&mut self, segment: u64, found: &[Found], book: &mut Book) {
        let seen: Vec<evict::Waiting> = found.iter().map(Found::waiting).collect();
        let plan = self.space.handle_scanned(segment, &seen, &self.outbox);
        let is_full = |loss: &Loss| loss.reason == LossReason::DiskFull;
        if plan.losses.iter().any(is_full) && !book.excuses.card_full {
            book.fail(
                "loss has a cause",
                "disk full, but the disk is not".to_owned(),
            );
        }
        let copies = plan.copies.iter().filter_map(|place| found.get(*place));
        let copies = copies.cloned().collect();
        self.records.evict(segment, &plan.losses, copies);
    }

    /// As the gateway's: what finds no place waits for the next turn.
    fn send_space(&mut self) {
        while let Some(command) = self.space.poll_command() {
            if self.requests.len() >= QUEUE {
                return self.space.handle_busy(command);
            }
            self.requests.push_back(match command {
                space::Command::Scan(segment) => {
                    self.records.begin_eviction();
                    Request::Scan(segment)
                }
                space::Command::Release(segment) => Request::Release(segment),
            });
        }
    }

    fn held_streams(&self) -> Vec<HeldStream> {
        let current = self.records.stream();
        let streams = self.outbox.streams();
        let others = streams.iter().filter(|held| held.stream != current);
        let mut told: Vec<HeldStream> = others
            .take(MAX_STREAMS - 1)
            .map(|held| HeldStream {
                stream: held.stream,
                first: held.first,
                last: held.last,
            })
            .collect();
        let written = streams.iter().find(|held| held.stream == current);
        told.push(HeldStream {
            stream: current,
            first: written.map_or(1, |held| held.first),
            last: written.map_or(0, |held| held.last),
        });
        told
    }
}

/// What a card holds, by segment, and the losses among it.
pub(crate) type Present = (BTreeMap<u64, BTreeSet<RecordName>>, Vec<(RecordName, Loss)>);

/// See [`Present`].
pub(crate) fn present(store: &Store<SimDisk>) -> Present {
    let mut present: BTreeMap<u64, BTreeSet<RecordName>> = BTreeMap::new();
    let mut told = Vec::new();
    for segment in store.fill().segments {
        for found in store.records_of(segment) {
            present.entry(segment).or_default().insert(found.name);
            if found.kind == Some(RecordKind::Loss)
                && let Ok(stored) = parse_stored(&found.payload)
                && let Ok(loss) = Loss::decode(stored.record.body)
            {
                told.push((found.name, loss));
            }
        }
    }
    (present, told)
}

fn take_stock(store: &Store<SimDisk>, last_commit: u64, book: &mut Book) {
    let (present, told) = present(store);
    book.handle_restarted(&present, last_commit, &told);
}

/// One of a few catalogs: configurations change between processes.
fn catalog(version: u64) -> Catalog {
    let device = CatalogDevice {
        id: "air".parse().expect("a valid id"),
        kind: "sht4x".to_owned(),
        bus: "i2c-1".to_owned(),
        address: Some(0x44),
        name: String::new(),
        calibration_version: 0,
    };
    let channel = |name: &str, interval_ms| CatalogChannel {
        device: device.id.clone(),
        channel: name.parse().expect("a valid id"),
        unit: "Cel".to_owned(),
        exponent: -2,
        interval_ms,
        name: String::new(),
    };
    let [first, second] = INTERVALS_MS;
    Catalog {
        greenhouse: greenhouse(),
        greenhouse_name: String::new(),
        software: version.to_string(),
        channels: vec![channel("air_temperature", first), channel("co2", second)],
        devices: vec![device],
        zones: Vec::new(),
    }
}

/// Names of the records in a journal.
pub(crate) fn names_in(journal: &Journal<SimDisk>) -> BTreeSet<RecordName> {
    journal
        .entries_from(Position::default())
        .flatten()
        .filter_map(|entry| parse_stored(&entry.payload).ok().map(|s| s.record.name))
        .collect()
}

fn clock_of(field: Field, recovered: &Recovered) -> Clock {
    let mapping = recovered.mappings.get(&field.boot).copied();
    let is_held = recovered.held.iter().any(|held| held.boot == field.boot);
    Clock::new(field.boot, field.mono, mapping, is_held)
}
