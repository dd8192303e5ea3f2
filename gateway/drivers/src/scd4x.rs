//! SCD40, SCD41: carbon dioxide, with its own temperature and humidity.
//!
//! Over the crate `libscd`. The sensor measures by itself every 5 s; a reading fetches the newest
//! measurement in a few milliseconds. What takes longer (the sensor answers nothing for 500 ms after
//! a stop) is a step to come back for, not a wait: see [`Scd4x::step`].
//!
//! After a restart of the program the sensor may still be measuring and then refuses settings, so
//! the first step always stops it.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;
use libscd::error::Error;
use libscd::measurement::Measurement;
use libscd::synchronous::scd4x::Scd4x as Inner;

use crate::error::{Chip, Range};
use crate::{Cause, SensorError};

pub use crate::step::Step;

/// The only address of the family.
pub const ADDRESS: u8 = 0x62;
/// Decimal exponent of temperature and humidity: hundredths.
pub const EXPONENT: i8 = -2;
/// Time from one measurement to the next, in milliseconds (datasheet, periodic measurement).
pub const PERIOD_MS: u64 = 5_000;
/// A measurement is handed out again while it is not older than this, in milliseconds: two periods,
/// so that a reading just before the sensor's own tick is no gap.
const AGE_MAX_MS: u64 = 2 * PERIOD_MS;
/// Without a measurement for this long the sensor has lost its mode (a brown-out) and is set up anew.
const SILENCE_MS: u64 = 3 * PERIOD_MS;
/// Delays from here on are steps, in milliseconds.
const STEP_MS: u32 = 100;

const CO2: Range = Range {
    min: 1.0,
    max: 40_000.0,
    unit: "[ppm]",
};
const TEMPERATURE: Range = Range {
    min: -10.0,
    max: 60.0,
    unit: "Cel",
};
const HUMIDITY: Range = Range {
    min: 0.0,
    max: 100.0,
    unit: "%RH",
};

/// How the sensor is set up after each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scd4xSettings {
    /// Whether the sensor takes the least value of a week for fresh air (400 ppm). True for a vented
    /// net-house, false where CO2 is dosed or the house is sealed.
    pub self_calibration: bool,
    /// Metres above sea level, at most 3000; `None` leaves what the sensor has stored.
    pub altitude_m: Option<u16>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scd4xReading {
    /// Carbon dioxide in ppm, whole.
    pub co2: Decimal,
    /// Degrees Celsius, in hundredths.
    pub temperature: Decimal,
    /// Relative humidity in percent, in hundredths.
    pub humidity: Decimal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing is known: it may be measuring.
    Unknown,
    /// Told to stop; deaf until then.
    Stopped { until_ms: u64 },
    /// Measuring since then, or last heard then.
    Measuring {
        heard_ms: u64,
        last: Option<(u64, Scd4xReading)>,
    },
}

/// The driver.
#[derive(Debug)]
pub struct Scd4x<I2C, D> {
    i2c: I2C,
    delay: D,
    settings: Scd4xSettings,
    mode: Mode,
}

const CHIP: Chip = Chip {
    name: "scd4x",
    address: Some(ADDRESS),
};

impl<I2C: I2c, D: DelayNs> Scd4x<I2C, D> {
    /// Sends nothing yet.
    pub fn new(i2c: I2C, delay: D, settings: Scd4xSettings) -> Self {
        Self {
            i2c,
            delay,
            settings,
            mode: Mode::Unknown,
        }
    }

