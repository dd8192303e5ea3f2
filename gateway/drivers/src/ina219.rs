//! INA219: voltage, current and power of a supply or a battery.
//!
//! Over the crate `ina219`, register by register: its combined reads need a bus that takes several
//! reads in one transaction. Current and power are calculated from the shunt's voltage, so there is
//! no calibration register that a brown-out could empty. The settings are read back before each
//! reading.

use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;
use ina219::SyncIna219 as Inner;
use ina219::address::Address;
use ina219::calibration::UnCalibrated;
use ina219::configuration::{Configuration, Resolution};
use ina219::errors::{BusVoltageReadError, ConfigurationReadError, ShuntVoltageReadError};

use crate::error::{Chip, Range};
use crate::{Cause, SensorError};

/// Decimal exponent of voltage and power: thousandths.
pub const EXPONENT: i8 = -3;
/// Decimal exponent of the current: tenths of a milliampere.
pub const CURRENT_EXPONENT: i8 = -4;
/// Resistances of the shunt that make sense, in ohms: 0.32 V across it is full scale.
pub const SHUNT_OHMS: core::ops::RangeInclusive<f64> = 0.000_1..=10.0;
/// The mean of 128 conversions: 68 ms (datasheet, table 5).
const AVERAGED: Resolution = Resolution::Avg128;
/// What the chip's bus input stands (datasheet, 7.3).
const VOLTAGE: Range = Range {
    min: 0.0,
    max: 26.0,
    unit: "V",
};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerReading {
    /// Volts, in thousandths; the chip resolves 4 mV.
    pub voltage: Decimal,
    /// Amperes, in tenths of a milliampere; negative flows back.
    pub current: Decimal,
    /// Watts, in thousandths.
    pub power: Decimal,
}

/// The driver.
pub struct Ina219<I2C> {
    inner: Inner<I2C, UnCalibrated>,
    shunt_ohms: f64,
    chip: Chip,
}

impl<I2C: I2c> Ina219<I2C> {
    /// First and last of the addresses that A0 and A1 choose.
    pub const ADDRESSES: core::ops::RangeInclusive<u8> = 0x40..=0x4F;

    /// `address` lies in [`Ina219::ADDRESSES`], `shunt_ohms` in [`SHUNT_OHMS`]. Sends nothing yet.
    ///
    /// # Errors
    /// Another address or shunt.
    pub fn new(i2c: I2C, address: u8, shunt_ohms: f64) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "ina219",
            address: Some(address),
        };
        let refused = |register, why| chip.error(register, Cause::Refused(why));
        let place = Address::from_byte(address)
            .map_err(|_| refused("address", "the address must be 0x40 to 0x4f"))?;
        if !SHUNT_OHMS.contains(&shunt_ohms) {
            return Err(refused("shunt", "the shunt must be 0.0001 to 10 ohms"));
        }
        Ok(Self {
            inner: Inner::new_unchecked(i2c, place, UnCalibrated),
            shunt_ohms,
            chip,
        })
    }

    /// Writes the settings; the first mean is there 68 ms later.
    ///
    /// # Errors
    /// The bus.
    pub fn set_up(&mut self) -> Result<(), SensorError> {
        let set = self.inner.set_configuration(settings());
        set.map_err(|error| self.chip.bus("settings", &error))
    }

    /// The newest means. A chip that lost its settings gets them again, and this reading fails.
    ///
    /// # Errors
    /// The bus, a reset, or values that the sensor can't measure.
    pub fn read(&mut self) -> Result<PowerReading, SensorError> {
        let chip = self.chip;
        let found = self.inner.configuration().map_err(|error| match error {
            ConfigurationReadError::I2cError(error) => chip.bus("settings", &error),
            ConfigurationReadError::ConfigurationMismatch { .. } => {
                chip.error("settings", Cause::Refused("the settings changed"))
            }
        })?;
        if found != settings() {
            self.set_up()?;
            let (expected, found) = (settings().as_bits(), found.as_bits());
            return Err(chip.error("settings", Cause::Reset { expected, found }));
        }
        let voltage = self.inner.bus_voltage().map_err(|error| match error {
            BusVoltageReadError::I2cError(error) => chip.bus("bus voltage", &error),
            BusVoltageReadError::BusVoltageOutOfRange { is, .. } => {
                chip.error("bus voltage", beyond(f64::from(is.voltage_mv()) / 1e3))
            }
        })?;
        if !voltage.is_conversion_ready() {
            return Err(chip.error("bus voltage", Cause::NotReady));
        }
        let shunt = self.inner.shunt_voltage().map_err(|error| match error {
            ShuntVoltageReadError::I2cError(error) => chip.bus("shunt voltage", &error),
            ShuntVoltageReadError::ShuntVoltageOutOfRange { is, .. } => {
                chip.error("shunt voltage", self.over_current(is.shunt_voltage_10uv()))
            }
        })?;
        self.convert(voltage.voltage_mv(), shunt.shunt_voltage_10uv())
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.inner.destroy()
    }

    fn convert(&self, millivolts: u16, shunt_10uv: i16) -> Result<PowerReading, SensorError> {
        let volts = f64::from(millivolts) / 1e3;
        self.chip.in_range("bus voltage", volts, &VOLTAGE)?;
        if shunt_10uv.unsigned_abs() > SHUNT_MAX_10UV {
            let cause = self.over_current(shunt_10uv);
            return Err(self.chip.error("shunt voltage", cause));
        }
        let amperes = self.amperes(shunt_10uv);
        Ok(PowerReading {
            voltage: Decimal {
                mantissa: i64::from(millivolts),
                exponent: EXPONENT,
            },
            current: self.chip.decimal("current", amperes, CURRENT_EXPONENT)?,
            power: self.chip.decimal("power", volts * amperes, EXPONENT)?,
        })
    }

    fn amperes(&self, shunt_10uv: i16) -> f64 {
        f64::from(shunt_10uv) / 1e5 / self.shunt_ohms
    }

    fn over_current(&self, shunt_10uv: i16) -> Cause {
        let most = 0.32 / self.shunt_ohms;
        Cause::OutOfRange {
            value: self.amperes(shunt_10uv),
            min: -most,
            max: most,
            unit: "A",
        }
    }
}

/// Full scale of the shunt at the widest range: 320 mV. At the end it is saturated.
const SHUNT_MAX_10UV: u16 = 31_999;

fn settings() -> Configuration {
    Configuration {
        bus_resolution: AVERAGED,
        shunt_resolution: AVERAGED,
        ..Configuration::default()
    }
}

fn beyond(volts: f64) -> Cause {
    let Range { min, max, unit } = VOLTAGE;
    Cause::OutOfRange {
        value: volts,
        min,
        max,
        unit,
    }
}

impl<I2C> std::fmt::Debug for Ina219<I2C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ina219")
            .field("chip", &self.chip)
            .field("shunt_ohms", &self.shunt_ohms)
            .finish_non_exhaustive()
    }
}
