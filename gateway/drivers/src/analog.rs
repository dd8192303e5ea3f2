//! From the voltage of an analog input to the quantity behind it.
//!
//! Pure functions; only additions, multiplications and divisions, so that all machines agree on every
//! bit.

use furrow_wire::Decimal;

use crate::ads1115::volts;
use crate::error::{Chip, Range};
use crate::{Cause, SensorError};

/// At or below this a 4-20 mA loop is broken (NAMUR NE 43), in milliamperes.
pub const BROKEN_WIRE_MA: f64 = 3.6;
/// At or above this a 4-20 mA loop is shorted (NAMUR NE 43), in milliamperes.
pub const SHORT_CIRCUIT_MA: f64 = 21.0;
/// Currents that are measurements (NAMUR NE 43): a little beyond 4 to 20 mA.
const LOOP: Range = Range {
    min: 3.8,
    max: 20.5,
    unit: "mA",
};
/// What the sun gives at most, clouds' edges included; the night offset of thermopiles is below 0.
const RADIATION: Range = Range {
    min: -20.0,
    max: 2_000.0,
    unit: "W/m2",
};
/// How far beyond its two calibration points a moisture probe may read before it counts as unplugged
/// or broken, in percent.
const MOISTURE: Range = Range {
    min: -15.0,
    max: 115.0,
    unit: "%",
};

/// One count of the converter in its range of 4.096 V.
const MICROVOLTS_A_COUNT: i64 = 125;
/// Decimal exponent of a raw voltage.
const VOLTS_EXPONENT: i8 = -6;

/// What hangs on an analog input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conversion {
    /// A pyranometer with amplifier.
    Pyranometer {
        /// Volts per W/m².
        volts_per_unit: f64,
    },
    /// A transmitter in a 4-20 mA loop.
    CurrentLoop {
        /// The resistor that the loop's current flows through, in ohms.
        shunt_ohms: f64,
        /// The value at 4 mA, in the channel's unit.
        at_4_ma: f64,
        /// The value at 20 mA, in the channel's unit.
        at_20_ma: f64,
    },
    /// A capacitive moisture probe, calibrated at two points. An index, not water content: such
    /// probes depend on soil, salt and temperature.
    CapacitiveMoisture {
        /// Volts in dry soil (or air): 0 %.
        dry_volts: f64,
        /// Volts in wet soil (or water): 100 %.
        wet_volts: f64,
    },
}

impl Conversion {
    /// The value of a conversion result, rounded to `exponent`.
    ///
    /// # Errors
    /// What can't be a measurement: a broken wire, a short circuit, a saturated input, a value that
    /// the sensor can't give.
    pub fn convert(&self, counts: i16, exponent: i8) -> Result<Decimal, SensorError> {
        self.finish(self.raw(counts, exponent)?, exponent)
    }

    /// What a calibration on site starts from: for a moisture probe the voltage in microvolts, since
    /// its two points are replaced as a whole; for everything else the value itself.
    ///
    /// # Errors
    /// As [`Conversion::convert`], except for a probe's value, which is not known yet.
    pub fn raw(&self, counts: i16, exponent: i8) -> Result<Decimal, SensorError> {
        let failed = |cause| self.chip().error("input", cause);
        if counts == i16::MAX || counts == i16::MIN {
            return Err(failed(Cause::OutOfRange {
                value: volts(counts),
                min: volts(i16::MIN + 1),
                max: volts(i16::MAX - 1),
                unit: "V",
            }));
        }
        match self {
            Conversion::Pyranometer { .. } | Conversion::CurrentLoop { .. } => {
                self.rounded(volts(counts), exponent)
            }
            Conversion::CapacitiveMoisture { .. } => Ok(Decimal {
                mantissa: i64::from(counts) * MICROVOLTS_A_COUNT,
                exponent: VOLTS_EXPONENT,
            }),
        }
    }

    /// The value of what [`Conversion::raw`] gave, by the configured points.
    ///
    /// # Errors
    /// A probe's value that it can't have.
    pub fn finish(&self, raw: Decimal, exponent: i8) -> Result<Decimal, SensorError> {
        match self {
            Conversion::Pyranometer { .. } | Conversion::CurrentLoop { .. } => Ok(raw),
            Conversion::CapacitiveMoisture { .. } => self.rounded(raw.to_f64(), exponent),
        }
    }

