//! What ingest holds, as a statement of state: sent again and again, never a receipt for one packet.

use bytes::Bytes;
use prost::Message;

use crate::ids::StreamId;
use crate::{BodyError, decode_message, proto};

/// Most ranges above the mark that an acknowledgement can state. Beyond this ingest stores nothing
/// new above the gap, so a gateway's memory of what was acknowledged stays small too.
pub const MAX_RANGES: usize = 64;
/// Most streams in one acknowledgement: a gateway draws one for each start of its process.
pub const MAX_STREAMS: usize = 256;

/// What ingest holds of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMarks {
    /// The stream.
    pub stream: StreamId,
    /// Every record up to and including this seq is stored; 0: none.
    pub mark: u64,
    /// Inclusive ranges above the mark, ascending, not touching the mark or each other.
    pub ranges: Vec<(u64, u64)>,
}

impl StreamMarks {
    /// Whether a seq is stored.
    #[must_use]
    pub fn holds(&self, seq: u64) -> bool {
        seq <= self.mark
            || self
                .ranges
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

/// One acknowledgement.
///
/// ```
/// use furrow_wire::{Ack, StreamId, StreamMarks};
/// let marks = StreamMarks { stream: StreamId(7), mark: 41, ranges: vec![(43, 50), (60, 60)] };
/// let ack = Ack { ingest_unix_ms: 1_790_000_000_000, streams: vec![marks] };
/// assert_eq!(Ack::decode(&ack.encode())?, ack);
/// # Ok::<(), furrow_wire::BodyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Ingest's clock, Unix milliseconds: a mapping where there is a link but no NTP.
    pub ingest_unix_ms: i64,
    /// The streams that the gateway holds, or those that changed.
    pub streams: Vec<StreamMarks>,
}

impl Ack {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let streams = self
            .streams
            .iter()
            .map(|marks| proto::ack::Marks {
                stream: marks.stream.0,
                mark: marks.mark,
                ranges: encode_ranges(marks.mark, &marks.ranges),
            })
            .collect();
        proto::Ack {
            ingest_unix_ms: self.ingest_unix_ms,
            streams,
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BodyError`] when it is not an acknowledgement or exceeds [`MAX_RANGES`] or [`MAX_STREAMS`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let raw: proto::Ack = decode_message("ack", body)?;
        if raw.streams.len() > MAX_STREAMS {
            let reason = format!("{} (must be at most {MAX_STREAMS})", raw.streams.len());
            return Err(BodyError::invalid("ack", "number of streams", reason));
        }
        let streams = raw
            .streams
            .iter()
            .map(decode_marks)
            .collect::<Result<_, _>>()?;
        Ok(Ack {
            ingest_unix_ms: raw.ingest_unix_ms,
            streams,
        })
    }
}

/// Pairs: how many are missing below the range (at least 1), how many follow its first.
fn encode_ranges(mark: u64, ranges: &[(u64, u64)]) -> Vec<u64> {
    let mut end = mark;
    let mut out = Vec::with_capacity(ranges.len() * 2);
    for (from, to) in ranges {
        out.push(from.saturating_sub(end).saturating_sub(1));
        out.push(to.saturating_sub(*from));
        end = *to;
    }
    out
}

fn decode_marks(raw: &proto::ack::Marks) -> Result<StreamMarks, BodyError> {
    let invalid = |reason: String| BodyError::invalid("ack", "ranges", reason);
    let (pairs, odd) = raw.ranges.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(invalid("odd number of values".to_owned()));
    }
    if pairs.len() > MAX_RANGES {
        return Err(invalid(format!(
            "{} (must be at most {MAX_RANGES})",
            pairs.len()
        )));
    }
    let mut ranges = Vec::with_capacity(pairs.len());
    let mut end = raw.mark;
    for [missing, following] in pairs {
        if *missing == 0 {
            return Err(invalid("a range touches the one before".to_owned()));
        }
        let next = |from: u64, step: u64| {
            from.checked_add(step)
                .ok_or_else(|| invalid("a range overflows".to_owned()))
        };
        let from = next(next(end, *missing)?, 1)?;
        let to = next(from, *following)?;
        ranges.push((from, to));
        end = to;
    }
    Ok(StreamMarks {
        stream: StreamId(raw.stream),
        mark: raw.mark,
        ranges,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_that_touch_or_overflow_are_refused() {
        let decode = |ranges: Vec<u64>| {
            let marks = proto::ack::Marks {
                stream: 1,
                mark: 5,
                ranges,
            };
            let ack = proto::Ack {
                ingest_unix_ms: 0,
                streams: vec![marks],
            };
            Ack::decode(&ack.encode_to_vec()).map(|ack| ack.streams[0].ranges.clone())
        };
        assert_eq!(decode(vec![1, 0]), Ok(vec![(7, 7)]));
        assert!(decode(vec![0, 0]).is_err());
        assert!(decode(vec![1]).is_err());
        assert!(decode(vec![u64::MAX, 0]).is_err());
        assert!(decode(vec![1, u64::MAX]).is_err());
        assert!(decode([1, 0].repeat(MAX_RANGES + 1)).is_err());
    }

    #[test]
    fn a_mark_holds_everything_below_it() {
        let marks = StreamMarks {
            stream: StreamId(1),
            mark: 4,
            ranges: vec![(6, 8)],
        };
        let held: Vec<u64> = (1..=10).filter(|seq| marks.holds(*seq)).collect();
        assert_eq!(held, [1, 2, 3, 4, 6, 7, 8]);
    }

    proptest! {
        #[test]
        fn round_trip(time: i64, mark in 0u64..1 << 40, steps in proptest::collection::vec((1u64..1000, 0u64..1000), 0..MAX_RANGES)) {
            let mut end = mark;
            let ranges = steps.into_iter().map(|(missing, following)| {
                let from = end + missing + 1;
                end = from + following;
                (from, end)
            }).collect();
            let ack = Ack { ingest_unix_ms: time, streams: vec![StreamMarks { stream: StreamId(9), mark, ranges }] };
            prop_assert_eq!(Ack::decode(&ack.encode()), Ok(ack));
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(ack) = Ack::decode(&bytes) {
                prop_assert!(ack.streams.iter().all(|marks| marks.ranges.len() <= MAX_RANGES));
            }
        }
    }
}
