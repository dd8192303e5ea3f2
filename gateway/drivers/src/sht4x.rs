//! SHT40, SHT41, SHT45: air temperature and relative humidity.
//!
//! Over the crate `sht4x`, which checks the CRC and waits for the conversion (9 ms). Conversion and
//! limits are ours: the crate's fixed-point division loses the last digit, and it hands out values
//! beyond the sensor's range.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;
use sht4x::{Address, Error, Precision, Sht4x as Inner};

use crate::error::{Chip, Range};
use crate::{Cause, SensorError};

/// Decimal exponent of all values: hundredths.
pub const EXPONENT: i8 = -2;
/// Operating range of the family (datasheet, table 2).
const TEMPERATURE: Range = Range {
    min: -40.0,
    max: 125.0,
    unit: "Cel",
};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AirReading {
    /// Degrees Celsius, in hundredths.
    pub temperature: Decimal,
    /// Relative humidity in percent, in hundredths, 0 to 100.
    pub humidity: Decimal,
    /// Relative humidity before it was cut to 0 to 100: above 100 the sensor is wet.
    pub humidity_raw: Decimal,
}

/// The driver.
#[derive(Debug)]
pub struct Sht4x<I2C, D> {
    inner: Inner<I2C, D>,
    delay: D,
    chip: Chip,
}

impl<I2C: I2c, D: DelayNs> Sht4x<I2C, D> {
    /// Addresses that the family comes with, by order code.
    pub const ADDRESSES: [u8; 3] = [0x44, 0x45, 0x46];

    /// `address` is one of [`Sht4x::ADDRESSES`].
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "sht4x",
            address: Some(address),
        };
        let inner = match address {
            0x44 => Address::Address0x44,
            0x45 => Address::Address0x45,
            0x46 => Address::Address0x46,
            _ => {
                let cause = Cause::Refused("the address must be 0x44, 0x45 or 0x46");
                return Err(chip.error("address", cause));
            }
        };
        Ok(Self {
            inner: Inner::new_with_address(i2c, inner),
            delay,
            chip,
        })
    }

    /// Measures with high precision; takes 9 ms.
    ///
    /// # Errors
    /// The bus, the checksum, or a temperature that the sensor can't measure.
    pub fn read(&mut self) -> Result<AirReading, SensorError> {
        let register = "measurement";
        let raw = self
            .inner
            .measure_raw(Precision::High, &mut self.delay)
            .map_err(|e| match e {
                Error::I2c(error) => self.chip.bus(register, &error),
                // `_`: the foreign enum may grow.
                Error::Crc | _ => self.chip.error(register, Cause::Checksum),
            })?;
        let temperature = temperature_centi(raw.temperature);
        self.chip
            .in_range("temperature", f64::from(temperature) / 100.0, &TEMPERATURE)?;
        let humidity_raw = humidity_centi(raw.humidity);
        Ok(AirReading {
            temperature: centi(temperature),
            humidity: centi(humidity_raw.clamp(0, 10_000)),
            humidity_raw: centi(humidity_raw),
        })
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.inner.destroy()
    }
}

/// Hundredths of a degree Celsius: −45 + 175 · S / 65535 (datasheet, section 4.6).
#[must_use]
pub fn temperature_centi(raw: u16) -> i32 {
    divide_rounded(17_500 * i64::from(raw), 65_535) - 4_500
}

/// Hundredths of a percent, not cut: −6 + 125 · S / 65535 (datasheet, section 4.6).
#[must_use]
pub fn humidity_centi(raw: u16) -> i32 {
    divide_rounded(12_500 * i64::from(raw), 65_535) - 600
}

fn divide_rounded(dividend: i64, divisor: i64) -> i32 {
    i32::try_from((dividend + divisor / 2) / divisor).unwrap_or(i32::MAX)
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
    fn converts_at_the_edges_and_in_the_datasheets_middle() {
        let table = [
            (0x0000, -4_500, -600),
            (0x0001, -4_500, -600),
            (0x6666, 2_500, 4_400),
            (0x7FFF, 4_250, 5_650),
            // −1 as a signed word: these are unsigned.
            (0xFFFF, 13_000, 11_900),
        ];
        for (raw, temperature, humidity) in table {
            assert_eq!(temperature_centi(raw), temperature, "{raw:#06x}");
            assert_eq!(humidity_centi(raw), humidity, "{raw:#06x}");
        }
        assert_eq!(humidity_centi(0x872A), 6_000);
    }
}
