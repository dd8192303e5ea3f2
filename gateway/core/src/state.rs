//! The small durable state beside the records.
//!
//! It stands in the journal as entries of kind [`crate::record::ENTRY_STATE`] and at the start of
//! every segment. Lifetime totals are not written with every commit: a restart takes the latest
//! state and counts the records behind it.

use furrow_wire::{BootId, StreamId};
use serde::{Deserialize, Serialize};

/// Most acknowledged streams that are remembered: a process draws one each time it starts.
pub const MAX_MARKS: usize = 64;

/// What a restart needs besides the records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalState {
    /// Readings ever journalled, as of this entry's place in the journal.
    pub journalled_readings: u64,
    /// Readings ever lost, as of this entry's place in the journal.
    pub lost_readings: u64,
    /// Whether the process that wrote it ended as it should, and nothing came after.
    pub clean_stop: bool,
    /// The latest wall time that any batch reached, Unix milliseconds, with the boot it was known in.
    pub last_wall: Option<LastWall>,
    /// How far ticks were last moved off the grid after wall time went back, milliseconds.
    pub phase_ms: i64,
    /// Per stream the seq up to which ingest has acknowledged everything that is held.
    pub marks: Vec<(StreamId, u64)>,
    /// What the irrigation core keeps: budgets, open runs, lockouts. Opaque here.
    pub irrigation: Option<serde_json::Value>,
}

/// A moment at which wall time was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWall {
    /// The boot.
    pub boot: BootId,
    /// Monotonic milliseconds.
    pub mono_ms: u64,
    /// Unix milliseconds.
    pub unix_ms: i64,
}

impl LocalState {
    /// A batch ended at this wall time. Only the latest counts: wall time may have gone back, and
    /// what was given out before must not be given out again.
    pub fn handle_wall(&mut self, wall: Option<LastWall>) {
        let latest = |known: LastWall| wall.is_none_or(|wall| known.unix_ms >= wall.unix_ms);
        self.last_wall = self.last_wall.filter(|known| latest(*known)).or(wall);
    }

    /// The entry's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain numbers and strings always serialise")
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// The parser's, when the bytes are not such an entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_wall_time_only_grows() {
        let wall = |unix_ms| {
            let (boot, mono_ms) = (BootId(1), 1);
            Some(LastWall {
                boot,
                mono_ms,
                unix_ms,
            })
        };
        let mut state = LocalState::default();
        for (given, latest) in [(None, None), (wall(5), wall(5)), (wall(9), wall(9))] {
            state.handle_wall(given);
            assert_eq!(state.last_wall, latest);
        }
        for given in [None, wall(3)] {
            state.handle_wall(given);
            assert_eq!(state.last_wall, wall(9));
        }
    }

    #[test]
    fn state_round_trips_and_an_older_one_is_read() {
        let state = LocalState {
            journalled_readings: 5,
            lost_readings: 1,
            clean_stop: true,
            last_wall: Some(LastWall {
                boot: BootId(3),
                mono_ms: 4,
                unix_ms: 5,
            }),
            phase_ms: 2,
            marks: vec![(StreamId(1), 9)],
            irrigation: Some(serde_json::json!({ "budget": 1 })),
        };
        assert_eq!(LocalState::decode(&state.encode()).unwrap(), state);
        assert_eq!(LocalState::decode(b"{}").unwrap(), LocalState::default());
        assert!(LocalState::decode(b"{").is_err());
    }
}