    /// Does the next thing that can be done in a few milliseconds: stop the sensor, set it up and
    /// start it, or fetch a measurement. Calling it early is harmless: it answers `Wait` again.
    ///
    /// # Errors
    /// The bus, the checksum, or values that the sensor can't measure. After an error, the next
    /// call goes on where this one failed.
    pub fn step(&mut self, now_ms: u64) -> Result<Step<Scd4xReading>, SensorError> {
        match self.mode {
            Mode::Unknown => self.stop(now_ms),
            Mode::Stopped { until_ms } if now_ms < until_ms => Ok(Step::Wait { until_ms }),
            Mode::Stopped { .. } => self.start(now_ms),
            Mode::Measuring { heard_ms, last } => self.fetch(heard_ms, last, now_ms),
        }
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn stop(&mut self, now_ms: u64) -> Result<Step<Scd4xReading>, SensorError> {
        let deferred_ms = self
            .run("stop", |sensor| sensor.stop_periodic_measurement())?
            .1;
        let until_ms = now_ms.saturating_add(u64::from(deferred_ms));
        self.mode = Mode::Stopped { until_ms };
        Ok(Step::Wait { until_ms })
    }

    fn start(&mut self, now_ms: u64) -> Result<Step<Scd4xReading>, SensorError> {
        // Should anything fail, the sensor is stopped again first.
        self.mode = Mode::Unknown;
        let Scd4xSettings {
            self_calibration,
            altitude_m,
        } = self.settings;
        self.run("self-calibration", |s| {
            s.enable_automatic_self_calibration(self_calibration)
        })?;
        if let Some(altitude) = altitude_m {
            self.run("altitude", |sensor| sensor.set_sensor_altitude(altitude))?;
        }
        self.run("start", |sensor| sensor.start_periodic_measurement())?;
        self.mode = Mode::Measuring {
            heard_ms: now_ms,
            last: None,
        };
        Ok(Step::Wait {
            until_ms: now_ms.saturating_add(PERIOD_MS),
        })
    }

    fn fetch(
        &mut self,
        heard_ms: u64,
        last: Option<(u64, Scd4xReading)>,
        now_ms: u64,
    ) -> Result<Step<Scd4xReading>, SensorError> {
        let ready = self.run("data ready", |sensor| sensor.data_ready())?.0;
        if ready {
            let reading = convert(
                &self
                    .run("measurement", |sensor| sensor.read_measurement())?
                    .0,
            )?;
            let last = Some((now_ms, reading));
            self.mode = Mode::Measuring {
                heard_ms: now_ms,
                last,
            };
            return Ok(Step::Reading(reading));
        }
        if now_ms.saturating_sub(heard_ms) >= SILENCE_MS {
            return self.stop(now_ms);
        }
        match last {
            Some((at_ms, reading)) if now_ms.saturating_sub(at_ms) < AGE_MAX_MS => {
                Ok(Step::Reading(reading))
            }
            Some(_) | None => Ok(Step::Wait {
                until_ms: heard_ms.saturating_add(PERIOD_MS).max(now_ms),
            }),
        }
    }

    /// Runs one command and answers how many milliseconds it left to be waited by the caller.
    fn run<T>(
        &mut self,
        register: &'static str,
        command: impl FnOnce(&mut Inner<&mut I2C, Stepped<'_, D>>) -> Result<T, Error<I2C::Error>>,
    ) -> Result<(T, u32), SensorError> {
        let mut deferred_ms = 0;
        let delay = Stepped {
            inner: &mut self.delay,
            deferred_ms: &mut deferred_ms,
        };
        let mut sensor = Inner::new(&mut self.i2c, delay);
        let answer = command(&mut sensor).map_err(|error| match error {
            Error::I2C(error) => CHIP.bus(register, &error),
            Error::CRC => CHIP.error(register, Cause::Checksum),
            Error::NotAllowed => CHIP.error(register, Cause::Refused("the sensor is measuring")),
            Error::InvalidInput => {
                CHIP.error(register, Cause::Refused("the setting is out of range"))
            }
        })?;
        Ok((answer, deferred_ms))
    }
}

/// Checks the ranges and rounds to the sensor's resolution.
fn convert(measured: &Measurement) -> Result<Scd4xReading, SensorError> {
    let co2 = i64::from(measured.co2);
    CHIP.in_range("co2", f64::from(measured.co2), &CO2)?;
    let temperature = CHIP.in_range("temperature", measured.temperature.into(), &TEMPERATURE)?;
    let humidity = CHIP.in_range("humidity", measured.humidity.into(), &HUMIDITY)?;
    Ok(Scd4xReading {
        co2: Decimal {
            mantissa: co2,
            exponent: 0,
        },
        temperature: CHIP.decimal("temperature", temperature, EXPONENT)?,
        humidity: CHIP.decimal("humidity", humidity, EXPONENT)?,
    })
}

/// Waits for short delays and notes long ones.
struct Stepped<'a, D> {
    inner: &'a mut D,
    deferred_ms: &'a mut u32,
}

impl<D: DelayNs> DelayNs for Stepped<'_, D> {
    fn delay_ns(&mut self, ns: u32) {
        self.inner.delay_ns(ns);
    }

    fn delay_ms(&mut self, ms: u32) {
        if ms >= STEP_MS {
            *self.deferred_ms = self.deferred_ms.saturating_add(ms);
        } else if ms > 0 {
            self.inner.delay_ms(ms);
        }
    }
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
        // Datasheet example: 500 ppm, 25 °C, 37 %.
        check(500, 25.000_763, 37.000_076, Some((500, 2_500, 3_700)));
        check(40_000, 60.0, 100.0, Some((40_000, 6_000, 10_000)));
        check(1, -10.0, 0.0, Some((1, -1_000, 0)));
        check(0, 25.0, 37.0, None);
        check(0xFFFF, 25.0, 37.0, None);
        check(500, 130.0, 37.0, None);
        check(500, -45.0, 37.0, None);
        check(500, f32::NAN, 37.0, None);
        check(500, 25.0, f32::INFINITY, None);
    }
}
