//! The segment files: making, recycling, setting aside, and what is known of each.
//!
//! It writes headers, and copies what is committed; new entries are `journal`'s.

use std::collections::BTreeMap;
use std::io;

use crate::disk::Disk;
use crate::error::JournalError;
use crate::frame::{SECTOR_BYTES, SegmentHeader, align_up, encode_segment_header};
use crate::names;
use crate::recover::load;
use crate::scan::{Hole, Tail, scan_part};
use crate::types::{Options, Stats};

/// Damaged files kept for a human beside the segments; the oldest goes when one more comes.
const MAX_SET_ASIDE: usize = 4;
/// Space a new segment leaves on the disk, in bytes: a machine with a full disk can't be mended.
pub(crate) const MIN_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// One file of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) part: u8,
    /// Offset of its first frame; it holds the segment up to the next part's start.
    pub(crate) start: u32,
    /// Length of the file in bytes.
    pub(crate) length: u32,
}

/// One segment: usually one file, more where a damaged file failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) parts: Vec<Part>,
    /// Behind the last committed frame.
    pub(crate) end: u32,
    pub(crate) entries: u64,
    pub(crate) released: bool,
    pub(crate) holes: Vec<Hole>,
    /// The medium under it failed: its files are not used again.
    pub(crate) suspect: bool,
    /// The segment before it and where that ended, as in its header.
    pub(crate) previous: (u64, u32),
}

impl Segment {
    pub(crate) fn new(previous: (u64, u32)) -> Self {
        Self {
            parts: Vec::new(),
            end: SECTOR_BYTES,
            entries: 0,
            released: false,
            holes: Vec::new(),
            suspect: false,
            previous,
        }
    }

    /// The number of the file that goes on at `end`: that of the last one if nothing in it was
    /// ever committed, which is then replaced.
    pub(crate) fn next_part(&self) -> Option<u8> {
        match self.parts.last() {
            Some(last) if last.start >= self.end => Some(last.part),
            Some(last) => last.part.checked_add(1),
            None => Some(0),
        }
    }

    pub(crate) fn start(&self) -> u32 {
        self.parts.first().map_or(SECTOR_BYTES, |part| part.start)
    }

    /// Bytes its files take.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.length)).sum()
    }

    /// Length of the file that is appended to.
    pub(crate) fn length(&self) -> u32 {
        self.parts.last().map_or(0, |part| part.length)
    }

    /// The file that holds `offset`, and where its share of the segment ends.
    pub(crate) fn part_at(&self, offset: u32) -> Option<(&Part, u32)> {
        let index = self.parts.iter().rposition(|part| part.start <= offset)?;
        let end = self
            .parts
            .get(index + 1)
            .map_or(self.end, |next| next.start.min(self.end));
        Some((self.parts.get(index)?, end))
    }
}

/// The directory of a journal's writer.
#[derive(Debug)]
pub(crate) struct Store<D> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    /// By number. The last one is appended to and never released.
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// Length of the spare file, if there is one.
    pub(crate) spare: Option<u32>,
    /// Bytes of segment files of unknown versions: left alone, but they take space.
    pub(crate) foreign_bytes: u64,
    /// Their numbers, one for each file.
    pub(crate) foreign: Vec<u64>,
    /// Files of segments below this number are removed, never used again: what is in them must go.
    pub(crate) erase_below: u64,
    pub(crate) set_aside: Vec<(u64, u8)>,
    /// Whether all names are durable: not known at a start, since the process may have ended
    /// between a rename and its sync.
    pub(crate) names_synced: bool,
    pub(crate) stats: Stats,
}

impl<D: Disk> Store<D> {
    /// Bytes of all segment files.
    pub(crate) fn total_bytes(&self) -> u64 {
        let segments: u64 = self.segments.values().map(Segment::file_bytes).sum();
        segments + u64::from(self.spare.unwrap_or(0)) + self.foreign_bytes
    }

