//! The reference model: what was journalled, what was acknowledged, what was said to be lost; and the
//! checks against it. It knows names and bytes, and nothing of how the real parts work.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use furrow_ingest_core::{FORGET_AFTER_MS, GatewayKey, Tracker};
use furrow_wire::{
    Ack, BootId, ClockMapping, HeldStream, Loss, LossReason, RecordKind, RecordName, Seq, StreamId,
    parse_record,
};

use crate::archive::Tables;
use crate::reached::{Point, Reached};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which check noticed.
    pub check: &'static str,
    /// What it saw.
    pub text: String,
}

/// What excuses a loss, because somebody lied or broke a disk: how much weaker the promise is then
/// stands where it is used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Excuses {
    /// A bit of the card flipped.
    pub(crate) card_flipped: bool,
    /// The card lied.
    pub(crate) card_lied: bool,
    /// The card was replaced by an older image.
    pub(crate) card_restored: bool,
    /// Ingest was replaced by an older backup, or its disk lied or broke.
    pub(crate) ingest_lost: bool,
    /// Ingest's disk lied.
    pub(crate) ingest_lied: bool,
    /// The marks of ingest were damaged: then only the archive's own rules tell what is known.
    pub(crate) marks_lost: bool,
    /// The gateway's clock was ahead by more than ingest accepts.
    pub(crate) far_ahead: bool,
    /// The gateway's card was full.
    pub(crate) card_full: bool,
}

impl Excuses {
    /// Ingest's disk lied, and the card is damaged as well.
    fn both_sides(&self) -> bool {
        self.ingest_lied && (self.card_flipped || self.card_lied || self.card_restored)
    }
}

#[derive(Debug, Clone)]
struct Record {
    bytes: Bytes,
    kind: Option<RecordKind>,
    /// It is not to be offered before this boot's mapping is durable.
    held: Option<BootId>,
    /// The gateway was told that it is durable.
    durable: bool,
    /// Which commit made it so.
    commit: u64,
    /// Ingest has said that it holds it, and has not lost it by an excused fault since.
    acked: bool,
    /// Ingest has ever said so.
    ever_acked: bool,
    /// A loss that is durable tells of it.
    told: Option<LossReason>,
    /// That loss, latest.
    told_by: Option<RecordName>,
    /// That loss is not on the card any more, where a bit of the card flipped: whoever reads the card
    /// finds the record waiting, and has to tell of it again should it go.
    telling_gone: bool,
    /// The gateway could not read it back and is about to say so.
    unreadable: bool,
    /// Its segment went before the loss that tells of it was durable: there was no space for both.
    unsaid: bool,
    /// A fault destroyed it that nobody can do anything about.
    waived: bool,
}

impl Record {
    fn handle_told(&mut self, by: RecordName, reason: LossReason) {
        (self.told, self.told_by, self.telling_gone) = (Some(reason), Some(by), false);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    records: BTreeMap<RecordName, Record>,
    /// Which records the gateway's segments hold.
    segments: BTreeMap<u64, BTreeSet<RecordName>>,
    /// Streams that the gateway no longer named, and since when, milliseconds.
    unheld: BTreeMap<StreamId, u64>,
    /// Streams that the latest state which reached ingest did not name, and since when.
    unheld_at_ingest: BTreeMap<StreamId, u64>,
    /// Streams that were named again after ingest may have forgotten them: a card went back by more than
    /// a day.
    returned: BTreeSet<StreamId>,
    /// Boots whose mapping is durable.
    mapped: BTreeSet<BootId>,
    pub(crate) now_ms: u64,
    pub(crate) excuses: Excuses,
    pub(crate) reached: Reached,
    broken: Option<Broken>,
}

impl Book {
    /// The gateway says which streams it holds.
    pub(crate) fn handle_birth(&mut self, streams: &[HeldStream]) {
        let named: BTreeSet<StreamId> = streams.iter().map(|held| held.stream).collect();
        let known: BTreeSet<StreamId> = self.records.keys().map(|name| name.stream).collect();
        for stream in known {
            if named.contains(&stream) {
                if self.may_be_forgotten(stream) {
                    self.void_acks(stream);
                    self.returned.insert(stream);
                }
                self.unheld.remove(&stream);
            } else {
                self.unheld.entry(stream).or_insert(self.now_ms);
            }
        }
    }

