//! Whatever a bus answers: no panic, and nothing good that the sensor can't measure.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use embedded_hal_mock::eh1::delay::NoopDelay;
use furrow_drivers::ads1115::Input;
use furrow_drivers::analog::Conversion;
use furrow_drivers::scd4x::{Scd4xSettings, Step};
use furrow_drivers::{Ads1115, DripController, Scd4x, Sht4x};
use proptest::prelude::*;

/// How the checksums of an answer are made.
#[derive(Debug, Clone, Copy)]
enum Checksums {
    /// As they come: almost always wrong.
    Random,
    /// Right for words of two bytes, as Sensirion's chips make them.
    Words,
    /// Right over register and data, as the drip controller makes them.
    Register,
}

/// A bus that answers with arbitrary bytes and sometimes not at all.
#[derive(Debug)]
struct Noise {
    bytes: Vec<u8>,
    next: usize,
    checksums: Checksums,
    register: u8,
}

impl Noise {
    fn byte(&mut self) -> u8 {
        let byte = self
            .bytes
            .get(self.next % self.bytes.len())
            .copied()
            .unwrap_or(0);
        self.next += 1;
        byte
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer.iter_mut() {
            *byte = self.byte();
        }
        match self.checksums {
            Checksums::Random => {}
            Checksums::Words => {
                for word in buffer.chunks_exact_mut(3) {
                    word[2] = crc(&word[..2]);
                }
            }
            Checksums::Register => {
                let (last, data) = buffer.split_last_mut().unwrap();
                let mut covered = vec![self.register];
                covered.extend_from_slice(data);
                *last = crc(&covered);
            }
        }
    }
}

impl ErrorType for Noise {
    type Error = ErrorKind;
}

impl I2c for Noise {
    fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        // One in sixteen transactions fails.
        if self.byte() < 16 {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    self.register = bytes.first().copied().unwrap_or(self.register);
                }
                Operation::Read(buffer) => self.fill(buffer),
            }
        }
        Ok(())
    }
}

fn noise() -> impl Strategy<Value = Noise> {
    let checksums = prop::sample::select(vec![
        Checksums::Random,
        Checksums::Words,
        Checksums::Words,
        Checksums::Register,
        Checksums::Register,
    ]);
    let edges = prop::sample::select(vec![0x00_u8, 0xFF, 0x80, 0x7F]);
    let byte = prop_oneof![3 => any::<u8>(), 1 => edges];
    (prop::collection::vec(byte, 1..200), checksums).prop_map(|(bytes, checksums)| Noise {
        bytes,
        next: 0,
        checksums,
        register: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sht4x(bus in noise()) {
        let mut sensor = Sht4x::new(bus, NoopDelay::new(), 0x44).unwrap();
        for _ in 0..20 {
            if let Ok(air) = sensor.read() {
                prop_assert!((-4_000..=12_500).contains(&air.temperature.mantissa));
                prop_assert!((0..=10_000).contains(&air.humidity.mantissa));
            }
        }
    }

    #[test]
    fn scd4x(bus in noise()) {
        let settings = Scd4xSettings { self_calibration: true, altitude_m: None };
        let mut sensor = Scd4x::new(bus, NoopDelay::new(), settings);
        let mut now_ms = 0;
        for _ in 0..40 {
            match sensor.step(now_ms) {
                Ok(Step::Reading(air)) => {
                    prop_assert!((1..=40_000).contains(&air.co2.mantissa));
                    prop_assert!((-1_000..=6_000).contains(&air.temperature.mantissa));
                    prop_assert!((0..=10_000).contains(&air.humidity.mantissa));
                }
                Ok(Step::Wait { until_ms }) => now_ms = now_ms.max(until_ms),
                Err(_) => {}
            }
            now_ms += 1_000;
        }
    }

    #[test]
    fn ads1115(bus in noise()) {
        let mut adc = Ads1115::new(bus, NoopDelay::new(), 0x48).unwrap();
        for input in Input::ALL {
            // Every count is a voltage; what it means is checked below.
            drop(adc.counts(input));
        }
    }

    #[test]
    fn analog(counts in any::<i16>()) {
        let pyranometer = Conversion::Pyranometer { volts_per_unit: 0.002 };
        if let Ok(value) = pyranometer.convert(counts, -2) {
            prop_assert!((0..=200_000).contains(&value.mantissa));
        }
        let tank = Conversion::CurrentLoop { shunt_ohms: 100.0, at_4_ma: 0.0, at_20_ma: 2.5 };
        if let Ok(value) = tank.convert(counts, -3) {
            prop_assert!((-32..=2_579).contains(&value.mantissa));
        }
        let probe = Conversion::CapacitiveMoisture { dry_volts: 2.9, wet_volts: 1.3 };
        if let Ok(value) = probe.convert(counts, -1) {
            prop_assert!((0..=1_000).contains(&value.mantissa));
        }
    }

    #[test]
    fn drip_controller(bus in noise(), output in any::<u8>(), seconds in any::<u16>()) {
        let mut drip = DripController::new(bus, 0x2C).unwrap();
        for _ in 0..20 {
            if let Ok(status) = drip.status() {
                prop_assert!((1..=8).contains(&status.outputs));
                let beyond = !0_u16 << status.outputs;
                let bits = [status.commanded, status.confirmed, status.faults];
                prop_assert!(bits.iter().all(|bits| u16::from(*bits) & beyond == 0));
            }
            if let Ok(left) = drip.lease(output) {
                prop_assert!(left <= 300);
            }
            if drip.set_lease(output, seconds).is_ok() {
                prop_assert!(seconds <= 300 && (1..=8).contains(&output));
            }
        }
    }
}

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
