//! The delivery promise under every fault that a seed can think of: nothing journalled is lost,
//! nothing is stored twice.
//!
//! One gateway, one broker, one ingest in one thread, with simulated time, seeded randomness and no
//! sockets. Real are the journal, the gateway's store, records, outbox, clock, schedule and eviction,
//! the wire codecs, and ingest's log, tracker, acknowledgements, decoder and consumer. Modelled are
//! the disks ([`furrow_journal::sim`]), the broker, and the archive's tables.
//!
//! A small reference model checks after every step:
//!
//! - a name never has two contents;
//! - what the gateway was told is durable survives a power cut;
//! - what ingest has acknowledged is in its log;
//! - nothing is stored twice, and (series, time) is unique;
//! - a segment is released only when all in it is acknowledged, told as lost, or written again;
//! - only batches are dropped for space; a loss names its reason, and is told once;
//! - at the end, once faults cease: everything that was journalled is stored, or said to be lost.
//!
//! Where a disk lies or breaks the promise is weaker. What a lying card reported durable and nobody
//! acknowledged may be gone after a power cut. Damage in the very last commit of a journal can't be
//! told from a write that the power cut, and goes unsaid by the gateway. What ingest lost by a
//! backup, a lie or damage is given again as long as a gateway holds it, and else is a gap: ingest
//! does not claim to hold it. With liars on both sides nothing is promised.

mod archive;
mod book;
mod broker;
mod gateway;
mod ingest;
mod reached;
mod world;

pub use book::Broken;
pub use reached::{Point, Reached};
pub use world::{Run, World};
