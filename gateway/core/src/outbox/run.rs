//! One run: records of one stream with consecutive seqs that stand one after the other in one
//! segment, and which of them are settled (acknowledged, or lost and said so).
//!
//! A run costs a few bytes per 32 records and a bit per record while it is partly settled above its
//! prefix, so that weeks of backlog fit a Pi's memory. Payloads stay in the journal.

use furrow_wire::{BootId, StreamId};

/// Records between two remembered offsets: a reader skips at most this many frames less one.
const CHECKPOINT_EVERY: u32 = 32;
const WORD_BITS: u32 = 64;

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) stream: StreamId,
    /// Seq of the first record.
    first: u64,
    /// How many records.
    count: u32,
    /// Offsets in the segment of records 0, 32, 64, …
    checkpoints: Vec<u32>,
    /// Readings per record, run-length coded: (readings, records).
    readings: Vec<(u32, u32)>,
    /// Records `0..prefix` are settled.
    prefix: u32,
    /// Settled bits above the prefix, by record; empty while there are none.
    bits: Vec<u64>,
    /// Settled records in all.
    settled: u32,
    /// Not to be offered before this boot has a clock mapping.
    pub(crate) held: Option<BootId>,
}

/// What settling or unsettling changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    pub(crate) records: u64,
    pub(crate) readings: u64,
}

impl Change {
    pub(crate) fn add(&mut self, other: Change) {
        self.records += other.records;
        self.readings += other.readings;
    }
}

impl Run {
    pub(crate) fn new(stream: StreamId, first: u64, held: Option<BootId>) -> Self {
        Run {
            stream,
            first,
            count: 0,
            checkpoints: Vec::new(),
            readings: Vec::new(),
            prefix: 0,
            bits: Vec::new(),
            settled: 0,
            held,
        }
    }

    /// Whether a record with this name and gate continues the run.
    pub(crate) fn continues(&self, stream: StreamId, seq: u64, held: Option<BootId>) -> bool {
        self.stream == stream && self.end() == seq && self.held == held && self.count < u32::MAX
    }

    pub(crate) fn push(&mut self, offset: u32, readings: u32) {
        if self.count.is_multiple_of(CHECKPOINT_EVERY) {
            self.checkpoints.push(offset);
        }
        match self.readings.last_mut() {
            Some((value, records)) if *value == readings => *records += 1,
            Some(_) | None => self.readings.push((readings, 1)),
        }
        self.count += 1;
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// One past the last seq.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.count - self.settled
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        (self.first..self.end()).contains(&seq)
    }

    /// Offset of a frame at or before the record `seq`.
    pub(crate) fn checkpoint(&self, seq: u64) -> u32 {
        let record = self.record(seq);
        let at = usize::try_from(record / CHECKPOINT_EVERY).unwrap_or(usize::MAX);
        self.checkpoints
            .get(at)
            .or(self.checkpoints.last())
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn is_settled(&self, seq: u64) -> bool {
        self.contains(seq) && self.bit(self.record(seq))
    }

    /// Settles the seqs `from..=to` that lie in this run.
    pub(crate) fn settle(&mut self, from: u64, to: u64) -> Change {
        let Some((from, end)) = self.clip(from, to) else {
            return Change::default();
        };
        let mut change = Change::default();
        for record in from.max(self.prefix)..end {
            if !self.bit(record) {
                self.set_bit(record);
                change.records += 1;
                change.readings += u64::from(self.readings_of(record));
            }
        }
        self.advance_prefix();
        change
    }

    /// Takes back what was settled among `from..=to`: ingest has lost it.
    pub(crate) fn unsettle(&mut self, from: u64, to: u64) -> Change {
        let Some((from, end)) = self.clip(from, to) else {
            return Change::default();
        };
        let mut change = Change::default();
        // Nearly every acknowledgement finds nothing to take back.
        if (from >= self.prefix && self.bits.is_empty()) || !(from..end).any(|r| self.bit(r)) {
            return change;
        }
        let settled: Vec<u32> = (0..self.count).filter(|record| self.bit(*record)).collect();
        self.prefix = 0;
        self.bits.clear();
        self.settled = 0;
        for record in settled {
            if (from..end).contains(&record) {
                change.records += 1;
                change.readings += u64::from(self.readings_of(record));
            } else {
                self.set_bit(record);
            }
        }
        self.advance_prefix();
        change
    }

    /// The first seq at or above `from` that is not settled.
    pub(crate) fn next_waiting(&self, from: u64) -> Option<u64> {
        let start = self.record(from.max(self.first)).max(self.prefix);
        (start..self.count)
            .find(|record| !self.bit(*record))
            .map(|record| self.seq(record))
    }

    /// The first seq above `from` that is settled, or one past the run's end.
    pub(crate) fn waiting_end(&self, from: u64) -> u64 {
        let start = self.record(from);
        if self.bits.is_empty() && start >= self.prefix {
            return self.end();
        }
        (start..self.count)
            .find(|record| self.bit(*record))
            .map_or(self.end(), |r| self.seq(r))
    }

    /// Waiting records and readings.
    pub(crate) fn totals(&self) -> Change {
        let mut change = Change::default();
        if self.settled == self.count {
            return change;
        }
        for record in self.prefix..self.count {
            if !self.bit(record) {
                change.records += 1;
                change.readings += u64::from(self.readings_of(record));
            }
        }
        change
    }

    fn record(&self, seq: u64) -> u32 {
        u32::try_from(seq.saturating_sub(self.first)).unwrap_or(u32::MAX)
    }

    fn seq(&self, record: u32) -> u64 {
        self.first + u64::from(record)
    }

    /// `from..=to` as records `from..end` of this run.
    fn clip(&self, from: u64, to: u64) -> Option<(u32, u32)> {
        if to < self.first || from >= self.end() {
            return None;
        }
        let end = self.record(to.saturating_add(1)).min(self.count);
        Some((self.record(from.max(self.first)), end))
    }

    fn bit(&self, record: u32) -> bool {
        if record < self.prefix {
            return true;
        }
        let (word, mask) = place(record);
        self.bits.get(word).is_some_and(|bits| bits & mask != 0)
    }

    fn set_bit(&mut self, record: u32) {
        self.settled += 1;
        if record == self.prefix {
            self.prefix += 1;
            return;
        }
        let (word, mask) = place(record);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= mask;
        }
    }

