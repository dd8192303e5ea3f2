//! Texas Instruments ADS1115: four inputs, 16 bits.
//!
//! Four 16-bit registers behind a pointer that survives a STOP. A one-shot conversion takes its time,
//! during which the OS bit reads 0; the result is what stood at the input when it began.

use super::{Chip, Field, Nack};

/// Configuration after a reset: reading it again shows that the supply failed.
const CONFIG_RESET: u16 = 0x8583;
const OS: u16 = 0x8000;
const MODE_SINGLE: u16 = 0x0100;
/// Inputs can't be above the supply, V.
const SUPPLY_V: f64 = 3.3;

/// Conversion times at the slowest allowed oscillator (10 % off), µs, by the rate bits.
const CONVERSION_US: [u64; 8] = [137_500, 68_750, 34_375, 17_188, 8_594, 4_400, 2_316, 1_280];

/// An ADS1115.
#[derive(Debug)]
pub(crate) struct Ads1115 {
    pointer: u8,
    config: u16,
    low: u16,
    high: u16,
    conversion: u16,
    /// A conversion under way: when it is done, and its result.
    running: Option<(u64, u16)>,
}

impl Ads1115 {
    pub(crate) fn new() -> Self {
        Self {
            pointer: 0,
            config: CONFIG_RESET,
            low: 0x8000,
            high: 0x7FFF,
            conversion: 0,
            running: None,
        }
    }

    fn finish(&mut self, now_ns: u64, field: &dyn Field) {
        if let Some((done_ns, result)) = self.running
            && now_ns >= done_ns
        {
            self.conversion = result;
            self.running = None;
        }
        if self.config & MODE_SINGLE == 0 && self.running.is_none() {
            // Continuous: the last conversion is at most one interval old.
            self.conversion = self.convert(field);
        }
    }

    fn convert(&self, field: &dyn Field) -> u16 {
        let input = |input| field.volts(input).clamp(-0.3, SUPPLY_V + 0.3);
        let volts = match self.config >> 12 & 0b111 {
            0b000 => input(0) - input(1),
            0b001 => input(0) - input(3),
            0b010 => input(1) - input(3),
            0b011 => input(2) - input(3),
            0b100 => input(0),
            0b101 => input(1),
            0b110 => input(2),
            _ => input(3),
        };
        let full_scale = match self.config >> 9 & 0b111 {
            0b000 => 6.144,
            0b001 => 4.096,
            0b010 => 2.048,
            0b011 => 1.024,
            0b100 => 0.512,
            _ => 0.256,
        };
        let counts = libm::round(volts / full_scale * 32_768.0).clamp(-32_768.0, 32_767.0);
        #[allow(clippy::cast_possible_truncation, reason = "clamped before")]
        let counts = counts as i16;
        counts.cast_unsigned()
    }

    fn write_config(&mut self, now_ns: u64, config: u16, field: &dyn Field) {
        self.config = config & !OS;
        let single = config & MODE_SINGLE != 0;
        // A conversion under way is finished first; a new one is not begun.
        if (config & OS != 0 || !single) && self.running.is_none() {
            let rate = usize::from(config >> 5 & 0b111);
            let duration_us = CONVERSION_US.get(rate).copied().unwrap_or_default();
            self.running = Some((now_ns + duration_us * 1_000, self.convert(field)));
        }
    }
}

impl Chip for Ads1115 {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        self.finish(now_ns, field);
        if let Some(pointer) = bytes.first() {
            self.pointer = pointer & 0b11;
        }
        if let Some(&[high, low]) = bytes.get(1..3).and_then(|word| word.first_chunk()) {
            let word = u16::from_be_bytes([high, low]);
            match self.pointer {
                // The conversion register can't be written.
                0 => {}
                1 => self.write_config(now_ns, word, field),
                2 => self.low = word,
                _ => self.high = word,
            }
        }
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], field: &dyn Field) -> Result<(), Nack> {
        self.finish(now_ns, field);
        let word = match self.pointer {
            0 => self.conversion,
            1 if self.running.is_none() => self.config | OS,
            1 => self.config,
            2 => self.low,
            _ => self.high,
        };
        super::fill(bytes, &word.to_be_bytes());
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

    fn bench(volts: [f64; 4]) -> Bench<Ads1115> {
        Bench::new(
            Ads1115::new(),
            Fake {
                volts,
                ..Fake::default()
            },
        )
    }

    #[test]
    fn a_reset_chip() {
        let mut bench = bench([0.0; 4]);
        bench.ask(&[1], 0, &[0x85, 0x83]);
        bench.ask(&[2], 0, &[0x80, 0x00]);
        bench.ask(&[3], 0, &[0x7F, 0xFF]);
        bench.ask(&[0], 0, &[0x00, 0x00]);
    }

    #[test]
    fn one_shot() {
        let mut bench = bench([1.0, 0.0, 0.0, 0.0]);
        // AIN0, ±4.096 V, 128 conversions a second.
        bench.write(&[0x01, 0xC3, 0x83], Ok(()));
        bench.read(Ok(&[0x43, 0x83]));
        // What stands at the input later is not converted.
        bench.field.volts[0] = 2.0;
        bench.ask(&[0x00], 0, &[0x00, 0x00]);
        bench.wait_us(8_593);
        bench.ask(&[0x01], 0, &[0x43, 0x83]);
        bench.wait_us(1);
        bench.ask(&[0x01], 0, &[0xC3, 0x83]);
        // The pointer survives the STOP.
        bench.ask(&[0x00], 0, &[0x1F, 0x40]);
        bench.read(Ok(&[0x1F, 0x40]));
    }

    #[test]
    fn ranges_and_inputs() {
        let check = |config: u16, volts: [f64; 4], expected: i16| {
            let mut bench = bench(volts);
            let [high, low] = config.to_be_bytes();
            bench.write(&[0x01, high, low], Ok(()));
            bench.wait_us(137_500);
            bench.ask(&[0x00], 0, &expected.to_be_bytes());
        };
        // 12 mA over 100 Ω at ±2.048 V.
        check(0xD583, [0.0, 1.2, 0.0, 0.0], 19_200);
        // Full scale, and more than that.
        check(0xC383, [4.096, 0.0, 0.0, 0.0], 28_800);
        check(0xC583, [3.0, 0.0, 0.0, 0.0], 32_767);
        // Differences, in both directions.
        check(0x8583, [0.5, 1.5, 0.0, 0.0], -16_000);
        check(0x8B83, [0.0, 3.0, 0.0, 0.0], -32_768);
        check(0xF103, [0.0, 0.0, 0.0, -0.2], -1_067);
        check(0xE383, [0.0, 0.0, 2.9, 0.0], 23_200);
    }

    #[test]
    fn continuous() {
        let mut bench = bench([1.0, 0.0, 0.0, 0.0]);
        bench.write(&[0x01, 0x42, 0x83], Ok(()));
        bench.ask(&[0x00], 8_593, &[0x00, 0x00]);
        bench.wait_us(1);
        bench.read(Ok(&[0x1F, 0x40]));
        bench.field.volts[0] = 2.0;
        bench.read(Ok(&[0x3E, 0x80]));
    }

    #[test]
    fn a_brown_out_shows_in_the_configuration() {
        let mut bench = bench([1.0, 0.0, 0.0, 0.0]);
        bench.write(&[0x01, 0x43, 0x83], Ok(()));
        bench.chip.power_cycle(bench.now_ns);
        bench.ask(&[0x01], 0, &[0x85, 0x83]);
        bench.ask(&[0x00], 0, &[0x00, 0x00]);
    }
}
