//! Which records the journal holds, where, and which of them still wait for ingest.
//!
//! Owns no payloads and does no IO. Memory: per segment a few runs ([`super::run`]).

use std::collections::{BTreeMap, BTreeSet};

use furrow_wire::{BootId, RecordName, Seq, StreamId};

use super::run::{Change, Run};

/// Where an entry stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Segment number; numbers only grow.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u32,
}

/// One record that the journal now holds durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journalled {
    /// Its name.
    pub name: RecordName,
    /// Where it stands.
    pub place: Place,
    /// Readings in it; 0 unless it is a batch.
    pub readings: u32,
    /// A batch without wall time: not to be offered before this boot has a mapping.
    pub held: Option<BootId>,
}

/// What the journal holds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The stream.
    pub stream: StreamId,
    /// First seq held, acknowledged or not.
    pub first: u64,
    /// Last seq held.
    pub last: u64,
    /// Nothing that is held waits up to here.
    pub mark: u64,
}

/// An inclusive range of seqs of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) stream: StreamId,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Range {
    pub(crate) fn contains(&self, stream: StreamId, seq: u64) -> bool {
        self.stream == stream && (self.from..=self.to).contains(&seq)
    }
}

/// Waiting records that can make one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) range: Range,
    /// At or a little before the first of them.
    pub(crate) place: Place,
}

#[derive(Debug, Default)]
struct Segment {
    runs: Vec<Run>,
    waiting: u64,
    released: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: BTreeMap<u64, Segment>,
    /// Segments that were released and in which something waits again.
    wanted: BTreeSet<u64>,
    waiting: Change,
}

impl Index {
    pub(crate) fn push(&mut self, entry: Journalled) {
        let RecordName {
            stream,
            seq: Seq(seq),
        } = entry.name;
        let segment = self.segments.entry(entry.place.segment).or_default();
        let fits = segment
            .runs
            .last()
            .is_some_and(|run| run.continues(stream, seq, entry.held));
        if !fits {
            segment.runs.push(Run::new(stream, seq, entry.held));
        }
        if let Some(run) = segment.runs.last_mut() {
            run.push(entry.place.offset, entry.readings);
        }
        segment.waiting += 1;
        segment.released = false;
        self.waiting.add(Change {
            records: 1,
            readings: u64::from(entry.readings),
        });
    }

    /// Marks seqs as acknowledged, or as lost and said so.
    pub(crate) fn settle(&mut self, range: Range) -> Change {
        let mut total = Change::default();
        for segment in self
            .segments
            .values_mut()
            .filter(|segment| segment.waiting > 0)
        {
            for run in segment
                .runs
                .iter_mut()
                .filter(|run| run.stream == range.stream)
            {
                let change = run.settle(range.from, range.to);
                segment.waiting -= change.records;
                total.add(change);
            }
        }
        self.waiting.records -= total.records;
        self.waiting.readings -= total.readings;
        total
    }

    /// Takes back what was settled: ingest no longer has it.
    pub(crate) fn unsettle(&mut self, range: Range) -> Change {
        let mut total = Change::default();
        for (number, segment) in &mut self.segments {
            for run in segment
                .runs
                .iter_mut()
                .filter(|run| run.stream == range.stream)
            {
                let change = run.unsettle(range.from, range.to);
                segment.waiting += change.records;
                total.add(change);
            }
            if segment.waiting > 0 && segment.released {
                segment.released = false;
                self.wanted.insert(*number);
            }
        }
        self.waiting.add(total);
        total
    }

    /// Lets the records of a boot go, now that it has a mapping.
    pub(crate) fn unhold(&mut self, boot: BootId) {
        for segment in self.segments.values_mut() {
            for run in segment.runs.iter_mut().filter(|run| run.held == Some(boot)) {
                run.held = None;
            }
        }
    }

    /// Boots whose waiting records have no mapping yet.
    pub(crate) fn held_boots(&self) -> Vec<BootId> {
        let runs = self.segments.values().flat_map(|segment| &segment.runs);
        let mut boots: Vec<_> = runs.filter_map(|run| run.held).collect();
        boots.sort_unstable();
        boots.dedup();
        boots
    }

    /// The oldest waiting records that lie in none of `taken`, from `after` on.
    pub(crate) fn oldest(&self, taken: &[Range]) -> Option<Stretch> {
        self.segments
            .iter()
            .filter(|(_, segment)| segment.waiting > 0)
            .flat_map(|(number, segment)| segment.runs.iter().map(move |run| (*number, run)))
            .filter(|(_, run)| run.held.is_none() && run.waiting() > 0)
            .find_map(|(number, run)| free_stretch(number, run, run.first(), taken))
    }

    /// The waiting records of `range` that one packet can take: from its first waiting seq on,
    /// as far as they are consecutive and in one run.
    pub(crate) fn within(&self, range: Range) -> Option<Stretch> {
        let (number, run) = self.newest_run(range)?;
        let seq = run
            .next_waiting(range.from)
            .filter(|seq| *seq <= range.to)?;
        let to = (run.waiting_end(seq) - 1).min(range.to);
        let place = Place {
            segment: number,
            offset: run.checkpoint(seq),
        };
        Some(Stretch {
            range: Range {
                stream: run.stream,
                from: seq,
                to,
            },
            place,
        })
    }

