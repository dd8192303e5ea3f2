//! What all zones share: tank, pressure, and people who want no water at all.

use serde::{Deserialize, Serialize};

use crate::flow::{FlowMode, MeterPlan};
use crate::input::{InputIndex, Inputs, Known};
use crate::interlock::{Interlock, Lock, Moment};
use crate::{Budget, Origin};

/// Between two of valve, master valve and pump, unless configured: four seconds, since a motor valve
/// travels for up to three.
pub const STEP_MS_DEFAULT: u64 = 4_000;
/// The longest such step, in milliseconds.
pub const STEP_MS_MAX: u64 = 10_000;
/// Longest time that a person can forbid all water for at once: 12 hours, in milliseconds.
pub const HOLD_MAX_MS: u64 = 12 * 3_600_000;
/// Time that all water is forbidden for unless told: 30 minutes, in milliseconds.
pub const HOLD_DEFAULT_MS: u64 = 30 * 60_000;
/// The pressure may be low this long after the pump started, in milliseconds.
const PRESSURE_RISE_MS: u64 = 10_000;

/// What all zones share. The default is water that comes by itself, without limits of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct SitePlan {
    /// Whether there is a master valve.
    pub has_master_valve: bool,
    /// Whether there is a pump.
    pub has_pump: bool,
    /// Fertiliser.
    pub dosing: Option<DosingPlan>,
    /// Between two of valve, master valve and pump, in milliseconds.
    pub step_ms: u64,
    /// What the pump gives, in millilitres an hour.
    pub capacity_mlph: Option<u64>,
    /// Watering time of all zones a day, in milliseconds.
    pub daily_limit_ms: Option<u64>,
    /// Water of all zones a day, in millilitres.
    pub daily_limit_ml: Option<u64>,
    /// The tank.
    pub tank: Option<TankPlan>,
    /// The pressure behind the pump.
    pub pressure: Option<PressurePlan>,
    /// Flow meters.
    pub meters: Vec<MeterPlan>,
    /// Percent of scheduled amounts by month, January first: 0 to 200.
    pub season_percent: [u16; 12],
}

impl Default for SitePlan {
    fn default() -> Self {
        Self {
            has_master_valve: false,
            has_pump: false,
            dosing: None,
            step_ms: STEP_MS_DEFAULT,
            capacity_mlph: None,
            daily_limit_ms: None,
            daily_limit_ml: None,
            tank: None,
            pressure: None,
            meters: Vec::new(),
            season_percent: [100; 12],
        }
    }
}

/// A tank whose level is an input: a float switch gives 1 for water and 0 for none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TankPlan {
    /// The level.
    pub input: InputIndex,
    /// No run begins below.
    pub low: f64,
    /// A run ends below.
    pub empty: f64,
    /// Whether water may be taken while the level can't be trusted. Else it may not.
    pub may_be_unknown: bool,
}

/// The pressure behind the pump.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PressurePlan {
    /// The pressure.
    pub input: InputIndex,
    /// A run ends below.
    pub low: f64,
    /// For so long, in milliseconds.
    pub for_ms: u64,
}

/// When fertiliser may be dosed. Nothing is regulated: EC and pH are watched, and the dosing output
/// is stopped, never the water.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DosingPlan {
    /// Electrical conductivity behind the dosing point, and what it must stay below.
    pub ec: Option<(InputIndex, f64)>,
    /// pH behind the dosing point, and the band it must stay in.
    pub ph: Option<(InputIndex, f64, f64)>,
    /// Clear water at the end of a run, in milliseconds.
    pub flush_ms: u64,
}

/// What EC and pH say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dosing {
    Right,
    /// One of them can't be trusted.
    Unknown,
    /// One of them is wrong, and why, for people.
    Wrong(&'static str),
}

/// What must survive of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteState {
    /// What all zones together used today.
    #[serde(default)]
    pub budget: Budget,
    /// A person wants no water.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// A leak that nobody has looked at yet.
    #[serde(default)]
    pub lock: Option<Lock>,
}

/// A person wants no water for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub by: Origin,
    /// How long it was wanted, in milliseconds; all of it again after a reboot.
    pub hold_ms: u64,
    /// Its end.
    pub until: Moment,
}

