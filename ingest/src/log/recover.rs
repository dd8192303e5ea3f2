//! What is known at the start: the marks of the last checkpoint, and those at the end of the log.

use std::collections::BTreeSet;

use furrow_ingest_core::{GatewayKey, Tracker};
use furrow_journal::{Disk, Position};
use furrow_wire::{CooperativeId, GatewayState, Orders, decode_packet};

use super::chain::Chain;
use super::derived::Derived;
use super::entry::{EntryKind, LogRecord};
use super::front::offered_of;
use super::snapshot::{Snapshot, SnapshotError};
use super::{Eras, Log};
use crate::archive::LogPosition;
use crate::decode::split;

/// The last checkpoint, made to fit the log.
///
/// A file that can't be read is not a reason to stay down: what the log still holds is known, and the
/// archive tells readings that come again by series and time: all of the log is read again. Nor is a
/// log that ends before what was stored: a new era begins then, at the checkpoint. Nor an archive that is behind where it was at the checkpoint, since it
/// was replaced by an older copy, or of an era that the checkpoint does not know: what was held of its
/// cooperative is forgotten, so that gateways offer again what they hold, and the log is read from its
/// beginning. Nor a log in which other entries stand behind the checkpoint than those that an archive has
/// applied, as a disk leaves it that lied: they are applied in a new era as well.
///
/// # Errors
/// When the beginning of a new era can't be stored, or the checkpoint can't be made durable: its last
/// process may have ended before it was, and what it says is about to be acknowledged.
pub fn recover<D: Disk, S: Derived>(
    log: &Log<D>,
    derived: &mut S,
    cooperatives: &[CooperativeId],
) -> Result<Snapshot, SnapshotError> {
    let end = log.committed();
    let stored = match derived.load_marks() {
        Ok(stored) => stored,
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(
                error,
                "marks are lost; gateways will offer again what they hold"
            );
            None
        }
    };
    let positions = cooperatives.iter().filter_map(|id| derived.position(id));
    let positions: Vec<_> = positions.collect();
    let is_first = stored.is_none() && positions.is_empty();
    // The first start stores marks, so without them their file was lost, and the eras with it: nobody
    // can say then which entries of the log an archive has.
    let mut is_behind = stored.is_none() && !is_first;
    let mut snapshot = stored.unwrap_or_default();
    let mut eras = Eras::new(std::mem::take(&mut snapshot.eras));
    let tracker = &mut snapshot.tracker;
    let is_known = |at: Option<LogPosition>| at.is_none_or(|at| eras.know(at));
    let out = derived.out_of_service();
    snapshot.archives.retain(|cooperative, position| {
        // Nobody knows what it has: that is asked when it is back.
        if out.contains(cooperative) {
            return true;
        }
        // Taken out of the configuration: nobody reads or writes its archive, and what it has is known when it is back.
        if !cooperatives.contains(cooperative) {
            tracker.forget(cooperative);
            return false;
        }
        let at = derived.position(cooperative);
        // Of an era that the marks do not know: it may have been behind them meanwhile.
        let is_there = at >= Some(*position) && is_known(at);
        if !is_there {
            tracing::error!(%cooperative, "marks do not fit the archive: they are forgotten");
            tracker.forget(cooperative);
            is_behind = true;
        }
        is_there
    });
    is_behind |= positions.iter().any(|at| !eras.know(*at));
    if is_behind {
        eras.begin_over(positions.into_iter());
        (snapshot.position, snapshot.chain) = (Position::default(), 0);
    }
    let mut is_replaced = is_behind || snapshot.position > end;
    let from = snapshot.position.min(end);
    for cooperative in cooperatives {
        is_replaced |= eras.begin_if_behind(from, end, derived.position(cooperative));
    }
    for archive in of_another_log(log, derived, cooperatives, &eras, (from, snapshot.chain)) {
        is_replaced |= eras.begin_if_applied(from, archive);
    }
    snapshot.eras = eras.to_stored();
    if is_replaced {
        tracing::error!(%end, is_behind, "log and archive do not fit: one was replaced or lost its end");
        snapshot.position = snapshot.position.min(end);
    }
    if is_replaced || is_first {
        derived.store_marks(&snapshot)?;
    } else {
        derived.sync_marks()?;
    }
    Ok(snapshot)
}

/// Positions of archives that have applied something else behind the checkpoint, which is given with its
/// chain, than what this log holds there.
fn of_another_log<D: Disk, S: Derived>(
    log: &Log<D>,
    derived: &S,
    cooperatives: &[CooperativeId],
    eras: &Eras,
    (from, chain): (Position, u32),
) -> Vec<LogPosition> {
    let begin = eras.archive_position(from);
    let known = cooperatives
        .iter()
        .filter_map(|id| Some((derived.position(id)?, derived.chain(id)?)));
    let mut known: Vec<(LogPosition, u32)> = known.filter(|(at, _)| *at >= begin).collect();
    known.sort_unstable();
    let mut other = Vec::new();
    let mut known = known.into_iter().peekable();
    let journal = log.journal();
    let mut chain = Chain(chain);
    for entry in journal.entries_from(from).flatten() {
        if known.peek().is_none() {
            break;
        }
        if entry.preamble {
            continue;
        }
        chain.push(&entry);
        let position = eras.archive_position(entry.position);
        while let Some((at, applied)) = known.next_if(|(at, _)| *at <= position) {
            if (at, applied) != (position, chain.0) {
                other.push(at);
            }
        }
    }
    other.extend(known.map(|(at, _)| at));
    other
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
            EntryKind::Delete => tracker.forget(&record.gateway.cooperative),
            EntryKind::Rerun
            | EntryKind::Wake
            | EntryKind::Command
            | EntryKind::Result
            | EntryKind::Orders => {}
        }
    }
    tracker
}

/// What stands behind the snapshot, in order, and is not in the marks: the archive may not have it yet.
#[derive(Debug, Default)]
pub struct Behind {
    /// Orders.
    pub orders: Vec<(GatewayKey, Orders)>,
    /// Cooperatives that were deleted.
    pub deleted: BTreeSet<CooperativeId>,
}

/// Orders and deletions behind the snapshot.
#[must_use]
pub fn replay_behind<D: Disk>(log: &Log<D>, snapshot: &Snapshot) -> Behind {
    let wanted = [EntryKind::Orders, EntryKind::Delete].map(EntryKind::code);
    let mut behind = Behind::default();
    let journal = log.journal();
    let entries = journal.entries_from(snapshot.position).flatten();
    for entry in entries.filter(|entry| !entry.preamble && wanted.contains(&entry.kind)) {
        let Ok(record) = LogRecord::decode(entry.kind, entry.payload) else {
            continue;
        };
        if record.kind == EntryKind::Delete {
            let cooperative = record.gateway.cooperative;
            behind
                .orders
                .retain(|(key, _)| key.cooperative != cooperative);
            behind.deleted.insert(cooperative);
        } else if let Ok(orders) = Orders::decode(&record.bytes) {
            behind.orders.push((record.gateway, orders));
        }
    }
    behind
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
