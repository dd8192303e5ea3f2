//! The MQTT link: one connection at a time to the broker, under the rules that rumqttc needs.
//!
//! Owns connecting, subscribing, packet ids, back-off and the last will. It knows nothing of records:
//! the outbox decides what is sent, and the journal is the only truth. What a broken connection had
//! under way is forgotten here and offered again by the outbox.
//!
//! Every connection has a client of its own. rumqttc carries unsent publishes, packet-id collisions
//! and in-flight tables over a reconnect, and drops or repeats them depending on the session; with
//! `clean_start` and a fresh client there is nothing to carry.

mod alias;
mod session;
mod tls;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use furrow_gateway_core::outbox::{OfferId, PubackAnswer};
use furrow_wire::{MAX_PACKET_BYTES, Topic, TopicKind};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, PublishProperties};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use alias::{ALIAS, Alias, Form};
pub use session::{Target, Up};
pub use tls::TlsError;

/// Events that may wait for the event loop, which handles them all at each turn.
const EVENTS: usize = 256;
/// Requests that may wait in the client: the outbox's window twice over, and the few messages
/// beside it.
const CLIENT_QUEUE: usize = 128;
/// Publishes that rumqttc lets be unacknowledged. Far above the outbox's window: its packet ids wrap
/// here, and an id that is still in use would block the connection.
const INFLIGHT: u16 = 200;
/// Largest packet to and from the broker: ours, with room for topic and properties.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB and a bit")]
const MAX_MQTT_BYTES: u32 = MAX_PACKET_BYTES as u32 + 1024;
/// How long a graceful goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What happens on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected and subscribed.
    Up(Up),
    /// A publish got its packet id.
    Sent {
        /// Of which connection.
        generation: u64,
        /// The id.
        packet_id: u16,
    },
    /// The broker answered a publish.
    Answered {
        /// Of which connection.
        generation: u64,
        /// Its id.
        packet_id: u16,
        /// The answer.
        reason: PubAckReason,
    },
    /// A message for this gateway.
    Message {
        /// What it is.
        kind: TopicKind,
        /// Its bytes.
        payload: Bytes,
    },
    /// The connection is gone.
    Down {
        /// Which.
        generation: u64,
    },
}

/// What the broker said about a publish of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Puback {
    /// The offer.
    pub id: OfferId,
    /// What it said.
    pub answer: PubackAnswer,
}

/// The event loop's side of the link.
#[derive(Debug)]
pub struct Link {
    /// To be handed to [`Link::handle_event`].
    pub events: mpsc::Receiver<LinkEvent>,
    own: Topic,
    drop_connection: Arc<Notify>,
    connection: Option<Connection>,
    alias: Alias,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Connection {
    generation: u64,
    client: AsyncClient,
    /// Publishes handed to the client that have no packet id yet.
    unnumbered: VecDeque<Sent>,
    unanswered: BTreeMap<u16, Sent>,
}

/// A publish that the broker has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    /// `None` is a message of our own.
    offer: Option<OfferId>,
    form: Form,
}

/// What the event loop has to know after an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Ready for packets: the birth goes first.
    Up,
    /// Nothing can be sent.
    Down,
    /// The broker answered an offer.
    Puback(Puback),
    /// A message for this gateway.
    Message(TopicKind, Bytes),
}

/// A message could not be handed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection.
    #[error("no connection to the broker")]
    Down,
    /// The message is larger than a packet may be.
    #[error("message of {0} bytes exceeds the limit of {MAX_PACKET_BYTES}")]
    TooLong(usize),
    /// The client takes no more, which a living connection never lets happen.
    #[error("the client's queue is full")]
    Full,
}

impl Link {
    /// Starts to connect, and does so again whenever the connection is lost.
    ///
    /// # Errors
    /// When the certificates of the target can't be used.
    pub fn start(target: Target) -> Result<Self, TlsError> {
        let (sender, events) = mpsc::channel(EVENTS);
        let drop_connection = Arc::new(Notify::new());
        let own = target.topic.clone();
        let session = session::Session::new(target, sender, Arc::clone(&drop_connection))?;
        let task = tokio::spawn(session.run());
        Ok(Link {
            events,
            own,
            drop_connection,
            connection: None,
            alias: Alias::default(),
            task,
        })
    }

