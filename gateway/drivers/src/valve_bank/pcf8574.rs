//! PCF8574, PCF8574A as a relay board.
//!
//! The chip has no registers and no direction: a pin is low, or weakly high. After power-on all pins
//! are high. So the relays must be on while their pin is low: a board that is on while it is high
//! would open every valve at power-on, long before any program runs, and a weakly high pin could not
//! feed its relay anyway.

use embedded_hal::i2c::I2c;

use super::{ReadBack, ValveBank, Wanted};
use crate::error::Chip;
use crate::{Cause, Pcf8574, SensorError};

/// Eight pins with relays at some of them, each on while its pin is low.
#[derive(Debug)]
pub struct Pcf8574Bank<I2C> {
    i2c: I2C,
    address: u8,
    wanted: Wanted,
    chip: Chip,
}

impl<I2C> Pcf8574Bank<I2C> {
    /// How many pins.
    pub const PINS: u8 = 8;
}

impl<I2C: I2c> Pcf8574Bank<I2C> {
    /// `address` lies in one of [`Pcf8574::ADDRESSES`]; `relays` has a bit for each pin with a relay.
    /// Sends nothing yet; everything is wanted off.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8, relays: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "pcf8574",
            address: Some(address),
        };
        let all: Vec<u8> = Pcf8574::<I2C>::ADDRESSES.into_iter().flatten().collect();
        chip.one_of(
            address,
            &all,
            "the address must be 0x20 to 0x27 or 0x38 to 0x3f",
        )?;
        Ok(Self {
            i2c,
            address,
            wanted: Wanted::new(u16::from(relays)),
            chip,
        })
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn put(&mut self, on: u16) -> Result<(), SensorError> {
        self.wanted.on &= on;
        let [pins, _] = (!on).to_le_bytes();
        let sent = self.i2c.write(self.address, &[pins]);
        sent.map_err(|error| self.chip.bus("pins", &error))?;
        self.wanted.on = on;
        Ok(())
    }
}

impl<I2C: I2c> ValveBank for Pcf8574Bank<I2C> {
    fn switch(&mut self, pin: u8, on: bool) -> Result<(), SensorError> {
        let no_relay = Cause::Refused("the pin has no relay");
        let on = self.wanted.with(pin, on);
        self.put(on.ok_or_else(|| self.chip.error("pins", no_relay))?)
    }

    fn all_off(&mut self) -> Result<(), SensorError> {
        self.put(0)
    }

    fn read_back(&mut self) -> Result<ReadBack, SensorError> {
        let mut byte = [0];
        let read = self.i2c.read(self.address, &mut byte);
        read.map_err(|error| self.chip.bus("pins", &error))?;
        let [levels] = byte.map(u16::from);
        let relays = self.wanted.relays;
        let on = !levels & relays;
        Ok(ReadBack {
            on,
            // The chip tells its pins only. A high pin that is pulled down reads low.
            agrees: !(on ^ self.wanted.on) & relays,
        })
    }
}
