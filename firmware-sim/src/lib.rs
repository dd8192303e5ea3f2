//! Simulated chips, drip controllers and greenhouses behind the remote bus.
#![allow(dead_code, reason = "wip")]
mod chips;
mod greenhouse;
mod physics;
mod trace;
