//! The field: I2C buses, GPIO pins and the clock they live by, on a Pi, on another board or in a
//! simulator.
//!
//! Owns: opening them and mapping their errors. Drivers see `embedded-hal` traits only. Nothing here
//! retries or knows a chip. **Invariant:** the crate behind the Pi's pins is named in `pi.rs`, those
//! behind the kernel's character devices in `linux.rs`, and nowhere else.

mod clock;
mod delay;
mod fault_codes;
mod linux;
mod one_wire;
mod pi;
mod rs485;
mod shared;
mod simulated;
mod trouble;

use std::time::Duration;

use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, Operation};
use furrow_drivers::PulseCounter;
use furrow_drivers::clear::{self, Cleared};

use crate::config::{BusKind, ClearPins, Settings};

pub use clock::{Busy, FieldClock, FieldEnd, FieldTime};
pub use delay::FieldDelay;
pub use one_wire::{OneWireFile, one_wire_ids};
pub use rs485::Rs485;
pub use shared::{SharedI2c, SharedPulses};

/// All buses of this gateway and their clock. Clones share them.
#[derive(Debug, Clone)]
pub struct Field {
    kind: Kind,
    clock: FieldClock,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The machine's own: a bus is as its settings say.
    Own,
    Simulated(furrow_sim_bus::RemoteBus),
}

/// The field can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// The simulator does not answer.
    #[error("connect to the simulated field at {address}")]
    Simulator {
        /// Where it should be.
        address: String,
        /// Why not.
        source: furrow_sim_bus::BusError,
    },
    /// The Pi's clock can't be read.
    #[error("read the boot id")]
    BootId(#[source] std::io::Error),
}

impl Field {
    /// Opens the field that the settings name. Buses open when they are first used, so that one that
    /// is missing does not stop the others. `client` names this program to a simulator.
    ///
    /// # Errors
    /// The simulator can't be reached, or the system has no boot id.
    pub fn open(settings: &Settings, client: &str) -> Result<Self, FieldError> {
        // All buses with a clock are of one kind: the settings see to that.
        let mut kinds = settings.buses().iter().map(|bus| &bus.kind);
        let simulated = kinds.find(|kind| matches!(kind, BusKind::Simulated { .. }));
        Self::connect(simulated, client)
    }

    /// Opens the field behind one bus, for who has no settings yet.
    ///
    /// # Errors
    /// As [`Field::open`].
    pub fn connect(kind: Option<&BusKind>, client: &str) -> Result<Self, FieldError> {
        match kind {
            Some(BusKind::Simulated { address, .. }) => {
                let bus = simulated::connect(address, client)?;
                let clock = FieldClock::simulated(bus.clock());
                Ok(Self {
                    kind: Kind::Simulated(bus),
                    clock,
                })
            }
            Some(
                BusKind::Pi
                | BusKind::Linux { .. }
                | BusKind::OneWire { .. }
                | BusKind::Rs485(_)
                | BusKind::Guard { .. },
            )
            | None => {
                let clock = FieldClock::pi().map_err(FieldError::BootId)?;
                Ok(Self {
                    kind: Kind::Own,
                    clock,
                })
            }
        }
    }

    /// The clock of sampling, leases and schedules.
    #[must_use]
    pub fn clock(&self) -> &FieldClock {
        &self.clock
    }

    /// An I2C bus by its number. To be kept by one thread.
    #[must_use]
    pub fn i2c(&self, of: &BusKind, number: u8) -> FieldI2c {
        FieldI2c(match (&self.kind, of) {
            (Kind::Simulated(bus), _) => AnyI2c::Simulated(bus.i2c(number)),
            (Kind::Own, BusKind::Linux { .. }) => AnyI2c::Linux(linux::LinuxI2c::new(number)),
            (Kind::Own, _) => AnyI2c::Pi(pi::PiI2c::new(number)),
        })
    }

    /// Counts pulses at a pin (BCM number, or line of the bus's GPIO chip). Edges closer together
    /// than `debounce` are one.
    #[must_use]
    pub fn pulses(&self, of: &BusKind, pin: u8, debounce: Duration) -> FieldPulses {
        FieldPulses(match (&self.kind, of) {
            (Kind::Simulated(bus), _) => AnyPulses::Simulated(bus.pulses(pin)),
            (Kind::Own, BusKind::Linux { gpio_chip }) => {
                let chip = gpio_chip.as_deref().unwrap_or_default();
                AnyPulses::Linux(linux::LinuxPulses::new(chip, pin, debounce))
            }
            (Kind::Own, _) => AnyPulses::Pi(pi::PiPulses::new(pin, debounce)),
        })
    }

    /// Reads the level of a pin (BCM number, or line of the bus's GPIO chip), pulled up. Where the
    /// kernel can, the level is one that lasted for `debounce`.
    #[must_use]
    pub fn input(&self, of: &BusKind, pin: u8, debounce: Duration) -> FieldInput {
        FieldInput(match (&self.kind, of) {
            (Kind::Simulated(bus), _) => AnyInput::Simulated(bus.input(pin)),
            (Kind::Own, BusKind::Linux { gpio_chip }) => {
                let chip = gpio_chip.as_deref().unwrap_or_default();
                AnyInput::Linux(linux::LinuxInput::new(chip, pin, debounce))
            }
            (Kind::Own, _) => AnyInput::Pi(pi::PiInput::new(pin)),
        })
    }

