//! The task that polls rumqttc. It never awaits a call of the client: the client's queue is served
//! by this very task.

use std::sync::Arc;
use std::time::Duration;

use furrow_wire::{GatewayState, Topic, TopicKind};
use rand::RngExt;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, Filter, LastWill, Packet, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, Transport};
use tokio::sync::{Notify, mpsc};

use super::alias::{ALIASES_TAKEN, Names};
use super::{CLIENT_QUEUE, INFLIGHT, LinkEvent, MAX_MQTT_BYTES, TlsError, tls};

/// Shortest keep-alive: a packet that goes unanswered finds a dead link sooner than any ping.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(30);
/// Longest: brokers limit it, and carriers forget an idle connection after five minutes or more.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(240);
/// TCP, TLS and CONNACK together, in seconds. TLS over a bad mobile link takes many.
const CONNECT_TIMEOUT_S: u64 = 30;
/// The broker has this long to confirm the subscriptions.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(20);
/// First pause before another connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause before another connect.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A connection that held this long was a good one: the next pause is the first again.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Where and as whom to connect.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login; also the client id, so that a second connection replaces a dead first one.
    pub username: String,
    /// Password.
    pub password: String,
    /// PEM certificates of the broker's authority; `None` is plain TCP.
    pub ca_pem: Option<String>,
    /// Cooperative and gateway; its kind does not matter.
    pub topic: Topic,
    /// How often readings are sent.
    pub send_interval: Duration,
    /// The latest moment that is known to have passed, Unix milliseconds, for a Pi whose clock has
    /// not been set yet.
    pub known_unix_ms: Option<i64>,
}

/// A connection that is subscribed.
#[derive(Debug)]
pub struct Up {
    /// Counts connections.
    pub generation: u64,
    /// For publishing on this connection only.
    pub client: AsyncClient,
    /// Topics that the broker takes a number for; 0: none.
    pub topic_aliases: u16,
}

