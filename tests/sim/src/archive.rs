//! The archive as a list of transactions in memory: data and cursor together, as the real one has
//! them in one file, and a power cut takes back the last ones that were not made durable.
//!
//! It is the reference: it keeps the rules of the real tables (a reading is unique by series and
//! time, an event by its record) and notes when somebody leans on them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use furrow_ingest::archive::{
    Applied, ArchiveError, Change, LogEntry, LogPosition, ParkedRecord, Readings,
};
use furrow_ingest::deletion::Deletion;
use furrow_ingest::log::derived::Derived;
use furrow_ingest::log::snapshot::{self, Snapshot, SnapshotError};
use furrow_journal::sim::SimDisk;
use furrow_journal::{Disk, Position};
use furrow_wire::{BootId, CatalogHash, ClockMapping, CooperativeId, Loss, RecordName};

const MARKS: &str = "marks.json";
const MARKS_NEW: &str = "marks.json.new";

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    transactions: Vec<Vec<LogEntry>>,
    /// So many of them survive a power cut.
    durable: usize,
    position: Option<LogPosition>,
    chain: Option<u32>,
    /// Where the marks are stored: the disk of the log.
    disk: SimDisk,
    /// So many transactions fail.
    pub(crate) failing: u32,
    pub(crate) tables: Tables,
}

/// What the transactions add up to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// Records of readings and events, and how often each was stored.
    pub(crate) records: BTreeMap<RecordName, u32>,
    pub(crate) catalogs: BTreeMap<CatalogHash, Bytes>,
    pub(crate) mappings: BTreeMap<BootId, ClockMapping>,
    pub(crate) losses: BTreeMap<RecordName, Loss>,
    pub(crate) parked: BTreeMap<RecordName, ParkedRecord>,
    pub(crate) dead: BTreeMap<RecordName, String>,
    /// Bytes that held no record.
    pub(crate) garbage: u64,
    pub(crate) unparked: u64,
    /// (channel, Unix milliseconds): which record.
    readings: BTreeMap<(u16, i64), RecordName>,
    /// Records that came twice although the marks should have known.
    pub(crate) twice: BTreeSet<RecordName>,
    /// Readings that lie at the time of another record's.
    pub(crate) collisions: Vec<(RecordName, RecordName)>,
    /// Records that got another wall time than their boot's mapping says.
    pub(crate) misdated: Vec<RecordName>,
}

impl Archive {
    pub(crate) fn new(disk: SimDisk) -> Self {
        Archive {
            transactions: Vec::new(),
            durable: 0,
            position: None,
            chain: None,
            disk,
            failing: 0,
            tables: Tables::default(),
        }
    }

    /// The same on the disk of a restored ingest.
    pub(crate) fn on(&self, disk: SimDisk) -> Self {
        Archive {
            disk,
            failing: 0,
            ..self.clone()
        }
    }

    pub(crate) fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// The power went: of the transactions that are not durable the first `kept` are left.
    pub(crate) fn cut_power(&mut self, kept: impl FnOnce(usize) -> usize) -> usize {
        let open = self.transactions.len() - self.durable;
        let kept = self.durable + kept(open).min(open);
        let lost = self.transactions.len() - kept;
        self.transactions.truncate(kept);
        self.durable = kept;
        let mut tables = Tables::default();
        (self.position, self.chain) = (None, None);
        for entry in self.transactions.iter().flatten() {
            (self.position, self.chain) = (Some(entry.position), Some(entry.chain));
            for change in &entry.changes {
                tables.apply(change);
            }
        }
        self.tables = tables;
        lost
    }

    /// For a trace.
    pub(crate) fn summary(&self) -> String {
        format!(
            "archive at {:?}, {} of {} transactions durable",
            self.position,
            self.durable,
            self.transactions.len()
        )
    }

