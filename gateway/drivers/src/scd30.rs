//! SCD30: carbon dioxide by infrared, with its own temperature and humidity.
//!
//! Over the crate `libscd`, which waits 5 ms between write and read (the datasheet asks for 3) and
//! checks the CRC. The sensor measures by itself and stretches the clock: on a Pi it needs a
//! bit-banged bus. Its settings survive a loss of power and wear its memory, so one that already
//! holds is not written again.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;
use libscd::error::Error;
use libscd::measurement::Measurement;
use libscd::synchronous::scd30::Scd30 as Inner;

use crate::error::{Chip, Range};
use crate::step::Step;
use crate::{Cause, SensorError};

/// The only address of the part.
pub const ADDRESS: u8 = 0x61;
/// Decimal exponent of temperature and humidity: hundredths.
pub const EXPONENT: i8 = -2;
/// The sensor measures this often, in seconds: its default, and the rate it is specified for.
const INTERVAL_S: u16 = 2;
/// A measurement is handed out again while it is not older than this, in milliseconds.
const AGE_MAX_MS: u64 = 5_000;
/// Without a measurement for this long the sensor has stopped and is set up anew.
const SILENCE_MS: u64 = 10_000;

const CO2: Range = Range {
    min: 1.0,
    max: 40_000.0,
    unit: "[ppm]",
};
const TEMPERATURE: Range = Range {
    min: -40.0,
    max: 70.0,
    unit: "Cel",
};
const HUMIDITY: Range = Range {
    min: 0.0,
    max: 100.0,
    unit: "%RH",
};

/// How the sensor is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scd30Settings {
    /// Whether the sensor takes the least value of a week for fresh air; needs an hour of it a day.
    pub self_calibration: bool,
    /// Metres above sea level, at most 3000; `None` leaves what the sensor has stored.
    pub altitude_m: Option<u16>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scd30Reading {
    /// Carbon dioxide in ppm, whole.
    pub co2: Decimal,
    /// Degrees Celsius, in hundredths.
    pub temperature: Decimal,
    /// Relative humidity in percent, in hundredths.
    pub humidity: Decimal,
}

/// The driver.
#[derive(Debug)]
pub struct Scd30<I2C, D> {
    i2c: I2C,
    delay: D,
    settings: Scd30Settings,
    /// Measuring: last heard then, with the last reading.
    measuring: Option<(u64, Option<(u64, Scd30Reading)>)>,
}

const CHIP: Chip = Chip {
    name: "scd30",
    address: Some(ADDRESS),
};

impl<I2C: I2c, D: DelayNs> Scd30<I2C, D> {
    /// Sends nothing yet.
    pub fn new(i2c: I2C, delay: D, settings: Scd30Settings) -> Self {
        Self {
            i2c,
            delay,
            settings,
            measuring: None,
        }
    }

    /// Sets the sensor up and starts it, or fetches the newest measurement.
    ///
    /// # Errors
    /// The bus, the checksum, or values that the sensor can't measure.
    pub fn step(&mut self, now_ms: u64) -> Result<Step<Scd30Reading>, SensorError> {
        let Some((heard_ms, last)) = self.measuring else {
            return self.start(now_ms);
        };
        if self.run("data ready", |s| s.data_ready())? {
            let reading = convert(&self.run("measurement", |s| s.read_measurement())?)?;
            self.measuring = Some((now_ms, Some((now_ms, reading))));
            return Ok(Step::Reading(reading));
        }
        if now_ms.saturating_sub(heard_ms) >= SILENCE_MS {
            return self.start(now_ms);
        }
        match last {
            Some((at_ms, reading)) if now_ms.saturating_sub(at_ms) < AGE_MAX_MS => {
                Ok(Step::Reading(reading))
            }
            Some(_) | None => Ok(Step::Wait {
                until_ms: heard_ms.saturating_add(AGE_MAX_MS).max(now_ms),
            }),
        }
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn start(&mut self, now_ms: u64) -> Result<Step<Scd30Reading>, SensorError> {
        // Should anything fail, it is set up again.
        self.measuring = None;
        let Scd30Settings {
            self_calibration,
            altitude_m,
        } = self.settings;
        if self.run("interval", |s| s.get_measurement_interval())? != INTERVAL_S {
            self.run("interval", |s| s.set_measurement_interval(INTERVAL_S))?;
        }
        let register = "self-calibration";
        if self.run(register, |s| s.get_automatic_self_calibration())? != self_calibration {
            self.run(register, |s| {
                s.enable_automatic_self_calibration(self_calibration)
            })?;
        }
        if let Some(metres) = altitude_m
            && self.run("altitude", |s| s.get_altitude_compensation())? != metres
        {
            self.run("altitude", |s| s.set_altitude_compensation(metres))?;
        }
        self.run("start", |s| s.start_continuous_measurement(0))?;
        self.measuring = Some((now_ms, None));
        Ok(Step::after(now_ms, u64::from(INTERVAL_S) * 1_000))
    }

    fn run<T>(
        &mut self,
        register: &'static str,
        command: impl FnOnce(&mut Inner<&mut I2C, &mut D>) -> Result<T, Error<I2C::Error>>,
    ) -> Result<T, SensorError> {
        let mut sensor = Inner::new(&mut self.i2c, &mut self.delay);
        command(&mut sensor).map_err(|error| match error {
            Error::I2C(error) => CHIP.bus(register, &error),
            Error::CRC => CHIP.error(register, Cause::Checksum),
            Error::NotAllowed | Error::InvalidInput => {
                CHIP.error(register, Cause::Refused("the setting is out of range"))
            }
        })
    }
}

/// Checks the ranges and rounds to the sensor's resolution.
fn convert(measured: &Measurement) -> Result<Scd30Reading, SensorError> {
    CHIP.in_range("co2", f64::from(measured.co2), &CO2)?;
    let temperature = CHIP.in_range("temperature", measured.temperature.into(), &TEMPERATURE)?;
    let humidity = CHIP.in_range("humidity", measured.humidity.into(), &HUMIDITY)?;
    Ok(Scd30Reading {
        co2: Decimal {
            mantissa: i64::from(measured.co2),
            exponent: 0,
        },
        temperature: CHIP.decimal("temperature", temperature, EXPONENT)?,
        humidity: CHIP.decimal("humidity", humidity, EXPONENT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(co2: u16, temperature: f32, humidity: f32, expected: Option<(i64, i64, i64)>) {
        let measured = Measurement {
            temperature,
            humidity,
            co2,
        };
        let found = convert(&measured).ok();
        let found = found.map(|r| (r.co2.mantissa, r.temperature.mantissa, r.humidity.mantissa));
        assert_eq!(found, expected);
    }

    #[test]
    fn converts_what_the_sensor_can_measure_and_nothing_else() {
        check(439, 27.238_28, 48.806_744, Some((439, 2_724, 4_881)));
        check(40_000, 70.0, 100.0, Some((40_000, 7_000, 10_000)));
        // What a NaN or a negative number of the wire becomes in the crate.
        check(0, 25.0, 37.0, None);
        check(0xFFFF, 25.0, 37.0, None);
        check(500, 70.1, 37.0, None);
        check(500, f32::NAN, 37.0, None);
        check(500, 25.0, f32::INFINITY, None);
        check(500, 25.0, -0.1, None);
    }
}
