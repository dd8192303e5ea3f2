//! Names and bytes of records, and how they stand in the journal.
//!
//! An entry of kind [`ENTRY_RECORD`] is the encoded record, as it is sent, and for a batch a
//! trailer that spares a restart from decoding it:
//!
//! ```text
//! offset  bytes  field
//!      0      n  the record (its header gives n)
//!      n      4  readings, little-endian      batches only
//!    n+4      8  boot, little-endian          records without wall time only (see [`Stored::held`])
//! ```
//!
//! The journal's frames guard both against damage.

use bytes::{BufMut, Bytes, BytesMut};
use furrow_wire::{
    BootId, RawRecord, Record, RecordError, RecordKind, RecordName, Seq, StreamId, parse_record,
};

use crate::outbox::Urgency;

/// Journal entry kind of a record.
pub const ENTRY_RECORD: u8 = 1;
/// Journal entry kind of the gateway's small durable state.
pub const ENTRY_STATE: u8 = 2;
/// Journal entry kind of a record that was written again before its segment was given up. Like
/// [`ENTRY_RECORD`], but already counted in the totals.
pub const ENTRY_COPY: u8 = 3;

const READINGS_BYTES: usize = 4;
const BOOT_BYTES: usize = 8;

/// Gives records their names: one stream, dense from 1.
#[derive(Debug)]
pub struct Recorder {
    stream: StreamId,
    next: Seq,
}

/// A record on its way into the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its name.
    pub name: RecordName,
    /// Readings in it; 0 unless it is a batch.
    pub readings: u32,
    /// The boot whose mapping it needs before it may be offered.
    pub held: Option<BootId>,
    /// How soon it wants to be offered.
    pub urgency: Urgency,
    /// What the journal keeps.
    pub payload: Bytes,
}

/// A journal entry as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The record, checked against its CRC.
    pub record: RawRecord<'a>,
    /// The record's bytes, as they are sent.
    pub bytes: &'a [u8],
    /// Readings in it.
    pub readings: u32,
    /// The boot whose mapping it needs before it may be offered.
    pub held: Option<BootId>,
}

/// An entry that is not a record with its trailer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The record itself is damaged.
    #[error("journal entry holds no whole record")]
    Record(#[from] RecordError),
    /// The bytes behind the record are neither of the two trailers.
    #[error("journal entry has a trailer of {0} bytes (must be 4 or 12)")]
    Trailer(usize),
}

impl Recorder {
    /// A recorder for a stream that was drawn when the journal was opened.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Recorder {
            stream,
            next: Seq::FIRST,
        }
    }

    /// The stream that is being written.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The name of the next record.
    #[must_use]
    pub fn next_name(&self) -> RecordName {
        RecordName {
            stream: self.stream,
            seq: self.next,
        }
    }

    /// Encodes a record under the next name. The name is used up only on success.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] when the body exceeds a record's limit.
    pub fn record(
        &mut self,
        kind: RecordKind,
        body: Bytes,
        readings: u32,
        held: Option<BootId>,
        urgency: Urgency,
    ) -> Result<Recorded, RecordError> {
        let name = self.next_name();
        let record = Record { name, kind, body }.encode()?;
        self.next = self.next.next();
        let payload = with_trailer(&record, readings, held);
        Ok(Recorded {
            name,
            readings,
            held,
            urgency,
            payload,
        })
    }
}

/// Reads an entry of kind [`ENTRY_RECORD`].
///
/// # Errors
/// [`StoredError`] when it is not what this module writes.
pub fn parse_stored(payload: &[u8]) -> Result<Stored<'_>, StoredError> {
    let (record, length) = parse_record(payload)?;
    let (bytes, trailer) = payload
        .split_at_checked(length)
        .ok_or(StoredError::Trailer(payload.len()))?;
    let unexpected = StoredError::Trailer(trailer.len());
    let (readings, boot) = match trailer.split_first_chunk::<READINGS_BYTES>() {
        Some((readings, boot)) => (u32::from_le_bytes(*readings), boot),
        None if trailer.is_empty() => (0, trailer),
        None => return Err(unexpected),
    };
    let held = match <[u8; BOOT_BYTES]>::try_from(boot) {
        Ok(boot) => Some(BootId(u64::from_le_bytes(boot))),
        Err(_) if boot.is_empty() => None,
        Err(_) => return Err(unexpected),
    };
    Ok(Stored {
        record,
        bytes,
        readings,
        held,
    })
}

fn with_trailer(record: &[u8], readings: u32, held: Option<BootId>) -> Bytes {
    let mut payload = BytesMut::with_capacity(record.len() + READINGS_BYTES + BOOT_BYTES);
    payload.put_slice(record);
    if readings > 0 || held.is_some() {
        payload.put_u32_le(readings);
    }
    if let Some(boot) = held {
        payload.put_u64_le(boot.0);
    }
    payload.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(readings: u32, held: Option<BootId>) {
        let mut recorder = Recorder::new(StreamId(7));
        let body = Bytes::from_static(b"body");
        let urgency = Urgency::Normal;
        let made = recorder
            .record(RecordKind::Batch, body, readings, held, urgency)
            .unwrap();
        let stored = parse_stored(&made.payload).unwrap();
        assert_eq!(
            stored.record.name,
            RecordName {
                stream: StreamId(7),
                seq: Seq(1)
            }
        );
        assert_eq!(stored.record.body, b"body");
        assert_eq!((stored.readings, stored.held), (readings, held));
        assert!(made.payload.starts_with(stored.bytes));
        assert!(parse_record(stored.bytes).is_ok_and(|(_, length)| length == stored.bytes.len()));
        for cut in 1..made.payload.len() - stored.bytes.len() {
            let whole = [4, 12].contains(&(made.payload.len() - stored.bytes.len() - cut));
            assert_eq!(
                parse_stored(&made.payload[..made.payload.len() - cut]).is_ok(),
                whole
            );
        }
    }

    #[test]
    fn trailers_round_trip_and_other_lengths_are_refused() {
        check(0, None);
        check(48, None);
        check(48, Some(BootId(9)));
        check(0, Some(BootId(9)));
    }

    #[test]
    fn a_body_that_is_too_long_uses_no_name() {
        let mut recorder = Recorder::new(StreamId(7));
        let long = Bytes::from(vec![0; furrow_wire::MAX_BODY_BYTES + 1]);
        let urgency = Urgency::Normal;
        assert!(
            recorder
                .record(RecordKind::Batch, long, 1, None, urgency)
                .is_err()
        );
        let next = recorder
            .record(RecordKind::Batch, Bytes::new(), 1, None, urgency)
            .unwrap();
        assert_eq!(next.name.seq, Seq(1));
    }
}
