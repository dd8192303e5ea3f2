//! What was calibrated on site.
//!
//! Owns: the history of calibrations, its file, and the step from a driver's raw value to the value
//! that is journalled. The arithmetic is the core's; who measures, and when, is the tools'.
//!
//! The history only grows: undoing is an entry of its own. **Invariant:** a device's version grows with
//! each of its entries, and every entry keeps the raw values that it was made from.

mod file;
mod scales;

use furrow_gateway_core::calibration::{Line, LineError, Measured, Point};
use furrow_wire::{ChannelName, Decimal, DeviceId};
use serde::{Deserialize, Serialize};

pub use file::{FileError, Locked, load, path};
pub use scales::{Scales, raw_unit};

/// Most entries of the history: for decades of a greenhouse. The file stays below 1 MiB.
pub const ENTRIES_MAX: usize = 2_000;
/// Longest name and reason, in characters: they travel in an event.
pub const TEXT_MAX: usize = 120;

/// Everything that was ever calibrated here, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calibrations {
    entries: Vec<Entry>,
}

/// One act of calibrating.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which device.
    pub device: DeviceId,
    /// Which of its channels.
    pub channel: ChannelName,
    /// Counts the device's entries from 1.
    pub version: u32,
    /// When, by the clock of whoever did it; not trusted for anything.
    pub at: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What.
    pub what: What,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// The same is added to every value.
    Offset {
        /// What was read.
        raw: Reading,
        /// What it should have been.
        value: Decimal,
    },
    /// A line through two points.
    TwoPoint {
        /// One.
        low: Pair,
        /// The other.
        high: Pair,
    },
    /// A capacitive moisture probe: volts at 0 % and at 100 %.
    Capacitive {
        /// In air, or in dry soil.
        dry: Reading,
        /// In water, or in soil after it drained.
        wet: Reading,
    },
    /// The channel's latest entry that still held does so no more.
    Undone {
        /// Its version.
        version: u32,
    },
}

/// What was read, and what it should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// What was read.
    pub raw: Reading,
    /// What it should have been.
    pub value: Decimal,
}

/// Several raw readings of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Their mean.
    pub mean: Decimal,
    /// The largest less the smallest.
    pub spread: Decimal,
    /// How many; 0 for a number that was typed in.
    pub readings: u32,
}

/// An entry that does not fit what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Its points make no line.
    #[error("the calibration of {0} can't be used")]
    Line(String, #[source] LineError),
    /// Somebody else was faster, or the file was changed by hand.
    #[error("version {found} of {device} does not follow version {expected}")]
    Version {
        /// Whose.
        device: DeviceId,
        /// The latest known.
        expected: u32,
        /// What the entry says.
        found: u32,
    },
    /// It undoes what does not hold.
    #[error("there is no calibration of {0} to undo")]
    NothingToUndo(String),
    /// The history is at its limit.
    #[error("the history holds {ENTRIES_MAX} calibrations already")]
    Full,
    /// Who or why is too long.
    #[error("a text is longer than {TEXT_MAX} characters")]
    TooLong,
}

impl From<Measured> for Reading {
    fn from(measured: Measured) -> Self {
        let Measured {
            mean,
            spread,
            readings,
        } = measured;
        Reading {
            mean,
            spread,
            readings,
        }
    }
}

impl Calibrations {
    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`EntryError`]; nothing is added then.
    pub fn add(&mut self, entry: Entry) -> Result<(), EntryError> {
        if self.entries.len() >= ENTRIES_MAX {
            return Err(EntryError::Full);
        }
        if [&entry.by, &entry.reason, &entry.at]
            .iter()
            .any(|text| text.chars().count() > TEXT_MAX)
        {
            return Err(EntryError::TooLong);
        }
        let expected = self.version(&entry.device);
        if entry.version != expected.saturating_add(1) {
            return Err(EntryError::Version {
                device: entry.device,
                expected,
                found: entry.version,
            });
        }
        if let What::Undone { version } = entry.what {
            let held = self.held(&entry.device, &entry.channel);
            if held.is_none_or(|held| held.version != version) {
                return Err(EntryError::NothingToUndo(entry.series()));
            }
        } else {
            line_of(&entry.what).map_err(|error| EntryError::Line(entry.series(), error))?;
        }
        self.entries.push(entry);
        Ok(())
    }

    /// How many entries a device has.
    #[must_use]
    pub fn version(&self, device: &DeviceId) -> u32 {
        let entries = self.entries.iter().rev();
        let mut of_device = entries.filter(|entry| entry.device == *device);
        of_device.next().map_or(0, |entry| entry.version)
    }

    /// The entry that holds for a channel.
    #[must_use]
    pub fn held(&self, device: &DeviceId, channel: &ChannelName) -> Option<&Entry> {
        let mut undone = 0_usize;
        let of_channel = self
            .entries
            .iter()
            .rev()
            .filter(|entry| entry.device == *device && entry.channel == *channel);
        for entry in of_channel {
            match &entry.what {
                What::Undone { .. } => undone += 1,
                What::Offset { .. } | What::TwoPoint { .. } | What::Capacitive { .. } => {
                    if undone == 0 {
                        return Some(entry);
                    }
                    undone -= 1;
                }
            }
        }
        None
    }

    /// The line that holds for a channel.
    #[must_use]
    pub fn line(&self, device: &DeviceId, channel: &ChannelName) -> Option<Line> {
        let entry = self.held(device, channel)?;
        // It was checked when it was added.
        line_of(&entry.what).ok().flatten()
    }
}

impl Entry {
    /// `device/channel`.
    #[must_use]
    pub fn series(&self) -> String {
        format!("{}/{}", self.device, self.channel)
    }

