//! Readings of one series, column by column.
//!
//! ```text
//! exponent i8 · times · mantissas · qualities
//! times      count, first, then either runs of equal differences or packed numbers
//! mantissas  packed numbers; a reading without a value repeats the one before
//! qualities  runs of (code, length)
//! ```

use furrow_wire::Quality;

use super::numbers::{
    Cursor, put_count, put_deltas, put_dense, put_signed, skip_numbers, take_numbers,
};
use super::{CodecError, MAX_BLOCK_READINGS, open, seal, start};

const VERSION: u8 = 1;
const WHAT: &str = "block";

const TIME_RUNS: u8 = 0;
const TIME_NUMBERS: u8 = 1;

/// How much time is spent on making a block small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Density {
    /// Written soon to be rewritten.
    Quick,
    /// Written to stay.
    Dense,
}

/// See the module. All columns have the same length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Block {
    /// Value = mantissa × 10^exponent.
    pub(crate) exponent: i8,
    /// Unix milliseconds.
    pub(crate) times: Vec<i64>,
    /// What stands here for a quality without a value means nothing.
    pub(crate) mantissas: Vec<i64>,
    /// What each reading is worth.
    pub(crate) qualities: Vec<Quality>,
}

impl Block {
    pub(crate) fn new(exponent: i8) -> Self {
        Self {
            exponent,
            ..Self::default()
        }
    }

    /// Has room for so many readings.
    pub(crate) fn with_room(exponent: i8, readings: usize) -> Self {
        Self {
            exponent,
            times: Vec::with_capacity(readings),
            mantissas: Vec::with_capacity(readings),
            qualities: Vec::with_capacity(readings),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// Length for a row's column; far below the bound of a blob.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(crate) fn push(&mut self, time_ms: i64, mantissa: Option<i64>, quality: Quality) {
        let mantissa = mantissa
            .or_else(|| self.mantissas.last().copied())
            .unwrap_or(0);
        self.times.push(time_ms);
        self.mantissas.push(mantissa);
        self.qualities.push(quality);
    }

    /// Each reading as time, mantissa and quality.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, i64, Quality)> {
        let columns = self.times.iter().zip(&self.mantissas).zip(&self.qualities);
        columns.map(|((time, mantissa), quality)| (*time, *mantissa, *quality))
    }

    /// Appends another block of the series, whatever its times.
    ///
    /// # Errors
    /// When its values can't be said in this block's exponent.
    pub(crate) fn append(&mut self, mut other: Block) -> Result<(), CodecError> {
        if self.is_empty() {
            self.exponent = other.exponent;
        }
        let exponent = self.exponent.min(other.exponent);
        if !(self.rescale(exponent) && other.rescale(exponent)) {
            return Err(CodecError::new(WHAT, "has a value beyond its exponent"));
        }
        self.times.append(&mut other.times);
        self.mantissas.append(&mut other.mantissas);
        self.qualities.append(&mut other.qualities);
        Ok(())
    }

    /// The same of a block that is used again.
    ///
    /// # Errors
    /// When its values can't be said in this block's exponent.
    pub(crate) fn extend(&mut self, other: &Block) -> Result<(), CodecError> {
        if !self.is_empty() && self.exponent != other.exponent {
            return self.append(other.clone());
        }
        self.exponent = other.exponent;
        self.times.extend_from_slice(&other.times);
        self.mantissas.extend_from_slice(&other.mantissas);
        self.qualities.extend_from_slice(&other.qualities);
        Ok(())
    }

    /// Takes off the readings from the one at `place` on.
    pub(crate) fn split_off(&mut self, place: usize) -> Block {
        let place = place.min(self.len());
        Block {
            exponent: self.exponent,
            times: self.times.split_off(place),
            mantissas: self.mantissas.split_off(place),
            qualities: self.qualities.split_off(place),
        }
    }

    /// Sorts by time. Of several readings of one time only the first given stays; how many went is told.
    pub(crate) fn sort(&mut self) -> usize {
        if self.times.is_sorted_by(|a, b| a < b) {
            return 0;
        }
        let mut rows: Vec<_> = self.iter().collect();
        let before = rows.len();
        rows.sort_by_key(|row| row.0);
        rows.dedup_by_key(|row| row.0);
        self.times = rows.iter().map(|row| row.0).collect();
        self.mantissas = rows.iter().map(|row| row.1).collect();
        self.qualities = rows.iter().map(|row| row.2).collect();
        before - rows.len()
    }

