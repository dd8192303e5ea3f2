//! Whether a value can be believed.
//!
//! Thresholds are those of the technicians' alert defaults, which come from QARTOD's tests and from
//! recorded greenhouse data. A value that fails keeps its number for people; rules and alerts only
//! trust [`Quality::Good`]. Which checks apply follows from the channel's name.
//!
//! **Spike.** QARTOD judges a sample by both its neighbours, which would hold back every batch by a
//! sample. Here the latest sample is judged against the one before it: it is flagged when it jumped
//! by more than the threshold, and the next one is good again when it stays near either the value
//! before the jump or the jump itself. A real step costs one flagged sample, a spike exactly one.

use furrow_wire::{Decimal, Quality, Sample};

use crate::FieldMs;

/// A jump is judged only against a sample at most this old: across a gap anything can happen.
const SPIKE_MEMORY_MS: u64 = 15 * MINUTE_MS;
/// A value counts as flat while it stays within this many steps of the channel's resolution.
const FLAT_STEPS: i64 = 2;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What a driver gave for one channel at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A number: `value × 10^exponent` of the channel.
    Value(i64),
    /// A number from a sensor that is disturbed for a known reason.
    Suspect(i64),
    /// A number that the sensor can't have measured.
    OutOfRange(i64),
    /// The device answered that it has nothing new.
    NothingNew,
    /// The device did not answer, or answered wrongly.
    Failed,
}

/// What is normal for a kind of channel. All limits are in the channel's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Lowest and highest value that can be true.
    pub range: Option<(f64, f64)>,
    /// The largest believable jump between two samples.
    pub jump: Option<f64>,
    /// How long a living sensor can show the same value, in milliseconds.
    pub flat_ms: Option<u64>,
    /// From this value on, flat is normal (saturated air).
    pub flat_exempt: Option<f64>,
}

/// The checks of one channel, with what they remember.
#[derive(Debug)]
pub struct Checks {
    limits: Limits,
    exponent: i8,
    previous: Option<(FieldMs, i64)>,
    /// The value before a jump that was flagged.
    before_jump: Option<i64>,
    flat: Option<Flat>,
}

#[derive(Debug, Clone, Copy)]
struct Flat {
    since: FieldMs,
    low: i64,
    high: i64,
}

/// The limits of a channel, by its name (domain notes, section 4).
#[must_use]
pub fn limits_of(channel: &str) -> Limits {
    let limits = |range, jump, flat_ms, flat_exempt| Limits {
        range,
        jump,
        flat_ms,
        flat_exempt,
    };
    let name = channel.strip_prefix("outside_").unwrap_or(channel);
    match name {
        "air_temperature" => limits(Some((-10.0, 60.0)), Some(6.0), Some(2 * HOUR_MS), None),
        // Substrate and water keep their temperature for hours, and a DS18B20 resolves a sixteenth.
        "temperature" => limits(Some((-10.0, 80.0)), Some(6.0), Some(24 * HOUR_MS), None),
        "air_pressure" => limits(Some((600.0, 1_100.0)), None, None, None),
        "ph" => limits(Some((0.0, 14.0)), None, None, None),
        // Sea water has 50 dS/m.
        "electrical_conductivity" => limits(Some((0.0, 50.0)), None, None, None),
        "relative_humidity" => limits(
            Some((5.0, 100.0)),
            Some(30.0),
            Some(3 * HOUR_MS),
            Some(97.0),
        ),
        "co2" => limits(Some((300.0, 5_000.0)), Some(600.0), Some(HOUR_MS), None),
        "soil_moisture_index" => limits(Some((0.0, 100.0)), None, Some(24 * HOUR_MS), None),
        // Volumetric, in percent: field soil ends at 50, rockwool and peat hold 80 and more.
        "soil_moisture" => limits(Some((0.0, 100.0)), None, Some(24 * HOUR_MS), None),
        // Beyond the solar constant with cloud-edge gain; an amplifier may rest a little below 0.
        "global_radiation" => limits(Some((-10.0, 1_600.0)), None, None, None),
        "water_flow" | "water_volume" | "tank_level" => {
            limits(Some((0.0, f64::MAX)), None, None, None)
        }
        _ => limits(None, None, None, None),
    }
}

impl Checks {
    /// Checks for a channel whose values are multiples of `10^exponent`.
    #[must_use]
    pub fn new(limits: Limits, exponent: i8) -> Self {
        Checks {
            limits,
            exponent,
            previous: None,
            before_jump: None,
            flat: None,
        }
    }

    /// Judges one reading. `at` is its tick; ticks of a channel only grow.
    pub fn handle_reading(&mut self, reading: Reading, at: FieldMs) -> Sample {
        let (value, suspect) = match reading {
            Reading::Value(value) => (value, false),
            Reading::Suspect(value) => (value, true),
            Reading::OutOfRange(value) => {
                return Sample {
                    quality: Quality::OutOfRange,
                    mantissa: Some(value),
                };
            }
            Reading::NothingNew => {
                return Sample {
                    quality: Quality::Stale,
                    mantissa: None,
                };
            }
            Reading::Failed => {
                return Sample {
                    quality: Quality::Failed,
                    mantissa: None,
                };
            }
        };
        if self.is_out_of_range(value) {
            return Sample {
                quality: Quality::OutOfRange,
                mantissa: Some(value),
            };
        }
        let spike = self.is_spike(value, at);
        let stuck = self.is_stuck(value, at);
        let quality = if spike {
            Quality::Spike
        } else if stuck {
            Quality::Stuck
        } else if suspect {
            Quality::Suspect
        } else {
            Quality::Good
        };
        Sample {
            quality,
            mantissa: Some(value),
        }
    }

    fn unit(&self, mantissa: i64) -> f64 {
        Decimal {
            mantissa,
            exponent: self.exponent,
        }
        .to_f64()
    }

    fn is_out_of_range(&self, value: i64) -> bool {
        let value = self.unit(value);
        self.limits
            .range
            .is_some_and(|(low, high)| value < low || value > high)
    }

    fn is_spike(&mut self, value: i64, at: FieldMs) -> bool {
        let previous = self.previous.replace((at, value));
        let before_jump = self.before_jump.take();
        let (Some(jump), Some((when, previous))) = (self.limits.jump, previous) else {
            return false;
        };
        let near = |other: i64| self.unit(value.saturating_sub(other)).abs() <= jump;
        if at.since(when) > SPIKE_MEMORY_MS || near(previous) || before_jump.is_some_and(near) {
            return false;
        }
        self.before_jump = Some(previous);
        true
    }

    fn is_stuck(&mut self, value: i64, at: FieldMs) -> bool {
        let Some(flat_ms) = self.limits.flat_ms else {
            return false;
        };
        let flat = self.flat.get_or_insert(Flat {
            since: at,
            low: value,
            high: value,
        });
        let (low, high) = (flat.low.min(value), flat.high.max(value));
        *flat = if high.saturating_sub(low) < FLAT_STEPS {
            Flat { low, high, ..*flat }
        } else {
            Flat {
                since: at,
                low: value,
                high: value,
            }
        };
        let since = flat.since;
        let exempt = self
            .limits
            .flat_exempt
            .is_some_and(|limit| self.unit(value) >= limit);
        !exempt && at.since(since) >= flat_ms
    }
}

#[cfg(test)]
mod tests;
