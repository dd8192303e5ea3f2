//! Quantities that are calculated from measured ones, once, here.
//!
//! A derived value bears the tick of its first input and the quality of its worst one. It is
//! calculated when its batch is cut: then all inputs are there, in whatever order their buses
//! answered, so the same readings give the same values. An input that has no sample at that very
//! tick is taken from its latest one, unless that is older than two of its intervals.

pub mod air;
pub mod et0;
pub mod light;

use std::collections::VecDeque;

use furrow_wire::{Decimal, Quality, Sample};

use self::et0::Covered;
use self::light::{Dose, Light};
use crate::FieldMs;

/// Samples of an input that are kept until the next cut: a batch is cut at fewer readings.
const KEPT_MAX: usize = 16_384;
/// A sample of another input counts this many of that input's intervals.
const MATCH_INTERVALS: u64 = 2;

/// What is calculated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Formula {
    /// From air temperature, relative humidity and, if there is a third input, the temperature of a
    /// surface: see [`AIR_OUTPUTS`].
    Air,
    /// From one quantity of light: see [`LIGHT_OUTPUTS`].
    Light(Light),
    /// From air temperature, relative humidity and global radiation: see [`WATER_OUTPUTS`].
    Evapotranspiration(Covered),
}

/// One quantity that a formula yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Channel name.
    pub name: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// Decimal exponent.
    pub exponent: i8,
}

const fn output(name: &'static str, unit: &'static str, exponent: i8) -> Output {
    Output {
        name,
        unit,
        exponent,
    }
}

/// What [`Formula::Air`] yields, in this order.
pub const AIR_OUTPUTS: [Output; 6] = [
    output("vpd", "kPa", -3),
    output("dew_point", "Cel", -2),
    output("dew_point_margin", "K", -2),
    output("absolute_humidity", "g/m3", -2),
    output("vapour_pressure", "kPa", -3),
    output("vapour_pressure_slope", "kPa/K", -4),
];

/// What [`Formula::Light`] yields, in this order.
pub const LIGHT_OUTPUTS: [Output; 2] = [
    output("dli", "mol/m2", -2),
    output("radiation_sum", "MJ/m2", -3),
];

/// What [`Formula::Evapotranspiration`] yields.
pub const WATER_OUTPUTS: [Output; 1] = [output("et0", "mm/h", -3)];

impl Formula {
    /// What it yields, in this order.
    #[must_use]
    pub fn outputs(&self) -> &'static [Output] {
        match self {
            Formula::Air => &AIR_OUTPUTS,
            Formula::Light(_) => &LIGHT_OUTPUTS,
            Formula::Evapotranspiration(_) => &WATER_OUTPUTS,
        }
    }
}

/// An input: a measured channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Its place in the catalog.
    pub channel: u16,
    /// Its decimal exponent.
    pub exponent: i8,
    /// Its sampling interval, in milliseconds.
    pub interval_ms: u64,
}

/// One set of derived channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is calculated.
    pub formula: Formula,
    /// From what, in the formula's order; at least one. The first one's ticks are the result's.
    pub inputs: Vec<Input>,
    /// Place of the first result in the catalog.
    pub first_output: u16,
}

/// All derived channels of a gateway.
#[derive(Debug)]
pub struct Derived {
    entries: Vec<Entry>,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    plan: Plan,
    kept: Vec<VecDeque<(FieldMs, Sample)>>,
    dose: Dose,
}

/// A calculated sample: channel, tick, value.
pub type Calculated = (u16, FieldMs, Sample);

impl Derived {
    /// Calculates these.
    #[must_use]
    pub fn new(plans: Vec<Plan>) -> Self {
        let entry = |plan: Plan| Entry {
            kept: plan.inputs.iter().map(|_| VecDeque::new()).collect(),
            plan,
            dose: Dose::default(),
        };
        Self {
            entries: plans.into_iter().map(entry).collect(),
            dropped: 0,
        }
    }

    /// A measured sample.
    pub fn handle_sample(&mut self, channel: u16, at: FieldMs, sample: Sample) {
        for entry in &mut self.entries {
            for (input, kept) in entry.plan.inputs.iter().zip(&mut entry.kept) {
                if input.channel != channel {
                    continue;
                }
                if kept.len() >= KEPT_MAX {
                    kept.pop_front();
                    self.dropped = self.dropped.saturating_add(1);
                }
                kept.push_back((at, sample));
            }
        }
    }

    /// All results for ticks before `to`. `day_of` tells the local day of a moment, if wall time is
    /// known.
    pub fn poll(
        &mut self,
        to: FieldMs,
        day_of: &dyn Fn(FieldMs) -> Option<i64>,
    ) -> Vec<Calculated> {
        let mut results = Vec::new();
        for entry in &mut self.entries {
            entry.poll(to, day_of, &mut results);
        }
        results
    }

