//! Port expanders with contacts or with relays at their pins: Microchip MCP23017 and NXP PCF8574.
//!
//! A relay is on while its pin is low; a pin that nothing drives is pulled up by its board.

use super::{Chip, Field, Nack};

/// Registers of an MCP23017 with BANK = 0.
const REGISTERS: usize = 0x16;

/// What hangs at the pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Contacts to ground.
    Contacts,
    /// Eight relays, on while their pin is low.
    Relays,
}

/// An MCP23017.
#[derive(Debug)]
pub(crate) struct Mcp23017 {
    at: At,
    pointer: u8,
    registers: [u8; REGISTERS],
    /// Levels and presses when it last looked.
    seen: Option<(u16, u64)>,
}

/// A PCF8574.
#[derive(Debug)]
pub(crate) struct Pcf8574 {
    at: At,
    latch: u8,
}

impl Mcp23017 {
    /// With contacts at all pins.
    pub(crate) fn new() -> Self {
        Self::with(At::Contacts)
    }

    /// With relays at port A.
    pub(crate) fn relays() -> Self {
        Self::with(At::Relays)
    }

    fn with(at: At) -> Self {
        let mut registers = [0; REGISTERS];
        // All pins are inputs after a loss of power.
        let [a, b, ..] = &mut registers;
        (*a, *b) = (0xFF, 0xFF);
        Self {
            at,
            pointer: 0,
            registers,
            seen: None,
        }
    }

    fn word(&self, register: usize) -> u16 {
        let pair = self.registers.get(register..).and_then(<[u8]>::first_chunk);
        pair.map_or(0, |pair| u16::from_le_bytes(*pair))
    }

    fn set_word(&mut self, register: usize, word: u16) {
        if let Some(pair) = self
            .registers
            .get_mut(register..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *pair = word.to_le_bytes();
        }
    }

    /// An open contact is high where there is a pull-up, else it floats and reads low here.
    fn look(&mut self, field: &dyn Field) {
        let site = field.site();
        let levels = match self.at {
            At::Contacts => site.contacts & self.word(0x0C),
            At::Relays => 0xFFFF,
        };
        let pins = self.word(0x00);
        let levels = levels & pins | self.word(0x14) & !pins;
        if let Some((before, presses)) = self.seen {
            // A press that came and went changed the button's pin, too.
            let pressed = u16::from(site.presses != presses) << crate::site::BUTTON;
            let changed = (before ^ levels | pressed) & self.word(0x04);
            if changed != 0 {
                self.set_word(0x0E, self.word(0x0E) | changed);
                self.set_word(0x10, levels);
            }
        }
        self.seen = Some((levels, site.presses));
        self.set_word(0x12, levels ^ self.word(0x02));
    }
}

impl Chip for Mcp23017 {
    fn write(&mut self, _: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        self.look(field);
        let Some((&pointer, rest)) = bytes.split_first() else {
            return Ok(());
        };
        self.pointer = pointer;
        for &byte in rest {
            // Flags, captured levels and levels can't be written; a port's write sets its latch.
            let register = match self.pointer {
                0x0E..=0x11 => None,
                0x12 | 0x13 => Some(self.pointer + 2),
                register => Some(register),
            };
            let place = register.map(usize::from);
            if let Some(byte_at) = place.and_then(|place| self.registers.get_mut(place)) {
                *byte_at = byte;
            }
            self.pointer = (self.pointer + 1) % 0x16;
        }
        self.look(field);
        Ok(())
    }

    fn read(&mut self, _: u64, bytes: &mut [u8], field: &dyn Field) -> Result<(), Nack> {
        self.look(field);
        let mut clears = false;
        for byte in bytes {
            let place = usize::from(self.pointer);
            *byte = self.registers.get(place).copied().unwrap_or(0xFF);
            clears |= (0x10..=0x13).contains(&self.pointer);
            self.pointer = (self.pointer + 1) % 0x16;
        }
        if clears {
            self.set_word(0x0E, 0);
        }
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        *self = Self::with(self.at);
    }

    fn relays(&self) -> u8 {
        let [low, _] = (!self.word(0x00) & !self.word(0x14)).to_le_bytes();
        if self.at == At::Relays { low } else { 0 }
    }
}

