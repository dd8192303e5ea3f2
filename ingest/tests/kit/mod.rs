//! A made-up gateway and an archive in a temporary folder.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test helpers"
)]

pub mod client;

use std::path::Path;

use bytes::Bytes;
use furrow_ingest::archive::{Archive, CooperativeSetup, LiveHub};
use furrow_ingest::metrics::Metrics;
use furrow_ingest_core::GatewayKey;
use furrow_wire::{
    Axis, Batch, Birth, BootId, Catalog, CatalogChannel, CatalogDevice, CatalogHash, ClockState,
    Column, Compression, GatewayState, HeldStream, Loss, LossReason, Record, RecordKind,
    RecordName, Sample, Seq, StreamId, encode_batch, encode_packet,
};

/// Readings in each batch.
pub const READINGS: u64 = 3;
/// Unix milliseconds of the first reading.
pub const START_MS: i64 = 1_780_000_000_000;

pub fn key(gateway: &str) -> GatewayKey {
    GatewayKey {
        cooperative: "hoa-binh".parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    }
}

/// Makes the records of one stream: the first is the catalog, the others batches, each of its own
/// time.
pub struct Source {
    pub stream: StreamId,
    pub device: String,
    /// Minutes by which its readings lie after [`START_MS`].
    pub offset_minutes: i64,
}

impl Source {
    pub fn new(stream: u64) -> Self {
        Self {
            stream: StreamId(stream),
            device: "sht".to_owned(),
            offset_minutes: 0,
        }
    }

    pub fn name(&self, seq: u64) -> RecordName {
        RecordName {
            stream: self.stream,
            seq: Seq(seq),
        }
    }

    pub fn catalog(&self) -> Bytes {
        let device = CatalogDevice {
            id: self.device.parse().unwrap(),
            kind: "sht4x".to_owned(),
            bus: "main".to_owned(),
            address: Some(0x44),
            name: String::new(),
            calibration_version: 0,
        };
        let channel = CatalogChannel {
            device: device.id.clone(),
            channel: "air_temperature".parse().unwrap(),
            unit: "Cel".to_owned(),
            exponent: -2,
            interval_ms: 10_000,
            name: String::new(),
        };
        let catalog = Catalog {
            greenhouse: "nha-luoi-1".parse().unwrap(),
            greenhouse_name: "Nhà lưới 1".to_owned(),
            software: "test".to_owned(),
            devices: vec![device],
            channels: vec![channel],
            zones: vec![],
        };
        catalog.encode()
    }

    pub fn hash(&self) -> CatalogHash {
        Catalog::hash(&self.catalog())
    }

    /// The encoded record of a seq: 1 is the catalog.
    pub fn record(&self, seq: u64) -> Bytes {
        let (kind, body) = if seq == 1 {
            (RecordKind::Catalog, self.catalog())
        } else {
            (RecordKind::Batch, self.batch(seq))
        };
        Record {
            name: self.name(seq),
            kind,
            body,
        }
        .encode()
        .unwrap()
    }

    pub fn batch(&self, seq: u64) -> Bytes {
        let from = (seq - 2) * 30_000;
        let times: Vec<u64> = (0..READINGS).map(|n| from + n * 10_000).collect();
        let value = i64::try_from(2_000 + seq % 1_000).unwrap();
        let samples = vec![Sample::good(value); times.len()];
        let columns = vec![Column {
            channel: 0,
            samples,
        }];
        let batch = Batch {
            boot: BootId(1),
            from_mono_ms: from,
            to_mono_ms: from + 30_000,
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(START_MS + self.offset_minutes * 60_000),
            catalog: self.hash(),
            axes: vec![Axis {
                step_ms: 10_000,
                times,
                columns,
            }],
        };
        encode_batch(&batch).unwrap()
    }

    /// A packet of these seqs.
    pub fn packet(&self, seqs: impl IntoIterator<Item = u64>) -> Bytes {
        let records: Vec<Bytes> = seqs.into_iter().map(|seq| self.record(seq)).collect();
        let parts: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
        encode_packet(&parts, Compression::Deflate).unwrap()
    }

    /// A packet of one loss record.
    pub fn loss(&self, seq: u64, from: u64, to: u64) -> Bytes {
        let loss = Loss {
            stream: self.stream,
            from_seq: Seq(from),
            to_seq: Seq(to),
            readings: (to - from + 1) * READINGS,
            reason: LossReason::CapReached,
            text: String::new(),
        };
        let record = Record {
            name: self.name(seq),
            kind: RecordKind::Loss,
            body: loss.encode(),
        };
        encode_packet(&[&record.encode().unwrap()], Compression::Plain).unwrap()
    }

    /// The retained state of a gateway that holds this stream.
    pub fn state(&self, first: u64, last: u64) -> Bytes {
        birth_of(1, vec![self.held(first, last)])
    }

    fn held(&self, first: u64, last: u64) -> HeldStream {
        HeldStream {
            stream: self.stream,
            first,
            last,
        }
    }
}

/// The retained state of a gateway that holds these streams from their beginning.
pub fn birth(boot: u64, held: &[(&Source, u64)]) -> Bytes {
    let streams = held.iter().map(|(source, last)| source.held(1, *last));
    birth_of(boot, streams.collect())
}

fn birth_of(boot: u64, streams: Vec<HeldStream>) -> Bytes {
    let birth = Birth {
        boot: BootId(boot),
        mono_ms: 1,
        software: "test".to_owned(),
        greenhouse: "nha-luoi-1".parse().unwrap(),
        clock: ClockState::Synchronised,
        orders: 0,
        streams,
        journalled_readings: 0,
        waiting_readings: 7,
        lost_readings: 0,
    };
    GatewayState {
        online: true,
        birth: Some(birth),
    }
    .to_json()
    .into()
}

pub fn open_archive(dir: &Path, live: &LiveHub) -> Archive {
    let setup = CooperativeSetup {
        id: "hoa-binh".parse().unwrap(),
        rules: vec![],
    };
    Archive::open(
        &dir.join("archive"),
        &[setup],
        live.clone(),
        &Metrics::default(),
    )
    .unwrap()
}

/// Readings stored, and readings stored twice, by a scan of the whole archive.
pub fn stored(archive: &Archive) -> (u64, u64) {
    let scans = archive.reader().scan(&"hoa-binh".parse().unwrap()).unwrap();
    scans.values().fold((0, 0), |(readings, twice), scan| {
        (readings + scan.readings, twice + scan.twice)
    })
}
