//! Sensor and actuator drivers behind embedded-hal 1.0.
//!
//! Owns: the bytes on the bus and their meaning in units. Where a well-kept driver crate exists
//! ([`sht4x`](https://docs.rs/sht4x), [`libscd`](https://docs.rs/libscd),
//! [`ads1x1x`](https://docs.rs/ads1x1x)) a driver here is an adapter over it that adds what a
//! greenhouse needs: ranges, detection of resets, steps instead of long waits, one error type.
//!
//! It does not retry, schedule, or judge whether a value is plausible for a greenhouse: that is the
//! caller's. **Invariant:** what a driver yields as good lies in its sensor's range; all else is a
//! [`SensorError`], never a number.
//!
//! Every driver owns its bus handle and gives it back with `release()`.

pub mod ads1115;
pub mod analog;
mod crc;
pub mod drip;
mod error;
pub mod flow;
pub mod scd4x;
pub mod sht4x;

pub use ads1115::Ads1115;
pub use drip::DripController;
pub use error::{BusFault, Cause, SensorError};
pub use flow::{FlowMeter, PulseCounter, PulseFactor};
pub use scd4x::Scd4x;
pub use sht4x::Sht4x;
