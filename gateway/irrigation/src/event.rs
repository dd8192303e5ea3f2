//! What comes out: commands to the shell and events for the record.

use crate::{State, ZoneIndex};

/// An effect that the caller executes, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Journal this state and make it durable before executing the next command.
    Persist(State),
    /// Renew (or with 0 end) the lease of a zone's output. Answer with `handle_lease`.
    WriteLease {
        /// The zone.
        zone: ZoneIndex,
        /// Seconds, at most [`crate::LEASE_SECONDS_MAX`]; 0 closes.
        seconds: u16,
    },
    /// Read the status of the zone's controller. Answer with `handle_status`.
    ReadStatus {
        /// The zone.
        zone: ZoneIndex,
    },
    /// Clear the controller's latched flags, after they have been seen. Needs no answer.
    ClearFlags {
        /// The zone.
        zone: ZoneIndex,
    },
    /// Record what happened.
    Emit(Event),
}

/// Something worth keeping: each decision to water or not, and each fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, on the monotonic clock of this boot, in milliseconds.
    pub at_mono_ms: u64,
    /// Where.
    pub zone: ZoneIndex,
    /// What.
    pub kind: EventKind,
}

/// What happened to a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The valve was opened.
    RunStarted {
        /// Number of the run, unique for this gateway's lifetime of state.
        run: u64,
        /// Who wanted it.
        cause: Cause,
        /// For how long, in milliseconds.
        planned_ms: u64,
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
    /// The zone is faulty and stays shut until its controller says that all is well.
    LockedOut {
        /// For people.
        text: String,
    },
    /// The controller follows again.
    Recovered,
}

/// Who wanted a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The daily schedule.
    Schedule,
    /// A person, on site or from afar.
    Manual,
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
