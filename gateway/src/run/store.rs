//! The journal with what the gateway keeps in it: records, copies and the small durable state.
//!
//! Owned by the journal thread; generic over the disk, so that tests cut its power. It decides
//! nothing: names come from the recorder, order and deletion from the outbox.

use std::collections::VecDeque;

use bytes::Bytes;
use furrow_gateway_core::evict::Waiting;
use furrow_gateway_core::outbox::{Lane, Offer, OfferId, Outbox, Place};
use furrow_gateway_core::record::{ENTRY_COPY, ENTRY_RECORD, ENTRY_STATE, parse_stored};
use furrow_gateway_core::recovery::{Recovered, Recovery};
pub use furrow_gateway_core::space::Trouble;
use furrow_journal::{Disk, Entry, Journal, JournalError, Options, Position};
use furrow_wire::{Compression, MAX_PACKET_BYTES, RecordKind, RecordName, Seq, encode_packet};

/// Content of one packet, in bytes: with the flag byte it fits even where nothing deflates.
const MAX_CONTENT_BYTES: usize = MAX_PACKET_BYTES - 1;
/// Entries that may wait because the journal is full or the disk fails, in bytes of payload. Above
/// this the oldest batches are dropped and told of as lost.
pub const MAX_QUEUED_BYTES: usize = 2 * 1024 * 1024;

/// One entry to write.
#[derive(Debug, Clone)]
pub struct Item {
    /// [`ENTRY_RECORD`], [`ENTRY_COPY`] or [`ENTRY_STATE`].
    pub kind: u8,
    /// The entry's bytes.
    pub payload: Bytes,
    /// The durable state as of just before this entry: begins a new segment, should this entry.
    pub preamble: Bytes,
    /// Whether it may be dropped when nothing can be written: batches only.
    pub droppable: bool,
}

/// Several entries that are reported durable together.
#[derive(Debug, Clone)]
pub struct Write {
    /// To be named in the answer.
    pub ticket: u64,
    /// In order.
    pub items: Vec<Item>,
}

/// What became of writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything of a write is durable, at these places.
    Durable {
        /// Its ticket.
        ticket: u64,
        /// One for each item.
        places: Vec<Place>,
    },
    /// A write was dropped, since nothing could be written for too long.
    Dropped {
        /// Its ticket.
        ticket: u64,
    },
}

/// A packet that was read for an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// The packet, with the records up to `to`.
    Packet {
        /// The offer.
        id: OfferId,
        /// Last record in it.
        to: Seq,
        /// The message.
        packet: Bytes,
    },
    /// Records that can't be read back.
    Unreadable {
        /// The offer.
        id: OfferId,
        /// First of them.
        from: Seq,
        /// Last of them.
        to: Seq,
    },
}

/// A record of a segment that is to be given up.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: RecordName,
    /// Its kind; `None` for one of a newer version.
    pub kind: Option<RecordKind>,
    /// Readings in it.
    pub readings: u32,
    /// The boot whose mapping it waits for.
    pub held: Option<furrow_wire::BootId>,
    /// The entry's bytes; empty for a batch, which is not written again.
    pub payload: Bytes,
}

impl Found {
    /// What decides on its fate.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting {
            name: self.name,
            kind: self.kind,
            readings: self.readings,
        }
    }
}

/// How the journal is filled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fill {
    /// Bytes of segments that are not released.
    pub live_bytes: u64,
    /// Bytes written since the start.
    pub bytes_written: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Numbers of all segments that can be read, ascending.
    pub segments: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Store<D: Disk> {
    journal: Journal<D>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    outcomes: Vec<Outcome>,
    /// What the latest commit failed with; `None` too where only the cap was in its way.
    failure: Option<JournalError>,
}

#[derive(Debug)]
struct Queued {
    write: Write,
    /// Items before this are appended.
    places: Vec<Place>,
}

