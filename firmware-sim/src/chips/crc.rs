//! CRC-8 with polynomial 0x31, initial value 0xFF, no reflection, no final XOR: Sensirion's, and the
//! drip controller's.

/// The checksum of some bytes.
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    let mut crc = 0xFF_u8;
    for byte in bytes {
        crc ^= byte;
        for _ in 0..8 {
            crc = if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x31
            };
        }
    }
    crc
}

/// Words as Sensirion sends them: two bytes and their checksum each.
pub(crate) fn checked_words(words: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(words.len() * 3);
    for word in words {
        let pair = word.to_be_bytes();
        bytes.extend_from_slice(&pair);
        bytes.push(crc8(&pair));
    }
    bytes
}

/// A word and its checksum, as a master sends it; `None` when that is wrong.
pub(crate) fn checked_word(bytes: &[u8]) -> Option<u16> {
    let &[high, low, crc] = bytes else {
        return None;
    };
    (crc8(&[high, low]) == crc).then(|| u16::from_be_bytes([high, low]))
}

/// Rounds to the nearest word, at the ends of the range to those.
pub(crate) fn to_word(value: f64) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of a word before"
    )]
    let word = libm::round(value).clamp(0.0, 65_535.0) as u16;
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors() {
        assert_eq!(crc8(b"123456789"), 0xF7);
        for (word, crc) in [
            (0xBEEF_u16, 0x92),
            (0x0000, 0x81),
            (0x0001, 0xB0),
            (0x01E0, 0xB4),
            (0x7FCE, 0x7B),
            (0x03DB, 0x42),
            (0x0320, 0x2A),
            (0x01F4, 0x33),
            (0x6667, 0xA2),
            (0x5EB9, 0x3C),
        ] {
            assert_eq!(crc8(&word.to_be_bytes()), crc, "{word:04X}");
        }
        assert_eq!(checked_word(&[0x01, 0xE0, 0xB4]), Some(480));
        assert_eq!(checked_word(&[0x01, 0xE0, 0xB5]), None);
        assert_eq!(checked_word(&[0x01, 0xE0]), None);
    }
}
