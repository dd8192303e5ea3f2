//! The limits and schedules of zones. The hard ceilings stand here, in code: no configuration and
//! no cloud can raise them.

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::flow::FlowPlan;
use crate::flow::pulses_between;
use crate::input::InputPlan;
use crate::rules::Rule;
use crate::site::SitePlan;

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

/// No zone gets more water a day, whatever is configured: 50 m³, in millilitres.
pub const DAILY_LITRES_CEILING_ML: u64 = 50_000_000;
/// No zone starts more often in an hour, whatever is configured: a valve and a pump wear out.
pub const STARTS_PER_HOUR_CEILING: u8 = 30;
/// Starts an hour unless configured: enough for short doses, too few for a rule that chatters.
pub const STARTS_PER_HOUR_DEFAULT: u8 = 12;
/// Most cycles that one watering is split into.
pub const CYCLES_MAX: u64 = 12;
/// Shortest cycle of cycle-and-soak, in milliseconds: below it the line hardly fills.
pub const CYCLE_MIN_MS: u64 = 60_000;

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The zones, in a stable order: [`crate::ZoneIndex`] counts them.
    pub zones: Vec<ZonePlan>,
    /// What rules and interlocks look at: [`crate::InputIndex`] counts them.
    pub inputs: Vec<InputPlan>,
    /// What all zones share: pump, master valve, tank, meters, limits.
    pub site: SitePlan,
    /// Where the greenhouse stands.
    pub time_zone: TimeZone,
    /// Seconds of one lease; renewed after a third of it.
    pub lease_seconds: u16,
    /// How many zones may be open at once: what the pump can feed.
    pub max_open_zones: usize,
}

/// How much water: for a time, or until a meter has counted a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Amount {
    /// At most this long, in milliseconds.
    pub run_ms: u64,
    /// Until this much has flowed, in millilitres. Where the meter is silent the time that the
    /// learnt flow needs counts, at most `run_ms`.
    pub millilitres: Option<u64>,
}

impl Amount {
    /// Water for a time.
    #[must_use]
    pub fn time(run_ms: u64) -> Self {
        Self {
            run_ms,
            millilitres: None,
        }
    }

    /// So many percent of it, rounded down.
    #[must_use]
    pub fn percent(self, percent: u16) -> Self {
        let part = |whole: u64| whole.saturating_mul(u64::from(percent)) / 100;
        Self {
            run_ms: part(self.run_ms),
            millilitres: self.millilitres.map(part),
        }
    }
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Each day.
    pub const ALL: Self = Self(0b0111_1111);

    /// These days only.
    #[must_use]
    pub fn only(days: &[jiff::civil::Weekday]) -> Self {
        Self(days.iter().fold(0, |mask, day| mask | bit(*day)))
    }

    /// Whether a day is among them.
    #[must_use]
    pub fn contains(self, day: jiff::civil::Weekday) -> bool {
        self.0 & bit(day) != 0
    }

    /// Whether no day is.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(day: jiff::civil::Weekday) -> u8 {
    1 << day.to_monday_zero_offset().unsigned_abs()
}

/// One watering by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleEntry {
    /// Local time of day.
    pub at: Time,
    /// On which days.
    pub days: Days,
    /// How much, before the season's percentage.
    pub amount: Amount,
}

/// A watering is split into cycles, so that the soil takes it in and nothing runs off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CyclePlan {
    /// Longest cycle, in milliseconds.
    pub on_ms: u64,
    /// Pause between two cycles, in milliseconds; other zones may be watered meanwhile.
    pub soak_ms: u64,
}

/// What of a zone is optional. The default limits nothing beyond [`ZonePlan::new`].
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneOptions {
    /// Water of one day, in millilitres; needs a meter or an expected flow.
    pub daily_limit_ml: Option<u64>,
    /// Least time between two runs, in milliseconds.
    pub min_off_ms: u64,
    /// Most runs in an hour.
    pub starts_per_hour: u8,
    /// Goes first when the pump is free: the highest number.
    pub priority: u8,
    /// Split into cycles.
    pub cycle: Option<CyclePlan>,
    /// The flow meter it is watched by, by its place in [`SitePlan::meters`].
    pub meter: Option<usize>,
    /// What flow is right.
    pub flow: FlowPlan,
    /// Whether fertiliser may be dosed into its water.
    pub fertigate: bool,
    /// When to water, beside the schedule.
    pub rules: Vec<Rule>,
}

impl Default for ZoneOptions {
    fn default() -> Self {
        Self {
            daily_limit_ml: None,
            min_off_ms: 0,
            starts_per_hour: STARTS_PER_HOUR_DEFAULT,
            priority: 0,
            cycle: None,
            meter: None,
            flow: FlowPlan::default(),
            fertigate: false,
            rules: Vec::new(),
        }
    }
}

