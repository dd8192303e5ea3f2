//! Simulated chips, drip controllers and greenhouses behind the remote bus.
//!
//! Owns the server half of `docs/remote-bus.md`, the chips at register level, the physics behind them,
//! recorded traces, faults, simulated time, the feed for other brokers, the fleet that loads ingest,
//! and scenarios that try a gateway's program and configuration. It shares no code with the drivers: registers are declared
//! here from the datasheets. It does not know what a gateway does with a reading.
//!
//! The binary `furrow-sim` is a thin shell; tests of other crates start a [`Simulator`] in their own
//! process.

mod chips;
pub mod cli;
pub mod control;
pub mod faults;
pub mod feed;
pub mod fleet;
mod greenhouse;
mod in_process;
mod layout;
mod machine;
mod one_wire;
mod pace;
mod physics;
pub mod scenario;
mod serial;
mod server;
mod site;
pub mod trace;
mod world;

pub use greenhouse::Beginning;
pub use in_process::{InProcess, InProcessI2c, Switched};
pub use pace::Mode;
pub use physics::bed::Bed;
pub use physics::plant::Plant;
pub use physics::weather::Sky;
pub use server::{Options, Progress, Simulator, StartError};
pub use world::{Placed, Setup};
