//! Finds frames in the bytes of a segment file and tells a torn tail from damage.
//!
//! Pure: it sees one file at a time and decides nothing about files.

use crate::frame::{FRAME_HEADER_BYTES, Frame, align_up, frame_total, parse_frame};

/// A stretch without valid frames, `start..end` in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'b> {
    Frame(u32, Frame<'b>),
    Hole(Hole),
}

/// Whether the last write to a file may have been interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing was written after this file: its last commit may be torn.
    Open,
    /// Later files exist, so everything in it was durable; its last frame ended here, if known.
    Sealed(Option<u32>),
}

/// Outcome of scanning one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartScan {
    pub(crate) entries: u64,
    /// Offset of the first frame.
    pub(crate) first: Option<u32>,
    /// Behind the last kept frame.
    pub(crate) end: u32,
    pub(crate) holes: Vec<Hole>,
    /// From the hole in the last commit to the end of the frames behind it.
    pub(crate) dropped: Option<Hole>,
}

/// Holes reported one by one in a file; further ones are joined to the last.
const MAX_HOLES: usize = 64;

/// Walks over the frames and holes of `bytes`, a segment file from its beginning.
pub(crate) struct Walk<'b> {
    bytes: &'b [u8],
    segment: u64,
    at: u32,
    end: u32,
    found: Option<(u32, Frame<'b>)>,
}

impl<'b> Walk<'b> {
    /// Frames in `start..end`.
    pub(crate) fn new(bytes: &'b [u8], segment: u64, start: u32, end: u32) -> Self {
        Self {
            bytes,
            segment,
            at: start,
            end,
            found: None,
        }
    }

    fn frame_at(&self, offset: u32) -> Option<Frame<'b>> {
        let range = usize::try_from(offset).ok()?..usize::try_from(self.end).ok()?;
        parse_frame(self.bytes.get(range)?, self.segment, offset)
    }

    fn take(&mut self, offset: u32, frame: Frame<'b>) -> Step<'b> {
        self.at = offset + frame.total();
        Step::Frame(offset, frame)
    }
}

impl<'b> Iterator for Walk<'b> {
    type Item = Step<'b>;

    fn next(&mut self) -> Option<Step<'b>> {
        if let Some((offset, frame)) = self.found.take() {
            return Some(self.take(offset, frame));
        }
        if self.at >= self.end {
            return None;
        }
        if let Some(frame) = self.frame_at(self.at) {
            return Some(self.take(self.at, frame));
        }
        let sector = align_up(self.at);
        if let Some(frame) = self.frame_at(sector)
            && frame.begins_commit(sector, self.at)
        {
            return Some(self.take(sector, frame));
        }
        let Some((offset, frame)) = next_frame(self.bytes, self.segment, self.at + 1, self.end)
        else {
            self.at = self.end;
            return None;
        };
        self.found = Some((offset, frame));
        Some(Step::Hole(Hole::before(self.at, offset, &frame)))
    }
}

impl Hole {
    /// What is missing between `end`, the end of the last frame, and `frame` at `offset`: not the
    /// rest of a sector in which a commit ended.
    pub(crate) fn before(end: u32, offset: u32, frame: &Frame<'_>) -> Self {
        let (commit, previous_end) = (frame.commit(), frame.previous_end());
        Self {
            start: if commit > end && previous_end <= end {
                commit
            } else {
                end
            },
            end: if commit == offset && previous_end > end {
                previous_end
            } else {
                offset
            },
        }
    }
}

/// The first valid frame in `from..end`.
pub(crate) fn next_frame(
    bytes: &[u8],
    segment: u64,
    from: u32,
    end: u32,
) -> Option<(u32, Frame<'_>)> {
    let end_at = usize::try_from(end).ok()?;
    (from..end.saturating_sub(FRAME_HEADER_BYTES - 1)).find_map(|offset| {
        let rest = bytes.get(usize::try_from(offset).ok()?..end_at)?;
        // The cheap check first: most offsets fail it.
        frame_total(rest, segment, offset)?;
        Some((offset, parse_frame(rest, segment, offset)?))
    })
}

/// Scans the file of a segment that holds `start..`.
pub(crate) fn scan_part(bytes: &[u8], segment: u64, start: u32, tail: Tail) -> PartScan {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let limit = match tail {
        Tail::Open | Tail::Sealed(None) => length,
        Tail::Sealed(Some(end)) => end.min(length),
    };
    let mut scan = PartScan {
        end: start,
        ..PartScan::default()
    };
    // The most recent hole, and the first that no later commit has shown to be damage: each with
    // what had been found before it.
    let mut recent: Option<(Hole, PartScan)> = None;
    let mut open: Option<(Hole, PartScan)> = None;
    for step in Walk::new(bytes, segment, start, limit) {
        match step {
            Step::Hole(hole) => {
                recent = Some((hole, scan.clone()));
                open = open.or_else(|| recent.clone());
                scan.hole(hole);
            }
            Step::Frame(offset, frame) => {
                if open
                    .as_ref()
                    .is_some_and(|(hole, _)| frame.commit() > hole.start)
                {
                    open = recent
                        .take()
                        .and_then(|(hole, before)| before.with_torn_start(hole, offset, &frame));
                    if let Some((_, before)) = &open {
                        scan.holes.clone_from(&before.holes);
                        scan.hole(Hole {
                            start: frame.commit(),
                            end: offset,
                        });
                    }
                }
                recent = None;
                scan.frame(offset, &frame);
            }
        }
    }
    match (tail, open) {
        (Tail::Open, Some((hole, before))) => {
            let end = scan.end;
            scan = before;
            scan.dropped = Some(Hole {
                start: hole.start,
                end,
            });
        }
        (Tail::Sealed(Some(sealed)), _) if scan.end < sealed => {
            scan.hole(Hole {
                start: scan.end,
                end: sealed,
            });
        }
        (Tail::Open | Tail::Sealed(_), _) => {}
    }
    scan
}

impl PartScan {
    fn frame(&mut self, offset: u32, frame: &Frame<'_>) {
        self.entries += 1;
        self.first.get_or_insert(offset);
        self.end = offset + frame.total();
    }

    fn hole(&mut self, hole: Hole) {
        let full = self.holes.len() >= MAX_HOLES;
        match self.holes.last_mut() {
            Some(last) if full => last.end = hole.end,
            Some(_) | None => self.holes.push(hole),
        }
    }

    /// Where the frame at `offset` follows a hole in which its own commit began: the hole is
    /// damage up to that commit, and from there the commit itself may be torn.
    fn with_torn_start(
        mut self,
        hole: Hole,
        offset: u32,
        frame: &Frame<'_>,
    ) -> Option<(Hole, Self)> {
        let commit = frame.commit();
        if hole.end != offset || !(hole.start < commit && commit < offset) {
            return None;
        }
        self.hole(Hole {
            start: hole.start,
            end: frame.previous_end(),
        });
        Some((
            Hole {
                start: commit,
                end: offset,
            },
            self,
        ))
    }
}

#[cfg(test)]
mod tests;
