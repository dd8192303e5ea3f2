//! When to water, beside the clock: soil moisture, radiation sum, VPD, water balance.
//!
//! [`evaluate`] is a pure function of a rule and of what was seen. What was seen is kept with each
//! decision, so that it can be made again from the journal and must come out the same, bit for bit.

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use crate::input::{InputIndex, Known};
use crate::plan::{Amount, RUN_MIN_MS};

/// Longest interval between doses of a fallback: two days, in milliseconds.
const FALLBACK_EVERY_MAX_MS: u64 = 48 * 3_600_000;
/// Shortest: an hour, in milliseconds.
const FALLBACK_EVERY_MIN_MS: u64 = 3_600_000;

/// One rule of a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique within the zone.
    pub name: String,
    /// What it gives at once. A water balance gives what the crop has used, at most this.
    pub amount: Amount,
    /// Only between these local times; `from` is later than `to` over midnight.
    pub window: Option<Window>,
    /// What to do while its input can't be trusted.
    pub fallback: Fallback,
    /// What it looks at.
    pub kind: RuleKind,
}

/// A part of the day, in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub from: Time,
    /// First moment after it.
    pub to: Time,
}

/// What a rule does while its input is stale or bad. Never "assume dry".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing; the schedule and people remain.
    Skip,
    /// A safe dose, this long after the zone's last run.
    Dose {
        /// How much.
        amount: Amount,
        /// How long after the last run, in milliseconds.
        every_ms: u64,
    },
}

/// What a rule looks at. Inputs are in the unit named.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// Soil moisture: begins below one value, and goes on in doses until the other is reached.
    Moisture {
        /// In whatever unit the thresholds have, rising when wetter.
        input: InputIndex,
        /// Begins below.
        start_below: f64,
        /// Ends at; a run under way ends, too.
        stop_above: f64,
    },
    /// Light that has fallen since the last dose.
    RadiationSum {
        /// Global radiation, W/m².
        input: InputIndex,
        /// Gives a dose at, J/cm².
        threshold_j_cm2: f64,
    },
    /// Dry air: cools or moistens it, for fog and mist lines.
    Vpd {
        /// Vapour pressure deficit, kPa.
        input: InputIndex,
        /// Gives a dose above.
        above_kpa: f64,
    },
    /// What the crop has used since it was last given: ET0 × Kc of its stage.
    WaterBalance {
        /// Reference evapotranspiration, mm/h.
        input: InputIndex,
        /// The crop.
        crop: Crop,
        /// Gives back at this depletion, mm.
        trigger_mm: f64,
        /// Ground that the zone waters, m².
        area_m2: f64,
        /// Of the water given, the part that the roots get: 0.5 to 1.
        efficiency: f64,
    },
}

impl RuleKind {
    /// What it looks at.
    #[must_use]
    pub fn input(&self) -> InputIndex {
        match *self {
            RuleKind::Moisture { input, .. }
            | RuleKind::RadiationSum { input, .. }
            | RuleKind::Vpd { input, .. }
            | RuleKind::WaterBalance { input, .. } => input,
        }
    }

    /// Its name in the journal of decisions.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            RuleKind::Moisture { .. } => "moisture",
            RuleKind::RadiationSum { .. } => "radiation-sum",
            RuleKind::Vpd { .. } => "vpd",
            RuleKind::WaterBalance { .. } => "water-balance",
        }
    }
}

/// Crop coefficients by stage, as FAO-56 draws them (figure 34): level, rising, level, falling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    /// Kc of the initial, the mid and the late season's end (FAO-56, table 12).
    pub kc: [f64; 3],
    /// Days of the initial, development, mid and late season.
    pub days: [u16; 4],
    /// First day.
    pub planted: Date,
}

impl Crop {
    /// Its Kc on a day; the first one before it was planted, the last one after its end.
    #[must_use]
    pub fn kc_on(&self, day: Date) -> f64 {
        let [first, middle, last] = self.kc;
        let [initial, development, mid, late] = self.days.map(f64::from);
        let age = f64::from(self.planted.until(day).map_or(0, |span| span.get_days()));
        let part = |since: f64, length: f64| {
            if length > 0.0 {
                ((age - since) / length).clamp(0.0, 1.0)
            } else {
                1.0
            }
        };
        if age < initial + development {
            first + (middle - first) * part(initial, development)
        } else {
            middle + (last - middle) * part(initial + development + mid, late)
        }
    }
}

