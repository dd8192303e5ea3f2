//! Records that will never come, said plainly.

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::ids::{Seq, StreamId};
use crate::{BodyError, decode_message, proto};

/// Why records are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The journal reached its size limit and the oldest readings went.
    CapReached,
    /// Bytes on the card did not match their checksum.
    Damaged,
    /// The disk was full.
    DiskFull,
}

/// Takes the place of records `[from_seq, to_seq]` of `stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Whose records; may be an older stream than the one that carries this.
    pub stream: StreamId,
    /// First lost.
    pub from_seq: Seq,
    /// Last lost.
    pub to_seq: Seq,
    /// How many readings they held, as far as is known.
    pub readings: u64,
    /// Why.
    pub reason: LossReason,
    /// For people.
    pub text: String,
}

impl Loss {
    /// The record's body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let reason = match self.reason {
            LossReason::CapReached => proto::LossReason::Cap,
            LossReason::Damaged => proto::LossReason::Damaged,
            LossReason::DiskFull => proto::LossReason::DiskFull,
        };
        proto::Loss {
            stream: self.stream.0,
            from_seq: self.from_seq.0,
            to_seq: self.to_seq.0,
            readings: self.readings,
            reason: reason.into(),
            text: self.text.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a record's body.
    ///
    /// # Errors
    /// [`BodyError`] when it is not a loss, or its range is empty.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let raw: proto::Loss = decode_message("loss", body)?;
        if raw.from_seq == 0 || raw.from_seq > raw.to_seq {
            let reason = format!("{} to {}", raw.from_seq, raw.to_seq);
            return Err(BodyError::invalid("loss", "range", reason));
        }
        let reason = match proto::LossReason::try_from(raw.reason) {
            Ok(proto::LossReason::Cap) => LossReason::CapReached,
            Ok(proto::LossReason::Damaged) => LossReason::Damaged,
            Ok(proto::LossReason::DiskFull) => LossReason::DiskFull,
            Ok(proto::LossReason::Unspecified) | Err(_) => {
                let reason = format!("unknown code {}", raw.reason);
                return Err(BodyError::invalid("loss", "reason", reason));
            }
        };
        Ok(Loss {
            stream: StreamId(raw.stream),
            from_seq: Seq(raw.from_seq),
            to_seq: Seq(raw.to_seq),
            readings: raw.readings,
            reason,
            text: raw.text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(reason: LossReason) -> Loss {
        let stream = StreamId(3);
        Loss {
            stream,
            from_seq: Seq(1),
            to_seq: Seq(9),
            readings: 864,
            reason,
            text: "cap".into(),
        }
    }

    #[test]
    fn round_trip() {
        for reason in [
            LossReason::CapReached,
            LossReason::Damaged,
            LossReason::DiskFull,
        ] {
            assert_eq!(Loss::decode(&loss(reason).encode()), Ok(loss(reason)));
        }
    }

    #[test]
    fn an_empty_range_is_refused() {
        let mut bad = loss(LossReason::Damaged);
        bad.to_seq = Seq(0);
        assert_eq!(
            Loss::decode(&bad.encode()).unwrap_err().to_string(),
            "loss body has an invalid range: 1 to 0"
        );
        assert!(Loss::decode(&[]).is_err());
    }
}
