//! Which packet goes next, and what an acknowledgement settles.

use furrow_wire::{RecordName, Seq, StreamMarks};

use super::flight::{Fresh, Lane, OfferId};
use super::index::{Range, Stretch};
use super::{Connected, MAX_FRESH, Offer, Outbox, PUBACK_STALL_MS, WINDOW};
use crate::{FieldMs, LinkMs};

impl Outbox {
    pub(super) fn settle(&mut self, marks: &StreamMarks) {
        let stream = marks.stream;
        self.index.settle(Range {
            stream,
            from: 1,
            to: marks.mark,
        });
        for (from, to) in &marks.ranges {
            self.index.settle(Range {
                stream,
                from: *from,
                to: *to,
            });
        }
    }

    /// An acknowledgement is complete for each stream that it names: what it does not list, ingest
    /// does not hold (it may have been restored from a backup). Not only the first one of a
    /// connection counts: that may speak of one stream and the next of all. One that was overtaken
    /// by a newer one makes records go twice, which ingest recognises.
    pub(super) fn take_back(&mut self, marks: &StreamMarks) {
        let stream = marks.stream;
        let mut from = marks.mark.saturating_add(1);
        for (start, end) in &marks.ranges {
            self.totals.taken_back += self
                .index
                .unsettle(Range {
                    stream,
                    from,
                    to: start - 1,
                })
                .records;
            from = end.saturating_add(1);
        }
        self.totals.taken_back += self
            .index
            .unsettle(Range {
                stream,
                from,
                to: u64::MAX,
            })
            .records;
        for range in self.gone.iter().filter(|range| range.stream == stream) {
            self.index.settle(*range);
        }
    }

    /// Acknowledgements come again: what is overdue need not wait for its turn as a probe.
    pub(super) fn hurry_overdue(&mut self, link: LinkMs) {
        let ids: Vec<OfferId> = self.flights.iter().map(|flight| flight.id).collect();
        for id in ids {
            if let Some(flight) = self.flights.get_mut(id).filter(|f| f.attempt > 0) {
                flight.attempt = 0;
                flight.deadline = flight.deadline.map(|deadline| deadline.min(link));
            }
        }
    }

    pub(super) fn add_fresh(
        &mut self,
        name: RecordName,
        urgent: bool,
        field: FieldMs,
        link: LinkMs,
    ) {
        let seq = name.seq.0;
        if let Some(last) = self.fresh.back_mut()
            && last.stream == name.stream
            && last.to + 1 == seq
        {
            last.to = seq;
            last.urgent |= urgent;
            return;
        }
        if self.fresh.len() >= MAX_FRESH {
            self.fresh.pop_front();
        }
        self.fresh.push_back(Fresh {
            stream: name.stream,
            from: seq,
            to: seq,
            since_field: field,
            since_link: link,
            urgent,
        });
    }

    pub(super) fn stall_at(&self, connected: Connected) -> Option<LinkMs> {
        if connected.rebuild_asked {
            return None;
        }
        let owed = self.flights.oldest_puback_owed()?;
        Some(owed.max(connected.last_puback).plus(PUBACK_STALL_MS))
    }

    /// What nobody acknowledged in time. In silence only one packet at a time.
    pub(super) fn offer_again(&mut self, link: LinkMs) -> Option<Offer> {
        loop {
            let overdue = self.flights.overdue(link)?.clone();
            let heard = self.last_ack > overdue.published;
            let probe_under_way = self.flights.iter().any(|flight| !flight.is_overdue(link));
            if !heard && self.silent > 0 && probe_under_way {
                return None;
            }
            self.flights.remove(overdue.id);
            let Some(stretch) = self.index.within(overdue.range) else {
                continue;
            };
            if !heard {
                self.silent = self.silent.saturating_add(1);
            }
            self.totals.offered_again += 1;
            return Some(self.start(stretch, overdue.lane, overdue.attempt.saturating_add(1)));
        }
    }

    pub(super) fn offer_fresh(&mut self, field: FieldMs, link: LinkMs) -> Option<Offer> {
        let interval = self.options.send_interval_ms;
        let flush = self.flush;
        loop {
            let at = self.fresh.iter().position(|fresh| {
                flush
                    || fresh.urgent
                    || field.since(fresh.since_field) >= interval
                    || link.since(fresh.since_link) >= interval
            })?;
            let fresh = self.fresh.remove(at)?;
            let Some(stretch) = self.index.within(fresh.range()) else {
                continue;
            };
            if stretch.range.to < fresh.to {
                let rest = Fresh {
                    from: stretch.range.to + 1,
                    urgent: true,
                    ..fresh
                };
                self.fresh.push_front(rest);
            }
            return Some(self.start(stretch, Lane::Live, 0));
        }
    }

    pub(super) fn offer_backlog(&mut self, link: LinkMs) -> Option<Offer> {
        let connected = self.connected?;
        if connected
            .hold_backlog_until
            .is_some_and(|until| link < until)
        {
            return None;
        }
        let places = WINDOW.saturating_sub(self.options.live_places);
        if self.flights.in_lane(Lane::Backlog) >= places {
            return None;
        }
        let fresh = self.fresh.iter().map(Fresh::range);
        let taken: Vec<Range> = self.flights.ranges().chain(fresh).collect();
        let stretch = self.index.oldest(&taken)?;
        Some(self.start(stretch, Lane::Backlog, 0))
    }

    pub(super) fn start(&mut self, stretch: Stretch, lane: Lane, attempt: u32) -> Offer {
        let Range { stream, from, to } = stretch.range;
        let id = self.flights.start(stretch.range, lane, attempt);
        Offer {
            id,
            stream,
            from: Seq(from),
            to: Seq(to),
            place: stretch.place,
            lane,
        }
    }
}
