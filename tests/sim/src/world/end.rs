//! The end of a run: faults cease, everything has to arrive.

use furrow_journal::sim::Survival;

use super::{MINUTE_MS, Point, ROUNDS_MAX, RngExt, World};
use crate::gateway;
use crate::ingest::key;

impl World {
    pub(super) fn finish(&mut self) {
        self.say(|world| format!("faults cease: {}", world.summary()));
        self.enabled.clear();
        (self.broker_drops, self.broker_wedged, self.ack_loss) = (false, false, false);
        self.outage_until_ms = 0;
        self.site.link_up = true;
        self.site.clock_error_ms = Some(self.site.clock_error_ms.unwrap_or(0));
        self.site.card.set_capacity(None);
        self.server.disk.set_capacity(None);
        self.site.card.lie_about_syncs(false);
        self.server.disk.lie_about_syncs(false);
        if self.site.card.is_off() {
            self.gateway_off(Survival::Everything);
        }
        if self.server.disk.is_off() {
            self.ingest_off(Survival::Everything);
        }
        // Damage in a running ingest's log is noticed when it starts again.
        if self.book.excuses.ingest_lost {
            self.broker.disconnect_ingest();
            self.server.archive = self.take_archive();
        }
        if let Some(archive) = &mut self.server.archive {
            archive.failing = 0;
        }
        if let Some(process) = &mut self.server.process {
            process.archive_mut().failing = 0;
            process.intake.link().is_blocked = false;
        }
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            self.step += 1;
            let minutes = self.rng.random_range(0..3);
            self.advance(minutes * MINUTE_MS + 2_000);
            self.revive();
            self.gateway_works();
            if quiet == 0 && self.step.is_multiple_of(8) {
                self.last_batches();
            }
            self.broker_works();
            self.ingest_works();
            self.drain();
            self.check();
            if self.book.broken().is_some() {
                return;
            }
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            if quiet > 3 {
                return self.check_end();
            }
        }
        let text = format!("after {ROUNDS_MAX} rounds: {}", self.summary());
        self.book.fail("delivery ends", text);
    }

    /// Sampling ends, once the gateway knows the time.
    fn last_batches(&mut self) {
        let field = self.field();
        if let Some(process) = &mut self.site.process
            && process.knows_time()
        {
            process.stop_sampling(field);
        }
    }

    fn drain(&mut self) {
        if let Some(process) = &mut self.server.process {
            while process.consume() {
                if let Some(log) = self.log {
                    log(&format!("          stored {}", process.archive().last()));
                }
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let gateway = self.site.process.as_ref();
        let at_rest = gateway.is_some_and(|process| {
            process.is_stopping() && process.is_settled() && process.is_delivered()
        });
        at_rest && self.broker.is_empty() && self.server.process.is_some()
    }

    fn check_end(&mut self) {
        if let Some(process) = &self.site.process
            && process.offered_again() > 0
        {
            self.book.reached.note(Point::OfferedAgain);
        }
        let gateway = self.site.process.as_ref();
        let on_card = gateway.map(gateway::Process::names).unwrap_or_default();
        if let Some(process) = &self.server.process {
            let tables = &process.archive().tables;
            self.book
                .check_end(tables, process.tracker(), &key(), &on_card);
        }
        drop(self.take_archive());
    }
}
