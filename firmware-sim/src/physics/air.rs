//! Humid air: saturation, relative humidity, dew point.

use libm::exp;

/// 0 °C in K.
pub(crate) const KELVIN: f64 = 273.15;

/// Temperature and humidity at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Air {
    /// °C.
    pub temperature_c: f64,
    /// Relative humidity, %.
    pub humidity_pct: f64,
}

impl Air {
    pub(crate) fn of_vapour(temperature_c: f64, vapour_pa: f64) -> Self {
        let humidity_pct = 100.0 * vapour_pa / saturation_pa(temperature_c);
        Self {
            temperature_c,
            humidity_pct: humidity_pct.clamp(0.0, 100.0),
        }
    }

    pub(crate) fn vapour_pa(self) -> f64 {
        self.humidity_pct / 100.0 * saturation_pa(self.temperature_c)
    }

    /// The same vapour, warmer by `kelvin`.
    pub(crate) fn warmed(self, kelvin: f64) -> Self {
        Self::of_vapour(self.temperature_c + kelvin, self.vapour_pa())
    }
}

/// Saturation vapour pressure in Pa (Tetens, FAO-56 equation 11).
pub(crate) fn saturation_pa(temperature_c: f64) -> f64 {
    610.8 * exp(17.27 * temperature_c / (temperature_c + 237.3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dew_points() {
        let check = |temperature_c, humidity_pct, expected: f64| {
            let air = Air {
                temperature_c,
                humidity_pct,
            };
            let dew = dew_point_c(air.vapour_pa());
            assert!((dew - expected).abs() < 0.01, "{air:?}: {dew}");
        };
        check(25.0, 60.0, 16.70);
        check(30.0, 80.0, 26.17);
        check(35.0, 90.0, 33.11);
        check(22.0, 98.0, 21.67);
    }

    #[test]
    fn warming_keeps_the_vapour() {
        let air = Air {
            temperature_c: 25.0,
            humidity_pct: 80.0,
        };
        let warm = air.warmed(8.0);
        assert!((warm.temperature_c - 33.0).abs() < 1e-12);
        assert!((warm.vapour_pa() - air.vapour_pa()).abs() < 1e-9);
    }

    /// Temperature in °C at which this vapour pressure saturates.
    fn dew_point_c(vapour_pa: f64) -> f64 {
        let gamma = libm::log(vapour_pa.max(1.0) / 610.8);
        237.3 * gamma / (17.27 - gamma)
    }
}
