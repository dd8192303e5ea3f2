//! Contacts: float switches, doors, relays, buttons, at an expander or at GPIO lines.
//!
//! Levels only. Whether a contact has come to rest is decided in the gateway's core.

use embedded_hal::digital::InputPin;

use crate::error::Chip;
use crate::{Cause, SensorError};

/// Levels of up to sixteen contacts, contact n in bit n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contacts {
    /// The line is high.
    pub high: u16,
    /// The line changed since the last reading, where the chip remembers that.
    pub changed: u16,
}

/// Reads contacts.
pub trait ContactReader {
    /// All of them now.
    ///
    /// # Errors
    /// The bus or the line, or a chip that lost its settings.
    fn contacts(&mut self) -> Result<Contacts, SensorError>;
}

/// Contacts at GPIO lines, in the order in which they were given.
#[derive(Debug)]
pub struct GpioContacts<P> {
    lines: Vec<P>,
}

const CHIP: Chip = Chip {
    name: "gpio-inputs",
    address: None,
};

impl<P: InputPin> GpioContacts<P> {
    /// At most sixteen lines; what lies beyond is never read.
    pub fn new(lines: Vec<P>) -> Self {
        Self { lines }
    }

    /// Gives the lines back.
    pub fn release(self) -> Vec<P> {
        self.lines
    }
}

impl<P: InputPin> ContactReader for GpioContacts<P> {
    fn contacts(&mut self) -> Result<Contacts, SensorError> {
        let mut high = 0;
        for (line, bit) in self.lines.iter_mut().zip(0..16) {
            let level = line
                .is_high()
                .map_err(|_| CHIP.error("line", Cause::Refused("the GPIO line can't be read")))?;
            high |= u16::from(level) << bit;
        }
        Ok(Contacts { high, changed: 0 })
    }
}
