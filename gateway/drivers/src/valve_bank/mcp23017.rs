//! MCP23017 (datasheet DS20001952C, BANK = 0) as a relay board.
//!
//! After power-on all pins are inputs and all latches 0. On an active-low board a pin that becomes an
//! output before its latch is written would switch its relay on: the latch goes first, always.
//! Pins without a relay stay inputs.

use embedded_hal::i2c::I2c;

use super::{ReadBack, ValveBank, Wanted};
use crate::error::Chip;
use crate::{Cause, SensorError};

/// Registers of port A, port B follows; IOCON is at both 0x0A and 0x0B.
const IODIR: u8 = 0x00;
const IPOL: u8 = 0x02;
const IOCON: u8 = 0x0A;
const GPIO: u8 = 0x12;
const OLAT: u8 = 0x14;
/// Where IOCON is while BANK is 1. With BANK = 0 it is GPINTENB, which is 0 here anyway.
const IOCON_OF_OTHER_BANK: u8 = 0x05;
/// All registers.
const BURST_LEN: usize = 0x16;

/// Sixteen pins with relays at some of them.
#[derive(Debug)]
pub struct Mcp23017Bank<I2C> {
    i2c: I2C,
    address: u8,
    wanted: Wanted,
    /// Pins whose relay is on while they are low.
    active_low: u16,
    chip: Chip,
}

impl<I2C> Mcp23017Bank<I2C> {
    /// First and last of the addresses that A0 to A2 choose.
    pub const ADDRESSES: core::ops::RangeInclusive<u8> = 0x20..=0x27;
    /// How many pins.
    pub const PINS: u8 = 16;
}

impl<I2C: I2c> Mcp23017Bank<I2C> {
    /// `relays` has a bit for each pin with a relay (port A in the low byte), `active_low` for each
    /// that is on while its pin is low. Sends nothing yet; everything is wanted off.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, address: u8, relays: u16, active_low: u16) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "mcp23017",
            address: Some(address),
        };
        let all: Vec<u8> = Self::ADDRESSES.collect();
        chip.one_of(address, &all, "the address must be 0x20 to 0x27")?;
        Ok(Self {
            i2c,
            address,
            wanted: Wanted::new(relays),
            active_low,
            chip,
        })
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn put(&mut self, on: u16) -> Result<(), SensorError> {
        // Whatever happens, what was not on before and could not be written is not wanted any more.
        self.wanted.on &= on;
        self.write("iocon", &[IOCON_OF_OTHER_BANK, 0x00])?;
        self.write("iocon", &[IOCON, 0x00])?;
        let mut iocon = [0];
        let read = self.i2c.write_read(self.address, &[IOCON], &mut iocon);
        read.map_err(|error| self.chip.bus("iocon", &error))?;
        if iocon != [0x00] {
            let [found] = iocon.map(u16::from);
            let cause = Cause::NotTaken { wrote: 0, found };
            return Err(self.chip.error("iocon", cause));
        }
        let relays = self.wanted.relays;
        let [a, b] = ((on ^ self.active_low) & relays).to_le_bytes();
        self.write("polarity", &[IPOL, 0x00, 0x00])?;
        self.write("latches", &[OLAT, a, b])?;
        let [a, b] = (!relays).to_le_bytes();
        self.write("direction", &[IODIR, a, b])?;
        self.wanted.on = on;
        Ok(())
    }

    fn write(&mut self, register: &'static str, bytes: &[u8]) -> Result<(), SensorError> {
        let sent = self.i2c.write(self.address, bytes);
        sent.map_err(|error| self.chip.bus(register, &error))
    }
}

impl<I2C: I2c> ValveBank for Mcp23017Bank<I2C> {
    fn switch(&mut self, pin: u8, on: bool) -> Result<(), SensorError> {
        let no_relay = Cause::Refused("the pin has no relay");
        let on = self.wanted.with(pin, on);
        self.put(on.ok_or_else(|| self.chip.error("latches", no_relay))?)
    }

    fn all_off(&mut self) -> Result<(), SensorError> {
        self.put(0)
    }

    fn read_back(&mut self) -> Result<ReadBack, SensorError> {
        let mut bytes = [0; BURST_LEN];
        let read = self.i2c.write_read(self.address, &[IODIR], &mut bytes);
        read.map_err(|error| self.chip.bus("levels", &error))?;
        let word = |register: u8| {
            let pair = bytes.get(usize::from(register)..);
            let pair = pair.and_then(|rest| rest.first_chunk());
            pair.map_or(0, |pair| u16::from_le_bytes(*pair))
        };
        // With other settings the bytes would be of other registers.
        if word(IOCON) != 0 || word(IPOL) != 0 {
            let found = word(IOCON) | word(IPOL);
            let cause = Cause::Reset { expected: 0, found };
            return Err(self.chip.error("settings", cause));
        }
        let relays = self.wanted.relays;
        let (latches, levels) = (word(OLAT), word(GPIO));
        let driven = !word(IODIR);
        Ok(ReadBack {
            on: (levels ^ self.active_low) & relays,
            agrees: !(latches ^ levels) & driven & relays,
        })
    }
}
