use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::Transaction as T;
use furrow_drivers::DripController;
use furrow_drivers::drip::{DripStatus, Fault};

use crate::{on_bus, text};

const AT: u8 = 0x2C;

fn reads(bytes: &[u8]) -> T {
    T::write_read(AT, vec![bytes[0]], bytes[1..].to_vec())
}

/// Identity (worked bytes of the register map) and status of a controller with four outputs.
fn identity() -> [T; 2] {
    [
        reads(&[0x00, 0x46, 0x52, 0x01, 0x00, 0x54]),
        reads(&[0x01, 0x00, 0x04, 0x01, 0x2C, 0x66]),
    ]
}

#[test]
fn opens_and_closes_by_the_worked_bytes() {
    let [identity, status] = identity();
    let transactions = [
        identity,
        status,
        T::write(AT, vec![0x10, 0x00, 0x1E, 0xB3]),
        reads(&[0x10, 0x00, 0x1E, 0xB3]),
        T::write(AT, vec![0x10, 0x00, 0x00, 0xEF]),
        reads(&[0x10, 0x00, 0x00, 0xEF]),
    ];
    on_bus(&transactions, |bus, _| {
        let mut drip = DripController::new(bus, AT).unwrap();
        drip.set_lease(1, 30).unwrap();
        drip.set_lease(1, 0).unwrap();
        drip.release();
    });
}