    /// Drives a pin (BCM number, or line of the bus's GPIO chip). It becomes an output when it is
    /// first driven, with that level at once.
    #[must_use]
    pub fn output(&self, of: &BusKind, pin: u8) -> FieldOutput {
        FieldOutput(match (&self.kind, of) {
            (Kind::Simulated(bus), _) => AnyOutput::Simulated(bus.output(pin), bus.input(pin)),
            (Kind::Own, BusKind::Linux { gpio_chip }) => {
                let chip = gpio_chip.as_deref().unwrap_or_default();
                AnyOutput::Linux(linux::LinuxOutput::new(chip, pin))
            }
            (Kind::Own, _) => AnyOutput::Pi(pi::PiOutput::new(pin)),
        })
    }

    /// Clocks a bus free whose data line a chip holds. To be called by the thread of that bus, while
    /// no transaction is under way.
    pub fn clear_bus(&self, pins: ClearPins, delay: &mut FieldDelay) -> Cleared {
        match &self.kind {
            // Settings give these pins to a bus of the Pi only.
            Kind::Own => pi::clear_bus(pins, delay),
            Kind::Simulated(bus) => {
                clear::clear(&mut bus.output(pins.scl), &mut bus.input(pins.sda), delay)
            }
        }
    }
}

/// An I2C bus of the field.
#[derive(Debug)]
pub struct FieldI2c(AnyI2c);

#[derive(Debug)]
enum AnyI2c {
    Pi(pi::PiI2c),
    Linux(linux::LinuxI2c),
    Simulated(furrow_sim_bus::RemoteI2c),
}

impl ErrorType for FieldI2c {
    type Error = ErrorKind;
}

impl I2c for FieldI2c {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), ErrorKind> {
        match &mut self.0 {
            AnyI2c::Pi(bus) => bus.transaction(address, operations),
            AnyI2c::Linux(bus) => bus.transaction(address, operations),
            AnyI2c::Simulated(bus) => bus
                .transaction(address, operations)
                .map_err(|error| simulated::kind(&error)),
        }
    }
}

/// A pulse counter of the field.
#[derive(Debug)]
pub struct FieldPulses(AnyPulses);

#[derive(Debug)]
enum AnyPulses {
    Pi(pi::PiPulses),
    Linux(linux::LinuxPulses),
    Simulated(furrow_sim_bus::RemotePulses),
}

impl PulseCounter for FieldPulses {
    fn pulses(&mut self) -> Result<u64, &'static str> {
        match &mut self.0 {
            AnyPulses::Pi(pin) => pin.pulses(),
            AnyPulses::Linux(line) => line.pulses(),
            AnyPulses::Simulated(pin) => simulated::pulses(pin),
        }
    }
}

/// A pin of the field that is read.
#[derive(Debug)]
pub struct FieldInput(AnyInput);

#[derive(Debug)]
enum AnyInput {
    Pi(pi::PiInput),
    Linux(linux::LinuxInput),
    Simulated(furrow_sim_bus::RemoteInput),
}

impl digital::ErrorType for FieldInput {
    type Error = digital::ErrorKind;
}

impl InputPin for FieldInput {
    fn is_high(&mut self) -> Result<bool, digital::ErrorKind> {
        match &mut self.0 {
            AnyInput::Pi(pin) => pin.is_high().ok_or(digital::ErrorKind::Other),
            AnyInput::Linux(line) => line.is_high().ok_or(digital::ErrorKind::Other),
            AnyInput::Simulated(pin) => simulated::level(pin),
        }
    }

    fn is_low(&mut self) -> Result<bool, digital::ErrorKind> {
        self.is_high().map(|high| !high)
    }
}

/// A pin of the field that is driven, and its level read back.
#[derive(Debug)]
pub struct FieldOutput(AnyOutput);

#[derive(Debug)]
enum AnyOutput {
    Pi(pi::PiOutput),
    Linux(linux::LinuxOutput),
    Simulated(furrow_sim_bus::RemoteOutput, furrow_sim_bus::RemoteInput),
}

impl FieldOutput {
    fn drive(&mut self, high: bool) -> Result<(), digital::ErrorKind> {
        let driven = match &mut self.0 {
            AnyOutput::Pi(pin) => pin.drive(high),
            AnyOutput::Linux(line) => line.drive(high),
            AnyOutput::Simulated(pin, _) => simulated::drive(pin, high),
        };
        driven.then_some(()).ok_or(digital::ErrorKind::Other)
    }
}

impl digital::ErrorType for FieldOutput {
    type Error = digital::ErrorKind;
}

impl OutputPin for FieldOutput {
    fn set_low(&mut self) -> Result<(), digital::ErrorKind> {
        self.drive(false)
    }

    fn set_high(&mut self) -> Result<(), digital::ErrorKind> {
        self.drive(true)
    }
}

impl InputPin for FieldOutput {
    fn is_high(&mut self) -> Result<bool, digital::ErrorKind> {
        match &mut self.0 {
            AnyOutput::Pi(pin) => pin.is_high().ok_or(digital::ErrorKind::Other),
            AnyOutput::Linux(line) => line.is_high().ok_or(digital::ErrorKind::Other),
            AnyOutput::Simulated(_, pin) => simulated::level(pin),
        }
    }

    fn is_low(&mut self) -> Result<bool, digital::ErrorKind> {
        self.is_high().map(|high| !high)
    }
}
