//! How far the oldest segment is given up, when there is no space: at the journal's cap, or on a full
//! disk.
//!
//! The segment is read, a loss takes the place of its batches, everything else in it is written again
//! ([`crate::evict`]), and only then does it go. Where not even the telling can be written it goes
//! first. What the journal's thread has no place for waits here.

use std::collections::VecDeque;

use furrow_wire::LossReason;

use crate::evict::{self, Plan, Waiting};
use crate::outbox::Outbox;

/// Why writes wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The cap is reached: a segment has to be given up.
    Full,
    /// The disk has no space, though the cap is not reached.
    DiskFull,
    /// The disk fails.
    Disk,
}

/// What the shell shall ask of the journal's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read the records of a segment: [`Space::handle_scanned`] takes them. From now on nothing but
    /// what it plans is to be written.
    Scan(u64),
    /// Allow a segment to be used again.
    Release(u64),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Space {
    eviction: Option<Eviction>,
    trouble: Option<Trouble>,
    /// At most one for a segment that is given up.
    commands: VecDeque<Command>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eviction {
    /// The records of this segment are being read.
    Reading(u64),
    /// What tells of it is being written.
    Writing(u64),
    /// The same, and the segment is gone already.
    Untold,
}

impl Space {
    /// Why writes wait; `None` while they don't.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Something was written. `is_due` is [`evict::is_due`]: enough space is kept free that what tells of
    /// lost readings can always be written.
    pub fn handle_written(&mut self, is_due: bool, outbox: &Outbox) {
        self.trouble = None;
        if is_due {
            self.evict(outbox);
        }
    }

    /// Something could not be written. Gives the segment that goes untold, where one does: a power cut
    /// before the telling is written loses both, and ingest then shows a gap without a reason.
    pub fn handle_trouble(&mut self, trouble: Trouble, outbox: &mut Outbox) -> Option<u64> {
        self.trouble = Some(trouble);
        match (trouble, self.eviction) {
            (Trouble::Full | Trouble::DiskFull, None) => {
                self.evict(outbox);
                None
            }
            (Trouble::Full | Trouble::DiskFull, Some(Eviction::Writing(segment))) => {
                // Not to be offered any more: what can't be read would be told of as damaged, with the
                // events that are about to be written again.
                outbox.handle_evicted(segment);
                self.commands.push_back(Command::Release(segment));
                self.eviction = Some(Eviction::Untold);
                Some(segment)
            }
            (Trouble::Disk, _) | (_, Some(Eviction::Reading(_) | Eviction::Untold)) => None,
        }
    }

    /// The records of a segment were read. Gives what to do with them, by their places.
    pub fn handle_scanned(&mut self, segment: u64, found: &[Waiting], outbox: &Outbox) -> Plan {
        let waits = |one: &(usize, &Waiting)| !outbox.is_settled(segment, one.1.name);
        let waiting: Vec<(usize, &Waiting)> = found.iter().enumerate().filter(waits).collect();
        let records: Vec<Waiting> = waiting.iter().map(|(_, record)| **record).collect();
        let mut plan = evict::plan(&records, self.reason());
        for copy in &mut plan.copies {
            *copy = waiting.get(*copy).map_or(found.len(), |(place, _)| *place);
        }
        self.eviction = Some(Eviction::Writing(segment));
        plan
    }

    /// Everything worth keeping of a segment stands elsewhere now: it goes.
    pub fn handle_evicted(&mut self, segment: u64, outbox: &mut Outbox) {
        outbox.handle_evicted(segment);
        if self.eviction != Some(Eviction::Untold) {
            self.commands.push_back(Command::Release(segment));
        }
        self.eviction = None;
    }

    /// The next thing to ask for.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The journal's thread has no place for a command: it comes first the next time.
    pub fn handle_busy(&mut self, command: Command) {
        self.commands.push_front(command);
    }

    fn evict(&mut self, outbox: &Outbox) {
        if self.eviction.is_none()
            && let Some(segment) = outbox.oldest_segment()
        {
            self.eviction = Some(Eviction::Reading(segment));
            self.commands.push_back(Command::Scan(segment));
        }
    }

    fn reason(&self) -> LossReason {
        match self.trouble {
            Some(Trouble::DiskFull) => LossReason::DiskFull,
            Some(Trouble::Full | Trouble::Disk) | None => LossReason::CapReached,
        }
    }
}

#[cfg(test)]
mod tests;
