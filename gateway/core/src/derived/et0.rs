//! Reference evapotranspiration: FAO-56 Penman-Monteith, daily and hourly (Allen et al. 1998).
//!
//! The equations and what they need, for a water balance. Which of the inputs a gateway measures is
//! in `docs/devices.md`: vapour pressure and its slope come from [`super::air`], the radiation sum
//! from [`super::light`]. Units as in the book: °C, kPa, m/s, MJ/m² per day or hour, mm.

use core::f64::consts::{PI, TAU};

use libm::{acos, cos, exp, log, pow, sin, sqrt, tan};

use super::air::{saturation_kpa, slope_kpa};

/// Stefan-Boltzmann, MJ/(K⁴ m² day).
const SIGMA: f64 = 4.903e-9;
/// Solar constant, MJ/(m² min).
const SOLAR: f64 = 0.082;
/// Albedo of the reference grass.
const ALBEDO: f64 = 0.23;

/// Wind that stands for the aerodynamic resistance under a cover, m/s: 208/u₂ = 150 s/m, with which
/// lysimeters in plastic houses agreed best (Fernández et al. 2010, Irrigation Science 28).
const COVERED_WIND_M_S: f64 = 208.0 / 150.0;

/// What is fixed about a greenhouse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Covered {
    /// Part of the measured radiation that reaches the crop, 0.01 to 1: 1 for a sensor inside.
    pub transmission: f64,
    /// Height above the sea, m.
    pub altitude_m: f64,
}

impl Covered {
    /// Reference evapotranspiration now, mm/h, from air temperature in °C, relative humidity in % and
    /// global radiation in W/m²: the hourly form with a fixed aerodynamic resistance. The cover is
    /// about as warm as the crop, so that no long-wave radiation is lost to the sky. `None` where the
    /// inputs can't be.
    #[must_use]
    pub fn rate(&self, celsius: f64, percent: f64, global_w_m2: f64) -> Option<f64> {
        let is_air = (-20.0..=60.0).contains(&celsius) && (0.0..=100.0).contains(&percent);
        if !is_air || !(-20.0..=1_600.0).contains(&global_w_m2) {
            return None;
        }
        let short_wave_mj = global_w_m2.max(0.0) * self.transmission * 3_600.0 / 1e6;
        let net_mj = net_radiation(short_wave_mj, 0.0);
        let saturation_kpa = saturation_kpa(celsius);
        let inputs = Inputs {
            celsius,
            saturation_kpa,
            vapour_kpa: saturation_kpa * percent / 100.0,
            net_mj,
            soil_mj: soil_heat_hour(net_mj, true),
            wind_m_s: COVERED_WIND_M_S,
            psychrometric: psychrometric(pressure_kpa(self.altitude_m)),
        };
        Some(et0(Period::Hour, &inputs))
    }
}

/// The time over which something is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A day; soil heat is small and given.
    Day,
    /// An hour.
    Hour,
}

/// What Penman-Monteith needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inputs {
    /// Mean air temperature of the period, °C.
    pub celsius: f64,
    /// Saturation vapour pressure, kPa: for a day the mean of those at its highest and lowest
    /// temperature.
    pub saturation_kpa: f64,
    /// Vapour pressure, kPa.
    pub vapour_kpa: f64,
    /// Net radiation, MJ/m².
    pub net_mj: f64,
    /// Heat into the soil, MJ/m².
    pub soil_mj: f64,
    /// Wind at 2 m, m/s.
    pub wind_m_s: f64,
    /// Psychrometric constant, kPa/K.
    pub psychrometric: f64,
}

/// Air pressure at a height above the sea in metres, kPa (equation 7).
#[must_use]
pub fn pressure_kpa(height_m: f64) -> f64 {
    101.3 * pow((293.0 - 0.0065 * height_m) / 293.0, 5.26)
}

/// Psychrometric constant at a pressure, kPa/K (equation 8).
#[must_use]
pub fn psychrometric(pressure_kpa: f64) -> f64 {
    0.665e-3 * pressure_kpa
}

/// Wind at 2 m from wind at another height (equation 47).
#[must_use]
pub fn wind_at_2_m(wind_m_s: f64, height_m: f64) -> f64 {
    wind_m_s * 4.87 / log(67.8 * height_m - 5.42)
}

/// Radiation above the atmosphere on a day, MJ/m² (equation 21). Latitude in degrees.
#[must_use]
pub fn extraterrestrial_day(latitude: f64, day_of_year: u16) -> f64 {
    let (phi, distance, declination) = sun(latitude, day_of_year);
    let sunset = sunset_angle(phi, declination);
    24.0 * 60.0 / PI
        * SOLAR
        * distance
        * (sunset * sin(phi) * sin(declination) + cos(phi) * cos(declination) * sin(sunset))
}

