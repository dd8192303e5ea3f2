//! The retained birth of a gateway, and its last will.

use serde::{Deserialize, Serialize};

use crate::clock::ClockState;
use crate::ids::{BootId, GreenhouseId, StreamId};

/// Longest state message, in bytes.
pub const MAX_STATE_BYTES: usize = 64 * 1024;

/// A stream that a gateway still holds records of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStream {
    /// Which.
    pub stream: StreamId,
    /// First seq that waits for acknowledgement, or that would.
    pub first: u64,
    /// Last seq written; 0: none yet.
    pub last: u64,
}

/// What a gateway says of itself, retained on its state topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayState {
    /// `false` in the last will.
    pub online: bool,
    /// The rest; absent in the last will, which is fixed when the gateway connects.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub birth: Option<Birth>,
}

/// The state of a gateway that is online.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Which boot the monotonic time belongs to.
    pub boot: BootId,
    /// When this was said. Commands quote it, so that a stale one is refused.
    pub mono_ms: u64,
    /// Version.
    pub software: String,
    /// Where it stands.
    pub greenhouse: GreenhouseId,
    /// How wall time is known.
    pub clock: ClockState,
    /// Version of the newest orders that it has seen, whatever became of them; 0: none.
    #[serde(default)]
    pub orders: u64,
    /// Streams that it holds; ingest forgets the others.
    pub streams: Vec<HeldStream>,
    /// Readings that were ever journalled.
    pub journalled_readings: u64,
    /// Readings that wait for acknowledgement.
    pub waiting_readings: u64,
    /// Readings that were ever lost.
    pub lost_readings: u64,
}

impl GatewayState {
    /// The last will.
    #[must_use]
    pub fn offline() -> Self {
        GatewayState {
            online: false,
            birth: None,
        }
    }

    /// The message's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain numbers and strings always serialise")
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The parser's, when it is longer than [`MAX_STATE_BYTES`] or not such a message.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        use serde::de::Error;
        if bytes.len() > MAX_STATE_BYTES {
            let message = format!("state of {} bytes exceeds {MAX_STATE_BYTES}", bytes.len());
            return Err(serde_json::Error::custom(message));
        }
        let state: GatewayState = serde_json::from_slice(bytes)?;
        if state.online && state.birth.is_none() {
            return Err(serde_json::Error::custom(
                "state is online but says nothing else",
            ));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birth_and_will_round_trip() {
        let birth = Birth {
            boot: BootId(1),
            mono_ms: 5,
            software: "0.1.0".into(),
            greenhouse: "nha-luoi-1".parse().unwrap(),
            clock: ClockState::Synchronised,
            orders: 4,
            streams: vec![HeldStream {
                stream: StreamId(2),
                first: 1,
                last: 0,
            }],
            journalled_readings: 3,
            waiting_readings: 2,
            lost_readings: 0,
        };
        for state in [
            GatewayState {
                online: true,
                birth: Some(birth),
            },
            GatewayState::offline(),
        ] {
            assert_eq!(GatewayState::from_json(&state.to_json()).unwrap(), state);
        }
        assert_eq!(GatewayState::offline().to_json(), b"{\"online\":false}");
    }

    #[test]
    fn strangers_bytes_are_refused() {
        for bytes in [
            &b""[..],
            b"{}",
            b"{\"online\":true}",
            &[b' '; MAX_STATE_BYTES + 1],
        ] {
            assert!(GatewayState::from_json(bytes).is_err());
        }
    }
}
