//! ROHM BH1750: illuminance.
//!
//! One instruction in each transaction; no checksum, no identity. Saturates at the register's end,
//! which the measurement time moves.

use super::crc::to_word;
use super::{Chip, Field, Nack};

/// Measurement time after a loss of power.
const TIME_DEFAULT: u8 = 69;

/// A BH1750.
#[derive(Debug)]
pub(crate) struct Bh1750 {
    powered: bool,
    time: u8,
    running: Option<(u64, u16)>,
    data: u16,
}

impl Bh1750 {
    pub(crate) fn new() -> Self {
        Self {
            powered: false,
            time: TIME_DEFAULT,
            running: None,
            data: 0,
        }
    }

    fn measure(&mut self, now_ns: u64, per_lux: f64, typical_us: u64, field: &dyn Field) {
        let share = f64::from(self.time) / f64::from(TIME_DEFAULT);
        let counts = to_word(field.site().light_lux * per_lux * share);
        // The slowest chip takes half as long again.
        let us = typical_us * 3 / 2 * u64::from(self.time) / u64::from(TIME_DEFAULT);
        self.powered = true;
        self.running = Some((now_ns + us * 1_000, counts));
    }

    fn finish(&mut self, now_ns: u64) {
        if let Some((ready_ns, counts)) = self.running
            && ready_ns <= now_ns
        {
            self.data = counts;
            self.running = None;
            self.powered = false;
        }
    }
}

impl Chip for Bh1750 {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        self.finish(now_ns);
        let &[instruction] = bytes else {
            return if bytes.is_empty() {
                Ok(())
            } else {
                Err(Nack::Data)
            };
        };
        match instruction {
            0x00 => self.powered = false,
            0x01 => self.powered = true,
            0x07 if self.powered => self.data = 0,
            // Reset is not taken while the chip is down.
            0x07 => {}
            0x20 => self.measure(now_ns, 1.2, 120_000, field),
            0x21 => self.measure(now_ns, 2.4, 120_000, field),
            0x23 => self.measure(now_ns, 1.2, 16_000, field),
            0x40..=0x47 => self.time = self.time & 0x1F | instruction << 5,
            0x60..=0x7F => self.time = self.time & 0xE0 | (instruction & 0x1F),
            _ => return Err(Nack::Data),
        }
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        self.finish(now_ns);
        super::fill(bytes, &self.data.to_be_bytes());
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    fn bench(light_lux: f64) -> Bench<Bh1750> {
        let mut field = Fake::default();
        field.site.light_lux = light_lux;
        Bench::new(Bh1750::new(), field)
    }

    #[test]
    fn measures_once() {
        let mut bench = bench(28_066.7);
        bench.write(&[0x01], Ok(()));
        bench.write(&[0x20], Ok(()));
        // Not done: the register holds what it held.
        bench.wait_us(179_999);
        bench.read(Ok(&[0x00, 0x00]));
        bench.wait_us(1);
        bench.read(Ok(&[0x83, 0x90]));
    }

    #[test]
    fn full_sun_saturates_unless_the_time_is_short() {
        let mut bench = bench(100_000.0);
        bench.ask(&[0x20], 180_000, &[0xFF, 0xFF]);
        bench.write(&[0x40], Ok(()));
        bench.write(&[0x7F], Ok(()));
        bench.ask(&[0x20], 81_000, &[0xD2, 0x99]);
        bench.chip.power_cycle(bench.now_ns);
        bench.ask(&[0x20], 180_000, &[0xFF, 0xFF]);
    }

    #[test]
    fn one_instruction_a_transaction() {
        let mut bench = bench(0.0);
        bench.write(&[0x01, 0x20], Err(Nack::Data));
        bench.write(&[0x99], Err(Nack::Data));
        bench.write(&[], Ok(()));
    }
}
