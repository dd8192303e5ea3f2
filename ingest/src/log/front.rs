//! In front of the log: what is appended, and what each gateway is told once that is durable.
//!
//! An entry is appended when a packet holds at least one record that ingest lacks. Nothing is
//! acknowledged while something appended is not committed: the marks already count it.
//!
//! It has no thread and reads no clock; [`super::writer`] drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use furrow_ingest_core::{
    AckSchedule, AckScope, DueAck, GatewayKey, Offer, Offered, Taken, Tracker,
};
use furrow_journal::{Disk, JournalError};
use furrow_wire::{
    Ack, CommandResult, GatewayState, GreenhouseId, HEADER_LEN, HeldStream, Loss, RecordKind,
    StreamMarks, decode_packet,
};
use serde_json::json;

use super::Log;
use super::cards::Cards;
use super::entry::{EntryKind, LogRecord};
use crate::archive::LiveHub;
use crate::archive::live::{LiveKind, LiveMessage};
use crate::decode::{PacketRecord, split};
use crate::http::{Fleet, StreamStatus};
use crate::metrics::{Counter, Metrics};
use crate::remote::Board;

/// Streams in one acknowledgement: what the wire format takes.
const MAX_STREAMS_PER_ACK: usize = 256;

/// Something from a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The authenticated sender.
    pub gateway: GatewayKey,
    /// What it is.
    pub kind: EntryKind,
    /// As it came.
    pub bytes: Bytes,
    /// When, Unix milliseconds.
    pub received_unix_ms: i64,
}

/// What it needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct FrontSetup {
    /// Gateways that may send, and where they stand.
    pub gateways: BTreeMap<GatewayKey, GreenhouseId>,
    /// Where the state of gateways is shown.
    pub fleet: Fleet,
    /// Where changes of that state are announced.
    pub live: LiveHub,
    /// Where commands and orders are waited for.
    pub board: Board,
    /// Figures.
    pub metrics: Metrics,
}

/// The decisions in front of the log.
#[derive(Debug)]
pub struct Front<D: Disk> {
    log: Arc<Log<D>>,
    setup: FrontSetup,
    tracker: Tracker,
    acks: AckSchedule,
    greeted: BTreeSet<GatewayKey>,
    held: BTreeMap<GatewayKey, Vec<HeldStream>>,
    cards: Cards,
    /// Answers to commands that are appended and not committed.
    answers: Vec<(GatewayKey, CommandResult)>,
    /// Something is appended and not committed.
    is_dirty: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Counters {
    packets: Counter,
    records_new: Counter,
    records_duplicate: Counter,
    records_beyond: Counter,
    records_conflict: Counter,
    garbage: Counter,
    unknown_gateway: Counter,
    bad_state: Counter,
    bad_result: Counter,
    acks: Counter,
}

impl<D: Disk> Front<D> {
    /// Goes on where the log ends. `tracker` holds everything that the log holds.
    #[must_use]
    pub fn new(log: Arc<Log<D>>, tracker: Tracker, setup: FrontSetup) -> Self {
        let counters = Counters::new(&setup.metrics);
        let cards = Cards::new(&setup.metrics);
        let front = Self {
            log,
            setup,
            tracker,
            acks: AckSchedule::default(),
            greeted: BTreeSet::new(),
            held: BTreeMap::new(),
            cards,
            answers: Vec::new(),
            is_dirty: false,
            counters,
        };
        for key in front.setup.gateways.keys() {
            front.show(key);
        }
        front
    }

