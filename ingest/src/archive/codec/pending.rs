//! What one batch brought and is not yet in blocks by series.
//!
//! ```text
//! groups of: times · number of columns · columns of (series, exponent i8, mantissas, qualities)
//! ```

use furrow_wire::Quality;

use super::block::{
    Block, Density, put_qualities, put_times, skip_values, take_qualities_into, take_times,
};
use super::numbers::{Cursor, put_count, put_deltas, put_signed, take_numbers_into};
use super::{CodecError, open, seal, start};

const VERSION: u8 = 2;
const WHAT: &str = "batch";

/// Most columns of one group: as many as a catalog has channels, with room.
const MAX_COLUMNS: usize = 4096;

/// Writes the blob of one batch.
#[derive(Debug)]
pub(crate) struct PendingWriter {
    out: Vec<u8>,
    group: Vec<u8>,
    columns: usize,
    readings: usize,
}

impl PendingWriter {
    pub(crate) fn new() -> Self {
        Self {
            out: start(512),
            group: Vec::new(),
            columns: 0,
            readings: 0,
        }
    }

    /// How many readings it holds.
    pub(crate) fn readings(&self) -> usize {
        self.readings
    }

    /// Adds a column of the current group; its length is that of the group's times.
    pub(crate) fn column(
        &mut self,
        series: i64,
        exponent: i8,
        mantissas: &[i64],
        qualities: &[Quality],
    ) {
        put_signed(&mut self.group, series);
        self.group.push(exponent.cast_unsigned());
        put_deltas(&mut self.group, mantissas);
        put_qualities(&mut self.group, qualities);
        self.columns += 1;
        self.readings += mantissas.len();
    }

    /// Ends the current group, if it has columns.
    pub(crate) fn end_group(&mut self, times: &[i64]) {
        if self.columns > 0 {
            put_times(&mut self.out, times, Density::Quick);
            put_count(&mut self.out, self.columns);
            self.out.append(&mut self.group);
            self.columns = 0;
        }
    }

    /// The blob.
    pub(crate) fn finish(self) -> Vec<u8> {
        seal(VERSION, self.out)
    }
}

/// Calls `take` with each column of a blob: the series and a block. `wanted` spares the decoding of others. One block
/// serves all columns: there are many, and short.
///
/// # Errors
/// [`CodecError`] when the bytes are not those that were written.
pub(crate) fn read_pending(
    blob: &[u8],
    wanted: impl Fn(i64) -> bool,
    mut take: impl FnMut(i64, &Block) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let mut from = Cursor::new(WHAT, open(WHAT, VERSION, blob)?);
    let mut block = Block::default();
    while !from.is_empty() {
        block.times = take_times(&mut from)?;
        let readings = block.len();
        for _ in 0..from.count(MAX_COLUMNS)? {
            let series = from.signed()?;
            let exponent = from.byte()?.cast_signed();
            if !wanted(series) {
                skip_values(&mut from, readings)?;
                continue;
            }
            block.exponent = exponent;
            take_numbers_into(&mut from, readings, &mut block.mantissas)?;
            take_qualities_into(&mut from, readings, &mut block.qualities)?;
            take(series, &block)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> Vec<u8> {
        let mut writer = PendingWriter::new();
        let good = Quality::Good;
        writer.column(7, -2, &[1, 2, 3], &[good, Quality::Failed, good]);
        writer.column(8, 0, &[400, 401, 402], &[good; 3]);
        writer.end_group(&[10, 20, 30]);
        writer.end_group(&[99]);
        writer.column(9, -1, &[-5], &[good]);
        writer.end_group(&[15]);
        assert_eq!(writer.readings(), 7);
        writer.finish()
    }

    fn read(blob: &[u8], wanted: impl Fn(i64) -> bool) -> Result<Vec<(i64, Block)>, CodecError> {
        let mut out = Vec::new();
        read_pending(blob, wanted, |series, block| {
            out.push((series, block.clone()));
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn gives_each_column_and_skips_the_unwanted() {
        let all = read(&blob(), |_| true).unwrap();
        assert_eq!(
            all.iter().map(|(series, _)| *series).collect::<Vec<_>>(),
            [7, 8, 9]
        );
        assert_eq!(all[0].1.times, [10, 20, 30]);
        assert_eq!(
            all[0].1.qualities,
            [Quality::Good, Quality::Failed, Quality::Good]
        );
        assert_eq!(
            (all[2].1.exponent, &all[2].1.mantissas[..]),
            (-1, &[-5][..])
        );
        let one = read(&blob(), |series| series == 9).unwrap();
        assert_eq!(one, all[2..]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let blob = blob();
        for at in 0..blob.len() {
            assert!(read(&blob[..at], |_| true).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bad = blob.clone();
                bad[at] ^= 1 << bit;
                assert!(read(&bad, |_| true).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
