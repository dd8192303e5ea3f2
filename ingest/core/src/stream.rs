//! What ingest holds of one stream: a contiguous mark, a few ranges above it, and what is known lost.
//!
//! A stream's records are numbered 1, 2, 3, … without holes. They arrive in any order and more than
//! once. This module says which are new, and never forgets one below its mark. It does not know
//! records, only their numbers.

use furrow_wire::{MAX_RANGES, Seq, StreamId, StreamMarks};
use serde::{Deserialize, Serialize};

/// Losses remembered per stream, so that a record that turns up after all is still taken.
/// Older ones stay in the archive's list of gaps; only the late record would be refused.
pub const MAX_KNOWN_GAPS: usize = 64;

/// An inclusive range of seqs.
pub type SeqRange = (u64, u64);

/// What to do with an offered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not held yet: store it.
    New,
    /// Held already: acknowledge it, store nothing.
    Duplicate,
    /// It would open a range beyond the limit of [`MAX_RANGES`]: store nothing, acknowledge nothing.
    Beyond,
}

/// The numbers held of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTrack {
    mark: u64,
    /// Sorted, disjoint, not touching each other or the mark.
    ranges: Vec<SeqRange>,
    /// Numbers at or below the mark, or inside a range, that never came. Sorted, disjoint.
    gaps: Vec<SeqRange>,
}

impl StreamTrack {
    /// Every seq from 1 to here is held, or known lost.
    #[must_use]
    pub fn mark(&self) -> Seq {
        Seq(self.mark)
    }

    /// What is held above the mark.
    #[must_use]
    pub fn ranges(&self) -> &[SeqRange] {
        &self.ranges
    }

    /// The last seq that is held, or known lost; 0: none.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.ranges.last().map_or(self.mark, |range| range.1))
    }

    /// What is known lost, as far as it is remembered.
    #[must_use]
    pub fn gaps(&self) -> &[SeqRange] {
        &self.gaps
    }

    /// Whether this seq would be taken.
    #[must_use]
    pub fn verdict(&self, seq: Seq) -> Verdict {
        if self.covers(seq.0) {
            return if contains(&self.gaps, seq.0) {
                Verdict::New
            } else {
                Verdict::Duplicate
            };
        }
        let joins =
            seq.0 == self.mark.saturating_add(1) || self.ranges.iter().any(|r| touches(*r, seq.0));
        if joins || self.ranges.len() < MAX_RANGES {
            Verdict::New
        } else {
            Verdict::Beyond
        }
    }

    /// Takes this seq if it is new; the same answer as [`StreamTrack::verdict`] before the call.
    pub fn accept(&mut self, seq: Seq) -> Verdict {
        let verdict = self.verdict(seq);
        if verdict == Verdict::New {
            if self.covers(seq.0) {
                remove(&mut self.gaps, seq.0);
            } else {
                self.insert((seq.0, seq.0));
            }
        }
        verdict
    }

    /// Moves over a range that will never come. Gives the parts that are really missing, or `None`
    /// when that would open a range beyond the limit (nothing is changed then).
    pub fn cover(&mut self, range: SeqRange) -> Option<Vec<SeqRange>> {
        let (from, to) = range;
        if from == 0 || from > to {
            return Some(Vec::new());
        }
        let missing = self.missing_in(range);
        let mut next = self.clone();
        next.insert(range);
        if next.ranges.len() > MAX_RANGES {
            return None;
        }
        next.gaps = merged(&self.gaps, &missing);
        let surplus = next.gaps.len().saturating_sub(MAX_KNOWN_GAPS);
        next.gaps.drain(..surplus);
        *self = next;
        Some(missing)
    }

    /// The statement for an acknowledgement.
    #[must_use]
    pub fn marks(&self, stream: StreamId) -> StreamMarks {
        StreamMarks {
            stream,
            mark: self.mark,
            ranges: self.ranges.clone(),
        }
    }

    /// The parts of a range that are neither held nor known lost.
    #[must_use]
    pub fn missing_in(&self, (from, to): SeqRange) -> Vec<SeqRange> {
        let mut missing = Vec::new();
        let mut next = from.max(self.mark.saturating_add(1));
        for &(start, end) in &self.ranges {
            if end < next {
                continue;
            }
            if start > to || next > to {
                break;
            }
            if start > next {
                missing.push((next, start - 1));
            }
            next = end.saturating_add(1);
        }
        if next <= to {
            missing.push((next, to));
        }
        missing
    }

    fn covers(&self, seq: u64) -> bool {
        seq <= self.mark || contains(&self.ranges, seq)
    }

    fn insert(&mut self, range: SeqRange) {
        self.ranges = merged(&self.ranges, &[range]);
        while let Some(&(start, end)) = self.ranges.first() {
            if start > self.mark.saturating_add(1) {
                break;
            }
            self.mark = self.mark.max(end);
            self.ranges.remove(0);
        }
    }
}