    /// A state reached ingest. They come late, out of order, or never: ingest forgets by what it hears.
    pub(crate) fn handle_heard(&mut self, streams: &[HeldStream]) {
        let named: BTreeSet<StreamId> = streams.iter().map(|held| held.stream).collect();
        self.unheld_at_ingest
            .retain(|stream, _| !named.contains(stream));
        for name in self.records.keys() {
            if !named.contains(&name.stream) {
                let now_ms = self.now_ms;
                self.unheld_at_ingest.entry(name.stream).or_insert(now_ms);
            }
        }
    }

    /// A card was restored, or a liar's shows what it had days ago, after ingest forgot what was on it:
    /// it is offered, and stored, anew.
    fn void_acks(&mut self, stream: StreamId) {
        let name = |seq| RecordName {
            stream,
            seq: Seq(seq),
        };
        for record in self.records.range_mut(name(0)..=name(u64::MAX)) {
            record.1.acked = false;
        }
    }

    /// Whether ingest may have forgotten the stream: the gateway did not name it for a day, or no state that
    /// did has reached ingest for a day since one that did not (an old one may come late, and the broker
    /// lets the newer ones go after a day without ingest).
    fn may_be_forgotten(&self, stream: StreamId) -> bool {
        [&self.unheld, &self.unheld_at_ingest]
            .into_iter()
            .filter_map(|unheld| unheld.get(&stream))
            .filter_map(|since| i64::try_from(self.now_ms.saturating_sub(*since)).ok())
            .any(|ms| ms >= FORGET_AFTER_MS)
    }

