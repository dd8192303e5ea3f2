use super::super::testing::{Bench, Fake};
use super::*;
use crate::physics::air::Air;

const READ: [u8; 2] = [0xEC, 0x05];
const READY: [u8; 2] = [0xE4, 0xB8];
const NOT_READY_YET: [u8; 3] = [0x80, 0x00, 0xA2];
const IS_READY: [u8; 3] = [0x80, 0x06, 0x04];

fn bench() -> Bench<Scd4x> {
    let field = Fake {
        inside: Air {
            temperature_c: f64::from(0x6667) * 175.0 / 65_535.0 - 45.0,
            humidity_pct: f64::from(0x5EB9) * 100.0 / 65_535.0,
        },
        co2_ppm: 500.0,
        ..Fake::default()
    };
    Bench::new(Scd4x::new(0x1234_5678_9ABC), field)
}

fn measuring() -> Bench<Scd4x> {
    let mut bench = bench();
    bench.write(&[0x21, 0xB1], Ok(()));
    bench
}

#[test]
fn bytes_of_a_measurement() {
    let mut bench = measuring();
    bench.wait_us(5_000_000);
    bench.ask(&READY, 1_000, &IS_READY);
    bench.ask(
        &READ,
        1_000,
        &[0x01, 0xF4, 0x33, 0x66, 0x67, 0xA2, 0x5E, 0xB9, 0x3C],
    );
}

#[test]
fn a_reading_is_there_once_an_interval() {
    let mut bench = measuring();
    bench.wait_us(4_998_999);
    bench.ask(&READY, 1_000, &NOT_READY_YET);
    bench.write(&READ, Ok(()));
    bench.wait_us(1_000);
    bench.read_nack(9, Nack::Address);
    bench.wait_us(1_000);
    bench.ask(&READY, 1_000, &IS_READY);
    bench.write(&READ, Ok(()));
    // The answer takes a millisecond.
    bench.read_nack(9, Nack::Address);
    bench.wait_us(1_000);
    bench.read_any(9);
    // The buffer is empty now.
    bench.ask(&READY, 1_000, &NOT_READY_YET);
    bench.write(&READ, Ok(()));
    bench.wait_us(1_000);
    bench.read_nack(9, Nack::Address);
    bench.wait_us(5_000_000);
    bench.ask(&READY, 1_000, &IS_READY);
}

#[test]
fn measuring_refuses_settings_until_half_a_second_after_stop() {
    let mut bench = measuring();
    bench.write(&[0x24, 0x16, 0x00, 0x01, 0xB0], Err(Nack::Data));
    bench.write(&[0x36, 0x82], Err(Nack::Data));
    bench.write(&[0x21, 0xB1], Err(Nack::Data));
    bench.write(&[0xE0, 0x00, 0x03, 0xDB, 0x42], Ok(()));
    bench.wait_us(1_000);
    bench.write(&[0x3F, 0x86], Ok(()));
    bench.wait_us(499_999);
    bench.write(&[0x36, 0x82], Err(Nack::Address));
    bench.wait_us(1);
    bench.ask(
        &[0x36, 0x82],
        1_000,
        &[0x12, 0x34, 0x37, 0x56, 0x78, 0x7D, 0x9A, 0xBC, 0xE0],
    );
    bench.ask(&[0xE0, 0x00], 1_000, &[0x03, 0xDB, 0x42]);
}

#[test]
fn settings_are_lost_unless_persisted() {
    let mut bench = bench();
    bench.ask(&[0x23, 0x18], 1_000, &[0x05, 0xDA, 0x29]);
    bench.write(&[0x24, 0x16, 0x00, 0x00, 0x81], Ok(()));
    bench.wait_us(1_000);
    bench.write(&[0x36, 0x46], Ok(()));
    bench.wait_us(30_000);
    bench.ask(&[0x23, 0x13], 1_000, &[0x00, 0x01, 0xB0]);
    bench.write(&[0x24, 0x16, 0x00, 0x00, 0x81], Ok(()));
    bench.wait_us(1_000);
    bench.write(&[0x36, 0x15], Ok(()));
    bench.wait_us(800_000);
    bench.chip.power_cycle(bench.now_ns);
    bench.wait_us(30_000);
    bench.ask(&[0x23, 0x13], 1_000, &[0x00, 0x00, 0x81]);
    bench.write(&[0x36, 0x32], Ok(()));
    bench.wait_us(1_200_000);
    bench.ask(&[0x23, 0x13], 1_000, &[0x00, 0x01, 0xB0]);
}

