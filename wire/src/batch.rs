//! The readings of one gateway for one commit interval `[from, to)`.
//!
//! A batch covers its interval for every channel of its catalog, also for those that gave nothing:
//! that is what makes silence visible. Values are exact decimals, whose exponent the catalog gives.

use bytes::Bytes;
use prost::Message;

use crate::clock::ClockState;
use crate::ids::{BootId, CatalogHash};
use crate::quality::Quality;
use crate::{BodyError, columns, decode_message, proto, varint};

/// Most readings in one batch: a minute of 1,000 channels at 1 Hz, and a bound on what a hostile
/// body can make a reader allocate.
pub const MAX_READINGS: usize = 65_536;
/// Longest interval of a batch, in milliseconds: one day.
pub const MAX_SPAN_MS: u64 = 86_400_000;

/// One reading of one channel. The time stands on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// What it is worth.
    pub quality: Quality,
    /// Value in steps of `10^exponent`; there exactly if the quality carries a value.
    pub mantissa: Option<i64>,
}

impl Sample {
    /// A good reading.
    #[must_use]
    pub fn good(mantissa: i64) -> Self {
        Sample {
            quality: Quality::Good,
            mantissa: Some(mantissa),
        }
    }
}

/// The readings of one channel on an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Index in the catalog's channels.
    pub channel: u16,
    /// One for each time of the axis.
    pub samples: Vec<Sample>,
}

/// Times that several channels share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// The sampling interval, in milliseconds. Times off this grid cost extra bytes.
    pub step_ms: u32,
    /// Scheduled ticks, monotonic milliseconds since boot, ascending, within the batch's interval.
    pub times: Vec<u64>,
    /// By ascending channel.
    pub columns: Vec<Column>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which boot the times belong to.
    pub boot: BootId,
    /// Start of the interval, monotonic milliseconds.
    pub from_mono_ms: u64,
    /// End of the interval, exclusive.
    pub to_mono_ms: u64,
    /// How wall time was known.
    pub clock: ClockState,
    /// Unix milliseconds = monotonic milliseconds + this; only if it was known to be right.
    pub wall_offset_ms: Option<i64>,
    /// What the columns mean.
    pub catalog: CatalogHash,
    /// One for each sampling interval.
    pub axes: Vec<Axis>,
}

impl Batch {
    /// How many readings it holds, of any quality.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.axes
            .iter()
            .flat_map(|axis| &axis.columns)
            .map(|column| column.samples.len())
            .sum()
    }
}

/// Why a batch can't be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not a batch, or a field has no meaning.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The interval ends before it begins, or is too long.
    #[error("batch interval {from_ms} to {to_ms} ms is empty or longer than a day")]
    Interval {
        /// Start.
        from_ms: u64,
        /// End.
        to_ms: u64,
    },
    /// A time lies outside the interval, or times do not ascend.
    #[error("batch time {0} ms lies outside its interval or does not ascend")]
    Time(u64),
    /// More readings than allowed.
    #[error("batch of {0} readings exceeds the limit of {MAX_READINGS}")]
    TooMany(usize),
    /// A column's length is not the axis's, or channels do not ascend.
    #[error("batch column of channel {0} does not fit its axis")]
    Column(u16),
    /// A sample has a value where its quality has none, or the reverse.
    #[error("batch sample of channel {0} has a value and a quality that do not go together")]
    Sample(u16),
    /// The packed values are too few or too many.
    #[error("batch values do not fit its axes")]
    Values,
    /// The packed qualities do not fit.
    #[error("batch qualities do not fit its axes")]
    Qualities,
    /// A quality of a newer version.
    #[error("batch has the unknown quality {0}")]
    UnknownQuality(u32),
}

/// A record's body.
///
/// # Errors
/// [`BatchError`] when the batch breaks one of its rules: it could not be read back.
pub fn encode_batch(batch: &Batch) -> Result<Bytes, BatchError> {
    let span = check_interval(batch.from_mono_ms, batch.to_mono_ms)?;
    if batch.readings() > MAX_READINGS {
        return Err(BatchError::TooMany(batch.readings()));
    }
    let axes = batch
        .axes
        .iter()
        .map(|axis| encode_axis(axis, batch.from_mono_ms, batch.to_mono_ms))
        .collect::<Result<_, _>>()?;
    let body = proto::Batch {
        boot: batch.boot.0,
        from_mono_ms: batch.from_mono_ms,
        span_ms: span,
        clock: batch.clock.to_proto().into(),
        wall_offset_ms: batch.wall_offset_ms,
        catalog: batch.catalog.0,
        axes,
    };
    Ok(body.encode_to_vec().into())
}

/// Reads a record's body.
///
/// # Errors
/// [`BatchError`] when the bytes are not a batch that [`encode_batch`] could have made.
pub fn decode_batch(body: &[u8]) -> Result<Batch, BatchError> {
    let raw: proto::Batch = decode_message("batch", body)?;
    let to_mono_ms = raw.from_mono_ms.saturating_add(u64::from(raw.span_ms));
    check_interval(raw.from_mono_ms, to_mono_ms)?;
    let axes = raw
        .axes
        .iter()
        .map(|axis| decode_axis(axis, raw.from_mono_ms, to_mono_ms))
        .collect::<Result<Vec<_>, _>>()?;
    let batch = Batch {
        boot: BootId(raw.boot),
        from_mono_ms: raw.from_mono_ms,
        to_mono_ms,
        clock: ClockState::from_proto("batch", raw.clock)?,
        wall_offset_ms: raw.wall_offset_ms,
        catalog: CatalogHash(raw.catalog),
        axes,
    };
    let readings = batch.readings();
    if readings > MAX_READINGS {
        Err(BatchError::TooMany(readings))
    } else {
        Ok(batch)
    }
}

