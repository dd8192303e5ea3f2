use super::*;
use crate::packet::{Compression, encode_packet};
use crate::{Record, RecordKind, RecordName, Seq, StreamId};
use proptest::collection::vec;
use proptest::prelude::*;

/// 16 channels sampled every 10 s for a minute, with the small movements of real sensors.
fn reference_minute() -> Batch {
    let times = (0..6).map(|i| 3_600_000 + i * 10_000).collect::<Vec<u64>>();
    let columns = (0..16u16)
        .map(|channel| {
            let base = 2000 + i64::from(channel) * 300;
            let samples =
                (0..6i64).map(|i| Sample::good(base + (i * 7 + i64::from(channel)) % 11 - 5));
            Column {
                channel,
                samples: samples.collect(),
            }
        })
        .collect();
    Batch {
        boot: BootId(0x0123_4567_89ab_cdef),
        from_mono_ms: 3_600_000,
        to_mono_ms: 3_660_000,
        clock: ClockState::Synchronised,
        wall_offset_ms: Some(1_790_000_000_000),
        catalog: CatalogHash(0xfedc_ba98_7654_3210),
        axes: vec![Axis {
            step_ms: 10_000,
            times,
            columns,
        }],
    }
}

#[test]
fn bytes_per_reading_stay_in_the_sketch() {
    let batch = reference_minute();
    let name = RecordName {
        stream: StreamId(u64::MAX),
        seq: Seq(100_000),
    };
    let body = encode_batch(&batch).unwrap();
    let record = Record {
        name,
        kind: RecordKind::Batch,
        body,
    }
    .encode()
    .unwrap();
    let packet = encode_packet(&[&record], Compression::Plain).unwrap();
    // MQTT 5 PUBLISH: fixed header 3, topic 2 + its text, packet id 2, no properties 1.
    let topic = "furrow/1/hoa-binh/gw-01/batch".len();
    let bytes = packet.len() + 3 + 2 + topic + 2 + 1;
    let readings = batch.readings();
    assert_eq!(readings, 96);
    assert!(
        bytes * 10 <= readings * 24,
        "{bytes} bytes for {readings} readings exceed 2.4 each"
    );
}

#[test]
fn samples_off_the_grid_and_bad_ones_survive() {
    let bad = |quality| Sample {
        quality,
        mantissa: None,
    };
    let mut batch = reference_minute();
    let axis = &mut batch.axes[0];
    axis.times[3] += 250;
    axis.times[4] -= 1;
    axis.columns.remove(5);
    axis.columns[2].samples = vec![bad(Quality::Failed); 6];
    axis.columns[3].samples[0] = bad(Quality::Stale);
    axis.columns[14].samples[5] = Sample {
        quality: Quality::Spike,
        mantissa: Some(i64::MIN),
    };
    assert_eq!(decode_batch(&encode_batch(&batch).unwrap()), Ok(batch));
}

#[test]
fn an_interval_without_readings_is_a_batch_too() {
    let mut batch = reference_minute();
    batch.axes.clear();
    batch.wall_offset_ms = None;
    batch.clock = ClockState::Unknown;
    assert_eq!(decode_batch(&encode_batch(&batch).unwrap()), Ok(batch));
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Batch), message: &str) {
    let mut batch = reference_minute();
    change(&mut batch);
    assert_eq!(encode_batch(&batch).unwrap_err().to_string(), message);
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    check_refused(
        |batch| batch.to_mono_ms = batch.from_mono_ms,
        "batch interval 3600000 to 3600000 ms is empty or longer than a day",
    );
    let outside = "batch time 3660000 ms lies outside its interval or does not ascend";
    check_refused(|batch| batch.axes[0].times[5] = 3_660_000, outside);
    let backwards = "batch time 3600000 ms lies outside its interval or does not ascend";
    check_refused(|batch| batch.axes[0].times[1] = 3_600_000, backwards);
    check_refused(
        |batch| batch.axes[0].columns[4].samples.truncate(5),
        "batch column of channel 4 does not fit its axis",
    );
    check_refused(
        |batch| batch.axes[0].columns[4].channel = 3,
        "batch column of channel 3 does not fit its axis",
    );
    check_refused(
        |batch| batch.axes[0].columns[4].samples[0].mantissa = None,
        "batch sample of channel 4 has a value and a quality that do not go together",
    );
    check_refused(
        |batch| batch.axes[0].columns[4].samples[0].quality = Quality::Failed,
        "batch sample of channel 4 has a value and a quality that do not go together",
    );
}

#[test]
fn a_small_body_can_not_claim_many_readings() {
    let raw = proto::Batch {
        from_mono_ms: 0,
        span_ms: 80_000_000,
        axes: vec![proto::Axis {
            count: 60_000,
            step_ms: 1,
            channels: vec![0, 1000],
            qualities: vec![0, 60_000_000, 1],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(
        decode_batch(&raw.encode_to_vec()),
        Err(BatchError::TooMany(60_000_000))
    );
}

fn sample() -> impl Strategy<Value = Sample> {
    (0..Quality::ALL.len(), any::<i64>(), any::<bool>()).prop_map(|(code, mantissa, mostly)| {
        let quality = if mostly {
            Quality::Good
        } else {
            Quality::ALL[code]
        };
        Sample {
            quality,
            mantissa: quality.has_value().then_some(mantissa),
        }
    })
}

fn axis() -> impl Strategy<Value = Axis> {
    let size = (0usize..6, 0usize..5);
    size.prop_flat_map(|(count, channels)| {
        let gaps = vec(1u64..20_000, count);
        let columns = vec((0u16..9, vec(sample(), count)), channels);
        (0u32..15_000, gaps, columns).prop_map(|(step_ms, gaps, columns)| {
            let mut time = 999;
            let times = gaps
                .into_iter()
                .map(|gap| {
                    time += gap;
                    time
                })
                .collect();
            let mut next = 0;
            let columns = columns
                .into_iter()
                .map(|(gap, samples)| {
                    let channel = next + gap;
                    next = channel + 1;
                    Column { channel, samples }
                })
                .collect();
            Axis {
                step_ms,
                times,
                columns,
            }
        })
    })
}

prop_compose! {
    fn batch()(
        boot: u64,
        catalog: u64,
        wall_offset_ms: Option<i64>,
        axes in vec(axis(), 0..3),
    ) -> Batch {
        Batch {
            boot: BootId(boot),
            from_mono_ms: 1000,
            to_mono_ms: 1000 + 200_000,
            clock: ClockState::Synchronised,
            wall_offset_ms,
            catalog: CatalogHash(catalog),
            axes,
        }
    }
}

proptest! {
    #[test]
    fn round_trip(batch in batch()) {
        prop_assert_eq!(decode_batch(&encode_batch(&batch).unwrap()), Ok(batch));
    }

    #[test]
    fn damaged_bodies_never_panic_and_never_exceed_limits(
        batch in batch(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = encode_batch(&batch).unwrap().to_vec();
        for (at, byte) in flips {
            let at = at.index(body.len());
            body[at] = byte;
        }
        for bytes in [&body[..], &body[..cut.index(body.len())]] {
            if let Ok(decoded) = decode_batch(bytes) {
                prop_assert!(decoded.readings() <= MAX_READINGS);
                prop_assert!(encode_batch(&decoded).is_ok());
            }
        }
    }
}
