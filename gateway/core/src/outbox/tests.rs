//! Timelines of single decisions, and a whole life against an ingest that loses, repeats and
//! reorders.

mod delivery;
mod timeline;
