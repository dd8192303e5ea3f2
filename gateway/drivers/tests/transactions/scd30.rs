use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::scd30::Scd30Settings;
use furrow_drivers::{Scd30, Step};

use crate::{on_bus, text};

const AT: u8 = 0x61;
const SETTINGS: Scd30Settings = Scd30Settings {
    self_calibration: false,
    altitude_m: Some(900),
};

fn ask(command: [u8; 2], answer: &[u8]) -> [Transaction; 2] {
    [
        Transaction::write(AT, command.to_vec()),
        Transaction::read(AT, answer.to_vec()),
    ]
}

/// Settings that hold already are not written again: they wear the sensor's memory.
fn start() -> Vec<Transaction> {
    let mut all = Vec::new();
    all.extend(ask([0x46, 0x00], &[0x00, 0x02, 0xE3]));
    all.extend(ask([0x53, 0x06], &[0x00, 0x00, 0x81]));
    all.extend(ask([0x51, 0x02], &[0x03, 0x84, 0x12]));
    all.push(Transaction::write(AT, vec![0x00, 0x10, 0x00, 0x00, 0x81]));
    all
}

const READY: [u8; 3] = [0x00, 0x01, 0xB0];
const NOT_READY: [u8; 3] = [0x00, 0x00, 0x81];
/// 439.10 ppm, 27.24 °C, 48.81 %.
const MEASURED: [u8; 18] = [
    0x43, 0xDB, 0xCB, 0x8C, 0x2E, 0x8F, 0x41, 0xD9, 0x70, 0xE7, 0xFF, 0xF5, 0x42, 0x43, 0xBF, 0x3A,
    0x1B, 0x74,
];

#[track_caller]
fn check(after_start: &[Transaction], steps: &[(u64, &str)]) {
    let mut all = start();
    all.extend(after_start.iter().cloned());
    on_bus(&all, |bus, delay| {
        let mut sensor = Scd30::new(bus, delay, SETTINGS);
        assert_eq!(sensor.step(0), Ok(Step::Wait { until_ms: 2_001 }));
        for (now_ms, expected) in steps {
            let found = match sensor.step(*now_ms) {
                Ok(Step::Reading(air)) => {
                    format!("{} {} {}", air.co2, air.temperature, air.humidity)
                }
                Ok(Step::Wait { until_ms }) => format!("wait until {until_ms}"),
                Err(error) => text(&error),
            };
            assert_eq!(found, *expected, "at {now_ms} ms");
        }
        sensor.release();
    });
}

#[test]
fn measures_and_keeps_the_newest() {
    let mut all = Vec::new();
    all.extend(ask([0x02, 0x02], &READY));
    all.extend(ask([0x03, 0x00], &MEASURED));
    all.extend(ask([0x02, 0x02], &NOT_READY));
    all.extend(ask([0x02, 0x02], &NOT_READY));
    check(
        &all,
        &[
            (2_001, "439 27.24 48.81"),
            (3_000, "439 27.24 48.81"),
            (7_001, "wait until 7001"),
        ],
    );
}

#[test]
fn a_flipped_bit_is_no_measurement() {
    let mut flipped = MEASURED;
    flipped[1] ^= 1;
    let mut all = Vec::new();
    all.extend(ask([0x02, 0x02], &READY));
    all.extend(ask([0x03, 0x00], &flipped));
    all.extend(ask([0x02, 0x02], &[0x00, 0x01, 0xB1]));
    check(
        &all,
        &[
            (2_001, "scd30 at 0x61: measurement: checksum mismatch"),
            (2_100, "scd30 at 0x61: data ready: checksum mismatch"),
        ],
    );
}

#[test]
fn a_silent_sensor_is_set_up_again_and_wrong_settings_are_written() {
    let mut all = Vec::new();
    all.extend(ask([0x02, 0x02], &NOT_READY));
    all.extend(ask([0x46, 0x00], &[0x00, 0x3C, 0x39]));
    all.push(Transaction::write(AT, vec![0x46, 0x00, 0x00, 0x02, 0xE3]));
    all.extend(ask([0x53, 0x06], &[0x00, 0x01, 0xB0]));
    all.push(Transaction::write(AT, vec![0x53, 0x06, 0x00, 0x00, 0x81]));
    all.extend(ask([0x51, 0x02], &[0x00, 0x00, 0x81]));
    all.push(Transaction::write(AT, vec![0x51, 0x02, 0x03, 0x84, 0x12]));
    all.push(Transaction::write(AT, vec![0x00, 0x10, 0x00, 0x00, 0x81]));
    check(&all, &[(10_000, "wait until 12001")]);
}