    /// Takes something from a gateway. `now_ms` is monotonic. After success it may be confirmed to the
    /// broker as soon as [`Front::commit`] has succeeded.
    ///
    /// # Errors
    /// When the log takes no more now: nothing has changed, offer it again.
    pub fn handle_incoming(
        &mut self,
        incoming: &Incoming,
        now_ms: u64,
    ) -> Result<(), JournalError> {
        if incoming.kind == EntryKind::Delete {
            // It is not configured: no gateway of it is known here.
            self.append(incoming)?;
            self.tracker.forget(&incoming.gateway.cooperative);
            return Ok(());
        }
        let Some(greenhouse) = self.setup.gateways.get(&incoming.gateway).cloned() else {
            self.counters.unknown_gateway.increment();
            tracing::warn!(gateway = %incoming.gateway, "message of an unknown gateway dropped");
            return Ok(());
        };
        match incoming.kind {
            EntryKind::Packet => self.handle_packet(incoming, now_ms),
            EntryKind::State => self.handle_state(incoming, &greenhouse, now_ms),
            EntryKind::Result => self.handle_result(incoming),
            // From within, and decided on: the log's reader does the rest.
            EntryKind::Rerun
            | EntryKind::Wake
            | EntryKind::Command
            | EntryKind::Orders
            | EntryKind::Delete => self.append(incoming),
        }
    }

