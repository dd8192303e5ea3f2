//! What a simulated gateway says: its catalog, and batches made by changing a prepared one. Pure.

use bytes::Bytes;
use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, ClockState, Column, Compression,
    GreenhouseId, Record, RecordKind, RecordName, Sample, Seq, StreamId, encode_batch,
    encode_packet,
};

use super::FleetError;
use super::pace::Plan;

/// Hundredths of a unit between two channels' levels, so that no two are alike.
const CHANNEL_STEP: i64 = 50;
/// Samples of one rise or fall: half a day at 10 s.
const HALF_WAVE: u64 = 4_320;
/// Noise of one sample: up to this many hundredths, as a good sensor has it.
const NOISE: u64 = 7;

/// Makes one gateway's packets. Same gateway, same batch number, same readings.
#[derive(Debug)]
pub(crate) struct Template {
    stream: StreamId,
    seed: u64,
    span_ms: u64,
    batch: Batch,
}

impl Template {
    /// For the gateway that stands in `greenhouse`; gives its catalog's body too. Series are of the
    /// device `device`; `seed` decides values.
    pub(crate) fn new(
        plan: &Plan,
        greenhouse: &GreenhouseId,
        stream: StreamId,
        device: &str,
        seed: u64,
    ) -> Result<(Self, Bytes), FleetError> {
        let catalog = catalog(plan, greenhouse, device)?.encode();
        let column = |channel| Column {
            channel,
            samples: vec![Sample::good(0); usize::from(plan.sweeps)],
        };
        let axis = Axis {
            step_ms: plan.interval_ms,
            times: vec![0; usize::from(plan.sweeps)],
            columns: (0..plan.channels).map(column).collect(),
        };
        let batch = Batch {
            boot: BootId(stream.0),
            from_mono_ms: 0,
            to_mono_ms: 0,
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(plan.start_unix_ms),
            catalog: Catalog::hash(&catalog),
            axes: vec![axis],
        };
        let template = Template {
            stream,
            seed,
            span_ms: plan.span_ms(),
            batch,
        };
        Ok((template, catalog))
    }

    /// Field time of the first sample, Unix milliseconds.
    pub(crate) fn set_start(&mut self, unix_ms: i64) {
        self.batch.wall_offset_ms = Some(unix_ms);
    }

    /// The packet of batch number `number` (from 0), as record `seq`.
    pub(crate) fn batch(&mut self, seq: u64, number: u64) -> Result<Bytes, FleetError> {
        let from = number * self.span_ms;
        self.batch.from_mono_ms = from;
        self.batch.to_mono_ms = from + self.span_ms;
        for axis in &mut self.batch.axes {
            let step = u64::from(axis.step_ms);
            for (time, sweep) in axis.times.iter_mut().zip(0..) {
                *time = from + sweep * step;
            }
            let first = from / step.max(1);
            for column in &mut axis.columns {
                let channel = column.channel;
                for (sample, sweep) in column.samples.iter_mut().zip(first..) {
                    sample.mantissa = Some(mantissa(self.seed, channel, sweep));
                }
            }
        }
        self.packet(RecordKind::Batch, seq, encode_batch(&self.batch)?)
    }

    /// The packet of a record with this body.
    pub(crate) fn packet(
        &self,
        kind: RecordKind,
        seq: u64,
        body: Bytes,
    ) -> Result<Bytes, FleetError> {
        let name = RecordName {
            stream: self.stream,
            seq: Seq(seq),
        };
        let record = Record { name, kind, body }.encode()?;
        Ok(encode_packet(&[&record], Compression::Plain)?)
    }
}

