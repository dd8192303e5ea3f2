//! Behind the log: reads it in order, decides again which records are new, and fills the archive.
//!
//! The decisions are the front's, made once more from the log alone, so a restart comes to the same.
//! What the archive has applied is not handed over again. Segments that everything has passed are let
//! go once the archive's files and a snapshot of the marks are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use furrow_ingest_core::{GatewayKey, Missing, Offered, Taken, Tracker};
use furrow_journal::{Disk, Entry, Position};
use furrow_wire::{CooperativeId, StreamId, decode_packet};

use super::chain::Chain;
use super::derived::{DataDir, Derived};
use super::entry::{EntryKind, LogRecord, Rerun};
use super::front::offered_of;
use super::recover::follow_state;
use super::snapshot::{Snapshot, SnapshotError};
use super::{Eras, Grip, Hold, Log};
use crate::archive::{ArchiveError, Change, LogEntry};
use crate::decode::{Decoder, split};
use crate::deletion::Deletion;
use crate::http::Fleet;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::remote::Board;

mod deletion;
mod outage;
mod remote;
mod thread;

pub use thread::ConsumerThread;

use remote::{remote_change, tick_of};

/// Entries in one transaction of the archive at most.
const GROUP_ENTRIES: usize = 1_024;
/// Bytes of entries in one transaction at most.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// What it needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct ConsumerSetup {
    /// How it holds the log behind its checkpoint.
    pub hold: Hold,
    /// Where the state of gateways is shown.
    pub fleet: Fleet,
    /// Where gateways' times are told.
    pub board: Board,
    /// Figures.
    pub metrics: Metrics,
}

/// The reader of the log.
#[derive(Debug)]
pub struct Consumer<D: Disk, S: Derived = DataDir> {
    log: Arc<Log<D>>,
    derived: S,
    tracker: Tracker,
    decoder: Decoder,
    eras: Eras,
    position: Position,
    /// Of everything read so far.
    chain: Chain,
    /// Their entries are dropped.
    deleted: BTreeSet<CooperativeId>,
    /// Decided on and not yet applied by all archives.
    group: Option<Group>,
    checkpoint: Position,
    setup: ConsumerSetup,
    figures: Figures,
}

#[derive(Debug)]
struct Group {
    deletions: Vec<Deletion>,
    entries: BTreeMap<CooperativeId, Vec<LogEntry>>,
    gateways: BTreeSet<GatewayKey>,
    next: Position,
}

#[derive(Debug)]
struct Figures {
    entries: Counter,
    unreadable: Counter,
    skipped: Counter,
    held: Counter,
    deleted: Counter,
    given_up: Counter,
    dead: Counter,
    archive_errors: Counter,
    log_bytes: Gauge,
}

impl<D: Disk, S: Derived> Consumer<D, S> {
    /// Goes on at the snapshot's position, with marks of that position and a decoder as the archive
    /// knows it.
    #[must_use]
    pub fn new(
        log: Arc<Log<D>>,
        derived: S,
        decoder: Decoder,
        snapshot: Snapshot,
        setup: ConsumerSetup,
    ) -> Self {
        let Snapshot {
            position,
            tracker,
            eras,
            archives: _,
            chain,
        } = snapshot;
        let figures = Figures::new(&setup.metrics);
        let (eras, checkpoint) = (Eras::new(eras), position);
        log.hold(&setup.hold, position);
        Self {
            log,
            deleted: derived.deleted(),
            derived,
            tracker,
            decoder,
            eras,
            position,
            chain: Chain(chain),
            group: None,
            checkpoint,
            setup,
            figures,
        }
    }

    /// Applies the next group. Says how many entries it had; 0: it is at the end.
    ///
    /// # Errors
    /// The archive's: call again, the group is kept.
    pub fn step(&mut self) -> Result<usize, ArchiveError> {
        if self.group.is_none() {
            let read = self.read();
            if read.is_empty() {
                self.skip_to_end();
                return Ok(0);
            }
            self.group = Some(self.decide(read));
        }
        self.apply_deletions()?;
        let Some(group) = &mut self.group else {
            return Ok(0);
        };
        let mut count = 0;
        while let Some((cooperative, entries)) = group.entries.first_key_value() {
            match self.derived.apply(cooperative, entries) {
                // It was removed from the configuration: its entries have nowhere to go.
                Ok(_) | Err(ArchiveError::UnknownCooperative(_)) => {}
                // The log keeps them: see the checkpoint.
                Err(ArchiveError::OutOfService(_)) => self.figures.held.add(entries.len() as u64),
                Err(error) => return Err(error),
            }
            count += entries.len();
            group.entries.pop_first();
        }
        self.position = group.next;
        // Of all readers of the log the archive alone holds it whatever happens.
        if self.setup.hold.grip == Grip::Firm {
            self.log.note_applied(self.position);
        }
        for key in &group.gateways {
            let (parked, dead) = self.decoder.counts(key);
            self.setup
                .fleet
                .update(&key.cooperative, &key.gateway, |status| {
                    status.parked = parked;
                    status.dead = dead;
                });
        }
        self.group = None;
        self.figures.entries.add(count as u64);
        Ok(count.max(1))
    }

