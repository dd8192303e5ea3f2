//! The outbox, totals and clock knowledge again, from a journal after a restart.
//!
//! Fed with every entry in order. Never refuses: what can't be understood is counted and skipped.

use std::collections::{BTreeMap, BTreeSet};

use furrow_wire::{
    BootId, ClockMapping, Events, Loss, RecordKind, RecordName, Seq, StreamId, decode_batch,
};

use crate::evict;
use crate::outbox::{Journalled, Outbox, Place};
use crate::record::{ENTRY_COPY, ENTRY_RECORD, ENTRY_STATE, Stored, parse_stored};
use crate::state::{LastWall, LocalState};

/// Gaps that are looked at; a journal with more has lost whole segments, and ingest shows the rest.
const MAX_GAPS: usize = 1024;

/// What a journal's entries say, entry by entry.
#[derive(Debug)]
pub struct Recovery {
    outbox: Outbox,
    state: LocalState,
    mappings: BTreeMap<BootId, i64>,
    /// In the order of their first records.
    held: Vec<HeldBoot>,
    losses: Vec<Loss>,
    /// Per stream the last record seen.
    last_seen: BTreeMap<StreamId, (Seq, Place)>,
    /// Seqs that are missing between two records, and between which places.
    gaps: Vec<(StreamId, Seq, Seq, Place, Place)>,
    /// The latest batch with wall time, as encoded: decoded only when somebody needs it.
    last_timed: Vec<u8>,
    unreadable: u64,
}

/// A boot that has records without wall time and no mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBoot {
    /// Which.
    pub boot: BootId,
    /// The latest monotonic time in its records, milliseconds.
    pub last_mono_ms: u64,
    /// The latest known wall time before its first record.
    pub before: Option<LastWall>,
}

/// What a restart begins with.
#[derive(Debug)]
pub struct Recovered {
    /// The outbox with everything that may wait.
    pub outbox: Outbox,
    /// State with totals up to the end of the journal.
    pub state: LocalState,
    /// Boots with a mapping, and its offset.
    pub mappings: BTreeMap<BootId, i64>,
    /// Boots without, whose records wait for one, in the order of their first records.
    pub held: Vec<HeldBoot>,
    /// The latest wall time of any reading, Unix milliseconds.
    pub frontier_ms: Option<i64>,
    /// Records that damage has taken and no loss tells of yet, to be journalled as lost.
    pub damaged: Vec<Loss>,
    /// Entries that could not be understood.
    pub unreadable: u64,
}

