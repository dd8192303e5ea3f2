//! One bus in the hands of several drivers on one thread.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_hal::i2c::{ErrorType, I2c, Operation};

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