    /// Says the same values in a finer exponent. `false` if one would not fit; then nothing changed.
    pub(crate) fn rescale(&mut self, exponent: i8) -> bool {
        if exponent == self.exponent {
            return true;
        }
        let Some(factor) = scale_factor(self.exponent, exponent) else {
            return false;
        };
        let scaled: Option<Vec<i64>> = self
            .mantissas
            .iter()
            .map(|mantissa| mantissa.checked_mul(factor))
            .collect();
        let Some(scaled) = scaled else { return false };
        self.mantissas = scaled;
        self.exponent = exponent;
        true
    }

    /// As a blob. Times must ascend.
    pub(crate) fn encode(&self, density: Density) -> Vec<u8> {
        let mut out = start(self.len() * 2 + 16);
        self.put(&mut out, density);
        seal(VERSION, out)
    }

    /// From a blob.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not those that were written.
    pub(crate) fn decode(blob: &[u8]) -> Result<Self, CodecError> {
        let mut from = Cursor::new(WHAT, open(WHAT, VERSION, blob)?);
        let exponent = from.byte()?.cast_signed();
        let times = take_times(&mut from)?;
        let mantissas = take_numbers(&mut from, times.len())?;
        let qualities = take_qualities(&mut from, times.len())?;
        if !from.is_empty() {
            return Err(from.error("has bytes left over"));
        }
        Ok(Self {
            exponent,
            times,
            mantissas,
            qualities,
        })
    }

    /// Only the times of a blob.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not those that were written.
    pub(crate) fn decode_times(blob: &[u8]) -> Result<Vec<i64>, CodecError> {
        let mut from = Cursor::new(WHAT, open(WHAT, VERSION, blob)?);
        from.byte()?;
        take_times(&mut from)
    }

    fn put(&self, out: &mut Vec<u8>, density: Density) {
        out.push(self.exponent.cast_unsigned());
        put_times(out, &self.times, density);
        match density {
            Density::Quick => put_deltas(out, &self.mantissas),
            Density::Dense => put_dense(out, &self.mantissas),
        }
        put_qualities(out, &self.qualities);
    }
}

/// What a mantissa is multiplied with to go from one exponent to a finer one.
pub(crate) fn scale_factor(from: i8, to: i8) -> Option<i64> {
    let steps = u32::try_from(i16::from(from) - i16::from(to)).ok()?;
    10i64.checked_pow(steps)
}

pub(super) fn put_times(out: &mut Vec<u8>, times: &[i64], density: Density) {
    put_count(out, times.len());
    let Some(first) = times.first() else { return };
    put_signed(out, *first);
    let runs = runs_of(times.windows(2).map(|pair| match pair {
        [a, b] => b.wrapping_sub(*a),
        _ => 0,
    }));
    // A run takes about 3 bytes; jittering times are smaller as packed numbers.
    if density == Density::Dense && runs.len() * 3 > times.len() {
        out.push(TIME_NUMBERS);
        put_dense(out, times);
        return;
    }
    out.push(TIME_RUNS);
    put_count(out, runs.len());
    for (difference, length) in runs {
        put_signed(out, difference);
        put_count(out, length);
    }
}

pub(super) fn take_times(from: &mut Cursor<'_>) -> Result<Vec<i64>, CodecError> {
    let count = from.count(MAX_BLOCK_READINGS)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let first = from.signed()?;
    let form = from.byte()?;
    if form == TIME_NUMBERS {
        return take_numbers(from, count);
    }
    if form != TIME_RUNS {
        return Err(from.error("has an unknown time form"));
    }
    let mut times = Vec::with_capacity(count);
    times.push(first);
    let mut time = first;
    for _ in 0..from.count(count)? {
        let difference = from.signed()?;
        let length = from.count(count.saturating_sub(times.len()))?;
        times.extend((0..length).map(|_| {
            time = time.wrapping_add(difference);
            time
        }));
    }
    if times.len() == count {
        Ok(times)
    } else {
        Err(from.error("has too few times"))
    }
}

pub(super) fn put_qualities(out: &mut Vec<u8>, qualities: &[Quality]) {
    let runs = qualities.chunk_by(|a, b| a == b);
    put_count(out, runs.clone().count());
    for run in runs {
        out.extend(run.first().map(|quality| quality.code()));
        put_count(out, run.len());
    }
}

