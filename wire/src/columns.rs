//! The packed columns of one axis: mantissas as differences, qualities as runs.
//!
//! Samples are taken channel after channel. A good sample costs its difference only; anything else
//! costs a run of three small integers. A sample without a value (failed, stale) leaves no bytes.

use crate::batch::{BatchError, Column, MAX_READINGS, Sample};
use crate::quality::Quality;
use crate::varint;

/// Mantissas of all columns: the first of each channel as it is, then differences.
pub(crate) fn pack_values(columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::new();
    for column in columns {
        let mut last = 0i64;
        for mantissa in column.samples.iter().filter_map(|sample| sample.mantissa) {
            varint::put(&mut out, varint::zigzag(mantissa.wrapping_sub(last)));
            last = mantissa;
        }
    }
    out
}

/// Triples: good samples to skip, length of the run, its quality.
pub(crate) fn pack_qualities(columns: &[Column]) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::new();
    let mut skip = 0u32;
    let mut run: Option<(u32, Quality)> = None;
    let samples = columns.iter().flat_map(|column| &column.samples);
    for quality in samples.map(|sample| sample.quality) {
        match &mut run {
            Some((length, current)) if *current == quality => *length += 1,
            _ => {
                flush(&mut out, &mut skip, &mut run);
                if quality == Quality::Good {
                    skip += 1;
                } else {
                    run = Some((1, quality));
                }
            }
        }
    }
    flush(&mut out, &mut skip, &mut run);
    out
}

fn flush(out: &mut Vec<u32>, skip: &mut u32, run: &mut Option<(u32, Quality)>) {
    if let Some((length, quality)) = run.take() {
        out.extend([*skip, length, u32::from(quality.code())]);
        *skip = 0;
    }
}

/// The inverse of both: columns of `count` samples for each channel.
pub(crate) fn unpack(
    channels: &[u16],
    count: usize,
    mut values: &[u8],
    qualities: &[u32],
) -> Result<Vec<Column>, BatchError> {
    let total = channels.len().saturating_mul(count);
    if total > MAX_READINGS {
        return Err(BatchError::TooMany(total));
    }
    let mut quality = unpack_qualities(total, qualities)?.into_iter();
    let mut columns = Vec::with_capacity(channels.len());
    for channel in channels {
        let mut samples = Vec::with_capacity(count);
        let mut last = 0i64;
        for quality in quality.by_ref().take(count) {
            let mut mantissa = None;
            if quality.has_value() {
                let difference = varint::take(&mut values).ok_or(BatchError::Values)?;
                last = last.wrapping_add(varint::unzigzag(difference));
                mantissa = Some(last);
            }
            samples.push(Sample { quality, mantissa });
        }
        columns.push(Column {
            channel: *channel,
            samples,
        });
    }
    if values.is_empty() {
        Ok(columns)
    } else {
        Err(BatchError::Values)
    }
}

fn unpack_qualities(total: usize, packed: &[u32]) -> Result<Vec<Quality>, BatchError> {
    let (triples, odd) = packed.as_chunks::<3>();
    if !odd.is_empty() {
        return Err(BatchError::Qualities);
    }
    let mut out = vec![Quality::Good; total];
    let mut rest = out.as_mut_slice();
    for [skip, length, code] in triples {
        let size = |n: &u32| usize::try_from(*n).map_err(|_| BatchError::Qualities);
        let quality = u8::try_from(*code)
            .ok()
            .and_then(Quality::from_code)
            .filter(|quality| *quality != Quality::Good)
            .ok_or(BatchError::UnknownQuality(*code))?;
        let (_, after) = rest
            .split_at_mut_checked(size(skip)?)
            .ok_or(BatchError::Qualities)?;
        let (run, after) = after
            .split_at_mut_checked(size(length)?)
            .ok_or(BatchError::Qualities)?;
        run.fill(quality);
        rest = after;
    }
    Ok(out)
}
