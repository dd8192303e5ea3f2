//! The limits and schedules of zones. The hard ceilings stand here, in code: no configuration and
//! no cloud can raise them.

use jiff::civil::Time;
use jiff::tz::TimeZone;

/// No run lasts longer, whatever is configured: 4 hours, in milliseconds.
pub const MAX_RUN_CEILING_MS: u64 = 4 * 3_600_000;
/// No zone is watered longer a day, whatever is configured: 12 hours, in milliseconds.
pub const DAILY_LIMIT_CEILING_MS: u64 = 12 * 3_600_000;
/// A manual run without a duration: 30 minutes or the zone's longest run, in milliseconds.
pub const MANUAL_RUN_DEFAULT_MS: u64 = 30 * 60_000;
/// Seconds of a lease unless configured: water stops this long after the gateway hangs.
pub const LEASE_SECONDS_DEFAULT: u16 = 30;
/// Shorter leases would be lost to one slow bus transaction.
pub const LEASE_SECONDS_MIN: u16 = 6;
/// The drip controller refuses longer leases (its register map, LEASE).
pub const LEASE_SECONDS_MAX: u16 = 300;
/// Shortest run worth opening a valve for, in milliseconds.
pub const RUN_MIN_MS: u64 = 1_000;

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The zones, in a stable order: [`crate::ZoneIndex`] counts them.
    pub zones: Vec<ZonePlan>,
    /// Where the greenhouse stands.
    pub time_zone: TimeZone,
    /// Seconds of one lease; renewed after a third of it.
    pub lease_seconds: u16,
    /// How many zones may be open at once: what the pump can feed.
    pub max_open_zones: usize,
}

/// Limits and schedule of one zone. Only [`ZonePlan::new`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZonePlan {
    key: String,
    max_run_ms: u64,
    daily_limit_ms: u64,
    micropulses_per_litre: u64,
    schedule: Vec<ScheduleEntry>,
}

/// One daily watering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleEntry {
    /// Local time of day.
    pub at: Time,
    /// How long, in milliseconds.
    pub run_ms: u64,
}

/// Why a plan is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A run could be longer than the ceiling, or is nothing.
    #[error("the longest run must be 1 s to {} min", MAX_RUN_CEILING_MS / 60_000)]
    MaxRun,
    /// A day's watering could be longer than the ceiling, or shorter than one run.
    #[error("the daily limit must be at least the longest run and at most {} h", DAILY_LIMIT_CEILING_MS / 3_600_000)]
    DailyLimit,
    /// A scheduled run is longer than the longest run, or is nothing.
    #[error("scheduled run {index} must be 1 s to the longest run")]
    ScheduledRun {
        /// Its place in the schedule, from 0.
        index: usize,
    },
    /// Pulses can't be turned into litres.
    #[error("pulses per litre must be above 0")]
    PulsesPerLitre,
}

impl ZonePlan {
    /// Checks the limits against each other and against the ceilings.
    ///
    /// `key` names the zone in persisted state, so that its budget survives a changed order of
    /// zones. `micropulses_per_litre` is the flow meter's factor times a million.
    ///
    /// # Errors
    /// The first limit that is not allowed.
    pub fn new(
        key: &str,
        max_run_ms: u64,
        daily_limit_ms: u64,
        micropulses_per_litre: u64,
        schedule: Vec<ScheduleEntry>,
    ) -> Result<Self, PlanError> {
        if !(RUN_MIN_MS..=MAX_RUN_CEILING_MS).contains(&max_run_ms) {
            return Err(PlanError::MaxRun);
        }
        if !(max_run_ms..=DAILY_LIMIT_CEILING_MS).contains(&daily_limit_ms) {
            return Err(PlanError::DailyLimit);
        }
        if micropulses_per_litre == 0 {
            return Err(PlanError::PulsesPerLitre);
        }
        let bad = |entry: &ScheduleEntry| !(RUN_MIN_MS..=max_run_ms).contains(&entry.run_ms);
        if let Some(index) = schedule.iter().position(bad) {
            return Err(PlanError::ScheduledRun { index });
        }
        Ok(Self {
            key: key.to_owned(),
            max_run_ms,
            daily_limit_ms,
            micropulses_per_litre,
            schedule,
        })
    }

    /// The zone's name in persisted state.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Longest run, in milliseconds; never above [`MAX_RUN_CEILING_MS`].
    #[must_use]
    pub fn max_run_ms(&self) -> u64 {
        self.max_run_ms
    }

    /// Watering time of one day, in milliseconds.
    #[must_use]
    pub fn daily_limit_ms(&self) -> u64 {
        self.daily_limit_ms
    }

    /// The daily waterings.
    #[must_use]
    pub fn schedule(&self) -> &[ScheduleEntry] {
        &self.schedule
    }

    /// Thousandths of a litre between two counts of the meter; absent unless both were read.
    #[must_use]
    pub fn litres_between(&self, before: Option<u32>, after: Option<u32>) -> Option<u64> {
        let (before, after) = before.zip(after)?;
        Some(self.litres_milli(after.wrapping_sub(before)))
    }

    /// Thousandths of a litre that `pulses` stand for, rounded to the nearest.
    #[must_use]
    pub fn litres_milli(&self, pulses: u32) -> u64 {
        let factor = u128::from(self.micropulses_per_litre);
        let scaled = u128::from(pulses) * 1_000_000_000 + factor / 2;
        u64::try_from(scaled / factor).unwrap_or(u64::MAX)
    }
}