impl<D: Disk> Store<D> {
    /// Opens the journal and reads it whole.
    ///
    /// # Errors
    /// [`JournalError`] when another process has it or its directory can't be listed.
    pub fn open(
        disk: D,
        options: Options,
        outbox: Outbox,
    ) -> Result<(Self, Recovered), JournalError> {
        let (journal, found) = Journal::open(disk, options)?;
        let mut recovery = Recovery::new(outbox);
        for entry in journal.entries_from(Position::default()) {
            match entry {
                Ok(entry) => {
                    recovery.handle_entry(place(entry.position), entry.kind, &entry.payload);
                }
                Err(error) => tracing::warn!(%error, "skipped a damaged place of the journal"),
            }
        }
        let store = Store {
            journal,
            queue: VecDeque::new(),
            queued_bytes: 0,
            outcomes: Vec::new(),
            failure: None,
        };
        let damage: Vec<Place> = found
            .damaged
            .iter()
            .inspect(|damage| tracing::error!(?damage, "a part of the journal can't be read"))
            .map(|damage| Place {
                segment: damage.segment,
                offset: damage.offset,
            })
            .collect();
        Ok((store, recovery.finish(&damage)))
    }

    /// Takes a write; [`Store::commit`] makes it durable.
    pub fn push(&mut self, write: Write) {
        self.queued_bytes += bytes_of(&write);
        self.queue.push_back(Queued {
            write,
            places: Vec::new(),
        });
        while self.queued_bytes > MAX_QUEUED_BYTES && self.drop_oldest() {}
    }

    /// Writes what waits, with one sync. What can't be written keeps waiting, in order.
    ///
    /// # Errors
    /// Why something waits still; to be called again later.
    pub fn commit(&mut self) -> Result<(), Trouble> {
        self.failure = None;
        let appended = self.append_all();
        let Err(error) = self.journal.commit() else {
            self.report_durable();
            return appended;
        };
        let is_disk_full = error.is_disk_full();
        self.failure = Some(error);
        Err(if is_disk_full {
            Trouble::DiskFull
        } else {
            Trouble::Disk
        })
    }

    /// What the latest commit failed with, for the log: the caller knows how often that was said.
    #[must_use]
    pub fn failure(&self) -> Option<&JournalError> {
        self.failure.as_ref()
    }

    /// What became of writes since the last call.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Reads the records of an offer and makes a packet of them.
    #[must_use]
    pub fn pack(&self, offer: &Offer) -> Packed {
        let start = Position {
            segment: offer.place.segment,
            offset: offer.place.offset,
        };
        let mut packet = Packet::new(offer);
        for entry in self.journal.entries_from(start) {
            let go_on = match &entry {
                Ok(entry) if entry.position.segment != start.segment => false,
                Ok(entry) => packet.take(entry),
                Err(error) => {
                    tracing::warn!(%error, "cannot read a record back");
                    true
                }
            };
            if !go_on {
                break;
            }
        }
        packet.finish()
    }

    /// Allows a segment to be reused.
    pub fn release(&mut self, segment: u64) {
        if !self.journal.release(segment) {
            tracing::debug!(segment, "segment is still written or gone");
        }
    }

    /// Takes a release back: something in the segment waits again.
    pub fn keep(&mut self, segment: u64) {
        if !self.journal.keep(segment) {
            tracing::warn!(
                segment,
                "what ingest lost was used again before it was asked for"
            );
        }
    }

    /// The records of a segment.
    #[must_use]
    pub fn records_of(&self, segment: u64) -> Vec<Found> {
        let start = Position { segment, offset: 0 };
        self.journal
            .entries_from(start)
            .filter_map(Result::ok)
            .take_while(|entry| entry.position.segment == segment)
            .filter_map(|entry| found(&entry))
            .collect()
    }

