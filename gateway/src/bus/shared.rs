//! One bus in the hands of several drivers on one thread; one pulse counter in those of two threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use furrow_drivers::PulseCounter;

use super::FieldPulses;

/// A handle of a bus. Not `Send`: the bus and all its drivers live on one thread.
#[derive(Debug)]
pub struct SharedI2c<B>(Rc<RefCell<B>>);

impl<B> SharedI2c<B> {
    /// The first handle.
    pub fn new(bus: B) -> Self {
        Self(Rc::new(RefCell::new(bus)))
    }
}

impl<B> Clone for SharedI2c<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B: ErrorType> ErrorType for SharedI2c<B> {
    type Error = B::Error;
}

impl<B: I2c> I2c for SharedI2c<B> {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), B::Error> {
        // A transaction calls no driver, so the bus is never borrowed twice.
        self.0.borrow_mut().transaction(address, operations)
    }
}

/// A pulse counter that its own device reads, and the zones whose water it counts. The kernel gives a
/// line to one owner, so that two counters can't be opened.
#[derive(Debug, Clone)]
pub struct SharedPulses(Arc<Mutex<FieldPulses>>);

impl SharedPulses {
    /// The first handle.
    #[must_use]
    pub fn new(counter: FieldPulses) -> Self {
        Self(Arc::new(Mutex::new(counter)))
    }
}

impl PulseCounter for SharedPulses {
    fn pulses(&mut self) -> Result<u64, &'static str> {
        // A count that panicked changed nothing.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pulses()
    }
}