pub(super) struct Session {
    target: Target,
    transport: Transport,
    events: mpsc::Sender<LinkEvent>,
    drop_connection: Arc<Notify>,
    generation: u64,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error("connection to the broker failed")]
    Connection(#[from] Box<ConnectionError>),
    #[error("broker refused the subscription to {0}")]
    Subscription(&'static str),
    #[error("broker did not confirm the subscriptions in time")]
    NoSubAck,
    #[error("broker takes packets of at most {0} bytes (must be at least {MAX_MQTT_BYTES})")]
    PacketLimit(u32),
    #[error("the client's queue is full before anything was sent")]
    Queue,
    #[error("the outbox asked for a new connection")]
    Rebuild,
    #[error("the event loop has ended")]
    Unheard,
    #[error("said goodbye")]
    Goodbye,
}

impl Session {
    pub(super) fn new(
        target: Target,
        events: mpsc::Sender<LinkEvent>,
        drop_connection: Arc<Notify>,
    ) -> Result<Self, TlsError> {
        let transport = tls::transport(target.ca_pem.as_deref(), target.known_unix_ms)?;
        Ok(Session {
            target,
            transport,
            events,
            drop_connection,
            generation: 0,
        })
    }

    pub(super) async fn run(mut self) {
        let mut pause = BACKOFF_FIRST;
        loop {
            self.generation += 1;
            let started = tokio::time::Instant::now();
            let end = self.connection().await;
            if self
                .events
                .send(LinkEvent::Down {
                    generation: self.generation,
                })
                .await
                .is_err()
            {
                return;
            }
            match &end {
                EndError::Unheard | EndError::Goodbye => return,
                EndError::Rebuild => tracing::info!("making a new connection to the broker"),
                EndError::Connection(_)
                | EndError::Subscription(_)
                | EndError::NoSubAck
                | EndError::PacketLimit(_)
                | EndError::Queue => {
                    let error = &end as &dyn std::error::Error;
                    tracing::warn!(error, "link to the broker is down");
                }
            }
            if started.elapsed() >= GOOD_AFTER {
                pause = BACKOFF_FIRST;
            }
            let jitter = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    /// One connection from beginning to end.
    async fn connection(&self) -> EndError {
        // What was asked of the connection before does not concern this one.
        tokio::select! {
            biased;
            () = self.drop_connection.notified() => {}
            () = std::future::ready(()) => {}
        }
        let (client, mut event_loop) = AsyncClient::new(self.options(), CLIENT_QUEUE);
        let mut names = Names::default();
        let subscribed = tokio::select! {
            subscribed = self.subscribe(&client, &mut event_loop, &mut names) => subscribed,
            () = self.drop_connection.notified() => Err(EndError::Rebuild),
            () = self.events.closed() => Err(EndError::Unheard),
        };
        let topic_aliases = match subscribed {
            Ok(topic_aliases) => topic_aliases,
            Err(end) => return end,
        };
        tracing::info!(host = self.target.host, "link to the broker is up");
        let up = Up {
            generation: self.generation,
            client,
            topic_aliases,
        };
        if self.events.send(LinkEvent::Up(up)).await.is_err() {
            return EndError::Unheard;
        }
        loop {
            let event = tokio::select! {
                event = event_loop.poll() => event,
                () = self.drop_connection.notified() => return EndError::Rebuild,
            };
            let event = match event {
                // Some brokers leave it to the client to close.
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return EndError::Goodbye,
                Ok(event) => event,
                Err(error) => return EndError::Connection(Box::new(error)),
            };
            if let Some(event) = self.translate(event, &mut names)
                && self.events.send(event).await.is_err()
            {
                return EndError::Unheard;
            }
        }
    }

    /// Connects and subscribes; nothing is published before the broker has confirmed, since rumqttc
    /// does not check subscribe ids for collisions. Gives how many topic aliases the broker takes.
    async fn subscribe(
        &self,
        client: &AsyncClient,
        event_loop: &mut EventLoop,
        names: &mut Names,
    ) -> Result<u16, EndError> {
        let topic_aliases = loop {
            let event = event_loop.poll().await.map_err(Box::new)?;
            if let Event::Incoming(Packet::ConnAck(connack)) = event {
                check_limits(&connack)?;
                let properties = connack.properties;
                break properties.and_then(|properties| properties.topic_alias_max);
            }
        };
        // An acknowledgement says what ingest holds; the next one says it again, and what stays
        // unacknowledged is offered again. Confirming each would cost a sixth of the mobile data.
        let kinds = [
            (TopicKind::Ack, QoS::AtMostOnce),
            (TopicKind::Command, QoS::AtLeastOnce),
            (TopicKind::Config, QoS::AtLeastOnce),
        ];
        let filter = |(kind, qos)| {
            let topic = Topic {
                kind,
                ..self.target.topic.clone()
            };
            Filter::new(topic.to_string(), qos)
        };
        client
            .try_subscribe_many(kinds.map(filter))
            .map_err(|_| EndError::Queue)?;
        let confirmed = async {
            loop {
                let event = event_loop.poll().await.map_err(Box::new)?;
                if let Event::Incoming(Packet::SubAck(suback)) = event {
                    return check_subscriptions(&suback, &kinds.map(|(kind, _)| kind));
                }
                // Before the broker has said that it may send: what its number means counts.
                self.translate(event, names);
            }
        };
        tokio::time::timeout(SUBSCRIBE_TIMEOUT, confirmed)
            .await
            .unwrap_or(Err(EndError::NoSubAck))?;
        Ok(topic_aliases.unwrap_or(0))
    }

    fn options(&self) -> MqttOptions {
        let Target {
            host,
            port,
            username,
            password,
            topic,
            ..
        } = &self.target;
        let mut options = MqttOptions::new(username, host, *port);
        let state = Topic {
            kind: TopicKind::State,
            ..topic.clone()
        }
        .to_string();
        let offline = GatewayState::offline().to_json();
        options
            .set_credentials(username, password)
            .set_transport(self.transport.clone())
            .set_keep_alive(keep_alive(self.target.send_interval))
            .set_clean_start(true)
            .set_last_will(LastWill::new(state, offline, QoS::AtLeastOnce, true, None))
            .set_connection_timeout(CONNECT_TIMEOUT_S)
            .set_connect_properties(ConnectProperties::new())
            .set_max_packet_size(Some(MAX_MQTT_BYTES))
            .set_topic_alias_max(Some(ALIASES_TAKEN))
            .set_session_expiry_interval(Some(0))
            .set_outgoing_inflight_upper_limit(INFLIGHT);
        options
    }

    fn translate(&self, event: Event, names: &mut Names) -> Option<LinkEvent> {
        let generation = self.generation;
        match event {
            Event::Outgoing(Outgoing::Publish(packet_id)) => Some(LinkEvent::Sent {
                generation,
                packet_id,
            }),
            Event::Incoming(Packet::PubAck(ack)) => Some(LinkEvent::Answered {
                generation,
                packet_id: ack.pkid,
                reason: ack.reason,
            }),
            Event::Incoming(Packet::Publish(publish)) => self.message(publish, names),
            Event::Incoming(_) | Event::Outgoing(_) => None,
        }
    }

    fn message(&self, publish: Publish, names: &mut Names) -> Option<LinkEvent> {
        let alias = publish.properties.and_then(|has| has.topic_alias);
        let Some(topic) = names.resolve(publish.topic, alias) else {
            tracing::warn!(?alias, "dropped a message on an unknown topic alias");
            return None;
        };
        let text = std::str::from_utf8(&topic).ok()?;
        let topic: Topic = text.parse().ok()?;
        let own = Topic {
            kind: topic.kind,
            ..self.target.topic.clone()
        };
        if topic != own {
            tracing::warn!(
                topic = text,
                "dropped a message that is not for this gateway"
            );
            return None;
        }
        Some(LinkEvent::Message {
            kind: topic.kind,
            payload: publish.payload,
        })
    }
}

/// rumqttc pings at this pace whatever else is sent, so it costs data; while readings are sent their
/// PUBACKs show that the connection lives.
fn keep_alive(send_interval: Duration) -> Duration {
    (send_interval * 4).clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX)
}

fn check_limits(connack: &ConnAck) -> Result<(), EndError> {
    let limit = connack
        .properties
        .as_ref()
        .and_then(|properties| properties.max_packet_size);
    match limit {
        Some(limit) if limit < MAX_MQTT_BYTES => Err(EndError::PacketLimit(limit)),
        Some(_) | None => Ok(()),
    }
}

fn check_subscriptions(suback: &SubAck, kinds: &[TopicKind]) -> Result<(), EndError> {
    for (code, kind) in suback.return_codes.iter().zip(kinds) {
        if !matches!(code, SubscribeReasonCode::Success(_)) {
            return Err(EndError::Subscription(kind.as_str()));
        }
    }
    Ok(())
}
