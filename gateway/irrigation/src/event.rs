//! What comes out: commands to the shell and events for the record.

use serde::{Deserialize, Serialize};

use crate::interlock::Interlock;
use crate::rules::{Seen, Verdict};
use crate::{State, ZoneIndex};

/// Something that a lease keeps open or on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Output {
    /// A zone's valve.
    Zone(ZoneIndex),
    /// The valve before all zones.
    MasterValve,
    /// The pump.
    Pump,
    /// The fertiliser pump.
    Dosing,
}

/// What the text of an [`EventKind::Alarm`] ends with that tells of no fault but of the end of one.
pub const FOLLOWS_AGAIN: &str = " follows again";

impl Output {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Output::Zone(_) => "the zone's valve",
            Output::MasterValve => "the master valve",
            Output::Pump => "the pump",
            Output::Dosing => "the fertiliser pump",
        }
    }
}

/// An effect that the caller executes, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Journal this state and make it durable before executing the next command.
    Persist(State),
    /// Renew (or with 0 end) the lease of an output. Answer with `handle_lease`.
    WriteLease {
        /// Which.
        output: Output,
        /// Seconds, at most [`crate::LEASE_SECONDS_MAX`]; 0 closes.
        seconds: u16,
    },
    /// Read the status of an output's controller. Answer with `handle_status`.
    ReadStatus {
        /// Which.
        output: Output,
    },
    /// Clear the latched flags of an output's controller, after they have been seen. Needs no answer.
    ClearFlags {
        /// Which.
        output: Output,
    },
    /// Record what happened.
    Emit(Event),
}

/// Something worth keeping: each decision to water or not, and each fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, on the monotonic clock of this boot, in milliseconds.
    pub at_mono_ms: u64,
    /// Where; absent for what concerns all zones.
    pub zone: Option<ZoneIndex>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// The valve was opened.
    RunStarted {
        /// Number of the run, unique for this gateway's lifetime of state.
        run: u64,
        /// Who wanted it.
        cause: Cause,
        /// The rule that wanted it.
        rule: Option<String>,
        /// For how long, in milliseconds.
        planned_ms: u64,
        /// How much, in millilitres, where a volume was wanted.
        planned_ml: Option<u64>,
    },
    /// The valve was closed, or its lease has ended.
    RunEnded {
        /// Number of the run.
        run: u64,
        /// Who wanted it.
        cause: Cause,
        /// When its valve was opened. Of this boot, unless `of_this_boot` is false.
        started_mono_ms: u64,
        /// Whether `started_mono_ms` belongs to this boot. False only for `Interrupted`.
        of_this_boot: bool,
        /// How long it was open, in milliseconds; an upper bound where it isn't known exactly.
        open_ms: u64,
        /// Thousandths of a litre by the flow meter; absent when the count can't be trusted.
        litres_milli: Option<u64>,
        /// Why it ended.
        reason: EndReason,
    },
    /// A wanted run did not start.
    NotStarted {
        /// Who wanted it.
        cause: Cause,
        /// Why not.
        refusal: Refusal,
    },
    /// The zone, or all of them, stay shut: until the controller says that all is well, the lock has
    /// ended, or a person has reset it.
    LockedOut {
        /// For people.
        text: String,
    },
    /// The zone's controller follows again.
    Recovered,
    /// A person has reset a lock.
    Reset {
        /// Who.
        by: Origin,
    },
    /// A person wants no water for a while, or wants it again.
    Held {
        /// Who.
        by: Origin,
        /// How long, in milliseconds; `None` lets it flow again.
        hold_ms: Option<u64>,
    },
    /// Something is wrong that stops nothing: a flow that is only watched, fertiliser that is
    /// stopped.
    Alarm {
        /// For people.
        text: String,
    },
    /// What flow of a zone is right was learnt in a run, in millilitres an hour.
    FlowLearnt {
        /// The flow.
        millilitres_per_hour: u64,
    },
    /// A rule decided otherwise than before.
    Decided(Decision),
}

