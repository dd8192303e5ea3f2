//! Giving up the oldest readings when there is no space: at the journal's cap, or on a full disk.
//!
//! The oldest segment is read, a loss takes the place of its batches, everything else in it is written
//! again, and only then does it go. Meanwhile nothing else is written.

use furrow_gateway_core::evict;
use furrow_wire::LossReason;

use super::gateway::Gateway;
use super::journal_thread::Request;
use super::store::{Found, Trouble};

/// How far a segment is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// None is.
    None,
    /// Its records are being read.
    Reading(u64),
    /// What tells of it is being written.
    Writing(u64),
}

impl Gateway {
    /// Keeps enough space free that what tells of lost readings can always be written.
    pub(super) fn make_space_if_due(&mut self) {
        let due = evict::is_due(self.fill.live_bytes, self.segment_bytes, self.cap_bytes);
        if due && self.eviction == Eviction::None {
            self.evict();
        }
    }

    /// Something could not be written.
    pub(super) fn make_space(&mut self, trouble: Trouble) {
        match (trouble, self.eviction) {
            (Trouble::Disk, _) | (_, Eviction::Reading(_)) => {}
            (Trouble::Full | Trouble::DiskFull, Eviction::None) => self.evict(),
            (Trouble::Full | Trouble::DiskFull, Eviction::Writing(segment)) => {
                // A power cut in the moment between loses the telling with the told; ingest then
                // shows a gap without a reason.
                tracing::error!(
                    segment,
                    "too little space to tell first: a segment goes unsaid"
                );
                // Not to be offered any more: what can't be read would be told of as damaged, with the
                // events that are about to be written again.
                self.delivery.outbox.handle_evicted(segment);
                if self.journal.send(Request::Release(segment)).is_err() {
                    tracing::debug!(segment, "journal thread is busy, it will ask again");
                }
            }
        }
    }

    /// The records of the segment that is given up were read.
    pub(super) fn handle_scanned(&mut self, segment: u64, found: Vec<Found>) {
        let outbox = &self.delivery.outbox;
        let waiting: Vec<Found> = found
            .into_iter()
            .filter(|found| !outbox.is_settled(segment, found.name))
            .collect();
        let seen: Vec<evict::Waiting> = waiting
            .iter()
            .map(|f| evict::Waiting {
                name: f.name,
                kind: f.kind,
                readings: f.readings,
            })
            .collect();
        let reason = match self.trouble {
            Some(Trouble::DiskFull) => LossReason::DiskFull,
            Some(Trouble::Full | Trouble::Disk) | None => LossReason::CapReached,
        };
        let plan = evict::plan(&seen, reason);
        tracing::warn!(
            segment,
            readings = plan.readings,
            "readings are lost for lack of space"
        );
        let mut copies = Vec::new();
        for (place, found) in waiting.into_iter().enumerate() {
            if plan.copies.binary_search(&place).is_ok() {
                copies.push(found);
            }
        }
        self.records.evict(segment, &plan.losses, copies);
        self.eviction = Eviction::Writing(segment);
    }

    fn evict(&mut self) {
        let Some(segment) = self.delivery.outbox.oldest_segment() else {
            return;
        };
        if self.journal.send(Request::Scan(segment)).is_ok() {
            self.records.begin_eviction();
            self.eviction = Eviction::Reading(segment);
        }
    }
}
