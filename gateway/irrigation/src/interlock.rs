//! What forbids water, below all rules. None of it can be switched off from afar.

use serde::{Deserialize, Serialize};

/// Why there must be no water now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interlock {
    /// The tank is too low to begin.
    TankLow,
    /// The tank is empty.
    TankEmpty,
    /// The tank's level can't be trusted.
    TankUnknown,
    /// The pressure is too low.
    PressureLow,
    /// A valve is open and nothing flows.
    NoFlow,
    /// More flows than the emitters can take.
    Burst,
    /// Water flows although every valve is closed.
    Leak,
    /// Pump or master valve do not follow.
    Supply,
    /// A day's litres are used up, by what the meter counts.
    Litres,
}

impl Interlock {
    /// For people and for the journal.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Interlock::TankLow => "the tank is too low to begin",
            Interlock::TankEmpty => "the tank is empty",
            Interlock::TankUnknown => "the tank's level is not known",
            Interlock::PressureLow => "the water pressure is too low",
            Interlock::NoFlow => "the valve is open and no water flows",
            Interlock::Burst => "more water flows than the line's emitters take: burst",
            Interlock::Leak => "water flows although every valve is closed: leak",
            Interlock::Supply => "the pump or the master valve does not follow",
            Interlock::Litres => "the day's litres are used up",
        }
    }
}

/// A lock that lasts beyond the run that found the fault, and beyond a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// What was found.
    pub interlock: Interlock,
    /// It ends by itself at this time; without one a person has to look and reset it.
    pub until: Option<Moment>,
}

/// A time of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The boot.
    pub boot: u64,
    /// Monotonic, in milliseconds.
    pub mono_ms: u64,
}

impl Moment {
    /// After a reboot nobody knows how long it was off: a wait of `wait_ms` begins anew.
    pub(crate) fn of_this_boot(self, boot: u64, wait_ms: u64) -> Self {
        if self.boot == boot {
            return self;
        }
        Self {
            boot,
            mono_ms: wait_ms,
        }
    }
}
