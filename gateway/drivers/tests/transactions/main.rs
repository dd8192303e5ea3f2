//! Byte-exact transactions of every driver. Registers and bytes are written out here, never imported.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

mod ads1115;
mod drip;
mod scd4x;
mod sht4x;

use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use furrow_drivers::SensorError;

/// Runs `test` on a bus that expects exactly these transactions.
fn on_bus(expected: &[Transaction], test: impl FnOnce(Mock, NoopDelay)) {
    let mut bus = Mock::new(expected);
    test(bus.clone(), NoopDelay::new());
    bus.done();
}

/// The whole text of an error, causes included.
fn text(error: &SensorError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
