//! Bytes of a frame and of a segment's header.
//!
//! Frame, little endian: marker, kind, header check (2), length (3), flags (1), commit (4),
//! CRC-32C of all that and the payload (4), payload. Both checks are seeded with segment number
//! and offset, so a frame is valid in its own place only. The commit word is the offset of the
//! sector where the frame's commit begins; its low nine bits say where in a sector the commit
//! before it ended, so that the rest of that sector is known to hold nothing.
//!
//! It does not look for frames: see `scan`.

/// Unit of writing, in bytes: a commit begins on its own sector.
pub const SECTOR_BYTES: u32 = 512;
/// Largest payload of an entry, in bytes: many times the largest packet, and a scan holds one.
pub const MAX_PAYLOAD_BYTES: u32 = 1024 * 1024;

pub(crate) const FRAME_HEADER_BYTES: u32 = 16;
const FRAME_HEADER_LEN: usize = FRAME_HEADER_BYTES as usize;
const MARKER: u8 = 0xF5;
const FLAG_PREAMBLE: u8 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"FURROWJ\n";
const SEGMENT_VERSION: u32 = 1;
const SEGMENT_HEADER_LEN: usize = 48;

/// A whole, checked frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) preamble: bool,
    commit_word: u32,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the frame with its header.
    pub(crate) fn total(&self) -> u32 {
        FRAME_HEADER_BYTES + to_u32(self.payload.len())
    }

    /// Offset in the segment where its commit began.
    pub(crate) fn commit(&self) -> u32 {
        self.commit_word - self.commit_word % SECTOR_BYTES
    }

    /// Where the commit before its own ended.
    pub(crate) fn previous_end(&self) -> u32 {
        match self.commit_word % SECTOR_BYTES {
            0 => self.commit(),
            used => self.commit().saturating_sub(SECTOR_BYTES) + used,
        }
    }

    /// Whether it stands at `offset` and a new commit begins with it, the one before having
    /// ended at `end`.
    pub(crate) fn begins_commit(&self, offset: u32, end: u32) -> bool {
        self.commit() == offset && self.previous_end() == end
    }
}

/// What stands at the start of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// 0, or more for a file that goes on where a failed sync ended the one before it.
    pub(crate) part: u8,
    /// Offset of the first frame of this file.
    pub(crate) start: u32,
    /// The segment before it and where its last frame ended, (0, 0) if there was none; in a
    /// later part its own number and where the part before it ended.
    pub(crate) previous: (u64, u32),
}

/// Why a segment header is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged,
    UnknownVersion,
}

/// Appends a frame to the buffer of the commit that begins at `start`, `previous_end` being where
/// the one before it ended.
pub(crate) fn push_frame(
    buffer: &mut Vec<u8>,
    segment: u64,
    (start, previous_end): (u32, u32),
    (kind, preamble): (u8, bool),
    payload: &[u8],
) {
    let at = buffer.len();
    let seed = seed(segment, start + to_u32(at));
    let commit = start + previous_end % SECTOR_BYTES;
    let flags = if preamble { FLAG_PREAMBLE } else { 0 };
    let [l0, l1, l2, _] = to_u32(payload.len()).to_le_bytes();
    let [c0, c1, c2, c3] = commit.to_le_bytes();
    let check = header_check(seed, kind, [l0, l1, l2, flags], commit);
    let [k0, k1] = check.to_le_bytes();
    let head = [MARKER, kind, k0, k1, l0, l1, l2, flags, c0, c1, c2, c3];
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &head), payload);
    buffer.reserve(FRAME_HEADER_LEN + payload.len());
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(&crc.to_le_bytes());
    buffer.extend_from_slice(payload);
}

/// Length of the frame at the start of `bytes`, header included, if its header is sound. Its
/// payload may not be.
pub(crate) fn frame_total(bytes: &[u8], segment: u64, offset: u32) -> Option<u32> {
    let &[MARKER, kind, k0, k1, l0, l1, l2, flags, c0, c1, c2, c3] = bytes.first_chunk()? else {
        return None;
    };
    let length = u32::from_le_bytes([l0, l1, l2, 0]);
    let commit = u32::from_le_bytes([c0, c1, c2, c3]);
    let check = header_check(seed(segment, offset), kind, [l0, l1, l2, flags], commit);
    let plausible = length <= MAX_PAYLOAD_BYTES
        && commit - commit % SECTOR_BYTES <= offset
        && check == u16::from_le_bytes([k0, k1]);
    plausible.then_some(FRAME_HEADER_BYTES + length)
}

/// The frame at the start of `bytes`, if it is whole and was written to this place.
pub(crate) fn parse_frame(bytes: &[u8], segment: u64, offset: u32) -> Option<Frame<'_>> {
    let total = frame_total(bytes, segment, offset)?;
    let frame = bytes.get(..usize::try_from(total).ok()?)?;
    let (head, payload) = frame.split_first_chunk::<FRAME_HEADER_LEN>()?;
    let &[
        _,
        kind,
        _,
        _,
        _,
        _,
        _,
        flags,
        c0,
        c1,
        c2,
        c3,
        r0,
        r1,
        r2,
        r3,
    ] = head;
    let checked = head.first_chunk::<12>()?;
    let crc = crc32c::crc32c_append(seed(segment, offset), checked);
    if crc32c::crc32c_append(crc, payload) != u32::from_le_bytes([r0, r1, r2, r3]) {
        return None;
    }
    Some(Frame {
        kind,
        preamble: flags & FLAG_PREAMBLE != 0,
        commit_word: u32::from_le_bytes([c0, c1, c2, c3]),
        payload,
    })
}

