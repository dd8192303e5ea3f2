use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::{Sht3x, Step};

use crate::{on_bus, text, until_read};

const AT: u8 = 0x44;

#[track_caller]
fn check(answer: [u8; 6], expected: &str) {
    let transactions = [
        Transaction::write(AT, vec![0x24, 0x00]),
        Transaction::read(AT, answer.to_vec()),
    ];
    on_bus(&transactions, |bus, _| {
        let mut sensor = Sht3x::new(bus, AT).unwrap();
        let found = match until_read(1_000, |now_ms| sensor.step(now_ms)) {
            Ok((air, at_ms)) => format!("{} {} at {at_ms}", air.temperature, air.humidity),
            Err(error) => text(&error),
        };
        assert_eq!(found, expected);
        sensor.release();
    });
}

#[test]
fn measures() {
    check([0x66, 0x66, 0x93, 0x99, 0x99, 0xBE], "25.00 60.00 at 1016");
    check([0x71, 0x5F, 0x1E, 0xF3, 0x32, 0x13], "32.50 95.00 at 1016");
    check([0x66, 0x66, 0x93, 0xFF, 0xFF, 0xAC], "25.00 100.00 at 1016");
}

#[test]
fn a_dead_bus_or_a_flipped_bit_is_no_temperature() {
    let high = "sht3x at 0x44: temperature: value 130.00 is outside -40.00 to 125.00 Cel";
    check([0xFF, 0xFF, 0xAC, 0xFF, 0xFF, 0xAC], high);
    let low = "sht3x at 0x44: temperature: value -45.00 is outside -40.00 to 125.00 Cel";
    check([0x00, 0x00, 0x81, 0x00, 0x00, 0x81], low);
    let mismatch = "sht3x at 0x44: measurement: checksum mismatch";
    check([0xFF; 6], mismatch);
    check([0x66, 0x67, 0x93, 0x99, 0x99, 0xBE], mismatch);
    check([0x66, 0x66, 0x93, 0x99, 0x99, 0xBF], mismatch);
}

#[test]
fn a_failed_fetch_begins_anew_and_an_early_step_sends_nothing() {
    let busy = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let transactions = [
        Transaction::write(AT, vec![0x24, 0x00]),
        Transaction::read(AT, vec![0; 6]).with_error(busy),
        Transaction::write(AT, vec![0x24, 0x00]),
        Transaction::read(AT, vec![0x66, 0x66, 0x93, 0x99, 0x99, 0xBE]),
    ];
    on_bus(&transactions, |bus, _| {
        let mut sensor = Sht3x::new(bus, AT).unwrap();
        let wait = |until_ms| Ok(Step::Wait { until_ms });
        assert_eq!(sensor.step(0), wait(16));
        assert_eq!(sensor.step(15), wait(16));
        let error = sensor.step(16).unwrap_err();
        let expected = "sht3x at 0x44: measurement: bus failure: no acknowledge of the address";
        assert_eq!(text(&error), expected);
        assert!(error.is_transient());
        assert_eq!(sensor.step(20), wait(36));
        assert!(matches!(sensor.step(36), Ok(Step::Reading(_))));
    });
}

#[test]
fn a_foreign_address_is_refused() {
    on_bus(&[], |bus, _| {
        let error = Sht3x::new(bus, 0x46).err().unwrap();
        assert_eq!(
            text(&error),
            "sht3x at 0x46: address: the address must be 0x44 or 0x45"
        );
    });
}
