//! Ingest's decisions: which records are new, when a gateway is told what ingest holds, and what a
//! record means once its catalog and its clock are known; which commands wait, and which orders are new.
//!
//! No clock, file, socket or thread: time is an argument, effects are return values.

mod acks;
mod commands;
mod missing;
mod orders;
mod rate;
mod seen;
mod stream;
mod tracker;

pub use acks::{ACK_AFTER_MS, ACK_AFTER_PACKETS, AckSchedule, AckScope, DueAck};
pub use commands::{
    CommandRefusal, CommandTable, MAX_COMMANDS_A_MINUTE, MAX_WAITING_COMMANDS, REPEAT_WITHIN_MS,
    Tick, may_repeat,
};
pub use missing::Missing;
pub use orders::{Digest, LostUpdate, MAX_ORDERS_A_MINUTE, OrdersBook, Place};
pub use rate::RateLimit;
pub use seen::MAX_SEEN;
pub use stream::{MAX_KNOWN_GAPS, SeqRange, StreamTrack, Verdict};
pub use tracker::{
    FORGET_AFTER_MS, Gap, GatewayKey, MAX_STREAMS_PER_GATEWAY, Offer, Offered, Outcome, Remembered,
    SetBack, Taken, Tracker,
};
