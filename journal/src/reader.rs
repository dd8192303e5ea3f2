//! A look into a journal that another process writes.
//!
//! It takes no lock and changes nothing. It sees what is written, a moment before it is
//! committed; what is recycled under it is simply no longer found.

use std::collections::VecDeque;

use crate::disk::Disk;
use crate::error::JournalError;
use crate::frame::SECTOR_BYTES;
use crate::names;
use crate::recover::{load, read_header};
use crate::scan::{Step, Walk};
use crate::types::{Entry, MAX_SEGMENT_BYTES, Position};

/// Reads a directory without being its writer.
#[derive(Debug)]
pub struct JournalReader<D> {
    disk: D,
}

impl<D: Disk> JournalReader<D> {
    /// A reader of the journal in `disk`.
    pub fn new(disk: D) -> Self {
        Self { disk }
    }

    /// Entries in order, from `position` on ([`Position::default`] for all). Ends at what is
    /// written now: to follow the journal, call again with the last entry's [`Entry::next`].
    /// Holds one segment file in memory.
    ///
    /// # Errors
    /// If the directory can't be listed.
    pub fn entries_from(&self, position: Position) -> Result<ReaderEntries<'_, D>, JournalError> {
        let listed = self
            .disk
            .list()
            .map_err(JournalError::io("list", "the directory"))?;
        let mut files: Vec<_> = listed
            .iter()
            .filter_map(|name| names::parse_live(name))
            .collect();
        files.retain(|(number, _)| *number >= position.segment);
        files.sort_unstable();
        Ok(ReaderEntries {
            disk: &self.disk,
            files: files.into(),
            from: position,
            number: 0,
            at: 0,
            end: 0,
            bytes: Vec::new(),
        })
    }
}

/// Entries of a [`JournalReader`]; an error is a hole, behind which it goes on.
#[derive(Debug)]
pub struct ReaderEntries<'r, D> {
    disk: &'r D,
    files: VecDeque<(u64, u8)>,
    from: Position,
    number: u64,
    at: u32,
    end: u32,
    bytes: Vec<u8>,
}

impl<D: Disk> ReaderEntries<'_, D> {
    /// Loads the next file; `false` if there is none.
    fn load_next(&mut self) -> bool {
        let Some((number, part)) = self.files.pop_front() else {
            return false;
        };
        let name = names::live(number, part);
        // A file that went away or is of another version has nothing for us.
        let length = self
            .disk
            .len(&name)
            .unwrap_or(0)
            .min(u64::from(MAX_SEGMENT_BYTES));
        let length = u32::try_from(length).unwrap_or(0);
        let (Ok(header), true) = (read_header(self.disk, &name), length >= SECTOR_BYTES) else {
            (self.at, self.end) = (0, 0);
            return true;
        };
        load(self.disk, &name, length, &mut self.bytes);
        self.number = number;
        self.at = header.map_or(SECTOR_BYTES, |header| header.start);
        let next = self.files.front().filter(|(next, _)| *next == number);
        let next = next.and_then(|(_, part)| {
            read_header(self.disk, &names::live(number, *part))
                .ok()
                .flatten()
        });
        self.end = next.map_or(length, |header| header.start.min(length));
        true
    }
}

impl<D: Disk> Iterator for ReaderEntries<'_, D> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let step = Walk::new(&self.bytes, self.number, self.at, self.end).next();
            let (offset, next) = match &step {
                None => {
                    if self.load_next() {
                        continue;
                    }
                    return None;
                }
                Some(Step::Hole(hole)) => (hole.start, hole.end),
                Some(Step::Frame(offset, frame)) => (*offset, *offset + frame.total()),
            };
            let position = Position {
                segment: self.number,
                offset,
            };
            let found = match step? {
                Step::Hole(hole) => Err(JournalError::Damaged {
                    position,
                    bytes: hole.end - hole.start,
                }),
                Step::Frame(_, frame) => Ok(Entry {
                    position,
                    next: Position {
                        segment: self.number,
                        offset: next,
                    },
                    kind: frame.kind,
                    preamble: frame.preamble,
                    payload: frame.payload.to_vec(),
                }),
            };
            self.at = next;
            if position >= self.from {
                return Some(found);
            }
        }
    }
}
