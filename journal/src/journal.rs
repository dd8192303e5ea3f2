//! The writer: append, group commit, release, erase.
//!
//! It owns what is appended and not yet committed. Making files is `segment`'s, finding entries
//! again `recover`'s and `iter`'s.

use std::collections::VecDeque;

use crate::disk::Disk;
use crate::error::{JournalError, Recovery, SYNC};
use crate::frame::{
    FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES, SECTOR_BYTES, SegmentHeader, align_up, push_frame,
    to_u32,
};
use crate::iter::Entries;
use crate::names;
use crate::segment::Store;
use crate::types::{Entry, Options, Position, SegmentInfo, Stats};

/// Bytes that may wait for a commit: an owner whose disk fails must not fill the memory.
pub const MAX_UNCOMMITTED_BYTES: u64 = 8 * 1024 * 1024;
/// Commit buffers larger than this many bytes are given back after the commit.
const KEEP_BUFFER_BYTES: usize = 1024 * 1024;

/// What was appended to one segment and not committed.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: u64,
    /// Where the commit before it ended in the segment.
    pub(crate) previous_end: u32,
    pub(crate) buffer: Vec<u8>,
    pub(crate) entries: u64,
}

impl Chunk {
    /// Whether the preamble comes next: also if the power went between making the file and its
    /// first commit.
    fn begins_segment(&self) -> bool {
        self.previous_end == SECTOR_BYTES && self.buffer.is_empty()
    }

    /// Offset of `buffer` in the segment: where the commit begins.
    fn start(&self) -> u32 {
        align_up(self.previous_end)
    }

    /// Adds a frame and returns its offset in the segment.
    fn push(&mut self, tag: (u8, bool), payload: &[u8]) -> u32 {
        let offset = self.start() + to_u32(self.buffer.len());
        let commit = (self.start(), self.previous_end);
        push_frame(&mut self.buffer, self.segment, commit, tag, payload);
        self.entries += 1;
        offset
    }
}

