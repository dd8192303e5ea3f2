use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::Transaction as T;
use furrow_drivers::Scd4x;
use furrow_drivers::scd4x::{Scd4xSettings, Step};

use crate::{on_bus, text};

const AT: u8 = 0x62;
const SEALED: Scd4xSettings = Scd4xSettings {
    self_calibration: false,
    altitude_m: Some(900),
};
const VENTED: Scd4xSettings = Scd4xSettings {
    self_calibration: true,
    altitude_m: None,
};

/// Takes a step at each of these times and expects these outcomes.
#[track_caller]
fn check(settings: Scd4xSettings, transactions: &[T], expected: &[(u64, &str)]) {
    on_bus(transactions, |bus, delay| {
        let mut sensor = Scd4x::new(bus, delay, settings);
        for (now_ms, expected) in expected {
            let found = match sensor.step(*now_ms) {
                Ok(Step::Wait { until_ms }) => format!("wait {until_ms}"),
                Ok(Step::Reading(air)) => {
                    format!("{} {} {}", air.co2, air.temperature, air.humidity)
                }
                Err(error) => text(&error),
            };
            assert_eq!(found, *expected, "at {now_ms}");
        }
        sensor.release();
    });
}

fn stop() -> T {
    T::write(AT, vec![0x3F, 0x86])
}

fn start() -> T {
    T::write(AT, vec![0x21, 0xB1])
}

/// ASC on is the datasheet's example (v1.1, p. 12).
fn self_calibration_on() -> T {
    T::write(AT, vec![0x24, 0x16, 0x00, 0x01, 0xB0])
}

fn ready(answer: [u8; 3]) -> [T; 2] {
    [T::write(AT, vec![0xE4, 0xB8]), T::read(AT, answer.to_vec())]
}

const YES: [u8; 3] = [0x80, 0x06, 0x04];
const NO: [u8; 3] = [0x80, 0x00, 0xA2];
/// 500 ppm, 25 °C, 37 %.
const READING: [u8; 9] = [0x01, 0xF4, 0x33, 0x66, 0x67, 0xA2, 0x5E, 0xB9, 0x3C];

fn measurement(answer: [u8; 9]) -> [T; 2] {
    [T::write(AT, vec![0xEC, 0x05]), T::read(AT, answer.to_vec())]
}

fn join(parts: &[&[T]]) -> Vec<T> {
    parts.concat()
}

#[test]
fn is_stopped_set_up_and_started_before_it_is_read() {
    let transactions = join(&[
        &[stop(), self_calibration_on(), start()],
        &ready(NO),
        &ready(YES),
        &measurement(READING),
    ]);
    check(
        VENTED,
        &transactions,
        &[
            (1_000, "wait 1500"),
            // Asked too early: nothing is sent.
            (1_499, "wait 1500"),
            (1_500, "wait 6500"),
            (6_400, "wait 6500"),
            (6_600, "500 25.00 37.00"),
        ],
    );
}

#[test]
fn settings_for_a_sealed_house_up_the_mountain() {
    let transactions = [
        stop(),
        T::write(AT, vec![0x24, 0x16, 0x00, 0x00, 0x81]),
        T::write(AT, vec![0x24, 0x27, 0x03, 0x84, 0x12]),
        start(),
    ];
    check(
        SEALED,
        &transactions,
        &[(0, "wait 500"), (500, "wait 5500")],
    );
}

#[test]
fn a_reading_is_repeated_for_two_periods_at_most() {
    let transactions = join(&[
        &[stop(), self_calibration_on(), start()],
        &ready(YES),
        &measurement(READING),
        &ready(NO),
        &ready(NO),
    ]);
    check(
        VENTED,
        &transactions,
        &[
            (0, "wait 500"),
            (500, "wait 5500"),
            (10_000, "500 25.00 37.00"),
            (19_999, "500 25.00 37.00"),
            (20_000, "wait 20000"),
        ],
    );
}

#[test]
fn a_silent_sensor_is_set_up_anew() {
    // A brown-out: it idles and never has data.
    let transactions = join(&[
        &[stop(), self_calibration_on(), start()],
        &ready(NO),
        &[stop()],
    ]);
    check(
        VENTED,
        &transactions,
        &[(0, "wait 500"), (500, "wait 5500"), (15_500, "wait 16000")],
    );
}

#[test]
fn a_failed_setup_begins_again_with_a_stop() {
    let refused = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data);
    let transactions = [
        stop(),
        self_calibration_on().with_error(refused),
        stop(),
        self_calibration_on(),
        start(),
    ];
    check(
        VENTED,
        &transactions,
        &[
            (0, "wait 500"),
            (
                500,
                "scd4x at 0x62: self-calibration: bus failure: no acknowledge of the data",
            ),
            (600, "wait 1100"),
            (1_100, "wait 6100"),
        ],
    );
}

#[test]
fn bad_bytes_are_no_reading() {
    let mut flipped = READING;
    flipped[4] ^= 0x10;
    let mut nothing = READING;
    nothing[..3].copy_from_slice(&[0x00, 0x00, 0x81]);
    let transactions = join(&[
        &[stop(), self_calibration_on(), start()],
        &ready(YES),
        &measurement(flipped),
        &ready(YES),
        &measurement(nothing),
        &ready([0x80, 0x06, 0xFF]),
        &ready(YES),
        &[
            T::write(AT, vec![0xEC, 0x05]),
            T::read(AT, vec![0; 9])
                .with_error(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)),
        ],
    ]);
    check(
        VENTED,
        &transactions,
        &[
            (0, "wait 500"),
            (500, "wait 5500"),
            (6_000, "scd4x at 0x62: measurement: checksum mismatch"),
            (
                7_000,
                "scd4x at 0x62: co2: value 0.00 is outside 1.00 to 40000.00 [ppm]",
            ),
            (8_000, "scd4x at 0x62: data ready: checksum mismatch"),
            (
                9_000,
                "scd4x at 0x62: measurement: bus failure: no acknowledge of the address",
            ),
        ],
    );
}
