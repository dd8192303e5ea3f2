//! The harness: starts the real binaries on loopback, breaks them, and asks them what they hold.
//!
//! Everything here is for tests, `cargo xtask demo`, `replay` and `bench`. It knows the programs only
//! by what a user sees: command lines, configuration files, HTTP and the remote bus. It owns no
//! decision of the system, so that a wrong one can't hide in both places.

pub mod api;
pub mod binaries;
pub mod csv_trace;
pub mod delivery;
pub mod fleet;
pub mod link;
pub mod process;
pub mod replay;
pub mod site;
pub mod stack;
pub mod tls;