#[test]
fn a_wrong_checksum_is_not_acknowledged() {
    let mut bench = bench();
    bench.write(&[0x24, 0x16, 0x00, 0x00, 0x82], Err(Nack::Data));
    bench.write(&[0x24, 0x16, 0x00], Err(Nack::Data));
    bench.write(&[0x24], Err(Nack::Data));
    bench.write(&[0x12, 0x34], Err(Nack::Data));
    bench.ask(&[0x23, 0x13], 1_000, &[0x00, 0x01, 0xB0]);
}

#[test]
fn forced_recalibration() {
    // 480 ppm where it says 530: a correction of -50.
    let command = [0x36, 0x2F, 0x01, 0xE0, 0xB4];
    let mut bench = bench();
    bench.field.co2_ppm = 530.0;
    bench.ask(&command, 400_000, &[0xFF, 0xFF, 0xAC]);
    bench.write(&[0x21, 0xB1], Ok(()));
    bench.wait_us(180_000_000);
    bench.write(&[0x3F, 0x86], Ok(()));
    bench.wait_us(500_000);
    bench.ask(&command, 400_000, &[0x7F, 0xCE, 0x7B]);
    bench.write(&[0x21, 0xB1], Ok(()));
    bench.wait_us(5_000_000);
    bench.write(&READ, Ok(()));
    bench.wait_us(1_000);
    assert_eq!(bench.read_any(9)[..3], [0x01, 0xE0, 0xB4]);
}

#[test]
fn the_offset_moves_temperature_and_humidity() {
    let mut bench = bench();
    bench.field.inside.temperature_c = 25.0;
    // No offset: the chip says what it has itself, 4 °C more.
    bench.write(&[0x24, 0x1D, 0x00, 0x00, 0x81], Ok(()));
    bench.wait_us(1_000);
    bench.write(&[0x21, 0xB1], Ok(()));
    bench.wait_us(5_000_000);
    bench.write(&READ, Ok(()));
    bench.wait_us(1_000);
    let bytes = bench.read_any(9);
    let celsius = f64::from(u16::from_be_bytes([bytes[3], bytes[4]])) * 175.0 / 65_535.0 - 45.0;
    let humidity = f64::from(u16::from_be_bytes([bytes[6], bytes[7]])) * 100.0 / 65_535.0;
    assert!((celsius - 29.0).abs() < 0.002, "{celsius}");
    assert!((humidity - 29.25).abs() < 0.1, "{humidity}");
}

#[test]
fn asleep_it_hears_only_the_wake_up_call() {
    let mut bench = bench();
    bench.write(&[0x36, 0xE0], Ok(()));
    bench.wait_us(1_000);
    bench.write(&[0x36, 0x82], Err(Nack::Address));
    bench.write(&[0x36, 0xF6], Err(Nack::Address));
    bench.wait_us(30_000);
    bench.ask(&[0x20, 0x2F], 1_000, &[0x14, 0x40, 0x51]);
}

#[test]
fn a_single_shot_takes_five_seconds() {
    let mut bench = bench();
    bench.write(&[0x21, 0x9D], Ok(()));
    bench.wait_us(4_999_999);
    bench.write(&READ, Err(Nack::Address));
    bench.wait_us(1);
    bench.write(&READ, Ok(()));
    bench.wait_us(1_000);
    bench.read_any(9);
    bench.write(&READ, Ok(()));
    bench.wait_us(1_000);
    bench.read_nack(9, Nack::Address);
}
