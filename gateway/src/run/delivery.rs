//! Executes what the outbox decides: packets from the journal to the link, releases to the journal.

use std::collections::VecDeque;

use bytes::Bytes;
use furrow_gateway_core::outbox::{Command, Offer, Outbox};
use furrow_gateway_core::{FieldMs, LinkMs};
use furrow_wire::TopicKind;

use super::journal_thread::{JournalThread, Request, SendError};
use super::store::Packed;
use crate::link::{Change, Link, LinkEvent, PublishError};

/// Commands of the outbox that one turn of the event loop executes: two windows.
const COMMANDS_A_TURN: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Delivery {
    /// What waits and what is acknowledged.
    pub outbox: Outbox,
    /// The connection.
    pub link: Link,
    started: tokio::time::Instant,
    /// Releases, and what takes them back, that the journal thread had no place for, in order: at most
    /// two for each segment and turn of the loop.
    releases: VecDeque<Request>,
    /// Messages that were not what their topic says, since the start.
    malformed: u64,
}

/// Records that turned out to be unreadable: a loss is to be journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// Whose.
    pub stream: furrow_wire::StreamId,
    /// First.
    pub from: furrow_wire::Seq,
    /// Last.
    pub to: furrow_wire::Seq,
}

impl Delivery {
    /// Delivers what the outbox holds over the link.
    #[must_use]
    pub fn new(outbox: Outbox, link: Link) -> Self {
        Delivery {
            outbox,
            link,
            started: tokio::time::Instant::now(),
            releases: VecDeque::new(),
            malformed: 0,
        }
    }

    /// The link clock.
    #[must_use]
    pub fn now(&self) -> LinkMs {
        LinkMs(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// A moment of the link clock as the runtime knows it.
    #[must_use]
    pub fn instant(&self, at: LinkMs) -> tokio::time::Instant {
        self.started + std::time::Duration::from_millis(at.0)
    }

    /// Messages that could not be understood, since the start.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Something happened on the link. Gives what the rest of the gateway has to know.
    pub fn handle_link(&mut self, event: LinkEvent) -> Option<Change> {
        let change = self.link.handle_event(event)?;
        match &change {
            // The birth goes first; the caller then calls `handle_born`.
            Change::Up => Some(change),
            Change::Down => {
                self.outbox.handle_disconnected();
                Some(change)
            }
            Change::Puback(puback) => {
                let now = self.now();
                self.outbox.handle_puback(puback.id, puback.answer, now);
                None
            }
            Change::Message(TopicKind::Ack | TopicKind::Command | TopicKind::Config, _) => {
                Some(change)
            }
            Change::Message(
                TopicKind::Batch
                | TopicKind::State
                | TopicKind::Catalog
                | TopicKind::Result
                | TopicKind::Json,
                _,
            ) => None,
        }
    }

    /// The birth was published on a new connection: packets may follow.
    pub fn handle_born(&mut self, field: FieldMs) {
        let now = self.now();
        self.outbox.handle_connected(field, now);
    }

    /// A message that is not what its topic says.
    pub fn handle_malformed(&mut self, kind: TopicKind, error: &(dyn std::error::Error + 'static)) {
        self.malformed += 1;
        tracing::warn!(
            topic = kind.as_str(),
            error,
            "dropped a message that can't be understood"
        );
    }

    /// The journal thread read a packet.
    pub fn handle_packed(&mut self, packed: Packed, offers: &mut Offers) -> Option<Unreadable> {
        match packed {
            Packed::Packet { id, to, packet } => {
                offers.take(id);
                if self.outbox.is_offered(id) {
                    self.publish(id, to, packet);
                }
                None
            }
            Packed::Unreadable { id, from, to } => {
                let offer = offers.take(id)?;
                let is_lost = self.outbox.handle_unreadable(id, from, to);
                is_lost.then_some(Unreadable {
                    stream: offer.stream,
                    from,
                    to,
                })
            }
        }
    }

    /// Does what the outbox wants, at most so much that other work is not kept waiting.
    pub fn poll(&mut self, field: FieldMs, journal: &JournalThread, offers: &mut Offers) {
        self.send_releases(journal);
        let now = self.now();
        for _ in 0..COMMANDS_A_TURN {
            match self.outbox.poll_command(field, now) {
                Some(Command::Offer(offer)) => match journal.send(Request::Pack(offer)) {
                    Ok(()) => offers.put(offer),
                    Err(SendError::Busy(_) | SendError::Gone) => {
                        // Its answers wake the loop, which asks again.
                        self.outbox.handle_unpublished(offer.id);
                        return;
                    }
                },
                Some(Command::Release { segment }) => {
                    self.releases.push_back(Request::Release(segment));
                    self.send_releases(journal);
                }
                Some(Command::Keep { segment }) => {
                    self.releases.push_back(Request::Keep(segment));
                    self.send_releases(journal);
                }
                Some(Command::Rebuild) => {
                    tracing::warn!("the broker confirms nothing any more, making a new connection");
                    self.link.rebuild();
                }
                None => return,
            }
        }
    }

    fn publish(
        &mut self,
        id: furrow_gateway_core::outbox::OfferId,
        to: furrow_wire::Seq,
        packet: Bytes,
    ) {
        match self.link.publish_packet(id, packet) {
            Ok(()) => {
                let now = self.now();
                self.outbox.handle_published(id, to, now);
            }
            Err(PublishError::Down) => self.outbox.handle_unpublished(id),
            Err(error @ (PublishError::Full | PublishError::TooLong(_))) => {
                tracing::warn!(%error, "a packet was not taken, making a new connection");
                self.outbox.handle_unpublished(id);
                self.link.rebuild();
            }
        }
    }

    fn send_releases(&mut self, journal: &JournalThread) {
        while let Some(request) = self.releases.pop_front() {
            match journal.send(request) {
                Ok(()) => {}
                Err(SendError::Busy(request)) => return self.releases.push_front(*request),
                Err(SendError::Gone) => return,
            }
        }
    }
}

/// Offers whose packets are being read; at most the outbox's window and what it withdrew meanwhile.
#[derive(Debug, Default)]
pub struct Offers(Vec<Offer>);

impl Offers {
    fn put(&mut self, offer: Offer) {
        self.0.push(offer);
    }

    fn take(&mut self, id: furrow_gateway_core::outbox::OfferId) -> Option<Offer> {
        let at = self.0.iter().position(|offer| offer.id == id)?;
        Some(self.0.swap_remove(at))
    }
}