    /// How the journal is filled.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let stats = self.journal.stats();
        Fill {
            live_bytes: stats.live_bytes,
            bytes_written: stats.bytes_written,
            commits: stats.commits,
            segments: self
                .journal
                .segments()
                .iter()
                .map(|info| info.number)
                .collect(),
        }
    }

    fn append_all(&mut self) -> Result<(), Trouble> {
        for queued in &mut self.queue {
            while let Some(item) = queued.write.items.get(queued.places.len()) {
                let preamble = vec![(ENTRY_STATE, item.preamble.to_vec())];
                if let Err(error) = self.journal.set_preamble(preamble) {
                    // An older one then begins the next segment: totals may be counted short.
                    tracing::error!(%error, "the durable state does not fit a segment's start");
                }
                match self.journal.append(item.kind, &item.payload) {
                    Ok(position) => queued.places.push(place(position)),
                    Err(JournalError::Full { .. }) => return Err(Trouble::Full),
                    Err(error) => {
                        self.failure = Some(error);
                        return Err(Trouble::Disk);
                    }
                }
            }
        }
        Ok(())
    }

    fn report_durable(&mut self) {
        while let Some(first) = self.queue.front() {
            if first.places.len() < first.write.items.len() {
                break;
            }
            if let Some(Queued { write, places }) = self.queue.pop_front() {
                self.queued_bytes -= bytes_of(&write);
                self.outcomes.push(Outcome::Durable {
                    ticket: write.ticket,
                    places,
                });
            }
        }
    }

    /// Drops the oldest write that holds only batches and was not begun.
    fn drop_oldest(&mut self) -> bool {
        let droppable = |queued: &Queued| {
            queued.places.is_empty() && queued.write.items.iter().all(|item| item.droppable)
        };
        let Some(at) = self.queue.iter().position(droppable) else {
            return false;
        };
        if let Some(dropped) = self.queue.remove(at) {
            self.queued_bytes -= bytes_of(&dropped.write);
            self.outcomes.push(Outcome::Dropped {
                ticket: dropped.write.ticket,
            });
        }
        true
    }
}

/// A packet in the making.
struct Packet<'o> {
    offer: &'o Offer,
    next: Seq,
    content: Vec<Vec<u8>>,
    bytes: usize,
    /// The first later record seen where `next` should have been.
    found_later: Option<Seq>,
}

impl<'o> Packet<'o> {
    fn new(offer: &'o Offer) -> Self {
        Packet {
            offer,
            next: offer.from,
            content: Vec::new(),
            bytes: 0,
            found_later: None,
        }
    }

    /// Looks at the next entry of the segment; `false` when the packet is complete.
    fn take(&mut self, entry: &Entry) -> bool {
        if entry.kind != ENTRY_RECORD && entry.kind != ENTRY_COPY {
            return true;
        }
        let Ok(stored) = parse_stored(&entry.payload) else {
            return true;
        };
        let RecordName { stream, seq } = stored.record.name;
        if stream != self.offer.stream || seq < self.next {
            return true;
        }
        if seq > self.next {
            self.found_later = Some(seq);
            return false;
        }
        if self.bytes + stored.bytes.len() > MAX_CONTENT_BYTES {
            return false;
        }
        self.bytes += stored.bytes.len();
        self.content.push(stored.bytes.to_vec());
        self.next = seq.next();
        seq < self.offer.to
    }

    fn finish(self) -> Packed {
        let Offer { id, to: last, .. } = *self.offer;
        let compression = match self.offer.lane {
            Lane::Live => Compression::Plain,
            Lane::Backlog => Compression::Deflate,
        };
        let records: Vec<&[u8]> = self.content.iter().map(Vec::as_slice).collect();
        let to = Seq(self.next.0.saturating_sub(1));
        match encode_packet(&records, compression) {
            Ok(packet) => Packed::Packet { id, to, packet },
            Err(_) => {
                let to = self
                    .found_later
                    .map_or(last, |seq| Seq(seq.0.saturating_sub(1)));
                Packed::Unreadable {
                    id,
                    from: self.next,
                    to: to.min(last),
                }
            }
        }
    }
}

fn found(entry: &Entry) -> Option<Found> {
    if entry.kind != ENTRY_RECORD && entry.kind != ENTRY_COPY {
        return None;
    }
    let stored = parse_stored(&entry.payload).ok()?;
    let kind = RecordKind::from_code(stored.record.kind);
    let payload = match kind {
        Some(RecordKind::Batch) => Bytes::new(),
        Some(
            RecordKind::Catalog | RecordKind::ClockMapping | RecordKind::Events | RecordKind::Loss,
        )
        | None => Bytes::copy_from_slice(&entry.payload),
    };
    let (name, readings, held) = (stored.record.name, stored.readings, stored.held);
    Some(Found {
        name,
        kind,
        readings,
        held,
        payload,
    })
}

fn place(position: Position) -> Place {
    Place {
        segment: position.segment,
        offset: position.offset,
    }
}

fn bytes_of(write: &Write) -> usize {
    write.items.iter().map(|item| item.payload.len()).sum()
}
