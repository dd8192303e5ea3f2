use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::Ina219;

use crate::{on_bus, text};

const AT: u8 = 0x40;

fn read(register: u8, word: u16) -> Transaction {
    Transaction::write_read(AT, vec![register], word.to_be_bytes().to_vec())
}

/// 32 V, ±320 mV, mean of 128 for both, continuous.
const SETTINGS: u16 = 0x3FFF;

#[track_caller]
fn check(shunt_ohms: f64, bus: u16, shunt: u16, expected: &str) {
    let transactions = [
        Transaction::write(AT, vec![0x00, 0x3F, 0xFF]),
        read(0x00, SETTINGS),
        read(0x02, bus),
        read(0x01, shunt),
    ];
    on_bus(&transactions, |bus, _| {
        let mut meter = Ina219::new(bus, AT, shunt_ohms).unwrap();
        meter.set_up().unwrap();
        let found = match meter.read() {
            Ok(power) => format!("{} {} {}", power.voltage, power.current, power.power),
            Err(error) => text(&error),
        };
        assert_eq!(found, expected);
        meter.release();
    });
}

/// A bus voltage of so many steps of 4 mV, conversion ready.
fn volts(steps: u16) -> u16 {
    steps << 3 | 0b10
}

#[test]
fn measures() {
    // 12.000 V, 100 mV over 0.1 Ω.
    check(0.1, volts(3_000), 10_000, "12.000 1.0000 12.000");
    check(0.1, volts(3_000), 1, "12.000 0.0001 0.001");
    // Flows back: the battery is charged.
    check(0.1, volts(3_000), 0xFFFF, "12.000 -0.0001 -0.001");
    check(0.1, volts(3_000), 0xD8F0, "12.000 -1.0000 -12.000");
    check(0.002, volts(6_500), 31_999, "26.000 159.9950 4159.870");
    check(0.1, volts(0), 0, "0.000 0.0000 0.000");
}

#[test]
fn what_the_chip_cannot_measure_is_no_value() {
    check(
        0.1,
        volts(6_501),
        0,
        "ina219 at 0x40: bus voltage: value 26.00 is outside 0.00 to 26.00 V",
    );
    // A line that nobody drives.
    let transactions = [read(0x00, SETTINGS), read(0x02, 0xFFFF)];
    on_bus(&transactions, |bus, _| {
        let error = Ina219::new(bus, AT, 0.1).unwrap().read().unwrap_err();
        assert_eq!(
            text(&error),
            "ina219 at 0x40: bus voltage: value 32.76 is outside 0.00 to 26.00 V"
        );
    });
    check(
        0.1,
        volts(3_000),
        32_000,
        "ina219 at 0x40: shunt voltage: value 3.20 is outside -3.20 to 3.20 A",
    );
    check(
        0.1,
        volts(3_000),
        0x8000,
        "ina219 at 0x40: shunt voltage: value -3.28 is outside -3.20 to 3.20 A",
    );
}

#[test]
fn a_chip_that_lost_its_settings_gets_them_again_and_says_so() {
    let transactions = [
        read(0x00, 0x399F),
        Transaction::write(AT, vec![0x00, 0x3F, 0xFF]),
        read(0x00, SETTINGS),
        read(0x02, 3_000 << 3),
    ];
    on_bus(&transactions, |bus, _| {
        let mut meter = Ina219::new(bus, AT, 0.1).unwrap();
        let error = meter.read().unwrap_err();
        assert_eq!(
            text(&error),
            "ina219 at 0x40: settings: the chip was reset during the measurement \
             (register reads 0x399f, not 0x3fff)"
        );
        let error = meter.read().unwrap_err();
        assert_eq!(
            text(&error),
            "ina219 at 0x40: bus voltage: no measurement yet"
        );
    });
}

#[test]
fn nonsense_is_refused() {
    on_bus(&[], |bus, _| {
        assert!(Ina219::new(bus.clone(), 0x50, 0.1).is_err());
        for ohms in [0.0, -0.1, 11.0, f64::NAN] {
            assert!(Ina219::new(bus.clone(), AT, ohms).is_err(), "{ohms}");
        }
    });
}
