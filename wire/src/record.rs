//! The fixed header before every record's body.
//!
//! ```text
//! offset  bytes  field
//!      0      1  version        1
//!      1      1  kind           1 batch, 2 catalog, 3 clock mapping, 4 events, 5 loss
//!      2      8  stream         little-endian
//!     10      8  seq            little-endian, from 1
//!     18      4  body length    little-endian
//!     22      4  CRC-32C        over bytes 0 to 21 and the body, little-endian
//!     26         body           protobuf (proto/furrow1.proto)
//! ```
//!
//! What a reader can't decode (a newer version, an unknown kind) it can still name, count, keep and
//! acknowledge, because the header does not change.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::{Seq, StreamId};

/// Bytes of the header.
pub const HEADER_LEN: usize = 26;
/// Version written by this code.
pub const VERSION: u8 = 1;
/// Longest body: with its header a record fits one packet of 64 KiB with room for the flag byte.
pub const MAX_BODY_BYTES: usize = 60 * 1024;

const CRC_AT: usize = 22;

/// What a record's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// Readings of one commit interval.
    Batch,
    /// What the columns of batches mean.
    Catalog,
    /// Wall time for a boot that began without.
    ClockMapping,
    /// Watering runs, faults, starts.
    Events,
    /// Records that will never come.
    Loss,
}

impl RecordKind {
    /// The byte in the header.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            RecordKind::Batch => 1,
            RecordKind::Catalog => 2,
            RecordKind::ClockMapping => 3,
            RecordKind::Events => 4,
            RecordKind::Loss => 5,
        }
    }

    /// The kind of a header byte; `None` for one of a newer version.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(RecordKind::Batch),
            2 => Some(RecordKind::Catalog),
            3 => Some(RecordKind::ClockMapping),
            4 => Some(RecordKind::Events),
            5 => Some(RecordKind::Loss),
            _ => None,
        }
    }
}

/// A record's name: unique for ever, over all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    /// Drawn when the journal was opened.
    pub stream: StreamId,
    /// Place in the stream.
    pub seq: Seq,
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream, self.seq)
    }
}

/// A record to be encoded, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: RecordName,
    /// What the body is.
    pub kind: RecordKind,
    /// The protobuf body.
    pub body: Bytes,
}

/// A record as it came: checked against its CRC, not yet decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Version of the body's schema; decode only 1.
    pub version: u8,
    /// Kind byte, see [`RecordKind::from_code`].
    pub kind: u8,
    /// Its name.
    pub name: RecordName,
    /// The body.
    pub body: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the header or the length field ask for.
    #[error("record is cut short: {have} of {need} bytes")]
    Truncated {
        /// Bytes given.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// The length field exceeds the limit.
    #[error("record body of {0} bytes exceeds the limit of {MAX_BODY_BYTES}")]
    TooLong(usize),
    /// The bytes are not those that were written.
    #[error("record checksum is {found:08x} (must be {expected:08x})")]
    Checksum {
        /// Computed over the bytes.
        expected: u32,
        /// Found in the header.
        found: u32,
    },
    /// A seq of 0.
    #[error("record seq is 0 (must be from 1)")]
    ZeroSeq,
}

impl Record {
    /// Header and body as bytes. Retries send these same bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] when the body exceeds [`MAX_BODY_BYTES`], [`RecordError::ZeroSeq`].
    pub fn encode(&self) -> Result<Bytes, RecordError> {
        let length = u32::try_from(self.body.len())
            .ok()
            .filter(|_| self.body.len() <= MAX_BODY_BYTES)
            .ok_or(RecordError::TooLong(self.body.len()))?;
        if self.name.seq.0 == 0 {
            return Err(RecordError::ZeroSeq);
        }
        let mut out = BytesMut::with_capacity(HEADER_LEN + self.body.len());
        out.put_u8(VERSION);
        out.put_u8(self.kind.code());
        out.put_u64_le(self.name.stream.0);
        out.put_u64_le(self.name.seq.0);
        out.put_u32_le(length);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out), &self.body);
        out.put_u32_le(crc);
        out.put_slice(&self.body);
        Ok(out.freeze())
    }
}

