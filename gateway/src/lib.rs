//! The process on the Pi: reads sensors, waters, journals and publishes.
//!
//! A thin shell around the pure crates: it owns files, sockets, threads and clocks, and decides as
//! little as possible.

pub mod bus;
pub mod calibrations;
pub mod cli;
pub mod config;
pub mod control;
pub mod devices;
pub mod files;
pub mod guard;
pub mod link;
pub mod orders;
pub mod page;
pub mod run;
pub mod survey;
pub mod tools;
