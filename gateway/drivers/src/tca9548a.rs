//! TCA9548A: a multiplexer, so that sensors of one address can live on one bus.
//!
//! A [`Segment`] is the bus behind one channel. It opens its channel before every transaction:
//! whether the multiplexer lost its setting need not be known, and 0.2 ms is cheap. Of several
//! multiplexers on one bus only one is open at a time. It has no identity and no checksum.

use std::cell::Cell;
use std::rc::Rc;

use embedded_hal::i2c::{Error as _, ErrorKind, ErrorType, I2c, Operation};

/// First and last of the addresses that A0 to A2 choose.
pub const ADDRESSES: core::ops::RangeInclusive<u8> = 0x70..=0x77;
/// How many channels.
pub const CHANNELS: u8 = 8;

/// Where a device sits behind a multiplexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Address of the multiplexer.
    pub mux: u8,
    /// Its channel, 0 to 7.
    pub channel: u8,
}

/// Which multiplexer of a bus was opened last. Clones share it: one for each bus.
#[derive(Debug, Clone, Default)]
pub struct OpenMux(Rc<Cell<Option<u8>>>);

/// A bus, or a part of it behind a multiplexer. Not `Send`: it lives on the thread of its bus.
#[derive(Debug, Clone)]
pub struct Segment<B> {
    bus: B,
    route: Option<Route>,
    open: OpenMux,
}

impl<B: I2c> Segment<B> {
    /// What is at `route`, or beside all multiplexers.
    pub fn new(bus: B, route: Option<Route>, open: OpenMux) -> Self {
        Self { bus, route, open }
    }

    /// Gives the bus back; the channel stays open.
    pub fn release(self) -> B {
        self.bus
    }

    fn select(&mut self) -> Result<(), B::Error> {
        let Some(Route { mux, channel }) = self.route else {
            return Ok(());
        };
        if let Some(other) = self.open.0.get().filter(|other| *other != mux) {
            match self.bus.write(other, &[0]) {
                Ok(()) => {}
                // One that is gone connects nothing.
                Err(error) if matches!(error.kind(), ErrorKind::NoAcknowledge(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.open.0.set(Some(mux));
        let mask = 1_u8.checked_shl(channel.into()).unwrap_or(0);
        self.bus.write(mux, &[mask])
    }
}

impl<B: ErrorType> ErrorType for Segment<B> {
    type Error = B::Error;
}

impl<B: I2c> I2c for Segment<B> {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), B::Error> {
        self.select()?;
        self.bus.transaction(address, operations)
    }

    fn read(&mut self, address: u8, read: &mut [u8]) -> Result<(), B::Error> {
        self.select()?;
        self.bus.read(address, read)
    }

    fn write(&mut self, address: u8, write: &[u8]) -> Result<(), B::Error> {
        self.select()?;
        self.bus.write(address, write)
    }

    fn write_read(&mut self, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), B::Error> {
        self.select()?;
        self.bus.write_read(address, write, read)
    }
}
