//! The cloud process: broker, log, archive, alerts and API.

pub mod alerting;
pub mod archive;
pub mod http;
pub mod metrics;
