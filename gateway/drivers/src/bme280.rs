//! BME280: air pressure, with its own temperature and humidity.
//!
//! Forced single measurements at the least oversampling (weather monitoring, datasheet 3.5.1).
//! Identity and calibration are read at the start and after every failure, so that an exchanged part
//! is calculated with its own constants. One burst holds status, settings and data: a chip whose
//! supply dipped in between shows.
//!
//! The compensation is Bosch's in double precision (datasheet, appendix A). The integer one
//! overflows on calibration bytes that a disturbed bus can yield, and the chip has no checksum;
//! a test compares the two where both hold.

use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;

use crate::error::{Chip, Range};
use crate::step::Step;
use crate::{Cause, SensorError};

pub use calibration::{Calibration, Compensated};

mod calibration;

/// Decimal exponent of all values: hundredths.
pub const EXPONENT: i8 = -2;
/// Longest measurement with each quantity once, in milliseconds: 1.25 + 2.3 + 2.875 + 2.875
/// (datasheet, appendix B).
const CONVERSION_MS: u64 = 10;
/// A measurement that is not done after this is lost.
const LATE_MS: u64 = 50;
const IDENTITY: u8 = 0xD0;
const BME280: u8 = 0x60;
const CALIBRATION_LOW: u8 = 0x88;
const CALIBRATION_HIGH: u8 = 0xE1;
const CONTROL_HUMIDITY: u8 = 0xF2;
const STATUS: u8 = 0xF3;
const CONTROL: u8 = 0xF4;
/// Humidity once; takes effect with the next write of the control register.
const HUMIDITY_ONCE: u8 = 0x01;
/// Temperature once, pressure once, forced mode.
const FORCED: u8 = 0x25;
/// As above, after the measurement: the chip sleeps.
const MEASURED: u8 = 0x24;
/// Bit 3: measuring.
const MEASURING: u8 = 0x08;

/// Operating ranges (datasheet, tables 1 to 3).
const TEMPERATURE: Range = Range {
    min: -40.0,
    max: 85.0,
    unit: "Cel",
};
const PRESSURE: Range = Range {
    min: 300.0,
    max: 1_100.0,
    unit: "hPa",
};
/// What a wet or a dry element may show before it counts as broken, in percent; within, the value
/// is cut to 0 to 100.
const HUMIDITY: Range = Range {
    min: -10.0,
    max: 120.0,
    unit: "%RH",
};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bme280Reading {
    /// Degrees Celsius, in hundredths.
    pub temperature: Decimal,
    /// Relative humidity in percent, in hundredths, 0 to 100.
    pub humidity: Decimal,
    /// Hectopascals, in hundredths.
    pub pressure: Decimal,
}

#[derive(Debug, Clone)]
enum State {
    /// Who answers there is not known.
    Unknown,
    Known(Calibration),
    Measuring {
        calibration: Calibration,
        until_ms: u64,
        lost_ms: u64,
    },
}

/// The driver.
#[derive(Debug)]
pub struct Bme280<I2C> {
    i2c: I2C,
    address: u8,
    state: State,
    chip: Chip,
}

impl<I2C: I2c> Bme280<I2C> {
    /// Addresses by where the SDO pin goes: low, high.
    pub const ADDRESSES: [u8; 2] = [0x76, 0x77];

