//! Zig-zag and variable-length integers, as protobuf writes them.

/// Longest encoding of 64 bits, in bytes.
const MAX_BYTES: usize = 10;

pub(crate) fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes one integer from the front of `bytes`; `None` when cut short or longer than 64 bits.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in 0..MAX_BYTES {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == MAX_BYTES - 1 && low > 1 {
            return None;
        }
        value |= low << (7 * shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_numbers_of_either_sign_take_one_byte() {
        for (value, code) in [(0, 0), (-1, 1), (1, 2), (-64, 127), (63, 126)] {
            assert_eq!(zigzag(value), code);
            let mut out = Vec::new();
            put(&mut out, zigzag(value));
            assert_eq!(out.len(), 1, "{value}");
        }
    }

    #[test]
    fn overlong_and_cut_integers_are_refused() {
        assert_eq!(take(&mut &[0x80; 11][..]), None);
        assert_eq!(
            take(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..]),
            None
        );
        assert_eq!(take(&mut &[0x80][..]), None);
        assert_eq!(take(&mut &[][..]), None);
    }

    proptest! {
        #[test]
        fn round_trip(value: i64) {
            let mut out = Vec::new();
            put(&mut out, zigzag(value));
            let mut rest = &out[..];
            prop_assert_eq!(take(&mut rest).map(unzigzag), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}