    /// Unit of what [`Conversion::raw`] gives; `None` for the channel's.
    #[must_use]
    pub fn raw_unit(&self) -> Option<&'static str> {
        match self {
            Conversion::Pyranometer { .. } | Conversion::CurrentLoop { .. } => None,
            Conversion::CapacitiveMoisture { .. } => Some("V"),
        }
    }

    fn rounded(&self, volts: f64, exponent: i8) -> Result<Decimal, SensorError> {
        let failed = |cause| self.chip().error("input", cause);
        let value = self.value(volts).map_err(failed)?;
        let mantissa = Decimal::mantissa_of(value, exponent)
            .ok_or_else(|| failed(Cause::Refused("the value does not fit its decimals")))?;
        Ok(Decimal { mantissa, exponent })
    }

    fn chip(&self) -> Chip {
        Chip {
            name: self.name(),
            address: None,
        }
    }

    fn value(&self, volts: f64) -> Result<f64, Cause> {
        match *self {
            Conversion::Pyranometer { volts_per_unit } => {
                // The zero offset at night is no negative sunshine.
                Ok(RADIATION.check(volts / volts_per_unit)?.max(0.0))
            }
            Conversion::CurrentLoop {
                shunt_ohms,
                at_4_ma,
                at_20_ma,
            } => {
                let milliamps = volts / shunt_ohms * 1_000.0;
                if milliamps <= BROKEN_WIRE_MA {
                    return Err(Cause::BrokenWire { milliamps });
                }
                if milliamps >= SHORT_CIRCUIT_MA {
                    return Err(Cause::ShortCircuit { milliamps });
                }
                let milliamps = LOOP.check(milliamps)?;
                Ok(at_4_ma + (milliamps - 4.0) / 16.0 * (at_20_ma - at_4_ma))
            }
            Conversion::CapacitiveMoisture {
                dry_volts,
                wet_volts,
            } => {
                let percent = (dry_volts - volts) / (dry_volts - wet_volts) * 100.0;
                Ok(MOISTURE.check(percent)?.clamp(0.0, 100.0))
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Conversion::Pyranometer { .. } => "pyranometer",
            Conversion::CurrentLoop { .. } => "current-loop",
            Conversion::CapacitiveMoisture { .. } => "capacitive-moisture",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYRANOMETER: Conversion = Conversion::Pyranometer {
        volts_per_unit: 0.002,
    };
    /// 0 to 2.5 m over 100 Ω.
    const TANK: Conversion = Conversion::CurrentLoop {
        shunt_ohms: 100.0,
        at_4_ma: 0.0,
        at_20_ma: 2.5,
    };
    const PROBE: Conversion = Conversion::CapacitiveMoisture {
        dry_volts: 2.90,
        wet_volts: 1.30,
    };

    #[track_caller]
    fn check(conversion: Conversion, counts: i16, exponent: i8, expected: &str) {
        let found = match conversion.convert(counts, exponent) {
            Ok(value) => value.to_string(),
            Err(error) => error.cause.to_string(),
        };
        assert_eq!(found, expected, "{counts} counts");
    }

    #[test]
    fn pyranometer() {
        check(PYRANOMETER, 0, -2, "0.00");
        check(PYRANOMETER, -1, -2, "0.00");
        check(PYRANOMETER, 0x1F40, -2, "500.00");
        check(PYRANOMETER, 20_000, -2, "1250.00");
        check(
            PYRANOMETER,
            -321,
            -2,
            "value -20.06 is outside -20.00 to 2000.00 W/m2",
        );
        check(
            PYRANOMETER,
            i16::MAX,
            -2,
            "value 4.10 is outside -4.10 to 4.10 V",
        );
        check(
            PYRANOMETER,
            i16::MIN,
            -2,
            "value -4.10 is outside -4.10 to 4.10 V",
        );
    }

    #[test]
    fn current_loop_with_fault_bands() {
        // 125 µV a count over 100 Ω: 800 counts a milliampere.
        check(TANK, 3_200, -3, "0.000");
        check(TANK, 9_600, -3, "1.250");
        // 12 mA of a probe of 5 m.
        let probe = Conversion::CurrentLoop {
            shunt_ohms: 100.0,
            at_4_ma: 0.0,
            at_20_ma: 5.0,
        };
        check(probe, 9_600, -3, "2.500");
        check(TANK, 16_000, -3, "2.500");
        check(TANK, 16_400, -3, "2.578");
        check(TANK, 3_040, -3, "-0.031");
        check(TANK, 2_880, -3, "broken wire: 3.60 mA");
        check(TANK, 0, -3, "broken wire: 0.00 mA");
        check(TANK, -1, -3, "broken wire: -0.00 mA");
        check(TANK, 2_960, -3, "value 3.70 is outside 3.80 to 20.50 mA");
        check(TANK, 16_800, -3, "short circuit: 21.00 mA");
    }

    #[test]
    fn capacitive_moisture() {
        check(PROBE, 23_200, -1, "0.0");
        check(PROBE, 10_400, -1, "100.0");
        check(PROBE, 16_800, -1, "50.0");
        // A little beyond the calibration is still dry or wet.
        check(PROBE, 24_000, -1, "0.0");
        check(PROBE, 9_600, -1, "100.0");
        check(PROBE, 0, -1, "value 181.25 is outside -15.00 to 115.00 %");
        check(PROBE, -1, -1, "value 181.26 is outside -15.00 to 115.00 %");
    }

    #[test]
    fn the_raw_value_of_a_probe_is_its_voltage() {
        assert_eq!(PROBE.raw(16_800, -1).unwrap().to_string(), "2.100000");
        assert_eq!(PROBE.raw(0, -1).unwrap().to_string(), "0.000000");
        assert!(PROBE.raw(i16::MAX, -1).is_err());
        assert_eq!(TANK.raw(9_600, -3).unwrap().to_string(), "1.250");
    }

    #[test]
    fn nonsense_settings_yield_no_number() {
        let shorted = Conversion::CapacitiveMoisture {
            dry_volts: 1.0,
            wet_volts: 1.0,
        };
        assert!(shorted.convert(8_000, -1).is_err());
        let nothing = Conversion::Pyranometer {
            volts_per_unit: 0.0,
        };
        assert!(nothing.convert(0, -2).is_err());
    }
}
