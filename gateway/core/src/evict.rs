//! What goes when the journal is at its cap.
//!
//! The oldest segment is given up. Its batches that wait become `lost` records; everything else in
//! it that waits (watering events, catalogs, mappings, earlier losses) is written again, under its
//! name and with its bytes, at the journal's end. Only when that is durable may the segment go.

use furrow_wire::{Loss, LossReason, RecordKind, RecordName, Seq, StreamId};

/// Segments kept free below the cap: one that is written to, one for what is written again of the
/// segment that is given up, and one for an attempt at that which a power cut interrupted.
pub const HEADROOM_SEGMENTS: u64 = 3;

/// One waiting record of the segment that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub name: RecordName,
    /// Its kind; `None` for one of a newer version, which is kept.
    pub kind: Option<RecordKind>,
    /// Readings in it.
    pub readings: u32,
}

/// What to do with the waiting records of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is lost, in stretches of consecutive seqs.
    pub losses: Vec<Loss>,
    /// Places, in the list given, of the records to write again.
    pub copies: Vec<usize>,
    /// Readings that are lost.
    pub readings: u64,
}

/// Whether the journal's oldest segment has to go before more is written.
#[must_use]
pub fn is_due(live_bytes: u64, segment_bytes: u32, cap_bytes: u64) -> bool {
    let headroom = HEADROOM_SEGMENTS * u64::from(segment_bytes);
    // The journal itself holds one more segment in reserve.
    live_bytes
        .saturating_add(headroom)
        .saturating_add(u64::from(segment_bytes))
        > cap_bytes
}

/// Decides what to do with the waiting records of a segment, in their order.
#[must_use]
pub fn plan(waiting: &[Waiting], reason: LossReason) -> Plan {
    let mut plan = Plan::default();
    for (place, record) in waiting.iter().enumerate() {
        match record.kind {
            Some(RecordKind::Batch) => plan.lose(record, reason),
            Some(
                RecordKind::Catalog
                | RecordKind::ClockMapping
                | RecordKind::Events
                | RecordKind::Loss,
            )
            | None => plan.copies.push(place),
        }
    }
    plan
}

/// The loss of records that can't be read back.
#[must_use]
pub fn damaged(stream: StreamId, from_seq: Seq, to_seq: Seq, text: String) -> Loss {
    Loss {
        stream,
        from_seq,
        to_seq,
        readings: 0,
        reason: LossReason::Damaged,
        text,
    }
}

impl Plan {
    fn lose(&mut self, record: &Waiting, reason: LossReason) {
        let RecordName { stream, seq } = record.name;
        let readings = u64::from(record.readings);
        self.readings += readings;
        if let Some(last) = self.losses.last_mut()
            && last.stream == stream
            && last.to_seq.next() == seq
        {
            last.to_seq = seq;
            last.readings += readings;
            return;
        }
        let (from_seq, to_seq, text) = (seq, seq, String::new());
        self.losses.push(Loss {
            stream,
            from_seq,
            to_seq,
            readings,
            reason,
            text,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(stream: u64, seq: u64, kind: RecordKind, readings: u32) -> Waiting {
        let name = RecordName {
            stream: StreamId(stream),
            seq: Seq(seq),
        };
        Waiting {
            name,
            kind: Some(kind),
            readings,
        }
    }

    #[test]
    fn batches_go_in_stretches_and_the_rest_is_kept() {
        let records = [
            waiting(1, 4, RecordKind::Batch, 10),
            waiting(1, 5, RecordKind::Batch, 11),
            waiting(1, 6, RecordKind::Events, 0),
            waiting(1, 7, RecordKind::Batch, 12),
            waiting(2, 8, RecordKind::Batch, 13),
            waiting(2, 9, RecordKind::Loss, 0),
            waiting(2, 10, RecordKind::Catalog, 0),
            waiting(2, 11, RecordKind::ClockMapping, 0),
        ];
        let loss = |stream, from, to, readings| Loss {
            stream: StreamId(stream),
            from_seq: Seq(from),
            to_seq: Seq(to),
            readings,
            reason: LossReason::CapReached,
            text: String::new(),
        };
        let expected = Plan {
            losses: vec![loss(1, 4, 5, 21), loss(1, 7, 7, 12), loss(2, 8, 8, 13)],
            copies: vec![2, 5, 6, 7],
            readings: 46,
        };
        assert_eq!(plan(&records, LossReason::CapReached), expected);
    }

    #[test]
    fn three_segments_and_the_journals_reserve_stay_free() {
        assert!(!is_due(4, 1, 8));
        assert!(is_due(5, 1, 8));
    }
}
