//! PCF8574, PCF8574A: eight contacts as inputs.
//!
//! The chip has no registers. A pin is an input while it is written high, which it also is after a
//! loss of power; it is written before each reading, so that no other program's output stays. There
//! is no memory of changes: what comes and goes between two readings is not seen.

use embedded_hal::i2c::I2c;

use crate::SensorError;
use crate::error::Chip;
use crate::inputs::{ContactReader, Contacts};

/// How many contacts.
pub const CONTACTS: u8 = 8;
/// All pins weakly high: inputs.
const INPUTS: u8 = 0xFF;

/// The driver.
#[derive(Debug)]
pub struct Pcf8574<I2C> {
    i2c: I2C,
    address: u8,
    chip: Chip,
}

impl<I2C> Pcf8574<I2C> {
    /// First and last of the addresses that A0 to A2 choose: PCF8574, PCF8574A.
    pub const ADDRESSES: [core::ops::RangeInclusive<u8>; 2] = [0x20..=0x27, 0x38..=0x3F];
}

impl<I2C: I2c> Pcf8574<I2C> {
    /// `address` lies in one of [`Pcf8574::ADDRESSES`]. Sends nothing yet.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "pcf8574",
            address: Some(address),
        };
        let all: Vec<u8> = Self::ADDRESSES.into_iter().flatten().collect();
        chip.one_of(
            address,
            &all,
            "the address must be 0x20 to 0x27 or 0x38 to 0x3f",
        )?;
        Ok(Self { i2c, address, chip })
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }
}

impl<I2C: I2c> ContactReader for Pcf8574<I2C> {
    fn contacts(&mut self) -> Result<Contacts, SensorError> {
        let sent = self.i2c.write(self.address, &[INPUTS]);
        sent.map_err(|error| self.chip.bus("pins", &error))?;
        let mut byte = [0];
        let read = self.i2c.read(self.address, &mut byte);
        read.map_err(|error| self.chip.bus("pins", &error))?;
        let [levels] = byte;
        Ok(Contacts {
            // Pins that the chip does not have are high, as open ones.
            high: u16::from(levels) | 0xFF00,
            changed: 0,
        })
    }
}
