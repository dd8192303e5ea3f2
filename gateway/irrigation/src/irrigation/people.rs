//! What people want, on site and from afar. Whatever was wanted on site comes first.

use super::Irrigation;
use crate::site::{HOLD_DEFAULT_MS, Hold};
use crate::{EndReason, EventKind, Now, Origin, Refusal, ZoneIndex};

impl Irrigation {
    /// A person wants water. Answers the run's number, or why not.
    ///
    /// `run_ms` defaults to half an hour or the zone's longest run. The run still has to find its
    /// controller: if that fails, [`crate::EventKind::NotStarted`] follows.
    ///
    /// # Errors
    /// The interlock that forbids it.
    pub fn handle_manual(
        &mut self,
        zone: ZoneIndex,
        run_ms: Option<u64>,
        origin: Origin,
        now: Now,
    ) -> Result<u64, Refusal> {
        self.observe(now);
        let answer = self.manual(zone, run_ms, origin, now);
        self.flush(now);
        answer
    }

    /// A person ends a zone's run and one that waits. On site that also keeps rules and the cloud
    /// from starting it for half an hour. Answers whether there was any.
    pub fn handle_stop(&mut self, zone: ZoneIndex, origin: Origin, now: Now) -> bool {
        self.observe(now);
        let dropped = self.queue.remove(zone.0);
        let boot = self.boot;
        let mut stopped = false;
        if let Some(z) = self.zones.get_mut(zone.0) {
            stopped = z.stop(EndReason::Stopped, now.mono_ms);
            if let Some(waiting) = dropped {
                z.refuse(waiting.cause, Refusal::Stopped);
            }
            if (stopped || dropped.is_some()) && origin != Origin::Cloud {
                z.state.hold = Some(Hold::new(origin, HOLD_DEFAULT_MS, boot, now.mono_ms));
                z.persist();
            }
        }
        self.flush(now);
        stopped || dropped.is_some()
    }

    /// A person wants no water at all for a while. Every run ends, and none starts before: not by
    /// rule, not from afar, not on site. What was wanted on site the cloud can't shorten.
    ///
    /// # Errors
    /// The cloud wants to shorten what was wanted on site.
    pub fn handle_hold(&mut self, origin: Origin, hold_ms: u64, now: Now) -> Result<(), Refusal> {
        self.observe(now);
        let hold = Hold::new(origin, hold_ms, self.boot, now.mono_ms);
        let left_ms = self.held_ms(now.mono_ms);
        let answer = match (self.site.hold, left_ms) {
            (Some(local), Some(left_ms))
                if origin == Origin::Cloud
                    && local.by != Origin::Cloud
                    && hold.until.mono_ms < local.until.mono_ms =>
            {
                Err(Refusal::Held { left_ms })
            }
            (_, _) => {
                self.site.hold = Some(hold);
                Ok(())
            }
        };
        for waiting in self.queue.take() {
            self.refuse(waiting.zone, waiting.cause, Refusal::Stopped);
        }
        for zone in &mut self.zones {
            zone.stop(EndReason::Stopped, now.mono_ms);
        }
        if answer.is_ok() {
            self.persist();
            let hold_ms = Some(hold.hold_ms);
            self.emit(
                None,
                EventKind::Held {
                    by: origin,
                    hold_ms,
                },
                now,
            );
        }
        self.flush(now);
        answer
    }

    /// Water may flow again, before the end of a hold.
    ///
    /// # Errors
    /// The cloud wants to end what was wanted on site.
    pub fn handle_release(&mut self, origin: Origin, now: Now) -> Result<(), Refusal> {
        self.observe(now);
        let answer = match (self.site.hold, self.held_ms(now.mono_ms)) {
            (Some(local), Some(left_ms))
                if origin == Origin::Cloud && local.by != Origin::Cloud =>
            {
                Err(Refusal::Held { left_ms })
            }
            (Some(_), _) => {
                self.site.hold = None;
                self.persist();
                let hold_ms = None;
                self.emit(
                    None,
                    EventKind::Held {
                        by: origin,
                        hold_ms,
                    },
                    now,
                );
                Ok(())
            }
            (None, _) => Ok(()),
        };
        self.flush(now);
        answer
    }

    /// A person on site has looked at a fault: zones may water again. Answers how many locks went.
    pub fn handle_reset(&mut self, origin: Origin, now: Now) -> usize {
        self.observe(now);
        let mut locks = usize::from(self.site.lock.take().is_some());
        for zone in &mut self.zones {
            locks += usize::from(zone.state.lock.take().is_some());
            zone.state.dry_runs = 0;
        }
        if locks > 0 {
            self.persist();
            self.emit(None, EventKind::Reset { by: origin }, now);
        }
        self.flush(now);
        locks
    }
}
