//! The gateway's steps: its journal and its outbox.

use std::collections::BTreeSet;

use crate::model::Flaw;
use crate::state::{Ack, Body, Gateway, Message, Name, Record, State, Stream};
use crate::step::Unsynced;

impl Gateway {
    pub(crate) fn is_waiting(&self, name: Name) -> bool {
        !self.settled.contains(&name) && self.journal.iter().any(|record| record.name == name)
    }

    /// Streams with records in the journal.
    pub(crate) fn streams(&self) -> BTreeSet<Stream> {
        let records = self.journal.iter();
        records.map(|record| record.name.stream).collect()
    }

    /// Waiting records that one packet can take: of one stream, consecutive.
    pub(crate) fn stretches(&self) -> Vec<(Stream, u8, u8)> {
        let mut names: Vec<Name> = self.journal.iter().map(|record| record.name).collect();
        names.retain(|name| self.is_waiting(*name));
        names.sort_unstable();
        names.dedup();
        let mut out = Vec::new();
        for (at, first) in names.iter().enumerate() {
            let mut last = *first;
            out.push((first.stream, first.seq, last.seq));
            for next in names.iter().skip(at + 1) {
                if next.stream != last.stream || next.seq != last.seq + 1 {
                    break;
                }
                last = *next;
                out.push((first.stream, first.seq, last.seq));
            }
        }
        out
    }

    fn append(&mut self, body: Body) {
        let name = Name {
            stream: self.stream,
            seq: self.next_seq,
        };
        self.next_seq += 1;
        self.pending.push(Record { name, body });
    }

    /// What losses in the journal tell of is never offered again.
    fn told_lost(&self) -> BTreeSet<Name> {
        let losses = self.journal.iter().filter_map(|record| record.body.loss());
        losses.collect()
    }

    fn records(&self, stream: Stream, from: u8, to: u8) -> Vec<Record> {
        let mut records: Vec<Record> = self.journal.clone();
        records.retain(|record| {
            record.name.stream == stream && (from..=to).contains(&record.name.seq)
        });
        records.sort_unstable();
        records
    }
}

impl State {
    pub(crate) fn journal(&mut self, reading: u8) {
        self.gateway.append(Body::Reading(reading));
    }

    pub(crate) fn commit(&mut self) {
        let pending = std::mem::take(&mut self.gateway.pending);
        for record in &pending {
            // The segment that was given up goes once its loss is durable.
            if let Some(lost) = record.body.loss() {
                self.gateway.journal.retain(|kept| kept.name != lost);
                self.gateway.settled.remove(&lost);
            }
        }
        self.make_durable(pending);
    }

    fn make_durable(&mut self, pending: Vec<Record>) {
        for record in &pending {
            if let Body::Reading(reading) = record.body {
                self.truth.journalled.insert(reading, record.name);
            }
        }
        self.gateway.journal.extend(pending);
    }

    pub(crate) fn evict(&mut self, name: Name, flaw: Option<Flaw>) {
        self.gateway.append(Body::Loss(name));
        if flaw == Some(Flaw::DropBeforeLoss) {
            self.gateway.journal.retain(|record| record.name != name);
        }
    }

    pub(crate) fn recycle(&mut self, name: Name) {
        self.gateway.journal.retain(|record| record.name != name);
        self.gateway.settled.remove(&name);
        // Acknowledged by an ingest that has lost it since: nobody could know.
        if self.truth.wiped.contains(&name) {
            self.note_destroyed();
        }
    }

    pub(crate) fn connect(&mut self) {
        self.gateway.connected = true;
        self.say_birth();
    }

    pub(crate) fn say_birth(&mut self) {
        let streams = self.gateway.streams();
        self.broker.retained = Some(streams.clone());
        self.broker.to_ingest.insert(Message::State(streams));
    }

    pub(crate) fn offer(&mut self, stream: Stream, from: u8, to: u8, flaw: Option<Flaw>) {
        let records = self.gateway.records(stream, from, to);
        if flaw == Some(Flaw::ForgetOnPuback) {
            let names = records.iter().map(|record| record.name);
            self.gateway.settled.extend(names);
        }
        self.broker.to_ingest.insert(Message::Packet(records));
    }

    /// For each stream that it names, an acknowledgement is complete: what it lists is settled, and
    /// what it does not list is not, or no longer.
    pub(crate) fn handle_ack(&mut self, ack: &Ack, flaw: Option<Flaw>) {
        let told_lost = self.gateway.told_lost();
        for record in &self.gateway.journal {
            let name = record.name;
            let Some(held) = ack.0.get(&name.stream) else {
                continue;
            };
            if held.contains(&name.seq) {
                self.gateway.settled.insert(name);
            } else if !told_lost.contains(&name) && flaw != Some(Flaw::TakeNothingBack) {
                self.gateway.settled.remove(&name);
            }
        }
    }

    pub(crate) fn crash_gateway(&mut self, unsynced: Unsynced, flaw: Option<Flaw>) {
        let pending = std::mem::take(&mut self.gateway.pending);
        match unsynced {
            Unsynced::Kept => self.make_durable(pending),
            Unsynced::Gone => {}
        }
        self.start_gateway(flaw);
    }

    pub(crate) fn restore_image(&mut self, flaw: Option<Flaw>) {
        self.gateway.pending.clear();
        self.gateway.journal = self.image.take().unwrap_or_default();
        self.start_gateway(flaw);
        self.note_destroyed();
    }

    /// A new stream; everything in the journal waits again but what is told lost.
    fn start_gateway(&mut self, flaw: Option<Flaw>) {
        let gateway = &mut self.gateway;
        gateway.connected = false;
        gateway.settled = gateway.told_lost();
        let journal = &gateway.journal;
        gateway
            .settled
            .retain(|name| journal.iter().any(|record| record.name == *name));
        let last = gateway.journal.last().map(|record| record.name);
        (gateway.stream, gateway.next_seq) = if flaw == Some(Flaw::ReuseSeq) {
            last.map_or((gateway.stream, 1), |last| (last.stream, last.seq + 1))
        } else {
            (gateway.stream + 1, 1)
        };
    }
}