    /// The first promise that was broken.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    pub(crate) fn fail(&mut self, check: &'static str, text: String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { check, text });
        }
    }

    /// A record is on its way into the journal.
    pub(crate) fn handle_written(&mut self, name: RecordName, bytes: &[u8], held: Option<BootId>) {
        let kind = parse_record(bytes)
            .ok()
            .and_then(|(raw, _)| RecordKind::from_code(raw.kind));
        let known = self.records.entry(name).or_insert_with(|| Record {
            bytes: Bytes::copy_from_slice(bytes),
            kind,
            held,
            durable: false,
            commit: 0,
            acked: false,
            ever_acked: false,
            told: None,
            told_by: None,
            telling_gone: false,
            unreadable: false,
            unsaid: false,
            waived: false,
        });
        if known.bytes != bytes {
            self.fail(
                "one name, one content",
                format!("{name} was written with other bytes"),
            );
        }
    }

    /// The gateway was told that a record is durable.
    pub(crate) fn handle_durable(&mut self, name: RecordName, segment: u64, commit: u64) {
        self.segments.entry(segment).or_default().insert(name);
        let Some(record) = self.records.get_mut(&name) else {
            return self.fail("one name, one content", format!("{name} was never written"));
        };
        record.durable = true;
        record.commit = commit;
        if record.kind == Some(RecordKind::ClockMapping)
            && let Ok((raw, _)) = parse_record(&record.bytes)
            && let Ok(mapping) = ClockMapping::decode(raw.body)
        {
            self.mapped.insert(mapping.boot);
        }
        if record.kind == Some(RecordKind::Loss)
            && let Ok((raw, _)) = parse_record(&record.bytes)
            && let Ok(loss) = Loss::decode(raw.body)
        {
            self.handle_loss(name, &loss);
        }
    }

    /// A loss is durable.
    fn handle_loss(&mut self, by: RecordName, loss: &Loss) {
        self.reached.note(match loss.reason {
            LossReason::CapReached => Point::LostAtCap,
            LossReason::Damaged => Point::LostDamaged,
            LossReason::DiskFull => Point::LostDiskFull,
        });
        // A restored ingest may ask for what was acknowledged and is no longer held: gone as well.
        let broken = self.excuses.card_flipped
            || self.excuses.card_lied
            || self.excuses.ingest_lost
            || self.reached.count(Point::Unsaid) > 0;
        if loss.reason == LossReason::Damaged && !broken {
            self.fail(
                "loss has a cause",
                format!("{loss:?}, but nothing is damaged"),
            );
        }
        let name = |seq| RecordName {
            stream: loss.stream,
            seq: Seq(seq),
        };
        let range = name(loss.from_seq.0)..=name(loss.to_seq.0);
        let (mut dropped, mut again) = (None, None);
        // Another card, or a liar's, may not hold the first loss any more.
        let may_repeat = self.excuses.card_restored || self.excuses.card_lied;
        let for_space = |reason| reason != LossReason::Damaged;
        for (name, record) in self.records.range_mut(range) {
            let is_known = record.told.is_some_and(for_space) && !record.telling_gone;
            if !may_repeat && for_space(loss.reason) && is_known {
                again = Some(*name);
            }
            record.handle_told(by, loss.reason);
            if record.kind != Some(RecordKind::Batch) && loss.reason != LossReason::Damaged {
                dropped = Some(*name);
            }
        }
        if let Some(name) = again {
            let text = format!("{name} is told as lost once more: {loss:?}");
            self.fail("a loss is told once", text);
        }
        if let Some(name) = dropped {
            self.fail(
                "events are never dropped",
                format!("{name} is told as lost: {loss:?}"),
            );
        }
    }

    /// A record was found on the card, or copied.
    pub(crate) fn handle_present(&mut self, name: RecordName, segment: u64) {
        self.segments.entry(segment).or_default().insert(name);
    }

    /// The gateway began again with what its card holds. `told` are losses found there.
    pub(crate) fn handle_restarted(
        &mut self,
        present: &BTreeMap<u64, BTreeSet<RecordName>>,
        last_commit: u64,
        told: &[(RecordName, Loss)],
    ) {
        self.segments.clone_from(present);
        for name in present.values().flatten() {
            if let Some(record) = self.records.get(name)
                && record.kind == Some(RecordKind::ClockMapping)
                && let Ok((raw, _)) = parse_record(&record.bytes)
                && let Ok(mapping) = ClockMapping::decode(raw.body)
            {
                self.mapped.insert(mapping.boot);
            }
        }
        let here: BTreeSet<RecordName> = present.values().flatten().copied().collect();
        let flipped = self.excuses.card_flipped;
        for record in self.records.values_mut() {
            let is_gone = record.told_by.is_some_and(|by| !here.contains(&by));
            record.telling_gone = flipped && is_gone;
        }
        for (by, loss) in told {
            for (name, record) in &mut self.records {
                if name.stream == loss.stream
                    && loss.from_seq <= name.seq
                    && name.seq <= loss.to_seq
                {
                    record.handle_told(*by, loss.reason);
                }
            }
        }
        let excuses = self.excuses;
        let mut gone = Vec::new();
        for (name, record) in &mut self.records {
            let owed = record.durable && !record.waived && !record.ever_acked;
            if !owed || record.told.is_some() || here.contains(name) {
                continue;
            }
            if excuses.card_lied || record.unsaid {
                // A liar: what it said is durable and nobody has acknowledged may be gone.
                record.waived = true;
            } else if excuses.card_flipped && record.commit == last_commit {
                // Damage in the very last commit can't be told from a write that the power cut.
                record.waived = true;
                self.reached.note(Point::TailDamaged);
            } else if excuses.card_flipped {
                // About to be told as damaged; a gap in any case.
                record.unreadable = true;
            } else {
                gone.push(*name);
            }
        }
        if let Some(name) = gone.first() {
            let text = format!(
                "{name} and {} more are gone after a restart",
                gone.len() - 1
            );
            self.fail("durable survives", text);
        }
    }

    /// The card is another, older one: what only the other one had is destroyed.
    pub(crate) fn handle_card_replaced(&mut self) {
        self.excuses.card_restored = true;
        for record in self.records.values_mut() {
            record.waived |= !record.ever_acked && record.durable;
            // Names that were never on it and come again would have other bytes: kept to notice.
        }
    }

    /// Records that an image holds are owed again.
    pub(crate) fn handle_on_card(&mut self, names: &BTreeSet<RecordName>) {
        for name in names {
            if let Some(record) = self.records.get_mut(name) {
                record.waived = false;
            }
        }
    }

    /// The gateway allows a segment to be reused.
    pub(crate) fn check_released(&mut self, segment: u64) {
        self.reached.note(Point::Released);
        let Some(names) = self.segments.get(&segment) else {
            return;
        };
        let elsewhere = |name: &RecordName| {
            let mut others = self
                .segments
                .iter()
                .filter(|(number, _)| **number != segment);
            others.any(|(_, names)| names.contains(name))
        };
        let owed = names.iter().find(|name| {
            self.records.get(name).is_some_and(|record| {
                !self.excuses.card_flipped
                    && !record.ever_acked
                    && record.told.is_none()
                    && !record.waived
                    && !record.unreadable
                    && !record.unsaid
                    && !elsewhere(name)
            })
        });
        if let Some(name) = owed {
            let text = format!("segment {segment} with {name}, which nobody acknowledged");
            self.fail("released only when acknowledged", text);
        }
    }

    /// Records can't be read back.
    pub(crate) fn handle_unreadable(&mut self, stream: StreamId, from: Seq, to: Seq) {
        if self.excuses.card_flipped || self.excuses.card_lied || self.excuses.ingest_lost {
            let name = |seq| RecordName { stream, seq };
            for (_, record) in self.records.range_mut(name(from)..=name(to)) {
                record.unreadable = true;
            }
        }
    }

    /// There is too little space to tell first (another program filled the disk, or the process died
    /// again and again at the cap): a segment goes at once. A power cut before the
    /// telling is durable loses both, and ingest shows a gap.
    pub(crate) fn handle_unsaid(&mut self, segment: u64) {
        self.reached.note(Point::Unsaid);
        for name in self.segments.get(&segment).into_iter().flatten() {
            if let Some(record) = self.records.get_mut(name) {
                record.unsaid = true;
            }
        }
    }

    /// A packet arrived at ingest.
    pub(crate) fn check_content(&mut self, name: RecordName, bytes: &[u8]) {
        match self.records.get(&name) {
            Some(Record {
                held: Some(boot), ..
            }) if !self.mapped.contains(boot) => {
                let text = format!("{name} was offered before boot {boot} was mapped");
                self.fail("mapped before offered", text);
            }
            Some(record) if record.bytes == bytes => {}
            Some(_) => self.fail(
                "one name, one content",
                format!("{name} arrived with other bytes"),
            ),
            None => self.fail("one name, one content", format!("{name} was never written")),
        }
    }

    /// Ingest tells the gateway what it holds.
    pub(crate) fn handle_acked(&mut self, ack: &Ack) {
        for marks in &ack.streams {
            if !marks.ranges.is_empty() {
                self.reached.note(Point::Ranges);
            }
            let name = |seq| RecordName {
                stream: marks.stream,
                seq: Seq(seq),
            };
            for (name, record) in self.records.range_mut(name(0)..=name(u64::MAX)) {
                if marks.holds(name.seq.0) {
                    record.acked = true;
                    record.ever_acked = true;
                }
            }
        }
    }

    /// What ingest would know after a power cut now must be all that it ever acknowledged.
    pub(crate) fn check_acked(&mut self, tracker: &Tracker, key: &GatewayKey) {
        let held = held(tracker, key);
        let lost = self.records.iter().find(|(name, record)| {
            record.acked && !held(name) && !self.may_be_forgotten(name.stream)
        });
        if let Some((name, _)) = lost {
            let text = format!("{name} was acknowledged and is not in the log");
            self.fail("acknowledged is durable", text);
        }
    }

    /// Ingest came back with less than it had, by an excused fault.
    pub(crate) fn handle_ingest_lost(&mut self, tracker: &Tracker, key: &GatewayKey) {
        let held = held(tracker, key);
        for (name, record) in &mut self.records {
            record.acked &= held(name);
        }
    }

    /// After every step of the archive.
    pub(crate) fn check_archive(&mut self, tables: &Tables) {
        let excused =
            self.excuses.marks_lost || self.excuses.card_restored || self.excuses.ingest_lost;
        let twice = tables.twice.iter();
        let mut known = twice.filter(|name| !self.returned.contains(&name.stream));
        if let Some(name) = known.next().filter(|_| !excused) {
            self.fail(
                "nothing is stored twice",
                format!("{name} came to the archive twice"),
            );
        }
        // A card that is replaced or lies forgets how far readings had reached.
        let forgets = self.excuses.card_restored || self.excuses.card_lied;
        if let Some((held, other)) = tables.collisions.first().filter(|_| !forgets) {
            let text = format!("readings of {held} and {other} have one time");
            self.fail("(series, time) is unique", text);
        }
        if let Some(name) = tables.misdated.first() {
            let text = format!("{name} has another time than its boot's mapping gives");
            self.fail("a boot has one mapping", text);
        }
        let refused = tables.dead.iter().find(|(_, reason)| {
            !(self.excuses.far_ahead && reason.contains("ahead of its receipt"))
        });
        if let Some((name, reason)) = refused {
            self.fail("nothing is refused", format!("{name}: {reason}"));
        }
        if tables.garbage > 0 {
            self.fail("nothing is refused", "bytes that are no record".to_owned());
        }
    }

    /// At the end: everything that is owed is stored, or said to be lost.
    pub(crate) fn check_end(
        &mut self,
        tables: &Tables,
        tracker: &Tracker,
        key: &GatewayKey,
        on_card: &BTreeSet<RecordName>,
    ) {
        let held = held(tracker, key);
        let damaged =
            self.excuses.card_flipped || self.excuses.card_lied || self.excuses.ingest_lost;
        let mut gap_points = 0;
        let mut lost = None;
        for (name, record) in &self.records {
            if !record.durable || record.waived || is_stored(*name, record, tables) {
                continue;
            }
            let told = tables.losses.values().any(|loss| {
                loss.stream == name.stream && loss.from_seq <= name.seq && name.seq <= loss.to_seq
            });
            if told && (record.kind == Some(RecordKind::Batch) || damaged) {
                continue;
            }
            // Gone on both sides, or it would have been given again.
            if (damaged || record.unsaid) && !held(name) && !on_card.contains(name) {
                // Shown, since ingest does not claim to have it.
                gap_points += 1;
                continue;
            }
            if self.excuses.both_sides() {
                continue;
            }
            if (damaged || self.excuses.card_restored) && tables.parked.contains_key(name) {
                // An older configuration's catalog or a mapping is gone on both sides: the record is
                // kept and shown as parked.
                continue;
            }
            lost.get_or_insert((*name, record.kind, held(name)));
        }
        self.reached.add(Point::Gap, gap_points);
        let forgotten = self.unheld.keys().filter(|stream| {
            let mut known = tracker.iter();
            self.may_be_forgotten(**stream) && !known.any(|(_, id, _)| id == **stream)
        });
        let forgotten = forgotten.count() as u64;
        self.reached.add(Point::StreamForgotten, forgotten);
        if let Some((name, kind, held)) = lost {
            let text = format!("{name} ({kind:?}) is not in the archive; marks say held: {held}");
            self.fail("everything arrives", text);
        }
    }
}

fn is_stored(name: RecordName, record: &Record, tables: &Tables) -> bool {
    let body = parse_record(&record.bytes).map(|(raw, _)| raw.body);
    let body = body.unwrap_or_default();
    match record.kind {
        Some(RecordKind::Batch | RecordKind::Events) | None => {
            tables.records.contains_key(&name) || tables.dead.contains_key(&name)
        }
        Some(RecordKind::Loss) => tables.losses.contains_key(&name),
        Some(RecordKind::Catalog) => tables
            .catalogs
            .contains_key(&furrow_wire::Catalog::hash(body)),
        Some(RecordKind::ClockMapping) => ClockMapping::decode(body)
            .is_ok_and(|mapping| tables.mappings.contains_key(&mapping.boot)),
    }
}

/// What the tracker holds.
fn held<'t>(tracker: &'t Tracker, key: &'t GatewayKey) -> impl Fn(&RecordName) -> bool + 't {
    let marks: BTreeMap<_, _> = tracker
        .iter()
        .filter(|(owner, _, _)| *owner == key)
        .map(|(_, stream, known)| (stream, known.track.marks(stream)))
        .collect();
    move |name| {
        marks
            .get(&name.stream)
            .is_some_and(|marks| marks.holds(name.seq.0))
    }
}
