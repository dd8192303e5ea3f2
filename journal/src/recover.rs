//! Opening: what is in the directory, what is good, where writing goes on.
//!
//! It changes nothing but the tail: frames behind a torn write are erased. The last file is read
//! from the medium, because a sync that failed before a restart leaves cached pages that look
//! clean and are not on the disk.

use std::collections::VecDeque;
use std::io;

use crate::disk::Disk;
use crate::error::{Damage, DamageReason, JournalError, Recovery};
use crate::frame::{
    HeaderError, SECTOR_BYTES, SegmentHeader, align_up, decode_segment_header, to_u32,
};
use crate::journal::{Chunk, Journal};
use crate::names;
use crate::scan::{Hole, PartScan, Step, Tail, Walk, scan_part};
use crate::segment::{Part, Segment, Store};
use crate::types::{MAX_SEGMENT_BYTES, Options, Stats};

/// A segment file as it lies there.
struct Found {
    number: u64,
    part: u8,
    length: u32,
    /// `None` if it can't be read.
    header: Option<SegmentHeader>,
}

/// Opens a journal with options in range.
pub(crate) fn open<D: Disk>(
    mut disk: D,
    options: Options,
) -> Result<(Journal<D>, Recovery), JournalError> {
    disk.lock().map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            JournalError::Locked
        } else {
            JournalError::io("lock", names::LOCK)(source)
        }
    })?;
    let listed = disk
        .list()
        .map_err(JournalError::io("list", "the directory"))?;
    let store = Store {
        disk,
        options,
        segments: std::collections::BTreeMap::new(),
        spare: None,
        foreign_bytes: 0,
        foreign: Vec::new(),
        erase_below: 0,
        set_aside: Vec::new(),
        names_synced: false,
        stats: Stats::default(),
    };
    let mut opening = Opening {
        journal: Journal {
            store,
            chunks: VecDeque::new(),
            next_number: 1,
            untrusted: false,
            preamble: Vec::new(),
        },
        recovery: Recovery::default(),
    };
    let files = opening.survey(&listed);
    opening.scan(&files);
    let Opening { journal, recovery } = opening;
    tracing::info!(
        entries = recovery.entries,
        damaged = recovery.damaged.len(),
        torn = recovery.torn.is_some(),
        "opened the journal"
    );
    Ok((journal, recovery))
}

/// The header of a segment file; an error only if its version is unknown.
pub(crate) fn read_header<D: Disk>(
    disk: &D,
    name: &str,
) -> Result<Option<SegmentHeader>, HeaderError> {
    let mut sector = [0; SECTOR_BYTES as usize];
    let Ok(SECTOR) = disk.read_at(name, 0, &mut sector) else {
        return Ok(None);
    };
    match decode_segment_header(&sector) {
        Ok(header) => Ok(Some(header)),
        Err(HeaderError::Damaged) => Ok(None),
        Err(HeaderError::UnknownVersion) => Err(HeaderError::UnknownVersion),
    }
}

/// Reads a whole segment file into `bytes`; sectors that can't be read become zeros and are
/// returned as holes.
pub(crate) fn load<D: Disk>(disk: &D, name: &str, length: u32, bytes: &mut Vec<u8>) -> Vec<Hole> {
    bytes.clear();
    bytes.resize(length as usize, 0);
    if disk
        .read_at(name, 0, bytes)
        .is_ok_and(|read| read == bytes.len())
    {
        return Vec::new();
    }
    let mut unreadable: Vec<Hole> = Vec::new();
    for (start, sector) in (0..length).step_by(SECTOR).zip(bytes.chunks_mut(SECTOR)) {
        let whole = sector.len();
        if disk
            .read_at(name, u64::from(start), sector)
            .is_ok_and(|read| read == whole)
        {
            continue;
        }
        sector.fill(0);
        let end = start + to_u32(whole);
        match unreadable.last_mut() {
            Some(last) if last.end == start => last.end = end,
            Some(_) | None => unreadable.push(Hole { start, end }),
        }
    }
    unreadable
}

const SECTOR: usize = SECTOR_BYTES as usize;

struct Opening<D: Disk> {
    journal: Journal<D>,
    recovery: Recovery,
}

