//! What is offered to ingest, when, and what it has acknowledged.
//!
//! Owns the index of waiting records, the window of packets under way and the order in which they
//! go. Does no IO: the shell reads the packet that [`Command::Offer`] asks for from the journal,
//! publishes it and tells the outcome. Payloads are never held here.
//!
//! - A packet leaves the window when **ingest** has acknowledged its records; a broker's PUBACK only
//!   proves that the connection is alive.
//! - Fresh records go ahead of the backlog and have places in the window that it can't take.
//! - When nobody acknowledges anything, one packet at a time probes with growing pauses, so that a
//!   dead ingest behind a living broker does not eat the data plan.

mod flight;
mod index;
mod offers;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use furrow_wire::{Ack, BootId, RecordName, Seq, StreamId};
use rand::SeedableRng;
use rand::rngs::StdRng;

pub use flight::{Lane, OfferId, RETRY_FIRST_MS, RETRY_MAX_MS};
pub use index::{Held, Journalled, Place};

use crate::{FieldMs, LinkMs};
use flight::{Flights, Fresh, pause_ms};
use index::{Index, Range};

/// Packets under way at once: well under the MQTT client's in-flight limit of 200, and at 64 KiB a
/// packet at most 2 MiB that an ingest which died after the PUBACK makes us send again.
pub const WINDOW: usize = 32;
/// Places of the window that a backlog can't take.
pub const LIVE_PLACES: usize = 8;
/// On connect the newest records go first: this many of them.
const NEWEST_FIRST: usize = 4;
/// Separate stretches of fresh records that wait at once; the oldest above this joins the backlog.
const MAX_FRESH: usize = 16;
/// Lost ranges that are remembered, to keep them from being offered to an ingest that was restored
/// from a backup; above this they are offered, found unreadable and told of again.
const MAX_GONE: usize = 256;
/// Catalogs and mappings that go first after a connect; older ones go with the backlog.
const MAX_CONTEXT: usize = 8;
/// After a connect the backlog waits this long for ingest to say what it already holds.
const FIRST_ACK_WAIT_MS: u64 = 5_000;
/// A connection on which the broker owes a PUBACK for so long is wedged.
pub const PUBACK_STALL_MS: u64 = 30_000;

/// What the shell can configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long a fresh record may wait for others to share its packet, in milliseconds.
    pub send_interval_ms: u64,
    /// Places of the window of [`WINDOW`] that a backlog can't take, below [`WINDOW`].
    pub live_places: usize,
    /// Seed of the jitter.
    pub seed: u64,
}

/// What the shell shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Read records from the journal, make one packet of them and publish it.
    Offer(Offer),
    /// Everything in this segment is acknowledged: the journal may reuse it.
    Release {
        /// Segment number.
        segment: u64,
    },
    /// Ingest lost something of a segment that was released: the journal must not reuse it, if it has
    /// not yet.
    Keep {
        /// Segment number.
        segment: u64,
    },
    /// PUBACKs have stopped: drop the connection and make a new client.
    Rebuild,
}

/// A packet to make: records `from..=to` of a stream, fewer when they do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// To be named in the answer.
    pub id: OfferId,
    /// Whose records.
    pub stream: StreamId,
    /// First record.
    pub from: Seq,
    /// Last record.
    pub to: Seq,
    /// A frame at or a little before the first record.
    pub place: Place,
    /// Plain or deflated.
    pub lane: Lane,
}

/// Counts for people and for the birth message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records that ingest has not acknowledged.
    pub waiting_records: u64,
    /// Readings in them.
    pub waiting_readings: u64,
    /// Packets offered a second time or more, since the start.
    pub offered_again: u64,
    /// Packets that a broker refused, since the start.
    pub refused: u64,
    /// Records that ingest had acknowledged and no longer holds, since the start.
    pub taken_back: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connected {
    /// Until when the backlog waits for the first acknowledgement; `None`: it has come.
    hold_backlog_until: Option<LinkMs>,
    last_puback: LinkMs,
    rebuild_asked: bool,
}

/// The outbox. See the module's documentation.
#[derive(Debug)]
pub struct Outbox {
    options: Options,
    index: Index,
    flights: Flights,
    fresh: VecDeque<Fresh>,
    /// The latest records, for the moment after a connect.
    newest: VecDeque<RecordName>,
    /// Catalogs and mappings that ingest needs to understand the newest records.
    context: Vec<RecordName>,
    connected: Option<Connected>,
    /// Nobody has acknowledged anything since this many pauses; 0 while acknowledgements come.
    silent: u32,
    /// Segments from this on are still written.
    active: u64,
    flush: bool,
    /// When ingest last said what it holds, on this connection.
    last_ack: Option<LinkMs>,
    /// What no disk holds any more and a loss record tells of; never to be offered again.
    gone: Vec<Range>,
    /// Boots with a mapping: those of the journal, and those mapped since.
    mapped: BTreeSet<BootId>,
    totals: Totals,
    rng: StdRng,
}