    fn advance_prefix(&mut self) {
        if self.settled == self.count {
            self.prefix = self.count;
        }
        while self.prefix < self.count && self.bit(self.prefix) {
            self.prefix += 1;
        }
        if self.settled <= self.prefix {
            self.bits = Vec::new();
        }
    }

    fn readings_of(&self, record: u32) -> u32 {
        let mut before = 0;
        for (readings, records) in &self.readings {
            before += records;
            if record < before {
                return *readings;
            }
        }
        0
    }
}

fn place(record: u32) -> (usize, u64) {
    let word = usize::try_from(record / WORD_BITS).unwrap_or(usize::MAX);
    (word, 1 << (record % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn run(count: u32) -> Run {
        let mut run = Run::new(StreamId(1), 10, None);
        for record in 0..count {
            run.push(record * 100, record % 3);
        }
        run
    }

    #[test]
    fn a_reader_starts_at_most_31_records_early() {
        let run = run(100);
        for seq in 10..110 {
            let skipped = (seq - 10) - u64::from(run.checkpoint(seq)) / 100;
            assert!(skipped < 32, "seq {seq}");
        }
    }

    #[test]
    fn a_settled_run_keeps_no_bits() {
        let mut run = run(200);
        run.settle(100, 209);
        assert!(!run.bits.is_empty());
        run.settle(0, 150);
        assert_eq!((run.prefix, run.waiting(), run.bits.len()), (200, 0, 0));
    }

    proptest! {
        /// Against a plain set of seqs.
        #[test]
        fn settling_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0u64..150, 0u64..60), 1..40)) {
            let mut run = run(100);
            let mut waiting: BTreeSet<u64> = (10..110).collect();
            for (settle, from, length) in steps {
                let to = from + length;
                let change = if settle { run.settle(from, to) } else { run.unsettle(from, to) };
                let before = waiting.len();
                for seq in from.max(10)..=to.min(109) {
                    if settle { waiting.remove(&seq); } else { waiting.insert(seq); }
                }
                prop_assert_eq!(change.records, before.abs_diff(waiting.len()) as u64);
                prop_assert_eq!(u64::from(run.waiting()), waiting.len() as u64);
                let readings: u64 = waiting.iter().map(|seq| (seq - 10) % 3).sum();
                prop_assert_eq!(run.totals(), Change { records: waiting.len() as u64, readings });
                for seq in 0..120 {
                    prop_assert_eq!(run.next_waiting(seq), waiting.range(seq..).next().copied());
                }
                for seq in &waiting {
                    let end = (*seq..110).find(|s| !waiting.contains(s)).unwrap_or(110);
                    prop_assert_eq!(run.waiting_end(*seq), end);
                }
            }
        }
    }
}