impl Recovery {
    /// Fills an empty outbox.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        Recovery {
            outbox,
            // A journal without any entry is a gateway's first start, which nothing preceded.
            state: LocalState {
                clean_stop: true,
                ..LocalState::default()
            },
            mappings: BTreeMap::new(),
            held: Vec::new(),
            losses: Vec::new(),
            last_seen: BTreeMap::new(),
            gaps: Vec::new(),
            last_timed: Vec::new(),
            unreadable: 0,
        }
    }

    /// One entry of the journal, in order.
    pub fn handle_entry(&mut self, place: Place, kind: u8, payload: &[u8]) {
        match kind {
            ENTRY_STATE => match LocalState::decode(payload) {
                Ok(state) => self.state = state,
                Err(_) => self.unreadable += 1,
            },
            ENTRY_RECORD => match parse_stored(payload) {
                Ok(stored) => {
                    self.count(&stored);
                    self.find_gap(&stored, place);
                    self.handle_record(place, &stored);
                }
                Err(_) => self.unreadable += 1,
            },
            ENTRY_COPY => match parse_stored(payload) {
                Ok(stored) => self.handle_record(place, &stored),
                Err(_) => self.unreadable += 1,
            },
            _ => self.unreadable += 1,
        }
    }

    /// All entries were given. `damage` is where the journal found bytes that it can't read.
    #[must_use]
    pub fn finish(mut self, damage: &[Place]) -> Recovered {
        let damaged = self.damaged(damage);
        for loss in self.losses.iter().chain(&damaged) {
            self.outbox
                .handle_lost(loss.stream, loss.from_seq, loss.to_seq);
        }
        for (stream, mark) in &self.state.marks {
            if *mark > 0 {
                self.outbox.handle_settled(*stream, Seq::FIRST, Seq(*mark));
            }
        }
        let waiting: BTreeSet<BootId> = self.outbox.held_boots().into_iter().collect();
        self.held.retain(|held| waiting.contains(&held.boot));
        let from_batch = last_wall(&self.last_timed);
        self.state.handle_wall(from_batch);
        let last_wall = self.state.last_wall;
        Recovered {
            outbox: self.outbox,
            state: self.state,
            mappings: self.mappings,
            held: self.held,
            // A batch does not hold its end.
            frontier_ms: last_wall.map(|wall| wall.unix_ms - 1),
            damaged,
            unreadable: self.unreadable,
        }
    }

    /// Carries the totals on from the latest state.
    fn count(&mut self, stored: &Stored<'_>) {
        self.state.clean_stop = false;
        self.state.journalled_readings += u64::from(stored.readings);
        if stored.record.kind == RecordKind::Loss.code()
            && let Ok(loss) = Loss::decode(stored.record.body)
        {
            self.state.lost_readings += loss.readings;
        }
    }

    /// Seqs are dense; what is missing was recycled, or damaged.
    fn find_gap(&mut self, stored: &Stored<'_>, place: Place) {
        let RecordName { stream, seq } = stored.record.name;
        if let Some((last, at)) = self.last_seen.insert(stream, (seq, place))
            && last.next() < seq
            && self.gaps.len() < MAX_GAPS
        {
            self.gaps
                .push((stream, last.next(), Seq(seq.0 - 1), at, place));
        }
    }

    /// Gaps with damage between their ends that no loss covers.
    fn damaged(&self, damage: &[Place]) -> Vec<Loss> {
        let covered = |stream, from, to| {
            self.losses
                .iter()
                .any(|l| l.stream == stream && l.from_seq <= from && l.to_seq >= to)
        };
        self.gaps
            .iter()
            .filter(|(_, _, _, after, before)| damage.iter().any(|at| after < at && at < before))
            .filter(|(stream, from, to, _, _)| !covered(*stream, *from, *to))
            .map(|(stream, from, to, _, _)| {
                let text = "found damaged at the start".to_owned();
                evict::damaged(*stream, *from, *to, text)
            })
            .collect()
    }

    fn handle_record(&mut self, place: Place, stored: &Stored<'_>) {
        let kind = RecordKind::from_code(stored.record.kind);
        match kind {
            Some(RecordKind::Batch) => self.handle_batch(stored),
            Some(RecordKind::ClockMapping) => {
                if let Ok(mapping) = ClockMapping::decode(stored.record.body) {
                    self.mappings.insert(mapping.boot, mapping.wall_offset_ms);
                    self.held.retain(|held| held.boot != mapping.boot);
                    self.outbox.handle_mapped(mapping.boot);
                }
            }
            Some(RecordKind::Loss) => {
                if let Ok(loss) = Loss::decode(stored.record.body) {
                    self.losses.push(loss);
                }
            }
            Some(RecordKind::Events) => self.handle_events(stored),
            Some(RecordKind::Catalog) | None => {}
        }
        let held = stored.held.filter(|boot| !self.mappings.contains_key(boot));
        let (name, readings) = (stored.record.name, stored.readings);
        self.outbox.handle_recovered(Journalled {
            name,
            place,
            readings,
            held,
        });
    }

    fn handle_batch(&mut self, stored: &Stored<'_>) {
        let Some(boot) = stored.held else {
            self.last_timed.clear();
            self.last_timed.extend_from_slice(stored.record.body);
            return;
        };
        if let Ok(batch) = decode_batch(stored.record.body) {
            self.hold(boot, batch.to_mono_ms);
        }
    }

    /// A boot may leave events and no batch: they wait for its mapping as well.
    fn handle_events(&mut self, stored: &Stored<'_>) {
        if let Some(boot) = stored.held
            && let Ok(events) = Events::decode(stored.record.body)
        {
            let times = events.events.iter().map(|event| event.at_mono_ms);
            self.hold(boot, times.max().unwrap_or(0));
        }
    }

    fn hold(&mut self, boot: BootId, mono_ms: u64) {
        if let Some(held) = self.held.iter_mut().find(|held| held.boot == boot) {
            held.last_mono_ms = held.last_mono_ms.max(mono_ms);
            return;
        }
        self.held.push(HeldBoot {
            boot,
            last_mono_ms: mono_ms,
            before: last_wall(&self.last_timed),
        });
    }
}

fn last_wall(body: &[u8]) -> Option<LastWall> {
    let batch = decode_batch(body).ok()?;
    let offset = batch.wall_offset_ms?;
    let mono_ms = batch.to_mono_ms;
    let unix_ms = offset.saturating_add_unsigned(mono_ms);
    Some(LastWall {
        boot: batch.boot,
        mono_ms,
        unix_ms,
    })
}

#[cfg(test)]
mod tests;