#[test]
fn a_lease_that_was_not_taken_is_an_error() {
    let [identity, status] = identity();
    // A second may have passed (29 s), but not two.
    let taken = reads(&[0x10, 0x00, 0x1D, crc(&[0x10, 0x00, 0x1D])]);
    let late = reads(&[0x10, 0x00, 0x1C, crc(&[0x10, 0x00, 0x1C])]);
    let open = T::write(AT, vec![0x10, 0x00, 0x1E, 0xB3]);
    let transactions = [identity, status, open.clone(), taken, open, late];
    on_bus(&transactions, |bus, _| {
        let mut drip = DripController::new(bus, AT).unwrap();
        drip.set_lease(1, 30).unwrap();
        let error = drip.set_lease(1, 30).unwrap_err();
        assert_eq!(
            text(&error),
            "drip-controller at 0x2c: lease: wrote 30, reads back 28"
        );
        drip.release();
    });
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_sent() {
    on_bus(&[], |bus, _| {
        let error = DripController::new(bus.clone(), 0x30).unwrap_err();
        let expected = "drip-controller at 0x30: address: the address must be 0x2c to 0x2f";
        assert_eq!(text(&error), expected);
        let error = DripController::new(bus, AT)
            .unwrap()
            .set_lease(1, 301)
            .unwrap_err();
        assert_eq!(
            text(&error),
            "drip-controller at 0x2c: lease: a lease is at most 300 s"
        );
    });
    on_bus(&identity(), |bus, _| {
        let error = DripController::new(bus, AT)
            .unwrap()
            .set_lease(5, 30)
            .unwrap_err();
        let expected = "drip-controller at 0x2c: lease: the controller has no such output";
        assert_eq!(text(&error), expected);
    });
}

#[test]
fn the_status_is_read_whole() {
    let [identity, status] = identity();
    let transactions = [
        identity,
        status,
        reads(&with_crc(&[0x01, 0x07, 0x04, 0xFF, 0xFF])),
        reads(&with_crc(&[0x02, 0x05])),
        reads(&with_crc(&[0x03, 0x01])),
        reads(&with_crc(&[0x04, 0x04, 0x01])),
        reads(&with_crc(&[0x05, 0xFF, 0xFF, 0xFF, 0xFE])),
        T::write(AT, vec![0x0F, 0xA5, crc(&[0x0F, 0xA5])]),
        reads(&with_crc(&[0x12, 0x01, 0x2C])),
        reads(&with_crc(&[0x12, 0x01, 0x2D])),
    ];
    on_bus(&transactions, |bus, _| {
        let mut drip = DripController::new(bus, AT).unwrap();
        let expected = DripStatus {
            outputs: 4,
            uptime_s: 65_535,
            lease_ran_out: true,
            was_reset: true,
            commanded: 0b101,
            confirmed: 0b001,
            faults: 0b100,
            last_fault: Fault::DidNotOpen,
            pulses: 0xFFFF_FFFE,
        };
        assert_eq!(drip.status(), Ok(expected));
        drip.clear().unwrap();
        assert_eq!(drip.lease(3), Ok(300));
        let error = drip.lease(3).unwrap_err();
        let expected = "drip-controller at 0x2c: lease: value 301.00 is outside 0.00 to 300.00 s";
        assert_eq!(text(&error), expected);
        drip.release();
    });
}

#[test]
fn bits_of_outputs_that_do_not_exist_are_no_status() {
    let [identity, status] = identity();
    let transactions = [
        identity,
        status.clone(),
        status,
        reads(&with_crc(&[0x02, 0x10])),
        reads(&with_crc(&[0x03, 0x00])),
        reads(&with_crc(&[0x04, 0x00, 0x00])),
        reads(&with_crc(&[0x05, 0x00, 0x00, 0x00, 0x00])),
    ];
    on_bus(&transactions, |bus, _| {
        let error = DripController::new(bus, AT).unwrap().status().unwrap_err();
        assert_eq!(
            text(&error),
            "drip-controller at 0x2c: commanded: \
             value 16.00 is outside 0.00 to 15.00 as bits of outputs"
        );
    });
}

#[test]
fn another_chip_or_version_is_refused() {
    let table = [
        (
            [0x46, 0x52, 0x02, 0x00],
            "unexpected identity 46 52, version 2.0",
        ),
        (
            [0x00, 0x00, 0x01, 0x00],
            "unexpected identity 00 00, version 1.0",
        ),
    ];
    for (bytes, expected) in table {
        let mut answer = vec![0x00];
        answer.extend(bytes);
        on_bus(&[reads(&with_crc(&answer))], |bus, _| {
            let error = DripController::new(bus, AT).unwrap().status().unwrap_err();
            assert_eq!(
                text(&error),
                format!("drip-controller at 0x2c: identity: {expected}")
            );
            assert!(!error.is_transient());
        });
    }
    // A later minor version is fine; nine outputs are not.
    let transactions = [
        reads(&with_crc(&[0x00, 0x46, 0x52, 0x01, 0x09])),
        reads(&with_crc(&[0x01, 0, 9, 0, 0])),
    ];
    on_bus(&transactions, |bus, _| {
        let error = DripController::new(bus, AT).unwrap().status().unwrap_err();
        let expected =
            "drip-controller at 0x2c: status: value 9.00 is outside 1.00 to 8.00 outputs";
        assert_eq!(text(&error), expected);
    });
}

#[test]
fn after_a_failure_the_identity_is_checked_again() {
    let gone = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let [first, second] = identity();
    let transactions = [
        first.clone(),
        second.clone(),
        T::write(AT, vec![0x0F, 0xA5, crc(&[0x0F, 0xA5])]).with_error(gone),
        first,
        second,
        T::write(AT, vec![0x0F, 0xA5, crc(&[0x0F, 0xA5])]),
    ];
    on_bus(&transactions, |bus, _| {
        let mut drip = DripController::new(bus, AT).unwrap();
        assert!(drip.clear().is_err());
        drip.clear().unwrap();
        drip.release();
    });
}

#[test]
fn data_of_another_register_is_not_taken_for_this_one() {
    // The answer of register 0x03 to a question for 0x02: the checksum covers the register.
    let [identity, status] = identity();
    let transactions = [
        identity,
        status.clone(),
        status,
        T::write_read(AT, vec![0x02], vec![0x01, crc(&[0x03, 0x01])]),
    ];
    on_bus(&transactions, |bus, _| {
        let error = DripController::new(bus, AT).unwrap().status().unwrap_err();
        assert_eq!(
            text(&error),
            "drip-controller at 0x2c: commanded: checksum mismatch"
        );
    });
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    let mut all = bytes.to_vec();
    all.push(crc(bytes));
    all
}

/// Polynomial 0x31, initial value 0xFF.
fn crc(bytes: &[u8]) -> u8 {
    let mut crc = 0xFF_u8;
    for byte in bytes {
        crc ^= byte;
        for _ in 0..8 {
            crc = if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x31
            };
        }
    }
    crc
}