/// What a rule remembers; journalled with the zone's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// J/cm² since the last dose, or mm of depletion.
    #[serde(default)]
    pub sum: f64,
    /// A moisture rule that has begun and not yet reached its end.
    #[serde(default)]
    pub is_thirsty: bool,
}

/// All that a decision depends on, beside the rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The rule's input.
    pub known: Known,
    /// See [`RuleState::sum`].
    pub sum: f64,
    /// See [`RuleState::is_thirsty`].
    pub is_thirsty: bool,
    /// Minutes since local midnight, while the clock is known.
    pub minute: Option<u16>,
    /// How long ago the zone's last run ended, in milliseconds; `None` when that is not known.
    pub since_run_ms: Option<u64>,
}

/// What a rule wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Water.
    Water(Amount),
    /// The fallback's dose: the input can't be trusted.
    SafeDose(Amount),
    /// Nothing: there is enough.
    Enough,
    /// Nothing: not at this time of day.
    OutsideWindow,
    /// Nothing: the time of day is not known.
    ClockUnknown,
    /// Nothing: the input can't be trusted, and the fallback is to skip or not yet due.
    InputUnknown,
}

impl Verdict {
    /// Its name in the journal of decisions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Water(_) => "water",
            Verdict::SafeDose(_) => "safe-dose",
            Verdict::Enough => "enough",
            Verdict::OutsideWindow => "outside-window",
            Verdict::ClockUnknown => "clock-unknown",
            Verdict::InputUnknown => "input-unknown",
        }
    }

    /// What is to be given.
    #[must_use]
    pub fn amount(self) -> Option<Amount> {
        match self {
            Verdict::Water(amount) | Verdict::SafeDose(amount) => Some(amount),
            Verdict::Enough
            | Verdict::OutsideWindow
            | Verdict::ClockUnknown
            | Verdict::InputUnknown => None,
        }
    }
}

/// What a rule wants, given what was seen.
#[must_use]
pub fn evaluate(rule: &Rule, seen: &Seen) -> Verdict {
    match (rule.window, seen.minute, &rule.kind) {
        (Some(window), Some(minute), _) if !window.contains(minute) => {
            return Verdict::OutsideWindow;
        }
        // Dry soil needs no clock; everything else does.
        (
            _,
            None,
            RuleKind::RadiationSum { .. } | RuleKind::Vpd { .. } | RuleKind::WaterBalance { .. },
        ) => return Verdict::ClockUnknown,
        (_, _, _) => {}
    }
    let Some(value) = seen.known.fresh() else {
        return fall_back(rule.fallback, seen.since_run_ms);
    };
    let wants = match rule.kind {
        RuleKind::Moisture {
            start_below,
            stop_above,
            ..
        } => value < start_below || seen.is_thirsty && value < stop_above,
        RuleKind::RadiationSum {
            threshold_j_cm2, ..
        } => seen.sum >= threshold_j_cm2,
        RuleKind::Vpd { above_kpa, .. } => value > above_kpa,
        RuleKind::WaterBalance { trigger_mm, .. } => seen.sum >= trigger_mm,
    };
    if !wants {
        return Verdict::Enough;
    }
    Verdict::Water(dose(rule, seen.sum))
}

/// What the rule gives at a depletion.
fn dose(rule: &Rule, depletion_mm: f64) -> Amount {
    match rule.kind {
        RuleKind::WaterBalance {
            area_m2,
            efficiency,
            ..
        } => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a cast saturates, and a part of a millilitre is no water"
            )]
            // 1 mm over 1 m² is 1 litre.
            let wanted = (depletion_mm * area_m2 / efficiency * 1_000.0) as u64;
            let most = rule.amount.millilitres.unwrap_or(u64::MAX);
            Amount {
                run_ms: rule.amount.run_ms,
                millilitres: Some(wanted.clamp(1, most)),
            }
        }
        RuleKind::Moisture { .. } | RuleKind::RadiationSum { .. } | RuleKind::Vpd { .. } => {
            rule.amount
        }
    }
}

fn fall_back(fallback: Fallback, since_run_ms: Option<u64>) -> Verdict {
    match fallback {
        Fallback::Dose { amount, every_ms } if since_run_ms.is_some_and(|ms| ms >= every_ms) => {
            Verdict::SafeDose(amount)
        }
        Fallback::Dose { .. } | Fallback::Skip => Verdict::InputUnknown,
    }
}