    /// The latest transaction, for a trace.
    pub(crate) fn last(&self) -> String {
        let entries = self.transactions.last().into_iter().flatten();
        let texts = entries.map(|entry| {
            let at = entry.position;
            let names = entry.changes.iter().map(name_of).collect::<Vec<_>>();
            format!("{}:{} {}", at.segment, at.offset, names.join(" "))
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// A liar's: nothing of what it said is durable.
    pub(crate) fn forget_durable(&mut self, transactions: usize) {
        self.durable = self.durable.min(transactions);
    }
}

impl Derived for Archive {
    fn position(&self, _: &CooperativeId) -> Option<LogPosition> {
        self.position
    }

    fn chain(&self, _: &CooperativeId) -> Option<u32> {
        self.chain
    }

    fn apply(&mut self, _: &CooperativeId, entries: &[LogEntry]) -> Result<Applied, ArchiveError> {
        if self.failing > 0 {
            self.failing -= 1;
            return Err(ArchiveError::Directory {
                path: PathBuf::new(),
                source: io::Error::other("simulated failure of the archive"),
            });
        }
        let fresh: Vec<LogEntry> = entries
            .iter()
            .filter(|entry| Some(entry.position) > self.position)
            .cloned()
            .collect();
        for entry in &fresh {
            (self.position, self.chain) = (Some(entry.position), Some(entry.chain));
            for change in &entry.changes {
                self.tables.apply(change);
            }
        }
        self.transactions.push(fresh);
        Ok(Applied::default())
    }

    fn out_of_service(&self) -> BTreeSet<CooperativeId> {
        BTreeSet::new()
    }

    fn deleted(&self) -> BTreeSet<CooperativeId> {
        BTreeSet::new()
    }

    fn delete(&mut self, _: &Deletion) -> Result<(), ArchiveError> {
        Ok(())
    }

    fn needs_from(&self, position: Position) -> Position {
        position
    }

    fn make_durable(&mut self) -> Result<(), ArchiveError> {
        self.durable = self.transactions.len();
        Ok(())
    }

    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let path = PathBuf::from(MARKS);
        let Ok(length) = self.disk.len(MARKS) else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        if let Err(source) = self.disk.read_at(MARKS, 0, &mut bytes) {
            let action = "read";
            return Err(SnapshotError::Io {
                action,
                path,
                source,
            });
        }
        snapshot::decode(&bytes)
            .map(Some)
            .map_err(|reason| SnapshotError::Damaged { path, reason })
    }

    /// As the real one: a new file, synced, renamed over the old one.
    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let bytes = snapshot::encode(snapshot);
        let disk = &mut self.disk;
        let mut write = || -> io::Result<()> {
            disk.create(MARKS_NEW, bytes.len() as u64)?;
            disk.write_at(MARKS_NEW, 0, &bytes)?;
            disk.sync(MARKS_NEW)?;
            disk.rename(MARKS_NEW, MARKS)?;
            disk.sync_dir()
        };
        write().map_err(|source| SnapshotError::Io {
            action: "replace",
            path: PathBuf::from(MARKS),
            source,
        })
    }

    fn sync_marks(&mut self) -> Result<(), SnapshotError> {
        self.disk.sync_dir().map_err(|source| SnapshotError::Io {
            action: "sync",
            path: PathBuf::from(MARKS),
            source,
        })
    }
}

impl Tables {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Readings(readings) => self.readings(readings),
            Change::Events {
                record,
                events,
                wall_offset_ms,
                ..
            } => {
                self.record(*record);
                if events.wall_offset_ms.is_none() {
                    self.dated(*record, events.boot, *wall_offset_ms);
                }
            }
            Change::Catalog { hash, body, .. } => {
                self.catalogs.entry(*hash).or_insert_with(|| body.clone());
            }
            Change::Mapping { mapping, .. } => {
                self.mappings.entry(mapping.boot).or_insert(*mapping);
            }
            Change::Loss { record, loss, .. } => {
                if self.losses.insert(*record, loss.clone()).is_some() {
                    self.twice.insert(*record);
                }
            }
            Change::DeadLetter {
                record: Some(record),
                reason,
                ..
            } => {
                if self.dead.insert(*record, reason.clone()).is_some() {
                    self.twice.insert(*record);
                }
            }
            Change::DeadLetter { record: None, .. } => self.garbage += 1,
            Change::Parked(parked) => {
                if self.parked.insert(parked.record, parked.clone()).is_some() {
                    self.twice.insert(parked.record);
                }
            }
            Change::Unparked { record } => {
                self.unparked += 1;
                self.parked.remove(record);
            }
            // The marks say the same.
            Change::Missing { .. } => {}
            // Nobody far away asks for anything here.
            Change::Command(_) | Change::Result(_) | Change::Orders(_) => {}
            Change::Rerun { changes, .. } => {
                for change in changes {
                    self.apply(change);
                }
            }
        }
    }

    fn dated(&mut self, record: RecordName, boot: BootId, wall_offset_ms: i64) {
        let mapping = self.mappings.get(&boot);
        if mapping.is_none_or(|mapping| mapping.wall_offset_ms != wall_offset_ms) {
            self.misdated.push(record);
        }
    }

    fn record(&mut self, record: RecordName) {
        let times = self.records.entry(record).or_insert(0);
        *times += 1;
        if *times > 1 {
            self.twice.insert(record);
        }
    }

    fn readings(&mut self, readings: &Readings) {
        self.record(readings.record);
        if readings.batch.wall_offset_ms.is_none() {
            self.dated(
                readings.record,
                readings.batch.boot,
                readings.wall_offset_ms,
            );
        }
        for axis in &readings.batch.axes {
            for column in &axis.columns {
                for at in &axis.times {
                    let wall = readings.wall_offset_ms.saturating_add_unsigned(*at);
                    let held = self.readings.entry((column.channel, wall));
                    let held = *held.or_insert(readings.record);
                    if held != readings.record {
                        self.collisions.push((held, readings.record));
                    }
                }
            }
        }
    }
}

/// What a change is about, for a trace.
fn name_of(change: &Change) -> String {
    match change {
        Change::Readings(readings) => readings.record.to_string(),
        Change::Events { record, .. } => format!("{record} events"),
        Change::Loss { record, loss, .. } => format!(
            "{record} loss of {}:{} to {}",
            loss.stream, loss.from_seq, loss.to_seq
        ),
        Change::Catalog { hash, .. } => format!("catalog {hash}"),
        Change::Mapping { mapping, .. } => format!("mapping of {}", mapping.boot),
        Change::DeadLetter { record, reason, .. } => format!("{record:?} refused: {reason}"),
        Change::Parked(parked) => format!("{} parked", parked.record),
        Change::Unparked { record } => format!("{record} unparked"),
        Change::Missing {
            stream, missing, ..
        } => format!("{stream} lacks {} stretches", missing.len()),
        Change::Rerun { id, .. } => format!("dead letter {id} again"),
        Change::Command(issued) => format!("command {}", issued.command.id),
        Change::Result(answered) => format!("result of {}", answered.result.id),
        Change::Orders(put) => format!("orders {}", put.orders.version),
    }
}
