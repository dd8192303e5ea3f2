use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::Sht4x;

use crate::{on_bus, text};

const AT: u8 = 0x45;

#[track_caller]
fn check(answer: [u8; 6], expected: &str) {
    let transactions = [
        Transaction::write(AT, vec![0xFD]),
        Transaction::read(AT, answer.to_vec()),
    ];
    on_bus(&transactions, |bus, delay| {
        let mut sensor = Sht4x::new(bus, delay, AT).unwrap();
        let found = match sensor.read() {
            Ok(air) => format!("{} {} {}", air.temperature, air.humidity, air.humidity_raw),
            Err(error) => text(&error),
        };
        assert_eq!(found, expected);
        sensor.release();
    });
}

#[test]
fn measures() {
    check([0x66, 0x66, 0x93, 0x87, 0x2A, 0x51], "25.00 60.00 60.00");
    check([0x71, 0x5F, 0x1E, 0xCE, 0xD8, 0xFB], "32.50 95.00 95.00");
}

#[test]
fn wet_and_dry_are_cut_but_the_raw_value_is_kept() {
    check([0x66, 0x66, 0x93, 0xFF, 0xFF, 0xAC], "25.00 100.00 119.00");
    check([0x66, 0x66, 0x93, 0x00, 0x00, 0x81], "25.00 0.00 -6.00");
}

#[test]
fn a_dead_bus_is_no_temperature() {
    let high = "sht4x at 0x45: temperature: value 130.00 is outside -40.00 to 125.00 Cel";
    check([0xFF, 0xFF, 0xAC, 0xFF, 0xFF, 0xAC], high);
    let low = "sht4x at 0x45: temperature: value -45.00 is outside -40.00 to 125.00 Cel";
    check([0x00, 0x00, 0x81, 0x00, 0x00, 0x81], low);
    check([0xFF; 6], "sht4x at 0x45: measurement: checksum mismatch");
    check([0x00; 6], "sht4x at 0x45: measurement: checksum mismatch");
}

#[test]
fn one_flipped_bit_is_seen() {
    check(
        [0x66, 0x67, 0x93, 0x87, 0x2A, 0x51],
        "sht4x at 0x45: measurement: checksum mismatch",
    );
    check(
        [0x66, 0x66, 0x93, 0x87, 0x2A, 0x50],
        "sht4x at 0x45: measurement: checksum mismatch",
    );
}

#[test]
fn an_unplugged_sensor_is_named() {
    let gone = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let transactions = [Transaction::write(AT, vec![0xFD]).with_error(gone)];
    on_bus(&transactions, |bus, delay| {
        let error = Sht4x::new(bus, delay, AT).unwrap().read().unwrap_err();
        let expected = "sht4x at 0x45: measurement: bus failure: no acknowledge of the address";
        assert_eq!(text(&error), expected);
        assert!(error.is_transient());
    });
}

#[test]
fn a_foreign_address_is_refused() {
    on_bus(&[], |bus, delay| {
        let error = Sht4x::new(bus, delay, 0x47).err().unwrap();
        assert_eq!(
            text(&error),
            "sht4x at 0x47: address: the address must be 0x44, 0x45 or 0x46"
        );
    });
}
