use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::Bh1750;

use crate::{on_bus, text, until_read};

const AT: u8 = 0x23;

#[track_caller]
fn check(time: u8, set: [u8; 2], answer: [u8; 2], expected: &str) {
    let transactions = [
        Transaction::write(AT, vec![0x01]),
        Transaction::write(AT, vec![set[0]]),
        Transaction::write(AT, vec![set[1]]),
        Transaction::write(AT, vec![0x20]),
        Transaction::read(AT, answer.to_vec()),
    ];
    on_bus(&transactions, |bus, _| {
        let mut sensor = Bh1750::new(bus, AT, time).unwrap();
        let found = match until_read(0, |now_ms| sensor.step(now_ms)) {
            Ok((lux, at_ms)) => format!("{lux} at {at_ms}"),
            Err(error) => text(&error),
        };
        assert_eq!(found, expected);
        sensor.release();
    });
}

#[test]
fn measures_with_the_time_that_was_chosen() {
    // The datasheet's example, at its own time of 69: 0b010_00101.
    check(69, [0x42, 0x65], [0x83, 0x90], "28067 at 181");
    // Full sun: 31 is 0b000_11111.
    check(31, [0x40, 0x7F], [0x83, 0x90], "62471 at 82");
    check(254, [0x47, 0x7E], [0x00, 0x00], "0 at 664");
}

#[test]
fn saturation_and_a_dead_bus_are_no_light() {
    check(
        31,
        [0x40, 0x7F],
        [0xFF, 0xFF],
        "bh1750 at 0x23: measurement: value 121557.00 is outside 0.00 to 121555.00 lx",
    );
}

#[test]
fn nonsense_is_refused() {
    on_bus(&[], |bus, _| {
        let error = Bh1750::new(bus.clone(), 0x24, 31).err().unwrap();
        assert_eq!(
            text(&error),
            "bh1750 at 0x24: address: the address must be 0x23 or 0x5c"
        );
        let error = Bh1750::new(bus, AT, 30).err().unwrap();
        assert_eq!(
            text(&error),
            "bh1750 at 0x23: measurement time: the measurement time must be 31 to 254"
        );
    });
}
