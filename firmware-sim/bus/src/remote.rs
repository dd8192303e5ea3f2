//! A client's connection to the simulator.

use std::sync::{Arc, Mutex};

use crate::clock::RemoteClock;
use crate::error::BusError;
use crate::gpio::{RemoteInput, RemoteOutput, RemotePulses};
use crate::i2c::RemoteI2c;
use crate::link::Link;
use crate::socket::Address;

/// A simulated machine: its busses, pins and clock. Clones are the same client.
#[derive(Debug, Clone)]
pub struct RemoteBus {
    address: Address,
    client: String,
    gpio: Arc<Mutex<Link>>,
    clock: RemoteClock,
}

impl RemoteBus {
    /// Connects the clock; busses connect when they are first used. `address` is `tcp:HOST:PORT` or
    /// `unix:PATH`, `client` names this program in the simulator's logs.
    ///
    /// In lock-step, simulated time stands still from here until this client waits for a deadline.
    ///
    /// # Errors
    /// [`BusError::Address`] for an address of another form, [`BusError::Connect`], and what the
    /// simulator refuses.
    pub fn connect(address: &str, client: &str) -> Result<Self, BusError> {
        let address: Address = address.parse()?;
        let clock = RemoteClock::connect(&address, client)?;
        let gpio = Link::new(address.clone(), client.to_owned());
        Ok(Self {
            address,
            client: client.to_owned(),
            gpio: Arc::new(Mutex::new(gpio)),
            clock,
        })
    }

    /// I2C bus number `bus_number`, as in `/dev/i2c-N`. Two handles of one bus are two masters: keep one
    /// per bus, on the thread that owns it.
    #[must_use]
    pub fn i2c(&self, bus_number: u8) -> RemoteI2c {
        RemoteI2c::new(
            Link::new(self.address.clone(), self.client.clone()),
            bus_number,
        )
    }

    /// Counts rising edges on input `pin` (BCM number).
    #[must_use]
    pub fn pulses(&self, pin: u8) -> RemotePulses {
        RemotePulses::new(Arc::clone(&self.gpio), pin)
    }

    /// Output `pin` (BCM number).
    #[must_use]
    pub fn output(&self, pin: u8) -> RemoteOutput {
        RemoteOutput::new(Arc::clone(&self.gpio), pin)
    }

    /// Input `pin` (BCM number).
    #[must_use]
    pub fn input(&self, pin: u8) -> RemoteInput {
        RemoteInput::new(Arc::clone(&self.gpio), pin)
    }

    /// The field clock.
    #[must_use]
    pub fn clock(&self) -> RemoteClock {
        self.clock.clone()
    }
}
