use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::Transaction as T;
use furrow_drivers::Ads1115;
use furrow_drivers::ads1115::Input;

use crate::{on_bus, text};

const AT: u8 = 0x48;

fn config_reads(high: u8, low: u8) -> T {
    T::write_read(AT, vec![0x01], vec![high, low])
}

/// Single shot, ±4.096 V, 128 samples a second, comparator off: set once.
fn set_range() -> T {
    T::write(AT, vec![0x01, 0x83, 0x83])
}

/// A conversion: idle?, start, finished?, result, settings still there?
fn conversion(start: u8, result: [u8; 2]) -> Vec<T> {
    vec![
        config_reads(0x83, 0x83),
        T::write(AT, vec![0x01, start, 0x83]),
        config_reads(start, 0x83),
        T::write_read(AT, vec![0x00], result.to_vec()),
        config_reads(start, 0x83),
    ]
}

#[test]
fn each_input_is_one_shot() {
    // AIN0 with ±4.096 V is written as 01 C3 83; 1 V reads 0x1F40 (datasheet).
    let mut transactions = vec![set_range()];
    transactions.extend(conversion(0xC3, [0x1F, 0x40]));
    transactions.extend(conversion(0xD3, [0xFF, 0xFF]));
    transactions.extend(conversion(0xE3, [0x80, 0x00]));
    transactions.extend(conversion(0xF3, [0x7F, 0xFF]));
    on_bus(&transactions, |bus, delay| {
        let mut adc = Ads1115::new(bus, delay, AT).unwrap();
        assert_eq!(adc.counts(Input::A0), Ok(8_000));
        assert_eq!(adc.counts(Input::A1), Ok(-1));
        assert_eq!(adc.counts(Input::A2), Ok(i16::MIN));
        assert_eq!(adc.counts(Input::A3), Ok(i16::MAX));
        adc.release();
    });
}

#[test]
fn a_slow_conversion_is_waited_for_and_a_dead_one_is_given_up() {
    let busy = || config_reads(0x43, 0x83);
    let start = T::write(AT, vec![0x01, 0xC3, 0x83]);
    let slow = [
        set_range(),
        config_reads(0x83, 0x83),
        start.clone(),
        busy(),
        config_reads(0xC3, 0x83),
        T::write_read(AT, vec![0x00], vec![0x00, 0x00]),
        config_reads(0xC3, 0x83),
    ];
    on_bus(&slow, |bus, delay| {
        assert_eq!(
            Ads1115::new(bus, delay, AT).unwrap().counts(Input::A0),
            Ok(0)
        );
    });
    let dead = [
        set_range(),
        config_reads(0x83, 0x83),
        start,
        busy(),
        busy(),
        busy(),
    ];
    on_bus(&dead, |bus, delay| {
        let error = Ads1115::new(bus, delay, AT)
            .unwrap()
            .counts(Input::A0)
            .unwrap_err();
        assert_eq!(
            text(&error),
            "ads1115 at 0x48: conversion: the conversion did not finish in 36 ms"
        );
    });
}

#[test]
fn a_brown_out_during_the_conversion_is_seen() {
    let transactions = [
        set_range(),
        config_reads(0x83, 0x83),
        T::write(AT, vec![0x01, 0xC3, 0x83]),
        // The chip was reset: idle, with its defaults, and a result of zero.
        config_reads(0x85, 0x83),
        T::write_read(AT, vec![0x00], vec![0x00, 0x00]),
        config_reads(0x85, 0x83),
    ];
    on_bus(&transactions, |bus, delay| {
        let error = Ads1115::new(bus, delay, AT)
            .unwrap()
            .counts(Input::A0)
            .unwrap_err();
        assert_eq!(
            text(&error),
            "ads1115 at 0x48: settings: the chip was reset during the measurement \
             (register reads 0x8583, not 0xc383)"
        );
        assert!(error.is_transient());
    });
}

#[test]
fn a_chip_that_is_gone_is_named() {
    let gone = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let transactions = [
        set_range().with_error(gone),
        set_range(),
        config_reads(0, 0).with_error(gone),
    ];
    on_bus(&transactions, |bus, delay| {
        let mut adc = Ads1115::new(bus, delay, AT).unwrap();
        let expected = |register| {
            format!("ads1115 at 0x48: {register}: bus failure: no acknowledge of the address")
        };
        assert_eq!(
            text(&adc.counts(Input::A0).unwrap_err()),
            expected("settings")
        );
        assert_eq!(
            text(&adc.counts(Input::A0).unwrap_err()),
            expected("conversion")
        );
        adc.release();
    });
}