/// Reads the record at the start of `bytes`; gives it and how many bytes it took.
///
/// # Errors
/// [`RecordError`] when the bytes are cut short, too long, or not those that were written.
pub fn parse_record(bytes: &[u8]) -> Result<(RawRecord<'_>, usize), RecordError> {
    let truncated = |need| RecordError::Truncated {
        have: bytes.len(),
        need,
    };
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or_else(|| truncated(HEADER_LEN))?;
    let [version, kind, rest @ ..] = *header;
    let stream = le_u64(&rest, 0);
    let seq = le_u64(&rest, 8);
    let length = usize::try_from(le_u32(&rest, 16)).unwrap_or(usize::MAX);
    let found = le_u32(&rest, 20);
    if length > MAX_BODY_BYTES {
        return Err(RecordError::TooLong(length));
    }
    let end = HEADER_LEN + length;
    let body = bytes.get(HEADER_LEN..end).ok_or_else(|| truncated(end))?;
    let covered = bytes.get(..CRC_AT).ok_or_else(|| truncated(HEADER_LEN))?;
    let expected = crc32c::crc32c_append(crc32c::crc32c(covered), body);
    if expected != found {
        return Err(RecordError::Checksum { expected, found });
    }
    if seq == 0 {
        return Err(RecordError::ZeroSeq);
    }
    let name = RecordName {
        stream: StreamId(stream),
        seq: Seq(seq),
    };
    Ok((
        RawRecord {
            version,
            kind,
            name,
            body,
        },
        end,
    ))
}

/// Walks the records that stand one after the other in `bytes`; ends after the first error.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<RawRecord<'_>, RecordError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match parse_record(rest) {
            Ok((record, used)) => {
                rest = rest.get(used..).unwrap_or_default();
                Some(Ok(record))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    bytes
        .iter()
        .skip(at)
        .take(8)
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .iter()
        .skip(at)
        .take(4)
        .rev()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: RecordKind, stream: u64, seq: u64, body: &[u8]) -> Record {
        let name = RecordName {
            stream: StreamId(stream),
            seq: Seq(seq),
        };
        Record {
            name,
            kind,
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn layout_is_the_documented_one() {
        let bytes = record(RecordKind::Events, 0x1122_3344_5566_7788, 5, b"abc")
            .encode()
            .unwrap();
        let head = [
            1, 4, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0,
            0,
        ];
        assert_eq!(bytes[..22], head);
        assert_eq!(&bytes[26..], b"abc");
        let crc = crc32c::crc32c(&[&head[..], b"abc"].concat());
        assert_eq!(bytes[22..26], crc.to_le_bytes());
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let long = vec![0; MAX_BODY_BYTES + 1];
        let error = record(RecordKind::Batch, 1, 1, &long).encode().unwrap_err();
        assert_eq!(error, RecordError::TooLong(MAX_BODY_BYTES + 1));
        assert_eq!(
            record(RecordKind::Batch, 1, 0, b"").encode(),
            Err(RecordError::ZeroSeq)
        );
        let mut bytes = record(RecordKind::Batch, 1, 1, b"x")
            .encode()
            .unwrap()
            .to_vec();
        bytes[18..22].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(parse_record(&bytes), Err(RecordError::TooLong(_))));
    }

    #[test]
    fn records_in_a_row_are_walked_and_the_walk_ends_at_an_error() {
        let one = record(RecordKind::Batch, 1, 1, b"one").encode().unwrap();
        let two = record(RecordKind::Loss, 1, 2, b"").encode().unwrap();
        let mut bytes = [one, two].concat();
        let names: Vec<_> = records(&bytes).map(|r| r.unwrap().name.seq.0).collect();
        assert_eq!(names, [1, 2]);
        bytes.push(1);
        let ends: Vec<_> = records(&bytes).map(|r| r.is_ok()).collect();
        assert_eq!(ends, [true, true, false]);
    }

    proptest! {
        #[test]
        fn round_trip(code in 1u8..=5, stream: u64, seq in 1u64.., body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let kind = RecordKind::from_code(code).unwrap();
            let bytes = record(kind, stream, seq, &body).encode().unwrap();
            let (raw, used) = parse_record(&bytes).unwrap();
            prop_assert_eq!(used, bytes.len());
            prop_assert_eq!((raw.version, raw.kind, raw.name.stream.0, raw.name.seq.0, raw.body), (1, code, stream, seq, &body[..]));
        }

        #[test]
        fn every_truncation_and_every_flipped_bit_is_refused(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let bytes = record(RecordKind::Batch, 7, 9, &body).encode().unwrap();
            for cut in 0..bytes.len() {
                prop_assert!(parse_record(&bytes[..cut]).is_err(), "cut at {}", cut);
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(parse_record(&bad).is_err(), "bit {}", bit);
            }
        }
    }
}
