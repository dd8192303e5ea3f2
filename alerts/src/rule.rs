//! What is watched for: a condition and how long it must hold.

use serde::{Deserialize, Serialize};

/// Longest for-duration: a week. Longer ones are mistakes of unit.
pub const MAX_FOR_MS: u64 = 7 * 24 * 3_600_000;

/// How much a person is disturbed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it today.
    #[default]
    Warning,
    /// Go there now.
    Critical,
}

impl Severity {
    /// Its name in JSON and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What is wrong with a value, or with its absence. Limits are in the channel's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Greater than `limit`; over again at `clear` or less.
    Above {
        /// Must be exceeded.
        limit: f64,
        /// At most `limit`.
        clear: f64,
    },
    /// Less than `limit`; over again at `clear` or more.
    Below {
        /// Must be undercut.
        limit: f64,
        /// At least `limit`.
        clear: f64,
    },
    /// Covered time without a good reading; over again with the first good one.
    Absent,
}

impl Condition {
    /// Whether `value` meets the condition.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Condition::Above { limit, .. } => value > limit,
            Condition::Below { limit, .. } => value < limit,
            Condition::Absent => false,
        }
    }

    /// Whether `value` ends an alert.
    #[must_use]
    pub fn is_cleared(self, value: f64) -> bool {
        match self {
            Condition::Above { clear, .. } => value <= clear,
            Condition::Below { clear, .. } => value >= clear,
            Condition::Absent => true,
        }
    }

    /// The limit, where there is one.
    #[must_use]
    pub fn limit(self) -> Option<f64> {
        match self {
            Condition::Above { limit, .. } | Condition::Below { limit, .. } => Some(limit),
            Condition::Absent => None,
        }
    }
}

/// A condition and how long it must hold before somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rule {
    condition: Condition,
    for_ms: u64,
}

/// Why a rule makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// A limit is not a number.
    #[error("{what} is {value} (must be a finite number)")]
    NotFinite {
        /// Which limit.
        what: &'static str,
        /// What was given.
        value: f64,
    },
    /// The clear threshold is on the wrong side: the alert would end while its condition holds.
    #[error("clear is {clear} (must be {side} the limit {limit})")]
    ClearBeyondLimit {
        /// The limit.
        limit: f64,
        /// The clear threshold.
        clear: f64,
        /// "at most" or "at least".
        side: &'static str,
    },
    /// Absence needs a duration.
    #[error("for is 0 (absence must last for some time)")]
    AbsentAtOnce,
    /// Too long to be meant.
    #[error("for is {for_ms} ms (must be at most {MAX_FOR_MS} ms)")]
    TooLong {
        /// What was given, in milliseconds.
        for_ms: u64,
    },
}

impl Rule {
    /// A rule that makes sense. `for_ms` is in milliseconds; 0 fires at once.
    ///
    /// # Errors
    /// [`RuleError`] names what does not make sense.
    pub fn new(condition: Condition, for_ms: u64) -> Result<Self, RuleError> {
        if for_ms > MAX_FOR_MS {
            return Err(RuleError::TooLong { for_ms });
        }
        let finite = |what, value: f64| {
            if value.is_finite() {
                Ok(())
            } else {
                Err(RuleError::NotFinite { what, value })
            }
        };
        match condition {
            Condition::Above { limit, clear } => {
                finite("limit", limit)?;
                finite("clear", clear)?;
                if clear > limit {
                    return Err(RuleError::ClearBeyondLimit {
                        limit,
                        clear,
                        side: "at most",
                    });
                }
            }
            Condition::Below { limit, clear } => {
                finite("limit", limit)?;
                finite("clear", clear)?;
                if clear < limit {
                    return Err(RuleError::ClearBeyondLimit {
                        limit,
                        clear,
                        side: "at least",
                    });
                }
            }
            Condition::Absent => {
                if for_ms == 0 {
                    return Err(RuleError::AbsentAtOnce);
                }
            }
        }
        Ok(Self { condition, for_ms })
    }

    /// What is watched for.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// How long it must hold, in milliseconds.
    #[must_use]
    pub fn for_ms(&self) -> u64 {
        self.for_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(condition: Condition, for_ms: u64, message: &str) {
        assert_eq!(
            Rule::new(condition, for_ms).unwrap_err().to_string(),
            message
        );
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_its_reason() {
        let above = |limit, clear| Condition::Above { limit, clear };
        let below = |limit, clear| Condition::Below { limit, clear };
        check_refused(
            above(35.0, 36.0),
            0,
            "clear is 36 (must be at most the limit 35)",
        );
        check_refused(
            below(10.0, 9.5),
            0,
            "clear is 9.5 (must be at least the limit 10)",
        );
        check_refused(
            above(f64::NAN, 1.0),
            0,
            "limit is NaN (must be a finite number)",
        );
        check_refused(
            below(1.0, f64::INFINITY),
            0,
            "clear is inf (must be a finite number)",
        );
        check_refused(
            Condition::Absent,
            0,
            "for is 0 (absence must last for some time)",
        );
        check_refused(
            above(1.0, 1.0),
            MAX_FOR_MS + 1,
            "for is 604800001 ms (must be at most 604800000 ms)",
        );
        assert!(Rule::new(above(35.0, 35.0), MAX_FOR_MS).is_ok());
        assert!(Rule::new(below(10.0, 10.0), 0).is_ok());
        assert!(Rule::new(Condition::Absent, 1).is_ok());
    }
}
