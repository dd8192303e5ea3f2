use super::*;
use Quality::{Failed, Good, OutOfRange, Spike, Stale, Stuck, Suspect};

/// Feeds values (in hundredths) one interval apart; gives the qualities.
fn qualities(channel: &str, interval_ms: u64, values: &[i64]) -> Vec<Quality> {
    let mut checks = Checks::new(limits_of(channel), -2);
    let ticks = (0..).map(|tick| FieldMs(tick * interval_ms));
    let judge = |(value, at)| checks.handle_reading(Reading::Value(value), at).quality;
    values.iter().copied().zip(ticks).map(judge).collect()
}

#[track_caller]
fn check(channel: &str, values: &[i64], expected: &[Quality]) {
    assert_eq!(
        qualities(channel, 10_000, values),
        expected,
        "{channel} {values:?}"
    );
}

#[test]
fn range_per_kind() {
    // A long interval between values, so that jumps do not count.
    let table = [
        (
            "air_temperature",
            [-1001, -1000, 6000, 6001],
            [OutOfRange, Good, Good, OutOfRange],
        ),
        (
            "relative_humidity",
            [499, 500, 10_000, 10_001],
            [OutOfRange, Good, Good, OutOfRange],
        ),
        (
            "co2",
            [29_999, 30_000, 500_000, 500_001],
            [OutOfRange, Good, Good, OutOfRange],
        ),
        (
            "soil_moisture_index",
            [-1, 0, 10_000, 10_001],
            [OutOfRange, Good, Good, OutOfRange],
        ),
        (
            "global_radiation",
            [-1001, -1000, 160_000, 160_001],
            [OutOfRange, Good, Good, OutOfRange],
        ),
        (
            "outside_air_temperature",
            [-1001, 0, 0, 6001],
            [OutOfRange, Good, Good, OutOfRange],
        ),
        (
            "anything_else",
            [i64::MIN, -1, 0, i64::MAX],
            [Good, Good, Good, Good],
        ),
    ];
    for (channel, values, expected) in table {
        assert_eq!(qualities(channel, HOUR_MS, &values), expected, "{channel}");
    }
}

#[test]
fn a_spike_is_one_sample_and_so_is_a_real_step() {
    check(
        "air_temperature",
        &[2500, 3101, 2505, 2510],
        &[Good, Spike, Good, Good],
    );
    check(
        "air_temperature",
        &[2500, 3101, 3105, 3110],
        &[Good, Spike, Good, Good],
    );
    check("air_temperature", &[2500, 3100, 2500], &[Good, Good, Good]);
    check(
        "relative_humidity",
        &[6000, 9001, 6000],
        &[Good, Spike, Good],
    );
    check("co2", &[45_000, 105_001, 45_000], &[Good, Spike, Good]);
    check("global_radiation", &[0, 100_000, 0], &[Good, Good, Good]);
}

#[test]
fn across_a_gap_a_jump_is_no_spike() {
    assert_eq!(
        qualities("air_temperature", SPIKE_MEMORY_MS, &[2000, 4000]),
        [Good, Spike]
    );
    assert_eq!(
        qualities("air_temperature", SPIKE_MEMORY_MS + 1, &[2000, 4000]),
        [Good, Good]
    );
}

#[test]
fn flat_for_too_long_is_stuck_until_it_moves() {
    let flat = |channel: &str, value: i64, hours: usize| {
        let values = vec![value; hours + 2];
        let qualities = qualities(channel, HOUR_MS, &values);
        qualities.iter().position(|quality| *quality == Stuck)
    };
    assert_eq!(flat("air_temperature", 2500, 30), Some(2));
    assert_eq!(flat("relative_humidity", 9699, 30), Some(3));
    assert_eq!(flat("relative_humidity", 9700, 30), None);
    assert_eq!(flat("co2", 45_000, 30), Some(1));
    assert_eq!(flat("soil_moisture_index", 3000, 30), Some(24));
    assert_eq!(flat("global_radiation", 0, 30), None);
    // One step of the resolution is noise of a stuck converter, two are life.
    let hour = HOUR_MS;
    assert_eq!(
        qualities(
            "air_temperature",
            hour,
            &[2500, 2501, 2500, 2501, 2503, 2504]
        ),
        [Good, Good, Stuck, Stuck, Good, Good]
    );
}

#[test]
fn what_is_no_number_stays_none() {
    let mut checks = Checks::new(limits_of("co2"), 0);
    let mut judge = |reading| checks.handle_reading(reading, FieldMs(0));
    assert_eq!(
        judge(Reading::Failed),
        Sample {
            quality: Failed,
            mantissa: None
        }
    );
    assert_eq!(
        judge(Reading::NothingNew),
        Sample {
            quality: Stale,
            mantissa: None
        }
    );
    assert_eq!(
        judge(Reading::Suspect(500)),
        Sample {
            quality: Suspect,
            mantissa: Some(500)
        }
    );
    assert_eq!(
        judge(Reading::OutOfRange(400)),
        Sample {
            quality: OutOfRange,
            mantissa: Some(400)
        }
    );
    assert_eq!(
        judge(Reading::Suspect(9999)),
        Sample {
            quality: OutOfRange,
            mantissa: Some(9999)
        }
    );
}

#[test]
fn failures_between_do_not_reset_what_is_remembered() {
    let mut checks = Checks::new(limits_of("air_temperature"), -2);
    let mut judge = |at, reading| checks.handle_reading(reading, FieldMs(at)).quality;
    assert_eq!(judge(0, Reading::Value(2500)), Good);
    assert_eq!(judge(10_000, Reading::Failed), Failed);
    assert_eq!(judge(20_000, Reading::Value(4000)), Spike);
    assert_eq!(judge(30_000, Reading::Failed), Failed);
    assert_eq!(judge(2 * HOUR_MS + 20_000, Reading::Value(4000)), Stuck);
}
