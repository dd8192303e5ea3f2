//! The weather outside as a function of a seed and absolute time: nothing is remembered, so a run that
//! starts later sees the same sky.
//!
//! Clear-sky sine of the sun's height, clouds, temperature with a lag of two hours, dew point, gusty
//! wind and afternoon showers, for the lowland of southern Vietnam.

use core::f64::consts::{PI, TAU};

use libm::{cos, pow, sin};

use super::air::{Air, saturation_pa};
use super::noise::{Noise, Purpose};

const DAY_S: f64 = 86_400.0;
const LATITUDE_DEG: f64 = 11.0;
const LONGITUDE_DEG: f64 = 106.7;
/// Global radiation with the sun overhead and no cloud, W/m².
const CLEAR_SKY_W_M2: f64 = 960.0;

/// Rain at the height of a shower, mm/h.
const SHOWER_MM_H: f64 = 40.0;

/// What is outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Air outside.
    pub air: Air,
    /// Global radiation, W/m².
    pub global_w_m2: f64,
    /// Wind, m/s.
    pub wind_m_s: f64,
    /// Rain, mm/h.
    pub rain_mm_h: f64,
}

/// A day that is not left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sky {
    /// Hardly a cloud.
    Sunny,
    /// Clouds all day, no rain.
    Overcast,
    /// Clouds, and a light rain from 5 to 19 o'clock.
    Rain,
    /// Hardly a cloud, and five degrees warmer than usual.
    Heat,
}

impl Sky {
    fn cloudiness(self) -> f64 {
        match self {
            Self::Sunny | Self::Heat => 0.05,
            Self::Overcast | Self::Rain => 0.9,
        }
    }

    fn shower(self, hour: f64) -> f64 {
        match self {
            Self::Rain if (5.0..19.0).contains(&hour) => 0.15,
            Self::Rain | Self::Sunny | Self::Overcast | Self::Heat => 0.0,
        }
    }

    fn warmer_k(self) -> f64 {
        match self {
            Self::Heat => 5.0,
            Self::Sunny | Self::Overcast | Self::Rain => 0.0,
        }
    }
}

/// The weather at a Unix time in seconds: by chance, or as `sky` says.
pub(crate) fn weather(noise: &Noise, sky: Option<Sky>, unix_s: f64) -> Weather {
    // Daily values are drawn for local noon and blend in between.
    let day_s = unix_s + LONGITUDE_DEG / 360.0 * DAY_S - DAY_S / 2.0;
    let (cloudiness, shower) = match sky {
        Some(sky) => (sky.cloudiness(), sky.shower(solar_hour(unix_s))),
        None => {
            let cloudiness = cloudiness(noise.smooth(Purpose::CloudDay, day_s, DAY_S));
            (cloudiness, shower(noise, unix_s, cloudiness))
        }
    };
    let sun = sun_height_sine(unix_s).max(0.0);
    let cover = cloud_cover(noise, unix_s, cloudiness).max(shower);
    let clear = CLEAR_SKY_W_M2 * pow(sun, 1.15);
    let global_w_m2 = clear * (1.0 - 0.75 * cover) * (1.0 - 0.12 * cloudiness);

    let warmth = noise.smooth(Purpose::WarmthDay, day_s, 3.0 * DAY_S) - 0.5;
    let swing_k = 5.0 * (1.0 - 0.6 * cloudiness);
    let hour = solar_hour(unix_s);
    let warmer_k = sky.map_or(0.0, Sky::warmer_k);
    let temperature_c = 27.7 + warmer_k + 3.0 * warmth - cloudiness
        + swing_k * cos(TAU * (hour - 14.0) / 24.0)
        - 4.0 * shower;

    let dew_c = 22.0 + 2.5 * (noise.smooth(Purpose::DewDay, day_s, 2.0 * DAY_S) - 0.5);
    let saturated = saturation_pa(temperature_c);
    let dry = saturation_pa(dew_c).min(0.97 * saturated);
    let vapour_pa = dry + (0.96 * saturated - dry).max(0.0) * shower;

    let calm = 0.6 + 0.8 * noise.smooth(Purpose::WindSlow, unix_s, 900.0);
    let gust = 0.6 + 0.8 * noise.smooth(Purpose::WindFast, unix_s, 60.0);
    let wind_m_s = calm * gust * (0.6 + 0.9 * sun) + 2.0 * shower;

    Weather {
        air: Air::of_vapour(temperature_c, vapour_pa),
        global_w_m2,
        wind_m_s,
        rain_mm_h: SHOWER_MM_H * shower,
    }
}

/// Share of cloud of a day, 0 to 1: most days are sunny, some overcast.
fn cloudiness(draw: f64) -> f64 {
    0.05 + 0.85 * pow(draw, 2.5)
}

/// Share of the sun that clouds cover now, 0 to 1.
fn cloud_cover(noise: &Noise, unix_s: f64, cloudiness: f64) -> f64 {
    let slow = noise.smooth(Purpose::CloudSlow, unix_s, 720.0);
    let fast = noise.smooth(Purpose::CloudFast, unix_s, 150.0);
    let draw = 0.7 * slow + 0.3 * fast;
    // A cloud is there where the draw is above what the day's cloudiness leaves clear.
    let edge = (draw - (0.85 - 0.75 * cloudiness)) / 0.15;
    edge.clamp(0.0, 1.0)
}

/// Strength of a shower now, 0 to 1: at most one a day, between 13 and 18 o'clock.
fn shower(noise: &Noise, unix_s: f64, cloudiness: f64) -> f64 {
    let day = libm::floor((unix_s + LONGITUDE_DEG / 360.0 * DAY_S) / DAY_S);
    #[allow(clippy::cast_possible_truncation, reason = "a count of days")]
    let index = day as i64;
    let (chance, when) = noise.pair(Purpose::Shower, index);
    if chance > 0.15 + 0.6 * cloudiness {
        return 0.0;
    }
    let start_h = 13.0 + 4.5 * when;
    let length_h = 0.3 + 0.7 * chance;
    let share = (solar_hour(unix_s) - start_h) / length_h;
    if (0.0..=1.0).contains(&share) {
        sin(PI * share)
    } else {
        0.0
    }
}

/// Local solar time in hours, 0 to 24 (without the equation of time).
fn solar_hour(unix_s: f64) -> f64 {
    let local = unix_s / DAY_S + LONGITUDE_DEG / 360.0;
    (local - libm::floor(local)) * 24.0
}

/// Sine of the sun's height above the horizon.
fn sun_height_sine(unix_s: f64) -> f64 {
    // Days since a 1 January; leap days shift it by hours, which the declination does not notice.
    let year_day = unix_s / DAY_S % 365.2425;
    let declination = -23.44_f64.to_radians() * cos(TAU * (year_day + 10.0) / 365.2425);
    let latitude = LATITUDE_DEG.to_radians();
    let hour_angle = TAU * (solar_hour(unix_s) - 12.0) / 24.0;
    sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * cos(hour_angle)
}
