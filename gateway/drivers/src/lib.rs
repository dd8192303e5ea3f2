//! Sensor and actuator drivers behind embedded-hal 1.0.
//!
//! Owns: the bytes on the bus and their meaning in units. Where a well-kept driver crate exists
//! ([`sht4x`](https://docs.rs/sht4x), [`libscd`](https://docs.rs/libscd),
//! [`ads1x1x`](https://docs.rs/ads1x1x), [`ina219`](https://docs.rs/ina219)) a driver here is an
//! adapter over it that adds what a greenhouse needs: ranges, detection of resets, steps instead of
//! long waits, one error type.
//!
//! It does not retry, schedule, or judge whether a value is plausible for a greenhouse: that is the
//! caller's. **Invariant:** what a driver yields as good lies in its sensor's range; all else is a
//! [`SensorError`], never a number.
//!
//! Every driver owns its bus handle and gives it back with `release()`.

pub mod ads1115;
pub mod analog;
pub mod bh1750;
pub mod bme280;
pub mod clear;
mod crc;
pub mod drip;
pub mod ds18b20;
mod error;
pub mod ezo;
pub mod flow;
pub mod ina219;
pub mod inputs;
pub mod mcp23017;
pub mod pcf8574;
pub mod rain;
pub mod registers;
pub mod scd30;
pub mod scd4x;
pub mod sht3x;
pub mod sht4x;
mod step;
pub mod tca9548a;
pub mod valve_bank;

pub use ads1115::Ads1115;
pub use bh1750::Bh1750;
pub use bme280::Bme280;
pub use drip::DripController;
pub use ds18b20::Ds18b20;
pub use error::{BusFault, Cause, SensorError};
pub use ezo::Ezo;
pub use flow::{FlowMeter, PulseCounter, PulseFactor};
pub use ina219::Ina219;
pub use inputs::GpioContacts;
pub use mcp23017::Mcp23017;
pub use pcf8574::Pcf8574;
pub use rain::RainGauge;
pub use registers::{RegisterProbe, RegisterSource};
pub use scd4x::Scd4x;
pub use scd30::Scd30;
pub use sht3x::Sht3x;
pub use sht4x::Sht4x;
pub use step::Step;
pub use tca9548a::Segment;
pub use valve_bank::{Mcp23017Bank, Pcf8574Bank, ReadBack, ValveBank};
