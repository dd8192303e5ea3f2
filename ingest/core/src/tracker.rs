//! Which records ingest has, of all gateways: the one place that decides new, duplicate or refused.
//!
//! It runs twice over the same log: in front, before an entry is appended, to know what to
//! acknowledge; and behind, when the entry is read back, to know what to store. Both must come to
//! the same answer, so its state depends on nothing but the entries and their order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use furrow_wire::{CooperativeId, GatewayId, HeldStream, RecordName, Seq, StreamId, StreamMarks};
use serde::{Deserialize, Serialize};

use crate::missing::{Missing, Word, revised};
use crate::seen::Seen;
use crate::stream::{SeqRange, StreamTrack, Verdict};

/// Streams remembered per gateway. A stream is drawn at each start of a gateway's process, so this
/// many starts within [`FORGET_AFTER_MS`] still fit; beyond it the longest unheld one is forgotten.
pub const MAX_STREAMS_PER_GATEWAY: usize = 1_024;
/// How long a stream is remembered after the gateway no longer holds it, in milliseconds: longer than
/// the broker keeps a packet, so that a late copy is still known as a duplicate.
pub const FORGET_AFTER_MS: i64 = 24 * 3_600 * 1_000;

/// A gateway, as authenticated by the broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayKey {
    /// The tenant.
    pub cooperative: CooperativeId,
    /// The gateway.
    pub gateway: GatewayId,
}

/// Something with a name that a packet offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The record's name.
    pub name: RecordName,
    /// For a loss: which seqs of which stream will never come.
    pub lost: Option<(StreamId, SeqRange)>,
}

/// An offer, and what its bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// What is offered.
    pub offer: Offer,
    /// CRC-32C of the encoded record, header included.
    pub checksum: u32,
}

/// What becomes of a record of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Not held yet: store it.
    New,
    /// Held already, with the same bytes as far as is remembered: store nothing.
    Duplicate,
    /// Beyond what can be held: store nothing, acknowledge nothing.
    Beyond,
    /// Its name is held with other bytes: keep it aside, it is not what is held.
    Conflict,
}

/// A stream of which a gateway holds less than it has delivered: its journal went back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetBack {
    /// Which.
    pub stream: StreamId,
    /// The last record that the gateway holds, by its word.
    pub held_last: u64,
    /// The last record that it delivered.
    pub stored_last: u64,
}

/// Seqs of one stream that will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The stream.
    pub stream: StreamId,
    /// First and last missing seq.
    pub range: SeqRange,
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Stored, known or refused.
    pub verdict: Verdict,
    /// What a loss turned out to have taken; empty for other records.
    pub gaps: Vec<Gap>,
}

/// All gateways' streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracker {
    gateways: BTreeMap<GatewayKey, Streams>,
}

/// Boxed: most gateways have one stream, and a map has room for eleven from the first one on.
type Streams = BTreeMap<StreamId, Box<Remembered>>;

/// A stream and since when the gateway holds it no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// What is held of it.
    pub track: StreamTrack,
    /// Receive time of the first state that did not name it, Unix milliseconds.
    pub unheld_since_ms: Option<i64>,
    /// What is missing of it. Sorted.
    #[serde(default)]
    missing: Vec<Missing>,
    #[serde(default)]
    seen: Seen,
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cooperative, self.gateway)
    }
}

impl Tracker {
    /// What [`Tracker::apply`] would answer.
    #[must_use]
    pub fn verdict(&self, key: &GatewayKey, offer: &Offer) -> Verdict {
        let streams = self.gateways.get(key);
        if let Some((stream, _)) = offer.lost {
            // A loss may need two ranges, perhaps in two streams: tried on copies. Losses are rare.
            let mut trial = Tracker::default();
            let copies = trial.gateways.entry(key.clone()).or_default();
            for id in [offer.name.stream, stream] {
                if let Some(known) = streams.and_then(|streams| streams.get(&id)) {
                    copies.insert(id, known.clone());
                }
            }
            return trial.apply(key, offer).verdict;
        }
        match streams.and_then(|streams| streams.get(&offer.name.stream)) {
            Some(known) => known.track.verdict(offer.name.seq),
            None => Verdict::New,
        }
    }