/// The single writer of a directory.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    pub(crate) store: Store<D>,
    /// In order of position; the last one takes appends.
    pub(crate) chunks: VecDeque<Chunk>,
    pub(crate) next_number: u64,
    /// A write or sync of the current file failed: it is not written to again.
    pub(crate) untrusted: bool,
    pub(crate) preamble: Vec<(u8, Vec<u8>)>,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in `disk` for writing and finds out what is in it. An empty directory
    /// is an empty journal; damage never prevents opening.
    ///
    /// # Errors
    /// [`JournalError::Locked`] if another process writes it, [`JournalError::Io`] if the
    /// directory can't be listed.
    pub fn open(disk: D, options: Options) -> Result<(Self, Recovery), JournalError> {
        crate::recover::open(disk, options.in_range())
    }

    /// Small durable state, written at the start of every segment that is begun from now on, as
    /// entries with [`Entry::preamble`] set, before the owner's own. So what only an old segment
    /// says is not lost when that segment is recycled.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`] above a quarter of a segment; the old preamble stays.
    pub fn set_preamble(&mut self, entries: Vec<(u8, Vec<u8>)>) -> Result<(), JournalError> {
        let bytes = frames_bytes(&entries);
        let limit = u64::from(self.store.options.segment_bytes / 4);
        let largest = entries
            .iter()
            .map(|(_, payload)| payload.len())
            .max()
            .unwrap_or(0);
        if bytes > limit || largest as u64 > u64::from(MAX_PAYLOAD_BYTES) {
            return Err(JournalError::TooLarge { bytes, limit });
        }
        self.preamble = entries;
        Ok(())
    }

    /// Adds an entry to the next commit and returns where it will stand: the position holds once
    /// a commit succeeds, also after failed ones.
    ///
    /// # Errors
    /// [`JournalError::Full`] when the cap is reached, [`JournalError::TooLarge`],
    /// [`JournalError::Uncommitted`] when too much waits. Nothing is added then.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<Position, JournalError> {
        let limit = self.largest_payload();
        if payload.len() as u64 > limit {
            let bytes = payload.len() as u64;
            return Err(JournalError::TooLarge { bytes, limit });
        }
        let need = FRAME_HEADER_BYTES + to_u32(payload.len());
        let bytes = self.uncommitted_bytes();
        if bytes + u64::from(need) > MAX_UNCOMMITTED_BYTES {
            return Err(JournalError::Uncommitted { bytes });
        }
        let fits = self.fits(need);
        if !fits || self.is_spent() {
            match self.plan_segment() {
                // Better in a bad segment than not at all.
                Err(JournalError::Full { .. }) if fits => {}
                planned => planned?,
            }
        }
        let chunk = self.chunks.back_mut().expect("a chunk was just planned");
        if chunk.begins_segment() {
            for (kind, payload) in &self.preamble {
                chunk.push((*kind, true), payload);
            }
        }
        let offset = chunk.push((kind, false), payload);
        self.store.stats.appended += 1;
        Ok(Position {
            segment: chunk.segment,
            offset,
        })
    }

    /// Makes everything appended durable: one write and one sync, more only where a new segment
    /// is begun. Does nothing if nothing was appended.
    ///
    /// # Errors
    /// If the disk fails. What is at or behind [`Journal::end`] is then not committed; it waits
    /// for the next call, which does not trust the failed file again.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if self.uncommitted_bytes() == 0 {
            return Ok(());
        }
        while self.uncommitted_bytes() > 0 {
            if let Err(error) = self.commit_first() {
                self.store.stats.failed_commits += 1;
                return Err(error);
            }
        }
        self.store.stats.commits += 1;
        Ok(())
    }

    /// Position behind the last committed entry: everything before it is durable.
    #[must_use]
    pub fn end(&self) -> Position {
        self.store
            .current()
            .map_or_else(Position::default, |(number, segment)| Position {
                segment: number,
                offset: segment.end,
            })
    }

    /// Position of the oldest entry that can be read; [`Journal::end`] if there is none.
    #[must_use]
    pub fn first(&self) -> Position {
        let mut with_entries = self.store.segments.iter().filter(|(_, s)| s.entries > 0);
        with_entries.next().map_or_else(
            || self.end(),
            |(number, segment)| Position {
                segment: *number,
                offset: segment.start(),
            },
        )
    }

    /// Reads one committed entry.
    ///
    /// # Errors
    /// [`JournalError::NotFound`] if there is none (any more), [`JournalError::Damaged`] if its
    /// bytes changed, [`JournalError::Io`].
    pub fn read(&self, position: Position) -> Result<Entry, JournalError> {
        self.store.read(position)
    }

    /// Committed entries in order, from `position` on: [`Position::default`], the position of an
    /// entry, or [`Entry::next`]. Damage found now is reported once and stepped over; damage
    /// that [`Recovery`] reported is stepped over in silence. Holds 64 KiB and the entry.
    pub fn entries_from(&self, position: Position) -> Entries<'_, D> {
        Entries::new(&self.store, position)
    }

    /// All segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let segments = self.store.segments.iter();
        segments
            .map(|(number, segment)| crate::iter::info(*number, segment))
            .collect()
    }

    /// Allows a segment to be recycled when its space is needed; until then it can be read.
    /// Returns whether it is released: the segment that is written to never is, nor an unknown
    /// one. Not durable: after a restart the owner releases again.
    pub fn release(&mut self, number: u64) -> bool {
        let current = self.store.current().map(|(number, _)| number);
        match self.store.segments.get_mut(&number) {
            Some(segment) if current != Some(number) => {
                segment.released = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes a release back, if the segment's space was not used yet. Returns whether it is kept now: it
    /// counts to the cap again.
    pub fn keep(&mut self, number: u64) -> bool {
        let segment = self.store.segments.get_mut(&number);
        let is_there = segment.is_some();
        if let Some(segment) = segment {
            segment.released = false;
        }
        is_there
    }

    /// Commits, and has what is appended from now on stand in a new segment, whose number it gives. Its
    /// file exists when this returns and was never another segment's, and no file of an earlier one is
    /// used again: bytes of earlier entries, also those behind a file's written end, are in files of
    /// earlier segments only, and go with [`Journal::erase`].
    ///
    /// # Errors
    /// As for [`Journal::commit`], and [`JournalError::Full`]: call again.
    pub fn roll(&mut self) -> Result<u64, JournalError> {
        self.commit()?;
        let made = self.store.current().map_or(0, |(number, _)| number);
        // An earlier attempt may have planned it.
        if self.chunks.back().is_none_or(|chunk| chunk.segment <= made) {
            self.plan_segment()?;
        }
        let number = self.chunks.back().map_or(made, |chunk| chunk.segment);
        let length = self.store.options.segment_bytes;
        self.store.acquire_new(number, length)?;
        ensure_file(&mut self.store, &mut self.untrusted, number)?;
        Ok(number)
    }

    /// Takes the bytes of all released segments below a number off the disk, those of damaged files
    /// that were set aside included: their files are removed, which is durable when this returns. Gives
    /// how many segments below it are left: not released, or of a version that is not known here.
    ///
    /// Until the journal is opened again no file of a segment below the number is used for another
    /// one. So that this holds after an opening too, call it before anything is appended.
    ///
    /// # Errors
    /// If the disk fails: call again.
    pub fn erase(&mut self, below: u64) -> Result<u64, JournalError> {
        self.store.erase(below)
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            total_bytes: self.store.total_bytes(),
            live_bytes: self.store.live_bytes(),
            uncommitted_bytes: self.uncommitted_bytes(),
            ..self.store.stats
        }
    }

    fn uncommitted_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| chunk.buffer.len() as u64)
            .sum()
    }

    /// What fits into a fresh segment behind the preamble.
    fn largest_payload(&self) -> u64 {
        let taken = SECTOR_BYTES + FRAME_HEADER_BYTES;
        let room = u64::from(self.store.options.segment_bytes.saturating_sub(taken));
        let room = room.saturating_sub(frames_bytes(&self.preamble));
        room.min(u64::from(MAX_PAYLOAD_BYTES))
    }

    /// Whether the last chunk's segment has room for a frame of `need` bytes.
    fn fits(&self, need: u32) -> bool {
        let Some(chunk) = self.chunks.back() else {
            return false;
        };
        let length = match self.store.current() {
            Some((number, segment)) if number == chunk.segment => segment.length(),
            Some(_) | None => self.store.options.segment_bytes,
        };
        let preamble = if chunk.begins_segment() {
            frames_bytes(&self.preamble)
        } else {
            0
        };
        let end = u64::from(chunk.start()) + chunk.buffer.len() as u64;
        end + preamble + u64::from(need) <= u64::from(length)
    }

    /// Whether nothing more should go into the segment that is written to, though it has room: it is
    /// damaged, or takes more files than one, none of which can be released before another segment
    /// is begun.
    fn is_spent(&self) -> bool {
        let Some(chunk) = self.chunks.back().filter(|chunk| chunk.buffer.is_empty()) else {
            return false;
        };
        let segment = self.store.segments.get(&chunk.segment);
        segment.is_some_and(|segment| self.untrusted || segment.parts.len() > 1)
    }

    /// Begins the chunk of a segment that does not exist yet.
    fn plan_segment(&mut self) -> Result<(), JournalError> {
        let segment_bytes = u64::from(self.store.options.segment_bytes);
        let made = self.store.current().map_or(0, |(number, _)| number);
        let planned = self
            .chunks
            .iter()
            .filter(|chunk| chunk.segment > made)
            .count() as u64;
        // The new one and the reserve.
        let needed = (planned + 2) * segment_bytes;
        let cap_bytes = self.store.options.cap_bytes;
        if self.store.live_bytes() + needed > cap_bytes {
            return Err(JournalError::Full { cap_bytes });
        }
        let mut chunk = match self.chunks.pop_back() {
            Some(empty) if empty.buffer.is_empty() => empty,
            other => {
                self.chunks.extend(other);
                Chunk {
                    segment: 0,
                    previous_end: 0,
                    buffer: Vec::new(),
                    entries: 0,
                }
            }
        };
        chunk.segment = self.next_number;
        chunk.previous_end = SECTOR_BYTES;
        chunk.entries = 0;
        self.next_number += 1;
        self.chunks.push_back(chunk);
        Ok(())
    }

    /// Commits the chunk of one segment.
    fn commit_first(&mut self) -> Result<(), JournalError> {
        let Some(chunk) = self.chunks.front_mut() else {
            return Ok(());
        };
        if !chunk.buffer.is_empty() {
            ensure_file(&mut self.store, &mut self.untrusted, chunk.segment)?;
            if let Err(error) = write_chunk(&mut self.store, chunk) {
                // What a failed sync leaves on the disk is unknown, and a later sync that
                // succeeds proves nothing about it. A full disk is tried again in place.
                self.untrusted |= !error.is_disk_full() || error.is_sync();
                return Err(error);
            }
        }
        if self.chunks.len() > 1 {
            self.chunks.pop_front();
        }
        Ok(())
    }
}