    /// Inputs that were dropped unused, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Entry {
    fn poll(
        &mut self,
        to: FieldMs,
        day_of: &dyn Fn(FieldMs) -> Option<i64>,
        results: &mut Vec<Calculated>,
    ) {
        while let Some((at, first)) = self
            .kept
            .first_mut()
            .and_then(|kept| kept.pop_front_if(|(at, _)| *at < to))
        {
            let samples: Vec<Sample> = std::iter::once(first)
                .chain((1..self.kept.len()).map(|place| self.latest(place, at)))
                .collect();
            let values = self.calculate(at, &samples, day_of);
            let outputs = self.plan.formula.outputs();
            for (place, (sample, _)) in (0_u16..).zip(values.into_iter().zip(outputs)) {
                results.push((self.plan.first_output.saturating_add(place), at, sample));
            }
        }
    }

    /// The latest sample of another input at `at`; older ones are not needed any more.
    fn latest(&mut self, place: usize, at: FieldMs) -> Sample {
        let stale = Sample {
            quality: Quality::Stale,
            mantissa: None,
        };
        let (Some(input), Some(kept)) = (self.plan.inputs.get(place), self.kept.get_mut(place))
        else {
            return stale;
        };
        while kept.get(1).is_some_and(|(next, _)| *next <= at) {
            kept.pop_front();
        }
        match kept.front() {
            Some((when, sample))
                if *when <= at && at.since(*when) <= MATCH_INTERVALS * input.interval_ms =>
            {
                *sample
            }
            Some(_) | None => stale,
        }
    }

    fn calculate(
        &mut self,
        at: FieldMs,
        samples: &[Sample],
        day_of: &dyn Fn(FieldMs) -> Option<i64>,
    ) -> Vec<Sample> {
        let quality = worst(samples.iter().map(|sample| sample.quality));
        let units = |place: usize| -> Option<f64> {
            let (input, sample) = (self.plan.inputs.get(place)?, samples.get(place)?);
            let mantissa = sample.mantissa.filter(|_| sample.quality.has_value())?;
            let exponent = input.exponent;
            Some(Decimal { mantissa, exponent }.to_f64())
        };
        let outputs = self.plan.formula.outputs();
        match self.plan.formula {
            Formula::Air => {
                let surface = match self.plan.inputs.len() {
                    0..=2 => Some(None),
                    _ => units(2).map(Some),
                };
                let values = units(0).zip(units(1)).zip(surface);
                let values = values.and_then(|((t, rh), surface)| air::of(t, rh, surface));
                spread(values, quality, outputs)
            }
            Formula::Evapotranspiration(covered) => {
                let values = units(0).zip(units(1)).zip(units(2));
                let rate = values.and_then(|((t, rh), global)| covered.rate(t, rh, global));
                spread(rate.map(|rate| [rate]), quality, outputs)
            }
            Formula::Light(light) => {
                let value = units(0);
                let interval_ms = self.plan.inputs.first().map_or(0, |i| i.interval_ms);
                let sum = self.dose.handle_sample(
                    at,
                    value.filter(|_| quality == Quality::Good),
                    interval_ms,
                    day_of(at),
                );
                match sum {
                    // The sum of a day that was not seen whole is no good number.
                    Some(sum) if quality == Quality::Good && !sum.is_whole => {
                        let values = light.outputs(sum.unit_seconds);
                        spread(Some(values), Quality::Suspect, outputs)
                    }
                    Some(sum) => {
                        let values = light.outputs(sum.unit_seconds);
                        spread(value.map(|_| values), quality, outputs)
                    }
                    None if quality.has_value() => spread::<2>(None, Quality::Stale, outputs),
                    None => spread::<2>(None, quality, outputs),
                }
            }
        }
    }
}

/// The worst of some qualities: what has no number is worse than what has one, and a failure worse
/// than silence.
#[must_use]
pub fn worst(qualities: impl IntoIterator<Item = Quality>) -> Quality {
    let rank = |quality: &Quality| match quality {
        Quality::Good => 0,
        Quality::Suspect => 1,
        Quality::Spike => 2,
        Quality::Stuck => 3,
        Quality::OutOfRange => 4,
        Quality::Stale => 5,
        Quality::Failed => 6,
    };
    qualities
        .into_iter()
        .max_by_key(rank)
        .unwrap_or(Quality::Good)
}

/// Values as samples of one quality. One that can't be calculated from a number is out of range.
fn spread<const N: usize>(
    values: Option<[f64; N]>,
    quality: Quality,
    outputs: &[Output],
) -> Vec<Sample> {
    let none = Sample {
        quality: if quality.has_value() {
            Quality::Failed
        } else {
            quality
        },
        mantissa: None,
    };
    outputs
        .iter()
        .enumerate()
        .map(|(place, output)| {
            let value = values.as_ref().and_then(|values| values.get(place));
            let mantissa = value.and_then(|value| Decimal::mantissa_of(*value, output.exponent));
            match mantissa {
                Some(_) if quality.has_value() => Sample { quality, mantissa },
                Some(_) | None => none,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
