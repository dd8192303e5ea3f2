//! MCP23017: sixteen contacts as inputs.
//!
//! All pins are inputs with pull-ups and watched for changes, so that a button that was pressed
//! between two readings is seen. One burst holds settings, flags and levels: a chip that lost its
//! settings shows, and gets them again. It drives nothing; valves do not belong on this chip.

use embedded_hal::i2c::I2c;

use crate::error::Chip;
use crate::inputs::{ContactReader, Contacts};
use crate::{Cause, SensorError};

/// How many contacts.
pub const CONTACTS: u8 = 16;
/// Settings with their first register: pin direction, polarity and change detection are registers
/// 0x00 to 0x05, comparison with the last level 0x08 and 0x09, pull-ups 0x0C and 0x0D (datasheet,
/// table 3-1, BANK = 0). Output latches are left alone: with all pins inputs they do nothing.
const SETTINGS: [(u8, [u8; 2]); 5] = [
    (0x00, [0xFF, 0xFF]),
    (0x02, [0x00, 0x00]),
    (0x08, [0x00, 0x00]),
    (0x0C, [0xFF, 0xFF]),
    (0x04, [0xFF, 0xFF]),
];
/// Registers 0x00 to 0x13: settings, change flags, levels at the change, levels now.
const BURST_LEN: usize = 0x14;

/// The driver.
#[derive(Debug)]
pub struct Mcp23017<I2C> {
    i2c: I2C,
    address: u8,
    is_set_up: bool,
    chip: Chip,
}

impl<I2C: I2c> Mcp23017<I2C> {
    /// First and last of the addresses that A0 to A2 choose.
    pub const ADDRESSES: core::ops::RangeInclusive<u8> = 0x20..=0x27;

    /// `address` lies in [`Mcp23017::ADDRESSES`]. Sends nothing yet.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "mcp23017",
            address: Some(address),
        };
        let all: Vec<u8> = Self::ADDRESSES.collect();
        chip.one_of(address, &all, "the address must be 0x20 to 0x27")?;
        Ok(Self {
            i2c,
            address,
            is_set_up: false,
            chip,
        })
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn set_up(&mut self) -> Result<(), SensorError> {
        for (register, [a, b]) in SETTINGS {
            let sent = self.i2c.write(self.address, &[register, a, b]);
            sent.map_err(|error| self.chip.bus("settings", &error))?;
        }
        self.is_set_up = true;
        Ok(())
    }

    fn burst(&mut self) -> Result<[u8; BURST_LEN], SensorError> {
        let mut bytes = [0; BURST_LEN];
        let read = self.i2c.write_read(self.address, &[0x00], &mut bytes);
        read.map_err(|error| self.chip.bus("levels", &error))?;
        Ok(bytes)
    }
}

impl<I2C: I2c> ContactReader for Mcp23017<I2C> {
    fn contacts(&mut self) -> Result<Contacts, SensorError> {
        let fresh = !self.is_set_up;
        if fresh {
            self.set_up()?;
        }
        self.is_set_up = false;
        let bytes = self.burst()?;
        let word = |register: u8| {
            let place = usize::from(register);
            let pair = bytes.get(place..).and_then(|rest| rest.first_chunk());
            pair.map_or(0, |pair| u16::from_le_bytes(*pair))
        };
        for (register, expected) in SETTINGS {
            let (expected, found) = (u16::from_le_bytes(expected), word(register));
            if found != expected {
                let cause = Cause::Reset { expected, found };
                return Err(self.chip.error("settings", cause));
            }
        }
        self.is_set_up = true;
        Ok(Contacts {
            high: word(0x12),
            // What changed before the chip was watched is not known.
            changed: if fresh { 0 } else { word(0x0E) },
        })
    }
}