impl Pcf8574 {
    /// With contacts at all pins.
    pub(crate) fn new() -> Self {
        Self::with(At::Contacts)
    }

    /// With relays at all pins.
    pub(crate) fn relays() -> Self {
        Self::with(At::Relays)
    }

    fn with(at: At) -> Self {
        Self { at, latch: 0xFF }
    }
}

impl Chip for Pcf8574 {
    fn write(&mut self, _: u64, bytes: &[u8], _: &dyn Field) -> Result<(), Nack> {
        if let Some(last) = bytes.last() {
            self.latch = *last;
        }
        Ok(())
    }

    fn read(&mut self, _: u64, bytes: &mut [u8], field: &dyn Field) -> Result<(), Nack> {
        let low = match self.at {
            At::Contacts => field.site().contacts.to_le_bytes()[0],
            At::Relays => 0xFF,
        };
        // A pin that is driven low stays low.
        bytes.fill(low & self.latch);
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        *self = Self::with(self.at);
    }

    fn relays(&self) -> u8 {
        if self.at == At::Relays {
            !self.latch
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    fn field(contacts: u16) -> Fake {
        let mut field = Fake::default();
        field.site.contacts = contacts;
        field
    }

    #[test]
    fn an_mcp23017_after_power_on_and_with_pull_ups() {
        let mut bench = Bench::new(Mcp23017::new(), field(0xFFF6));
        bench.ask(&[0x00], 0, &[0xFF, 0xFF, 0x00, 0x00]);
        bench.ask(&[0x12], 0, &[0x00, 0x00]);
        bench.write(&[0x0C, 0xFF, 0xFF], Ok(()));
        bench.ask(&[0x12], 0, &[0xF6, 0xFF]);
        bench.write(&[0x02, 0x0F, 0x00], Ok(()));
        bench.ask(&[0x12], 0, &[0xF9, 0xFF]);
        bench.chip.power_cycle(bench.now_ns);
        bench.ask(&[0x0C], 0, &[0x00, 0x00]);
    }

    #[test]
    fn an_mcp23017_remembers_changes_until_they_are_read() {
        let mut bench = Bench::new(Mcp23017::new(), field(0xFFFF));
        bench.write(&[0x0C, 0xFF, 0xFF], Ok(()));
        bench.write(&[0x04, 0xFF, 0xFF], Ok(()));
        bench.ask(&[0x0E], 0, &[0x00, 0x00]);
        bench.field.site.contacts = 0xFFFE;
        bench.ask(&[0x0E], 0, &[0x01, 0x00]);
        // A press that is over already.
        bench.field.site.presses = 1;
        bench.ask(&[0x0E], 0, &[0x09, 0x00, 0xFE, 0xFF, 0xFE, 0xFF]);
        bench.ask(&[0x0E], 0, &[0x00, 0x00]);
    }

    #[test]
    fn relays_follow_latch_and_direction() {
        let mut bench = Bench::new(Mcp23017::relays(), field(0x0000));
        // Latches are 0 after power-on: the direction alone would switch every relay on.
        assert_eq!(bench.chip.relays(), 0x00);
        bench.write(&[0x14, 0xFE, 0xFF], Ok(()));
        assert_eq!(bench.chip.relays(), 0x00);
        bench.write(&[0x00, 0x00, 0x00], Ok(()));
        assert_eq!(bench.chip.relays(), 0x01);
        bench.ask(&[0x12], 0, &[0xFE, 0xFF, 0xFE, 0xFF]);
        bench.chip.power_cycle(bench.now_ns);
        assert_eq!(bench.chip.relays(), 0x00);
        bench.ask(&[0x12], 0, &[0xFF, 0xFF]);
        let mut bench = Bench::new(Pcf8574::relays(), field(0x0000));
        bench.read(Ok(&[0xFF]));
        bench.write(&[0xFD], Ok(()));
        assert_eq!(bench.chip.relays(), 0x02);
        bench.read(Ok(&[0xFD]));
    }

    #[test]
    fn a_pcf8574() {
        let mut bench = Bench::new(Pcf8574::new(), field(0xFFF6));
        bench.read(Ok(&[0xF6]));
        bench.ask(&[0x0F], 0, &[0x06]);
        bench.chip.power_cycle(bench.now_ns);
        bench.read(Ok(&[0xF6]));
    }
}
