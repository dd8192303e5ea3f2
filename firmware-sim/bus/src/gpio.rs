//! Simulated pins. All pins of a client share one connection.

use std::sync::{Arc, Mutex, PoisonError};

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};

use crate::error::BusError;
use crate::link::Link;
use crate::protocol::{Request, Response};

/// Counts the rising edges of an input, as the kernel's edge events would.
#[derive(Debug, Clone)]
pub struct RemotePulses {
    link: Arc<Mutex<Link>>,
    pin: u8,
}

/// A pin that is read.
#[derive(Debug)]
pub struct RemoteInput {
    link: Arc<Mutex<Link>>,
    pin: u8,
}

/// A pin that is driven.
#[derive(Debug)]
pub struct RemoteOutput {
    link: Arc<Mutex<Link>>,
    pin: u8,
}

impl RemotePulses {
    pub(crate) fn new(link: Arc<Mutex<Link>>, pin: u8) -> Self {
        Self { link, pin }
    }

    /// Rising edges since the simulator started.
    ///
    /// # Errors
    /// [`BusError`] when the simulator can't be reached or has no such input.
    pub fn count(&self) -> Result<u64, BusError> {
        let attempt = "count pulses";
        let Response::Count(count) = call(&self.link, &Request::Pulses { pin: self.pin }, attempt)?
        else {
            return Err(BusError::Unexpected(attempt));
        };
        Ok(count)
    }
}

impl RemoteInput {
    pub(crate) fn new(link: Arc<Mutex<Link>>, pin: u8) -> Self {
        Self { link, pin }
    }
}

impl RemoteOutput {
    pub(crate) fn new(link: Arc<Mutex<Link>>, pin: u8) -> Self {
        Self { link, pin }
    }

    fn drive(&self, high: bool) -> Result<(), BusError> {
        let attempt = "drive output";
        let request = Request::Output {
            pin: self.pin,
            high,
        };
        let Response::Done = call(&self.link, &request, attempt)? else {
            return Err(BusError::Unexpected(attempt));
        };
        Ok(())
    }
}

impl ErrorType for RemoteInput {
    type Error = BusError;
}

impl InputPin for RemoteInput {
    fn is_high(&mut self) -> Result<bool, BusError> {
        let attempt = "read input";
        let Response::Level(high) = call(&self.link, &Request::Input { pin: self.pin }, attempt)?
        else {
            return Err(BusError::Unexpected(attempt));
        };
        Ok(high)
    }

    fn is_low(&mut self) -> Result<bool, BusError> {
        self.is_high().map(|high| !high)
    }
}

impl ErrorType for RemoteOutput {
    type Error = BusError;
}

impl OutputPin for RemoteOutput {
    fn set_low(&mut self) -> Result<(), BusError> {
        self.drive(false)
    }

    fn set_high(&mut self) -> Result<(), BusError> {
        self.drive(true)
    }
}

fn call(
    link: &Mutex<Link>,
    request: &Request,
    attempt: &'static str,
) -> Result<Response, BusError> {
    // A thread that panicked inside a call left the link without a connection: it can be used.
    link.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .call(request, attempt)
}