impl Outbox {
    /// An empty outbox; [`crate::recovery`] fills it from a journal.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Outbox {
            options,
            index: Index::default(),
            flights: Flights::default(),
            fresh: VecDeque::new(),
            newest: VecDeque::new(),
            context: Vec::new(),
            connected: None,
            silent: 0,
            active: 0,
            flush: false,
            last_ack: None,
            gone: Vec::new(),
            mapped: BTreeSet::new(),
            totals: Totals::default(),
            rng: StdRng::seed_from_u64(options.seed),
        }
    }

    /// A record was found in the journal at the start, or copied within it.
    pub fn handle_recovered(&mut self, entry: Journalled) {
        // What is written again says still that it waits for a mapping.
        let held = entry.held.filter(|boot| !self.mapped.contains(boot));
        let entry = Journalled { held, ..entry };
        self.active = self.active.max(entry.place.segment);
        self.index.push(entry);
        if entry.held.is_none() {
            self.newest.push_back(entry.name);
            if self.newest.len() > NEWEST_FIRST {
                self.newest.pop_front();
            }
        }
    }

    /// A record of the current stream is durable.
    pub fn handle_journalled(
        &mut self,
        entry: Journalled,
        urgency: Urgency,
        field: FieldMs,
        link: LinkMs,
    ) {
        self.handle_recovered(entry);
        if urgency == Urgency::Context {
            self.context.push(entry.name);
            if self.context.len() > MAX_CONTEXT {
                self.context.remove(0);
            }
        }
        let is_held = entry.held.is_some_and(|boot| !self.mapped.contains(&boot));
        if self.connected.is_some() && !is_held {
            self.add_fresh(entry.name, urgency != Urgency::Normal, field, link);
        }
    }

    /// A mapping for this boot is durable: its batches may go.
    pub fn handle_mapped(&mut self, boot: BootId) {
        self.mapped.insert(boot);
        self.index.unhold(boot);
    }

    /// A connection is subscribed and ready for packets.
    pub fn handle_connected(&mut self, field: FieldMs, link: LinkMs) {
        self.flights.clear();
        self.fresh.clear();
        self.silent = 0;
        self.last_ack = None;
        self.connected = Some(Connected {
            hold_backlog_until: Some(link.plus(FIRST_ACK_WAIT_MS)),
            last_puback: link,
            rebuild_asked: false,
        });
        let index = &self.index;
        self.context.retain(|name| index.is_waiting(*name));
        let first = self.context.iter().chain(self.newest.iter()).copied();
        let names: Vec<_> = first.filter(|name| index.is_waiting(*name)).collect();
        for name in names {
            let known = self
                .fresh
                .iter()
                .any(|f| f.range().contains(name.stream, name.seq.0));
            if !known {
                self.add_fresh(name, true, field, link);
            }
        }
    }

    /// The connection is gone, and with it every packet on its way.
    pub fn handle_disconnected(&mut self) {
        self.connected = None;
        self.flights.clear();
        self.fresh.clear();
    }

    /// The packet of an offer was read: it holds the records up to `to`, and was published.
    pub fn handle_published(&mut self, id: OfferId, to: Seq, link: LinkMs) {
        let attempt = self.silent;
        let Some(flight) = self.flights.get_mut(id) else {
            return;
        };
        flight.range.to = flight.range.to.min(to.0);
        let attempt = flight.attempt.max(attempt);
        flight.published = Some(link);
        flight.puback_since = Some(link);
        flight.deadline = Some(link.plus(pause_ms(attempt, &mut self.rng)));
    }

    /// Whether an offer still stands: ingest may have acknowledged its records meanwhile, or the
    /// connection be another.
    #[must_use]
    pub fn is_offered(&self, id: OfferId) -> bool {
        self.flights.iter().any(|flight| flight.id == id)
    }

    /// The client did not take the packet of an offer; its records wait again.
    pub fn handle_unpublished(&mut self, id: OfferId) {
        self.flights.remove(id);
    }

    /// Records of an offer can't be read. Gives whether they are lost, and the caller has to journal a
    /// loss for them: not if ingest acknowledged them meanwhile and the journal let them go.
    #[must_use]
    pub fn handle_unreadable(&mut self, id: OfferId, from: Seq, to: Seq) -> bool {
        let Some(flight) = self.flights.remove(id) else {
            return false;
        };
        let stream = flight.range.stream;
        let range = Range {
            stream,
            from: from.0,
            to: to.0,
        };
        let is_lost = self.index.within(range).is_some();
        if is_lost {
            self.handle_lost(stream, from, to);
        }
        is_lost
    }

    /// The broker answered a publish.
    pub fn handle_puback(&mut self, id: OfferId, answer: PubackAnswer, link: LinkMs) {
        if let Some(connected) = &mut self.connected {
            connected.last_puback = link;
        }
        match answer {
            PubackAnswer::Accepted => {}
            PubackAnswer::Refused => self.totals.refused += 1,
        }
        if let Some(flight) = self.flights.get_mut(id) {
            flight.puback_since = None;
        }
    }

    /// Ingest said what it holds.
    pub fn handle_ack(&mut self, ack: &Ack, link: LinkMs) {
        self.last_ack = Some(link);
        for marks in &ack.streams {
            self.take_back(marks);
            self.settle(marks);
        }
        let index = &self.index;
        self.flights
            .retain(|flight| flight.deadline.is_none() || index.within(flight.range).is_some());
        self.fresh
            .retain(|fresh| index.within(fresh.range()).is_some());
        if self.silent > 0 {
            self.silent = 0;
            self.hurry_overdue(link);
        }
        if let Some(connected) = &mut self.connected {
            connected.hold_backlog_until = None;
        }
    }

    /// Ingest was known to have these records before a restart.
    pub fn handle_settled(&mut self, stream: StreamId, from: Seq, to: Seq) {
        self.index.settle(Range {
            stream,
            from: from.0,
            to: to.0,
        });
    }

    /// Records are gone and a loss record says so.
    pub fn handle_lost(&mut self, stream: StreamId, from: Seq, to: Seq) {
        let range = Range {
            stream,
            from: from.0,
            to: to.0,
        };
        self.index.settle(range);
        if self.gone.len() < MAX_GONE {
            self.gone.push(range);
        }
    }

    /// The journal gave a segment up: what waited in it is gone.
    pub fn handle_evicted(&mut self, segment: u64) {
        self.index.remove(segment);
        let index = &self.index;
        self.flights
            .retain(|flight| index.within(flight.range).is_some());
        self.fresh
            .retain(|fresh| index.within(fresh.range()).is_some());
    }

    /// Which segments exist, ascending; the rest was recycled.
    pub fn handle_segments(&mut self, existing: &[u64]) {
        if let Some(newest) = existing.last() {
            self.active = self.active.max(*newest);
        }
        self.index.keep_only(existing);
    }

    /// From now on nothing waits for company: the process is about to end.
    pub fn handle_flush(&mut self) {
        self.flush = true;
    }

    /// The next moment after `now` on the link clock at which [`Outbox::poll_command`] may have
    /// something, once it gives nothing.
    #[must_use]
    pub fn poll_timeout(&self, now: LinkMs) -> Option<LinkMs> {
        let connected = self.connected?;
        let fresh = self
            .fresh
            .front()
            .map(|f| f.since_link.plus(self.options.send_interval_ms));
        let stall = self.stall_at(connected);
        [
            fresh,
            stall,
            connected.hold_backlog_until,
            self.flights.next_deadline(now),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > now)
        .min()
    }

    /// The same on the field clock.
    #[must_use]
    pub fn poll_field_timeout(&self, now: FieldMs) -> Option<FieldMs> {
        self.connected?;
        let fresh = self
            .fresh
            .front()?
            .since_field
            .plus(self.options.send_interval_ms);
        Some(fresh).filter(|at| *at > now)
    }

    /// The next thing to do. To be called until it gives nothing.
    pub fn poll_command(&mut self, field: FieldMs, link: LinkMs) -> Option<Command> {
        // Before a release: the segment may be settled once more.
        if let Some(segment) = self.index.take_wanted() {
            return Some(Command::Keep { segment });
        }
        if let Some(segment) = self.index.take_releasable(self.active) {
            return Some(Command::Release { segment });
        }
        let connected = self.connected?;
        if !connected.rebuild_asked && self.stall_at(connected).is_some_and(|at| at <= link) {
            self.connected = Some(Connected {
                rebuild_asked: true,
                ..connected
            });
            return Some(Command::Rebuild);
        }
        if let Some(offer) = self.offer_again(link) {
            return Some(Command::Offer(offer));
        }
        if self.silent > 0 || self.flights.len() >= WINDOW {
            return None;
        }
        if let Some(offer) = self.offer_fresh(field, link) {
            return Some(Command::Offer(offer));
        }
        self.offer_backlog(link).map(Command::Offer)
    }

    /// Counts of what waits.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let waiting = self.index.waiting();
        Totals {
            waiting_records: waiting.records,
            waiting_readings: waiting.readings,
            ..self.totals
        }
    }

    /// Whether ingest has acknowledged everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.waiting().records == 0
    }

    /// What the journal holds of each stream, the oldest stream first.
    #[must_use]
    pub fn streams(&self) -> Vec<Held> {
        self.index.streams()
    }

    /// Boots whose batches wait for a mapping.
    #[must_use]
    pub fn held_boots(&self) -> Vec<BootId> {
        self.index.held_boots()
    }

    /// The segment to give up when the journal is at its cap.
    #[must_use]
    pub fn oldest_segment(&self) -> Option<u64> {
        self.index.oldest_kept(self.active)
    }

    /// Whether a record in a segment needs no more delivery.
    #[must_use]
    pub fn is_settled(&self, segment: u64, name: RecordName) -> bool {
        self.index.is_settled_in(segment, name)
    }
}

/// How soon a fresh record wants to be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It may wait for the send interval.
    Normal,
    /// A watering event or a fault: at once.
    Urgent,
    /// A catalog or a mapping: at once, and first after a connect, since ingest needs it to
    /// understand the rest.
    Context,
}

/// What a broker said to a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubackAnswer {
    /// Taken. Proves nothing about storage.
    Accepted,
    /// Not taken, e.g. by an access rule; the records are offered again after the pause.
    Refused,
}