impl<D: Disk> Opening<D> {
    /// Sorts the files of the directory out; returns the segment files in order.
    fn survey(&mut self, listed: &[String]) -> Vec<Found> {
        let mut files = Vec::new();
        for name in listed {
            if let Some((number, part)) = names::parse_live(name) {
                self.count_number(number);
                files.extend(self.look_at(name, number, part));
            } else if let Some((number, part)) = names::parse_set_aside(name) {
                self.count_number(number);
                self.journal.store.set_aside.push((number, part));
            }
        }
        files.sort_by_key(|file| (file.number, file.part));
        self.journal.store.set_aside.sort_unstable();
        if listed.iter().any(|name| name == names::SPARE) {
            self.adopt_spare();
        }
        files
    }

    fn count_number(&mut self, number: u64) {
        self.journal.next_number = self.journal.next_number.max(number.saturating_add(1));
    }

    fn adopt_spare(&mut self) {
        let store = &mut self.journal.store;
        let length = store.disk.len(names::SPARE).ok();
        let wanted = store.options.segment_bytes;
        if length == Some(u64::from(wanted)) {
            store.spare = Some(wanted);
        } else if let Err(error) = store.disk.remove(names::SPARE) {
            tracing::warn!(%error, file = names::SPARE, "could not remove a file");
        }
    }

    fn look_at(&mut self, name: &str, number: u64, part: u8) -> Option<Found> {
        let store = &mut self.journal.store;
        let length = store.disk.len(name).unwrap_or(0);
        // Longer than any segment: nothing of ours, or damage; not read into memory either way.
        let length = u32::try_from(length)
            .unwrap_or(u32::MAX)
            .min(MAX_SEGMENT_BYTES);
        let header = match read_header(&store.disk, name) {
            Ok(header) => header,
            Err(HeaderError::Damaged | HeaderError::UnknownVersion) => {
                store.foreign_bytes += u64::from(length);
                store.foreign.push(number);
                self.damage(
                    number,
                    Hole {
                        start: 0,
                        end: length,
                    },
                    DamageReason::Version,
                );
                return None;
            }
        };
        match header {
            // It was being recycled when the power went: released, and no segment yet.
            Some(header) if header.number > number => {
                if let Err(error) = store.disk.rename(name, names::SPARE) {
                    tracing::warn!(%error, file = name, "could not rename a file");
                } else {
                    self.adopt_spare();
                }
                None
            }
            Some(header) if (header.number, header.part) == (number, part) => Some(Found {
                number,
                part,
                length,
                header: Some(header),
            }),
            Some(_) | None => Some(Found {
                number,
                part,
                length,
                header: None,
            }),
        }
    }

