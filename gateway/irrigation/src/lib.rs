//! Irrigation rules, interlocks, budgets and valve leases.
//!
//! Owns: when a zone is watered, for how long, and that the water stops. It does no IO and knows no
//! clock, controller or journal: the caller hands in what happened together with the time, and
//! executes the [`Command`]s that come out.
//!
//! The vocabulary is the same everywhere: `handle_*(…, now)` takes an input, [`Irrigation::poll_command`]
//! yields an effect, [`Irrigation::poll_timeout`] says when [`Irrigation::handle_timeout`] is due.
//!
//! # How a caller drives it
//!
//! 1. [`Irrigation::new`] with the zones, the last persisted [`State`] and the boot id, then
//!    [`Irrigation::handle_start`]. Every output is closed before anything else happens.
//! 2. After each input and each timeout: take commands until there are none, **in order**.
//!    [`Command::Persist`] must be durable before the next command is executed: a run is charged to
//!    its budget before its valve opens.
//! 3. [`Command::WriteLease`] is answered by [`Irrigation::handle_lease`], [`Command::ReadStatus`] by
//!    [`Irrigation::handle_status`], both also when they failed.
//!
//! **Invariant:** an output is open only under a lease of at most [`LEASE_SECONDS_MAX`], which the
//! controller enforces by itself. If this process dies, the water stops.

mod budget;
mod event;
mod flow;
pub mod guard;
mod input;
mod interlock;
mod irrigation;
mod plan;
mod queue;
mod rules;
mod schedule;
mod site;
mod state;
mod supply;
mod zone;

pub use budget::{Budget, BudgetDay, RESET_MIN_MS, ResetMoment};
pub use event::{
    Cause, Command, Decision, EndReason, Event, EventKind, FOLLOWS_AGAIN, Origin, Output, Refusal,
};
pub use flow::{FlowMode, FlowPlan, MeterPlan};
pub use input::{InputIndex, InputPlan, Known};
pub use interlock::{Interlock, Lock, Moment};
pub use irrigation::{Irrigation, SiteView, Trouble, ZoneView};
pub use plan::{
    Amount, CYCLE_MIN_MS, CYCLES_MAX, Config, CyclePlan, DAILY_LIMIT_CEILING_MS,
    DAILY_LITRES_CEILING_ML, Days, LEASE_SECONDS_DEFAULT, LEASE_SECONDS_MAX, LEASE_SECONDS_MIN,
    MANUAL_RUN_DEFAULT_MS, MAX_RUN_CEILING_MS, PlanError, RUN_MIN_MS, STARTS_PER_HOUR_CEILING,
    STARTS_PER_HOUR_DEFAULT, ScheduleEntry, ZoneOptions, ZonePlan,
};
pub use rules::{Crop, Fallback, Rule, RuleKind, RuleState, Seen, Verdict, Window, evaluate};
pub use schedule::SCHEDULE_GRACE_MS;
pub use site::{
    DosingPlan, HOLD_DEFAULT_MS, HOLD_MAX_MS, Hold, PressurePlan, STEP_MS_DEFAULT, STEP_MS_MAX,
    SitePlan, SiteState, TankPlan,
};
pub use state::{OpenRun, State, ZoneState};
pub use zone::{OutputStatus, Phase};

use jiff::Timestamp;

/// A zone by its place in [`Config::zones`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneIndex(pub usize);

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since the machine booted, in milliseconds. Watering is timed on this alone.
    pub mono_ms: u64,
    /// Wall time, only when the clock is known to be right. Without it no schedule runs.
    pub wall: Option<Timestamp>,
}