pub(super) fn take_qualities(
    from: &mut Cursor<'_>,
    count: usize,
) -> Result<Vec<Quality>, CodecError> {
    let mut qualities = Vec::new();
    take_qualities_into(from, count, &mut qualities)?;
    Ok(qualities)
}

/// The same, instead of what `qualities` holds: the room that it has is used again.
pub(super) fn take_qualities_into(
    from: &mut Cursor<'_>,
    count: usize,
    qualities: &mut Vec<Quality>,
) -> Result<(), CodecError> {
    qualities.clear();
    qualities.reserve(count);
    for _ in 0..from.count(count)? {
        let quality =
            Quality::from_code(from.byte()?).ok_or_else(|| from.error("has an unknown quality"))?;
        let length = from.count(count.saturating_sub(qualities.len()))?;
        qualities.resize(qualities.len() + length, quality);
    }
    if qualities.len() == count {
        Ok(())
    } else {
        Err(from.error("has too few qualities"))
    }
}

/// Skips what [`put_qualities`] wrote.
pub(super) fn skip_qualities(from: &mut Cursor<'_>, count: usize) -> Result<(), CodecError> {
    for _ in 0..from.count(count)? {
        from.byte()?;
        from.unsigned()?;
    }
    Ok(())
}

/// Skips what stands behind the times of `count` readings.
pub(super) fn skip_values(from: &mut Cursor<'_>, count: usize) -> Result<(), CodecError> {
    skip_numbers(from, count)?;
    skip_qualities(from, count)
}

fn runs_of<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut runs: Vec<(T, usize)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((last, length)) if *last == value => *length += 1,
            _ => runs.push((value, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(rows: &[(i64, Option<i64>, Quality)]) -> Block {
        let mut block = Block::new(-2);
        for (time, mantissa, quality) in rows {
            block.push(*time, *mantissa, *quality);
        }
        block
    }

    fn rows() -> impl Strategy<Value = Block> {
        let row = (1i64..20_000, any::<i64>(), 0u8..7);
        (prop::collection::vec(row, 0..300), any::<bool>()).prop_map(|(rows, regular)| {
            let mut block = Block::new(-3);
            let mut time = 1_700_000_000_000;
            for (step, mantissa, code) in rows {
                time += if regular { 10_000 } else { step };
                let quality = Quality::from_code(code).unwrap();
                block.push(time, quality.has_value().then_some(mantissa), quality);
            }
            block
        })
    }

    #[test]
    fn a_day_of_regular_times_takes_next_to_nothing() {
        let mut day = Block::new(-2);
        for n in 0..8640 {
            day.push(n * 10_000, Some(2500), Quality::Good);
        }
        let blob = day.encode(Density::Dense);
        assert_eq!(Block::decode(&blob), Ok(day));
        assert!(blob.len() < 80, "{} bytes", blob.len());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = block(&[
            (10, Some(5), Quality::Good),
            (20, None, Quality::Failed),
            (35, Some(-7), Quality::Spike),
        ]);
        let blob = good.encode(Density::Dense);
        for at in 0..blob.len() {
            assert!(Block::decode(&blob[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bad = blob.clone();
                bad[at] ^= 1 << bit;
                assert!(Block::decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn appending_finds_the_finer_exponent_and_sorting_keeps_the_first_of_a_time() {
        let mut one = block(&[(10, Some(5), Quality::Good), (30, Some(7), Quality::Good)]);
        let mut two = Block::new(-3);
        two.push(20, Some(61), Quality::Good);
        two.push(30, Some(99), Quality::Good);
        one.append(two).unwrap();
        assert_eq!(one.sort(), 1);
        assert_eq!((one.exponent, one.times), (-3, vec![10, 20, 30]));
        assert_eq!(one.mantissas, [50, 61, 70]);
        let mut huge = block(&[(40, Some(i64::MAX), Quality::Good)]);
        assert!(!huge.rescale(-3));
        assert_eq!(huge.exponent, -2);
    }

    proptest! {
        #[test]
        fn round_trip(block in rows()) {
            for density in [Density::Quick, Density::Dense] {
                let blob = block.encode(density);
                prop_assert_eq!(Block::decode(&blob).unwrap(), block.clone());
                prop_assert_eq!(Block::decode_times(&blob).unwrap(), block.times.clone());
            }
        }
    }
}
