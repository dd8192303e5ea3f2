//! What is not an I2C chip: pins, the lines of a bus as pins, and the 1-Wire sensors.

use furrow_sim_bus::protocol::{Failure, Operation, Stops, Transaction};

use super::{Refused, World};
use crate::chips::ds18b20::crc8;
use crate::layout::{
    BEACON_PIN, CONTACT_PINS, FLOW_METER_PIN, ONE_WIRE_BUS, ONE_WIRE_IDS, PINS, RAIN_GAUGE_PIN,
    SCL_PIN, SDA_PIN, SIREN_PIN, is_free_pin,
};

/// Changes of siren and beacon that are kept: a day of one each 20 s. Later ones are left out.
const HORN_LOG_MAX: usize = 4_096;

/// A siren or a beacon was switched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HornChange {
    pub(crate) at_ms: u64,
    pub(crate) pin: u8,
    pub(crate) on: bool,
}

/// The bus whose lines can be driven as pins.
const CLOCKED_BUS: u8 = 1;

impl World {
    /// Rising edges on a pin since the start.
    pub(crate) fn pulses(&self, pin: u8) -> Result<u64, Refused> {
        check_pin(pin)?;
        Ok(match pin {
            FLOW_METER_PIN => self.greenhouse.water.pulses(),
            RAIN_GAUGE_PIN => self.greenhouse.site_at(self.now_ns).tips,
            _ => 0,
        })
    }

    /// The level of a pin: what drives it from outside, or what was written to it. By itself it is low
    /// where something is switched, and pulled up where a contact may be.
    pub(crate) fn input(&self, pin: u8) -> Result<bool, Refused> {
        check_pin(pin)?;
        if pin == FLOW_METER_PIN {
            return Ok(self.greenhouse.water.pulse_level());
        }
        if let Some((_, bit)) = CONTACT_PINS.iter().find(|(of, _)| *of == pin) {
            return Ok(self.greenhouse.site_at(self.now_ns).contacts >> bit & 1 == 1);
        }
        if pin == SDA_PIN {
            let is_short = self.stuck_busses >> CLOCKED_BUS & 1 == 1;
            return Ok(self.held_clocks == 0 && !is_short);
        }
        if self.closed_contacts.contains(&pin) {
            return Ok(false);
        }
        let level = self.outputs.get(&pin).copied();
        Ok(level.unwrap_or(pin == SCL_PIN || is_free_pin(pin)))
    }

    /// Drives a pin.
    pub(crate) fn output(&mut self, pin: u8, high: bool) -> Result<(), Refused> {
        check_pin(pin)?;
        let driven = match pin {
            FLOW_METER_PIN => Some("the flow meter"),
            RAIN_GAUGE_PIN => Some("the rain gauge"),
            _ if CONTACT_PINS.iter().any(|(of, _)| *of == pin) => Some("a contact"),
            _ => None,
        };
        if let Some(driven) = driven {
            return Err(Refused {
                failure: Failure::NoSuchPin,
                text: format!("gpio {pin} is an input: {driven} drives it"),
            });
        }
        let before = self.outputs.insert(pin, high).unwrap_or(true);
        self.relays.handle_pin(pin, high, self.now_ns);
        self.note_horn(pin, high);
        self.apply_outputs();
        if pin == SCL_PIN && high && !before {
            self.held_clocks = self.held_clocks.saturating_sub(1);
        }
        Ok(())
    }

    /// Siren and beacon since the start.
    pub(crate) fn horn_log(&self) -> Vec<HornChange> {
        self.horn_log.clone()
    }

    pub(super) fn note_horn(&mut self, pin: u8, on: bool) {
        let is_horn = [SIREN_PIN, BEACON_PIN].contains(&pin);
        if is_horn && self.horn_log.len() < HORN_LOG_MAX {
            let at_ms = self.now_ns / 1_000_000;
            self.horn_log.push(HornChange { at_ms, pin, on });
        }
    }

    /// Whether nobody can use a bus.
    pub(super) fn is_stuck(&self, bus: u8) -> bool {
        let is_short = self
            .stuck_busses
            .checked_shr(bus.into())
            .unwrap_or_default()
            & 1
            == 1;
        is_short || (bus == CLOCKED_BUS && self.held_clocks > 0)
    }

    /// What the kernel's files of the 1-Wire sensors say after a conversion of each.
    pub(crate) fn one_wire(&mut self) -> Vec<(&'static str, Option<String>)> {
        ONE_WIRE_IDS
            .iter()
            .map(|(address, id)| (*id, self.scratchpad(*address).map(|bytes| text(&bytes))))
            .collect()
    }

    fn scratchpad(&mut self, address: u8) -> Option<Vec<u8>> {
        let place = self
            .slots
            .iter()
            .position(|slot| slot.bus == ONE_WIRE_BUS && slot.address == address)?;
        let ask = |operations| Transaction {
            bus: ONE_WIRE_BUS,
            address,
            stops: Stops::Repeated,
            operations,
        };
        // A sensor whose supply failed since shows what it holds after power-on, once.
        let held = self
            .transact_at(place, &ask(vec![Operation::Read(9)]))
            .ok()?;
        let convert = ask(vec![Operation::Write(vec![0x44]), Operation::Read(9)]);
        let fresh = self.transact_at(place, &convert).ok()?;
        let is_power_on = held.starts_with(&[0x50, 0x05]) && held.get(6) == Some(&0x0C);
        Some(if is_power_on { held } else { fresh })
    }
}

/// As the kernel writes it: bytes, whether the checksum is right, and the temperature.
fn text(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let words = words.join(" ");
    let (data, crc) = bytes.split_at(bytes.len().saturating_sub(1));
    let computed = crc8(data);
    let verdict = if crc == [computed] { "YES" } else { "NO" };
    let sixteenths = data
        .first_chunk()
        .map_or(0, |pair| i16::from_le_bytes(*pair));
    let milli = i32::from(sixteenths) * 1_000 / 16;
    format!("{words} : crc={computed:02x} {verdict}\n{words} t={milli}\n")
}

fn check_pin(pin: u8) -> Result<(), Refused> {
    if PINS.contains(&pin) {
        return Ok(());
    }
    Err(Refused {
        failure: Failure::NoSuchPin,
        text: format!("there is no gpio {pin}"),
    })
}
