//! Sensirion SHT3x: temperature and humidity.
//!
//! Two-byte commands. Without clock stretching the chip does not acknowledge its address while it
//! measures; commands with stretching are refused here, since the Pi can't bear them.

use super::crc::{checked_words, to_word};
use super::sht4x::temperature_word;
use super::{Chip, Field, MS, Nack, Place};

/// Status after a loss of power: alert pending, reset detected.
const STATUS_RESET: u16 = 0x8010;

/// An SHT3x.
#[derive(Debug)]
pub(crate) struct Sht3x {
    place: Place,
    serial: u32,
    status: u16,
    busy_until_ns: u64,
    answer: Option<Vec<u8>>,
}

impl Sht3x {
    pub(crate) fn new(place: Place, serial: u32) -> Self {
        Self {
            place,
            serial,
            status: STATUS_RESET,
            busy_until_ns: 0,
            answer: None,
        }
    }

    /// What a command answers, and how long that takes in microseconds.
    fn carry_out(&mut self, command: u16, field: &dyn Field) -> Option<(Option<Vec<u8>>, u64)> {
        let measured = |duration_us| {
            let air = field.air(self.place);
            let words = [
                temperature_word(air.temperature_c),
                humidity_word(air.humidity_pct),
            ];
            Some((Some(checked_words(&words)), duration_us))
        };
        match command {
            0x2400 => measured(15_000),
            0x240B => measured(6_000),
            0x2416 => measured(4_000),
            0xF32D => Some((Some(checked_words(&[self.status])), 100)),
            0x3041 => {
                self.status = 0;
                Some((None, 100))
            }
            0x3682 => {
                let [a, b, c, d] = self.serial.to_be_bytes();
                let words = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
                Some((Some(checked_words(&words)), 500))
            }
            0x30A2 => {
                self.status = STATUS_RESET;
                Some((None, 1_500))
            }
            _ => None,
        }
    }
}

impl Chip for Sht3x {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        if now_ns < self.busy_until_ns {
            return Err(Nack::Address);
        }
        self.answer = None;
        let command = match bytes {
            [] => return Ok(()),
            [high, low] => u16::from_be_bytes([*high, *low]),
            // Half a command asks for nothing.
            [_] => return Ok(()),
            [_, _, ..] => return Err(Nack::Data),
        };
        let (answer, duration_us) = self.carry_out(command, field).ok_or(Nack::Data)?;
        self.answer = answer;
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

/// RH = 100·S/65535.
fn humidity_word(percent: f64) -> u16 {
    to_word(percent / 100.0 * 65_535.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;
    use crate::physics::air::Air;

    fn bench(temperature_c: f64, humidity_pct: f64) -> Bench<Sht3x> {
        let inside = Air {
            temperature_c,
            humidity_pct,
        };
        let field = Fake {
            inside,
            ..Fake::default()
        };
        Bench::new(Sht3x::new(Place::Inside, 0x1234_5678), field)
    }

    #[test]
    fn bytes_of_a_measurement() {
        let check = |t, rh, expected: [u8; 6]| {
            bench(t, rh).ask(&[0x24, 0x00], 15_000, &expected);
        };
        check(25.0, 60.0, [0x66, 0x66, 0x93, 0x99, 0x99, 0xBE]);
        check(32.5, 95.0, [0x71, 0x5F, 0x1E, 0xF3, 0x32, 0x13]);
    }

    #[test]
    fn busy_until_the_conversion_is_done_and_read_once() {
        let mut bench = bench(25.0, 60.0);
        bench.read_nack(6, Nack::Address);
        bench.write(&[0x24, 0x00], Ok(()));
        bench.wait_us(14_999);
        bench.read_nack(6, Nack::Address);
        bench.write(&[0x24, 0x00], Err(Nack::Address));
        bench.wait_us(1);
        bench.read_any(6);
        bench.read_nack(6, Nack::Address);
    }

    #[test]
    fn status_serial_and_what_it_does_not_know() {
        let mut bench = bench(25.0, 60.0);
        bench.ask(&[0xF3, 0x2D], 100, &[0x80, 0x10, 0xE1]);
        bench.write(&[0x30, 0x41], Ok(()));
        bench.wait_us(100);
        bench.ask(&[0xF3, 0x2D], 100, &[0x00, 0x00, 0x81]);
        bench.ask(&[0x36, 0x82], 500, &[0x12, 0x34, 0x37, 0x56, 0x78, 0x7D]);
        // With clock stretching; an SHT4x's command; nonsense.
        bench.write(&[0x2C, 0x06], Err(Nack::Data));
        bench.write(&[0xFD], Ok(()));
        bench.read_nack(6, Nack::Address);
        bench.write(&[0x24, 0x00, 0x00], Err(Nack::Data));
        bench.chip.power_cycle(bench.now_ns);
        bench.wait_us(1_000);
        bench.ask(&[0xF3, 0x2D], 100, &[0x80, 0x10, 0xE1]);
    }
}