    fn scan(&mut self, files: &[Found]) {
        let mut bytes = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let name = names::live(file.number, file.part);
            // A file of an unknown version may come later: then this one is complete too.
            let tail = match files.get(index + 1) {
                None if file.number.saturating_add(1) == self.journal.next_number => Tail::Open,
                None => Tail::Sealed(None),
                Some(next) => self.sealed(file, next),
            };
            let disk = &mut self.journal.store.disk;
            let mut damaged = false;
            if tail == Tail::Open
                && let Err(error) = disk.sync_and_forget(&name)
            {
                tracing::warn!(%error, file = name, "could not sync the last segment");
                damaged = true;
            }
            let unreadable = load(disk, &name, file.length, &mut bytes);
            let start = file.start(&bytes);
            let scan = scan_part(&bytes, file.number, start, tail);
            self.report(file, &scan, &unreadable);
            damaged |= file.header.is_none() || !scan.holes.is_empty() || !unreadable.is_empty();
            let segments = &mut self.journal.store.segments;
            let previous = file.header.map_or((0, 0), |header| header.previous);
            let segment = segments
                .entry(file.number)
                .or_insert_with(|| Segment::new(previous));
            segment.parts.push(Part {
                part: file.part,
                start,
                length: file.length,
            });
            segment.entries += scan.entries;
            segment.end = segment.end.max(file.end(&scan));
            segment.holes.extend(&scan.holes);
            segment.suspect |= damaged;
            self.recovery.entries += scan.entries;
            if tail == Tail::Open && !(file.header.is_none() && scan.entries == 0) {
                self.go_on(file, &scan, damaged);
            }
        }
    }

    /// Where `file` ends, given the file after it.
    fn sealed(&self, file: &Found, next: &Found) -> Tail {
        let Some(header) = next.header else {
            if next.number != file.number {
                return Tail::Sealed(None);
            }
            let mut bytes = Vec::new();
            let name = names::live(next.number, next.part);
            load(&self.journal.store.disk, &name, next.length, &mut bytes);
            return Tail::Sealed(Some(next.start(&bytes)).filter(|start| *start < next.length));
        };
        let (number, end) = header.previous;
        Tail::Sealed((number == file.number).then_some(end))
    }

    fn report(&mut self, file: &Found, scan: &PartScan, unreadable: &[Hole]) {
        if file.header.is_none() {
            let (end, reason) = if scan.entries == 0 {
                (file.length, DamageReason::Segment)
            } else {
                (SECTOR_BYTES, DamageReason::Header)
            };
            self.damage(file.number, Hole { start: 0, end }, reason);
            if scan.entries == 0 {
                return;
            }
        }
        for hole in &scan.holes {
            let overlaps = |bad: &Hole| bad.start < hole.end && hole.start < bad.end;
            let reason = if unreadable.iter().any(overlaps) {
                DamageReason::Unreadable
            } else {
                DamageReason::Checksum
            };
            self.damage(file.number, *hole, reason);
        }
    }

    fn damage(&mut self, segment: u64, hole: Hole, reason: DamageReason) {
        let damage = damage(segment, hole, reason);
        tracing::warn!(
            segment,
            offset = damage.offset,
            bytes = damage.bytes,
            reason = ?reason,
            "found damage in the journal"
        );
        self.recovery.damaged.push(damage);
    }

    /// Makes the end of the last file the place to append.
    fn go_on(&mut self, file: &Found, scan: &PartScan, damaged: bool) {
        let journal = &mut self.journal;
        journal.untrusted = damaged;
        if let Some(dropped) = scan.dropped {
            self.recovery.torn = Some(damage(file.number, dropped, DamageReason::TornTail));
            let start = align_up(scan.end);
            let rubbish = rubbish(start, align_up(dropped.end).min(file.length));
            let name = names::live(file.number, file.part);
            let disk = &mut journal.store.disk;
            let erased = disk
                .write_at(&name, u64::from(start), &rubbish)
                .and_then(|()| disk.sync(&name));
            if let Err(error) = erased {
                tracing::warn!(%error, file = name, "could not erase a torn write");
                journal.untrusted = true;
            }
        }
        let end = journal
            .store
            .segments
            .get(&file.number)
            .map_or(SECTOR_BYTES, |s| s.end);
        journal.chunks.push_back(Chunk {
            segment: file.number,
            previous_end: end,
            buffer: Vec::new(),
            entries: 0,
        });
    }
}

impl Found {
    /// Where the segment ends as far as this file knows; the start of a file without frames is
    /// not it, since a commit before it may have ended inside a sector.
    fn end(&self, scan: &PartScan) -> u32 {
        let before = match self.header {
            Some(SegmentHeader {
                previous: (number, end),
                ..
            }) if number == self.number => end,
            Some(_) | None => 0,
        };
        let frames = if scan.entries > 0 { scan.end } else { 0 };
        let holes = scan.holes.last().map_or(0, |hole| hole.end);
        before.max(frames).max(holes)
    }

    /// Offset of the first frame: from the header, else by looking for it.
    fn start(&self, bytes: &[u8]) -> u32 {
        match &self.header {
            Some(header) => header.start,
            None if self.part == 0 => SECTOR_BYTES,
            None => {
                let mut walk = Walk::new(bytes, self.number, SECTOR_BYTES, self.length);
                walk.find_map(|step| match step {
                    Step::Frame(offset, _) => Some(offset),
                    Step::Hole(_) => None,
                })
                .unwrap_or(self.length)
            }
        }
    }
}

/// What torn frames are erased with: not zeros, which may be just what a torn frame lacks.
fn rubbish(start: u32, end: u32) -> Vec<u8> {
    let byte = |at: u32| at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
    (start..end).map(byte).collect()
}

fn damage(segment: u64, hole: Hole, reason: DamageReason) -> Damage {
    Damage {
        segment,
        offset: hole.start,
        bytes: hole.end - hole.start,
        reason,
    }
}