    /// The calibration with its raw values, for people and for the event.
    #[must_use]
    pub fn text(&self) -> String {
        let what = match &self.what {
            What::Offset { raw, value } => format!("offset: read {}, was {value}", raw.mean),
            What::TwoPoint { low, high } => format!(
                "two points: read {}, was {}; read {}, was {}",
                low.raw.mean, low.value, high.raw.mean, high.value
            ),
            What::Capacitive { dry, wet } => {
                format!("dry {} V, wet {} V", dry.mean, wet.mean)
            }
            What::Undone { version } => format!("version {version} undone"),
        };
        format!("{what}; by {}: {}", self.by, self.reason)
    }
}

/// The line of an entry; `None` for one that undoes.
fn line_of(what: &What) -> Result<Option<Line>, LineError> {
    let whole = |mantissa| Decimal {
        mantissa,
        exponent: 0,
    };
    let line = match what {
        What::Undone { .. } => return Ok(None),
        What::Offset { raw, value } => Line::offset(difference(*value, raw.mean)?)?,
        What::TwoPoint { low, high } => Line::through(point(low), point(high))?,
        What::Capacitive { dry, wet } => Line::through(
            Point {
                raw: dry.mean,
                value: whole(0),
            },
            Point {
                raw: wet.mean,
                value: whole(100),
            },
        )?,
    };
    Ok(Some(line))
}

fn point(pair: &Pair) -> Point {
    Point {
        raw: pair.raw.mean,
        value: pair.value,
    }
}

/// Exactly `a - b`.
fn difference(a: Decimal, b: Decimal) -> Result<Decimal, LineError> {
    let exponent = a.exponent.min(b.exponent);
    let scaled = |number: Decimal| {
        let factor = 10_i64.checked_pow(u32::from(number.exponent.abs_diff(exponent)))?;
        number.mantissa.checked_mul(factor)
    };
    let mantissa = scaled(a)
        .zip(scaled(b))
        .and_then(|(a, b)| a.checked_sub(b))
        .ok_or(LineError::TooLarge(a))?;
    Ok(Decimal { mantissa, exponent })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    pub(crate) fn reading(mean: &str) -> Reading {
        Reading {
            mean: decimal(mean),
            spread: decimal("0.002"),
            readings: 10,
        }
    }

    pub(crate) fn entry(device: &str, channel: &str, version: u32, what: What) -> Entry {
        Entry {
            device: device.parse().unwrap(),
            channel: channel.parse().unwrap(),
            version,
            at: "2026-11-22T10:00:00Z".into(),
            by: "an".into(),
            reason: "new probe".into(),
            what,
        }
    }

    pub(crate) fn offset(by: &str) -> What {
        What::Offset {
            raw: reading("0"),
            value: decimal(by),
        }
    }

    #[test]
    fn the_latest_holds_until_it_is_undone_and_versions_only_grow() {
        let mut all = Calibrations::default();
        let (sht, co2) = ("sht", "co2");
        let temperature: ChannelName = "air_temperature".parse().unwrap();
        all.add(entry(sht, "air_temperature", 1, offset("0.5")))
            .unwrap();
        all.add(entry(co2, "co2", 1, offset("20"))).unwrap();
        all.add(entry(sht, "relative_humidity", 2, offset("1")))
            .unwrap();
        all.add(entry(sht, "air_temperature", 3, offset("0.7")))
            .unwrap();
        let sht_id: DeviceId = sht.parse().unwrap();
        let held = |all: &Calibrations| all.held(&sht_id, &temperature).map(|entry| entry.version);
        assert_eq!(held(&all), Some(3));
        all.add(entry(
            sht,
            "air_temperature",
            4,
            What::Undone { version: 3 },
        ))
        .unwrap();
        assert_eq!(held(&all), Some(1));
        all.add(entry(sht, "air_temperature", 5, offset("0.9")))
            .unwrap();
        assert_eq!(held(&all), Some(5));
        all.add(entry(
            sht,
            "air_temperature",
            6,
            What::Undone { version: 5 },
        ))
        .unwrap();
        all.add(entry(
            sht,
            "air_temperature",
            7,
            What::Undone { version: 1 },
        ))
        .unwrap();
        assert_eq!(held(&all), None);
        assert_eq!(all.version(&sht_id), 7);
        let again = entry(sht, "air_temperature", 8, What::Undone { version: 1 });
        assert_eq!(
            all.add(again).unwrap_err().to_string(),
            "there is no calibration of sht/air_temperature to undo"
        );
    }

    #[test]
    fn what_does_not_follow_or_makes_no_line_is_refused() {
        let mut all = Calibrations::default();
        let skipped = entry("sht", "air_temperature", 2, offset("1"));
        assert_eq!(
            all.add(skipped).unwrap_err().to_string(),
            "version 2 of sht does not follow version 0"
        );
        let shorted = What::Capacitive {
            dry: reading("2.10"),
            wet: reading("2.1"),
        };
        let error = all
            .add(entry("adc", "soil_moisture_index", 1, shorted))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the calibration of adc/soil_moisture_index can't be used"
        );
        let mut long = entry("sht", "air_temperature", 1, offset("1"));
        long.reason = "x".repeat(121);
        assert_eq!(all.add(long), Err(EntryError::TooLong));
        assert_eq!(all, Calibrations::default());
    }

    #[test]
    fn an_entry_is_readable() {
        let what = What::TwoPoint {
            low: Pair {
                raw: reading("4.10"),
                value: decimal("4.00"),
            },
            high: Pair {
                raw: reading("6.90"),
                value: decimal("7.00"),
            },
        };
        assert_eq!(
            entry("ph", "ph", 1, what).text(),
            "two points: read 4.10, was 4.00; read 6.90, was 7.00; by an: new probe"
        );
    }
}
