//! From the log to another store: each with its own place in the log.
//!
//! A forwarder reads the log like the archive's consumer does, decides the same (it is the same code), and writes the
//! readings into a [`SeriesStore`]. How far it is stands in a file of its own, written after the store has taken the
//! readings: after a crash some are written again, which changes nothing. A store that is down, slow or refusing
//! delays its own forwarder and nobody else.
//!
//! One that is new, or so far behind that the log needed its room, takes everything from the archive first and goes
//! on from the log: `copy`. It says so.
//!
//! | module | owns |
//! |---|---|
//! | `runs` | what a batch says, as a store takes it |
//! | `state`, `tables` | how far a forwarder is, in its file |
//! | `filled` | the seam to the log's consumer |
//! | `forget` | a cooperative that was deleted leaves the state |
//! | [`copy`] | a whole cooperative from one store to another, resumable |
//! | `backoff` | when to try again |
//! | `figures` | what people see of it |
//! | `thread` | the loop |
//!
//! It does not know how a store is reached, and decides nothing about alerts or events.
//!
//! [`SeriesStore`]: crate::store::SeriesStore

mod backoff;
pub mod copy;
mod figures;
mod filled;
mod forget;
mod runs;
mod state;
mod tables;
mod thread;

pub use self::backoff::Pace;
pub use self::figures::Condition;
pub use self::forget::has_deleted;
pub use self::state::{ForwardStatus, RefusedReading, StateError, refused_of, status_of};
pub use self::thread::{Forwarder, ForwarderSetup};

/// Folder of the forwarders' state within the data directory.
pub const FOLDER: &str = "forward";
