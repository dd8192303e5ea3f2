//! BH1750: illuminance.
//!
//! One-shot measurements with a measurement time that does not saturate in full sun: at the chip's
//! default (69) it ends at 54,612 lx, which a net-house exceeds every sunny noon; at 31 at
//! 121,557 lx. There is neither a checksum nor an identity: a bus that nobody drives reads 0xFFFF,
//! which is also what saturation looks like, so that count is never a value.

use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;

use crate::error::Chip;
use crate::step::Step;
use crate::{Cause, SensorError};

/// Decimal exponent: whole lux.
pub const EXPONENT: i8 = 0;
/// Measurement time register: shortest, default of the chip, longest (datasheet, page 11).
pub const MEASUREMENT_TIMES: core::ops::RangeInclusive<u8> = 31..=254;
/// The chip's own default: what its formula is written for.
const TIME_DEFAULT: u32 = 69;
/// Longest one-shot measurement at the default time, in milliseconds (datasheet, page 2).
const CONVERSION_MS: u64 = 180;
const POWER_ON: u8 = 0x01;
/// One-shot, resolution 1 lx at the default time; the chip powers down afterwards.
const ONE_SHOT: u8 = 0x20;
const TIME_HIGH: u8 = 0x40;
const TIME_LOW: u8 = 0x60;

/// The driver.
#[derive(Debug)]
pub struct Bh1750<I2C> {
    i2c: I2C,
    address: u8,
    measurement_time: u8,
    /// When the measurement under way is done.
    ready_ms: Option<u64>,
    chip: Chip,
}

impl<I2C: I2c> Bh1750<I2C> {
    /// Addresses by where the ADDR pin goes: low, high.
    pub const ADDRESSES: [u8; 2] = [0x23, 0x5C];

    /// `address` is one of [`Bh1750::ADDRESSES`], `measurement_time` lies in [`MEASUREMENT_TIMES`].
    /// Sends nothing yet.
    ///
    /// # Errors
    /// Another address or time.
    pub fn new(i2c: I2C, address: u8, measurement_time: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "bh1750",
            address: Some(address),
        };
        chip.one_of(
            address,
            &Self::ADDRESSES,
            "the address must be 0x23 or 0x5c",
        )?;
        if !MEASUREMENT_TIMES.contains(&measurement_time) {
            let cause = Cause::Refused("the measurement time must be 31 to 254");
            return Err(chip.error("measurement time", cause));
        }
        Ok(Self {
            i2c,
            address,
            measurement_time,
            ready_ms: None,
            chip,
        })
    }

    /// Starts a measurement, or fetches it once it is done. In lux.
    ///
    /// # Errors
    /// The bus, or a saturated sensor. The next call begins anew.
    pub fn step(&mut self, now_ms: u64) -> Result<Step<Decimal>, SensorError> {
        match self.ready_ms {
            None => {
                self.start()?;
                let conversion_ms = (CONVERSION_MS * u64::from(self.measurement_time))
                    .div_ceil(u64::from(TIME_DEFAULT));
                let started = Step::after(now_ms, conversion_ms);
                if let Step::Wait { until_ms } = started {
                    self.ready_ms = Some(until_ms);
                }
                Ok(started)
            }
            Some(until_ms) if now_ms < until_ms => Ok(Step::Wait { until_ms }),
            Some(_) => {
                self.ready_ms = None;
                self.fetch().map(Step::Reading)
            }
        }
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    /// The chip takes one instruction in each transaction.
    fn start(&mut self) -> Result<(), SensorError> {
        let time = self.measurement_time;
        for (register, byte) in [
            ("power", POWER_ON),
            ("measurement time", TIME_HIGH | time >> 5),
            ("measurement time", TIME_LOW | (time & 0x1F)),
            ("measurement", ONE_SHOT),
        ] {
            let sent = self.i2c.write(self.address, &[byte]);
            sent.map_err(|error| self.chip.bus(register, &error))?;
        }
        Ok(())
    }

    fn fetch(&mut self) -> Result<Decimal, SensorError> {
        let mut bytes = [0; 2];
        let read = self.i2c.read(self.address, &mut bytes);
        read.map_err(|error| self.chip.bus("measurement", &error))?;
        let counts = u16::from_be_bytes(bytes);
        let lux = lux(counts, self.measurement_time);
        if counts == u16::MAX {
            let cause = Cause::OutOfRange {
                value: f64::from(lux),
                min: 0.0,
                max: f64::from(self::lux(u16::MAX - 1, self.measurement_time)),
                unit: "lx",
            };
            return Err(self.chip.error("measurement", cause));
        }
        Ok(Decimal {
            mantissa: i64::from(lux),
            exponent: EXPONENT,
        })
    }
}

/// Lux of a count: counts / 1.2 · 69 / measurement time, rounded (datasheet, page 11).
#[must_use]
pub fn lux(counts: u16, measurement_time: u8) -> u32 {
    // 69 / 1.2 is 57.5: in halves, so that it stays whole.
    let divisor = 2 * u32::from(measurement_time.max(1));
    (u32::from(counts) * 115 + divisor / 2) / divisor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_to_lux() {
        let table = [
            (0, 69, 0),
            (1, 69, 1),
            // Datasheet, page 10: 28067 lx.
            (0x8390, 69, 28_067),
            (0xFFFF, 69, 54_613),
            (0x8390, 31, 62_471),
            (0xFFFF, 31, 121_557),
            (0xFFFF, 254, 14_836),
        ];
        for (counts, time, expected) in table {
            assert_eq!(lux(counts, time), expected, "{counts:#06x} at {time}");
        }
    }
}
