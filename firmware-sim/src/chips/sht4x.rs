//! Sensirion SHT4x: temperature and humidity.
//!
//! One-byte commands. A measurement takes its time, and the chip does not acknowledge its address while
//! it is busy or when it has nothing to say. A value is read once.

use super::crc::{checked_words, to_word};
use super::{Chip, Field, MS, Nack, Place};
use crate::physics::air::Air;

/// Time constant of the chip cooling down after a heater pulse, s.
const COOLING_S: f64 = 8.0;

/// Heater power.
#[derive(Debug, Clone, Copy)]
enum Heater {
    Milliwatt200,
    Milliwatt110,
    Milliwatt20,
}

/// What a command byte asks for.
enum Command {
    /// Measure; how long it takes, in microseconds.
    Measure(u64),
    /// Heat, then measure; `long` is 1 s, otherwise 0.1 s.
    Heat {
        heater: Heater,
        long: bool,
    },
    Serial,
    Reset,
}

/// An SHT4x.
#[derive(Debug)]
pub(crate) struct Sht4x {
    place: Place,
    serial: u32,
    busy_until_ns: u64,
    answer: Option<Vec<u8>>,
    /// How much warmer the heater left the chip, K, and when.
    heated_k: f64,
    heated_ns: u64,
}

impl Command {
    fn of(byte: u8) -> Option<Self> {
        let heat = |heater, long| Some(Self::Heat { heater, long });
        match byte {
            0xFD => Some(Self::Measure(8_300)),
            0xF6 => Some(Self::Measure(4_500)),
            0xE0 => Some(Self::Measure(1_600)),
            0x39 => heat(Heater::Milliwatt200, true),
            0x32 => heat(Heater::Milliwatt200, false),
            0x2F => heat(Heater::Milliwatt110, true),
            0x24 => heat(Heater::Milliwatt110, false),
            0x1E => heat(Heater::Milliwatt20, true),
            0x15 => heat(Heater::Milliwatt20, false),
            0x89 => Some(Self::Serial),
            0x94 => Some(Self::Reset),
            _ => None,
        }
    }
}

impl Heater {
    /// How much warmer a pulse makes the chip, K.
    fn kelvin(self, long: bool) -> f64 {
        let full = match self {
            Self::Milliwatt200 => 60.0,
            Self::Milliwatt110 => 33.0,
            Self::Milliwatt20 => 6.0,
        };
        if long { full } else { 0.4 * full }
    }
}

impl Sht4x {
    pub(crate) fn new(place: Place, serial: u32) -> Self {
        Self {
            place,
            serial,
            busy_until_ns: 0,
            answer: None,
            heated_k: 0.0,
            heated_ns: 0,
        }
    }

    fn measure(&mut self, now_ns: u64, field: &dyn Field) {
        let air = field.air(self.place).warmed_if(self.left_over_heat(now_ns));
        self.answer = Some(checked_words(&[
            temperature_word(air.temperature_c),
            humidity_word(air.humidity_pct),
        ]));
    }

    fn left_over_heat(&self, now_ns: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "seconds since a heater pulse")]
        let passed_s = now_ns.saturating_sub(self.heated_ns) as f64 / 1e9;
        let left = self.heated_k * libm::exp(-passed_s / COOLING_S);
        // Below a hundredth of its resolution the chip is as it was.
        if left < 1e-4 { 0.0 } else { left }
    }
}

impl Chip for Sht4x {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        if now_ns < self.busy_until_ns {
            return Err(Nack::Address);
        }
        // An empty write asks whether somebody is there.
        let Some((&byte, rest)) = bytes.split_first() else {
            return Ok(());
        };
        let command = Command::of(byte).filter(|_| rest.is_empty());
        let Some(command) = command else {
            return Err(Nack::Data);
        };
        self.answer = None;
        let duration_us = match command {
            Command::Measure(duration_us) => {
                self.measure(now_ns, field);
                duration_us
            }
            Command::Heat { heater, long } => {
                self.heated_k = self.left_over_heat(now_ns) + heater.kelvin(long);
                self.heated_ns = now_ns;
                self.measure(now_ns, field);
                if long { 1_100_000 } else { 110_000 }
            }
            Command::Serial => {
                let [a, b, c, d] = self.serial.to_be_bytes();
                let words = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
                self.answer = Some(checked_words(&words));
                500
            }
            Command::Reset => {
                self.heated_k = 0.0;
                1_000
            }
        };
        self.busy_until_ns = now_ns + duration_us * 1_000;
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        if now_ns < self.busy_until_ns {
            return Err(Nack::Address);
        }
        let answer = self.answer.take().ok_or(Nack::Address)?;
        super::fill(bytes, &answer);
        Ok(())
    }

    fn power_cycle(&mut self, now_ns: u64) {
        *self = Self::new(self.place, self.serial);
        self.busy_until_ns = now_ns + MS;
    }
}

