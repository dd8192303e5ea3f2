//! Records on their way into the journal: named, encoded, handed to the journal thread, durable.
//!
//! Owns the recorder, the durable state and the writes that are under way. What is durable comes
//! out as [`Done`], in order; nothing is offered before.

use std::collections::VecDeque;

use bytes::Bytes;
use furrow_gateway_core::batch::Cut;
use furrow_gateway_core::clock::Clock;
use furrow_gateway_core::outbox::{Held, Journalled, Place, Urgency};
use furrow_gateway_core::record::{ENTRY_COPY, ENTRY_RECORD, ENTRY_STATE, Recorded, Recorder};
use furrow_gateway_core::state::{LocalState, MAX_MARKS};
use furrow_wire::event::MAX_EVENTS;
use furrow_wire::{
    Batch, BootId, Catalog, CatalogHash, ClockMapping, Event, Events, Loss, LossReason, RecordKind,
    RecordName, StreamId, encode_batch,
};

use super::journal_thread::{JournalThread, Request, SendError};
use super::store::{Found, Item, Outcome, Write};

/// Writes that wait while a segment is given up, which takes a moment; above this they are handed on,
/// and the store drops the oldest batches if it must.
const MAX_UNSENT: usize = 64;

/// A write that became durable.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// A new record can be offered.
    Record(Journalled, Urgency),
    /// A record was written again.
    Copied(Journalled),
    /// Batches of this boot have their mapping.
    Mapped(BootId),
    /// The state that was handed over under this ticket will survive.
    Persisted(u64),
    /// Everything that was worth keeping of a segment stands elsewhere now.
    Evicted(u64),
}

/// See the module.
#[derive(Debug)]
pub struct Records {
    recorder: Recorder,
    state: LocalState,
    durable_readings: u64,
    pending: VecDeque<Pending>,
    /// What gives a segment up: goes before everything else, which needs the space.
    urgent: VecDeque<Write>,
    unsent: VecDeque<Write>,
    /// A segment is being given up.
    evicting: bool,
    /// The latest catalog, and the segment that holds it once it is durable.
    catalog: Option<(RecordName, Option<u64>)>,
    next_ticket: u64,
    /// Batches that were dropped because nothing could be written, not yet journalled as lost: in
    /// stretches, of which there are at most as many as events were recorded meanwhile.
    dropped: Vec<Loss>,
    /// Bodies that no record can hold: counted, never expected.
    unencodable: u64,
}

#[derive(Debug)]
struct Pending {
    ticket: u64,
    entries: Vec<Entry>,
    after: Vec<Done>,
}

#[derive(Debug)]
enum Entry {
    Record(Recorded),
    Copy(Found),
    State,
}

impl Records {
    /// Continues from the state that a journal held.
    #[must_use]
    pub fn new(stream: StreamId, state: LocalState) -> Self {
        Records {
            recorder: Recorder::new(stream),
            durable_readings: state.journalled_readings,
            state: LocalState {
                clean_stop: false,
                ..state
            },
            pending: VecDeque::new(),
            urgent: VecDeque::new(),
            unsent: VecDeque::new(),
            evicting: false,
            catalog: None,
            next_ticket: 0,
            dropped: Vec::new(),
            unencodable: 0,
        }
    }

