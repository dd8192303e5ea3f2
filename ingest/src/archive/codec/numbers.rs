//! Packed columns of integers: varints where there are few, `pco` where there are many.
//!
//! `docs/adr/0004-archive-blocks.md` has the measurements.

use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::CodecError;

/// Below this many numbers the tables that `pco` writes cost more than it saves.
const PCO_MIN_NUMBERS: usize = 128;

const DELTAS: u8 = 0;
const PCO_64: u8 = 1;
/// All numbers fit 32 bits, as those of sensors do: twice as quick, and the same size.
const PCO_32: u8 = 2;

/// Reads a payload from the front.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(what: &'static str, rest: &'a [u8]) -> Self {
        Self { what, rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn error(&self, reason: &'static str) -> CodecError {
        CodecError::new(self.what, reason)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        let (byte, rest) = self
            .rest
            .split_first()
            .ok_or_else(|| self.error("is cut short"))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.error("is cut short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("has an overlong number"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, CodecError> {
        self.unsigned().map(unzigzag)
    }

    /// A count of things, bounded before anything is allocated for it.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, CodecError> {
        let count = usize::try_from(self.unsigned()?).unwrap_or(usize::MAX);
        if count <= max {
            Ok(count)
        } else {
            Err(self.error("has an impossible count"))
        }
    }
}

pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80 by the loop")]
    out.push(value as u8);
}

pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_unsigned(out, count as u64);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag(value));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Zig-zag varints of differences: quick, and small for a few numbers.
pub(crate) fn put_deltas(out: &mut Vec<u8>, values: &[i64]) {
    out.push(DELTAS);
    let mut previous = 0i64;
    for value in values {
        put_signed(out, value.wrapping_sub(previous));
        previous = *value;
    }
}

/// The smallest form: `pco` if there are enough numbers.
pub(crate) fn put_dense(out: &mut Vec<u8>, values: &[i64]) {
    if values.len() < PCO_MIN_NUMBERS {
        put_deltas(out, values);
        return;
    }
    let short: Option<Vec<i32>> = values
        .iter()
        .map(|value| i32::try_from(*value).ok())
        .collect();
    let (form, packed) = match short {
        Some(short) => (PCO_32, simple_compress(&short, &pco_config())),
        None => (PCO_64, simple_compress(values, &pco_config())),
    };
    match packed {
        Ok(packed) => {
            out.push(form);
            put_count(out, packed.len());
            out.extend_from_slice(&packed);
        }
        // Only a wrong configuration is refused; the other form is always right.
        Err(_) => put_deltas(out, values),
    }
}

/// `count` numbers in either form.
pub(crate) fn take_numbers(from: &mut Cursor<'_>, count: usize) -> Result<Vec<i64>, CodecError> {
    let mut values = Vec::new();
    take_numbers_into(from, count, &mut values)?;
    Ok(values)
}

/// The same, instead of what `values` holds: the room that it has is used again.
pub(crate) fn take_numbers_into(
    from: &mut Cursor<'_>,
    count: usize,
    values: &mut Vec<i64>,
) -> Result<(), CodecError> {
    values.clear();
    match from.byte()? {
        DELTAS => {
            values.reserve(count);
            let mut previous = 0i64;
            for _ in 0..count {
                previous = previous.wrapping_add(from.signed()?);
                values.push(previous);
            }
        }
        PCO_64 => *values = take_pco(from, count)?,
        PCO_32 => values.extend(take_pco::<i32>(from, count)?.into_iter().map(i64::from)),
        _ => return Err(from.error("has an unknown column form")),
    }
    Ok(())
}

fn take_pco<T: Number + Default>(
    from: &mut Cursor<'_>,
    count: usize,
) -> Result<Vec<T>, CodecError> {
    let length = from.count(usize::MAX)?;
    let packed = from.bytes(length)?;
    let mut values = vec![T::default(); count];
    let progress = simple_decompress_into(packed, &mut values)
        .map_err(|_| from.error("has a damaged column"))?;
    if progress.n_processed == count && progress.finished {
        Ok(values)
    } else {
        Err(from.error("has a column of another length"))
    }
}

/// Skips `count` numbers.
pub(crate) fn skip_numbers(from: &mut Cursor<'_>, count: usize) -> Result<(), CodecError> {
    match from.byte()? {
        DELTAS => (0..count).try_for_each(|_| from.unsigned().map(drop)),
        PCO_64 | PCO_32 => {
            let length = from.count(usize::MAX)?;
            from.bytes(length).map(drop)
        }
        _ => Err(from.error("has an unknown column form")),
    }
}

fn pco_config() -> ChunkConfig {
    ChunkConfig::default()
        .with_compression_level(6)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::TryConsecutive(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_at_the_edges_round_trip() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            assert_eq!(Cursor::new("test", &out).signed(), Ok(value));
        }
    }

    #[test]
    fn a_number_without_end_is_refused() {
        let error = Cursor::new("test", &[0xff; 11]).unsigned().unwrap_err();
        assert_eq!(error.to_string(), "stored test has an overlong number");
    }

    proptest! {
        #[test]
        fn both_forms_round_trip(values in prop::collection::vec(any::<i64>(), 0..400), short: bool) {
            let values: Vec<i64> =
                values.into_iter().map(|v| if short { v >> 40 } else { v }).collect();
            for put in [put_deltas, put_dense] {
                let mut out = Vec::new();
                put(&mut out, &values);
                out.push(0x55);
                let mut cursor = Cursor::new("test", &out);
                prop_assert_eq!(take_numbers(&mut cursor, values.len()).unwrap(), values.clone());
                prop_assert_eq!(cursor.byte(), Ok(0x55));
                let mut cursor = Cursor::new("test", &out);
                skip_numbers(&mut cursor, values.len()).unwrap();
                prop_assert_eq!(cursor.byte(), Ok(0x55));
            }
        }
    }
}
