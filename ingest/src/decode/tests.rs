use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, CatalogHash, ClockState, Column,
    Event, EventKind, Events, Loss, LossReason, Record, RecordKind, Sample, Seq, StreamId,
    encode_batch,
};

use super::*;
use crate::archive::ParkReason;

const NOW: i64 = 1_790_000_000_000;

fn key() -> GatewayKey {
    GatewayKey {
        cooperative: "hoa-binh".parse().unwrap(),
        gateway: "gw-01".parse().unwrap(),
    }
}

fn decoder() -> Decoder {
    Decoder::new([(key(), "nha-luoi-1".parse().unwrap())])
}

fn catalog(greenhouse: &str) -> Catalog {
    let device = CatalogDevice {
        id: "sht".parse().unwrap(),
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
    Catalog {
        greenhouse: greenhouse.parse().unwrap(),
        greenhouse_name: String::new(),
        software: "1".to_owned(),
        devices: vec![device],
        channels: vec![channel],
        zones: vec![],
    }
}

fn hash_of(greenhouse: &str) -> CatalogHash {
    Catalog::hash(&catalog(greenhouse).encode())
}

fn batch(hash: CatalogHash, channel: u16, wall_offset_ms: Option<i64>) -> Bytes {
    let samples = vec![Sample::good(2_512); 3];
    let columns = vec![Column { channel, samples }];
    let axis = Axis {
        step_ms: 10_000,
        times: vec![0, 10_000, 20_000],
        columns,
    };
    let clock = if wall_offset_ms.is_some() {
        ClockState::Synchronised
    } else {
        ClockState::Unknown
    };
    let batch = Batch {
        boot: BootId(5),
        from_mono_ms: 0,
        to_mono_ms: 30_000,
        clock,
        wall_offset_ms,
        catalog: hash,
        axes: vec![axis],
    };
    encode_batch(&batch).unwrap()
}

fn events(wall_offset_ms: Option<i64>) -> Bytes {
    let what = EventKind::DeviceFault {
        device: "sht".parse().unwrap(),
        text: String::new(),
    };
    let event = Event {
        at_mono_ms: 1,
        zone: None,
        planting: None,
        what,
    };
    let clock = ClockState::Unknown;
    Events {
        boot: BootId(5),
        clock,
        wall_offset_ms,
        events: vec![event],
    }
    .encode()
}

fn mapping(offset: i64) -> Bytes {
    ClockMapping {
        boot: BootId(5),
        wall_offset_ms: offset,
        error_ms: 50,
        state: ClockState::Repaired,
    }
    .encode()
}

fn record(seq: u64, kind: RecordKind, body: Bytes) -> PacketRecord {
    let name = RecordName {
        stream: StreamId(9),
        seq: Seq(seq),
    };
    let bytes = Record { name, kind, body }.encode().unwrap();
    let Split {
        mut records,
        rest: None,
    } = split(&bytes)
    else {
        panic!("not a record")
    };
    records.pop().unwrap()
}

/// Changes in short: what, of which record, with what reason.
fn short(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change {
            Change::Readings(readings) => {
                format!(
                    "readings {} at {}",
                    readings.record.seq, readings.wall_offset_ms
                )
            }
            Change::Catalog { hash, .. } => format!("catalog {}", *hash == hash_of("nha-luoi-1")),
            Change::Mapping { mapping, .. } => format!("mapping {}", mapping.wall_offset_ms),
            Change::Events {
                record,
                wall_offset_ms,
                ..
            } => {
                format!("events {} at {wall_offset_ms}", record.seq)
            }
            Change::Loss { record, loss, .. } => {
                format!("loss {} of {}..{}", record.seq, loss.from_seq, loss.to_seq)
            }
            Change::DeadLetter {
                record,
                reason,
                bytes,
                ..
            } => {
                let seq = record.map_or(0, |record| record.seq.0);
                format!("dead {seq} {} bytes: {reason}", bytes.len())
            }
            Change::Parked(parked) => match parked.reason {
                ParkReason::Catalog(_) => format!("parked {} for catalog", parked.record.seq),
                ParkReason::Mapping(boot) => {
                    format!("parked {} for boot {boot}", parked.record.seq)
                }
                ParkReason::Version => format!("parked {} for version", parked.record.seq),
            },
            Change::Unparked { record } => format!("unparked {}", record.seq),
            Change::Missing {
                stream, missing, ..
            } => format!("missing {stream} {missing:?}"),
            Change::Rerun { id, changes, .. } => format!("rerun {id} {:?}", short(changes)),
            Change::Command(_) | Change::Result(_) | Change::Orders(_) => "from afar".to_owned(),
        })
        .collect()
}