    /// Makes what was applied durable, stores a snapshot, lets segments go. Not while an archive is out of service and
    /// there is room: see `outage`.
    ///
    /// # Errors
    /// When something can't be made durable: no segment is let go then.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        // The marks count a group as soon as it is decided on: a restart would take what the archive
        // has still to get for known.
        if self.group.is_some() {
            return Err(CheckpointError::Behind);
        }
        self.derived.make_durable()?;
        let out = self.derived.out_of_service();
        if !out.is_empty() && !self.log.is_short() {
            self.figures.log_bytes.set(self.log.release_passed());
            return Ok(());
        }
        let position = self.position;
        let snapshot = Snapshot {
            position,
            tracker: self.tracker.clone(),
            eras: self.eras.to_stored(),
            archives: self.archives(&out),
            chain: self.chain.0,
        };
        self.give_up(&out);
        self.derived.store_marks(&snapshot)?;
        self.checkpoint = position;
        let needed = self.derived.needs_from(position);
        self.log.move_hold(&self.setup.hold, needed);
        self.figures.log_bytes.set(self.log.release_passed());
        Ok(())
    }

    /// Everything before it has been applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// What it fills.
    #[must_use]
    pub fn derived(&self) -> &S {
        &self.derived
    }

    /// The same, to be changed.
    pub fn derived_mut(&mut self) -> &mut S {
        &mut self.derived
    }

    /// What it filled, at its end.
    #[must_use]
    pub fn into_derived(self) -> S {
        self.derived
    }

    /// What is held, as far as it has read.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    fn read(&self) -> Vec<Entry> {
        let journal = self.log.journal();
        let (mut read, mut bytes) = (Vec::new(), 0);
        for entry in journal.entries_from(self.position) {
            match entry {
                Ok(entry) => {
                    bytes += entry.payload.len();
                    read.push(entry);
                }
                Err(error) => {
                    self.figures.unreadable.increment();
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "log entry can't be read; the next one is");
                    // The iterator steps over damage; an unreadable disk would repeat for ever.
                    if read.is_empty() {
                        continue;
                    }
                    break;
                }
            }
            if read.len() >= GROUP_ENTRIES || bytes >= GROUP_BYTES {
                break;
            }
        }
        read
    }

    fn decide(&mut self, read: Vec<Entry>) -> Group {
        let next = read.last().map_or(self.position, |entry| entry.next);
        let out = self.derived.out_of_service();
        let mut group = Group {
            deletions: Vec::new(),
            entries: BTreeMap::new(),
            gateways: BTreeSet::new(),
            next,
        };
        for entry in read {
            if entry.preamble {
                continue;
            }
            self.chain.push(&entry);
            let chain = self.chain.0;
            let record = match LogRecord::decode(entry.kind, entry.payload) {
                Ok(record) => record,
                Err(error) => {
                    self.figures.unreadable.increment();
                    tracing::error!(position = %entry.position, %error, "log entry skipped");
                    continue;
                }
            };
            if self.handle_deletion(&record, entry.position, &mut group) {
                continue;
            }
            let cooperative = record.gateway.cooperative.clone();
            let position = self.eras.archive_position(entry.position);
            let is_applied = self
                .derived
                .position(&cooperative)
                .is_some_and(|applied| position <= applied);
            let is_out = out.contains(&cooperative);
            let changes = self.changes(&record, is_applied || is_out);
            if is_out {
                self.figures.held.increment();
                continue;
            }
            if is_applied {
                self.figures.skipped.increment();
                continue;
            }
            let is_dead = |change: &&Change| matches!(change, Change::DeadLetter { .. });
            self.figures
                .dead
                .add(changes.iter().filter(is_dead).count() as u64);
            for tick in changes.iter().filter_map(tick_of) {
                self.setup.board.handle_heard(&record.gateway, tick);
            }
            group.gateways.insert(record.gateway);
            group
                .entries
                .entry(cooperative)
                .or_default()
                .push(LogEntry {
                    position,
                    chain,
                    changes,
                });
        }
        group
    }

    /// What an entry changes. The marks move in any case; what has been applied changes nothing more.
    fn changes(&mut self, record: &LogRecord, is_applied: bool) -> Vec<Change> {
        let key = &record.gateway;
        let before = self.tracker.missing_of(key);
        let mut changes = match record.kind {
            EntryKind::State => {
                follow_state(&mut self.tracker, record);
                Vec::new()
            }
            EntryKind::Packet => self.packet_changes(record, is_applied),
            EntryKind::Rerun
            | EntryKind::Wake
            | EntryKind::Command
            | EntryKind::Result
            | EntryKind::Orders
                if is_applied =>
            {
                Vec::new()
            }
            EntryKind::Delete => Vec::new(),
            EntryKind::Wake => self.decoder.handle_wake(key).unwrap_or_default(),
            EntryKind::Rerun => {
                let rerun = Rerun::decode(&record.bytes).ok();
                let change = rerun.and_then(|rerun| self.decoder.handle_rerun(key, &rerun));
                change.into_iter().collect()
            }
            EntryKind::Command | EntryKind::Result | EntryKind::Orders => {
                match remote_change(record) {
                    Ok(change) => change.into_iter().collect(),
                    Err(error) => {
                        self.figures.unreadable.increment();
                        tracing::error!(gateway = %key, %error, "log entry skipped");
                        Vec::new()
                    }
                }
            }
        };
        if !is_applied {
            changes.extend(self.missing_changes(key, &before));
        }
        changes
    }

    fn packet_changes(&mut self, record: &LogRecord, is_applied: bool) -> Vec<Change> {
        let (key, received) = (&record.gateway, record.received_unix_ms);
        let content = match decode_packet(&record.bytes) {
            Ok(content) => content,
            Err(_) if is_applied => return Vec::new(),
            Err(error) => {
                let (bytes, reason) = (record.bytes.clone(), error.to_string());
                let change = self.decoder.handle_garbage(key, bytes, reason, received);
                return change.into_iter().collect();
            }
        };
        let split = split(&content);
        let offered: Vec<Offered> = split.records.iter().map(offered_of).collect();
        let taken = self.tracker.apply_packet(key, &offered, received);
        let mut changes = Vec::new();
        if is_applied {
            return changes;
        }
        for (offered, taken) in split.records.iter().zip(taken) {
            match taken {
                Taken::New => {
                    let decoded = self.decoder.handle_record(key, offered, received);
                    changes.extend(decoded.unwrap_or_default());
                }
                Taken::Conflict => {
                    changes.extend(self.decoder.handle_conflict(key, offered, received));
                }
                Taken::Duplicate | Taken::Beyond => {}
            }
        }
        if let Some((error, rest)) = split.rest {
            let reason = error.to_string();
            changes.extend(self.decoder.handle_garbage(key, rest, reason, received));
        }
        changes
    }

    /// The lists of what is missing that differ from before.
    fn missing_changes(
        &self,
        key: &GatewayKey,
        before: &BTreeMap<StreamId, Vec<Missing>>,
    ) -> Vec<Change> {
        let mut after = self.tracker.missing_of(key);
        let Some(greenhouse) = self.decoder.greenhouse(key).filter(|_| *before != after) else {
            return Vec::new();
        };
        // What is missing of a stream that is forgotten stays missing.
        let known = self
            .tracker
            .marks(key, Some(&before.keys().copied().collect()));
        for marks in known {
            after.entry(marks.stream).or_default();
        }
        after
            .into_iter()
            .filter(|(stream, missing)| {
                before.get(stream).map_or(&[][..], Vec::as_slice) != missing.as_slice()
            })
            .map(|(stream, missing)| Change::Missing {
                gateway: key.gateway.clone(),
                greenhouse: greenhouse.clone(),
                stream,
                missing,
            })
            .collect()
    }
}