fn contains(ranges: &[SeqRange], seq: u64) -> bool {
    ranges
        .iter()
        .any(|&(start, end)| start <= seq && seq <= end)
}

fn touches((start, end): SeqRange, seq: u64) -> bool {
    seq.saturating_add(1) == start || end.saturating_add(1) == seq
}

/// Union of two sets of ranges: sorted, and ranges that touch are joined.
fn merged(a: &[SeqRange], b: &[SeqRange]) -> Vec<SeqRange> {
    let mut all: Vec<SeqRange> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut out: Vec<SeqRange> = Vec::with_capacity(all.len());
    for (start, end) in all {
        match out.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

fn remove(ranges: &mut Vec<SeqRange>, seq: u64) {
    *ranges = ranges
        .iter()
        .flat_map(|&(start, end)| {
            if seq < start || end < seq {
                return [Some((start, end)), None];
            }
            let below = (start < seq).then(|| (start, seq - 1));
            let above = (seq < end).then(|| (seq + 1, end));
            [below, above]
        })
        .flatten()
        .collect();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use furrow_wire::Ack;
    use proptest::prelude::*;

    use super::*;

    fn track(mark: u64, ranges: &[SeqRange], gaps: &[SeqRange]) -> StreamTrack {
        StreamTrack {
            mark,
            ranges: ranges.to_vec(),
            gaps: gaps.to_vec(),
        }
    }

    #[track_caller]
    fn check(before: &StreamTrack, seq: u64, verdict: Verdict, after: &StreamTrack) {
        let mut track = before.clone();
        assert_eq!(track.verdict(Seq(seq)), verdict);
        assert_eq!(track.accept(Seq(seq)), verdict);
        assert_eq!(&track, after);
    }

    #[test]
    fn records_move_the_mark_or_open_a_range() {
        let held = track(5, &[(8, 9), (12, 12)], &[(2, 3)]);
        check(
            &held,
            6,
            Verdict::New,
            &track(6, &[(8, 9), (12, 12)], &[(2, 3)]),
        );
        check(
            &held,
            7,
            Verdict::New,
            &track(5, &[(7, 9), (12, 12)], &[(2, 3)]),
        );
        check(
            &held,
            10,
            Verdict::New,
            &track(5, &[(8, 10), (12, 12)], &[(2, 3)]),
        );
        check(
            &held,
            20,
            Verdict::New,
            &track(5, &[(8, 9), (12, 12), (20, 20)], &[(2, 3)]),
        );
        for seq in [1, 4, 5, 8, 9, 12] {
            check(&held, seq, Verdict::Duplicate, &held);
        }
    }

    #[test]
    fn a_lost_record_that_turns_up_after_all_is_taken_once() {
        let held = track(5, &[], &[(2, 4)]);
        let after = track(5, &[], &[(2, 2), (4, 4)]);
        check(&held, 3, Verdict::New, &after);
        check(&after, 3, Verdict::Duplicate, &after);
    }

    #[test]
    fn beyond_64_ranges_only_what_closes_a_hole_is_taken() {
        let ranges: Vec<_> = (1..=64).map(|n| (n * 10, n * 10)).collect();
        let mut full = track(0, &ranges, &[]);
        check(&full, 645, Verdict::Beyond, &full);
        check(&full, 15, Verdict::Beyond, &full);
        check(&full, 1, Verdict::New, &track(1, &ranges, &[]));
        let mut joined = ranges;
        joined[63] = (640, 641);
        check(&full, 641, Verdict::New, &track(0, &joined, &[]));
        assert_eq!(full.clone().cover((701, 702)), None);
        let missing = full.cover((1, 15)).unwrap();
        assert_eq!(missing, [(1, 9), (11, 15)]);
    }

    #[test]
    fn a_loss_moves_the_mark_and_tells_what_is_missing() {
        let mut held = track(5, &[(8, 9)], &[]);
        assert_eq!(held.cover((3, 12)), Some(vec![(6, 7), (10, 12)]));
        assert_eq!(held, track(12, &[], &[(6, 7), (10, 12)]));
        assert_eq!(held.cover((3, 12)), Some(vec![]));
        assert_eq!(held.cover((0, 9)), Some(vec![]));
        assert_eq!(held.cover((9, 8)), Some(vec![]));
        assert_eq!(held.cover((14, u64::MAX)), Some(vec![(14, u64::MAX)]));
        assert_eq!(held.verdict(Seq(u64::MAX)), Verdict::New);
    }

    #[test]
    fn remembered_losses_are_bounded() {
        let mut held = StreamTrack::default();
        for n in 0..100 {
            let seq = n * 2 + 1;
            held.accept(Seq(seq));
            held.cover((seq + 1, seq + 1)).unwrap();
        }
        assert_eq!(held.mark(), Seq(200));
        assert_eq!(held.gaps().len(), MAX_KNOWN_GAPS);
        assert_eq!(held.gaps().first(), Some(&(74, 74)));
    }

    proptest! {
        #[test]
        fn any_order_and_duplication_ends_with_a_contiguous_mark(
            order in Just((1u64..=60).collect::<Vec<_>>()).prop_shuffle(),
            again in proptest::collection::vec(1u64..=60, 0..60),
        ) {
            let mut track = StreamTrack::default();
            let mut held = BTreeSet::new();
            for (at, seq) in order.into_iter().enumerate() {
                let mut offers = vec![seq];
                offers.extend(again.get(at));
                for seq in offers {
                    let expected = if held.insert(seq) { Verdict::New } else { Verdict::Duplicate };
                    prop_assert_eq!(track.accept(Seq(seq)), expected);
                }
                let said: BTreeSet<u64> = (1..=track.mark)
                    .chain(track.ranges.iter().flat_map(|&(a, b)| a..=b))
                    .collect();
                prop_assert_eq!(&said, &held, "an acknowledgement says what is held, no more, no less");
            }
            prop_assert_eq!(&track, &StreamTrack { mark: 60, ..StreamTrack::default() });
        }

        #[test]
        fn losses_and_records_in_any_order_agree_with_a_set(
            steps in proptest::collection::vec((any::<bool>(), 1u64..80, 0u64..8), 0..80),
        ) {
            let mut track = StreamTrack::default();
            let (mut stored, mut passed) = (BTreeSet::new(), BTreeSet::new());
            for (is_loss, from, len) in steps {
                if is_loss {
                    let range = (from, from + len);
                    let missing = track.cover(range).unwrap();
                    let expected: Vec<u64> =
                        (from..=from + len).filter(|seq| !passed.contains(seq)).collect();
                    let said: Vec<u64> = missing.into_iter().flat_map(|(a, b)| a..=b).collect();
                    prop_assert_eq!(said, expected);
                    passed.extend(from..=from + len);
                } else {
                    let verdict = track.accept(Seq(from));
                    let expected =
                        if stored.insert(from) { Verdict::New } else { Verdict::Duplicate };
                    prop_assert_eq!(verdict, expected);
                    passed.insert(from);
                }
                let said: BTreeSet<u64> = (1..=track.mark)
                    .chain(track.ranges.iter().flat_map(|&(a, b)| a..=b))
                    .collect();
                prop_assert_eq!(&said, &passed);
            }
        }

        #[test]
        fn acknowledged_ranges_survive_the_wire(seqs in proptest::collection::btree_set(1u64..300, 0..100)) {
            let mut track = StreamTrack::default();
            for seq in seqs {
                track.accept(Seq(seq));
            }
            let ack = Ack { ingest_unix_ms: 1_700_000_000_000, streams: vec![track.marks(StreamId(7))] };
            prop_assert_eq!(Ack::decode(&ack.encode()), Ok(ack));
        }
    }
}
