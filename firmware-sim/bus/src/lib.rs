//! The remote bus: I2C, GPIO and the field clock over a socket.
//!
//! Owns the protocol (both halves, see `docs/remote-bus.md`), the sockets beneath it and the client that a
//! gateway uses in place of a Pi's own busses. The server is `furrow-sim`; nothing here knows a chip.
//!
//! # Time
//!
//! A program that runs against a simulated field keeps its time by [`RemoteClock`]. In lock-step,
//! simulated time stands still while any [`Busy`] token exists, and jumps to the earliest deadline once
//! every connected client has none: work takes no simulated time, and a week passes in seconds.
//! In free-running mode the same calls follow the real clock times a speed.
//!
//! ```no_run
//! use furrow_sim_bus::RemoteBus;
//!
//! let bus = RemoteBus::connect("tcp:127.0.0.1:7000", "example")?;
//! let clock = bus.clock();
//! let mut busy = clock.busy();
//! while clock.ended().is_none() {
//!     println!("{:?}", clock.now());
//!     busy = clock.wait_until(clock.now().mono_ns + 10_000_000_000, busy);
//! }
//! # Ok::<(), furrow_sim_bus::BusError>(())
//! ```

mod clock;
mod coordinator;
mod delay;
mod error;
mod gpio;
mod i2c;
mod link;
pub mod protocol;
mod remote;
pub mod socket;

pub use clock::{Busy, RemoteClock, WaitUntil, WhenEnded};
pub use coordinator::{End, FieldTime};
pub use delay::RemoteDelay;
pub use error::BusError;
pub use gpio::{RemoteInput, RemoteOutput, RemotePulses};
pub use i2c::RemoteI2c;
pub use remote::RemoteBus;
