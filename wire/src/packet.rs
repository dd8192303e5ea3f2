//! One MQTT message: consecutive records of one stream.
//!
//! ```text
//! byte 0      0 plain, 1 deflate (RFC 1951)
//! byte 1…     the records, one after the other, as [`crate::record`] writes them
//! ```
//!
//! A live packet is one record and plain: too short for deflate to win. A backlog is deflated.

use std::io::Read;

use bytes::Bytes;

/// Longest packet, in bytes, flag included. Well under what brokers refuse.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;
/// Longest content of a packet after inflating: bounds what a hostile packet can make us allocate.
pub const MAX_UNPACKED_BYTES: usize = 1024 * 1024;

const PLAIN: u8 = 0;
const DEFLATE: u8 = 1;

/// Whether to spend time on making a packet smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    Plain,
    /// Deflated, unless that makes it longer.
    Deflate,
}

/// Why a packet can't be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// No bytes at all, or no records.
    #[error("packet is empty")]
    Empty,
    /// Longer than allowed.
    #[error("packet of {0} bytes exceeds the limit of {MAX_PACKET_BYTES}")]
    TooLong(usize),
    /// Inflates to more than allowed.
    #[error("packet holds more than {MAX_UNPACKED_BYTES} bytes")]
    TooMuch,
    /// The first byte is unknown.
    #[error("packet has the unknown encoding {0}")]
    Encoding(u8),
    /// The deflated bytes are damaged.
    #[error("packet does not inflate")]
    Inflate(#[source] std::io::Error),
}

/// Joins encoded records into one packet.
///
/// # Errors
/// [`PacketError::Empty`] without records, [`PacketError::TooLong`] when the result exceeds
/// [`MAX_PACKET_BYTES`], [`PacketError::TooMuch`] when the records exceed [`MAX_UNPACKED_BYTES`].
pub fn encode_packet(records: &[&[u8]], compression: Compression) -> Result<Bytes, PacketError> {
    let length: usize = records.iter().map(|record| record.len()).sum();
    if length == 0 {
        return Err(PacketError::Empty);
    }
    if length > MAX_UNPACKED_BYTES {
        return Err(PacketError::TooMuch);
    }
    let mut plain = Vec::with_capacity(1 + length);
    plain.push(PLAIN);
    for record in records {
        plain.extend_from_slice(record);
    }
    let packet = match compression {
        Compression::Plain => plain,
        Compression::Deflate => deflate(plain),
    };
    if packet.len() > MAX_PACKET_BYTES {
        return Err(PacketError::TooLong(packet.len()));
    }
    Ok(packet.into())
}

/// The records of a packet, still encoded, one after the other.
///
/// # Errors
/// [`PacketError`] when the packet is empty, too long, of unknown encoding or damaged.
pub fn decode_packet(packet: &[u8]) -> Result<Bytes, PacketError> {
    if packet.len() > MAX_PACKET_BYTES {
        return Err(PacketError::TooLong(packet.len()));
    }
    let (encoding, content) = packet.split_first().ok_or(PacketError::Empty)?;
    match *encoding {
        PLAIN if content.is_empty() => Err(PacketError::Empty),
        PLAIN => Ok(Bytes::copy_from_slice(content)),
        DEFLATE => inflate(content),
        other => Err(PacketError::Encoding(other)),
    }
}

fn deflate(plain: Vec<u8>) -> Vec<u8> {
    let content = plain.get(1..).unwrap_or_default();
    let level = flate2::Compression::new(6);
    let mut packed = vec![DEFLATE];
    let mut encoder = flate2::bufread::DeflateEncoder::new(content, level);
    match encoder.read_to_end(&mut packed) {
        Ok(_) if packed.len() < plain.len() => packed,
        Ok(_) | Err(_) => plain,
    }
}

fn inflate(content: &[u8]) -> Result<Bytes, PacketError> {
    let mut out = Vec::new();
    let limit = u64::try_from(MAX_UNPACKED_BYTES).unwrap_or(u64::MAX) + 1;
    flate2::bufread::DeflateDecoder::new(content)
        .take(limit)
        .read_to_end(&mut out)
        .map_err(PacketError::Inflate)?;
    if out.len() > MAX_UNPACKED_BYTES {
        return Err(PacketError::TooMuch);
    }
    if out.is_empty() {
        return Err(PacketError::Empty);
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0u8; MAX_UNPACKED_BYTES + 1];
        let mut bomb = vec![DEFLATE];
        flate2::bufread::DeflateEncoder::new(&zeros[..], flate2::Compression::best())
            .read_to_end(&mut bomb)
            .unwrap();
        assert!(bomb.len() < 2000);
        assert!(matches!(decode_packet(&bomb), Err(PacketError::TooMuch)));
    }

    #[test]
    fn limits_and_unknown_encodings_are_named() {
        let message = |packet: &[u8]| decode_packet(packet).unwrap_err().to_string();
        assert_eq!(message(&[]), "packet is empty");
        assert_eq!(message(&[0]), "packet is empty");
        assert_eq!(message(&[9, 1]), "packet has the unknown encoding 9");
        assert_eq!(message(&[1, 0xff, 0xff]), "packet does not inflate");
        assert_eq!(
            message(&[0; 65_537]),
            "packet of 65537 bytes exceeds the limit of 65536"
        );
        assert!(matches!(
            encode_packet(&[], Compression::Plain),
            Err(PacketError::Empty)
        ));
        let long = [7u8; MAX_PACKET_BYTES];
        assert!(matches!(
            encode_packet(&[&long], Compression::Plain),
            Err(PacketError::TooLong(_))
        ));
        assert!(encode_packet(&[&long], Compression::Deflate).is_ok());
    }

    proptest! {
        #[test]
        fn round_trip(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 1..20), deflate: bool) {
            let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let how = if deflate { Compression::Deflate } else { Compression::Plain };
            let packet = encode_packet(&parts, how).unwrap();
            prop_assert_eq!(&decode_packet(&packet).unwrap()[..], &records.concat()[..]);
        }

        #[test]
        fn strangers_bytes_never_panic(packet in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(content) = decode_packet(&packet) {
                prop_assert!(content.len() <= MAX_UNPACKED_BYTES);
            }
        }
    }
}