/// The first sector of a segment file.
pub(crate) fn encode_segment_header(header: &SegmentHeader) -> [u8; SECTOR_BYTES as usize] {
    let mut bytes = Vec::with_capacity(SECTOR_BYTES as usize);
    bytes.extend_from_slice(&SEGMENT_MAGIC);
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::from(header.part).to_le_bytes());
    bytes.extend_from_slice(&header.number.to_le_bytes());
    bytes.extend_from_slice(&header.previous.0.to_le_bytes());
    bytes.extend_from_slice(&header.previous.1.to_le_bytes());
    bytes.extend_from_slice(&header.start.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let mut sector = [0; SECTOR_BYTES as usize];
    for (to, from) in sector.iter_mut().zip(bytes) {
        *to = from;
    }
    sector
}

/// Reads the first sector of a segment file.
pub(crate) fn decode_segment_header(sector: &[u8]) -> Result<SegmentHeader, HeaderError> {
    let bytes: &[u8; SEGMENT_HEADER_LEN] = sector.first_chunk().ok_or(HeaderError::Damaged)?;
    let field = |at: usize| -> u32 {
        let four = bytes.get(at..at + 4).and_then(|b| b.first_chunk::<4>());
        four.map_or(0, |b| u32::from_le_bytes(*b))
    };
    let wide = |at: usize| u64::from(field(at)) | (u64::from(field(at + 4)) << 32);
    let checked = bytes.get(..SEGMENT_HEADER_LEN - 4).unwrap_or_default();
    if !bytes.starts_with(&SEGMENT_MAGIC) {
        return Err(HeaderError::Damaged);
    }
    // Magic, version and CRC keep their places in every version.
    if crc32c::crc32c(checked) != field(SEGMENT_HEADER_LEN - 4) {
        return Err(HeaderError::Damaged);
    }
    if field(8) != SEGMENT_VERSION {
        return Err(HeaderError::UnknownVersion);
    }
    Ok(SegmentHeader {
        number: wide(16),
        part: u8::try_from(field(12)).map_err(|_| HeaderError::Damaged)?,
        start: field(36),
        previous: (wide(24), field(32)),
    })
}

/// The next sector boundary at or after `offset`.
pub(crate) fn align_up(offset: u32) -> u32 {
    offset.next_multiple_of(SECTOR_BYTES)
}

/// Lengths inside a segment: segments are shorter than 4 GiB by their options.
pub(crate) fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a segment is shorter than 4 GiB")
}

fn seed(segment: u64, offset: u32) -> u32 {
    crc32c::crc32c_append(
        crc32c::crc32c(&segment.to_le_bytes()),
        &offset.to_le_bytes(),
    )
}

fn header_check(seed: u32, kind: u8, length_and_flags: [u8; 4], commit: u32) -> u16 {
    let crc = crc32c::crc32c_append(seed, &[kind]);
    let crc = crc32c::crc32c_append(crc, &length_and_flags);
    let crc = crc32c::crc32c_append(crc, &commit.to_le_bytes());
    let [a, b, c, d] = crc.to_le_bytes();
    u16::from_le_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, 7, (1024, 900), (3, true), payload);
        bytes
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        for payload in [&b""[..], b"x", &[0xF5; 70_000]] {
            let mut bytes = one(payload);
            push_frame(&mut bytes, 7, (1024, 900), (200, false), b"next");
            let frame = parse_frame(&bytes, 7, 1024).unwrap();
            assert_eq!(
                (frame.kind, frame.preamble, frame.payload),
                (3, true, payload)
            );
            assert_eq!((frame.commit(), frame.previous_end()), (1024, 900));
            assert!(frame.begins_commit(1024, 900));
            let next = parse_frame(&bytes[frame.total() as usize..], 7, 1024 + frame.total());
            let next = next.unwrap();
            assert_eq!(
                (next.kind, next.preamble, next.payload),
                (200, false, &b"next"[..])
            );
            assert!(!next.begins_commit(1024 + frame.total(), 900));
        }
    }

    #[test]
    fn a_frame_is_valid_in_its_own_place_only() {
        let bytes = one(b"payload");
        assert_eq!(parse_frame(&bytes, 8, 1024), None);
        assert_eq!(parse_frame(&bytes, 7, 1536), None);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_frame_is_found() {
        let bytes = one(b"some payload");
        for byte in 0..bytes.len() {
            assert_eq!(parse_frame(&bytes[..byte], 7, 1024), None, "cut at {byte}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[byte] ^= 1 << bit;
                assert_eq!(
                    parse_frame(&flipped, 7, 1024),
                    None,
                    "bit {bit} of byte {byte}"
                );
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_found() {
        let header = SegmentHeader {
            number: 1 << 40,
            part: 3,
            start: 1536,
            previous: (9, 4000),
        };
        let sector = encode_segment_header(&header);
        assert_eq!(decode_segment_header(&sector), Ok(header));
        assert_eq!(
            decode_segment_header(&sector[..47]),
            Err(HeaderError::Damaged)
        );
        for byte in 0..SEGMENT_HEADER_LEN {
            for bit in 0..8 {
                let mut flipped = sector;
                flipped[byte] ^= 1 << bit;
                let found = decode_segment_header(&flipped);
                assert_eq!(found, Err(HeaderError::Damaged), "bit {bit} of byte {byte}");
            }
        }
    }
}