    /// The stream that is being written.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.recorder.stream()
    }

    /// Readings that were ever journalled, durably.
    #[must_use]
    pub fn journalled_readings(&self) -> u64 {
        self.durable_readings
    }

    /// Readings that were ever lost.
    #[must_use]
    pub fn lost_readings(&self) -> u64 {
        self.state.lost_readings
    }

    /// Records that could not be encoded, since the start.
    #[must_use]
    pub fn unencodable(&self) -> u64 {
        self.unencodable
    }

    /// Whether everything handed over is durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// What ingest has acknowledged, to be kept with the next segment.
    pub fn set_marks(&mut self, streams: &[Held]) {
        let newest = streams
            .iter()
            .rev()
            .filter(|held| held.mark > 0)
            .take(MAX_MARKS);
        self.state.marks = newest.map(|held| (held.stream, held.mark)).collect();
    }

    /// Readings of an interval.
    pub fn batch(&mut self, cut: Cut, catalog: CatalogHash, clock: &mut Clock) {
        let held = self.held(clock);
        let batch = Batch {
            boot: clock.boot(),
            from_mono_ms: cut.from.0,
            to_mono_ms: cut.to.0,
            clock: clock.state(),
            wall_offset_ms: clock.offset_ms(),
            catalog,
            axes: cut.axes,
        };
        self.state.handle_wall(clock.wall(cut.to));
        match encode_batch(&batch) {
            Ok(body) => {
                let kind = RecordKind::Batch;
                self.write(kind, body, cut.readings, held, Urgency::Normal, Vec::new());
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// What happened; at most [`MAX_EVENTS`] at once.
    pub fn events(&mut self, mut events: Vec<Event>, clock: &mut Clock) {
        if events.len() > MAX_EVENTS {
            tracing::error!(
                dropped = events.len() - MAX_EVENTS,
                "too many events at once"
            );
            events.truncate(MAX_EVENTS);
        }
        let held = self.held(clock);
        let body = Events {
            boot: clock.boot(),
            clock: clock.state(),
            wall_offset_ms: clock.offset_ms(),
            events,
        };
        self.write(
            RecordKind::Events,
            body.encode(),
            0,
            held,
            Urgency::Urgent,
            Vec::new(),
        );
    }

    /// What the columns mean; before the first batch that says so.
    pub fn catalog(&mut self, catalog: &Catalog) -> CatalogHash {
        let body = catalog.encode();
        let hash = Catalog::hash(&body);
        self.catalog = Some((self.recorder.next_name(), None));
        self.write(
            RecordKind::Catalog,
            body,
            0,
            None,
            Urgency::Context,
            Vec::new(),
        );
        hash
    }

    /// Whether the journal, which has these segments, holds the latest catalog no more. It has to be
    /// written again then: an ingest that was restored from a backup could not read a batch without.
    #[must_use]
    pub fn lacks_catalog(&self, segments: &[u64]) -> bool {
        let held_in = self.catalog.and_then(|(_, segment)| segment);
        held_in.is_some_and(|segment| !segments.contains(&segment))
    }

    /// Wall time for a boot.
    pub fn mapping(&mut self, mapping: &ClockMapping) {
        let kind = RecordKind::ClockMapping;
        let after = vec![Done::Mapped(mapping.boot)];
        self.write(kind, mapping.encode(), 0, None, Urgency::Context, after);
    }

    /// Records that will never come.
    pub fn loss(&mut self, loss: &Loss) {
        let body = loss.encode();
        self.write(RecordKind::Loss, body, 0, None, Urgency::Urgent, Vec::new());
        self.state.lost_readings += loss.readings;
    }

    /// Gives a segment up: `losses` take the place of its batches, `copies` are written again.
    pub fn evict(&mut self, segment: u64, losses: &[Loss], copies: Vec<Found>) {
        let before = self.unsent.len();
        for loss in losses {
            self.loss(loss);
        }
        let preamble = self.preamble();
        let item = |found: &Found| Item {
            kind: ENTRY_COPY,
            payload: found.payload.clone(),
            preamble: preamble.clone(),
            droppable: false,
        };
        let mut items: Vec<Item> = copies.iter().map(item).collect();
        let mut entries: Vec<Entry> = copies.into_iter().map(Entry::Copy).collect();
        // Never an empty write: it would say nothing about the losses before it.
        items.push(self.state_item());
        entries.push(Entry::State);
        self.enqueue(items, entries, vec![Done::Evicted(segment)]);
        self.urgent.extend(self.unsent.drain(before..));
    }

    /// Wall time went back: a restart has to know what was given out before.
    pub fn handle_stepped_back(&mut self) {
        let items = vec![self.state_item()];
        self.enqueue(items, vec![Entry::State], Vec::new());
    }

    /// How far ticks are moved off the grid: a restart must not move them by as much again.
    pub fn keep_phase(&mut self, phase_ms: i64) {
        if self.state.phase_ms != phase_ms {
            self.state.phase_ms = phase_ms;
            self.handle_stepped_back();
        }
    }

    /// Makes the irrigation core's state durable; gives the ticket that [`Done::Persisted`] names.
    pub fn persist(&mut self, irrigation: serde_json::Value) -> u64 {
        self.state.irrigation = Some(irrigation);
        self.persist_state()
    }

    /// The last entry of a process that ends as it should.
    pub fn goodbye(&mut self) -> u64 {
        self.state.clean_stop = true;
        self.persist_state()
    }

    /// The next write for the journal.
    pub fn take_write(&mut self) -> Option<Write> {
        if let Some(write) = self.urgent.pop_front() {
            return Some(write);
        }
        if self.evicting && self.unsent.len() < MAX_UNSENT {
            return None;
        }
        self.unsent.pop_front()
    }

    /// A segment is about to be given up: until it is, nothing else is written.
    pub fn begin_eviction(&mut self) {
        self.evicting = true;
    }

    /// Hands writes to the journal thread, as far as it takes them.
    pub fn send(&mut self, journal: &JournalThread) {
        while let Some(write) = self.take_write() {
            match journal.send(Request::Write(write)) {
                Ok(()) => {}
                Err(SendError::Busy(request)) => {
                    if let Request::Write(write) = *request {
                        self.urgent.push_front(write);
                    }
                    return;
                }
                Err(SendError::Gone) => {
                    tracing::error!("the journal thread has ended, a write is lost");
                    return;
                }
            }
        }
    }

    /// What became of a write.
    pub fn handle_outcome(&mut self, outcome: Outcome) -> Vec<Done> {
        match outcome {
            Outcome::Durable { ticket, places } => self.durable(ticket, &places),
            Outcome::Dropped { ticket } => {
                self.handle_dropped(ticket);
                Vec::new()
            }
        }
    }

    fn durable(&mut self, ticket: u64, places: &[Place]) -> Vec<Done> {
        let Some(pending) = self.take_pending(ticket) else {
            return Vec::new();
        };
        let mut done = Vec::new();
        self.find_catalog(&pending, places);
        for (entry, place) in pending.entries.into_iter().zip(places) {
            match entry {
                Entry::Record(Recorded {
                    name,
                    readings,
                    held,
                    urgency,
                    ..
                }) => {
                    self.durable_readings += u64::from(readings);
                    let journalled = Journalled {
                        name,
                        place: *place,
                        readings,
                        held,
                    };
                    done.push(Done::Record(journalled, urgency));
                }
                Entry::Copy(Found {
                    name,
                    readings,
                    held,
                    ..
                }) => {
                    done.push(Done::Copied(Journalled {
                        name,
                        place: *place,
                        readings,
                        held,
                    }));
                }
                Entry::State => {}
            }
        }
        if pending
            .after
            .iter()
            .any(|done| matches!(done, Done::Evicted(_)))
        {
            self.evicting = false;
        }
        done.extend(pending.after);
        for loss in std::mem::take(&mut self.dropped) {
            self.loss(&loss);
        }
        done
    }

    /// A batch was dropped: a loss takes its place as soon as anything can be written again.
    fn handle_dropped(&mut self, ticket: u64) {
        let Some(pending) = self.take_pending(ticket) else {
            return;
        };
        for entry in pending.entries {
            let Entry::Record(record) = entry else {
                continue;
            };
            let readings = u64::from(record.readings);
            tracing::error!(record = %record.name, readings, "dropped a batch: the disk is stuck");
            self.durable_readings += readings;
            let (stream, seq) = (record.name.stream, record.name.seq);
            match self.dropped.last_mut() {
                Some(last) if last.to_seq.next() == seq => {
                    last.to_seq = seq;
                    last.readings += readings;
                }
                Some(_) | None => self.dropped.push(Loss {
                    stream,
                    from_seq: seq,
                    to_seq: seq,
                    readings,
                    reason: LossReason::DiskFull,
                    text: String::new(),
                }),
            }
        }
    }

    /// The segment in which the latest catalog stands now.
    fn find_catalog(&mut self, pending: &Pending, places: &[Place]) {
        let Some((catalog, segment)) = &mut self.catalog else {
            return;
        };
        for (entry, place) in pending.entries.iter().zip(places) {
            let name = match entry {
                Entry::Record(record) => record.name,
                Entry::Copy(found) => found.name,
                Entry::State => continue,
            };
            if name == *catalog {
                *segment = Some(place.segment);
            }
        }
    }

    fn take_pending(&mut self, ticket: u64) -> Option<Pending> {
        let at = self
            .pending
            .iter()
            .position(|pending| pending.ticket == ticket)?;
        self.pending.remove(at)
    }

    /// Whether a record made now has to wait for the mapping of this boot.
    fn held(&self, clock: &mut Clock) -> Option<BootId> {
        match clock.offset_ms() {
            Some(_) => None,
            None => clock.handle_unmapped(),
        }
    }

    fn write(
        &mut self,
        kind: RecordKind,
        body: Bytes,
        readings: u32,
        held: Option<BootId>,
        urgency: Urgency,
        after: Vec<Done>,
    ) {
        let record = match self.recorder.record(kind, body, readings, held, urgency) {
            Ok(record) => record,
            Err(error) => return self.refuse(&error),
        };
        let item = Item {
            kind: ENTRY_RECORD,
            payload: record.payload.clone(),
            preamble: self.preamble(),
            droppable: kind == RecordKind::Batch,
        };
        self.state.journalled_readings += u64::from(readings);
        self.enqueue(vec![item], vec![Entry::Record(record)], after);
    }

    fn persist_state(&mut self) -> u64 {
        let ticket = self.next_ticket;
        let item = self.state_item();
        self.enqueue(
            vec![item],
            vec![Entry::State],
            vec![Done::Persisted(ticket)],
        );
        ticket
    }

    fn state_item(&self) -> Item {
        let payload = self.preamble();
        Item {
            kind: ENTRY_STATE,
            payload: payload.clone(),
            preamble: payload,
            droppable: false,
        }
    }

    fn preamble(&self) -> Bytes {
        self.state.encode().into()
    }

    fn enqueue(&mut self, items: Vec<Item>, entries: Vec<Entry>, after: Vec<Done>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.pending.push_back(Pending {
            ticket,
            entries,
            after,
        });
        self.unsent.push_back(Write { ticket, items });
    }

    fn refuse(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.unencodable += 1;
        tracing::error!(error, "a record can't be encoded and is dropped");
    }
}