/// Feeds one record after the other and compares what each changes.
#[track_caller]
fn check(decoder: &mut Decoder, steps: &[(PacketRecord, &[&str])]) {
    for (record, expected) in steps {
        let changes = decoder.handle_record(&key(), record, NOW).unwrap();
        assert_eq!(short(&changes), *expected, "record {}", record.name.seq);
    }
}

#[test]
fn a_batch_behind_its_catalog_is_stored() {
    let home = hash_of("nha-luoi-1");
    check(
        &mut decoder(),
        &[
            (
                record(1, RecordKind::Catalog, catalog("nha-luoi-1").encode()),
                &["catalog true"],
            ),
            (
                record(2, RecordKind::Batch, batch(home, 0, Some(NOW))),
                &["readings 2 at 1790000000000"],
            ),
            (
                record(3, RecordKind::Events, events(Some(NOW))),
                &["events 3 at 1790000000000"],
            ),
        ],
    );
}

#[test]
fn what_lacks_its_catalog_or_clock_waits_and_comes_out_in_order() {
    let home = hash_of("nha-luoi-1");
    let mut decoder = decoder();
    check(
        &mut decoder,
        &[
            (
                record(3, RecordKind::Batch, batch(home, 0, None)),
                &["parked 3 for catalog"],
            ),
            (
                record(2, RecordKind::Batch, batch(home, 0, Some(7))),
                &["parked 2 for catalog"],
            ),
            (
                record(4, RecordKind::Events, events(None)),
                &["parked 4 for boot 0000000000000005"],
            ),
            (
                record(1, RecordKind::Catalog, catalog("nha-luoi-1").encode()),
                &["catalog true", "readings 2 at 7", "unparked 2"],
            ),
        ],
    );
    assert_eq!(decoder.counts(&key()), (2, 0));
    check(
        &mut decoder,
        &[
            (
                record(5, RecordKind::ClockMapping, mapping(1_000)),
                &[
                    "mapping 1000",
                    "readings 3 at 1000",
                    "unparked 3",
                    "events 4 at 1000",
                    "unparked 4",
                ],
            ),
            (record(6, RecordKind::ClockMapping, mapping(2_000)), &[]),
            (
                record(7, RecordKind::Batch, batch(home, 0, None)),
                &["readings 7 at 1000"],
            ),
        ],
    );
    assert_eq!(decoder.counts(&key()), (0, 0));
}

#[test]
fn another_greenhouse_is_refused_with_everything_that_names_it() {
    let away = hash_of("nha-luoi-2");
    let reason = "catalog names greenhouse nha-luoi-2, but the gateway is assigned to nha-luoi-1";
    let catalog = record(2, RecordKind::Catalog, catalog("nha-luoi-2").encode());
    let early = record(1, RecordKind::Batch, batch(away, 0, Some(7)));
    let late = record(3, RecordKind::Batch, batch(away, 0, Some(7)));
    let dead = |seq: u64, bytes: usize, reason: &str| format!("dead {seq} {bytes} bytes: {reason}");
    let its = format!("its catalog {away} was refused");
    let (of_early, of_late) = (
        dead(1, early.bytes.len(), &its),
        dead(3, late.bytes.len(), &its),
    );
    let of_catalog = dead(2, catalog.bytes.len(), reason);
    let mut decoder = decoder();
    check(
        &mut decoder,
        &[
            (early, &["parked 1 for catalog"]),
            (catalog, &[&of_catalog, &of_early, "unparked 1"]),
            (late, &[&of_late]),
        ],
    );
    assert_eq!(decoder.counts(&key()), (0, 3));
}

