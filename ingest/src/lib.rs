//! The cloud process: broker, log, archive, alerts and API.

pub mod alerting;
pub mod archive;
pub mod broker;
pub mod cli;
pub mod config;
pub mod decode;
pub mod deletion;
mod files;
pub mod forward;
pub mod health;
pub mod heartbeat;
pub mod http;
pub mod log;
pub mod metrics;
pub mod promql;
pub mod remote;
pub mod rerun;
pub mod run;
pub mod store;
pub mod subscriber;
mod tls;
pub mod tools;
