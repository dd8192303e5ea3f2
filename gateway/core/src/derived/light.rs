//! Light of a day: the daily light integral and the radiation sum.
//!
//! Sums run from local midnight. A day that was not seen whole (the gateway started in it, readings
//! were missing) has a sum, too, but it is only a lower bound, which its quality says.

use crate::FieldMs;

/// Missing more than this of a day makes its sum suspect, in milliseconds: 2 % of the twelve bright
/// hours.
const MISSING_MAX_MS: u64 = 15 * 60_000;
/// Two samples farther apart than this many intervals leave a gap.
const GAP_INTERVALS: u64 = 3;

/// Photons of sunlight, µmol per joule of photosynthetically active radiation (GreenLight,
/// `parJtoUmolSun`).
const UMOL_PER_PAR_JOULE: f64 = 4.6;
/// Share of global radiation that is photosynthetically active (GreenLight, `etaGlobPar`).
const PAR_SHARE: f64 = 0.5;
/// Photons of sunlight, µmol/(m² s) per lux: good for the sun only, not for lamps.
const UMOL_PER_LUX: f64 = 0.018_5;

/// What the light is measured as, and how much of it reaches the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// The quantity.
    pub source: Source,
    /// Share of the light that cover and nets let through to the crop: 1 where it is measured there.
    pub transmission: f64,
}

/// A quantity of light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Global radiation, W/m².
    Radiation,
    /// Photosynthetic photon flux density, µmol/(m² s).
    Photons,
    /// Illuminance, lx.
    Illuminance,
}

/// The light of one local day so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dose {
    day: Option<i64>,
    unit_seconds: f64,
    last: Option<(FieldMs, f64)>,
    /// When the last sample came, with a value or without.
    heard: Option<FieldMs>,
    missing_ms: u64,
    /// The day was seen from its beginning.
    from_midnight: bool,
}

/// A sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sum {
    /// In the source's unit times seconds.
    pub(super) unit_seconds: f64,
    /// Nothing to speak of is missing since midnight.
    pub(super) is_whole: bool,
}

impl Light {
    /// Daily light integral in mol/m² and radiation sum in MJ/m², both at the crop.
    #[must_use]
    pub fn outputs(&self, unit_seconds: f64) -> [f64; 2] {
        let at_crop = unit_seconds * self.transmission;
        let photons_per_joule = PAR_SHARE * UMOL_PER_PAR_JOULE;
        let (umol, joule) = match self.source {
            Source::Radiation => (at_crop * photons_per_joule, at_crop),
            Source::Photons => (at_crop, at_crop / photons_per_joule),
            Source::Illuminance => {
                let umol = at_crop * UMOL_PER_LUX;
                (umol, umol / photons_per_joule)
            }
        };
        [umol / 1e6, joule / 1e6]
    }
}

impl Dose {
    /// A sample, `None` without a good value; gives the sum of its day, if the day is known.
    pub(super) fn handle_sample(
        &mut self,
        at: FieldMs,
        value: Option<f64>,
        interval_ms: u64,
        day: Option<i64>,
    ) -> Option<Sum> {
        let gap_ms = GAP_INTERVALS * interval_ms;
        if day != self.day {
            let was_known = self.day.is_some() && day.is_some();
            let seamless = self.heard.is_some_and(|heard| at.since(heard) <= gap_ms);
            *self = Self {
                day,
                from_midnight: was_known && seamless,
                last: self.last,
                heard: self.heard,
                ..Self::default()
            };
        }
        day?;
        let value = value.map(|value| value.max(0.0));
        match (self.last, value) {
            (Some((before, last)), Some(value)) if at.since(before) <= gap_ms => {
                self.unit_seconds += 0.5 * (last + value) * seconds(at.since(before));
            }
            (Some((before, _)), Some(_)) => {
                self.missing_ms = self.missing_ms.saturating_add(at.since(before));
            }
            (None, Some(_)) | (_, None) => {}
        }
        if let Some(value) = value {
            self.last = Some((at, value));
        }
        self.heard = Some(at);
        let waiting_ms = self.last.map_or(0, |(before, _)| at.since(before));
        let missing_ms = self.missing_ms.saturating_add(waiting_ms);
        Some(Sum {
            unit_seconds: self.unit_seconds,
            is_whole: self.from_midnight && missing_ms <= MISSING_MAX_MS,
        })
    }
}

