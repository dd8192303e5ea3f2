//! Giving up the oldest readings when there is no space, as [`Space`](furrow_gateway_core::space::Space)
//! decides.

use furrow_gateway_core::evict;
use furrow_gateway_core::space::Command;

use super::gateway::Gateway;
use super::journal_thread::{Request, SendError};
use super::store::{Found, Trouble};

impl Gateway {
    /// Keeps enough space free that what tells of lost readings can always be written.
    pub(super) fn make_space_if_due(&mut self) {
        let due = evict::is_due(self.fill.live_bytes, self.segment_bytes, self.cap_bytes);
        self.space.handle_written(due, &self.delivery.outbox);
    }

    /// Something could not be written.
    pub(super) fn make_space(&mut self, trouble: Trouble) {
        if self.space.trouble() != Some(trouble) {
            tracing::error!(
                ?trouble,
                "the journal can't be written, readings wait in memory"
            );
        }
        let outbox = &mut self.delivery.outbox;
        if let Some(segment) = self.space.handle_trouble(trouble, outbox) {
            tracing::error!(
                segment,
                "too little space to tell first: a segment goes unsaid"
            );
        }
    }

    /// The records of the segment that is given up were read.
    pub(super) fn handle_scanned(&mut self, segment: u64, found: &[Found]) {
        let seen: Vec<evict::Waiting> = found.iter().map(Found::waiting).collect();
        let outbox = &self.delivery.outbox;
        let plan = self.space.handle_scanned(segment, &seen, outbox);
        tracing::warn!(
            segment,
            readings = plan.readings,
            "readings are lost for lack of space"
        );
        let copies = plan.copies.iter().filter_map(|place| found.get(*place));
        let copies = copies.cloned().collect();
        self.records.evict(segment, &plan.losses, copies);
    }

    /// Asks the journal thread for what is wanted, as far as it has room: the rest waits for the next
    /// turn.
    pub(super) fn send_space(&mut self) {
        while let Some(command) = self.space.poll_command() {
            let request = match command {
                Command::Scan(segment) => Request::Scan(segment),
                Command::Release(segment) => Request::Release(segment),
            };
            match (self.journal.send(request), command) {
                (Ok(()), Command::Scan(_)) => self.records.begin_eviction(),
                (Ok(()), Command::Release(_)) => {}
                (Err(SendError::Busy(_)), _) => return self.space.handle_busy(command),
                (Err(SendError::Gone), _) => return,
            }
        }
    }
}