    /// Makes everything taken so far durable.
    ///
    /// # Errors
    /// The disk's: call again later. Until it succeeds nothing is acknowledged.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if self.is_dirty {
            let end = {
                let mut journal = self.log.journal();
                journal.commit()?;
                journal.end()
            };
            self.is_dirty = false;
            self.log.publish(end);
            for (key, result) in self.answers.drain(..) {
                self.setup.board.handle_result(&key, result);
            }
        }
        Ok(())
    }

    /// When [`Front::poll_acks`] next has something to say. Monotonic milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.acks.poll_timeout()
    }

    /// Acknowledgements to be sent now. `unix_ms` is ingest's clock.
    pub fn poll_acks(&mut self, now_ms: u64, unix_ms: i64) -> Vec<(DueAck, Vec<Ack>)> {
        if self.is_dirty {
            return Vec::new();
        }
        let due = self.acks.poll_due(now_ms);
        due.into_iter()
            .map(|due| {
                let streams = match &due.scope {
                    AckScope::All => self.tracker.marks(&due.gateway, None),
                    AckScope::Touched(streams) => self.tracker.marks(&due.gateway, Some(streams)),
                };
                self.show(&due.gateway);
                self.counters.acks.increment();
                (due, into_acks(streams, unix_ms))
            })
            .collect()
    }

    /// Takes back an acknowledgement that could not be sent.
    pub fn handle_unsent(&mut self, due: DueAck, now_ms: u64) {
        self.acks.handle_unsent(due, now_ms);
    }

    /// What is held, committed or not.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    fn handle_packet(&mut self, incoming: &Incoming, now_ms: u64) -> Result<(), JournalError> {
        let key = &incoming.gateway;
        let (records, is_garbage) = match decode_packet(&incoming.bytes) {
            Ok(content) => {
                let split = split(&content);
                (split.records, split.rest.is_some())
            }
            Err(_) => (Vec::new(), true),
        };
        let offered: Vec<Offered> = records.iter().map(offered_of).collect();
        let has_news = self.tracker.has_news(key, &offered);
        if has_news || is_garbage {
            self.append(incoming)?;
        }
        let taken = if has_news {
            let received_ms = incoming.received_unix_ms;
            self.tracker.apply_packet(key, &offered, received_ms)
        } else {
            let taken = offered.iter().map(|one| self.tracker.taken(key, one));
            taken.collect()
        };
        let of_kind = |kind| taken.iter().filter(|one| **one == kind).count() as u64;
        let duplicates = of_kind(Taken::Duplicate);
        self.counters.records_new.add(of_kind(Taken::New));
        self.counters.records_beyond.add(of_kind(Taken::Beyond));
        self.note_conflicts(key, of_kind(Taken::Conflict));
        self.counters.packets.increment();
        self.counters.records_duplicate.add(duplicates);
        if is_garbage {
            self.counters.garbage.increment();
        }
        self.setup
            .fleet
            .update(&key.cooperative, &key.gateway, |status| {
                status.last_seen_unix_ms = Some(incoming.received_unix_ms);
                status.duplicates_ignored += duplicates;
            });
        let streams = offered.iter().map(|one| one.offer.name.stream);
        self.acks.handle_packet(key, streams, now_ms);
        if self.greeted.insert(key.clone()) {
            self.acks.handle_connect(key, now_ms);
        }
        Ok(())
    }

    fn handle_state(
        &mut self,
        incoming: &Incoming,
        greenhouse: &GreenhouseId,
        now_ms: u64,
    ) -> Result<(), JournalError> {
        let key = &incoming.gateway;
        let state = match GatewayState::from_json(&incoming.bytes) {
            Ok(state) => state,
            Err(error) => {
                self.counters.bad_state.increment();
                tracing::warn!(gateway = %key, %error, "state message is not understood");
                return Ok(());
            }
        };
        if let Some(birth) = state.birth.as_ref().filter(|_| state.online) {
            let set_back = self.tracker.set_back(key, &birth.streams);
            let received_ms = incoming.received_unix_ms;
            self.cards
                .handle_birth(key, birth.boot, &set_back, received_ms);
            if self
                .tracker
                .is_moved_by(key, &birth.streams, incoming.received_unix_ms)
            {
                self.append(incoming)?;
                self.tracker
                    .handle_state(key, &birth.streams, incoming.received_unix_ms);
            }
            self.setup.board.handle_birth(key, birth);
            self.held.insert(key.clone(), birth.streams.clone());
            self.greeted.insert(key.clone());
            self.acks.handle_connect(key, now_ms);
            self.show_card(key);
        } else {
            self.greeted.remove(key);
        }
        self.setup
            .fleet
            .update(&key.cooperative, &key.gateway, |status| {
                status.online = state.online;
                status.last_seen_unix_ms = Some(incoming.received_unix_ms);
                if let Some(birth) = &state.birth {
                    status.software.clone_from(&birth.software);
                    status.waiting_readings = birth.waiting_readings;
                    status.lost_readings = birth.lost_readings;
                    status.journalled_readings = birth.journalled_readings;
                }
            });
        if self.setup.live.has_listeners(&key.cooperative) {
            let data = json!({
                "gateway": key.gateway,
                "greenhouse": greenhouse,
                "online": state.online,
                "last_seen_ms": incoming.received_unix_ms,
                "waiting_readings": state.birth.as_ref().map(|birth| birth.waiting_readings),
                "lost_readings": state.birth.as_ref().map(|birth| birth.lost_readings),
            });
            self.setup.live.send(
                &key.cooperative,
                LiveMessage {
                    kind: LiveKind::Gateway,
                    data,
                },
            );
        }
        Ok(())
    }

    fn handle_result(&mut self, incoming: &Incoming) -> Result<(), JournalError> {
        match CommandResult::decode(&incoming.bytes) {
            Ok(result) => {
                self.append(incoming)?;
                self.answers.push((incoming.gateway.clone(), result));
            }
            Err(error) => {
                self.counters.bad_result.increment();
                tracing::warn!(gateway = %incoming.gateway, %error, "result is not understood");
            }
        }
        Ok(())
    }

    fn note_conflicts(&mut self, key: &GatewayKey, conflicts: u64) {
        if conflicts > 0 {
            self.counters.records_conflict.add(conflicts);
            self.cards.handle_conflicts(key, conflicts);
            self.show_card(key);
        }
    }

    fn show_card(&self, key: &GatewayKey) {
        let card = self.cards.status(key);
        self.setup
            .fleet
            .update(&key.cooperative, &key.gateway, |status| status.card = card);
    }

    fn append(&mut self, incoming: &Incoming) -> Result<(), JournalError> {
        let record = LogRecord {
            kind: incoming.kind,
            gateway: incoming.gateway.clone(),
            received_unix_ms: incoming.received_unix_ms,
            bytes: incoming.bytes.clone(),
        };
        self.log
            .journal()
            .append(record.kind.code(), &record.encode())?;
        self.is_dirty = true;
        Ok(())
    }

    /// Shows a gateway's marks to people.
    fn show(&self, key: &GatewayKey) {
        let held = self.held.get(key).map(Vec::as_slice).unwrap_or_default();
        let marks = self.tracker.marks(key, None);
        let last_of = |marks: &StreamMarks| {
            let of_stream = held.iter().filter(|held| held.stream == marks.stream);
            of_stream.map(|held| held.last).max().unwrap_or(0)
        };
        let missing_records = marks
            .iter()
            .map(|marks| missing(marks, last_of(marks)))
            .fold(0, u64::saturating_add);
        let streams = marks
            .into_iter()
            .map(|marks| StreamStatus {
                held: held
                    .iter()
                    .find(|held| held.stream == marks.stream)
                    .map(|held| (held.first, held.last)),
                stream: marks.stream.to_string(),
                mark: marks.mark,
                ranges: marks.ranges,
            })
            .collect();
        self.setup
            .fleet
            .update(&key.cooperative, &key.gateway, |status| {
                status.missing_records = missing_records;
                status.streams = streams;
            });
    }
}

