//! The link to the broker: takes what gateways publish, confirms it once it is durable, and publishes
//! acknowledgements; commands and orders go out over the same client ([`MqttPost`]).
//!
//! One task polls the MQTT client and never waits for the client itself: what it has to say is handed
//! over without waiting or not at all. It decides nothing about contents. The session survives
//! restarts of ingest, so that the broker keeps messages meanwhile; but nothing depends on that:
//! gateways offer again what was not acknowledged.

mod link;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use furrow_ingest_core::GatewayKey;
use furrow_wire::{Topic, TopicKind};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use tokio::sync::{mpsc, watch};

pub use self::link::{MqttLink, MqttPost, Receipt};
use crate::broker::{MAX_INFLIGHT, MAX_MQTT_PACKET_BYTES};
use crate::config::Secret;
use crate::http::Fleet;
use crate::log::entry::EntryKind;
use crate::log::front::Incoming;
use crate::log::writer::{Delivery, unix_ms};
use crate::metrics::{Counter, Metrics};

/// The one name under which ingest is known to its broker: the session is found again by it.
pub const CLIENT_ID: &str = "furrow-ingest";
/// How long the broker keeps the session of an absent ingest.
const SESSION_EXPIRY_S: u32 = 24 * 3_600;
/// A broker that is gone is noticed within one and a half of it.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A connection that takes longer than this has failed, in seconds.
const CONNECT_TIMEOUT_S: u64 = 15;
/// Acknowledgements towards the broker that it has not confirmed.
const MAX_OUTGOING: u16 = 512;
/// Requests that wait for the polling task: confirmations of all that may be unconfirmed, and more.
const REQUESTS: usize = 4 * 1_024;
/// First wait after an error; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// Longest wait after an error.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the broker to confirm anything while something is unconfirmed. The client library
/// can lock up when confirmations come out of order; beyond this the connection is made anew.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Where the broker is and who we are there.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Certificates to trust, PEM; `None`: no TLS.
    pub ca_file: Option<PathBuf>,
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// How far the process has come in ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not at all.
    Running,
    /// Nothing more is taken; what is to be confirmed still goes out.
    Draining,
    /// The connection is closed.
    Ended,
}

/// The polling task, not yet started.
pub struct Subscriber {
    client: AsyncClient,
    events: EventLoop,
    connection: Arc<AtomicU64>,
    fleet: Fleet,
    counters: Counters,
    backoff: Duration,
    /// Not before then after an error.
    retry_at: Option<Instant>,
    heard: Instant,
}

struct Counters {
    connects: Counter,
    errors: Counter,
    odd_topics: Counter,
    refused: Counter,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The certificates to trust can't be read.
    #[error("can't read the certificates {path}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Prepares the client: the task that polls it, and the handle that confirms and acknowledges.
///
/// # Errors
/// [`LinkError`] when the certificates can't be read. No connection is made yet.
pub fn new(
    options: &LinkOptions,
    fleet: Fleet,
    metrics: &Metrics,
) -> Result<(Subscriber, MqttLink), LinkError> {
    let (client, events) = AsyncClient::new(mqtt_options(options)?, REQUESTS);
    let connection = Arc::new(AtomicU64::new(0));
    let link = MqttLink::new(client.clone(), Arc::clone(&connection));
    let subscriber = Subscriber {
        client,
        events,
        connection,
        fleet,
        counters: Counters::new(metrics),
        backoff: BACKOFF_MIN,
        retry_at: None,
        heard: Instant::now(),
    };
    Ok((subscriber, link))
}

impl Subscriber {
    /// The handle of those who have something for gateways beside acknowledgements.
    #[must_use]
    pub fn post(&self) -> MqttPost {
        MqttPost::new(self.client.clone())
    }

    /// Polls until the stage is [`Stage::Ended`].
    pub async fn run(
        mut self,
        messages: mpsc::Sender<Delivery<Receipt>>,
        mut stage: watch::Receiver<Stage>,
    ) {
        let mut messages = Some(messages);
        loop {
            let polled = tokio::select! {
                polled = poll(&mut self.events, &mut self.retry_at) => polled,
                () = tokio::time::sleep(SILENCE_MAX) => { self.check_silence(); continue; }
                changed = stage.changed() => {
                    let now = if changed.is_err() { Stage::Ended } else { *stage.borrow() };
                    if now >= Stage::Draining {
                        messages = None;
                    }
                    if now >= Stage::Ended {
                        self.disconnect().await;
                        return;
                    }
                    continue;
                }
            };
            match polled {
                Ok(Event::Incoming(packet)) => self.handle_packet(packet, messages.as_ref()).await,
                Ok(Event::Outgoing(_)) => self.check_silence(),
                Err(error) => self.handle_error(&error),
            }
        }
    }