fn seconds(ms: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a pause of some intervals")]
    let ms = ms as f64;
    ms / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const DAY_MS: u64 = 24 * HOUR_MS;

    fn sum_of(values: impl Fn(u64) -> Option<f64>, from_ms: u64, to_ms: u64) -> Option<Sum> {
        let mut dose = Dose::default();
        let mut sum = None;
        for at in (from_ms..=to_ms).step_by(60_000) {
            let day = i64::try_from(at / DAY_MS).unwrap();
            sum = dose.handle_sample(FieldMs(at), values(at), 60_000, Some(day));
        }
        sum
    }

    #[track_caller]
    fn check(source: Source, transmission: f64, unit_seconds: f64, expected: [f64; 2]) {
        let light = Light {
            source,
            transmission,
        };
        let found = light.outputs(unit_seconds);
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 0.005 * expected, "{found}");
        }
    }

    #[test]
    fn conversions() {
        // 400 µmol for 12 h is 17.28 mol; 20 MJ/m² of sun is about 46 mol.
        let photons = 400.0 * 43_200.0;
        check(Source::Photons, 1.0, photons, [17.28, 7.513]);
        check(Source::Radiation, 1.0, 20e6, [46.0, 20.0]);
        check(Source::Radiation, 0.5, 20e6, [23.0, 10.0]);
        check(Source::Illuminance, 1.0, photons / 0.018_5, [17.28, 7.513]);
    }

    #[test]
    fn a_whole_day_is_summed_from_midnight() {
        let bright = |at: u64| {
            Some(if (6..18).contains(&(at % DAY_MS / HOUR_MS)) {
                400.0
            } else {
                0.0
            })
        };
        let whole = sum_of(bright, 0, 2 * DAY_MS - 60_000).unwrap();
        assert!(whole.is_whole);
        assert!((whole.unit_seconds - 400.0 * 43_200.0).abs() < 0.01 * 400.0 * 43_200.0);
        let first = sum_of(bright, 12 * HOUR_MS, 20 * HOUR_MS).unwrap();
        assert!(!first.is_whole, "the morning is missing");
        let next = sum_of(bright, 12 * HOUR_MS, DAY_MS).unwrap();
        assert!(next.is_whole && next.unit_seconds < 1.0, "{next:?}");
    }

    #[test]
    fn what_is_missing_is_not_made_up() {
        let gap = |from: u64, to: u64| {
            move |at: u64| (!(from..to).contains(&(at % DAY_MS))).then_some(100.0)
        };
        let noon = 12 * HOUR_MS;
        let short = sum_of(gap(noon, noon + 10 * 60_000), 0, 2 * DAY_MS - 60_000).unwrap();
        assert!(short.is_whole);
        let long = sum_of(gap(noon, noon + 20 * 60_000), 0, 2 * DAY_MS - 60_000).unwrap();
        assert!(!long.is_whole);
        assert!(long.unit_seconds < short.unit_seconds);
        // A night without negative light.
        let below = sum_of(|_| Some(-5.0), 0, DAY_MS - 60_000).unwrap();
        assert!(below.unit_seconds.abs() < 1e-9);
    }

    #[test]
    fn without_wall_time_there_is_no_day() {
        let mut dose = Dose::default();
        assert_eq!(dose.handle_sample(FieldMs(0), Some(1.0), 1_000, None), None);
        let sum = dose
            .handle_sample(FieldMs(1_000), Some(1.0), 1_000, Some(5))
            .unwrap();
        assert!(!sum.is_whole, "who knows when midnight was");
    }
}
