//! The HTTP side: API, live events, health, metrics, the web app.
//!
//! Every answer about data is made from a [`scope::Scope`], which only a token of that cooperative opens: another
//! cooperative does not exist for it. Handlers hold no state and never wait for the archive's writer.
//!
//! | module | owns |
//! |---|---|
//! | `scope` | who may see what: tokens, cookie, cooperative and greenhouse of a path |
//! | `session` | login and logout |
//! | `api` | the JSON answers |
//! | `live` | server-sent events |
//! | `prometheus` | PromQL for Grafana and others |
//! | `remote` | commands and orders for gateways |
//! | `health` | `/healthz`, `/readyz`, `/metrics` |
//! | `web` | the embedded web app |
//! | [`fleet`] | gateways right now |

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};
use furrow_wire::{CooperativeId, GatewayId, GreenhouseId, MAX_ORDERS_BYTES};
use tokio::sync::Semaphore;

use crate::archive::{ArchiveReader, LiveHub};
use crate::health::Health;
use crate::metrics::{Counter, Metrics};
use crate::remote::Desk;

mod answer;
mod api;
pub mod fleet;
mod health;
mod live;
mod prometheus;
mod remote;
mod scope;
mod session;
mod web;

pub use fleet::{CardStatus, Fleet, GatewayStatus, SetBackStatus, StreamStatus};

/// Longest request body, in bytes: a login holds one token.
const BODY_BYTES_MAX: usize = 4096;
/// Archive reads at once: each holds a thread and a connection.
const READS_MAX: usize = 8;
/// Live streams at once, over all cooperatives: each holds a socket and a queue.
const LIVE_STREAMS_MAX: usize = 1000;
/// What open requests get to end when the process stops. Live streams never end by themselves.
const DRAIN: Duration = Duration::from_secs(2);

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
    /// Commands and orders.
    pub desk: Desk,
    /// Figures.
    pub metrics: Metrics,
    /// Whether ingest does its work.
    pub health: Health,
}

/// What handlers share.
#[derive(Debug)]
struct Api {
    cooperatives: Vec<CooperativeAccess>,
    reader: ArchiveReader,
    fleet: Fleet,
    live: LiveHub,
    desk: Desk,
    metrics: Metrics,
    health: Health,
    reads: Arc<Semaphore>,
    scans: Arc<Semaphore>,
    queries: prometheus::Queries,
    streams: Arc<Semaphore>,
    refused: Counter,
    slow: Counter,
}

/// The whole HTTP service.
pub fn router(setup: HttpSetup) -> Router {
    router_of(Arc::new(Api::new(setup)))
}

fn router_of(api: Arc<Api>) -> Router {
    let greenhouse = Router::new()
        .route("/channels", get(api::channels))
        .route("/latest", get(api::latest))
        .route("/series/{device}/{channel}", get(api::series))
        .route("/events", get(api::events))
        .route("/gaps", get(api::gaps))
        .route("/alerts", get(api::alerts));
    let gateway = Router::new()
        .route("/commands", get(remote::commands).post(remote::command))
        .route("/orders", get(remote::orders).put(remote::put_orders))
        .layer(DefaultBodyLimit::max(MAX_ORDERS_BYTES));
    let cooperative = Router::new()
        .route("/greenhouses", get(api::greenhouses))
        .route("/delivery", get(api::delivery))
        .route("/live", get(live::live))
        .nest("/prometheus/api/v1", prometheus::router())
        .nest("/greenhouses/{greenhouse}", greenhouse)
        .nest("/gateways/{gateway}", gateway);
    let v1 = Router::new()
        .route("/login", post(session::login))
        .route("/logout", post(session::logout))
        .route("/cooperatives", get(api::cooperatives))
        .nest("/cooperatives/{cooperative}", cooperative)
        .fallback(api::nothing);
    Router::new()
        .nest("/api/v1", v1)
        .route("/api/{*rest}", get(api::nothing).fallback(api::nothing))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(web::file)
        .layer(axum::middleware::from_fn(harden))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// Serves until `shutdown` completes; open requests get [`DRAIN`] to end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (ending, mut ended) = tokio::sync::watch::channel(false);
    let graceful = async move {
        shutdown.await;
        ending.send_replace(true);
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(graceful);
    tokio::select! {
        result = serving => result,
        () = async {
            // An error says that the sender is gone, which it is only after it has said so.
            ended.wait_for(|ended| *ended).await.ok();
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}

impl Api {
    fn new(setup: HttpSetup) -> Self {
        let refused = setup.metrics.counter(
            "furrow_http_refused_total",
            "Requests without a token, or with an unknown one.",
            &[],
        );
        let slow = setup.metrics.counter(
            "furrow_live_dropped_total",
            "Live streams ended because the client read too slowly.",
            &[],
        );
        let queries = prometheus::Queries::new(setup.cooperatives.len(), &setup.metrics);
        Api {
            cooperatives: setup.cooperatives,
            reader: setup.reader,
            fleet: setup.fleet,
            live: setup.live,
            desk: setup.desk,
            metrics: setup.metrics,
            health: setup.health,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            scans: Arc::new(Semaphore::new(1)),
            queries,
            streams: Arc::new(Semaphore::new(LIVE_STREAMS_MAX)),
            refused,
            slow,
        }
    }
}

/// Headers that every answer bears: nothing of this is for other sites to frame, sniff or link to.
async fn harden(request: Request<axum::body::Body>, next: Next) -> Response {
    const HEADERS: [(&str, &str); 4] = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

#[cfg(test)]
mod tests;
