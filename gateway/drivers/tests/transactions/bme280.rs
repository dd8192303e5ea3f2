use bme280_rs::Bme280 as Other;
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use furrow_drivers::bme280::Calibration;
use furrow_drivers::{Bme280, Step};
use proptest::prelude::*;

use crate::{on_bus, text, until_read};

const AT: u8 = 0x76;
/// Constants of a real chip.
const LOW: [u8; 26] = [
    0xB1, 0x6F, 0x2E, 0x6A, 0x32, 0x00, 0xE2, 0x8F, 0x0A, 0xD7, 0xD0, 0x0B, 0x75, 0x1F, 0xC5, 0xFF,
    0xF9, 0xFF, 0xAC, 0x26, 0x0A, 0xD8, 0xBD, 0x10, 0x00, 0x4B,
];
const HIGH: [u8; 7] = [0x77, 0x01, 0x00, 0x12, 0x20, 0x03, 0x1E];

fn identify(id: u8) -> Vec<Transaction> {
    vec![
        Transaction::write_read(AT, vec![0xD0], vec![id]),
        Transaction::write_read(AT, vec![0x88], LOW.to_vec()),
        Transaction::write_read(AT, vec![0xE1], HIGH.to_vec()),
    ]
}

fn start() -> [Transaction; 2] {
    [
        Transaction::write(AT, vec![0xF2, 0x01]),
        Transaction::write(AT, vec![0xF4, 0x25]),
    ]
}

/// Status, control, configuration, reserved, then the counts: pressure, temperature, humidity.
fn burst(status: u8, control: u8, counts: [u8; 8]) -> Transaction {
    let head = [status, control, 0x00, 0x00];
    let bytes = head.into_iter().chain(counts).collect();
    Transaction::write_read(AT, vec![0xF3], bytes)
}

/// Counts of 0x4F570, 0x84510 and 0x5EB4.
const COUNTS: [u8; 8] = [0x4F, 0x57, 0x00, 0x84, 0x51, 0x00, 0x5E, 0xB4];

#[track_caller]
fn check(transactions: &[Transaction], expected: &str) {
    on_bus(transactions, |bus, _| {
        let mut sensor = Bme280::new(bus, AT).unwrap();
        let found = match until_read(0, |now_ms| sensor.step(now_ms)) {
            Ok((air, at_ms)) => {
                let (t, h, p) = (air.temperature, air.humidity, air.pressure);
                format!("{t} {h} {p} at {at_ms}")
            }
            Err(error) => text(&error),
        };
        assert_eq!(found, expected);
        sensor.release();
    });
}

fn measured(last: Transaction) -> Vec<Transaction> {
    let mut all = identify(0x60);
    all.extend(start());
    all.push(last);
    all
}

#[test]
fn identifies_measures_and_compensates() {
    check(
        &measured(burst(0x00, 0x24, COUNTS)),
        "27.38 32.90 1012.22 at 11",
    );
}

#[test]
fn waits_for_a_slow_measurement_but_not_for_ever() {
    let mut slow = measured(burst(0x08, 0x25, COUNTS));
    slow.push(burst(0x00, 0x24, COUNTS));
    check(&slow, "27.38 32.90 1012.22 at 13");
    on_bus(&measured(burst(0x08, 0x25, COUNTS)), |bus, _| {
        let mut sensor = Bme280::new(bus, AT).unwrap();
        assert!(matches!(sensor.step(0), Ok(Step::Wait { .. })));
        let error = sensor.step(50).unwrap_err();
        assert_eq!(
            text(&error),
            "bme280 at 0x76: measurement: the conversion did not finish in 50 ms"
        );
    });
}

#[test]
fn other_chips_and_resets_are_named() {
    let only_id = |id| vec![Transaction::write_read(AT, vec![0xD0], vec![id])];
    check(
        &only_id(0x58),
        "bme280 at 0x76: identity: unexpected identity 0x58 (BMP280)",
    );
    check(
        &only_id(0xFF),
        "bme280 at 0x76: identity: unexpected identity 0xff",
    );
    check(
        &measured(burst(0x00, 0x00, [0x80, 0, 0, 0x80, 0, 0, 0x80, 0])),
        "bme280 at 0x76: control: the chip was reset during the measurement \
         (register reads 0x0000, not 0x0024)",
    );
    let empty = [
        Transaction::write_read(AT, vec![0xD0], vec![0x60]),
        Transaction::write_read(AT, vec![0x88], vec![0x00; 26]),
        Transaction::write_read(AT, vec![0xE1], vec![0x00; 7]),
    ];
    check(
        &empty,
        "bme280 at 0x76: calibration: the calibration is empty",
    );
}

#[test]
fn impossible_counts_are_no_values() {
    check(
        &measured(burst(
            0x00,
            0x24,
            [0x4F, 0x57, 0, 0xFF, 0xFF, 0xF0, 0x5E, 0xB4],
        )),
        "bme280 at 0x76: temperature: value 191.73 is outside -40.00 to 85.00 Cel",
    );
}

/// What the crate makes of the same bytes.
fn other(counts: [u8; 8]) -> (f64, f64, f64) {
    let low: Vec<u8> = LOW.to_vec();
    let all = [
        Transaction::write(AT, vec![0xE0, 0xB6]),
        Transaction::write_read(AT, vec![0xF3], vec![0x00]),
        Transaction::write_read(AT, vec![0x88], low),
        Transaction::write_read(AT, vec![0xE1], HIGH.to_vec()),
        Transaction::write(AT, vec![0xF4, 0x00]),
        Transaction::write(AT, vec![0xF2, 0x00]),
        Transaction::write(AT, vec![0xF5, 0x00]),
        Transaction::write(AT, vec![0xF4, 0x00]),
        Transaction::write_read(AT, vec![0xF7], counts.to_vec()),
    ];
    let mut bus = Mock::new(&all);
    let mut sensor = Other::new_with_address(bus.clone(), AT, NoopDelay::new());
    sensor.init().unwrap();
    let sample = sensor.read_sample().unwrap();
    bus.done();
    (
        f64::from(sample.temperature.unwrap()),
        f64::from(sample.pressure.unwrap()),
        f64::from(sample.humidity.unwrap()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bosch's formula in integers, as another driver has it, where that one does not overflow.
    #[test]
    fn agrees_with_the_integer_formula(
        t in 0x70000_u32..0x98000, p in 0x40000_u32..0x90000, h in 0x4800_u16..0x9000,
    ) {
        // What the chip gives for a quantity that it did not measure: no number for the other driver.
        prop_assume!(t != 0x80000 && p != 0x80000 && h != 0x8000);
        let ours = Calibration::of(&LOW, &HIGH).unwrap().compensate(t, p, h);
        let split = |raw: u32| {
            let [_, a, b, c] = (raw << 4).to_be_bytes();
            [a, b, c]
        };
        let ([p0, p1, p2], [t0, t1, t2], [h0, h1]) = (split(p), split(t), h.to_be_bytes());
        let (celsius, pascal, percent) = other([p0, p1, p2, t0, t1, t2, h0, h1]);
        prop_assert!((ours.celsius - celsius).abs() < 0.02, "{ours:?} {celsius}");
        prop_assert!((ours.pascal - pascal).abs() < 6.0, "{ours:?} {pascal}");
        let cut = ours.percent.clamp(0.0, 100.0);
        prop_assert!((cut - percent).abs() < 0.1, "{ours:?} {percent}");
    }
}