impl Window {
    /// Whether a minute of the day lies in it.
    #[must_use]
    pub fn contains(self, minute: u16) -> bool {
        let of = |time: Time| {
            u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
        };
        let (from, to) = (of(self.from), of(self.to));
        if from <= to {
            (from..to).contains(&minute)
        } else {
            minute >= from || minute < to
        }
    }
}

impl Rule {
    /// What its sum grows by when the input had `value` for `ms` on a day.
    #[must_use]
    pub fn gained(&self, value: f64, ms: u64, day: Option<Date>) -> f64 {
        let seconds = ms as f64 / 1_000.0;
        match &self.kind {
            RuleKind::RadiationSum { .. } => value.max(0.0) * seconds / 10_000.0,
            RuleKind::WaterBalance { crop, .. } => {
                let kc = day.map_or(crop.kc[1], |day| crop.kc_on(day));
                value.max(0.0) * kc * seconds / 3_600.0
            }
            RuleKind::Moisture { .. } | RuleKind::Vpd { .. } => 0.0,
        }
    }

    /// The sum that is left when so much water was given: `part` of the dose, 0 to 1.
    #[must_use]
    pub fn left_after(&self, sum: f64, millilitres: Option<u64>, part: f64) -> f64 {
        match (&self.kind, millilitres) {
            (
                RuleKind::RadiationSum {
                    threshold_j_cm2, ..
                },
                _,
            ) => (sum - threshold_j_cm2 * part).clamp(0.0, *threshold_j_cm2),
            (
                RuleKind::WaterBalance {
                    area_m2,
                    efficiency,
                    ..
                },
                Some(ml),
            ) => (sum - ml as f64 / 1_000.0 * efficiency / area_m2).max(0.0),
            // How much it was is not known: the dose counts as given.
            (RuleKind::WaterBalance { .. }, None) => 0.0,
            (RuleKind::Moisture { .. } | RuleKind::Vpd { .. }, _) => sum,
        }
    }

    pub(crate) fn check(&self, max_run_ms: u64) -> Result<(), String> {
        amount_fits(self.amount, max_run_ms)?;
        if let Fallback::Dose { amount, every_ms } = self.fallback {
            amount_fits(amount, max_run_ms)?;
            if !(FALLBACK_EVERY_MIN_MS..=FALLBACK_EVERY_MAX_MS).contains(&every_ms) {
                return Err("the fallback's interval must be 1 h to 48 h".into());
            }
        }
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let right = match &self.kind {
            RuleKind::Moisture {
                start_below,
                stop_above,
                ..
            } => finite(&[*start_below, *stop_above]) && start_below < stop_above,
            RuleKind::RadiationSum {
                threshold_j_cm2, ..
            } => (1.0..=10_000.0).contains(threshold_j_cm2),
            RuleKind::Vpd { above_kpa, .. } => (0.05..=10.0).contains(above_kpa),
            RuleKind::WaterBalance {
                crop,
                trigger_mm,
                area_m2,
                efficiency,
                ..
            } => {
                (0.1..=100.0).contains(trigger_mm)
                    && (0.1..=100_000.0).contains(area_m2)
                    && (0.5..=1.0).contains(efficiency)
                    && crop.kc.iter().all(|kc| (0.05..=2.0).contains(kc))
            }
        };
        if right {
            return Ok(());
        }
        Err(match self.kind {
            RuleKind::Moisture { .. } => "it must begin below where it ends",
            RuleKind::RadiationSum { .. } => "the threshold must be 1 to 10 000 J/cm2",
            RuleKind::Vpd { .. } => "the VPD must be 0.05 to 10 kPa",
            RuleKind::WaterBalance { .. } => {
                "the trigger must be 0.1 to 100 mm, the area 0.1 to 100 000 m2, the efficiency 0.5 to 1, Kc 0.05 to 2"
            }
        }
        .into())
    }
}

fn amount_fits(amount: Amount, max_run_ms: u64) -> Result<(), String> {
    if !(RUN_MIN_MS..=max_run_ms).contains(&amount.run_ms) {
        return Err("its run must last 1 s to the longest run".into());
    }
    if amount.millilitres == Some(0) {
        return Err("its volume must be above 0".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