impl Hold {
    pub(crate) fn new(by: Origin, hold_ms: u64, boot: u64, now_ms: u64) -> Self {
        let hold_ms = hold_ms.clamp(1, HOLD_MAX_MS);
        Self {
            by,
            hold_ms,
            until: Moment {
                boot,
                mono_ms: now_ms.saturating_add(hold_ms),
            },
        }
    }

    pub(crate) fn after_reboot(self, boot: u64) -> Self {
        Self {
            until: self.until.of_this_boot(boot, self.hold_ms),
            ..self
        }
    }
}

/// Interlocks that look at inputs.
#[derive(Debug)]
pub(crate) struct Watch {
    tank: Option<TankPlan>,
    pressure: Option<PressurePlan>,
    pressure_low_since_ms: Option<u64>,
}

impl Watch {
    pub(crate) fn new(plan: &SitePlan) -> Self {
        Self {
            tank: plan.tank,
            pressure: plan.pressure,
            pressure_low_since_ms: None,
        }
    }

    /// What forbids that a run begins.
    pub(crate) fn forbids_start(&self, inputs: &Inputs, now_ms: u64) -> Option<Interlock> {
        let tank = self.tank?;
        match inputs.known(tank.input, now_ms).fresh() {
            Some(level) if level < tank.empty => Some(Interlock::TankEmpty),
            Some(level) if level < tank.low => Some(Interlock::TankLow),
            None if !tank.may_be_unknown => Some(Interlock::TankUnknown),
            Some(_) | None => None,
        }
    }

    /// What ends a run. `water_for_ms` is how long water has been flowing, if it is.
    pub(crate) fn forbids_run(
        &mut self,
        inputs: &Inputs,
        water_for_ms: Option<u64>,
        now_ms: u64,
    ) -> Option<Interlock> {
        if let Some(tank) = self.tank {
            match inputs.known(tank.input, now_ms).fresh() {
                Some(level) if level < tank.empty => return Some(Interlock::TankEmpty),
                None if !tank.may_be_unknown => return Some(Interlock::TankUnknown),
                Some(_) | None => {}
            }
        }
        let pressure = self.pressure?;
        // What was read before the pump had its pressure says nothing.
        let risen_ms = water_for_ms.and_then(|ms| ms.checked_sub(PRESSURE_RISE_MS));
        let is_low = risen_ms.is_some_and(|risen_ms| {
            let known = inputs.known(pressure.input, now_ms);
            matches!(known, Known::Fresh { value, age_ms } if age_ms <= risen_ms && value < pressure.low)
        });
        if !is_low {
            self.pressure_low_since_ms = None;
            return None;
        }
        let since_ms = *self.pressure_low_since_ms.get_or_insert(now_ms);
        (now_ms.saturating_sub(since_ms) >= pressure.for_ms).then_some(Interlock::PressureLow)
    }
}

impl DosingPlan {
    /// Whether the inputs allow to dose: what can't be trusted does not.
    pub(crate) fn judge(&self, inputs: &Inputs, now_ms: u64) -> Dosing {
        let fresh = |input| inputs.known(input, now_ms).fresh();
        let ec = self
            .ec
            .map(|(input, most)| fresh(input).map(|ec| ec <= most));
        let ph = self
            .ph
            .map(|(input, least, most)| fresh(input).map(|ph| ph >= least && ph <= most));
        match (ec, ph) {
            (Some(Some(false)), _) => {
                Dosing::Wrong("EC is too high: no more fertiliser in this run")
            }
            (_, Some(Some(false))) => {
                Dosing::Wrong("pH is out of its band: no more fertiliser in this run")
            }
            (Some(None), _) | (_, Some(None)) => Dosing::Unknown,
            (None | Some(Some(true)), None | Some(Some(true))) => Dosing::Right,
        }
    }
}

impl SitePlan {
    /// Whether a wrong flow of any meter is told, at least.
    pub(crate) fn watches_leaks(&self) -> bool {
        self.meters.iter().any(|meter| meter.mode != FlowMode::Off)
    }
}
