//! The harness: starts the real binaries on loopback, breaks them, and asks them what they hold.
//!
//! Everything here is for tests, `cargo xtask demo`, `replay`, `chaos` and `bench`. It knows the programs only
//! by what a user sees: command lines, configuration files, HTTP and the remote bus. It owns no
//! decision of the system, so that a wrong one can't hide in both places.

pub mod api;
pub mod binaries;
pub mod csv_trace;
pub mod delivery;
pub mod disk;
pub mod fleet;
pub mod influxd;
pub mod link;
pub mod mosquitto;
pub mod process;
pub mod prometheus;
pub mod records;
pub mod replay;
pub mod servers;
pub mod site;
pub mod stack;
pub mod supervisor;
pub mod tls;
pub mod victoria;
