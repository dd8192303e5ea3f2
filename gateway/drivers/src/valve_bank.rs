//! Valve banks: relay boards at port expanders, written as a whole and read back.
//!
//! A bank knows which of its pins switch a relay and which level switches it on. It writes all pins
//! at once, from its own table and never from what the chip holds, so that a chip that lost its
//! settings gets them again with each write. It does not retry and knows no lease: whoever owns it
//! does. **Invariant:** a write that failed never leaves "on" in the table: the next write of another
//! pin can't switch on what was given up.

mod mcp23017;
mod pcf8574;

use crate::SensorError;

pub use mcp23017::Mcp23017Bank;
pub use pcf8574::Pcf8574Bank;

/// What a bank's pins do, relay n in bit n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBack {
    /// The pin's level switches the relay on.
    pub on: u16,
    /// Latch, direction and level of the pin agree.
    pub agrees: u16,
}

/// A relay board.
pub trait ValveBank {
    /// Switches one relay; the others stay as they were written.
    ///
    /// # Errors
    /// The bus, a pin that is no relay of this bank, or a chip that does not take its settings.
    fn switch(&mut self, pin: u8, on: bool) -> Result<(), SensorError>;

    /// Switches all relays off.
    ///
    /// # Errors
    /// As [`ValveBank::switch`].
    fn all_off(&mut self) -> Result<(), SensorError>;

    /// What the pins do now.
    ///
    /// # Errors
    /// The bus.
    fn read_back(&mut self) -> Result<ReadBack, SensorError>;
}

/// The table of a bank.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// Pins with a relay.
    relays: u16,
    on: u16,
}

impl Wanted {
    fn new(relays: u16) -> Self {
        Self { relays, on: 0 }
    }

    /// The table with one relay switched; `None` for a pin that is no relay.
    fn with(self, pin: u8, on: bool) -> Option<u16> {
        let bit = 1_u16.checked_shl(u32::from(pin))? & self.relays;
        (bit != 0).then_some(if on { self.on | bit } else { self.on & !bit })
    }
}