/// Has a file to which the chunk of `segment` can be written.
fn ensure_file<D: Disk>(
    store: &mut Store<D>,
    untrusted: &mut bool,
    segment: u64,
) -> Result<(), JournalError> {
    store.sync_names()?;
    let previous = match store.current() {
        Some((number, _)) if number == segment => {
            if *untrusted {
                store.renew(segment)?;
                *untrusted = false;
            }
            return Ok(());
        }
        current => current.map_or((0, 0), |(number, current)| (number, current.end)),
    };
    if *untrusted && let Some(mut current) = store.segments.last_entry() {
        current.get_mut().suspect = true;
    }
    let header = SegmentHeader {
        number: segment,
        part: 0,
        start: SECTOR_BYTES,
        previous,
    };
    store.prepare(header, store.options.segment_bytes, &[])?;
    *untrusted = false;
    Ok(())
}

/// One write, one sync.
fn write_chunk<D: Disk>(store: &mut Store<D>, chunk: &mut Chunk) -> Result<(), JournalError> {
    let segment = store
        .segments
        .get_mut(&chunk.segment)
        .expect("its file was just ensured");
    let part = segment.parts.last().map_or(0, |part| part.part);
    let name = names::live(chunk.segment, part);
    let bare = chunk.buffer.len();
    let start = chunk.start();
    let end = start + to_u32(bare);
    chunk.buffer.resize((align_up(end) - start) as usize, 0);
    store.stats.bytes_written += chunk.buffer.len() as u64;
    let done = store
        .disk
        .write_at(&name, u64::from(start), &chunk.buffer)
        .map_err(JournalError::io("write", &name))
        .and_then(|()| {
            store
                .disk
                .sync(&name)
                .map_err(JournalError::io(SYNC, &name))
        });
    if let Err(error) = done {
        chunk.buffer.truncate(bare);
        return Err(error);
    }
    segment.end = end;
    segment.entries += chunk.entries;
    chunk.previous_end = end;
    chunk.entries = 0;
    chunk.buffer.clear();
    chunk.buffer.shrink_to(KEEP_BUFFER_BYTES);
    Ok(())
}

fn frames_bytes(entries: &[(u8, Vec<u8>)]) -> u64 {
    let bytes = |(_, payload): &(u8, Vec<u8>)| u64::from(FRAME_HEADER_BYTES) + payload.len() as u64;
    entries.iter().map(bytes).sum()
}