    /// `address` is one of [`Bme280::ADDRESSES`]. Sends nothing yet.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "bme280",
            address: Some(address),
        };
        chip.one_of(
            address,
            &Self::ADDRESSES,
            "the address must be 0x76 or 0x77",
        )?;
        Ok(Self {
            i2c,
            address,
            state: State::Unknown,
            chip,
        })
    }

    /// Starts a measurement, or fetches it once it is done.
    ///
    /// # Errors
    /// The bus, another chip, a reset, or values that the sensor can't measure. The next call
    /// begins with the identity.
    pub fn step(&mut self, now_ms: u64) -> Result<Step<Bme280Reading>, SensorError> {
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Unknown => {
                let calibration = self.identify()?;
                self.start(calibration, now_ms)
            }
            State::Known(calibration) => self.start(calibration, now_ms),
            State::Measuring {
                calibration,
                until_ms,
                lost_ms,
            } => {
                if now_ms < until_ms {
                    self.state = State::Measuring {
                        calibration,
                        until_ms,
                        lost_ms,
                    };
                    return Ok(Step::Wait { until_ms });
                }
                self.fetch(calibration, now_ms, lost_ms)
            }
        }
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn identify(&mut self) -> Result<Calibration, SensorError> {
        let mut id = [0];
        self.registers("identity", IDENTITY, &mut id)?;
        if id != [BME280] {
            let [id] = id;
            // A BMP280 has no humidity; many boards sold as BME280 carry one.
            let name = if id == 0x58 { " (BMP280)" } else { "" };
            let found = format!("{id:#04x}{name}");
            return Err(self.chip.error("identity", Cause::Identity { found }));
        }
        let (mut low, mut high) = ([0; 26], [0; 7]);
        self.registers("calibration", CALIBRATION_LOW, &mut low)?;
        self.registers("calibration", CALIBRATION_HIGH, &mut high)?;
        Calibration::of(&low, &high).ok_or_else(|| {
            let cause = Cause::Refused("the calibration is empty");
            self.chip.error("calibration", cause)
        })
    }

    fn start(
        &mut self,
        calibration: Calibration,
        now_ms: u64,
    ) -> Result<Step<Bme280Reading>, SensorError> {
        for bytes in [[CONTROL_HUMIDITY, HUMIDITY_ONCE], [CONTROL, FORCED]] {
            let sent = self.i2c.write(self.address, &bytes);
            sent.map_err(|error| self.chip.bus("control", &error))?;
        }
        let started = Step::after(now_ms, CONVERSION_MS);
        if let Step::Wait { until_ms } = started {
            self.state = State::Measuring {
                calibration,
                until_ms,
                lost_ms: now_ms.saturating_add(LATE_MS),
            };
        }
        Ok(started)
    }

    fn fetch(
        &mut self,
        calibration: Calibration,
        now_ms: u64,
        lost_ms: u64,
    ) -> Result<Step<Bme280Reading>, SensorError> {
        let mut bytes = [0; 12];
        self.registers("measurement", STATUS, &mut bytes)?;
        let [status, control, _, _, p0, p1, p2, t0, t1, t2, h0, h1] = bytes;
        if status & MEASURING != 0 {
            if now_ms >= lost_ms {
                let waited_ms = u32::try_from(LATE_MS).unwrap_or(u32::MAX);
                return Err(self.chip.error("measurement", Cause::Late { waited_ms }));
            }
            let later = Step::after(now_ms, 1);
            if let Step::Wait { until_ms } = later {
                self.state = State::Measuring {
                    calibration,
                    until_ms,
                    lost_ms,
                };
            }
            return Ok(later);
        }
        if control != MEASURED {
            let cause = Cause::Reset {
                expected: u16::from(MEASURED),
                found: u16::from(control),
            };
            return Err(self.chip.error("control", cause));
        }
        let twenty = |high: u8, middle: u8, low: u8| {
            u32::from(high) << 12 | u32::from(middle) << 4 | u32::from(low) >> 4
        };
        let compensated = calibration.compensate(
            twenty(t0, t1, t2),
            twenty(p0, p1, p2),
            u16::from_be_bytes([h0, h1]),
        );
        let reading = self.convert(&compensated)?;
        self.state = State::Known(calibration);
        Ok(Step::Reading(reading))
    }

    fn convert(&self, measured: &Compensated) -> Result<Bme280Reading, SensorError> {
        let &Compensated {
            celsius,
            pascal,
            percent,
        } = measured;
        let temperature = self.chip.in_range("temperature", celsius, &TEMPERATURE)?;
        let pressure = self.chip.in_range("pressure", pascal / 100.0, &PRESSURE)?;
        let humidity = self.chip.in_range("humidity", percent, &HUMIDITY)?;
        Ok(Bme280Reading {
            temperature: self.chip.decimal("temperature", temperature, EXPONENT)?,
            humidity: self
                .chip
                .decimal("humidity", humidity.clamp(0.0, 100.0), EXPONENT)?,
            pressure: self.chip.decimal("pressure", pressure, EXPONENT)?,
        })
    }

    fn registers(
        &mut self,
        name: &'static str,
        first: u8,
        into: &mut [u8],
    ) -> Result<(), SensorError> {
        let read = self.i2c.write_read(self.address, &[first], into);
        read.map_err(|error| self.chip.bus(name, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest measurement by oversampling of temperature, pressure and humidity, in microseconds
    /// (datasheet, appendix B).
    fn longest_us(temperature: u64, pressure: u64, humidity: u64) -> u64 {
        1_250 + 2_300 * temperature + (2_300 * pressure + 575) + (2_300 * humidity + 575)
    }

    #[test]
    fn a_measurement_is_waited_for_as_long_as_it_can_take() {
        assert_eq!(longest_us(2, 16, 1), 46_100);
        let each_once = longest_us(1, 1, 1);
        assert_eq!(each_once, 9_300);
        assert!(1_000 * CONVERSION_MS >= each_once);
    }
}
