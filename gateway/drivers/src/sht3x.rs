//! SHT30, SHT31, SHT35: air temperature and relative humidity.
//!
//! Single shots of high repeatability without clock stretching: the Pi's I2C corrupts stretched
//! transfers. The 15 ms of a conversion are a step to come back for. The chip keeps no setting that
//! a brown-out could lose.

use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;

use crate::crc::checked_words;
use crate::error::{Chip, Range};
use crate::step::Step;
use crate::{Cause, SensorError};

/// Decimal exponent of all values: hundredths.
pub const EXPONENT: i8 = -2;
/// Single shot, high repeatability, no clock stretching (datasheet, table 9).
const MEASURE: [u8; 2] = [0x24, 0x00];
/// Longest conversion of high repeatability, in milliseconds (datasheet, table 4).
const CONVERSION_MS: u64 = 15;
/// Operating range of the family (datasheet, table 2).
const TEMPERATURE: Range = Range {
    min: -40.0,
    max: 125.0,
    unit: "Cel",
};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sht3xReading {
    /// Degrees Celsius, in hundredths.
    pub temperature: Decimal,
    /// Relative humidity in percent, in hundredths, 0 to 100.
    pub humidity: Decimal,
}

/// The driver.
#[derive(Debug)]
pub struct Sht3x<I2C> {
    i2c: I2C,
    address: u8,
    /// When the conversion under way is done.
    ready_ms: Option<u64>,
    chip: Chip,
}

impl<I2C: I2c> Sht3x<I2C> {
    /// Addresses by where the ADDR pin goes: low, high.
    pub const ADDRESSES: [u8; 2] = [0x44, 0x45];

    /// `address` is one of [`Sht3x::ADDRESSES`]. Sends nothing yet.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "sht3x",
            address: Some(address),
        };
        chip.one_of(
            address,
            &Self::ADDRESSES,
            "the address must be 0x44 or 0x45",
        )?;
        Ok(Self {
            i2c,
            address,
            ready_ms: None,
            chip,
        })
    }

    /// Starts a conversion, or fetches it once it is done.
    ///
    /// # Errors
    /// The bus, the checksum, or a temperature that the sensor can't measure. The next call begins
    /// anew.
    pub fn step(&mut self, now_ms: u64) -> Result<Step<Sht3xReading>, SensorError> {
        match self.ready_ms {
            None => {
                let sent = self.i2c.write(self.address, &MEASURE);
                sent.map_err(|error| self.chip.bus("measurement", &error))?;
                let started = Step::after(now_ms, CONVERSION_MS);
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

    fn fetch(&mut self) -> Result<Sht3xReading, SensorError> {
        let register = "measurement";
        let mut bytes = [0; 6];
        let read = self.i2c.read(self.address, &mut bytes);
        read.map_err(|error| self.chip.bus(register, &error))?;
        let [temperature, humidity] =
            checked_words(&bytes).ok_or_else(|| self.chip.error(register, Cause::Checksum))?;
        let temperature = temperature_centi(temperature);
        self.chip
            .in_range("temperature", f64::from(temperature) / 100.0, &TEMPERATURE)?;
        Ok(Sht3xReading {
            temperature: centi(temperature),
            humidity: centi(humidity_centi(humidity)),
        })
    }
}

/// Hundredths of a degree Celsius: −45 + 175 · S / 65535 (datasheet, section 4.13).
#[must_use]
pub fn temperature_centi(raw: u16) -> i32 {
    divide_rounded(17_500 * i64::from(raw)) - 4_500
}

/// Hundredths of a percent: 100 · S / 65535 (datasheet, section 4.13).
#[must_use]
pub fn humidity_centi(raw: u16) -> i32 {
    divide_rounded(10_000 * i64::from(raw))
}

fn divide_rounded(dividend: i64) -> i32 {
    i32::try_from((dividend + 65_535 / 2) / 65_535).unwrap_or(i32::MAX)
}

fn centi(value: i32) -> Decimal {
    Decimal {
        mantissa: i64::from(value),
        exponent: EXPONENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_at_the_edges_and_in_the_middle() {
        let table = [
            (0x0000, -4_500, 0),
            (0x0001, -4_500, 0),
            (0x6666, 2_500, 4_000),
            (0x7FFF, 4_250, 5_000),
            (0x9999, 6_000, 6_000),
            // −1 as a signed word: these are unsigned.
            (0xFFFF, 13_000, 10_000),
        ];
        for (raw, temperature, humidity) in table {
            assert_eq!(temperature_centi(raw), temperature, "{raw:#06x}");
            assert_eq!(humidity_centi(raw), humidity, "{raw:#06x}");
        }
    }
}