fn catalog(plan: &Plan, greenhouse: &GreenhouseId, device: &str) -> Result<Catalog, FleetError> {
    let device = CatalogDevice {
        id: device.parse()?,
        kind: "simulated".to_owned(),
        bus: "none".to_owned(),
        address: None,
        name: String::new(),
        calibration_version: 0,
    };
    let channel = |number| {
        Ok(CatalogChannel {
            device: device.id.clone(),
            channel: format!("quantity_{number}").parse()?,
            unit: "Cel".to_owned(),
            exponent: -2,
            interval_ms: plan.interval_ms,
            name: String::new(),
        })
    };
    Ok(Catalog {
        greenhouse: greenhouse.clone(),
        greenhouse_name: greenhouse.to_string(),
        software: concat!("furrow-sim ", env!("CARGO_PKG_VERSION")).to_owned(),
        channels: (0..plan.channels)
            .map(channel)
            .collect::<Result<_, FleetError>>()?,
        devices: vec![device],
        zones: Vec::new(),
    })
}

/// A slow rise and fall, each channel at its own level, with noise: what sensors give.
fn mantissa(seed: u64, channel: u16, sample: u64) -> i64 {
    let phase = (sample + seed % HALF_WAVE) % (2 * HALF_WAVE);
    let wave = phase.min(2 * HALF_WAVE - phase) / 4;
    let noise = mixed(seed ^ u64::from(channel) << 48 ^ sample) % NOISE;
    let moving = i64::try_from(wave + noise).unwrap_or(0);
    1_500 + i64::from(channel) * CHANNEL_STEP + moving
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): equal inputs give equal, unrelated outputs.
pub(crate) fn mixed(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::pace::Rate;
    use furrow_wire::{decode_batch, decode_packet, parse_record};
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn template(channels: u16, sweeps: u16, seed: u64) -> (Template, Bytes) {
        let plan = Plan {
            gateways: 1,
            channels,
            interval_ms: 10_000,
            sweeps,
            rate: Rate::Max,
            length: Duration::from_secs(1),
            readings: None,
            began_unix_ms: 0,
            start_unix_ms: 1_000_000,
        };
        let greenhouse = "gh-1".parse().unwrap();
        Template::new(&plan, &greenhouse, StreamId(7), "board", seed).unwrap()
    }

    fn decoded(packet: &Bytes) -> (u64, Batch) {
        let records = decode_packet(packet).unwrap();
        let (record, length) = parse_record(&records).unwrap();
        assert_eq!(length, records.len());
        (record.name.seq.0, decode_batch(record.body).unwrap())
    }

    #[test]
    fn every_batch_is_valid_follows_the_one_before_and_differs_from_it() {
        let (mut template, catalog) = template(16, 6, 3);
        assert_eq!(Catalog::decode(&catalog).unwrap().channels.len(), 16);
        let mut packets = BTreeSet::new();
        let mut next_mono_ms = 0;
        for number in 0..200 {
            let packet = template.batch(number + 2, number).unwrap();
            let (seq, batch) = decoded(&packet);
            assert_eq!((seq, batch.readings()), (number + 2, 96));
            assert_eq!(batch.catalog, Catalog::hash(&catalog));
            assert_eq!(batch.wall_offset_ms, Some(1_000_000));
            assert_eq!(
                (batch.from_mono_ms, batch.to_mono_ms),
                (next_mono_ms, next_mono_ms + 60_000)
            );
            let times: Vec<u64> = (0..6).map(|n| next_mono_ms + n * 10_000).collect();
            assert_eq!(batch.axes[0].times, times);
            next_mono_ms = batch.to_mono_ms;
            assert!(packets.insert(packet));
        }
    }

    #[test]
    fn the_same_batch_again_is_the_same_bytes_and_another_gateway_says_something_else() {
        let (mut one, _) = template(4, 1, 1);
        let first = one.batch(2, 0).unwrap();
        one.batch(3, 1).unwrap();
        assert_eq!(one.batch(2, 0).unwrap(), first);
        let (mut other, _) = template(4, 1, 2);
        assert_ne!(other.batch(2, 0).unwrap(), first);
    }

    #[test]
    fn the_largest_fleet_gateway_fits_a_packet() {
        let (mut template, catalog) = template(1_024, 8, 9);
        assert!(template.batch(2, 0).is_ok());
        assert!(template.packet(RecordKind::Catalog, 1, catalog).is_ok());
    }
}
