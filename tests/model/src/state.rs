//! What each party holds. Every collection is ordered, so that equal states are equal in bytes.

use std::collections::{BTreeMap, BTreeSet};

/// A stream, numbered in the order of drawing. In the code it is a random number.
pub type Stream = u8;

/// Names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Whose seq.
    pub stream: Stream,
    /// From 1.
    pub seq: u8,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// A reading, different from every other one.
    Reading(u8),
    /// A record will never come.
    Loss(Name),
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub body: Body,
}

/// What a gateway publishes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Consecutive records of one stream.
    Packet(Vec<Record>),
    /// The retained birth: which streams it holds.
    State(BTreeSet<Stream>),
}

/// What ingest says that it holds: complete for each stream that is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ack(pub BTreeMap<Stream, BTreeSet<u8>>);

/// The gateway. A process that dies is started again at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// The stream that is written.
    pub stream: Stream,
    /// The next seq in it.
    pub next_seq: u8,
    /// Durable, in order.
    pub journal: Vec<Record>,
    /// Appended, not committed.
    pub pending: Vec<Record>,
    /// Records of the journal that ingest has, as the outbox believes, or that a loss tells of.
    pub settled: BTreeSet<Name>,
    /// Whether there is a connection.
    pub connected: bool,
}

/// The broker, and everything between it and the two others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Broker {
    /// On the way to ingest, in no order.
    pub to_ingest: BTreeSet<Message>,
    /// On the way to the gateway, in no order.
    pub to_gateway: BTreeSet<Ack>,
    /// The retained birth.
    pub retained: Option<BTreeSet<Stream>>,
}

/// What ingest's tracker holds: the records of the log, and which streams it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Held {
    /// Records by name.
    pub records: BTreeMap<Name, Body>,
    /// Known streams, and whether the gateway holds them no longer.
    pub streams: BTreeMap<Stream, Hold>,
}

/// Whether the gateway still holds a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// As far as ingest knows.
    Held,
    /// A birth did not name it.
    Unheld,
}

/// What the next acknowledgement is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Due {
    /// Every stream that the gateway holds.
    pub all: bool,
    /// Those of which something came.
    pub touched: BTreeSet<Stream>,
}

/// Ingest. A process that dies is started again at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ingest {
    /// What is appended to the log, synced or not.
    pub front: Held,
    /// What of it is synced.
    pub synced: Held,
    /// What is to be acknowledged.
    pub due: Due,
    /// Whether the gateway was told everything since the start.
    pub greeted: bool,
    /// What the archive has taken from the log.
    pub archive: Archive,
}

/// The archive, with its position in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Archive {
    /// Entries of the log that were applied.
    pub applied: BTreeSet<Name>,
    /// How often each reading was stored.
    pub effects: BTreeMap<u8, u8>,
}

/// Ingest's disk at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backup {
    /// The log.
    pub synced: Held,
    /// The archive.
    pub archive: Archive,
}

/// How often something may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    /// Readings.
    pub records: u8,
    /// Crashes, of either side.
    pub crashes: u8,
    /// Losses and repetitions, of messages, connections and the broker's memory.
    pub faults: u8,
    /// Cards restored from an image.
    pub images: u8,
    /// Ingests restored from a backup.
    pub backups: u8,
}

/// What really happened: known to nobody within the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Truth {
    /// Readings that were ever durable in the journal, and under which name.
    pub journalled: BTreeMap<u8, Name>,
    /// Readings whose only bytes were on a card or a disk that was replaced.
    pub destroyed: BTreeSet<u8>,
    /// Names that were ever durable at ingest, or that a loss durable at ingest told of.
    pub stored: BTreeSet<Name>,
    /// Names that an ingest restored from a backup no longer has.
    pub wiped: BTreeSet<Name>,
}

/// The whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// On the Pi.
    pub gateway: Gateway,
    /// In between.
    pub broker: Broker,
    /// On the server.
    pub ingest: Ingest,
    /// An image of the card.
    pub image: Option<Vec<Record>>,
    /// A backup of ingest.
    pub backup: Option<Backup>,
    /// What may still happen.
    pub left: Left,
    /// What really happened.
    pub truth: Truth,
}

impl Held {
    /// The seqs of a stream that are held, or known lost.
    #[must_use]
    pub fn says(&self, stream: Stream) -> BTreeSet<u8> {
        let own = self.records.keys().copied();
        let lost = self.records.values().filter_map(|body| body.loss());
        own.chain(lost)
            .filter(|name| name.stream == stream)
            .map(|name| name.seq)
            .collect()
    }

    /// Whether a record is known lost.
    #[must_use]
    pub fn is_lost(&self, name: Name) -> bool {
        self.records.values().any(|body| body.loss() == Some(name))
    }
}

impl Body {
    /// What a loss tells of.
    #[must_use]
    pub fn loss(self) -> Option<Name> {
        match self {
            Body::Loss(name) => Some(name),
            Body::Reading(_) => None,
        }
    }
}

impl State {
    /// Whether a reading is where somebody can find it: durable on either side, or told of as lost.
    #[must_use]
    pub fn is_accounted(&self, reading: u8, name: Name) -> bool {
        let here = |body: Body| body == Body::Reading(reading) || body == Body::Loss(name);
        let journal = &self.gateway.journal;
        journal.iter().any(|record| here(record.body))
            || self.ingest.synced.records.values().any(|body| here(*body))
    }

    /// Readings that neither side holds or tells of, although nobody replaced a disk.
    pub fn unaccounted(&self) -> impl Iterator<Item = u8> {
        let truth = &self.truth;
        let owed = truth.journalled.iter();
        owed.filter(|(reading, name)| {
            !truth.destroyed.contains(reading) && !self.is_accounted(**reading, **name)
        })
        .map(|(reading, _)| *reading)
    }

    /// A disk was replaced: what was only on it is gone, and nobody promised otherwise.
    pub(crate) fn note_destroyed(&mut self) {
        let gone: Vec<u8> = self.unaccounted().collect();
        self.truth.destroyed.extend(gone);
    }
}
