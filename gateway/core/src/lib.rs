//! The gateway's decisions: sampling schedule, quality, outbox, clock mapping.
