//! Minutes and litres of watering a day. A run is charged before its valve opens; what it did not use is given
//! back after. A crash in between leaves the charge standing: never more water, at most less.

use serde::{Deserialize, Serialize};

use crate::{Now, schedule};
use jiff::tz::TimeZone;

/// Least time between two resets: 20 hours, in milliseconds. A clock that jumps over midnight and
/// back can't refill a budget twice.
pub const RESET_MIN_MS: u64 = 20 * 3_600_000;

/// What a zone has used since the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Charged, in milliseconds.
    pub used_ms: u64,
    /// Charged, in millilitres: what was counted, or what the expected flow gives where nothing was.
    #[serde(default)]
    pub used_ml: u64,
    /// The day it is charged to; absent until the clock was first known.
    pub day: Option<BudgetDay>,
}

/// The day a budget is charged to, and when it was last reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetDay {
    /// Local date, `2026-11-22`: compares as text.
    pub date: String,
    /// The last reset; absent when the day was merely the first known one.
    pub reset: Option<ResetMoment>,
}

/// When a budget was reset, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetMoment {
    /// Wall time, milliseconds since 1970.
    pub unix_ms: i64,
    /// The boot that `mono_ms` belongs to.
    pub boot: u64,
    /// Monotonic time, in milliseconds.
    pub mono_ms: u64,
}

/// Time and water.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) ms: u64,
    pub(crate) ml: u64,
}

impl Budget {
    /// What may still be charged, in milliseconds.
    #[must_use]
    pub fn left_ms(&self, limit_ms: u64) -> u64 {
        limit_ms.saturating_sub(self.used_ms)
    }

    /// What may still be charged, in millilitres.
    #[must_use]
    pub fn left_ml(&self, limit_ml: u64) -> u64 {
        limit_ml.saturating_sub(self.used_ml)
    }

    /// Takes what a run plans before its valve opens.
    pub(crate) fn charge(&mut self, planned: Use) {
        self.used_ms = self.used_ms.saturating_add(planned.ms);
        self.used_ml = self.used_ml.saturating_add(planned.ml);
    }

    /// Corrects a charge to what the run really took; a run that overran is charged for it.
    pub(crate) fn settle(&mut self, planned: Use, really: Use) {
        let settle = |used: u64, planned: u64, really: u64| {
            used.saturating_sub(planned).saturating_add(really)
        };
        self.used_ms = settle(self.used_ms, planned.ms, really.ms);
        self.used_ml = settle(self.used_ml, planned.ml, really.ml);
    }

    /// Starts a new day where one has come. `open_run` is charged to the new day in full.
    /// Answers whether anything changed.
    pub(crate) fn roll(&mut self, now: Now, boot: u64, zone: &TimeZone, open_run: Use) -> bool {
        let Some(wall) = now.wall else { return false };
        let today = schedule::local_date(wall, zone).to_string();
        let Some(day) = &self.day else {
            self.day = Some(BudgetDay {
                date: today,
                reset: None,
            });
            return true;
        };
        if today <= day.date {
            return false;
        }
        let unix_ms = wall.as_millisecond();
        let long_ago = day.reset.is_none_or(|reset| {
            let elapsed_ms = if reset.boot == boot {
                now.mono_ms.saturating_sub(reset.mono_ms)
            } else {
                unix_ms.saturating_sub(reset.unix_ms).max(0).unsigned_abs()
            };
            elapsed_ms >= RESET_MIN_MS
        });
        if !long_ago {
            return false;
        }
        let reset = Some(ResetMoment {
            unix_ms,
            boot,
            mono_ms: now.mono_ms,
        });
        *self = Self {
            used_ms: open_run.ms,
            used_ml: open_run.ml,
            day: Some(BudgetDay { date: today, reset }),
        };
        true
    }
}
