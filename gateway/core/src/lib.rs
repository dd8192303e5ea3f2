//! The gateway's decisions: sampling schedule, quality, batches, outbox, clock mapping.
//!
//! Everything here is a state machine without IO. Inputs are `handle_*` calls, effects come out of
//! `poll_*`, time and randomness are arguments. There are two clocks and a type for each
//! ([`FieldMs`], [`LinkMs`]), so that nobody compares a deadline of the one with the other.
//!
//! | module | decides |
//! |---|---|
//! | [`schedule`] | when each device is read, and what time the reading bears |
//! | [`lateness`] | how late ticks were served |
//! | [`quality`] | whether a value can be believed |
//! | [`calibration`] | a value from a raw one, by what was measured on site |
//! | [`health`] | whether a device answers |
//! | [`backoff`] | how long a device that keeps failing is left alone |
//! | [`debounce`] | when a contact has come to rest |
//! | [`alarm`] | which alarms are raised, and whether the siren sounds |
//! | [`derived`] | what is calculated from what was measured |
//! | [`batch`] | which readings make one batch |
//! | [`clock`] | when wall time is known, and the mapping of a boot that began without |
//! | [`record`] | names and bytes of records, what goes into the journal |
//! | [`outbox`] | what is offered when, what is acknowledged, which segments may go |
//! | [`evict`] | what goes when the journal is at its cap |
//! | [`space`] | when the oldest segment is given up, and how far that is |
//! | [`recovery`] | all of this again from a journal after a restart |
//! | [`commands`] | which commands from afar are done |
//! | [`orders`] | which plantings and rules from ingest hold, and when they are given up |
//! | [`state`] | the small durable state beside the records |

pub mod alarm;
pub mod backoff;
pub mod batch;
pub mod calibration;
pub mod clock;
pub mod commands;
pub mod debounce;
pub mod derived;
pub mod evict;
pub mod health;
pub mod lateness;
pub mod orders;
pub mod outbox;
pub mod quality;
pub mod record;
pub mod recovery;
pub mod schedule;
pub mod space;
pub mod state;
mod time;

pub use time::{FieldMs, LinkMs};
