//! Reading back what is committed, in bounded memory.

use std::collections::btree_map::Range;
use std::fmt;

use crate::disk::Disk;
use crate::error::JournalError;
use crate::frame::{FRAME_HEADER_BYTES, Frame, SECTOR_BYTES, align_up, frame_total, parse_frame};
use crate::names;
use crate::recover::load;
use crate::scan::{Hole, next_frame};
use crate::segment::{Segment, Store};
use crate::types::{Entry, Position, SegmentInfo};

/// Bytes read ahead: a few dozen small entries a system call.
const READ_AHEAD_BYTES: u32 = 64 * 1024;

/// Committed entries in order. See [`crate::Journal::entries_from`].
pub struct Entries<'j, D: Disk> {
    store: &'j Store<D>,
    segments: Range<'j, u64, Segment>,
    current: Option<(u64, &'j Segment)>,
    at: u32,
    window: Window,
}

impl<'j, D: Disk> Entries<'j, D> {
    pub(crate) fn new(store: &'j Store<D>, position: Position) -> Self {
        let mut segments = store.segments.range(position.segment..);
        let current = segments.next().map(|(number, segment)| (*number, segment));
        let at = match current {
            Some((number, _)) if number == position.segment => position.offset,
            Some(_) | None => 0,
        };
        Self {
            store,
            segments,
            current,
            at,
            window: Window::default(),
        }
    }

    /// Whether a commit begins at a place, the one before it having ended at `at`.
    fn begins_commit(&mut self, place: &Place<'_>) -> bool {
        let frame = self.window.frame(&self.store.disk, place);
        frame.is_ok_and(|frame| frame.is_some_and(|f| f.begins_commit(place.at, self.at)))
    }

    /// The entry at `at` or what is wrong there; `None` at the end of the segment.
    fn step(&mut self, number: u64, segment: &Segment) -> Option<Result<Entry, JournalError>> {
        loop {
            self.at = self.at.max(segment.start());
            if self.at >= segment.end {
                return None;
            }
            let (part, end) = segment.part_at(self.at)?;
            let name = names::live(number, part.part);
            let place = Place {
                number,
                name: &name,
                at: self.at,
                end,
            };
            let failed = match self.window.entry(&self.store.disk, &place) {
                Ok(Some(entry)) => {
                    self.at = entry.next.offset;
                    return Some(Ok(entry));
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            let sector = align_up(self.at);
            let ahead = Place {
                at: sector,
                ..place
            };
            if sector > self.at && (sector >= end || self.begins_commit(&ahead)) {
                self.at = sector;
                continue;
            }
            let mut bytes = Vec::new();
            load(&self.store.disk, &name, part.length, &mut bytes);
            let hole = match next_frame(&bytes, number, self.at + 1, end) {
                Some((offset, frame)) => Hole::before(self.at, offset, &frame),
                None => Hole {
                    start: self.at,
                    end,
                },
            };
            self.at = hole.end;
            let known = |known: &Hole| known.start < hole.end && hole.start < known.end;
            if hole.start < hole.end && !segment.holes.iter().any(known) {
                let damaged = JournalError::Damaged {
                    position: Position {
                        segment: number,
                        offset: hole.start,
                    },
                    bytes: hole.end - hole.start,
                };
                return Some(Err(failed.unwrap_or(damaged)));
            }
        }
    }
}

impl<D: Disk> Iterator for Entries<'_, D> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, segment) = self.current?;
            if let Some(item) = self.step(number, segment) {
                return Some(item);
            }
            self.current = self
                .segments
                .next()
                .map(|(number, segment)| (*number, segment));
            self.at = 0;
        }
    }
}

impl<D: Disk> fmt::Debug for Entries<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.current.map(|(number, _)| number);
        f.debug_struct("Entries")
            .field("segment", &segment)
            .field("at", &self.at)
            .finish()
    }
}