    /// Takes an offer. A loss is taken as a whole or refused as a whole.
    pub fn apply(&mut self, key: &GatewayKey, offer: &Offer) -> Outcome {
        let outcome = |verdict, gaps| Outcome { verdict, gaps };
        let streams = self.gateways.entry(key.clone()).or_default();
        let Some((stream, range)) = offer.lost else {
            let verdict = stream_of(streams, offer.name.stream)
                .track
                .accept(offer.name.seq);
            return outcome(verdict, Vec::new());
        };
        let own = &mut stream_of(streams, offer.name.stream).track;
        let before = own.clone();
        let verdict = own.accept(offer.name.seq);
        if verdict != Verdict::New {
            return outcome(verdict, Vec::new());
        }
        let Some(missing) = stream_of(streams, stream).track.cover(range) else {
            stream_of(streams, offer.name.stream).track = before;
            return outcome(Verdict::Beyond, Vec::new());
        };
        let gaps = missing
            .into_iter()
            .map(|range| Gap { stream, range })
            .collect();
        outcome(Verdict::New, gaps)
    }

    /// Whether [`Tracker::apply_packet`] would change anything: if not, the packet need not be logged.
    #[must_use]
    pub fn has_news(&self, key: &GatewayKey, records: &[Offered]) -> bool {
        records.iter().any(|record| match self.taken(key, record) {
            Taken::New | Taken::Conflict => true,
            Taken::Duplicate | Taken::Beyond => false,
        })
    }

    /// What [`Tracker::apply_packet`] would do with one record.
    #[must_use]
    pub fn taken(&self, key: &GatewayKey, record: &Offered) -> Taken {
        let name = record.offer.name;
        match self.verdict(key, &record.offer) {
            Verdict::New => Taken::New,
            Verdict::Beyond => Taken::Beyond,
            Verdict::Duplicate => {
                let streams = self.gateways.get(key);
                let known = streams.and_then(|streams| streams.get(&name.stream));
                let conflicts =
                    known.is_some_and(|known| known.seen.conflicts(name.seq, record.checksum));
                if conflicts {
                    Taken::Conflict
                } else {
                    Taken::Duplicate
                }
            }
        }
    }

