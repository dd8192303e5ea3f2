//! Ingest's steps: its tracker, its log and its archive; and the broker's.

use crate::model::Flaw;
use crate::state::{Ack, Backup, Body, Due, Held, Hold, Message, Name, State};
use crate::step::Unsynced;

impl State {
    pub(crate) fn handle_message(&mut self, message: &Message) {
        match message {
            Message::Packet(records) => {
                for record in records {
                    let front = &mut self.ingest.front;
                    let stream = record.name.stream;
                    front.streams.entry(stream).or_insert(Hold::Held);
                    // A loss that came before is not taken again.
                    let before = front.records.len();
                    front.records.entry(record.name).or_insert(record.body);
                    let is_new = front.records.len() > before;
                    if let Some(lost) = record.body.loss().filter(|_| is_new) {
                        front.streams.entry(lost.stream).or_insert(Hold::Held);
                    }
                    self.ingest.due.touched.insert(stream);
                }
                self.ingest.due.all |= !self.ingest.greeted;
            }
            Message::State(named) => {
                for hold in self.ingest.front.streams.values_mut() {
                    *hold = Hold::Unheld;
                }
                let named = named.iter().map(|stream| (*stream, Hold::Held));
                self.ingest.front.streams.extend(named);
                self.ingest.due.all = true;
            }
        }
        self.ingest.greeted = true;
    }

    pub(crate) fn commit_log(&mut self) {
        self.ingest.synced = self.ingest.front.clone();
        let synced = &self.ingest.synced;
        let lost = synced.records.values().filter_map(|body| body.loss());
        self.truth.stored.extend(synced.records.keys().copied());
        self.truth.stored.extend(lost);
        self.truth
            .wiped
            .retain(|name| !synced.records.contains_key(name));
    }

    pub(crate) fn acknowledge(&mut self, flaw: Option<Flaw>) {
        let due = std::mem::take(&mut self.ingest.due);
        let ack = self.ack(&due, flaw);
        self.broker.to_gateway.insert(ack);
    }

    /// What ingest says of the streams that are due.
    pub(crate) fn ack(&self, due: &Due, flaw: Option<Flaw>) -> Ack {
        let streams = &self.ingest.front.streams;
        let named = streams.iter().filter(|(stream, hold)| match due.all {
            true => **hold == Hold::Held,
            false => due.touched.contains(stream),
        });
        let said = named.map(|(stream, _)| {
            let mut seqs = self.ingest.front.says(*stream);
            if flaw == Some(Flaw::AckOnlyFirstRange) {
                let cut = first_range_end(seqs.iter().copied());
                seqs.retain(|seq| *seq <= cut);
            }
            (*stream, seqs)
        });
        Ack(said.collect())
    }

    pub(crate) fn archive(&mut self) {
        let synced = &self.ingest.synced;
        let archive = &mut self.ingest.archive;
        for (name, body) in &synced.records {
            if archive.applied.insert(*name)
                && let Body::Reading(reading) = body
            {
                *archive.effects.entry(*reading).or_default() += 1;
            }
        }
    }

    pub(crate) fn crash_ingest(&mut self, unsynced: Unsynced, flaw: Option<Flaw>) {
        match unsynced {
            Unsynced::Kept => self.commit_log(),
            Unsynced::Gone => self.ingest.front = self.ingest.synced.clone(),
        }
        if flaw == Some(Flaw::ForgetMarks) {
            self.ingest.front = Held::default();
            self.ingest.synced = Held::default();
            self.ingest.archive.applied.clear();
        }
        self.start_ingest();
    }

    pub(crate) fn take_backup(&mut self) {
        let synced = self.ingest.synced.clone();
        let archive = self.ingest.archive.clone();
        self.backup = Some(Backup { synced, archive });
    }

    pub(crate) fn restore_backup(&mut self) {
        let Some(backup) = self.backup.take() else {
            return;
        };
        let before: Vec<Name> = self.ingest.synced.records.keys().copied().collect();
        self.ingest.synced = backup.synced.clone();
        self.ingest.front = backup.synced;
        self.ingest.archive = backup.archive;
        let synced = &self.ingest.synced.records;
        let wiped = before.into_iter().filter(|name| !synced.contains_key(name));
        self.truth.wiped.extend(wiped);
        self.note_destroyed();
        self.start_ingest();
    }

    /// It subscribes, and the broker gives it the retained birth.
    fn start_ingest(&mut self) {
        self.ingest.due = Due::default();
        self.ingest.greeted = false;
        if let Some(streams) = self.broker.retained.clone() {
            self.broker.to_ingest.insert(Message::State(streams));
        }
    }

    pub(crate) fn forget_sessions(&mut self) {
        self.broker = crate::state::Broker::default();
        self.gateway.connected = false;
    }
}

/// The last seq of the mark, or of the first range where there is a gap below it.
fn first_range_end(seqs: impl Iterator<Item = u8>) -> u8 {
    let mut end = None;
    for seq in seqs {
        match end {
            None => end = Some(seq),
            Some(last) if seq == last + 1 => end = Some(seq),
            Some(_) => break,
        }
    }
    end.unwrap_or(0)
}