/// Why segments can't be let go.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The archive.
    #[error("archive can't be made durable")]
    Archive(#[from] ArchiveError),
    /// The archive has not taken what was decided on.
    #[error("archive is behind the marks")]
    Behind,
    /// The snapshot.
    #[error("marks can't be stored")]
    Snapshot(#[from] SnapshotError),
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let plain = |name, help| metrics.counter(name, help, &[]);
        Self {
            entries: plain("furrow_log_entries_applied_total", "Log entries applied."),
            unreadable: plain(
                "furrow_log_entries_unreadable_total",
                "Log entries not understood.",
            ),
            skipped: plain(
                "furrow_log_entries_skipped_total",
                "Log entries applied before a restart.",
            ),
            held: plain(
                "furrow_log_entries_held_total",
                "Log entries not applied, and kept, since their cooperative's archive is out of service.",
            ),
            deleted: plain(
                "furrow_log_entries_deleted_total",
                "Log entries dropped since their cooperative was deleted.",
            ),
            given_up: plain(
                "furrow_log_holds_given_up_total",
                "Times that the log let go what an archive that is out of service lacks, to have room.",
            ),
            dead: plain(
                "furrow_dead_letters_total",
                "Records refused: undecodable, of another greenhouse, or from the future.",
            ),
            archive_errors: plain(
                "furrow_archive_errors_total",
                "Groups that could not be applied.",
            ),
            log_bytes: metrics.gauge(
                "furrow_log_live_bytes",
                "Bytes of segments not let go.",
                &[],
            ),
        }
    }
}
