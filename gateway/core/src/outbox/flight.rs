//! Packets on their way: offered and not yet acknowledged by ingest.

use furrow_wire::StreamId;
use rand::RngExt;
use rand::rngs::StdRng;

use super::index::Range;
use crate::LinkMs;

/// What stays unacknowledged this long is offered again.
pub const RETRY_FIRST_MS: u64 = 30_000;
/// The longest pause between two offers of the same records.
pub const RETRY_MAX_MS: u64 = 300_000;
/// Pauses vary by this share up or down, so that gateways that lost the same ingest do not return
/// in step.
const JITTER_PERCENT: u64 = 10;

/// Names one offer of one packet; never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub u64);

/// Which share of the window a packet uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Fresh records: as they are.
    Live,
    /// Records from an outage: many to a packet, deflated.
    Backlog,
}

#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) id: OfferId,
    pub(crate) range: Range,
    pub(crate) lane: Lane,
    pub(crate) attempt: u32,
    /// When it was published; `None` while the packet is being read.
    pub(crate) published: Option<LinkMs>,
    /// When its records are offered again, once it is published.
    pub(crate) deadline: Option<LinkMs>,
    /// Since when the broker owes a PUBACK.
    pub(crate) puback_since: Option<LinkMs>,
}

impl Flight {
    pub(crate) fn is_overdue(&self, now: LinkMs) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// The packets under way; at most the window's size.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    flights: Vec<Flight>,
    next_id: u64,
}

impl Flights {
    pub(crate) fn start(&mut self, range: Range, lane: Lane, attempt: u32) -> OfferId {
        self.next_id += 1;
        let id = OfferId(self.next_id);
        let (published, deadline, puback_since) = (None, None, None);
        let flight = Flight {
            id,
            range,
            lane,
            attempt,
            published,
            deadline,
            puback_since,
        };
        self.flights.push(flight);
        id
    }

    pub(crate) fn get_mut(&mut self, id: OfferId) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|flight| flight.id == id)
    }

    pub(crate) fn remove(&mut self, id: OfferId) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.remove(at))
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Flight) -> bool) {
        self.flights.retain(keep);
    }

    pub(crate) fn clear(&mut self) {
        self.flights.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(crate) fn in_lane(&self, lane: Lane) -> usize {
        self.flights
            .iter()
            .filter(|flight| flight.lane == lane)
            .count()
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range> {
        self.flights.iter().map(|flight| flight.range)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    /// A packet of which nobody has heard in time; a fresh one rather than a large old one.
    pub(crate) fn overdue(&self, now: LinkMs) -> Option<&Flight> {
        let overdue = self.flights.iter().filter(|flight| flight.is_overdue(now));
        overdue.min_by_key(|flight| flight.lane)
    }

    pub(crate) fn next_deadline(&self, now: LinkMs) -> Option<LinkMs> {
        self.flights
            .iter()
            .filter_map(|flight| flight.deadline)
            .filter(|at| *at > now)
            .min()
    }

    /// Since when the broker has owed its oldest PUBACK.
    pub(crate) fn oldest_puback_owed(&self) -> Option<LinkMs> {
        self.flights
            .iter()
            .filter_map(|flight| flight.puback_since)
            .min()
    }
}

/// The pause before the next offer, after `attempt` offers that nobody acknowledged.
pub(crate) fn pause_ms(attempt: u32, rng: &mut StdRng) -> u64 {
    let doubled = RETRY_FIRST_MS.saturating_mul(1 << attempt.min(8));
    let pause = doubled.min(RETRY_MAX_MS);
    let spread = pause * JITTER_PERCENT / 100;
    pause - spread + rng.random_range(0..=2 * spread)
}

/// Consecutive fresh records that wait for the send interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fresh {
    pub(crate) stream: StreamId,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// When the first of them was journalled, on both clocks.
    pub(crate) since_field: crate::FieldMs,
    pub(crate) since_link: LinkMs,
    pub(crate) urgent: bool,
}

impl Fresh {
    pub(crate) fn range(&self) -> Range {
        Range {
            stream: self.stream,
            from: self.from,
            to: self.to,
        }
    }
}
