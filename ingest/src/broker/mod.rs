//! The embedded MQTT broker. The only module that names the library (`rmqtt`).
//!
//! It owns the listener, who may do what on it, and its own thread and runtime: the library has no
//! shutdown call, so the runtime is what stops it. Nothing here is durable, and nothing needs to be:
//! ingest's log is the commit point, and gateways offer again what was not acknowledged.
//!
//! The library's defaults are for another use. Set otherwise here: no anonymous connections; last
//! wills checked on connect; no retry on a live connection; longer queues and expiry; a store for
//! retained messages; no refusing of connections when the machine is busy; packets no longer than
//! what every client of ours accepts.

pub mod acl;
mod hooks;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use furrow_wire::MAX_PACKET_BYTES;
use rmqtt::context::{ServerContext, ServerContextBuilder};
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use rmqtt::types::QoS;
use tokio::sync::oneshot;

pub use self::acl::{Accounts, PasswordHash};
use self::hooks::BrokerCounters;
use crate::metrics::Metrics;

/// Longest MQTT packet, in bytes: the longest of ours, its topic and its properties.
pub const MAX_MQTT_PACKET_BYTES: u32 = 4 * 1024 + {
    assert!(MAX_PACKET_BYTES <= 1024 * 1024);
    #[allow(clippy::cast_possible_truncation, reason = "checked in the line above")]
    let bytes = MAX_PACKET_BYTES as u32;
    bytes
};
/// Messages queued for one session: the windows of a thousand gateways. With live batches that is
/// 16 MiB; with all of them draining backlogs it could be 2 GiB. Beyond it the oldest go, and their
/// gateways offer them again.
const MAX_QUEUED_MESSAGES: usize = 32 * 1024;
/// How long a queued message lives. Gateways repeat themselves every few minutes at most.
const MESSAGE_EXPIRY: Duration = Duration::from_secs(3_600);
/// How long the broker remembers an absent client's session at most.
const MAX_SESSION_EXPIRY: Duration = Duration::from_secs(24 * 3_600);
/// Unacknowledged messages towards one client, unless it asks for fewer.
pub const MAX_INFLIGHT: NonZeroU16 = NonZeroU16::new(1_024).expect("not zero");
/// Connections at once: ten thousand gateways, each with a spare one that has not timed out yet.
const MAX_CONNECTIONS: usize = 20_000;
/// Handshakes at once. A power cut brings all gateways back in the same minute.
const MAX_HANDSHAKES: usize = 500;
/// A client that neither finishes TLS nor sends CONNECT within this is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest keep-alive in seconds: bounds how long a dead gateway looks alive.
const MAX_KEEP_ALIVE_S: u16 = 300;
/// Longest client id in bytes: two ids, two slashes, a suffix.
const MAX_CLIENT_ID_BYTES: usize = 128;
/// Subscriptions per client: a gateway has three topics to listen to, ingest four.
const MAX_SUBSCRIPTIONS: usize = 16;
/// Topics that a connection may name by a number, each way: a gateway's packets and acknowledgements are
/// a tenth shorter. The permissions are checked on the topic that the number stands for.
const MAX_TOPIC_ALIASES: u16 = 4;
/// Threads that serve connections.
const WORKERS: usize = 2;
/// What the library is given to stop before its threads are abandoned.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How to run it.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Certificate and key; required beyond loopback.
    pub tls: Option<ServerTls>,
    /// Who may connect.
    pub accounts: Accounts,
}

/// Files of the TLS server, PEM.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Passwords would cross a network in the clear.
    #[error("broker must not listen on {0} without tls: it is reachable from other machines")]
    PlainBeyondLoopback(SocketAddr),
    /// Nobody could connect, or (were it anonymous) everybody.
    #[error("broker must not listen on {0} without accounts")]
    NoAccounts(SocketAddr),
    /// The address can't be had.
    #[error("broker can't listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// The system's or the library's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No thread or runtime for it.
    #[error("broker can't start its thread")]
    Thread(#[source] std::io::Error),
    /// It ended while it was starting.
    #[error("broker ended before it was ready")]
    Ended,
}

