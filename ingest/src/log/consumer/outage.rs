//! Archives that are out of service: what the log keeps for them.
//!
//! Nothing is applied for them, and no checkpoint is stored: the marks on the disk stay those of the last one, and the
//! log stays from there on, though the others go on. So the next start is one after a crash at that place. It reads the
//! log from there once more; the others skip what they have, and a file that was put right gets what it lacks. If the
//! log needs the room, that is given up: the next checkpoint says where the archive should have been, so that a file
//! that comes back behind it is noticed, and its gateways are asked for what they still hold.

use std::collections::{BTreeMap, BTreeSet};

use furrow_journal::Disk;
use furrow_wire::CooperativeId;

use super::Consumer;
use crate::archive::LogPosition;
use crate::log::derived::Derived;

impl<D: Disk, S: Derived> Consumer<D, S> {
    /// Says what is let go.
    pub(super) fn give_up(&self, out: &BTreeSet<CooperativeId>) {
        for cooperative in out {
            self.figures.given_up.increment();
            tracing::error!(%cooperative, "log needs its room: what the damaged archive lacks is let go");
        }
    }

    /// How far each cooperative's archive is. Those that are out of service should be here: that they are not
    /// is noticed when they are back, and gateways asked for what they still hold.
    pub(super) fn archives(
        &self,
        out: &BTreeSet<CooperativeId>,
    ) -> BTreeMap<CooperativeId, LogPosition> {
        let here = self.eras.archive_position(self.position);
        let known: BTreeSet<&CooperativeId> = self
            .tracker
            .iter()
            .map(|(key, _, _)| &key.cooperative)
            .collect();
        known
            .into_iter()
            .filter_map(|id| {
                let position = match out.contains(id) {
                    true => here,
                    false => self.derived.position(id)?,
                };
                Some((id.clone(), position))
            })
            .collect()
    }
}