/// Limits, schedule and rules of one zone. Only [`ZonePlan::new`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct ZonePlan {
    key: String,
    max_run_ms: u64,
    daily_limit_ms: u64,
    micropulses_per_litre: u64,
    schedule: Vec<ScheduleEntry>,
    options: ZoneOptions,
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
    #[error("scheduled run {index} must be 1 s to the longest run, on at least one day")]
    ScheduledRun {
        /// Its place in the schedule, from 0.
        index: usize,
    },
    /// Pulses can't be turned into litres.
    #[error("pulses per litre must be above 0")]
    PulsesPerLitre,
    /// A day's water is above the ceiling, or nothing.
    #[error("the daily litres must be above 0 and at most {}", DAILY_LITRES_CEILING_ML / 1_000)]
    DailyLitres,
    /// Too many starts, or none.
    #[error("the starts an hour must be 1 to {STARTS_PER_HOUR_CEILING}")]
    StartsPerHour,
    /// Cycles that are too short or too many.
    #[error("a cycle must last at least {} s, and no watering may need more than {CYCLES_MAX} of them", CYCLE_MIN_MS / 1_000)]
    Cycle,
    /// A soak that is shorter than the time that the zone must be off.
    #[error("the soak must be at least as long as the least time off")]
    Soak,
    /// A rule can't be right.
    #[error("rule {name:?}: {problem}")]
    Rule {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// What flow is right can't be right.
    #[error("flow: {0}")]
    Flow(String),
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
        let bad = |entry: &ScheduleEntry| {
            entry.days.is_empty()
                || !(RUN_MIN_MS..=max_run_ms).contains(&entry.amount.run_ms)
                || entry.amount.millilitres == Some(0)
        };
        if let Some(index) = schedule.iter().position(bad) {
            return Err(PlanError::ScheduledRun { index });
        }
        Ok(Self {
            key: key.to_owned(),
            max_run_ms,
            daily_limit_ms,
            micropulses_per_litre,
            schedule,
            options: ZoneOptions::default(),
        })
    }

    /// The same zone with further limits and rules.
    ///
    /// # Errors
    /// The first that is not allowed.
    pub fn with(mut self, options: ZoneOptions) -> Result<Self, PlanError> {
        let litres = options.daily_limit_ml;
        if litres.is_some_and(|ml| !(1..=DAILY_LITRES_CEILING_ML).contains(&ml)) {
            return Err(PlanError::DailyLitres);
        }
        if !(1..=STARTS_PER_HOUR_CEILING).contains(&options.starts_per_hour) {
            return Err(PlanError::StartsPerHour);
        }
        if let Some(cycle) = options.cycle {
            let scheduled = self.schedule.iter().map(|entry| entry.amount.run_ms);
            let wanted = options.rules.iter().map(|rule| rule.amount.run_ms);
            let longest_ms = scheduled.chain(wanted).max().unwrap_or(0);
            if cycle.on_ms < CYCLE_MIN_MS || longest_ms.div_ceil(cycle.on_ms) > CYCLES_MAX {
                return Err(PlanError::Cycle);
            }
            if cycle.soak_ms < options.min_off_ms {
                return Err(PlanError::Soak);
            }
        }
        options.flow.check().map_err(PlanError::Flow)?;
        for rule in &options.rules {
            rule.check(self.max_run_ms)
                .map_err(|problem| PlanError::Rule {
                    name: rule.name.clone(),
                    problem,
                })?;
        }
        self.options = options;
        Ok(self)
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

    /// The waterings by the clock.
    #[must_use]
    pub fn schedule(&self) -> &[ScheduleEntry] {
        &self.schedule
    }

    /// Further limits and rules.
    #[must_use]
    pub fn options(&self) -> &ZoneOptions {
        &self.options
    }

    /// Thousandths of a litre between two counts of the meter; absent unless both were read, and where
    /// the count went back.
    #[must_use]
    pub fn litres_between(&self, before: Option<u32>, after: Option<u32>) -> Option<u64> {
        let (before, after) = before.zip(after)?;
        let pulses = pulses_between(before, after)?;
        Some(self.litres_milli(pulses))
    }

    /// Thousandths of a litre that `pulses` stand for, rounded to the nearest.
    #[must_use]
    pub fn litres_milli(&self, pulses: u32) -> u64 {
        let factor = u128::from(self.micropulses_per_litre);
        let scaled = u128::from(pulses) * 1_000_000_000 + factor / 2;
        u64::try_from(scaled / factor).unwrap_or(u64::MAX)
    }
}
