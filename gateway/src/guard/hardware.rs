//! The guard's lines and chips. Nobody else opens them; what may be on is not decided here.

use std::collections::BTreeMap;

use embedded_hal::digital::{InputPin as _, OutputPin as _, PinState};
use furrow_drivers::{
    BusFault, Cause, Mcp23017Bank, Pcf8574Bank, ReadBack, SensorError, ValveBank,
};
use furrow_irrigation::guard::Seen;

use crate::bus::{Field, FieldI2c, FieldOutput, SharedI2c};
use crate::config::{BusSettings, GuardOutput, GuardPart, Level, OutputAt};

/// A disturbed transaction is tried so often before it counts as failed.
const ATTEMPTS: usize = 3;

/// All outputs and the line of the supply's watchdog.
pub struct Hardware {
    outputs: BTreeMap<u8, Place>,
    lines: Vec<Line>,
    banks: Vec<Box<dyn ValveBank>>,
    watchdog: Option<FieldOutput>,
    is_high: bool,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Line(usize),
    Bank { bank: usize, pin: u8 },
}

struct Line {
    pin: FieldOutput,
    active: Level,
}

impl Hardware {
    /// Makes drivers for all outputs. Sends nothing yet.
    ///
    /// # Errors
    /// An address that its chip can't have; settings give none.
    pub fn new(part: &GuardPart, field: &Field) -> Result<Self, SensorError> {
        let mut hardware = Self {
            outputs: BTreeMap::new(),
            lines: Vec::new(),
            banks: Vec::new(),
            watchdog: None,
            is_high: false,
        };
        let mut buses: BTreeMap<usize, SharedI2c<FieldI2c>> = BTreeMap::new();
        let mut banks: BTreeMap<(usize, u8), usize> = BTreeMap::new();
        for output in &part.guard.outputs {
            let bus = part.buses.get(output.bus).ok_or_else(no_bus)?;
            let place = match (output.at, output.at.address()) {
                (OutputAt::Line(line), _) => {
                    hardware.lines.push(Line {
                        pin: field.output(&bus.kind, line),
                        active: output.active,
                    });
                    Place::Line(hardware.lines.len() - 1)
                }
                (OutputAt::Mcp23017 { address, pin } | OutputAt::Pcf8574 { address, pin }, _) => {
                    let bank = match banks.get(&(output.bus, address)) {
                        Some(bank) => *bank,
                        None => {
                            let i2c = buses
                                .entry(output.bus)
                                .or_insert_with(|| shared(field, bus));
                            let bank = bank(&part.guard.outputs, output, i2c.clone())?;
                            hardware.banks.push(bank);
                            let place = hardware.banks.len() - 1;
                            banks.insert((output.bus, address), place);
                            place
                        }
                    };
                    Place::Bank { bank, pin }
                }
            };
            hardware.outputs.insert(output.number, place);
        }
        if let Some(watchdog) = &part.guard.watchdog {
            let bus = part.buses.get(watchdog.bus).ok_or_else(no_bus)?;
            hardware.watchdog = Some(field.output(&bus.kind, watchdog.line));
        }
        Ok(hardware)
    }

    /// Switches an output.
    ///
    /// # Errors
    /// The line or the chip, after some attempts.
    pub fn switch(&mut self, output: u8, on: bool) -> Result<(), SensorError> {
        match self.outputs.get(&output) {
            Some(Place::Line(line)) => {
                let line = self.lines.get_mut(*line).ok_or_else(no_bus)?;
                let high = on == (line.active == Level::High);
                let driven = line.pin.set_state(PinState::from(high));
                driven.map_err(|_| gpio("level", "the GPIO line is not driven"))
            }
            Some(Place::Bank { bank, pin }) => {
                let bank = self.banks.get_mut(*bank).ok_or_else(no_bus)?;
                attempt(|| bank.switch(*pin, on))
            }
            None => Err(no_bus()),
        }
    }

    /// What an output does.
    ///
    /// # Errors
    /// The line or the chip, after some attempts.
    pub fn read_back(&mut self, output: u8) -> Result<Seen, SensorError> {
        match self.outputs.get(&output) {
            Some(Place::Line(line)) => {
                let line = self.lines.get_mut(*line).ok_or_else(no_bus)?;
                let level = line.pin.is_high();
                let high = level.map_err(|_| gpio("level", "the GPIO line can't be read"))?;
                Ok(Seen {
                    on: high == (line.active == Level::High),
                    agrees: true,
                })
            }
            Some(Place::Bank { bank, pin }) => {
                let bank = self.banks.get_mut(*bank).ok_or_else(no_bus)?;
                let ReadBack { on, agrees } = attempt(|| bank.read_back())?;
                let bit = |word: u16| word >> *pin & 1 == 1;
                Ok(Seen {
                    on: bit(on),
                    agrees: bit(agrees),
                })
            }
            None => Err(no_bus()),
        }
    }

    /// One edge on the line of the supply's watchdog. A line that fails gives none, which is what the
    /// watchdog is for.
    pub fn feed(&mut self) {
        let Some(line) = &mut self.watchdog else {
            return;
        };
        self.is_high = !self.is_high;
        if line.set_state(PinState::from(self.is_high)).is_err() {
            tracing::warn!("the line of the relay supply's watchdog is not driven");
        }
    }
}

impl std::fmt::Debug for Hardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hardware")
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

fn shared(field: &Field, bus: &BusSettings) -> SharedI2c<FieldI2c> {
    // The settings give no expander to a bus without I2C.
    SharedI2c::new(field.i2c(&bus.kind, bus.i2c.unwrap_or_default()))
}

/// The chip of `first`, with all of its relays.
fn bank(
    outputs: &[GuardOutput],
    first: &GuardOutput,
    i2c: SharedI2c<FieldI2c>,
) -> Result<Box<dyn ValveBank>, SensorError> {
    let (mut relays, mut active_low) = (0_u16, 0_u16);
    let here = outputs
        .iter()
        .filter(|output| output.bus == first.bus && output.at.address() == first.at.address());
    for output in here {
        if let OutputAt::Mcp23017 { pin, .. } | OutputAt::Pcf8574 { pin, .. } = output.at {
            let bit = 1_u16.checked_shl(u32::from(pin)).unwrap_or_default();
            relays |= bit;
            if output.active == Level::Low {
                active_low |= bit;
            }
        }
    }
    Ok(match first.at {
        OutputAt::Mcp23017 { address, .. } => {
            Box::new(Mcp23017Bank::new(i2c, address, relays, active_low)?)
        }
        OutputAt::Pcf8574 { address, .. } => {
            let [low, _] = relays.to_le_bytes();
            Box::new(Pcf8574Bank::new(i2c, address, low)?)
        }
        OutputAt::Line(_) => return Err(no_bus()),
    })
}

fn attempt<T>(mut act: impl FnMut() -> Result<T, SensorError>) -> Result<T, SensorError> {
    let mut outcome = act();
    for _ in 1..ATTEMPTS {
        match &outcome {
            Err(error) if error.is_transient() => outcome = act(),
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

fn gpio(register: &'static str, why: &'static str) -> SensorError {
    SensorError {
        chip: "gpio",
        address: None,
        register,
        cause: Cause::Refused(why),
    }
}

fn no_bus() -> SensorError {
    SensorError {
        chip: "guard",
        address: None,
        register: "output",
        cause: Cause::Bus(BusFault::Other),
    }
}
