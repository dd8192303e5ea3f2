//! Whatever a bus answers: no panic, and nothing good that the sensor can't measure.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use embedded_hal_mock::eh1::delay::NoopDelay;
use furrow_drivers::ads1115::Input;
use furrow_drivers::analog::Conversion;
use furrow_drivers::ds18b20::ScratchpadSource;
use furrow_drivers::ezo::Probe;
use furrow_drivers::inputs::ContactReader;
use furrow_drivers::scd4x::{Scd4xSettings, Step};
use furrow_drivers::scd30::Scd30Settings;
use furrow_drivers::tca9548a::{OpenMux, Route};
use furrow_drivers::{
    Ads1115, Bh1750, Bme280, BusFault, DripController, Ds18b20, Ezo, FlowMeter, Ina219, Mcp23017,
    Pcf8574, PulseCounter, PulseFactor, RainGauge, Scd4x, Scd30, Segment, SensorError, Sht3x,
    Sht4x,
};
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
    /// Registers that begin with what a real chip says.
    registers: Vec<(u8, Vec<u8>)>,
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
        let said = self.registers.iter().find(|(at, _)| *at == self.register);
        for (byte, said) in buffer
            .iter_mut()
            .zip(said.iter().flat_map(|(_, said)| said))
        {
            *byte = *said;
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

/// Steps a driver through arbitrary answers; every reading goes to `check`.
fn step_through<T>(
    mut step: impl FnMut(u64) -> Result<Step<T>, SensorError>,
    mut check: impl FnMut(T) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut now_ms = 0;
    for _ in 0..40 {
        match step(now_ms) {
            Ok(Step::Reading(reading)) => check(reading)?,
            Ok(Step::Wait { until_ms }) => now_ms = now_ms.max(until_ms),
            Err(_) => {}
        }
        now_ms += 1;
    }
    Ok(())
}

/// Gives arbitrary texts, most of them made like a scratchpad.
#[derive(Debug)]
struct Texts(Vec<Result<String, BusFault>>);

impl ScratchpadSource for Texts {
    fn w1_slave(&mut self) -> Result<String, BusFault> {
        self.0.pop().unwrap_or(Err(BusFault::NoAddress))
    }
}

fn texts() -> impl Strategy<Value = Texts> {
    let bytes = prop::collection::vec(any::<u8>(), 8);
    let scratchpad = (bytes, any::<bool>()).prop_map(|(mut bytes, fixed)| {
        if fixed {
            bytes[4] = 0x7F;
            bytes[5] = 0xFF;
        }
        let crc = maxim_crc(&bytes);
        bytes.push(crc);
        let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(words.join(" "))
    });
    let text = prop_oneof![
        3 => scratchpad,
        1 => ".{0,60}".prop_map(Ok),
        1 => Just(Err(BusFault::Other)),
    ];
    prop::collection::vec(text, 1..20).prop_map(Texts)
}

/// Arbitrary counts.
struct Counts(Vec<u64>);

impl PulseCounter for Counts {
    fn pulses(&mut self) -> Result<u64, &'static str> {
        self.0.pop().ok_or("no answer")
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
        registers: Vec::new(),
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
    fn sht3x(bus in noise()) {
        let mut sensor = Sht3x::new(bus, 0x44).unwrap();
        step_through(|now_ms| sensor.step(now_ms), |air| {
            prop_assert!((-4_000..=12_500).contains(&air.temperature.mantissa));
            prop_assert!((0..=10_000).contains(&air.humidity.mantissa));
            Ok(())
        })?;
    }

    #[test]
    fn bh1750(bus in noise(), time in 31_u8..=254) {
        let mut sensor = Bh1750::new(bus, 0x23, time).unwrap();
        step_through(|now_ms| sensor.step(now_ms), |lux| {
            prop_assert!((0..121_557).contains(&lux.mantissa));
            Ok(())
        })?;
    }

    #[test]
    fn bme280(mut bus in noise(), honest in any::<bool>()) {
        // Now and then a chip that says it is one, as almost no noise does.
        if honest {
            bus.registers = vec![(0xD0, vec![0x60]), (0xF3, vec![0x00, 0x24])];
        }
        let mut sensor = Bme280::new(bus, 0x76).unwrap();
        step_through(|now_ms| sensor.step(now_ms), |air| {
            prop_assert!((-4_000..=8_500).contains(&air.temperature.mantissa));
            prop_assert!((0..=10_000).contains(&air.humidity.mantissa));
            prop_assert!((30_000..=110_000).contains(&air.pressure.mantissa));
            Ok(())
        })?;
    }

    #[test]
    fn scd30(bus in noise(), self_calibration in any::<bool>()) {
        let settings = Scd30Settings { self_calibration, altitude_m: Some(10) };
        let mut sensor = Scd30::new(bus, NoopDelay::new(), settings);
        step_through(|now_ms| sensor.step(now_ms), |air| {
            prop_assert!((1..=40_000).contains(&air.co2.mantissa));
            prop_assert!((-4_000..=7_000).contains(&air.temperature.mantissa));
            prop_assert!((0..=10_000).contains(&air.humidity.mantissa));
            Ok(())
        })?;
    }

    #[test]
    fn ina219(mut bus in noise(), honest in any::<bool>()) {
        if honest {
            bus.registers = vec![(0x00, vec![0x3F, 0xFF])];
        }
        let mut meter = Ina219::new(bus, 0x41, 0.1).unwrap();
        for _ in 0..20 {
            if let Ok(power) = meter.read() {
                prop_assert!((0..=26_000).contains(&power.voltage.mantissa));
                prop_assert!((-32_000..=32_000).contains(&power.current.mantissa));
                prop_assert!((-83_200..=83_200).contains(&power.power.mantissa));
            }
        }
    }

    #[test]
    fn ezo(mut bus in noise(), honest in any::<bool>(), ec in any::<bool>()) {
        let (probe, says) = if ec { (Probe::Ec, "?i,EC,2") } else { (Probe::Ph, "?i,pH,1") };
        if honest {
            let identity = [&[1], says.as_bytes(), &[0]].concat();
            bus.registers = vec![(b'i', identity), (b'R', vec![1, b'9', b'.'])];
        }
        let mut sensor = Ezo::new(bus, probe, probe.address());
        let most = if ec { 500_000 } else { 14_000 };
        step_through(|now_ms| sensor.step(now_ms), |value| {
            prop_assert!((0..=most).contains(&value.mantissa));
            Ok(())
        })?;
    }

    #[test]
    fn expanders(bus in noise(), other in noise()) {
        // Every level is a level: no answer may panic.
        let mut mcp = Mcp23017::new(bus, 0x20).unwrap();
        let mut pcf = Pcf8574::new(other, 0x21).unwrap();
        for _ in 0..20 {
            drop(mcp.contacts());
            if let Ok(contacts) = pcf.contacts() {
                prop_assert_eq!(contacts.high & 0xFF00, 0xFF00);
            }
        }
    }

    #[test]
    fn behind_a_multiplexer(bus in noise(), channel in any::<u8>()) {
        let route = Route { mux: 0x70, channel };
        let segment = Segment::new(bus, Some(route), OpenMux::default());
        let mut sensor = Sht3x::new(segment, 0x44).unwrap();
        step_through(|now_ms| sensor.step(now_ms), |air| {
            prop_assert!((-4_000..=12_500).contains(&air.temperature.mantissa));
            Ok(())
        })?;
    }

    #[test]
    fn ds18b20(source in texts()) {
        let mut sensor = Ds18b20::new(source);
        for _ in 0..20 {
            if let Ok(value) = sensor.read() {
                prop_assert!((-5_500..=12_500).contains(&value.mantissa));
            }
        }
    }

    #[test]
    fn rain(counts in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..50], 1..30)) {
        let mut gauge = RainGauge::new(Counts(counts), 0.2).unwrap();
        for second in 0..32 {
            if let Ok(rain) = gauge.read(second * 1_000) {
                prop_assert!(rain.amount.mantissa >= 0);
                if let Ok(rate) = rain.rate {
                    prop_assert!((0..=250_000).contains(&rate.mantissa));
                }
            }
        }
    }

    #[test]
    fn flow(counts in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..50], 1..30)) {
        let mut meter = FlowMeter::new(Counts(counts), PulseFactor::per_litre(450.0).unwrap());
        for second in 0..32 {
            if let Ok(reading) = meter.read(second * 1_000) {
                prop_assert!(reading.volume.mantissa >= 0);
                if let Ok(flow) = reading.flow {
                    prop_assert!((0..=100_000).contains(&flow.mantissa));
                }
            }
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

fn maxim_crc(bytes: &[u8]) -> u8 {
    let mut crc = 0_u8;
    for byte in bytes {
        crc ^= byte;
        for _ in 0..8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ 0x8C
            };
        }
    }
    crc
}
