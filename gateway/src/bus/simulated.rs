//! The simulated field over a socket.

use embedded_hal::digital::{self, InputPin as _, OutputPin as _, PinState};
use embedded_hal::i2c::{Error as _, ErrorKind};
use furrow_sim_bus::{BusError, RemoteBus, RemoteInput, RemoteOutput, RemotePulses};

use super::FieldError;

pub(super) fn connect(address: &str, client: &str) -> Result<RemoteBus, FieldError> {
    RemoteBus::connect(address, client).map_err(|source| FieldError::Simulator {
        address: address.to_owned(),
        source,
    })
}

/// The kind of an error; what it says beyond that goes to the log.
pub(super) fn kind(error: &BusError) -> ErrorKind {
    tracing::trace!(error = %error, "simulated bus refused a transaction");
    error.kind()
}

pub(super) fn pulses(pin: &RemotePulses) -> Result<u64, &'static str> {
    pin.count().map_err(|error| {
        tracing::debug!(error = %error, "simulated pulse counter does not answer");
        "the simulated pulse counter does not answer"
    })
}

pub(super) fn level(pin: &mut RemoteInput) -> Result<bool, digital::ErrorKind> {
    pin.is_high().map_err(|error| {
        tracing::debug!(error = %error, "simulated pin does not answer");
        digital::ErrorKind::Other
    })
}

pub(super) fn drive(pin: &mut RemoteOutput, high: bool) -> bool {
    let driven = pin.set_state(PinState::from(high));
    if let Err(error) = &driven {
        tracing::debug!(error = %error, "simulated pin is not driven");
    }
    driven.is_ok()
}