#[test]
fn what_can_never_be_stored_is_a_dead_letter_with_its_reason() {
    let home = hash_of("nha-luoi-1");
    let mut decoder = decoder();
    let catalog = record(1, RecordKind::Catalog, catalog("nha-luoi-1").encode());
    check(&mut decoder, &[(catalog, &["catalog true"])]);
    let garbage = record(2, RecordKind::Batch, Bytes::from_static(&[0xff; 4]));
    let changes = decoder.handle_record(&key(), &garbage, NOW).unwrap();
    assert!(matches!(&changes[..], [Change::DeadLetter { bytes, .. }] if *bytes == garbage.bytes));
    let stranger = record(3, RecordKind::Batch, batch(home, 7, Some(7)));
    let future = record(
        4,
        RecordKind::Batch,
        batch(home, 0, Some(NOW + MAX_FUTURE_MS)),
    );
    let overflow = record(5, RecordKind::Batch, batch(home, 0, Some(i64::MAX)));
    let lens = [
        stranger.bytes.len(),
        future.bytes.len(),
        overflow.bytes.len(),
    ];
    check(
        &mut decoder,
        &[
            (
                stranger,
                &[&format!(
                    "dead 3 {} bytes: column of channel 7, which its catalog lacks",
                    lens[0]
                )],
            ),
            (
                future,
                &[&format!(
                    "dead 4 {} bytes: its time is 86430 s ahead of its receipt",
                    lens[1]
                )],
            ),
            (
                overflow,
                &[&format!(
                    "dead 5 {} bytes: tick 30000 ms with offset 9223372036854775807 ms is not a time",
                    lens[2]
                )],
            ),
        ],
    );
}

#[test]
fn losses_pass_and_newer_versions_wait() {
    let (from_seq, to_seq) = (Seq(1), Seq(8));
    let loss = Loss {
        stream: StreamId(9),
        from_seq,
        to_seq,
        readings: 96,
        reason: LossReason::CapReached,
        text: String::new(),
    };
    let mut newer = record(3, RecordKind::Batch, Bytes::new());
    newer.version = 2;
    let mut strange = record(4, RecordKind::Batch, Bytes::new());
    strange.kind = 77;
    check(
        &mut decoder(),
        &[
            (
                record(9, RecordKind::Loss, loss.encode()),
                &["loss 9 of 1..8"],
            ),
            (newer, &["parked 3 for version"]),
            (strange, &["parked 4 for version"]),
        ],
    );
}

#[test]
fn a_restart_knows_what_was_known() {
    let home = hash_of("nha-luoi-1");
    let waiting = record(3, RecordKind::Batch, batch(home, 0, None));
    let newer_program_reads_it = record(4, RecordKind::Events, events(Some(7)));
    let parked = |record: &PacketRecord, reason| ParkedRecord {
        gateway: key().gateway,
        record: record.name,
        reason,
        bytes: record.bytes.clone(),
        received_unix_ms: NOW,
    };
    let mut decoder = decoder();
    decoder.restore_catalog(&key(), &catalog("nha-luoi-1").encode());
    decoder.restore_parked(&key(), parked(&waiting, ParkReason::Catalog(home)));
    decoder.restore_parked(&key(), parked(&newer_program_reads_it, ParkReason::Version));
    assert_eq!(decoder.counts(&key()), (1, 0));
    check(
        &mut decoder,
        &[
            (
                record(5, RecordKind::Batch, batch(home, 0, Some(9))),
                &["events 4 at 7", "unparked 4", "readings 5 at 9"],
            ),
            (
                record(6, RecordKind::ClockMapping, mapping(1)),
                &["mapping 1", "readings 3 at 1", "unparked 3"],
            ),
        ],
    );
}

#[test]
fn waiting_records_are_bounded() {
    let mut decoder = decoder();
    for seq in 1..=MAX_PARKED_RECORDS as u64 {
        let mut newer = record(seq, RecordKind::Batch, Bytes::new());
        newer.version = 2;
        decoder.handle_record(&key(), &newer, NOW).unwrap();
    }
    let mut newer = record(9_999, RecordKind::Batch, Bytes::new());
    newer.version = 2;
    let reason = "dead 9999 26 bytes: too many records wait already; this one waits for Version";
    check(&mut decoder, &[(newer, &[reason])]);
    assert_eq!(decoder.counts(&key()), (4_096, 1));
}

#[test]
fn a_packet_is_taken_apart_and_a_stranger_has_no_decoder() {
    let one = record(1, RecordKind::Batch, Bytes::from_static(b"one"));
    let two = record(2, RecordKind::Loss, Bytes::from_static(b"two"));
    let content = Bytes::from([&one.bytes[..], &two.bytes[..], b"rest"].concat());
    let Split { records, rest } = split(&content);
    let bytes: Vec<_> = records.iter().map(|record| record.bytes.clone()).collect();
    assert_eq!(bytes, [one.bytes.clone(), two.bytes]);
    assert_eq!(rest.unwrap().1, "rest");
    let other = GatewayKey {
        gateway: "gw-02".parse().unwrap(),
        ..key()
    };
    assert!(decoder().handle_record(&other, &one, NOW).is_none());
}
