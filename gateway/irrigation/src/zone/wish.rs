//! A run, from the wish to its end, and what a zone wants done for it.

use crate::budget::Use;
use crate::{Amount, Cause, EndReason, EventKind};

/// What a zone wants done; the owner of all zones turns it into commands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Persist,
    Lease(u16),
    Status,
    ClearFlags,
    Emit(EventKind),
    /// A run was charged to the zone: charge it to all zones together, too.
    Charge(Use),
    /// What a run really took.
    Settle {
        planned: Use,
        really: Use,
    },
    /// A run is over.
    Over(Over),
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) wish: Wish,
    pub(crate) reason: EndReason,
    /// What the meter counted.
    pub(crate) millilitres: Option<u64>,
    /// How long the valve was open.
    pub(crate) open_ms: u64,
}

/// A run that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) run: u64,
    pub(crate) cause: Cause,
    /// Place of the rule that wants it.
    pub(crate) rule: Option<usize>,
    /// What is charged: its time, and what flows in it.
    pub(crate) charge: Use,
    /// It ends when so much has flowed, in millilitres.
    pub(crate) target_ml: Option<u64>,
    /// How long that takes if the meter stays silent, in milliseconds.
    pub(crate) silent_ms: Option<u64>,
    /// What follows after the soak.
    pub(crate) rest: Option<Amount>,
}

/// A run whose valve was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(super) wish: Wish,
    pub(super) opened_ms: u64,
    /// First lease that the controller took.
    pub(super) granted_ms: Option<u64>,
    /// No lease reaches beyond this.
    pub(super) lease_until_ms: u64,
    pub(super) renew_at_ms: u64,
    pub(super) status_at_ms: u64,
    pub(super) confirmed: bool,
    /// The controller reset during the run: its pulse count restarted.
    pub(super) reset: bool,
    pub(super) baseline_pulses: Option<u32>,
    /// What the meter has counted, in millilitres.
    pub(super) flowed_ml: Option<u64>,
    /// It is over, and the valve waits for pump and master valve to close.
    pub(super) winding: Option<EndReason>,
}

impl Run {
    pub(super) fn end_ms(&self) -> u64 {
        self.opened_ms.saturating_add(self.wish.charge.ms)
    }
}
