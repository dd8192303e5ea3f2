//! Sensirion SCD30: CO2, temperature and humidity.
//!
//! Two-byte commands, arguments and answers in words with a checksum, numbers as big-endian floats.
//! An answer takes 3 ms. Whether it measures, and how, survives a loss of power.

use super::crc::{checked_word, checked_words};
use super::{Chip, Field, MS, Nack, Place};

/// Time from a command to its answer, ns.
const ANSWER_NS: u64 = 3 * MS;
/// It does not answer for this long after power-up, ns.
const BOOT_NS: u64 = 2_000 * MS;

/// An SCD30.
#[derive(Debug)]
pub(crate) struct Scd30 {
    interval_s: u16,
    self_calibration: u16,
    altitude_m: u16,
    offset_centi: u16,
    measuring: bool,
    since_ns: u64,
    /// Number of the reading that was read last, from 1.
    taken: u64,
    deaf_until_ns: u64,
    answer: Option<(u64, Vec<u8>, bool)>,
}

impl Scd30 {
    pub(crate) fn new() -> Self {
        Self {
            interval_s: 2,
            self_calibration: 0,
            altitude_m: 0,
            offset_centi: 0,
            measuring: false,
            since_ns: 0,
            taken: 0,
            deaf_until_ns: 0,
            answer: None,
        }
    }

    fn readings(&self, now_ns: u64) -> u64 {
        if !self.measuring {
            return 0;
        }
        now_ns.saturating_sub(self.since_ns) / (u64::from(self.interval_s.max(1)) * 1_000 * MS)
    }

    fn ask(&self, command: u16, now_ns: u64, field: &dyn Field) -> Option<(Vec<u8>, bool)> {
        let word = |word: u16| Some((checked_words(&[word]), false));
        match command {
            0x0202 => word(u16::from(self.readings(now_ns) > self.taken)),
            0x0300 => {
                let air = field.air(Place::Inside);
                let numbers = [field.co2_ppm(), air.temperature_c, air.humidity_pct];
                let words: Vec<u16> = numbers.into_iter().flat_map(float_words).collect();
                Some((checked_words(&words), true))
            }
            0x4600 => word(self.interval_s),
            0x5306 => word(self.self_calibration),
            0x5102 => word(self.altitude_m),
            0x5403 => word(self.offset_centi),
            0xD100 => word(0x0342),
            _ => None,
        }
    }

    fn set(&mut self, command: u16, value: u16, now_ns: u64) -> Result<(), Nack> {
        match command {
            0x0010 if value == 0 || (700..=1_400).contains(&value) => {
                if !self.measuring {
                    self.since_ns = now_ns;
                    self.taken = 0;
                }
                self.measuring = true;
            }
            0x4600 if (2..=1_800).contains(&value) => {
                self.interval_s = value;
                self.since_ns = now_ns;
                self.taken = 0;
            }
            0x5306 if value <= 1 => self.self_calibration = value,
            0x5102 => self.altitude_m = value,
            0x5403 => self.offset_centi = value,
            0x5204 if (400..=2_000).contains(&value) => {}
            _ => return Err(Nack::Data),
        }
        Ok(())
    }
}

impl Chip for Scd30 {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        if now_ns < self.deaf_until_ns {
            return Err(Nack::Address);
        }
        let Some((&[high, low], rest)) = bytes.split_first_chunk() else {
            return if bytes.is_empty() {
                Ok(())
            } else {
                Err(Nack::Data)
            };
        };
        let command = u16::from_be_bytes([high, low]);
        self.answer = None;
        if !rest.is_empty() {
            let value = checked_word(rest).ok_or(Nack::Data)?;
            return self.set(command, value, now_ns);
        }
        match command {
            0x0104 => self.measuring = false,
            0xD304 => self.power_cycle(now_ns),
            _ => {
                let (answer, measurement) = self.ask(command, now_ns, field).ok_or(Nack::Data)?;
                self.answer = Some((now_ns + ANSWER_NS, answer, measurement));
            }
        }
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        match self.answer.take() {
            Some((ready_ns, answer, measurement)) if ready_ns <= now_ns => {
                super::fill(bytes, &answer);
                if measurement {
                    self.taken = self.readings(now_ns);
                }
                Ok(())
            }
            // Too early: it stretches no clock here, it refuses.
            kept => {
                self.answer = kept;
                Err(Nack::Address)
            }
        }
    }

    fn power_cycle(&mut self, now_ns: u64) {
        self.deaf_until_ns = now_ns + BOOT_NS;
        self.since_ns = now_ns + BOOT_NS;
        self.taken = 0;
        self.answer = None;
    }
}

fn float_words(value: f64) -> [u16; 2] {
    #[allow(clippy::cast_possible_truncation, reason = "what the chip sends")]
    let [a, b, c, d] = (value as f32).to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;
    use crate::physics::air::Air;

    fn bench() -> Bench<Scd30> {
        let inside = Air {
            temperature_c: 27.238_279,
            humidity_pct: 48.806_744,
        };
        let field = Fake {
            inside,
            co2_ppm: 439.095_16,
            ..Fake::default()
        };
        Bench::new(Scd30::new(), field)
    }

    #[test]
    fn bytes_of_a_measurement() {
        let mut bench = bench();
        bench.ask(&[0x02, 0x02], 3_000, &[0x00, 0x00, 0x81]);
        bench.write(&[0x00, 0x10, 0x00, 0x00, 0x81], Ok(()));
        bench.wait_us(1_999_000);
        bench.ask(&[0x02, 0x02], 3_000, &[0x00, 0x00, 0x81]);
        bench.ask(&[0x02, 0x02], 3_000, &[0x00, 0x01, 0xB0]);
        let expected = [
            0x43, 0xDB, 0xCB, 0x8C, 0x2E, 0x8F, 0x41, 0xD9, 0x70, 0xE7, 0xFF, 0xF5, 0x42, 0x43,
            0xBF, 0x3A, 0x1B, 0x74,
        ];
        bench.ask(&[0x03, 0x00], 3_000, &expected);
        bench.ask(&[0x02, 0x02], 3_000, &[0x00, 0x00, 0x81]);
    }

    #[test]
    fn an_answer_takes_three_milliseconds() {
        let mut bench = bench();
        bench.write(&[0xD1, 0x00], Ok(()));
        bench.wait_us(2_999);
        bench.read_nack(3, Nack::Address);
        bench.wait_us(1);
        bench.read(Ok(&[0x03, 0x42, 0xF3]));
        bench.read_nack(3, Nack::Address);
    }

    #[test]
    fn settings_survive_a_loss_of_power_and_wrong_ones_are_refused() {
        let mut bench = bench();
        bench.write(&[0x46, 0x00, 0x00, 0x05, 0x74], Ok(()));
        bench.write(&[0x46, 0x00, 0x00, 0x01, 0xB0], Err(Nack::Data));
        bench.write(&[0x46, 0x00, 0x00, 0x05, 0x75], Err(Nack::Data));
        bench.write(&[0x00, 0x10, 0x00, 0x00, 0x81], Ok(()));
        bench.chip.power_cycle(bench.now_ns);
        bench.write(&[0x46, 0x00], Err(Nack::Address));
        bench.wait_us(2_000_000);
        bench.ask(&[0x46, 0x00], 3_000, &[0x00, 0x05, 0x74]);
        // It goes on by itself.
        bench.wait_us(5_000_000);
        bench.ask(&[0x02, 0x02], 3_000, &[0x00, 0x01, 0xB0]);
    }
}