    async fn handle_packet(
        &mut self,
        packet: Packet,
        messages: Option<&mpsc::Sender<Delivery<Receipt>>>,
    ) {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "foreign enum; the rest is the library's"
        )]
        match packet {
            Packet::ConnAck(ack) => {
                self.backoff = BACKOFF_MIN;
                self.heard = Instant::now();
                self.connection
                    .fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                self.counters.connects.increment();
                tracing::info!(
                    session_present = ack.session_present,
                    "connected to the broker"
                );
                self.subscribe();
            }
            Packet::SubAck(ack) => self.handle_suback(&ack),
            Packet::PubAck(_) => self.heard = Instant::now(),
            Packet::Publish(publish) => {
                if let Some(messages) = messages {
                    self.handle_publish(publish, messages).await;
                }
            }
            Packet::Disconnect(disconnect) => {
                tracing::warn!(reason = ?disconnect.reason_code, "broker closes the connection");
            }
            _ => {}
        }
    }

    /// After every connection: a broker that says the session is present may have lost its
    /// subscriptions.
    fn subscribe(&self) {
        let filters = [TopicKind::Batch, TopicKind::State, TopicKind::Result]
            .map(|kind| Filter::new(Topic::filter(kind), QoS::AtLeastOnce));
        if self.client.try_subscribe_many(filters).is_err() {
            // The queue is full of confirmations for the connection that broke: they go first.
            tracing::warn!("subscription could not be queued; the connection is made anew");
            self.counters.errors.increment();
        }
    }

    fn handle_suback(&self, ack: &SubAck) {
        let is_granted = ack
            .return_codes
            .iter()
            .all(|code| matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce)));
        self.fleet.set_broker_up(is_granted);
        if is_granted {
            tracing::info!("subscribed");
        } else {
            self.counters.refused.increment();
            tracing::error!(codes = ?ack.return_codes, "broker refuses the subscription");
        }
    }

    async fn handle_publish(
        &mut self,
        publish: Publish,
        messages: &mpsc::Sender<Delivery<Receipt>>,
    ) {
        let connection = self.connection.load(std::sync::atomic::Ordering::Acquire);
        let topic = std::str::from_utf8(&publish.topic)
            .unwrap_or_default()
            .parse::<Topic>();
        let (topic, kind) = match topic {
            Ok(topic) if topic.kind == TopicKind::Batch => (topic, EntryKind::Packet),
            Ok(topic) if topic.kind == TopicKind::State => (topic, EntryKind::State),
            Ok(topic) if topic.kind == TopicKind::Result => (topic, EntryKind::Result),
            Ok(_) | Err(_) => {
                self.counters.odd_topics.increment();
                tracing::warn!(topic = ?publish.topic, "message on an unexpected topic dropped");
                // Confirmed, or it would come again for ever. Unsent it only does that.
                drop(self.client.try_ack(&publish));
                return;
            }
        };
        let incoming = Incoming {
            gateway: GatewayKey {
                cooperative: topic.cooperative,
                gateway: topic.gateway,
            },
            kind,
            bytes: publish.payload.clone(),
            received_unix_ms: unix_ms(),
        };
        let receipt = Receipt::Broker {
            publish: Box::new(publish),
            connection,
        };
        // Waits when the log takes no more: then nothing else is to be read either. An error says
        // that the writer has ended; the message stays unconfirmed and comes again.
        drop(messages.send(Delivery { incoming, receipt }).await);
    }

    fn handle_error(&mut self, error: &ConnectionError) {
        self.fleet.set_broker_up(false);
        self.counters.errors.increment();
        self.events.state.collision = None;
        let wait = self.backoff.mul_f64(rand::random_range(0.5..1.5));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        let (error, wait_ms) = (error.to_string(), wait.as_millis());
        tracing::warn!(error, wait_ms, "no connection to the broker");
        self.retry_at = Some(Instant::now() + wait);
    }

    fn check_silence(&mut self) {
        if self.events.state.inflight() == 0 {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > SILENCE_MAX {
            tracing::warn!("broker confirms nothing; the connection is made anew");
            self.counters.errors.increment();
            self.events.clean();
            self.events.state.collision = None;
            self.heard = Instant::now();
        }
    }

    async fn disconnect(&mut self) {
        if self.client.try_disconnect().is_err() {
            return;
        }
        let flush = async { while self.events.poll().await.is_ok() {} };
        // A connection that is not there needs no goodbye.
        drop(tokio::time::timeout(Duration::from_millis(500), flush).await);
    }
}

/// Polls, after an error not before its time. May be dropped at any await.
async fn poll(
    events: &mut EventLoop,
    retry_at: &mut Option<Instant>,
) -> Result<Event, ConnectionError> {
    if let Some(at) = *retry_at {
        tokio::time::sleep_until(at.into()).await;
        *retry_at = None;
    }
    events.poll().await
}

fn mqtt_options(options: &LinkOptions) -> Result<MqttOptions, LinkError> {
    let mut mqtt = MqttOptions::new(CLIENT_ID, &options.host, options.port);
    mqtt.set_credentials(&options.username, &options.password.0)
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_EXPIRY_S))
        .set_receive_maximum(Some(MAX_INFLIGHT.get()))
        // Above what any gateway can publish: one that is too long would close the connection.
        .set_max_packet_size(Some(2 * MAX_MQTT_PACKET_BYTES))
        .set_outgoing_inflight_upper_limit(MAX_OUTGOING)
        .set_manual_acks(true);
    if let Some(path) = &options.ca_file {
        let certificates = |source| LinkError::Certificates {
            path: path.clone(),
            source,
        };
        let ca = std::fs::read(path).map_err(certificates)?;
        crate::tls::install_provider();
        let tls = TlsConfiguration::Simple {
            ca,
            alpn: None,
            client_auth: None,
        };
        mqtt.set_transport(Transport::tls_with_config(tls));
    }
    Ok(mqtt)
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let plain = |name, help| metrics.counter(name, help, &[]);
        Self {
            connects: plain(
                "furrow_broker_connects_total",
                "Connections made to the broker.",
            ),
            errors: plain(
                "furrow_broker_errors_total",
                "Connections to the broker that failed.",
            ),
            odd_topics: plain(
                "furrow_messages_odd_topic_total",
                "Messages on unexpected topics.",
            ),
            refused: plain(
                "furrow_subscriptions_refused_total",
                "Subscriptions refused.",
            ),
        }
    }
}
