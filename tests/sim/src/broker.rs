//! A broker that keeps what brokers keep, and loses it as they do.
//!
//! Towards ingest it has a session that survives connections and hands unconfirmed messages out
//! again, in reverse; towards gateways it has none. It may forget everything at any time.

use std::collections::VecDeque;

use bytes::Bytes;
use furrow_ingest::log::entry::EntryKind;
use furrow_wire::GatewayState;

/// Messages that ingest may have unconfirmed.
const RECEIVE_MAX: usize = 24;
/// How long a message is kept for an absent ingest, milliseconds.
const EXPIRY_MS: u64 = 24 * 3_600_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    waiting: VecDeque<Message>,
    sent: Vec<Message>,
    /// Acknowledgements for the gateway.
    pub(crate) acks: VecDeque<Bytes>,
    retained: Option<Bytes>,
    has_session: bool,
    is_connected: bool,
    next_id: u64,
}

/// A message for ingest.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) kind: EntryKind,
    pub(crate) bytes: Bytes,
    since_ms: u64,
}

impl Broker {
    /// A gateway publishes.
    pub(crate) fn publish(&mut self, kind: EntryKind, bytes: Bytes, now_ms: u64) {
        if kind == EntryKind::State {
            self.retained = Some(bytes.clone());
        }
        if self.has_session {
            self.queue(kind, bytes, now_ms);
        }
    }

    /// The gateway's connection broke without a goodbye.
    pub(crate) fn publish_will(&mut self, now_ms: u64) {
        let will = GatewayState::offline().to_json().into();
        self.publish(EntryKind::State, will, now_ms);
    }

    /// Ingest connects and subscribes: what it had not confirmed comes again, in reverse, and what
    /// is retained.
    pub(crate) fn connect_ingest(&mut self, now_ms: u64) {
        self.disconnect_ingest();
        self.is_connected = true;
        self.has_session = true;
        if let Some(state) = self.retained.clone() {
            self.queue(EntryKind::State, state, now_ms);
        }
    }

    /// Ingest's connection is gone.
    pub(crate) fn disconnect_ingest(&mut self) {
        self.is_connected = false;
        for message in self.sent.drain(..) {
            // Pushed one by one to the front: the last one sent comes first.
            self.waiting.push_front(message);
        }
    }

    /// Whether ingest is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Hands out the message at this place of the queue, if ingest may have another one.
    pub(crate) fn deliver(&mut self, place: usize) -> Option<Message> {
        if !self.is_connected || self.sent.len() >= RECEIVE_MAX {
            return None;
        }
        let place = place.min(self.waiting.len().saturating_sub(1));
        let message = self.waiting.remove(place)?;
        self.sent.push(message.clone());
        Some(message)
    }

    /// Queues a message once more, as a broker does that lost track.
    pub(crate) fn duplicate(&mut self, message: &Message) {
        let again = message.clone();
        self.next_id += 1;
        self.waiting.push_back(Message {
            id: self.next_id,
            ..again
        });
    }

    /// Ingest confirms.
    pub(crate) fn confirm(&mut self, id: u64) {
        self.sent.retain(|message| message.id != id);
    }

    /// Everything is gone, as after a kill of a broker that keeps nothing.
    pub(crate) fn forget(&mut self) {
        *self = Broker {
            next_id: self.next_id,
            ..Broker::default()
        };
    }

    /// Messages that nobody fetched in time go.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        self.waiting
            .retain(|message| now_ms.saturating_sub(message.since_ms) < EXPIRY_MS);
    }

    /// How many messages wait for ingest.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty() && self.acks.is_empty()
    }

    fn queue(&mut self, kind: EntryKind, bytes: Bytes, since_ms: u64) {
        self.next_id += 1;
        self.waiting.push_back(Message {
            id: self.next_id,
            kind,
            bytes,
            since_ms,
        });
    }
}