/// Sunset hour angle, radians (equation 25). Latitude in degrees.
#[must_use]
pub fn sunset(latitude: f64, day_of_year: u16) -> f64 {
    let (phi, _, declination) = sun(latitude, day_of_year);
    sunset_angle(phi, declination)
}

/// Radiation above the atmosphere in an hour, MJ/m² (equation 28): `hour` is the clock time of its
/// middle, longitudes are degrees west of Greenwich, of the place and of its time zone's centre.
#[must_use]
pub fn extraterrestrial_hour(
    latitude: f64,
    day_of_year: u16,
    hour: f64,
    place_west: f64,
    zone_west: f64,
) -> f64 {
    let (phi, distance, declination) = sun(latitude, day_of_year);
    let b = TAU * (f64::from(day_of_year) - 81.0) / 364.0;
    let season = 0.1645 * sin(2.0 * b) - 0.1255 * cos(b) - 0.025 * sin(b);
    let middle = PI / 12.0 * (hour + 0.066_67 * (zone_west - place_west) + season - 12.0);
    let sunset = sunset_angle(phi, declination);
    let clamp = |angle: f64| angle.clamp(-sunset, sunset);
    let (from, to) = (clamp(middle - PI / 24.0), clamp(middle + PI / 24.0));
    let bright = (to - from) * sin(phi) * sin(declination)
        + cos(phi) * cos(declination) * (sin(to) - sin(from));
    12.0 * 60.0 / PI * SOLAR * distance * bright
}

/// Radiation under a clear sky, MJ/m² (equation 37).
#[must_use]
pub fn clear_sky(extraterrestrial: f64, height_m: f64) -> f64 {
    (0.75 + 2e-5 * height_m) * extraterrestrial
}

/// Net long-wave radiation of a day from its highest and lowest temperature, MJ/m² (equation 39).
/// `brightness` is measured over clear-sky radiation.
#[must_use]
pub fn long_wave_day(highest: f64, lowest: f64, vapour_kpa: f64, brightness: f64) -> f64 {
    let fourth = |celsius: f64| pow(celsius + 273.16, 4.0);
    let black = SIGMA * (fourth(highest) + fourth(lowest)) / 2.0;
    long_wave(black, vapour_kpa, brightness)
}

/// Net long-wave radiation of an hour, MJ/m².
#[must_use]
pub fn long_wave_hour(celsius: f64, vapour_kpa: f64, brightness: f64) -> f64 {
    let black = SIGMA / 24.0 * pow(celsius + 273.16, 4.0);
    long_wave(black, vapour_kpa, brightness)
}

/// Net radiation over the reference grass, MJ/m² (equations 38 and 40).
#[must_use]
pub fn net_radiation(measured: f64, long_wave: f64) -> f64 {
    (1.0 - ALBEDO) * measured - long_wave
}

/// Heat into the soil in an hour, MJ/m² (equations 45 and 46).
#[must_use]
pub fn soil_heat_hour(net_mj: f64, is_day: bool) -> f64 {
    if is_day { 0.1 * net_mj } else { 0.5 * net_mj }
}

/// Reference evapotranspiration, mm; never below 0 (equations 6 and 53).
#[must_use]
pub fn et0(period: Period, inputs: &Inputs) -> f64 {
    let numerator = match period {
        Period::Day => 900.0,
        Period::Hour => 37.0,
    };
    let slope = slope_kpa(inputs.celsius);
    let gamma = inputs.psychrometric;
    let radiation = 0.408 * slope * (inputs.net_mj - inputs.soil_mj);
    let deficit = inputs.saturation_kpa - inputs.vapour_kpa;
    let wind = gamma * numerator / (inputs.celsius + 273.0) * inputs.wind_m_s * deficit;
    ((radiation + wind) / (slope + gamma * (1.0 + 0.34 * inputs.wind_m_s))).max(0.0)
}

/// Mean saturation vapour pressure of a day, kPa (equation 12).
#[must_use]
pub fn saturation_of_day(highest: f64, lowest: f64) -> f64 {
    f64::midpoint(saturation_kpa(highest), saturation_kpa(lowest))
}

/// Vapour pressure of a day from humidity at its ends, kPa (equation 17): the highest humidity goes
/// with the lowest temperature.
#[must_use]
pub fn vapour_of_day(highest: f64, lowest: f64, humidity_high: f64, humidity_low: f64) -> f64 {
    let cold = saturation_kpa(lowest) * humidity_high / 100.0;
    let warm = saturation_kpa(highest) * humidity_low / 100.0;
    f64::midpoint(cold, warm)
}

