//! The HTTP side: API, live events, health, metrics, the web app.
//!
//! Every answer is scoped by the token's cooperative; another cooperative does not exist for it.

use std::future::Future;

use furrow_wire::{CooperativeId, GatewayId, GreenhouseId};

use crate::archive::{ArchiveReader, LiveHub};
use crate::metrics::Metrics;

pub mod fleet;

pub use fleet::{Fleet, GatewayStatus, StreamStatus};

/// A cooperative as the API shows it, and who may see it. From the configuration.
#[derive(Debug, Clone)]
pub struct CooperativeAccess {
    /// Its id.
    pub id: CooperativeId,
    /// For people.
    pub name: String,
    /// Its gateways and where they stand.
    pub gateways: Vec<(GatewayId, GreenhouseId)>,
    /// Tokens that open it.
    pub tokens: Vec<TokenAccess>,
}

/// A token, known by its hash only.
#[derive(Debug, Clone)]
pub struct TokenAccess {
    /// Whose, for the log.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
}

/// All that the API needs.
#[derive(Debug, Clone)]
pub struct HttpSetup {
    /// Cooperatives and tokens.
    pub cooperatives: Vec<CooperativeAccess>,
    /// Stored data.
    pub reader: ArchiveReader,
    /// Gateways right now, and the broker link.
    pub fleet: Fleet,
    /// Live messages.
    pub live: LiveHub,
    /// Figures.
    pub metrics: Metrics,
}

/// The whole HTTP service.
#[must_use]
pub fn router(setup: HttpSetup) -> axum::Router {
    unimplemented!()
}

/// Serves until `shutdown` completes; open requests get 5 seconds to end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    router: axum::Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    unimplemented!()
}
