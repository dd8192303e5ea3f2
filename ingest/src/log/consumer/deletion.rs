//! Cooperatives that are deleted: nothing of them is decided on any more, and what is derived from the log gives them up.

use furrow_journal::{Disk, Position};

use super::{Consumer, Group};
use crate::archive::ArchiveError;
use crate::deletion::Deletion;
use crate::log::derived::Derived;
use crate::log::entry::{EntryKind, LogRecord};

impl<D: Disk, S: Derived> Consumer<D, S> {
    /// Whether an entry is about a deleted cooperative: from the one that says so on, and, where that has been obeyed
    /// before, from the beginning of what is read.
    pub(super) fn handle_deletion(
        &mut self,
        record: &LogRecord,
        position: Position,
        group: &mut Group,
    ) -> bool {
        let cooperative = &record.gateway.cooperative;
        if record.kind == EntryKind::Delete {
            self.tracker.forget(cooperative);
            self.decoder.forget(cooperative);
            let dropped = group.entries.remove(cooperative);
            let dropped = dropped.map_or(0, |entries| entries.len() as u64);
            self.figures.deleted.add(dropped);
            group.gateways.retain(|key| key.cooperative != *cooperative);
            self.deleted.insert(cooperative.clone());
            group.deletions.push(Deletion {
                cooperative: cooperative.clone(),
                position,
                deleted_unix_ms: record.received_unix_ms,
            });
            return true;
        }
        let is_deleted = self.deleted.contains(cooperative);
        if is_deleted {
            self.figures.deleted.increment();
        }
        is_deleted
    }

    /// Before anything else of the group: after an error all of it is tried again.
    pub(super) fn apply_deletions(&mut self) -> Result<(), ArchiveError> {
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        while let Some(deletion) = group.deletions.first() {
            self.derived.delete(deletion)?;
            self.setup.fleet.forget(&deletion.cooperative);
            group.deletions.remove(0);
        }
        Ok(())
    }

    /// With nothing left to read it is at the log's end, also where that is the beginning of a segment without entries:
    /// else it would hold the one before, and find news where there are none.
    pub(super) fn skip_to_end(&mut self) {
        let journal = self.log.journal();
        let end = journal.end();
        if end.segment > self.position.segment
            && journal.entries_from(self.position).next().is_none()
        {
            self.position = end;
        }
    }
}