    /// Bytes of segment files that can't be reused yet.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.total_bytes() - self.released_bytes() - u64::from(self.spare.unwrap_or(0))
    }

    pub(crate) fn current(&self) -> Option<(u64, &Segment)> {
        self.segments
            .last_key_value()
            .map(|(number, segment)| (*number, segment))
    }

    /// Makes names durable, if they may not be: before anything is written to a file that is
    /// only known by a new name.
    pub(crate) fn sync_names(&mut self) -> Result<(), JournalError> {
        if !self.names_synced {
            let synced = self.disk.sync_dir();
            synced.map_err(JournalError::io("sync the names in", "the directory"))?;
            self.names_synced = true;
        }
        Ok(())
    }

    /// Has another file for what comes next in a segment whose file failed.
    ///
    /// It holds all that was committed as well and takes the old file's place, so that a disk that
    /// fails again and again takes no more space than one that does not. Where what was committed is
    /// damaged, the old file stays and a further one goes on at its end.
    pub(crate) fn renew(&mut self, number: u64) -> Result<(), JournalError> {
        let committed = self.committed(number);
        let Some(segment) = self.segments.get_mut(&number) else {
            return Ok(());
        };
        let length = segment.length();
        let header = SegmentHeader {
            number,
            part: 0,
            start: SECTOR_BYTES,
            previous: segment.previous,
        };
        if let Some(committed) = committed {
            return self.prepare(header, length, &committed);
        }
        segment.suspect = true;
        let part = segment.next_part().ok_or_else(|| {
            let error = io::Error::other("too many files of this segment failed");
            JournalError::io("continue", &names::live(number, u8::MAX))(error)
        })?;
        let header = SegmentHeader {
            part,
            start: align_up(segment.end),
            previous: if part == 0 {
                segment.previous
            } else {
                (number, segment.end)
            },
            ..header
        };
        self.prepare(header, length, &[])
    }

    /// The committed frames of a segment of one file, to the end of their last sector; `None` if they
    /// can't all be read.
    fn committed(&self, number: u64) -> Option<Vec<u8>> {
        let segment = self.segments.get(&number).filter(|one| !one.suspect)?;
        let [part] = segment.parts.as_slice() else {
            return None;
        };
        let mut bytes = Vec::new();
        let name = names::live(number, part.part);
        let is_readable = load(&self.disk, &name, part.length, &mut bytes).is_empty();
        let scan = scan_part(
            &bytes,
            number,
            SECTOR_BYTES,
            Tail::Sealed(Some(segment.end)),
        );
        let is_whole = scan.holes.is_empty()
            && (scan.entries, scan.end) == (segment.entries, segment.end)
            && (part.part, part.start) == (0, SECTOR_BYTES);
        if !is_readable || !is_whole {
            return None;
        }
        bytes.truncate(segment.end as usize);
        bytes.resize(align_up(segment.end) as usize, 0);
        Some(bytes.split_off(SECTOR_BYTES as usize))
    }

    /// Makes the file that `header` describes, with header and `frames` durable, ready for more.
    pub(crate) fn prepare(
        &mut self,
        header: SegmentHeader,
        length: u32,
        frames: &[u8],
    ) -> Result<(), JournalError> {
        self.acquire(length)?;
        let bytes = [&encode_segment_header(&header), frames].concat();
        let written = self
            .disk
            .write_at(names::SPARE, 0, &bytes)
            .and_then(|()| self.disk.sync(names::SPARE));
        if let Err(source) = written {
            self.discard_spare();
            return Err(JournalError::io("prepare", names::SPARE)(source));
        }
        let name = names::live(header.number, header.part);
        self.stats.bytes_written += bytes.len() as u64;
        self.disk
            .rename(names::SPARE, &name)
            .map_err(JournalError::io("rename to", &name))?;
        self.spare = None;
        self.names_synced = false;
        self.sync_names()?;
        let segment = self
            .segments
            .entry(header.number)
            .or_insert_with(|| Segment::new(header.previous));
        segment.parts.retain(|part| part.part != header.part);
        segment.parts.push(Part {
            part: header.part,
            start: header.start,
            length,
        });
        self.trim();
        Ok(())
    }

    /// Gives one released file back to the file system if more are kept than asked for: after a
    /// long outage the directory shrinks again, one file a new segment.
    fn trim(&mut self) {
        if self.released_bytes() <= self.options.keep_bytes {
            return;
        }
        if let Err(error) = self.give_up_oldest(None) {
            tracing::warn!(%error, "could not give a released segment back");
        }
    }

    /// Has a spare file of `length` bytes: a new one while the cap and the bytes kept allow, else
    /// that of the oldest released segment.
    fn acquire(&mut self, length: u32) -> Result<(), JournalError> {
        if self.spare.is_some_and(|spare| spare != length) {
            self.discard_spare();
        }
        while self.spare.is_none() {
            let room = self.total_bytes() + u64::from(length) <= self.options.cap_bytes;
            let history = self.released_bytes() > self.options.keep_bytes;
            let can_recycle = self.segments.values().any(|segment| segment.released);
            if can_recycle && (history || !room) {
                self.give_up_oldest(Some(length))?;
            } else if room {
                match self.create(length) {
                    Ok(()) => {}
                    Err(_) if can_recycle => self.give_up_oldest(Some(length))?,
                    Err(error) => return Err(error),
                }
            } else {
                return Err(JournalError::Full {
                    cap_bytes: self.options.cap_bytes,
                });
            }
        }
        Ok(())
    }

    fn create(&mut self, length: u32) -> Result<(), JournalError> {
        let made = self.disk.free_bytes().and_then(|free| {
            if free < u64::from(length) + MIN_FREE_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "too little space left",
                ));
            }
            self.disk.create(names::SPARE, u64::from(length))
        });
        made.map_err(JournalError::io("create", names::SPARE))?;
        self.spare = Some(length);
        self.stats.created += 1;
        self.stats.bytes_written += u64::from(length);
        Ok(())
    }

    /// Gives up the oldest released segment; its last file becomes the spare if it is sound and
    /// has the length wanted.
    fn give_up_oldest(&mut self, wanted: Option<u32>) -> Result<(), JournalError> {
        let released = self.segments.iter().find(|(_, segment)| segment.released);
        let Some((number, segment)) = released.map(|(number, segment)| (*number, segment.clone()))
        else {
            return Ok(());
        };
        let last = segment.parts.len().saturating_sub(1);
        for (index, part) in segment.parts.iter().enumerate() {
            let name = names::live(number, part.part);
            let is_condemned = number < self.erase_below;
            if !is_condemned && (segment.suspect || !segment.holes.is_empty()) {
                self.set_aside(number, part.part)?;
            } else if !is_condemned && index == last && wanted == Some(part.length) {
                self.make_spare(number, &name, part.length)?;
            } else {
                done_once(self.disk.remove(&name)).map_err(JournalError::io("remove", &name))?;
            }
        }
        self.segments.remove(&number);
        Ok(())
    }

    fn make_spare(&mut self, number: u64, name: &str, length: u32) -> Result<(), JournalError> {
        let renamed = self.disk.rename(name, names::SPARE);
        renamed.map_err(JournalError::io("recycle", name))?;
        self.segments.remove(&number);
        // Before its header is overwritten: a power cut must not leave the old name on a file
        // that is not that segment any more.
        self.names_synced = false;
        self.sync_names()?;
        self.spare = Some(length);
        self.stats.recycled += 1;
        Ok(())
    }

    /// Renames a damaged file so that a human finds it and nothing writes to it.
    pub(crate) fn set_aside(&mut self, number: u64, part: u8) -> Result<(), JournalError> {
        while self.set_aside.len() >= MAX_SET_ASIDE {
            let (number, part) = self.set_aside.remove(0);
            let name = names::set_aside(number, part);
            done_once(self.disk.remove(&name)).map_err(JournalError::io("remove", &name))?;
            tracing::warn!(
                file = name,
                "removed the oldest damaged segment that was set aside"
            );
        }
        let name = names::live(number, part);
        let kept = names::set_aside(number, part);
        done_once(self.disk.rename(&name, &kept)).map_err(JournalError::io("set aside", &name))?;
        self.set_aside.push((number, part));
        self.stats.set_aside += 1;
        tracing::warn!(file = kept, "set a damaged segment aside");
        Ok(())
    }

    /// Has a spare file of `length` bytes that was never anything else, and sees to it that no file of
    /// another segment than `number` and later ones is used again.
    pub(crate) fn acquire_new(&mut self, number: u64, length: u32) -> Result<(), JournalError> {
        self.discard_spare();
        self.erase_below = self.erase_below.max(number);
        loop {
            let room = self.total_bytes() + u64::from(length) <= self.options.cap_bytes;
            let full = match room.then(|| self.create(length)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => error,
                None => JournalError::Full {
                    cap_bytes: self.options.cap_bytes,
                },
            };
            if !self.segments.values().any(|segment| segment.released) {
                return Err(full);
            }
            self.give_up_oldest(None)?;
        }
    }

    /// Removes the files of all released segments below a number, and those that were set aside;
    /// durable when this returns. Gives how many segments below it are left.
    pub(crate) fn erase(&mut self, below: u64) -> Result<u64, JournalError> {
        if below > self.erase_below {
            // It may be the file of one of them.
            self.discard_spare();
            self.names_synced = false;
            self.erase_below = below;
        }
        let below_it = self.segments.range(..below);
        let released: Vec<u64> = below_it
            .filter(|(_, segment)| segment.released)
            .map(|(number, _)| *number)
            .collect();
        for number in released {
            let parts = self.segments.get(&number).map(|one| one.parts.clone());
            for part in parts.into_iter().flatten() {
                self.remove(&names::live(number, part.part))?;
            }
            self.segments.remove(&number);
        }
        while let Some(at) = self.set_aside.iter().position(|(one, _)| *one < below) {
            let (number, part) = self.set_aside.remove(at);
            let name = names::set_aside(number, part);
            if let Err(error) = self.remove(&name) {
                self.set_aside.insert(at, (number, part));
                return Err(error);
            }
            tracing::warn!(file = name, "removed a damaged segment that was set aside");
        }
        self.sync_names()?;
        let foreign = self.foreign.iter().filter(|number| **number < below);
        Ok((self.segments.range(..below).count() + foreign.count()) as u64)
    }

    fn remove(&mut self, name: &str) -> Result<(), JournalError> {
        self.names_synced = false;
        done_once(self.disk.remove(name)).map_err(JournalError::io("remove", name))
    }

    fn discard_spare(&mut self) {
        self.spare = None;
        if let Err(error) = done_once(self.disk.remove(names::SPARE)) {
            tracing::warn!(%error, file = names::SPARE, "could not remove a file");
        }
    }

    fn released_bytes(&self) -> u64 {
        let released = self.segments.values().filter(|segment| segment.released);
        released.map(Segment::file_bytes).sum()
    }
}

/// A step that an earlier attempt may have done before it failed at a later one.
fn done_once(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