/// Vapour pressure from a dew point, kPa (equation 14).
#[must_use]
pub fn vapour_of_dew_point(celsius: f64) -> f64 {
    0.6108 * exp(17.27 * celsius / (celsius + 237.3))
}

/// Latitude in radians, relative distance and declination of the sun (equations 22 to 24).
fn sun(latitude: f64, day_of_year: u16) -> (f64, f64, f64) {
    let year = TAU / 365.0 * f64::from(day_of_year);
    (
        latitude.to_radians(),
        1.0 + 0.033 * cos(year),
        0.409 * sin(year - 1.39),
    )
}

fn sunset_angle(phi: f64, declination: f64) -> f64 {
    acos((-tan(phi) * tan(declination)).clamp(-1.0, 1.0))
}

fn long_wave(black: f64, vapour_kpa: f64, brightness: f64) -> f64 {
    let humid = 0.34 - 0.14 * sqrt(vapour_kpa.max(0.0));
    black * humid * (1.35 * brightness.min(1.0) - 0.35)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64, within: f64) {
        assert!(
            (found - expected).abs() <= within,
            "{found}, not {expected}"
        );
    }

    #[test]
    fn parts_of_the_book() {
        // Examples 5, 8 and 14.
        near(vapour_of_day(25.0, 18.0, 82.0, 54.0), 1.70, 0.005);
        near(extraterrestrial_day(-20.0, 246), 32.2, 0.05);
        near(sunset(-20.0, 246), 1.527, 0.000_5);
        near(wind_at_2_m(3.2, 10.0), 2.4, 0.05);
        near(psychrometric(pressure_kpa(1_800.0)), 0.054, 0.000_5);
        near(vapour_of_dew_point(14.8), 1.68, 0.005);
    }

    #[test]
    fn under_a_cover() {
        let covered = Covered {
            transmission: 0.6,
            altitude_m: 0.0,
        };
        // By hand: Rs 0.6 · 800 W/m² = 1.728 MJ/m² h, Rn 1.3306, G 0.1331; at 32 °C e° 4.756 and
        // Δ 0.2689, γ 0.0674, e 3.329: (0.408 · 0.2689 · 1.1975 + 0.0674 · 37/305 · 1.3867 · 1.427)
        // / (0.2689 + 0.0674 · 1.4715).
        near(covered.rate(32.0, 70.0, 800.0).unwrap(), 0.4009, 0.000_5);
        near(covered.rate(25.0, 100.0, 0.0).unwrap(), 0.0, 1e-12);
        // Thin air at 1,500 m: the deficit counts for less.
        let high = Covered {
            altitude_m: 1_500.0,
            ..covered
        };
        assert!(high.rate(32.0, 70.0, 0.0).unwrap() < covered.rate(32.0, 70.0, 0.0).unwrap());
        for (celsius, percent, global) in [
            (61.0, 50.0, 0.0),
            (25.0, 101.0, 0.0),
            (25.0, 50.0, 1_601.0),
            (f64::NAN, 50.0, 0.0),
        ] {
            assert_eq!(covered.rate(celsius, percent, global), None);
        }
    }

    #[test]
    fn a_july_day_in_a_plastic_house() {
        // Fernández et al. 2010 measured about 4 mm in July in Almería: a sine of 14 h up to
        // 820 W/m² inside a cover of 60 %, 20 to 32 °C, 85 to 55 %.
        let covered = Covered {
            transmission: 0.6,
            altitude_m: 150.0,
        };
        let hours = (0..24).map(|hour| {
            let sun = sin(PI * (f64::from(hour) + 0.5 - 5.0) / 14.0);
            let day = if (5..19).contains(&hour) {
                sun.max(0.0)
            } else {
                0.0
            };
            let rate = covered.rate(20.0 + 12.0 * day, 85.0 - 30.0 * day, 820.0 * day);
            rate.unwrap()
        });
        let millimetres: f64 = hours.sum();
        assert!((3.3..=4.7).contains(&millimetres), "{millimetres}");
    }

    #[test]
    fn bangkok_in_april() {
        // Example 17.
        let ra = extraterrestrial_day(13.0 + 44.0 / 60.0, 105);
        near(ra, 38.06, 0.01);
        let rso = clear_sky(ra, 2.0);
        near(rso, 28.54, 0.01);
        let rnl = long_wave_day(34.8, 25.6, 2.85, 22.65 / rso);
        near(rnl, 3.11, 0.005);
        let net_mj = net_radiation(22.65, rnl);
        near(net_mj, 14.33, 0.01);
        let inputs = Inputs {
            celsius: 30.2,
            saturation_kpa: saturation_of_day(34.8, 25.6),
            vapour_kpa: 2.85,
            net_mj,
            soil_mj: 0.14,
            wind_m_s: 2.0,
            psychrometric: psychrometric(pressure_kpa(2.0)),
        };
        near(et0(Period::Day, &inputs), 5.72, 0.005);
    }

    #[test]
    fn uccle_in_july() {
        // Example 18.
        let wind_m_s = wind_at_2_m(2.78, 10.0);
        near(wind_m_s, 2.078, 0.002);
        let vapour_kpa = vapour_of_day(21.5, 12.3, 84.0, 63.0);
        near(vapour_kpa, 1.409, 0.001);
        let saturation_kpa = saturation_of_day(21.5, 12.3);
        near(saturation_kpa, 1.997, 0.001);
        near(slope_kpa(16.9), 0.122, 0.000_5);
        let ra = extraterrestrial_day(50.8, 187);
        near(ra, 41.09, 0.01);
        let rnl = long_wave_day(21.5, 12.3, vapour_kpa, 22.07 / clear_sky(ra, 100.0));
        near(rnl, 3.71, 0.005);
        let net_mj = net_radiation(22.07, rnl);
        near(net_mj, 13.28, 0.01);
        let inputs = Inputs {
            celsius: 16.9,
            saturation_kpa,
            vapour_kpa,
            net_mj,
            soil_mj: 0.0,
            wind_m_s,
            psychrometric: psychrometric(pressure_kpa(100.0)),
        };
        near(inputs.psychrometric, 0.0666, 0.000_05);
        near(et0(Period::Day, &inputs), 3.88, 0.005);
    }

    #[test]
    fn ndiaye_by_the_hour() {
        // Example 19, 14 to 15 h and 2 to 3 h on 1 October.
        let latitude = 16.0 + 13.0 / 60.0;
        let ra = extraterrestrial_hour(latitude, 274, 14.5, 16.25, 15.0);
        near(ra, 3.543, 0.001);
        let rso = clear_sky(ra, 8.0);
        near(rso, 2.658, 0.001);
        let vapour_kpa = saturation_kpa(38.0) * 0.52;
        near(vapour_kpa, 3.445, 0.001);
        let rnl = long_wave_hour(38.0, vapour_kpa, 2.450 / rso);
        near(rnl, 0.137, 0.000_5);
        let net_mj = net_radiation(2.450, rnl);
        near(net_mj, 1.749, 0.001);
        let gamma = psychrometric(pressure_kpa(8.0));
        let day = Inputs {
            celsius: 38.0,
            saturation_kpa: saturation_kpa(38.0),
            vapour_kpa,
            net_mj,
            soil_mj: soil_heat_hour(net_mj, true),
            wind_m_s: 3.3,
            psychrometric: gamma,
        };
        near(et0(Period::Hour, &day), 0.63, 0.005);
        near(
            extraterrestrial_hour(latitude, 274, 2.5, 16.25, 15.0),
            0.0,
            1e-12,
        );
        let vapour_kpa = saturation_kpa(28.0) * 0.90;
        let net_mj = net_radiation(0.0, long_wave_hour(28.0, vapour_kpa, 0.8));
        near(net_mj, -0.100, 0.000_5);
        let night = Inputs {
            celsius: 28.0,
            saturation_kpa: saturation_kpa(28.0),
            vapour_kpa,
            net_mj,
            soil_mj: soil_heat_hour(net_mj, false),
            wind_m_s: 1.9,
            psychrometric: gamma,
        };
        near(night.soil_mj, -0.050, 0.000_5);
        near(et0(Period::Hour, &night), 0.00, 0.005);
    }

    #[test]
    fn lyon_with_temperatures_only() {
        // Example 20: radiation from the day's swing, vapour from its lowest temperature.
        let ra = extraterrestrial_day(45.0 + 43.0 / 60.0, 196);
        near(ra, 40.6, 0.05);
        let measured = 0.16 * sqrt(26.6 - 14.8) * ra;
        near(measured, 22.3, 0.05);
        let vapour_kpa = vapour_of_dew_point(14.8);
        let rnl = long_wave_day(26.6, 14.8, vapour_kpa, measured / clear_sky(ra, 200.0));
        let inputs = Inputs {
            celsius: 20.7,
            saturation_kpa: saturation_of_day(26.6, 14.8),
            vapour_kpa,
            net_mj: net_radiation(measured, rnl),
            soil_mj: 0.0,
            wind_m_s: 2.0,
            psychrometric: psychrometric(pressure_kpa(200.0)),
        };
        near(et0(Period::Day, &inputs), 4.56, 0.02);
    }
}