/// A running broker; dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    internal: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Binds the listener and serves it from a thread of its own.
    ///
    /// # Errors
    /// [`BrokerError`] when the options are unsafe or the address can't be had.
    pub async fn start(options: BrokerOptions, metrics: &Metrics) -> Result<Self, BrokerError> {
        refuse_unsafe(&options)?;
        let counters = Arc::new(BrokerCounters::new(metrics));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("broker-worker")
            .enable_all()
            .build()
            .map_err(BrokerError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                runtime.block_on(serve(options, counters, ready, stopped));
                runtime.shutdown_timeout(STOP_TIMEOUT);
            })
            .map_err(BrokerError::Thread)?;
        let (address, internal) = is_ready.await.map_err(|_| BrokerError::Ended)??;
        Ok(Self {
            address,
            internal,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where ingest itself connects: on loopback, and in the clear.
    #[must_use]
    pub fn internal_address(&self) -> SocketAddr {
        self.internal
    }

    /// Closes all connections and waits for the thread.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error says that it has ended by itself.
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("broker thread panicked");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Whether only this machine can reach an address.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn refuse_unsafe(options: &BrokerOptions) -> Result<(), BrokerError> {
    if options.tls.is_none() && !is_loopback(options.listen.ip()) {
        return Err(BrokerError::PlainBeyondLoopback(options.listen));
    }
    if options.accounts.is_empty() {
        return Err(BrokerError::NoAccounts(options.listen));
    }
    Ok(())
}

async fn serve(
    options: BrokerOptions,
    counters: Arc<BrokerCounters>,
    ready: oneshot::Sender<Result<(SocketAddr, SocketAddr), BrokerError>>,
    stopped: oneshot::Receiver<()>,
) {
    let bound = bind(&options).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    // A certificate is for the name that gateways know, so ingest would not accept it on loopback.
    let internal = match options.tls {
        None => Ok(None),
        Some(_) => bind_internal(),
    };
    let ((listener, address), internal) = match bound.and_then(|bound| Ok((bound, internal?))) {
        Ok(bound) => bound,
        Err(source) => {
            let error = BrokerError::Bind {
                address: options.listen,
                source: source.into(),
            };
            ready.send(Err(error)).ok();
            return;
        }
    };
    // Its busy check refuses connections above 90 % CPU, which a draining backlog reaches.
    let builder = ServerContextBuilder {
        busy_check_enable: false,
        ..ServerContext::new()
    };
    let context = builder.build().await;
    hooks::install(&context, Arc::new(options.accounts), counters).await;
    let mut server = MqttServer::new(context).listener_by_id(listener, address.port());
    let mut internal_address = address;
    if let Some((listener, address)) = internal {
        internal_address = address;
        server = server.listener_by_id(listener, address.port());
    }
    if ready.send(Ok((address, internal_address))).is_err() {
        return;
    }
    tokio::select! {
        ended = server.build().run() => tracing::error!(?ended, "broker ended by itself"),
        _ = stopped => tracing::debug!("broker stops"),
    }
}

fn bind_internal() -> rmqtt::Result<Option<(Listener, SocketAddr)>> {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = limits(loopback).bind()?.tcp()?;
    let address = listener.local_addr()?;
    Ok(Some((listener, address)))
}

fn bind(options: &BrokerOptions) -> rmqtt::Result<Listener> {
    match &options.tls {
        None => limits(options.listen).bind()?.tcp(),
        Some(tls) => limits(options.listen)
            .tls_cert(Some(tls.certificate.to_string_lossy()))
            .tls_key(Some(tls.key.to_string_lossy()))
            .bind()?
            .tls(),
    }
}

fn limits(listen: SocketAddr) -> Builder {
    Builder::new()
        .name("furrow")
        .laddr(listen)
        .reuseaddr(Some(true))
        .nodelay(true)
        .allow_anonymous(false)
        .allow_zero_keepalive(false)
        .max_keepalive(MAX_KEEP_ALIVE_S)
        .max_connections(MAX_CONNECTIONS)
        .max_handshaking_limit(MAX_HANDSHAKES)
        .handshake_timeout(HANDSHAKE_TIMEOUT)
        .max_packet_size(MAX_MQTT_PACKET_BYTES)
        .max_clientid_len(MAX_CLIENT_ID_BYTES)
        .max_subscriptions(MAX_SUBSCRIPTIONS)
        .max_qos_allowed(QoS::AtLeastOnce)
        .max_inflight(MAX_INFLIGHT)
        .max_mqueue_len(MAX_QUEUED_MESSAGES)
        .max_topic_aliases(MAX_TOPIC_ALIASES)
        .message_retry_interval(Duration::ZERO)
        .message_expiry_interval(MESSAGE_EXPIRY)
        .max_session_expiry_interval(MAX_SESSION_EXPIRY)
}
