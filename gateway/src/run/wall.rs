//! Wall time between two batches, and for boots that had none.

use furrow_gateway_core::FieldMs;
use furrow_gateway_core::clock::{Adopted, estimate};

use super::gateway::Gateway;
use crate::bus::FieldTime;

impl Gateway {
    /// Batches whose time has come. Wall time is adopted only here, between two batches.
    pub(super) fn cut_batches(&mut self, now: FieldTime) {
        let at = FieldMs(now.mono_ms());
        let mut any = false;
        while let Some(cut) = self.sampling.poll_cut(at, self.clock.offset_ms()) {
            self.records.set_marks(&self.delivery.outbox.streams());
            self.records.keep_phase(self.sampling.phase_ms());
            self.records.batch(cut, self.catalog, &mut self.clock);
            any = true;
        }
        if !any {
            return;
        }
        if let Some(adopted) = self.clock.handle_clock(at, now.wall_unix_ms) {
            self.adopt(at, &adopted);
            self.estimate_earlier_boots();
        }
        if let Some(mapping) = self.clock.handle_timeout(at) {
            tracing::info!(?mapping, "took the time from ingest");
            self.records.mapping(&mapping);
            self.estimate_earlier_boots();
        }
    }

    fn adopt(&mut self, at: FieldMs, adopted: &Adopted) {
        tracing::info!(offset_ms = adopted.offset_ms, "adopted the wall clock");
        if let Some(mapping) = &adopted.mapping {
            self.records.mapping(mapping);
        }
        self.sampling.handle_clock(at, adopted);
        if adopted.offset_ms < adopted.before_ms {
            self.records.handle_stepped_back();
        }
    }

    /// Earlier boots that never learnt the time get their mapping as soon as this one knows it.
    pub(super) fn estimate_earlier_boots(&mut self) {
        let Some(boot_unix_ms) = self.clock.known_offset_ms() else {
            return;
        };
        let this = self.clock.boot();
        let mut earlier = std::mem::take(&mut self.held_boots);
        earlier.retain(|held| held.boot != this);
        for mapping in estimate(&earlier, boot_unix_ms) {
            self.records.mapping(&mapping);
        }
    }
}
