//! TI INA219: voltage and current of a supply.
//!
//! Six registers. Conversions run by themselves and take as long as the averaging says; the flag of
//! a finished one stands in the voltage register.

use super::crc::to_word;
use super::{Chip, Field, Nack};
use crate::site::Rail;

/// Settings after a loss of power: 32 V, ±320 mV, 12 bit, continuous.
const CONFIG_RESET: u16 = 0x399F;

/// An INA219 with a shunt of 0.1 Ω.
#[derive(Debug)]
pub(crate) struct Ina219 {
    rail: Rail,
    pointer: u8,
    config: u16,
    calibration: u16,
    ready_ns: u64,
}

impl Ina219 {
    pub(crate) fn new(rail: Rail) -> Self {
        Self {
            rail,
            pointer: 0,
            config: CONFIG_RESET,
            calibration: 0,
            ready_ns: 0,
        }
    }

    fn write_register(&mut self, now_ns: u64, word: u16) {
        match self.pointer {
            0 if word & 0x8000 != 0 => *self = Self::new(self.rail),
            0 => {
                self.config = word;
                let us = conversion_us(word >> 7) + conversion_us(word >> 3);
                self.ready_ns = now_ns + us * 1_000;
            }
            5 => self.calibration = word & !1,
            // The others can't be written.
            _ => {}
        }
    }

    fn register(&self, now_ns: u64, field: &dyn Field) -> u16 {
        let supply = field.site().supply(self.rail);
        let shunt = (supply.amperes * 0.1 / 10e-6).clamp(-32_000.0, 32_000.0);
        let steps = to_word(supply.volts / 0.004).min(0x1FFF);
        match self.pointer {
            0 => self.config,
            1 => signed_word(shunt),
            2 => steps << 3 | if self.ready_ns <= now_ns { 0b10 } else { 0 },
            4 => signed_word(shunt * f64::from(self.calibration) / 4_096.0),
            5 => self.calibration,
            _ => 0,
        }
    }
}

impl Chip for Ina219 {
    fn write(&mut self, now_ns: u64, bytes: &[u8], _: &dyn Field) -> Result<(), Nack> {
        if let Some(pointer) = bytes.first() {
            self.pointer = *pointer;
        }
        if let Some(&[high, low]) = bytes.get(1..3).and_then(|word| word.first_chunk()) {
            self.write_register(now_ns, u16::from_be_bytes([high, low]));
        }
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], field: &dyn Field) -> Result<(), Nack> {
        let word = self.register(now_ns, field);
        super::fill(bytes, &word.to_be_bytes());
        Ok(())
    }

    fn power_cycle(&mut self, now_ns: u64) {
        *self = Self::new(self.rail);
        self.ready_ns = now_ns + 1_064_000;
    }
}

/// Time of the conversions that a setting of four bits asks for (datasheet, table 5).
fn conversion_us(setting: u16) -> u64 {
    match setting & 0b1111 {
        0b0000 | 0b0100 => 84,
        0b0001 | 0b0101 => 148,
        0b0010 | 0b0110 => 276,
        averaged @ 0b1001.. => 532 << (averaged & 0b111),
        _ => 532,
    }
}

fn signed_word(value: f64) -> u16 {
    #[allow(clippy::cast_possible_truncation, reason = "clamped before")]
    let word = libm::round(value).clamp(-32_768.0, 32_767.0) as i16;
    word.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;
    use crate::site::Supply;

    fn bench(volts: f64, amperes: f64) -> Bench<Ina219> {
        let mut field = Fake::default();
        field.site.battery = Supply { volts, amperes };
        Bench::new(Ina219::new(Rail::Battery), field)
    }

    #[test]
    fn registers() {
        let mut bench = bench(12.0, 1.0);
        bench.ask(&[0], 0, &[0x39, 0x9F]);
        bench.ask(&[1], 0, &[0x27, 0x10]);
        bench.ask(&[2], 0, &[0x5D, 0xC2]);
        bench.write(&[0x00, 0x3F, 0xFF], Ok(()));
        // 128 samples of each take 136.2 ms.
        bench.ask(&[2], 136_191, &[0x5D, 0xC0]);
        bench.ask(&[2], 1, &[0x5D, 0xC2]);
        // 0.1 Ω and 100 µA: a calibration of 4096 makes current and shunt agree.
        bench.ask(&[4], 0, &[0x00, 0x00]);
        bench.write(&[0x05, 0x10, 0x00], Ok(()));
        bench.ask(&[4], 0, &[0x27, 0x10]);
        bench.write(&[0x00, 0x80, 0x00], Ok(()));
        bench.ask(&[0], 0, &[0x39, 0x9F]);
    }

    #[test]
    fn current_flows_back_and_saturates() {
        bench(12.0, -0.5).ask(&[1], 0, &[0xEC, 0x78]);
        bench(12.0, 9.0).ask(&[1], 0, &[0x7D, 0x00]);
    }
}
