//! The whole plant: what opens and closes, in which order, and what forbids it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test helpers"
)]

mod bench;
mod interlocks;
mod random;
mod rules;
mod season;
mod sequence;
