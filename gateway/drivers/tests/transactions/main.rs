//! Byte-exact transactions of every driver. Registers and bytes are written out here, never imported.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

mod ads1115;
mod bh1750;
mod bme280;
mod drip;
mod ezo;
mod ina219;
mod inputs;
mod scd30;
mod scd4x;
mod sht3x;
mod sht4x;
mod tca9548a;
mod valve_bank;

use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use furrow_drivers::{SensorError, Step};

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

/// Steps from `now_ms` on, each when it is due, until there is a reading; gives it with its time.
fn until_read<T>(
    mut now_ms: u64,
    mut step: impl FnMut(u64) -> Result<Step<T>, SensorError>,
) -> Result<(T, u64), SensorError> {
    for _ in 0..20 {
        match step(now_ms)? {
            Step::Reading(reading) => return Ok((reading, now_ms)),
            Step::Wait { until_ms } => {
                assert!(until_ms > now_ms, "a step that is due at once");
                now_ms = until_ms;
            }
        }
    }
    panic!("no reading after twenty steps");
}
