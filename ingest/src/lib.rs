//! The cloud process: broker, log, archive, alerts and API.

pub mod alerting;
pub mod archive;
pub mod broker;
pub mod config;
pub mod http;
pub mod metrics;