    /// Takes the records of a packet, in order.
    pub fn apply_packet(
        &mut self,
        key: &GatewayKey,
        records: &[Offered],
        received_ms: i64,
    ) -> Vec<Taken> {
        let mut touched = BTreeSet::new();
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            let taken = self.taken(key, record);
            self.apply(key, &record.offer);
            let name = record.offer.name;
            let streams = self.gateways.entry(key.clone()).or_default();
            match taken {
                Taken::New | Taken::Conflict => {
                    let known = stream_of(streams, name.stream);
                    known.seen.note(name.seq, record.checksum);
                }
                Taken::Duplicate | Taken::Beyond => {}
            }
            touched.insert(name.stream);
            touched.extend(record.offer.lost.map(|(stream, _)| stream));
            all.push(taken);
        }
        if let Some(streams) = self.gateways.get_mut(key) {
            for stream in touched {
                if let Some(known) = streams.get_mut(&stream) {
                    known.revise(Word::None, received_ms);
                }
            }
        }
        all
    }

    /// What is missing of a gateway's streams; nothing for a stream of which everything has come.
    #[must_use]
    pub fn missing_of(&self, key: &GatewayKey) -> BTreeMap<StreamId, Vec<Missing>> {
        let streams = self.gateways.get(key).into_iter().flatten();
        streams
            .filter(|(_, known)| !known.missing.is_empty())
            .map(|(stream, known)| (*stream, known.missing.clone()))
            .collect()
    }

    /// Streams that end, on the gateway's card, before what it has delivered: the card was replaced by
    /// an older image, or cloned. `held` is oldest first; the newest stream is still written, so an old
    /// message may truly name less of it. It is a sign, not a proof: a full card may reuse the end of a
    /// stream, once delivered, before its beginning is.
    #[must_use]
    pub fn set_back(&self, key: &GatewayKey, held: &[HeldStream]) -> Vec<SetBack> {
        let finished = held.split_last().map_or(held, |(_, finished)| finished);
        let streams = self.gateways.get(key);
        finished
            .iter()
            .filter_map(|entry| {
                let known = streams?.get(&entry.stream)?;
                let stored_last = known.track.last().0;
                (entry.last < stored_last).then_some(SetBack {
                    stream: entry.stream,
                    held_last: entry.last,
                    stored_last,
                })
            })
            .collect()
    }

    /// Whether [`Tracker::handle_state`] would change anything: if not, the state need not be logged.
    #[must_use]
    pub fn is_moved_by(&self, key: &GatewayKey, held: &[HeldStream], received_ms: i64) -> bool {
        let mut trial = Tracker::default();
        let streams = self.gateways.get(key).cloned().unwrap_or_default();
        trial.gateways.insert(key.clone(), streams.clone());
        trial.handle_state(key, held, received_ms);
        trial.gateways.get(key) != Some(&streams)
    }

    /// The gateway says which streams it holds. One that has not been held for a day is forgotten.
    pub fn handle_state(&mut self, key: &GatewayKey, held: &[HeldStream], received_ms: i64) {
        let streams = self.gateways.entry(key.clone()).or_default();
        for entry in held {
            let known = stream_of(streams, entry.stream);
            known.unheld_since_ms = None;
            // "None yet" of the stream that is written says nothing of what was written before.
            let word = if entry.last == 0 {
                Word::None
            } else {
                Word::HoldsFrom(entry.first)
            };
            known.revise(word, received_ms);
        }
        let named: BTreeSet<StreamId> = held.iter().map(|entry| entry.stream).collect();
        streams.retain(|stream, known| {
            if named.contains(stream) {
                return true;
            }
            let since = *known.unheld_since_ms.get_or_insert(received_ms);
            known.revise(Word::HoldsNothing, received_ms);
            received_ms.saturating_sub(since) < FORGET_AFTER_MS
        });
        if streams.is_empty() {
            self.gateways.remove(key);
        }
    }

    /// What neither side holds: below the first seq that the gateway waits with, and never stored.
    /// The mark stays where it is: a gateway that still has the bytes may offer them again.
    #[must_use]
    pub fn missing(&self, key: &GatewayKey, held: &[HeldStream]) -> Vec<Gap> {
        let unknown = StreamTrack::default();
        let streams = self.gateways.get(key);
        held.iter()
            .flat_map(|entry| {
                let known = streams.and_then(|streams| streams.get(&entry.stream));
                let track = known.map_or(&unknown, |known| &known.track);
                let missing = track.missing_in((1, entry.first.saturating_sub(1)));
                missing.into_iter().map(|range| Gap {
                    stream: entry.stream,
                    range,
                })
            })
            .collect()
    }

    /// What is held of some streams, or of all that the gateway still holds.
    #[must_use]
    pub fn marks(
        &self,
        key: &GatewayKey,
        streams: Option<&BTreeSet<StreamId>>,
    ) -> Vec<StreamMarks> {
        let Some(known) = self.gateways.get(key) else {
            return Vec::new();
        };
        known
            .iter()
            .filter(|(stream, known)| match streams {
                Some(wanted) => wanted.contains(stream),
                None => known.unheld_since_ms.is_none(),
            })
            .map(|(stream, known)| known.track.marks(*stream))
            .collect()
    }

    /// The highest contiguous seq of one stream; 0 when it is unknown.
    #[must_use]
    pub fn mark(&self, key: &GatewayKey, stream: StreamId) -> Seq {
        let known = self
            .gateways
            .get(key)
            .and_then(|streams| streams.get(&stream));
        known.map_or(Seq(0), |known| known.track.mark())
    }

    /// Forgets what is held of a cooperative: what was stored of it is not there any more.
    pub fn forget(&mut self, cooperative: &CooperativeId) {
        self.gateways
            .retain(|key, _| key.cooperative != *cooperative);
    }

    /// Everything, for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (&GatewayKey, StreamId, &Remembered)> {
        self.gateways.iter().flat_map(|(key, streams)| {
            streams
                .iter()
                .map(move |(stream, known)| (key, *stream, known.as_ref()))
        })
    }
}

impl Remembered {
    fn revise(&mut self, word: Word, now_ms: i64) {
        // The usual case: everything has come, and the gateway's word changes nothing.
        let is_whole = self.missing.is_empty() && self.track.ranges().is_empty();
        let first = match word {
            Word::HoldsFrom(first) => first,
            Word::None | Word::HoldsNothing => 1,
        };
        if !is_whole || first > self.track.mark().0.saturating_add(1) {
            self.missing = revised(&self.track, &self.missing, word, now_ms);
        }
    }
}

impl FromIterator<(GatewayKey, StreamId, Remembered)> for Tracker {
    fn from_iter<I: IntoIterator<Item = (GatewayKey, StreamId, Remembered)>>(parts: I) -> Self {
        let mut tracker = Tracker::default();
        for (key, stream, known) in parts {
            tracker
                .gateways
                .entry(key)
                .or_default()
                .insert(stream, Box::new(known));
        }
        tracker
    }
}

/// The stream's entry; makes room by forgetting the one that has not been held for longest, or, if
/// all are held, the one with the lowest id (a gateway that holds a thousand streams is broken).
fn stream_of(streams: &mut Streams, stream: StreamId) -> &mut Remembered {
    if !streams.contains_key(&stream) && streams.len() >= MAX_STREAMS_PER_GATEWAY {
        let oldest = streams
            .iter()
            .min_by_key(|(id, known)| (known.unheld_since_ms.unwrap_or(i64::MAX), **id))
            .map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            streams.remove(&oldest);
        }
    }
    streams.entry(stream).or_default()
}

#[cfg(test)]
mod tests;