    /// Whether packets can be sent.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.connection.is_some()
    }

    /// Takes note of an event; gives what the event loop has to know.
    pub fn handle_event(&mut self, event: LinkEvent) -> Option<Change> {
        match event {
            LinkEvent::Up(up) => {
                let Up {
                    generation,
                    client,
                    topic_aliases,
                } = up;
                // The one before may not have been heard to end.
                self.alias.handle_down();
                self.alias.handle_up(topic_aliases);
                self.connection = Some(Connection {
                    generation,
                    client,
                    unnumbered: VecDeque::new(),
                    unanswered: BTreeMap::new(),
                });
                Some(Change::Up)
            }
            LinkEvent::Down { generation } => {
                let current = self.connection.take_if(|c| c.generation == generation);
                current.map(|_| {
                    self.alias.handle_down();
                    Change::Down
                })
            }
            LinkEvent::Sent {
                generation,
                packet_id,
            } => {
                let connection = self.of_generation(generation)?;
                let sent = connection.unnumbered.pop_front()?;
                connection.unanswered.insert(packet_id, sent);
                None
            }
            LinkEvent::Answered {
                generation,
                packet_id,
                reason,
            } => {
                let Sent { offer, form } = self
                    .of_generation(generation)?
                    .unanswered
                    .remove(&packet_id)?;
                let answer = judge(reason);
                self.alias.handle_answer(form, answer);
                if answer == PubackAnswer::Refused {
                    tracing::warn!(?reason, offer = ?offer, "the broker refused a publish");
                }
                offer.map(|id| Change::Puback(Puback { id, answer }))
            }
            LinkEvent::Message { kind, payload } => Some(Change::Message(kind, payload)),
        }
    }

    /// Hands a packet of the outbox to the client.
    ///
    /// # Errors
    /// [`PublishError`]; the caller offers the records again.
    pub fn publish_packet(&mut self, id: OfferId, packet: Bytes) -> Result<(), PublishError> {
        self.publish(TopicKind::Batch, Some(id), packet, Retain::No)
    }

    /// Publishes one of the gateway's own retained messages.
    ///
    /// # Errors
    /// [`PublishError`]; it is said again at the next connect.
    pub fn publish_retained(
        &mut self,
        kind: TopicKind,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        self.publish(kind, None, payload, Retain::Yes)
    }

    /// Publishes one of the gateway's own messages for whoever listens now.
    ///
    /// # Errors
    /// [`PublishError`]; nothing says it again.
    pub fn publish_once(&mut self, kind: TopicKind, payload: Bytes) -> Result<(), PublishError> {
        self.publish(kind, None, payload, Retain::No)
    }

    /// Gives the connection up and makes a new one, after a pause.
    pub fn rebuild(&self) {
        self.drop_connection.notify_one();
    }

    /// Says goodbye to the broker, so that it does not publish the last will.
    pub async fn stop(mut self) {
        if let Some(connection) = self.connection.take() {
            if connection.client.try_disconnect().is_err() {
                tracing::debug!("no goodbye to the broker: its queue is full");
            } else {
                let gone =
                    async { while self.events.recv().await.is_some_and(|e| !is_down(&e)) {} };
                if tokio::time::timeout(GOODBYE, gone).await.is_err() {
                    tracing::debug!("the broker did not take the goodbye in time");
                }
            }
        }
        self.task.abort();
    }

    fn publish(
        &mut self,
        kind: TopicKind,
        offer: Option<OfferId>,
        payload: Bytes,
        retain: Retain,
    ) -> Result<(), PublishError> {
        // The others are said seldom.
        let form = if kind == TopicKind::Batch {
            self.alias.form()
        } else {
            Form::Full
        };
        let connection = self.connection.as_mut().ok_or(PublishError::Down)?;
        // rumqttc stores a publish before it finds that it is too long, and then repeats it.
        if payload.len() > MAX_PACKET_BYTES {
            return Err(PublishError::TooLong(payload.len()));
        }
        let full = Topic {
            kind,
            ..self.own.clone()
        };
        let (topic, topic_alias) = match form {
            Form::Full => (full.to_string(), None),
            Form::Defining => (full.to_string(), Some(ALIAS)),
            Form::Bare => (String::new(), Some(ALIAS)),
        };
        let properties = PublishProperties {
            topic_alias,
            ..PublishProperties::default()
        };
        let (qos, retain) = (QoS::AtLeastOnce, retain == Retain::Yes);
        connection
            .client
            .try_publish_with_properties(topic, qos, retain, payload, properties)
            .map_err(|_| PublishError::Full)?;
        connection.unnumbered.push_back(Sent { offer, form });
        self.alias.handle_sent(form);
        Ok(())
    }

    fn of_generation(&mut self, generation: u64) -> Option<&mut Connection> {
        self.connection
            .as_mut()
            .filter(|connection| connection.generation == generation)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retain {
    Yes,
    No,
}

fn is_down(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Down { .. })
}

/// rumqttc only logs a refusal: without this look at the reason, denied data would vanish.
fn judge(reason: PubAckReason) -> PubackAnswer {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => PubackAnswer::Accepted,
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::NotAuthorized
        | PubAckReason::TopicNameInvalid
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded
        | PubAckReason::PayloadFormatInvalid => PubackAnswer::Refused,
    }
}

#[cfg(test)]
mod tests;
