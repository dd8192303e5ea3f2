//! A checksum over the entries of the log, carried along as they are applied: which log an archive has
//! applied.
//!
//! A position alone does not tell. A disk that lies about a flush can come back with a log in which other
//! entries stand before the archive's position than those it has applied: they would be taken for applied,
//! and be missing for ever though they are acknowledged.

use furrow_journal::Entry;

/// See the module. Of everything behind the marks' position, whose own chain it goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Chain(pub(super) u32);

impl Chain {
    /// The next entry of the log, whatever is in it.
    pub(super) fn push(&mut self, entry: &Entry) {
        let (at, length) = (entry.position, entry.payload.len() as u64);
        let mut checksum = crc32c::crc32c_append(self.0, &at.segment.to_le_bytes());
        checksum = crc32c::crc32c_append(checksum, &at.offset.to_le_bytes());
        checksum = crc32c::crc32c_append(checksum, &length.to_le_bytes());
        checksum = crc32c::crc32c_append(checksum, &[entry.kind]);
        self.0 = crc32c::crc32c_append(checksum, &entry.payload);
    }
}

#[cfg(test)]
mod tests {
    use furrow_journal::Position;

    use super::*;

    fn entry(offset: u32, kind: u8, payload: &[u8]) -> Entry {
        let position = Position { segment: 1, offset };
        Entry {
            position,
            next: position,
            kind,
            preamble: false,
            payload: payload.to_vec(),
        }
    }

    fn chain(entries: &[Entry]) -> Chain {
        let mut chain = Chain::default();
        entries.iter().for_each(|entry| chain.push(entry));
        chain
    }

    #[test]
    fn another_entry_place_kind_or_order_is_another_chain() {
        let [one, two] = [entry(1, 1, b"one"), entry(2, 1, b"two")];
        let both = chain(&[one.clone(), two.clone()]);
        assert_eq!(chain(&[one.clone(), two.clone()]), both);
        for other in [
            vec![one.clone()],
            vec![two.clone()],
            vec![two.clone(), one.clone()],
            vec![one.clone(), entry(3, 1, b"two")],
            vec![one.clone(), entry(2, 2, b"two")],
            vec![one.clone(), entry(2, 1, b"twp")],
            vec![one, two, entry(3, 1, b"")],
        ] {
            assert_ne!(chain(&other), both);
        }
    }
}
