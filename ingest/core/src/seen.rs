//! What the latest records of a stream looked like, so that other bytes under the same name are noticed.
//!
//! A name is used once: streams are drawn at random when a journal is opened. Two gateways that drew
//! the same, because one is a clone of the other down to its random numbers, would use names twice, and
//! the second record would pass for a repetition of the first.

use std::collections::VecDeque;

use furrow_wire::Seq;
use serde::{Deserialize, Serialize};

/// Records of a stream that are remembered: two clones that run side by side are at about the same seq.
/// At 16 bytes each, 1 KiB a stream.
pub const MAX_SEEN: usize = 64;

/// The latest records' checksums.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen(VecDeque<(u64, u32)>);

impl Seen {
    /// Whether the name is known, with other bytes only.
    pub(crate) fn conflicts(&self, seq: Seq, checksum: u32) -> bool {
        let mut known = self.0.iter().filter(|(known, _)| *known == seq.0);
        let mut is_known = false;
        let is_same = known.any(|(_, other)| {
            is_known = true;
            *other == checksum
        });
        is_known && !is_same
    }

    pub(crate) fn note(&mut self, seq: Seq, checksum: u32) {
        self.0.push_back((seq.0, checksum));
        if self.0.len() > MAX_SEEN {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_conflict_once_and_the_oldest_is_forgotten() {
        let mut seen = Seen::default();
        assert!(!seen.conflicts(Seq(1), 7));
        seen.note(Seq(1), 7);
        assert!(!seen.conflicts(Seq(1), 7));
        assert!(seen.conflicts(Seq(1), 8));
        seen.note(Seq(1), 8);
        assert!(!seen.conflicts(Seq(1), 8));
        assert!(!seen.conflicts(Seq(1), 7));
        for seq in 2..=65 {
            seen.note(Seq(seq), 0);
        }
        assert!(!seen.conflicts(Seq(1), 9));
        assert_eq!(seen.0.len(), MAX_SEEN);
    }
}