    pub(crate) fn is_waiting(&self, name: RecordName) -> bool {
        let range = Range {
            stream: name.stream,
            from: name.seq.0,
            to: name.seq.0,
        };
        self.within(range).is_some()
    }

    /// The next segment that was named as releasable and must be kept after all.
    pub(crate) fn take_wanted(&mut self) -> Option<u64> {
        self.wanted.pop_first()
    }

    /// The next segment below `active` in which everything is settled; each is named once.
    pub(crate) fn take_releasable(&mut self, active: u64) -> Option<u64> {
        let (number, segment) = self
            .segments
            .range_mut(..active)
            .find(|(_, segment)| segment.waiting == 0 && !segment.released)?;
        segment.released = true;
        Some(*number)
    }

    /// The oldest segment below `active` that is not released.
    pub(crate) fn oldest_kept(&self, active: u64) -> Option<u64> {
        let mut kept = self
            .segments
            .range(..active)
            .filter(|(_, segment)| !segment.released);
        kept.next().map(|(number, _)| *number)
    }

    /// Forgets a segment; what waited in it no longer does.
    pub(crate) fn remove(&mut self, number: u64) -> Change {
        self.wanted.remove(&number);
        let Some(segment) = self.segments.remove(&number) else {
            return Change::default();
        };
        let mut total = Change::default();
        for run in &segment.runs {
            total.add(run.totals());
        }
        self.waiting.records -= total.records;
        self.waiting.readings -= total.readings;
        total
    }

    /// Forgets released segments that the journal has recycled.
    pub(crate) fn keep_only(&mut self, existing: &[u64]) {
        let gone: Vec<u64> = self
            .segments
            .keys()
            .filter(|number| existing.binary_search(number).is_err())
            .copied()
            .collect();
        for number in gone {
            self.remove(number);
        }
    }

    pub(crate) fn waiting(&self) -> Change {
        self.waiting
    }

    pub(crate) fn is_settled_in(&self, segment: u64, name: RecordName) -> bool {
        self.segments.get(&segment).is_some_and(|segment| {
            let mut runs = segment.runs.iter();
            runs.any(|run| run.stream == name.stream && run.is_settled(name.seq.0))
        })
    }

    /// What the journal holds of each stream, the oldest stream first.
    pub(crate) fn streams(&self) -> Vec<Held> {
        let mut places: BTreeMap<StreamId, usize> = BTreeMap::new();
        let mut streams: Vec<Held> = Vec::new();
        for run in self.segments.values().flat_map(|segment| &segment.runs) {
            let (first, last, waiting) = (run.first(), run.end() - 1, run.next_waiting(0));
            let place = *places.entry(run.stream).or_insert(streams.len());
            let mark = waiting.map_or(last, |seq| seq - 1);
            match streams.get_mut(place) {
                Some(held) => {
                    let settled_before = held.mark == held.last;
                    // A copy of an older record may follow newer ones.
                    let follows = settled_before && first > held.last;
                    held.mark = match waiting {
                        Some(_) if !follows => held.mark.min(mark),
                        None if !settled_before => held.mark,
                        Some(_) | None => held.mark.max(mark),
                    };
                    held.first = held.first.min(first);
                    held.last = held.last.max(last);
                }
                None => streams.push(Held {
                    stream: run.stream,
                    first,
                    last,
                    mark,
                }),
            }
        }
        streams
    }

    /// The run that holds the first seq of `range` that any run holds; the newest where copies
    /// exist.
    fn newest_run(&self, range: Range) -> Option<(u64, &Run)> {
        let runs =
            self.segments.iter().rev().flat_map(|(number, segment)| {
                segment.runs.iter().rev().map(move |run| (*number, run))
            });
        runs.filter(|(_, run)| run.stream == range.stream && run.held.is_none())
            .filter(|(_, run)| {
                run.next_waiting(range.from)
                    .is_some_and(|seq| seq <= range.to)
            })
            .min_by_key(|(_, run)| run.next_waiting(range.from))
    }
}

fn free_stretch(number: u64, run: &Run, from: u64, taken: &[Range]) -> Option<Stretch> {
    let mut seq = run.next_waiting(from)?;
    while let Some(range) = taken.iter().find(|range| range.contains(run.stream, seq)) {
        seq = run.next_waiting(range.to.checked_add(1)?)?;
    }
    let next_taken = taken
        .iter()
        .filter(|range| range.stream == run.stream && range.from > seq)
        .map(|range| range.from)
        .min();
    let end = next_taken.map_or(run.waiting_end(seq), |taken| {
        taken.min(run.waiting_end(seq))
    });
    let place = Place {
        segment: number,
        offset: run.checkpoint(seq),
    };
    Some(Stretch {
        range: Range {
            stream: run.stream,
            from: seq,
            to: end - 1,
        },
        place,
    })
}
