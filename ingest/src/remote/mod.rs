//! What people far away want of gateways: commands, and orders to water by.
//!
//! A command is for now: it goes into the log, then to the gateway, whose answer is given to whoever
//! asked and is in the log as well. Orders are for as long as there are no newer ones: they go into the
//! log, count up, and are published so that the broker keeps them; again when a gateway's birth says that
//! it has not seen them.
//!
//! It decides nothing about water: the gateway does, which knows its valves, its limits and its tank.
//!
//! | module | owns |
//! |---|---|
//! | [`board`] | what is known right now, of all gateways |
//! | [`desk`] | handing in, waiting for the answer, publishing |

pub mod board;
pub mod desk;

pub use board::Board;
pub use desk::{CommandError, Desk, DeskSetup, Keep, OrdersError, Patience, Post};

#[cfg(test)]
mod tests;
