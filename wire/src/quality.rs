//! What a reading is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Quality of one reading. Only [`Quality::Good`] may act: neither rules nor alerts trust the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Read, checked, plausible.
    Good,
    /// The device did not answer, or answered wrongly. Carries no value.
    Failed,
    /// No new measurement since the last reading. Carries no value.
    Stale,
    /// Outside what the sensor or the quantity can be. The raw value is kept.
    OutOfRange,
    /// Has not moved for longer than nature allows. The raw value is kept.
    Stuck,
    /// Jumped further than nature allows. The raw value is kept.
    Spike,
    /// Disturbed for a known reason, e.g. after a heater pulse. The raw value is kept.
    Suspect,
}

impl Quality {
    /// All qualities, in the order of their codes.
    pub const ALL: [Quality; 7] = [
        Quality::Good,
        Quality::Failed,
        Quality::Stale,
        Quality::OutOfRange,
        Quality::Stuck,
        Quality::Spike,
        Quality::Suspect,
    ];

    /// Whether a reading of this quality carries a number at all.
    #[must_use]
    pub fn has_value(self) -> bool {
        match self {
            Quality::Failed | Quality::Stale => false,
            Quality::Good
            | Quality::OutOfRange
            | Quality::Stuck
            | Quality::Spike
            | Quality::Suspect => true,
        }
    }

    /// The code on the wire and in the archive.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Quality::Good => 0,
            Quality::Failed => 1,
            Quality::Stale => 2,
            Quality::OutOfRange => 3,
            Quality::Stuck => 4,
            Quality::Spike => 5,
            Quality::Suspect => 6,
        }
    }

    /// The quality of a code; `None` for one of a newer version.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Quality> {
        Quality::ALL.get(usize::from(code)).copied()
    }

    /// Its name in JSON and CSV.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Failed => "failed",
            Quality::Stale => "stale",
            Quality::OutOfRange => "out_of_range",
            Quality::Stuck => "stuck",
            Quality::Spike => "spike",
            Quality::Suspect => "suspect",
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_places_in_the_list() {
        for (place, quality) in Quality::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(quality.code()), place);
            assert_eq!(Quality::from_code(quality.code()), Some(quality));
            let json = serde_json::to_string(&quality).unwrap();
            assert_eq!(json, format!("\"{quality}\""));
        }
        assert_eq!(Quality::from_code(7), None);
    }
}
