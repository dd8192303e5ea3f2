//! Humid air.
//!
//! Saturation by Tetens as FAO-56 has it (Allen et al. 1998, equation 11), its inverse for the dew
//! point, the slope of equation 13, and absolute humidity from the ideal gas law with 461.5 J/(kg K)
//! for water vapour. Transcendental functions come from `libm`, so that all machines agree.

use libm::{exp, log};

/// Air in which these formulas hold, °C: Tetens is fitted for 0 to 50 and usable a little beyond.
const CELSIUS: core::ops::RangeInclusive<f64> = -40.0..=80.0;
/// Gas constant of water vapour, J/(kg K).
const VAPOUR_GAS: f64 = 461.5;

/// Saturation vapour pressure over water, kPa.
#[must_use]
pub fn saturation_kpa(celsius: f64) -> f64 {
    0.6108 * exp(17.27 * celsius / (celsius + 237.3))
}

/// Slope of the saturation vapour pressure, kPa/K.
#[must_use]
pub fn slope_kpa(celsius: f64) -> f64 {
    let shifted = celsius + 237.3;
    4_098.0 * saturation_kpa(celsius) / (shifted * shifted)
}

/// Vapour pressure deficit, kPa.
#[must_use]
pub fn vpd_kpa(celsius: f64, percent: f64) -> f64 {
    saturation_kpa(celsius) * (1.0 - percent / 100.0)
}

/// Dew point, °C. Below 0.1 % there is none to speak of.
#[must_use]
pub fn dew_point_c(celsius: f64, percent: f64) -> Option<f64> {
    if percent < 0.1 {
        return None;
    }
    let gamma = log(percent / 100.0) + 17.27 * celsius / (237.3 + celsius);
    Some(237.3 * gamma / (17.27 - gamma))
}

/// Water in the air, g/m³.
#[must_use]
pub fn absolute_g_m3(celsius: f64, percent: f64) -> f64 {
    let pascal = 1_000.0 * saturation_kpa(celsius) * percent / 100.0;
    1_000.0 * pascal / (VAPOUR_GAS * (celsius + 273.15))
}

/// Everything of [`super::AIR_OUTPUTS`]; `None` where the formulas do not hold. The margin is that
/// of the surface, or of the air itself where no surface is measured.
pub(super) fn of(celsius: f64, percent: f64, surface: Option<f64>) -> Option<[f64; 6]> {
    if !CELSIUS.contains(&celsius) || !(0.0..=100.0).contains(&percent) {
        return None;
    }
    let dew_point = dew_point_c(celsius, percent)?;
    let saturation = saturation_kpa(celsius);
    Some([
        vpd_kpa(celsius, percent),
        dew_point,
        surface.unwrap_or(celsius) - dew_point,
        absolute_g_m3(celsius, percent),
        saturation * percent / 100.0,
        slope_kpa(celsius),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vapour_pressure_deficits() {
        for (celsius, percent, expected) in [
            (25.0, 60.0, 1.27),
            (25.0, 80.0, 0.63),
            (25.0, 90.0, 0.32),
            (30.0, 60.0, 1.70),
            (30.0, 80.0, 0.85),
            (30.0, 90.0, 0.42),
            (35.0, 80.0, 1.12),
            (35.0, 90.0, 0.56),
        ] {
            let found = vpd_kpa(celsius, percent);
            assert!(
                (found - expected).abs() < 0.005,
                "{celsius}/{percent}: {found}"
            );
        }
    }

    #[test]
    fn dew_points() {
        for (celsius, percent, expected) in [
            (25.0, 60.0, 16.70),
            (30.0, 80.0, 26.17),
            (35.0, 90.0, 33.11),
            (22.0, 98.0, 21.67),
            (20.0, 100.0, 20.0),
        ] {
            let found = dew_point_c(celsius, percent).unwrap();
            assert!(
                (found - expected).abs() < 0.005,
                "{celsius}/{percent}: {found}"
            );
        }
        assert_eq!(dew_point_c(20.0, 0.0), None);
    }

    #[test]
    fn water_in_the_air() {
        // 2.1668 · e / (T + 273.15): e = 3167.8 Pa · 0.6 at 25 °C.
        let found = absolute_g_m3(25.0, 60.0);
        assert!((found - 13.81).abs() < 0.01, "{found}");
        assert!((slope_kpa(38.0) - 0.358).abs() < 0.000_5);
    }

    #[test]
    fn outside_its_range_nothing_is_calculated() {
        assert_eq!(of(-41.0, 50.0, None), None);
        assert_eq!(of(81.0, 50.0, None), None);
        assert_eq!(of(25.0, 100.1, None), None);
        assert_eq!(of(25.0, 0.0, None), None);
        assert_eq!(of(f64::NAN, 50.0, None), None);
        let [.., margin, _, _, _] = of(25.0, 60.0, Some(18.0)).unwrap();
        assert!((margin - 1.3).abs() < 0.005, "{margin}");
    }
}