fn check_interval(from_ms: u64, to_ms: u64) -> Result<u32, BatchError> {
    to_ms
        .checked_sub(from_ms)
        .filter(|span| (1..=MAX_SPAN_MS).contains(span))
        .and_then(|span| u32::try_from(span).ok())
        .ok_or(BatchError::Interval { from_ms, to_ms })
}

fn check_times(times: &[u64], from_ms: u64, to_ms: u64) -> Result<(), BatchError> {
    let mut earliest = from_ms;
    for time in times {
        if !(earliest..to_ms).contains(time) {
            return Err(BatchError::Time(*time));
        }
        earliest = time + 1;
    }
    Ok(())
}

fn encode_axis(axis: &Axis, from_ms: u64, to_ms: u64) -> Result<proto::Axis, BatchError> {
    check_times(&axis.times, from_ms, to_ms)?;
    let mut next_channel = 0;
    for column in &axis.columns {
        if column.samples.len() != axis.times.len() || u32::from(column.channel) < next_channel {
            return Err(BatchError::Column(column.channel));
        }
        let fits = |sample: &Sample| sample.mantissa.is_some() == sample.quality.has_value();
        if !column.samples.iter().all(fits) {
            return Err(BatchError::Sample(column.channel));
        }
        next_channel = u32::from(column.channel) + 1;
    }
    let start = axis.times.first().copied().unwrap_or(from_ms);
    let small = |value: u64| u32::try_from(value).map_err(|_| BatchError::Time(value));
    Ok(proto::Axis {
        start_ms: small(start - from_ms)?,
        step_ms: axis.step_ms,
        count: small(u64::try_from(axis.times.len()).unwrap_or(u64::MAX))?,
        exceptions: encode_exceptions(axis, start)?,
        channels: encode_channels(&axis.columns),
        values: columns::pack_values(&axis.columns),
        qualities: columns::pack_qualities(&axis.columns),
    })
}

fn encode_exceptions(axis: &Axis, start: u64) -> Result<Vec<u32>, BatchError> {
    let mut out = Vec::new();
    for (index, time) in (0u32..).zip(&axis.times) {
        let regular = start + u64::from(index) * u64::from(axis.step_ms);
        if *time != regular {
            let off = time.wrapping_sub(regular).cast_signed();
            let code = u32::try_from(varint::zigzag(off)).map_err(|_| BatchError::Time(*time))?;
            out.extend([index, code]);
        }
    }
    Ok(out)
}

fn encode_channels(columns: &[Column]) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::new();
    let mut end = 0u32;
    for channel in columns.iter().map(|column| u32::from(column.channel)) {
        match out.last_mut() {
            Some(length) if channel == end => *length += 1,
            _ => out.extend([channel - end, 1]),
        }
        end = channel + 1;
    }
    out
}

fn decode_axis(raw: &proto::Axis, from_ms: u64, to_ms: u64) -> Result<Axis, BatchError> {
    let count = usize::try_from(raw.count).unwrap_or(usize::MAX);
    if count > MAX_READINGS {
        return Err(BatchError::TooMany(count));
    }
    let start = from_ms.saturating_add(u64::from(raw.start_ms));
    let mut times: Vec<u64> = (0..u64::from(raw.count))
        .map(|index| start.saturating_add(index * u64::from(raw.step_ms)))
        .collect();
    let (pairs, odd) = raw.exceptions.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(BodyError::invalid("batch", "exceptions", "odd number of values").into());
    }
    for [index, code] in pairs {
        let index = usize::try_from(*index).unwrap_or(usize::MAX);
        let time = times
            .get_mut(index)
            .ok_or(BatchError::Time(u64::from(raw.count)))?;
        *time = time.wrapping_add_signed(varint::unzigzag(u64::from(*code)));
    }
    check_times(&times, from_ms, to_ms)?;
    let channels = decode_channels(&raw.channels)?;
    let columns = columns::unpack(&channels, count, &raw.values, &raw.qualities)?;
    Ok(Axis {
        step_ms: raw.step_ms,
        times,
        columns,
    })
}

fn decode_channels(packed: &[u32]) -> Result<Vec<u16>, BatchError> {
    let invalid = || BatchError::from(BodyError::invalid("batch", "channels", "out of range"));
    let (pairs, odd) = packed.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(invalid());
    }
    let mut out = Vec::new();
    let mut end = 0u32;
    for [gap, length] in pairs {
        let first = end.checked_add(*gap).ok_or_else(invalid)?;
        end = first.checked_add(*length).ok_or_else(invalid)?;
        if end > u32::from(u16::MAX) + 1 {
            return Err(invalid());
        }
        for channel in first..end {
            out.push(u16::try_from(channel).map_err(|_| invalid())?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