/// A record as the tracker sees it, with what its bytes look like.
#[must_use]
pub fn offered_of(record: &PacketRecord) -> Offered {
    Offered {
        offer: offer_of(record),
        checksum: crc32c::crc32c(&record.bytes),
    }
}

/// A record's name and what it tells of. A loss that can't be read is an ordinary record: a dead letter.
#[must_use]
pub fn offer_of(record: &PacketRecord) -> Offer {
    let body = record.bytes.get(HEADER_LEN..).unwrap_or_default();
    let is_loss = record.version == 1 && record.kind == RecordKind::Loss.code();
    let loss = if is_loss {
        Loss::decode(body).ok()
    } else {
        None
    };
    let lost = loss.map(|loss| (loss.stream, (loss.from_seq.0, loss.to_seq.0)));
    Offer {
        name: record.name,
        lost,
    }
}

/// One statement, or several where one can't name all streams. None at all is still an answer: it
/// tells a gateway without a clock the time.
fn into_acks(streams: Vec<StreamMarks>, ingest_unix_ms: i64) -> Vec<Ack> {
    if streams.is_empty() {
        return vec![Ack {
            ingest_unix_ms,
            streams,
        }];
    }
    let chunks = streams.chunks(MAX_STREAMS_PER_ACK);
    chunks
        .map(|streams| Ack {
            ingest_unix_ms,
            streams: streams.to_vec(),
        })
        .collect()
}

/// How many seqs are not held although they exist: by a later one, or by the gateway's word.
fn missing(marks: &StreamMarks, last: u64) -> u64 {
    let length = |(from, to): &(u64, u64)| to.saturating_sub(*from).saturating_add(1);
    let above = marks.ranges.iter().map(length).fold(0, u64::saturating_add);
    let top = marks
        .ranges
        .last()
        .map_or(marks.mark, |(_, to)| *to)
        .max(last);
    top.saturating_sub(marks.mark).saturating_sub(above)
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let records = |result| {
            let help = "Records offered by gateways.";
            metrics.counter("furrow_records_offered_total", help, &[("result", result)])
        };
        let plain = |name, help| metrics.counter(name, help, &[]);
        Self {
            packets: plain(
                "furrow_packets_received_total",
                "Packets taken from the broker.",
            ),
            records_new: records("new"),
            records_duplicate: records("duplicate"),
            records_beyond: records("beyond"),
            records_conflict: records("conflict"),
            garbage: plain(
                "furrow_packets_garbage_total",
                "Packets with bytes that are no record.",
            ),
            unknown_gateway: plain(
                "furrow_messages_unknown_gateway_total",
                "Messages of gateways that are not configured.",
            ),
            bad_state: plain(
                "furrow_states_malformed_total",
                "State messages not understood.",
            ),
            bad_result: plain(
                "furrow_results_malformed_total",
                "Results of commands not understood.",
            ),
            acks: plain("furrow_acks_total", "Acknowledgements to gateways."),
        }
    }
}
