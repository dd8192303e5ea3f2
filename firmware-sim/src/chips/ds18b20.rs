//! Maxim DS18B20: temperature on the 1-Wire bus, behind the address of its socket.
//!
//! The master's commands after the address: 0x44 converts, 0xBE reads the scratchpad. After power-on
//! the scratchpad holds 85 °C.

use super::{Chip, Field, Nack};

/// A DS18B20 at 12 bit.
#[derive(Debug)]
pub(crate) struct Ds18b20 {
    sixteenths: i16,
    remain: u8,
}

impl Ds18b20 {
    pub(crate) fn new() -> Self {
        Self {
            sixteenths: 0x0550,
            remain: 0x0C,
        }
    }

    fn scratchpad(&self) -> [u8; 9] {
        let [low, high] = self.sixteenths.to_le_bytes();
        let mut bytes = [low, high, 0x4B, 0x46, 0x7F, 0xFF, self.remain, 0x10, 0];
        let [data @ .., crc] = &mut bytes;
        *crc = crc8(data);
        bytes
    }
}

impl Chip for Ds18b20 {
    fn write(&mut self, _: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        match bytes {
            [0x44] => {
                let value = field.site().substrate_c * 16.0;
                #[allow(clippy::cast_possible_truncation, reason = "clamped before")]
                let value = libm::round(value).clamp(-880.0, 2_000.0) as i16;
                let [low, _] = value.to_le_bytes();
                self.sixteenths = value;
                self.remain = 0x10 - (low & 0x0F);
                Ok(())
            }
            [] | [0xBE] => Ok(()),
            _ => Err(Nack::Data),
        }
    }

    fn read(&mut self, _: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        super::fill(bytes, &self.scratchpad());
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        *self = Self::new();
    }
}

/// Polynomial 0x31 reflected, initial value 0.
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    #[test]
    fn scratchpads() {
        assert_eq!(crc8(b"123456789"), 0xA1);
        let mut bench = Bench::new(Ds18b20::new(), Fake::default());
        // After power-on, as datasheets and every forum have it.
        let power_on = [0x50, 0x05, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10, 0x1C];
        bench.ask(&[0xBE], 0, &power_on);
        for (celsius, low, high) in [
            (125.0, 0xD0, 0x07),
            (10.125, 0xA2, 0x00),
            (-0.5, 0xF8, 0xFF),
            (-10.125, 0x5E, 0xFF),
            (-55.0, 0x90, 0xFC),
        ] {
            bench.field.site.substrate_c = celsius;
            bench.write(&[0x44], Ok(()));
            let bytes = bench.read_any(9);
            assert_eq!((bytes[0], bytes[1]), (low, high), "{celsius}");
            assert_eq!(crc8(&bytes[..8]), bytes[8]);
        }
        bench.chip.power_cycle(bench.now_ns);
        bench.ask(&[0xBE], 0, &power_on);
    }
}
