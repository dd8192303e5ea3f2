//! What is known at the start: the marks of the last checkpoint, and those at the end of the log.

use std::path::Path;

use furrow_ingest_core::Tracker;
use furrow_journal::Disk;
use furrow_wire::{CooperativeId, GatewayState, decode_packet};

use super::entry::{EntryKind, LogRecord};
use super::front::offered_of;
use super::snapshot::{self, Snapshot, SnapshotError};
use super::{Eras, Log};
use crate::archive::Archive;
use crate::decode::split;

/// The last checkpoint of a data directory, made to fit the log.
///
/// A file that can't be read is not a reason to stay down: what the log still holds is known, and the
/// archive tells readings that come again by series and time. Nor is a log that ends before what was
/// stored: a new era begins then.
///
/// # Errors
/// When the beginning of a new era can't be stored.
pub fn recover<D: Disk>(
    data_dir: &Path,
    log: &Log<D>,
    archive: &Archive,
    cooperatives: &[CooperativeId],
) -> Result<Snapshot, SnapshotError> {
    let end = log.committed();
    let mut snapshot = match snapshot::load(data_dir) {
        Ok(snapshot) => snapshot.unwrap_or_default(),
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(
                error,
                "marks are lost; gateways will offer again what they hold"
            );
            Snapshot::default()
        }
    };
    let mut eras = Eras::new(std::mem::take(&mut snapshot.eras));
    let mut is_replaced = snapshot.position > end;
    for cooperative in cooperatives {
        is_replaced |= eras.begin_if_behind(end, archive.position(cooperative));
    }
    snapshot.eras = eras.to_stored();
    if is_replaced {
        tracing::error!(%end, "log ends before what is stored: it was replaced or lost its end");
        snapshot.position = snapshot.position.min(end);
        snapshot::store(data_dir, &snapshot)?;
    }
    Ok(snapshot)
}

/// The marks at the end of the log: those of the snapshot, moved by everything behind it.
#[must_use]
pub fn replay<D: Disk>(log: &Log<D>, snapshot: &Snapshot) -> Tracker {
    let mut tracker = snapshot.tracker.clone();
    let journal = log.journal();
    for entry in journal.entries_from(snapshot.position).flatten() {
        if entry.preamble {
            continue;
        }
        let Ok(record) = LogRecord::decode(entry.kind, entry.payload) else {
            continue;
        };
        match record.kind {
            EntryKind::State => follow_state(&mut tracker, &record),
            EntryKind::Packet => {
                let content = decode_packet(&record.bytes).unwrap_or_default();
                let offered: Vec<_> = split(&content).records.iter().map(offered_of).collect();
                tracker.apply_packet(&record.gateway, &offered, record.received_unix_ms);
            }
            EntryKind::Rerun => {}
        }
    }
    tracker
}

/// What a logged state changes.
pub(super) fn follow_state(tracker: &mut Tracker, record: &LogRecord) {
    if let Ok(GatewayState {
        birth: Some(birth), ..
    }) = GatewayState::from_json(&record.bytes)
    {
        tracker.handle_state(&record.gateway, &birth.streams, record.received_unix_ms);
    }
}