impl<D: Disk> Store<D> {
    pub(crate) fn read(&self, position: Position) -> Result<Entry, JournalError> {
        let missing = || JournalError::NotFound { position };
        let segment = self.segments.get(&position.segment).ok_or_else(missing)?;
        if position.offset >= segment.end {
            return Err(missing());
        }
        let (part, end) = segment.part_at(position.offset).ok_or_else(missing)?;
        let name = names::live(position.segment, part.part);
        let place = Place {
            number: position.segment,
            name: &name,
            at: position.offset,
            end,
        };
        let mut window = Window {
            ahead: SECTOR_BYTES,
            ..Window::default()
        };
        window
            .entry(&self.disk, &place)?
            .ok_or_else(|| JournalError::Damaged {
                position,
                bytes: window.total(&place).unwrap_or(FRAME_HEADER_BYTES),
            })
    }
}

pub(crate) fn info(number: u64, segment: &Segment) -> SegmentInfo {
    let start = segment.start();
    SegmentInfo {
        number,
        bytes: u64::from(segment.end.saturating_sub(start)),
        entries: segment.entries,
        released: segment.released,
        first: Position {
            segment: number,
            offset: start,
        },
        end: Position {
            segment: number,
            offset: segment.end,
        },
    }
}

#[derive(Clone, Copy)]
/// Where to read: a file's share of a segment.
struct Place<'n> {
    number: u64,
    name: &'n str,
    at: u32,
    end: u32,
}

/// The bytes read last.
struct Window {
    file: String,
    start: u32,
    bytes: Vec<u8>,
    ahead: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            file: String::new(),
            start: 0,
            bytes: Vec::new(),
            ahead: READ_AHEAD_BYTES,
        }
    }
}

impl Window {
    /// The frame at a place; `None` if there is no valid one.
    fn frame<D: Disk>(
        &mut self,
        disk: &D,
        place: &Place<'_>,
    ) -> Result<Option<Frame<'_>>, JournalError> {
        self.fill(disk, place, FRAME_HEADER_BYTES)?;
        let Some(total) = self.total(place) else {
            return Ok(None);
        };
        self.fill(disk, place, total)?;
        Ok(self
            .at(place.at)
            .and_then(|bytes| parse_frame(bytes, place.number, place.at)))
    }

    fn entry<D: Disk>(
        &mut self,
        disk: &D,
        place: &Place<'_>,
    ) -> Result<Option<Entry>, JournalError> {
        let frame = self.frame(disk, place)?;
        Ok(frame.map(|frame| Entry {
            position: Position {
                segment: place.number,
                offset: place.at,
            },
            next: Position {
                segment: place.number,
                offset: place.at + frame.total(),
            },
            kind: frame.kind,
            preamble: frame.preamble,
            payload: frame.payload.to_vec(),
        }))
    }

    /// Length of the frame at a place by its header.
    fn total(&self, place: &Place<'_>) -> Option<u32> {
        frame_total(self.at(place.at)?, place.number, place.at)
            .filter(|total| *total <= place.end.saturating_sub(place.at))
    }

    fn at(&self, offset: u32) -> Option<&[u8]> {
        self.bytes.get(offset.checked_sub(self.start)? as usize..)
    }

    /// Has `want` bytes from the place on, or what there is of them.
    fn fill<D: Disk>(
        &mut self,
        disk: &D,
        place: &Place<'_>,
        want: u32,
    ) -> Result<(), JournalError> {
        let have = self.at(place.at).map_or(0, <[u8]>::len);
        if self.file == place.name && have >= want as usize {
            return Ok(());
        }
        let length = want.max(self.ahead).min(place.end.saturating_sub(place.at));
        self.file.clear();
        self.file.push_str(place.name);
        self.start = place.at;
        self.bytes.resize(length as usize, 0);
        let mut read = disk.read_at(place.name, u64::from(place.at), &mut self.bytes);
        if read.is_err() && length > want {
            // What can't be read may lie further on.
            self.bytes.truncate(want as usize);
            read = disk.read_at(place.name, u64::from(place.at), &mut self.bytes);
        }
        match read {
            Ok(read) => self.bytes.truncate(read),
            Err(source) => {
                self.file.clear();
                self.bytes.clear();
                return Err(JournalError::io("read", place.name)(source));
            }
        }
        Ok(())
    }
}
