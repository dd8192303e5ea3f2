//! Wall time of a machine without a clock.
//!
//! A Pi has no RTC. A batch that was encoded before the clock was right bears monotonic times only;
//! the boot's mapping, a record of its own, gives them wall time later.

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::ids::BootId;
use crate::{BodyError, decode_message, proto};

/// How wall time was known when a record was encoded, or how a mapping came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// Not known.
    Unknown,
    /// The kernel said that NTP or an RTC had set it.
    Synchronised,
    /// The clock became right later in the same boot.
    Repaired,
    /// Estimated, with a stated error.
    Estimated,
}

impl ClockState {
    pub(crate) fn to_proto(self) -> proto::Clock {
        match self {
            ClockState::Unknown => proto::Clock::Unknown,
            ClockState::Synchronised => proto::Clock::Synchronised,
            ClockState::Repaired => proto::Clock::Repaired,
            ClockState::Estimated => proto::Clock::Estimated,
        }
    }

    pub(crate) fn from_proto(message: &'static str, code: i32) -> Result<Self, BodyError> {
        match proto::Clock::try_from(code) {
            Ok(proto::Clock::Unknown) => Ok(ClockState::Unknown),
            Ok(proto::Clock::Synchronised) => Ok(ClockState::Synchronised),
            Ok(proto::Clock::Repaired) => Ok(ClockState::Repaired),
            Ok(proto::Clock::Estimated) => Ok(ClockState::Estimated),
            Err(_) => Err(BodyError::invalid(
                message,
                "clock",
                format!("unknown code {code}"),
            )),
        }
    }
}

/// Wall time for every record of a boot that was encoded without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMapping {
    /// Which boot.
    pub boot: BootId,
    /// Unix milliseconds = monotonic milliseconds + this.
    pub wall_offset_ms: i64,
    /// How far off it may be, in milliseconds.
    pub error_ms: u32,
    /// [`ClockState::Repaired`] or [`ClockState::Estimated`].
    pub state: ClockState,
}

impl ClockMapping {
    /// The record's body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        proto::ClockMapping {
            boot: self.boot.0,
            wall_offset_ms: self.wall_offset_ms,
            error_ms: self.error_ms,
            clock: self.state.to_proto().into(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a record's body.
    ///
    /// # Errors
    /// [`BodyError`] when it is not a clock mapping.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let raw: proto::ClockMapping = decode_message("clock mapping", body)?;
        let state = ClockState::from_proto("clock mapping", raw.clock)?;
        Ok(ClockMapping {
            boot: BootId(raw.boot),
            wall_offset_ms: raw.wall_offset_ms,
            error_ms: raw.error_ms,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let states = [
            ClockState::Unknown,
            ClockState::Synchronised,
            ClockState::Repaired,
            ClockState::Estimated,
        ];
        for state in states {
            let mapping = ClockMapping {
                boot: BootId(u64::MAX),
                wall_offset_ms: -1_700_000_000_000,
                error_ms: 1500,
                state,
            };
            assert_eq!(ClockMapping::decode(&mapping.encode()), Ok(mapping));
        }
    }

    #[test]
    fn an_unknown_clock_state_is_refused() {
        let body = proto::ClockMapping {
            clock: 9,
            ..Default::default()
        }
        .encode_to_vec();
        let error = ClockMapping::decode(&body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "clock mapping body has an invalid clock: unknown code 9"
        );
    }
}