/// T = -45 + 175·S/65535.
pub(crate) fn temperature_word(celsius: f64) -> u16 {
    to_word((celsius + 45.0) / 175.0 * 65_535.0)
}

/// RH = -6 + 125·S/65535.
fn humidity_word(percent: f64) -> u16 {
    to_word((percent + 6.0) / 125.0 * 65_535.0)
}

impl Air {
    /// Untouched bits when there is nothing to add.
    fn warmed_if(self, kelvin: f64) -> Self {
        if kelvin > 0.0 {
            self.warmed(kelvin)
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    fn bench(temperature_c: f64, humidity_pct: f64) -> Bench<Sht4x> {
        let field = Fake {
            inside: Air {
                temperature_c,
                humidity_pct,
            },
            ..Fake::default()
        };
        Bench::new(Sht4x::new(Place::Inside, 0x1234_5678), field)
    }

    #[test]
    fn bytes_of_a_measurement() {
        let check = |t, rh, expected: [u8; 6]| {
            let mut bench = bench(t, rh);
            bench.write(&[0xFD], Ok(()));
            bench.wait_us(8_300);
            bench.read(Ok(&expected));
        };
        check(25.0, 60.0, [0x66, 0x66, 0x93, 0x87, 0x2A, 0x51]);
        check(32.5, 95.0, [0x71, 0x5F, 0x1E, 0xCE, 0xD8, 0xFB]);
        check(-45.0, -6.0, [0x00, 0x00, 0x81, 0x00, 0x00, 0x81]);
        check(130.0, 119.0, [0xFF, 0xFF, 0xAC, 0xFF, 0xFF, 0xAC]);
    }

    #[test]
    fn busy_until_the_conversion_is_done() {
        for (command, duration_us) in [
            (0xFD, 8_300),
            (0xF6, 4_500),
            (0xE0, 1_600),
            (0x89, 500),
            (0x39, 1_100_000),
            (0x24, 110_000),
        ] {
            let mut bench = bench(25.0, 60.0);
            bench.write(&[command], Ok(()));
            bench.read_nack(6, Nack::Address);
            bench.wait_us(duration_us - 1);
            bench.read_nack(6, Nack::Address);
            bench.write(&[0xFD], Err(Nack::Address));
            bench.wait_us(1);
            bench.read_any(6);
            // It is read once.
            bench.read_nack(6, Nack::Address);
        }
    }

    #[test]
    fn nothing_to_read_before_a_command() {
        bench(25.0, 60.0).read_nack(6, Nack::Address);
    }

    #[test]
    fn serial_number() {
        let mut bench = bench(25.0, 60.0);
        bench.write(&[0x89], Ok(()));
        bench.wait_us(500);
        bench.read(Ok(&[0x12, 0x34, 0x37, 0x56, 0x78, 0x7D]));
    }

    #[test]
    fn a_reset_forgets_the_measurement() {
        let mut bench = bench(25.0, 60.0);
        bench.write(&[0xFD], Ok(()));
        bench.wait_us(8_300);
        bench.write(&[0x94], Ok(()));
        bench.wait_us(999);
        bench.write(&[], Err(Nack::Address));
        bench.wait_us(1);
        bench.write(&[], Ok(()));
        bench.read_nack(6, Nack::Address);
    }

    #[test]
    fn other_commands_are_not_acknowledged() {
        let mut bench = bench(25.0, 60.0);
        bench.write(&[0x00], Err(Nack::Data));
        bench.write(&[0xFD, 0x00], Err(Nack::Data));
    }

    #[test]
    fn the_heater_warms_for_a_while() {
        let mut bench = bench(25.0, 60.0);
        bench.write(&[0x32], Ok(()));
        bench.wait_us(110_000);
        let hot = u16::from_be_bytes(bench.read_any(6)[..2].try_into().unwrap());
        assert_eq!(hot, temperature_word(25.0 + 24.0));
        bench.wait_us(200_000_000);
        bench.write(&[0xFD], Ok(()));
        bench.wait_us(8_300);
        bench.read(Ok(&[0x66, 0x66, 0x93, 0x87, 0x2A, 0x51]));
    }
}