/// What a rule decided, with everything that it depended on.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The rule's name.
    pub rule: String,
    /// What it looked at, by name.
    pub input: String,
    /// What was seen.
    pub seen: Seen,
    /// What it wants.
    pub verdict: Verdict,
    /// Why that is not done, if it is not.
    pub refusal: Option<Refusal>,
}

/// From where a person asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A button at the gateway.
    Button,
    /// The page of the gateway.
    Page,
    /// The gateway's command line.
    Tool,
    /// The cloud. Whatever was wanted on site comes before.
    Cloud,
}

/// Who wanted a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The schedule.
    Schedule,
    /// A person on site.
    Manual,
    /// A rule.
    Rule,
    /// A person from afar.
    Command,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It ran as long as planned.
    Completed,
    /// A person stopped it.
    Stopped,
    /// The valve or the controller did not follow.
    Fault,
    /// The gateway stopped during the run; found at its next start.
    Interrupted,
    /// The lease ran out because it could not be renewed, or the controller reset.
    LeaseLost,
    /// An interlock.
    Interlock(Interlock),
}

/// Why a run was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such zone.
    #[error("there is no such zone")]
    NoSuchZone,
    /// Nothing or less than a second was asked for.
    #[error("the run must last at least 1 s")]
    TooShort,
    /// Longer than the zone allows.
    #[error("longer than the zone's longest run of {max_run_ms} ms")]
    TooLong {
        /// The zone's limit.
        max_run_ms: u64,
    },
    /// The zone is already being watered.
    #[error("the zone is already being watered")]
    AlreadyRunning,
    /// The least time off has not passed.
    #[error("the zone must stay off for {left_ms} ms more")]
    MinOff {
        /// What is left.
        left_ms: u64,
    },
    /// It has begun often enough within the hour.
    #[error("the zone began {starts} times within the hour, which is its limit")]
    TooManyStarts {
        /// How often.
        starts: usize,
    },
    /// The pump can't feed it beside the others.
    #[error("the pump can't feed this zone beside those that are open")]
    PumpCapacity,
    /// The day's litres are used up, or what is left is less than asked for.
    #[error("only {left_ml} ml are left of today's water")]
    LitresSpent {
        /// What is left.
        left_ml: u64,
    },
    /// All zones together have used up the day's minutes or litres.
    #[error("all zones together have used up today's water")]
    SiteBudgetSpent,
    /// An interlock.
    #[error("{}", .0.text())]
    Interlock(Interlock),
    /// A person on site wants no water.
    #[error("a person on site wants no water for {left_ms} ms more")]
    Held {
        /// Its end.
        left_ms: u64,
    },
    /// Too many other zones are open.
    #[error("{open} zone(s) are being watered and no more may be open at once")]
    OthersRunning {
        /// How many.
        open: usize,
    },
    /// Today's minutes are used up, or what is left is less than asked for.
    #[error("only {left_ms} ms are left of today's watering time")]
    BudgetSpent {
        /// What is left.
        left_ms: u64,
    },
    /// The zone is locked out by a fault.
    #[error("the zone is locked out by a fault of its valve or controller")]
    LockedOut,
    /// The controller has not yet confirmed that the output is closed after the start.
    #[error("the output is not yet known to be closed after the start")]
    NotReady,
    /// The controller did not answer.
    #[error("the controller does not answer")]
    NoAnswer,
    /// The season's percentage leaves nothing of it.
    #[error("nothing is watered in this season")]
    OutOfSeason,
    /// It was stopped before its valve opened.
    #[error("it was stopped before the valve opened")]
    Stopped,
    /// The schedule was due more than the grace ago, e.g. while the gateway was off.
    #[error("the scheduled time passed {late_ms} ms ago")]
    Missed {
        /// How late.
        late_ms: u64,
    },
}
